/*
 * Models for a runtime, brought in and looked up: an ONNX file and the external data beside it become artifacts, and
 * one more that names them. What a file names outside its own directory is refused before anybody reads it.
 */
#include "fleet/external.h"

#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "import/import.h"

#define EXTERNAL_PREFIX  "{\"format\":\"myriad-external\",\"version\":1,"
#define EXTERNAL_VERSION 1

static myr_rc external_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "no memory for a model's description");
}

static void external_hash(const void *data, size_t size_bytes, char out_hex[MYR_SHA256_HEX_BYTES])
{
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, data, size_bytes);
    myr_sha256_hex(&sha, out_hex);
}

/* ---- the text: written ---- */

static void external_write(const external_model *model, myr_buf *out)
{
    myr_buf_printf(out, EXTERNAL_PREFIX "\"runtime\":\"%s\",\"features\":[", model->runtime);
    for (uint32_t j = 0; j < model->feature_count; j++) {
        if (j > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(model->features[j]));
    }
    myr_buf_puts(out, "],\"text\":[");
    bool is_first = true;
    for (uint32_t j = 0; j < model->feature_count; j++) {
        if (model->is_text[j] == 0) continue;
        myr_buf_printf(out, "%s%u", is_first ? "" : ",", j);
        is_first = false;
    }
    myr_buf_printf(out, "],\"outputs\":%u,\"files\":[", model->output_count);
    for (uint32_t i = 0; i < model->file_count; i++) {
        myr_buf_puts(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        myr_buf_json_string(out, myr_str_of(model->files[i].name));
        myr_buf_printf(out, ",\"sha256\":\"%s\",\"bytes\":%lld}", model->files[i].hex,
                       (long long)model->files[i].size_bytes);
    }
    myr_buf_putc(out, ']');
    if (model->wants.network) myr_buf_puts(out, ",\"network\":true");
    if (model->wants.require_hashes) myr_buf_puts(out, ",\"require_hashes\":true");
    myr_buf_puts(out, "}\n");
}

/* ---- the text: read ---- */

bool myr_fleet_external_is(const void *data, size_t size_bytes)
{
    return myr_str_starts_with(myr_str_make(data, size_bytes), "{\"format\":\"myriad-external\",");
}

/* The text is ours and its hash was compared, so only its version is a matter of the user's; all else is damage. */
static myr_rc external_bad(const char *what, myr_err *err)
{
    MYR_FAIL(err, BAD_FORMAT, "the description of a model for a runtime is damaged (%s): import the model again", what);
}

static const char *external_copy(yyjson_val *value, myr_arena *arena)
{
    return yyjson_is_str(value) ? myr_arena_strndup(arena, yyjson_get_str(value), yyjson_get_len(value)) : NULL;
}

static myr_rc parse_features(yyjson_val *root, myr_arena *arena, external_model *out, myr_err *err)
{
    yyjson_val *features = yyjson_obj_get(root, "features"), *text = yyjson_obj_get(root, "text"), *item;
    size_t idx, max, count = yyjson_arr_size(features);
    if (!yyjson_is_arr(features) || !yyjson_is_arr(text) || count > MYR_FEATURES_MAX)
        return external_bad("features", err);
    const char **names = myr_arena_calloc(arena, count + 1, sizeof *names);
    uint8_t *is_text = myr_arena_calloc(arena, count + 1, 1);
    if (names == NULL || is_text == NULL) return external_no_memory(err);
    yyjson_arr_foreach(features, idx, max, item)
    {
        if (!yyjson_is_str(item)) return external_bad("a feature", err);
        names[idx] = external_copy(item, arena);
        if (names[idx] == NULL) return external_no_memory(err);
    }
    yyjson_arr_foreach(text, idx, max, item)
    {
        if (!yyjson_is_uint(item) || yyjson_get_uint(item) >= count) return external_bad("text", err);
        is_text[yyjson_get_uint(item)] = 1;
    }
    out->features = names;
    out->is_text = is_text;
    out->feature_count = (uint32_t)count;
    return MYR_OK;
}

static myr_rc parse_files(yyjson_val *root, myr_arena *arena, external_model *out, myr_err *err)
{
    yyjson_val *files = yyjson_obj_get(root, "files"), *item;
    size_t idx, max, count = yyjson_arr_size(files);
    if (count == 0 || count > MYR_RUNTIME_FILES_MAX) return external_bad("files", err);
    out->files = myr_arena_calloc(arena, count, sizeof *out->files);
    if (out->files == NULL) return external_no_memory(err);
    yyjson_arr_foreach(files, idx, max, item)
    {
        yyjson_val *bytes = yyjson_obj_get(item, "bytes"), *hex = yyjson_obj_get(item, "sha256");
        if (!yyjson_is_uint(bytes) || yyjson_get_uint(bytes) > (uint64_t)MYR_FILE_BYTES_MAX ||
            yyjson_get_len(hex) != MYR_SHA256_HEX_BYTES - 1 || !yyjson_is_str(yyjson_obj_get(item, "name"))) {
            return external_bad("a file", err);
        }
        out->files[idx] = (external_file){.name = external_copy(yyjson_obj_get(item, "name"), arena),
                                          .hex = external_copy(hex, arena),
                                          .size_bytes = (int64_t)yyjson_get_uint(bytes)};
        if (out->files[idx].name == NULL || out->files[idx].hex == NULL) return external_no_memory(err);
    }
    out->file_count = (uint32_t)count;
    return MYR_OK;
}

static myr_rc parse_root(yyjson_val *root, myr_arena *arena, external_model *out, myr_err *err)
{
    external_model model = {0};
    yyjson_val *version = yyjson_obj_get(root, "version"), *outputs = yyjson_obj_get(root, "outputs");
    if (yyjson_is_uint(version) && yyjson_get_uint(version) > EXTERNAL_VERSION) {
        MYR_FAIL(err, UNSUPPORTED, "the description of a model for a runtime has version %llu, this program reads %d",
                 (unsigned long long)yyjson_get_uint(version), EXTERNAL_VERSION);
    }
    yyjson_val *runtime = yyjson_obj_get(root, "runtime");
    model.runtime = yyjson_equals_str(runtime, MYR_RUNTIME_PYTHON) ? MYR_RUNTIME_PYTHON : MYR_RUNTIME_ONNX;
    if (!yyjson_equals_str(runtime, model.runtime)) {
        MYR_FAIL(err, UNSUPPORTED,
                 "a model for the runtime '%.40s', this program has " MYR_RUNTIME_ONNX " and " MYR_RUNTIME_PYTHON,
                 yyjson_is_str(runtime) ? yyjson_get_str(runtime) : "");
    }
    if (!yyjson_is_uint(outputs) || yyjson_get_uint(outputs) == 0 || yyjson_get_uint(outputs) > MYR_OUTPUTS_MAX)
        return external_bad("outputs", err);
    model.output_count = (uint32_t)yyjson_get_uint(outputs);
    model.wants = (myr_runtime_wants){.network = yyjson_get_bool(yyjson_obj_get(root, "network")),
                                      .require_hashes = yyjson_get_bool(yyjson_obj_get(root, "require_hashes"))};
    MYR_TRY(parse_features(root, arena, &model, err));
    MYR_TRY(parse_files(root, arena, &model, err));
    *out = model;
    return MYR_OK;
}

myr_rc myr_fleet_external_parse(const void *data, size_t size_bytes, myr_arena *arena, external_model *out,
                                myr_err *err)
{
    /* Without YYJSON_READ_INSITU the text is not written to; the parameter's type does not say so. */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)data, size_bytes, 0, NULL, NULL);
    if (doc == NULL) return external_bad("not JSON", err);
    myr_rc rc = parse_root(yyjson_doc_get_root(doc), arena, out, err);
    yyjson_doc_free(doc);
    return rc;
}

