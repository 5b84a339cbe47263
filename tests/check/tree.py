"""The source tree as the checks see it."""
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tracked(*patterns):
    """Files git knows or would add, so that a check sees what will be committed."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns], cwd=ROOT, check=True,
                         capture_output=True, text=True).stdout
    return [ROOT / line for line in out.splitlines() if (ROOT / line).is_file()]


def sources():
    return [p for p in tracked("src", "include") if p.suffix in (".c", ".h")]


def layers():
    """{directory: set of directories it may include}, from src/layers.txt."""
    found = {}
    for line in (ROOT / "src/layers.txt").read_text().splitlines():
        if match := re.match(r"^([a-z]+):(.*)$", line):
            found[match[1]] = set(match[2].split())
    return found


def code_only(text):
    """The text with comments and literals blanked, line numbers kept."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


FUNCTION = re.compile(r"^(?!typedef|struct|enum|union|#|static const|extern)[A-Za-z_][^;={}#]*\)[^;={}]*\n?\{\n(.*?)^\}", re.S | re.M)


def functions(path):
    """(name, first line, lines) of each function definition of a .c file, found by the house style's braces."""
    text = path.read_text()
    code = code_only(text)
    for match in FUNCTION.finditer(code):
        names = re.findall(r"([A-Za-z_]\w*)\s*\(", match[0].split("{")[0])
        first = code.count("\n", 0, match.start()) + 1
        yield names[0] if names else "?", first, match[0].count("\n") + 1
