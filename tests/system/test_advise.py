"""`myriad advise` as typed: flags, files, defaults, JSON, trees and products of one's own, and the document's examples."""
import json
import re
import shlex

import pytest

from conftest import ROOT

NIGHTLY = ["--how-often", "nightly", "--how-soon", "4h", "--batch-size", "large", "--latency", "low", "--compute", "10m",
           "--operation", "one-machine"]
DOCUMENT = (ROOT / "docs/choosing.md").read_text()


def examples():
    """(title, words, verdict, place) of each worked example in docs/choosing.md."""
    text = DOCUMENT.split("## Six worked examples")[1].split("\n## ")[0]
    found = []
    for part in text.split("\n### ")[1:]:
        command = re.search(r"```sh\n(myriad advise .*?)\n```", part, re.S)[1]
        verdict, place = re.search(r"Verdict: `([a-z-]+)`\. Place: `([a-z-]+)`", part).groups()
        found.append((part.split("\n")[0], shlex.split(command)[1:], verdict, place))
    return found


EXAMPLES = examples()


def test_the_document_has_the_six():
    assert len(EXAMPLES) == 6
    titles = " ".join(title for title, *_ in EXAMPLES)
    for word in ("retail", "fraud", "meters", "new user", "image", "till"):
        assert word in titles
    assert {verdict for *_, verdict, _ in EXAMPLES} == {"batch", "real-time", "streaming", "batch-with-fall-through"}


