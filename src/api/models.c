/* Opening, describing and closing what the C ABI holds: a pack, or one model file. */
#include <string.h>

#include "api/internal.h"

#define API_INDEX_SUFFIX ".index" /* how a pack's file ends; anything else is a model file */

const char *myr_version(void)
{
    return MYR_VERSION;
}

const char *myr_error_name(int32_t rc)
{
    return myr_rc_name((myr_rc)rc);
}

myr_rc myr_api_check_struct(size_t given, size_t least, const char *name, myr_err *err)
{
    if (given >= least) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s.struct_size is %zu, at least %zu is needed: set it to sizeof(%s)", name, given, least,
             name);
}

/* ---- open ---- */

static myr_rc models_open_pack(const char *path, myr_models *models, myr_err *err)
{
    MYR_TRY(myr_pack_open(path, &models->pack, err));
    models->info = *myr_pack_get_info(models->pack);
    return myr_scorer_new(models->pack, &models->scorer, err);
}

/* Which features the model takes as texts; NULL if none. */
static myr_rc models_text_features(myr_models *models, myr_err *err)
{
    const myr_names *names = myr_model_names(models->model);
    if (names == NULL) return MYR_OK;
    uint8_t *texts = myr_arena_calloc(models->imported->arena, (size_t)models->info.feature_count + 1, 1);
    if (texts == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to open a model");
    for (uint32_t j = 0; j < models->info.feature_count; j++)
        texts[j] = myr_names_has(names, j);
    models->info.text_features = texts;
    return MYR_OK;
}

static myr_rc models_compile(const char *path, myr_models *models, myr_err *err)
{
    const char *const *names = (const char *const *)models->imported->feature_names;
    uint32_t count = models->imported->feature_count;
    size_t size = 0;
    const myr_compile_opts opts = {.explain = true}; /* one model: what it may be asked matters more than its bytes */
    myr_rc rc = myr_imported_compile(models->imported, names, count, &opts, &models->bytes, &size, err);
    if (rc == MYR_OK) rc = myr_model_check(models->bytes, size, &models->model, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", path);
    myr_model_info info;
    myr_model_get_info(models->model, &info);
    models->info = (myr_pack_info){
        .fleet = "", .features = names, .feature_count = count, .output_count = info.output_count, .model_count = 1};
    MYR_TRY(models_text_features(models, err));
    return myr_scorer_new_single(models->model, &models->info, &models->scorer, err);
}

static myr_rc models_open_file(const char *path, myr_models *models, myr_err *err)
{
    MYR_AUTO(myr_mem) data = NULL;
    size_t size = 0;
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, (char **)&data, &size, err));
    MYR_TRY(myr_import(path, data, size, NULL, 0, &models->imported, err));
    return models_compile(path, models, err);
}

