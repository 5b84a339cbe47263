/*
 * `_myriad.json`: what makes a directory an output of ours. It names the run and every file with its size. Readers of
 * Hive directories pass over names that begin with an underscore.
 */
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "batch/internal.h"

typedef struct manifest_list {
    myr_buf json;
    size_t root_bytes; /* of the path in front of each name, with its slash */
    int64_t files, bytes;
} manifest_list;
static void manifest_list_drop(manifest_list *list)
{
    myr_buf_fini(&list->json);
}

static myr_rc manifest_add(manifest_list *list, const char *path, myr_err *err)
{
    int64_t bytes = 0;
    MYR_TRY(myr_io_size(path, &bytes, err));
    if (list->files >= BATCH_FILES_MAX)
        MYR_FAIL(err, TOO_LARGE, "the output has more than %d files: choose another --by", BATCH_FILES_MAX);
    myr_buf_puts(&list->json, list->files > 0 ? ",\n    {\"path\": " : "\n    {\"path\": ");
    myr_buf_json_string(&list->json, myr_str_of(path + list->root_bytes));
    myr_buf_printf(&list->json, ", \"bytes\": %lld}", (long long)bytes);
    list->files++;
    list->bytes += bytes;
    return MYR_OK;
}

/* Calls itself for directories; depth bounds it. */
static myr_rc manifest_walk(manifest_list *list, const char *dir, int depth, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, BATCH_DEPTH_MAX);
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(path, sizeof path, dir, names.items[i], err));
        MYR_TRY(myr_io_is_dir(path) ? manifest_walk(list, path, depth + 1, err) : manifest_add(list, path, err));
    }
    return MYR_OK;
}

myr_rc myr_batch_manifest_write(const char *dir, batch_manifest *manifest, myr_err *err)
{
    MYR_AUTO(manifest_list) list = {.root_bytes = strlen(dir) + 1};
    char now[MYR_TIME_TEXT_BYTES], path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, dir, BATCH_MANIFEST_NAME, err));
    myr_buf_printf(&list.json,
                   "{\n  \"myriad\": \"%s\",\n  \"kind\": \"batch-output\",\n  \"run\": %lld,\n  \"fleet\": ",
                   MYR_VERSION, (long long)manifest->run_id);
    myr_buf_json_string(&list.json, myr_str_of(manifest->fleet));
    myr_buf_puts(&list.json, ",\n  \"fingerprint\": ");
    myr_buf_json_string(&list.json, myr_str_of(manifest->fingerprint));
    myr_buf_printf(&list.json, ",\n  \"release\": %lld,\n  \"rows\": %lld,\n  \"run_rows\": %lld",
                   (long long)manifest->release, (long long)manifest->rows, (long long)manifest->run_rows);
    myr_buf_printf(&list.json, ",\n  \"written\": \"%s\",\n  \"files\": [", myr_format_time(myr_clock_unix_ms(), now));
    MYR_TRY(manifest_walk(&list, dir, 0, err));
    myr_buf_puts(&list.json, list.files > 0 ? "\n  ]\n}\n" : "]\n}\n");
    MYR_TRY(myr_buf_check(&list.json, err));
    MYR_TRY(myr_file_write(path, list.json.data, list.json.size, err));
    manifest->files = list.files;
    manifest->bytes = list.bytes;
    return MYR_OK;
}

typedef yyjson_doc *manifest_doc;
static void manifest_doc_drop(manifest_doc *doc)
{
    yyjson_doc_free(*doc);
}

/* NULL: there is none that can be read. */
static yyjson_doc *manifest_load(const char *dir)
{
    char path[MYR_PATH_BYTES_MAX];
    char *text = NULL;
    size_t size = 0;
    if (myr_path_join(path, sizeof path, dir, BATCH_MANIFEST_NAME, NULL) != MYR_OK) return NULL;
    if (!myr_io_exists(path) || myr_file_read(path, MYR_FILE_BYTES_MAX, &text, &size, NULL) != MYR_OK) return NULL;
    yyjson_doc *doc = yyjson_read(text, size, 0);
    myr_free(text);
    return doc;
}

