"""Real object stores that tests start and end themselves: versitygw for S3, Azurite for Azure Blob; and a proxy that fails on demand."""
import base64
import contextlib
import email.utils
import hashlib
import hmac
import html
import http.client
import os
import pathlib
import re
import shutil
import socket
import tempfile
import threading
import time
import urllib.parse

import pytest

from databases import Server, free_port

DEPS = pathlib.Path(__file__).resolve().parents[2] / ".deps"
NOT_OURS = [name for name in os.environ if name.startswith(("AWS_", "AZURE_"))]


class S3(Server):
    """Its bucket `data` is a directory: what stands in it, tests may look at and put there."""
    scheme, secret = "s3", "secret/word+for=tests"

    def __init__(self):
        if not (DEPS / "versitygw/versitygw").exists():
            pytest.fail("versitygw is not here: scripts/setup --tests")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="myriad-s3-"))
        self.root = self.dir / "objects/data"
        self.root.mkdir(parents=True)
        (self.dir / "sidecar").mkdir()
        port = free_port()
        super().__init__([DEPS / "versitygw/versitygw", "--access", "tester", "--secret", self.secret, "--port", f"127.0.0.1:{port}",
                          "--quiet", "posix", "--sidecar", self.dir / "sidecar", self.dir / "objects"], port, "s3://data")

    def env(self, port=None, secret=None):
        return {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": secret or self.secret,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}"}

    def seed(self, key, data):
        """An object, without asking the server: it has no ETag then."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key):
        return (self.root / key).read_bytes()

    def keys(self, prefix):
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix))

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Azure(Server):
    scheme, secret = "az", base64.b64encode(b"a secret of an account, in base64").decode()

    def __init__(self):
        if not shutil.which("node") or not (DEPS / "azurite").exists():
            pytest.fail("Azurite is not here: scripts/setup --tests")
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="myriad-azure-"))
        port = free_port()
        super().__init__(["env", f"AZURITE_ACCOUNTS=tester:{self.secret}", "node", DEPS / "azurite/node_modules/azurite/dist/src/blob/main.js",
                          "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", self.dir, "--silent", "--disableTelemetry"],
                         port, "az://data")

    def start(self):
        super().start()
        status, text = self.ask("PUT", "/tester/data", "restype=container")
        assert status in (201, 409), text
        return self

    def env(self, port=None, secret=None):
        return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName=tester;AccountKey={secret or self.secret};"
                                                   f"BlobEndpoint=http://127.0.0.1:{port or self.port}/tester;"}

    def ask(self, method, path, query="", body=b"", headers=()):
        """Signed here once more, by Azure's documentation."""
        sent = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02", **dict(headers)}
        text = f"{method}\n\n\n{len(body) or ''}\n\n\n\n\n\n\n\n\n" + "".join(f"{k}:{v}\n" for k, v in sorted(sent.items()))
        text += f"/tester{path}" + "".join("\n{}:{}".format(*pair) for pair in sorted(urllib.parse.parse_qsl(query)))
        key = hmac.new(base64.b64decode(self.secret), text.encode(), hashlib.sha256).digest()
        sent["authorization"] = "SharedKey tester:" + base64.b64encode(key).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path + (f"?{query}" if query else ""), body or None, sent)
        with connection.getresponse() as answer:
            return answer.status, answer.read()

    def seed(self, key, data):
        status, text = self.ask("PUT", "/tester/data/" + urllib.parse.quote(key), body=data, headers={"x-ms-blob-type": "BlockBlob"}.items())
        assert status == 201, text

    def get(self, key):
        status, data = self.ask("GET", "/tester/data/" + urllib.parse.quote(key))
        if status == 404:
            raise FileNotFoundError(key)
        assert status == 200, data
        return data

    def keys(self, prefix):
        status, text = self.ask("GET", "/tester/data", urllib.parse.urlencode({"restype": "container", "comp": "list", "prefix": prefix}))
        assert status == 200, text
        return sorted(html.unescape(name) for name in re.findall("<Name>(.*?)</Name>", text.decode()))

    def sas(self):
        """A shared access signature that may do anything for an hour."""
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        text = f"tester\nrwdlacup\nb\nsco\n\n{end}\n\n\n2021-12-02\n\n"
        key = hmac.new(base64.b64decode(self.secret), text.encode(), hashlib.sha256).digest()
        return urllib.parse.urlencode({"sv": "2021-12-02", "ss": "b", "srt": "sco", "sp": "rwdlacup", "se": end,
                                       "sig": base64.b64encode(key).decode()})

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Proxy:
    """Passes requests on, one a connection; `faults` are asked in order, the first that takes a request acts on it and is gone."""

    def __init__(self, port):
        self.upstream, self.faults, self.requests, self.lock = port, [], [], threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def fail(self, wanted, action, times=1):
        """wanted: part of the first line or a function of (line, headers); action: a function of (client, answer) or bytes."""
        self.faults += [(wanted if callable(wanted) else lambda line, _: wanted in line, action)] * times

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # who waits in accept() would still take one
        self.socket.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError, ValueError):
            client.settimeout(60)
            stream = client.makefile("rb")
            line = stream.readline().decode("latin-1").strip()
            if not line:
                return
            headers = []
            while (text := stream.readline().decode("latin-1").strip()):
                headers.append(text.split(": ", 1))
            names = {name.lower(): value for name, value in headers}
            body = stream.read(int(names.get("content-length", 0)))
            with self.lock:
                self.requests.append((line, names))
                found = next((i for i, (wanted, _) in enumerate(self.faults) if wanted(line, names)), None)
                action = self.faults.pop(found)[1] if found is not None else None
            if isinstance(action, bytes):
                client.sendall(action)
                return
            answer = self._ask(line, headers, body)
            if action is None:
                client.sendall(answer)
            else:
                action(client, answer)

    def _ask(self, line, headers, body):
        with socket.create_connection(("127.0.0.1", self.upstream), 60) as server:
            head = "".join(f"{name}: {value}\r\n" for name, value in headers if name.lower() != "connection")
            server.sendall(f"{line}\r\n{head}Connection: close\r\n\r\n".encode("latin-1") + body)
            parts = []
            while (part := server.recv(1 << 16)):
                parts.append(part)
            return b"".join(parts)


def status(number, code, extra="", kind="xml"):
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>said the proxy</Message></Error>'
    return (f"HTTP/1.1 {number} Failed\r\nContent-Type: application/{kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{extra}\r\n"
            f"{body}").encode()


def cut(bytes_of_body):
    """The connection ends after so much of the answer's body."""
    def act(client, answer):
        head = answer.index(b"\r\n\r\n") + 4
        client.sendall(answer[:head + bytes_of_body])
        client.shutdown(socket.SHUT_RDWR)
    return act


def lose(client, answer):
    """The server has done it, but nobody hears of that."""
    client.shutdown(socket.SHUT_RDWR)


def stall(bytes_of_body, seconds=20):
    """After so much of the answer's body nothing comes any more."""
    def act(client, answer):
        head = answer.index(b"\r\n\r\n") + 4
        client.sendall(answer[:head + bytes_of_body])
        client.settimeout(seconds)
        client.recv(1)
    return act


@contextlib.contextmanager
def proxied(server):
    proxy = Proxy(server.port)
    try:
        yield proxy
    finally:
        proxy.close()
