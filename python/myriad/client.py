"""A client of servers: finds them through any of them, goes to the nearest that is well, and on to the next.

>>> client = myriad.Client("http://10.0.0.4:8080", region="eu-west", token="…", deadline=0.2)
>>> client.score("oj", frame)                                    # pandas, polars, pyarrow: a column of the same kind
>>> client.score("oj", {"store": 2, "brand": 1, "price": 2.5})   # one row: an Answer
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import random
import ssl
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ._errors import Error, error
from ._http import Reply, Server
from ._pack import Output, Segment, key_text, segment_text
from ._rows import Answer, Table, answer_of

_CHUNK_ROWS = 4096  # of one request; a server takes 65,536
_CHUNK_BYTES = 4 << 20  # of one request; a server takes 8 MiB unless told otherwise
_WAIT_SECONDS = 30.0  # for an answer, without a deadline
_REFRESH_SECONDS = 5.0  # how old a list of servers may be
_DOWN_SECONDS = (0.5, 30.0)  # how long a server that did not answer is passed over: at first, at most
_BACKOFF_SECONDS = (0.01, 1.0)  # before a server is asked again: at first, at most
_BUDGET_SHARE, _BUDGET_MAX = 0.2, 50.0  # retries that a request earns; retries that can be saved up
_CODES = {400: "BAD_INPUT", 401: "UNAUTHENTICATED", 403: "DENIED", 404: "NOT_FOUND", 405: "UNSUPPORTED", 409: "CONFLICT",
          413: "TOO_LARGE", 422: "CONFLICT", 429: "TOO_MANY", 501: "UNSUPPORTED", 503: "UNAVAILABLE", 504: "TIMEOUT"}
_AGAIN = frozenset({429, 502, 503, 504})


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A server, as discovery tells of it."""

    uri: str
    service: str | None = None
    region: str | None = None
    health: str = "ready"
    load: float = 0.0
    fleets: Mapping[str, int] | None = None  #: name and release of each; None: not known
    groups: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)  #: fleets of which only these groups are served


class _Budget:
    """How many retries are left: each request earns a part of one, so that trouble is not multiplied."""

    def __init__(self) -> None:
        self._left, self._lock = _BUDGET_MAX, threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._left = min(_BUDGET_MAX, self._left + _BUDGET_SHARE)

    def spend(self) -> bool:
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


