/* Clocks, threads, the queue, the pool and parallel loops; also run under the thread sanitizer. */
#include "testing.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define DAY_MS 86400000LL

/* ---- clock ---- */

TEST(clocks_run)
{
    int64_t unix_ms = myr_clock_unix_ms(), mono_ns = myr_clock_mono_ns();
    EXPECT(unix_ms > 1700000000000LL);
    myr_clock_sleep_ms(5);
    EXPECT(myr_clock_mono_ns() - mono_ns >= 5000000);
    myr_clock_sleep_ms(-1);
}

TEST(a_frozen_clock_moves_by_hand)
{
    myr_clock_freeze(1000);
    int64_t mono_ns = myr_clock_mono_ns();
    EXPECT_INT(myr_clock_unix_ms(), 1000);
    myr_clock_advance_ms(250);
    myr_clock_sleep_ms(3600000); /* returns at once */
    EXPECT_INT(myr_clock_unix_ms(), 3601250);
    EXPECT_INT(myr_clock_mono_ns() - mono_ns, 3600250LL * 1000000);
    myr_clock_release();
    EXPECT(myr_clock_unix_ms() > 1700000000000LL);
}

static void expect_time(int64_t unix_ms, const char *wanted)
{
    char text[MYR_TIME_TEXT_BYTES];
    EXPECT_STR(myr_format_time(unix_ms, text), wanted);
}

TEST(times_are_rfc_3339)
{
    expect_time(0, "1970-01-01T00:00:00.000Z");
    expect_time(-1, "1969-12-31T23:59:59.999Z");
    expect_time(951782400000LL, "2000-02-29T00:00:00.000Z");
    expect_time(1795367001123LL, "2026-11-22T17:03:21.123Z");
    expect_time(-62167219200000LL, "0000-01-01T00:00:00.000Z");
    expect_time(-62167219200001LL, "0000-01-01T00:00:00.000Z"); /* the year has four digits: clamped */
    expect_time(253402300799999LL, "9999-12-31T23:59:59.999Z");
    expect_time(253402300800000LL, "9999-12-31T23:59:59.999Z");
    expect_time(INT64_MIN, "0000-01-01T00:00:00.000Z");
}

TEST(times_agree_with_the_c_library)
{
    for (int64_t day = -200000; day < 400000; day += 13) {
        time_t seconds = day * 86400 + day % 86400;
        struct tm tm;
        char wanted[MYR_TIME_TEXT_BYTES], text[MYR_TIME_TEXT_BYTES];
        EXPECT(gmtime_r(&seconds, &tm) != NULL);
        strftime(wanted, sizeof wanted, "%Y-%m-%dT%H:%M:%S.007Z", &tm);
        EXPECT_STR(myr_format_time(seconds * 1000 + 7, text), wanted);
    }
}

/* ---- threads ---- */

static void *report_mask(void *arg)
{
    sigset_t *set = arg;
    pthread_sigmask(SIG_BLOCK, NULL, set);
    return NULL;
}

TEST(threads_take_no_signals_but_faults)
{
    sigset_t set, before, after;
    sigemptyset(&set);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    myr_thread thread;
    EXPECT_RC(myr_thread_start(&thread, "a name longer than the kernel's", report_mask, &set, NULL), OK, NULL);
    myr_thread_join(thread);
    EXPECT(sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGINT) == 1 && sigismember(&set, SIGHUP) == 1);
    EXPECT(sigismember(&set, SIGBUS) == 0 && sigismember(&set, SIGSEGV) == 0);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    EXPECT_INT(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM)); /* the starter's mask is as it was */
    EXPECT(myr_cpu_count() >= 1);
}

typedef struct handshake {
    myr_mutex lock;
    myr_cond changed;
    int step;
} handshake;

static void *answer(void *arg)
{
    handshake *hand = arg;
    myr_mutex_lock(&hand->lock);
    while (hand->step != 1)
        myr_cond_wait(&hand->changed, &hand->lock);
    hand->step = 2;
    myr_cond_broadcast(&hand->changed);
    myr_mutex_unlock(&hand->lock);
    return NULL;
}

TEST(conditions_wake_and_time_out)
{
    handshake hand = {.lock = MYR_MUTEX_INIT};
    myr_cond_init(&hand.changed);
    myr_thread thread;
    EXPECT_RC(myr_thread_start(&thread, "answer", answer, &hand, NULL), OK, NULL);
    myr_mutex_lock(&hand.lock);
    hand.step = 1;
    myr_cond_signal(&hand.changed);
    while (hand.step != 2)
        EXPECT(myr_cond_wait_ms(&hand.changed, &hand.lock, INT64_MAX));
    int64_t before_ns = myr_clock_mono_ns();
    while (myr_cond_wait_ms(&hand.changed, &hand.lock, 20)) {
    }
    EXPECT(myr_clock_mono_ns() - before_ns >= 20000000);
    EXPECT(!myr_cond_wait_ms(&hand.changed, &hand.lock, -5));
    myr_mutex_unlock(&hand.lock);
    myr_thread_join(thread);
    myr_cond_fini(&hand.changed);
    myr_mutex_fini(&hand.lock);
}

