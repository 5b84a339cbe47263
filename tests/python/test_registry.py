"""Models from memory into the registry and back as predictions."""
import os

import myriad
import numpy as np
import pandas as pd
import pytest

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

RNG = np.random.default_rng(5)
X = pd.DataFrame(RNG.normal(size=(800, 3)), columns=["a", "b", "c"])
Y = X.a * 2 + np.where(X.b > 0, X.c, 1)


@pytest.fixture
def registry(tmp_path):
    return myriad.Registry(tmp_path / "ws", create=True)


def test_models_of_each_library(registry):
    from sklearn.linear_model import LinearRegression
    ranked = lightgbm.LGBMRegressor(n_estimators=8, verbose=-1, n_jobs=1).fit(X, Y)
    boosted = xgboost.XGBRegressor(n_estimators=30, early_stopping_rounds=2, n_jobs=1).fit(X[:500], Y[:500], eval_set=[(X[500:], Y[500:] + RNG.normal(size=300))], verbose=False)
    linear = LinearRegression().fit(X, Y)
    models = {"kind=lgb": ranked, "kind=booster": ranked.booster_, "kind=xgb": boosted, "kind=xgbooster": boosted.get_booster(), "kind=linear": linear,
              "kind=bytes": ranked.booster_.model_to_string().encode()}
    for segment, model in models.items():
        made = registry.register(model, "mix", segment)
        assert (made.version, made.reused, made.name) == (1, False, f"mix@{segment}")
    assert registry.register(ranked, "mix", "kind=lgb").reused
    pack = registry.open("mix") if registry.release("mix") else None
    for segment in ("kind=lgb", "kind=booster", "kind=bytes"):
        assert (pack.predict(X, model=segment) == ranked.predict(X)).all()
    assert boosted.best_iteration < 29  # it stopped early, and so does ours
    assert (pack.predict(X, model="kind=xgb").to_numpy().astype(np.float32) == boosted.predict(X)).all()
    whole = boosted.get_booster().predict(xgboost.DMatrix(X), iteration_range=(0, 0))
    assert (pack.predict(X, model="kind=xgbooster").to_numpy().astype(np.float32) == whole).all()
    np.testing.assert_allclose(pack.predict(X, model="kind=linear"), linear.predict(X), rtol=1e-12)


def test_a_release_that_explains(registry):
    made = {f"kind={k}": lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1, "seed": k}, lightgbm.Dataset(X, Y * k), 5) for k in (1, 2)}
    registry.register_many("oj", made)
    registry.release("oj")
    with pytest.raises(myriad.Unsupported):
        registry.open("oj").predict(X, model="kind=1", output="leaf")
    registry.release("oj", explain=True)
    pack = registry.open("oj")
    frame = X.assign(kind=1 + np.arange(len(X)) % 2)
    found = pack.predict(frame, output="contribution").to_numpy()
    for k in (1, 2):
        mine = (frame.kind == k).to_numpy()
        np.testing.assert_allclose(found[mine], made[f"kind={k}"].predict(X[mine], pred_contrib=True), rtol=1e-10, atol=1e-12)
        assert (pack.predict(X, model=f"kind={k}", output="leaf").to_numpy() == made[f"kind={k}"].predict(X, pred_leaf=True)).all()
        assert (pack.predict(frame, output="margin").to_numpy()[mine] == made[f"kind={k}"].predict(X[mine], raw_score=True)).all()


def test_scikit_learn_by_onnx(registry, monkeypatch):
    pytest.importorskip("skl2onnx")
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import LogisticRegression
    forest = RandomForestRegressor(5, max_depth=4, random_state=1).fit(X, Y)
    classes = LogisticRegression().fit(X, Y > 1)
    registry.register(forest, "forest")
    registry.register(classes, "classes")
    registry.release("forest")
    registry.release("classes")
    np.testing.assert_allclose(registry.open("forest").predict(X), forest.predict(X), rtol=1e-5)
    np.testing.assert_allclose(registry.open("classes").predict(X), classes.predict_proba(X), rtol=1e-5, atol=1e-7)
    monkeypatch.setitem(__import__("sys").modules, "skl2onnx", None)
    with pytest.raises(myriad.Unsupported, match="pip install skl2onnx"):
        registry.register(forest, "forest")


