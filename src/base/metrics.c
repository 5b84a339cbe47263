/*
 * Metrics: series lie in a fixed table and are only ever added, under a lock; the count is published last, so that
 * rendering and updating need no lock. A series is a few atomics.
 */
#include "base/metrics.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"

#define METRIC_BUCKETS  22 /* 1-2-5 from 1 us to 10 s */
#define METRIC_NS_PER_S 1e9

static const int64_t METRIC_BOUNDS_NS[METRIC_BUCKETS] = {
    1000,      2000,      5000,       10000,      20000,      50000,       100000,   200000,
    500000,    1000000,   2000000,    5000000,    10000000,   20000000,    50000000, 100000000,
    200000000, 500000000, 1000000000, 2000000000, 5000000000, 10000000000,
};

/* Its own memory, so that only histograms pay for it. */
typedef struct metric_histogram {
    _Atomic int64_t buckets[METRIC_BUCKETS + 1]; /* each on its own, not summed up; the last is what is slower */
    _Atomic int64_t sum_ns;
} metric_histogram;

struct myr_metric {
    myr_metric_type type;
    bool is_first; /* of its family: HELP and TYPE are written before it */
    char *name;
    char *help;
    char *labels; /* "" = none */
    _Atomic int64_t value;
    metric_histogram *histogram; /* NULL for the other types */
};

struct myr_metrics {
    myr_mutex lock; /* guards adding */
    atomic_size_t count;
    myr_metric *series[MYR_METRIC_SERIES_MAX]; /* written before count says so */
};

myr_metrics *myr_metrics_new(void)
{
    myr_metrics *metrics = myr_calloc(1, sizeof *metrics);
    if (metrics != NULL) myr_mutex_init(&metrics->lock);
    return metrics;
}

static void metric_free(myr_metric *metric)
{
    if (metric == NULL) return;
    myr_free(metric->name);
    myr_free(metric->help);
    myr_free(metric->labels);
    myr_free(metric->histogram);
    myr_free(metric);
}

void myr_metrics_free(myr_metrics *metrics)
{
    if (metrics == NULL) return;
    size_t count = atomic_load(&metrics->count);
    for (size_t i = 0; i < count; i++)
        metric_free(metrics->series[i]);
    myr_mutex_fini(&metrics->lock);
    myr_free(metrics);
}

/* ---- making series ---- */

/* Names are written by us: a bad one is our bug. */
static bool metric_name_is_valid(myr_metric_type type, const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (*c != '_' && (*c < 'a' || *c > 'z')) return false;
    }
    bool is_total = myr_str_ends_with(myr_str_of(name), "_total");
    return name[0] != '\0' && is_total == (type == MYR_METRIC_COUNTER);
}

static myr_metric *metric_new(myr_metric_type type, const char *name, const char *help, const char *labels)
{
    myr_metric *metric = myr_calloc(1, sizeof *metric);
    if (metric == NULL) return NULL;
    metric->type = type;
    metric->name = myr_strdup(name);
    metric->help = myr_strdup(help);
    metric->labels = myr_strdup(labels);
    if (type == MYR_METRIC_HISTOGRAM) metric->histogram = myr_calloc(1, sizeof *metric->histogram);
    bool is_whole = metric->name != NULL && metric->help != NULL && metric->labels != NULL &&
                    (type != MYR_METRIC_HISTOGRAM || metric->histogram != NULL);
    if (!is_whole) {
        metric_free(metric);
        return NULL;
    }
    return metric;
}

/* Under the lock: the series that exists, or a new one at the end of the table. */
static myr_metric *metrics_find_or_add(myr_metrics *metrics, myr_metric_type type, const char *name, const char *help,
                                       const char *labels)
{
    size_t count = atomic_load(&metrics->count);
    bool is_first = true;
    for (size_t i = 0; i < count; i++) {
        myr_metric *other = metrics->series[i];
        if (strcmp(other->name, name) != 0) continue;
        MYR_ASSERT(other->type == type); /* a family has one type */
        if (strcmp(other->labels, labels) == 0) return other;
        is_first = false;
    }
    if (count == MYR_METRIC_SERIES_MAX) return NULL;
    myr_metric *metric = metric_new(type, name, help, labels);
    if (metric == NULL) return NULL;
    metric->is_first = is_first;
    metrics->series[count] = metric;
    atomic_store_explicit(&metrics->count, count + 1, memory_order_release);
    return metric;
}

myr_metric *myr_metrics_series(myr_metrics *metrics, myr_metric_type type, const char *name, const char *help,
                               const char *labels)
{
    MYR_ASSERT(metric_name_is_valid(type, name) && help != NULL);
    myr_mutex_lock(&metrics->lock);
    myr_metric *metric = metrics_find_or_add(metrics, type, name, help, labels != NULL ? labels : "");
    myr_mutex_unlock(&metrics->lock);
    return metric;
}

