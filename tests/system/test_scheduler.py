"""Schedulers as processes: two over one store, killed at any moment; times against an independent reading of zones; commands."""
import collections
import datetime
import os
import random
import signal
import subprocess
import time
import zoneinfo

import pytest
import requests
from conftest import BUILD, linear
from databases import Postgres
from objects import S3, Azure, proxied, status
from schedulers import Scheduler, until
from servers import running

LONG = bool(os.environ.get("MYR_LONG"))
STUB = """#!/bin/sh
echo "$MYRIAD_FIRING $MYRIAD_LOGICAL_TIME" >>ran.txt
echo "{\\"run\\":$MYRIAD_FIRING}"
sleep 0.2
"""


@pytest.fixture(scope="module")
def postgres():
    with running(Postgres) as server:
        yield server


@pytest.fixture
def workspace(myriad):
    """A workspace with a program that stands in for batches."""
    myriad.run("init", ".")
    (myriad.cwd / "jobs").mkdir()
    stub = myriad.cwd / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    return myriad


def job(myriad, name, text):
    (myriad.cwd / "jobs" / f"{name}.yaml").write_text(text)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_schedulers_killed_at_any_moment_start_each_time_once(workspace, postgres, kind):
    rounds = random.Random(7)
    store = postgres.uri if kind == "postgresql" else None
    env = {"MYRIAD_SCHEDULER_STORE": store} if store else {}
    if store:
        postgres.sql("DROP SCHEMA IF EXISTS myriad CASCADE")
    job(workspace, "each", "schedule: {every: 1s, catch_up: all, max_active_runs: 8, queue_max: 1000, overlap: queue}\n")
    both = [Scheduler(workspace, store), Scheduler(workspace, store)]
    until((workspace.cwd / "ran.txt").exists)
    for _ in range(400 if LONG else 12):
        time.sleep(rounds.uniform(0, 0.4))
        victim = rounds.randrange(2)
        both[victim].kill()
        both[victim] = Scheduler(workspace, store)
    time.sleep(1.5)
    job(workspace, "each", "fleet: none\n")  # no more times
    for scheduler in both:
        scheduler.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    history = lambda: workspace.json("schedule", "history", "--limit", 10000, env=env)
    until(lambda: all(f["state"] not in ("waiting", "starting", "running") for f in history()))
    assert [s.end() for s in both] == [0, 0]
    firings = [f for f in history() if f["state"] != "missed"]
    ran = collections.Counter(line.split()[1] for line in (workspace.cwd / "ran.txt").read_text().splitlines())
    assert set(ran.values()) == {1}, "a time ran twice"
    lost = [f for f in firings if f["state"] == "failed"]
    for f in firings:
        assert f["state"] in ("completed", "failed"), f
    for f in lost:  # killed in the moment between: not started again, and said so
        assert "scheduler" in f["reason"] or "has not ended" in f["reason"], f
    times = sorted(datetime.datetime.fromisoformat(f["logical"]) for f in firings)
    steps = {b - a for a, b in zip(times, times[1:])}
    assert steps == {datetime.timedelta(seconds=1)}, "a time was left out"
    assert len(ran) >= len(firings) - len(lost)
    assert "Sanitizer" not in (workspace.cwd / "scheduler.log").read_text()


def test_a_leader_that_is_stopped_and_goes_on_starts_nothing_twice(workspace):
    job(workspace, "each", "schedule: {every: 1s, max_active_runs: 8, overlap: queue}\n")
    first = Scheduler(workspace)
    until((workspace.cwd / "ran.txt").exists)
    second = Scheduler(workspace)
    for _ in range(2):
        first.process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        first.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        first, second = second, first
    assert [first.end(), second.end()] == [0, 0]
    ran = collections.Counter(line.split()[1] for line in (workspace.cwd / "ran.txt").read_text().splitlines())
    assert len(ran) > 2 and set(ran.values()) == {1}


