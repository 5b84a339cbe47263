"""Outputs beside the value, from the release to each surface: predict, /score, V2 infer, batch."""
import csv

import numpy as np
import pytest
import requests

lgb = pytest.importorskip("lightgbm")

NAMES = ["price", "deal", "week"]


def train(path, rounds, objective="regression"):
    rng = np.random.default_rng(rounds)
    x = rng.normal(size=(400, 3))
    y = 2 * x[:, 0] + x[:, 1] * x[:, 2]
    label = y if objective == "regression" else (y > 0).astype(int)
    booster = lgb.train({"objective": objective, "verbose": -1, "num_threads": 1, "num_leaves": 9},
                        lgb.Dataset(x, label, feature_name=NAMES), rounds)
    booster.save_model(path)
    return booster


@pytest.fixture
def oj(workspace):
    """Two segments with different numbers of trees, released without explanations."""
    workspace.boosters = {}
    for store, rounds in ((1, 5), (2, 8)):
        workspace.boosters[store] = train(workspace.cwd / "m.txt", rounds)
        workspace.run("model", "import", "m.txt", "--fleet", "oj", "--segment", f"store={store}")
    workspace.run("release", "create", "oj")
    return workspace


def row(store, x):
    return {"store": store, **dict(zip(NAMES, x))}


X = [0.5, -1.25, 0.75]


def close(got, want):
    return np.allclose(got, want, rtol=1e-12, atol=1e-12)


def test_predict_and_what_a_release_remembers(oj):
    import json
    text = json.dumps(row(2, X))
    booster = oj.boosters[2]
    code, message = oj.fails("predict", "oj", "--row", text, "--output", "contribution")
    assert "myriad release create --explain" in message and code == 69
    assert oj.fails("predict", "oj", "--row", text, "--output", "margins")[0] == 64
    assert oj.json("predict", "oj", "--row", text, "--output", "margin")["margin"] == booster.predict([X])[0]
    made = oj.json("release", "create", "oj", "--explain")
    assert made["explain"] and made["new_models"] == 2 and not made["reused"]
    assert oj.json("release", "create", "oj")["reused"]  # as before is with explanations
    answer = oj.json("predict", "oj", "--row", text, "--output", "contribution")["contribution"]
    wanted = booster.predict([X], pred_contrib=True)[0]
    assert close([answer["features"][name] for name in NAMES] + [answer["base"]], wanted)
    assert oj.json("predict", "oj", "--row", text, "--output", "leaf")["leaf"] == booster.predict([X], pred_leaf=True)[0].tolist()
    shown = oj.run("predict", "oj", "--row", text, "--output", "contribution").stdout.splitlines()
    sizes = [abs(float(line.split()[0])) for line in shown[1:4]]
    assert shown[0] == "contribution" and sizes == sorted(sizes, reverse=True) and shown[4].endswith("(base)")
    code, message = oj.fails("predict", "oj", "--row", text, "--output", "probability")
    assert "not a classifier" in message
    train(oj.cwd / "m.txt", 6)  # a nightly release keeps the choice, and the model that did not change
    oj.run("model", "import", "m.txt", "--fleet", "oj", "--segment", "store=1")
    made = oj.json("release", "create", "oj")
    assert made["explain"] and made["new_models"] == 1
    made = oj.json("release", "create", "oj", "--no-explain")
    assert not made["explain"] and made["new_models"] == 2
    assert oj.fails("release", "create", "oj", "--explain", "--no-explain")[0] == 64


