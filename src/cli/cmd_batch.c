/* `myriad batch run`: score a table into files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/batch.h"
#include "cli/args.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "object/object.h"
#include "jobs/jobs.h"

typedef struct batch_args {
    const char *job, *fleet, *input, *filter, *output, *table, *by, *keep, *format, *kinds, *details, *store, *date;
    const char *partition_keys;
    int64_t release, threads, memory_bytes;
    bool force, append, is_retry;
} batch_args;

typedef struct batch_watch {
    myr_bar bar;
    bool is_json;
} batch_watch;

static void batch_progress(void *ctx, int64_t done, int64_t total)
{
    batch_watch *watch = ctx;
    myr_bar_update(&watch->bar, "scoring", done, total);
}

/* What the job file and the flags say together. */
static myr_rc batch_check(const myr_batch_opts *opts, myr_err *err)
{
    if (opts->fleet == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --fleet is missing: name the fleet whose models score");
    if (opts->input.items == NULL && opts->input.sql == NULL && opts->input.table == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --input is missing: a .parquet or .csv file or a glob");
    if (opts->output == NULL) MYR_FAIL(err, BAD_USAGE, "myriad batch run: --output is missing: the directory to make");
    if (opts->action != MYR_BATCH_PARTS && opts->by != NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: with this output_action there are no directories: leave out --by");
    return MYR_OK;
}

static myr_rc batch_format(const batch_args *a, myr_table_format *out, myr_err *err)
{
    if (a->format == NULL) return MYR_OK;
    if (!myr_table_format_parse(a->format, out))
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --format '%s' is not known: parquet, csv or jsonl", a->format);
    return MYR_OK;
}

/* `value,contribution` as outputs. */
static myr_rc batch_kinds(const myr_cli_list *names, myr_output out[MYR_OUTPUT_COUNT], myr_err *err)
{
    for (size_t i = 0; i < names->count; i++) {
        myr_output kind;
        if (!myr_output_parse(myr_str_of(names->items[i]), &kind)) {
            MYR_FAIL(err, BAD_USAGE,
                     "myriad batch run: --output-kind '%s' is not known: value, margin, probability, leaf or "
                     "contribution",
                     names->items[i]);
        }
        for (size_t k = 0; k < i; k++) {
            if (out[k] == kind)
                MYR_FAIL(err, BAD_USAGE, "myriad batch run: --output-kind names '%s' twice", names->items[i]);
        }
        MYR_ASSERT(i < MYR_OUTPUT_COUNT); /* each at most once */
        out[i] = kind;
    }
    return MYR_OK;
}

/* `model,status`, or `none`. */
static myr_rc batch_details(const myr_cli_list *names, bool *out_leaves, myr_err *err)
{
    myr_err why = {0};
    if (myr_batch_details_choose(names->items, names->count, out_leaves, &why) == MYR_OK) return MYR_OK;
    MYR_FAIL(err, BAD_USAGE, "myriad batch run: --details: %s", why.message);
}

static void batch_json(const batch_args *a, const myr_batch_report *r)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_printf(
        &out,
        "{\"run\":%lld,\"unchanged\":%s,\"mini_batches\":%lld,\"mini_batches_failed\":%lld,\"attempts_lost\":%lld,"
        "\"dead_rows\":%lld,\"fleet\":\"%s\",\"release\":%lld,\"rows\":%lld,\"duration_ms\":%"
        "lld,\"models_used\":"
        "%lld,\"levels\":{",
        (long long)r->run_id, r->is_unchanged ? "true" : "false", (long long)r->mini_batches,
        (long long)r->mini_batches_failed, (long long)r->attempts_lost, (long long)r->dead_rows, a->fleet,
        (long long)r->release, (long long)r->rows, (long long)r->duration_ms, (long long)r->models_used);
    for (int i = 0; i < MYR_LEVEL_COUNT; i++) {
        myr_buf_printf(&out, "%s\"%s\":%lld", i > 0 ? "," : "", myr_level_name(i), (long long)r->level_rows[i]);
    }
    myr_buf_puts(&out, "},\"statuses\":{");
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++) {
        myr_buf_printf(&out, "%s\"%s\":%lld", i > 0 ? "," : "", myr_row_status_name(i), (long long)r->status_rows[i]);
    }
    myr_buf_printf(&out, "},\"compared_rows\":%lld", (long long)r->compared_rows);
    const char *names[] = {"rmse", "baseline_rmse", "units_rmse", "units_baseline_rmse"};
    const double values[] = {r->rmse, r->baseline_rmse, r->units_rmse, r->units_baseline_rmse};
    for (int i = 0; r->compared_rows > 0 && i < (r->has_units ? 4 : 2); i++) {
        myr_buf_printf(&out, ",\"%s\":", names[i]);
        myr_buf_double(&out, values[i]);
    }
    if (r->dropped_columns[0] != '\0') myr_buf_json_field(&out, "dropped_columns", r->dropped_columns);
    if (r->trouble.rc != MYR_OK) myr_buf_json_field(&out, "trouble", r->trouble.message);
    if (r->stored_rows > 0) myr_buf_printf(&out, ",\"stored\":%lld", (long long)r->stored_rows);
    myr_buf_puts(&out, ",\"output\":");
    myr_buf_json_string(&out, myr_str_of(a->output));
    myr_buf_printf(&out, ",\"files\":%lld,\"bytes\":%lld}\n", (long long)r->output_files, (long long)r->output_bytes);
    fputs(out.data != NULL ? out.data : "", stdout);
}

static void batch_print(const batch_args *a, const myr_batch_report *r)
{
    char text[32], rate[32];
    if (r->is_unchanged && !a->is_retry)
        printf("unchanged nothing is new since run %lld, which made this output; --force makes it again\n",
               (long long)r->run_id);
    if (r->is_unchanged && a->is_retry)
        printf("unchanged nothing of run %lld can turn out otherwise: no mini-batch failed, and rows without a model "
               "have none in this release\n",
               (long long)r->run_id);
    double seconds = (double)r->duration_ms / 1000;
    printf("scored    %s rows in %.2f s (%s rows/s) with %lld models of %s release %lld\n",
           myr_format_count(r->rows, text, sizeof text), seconds,
           myr_format_count(seconds > 0 ? (int64_t)((double)r->rows / seconds) : 0, rate, sizeof rate),
           (long long)r->models_used, a->fleet, (long long)r->release);
    printf("answered by");
    for (int i = MYR_LEVEL_SEGMENT; i < MYR_LEVEL_STORED; i++) {
        printf(" %s %s,", myr_level_name(i), myr_format_count(r->level_rows[i], text, sizeof text));
    }
    printf(" none %s\n", myr_format_count(r->level_rows[MYR_LEVEL_NONE], text, sizeof text));
    for (int i = MYR_ROW_OK + 1; i < MYR_ROW_STATUS_COUNT; i++) {
        if (r->status_rows[i] > 0)
            printf("not ok    %s rows: %s\n", myr_format_count(r->status_rows[i], text, sizeof text),
                   myr_row_status_name(i));
    }
    if (r->mini_batches_failed > 0)
        printf("failed    %lld of %lld mini-batches\n", (long long)r->mini_batches_failed, (long long)r->mini_batches);
    if (r->dead_rows > 0)
        printf("named in  runs/%lld/dead_letters.jsonl, %s rows\n", (long long)r->run_id,
               myr_format_count(r->dead_rows, text, sizeof text));
    if (r->trouble.rc != MYR_OK) printf("because   %s\n", r->trouble.message);
    if (r->compared_rows > 0) {
        printf("RMSE      %.4f against %.4f of the baseline (ratio %.3f), %s rows with actuals\n", r->rmse,
               r->baseline_rmse, r->rmse / r->baseline_rmse, myr_format_count(r->compared_rows, text, sizeof text));
    }
    if (r->compared_rows > 0 && r->has_units) {
        printf("in units  %.1f against %.1f (ratio %.3f)\n", r->units_rmse, r->units_baseline_rmse,
               r->units_rmse / r->units_baseline_rmse);
    }
    if (r->dropped_columns[0] != '\0')
        printf("left out  %s: the output has columns of ours of these names\n", r->dropped_columns);
    if (r->stored_rows > 0) printf("stored    %s predictions\n", myr_format_count(r->stored_rows, text, sizeof text));
    if (r->output_files == 0)
        printf("written   %s rows, %s\n", myr_format_count(r->rows, text, sizeof text), a->output);
    else
        printf("written   %lld files, %s in %s\n", (long long)r->output_files,
               myr_format_bytes(r->output_bytes, text, sizeof text), a->output);
}

/* What people see of settings: a job file, indented. */
static void batch_print_settings(const char *settings)
{
    MYR_AUTO(myr_buf) text = {0};
    if (myr_batch_settings_text(settings, &text, NULL) != MYR_OK) return;
    myr_str rest = myr_str_make(text.data, text.size), line;
    while (myr_str_split(&rest, '\n', &line)) {
        if (line.size > 0) printf("  " MYR_STR_FMT "\n", MYR_STR_ARG(line));
    }
}

/* The number of a run is known at once, for whoever wants to watch or cancel it, and what it does. */
static void batch_started(void *ctx, int64_t run_id, const char *settings)
{
    batch_watch *watch = ctx;
    if (watch->is_json) {
        printf("{\"run\":%lld,\"state\":\"running\",\"settings\":%s}\n", (long long)run_id, settings);
    } else {
        printf("run %lld\n", (long long)run_id);
        batch_print_settings(settings);
    }
    (void)fflush(stdout);
}

/* Flags over what the job file says. */
static myr_rc batch_options(const batch_args *a, const myr_batch_opts *job, myr_arena *arena, myr_batch_opts *out,
                            myr_err *err)
{
    myr_batch_opts opts = job != NULL ? *job : (myr_batch_opts){0};
    myr_cli_list *lists = myr_arena_calloc(arena, 5, sizeof *lists);
    myr_output *kinds = myr_arena_calloc(arena, MYR_OUTPUT_COUNT, sizeof *kinds);
    if (lists == NULL || kinds == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_commas(arena, a->by, &lists[0], err));
    MYR_TRY(myr_cli_commas(arena, a->keep, &lists[1], err));
    MYR_TRY(myr_cli_commas(arena, a->kinds, &lists[2], err));
    MYR_TRY(myr_cli_commas(arena, a->partition_keys, &lists[3], err));
    MYR_TRY(myr_cli_commas(arena, a->details, &lists[4], err));
    MYR_TRY(batch_kinds(&lists[2], kinds, err));
    MYR_TRY(batch_format(a, &opts.format, err));
    if (a->fleet != NULL) opts.fleet = a->fleet;
    if (a->release != 0) opts.release = a->release;
    if (a->input != NULL) {
        const char **items = myr_arena_calloc(arena, 2, sizeof *items);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        items[0] = a->input;
        opts.input = (myr_batch_input){.items = items};
    }
    if (a->filter != NULL) opts.input.filter = a->filter;
    if (opts.input.sql != NULL && opts.input.filter != NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --filter: the input is a query, which has its own WHERE");
    if (a->output != NULL) {
        opts.output = a->output;
        opts.table = NULL;
        opts.append = false;
        opts.stores = NULL;
        opts.store_count = 0;
    }
    if (a->table != NULL) opts.table = a->table;
    if (a->store != NULL) opts.predictions = a->store;
    if (a->append) opts.append = true;
    if (lists[0].count > 0) opts.by = lists[0].items;
    if (a->keep != NULL) opts.keep = lists[1].items;
    if (lists[3].count > 0) opts.partition_keys = lists[3].items;
    if (a->details != NULL) MYR_TRY(batch_details(&lists[4], opts.leaves_out, err));
    if (lists[2].count > 0) {
        opts.kinds = kinds;
        opts.kind_count = lists[2].count;
    }
    if (a->threads > 0) opts.threads = (int)(a->threads > 1024 ? 1024 : a->threads);
    if (a->memory_bytes > 0) opts.memory_bytes = a->memory_bytes;
    opts.force = a->force;
    *out = opts;
    if (a->store != NULL && opts.output != NULL && myr_object_is_uri(opts.output))
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --store reads the output again: a directory, not %.120s",
                 opts.output);
    return batch_check(&opts, err);
}

typedef struct batch_moment {
    char time[MYR_JOB_TIME_BYTES], run[MYR_TIME_TEXT_BYTES];
} batch_moment;

/* The time that the run is for: what --date says, or the scheduler, or now. Its name: its firing's number, or now. */
static myr_rc batch_when(const batch_args *a, batch_moment *out, myr_err *err)
{
    const char *local = getenv("MYRIAD_LOCAL_TIME"), *firing = getenv("MYRIAD_FIRING");
    const char *text = a->date != NULL ? a->date : local;
    int64_t number = 0;
    MYR_TRY(myr_job_file_time(a->job, text != NULL && text[0] != '\0' ? text : NULL, out->time, err));
    if (firing != NULL && myr_is_canonical_int64(myr_str_of(firing), &number)) {
        (void)snprintf(out->run, sizeof out->run, "%lld", (long long)number);
        return MYR_OK;
    }
    char now[MYR_TIME_TEXT_BYTES];
    size_t used = 0;
    (void)myr_format_time(myr_clock_unix_ms(), now);
    for (const char *at = now; *at != '\0'; at++) {
        if (strchr("-:.", *at) == NULL) out->run[used++] = *at;
    }
    out->run[used] = '\0';
    return MYR_OK;
}

static myr_rc batch_load(const batch_args *a, const char *root, myr_batch_job **out, myr_err *err)
{
    batch_moment when;
    MYR_TRY(batch_when(a, &when, err));
    const myr_batch_moment moment = {.time = when.time, .run = when.run};
    return myr_batch_job_load(a->job, root, &moment, out, err);
}

/* What a database is called has no password in it. */
static myr_rc batch_output_name(myr_workspace *workspace, const myr_batch_opts *opts, int64_t run_id, myr_arena *arena,
                                const char **out, myr_err *err)
{
    myr_run_row row;
    *out = opts->output;
    if (opts->table == NULL) return MYR_OK;
    MYR_TRY(myr_registry_run_get(workspace->registry, arena, run_id, &row, err));
    *out = row.output;
    return MYR_OK;
}

static myr_rc batch_run(const myr_cli *cli, const batch_args *given, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_batch_job_ptr) job = NULL;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_batch_opts opts;
    batch_args a = *given;
    if (a.job == NULL && a.date != NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --date fills {date} in the paths of a job file: name one");
    if (a.job == NULL) MYR_TRY(batch_options(&a, NULL, arena, &opts, err)); /* what is missing is told first */
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    if (a.job != NULL) {
        MYR_TRY(batch_load(&a, workspace->root, &job, err));
        MYR_TRY(batch_options(&a, myr_batch_job_opts(job), arena, &opts, err));
    }
    if (a.store != NULL && opts.action == MYR_BATCH_SUMMARY)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: with output_action summary_only there is nothing to --store");
    batch_watch watch = {.is_json = cli->json};
    myr_bar_start(&watch.bar, "rows");
    opts.progress = batch_progress;
    opts.started = batch_started;
    opts.ctx = &watch;
    myr_batch_report report = {0};
    myr_rc rc = myr_batch_run(workspace, &opts, &report, err);
    myr_bar_end(&watch.bar);
    MYR_TRY(rc);
    a.fleet = opts.fleet;
    MYR_TRY(batch_output_name(workspace, &opts, report.run_id, arena, &a.output, err));
    if (cli->json) {
        batch_json(&a, &report);
    } else {
        batch_print(&a, &report);
    }
    return MYR_OK;
}

myr_rc myr_cmd_batch_run(int argc, char **argv, myr_err *err)
{
    batch_args a = {0};
    const myr_cli_arg args[] = {
        {"JOB", NULL, MYR_CLI_POSITIONAL_OPT, &a.job, "a job file, YAML; flags say more than it does"},
        {"--date", "TIME", MYR_CLI_TEXT, &a.date,
         "what the run is for: {date} and the like in the job's paths; 2026-11-30 or 2026-11-30T02:30 (default: now)"},
        {"--fleet", "F", MYR_CLI_TEXT, &a.fleet, "whose models score"},
        {"--release", "N", MYR_CLI_INT, &a.release, "a release by number (default: champion)"},
        {"--input", "TABLE", MYR_CLI_TEXT, &a.input,
         "a .parquet, .csv or .json file, a directory of them, or a quoted glob; also at s3:// or az://"},
        {"--filter", "SQL", MYR_CLI_TEXT, &a.filter,
         "a condition over its columns: rows for which it does not hold are left out"},
        {"--output", "DIR", MYR_CLI_TEXT, &a.output,
         "made when all rows are scored; an earlier result of ours is replaced; also s3:// or az://"},
        {"--table", "T", MYR_CLI_TEXT, &a.table,
         "a table: --output is its database, postgresql://HOST/DB or sqlite:PATH"},
        {"--append", NULL, MYR_CLI_FLAG, &a.append, "add to the rows of the table (default: they are replaced)"},
        {"--by", "COL,...", MYR_CLI_TEXT, &a.by, "a directory per value: brand=1/part-….parquet"},
        {"--keep", "COL,...", MYR_CLI_TEXT, &a.keep, "input columns to copy (default: all that are not features)"},
        {"--partition-keys", "COL,...", MYR_CLI_TEXT, &a.partition_keys,
         "columns whose rows of one value are scored together, in one mini-batch"},
        {"--output-kind", "WHAT,...", MYR_CLI_TEXT, &a.kinds,
         "value (default), margin, probability, leaf, contribution: the columns that are written"},
        {"--details", "WHAT,...", MYR_CLI_TEXT, &a.details,
         "model, model_version, level, status (default: all), or none: what is written beside the prediction"},
        {"--store", "URI", MYR_CLI_TEXT, &a.store, "also into a prediction store: sqlite:PATH or postgresql://HOST/DB"},
        {"--format", "FORMAT", MYR_CLI_TEXT, &a.format, "parquet (default), csv or jsonl"},
        {"--threads", "N", MYR_CLI_INT, &a.threads, "default: one per processor"},
        {"--force", NULL, MYR_CLI_FLAG, &a.force, "also if the output is there already, made from the same"},
        {"--memory", "BYTES", MYR_CLI_BYTES, &a.memory_bytes, "the most the table engine may take, such as 512MiB"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("batch run", "score a table with the right model for each row",
                          "myriad batch run nightly.yaml, or\n"
                          "  myriad batch run --fleet oj --input 'data/*.parquet' --output scored --by brand",
                          args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    return batch_run(&cli, &a, err);
}

typedef myr_rc (*batch_again)(myr_workspace *workspace, int64_t run_id, const myr_batch_opts *opts,
                              myr_batch_report *out, myr_err *err);

/* The settings are the run's own. */
static myr_rc again_run(const myr_cli *cli, batch_again again, int64_t run_id, int64_t threads, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    batch_watch watch = {.is_json = cli->json};
    myr_bar_start(&watch.bar, "rows");
    myr_batch_opts opts = {.threads = (int)(threads > 1024 ? 1024 : threads),
                           .progress = batch_progress,
                           .started = batch_started,
                           .ctx = &watch};
    myr_batch_report report = {0};
    myr_rc rc = again(workspace, run_id, &opts, &report, err);
    myr_bar_end(&watch.bar);
    MYR_TRY(rc);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_run_row row;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_registry_run_get(workspace->registry, arena, report.run_id, &row, err));
    batch_args a = {.fleet = row.fleet, .output = row.output, .is_retry = again == myr_batch_retry};
    if (cli->json)
        batch_json(&a, &report);
    else
        batch_print(&a, &report);
    return MYR_OK;
}

static myr_rc again_command(const char *const words[4], batch_again again, int argc, char **argv, myr_err *err)
{
    const char *run = NULL;
    int64_t run_id = 0, threads = 0;
    const myr_cli_arg args[] = {
        {"RUN", NULL, MYR_CLI_POSITIONAL_OPT, &run, words[3]},
        {"--threads", "N", MYR_CLI_INT, &threads, "default: one per processor"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse(words[0], words[1], words[2], args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (run != NULL && (!myr_is_canonical_int64(myr_str_of(run), &run_id) || run_id <= 0))
        MYR_FAIL(err, BAD_USAGE, "myriad %s: '%.60s' is not the number of a run", words[0], run);
    return again_run(&cli, again, run_id, threads, err);
}

myr_rc myr_cmd_batch_resume(int argc, char **argv, myr_err *err)
{
    static const char *const words[] = {"batch resume", "go on with a run that was killed", "myriad batch resume 12",
                                        "its number (default: the newest that is not over)"};
    return again_command(words, myr_batch_resume, argc, argv, err);
}

myr_rc myr_cmd_batch_retry(int argc, char **argv, myr_err *err)
{
    static const char *const words[] = {"batch retry-failed", "do again what failed in a completed run, and no more",
                                        "myriad batch retry-failed 12",
                                        "its number (default: the newest that is completed)"};
    return again_command(words, myr_batch_retry, argc, argv, err);
}

/* What the coordinator starts; its requests come over a socket. */
myr_rc myr_cmd_batch_worker(int argc, char **argv, myr_err *err)
{
    if (argc != 1) MYR_FAIL(err, BAD_USAGE, "myriad " MYR_BATCH_WORKER " is started by `myriad batch run` alone");
    MYR_TRY(myr_cli_runtime(argv[0], err));
    return myr_batch_work(err);
}
