/*
 * Who is told that a run is over: a webhook gets it as JSON by POST, a command on its standard input. Tried a few times
 * and then left: the run stays what it was. What became of each stands in runs/<id>/notifications.jsonl.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "batch/internal.h"
#include "fetch/fetch.h"

#define NOTIFY_ATTEMPTS     4
#define NOTIFY_WAIT_MS      500 /* before the second attempt; twice as long before each further one */
#define NOTIFY_WEBHOOK_MS   10000
#define NOTIFY_COMMAND_MS   60000
#define NOTIFY_ANSWER_BYTES (64 << 10) /* of a webhook's answer, which nobody reads */
#define NOTIFY_ENV          "env:"

extern char **environ;

/* What is told, once it is in words. */
typedef struct notify_call {
    const batch *b;
    const char *status;
    myr_buf json;
    char path[MYR_PATH_BYTES_MAX]; /* of a file with it, for commands; "": none yet */
    char dir[MYR_PATH_BYTES_MAX];  /* runs/<id>; "" of a run that never began */
} notify_call;
static void notify_call_drop(notify_call *call)
{
    myr_buf_fini(&call->json);
}

/* ---- what is told ---- */

static void notify_rows(const batch *b, myr_buf *out)
{
    myr_buf_puts(out, ",\"statuses\":{");
    bool is_first = true;
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++) {
        int64_t rows = b->rows.counts.status_rows[i];
        if (rows == 0) continue;
        myr_buf_printf(out, "%s\"%s\":%lld", is_first ? "" : ",", myr_row_status_name((myr_row_status)i),
                       (long long)rows);
        is_first = false;
    }
    myr_buf_putc(out, '}');
}

static void notify_print(notify_call *call, bool is_unchanged, const char *message)
{
    const batch *b = call->b;
    char time[MYR_TIME_TEXT_BYTES];
    myr_buf *out = &call->json;
    int64_t duration_ms = (myr_clock_mono_ns() - b->begin_ns) / 1000000, dead_rows = b->dead_rows + b->failed_rows;
    myr_buf_puts(out, "{\"run\":");
    if (b->run_id != 0)
        myr_buf_printf(out, "%lld", (long long)b->run_id);
    else
        myr_buf_puts(out, "null");
    myr_buf_json_field(out, "job", b->opts.job != NULL ? b->opts.job : "");
    myr_buf_json_field(out, "fleet", b->opts.fleet);
    myr_buf_json_field(out, "status", call->status);
    myr_buf_json_field(out, "message", message);
    myr_buf_json_field(out, "ended", myr_format_time(myr_clock_unix_ms(), time));
    myr_buf_printf(out,
                   ",\"release\":%lld,\"unchanged\":%s,\"rows\":%lld,\"ok_rows\":%lld,\"dead_rows\":%lld,"
                   "\"mini_batches\":%lld,\"mini_batches_failed\":%lld,\"duration_ms\":%lld",
                   (long long)b->opts.release, is_unchanged ? "true" : "false", (long long)b->done_rows,
                   (long long)b->rows.counts.status_rows[MYR_ROW_OK], (long long)dead_rows, (long long)b->root_count,
                   (long long)b->failed_count, (long long)duration_ms);
    notify_rows(b, out);
    myr_buf_json_field(out, "output", b->opts.output != NULL ? b->opts.output : "");
    if (call->dir[0] != '\0') {
        char report[MYR_PATH_BYTES_MAX];
        if (myr_path_join(report, sizeof report, call->dir, "report.json", NULL) == MYR_OK)
            myr_buf_json_field(out, "report", report);
    }
    myr_buf_puts(out, "}\n");
}

/* ---- one attempt ---- */

/* `env:NAME` is what that variable says, so that no secret stands in the job's file or in the ledger. */
static myr_rc notify_url(const char *webhook, const char **out, myr_err *err)
{
    *out = webhook;
    if (strncmp(webhook, NOTIFY_ENV, strlen(NOTIFY_ENV)) != 0) return MYR_OK;
    *out = getenv(webhook + strlen(NOTIFY_ENV));
    if (*out == NULL || (*out)[0] == '\0')
        MYR_FAIL(err, BAD_INPUT, "the environment has no %.100s", webhook + strlen(NOTIFY_ENV));
    return MYR_OK;
}

static myr_rc notify_webhook(const notify_call *call, myr_err *err)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    MYR_AUTO(myr_fetch_ptr) fetch = NULL;
    MYR_AUTO(myr_fetch_answer) answer = {0};
    const char *url = NULL;
    MYR_TRY(notify_url(call->b->opts.notify->webhook, &url, err));
    MYR_TRY(myr_fetch_open(&fetch, err));
    const myr_fetch_call post = {.method = "POST",
                                 .url = url,
                                 .name = "the webhook",
                                 .headers = headers,
                                 .body = call->json.data,
                                 .body_bytes = call->json.size,
                                 .timeout_ms = NOTIFY_WEBHOOK_MS,
                                 .bytes_max = NOTIFY_ANSWER_BYTES};
    MYR_TRY(myr_fetch_ask(fetch, &post, &answer, err));
    int status = answer.status;
    if (status >= 200 && status < 300) return MYR_OK;
    if (status >= 500 || status == 408 || status == 429) MYR_FAIL(err, UNAVAILABLE, "the webhook answers %d", status);
    MYR_FAIL(err, BAD_INPUT, "the webhook answers %d, which is for good", status);
}

