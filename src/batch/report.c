/*
 * The report of a run: runs/<id>/report.json for programs, report.html for people: one page without anything from
 * elsewhere, with what each worker did when, and what became of the rows.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "batch/sink.h"
#include "batch/source.h"

#define REPORT_WIDTH     900 /* of a picture */
#define REPORT_LANE      22
#define REPORT_LANES_MAX 64
#define REPORT_BATCH_MAX 10000 /* mini-batches that are drawn and listed */

/* ---- JSON ---- */

static void report_field(myr_buf *out, const char *name, const char *text)
{
    myr_buf_json_field(out, name, text != NULL ? text : "");
}

static void report_json_rows(const batch *b, myr_buf *out)
{
    myr_buf_puts(out, ",\"statuses\":{");
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++)
        myr_buf_printf(out, "%s\"%s\":%lld", i > 0 ? "," : "", myr_row_status_name((myr_row_status)i),
                       (long long)b->rows.counts.status_rows[i]);
    myr_buf_puts(out, "},\"levels\":{");
    for (int i = 0; i < MYR_LEVEL_COUNT; i++)
        myr_buf_printf(out, "%s\"%s\":%lld", i > 0 ? "," : "", myr_level_name((myr_level)i),
                       (long long)b->rows.counts.level_rows[i]);
    myr_buf_puts(out, "},\"mini_batches\":[");
    for (size_t i = 0; i < b->task_count && i < REPORT_BATCH_MAX; i++) {
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        myr_buf_printf(out,
                       "%s\n{\"name\":\"%s\",\"state\":\"%s\",\"rows\":%lld,\"attempts\":%lld,\"worker\":%lld,"
                       "\"started_ms\":%lld,\"ended_ms\":%lld,\"dead_rows\":%lld",
                       i > 0 ? "," : "", row->name, row->state, (long long)row->row_count, (long long)row->attempts,
                       (long long)row->worker, (long long)row->started_ms, (long long)row->ended_ms,
                       (long long)row->dead_count);
        report_field(out, "file",
                     b->grouped != NULL || b->opts.spark != NULL ? b->input_name
                                                                 : myr_batch_input_name(&b->inputs[row->input]));
        report_field(out, "message", row->message);
        myr_buf_putc(out, '}');
    }
    myr_buf_puts(out, "]");
}

/* How soon they were at work, and what holds them within their limits. */
static void report_json_workers(const batch *b, myr_buf *out)
{
    myr_hold memory = MYR_HOLD_NONE, cpu = MYR_HOLD_NONE;
    if (b->pool == NULL) return;
    myr_batch_pool_holds(b->pool, &memory, &cpu);
    myr_buf_printf(out, ",\"workers\":{\"memory_held_by\":\"%s\",\"cpu_held_by\":\"%s\",\"first_row_ms\":%lld}",
                   myr_hold_name(memory), myr_hold_name(cpu), (long long)myr_batch_pool_first_row_ms(b->pool));
}

static void report_json(const batch *b, const char *state, const char *message, myr_buf *out)
{
    int64_t dead_rows = b->dead_rows + b->failed_rows;
    myr_buf_printf(out,
                   "{\"run\":%lld,\"release\":%lld,\"rows\":%lld,\"dead_rows\":%lld,\"attempts_lost\":%lld,"
                   "\"mini_batches_planned\":%lld,\"mini_batches_failed\":%lld,\"duration_ms\":%lld",
                   (long long)b->run_id, (long long)b->opts.release, (long long)b->done_rows, (long long)dead_rows,
                   (long long)b->attempts_lost, (long long)b->root_count, (long long)b->failed_count,
                   (long long)((myr_clock_mono_ns() - b->begin_ns) / 1000000));
    report_field(out, "state", state);
    report_field(out, "message", message);
    report_field(out, "fingerprint", b->fingerprint);
    report_json_workers(b, out);
    myr_buf_printf(out, ",\"settings\":%s", b->settings_text != NULL ? b->settings_text : "null");
    report_json_rows(b, out);
    myr_buf_puts(out, "}\n");
}

/* ---- HTML ---- */

static void report_text(myr_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            myr_buf_puts(out, "&lt;");
        else if (*text == '&')
            myr_buf_puts(out, "&amp;");
        else if (*text == '"')
            myr_buf_puts(out, "&quot;");
        else
            myr_buf_putc(out, *text);
    }
}

