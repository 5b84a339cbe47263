"""`myriad scheduler` as a process that tests kill, and waiting for what it does."""
import signal
import subprocess
import time


class Scheduler:
    """One that has begun; `program`, in the workspace, stands in for batches. What it says goes to scheduler.log."""

    def __init__(self, myriad, store=None, program="stub", poll="50ms", lease="500ms"):
        command = [myriad.path, "scheduler", "--program", str(myriad.cwd / program), "--scheduler.poll", poll, "--lease", lease]
        self.log = (myriad.cwd / "scheduler.log").open("a")
        self.process = subprocess.Popen(command + (["--scheduler.store", store] if store else []), cwd=myriad.cwd,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert "jobs" in self.process.stdout.readline(), (myriad.cwd / "scheduler.log").read_text()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()
        self.log.close()
        return self.process.returncode

    def kill(self):
        return self.end(signal.SIGKILL)


def until(what, timeout=60):
    end = time.monotonic() + timeout
    while not (value := what()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
    return value
