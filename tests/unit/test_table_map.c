/* Tables mapped through a function into files, and columns written: what stands in the files is read back by another
 * DuckDB. */
#include "table_fixture.h"

#include <stdatomic.h>

/* ---- a function that adds its inputs ---- */

typedef struct adder {
    atomic_llong rows;
    atomic_int states_made, states_freed;
    int64_t fail_after; /* rows; 0 = never */
    bool no_state;
    bool bad_text;
} adder;

typedef struct adder_state {
    adder *owner;
    char text[2][64];
} adder_state;

static void *adder_new(void *ctx)
{
    adder *a = ctx;
    if (a->no_state) return NULL;
    adder_state *state = myr_calloc(1, sizeof *state);
    if (state == NULL) return NULL;
    state->owner = a;
    atomic_fetch_add(&a->states_made, 1);
    return state;
}

static void adder_free(void *state)
{
    atomic_fetch_add(&((adder_state *)state)->owner->states_freed, 1);
    myr_free(state);
}

/* inputs: key k, features a and b. outputs: sum (null where a is null), twice k, a short and a long text. */
static myr_rc adder_call(void *ctx, void *thread_state, const myr_table_chunk *chunk, myr_err *err)
{
    adder *a = ctx;
    adder_state *state = thread_state;
    EXPECT(state->owner == a);
    snprintf(state->text[0], sizeof state->text[0], "%s", a->bad_text ? "caf\xe9" : "short");
    snprintf(state->text[1], sizeof state->text[1], "a text longer than twelve bytes");
    for (int64_t r = 0; r < chunk->row_count; r++) {
        double x = chunk->inputs[1].data.f64[r];
        chunk->f64[0][r] = x + chunk->inputs[2].data.f64[r];
        if (isnan(x)) chunk->valid[0][r] = 0;
        bool is_null = myr_col_is_null(&chunk->inputs[0], r);
        if (is_null)
            chunk->valid[1][r] = 0;
        else
            chunk->i64[1][r] = 2 * chunk->inputs[0].data.i64[r];
        chunk->text[2][r] = is_null ? (myr_str){0} : myr_str_of(state->text[0]);
        chunk->text[3][r] = r % 3 == 0 ? myr_str_of("other text of some length") : myr_str_of(state->text[1]);
    }
    int64_t rows = atomic_fetch_add(&a->rows, chunk->row_count) + chunk->row_count;
    if (a->fail_after > 0 && rows > a->fail_after)
        MYR_FAIL(err, TIMEOUT, "the adder is tired after %lld rows", (long long)rows);
    return MYR_OK;
}

static const myr_table_want adder_wants[] = {{.name = "k", .as_key = true}, {.name = "a"}, {.name = "b"}};
static const myr_table_output adder_outputs[] = {{.name = "sum", .type = MYR_COL_DOUBLE},
                                                 {.name = "twice", .type = MYR_COL_INT64},
                                                 {.name = "short text", .type = MYR_COL_TEXT},
                                                 {.name = "long\"text", .type = MYR_COL_TEXT}};

static myr_table_map adder_map(fixture *f, adder *a, const char *input, const char *const *keep, uint32_t keep_count)
{
    static char output[TESTING_PATH_BYTES + 16];
    snprintf(output, sizeof output, "%s/out", f->dir);
    return (myr_table_map){.input = input,
                           .wants = adder_wants,
                           .want_count = 3,
                           .keep = keep,
                           .keep_count = keep_count,
                           .outputs = adder_outputs,
                           .output_count = 4,
                           .output_dir = output,
                           .fn = adder_call,
                           .ctx = a,
                           .make_state = adder_new,
                           .free_state = adder_free};
}

static const char *numbers_file(fixture *f)
{
    fixture_sql(f,
                "COPY (SELECT range AS id, CASE WHEN range % 10 = 9 THEN NULL ELSE range % 5 END AS k, "
                "CASE WHEN range % 7 = 0 THEN NULL ELSE range::DOUBLE END AS a, 0.5 AS b, 'n' || (range % 3) AS name "
                "FROM range(100000)) TO '$/in.parquet' (ROW_GROUP_SIZE 10000)");
    return fixture_path(f, "in.parquet");
}

