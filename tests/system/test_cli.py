"""The commands of the contract, as typed, on models of LightGBM and XGBoost, and what they say to bad input."""
import json
import os
import pathlib
import subprocess

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from conftest import linear

FEATURES = ["price", "deal", "feat"]
SEGMENTS = [(store, brand) for store in (2, 5, 71) for brand in (1, 2)]


def table(rows=400, seed=1):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"price": rng.normal(size=rows), "deal": rng.integers(0, 2, rows).astype(float), "feat": rng.normal(size=rows)})
    frame.loc[rng.random(rows) < 0.1, "feat"] = np.nan
    return frame, 2 * frame.price - frame.deal + frame.feat.fillna(3) ** 2


def booster(seed, **settings):
    x, y = table(seed=seed)
    params = {"objective": "regression", "num_leaves": 7, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, **settings}
    return lightgbm.train(params, lightgbm.Dataset(x, y), num_boost_round=12)


@pytest.fixture(scope="module")
def boosters():
    return {segment: booster(i, boosting=["gbdt", "dart", "gbdt"][i % 3], lambda_l1=0.1 * i) for i, segment in enumerate(SEGMENTS)}


@pytest.fixture
def fleet(workspace, boosters):
    """Six segments, brand 1 as parent, a global model, released."""
    lines = ["path,store,brand"]
    for (store, brand), model in boosters.items():
        model.save_model(workspace.cwd / f"m{store}_{brand}.txt")
        lines.append(f"m{store}_{brand}.txt,{store},{brand}")
    (workspace.cwd / "models.csv").write_text("\n".join(lines) + "\n")
    workspace.run("model", "import", "--manifest", "models.csv", "--fleet", "oj")
    (workspace.cwd / "parent.json").write_text(linear(FEATURES, 100, [1, 0, 0]))
    (workspace.cwd / "global.json").write_text(linear(FEATURES, 200))
    workspace.run("model", "import", "parent.json", "--fleet", "oj", "--segment", "brand=1")
    workspace.run("model", "import", "global.json", "--fleet", "oj", "--segment", "")
    workspace.run("release", "create", "oj")
    return workspace


def write_rows(path):
    x, _ = table(rows=60, seed=99)
    keys = SEGMENTS + [(999, 1), (999, 99)]
    x["store"] = [keys[i % len(keys)][0] for i in range(len(x))]
    x["brand"] = [keys[i % len(keys)][1] for i in range(len(x))]
    x["note"] = [f"row {i}, \"quoted\"" for i in range(len(x))]
    x.to_parquet(path)
    return x


def expected(boosters, row):
    key = (int(row.store), int(row.brand))
    if key in boosters:
        return boosters[key].predict(np.array([[row[f] for f in FEATURES]], dtype=float))[0], "segment", f"oj@store={key[0]},brand={key[1]}"
    if key[1] == 1:
        return 100 + row.price, "parent", "oj@brand=1"
    return 200.0, "global", "oj@"


def test_batch_predict_and_the_library_agree_bit_for_bit(fleet, boosters):
    rows = write_rows(fleet.cwd / "rows.parquet")
    report = fleet.json("batch", "run", "--fleet", "oj", "--input", "rows.parquet", "--output", "scored", "--by", "brand", "--keep", "note")
    assert report["rows"] == len(rows) and report["statuses"]["ok"] == len(rows)
    got = pd.read_parquet(fleet.cwd / "scored").set_index("note").loc[rows.note]
    for (_, row), (_, answer) in zip(rows.iterrows(), got.iterrows()):
        value, level, name = expected(boosters, row)
        assert (answer.prediction, answer.level, answer.model, answer.status) == (value, level, name, "ok")
        assert int(answer.brand) == row.brand and answer.store == row.store
    for i in (0, 6, 7):
        row = rows.iloc[i]
        cells = {k: (None if isinstance(v, float) and np.isnan(v) else v) for k, v in row.drop("note").to_dict().items()}
        answer = fleet.json("predict", "oj", "--row", json.dumps(cells))
        assert (answer["prediction"], answer["level"], answer["model"]) == expected(boosters, row)


