/* Whole tables scored: the right model for each row, nothing lost, the output at once or not at all. */
#include "batch_fixture.h"

#include <unistd.h>

/* ---- scoring ---- */

TEST(each_row_has_its_model_and_none_is_lost)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(
        fixture_sql(&w.f, "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE SELECT * FROM "
                          "'$/out/part-0.parquet')"),
        "store VARCHAR, brand BIGINT, y DOUBLE, note VARCHAR, prediction DOUBLE, model VARCHAR, model_version BIGINT, "
        "level VARCHAR, status VARCHAR");
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(note, ' ') FROM (SELECT note FROM '$/out/part-0.parquet')"),
               "own parent nan global bad key null store");
    EXPECT_HAS(world_result(&w), "own:1.0/oj@store=1,brand=1/1/segment/ok");
    EXPECT_HAS(world_result(&w), "bad key:-/-/-/none/bad_key");
    EXPECT_INT(w.report.rows, 6);
    EXPECT_INT(w.report.level_rows[MYR_LEVEL_SEGMENT], 1);
    EXPECT_INT(w.report.level_rows[MYR_LEVEL_PARENT], 3);
    EXPECT_INT(w.report.level_rows[MYR_LEVEL_GLOBAL], 1);
    EXPECT_INT(w.report.status_rows[MYR_ROW_BAD_KEY], 1);
    EXPECT_INT(w.report.models_used, 3);
    EXPECT(w.report.release == 1 && w.report.run_id > 0 && w.report.output_files == 1 && w.report.output_bytes > 0);
    EXPECT_INT(world_run_count(&w, "completed"), 1);
    EXPECT_INT(world_leftovers(&w), 0);
}

TEST(rows_without_a_model_say_so)
{
    MYR_AUTO(world) w = world_new(false);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1,1,1,1\n5,5,1,1\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(status || ' ' || level || ' ' || coalesce(prediction::VARCHAR, "
                                 "'-'), ', ') FROM '$/out/part-0.parquet'"),
               "ok segment 3.0, no_model none -");
    EXPECT_INT(w.report.status_rows[MYR_ROW_NO_MODEL], 1);
    EXPECT_INT(w.report.compared_rows, 0); /* no target in the input */
}

TEST(actuals_are_compared_with_the_baseline)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    /* compared: own (1 against 1.5, baseline 1), parent (105 against 104, 2), null store (103 against 103, 2) */
    double error = 0.25 + 1 + 0, base = 0.25 + 102.0 * 102 + 101.0 * 101;
    EXPECT_INT(w.report.compared_rows, 3);
    EXPECT(fabs(w.report.rmse - sqrt(error / 3)) < 1e-12);
    EXPECT(fabs(w.report.baseline_rmse - sqrt(base / 3)) < 1e-9);
    EXPECT(w.report.has_units);
    double units = pow(exp(1.0) - exp(1.5), 2) + pow(exp(105.0) - exp(104.0), 2);
    EXPECT(fabs(w.report.units_rmse / sqrt(units / 3) - 1) < 1e-12);
    EXPECT(w.report.units_baseline_rmse > 0);
}

TEST(output_is_split_and_columns_are_chosen)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts.by = FIXTURE_NAMES("brand");
    w.opts.keep = FIXTURE_NAMES("note", "x1", "note");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(column_name, ',') FROM (DESCRIBE SELECT * FROM "
                                 "read_parquet('$/out/brand=2/part-0.parquet', hive_partitioning = false))"),
               "store,note,x1,prediction,model,model_version,level,status");
    EXPECT_HAS(world_result(&w), "parent:105.0/oj@brand=2/1/parent/ok");
    EXPECT_INT(w.report.output_files, 3);
    EXPECT_STR(fixture_sql(&w.f, "SELECT count(*) FROM glob('$/out/*/*.parquet')"), "3");
    w.opts.by = FIXTURE_NAMES("note", "store");
    w.opts.format = MYR_TABLE_CSV;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT prediction::VARCHAR FROM read_csv('$/out/note=own/store=1/part-0.csv')"),
               "1.0");
}

/* Names and types of the output's columns. */
static const char *columns_of(world *w, const char *reader)
{
    char sql[512];
    snprintf(sql, sizeof sql, "SELECT string_agg(column_name, ',') FROM (DESCRIBE SELECT * FROM %s)", reader);
    return fixture_sql(&w->f, sql);
}

