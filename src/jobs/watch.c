/*
 * What was started is looked after by whichever scheduler is on its machine, whoever started it: its run's number, its
 * end, the wish that it be cancelled. The state of a run that this process did not start, once it is gone, is what its
 * output file and the registry say.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "jobs/scheduler.h"
#include "registry/registry.h"

#define WATCH_SEEN_MS      15000  /* how often it is written that a process was seen */
#define WATCH_LOST_MS      120000 /* a machine that nobody has heard of for so long is gone */
#define WATCH_KILL_MS      10000  /* what was asked to end is ended then */
#define WATCH_OUTPUT_BYTES (1 << 20)
#define WATCH_TAIL_BYTES   4096
#define WATCH_REASON_BYTES 512

void myr_scheduler_child_add(myr_scheduler *s, int64_t pid)
{
    MYR_ASSERT(s->child_count < SCHEDULER_CHILDREN_MAX);
    s->children[s->child_count++] = pid;
}

/* Is it a child of ours that has ended? It is waited for then. */
static bool watch_child_ended(myr_scheduler *s, int64_t pid, bool *out_is_child, int64_t *out_exit)
{
    *out_is_child = false;
    for (size_t i = 0; i < s->child_count; i++) {
        if (s->children[i] != pid) continue;
        *out_is_child = true;
        if (!myr_process_ended(pid, out_exit)) return false;
        s->children[i] = s->children[--s->child_count];
        return true;
    }
    return false;
}

/* The first line of its output is JSON and names the run. */
static int64_t watch_run_id(const myr_scheduler *s, const myr_firing *firing, bool *out_has_output)
{
    char path[MYR_PATH_BYTES_MAX];
    char *data = NULL;
    size_t size = 0;
    int64_t id = 0;
    myr_scheduler_path(s, firing, "json", path);
    *out_has_output = myr_io_exists(path);
    if (!*out_has_output || myr_file_read(path, WATCH_OUTPUT_BYTES, &data, &size, NULL) != MYR_OK) return 0;
    const char *end = memchr(data, '\n', size);
    yyjson_doc *doc = end != NULL ? yyjson_read(data, (size_t)(end - data), YYJSON_READ_NOFLAG) : NULL;
    yyjson_val *run = yyjson_obj_get(yyjson_doc_get_root(doc), "run");
    if (yyjson_is_int(run)) id = yyjson_get_sint(run);
    yyjson_doc_free(doc);
    myr_free(data);
    return id > 0 ? id : 0;
}

/* The last line that it wrote to standard error: why it failed. */
static void watch_last_words(const myr_scheduler *s, const myr_firing *firing, char out[WATCH_REASON_BYTES])
{
    char path[MYR_PATH_BYTES_MAX], tail[WATCH_TAIL_BYTES];
    int64_t size = 0;
    MYR_AUTO(myr_fd) fd = -1;
    myr_scheduler_path(s, firing, "log", path);
    out[0] = '\0';
    if (myr_io_size(path, &size, NULL) != MYR_OK || size == 0 || myr_io_open(path, 0, 0, &fd, NULL) != MYR_OK) return;
    int64_t from = size > WATCH_TAIL_BYTES ? size - WATCH_TAIL_BYTES : 0;
    if (myr_io_pread(fd, path, tail, (size_t)(size - from), from, NULL) != MYR_OK) return;
    myr_str text = myr_str_trim(myr_str_make(tail, (size_t)(size - from)));
    const char *line = memrchr(text.data, '\n', text.size);
    if (line != NULL) text = myr_str_make(line + 1, text.size - (size_t)(line + 1 - text.data));
    myr_err words = {0};
    (void)myr_err_set(&words, MYR_INTERNAL, __FILE__, __LINE__, MYR_STR_FMT, MYR_STR_ARG(text)); /* escapes, cuts */
    (void)snprintf(out, WATCH_REASON_BYTES, "%s", words.message);
}

/* ---- how it ended ---- */

static myr_rc watch_move(myr_scheduler *s, const myr_firing *firing, const myr_firing *next, myr_err *err)
{
    bool done = false;
    MYR_TRY(myr_store_begin(s->store, NULL, err)); /* the state it is in now is what guards it */
    MYR_TRY(myr_store_end(s->store, myr_store_move(s->store, next, firing->state, &done, err), err));
    if (done && !myr_firing_is_open(next->state)) {
        myr_log(next->state == MYR_FIRING_FAILED ? MYR_LOG_WARN : MYR_LOG_INFO, "jobs", "ended", "job", firing->job,
                "state", myr_firing_state_name(next->state), "reason", next->reason, NULL);
    }
    return MYR_OK;
}