/* ---- a model looked at ---- */

typedef struct external_look {
    myr_workspace *workspace;
    const myr_fleet_item *item;
    myr_arena *arena;
    const myr_onnx_signature *signature;
    int64_t total_bytes;
} external_look;

static const char *look_name(const external_look *look)
{
    return look->item->name != NULL ? look->item->name : look->item->path != NULL ? look->item->path : "model";
}

/* Into the arena: it stays until the item is done. */
static myr_rc look_read(external_look *look, const char *path, external_file *file, myr_err *err)
{
    MYR_AUTO(myr_mem) owned = NULL;
    char *data = NULL;
    size_t size = 0;
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, &data, &size, err));
    owned = data;
    look->total_bytes += (int64_t)size;
    if (look->total_bytes > EXTERNAL_FILES_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "its files have more than %lld bytes together", (long long)EXTERNAL_FILES_BYTES_MAX);
    }
    void *copy = myr_arena_alloc(look->arena, size + 1);
    if (copy == NULL) return external_no_memory(err);
    memcpy(copy, data, size);
    file->data = copy;
    file->size_bytes = (int64_t)size;
    return MYR_OK;
}

static myr_rc look_hash(external_look *look, external_file *file, myr_err *err)
{
    char hex[MYR_SHA256_HEX_BYTES];
    external_hash(file->data, (size_t)file->size_bytes, hex);
    file->hex = myr_arena_strndup(look->arena, hex, sizeof hex - 1);
    return file->hex != NULL ? MYR_OK : external_no_memory(err);
}

