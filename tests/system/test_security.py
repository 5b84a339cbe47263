"""Tokens, listeners and TLS as operators meet them: the commands, the running server, real clients."""
import json
import re
import socket
import subprocess
import time

import pytest
import requests

from conftest import linear
from test_score_forms import Stream


@pytest.fixture
def oj(workspace):
    for segment in ("store=2,brand=1", "brand=1", "brand=4", ""):
        (workspace.cwd / "m.json").write_text(linear(["price"], 10.0, [1.0]))
        workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    return workspace


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def make(program, name, *args):
    return program.json("token", "create", name, *args)["token"]


ROW = {"rows": [{"store": 2, "brand": 1, "price": 1}]}


def test_the_token_commands(oj):
    made = oj.run("token", "create", "shop-71", "--scope", "infer", "--fleet", "oj@brand=1", "--fleet", "oj@brand=4,store=2",
                  "--expires", "90d", "--rate", "100", "--concurrency", "8")
    assert re.fullmatch(r"myr_[0-9a-f]{64}\n", made.stdout) and "only time" in made.stderr
    (row,) = oj.json("token", "list")
    assert row["name"] == "shop-71" and row["scopes"] == ["infer"] and row["fleets"] == ["oj@brand=1", "oj@store=2,brand=4"]
    assert (row["rate"], row["concurrency"], row["revoked"]) == (100, 8, None) and row["expires"] > row["created"]
    assert "token" not in row
    second = oj.json("token", "create", "ops", "--scope", "read,admin")
    assert second["scopes"] == ["read", "admin"] and second["fleets"] == [] and second["expires"] is None
    assert [line.split()[0] for line in oj.run("token", "list").stdout.splitlines()] == ["state", "good", "good"]
    assert oj.json("token", "revoke", "ops") == {"revoked": "ops"}
    assert [row["name"] for row in oj.json("token", "list")] == ["shop-71"]
    assert len(oj.json("token", "list", "--all")) == 2
    for secret in (made.stdout.strip(), second["token"]):  # only its hash is kept, whatever the file
        for path in oj.cwd.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("args, words", [
    (["x", "--scope", "infr"], "did you mean infer"), (["x", "--scope", ""], "is not infer, read or admin"),
    (["x", "--fleet", "o"], "no fleet 'o'"), (["x", "--fleet", "oj@shop=1"], "shop"), (["x", "--fleet", "oj@"], "which group"),
    (["x", "--expires", "soon"], "not a time"), (["x", "--expires", "0s"], "not a time"), (["x", "--rate", "0"], "1 or more"),
    (["no name"], "token name 'no name'"), ([], "NAME is missing")])
def test_token_create_says_what_is_wrong(oj, args, words):
    _, message = oj.fails("token", "create", *args)
    assert words in message


def test_a_token_opens_what_it_says_and_closes_when_revoked(oj):
    infer, read, gone = make(oj, "infer", "--scope", "infer"), make(oj, "read", "--scope", "read"), make(oj, "gone", "--expires", "1ms")
    with oj.serving("--serve.reload", "200ms") as url:
        score = f"{url}/v1/fleets/oj/score"
        assert requests.post(score, json=ROW, headers=bearer(infer)).json()["rows"][0]["prediction"] == 11
        refused = requests.post(score, json=ROW)
        assert refused.status_code == 401 and refused.headers["WWW-Authenticate"] == 'Bearer realm="myriad"'
        refused = requests.post(score, json=ROW, headers=bearer(read))
        assert refused.status_code == 403 and 'error="insufficient_scope", scope="infer"' in refused.headers["WWW-Authenticate"]
        refused = requests.post(score, json=ROW, headers=bearer(gone))
        assert refused.status_code == 401 and 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        assert requests.get(f"{url}/v2/models", headers=bearer(read)).json() == {"models": ["oj"]}
        assert requests.get(f"{url}/v2/health/ready").status_code == 200
        oj.run("token", "revoke", "infer")
        until = time.monotonic() + 10
        while requests.post(score, json=ROW, headers=bearer(infer)).status_code != 401:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_tritonclient_with_a_token(oj):
    client_lib = pytest.importorskip("tritonclient.http")
    token = make(oj, "triton")
    with oj.serving() as url:
        client = client_lib.InferenceServerClient(url.removeprefix("http://"))
        assert client.is_server_live()
        with pytest.raises(Exception, match="a token is needed"):
            client.get_model_metadata("oj")
        assert client.get_model_metadata("oj", headers=bearer(token))["name"] == "oj"
        client.close()