def test_keys_by_text_and_number_name_the_same_segment(fleet):
    answers = [fleet.json("predict", "oj", "--row", json.dumps({"store": store, "brand": 1, "price": 1, "deal": 0, "feat": 2}))
               for store in (2, 2.0, "2")]
    assert answers[0] == answers[1] == answers[2] and answers[0]["model"] == "oj@store=2,brand=1"
    bad = fleet.run("predict", "oj", "--json", "--row", '{"store":2.5,"brand":1,"price":1,"deal":0,"feat":2}', ok=False)
    assert bad.returncode == 65 and json.loads(bad.stdout)["status"] == "bad_key" and "key" in bad.stderr
    assert fleet.json("predict", "oj", "--row", '{"store":null,"brand":1,"price":1,"deal":0,"feat":2}')["level"] == "parent"


def test_from_any_directory(fleet):
    below = fleet.cwd / "artifacts"
    assert fleet.run("release", "list", "oj", cwd=below).stdout.count("champion") == 1
    away = fleet.cwd.parent
    assert len(fleet.json("model", "list", "--workspace", fleet.cwd, cwd=away)) == 8
    code, message = fleet.fails("model", "list", cwd="/")
    assert "myriad init" in message


def test_list_and_show(fleet):
    fleet.run("model", "import", "parent.json", "--fleet", "oj", "--segment", "brand=2", "--tag", "team=juice", "--tag", "note=a=b")
    names = [m["name"] for m in fleet.json("model", "list", "--fleet", "oj", "--segment", "brand=1")]
    assert names == ["oj@store=2,brand=1", "oj@store=5,brand=1", "oj@store=71,brand=1", "oj@brand=1"]
    tagged = fleet.json("model", "list", "--tag", "note=a=b")
    assert [m["name"] for m in tagged] == ["oj@brand=2"] and tagged[0]["tags"] == {"note": "a=b", "team": "juice"}
    fleet.run("model", "import", "parent.json", "--fleet", "oj", "--segment", "brand=3", "--metric", "rmse=0.25", "--metric", "n=3")
    assert fleet.json("model", "show", "oj@brand=3")["metrics"] == {"rmse": 0.25, "n": 3}
    for bad in ("rmse", "=1", "rmse=x", "rmse=nan", "rmse="):
        code, message = fleet.fails("model", "import", "parent.json", "--fleet", "oj", "--segment", "brand=3", "--metric", bad)
        assert code == 64 and "is not name=number" in message
    shown = fleet.json("model", "show", "oj@brand=1,store=2")  # parts in any order
    assert shown["name"] == "oj@store=2,brand=1" and shown["version"] == 1
    assert shown["signature"] == {"keys": ["store", "brand"], "features": FEATURES, "categories": {}, "outputs": 1}
    assert "oj@store=2,brand=1" in fleet.run("model", "show", "oj@store=2,brand=1").stdout


def test_releases_are_immutable_and_promoted(fleet, boosters):
    row = json.dumps({"store": 2, "brand": 1, "price": 1, "deal": 0, "feat": 2})
    before = fleet.json("predict", "oj", "--row", row)
    assert fleet.json("release", "create", "oj")["reused"] is True
    (fleet.cwd / "new.json").write_text(linear(FEATURES, 7))
    assert fleet.json("model", "import", "new.json", "--fleet", "oj", "--segment", "store=2,brand=1")["version"] == 2
    made = fleet.json("release", "create", "oj", "--no-promote")
    assert (made["release"], made["new_models"], made["promoted"]) == (2, 1, False)
    assert fleet.json("predict", "oj", "--row", row) == before
    assert fleet.json("predict", "oj", "--row", row, "--release", "2")["prediction"] == 7
    fleet.run("release", "promote", "oj", "2")
    assert fleet.json("predict", "oj", "--row", row)["model_version"] == 2
    fleet.run("release", "promote", "oj", "1")
    assert fleet.json("predict", "oj", "--row", row) == before
    assert [r["aliases"] for r in fleet.json("release", "list", "oj")].count("champion") == 1


def test_the_same_import_twice_is_reused(fleet):
    again = fleet.json("model", "import", "parent.json", "--fleet", "oj", "--segment", "brand=1")
    assert (again["imported"], again["reused"], again["version"]) == (0, 1, 1)