/* The model itself, then the external data that it names: from its own directory alone. */
static myr_rc look_files(external_look *look, const void *data, size_t size_bytes, external_model *model, myr_err *err)
{
    const myr_onnx_signature *signature = look->signature;
    char dir[MYR_PATH_BYTES_MAX];
    if (signature->external_file_count >= MYR_RUNTIME_FILES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "it names %u files of external data, at most %d", signature->external_file_count,
                 MYR_RUNTIME_FILES_MAX - 1);
    }
    if (signature->external_file_count > 0 && look->item->path == NULL) {
        MYR_FAIL(err, BAD_INPUT, "its weights lie in '%.80s', but it has no directory: import it as a file",
                 signature->external_files[0]);
    }
    model->files = myr_arena_calloc(look->arena, (size_t)signature->external_file_count + 1, sizeof *model->files);
    if (model->files == NULL) return external_no_memory(err);
    model->files[0] = (external_file){.name = "model.onnx", .data = data, .size_bytes = (int64_t)size_bytes};
    model->file_count = signature->external_file_count + 1;
    if (look->item->path != NULL) myr_path_dir(look->item->path, dir, sizeof dir);
    for (uint32_t i = 1; i < model->file_count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        model->files[i].name =
            myr_arena_strndup(look->arena, signature->external_files[i - 1], strlen(signature->external_files[i - 1]));
        if (model->files[i].name == NULL) return external_no_memory(err);
        myr_rc rc = myr_path_inside(dir, model->files[i].name, path, sizeof path, err);
        if (rc == MYR_OK) rc = look_read(look, path, &model->files[i], err);
        if (rc != MYR_OK) return myr_err_prefix(err, rc, "external data: ");
    }
    for (uint32_t i = 0; i < model->file_count; i++)
        MYR_TRY(look_hash(look, &model->files[i], err));
    return MYR_OK;
}

/* What ONNX Runtime says of it. */
static myr_rc look_describe(external_look *look, const external_model *model, uint32_t feature_count,
                            myr_runtime_signature *out, myr_err *err)
{
    myr_runtime_file files[MYR_RUNTIME_FILES_MAX];
    for (uint32_t i = 0; i < model->file_count; i++) {
        files[i] = (myr_runtime_file){model->files[i].name, model->files[i].data, (size_t)model->files[i].size_bytes};
    }
    const char *slash = strrchr(look_name(look), '/'); /* the prefix of the message has the whole path */
    files[0].name = slash != NULL ? slash + 1 : look_name(look);
    myr_runtime_bundle bundle = {files, model->file_count, model->wants};
    return myr_runtime_describe(look->workspace->runtime, &bundle, feature_count, look->arena, out, err);
}

/* One input of bytes: a file, which batch jobs give it by its name. */
static bool look_takes_file(const external_look *look)
{
    const myr_onnx_signature *signature = look->signature;
    return signature->input_count == 1 && signature->inputs[0].is_tensor && signature->inputs[0].type == MYR_ONNX_UINT8;
}

static myr_rc look_file_name(const myr_fleet_item *item, const char *const **out_names, uint32_t *out_count,
                             myr_err *err)
{
    static const char *const names[] = {MYR_RUNTIME_FILE, NULL};
    if (item->features != NULL && (item->feature_count != 1 || strcmp(item->features[0], MYR_RUNTIME_FILE) != 0))
        MYR_FAIL(err, BAD_INPUT, "it takes files: its one feature is '" MYR_RUNTIME_FILE "', leave out --features");
    *out_names = names;
    *out_count = 1;
    return MYR_OK;
}

