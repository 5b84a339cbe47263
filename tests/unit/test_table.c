/* Tables read: formats, layouts of CSV, types, keys, order, and what each kind of bad input says. */
#include "table_fixture.h"

static void describe(fixture *f, const char *input, const char *wanted)
{
    myr_table_column *columns = NULL;
    size_t count = 0;
    EXPECT_RC(myr_table_describe(f->engine, input, f->arena, &columns, &count, &f->err), OK, &f->err);
    MYR_AUTO(myr_buf) text = {0};
    for (size_t i = 0; i < count; i++) {
        myr_buf_printf(&text, "%s%s %s%s", i > 0 ? ", " : "", columns[i].name, columns[i].sql_type,
                       columns[i].is_integer   ? " int"
                       : columns[i].is_numeric ? " num"
                                               : "");
    }
    EXPECT_STR(text.data, wanted);
}

/* Reading one feature fails with this code, in one line that names the file and has these words. */
static void refused(fixture *f, const char *input, const char *feature, myr_rc wanted, const char *words)
{
    myr_table_data *data = NULL;
    myr_rc rc = fixture_load(f, input, FIXTURE_NAMES(feature), NULL, &data);
    if (rc != wanted) fail_msg("%s: got %s %s", input, myr_rc_name(rc), f->err.message);
    EXPECT(data == NULL);
    EXPECT_HAS(f->err.message, words);
    EXPECT(strchr(f->err.message, '\n') == NULL);
    const char *slash = strrchr(input, '/');
    EXPECT_HAS(f->err.message, slash != NULL ? slash + 1 : input);
}

/* ---- what a table looks like ---- */

TEST(describe_tells_names_and_types)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    describe(&f,
             fixture_file(&f, "a.csv", "store,price,name,ok,day\n1,2.5,x,true,2020-01-02\n2,3,y,false,2020-01-03\n"),
             "store BIGINT int, price DOUBLE num, name VARCHAR, ok BOOLEAN num, day DATE");
    fixture_sql(&f,
                "COPY (SELECT 1::INTEGER a, 2::DECIMAL(5,2) b, 'x' c, 1.5::FLOAT d, 7::HUGEINT e) TO '$/a.parquet'");
    describe(&f, fixture_path(&f, "a.parquet"),
             "a INTEGER int, b DECIMAL(5,2) num, c VARCHAR, d FLOAT num, e DOUBLE num");
    describe(&f, fixture_file(&f, "a.ndjson", "{\"a\":1,\"b\":2.5}\n{\"a\":2,\"b\":null}\n"),
             "a BIGINT int, b DOUBLE num");
}

TEST(separators_are_found_in_the_header)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    describe(&f, fixture_file(&f, "a.csv", "a;b\n1;2\n"), "a BIGINT int, b BIGINT int");
    describe(&f, fixture_file(&f, "b.tsv", "a\tb\n1\t2\n"), "a BIGINT int, b BIGINT int");
    describe(&f, fixture_file(&f, "c.csv", "a|b\r\n1|2\r\n"), "a BIGINT int, b BIGINT int");
    describe(&f, fixture_file(&f, "d.csv", "\"a;x;y\",b\n1,2\n"), "a;x;y BIGINT int, b BIGINT int");
    describe(&f, fixture_file(&f, "e.csv", "a\n1\n"), "a BIGINT int");
    describe(&f,
             fixture_file(&f, "f.csv",
                          "\xef\xbb\xbf"
                          "a,b\n1,2\n"),
             "a BIGINT int, b BIGINT int");
}

TEST(names_with_quotes_and_semicolons_are_names)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const char *input = fixture_file(&f, "a\"b';--.csv", "\"a\"\"b';--\",\"x'); DROP\"\n1,2\n3,4\n");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, input, FIXTURE_NAMES("!a\"b';--", "x'); DROP"), FIXTURE_NAMES("a\"b';--"), &data), OK,
              &f.err);
    EXPECT_INT(data->row_count, 2);
    EXPECT_INT(data->cols[0].data.i64[1], 3);
    EXPECT(data->cols[1].data.f64[1] == 4.0);
}