/* What is counted, reported and named does not depend on what is written. */
static void expect_counts(world *w)
{
    EXPECT_INT(w->report.rows, 6);
    EXPECT_INT(w->report.level_rows[MYR_LEVEL_SEGMENT], 1);
    EXPECT_INT(w->report.level_rows[MYR_LEVEL_PARENT], 3);
    EXPECT_INT(w->report.status_rows[MYR_ROW_BAD_KEY], 1);
    EXPECT_INT(w->report.models_used, 3);
    EXPECT_INT(w->report.compared_rows, 3);
    EXPECT_INT(w->report.dead_rows, 2); /* a bad key, a NaN */
}

TEST(each_choice_of_details)
{
    static const char *const readers[] = {[MYR_TABLE_PARQUET] = "read_parquet('$/out/part-0.parquet')",
                                          [MYR_TABLE_CSV] =
                                              "read_csv('$/out/part-0.csv', header = true, all_varchar = true)",
                                          [MYR_TABLE_JSONL] = "read_json('$/out/part-0.jsonl')"};
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts.keep = FIXTURE_NAMES("note");
    for (int choice = 0; choice < 1 << MYR_BATCH_DETAIL_COUNT; choice++) {
        char wanted[128] = "store,brand,note,prediction", sql[512];
        for (int i = 0; i < MYR_BATCH_DETAIL_COUNT; i++) {
            size_t used = strlen(wanted);
            w.opts.leaves_out[i] = (choice >> i & 1) != 0;
            if (!w.opts.leaves_out[i])
                snprintf(wanted + used, sizeof wanted - used, ",%s", myr_batch_detail_name((myr_batch_detail)i));
        }
        w.opts.format = (myr_table_format)(choice % MYR_TABLE_NOTHING);
        EXPECT_RC(world_run(&w), OK, &w.f.err);
        EXPECT(!w.report.is_unchanged); /* another choice is another output */
        EXPECT_STR(columns_of(&w, readers[w.opts.format]), wanted);
        expect_counts(&w);
        snprintf(sql, sizeof sql, "SELECT string_agg(coalesce(prediction::DOUBLE::VARCHAR, '-'), ' ') FROM %s",
                 readers[w.opts.format]);
        const char *values =
            w.opts.format == MYR_TABLE_JSONL ? "1.0 105.0 - 1003.0 - 103.0" : "1.0 105.0 nan 1003.0 - 103.0";
        EXPECT_STR(fixture_sql(&w.f, sql), values);
    }
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(w.report.is_unchanged);
}

TEST(details_that_are_left_out_are_free_names)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,y,status,level\n1,1,0.5,0.25,1.5,new,3\nx,1,1,1,3,old,4\n");
    w.opts.leaves_out[MYR_BATCH_STATUS] = true;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(w.report.dropped_columns, "level");
    EXPECT_STR(columns_of(&w, "read_parquet('$/out/part-0.parquet')"),
               "store,brand,y,status,prediction,model,model_version,level");
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(status || ' ' || level, ',') FROM '$/out/part-0.parquet'"),
               "new segment,old none");
    EXPECT_INT(w.report.status_rows[MYR_ROW_BAD_KEY], 1);
}

TEST(a_run_that_counts_makes_no_details)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts.action = MYR_BATCH_SUMMARY;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    expect_counts(&w);
    EXPECT_INT(w.report.output_files, 0);
}