/* Whether it is one of ours; then *out is what it says, but for its files. */
static bool manifest_take(yyjson_val *root, batch_manifest *out)
{
    const char *kind = yyjson_get_str(yyjson_obj_get(root, "kind"));
    const char *fingerprint = yyjson_get_str(yyjson_obj_get(root, "fingerprint"));
    yyjson_val *run = yyjson_obj_get(root, "run"), *rows = yyjson_obj_get(root, "rows");
    bool is_ours = yyjson_is_str(yyjson_obj_get(root, "myriad")) && kind != NULL && strcmp(kind, "batch-output") == 0 &&
                   yyjson_is_int(run) && yyjson_is_int(rows);
    if (!is_ours) return false;
    *out = (batch_manifest){.run_id = yyjson_get_sint(run),
                            .rows = yyjson_get_sint(rows),
                            .release = yyjson_get_sint(yyjson_obj_get(root, "release"))};
    (void)snprintf(out->fingerprint, sizeof out->fingerprint, "%s", fingerprint != NULL ? fingerprint : "");
    return true;
}

bool myr_batch_manifest_read(const char *dir, batch_manifest *out)
{
    MYR_AUTO(manifest_doc) doc = manifest_load(dir);
    return manifest_take(yyjson_doc_get_root(doc), out);
}

/* A name that leads out of the output would be another's file. */
static bool manifest_is_inside(const char *name)
{
    myr_str rest = myr_str_of(name), part;
    if (name == NULL || name[0] == '\0') return false;
    while (myr_str_split(&rest, '/', &part)) {
        if (part.size == 0 || myr_str_is(part, ".") || myr_str_is(part, "..")) return false;
    }
    return true;
}

static bool manifest_files(yyjson_val *list, myr_arena *arena, batch_manifest *out, batch_manifest_file **out_files)
{
    size_t i, max;
    yyjson_val *item;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > BATCH_FILES_MAX) return false;
    batch_manifest_file *files = myr_arena_calloc(arena, yyjson_arr_size(list) + 1, sizeof *files);
    if (files == NULL) return false;
    yyjson_arr_foreach(list, i, max, item)
    {
        const char *name = yyjson_get_str(yyjson_obj_get(item, "path"));
        if (!manifest_is_inside(name)) return false;
        files[i] = (batch_manifest_file){.path = myr_arena_strndup(arena, name, strlen(name)),
                                         .bytes = yyjson_get_sint(yyjson_obj_get(item, "bytes"))};
        if (files[i].path == NULL) return false;
        out->files++;
        out->bytes += files[i].bytes;
    }
    *out_files = files;
    return true;
}

bool myr_batch_manifest_parse(const char *text, size_t size, myr_arena *arena, batch_manifest *out,
                              batch_manifest_file **out_files)
{
    MYR_AUTO(manifest_doc) doc = yyjson_read(text, size, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    return manifest_take(root, out) && manifest_files(yyjson_obj_get(root, "files"), arena, out, out_files);
}

bool myr_batch_manifest_holds(const char *dir, int64_t *out_files, int64_t *out_bytes)
{
    MYR_AUTO(manifest_doc) doc = manifest_load(dir);
    yyjson_val *list = yyjson_obj_get(yyjson_doc_get_root(doc), "files"), *item;
    size_t i, max;
    *out_files = *out_bytes = 0;
    if (!yyjson_is_arr(list)) return false;
    yyjson_arr_foreach(list, i, max, item)
    {
        char path[MYR_PATH_BYTES_MAX];
        const char *name = yyjson_get_str(yyjson_obj_get(item, "path"));
        int64_t bytes = 0;
        if (name == NULL || myr_path_join(path, sizeof path, dir, name, NULL) != MYR_OK || !myr_io_exists(path) ||
            myr_io_size(path, &bytes, NULL) != MYR_OK || bytes != yyjson_get_sint(yyjson_obj_get(item, "bytes")))
            return false;
        (*out_files)++;
        *out_bytes += bytes;
    }
    return true;
}

myr_rc myr_batch_manifest_remove(const char *dir, myr_err *err)
{
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        if (!myr_str_starts_with(myr_str_of(names.items[i]), BATCH_MANIFEST_NAME)) continue;
        MYR_TRY(myr_path_join(path, sizeof path, dir, names.items[i], err));
        MYR_TRY(myr_io_unlink(path, err));
    }
    return MYR_OK;
}
