"""`myriad sql`: predict(), score() and score_all() in people's queries, with batch's bits; what they say when it is wrong."""
import json
import math

import lightgbm
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from conftest import Program

FEATURES = ["price", "deal", "week"]
ROWS = 6000


@pytest.fixture(scope="module")
def shop(build, tmp_path_factory):
    """A fleet of LightGBM models by store and brand, another with names of categories, one with several values."""
    folder = tmp_path_factory.mktemp("sql")
    rng = np.random.default_rng(5)
    x = rng.normal(size=(800, 3))

    program = Program(build / "myriad", folder)

    def run(*args):
        return program.run(*args, "--workspace", folder / "ws")

    def add(fleet, segment, booster):
        path = folder / f"{fleet}-{segment or 'all'}.txt"
        booster.save_model(path)
        run("model", "import", path, "--fleet", fleet, "--segment", segment)

    def train(data, y, **how):
        return lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, **how},
                              lightgbm.Dataset(data, y, feature_name=FEATURES if isinstance(data, np.ndarray) else "auto"), 8)

    program.run("init", "ws")
    for k, segment in enumerate(["store=1,brand=a", "store=2,brand=a", "store=2,brand=b", "brand=a", ""]):
        add("oj", segment, train(x, x[:, 0] * (k + 1) + x[:, 1] ** 2))
    run("release", "create", "oj")
    add("oj", "store=1,brand=a", train(x, x[:, 2] * 9))
    run("release", "create", "oj")
    run("release", "promote", "oj", 1)
    colours = pd.DataFrame({"colour": pd.Categorical(rng.choice(["red", "blau"], 800)), "size": pd.Categorical(rng.integers(1, 4, 800)), "x": x[:, 0]})
    add("shirts", "", train(colours, colours.colour.cat.codes * 3 + colours["size"].cat.codes * x[:, 0]))
    run("release", "create", "shirts")
    add("kinds", "", train(x, np.digitize(x[:, 0], [-0.5, 0.5]), objective="multiclass", num_class=3))
    run("release", "create", "kinds")
    rows = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=FEATURES).assign(
        store=rng.integers(1, 4, ROWS), brand=rng.choice(["a", "b", "c"], ROWS), row_id=np.arange(ROWS))
    rows.loc[::7, "price"] = np.nan
    rows["brand"] = rows.brand.where(rows.index % 11 != 0)
    rows.to_parquet(folder / "rows.parquet", row_group_size=2000)
    colours.to_parquet(folder / "shirts.parquet")
    return folder


@pytest.fixture
def sql(myriad, shop):
    """Run a query beside the tables; with fails=CODE it must fail so."""
    def run(query, *args, fails=0):
        done = myriad.run("sql", query, *args, "--workspace", shop / "ws", cwd=shop, ok=not fails)
        assert done.returncode == fails and "Sanitizer" not in done.stderr, done.stderr
        return done
    return run


def rows_of(done):
    return json.loads(done.stdout)


def test_the_bits_of_batch(myriad, shop, sql, tmp_path):
    myriad.run("batch", "run", "--fleet", "oj", "--input", shop / "rows.parquet", "--output", tmp_path / "batch", "--workspace", shop / "ws")
    done = sql("select store, brand, row_id, unnest(score('oj', t)) from 'rows.parquet' t", "--output", tmp_path / "sql.parquet", "--json")
    assert rows_of(done) == {"rows": ROWS, "output": str(tmp_path / "sql.parquet")}
    batch, ours = (pq.read_table(path).sort_by("row_id") for path in (tmp_path / "batch", tmp_path / "sql.parquet"))
    assert ours.column_names == batch.column_names
    for name in batch.column_names:
        assert ours[name].to_pylist() == batch[name].to_pylist(), name
    assert set(ours["level"].to_pylist()) == {"segment", "parent", "global"}
    for query in ("select row_id, predict('oj', t) p from 'rows.parquet' t",
                  "select row_id, predict('oj', store::varchar, brand, price, deal, week) p from 'rows.parquet'",
                  "select row_id, predict('oj', {week: week, price: price, deal: deal, brand: brand, store: store::double}) p from 'rows.parquet'"):
        sql(query, "--output", tmp_path / "p.parquet")
        assert pq.read_table(tmp_path / "p.parquet").sort_by("row_id")["p"].to_pylist() == batch["prediction"].to_pylist(), query