static myr_rc watch_end(myr_scheduler *s, const myr_firing *firing, myr_firing_state state, int64_t exit_code,
                        int64_t run_id, const char *reason, myr_err *err)
{
    myr_firing next = *firing;
    next.state = state;
    next.exit_code = exit_code;
    next.run_id = run_id;
    next.ended_ms = s->now_ms;
    next.reason = reason;
    return watch_move(s, firing, &next, err);
}

/* A child of ours: its exit code says it. */
static myr_rc watch_exited(myr_scheduler *s, const myr_firing *firing, int64_t exit_code, int64_t run_id, myr_err *err)
{
    char reason[WATCH_REASON_BYTES + 64], words[WATCH_REASON_BYTES];
    if (exit_code == 0) return watch_end(s, firing, MYR_FIRING_COMPLETED, 0, run_id, "", err);
    if (firing->wish[0] != '\0')
        return watch_end(s, firing, MYR_FIRING_CANCELLED, exit_code, run_id, firing->reason, err);
    watch_last_words(s, firing, words);
    if (exit_code > 128) {
        (void)snprintf(reason, sizeof reason, "ended by signal %lld%s%s", (long long)(exit_code - 128),
                       words[0] != '\0' ? ": " : "", words);
    } else {
        (void)snprintf(reason, sizeof reason, "exit code %lld%s%s", (long long)exit_code, words[0] != '\0' ? ": " : "",
                       words);
    }
    return watch_end(s, firing, MYR_FIRING_FAILED, exit_code, run_id, reason, err);
}

/* What the registry of this workspace says of a run; "" if it knows none. */
static myr_rc watch_run_state(const myr_scheduler *s, int64_t run_id, const char **out_state, const char **out_message,
                              myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_registry_ptr) registry = NULL;
    myr_run_row row;
    *out_state = *out_message = "";
    MYR_TRY(myr_path_join(path, sizeof path, s->root, "registry.db", err));
    MYR_TRY(myr_registry_open(path, false, &registry, err));
    myr_err why = {0};
    myr_rc rc = myr_registry_run_get(registry, s->arena, run_id, &row, &why);
    if (rc == MYR_NOT_FOUND) return MYR_OK;
    if (rc != MYR_OK) return myr_err_set(err, rc, why.file, why.line, "%s", why.message);
    *out_state = row.state;
    *out_message = row.message;
    return MYR_OK;
}

/* Gone, and nobody waited for it: its scheduler had ended. */
static myr_rc watch_orphan_ended(myr_scheduler *s, const myr_firing *firing, int64_t run_id, bool has_output,
                                 myr_err *err)
{
    const char *state = "", *message = "";
    myr_err why = {0};
    char reason[WATCH_REASON_BYTES + 128], words[WATCH_REASON_BYTES];
    if (!has_output) { /* it was never let in: it waits again */
        myr_firing next = *firing;
        next.state = MYR_FIRING_WAITING;
        next.pid = next.pid_start = 0;
        next.host = "";
        next.started_ms = next.seen_ms = 0;
        return watch_move(s, firing, &next, err);
    }
    if (run_id != 0 && watch_run_state(s, run_id, &state, &message, &why) != MYR_OK) {
        myr_log_err(MYR_LOG_WARN, "jobs", "how a run ended can't be read yet", &why);
        return MYR_OK; /* the next turn asks again; the others go on */
    }
    if (strcmp(state, "completed") == 0) return watch_end(s, firing, MYR_FIRING_COMPLETED, 0, run_id, "", err);
    if (firing->wish[0] != '\0') return watch_end(s, firing, MYR_FIRING_CANCELLED, -1, run_id, firing->reason, err);
    watch_last_words(s, firing, words);
    if (strcmp(state, "failed") == 0) {
        (void)snprintf(reason, sizeof reason, "%s", message[0] != '\0' ? message : words);
    } else if (run_id != 0) {
        (void)snprintf(reason, sizeof reason,
                       "its process is gone and run %lld has not ended: myriad batch resume %lld", (long long)run_id,
                       (long long)run_id);
    } else {
        (void)snprintf(
            reason, sizeof reason,
            "its process ended while no scheduler looked, before it told its run: it is not started again%s%s",
            words[0] != '\0' ? ": " : "", words);
    }
    return watch_end(s, firing, MYR_FIRING_FAILED, -1, run_id, reason, err);
}

/* ---- while it runs ---- */

