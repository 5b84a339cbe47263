/* What a training tells: metrics of each model for the registry, and a report with a line per segment. */
#include <math.h>
#include <string.h>

#include "train/internal.h"

/* A number, or null where there is none to tell. */
static void report_number(myr_buf *out, const char *key, double value)
{
    myr_buf_printf(out, "\"%s\":", key);
    if (isfinite(value))
        myr_buf_double(out, value);
    else
        myr_buf_puts(out, "null");
}

static double report_rmse(double sse, uint64_t rows)
{
    return rows > 0 ? sqrt(sse / (double)rows) : NAN;
}

static void report_settings(const myr_train_candidate *candidate, myr_buf *out)
{
    const char *comma = "";
    myr_buf_puts(out, "\"settings\":{");
    for (uint32_t s = 0; s < candidate->algorithm->setting_count; s++) {
        const myr_train_setting *setting = &candidate->algorithm->settings[s];
        if ((candidate->given & (1u << s)) == 0) continue;
        myr_buf_puts(out, comma);
        comma = ",";
        if (setting->words != NULL)
            myr_buf_printf(out, "\"%s\":\"%s\"", setting->name, setting->words[(int)candidate->values[s]]);
        else
            report_number(out, setting->name, candidate->values[s]);
    }
    myr_buf_putc(out, '}');
}

static double report_winner_rmse(const myr_train_plan *plan, const myr_train_segment *s)
{
    return s->winner < plan->candidate_count ? s->trial_rmse[s->winner] : (double)NAN;
}

void myr_train_metrics_json(const myr_train_plan *plan, const myr_train_segment *s, myr_buf *out)
{
    myr_buf_putc(out, '{');
    report_number(out, "rmse", report_winner_rmse(plan, s));
    myr_buf_putc(out, ',');
    report_number(out, "test_rmse", report_rmse(s->test_sse, s->test_rows));
    myr_buf_putc(out, ',');
    report_number(out, "baseline_test_rmse", report_rmse(s->baseline_sse, s->test_rows));
    myr_buf_printf(out, ",\"rows\":%u,\"anomalies\":%u,\"windows\":%u,\"trials\":[", s->fit_rows, s->anomalies,
                   s->window_count);
    for (uint32_t c = 0; c < plan->candidate_count; c++) {
        myr_buf_printf(out, "%s{\"algorithm\":\"%s\",", c > 0 ? "," : "", plan->candidates[c].algorithm->name);
        report_settings(&plan->candidates[c], out);
        myr_buf_putc(out, ',');
        report_number(out, "rmse", s->trial_rmse[c]);
        myr_buf_putc(out, '}');
    }
    myr_buf_puts(out, "]}");
}

/* ---- totals ---- */

static bool report_loses(const myr_train_segment *s)
{
    return s->is_fitted && s->test_sse > s->baseline_sse;
}

static void report_win(const myr_train_table *table, const myr_train_segment *s, myr_train_report *report)
{
    MYR_ASSERT(s->winner <= table->plan->candidate_count);
    const char *name = table->plan->candidates[s->winner].algorithm->name;
    for (uint32_t i = 0; i < report->win_count; i++) {
        if (strcmp(report->wins[i].algorithm, name) == 0) report->wins[i].wins++;
    }
}

static void report_leaf(const myr_train_table *table, const myr_train_segment *s, myr_train_report *report,
                        double sums[3])
{
    report->rows_train += s->fit_rows;
    report->rows_anomalous += s->anomalies;
    if (!s->is_fitted) {
        report->segments_small++;
        return;
    }
    report->segments++;
    report->segments_worse += report_loses(s);
    report_win(table, s, report);
    sums[0] += s->test_sse;
    sums[1] += s->baseline_sse;
    sums[2] += s->test_rows;
}

void myr_train_report_sum(const myr_train_table *table, myr_train_report *report)
{
    double sums[3] = {0};
    report->rows_read = table->row_count;
    report->rows_test = table->test_count;
    report->rows_unusable = table->out_count;
    for (size_t i = 0; myr_train_algorithms[i] != NULL; i++) {
        MYR_ASSERT(i < MYR_COUNT_OF(report->wins));
        report->wins[report->win_count++].algorithm = myr_train_algorithms[i]->name;
    }
    for (uint32_t i = 0; i < table->segment_count; i++) {
        const myr_train_segment *s = &table->segments[i];
        if (s->level == 0) report_leaf(table, s, report, sums);
        if (!s->is_fitted) continue;
        if (s->level + 1 == table->level_count)
            report->globals++;
        else if (s->level > 0)
            report->parents++;
    }
    if (table->level_count == 1) report->segments = 0; /* its one leaf is the global model */
    report->rmse = report_rmse(sums[0], (uint64_t)sums[2]);
    report->baseline_rmse = report_rmse(sums[1], (uint64_t)sums[2]);
}

