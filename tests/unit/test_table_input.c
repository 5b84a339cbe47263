/* Inputs that look harmless: names in paths, columns nobody asked for, line ends, twins, and cells that are nearly
 * numbers. */
#include "table_fixture.h"

static void refused(fixture *f, const char *input, const char *feature, myr_rc wanted, const char *words)
{
    myr_table_data *data = NULL;
    myr_rc rc = fixture_load(f, input, FIXTURE_NAMES(feature), NULL, &data);
    if (rc != wanted) fail_msg("%s: got %s %s", input, myr_rc_name(rc), f->err.message);
    EXPECT(data == NULL);
    EXPECT_HAS(f->err.message, words);
    EXPECT(strchr(f->err.message, '\n') == NULL);
}

static void below(fixture *f, const char *dir)
{
    EXPECT_RC(myr_io_mkdirs(fixture_path(f, dir), &f->err), OK, &f->err);
}

/* ---- keys of a CSV, found by a pass over its bytes or by a query: the same ---- */

static void key_is(const char *text, myr_col_type type)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(fixture_data) data = NULL;
    const char *input = fixture_file(&f, "in.csv", text);
    myr_rc rc = fixture_load(&f, input, FIXTURE_NAMES("!k", "x"), NULL, &data);
    if (rc != MYR_OK || data->cols[0].type != type) fail_msg("%s: %s, not type %d", text, f.err.message, (int)type);
}

TEST(keys_are_whole_numbers_or_texts)
{
    static const char *const whole[] = {
        "k,x\n1,1\n-20,2\n,3\n0,4\n", "x,k\n1,7\n2,8",
        "x,k\r\n1,7\r\n\r\n2,8\r\n",  "x,k,n\n1,7,\"a\nb\"\"c, d\"\n2,8,e\n",
        "x,\"k\"\n1,\"7\"\n2,8\n",    "k,x\n999999999999999999,1\n-999999999999999999,2\n",
    };
    static const char *const texts[] = {
        "k,x\n1,1\n01,2\n",  "k,x\n1,1\n-0,2\n",        "k,x\n1,1\n1 ,2\n",
        "k,x\n1,1\n+1,2\n",  "k,x\n1,1\n-,2\n",         "k,x\n1,1\n1000000000000000000,2\n",
        "k,x\n1,1\n1_0,2\n", "k,x\n1,1\n\"1\"\"\",2\n",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(whole); i++)
        key_is(whole[i], MYR_COL_INT64);
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++)
        key_is(texts[i], MYR_COL_TEXT);
}

/* ---- columns in paths ---- */

static void store_is(fixture *f, const char *input, int64_t wanted)
{
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(f, input, FIXTURE_NAMES("!store", "x"), NULL, &data), OK, &f->err);
    EXPECT(data->cols[0].type == MYR_COL_INT64);
    EXPECT_INT(data->cols[0].data.i64[0], wanted);
}

TEST(the_files_own_column_counts_not_the_paths)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    below(&f, "hv/store=7");
    fixture_sql(&f, "COPY (SELECT 2 AS store, 1.5 AS x) TO '$/hv/store=7/p.parquet'");
    fixture_file(&f, "hv/store=7/p.csv", "store,x\n2,1.5\n");
    store_is(&f, fixture_path(&f, "hv/*/p.parquet"), 2);
    store_is(&f, fixture_path(&f, "hv/*/p.csv"), 2);
    store_is(&f, fixture_path(&f, "hv/store=7/p.csv"), 2);
}

