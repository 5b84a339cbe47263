"""Servers that tests start and end themselves: databases.py, objects.py, brokers.py say which."""
import contextlib


@contextlib.contextmanager
def running(kind):
    """One of a kind, started; in any case it ends, and what it wrote goes."""
    server = kind()
    try:
        yield server.start()
    finally:
        server.remove()
