#!/usr/bin/env python3
"""Sum the JUnit reports of a directory and print the closing line: N passed, N failed, N skipped."""
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """passed, failed or skipped, of one <testcase>."""
    if case.find("failure") is not None or case.find("error") is not None or case.get("status") in ("fail", "error"):
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("disabled", "notrun", "skipped"):
        return "skipped"
    return "passed"


def main(directory):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(pathlib.Path(directory).rglob("*.xml")):
        root = ElementTree.parse(path).getroot()
        is_ctest = path.name.startswith("ctest-")
        for case in root.iter("testcase"):
            # A cmocka program reports its own cases; of ctest's report only the programs that have none count.
            if is_ctest and outcome(case) == "passed" and not case.get("name", "").startswith("fuzz_"):
                continue
            counts[outcome(case)] += 1
            if outcome(case) == "failed":
                print(f"failed: {path.stem}: {case.get('classname', '')} {case.get('name')}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 0 if counts["failed"] == 0 and counts["passed"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
