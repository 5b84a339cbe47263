/*
 * Which fleets are open. A snapshot is immutable; the reloader makes a new one when the registry changed and retires
 * the old one, which is freed when no thread holds it. Fleets that did not change are shared by old and new.
 *
 * Holding is a hazard pointer: a thread writes what it uses into its own `held`, then looks whether it is still
 * current. Either the reloader, which has already made the new one current, sees `held`, or the thread sees the new
 * one: no lock and no counter that threads share.
 */
#include "serve/beat.h"

#include <stdlib.h>
#include <string.h>

#define RELOAD_RETIRED_LOOK_MS 20    /* between looks while a retired snapshot is in use */
#define RELOAD_ASK_TIMEOUT_MS  30000 /* a load that takes longer goes on without its client */
#define RELOAD_UNLOADED_MAX    1024
#define RELOAD_CHALLENGER      "challenger"
#define RELOAD_BEATS           4    /* per lease */
#define RELOAD_ALONE_MS        5000 /* between looks at the load, without a lease */
#define RELOAD_LEAVE_MS        1000 /* most that stopping waits until others are told */
#define RELOAD_FAILURES_MAX    1024 /* fleets whose failure is remembered, so that it is logged once */

typedef struct reload_failure {
    char name[MYR_NAME_BYTES_MAX + 1];
    int64_t release;
    uint64_t said; /* hash of the message */
} reload_failure;

typedef struct reload_name {
    char text[MYR_NAME_BYTES_MAX + 1];
} reload_name;

struct serve_reloader {
    myr_server *server;
    myr_workspace *workspace; /* the reloader's thread (main before it starts) */
    int64_t change_number;
    _Atomic bool has_failures; /* look again although nothing changed. Written by the reloader */
    serve_snapshot *retired;
    serve_token *idle_tokens; /* of freed snapshots, while their requests run */
    serve_beat beat;          /* the reloader's thread too */
    int64_t next_beat_ns;
    char beat_error[MYR_ERR_MESSAGE_BYTES]; /* logged once */
    reload_failure *failures;
    size_t failure_count;
    char last_error[MYR_ERR_MESSAGE_BYTES]; /* of the registry as a whole: logged once */
    char last_tls_error[MYR_ERR_MESSAGE_BYTES];
    myr_mutex lock;
    myr_cond wake;
    bool stop;              /* under lock, as what follows */
    bool is_leaving;        /* others are to be told that this server drains … */
    bool has_left;          /* … and were */
    uint64_t asked, looked; /* looks that were asked for; those that are done */
    myr_cond done;          /* looked has risen, or stop */
    reload_name *unloaded;
    size_t unloaded_count;
    bool has_thread;
    myr_thread thread;
};

/* ---- one fleet ---- */

static void fleet_free(serve_fleet *served)
{
    if (served == NULL) return;
    myr_serve_plan_unbind(served->bound);
    myr_fleet_close(served->fleet);
    myr_map_free(served->inputs);
    myr_free(served->known);
    myr_free(served->models);
    myr_free(served);
}

static void fleet_release(serve_fleet *served)
{
    MYR_ASSERT(served->refs > 0);
    if (--served->refs == 0) fleet_free(served);
}

/* Every input's name with what it is: a partition column, a feature, or both. */
static myr_rc fleet_name_inputs(serve_fleet *served, myr_err *err)
{
    const myr_pack_info *info = served->fleet->info;
    served->inputs = myr_map_new();
    served->known = myr_calloc((size_t)info->keys.column_count + info->feature_count + 1, sizeof *served->known);
    if (served->inputs == NULL || served->known == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's inputs");
    size_t count = 0;
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        myr_str name = myr_str_of(info->keys.columns[i].name);
        MYR_TRY(myr_map_put(served->inputs, name, (uint64_t)(i + 1) << 32, err));
        served->known[count++] = info->keys.columns[i].name;
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        myr_str name = myr_str_of(info->features[i]);
        uint64_t value = 0;
        if (!myr_map_find(served->inputs, name, &value)) served->known[count++] = info->features[i];
        MYR_TRY(myr_map_put(served->inputs, name, value | (i + 1), err));
    }
    return MYR_OK;
}

