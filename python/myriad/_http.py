"""Requests over connections that are kept, one server at a time; no retries here."""

from __future__ import annotations

import collections
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, NamedTuple

_IDLE_SECONDS = 30.0  # a server closes idle connections after 75 s unless told otherwise
_KEPT = 16  # connections of one server that are kept


class Reply(NamedTuple):
    """An answer whose body is read."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def message(self) -> str:
        """What an error says."""
        try:
            found = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            found = self.body[:200].decode("utf-8", "replace")
        return str(found) or f"status {self.status}"


class _NoDelay(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _NoDelayTls(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Server:
    """Connections to one base URI. Any number of threads."""

    def __init__(self, uri: str, context: ssl.SSLContext | None) -> None:
        self.uri = uri
        parts = urllib.parse.urlsplit(uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"'{uri}' is not http://HOST:PORT or https://HOST:PORT")
        self._host, self._tls, self._context = parts.hostname, parts.scheme == "https", context
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._idle: collections.deque[tuple[float, http.client.HTTPConnection]] = collections.deque()
        self._lock = threading.Lock()

    def _take(self) -> http.client.HTTPConnection | None:
        """A connection that was used a short while ago."""
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                if time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    def _open(self, seconds: float) -> http.client.HTTPConnection:
        if self._tls:
            return _NoDelayTls(self._host, self._port, timeout=seconds, context=self._context)
        return _NoDelay(self._host, self._port, timeout=seconds)

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < _KEPT:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop()[1].close()

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, seconds: float) -> Reply:
        """One request. OSError and http.client.HTTPException: there is no answer.

        A kept connection that the server has closed meanwhile is told by its first use: then a new one is opened.
        """
        connection = self._take()
        if connection is not None:
            try:
                return self._exchange(connection, method, path, headers, body, seconds)
            except (ConnectionError, http.client.RemoteDisconnected):
                pass
        return self._exchange(self._open(seconds), method, path, headers, body, seconds)

    def _exchange(self, connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str],
                  body: bytes | None, seconds: float) -> Reply:
        try:
            connection.timeout = seconds
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            connection.request(method, self._path + path, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read()
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._keep(connection)
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, data)


__all__ = ["Reply", "Server"]