TEST(a_column_that_only_the_path_has_is_read)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    below(&f, "hv/store=7");
    below(&f, "hv/store=8");
    fixture_sql(&f, "COPY (SELECT 1.5 AS x) TO '$/hv/store=7/p.parquet'");
    fixture_file(&f, "hv/store=7/p.csv", "x\n1.5\n");
    fixture_file(&f, "hv/store=8/p.csv", "x\n2.5\n");
    store_is(&f, fixture_path(&f, "hv/*/p.parquet"), 7);
    store_is(&f, fixture_path(&f, "hv/store=8/*.csv"), 8);
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(
        fixture_load(&f, fixture_path(&f, "hv/*/p.csv"), FIXTURE_NAMES("x", "!store"), FIXTURE_NAMES("store"), &data),
        OK, &f.err);
    EXPECT(data->row_count == 2 && data->cols[1].data.i64[1] == 8 && data->cols[0].data.f64[1] == 2.5);
    below(&f, "hv/other");
    fixture_file(&f, "hv/other/p.csv", "x\n2.5\n");
    refused(&f, fixture_path(&f, "hv/*/p.csv"), "store", MYR_BAD_INPUT, "hv/other/p.csv");
    refused(&f, fixture_path(&f, "hv/*/p.csv"), "week", MYR_BAD_INPUT, "no column 'week'");
}

TEST(texts_and_nulls_in_paths_are_decoded)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    below(&f, "hv/a%20b=x%2Fy'");
    below(&f, "hv/a%20b=__HIVE_DEFAULT_PARTITION__");
    fixture_file(&f, "hv/a%20b=x%2Fy'/p.csv", "x\n1\n");
    fixture_file(&f, "hv/a%20b=__HIVE_DEFAULT_PARTITION__/p.csv", "x\n2\n");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "hv/*/p.csv"), FIXTURE_NAMES("!a b", "x"), FIXTURE_NAMES("x"), &data),
              OK, &f.err);
    EXPECT(data->cols[0].type == MYR_COL_TEXT && myr_str_is(data->cols[0].data.text[0], "x/y'"));
    EXPECT(myr_col_is_null(&data->cols[0], 1));
}

/* ---- columns nobody asked for ---- */

TEST(other_columns_of_a_csv_cannot_stop_a_run)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_puts(&text, "when,x\n");
    for (int i = 0; i < 60000; i++)
        myr_buf_puts(&text, "2020-01-01,1\n");
    myr_buf_puts(&text, "x,2\n");
    MYR_AUTO(fixture_data) data = NULL;
    fixture_bytes(&f, "a.csv", text.data, text.size);
    EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("x"), NULL, &data), OK, &f.err);
    EXPECT(data->row_count == 60001 && data->cols[0].data.f64[60000] == 2);
}

TEST(twins_are_refused_if_they_are_read)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    refused(&f, fixture_file(&f, "a.csv", "x,y,x\n1,2,3\n"), "x", MYR_BAD_INPUT, "two columns 'x'");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("y"), NULL, &data), OK, &f.err);
    refused(&f, fixture_file(&f, "q.csv", "\"a,b\";y;\"a,b\"\n1;2;3\n"), "a,b", MYR_BAD_INPUT, "two columns 'a,b'");
    fixture_sql(&f, "COPY (SELECT 1 AS x, 2 AS y, [1] AS l, {'x': 3} AS s) TO '$/a.parquet'");
    MYR_AUTO(fixture_data) nested = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "a.parquet"), FIXTURE_NAMES("x"), NULL, &nested), OK, &f.err);
}

/* ---- lines ---- */

TEST(a_line_end_in_a_cell_is_text)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const char *texts[] = {"s,x\r\nq,1\r\n\"a\nb\",2\r\nt,3\r\n", "s,x\n\"a\r\nb\",1\nq,2\nt,3\n"};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        MYR_AUTO(fixture_data) data = NULL;
        fixture_file(&f, "a.csv", texts[i]);
        EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("!s", "x"), NULL, &data), OK, &f.err);
        EXPECT(data->row_count == 3 && data->cols[1].data.f64[2] == 3);
        EXPECT(data->cols[0].data.text[1 - i].size == 3 + i);
    }
}

TEST(control_bytes_are_text)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(fixture_data) data = NULL;
    fixture_file(&f, "a.csv", "s,x\nq,1\n\x01x,2\n");
    EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("!s", "x"), NULL, &data), OK, &f.err);
    EXPECT(myr_str_is(data->cols[0].data.text[1], "\x01x"));
}