def test_addresses_that_others_reach(oj):
    code, message = oj.fails("serve", "--listen", "0.0.0.0:0")
    assert code == 77 and "other machines reach this address: make a token first (myriad token create)" in message
    make(oj, "t")
    _, message = oj.fails("serve", "--listen", "[::]:0")
    assert "there is no TLS" in message
    _, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0")
    assert "0.0.0.0:0: other machines reach this address" in message
    _, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--serve.auth", "requird")
    assert "did you mean required" in message
    with oj.serving("--listen", "0.0.0.0:0", "--serve.insecure", "true") as url:
        assert requests.get(url.replace("0.0.0.0", "127.0.0.1") + "/v2/models").status_code == 401


def test_the_admin_listener_is_announced(oj):
    token = make(oj, "ops", "--scope", "admin")
    process = subprocess.Popen([oj.path, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--serve.model-control",
                                "true", "--json"], cwd=oj.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = json.loads(process.stdout.readline())
        for base, status in ((said["listening"], 403), (said["admin"], 200)):
            assert requests.post(f"{base}/v2/repository/models/oj/load", headers=bearer(token)).status_code == status
        assert requests.post(said["admin"] + "/v2/repository/models/oj/load").status_code == 401
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Sanitizer" not in errors, errors


def test_secrets_stay_out_of_logs_and_answers(oj):
    token, wrong = make(oj, "t"), "myr_" + "c0ffee" * 10
    process = subprocess.Popen([oj.path, "serve", "--listen", "127.0.0.1:0", "--serve.access-log", "true"], cwd=oj.cwd,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = re.search(r"http://[^ ,\"]+", process.stdout.readline())[0]
    seen = ""
    for headers, path in ((bearer(token), "/v2/models"), (bearer(wrong), "/v2/models"), (bearer(wrong), "/metrics"),
                          (bearer(token), f"/v2/models?token={token}"), ({}, f"/v2/models/oj?access_token={wrong}"),
                          ({"Authorization": "Basic " + wrong}, "/v1/services"), (bearer(token), "/metrics")):
        answer = requests.get(url + path, headers=headers)
        seen += answer.text + str(answer.headers)
    with socket.create_connection(url.removeprefix("http://").split(":")) as s:
        s.sendall(f"GET /v2/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {wrong}\r\n\r\n".encode())
        seen += s.recv(65536).decode()
    process.terminate()
    out, errors = process.communicate(timeout=60)
    seen += out + errors
    assert "/v2/models" in errors  # the access log was there
    for secret in (token, token[4:], wrong, wrong[4:]):
        assert secret not in seen


def test_a_stream_ends_when_its_token_is_revoked(oj):
    token = make(oj, "stream")
    make(oj, "other")
    with oj.serving("--serve.reload", "100ms") as url:
        stream = Stream(url, "/v1/fleets/oj/score", head=f"Authorization: Bearer {token}\r\n")
        line = json.dumps(ROW["rows"][0]) + "\n"
        assert stream.headers() == 200
        stream.send(line)
        assert json.loads(stream.chunk())["prediction"] == 11
        oj.run("token", "revoke", "stream")
        until = time.monotonic() + 20
        while True:
            stream.send(line)
            answer = json.loads(stream.chunk().splitlines()[0])
            if "prediction" not in answer:
                break
            assert time.monotonic() < until
            time.sleep(0.05)
        assert "revoked" in answer["error"], answer
        stream.close()
