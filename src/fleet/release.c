/*
 * Making a release: the newest version of each segment, in one order, into one pack; the registry row last. Models that
 * an earlier pack has are taken over by reference, the others are compiled from their artifacts, a few at a time.
 * One process makes releases of a fleet at a time (a file lock); one that is killed leaves at most files of a number
 * that was never registered, which the next one removes.
 */
#include "fleet/release.h"

#include <string.h>

#define RELEASE_LOCK         ".lock"
#define RELEASE_LOCK_LOOK_MS 50

/* ---- the lock, and what a killed process left ---- */

myr_rc myr_fleet_release_lock(release_job *job, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    char packs[MYR_PATH_BYTES_MAX];
    bool is_new = !myr_io_is_dir(job->dir);
    MYR_TRY(myr_io_mkdirs(job->dir, err));
    if (is_new) {
        myr_path_dir(job->dir, packs, sizeof packs);
        MYR_TRY(myr_io_sync_dir(packs, err));
    }
    MYR_TRY(myr_path_join(path, sizeof path, job->dir, RELEASE_LOCK, err));
    for (int waited_ms = 0;; waited_ms += RELEASE_LOCK_LOOK_MS) {
        myr_err own = {0};
        myr_rc rc = myr_io_lock(path, &job->lock, &own);
        if (rc != MYR_OK && rc != MYR_BUSY && err != NULL) *err = own;
        if (rc != MYR_BUSY) return rc;
        if (waited_ms >= MYR_RELEASE_WAIT_MS) break;
        myr_clock_sleep_ms(RELEASE_LOCK_LOOK_MS);
    }
    MYR_FAIL(err, BUSY,
             "another process is making a release of '%s' (%.100s is locked, waited %d s): try again when it is done",
             job->fleet.name, path, MYR_RELEASE_WAIT_MS / 1000);
}

/* The number of `r12.index`, `r12.blobs`, `r12.index.tmp`…; 0 if it is no such name. */
static int64_t release_number_of(const char *name)
{
    myr_str rest = myr_str_of(name);
    myr_str number_text;
    int64_t number = 0;
    if (rest.size < 2 || rest.data[0] != 'r') return 0;
    rest = myr_str_make(rest.data + 1, rest.size - 1);
    if (!myr_str_split(&rest, '.', &number_text) || rest.data == NULL) return 0;
    return myr_is_canonical_int64(number_text, &number) ? number : 0;
}

static myr_rc release_remove(const release_job *job, const char *name, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, job->dir, name, err));
    return myr_io_unlink(path, err);
}

/* Remove the files of numbers that no registered release has. Index files first: none may name a blob file that is
 * gone. */
myr_rc myr_fleet_release_clean(const release_job *job, myr_err *err)
{
    char **names = NULL;
    size_t count = 0;
    MYR_TRY(myr_io_list(job->dir, &names, &count, err));
    myr_rc rc = MYR_OK;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; rc == MYR_OK && i < count; i++) {
            bool is_index = myr_str_ends_with(myr_str_of(names[i]), ".index");
            if (is_index == (pass == 0) && release_number_of(names[i]) >= job->number)
                rc = release_remove(job, names[i], err);
        }
    }
    myr_names_free(names, count);
    return rc;
}

/* ---- what goes in ---- */

/* A column is INT64 if all its values over these models are canonical integers (also if no model names it). */
static myr_rc release_key_schema(release_job *job, myr_err *err)
{
    myr_key_schema *keys = &job->info.keys;
    keys->column_count = job->fleet.partition_count;
    for (uint32_t k = 0; k < keys->column_count; k++) {
        const char *name = job->fleet.partition_columns[k];
        size_t size = strlen(name);
        MYR_ASSERT(size <= MYR_NAME_BYTES_MAX);
        memcpy(keys->columns[k].name, name, size + 1);
        keys->columns[k].type = MYR_KEY_INT64;
    }
    for (size_t i = 0; i < job->model_count; i++) {
        myr_segment segment;
        MYR_TRY(myr_segment_parse(myr_str_of(job->models[i].segment), &segment, err));
        for (uint32_t p = 0; p < segment.part_count; p++) {
            for (uint32_t k = 0; k < keys->column_count; k++) {
                if (strcmp(segment.parts[p].name, keys->columns[k].name) != 0) continue;
                keys->columns[k].type =
                    myr_key_type_after(keys->columns[k].type, segment.parts[p].value, segment.parts[p].value_size);
            }
        }
    }
    return MYR_OK;
}

myr_rc myr_fleet_release_describe(release_job *job, myr_err *err)
{
    myr_registry *registry = job->workspace->registry;
    MYR_TRY(myr_registry_releases(registry, job->arena, job->fleet.id, &job->releases, &job->release_count, err));
    MYR_TRY(myr_registry_release_next(registry, job->fleet.id, &job->number, err));
    job->info = (myr_pack_info){
        .fleet = job->fleet.name,
        .release = job->number,
        .features = job->fleet.features,
        .feature_count = job->fleet.feature_count,
        .output_count = job->fleet.output_count,
        .model_count = (uint32_t)job->model_count,
    };
    return release_key_schema(job, err);
}

