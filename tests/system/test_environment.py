"""Environments of models that are code: listed, pruned, held to a budget and to hashes; code without a network."""
import hashlib
import json
import socket
import subprocess
import threading

import pytest

from test_batch_code import rows, write_model
from test_score_py import ask, make_wheel

ANSWER = "import tiny_answer\nfeatures = ['x']\ndef run(b): return [tiny_answer.answer * 1000 + x for x in b['x']]\n"
LIST = "--no-index\n--find-links wheels\ntiny-answer=={version}{hashes}\n"


def needy(workspace, name, version, env, hashes="", wants=None, text=ANSWER, requirements=None):
    """A directory with score.py, a wheel and a list that asks for it."""
    directory = write_model(workspace.cwd / name, text, requirements or LIST.format(version=version, hashes=hashes))
    make_wheel(directory / "wheels", version)
    if wants is not None:
        (directory / "score.yaml").write_text(wants)
    return directory


def bring(workspace, name, env=None):
    workspace.run("model", "import", name, "--fleet", name, "--segment", "", env=env)
    workspace.run("release", "create", name)


@pytest.fixture
def env(workspace):
    return {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "environments"), "MYRIAD_RUNTIME_PYTHON_KEEP": "1h"}


def listed(workspace, env):
    return {row["environment"]: row for row in workspace.json("environment", "list", env=env)["environments"]}


def predict(workspace, fleet, env):
    return json.loads(workspace.run("predict", fleet, "--row", '{"x":1}', "--json", env=env).stdout)["prediction"]


def test_environments_are_listed_and_pruned_but_never_one_in_use(workspace, env):
    assert workspace.json("environment", "list", env=env)["environments"] == []
    assert workspace.json("environment", "prune", env=env)["removed"] == []
    for version, name in ((1, "a"), (2, "b")):
        needy(workspace, name, version, env)
        bring(workspace, name, env)
    (workspace.cwd / "b" / "score.py").write_text(ANSWER + "# once more\n")
    bring(workspace, "b", env)
    by_fleet = {row["models"][0]["fleet"]: row for row in listed(workspace, env).values()}
    a, b = by_fleet["a"], by_fleet["b"]
    assert [(m["segment"], m["version"]) for m in a["models"]] == [("", 1)] and [m["version"] for m in b["models"]] == [1, 2]
    assert a["state"] == b["state"] == "idle" and a["in_use"] is False and a["bytes"] > 1 << 20 and a["made"] <= a["used"]
    text = workspace.run("environment", "list", env=env).stdout
    assert "b (2)" in text and "2 environments" in text and "(at most 10.7 GB)" in text
    shown = workspace.json("environment", "show", a["environment"][:8], env=env)
    assert shown["requirements"] == LIST.format(version=1, hashes="") and shown["environment"] == a["environment"] and shown["python"]
    text = workspace.run("environment", "show", b["environment"], env=env).stdout
    assert "b@ version 2" in text and "tiny-answer==2" in text and "network " in text
    assert "myriad environment list" in workspace.fails("environment", "show", "zz", env=env)[1]
    assert "begins with" in workspace.fails("environment", "show", "", env=env)[1]
    assert workspace.json("environment", "prune", env=env)["removed"] == [], "models need both"
    assert workspace.json("environment", "prune", "--older-than", "1h", env=env)["removed"] == []
    assert workspace.json("environment", "prune", "--to-size", a["bytes"] + b["bytes"], env=env)["removed"] == []
    assert "leave out" in workspace.fails("environment", "prune", "--all", "--to-size", "1GiB", env=env)[1]
    assert "is not a time such as 12h" in workspace.fails("environment", "prune", "--older-than", "x", env=env)[1]
    with workspace.serving(env=env) as url:
        assert ask_x(url, "a") == 1001 and ask_x(url, "b") == 2001
        assert {row["state"] for row in listed(workspace, env).values()} == {"in use"}
        pruned = workspace.json("environment", "prune", "--all", env=env)
        assert pruned["removed"] == [] and pruned["left_in_use"] == 2 and pruned["left_bytes"] == a["bytes"] + b["bytes"]
        assert "0 environments removed" in workspace.run("environment", "prune", "--to-size", "0", env=env).stdout
    budget = {**env, "MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS_BYTES": str(a["bytes"] + b["bytes"])}
    assert predict(workspace, "a", budget) == 1001 and len(listed(workspace, env)) == 2
    budget["MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS_BYTES"] = str(a["bytes"] + b["bytes"] - 1)
    assert predict(workspace, "a", budget) == 1001
    assert list(listed(workspace, env)) == [a["environment"]], "the other was used less lately"
    budget["MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS_BYTES"] = str(a["bytes"] - 1)
    assert predict(workspace, "a", budget) == 1001, "it is in use, so it is there"
    assert listed(workspace, env) == {}


def ask_x(url, fleet):
    import requests
    answer = requests.post(f"{url}/v1/fleets/{fleet}/score", json={"rows": [{"x": 1}]}, headers={"X-Deadline-Ms": "60000"}, timeout=90)
    return answer.json()["rows"][0]["prediction"]


def wheel_hash(directory, version):
    return hashlib.sha256((directory / "wheels" / f"tiny_answer-{version}-py3-none-any.whl").read_bytes()).hexdigest()


def with_hash(digest):
    return f" \\\n    --hash=sha256:{digest}"


