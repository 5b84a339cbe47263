/*
 * What is in memory: single flight, the budget, who goes first, pins, failures told again, and many threads at once.
 * TSan runs this file too: what it says of ONNX Runtime itself is not ours, so the library's inside is not looked at.
 */
#include <math.h>
#include <stdatomic.h>

#include "runtime_fixture.h"

#define WIDTH   2000 /* so that a model is some KB */
#define THREADS 8

typedef struct many {
    source_store store;
    myr_runtime *runtime;
    double number[1];
    myr_col cols[WIDTH];
    myr_err err;
} many;

static inline void many_drop(many *m)
{
    myr_runtime_release(m->runtime);
    source_store_drop(&m->store);
}

/* Models whose answer for a row of ones is WIDTH * (1 + i) + 0 + 1 + … */
static void many_start(many *m, size_t count, int64_t bytes_max)
{
    m->runtime = runtime_make(bytes_max);
    m->number[0] = 1;
    for (size_t c = 0; c < WIDTH; c++)
        m->cols[c] = (myr_col){.name = "c", .type = MYR_COL_DOUBLE, .data.f64 = m->number};
    for (size_t i = 0; i < count; i++) {
        myr_buf bytes = {0};
        onnx_dot(&bytes, WIDTH, (float)i);
        source_add(&m->store, &bytes, WIDTH, NULL, 1);
    }
}

static double many_wanted(size_t i)
{
    return (double)WIDTH * (double)i + (double)WIDTH * (WIDTH - 1) / 2;
}

static bool many_is_right(double value, size_t i)
{
    return fabs(value - many_wanted(i)) < 1e-3 * many_wanted(i) + 1; /* floats are summed */
}

static myr_rc many_score(many *m, size_t i, double *out, myr_err *err)
{
    uint8_t is_bad = 0;
    double *values[] = {out};
    return runtime_score(m->runtime, &m->store, &m->store.models[i], m->cols, 1, values, &is_bad, err);
}

static void many_expect(many *m, size_t i)
{
    double value = 0;
    EXPECT_RC(many_score(m, i, &value, &m->err), OK, &m->err);
    EXPECT(many_is_right(value, i));
}

static myr_runtime_stats many_stats(const many *m)
{
    myr_runtime_stats stats;
    myr_runtime_get_stats(m->runtime, &stats);
    return stats;
}

/* How much one of the models is measured to take. */
static int64_t many_one_bytes(void)
{
    many m = {0};
    many_start(&m, 1, 0);
    many_expect(&m, 0);
    int64_t bytes = many_stats(&m).bytes;
    many_drop(&m);
    return bytes;
}

TEST(a_session_is_measured_and_given_back)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(many) m = {0};
    many_start(&m, 3, 0);
    int64_t before = 0;
    for (size_t i = 0; i < 3; i++) {
        many_expect(&m, i);
        myr_runtime_stats stats = many_stats(&m);
        EXPECT_INT(stats.sessions, (int64_t)i + 1);
        EXPECT(stats.bytes - before >= (int64_t)(WIDTH * sizeof(float))); /* its weights at least */
        EXPECT(stats.bytes - before < 16 << 20);
        before = stats.bytes;
    }
    EXPECT_INT(many_stats(&m).loads, 3);
}

TEST(three_times_the_budget_is_answered)
{
    if (!runtime_is_here()) skip();
    int64_t one = many_one_bytes();
    MYR_AUTO(many) m = {0};
    many_start(&m, 12, one * 4 + one / 2 > 1 << 20 ? one * 4 + one / 2 : 1 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 12; i++) {
            many_expect(&m, i);
            EXPECT(many_stats(&m).bytes <= many_stats(&m).bytes_max);
        }
    }
}

TEST(the_least_recently_used_goes_first)
{
    if (!runtime_is_here()) skip();
    int64_t one = many_one_bytes();
    MYR_AUTO(many) m = {0};
    many_start(&m, 4, one * 3 + one / 2); /* three fit */
    many_expect(&m, 0);
    many_expect(&m, 1);
    many_expect(&m, 2);
    many_expect(&m, 0);
    EXPECT_INT(many_stats(&m).evictions, 0);
    many_expect(&m, 3); /* 1 goes */
    EXPECT_INT(many_stats(&m).evictions, 1);
    many_expect(&m, 0);
    many_expect(&m, 2);
    EXPECT_INT(many_stats(&m).loads, 4);
    many_expect(&m, 1);
    EXPECT_INT(many_stats(&m).loads, 5);
    EXPECT_INT(many_stats(&m).reloads, 1);
}

