/*
 * Which fleets are open, for requests: found by name, and held. A snapshot is immutable; fleets that did not change are
 * shared by the one before and the one after.
 *
 * Holding is a hazard pointer: a thread writes what it uses into its own `held`, then looks whether it is still
 * current. Either the reloader, which has already made the new one current, sees `held`, or the thread sees the new
 * one: no lock and no counter that threads share.
 */
#include "serve/reload.h"

#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

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

myr_rc myr_serve_snapshot_add_variant(serve_snapshot *snapshot, serve_fleet *served, const char *alias, myr_err *err)
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

serve_snapshot *myr_serve_snapshot_new(size_t fleets_max, serve_service *service, const char *cors_origins)
{
    size_t origins_bytes = strlen(cors_origins) + 1;
    serve_snapshot *snapshot = myr_calloc(1, sizeof *snapshot + origins_bytes);
    if (snapshot == NULL) return NULL;
    memcpy(snapshot + 1, cors_origins, origins_bytes);
    snapshot->cors_origins = (const char *)(snapshot + 1);
    snapshot->fleets = myr_calloc(fleets_max + 1, sizeof(serve_fleet *));
    if (snapshot->fleets == NULL) {
        myr_free(snapshot);
        return NULL;
    }
    snapshot->service = myr_service_share(service);
    return snapshot;
}

void myr_serve_snapshot_add(serve_snapshot *snapshot, serve_fleet *served)
{
    served->refs++;
    snapshot->fleets[snapshot->fleet_count++] = served;
}

void myr_serve_snapshot_free(serve_reloader *reloader, serve_snapshot *snapshot)
{
    if (snapshot == NULL) return;
    for (size_t i = 0; i < snapshot->fleet_count; i++)
        myr_serve_fleet_release(snapshot->fleets[i]);
    for (size_t i = 0; i < snapshot->variant_count; i++)
        myr_serve_fleet_release(snapshot->variants[i].fleet);
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
    myr_service_release(snapshot->service);
    myr_free(snapshot->fleets);
    myr_free(snapshot);
}

/* The same fleets and tokens, for another directory. */
serve_snapshot *myr_serve_snapshot_copy(serve_reloader *reloader, const serve_snapshot *old)
{
    serve_snapshot *snapshot = myr_serve_snapshot_new(old->fleet_count, old->service, old->cors_origins);
    if (snapshot == NULL) return NULL;
    for (size_t i = 0; i < old->fleet_count; i++)
        myr_serve_snapshot_add(snapshot, old->fleets[i]);
    snapshot->tokens = myr_calloc(old->token_count + 1, sizeof(serve_token *));
    bool is_ok = snapshot->tokens != NULL;
    for (size_t i = 0; i < old->variant_count && is_ok; i++)
        is_ok =
            myr_serve_snapshot_add_variant(snapshot, old->variants[i].fleet, old->variants[i].alias, NULL) == MYR_OK;
    if (!is_ok) {
        myr_serve_snapshot_free(reloader, snapshot);
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

void myr_serve_snapshot_sort(serve_snapshot *snapshot)
{
    qsort(snapshot->fleets, snapshot->fleet_count, sizeof(serve_fleet *), snapshot_compare);
    if (snapshot->variant_count > 0)
        qsort(snapshot->variants, snapshot->variant_count, sizeof *snapshot->variants, variant_compare);
}

bool myr_serve_snapshot_equal(const serve_snapshot *a, const serve_snapshot *b)
{
    if (a == NULL || a->fleet_count != b->fleet_count || !myr_serve_tokens_equal(a, b)) return false;
    if (a->service != b->service || strcmp(a->cors_origins, b->cors_origins) != 0) return false;
    if (a->variant_count != b->variant_count) return false;
    for (size_t i = 0; i < a->variant_count; i++) {
        const serve_variant *x = &a->variants[i], *y = &b->variants[i];
        if (x->fleet != y->fleet || strcmp(x->alias, y->alias) != 0) return false;
    }
    return a->fleet_count == 0 || memcmp(a->fleets, b->fleets, a->fleet_count * sizeof(serve_fleet *)) == 0;
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
bool myr_serve_snapshot_is_held(const myr_server *server, const serve_snapshot *snapshot)
{
    for (const serve_thread *thread = server->threads; thread != NULL; thread = thread->next) {
        if (atomic_load(&thread->held) == snapshot) return true;
    }
    return atomic_load(&snapshot->parked) > 0;
}
