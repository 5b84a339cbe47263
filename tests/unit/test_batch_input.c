/* Inputs and outputs that look harmless: nothing is lost, nothing guessed, no input replaced. */
#include "batch_fixture.h"

static void refused(world *w, myr_rc wanted, const char *words)
{
    myr_rc rc = world_run(w);
    if (rc != wanted) fail_msg("got %s %s", myr_rc_name(rc), w->f.err.message);
    EXPECT_HAS(w->f.err.message, words);
    EXPECT_INT(world_leftovers(w), 0);
}

static void input_is(world *w, const char *name)
{
    snprintf(w->input, sizeof w->input, "%s/%s", w->f.dir, name);
}

TEST(a_null_and_its_name_in_the_same_column_are_not_mixed)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_sql(&w.f,
                "COPY (SELECT 1 AS store, 1 AS brand, 0.0 AS x1, 0.0 AS x2, unnest(['__HIVE_DEFAULT_PARTITION__', "
                "NULL, 'q', '', '__HIVE_DEFAULT_PARTITION__', NULL]) AS seg) TO '$/in.parquet'");
    input_is(&w, "in.parquet");
    w.opts.by = FIXTURE_NAMES("seg");
    refused(&w, MYR_BAD_INPUT, "'seg'");
    EXPECT(!myr_io_exists(w.output));
    w.opts.format = MYR_TABLE_CSV;
    refused(&w, MYR_BAD_INPUT, "__HIVE_DEFAULT_PARTITION__");
    w.opts.by = NULL; /* as a column it is a text */
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_INT(w.report.rows, 6);
}

TEST(files_of_the_input_are_not_replaced)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", world_rows);
    w.opts.by = FIXTURE_NAMES("brand");
    w.opts.keep = FIXTURE_NAMES("x1", "x2");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    input_is(&w, "out/*/*.parquet");
    refused(&w, MYR_BAD_INPUT, "part-0.parquet");
    EXPECT_HAS(w.f.err.message, "input");
    EXPECT_STR(fixture_sql(&w.f, "SELECT count(*) FROM '$/out/*/*.parquet'"), "6");
    snprintf(w.output, sizeof w.output, "%s/out2", w.f.dir);
    EXPECT_RC(world_run(&w), OK, &w.f.err); /* the columns of the path are there */
}

TEST(columns_in_the_path_are_keys)
{
    MYR_AUTO(world) w = world_new(true);
    EXPECT_RC(myr_io_mkdirs(fixture_path(&w.f, "hv/store=1"), &w.f.err), OK, &w.f.err);
    fixture_file(&w.f, "hv/store=1/p.csv", "brand,x1,x2,note\n1,1,1,a\n");
    input_is(&w, "hv/*/p.csv");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(world_result(&w), "a:3.0/oj@store=1,brand=1/1/segment/ok");
    EXPECT_STR(fixture_sql(&w.f, "SELECT typeof(store) || store FROM '$/out/part-0.parquet'"), "BIGINT1");
    fixture_file(&w.f, "hv/store=1/p.csv", "store,brand,x1,x2,note\n9,2,1,1,b\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT store || ' ' || prediction FROM '$/out/part-0.parquet'"), "9 103.0");
}

/* Of a directory all tables below it, in the order of their names; what begins with _ or . is somebody's own. */
static void input_tree(world *w)
{
    static const char *const dirs[] = {"t/year=2025/month=12", "t/year=2026/month=01", "t/_temporary", "t/.git"};
    for (size_t i = 0; i < MYR_COUNT_OF(dirs); i++)
        EXPECT_RC(myr_io_mkdirs(fixture_path(&w->f, dirs[i]), &w->f.err), OK, &w->f.err);
    fixture_file(&w->f, "t/year=2025/month=12/p.csv", "store,brand,x1,x2,note\n1,1,1,0,a\n");
    fixture_file(&w->f, "t/year=2026/month=01/p.csv", "store,brand,x1,x2,note\n1,1,2,0,b\n1,1,3,0,c\n");
    fixture_file(&w->f, "t/_SUCCESS", "");
    fixture_file(&w->f, "t/_temporary/q.csv", "half a li");
    fixture_file(&w->f, "t/.git/config", "x");
    input_is(w, "t");
}

TEST(a_directory_is_all_tables_in_it)
{
    MYR_AUTO(world) w = world_new(true);
    input_tree(&w);
    w.opts.keep = FIXTURE_NAMES("note", "year", "month");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(note || year || month || typeof(month) || prediction, ' ' ORDER BY "
                                 "filename, note) FROM read_parquet('$/out/*.parquet', filename = true)"),
               "a202512VARCHAR1.0 b202601VARCHAR2.0 c202601VARCHAR3.0");
    fixture_file(&w.f, "t/notes.txt", "x");
    refused(&w, MYR_BAD_INPUT, "t/notes.txt: the format is found from the name");
    EXPECT_RC(myr_io_mkdirs(fixture_path(&w.f, "empty"), &w.f.err), OK, &w.f.err);
    input_is(&w, "empty");
    refused(&w, MYR_NOT_FOUND, "empty: the directory has no table in it");
}

