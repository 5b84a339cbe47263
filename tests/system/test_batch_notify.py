"""Whoever is to be told that a run is over: webhooks and commands, tried again, left in the end, and never the run's own trouble."""
import contextlib
import http.server
import json
import subprocess
import threading
import time

import pytest
from conftest import linear


class Hook(http.server.BaseHTTPRequestHandler):
    """Answers with the statuses that are left, then 204; remembers what it is sent."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Content-Type"], body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        if status == "silent":
            time.sleep(15)
            status = 204
        with contextlib.suppress(BrokenPipeError):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.seen, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fleet(workspace):
    (workspace.cwd / "m.json").write_text(linear(["x"], 1.0, [2.0]))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")
    (workspace.cwd / "in.csv").write_text("id,x\n1,0.5\n2,1.5\n")
    (workspace.cwd / "tell").write_text("#!/bin/sh\ncat >>told.txt\necho \"$*\" >>words.txt\n[ ! -e broken ] || { echo 'no way' >&2; exit 3; }\n")
    (workspace.cwd / "tell").chmod(0o755)
    return workspace


def job(workspace, notify, **more):
    lines = {"name": "nightly", "fleet": "f", "input": "in.csv", "output": "out", **more, "notify": notify}
    (workspace.cwd / "job.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def told(workspace):
    return [json.loads(line) for line in (workspace.cwd / "told.txt").read_text().splitlines()]


def shown(workspace, run):
    return workspace.json("batch", "show", run)["notifications"]


def test_a_completed_run_is_told(fleet, hook):
    hook.statuses = [503, 500]
    job(fleet, f"{{webhook: '{hook.url}/a?b=c', command: [./tell, 'a b', c]}}")
    report = fleet.json("batch", "run", "job.yaml")
    path, kind, body = hook.seen[-1]
    assert len(hook.seen) == 3 and (path, kind) == ("/a?b=c", "application/json") and len({seen[2] for seen in hook.seen}) == 1
    said = json.loads(body)
    assert {name: said[name] for name in ("run", "job", "fleet", "status", "message", "release", "rows", "ok_rows", "dead_rows", "statuses", "unchanged")} == {
        "run": report["run"], "job": "nightly", "fleet": "f", "status": "completed", "message": "", "release": 1, "rows": 2, "ok_rows": 2, "dead_rows": 0,
        "statuses": {"ok": 2}, "unchanged": False}
    assert said["output"] == f"{fleet.cwd}/out" and json.loads(open(said["report"]).read())["state"] == "completed"
    assert told(fleet) == [said] and (fleet.cwd / "words.txt").read_text() == "a b c\n"
    assert [(n["to"], n["sent"], n["attempts"], n["status"], n["message"]) for n in shown(fleet, report["run"])] == [
        ("webhook", True, 3, "completed", ""), ("command", True, 1, "completed", "")]
    assert "told      webhook, that it is completed, in 3 attempts\n" in fleet.run("batch", "show").stdout
    fleet.run("batch", "run", "job.yaml")  # nothing is new
    assert json.loads(hook.seen[-1][2])["unchanged"] and json.loads(hook.seen[-1][2])["status"] == "completed"


def test_who_can_not_be_told_is_written_down_and_nothing_else(fleet, hook):
    hook.statuses = [500] * 4
    (fleet.cwd / "broken").write_text("")
    job(fleet, f"{{webhook: '{hook.url}', command: ./tell}}")
    done = fleet.run("batch", "run", "job.yaml", "--json")
    run = json.loads(done.stdout.splitlines()[-1])["run"]
    assert len(hook.seen) == 4 and len(told(fleet)) == 4
    webhook, command = shown(fleet, run)
    assert not webhook["sent"] and webhook["attempts"] == 4 and webhook["message"] == "the webhook answers 500"
    assert not command["sent"] and command["attempts"] == 4 and "exit code 3: no way" in command["message"]
    assert "a notification was not sent" in done.stderr
    assert fleet.json("batch", "status", run)["state"] == "completed"
    assert "not told  webhook, that it is completed, in 4 attempts: the webhook answers 500\n" in fleet.run("batch", "show").stdout
    hook.statuses = [404]
    job(fleet, f"{{webhook: '{hook.url}', command: ./nowhere}}")
    webhook, command = shown(fleet, fleet.json("batch", "run", "job.yaml", "--force")["run"])
    assert webhook["attempts"] == 1 and webhook["message"] == "the webhook answers 404, which is for good"
    assert command["attempts"] == 1 and "nowhere" in command["message"]
    job(fleet, "{webhook: 'http://127.0.0.1:1/x'}")
    webhook, = shown(fleet, fleet.json("batch", "run", "job.yaml", "--force")["run"])
    assert webhook["attempts"] == 4 and "the webhook" in webhook["message"]


def test_a_failed_run_is_told(fleet, hook):
    (fleet.cwd / "in.csv").write_text("id,x\n" + "".join(f"{i},0.5\n" for i in range(50000)) + "1,1.5,7\n")
    job(fleet, f"{{webhook: '{hook.url}', on: failed}}")
    code, why = fleet.fails("batch", "run", "job.yaml")
    said = json.loads(hook.seen[-1][2])
    assert said["status"] == "failed" and said["message"] and said["message"] in why and len(hook.seen) == 1
    run = said["run"]
    assert run and [n["status"] for n in shown(fleet, run)] == ["failed"]
    (fleet.cwd / "in.csv").write_text("id,x\n1,0.5\n")
    fleet.run("batch", "run", "job.yaml")
    assert len(hook.seen) == 1  # it asked for failures alone
    (fleet.cwd / "in.csv").unlink()  # a run that never began has no number
    job(fleet, f"{{webhook: '{hook.url}', command: ./tell, on: [failed]}}")
    code, why = fleet.fails("batch", "run", "job.yaml")
    said = json.loads(hook.seen[-1][2])
    assert code == 66 and said["run"] is None and said["status"] == "failed" and "in.csv" in said["message"] and told(fleet) == [said]
    assert not list((fleet.cwd / "runs").glob("notification*"))


def test_a_cancelled_run_is_told(fleet, hook):
    (fleet.cwd / "in.csv").write_text("id,x\n" + "".join(f"{i},0.5\n" for i in range(300000)))
    job(fleet, f"{{webhook: '{hook.url}', on: [canceled]}}", mini_batch_size=1000, compute="{max: 1}")
    process = subprocess.Popen([fleet.path, "batch", "run", "job.yaml", "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = json.loads(process.stdout.readline())["run"]
    fleet.run("batch", "cancel", run)
    process.communicate(timeout=60)
    assert process.returncode == 130 and json.loads(hook.seen[-1][2])["status"] == "canceled" and json.loads(hook.seen[-1][2])["run"] == run


def test_a_secret_stays_in_the_environment(fleet, hook):
    job(fleet, "{webhook: env:HOOK}")
    run = fleet.json("batch", "run", "job.yaml", env={"HOOK": f"{hook.url}/secret-word"})["run"]
    assert hook.seen[0][0] == "/secret-word"
    everything = fleet.run("batch", "show", run, "--json").stdout + "".join(p.read_text() for p in (fleet.cwd / "runs" / str(run)).iterdir())
    assert "secret-word" not in everything and "env:HOOK" in everything
    run = fleet.json("batch", "run", "job.yaml", "--force")["run"]
    told, = shown(fleet, run)
    assert not told["sent"] and told["attempts"] == 1 and "the environment has no HOOK" in told["message"]


def test_a_run_that_goes_on_tells_at_its_end(fleet, hook):
    (fleet.cwd / "in.csv").write_text("id,x\n" + "".join(f"{i},0.5\n" for i in range(100000)))
    job(fleet, f"{{webhook: '{hook.url}'}}", mini_batch_size=1000, compute="{max: 1}")
    process = subprocess.Popen([fleet.path, "batch", "run", "job.yaml", "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = json.loads(process.stdout.readline())["run"]
    process.kill()
    process.communicate()
    assert not hook.seen
    fleet.json("batch", "resume", run)
    assert [json.loads(seen[2])["run"] for seen in hook.seen] == [run] and json.loads(hook.seen[0][2])["rows"] == 100000


@pytest.mark.parametrize("notify, message", [
    ("{}", "'notify' has neither a webhook nor a command"),
    ("{webhook: ftp://x}", "job.yaml:5:19: 'webhook' must be a URL, https://HOST/PATH, or env:NAME"),
    ("{webhok: 'http://x'}", "unknown key 'webhok': did you mean 'webhook'?"),
    ("{command: []}", "'command' must not be empty"),
    ("{command: [" + "a, " * 64 + "a]}", "'command' has 65 words: a program and its arguments, at most 64"),
    ("{command: a, on: [complete]}", "'on' has 'complete': completed, failed and canceled are known")])
def test_what_a_job_file_may_say(fleet, notify, message):
    job(fleet, notify)
    code, why = fleet.fails("batch", "run", "job.yaml")
    assert code == 65 and message in why