TEST(globs_and_compressed_files_are_read)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    fixture_file(&f, "p1.csv", "a,b\n1,2\n");
    fixture_file(&f, "p2.csv", "a,b\n3,4\n");
    fixture_sql(&f, "COPY (SELECT 5 AS a) TO '$/z.csv.gz'");
    MYR_AUTO(fixture_data) both = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "p*.csv"), FIXTURE_NAMES("a"), NULL, &both), OK, &f.err);
    EXPECT_INT(both->row_count, 2);
    MYR_AUTO(fixture_data) packed = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "z.csv.gz"), FIXTURE_NAMES("a"), NULL, &packed), OK, &f.err);
    EXPECT(packed->row_count == 1 && packed->cols[0].data.f64[0] == 5);
    MYR_AUTO(fixture_data) odd = NULL;
    EXPECT_RC(fixture_load(&f, fixture_file(&f, "we[i]rd.csv", "a\n9\n"), FIXTURE_NAMES("a"), NULL, &odd), OK, &f.err);
    EXPECT(odd->cols[0].data.f64[0] == 9);
}

/* ---- loading ---- */

TEST(load_keeps_the_order_of_the_file)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    fixture_sql(&f, "COPY (SELECT range AS i, (range * 7919) % 1000 AS k FROM range(300000)) TO '$/a.parquet' "
                    "(ROW_GROUP_SIZE 20000)");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "a.parquet"), FIXTURE_NAMES("i"), NULL, &data), OK, &f.err);
    EXPECT_INT(data->row_count, 300000);
    for (int64_t i = 0; i < data->row_count; i++) {
        if (data->cols[0].data.f64[i] != (double)i) fail_msg("row %lld is out of order", (long long)i);
    }
    MYR_AUTO(fixture_data) sorted = NULL;
    EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("!k", "i"), FIXTURE_NAMES("k"), &sorted), OK, &f.err);
    for (int64_t i = 1; i < sorted->row_count; i++) {
        int64_t before = sorted->cols[0].data.i64[i - 1], now = sorted->cols[0].data.i64[i];
        if (before > now) fail_msg("row %lld is not sorted", (long long)i);
        if (before == now && sorted->cols[1].data.f64[i - 1] > sorted->cols[1].data.f64[i])
            fail_msg("a tie lost the file's order");
    }
}

TEST(load_turns_every_number_into_a_double)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_sql(
        &f, "COPY (SELECT * FROM (VALUES (1::TINYINT, 2.25::DECIMAL(9,2), true, '3.5', NULL::INTEGER, 1e300::DOUBLE), "
            "(NULL, NULL, NULL, NULL, NULL, 'nan'::DOUBLE)) t(a, b, c, d, e, f)) TO '$/a.parquet'");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "a.parquet"), FIXTURE_NAMES("a", "b", "c", "d", "e", "f"), NULL, &data),
              OK, &f.err);
    const double wanted[] = {1, 2.25, 1, 3.5, NAN, 1e300};
    for (uint32_t i = 0; i < 6; i++) {
        double cell = data->cols[i].data.f64[0];
        EXPECT(isnan(wanted[i]) ? isnan(cell) : cell == wanted[i]);
        EXPECT(isnan(data->cols[i].data.f64[1]));
        EXPECT(data->cols[i].valid == NULL && data->cols[i].type == MYR_COL_DOUBLE);
    }
}

static const char *key_text(const myr_col *col, int64_t row, char out[64])
{
    if (myr_col_is_null(col, row)) return "NULL";
    if (col->type == MYR_COL_INT64)
        snprintf(out, 64, "#%lld", (long long)col->data.i64[row]);
    else
        snprintf(out, 64, MYR_STR_FMT, MYR_STR_ARG(col->data.text[row]));
    return out;
}

