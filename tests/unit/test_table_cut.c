/* Files cut into parts and halves: each row is in one part, whole; lines are those of the file. */
#include "table_fixture.h"

static size_t cut_to(fixture *f, const char *file, myr_table_size size, myr_table_part **out)
{
    size_t count = 0;
    EXPECT_RC(myr_table_cut(f->engine, myr_arena_strndup(f->arena, file, strlen(file)), &size, f->arena, out, &count,
                            &f->err),
              OK, &f->err);
    return count;
}

static size_t cut(fixture *f, const char *file, int64_t rows, int64_t bytes, myr_table_part **out)
{
    return cut_to(f, file, (myr_table_size){.rows = rows, .bytes = bytes}, out);
}

static int64_t newlines(const char *text, int64_t end)
{
    int64_t count = 0;
    for (int64_t i = 0; i < end; i++)
        count += text[i] == '\n';
    return count;
}

/* Parts of a text one after the other, each beginning where a row does: `starts` has these places, -1 at its end. */
static void tiles(const char *text, const myr_table_part *parts, size_t count, const int64_t *starts)
{
    int64_t at = starts[0];
    for (size_t i = 0; i < count; i++) {
        bool is_start = false;
        for (const int64_t *start = starts; *start >= 0; start++)
            is_start = is_start || *start == parts[i].begin;
        EXPECT_INT(parts[i].begin, at);
        EXPECT(is_start && parts[i].end > parts[i].begin);
        EXPECT_INT(parts[i].first_line, 1 + newlines(text, parts[i].begin));
        at = parts[i].end;
    }
    EXPECT_INT(at, strlen(text));
}

/* Quotes with newlines and doubled quotes, a quote inside a field, an empty line, no newline at the end. */
static const char hard[] = "a,b\n"
                           "1,\"two\nlines\"\n"
                           "2,\"a \"\"word\"\", and\n\nmore\"\n"
                           "3,5\" wide\n"
                           "\n"
                           "4,\"\"\n"
                           "5,last";
static const int64_t hard_starts[] = {4, 18, 44, 54, 55, 60, -1};

TEST(text_is_cut_between_rows)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    char file[TESTING_PATH_BYTES + 128];
    snprintf(file, sizeof file, "%s", fixture_file(&f, "in.csv", hard));
    for (int64_t bytes = 1; bytes < (int64_t)sizeof hard; bytes++) {
        myr_table_part *parts = NULL;
        size_t count = cut(&f, file, 0, bytes, &parts);
        if (count > 1) tiles(hard, parts, count, hard_starts);
        if (count == 1) EXPECT(parts[0].begin == 0 && parts[0].end == -1);
        for (size_t i = 0; count > 1 && i + 1 < count; i++)
            EXPECT(parts[i].end - parts[i].begin >= bytes); /* a part is as large as was asked, or a row larger */
    }
    myr_table_part *parts = NULL;
    EXPECT_INT(cut(&f, file, 1, 0, &parts), 6); /* the empty line is a part too, without rows */
    EXPECT_INT(cut(&f, file, 2, 0, &parts), 3);
    tiles(hard, parts, 3, hard_starts);
    EXPECT_INT(cut(&f, file, 2, 5, &parts), 5); /* whichever bound comes first */
    EXPECT_INT(cut(&f, file, 0, 0, &parts), 1);
}

/* Rows of a kilobyte up to `bytes` of them; the one over each place in `over` has a text of many lines. */
static void many_rows(myr_buf *text, size_t bytes, size_t over)
{
    myr_buf_puts(text, "k,text\n");
    for (int64_t k = 0; text->size < bytes; k++) {
        bool has_lines = over > 0 && text->size % over > over - 1024;
        myr_buf_printf(text, "%lld,\"", (long long)k);
        for (int i = 0; i < (has_lines ? 800 : 1); i++)
            myr_buf_printf(text, "%0*d%s", has_lines ? 2 : 1000, i, has_lines ? "\n" : "");
        myr_buf_puts(text, "\"\n");
    }
    EXPECT_RC(myr_buf_check(text, NULL), OK, NULL);
}

