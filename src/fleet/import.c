/*
 * Bringing models in, all or none: each item is read, imported and compiled before anything is written; then artifacts
 * go to the store, which nothing refers to yet; then one transaction registers them. A run that is killed in between
 * leaves unreferenced artifacts, which the next run finds again.
 */
#include "fleet/import.h"

#include <math.h>
#include <string.h>

/* ---- threads over items ---- */

/* Remember the failure of the lowest item, so that the same input always gives the same message. */
static myr_rc import_fail_item(import_job *job, size_t item_idx, myr_rc rc, const myr_err *err)
{
    myr_mutex_lock(&job->lock);
    if (item_idx < job->failed_item) {
        job->failed_item = item_idx;
        job->failed_rc = rc;
        job->failed_err = *err;
    }
    myr_mutex_unlock(&job->lock);
    return rc;
}

static void import_note_done(import_job *job)
{
    myr_mutex_lock(&job->lock);
    job->done++;
    if (job->progress != NULL) job->progress(job->progress_ctx, job->done / 2, (int64_t)job->item_count);
    myr_mutex_unlock(&job->lock);
}

typedef myr_rc (*import_step)(import_job *job, size_t item_idx, myr_err *err);
typedef struct import_run {
    import_job *job;
    import_step step;
} import_run;

static myr_rc import_run_item(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    (void)thread_idx;
    const import_run *run = ctx;
    myr_err own = {0};
    myr_rc rc = run->step(run->job, item_idx, &own);
    if (rc == MYR_OK) {
        import_note_done(run->job);
        return MYR_OK;
    }
    if (err != NULL) *err = own;
    return import_fail_item(run->job, item_idx, rc, &own);
}

static myr_rc import_run_all(import_job *job, int thread_count, import_step step, myr_err *err)
{
    import_run run = {job, step};
    myr_rc rc = myr_parallel(thread_count, job->item_count, import_run_item, &run, err);
    if (rc == MYR_OK) return MYR_OK;
    MYR_ASSERT(job->failed_item < job->item_count);
    if (err != NULL) *err = job->failed_err;
    return job->failed_rc;
}

static const char *import_copy(import_job *job, const char *text)
{
    myr_mutex_lock(&job->lock);
    const char *copy = myr_arena_strndup(job->arena, text, strlen(text));
    myr_mutex_unlock(&job->lock);
    return copy;
}

/* ---- check ---- */

myr_rc myr_fleet_import_load(const myr_fleet_item *item, myr_mem *out_owned, const void **out_data, size_t *out_size,
                             myr_err *err)
{
    if (item->data != NULL) {
        *out_data = item->data;
        *out_size = item->size_bytes;
        return MYR_OK;
    }
    if (item->path == NULL) MYR_FAIL(err, BAD_INPUT, "%s: neither bytes nor a path", import_name(item));
    char *data = NULL, score[MYR_PATH_BYTES_MAX];
    const char *path = item->path;
    if (myr_io_is_dir(path)) {
        MYR_TRY(myr_path_join(score, sizeof score, path, EXTERNAL_SCORE, err));
        if (!myr_io_exists(score))
            MYR_FAIL(err, NOT_FOUND, "%s: a directory is a model if it has " EXTERNAL_SCORE, path);
        path = score;
    }
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, &data, out_size, err));
    *out_owned = data;
    *out_data = data;
    return MYR_OK;
}

void myr_fleet_import_model_drop(import_model *model)
{
    myr_free(model->owned);
    myr_imported_free(model->imported);
    myr_buf_fini(&model->text);
    myr_arena_free(model->arena);
}

