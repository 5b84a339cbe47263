/*
 * Environments of the models that are code (score.py): made when a release that needs them is served, on a thread that
 * no request waits for, and given back when none is. Readiness tells what is still being made.
 *
 * The thread exists once there is such a model. It alone makes, holds and gives back; the reloader says what is wanted.
 */
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

#define DEPLOY_ITEMS_MAX     65536
#define DEPLOY_RETRY_MS      10000  /* after the first failure … */
#define DEPLOY_RETRY_DOUBLES 6      /* … doubled so often at most: 11 minutes */
#define DEPLOY_LATE_MS       5000   /* requests of an earlier snapshot have ended by then */
#define DEPLOY_IDLE_MS       600000 /* between looks when there is nothing to do */

typedef struct deploy_item {
    char artifact[MYR_SHA256_HEX_BYTES];
    bool is_wanted; /* by the newest snapshot */
    bool is_tried;  /* made, or failed, once */
    bool is_ready;
    int failures;
    int64_t retry_ns;
    myr_runtime_environment *environment;
    char error[MYR_ERR_MESSAGE_BYTES];
} deploy_item;

struct serve_deploy {
    myr_fleet_code *code; /* the thread's */
    _Atomic bool stop;
    myr_mutex lock; /* guards what follows */
    myr_cond wake;
    deploy_item *items;
    size_t count;
    int keeps_left;  /* times that processes of models that nobody serves are still to be ended … */
    int64_t keep_ns; /* … and when next */
    bool has_thread;
    myr_thread thread;
};

/* ---- items, under the lock ---- */

static deploy_item *deploy_find(serve_deploy *deploy, const char *artifact)
{
    for (size_t i = 0; i < deploy->count; i++) {
        if (strcmp(deploy->items[i].artifact, artifact) == 0) return &deploy->items[i];
    }
    return NULL;
}

static myr_rc deploy_want(serve_deploy *deploy, const serve_fleet *served, myr_err *err)
{
    for (size_t i = 0; i < served->code_count; i++) {
        deploy_item *item = deploy_find(deploy, served->code[i]);
        if (item == NULL) {
            if (deploy->count == DEPLOY_ITEMS_MAX)
                MYR_FAIL(err, TOO_LARGE, "more than %d models that are code", DEPLOY_ITEMS_MAX);
            deploy_item *more = myr_realloc_array(deploy->items, deploy->count + 1, sizeof *more);
            if (more == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the models that are code");
            deploy->items = more;
            item = &more[deploy->count++];
            *item = (deploy_item){0};
            snprintf(item->artifact, sizeof item->artifact, "%s", served->code[i]);
        }
        item->is_wanted = true;
    }
    return MYR_OK;
}

static myr_rc deploy_want_all(serve_deploy *deploy, const serve_snapshot *snapshot, myr_err *err)
{
    for (size_t i = 0; i < deploy->count; i++)
        deploy->items[i].is_wanted = false;
    for (size_t i = 0; i < snapshot->fleet_count; i++)
        MYR_TRY(deploy_want(deploy, snapshot->fleets[i], err));
    for (size_t i = 0; i < snapshot->variant_count; i++)
        MYR_TRY(deploy_want(deploy, snapshot->variants[i].fleet, err));
    return MYR_OK;
}

/* ---- the thread; the lock is held but for what takes long ---- */

/* Made or found: what came of it, for the item if it is still there. */
static void deploy_note(serve_deploy *deploy, const char *artifact, myr_runtime_environment *environment, myr_rc rc,
                        const myr_err *why, int64_t took_ms)
{
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)took_ms);
    deploy_item *item = deploy_find(deploy, artifact);
    MYR_ASSERT(item != NULL); /* only this thread takes one away */
    item->is_tried = true;
    item->is_ready = rc == MYR_OK;
    item->environment = environment;
    if (rc == MYR_OK) {
        if (environment != NULL)
            myr_log(MYR_LOG_INFO, "serve", "environment ready", "artifact", artifact, "ms", number, NULL);
        return;
    }
    int doubles = item->failures < DEPLOY_RETRY_DOUBLES ? item->failures : DEPLOY_RETRY_DOUBLES;
    item->failures++;
    item->retry_ns = myr_clock_mono_ns() + ((int64_t)DEPLOY_RETRY_MS << doubles) * 1000000;
    if (strcmp(item->error, why->message) != 0 && !atomic_load(&deploy->stop))
        myr_log(MYR_LOG_ERROR, "serve", "environment not made", "artifact", artifact, "error", why->message, NULL);
    memcpy(item->error, why->message, sizeof item->error);
}