static myr_rc models_open(const char *path, myr_models *models, myr_err *err)
{
    models->pool = myr_calloc(1, sizeof *models->pool);
    if (models->pool == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to open %s", path);
    bool is_pack = myr_str_ends_with(myr_str_of(path), API_INDEX_SUFFIX);
    return is_pack ? models_open_pack(path, models, err) : models_open_file(path, models, err);
}

int32_t myr_models_open(const char *path, myr_models **out, myr_err *err)
{
    if (path == NULL || out == NULL) MYR_FAIL(err, BAD_INPUT, "path and out are needed");
    myr_models *models = myr_calloc(1, sizeof *models);
    if (models == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to open %s", path);
    myr_rc rc = models_open(path, models, err);
    if (rc != MYR_OK) {
        myr_models_close(models);
        return rc;
    }
    *out = models;
    return MYR_OK;
}

void myr_models_close(myr_models *models)
{
    if (models == NULL) return;
    if (models->pool != NULL) myr_api_pool_fini(models->pool);
    myr_free(models->pool);
    myr_scorer_free(models->scorer);
    myr_pack_close(models->pack);
    myr_free(models->bytes);
    myr_imported_free(models->imported);
    myr_free(models);
}

/* ---- describe ---- */

int32_t myr_models_get_info(const myr_models *models, myr_models_info *out, myr_err *err)
{
    if (models == NULL || out == NULL) MYR_FAIL(err, BAD_INPUT, "models and out are needed");
    MYR_TRY(myr_api_check_struct(out->struct_size, sizeof(myr_models_info), "myr_models_info", err));
    size_t struct_size = out->struct_size;
    *out = (myr_models_info){
        .struct_size = struct_size,
        .fleet = models->info.fleet,
        .release = models->info.release,
        .model_count = models->info.model_count,
        .key_count = models->info.keys.column_count,
        .feature_count = models->info.feature_count,
        .output_count = models->info.output_count,
    };
    return MYR_OK;
}

const char *myr_models_file_name(const myr_models *models, uint32_t file_idx)
{
    if (models == NULL || models->pack == NULL) return NULL;
    return myr_pack_file_name(models->pack, file_idx);
}

const char *myr_models_key_name(const myr_models *models, uint32_t key_idx)
{
    if (models == NULL || key_idx >= models->info.keys.column_count) return NULL;
    return models->info.keys.columns[key_idx].name;
}

int myr_models_key_is_int64(const myr_models *models, uint32_t key_idx)
{
    if (models == NULL || key_idx >= models->info.keys.column_count) return 0;
    return models->info.keys.columns[key_idx].type == MYR_KEY_INT64;
}

int myr_models_feature_is_text(const myr_models *models, uint32_t feature_idx)
{
    if (models == NULL || feature_idx >= models->info.feature_count) return 0;
    return myr_pack_takes_text(&models->info, feature_idx);
}

const char *myr_models_feature_name(const myr_models *models, uint32_t feature_idx)
{
    if (models == NULL || feature_idx >= models->info.feature_count) return NULL;
    return models->info.features[feature_idx];
}

int32_t myr_models_find(const myr_models *models, const char *segment, uint32_t *out_model_idx, myr_err *err)
{
    if (models == NULL || segment == NULL || out_model_idx == NULL) {
        MYR_FAIL(err, BAD_INPUT, "models, segment and out_model_idx are needed");
    }
    myr_segment parsed;
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t key_bytes = 0;
    uint32_t idx = MYR_PACK_NONE;
    MYR_TRY(myr_segment_parse(myr_str_of(segment), &parsed, err));
    MYR_TRY(myr_key_from_segment(&models->info.keys, &parsed, key, &key_bytes, err));
    if (models->pack == NULL) {
        idx = 0; /* without partition columns "" is the only segment */
    } else {
        MYR_TRY(myr_pack_find(models->pack, key, key_bytes, myr_key_hash(key, key_bytes), &idx, err));
    }
    if (idx == MYR_PACK_NONE) {
        MYR_FAIL(err, NOT_FOUND, "%s has no model of its own for '%.150s'", models->info.fleet, segment);
    }
    *out_model_idx = idx;
    return MYR_OK;
}

/* ---- one model of them ---- */

static myr_rc models_entry(const myr_models *models, uint32_t model_idx, myr_pack_entry *out, myr_err *err)
{
    if (model_idx >= models->info.model_count) {
        MYR_FAIL(err, BAD_INPUT, "there is no model %u, there are %u", model_idx, models->info.model_count);
    }
    if (models->pack != NULL) return myr_pack_get_entry(models->pack, model_idx, out, err);
    myr_model_info info;
    myr_model_get_info(models->model, &info);
    *out = (myr_pack_entry){.key = NULL, .model_bytes = info.size_bytes};
    return MYR_OK;
}

int32_t myr_models_get_entry(const myr_models *models, uint32_t model_idx, myr_models_entry *out, myr_err *err)
{
    if (models == NULL || out == NULL) MYR_FAIL(err, BAD_INPUT, "models and out are needed");
    MYR_TRY(myr_api_check_struct(out->struct_size, sizeof *out, "myr_models_entry", err));
    myr_pack_entry entry;
    MYR_TRY(models_entry(models, model_idx, &entry, err));
    bool is_whole = entry.key_columns == models->info.keys.column_count;
    size_t struct_size = out->struct_size;
    *out = (myr_models_entry){
        .struct_size = struct_size,
        .version = entry.version,
        .level = entry.key_columns == 0 ? MYR_LEVEL_GLOBAL : (is_whole ? MYR_LEVEL_SEGMENT : MYR_LEVEL_PARENT),
        .key_count = entry.key_columns,
        .size_bytes = entry.model_bytes,
    };
    return MYR_OK;
}

int32_t myr_models_get_segment(const myr_models *models, uint32_t model_idx, char *out, size_t room, size_t *out_size,
                               myr_err *err)
{
    if (models == NULL || (out == NULL && room > 0)) MYR_FAIL(err, BAD_INPUT, "models and out are needed");
    myr_pack_entry entry;
    MYR_AUTO(myr_buf) text = {0};
    MYR_TRY(models_entry(models, model_idx, &entry, err));
    if (models->pack != NULL) MYR_TRY(myr_key_text(&models->info.keys, entry.key, entry.key_bytes, &text, err));
    MYR_TRY(myr_buf_check(&text, err));
    if (out_size != NULL) *out_size = text.size;
    if (text.size >= room) MYR_FAIL(err, TOO_LARGE, "the segment has %zu bytes, room for %zu", text.size, room);
    memcpy(out, text.size > 0 ? text.data : "", text.size + 1);
    return MYR_OK;
}

const char *myr_models_level_name(int32_t level)
{
    return level >= 0 && level < MYR_LEVEL_COUNT ? myr_level_name((myr_level)level) : NULL;
}

const char *myr_models_status_name(int32_t status)
{
    return status >= 0 && status < MYR_ROW_STATUS_COUNT ? myr_row_status_name((myr_row_status)status) : NULL;
}