class _Place:
    """What this client knows of one server by itself."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.busy = 0  # its requests under way
        self.failures = 0  # in a row
        self.down_until = 0.0

    def failed(self) -> None:
        self.failures += 1
        first, most = _DOWN_SECONDS
        self.down_until = time.monotonic() + min(most, first * 2 ** (self.failures - 1)) * random.uniform(0.5, 1)

    def answered(self) -> None:
        self.failures, self.down_until = 0, 0.0


class Client:
    """Scores rows on the servers of a workspace. Any number of threads may share one.

    ``url``: one server, or several; from any of them the others are learned (``discover=False``: only these are used).
    ``region``: servers there are asked first. ``deadline``: seconds for a call, with all its retries; the servers are told what is
    left of it. Without one each server's own counts. ``retries``: how often a request may be sent again, as long as the budget
    lasts (one for five requests; some are saved up). ``ca``: a file of certificates to trust. ``cert``: the client's own, as a file or
    a pair of files.
    """

    def __init__(self, url: str | Iterable[str], *, token: str | None = None, region: str | None = None, deadline: float | None = None,
                 retries: int = 4, discover: bool = True, ca: str | None = None, cert: str | tuple[str, str] | None = None) -> None:
        self._context = ssl.create_default_context(cafile=ca) if ca or cert else None
        if self._context is not None and cert is not None:
            self._context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
        self._headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._region, self._deadline, self._retries, self._discovers = region, deadline, retries, discover
        self._budget, self._lock = _Budget(), threading.Lock()
        self._places: dict[str, _Place] = {}
        urls = [url] if isinstance(url, str) else list(url)
        if not urls:
            raise error("BAD_INPUT", "Client needs the URL of a server")
        self._seeds = [Endpoint(self._place(u.rstrip("/")).server.uri) for u in urls]
        self._endpoints: list[Endpoint] = []
        self._known: dict[str, frozenset[str]] = {}
        self._listed_at, self._etag = float("-inf"), ""
        self._listing = threading.Lock()

    def __repr__(self) -> str:
        return f"<myriad.Client {', '.join(e.uri for e in self._seeds)}>"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept; the client may be used again."""
        for place in list(self._places.values()):
            place.server.close()

    # ---- asking ----

    def score(self, fleet: str, rows: Any, *, output: Output = "value", details: bool = False, alias: str | None = None,
              sticky: str | None = None, deadline: float | None = None, idempotency_key: str | None = None) -> Any:
        """Score rows, each with the model of its keys.

        ``rows``: a pandas or polars DataFrame, a pyarrow Table or RecordBatch, a mapping of columns, a list of mappings, or one
        mapping. The answer is of the same kind: a column of predictions (NaN or null where there is none), several for several
        outputs; with ``details`` a table with ``level``, ``status``, ``model`` and ``model_version``. A list of mappings gives a list of
        predictions (``details``: of :class:`Answer`), one mapping an :class:`Answer`. Of tables the columns that the fleet has are sent.

        ``alias``: the release that is to answer (``"challenger"``); ``sticky``: what is to be answered by the same release always.
        ``idempotency_key``: for servers that store predictions: the same key and rows are stored once; without one each call has
        its own, which its retries keep.
        """
        ends_at = self._ends_at(deadline)
        table = Table(rows)
        records = table.records(None if table.kind in ("one", "plain") else self._columns(fleet, ends_at))
        headers = {"Content-Type": "application/json"}
        if alias is not None:
            headers["X-Myriad-Alias"] = alias
        if sticky is not None:
            headers["X-Myriad-Sticky"] = sticky
        key = idempotency_key or uuid.uuid4().hex
        path = f"/v1/fleets/{_quote(fleet)}/score" + (f"?output={_quote(output)}" if output != "value" else "")
        answers: list[Answer] = []
        for number, (body, part) in enumerate(_chunks(records)):
            headers["Idempotency-Key"] = key if number == 0 else f"{key}-{number}"
            reply = self._call("POST", path, headers, body, ends_at, fleet, part)
            release = reply.headers.get("x-myriad-release")
            answers += [answer_of(row, output, int(release) if release else None) for row in reply.json()["rows"]]
        if len(answers) != len(records):
            raise error("INTERNAL", f"{len(records)} rows were sent, {len(answers)} came back")
        return table.answer(answers, details)

    def services(self, *, fleet: str | None = None, group: str | None = None, tag: str | None = None, region: str | None = None,
                 feature: str | None = None) -> list[dict[str, Any]]:
        """All services that match, as ``GET /v1/services`` describes them."""
        query = {k: v for k, v in {"fleet": fleet, "group": group, "tag": tag, "region": region, "feature": feature}.items() if v}
        found: list[dict[str, Any]] = []
        while True:
            page = self._get("/v1/services?" + urllib.parse.urlencode(query)).json()
            found += page["services"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    def resolve(self, fleet: str, segment: Segment = "") -> dict[str, Any]:
        """Which model answers for a segment (``{"store": 2, "brand": 1}`` or its text), and which servers."""
        query = urllib.parse.urlencode({"fleet": fleet, "segment": segment_text(segment)})
        reply: dict[str, Any] = self._get(f"/v1/resolve?{query}", fleet).json()
        return reply

    def describe(self, fleet: str) -> dict[str, Any]:
        """Release, signature, levels of a fleet."""
        reply: dict[str, Any] = self._get(f"/v1/fleets/{_quote(fleet)}", fleet).json()
        return reply

    def endpoints(self, fleet: str | None = None) -> list[Endpoint]:
        """The servers that would be asked, the best first."""
        self._refresh(self._ends_at(None))
        return self._candidates(fleet, None)

    # ---- which server ----

    def _place(self, uri: str) -> _Place:
        with self._lock:
            if uri not in self._places:
                try:
                    self._places[uri] = _Place(Server(uri, self._context))
                except ValueError as problem:
                    raise error("BAD_INPUT", str(problem)) from None
            return self._places[uri]

    def _refresh(self, ends_at: float, must: bool = False) -> None:
        """Ask some server for all of them, if it is time. One thread does; failures leave what is known."""
        is_old = time.monotonic() - self._listed_at > _REFRESH_SECONDS
        if not self._discovers or not (must or is_old) or not self._listing.acquire(blocking=not self._endpoints):
            return
        try:
            if not must and time.monotonic() - self._listed_at <= _REFRESH_SECONDS:
                return  # another thread did meanwhile
            for endpoint in self._candidates(None, None):
                if self._list_from(endpoint, ends_at):
                    break
            self._listed_at = time.monotonic()
        finally:
            self._listing.release()

    def _list_from(self, endpoint: Endpoint, ends_at: float) -> bool:
        found: list[Endpoint] = []
        after, etag = "", ""
        while True:
            headers = {**self._headers, **({"If-None-Match": self._etag} if self._etag and not after else {})}
            path = "/v1/services?limit=1000" + (f"&after={_quote(after)}" if after else "")
            reply = self._ask_once(endpoint, "GET", path, headers, None, min(ends_at, time.monotonic() + 2))
            if isinstance(reply, Reply) and reply.status == 304:
                return True
            if not isinstance(reply, Reply) or reply.status != 200:
                return False
            page = reply.json()
            for service in page["services"]:
                found += _endpoints_of(service)
            etag = etag or reply.headers.get("etag", "")
            if page["next"] is None:
                break
            after = page["next"]
        self._endpoints, self._etag = found, etag
        with self._lock:  # servers that are gone, but for those under way
            alive = {e.uri for e in (*found, *self._seeds)}
            for uri in [u for u, place in self._places.items() if u not in alive and place.busy == 0]:
                self._places.pop(uri).server.close()
        return True

    def _candidates(self, fleet: str | None, records: Sequence[Mapping[str, Any]] | None) -> list[Endpoint]:
        """Servers that may answer, the best first: those that answered last, ready, of this region, with the least to do."""
        found = [e for e in self._endpoints if _serves(e, fleet, records)]
        found += [e for e in self._seeds if all(e.uri != other.uri for other in self._endpoints)]
        found = found or self._seeds
        now = time.monotonic()

        def order(endpoint: Endpoint) -> tuple[bool, bool, bool, float]:
            place = self._place(endpoint.uri)
            is_far = self._region is not None and endpoint.region != self._region
            return place.down_until > now, endpoint.health != "ready", is_far, endpoint.load + place.busy * 0.1 + random.random() * 0.2

        return sorted(found, key=order)

    def _columns(self, fleet: str, ends_at: float) -> frozenset[str]:
        """Partition columns and features of a fleet."""
        if fleet not in self._known:
            described = self._call("GET", f"/v1/fleets/{_quote(fleet)}", {}, None, ends_at, fleet, None).json()
            self._known[fleet] = frozenset(described["partition_columns"]) | {i["name"] for i in described["signature"]["inputs"]}
        return self._known[fleet]

    # ---- a call with its retries ----

    def _ends_at(self, deadline: float | None) -> float:
        seconds = deadline if deadline is not None else self._deadline
        return float("inf") if seconds is None else time.monotonic() + seconds

    def _get(self, path: str, fleet: str | None = None) -> Reply:
        return self._call("GET", path, {}, None, self._ends_at(None), fleet, None)

    def _ask_once(self, endpoint: Endpoint, method: str, path: str, headers: Mapping[str, str], body: bytes | None,
                  ends_at: float) -> Reply | Exception:
        """An answer, or why there is none; how the server is doing is remembered."""
        place = self._place(endpoint.uri)
        left = min(ends_at - time.monotonic(), _WAIT_SECONDS)
        if left <= 0:
            return TimeoutError("the deadline passed")
        with self._lock:
            place.busy += 1
        try:
            reply = place.server.ask(method, path, headers, body, left)
            place.answered()
            return reply
        except (OSError, http.client.HTTPException) as problem:
            if time.monotonic() < ends_at:  # a deadline of ours says nothing about the server
                place.failed()
            return problem
        finally:
            with self._lock:
                place.busy -= 1

    def _call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, ends_at: float, fleet: str | None,
              records: Sequence[Mapping[str, Any]] | None) -> Reply:
        self._refresh(ends_at)
        self._budget.earn()
        tried: list[str] = []
        problem: Error | None = None
        for attempt in range(self._retries + 1):
            endpoint = self._next(fleet, records, tried)
            sent = {**self._headers, **headers}
            if ends_at != float("inf"):
                sent["X-Deadline-Ms"] = str(max(1, int((ends_at - time.monotonic()) * 1000)))
            reply = self._ask_once(endpoint, method, path, sent, body, ends_at)
            if isinstance(reply, Reply) and reply.status < 300:
                return reply
            problem = _problem(endpoint, reply)
            if isinstance(reply, Reply) and not self._may_help(reply, endpoint, fleet):
                raise problem
            tried.append(endpoint.uri)
            if attempt == self._retries or not self._wait(reply, tried, ends_at) or not self._budget.spend():
                break
            self._refresh(ends_at, must=not isinstance(reply, Reply))
        assert problem is not None
        if time.monotonic() >= ends_at and problem.code != "TIMEOUT":
            raise error("TIMEOUT", f"the deadline passed; before that: {problem.message}")
        raise problem

    def _next(self, fleet: str | None, records: Sequence[Mapping[str, Any]] | None, tried: list[str]) -> Endpoint:
        candidates = self._candidates(fleet, records)
        return min(candidates, key=lambda e: tried.count(e.uri))  # the best of those that were asked least; min keeps the order

    def _may_help(self, reply: Reply, endpoint: Endpoint, fleet: str | None) -> bool:
        """Is it worth to ask again? A server that was not told to serve the fleet says 404 where another would answer."""
        if reply.status in _AGAIN:
            return True
        others = any(e.uri != endpoint.uri and e.fleets is not None and fleet in e.fleets for e in self._endpoints)
        return reply.status == 404 and endpoint.fleets is None and fleet is not None and others

    def _wait(self, reply: Reply | Exception, tried: list[str], ends_at: float) -> bool:
        """Before the next try: not at all if another server is left to ask, else longer each time. False: there is no time."""
        is_everywhere = len(set(tried)) >= len({e.uri for e in (self._endpoints or self._seeds)})
        seconds = 0.0
        if is_everywhere:
            first, most = _BACKOFF_SECONDS
            seconds = random.uniform(0, min(most, first * 2 ** len(tried)))
        if isinstance(reply, Reply) and reply.status == 429:
            seconds = max(seconds, _retry_after(reply) * random.uniform(0.5, 1))
        if time.monotonic() + seconds >= ends_at:
            return False
        time.sleep(seconds)
        return True


