"""Batch runs from and to object stores: the same rows as from and to directories, and a reader who goes by the manifest sees the old or the new."""
import io
import json
import os
import random
import signal
import subprocess

import pytest
from conftest import BUILD, linear
from objects import NOT_OURS, S3, Azure, cut, lose, proxied, stall, status
from servers import running
from test_batch_failures import KILLS as KILLS_WORKERS
from test_batch_failures import poison  # noqa: F401 (a fixture)

KILLS = int(os.environ.get("MYR_KILLS", 200 if os.environ.get("MYR_LONG") else 3))
FAST = {"MYRIAD_OBJECT_BACKOFF": "10ms", "MYRIAD_OBJECT_RETRIES": "2"}
NAMES = ["a b+c.csv", "100%.csv", "é=ü.csv"]  # one in each store=…/


@pytest.fixture(scope="module", params=[S3, Azure], ids=["s3", "azure"])
def store(request):
    with running(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def s3():
    with running(S3) as server:
        yield server


class Batch:
    """A workspace with a fleet, and its runs on a store (or through a proxy to it)."""

    def __init__(self, workspace, store, root, port=None):
        self.workspace, self.store, self.root = workspace, store, root
        env = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        self.env = {**env, **FAST, **store.env(port), "HOME": str(workspace.cwd)}
        workspace.env = self.env
        for name, segment, intercept in (("a", "store=1,brand=1", 1), ("b", "brand=2", 10), ("c", "", 100)):
            (workspace.cwd / f"{name}.json").write_text(linear(["x1", "x2"], intercept, [1.0, 2.0]))
            workspace.run("model", "import", f"{name}.json", "--fleet", "f", "--segment", segment)
        workspace.run("release", "create", "f")

    def uri(self, name=""):
        return f"{self.store.scheme}://data/{self.root}/{name}"

    def seed(self, version=0, stores=3):
        for i in range(stores):
            rows = "".join(f"{j % 4},{j * 0.25 + version},{j % 7},{i}-{j}\n" for j in range(500))
            text = "brand,x1,x2,id\n" + rows
            self.store.seed(f"{self.root}/in/store={i}/{NAMES[i % 3]}", text.encode())
            path = self.workspace.cwd / f"local{version}/store={i}/x.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def words(self, source="in/", *more):
        return ["batch", "run", "--fleet", "f", "--input", self.uri(source), "--output", self.uri("out"), "--by", "brand", "--keep", "id",
                "--format", "csv", *more]

    def run(self, *words, port=None, **kwargs):
        env = {**self.env, **(self.store.env(port) if port else {})}
        return self.workspace.run(*words, "--json", env=env, **kwargs)

    def json(self, *words, **kwargs):
        return json.loads(self.run(*words, **kwargs).stdout.splitlines()[-1])

    def fails(self, *words, port=None):
        code, message = self.workspace.fails(*words, env={**self.env, **(self.store.env(port) if port else {})})
        return message

    def manifest(self):
        return json.loads(self.store.get(f"{self.root}/out/_myriad.json"))

    def rows(self):
        """Every row of the output as a reader by the manifest sees it; a half output fails here."""
        found = []
        for file in self.manifest()["files"]:
            data = self.store.get(f"{self.root}/out/{file['path']}")
            assert len(data) == file["bytes"]
            found += [(file["path"].split("/")[0], line) for line in data.decode().splitlines()[1:]]
        return sorted(found)

    def local_rows(self, version=0):
        """The same from and to directories."""
        out = self.workspace.cwd / f"local-out{version}"
        self.workspace.run("batch", "run", "--fleet", "f", "--input", f"local{version}/**/*.csv", "--output", str(out), "--by", "brand", "--keep",
                           "id", "--format", "csv")
        return sorted((path.parent.name, line) for path in out.rglob("*.csv") for line in path.read_text().splitlines()[1:])

    def stray(self):
        """Objects of the output that its manifest does not name."""
        named = {f"{self.root}/out/{file['path']}" for file in self.manifest()["files"]} | {f"{self.root}/out/_myriad.json"}
        return [key for key in self.store.keys(f"{self.root}/out/") if key not in named]


@pytest.fixture
def batch(workspace, store, request):
    return Batch(workspace, store, f"{request.node.name.split('[')[0]}")


@pytest.fixture
def batch3(workspace, s3, request):
    return Batch(workspace, s3, request.node.name.split("[")[0])


def test_there_and_back(batch):
    batch.seed()
    report = batch.json(*batch.words())
    assert report["rows"] == 1500 and report["output"] == batch.uri("out") and report["files"] == len(batch.manifest()["files"]) == 12
    assert batch.rows() == batch.local_rows() and batch.stray() == []
    listed = batch.workspace.run("batch", "show", str(report["run"])).stdout
    assert batch.uri("out") in listed and batch.uri("in/") in listed
    # a second time there is nothing to do; with other input everything is new, and the old files are gone
    again = batch.json(*batch.words())
    assert again["unchanged"] and again["run"] == report["run"]
    old = set(batch.store.keys(f"{batch.root}/out/"))
    batch.seed(version=1)
    new = batch.json(*batch.words())
    assert not new["unchanged"] and batch.rows() == batch.local_rows(1) and batch.stray() == []
    assert old & set(batch.store.keys(f"{batch.root}/out/")) == {f"{batch.root}/out/_myriad.json"}
    # whatever was brought and staged is gone
    assert not [p.name for p in (batch.workspace.cwd / "runs").iterdir() if p.name.startswith(("input-", "output-"))]


def test_globs_job_files_and_one_object(batch3):
    batch = batch3
    batch.seed()
    (batch.workspace.cwd / "job.yaml").write_text(f"""
fleet: f
input: ['{batch.uri("in/store=[01]/*.csv")}', '{batch.uri("in/store=2/" + NAMES[2])}']
output: {{path: '{batch.uri("out")}/', format: csv, by: [brand], keep: [id]}}
""")
    assert batch.json("batch", "run", "job.yaml")["rows"] == 1500
    assert batch.rows() == batch.local_rows()
    assert batch.json(*batch.words("in/store=1/*.csv"))["rows"] == 500
    # one file instead of many, and again: the first one goes
    for pattern, rows in (("in/store=1/*.csv", 500), ("in/", 1500)):
        (batch.workspace.cwd / "one.yaml").write_text(f"""
fleet: f
input: '{batch.uri(pattern)}'
output: {{path: '{batch.uri("out")}', format: csv, keep: [id]}}
output_action: append_row
""")
        assert batch.json("batch", "run", "one.yaml")["files"] == 1
        assert len(batch.rows()) == rows and batch.stray() == []


def test_what_is_refused(batch3):
    batch = batch3
    batch.seed()
    assert "no object below it" in batch.fails(*batch.words("gone/"))
    assert f"{batch.uri('in/x.csv')}: " in batch.fails(*batch.words("in/x.csv"))
    words = batch.words()
    words[words.index("--output") + 1] = f"{batch.store.scheme}://data/"
    assert "cannot be the whole bucket" in batch.fails(*words)
    batch.store.seed(f"{batch.root}/out/mine.txt", b"x")
    assert "holds objects that are not an output of myriad" in batch.fails(*batch.words())
    assert batch.store.keys(f"{batch.root}/out/") == [f"{batch.root}/out/mine.txt"]
    words = batch.words()
    words[words.index("--output") + 1] = batch.uri("in")
    assert "which the run would replace" in batch.fails(*words) or "not an output of myriad" in batch.fails(*words)
    assert "--store reads the output again" in batch.fails(*batch.words(), "--store", "sqlite:p.db")


def test_a_bad_line_is_told_by_its_uri(batch3):
    batch = batch3
    batch.seed()
    batch.store.seed(f"{batch.root}/in/store=1/{NAMES[1]}", b"brand,x1,x2,id\n1,1,1,1\n1,1,1,1,1,1\n")
    message = batch.fails(*batch.words())
    assert batch.uri("in/store=1/" + NAMES[1]) + ":3: " in message
    assert "input-" not in message
    batch.store.seed(f"{batch.root}/in/store=1/{NAMES[1]}", b"brand,x1,x2\n1,1,1\n")
    message = batch.fails(*batch.words())
    assert "input-" not in message, message


# ---- what happens in between ----

def start(batch, port, *words):
    return subprocess.Popen([batch.workspace.path, *words], cwd=batch.workspace.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**batch.env, **batch.store.env(port)})