static myr_rc release_gather(release_job *job, const char *fleet, myr_err *err)
{
    myr_registry *registry = job->workspace->registry;
    myr_model_filter filter = {.newest_only = true, .brief = true};
    MYR_TRY(myr_registry_models(registry, job->arena, job->fleet.id, &filter, &job->models, &job->model_count, err));
    if (job->model_count == 0) {
        MYR_FAIL(err, NOT_FOUND, "fleet '%s' has no models: `myriad train` or `myriad model import` bring some", fleet);
    }
    return myr_fleet_release_describe(job, err);
}

/* ---- earlier releases ---- */

static bool release_same_keys(const myr_key_schema *a, const myr_key_schema *b)
{
    if (a->column_count != b->column_count) return false;
    for (uint32_t k = 0; k < a->column_count; k++) {
        if (a->columns[k].type != b->columns[k].type || strcmp(a->columns[k].name, b->columns[k].name) != 0)
            return false;
    }
    return true;
}

/* Open the pack of a registered release if it fits; a damaged or missing one is as good as none. */
static myr_pack *release_open_fitting(const release_job *job, const myr_release_row *release)
{
    char path[MYR_PATH_BYTES_MAX];
    myr_pack *pack = NULL;
    if (myr_path_join(path, sizeof path, job->workspace->root, release->pack, NULL) != MYR_OK) return NULL;
    if (myr_pack_open(path, &pack, NULL) != MYR_OK) return NULL;
    const myr_pack_info *info = myr_pack_get_info(pack);
    if (myr_fleet_check_pack(&job->fleet, info, path, NULL) == MYR_OK &&
        release_same_keys(&info->keys, &job->info.keys))
        return pack;
    myr_pack_close(pack);
    return NULL;
}

/* The newest earlier release whose models can be taken over. */
static void release_find_earlier(release_job *job)
{
    size_t looked = 0;
    for (size_t i = job->release_count; i > 0 && job->earlier == NULL && looked < RELEASE_LOOK_BACK_MAX;
         i--, looked++) {
        job->earlier = release_open_fitting(job, &job->releases[i - 1]);
        job->earlier_is_newest = job->earlier != NULL && i == job->release_count;
    }
}

/* Is the newest release this very one, and undamaged? */
static myr_rc release_is_newest(release_job *job, bool *out_is, myr_err *err)
{
    *out_is = false;
    if (!job->earlier_is_newest) return MYR_OK;
    int64_t *ids = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_release_model_ids(job->workspace->registry, job->arena, job->fleet.id,
                                           job->releases[job->release_count - 1].number, &ids, &count, err));
    if (count != job->model_count || myr_pack_get_info(job->earlier)->model_count != count) return MYR_OK;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] != job->models[i].id) return MYR_OK;
    }
    uint32_t broken = 0;
    bool is = myr_pack_verify(job->earlier, &broken, NULL) == MYR_OK;
    for (uint32_t i = 0; is && i < count; i++) {
        const myr_model *model = NULL;
        is = myr_pack_model(job->earlier, i, &model, NULL) == MYR_OK && myr_fleet_model_explains_as(&job->fleet, model);
    }
    *out_is = is;
    return MYR_OK;
}

/* ---- registering ---- */

