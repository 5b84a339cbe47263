/* `myriad schedule …`: what is due, what became of what was due, and asking for runs by hand. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/scheduler_opts.h"

#define SCHEDULE_NEXT_MAX 1000
#define SCHEDULE_HISTORY  20

/* What every one of these commands opens. */
typedef struct schedule_call {
    const myr_cli *cli;
    char root[MYR_PATH_BYTES_MAX];
    myr_scheduler_opts opts;
    myr_workspace *workspace;
    myr_job_store *store;
    myr_job_list jobs;
    myr_arena *arena;
    myr_buf out;
} schedule_call;

static void schedule_call_drop(schedule_call *call)
{
    myr_jobs_free(&call->jobs);
    myr_job_store_close(call->store);
    myr_workspace_close(call->workspace);
    myr_arena_free(call->arena);
    myr_buf_fini(&call->out);
}

static myr_rc schedule_open(schedule_call *call, const myr_cli *cli, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    call->cli = cli;
    call->arena = myr_arena_new(0);
    if (call->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_workspace_find(cli->workspace, call->root, sizeof call->root, err));
    MYR_TRY(myr_cli_scheduler_opts(call->root, 0, NULL, &call->opts, err));
    MYR_TRY(myr_workspace_open(call->root, &call->workspace, err));
    MYR_TRY(myr_job_store_open(call->root, call->opts.store, &call->store, err));
    MYR_TRY(myr_cli_jobs_dir(call->root, &call->opts, dir, err));
    return myr_io_exists(dir) ? myr_jobs_load(dir, &call->jobs, err) : MYR_OK;
}

static myr_rc schedule_print(const schedule_call *call, myr_err *err)
{
    MYR_TRY(myr_buf_check(&call->out, err));
    fputs(call->out.data != NULL ? call->out.data : "", stdout);
    return MYR_OK;
}

/* The job of a file, by its name or by the path of its file. */
static myr_rc schedule_job(const schedule_call *call, const char *name, const myr_job_file **out, myr_err *err)
{
    const myr_job_file *job = myr_jobs_find(&call->jobs, name);
    if (job == NULL) {
        const char **names = myr_arena_calloc(call->arena, call->jobs.count + 1, sizeof *names);
        if (names == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        for (size_t i = 0; i < call->jobs.count; i++)
            names[i] = myr_job_name(call->jobs.items[i]);
        const char *nearest = myr_nearest(name, names);
        if (nearest != NULL) MYR_FAIL(err, NOT_FOUND, "no job '%.100s': did you mean '%s'?", name, nearest);
        MYR_FAIL(err, NOT_FOUND, "no job '%.100s': put its file into %s/%s (scheduler.jobs)", name, call->root,
                 call->opts.jobs);
    }
    if (myr_job_trouble(job) != NULL) MYR_FAIL(err, BAD_INPUT, "%s", myr_job_trouble(job));
    *out = job;
    return MYR_OK;
}

/* Nobody leads: what was asked for will wait. */
static myr_rc schedule_warn(const schedule_call *call, myr_err *err)
{
    myr_scheduler_row leader;
    MYR_TRY(myr_job_store_leader(call->store, call->arena, &leader, err));
    if (leader.owner[0] == '\0' || leader.expires_ms <= myr_clock_unix_ms())
        fprintf(stderr, "No scheduler runs: nothing is started until `myriad scheduler` does.\n");
    return MYR_OK;
}

/* ---- list ---- */

static const myr_job_row *list_row(const myr_job_row *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    }
    return NULL;
}

/* The newest firing of a job, or NULL. */
static myr_rc list_last(const schedule_call *call, const char *name, const myr_firing **out, myr_err *err)
{
    const myr_firing_filter filter = {.job = name, .limit = 1};
    myr_firing *firings = NULL;
    size_t count = 0;
    MYR_TRY(myr_job_store_firings(call->store, call->arena, &filter, &firings, &count, err));
    *out = count > 0 ? &firings[0] : NULL;
    return MYR_OK;
}