def kill_at(proxy, number, after, victim):
    """The coordinator dies at its request of this number from now: before the store gets it, or when it has done it."""
    count = [0]

    def before(line, _):
        count[0] += 1
        if count[0] == number and not after:
            victim[0].send_signal(signal.SIGKILL)
        return count[0] == number

    proxy.fail(before, lambda client, _: (victim[0].send_signal(signal.SIGKILL), client.close()))


def test_killed_anywhere_a_reader_sees_the_old_or_the_new(batch3):
    """One run after the other is killed at some request of its own; then it goes on, or another one takes its place."""
    batch, dice = batch3, random.Random(7)
    batch.seed()
    batch.json(*batch.words())
    seen, wanted = batch.rows(), {0: batch.local_rows(0)}
    assert seen == wanted[0]
    with proxied(batch.store) as proxy:
        for i in range(KILLS):
            version = i + 1
            batch.seed(version)
            wanted[version] = batch.local_rows(version)
            victim = [None]
            # 5 requests find the input, 12 files and the manifest are sent, 12 removed: all of it, and a little more
            kill_at(proxy, dice.randrange(1, 40), dice.random() < 0.5, victim)
            victim[0] = start(batch, proxy.port, *batch.words())
            victim[0].communicate(timeout=120)
            proxy.faults.clear()
            assert batch.rows() in (seen, wanted[version])
            unfinished = any(run["state"] in ("running", "interrupted") for run in json.loads(batch.workspace.run("batch", "list", "--json").stdout)["runs"])
            if unfinished and dice.random() < 0.6:
                batch.run("batch", "resume")
            else:
                batch.json(*batch.words())
            seen = batch.rows()
            assert seen == wanted[version] and batch.stray() == []