def test_the_scheduler_over_postgresql(postgres):
    """The tests on a clock that stands still, over the other database."""
    for name in ("test_db_sql", "test_jobs_scheduler", "test_jobs_messages"):
        done = subprocess.run([BUILD / "tests" / name], env={**os.environ, "MYR_JOBS_STORE": postgres.uri}, capture_output=True,
                              text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_postgresql_that_restarts(workspace, postgres):
    postgres.sql("DROP SCHEMA IF EXISTS myriad CASCADE")
    job(workspace, "each", "schedule: {every: 1s, max_active_runs: 8, overlap: queue}\n")
    scheduler = Scheduler(workspace, postgres.uri)
    ran = workspace.cwd / "ran.txt"
    until(ran.exists)
    postgres.kill()
    time.sleep(1)
    postgres.start()
    before = len(ran.read_text().splitlines())
    until(lambda: len(ran.read_text().splitlines()) > before + 2)
    assert scheduler.end() == 0
    assert set(collections.Counter(line.split()[1] for line in ran.read_text().splitlines()).values()) == {1}
    assert "secret-word" not in (workspace.cwd / "scheduler.log").read_text()


def test_postgresql_restarts_in_the_middle_of_a_run(workspace, postgres):
    """What a run has done stands in its workspace: it is over before the store is back, and is told then, once."""
    postgres.sql("DROP SCHEMA IF EXISTS myriad CASCADE")
    (workspace.cwd / "m.json").write_text(linear(["x"], 0, [1.0]))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "k=1")
    workspace.run("release", "create", "f")
    (workspace.cwd / "in.csv").write_text("k,x\n" + "1,2\n" * 20000)
    job(workspace, "nightly", "fleet: f\ninput: ../in.csv\noutput: out\nmini_batch_size: 200\ncompute: {max: 1}\n")
    scheduler = Scheduler(workspace, postgres.uri, program=workspace.path)
    env = {"MYRIAD_SCHEDULER_STORE": postgres.uri}
    until(lambda: workspace.run("schedule", "run", "nightly", ok=False, env=env).returncode == 0)  # once it has read its jobs
    (firing,) = [f["id"] for f in workspace.json("schedule", "history", "nightly", env=env)]
    runs = lambda: workspace.json("batch", "list")["runs"]
    until(runs)
    postgres.kill()
    until(lambda: runs()[0]["state"] == "completed")
    postgres.start()
    told = lambda: next(f for f in workspace.json("schedule", "history", "nightly", env=env) if f["id"] == firing)
    until(lambda: told()["state"] not in ("starting", "running"))
    assert (told()["state"], told()["run"]) == ("completed", runs()[0]["run"]) and len(runs()) == 1, told()
    assert scheduler.end() == 0


def walked(zone, fixed, matches, start, count):
    """As `schedule next`, by Python's zones: every minute of UTC, told by what the wall's clock shows."""
    zone, found = zoneinfo.ZoneInfo(zone), []
    at = start.astimezone(datetime.timezone.utc)
    local = lambda t: t.astimezone(zone).replace(tzinfo=None)
    reached = local(at)
    while len(found) < count:
        at += datetime.timedelta(minutes=1)
        now = local(at)
        if fixed:
            passed, due = reached + datetime.timedelta(minutes=1), False
            while passed <= now:
                due, passed = due or matches(passed), passed + datetime.timedelta(minutes=1)
            reached = max(reached, now)
        else:
            due = matches(now)
        if due:
            found.append(at.astimezone(zone).isoformat())
    return found


@pytest.mark.parametrize("zone, day", [("Europe/Berlin", "2026-03-28"), ("Europe/Berlin", "2026-10-24"), ("America/New_York", "2026-03-07"),
                                       ("America/New_York", "2026-10-31"), ("Australia/Lord_Howe", "2026-04-04"),
                                       ("Australia/Lord_Howe", "2026-10-03"), ("Pacific/Apia", "2011-12-29"), ("America/Sao_Paulo", "2018-11-03")])