static void keys_are(fixture *f, const char *input, const char *column, const char *const *wanted)
{
    char name[64], text[64];
    snprintf(name, sizeof name, "!%s", column);
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(f, input, FIXTURE_NAMES(name), NULL, &data), OK, &f->err);
    for (int64_t i = 0; wanted[i] != NULL; i++)
        EXPECT_STR(key_text(&data->cols[0], i, text), wanted[i]);
}

TEST(keys_keep_what_their_text_says)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const char *csv = fixture_file(&f, "a.csv",
                                   "i,zero,big,day,real,mixed,long\n"
                                   "1,01,12345678901234567890,2020-01-02,2.0,x,123456789012345678\n"
                                   "-2,7,3,2020-01-03,2.5,7,1\n"
                                   ",,,,,,\n");
    keys_are(&f, csv, "i", FIXTURE_NAMES("#1", "#-2", "NULL"));
    keys_are(&f, csv, "zero", FIXTURE_NAMES("01", "7", "NULL"));
    keys_are(&f, csv, "big", FIXTURE_NAMES("12345678901234567890", "3", "NULL"));
    keys_are(&f, csv, "day", FIXTURE_NAMES("2020-01-02", "2020-01-03", "NULL"));
    keys_are(&f, csv, "real", FIXTURE_NAMES("2", "2.5", "NULL"));
    keys_are(&f, csv, "mixed", FIXTURE_NAMES("x", "7", "NULL"));
    keys_are(&f, csv, "long", FIXTURE_NAMES("#123456789012345678", "#1", "NULL"));
    fixture_sql(&f,
                "COPY (SELECT * FROM (VALUES (2.0::DOUBLE, 3.00::DECIMAL(5,2), 18446744073709551615::UBIGINT, 'é'), "
                "('nan'::DOUBLE, 2.50::DECIMAL(5,2), NULL, '')) t(d, e, u, s)) TO '$/a.parquet'");
    fixture_path(&f, "a.parquet");
    keys_are(&f, f.path, "d", FIXTURE_NAMES("2", "NULL"));
    keys_are(&f, f.path, "e", FIXTURE_NAMES("3", "2.50"));
    keys_are(&f, f.path, "u", FIXTURE_NAMES("18446744073709551615", "NULL"));
    keys_are(&f, f.path, "s", FIXTURE_NAMES("é", ""));
}

/* Beyond the rows that DuckDB looks at to guess types. */
TEST(a_late_odd_key_makes_the_column_text)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_puts(&text, "k,x\n");
    for (int i = 0; i < 50000; i++)
        myr_buf_printf(&text, "%d,1\n", i % 7);
    myr_buf_puts(&text, "007,2.5\n");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, fixture_bytes(&f, "a.csv", text.data, text.size), FIXTURE_NAMES("!k", "x"), NULL, &data),
              OK, &f.err);
    EXPECT(data->cols[0].type == MYR_COL_TEXT);
    EXPECT(myr_str_is(data->cols[0].data.text[50000], "007"));
    EXPECT(myr_str_is(data->cols[0].data.text[8], "1"));
    EXPECT(data->cols[1].data.f64[50000] == 2.5);
}

TEST(a_table_without_rows_is_a_table)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(fixture_data) csv = NULL;
    EXPECT_RC(fixture_load(&f, fixture_file(&f, "a.csv", "k,x\n"), FIXTURE_NAMES("!k", "x"), NULL, &csv), OK, &f.err);
    EXPECT(csv->row_count == 0 && csv->col_count == 2);
    fixture_sql(&f, "COPY (SELECT 1 AS x WHERE false) TO '$/a.parquet'");
    MYR_AUTO(fixture_data) parquet = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "a.parquet"), FIXTURE_NAMES("x"), FIXTURE_NAMES("x"), &parquet), OK,
              &f.err);
    EXPECT_INT(parquet->row_count, 0);
}

/* ---- bad input ---- */