def test_a_store_that_is_away_is_waited_for(batch3):
    batch = batch3
    batch.seed()
    with proxied(batch.store) as proxy:
        proxy.fail(lambda line, _: line.startswith("PUT") and "brand%3D3" in line, status(503, "SlowDown"), 9)
        message = batch.fails(*batch.words(), port=proxy.port)
        assert "is scored and not published yet" in message and "503 SlowDown" in message
        with pytest.raises(FileNotFoundError):
            batch.manifest()
        proxy.faults.clear()
        sent = sum(line.startswith("PUT") for line, _ in proxy.requests)
        there = len(batch.store.keys(f"{batch.root}/out/"))
        proxy.requests.clear()
        batch.run("batch", "resume", port=proxy.port)
        assert sum(line.startswith("PUT") for line, _ in proxy.requests) == 13 - there and sent > there > 0
    assert batch.rows() == batch.local_rows() and batch.stray() == []


def test_a_run_through_what_a_network_does(batch3):
    """Every kind of request fails once, in every way: the run has all rows, each once, and nothing is left over."""
    batch = batch3
    batch.seed()
    batch.env["MYRIAD_OBJECT_STALL_TIMEOUT"] = "1s"
    with proxied(batch.store) as proxy:
        for wanted, action in ((lambda line, _: line.startswith("GET") and "list-type" in line, status(500, "InternalError")),
                               (lambda line, _: line.startswith("GET") and ".csv" in line, cut(1000)),
                               (lambda line, _: line.startswith("GET") and ".csv" in line, stall(100, 3)),
                               (lambda line, _: line.startswith("PUT") and "brand" in line, status(500, "InternalError")),
                               (lambda line, _: line.startswith("PUT") and "brand" in line, lose),
                               (lambda line, _: line.startswith("PUT") and "_myriad.json" in line, lose)):
            proxy.fail(wanted, action)
        assert batch.json(*batch.words(), port=proxy.port)["rows"] == 1500 and not proxy.faults
    assert batch.rows() == batch.local_rows() and batch.stray() == []