/* What our importer does not take of ONNX, and only that, is for ONNX Runtime; a directory is for Python. */
myr_rc myr_fleet_import_read(const import_job *job, const myr_fleet_item *item, const char *const *columns,
                             uint32_t column_count, import_model *out, myr_err *err)
{
    myr_err own = {0};
    MYR_TRY(myr_fleet_import_load(item, &out->owned, &out->data, &out->size, err));
    if (item->data == NULL && myr_io_is_dir(item->path)) {
        out->arena = myr_arena_new(0);
        if (out->arena == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory", import_name(item));
        return myr_fleet_external_read_dir(job->workspace, item, columns, column_count, out->arena, &out->external,
                                           &out->text, err);
    }
    const myr_import_opts opts = {.feature_names = item->features,
                                  .feature_count = item->feature_count,
                                  .first_iteration = item->first_iteration,
                                  .iterations = item->iterations,
                                  .best_iteration = item->best_iteration,
                                  .category_features = item->category_features,
                                  .category_feature_count = item->category_feature_count};
    myr_rc rc = myr_import_with(import_name(item), out->data, out->size, &opts, &out->imported, &own);
    if (rc == MYR_OK) return MYR_OK;
    if (rc != MYR_UNSUPPORTED || !myr_onnx_is(out->data, out->size)) {
        if (err != NULL) *err = own;
        return rc;
    }
    out->arena = myr_arena_new(0);
    if (out->arena == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory", import_name(item));
    return myr_fleet_external_read(job->workspace, item, out->data, out->size, columns, column_count, out->arena,
                                   &out->external, &out->text, err);
}

/* Compile as a release will, and look at what comes out: what is registered can be released. */
static myr_rc import_try_compile(const import_job *job, const import_model *read, myr_err *err)
{
    MYR_AUTO(myr_mem) bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    const char *const *columns = job->fleet.features;
    uint32_t column_count = job->fleet.feature_count;
    if (read->imported != NULL) {
        MYR_TRY(
            myr_imported_compile(read->imported, columns, column_count, NULL, (unsigned char **)&bytes, &size, err));
    } else {
        MYR_TRY(myr_fleet_external_compile(&read->external, read->text.data, read->text.size, columns, column_count,
                                           (unsigned char **)&bytes, &size, err));
    }
    MYR_TRY(myr_model_check(bytes, size, &model, err));
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.output_count != job->fleet.output_count) {
        MYR_FAIL(err, BAD_INPUT, "it gives %u values per row, fleet '%s' has %u (%s)", info.output_count,
                 job->fleet.name, job->fleet.output_count, job->is_new ? "from its first model" : "since it was made");
    }
    return MYR_OK;
}

/* What the registry keeps of a model. */
static myr_rc import_note_item(import_job *job, const import_model *read, const myr_fleet_item *given,
                               import_item *item, myr_err *err)
{
    const myr_imported *imported = read->imported;
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, imported != NULL ? read->data : read->text.data,
                   imported != NULL ? read->size : read->text.size);
    myr_sha256_hex(&sha, item->hex);
    item->artifact_bytes = (int64_t)read->size;
    for (uint32_t i = 1; imported == NULL && i < read->external.file_count; i++)
        item->artifact_bytes += read->external.files[i].size_bytes;
    bool is_python = imported == NULL && strcmp(read->external.runtime, MYR_RUNTIME_PYTHON) == 0;
    item->format = is_python ? "score.py" : myr_format_name(imported != NULL ? imported->format : MYR_FORMAT_ONNX);
    const char *algorithm = imported != NULL ? imported->algorithm : read->external.runtime;
    item->algorithm = import_copy(job, given->algorithm != NULL ? given->algorithm : algorithm);
    item->objective = import_copy(job, imported != NULL && imported->objective != NULL ? imported->objective : "");
    item->external_text = imported != NULL ? NULL : import_copy(job, read->text.data);
    if (item->algorithm == NULL || item->objective == NULL || (imported == NULL && item->external_text == NULL))
        MYR_FAIL(err, NO_MEMORY, "%s: no memory", import_name(given));
    return MYR_OK;
}

static myr_rc import_check_item(import_job *job, size_t item_idx, myr_err *err)
{
    const myr_fleet_item *given = &job->given[item_idx];
    MYR_AUTO(import_model) read = {0};
    MYR_TRY(myr_fleet_import_read(job, given, job->fleet.features, job->fleet.feature_count, &read, err));
    myr_rc rc = import_try_compile(job, &read, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", import_name(given));
    return import_note_item(job, &read, given, &job->items[item_idx], err);
}

myr_rc myr_fleet_import_check_all(import_job *job, myr_err *err)
{
    return import_run_all(job, myr_cpu_count(), import_check_item, err);
}

/* ---- store ---- */

/* Put what a file holds now, which must be what was checked. */
static myr_rc import_put(import_job *job, const myr_fleet_item *given, const char *hex, const void *data, size_t size,
                         myr_err *err)
{
    char stored[MYR_SHA256_HEX_BYTES];
    MYR_TRY(myr_store_put(job->workspace->store, data, size, stored, err));
    if (strcmp(stored, hex) != 0)
        MYR_FAIL(err, CONFLICT, "%s: the file changed while it was imported: run it again", import_name(given));
    return MYR_OK;
}

/* The files of a model for a runtime, then the text that names them. */
static myr_rc import_store_external(import_job *job, const myr_fleet_item *given, const import_item *item,
                                    const void *data, size_t size, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    external_model model = {0};
    char dir[MYR_PATH_BYTES_MAX];
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory", import_name(given));
    MYR_TRY(myr_fleet_external_parse(item->external_text, strlen(item->external_text), arena, &model, err));
    MYR_TRY(import_put(job, given, model.files[0].hex, data, size, err));
    if (given->path != NULL) myr_fleet_external_dir(given, dir, sizeof dir);
    for (uint32_t i = 1; i < model.file_count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        MYR_AUTO(myr_mem) owned = NULL;
        size_t file_size = 0;
        MYR_ASSERT(given->path != NULL); /* else it was refused when it was read */
        MYR_TRY(myr_path_inside(dir, model.files[i].name, path, sizeof path, err));
        MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, (char **)&owned, &file_size, err));
        MYR_TRY(import_put(job, given, model.files[i].hex, owned, file_size, err));
    }
    return import_put(job, given, item->hex, item->external_text, strlen(item->external_text), err);
}