def test_times_agree_with_pythons_zones(workspace, zone, day):
    job(workspace, "fixed", f"schedule: {{cron: '15 0,1,2 * * *', timezone: {zone}}}\n")
    job(workspace, "wild", f"schedule: {{cron: '*/20 0-3 * * *', timezone: {zone}}}\n")
    start = datetime.datetime.fromisoformat(day).replace(tzinfo=zoneinfo.ZoneInfo(zone))
    for name, fixed, count, matches in (("fixed", True, 8, lambda t: t.minute == 15 and t.hour < 3),
                                        ("wild", False, 40, lambda t: t.minute % 20 == 0 and t.hour < 4)):
        answer = workspace.json("schedule", "next", name, "--count", count, "--after", day)
        assert answer["next"] == walked(zone, fixed, matches, start, count)


def test_commands(workspace):
    job(workspace, "nightly", "fleet: oj\nschedule:\n  cron: '30 2 * * *'\n  timezone: Europe/Berlin\n  jitter: 5m\n")
    job(workspace, "broken", "name: broken\nschedule:\n  cron: '61 2 * * *'\n")
    job(workspace, "typo", "schedule:\n  cron: '1 2 * * *'\n  timezon: UTC\n")
    listed = {j["name"]: j for j in workspace.json("schedule", "list")}
    assert listed["nightly"]["state"] == "new" and listed["nightly"]["when"] == "30 2 * * * Europe/Berlin"
    assert "broken.yaml:3:9: cron '61 2 * * *': minute '61': 0 to 59" in listed["broken"]["trouble"]
    assert "typo.yaml:3:3: unknown key 'timezon': did you mean 'timezone'?" in listed["typo"]["trouble"]
    assert "No scheduler runs" in workspace.run("schedule", "list").stderr
    assert "did you mean 'nightly'" in workspace.fails("schedule", "next", "nightli")[1]
    assert "no job 'nightly'" in workspace.fails("schedule", "run", "nightly")[1]  # no scheduler has read it yet
    scheduler = Scheduler(workspace)
    until(lambda: {j["name"]: j for j in workspace.json("schedule", "list")}["nightly"]["state"] == "ready")
    asked = workspace.json("schedule", "run", "nightly", "--at", "2026-03-29", "--key", "mine")
    assert asked["new"] and not workspace.json("schedule", "run", "nightly", "--key", "mine")["new"]
    until(lambda: workspace.json("schedule", "history", "nightly")[0]["state"] == "completed")
    first = workspace.json("schedule", "history", "nightly")[0]
    assert (first["logical"], first["trigger"], first["run"]) == ("2026-03-29T00:00:00+01:00", "manual", first["id"])
    assert "it is completed" in workspace.fails("schedule", "cancel", first["id"])[1]
    assert workspace.json("schedule", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-31", "--dry-run")["new"] == 3
    assert workspace.json("schedule", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-31")["new"] == 3
    until(lambda: sum(f["state"] == "completed" for f in workspace.json("schedule", "history", "nightly")) == 4)
    assert "can't be started" in workspace.fails("schedule", "run", "broken")[1]
    assert workspace.json("schedule", "pause", "nightly")["paused"]
    workspace.run("schedule", "run", "nightly")
    time.sleep(0.5)
    waiting = workspace.json("schedule", "history", "nightly")[0]
    assert waiting["state"] == "waiting"
    workspace.run("schedule", "cancel", waiting["id"])
    assert workspace.json("schedule", "history", "nightly")[0]["state"] == "cancelled"
    assert not workspace.json("schedule", "resume", "nightly")["paused"]
    assert scheduler.end() == 0
    assert "2026-03-29T03:00:00+02:00" in workspace.run("schedule", "next", "nightly", "--after", "2026-03-29").stdout


def test_paths_are_filled_with_the_time_that_a_run_is_for(workspace):
    """Backfills fill past dates, on the clock of the job's zone; by hand it is now, or what --date says."""
    (workspace.cwd / "m.json").write_text(linear(["x"], 1.0, [1.0]))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")
    days = ["2026-03-28", "2026-03-29", "2026-03-30"]
    for number, day in enumerate(days):
        (workspace.cwd / f"{day}.csv").write_text(f"x,day\n{number},{day}\n")
    job(workspace, "nightly", "fleet: f\ninput: ../{date}.csv\noutput: {path: 'out/{year}/{month}-{day}T{hour}', format: csv, keep: [day]}\n"
        "schedule: {cron: '30 2 * * *', timezone: Europe/Berlin}\n")
    scheduler = Scheduler(workspace, program=workspace.path)
    until(lambda: workspace.json("schedule", "list")[0]["state"] == "ready")
    assert workspace.json("schedule", "backfill", "nightly", "--from", days[0], "--to", "2026-03-31")["new"] == 3
    until(lambda: sum(f["state"] == "completed" for f in workspace.json("schedule", "history", "nightly")) == 3)
    assert scheduler.end() == 0
    for number, (day, hour) in enumerate(zip(days, ("02", "03", "02"))):  # 02:30 is left out on the 29th
        text = (workspace.cwd / "out" / "2026" / f"{day[5:]}T{hour}" / "part-0.csv").read_text()
        assert f"{day},{number + 1}.0," in text
    done = workspace.json("batch", "run", "jobs/nightly.yaml", "--date", "2026-03-29T04:00")
    assert done["output"].endswith("out/2026/03-29T04")
    today = lambda: datetime.datetime.now(zoneinfo.ZoneInfo("Europe/Berlin")).date()
    before, (_, why), after = today(), workspace.fails("batch", "run", "jobs/nightly.yaml"), today()
    assert f"{before}.csv" in why or f"{after}.csv" in why
    code, why = workspace.fails("batch", "run", "jobs/nightly.yaml", "--date", "tomorrow")
    assert code == 65 and "'tomorrow' is no time" in why
    assert "--date fills {date}" in workspace.fails("batch", "run", "--fleet", "f", "--date", "2026-03-29")[1]
    job(workspace, "each", "fleet: f\ninput: ../2026-03-28.csv\noutput: {path: 'each/{run}', format: csv}\n")
    names = {workspace.json("batch", "run", "jobs/each.yaml", env={"MYRIAD_FIRING": firing})["output"] for firing in ("", "71")}
    assert len(names) == 2 and any(name.endswith("/each/71") for name in names)


def test_files_are_told_by_the_system(workspace):
    """inotify: no poll is waited for."""
    (workspace.cwd / "in").mkdir()
    job(workspace, "arrive", "triggers: [{files: in/*.csv, quiet: 0s, poll: 1h}]\n")
    scheduler = Scheduler(workspace)
    until(lambda: workspace.json("schedule", "list")[0]["state"] == "ready")
    time.sleep(0.3)
    (workspace.cwd / "in" / "a.csv").write_text("x")
    until(lambda: any(f["state"] == "completed" for f in workspace.json("schedule", "history")), timeout=20)
    assert workspace.json("schedule", "history")[0]["detail"] == f"{workspace.cwd}/in/a.csv\n"
    assert scheduler.end() == 0


@pytest.mark.parametrize("kind", [S3, Azure], ids=["s3", "azure"])
def test_objects_start_a_run(workspace, kind, monkeypatch):
    """A list is the look: what is new or another version starts one run, also when schedulers are killed in between."""
    with running(kind) as store, proxied(store) as proxy:
        for name, value in {**store.env(proxy.port), "HOME": str(workspace.cwd)}.items():
            monkeypatch.setenv(name, value)
        job(workspace, "arrive", f"triggers: [{{files: '{store.uri}/in/store=*/*.csv', quiet: 1s, poll: 1s}}]\n")
        job(workspace, "marked", f"triggers: [{{files: '{store.uri}/marked/', marker: _SUCCESS, poll: 1s}}]\n")

        def details(name):
            found = workspace.json("schedule", "history")
            return [f["detail"] for f in found if f["job"] == name and f["state"] == "completed"]

        proxy.fail("GET /", status(503, "SlowDown"), 2)
        store.seed("in/store=1/a b+c.csv", b"x")
        store.seed("in/store=2/é.csv", b"x")
        store.seed("in/other.csv", b"x")
        store.seed("marked/x.csv", b"x")
        first = Scheduler(workspace)
        until(lambda: details("arrive"), timeout=60)
        assert details("arrive") == [f"{store.uri}/in/store=1/a b+c.csv\n{store.uri}/in/store=2/é.csv\n"] and details("marked") == []
        first.kill()
        store.seed("marked/_SUCCESS", b"")
        store.seed("in/store=1/a b+c.csv", b"yy")
        second = Scheduler(workspace)
        until(lambda: len(details("arrive")) == 2 and details("marked"), timeout=60)
        assert sorted(details("arrive"))[0] == f"{store.uri}/in/store=1/a b+c.csv\n"
        assert details("marked") == [f"{store.uri}/marked/x.csv\n"]
        time.sleep(2.5)
        assert len(details("arrive")) == 2 and len(details("marked")) == 1
        assert second.end() == 0


def test_a_run_is_asked_for_over_http(workspace):
    job(workspace, "nightly", "fleet: oj\n")
    job(workspace, "broken", "schedule: '1 2 3'\n")
    tokens = {name: workspace.run("token", "create", name, "--scope", scope).stdout.strip()
              for name, scope in (("caller", "run"), ("other", "run"), ("reader", "infer,read,admin"))}
    auth = lambda name: {"Authorization": f"Bearer {tokens[name]}"}
    scheduler = Scheduler(workspace)
    with workspace.serving() as url:
        post = lambda name, who="caller", **headers: requests.post(f"{url}/v1/jobs/{name}:run", headers={**auth(who), **headers}, timeout=60)
        until(lambda: post("nightly", **{"Idempotency-Key": "k1"}).status_code == 202)
        answer = post("nightly", **{"Idempotency-Key": "k1"})
        assert answer.status_code == 202 and answer.headers["Idempotency-Replayed"] == "true"
        place, run = answer.headers["Location"], answer.json()
        assert place == f"/v1/jobs/nightly/runs/{run['id']}" and (run["job"], run["trigger"]) == ("nightly", "http")
        ended = until(lambda: (a := requests.get(url + place, headers=auth("caller"), timeout=60).json())["state"] == "completed" and a)
        assert (ended["run"], ended["exit_code"]) == (run["id"], 0)
        assert post("nightly", "other", **{"Idempotency-Key": "k1"}).json()["id"] != run["id"]  # another's key
        first, second = post("nightly").json()["id"], post("nightly").json()["id"]
        assert first != second
        assert post("nightly", "reader").status_code == 403
        assert requests.post(f"{url}/v1/jobs/nightly:run", timeout=60).status_code == 401
        assert post("nightli").status_code == 404 and "did you mean 'nightly'" in post("nightli").json()["error"]
        assert post("broken").status_code == 409 and "write five" in post("broken").json()["error"]
        assert requests.post(f"{url}/v1/jobs/nightly", headers=auth("caller"), timeout=60).status_code == 404
        assert requests.get(f"{url}/v1/jobs/nightly:run", headers=auth("caller"), timeout=60).status_code == 405
        assert requests.get(f"{url}/v1/jobs/broken/runs/{first}", headers=auth("caller"), timeout=60).status_code == 404
        long = lambda size: post("nightly", **{"Idempotency-Key": "k" * size}).status_code
        assert (long(128), long(129)) == (202, 400)
    assert scheduler.end() == 0
    ran = (workspace.cwd / "ran.txt").read_text().splitlines()
    assert len(ran) == len(set(ran))