/* ---- updating ---- */

void myr_metric_add(myr_metric *metric, int64_t amount)
{
    if (metric == NULL) return;
    MYR_ASSERT(metric->type == MYR_METRIC_GAUGE || (metric->type == MYR_METRIC_COUNTER && amount >= 0));
    atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

void myr_metric_set(myr_metric *metric, int64_t value)
{
    if (metric == NULL) return;
    MYR_ASSERT(metric->type == MYR_METRIC_GAUGE);
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void myr_metric_observe_ns(myr_metric *metric, int64_t duration_ns)
{
    if (metric == NULL) return;
    MYR_ASSERT(metric->type == MYR_METRIC_HISTOGRAM);
    if (duration_ns < 0) duration_ns = 0;
    size_t bucket = 0;
    while (bucket < METRIC_BUCKETS && duration_ns > METRIC_BOUNDS_NS[bucket])
        bucket++;
    atomic_fetch_add_explicit(&metric->histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->histogram->sum_ns, duration_ns, memory_order_relaxed);
}

int64_t myr_metric_value(const myr_metric *metric)
{
    if (metric == NULL) return 0;
    if (metric->type != MYR_METRIC_HISTOGRAM) return atomic_load_explicit(&metric->value, memory_order_relaxed);
    int64_t count = 0;
    for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
        count += atomic_load_explicit(&metric->histogram->buckets[i], memory_order_relaxed);
    }
    return count;
}

/* ---- rendering ---- */

static void metric_render_head(const myr_metric *metric, myr_buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    myr_buf_printf(out, "# HELP %s ", metric->name);
    for (const char *c = metric->help; *c != '\0'; c++) {
        if (*c == '\n') {
            myr_buf_puts(out, "\\n");
        } else if (*c == '\\') {
            myr_buf_puts(out, "\\\\");
        } else {
            myr_buf_putc(out, *c);
        }
    }
    myr_buf_printf(out, "\n# TYPE %s %s\n", metric->name, types[metric->type]);
}

/* name<suffix>{labels} and the blank before the value. */
static void metric_render_name(const myr_metric *metric, const char *suffix, myr_buf *out)
{
    myr_buf_puts(out, metric->name);
    myr_buf_puts(out, suffix);
    if (metric->labels[0] != '\0') {
        myr_buf_putc(out, '{');
        myr_buf_puts(out, metric->labels);
        myr_buf_putc(out, '}');
    }
    myr_buf_putc(out, ' ');
}

/* The count is the sum of the buckets that were read, so that a scrape in the middle of updates agrees with itself. */
static void metric_render_histogram(const myr_metric *metric, myr_buf *out)
{
    int64_t count = 0;
    for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
        count += atomic_load_explicit(&metric->histogram->buckets[i], memory_order_relaxed);
        const char *comma = metric->labels[0] != '\0' ? "," : "";
        myr_buf_puts(out, metric->name);
        myr_buf_puts(out, "_bucket{");
        myr_buf_puts(out, metric->labels);
        myr_buf_puts(out, comma);
        myr_buf_puts(out, "le=\"");
        if (i < METRIC_BUCKETS) {
            myr_buf_double(out, (double)METRIC_BOUNDS_NS[i] / METRIC_NS_PER_S);
        } else {
            myr_buf_puts(out, "+Inf");
        }
        myr_buf_printf(out, "\"} %lld\n", (long long)count);
    }
    int64_t sum_ns = atomic_load_explicit(&metric->histogram->sum_ns, memory_order_relaxed);
    metric_render_name(metric, "_sum", out);
    myr_buf_double(out, (double)sum_ns / METRIC_NS_PER_S);
    myr_buf_putc(out, '\n');
    metric_render_name(metric, "_count", out);
    myr_buf_printf(out, "%lld\n", (long long)count);
}

static void metric_render(const myr_metric *metric, myr_buf *out)
{
    if (metric->type == MYR_METRIC_HISTOGRAM) {
        metric_render_histogram(metric, out);
        return;
    }
    metric_render_name(metric, "", out);
    myr_buf_printf(out, "%lld\n", (long long)atomic_load_explicit(&metric->value, memory_order_relaxed));
}

void myr_metrics_render(const myr_metrics *metrics, myr_buf *out)
{
    size_t count = atomic_load_explicit(&metrics->count, memory_order_acquire);
    MYR_ASSERT(count <= MYR_METRIC_SERIES_MAX);
    for (size_t i = 0; i < count; i++) {
        const myr_metric *first = metrics->series[i];
        if (!first->is_first) continue;
        metric_render_head(first, out);
        for (size_t j = i; j < count; j++) { /* the format wants a family in one piece */
            if (strcmp(metrics->series[j]->name, first->name) == 0) metric_render(metrics->series[j], out);
        }
    }
}
