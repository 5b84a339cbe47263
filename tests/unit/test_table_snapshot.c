/* Rows from elsewhere as one Parquet file: a query's, those for which a condition holds, a database's text. */
#include "table_fixture.h"

static const char *first(fixture *f, const char *name)
{
    return myr_arena_printf(f->arena, "%s/%s", f->dir, name);
}

static void filtered(fixture *f, const char *file, const char *condition, const char *wanted)
{
    const char *path = first(f, file), *out = first(f, "out.parquet");
    int64_t rows = 0;
    EXPECT_RC(myr_table_snapshot_filter(f->engine, path, &path, 1, condition, out, &rows, &f->err), OK, &f->err);
    EXPECT_STR(fixture_sql(f, "SELECT coalesce(string_agg(a || typeof(a) || b, ' '), '') FROM '$/out.parquet'"),
               wanted);
}

static void refused(fixture *f, const char *file, const char *condition, myr_rc wanted, const char *words)
{
    const char *path = first(f, file), *out = first(f, "no.parquet");
    int64_t rows = 0;
    myr_rc rc = myr_table_snapshot_filter(f->engine, path, &path, 1, condition, out, &rows, &f->err);
    if (rc != wanted) fail_msg("got %s %s", myr_rc_name(rc), f->err.message);
    EXPECT_HAS(f->err.message, words);
    EXPECT(!myr_io_exists(out) && !myr_io_exists(first(f, "no.parquet.tmp")));
}

TEST(a_condition_sees_types_and_cells_stay)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    fixture_file(&f, "t.csv", "a,b\n10.00,x\n9,y\n11.50,z\n");
    filtered(&f, "t.csv", "a > 9.5", "10.00VARCHARx 11.50VARCHARz");
    filtered(&f, "t.csv", "a > 100", "");
    filtered(&f, "t.csv", "b = 'y' OR (a = 10 AND b LIKE '%x')", "10.00VARCHARx 9VARCHARy");
    fixture_sql(&f, "COPY (SELECT unnest([1, 2]) AS a, unnest(['x', 'y']) AS b) TO '$/t.parquet'");
    filtered(&f, "t.parquet", "a = 2", "2INTEGERy");
    fixture_file(&f, "t.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n");
    filtered(&f, "t.jsonl", "a = 2", "2BIGINTy");
    EXPECT_RC(myr_io_mkdirs(fixture_path(&f, "day%3D=2026-01/s=7"), &f.err), OK, &f.err);
    fixture_file(&f, "day%3D=2026-01/s=7/t.csv", "b\nx\n");
    const char *path = first(&f, "day%3D=2026-01/s=7/t.csv"), *out = first(&f, "out.parquet");
    int64_t rows = 0;
    EXPECT_RC(
        myr_table_snapshot_filter(f.engine, path, &path, 1, "s = 7 AND \"day=\" LIKE '2026%'", out, &rows, &f.err), OK,
        &f.err);
    EXPECT_INT(rows, 1);
    EXPECT_STR(fixture_sql(&f, "SELECT b || s || typeof(s) || \"day=\" FROM '$/out.parquet'"), "x7BIGINT2026-01");
}

TEST(a_condition_that_is_none_is_refused)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_file(&f, "t.csv", "a,b\n1,x\n");
    refused(&f, "t.csv", "c = 1", MYR_BAD_INPUT, "c");
    refused(&f, "t.csv", "a =", MYR_BAD_INPUT, "SQL: ");
    refused(&f, "t.csv", "1 = 1); DROP TABLE t; SELECT (1", MYR_BAD_INPUT, "SQL: ");
    refused(&f, "t.csv", "a = $1", MYR_BAD_INPUT, "parameters");
    fixture_file(&f, "bad.csv", "a,b\n");
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_puts(&text, "a,b\n");
    for (int i = 0; i < 30000; i++)
        myr_buf_puts(&text, "1,x\n");
    myr_buf_puts(&text, "many,x\n"); /* far behind what the types were found by */
    fixture_bytes(&f, "bad.csv", text.data, text.size);
    refused(&f, "bad.csv", "a > 0", MYR_BAD_INPUT, "many"); /* a row is not left out in silence */
}

static myr_rc text_of(fixture *f, const char *text, size_t size, const char *type, int64_t *out_rows)
{
    const myr_table_text_column columns[] = {{.name = "a", .sql_type = type},
                                             {.name = "it's \"b\"", .sql_type = "VARCHAR"}};
    const char *path = first(f, "db.text");
    fixture_bytes(f, "db.text", text, size);
    return myr_table_snapshot_text(f->engine, path, columns, 2, first(f, "out.parquet"), out_rows, &f->err);
}

TEST(a_databases_text_keeps_types_and_nulls)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    static const char text[] = "h,h\n\"0.1\",\"\"\n\\N,\\N\n\"-inf\",\"\\N\"\n\"NaN\",\"a\"\"\n,b\"\n";
    int64_t rows = 0;
    EXPECT_RC(text_of(&f, text, strlen(text), "DOUBLE", &rows), OK, &f.err);
    EXPECT_INT(rows, 4);
    EXPECT_STR(fixture_sql(
                   &f, "SELECT string_agg(coalesce(a::VARCHAR, 'null') || '/' || coalesce(\"it's \"\"b\"\"\", 'null'), "
                       "' ') FROM '$/out.parquet'"),
               "0.1/ null/null -inf/\\N nan/a\"\n,b");
    EXPECT_RC(text_of(&f, "h,h\n", 4, "BIGINT", &rows), OK, &f.err); /* no rows */
    EXPECT_INT(rows, 0);
    EXPECT_RC(text_of(&f, "h,h\n\"x\",\"y\"\n", 12, "BIGINT", &rows), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "x");
}

TEST(a_row_of_a_database_has_a_length)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(myr_buf) text = {0};
    int64_t rows = 0;
    myr_buf_puts(&text, "h,h\n1,");
    for (size_t i = 0; i < (MYR_TABLE_LINE_BYTES_MAX >> 4) - 16; i++)
        myr_buf_puts(&text, "0123456789abcdef");
    myr_buf_putc(&text, '\n');
    EXPECT_RC(text_of(&f, text.data, text.size, "BIGINT", &rows), OK, &f.err);
    EXPECT_INT(rows, 1);
    text.size--;
    for (int i = 0; i < 32; i++)
        myr_buf_puts(&text, "0123456789abcdef");
    myr_buf_putc(&text, '\n');
    EXPECT_RC(text_of(&f, text.data, text.size, "BIGINT", &rows), BAD_INPUT, &f.err);
}

TEST(a_query_finds_files_beside_its_job)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    int64_t rows = 0;
    fixture_file(&f, "t.csv", "a,b\n1,x\n2,y\n");
    const char *out = first(&f, "out.parquet");
    EXPECT_RC(myr_table_snapshot_query(f.engine, "FROM 't.csv' WHERE a > 1", f.dir, out, &rows, &f.err), OK, &f.err);
    EXPECT_INT(rows, 1);
    EXPECT_RC(myr_table_snapshot_query(f.engine, "FROM 'none.csv'", f.dir, out, &rows, &f.err), NOT_FOUND, &f.err);
    EXPECT_RC(myr_table_snapshot_query(f.engine, "SELECT 1; SELECT 2", f.dir, out, &rows, &f.err), BAD_INPUT, &f.err);
}

RUN()
