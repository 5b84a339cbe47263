/*
 * The reloader: a thread that looks at the registry now and then, or when it is told to, says what this server serves,
 * and frees snapshots that nobody holds any more.
 */
#include "serve/reload.h"

#include <stdio.h>
#include <string.h>

#define RELOAD_RETIRED_LOOK_MS 20    /* between looks while a retired snapshot is in use */
#define RELOAD_ASK_TIMEOUT_MS  30000 /* a load that takes longer goes on without its client */
#define RELOAD_UNLOADED_MAX    1024
#define RELOAD_BEATS           4    /* per lease */
#define RELOAD_ALONE_MS        5000 /* between looks at the load, without a lease */
#define RELOAD_LEAVE_MS        1000 /* most that stopping waits until others are told */

/* ---- what is retired ---- */

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
        if (myr_serve_snapshot_is_held(reloader->server, snapshot)) {
            link = &snapshot->next_retired;
        } else {
            *link = snapshot->next_retired;
            myr_serve_snapshot_free(reloader, snapshot);
        }
    }
    reload_free_tokens(reloader);
}

/* ---- what others are told ---- */

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
    serve_snapshot *next =
        myr_serve_directory_equal(directory, old->directory) ? NULL : myr_serve_snapshot_copy(reloader, old);
    if (next == NULL) {
        bool is_equal = myr_serve_directory_equal(directory, old->directory);
        myr_serve_directory_release(directory);
        return is_equal ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory for the servers");
    }
    next->directory = directory;
    myr_serve_reload_publish(reloader, next);
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

/* ---- what the thread does ---- */

/* Not without listeners: see stages.c. */
static bool reload_tells(const serve_reloader *reloader)
{
    return reloader->beat.id[0] != '\0';
}