def test_fleets_releases_and_sums_in_one_query(shop, sql):
    found = rows_of(sql("select count(*) n, sum((predict('oj', t) <> predict('oj/2', t))::int) moved, avg(predict('oj/champion', t)) a, "
                        "sum(predict('shirts', {colour: 'red', size: 2, x: price})) s from 'rows.parquet' t where store = 1 and brand = 'a'", "--json"))[0]
    assert found["n"] == found["moved"] > 0 and math.isfinite(found["a"]) and math.isfinite(found["s"])


def test_so_many_fleets_and_no_more(sql):
    calls = [f"predict('oj/{'0' * k}1', 1, 'a', 1, 1, 1)" for k in range(65)]
    found = [row["p"] for row in rows_of(sql(f"select unnest([{', '.join(calls[:64])}]) p", "--json"))]
    assert len(found) == 64 and len(set(found)) == 1
    assert "at most 64 fleets and releases" in sql(f"select [{', '.join(calls)}]", fails=65).stderr


def test_types(shop, sql):
    """What a text says counts: 2, 2.0 and '2' are one key, names of categories come from any type."""
    want = rows_of(sql("select predict('oj', 2, 'b', 1.5::double, 2, 3) p", "--json"))[0]["p"]
    stores = ("2::tinyint", "2::ubigint", "2::hugeint", "2.0::float", "2.00::decimal(9,2)", "'2'", "'2.0'", "2::utinyint")
    prices = ("1.5::float", "1.50::decimal(4,2)", "1.5::decimal(38,10)", "'1.5'", "'15e-1'")
    calls = [f"score('oj', {store}, 'b', {price}, 2::smallint, 3::hugeint)" for store in stores for price in prices]
    for call, found in zip(calls, rows_of(sql(f"select unnest([{', '.join(calls)}]) s", "--json"))):
        assert (found["s"]["prediction"], found["s"]["status"], found["s"]["model"]) == (want, "ok", "oj@store=2,brand=b"), call
    booster = lightgbm.Booster(model_file=str(shop / "shirts-all.txt"))
    frame = pd.read_parquet(shop / "shirts.parquet")
    expected = booster.predict(frame.assign(size=pd.Categorical(frame["size"].astype(int)), colour=pd.Categorical(frame.colour)))
    for size in ("size", "size::varchar", "size::double", "size::decimal(5,1)", "size::utinyint"):
        query = f"select predict('shirts', {{colour: colour, size: {size}, x: x}}) p from (select colour, size::int size, x from 'shirts.parquet')"
        assert [row["p"] for row in rows_of(sql(query, "--json"))] == list(expected), size


def test_rows_without_an_answer(sql):
    found = rows_of(sql("select unnest([score('oj', 'x', 'a', 1, 1, 1), score('oj', 2, 'b', 'dear', 1, 1), score('oj', null, null, null, null, null)]) s, "
                        "predict('oj', 'x', 'a', 1, 1, 1) p", "--json"))
    assert [(row["s"]["status"], row["s"]["level"]) for row in found] == [("bad_key", "none"), ("bad_input", "segment"), ("ok", "global")]
    assert found[0]["s"]["prediction"] is None and found[0]["s"]["model"] is None and found[0]["p"] is None
    assert found[1]["s"]["prediction"] is None and found[1]["s"]["model"] == "oj@store=2,brand=b"
    gone = rows_of(sql("select score('oj', t) s from (select null::struct(store int, brand text, price double, deal double, week double) t)", "--json"))
    assert gone[0]["s"]["level"] == "global"  # a row of nulls


def test_several_values(shop, sql):
    found = rows_of(sql("select unnest(score_all('kinds', t)) from 'rows.parquet' t limit 50", "--json"))
    booster = lightgbm.Booster(model_file=str(shop / "kinds-all.txt"))
    expected = booster.predict(pd.read_parquet(shop / "rows.parquet")[FEATURES].to_numpy()[:50])
    assert [row["predictions"] for row in found] == expected.tolist()
    done = sql("select predict('kinds', t) from 'rows.parquet' t", fails=65)
    assert "its models give 3 values a row, not one: use score_all()" in done.stderr


