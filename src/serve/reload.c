/*
 * A look at the registry: a new snapshot when fleets, releases or tokens are others than before. What can't be opened
 * keeps what was served, and is logged once.
 */
#include "serve/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELOAD_CHALLENGER "challenger"

/* Log a fleet that can't be opened once per release and reason. */
static void reload_note_failure(serve_reloader *reloader, const char *name, int64_t release, bool keeps,
                                const myr_err *failed)
{
    reloader->has_failures = true;
    myr_metric_add(reloader->server->reload_failures, 1);
    reload_failure *slot = NULL;
    for (size_t i = 0; i < reloader->failure_count && slot == NULL; i++) {
        if (strcmp(reloader->failures[i].name, name) == 0) slot = &reloader->failures[i];
    }
    uint64_t said = myr_hash64(failed->message, strlen(failed->message), 0);
    if (slot != NULL && slot->release == release && slot->said == said) return;
    if (slot == NULL && reloader->failure_count < RELOAD_FAILURES_MAX)
        slot = &reloader->failures[reloader->failure_count++];
    if (slot != NULL) {
        memset(slot->name, 0, sizeof slot->name);
        memcpy(slot->name, name, strnlen(name, sizeof slot->name - 1));
        slot->release = release;
        slot->said = said;
    }
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)release);
    myr_log(MYR_LOG_ERROR, "serve", "fleet not opened", "fleet", name, "release", number, "now",
            keeps ? "what was served goes on" : "not served", "error", failed->message, NULL);
}

/* A fleet that is opened while serving is worth a line; those of the start, or of a file, are announced together. */
static void reload_note_open(const serve_reloader *reloader, const char *name, int64_t release)
{
    if (reloader->is_trying) return;
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)release);
    myr_log(MYR_LOG_INFO, "serve", "fleet opened", "fleet", name, "release", number, NULL);
}
/*
 * The fleet as it is to be served: open already, or opened now. What can't be opened leaves the release before, opened
 * by the plan as it is now if that is another; *failed then says why it is not the one that it should be.
 */
static myr_rc reload_open(serve_reloader *reloader, const char *name, int64_t release, const serve_snapshot *old,
                          serve_fleet **out, bool *out_plan_is_bad, myr_err *failed)
{
    serve_fleet *before = old != NULL ? myr_serve_snapshot_find(old, myr_str_of(name)) : NULL;
    serve_fleet *variant = old != NULL ? myr_serve_variant_of(old, name, release) : NULL;
    *out = NULL;
    if (myr_serve_fleet_is_as(reloader, before, release)) *out = before;
    if (*out == NULL && myr_serve_fleet_is_as(reloader, variant, release)) *out = variant;
    if (*out != NULL) return MYR_OK;
    myr_rc rc = myr_serve_fleet_open(reloader, name, release, out, out_plan_is_bad, failed);
    if (rc == MYR_OK) {
        reload_note_open(reloader, name, release);
        return MYR_OK;
    }
    if (myr_serve_fleet_may_go_on(reloader, before)) {
        *out = before;
    } else if (before != NULL && before->fleet->release != release && !*out_plan_is_bad) {
        myr_err why = {0};
        if (myr_serve_fleet_open(reloader, name, before->fleet->release, out, out_plan_is_bad, &why) != MYR_OK)
            *failed = why;
    }
    return rc;
}

/* Put one fleet of the registry into the new snapshot, if it is to be served and can be. */
static myr_rc reload_fleet(serve_reloader *reloader, const myr_fleet_row *row, const serve_snapshot *old,
                           serve_snapshot *next, myr_err *err)
{
    const serve_service *service = reloader->service;
    bool was_served = old != NULL && myr_serve_snapshot_find(old, myr_str_of(row->name)) != NULL, plan_is_bad = false;
    int64_t release = 0;
    serve_fleet *served = NULL;
    myr_err failed = {0};
    if (myr_serve_reloader_is_unloaded(reloader, row->name)) return MYR_OK;
    if (service != NULL && service->has_fleets && myr_service_plan(service, row->name) == NULL) return MYR_OK;
    myr_rc rc = myr_registry_alias_get(reloader->workspace->registry, row->id, "champion", &release, err);
    if (rc != MYR_OK) return rc == MYR_NOT_FOUND ? MYR_OK : rc; /* not found: nothing to serve yet */
    rc = reload_open(reloader, row->name, release, old, &served, &plan_is_bad, &failed);
    /* Nobody is served by this file yet, so it is said to whoever wrote it; all or nothing. */
    bool is_refused = plan_is_bad || (was_served && served == NULL);
    if (rc != MYR_OK && reloader->is_trying && is_refused) {
        if (err != NULL) *err = failed;
        return rc;
    }
    if (rc != MYR_OK) reload_note_failure(reloader, row->name, release, served != NULL, &failed);
    if (served != NULL) myr_serve_snapshot_add(next, served);
    return MYR_OK;
}