/* Nine in turn where three fit: the least recently used would be loaded each time. */
TEST(under_churn_some_models_stay)
{
    if (!runtime_is_here()) skip();
    int64_t one = many_one_bytes();
    MYR_AUTO(many) m = {0};
    many_start(&m, 9, one * 3 + one / 2);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 9; i++)
            many_expect(&m, i);
    }
    myr_runtime_stats stats = many_stats(&m);
    print_message("loads under churn: %lld of %d asked\n", (long long)stats.loads, 20 * 9);
    EXPECT(stats.loads < 20 * 9 * 9 / 10);
    /* and what is asked for alone after that is there soon */
    for (int i = 0; i < 30; i++) {
        many_expect(&m, 7);
        many_expect(&m, 8);
    }
    EXPECT(many_stats(&m).loads - stats.loads <= 2);
}

TEST(what_is_pinned_stays)
{
    if (!runtime_is_here()) skip();
    int64_t one = many_one_bytes();
    MYR_AUTO(many) m = {0};
    many_start(&m, 4, one * 2 + one / 2);
    const myr_runtime_source source = {.ctx = &m.store, .load = source_load};
    EXPECT_RC(myr_runtime_pin(m.runtime, &source, m.store.models[0].hex, WIDTH, &m.err), OK, &m.err);
    for (size_t i = 1; i < 4; i++)
        many_expect(&m, i);
    EXPECT_INT(m.store.models[0].loads, 1);
    many_expect(&m, 0);
    EXPECT_INT(m.store.models[0].loads, 1);
    myr_runtime_unpin(m.runtime, m.store.models[0].hex);
    many_expect(&m, 1);
    many_expect(&m, 2);
    many_expect(&m, 0);
    EXPECT_INT(m.store.models[0].loads, 2);
}

TEST(a_model_larger_than_the_budget_is_refused_by_both_numbers)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(many) m = {0};
    myr_buf bytes = {0};
    double value = 0;
    many_start(&m, 1, 1 << 20);
    onnx_dot(&bytes, MYR_FEATURES_MAX, 1);
    while (bytes.size < 2 << 20) /* an unknown field: bytes that are the file's, and nothing else */
        onnx_text(&bytes, 30, "0123456789012345678901234567890123456789012345678901234567890123456789");
    source_model *model = source_add(&m.store, &bytes, MYR_FEATURES_MAX, NULL, 1);
    double *values[] = {&value};
    uint8_t is_bad = 0;
    EXPECT_RC(runtime_score(m.runtime, &m.store, model, m.cols, 1, values, &is_bad, &m.err), TOO_LARGE, &m.err);
    EXPECT_HAS(m.err.message, "runtime.onnx.bytes-max");
    many_expect(&m, 0); /* others are answered */
}

TEST(a_failure_is_told_again_for_a_while_and_then_tried)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(many) m = {0};
    double value = 0;
    many_start(&m, 1, 0);
    myr_clock_freeze(1000);
    m.store.fails = MYR_IO;
    EXPECT_RC(many_score(&m, 0, &value, &m.err), IO, &m.err);
    EXPECT_HAS(m.err.message, "the source says no");
    m.store.fails = MYR_OK;
    myr_clock_advance_ms(4000);
    EXPECT_RC(many_score(&m, 0, &value, &m.err), IO, &m.err);
    EXPECT_INT(m.store.models[0].loads, 1);
    myr_clock_advance_ms(2000);
    many_expect(&m, 0);
    EXPECT_INT(m.store.models[0].loads, 2);
    EXPECT_INT(many_stats(&m).failures, 1);
}

/* ---- threads ---- */

typedef struct worker {
    many *m;
    size_t first;
    int rounds;
    int wrong;
    int failed; /* calls that gave the source's error */
    myr_thread thread;
} worker;

static _Atomic int workers_ready;

