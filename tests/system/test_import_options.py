"""What an import is asked for beyond the file: kept with the version, so that every release of it answers alike."""
import json

import pytest


def lightgbm(trees, lists="null"):
    """Trees of one leaf: 1, 2, 4, … after a first feature that is a number and two that are sets of codes."""
    body = "".join(f"Tree={k}\nnum_leaves=1\nnum_cat=0\nleaf_value={2 ** k}\n\n\n" for k in range(trees))
    return ("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=2\n"
            "objective=regression\nfeature_names=price shop kind\nfeature_infos=[0:9] 0:1 0:1\n\n"
            f"{body}end of trees\n\npandas_categorical:{lists}\n")


@pytest.fixture
def files(workspace):
    (workspace.cwd / "m.txt").write_text(lightgbm(5))
    (workspace.cwd / "named.txt").write_text(lightgbm(1, '[["lo","hi"],["a","b"],["x","y"]]'))
    return workspace


def imported(workspace, *options, file="m.txt"):
    workspace.run("model", "import", file, "--fleet", "f", "--segment", "", *options)
    workspace.run("release", "create", "f")
    return workspace.json("predict", "f", "--row", "{}")["prediction"]


def test_rounds_are_kept_with_the_version(files):
    assert imported(files) == 31
    assert imported(files, "--iterations", "2") == 3
    assert imported(files, "--first-iteration", "1", "--iterations", "3") == 14
    assert imported(files, "--first-iteration", "4") == 16
    again = files.json("model", "import", "m.txt", "--fleet", "f", "--segment", "", "--first-iteration", "4")
    assert again["reused"] == 1  # the same file with the same options is the same version
    other = files.json("model", "import", "m.txt", "--fleet", "f", "--segment", "", "--iterations", "4")
    assert other["reused"] == 0


@pytest.mark.parametrize("options, message", [
    (["--iterations", "6"], "iterations 0 to 6 are wanted, the model has 5"),
    (["--iterations", "0"], "neither 'best' nor a number from 1"),
    (["--iterations", "best"], "which only XGBoost files name"),
    (["--first-iteration", "-1"], "not a number from 0"),
    (["--first-iteration", "5"], "iterations 5 to 5 are wanted, the model has 5"),
    (["--category-features", "shop"], "the file has no categories"),
])
def test_what_has_no_effect_is_refused(files, options, message):
    done = files.run("model", "import", "m.txt", "--fleet", "f", "--segment", "", *options, ok=False)
    assert done.returncode != 0 and message in done.stderr


def test_lists_of_categories_go_where_the_caller_says(files):
    done = files.run("model", "import", "named.txt", "--fleet", "f", "--segment", "", ok=False)
    assert "--category-features" in done.stderr
    imported(files, "--category-features", "price,shop,kind", file="named.txt")
    shown = files.json("model", "show", "f@")["signature"]["categories"]
    assert {name: entry["names"] for name, entry in shown.items()} == {
        "price": ["lo", "hi"], "shop": ["a", "b"], "kind": ["x", "y"]}
    assert json.loads(files.run("predict", "f", "--row", '{"price":"hi"}', "--json").stdout)["prediction"] == 1