/* Make one that is wanted and not there. False: there is none to be made now. */
static bool deploy_make_next(serve_deploy *deploy)
{
    int64_t now_ns = myr_clock_mono_ns();
    char artifact[MYR_SHA256_HEX_BYTES] = "";
    for (size_t i = 0; i < deploy->count && artifact[0] == '\0'; i++) {
        const deploy_item *item = &deploy->items[i];
        if (item->is_wanted && !item->is_ready && item->retry_ns <= now_ns)
            memcpy(artifact, item->artifact, sizeof artifact);
    }
    if (artifact[0] == '\0') return false;
    myr_runtime_environment *environment = NULL;
    myr_err why = {0};
    myr_mutex_unlock(&deploy->lock);
    myr_rc rc = myr_fleet_code_prepare(deploy->code, artifact, &deploy->stop, &environment, &why);
    myr_mutex_lock(&deploy->lock);
    deploy_note(deploy, artifact, environment, rc, &why, (myr_clock_mono_ns() - now_ns) / 1000000);
    return true;
}

/* Give one back that nobody wants any more. */
static bool deploy_drop_next(serve_deploy *deploy)
{
    for (size_t i = 0; i < deploy->count; i++) {
        if (deploy->items[i].is_wanted) continue;
        myr_runtime_environment *environment = deploy->items[i].environment;
        deploy->items[i] = deploy->items[--deploy->count];
        myr_mutex_unlock(&deploy->lock);
        myr_runtime_environment_release(environment);
        myr_mutex_lock(&deploy->lock);
        return true;
    }
    return false;
}

/* End processes of models that nobody serves: at once, and once more when late requests can't have begun one again. */
static bool deploy_keep(serve_deploy *deploy)
{
    if (deploy->keeps_left == 0 || myr_clock_mono_ns() < deploy->keep_ns) return false;
    const char **wanted = myr_calloc(deploy->count + 1, sizeof *wanted);
    deploy_item *copies = myr_calloc(deploy->count + 1, sizeof *copies);
    size_t count = 0;
    bool has_room = wanted != NULL && copies != NULL;
    for (size_t i = 0; has_room && i < deploy->count; i++) {
        if (!deploy->items[i].is_wanted) continue;
        copies[count] = deploy->items[i];
        wanted[count] = copies[count].artifact;
        count++;
    }
    deploy->keeps_left--;
    deploy->keep_ns = myr_clock_mono_ns() + DEPLOY_LATE_MS * 1000000LL;
    myr_mutex_unlock(&deploy->lock);
    if (has_room) myr_fleet_code_keep(deploy->code, wanted, count);
    myr_free(wanted);
    myr_free(copies);
    myr_mutex_lock(&deploy->lock);
    return true;
}

/* Milliseconds until there is something to do that nobody wakes it for. */
static int64_t deploy_wait_ms(const serve_deploy *deploy)
{
    int64_t now_ns = myr_clock_mono_ns(), next_ns = now_ns + DEPLOY_IDLE_MS * 1000000LL;
    if (deploy->keeps_left > 0 && deploy->keep_ns < next_ns) next_ns = deploy->keep_ns;
    for (size_t i = 0; i < deploy->count; i++) {
        const deploy_item *item = &deploy->items[i];
        if (item->is_wanted && !item->is_ready && item->retry_ns < next_ns) next_ns = item->retry_ns;
    }
    return next_ns > now_ns ? (next_ns - now_ns) / 1000000 + 1 : 1;
}

static void *deploy_main(void *arg)
{
    serve_deploy *deploy = arg;
    myr_mutex_lock(&deploy->lock);
    while (!atomic_load(&deploy->stop)) {
        if (deploy_keep(deploy) || deploy_drop_next(deploy) || deploy_make_next(deploy)) continue;
        MYR_IGNORE(myr_cond_wait_ms(&deploy->wake, &deploy->lock, deploy_wait_ms(deploy))); /* the loop looks */
    }
    myr_mutex_unlock(&deploy->lock);
    return NULL;
}

/* ---- for the reloader ---- */

