/* Log lines as they reach standard error, and metrics as Prometheus reads them. */
#include "testing.h"

#include <fcntl.h>
#include <unistd.h>

/* Standard error goes to a file between begin and end. */
static int saved_stderr = -1;
static char capture_path[TESTING_PATH_BYTES];

static void capture_begin(void)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    EXPECT_RC(myr_path_join(capture_path, sizeof capture_path, dir, "stderr", NULL), OK, NULL);
    int fd = open(capture_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

/* The text is the caller's. */
static char *capture_end(void)
{
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    char *text = NULL;
    size_t size = 0;
    EXPECT_RC(myr_file_read(capture_path, 1 << 24, &text, &size, NULL), OK, NULL);
    return text;
}

TEST(a_line_has_time_level_and_fields)
{
    myr_clock_freeze(1795367001123LL);
    capture_begin();
    myr_log(MYR_LOG_INFO, "serve", "listening", "addr", "127.0.0.1:8080", "note", "two words", NULL);
    MYR_AUTO(myr_mem) text = capture_end();
    EXPECT_STR(text,
               "2026-11-22T17:03:21.123Z info mod=serve event=listening addr=127.0.0.1:8080 note=\"two words\"\n");
}

TEST(values_are_quoted_when_needed)
{
    myr_clock_freeze(0);
    capture_begin();
    myr_log(MYR_LOG_WARN, "m", "e", "a", "", "b", "x=y", "c", "q\"\\", "d", "l\n\r\t\x01\x7f", "e", "z\xc3\xa4", "f",
            "\xff", NULL);
    MYR_AUTO(myr_mem) text = capture_end();
    EXPECT_STR(
        text, "1970-01-01T00:00:00.000Z warn mod=m event=e a=\"\" b=\"x=y\" c=\"q\\\"\\\\\" d=\"l\\n\\r\\t\\x01\\x7f\" "
              "e=zä f=\"\\xff\"\n");
}

TEST(levels_below_are_silent)
{
    capture_begin();
    myr_log(MYR_LOG_DEBUG, "m", "hidden", NULL);
    myr_log_set_level(MYR_LOG_ERROR);
    myr_log(MYR_LOG_WARN, "m", "hidden", NULL);
    myr_log(MYR_LOG_ERROR, "m", "shown", NULL);
    myr_log_set_level(MYR_LOG_OFF);
    myr_log(MYR_LOG_ERROR, "m", "hidden", NULL);
    EXPECT(!myr_log_is_on(MYR_LOG_ERROR) && !myr_log_is_on(MYR_LOG_OFF));
    myr_log_set_level(MYR_LOG_DEBUG);
    EXPECT(myr_log_is_on(MYR_LOG_DEBUG));
    myr_log_set_level(MYR_LOG_INFO);
    MYR_AUTO(myr_mem) text = capture_end();
    EXPECT_HAS(text, "error mod=m event=shown\n");
    EXPECT(strstr(text, "hidden") == NULL);
}

TEST(an_error_is_logged_with_its_source)
{
    myr_err err = {0};
    MYR_IGNORE(myr_err_set(&err, MYR_NOT_FOUND, "/src/pack/pack.c", 12, "oj: no such fleet"));
    capture_begin();
    myr_log_err(MYR_LOG_ERROR, "serve", "reload_failed", &err);
    MYR_AUTO(myr_mem) text = capture_end();
    EXPECT_HAS(text,
               " error mod=serve event=reload_failed rc=NOT_FOUND message=\"oj: no such fleet\" source=pack.c:12\n");
}

static void log_value_of(size_t size, char fill)
{
    char *value = myr_calloc(1, size + 1);
    memset(value, fill, size);
    myr_log(MYR_LOG_INFO, "m", "e", "k", value, NULL);
    myr_free(value);
}

TEST(a_line_is_cut_one_byte_past_the_limit)
{
    myr_clock_freeze(0);
    size_t fixed = strlen("1970-01-01T00:00:00.000Z info mod=m event=e k=");
    size_t most = 4096 - strlen("…\n") - fixed; /* the cut mark's room is always kept */
    capture_begin();
    log_value_of(most, 'v');
    log_value_of(most + 1, 'v');
    log_value_of(100000, '\n');
    MYR_AUTO(myr_mem) text = capture_end();
    char *second = strchr(text, '\n') + 1, *third = strchr(second, '\n') + 1;
    EXPECT_INT(second - (char *)text, (long long)(fixed + most + 1));
    EXPECT(strncmp(third - 4, "…\n", 4) == 0);
    EXPECT(strlen(third) <= 4096 && strlen(third) > 4080);
    EXPECT_STR(third + strlen(third) - 4, "…\n");
}

TEST(a_log_line_allocates_nothing)
{
    capture_begin();
    int64_t before = myr_mem_alloc_count();
    errno = 77;
    myr_log(MYR_LOG_INFO, "m", "e", "k", "v", NULL);
    int kept = errno;
    int64_t made = myr_mem_alloc_count() - before;
    MYR_AUTO(myr_mem) text = capture_end();
    EXPECT_INT(made, 0);
    EXPECT_INT(kept, 77);
    EXPECT_HAS(text, "k=v");
}

/* ---- metrics ---- */

TEST(metrics_render_as_prometheus_text)
{
    myr_metrics *metrics = myr_metrics_new();
    myr_metric *ok = myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_requests_total", "Requests\nby \\ code.",
                                        "code=\"200\"");
    myr_metric *open = myr_metrics_series(metrics, MYR_METRIC_GAUGE, "myriad_open", "Open connections.", NULL);
    myr_metric *bad =
        myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_requests_total", "Requests.", "code=\"400\"");
    EXPECT(ok != NULL && bad != NULL && open != NULL && ok != bad);
    EXPECT(myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_requests_total", "x", "code=\"200\"") == ok);
    myr_metric_add(ok, 3);
    myr_metric_add(bad, 1);
    myr_metric_set(open, 10);
    myr_metric_add(open, -4);
    EXPECT_INT(myr_metric_value(ok), 3);
    EXPECT_INT(myr_metric_value(open), 6);
    MYR_AUTO(myr_buf) out = {0};
    myr_metrics_render(metrics, &out);
    EXPECT_STR(out.data, "# HELP myriad_requests_total Requests\\nby \\\\ code.\n# TYPE myriad_requests_total counter\n"
                         "myriad_requests_total{code=\"200\"} 3\nmyriad_requests_total{code=\"400\"} 1\n"
                         "# HELP myriad_open Open connections.\n# TYPE myriad_open gauge\nmyriad_open 6\n");
    myr_metrics_free(metrics);
}

