"""Print the "h1:" sum of a Go module's zip: SHA-256 over the sorted list of the SHA-256 of its files.

It does not depend on how the zip was compressed, so one pin fits every proxy and version of Go.
Usage: fetch-gosum.py FILE.zip
"""

import base64
import hashlib
import sys
import zipfile


def main() -> int:
    total = hashlib.sha256()
    with zipfile.ZipFile(sys.argv[1]) as archive:
        for name in sorted(archive.namelist(), key=str.encode):
            digest = hashlib.sha256()
            with archive.open(name) as part:
                while block := part.read(1 << 20):
                    digest.update(block)
            total.update(f"{digest.hexdigest()}  {name}\n".encode())
    print("h1:" + base64.b64encode(total.digest()).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
