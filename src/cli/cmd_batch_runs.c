/* `myriad batch list|status|show|logs|cancel`: what the ledger knows of runs. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#if MYR_WITH_DUCKDB
#include "batch/batch.h"
#endif
#include "cli/args.h"
#include "cli/commands.h"

#define RUNS_SHOWN          30
#define RUNS_WATCH_MS       500
#define RUNS_NOTIFIED_BYTES (1 << 20)

typedef struct runs_page {
    myr_arena *arena;
    myr_workspace *workspace;
    myr_run_row run;
    myr_mini_batch_row *batches;
    size_t batch_count;
    int64_t done, failed, split, rows, ok_rows, dead;
} runs_page;
static void runs_page_drop(runs_page *page)
{
    myr_workspace_close(page->workspace);
    myr_arena_free(page->arena);
}

static myr_rc runs_open(const myr_cli *cli, runs_page *page, myr_err *err)
{
    page->arena = myr_arena_new(0);
    if (page->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return myr_cli_workspace(cli, &page->workspace, err);
}

/* A run that says it is running, but whose lease has run out, was killed. */
static const char *runs_state(const myr_run_row *run)
{
    bool is_dead = strcmp(run->state, "running") == 0 && run->lease_ms < myr_clock_unix_ms();
    if (strcmp(run->state, "running") == 0 && run->cancel) return "canceling";
    return is_dead ? "interrupted" : run->state;
}

/* The run of that number; NULL: the newest. */
static myr_rc runs_find(runs_page *page, const char *number, myr_err *err)
{
    int64_t id = 0;
    if (number != NULL && (!myr_is_canonical_int64(myr_str_of(number), &id) || id <= 0))
        MYR_FAIL(err, BAD_USAGE, "'%.60s' is not the number of a run: `myriad batch list` shows them", number);
    if (number == NULL) {
        myr_run_row *runs = NULL;
        size_t count = 0;
        MYR_TRY(myr_registry_runs(page->workspace->registry, page->arena, 1, &runs, &count, err));
        if (count == 0) MYR_FAIL(err, NOT_FOUND, "there is no run yet: `myriad batch run` makes one");
        id = runs[0].id;
    }
    return myr_registry_run_get(page->workspace->registry, page->arena, id, &page->run, err);
}

static myr_rc runs_count(runs_page *page, myr_err *err)
{
    MYR_TRY(myr_registry_mini_batches(page->workspace->registry, page->arena, page->run.id, &page->batches,
                                      &page->batch_count, err));
    page->done = page->failed = page->split = page->rows = page->dead = 0;
    for (size_t i = 0; i < page->batch_count; i++) {
        const myr_mini_batch_row *row = &page->batches[i];
        bool is_done = strcmp(row->state, "done") == 0;
        page->done += is_done;
        page->failed += strcmp(row->state, "failed") == 0;
        page->split += strcmp(row->state, "split") == 0;
        if (is_done) page->rows += row->row_count;
        page->dead += row->dead_count;
    }
    return MYR_OK;
}

/* ---- list ---- */

static void runs_json_run(const myr_run_row *run, myr_buf *out)
{
    char time[MYR_TIME_TEXT_BYTES];
    const char *const texts[][2] = {{"job", run->job},       {"fleet", run->fleet},      {"input", run->input},
                                    {"output", run->output}, {"state", runs_state(run)}, {"message", run->message},
                                    {"owner", run->owner}};
    myr_buf_printf(out, "{\"run\":%lld,\"release\":%lld,\"rows\":%lld,\"ok_rows\":%lld,\"started\":\"%s\"",
                   (long long)run->id, (long long)run->release, (long long)run->row_count, (long long)run->ok_count,
                   myr_format_time(run->started_ms, time));
    if (run->ended_ms > 0) myr_buf_printf(out, ",\"ended\":\"%s\"", myr_format_time(run->ended_ms, time));
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++)
        myr_buf_json_field(out, texts[i][0], texts[i][1]);
}

static myr_rc runs_print(myr_buf *out, myr_err *err)
{
    MYR_TRY(myr_buf_check(out, err));
    fputs(out->data != NULL ? out->data : "", stdout);
    return MYR_OK;
}