/* Asked to end, and made to end if it does not. seen_ms stands still from the first on. */
static myr_rc watch_cancel(myr_scheduler *s, const myr_firing *firing, myr_err *err)
{
    if (strcmp(firing->wish, "ending") == 0) {
        bool is_late = s->now_ms - firing->seen_ms > WATCH_KILL_MS || s->now_ms < firing->seen_ms;
        if (is_late) myr_process_signal(firing->pid, firing->pid_start, SIGKILL);
        return MYR_OK;
    }
    myr_process_signal(firing->pid, firing->pid_start, SIGTERM);
    MYR_TRY(myr_store_begin(s->store, NULL, err));
    myr_rc rc = myr_store_wish(s->store, firing->id, "ending", firing->reason, err);
    if (rc == MYR_OK) rc = myr_store_seen(s->store, firing->id, s->now_ms, err);
    return myr_store_end(s->store, rc, err);
}

static myr_rc watch_running(myr_scheduler *s, const myr_firing *firing, int64_t run_id, myr_err *err)
{
    if (firing->wish[0] != '\0') return watch_cancel(s, firing, err);
    bool is_new = run_id != 0 && firing->state == MYR_FIRING_STARTING;
    if (is_new) {
        myr_firing next = *firing;
        next.state = MYR_FIRING_RUNNING;
        next.run_id = run_id;
        next.seen_ms = s->now_ms;
        return watch_move(s, firing, &next, err);
    }
    if (s->now_ms - firing->seen_ms < WATCH_SEEN_MS && s->now_ms >= firing->seen_ms) return MYR_OK;
    return myr_store_seen(s->store, firing->id, s->now_ms, err);
}

static myr_rc watch_here(myr_scheduler *s, const myr_firing *firing, myr_err *err)
{
    bool is_child = false, has_output = false;
    int64_t exit_code = 0;
    bool ended = watch_child_ended(s, firing->pid, &is_child, &exit_code);
    if (!is_child) ended = !myr_process_runs(firing->pid, firing->pid_start);
    int64_t run_id = watch_run_id(s, firing, &has_output);
    if (run_id == 0) run_id = firing->run_id;
    if (!ended) return watch_running(s, firing, run_id, err);
    if (is_child && exit_code >= 0) return watch_exited(s, firing, exit_code, run_id, err);
    return watch_orphan_ended(s, firing, run_id, has_output, err);
}

/* Is it of this machine, before it was started anew? Then nothing of it runs. */
static bool watch_was_here(const myr_scheduler *s, const myr_firing *firing)
{
    const char *slash = strrchr(s->host, '/');
    size_t size = slash != NULL ? (size_t)(slash - s->host) : strlen(s->host);
    return strncmp(firing->host, s->host, size) == 0 && firing->host[size] == '/';
}

static myr_rc watch_elsewhere(myr_scheduler *s, const myr_firing *firing, myr_err *err)
{
    char reason[256], time[MYR_TIME_TEXT_BYTES];
    bool has_output = false;
    if (watch_was_here(s, firing)) {
        int64_t run_id = watch_run_id(s, firing, &has_output);
        return watch_orphan_ended(s, firing, run_id != 0 ? run_id : firing->run_id, has_output, err);
    }
    if (s->now_ms - firing->seen_ms < WATCH_LOST_MS) return MYR_OK;
    (void)snprintf(reason, sizeof reason, "no scheduler of its machine (%.60s) has been heard of since %s",
                   firing->host, myr_format_time(firing->seen_ms, time));
    return watch_end(s, firing, MYR_FIRING_FAILED, -1, firing->run_id, reason, err);
}

/* Children whose firing has been settled by somebody else: only waited for. */
static void watch_sweep(myr_scheduler *s)
{
    for (size_t c = 0; c < s->child_count;) {
        bool is_open = false;
        int64_t exit_code;
        for (size_t i = 0; i < s->open_count; i++)
            is_open = is_open || s->open[i].pid == s->children[c];
        if (!is_open && myr_process_ended(s->children[c], &exit_code)) {
            s->children[c] = s->children[--s->child_count];
        } else {
            c++;
        }
    }
}

myr_rc myr_scheduler_watch(myr_scheduler *s, myr_err *err)
{
    watch_sweep(s);
    for (size_t i = 0; i < s->open_count; i++) {
        const myr_firing *firing = &s->open[i];
        if (firing->state == MYR_FIRING_WAITING) continue;
        bool is_here = strcmp(firing->host, s->host) == 0;
        if (is_here) {
            MYR_TRY(watch_here(s, firing, err));
        } else if (s->lease.epoch != 0) {
            MYR_TRY(watch_elsewhere(s, firing, err));
        }
    }
    return MYR_OK;
}
