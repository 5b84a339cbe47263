"""Categories by name in the program: what `model show` tells of them, and a damaged artifact."""
import pathlib

import pytest

CATEGORIES = ["red", "green", "a\"b", ""] + [f"c{k}" for k in range(200)]


def lightgbm(categories):
    """A file with one tree over the codes of `colour`: 10 for the first category, 20 for the others, 30 if missing."""
    import json
    return ("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n"
            "objective=regression\nfeature_names=price colour\nfeature_infos=[0:9] 0:1\n\n"
            "Tree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=1 1\nthreshold=0.5 100000\ndecision_type=8 8\n"
            "left_child=-1 -2\nright_child=1 -3\nleaf_value=10 20 30\n\n\nend of trees\n\n"
            f"parameters:\n[categorical_feature: 1]\nend of parameters\n\npandas_categorical:{json.dumps([categories])}\n")


@pytest.fixture
def paint(workspace):
    (workspace.cwd / "m.txt").write_text(lightgbm(CATEGORIES))
    (workspace.cwd / "n.txt").write_text(lightgbm([5, 2.5, True]))
    workspace.run("model", "import", "m.txt", "--fleet", "paint", "--segment", "store=1")
    workspace.run("model", "import", "n.txt", "--fleet", "paint", "--segment", "store=2")
    workspace.run("release", "create", "paint")
    return workspace


def test_model_show_tells_the_categories(paint):
    shown = paint.json("model", "show", "paint@store=1")["signature"]
    assert shown["features"] == ["price", "colour"]
    assert shown["categories"] == {"colour": {"count": 204, "names": CATEGORIES[:100]}}
    assert paint.json("model", "show", "paint@store=2")["signature"]["categories"] == {
        "colour": {"count": 3, "names": ["5", "2.5", "true"]}}
    text = paint.run("model", "show", "paint@store=1").stdout
    assert 'categories   colour: "red" "green" "a\\"b" "" "c0" "c1" "c2" "c3" and 196 more' in text


def test_model_show_of_a_model_whose_artifact_is_gone(paint):
    name = paint.json("model", "show", "paint@store=1")["artifact"]
    found = list(pathlib.Path(paint.cwd / "artifacts").rglob(f"*{name[2:]}*")) or list(
        pathlib.Path(paint.cwd / "artifacts").rglob(f"*{name}*"))
    found[0].unlink()
    shown = paint.json("model", "show", "paint@store=1")
    assert shown["signature"]["categories"] == {} and shown["artifact"] == name


def test_predict_by_name(paint):
    def prediction(row):
        return paint.json("predict", "paint", "--row", row)["prediction"]
    assert prediction('{"store":1,"colour":"red"}') == 10
    assert prediction('{"store":1,"colour":""}') == 20
    assert prediction('{"store":1,"colour":"unseen"}') == 30
    assert prediction('{"store":2,"colour":5}') == 10
    assert prediction('{"store":2,"colour":2.50}') == 20
    assert prediction('{"store":2,"colour":true}') == 20
    assert prediction('{"store":2,"colour":"five"}') == 30