/* Large parts are looked for on several threads, from newlines: those inside texts mislead nobody. */
TEST(large_parts_are_cut_between_rows)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    const int64_t bytes = 1 << 20;
    for (int k = 0; k < 2; k++) {
        MYR_AUTO(myr_buf) text = {0};
        many_rows(&text, 5 << 20, k == 0 ? 0 : (size_t)bytes);
        char file[TESTING_PATH_BYTES + 128];
        snprintf(file, sizeof file, "%s", fixture_bytes(&f, "in.csv", text.data, text.size));
        myr_table_part *parts = NULL, *rows = NULL;
        size_t count = cut(&f, file, 0, bytes, &parts), row_count = cut(&f, file, 1, 0, &rows), r = 0;
        EXPECT_INT(count, 5);
        for (size_t i = 0; i < count; i++) { /* each ends with the first row that makes it large enough */
            EXPECT_INT(parts[i].begin, rows[r].begin);
            EXPECT_INT(parts[i].first_line, rows[r].first_line);
            while (r < row_count && rows[r].end - parts[i].begin < bytes)
                r++;
            EXPECT_INT(parts[i].end, r < row_count ? rows[r++].end : (int64_t)text.size);
        }
    }
}

TEST(keys_of_a_large_file_are_looked_through)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    static const char *const none[] = {NULL};
    static const char *const last[] = {"7,\"\"\n", "7.0,\"\"\n", "x7,\"\"\n"};
    const myr_table_want want = {.name = "k", .as_key = true, .as_int64 = true};
    for (int k = 0; k < 6; k++) { /* texts of many lines lie where threads begin, or not */
        MYR_AUTO(myr_buf) text = {0};
        myr_table_data *data = NULL;
        many_rows(&text, 17 << 20, k < 3 ? 0 : 8 << 20);
        myr_buf_puts(&text, last[k % 3]);
        EXPECT_RC(
            myr_table_load(f.engine, fixture_bytes(&f, "in.csv", text.data, text.size), &want, 1, none, &data, &f.err),
            OK, &f.err);
        const myr_col *col = &data->cols[0];
        int64_t row = data->row_count - 1;
        EXPECT_INT(col->type, k % 3 == 2 ? MYR_COL_TEXT : MYR_COL_INT64);
        if (col->type == MYR_COL_INT64) EXPECT(col->data.i64[0] == 0 && col->data.i64[row] == 7);
        if (col->type == MYR_COL_TEXT) EXPECT(myr_str_is(col->data.text[row], "x7"));
        myr_table_data_free(data);
    }
}

TEST(line_ends_headers_and_forms)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    myr_table_part *parts = NULL;
    EXPECT_INT(cut(&f, fixture_file(&f, "crlf.csv", "a,b\r\n1,2\r\n3,4\r\n"), 1, 0, &parts), 2);
    EXPECT(parts[0].begin == 5 && parts[1].begin == 10 && parts[1].first_line == 3);
    EXPECT_INT(cut(&f, fixture_file(&f, "bom.csv", "\xef\xbb\xbf\"a\nb\",c\n1,2\n3,4\n"), 1, 0, &parts), 2);
    EXPECT(parts[0].begin == 11 && parts[0].first_line == 3); /* the header has two lines */
    EXPECT_INT(cut(&f, fixture_file(&f, "head.csv", "a,b\n"), 1, 0, &parts), 1);
    EXPECT_INT(parts[0].end, -1);
    EXPECT_INT(cut(&f, fixture_file(&f, "open.csv", "a,b\n1,\"never\nends\n2,3\n"), 1, 0, &parts), 1);
    EXPECT_INT(cut(&f, fixture_file(&f, "empty.csv", ""), 1, 0, &parts), 1);
    EXPECT_INT(cut(&f, fixture_file(&f, "in.jsonl", "{\"a\":\"\\\"\"}\n{\"a\":1}\n"), 1, 0, &parts), 2);
    EXPECT_INT(parts[0].begin, 0);
    EXPECT_INT(cut(&f, fixture_file(&f, "in.json", "[{\"a\":1},\n{\"a\":2}]\n"), 1, 0, &parts), 1);
}

