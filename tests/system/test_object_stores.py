"""src/object against real stores: keys of any bytes, long lists, large files, and everything that a network does to them."""
import hashlib
import os
import pathlib
import subprocess

import pytest
from conftest import BUILD
from objects import NOT_OURS, S3, Azure, cut, lose, proxied, stall, status
from servers import running

FAST = {"MYRIAD_OBJECT_BACKOFF": "10ms", "MYRIAD_OBJECT_STALL_TIMEOUT": "1s", "MYRIAD_OBJECT_PART_BYTES": "5MiB"}
KEYS = ["plain.csv", "store=7/brand=a b/part+1.csv", "100%/x%20y=é.csv", "ünï/~!'()*,;:@&$.bin", "q?x=1#f", "日本語/=+ %2B", "a" * 200 + "/b"]


@pytest.fixture(scope="module", params=[S3, Azure], ids=["s3", "azure"])
def store(request):
    with running(request.param) as server:
        yield server


class Tool:
    def __init__(self, store, tmp_path, port=None, **more):
        env = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        self.env = {**env, **FAST, **store.env(port), "HOME": str(tmp_path), **more}
        self.root = f"{store.scheme}://data/"

    def run(self, verb, key, *args):
        uri = key if "://" in key else self.root + key
        done = subprocess.run([BUILD / "myr_object_tool" if (BUILD / "myr_object_tool").exists() else BUILD / "tests/myr_object_tool",
                               verb, uri, *map(str, args)], capture_output=True, text=True, env=self.env, timeout=120)
        assert "Sanitizer" not in done.stderr, done.stderr
        return done

    def ok(self, verb, key, *args):
        done = self.run(verb, key, *args)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]

    def fails(self, verb, key, *args):
        done = self.run(verb, key, *args)
        assert done.returncode > 0, done.stdout
        return done.stderr.strip()


@pytest.fixture
def tool(store, tmp_path):
    return Tool(store, tmp_path)


