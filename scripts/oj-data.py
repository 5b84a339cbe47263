"""Write the orange juice sales table as CSV: 106,139 rows, one per store, brand and week.

The table is `yx` in orangeJuice.rda of the R package bayesm (GPL data: read at set-up, never committed).
Usage: oj-data.py orangeJuice.rda oj.csv
"""

import csv
import os
import sys
import warnings

import rdata

ROWS = 106_139
COLUMNS = ["store", "brand", "week", "logmove", "constant", *[f"price{i}" for i in range(1, 12)], "deal", "feat", "profit"]
INTEGERS = {"store", "brand", "week", "constant", "deal"}


def main() -> int:
    source, target = sys.argv[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = rdata.read_rda(source)["orangeJuice"]["yx"]
    if list(table.columns) != COLUMNS or len(table) != ROWS or table.isna().any().any():
        print(f"{source}: expected {ROWS} full rows of {', '.join(COLUMNS)}; "
              f"found {len(table)} rows of {', '.join(map(str, table.columns))}", file=sys.stderr)
        return 1
    # tolist() gives Python's int and float: repr() of a float is the shortest text that reads back as the same double.
    columns = [table[name].astype("int64" if name in INTEGERS else "float64").tolist() for name in COLUMNS]
    partial = target + ".partial"
    with open(partial, "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip(*columns))
    os.replace(partial, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
