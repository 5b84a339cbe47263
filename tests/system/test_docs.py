"""The pages of docs/ as they are typed: commands are run against a real server and answer what stands below them, service
files load, shapes of JSON are those of the answers."""
import json
import pathlib
import re
import subprocess
import sys

import pytest
import requests

from conftest import ROOT, Program, linear
from databases import Postgres
from servers import running

MODELS = {"store=2,brand=1": 10.0, "brand=1": 100.0, "": 1000.0}  # what the pages' numbers are of: price + deal / 2 + this
WILD = "…"


def blocks(page, language=""):
    """The fenced blocks of a page in one language; each must begin its line."""
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(page, program):
    """(command, answer lines) of all blocks without a language that begin with this program."""
    found = []
    for block in blocks(page):
        if not block.startswith(program + " "):
            continue
        for part in re.split(rf"^(?={program} )", block, flags=re.M)[1:]:
            lines = part.rstrip("\n").split("\n")
            size = 1
            while subprocess.run(["bash", "-n", "-c", "\n".join(lines[:size])], capture_output=True).returncode != 0:
                size += 1  # a quote is open
            found.append(("\n".join(lines[:size]), [line for line in lines[size:] if line]))
    return found


def shape(text):
    """A JSON text of a page; its `…` become something that like() passes over."""
    text = re.sub(r"([\[{,])…(?=[\]}])", lambda m: m[1] + ('"…":0' if m[1] == "{" else '"…"'), text.replace(",…}", ',"…":0}'))
    return json.loads(text)


def like(said, told, path="answer"):
    """The answer has the fields that the page says, of its kinds; values differ."""
    if said == WILD or said is None:
        return
    if isinstance(said, dict):
        assert isinstance(told, dict), path
        if WILD in said:
            assert set(said) - {WILD} <= set(told), path
        else:
            assert list(said) == list(told), path
        for name in set(said) - {WILD}:
            like(said[name], told[name], f"{path}.{name}")
    elif isinstance(said, list):
        assert isinstance(told, list) and bool(said) == bool(told), path
        for item in told if said else []:
            like(said[0], item, path + "[]")
    elif isinstance(said, (bool, str)):
        assert type(said) is type(told), path
    else:
        assert isinstance(told, (int, float)) and not isinstance(told, bool), path


@pytest.fixture(scope="module")
def served(tmp_path_factory, build):
    """The fleet of the pages, as docs/discovery.md and docs/predictions.md serve it; (program, url)."""
    program = Program(build / "myriad", tmp_path_factory.mktemp("docs"))
    program.run("init", ".")
    for segment, intercept in MODELS.items():
        (program.cwd / "m.json").write_text(linear(["price", "deal"], intercept, [1.0, 0.5]))
        program.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment, "--tag", "team=juice")
    program.run("release", "create", "oj")
    (program.cwd / "s.yaml").write_text('default: oj\nfleets:\n  oj:\n    store: {to: "sqlite:predictions.db"}\n')
    with program.serving("--service", "s.yaml", "--name", "prices", "--region", "eu-west", "--grpc-listen", "127.0.0.1:0",
                         "--serve.access-log", "access.log") as url:
        yield program, url


def typed(command, url, **kwargs):
    """The command in a shell, its server's address replaced."""
    command = re.sub(r"^curl ", "curl -sS ", command).replace("localhost:8080", url.removeprefix("http://"))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, **kwargs)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


REST = commands("rest.md", "curl")


def test_the_page_has_its_examples():
    assert len(REST) == 8 and sum(bool(answer) for _, answer in REST) == 7  # one says that its answer is another's


@pytest.mark.parametrize("command, answer", [case for case in REST if "-T ." not in case[0]], ids=str)
def test_rest(served, command, answer):
    told = typed(command, served[1]).rstrip("\n").split("\n")
    if answer:
        assert told == answer
    else:
        assert json.loads(told[0])["outputs"][0]["data"] == [11]


def test_the_stream(served):
    """Line by line, as a person types: each answer is there before the next line is."""
    ((command, lines),) = [case for case in REST if "-T ." in case[0]]
    assert len(lines) == 4
    command = command.replace("localhost:8080", served[1].removeprefix("http://"))
    with subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as curl:
        for asked, answer in zip(lines[::2], lines[1::2]):
            curl.stdin.write(asked + "\n")
            curl.stdin.flush()
            assert curl.stdout.readline().rstrip("\n") == answer
        curl.stdin.close()
        assert curl.stdout.read() == ""


