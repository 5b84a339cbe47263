"""The dialogue of `myriad advise` in a real pseudo-terminal: answers, defaults, back, help, wrong answers, the end of input."""
import os
import pty
import re
import select
import subprocess
import time

import pytest

PROMPT = re.compile(rb"> (\x1b\[0m)?$")


class Terminal:
    """The program with a pseudo-terminal as its standard input, output and error."""

    def __init__(self, myriad, *args, env=None, stdout=None):
        self.leader, follower = pty.openpty()
        self.said = b""
        environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"} | (env or {})
        self.process = subprocess.Popen([myriad.path, "advise", *args], stdin=follower, stdout=stdout or follower, stderr=follower,
                                        cwd=myriad.cwd, env=environment, start_new_session=True)
        os.close(follower)

    def read(self, until=None, timeout=60):
        """More output, up to a prompt (or the end)."""
        deadline, new = time.monotonic() + timeout, b""
        while time.monotonic() < deadline:
            if not select.select([self.leader], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(self.leader, 65536)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                break
            new += part
            self.said += part
            if until and until.search(new):
                return new.decode()
        assert until is None, f"no prompt came: {self.said.decode()}"
        return new.decode()

    def answer(self, text):
        """Type a line; gives what is said up to the next prompt or the end."""
        os.write(self.leader, text.encode())
        return self.read(PROMPT) if self.process.poll() is None and text != "\x04" else ""

    def end(self):
        rest = self.read()
        os.close(self.leader)
        return self.process.wait(60), rest


@pytest.fixture
def terminal(myriad):
    opened = []

    def open_one(*args, **kwargs):
        opened.append(Terminal(myriad, *args, **kwargs))
        return opened[-1]
    yield open_one
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "")


def test_answers_by_number_name_measure_and_enter(terminal):
    t = terminal()
    first = plain(t.read(PROMPT))
    assert "reconstruction" in first and "1. How often are predictions needed?" in first and "nightly" in first
    assert "2. How soon" in plain(t.answer("2\n"))
    assert "3. Do rows come" in plain(t.answer("30s\n"))
    assert "4. How much compute" in plain(t.answer("one\n"))  # latency matters no more
    assert "5. What may keeping it up" in plain(t.answer("gpu\n"))
    os.write(t.leader, b"\n")  # the default: one machine
    code, rest = t.end()
    assert code == 0
    rest = plain(rest)
    assert "Not asked, since it changes nothing here: latency." in rest
    assert "Verdict: Real time" in rest and "Where: One bigger machine" in rest and "(asked, default)" in rest


def test_back_and_help(terminal):
    t = terminal()
    t.read(PROMPT)
    assert "This is the first question." in plain(t.answer("b\n"))
    assert "Why this is asked: What is needed on a schedule" in plain(t.answer("?\n"))
    t.answer("stream\n")
    assert "1. How often" in plain(t.answer("b\n"))
    assert "2. How soon" in plain(t.answer("nightly\n"))
    assert "3. How much compute" in plain(t.answer("hours\n"))
    assert "2. How soon" in plain(t.answer("b\n"))
    t.answer("hours\n")
    t.answer("1\n")
    os.write(t.leader, b"device\n")
    code, rest = t.end()
    assert code == 0 and "Verdict: Batch" in plain(rest) and "Where: An edge device" in plain(rest)


def test_wrong_answers_are_asked_again(terminal):
    t = terminal()
    t.read(PROMPT)
    said = plain(t.answer("sometimes\n"))
    assert "'sometimes' is no answer to how-often: give stream, on-demand, hourly, nightly, rarely" in said
    assert "99 is not in the list: give 1 to 5" in plain(t.answer("99\n"))
    assert "2. How soon" in plain(t.answer("4\n"))
    os.write(t.leader, b"\x04")
    assert t.end()[0] == 130


@pytest.mark.parametrize("before", [[], ["nightly\n"], ["?\n"]])
def test_the_end_of_input(terminal, before):
    t = terminal()
    t.read(PROMPT)
    for text in before:
        t.answer(text)
    os.write(t.leader, b"\x04")
    code, rest = t.end()
    assert code == 130
    assert "the input ended at the question '" in rest and "nothing was decided" in rest
    assert "Verdict" not in rest


def test_given_answers_are_not_asked(terminal):
    t = terminal("--how-often", "nightly", "--how-soon=4h", "--compute", "little")
    said = plain(t.read(PROMPT))
    assert "how-soon: hours (--how-soon)" in said and "1. What may keeping it up" in said
    os.write(t.leader, b"1\n")
    code, rest = t.end()
    assert code == 0 and "A function or container service" in rest


def test_everything_given_asks_nothing(terminal):
    t = terminal("--how-often", "nightly", "--how-soon=4h", "--compute", "little", "--operation", "spark")
    code, rest = t.end()
    assert code == 0 and "> " not in plain(rest).split("Verdict")[0]


def test_colour_in_a_terminal_unless_refused(terminal, myriad):
    words = ["--how-often", "nightly", "--how-soon=4h", "--compute", "little"]
    for env, colour in [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)]:
        t = terminal(*words, env=env)
        t.read(PROMPT)
        os.write(t.leader, b"1\n")
        assert t.end()[0] == 0
        assert (b"\x1b[" in t.said) == colour, env


def test_the_answer_goes_to_a_file_and_the_questions_to_the_terminal(terminal, myriad):
    with open(myriad.cwd / "out.json", "wb") as out:
        t = terminal("--json", "--how-often", "nightly", "--how-soon=4h", "--compute", "little", stdout=out)
        assert "What may keeping it up" in plain(t.read(PROMPT))
        os.write(t.leader, b"1\n")
        assert t.end()[0] == 0
    text = (myriad.cwd / "out.json").read_text()
    assert text.startswith('{"verdict":"batch"') and "\x1b" not in text
