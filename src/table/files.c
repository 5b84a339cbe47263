/*
 * Which files an input is, and what their paths say. A directory `store=7/` gives a column only where the files do not
 * have it: what a file says of its rows counts more than where somebody put it.
 */
#include <string.h>

#include "table/internal.h"

/* ---- the list ---- */

typedef struct files_list {
    myr_arena *arena;
    const char **items;
    size_t count, room;
} files_list;

static myr_rc files_add(files_list *list, myr_str name, myr_err *err)
{
    if (list->count == MYR_TABLE_FILES_MAX)
        MYR_FAIL(err, TOO_LARGE, "more than %d files in one input: name fewer", MYR_TABLE_FILES_MAX);
    if (list->count == list->room) {
        size_t room = list->room > 0 ? 2 * list->room : 64;
        const char **items =
            myr_arena_realloc(list->arena, list->items, list->room * sizeof *items, room * sizeof *items);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", room);
        list->items = items;
        list->room = room;
    }
    list->items[list->count] = myr_arena_strndup(list->arena, name.data, name.size);
    if (list->items[list->count] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of files");
    list->count++;
    return MYR_OK;
}

static myr_rc files_glob(myr_table_engine *engine, const char *input, files_list *list, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT file FROM glob(");
    myr_table_sql_literal(&sql, input);
    myr_buf_putc(&sql, ')');
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, input, &result, err));
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
        idx_t rows = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (rows == 0) return MYR_OK;
        duckdb_string_t *cells = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        for (idx_t i = 0; i < rows; i++)
            MYR_TRY(files_add(list, myr_table_text(&cells[i]), err));
    }
}

/* Names that begin with '_' or '.' are left by those who write tables. Calls itself for directories; depth bounds it.
 */
static myr_rc files_walk(const char *dir, int depth, files_list *list, myr_err *err)
{
    if (depth > MYR_IO_TREE_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, MYR_IO_TREE_DEPTH_MAX);
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        table_kind unused;
        if (names.items[i][0] == '.' || names.items[i][0] == '_') continue;
        MYR_TRY(myr_path_join(path, sizeof path, dir, names.items[i], err));
        if (myr_io_is_dir(path)) {
            MYR_TRY(files_walk(path, depth + 1, list, err));
            continue;
        }
        MYR_TRY(myr_table_kind(path, &unused, err));
        MYR_TRY(files_add(list, myr_str_of(path), err));
    }
    return MYR_OK;
}

myr_rc myr_table_files(myr_table_engine *engine, const char *input, myr_arena *arena, const char *const **out,
                       size_t *out_count, myr_err *err)
{
    files_list list = {.arena = arena};
    bool is_dir = myr_io_is_dir(input);
    if (is_dir)
        MYR_TRY(files_walk(input, 0, &list, err));
    else if (myr_io_exists(input)) /* `we[i]rd.csv` is a name before it is a pattern */
        MYR_TRY(files_add(&list, myr_str_of(input), err));
    else
        MYR_TRY(files_glob(engine, input, &list, err));
    if (list.count == 0 && is_dir) MYR_FAIL(err, NOT_FOUND, "%s: the directory has no table in it", input);
    if (list.count == 0) MYR_FAIL(err, NOT_FOUND, "%s: no such file, or nothing matches", input);
    *out = list.items;
    *out_count = list.count;
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

bool myr_table_path_get(const char *path, const char *name, myr_buf *out)
{
    myr_str unused, value;
    if (!myr_table_path_find(path, name, &unused, &value)) return false;
    if (myr_str_is(value, TABLE_HIVE_NULL)) return true;
    for (size_t i = 0; i < value.size; i++) {
        bool is_coded = value.data[i] == '%' && i + 2 < value.size && files_hex(value.data[i + 1]) >= 0 &&
                        files_hex(value.data[i + 2]) >= 0;
        if (!is_coded) {
            myr_buf_putc(out, value.data[i]);
            continue;
        }
        myr_buf_putc(out, (char)(files_hex(value.data[i + 1]) * 16 + files_hex(value.data[i + 2])));
        i += 2;
    }
    return true;
}