@pytest.mark.parametrize("query,code,message", [
    ("select predict('oj', {store: 1, brand: 'a', Price: 1, deal: 2, week: 3})", 65, "no column 'price', a feature: did you mean 'Price'?"),
    ("select predict('oj', {stores: 1, brand: 'a'})", 65, "no column 'store', a partition column: did you mean 'stores'?"),
    ("select predict('oj', 1, 'a')", 65, "has 2 values where it needs 5: store, brand, price, deal, week; or one row"),
    ("select predict('oj')", 65, "has 0 values where it needs 5"),
    ("select predict(brand, t) from 'rows.parquet' t", 65, "the first argument is a name in quotes"),
    ("select predict(null, t) from 'rows.parquet' t", 65, "the first argument is a name in quotes"),
    ("select predict('oje', t) from 'rows.parquet' t", 66, "no fleet 'oje'"),
    ("select predict('oj/9', t) from 'rows.parquet' t", 66, "has no release 9"),
    ("select predict('oj/rival', t) from 'rows.parquet' t", 66, "rival"),
    ("select predict('oj', store, brand, date '2026-01-01', 1, 1) from 'rows.parquet'", 65, "'price' is of a type that no model takes: cast it to DOUBLE"),
    ("select predict('oj', [1], brand, 1, 1, 1) from 'rows.parquet'", 65, "'store' is of a type that no model takes"),
    ("select stor from 'rows.parquet'", 65, 'Referenced column "stor" not found'),
    ("selec 1", 65, 'SQL: syntax error at or near "selec"'),
    ("select 1; select 2", 65, "2 statements: give one SELECT"),
    ("", 65, "there is no query"),
    ("create table t as select 1", 65, "only a query is taken"),
    ("copy (select 1) to 'x.csv'", 65, "only a query is taken"),
    ("select ?", 65, "parameters"),
    ("select * from 'nowhere.parquet'", 66, "nowhere.parquet"),
    ("select * from 'https://127.0.0.1:1/x.parquet'", 65, "httpfs"),
])
def test_what_is_wrong(sql, query, code, message):
    assert message in sql(query, fails=code).stderr


def test_outputs(shop, sql, tmp_path):
    query = "select row_id, store, predict('oj', t) p from 'rows.parquet' t order by row_id desc limit 5"
    for suffix in ("parquet", "csv", "json", "ndjson"):
        path = tmp_path / f"out.{suffix}"
        assert sql(query, "--output", path).stdout == f"5 rows in {path}\n"
    assert list(pd.read_csv(tmp_path / "out.csv").row_id) == [ROWS - 1 - k for k in range(5)]
    assert json.loads((tmp_path / "out.json").read_text()) == [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == json.loads((tmp_path / "out.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.json", "out.ndjson", "out.parquet"]  # and nothing beside them
    assert "must end in .parquet, .csv, .json or .ndjson" in sql(query, "--output", tmp_path / "out.xlsx", fails=64).stderr
    (tmp_path / "out.csv").write_text("old")
    sql("select error('stop') from range(3)", "--output", tmp_path / "out.csv", fails=65)
    assert (tmp_path / "out.csv").read_text() == "old" and not (tmp_path / "out.csv.tmp").exists()


def test_on_the_terminal(sql):
    lines = sql("select row_id, brand, 'ü' || row_id as name from 'rows.parquet' order by row_id", "--limit", 3).stdout.splitlines()
    assert lines == ["row_id  brand  name", "     0  -      ü0", "     1  c      ü1".replace("c", lines[2].split()[1]),
                     "     2  c      ü2".replace("c", lines[3].split()[1]), "… and more: --limit N shows so many, --output FILE writes all"]
    assert len(sql("select * from range(41)").stdout.splitlines()) == 42
    assert len(sql("select * from range(40)").stdout.splitlines()) == 41
    assert "--limit is for rows that are shown" in sql("select 1", "--limit", 3, "--output", "x.csv", fails=64).stderr


def test_json_is_json(sql):
    found = rows_of(sql("""select 'nan'::double n, [1.5, 'inf'::double] l, {a: 'Na"N', b: '-inf'::float, c: '\\Infinity'} s, date '2020-01-01' d,
                           1.5::decimal(9,2) m, true b, 'a"b' t, null u, 9007199254740993 i, map {'k': 'nan'::double} m2, '{"x": [1]}'::json j""", "--json"))
    assert found == [{"n": None, "l": [1.5, None], "s": {"a": 'Na"N', "b": None, "c": "\\Infinity"}, "d": "2020-01-01", "m": 1.5, "b": True,
                      "t": 'a"b', "u": None, "i": 9007199254740993, "m2": {"k": None}, "j": {"x": [1]}}]
    assert rows_of(sql("select 1 a where false", "--json")) == []
    assert rows_of(sql("select 1 a, 2 a", "--json"))  # two of one name
    wide = "select " + ", ".join(f"{k} c{k}" for k in range(1025))
    assert "1025 columns are too many for --json: at most 1024" in sql(wide, "--json", fails=65).stderr
    assert len(rows_of(sql(wide.rpartition(",")[0], "--json"))[0]) == 1024