/* Names: the caller's, else the file's, else (for a model of any number of columns) the fleet's. */
static myr_rc look_names(const external_look *look, const char *const *columns, uint32_t column_count,
                         const char *const **out_names, uint32_t *out_count, myr_err *err)
{
    const myr_fleet_item *item = look->item;
    if (look_takes_file(look)) return look_file_name(item, out_names, out_count, err);
    *out_names = item->features != NULL                   ? item->features
                 : look->signature->feature_names != NULL ? look->signature->feature_names
                                                          : columns;
    *out_count = item->features != NULL                   ? item->feature_count
                 : look->signature->feature_names != NULL ? look->signature->feature_count
                                                          : column_count;
    if (*out_names != NULL && *out_count > 0) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "it takes any number of columns and does not name them: name them with --features");
}

static myr_rc look_features(const external_look *look, const char *const *names, const myr_runtime_signature *says,
                            external_model *model, myr_err *err)
{
    const char **copies = myr_arena_calloc(look->arena, (size_t)says->feature_count + 1, sizeof *copies);
    uint8_t *is_text = myr_arena_calloc(look->arena, (size_t)says->feature_count + 1, 1);
    if (copies == NULL || is_text == NULL) return external_no_memory(err);
    uint32_t at = 0;
    for (uint32_t i = 0; i < says->input_count; i++) {
        for (uint32_t k = 0; k < says->inputs[i].width; k++, at++) {
            MYR_ASSERT(at < says->feature_count);
            copies[at] = myr_arena_strndup(look->arena, names[at], strlen(names[at]));
            is_text[at] = says->inputs[i].is_text;
            if (copies[at] == NULL) return external_no_memory(err);
        }
    }
    model->features = copies;
    model->is_text = is_text;
    model->feature_count = says->feature_count;
    model->output_count = says->value_count;
    return MYR_OK;
}

static myr_rc look_check_names(const external_model *model, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    if (seen == NULL) return external_no_memory(err);
    for (uint32_t j = 0; j < model->feature_count; j++) {
        myr_str name = myr_str_of(model->features[j]);
        if (name.size == 0 || name.size > MYR_NAME_BYTES_MAX || !myr_utf8_is_valid(name)) {
            MYR_FAIL(err, BAD_INPUT, "the name of feature %u is not 1 to %d bytes of UTF-8: name them with --features",
                     j, MYR_NAME_BYTES_MAX);
        }
        for (size_t i = 0; i < name.size; i++) {
            if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f)
                MYR_FAIL(err, BAD_INPUT, "the name of feature %u has a control character", j);
        }
        uint64_t before = 0;
        if (myr_map_find(seen, name, &before)) {
            MYR_FAIL(err, BAD_INPUT, "features %u and %u are both named '%.100s': give distinct names",
                     (unsigned)before, j, name.data);
        }
        MYR_TRY(myr_map_put(seen, name, j, err));
    }
    return MYR_OK;
}

static myr_rc look_steps(external_look *look, const void *data, size_t size_bytes, const char *const *columns,
                         uint32_t column_count, external_model *out, myr_err *err)
{
    external_model model = {.runtime = MYR_RUNTIME_ONNX};
    myr_runtime_signature says = {0};
    const char *const *names = NULL;
    uint32_t name_count = 0;
    MYR_TRY(look_names(look, columns, column_count, &names, &name_count, err));
    MYR_TRY(look_files(look, data, size_bytes, &model, err));
    MYR_TRY(look_describe(look, &model, name_count, &says, err));
    MYR_TRY(look_features(look, names, &says, &model, err));
    MYR_TRY(look_check_names(&model, err));
    *out = model;
    return MYR_OK;
}

