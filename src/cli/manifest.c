/* Manifest: RFC 4180 rows into items; a cell may be quoted and hold commas, quotes and line breaks. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/manifest.h"

enum { MANIFEST_CELLS_MAX = MYR_PARTITION_COLUMNS_MAX + 1, MANIFEST_CELL_BYTES_MAX = MYR_PATH_BYTES_MAX };

typedef struct manifest_reader {
    myr_arena *arena;
    const char *path;
    const char *at, *end;
    int line; /* of the row that is read */
    int next_line;
} manifest_reader;

typedef struct manifest_row {
    const char *cells[MANIFEST_CELLS_MAX]; /* NUL-terminated, in the arena */
    uint32_t count;
    bool is_blank;
} manifest_row;

/* One cell up to the comma or line end behind it, unquoted. */
static myr_rc manifest_cell(manifest_reader *r, const char **out, myr_err *err)
{
    char cell[MANIFEST_CELL_BYTES_MAX];
    size_t size = 0;
    bool quoted = r->at < r->end && *r->at == '"';
    if (quoted) r->at++;
    for (; r->at < r->end; r->at++) {
        char c = *r->at;
        if (quoted && c == '"') {
            if (r->at + 1 == r->end || r->at[1] != '"') break;
            r->at++; /* "" is one quote */
        } else if (!quoted && (c == ',' || c == '\n' || c == '\r')) {
            break;
        }
        if (c == '\n') r->next_line++;
        if (size == sizeof cell)
            MYR_FAIL(err, TOO_LARGE, "%s:%d: a cell is longer than %zu bytes", r->path, r->line, sizeof cell);
        cell[size++] = c;
    }
    if (quoted && r->at == r->end) MYR_FAIL(err, BAD_INPUT, "%s:%d: a quote is not closed", r->path, r->line);
    if (quoted) r->at++;
    if (r->at < r->end && strchr(",\r\n", *r->at) == NULL) {
        MYR_FAIL(err, BAD_INPUT, "%s:%d: a comma is missing after a quoted cell", r->path, r->line);
    }
    if (memchr(cell, '\0', size) != NULL) MYR_FAIL(err, BAD_INPUT, "%s:%d: a cell holds a NUL", r->path, r->line);
    *out = myr_arena_strndup(r->arena, cell, size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

static myr_rc manifest_row_read(manifest_reader *r, manifest_row *out, myr_err *err)
{
    *out = (manifest_row){0};
    r->line = r->next_line;
    for (;;) {
        if (out->count == MANIFEST_CELLS_MAX) {
            MYR_FAIL(err, BAD_INPUT, "%s:%d: more than %d columns", r->path, r->line, MANIFEST_CELLS_MAX);
        }
        MYR_TRY(manifest_cell(r, &out->cells[out->count++], err));
        if (r->at == r->end || *r->at != ',') break;
        r->at++;
    }
    if (r->at < r->end && *r->at == '\r') r->at++;
    if (r->at < r->end && *r->at == '\n') {
        r->at++;
        r->next_line++;
    }
    out->is_blank = out->count == 1 && out->cells[0][0] == '\0';
    return MYR_OK;
}

/* Which column is `path`; the others are partition columns in their order. */
static myr_rc manifest_header(manifest_reader *r, manifest_row *header, uint32_t *out_path, myr_manifest *out,
                              myr_err *err)
{
    MYR_TRY(manifest_row_read(r, header, err));
    const char **columns = myr_arena_calloc(r->arena, MANIFEST_CELLS_MAX, sizeof *columns);
    if (columns == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    *out_path = UINT32_MAX;
    for (uint32_t i = 0; i < header->count; i++) {
        if (strcmp(header->cells[i], "path") == 0 && *out_path == UINT32_MAX) {
            *out_path = i;
        } else if (!myr_name_is_valid(myr_str_of(header->cells[i]))) {
            MYR_FAIL(err, BAD_INPUT, "%s:1: column %u '%.60s' is not a name: give path and the partition columns",
                     r->path, i + 1, header->cells[i]);
        } else {
            myr_rc rc = myr_registry_check_partition(header->cells[i], err);
            if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s:1: ", r->path);
            columns[out->column_count++] = header->cells[i];
        }
    }
    if (*out_path == UINT32_MAX)
        MYR_FAIL(err, BAD_INPUT, "%s:1: no column 'path': the first line names the columns, path among them", r->path);
    out->columns = columns;
    return MYR_OK;
}

static myr_rc manifest_segment(manifest_reader *r, const manifest_row *header, const manifest_row *row,
                               uint32_t path_idx, const char **out, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    for (uint32_t i = 0; i < row->count; i++) {
        if (i == path_idx || row->cells[i][0] == '\0') continue;
        if (text.size > 0) myr_buf_putc(&text, ',');
        myr_buf_puts(&text, header->cells[i]);
        myr_buf_putc(&text, '=');
        myr_percent_encode(&text, myr_str_of(row->cells[i]), ",=/@");
    }
    MYR_TRY(myr_buf_check(&text, err));
    *out = myr_arena_strndup(r->arena, text.data != NULL ? text.data : "", text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

static myr_rc manifest_item(manifest_reader *r, const manifest_row *header, const manifest_row *row, uint32_t path_idx,
                            myr_fleet_item *out, myr_err *err)
{
    if (row->count != header->count) {
        MYR_FAIL(err, BAD_INPUT, "%s:%d: %u columns where the first line has %u", r->path, r->line, row->count,
                 header->count);
    }
    const char *file = row->cells[path_idx];
    if (file[0] == '\0') MYR_FAIL(err, BAD_INPUT, "%s:%d: the path is empty", r->path, r->line);
    char dir[MYR_PATH_BYTES_MAX], full[MYR_PATH_BYTES_MAX];
    while (file[0] == '.' && file[1] == '/')
        file += 2; /* messages name the shortest way */
    if (file[0] == '\0') MYR_FAIL(err, BAD_INPUT, "%s:%d: the path is a directory", r->path, r->line);
    myr_path_dir(r->path, dir, sizeof dir);
    if (file[0] != '/' && strcmp(dir, ".") != 0) {
        MYR_TRY(myr_path_join(full, sizeof full, dir, file, err));
        file = myr_arena_strndup(r->arena, full, strlen(full));
        if (file == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    }
    *out = (myr_fleet_item){.name = file, .path = file, .baseline = NAN};
    return manifest_segment(r, header, row, path_idx, &out->segment, err);
}

static myr_rc manifest_items(manifest_reader *r, const manifest_row *header, uint32_t path_idx, myr_manifest *out,
                             myr_err *err)
{
    size_t room = 0;
    while (r->at < r->end) {
        manifest_row row;
        MYR_TRY(manifest_row_read(r, &row, err));
        if (row.is_blank) continue;
        if (out->count == MYR_MANIFEST_MODELS_MAX) {
            MYR_FAIL(err, TOO_LARGE, "%s:%d: more than %d models", r->path, r->line, MYR_MANIFEST_MODELS_MAX);
        }
        if (out->count == room) {
            size_t more = room == 0 ? 64 : room * 2;
            out->items = myr_arena_realloc(r->arena, out->items, room * sizeof *out->items, more * sizeof *out->items);
            out->lines = myr_arena_realloc(r->arena, out->lines, room * sizeof *out->lines, more * sizeof *out->lines);
            if (out->items == NULL || out->lines == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
            room = more;
        }
        MYR_TRY(manifest_item(r, header, &row, path_idx, &out->items[out->count], err));
        out->lines[out->count++] = r->line;
    }
    if (out->count == 0)
        MYR_FAIL(err, BAD_INPUT, "%s: no models: a line per model is missing below the first", r->path);
    return MYR_OK;
}

myr_rc myr_manifest_read(myr_arena *arena, const char *path, myr_manifest *out, myr_err *err)
{
    char *text = NULL;
    size_t size_bytes = 0;
    MYR_TRY(myr_file_read(path, MYR_MANIFEST_BYTES_MAX, &text, &size_bytes, err));
    manifest_reader r = {.arena = arena, .path = path, .at = text, .end = text + size_bytes, .next_line = 1};
    if (size_bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) r.at += 3; /* spreadsheets begin with a mark */
    manifest_row header;
    uint32_t path_idx = 0;
    myr_manifest manifest = {0};
    myr_rc rc = manifest_header(&r, &header, &path_idx, &manifest, err);
    if (rc == MYR_OK) rc = manifest_items(&r, &header, path_idx, &manifest, err);
    myr_free(text);
    MYR_TRY(rc);
    *out = manifest;
    return MYR_OK;
}

myr_rc myr_manifest_match(myr_workspace *workspace, const char *fleet, const char *path, myr_arena *arena,
                          myr_manifest *manifest, myr_err *err)
{
    myr_fleet_row row;
    myr_err own = {0};
    myr_rc rc = myr_registry_fleet_get(workspace->registry, arena, fleet, &row, &own);
    if (rc == MYR_NOT_FOUND) return MYR_OK; /* it will be made, with the columns as they stand here */
    if (rc != MYR_OK) {
        if (err != NULL) *err = own;
        return rc;
    }
    if (row.partition_count == 0) return MYR_OK; /* it gets them now */
    for (uint32_t i = 0; i < manifest->column_count; i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < row.partition_count; k++)
            is_known = is_known || strcmp(manifest->columns[i], row.partition_columns[k]) == 0;
        if (is_known) continue;
        MYR_AUTO(myr_buf) list = {0};
        for (uint32_t k = 0; k < row.partition_count; k++)
            myr_buf_printf(&list, "%s%s", k > 0 ? ", " : "", row.partition_columns[k]);
        MYR_TRY(myr_buf_check(&list, err));
        MYR_FAIL(err, BAD_INPUT, "%s:1: column '%.60s' is no partition column of fleet '%.60s': it has %.100s", path,
                 manifest->columns[i], fleet, list.data);
    }
    manifest->columns = NULL;
    manifest->column_count = 0;
    return MYR_OK;
}
