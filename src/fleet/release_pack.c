/*
 * The pack of a release: models in the order of the registry, so that the same models give the same bytes. A window of
 * a few models is in memory at once: those that must be compiled are compiled in parallel, then all are written in
 * order.
 */
#include <string.h>

#include "fleet/external.h"
#include "fleet/import.h"
#include "fleet/release.h"
#include "import/import.h"

/* ---- one model ---- */

/* Names that replace the file's, from the registry's text (one per line). *out_names is NULL when there are none. */
static myr_rc compile_names(const myr_model_row *model, myr_arena *arena, const char ***out_names, uint32_t *out_count,
                            myr_err *err)
{
    *out_names = NULL;
    *out_count = 0;
    if (model->features[0] == '\0') return MYR_OK;
    size_t count = 1;
    for (const char *c = model->features; *c != '\0'; c++)
        count += *c == '\n';
    const char **names = count <= MYR_FEATURES_MAX ? myr_arena_calloc(arena, count, sizeof *names) : NULL;
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu feature names", count);
    myr_str rest = myr_str_of(model->features);
    myr_str name;
    for (size_t i = 0; myr_str_split(&rest, '\n', &name); i++) {
        MYR_ASSERT(i < count);
        names[i] = myr_arena_strndup(arena, name.data, name.size);
        if (names[i] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu feature names", count);
    }
    *out_names = names;
    *out_count = (uint32_t)count;
    return MYR_OK;
}

static myr_rc compile_steps(myr_workspace *workspace, const myr_fleet_row *fleet, const myr_model_row *model,
                            unsigned char **out_bytes, size_t *out_size, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_mem) data = NULL;
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    size_t size = 0;
    const char **names = NULL;
    myr_import_opts import_opts = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to compile it");
    MYR_TRY(compile_names(model, arena, &names, &import_opts.feature_count, err));
    import_opts.feature_names = names;
    MYR_TRY(myr_fleet_options_parse(model->options, arena, &import_opts, err));
    MYR_TRY(myr_store_get(workspace->store, model->artifact, (char **)&data, &size, err));
    if (myr_fleet_external_is(data, size)) {
        external_model external = {0};
        MYR_TRY(myr_fleet_external_parse(data, size, arena, &external, err));
        return myr_fleet_external_compile(&external, data, size, fleet->features, fleet->feature_count, out_bytes,
                                          out_size, err);
    }
    MYR_TRY(myr_import_with("artifact", data, size, &import_opts, &imported, err));
    myr_compile_opts opts = {.explain = fleet->explain};
    return myr_imported_compile(imported, fleet->features, fleet->feature_count, &opts, out_bytes, out_size, err);
}

myr_rc myr_fleet_compile_row(myr_workspace *workspace, const myr_fleet_row *fleet, const myr_model_row *model,
                             unsigned char **out_bytes, size_t *out_size, myr_err *err)
{
    myr_rc rc = compile_steps(workspace, fleet, model, out_bytes, out_size, err);
    if (rc == MYR_OK) return MYR_OK;
    return myr_err_prefix(err, rc, "%s@%s version %lld: ", fleet->name, model->segment, (long long)model->version);
}

myr_rc myr_fleet_model_load(myr_workspace *workspace, const myr_fleet_row *fleet, const myr_model_row *model,
                            unsigned char **out_bytes, const myr_model **out, myr_err *err)
{
    MYR_AUTO(myr_mem) bytes = NULL;
    size_t size = 0;
    MYR_TRY(myr_fleet_compile_row(workspace, fleet, model, (unsigned char **)&bytes, &size, err));
    MYR_TRY(myr_model_check(bytes, size, out, err));
    *out_bytes = bytes;
    bytes = NULL;
    return MYR_OK;
}

/* A kept model must be as the fleet's releases are to be; one without trees is the same either way. */
bool myr_fleet_model_explains_as(const myr_fleet_row *fleet, const myr_model *model)
{
    myr_model_info info;
    myr_model_get_info(model, &info);
    return info.kind != MYR_MODEL_TREES || myr_model_has_explanations(model) == fleet->explain;
}

/* ---- a window of models ---- */

typedef struct release_slot {
    const myr_model_row *model;
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t key_bytes;
    uint32_t earlier_idx; /* in the earlier pack, or MYR_PACK_NONE: compile */
    unsigned char *bytes;
    size_t size_bytes;
} release_slot;

typedef struct release_window {
    release_job *job;
    release_slot slots[RELEASE_WINDOW];
    size_t count;
} release_window;

/* The same version under the same key, undamaged: the same bytes. */
static void slot_find_earlier(const release_job *job, release_slot *slot)
{
    uint32_t idx = MYR_PACK_NONE;
    myr_pack_entry entry;
    const myr_model *model = NULL;
    slot->earlier_idx = MYR_PACK_NONE;
    if (job->earlier == NULL) return;
    uint64_t hash = myr_key_hash(slot->key, slot->key_bytes);
    if (myr_pack_find(job->earlier, slot->key, slot->key_bytes, hash, &idx, NULL) != MYR_OK || idx == MYR_PACK_NONE)
        return;
    if (myr_pack_get_entry(job->earlier, idx, &entry, NULL) != MYR_OK || entry.version != slot->model->version) return;
    if (myr_pack_model(job->earlier, idx, &model, NULL) != MYR_OK) return;
    if (job->copies || myr_fleet_model_explains_as(&job->fleet, model)) slot->earlier_idx = idx;
}