static void refuse_details(const char *const *names, size_t count, const char *words)
{
    bool leaves[MYR_BATCH_DETAIL_COUNT] = {false, true, false, true};
    myr_err err = {0};
    EXPECT_RC(myr_batch_details_choose(names, count, leaves, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, words);
    EXPECT(!leaves[0] && leaves[1] && !leaves[2] && leaves[3]); /* untouched */
}

TEST(names_of_details)
{
    bool leaves[MYR_BATCH_DETAIL_COUNT] = {false};
    myr_err err = {0};
    EXPECT_RC(myr_batch_details_choose(FIXTURE_NAMES("status", "model"), 2, leaves, &err), OK, &err);
    EXPECT(!leaves[MYR_BATCH_MODEL] && leaves[MYR_BATCH_MODEL_VERSION]);
    EXPECT(leaves[MYR_BATCH_LEVEL] && !leaves[MYR_BATCH_STATUS]);
    EXPECT_RC(myr_batch_details_choose(FIXTURE_NAMES("none"), 1, leaves, &err), OK, &err);
    EXPECT(leaves[MYR_BATCH_MODEL] && leaves[MYR_BATCH_STATUS]);
    leaves[MYR_BATCH_LEVEL] = false;
    EXPECT_RC(myr_batch_details_choose(NULL, 0, leaves, &err), OK, &err);
    EXPECT(leaves[MYR_BATCH_LEVEL]);
    refuse_details(FIXTURE_NAMES("model_versoin"), 1,
                   "there is no detail 'model_versoin'; did you mean 'model_version'?");
    refuse_details(FIXTURE_NAMES("nonne"), 1, "did you mean 'none'?");
    refuse_details(FIXTURE_NAMES("confidence"), 1, "model, model_version, level and status are known, or none");
    refuse_details(FIXTURE_NAMES("level", "level"), 2, "'level' is named twice");
    refuse_details(FIXTURE_NAMES("level", "none"), 2, "'none' stands alone");
}

TEST(an_earlier_release_scores_by_number)
{
    MYR_AUTO(world) w = world_new(true);
    world_import(&w, true, 0.5);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1,1,0,0\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT prediction || ' ' || model_version FROM '$/out/part-0.parquet'"), "0.5 2");
    w.opts.release = 1;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT prediction || ' ' || model_version FROM '$/out/part-0.parquet'"), "0.0 1");
    w.opts.release = 3;
    EXPECT_RC(world_run(&w), NOT_FOUND, &w.f.err);
}

/* The same row has the same bits whatever the threads, the format of the input and its neighbours are. */
TEST(many_rows_on_several_threads)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_sql(&w.f, "COPY (SELECT range AS id, range % 3 AS store, range % 4 AS brand, (range * 0.1)::DOUBLE AS x1, "
                      "sqrt(range) AS x2, "
                      "ln(1 + range) AS y FROM range(200000)) TO '$/in.parquet' (ROW_GROUP_SIZE 10000)");
    snprintf(w.input, sizeof w.input, "%s/in.parquet", w.f.dir);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    double rmse = w.report.rmse;
    EXPECT_INT(w.report.rows, 200000);
    EXPECT_STR(
        fixture_sql(
            &w.f,
            "SELECT count(*) FROM '$/out/part-0.parquet' o JOIN '$/in.parquet' i USING (id) WHERE o.prediction <> "
            "(CASE WHEN i.store = 1 AND i.brand = 1 THEN 0.0 WHEN i.brand = 2 THEN 100.0 ELSE 1000.0 END::DOUBLE + "
            "i.x1) + 2 * i.x2"),
        "0");
    w.opts.threads = 1;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(fabs(rmse / w.report.rmse - 1) < 1e-14);
}

static void last_progress(void *ctx, int64_t done, int64_t total)
{
    int64_t *last = ctx;
    if (done > last[0]) last[0] = done;
    last[1] = total;
}

TEST(progress_counts_rows)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_sql(&w.f, "COPY (SELECT 1 AS store, 1 AS brand, 0.0::DOUBLE AS x1, 0.0::DOUBLE AS x2 FROM range(30000)) TO "
                      "'$/in.parquet'");
    snprintf(w.input, sizeof w.input, "%s/in.parquet", w.f.dir);
    int64_t last[2] = {0};
    w.opts.progress = last_progress;
    w.opts.ctx = last;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(last[0] == 30000 && last[1] == 30000);
}

TEST(an_empty_table_gives_an_empty_output)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,y\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT count(*) FROM '$/out/part-0.parquet'"), "0");
    w.opts.by = FIXTURE_NAMES("brand");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(w.report.rows == 0 && w.report.output_files == 0);
    EXPECT(myr_io_exists(fixture_path(&w.f, "out/_myriad.json")));
}

/* ---- bad input ---- */

static void refused(world *w, const char *rows, const char *words)
{
    fixture_file(&w->f, "in.csv", rows);
    EXPECT_RC(world_run(w), BAD_INPUT, &w->f.err);
    EXPECT_HAS(w->f.err.message, words);
    EXPECT(!myr_io_exists(w->output));
    EXPECT_INT(world_leftovers(w), 0);
}