static void report_line(myr_buf *out, const char *name, const char *value)
{
    myr_buf_printf(out, "<tr><th>%s</th><td>", name);
    report_text(out, value);
    myr_buf_puts(out, "</td></tr>\n");
}

static const char *report_color(const char *state)
{
    if (strcmp(state, "done") == 0) return "#2f7d4f";
    return strcmp(state, "failed") == 0 ? "#b3362b" : "#c9b458";
}

/* The lane of a worker: the next free one when it is seen first, the last one when there are too many. */
static int report_lane(int64_t *lanes, int *count, int64_t worker)
{
    for (int i = 0; i < *count; i++) {
        if (lanes[i] == worker) return i;
    }
    if (*count == REPORT_LANES_MAX) return REPORT_LANES_MAX - 1;
    lanes[(*count)++] = worker;
    return *count - 1;
}

/* What each worker did when: the last attempt at each mini-batch. */
static void report_times(const batch *b, myr_buf *out)
{
    int64_t lanes[REPORT_LANES_MAX], first = INT64_MAX, last = 0;
    int lane_count = 0;
    for (size_t i = 0; i < b->task_count; i++) {
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        if (row->started_ms == 0) continue;
        if (row->started_ms < first) first = row->started_ms;
        if (row->ended_ms > last) last = row->ended_ms;
    }
    if (last == 0) return; /* nothing was begun */
    if (last <= first) last = first + 1;
    MYR_AUTO(myr_buf) bars = {0};
    for (size_t i = 0; i < b->task_count && i < REPORT_BATCH_MAX; i++) {
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        if (row->started_ms == 0) continue;
        int lane = report_lane(lanes, &lane_count, row->worker);
        double left = (double)(row->started_ms - first) * REPORT_WIDTH / (double)(last - first);
        double width = (double)(row->ended_ms - row->started_ms) * REPORT_WIDTH / (double)(last - first);
        myr_buf_printf(&bars,
                       "<rect x='%.1f' y='%d' width='%.1f' height='%d' fill='%s'><title>%s: %s, %lld rows, %lld "
                       "ms</title></rect>\n",
                       left, lane * REPORT_LANE + 2, width < 1 ? 1 : width, REPORT_LANE - 4, report_color(row->state),
                       row->name, row->state, (long long)row->row_count, (long long)(row->ended_ms - row->started_ms));
    }
    myr_buf_printf(out, "<h2>Workers over %.1f s</h2>\n<svg width='%d' height='%d' role='img'>\n",
                   (double)(last - first) / 1000, REPORT_WIDTH, lane_count * REPORT_LANE);
    if (bars.data != NULL) myr_buf_append(out, bars.data, bars.size);
    myr_buf_puts(out, "</svg>\n");
}

static void report_bar(myr_buf *out, const char *name, int64_t rows, int64_t total, const char *color)
{
    char text[32];
    if (rows == 0 || total == 0) return;
    myr_buf_printf(out,
                   "<tr><th>%s</th><td>%s</td><td><svg width='400' height='14'><rect width='%.1f' height='14' "
                   "fill='%s'/></svg></td></tr>\n",
                   name, myr_format_count(rows, text, sizeof text), 1 + 399.0 * (double)rows / (double)total, color);
}

static void report_rows(const batch *b, myr_buf *out)
{
    const batch_counts *counts = &b->rows.counts;
    myr_buf_puts(out, "<h2>Rows</h2>\n<table>\n");
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++)
        report_bar(out, myr_row_status_name((myr_row_status)i), counts->status_rows[i], b->done_rows + b->failed_rows,
                   i == MYR_ROW_OK ? "#2f7d4f" : "#b3362b");
    report_bar(out, "failed", b->failed_rows, b->done_rows + b->failed_rows, "#b3362b");
    myr_buf_puts(out, "</table>\n<h2>Answered by</h2>\n<table>\n");
    for (int i = 0; i < MYR_LEVEL_COUNT; i++)
        report_bar(out, myr_level_name((myr_level)i), counts->level_rows[i], b->done_rows, "#3b6ea5");
    myr_buf_puts(out, "</table>\n");
}

