"""`myriad train` as typed, on orange juice: what it makes, what it says to bad specs, and what a kill leaves behind."""
import hashlib
import json
import pathlib
import random
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
OJ = ROOT / ".deps/oj/oj.csv"
FEATURES = ["week", *(f"price{i}" for i in range(1, 12)), "deal", "feat"]
SPEC = f"""fleet: oj
data: oj.csv
partition: [store, brand]
target: {{column: logmove, transform: log}}
time: week
features: [{", ".join(FEATURES)}]
test: {{last: 8, write: data/oj-test.parquet}}
validation: {{windows: 3, size: 8}}
anomalies: {{rule: mad, limit: 6, max_share: 0.05}}
trials:
  - mean
  - ridge: {{lambda: [1, 10, 100]}}
"""
BOOSTED = "  - xgboost: {rounds: 20, max_depth: 2}\n"

pytestmark = pytest.mark.skipif(not OJ.exists(), reason="no orange juice data: scripts/setup")


@pytest.fixture(scope="module")
def table():
    frame = pd.read_csv(OJ)
    return frame[frame.store.isin(sorted(frame.store.unique())[:4])]


@pytest.fixture
def juice(workspace, table):
    """A workspace with the rows of four stores and a spec beside them."""
    table.to_csv(workspace.cwd / "oj.csv", index=False)
    (workspace.cwd / "train.yaml").write_text(SPEC + BOOSTED)
    return workspace


def pack(workspace, release=1):
    """The bytes of a release's pack, as a hash."""
    files = sorted((workspace.cwd / "packs/oj").glob(f"r{release}.*"))
    assert {f.suffix for f in files} == {".index", ".blobs"}
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def names(workspace):
    return [m["name"] for m in workspace.json("model", "list", "--fleet", "oj")]


# ---- what it makes ----

def test_models_release_and_files(juice, table):
    report = juice.json("train", "train.yaml")
    assert (report["segments"], report["parents"], report["globals"]) == (44, 11, 1)
    assert report["rows_read"] == len(table) == report["rows_train"] + report["rows_test"] + report["rows_anomalous"]
    assert report["models_added"] == 56 and report["release"] == 1
    assert sum(report["wins"].values()) == 44 and report["wins"]["ridge"] > 0 and report["wins"]["xgboost"] > 0
    assert report["rmse"] < 0.75 * report["baseline_rmse"]
    assert {"oj@store=2,brand=1", "oj@brand=11", "oj@"} <= set(names(juice))
    model = juice.json("model", "show", "oj@store=2,brand=1")
    assert model["tags"] == {"algorithm": model["algorithm"], "level": "segment"}
    assert model["signature"]["features"] == FEATURES
    best = min(trial["rmse"] for trial in model["metrics"]["trials"])
    assert model["metrics"]["rmse"] == best and len(model["metrics"]["trials"]) == 5
    full = json.loads(pathlib.Path(report["report_path"]).read_text())
    assert len(full["segments"]) == 56 and len(full["worse"]) == report["segments_worse"]
    assert full["test_rmse"] == report["rmse"]
    picture = (juice.cwd / "reports/oj-segments.svg").read_text()
    assert picture.count("test set") == 4 and picture.count("<clipPath") == 4 and "units: exp(logmove)" in picture


def test_the_test_rows_are_the_last_weeks(juice, table):
    report = juice.json("train", "train.yaml")
    last = table[table.week > table.groupby(["store", "brand"]).week.transform("max") - 8]
    columns = ["store", "brand", *FEATURES, "logmove"]
    written = pd.read_parquet(report["test_path"])
    assert list(written.columns) == columns
    pd.testing.assert_frame_equal(written, last.sort_values(["store", "brand", "week"])[columns].reset_index(drop=True),
                                  check_dtype=False)
    assert written.week.dtype == np.int64