@pytest.mark.parametrize("settings", [
    {"objective": "binary:logistic", "max_depth": 5}, {"objective": "count:poisson", "num_parallel_tree": 3},
    {"objective": "reg:squarederror", "tree_method": "exact", "base_score": 0.25}])
@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost_with_odd_settings(workspace, settings, suffix):
    x, y = table()
    target = (y > y.mean()).astype(float) if "binary" in settings["objective"] else np.abs(y)
    model = xgboost.train({"nthread": 1, **settings}, xgboost.DMatrix(x, target), num_boost_round=8)
    model.save_model(workspace.cwd / f"model.{suffix}")
    workspace.run("model", "import", f"model.{suffix}", "--fleet", "x", "--segment", "region=north")
    workspace.run("release", "create", "x")
    row = {"region": "north", "price": 0.5, "deal": 1, "feat": None}
    want = model.predict(xgboost.DMatrix(pd.DataFrame([row])[FEATURES].astype(float)))[0]
    assert workspace.json("predict", "x", "--row", json.dumps(row))["prediction"] == pytest.approx(want, rel=5e-7)


def test_multiclass_gives_a_column_per_class(workspace):
    x, y = table()
    labels = pd.qcut(y, 3, labels=False)
    model = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, labels), 5)
    model.save_model(workspace.cwd / "m.txt")
    workspace.run("model", "import", "m.txt", "--fleet", "c", "--segment", "")
    workspace.run("release", "create", "c")
    x.to_csv(workspace.cwd / "rows.csv", index=False)
    workspace.run("batch", "run", "--fleet", "c", "--input", "rows.csv", "--output", "out", "--format", "csv")
    got = pd.read_csv(next((workspace.cwd / "out").glob("*.csv")))
    assert list(got.columns) == ["prediction_0", "prediction_1", "prediction_2", "model", "model_version", "level", "status"]
    assert np.array_equal(np.sort(got[["prediction_0", "prediction_1", "prediction_2"]].to_numpy(), axis=0), np.sort(model.predict(x), axis=0))


def test_names_from_the_caller(workspace):
    x, y = table()
    model = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(x.to_numpy(), y), 3)
    model.save_model(workspace.cwd / "m.txt")
    workspace.run("model", "import", "m.txt", "--fleet", "n", "--segment", "", "--features", ",".join(FEATURES))
    assert workspace.json("model", "show", "n@")["signature"]["features"] == FEATURES
    code, message = workspace.fails("model", "import", "m.txt", "--fleet", "n2", "--segment", "", "--features", "a,b")
    assert "2" in message and "3" in message


def test_values_with_reserved_characters(workspace):
    (workspace.cwd / "m.json").write_text(linear(["a"], 5))
    segment = "region=S%C3%A3o%2C Paulo%2Fa%40b%3D50%25"
    workspace.run("model", "import", "m.json", "--fleet", "r", "--segment", segment)
    workspace.run("release", "create", "r")
    answer = workspace.json("predict", "r", "--row", json.dumps({"region": "São, Paulo/a@b=50%", "a": 1}))
    assert answer["status"] == "ok" and answer["prediction"] == 5
    assert workspace.json("model", "show", answer["model"])["name"] == answer["model"]