TEST(parts_are_bounded)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_puts(&text, "a\n");
    for (int i = 0; i < MYR_TABLE_PARTS_MAX; i++)
        myr_buf_puts(&text, "1\n");
    myr_table_part *parts = NULL;
    EXPECT_INT(cut(&f, fixture_bytes(&f, "most.csv", text.data, text.size), 1, 0, &parts), MYR_TABLE_PARTS_MAX);
    myr_buf_puts(&text, "1\n");
    myr_table_size size = {.rows = 1};
    size_t count = 0;
    EXPECT_RC(myr_table_cut(f.engine, fixture_bytes(&f, "more.csv", text.data, text.size), &size, f.arena, &parts,
                            &count, &f.err),
              TOO_LARGE, &f.err);
    EXPECT_HAS(f.err.message, "more than 1000000 parts");
}

TEST(parquet_is_cut_between_row_groups)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_sql(&f, "COPY (SELECT i FROM range(10000) t(i)) TO '$/in.parquet' (ROW_GROUP_SIZE 2048)");
    myr_table_part *parts = NULL;
    char file[TESTING_PATH_BYTES + 128];
    snprintf(file, sizeof file, "%s", fixture_path(&f, "in.parquet"));
    EXPECT_INT(cut(&f, file, 1, 0, &parts), 5);
    int64_t rows = 0;
    for (int i = 0; i < 5; i++) {
        EXPECT(parts[i].begin == rows && parts[i].end - parts[i].begin == parts[i].row_count);
        rows = parts[i].end;
    }
    EXPECT_INT(rows, 10000);
    EXPECT_INT(cut(&f, file, 3073, 0, &parts), 3); /* two groups are nearer to it than one */
    EXPECT_INT(cut(&f, file, 3072, 0, &parts), 4);
    EXPECT_INT(cut(&f, file, 0, 1, &parts), 5);
    EXPECT_INT(cut(&f, file, 100000, 0, &parts), 1);
    EXPECT(parts[0].begin == 0 && parts[0].end == -1 && parts[0].row_count == 10000);
    fixture_sql(&f,
                "COPY (SELECT i AS File_Row_Number FROM range(10000) t(i)) TO '$/own.parquet' (ROW_GROUP_SIZE 2048)");
    EXPECT_INT(cut(&f, fixture_path(&f, "own.parquet"), 1, 0, &parts), 1); /* its column hides the numbers of rows */
}

TEST(a_large_file_of_parquet_has_larger_parts)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    fixture_sql(&f, "COPY (SELECT i FROM range(102400) t(i)) TO '$/in.parquet' (ROW_GROUP_SIZE 2048)"); /* 50 groups */
    myr_table_part *parts = NULL;
    char file[TESTING_PATH_BYTES + 128];
    snprintf(file, sizeof file, "%s", fixture_path(&f, "in.parquet"));
    EXPECT_INT(cut_to(&f, file, (myr_table_size){.rows = 2048}, &parts), 50);
    EXPECT_INT(cut_to(&f, file, (myr_table_size){.rows = 2048, .rows_max = 2047}, &parts), 50);
    EXPECT_INT(cut_to(&f, file, (myr_table_size){.rows = 2048, .rows_max = 4096}, &parts), 25);
    EXPECT_INT(cut_to(&f, file, (myr_table_size){.rows = 2048, .rows_max = 102400}, &parts),
               9); /* 12,800: six groups */
    EXPECT_INT(parts[0].row_count, 6 * 2048);
    EXPECT_INT(cut_to(&f, file, (myr_table_size){.rows = 20480, .rows_max = 102400}, &parts), 5);
    EXPECT_INT(cut_to(&f, file, (myr_table_size){.rows = 2048, .bytes = 1, .rows_max = 102400}, &parts), 50);
}

/* ---- halves ---- */

/* Halve until it cannot be; leaves are counted, and must be one after the other. */
static void leaves(fixture *f, const myr_table_part *part, int64_t *at, int *count)
{
    myr_table_part halves[2];
    bool can = true;
    EXPECT_RC(myr_table_halve(f->engine, part, halves, &can, &f->err), OK, &f->err);
    if (!can) {
        if (*at >= 0) EXPECT_INT(part->begin, *at);
        *at = part->end;
        (*count)++;
        return;
    }
    EXPECT(halves[0].end == halves[1].begin && halves[0].end > halves[0].begin && halves[1].end > halves[1].begin);
    if (part->end >= 0) EXPECT(halves[0].begin == part->begin && halves[1].end == part->end);
    leaves(f, &halves[0], at, count);
    leaves(f, &halves[1], at, count);
}