/* *out_plan_is_bad: the service file does not fit the fleet. */
static myr_rc fleet_open(serve_reloader *reloader, const char *name, int64_t release, serve_fleet **out,
                         bool *out_plan_is_bad, myr_err *err)
{
    serve_fleet *served = myr_calloc(1, sizeof *served);
    if (served == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for fleet %s", name);
    const serve_service *service = reloader->server->service;
    const serve_plan *plan = myr_service_plan(service, name);
    myr_rc rc = myr_fleet_open(reloader->workspace, name, release, &served->fleet, err);
    if (rc == MYR_OK && plan != NULL) {
        rc = myr_serve_plan_bind(service, plan, served->fleet, &served->bound, err);
        *out_plan_is_bad = rc == MYR_BAD_INPUT;
    }
    if (rc == MYR_OK) {
        rc = myr_registry_release_code(reloader->workspace->registry, served->fleet->arena, served->fleet->row.id,
                                       served->fleet->release, &served->code, &served->code_count, err);
    }
    if (rc == MYR_OK) rc = myr_serve_models_new(served, err);
    if (rc == MYR_OK) rc = fleet_name_inputs(served, err);
    if (rc == MYR_OK) rc = myr_pack_count_levels(served->fleet->pack, served->level_models, err);
    if (rc != MYR_OK) {
        fleet_free(served);
        return rc;
    }
    served->label = myr_serve_metrics_label(reloader->server, name);
    *out = served;
    return MYR_OK;
}

/* ---- a snapshot ---- */

static int snapshot_compare(const void *a, const void *b)
{
    return strcmp((*(serve_fleet *const *)a)->fleet->name, (*(serve_fleet *const *)b)->fleet->name);
}

serve_fleet *myr_serve_snapshot_find(const serve_snapshot *snapshot, myr_str name)
{
    size_t low = 0, high = snapshot->fleet_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *at = snapshot->fleets[middle]->fleet->name;
        size_t at_size = strlen(at);
        size_t shared = at_size < name.size ? at_size : name.size;
        int order = shared > 0 ? memcmp(at, name.data, shared) : 0;
        if (order == 0 && at_size == name.size) return snapshot->fleets[middle];
        if (order < 0 || (order == 0 && at_size < name.size)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* The first variant of a fleet, or variant_count. */
static size_t variant_first(const serve_snapshot *snapshot, const char *fleet)
{
    size_t low = 0, high = snapshot->variant_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(snapshot->variants[middle].fleet->fleet->name, fleet) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool variant_is_of(const serve_snapshot *snapshot, size_t at, const char *fleet)
{
    return at < snapshot->variant_count && strcmp(snapshot->variants[at].fleet->fleet->name, fleet) == 0;
}

serve_fleet *myr_serve_variant_find(const serve_snapshot *snapshot, const char *fleet, myr_str alias)
{
    for (size_t i = variant_first(snapshot, fleet); variant_is_of(snapshot, i, fleet); i++) {
        if (myr_str_is(alias, snapshot->variants[i].alias)) return snapshot->variants[i].fleet;
    }
    return NULL;
}

serve_fleet *myr_serve_variant_of(const serve_snapshot *snapshot, const char *fleet, int64_t release)
{
    for (size_t i = variant_first(snapshot, fleet); variant_is_of(snapshot, i, fleet); i++) {
        if (snapshot->variants[i].fleet->fleet->release == release) return snapshot->variants[i].fleet;
    }
    return NULL;
}

static int variant_compare(const void *a, const void *b)
{
    const serve_variant *x = a, *y = b;
    int order = strcmp(x->fleet->fleet->name, y->fleet->fleet->name);
    return order != 0 ? order : strcmp(x->alias, y->alias);
}

static myr_rc snapshot_add_variant(serve_snapshot *snapshot, serve_fleet *served, const char *alias, myr_err *err)
{
    serve_variant *more = myr_realloc_array(snapshot->variants, snapshot->variant_count + 1, sizeof *more);
    if (more == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the releases of fleet %s", served->fleet->name);
    snapshot->variants = more;
    serve_variant *variant = &more[snapshot->variant_count++];
    variant->fleet = served;
    served->refs++;
    memset(variant->alias, 0, sizeof variant->alias);
    memcpy(variant->alias, alias, strnlen(alias, MYR_NAME_BYTES_MAX));
    return MYR_OK;
}

static serve_snapshot *snapshot_new(size_t fleets_max)
{
    serve_snapshot *snapshot = myr_calloc(1, sizeof *snapshot);
    if (snapshot == NULL) return NULL;
    snapshot->fleets = myr_calloc(fleets_max + 1, sizeof(serve_fleet *));
    if (snapshot->fleets == NULL) {
        myr_free(snapshot);
        return NULL;
    }
    return snapshot;
}

static void snapshot_add(serve_snapshot *snapshot, serve_fleet *served)
{
    served->refs++;
    snapshot->fleets[snapshot->fleet_count++] = served;
}

static void snapshot_free(serve_reloader *reloader, serve_snapshot *snapshot)
{
    if (snapshot == NULL) return;
    for (size_t i = 0; i < snapshot->fleet_count; i++)
        fleet_release(snapshot->fleets[i]);
    for (size_t i = 0; i < snapshot->variant_count; i++)
        fleet_release(snapshot->variants[i].fleet);
    myr_free(snapshot->variants);
    for (size_t i = 0; i < snapshot->token_count; i++) {
        serve_token *token = snapshot->tokens[i];
        MYR_ASSERT(token->refs > 0);
        if (--token->refs > 0) continue;
        token->next_idle = reloader->idle_tokens;
        reloader->idle_tokens = token;
    }
    myr_free(snapshot->tokens);
    myr_serve_directory_release(snapshot->directory);
    myr_free(snapshot->fleets);
    myr_free(snapshot);
}

/* The same fleets and tokens, for another directory. */
static serve_snapshot *snapshot_copy(serve_reloader *reloader, const serve_snapshot *old)
{
    serve_snapshot *snapshot = snapshot_new(old->fleet_count);
    if (snapshot == NULL) return NULL;
    for (size_t i = 0; i < old->fleet_count; i++)
        snapshot_add(snapshot, old->fleets[i]);
    snapshot->tokens = myr_calloc(old->token_count + 1, sizeof(serve_token *));
    bool is_ok = snapshot->tokens != NULL;
    for (size_t i = 0; i < old->variant_count && is_ok; i++)
        is_ok = snapshot_add_variant(snapshot, old->variants[i].fleet, old->variants[i].alias, NULL) == MYR_OK;
    if (!is_ok) {
        snapshot_free(reloader, snapshot);
        return NULL;
    }
    for (; snapshot->token_count < old->token_count; snapshot->token_count++) {
        snapshot->tokens[snapshot->token_count] = old->tokens[snapshot->token_count];
        snapshot->tokens[snapshot->token_count]->refs++;
    }
    snapshot->has_tokens = old->has_tokens;
    snapshot->fleets_number = old->fleets_number;
    return snapshot;
}

/* ---- holding ---- */

const serve_snapshot *myr_serve_hold(myr_server *server, serve_thread *thread)
{
    MYR_ASSERT(atomic_load_explicit(&thread->held, memory_order_relaxed) == NULL);
    serve_snapshot *snapshot = atomic_load(&server->current);
    for (;;) {
        atomic_store(&thread->held, snapshot); /* sequentially consistent: seen before `current` is read again */
        serve_snapshot *now = atomic_load(&server->current);
        if (now == snapshot) return snapshot;
        snapshot = now;
    }
}

void myr_serve_drop(serve_thread *thread)
{
    MYR_ASSERT(atomic_load_explicit(&thread->held, memory_order_relaxed) != NULL);
    atomic_store_explicit(&thread->held, NULL, memory_order_release);
}

serve_snapshot *myr_serve_pin(serve_thread *thread)
{
    serve_snapshot *snapshot = atomic_load_explicit(&thread->held, memory_order_relaxed);
    MYR_ASSERT(snapshot != NULL);
    atomic_fetch_add(&snapshot->parked, 1);
    return snapshot;
}

void myr_serve_hold_pinned(serve_thread *thread, serve_snapshot *snapshot)
{
    MYR_ASSERT(atomic_load_explicit(&thread->held, memory_order_relaxed) == NULL && atomic_load(&snapshot->parked) > 0);
    atomic_store(&thread->held, snapshot);
}

void myr_serve_unpin(serve_snapshot *snapshot)
{
    atomic_fetch_sub(&snapshot->parked, 1);
}

/* Threads first: whoever falls asleep pins it before it lets go. */
static bool snapshot_is_held(const myr_server *server, const serve_snapshot *snapshot)
{
    for (const serve_thread *thread = server->threads; thread != NULL; thread = thread->next) {
        if (atomic_load(&thread->held) == snapshot) return true;
    }
    return atomic_load(&snapshot->parked) > 0;
}

/* Nobody finds these any more, so their count only falls. */
static void reload_free_tokens(serve_reloader *reloader)
{
    serve_token **link = &reloader->idle_tokens;
    while (*link != NULL) {
        serve_token *token = *link;
        if (atomic_load_explicit(&token->in_flight, memory_order_acquire) > 0) {
            link = &token->next_idle;
        } else {
            *link = token->next_idle;
            myr_serve_token_free(token);
        }
    }
}

static void reload_free_retired(serve_reloader *reloader)
{
    serve_snapshot **link = &reloader->retired;
    while (*link != NULL) {
        serve_snapshot *snapshot = *link;
        if (snapshot_is_held(reloader->server, snapshot)) {
            link = &snapshot->next_retired;
        } else {
            *link = snapshot->next_retired;
            snapshot_free(reloader, snapshot);
        }
    }
    reload_free_tokens(reloader);
}

/* ---- looking at the registry ---- */

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

/* A fleet that is opened while serving is worth a line; those of the start are announced together. */
static void reload_note_open(const char *name, int64_t release, bool at_start)
{
    if (at_start) return;
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)release);
    myr_log(MYR_LOG_INFO, "serve", "fleet opened", "fleet", name, "release", number, NULL);
}

/* The place of an unloaded name, or unloaded_count. Under lock. */
static size_t reload_find_unloaded(const serve_reloader *reloader, myr_str name)
{
    size_t at = 0;
    while (at < reloader->unloaded_count && !myr_str_is(name, reloader->unloaded[at].text))
        at++;
    return at;
}

static bool reload_is_unloaded(serve_reloader *reloader, const char *name)
{
    myr_mutex_lock(&reloader->lock);
    bool found = reload_find_unloaded(reloader, myr_str_of(name)) < reloader->unloaded_count;
    myr_mutex_unlock(&reloader->lock);
    return found;
}

/* An opened fleet of this release, whose files of the plan have not changed since. */
static bool fleet_is_as(const serve_fleet *served, int64_t release)
{
    if (served == NULL || served->fleet->release != release) return false;
    return served->bound == NULL || myr_serve_plan_is_current(served->bound);
}

/* Put one fleet of the registry into the new snapshot: the one that is open, or opened now. Failures keep the old one.
 */
static myr_rc reload_fleet(serve_reloader *reloader, const myr_fleet_row *row, const serve_snapshot *old,
                           serve_snapshot *next, myr_err *err)
{
    const serve_service *service = reloader->server->service;
    serve_fleet *before = old != NULL ? myr_serve_snapshot_find(old, myr_str_of(row->name)) : NULL;
    int64_t release = 0;
    myr_err failed = {0};
    if (reload_is_unloaded(reloader, row->name)) return MYR_OK;
    if (service != NULL && service->has_fleets && myr_service_plan(service, row->name) == NULL) return MYR_OK;
    myr_rc rc = myr_registry_alias_get(reloader->workspace->registry, row->id, "champion", &release, &failed);
    if (rc == MYR_NOT_FOUND) return MYR_OK; /* nothing to serve yet */
    if (rc != MYR_OK) {
        if (err != NULL) *err = failed;
        return rc;
    }
    if (fleet_is_as(before, release)) {
        snapshot_add(next, before);
        return MYR_OK;
    }
    serve_fleet *served = old != NULL ? myr_serve_variant_of(old, row->name, release) : NULL;
    bool plan_is_bad = false;
    if (!fleet_is_as(served, release)) served = NULL;
    rc = served != NULL ? MYR_OK : fleet_open(reloader, row->name, release, &served, &plan_is_bad, &failed);
    if (rc == MYR_OK) {
        reload_note_open(row->name, release, old == NULL);
        snapshot_add(next, served);
        return MYR_OK;
    }
    if (plan_is_bad && old == NULL) { /* nobody is served yet: say it to whoever wrote the file */
        if (err != NULL) *err = failed;
        return rc;
    }
    reload_note_failure(reloader, row->name, release, before != NULL, &failed);
    if (before != NULL) snapshot_add(next, before);
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
    if (served == NULL && fleet_is_as(before, release)) served = before;
    if (served == NULL && old != NULL) served = myr_serve_variant_of(old, row->name, release);
    if (!fleet_is_as(served, release)) served = NULL;
    myr_err failed = {0};
    if (served == NULL) {
        rc = fleet_open(reloader, row->name, release, &served, &plan_is_bad, &failed);
        is_new = rc == MYR_OK;
    }
    if (rc == MYR_OK) rc = variant_check(champion, served, alias, &failed);
    if (rc == MYR_OK) {
        if (is_new) reload_note_open(row->name, release, old == NULL);
        rc = snapshot_add_variant(next, served, alias, err);
        if (rc != MYR_OK && is_new) fleet_free(served);
        return rc;
    }
    if (is_new) fleet_free(served);
    served = old != NULL ? myr_serve_variant_find(old, row->name, myr_str_of(alias)) : NULL;
    bool keeps = served != NULL && variant_check(champion, served, alias, NULL) == MYR_OK;
    reload_note_failure(reloader, row->name, release, keeps, &failed);
    return keeps ? snapshot_add_variant(next, served, alias, err) : MYR_OK;
}

/* The releases beside champion: `challenger`, and what the service file gives a share. */
static myr_rc reload_variants(serve_reloader *reloader, const myr_fleet_row *row, const serve_snapshot *old,
                              serve_snapshot *next, myr_err *err)
{
    const serve_plan *plan = myr_service_plan(reloader->server->service, row->name);
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
    serve_snapshot *next = snapshot_new(row_count);
    if (next == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu fleets", row_count);
    reloader->has_failures = false;
    for (size_t i = 0; i < row_count; i++) {
        size_t count = next->fleet_count;
        myr_rc rc = reload_fleet(reloader, &rows[i], old, next, err);
        if (rc == MYR_OK && next->fleet_count > count) rc = reload_variants(reloader, &rows[i], old, next, err);
        if (rc != MYR_OK) {
            snapshot_free(reloader, next);
            return rc;
        }
    }
    myr_rc rc = myr_serve_tokens_read(reloader->workspace->registry, arena, old, next, err);
    if (rc != MYR_OK) {
        snapshot_free(reloader, next);
        return rc;
    }
    qsort(next->fleets, next->fleet_count, sizeof(serve_fleet *), snapshot_compare);
    if (next->variant_count > 0) qsort(next->variants, next->variant_count, sizeof *next->variants, variant_compare);
    *out = next;
    return MYR_OK;
}

static bool snapshot_equal(const serve_snapshot *a, const serve_snapshot *b)
{
    if (a == NULL || a->fleet_count != b->fleet_count || !myr_serve_tokens_equal(a, b)) return false;
    if (a->variant_count != b->variant_count) return false;
    for (size_t i = 0; i < a->variant_count; i++) {
        const serve_variant *x = &a->variants[i], *y = &b->variants[i];
        if (x->fleet != y->fleet || strcmp(x->alias, y->alias) != 0) return false;
    }
    return a->fleet_count == 0 || memcmp(a->fleets, b->fleets, a->fleet_count * sizeof(serve_fleet *)) == 0;
}

/* Make a snapshot the current one. */
static void reload_publish(serve_reloader *reloader, serve_snapshot *next)
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
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(reload_make(reloader, arena, &next, err));
    if (snapshot_equal(old, next)) {
        snapshot_free(reloader, next);
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
static myr_rc reload_look(serve_reloader *reloader, bool must, bool *out_changed, myr_err *err)
{
    int64_t number;
    serve_snapshot *old = atomic_load(&reloader->server->current), *next;
    MYR_TRY(myr_registry_change_number(reloader->workspace->registry, &number, err));
    *out_changed = number != reloader->change_number;
    bool is_same = old != NULL && !*out_changed && !reloader->has_failures;
    if (!must && is_same && !reload_files_changed(old)) return MYR_OK;
    MYR_TRY(reload_look_fleets(reloader, &next, err));
    reloader->change_number = number; /* read before the fleets: what changed meanwhile is seen at the next look */
    if (next == NULL) return MYR_OK;
    *out_changed = true;
    reload_publish(reloader, next);
    return MYR_OK;
}

/* Read who answers what, and publish it if it is told otherwise than before. */
static myr_rc reload_look_servers(serve_reloader *reloader, bool with_tags, myr_err *err)
{
    myr_server *server = reloader->server;
    serve_snapshot *old = atomic_load(&server->current);
    serve_directory *directory;
    myr_instance_row self;
    MYR_TRY(myr_serve_beat_prepare(server, &reloader->beat, reloader->workspace->registry, old, with_tags, err));
    myr_serve_beat_row(server, &reloader->beat, &self);
    MYR_TRY(myr_serve_directory_read(reloader->workspace->registry, old->directory, &self, reloader->beat.fleets,
                                     &directory, err));
    serve_snapshot *next = myr_serve_directory_equal(directory, old->directory) ? NULL : snapshot_copy(reloader, old);
    if (next == NULL) {
        bool is_equal = myr_serve_directory_equal(directory, old->directory);
        myr_serve_directory_release(directory);
        return is_equal ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory for the servers");
    }
    next->directory = directory;
    reload_publish(reloader, next);
    return MYR_OK;
}

/* Read what others tell; tell them, if it is time or this server serves otherwise. Failures are logged once; serving
 * goes on without. */
static void reload_beat(serve_reloader *reloader, bool is_time)
{
    myr_server *server = reloader->server;
    myr_err err = {0};
    myr_rc rc = reload_look_servers(reloader, true, &err);
    if (rc == MYR_OK && (is_time || !reloader->beat.is_registered))
        rc = myr_serve_beat_write(server, &reloader->beat, reloader->workspace->registry, &err);
    int64_t every_ms = server->opts.lease_ms > 0 ? server->opts.lease_ms / RELOAD_BEATS + 1 : RELOAD_ALONE_MS;
    if (is_time) reloader->next_beat_ns = myr_clock_mono_ns() + every_ms * 1000000;
    if (rc != MYR_OK && strcmp(err.message, reloader->beat_error) != 0) {
        myr_log_err(MYR_LOG_WARN, "serve", "not told to other servers", &err);
        memcpy(reloader->beat_error, err.message, sizeof reloader->beat_error);
    }
    if (rc == MYR_OK) reloader->beat_error[0] = '\0';
}

/* One look of the thread, logged when it fails in a new way. */
static void reload_try(serve_reloader *reloader, bool must)
{
    myr_err err = {0};
    bool changed = false;
    if (reload_look(reloader, must, &changed, &err) != MYR_OK && strcmp(err.message, reloader->last_error) != 0) {
        myr_log_err(MYR_LOG_ERROR, "serve", "registry not read", &err);
        memcpy(reloader->last_error, err.message, sizeof reloader->last_error);
    }
    if (err.rc == MYR_OK) reloader->last_error[0] = '\0';
    if (changed) reload_beat(reloader, false); /* others may be there, or this one serves otherwise */
}

/* Milliseconds until the thread has something to do. */
static int64_t reload_wait_ms(const serve_reloader *reloader, int64_t next_look_ns)
{
    int64_t now_ns = myr_clock_mono_ns();
    int64_t wait_ms = (next_look_ns - now_ns) / 1000000 + 1, beat_ms = (reloader->next_beat_ns - now_ns) / 1000000 + 1;
    if (beat_ms < wait_ms) wait_ms = beat_ms;
    bool has_waiting = reloader->retired != NULL || reloader->idle_tokens != NULL;
    if (has_waiting && wait_ms > RELOAD_RETIRED_LOOK_MS) wait_ms = RELOAD_RETIRED_LOOK_MS;
    return wait_ms;
}

/* Certificates are looked at with the registry. What can't be read leaves the old ones, and is logged once. */
static void reload_tls(serve_reloader *reloader)
{
    myr_tls *tls = reloader->server->tls;
    bool changed = false;
    myr_err err = {0};
    if (tls == NULL) return;
    if (myr_tls_refresh(tls, &changed, &err) != MYR_OK && strcmp(err.message, reloader->last_tls_error) != 0)
        myr_log_err(MYR_LOG_ERROR, "serve", "certificate not read: the earlier one goes on", &err);
    memcpy(reloader->last_tls_error, err.message, sizeof reloader->last_tls_error);
    if (changed) myr_log(MYR_LOG_INFO, "serve", "certificate read again", NULL);
}

static void *reload_main(void *arg)
{
    serve_reloader *reloader = arg;
    int64_t next_look_ns = myr_clock_mono_ns() + myr_serve_now(&reloader->server->opts.reload_ms) * 1000000;
    myr_mutex_lock(&reloader->lock);
    while (!reloader->stop) {
        int64_t wait_ms = reload_wait_ms(reloader, next_look_ns);
        if (wait_ms > 0 && reloader->asked == reloader->looked && reloader->is_leaving == reloader->has_left)
            MYR_IGNORE(myr_cond_wait_ms(&reloader->wake, &reloader->lock, wait_ms)); /* time, asked, or stop */
        if (reloader->stop) break;
        uint64_t asked = reloader->asked;
        bool must = asked != reloader->looked, leaves = reloader->is_leaving && !reloader->has_left;
        myr_mutex_unlock(&reloader->lock);
        if (must || myr_clock_mono_ns() >= next_look_ns) {
            reload_try(reloader, must);
            reload_tls(reloader);
            next_look_ns = myr_clock_mono_ns() + myr_serve_now(&reloader->server->opts.reload_ms) * 1000000;
        }
        if (leaves) reloader->beat.is_draining = true;
        if (leaves || myr_clock_mono_ns() >= reloader->next_beat_ns) reload_beat(reloader, true);
        reload_free_retired(reloader);
        myr_mutex_lock(&reloader->lock);
        reloader->looked = asked;
        reloader->has_left = reloader->has_left || leaves;
        if (must || leaves) myr_cond_broadcast(&reloader->done);
    }
    myr_mutex_unlock(&reloader->lock);
    return NULL;
}

/* ---- asked to look ---- */

/* Under lock. */
static myr_rc reload_set_unloaded(serve_reloader *reloader, myr_str name, bool load, myr_err *err)
{
    size_t at = reload_find_unloaded(reloader, name);
    bool is_there = at < reloader->unloaded_count;
    if (load && is_there) reloader->unloaded[at] = reloader->unloaded[--reloader->unloaded_count];
    if (load || is_there) return MYR_OK;
    if (reloader->unloaded_count == RELOAD_UNLOADED_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%d fleets are unloaded: no more are remembered", RELOAD_UNLOADED_MAX);
    }
    MYR_ASSERT(name.size <= MYR_NAME_BYTES_MAX); /* it was served */
    reload_name *slot = &reloader->unloaded[reloader->unloaded_count++];
    memcpy(slot->text, name.data, name.size);
    slot->text[name.size] = '\0';
    return MYR_OK;
}

myr_rc myr_serve_reloader_ask(myr_server *server, myr_str name, bool load, myr_err *err)
{
    serve_reloader *reloader = server->reloader;
    int64_t until_ns = myr_clock_mono_ns() + RELOAD_ASK_TIMEOUT_MS * 1000000LL;
    myr_mutex_lock(&reloader->lock);
    myr_rc rc = reload_set_unloaded(reloader, name, load, err);
    if (rc == MYR_OK) {
        uint64_t ticket = ++reloader->asked;
        int64_t left_ms = RELOAD_ASK_TIMEOUT_MS;
        myr_cond_signal(&reloader->wake);
        while (reloader->looked < ticket && left_ms > 0 && !atomic_load(&server->is_stopping)) {
            MYR_IGNORE(myr_cond_wait_ms(&reloader->done, &reloader->lock, left_ms < 100 ? left_ms : 100));
            left_ms = (until_ns - myr_clock_mono_ns()) / 1000000;
        }
        if (reloader->looked < ticket) {
            rc = left_ms > 0 ? MYR_ERROR(err, UNAVAILABLE, "the server is stopping")
                             : MYR_ERROR(err, TIMEOUT, "the registry is still being looked at: ask again later");
        }
    }
    myr_mutex_unlock(&reloader->lock);
    return rc;
}

void myr_serve_reloader_hurry(myr_server *server)
{
    serve_reloader *reloader = server->reloader;
    myr_mutex_lock(&reloader->lock);
    reloader->asked++;
    myr_cond_signal(&reloader->wake);
    myr_mutex_unlock(&reloader->lock);
}

/* Not so: no fleet is served although some should be. An empty workspace is well. */
bool myr_serve_reloader_is_well(myr_server *server)
{
    return atomic_load(&server->fleet_count) > 0 || !atomic_load(&server->reloader->has_failures);
}

void myr_serve_each_unloaded(myr_server *server, void (*use)(void *ctx, const char *name), void *ctx)
{
    serve_reloader *reloader = server->reloader;
    myr_mutex_lock(&reloader->lock);
    for (size_t i = 0; i < reloader->unloaded_count; i++)
        use(ctx, reloader->unloaded[i].text);
    myr_mutex_unlock(&reloader->lock);
}

/* ---- start and stop ---- */

/* Fleets of the service file that have no champion yet are served when they get one. */
static void reload_note_absent(const myr_server *server)
{
    const serve_snapshot *snapshot = atomic_load(&server->current);
    for (uint32_t i = 0; server->service != NULL && i < server->service->plan_count; i++) {
        const char *name = server->service->plans[i].fleet;
        if (myr_serve_snapshot_find(snapshot, myr_str_of(name)) != NULL) continue;
        myr_log(MYR_LOG_WARN, "serve", "fleet of the service file has no champion yet", "fleet", name, NULL);
    }
}

myr_rc myr_serve_reloader_open(myr_server *server, const char *workspace_root, myr_err *err)
{
    serve_reloader *reloader = myr_calloc(1, sizeof *reloader);
    if (reloader == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the server");
    reloader->server = server;
    myr_mutex_init(&reloader->lock);
    myr_cond_init(&reloader->wake);
    myr_cond_init(&reloader->done);
    server->reloader = reloader; /* from here myr_serve_reloader_stop cleans up */
    reloader->failures = myr_calloc(RELOAD_FAILURES_MAX, sizeof *reloader->failures);
    reloader->unloaded = myr_calloc(RELOAD_UNLOADED_MAX, sizeof *reloader->unloaded);
    if (reloader->failures == NULL || reloader->unloaded == NULL)
        MYR_FAIL(err, NO_MEMORY, "out of memory for the server");
    MYR_TRY(myr_workspace_open(workspace_root, &reloader->workspace, err));
    MYR_TRY(myr_serve_deploy_open(server, reloader->workspace, err));
    bool changed;
    MYR_TRY(reload_look(reloader, true, &changed, err));
    reload_note_absent(server);
    return MYR_OK;
}

myr_rc myr_serve_reloader_start(myr_server *server, myr_err *err)
{
    serve_reloader *reloader = server->reloader;
    MYR_ASSERT(reloader != NULL && !reloader->has_thread && server->threads != NULL);
    MYR_TRY(myr_serve_beat_start(server, &reloader->beat, err));
    MYR_TRY(reload_look_servers(reloader, false, err)); /* the thread tells others, at once */
    reloader->next_beat_ns = myr_clock_mono_ns();
    MYR_TRY(myr_thread_start(&reloader->thread, "serve-reload", reload_main, reloader, err));
    reloader->has_thread = true;
    return MYR_OK;
}

void myr_serve_reloader_leave(myr_server *server)
{
    serve_reloader *reloader = server->reloader;
    int64_t until_ns = myr_clock_mono_ns() + RELOAD_LEAVE_MS * 1000000LL;
    if (reloader == NULL || !reloader->has_thread) return;
    myr_mutex_lock(&reloader->lock);
    reloader->is_leaving = true;
    myr_cond_signal(&reloader->wake);
    while (!reloader->has_left && myr_clock_mono_ns() < until_ns)
        MYR_IGNORE(myr_cond_wait_ms(&reloader->done, &reloader->lock, 50));
    myr_mutex_unlock(&reloader->lock);
}

void myr_serve_reloader_stop(myr_server *server)
{
    serve_reloader *reloader = server->reloader;
    if (reloader == NULL) return;
    if (reloader->has_thread) {
        myr_mutex_lock(&reloader->lock);
        reloader->stop = true;
        myr_cond_signal(&reloader->wake);
        myr_mutex_unlock(&reloader->lock);
        myr_thread_join(reloader->thread);
    }
    reload_free_retired(reloader);
    MYR_ASSERT(reloader->retired == NULL); /* no request runs any more */
    if (reloader->has_thread) myr_serve_beat_leave(server, &reloader->beat, reloader->workspace->registry);
    snapshot_free(reloader, atomic_load(&server->current));
    atomic_store(&server->current, NULL);
    reload_free_tokens(reloader);
    MYR_ASSERT(reloader->idle_tokens == NULL);
    myr_serve_beat_fini(&reloader->beat);
    myr_serve_deploy_close(server);
    myr_workspace_close(reloader->workspace);
    myr_cond_fini(&reloader->wake);
    myr_cond_fini(&reloader->done);
    myr_mutex_fini(&reloader->lock);
    myr_free(reloader->failures);
    myr_free(reloader->unloaded);
    myr_free(reloader);
    server->reloader = NULL;
}