TEST(an_input_may_be_a_list)
{
    MYR_AUTO(world) w = world_new(true);
    input_tree(&w);
    fixture_file(&w.f, "one.csv", "store,brand,x1,x2,note\n1,1,9,0,z\n");
    const char *first = myr_arena_printf(w.f.arena, "%s/one.csv", w.f.dir);
    const char *second = myr_arena_printf(w.f.arena, "%s/t/*/*/p.csv", w.f.dir);
    w.list = FIXTURE_NAMES(first, second);
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(note || prediction, ' ' ORDER BY filename, note) FROM "
                                 "read_parquet('$/out/*.parquet', filename = true)"),
               "z9.0 a1.0 b2.0 c3.0");
    const char *tree = myr_arena_printf(w.f.arena, "%s/t", w.f.dir);
    w.list = FIXTURE_NAMES(first, tree, second);
    refused(&w, MYR_BAD_INPUT, "month=12/p.csv twice");
    const char *missing = myr_arena_printf(w.f.arena, "%s/two.csv", w.f.dir);
    w.list = FIXTURE_NAMES(first, missing);
    refused(&w, MYR_NOT_FOUND, "two.csv");
    fixture_sql(&w.f, "COPY (SELECT 1 AS store, 1 AS brand, 0.0 AS x1, 0.0 AS x2) TO '$/p.parquet'");
    const char *other = myr_arena_printf(w.f.arena, "%s/p.parquet", w.f.dir);
    w.list = FIXTURE_NAMES(first, other);
    refused(&w, MYR_BAD_INPUT, "different formats");
    fixture_file(&w.f, "t/year=2026/month=01/p.csv", "store,brand,x1,x2\n1,1,2,0\n");
    w.list = FIXTURE_NAMES(first, tree);
    refused(&w, MYR_BAD_INPUT, "year=2026/month=01/p.csv has no column 'note'");
}

TEST(kept_columns_of_a_csv_are_as_they_were)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,price,when,zip\n1,1,1,1,1.10,2020-01-01,007\n1,1,1,1,2,x,8\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(price || ' ' || \"when\" || ' ' || zip, ', ') FROM "
                                 "'$/out/part-0.parquet'"),
               "1.10 2020-01-01 007, 2 x 8");
}

TEST(keys_of_an_integer_fleet_are_integers_in_the_output)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1.0,2.0,1,1\n,1.0,1,1\n");
    w.opts.by = FIXTURE_NAMES("brand");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(DISTINCT typeof(store)) FROM '$/out/brand=2/part-0.parquet'"),
               "BIGINT");
    EXPECT(myr_io_exists(fixture_path(&w.f, "out/brand=1/part-0.parquet")));
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1.0,2,1,1\nabc,1,1,1\n2.5,1,1,1\n01,1,1,1\n");
    w.opts.by = NULL;
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(fixture_sql(&w.f, "SELECT string_agg(store || ' ' || status, ', ') FROM '$/out/part-0.parquet'"),
               "1 ok, abc bad_key, 2.5 bad_key, 01 bad_key");
    fixture_sql(&w.f, "COPY (SELECT unnest([1.0::DOUBLE, NULL, 'nan'::DOUBLE]) AS store, 2::DECIMAL(5,2) AS brand, "
                      "1.0 AS x1, 1 AS x2) TO '$/in.parquet'");
    input_is(&w, "in.parquet");
    w.opts.by = FIXTURE_NAMES("brand", "store");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT(myr_io_exists(fixture_path(&w.f, "out/brand=2/store=1/part-0.parquet")));
    EXPECT_STR(fixture_sql(&w.f, "SELECT count(*) FROM '$/out/brand=2/store=__HIVE_DEFAULT_PARTITION__/*.parquet'"),
               "2");
}

TEST(columns_left_out_are_reported)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,model,note,Status\n1,1,1,1,a,b,c\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(w.report.dropped_columns, "model, Status");
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,note\n1,1,1,1,a\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_STR(w.report.dropped_columns, "");
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,x1\n1,1,1,1,a\n");
    refused(&w, MYR_BAD_INPUT, "two columns 'x1'");
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2,n,n\n1,1,1,1,a,b\n");
    refused(&w, MYR_BAD_INPUT, "two columns 'n'");
    w.opts.keep = FIXTURE_NAMES("x1");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    fixture_file(&w.f, "in.csv", "store,brand,x1,X2\n1,1,1,1\n");
    refused(&w, MYR_BAD_INPUT, "did you mean 'X2'");
}

TEST(a_run_without_one_good_key_fails)
{
    MYR_AUTO(world) w = world_new(true);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1,2020-01-01,1,1\n2,2020-01-02,1,1\n");
    refused(&w, MYR_BAD_INPUT, "'brand'");
    EXPECT_HAS(w.f.err.message, "'2020-01-0");
    EXPECT_HAS(w.f.err.message, "whole number");
    EXPECT(!myr_io_exists(w.output));
    EXPECT_INT(world_run_count(&w, "failed"), 1);
    fixture_file(&w.f, "in.csv", "store,brand,x1,x2\n1,2020-01-01,1,1\n2,1,1,1\n");
    EXPECT_RC(world_run(&w), OK, &w.f.err);
    EXPECT_INT(w.report.status_rows[MYR_ROW_BAD_KEY], 1);
}

RUN()