static myr_rc list_one(schedule_call *call, const myr_job_file *job, const myr_job_row *row, bool is_first,
                       myr_err *err)
{
    char next[MYR_JOB_TIME_BYTES] = "-", last[MYR_JOB_TIME_BYTES] = "";
    const myr_firing *firing = NULL;
    MYR_AUTO(myr_buf) words = {0};
    int64_t next_ms = 0;
    bool is_paused = row != NULL && row->is_paused, has_next = myr_job_next(job, myr_clock_unix_ms(), &next_ms);
    const char *state = myr_job_trouble(job) != NULL ? "broken" : is_paused ? "paused" : row == NULL ? "new" : "ready";
    MYR_TRY(list_last(call, myr_job_name(job), &firing, err));
    myr_job_describe(job, &words);
    MYR_TRY(myr_buf_check(&words, err));
    if (call->cli->json) {
        myr_buf_puts(&call->out, is_first ? "\n{" : ",\n{");
        myr_buf_printf(&call->out, "\"name\":\"%s\"", myr_job_name(job));
        myr_buf_json_field(&call->out, "state", state);
        myr_buf_json_field(&call->out, "when", words.data != NULL ? words.data : "");
        myr_buf_json_field(&call->out, "file", myr_job_path(job));
        myr_job_put_time(&call->out, "next", job, has_next ? next_ms : 0);
        myr_buf_json_field(&call->out, "trouble", myr_job_trouble(job) != NULL ? myr_job_trouble(job) : "");
        myr_buf_json_field(&call->out, "last_state", firing != NULL ? myr_firing_state_name(firing->state) : "");
        myr_job_put_time(&call->out, "last", job, firing != NULL ? firing->logical_ms : 0);
        myr_buf_putc(&call->out, '}');
        return MYR_OK;
    }
    if (has_next) (void)myr_job_time(job, next_ms, next);
    if (firing != NULL) (void)myr_job_time(job, firing->logical_ms, last);
    myr_buf_printf(&call->out, "%-20s %-7s %-25s  %-10s %-25s  %s\n", myr_job_name(job), state, next,
                   firing != NULL ? myr_firing_state_name(firing->state) : "-", last,
                   words.data != NULL ? words.data : "by hand");
    if (myr_job_trouble(job) != NULL) myr_buf_printf(&call->out, "  %s\n", myr_job_trouble(job));
    return MYR_OK;
}

static myr_rc schedule_list(schedule_call *call, myr_err *err)
{
    myr_job_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_job_store_jobs(call->store, call->arena, &rows, &count, err));
    myr_buf_puts(&call->out, call->cli->json ? "["
                                             : "job                  state   next                       last       "
                                               "for                        when\n");
    for (size_t i = 0; i < call->jobs.count; i++) {
        const myr_job_file *job = call->jobs.items[i];
        MYR_TRY(list_one(call, job, list_row(rows, count, myr_job_name(job)), i == 0, err));
    }
    if (call->cli->json) myr_buf_puts(&call->out, "\n]\n");
    MYR_TRY(schedule_print(call, err));
    return call->cli->json ? MYR_OK : schedule_warn(call, err);
}

