"""What bench/realtime is made of: servers on core 0, generators of load on core 1, and what they measured."""
import json
import pathlib
import re
import shutil
import subprocess
import time
import urllib.request

CONNECTIONS = 16
SERVER_CORE, LOAD_CORE = "0", "1"


def on(core, *command):
    return ["taskset", "-c", core, *map(str, command)]


class Server:
    """A process that answers at `url` on core 0, until the block is left."""

    def __init__(self, name, command, url, probe="/", body=None, wait=60, **popen):
        self.name, self.url, self.probe, self.body, self.wait = name, url, probe, body, wait
        self.log = open(pathlib.Path(popen.pop("log")), "wb")
        self.process = subprocess.Popen(on(SERVER_CORE, *command), stdout=self.log, stderr=self.log, **popen)

    def __enter__(self):
        deadline = time.time() + self.wait
        while time.time() < deadline and self.process.poll() is None:
            try:
                request = urllib.request.Request(self.url + self.probe, data=self.body,
                                                 headers={"Content-Type": "application/json"})
                urllib.request.urlopen(request, timeout=5).read()
                return self
            except OSError:
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"{self.name} did not answer; {self.log.name} says why")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def lua_text(data):
    """Bytes as a Lua string."""
    return '"' + "".join(f"\\{b:03d}" for b in data) + '"'


def wrk_script(path, where, body, headers=None):
    """A request that is always the same; or, where `body` is a list, one of them at random."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    fields = ", ".join(f"[{lua_text(k.encode())}]={lua_text(v.encode())}" for k, v in headers.items())
    bodies = body if isinstance(body, list) else [body]
    text = ", ".join(lua_text(b) for b in bodies)
    path.write_text(f"local bodies, made = {{{text}}}, {{}}\n"
                    f"function init() for i, b in ipairs(bodies) do made[i] = wrk.format('POST', '{where}', {{{fields}}}, b) end end\n"
                    "function request() return made[math.random(#made)] end\n")
    return path


def wrk(url, script, connections=CONNECTIONS, seconds=3):
    """Requests a second and the 99th percentile in ms, as fast as the server answers."""
    done = subprocess.run(on(LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url),
                          capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(f"{url}: {done}")
    p99, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done).groups()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1]), float(p99) * {"us": 1e-3, "ms": 1, "s": 1000}[unit]


def offered(url, body, rate, work, headers=None, connections=CONNECTIONS, seconds=5):
    """Offer `rate` requests a second, whatever the server says: a list of (status, ms) of those that ended."""
    data, log = work / "h2load.body", work / "h2load.log"
    data.write_bytes(body)
    log.unlink(missing_ok=True)
    fields = [part for k, v in {"content-type": "application/json", **(headers or {})}.items() for part in ("-H", f"{k}: {v}")]
    subprocess.run(on(LOAD_CORE, "h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", "--warm-up-time=1",
                      f"--rps={max(1, round(rate / connections))}", f"--log-file={log}", "-d", data, *fields, url),
                   capture_output=True, check=True)
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    return [(int(row[1]), int(row[2]) / 1000) for row in rows]


def open_loop(url, where, body, rate, work, connections=256, deadline_ms=100, seconds=5):
    """Offer `rate` requests a second, each at its moment whatever the server does: what openloop.c counted."""
    program, request = work / "openloop", work / "openloop.request"
    if not program.exists():
        source = pathlib.Path(__file__).with_name("openloop.c")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", source, "-o", program, "-lm"], check=True)
    head = f"POST {where} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request.write_bytes(head.encode() + body)
    done = subprocess.run(on(LOAD_CORE, program, url.rsplit(":", 1)[1], rate, seconds, connections, deadline_ms, request),
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def tensor(name, datatype, shape, data):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def need(*programs):
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        raise SystemExit(f"{', '.join(missing)} is not here: scripts/setup --bench")