myr_rc myr_serve_deploy_open(myr_server *server, myr_workspace *workspace, myr_err *err)
{
    serve_deploy *deploy = myr_calloc(1, sizeof *deploy);
    if (deploy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the server");
    myr_mutex_init(&deploy->lock);
    myr_cond_init(&deploy->wake);
    server->deploy = deploy;
    return myr_fleet_code_open(workspace, &deploy->code, err);
}

/* Once: whether processes of models that are code are kept from the network. */
static void deploy_tell(void)
{
    bool is_offline;
    const char *how = myr_runtime_offline(&is_offline);
    if (is_offline) {
        myr_log(MYR_LOG_INFO, "serve", "models that are code have no network unless they ask for it", "by", how, NULL);
    } else {
        myr_log(MYR_LOG_WARN, "serve", "models that are code have a network", "why", how, NULL);
    }
}

void myr_serve_deploy_look(myr_server *server, const serve_snapshot *snapshot)
{
    serve_deploy *deploy = server->deploy;
    myr_err err = {0};
    myr_mutex_lock(&deploy->lock);
    myr_rc rc = deploy_want_all(deploy, snapshot, &err);
    if (deploy->count > 0) {
        deploy->keeps_left = 2;
        deploy->keep_ns = 0;
    }
    if (rc == MYR_OK && deploy->count > 0 && !deploy->has_thread) {
        deploy_tell();
        rc = myr_thread_start(&deploy->thread, "serve-deploy", deploy_main, deploy, &err);
        deploy->has_thread = rc == MYR_OK;
    }
    myr_cond_signal(&deploy->wake);
    myr_mutex_unlock(&deploy->lock);
    if (rc != MYR_OK) myr_log_err(MYR_LOG_ERROR, "serve", "environments are not made", &err);
}

void myr_serve_deploy_close(myr_server *server)
{
    serve_deploy *deploy = server->deploy;
    if (deploy == NULL) return;
    myr_mutex_lock(&deploy->lock);
    atomic_store(&deploy->stop, true);
    myr_cond_signal(&deploy->wake);
    myr_mutex_unlock(&deploy->lock);
    if (deploy->has_thread) myr_thread_join(deploy->thread);
    for (size_t i = 0; i < deploy->count; i++)
        myr_runtime_environment_release(deploy->items[i].environment);
    myr_fleet_code_close(deploy->code);
    myr_cond_fini(&deploy->wake);
    myr_mutex_fini(&deploy->lock);
    myr_free(deploy->items);
    myr_free(deploy);
    server->deploy = NULL;
}

/* ---- readiness: any thread ---- */

bool myr_serve_deploy_is_settled(myr_server *server)
{
    serve_deploy *deploy = server->deploy;
    bool is_settled = true;
    myr_mutex_lock(&deploy->lock);
    for (size_t i = 0; i < deploy->count; i++)
        is_settled = is_settled && (deploy->items[i].is_tried || !deploy->items[i].is_wanted);
    myr_mutex_unlock(&deploy->lock);
    return is_settled;
}

myr_rc myr_serve_deploy_check(myr_server *server, const serve_target *target, myr_err *err)
{
    serve_deploy *deploy = server->deploy;
    const serve_fleet *served = target->fleet;
    char only[MYR_SHA256_HEX_BYTES] = "";
    if (served->code_count == 0) return MYR_OK;
    if (target->model_idx != MYR_PACK_NONE) {
        const myr_model *model;
        myr_external external;
        MYR_TRY(myr_pack_model(served->fleet->pack, target->model_idx, &model, err));
        if (!myr_model_external(model, &external)) return MYR_OK;
        for (size_t i = 0; i < MYR_SHA256_BYTES; i++)
            snprintf(only + 2 * i, 3, "%02x", external.sha256[i]);
    }
    myr_rc rc = MYR_OK;
    myr_mutex_lock(&deploy->lock);
    for (size_t i = 0; i < served->code_count && rc == MYR_OK; i++) {
        if (only[0] != '\0' && strcmp(only, served->code[i]) != 0) continue;
        const deploy_item *item = deploy_find(deploy, served->code[i]);
        if (item == NULL || item->is_ready) continue;
        if (!item->is_tried) rc = MYR_ERROR(err, UNAVAILABLE, "its environment is still being made");
        if (item->is_tried && only[0] != '\0') rc = MYR_ERROR(err, UNAVAILABLE, "%s", item->error);
    }
    myr_mutex_unlock(&deploy->lock);
    return rc;
}