/* Rows are decoded for champion before it is known who answers: both must take the same columns. */
static myr_rc variant_check(const serve_fleet *champion, const serve_fleet *other, const char *alias, myr_err *err)
{
    const myr_pack_info *a = champion->fleet->info, *b = other->fleet->info;
    bool is_same = a->keys.column_count == b->keys.column_count && a->feature_count == b->feature_count;
    for (uint32_t i = 0; is_same && i < a->feature_count; i++)
        is_same = myr_pack_takes_text(a, i) == myr_pack_takes_text(b, i);
    if (is_same) return MYR_OK;
    MYR_FAIL(err, UNSUPPORTED,
             "%s (release %lld) takes other columns, or texts in others, than champion (release %lld)", alias,
             (long long)b->release, (long long)a->release);
}

/* One alias of a fleet that is served: its release as it is open, or opened now. */
static myr_rc reload_variant(serve_reloader *reloader, const myr_fleet_row *row, const char *alias,
                             const serve_snapshot *old, serve_snapshot *next, myr_err *err)
{
    serve_fleet *champion = next->fleets[next->fleet_count - 1], *served = NULL;
    serve_fleet *before = old != NULL ? myr_serve_snapshot_find(old, myr_str_of(row->name)) : NULL;
    int64_t release = 0;
    bool plan_is_bad = false, is_new = false;
    myr_rc rc = myr_registry_alias_get(reloader->workspace->registry, row->id, alias, &release, err);
    if (rc != MYR_OK) return rc == MYR_NOT_FOUND ? MYR_OK : rc;
    if (champion->fleet->release == release) served = champion;
    if (served == NULL && myr_serve_fleet_is_as(reloader, before, release)) served = before;
    if (served == NULL && old != NULL) served = myr_serve_variant_of(old, row->name, release);
    if (!myr_serve_fleet_is_as(reloader, served, release)) served = NULL;
    myr_err failed = {0};
    if (served == NULL) {
        rc = myr_serve_fleet_open(reloader, row->name, release, &served, &plan_is_bad, &failed);
        is_new = rc == MYR_OK;
    }
    if (rc == MYR_OK) rc = variant_check(champion, served, alias, &failed);
    if (rc == MYR_OK) {
        if (is_new) reload_note_open(reloader, row->name, release);
        rc = myr_serve_snapshot_add_variant(next, served, alias, err);
        if (rc != MYR_OK && is_new) myr_serve_fleet_free(served);
        return rc;
    }
    if (is_new) myr_serve_fleet_free(served);
    if (reloader->is_trying && old != NULL && plan_is_bad) {
        if (err != NULL) *err = failed;
        return rc;
    }
    served = old != NULL ? myr_serve_variant_find(old, row->name, myr_str_of(alias)) : NULL;
    bool keeps = myr_serve_fleet_may_go_on(reloader, served) && variant_check(champion, served, alias, NULL) == MYR_OK;
    reload_note_failure(reloader, row->name, release, keeps, &failed);
    return keeps ? myr_serve_snapshot_add_variant(next, served, alias, err) : MYR_OK;
}

/* The releases beside champion: `challenger`, and what the service file gives a share. */
static myr_rc reload_variants(serve_reloader *reloader, const myr_fleet_row *row, const serve_snapshot *old,
                              serve_snapshot *next, myr_err *err)
{
    const serve_plan *plan = myr_service_plan(reloader->service, row->name);
    bool has_challenger = false;
    for (uint32_t i = 0; plan != NULL && i < plan->split_count; i++) {
        has_challenger = has_challenger || strcmp(plan->splits[i].alias, RELOAD_CHALLENGER) == 0;
        MYR_TRY(reload_variant(reloader, row, plan->splits[i].alias, old, next, err));
    }
    return has_challenger ? MYR_OK : reload_variant(reloader, row, RELOAD_CHALLENGER, old, next, err);
}

