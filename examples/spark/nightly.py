#!/usr/bin/env python3
"""A nightly job on Spark: last night's sales scored with the champion of a fleet, a directory per brand.

    spark-submit --master spark://10.0.0.4:7077 examples/spark/nightly.py WORKSPACE FLEET 'sales/*.parquet' scored

Needs the package `myriad` where the driver runs (pip install build/myriad-*.whl); executors get it from there.
"""
import sys

import myriad
from myriad import spark
from pyspark.sql import SparkSession

workspace, fleet, source, target = sys.argv[1:]
session = SparkSession.builder.appName(f"score {fleet}").getOrCreate()

pack = myriad.open(workspace, fleet=fleet)
counts = spark.Counts(session)
scored = spark.score(session.read.parquet(source), pack, counts=counts)
scored.write.mode("overwrite").partitionBy(pack.keys[-1]).parquet(target)

bad = counts.rows - counts.statuses.get("ok", 0)
print(f"{counts.rows} rows with {len(pack)} models of {pack.fleet} release {pack.release}: {counts.levels}")
for row in session.read.parquet(target).where("status <> 'ok'").limit(10).collect():
    print(row.asDict())
session.stop()
sys.exit(1 if bad > counts.rows / 100 else 0)  # more than one percent: somebody should look
