"""A pack that shrinks under a running server: no answer is made from lost pages, and the server goes on."""
import json
import os
import urllib.error
import urllib.request

from conftest import linear


def ask(url, row):
    """(status, body) of scoring one row."""
    body = json.dumps({"rows": [row]}).encode()
    try:
        with urllib.request.urlopen(f"{url}/v1/fleets/f/score", body, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_pack_that_shrinks_under_the_server(workspace):
    names = [f"a{i}" for i in range(2000)]  # a model of several pages
    for key in (1, 2):
        (workspace.cwd / f"m{key}.json").write_text(linear(names, key))
        workspace.run("model", "import", f"m{key}.json", "--fleet", "f", "--segment", f"k={key}")
    workspace.run("release", "create", "f")
    blobs = workspace.cwd / "packs/f/r1.blobs"
    whole = blobs.read_bytes()
    with workspace.serving() as url:
        assert ask(url, {"k": 1}) == (200, {"rows": [{"prediction": 1, "model": "f@k=1", "model_version": 1, "level": "segment", "status": "ok"}]})
        os.truncate(blobs, 4096)  # both models are gone; k=1 was checked before and is trusted no more
        for key in (1, 2, 1):
            status, body = ask(url, {"k": key})
            if status == 200:
                assert body["rows"][0]["status"] != "ok" and body["rows"][0]["prediction"] is None
            else:
                assert status >= 500 and body["error"]
        body = json.dumps({"rows": [{"k": 1}, {"k": 2}, {"k": 1}]}).encode()  # two models in one go
        with urllib.request.urlopen(f"{url}/v1/fleets/f/score", body, timeout=10) as answer:
            assert [row["prediction"] for row in json.load(answer)["rows"]] == [None, None, None]
        with urllib.request.urlopen(f"{url}/v2/health/live", timeout=10) as answer:
            assert answer.status == 200
    blobs.write_bytes(whole)
    assert workspace.json("predict", "f", "--row", '{"k":1}')["prediction"] == 1