TEST(halves_of_halves_are_single_rows)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    int64_t at = -1;
    int count = 0;
    myr_table_part part = {.file = fixture_file(&f, "in.csv", hard), .end = -1, .first_line = 1, .row_count = -1};
    leaves(&f, &part, &at, &count);
    EXPECT_INT(count, 6);
    EXPECT_INT(at, strlen(hard));
    myr_table_part halves[2];
    bool can = false;
    EXPECT_RC(myr_table_halve(f.engine, &part, halves, &can, &f.err), OK, &f.err);
    EXPECT_INT(halves[1].first_line, 1 + newlines(hard, halves[1].begin));
    fixture_sql(&f, "COPY (SELECT i FROM range(37) t(i)) TO '$/in.parquet'");
    part = (myr_table_part){.file = fixture_path(&f, "in.parquet"), .end = -1, .row_count = 37};
    at = -1, count = 0;
    leaves(&f, &part, &at, &count);
    EXPECT(count == 37 && at == 37);
}

TEST(what_cannot_be_halved)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    myr_table_part halves[2], part = {.file = fixture_file(&f, "one.csv", "a\n1\n"), .end = -1, .first_line = 1};
    bool can = true;
    EXPECT_RC(myr_table_halve(f.engine, &part, halves, &can, &f.err), OK, &f.err);
    EXPECT(!can);
    part.file = fixture_file(&f, "in.json", "[{\"a\":1},\n{\"a\":2}]\n");
    EXPECT_RC(myr_table_halve(f.engine, &part, halves, &can, &f.err), OK, &f.err);
    EXPECT(!can);
    part = (myr_table_part){.file = fixture_file(&f, "cut.csv", "a\n1\n"), .begin = 2, .end = 400, .first_line = 2};
    EXPECT_RC(myr_table_halve(f.engine, &part, halves, &can, &f.err), OK, &f.err);
    EXPECT(!can); /* it is shorter than it was */
    fixture_sql(&f, "COPY (SELECT i AS file_row_number FROM range(37) t(i)) TO '$/own.parquet'");
    part = (myr_table_part){.file = fixture_path(&f, "own.parquet"), .end = -1};
    EXPECT_RC(myr_table_halve(f.engine, &part, halves, &can, &f.err), OK, &f.err);
    EXPECT(!can);
    part.file = "/nowhere/in.csv";
    EXPECT_RC(myr_table_halve(f.engine, &part, halves, &can, &f.err), NOT_FOUND, &f.err);
}

/* ---- lines ---- */

typedef myr_table_lines *cut_lines;
static void cut_lines_drop(cut_lines *lines)
{
    myr_table_lines_close(*lines);
}

TEST(rows_stand_on_their_lines)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    static const int64_t wanted[] = {2, 4, 7, 9, 10, 0};
    myr_table_part part = {.file = fixture_file(&f, "in.csv", hard), .end = -1, .first_line = 1};
    MYR_AUTO(cut_lines) lines = NULL;
    EXPECT_RC(myr_table_lines_open(&part, &lines, &f.err), OK, &f.err);
    for (int64_t row = 0; row < 6; row++)
        EXPECT_INT(myr_table_lines_at(lines, row), wanted[row]);
    part = (myr_table_part){.file = f.path, .begin = 44, .end = 60, .first_line = 7};
    MYR_AUTO(cut_lines) inside = NULL;
    EXPECT_RC(myr_table_lines_open(&part, &inside, &f.err), OK, &f.err);
    EXPECT_INT(myr_table_lines_at(inside, 1), 9); /* rows may be left out, and the empty line is none */
    EXPECT_INT(myr_table_lines_at(inside, 2), 0);
    part.file = "in.parquet";
    MYR_AUTO(cut_lines) none = NULL;
    EXPECT_RC(myr_table_lines_open(&part, &none, &f.err), OK, &f.err);
    EXPECT(none == NULL);
}

RUN()