TEST(map_writes_kept_and_computed_columns_in_order)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    adder a = {0};
    myr_table_map map = adder_map(&f, &a, numbers_file(&f), FIXTURE_NAMES("name", "id"), 2);
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT(rows == 100000 && atomic_load(&a.rows) == 100000);
    EXPECT(atomic_load(&a.states_made) > 0 && atomic_load(&a.states_made) == atomic_load(&a.states_freed));
    EXPECT_STR(fixture_sql(&f, "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE SELECT * "
                               "FROM '$/out/part-0.parquet')"),
               "name VARCHAR, id BIGINT, sum DOUBLE, twice BIGINT, short text VARCHAR, long\"text VARCHAR");
    EXPECT_STR(
        fixture_sql(
            &f,
            "SELECT count(*) FROM (SELECT *, row_number() OVER () - 1 AS n FROM '$/out/part-0.parquet') WHERE id <> n"),
        "0");
    EXPECT_STR(
        fixture_sql(&f, "SELECT count(*) FROM '$/out/part-0.parquet' o JOIN '$/in.parquet' i USING (id) WHERE "
                        "o.sum IS DISTINCT FROM i.a + i.b OR o.twice IS DISTINCT FROM 2 * i.k OR "
                        "o.\"short text\" IS DISTINCT FROM (CASE WHEN i.k IS NOT NULL THEN 'short' END) OR "
                        "o.\"long\"\"text\" NOT IN ('other text of some length', 'a text longer than twelve bytes')"),
        "0");
    EXPECT_STR(fixture_sql(&f, "SELECT count(*) > 0 FROM '$/out/part-0.parquet' WHERE \"long\"\"text\" LIKE 'other%'"),
               "true");
}

TEST(map_splits_into_hive_directories)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    adder a = {0};
    myr_table_map map = adder_map(&f, &a, numbers_file(&f), FIXTURE_NAMES("k", "name", "id"), 3);
    map.partition_by = FIXTURE_NAMES("k", "name");
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT_INT(rows, 100000);
    EXPECT(myr_io_exists(fixture_path(&f, "out/k=0/name=n1/part-0.parquet")));
    EXPECT(myr_io_exists(fixture_path(&f, "out/k=__HIVE_DEFAULT_PARTITION__/name=n2/part-0.parquet")));
    EXPECT_STR(fixture_sql(&f, "SELECT string_agg(column_name, ',') FROM (DESCRIBE SELECT * FROM "
                               "read_parquet('$/out/k=0/name=n1/part-0.parquet', "
                               "hive_partitioning = false))"),
               "id,sum,twice,short text,long\"text");
    EXPECT_STR(fixture_sql(&f, "SELECT count(*) FROM '$/out/*/*/*.parquet' o JOIN '$/in.parquet' i USING (id) WHERE "
                               "o.k::VARCHAR IS DISTINCT FROM i.k::VARCHAR OR o.name <> i.name"),
               "0");
    EXPECT_STR(fixture_sql(&f, "SELECT count(DISTINCT id) FROM '$/out/*/*/*.parquet'"), "100000");
}

TEST(many_partitions_give_one_file_each)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    fixture_sql(&f, "COPY (SELECT range % 700 AS k, range::DOUBLE AS a, 1 AS b FROM range(60000)) TO '$/in.parquet' "
                    "(ROW_GROUP_SIZE 5000)");
    adder a = {0};
    myr_table_map map = adder_map(&f, &a, fixture_path(&f, "in.parquet"), FIXTURE_NAMES("k"), 1);
    map.partition_by = FIXTURE_NAMES("k");
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT_STR(fixture_sql(&f, "SELECT count(*) FROM glob('$/out/*/*')"), "700");
}