TEST(what_is_not_there_is_said)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    refused(&f, fixture_path(&f, "none.csv"), "x", MYR_NOT_FOUND, "no such file");
    refused(&f, fixture_path(&f, "none*.parquet"), "x", MYR_NOT_FOUND, "nothing matches");
    refused(&f, f.dir, "x", MYR_BAD_INPUT, "is a directory");
    refused(&f, fixture_file(&f, "a.xlsx", "x"), "x", MYR_BAD_INPUT, "must end in");
    refused(&f, fixture_file(&f, "a.csv", "week,price\n1,2\n"), "prise", MYR_BAD_INPUT, "did you mean 'price'?");
    refused(&f, f.path, "Week", MYR_BAD_INPUT, "did you mean 'week'?");
    refused(&f, f.path, "zzzzzzzz", MYR_BAD_INPUT, "no column 'zzzzzzzz'");
    refused(&f, "s3://bucket/a.csv", "x", MYR_UNSUPPORTED, "only local files");
    myr_table_data *data = NULL;
    EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("week"), FIXTURE_NAMES("pric"), &data), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "'price'");
}

TEST(bad_lines_of_a_csv_are_named)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    refused(&f, fixture_file(&f, "many.csv", "a,b\n1,2\n3,4,5\n"), "a", MYR_BAD_INPUT,
            "many.csv:3: 3 fields where the header has 2");
    refused(&f, fixture_file(&f, "few.csv", "a,b,c\n1,2,3\n1,2\n"), "a", MYR_BAD_INPUT,
            "few.csv:3: 2 fields where the header has 3");
    refused(&f, fixture_file(&f, "latin.csv", "a,b\n1,caf\xe9\n"), "a", MYR_BAD_INPUT, "latin.csv:2: not UTF-8");
    refused(&f, fixture_file(&f, "head.csv", "caf\xe9,b\n1,2\n"), "b", MYR_BAD_INPUT, "head.csv:1: not UTF-8");
    refused(&f, fixture_file(&f, "quote.csv", "a,b\n1,\"x\n2,3\n"), "a", MYR_BAD_INPUT, "quote.csv:2: ");
    refused(&f, fixture_file(&f, "cell.csv", "a,b\n1,2\n2,oops\n3,4\n"), "b", MYR_BAD_INPUT,
            "cell.csv:3: column 'b': 'oops' is not a number");
    refused(&f, fixture_file(&f, "na.csv", "a,b\n1,NA\n2,3\n"), "b", MYR_BAD_INPUT,
            "'NA' is not a number; correct it or leave");
    refused(&f, fixture_file(&f, "day.csv", "a,b\n1,2020-01-01\n"), "b", MYR_BAD_INPUT,
            "day.csv:2: column 'b': '2020-01-01' is not a number");
    refused(&f, fixture_file(&f, "empty.csv", ""), "a", MYR_BAD_INPUT, "empty");
    refused(&f, fixture_file(&f, "blank.csv", "\n\n"), "a", MYR_BAD_INPUT, "empty line");
    refused(&f, fixture_file(&f, "ours.csv", "myr:row,b\n1,2\n"), "b", MYR_BAD_INPUT, "must be renamed");
}

TEST(bad_lines_far_down_are_named)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_puts(&text, "a,b\n");
    for (int i = 0; i < 60000; i++)
        myr_buf_puts(&text, "1,2\n");
    size_t good = text.size;
    myr_buf_puts(&text, "3,oops\n");
    refused(&f, fixture_bytes(&f, "cell.csv", text.data, text.size), "b", MYR_BAD_INPUT,
            "cell.csv:60002: column 'b': 'oops'");
    text.size = good;
    myr_buf_puts(&text, "3,4,5\n");
    refused(&f, fixture_bytes(&f, "many.csv", text.data, text.size), "b", MYR_BAD_INPUT, "many.csv:60002: 3 fields");
}

