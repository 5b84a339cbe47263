/*
 * `mean` and `ridge`: the two linear candidates, written in the linear format.
 *
 * Ridge works on standardised features, so that one lambda means the same for all of them: missing values stand at the
 * mean, a feature that does not vary is left out, the intercept is not penalised. Its normal equations are summed block
 * by block and solved by Cholesky; the weights are then folded back, so that the model takes rows as they are.
 */
#include <math.h>
#include <string.h>

#include "train/internal.h"
#include "train/lapack.h"

#define LINEAR_BLOCK_ROWS 256
#define LINEAR_CONSTANT   1e-9 /* a spread below this share of the mean is rounding, not information */
#define LINEAR_SOLVES_MAX 32   /* singular: ten times the penalty, again */

double myr_train_average(const double *values, uint32_t count)
{
    MYR_ASSERT(count > 0);
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

static myr_rc mean_fit(const myr_train_sample *sample, const double *values, myr_train_scratch *scratch, myr_buf *out,
                       myr_err *err)
{
    (void)values;
    (void)scratch;
    myr_linear_format(NULL, 0, myr_train_average(sample->y, sample->row_count), NULL, NULL, out);
    return myr_buf_check(out, err);
}

/* ---- ridge ---- */

typedef struct ridge_work {
    const myr_train_sample *sample;
    const myr_train_lapack *lapack;
    uint32_t used_count; /* features that vary */
    double y_mean;
    double *means, *scales, *weights; /* per feature */
    double *gram, *right;             /* used_count squared, used_count */
    double *solved, *factor;          /* copies that solving overwrites */
    double *block, *block_y;          /* LINEAR_BLOCK_ROWS rows of used features; their centred targets */
} ridge_work;

static myr_rc ridge_start(const myr_train_sample *sample, myr_train_scratch *scratch, ridge_work *out, myr_err *err)
{
    size_t p = sample->feature_count;
    size_t count = 3 * p + 2 * p * p + 2 * p + LINEAR_BLOCK_ROWS * p + LINEAR_BLOCK_ROWS;
    double *at = myr_train_room_take(&scratch->work, count, sizeof *at);
    if (at == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a ridge of %zu features", p);
    memset(at, 0, count * sizeof *at);
    ridge_work w = {.sample = sample, .lapack = scratch->lapack};
    w.means = at;
    w.scales = w.means + p;
    w.weights = w.scales + p;
    w.gram = w.weights + p;
    w.factor = w.gram + p * p;
    w.right = w.factor + p * p;
    w.solved = w.right + p;
    w.block = w.solved + p;
    w.block_y = w.block + LINEAR_BLOCK_ROWS * p;
    MYR_ASSERT(w.block_y + LINEAR_BLOCK_ROWS == at + count);
    *out = w;
    return MYR_OK;
}

/* Mean of what is there and deviation over all rows, a missing value standing at the mean. */
static void ridge_standardise(ridge_work *w)
{
    const myr_train_sample *s = w->sample;
    for (uint32_t j = 0; j < s->feature_count; j++) {
        double sum = 0;
        double squares = 0;
        uint32_t there = 0;
        for (uint32_t i = 0; i < s->row_count; i++) {
            double x = s->x[(size_t)i * s->feature_count + j];
            if (isnan(x)) continue;
            sum += x;
            there++;
        }
        w->means[j] = there > 0 ? sum / there : 0;
        for (uint32_t i = 0; i < s->row_count; i++) {
            double x = s->x[(size_t)i * s->feature_count + j];
            if (!isnan(x)) squares += (x - w->means[j]) * (x - w->means[j]);
        }
        double scale = sqrt(squares / s->row_count);
        w->scales[j] = scale > LINEAR_CONSTANT * fabs(w->means[j]) ? scale : 0;
        w->used_count += w->scales[j] > 0;
    }
}

/* Gram matrix and right side, one block of standardised rows at a time: memory does not grow with the rows. */
static void ridge_sum(ridge_work *w)
{
    const myr_train_sample *s = w->sample;
    int q = (int)w->used_count;
    for (uint32_t first = 0; first < s->row_count; first += LINEAR_BLOCK_ROWS) {
        uint32_t rows = s->row_count - first < LINEAR_BLOCK_ROWS ? s->row_count - first : LINEAR_BLOCK_ROWS;
        double *z = w->block;
        for (uint32_t i = first; i < first + rows; i++) {
            for (uint32_t j = 0; j < s->feature_count; j++) {
                if (w->scales[j] <= 0) continue;
                double x = s->x[(size_t)i * s->feature_count + j];
                *z++ = isnan(x) ? 0 : (x - w->means[j]) / w->scales[j];
            }
            w->block_y[i - first] = s->y[i] - w->y_mean;
        }
        MYR_ASSERT(z == w->block + (size_t)rows * w->used_count);
        w->lapack->dsyrk(CblasColMajor, CblasLower, CblasNoTrans, q, (int)rows, 1, w->block, q, 1, w->gram, q);
        w->lapack->dgemv(CblasColMajor, CblasNoTrans, q, (int)rows, 1, w->block, q, w->block_y, 1, 1, w->right, 1);
    }
}

static myr_rc ridge_solve(ridge_work *w, double lambda, myr_err *err)
{
    size_t q = w->used_count;
    MYR_ASSERT(q > 0 && q <= w->sample->feature_count);
    for (int turn = 0; turn<LINEAR_SOLVES_MAX; turn++, lambda = lambda> 0 ? lambda * 10 : 1e-9) {
        memcpy(w->factor, w->gram, q * q * sizeof *w->gram);
        memcpy(w->solved, w->right, q * sizeof *w->right);
        for (size_t j = 0; j < q; j++)
            w->factor[j * q + j] += lambda;
        if (w->lapack->dposv(LAPACK_COL_MAJOR, 'L', (int)q, 1, w->factor, (int)q, w->solved, (int)q) == 0)
            return MYR_OK;
    }
    MYR_FAIL(err, INTERNAL, "ridge: %zu features cannot be solved with a penalty of %g", q, lambda);
}

static myr_rc ridge_fit(const myr_train_sample *sample, const double *values, myr_train_scratch *scratch, myr_buf *out,
                        myr_err *err)
{
    ridge_work w;
    MYR_ASSERT(sample->row_count > 0 && values[0] >= 0);
    MYR_TRY(ridge_start(sample, scratch, &w, err));
    w.y_mean = myr_train_average(sample->y, sample->row_count);
    ridge_standardise(&w);
    if (w.used_count > 0) {
        ridge_sum(&w);
        MYR_TRY(ridge_solve(&w, values[0], err));
    }
    double intercept = w.y_mean;
    for (uint32_t j = 0, at = 0; j < sample->feature_count; j++) {
        if (w.scales[j] <= 0) continue;
        w.weights[j] = w.solved[at++] / w.scales[j];
        intercept -= w.weights[j] * w.means[j];
        if (!isfinite(w.weights[j]) || !isfinite(intercept)) {
            MYR_FAIL(err, BAD_INPUT, "ridge: the values of '%s' are too far apart to compute with",
                     sample->features[j]);
        }
    }
    myr_linear_format(sample->features, sample->feature_count, intercept, w.weights, w.means, out);
    return myr_buf_check(out, err);
}

/* ---- the two, as rows ---- */

static const myr_train_setting ridge_settings[] = {
    {.name = "lambda", .preset = 1, .min = 0, .max = 1e12},
};
const myr_train_algorithm myr_train_mean = {.name = "mean", .fit = mean_fit};
const myr_train_algorithm myr_train_ridge = {.name = "ridge",
                                             .needs_lapack = true,
                                             .settings = ridge_settings,
                                             .setting_count = MYR_COUNT_OF(ridge_settings),
                                             .fit = ridge_fit};
