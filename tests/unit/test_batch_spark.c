/*
 * Runs on Spark as their coordinator sees them: what it asks its one worker, what it makes of the answer, what it
 * refuses. The worker is a program of the test's that speaks as `python -m myriad.spark --worker` does; the real one,
 * on a real Spark, is in tests/python/test_spark_batch.py.
 */
#include "batch_fixture.h"

#include <sys/stat.h>

#include "batch/internal.h"

static const char worker_text[] =
    "#!/usr/bin/env python3\n"
    "import json, os, socket, sys\n"
    "s = socket.socket(fileno=3)\n"
    "here = os.path.dirname(os.path.abspath(sys.argv[0]))\n"
    "open(here + '/args', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    "def hear():\n"
    "    size = s.recv(4, socket.MSG_WAITALL)\n"
    "    return json.loads(s.recv(int.from_bytes(size, 'little'), socket.MSG_WAITALL)) if len(size) == 4 else "
    "sys.exit()\n"
    "def tell(x):\n"
    "    data = json.dumps(x).encode()\n"
    "    s.sendall(len(data).to_bytes(4, 'little') + data)\n"
    "settings = json.loads(hear()['open'])\n"
    "open(here + '/spark', 'w').write(json.dumps(settings['spark']))\n"
    "tell({})\n"
    "plan = hear()\n"
    "open(here + '/files', 'w').write(' '.join(os.path.basename(f) for f in plan['files']))\n"
    "tell({})\n"
    "ask = hear()\n"
    "if os.path.exists(here + '/broken'):\n"
    "    tell({'error': 17, 'message': 'Spark: an executor is lost'})\n"
    "    hear()\n"
    "tell({'progress': 1})\n"
    "os.makedirs(ask['dir'])\n"
    "for part in (0, 1):\n"
    "    open(f\"{ask['dir']}/part-{part}.csv\", 'w').write('prediction,status\\n1.5,ok\\n')\n"
    "open(ask['dead'], 'w').write(json.dumps({'key': {'store': 9}, 'cause': 'no_model', 'mini_batch': ask['name'], "
    "'attempt': ask['attempt']}) + '\\n')\n"
    "tell({'rows': 3, 'dead': 1, 'compared': 0, 'levels': [1, 2, 0, 0, 0], 'statuses': [2, 1, 0, 0, 0, 0, 0, 0, 0], "
    "'used': [1, 2],\n"
    "      'application': 'app-7'})\n"
    "hear()\n";

static world spark_new(myr_batch_spark *spark)
{
    static char program[TESTING_PATH_BYTES + 16];
    static const char *const conf[] = {"spark.executor.memory=1g", NULL};
    world w = world_new(true);
    fixture_file(&w.f, "worker", worker_text);
    snprintf(program, sizeof program, "%s/worker", w.f.dir);
    EXPECT_INT(chmod(program, 0755), 0);
    *spark = (myr_batch_spark){
        .master = "spark://h:1", .python = program, .conf = conf, .executors_min = 1, .executors_max = 4};
    w.opts.spark = spark;
    w.opts.format = MYR_TABLE_CSV;
    return w;
}

static const char *said(world *w, const char *name)
{
    char path[TESTING_PATH_BYTES + 64];
    char *data = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", w->f.dir, name);
    EXPECT_RC(myr_file_read(path, 1 << 20, &data, &size, &w->f.err), OK, &w->f.err);
    const char *text = myr_arena_strndup(w->f.arena, data, size);
    myr_free(data);
    return text;
}

TEST(one_worker_is_asked_for_all_inputs)
{
    myr_batch_spark spark;
    MYR_AUTO(world) w = spark_new(&spark);
    fixture_file(&w.f, "in.csv", world_rows);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(said(&w, "args"), "-m myriad.spark --worker\n");
    EXPECT_STR(said(&w, "files"), "in.csv");
    EXPECT_HAS(said(&w, "spark"), "{\"min\": 1, \"max\": 4, \"master\": \"spark://h:1\"");
    EXPECT_HAS(said(&w, "spark"), "\"conf\": [\"spark.executor.memory=1g\"]");
    EXPECT_STR(said(&w, "out/part-0-1.csv"), "prediction,status\n1.5,ok\n");
    EXPECT_STR(said(&w, "out/part-0.csv"), "prediction,status\n1.5,ok\n");
    EXPECT_STR(said(&w, "ws/runs/1/dead_letters.jsonl"),
               "{\"key\": {\"store\": 9}, \"cause\": \"no_model\", \"mini_batch\": \"0\", \"attempt\": 1}\n");
    EXPECT_INT(w.report.rows, 3);
    EXPECT_INT(w.report.status_rows[MYR_ROW_NO_MODEL], 1);
    EXPECT_INT(w.report.mini_batches, 1);
    EXPECT_INT(w.report.models_used, 2);
    EXPECT_INT(w.report.dead_rows, 1);
    EXPECT_INT(world_run_count(&w, "completed"), 1);
    EXPECT_INT(world_leftovers(&w), 0);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(w.report.is_unchanged); /* where it is done does not make a run another */
}

TEST(what_fails_on_spark_is_its_own_trouble)
{
    myr_batch_spark spark;
    myr_batch_limits limits = myr_batch_limits_default();
    MYR_AUTO(world) w = spark_new(&spark);
    limits.max_retries = 0;
    limits.mini_batch_error_threshold = 5; /* and yet nothing is cut in halves */
    limits.error_threshold = 0;
    w.opts.limits = &limits;
    fixture_file(&w.f, "in.csv", world_rows);
    fixture_file(&w.f, "broken", "");
    EXPECT_RC(world_run(&w), BAD_INPUT, &w.f.err);
    EXPECT_INT(world_run_count(&w, "failed"), 1);
    limits.mini_batch_error_threshold = 0;
    limits.error_threshold = -1;
    EXPECT_RC(world_run(&w), UNAVAILABLE, &w.f.err);
    EXPECT_HAS(w.f.err.message, "in.csv, after 1 attempts: Spark: an executor is lost");
    EXPECT(!myr_io_exists(w.output));
    EXPECT_INT(world_leftovers(&w), 0);
}

static void refused(world *w, myr_rc rc, const char *part)
{
    myr_rc got = world_run(w);
    testing_expect_rc(got, rc, &w->f.err, part, __FILE__, __LINE__);
    EXPECT_HAS(w->f.err.message, part);
}

TEST(what_spark_does_not_do_is_refused_before_anything_starts)
{
    static const char *const keys[] = {"store", NULL};
    static const myr_output both[] = {MYR_OUTPUT_VALUE, MYR_OUTPUT_MARGIN}, leaf[] = {MYR_OUTPUT_LEAF};
    myr_batch_spark spark;
    MYR_AUTO(world) w = spark_new(&spark);
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts.partition_keys = keys;
    refused(&w, MYR_UNSUPPORTED, "partition_keys");
    w.opts.partition_keys = NULL;
    w.opts.action = MYR_BATCH_SUMMARY;
    refused(&w, MYR_UNSUPPORTED, "output_action");
    w.opts.action = MYR_BATCH_PARTS;
    w.opts.kinds = both;
    w.opts.kind_count = 2;
    refused(&w, MYR_UNSUPPORTED, "2 outputs");
    w.opts.kinds = leaf;
    w.opts.kind_count = 1;
    refused(&w, MYR_UNSUPPORTED, "leaf");
    w.opts.kind_count = 0;
    spark.python = "/nowhere/python";
    refused(&w, MYR_NOT_FOUND, "/nowhere/python");
    EXPECT_INT(world_run_count(&w, "failed"), 0);
}

RUN()