/* For a command's standard input. */
static myr_rc notify_file(notify_call *call, myr_err *err)
{
    char name[64];
    if (call->path[0] != '\0') return MYR_OK;
    if (call->dir[0] != '\0') {
        MYR_TRY(myr_path_join(call->path, sizeof call->path, call->dir, "notification.json", err));
    } else {
        (void)snprintf(name, sizeof name, "runs/notification-%lld.json", (long long)getpid());
        MYR_TRY(myr_path_join(call->path, sizeof call->path, call->b->workspace->root, "runs", err));
        MYR_TRY(myr_io_mkdirs(call->path, err));
        MYR_TRY(myr_path_join(call->path, sizeof call->path, call->b->workspace->root, name, err));
    }
    return myr_file_write(call->path, call->json.data, call->json.size, err);
}

/* Relative to the workspace, or found in PATH. */
static myr_rc notify_program(const notify_call *call, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    const char *name = call->b->opts.notify->command[0];
    if (name[0] == '/' || strchr(name, '/') == NULL) return myr_program_find(name, out, MYR_PATH_BYTES_MAX, err);
    return myr_path_join(out, MYR_PATH_BYTES_MAX, call->b->workspace->root, name, err);
}

static myr_rc notify_command(notify_call *call, myr_err *err)
{
    const char *const *command = call->b->opts.notify->command;
    const char *argv[BATCH_COMMAND_MAX + 1] = {NULL};
    char program[MYR_PATH_BYTES_MAX];
    MYR_TRY(notify_program(call, program, err));
    MYR_TRY(notify_file(call, err));
    argv[0] = program;
    for (size_t i = 1; i < BATCH_COMMAND_MAX && command[i] != NULL; i++)
        argv[i] = command[i];
    const myr_worker_opts opts = {
        .argv = argv, .env = (const char *const *)environ, .dir = call->b->workspace->root, .input_path = call->path};
    return myr_process_run(&opts, NOTIFY_COMMAND_MS, NULL, err);
}

/* ---- a few attempts, and what became of them ---- */

/* Whether the next attempt may do better. A command that was ended for being late may have done what it was for. */
static bool notify_may_pass(myr_rc rc, bool is_command)
{
    return rc == MYR_UNAVAILABLE || (rc == MYR_TIMEOUT && !is_command);
}

static void notify_record(const notify_call *call, const char *to, int attempts, const myr_err *why)
{
    char path[MYR_PATH_BYTES_MAX], time[MYR_TIME_TEXT_BYTES];
    MYR_AUTO(myr_buf) line = {0};
    MYR_AUTO(myr_fd) fd = -1;
    if (why->rc != MYR_OK) myr_log_err(MYR_LOG_WARN, "batch", "a notification was not sent", why);
    if (call->dir[0] == '\0') return; /* the log has it */
    myr_buf_printf(&line, "{\"to\":\"%s\",\"status\":\"%s\",\"sent\":%s,\"attempts\":%d,\"at\":\"%s\"", to,
                   call->status, why->rc == MYR_OK ? "true" : "false", attempts,
                   myr_format_time(myr_clock_unix_ms(), time));
    myr_buf_json_field(&line, "message", why->rc == MYR_OK ? "" : why->message);
    myr_buf_puts(&line, "}\n");
    bool is_open = myr_buf_check(&line, NULL) == MYR_OK &&
                   myr_path_join(path, sizeof path, call->dir, BATCH_NOTIFY_NAME, NULL) == MYR_OK &&
                   myr_io_open(path, O_WRONLY | O_CREAT | O_APPEND, 0644, &fd, NULL) == MYR_OK;
    if (is_open) MYR_IGNORE(myr_io_write(fd, path, line.data, line.size, NULL)); /* the log has it too */
}

static void notify_one(notify_call *call, bool is_command)
{
    myr_err why = {0};
    int64_t wait_ms = NOTIFY_WAIT_MS;
    int attempts = 0;
    for (;;) {
        why = (myr_err){0};
        myr_rc rc = is_command ? notify_command(call, &why) : notify_webhook(call, &why);
        attempts++;
        if (rc == MYR_OK || !notify_may_pass(rc, is_command) || attempts == NOTIFY_ATTEMPTS) break;
        myr_clock_sleep_ms(wait_ms);
        wait_ms *= 2;
    }
    notify_record(call, is_command ? "command" : "webhook", attempts, &why);
}

/* How it ended, as `myriad batch list` says; NULL: nobody asked for that. */
static const char *notify_status(const batch *b, myr_rc rc)
{
    const myr_batch_notify *notify = b->opts.notify;
    if (notify == NULL) return NULL;
    if (rc == MYR_OK) return notify->on_completed ? "completed" : NULL;
    if (rc == MYR_CANCELLED) return notify->on_canceled ? "canceled" : NULL;
    if (!notify->on_failed) return NULL;
    return b->is_kept && b->run_id != 0 ? "interrupted" : "failed"; /* kept: it can be resumed */
}

void myr_batch_notify_send(batch *b, myr_rc rc, bool is_unchanged, const char *message)
{
    const myr_batch_notify *notify = b->opts.notify;
    MYR_AUTO(notify_call) call = {.b = b, .status = notify_status(b, rc)};
    if (call.status == NULL) return;
    if (b->run_id != 0 && (myr_batch_record_dir(b->workspace, b->run_id, call.dir, sizeof call.dir, NULL) != MYR_OK ||
                           myr_io_mkdirs(call.dir, NULL) != MYR_OK)) {
        call.dir[0] = '\0';
    }
    notify_print(&call, is_unchanged, message);
    if (myr_buf_check(&call.json, NULL) != MYR_OK) return; /* no memory: a run that failed of it has said so */
    myr_batch_let_go(b); /* whoever waits for the output does not wait for a webhook */
    if (notify->webhook != NULL) notify_one(&call, false);
    if (notify->command != NULL) notify_one(&call, true);
    if (call.dir[0] == '\0' && call.path[0] != '\0') MYR_IGNORE(myr_io_unlink(call.path, NULL));
}