def test_tags_metrics_releases(registry):
    booster = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(X, Y), 5)
    other = lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(X, Y), 6)
    registry.register(booster, "oj", {"store": 2, "brand": "a,b"}, tags={"team": "juice", "run": 7}, metrics={"rmse": 0.25})
    shown = registry.show("oj@store=2,brand=a%2Cb")
    assert shown.tags == {"team": "juice", "run": "7"} and shown.metrics == {"rmse": 0.25} and shown.algorithm == "lightgbm"
    assert shown.signature["features"] == ["a", "b", "c"]
    tagged = registry.tag(shown.name, {"team": "water", "stage": "new"})
    assert tagged.version == 2
    assert registry.show(shown.name).tags == {"team": "water", "run": "7", "stage": "new"}
    assert registry.show(shown.name).artifact == shown.artifact and registry.show(shown.name).metrics == {"rmse": 0.25}
    assert registry.show(shown.name, 1).tags == shown.tags
    first = registry.release("oj")
    assert first.number == 1 and first.aliases == ("champion",) and first.new_models == 1 and os.path.exists(first.pack)
    assert registry.release("oj").reused
    registry.register(other, "oj", {"store": 2, "brand": "a,b"})
    second = registry.release("oj", promote=False)
    assert (second.number, second.aliases) == (2, ())
    assert (registry.open("oj").predict(X, model=0) == booster.predict(X)).all()
    registry.promote("oj", 2)
    assert (registry.open("oj").predict(X, model=0) == other.predict(X)).all()
    assert [r.number for r in registry.releases("oj")] in ([1, 2], [2, 1])
    assert [m.version for m in registry.list("oj", tag="stage=new", all_versions=True)] == [2]
    assert [m.version for m in registry.list("oj", segment="store=2", all_versions=True)] in ([1, 2, 3], [3, 2, 1])


def test_many_at_once(registry):
    booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_leaves": 4}, lightgbm.Dataset(X, Y), 2)
    text = booster.model_to_string()
    pairs = [({"store": s, "brand": f"b{b}"}, text.encode()) for s in range(100) for b in range(10)]
    assert registry.register_many("oj", [*pairs, ("brand=b1", booster), ("", booster)], tags={"n": 1}) == 1002
    assert registry.register_many("oj", pairs, tags={"n": 1}) == 0  # the same again: nothing new
    assert registry.register_many("oj", {}) == 0
    assert registry.release("oj").models == 1002


def test_errors(registry, tmp_path, monkeypatch):
    from sklearn.linear_model import Ridge
    with pytest.raises(myriad.NotFound, match="no workspace"):
        myriad.Registry(tmp_path / "nowhere")
    with pytest.raises(myriad.Unsupported, match="builtins.dict can't be registered"):
        registry.register({}, "oj")
    with pytest.raises(myriad.BadInput, match="not fitted"):
        registry.register(Ridge(), "oj")
    with pytest.raises(myriad.NotFound, match="none.txt"):
        registry.register(tmp_path / "none.txt", "oj")
    with pytest.raises(myriad.BadInput) as caught:
        registry.register(b"tree\nversion=v4\n", "oj")
    assert caught.value.code == "BAD_INPUT"
    with pytest.raises(myriad.NotFound, match="nope"):
        registry.release("nope")
    with pytest.raises(myriad.BadInput, match="not name=value"):
        registry.register_many("oj", [("store", b"x")])
    monkeypatch.setenv("MYRIAD", str(tmp_path / "absent"))
    with pytest.raises(myriad.NotFound, match="can't be run"):
        registry.list()
    monkeypatch.delenv("MYRIAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(myriad.NotFound, match="not on PATH"):
        registry.list()