TEST(bytes_that_are_not_utf8_are_named_wherever_they_are)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_puts(&text, "x,s\n");
    for (int i = 0; i < 60000; i++)
        myr_buf_puts(&text, "1,cafe\n");
    myr_buf_puts(&text, "2,caf\xe9\n1,x\n");
    fixture_bytes(&f, "late.csv", text.data, text.size);
    myr_table_want want = {.name = "s", .as_key = true};
    myr_table_data *data = NULL;
    EXPECT_RC(myr_table_load(f.engine, f.path, &want, 1, NULL, &data, &f.err), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "late.csv:60002: not UTF-8");
}

/* ---- numbers ---- */

TEST(what_reads_as_a_number_is_one_rule)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, fixture_file(&f, "i.csv", "x\ninf\n-Infinity\n"), FIXTURE_NAMES("x"), NULL, &data), OK,
              &f.err);
    EXPECT(isinf(data->cols[0].data.f64[0]) && data->cols[0].data.f64[1] < 0);
    static const char *const bad[] = {"1_000", "True", "\"  1 \"", "0x1", "1,5", "NA", "2020-01-01"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        char text[64], words[96];
        snprintf(text, sizeof text, "x;y\n1;0\n%s;1\n", bad[i]);
        myr_str plain = myr_str_of(bad[i]);
        if (plain.data[0] == '"') plain = myr_str_make(plain.data + 1, plain.size - 2);
        snprintf(words, sizeof words, "n.csv:3: column 'x': '" MYR_STR_FMT "' is not a number", MYR_STR_ARG(plain));
        refused(&f, fixture_file(&f, "n.csv", text), "x", MYR_BAD_INPUT, words);
    }
    fixture_sql(&f, "COPY (SELECT * FROM (VALUES ('1'), ('1_000')) t(x)) TO '$/n.parquet'");
    refused(&f, fixture_path(&f, "n.parquet"), "x", MYR_BAD_INPUT, "row 2 holds '1_000'");
}

TEST(a_bad_cell_after_a_cell_of_two_lines_has_its_line)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    refused(&f, fixture_file(&f, "a.csv", "s,x\r\n\"a\n\"\"b\"\"\",1\r\nq,oops\r\n"), "x", MYR_BAD_INPUT,
            "a.csv:4: column 'x': 'oops'");
}

/* ---- several files ---- */

TEST(errors_of_a_glob_name_the_file)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_file(&f, "a1.csv", "x,y\n1,2\n");
    fixture_file(&f, "a2.csv", "x,z\n1,2\n");
    const char *glob = fixture_path(&f, "a*.csv");
    refused(&f, glob, "y", MYR_BAD_INPUT, "a2.csv");
    EXPECT_HAS(f.err.message, "no column 'y'");
    fixture_file(&f, "a2.csv", "");
    refused(&f, fixture_path(&f, "a*.csv"), "x", MYR_BAD_INPUT, "a2.csv: the file is empty");
    fixture_file(&f, "a2.csv", "x,y\n1,2\noops,3\n");
    refused(&f, fixture_path(&f, "a*.csv"), "x", MYR_BAD_INPUT, "a2.csv:3: column 'x': 'oops'");
    fixture_file(&f, "a0.csv", "");
    refused(&f, fixture_path(&f, "a*.csv"), "x", MYR_BAD_INPUT, "a0.csv: the file is empty");
    fixture_sql(&f, "COPY (SELECT 1 AS x) TO '$/b1.parquet'");
    fixture_file(&f, "b2.parquet", "");
    refused(&f, fixture_path(&f, "b*.parquet"), "x", MYR_BAD_INPUT, "b2.parquet");
    fixture_sql(&f, "COPY (SELECT 1 AS y) TO '$/b2.parquet'");
    refused(&f, fixture_path(&f, "b*.parquet"), "x", MYR_BAD_INPUT, "b2.parquet");
    refused(&f, fixture_path(&f, "b*.parquet"), "z", MYR_BAD_INPUT, "b1.parquet");
}

TEST(a_column_of_other_case_is_suggested)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    refused(&f, fixture_file(&f, "a.csv", "price1,PRICE3,price2\n1,2,3\n"), "price3", MYR_BAD_INPUT,
            "did you mean 'PRICE3'");
}

RUN()
