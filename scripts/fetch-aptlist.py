"""Print an apt source (deb822) for another Debian release, from the machine's own sources.

The archive's address, keys and options are those the administrator chose; only the suite differs.
Usage: fetch-aptlist.py SUITE ARCH
"""

import pathlib
import re
import sys

APT = pathlib.Path("/etc/apt")


def codenames() -> set[str]:
    """Names under which this machine's own release may stand in its sources."""
    text = pathlib.Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", text, re.M)
    return ({found[1]} if found else set()) | {"stable", "oldstable", "testing", "sid", "unstable"}


def deb822_stanzas(text: str):
    """Each stanza as {field: value}; a value keeps its continuation lines (an inlined key has them)."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line[:1] in " \t" and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().title()
                fields[name] = value.strip()
        if fields:
            yield fields


def oneline_stanzas(text: str):
    """Lines of the old form, "deb [options] uri suite component...", as the same fields."""
    names = {"signed-by": "Signed-By", "trusted": "Trusted"}
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if not found:
            continue
        fields = {"Types": "deb", "Uris": found[2], "Suites": found[3], "Components": found[4].strip()}
        for option in (found[1] or "").split():
            key, _, value = option.partition("=")
            if key.lower() in names:
                fields[names[key.lower()]] = value
        yield fields


def main_archive():
    """The stanza of the machine's own release: its main archive, not updates, security or a third party's."""
    wanted = codenames()
    files = [APT / "sources.list", *sorted(APT.glob("sources.list.d/*"))]
    for path in files:
        if not path.is_file() or path.suffix not in (".list", ".sources"):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for fields in (deb822_stanzas if path.suffix == ".sources" else oneline_stanzas)(text):
            if fields.get("Enabled", "yes").lower() in ("no", "false", "0"):
                continue
            suites = set(fields.get("Suites", "").split())
            if "deb" in fields.get("Types", "").split() and "main" in fields.get("Components", "").split():
                if suites & wanted:
                    return fields
    return None


def main() -> int:
    suite, arch = sys.argv[1:]
    fields = main_archive()
    if fields is None:
        print(f"{APT}/sources.list*: no source of this machine's own Debian release with component main, "
              f"from which one for {suite} could be made", file=sys.stderr)
        return 1
    keep = {name: fields[name] for name in ("Uris", "Signed-By", "Trusted") if name in fields}
    print(f"Types: deb deb-src\nSuites: {suite}\nComponents: main\nArchitectures: {arch}")
    for name, value in keep.items():
        print(f"{name.replace('Uris', 'URIs')}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
