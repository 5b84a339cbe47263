/* `myriad train SPEC.yaml`: from a table to a release. */
#include <stdio.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "train/train.h"

static void train_progress(void *ctx, const char *stage, int64_t done, int64_t total)
{
    myr_bar_update(ctx, stage, done, total);
}

static void train_json(const myr_train_report *r)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_printf(&out,
                   "{\"fleet\":\"%s\",\"rows_read\":%lld,\"rows_train\":%lld,\"rows_test\":%lld,\"rows_anomalous\":%"
                   "lld,\"rows_unusable\":%lld,",
                   r->fleet, (long long)r->rows_read, (long long)r->rows_train, (long long)r->rows_test,
                   (long long)r->rows_anomalous, (long long)r->rows_unusable);
    myr_buf_printf(
        &out,
        "\"segments\":%lld,\"parents\":%lld,\"globals\":%lld,\"models_added\":%lld,\"models_reused\":%lld,\"wins\":{",
        (long long)r->segments, (long long)r->parents, (long long)r->globals, (long long)r->models_added,
        (long long)r->models_reused);
    for (uint32_t i = 0; i < r->win_count; i++) {
        myr_buf_printf(&out, "%s\"%s\":%lld", i > 0 ? "," : "", r->wins[i].algorithm, (long long)r->wins[i].wins);
    }
    myr_buf_puts(&out, "},\"rmse\":");
    myr_buf_double(&out, r->rmse);
    myr_buf_puts(&out, ",\"baseline_rmse\":");
    myr_buf_double(&out, r->baseline_rmse);
    myr_buf_printf(&out, ",\"segments_worse\":%lld,\"test_path\":", (long long)r->segments_worse);
    myr_buf_json_string(&out, myr_str_of(r->test_path));
    myr_buf_puts(&out, ",\"report_path\":");
    myr_buf_json_string(&out, myr_str_of(r->report_path));
    myr_buf_printf(&out, ",\"duration_ms\":%lld,\"release\":%lld,\"release_reused\":%s,\"pack_bytes\":%lld}\n",
                   (long long)r->duration_ms, (long long)r->release.number, r->release.reused ? "true" : "false",
                   (long long)r->release.pack_bytes);
    fputs(out.data != NULL ? out.data : "", stdout);
}

static void train_print(const myr_train_report *r)
{
    char a[32], b[32], c[32], d[32];
    printf("read      %s rows: %s to learn from, %s in the test set, %s left out as anomalies\n",
           myr_format_count(r->rows_read, a, sizeof a), myr_format_count(r->rows_train, b, sizeof b),
           myr_format_count(r->rows_test, c, sizeof c), myr_format_count(r->rows_anomalous, d, sizeof d));
    if (r->rows_unusable > 0) {
        printf("unusable  %s rows: without key or time, or without a finite target\n",
               myr_format_count(r->rows_unusable, a, sizeof a));
    }
    printf("models    %lld segments, %lld parents, %lld global: %lld added, %lld as they were\n",
           (long long)r->segments, (long long)r->parents, (long long)r->globals, (long long)r->models_added,
           (long long)r->models_reused);
    printf("winners  ");
    for (uint32_t i = 0; i < r->win_count; i++) {
        printf("%s %s %lld", i > 0 ? "," : "", r->wins[i].algorithm, (long long)r->wins[i].wins);
    }
    printf("\ntest      RMSE %.4f, baseline %.4f", r->rmse, r->baseline_rmse);
    if (r->baseline_rmse > 0) printf(" (ratio %.3f)", r->rmse / r->baseline_rmse);
    printf("; %lld of %lld segments lose against the baseline\n", (long long)r->segments_worse, (long long)r->segments);
    printf("release   %s %lld%s, pack %s\n", r->fleet, (long long)r->release.number,
           r->release.reused ? " (as it was)" : "", myr_format_bytes(r->release.pack_bytes, a, sizeof a));
    if (r->test_path[0] != '\0') printf("test rows %s\n", r->test_path);
    printf("picture   %s\nreport    %s\ntook      %.1f s\n", r->plot_path, r->report_path,
           (double)r->duration_ms / 1000);
}

myr_rc myr_cmd_train(int argc, char **argv, myr_err *err)
{
    const char *spec = NULL;
    int64_t threads = 0;
    const myr_cli_arg args[] = {
        {"SPEC", NULL, MYR_CLI_POSITIONAL, &spec, "the YAML file that says what to learn"},
        {"--threads", "N", MYR_CLI_INT, &threads, "fits at a time (default: one per processor)"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("train", "clean, segment, try candidates in parallel, register the best, make a release",
                          "myriad train examples/oj/train.yaml", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(&cli, &workspace, err));
    myr_bar bar;
    myr_bar_start(&bar, "models");
    myr_train_report report = {0};
    myr_rc rc = myr_train(workspace, spec, (int)(threads > 1024 ? 1024 : threads), train_progress, &bar, &report, err);
    myr_bar_end(&bar);
    MYR_TRY(rc);
    if (cli.json) {
        train_json(&report);
    } else {
        train_print(&report);
    }
    return MYR_OK;
}
