#!/usr/bin/env python3
"""What scripts/quickstart says with more than a line of shell: a CSV row as JSON, and the summary at the end."""
import csv
import json
import pathlib
import sys

TARGET = "logmove"
KEYS = ("store", "brand")


def first_row(path):
    """The first row of a CSV file as {column: number}, without the target."""
    with open(path, newline="") as file:
        row = next(csv.DictReader(file))
    number = lambda text: int(text) if text.lstrip("-").isdigit() else float(text)
    return {name: number(text) for name, text in row.items() if name != TARGET}


def infer_body(row):
    """The row as a V2 request: one tensor per column."""
    return {"inputs": [{"name": name, "shape": [1], "datatype": "INT64" if name in KEYS else "FP64", "data": [value]}
                       for name, value in row.items()]}


def one_prediction(directory):
    """The prediction of a CSV output of one row, as its text."""
    path = next(pathlib.Path(directory).glob("*.csv"))
    with open(path, newline="") as file:
        return next(csv.DictReader(file))["prediction"]


def summary(demo):
    demo = pathlib.Path(demo)
    report = json.loads((demo / "reports/oj-train.json").read_text())
    run = json.loads((demo / "scored/_myriad.json").read_text())
    answers = {
        "batch": float(one_prediction(demo / "one-row")),
        "POST /v1/fleets/oj/score": json.loads((demo / "score.json").read_text().splitlines()[-1])["rows"][0]["prediction"],
        "POST /v2/models/oj/infer": json.loads((demo / "infer.json").read_text().splitlines()[-1])["outputs"][0]["data"][0],
        "myriad predict": json.loads((demo / "predict.json").read_text().splitlines()[-1])["prediction"],
    }
    models = report["models"]
    lines = [
        ("segments", f"{models['segments']} models of store and brand, {models['parents']} of brand, {models['global']} for all"),
        ("winners", ", ".join(f"{name} {count}" for name, count in report["wins"].items())),
        ("error", f"RMSE {report['test_rmse']:.4f} on the test set, {report['ratio']:.3f} of the baseline's "
                  f"{report['baseline_test_rmse']:.4f}; {report['segments_worse']} segments lose against it"),
        ("batch", f"{run['rows']:,} rows scored"),
        ("same number", "one row by " + ", ".join(answers)),
        ("", " = ".join(repr(value) for value in answers.values())),
        ("files", f"{demo}/reports/oj-train.json       a line per segment, losers listed"),
        ("", f"{demo}/reports/oj-segments.svg     actual against predicted for four segments"),
        ("", f"{demo}/scored/brand=…/             predictions as Parquet, a directory per brand"),
        ("", f"{demo}/registry.db, packs/, artifacts/"),
        ("try next", f"cd {demo} && myriad model list --segment brand=1"),
        ("", "myriad model show oj@store=2,brand=1"),
        ("", "myriad serve --listen 127.0.0.1:8080"),
    ]
    for name, text in lines:
        print(f"{name:12} {text}")
    if len(set(answers.values())) != 1:
        sys.exit("quickstart: the answers differ: this is a bug")


if __name__ == "__main__":
    command, argument = sys.argv[1:3]
    if command == "row":
        print(json.dumps(first_row(argument), separators=(",", ":")))
    elif command == "infer":
        print(json.dumps(infer_body(first_row(argument)), separators=(",", ":")))
    else:
        summary(argument)