BAD_MANIFESTS = {
    "no path column": ("file,store\nm.json,1\n", "path"),
    "missing file": ("path,store\nm.json,1\nabsent.json,2\n", "models.csv:3"),
    "broken model": ("path,store\nm.json,1\nbroken.txt,2\n", "models.csv:3"),
    "too few cells": ("path,store\nm.json\n", "models.csv:2"),
    "segment twice": ("path,store\nm.json,1\nm.json,1\n", "models.csv:3"),
    "open quote": ('path,store\n"m.json,1\n', "models.csv:2"),
    "no models": ("path,store\n", "no models"),
    "a column that batch writes": ("path,store,level\nm.json,1,2\n", "models.csv:1: partition column 'level'"),
    "a directory": ("path,store\n./,1\n", "models.csv:2"),
    "tidy path": ("path,store\nm.json,1\n././absent.json,2\n", "models.csv:3: cannot open absent.json:"),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_bad_manifest_changes_nothing(workspace, case):
    text, part = BAD_MANIFESTS[case]
    (workspace.cwd / "m.json").write_text(linear(["a"], 5))
    (workspace.cwd / "broken.txt").write_text("tree\nversion=v4\nnum_class=1\n")
    (workspace.cwd / "models.csv").write_text(text)
    _, message = workspace.fails("model", "import", "--manifest", "models.csv", "--fleet", "f")
    assert part in message, message
    assert workspace.json("model", "list") == []


def test_manifest_columns_match_by_name(workspace):
    for i in range(5):
        (workspace.cwd / f"m{i}.json").write_text(linear(["a"], i))
    (workspace.cwd / "1.csv").write_text("path,store,brand\nm1.json,1,2\n")
    (workspace.cwd / "2.csv").write_text("brand,path,store\n3,m2.json,1\n,m3.json,\n")
    (workspace.cwd / "3.csv").write_text("brand,path\n7,m4.json\n")
    (workspace.cwd / "4.csv").write_text("store,shop,path\n1,,m4.json\n")
    (workspace.cwd / "0.csv").write_text("path\nm0.json\n")
    workspace.run("model", "import", "--manifest", "0.csv", "--fleet", "f")  # no keys yet: the next one gives them
    for name in ["1.csv", "2.csv", "3.csv"]:
        workspace.run("model", "import", "--manifest", name, "--fleet", "f")
    names = {row["name"] for row in workspace.json("model", "list")}
    assert names == {"f@store=1,brand=2", "f@store=1,brand=3", "f@brand=7", "f@"}
    _, message = workspace.fails("model", "import", "--manifest", "4.csv", "--fleet", "f")
    assert "4.csv:1: column 'shop'" in message and "store, brand" in message


def test_import_says_the_canonical_segment(workspace):
    (workspace.cwd / "m.json").write_text(linear(["a"], 5))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "store=1,brand=2")
    said = workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "brand=%41,store=").stdout
    assert said.startswith("imported f@store=,brand=A version 1"), said


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_reads(fleet, tmp_path):
    """Who may not write the workspace can still list and predict, and is told why not what writes."""
    for path in [tmp_path, *tmp_path.parents][:3]:
        path.chmod(0o755)
    row = json.dumps({"store": 2, "brand": 1, "price": 1, "deal": 0, "feat": 1})
    wanted = fleet.json("predict", "oj", "--row", row)
    as_nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": tmp_path, "capture_output": True, "text": True}
    answer = subprocess.run([fleet.path, "predict", "oj", "--row", row, "--json"], **as_nobody)
    if "Permission denied" in answer.stderr and not answer.stderr.startswith("myriad: "):
        pytest.skip("the build is not for everybody to read")
    assert answer.returncode == 0 and json.loads(answer.stdout) == wanted, answer.stderr
    listed = subprocess.run([fleet.path, "model", "list"], **as_nobody)
    assert listed.returncode == 0 and "oj@store=2,brand=1" in listed.stdout, listed.stderr
    refused = subprocess.run([fleet.path, "model", "import", "global.json", "--fleet", "oj", "--segment", ""], **as_nobody)
    assert refused.returncode > 0 and "read-only" in refused.stderr, refused.stderr


def test_an_empty_config_means_defaults(fleet):
    (fleet.cwd / "myriad.yaml").write_text("")
    assert "listening" in subprocess.run(["timeout", "-s", "TERM", "2", fleet.path, "serve", "--listen", "127.0.0.1:0"],
                                         cwd=fleet.cwd, capture_output=True, text=True).stdout