def some(size):
    return (hashlib.sha512(str(size).encode()).digest() * (size // 64 + 1))[:size]


def file(tmp_path, size, name="file"):
    path = tmp_path / name
    path.write_bytes(some(size))
    return path


@pytest.mark.parametrize("key", KEYS)
def test_keys_are_kept_byte_for_byte(store, tool, tmp_path, key):
    key = "keys/" + key
    path = file(tmp_path, 1000)
    tool.ok("put", key, path)
    (found, size, etag, when), = tool.ok("head", key)
    assert found == key and size == "1000" and etag and int(when) > 1700000000000
    assert [row[:3] for row in tool.ok("list", key)] == [[key, "1000", etag]]
    tool.ok("get", key, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    if store.scheme == "s3":
        assert (store.root / key).read_bytes() == path.read_bytes()
    tool.ok("delete", key)
    tool.ok("delete", key)
    assert tool.fails("head", key).startswith("NOT_FOUND: " + store.scheme + "://data/keys/")


@pytest.mark.parametrize("size", [0, 1, 5 << 20, (5 << 20) + 1])
def test_files_of_any_size(store, tool, tmp_path, size):
    tool.ok("put", "sizes/x", file(tmp_path, size))
    assert tool.ok("head", "sizes/x")[0][1] == str(size)
    tool.ok("get", "sizes/x", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == some(size)
    assert not (tmp_path / "back.part").exists()


def test_a_list_of_many_pages(store, tmp_path):
    keys = sorted(f"pages/store={i % 3}/p {i:03}+.csv" for i in range(35))
    for key in keys:
        store.seed(key, b"x" * int(key[-8:-5]))
    with proxied(store) as proxy:
        tool = Tool(store, tmp_path, proxy.port, MYRIAD_OBJECT_PAGE_KEYS="10")
        found = tool.ok("list", "pages/")
        assert [row[0] for row in found] == keys and [int(row[1]) for row in found] == [int(key[-8:-5]) for key in keys]
        assert len(proxy.requests) == 4
        assert [row[0] for row in tool.ok("list", "pages/store=1/")] == [key for key in keys if "=1/" in key]
        assert tool.ok("list", "pages/nothing") == []


def test_inputs_are_one_or_below_or_matching(store, tool):
    for key in ("in/a.csv", "in/b.csv", "in/store=1/c.csv", "in/_myriad.json", "in/_temporary/d.csv", "in/store=1/.e.csv", "in/we[i]rd.csv",
                "inside.csv"):
        store.seed(key, b"x")
    def found(key):
        return [row[0] for row in tool.ok("find", key)]
    assert found("in/a.csv") == ["in/a.csv"]
    assert found("in/") == ["in/a.csv", "in/b.csv", "in/store=1/c.csv", "in/we[i]rd.csv"]
    assert found("in/*.csv") == ["in/a.csv", "in/b.csv", "in/we[i]rd.csv"]
    assert found("in/**/c*.csv") == ["in/store=1/c.csv"]
    assert found("i*/[ab].csv") == ["in/a.csv", "in/b.csv"]
    assert found("in/we[i]rd.csv") == ["in/we[i]rd.csv"]
    assert "no object matches" in tool.fails("find", "in/*.parquet")
    assert "no object below it" in tool.fails("find", "in/store=2/")
    assert tool.fails("find", "in/x.csv").startswith(f"NOT_FOUND: {store.scheme}://data/in/x.csv: ")


def test_conditions_hold(store, tool):
    tool.ok("delete", "when/x")
    tool.ok("put-new", "when/x", "one")
    assert tool.fails("put-new", "when/x", "two").startswith("CONFLICT: ")
    tool.ok("put-new", "when/x", "one")  # it is what is there: a write whose answer was lost
    etag = tool.ok("head", "when/x")[0][2]
    tool.ok("put-same", "when/x", "two", etag)
    assert tool.fails("put-same", "when/x", "three", etag).startswith("CONFLICT: ")


def test_many_at_once(store, tool, tmp_path):
    names = [f"a={i % 5}/{i:02}.bin" for i in range(30)]
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(some(i * 1000))
    tool.ok("put-all", "", tmp_path, *names)
    tool.ok("get-all", "", tmp_path / "back", *names)
    assert all((tmp_path / "back" / name).read_bytes() == some(i * 1000) for i, name in enumerate(names))
    assert "NOT_FOUND" in tool.fails("get-all", "", tmp_path / "back", "a=0/00.bin", "a=0/gone.bin")


# ---- what a network does ----

def test_failures_that_pass(store, tmp_path):
    store.seed("faults/x", some(100000))
    with proxied(store) as proxy:
        tool = Tool(store, tmp_path, proxy.port)
        for verb, args in (("head", ()), ("get", (tmp_path / "back",)), ("list", ()), ("put-new", ("again",)), ("delete", ())):
            proxy.requests.clear()
            key = "faults/new" if verb in ("put-new", "delete") else "faults/x"
            proxy.fail("/data", status(500, "InternalError"))
            proxy.fail("/data", status(503, "SlowDown", "Retry-After: 0\r\n"))
            proxy.fail("/data", b"")  # cut before a word
            tool.ok(verb, key, *args)
            assert len(proxy.requests) >= 4 and not proxy.faults
        assert (tmp_path / "back").read_bytes() == some(100000)


def test_failures_that_do_not_pass(store, tmp_path):
    with proxied(store) as proxy:
        tool = Tool(store, tmp_path, proxy.port, MYRIAD_OBJECT_RETRIES="2")
        proxy.fail("/data", status(503, "ServerBusy"), 3)
        message = tool.fails("list", "faults/")
        assert message == f"UNAVAILABLE: {store.scheme}://data/: GET gives 503 ServerBusy: said the proxy" and len(proxy.requests) == 3
        proxy.fail("/data", status(400, "InvalidArgument"))
        assert tool.fails("list", "faults/").startswith("BAD_INPUT: ") and len(proxy.requests) == 4
        proxy.fail("/data", b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n<html>x</html>")
        assert "is no list of objects" in tool.fails("list", "faults/")
        if store.scheme == "s3":
            page = b"<ListBucketResult><Contents><Key>../x</Key><Size>1</Size></Contents></ListBucketResult>"
            proxy.fail("/data", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
            assert "a key that was not asked for: ../x" in tool.fails("list", "faults/")
    nobody = Tool(store, tmp_path, proxy.port, MYRIAD_OBJECT_RETRIES="1")
    assert nobody.fails("list", "x").startswith("UNAVAILABLE: ")


def test_a_cut_or_stalled_download_goes_on_where_it_was(store, tmp_path):
    Tool(store, tmp_path).ok("put", "faults/large", file(tmp_path, 3 << 20))
    with proxied(store) as proxy:
        tool = Tool(store, tmp_path, proxy.port, MYRIAD_OBJECT_RETRIES="1")
        for action in (cut(1 << 20), cut(700000), stall(100), status(500, "InternalError"), cut(5)):
            proxy.fail(lambda line, _: line.startswith("GET"), action)
        tool.ok("get", "faults/large", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == some(3 << 20)
        ranges = [names.get("range") for line, names in proxy.requests if line.startswith("GET")]
        assert ranges == [None, "bytes=1048576-", "bytes=1748576-", "bytes=1748676-", "bytes=1748676-", "bytes=1748681-"]
        assert all("if-match" in names for line, names in proxy.requests if line.startswith("GET"))


def test_an_object_that_changes_while_it_is_read(store, tmp_path):
    Tool(store, tmp_path).ok("put", "faults/moving", file(tmp_path, 100000))
    with proxied(store) as proxy:
        tool = Tool(store, tmp_path, proxy.port)

        def change(client, answer):
            Tool(store, tmp_path).ok("put", "faults/moving", file(tmp_path, 100001))
            cut(50000)(client, answer)
        proxy.fail("GET", change)
        assert "has changed while it was read" in tool.fails("get", "faults/moving", tmp_path / "back")
        assert not (tmp_path / "back").exists() and not (tmp_path / "back.part").exists()


def test_large_uploads_survive_lost_answers(store, tmp_path):
    path = file(tmp_path, 12 << 20)
    with proxied(store) as proxy:
        tool = Tool(store, tmp_path, proxy.port)
        proxy.fail("comp=block " if store.scheme == "az" else "partNumber=2", lose)
        proxy.fail("comp=blocklist" if store.scheme == "az" else "POST /data/faults/parts?uploadId", lose)
        tool.ok("put", "faults/parts", path)
        assert not proxy.faults
    with proxied(store) as proxy:  # a failure for good leaves nothing
        tool = Tool(store, tmp_path, proxy.port, MYRIAD_OBJECT_RETRIES="1")
        proxy.fail("comp=block " if store.scheme == "az" else "partNumber=2", status(403, "AccessDenied"))
        assert tool.fails("put", "faults/never", path).startswith("DENIED: ")
        assert "NOT_FOUND" in tool.fails("head", "faults/never")
        assert store.scheme == "az" or any(line.startswith("DELETE /data/faults/never?uploadId") for line, _ in proxy.requests)
    Tool(store, tmp_path).ok("get", "faults/parts", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


# ---- who asks ----

def test_a_wrong_key_is_told_without_it(store, tmp_path):
    wrong = "d3Jvbmcta2V5LXRoYXQtaXMtc2VjcmV0"
    tool = Tool(store, tmp_path, **store.env(secret=wrong))
    for verb, args in (("list", ()), ("head", ()), ("put-new", ("x",))):
        done = tool.run(verb, "who/x", *args)
        assert done.returncode == 77 and f"{store.scheme}://data/" in done.stderr and "403" in done.stderr
        assert wrong not in done.stderr and "key" in done.stderr
    nobody = {name: "" for name in tool.env if name.startswith(("AWS_", "AZURE_"))}
    message = Tool(store, tmp_path, **nobody).fails("list", "who/")
    assert message.startswith("UNAUTHENTICATED: no key for ")


def test_a_bucket_that_is_not_there(store, tool):
    assert tool.fails("list", f"{store.scheme}://nowhere/x").startswith(f"NOT_FOUND: {store.scheme}://nowhere/")


def test_a_shared_access_signature(tmp_path):
    with running(Azure) as store:
        sas = store.sas()
        tool = Tool(store, tmp_path, AZURE_STORAGE_CONNECTION_STRING=f"BlobEndpoint=http://127.0.0.1:{store.port}/tester;SharedAccessSignature={sas}")
        tool.ok("put", "sas/a b+c=%.csv", file(tmp_path, 100))
        tool.ok("get", "sas/a b+c=%.csv", tmp_path / "back")
        assert len(tool.ok("list", "sas/")) == 1
        tool.env["AZURE_STORAGE_CONNECTION_STRING"] = tool.env["AZURE_STORAGE_CONNECTION_STRING"][:-8] + "AAAA%3D"
        message = tool.fails("list", "sas/")
        assert "403" in message and "sig=" not in message


def test_keys_come_from_the_credentials_file(tmp_path):
    with running(S3) as store:
        pathlib.Path(tmp_path, ".aws").mkdir()
        pathlib.Path(tmp_path, ".aws/credentials").write_text(f"[other]\naws_access_key_id = tester\naws_secret_access_key = {store.secret}\n")
        tool = Tool(store, tmp_path, AWS_ACCESS_KEY_ID="", AWS_PROFILE="other")
        assert tool.ok("list", "") == []