/* ---- queue ---- */

TEST(a_queue_at_its_limit_and_one_past)
{
    for (size_t items_max = 1; items_max < 5; items_max++) {
        myr_queue *queue = myr_queue_new(items_max);
        int items[5];
        void *item = NULL;
        for (int round = 0; round < 3; round++) { /* the ring wraps */
            for (size_t i = 0; i < items_max; i++)
                EXPECT_RC(myr_queue_push(queue, &items[i], NULL), OK, NULL);
            myr_err err = {0};
            EXPECT_RC(myr_queue_push(queue, &items[4], &err), BUSY, &err);
            EXPECT_INT(myr_queue_count(queue), items_max);
            EXPECT(myr_queue_pop(queue, &item) && item == &items[0]);
            EXPECT_RC(myr_queue_push(queue, &items[4], &err), OK, &err);
            for (size_t i = 1; i < items_max; i++)
                EXPECT(myr_queue_pop(queue, &item) && item == &items[i]);
            EXPECT(myr_queue_pop(queue, &item) && item == &items[4]);
        }
        myr_queue_free(queue);
    }
    myr_queue_free(NULL);
}

TEST(a_closed_queue_drains)
{
    myr_queue *queue = myr_queue_new(3);
    int a;
    void *item = NULL;
    EXPECT_RC(myr_queue_push(queue, &a, NULL), OK, NULL);
    myr_queue_close(queue);
    EXPECT_RC(myr_queue_push(queue, &a, NULL), CANCELLED, NULL);
    EXPECT(myr_queue_pop(queue, &item) && item == &a);
    EXPECT(!myr_queue_pop(queue, &item) && item == &a);
    myr_queue_free(queue);
}

TEST(queue_survives_each_failed_allocation)
{
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        myr_queue *queue = myr_queue_new(10);
        if (queue != NULL) successes++;
        myr_queue_free(queue);
    }
    EXPECT_INT(successes, 1);
    EXPECT(myr_queue_new(SIZE_MAX / 2) == NULL);
}

#define QUEUE_ITEMS 20000

typedef struct traffic {
    myr_queue *queue;
    _Atomic int64_t sum;
    atomic_int popped;
} traffic;

static void *pop_all(void *arg)
{
    traffic *t = arg;
    void *item;
    while (myr_queue_pop(t->queue, &item)) {
        atomic_fetch_add(&t->sum, (intptr_t)item);
        atomic_fetch_add(&t->popped, 1);
    }
    return NULL;
}

static void *push_all(void *arg)
{
    traffic *t = arg;
    for (intptr_t i = 1; i <= QUEUE_ITEMS; i++) {
        while (myr_queue_push(t->queue, (void *)i, NULL) == MYR_BUSY)
            sched_yield();
    }
    return NULL;
}

TEST(each_item_comes_out_once)
{
    traffic t = {.queue = myr_queue_new(64)};
    myr_thread poppers[2], pushers[2];
    for (int i = 0; i < 2; i++) {
        EXPECT_RC(myr_thread_start(&poppers[i], "pop", pop_all, &t, NULL), OK, NULL);
        EXPECT_RC(myr_thread_start(&pushers[i], "push", push_all, &t, NULL), OK, NULL);
    }
    for (int i = 0; i < 2; i++)
        myr_thread_join(pushers[i]);
    myr_queue_close(t.queue);
    for (int i = 0; i < 2; i++)
        myr_thread_join(poppers[i]);
    EXPECT_INT(t.popped, 2 * QUEUE_ITEMS);
    EXPECT_INT(t.sum, (int64_t)QUEUE_ITEMS * (QUEUE_ITEMS + 1));
    myr_queue_free(t.queue);
}

/* ---- pool ---- */

