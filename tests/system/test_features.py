"""The feature store by the command line, in SQLite, a real PostgreSQL and a real Redis."""
import json
import socket
import threading
import time

import pandas as pd
import pytest
from databases import Postgres, Redis, free_port
from servers import running


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "redis"])
def place(request, tmp_path_factory):
    """A URI of each kind, with its server."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path_factory.mktemp('features') / 'f.db'}"
        return
    with running(Postgres if request.param == "postgresql" else Redis) as server:
        yield server.uri


TABLE = """store,brand,week,price1,feat,name
2,1,1,0.05,0,a
2,2,1,0.06,1,b
71,1,1,0.07,,"c""q"
2,1,2,0.08,1,dä
"""


def get(program, uri, table, *keys):
    args = [part for key in keys for part in ("--key", key)]
    return {row["key"]: row["features"] for row in program.json("features", "get", "--from", uri, "--table", table, *args)["rows"]}


def test_load_and_get(myriad, place):
    (myriad.cwd / "t.csv").write_text(TABLE)
    load = ("features", "load", "t.csv", "--to", place, "--table", "prices", "--keys", "store,brand", "--order", "week")
    assert myriad.json(*load) == {"table": "prices", "rows": 4, "keys": 3, "features": 4}
    rows = get(myriad, place, "prices", "brand=1,store=2", "store=71,brand=1")
    assert rows == {"store=2,brand=1": {"week": 2, "price1": 0.08, "feat": 1, "name": "dä"},
                    "store=71,brand=1": {"week": 1, "price1": 0.07, "feat": None, "name": 'c"q'}}
    # a later load replaces rows, keeps what it does not name, and may bring other features
    (myriad.cwd / "u.csv").write_text("store,brand,price1,deal\n71,1,0.5,1\n")
    myriad.run("features", "load", "u.csv", "--to", place, "--table", "prices", "--keys", "store,brand")
    rows = get(myriad, place, "prices", "store=2,brand=2", "store=71,brand=1")
    assert rows["store=71,brand=1"] == {"price1": 0.5, "deal": 1} and rows["store=2,brand=2"]["name"] == "b"


def test_one_key_one_text(myriad, place):
    """2, 2.0 and "2" are one key; texts with reserved characters, leading zeros and UTF-8 stay what they are."""
    pd.DataFrame({"store": [2.0, 3.0], "x": [1.0, 2.0]}).to_parquet(myriad.cwd / "f.parquet")
    myriad.run("features", "load", "f.parquet", "--to", place, "--table", "whole", "--keys", "store")
    assert get(myriad, place, "whole", "store=2") == {"store=2": {"x": 1}}
    names = ["a,b=c%", "07", "ü/@", "{x}\\y\"z", "two words"]
    pd.DataFrame({"meter": names, "x": range(len(names))}).to_parquet(myriad.cwd / "n.parquet")
    myriad.run("features", "load", "n.parquet", "--to", place, "--table", "named", "--keys", "meter")
    assert get(myriad, place, "named", "meter=a%2Cb%3Dc%25", "meter=07") == {"meter=a%2Cb%3Dc%25": {"x": 0}, "meter=07": {"x": 1}}
    assert get(myriad, place, "named", 'meter={x}\\y"z', "meter=%C3%BC%2F%40") == {'meter={x}\\y"z': {"x": 3}, "meter=ü%2F%40": {"x": 2}}


def test_many(myriad, place):
    count = 12345
    pd.DataFrame({"k": range(count), "a": [i / 7 for i in range(count)]}).to_parquet(myriad.cwd / "m.parquet")
    assert myriad.json("features", "load", "m.parquet", "--to", place, "--table", "many", "--keys", "k")["keys"] == count
    rows = get(myriad, place, "many", *[f"k={i}" for i in range(0, count, 97)])
    assert len(rows) == len(range(0, count, 97)) and all(rows[f"k={i}"]["a"] == i / 7 for i in range(0, count, 97))


def test_what_is_refused(myriad, place):
    (myriad.cwd / "t.csv").write_text(TABLE)
    base = ("features", "load", "t.csv", "--to", place)
    myriad.run(*base, "--table", "p", "--keys", "store,brand")
    assert "has the keys store (int64), brand (int64), not brand (int64)" in myriad.fails(*base, "--table", "p", "--keys", "brand")[1]
    assert "no column 'stor': did you mean 'store'?" in myriad.fails(*base, "--table", "p", "--keys", "stor")[1]
    assert "no column 'pric1': did you mean 'price1'?" in myriad.fails(*base, "--table", "p", "--keys", "store", "--features", "pric1")[1]
    assert "not a name of a feature table" in myriad.fails(*base, "--table", "a b", "--keys", "store")[1]
    (myriad.cwd / "bad.csv").write_text("store,brand,price1\n2,1,0.5\n2,x,0.5\n")
    code, message = myriad.fails("features", "load", "bad.csv", "--to", place, "--table", "p", "--keys", "store,brand")
    assert "bad.csv: row 2:" in message and "'x' is not a decimal integer" in message
    (myriad.cwd / "empty.csv").write_text("store,brand,price1\n2,1,0.5\n2,,0.5\n")
    assert "row 2: a key is empty" in myriad.fails("features", "load", "empty.csv", "--to", place, "--table", "p", "--keys", "store,brand")[1]
    get_args = ("features", "get", "--from", place, "--table")
    assert myriad.fails(*get_args, "p", "--key", "store=9,brand=9") == (66, "myriad: no features of store=9,brand=9 in 'p'")
    assert "no feature table 'nope'" in myriad.fails(*get_args, "nope", "--key", "store=9")[1]
    assert "'store=x,brand=1'" not in myriad.fails(*get_args, "p", "--key", "store=x,brand=1")[1]
    assert "has 1 parts, the table has 2 key columns" in myriad.fails(*get_args, "p", "--key", "store=2")[1]


@pytest.mark.parametrize("scheme", ["postgresql://u:secret-word@127.0.0.1:{}/d", "redis://:secret-word@127.0.0.1:{}/0"])
def test_a_dead_database_is_said_soon_and_without_its_password(myriad, scheme):
    (myriad.cwd / "t.csv").write_text(TABLE)
    started = time.monotonic()
    code, message = myriad.fails("features", "load", "t.csv", "--to", scheme.format(free_port()), "--table", "p", "--keys", "store")
    assert code == 69 and "cannot connect" in message and "refused" in message
    assert "secret-word" not in message and ":***@" in message
    # one that accepts and says nothing
    with socket.create_server(("127.0.0.1", 0)) as mute:
        held = []
        threading.Thread(target=lambda: held.append(mute.accept()), daemon=True).start()
        code, message = myriad.fails("features", "get", "--from", scheme.format(mute.getsockname()[1]), "--table", "p", "--key", "a=1",
                                     timeout=60)
    assert code in (69, 75) and ("no answer within the time" in message or "lost" in message) and "secret-word" not in message
    assert time.monotonic() - started < 45


def test_what_uris_there_are(myriad):
    (myriad.cwd / "t.csv").write_text(TABLE)
    base = ("features", "load", "t.csv", "--table", "p", "--keys", "store", "--to")
    assert "names no database: write sqlite:PATH" in myriad.fails(*base, "mysql://u:secret-word@h/d")[1]
    assert "secret-word" not in myriad.fails(*base, "mysql://u:secret-word@h/d")[1]
    said = myriad.fails(*base, "host=h user=u password=secret-word")[1]
    assert "'host***' names no database" in said and "secret-word" not in said
    assert "over TLS is not supported" in myriad.fails(*base, "rediss://h")[1]
    assert "port" in myriad.fails(*base, "redis://h:99999")[1]
    assert "needs a password" in myriad.fails(*base, "redis://user@h")[1]
    assert "not a URI of PostgreSQL" in myriad.fails(*base, "postgresql://h/d?no_such=1")[1]
    assert 'invalid integer value "port"' in myriad.fails(*base, "postgresql://h:port/d")[1]
    assert myriad.fails("features", "get", "--from", "sqlite:none.db", "--table", "p", "--key", "a=1")[0] == 66


def test_a_wrong_password(myriad):
    with running(Redis) as redis:
        code, message = myriad.fails("features", "get", "--from", redis.uri.replace("secret-word", "wrong-word"), "--table", "p",
                                     "--key", "a=1")
        assert code == 77 and "WRONGPASS" in message and "wrong-word" not in message


def test_damaged_rows_are_named(myriad):
    with running(Redis) as redis:
        (myriad.cwd / "t.csv").write_text(TABLE)
        myriad.run("features", "load", "t.csv", "--to", redis.uri, "--table", "prices", "--keys", "store,brand")
        with socket.create_connection(("127.0.0.1", redis.port)) as s:
            s.sendall(b'AUTH secret-word\r\nSELECT 1\r\nSET myriad:features:prices:store=2,brand=1 "junk"\r\nSET myriad:features:prices {}\r\n')
            answer = b""
            while answer.count(b"+OK") < 4:
                answer += s.recv(4096)
        assert "is damaged" in myriad.fails("features", "get", "--from", redis.uri, "--table", "prices", "--key", "a=1")[1]
        myriad.run("features", "load", "t.csv", "--to", redis.uri, "--table", "prices", "--keys", "store,brand")  # made anew


def test_json_of_load(myriad):
    (myriad.cwd / "t.csv").write_text(TABLE)
    text = myriad.run("features", "load", "t.csv", "--to", "sqlite:f.db", "--table", "p", "--keys", "store", "--json").stdout
    assert json.loads(text)["keys"] == 2
