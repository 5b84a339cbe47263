/* What tests of tables share: an engine, files written by hand or by DuckDB itself, and answers of SQL over what was
 * written. */
#ifndef MYR_TESTS_TABLE_FIXTURE_H
#define MYR_TESTS_TABLE_FIXTURE_H

#include "testing.h"

#include <duckdb.h>
#include <math.h>

#include "table/table.h"

typedef struct fixture {
    myr_table_engine *engine;
    myr_arena *arena;
    char dir[TESTING_PATH_BYTES];
    char path[TESTING_PATH_BYTES + 128]; /* of the last fixture_file or fixture_path */
    myr_err err;
} fixture;

TESTING_UNUSED static void fixture_drop(fixture *f)
{
    myr_table_engine_close(f->engine);
    myr_arena_free(f->arena);
}

TESTING_UNUSED static fixture fixture_new(int threads)
{
    fixture f = {0};
    testing_dir(f.dir);
    EXPECT_RC(myr_table_engine_open(threads, 256 << 20, &f.engine, &f.err), OK, &f.err);
    f.arena = myr_arena_new(0);
    EXPECT(f.arena != NULL);
    return f;
}

TESTING_UNUSED static const char *fixture_path(fixture *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, name);
    return f->path;
}

TESTING_UNUSED static const char *fixture_bytes(fixture *f, const char *name, const void *data, size_t size)
{
    EXPECT_RC(myr_file_write(fixture_path(f, name), data, size, &f->err), OK, &f->err);
    return f->path;
}

TESTING_UNUSED static const char *fixture_file(fixture *f, const char *name, const char *text)
{
    return fixture_bytes(f, name, text, strlen(text));
}

/* Run SQL in a DuckDB of its own (a second reader of what the engine wrote). $ stands for the test's directory. The
 * answer is the first cell as text. */
TESTING_UNUSED static const char *fixture_sql(fixture *f, const char *sql)
{
    MYR_AUTO(myr_buf) text = {0};
    for (const char *at = sql; *at != '\0'; at++) {
        if (*at == '$')
            myr_buf_puts(&text, f->dir);
        else
            myr_buf_putc(&text, *at);
    }
    duckdb_database database;
    duckdb_connection connection;
    duckdb_result result;
    EXPECT(duckdb_open(NULL, &database) == DuckDBSuccess && duckdb_connect(database, &connection) == DuckDBSuccess);
    if (duckdb_query(connection, text.data, &result) != DuckDBSuccess)
        fail_msg("%s: %s", text.data, duckdb_result_error(&result));
    char *cell = duckdb_row_count(&result) > 0 ? duckdb_value_varchar(&result, 0, 0) : NULL;
    const char *answer = cell != NULL ? myr_arena_strndup(f->arena, cell, strlen(cell)) : "NULL";
    duckdb_free(cell);
    duckdb_destroy_result(&result);
    duckdb_disconnect(&connection);
    duckdb_close(&database);
    return answer;
}

/* A want list of plain names; a name that begins with ! is a key. */
TESTING_UNUSED static uint32_t fixture_wants(const char *const *names, myr_table_want *out)
{
    uint32_t count = 0;
    for (; names[count] != NULL; count++) {
        bool is_key = names[count][0] == '!';
        out[count] = (myr_table_want){.name = names[count] + (is_key ? 1 : 0), .as_key = is_key};
    }
    return count;
}
#define FIXTURE_NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

TESTING_UNUSED static myr_rc fixture_load(fixture *f, const char *input, const char *const *names,
                                          const char *const *order_by, myr_table_data **out)
{
    myr_table_want wants[16];
    return myr_table_load(f->engine, input, wants, fixture_wants(names, wants), order_by, out, &f->err);
}

typedef myr_table_data *fixture_data;
TESTING_UNUSED static void fixture_data_drop(fixture_data *data)
{
    myr_table_data_free(*data);
}

#endif