def test_hashes_are_checked_and_can_be_asked_for(workspace, env):
    directory = needy(workspace, "good", 1, env, wants="environment:\n  require_hashes: true\n")
    good = with_hash(wheel_hash(directory, 1))
    _, message = workspace.fails("model", "import", "good", "--fleet", "f", "--segment", "", env=env)
    assert "good: requirements.txt, line 3: tiny-answer==1 has no --hash, which is asked for" in message, message
    (directory / "requirements.txt").write_text(LIST.format(version=1, hashes=good))
    bring(workspace, "good", env)
    assert predict(workspace, "good", env) == 1001
    (shown,) = listed(workspace, env).values()
    assert shown["models"][0]["require_hashes"] is True
    wrong = needy(workspace, "wrong", 1, env, hashes=with_hash("0" * 64))
    _, message = workspace.fails("model", "import", wrong, "--fleet", "f", "--segment", "", env=env)
    assert "requirements.txt, line 3: tiny-answer==1 has not the hash of the list (000000000000…), but " + wheel_hash(wrong, 1)[:12] in message
    assert not list((workspace.cwd / "environments").glob("*/.complete"))[1:], "nothing of it is left"
    (wrong / "requirements.txt").write_text(LIST.format(version=1, hashes=good) + "other==2\n")
    assert "line 5: other==2 has no --hash, as others have" in workspace.fails("model", "import", wrong, "--fleet", "f", "--segment", "", env=env)[1]
    # a list without, asked for by the configuration and by a job
    needy(workspace, "bare", 2, env)
    strict = {**env, "MYRIAD_RUNTIME_PYTHON_REQUIRE_HASHES": "true"}
    assert "line 3: tiny-answer==2 has no --hash" in workspace.fails("model", "import", "bare", "--fleet", "f", "--segment", "", env=strict)[1]
    bring(workspace, "bare", env)
    (workspace.cwd / "in.csv").write_text("x,id\n1,0\n")
    (workspace.cwd / "job.yaml").write_text("fleet: bare\ninput: in.csv\noutput: {path: out, format: csv, keep: [id]}\nenvironment: {require_hashes: true}\n")
    assert "bare: requirements.txt, line 3: tiny-answer==2 has no --hash, which is asked for" in workspace.fails("batch", "run", "job.yaml", env=env)[1]
    (workspace.cwd / "job.yaml").write_text((workspace.cwd / "job.yaml").read_text().replace("fleet: bare", "fleet: good"))
    workspace.run("batch", "run", "job.yaml", env=env)
    assert [row["prediction"] for row in rows(workspace)] == ["1001.0"]


@pytest.mark.parametrize("text,words", [
    ("environment: {netwrok: true}\n", "score.yaml:1"), ("enviroment: {}\n", "environment"), ("environment: 5\n", "score.yaml:1"),
    ("environment:\n  network: maybe\n", "score.yaml:2"), ("environment: {network: true\n", "score.yaml")])
def test_a_score_yaml_that_is_refused(workspace, text, words):
    directory = write_model(workspace.cwd / "m", "features = ['x']\ndef run(b): return [0]\n")
    (directory / "score.yaml").write_text(text)
    _, message = workspace.fails("model", "import", "m", "--fleet", "f", "--segment", "")
    assert words in message and "m: " in message, message


# ---- the network ----

def can_be_offline():
    return any(subprocess.run(["unshare", flags, "true"], capture_output=True).returncode == 0 for flags in ("-n", "-rn"))


@pytest.fixture
def listener():
    """The port of a server on the loopback that takes whoever comes."""
    server = socket.create_server(("127.0.0.1", 0))

    def take():
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=take)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


CALLER = """
import socket
features = ["x"]

def run(mini_batch):
    try:
        socket.create_connection(("127.0.0.1", {port}), timeout=20).close()
    except OSError:
        return [-1.0 for _ in mini_batch["x"]]
    return [1.0 for _ in mini_batch["x"]]
"""


@pytest.mark.skipif(not can_be_offline(), reason="this kernel lets this user make no network name space")
def test_code_has_no_network_unless_it_is_asked_for(workspace, listener):
    for name, wants in (("quiet", None), ("caller", "environment: {network: true}\n")):
        directory = write_model(workspace.cwd / name, CALLER.format(port=listener))
        if wants:
            (directory / "score.yaml").write_text(wants)
        bring(workspace, name)
    assert predict(workspace, "quiet", None) == -1 and predict(workspace, "caller", None) == 1
    with workspace.serving() as url:
        assert ask_x(url, "quiet") == -1 and ask_x(url, "caller") == 1
    (workspace.cwd / "in.csv").write_text("x,id\n" + "".join(f"{i},{i}\n" for i in range(50)))
    for fleet, says, answer in (("quiet", None, -1), ("quiet", "true", 1), ("caller", None, 1), ("caller", "false", -1)):
        (workspace.cwd / "job.yaml").write_text(f"fleet: {fleet}\ninput: in.csv\noutput: {{path: out, format: csv, keep: [id]}}\n" +
                                                (f"environment: {{network: {says}}}\n" if says else ""))
        workspace.run("batch", "run", "job.yaml", "--force")
        assert {float(row["prediction"]) for row in rows(workspace)} == {answer}, (fleet, says)
        assert ("  network: " in workspace.run("batch", "show").stdout) == (says is not None)
