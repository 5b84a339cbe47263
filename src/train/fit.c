/*
 * The search on one segment. Each candidate is judged over rolling origins: fitted on what lies before a window, asked
 * for the window, its squared errors summed over all windows; the best is fitted again on everything before the test
 * set. What a window or the test set holds reaches no fit: rows are chosen by time first, cleaned and filled in
 * afterwards.
 */
#include <math.h>
#include <string.h>

#include "train/internal.h"

/* The segment's rows to fit on with time <= end, cleaned. */
static myr_rc fit_rows(const myr_train_table *t, const myr_train_segment *s, double end, myr_train_scratch *scratch,
                       uint32_t *out_count, uint32_t *out_anomalies, myr_err *err)
{
    uint32_t *rows = myr_train_room_take(&scratch->rows, s->count, sizeof *rows);
    double *sorted = myr_train_room_take(&scratch->sorted, s->count, sizeof *sorted);
    if (rows == NULL || sorted == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u rows", s->count);
    MYR_ASSERT(s->level < t->level_count && s->first + s->count <= t->order_count);
    const uint32_t *order = t->orders[s->level] + s->first;
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        if (t->states[order[i]] == MYR_TRAIN_ROW_FIT && t->time[order[i]] <= end) rows[count++] = order[i];
    }
    uint32_t kept = count;
    MYR_ASSERT(count <= s->count);
    if (t->plan->cleans)
        kept = myr_train_clean(t->target, t->plan->clean_limit, t->plan->clean_share, rows, count, sorted);
    *out_count = kept;
    *out_anomalies = count - kept;
    return MYR_OK;
}

/* The rows to judge on, with a target: those to fit on with start < time <= end, or the test rows. */
static myr_rc fit_judged(const myr_train_table *t, const myr_train_segment *s, myr_train_row state, double start,
                         double end, myr_train_scratch *scratch, uint32_t *out_count, myr_err *err)
{
    uint32_t *rows = myr_train_room_take(&scratch->judged, s->count, sizeof *rows);
    if (rows == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u rows", s->count);
    const uint32_t *order = t->orders[s->level] + s->first;
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t row = order[i];
        if (t->states[row] != (uint8_t)state || !(fabs(t->target[row]) <= MYR_TRAIN_VALUE_MAX)) continue;
        if (t->time[row] > start && t->time[row] <= end) rows[count++] = row;
    }
    *out_count = count;
    return MYR_OK;
}