TEST(text_counts_as_numeric_only_if_all_of_it_is)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_sql(&f, "COPY (SELECT * FROM (VALUES ('1', 'a', DATE '2020-01-01', [1]), ('2.5', '2', NULL, NULL), (NULL, "
                    "NULL, NULL, NULL)) "
                    "t(good, bad, day, list)) TO '$/a.parquet'");
    MYR_AUTO(fixture_data) data = NULL;
    EXPECT_RC(fixture_load(&f, fixture_path(&f, "a.parquet"), FIXTURE_NAMES("good"), NULL, &data), OK, &f.err);
    EXPECT(data->cols[0].data.f64[1] == 2.5 && isnan(data->cols[0].data.f64[2]));
    refused(&f, f.path, "bad", MYR_BAD_INPUT, "column 'bad' (VARCHAR) must be numeric; row 1 holds 'a'");
    refused(&f, f.path, "day", MYR_BAD_INPUT, "column 'day' (DATE) must be numeric; row 1 holds '2020-01-01'");
    refused(&f, f.path, "list", MYR_BAD_INPUT, "must be numeric");
    fixture_sql(&f, "COPY (SELECT NULL::DATE AS day) TO '$/b.parquet'");
    refused(&f, fixture_path(&f, "b.parquet"), "day", MYR_BAD_INPUT, "is DATE and must be numeric");
}

/* Cut at any point, or with bytes changed, a Parquet file is an error or a table; never a crash. */
TEST(damaged_parquet_is_an_error)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_sql(&f, "COPY (SELECT range AS x, 'text ' || range AS s FROM range(500)) TO '$/a.parquet'");
    char *bytes = NULL;
    size_t size = 0;
    EXPECT_RC(myr_file_read(fixture_path(&f, "a.parquet"), 1 << 20, &bytes, &size, &f.err), OK, &f.err);
    for (size_t cut = 0; cut < size; cut += 1 + size / 23) {
        myr_table_data *data = NULL;
        fixture_bytes(&f, "b.parquet", bytes, cut);
        EXPECT_RC(fixture_load(&f, f.path, FIXTURE_NAMES("x"), NULL, &data), BAD_INPUT, &f.err);
        EXPECT_HAS(f.err.message, "b.parquet");
    }
    refused(&f, fixture_file(&f, "text.parquet", "this is not a Parquet file, really"), "x", MYR_BAD_INPUT,
            "damaged or not Parquet");
    for (size_t at = 5; at < size; at += 1 + size / 97) {
        bytes[at] = (char)(bytes[at] ^ 0x5a);
        myr_table_data *data = NULL;
        myr_rc rc =
            fixture_load(&f, fixture_bytes(&f, "c.parquet", bytes, size), FIXTURE_NAMES("x", "!s"), NULL, &data);
        EXPECT(rc == MYR_OK || data == NULL);
        myr_table_data_free(data);
        bytes[at] = (char)(bytes[at] ^ 0x5a);
    }
    myr_free(bytes);
}

TEST(truncated_gzip_and_json_are_errors)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    refused(&f, fixture_file(&f, "a.ndjson", "{\"a\":1}\n{\"a\":\n"), "a", MYR_BAD_INPUT, "Malformed JSON");
    refused(&f, fixture_file(&f, "a.csv.gz", "not gzip at all, not gzip at all"), "a", MYR_BAD_INPUT, "a.csv.gz");
}

/* ---- the engine ---- */

TEST(engine_options_are_checked)
{
    myr_table_engine *engine = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_table_engine_open(-1, 0, &engine, &err), BAD_USAGE, &err);
    EXPECT_RC(myr_table_engine_open(1, -5, &engine, &err), BAD_USAGE, &err);
    EXPECT(engine == NULL);
    myr_table_engine_close(NULL);
    myr_table_data_free(NULL);
}