myr_rc myr_cmd_schedule_list(int argc, char **argv, myr_err *err)
{
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse("schedule list", "jobs, when they are due next, how the last one ended",
                          "myriad schedule list", NULL, 0, argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(schedule_open(&call, &cli, err));
    return schedule_list(&call, err);
}

/* ---- next ---- */

static myr_rc schedule_next(schedule_call *call, const char *name, const char *after, int64_t count, myr_err *err)
{
    const myr_job_file *job = NULL;
    int64_t at = myr_clock_unix_ms();
    char time[MYR_JOB_TIME_BYTES], utc[MYR_TIME_TEXT_BYTES];
    MYR_TRY(schedule_job(call, name, &job, err));
    if (after != NULL) MYR_TRY(myr_job_parse_time(job, after, &at, err));
    if (call->cli->json) myr_buf_printf(&call->out, "{\"name\":\"%s\",\"next\":[", name);
    for (int64_t i = 0; i < count && myr_job_next(job, at, &at); i++) {
        (void)myr_job_time(job, at, time);
        myr_buf_printf(&call->out, call->cli->json ? "%s\"%s\"" : "%s%s  (%s)\n", call->cli->json && i > 0 ? "," : "",
                       time, myr_format_time(at, utc));
    }
    if (call->cli->json) myr_buf_puts(&call->out, "]}\n");
    return schedule_print(call, err);
}

myr_rc myr_cmd_schedule_next(int argc, char **argv, myr_err *err)
{
    const char *name = NULL, *after = NULL;
    int64_t count = 5;
    const myr_cli_arg args[] = {
        {"JOB", NULL, MYR_CLI_POSITIONAL, &name, "its name"},
        {"--count", "N", MYR_CLI_INT, &count, "how many times (default 5)"},
        {"--after", "TIME", MYR_CLI_TEXT, &after, "after this time instead of now: 2026-03-28, 2026-03-28T02:30"},
    };
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse("schedule next", "when a job is due next, by the clock of its zone",
                          "myriad schedule next nightly --count 5", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (count < 1 || count > SCHEDULE_NEXT_MAX)
        MYR_FAIL(err, BAD_USAGE, "myriad schedule next: --count %lld: 1 to %d", (long long)count, SCHEDULE_NEXT_MAX);
    MYR_TRY(schedule_open(&call, &cli, err));
    return schedule_next(&call, name, after, count, err);
}

/* ---- pause, resume ---- */

static myr_rc schedule_pause(int argc, char **argv, bool is_paused, myr_err *err)
{
    const char *name = NULL, *word = is_paused ? "paused" : "resumed";
    const myr_cli_arg args[] = {{"JOB", NULL, MYR_CLI_POSITIONAL, &name, "its name"}};
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse(is_paused ? "schedule pause" : "schedule resume",
                          is_paused ? "start nothing of a job until it is resumed"
                                    : "go on; its catch_up says what becomes of the times that were missed",
                          is_paused ? "myriad schedule pause nightly" : "myriad schedule resume nightly", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(schedule_open(&call, &cli, err));
    MYR_TRY(myr_job_store_pause(call.store, name, is_paused, err));
    if (cli.json) {
        printf("{\"name\":\"%s\",\"paused\":%s}\n", name, is_paused ? "true" : "false");
    } else {
        printf("%s is %s\n", name, word);
    }
    return MYR_OK;
}

myr_rc myr_cmd_schedule_pause(int argc, char **argv, myr_err *err)
{
    return schedule_pause(argc, argv, true, err);
}

myr_rc myr_cmd_schedule_resume(int argc, char **argv, myr_err *err)
{
    return schedule_pause(argc, argv, false, err);
}

/* ---- run, cancel ---- */

static myr_rc schedule_run(schedule_call *call, const char *name, const char *at, const char *key, myr_err *err)
{
    unsigned char random[16];
    char hex[2 * sizeof random + 1];
    MYR_AUTO(myr_buf) own = {0};
    int64_t id = 0;
    bool is_new = false;
    myr_firing_request request = {.job = name, .kind = "manual", .detail = "", .logical_ms = myr_clock_unix_ms()};
    if (at != NULL) {
        const myr_job_file *job = NULL;
        MYR_TRY(schedule_job(call, name, &job, err));
        MYR_TRY(myr_job_parse_time(job, at, &request.logical_ms, err));
    }
    MYR_TRY(myr_random(random, sizeof random, err));
    myr_hex(random, sizeof random, hex);
    myr_buf_printf(&own, "manual:%s", key != NULL ? key : hex);
    MYR_TRY(myr_buf_check(&own, err));
    request.key = own.data;
    MYR_TRY(myr_job_store_request(call->store, &request, &id, &is_new, err));
    if (call->cli->json) {
        printf("{\"name\":\"%s\",\"firing\":%lld,\"new\":%s}\n", name, (long long)id, is_new ? "true" : "false");
        return MYR_OK;
    }
    printf(is_new ? "firing %lld of %s waits to be started: myriad schedule history %s\n"
                  : "firing %lld of %s was made by this key before: myriad schedule history %s\n",
           (long long)id, name, name);
    return schedule_warn(call, err);
}

myr_rc myr_cmd_schedule_run(int argc, char **argv, myr_err *err)
{
    const char *name = NULL, *at = NULL, *key = NULL;
    const myr_cli_arg args[] = {
        {"JOB", NULL, MYR_CLI_POSITIONAL, &name, "its name"},
        {"--at", "TIME", MYR_CLI_TEXT, &at, "the time that the run is for (default: now)"},
        {"--key", "TEXT", MYR_CLI_TEXT, &key, "asked again with the same key, the first firing is the answer"},
    };
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse("schedule run", "let the scheduler start a job now", "myriad schedule run nightly", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(schedule_open(&call, &cli, err));
    return schedule_run(&call, name, at, key, err);
}

myr_rc myr_cmd_schedule_cancel(int argc, char **argv, myr_err *err)
{
    const char *text = NULL;
    int64_t id = 0;
    const myr_cli_arg args[] = {{"FIRING", NULL, MYR_CLI_POSITIONAL, &text, "its number, from schedule history"}};
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse("schedule cancel", "end a run, or let a firing that waits not be started",
                          "myriad schedule cancel 71", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (!myr_parse_int64(myr_str_of(text), &id) || id < 1)
        MYR_FAIL(err, BAD_USAGE, "myriad schedule cancel: '%.40s' is no number of a firing", text);
    MYR_TRY(schedule_open(&call, &cli, err));
    MYR_TRY(myr_job_store_cancel(call.store, id, err));
    printf(cli.json ? "{\"firing\":%lld}\n" : "firing %lld is being ended\n", (long long)id);
    return MYR_OK;
}

/* ---- backfill ---- */

static myr_rc schedule_backfill(schedule_call *call, const char *name, const char *from, const char *until,
                                myr_backfill *backfill, myr_err *err)
{
    const myr_job_file *job = NULL;
    MYR_TRY(schedule_job(call, name, &job, err));
    MYR_TRY(myr_job_parse_time(job, from, &backfill->from_ms, err));
    MYR_TRY(myr_job_parse_time(job, until, &backfill->until_ms, err));
    if (backfill->until_ms <= backfill->from_ms)
        MYR_FAIL(err, BAD_USAGE, "myriad schedule backfill: --to %.40s is not after --from %.40s", until, from);
    MYR_TRY(myr_job_backfill(call->store, job, backfill, err));
    if (call->cli->json) {
        printf("{\"name\":\"%s\",\"times\":%lld,\"new\":%lld,\"dry_run\":%s}\n", name, (long long)backfill->out_times,
               (long long)backfill->out_new, backfill->dry ? "true" : "false");
        return MYR_OK;
    }
    printf("%lld times, of which %lld %s%s\n", (long long)backfill->out_times, (long long)backfill->out_new,
           backfill->dry ? "would be run" : "wait to be run", backfill->again ? "" : "; the others ran or will");
    return backfill->dry ? MYR_OK : schedule_warn(call, err);
}

myr_rc myr_cmd_schedule_backfill(int argc, char **argv, myr_err *err)
{
    const char *name = NULL, *from = NULL, *until = NULL;
    myr_backfill backfill = {0};
    const myr_cli_arg args[] = {
        {"JOB", NULL, MYR_CLI_POSITIONAL, &name, "its name"},
        {"--from", "TIME", MYR_CLI_TEXT, &from, "the first time: 2026-11-01, 2026-11-01T02:30"},
        {"--to", "TIME", MYR_CLI_TEXT, &until, "the end, not itself run"},
        {"--again", NULL, MYR_CLI_FLAG, &backfill.again, "also times that ran already"},
        {"--dry-run", NULL, MYR_CLI_FLAG, &backfill.dry, "only say how many"},
    };
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse("schedule backfill", "run a job for times of the past (or future)",
                          "myriad schedule backfill nightly --from 2026-11-01 --to 2026-11-08", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (from == NULL || until == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad schedule backfill: --from and --to are needed: 2026-11-01, 2026-11-08");
    MYR_TRY(schedule_open(&call, &cli, err));
    return schedule_backfill(&call, name, from, until, &backfill, err);
}

/* ---- history ---- */

static void history_line(schedule_call *call, const myr_firing *f)
{
    const myr_job_file *job = myr_jobs_find(&call->jobs, f->job);
    char time[MYR_JOB_TIME_BYTES], run[32] = "-";
    if (f->run_id != 0) (void)snprintf(run, sizeof run, "%lld", (long long)f->run_id);
    (void)(job != NULL ? myr_job_time(job, f->logical_ms, time) : myr_format_time(f->logical_ms, time));
    myr_buf_printf(&call->out, "%7lld  %-20s %-9s %-25s  %-10s %6s  ", (long long)f->id, f->job, f->kind, time,
                   myr_firing_state_name(f->state), run);
    if (f->count > 1) myr_buf_printf(&call->out, "%lld times: ", (long long)f->count);
    myr_buf_printf(&call->out, "%s\n", f->reason);
}

static myr_rc schedule_history(schedule_call *call, const char *name, int64_t limit, myr_err *err)
{
    const myr_firing_filter filter = {.job = name, .limit = limit};
    myr_firing *firings = NULL;
    size_t count = 0;
    MYR_TRY(myr_job_store_firings(call->store, call->arena, &filter, &firings, &count, err));
    myr_buf_puts(&call->out, call->cli->json ? "["
                                             : " firing  job                  trigger   for                        "
                                               "state         run  why\n");
    for (size_t i = 0; i < count; i++) {
        if (call->cli->json) {
            myr_buf_puts(&call->out, i == 0 ? "\n" : ",\n");
            myr_firing_put_json(&firings[i], myr_jobs_find(&call->jobs, firings[i].job), &call->out);
        } else {
            history_line(call, &firings[i]);
        }
    }
    if (call->cli->json) myr_buf_puts(&call->out, "\n]\n");
    return schedule_print(call, err);
}

myr_rc myr_cmd_schedule_history(int argc, char **argv, myr_err *err)
{
    const char *name = NULL;
    int64_t limit = SCHEDULE_HISTORY;
    const myr_cli_arg args[] = {
        {"JOB", NULL, MYR_CLI_POSITIONAL_OPT, &name, "only this one"},
        {"--limit", "N", MYR_CLI_INT, &limit, "how many, newest first (default 20)"},
    };
    myr_cli cli = {0};
    MYR_AUTO(schedule_call) call = {0};
    MYR_TRY(myr_cli_parse("schedule history",
                          "what was due and what became of it: runs, and what was skipped or missed",
                          "myriad schedule history nightly", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(schedule_open(&call, &cli, err));
    return schedule_history(&call, name, limit, err);
}