/* Also when the version will turn out to be there already: a damaged artifact is healed by importing it again. */
static myr_rc import_store_item(import_job *job, size_t item_idx, myr_err *err)
{
    const myr_fleet_item *given = &job->given[item_idx];
    const import_item *item = &job->items[item_idx];
    MYR_AUTO(myr_mem) owned = NULL;
    const void *data = NULL;
    size_t size = 0;
    MYR_TRY(myr_fleet_import_load(given, &owned, &data, &size, err));
    if (item->external_text != NULL) return import_store_external(job, given, item, data, size, err);
    return import_put(job, given, item->hex, data, size, err);
}

myr_rc myr_fleet_import_store_all(import_job *job, myr_err *err)
{
    MYR_TRY(import_run_all(job, IMPORT_STORE_THREADS, import_store_item, err));
    return myr_store_sync(job->workspace->store, err);
}

/* ---- register ---- */

static bool import_has_tag(const myr_model_row *row, const myr_tag *tag)
{
    for (uint32_t i = 0; i < row->tag_count; i++) {
        if (strcmp(row->tags[i].key, tag->key) == 0)
            return strcmp(row->tags[i].value, tag->value != NULL ? tag->value : "") == 0;
    }
    return false;
}

static bool import_is_same(const myr_model_row *row, const import_item *item, const myr_fleet_item *given)
{
    if (strcmp(row->artifact, item->hex) != 0 || strcmp(row->algorithm, item->algorithm) != 0) return false;
    if (strcmp(row->options, item->options) != 0) return false;
    if (strcmp(row->features, item->features) != 0 || row->tag_count != given->tag_count) return false;
    for (uint32_t i = 0; i < given->tag_count; i++) {
        if (!import_has_tag(row, &given->tags[i])) return false;
    }
    return true;
}

/* The version that this item would repeat, or 0. */
static myr_rc import_find_same(import_job *job, size_t item_idx, myr_arena *scratch, int64_t *out_version, myr_err *err)
{
    const import_item *item = &job->items[item_idx];
    myr_model_row row;
    myr_arena_reset(scratch);
    *out_version = 0;
    myr_err own = {0};
    myr_rc rc = myr_registry_model_get(job->workspace->registry, scratch, job->fleet.id, item->segment, 0, &row, &own);
    if (rc == MYR_NOT_FOUND) return MYR_OK;
    if (rc != MYR_OK) {
        if (err != NULL) *err = own;
        return rc;
    }
    if (import_is_same(&row, item, &job->given[item_idx])) *out_version = row.version;
    return MYR_OK;
}

static bool import_same_names(const char *const *a, uint32_t a_count, const char *const *b, uint32_t b_count)
{
    if (a_count != b_count) return false;
    for (uint32_t i = 0; i < a_count; i++) {
        if (strcmp(a[i], b[i]) != 0) return false;
    }
    return true;
}

static myr_rc import_register_partition(import_job *job, myr_err *err)
{
    myr_fleet_row *fleet = &job->fleet;
    myr_rc rc = myr_registry_fleet_partition(job->workspace->registry, fleet->id, fleet->partition_columns,
                                             fleet->partition_count, err);
    if (rc != MYR_CONFLICT) return rc;
    MYR_FAIL(err, CONFLICT, "fleet '%s' got its partition columns from another process meanwhile: run it again",
             fleet->name);
}

/* The fleet's row, inside the transaction: another process may have made it since the plan. */
static myr_rc import_register_fleet(import_job *job, myr_arena *scratch, myr_err *err)
{
    myr_fleet_row *fleet = &job->fleet;
    if (job->sets_partition) return import_register_partition(job, err);
    if (!job->is_new) return MYR_OK;
    myr_rc rc = myr_registry_fleet_add(job->workspace->registry, fleet, &fleet->id, err);
    if (rc != MYR_EXISTS) return rc;
    myr_fleet_row there;
    MYR_TRY(myr_registry_fleet_get(job->workspace->registry, scratch, fleet->name, &there, err));
    bool is_same = there.output_count == fleet->output_count && strcmp(there.target, fleet->target) == 0 &&
                   import_same_names(there.features, there.feature_count, fleet->features, fleet->feature_count) &&
                   import_same_names(there.partition_columns, there.partition_count, fleet->partition_columns,
                                     fleet->partition_count);
    if (!is_same) {
        MYR_FAIL(err, CONFLICT, "fleet '%s' was made by another process meanwhile, with other columns: run it again",
                 fleet->name);
    }
    fleet->id = there.id;
    return MYR_OK;
}