BAD_CALLS = [
    (["predict", "nofleet", "--row", "{}"], "nofleet"),
    (["predict", "ojj", "--row", "{}"], "oj"),
    (["predict", "oj", "--row", "{not json"], "byte"),
    (["predict", "oj", "--row", '{"store":2,"brand":1,"prise":1}'], "price"),
    (["predict", "oj", "--row", '{"store":2,"brand":1,"price":"cheap"}'], "price"),
    (["predict", "oj"], "--row"),
    (["predict"], "FLEET"),
    (["release", "promote", "oj", "99"], "99"),
    (["release", "promote", "oj", "x"], "x"),
    (["model", "show", "oj@store=3,brand=1"], "store=3,brand=1"),
    (["model", "show", "oj@shop=3"], "shop"),
    (["model", "import", "absent.txt", "--fleet", "oj", "--segment", "store=1,brand=1"], "absent.txt"),
    (["model", "import", "global.json", "--fleet", "oj", "--segment", "shop=1"], "shop"),
    (["model", "import", "global.json", "--fleet", "../evil", "--segment", ""], "../evil"),
    (["model", "import", "global.json", "--fleet", "oj"], "--segment"),
    (["batch", "run", "--fleet", "oj", "--input", "rows.parquet"], "--output"),
    (["batch", "run", "--fleet", "oj", "--input", "absent.parquet", "--output", "o"], "absent.parquet"),
    (["batch", "run", "--fleet", "oj", "--inputt", "x"], "did you mean --input"),
    (["batch", "run", "--fleet", "oj", "--input", "a.csv", "--input", "b.csv", "--output", "o"], "--input is given twice"),
    (["predict", "oj", "--row", "{}", "--release", "0"], "1 or more"),
    (["model", "list", "--tag", "no-equals"], "no-equals"),
    (["model", "bogus"], "unknown command 'model bogus'"),
    (["serve", "--listen", "nonsense"], "listen"),
    (["serve", "--lissen", "127.0.0.1:0"], "--lissen"),
    (["nonsense"], "unknown command"),
]


@pytest.mark.parametrize("args,part", BAD_CALLS, ids=lambda v: " ".join(v) if isinstance(v, list) else None)
def test_bad_calls_say_what_is_wrong(fleet, args, part):
    done = fleet.run(*args, ok=False)
    assert 0 < done.returncode < 128 and part in done.stderr, f"{done.returncode}: {done.stderr}"
    assert "Sanitizer" not in done.stderr and len(done.stderr.splitlines()) <= 80


def test_bad_tables(fleet):
    write_rows(fleet.cwd / "rows.parquet")
    good = pd.read_parquet(fleet.cwd / "rows.parquet")
    good.drop(columns=["price"]).to_parquet(fleet.cwd / "missing.parquet")
    good.assign(price="cheap").to_parquet(fleet.cwd / "text.parquet")
    (fleet.cwd / "bytes.csv").write_bytes(b"store,brand,price,deal,feat\n2,1,\xff\xfe,0,1\n")
    (fleet.cwd / "empty.csv").write_text("")
    for name, part in [("missing.parquet", "price"), ("text.parquet", "price"), ("bytes.csv", "bytes.csv"), ("empty.csv", "empty.csv")]:
        _, message = fleet.fails("batch", "run", "--fleet", "oj", "--input", name, "--output", "out")
        assert part in message, message
        assert not (fleet.cwd / "out").exists()
    good.iloc[:0].to_parquet(fleet.cwd / "none.parquet")
    assert fleet.json("batch", "run", "--fleet", "oj", "--input", "none.parquet", "--output", "none")["rows"] == 0


def test_output_that_is_not_ours_is_kept(fleet):
    write_rows(fleet.cwd / "rows.parquet")
    mine = fleet.cwd / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    _, message = fleet.fails("batch", "run", "--fleet", "oj", "--input", "rows.parquet", "--output", "mine")
    assert "mine" in message and (mine / "thesis.txt").read_text() == "years of work"


def test_every_command_has_help_with_an_example(myriad):
    listed = [line.split("  ")[1] for line in myriad.run("help").stdout.splitlines() if line.startswith("  ")]
    assert len(listed) >= 11
    for command in listed:
        text = myriad.run(*command.split(), "--help").stdout
        assert f"Usage: myriad {command}" in text and "Example:\n  myriad " in text and "--json" in text


def test_help_of_a_group_and_by_word(myriad):
    for words in (["model"], ["model", "--help"]):
        text = myriad.run(*words).stdout
        assert "model import" in text and "serve" not in text
    assert myriad.run("help", "batch", "run").stdout == myriad.run("batch", "run", "--help").stdout