TEST(histograms_put_limits_into_their_bucket)
{
    myr_metrics *metrics = myr_metrics_new();
    myr_metric *plain = myr_metrics_series(metrics, MYR_METRIC_HISTOGRAM, "myriad_seconds", "Time.", NULL);
    static const int64_t times_ns[] = {-5, 0, 1000, 1001, 2000, 500000000, 10000000000, 10000000001};
    for (size_t i = 0; i < MYR_COUNT_OF(times_ns); i++)
        myr_metric_observe_ns(plain, times_ns[i]);
    EXPECT_INT(myr_metric_value(plain), 8);
    myr_metric *labelled =
        myr_metrics_series(metrics, MYR_METRIC_HISTOGRAM, "myriad_seconds", "Time.", "route=\"infer\"");
    myr_metric_observe_ns(labelled, 1500000);
    MYR_AUTO(myr_buf) out = {0};
    myr_metrics_render(metrics, &out);
    EXPECT_HAS(out.data, "# TYPE myriad_seconds histogram\nmyriad_seconds_bucket{le=\"1e-06\"} 3\n"
                         "myriad_seconds_bucket{le=\"2e-06\"} 5\nmyriad_seconds_bucket{le=\"5e-06\"} 5\n");
    EXPECT_HAS(out.data, "le=\"0.2\"} 5\nmyriad_seconds_bucket{le=\"0.5\"} 6\n");
    EXPECT_HAS(out.data, "le=\"5\"} 6\nmyriad_seconds_bucket{le=\"10\"} 7\nmyriad_seconds_bucket{le=\"+Inf\"} 8\n"
                         "myriad_seconds_sum 20.500004002\nmyriad_seconds_count 8\n");
    EXPECT_HAS(out.data, "myriad_seconds_bucket{route=\"infer\",le=\"0.001\"} 0\n"
                         "myriad_seconds_bucket{route=\"infer\",le=\"0.002\"} 1\n");
    EXPECT_HAS(out.data, "myriad_seconds_sum{route=\"infer\"} 0.0015\nmyriad_seconds_count{route=\"infer\"} 1\n");
    EXPECT(strstr(strstr(out.data, "# TYPE") + 1, "# TYPE") == NULL); /* once per family */
    myr_metrics_free(metrics);
}

