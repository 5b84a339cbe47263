/* `myriad sql`: a query with fleets in it; its rows on the terminal, as JSON, or in a file. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "query/query.h"

#define SQL_SHOWN_ROWS  40
#define SQL_SHOWN_CHARS 80 /* of a cell; a longer one is cut */

/* ---- rows for people: kept until the widths are known ---- */

typedef struct sql_shown {
    myr_arena *arena;
    int64_t limit;
    size_t count; /* columns */
    const char **names;
    bool *are_numbers;
    uint32_t *widths;
    myr_str **rows;
    int64_t row_count; /* at most limit + 1: one more than is shown */
} sql_shown;

/* Characters, not bytes. */
static uint32_t sql_width(myr_str text)
{
    uint32_t width = 0;
    for (size_t i = 0; i < text.size; i++)
        width += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return width;
}

static myr_str sql_cut(myr_str text)
{
    uint32_t width = 0;
    for (size_t i = 0; i < text.size; i++) {
        bool begins = ((unsigned char)text.data[i] & 0xC0) != 0x80;
        if (begins && ++width > SQL_SHOWN_CHARS) return myr_str_make(text.data, i);
        if ((unsigned char)text.data[i] < ' ')
            return myr_str_make(text.data, i); /* a line's end would break the table */
    }
    return text;
}

static void sql_widen(sql_shown *shown, size_t i, myr_str text)
{
    uint32_t width = sql_width(text);
    if (width > shown->widths[i]) shown->widths[i] = width;
}