/* The sample of the first `count` rows of the scratch. */
static myr_rc fit_sample(const myr_train_table *t, const myr_train_segment *s, uint32_t count,
                         myr_train_scratch *scratch, myr_train_sample *out, myr_err *err)
{
    MYR_ASSERT(count > 0);
    uint32_t p = t->plan->feature_count;
    double *x = myr_train_room_take(&scratch->x, (size_t)count * p, sizeof *x);
    double *y = myr_train_room_take(&scratch->y, count, sizeof *y);
    if (x == NULL || y == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u rows", count);
    const uint32_t *rows = scratch->rows.data;
    myr_train_gather(t, rows, count, x);
    for (uint32_t i = 0; i < count; i++)
        y[i] = t->target[rows[i]];
    *out = (myr_train_sample){.x = x,
                              .y = y,
                              .row_count = count,
                              .feature_count = p,
                              .features = t->plan->features,
                              .is_leaf = s->level == 0 && t->level_count > 1,
                              .seed = t->plan->seed};
    return MYR_OK;
}

static myr_rc fit_candidate(const myr_train_plan *plan, uint32_t idx, const myr_train_sample *sample,
                            myr_train_scratch *scratch, myr_buf *out, myr_err *err)
{
    MYR_ASSERT(idx <= plan->candidate_count);
    const myr_train_candidate *candidate = &plan->candidates[idx];
    myr_buf_clear(out);
    return candidate->algorithm->fit(sample, candidate->values, scratch, out, err);
}

myr_rc myr_train_predict(const myr_train_table *table, const myr_buf *artifact, const uint32_t *rows, uint32_t count,
                         myr_train_scratch *scratch, const double **out, myr_err *err)
{
    uint32_t p = table->plan->feature_count;
    double *x = myr_train_room_take(&scratch->judged_x, (size_t)count * p, sizeof *x);
    double *predicted = myr_train_room_take(&scratch->predicted, count, sizeof *predicted);
    if (x == NULL || predicted == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u rows", count);
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    unsigned char *compiled = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    myr_model_info info;
    MYR_TRY(myr_import("a trained model", artifact->data, artifact->size, NULL, 0, &imported, err));
    MYR_TRY(myr_imported_compile(imported, table->plan->features, p, NULL, &compiled, &size, err));
    MYR_AUTO(myr_mem) owned = compiled;
    (void)owned;
    MYR_TRY(myr_model_check(compiled, size, &model, err));
    myr_model_get_info(model, &info);
    MYR_ASSERT(info.output_count == 1 && info.column_count == p);
    myr_train_gather(table, rows, count, x);
    myr_model_predict(model, x, p, count, predicted);
    *out = predicted;
    return MYR_OK;
}

/* Squared errors of a model on the judged rows; infinite when it answers with something that is no number. */
static myr_rc fit_sse(const myr_train_table *t, const myr_buf *artifact, uint32_t count, myr_train_scratch *scratch,
                      double *out, myr_err *err)
{
    const uint32_t *rows = scratch->judged.data;
    const double *predicted = NULL;
    double sse = 0;
    MYR_TRY(myr_train_predict(t, artifact, rows, count, scratch, &predicted, err));
    for (uint32_t i = 0; i < count; i++) {
        double error = predicted[i] - t->target[rows[i]];
        sse += error * error;
    }
    *out = isfinite(sse) ? sse : INFINITY;
    return MYR_OK;
}

/* ---- rolling origins ---- */

typedef struct fit_trials {
    double sse[MYR_TRAIN_CANDIDATES_MAX];
    uint64_t rows;
} fit_trials;

static myr_rc fit_window(const myr_train_table *t, myr_train_segment *s, uint32_t window, myr_train_scratch *scratch,
                         fit_trials *trials, myr_err *err)
{
    const myr_train_plan *plan = t->plan;
    double end = s->origin - plan->window_size * window;
    double start = end - plan->window_size;
    uint32_t count = 0, anomalies = 0, judged = 0;
    MYR_TRY(fit_rows(t, s, start, scratch, &count, &anomalies, err));
    MYR_TRY(fit_judged(t, s, MYR_TRAIN_ROW_FIT, start, end, scratch, &judged, err));
    if (count < plan->min_rows || judged == 0) return MYR_OK;
    myr_train_sample sample;
    MYR_AUTO(myr_buf) artifact = {0};
    MYR_TRY(fit_sample(t, s, count, scratch, &sample, err));
    for (uint32_t c = 0; c < plan->candidate_count; c++) {
        double sse = 0;
        MYR_TRY(fit_candidate(plan, c, &sample, scratch, &artifact, err));
        MYR_TRY(fit_sse(t, &artifact, judged, scratch, &sse, err));
        trials->sse[c] += sse;
    }
    trials->rows += judged;
    MYR_ASSERT(s->window_count < plan->window_count);
    s->window_count++;
    return MYR_OK;
}

/* Fewest errors wins; of equals the one that stands first. Nothing judged: the mean. */
static uint32_t fit_choose(const myr_train_plan *plan, const fit_trials *trials, double *out_rmse)
{
    uint32_t best = plan->mean_idx;
    double least = INFINITY;
    for (uint32_t c = 0; c < plan->candidate_count; c++) {
        out_rmse[c] = trials->rows > 0 ? sqrt(trials->sse[c] / (double)trials->rows) : NAN;
        if (trials->rows > 0 && trials->sse[c] < least) {
            least = trials->sse[c];
            best = c;
        }
    }
    return best;
}

/* ---- what a model was learned from ---- */

static void fit_hash_text(myr_sha256 *sha, const char *text)
{
    myr_sha256_add(sha, text, strlen(text) + 1); /* with its NUL: where one ends is part of what is said */
}

/* Over the rows of the sample: segment, time, features, target; columns by name. */
static void fit_fingerprint(const myr_train_table *t, const myr_train_sample *sample, const uint32_t *rows,
                            char out_hex[MYR_SHA256_HEX_BYTES])
{
    myr_sha256 sha;
    myr_sha256_init(&sha);
    fit_hash_text(&sha, t->plan->time);
    fit_hash_text(&sha, t->plan->target);
    for (uint32_t j = 0; j < sample->feature_count; j++)
        fit_hash_text(&sha, sample->features[j]);
    uint32_t leaf = UINT32_MAX;
    for (uint32_t i = 0; i < sample->row_count; i++) {
        if (t->leaf_of[rows[i]] != leaf) { /* rows of a leaf stand together at every level */
            leaf = t->leaf_of[rows[i]];
            fit_hash_text(&sha, t->segments[leaf].text);
        }
        const double ends[2] = {t->time[rows[i]], sample->y[i]};
        myr_sha256_add(&sha, ends, sizeof ends);
        myr_sha256_add(&sha, sample->x + (size_t)i * sample->feature_count, sample->feature_count * sizeof(double));
    }
    myr_sha256_hex(&sha, out_hex);
}

/* ---- all of it ---- */

/* On the test rows, which nothing before has seen. */
static myr_rc fit_test(const myr_train_table *t, myr_train_segment *s, myr_train_scratch *scratch, myr_err *err)
{
    uint32_t count = 0;
    MYR_TRY(fit_judged(t, s, MYR_TRAIN_ROW_TEST, -INFINITY, INFINITY, scratch, &count, err));
    MYR_TRY(fit_sse(t, &s->artifact, count, scratch, &s->test_sse, err));
    const uint32_t *rows = scratch->judged.data;
    for (uint32_t i = 0; i < count; i++) {
        double error = s->baseline - t->target[rows[i]];
        s->baseline_sse += error * error;
    }
    MYR_ASSERT(count <= s->count);
    s->test_rows = count;
    return MYR_OK;
}

static myr_rc fit_search(const myr_train_table *t, myr_train_segment *s, myr_train_scratch *scratch, myr_err *err)
{
    fit_trials trials = {0};
    for (uint32_t w = 0; w < t->plan->window_count; w++)
        MYR_TRY(fit_window(t, s, w, scratch, &trials, err));
    s->winner = fit_choose(t->plan, &trials, s->trial_rmse);
    MYR_TRY(fit_rows(t, s, INFINITY, scratch, &s->fit_rows, &s->anomalies, err));
    if (s->fit_rows < t->plan->min_rows) return MYR_OK; /* too fine: its parent answers */
    myr_train_sample sample;
    MYR_TRY(fit_sample(t, s, s->fit_rows, scratch, &sample, err));
    MYR_TRY(fit_candidate(t->plan, s->winner, &sample, scratch, &s->artifact, err));
    s->baseline = myr_train_average(sample.y, sample.row_count);
    fit_fingerprint(t, &sample, scratch->rows.data, s->fingerprint);
    MYR_TRY(fit_test(t, s, scratch, err));
    s->is_fitted = true;
    return MYR_OK;
}

myr_rc myr_train_segment_fit(const myr_train_table *table, myr_train_segment *segment, myr_train_scratch *scratch,
                             myr_err *err)
{
    MYR_ASSERT(!segment->is_fitted && segment->count > 0);
    myr_rc rc = fit_search(table, segment, scratch, err);
    if (rc == MYR_OK) return MYR_OK;
    return myr_err_prefix(err, rc, "segment '%.120s': ", segment->text);
}
