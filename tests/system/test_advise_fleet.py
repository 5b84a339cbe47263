"""`myriad advise --fleet`: what is measured is measured, and it says how; what cannot be measured is asked for."""
import json
import os
import re

import pytest

from conftest import linear
from test_advise_dialogue import PROMPT, Terminal, plain

FEATURES = ["price", "deal"]


@pytest.fixture
def fleet(workspace):
    """Forty linear models by store and brand, a parent and a global one, released."""
    (workspace.cwd / "m.json").write_text(linear(FEATURES, 1, [2, 3]))
    (workspace.cwd / "p.json").write_text(linear(FEATURES, 4, [2, 3]))
    lines = ["path,store,brand"] + [f"m.json,{store},{brand}" for store in range(20) for brand in ("it's", "b")]
    (workspace.cwd / "models.csv").write_text("\n".join(lines) + "\np.json,,b\n")
    workspace.run("model", "import", "--manifest", "models.csv", "--fleet", "oj")
    workspace.run("model", "import", "p.json", "--fleet", "oj", "--segment", "")
    workspace.run("release", "create", "oj")
    return workspace


def rows(workspace, count):
    lines = ["store,brand,price,deal"] + [f"{i % 20},b,{i},1" for i in range(count)]
    (workspace.cwd / "rows.csv").write_text("\n".join(lines) + "\n")
    workspace.run("batch", "run", "--fleet", "oj", "--input", "rows.csv", "--output", f"out{count}", "--format", "csv")


def test_measured_without_a_run(fleet):
    code, message = fleet.fails("advise", "--fleet", "oj")
    assert code == 64 and "--how-often" in message and "--compute" in message
    assert "--latency" not in message  # measured
    answer = fleet.json("advise", "--fleet", "oj", "--how-often", "nightly", "--how-soon", "4h", "--compute", "1m", "--operation", "none")
    measured = answer["measured"]
    assert (measured["fleet"], measured["release"], measured["models"], measured["features"]) == ("oj", 1, 42, 2)
    assert measured["runs"] is None and measured["requests"] is None
    assert measured["row_ns"]["median"] > 0 and measured["row_ns"]["rows"] <= 8192 and measured["row_ns"]["models"] == 42
    assert measured["one_row_ns"]["p50"] <= measured["one_row_ns"]["p99"]
    sizes = measured["model_bytes"]
    assert 0 < sizes["median"] <= sizes["max"] <= sizes["total"] == sizes["median"] * 42
    assert answer["answers"]["latency"]["answer"] == "low" and answer["answers"]["latency"]["from"].startswith("measured: 99th")
    assert "batch-size" not in answer["answers"]


def test_measured_with_runs_answers_by_itself(fleet):
    rows(fleet, 3000)
    rows(fleet, 5000)
    answer = fleet.json("advise", "--fleet", "oj", "--how-often", "nightly", "--how-soon", "4h", "--operation", "one-machine")
    assert (answer["verdict"], answer["place"]) == ("batch", "this-machine")
    runs = answer["measured"]["runs"]
    assert (runs["count"], runs["last_rows"]) == (2, 5000) and runs["median_rows"] in (3000, 5000) and runs["last_ms"] >= 0
    assert answer["answers"]["batch-size"] == {"answer": "large", "given": "5000", "from": "measured: rows of the last completed run"}
    assert answer["answers"]["compute"]["answer"] == "little"
    assert answer["answers"]["compute"]["from"].startswith("measured: 5000 rows of the last run at ")


def test_the_text_says_how(fleet):
    rows(fleet, 100)
    said = fleet.run("advise", "--fleet", "oj", "--how-often", "nightly", "--how-soon", "4h", "--operation", "one-machine").stdout
    for words in ("Measured on oj, release 1", "models           42", "median of 9 rounds", "made-up feature values", "99th percentile",
                  "without network and JSON", "last run         100 rows", "no history of requests is stored yet", "which is mapped"):
        assert words in said, words
    assert "median of the last" not in said
    rows(fleet, 200)
    said = fleet.run("advise", "--fleet", "oj", "--how-often", "nightly", "--how-soon", "4h", "--operation", "one-machine").stdout
    assert "last run         200 rows" in said and "median of the last 2 completed runs" in said


def test_flags_win_over_what_is_measured(fleet):
    answer = fleet.json("advise", "--fleet", "oj", "--how-often", "on-demand", "--how-soon", "at-once", "--latency", "2s", "--compute", "gpu",
                        "--operation", "kubernetes")
    assert answer["verdict"] == "batch-with-fall-through" and answer["answers"]["latency"]["from"] == "--latency"


def test_in_a_terminal_only_the_rest_is_asked(fleet):
    rows(fleet, 2000)
    t = Terminal(fleet, "--fleet", "oj")
    said = plain(t.read(PROMPT))
    assert "latency: low (measured" in said and "batch-size: large (measured" in said and "compute: little (measured" in said
    assert "2. How soon" in plain(t.answer("on-demand\n"))
    assert "3. What may keeping it up" in plain(t.answer("at-once\n"))
    os.write(t.leader, b"redundant\n")
    code, rest = t.end()
    assert code == 0 and "Verdict: Real time" in plain(rest)


def test_the_next_commands_work_as_they_are(fleet):
    """The row in the commands is one of the fleet's own, quoted for a shell (a brand has an apostrophe)."""
    answer = fleet.json("advise", "--fleet", "oj", "--how-often", "on-demand", "--how-soon", "at-once", "--compute", "1m",
                        "--operation", "one-machine")
    command = next(step["run"] for step in answer["next"] if "myriad predict" in step["run"])
    row = re.fullmatch(r"myriad predict oj --row '([^']*)'", command)[1]
    scored = fleet.json("predict", "oj", "--row", row)
    assert scored["status"] == "ok" and scored["level"] == "segment"
    assert set(json.loads(row)) == {"store", "brand", "price", "deal"}


def test_a_fleet_that_is_not_there(fleet, myriad):
    code, message = fleet.fails("advise", "--fleet", "ojj")
    assert code == 66 and "oj" in message
    code, message = fleet.fails("advise", "--fleet", "oj", cwd="/")
    assert "myriad init" in message


def test_a_global_model_alone_and_no_workspace_needed_otherwise(workspace):
    (workspace.cwd / "m.json").write_text(linear(FEATURES, 1, [2, 3]))
    workspace.run("model", "import", "m.json", "--fleet", "one", "--segment", "")
    workspace.run("release", "create", "one")
    answer = workspace.json("advise", "--fleet", "one", "--defaults")
    assert answer["measured"]["models"] == 1 and answer["measured"]["row_ns"]["models"] == 1
    assert workspace.run("advise", "--defaults", cwd="/").returncode == 0
