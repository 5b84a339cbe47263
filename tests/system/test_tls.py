"""TLS and certificates of clients, with certificates made here and real clients; certificates change under load."""
import concurrent.futures
import contextlib
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests

from conftest import linear


def openssl(cwd, *args):
    done = subprocess.run(["openssl", *args], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def authority(cwd, name):
    openssl(cwd, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.pem", "-days", "30", "-subj", f"/CN={name}")


def certificate(cwd, name, ca, days=30):
    openssl(cwd, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl(cwd, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", str(days),
            "-copy_extensions", "copy", "-out", f"{name}.pem")
    os.chmod(cwd / f"{name}.key", 0o600)
    return cwd / f"{name}.pem", cwd / f"{name}.key"


@pytest.fixture
def oj(workspace):
    (workspace.cwd / "m.json").write_text(linear(["price"], 10.0, [1.0]))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "")
    workspace.run("release", "create", "oj")
    authority(workspace.cwd, "ca")
    certificate(workspace.cwd, "server", "ca")
    return workspace


@contextlib.contextmanager
def serving(program, *args):
    process = subprocess.Popen([program.path, "serve", "--listen", "127.0.0.1:0", "--serve.tls-cert", "server.pem", "--serve.tls-key",
                                "server.key", *args], cwd=program.cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        url = re.search(r"https://[^ ,\"]+", process.stdout.readline())[0]
        yield url.replace("127.0.0.1", "localhost"), process
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Sanitizer" not in errors, errors
    process.errors = errors


def shake(url, context, name="localhost"):
    """A handshake and one request on the connection; gives the version and the answer's first line."""
    host, port = url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as raw, context.wrap_socket(raw, server_hostname=name) as s:
        s.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b""
        while part := s.recv(65536):
            got += part
        return s.version(), got.split(b"\r\n")[0]


def trusting(program, client=None):
    context = ssl.create_default_context(cafile=program.cwd / "ca.pem")
    if client is not None:
        context.load_cert_chain(*client)
    return context


OK = b"HTTP/1.1 200 OK"


def test_clients_over_tls(oj):
    with serving(oj) as (url, _):
        body = {"rows": [{"price": 1}] * 5000}  # larger than a record, and a compute thread's
        answer = requests.post(f"{url}/v1/fleets/oj/score", json=body, verify=oj.cwd / "ca.pem", timeout=60)
        assert [row["prediction"] for row in answer.json()["rows"]] == [11] * 5000
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{url}/v2", timeout=20)  # an authority that the client does not know
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url.replace("https", "http") + "/v2", timeout=20)
        client_lib = pytest.importorskip("tritonclient.http")
        client = client_lib.InferenceServerClient(url.removeprefix("https://"), ssl=True,
                                                  ssl_options={"ca_certs": str(oj.cwd / "ca.pem")})
        assert client.is_server_live() and client.get_model_metadata("oj")["name"] == "oj"
        client.close()


def test_a_stream_of_rows_over_tls(oj):
    """Each row is answered before the next is sent."""
    with serving(oj) as (url, _):
        host, port = url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as raw, \
                trusting(oj).wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n")
            got = b""
            for i in range(50):
                line = b'{"price":%d}\n' % i
                s.sendall(b"%x\r\n%s\r\n" % (len(line), line))
                while got.count(b'"prediction"') <= i:
                    part = s.recv(65536)
                    assert part, got[-300:]
                    got += part
                assert b'"prediction":%d' % (10 + i) in got
            s.sendall(b"0\r\n\r\n")
            while part := s.recv(65536):
                got += part
            assert got.endswith(b"0\r\n\r\n")


def test_versions_suites_and_names(oj):
    with serving(oj) as (url, _):
        assert shake(url, trusting(oj)) == ("TLSv1.3", OK)
        for version, wanted in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_1, None), (ssl.TLSVersion.TLSv1, None)):
            context = trusting(oj)
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            if wanted:
                assert shake(url, context) == (wanted, OK)
            else:
                with pytest.raises(ssl.SSLError):
                    shake(url, context)
        for weak in ("NULL", "aNULL", "RC4", "3DES", "EXPORT"):
            context = trusting(oj)
            try:
                context.set_ciphers(f"{weak}:@SECLEVEL=0")
            except ssl.SSLError:
                continue  # this OpenSSL has it no more
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError):
                shake(url, context)
        context = trusting(oj)
        context.check_hostname = False
        assert shake(url, context, name=None)[1] == OK  # no SNI
        context.set_alpn_protocols(["h2", "http/1.1"])
        assert shake(url, context)[1] == OK