myr_rc myr_fleet_external_read(myr_workspace *workspace, const myr_fleet_item *item, const void *data,
                               size_t size_bytes, const char *const *columns, uint32_t column_count, myr_arena *arena,
                               external_model *out, myr_buf *out_text, myr_err *err)
{
    external_look look = {.workspace = workspace, .item = item, .arena = arena};
    MYR_AUTO(myr_onnx_signature_ptr) signature = NULL;
    MYR_TRY(myr_onnx_signature_read(look_name(&look), data, size_bytes, &signature, err));
    look.signature = signature;
    myr_rc rc = look_steps(&look, data, size_bytes, columns, column_count, out, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", look_name(&look));
    external_write(out, out_text);
    return myr_buf_check(out_text, err);
}

/* ---- a directory with score.py ---- */

#define EXTERNAL_DIR_DEPTH_MAX 8

void myr_fleet_external_dir(const myr_fleet_item *item, char *out, size_t out_bytes)
{
    if (myr_io_is_dir(item->path)) {
        snprintf(out, out_bytes, "%s", item->path);
    } else {
        myr_path_dir(item->path, out, out_bytes);
    }
}

/* Hidden files, and what Python makes for itself, are no part of a model. */
static bool dir_skips(const char *name)
{
    return name[0] == '.' || strcmp(name, "__pycache__") == 0;
}

static myr_rc dir_add_file(external_look *look, const char *name, external_model *model, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    if (model->file_count == MYR_RUNTIME_FILES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "it has more than %d files", MYR_RUNTIME_FILES_MAX);
    }
    external_file *file = &model->files[model->file_count++];
    file->name = myr_arena_strndup(look->arena, name, strlen(name));
    if (file->name == NULL) return external_no_memory(err);
    MYR_TRY(myr_path_inside(look->item->path, name, path, sizeof path, err));
    MYR_TRY(look_read(look, path, file, err));
    return look_hash(look, file, err);
}

/* The files below `below` (relative, "" or with a slash at its end), in the order of their names, but for score.py. */
static myr_rc dir_walk(external_look *look, const char *below, int depth, external_model *model, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX], **names;
    size_t count;
    if (depth > EXTERNAL_DIR_DEPTH_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s is more than %d directories deep", below, EXTERNAL_DIR_DEPTH_MAX);
    }
    MYR_TRY(myr_path_join(dir, sizeof dir, look->item->path, below, err));
    MYR_TRY(myr_io_list(dir, &names, &count, err));
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        char name[MYR_PATH_BYTES_MAX], path[MYR_PATH_BYTES_MAX];
        bool is_score = below[0] == '\0' && strcmp(names[i], EXTERNAL_SCORE) == 0;
        if (dir_skips(names[i]) || is_score) continue;
        int size = snprintf(name, sizeof name, "%s%s", below, names[i]);
        if (size < 0 || (size_t)size + 1 >= sizeof name) {
            rc = MYR_ERROR(err, BAD_INPUT, "the path of %s is too long", names[i]);
        } else if ((rc = myr_path_join(path, sizeof path, dir, names[i], err)) != MYR_OK) {
            break;
        } else if (myr_io_is_dir(path)) {
            memcpy(name + size, "/", 2);
            rc = dir_walk(look, name, depth + 1, model, err);
        } else {
            rc = dir_add_file(look, name, model, err);
        }
    }
    myr_names_free(names, count);
    return rc;
}

/* Names: the caller's, else score.py's own, else the fleet's. */
static myr_rc dir_describe(external_look *look, const external_model *model, const char *const *columns,
                           uint32_t column_count, myr_runtime_signature *out, myr_err *err)
{
    const myr_fleet_item *item = look->item;
    myr_runtime_file files[MYR_RUNTIME_FILES_MAX];
    for (uint32_t i = 0; i < model->file_count; i++) {
        files[i] = (myr_runtime_file){model->files[i].name, model->files[i].data, (size_t)model->files[i].size_bytes};
    }
    myr_runtime_bundle bundle = {files, model->file_count, model->wants};
    myr_rc rc = myr_runtime_describe_python(look->workspace->runtime, &bundle, item->features, item->feature_count,
                                            look->arena, out, err);
    if (rc != MYR_BAD_INPUT || item->features != NULL || columns == NULL) return rc;
    return myr_runtime_describe_python(look->workspace->runtime, &bundle, columns, column_count, look->arena, out, err);
}

