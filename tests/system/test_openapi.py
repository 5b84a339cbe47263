"""/openapi.json against the server, by a tester that knows nothing of it: no server error, no answer outside its schemas."""
import json
import os
import subprocess

import pytest
import requests

from conftest import Program
from test_compat import make

schemathesis = pytest.importorskip("schemathesis")
import hypothesis  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from schemathesis.specs.openapi.checks import (content_type_conformance, response_schema_conformance,  # noqa: E402
                                               status_code_conformance)

EXAMPLES = 1000 if os.environ.get("MYR_LONG") else 12


def no_server_error(ctx, response, case):
    """501 is an answer: what is asked for is a part of V2 or an output that is not given."""
    assert response.status_code < 500 or response.status_code == 501, response.text


CHECKS = [no_server_error, response_schema_conformance, content_type_conformance, status_code_conformance]
NAMES = {"path_fleet": ["oj", "x"], "path_model": ["oj", "oj@", "oj@store=2,brand=1", "x"], "path_version": ["1", "2"],
         "path_job": ["nightly", "x"], "path_run": ["1", "2", "100"], "path_segment": ["store=2,brand=1", "brand=1", "x=1"]}


@pytest.fixture(scope="module")
def url(tmp_path_factory, build):
    workspace = Program(build / "myriad", tmp_path_factory.mktemp("openapi"))
    workspace.run("init", ".")
    jobs = workspace.cwd / "jobs"
    jobs.mkdir()
    (jobs / "nightly.yaml").write_text("fleet: oj\n")
    scheduler = subprocess.Popen([workspace.path, "scheduler", "--program", "/bin/true"], cwd=workspace.cwd, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
    scheduler.stdout.readline()
    with make(workspace).serving() as base:
        yield base
    scheduler.terminate()
    assert scheduler.wait(60) == 0


@pytest.fixture(scope="module")
def document(url):
    answer = requests.get(url + "/openapi.json")
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
    return answer.json()


def test_the_document_is_whole(document, url):
    """Every route is in it once, every reference leads somewhere, and nothing in the components is unused."""
    assert document["openapi"] == "3.1.0"
    text = json.dumps(document)
    for kind, entries in document["components"].items():
        for name in entries:
            assert kind == "securitySchemes" or f'"#/components/{kind}/{name}"' in text, f"{kind}/{name} is not used"
    references = {part.split('"')[0] for part in text.split('"#/components/')[1:]}
    for reference in references:
        kind, name = reference.split("/")
        assert name in document["components"][kind], reference
    names = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(names) == len(set(names)) > 30
    page = requests.get(url + "/docs")
    assert page.headers["Content-Type"].startswith("text/html") and "http" not in page.text.replace(url, "")
    for path, item in document["paths"].items():
        assert f"<code>{path}</code>" in page.text, item


def test_swagger_has_the_columns(url):
    rows = requests.get(url + "/swagger.json").json()["definitions"]["ServiceInput"]["properties"]["data"]["items"]["properties"]
    assert rows == {"store": {"type": "integer"}, "brand": {"type": "integer"}, "price": {"type": "number"}, "deal": {"type": "number"}}


@pytest.mark.parametrize("known", [True, False], ids=["names-that-are-served", "any-names"])
def test_a_schema_driven_tester_finds_nothing(document, url, known):
    document = json.loads(json.dumps(document))
    if known:  # else nearly every request is about a fleet that is not there
        for name, values in NAMES.items():
            document["components"]["parameters"][name]["schema"] = {"enum": values}
    document["servers"] = [{"url": url}]
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    count = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=not os.environ.get("MYR_LONG"),
                             suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)))
        def check(case):
            case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)
        check()
        count += 1
    assert count > 30