/* One look of the thread, logged when it fails in a new way. */
static void reload_try(serve_reloader *reloader, bool must)
{
    myr_err err = {0};
    bool changed = false;
    if (myr_serve_reload_look(reloader, must, &changed, &err) != MYR_OK &&
        strcmp(err.message, reloader->last_error) != 0) {
        myr_log_err(MYR_LOG_ERROR, "serve", "registry not read", &err);
        memcpy(reloader->last_error, err.message, sizeof reloader->last_error);
    }
    if (err.rc == MYR_OK) reloader->last_error[0] = '\0';
    if (changed && reload_tells(reloader))
        reload_beat(reloader, false); /* others may be there, or this one serves otherwise */
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

/* ---- the service file ---- */

/* What became of it, for those who ask. */
static void reload_note_service(serve_reloader *reloader, const char *path, bool is_taken, const myr_err *why)
{
    myr_server *server = reloader->server;
    serve_service_state *state = &reloader->state;
    int64_t now_ms = myr_clock_unix_ms();
    myr_mutex_lock(&reloader->lock);
    if (is_taken) {
        (void)snprintf(state->path, sizeof state->path, "%s", path);
        state->taken_ms = now_ms;
    }
    state->refused_ms = why->rc != MYR_OK ? now_ms : 0;
    memcpy(state->error, why->message, sizeof state->error);
    myr_mutex_unlock(&reloader->lock);
    if (is_taken && path[0] != '\0') myr_metric_add(server->service_taken, 1);
    if (why->rc != MYR_OK) myr_metric_add(server->service_refused, 1);
    myr_metric_set(server->service_is_refused, why->rc != MYR_OK ? 1 : 0);
}

/* Read it as main said. What does not fit leaves the one in force, and its fleets as they are. */
static void reload_take(serve_reloader *reloader)
{
    MYR_AUTO(myr_buf) diff = {0};
    myr_err err = {0};
    bool is_taken = false;
    myr_mutex_lock(&reloader->lock);
    reload_settings told = reloader->told;
    myr_mutex_unlock(&reloader->lock);
    memcpy(reloader->cors_origins, told.cors_origins, sizeof reloader->cors_origins);
    myr_rc rc = myr_serve_reload_service(reloader, told.service, &diff, &is_taken, &err);
    reload_note_service(reloader, told.service, is_taken, &err);
    if (rc != MYR_OK) {
        myr_log(MYR_LOG_ERROR, "serve", "service file not taken: the earlier one goes on", "file", told.service,
                "error", err.message, NULL);
        myr_buf_printf(&diff, "%s: not taken, the earlier one goes on: %s\n", told.service, err.message);
    }
    if (is_taken) {
        myr_log(MYR_LOG_INFO, "serve", "service file taken", "file", told.service[0] != '\0' ? told.service : "none",
                NULL);
        if (reload_tells(reloader)) reload_beat(reloader, false);
    }
    myr_mutex_lock(&reloader->lock);
    myr_buf_clear(&reloader->diff);
    if (diff.size > 0) myr_buf_append(&reloader->diff, diff.data, diff.size);
    myr_mutex_unlock(&reloader->lock);
}

void myr_serve_reloader_look_here(myr_server *server, bool reads_service)
{
    MYR_ASSERT(!server->reloader->has_thread);
    if (reads_service) reload_take(server->reloader);
    reload_try(server->reloader, false);
    reload_free_retired(server->reloader);
}

/* ---- the thread ---- */

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
        bool is_told = reloader->is_told;
        reloader->is_told = false;
        myr_mutex_unlock(&reloader->lock);
        if (is_told) reload_take(reloader);
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

/* The place of an unloaded name, or unloaded_count. Under lock. */
static size_t reload_find_unloaded(const serve_reloader *reloader, myr_str name)
{
    size_t at = 0;
    while (at < reloader->unloaded_count && !myr_str_is(name, reloader->unloaded[at].text))
        at++;
    return at;
}

bool myr_serve_reloader_is_unloaded(serve_reloader *reloader, const char *name)
{
    myr_mutex_lock(&reloader->lock);
    bool found = reload_find_unloaded(reloader, myr_str_of(name)) < reloader->unloaded_count;
    myr_mutex_unlock(&reloader->lock);
    return found;
}

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

/* Under lock: have the thread look, and wait until it did; false: the time is over (*out_left_ms 0), or we stop. */
static bool reload_wait_looked(serve_reloader *reloader, int64_t *out_left_ms)
{
    int64_t until_ns = myr_clock_mono_ns() + RELOAD_ASK_TIMEOUT_MS * 1000000LL, left_ms = RELOAD_ASK_TIMEOUT_MS;
    uint64_t ticket = ++reloader->asked;
    myr_cond_signal(&reloader->wake);
    while (reloader->looked < ticket && left_ms > 0 && !atomic_load(&reloader->server->is_stopping)) {
        MYR_IGNORE(myr_cond_wait_ms(&reloader->done, &reloader->lock, left_ms < 100 ? left_ms : 100));
        left_ms = (until_ns - myr_clock_mono_ns()) / 1000000;
    }
    *out_left_ms = left_ms > 0 ? left_ms : 0;
    return reloader->looked >= ticket;
}

myr_rc myr_serve_reloader_ask(myr_server *server, myr_str name, bool load, myr_err *err)
{
    serve_reloader *reloader = server->reloader;
    int64_t left_ms = 0;
    myr_mutex_lock(&reloader->lock);
    myr_rc rc = reload_set_unloaded(reloader, name, load, err);
    if (rc == MYR_OK) {
        if (!reload_wait_looked(reloader, &left_ms)) {
            rc = left_ms > 0 ? MYR_ERROR(err, UNAVAILABLE, "the server is stopping")
                             : MYR_ERROR(err, TIMEOUT, "the registry is still being looked at: ask again later");
        }
    }
    myr_mutex_unlock(&reloader->lock);
    return rc;
}

static void reload_tell(reload_settings *told, const myr_serve_opts *opts)
{
    memcpy(told->service, opts->service, sizeof told->service);
    memcpy(told->cors_origins, opts->cors_origins, sizeof told->cors_origins);
}

void myr_serve_reloader_take(myr_server *server, const myr_serve_opts *opts, myr_buf *out_diff)
{
    serve_reloader *reloader = server->reloader;
    int64_t left_ms = 0;
    myr_mutex_lock(&reloader->lock);
    reload_tell(&reloader->told, opts);
    reloader->is_told = true;
    if (!reload_wait_looked(reloader, &left_ms)) {
        myr_buf_puts(out_diff, "the service file is still being read: see the log\n");
    } else if (reloader->diff.size > 0) {
        myr_buf_append(out_diff, reloader->diff.data, reloader->diff.size);
    }
    myr_mutex_unlock(&reloader->lock);
}

void myr_serve_get_service_state(myr_server *server, serve_service_state *out)
{
    serve_reloader *reloader = server->reloader;
    myr_mutex_lock(&reloader->lock);
    *out = reloader->state;
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
    const serve_service *service = snapshot->service;
    for (uint32_t i = 0; service != NULL && i < service->plan_count; i++) {
        const char *name = service->plans[i].fleet;
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
    reload_tell(&reloader->told, &server->opts);
    memcpy(reloader->cors_origins, reloader->told.cors_origins, sizeof reloader->cors_origins);
    MYR_TRY(myr_serve_reload_service(reloader, reloader->told.service, NULL, &changed, err));
    reload_note_service(reloader, reloader->told.service, true, &(myr_err){0});
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
    myr_serve_snapshot_free(reloader, atomic_load(&server->current));
    atomic_store(&server->current, NULL);
    reload_free_tokens(reloader);
    MYR_ASSERT(reloader->idle_tokens == NULL);
    myr_service_release(reloader->service);
    MYR_ASSERT(reloader->links.first == NULL); /* every store is closed: nothing names one any more */
    myr_serve_beat_fini(&reloader->beat);
    myr_serve_deploy_close(server);
    myr_workspace_close(reloader->workspace);
    myr_cond_fini(&reloader->wake);
    myr_cond_fini(&reloader->done);
    myr_mutex_fini(&reloader->lock);
    myr_buf_fini(&reloader->diff);
    myr_free(reloader->failures);
    myr_free(reloader->unloaded);
    myr_free(reloader);
    server->reloader = NULL;
}