TEST(columns_that_are_missing_or_wrong_are_named)
{
    MYR_AUTO(world) w = world_new(true);
    refused(&w, "store,brand,x1\n1,1,1\n", "no column 'x2' (a feature of the fleet)");
    refused(&w, "stores,brand,x1,x2\n1,1,1,1\n",
            "no column 'store' (a partition column of the fleet); did you mean 'stores'?");
    refused(&w, "store,brand,x1,x2\n1,1,1,oops\n", "in.csv:2: column 'x2': 'oops'");
    refused(&w, "", "empty");
    EXPECT_INT(world_run_count(&w, "failed"), 1); /* only what had begun is a run */
    w.opts.keep = FIXTURE_NAMES("x3");
    refused(&w, "store,brand,x1,x2\n1,1,1,1\n", "no column 'x3' (of --keep)");
    w.opts.keep = FIXTURE_NAMES("Status");
    refused(&w, "store,brand,x1,x2,Status\n1,1,1,1,1\n", "would stand twice");
    w.opts.keep = NULL;
    w.opts.by = FIXTURE_NAMES("brant");
    refused(&w, "store,brand,x1,x2\n1,1,1,1\n", "no column 'brant' (of --by); did you mean 'brand'?");
    w.opts.by = FIXTURE_NAMES("brand", "brand");
    EXPECT_RC(world_run(&w), BAD_USAGE, &w.f.err);
    w.opts.by = NULL;
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,model\n1,1,1,1,old\n"); /* not asked for: left out */
    EXPECT_RC(world_run(&w), OK, &w.f.err);
}

TEST(what_does_not_exist_is_not_found)
{
    MYR_AUTO(world) w = world_new(true);
    EXPECT_RC(world_run(&w), NOT_FOUND, &w.f.err); /* the input */
    EXPECT_HAS(w.f.err.message, "in.csv");
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts = (myr_batch_opts){.fleet = "ojj", .input.items = w.items, .output = w.output};
    EXPECT_RC(myr_batch_run(w.workspace, &w.opts, &w.report, &w.f.err), NOT_FOUND, &w.f.err);
    EXPECT_HAS(w.f.err.message, "oj");
}

/* ---- the output's place ---- */

TEST(only_outputs_of_ours_are_replaced)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    EXPECT_RC(myr_io_mkdirs(w.output, &w.f.err), OK, &w.f.err); /* empty: fine */
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,note\n1,1,7,7,second\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err); /* ours: replaced */
    EXPECT_STR(world_result(&w), "second:21.0/oj@store=1,brand=1/1/segment/ok");
    EXPECT_RC(myr_io_unlink(fixture_path(&w.f, "out/_myriad.json"), &w.f.err), OK, &w.f.err);
    EXPECT_RC(world_run(&w), EXISTS, &w.f.err);
    EXPECT_HAS(w.f.err.message, "not an output of myriad");
    fixture_file(&w.f, "out/_myriad.json", "{\"kind\": \"something\"}");
    EXPECT_RC(world_run(&w), EXISTS, &w.f.err);
    EXPECT_STR(world_result(&w), "second:21.0/oj@store=1,brand=1/1/segment/ok");
    fixture_file(&w.f, "file", "x");
    w.opts = (myr_batch_opts){.fleet = "oj", .input.items = w.items, .output = fixture_path(&w.f, "file")};
    EXPECT_RC(myr_batch_run(w.workspace, &w.opts, &w.report, &w.f.err), EXISTS, &w.f.err);
    EXPECT_INT(world_leftovers(&w), 0);
}

TEST(parents_are_made_and_links_followed)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    snprintf(w.output, sizeof w.output, "%s/a/b//c/", w.f.dir);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(myr_io_exists(fixture_path(&w.f, "a/b/c/part-0.parquet")));
    snprintf(w.output, sizeof w.output, "%s/link", w.f.dir);
    EXPECT(symlink("a/b/c", w.output) == 0);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(readlink(w.output, (char[8]){0}, 7) > 0);
    EXPECT(myr_io_exists(fixture_path(&w.f, "a/b/c/_myriad.json")));
}

/* Counts the file calls on the output and what stands beside it; the nth fails. */
typedef struct nth_call {
    int calls, nth;
} nth_call;
static int fail_nth(void *ctx, myr_io_op op, const char *path)
{
    nth_call *at = ctx;
    (void)op;
    if (strstr(path, "/out") == NULL) return 0;
    return ++at->calls == at->nth ? EIO : 0;
}

static char *world_bytes(world *w, size_t *size)
{
    char *bytes = NULL;
    EXPECT_RC(myr_file_read(fixture_path(&w->f, "out/part-0.parquet"), 1 << 20, &bytes, size, &w->f.err), OK,
              &w->f.err);
    return bytes;
}