static void count_job(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

typedef struct gate {
    myr_mutex lock;
    myr_cond changed;
    bool is_open;
    atomic_int entered, done;
} gate;

static void wait_at_gate(void *arg)
{
    gate *g = arg;
    atomic_fetch_add(&g->entered, 1);
    myr_mutex_lock(&g->lock);
    while (!g->is_open)
        myr_cond_wait(&g->changed, &g->lock);
    myr_mutex_unlock(&g->lock);
    atomic_fetch_add(&g->done, 1);
}

TEST(stopping_a_pool_runs_what_was_accepted)
{
    myr_pool *pool = NULL;
    EXPECT_RC(myr_pool_start("test", 3, 1000, &pool, NULL), OK, NULL);
    atomic_int count = 0;
    for (int i = 0; i < 1000; i++)
        EXPECT_RC(myr_pool_submit(pool, count_job, &count, NULL), OK, NULL);
    myr_pool_stop(pool);
    EXPECT_INT(count, 1000);
    myr_pool_stop(NULL);
}

TEST(a_pool_is_busy_one_past_its_limit)
{
    gate g = {.lock = MYR_MUTEX_INIT};
    myr_cond_init(&g.changed);
    myr_pool *pool = NULL;
    EXPECT_RC(myr_pool_start("test", 1, 2, &pool, NULL), OK, NULL);
    EXPECT_RC(myr_pool_submit(pool, wait_at_gate, &g, NULL), OK, NULL);
    while (atomic_load(&g.entered) == 0)
        myr_clock_sleep_ms(1);
    int64_t before = myr_mem_alloc_count();
    EXPECT_RC(myr_pool_submit(pool, wait_at_gate, &g, NULL), OK, NULL);
    EXPECT_RC(myr_pool_submit(pool, wait_at_gate, &g, NULL), OK, NULL);
    myr_err err = {0};
    EXPECT_RC(myr_pool_submit(pool, wait_at_gate, &g, &err), BUSY, &err);
    EXPECT_INT(myr_pool_waiting(pool), 2);
    EXPECT_INT(myr_mem_alloc_count() - before, 0); /* handing a job over allocates nothing */
    myr_mutex_lock(&g.lock);
    g.is_open = true;
    myr_cond_broadcast(&g.changed);
    myr_mutex_unlock(&g.lock);
    myr_pool_stop(pool);
    EXPECT_INT(g.done, 3);
    myr_cond_fini(&g.changed);
    myr_mutex_fini(&g.lock);
}

TEST(pool_survives_each_failed_allocation)
{
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        myr_pool *pool = NULL;
        myr_err err = {0};
        myr_rc rc = myr_pool_start("test", 2, 8, &pool, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && pool == NULL));
        if (rc == MYR_OK) successes++;
        myr_pool_stop(pool);
    }
    EXPECT_INT(successes, 1);
}

/* ---- parallel ---- */

typedef struct tally {
    atomic_int items[5000];
    atomic_int threads[MYR_PARALLEL_THREADS_MAX];
    atomic_int ran;
    size_t fail_from;
} tally;

static myr_rc tally_item(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    tally *t = ctx;
    MYR_ASSERT(thread_idx >= 0 && thread_idx < MYR_PARALLEL_THREADS_MAX && item_idx < 5000);
    atomic_fetch_add(&t->items[item_idx], 1);
    atomic_fetch_add(&t->threads[thread_idx], 1);
    atomic_fetch_add(&t->ran, 1);
    if (item_idx >= t->fail_from) MYR_FAIL(err, CONFLICT, "item %zu", item_idx);
    return MYR_OK;
}

TEST(parallel_runs_each_item_once)
{
    static const int thread_counts[] = {1, 2, 7, MYR_PARALLEL_THREADS_MAX + 1};
    static tally t;
    for (size_t k = 0; k < MYR_COUNT_OF(thread_counts); k++) {
        memset(&t, 0, sizeof t);
        t.fail_from = SIZE_MAX;
        EXPECT_RC(myr_parallel(thread_counts[k], 5000, tally_item, &t, NULL), OK, NULL);
        for (int i = 0; i < 5000; i++)
            EXPECT(t.items[i] == 1);
    }
    EXPECT_RC(myr_parallel(4, 0, tally_item, &t, NULL), OK, NULL);
    EXPECT_INT(t.ran, 5000);
}

TEST(parallel_stops_at_the_first_failure)
{
    static tally t;
    memset(&t, 0, sizeof t);
    t.fail_from = 10;
    myr_err err = {0};
    EXPECT_RC(myr_parallel(1, 5000, tally_item, &t, &err), CONFLICT, &err);
    EXPECT_STR(err.message, "item 10");
    EXPECT_INT(t.ran, 11);
    memset(&t, 0, sizeof t);
    t.fail_from = 10;
    EXPECT_RC(myr_parallel(4, 5000, tally_item, &t, &err), CONFLICT, &err);
    EXPECT_HAS(err.message, "item 1");
    EXPECT(t.ran < 5000);
    EXPECT_RC(myr_parallel(4, 5000, tally_item, &t, NULL), CONFLICT, NULL);
}

RUN()