/* Make the next snapshot. Fleets whose own files are bad are logged; an error is the registry's. */
static myr_rc reload_make(serve_reloader *reloader, myr_arena *arena, serve_snapshot **out, myr_err *err)
{
    myr_server *server = reloader->server;
    serve_snapshot *old = atomic_load(&server->current);
    myr_fleet_row *rows;
    size_t row_count;
    MYR_TRY(myr_registry_fleets(reloader->workspace->registry, arena, &rows, &row_count, err));
    serve_snapshot *next = myr_serve_snapshot_new(row_count, reloader->service, reloader->cors_origins);
    if (next == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu fleets", row_count);
    reloader->has_failures = false;
    for (size_t i = 0; i < row_count; i++) {
        size_t count = next->fleet_count;
        myr_rc rc = reload_fleet(reloader, &rows[i], old, next, err);
        if (rc == MYR_OK && next->fleet_count > count) rc = reload_variants(reloader, &rows[i], old, next, err);
        if (rc != MYR_OK) {
            myr_serve_snapshot_free(reloader, next);
            return rc;
        }
    }
    myr_rc rc = myr_serve_tokens_read(reloader->workspace->registry, arena, old, next, err);
    if (rc != MYR_OK) {
        myr_serve_snapshot_free(reloader, next);
        return rc;
    }
    myr_serve_snapshot_sort(next);
    *out = next;
    return MYR_OK;
}

/* Make a snapshot the current one. */
void myr_serve_reload_publish(serve_reloader *reloader, serve_snapshot *next)
{
    myr_server *server = reloader->server;
    serve_snapshot *old = atomic_load(&server->current);
    atomic_store(&server->current, next);
    atomic_store(&server->fleet_count, next->fleet_count);
    if (old == NULL || old->fleets_number != next->fleets_number) {
        myr_serve_deploy_look(server, next);
        myr_metric_set(server->fleets_gauge, (int64_t)next->fleet_count);
        myr_metric_add(server->reloads, 1);
    }
    if (old != NULL) {
        old->next_retired = reloader->retired;
        reloader->retired = old;
    }
}

/* The fleets of the registry as a new snapshot, if they are others than before; *out NULL: they are the same. */
static myr_rc reload_look_fleets(serve_reloader *reloader, serve_snapshot **out, myr_err *err)
{
    serve_snapshot *old = atomic_load(&reloader->server->current), *next;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    int64_t number;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_registry_change_number(reloader->workspace->registry, &number, err));
    MYR_TRY(reload_make(reloader, arena, &next, err));
    reloader->change_number = number; /* read before the fleets: what changed meanwhile is seen at the next look */
    if (myr_serve_snapshot_equal(old, next)) {
        myr_serve_snapshot_free(reloader, next);
        next = NULL;
    } else if (old != NULL) {
        next->fleets_number = old->fleets_number + 1;
        next->directory = old->directory;
        if (next->directory != NULL) next->directory->refs++;
    }
    *out = next;
    return MYR_OK;
}

/* Has a file changed that a fleet of the service file reads? */
static bool reload_files_changed(const serve_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->fleet_count; i++) {
        const serve_bound *bound = snapshot->fleets[i]->bound;
        if (bound != NULL && !myr_serve_plan_is_current(bound)) return true;
    }
    return false;
}

/* Look once; a change makes a new current snapshot. must: look although the registry did not change. */
myr_rc myr_serve_reload_look(serve_reloader *reloader, bool must, bool *out_changed, myr_err *err)
{
    int64_t number;
    serve_snapshot *old = atomic_load(&reloader->server->current), *next;
    MYR_TRY(myr_registry_change_number(reloader->workspace->registry, &number, err));
    *out_changed = number != reloader->change_number;
    bool is_same = old != NULL && !*out_changed && !reloader->has_failures;
    if (!must && is_same && !reload_files_changed(old)) return MYR_OK;
    MYR_TRY(reload_look_fleets(reloader, &next, err));
    if (next == NULL) return MYR_OK;
    *out_changed = true;
    myr_serve_reload_publish(reloader, next);
    return MYR_OK;
}

/* ---- another service file ---- */

/* Open every fleet by reloader->service, which is the next one. */
static myr_rc reload_try_service(serve_reloader *reloader, myr_err *err)
{
    serve_snapshot *next;
    if (reloader->service != NULL) {
        MYR_TRY(myr_service_open(reloader->service, reloader->server->root, reloader->server->metrics, &reloader->links,
                                 err));
    }
    MYR_TRY(reload_look_fleets(reloader, &next, err));
    MYR_ASSERT(next != NULL); /* another service makes another snapshot */
    myr_serve_reload_publish(reloader, next);
    return MYR_OK;
}

myr_rc myr_serve_reload_service(serve_reloader *reloader, const char *path, myr_buf *out_diff, bool *out_published,
                                myr_err *err)
{
    serve_service *before = reloader->service, *next = NULL;
    *out_published = false;
    if (path[0] != '\0') MYR_TRY(myr_service_load(path, &next, err));
    if (atomic_load(&reloader->server->current) != NULL && myr_service_equal(before, next)) {
        myr_service_release(next);
        return MYR_OK;
    }
    reloader->service = next;
    reloader->is_trying = true;
    myr_rc rc = reload_try_service(reloader, err);
    reloader->is_trying = false;
    if (rc != MYR_OK) {
        reloader->service = before;
        myr_service_release(next);
        return rc;
    }
    if (out_diff != NULL) myr_service_diff(before, next, out_diff);
    myr_service_release(before);
    *out_published = true;
    return MYR_OK;
}