TEST(map_writes_csv_with_a_header)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    adder a = {0};
    const char *input = fixture_file(&f, "in.csv", "k,a,b,note\n1,2,0.5,\"x, \"\"y\"\"\"\n,,1,\n3,4.25,1,z\n");
    myr_table_map map = adder_map(&f, &a, input, FIXTURE_NAMES("k", "note", "a"), 3);
    map.format = MYR_TABLE_CSV;
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    char *text = NULL;
    size_t size = 0;
    EXPECT_RC(myr_file_read(fixture_path(&f, "out/part-0.csv"), 4096, &text, &size, &f.err), OK, &f.err);
    EXPECT_STR(text, "k,note,a,sum,twice,short text,\"long\"\"text\"\n"
                     "1,\"x, \"\"y\"\"\",2.0,2.5,2,short,other text of some length\n"
                     ",,,,,,a text longer than twelve bytes\n"
                     "3,z,4.25,5.25,6,short,a text longer than twelve bytes\n");
    myr_free(text);
}

static myr_rc word_call(void *ctx, void *thread_state, const myr_table_chunk *chunk, myr_err *err)
{
    (void)ctx, (void)thread_state, (void)err;
    for (int64_t r = 0; r < chunk->row_count; r++) {
        double x = chunk->inputs[0].data.f64[r];
        chunk->codes[0][r] = x > 1;
        if (x > 2) chunk->valid[0][r] = 0;
    }
    return MYR_OK;
}

/* Texts that are few are given by their numbers; readers see texts. */
TEST(map_writes_words)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    static const char *const words[] = {"no", "it's more"};
    static const myr_table_output output = {.name = "w", .type = MYR_COL_TEXT, .words = words, .word_count = 2};
    char dir[TESTING_PATH_BYTES + 16];
    snprintf(dir, sizeof dir, "%s/out", f.dir);
    fixture_file(&f, "in.csv", "a\n1\n2\n3\n");
    myr_table_map map = {.input = f.path,
                         .wants = &adder_wants[1],
                         .want_count = 1,
                         .outputs = &output,
                         .output_count = 1,
                         .output_dir = dir,
                         .fn = word_call};
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT_STR(
        fixture_sql(&f, "SELECT string_agg(coalesce(w, '-') || ' ' || typeof(w), ', ') FROM '$/out/part-0.parquet'"),
        "no VARCHAR, it's more VARCHAR, - VARCHAR");
    EXPECT_RC(myr_io_remove_tree(dir, &f.err), OK, &f.err);
    map.format = MYR_TABLE_CSV;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT_STR(fixture_sql(&f, "SELECT string_agg(coalesce(w, '-'), ', ') FROM '$/out/part-0.csv'"),
               "no, it's more, -");
}

/* No row: one file with the schema when the output is one file, an empty directory when it is split. */
TEST(map_of_nothing_has_the_schema)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    adder a = {0};
    fixture_sql(&f, "COPY (SELECT 1 AS k, 2.0::DOUBLE AS a, 1 AS b WHERE false) TO '$/in.parquet'");
    myr_table_map map = adder_map(&f, &a, fixture_path(&f, "in.parquet"), FIXTURE_NAMES("k"), 1);
    int64_t rows = -1;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT_INT(rows, 0);
    EXPECT_STR(
        fixture_sql(&f, "SELECT string_agg(column_name, ',') FROM (DESCRIBE SELECT * FROM '$/out/part-0.parquet')"),
        "k,sum,twice,short text,long\"text");
    char split[TESTING_PATH_BYTES + 16];
    snprintf(split, sizeof split, "%s/split", f.dir);
    map.output_dir = split;
    map.partition_by = FIXTURE_NAMES("k");
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT(rows == 0 && myr_io_is_dir(split));
    EXPECT_STR(fixture_sql(&f, "SELECT count(*) FROM glob('$/split/**')"), "0");
}

