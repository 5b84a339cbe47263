/*
 * Metrics in Prometheus' text form: counters, gauges, histograms. A family and its series are made once at start-up and
 * then updated with atomics: no lock, no allocation. Series are few by design (per service and group, never per model).
 * Thread: updates from any; rendering from any.
 */
#ifndef MYR_BASE_METRICS_H
#define MYR_BASE_METRICS_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

typedef struct myr_metrics myr_metrics;
typedef struct myr_metric myr_metric;
typedef enum myr_metric_type { MYR_METRIC_COUNTER, MYR_METRIC_GAUGE, MYR_METRIC_HISTOGRAM } myr_metric_type;

#define MYR_METRIC_SERIES_MAX 4096

myr_metrics *myr_metrics_new(void);
void myr_metrics_free(myr_metrics *metrics);
/*
 * One series. name: [a-z_]+ (a counter ends in _total); labels: "route=\"infer\",code=\"200\"" or NULL.
 * The same name and labels give the same series. NULL: no memory or more than MYR_METRIC_SERIES_MAX.
 */
myr_metric *myr_metrics_series(myr_metrics *metrics, myr_metric_type type, const char *name, const char *help,
                               const char *labels);
void myr_metric_add(myr_metric *metric, int64_t amount); /* NULL accepted */
void myr_metric_set(myr_metric *metric, int64_t value);
void myr_metric_observe_ns(myr_metric *metric,
                           int64_t duration_ns); /* histogram in seconds, 1-2-5 buckets from 1 us to 10 s */
int64_t myr_metric_value(const myr_metric *metric);
void myr_metrics_render(const myr_metrics *metrics, myr_buf *out);

#endif