static myr_rc slot_fill(const release_job *job, const myr_model_row *model, release_slot *slot, myr_err *err)
{
    myr_segment segment;
    MYR_TRY(myr_segment_parse(myr_str_of(model->segment), &segment, err));
    MYR_TRY(myr_key_from_segment(&job->info.keys, &segment, slot->key, &slot->key_bytes, err));
    slot->model = model;
    slot_find_earlier(job, slot);
    return MYR_OK;
}

static myr_rc slot_compile(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    (void)thread_idx;
    release_window *window = ctx;
    release_slot *slot = &window->slots[item_idx];
    if (slot->earlier_idx != MYR_PACK_NONE) return MYR_OK;
    return myr_fleet_compile_row(window->job->workspace, &window->job->fleet, slot->model, &slot->bytes,
                                 &slot->size_bytes, err);
}

/* The bytes of the earlier pack, checked again on their way. */
static myr_rc slot_copy(release_job *job, const release_slot *slot, myr_pack_writer *writer, myr_err *err)
{
    myr_pack_entry entry;
    const myr_model *model = NULL;
    if (slot->earlier_idx == MYR_PACK_NONE) {
        MYR_FAIL(err, BAD_FORMAT, "%s@%s version %lld is not whole in the pack: `myriad release create %s` heals it",
                 job->fleet.name, slot->model->segment, (long long)slot->model->version, job->fleet.name);
    }
    MYR_TRY(myr_pack_get_entry(job->earlier, slot->earlier_idx, &entry, err));
    MYR_TRY(myr_pack_model(job->earlier, slot->earlier_idx, &model, err));
    job->new_models++;
    return myr_pack_writer_add(writer, slot->key, slot->key_bytes, slot->model->version, (const unsigned char *)model,
                               entry.model_bytes, err);
}

static myr_rc slot_write(release_job *job, release_slot *slot, myr_pack_writer *writer, myr_err *err)
{
    if (job->copies) return slot_copy(job, slot, writer, err);
    if (slot->earlier_idx != MYR_PACK_NONE) {
        myr_rc rc = myr_pack_writer_keep(writer, job->earlier, slot->earlier_idx, slot->model->version, err);
        /* TOO_LARGE: the index names as many files as it may. Compiling anew is how old files come to be forgotten. */
        if (rc != MYR_TOO_LARGE && rc != MYR_BAD_FORMAT) return rc;
        MYR_TRY(myr_fleet_compile_row(job->workspace, &job->fleet, slot->model, &slot->bytes, &slot->size_bytes, err));
    }
    job->new_models++;
    return myr_pack_writer_add(writer, slot->key, slot->key_bytes, slot->model->version, slot->bytes, slot->size_bytes,
                               err);
}

static myr_rc window_run(release_window *window, size_t first, myr_pack_writer *writer, myr_err *err)
{
    release_job *job = window->job;
    size_t compiled = 0;
    for (size_t i = 0; i < window->count; i++) {
        MYR_TRY(slot_fill(job, &job->models[first + i], &window->slots[i], err));
        if (window->slots[i].earlier_idx == MYR_PACK_NONE && !job->copies) compiled++;
    }
    /* Most windows of a nightly release are kept whole: no threads for those. */
    if (compiled > 0) MYR_TRY(myr_parallel(myr_cpu_count(), window->count, slot_compile, window, err));
    for (size_t i = 0; i < window->count; i++) {
        MYR_TRY(slot_write(job, &window->slots[i], writer, err));
    }
    return MYR_OK;
}

static void window_clear(release_window *window)
{
    for (size_t i = 0; i < RELEASE_WINDOW; i++) {
        myr_free(window->slots[i].bytes);
        window->slots[i].bytes = NULL;
    }
}

myr_rc myr_fleet_release_write_pack(release_job *job, myr_err *err)
{
    char name[RELEASE_NAME_BYTES];
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    MYR_AUTO(myr_mem) block = myr_calloc(1, sizeof(release_window));
    if (block == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to write release %lld", (long long)job->number);
    release_window *window = block;
    window->job = job;
    release_file_name(job->number, "", name);
    MYR_TRY(myr_pack_writer_open(job->dir, name, &job->info, &writer, err));
    for (size_t first = 0; first < job->model_count; first += RELEASE_WINDOW) {
        size_t left = job->model_count - first;
        window->count = left < RELEASE_WINDOW ? left : RELEASE_WINDOW;
        myr_rc rc = window_run(window, first, writer, err);
        window_clear(window);
        if (rc != MYR_OK) return rc;
    }
    return myr_pack_writer_commit(writer, err);
}