static myr_rc dir_steps(external_look *look, const char *const *columns, uint32_t column_count, external_model *out,
                        myr_err *err)
{
    external_model model = {.runtime = MYR_RUNTIME_PYTHON};
    myr_runtime_signature says = {0};
    model.files = myr_arena_calloc(look->arena, MYR_RUNTIME_FILES_MAX, sizeof *model.files);
    if (model.files == NULL) return external_no_memory(err);
    MYR_TRY(dir_add_file(look, EXTERNAL_SCORE, &model, err));
    MYR_TRY(dir_walk(look, "", 0, &model, err));
    MYR_TRY(myr_fleet_wants_read(look->item->path, &model.wants, err));
    MYR_TRY(dir_describe(look, &model, columns, column_count, &says, err));
    const char **names = myr_arena_calloc(look->arena, says.feature_count, sizeof *names);
    if (names == NULL) return external_no_memory(err);
    for (uint32_t j = 0; j < says.feature_count; j++)
        names[j] = says.inputs[j].name;
    MYR_TRY(look_features(look, names, &says, &model, err));
    MYR_TRY(look_check_names(&model, err));
    *out = model;
    return MYR_OK;
}

myr_rc myr_fleet_external_read_dir(myr_workspace *workspace, const myr_fleet_item *item, const char *const *columns,
                                   uint32_t column_count, myr_arena *arena, external_model *out, myr_buf *out_text,
                                   myr_err *err)
{
    external_look look = {.workspace = workspace, .item = item, .arena = arena};
    myr_rc rc = dir_steps(&look, columns, column_count, out, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", look_name(&look));
    external_write(out, out_text);
    return myr_buf_check(out_text, err);
}

/* ---- compiled ---- */

static unsigned char hex_value(char c)
{
    return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static myr_rc compile_columns(const external_model *model, const char *const *columns, uint32_t column_count,
                              uint32_t *out, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) by_name = myr_map_new();
    if (by_name == NULL) return external_no_memory(err);
    for (uint32_t k = 0; k < column_count; k++)
        MYR_TRY(myr_map_put(by_name, myr_str_of(columns[k]), k, err));
    for (uint32_t j = 0; j < model->feature_count; j++) {
        uint64_t column = 0;
        if (!myr_map_find(by_name, myr_str_of(model->features[j]), &column)) {
            MYR_FAIL(err, BAD_INPUT,
                     "feature %u, \"%s\", is not one of the %u columns: name the model's with --features", j,
                     model->features[j], column_count);
        }
        out[j] = (uint32_t)column;
    }
    return MYR_OK;
}

myr_rc myr_fleet_external_compile(const external_model *model, const char *text, size_t text_bytes,
                                  const char *const *columns, uint32_t column_count, unsigned char **out_bytes,
                                  size_t *out_size, myr_err *err)
{
    char hex[MYR_SHA256_HEX_BYTES];
    unsigned char sha256[MYR_SHA256_BYTES];
    MYR_AUTO(myr_mem) map = myr_calloc((size_t)model->feature_count + 1, sizeof(uint32_t));
    if (map == NULL) return external_no_memory(err);
    MYR_TRY(compile_columns(model, columns, column_count, map, err));
    external_hash(text, text_bytes, hex);
    for (size_t i = 0; i < sizeof sha256; i++)
        sha256[i] = (unsigned char)(hex_value(hex[2 * i]) * 16 + hex_value(hex[2 * i + 1]));
    myr_external_desc desc = {.runtime = model->runtime,
                              .sha256 = sha256,
                              .columns = map,
                              .is_text = model->is_text,
                              .feature_count = model->feature_count,
                              .output_count = model->output_count};
    return myr_model_compile_external(&desc, column_count, out_bytes, out_size, err);
}

/* ---- the runner ---- */

/* Any thread: the store and the runtime have their own locks. */
struct fleet_external {
    myr_store *store; /* its own handle: a fleet may outlive its workspace */
    myr_runtime *runtime;
};

static void external_unload(void *ctx, const myr_runtime_bundle *bundle)
{
    (void)ctx;
    for (uint32_t i = 0; i < bundle->file_count; i++)
        myr_free((void *)(uintptr_t)bundle->files[i].data); /* external_load took it from the store */
}

static myr_rc external_load_files(myr_store *store, const external_model *model, myr_runtime_file *files,
                                  uint32_t *out_count, myr_err *err)
{
    for (uint32_t i = 0; i < model->file_count; i++) {
        char *data = NULL;
        size_t size = 0;
        MYR_TRY(myr_store_get(store, model->files[i].hex, &data, &size, err));
        files[i] = (myr_runtime_file){model->files[i].name, data, size};
        *out_count = i + 1;
    }
    return MYR_OK;
}

/* An artifact that is gone or damaged is the model's damage, not a service that is missing. */
static myr_rc external_load_failed(myr_rc rc, const char *hex, myr_err *err)
{
    myr_rc told = rc == MYR_NOT_FOUND || rc == MYR_BAD_INPUT ? MYR_BAD_FORMAT : rc;
    if (err != NULL) err->rc = told;
    return myr_err_prefix(err, told, "artifact %.12s: ", hex);
}

/* What the artifact says of the model. */
static myr_rc external_get(fleet_external *external, const char *hex, myr_arena *arena, external_model *out,
                           myr_err *err)
{
    MYR_AUTO(myr_mem) text = NULL;
    size_t size = 0;
    myr_rc rc = myr_store_get(external->store, hex, (char **)&text, &size, err);
    if (rc == MYR_OK) rc = myr_fleet_external_parse(text, size, arena, out, err);
    return rc == MYR_OK ? MYR_OK : external_load_failed(rc, hex, err);
}

static myr_rc external_load(void *ctx, const char *hex, myr_arena *arena, myr_runtime_bundle *out, myr_err *err)
{
    fleet_external *external = ctx;
    external_model model = {0};
    uint32_t loaded = 0;
    MYR_TRY(external_get(external, hex, arena, &model, err));
    myr_runtime_file *files = myr_arena_calloc(arena, model.file_count, sizeof *files);
    if (files == NULL) return external_no_memory(err);
    myr_rc rc = external_load_files(external->store, &model, files, &loaded, err);
    *out = (myr_runtime_bundle){files, loaded, model.wants};
    if (rc == MYR_OK) return MYR_OK;
    external_unload(ctx, out);
    return external_load_failed(rc, hex, err);
}

myr_rc myr_fleet_external_file(fleet_external *external, const char *hex, const char *name, myr_arena *arena,
                               char **out, size_t *out_bytes, myr_runtime_wants *out_wants, myr_err *err)
{
    external_model model = {0};
    MYR_TRY(external_get(external, hex, arena, &model, err));
    *out = NULL;
    *out_wants = model.wants;
    for (uint32_t i = 0; i < model.file_count; i++) {
        if (strcmp(model.files[i].name, name) != 0) continue;
        myr_rc rc = myr_store_get(external->store, model.files[i].hex, out, out_bytes, err);
        return rc == MYR_OK ? MYR_OK : external_load_failed(rc, hex, err);
    }
    return MYR_OK;
}

static myr_rc external_measure(void *ctx, const char *hex, int64_t *out_bytes, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    external_model model = {0};
    if (arena == NULL) return external_no_memory(err);
    MYR_TRY(external_get(ctx, hex, arena, &model, err));
    *out_bytes = 0;
    for (uint32_t i = 0; i < model.file_count; i++)
        *out_bytes += model.files[i].size_bytes;
    return MYR_OK;
}

myr_runtime_source myr_fleet_external_source(fleet_external *external)
{
    return (myr_runtime_source){
        .ctx = external, .load = external_load, .unload = external_unload, .measure = external_measure};
}

static myr_rc external_run(void *ctx, const myr_runner_call *call, myr_err *err)
{
    fleet_external *external = ctx;
    const myr_runtime_source source = myr_fleet_external_source(external);
    return myr_runtime_run(external->runtime, &source, call, err);
}

myr_runner myr_fleet_external_runner(fleet_external *external)
{
    return (myr_runner){.ctx = external, .run = external_run};
}

myr_rc myr_fleet_external_open(myr_workspace *workspace, fleet_external **out, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, workspace->root, FLEET_ARTIFACTS, err));
    fleet_external *external = myr_calloc(1, sizeof *external);
    if (external == NULL) return external_no_memory(err);
    myr_rc rc = myr_store_open(path, &external->store, err);
    if (rc != MYR_OK) {
        myr_free(external);
        return rc;
    }
    external->runtime = myr_runtime_acquire(workspace->runtime);
    *out = external;
    return MYR_OK;
}

void myr_fleet_external_close(fleet_external *external)
{
    if (external == NULL) return;
    myr_runtime_release(external->runtime);
    myr_store_close(external->store);
    myr_free(external);
}
