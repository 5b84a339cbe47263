/* What tests of online share: a place for a database, and waiting for `done`. */
#ifndef MYR_TESTS_ONLINE_FIXTURE_H
#define MYR_TESTS_ONLINE_FIXTURE_H

#include "testing.h"

#include "online/online.h"

#define FAR_NS (INT64_MAX / 2)

TESTING_UNUSED static int64_t in_ms(int64_t ms)
{
    return myr_clock_mono_ns() + ms * 1000000;
}

/* What `done` tells a test that waits. */
typedef struct waiter {
    myr_mutex lock;
    myr_cond changed;
    int count;
} waiter;

TESTING_UNUSED static void waiter_init(waiter *w)
{
    w->count = 0;
    myr_mutex_init(&w->lock);
    myr_cond_init(&w->changed);
}

TESTING_UNUSED static void waiter_done(void *ctx)
{
    waiter *w = ctx;
    myr_mutex_lock(&w->lock);
    w->count++;
    myr_cond_broadcast(&w->changed);
    myr_mutex_unlock(&w->lock);
}

TESTING_UNUSED static void waiter_wait(waiter *w, int count)
{
    myr_mutex_lock(&w->lock);
    while (w->count < count)
        myr_cond_wait(&w->changed, &w->lock);
    int there = w->count;
    myr_mutex_unlock(&w->lock);
    EXPECT_INT(there, count);
}

TESTING_UNUSED static void make_uri(char uri[TESTING_PATH_BYTES + 16])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    snprintf(uri, TESTING_PATH_BYTES + 16, "sqlite:%.200s/f.db", dir);
}

#endif