def test_discovery(served):
    program, url = served
    services, resolved = [block for block in blocks("discovery.md") if block.startswith("{")]
    ((_, (ask,)),) = commands("discovery.md", "myriad")
    assert ask == "curl 10.0.0.4:8080/v1/services?fleet=oj"
    told = requests.get(f"{url}/v1/services?fleet=oj").json()
    while "tags" not in told["services"][0]["fleets"][0]:  # told once the new server has walked its models
        told = requests.get(f"{url}/v1/services?fleet=oj").json()
    like(shape(services), told)
    like(shape(resolved), requests.get(f"{url}/v1/resolve?fleet=oj&store=2&brand=1").json())


def test_predictions(served):
    url = f"{served[1]}/v1/fleets/oj/predictions?store=2&brand=1&price=0.5&deal=1"
    (said,) = blocks("predictions.md", "json")
    requests.get(url)  # scored, and stored
    like(shape(said), requests.get(url).json())


def test_the_access_log(served):
    program, url = served
    (block,) = [block for block in blocks("operations.md") if '"time"' in block]
    said = shape(block.replace("\n", ""))
    del said["token"]  # none is asked for here
    requests.post(f"{url}/v1/fleets/oj/score", json={"rows": []}, headers={
        "X-Request-Id": said["request_id"], "traceparent": f"00-{said['trace_id']}-{said['parent_id']}-01"})
    lines = []
    while not lines:  # written by a thread of its own
        lines = [line for line in (program.cwd / "access.log").read_text().splitlines() if said["request_id"] in line]
    told = json.loads(lines[0])
    like(said, told)
    assert [told[key] for key in ("path", "route", "trace_id", "parent_id")] == [said[key] for key in ("path", "route", "trace_id", "parent_id")]