def test_show_leaves_out_what_is_not_known(fleet):
    text = fleet.run("model", "show", "oj@brand=1").stdout
    assert "nan" not in text and "fingerprint" not in text and "baseline" not in text


def test_results_that_cannot_be_written_are_a_failure(workspace):
    with open("/dev/full", "w") as full:
        done = subprocess.run([workspace.path, "model", "list"], cwd=workspace.cwd, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "standard output" in done.stderr


def test_init_is_idempotent_and_keeps_what_is_there(workspace):
    config = (workspace.cwd / "myriad.yaml").read_text()
    (workspace.cwd / "myriad.yaml").write_text(config + "# mine\n")
    assert workspace.json("init", ".")["made"] is False
    assert (workspace.cwd / "myriad.yaml").read_text().endswith("# mine\n")


def test_config_file_environment_and_flag(workspace):
    (workspace.cwd / "myriad.yaml").write_text("serve:\n  lissten: 127.0.0.1:1\n")
    _, message = workspace.fails("serve")
    assert "myriad.yaml:2" in message and "listen" in message
    (workspace.cwd / "myriad.yaml").write_text("serve:\n  listen: nonsense\n")
    _, message = workspace.fails("serve")
    assert "myriad.yaml:2" in message
    _, message = workspace.fails("serve", env={"MYRIAD_SERVE_LISTEN": "also nonsense"})
    (workspace.cwd / "myriad.yaml").write_text("serve:\n  listen: 203.0.113.1:80\n")
    with workspace.serving() as url:  # the flag wins over the file
        assert url.startswith("http://127.0.0.1:")


def test_a_damaged_registry_is_named(workspace):
    (workspace.cwd / "registry.db").write_bytes(b"this is not a database, " * 400)
    for leftover in workspace.cwd.glob("registry.db-*"):
        leftover.unlink()
    _, message = workspace.fails("model", "list")
    assert "registry.db" in message


def test_full_disk_keeps_the_old_release(fleet, tmp_path):
    """ENOSPC on each write of the pack in turn: the message says so and the old release still answers."""
    if subprocess.run(["which", "strace"], capture_output=True).returncode:
        pytest.skip("strace is not installed")
    row = json.dumps({"store": 2, "brand": 1, "price": 1, "deal": 0, "feat": 2})
    before = fleet.json("predict", "oj", "--row", row)
    (fleet.cwd / "new.json").write_text(linear(FEATURES, 7))
    fleet.run("model", "import", "new.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    failures = 0
    for k in range(1, 40):
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=write,pwrite64,fsync,rename", "-e",
                               f"inject=write,pwrite64:error=ENOSPC:when={k}", fleet.path, "release", "create", "oj"],
                              cwd=fleet.cwd, env=env, capture_output=True, text=True, timeout=120)
        assert "Sanitizer" not in done.stderr
        if done.returncode == 0:
            break
        failures += 1
        assert fleet.json("predict", "oj", "--row", row) == before
    assert failures >= 3
    fleet.run("release", "create", "oj")
    assert fleet.json("predict", "oj", "--row", row)["prediction"] == 7


def test_kill_in_release_create(fleet):
    """SIGKILL at each write, sync and rename: the registry opens, and running it again works."""
    if subprocess.run(["which", "strace"], capture_output=True).returncode:
        pytest.skip("strace is not installed")
    (fleet.cwd / "new.json").write_text(linear(FEATURES, 7))
    fleet.run("model", "import", "new.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    row = json.dumps({"store": 2, "brand": 1, "price": 1, "deal": 0, "feat": 2})
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    calls, kills = "write,pwrite64,fsync,fdatasync,rename,renameat2", 0
    for k in range(1, 60):
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={k}",
                               fleet.path, "release", "create", "oj"], cwd=fleet.cwd, env=env, capture_output=True, text=True, timeout=120)
        answer = fleet.json("predict", "oj", "--row", row)
        assert answer["status"] == "ok"
        if done.returncode == 0:
            break
        kills += 1
    assert kills >= 5 and done.returncode == 0
    assert fleet.json("predict", "oj", "--row", row)["prediction"] == 7