/* ---- the file ---- */

static void report_segment(const myr_train_table *table, const myr_train_segment *s, myr_buf *out)
{
    const myr_train_plan *plan = table->plan;
    MYR_AUTO(myr_buf) name = {0};
    myr_buf_printf(&name, "%s@%s", plan->fleet, s->text);
    myr_buf_puts(out, "{\"model\":");
    myr_buf_json_string(out, myr_str_make(name.data != NULL ? name.data : "", name.size));
    myr_buf_printf(out, ",\"level\":\"%s\",\"rows\":%u,\"anomalies\":%u,", myr_train_level_name(table, s->level),
                   s->fit_rows, s->anomalies);
    if (!s->is_fitted) {
        myr_buf_printf(out, "\"winner\":null,\"why\":\"fewer than %lld rows: its parent answers\"}",
                       (long long)plan->min_rows);
        return;
    }
    myr_buf_printf(out, "\"winner\":\"%s\",", plan->candidates[s->winner].algorithm->name);
    report_settings(&plan->candidates[s->winner], out);
    myr_buf_printf(out, ",\"windows\":%u,", s->window_count);
    report_number(out, "rmse", report_winner_rmse(plan, s));
    myr_buf_printf(out, ",\"test_rows\":%u,", s->test_rows);
    report_number(out, "test_rmse", report_rmse(s->test_sse, s->test_rows));
    myr_buf_putc(out, ',');
    report_number(out, "baseline_test_rmse", report_rmse(s->baseline_sse, s->test_rows));
    myr_buf_printf(out, ",\"loses\":%s}", report_loses(s) ? "true" : "false");
}

static void report_totals(const myr_train_report *r, const char *test_file, myr_buf *out)
{
    myr_buf_printf(out, "{\n\"fleet\":\"%s\",\n\"release\":%lld,\n\"test_file\":", r->fleet,
                   (long long)r->release.number);
    myr_buf_json_string(out, myr_str_of(test_file));
    myr_buf_puts(out, ",\n");
    myr_buf_printf(out, "\"rows\":{\"read\":%lld,\"train\":%lld,\"test\":%lld,\"anomalous\":%lld,\"unusable\":%lld},\n",
                   (long long)r->rows_read, (long long)r->rows_train, (long long)r->rows_test,
                   (long long)r->rows_anomalous, (long long)r->rows_unusable);
    myr_buf_printf(out,
                   "\"models\":{\"segments\":%lld,\"parents\":%lld,\"global\":%lld,\"too_small\":%lld},\n\"wins\":{",
                   (long long)r->segments, (long long)r->parents, (long long)r->globals, (long long)r->segments_small);
    for (uint32_t i = 0; i < r->win_count; i++) {
        myr_buf_printf(out, "%s\"%s\":%lld", i > 0 ? "," : "", r->wins[i].algorithm, (long long)r->wins[i].wins);
    }
    myr_buf_puts(out, "},\n");
    report_number(out, "test_rmse", r->rmse);
    myr_buf_puts(out, ",\n");
    report_number(out, "baseline_test_rmse", r->baseline_rmse);
    myr_buf_puts(out, ",\n");
    report_number(out, "ratio", r->rmse / r->baseline_rmse);
    myr_buf_printf(out, ",\n\"segments_worse\":%lld,\n", (long long)r->segments_worse);
}

myr_rc myr_train_report_write(const myr_train_table *table, const myr_train_report *report, const char *path,
                              myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    const char *comma = "";
    report_totals(report, table->plan->test_write, &out);
    myr_buf_puts(&out, "\"worse\":[");
    for (uint32_t i = 0; i < table->segment_count; i++) {
        if (table->segments[i].level != 0 || !report_loses(&table->segments[i])) continue;
        myr_buf_puts(&out, comma);
        myr_buf_json_string(&out, myr_str_of(table->segments[i].text));
        comma = ",";
    }
    myr_buf_puts(&out, "],\n\"segments\":[\n");
    for (uint32_t i = 0; i < table->segment_count; i++) {
        report_segment(table, &table->segments[i], &out);
        myr_buf_puts(&out, i + 1 < table->segment_count ? ",\n" : "\n");
    }
    myr_buf_puts(&out, "]\n}\n");
    MYR_TRY(myr_buf_check(&out, err));
    return myr_file_write(path, out.data, out.size, err);
}