static void report_failures(const batch *b, myr_buf *out)
{
    int listed = 0;
    for (size_t i = 0; i < b->task_count && listed < 100; i++) {
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        if (strcmp(row->state, "failed") != 0) continue;
        if (listed++ == 0) myr_buf_puts(out, "<h2>Failed</h2>\n<table>\n");
        report_line(out, row->name, row->message);
    }
    if (listed > 0) myr_buf_puts(out, "</table>\n");
}

/* As a job file says them. */
static void report_settings(const batch *b, myr_buf *out)
{
    MYR_AUTO(myr_buf) text = {0};
    if (b->settings_text == NULL || myr_batch_settings_text(b->settings_text, &text, NULL) != MYR_OK) return;
    myr_buf_putc(&text, '\0');
    if (myr_buf_check(&text, NULL) != MYR_OK) return;
    myr_buf_puts(out, "<h2>Settings</h2>\n<pre>");
    report_text(out, text.data);
    myr_buf_puts(out, "</pre>\n");
}

static void report_workers(const batch *b, myr_buf *out)
{
    char text[128];
    myr_hold memory = MYR_HOLD_NONE, cpu = MYR_HOLD_NONE;
    if (b->pool == NULL) return;
    myr_batch_pool_holds(b->pool, &memory, &cpu);
    (void)snprintf(text, sizeof text, "first row after %lld ms; limit of memory: %s, of processors: %s",
                   (long long)myr_batch_pool_first_row_ms(b->pool), myr_hold_name(memory), myr_hold_name(cpu));
    report_line(out, "workers", text);
}

static void report_html(const batch *b, const char *state, const char *message, myr_buf *out)
{
    char text[64], rate[32];
    double seconds = (double)(myr_clock_mono_ns() - b->begin_ns) / 1e9;
    myr_buf_printf(
        out,
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>run %lld</title>\n<style>body{font:15px "
        "sans-serif;max-width:60em;margin:2em auto}th{text-align:left;font-weight:normal;color:#555;padding-"
        "right:1.5em;vertical-align:top}</style>\n<h1>Run %lld: %s</h1>\n<table>\n",
        (long long)b->run_id, (long long)b->run_id, state);
    if (message[0] != '\0') report_line(out, "because", message);
    if (b->opts.job != NULL) report_line(out, "job", b->opts.job);
    (void)snprintf(text, sizeof text, "%.40s release %lld", b->opts.fleet, (long long)b->opts.release);
    report_line(out, "fleet", text);
    report_line(out, "input", b->input_name);
    report_line(out, "output", b->sinks[0].name);
    (void)snprintf(text, sizeof text, "%.2f s, %s rows/s", seconds,
                   myr_format_count(seconds > 0 ? (int64_t)((double)b->done_rows / seconds) : 0, rate, sizeof rate));
    report_line(out, "took", text);
    (void)snprintf(text, sizeof text, "%lld, %lld failed, %lld attempts lost", (long long)b->root_count,
                   (long long)b->failed_count, (long long)b->attempts_lost);
    report_line(out, "mini-batches", text);
    report_workers(b, out);
    myr_buf_puts(out, "</table>\n");
    report_settings(b, out);
    report_rows(b, out);
    report_times(b, out);
    report_failures(b, out);
    myr_buf_puts(out, "</html>\n");
}

/* ---- both ---- */

/* Not synced: what counts stands in the ledger, and a run does not wait for the disk to draw a picture. */
static myr_rc report_put(const char *dir, const char *name, const myr_buf *text, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_buf_check(text, err));
    MYR_TRY(myr_path_join(path, sizeof path, dir, name, err));
    MYR_TRY(myr_io_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd, err));
    MYR_TRY(myr_io_write(fd, path, text->data, text->size, err));
    return myr_io_close(&fd, path, err);
}

myr_rc myr_batch_report_write(const batch *b, const char *state, const char *message, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_buf) json = {0};
    MYR_AUTO(myr_buf) html = {0};
    MYR_TRY(myr_batch_record_dir(b->workspace, b->run_id, dir, sizeof dir, err));
    MYR_TRY(myr_io_mkdirs(dir, err));
    report_json(b, state, message, &json);
    report_html(b, state, message, &html);
    MYR_TRY(report_put(dir, "report.json", &json, err));
    return report_put(dir, "report.html", &html, err);
}
