/* Object stores looked at for `files:`: a thread for each trigger lists what is there, again and again. */
#include <string.h>

#include "jobs/scheduler.h"
#include "object/object.h"

#define LISTING_STALL_MS 4000 /* of one look; a close waits for that */

struct job_listing {
    myr_scheduler *scheduler; /* to be woken */
    const char *uri;          /* the trigger's */
    myr_thread thread;
    bool is_started;
    myr_arena *taken; /* of the scheduler's thread: what was taken last */
    /* between the two */
    myr_mutex mutex; /* guards what follows */
    myr_cond changed;
    bool stop, is_new;
    int64_t wait_ms;
    myr_arena *arena; /* of the newest list */
    job_found *items;
    size_t count;
    myr_err trouble;
};

/* Two versions of one object differ in their ETag, or, where there is none, in their time. */
static int64_t listing_version(const myr_object *object)
{
    int64_t number = object->modified_ms * 1000000;
    if (object->etag[0] == '\0') return number;
    uint64_t hash = myr_hash64(object->etag, strlen(object->etag), (uint64_t)number);
    return (int64_t)(hash >> 1);
}

static myr_rc listing_copy(const char *uri, const char *key, const myr_object *objects, size_t count, myr_arena *arena,
                           job_found **out, myr_err *err)
{
    size_t root_bytes = strlen(uri) - strlen(key);
    const char *slash = uri[root_bytes - 1] == '/' ? "" : "/";
    job_found *items = myr_arena_calloc(arena, count + 1, sizeof *items);
    for (size_t i = 0; items != NULL && i < count; i++) {
        items[i] = (job_found){.path = myr_arena_printf(arena, "%.*s%s%s", (int)root_bytes, uri, slash, objects[i].key),
                               .size_bytes = objects[i].bytes,
                               .changed_ns = listing_version(&objects[i]),
                               .is_wanted = myr_object_takes(key, objects[i].key)};
        if (items[i].path == NULL) items = NULL;
    }
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "%.200s: no memory for its list", uri);
    *out = items;
    return MYR_OK;
}

/* No tries: the next look is one. */
static myr_rc listing_look(const char *uri, myr_arena *arena, job_found **out, size_t *out_count, myr_err *err)
{
    static const myr_object_opts opts = {.retries = 0,
                                         .backoff_ms = 0,
                                         .stall_ms = LISTING_STALL_MS,
                                         .part_bytes = MYR_OBJECT_PART_BYTES,
                                         .transfers = 1,
                                         .page_keys = 1000};
    MYR_AUTO(myr_object_client_ptr) client = NULL;
    char prefix[MYR_OBJECT_KEY_BYTES_MAX + 1];
    const char *key = NULL;
    myr_object *objects = NULL;
    size_t count = 0;
    MYR_TRY(myr_object_key(uri, &key, err));
    MYR_TRY(myr_object_open(uri, &opts, &client, err));
    myr_object_prefix(key, prefix);
    MYR_TRY(myr_object_list(client, prefix, arena, &objects, &count, err));
    MYR_TRY(listing_copy(uri, key, objects, count, arena, out, err));
    *out_count = count;
    return MYR_OK;
}

static void *listing_main(void *arg)
{
    job_listing *listing = arg;
    myr_mutex_lock(&listing->mutex);
    while (!listing->stop) {
        myr_err trouble = {0};
        job_found *items = NULL;
        size_t count = 0;
        myr_mutex_unlock(&listing->mutex);
        myr_arena *arena = myr_arena_new(0);
        if (arena == NULL)
            (void)MYR_ERROR(&trouble, NO_MEMORY, "%.200s: no memory for its list", listing->uri);
        else if (listing_look(listing->uri, arena, &items, &count, &trouble) != MYR_OK)
            count = 0;
        myr_mutex_lock(&listing->mutex);
        myr_arena_free(listing->arena);
        listing->arena = arena;
        listing->items = items;
        listing->count = count;
        listing->trouble = trouble;
        listing->is_new = true;
        myr_scheduler_wake(listing->scheduler);
        for (int64_t began_ns = myr_clock_mono_ns(); !listing->stop;) {
            int64_t left_ms = listing->wait_ms - (myr_clock_mono_ns() - began_ns) / 1000000;
            if (left_ms <= 0) break;
            (void)myr_cond_wait_ms(&listing->changed, &listing->mutex, left_ms);
        }
    }
    myr_mutex_unlock(&listing->mutex);
    return NULL;
}

myr_rc myr_listing_start(myr_scheduler *s, const char *uri, int64_t poll_ms, job_listing **out, myr_err *err)
{
    job_listing *listing = myr_calloc(1, sizeof *listing);
    if (listing == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a trigger");
    listing->scheduler = s;
    listing->uri = uri;
    listing->wait_ms = poll_ms;
    myr_mutex_init(&listing->mutex);
    myr_cond_init(&listing->changed);
    myr_rc rc = myr_thread_start(&listing->thread, "listing", listing_main, listing, err);
    listing->is_started = rc == MYR_OK;
    if (rc != MYR_OK) {
        myr_listing_free(listing);
        return rc;
    }
    *out = listing;
    return MYR_OK;
}

bool myr_listing_take(job_listing *listing, const job_found **out, size_t *out_count, myr_err *trouble)
{
    myr_mutex_lock(&listing->mutex);
    bool is_new = listing->is_new;
    if (is_new) {
        myr_arena_free(listing->taken);
        listing->taken = listing->arena;
        listing->arena = NULL;
        listing->is_new = false;
        *out = listing->items;
        *out_count = listing->count;
        *trouble = listing->trouble;
    }
    myr_mutex_unlock(&listing->mutex);
    return is_new;
}

void myr_listing_pace(job_listing *listing, int64_t wait_ms)
{
    myr_mutex_lock(&listing->mutex);
    bool is_other = listing->wait_ms != wait_ms;
    listing->wait_ms = wait_ms;
    if (is_other) myr_cond_broadcast(&listing->changed);
    myr_mutex_unlock(&listing->mutex);
}

void myr_listing_stop(job_listing *listing)
{
    myr_mutex_lock(&listing->mutex);
    listing->stop = true;
    myr_cond_broadcast(&listing->changed);
    myr_mutex_unlock(&listing->mutex);
}

void myr_listing_free(job_listing *listing)
{
    if (listing == NULL) return;
    myr_listing_stop(listing);
    if (listing->is_started) myr_thread_join(listing->thread);
    myr_arena_free(listing->arena);
    myr_arena_free(listing->taken);
    myr_cond_fini(&listing->changed);
    myr_mutex_fini(&listing->mutex);
    myr_free(listing);
}