static void *worker_body(void *arg)
{
    worker *w = arg;
    atomic_fetch_add(&workers_ready, 1);
    while (atomic_load(&workers_ready) < THREADS)
        myr_clock_sleep_ms(1);
    for (int round = 0; round < w->rounds; round++) {
        size_t i = (w->first + (size_t)round * 5) % w->m->store.count;
        double value = 0;
        myr_err err = {0};
        myr_rc rc = many_score(w->m, i, &value, &err);
        if (rc == MYR_IO && strcmp(err.message, "the source says no") == 0) {
            w->failed++;
        } else if (rc != MYR_OK || !many_is_right(value, i)) {
            w->wrong++;
        }
    }
    return NULL;
}

static void workers_run(many *m, worker *workers, int rounds, size_t spread)
{
    myr_err err = {0};
    atomic_store(&workers_ready, 0);
    for (size_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){.m = m, .first = i * spread, .rounds = rounds};
        EXPECT_RC(myr_thread_start(&workers[i].thread, "worker", worker_body, &workers[i], &err), OK, &err);
    }
    for (size_t i = 0; i < THREADS; i++)
        myr_thread_join(workers[i].thread);
}

TEST(many_threads_load_a_model_once)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(many) m = {0};
    worker workers[THREADS];
    many_start(&m, 1, 0);
    m.store.delay_ms = 100; /* all of them come while it is being loaded */
    workers_run(&m, workers, 1, 0);
    EXPECT_INT(m.store.models[0].loads, 1);
    for (size_t i = 0; i < THREADS; i++)
        EXPECT_INT(workers[i].wrong, 0);
}

/* Who may not wait so long is told to come again; the load goes on, and so do those who may. */
TEST(a_load_is_not_waited_for_past_its_time)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(many) m = {0};
    worker w = {.m = &m, .rounds = 1};
    double value = 0;
    many_start(&m, 1, 0);
    m.store.delay_ms = 800;
    atomic_store(&workers_ready, THREADS);
    EXPECT_RC(myr_thread_start(&w.thread, "worker", worker_body, &w, &m.err), OK, &m.err);
    while (atomic_load(&m.store.begun) == 0)
        myr_clock_sleep_ms(1);
    int64_t start_ns = myr_clock_mono_ns();
    runtime_until_ns = start_ns + 60000000;
    EXPECT_RC(many_score(&m, 0, &value, &m.err), BUSY, &m.err);
    EXPECT_HAS(m.err.message, "still being loaded");
    EXPECT(myr_clock_mono_ns() - start_ns < 600000000);
    runtime_until_ns = 1; /* passed long ago */
    EXPECT_RC(many_score(&m, 0, &value, &m.err), BUSY, &m.err);
    runtime_until_ns = 0;
    many_expect(&m, 0);
    runtime_until_ns = 1; /* it is there: nothing is waited for */
    many_expect(&m, 0);
    runtime_until_ns = 0;
    myr_thread_join(w.thread);
    EXPECT_INT(w.wrong, 0);
    EXPECT_INT(m.store.models[0].loads, 1);
}

TEST(each_waiter_is_told_the_failure)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(many) m = {0};
    worker workers[THREADS];
    many_start(&m, 1, 0);
    m.store.delay_ms = 100;
    m.store.fails = MYR_IO;
    workers_run(&m, workers, 1, 0);
    EXPECT_INT(m.store.models[0].loads, 1);
    for (size_t i = 0; i < THREADS; i++)
        EXPECT_INT(workers[i].failed, 1);
}

/* Sixteen models in turn on eight threads where three fit: each answer is right, nothing in use is unloaded. */
TEST(threads_and_evictions)
{
    if (!runtime_is_here()) skip();
    int64_t one = many_one_bytes();
    MYR_AUTO(many) m = {0};
    worker workers[THREADS];
    many_start(&m, 16, one * 3 + one / 2);
    workers_run(&m, workers, 60, 2);
    for (size_t i = 0; i < THREADS; i++) {
        EXPECT_INT(workers[i].wrong, 0);
        EXPECT_INT(workers[i].failed, 0);
    }
    EXPECT(many_stats(&m).evictions > 0);
    EXPECT(many_stats(&m).bytes <= many_stats(&m).bytes_max);
}

RUN()
