"""A standalone Spark of a master and two workers on loopback, and sessions on it. All of it ends with the block."""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time

from conftest import ROOT

SPARK = ROOT / ".deps/spark"
CORES = 2  # of each worker


def use():
    """Make the pinned pyspark importable, here and for what this process starts."""
    if not SPARK.exists():
        raise FileNotFoundError(f"{SPARK} is not there: run scripts/setup --tests --spark")
    paths = [str(SPARK), str((SPARK / "py4j.zip").resolve())]
    sys.path[:0] = paths
    os.environ["SPARK_HOME"] = str((SPARK / "pyspark").resolve())
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    return paths


def stop():
    """End the session of this process, whose executors hold all cores."""
    from pyspark.sql import SparkSession
    if (session := SparkSession.getActiveSession()) is not None:
        session.stop()


class Cluster:
    def __init__(self, folder, workers=2):
        self.folder = pathlib.Path(folder)
        self.processes = []
        conf = self.folder / "conf"
        conf.mkdir()
        (conf / "log4j2.properties").write_text("rootLogger.level = info\nrootLogger.appenderRef.stdout.ref = console\n"
                                                "appender.console.type = Console\nappender.console.name = console\n"
                                                "appender.console.target = SYSTEM_ERR\nappender.console.layout.type = PatternLayout\n"
                                                "appender.console.layout.pattern = %p %c{1}: %m%n%ex\n")
        keep = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYRIAD", "MYRIAD_LIBRARY")}
        self.env = keep | {"SPARK_CONF_DIR": str(conf), "SPARK_DAEMON_MEMORY": "256m", "SPARK_LOCAL_DIRS": str(self.folder / "local")}
        (self.folder / "local").mkdir()
        try:
            self.url = self._start("master", "org.apache.spark.deploy.master.Master", r"(spark://127\.0\.0\.1:\d+)",
                                   "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
            for number in range(workers):
                self._start(f"worker{number}", "org.apache.spark.deploy.worker.Worker", r"(Successfully registered with master)",
                            "--host", "127.0.0.1", "--port", "0", "--webui-port", "0", "--cores", str(CORES), "--memory", "2g",
                            "--work-dir", str(self.folder / f"work{number}"), self.url)
        except BaseException:
            self.close()
            raise

    def _start(self, name, main, pattern, *args):
        log = self.folder / f"{name}.log"
        with open(log, "wb") as out:
            self.processes.append(subprocess.Popen([f"{os.environ['SPARK_HOME']}/bin/spark-class", main, *args], env=self.env,
                                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        until = time.monotonic() + 60
        while time.monotonic() < until and self.processes[-1].poll() is None:
            if found := re.search(pattern, log.read_text()):
                return found[1]
            time.sleep(0.05)
        raise AssertionError(f"{name} did not start:\n{log.read_text()[-3000:]}")

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextlib.contextmanager
    def session(self, **options):
        """A session of this process, which has one at a time. `a_b` of an option is `spark.a.b`."""
        from pyspark.sql import SparkSession
        stop()
        builder = SparkSession.builder.master(self.url).appName("test")
        settings = {"driver_host": "127.0.0.1", "driver_bindAddress": "127.0.0.1", "ui_enabled": "false", "executor_memory": "512m",
                    "executor_cores": "1", "sql_shuffle_partitions": "4", "log_level": "ERROR",
                    "ui_showConsoleProgress": "false", "sql_session_timeZone": "UTC"} | options
        for name, value in settings.items():
            builder = builder.config("spark." + name.replace("_", "."), value)
        session = builder.getOrCreate()
        try:
            yield session
        finally:
            session.stop()


@contextlib.contextmanager
def cluster(folder):
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.close()
