"""Real PostgreSQL and Redis servers that tests start and end themselves, each in a directory of its own."""
import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port, timeout=30, alive=lambda: True):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        assert alive(), "the database ended while it started"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing answers on port {port}")


class Server:
    """A process that can be killed, stopped and started again on its port, with its data."""

    def __init__(self, command, port, uri, user=None):
        self.command, self.port, self.uri, self.user, self.process = command, port, uri, user, None

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self.user,
                                        group=self.user, extra_groups=[] if self.user else None, cwd="/")
        answers(self.port, alive=lambda: self.process.poll() is None)
        return self

    def kill(self, number=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)
        self.process = None


class Postgres(Server):
    """One cluster, as the user `postgres` when the tests run as root (the server refuses root)."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        if not found:
            pytest.fail("PostgreSQL is not installed: scripts/setup --tests")
        self.bin = pathlib.Path(found[-1])
        self.dir = tempfile.mkdtemp(prefix="myriad-pg-")
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            os.chown(self.dir, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        port = free_port()
        data = f"{self.dir}/data"
        subprocess.run([self.bin / "initdb", "-D", data, "-U", "myriad", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
                       check=True, capture_output=True, user=user, group=user, extra_groups=[] if user else None, cwd="/")
        super().__init__([self.bin / "postgres", "-D", data, "-k", self.dir, "-h", "127.0.0.1", "-p", str(port),
                          "-c", "shared_buffers=16MB", "-c", "max_connections=30"], port,
                         f"postgresql://myriad:secret-word@127.0.0.1:{port}/postgres", user)

    def sql(self, text, **kwargs):
        return subprocess.run(["psql", "-X", "-q", "-At", "-h", "127.0.0.1", "-p", str(self.port), "-U", "myriad", "postgres",
                               "-c", text], check=True, capture_output=True, text=True, timeout=60, **kwargs).stdout.strip()

    def start(self):
        super().start()
        end = time.monotonic() + 60
        while subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode != 0:
            assert time.monotonic() < end, "PostgreSQL does not get ready"
            time.sleep(0.05)
        return self

    def kill(self, number=signal.SIGQUIT):
        super().kill(number)  # SIGQUIT: at once, without a checkpoint, and its children end too

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Redis(Server):
    def __init__(self):
        if not shutil.which("redis-server"):
            pytest.fail("redis-server is not installed: scripts/setup --tests")
        self.dir = tempfile.mkdtemp(prefix="myriad-redis-")
        port = free_port()
        super().__init__(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.dir,
                          "--requirepass", "secret-word", "--appendonly", "yes"], port,
                         f"redis://:secret-word@127.0.0.1:{port}/1")

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