def test_rest(oj):
    oj.run("release", "create", "oj", "--explain")
    rows = [row(1, X), row(2, X), row(9, X)]
    with oj.serving() as url:
        def score(output, **kwargs):
            return requests.post(f"{url}/v1/fleets/oj/score?output={output}", json={"rows": rows}, **kwargs)
        for store, answer in zip((1, 2), score("leaf").json()["rows"]):
            assert answer["leaf"] == oj.boosters[store].predict([X], pred_leaf=True)[0].tolist()
        answers = score("contribution").json()["rows"]
        assert answers[2]["contribution"] is None and answers[2]["status"] == "no_model"
        for store, answer in zip((1, 2), answers):
            parts = answer["contribution"]
            wanted = oj.boosters[store].predict([X], pred_contrib=True)[0]
            assert close([parts["features"][name] for name in NAMES] + [parts["base"]], wanted)
        assert score("value").json() == requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}).json()
        assert score("x").status_code == 400 and "output=x" in score("x").json()["error"]
        assert "not a classifier" in score("probability").json()["error"]
        shown = {o["name"]: o["shape"] for o in requests.get(f"{url}/v2/models/oj@store=2").json()["outputs"]}
        assert shown == {"prediction": [-1], "margin": [-1], "leaf": [-1, 8], "contribution": [-1, 4]}
        assert [o["name"] for o in requests.get(f"{url}/v2/models/oj").json()["outputs"]] == ["prediction", "margin", "contribution"]
        body = {"inputs": [{"name": "features", "shape": [2, 3], "datatype": "FP64", "data": [X, [1, 2, 3]]}],
                "outputs": [{"name": "leaf"}, {"name": "prediction"}, {"name": "contribution"}]}
        leaf, prediction, parts = requests.post(f"{url}/v2/models/oj@store=2/infer", json=body).json()["outputs"]
        table = [X, [1.0, 2.0, 3.0]]
        assert np.reshape(leaf["data"], leaf["shape"]).tolist() == oj.boosters[2].predict(table, pred_leaf=True).tolist()
        assert prediction["data"] == oj.boosters[2].predict(table).tolist()
        assert close(np.reshape(parts["data"], parts["shape"]), oj.boosters[2].predict(table, pred_contrib=True))


def test_batch(oj):
    oj.run("release", "create", "oj", "--explain")
    table = oj.cwd / "in.csv"
    table.write_text("store,price,deal,week\n1,0.5,-1.25,0.75\n2,0.5,-1.25,0.75\n9,1,1,1\n")
    run = ["batch", "run", "--fleet", "oj", "--input", table, "--output", "out", "--format", "csv", "--output-kind"]
    oj.run(*run, "value,contribution,margin")
    (path,) = (oj.cwd / "out").glob("*.csv")
    rows = list(csv.DictReader(path.open()))
    columns = ["contribution_price", "contribution_deal", "contribution_week", "base"]
    assert list(rows[0]) == ["store", "prediction", *columns, "margin", "model", "model_version", "level", "status"]
    by_store = {int(r["store"]): r for r in rows}
    for store in (1, 2):
        got = by_store[store]
        assert float(got["prediction"]) == float(got["margin"]) == oj.boosters[store].predict([X])[0]
        assert close([float(got[c]) for c in columns], oj.boosters[store].predict([X], pred_contrib=True)[0])
    assert by_store[9]["status"] == "no_model" and by_store[9]["base"] == ""
    assert "name one model" in oj.fails(*run, "leaf")[1]
    assert "twice" in oj.fails(*run, "margin,margin")[1]
    assert "not known" in oj.fails(*run, "shap")[1]


def test_batch_of_one_classifier(workspace):
    booster = train(workspace.cwd / "m.txt", 4, "binary")
    workspace.run("model", "import", "m.txt", "--fleet", "one", "--segment", "")
    workspace.run("release", "create", "one", "--explain")
    (workspace.cwd / "in.csv").write_text("price,deal,week\n0.5,-1.25,0.75\n")
    workspace.run("batch", "run", "--fleet", "one", "--input", "in.csv", "--output", "out", "--format", "csv",
                  "--output-kind", "probability,leaf")
    (path,) = (workspace.cwd / "out").glob("*.csv")
    (got,) = csv.DictReader(path.open())
    p = booster.predict([X])[0]
    assert [float(got["p_0"]), float(got["p_1"])] == [1 - p, p]
    assert [float(got[f"leaf_{t}"]) for t in range(4)] == booster.predict([X], pred_leaf=True)[0].tolist()
