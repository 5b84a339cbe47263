/*
 * The access log: one JSON object a line, whatever a path or a method holds, and no secret: neither query nor headers.
 * Answering never waits for it: lines go into a bounded buffer, a thread writes them; what does not fit is counted.
 */
#include "serve/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ACCESS_BUFFER_BYTES (1u << 20) /* lines that wait to be written */
#define ACCESS_PERIOD_MS    100        /* they wait no longer */

struct serve_log {
    char path[MYR_PATH_BYTES_MAX]; /* "" = standard error */
    myr_mutex lock;
    myr_cond wake;
    myr_buf lines; /* under lock, as what follows */
    bool stop, reopen;
    myr_metric *dropped;
    bool has_thread;
    int fd; /* the thread's, once it runs */
    myr_thread thread;
};

static myr_rc access_open(serve_log *access, myr_err *err)
{
    myr_fd fd = -1;
    if (access->path[0] == '\0') {
        access->fd = STDERR_FILENO;
        return MYR_OK;
    }
    MYR_TRY(myr_io_open(access->path, O_WRONLY | O_APPEND | O_CREAT, 0640, &fd, err));
    if (access->fd >= 0 && access->fd != STDERR_FILENO) close(access->fd);
    access->fd = fd;
    return MYR_OK;
}

/* A write that fails loses its lines: the next may find room again. */
static void access_write(serve_log *access, const myr_buf *lines)
{
    size_t done = 0;
    while (done < lines->size) {
        ssize_t wrote = write(access->fd, lines->data + done, lines->size - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        done += (size_t)wrote;
    }
    if (done < lines->size) myr_metric_add(access->dropped, 1);
}

static void *access_main(void *arg)
{
    serve_log *access = arg;
    MYR_AUTO(myr_buf) lines = {0};
    bool stop = false;
    while (!stop) {
        myr_mutex_lock(&access->lock);
        if (!access->stop && !access->reopen && access->lines.size < ACCESS_BUFFER_BYTES / 2)
            MYR_IGNORE(myr_cond_wait_ms(&access->wake, &access->lock, ACCESS_PERIOD_MS)); /* a period, or half full */
        stop = access->stop;
        bool reopen = access->reopen;
        access->reopen = false;
        myr_buf swap = access->lines;
        access->lines = lines;
        lines = swap;
        myr_mutex_unlock(&access->lock);
        access_write(access, &lines);
        myr_buf_clear(&lines);
        myr_err err = {0};
        if (reopen && access_open(access, &err) != MYR_OK)
            myr_log_err(MYR_LOG_ERROR, "serve", "access log not opened again: the earlier file goes on", &err);
    }
    return NULL;
}

myr_rc myr_serve_access_start(myr_server *server, myr_err *err)
{
    const char *where = server->opts.access_log;
    if (strcmp(where, "off") == 0 || strcmp(where, "false") == 0) return MYR_OK;
    serve_log *access = myr_calloc(1, sizeof *access);
    if (access == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the access log");
    bool is_stderr = strcmp(where, "stderr") == 0 || strcmp(where, "true") == 0;
    if (!is_stderr) memcpy(access->path, where, strlen(where) + 1);
    access->fd = -1;
    myr_mutex_init(&access->lock);
    myr_cond_init(&access->wake);
    server->access = access;
    access->dropped = myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_access_log_dropped_total",
                                         "Lines, or runs of lines, that could not be written.", NULL);
    MYR_TRY(access_open(access, err));
    MYR_TRY(myr_thread_start(&access->thread, "serve-access", access_main, access, err));
    access->has_thread = true;
    return MYR_OK;
}

void myr_serve_access_reopen(myr_server *server)
{
    serve_log *access = server->access;
    if (access == NULL) return;
    myr_mutex_lock(&access->lock);
    access->reopen = true;
    myr_cond_signal(&access->wake);
    myr_mutex_unlock(&access->lock);
}

void myr_serve_access_stop(myr_server *server)
{
    serve_log *access = server->access;
    if (access == NULL) return;
    if (access->has_thread) {
        myr_mutex_lock(&access->lock);
        access->stop = true;
        myr_cond_signal(&access->wake);
        myr_mutex_unlock(&access->lock);
        myr_thread_join(access->thread);
    }
    if (access->fd >= 0 && access->fd != STDERR_FILENO) close(access->fd);
    myr_buf_fini(&access->lines);
    myr_cond_fini(&access->wake);
    myr_mutex_fini(&access->lock);
    myr_free(access);
    server->access = NULL;
}

static void access_put_text(myr_buf *out, const char *key, const char *text)
{
    if (text == NULL || text[0] == '\0') return;
    myr_buf_json_field(out, key, text);
}

static void access_put_line(myr_buf *out, const serve_access_line *line)
{
    char time[MYR_TIME_TEXT_BYTES];
    myr_buf_printf(out, "{\"time\":\"%s\"", myr_format_time(myr_clock_unix_ms(), time));
    access_put_text(out, "client", line->client);
    access_put_text(out, "method", line->method);
    access_put_text(out, "path", line->path);
    access_put_text(out, "route", line->route);
    myr_buf_printf(out, ",\"status\":%d,\"bytes\":%lld,\"us\":%lld", line->status, (long long)line->bytes,
                   (long long)(line->took_ns / 1000));
    access_put_text(out, "token", line->token);
    access_put_text(out, "request_id", line->request_id);
    if (line->trace.size > 0) {
        myr_buf_puts(out, ",\"trace_id\":");
        myr_buf_json_string(out, myr_str_make(line->trace.data + 3, 32));
        myr_buf_puts(out, ",\"parent_id\":");
        myr_buf_json_string(out, myr_str_make(line->trace.data + 36, 16));
    }
    myr_buf_puts(out, "}\n");
}

void myr_serve_access_put(myr_server *server, const serve_access_line *line)
{
    serve_log *access = server->access;
    myr_mutex_lock(&access->lock);
    size_t before = access->lines.size;
    bool fits = before < ACCESS_BUFFER_BYTES;
    if (fits) access_put_line(&access->lines, line);
    if (access->lines.failed) { /* no memory: what was there is gone with it */
        myr_buf_fini(&access->lines);
        fits = false;
    }
    if (before < ACCESS_BUFFER_BYTES / 2 && access->lines.size >= ACCESS_BUFFER_BYTES / 2)
        myr_cond_signal(&access->wake);
    myr_mutex_unlock(&access->lock);
    if (!fits) myr_metric_add(access->dropped, 1);
}