def put(batch, name, data):
    """Through the server: it has an ETag then."""
    path = batch.workspace.cwd / "put"
    path.write_bytes(data)
    subprocess.run([BUILD / "tests/myr_object_tool", "put", batch.uri(name), path], check=True, env=batch.env)


def test_what_was_read_before_is_not_read_again(batch3):
    batch = batch3
    batch.seed()
    for i in range(3):
        put(batch, f"in/store={i}/{NAMES[i]}", batch.store.get(f"{batch.root}/in/store={i}/{NAMES[i]}"))
    with proxied(batch.store) as proxy:
        def gets():
            found = sum(line.startswith("GET") and ".csv" in line for line, _ in proxy.requests)
            proxy.requests.clear()
            return found
        batch.json(*batch.words(), port=proxy.port)
        assert gets() == 3
        assert batch.json(*batch.words(), port=proxy.port)["unchanged"] and gets() == 0
        put(batch, f"in/store=1/{NAMES[1]}", b"brand,x1,x2,id\n1,1,1,1\n")
        assert batch.json(*batch.words(), port=proxy.port)["rows"] == 1001 and gets() == 1
        batch.env["MYRIAD_OBJECT_CACHE_BYTES"] = "0"
        batch.json(*batch.words(), "--force", port=proxy.port)
        assert gets() == 3


def test_somebody_else_publishes_meanwhile(batch3):
    batch = batch3
    batch.seed()
    batch.json(*batch.words())
    batch.seed(1)
    other = json.dumps({**batch.manifest(), "run": 99}).encode()
    with proxied(batch.store) as proxy:
        def replace(line, _):
            if line.startswith("PUT") and "_myriad.json" in line:
                put(batch, "out/_myriad.json", other)
            return False
        proxy.fail(replace, lose)
        assert "somebody else has published there" in batch.fails(*batch.words(), port=proxy.port)
    assert batch.manifest()["run"] == 99 and batch.stray() == []
    assert batch.rows() == batch.local_rows()