myr_rc myr_cmd_batch_list(int argc, char **argv, myr_err *err)
{
    bool all = false;
    const myr_cli_arg args[] = {{"--all", NULL, MYR_CLI_FLAG, &all, "not the newest thirty alone"}};
    myr_cli cli = {0};
    MYR_AUTO(runs_page) page = {0};
    MYR_AUTO(myr_buf) out = {0};
    myr_run_row *runs = NULL;
    size_t count = 0;
    MYR_TRY(myr_cli_parse("batch list", "the runs there were, newest first", "myriad batch list", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(runs_open(&cli, &page, err));
    MYR_TRY(myr_registry_runs(page.workspace->registry, page.arena, all ? 0 : RUNS_SHOWN, &runs, &count, err));
    if (cli.json) myr_buf_puts(&out, "{\"runs\":[");
    for (size_t i = 0; i < count; i++) {
        char time[MYR_TIME_TEXT_BYTES], rows[32];
        if (cli.json) {
            if (i > 0) myr_buf_putc(&out, ',');
            runs_json_run(&runs[i], &out);
            myr_buf_putc(&out, '}');
            continue;
        }
        myr_buf_printf(&out, "%6lld  %-11s %.19s  %12s rows  %s%s%s -> %s\n", (long long)runs[i].id,
                       runs_state(&runs[i]), myr_format_time(runs[i].started_ms, time),
                       myr_format_count(runs[i].row_count, rows, sizeof rows), runs[i].job,
                       runs[i].job[0] != '\0' ? ": " : "", runs[i].fleet, runs[i].output);
    }
    if (cli.json) myr_buf_puts(&out, "]}\n");
    return runs_print(&out, err);
}

/* ---- status ---- */

static void runs_status(const runs_page *page, bool json, myr_buf *out)
{
    const myr_run_row *run = &page->run;
    size_t total = page->batch_count - (size_t)page->split;
    if (json) {
        runs_json_run(run, out);
        myr_buf_printf(out,
                       ",\"mini_batches\":%zu,\"mini_batches_done\":%lld,\"mini_batches_failed\":%lld,\"rows_done\":"
                       "%lld,\"dead_rows\":%lld}\n",
                       total, (long long)page->done, (long long)page->failed, (long long)page->rows,
                       (long long)page->dead);
        return;
    }
    char rows[32], rate[32];
    int64_t end_ms = run->ended_ms > 0 ? run->ended_ms : myr_clock_unix_ms();
    double seconds = (double)(end_ms - run->started_ms) / 1000;
    myr_buf_printf(out, "run %lld is %s: %lld of %zu mini-batches, %s rows", (long long)run->id, runs_state(run),
                   (long long)page->done, total, myr_format_count(page->rows, rows, sizeof rows));
    if (seconds > 0)
        myr_buf_printf(out, ", %s/s", myr_format_count((int64_t)((double)page->rows / seconds), rate, sizeof rate));
    if (page->failed > 0) myr_buf_printf(out, ", %lld failed", (long long)page->failed);
    if (page->dead > 0) myr_buf_printf(out, ", %lld rows without an answer", (long long)page->dead);
    bool is_open = run->ended_ms == 0 && page->done > 0;
    if (is_open)
        myr_buf_printf(out, ", about %.0f s left", seconds * (double)(total - (size_t)page->done) / (double)page->done);
    myr_buf_putc(out, '\n');
    if (run->message[0] != '\0') myr_buf_printf(out, "because   %s\n", run->message);
    if (strcmp(runs_state(run), "interrupted") == 0)
        myr_buf_printf(out, "`myriad batch resume %lld` goes on with it\n", (long long)run->id);
}

static myr_rc runs_status_once(runs_page *page, const char *number, bool json, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    MYR_TRY(runs_find(page, number, err));
    MYR_TRY(runs_count(page, err));
    runs_status(page, json, &out);
    return runs_print(&out, err);
}

myr_rc myr_cmd_batch_status(int argc, char **argv, myr_err *err)
{
    const char *run = NULL;
    bool watch = false;
    const myr_cli_arg args[] = {
        {"RUN", NULL, MYR_CLI_POSITIONAL_OPT, &run, "its number (default: the newest)"},
        {"--watch", NULL, MYR_CLI_FLAG, &watch, "again and again until it is over"},
    };
    myr_cli cli = {0};
    MYR_AUTO(runs_page) page = {0};
    MYR_TRY(myr_cli_parse("batch status", "how far a run is", "myriad batch status --watch", args, MYR_COUNT_OF(args),
                          argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(runs_open(&cli, &page, err));
    MYR_TRY(runs_status_once(&page, run, cli.json, err));
    while (watch &&
           (strcmp(runs_state(&page.run), "running") == 0 || strcmp(runs_state(&page.run), "canceling") == 0)) {
        (void)fflush(stdout);
        myr_clock_sleep_ms(RUNS_WATCH_MS);
        myr_arena_reset(page.arena);
        MYR_TRY(runs_status_once(&page, run, cli.json, err));
    }
    return MYR_OK;
}

/* ---- show, logs ---- */

static void runs_show_batch(const myr_mini_batch_row *row, bool json, myr_buf *out)
{
    int64_t took_ms = row->ended_ms - row->started_ms;
    if (!json) {
        myr_buf_printf(out, "  %-10s %-8s %10lld rows %6lld ms, %lld attempts, %lld files%s%s\n", row->name, row->state,
                       (long long)row->row_count, (long long)took_ms, (long long)row->attempts,
                       (long long)row->file_count, row->message[0] != '\0' ? ": " : "", row->message);
        return;
    }
    myr_buf_printf(out,
                   "{\"name\":\"%s\",\"state\":\"%s\",\"input\":%lld,\"first\":%lld,\"past\":%lld,\"rows\":%lld,"
                   "\"attempts\":%lld,\"worker\":%lld,\"duration_ms\":%lld,\"files\":%lld,\"bytes\":%lld,\"dead_rows\":"
                   "%lld,\"message\":",
                   row->name, row->state, (long long)row->input, (long long)row->first, (long long)row->past,
                   (long long)row->row_count, (long long)row->attempts, (long long)row->worker, (long long)took_ms,
                   (long long)row->file_count, (long long)row->byte_count, (long long)row->dead_count);
    myr_buf_json_string(out, myr_str_of(row->message));
    myr_buf_printf(out, ",\"report\":%s}", row->report[0] != '\0' ? row->report : "null");
}

/* Who was told of its end, a JSON object a line; in the arena. */
static const char *runs_notifications(const runs_page *page)
{
    char name[64], path[MYR_PATH_BYTES_MAX];
    char *data = NULL;
    size_t size = 0;
    (void)snprintf(name, sizeof name, "runs/%lld/notifications.jsonl", (long long)page->run.id);
    if (myr_path_join(path, sizeof path, page->workspace->root, name, NULL) != MYR_OK ||
        myr_file_read(path, RUNS_NOTIFIED_BYTES, &data, &size, NULL) != MYR_OK) {
        return "";
    }
    const char *text = myr_arena_strndup(page->arena, data, size);
    myr_free(data);
    return text != NULL ? text : "";
}

static void runs_show_notified(const runs_page *page, bool json, myr_buf *out)
{
    myr_str rest = myr_str_of(runs_notifications(page)), line;
    bool is_first = true;
    if (json) myr_buf_puts(out, "],\"notifications\":[");
    while (rest.size > 0 && myr_str_split(&rest, '\n', &line)) {
        if (line.size == 0) continue;
        if (json) {
            myr_buf_puts(out, is_first ? "" : ",");
            myr_buf_append(out, line.data, line.size);
            is_first = false;
            continue;
        }
        yyjson_doc *doc = yyjson_read(line.data, line.size, 0);
        yyjson_val *told = yyjson_doc_get_root(doc);
        const char *to = yyjson_get_str(yyjson_obj_get(told, "to")),
                   *end = yyjson_get_str(yyjson_obj_get(told, "status"));
        const char *why = yyjson_get_str(yyjson_obj_get(told, "message"));
        bool is_sent = yyjson_get_bool(yyjson_obj_get(told, "sent"));
        myr_buf_printf(out, "%s  %s, that it is %s, in %lld attempts%s%s\n", is_sent ? "told    " : "not told",
                       to != NULL ? to : "?", end != NULL ? end : "?",
                       (long long)yyjson_get_sint(yyjson_obj_get(told, "attempts")), is_sent ? "" : ": ",
                       is_sent || why == NULL ? "" : why);
        yyjson_doc_free(doc);
    }
}

static myr_rc runs_show(runs_page *page, bool json, myr_buf *out, myr_err *err)
{
    MYR_TRY(runs_count(page, err));
    const myr_run_row *run = &page->run;
    if (json) {
        runs_json_run(run, out);
        myr_buf_printf(out, ",\"settings\":%s,\"mini_batches\":[", run->settings[0] != '\0' ? run->settings : "null");
    } else {
        runs_status(page, false, out);
#if MYR_WITH_DUCKDB
        if (run->settings[0] != '\0') MYR_TRY(myr_batch_settings_text(run->settings, out, err));
#else
        myr_buf_printf(out, "settings  %s\n", run->settings);
#endif
        runs_show_notified(page, false, out);
    }
    for (size_t i = 0; i < page->batch_count; i++) {
        if (json && i > 0) myr_buf_putc(out, ',');
        runs_show_batch(&page->batches[i], json, out);
    }
    if (json) runs_show_notified(page, true, out);
    if (json) myr_buf_puts(out, "]}\n");
    return MYR_OK;
}

myr_rc myr_cmd_batch_show(int argc, char **argv, myr_err *err)
{
    const char *run = NULL;
    const myr_cli_arg args[] = {{"RUN", NULL, MYR_CLI_POSITIONAL_OPT, &run, "its number (default: the newest)"}};
    myr_cli cli = {0};
    MYR_AUTO(runs_page) page = {0};
    MYR_AUTO(myr_buf) out = {0};
    MYR_TRY(myr_cli_parse("batch show", "one run in full: settings, mini-batches", "myriad batch show 12", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(runs_open(&cli, &page, err));
    MYR_TRY(runs_find(&page, run, err));
    MYR_TRY(runs_show(&page, cli.json, &out, err));
    return runs_print(&out, err);
}

static void runs_log_line(const runs_page *page, const myr_attempt_row *row, bool json, myr_buf *out)
{
    char time[MYR_TIME_TEXT_BYTES];
    const char *name = "?";
    for (size_t i = 0; i < page->batch_count; i++) {
        if (page->batches[i].number == row->number) name = page->batches[i].name;
    }
    (void)myr_format_time(row->started_ms, time);
    if (json) {
        myr_buf_printf(
            out,
            "{\"started\":\"%s\",\"mini_batch\":\"%s\",\"attempt\":%lld,\"worker\":%lld,\"duration_ms\":%lld,"
            "\"rows\":%lld,\"cause\":",
            time, name, (long long)row->attempt, (long long)row->worker, (long long)row->duration_ms,
            (long long)row->row_count);
        myr_buf_json_string(out, myr_str_of(row->cause));
        myr_buf_puts(out, "}\n");
        return;
    }
    myr_buf_printf(out, "%s  mini-batch %s attempt %lld, worker %lld, %lld ms, %lld rows: %s\n", time, name,
                   (long long)row->attempt, (long long)row->worker, (long long)row->duration_ms,
                   (long long)row->row_count, row->cause[0] != '\0' ? row->cause : "done");
}

myr_rc myr_cmd_batch_logs(int argc, char **argv, myr_err *err)
{
    const char *run = NULL;
    const myr_cli_arg args[] = {{"RUN", NULL, MYR_CLI_POSITIONAL_OPT, &run, "its number (default: the newest)"}};
    myr_cli cli = {0};
    MYR_AUTO(runs_page) page = {0};
    MYR_AUTO(myr_buf) out = {0};
    myr_attempt_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_cli_parse("batch logs", "every attempt at a mini-batch of a run, and what came of it",
                          "myriad batch logs 12", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(runs_open(&cli, &page, err));
    MYR_TRY(runs_find(&page, run, err));
    MYR_TRY(runs_count(&page, err));
    MYR_TRY(myr_registry_attempts(page.workspace->registry, page.arena, page.run.id, &rows, &count, err));
    for (size_t i = 0; i < count; i++)
        runs_log_line(&page, &rows[i], cli.json, &out);
    return runs_print(&out, err);
}

/* ---- cancel ---- */

myr_rc myr_cmd_batch_cancel(int argc, char **argv, myr_err *err)
{
    const char *run = NULL;
    const myr_cli_arg args[] = {{"RUN", NULL, MYR_CLI_POSITIONAL, &run, "its number"}};
    myr_cli cli = {0};
    MYR_AUTO(runs_page) page = {0};
    MYR_TRY(myr_cli_parse("batch cancel", "end a run; its output stays what it was", "myriad batch cancel 12", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(runs_open(&cli, &page, err));
    MYR_TRY(runs_find(&page, run, err));
    MYR_TRY(myr_registry_run_cancel(page.workspace->registry, page.run.id, err));
    printf(cli.json ? "{\"run\":%lld,\"state\":\"canceling\"}\n" : "run %lld will end\n", (long long)page.run.id);
    return MYR_OK;
}
