/*
 * Which files an input is, and what their paths say. A directory `store=7/` gives a column only where the files do not
 * have it: what a file says of its rows counts more than where somebody put it.
 */
#include <string.h>

#include "table/internal.h"

/* ---- the list ---- */

static myr_rc files_add(duckdb_result *result, myr_arena *arena, const char ***files, size_t *count, myr_err *err)
{
    for (size_t room = 0;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
        idx_t rows = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (rows == 0) return MYR_OK;
        if (*count + rows > room) {
            size_t more = room * 2 > *count + rows ? room * 2 : *count + rows;
            const char **items = myr_arena_realloc(arena, *files, room * sizeof *items, more * sizeof *items);
            if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", more);
            *files = items;
            room = more;
        }
        duckdb_string_t *cells = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        for (idx_t i = 0; i < rows; i++) {
            myr_str name = myr_table_text(&cells[i]);
            (*files)[*count] = myr_arena_strndup(arena, name.data, name.size);
            if ((*files)[*count] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of files");
            (*count)++;
        }
    }
}

myr_rc myr_table_files(myr_table_engine *engine, const char *input, myr_arena *arena, const char *const **out,
                       size_t *out_count, myr_err *err)
{
    const char **files = NULL;
    size_t count = 0;
    if (myr_io_exists(input)) { /* `we[i]rd.csv` is a name before it is a pattern */
        files = myr_arena_calloc(arena, 1, sizeof *files);
        if (files == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of files");
        files[count++] = input;
    } else {
        MYR_AUTO(myr_buf) sql = {0};
        myr_buf_puts(&sql, "SELECT file FROM glob(");
        myr_table_sql_literal(&sql, input);
        myr_buf_putc(&sql, ')');
        MYR_TRY(myr_buf_check(&sql, err));
        MYR_AUTO(table_result) result = {0};
        MYR_TRY(myr_table_query(engine, sql.data, input, &result, err));
        MYR_TRY(files_add(&result, arena, &files, &count, err));
    }
    if (count == 0) MYR_FAIL(err, NOT_FOUND, "%s: no such file, or nothing matches", input);
    *out = files;
    *out_count = count;
    return MYR_OK;
}

/* ---- paths ---- */

static int files_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* Whether `encoded` is `name` once its %XX are bytes again. */
static bool files_name_is(myr_str encoded, const char *name)
{
    size_t pos = 0;
    for (; pos < encoded.size && *name != '\0'; name++) {
        char byte = encoded.data[pos++];
        if (byte == '%' && pos + 2 <= encoded.size && files_hex(encoded.data[pos]) >= 0 &&
            files_hex(encoded.data[pos + 1]) >= 0) {
            byte = (char)(files_hex(encoded.data[pos]) * 16 + files_hex(encoded.data[pos + 1]));
            pos += 2;
        }
        if (byte != *name) return false;
    }
    return pos == encoded.size && *name == '\0';
}

bool myr_table_path_find(const char *path, const char *name, myr_str *out_name, myr_str *out_value)
{
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(path, '/')) {
        const char *equals = memchr(path, '=', (size_t)(slash - path));
        if (equals != NULL && files_name_is(myr_str_make(path, (size_t)(equals - path)), name)) {
            *out_name = myr_str_make(path, (size_t)(equals - path));
            *out_value = myr_str_make(equals + 1, (size_t)(slash - equals - 1));
            return true;
        }
        path = slash + 1;
    }
    return false;
}

bool myr_table_path_has(const char *path, const char *name)
{
    myr_str unused_name, unused_value;
    return myr_table_path_find(path, name, &unused_name, &unused_value);
}