myr_rc myr_fleet_release_register(release_job *job, bool promote, myr_err *err)
{
    myr_registry *registry = job->workspace->registry;
    int64_t *ids = myr_arena_calloc(job->arena, job->model_count, sizeof *ids);
    char *pack =
        myr_arena_printf(job->arena, "%s/%s/r%lld.index", FLEET_PACKS, job->fleet.name, (long long)job->number);
    if (ids == NULL || pack == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory to register release %lld", (long long)job->number);
    for (size_t i = 0; i < job->model_count; i++)
        ids[i] = job->models[i].id;
    myr_release_row row = {.number = job->number, .created_ms = myr_clock_unix_ms(), .pack = pack};
    MYR_TRY(myr_registry_begin(registry, err));
    myr_rc rc = myr_registry_release_add(registry, job->fleet.id, &row, ids, job->model_count, err);
    if (rc == MYR_OK && promote) rc = myr_registry_alias_set(registry, job->fleet.id, FLEET_CHAMPION, job->number, err);
    if (rc == MYR_OK) return myr_registry_commit(registry, err);
    myr_registry_rollback(registry);
    return rc;
}

/* What the release takes on disk by itself: its index, and its own blob file if it has one. */
myr_rc myr_fleet_release_pack_bytes(const release_job *job, int64_t number, int64_t *out_bytes, myr_err *err)
{
    char name[RELEASE_NAME_BYTES];
    char path[MYR_PATH_BYTES_MAX];
    int64_t index_bytes = 0;
    int64_t blob_bytes = 0;
    release_file_name(number, ".index", name);
    MYR_TRY(myr_path_join(path, sizeof path, job->dir, name, err));
    MYR_TRY(myr_io_size(path, &index_bytes, err));
    release_file_name(number, ".blobs", name);
    MYR_TRY(myr_path_join(path, sizeof path, job->dir, name, err));
    if (myr_io_exists(path)) MYR_TRY(myr_io_size(path, &blob_bytes, err));
    *out_bytes = index_bytes + blob_bytes;
    return MYR_OK;
}

static myr_rc release_reuse(release_job *job, bool promote, myr_release_report *out, myr_err *err)
{
    int64_t number = job->releases[job->release_count - 1].number;
    MYR_TRY(myr_fleet_release_pack_bytes(job, number, &out->pack_bytes, err));
    if (promote) MYR_TRY(myr_registry_alias_set(job->workspace->registry, job->fleet.id, FLEET_CHAMPION, number, err));
    out->number = number;
    out->reused = true;
    return MYR_OK;
}

/* ---- all of it ---- */

static myr_rc release_steps(release_job *job, const char *fleet, bool promote, myr_release_report *out, myr_err *err)
{
    bool is_newest = false;
    MYR_TRY(myr_registry_fleet_get(job->workspace->registry, job->arena, fleet, &job->fleet, err));
    MYR_TRY(myr_fleet_packs_dir(job->workspace, job->fleet.name, job->dir, sizeof job->dir, err));
    MYR_TRY(myr_fleet_release_lock(job, err));
    MYR_TRY(release_gather(job, fleet, err)); /* under the lock: the number is ours until it is registered */
    release_find_earlier(job);
    MYR_TRY(release_is_newest(job, &is_newest, err));
    out->model_count = (int64_t)job->model_count;
    out->promoted = promote;
    out->explain = job->fleet.explain;
    if (is_newest) return release_reuse(job, promote, out, err);
    MYR_TRY(myr_fleet_release_clean(job, err));
    MYR_TRY(myr_fleet_release_write_pack(job, err));
    MYR_TRY(myr_fleet_release_pack_bytes(job, job->number, &out->pack_bytes, err));
    MYR_TRY(myr_fleet_release_register(job, promote, err));
    out->number = job->number;
    out->new_models = job->new_models;
    return MYR_OK;
}

myr_rc myr_release_create(myr_workspace *workspace, const char *fleet, bool promote, myr_release_report *out,
                          myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_mem) block = myr_calloc(1, sizeof(release_job));
    if (arena == NULL || block == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to make a release of '%.128s'", fleet);
    release_job *job = block;
    job->workspace = workspace;
    job->arena = arena;
    job->lock = -1;
    myr_release_report report = {0};
    myr_rc rc = release_steps(job, fleet, promote, &report, err);
    myr_pack_close(job->earlier);
    myr_fd_drop(&job->lock);
    if (rc == MYR_OK) *out = report;
    return rc;
}

myr_rc myr_fleet_set_explain(myr_workspace *workspace, const char *fleet, bool explain, myr_err *err)
{
    myr_fleet_row row;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to look at '%.128s'", fleet);
    MYR_TRY(myr_registry_fleet_get(workspace->registry, arena, fleet, &row, err));
    if (row.explain == explain) return MYR_OK;
    return myr_registry_fleet_explain(workspace->registry, row.id, explain, err);
}

myr_rc myr_release_promote(myr_workspace *workspace, const char *fleet, int64_t number, myr_err *err)
{
    return myr_release_set_alias(workspace, fleet, FLEET_CHAMPION, number, err);
}

myr_rc myr_release_rollback(myr_workspace *workspace, const char *fleet, const char *alias, int64_t *out_number,
                            myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row row;
    int64_t now = 0, before = 0;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to roll fleet '%.128s' back", fleet);
    MYR_TRY(myr_registry_fleet_get(workspace->registry, arena, fleet, &row, err));
    MYR_TRY(myr_registry_alias_get(workspace->registry, row.id, alias, &now, err));
    myr_rc rc = myr_registry_alias_previous(workspace->registry, row.id, alias, &before, err);
    if (rc == MYR_NOT_FOUND && strcmp(alias, FLEET_CHAMPION) != 0) {
        MYR_TRY(myr_registry_alias_remove(workspace->registry, row.id, alias, err));
    } else {
        MYR_TRY(rc);
        MYR_TRY(myr_release_set_alias(workspace, fleet, alias, before, err));
    }
    *out_number = before;
    return MYR_OK;
}

myr_rc myr_release_set_alias(myr_workspace *workspace, const char *fleet, const char *alias, int64_t number,
                             myr_err *err)
{
    MYR_AUTO(myr_fleet_ptr) opened = NULL; /* a release that cannot be opened is not promoted */
    if (number < 1) MYR_FAIL(err, BAD_INPUT, "release %lld: the first release is 1", (long long)number);
    MYR_TRY(myr_fleet_open(workspace, fleet, number, &opened, err));
    return myr_registry_alias_set(workspace->registry, opened->row.id, alias, number, err);
}
