/*
 * Names of categories in tables: every type of column that has texts feeds them, as the library's Python would see its
 * values; each row's model reads them by its own list.
 */
#include "batch_fixture.h"
#include "names_fixture.h"

static world paint_new(void)
{
    world w = {.f = fixture_new(1)};
    myr_err *err = &w.f.err;
    bool is_made = false;
    char root[TESTING_PATH_BYTES + 16];
    (void)snprintf(root, sizeof root, "%s/ws", w.f.dir);
    EXPECT_RC(myr_workspace_init(root, "", &is_made, err), OK, err);
    EXPECT_RC(myr_workspace_open(root, &w.workspace, err), OK, err);
    names_fleet(w.workspace);
    (void)snprintf(w.output, sizeof w.output, "%s/out", w.f.dir);
    return w;
}

static myr_rc paint_run(world *w, const char *input)
{
    (void)snprintf(w->input, sizeof w->input, "%s/%s", w->f.dir, input);
    w->opts.fleet = "paint";
    w->items[0] = w->input;
    w->opts.input.items = w->items;
    w->opts.output = w->output;
    w->opts.threads = 2;
    return myr_batch_run(w->workspace, &w->opts, &w->report, &w->f.err);
}

/* Predictions in the order of the rows, with the status where it is not ok. */
static const char *paint_result(world *w)
{
    return fixture_sql(&w->f,
                       "SELECT string_agg(CASE WHEN status = 'ok' THEN coalesce(CAST(prediction AS INT), -1)::VARCHAR "
                       "ELSE status END, ' ' ORDER BY CAST(n AS INT)) FROM read_parquet('$/out/part-0.parquet')");
}

static void expect_table(const char *select, const char *wanted)
{
    MYR_AUTO(world) w = paint_new();
    char sql[2000];
    (void)snprintf(sql, sizeof sql, "COPY (%s) TO '$/in.parquet'", select);
    fixture_sql(&w.f, sql);
    EXPECT_RC(paint_run(&w, "in.parquet"), OK, &w.f.err);
    EXPECT_STR(paint_result(&w), wanted);
}

TEST(texts_of_a_csv)
{
    MYR_AUTO(world) w = paint_new();
    fixture_file(&w.f, "in.csv",
                 "n,store,price,colour\n0,1,0,red\n1,1,0,green\n2,1,0,blue\n3,1,0,\n4,2,0,red\n5,2,0,\"blue\"\n"
                 "6,3,0,5\n7,3,0,5.0\n8,3,0,0.50\n9,3,0,9\n10,9,1,2\n11,9,1,red\n12,2,0,NA\n13,1,0,Red\n");
    EXPECT_RC(paint_run(&w, "in.csv"), OK, &w.f.err);
    EXPECT_STR(paint_result(&w), "100 101 109 109 202 200 300 300 302 309 21 bad_input 209 109");
    EXPECT_INT(w.report.status_rows[MYR_ROW_BAD_INPUT], 1);
    EXPECT_STR(fixture_sql(&w.f, "SELECT prediction IS NULL FROM '$/out/part-0.parquet' WHERE n = '11'"), "true");
}

/* A CSV of whole numbers: DuckDB's type does not matter, the cells' texts do. */
TEST(numbers_of_a_csv)
{
    MYR_AUTO(world) w = paint_new();
    fixture_file(&w.f, "in.csv", "n,store,price,colour\n0,3,0,5\n1,3,0,1\n2,3,0,\n3,3,0,7\n4,3,0,05\n");
    EXPECT_RC(paint_run(&w, "in.csv"), OK, &w.f.err);
    EXPECT_STR(paint_result(&w), "300 301 309 309 300");
}

TEST(texts_of_parquet)
{
    expect_table("SELECT * FROM (VALUES (0, 1, 0.0, 'red'), (1, 2, 0.0, 'red'), (2, 2, 0.0, NULL), (3, 3, 0.0, '5.0')) "
                 "t(n, store, price, colour)",
                 "100 202 209 300");
    expect_table("SELECT * REPLACE (colour::ENUM('green', 'red') AS colour) FROM (VALUES (0, 1, 0.0, 'red'), "
                 "(1, 2, 0.0, 'green')) t(n, store, price, colour)",
                 "100 201");
}

TEST(numbers_of_parquet)
{
    static const char *const types[] = {"TINYINT", "BIGINT", "UBIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL(9,2)"};
    for (size_t k = 0; k < MYR_COUNT_OF(types); k++) {
        char sql[500];
        (void)snprintf(sql, sizeof sql,
                       "SELECT * REPLACE (colour::%s AS colour) FROM (VALUES (0, 3, 0.0, 5), (1, 3, 0.0, 1), "
                       "(2, 3, 0.0, NULL), (3, 3, 0.0, 8), (4, 9, 1.0, 2)) t(n, store, price, colour)",
                       types[k]);
        expect_table(sql, "300 301 309 309 21");
    }
    static const char *const halves[] = {"FLOAT", "DOUBLE", "DECIMAL(9,3)"};
    for (size_t k = 0; k < MYR_COUNT_OF(halves); k++) {
        char sql[500];
        (void)snprintf(sql, sizeof sql,
                       "SELECT * REPLACE (colour::%s AS colour) FROM (VALUES (0, 3, 0.0, 0.5), (1, 3, 0.0, 5), "
                       "(2, 9, 1.0, 1.25)) t(n, store, price, colour)",
                       halves[k]);
        expect_table(sql, "302 300 14");
    }
    expect_table("SELECT 0 AS n, 3 AS store, 0.0 AS price, 'nan'::DOUBLE AS colour", "309");
}

TEST(truth_values_and_times_of_parquet)
{
    expect_table("SELECT * FROM (VALUES (0, 9, 1.0, true), (1, 9, 1.0, false), (2, 1, 1.0, true)) t(n, store, price, "
                 "colour)",
                 "11 1 109");
    expect_table("SELECT 0 AS n, 9 AS store, 0.0 AS price, DATE '2020-01-01' AS colour", "bad_input");
}

TEST(columns_without_a_text_are_refused)
{
    MYR_AUTO(world) w = paint_new();
    fixture_sql(&w.f, "COPY (SELECT 1 AS n, 1 AS store, 0.0 AS price, ['red'] AS colour) TO '$/in.parquet'");
    EXPECT_RC(paint_run(&w, "in.parquet"), BAD_INPUT, &w.f.err);
    EXPECT_HAS(w.f.err.message, "column 'colour' is VARCHAR[] and must be text or numeric");
    fixture_sql(&w.f, "COPY (SELECT 1 AS n, 1 AS store, 0.0 AS price, {'a': 1} AS colour) TO '$/in2.parquet'");
    EXPECT_RC(paint_run(&w, "in2.parquet"), BAD_INPUT, &w.f.err);
    EXPECT_HAS(w.f.err.message, "must be text or numeric");
}

TEST(texts_of_json)
{
    MYR_AUTO(world) w = paint_new();
    fixture_file(
        &w.f, "in.ndjson",
        "{\"n\":0,\"store\":1,\"price\":0,\"colour\":\"red\"}\n{\"n\":1,\"store\":3,\"price\":0,\"colour\":5}\n"
        "{\"n\":2,\"store\":3,\"price\":0,\"colour\":0.5}\n{\"n\":3,\"store\":2,\"price\":0,\"colour\":null}\n"
        "{\"n\":4,\"store\":9,\"price\":0,\"colour\":true}\n");
    EXPECT_RC(paint_run(&w, "in.ndjson"), OK, &w.f.err);
    EXPECT_STR(paint_result(&w), "100 300 302 209 10");
}

RUN()