static myr_rc sql_shown_columns(void *ctx, const char *const *names, const bool *are_numbers, size_t count,
                                myr_err *err)
{
    sql_shown *shown = ctx;
    myr_arena *arena = shown->arena;
    shown->count = count;
    shown->names = myr_arena_calloc(arena, count + 1, sizeof *shown->names);
    shown->are_numbers = myr_arena_calloc(arena, count + 1, sizeof *shown->are_numbers);
    shown->widths = myr_arena_calloc(arena, count + 1, sizeof *shown->widths);
    shown->rows = myr_arena_calloc(arena, (size_t)shown->limit + 1, sizeof(myr_str *));
    if (shown->names == NULL || shown->are_numbers == NULL || shown->widths == NULL || shown->rows == NULL)
        MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (size_t i = 0; i < count; i++) {
        shown->names[i] = myr_arena_strndup(arena, names[i], strlen(names[i]));
        if (shown->names[i] == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        shown->are_numbers[i] = are_numbers[i];
        sql_widen(shown, i, sql_cut(myr_str_of(shown->names[i])));
    }
    return MYR_OK;
}

static myr_rc sql_shown_row(void *ctx, const myr_str *cells, myr_err *err)
{
    sql_shown *shown = ctx;
    MYR_ASSERT(shown->row_count <= shown->limit);
    myr_str *row = myr_arena_calloc(shown->arena, shown->count + 1, sizeof *row);
    if (row == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (size_t i = 0; i < shown->count; i++) {
        myr_str cell = cells[i].data != NULL ? sql_cut(cells[i]) : myr_str_of("-");
        const char *copy = myr_arena_strndup(shown->arena, cell.data, cell.size);
        if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        row[i] = myr_str_make(copy, cell.size);
        sql_widen(shown, i, row[i]);
    }
    shown->rows[shown->row_count++] = row;
    return MYR_OK;
}

static void sql_print_cell(const sql_shown *shown, size_t i, myr_str cell)
{
    int blanks = (int)(shown->widths[i] - sql_width(cell));
    bool is_last = i + 1 == shown->count;
    int before = shown->are_numbers[i] ? blanks : 0, after = shown->are_numbers[i] || is_last ? 0 : blanks;
    printf("%s%*s" MYR_STR_FMT "%*s", i > 0 ? "  " : "", before, "", MYR_STR_ARG(cell), after, "");
}

static void sql_print(const sql_shown *shown)
{
    for (size_t i = 0; i < shown->count; i++)
        sql_print_cell(shown, i, sql_cut(myr_str_of(shown->names[i])));
    putchar('\n');
    for (int64_t r = 0; r < shown->row_count && r < shown->limit; r++) {
        for (size_t i = 0; i < shown->count; i++)
            sql_print_cell(shown, i, shown->rows[r][i]);
        putchar('\n');
    }
    if (shown->row_count > shown->limit) printf("… and more: --limit N shows so many, --output FILE writes all\n");
}

/* ---- rows for machines: an array of objects, a line each ---- */

typedef struct sql_json {
    myr_buf *names; /* `"price":`, one behind the other, cut by ends */
    size_t ends[1024];
    size_t count;
    int64_t row_count;
} sql_json;

static myr_rc sql_json_columns(void *ctx, const char *const *names, const bool *are_numbers, size_t count, myr_err *err)
{
    sql_json *json = ctx;
    (void)are_numbers;
    if (count > MYR_COUNT_OF(json->ends))
        MYR_FAIL(err, TOO_LARGE, "%zu columns are too many for --json: at most %zu; write a file with --output", count,
                 MYR_COUNT_OF(json->ends));
    for (size_t i = 0; i < count; i++) {
        myr_buf_puts(json->names, i > 0 ? "," : "{");
        myr_buf_json_string(json->names, myr_str_of(names[i]));
        myr_buf_putc(json->names, ':');
        json->ends[i] = json->names->size;
    }
    json->count = count;
    return myr_buf_check(json->names, err);
}

static myr_rc sql_json_row(void *ctx, const myr_str *cells, myr_err *err)
{
    (void)err;
    sql_json *json = ctx;
    fputs(json->row_count++ == 0 ? "[" : ",\n", stdout);
    size_t begin = 0;
    for (size_t i = 0; i < json->count; i++) {
        fwrite(json->names->data + begin, 1, json->ends[i] - begin, stdout);
        begin = json->ends[i];
        if (cells[i].data != NULL)
            fwrite(cells[i].data, 1, cells[i].size, stdout);
        else
            fputs("null", stdout);
    }
    fputs("}", stdout);
    return MYR_OK;
}

/* ---- the command ---- */

typedef struct sql_args {
    const char *query, *output;
    int64_t limit, threads, memory_bytes;
} sql_args;

static myr_rc sql_show(myr_query *sql, const sql_args *a, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    sql_shown shown = {.arena = arena, .limit = a->limit > 0 ? a->limit : SQL_SHOWN_ROWS};
    myr_table_rows rows = {.limit = shown.limit + 1, .columns = sql_shown_columns, .row = sql_shown_row, .ctx = &shown};
    MYR_TRY(myr_query_rows(sql, a->query, &rows, err));
    sql_print(&shown);
    return MYR_OK;
}

static myr_rc sql_show_json(myr_query *sql, const sql_args *a, myr_err *err)
{
    MYR_AUTO(myr_buf) names = {0};
    sql_json json = {.names = &names};
    myr_table_rows rows = {
        .as_json = true, .limit = a->limit, .columns = sql_json_columns, .row = sql_json_row, .ctx = &json};
    MYR_TRY(myr_query_rows(sql, a->query, &rows, err));
    puts(json.row_count == 0 ? "[]" : "]");
    return MYR_OK;
}

static myr_rc sql_write(const myr_cli *cli, myr_query *sql, const sql_args *a, myr_err *err)
{
    int64_t rows = 0;
    char text[32];
    MYR_TRY(myr_query_write(sql, a->query, a->output, &rows, err));
    if (!cli->json) {
        printf("%s rows in %s\n", myr_format_count(rows, text, sizeof text), a->output);
        return MYR_OK;
    }
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_printf(&out, "{\"rows\":%lld,\"output\":", (long long)rows);
    myr_buf_json_string(&out, myr_str_of(a->output));
    MYR_TRY(myr_buf_check(&out, err));
    printf("%s}\n", out.data);
    return MYR_OK;
}

static myr_rc sql_run(const myr_cli *cli, const sql_args *a, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_query_ptr) sql = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    MYR_TRY(myr_query_open(workspace, (int)(a->threads > 1024 ? 1024 : a->threads), a->memory_bytes, &sql, err));
    if (a->output != NULL) {
        MYR_TRY(sql_write(cli, sql, a, err));
    } else {
        MYR_TRY(cli->json ? sql_show_json(sql, a, err) : sql_show(sql, a, err));
    }
    const myr_err *trouble = myr_query_trouble(sql);
    if (trouble->rc != MYR_OK) fprintf(stderr, "myriad: some rows have no answer: %s\n", trouble->message);
    return MYR_OK;
}

myr_rc myr_cmd_sql(int argc, char **argv, myr_err *err)
{
    sql_args a = {0};
    const myr_cli_arg args[] = {
        {"QUERY", NULL, MYR_CLI_POSITIONAL, &a.query,
         "one SELECT of DuckDB's SQL, with predict(), score() and score_all()"},
        {"--output", "FILE", MYR_CLI_TEXT, &a.output, "write its rows: .parquet, .csv, .json or .ndjson"},
        {"--limit", "N", MYR_CLI_INT, &a.limit, "show so many rows (default: 40; with --json all)"},
        {"--threads", "N", MYR_CLI_INT, &a.threads, "default: one per processor"},
        {"--memory", "BYTES", MYR_CLI_BYTES, &a.memory_bytes, "the most the table engine may take, such as 512MiB"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("sql", "a query in which fleets predict",
                          "myriad sql \"select store, avg(predict('oj', t)) from 'data/*.parquet' t group by store\"",
                          args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (a.limit < 0 || a.limit > 1000000000) MYR_FAIL(err, BAD_USAGE, "myriad sql: --limit is 1 to 1000000000");
    if (a.output != NULL && a.limit > 0)
        MYR_FAIL(err, BAD_USAGE, "myriad sql: --limit is for rows that are shown: write LIMIT %lld in the query",
                 (long long)a.limit);
    return sql_run(&cli, &a, err);
}