def test_grpc(served, tmp_path):
    """The example in Python prints what REST answers."""
    pytest.importorskip("tritonclient.grpc")
    (code,) = blocks("grpc.md", "python")
    assert '"127.0.0.1:8081"' in code
    done = subprocess.run([sys.executable, "-c", code.replace("127.0.0.1:8081", served[1].grpc)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [{"store": 2, "brand": 1, "price": 0.03, "deal": 1}, {"store": 7, "brand": 1, "price": 0.04, "deal": 0}]
    wanted = [row["prediction"] for row in requests.post(f"{served[1]}/v1/fleets/oj/score", json={"rows": rows}).json()["rows"]]
    assert [float(number) for number in done.stdout.strip("[]\n ").split()] == wanted


def test_features(myriad):
    """docs/features.md: a load and a look, as they stand there."""
    (myriad.cwd / "prices.csv").write_text(
        "store,brand,week,price1,feat,name\n2,1,1,0.05,0,a\n2,1,2,0.08,1,a\n2,2,2,0.07,0,b\n3,1,2,0.06,0,c\n")
    found = commands("features.md", "myriad")
    assert len(found) == 2
    for command, answer in found:
        told = subprocess.run(["bash", "-c", re.sub(r"^myriad ", myriad.path + " ", command)], cwd=myriad.cwd, capture_output=True, text=True,
                              timeout=60).stdout.rstrip("\n").split("\n")
        mask = lambda lines: [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", line) for line in lines]  # noqa: E731
        assert mask(told) == mask(answer), command


FEATURES = ["price", "deal", "feat", "week", "price1", "low", "mid", "high"]  # all that the pages' service files name
FILES = [(page, block) for page in ("service.md", "rules.md") for block in blocks(page, "yaml")]
FILES += [("rest.md", block) for block in blocks("rest.md") if block.startswith("fleets:")]


@pytest.fixture(scope="module")
def wide(tmp_path_factory, build):
    program = Program(build / "myriad", tmp_path_factory.mktemp("docs"))
    program.run("init", ".")
    for segment in MODELS:
        (program.cwd / "m.json").write_text(linear(FEATURES))
        program.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment)
    program.run("release", "create", "oj")
    program.run("release", "promote", "oj", 1, "--alias", "challenger")
    (program.cwd / "prices.csv").write_text("store,brand,price1,feat\n2,1,0.05,0\n")
    program.run("features", "load", "prices.csv", "--to", "sqlite:features.db", "--table", "prices", "--keys", "store,brand")
    (program.cwd / "rules.lua").write_text((ROOT / "examples/rules/clamp.lua").read_text())
    return program


@pytest.mark.parametrize("page, block", FILES, ids=[f"{page}-{i}" for i, (page, _) in enumerate(FILES)])
def test_service_files(wide, page, block):
    """Each loads and serves; one that shows keys of a fleet alone stands below one."""
    if not re.search(r"^fleets:", block, re.M):
        block = "fleets:\n  oj:\n" + re.sub(r"^", "    ", block, flags=re.M)
    (wide.cwd / "s.yaml").write_text(block)
    with wide.serving("--service", "s.yaml") as url:
        row = {"store": 2, "brand": 1, **{name: 0 for name in FEATURES}}
        assert requests.post(f"{url}/v1/fleets/oj/score", json={"rows": [row]}).json()["rows"][0]["status"] == "ok"


def test_there_is_a_file_of_each_page():
    assert {page for page, _ in FILES} == {"service.md", "rules.md", "rest.md"} and len(FILES) == 6
    for example in pathlib.Path(ROOT / "examples").glob("*/service.yaml"):
        assert example.name in (ROOT / "tests/system/test_service.py").read_text()


# ---- batch.md: its inputs and outputs, as jobs ----

@pytest.fixture(scope="module")
def nightly(tmp_path_factory, build):
    """What the jobs of the page read: a fleet, files, and the tables of a real PostgreSQL; (program, server)."""
    program = Program(build / "myriad", tmp_path_factory.mktemp("batch"))
    program.run("init", ".")
    for segment, intercept in MODELS.items():
        (program.cwd / "m.json").write_text(linear(["x1"], intercept, [1.0]))
        program.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment)
    program.run("release", "create", "oj")
    for directory in ("data/2025/year=2025", "data/2026/year=2026", "sales"):
        (program.cwd / directory).mkdir(parents=True)
    rows = "SELECT 2 AS store, unnest([1, 2]) AS brand, unnest([0.5, 1]) AS x1, 1 AS week, 9.5 AS logmove"
    for path in ("data/a.parquet", "data/2025/year=2025/a.parquet", "data/2026/year=2026/a.parquet"):
        program.run("sql", rows, "--output", path)
    program.run("sql", "SELECT 2 AS store, unnest([1, 2]) AS brand", "--output", "sales/a.parquet")
    (program.cwd / "prices.csv").write_text("brand,price\n1,3\n2,4\n")
    with running(Postgres) as server:
        server.sql("CREATE SCHEMA sales; CREATE TABLE sales.daily AS SELECT 2 AS store, 1 AS brand, 1.5::float8 AS x1,"
                   " current_date - d AS day FROM generate_series(0, 2) AS d")
        yield program, server


JOBS = [block for block in blocks("batch.md", "yaml") if block.startswith(("name:", "input:", "output:")) and "s3://" not in block]


@pytest.mark.parametrize("block", JOBS, ids=lambda block: block.split("\n")[0][:40])
def test_batch_jobs(nightly, block):
    program, server = nightly
    text = re.sub(r'"postgresql://\w+@db.local/shop"', f'"{server.uri}"', block).replace("/mnt/premium", str(program.cwd / "mnt"))
    text = re.sub(r"^  (worker_memory_max|webhook):.*\n|^notify:.*\n", "", text, flags=re.M)  # not with a sanitizer; not from here
    for key, value in (("fleet", "oj"), ("input", "data/a.parquet"), ("output", "out")):
        text += "" if re.search(rf"^{key}:", text, re.M) else f"{key}: {value}\n"
    (program.cwd / "job.yaml").write_text(text)
    report = program.json("batch", "run", "job.yaml", "--force")
    assert report["rows"] == (1 if "day = current_date - 1" in block else 2) and report["statuses"]["ok"] == report["rows"]


def test_the_batch_page_has_its_jobs():
    assert len(JOBS) == 8
