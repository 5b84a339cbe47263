/* `myriad batch run`: score a table into files. */
#include <stdio.h>
#include <string.h>

#include "batch/batch.h"
#include "cli/args.h"
#include "cli/batch_store.h"
#include "cli/commands.h"
#include "cli/progress.h"

typedef struct batch_args {
    const char *fleet, *input, *output, *by, *keep, *format, *kinds, *store;
    int64_t release, threads, memory_bytes;
} batch_args;

static void batch_progress(void *ctx, int64_t done, int64_t total)
{
    myr_bar_update(ctx, "scoring", done, total);
}

static myr_rc batch_check(const batch_args *a, myr_err *err)
{
    if (a->fleet == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --fleet is missing: name the fleet whose models score");
    if (a->input == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad batch run: --input is missing: a .parquet or .csv file or a glob");
    if (a->output == NULL) MYR_FAIL(err, BAD_USAGE, "myriad batch run: --output is missing: the directory to make");
    if (strcmp(a->format, "parquet") == 0 || strcmp(a->format, "csv") == 0) return MYR_OK;
    MYR_FAIL(err, BAD_USAGE, "myriad batch run: --format '%s' is not known: parquet or csv", a->format);
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

static void batch_json(const batch_args *a, const myr_batch_report *r, int64_t stored_rows)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_printf(&out,
                   "{\"run\":%lld,\"fleet\":\"%s\",\"release\":%lld,\"rows\":%lld,\"duration_ms\":%lld,\"models_used\":"
                   "%lld,\"levels\":{",
                   (long long)r->run_id, a->fleet, (long long)r->release, (long long)r->rows, (long long)r->duration_ms,
                   (long long)r->models_used);
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
    if (r->dropped_columns[0] != '\0') {
        myr_buf_puts(&out, ",\"dropped_columns\":");
        myr_buf_json_string(&out, myr_str_of(r->dropped_columns));
    }
    if (r->trouble.rc != MYR_OK) {
        myr_buf_puts(&out, ",\"trouble\":");
        myr_buf_json_string(&out, myr_str_of(r->trouble.message));
    }
    if (a->store != NULL) myr_buf_printf(&out, ",\"stored\":%lld", (long long)stored_rows);
    myr_buf_puts(&out, ",\"output\":");
    myr_buf_json_string(&out, myr_str_of(a->output));
    myr_buf_printf(&out, ",\"files\":%lld,\"bytes\":%lld}\n", (long long)r->output_files, (long long)r->output_bytes);
    fputs(out.data != NULL ? out.data : "", stdout);
}

static void batch_print(const batch_args *a, const myr_batch_report *r)
{
    char text[32], rate[32];
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
    printf("written   %lld files, %s in %s\n", (long long)r->output_files,
           myr_format_bytes(r->output_bytes, text, sizeof text), a->output);
}

static myr_rc batch_run(const myr_cli *cli, const batch_args *a, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_cli_list by = {0}, keep = {0}, names = {0};
    myr_output kinds[MYR_OUTPUT_COUNT];
    MYR_TRY(myr_cli_commas(arena, a->by, &by, err));
    MYR_TRY(myr_cli_commas(arena, a->keep, &keep, err));
    MYR_TRY(myr_cli_commas(arena, a->kinds, &names, err));
    MYR_TRY(batch_kinds(&names, kinds, err));
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    myr_bar bar;
    myr_bar_start(&bar, "rows");
    myr_batch_opts opts = {.fleet = a->fleet,
                           .release = a->release,
                           .input = a->input,
                           .output = a->output,
                           .by = by.count > 0 ? by.items : NULL,
                           .keep = a->keep != NULL ? keep.items : NULL,
                           .kinds = kinds,
                           .kind_count = (uint32_t)names.count,
                           .format = strcmp(a->format, "csv") == 0 ? MYR_TABLE_CSV : MYR_TABLE_PARQUET,
                           .threads = (int)(a->threads > 1024 ? 1024 : a->threads),
                           .memory_bytes = a->memory_bytes,
                           .progress = batch_progress,
                           .progress_ctx = &bar};
    myr_batch_report report = {0};
    myr_rc rc = myr_batch_run(workspace, &opts, &report, err);
    myr_bar_end(&bar);
    MYR_TRY(rc);
    int64_t stored_rows = 0;
    if (a->store != NULL) {
        rc = myr_batch_store(workspace, a->fleet, report.release, a->output, opts.format == MYR_TABLE_CSV, a->store,
                             &stored_rows, err);
        if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s is written, but not stored: ", a->output);
    }
    if (cli->json) {
        batch_json(a, &report, stored_rows);
    } else {
        batch_print(a, &report);
        if (a->store != NULL) printf("stored    %lld predictions\n", (long long)stored_rows);
    }
    return MYR_OK;
}

myr_rc myr_cmd_batch_run(int argc, char **argv, myr_err *err)
{
    batch_args a = {.format = "parquet"};
    const myr_cli_arg args[] = {
        {"--fleet", "F", MYR_CLI_TEXT, &a.fleet, "whose models score"},
        {"--release", "N", MYR_CLI_INT, &a.release, "a release by number (default: champion)"},
        {"--input", "TABLE", MYR_CLI_TEXT, &a.input, ".parquet, .csv or .json files, or a quoted glob of them"},
        {"--output", "DIR", MYR_CLI_TEXT, &a.output,
         "made when all rows are scored; an earlier result of ours is replaced"},
        {"--by", "COL,...", MYR_CLI_TEXT, &a.by, "a directory per value: brand=1/part-….parquet"},
        {"--keep", "COL,...", MYR_CLI_TEXT, &a.keep, "input columns to copy (default: all that are not features)"},
        {"--output-kind", "WHAT,...", MYR_CLI_TEXT, &a.kinds,
         "value (default), margin, probability, leaf, contribution: the columns that are written"},
        {"--store", "URI", MYR_CLI_TEXT, &a.store, "also into a prediction store: sqlite:PATH or postgresql://HOST/DB"},
        {"--format", "FORMAT", MYR_CLI_TEXT, &a.format, "parquet (default) or csv"},
        {"--threads", "N", MYR_CLI_INT, &a.threads, "default: one per processor"},
        {"--memory", "BYTES", MYR_CLI_BYTES, &a.memory_bytes, "the most the table engine may take, such as 512MiB"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("batch run", "score a table with the right model for each row",
                          "myriad batch run --fleet oj --input 'data/*.parquet' --output scored --by brand", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(batch_check(&a, err));
    return batch_run(&cli, &a, err);
}