@pytest.mark.parametrize("title,words,verdict,place", EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_worked_example(myriad, title, words, verdict, place):
    answer = myriad.json(*words)
    assert (answer["verdict"], answer["place"]) == (verdict, place)
    said = myriad.run(*words).stdout
    assert "Verdict: " in said and "Where: " in said and "Next" in said
    for step in answer["first"]["path"] + answer["second"]["path"]:
        assert step["because"] in re.sub(r"\s+", " ", said)
    assert all(name for name in answer["products"].values())


def test_the_document_tells_the_questions_as_they_are(myriad):
    help_text = myriad.run("advise", "--help").stdout
    for flag in ("how-often", "how-soon", "batch-size", "latency", "compute", "operation"):
        allowed = re.search(rf"--{flag} ANSWER .*\n\s+(.*)\n", help_text)[1].split(", or ")[0].split(", ")
        row = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| `--{flag}`"))
        assert all(f"`{option}`" in row for option in allowed), (flag, allowed)


def test_commands_that_it_tells_exist(myriad):
    """Each `myriad …` line of each verdict and place names a command, and flags that its --help lists."""
    trees = myriad.run("advise", "--print", "trees").stdout
    runs = re.findall(r"run: \"?(.*?)\"?$", trees, re.M)
    mine = [shlex.split(run.replace('\\"', '"').split("&&")[-1].replace("time ", "")) for run in runs if "myriad " in run]
    assert len(mine) >= 8
    listed = myriad.run("help").stdout
    for words in mine:
        assert words[0] == "myriad"
        name = " ".join(words[1:3]) if f"  {words[1]} {words[2]} " in listed else words[1]
        assert re.search(rf"^  {name} ", listed, re.M), words
        help_text = myriad.run(*name.split(), "--help").stdout
        for flag in [w for w in words if w.startswith("--")]:
            assert flag in help_text or flag.replace("--", "--serve.") in help_text, (words, flag)


def test_without_a_terminal_nothing_is_guessed(myriad):
    code, message = myriad.fails("advise")
    assert code == 64
    for flag in ("--how-often", "--how-soon", "--batch-size", "--latency", "--compute", "--operation", "--defaults"):
        assert flag in message
    code, message = myriad.fails("advise", "--how-often", "nightly", "--how-soon", "4h")
    assert "not answered: --compute, --operation:" in message
    assert "--batch-size" not in message  # it changes nothing here


def test_defaults_say_what_they_took(myriad):
    done = myriad.run("advise", "--defaults", "--how-often", "on-demand", "--json")
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "batch" and answer["answers"]["how-soon"]["from"] == "default"
    assert "--how-soon: default taken: hours" in done.stderr
    assert "--how-often" not in done.stderr


def test_an_unknown_answer_names_the_allowed_ones(myriad):
    for flag, value, said in [("--how-often", "monthly", "stream, on-demand, hourly, nightly, rarely"),
                              ("--how-soon", "4", "or a time like 250ms, 4h, 2d"), ("--batch-size", "huge", "one, small, large"),
                              ("--operation", "k8s", "none, one-machine, redundant, kubernetes, spark, device")]:
        code, message = myriad.fails("advise", flag, value)
        assert code == 64 and said in message and f"'{value}'" in message
    code, message = myriad.fails("advise", "--how-ofen", "nightly")
    assert "did you mean --how-often" in message


def test_answers_file_and_flags_before_it(myriad):
    (myriad.cwd / "a.yaml").write_text("# a file\nhow-often: nightly\nhow-soon: 4h\ncompute: 3d\noperation: one-machine\n")
    answer = myriad.json("advise", "a.yaml")
    assert (answer["verdict"], answer["place"]) == ("batch", "spark")
    assert answer["answers"]["how-soon"] == {"answer": "hours", "given": "4h", "from": "a.yaml:3:11"}
    answer = myriad.json("advise", "a.yaml", "--compute", "little")
    assert answer["place"] == "this-machine" and answer["answers"]["compute"]["from"] == "--compute"
    (myriad.cwd / "a.yaml").write_text("how-often: nightly\nhow-son: 4h\n")
    code, message = myriad.fails("advise", "a.yaml")
    assert "a.yaml:2:1: unknown key 'how-son': did you mean 'how-soon'" in message
    (myriad.cwd / "a.yaml").write_text("how-often: sometimes\n")
    assert "a.yaml:1:12: 'sometimes' is no answer" in myriad.fails("advise", "a.yaml")[1]
    assert myriad.fails("advise", "absent.yaml")[0] == 66


def test_json_has_the_way(myriad):
    answer = myriad.json("advise", *NIGHTLY)
    assert [s["question"] for s in answer["first"]["path"]] == ["how-often", "how-soon"]
    assert [s["question"] for s in answer["second"]["path"]] == ["verdict", "operation", "compute"]
    assert set(answer["products"]) == {"Azure", "AWS", "Google Cloud"}
    assert answer["next"][0]["run"].startswith("myriad batch run --fleet FLEET")
    assert "reconstruction" in answer["source"] and "measured" not in answer


def test_text_without_colour_when_not_a_terminal(myriad):
    said = myriad.run("advise", *NIGHTLY, env={"TERM": "xterm"}).stdout
    assert "\x1b" not in said
    assert "not a copy" in re.sub(r"\s+", " ", said)


def test_trees_of_ones_own(myriad):
    trees = myriad.run("advise", "--print", "trees").stdout
    assert trees == (ROOT / "share/advise/trees.yaml").read_text()
    mine = trees.replace("name: operation", "name: upkeep").replace("ask: operation", "ask: upkeep").replace("title: Kubernetes", "title: Our cluster")
    (myriad.cwd / "mine.yaml").write_text(mine)
    assert myriad.json("advise", "--trees", "mine.yaml", "--check")["combinations"] == 4320
    assert "4320 combinations" in myriad.run("advise", "--check", "--trees=mine.yaml").stdout
    words = ["how-often=nightly", "how-soon=4h", "compute=little", "upkeep=kubernetes"]
    said = myriad.run("advise", "--trees", "mine.yaml", *[f"--{w}" for w in words]).stdout
    assert "Where: Our cluster" in said
    assert "unknown option --operation" in myriad.fails("advise", "--trees", "mine.yaml", "--operation", "none")[1]
    cut = re.sub(r"        - \{when: device, place: edge, because: .The table.*\n", "", mine)
    assert cut != mine
    (myriad.cwd / "mine.yaml").write_text(cut)
    code, message = myriad.fails("advise", "--trees", "mine.yaml", "--check")
    assert code == 65 and re.search(r"mine\.yaml:\d+:\d+: node 'batch-upkeep' has no branch for device of 'upkeep'", message)
    assert myriad.fails("advise", "--trees", "absent.yaml")[0] == 66
    assert "trees or products" in myriad.fails("advise", "--print", "leaves")[1]


def test_products_of_ones_own(myriad):
    products = myriad.run("advise", "--print", "products").stdout
    assert products == (ROOT / "share/advise/products.yaml").read_text()
    (myriad.cwd / "p.yaml").write_text(products.replace("a small EC2 instance", "our own rack"))
    assert "our own rack" in myriad.run("advise", *NIGHTLY, "--products", "p.yaml").stdout
    (myriad.cwd / "p.yaml").write_text(products.replace("place: edge", "place: egde"))
    assert re.search(r"p\.yaml:\d+:\d+: place 'egde' is not in the trees", myriad.fails("advise", *NIGHTLY, "--products", "p.yaml")[1])


def test_explain_without_a_name_and_with_a_wrong_one(myriad):
    said = myriad.run("advise", "--explain", *NIGHTLY).stdout
    assert (myriad.cwd / "advise.svg").exists()
    assert "[*] How often are predictions needed?" in said and "`== minutes, hours ==> Batch  [*]" in said
    myriad.run("advise", *NIGHTLY, "--json", "--explain")
    (myriad.cwd / "answers.yaml").write_text("how-often: nightly\n")
    code, message = myriad.fails("advise", "--explain", "answers.yaml", *NIGHTLY)
    assert "must end in .svg" in message
    assert (myriad.cwd / "answers.yaml").read_text() == "how-often: nightly\n"
    assert myriad.fails("advise", *NIGHTLY, "--explain", "no/such/dir/x.svg")[0] != 0


def test_trees_are_drawn_without_a_way(myriad):
    said = myriad.run("advise", "--check", "--explain", "plain.svg").stdout
    assert "4320 combinations" in said and "drawn: plain.svg" in said and "[*]" not in said
    assert 'class="took"' not in (myriad.cwd / "plain.svg").read_text()


def test_too_many_words(myriad):
    assert "more than" in myriad.fails("advise", *["--json"] * 200)[1]
