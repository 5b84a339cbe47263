"""The service file and the stages of a request, as docs/service.md promises them."""
import requests

from conftest import ROOT, linear


def test_the_example_of_a_service(workspace):
    """examples/oj/service.yaml, on a fleet with the columns of examples/oj: what docs/service.md says of each key."""
    features = ["week", *(f"price{i}" for i in range(1, 12)), "deal", "feat"]
    files = []
    for segment, intercept in (("store=2,brand=1", 20.0), ("brand=1", 8.0), ("", 9.0)):
        path = workspace.cwd / f"m{len(files)}.json"
        path.write_text(linear(features, intercept, [0.0] * 12 + [1.0, 1.0]))
        files.append(path)
        workspace.run("model", "import", path, "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    row = {"store": 2, "brand": 1, "week": 1, **{f"price{i}": 0.05 for i in range(1, 12)}, "deal": 1, "feat": 0.5}
    with workspace.serving("--service", ROOT / "examples/oj/service.yaml") as url:
        rows = [row, {**row, "brand": 3}, {**row, "price1": 0.5}, {**row, "feat": 7}, {**row, "deal": 2}, {**row, "price1": None}]
        answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}, timeout=60)
    got = [(r["status"], r["level"], r["prediction"], r.get("message")) for r in answer.json()["rows"]]
    assert "infer;dur=" in answer.headers["Server-Timing"]
    assert got[0] == ("ok", "parent", 9.5, "the prediction is 21.5, above 15")
    assert got[1][0] == "no_model" and "not in the groups" in got[1][3]
    assert got[2] == ("rejected", "segment", None, "'price1' is 0.5, above 0.2")
    assert got[3][:3] == ("ok", "parent", 10.0)
    assert got[4][0] == "rejected" and got[5][3] == "'price1' is missing"


def test_a_service_file_that_is_wrong_ends_the_start(workspace):
    (workspace.cwd / "s.yaml").write_text("fleets:\n  oj:\n    dedline: 1s\n")
    code, message = workspace.fails("serve", "--listen", "127.0.0.1:0", "--service", "s.yaml")
    assert code == 65 and "s.yaml:3:5: unknown key 'dedline': did you mean 'deadline'?" in message
    code, message = workspace.fails("serve", "--listen", "127.0.0.1:0", "--service", "none.yaml")
    assert code == 66 and "none.yaml" in message