def test_the_baseline_is_the_mean_before_the_test_set(juice, table):
    """Computed again with pandas, anomalies and all."""
    report = juice.json("train", "train.yaml")
    squares, count, anomalies = 0.0, 0, 0
    for _, rows in table.groupby(["store", "brand"]):
        test = rows.week > rows.week.max() - 8
        y = rows.logmove[~test]
        far = (y - y.median()).abs() > 6 * 1.4826 * (y - y.median()).abs().median()
        if far.sum() <= 0.05 * len(y):
            y = y[~far]
            anomalies += far.sum()
        squares += ((rows.logmove[test] - y.mean()) ** 2).sum()
        count += test.sum()
    assert report["rows_anomalous"] == anomalies and report["rows_test"] == count
    assert report["baseline_rmse"] == pytest.approx((squares / count) ** 0.5, rel=1e-12)


def test_batch_scores_what_train_measured(juice):
    report = juice.json("train", "train.yaml")
    done = juice.json("batch", "run", "--fleet", "oj", "--input", report["test_path"], "--output", "scored")
    assert done["levels"]["segment"] == done["rows"] == report["rows_test"]
    assert done["rmse"] == pytest.approx(report["rmse"], rel=1e-12)
    assert done["baseline_rmse"] == pytest.approx(report["baseline_rmse"], rel=1e-12)


# ---- the same again ----

def test_again_reuses_everything(juice):
    juice.run("train", "train.yaml")
    again = juice.json("train", "train.yaml")
    assert again["models_added"] == 0 and again["models_reused"] == 56
    assert again["release"] == 1 and again["release_reused"] is True
    assert "as they were" in juice.run("train", "train.yaml").stdout


def test_one_thread_equals_two(juice, build, tmp_path_factory):
    juice.run("train", "train.yaml", "--threads", "1")
    one = pack(juice)
    other = tmp_path_factory.mktemp("two")
    juice.run("init", other)
    juice.run("train", "train.yaml", "--threads", "2", "--workspace", other)
    files = sorted((other / "packs/oj").glob("r1.*"))
    assert hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest() == one


def test_shuffled_test_targets_change_no_model(juice, table, tmp_path_factory):
    juice.run("train", "train.yaml")
    plain = pack(juice)
    before = {m["name"]: m["algorithm"] for m in juice.json("model", "list", "--fleet", "oj")}
    test = table.week > table.groupby(["store", "brand"]).week.transform("max") - 8
    shuffled = table.copy()
    shuffled.loc[test, "logmove"] = np.random.default_rng(7).permutation(table.logmove[test])
    shuffled.to_csv(juice.cwd / "oj.csv", index=False)
    other = tmp_path_factory.mktemp("shuffled")
    juice.run("init", other)
    juice.run("train", "train.yaml", "--workspace", other)
    files = sorted((other / "packs/oj").glob("r1.*"))
    assert hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest() == plain
    assert {m["name"]: m["algorithm"] for m in juice.json("model", "list", "--fleet", "oj", "--workspace", other)} == before
    again = juice.json("train", "train.yaml")
    assert again["models_added"] == 0 and again["release_reused"] is True


# ---- bad input ----

@pytest.mark.parametrize("old, new, words", [
    ("- mean\n", "- men\n", ["train.yaml:11:5", "unknown algorithm 'men'", "did you mean 'mean'", "known are mean, ridge, xgboost"]),
    ("- mean\n", "- arima\n", ["train.yaml:11:5", "known are mean, ridge, xgboost"]),
    ("features:", "featurs:", ["train.yaml:6:1", "did you mean 'features'"]),
    ("lambda:", "lamda:", ["train.yaml:12", "did you mean 'lambda'"]),
    ("last: 8", "last: eight", ["train.yaml:7", "last", "eight"]),
    ("data: oj.csv", "data: absent.csv", ["absent.csv"]),
    ("price11", "price12", ["price12", "price1"]),
    ("column: logmove", "column: logmov", ["logmov", "logmove"]),
    ("time: week", "time: [week", ["train.yaml:"]),
    ("[store, brand]", "[store, brand, week]", ["train.yaml:5", "also a partition column"]),
])
def test_bad_specs_say_where_and_what(juice, old, new, words):
    (juice.cwd / "train.yaml").write_text(SPEC.replace(old, new))
    _, message = juice.fails("train", "train.yaml")
    for word in words:
        assert word in message, message
    assert not (juice.cwd / "reports").exists() and not list((juice.cwd / "packs").iterdir())


