/*
 * Compacting a fleet: the champion's models copied into one blob file, as a release of its own. Nightly releases keep
 * unchanged models by reference, so after many of them an index names many files, most of whose bytes nobody uses.
 * With prune, older releases that no alias names are forgotten, and blob files that no index names any more are
 * removed.
 */
#include "fleet/release.h"

/* ---- which models ---- */

/* The champion's models, and its pack open. */
static myr_rc compact_gather(release_job *job, myr_err *err)
{
    myr_registry *registry = job->workspace->registry;
    char path[MYR_PATH_BYTES_MAX];
    int64_t champion = 0;
    myr_release_row row;
    MYR_TRY(myr_registry_alias_get(registry, job->fleet.id, FLEET_CHAMPION, &champion, err));
    MYR_TRY(myr_registry_release_get(registry, job->arena, job->fleet.id, champion, &row, err));
    MYR_TRY(myr_registry_release_models(registry, job->arena, job->fleet.id, champion, &job->models, &job->model_count,
                                        err));
    MYR_TRY(myr_fleet_release_describe(job, err));
    MYR_TRY(myr_path_join(path, sizeof path, job->workspace->root, row.pack, err));
    MYR_TRY(myr_pack_open(path, &job->earlier, err));
    job->info.keys = myr_pack_get_info(job->earlier)->keys; /* the keys as the copied models have them */
    job->copies = true;
    return MYR_OK;
}

/* One file, all of it in use (but for its two ends). */
static myr_rc compact_is_done(const release_job *job, bool *out_is, myr_err *err)
{
    myr_pack_contents contents;
    MYR_TRY(myr_pack_list_files(job->earlier, job->arena, &contents, err));
    *out_is = contents.file_count == 0 ||
              (contents.file_count == 1 &&
               contents.files[0].file_bytes - contents.files[0].used_bytes <= 2 * (uint64_t)MYR_MODEL_ALIGN);
    return MYR_OK;
}

/* ---- prune ---- */

/* Mark the blob files that a release's index names. A pack that can't be read ends it: then nothing is removed. */
static myr_rc prune_mark_used(release_job *job, const char *pack_path, myr_map *used, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    myr_pack_contents contents;
    MYR_TRY(myr_path_join(path, sizeof path, job->workspace->root, pack_path, err));
    MYR_TRY(myr_pack_open(path, &pack, err));
    MYR_TRY(myr_pack_list_files(pack, job->arena, &contents, err));
    for (uint32_t i = 0; i < contents.file_count; i++) {
        MYR_TRY(myr_map_put(used, myr_str_of(contents.files[i].name), 1, err));
    }
    return MYR_OK;
}

static myr_rc prune_remove(const char *path, int64_t *freed_bytes, myr_err *err)
{
    int64_t size = 0;
    if (!myr_io_exists(path)) return MYR_OK; /* an earlier prune was killed behind it */
    MYR_TRY(myr_io_size(path, &size, err));
    MYR_TRY(myr_io_unlink(path, err));
    *freed_bytes += size;

    return MYR_OK;
}

/* Forget one release: the index file first, then the row. A kill between them leaves a row whose pack is gone, which
 * the next prune forgets. */
static myr_rc prune_release(release_job *job, const myr_release_row *row, myr_compact_report *out, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, job->workspace->root, row->pack, err));
    MYR_TRY(prune_remove(path, &out->freed_bytes, err));
    MYR_TRY(myr_registry_release_remove(job->workspace->registry, job->fleet.id, row->number, err));
    out->pruned_releases++;
    return MYR_OK;
}

static myr_rc prune_blobs(release_job *job, const myr_map *used, myr_compact_report *out, myr_err *err)
{
    char **names = NULL;
    size_t count = 0;
    MYR_TRY(myr_io_list(job->dir, &names, &count, err));
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        myr_str name = myr_str_of(names[i]);
        if (!myr_str_ends_with(name, ".blobs") || myr_map_find(used, name, NULL)) continue;
        rc = myr_path_join(path, sizeof path, job->dir, names[i], err);
        if (rc == MYR_OK) rc = prune_remove(path, &out->freed_bytes, err);
    }
    myr_names_free(names, count);
    return rc;
}

/* Named by an alias, or made after the release that was the champion: somebody may still promote it. */
static bool prune_keeps(const release_job *job, const myr_release_row *row)
{
    return row->aliases[0] != '\0' || row->number > myr_pack_get_info(job->earlier)->release;
}

static myr_rc prune_steps(release_job *job, myr_map *used, myr_compact_report *out, myr_err *err)
{
    myr_release_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_releases(job->workspace->registry, job->arena, job->fleet.id, &rows, &count, err));
    for (size_t i = 0; i < count; i++) { /* all that stays is readable, or nothing goes */
        if (prune_keeps(job, &rows[i])) MYR_TRY(prune_mark_used(job, rows[i].pack, used, err));
    }
    for (size_t i = 0; i < count; i++) {
        if (!prune_keeps(job, &rows[i])) MYR_TRY(prune_release(job, &rows[i], out, err));
    }
    MYR_TRY(prune_blobs(job, used, out, err));
    return myr_io_sync_dir(job->dir, err);
}

static myr_rc compact_prune(release_job *job, myr_compact_report *out, myr_err *err)
{
    myr_map *used = myr_map_new();
    if (used == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to prune '%s'", job->fleet.name);
    myr_rc rc = prune_steps(job, used, out, err);
    myr_map_free(used);
    return rc;
}

/* ---- all of it ---- */

static myr_rc compact_steps(release_job *job, const char *fleet, bool prune, myr_compact_report *out, myr_err *err)
{
    MYR_TRY(myr_registry_fleet_get(job->workspace->registry, job->arena, fleet, &job->fleet, err));
    MYR_TRY(myr_fleet_packs_dir(job->workspace, job->fleet.name, job->dir, sizeof job->dir, err));
    MYR_TRY(myr_fleet_release_lock(job, err));
    MYR_TRY(compact_gather(job, err));
    MYR_TRY(compact_is_done(job, &out->reused, err));
    out->model_count = (int64_t)job->model_count;
    out->number = myr_pack_get_info(job->earlier)->release;
    if (!out->reused) {
        MYR_TRY(myr_fleet_release_clean(job, err));
        MYR_TRY(myr_fleet_release_write_pack(job, err));
        MYR_TRY(myr_fleet_release_register(job, true, err));
        out->number = job->number;
    }
    MYR_TRY(myr_fleet_release_pack_bytes(job, out->number, &out->pack_bytes, err));
    return prune ? compact_prune(job, out, err) : MYR_OK;
}

myr_rc myr_release_compact(myr_workspace *workspace, const char *fleet, bool prune, myr_compact_report *out,
                           myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_mem) block = myr_calloc(1, sizeof(release_job));
    if (arena == NULL || block == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to compact '%.128s'", fleet);
    release_job *job = block;
    job->workspace = workspace;
    job->arena = arena;
    job->lock = -1;
    myr_compact_report report = {0};
    myr_rc rc = compact_steps(job, fleet, prune, &report, err);
    myr_pack_close(job->earlier);
    myr_fd_drop(&job->lock);
    if (rc == MYR_OK) *out = report;
    return rc;
}