TEST(map_passes_the_functions_error_on)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    adder a = {.fail_after = 30000};
    myr_table_map map = adder_map(&f, &a, numbers_file(&f), FIXTURE_NAMES("k"), 1);
    int64_t rows = -1;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), TIMEOUT, &f.err);
    EXPECT_HAS(f.err.message, "the adder is tired");
    EXPECT(rows == -1 && atomic_load(&a.states_made) == atomic_load(&a.states_freed));
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), EXISTS, &f.err);
    EXPECT_RC(myr_io_remove_tree(map.output_dir, &f.err), OK, &f.err);
    a = (adder){.no_state = true};
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), NO_MEMORY, &f.err);
    EXPECT_RC(myr_io_remove_tree(map.output_dir, &f.err), OK, &f.err);
    a = (adder){.bad_text = true};
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "'short text' is not UTF-8");
    EXPECT_RC(myr_io_remove_tree(map.output_dir, &f.err), OK, &f.err);
    a = (adder){0};
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err); /* the engine lives on */
}

TEST(map_names_what_is_missing_or_wrong)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    adder a = {0};
    const char *input = fixture_file(&f, "in.csv", "k,a,c\n1,2,3\n");
    myr_table_map map = adder_map(&f, &a, input, FIXTURE_NAMES("kk"), 1);
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "no column 'b'");
    fixture_file(&f, "in.csv", "k,a,b\n1,2,3\n");
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "no column 'kk'");
    EXPECT(!myr_io_exists(map.output_dir));
    /* kept and wanted */
    fixture_file(&f, "in.csv", "k,a,b\n1,2,3\n1,x,3\n");
    map.keep = FIXTURE_NAMES("a");
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "in.csv:3: column 'a': 'x' is not a number");
    fixture_file(&f, "file", "");
    char below[TESTING_PATH_BYTES + 32];
    snprintf(below, sizeof below, "%s/file/out", f.dir);
    fixture_file(&f, "in.csv", "k,a,b\n1,2,3\n");
    map = adder_map(&f, &a, input, FIXTURE_NAMES("a"), 1);
    map.output_dir = below;
    EXPECT(myr_table_map_run(f.engine, &map, &rows, &f.err) != MYR_OK);
}

/* ---- many inputs ---- */

#define WIDE_COLUMNS 1500

static myr_rc wide_sum(void *ctx, void *state, const myr_table_chunk *chunk, myr_err *err)
{
    (void)state;
    (void)err;
    for (int64_t r = 0; r < chunk->row_count; r++) {
        chunk->f64[0][r] = 0;
        for (int i = 0; i < *(int *)ctx; i++)
            chunk->f64[0][r] += chunk->inputs[i].data.f64[r];
    }
    return MYR_OK;
}

TEST(map_takes_many_columns)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(myr_buf) text = {0};
    static char names[WIDE_COLUMNS][16];
    static myr_table_want wants[WIDE_COLUMNS];
    for (int i = 0; i < WIDE_COLUMNS; i++) {
        snprintf(names[i], sizeof names[i], "x%d", i);
        wants[i].name = names[i];
        myr_buf_printf(&text, "%s%s", i > 0 ? "," : "", names[i]);
    }
    for (int i = 0; i < WIDE_COLUMNS; i++)
        myr_buf_printf(&text, "%s%d", i > 0 ? "," : "\n", i);
    myr_buf_putc(&text, '\n');
    int count = WIDE_COLUMNS;
    char output[TESTING_PATH_BYTES + 8];
    snprintf(output, sizeof output, "%s/out", f.dir);
    myr_table_output sum = {.name = "sum", .type = MYR_COL_DOUBLE};
    myr_table_map map = {.input = fixture_bytes(&f, "in.csv", text.data, text.size),
                         .wants = wants,
                         .want_count = WIDE_COLUMNS,
                         .outputs = &sum,
                         .output_count = 1,
                         .output_dir = output,
                         .fn = wide_sum,
                         .ctx = &count};
    int64_t rows = 0;
    EXPECT_RC(myr_table_map_run(f.engine, &map, &rows, &f.err), OK, &f.err);
    EXPECT_STR(fixture_sql(&f, "SELECT sum FROM '$/out/part-0.parquet'"), "1124250.0");
}

/* ---- write ---- */

static const double write_f64[] = {1.5, NAN, -0.0};
static const int64_t write_i64[] = {INT64_MIN, 0, INT64_MAX};
static const uint8_t write_valid[] = {1, 0, 1};