def test_certificates_of_clients(oj):
    authority(oj.cwd, "other")
    good, late, strange = (certificate(oj.cwd, name, ca, days) for name, ca, days in
                           (("good", "ca", 30), ("late", "ca", -1), ("strange", "other", 30)))
    with serving(oj, "--serve.tls-client-ca", "ca.pem") as (url, _):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for client, is_welcome in ((good, True), (None, False), (late, False), (strange, False)):
                context = trusting(oj, client)
                context.minimum_version = context.maximum_version = version
                if is_welcome:
                    assert shake(url, context)[1] == OK
                else:  # TLS 1.3 tells the client after its side of the handshake
                    with pytest.raises((ssl.SSLError, ConnectionError)):
                        assert shake(url, context)[1] != OK
                        raise ConnectionError("closed without an answer")


@pytest.mark.parametrize("spoil, words", [
    (lambda cwd: os.chmod(cwd / "server.key", 0o644), "server.key: the key is open to others (mode 0644): chmod 600 server.key"),
    (lambda cwd: os.chmod(cwd / "server.key", 0o620), "mode 0620"),
    (lambda cwd: (cwd / "server.key").unlink(), "server.key: No such file"),
    (lambda cwd: (cwd / "server.pem").write_text("nothing"), "are not a certificate and its key"),
    (lambda cwd: certificate(cwd, "server2", "ca") and os.replace(cwd / "server2.key", cwd / "server.key"), "are not a certificate and its key"),
])
def test_what_is_wrong_with_the_files_is_said(oj, spoil, words):
    spoil(oj.cwd)
    _, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--serve.tls-cert", "server.pem", "--serve.tls-key", "server.key")
    assert words in message


def test_half_of_tls_is_refused(oj):
    _, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--serve.tls-cert", "server.pem")
    assert "serve.tls-cert is set without serve.tls-key" in message
    _, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--serve.tls-client-ca", "ca.pem")
    assert "serve.tls-client-ca needs serve.tls-cert" in message


def test_other_machines_with_tls(oj):
    oj.fails("serve", "--listen", "0.0.0.0:0", "--serve.tls-cert", "server.pem", "--serve.tls-key", "server.key")  # and no token
    oj.run("token", "create", "t")
    with serving(oj, "--listen", "0.0.0.0:0") as (url, _):
        answer = requests.get(url.replace("0.0.0.0", "localhost") + "/v2", verify=oj.cwd / "ca.pem", timeout=20)
        assert answer.status_code == 401


def test_a_certificate_changes_under_load_without_a_failed_handshake(oj):
    serials, failures, stop = set(), [], threading.Event()

    def client(url):
        context = trusting(oj)
        host, port = url.removeprefix("https://").split(":")
        while not stop.is_set():
            try:
                with socket.create_connection((host, int(port)), timeout=20) as raw, \
                        context.wrap_socket(raw, server_hostname="localhost") as s:
                    serials.add(s.getpeercert()["serialNumber"])
                    s.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    if not s.recv(65536).startswith(OK):
                        failures.append("no answer")
            except OSError as error:
                failures.append(repr(error))

    with serving(oj, "--serve.reload", "20ms") as (url, process), concurrent.futures.ThreadPoolExecutor(4) as pool:
        kept = requests.Session()
        kept.get(f"{url}/v2", verify=oj.cwd / "ca.pem", timeout=20)
        clients = [pool.submit(client, url) for _ in range(4)]
        for i in range(6):
            certificate(oj.cwd, f"new{i}", "ca")
            os.replace(oj.cwd / f"new{i}.key", oj.cwd / "server.key")  # for a moment the pair does not fit: the old one goes on
            os.replace(oj.cwd / f"new{i}.pem", oj.cwd / "server.pem")
            wanted = len(serials) + 1
            until = time.monotonic() + 20
            while len(serials) < wanted and time.monotonic() < until:
                time.sleep(0.02)
        (oj.cwd / "server.pem").write_text("broken")
        time.sleep(0.3)
        stop.set()
        for each in clients:
            each.result()
        assert shake(url, trusting(oj))[1] == OK
        assert kept.get(f"{url}/v2", verify=oj.cwd / "ca.pem", timeout=20).status_code == 200
        kept.close()
    assert failures == [] and len(serials) == 7
    assert process.errors.count("certificate not read: the earlier one goes on") >= 1