TEST(series_at_the_limit_and_one_past)
{
    myr_metrics *metrics = myr_metrics_new();
    char labels[32];
    for (int i = 0; i < MYR_METRIC_SERIES_MAX; i++) {
        snprintf(labels, sizeof labels, "n=\"%d\"", i);
        EXPECT(myr_metrics_series(metrics, MYR_METRIC_GAUGE, "g", "G.", labels) != NULL);
    }
    EXPECT(myr_metrics_series(metrics, MYR_METRIC_GAUGE, "g", "G.", "n=\"more\"") == NULL);
    EXPECT(myr_metrics_series(metrics, MYR_METRIC_GAUGE, "g", "G.", "n=\"0\"") != NULL); /* an old one is still found */
    myr_metrics_free(metrics);
    myr_metric_add(NULL, 1); /* a series that could not be made is ignored */
    myr_metric_set(NULL, 1);
    myr_metric_observe_ns(NULL, 1);
    EXPECT_INT(myr_metric_value(NULL), 0);
    myr_metrics_free(NULL);
}

TEST(metrics_survive_each_failed_allocation)
{
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        myr_metrics *metrics = myr_metrics_new();
        if (metrics == NULL) continue;
        myr_metric *a = myr_metrics_series(metrics, MYR_METRIC_HISTOGRAM, "h", "H.", "a=\"1\"");
        myr_metric *b = myr_metrics_series(metrics, MYR_METRIC_COUNTER, "c_total", "C.", NULL);
        myr_metric_observe_ns(a, 5);
        myr_metric_add(b, 5);
        if (a != NULL && b != NULL) successes++;
        MYR_AUTO(myr_buf) out = {0};
        myr_metrics_render(metrics, &out);
        EXPECT(out.failed || (a == NULL) == (strstr(out.data, "h_count") == NULL));
        myr_metrics_free(metrics);
    }
    EXPECT(successes >= 1);
}

static myr_rc hammer(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    myr_metrics *metrics = ctx;
    (void)thread_idx;
    char labels[32];
    snprintf(labels, sizeof labels, "n=\"%zu\"", item_idx % 10);
    myr_metric_add(myr_metrics_series(metrics, MYR_METRIC_COUNTER, "c_total", "C.", labels), 1);
    myr_metric_observe_ns(myr_metrics_series(metrics, MYR_METRIC_HISTOGRAM, "h", "H.", NULL), (int64_t)item_idx * 1000);
    if (item_idx % 50 != 0) return MYR_OK;
    MYR_AUTO(myr_buf) out = {0};
    myr_metrics_render(metrics, &out);
    return myr_buf_check(&out, err);
}

TEST(metrics_count_across_threads)
{
    myr_metrics *metrics = myr_metrics_new();
    EXPECT_RC(myr_parallel(4, 2000, hammer, metrics, NULL), OK, NULL);
    int64_t sum = 0;
    char labels[32];
    for (int i = 0; i < 10; i++) {
        snprintf(labels, sizeof labels, "n=\"%d\"", i);
        sum += myr_metric_value(myr_metrics_series(metrics, MYR_METRIC_COUNTER, "c_total", "C.", labels));
    }
    EXPECT_INT(sum, 2000);
    EXPECT_INT(myr_metric_value(myr_metrics_series(metrics, MYR_METRIC_HISTOGRAM, "h", "H.", NULL)), 2000);
    myr_metrics_free(metrics);
}

RUN()