/* File calls in turn, the later ones sampled: the old output stays whole, or the new one is there. */
TEST(output_survives_each_failed_file_call)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts.threads = 1;
    w.opts.force = true;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(world_result(&w), world_expected);
    size_t size = 0, now_size = 0;
    char *bytes = world_bytes(&w, &size);
    int failed = 0;
    for (nth_call at = {.nth = 1};; at = (nth_call){.nth = at.nth + 1 + at.nth / 15}) {
        w.f.err = (myr_err){0};
        myr_io_set_hook(fail_nth, &at);
        myr_rc rc = world_run(&w);
        myr_io_set_hook(NULL, NULL);
        EXPECT(rc == MYR_OK || w.f.err.message[0] != '\0');
        failed += rc != MYR_OK;
        char *now = world_bytes(&w, &now_size);
        EXPECT(now_size == size && memcmp(now, bytes, size) == 0);
        myr_free(now);
        if (at.calls < at.nth) break;
    }
    myr_free(bytes);
    EXPECT(failed >= 10);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_INT(world_leftovers(&w), 0);
}

/* Names cannot be exchanged on each file system. */
static int refuse_first_rename(void *ctx, myr_io_op op, const char *path)
{
    int *left = ctx;
    if (op != MYR_IO_RENAME || !myr_str_ends_with(myr_str_of(path), "/data")) return 0;
    return (*left)-- == 1 ? EINVAL : 0;
}

TEST(two_renames_where_names_cannot_be_exchanged)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,note\n1,1,7,7,first\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    fixture_file(&w.f, "in.csv", world_rows);
    int left = 1;
    myr_io_set_hook(refuse_first_rename, &left);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(left <= 0);
    EXPECT_STR(world_result(&w), world_expected);
    EXPECT_INT(world_leftovers(&w), 0);
}

/* ---- what the dead leave ---- */

TEST(leftovers_of_the_dead_are_swept_and_the_living_spared)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    char lock[TESTING_PATH_BYTES + 64];
    EXPECT_RC(myr_io_mkdirs(fixture_path(&w.f, "out.staging-77/data"), &w.f.err), OK, &w.f.err);
    EXPECT_RC(myr_io_mkdirs(fixture_path(&w.f, "out.staging-78/data"), &w.f.err), OK, &w.f.err);
    EXPECT_RC(myr_io_mkdirs(fixture_path(&w.f, "out.staging-x/data"), &w.f.err), OK, &w.f.err);
    fixture_file(&w.f, "out.staging-77.lock", "");
    snprintf(lock, sizeof lock, "%s/out.staging-78.lock", w.f.dir);
    MYR_AUTO(myr_fd) fd = -1;
    EXPECT_RC(myr_io_lock(lock, &fd, &w.f.err), OK, &w.f.err);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(!myr_io_exists(fixture_path(&w.f, "out.staging-77")) &&
           !myr_io_exists(fixture_path(&w.f, "out.staging-77.lock")));
    EXPECT(myr_io_exists(fixture_path(&w.f, "out.staging-78/data")) &&
           myr_io_exists(fixture_path(&w.f, "out.staging-x")));
}

TEST(an_output_lost_between_two_renames_comes_back)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    char old[TESTING_PATH_BYTES + 64];
    snprintf(old, sizeof old, "%s/out.staging-78/old", w.f.dir);
    EXPECT_RC(myr_io_mkdirs(fixture_path(&w.f, "out.staging-78/data"), &w.f.err), OK, &w.f.err);
    EXPECT_RC(myr_io_rename(w.output, old, &w.f.err), OK, &w.f.err);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1,1,1,oops\n");
    EXPECT_RC(world_run(&w), BAD_INPUT, &w.f.err); /* this run fails, but the old output is back */
    EXPECT_STR(world_result(&w), world_expected);
    EXPECT_INT(world_leftovers(&w), 0);
}

TEST(a_dead_runs_row_is_settled)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    char real[4096];
    EXPECT(realpath(w.f.dir, real) != NULL);
    char output[4200];
    snprintf(output, sizeof output, "%s/out", real);
    myr_run_row row = {
        .fleet = "oj", .release = 1, .input = w.input, .output = output, .state = "running", .message = ""};
    int64_t id = 0;
    EXPECT_RC(myr_registry_run_start(w.workspace->registry, &row, &id, &w.f.err), OK, &w.f.err);
    char name[64];
    snprintf(name, sizeof name, "out.staging-%lld.lock", (long long)id);
    fixture_file(&w.f, name, "");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_INT(world_run_count(&w, "failed"), 1);
    EXPECT_INT(world_run_count(&w, "running"), 0);
}

RUN()