def test_without_xgboost_only_its_trials_fail(juice):
    env = {"MYRIAD_XGBOOST_LIB": "/nowhere/libxgboost.so"}
    _, message = juice.fails("train", "train.yaml", env=env)
    assert "/nowhere/libxgboost.so" in message and "MYRIAD_XGBOOST_LIB" in message
    (juice.cwd / "train.yaml").write_text(SPEC)
    assert "ridge" in juice.run("train", "train.yaml", env=env).stdout


def test_text_where_numbers_should_be(juice, table):
    bad = table.astype({"price3": object})
    bad.iloc[17, bad.columns.get_loc("price3")] = "cheap"
    bad.to_csv(juice.cwd / "oj.csv", index=False)
    _, message = juice.fails("train", "train.yaml")
    assert "price3" in message and "cheap" in message


# ---- killed ----

def test_a_kill_leaves_all_or_nothing(juice, tmp_path_factory):
    """kill -9 at random moments: the registry opens, the models of a fleet are all there or none, the next run finishes."""
    (juice.cwd / "train.yaml").write_text(SPEC)
    plain = tmp_path_factory.mktemp("plain")
    juice.run("init", plain)
    start = time.monotonic()
    juice.run("train", "train.yaml", "--workspace", plain)
    took = time.monotonic() - start
    expected = hashlib.sha256(b"".join(f.read_bytes() for f in sorted((plain / "packs/oj").glob("r1.*")))).hexdigest()
    rng = random.Random(1)
    outcomes = set()
    for turn in range(8):
        home = tmp_path_factory.mktemp(f"killed{turn}")
        juice.run("init", home)
        process = subprocess.Popen([juice.path, "train", "train.yaml", "--workspace", str(home)], cwd=juice.cwd,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(took * (turn + rng.random()) / 8)
        process.send_signal(signal.SIGKILL)
        process.wait()
        listed = juice.run("model", "list", "--fleet", "oj", "--json", "--workspace", home, ok=False)
        found = len(json.loads(listed.stdout)) if listed.returncode == 0 else 0
        assert listed.returncode in (0, 66), listed.stderr
        assert found in (0, 56)
        outcomes.add(found)
        juice.run("train", "train.yaml", "--workspace", home)
        releases = juice.json("release", "list", "oj", "--workspace", home)
        assert len(releases) == 1 and releases[0]["aliases"] == "champion" and releases[0]["models"] == 56
        index = home / releases[0]["pack"]
        assert hashlib.sha256(index.with_suffix(".blobs").read_bytes()).hexdigest() == \
            hashlib.sha256((plain / "packs/oj/r1.blobs").read_bytes()).hexdigest()
        if releases[0]["release"] == 1:
            assert hashlib.sha256(b"".join(f.read_bytes() for f in sorted((home / "packs/oj").glob("r1.*")))).hexdigest() == expected
    assert 0 in outcomes


def test_the_test_file_replaces_only_its_own(juice):
    """A spec that would write its test rows over the table, or out of the workspace, is stopped before any work."""
    before = (juice.cwd / "oj.csv").read_bytes()
    (juice.cwd / "over.yaml").write_text(SPEC.replace("data/oj-test.parquet", "oj.csv"))
    _, message = juice.fails("train", "over.yaml")
    assert "oj.csv" in message and "test.write" in message
    assert (juice.cwd / "oj.csv").read_bytes() == before
    for out in ("../out.csv", "/tmp/out.csv", "data/../../out.csv"):
        (juice.cwd / "out.yaml").write_text(SPEC.replace("data/oj-test.parquet", out))
        _, message = juice.fails("train", "out.yaml")
        assert "out.yaml:7:" in message and "below the workspace" in message
    assert juice.json("model", "list") == []


def test_rows_that_cannot_be_used_are_counted(juice, table):
    table.assign(logmove=table.logmove.where(table.week != 100)).to_csv(juice.cwd / "oj.csv", index=False)
    lost = int((table.week == 100).sum())
    assert juice.json("train", "train.yaml")["rows_unusable"] == lost
    assert f"{lost} rows: without key or time" in juice.run("train", "train.yaml").stdout
