/* Anomalies: values far from the median, measured in robust deviations, which a few wild values cannot move. */
#include <math.h>
#include <stdlib.h>

#include "train/internal.h"

/* The MAD of a normal distribution times this is its standard deviation. */
#define CLEAN_MAD_SCALE 1.4826

static int clean_compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double clean_median(double *values, uint32_t count)
{
    MYR_ASSERT(count > 0);
    qsort(values, count, sizeof *values, clean_compare);
    return count % 2 == 1 ? values[count / 2] : values[count / 2 - 1] / 2 + values[count / 2] / 2;
}

uint32_t myr_train_clean(const double *target, double limit, double max_share, uint32_t *rows, uint32_t count,
                         double *sorted)
{
    MYR_ASSERT(limit > 0 && max_share >= 0);
    if (count == 0) return 0;
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = target[rows[i]];
    double median = clean_median(sorted, count);
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = fabs(target[rows[i]] - median);
    double bound = limit * CLEAN_MAD_SCALE * clean_median(sorted, count);
    uint32_t far = 0;
    for (uint32_t i = 0; i < count; i++)
        far += fabs(target[rows[i]] - median) > bound;
    if (bound <= 0 || far > max_share * count) return count;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (fabs(target[rows[i]] - median) <= bound) rows[kept++] = rows[i];
    }
    MYR_ASSERT(kept + far == count);
    return kept;
}