static myr_rc import_register_item(import_job *job, size_t item_idx, myr_arena *scratch, myr_err *err)
{
    const myr_fleet_item *given = &job->given[item_idx];
    import_item *item = &job->items[item_idx];
    int64_t same_version = 0;
    MYR_TRY(import_find_same(job, item_idx, scratch, &same_version, err));
    item->is_reused = same_version > 0;
    item->version = same_version;
    if (item->is_reused) return MYR_OK;
    myr_model_row row = {
        .segment = item->segment,
        .key_columns = item->key_columns,
        .algorithm = item->algorithm,
        .format = item->format,
        .artifact = item->hex,
        .features = item->features,
        .options = item->options,
        .artifact_bytes = item->artifact_bytes,
        .objective = item->objective,
        .metrics = given->metrics,
        .fingerprint = given->fingerprint,
        .source = given->source != NULL ? given->source : given->path,
        .baseline = given->baseline,
        .created_ms = myr_clock_unix_ms(),
        .tags = given->tags,
        .tag_count = given->tag_count,
    };
    return myr_registry_model_add(job->workspace->registry, job->fleet.id, &row, &item->version, err);
}

static myr_rc import_register_all(import_job *job, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) scratch = myr_arena_new(0);
    if (scratch == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to register models");
    MYR_TRY(import_register_fleet(job, scratch, err));
    for (size_t i = 0; i < job->item_count; i++) {
        myr_rc rc = import_register_item(job, i, scratch, err);
        if (rc == MYR_BAD_INPUT) { /* a tag or metric of this very item; anything else is the registry's trouble */
            job->failed_item = i;
            return myr_err_prefix(err, rc, "%s: ", import_name(&job->given[i]));
        }
        MYR_TRY(rc);
    }
    return MYR_OK;
}

myr_rc myr_fleet_import_register(import_job *job, myr_err *err)
{
    myr_registry *registry = job->workspace->registry;
    MYR_TRY(myr_registry_begin(registry, err));
    myr_rc rc = import_register_all(job, err);
    if (rc == MYR_OK) return myr_registry_commit(registry, err);
    myr_registry_rollback(registry);
    return rc;
}

/* ---- all of it ---- */

static myr_rc import_copy_segments(const import_job *job, const char ***out, myr_err *err)
{
    const char **segments = myr_arena_calloc(job->arena, job->item_count, sizeof *segments);
    for (size_t i = 0; segments != NULL && i < job->item_count; i++) {
        const char *text = job->items[i].segment;
        segments[i] = myr_arena_strndup(job->def->out_arena, text, strlen(text));
        if (segments[i] == NULL) segments = NULL;
    }
    if (segments == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the names of %zu segments", job->item_count);
    *out = segments;
    return MYR_OK;
}

static myr_rc import_steps(import_job *job, myr_err *err)
{
    MYR_TRY(myr_fleet_import_plan(job, err));
    if (job->def->out_arena != NULL) MYR_TRY(import_copy_segments(job, &job->out_segments, err));
    MYR_TRY(myr_fleet_import_check_all(job, err));
    MYR_TRY(myr_fleet_import_store_all(job, err));
    return myr_fleet_import_register(job, err);
}

myr_rc myr_fleet_import(myr_workspace *workspace, const myr_fleet_def *def, myr_fleet_item *items, size_t item_count,
                        myr_progress progress, void *progress_ctx, size_t *out_item, myr_err *err)
{
    import_job job = {.workspace = workspace,
                      .def = def,
                      .given = items,
                      .item_count = item_count,
                      .failed_item = item_count,
                      .progress = progress,
                      .progress_ctx = progress_ctx};
    if (item_count == 0) MYR_FAIL(err, BAD_INPUT, "no models to import");
    if (item_count > MYR_PACK_MODELS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%zu models, a fleet has at most %d", item_count, MYR_PACK_MODELS_MAX);
    }
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    job.arena = arena;
    if (arena == NULL || (job.items = myr_arena_calloc(arena, item_count, sizeof *job.items)) == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory to import %zu models", item_count);
    }
    myr_mutex_init(&job.lock);
    myr_rc rc = import_steps(&job, err);
    myr_mutex_fini(&job.lock);
    if (rc != MYR_OK) {
        if (out_item != NULL) *out_item = job.failed_item;
        return rc;
    }
    for (size_t i = 0; i < item_count; i++) {
        items[i].out_version = job.items[i].version;
        items[i].out_reused = job.items[i].is_reused;
        if (job.out_segments != NULL) items[i].out_segment = job.out_segments[i];
    }
    return MYR_OK;
}