TEST(write_and_read_back)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const myr_str texts[] = {{"a,\"b\"", 5}, {NULL, 0}, {"", 0}};
    const myr_col cols[] = {{"d", MYR_COL_DOUBLE, NULL, {.f64 = write_f64}},
                            {"i \"x\"", MYR_COL_INT64, write_valid, {.i64 = write_i64}},
                            {"t", MYR_COL_TEXT, NULL, {.text = texts}}};
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "a.parquet"), cols, 3, 3, &f.err), OK, &f.err);
    EXPECT_STR(fixture_sql(&f, "SELECT string_agg(columns::VARCHAR, ';') FROM (SELECT t.d || '|' || coalesce(\"i "
                               "\"\"x\"\"\"::VARCHAR, '-') "
                               "|| '|' || coalesce(t, '-') AS columns FROM '$/a.parquet' t)"),
               "1.5|-9223372036854775808|a,\"b\";nan|-|-;-0.0|9223372036854775807|");
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "a.csv"), cols, 3, 3, &f.err), OK, &f.err);
    EXPECT(!myr_io_exists(fixture_path(&f, "a.csv.tmp")));
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "b.parquet"), cols, 3, 0, &f.err), OK, &f.err);
    EXPECT_STR(fixture_sql(&f, "SELECT count(*) FROM '$/b.parquet'"), "0");
}

TEST(write_refuses_and_leaves_nothing)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const myr_col doubles = {"d", MYR_COL_DOUBLE, NULL, {.f64 = write_f64}};
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "a.xls"), &doubles, 1, 3, &f.err), BAD_USAGE, &f.err);
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "none/a.csv"), &doubles, 1, 3, &f.err), IO, &f.err);
    const myr_str latin[] = {{"caf\xe9", 4}};
    const myr_col texts = {"t", MYR_COL_TEXT, NULL, {.text = latin}};
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "a.csv"), &texts, 1, 1, &f.err), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "row 1 of column 't'");
    char **names = NULL;
    size_t count = 0;
    EXPECT_RC(myr_io_list(f.dir, &names, &count, &f.err), OK, &f.err);
    EXPECT_INT(count, 0);
    myr_names_free(names, count);
}

TEST(write_larger_than_a_chunk)
{
    MYR_AUTO(fixture) f = fixture_new(2);
    enum { ROWS = 50001 };
    static int64_t values[ROWS];
    for (int i = 0; i < ROWS; i++)
        values[i] = i;
    const myr_col col = {"i", MYR_COL_INT64, NULL, {.i64 = values}};
    EXPECT_RC(myr_table_write(f.engine, fixture_path(&f, "a.parquet"), &col, 1, ROWS, &f.err), OK, &f.err);
    EXPECT_STR(fixture_sql(
                   &f, "SELECT count(*) FROM (SELECT i, row_number() OVER () - 1 AS n FROM '$/a.parquet') WHERE i = n"),
               "50001");
}

TEST(write_is_atomic_when_a_file_call_fails)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const myr_col doubles = {"d", MYR_COL_DOUBLE, NULL, {.f64 = write_f64}};
    FAIL_EACH_IO(nth)
    {
        myr_rc rc = myr_table_write(f.engine, fixture_path(&f, "a.csv"), &doubles, 1, 3, &f.err);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_IO);
        EXPECT(!myr_io_exists(fixture_path(&f, "a.csv.tmp")));
        MYR_IGNORE(myr_io_unlink(fixture_path(&f, "a.csv"), NULL));
    }
}

TEST(map_survives_each_failed_allocation)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    adder a = {0};
    const char *input = fixture_file(&f, "in.csv", "k,a,b\n1,2,3\n");
    FAIL_EACH_ALLOC (nth) {
        myr_table_map map = adder_map(&f, &a, input, FIXTURE_NAMES("k"), 1);
        int64_t rows = 0;
        myr_rc rc = myr_table_map_run(f.engine, &map, &rows, &f.err);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        EXPECT_INT(atomic_load(&a.states_made), atomic_load(&a.states_freed));
        EXPECT_RC(myr_io_remove_tree(map.output_dir, &f.err), OK, &f.err);
        if (rc == MYR_OK) break;
    }
}

RUN()
