"""`myriad pack`: info, verify, diff and compact, on fleets and on files."""
import json

from conftest import linear


def nightly(workspace, releases):
    """A fleet of 4 stores; release n changes store n % 4. Gives the prediction of each store after each release."""
    answers = []
    for n in range(releases):
        for store in range(4) if n == 0 else [n % 4]:
            path = workspace.cwd / f"m{n}-{store}.json"
            path.write_text(linear(["a"], 10 * n + store, [1 + n]))
            workspace.run("model", "import", path, "--fleet", "f", "--segment", f"store={store}")
        workspace.run("release", "create", "f")
        answers.append(predictions(workspace))
    return answers


def predictions(workspace):
    return [workspace.json("predict", "f", "--row", json.dumps({"store": s, "a": 0.1}))["prediction"] for s in range(4)]


def files(workspace):
    return sorted(p.name for p in (workspace.cwd / "packs/f").iterdir() if not p.name.startswith("."))


def test_info_tells_files_and_what_of_them_is_used(workspace):
    nightly(workspace, 3)
    told = workspace.json("pack", "info", "f")
    assert (told["fleet"], told["release"], told["models"], told["features"]) == ("f", 3, 4, ["a"])
    assert told["keys"] == [{"name": "store", "type": "INT64"}]
    assert {b["name"]: b["used_models"] for b in told["blobs"]} == {"r1.blobs": 2, "r2.blobs": 1, "r3.blobs": 1}
    assert told["unused_bytes"] == sum(b["bytes"] - b["used_bytes"] for b in told["blobs"])
    first = workspace.json("pack", "info", "f", "--release", 1)
    assert (first["release"], len(first["blobs"])) == (1, 1)
    assert workspace.json("pack", "info", "packs/f/r1.index") == first
    assert "in use" in workspace.run("pack", "info", "f").stdout


def test_diff_names_what_changed(workspace):
    nightly(workspace, 2)
    (workspace.cwd / "new.json").write_text(linear(["a"], 5, [1]))
    workspace.run("model", "import", "new.json", "--fleet", "f", "--segment", "store=9")
    workspace.run("release", "create", "f")
    assert workspace.json("pack", "diff", "packs/f/r1.index", "f") == {
        "same": 3, "changed": ["store=1"], "added": ["store=9"], "removed": []}
    assert workspace.json("pack", "diff", "f", "packs/f/r1.index") == {
        "same": 3, "changed": ["store=1"], "added": [], "removed": ["store=9"]}
    text = workspace.run("pack", "diff", "packs/f/r1.index", "f").stdout
    assert "changed store=1: version 1 to 2" in text and "1 added, 0 removed, 1 changed, 3 the same" in text


def test_diff_shows_the_first_twenty_unless_asked(workspace):
    (workspace.cwd / "m.json").write_text(linear(["a"], 1, [1]))
    (workspace.cwd / "few.csv").write_text("path,store\nm.json,0\n")
    (workspace.cwd / "many.csv").write_text("path,store\n" + "".join(f"m.json,{i}\n" for i in range(25)))
    for manifest in ("few.csv", "many.csv"):
        workspace.run("model", "import", "--fleet", "f", "--manifest", manifest)
        workspace.run("release", "create", "f")
    text = workspace.run("pack", "diff", "packs/f/r1.index", "f").stdout
    assert text.count("  added ") == 20 and "4 more added: --all shows them" in text
    assert workspace.run("pack", "diff", "packs/f/r1.index", "f", "--all").stdout.count("  added ") == 24


def test_verify_finds_one_damaged_model(workspace):
    nightly(workspace, 1)
    assert workspace.json("pack", "verify", "f") == {"ok": True, "models": 4, "broken": 0}
    blobs = workspace.cwd / "packs/f/r1.blobs"
    data = bytearray(blobs.read_bytes())
    data[64 + 70] ^= 1  # in the first model
    blobs.write_bytes(data)
    done = workspace.run("pack", "verify", "f", "--json", ok=False)
    assert done.returncode == 65 and json.loads(done.stdout) == {"ok": False, "models": 4, "broken": 1}
    assert "store=" in done.stderr and "checksum" in done.stderr


def test_compact_copies_into_one_file_and_changes_no_answer(workspace):
    answers = nightly(workspace, 5)
    told = workspace.json("pack", "compact", "f")
    assert (told["release"], told["models"], told["reused"], told["pruned_releases"]) == (6, 4, False, 0)
    assert predictions(workspace) == answers[-1]
    info = workspace.json("pack", "info", "f")
    assert [b["name"] for b in info["blobs"]] == ["r6.blobs"] and info["unused_bytes"] <= 128
    assert workspace.json("pack", "diff", "packs/f/r5.index", "f")["same"] == 4
    assert workspace.json("pack", "compact", "f")["reused"] is True
    assert workspace.json("release", "create", "f")["reused"] is True  # nothing new since
    workspace.run("release", "promote", "f", 2)
    assert predictions(workspace) == answers[1]


def test_prune_removes_what_no_alias_and_no_newer_release_needs(workspace):
    answers = nightly(workspace, 4)
    (workspace.cwd / "staged.json").write_text(linear(["a"], 99, [1]))
    workspace.run("model", "import", "staged.json", "--fleet", "f", "--segment", "store=3")
    workspace.run("release", "create", "f", "--no-promote")  # 5 keeps models of the files before it
    told = workspace.json("pack", "compact", "f", "--prune")
    assert (told["release"], told["pruned_releases"]) == (6, 4)
    assert told["freed_bytes"] > 0
    assert [r["release"] for r in workspace.json("release", "list", "f")] == [5, 6]
    assert predictions(workspace) == answers[-1]
    workspace.run("release", "promote", "f", 5)
    assert predictions(workspace) == answers[-1][:3] + [99.1]
    assert workspace.json("pack", "verify", "f")["ok"]
    assert "r1.index" not in files(workspace) and "r5.index" in files(workspace)
    told = workspace.json("pack", "compact", "f", "--prune")  # now 5 is the champion; 6 is newer and stays
    assert [r["release"] for r in workspace.json("release", "list", "f")] == [6, 7]
    assert files(workspace) == ["r6.blobs", "r6.index", "r7.blobs", "r7.index"]


def test_prune_removes_nothing_when_a_kept_pack_cannot_be_read(workspace):
    nightly(workspace, 2)
    workspace.run("release", "create", "f")
    (workspace.cwd / "staged.json").write_text(linear(["a"], 99, [1]))
    workspace.run("model", "import", "staged.json", "--fleet", "f", "--segment", "store=3")
    workspace.run("release", "create", "f", "--no-promote")
    index = workspace.cwd / "packs/f/r3.index"
    index.write_bytes(index.read_bytes()[:-1])
    code, message = workspace.fails("pack", "compact", "f", "--prune")
    assert code == 65 and "r3.index" in message
    assert {"r1.blobs", "r1.index", "r2.index"} <= set(files(workspace))


def test_errors_name_what_to_type(workspace):
    assert "no fleet 'nope'" in workspace.fails("pack", "info", "nope")[1]
    assert "missing.index" in workspace.fails("pack", "verify", "missing.index")[1]
    nightly(workspace, 1)
    assert "release 9" in workspace.fails("pack", "info", "f", "--release", 9)[1]
    assert "--release goes with a fleet" in workspace.fails("pack", "info", "packs/f/r1.index", "--release", 1)[1]