TEST(memory_is_bounded_and_spilled_bytes_are_removed)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    char temp[TESTING_PATH_BYTES + 16];
    snprintf(temp, sizeof temp, "%s/spill'", f.dir);
    EXPECT_RC(myr_table_engine_set_temp(f.engine, temp, &f.err), OK, &f.err);
    fixture_sql(&f, "COPY (SELECT hash(range) AS x, 'some longer text ' || hash(range * 3) AS s FROM range(2000000)) "
                    "TO '$/a.parquet'");
    myr_table_engine *small = NULL;
    EXPECT_RC(myr_table_engine_open(1, 24 << 20, &small, &f.err), OK, &f.err);
    EXPECT_RC(myr_table_engine_set_temp(small, temp, &f.err), OK, &f.err);
    myr_table_data *data = NULL;
    myr_table_want want = {.name = "s", .as_key = true};
    myr_rc rc = myr_table_load(small, fixture_path(&f, "a.parquet"), &want, 1, FIXTURE_NAMES("x"), &data, &f.err);
    EXPECT(rc == MYR_NO_MEMORY || rc == MYR_OK); /* both are bounded: what matters is an answer, not a killed process */
    if (rc == MYR_NO_MEMORY) EXPECT_HAS(f.err.message, "allow more memory");
    myr_table_data_free(data);
    myr_table_engine_close(small);
    EXPECT(!myr_io_exists(temp));
}

TEST(load_survives_each_failed_allocation)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_file(&f, "a.csv", "k,x\n01,2\n2,3.5\n");
    FAIL_EACH_ALLOC (nth) {
        myr_table_data *data = NULL;
        myr_rc rc = fixture_load(&f, f.path, FIXTURE_NAMES("!k", "x"), FIXTURE_NAMES("x"), &data);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && data == NULL));
        myr_table_data_free(data);
        if (rc == MYR_OK) break;
    }
}

/* Whatever cells hold, rows are counted; a part without rows has a header, or nothing. */
TEST(rows_that_were_written_are_counted)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    static const char rows[] = "SELECT i, CASE i %% 4 WHEN 0 THEN 'a \"b\"' || chr(10) || ', c' WHEN 1 THEN NULL WHEN "
                               "2 THEN '' ELSE '\"' END AS s"
                               " FROM range(%d) t(i)";
    static const struct {
        const char *suffix, *options;
        myr_table_format format;
    } kinds[] = {{"parquet", "FORMAT parquet", MYR_TABLE_PARQUET},
                 {"csv", "FORMAT csv, HEADER", MYR_TABLE_CSV},
                 {"jsonl", "FORMAT json", MYR_TABLE_JSONL}};
    static const int counts[] = {7, 0, 1000};
    for (size_t k = 0; k < MYR_COUNT_OF(kinds); k++) {
        const char *files[MYR_COUNT_OF(counts)];
        int64_t found = -1;
        for (size_t i = 0; i < MYR_COUNT_OF(counts); i++) {
            char select[256], sql[512], name[32];
            snprintf(select, sizeof select, rows, counts[i]);
            snprintf(name, sizeof name, "%zu.%s", i, kinds[k].suffix);
            snprintf(sql, sizeof sql, "COPY (%s) TO '$/%s' (%s)", select, name, kinds[k].options);
            fixture_sql(&f, sql);
            files[i] = myr_arena_strndup(f.arena, f.path, strlen(fixture_path(&f, name)));
        }
        EXPECT_RC(myr_table_count_written(f.engine, files, 3, kinds[k].format, &found, &f.err), OK, &f.err);
        EXPECT_INT(found, 1007);
        EXPECT_RC(myr_table_count_written(f.engine, files, 0, kinds[k].format, &found, &f.err), OK, &f.err);
        EXPECT_INT(found, 0);
        files[1] = "/nowhere/x";
        EXPECT_RC(myr_table_count_written(f.engine, files, 3, kinds[k].format, &found, &f.err), NOT_FOUND, &f.err);
        if (kinds[k].format != MYR_TABLE_PARQUET) EXPECT_HAS(f.err.message, "/nowhere/x"); /* there it is one query */
    }
}

RUN()