def _retry_after(reply: Reply) -> float:
    try:
        return min(5.0, float(reply.headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _problem(endpoint: Endpoint, reply: Reply | Exception) -> Error:
    if isinstance(reply, Reply):
        return error(_CODES.get(reply.status, "INTERNAL"), reply.message())
    code = "TIMEOUT" if isinstance(reply, TimeoutError) else "UNAVAILABLE"
    return error(code, f"{endpoint.uri}: {reply or type(reply).__name__}")


def _endpoints_of(service: Mapping[str, Any]) -> list[Endpoint]:
    groups = {f["name"]: f["groups"] for f in service["fleets"] if f.get("groups")}
    return [Endpoint(e["rest"].rstrip("/"), service["name"], e["region"], e["health"], e["load"],
                     {f["name"]: f["release"] for f in e["fleets"]}, groups) for e in service["endpoints"] if e["rest"]]


def _serves(endpoint: Endpoint, fleet: str | None, records: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a server has the fleet, and all of these rows."""
    if fleet is None or endpoint.fleets is None:
        return True
    if fleet not in endpoint.fleets:
        return False
    groups = endpoint.groups.get(fleet)
    if not groups or records is None:
        return True
    wanted = [[tuple(map(urllib.parse.unquote, part.split("=", 1))) for part in group.split(",")] for group in groups]
    return all(any(all(key_text(row.get(name)) == value for name, value in group) for group in wanted) for row in records)


def _chunks(records: list[dict[str, Any]]) -> Iterable[tuple[bytes, list[dict[str, Any]]]]:
    """Bodies of requests, none too long; one at least."""
    encode: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
    part: list[dict[str, Any]] = []
    texts: list[bytes] = []
    size = 0
    for record in records:
        text = encode(record).encode()
        if part and (len(part) == _CHUNK_ROWS or size + len(text) > _CHUNK_BYTES):
            yield b'{"rows":[' + b",".join(texts) + b"]}", part
            part, texts, size = [], [], 0
        part.append(record)
        texts.append(text)
        size += len(text) + 1
    yield b'{"rows":[' + b",".join(texts) + b"]}", part


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


__all__ = ["Answer", "Client", "Endpoint"]