def test_parquet_is_read_and_written(batch3):
    """As other programs see it: pyarrow reads what stands there."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    batch = batch3
    for i in range(3):
        out = io.BytesIO()
        parquet.write_table(pyarrow.table({"brand": [1, 2, 3], "x1": [1.0, 2.0, 3.0], "x2": [0, 0, 0], "id": [i, i, i]}), out)
        batch.store.seed(f"{batch.root}/in/store={i}/p q.parquet", out.getvalue())
    words = batch.words()
    words[words.index("csv")] = "parquet"
    assert batch.json(*words)["rows"] == 9
    tables = [parquet.read_table(io.BytesIO(batch.store.get(f"{batch.root}/out/{f['path']}"))) for f in batch.manifest()["files"]]
    assert sum(t.num_rows for t in tables) == 9


# ---- several places ----

@pytest.fixture(scope="module")
def azure():
    with running(Azure) as server:
        yield server


class Places(Batch):
    """One brand in S3, one in Azure, all others in a directory."""

    def __init__(self, workspace, s3, azure, root):
        super().__init__(workspace, s3, root)
        self.azure = azure
        self.env.update(azure.env())
        self.rest = workspace.cwd / "rest"
        self.job()

    def job(self, **more):
        lines = {"fleet": "f", "input": "local.csv", "mini_batch_size": 500, "retry_settings": "{backoff: 10ms, max_retries: 0}", **more}
        stores = f"{{brand=1: 's3://data/{self.root}/one', brand=2: 'az://data/{self.root}/two', default: rest}}"
        (self.workspace.cwd / "job.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()) +
                                                     f"output: {{stores: {stores}, by: [brand], keep: [id], format: csv}}\n")

    def fill(self, version=0, bad=None):
        rows = [f"{i % 3},{i % 4},{i * 0.25 + version},{i % 7},{i}\n" for i in range(2000)]
        for i, row in (bad or {}).items():
            rows[i] = row
        (self.workspace.cwd / "local.csv").write_text("store,brand,x1,x2,id\n" + "".join(rows))

    def place(self, name):
        """(manifest, rows) of one place, as a reader by its manifest sees it; a half output fails here."""
        get = {"one": lambda key: self.store.get(f"{self.root}/one/{key}"), "two": lambda key: self.azure.get(f"{self.root}/two/{key}"),
               "rest": lambda key: (self.rest / key).read_bytes()}[name]
        try:
            manifest = json.loads(get("_myriad.json"))
        except FileNotFoundError:
            return None, None
        rows = []
        for file in manifest["files"]:
            data = get(file["path"])
            assert len(data) == file["bytes"]
            rows += [(file["path"].split("/")[0], line) for line in data.decode().splitlines()[1:]]
        assert manifest["rows"] == len(rows), "each tells its own rows"
        return manifest, sorted(rows)

    def places(self):
        return {name: self.place(name)[1] for name in ("one", "two", "rest")}

    def wanted(self):
        """The same run into one directory, dealt out."""
        self.workspace.run("batch", "run", "--fleet", "f", "--input", "local.csv", "--output", "plain", "--by", "brand", "--keep", "id", "--format",
                           "csv", "--force")
        rows = sorted((path.parent.name, line) for path in (self.workspace.cwd / "plain").rglob("*.csv") for line in path.read_text().splitlines()[1:])
        names = {"brand=1": "one", "brand=2": "two"}
        return {place: [row for row in rows if names.get(row[0], "rest") == place] for place in ("one", "two", "rest")}

    def strays(self):
        """Objects that no manifest names, and whatever is staged."""
        found = []
        for name, server in (("one", self.store), ("two", self.azure)):
            named = {f"{self.root}/{name}/{file['path']}" for file in self.place(name)[0]["files"]} | {f"{self.root}/{name}/_myriad.json"}
            found += [key for key in server.keys(f"{self.root}/{name}/") if key not in named]
        return found + [path.name for path in self.workspace.cwd.glob("*.staging-*")] + \
            [path.name for path in (self.workspace.cwd / "runs").iterdir() if path.name.startswith(("input-", "output-"))]


@pytest.fixture
def places(workspace, s3, azure, request):
    return Places(workspace, s3, azure, request.node.name.split("[")[0])


def test_a_place_for_each_group(places):
    places.fill()
    report = places.json("batch", "run", "job.yaml")
    wanted = places.wanted()
    assert places.places() == wanted and places.strays() == [] and report["rows"] == 2000
    for name, rows in wanted.items():
        manifest = places.place(name)[0]
        assert (manifest["run"], manifest["rows"], manifest["run_rows"]) == (report["run"], len(rows), 2000)
    again = places.json("batch", "run", "job.yaml")
    assert again["unchanged"] and again["rows"] == 2000 and again["files"] == report["files"]


def test_killed_while_it_publishes_to_several_places(places):
    """Each place is old or new at any moment; whoever resumes finishes those that are left."""
    dice, between = random.Random(11), 0
    places.fill()
    places.json("batch", "run", "job.yaml")
    with proxied(places.store) as proxy, proxied(places.azure) as second:
        # brand=1 comes first, then brand=2, at last the directory: ten questions and a list, 4 files, the manifest, and 4 that are removed
        points = [(proxy, 14), (second, 9), (second, 18)] + [(dice.choice([proxy, second]), dice.randrange(1, 22)) for _ in range(KILLS - 3)]
        for version, (through, number) in enumerate(points, 1):
            before = places.places()
            places.fill(version)
            after = places.wanted()
            victim = [None]
            kill_at(through, number, dice.random() < 0.5, victim)
            victim[0] = subprocess.Popen([places.workspace.path, "batch", "run", "job.yaml"], cwd=places.workspace.cwd, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, env={**places.env, **places.store.env(proxy.port),
                                                                                 **places.azure.env(second.port)})
            victim[0].communicate(timeout=120)
            proxy.faults.clear(), second.faults.clear()
            now = places.places()
            assert all(now[name] in (before[name], after[name]) for name in now), "a place is neither old nor new"
            between += len({now[name] == after[name] for name in now}) == 2
            runs = json.loads(places.workspace.run("batch", "list", "--json").stdout)["runs"]
            if runs[0]["state"] in ("running", "interrupted"):
                places.run("batch", "resume")
            else:
                places.json("batch", "run", "job.yaml")
            assert places.places() == after and places.strays() == [], (version, number)
    assert between, "some places were new while others were old"


@pytest.fixture
def failing(places, poison):  # noqa: F811
    """A run from S3 into three places, of which one row died."""
    model = {**json.loads(linear(["x1", "x2"], 0, [1.0, 0.0])), "link": "log"}
    (places.workspace.cwd / "m.json").write_text(json.dumps(model))
    places.workspace.run("model", "import", "m.json", "--fleet", "e", "--segment", "")
    places.workspace.run("release", "create", "e")
    rows = [f"{i % 4},{KILLS_WORKERS if i == 850 else i % 9},0,{i}\n" for i in range(2000)]
    places.store.seed(f"{places.root}/in/rows.csv", ("brand,x1,x2,id\n" + "".join(rows)).encode())
    places.job(fleet="e", input=f"s3://data/{places.root}/in/", mini_batch_error_threshold=-1)
    first = json.loads(places.workspace.run("batch", "run", "job.yaml", "--json", env={**places.env, **poison}).stdout.splitlines()[-1])
    assert first["mini_batches_failed"] == 1 and first["rows"] == 1999
    return places, first["run"]


def ids(places):
    return sorted(int(line.split(",")[0]) for rows in places.places().values() for _, line in rows)


def test_what_failed_is_tried_again_in_several_places(failing):
    places, run = failing
    assert ids(places) == [i for i in range(2000) if i != 850]
    before = {name: places.place(name)[0]["files"] for name in ("one", "two", "rest")}
    again = places.json("batch", "retry-failed")
    assert (again["run"], again["rows"], again["mini_batches_failed"]) == (run + 1, 2000, 0)
    assert ids(places) == list(range(2000)) and places.strays() == []
    for name in before:
        manifest = places.place(name)[0]
        assert (manifest["run"], manifest["run_rows"]) == (run + 1, 2000) and len(manifest["files"]) >= len(before[name])
    assert places.json("batch", "retry-failed")["unchanged"]
    assert "is the output of run" in places.fails("batch", "retry-failed", run)
    places.store.seed(f"{places.root}/in/rows.csv", b"brand,x1,x2,id\n1,1,1,1\n")
    assert places.json("batch", "run", "job.yaml")["rows"] == 1


@pytest.mark.parametrize("number", [8, 30], ids=["brings", "publishes"])
def test_a_retry_that_is_killed(failing, number):
    places, run = failing
    before = places.places()
    with proxied(places.store) as proxy:
        victim = [None]
        kill_at(proxy, number, True, victim)
        env = {**places.env, **places.store.env(proxy.port)}
        victim[0] = subprocess.Popen([places.workspace.path, "batch", "retry-failed"], cwd=places.workspace.cwd, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, env=env)
        victim[0].communicate(timeout=120)
    now = places.places()
    assert all(set(now[name]) >= set(before[name]) for name in now)
    places.run("batch", "resume")
    assert ids(places) == list(range(2000)) and places.strays() == []


def test_an_input_of_a_store_that_has_changed_is_not_tried_again(failing):
    places, run = failing
    places.store.seed(f"{places.root}/in/rows.csv", b"brand,x1,x2,id\n1,1,1,1\n")
    assert "has changed since run" in places.fails("batch", "retry-failed", run)
    assert places.strays() == []
