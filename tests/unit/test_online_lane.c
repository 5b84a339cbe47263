/* Tests of online's lanes: who is waited for before a batch begins, and who is not. */
#include "online_fixture.h"

#include "online/lane.h"

#define BATCHES_MAX 16

/* A lane's work that stops at a gate, and notes how many jobs came together. */
typedef struct gate {
    myr_mutex lock;
    myr_cond changed;
    bool is_closed;
    int batch_count;
    size_t batches[BATCHES_MAX];
} gate;

static void *gate_open_state(void *ctx)
{
    return ctx;
}

static void gate_close_state(void *state)
{
    (void)state;
}

static void gate_work(void *state, lane_job **jobs, size_t count)
{
    gate *g = state;
    (void)jobs;
    myr_mutex_lock(&g->lock);
    if (g->batch_count < BATCHES_MAX) g->batches[g->batch_count] = count;
    g->batch_count++;
    myr_cond_broadcast(&g->changed);
    while (g->is_closed)
        myr_cond_wait(&g->changed, &g->lock);
    myr_mutex_unlock(&g->lock);
}

static void gate_set(gate *g, bool is_closed)
{
    myr_mutex_lock(&g->lock);
    g->is_closed = is_closed;
    myr_cond_broadcast(&g->changed);
    myr_mutex_unlock(&g->lock);
}

static void gate_wait(gate *g, int batch_count)
{
    myr_mutex_lock(&g->lock);
    while (g->batch_count < batch_count)
        myr_cond_wait(&g->changed, &g->lock);
    myr_mutex_unlock(&g->lock);
}

static online_lane *lane_of(gate *g, int64_t gather_us)
{
    online_lane *lane = NULL;
    myr_err err = {0};
    *g = (gate){.is_closed = false};
    myr_mutex_init(&g->lock);
    myr_cond_init(&g->changed);
    lane_opts opts = {.name = "gate",
                      .thread_count = 1,
                      .job_max = 32,
                      .job_bytes = sizeof(lane_job),
                      .open = gate_open_state,
                      .close = gate_close_state,
                      .work = gate_work,
                      .gather_us = gather_us,
                      .ctx = g};
    EXPECT_RC(myr_lane_start(&opts, &lane, &err), OK, &err);
    return lane;
}

static void submit(online_lane *lane, int count, waiter *w, lane_job **jobs)
{
    myr_err err = {0};
    for (int i = 0; i < count; i++) {
        EXPECT_RC(myr_lane_take(lane, &jobs[i], &err), OK, &err);
        myr_lane_submit(jobs[i], FAR_NS, waiter_done, w);
    }
}

static void give(lane_job **jobs, int count)
{
    for (int i = 0; i < count; i++)
        myr_lane_give(jobs[i]);
}

#define LONG_US 60000000 /* a test that waits for it is seen */

/* One in the work, and `count` more before it ends. */
static void come_together(online_lane *lane, gate *g, int count, waiter *w, lane_job **jobs)
{
    int before = g->batch_count; /* the lane is idle */
    gate_set(g, true);
    submit(lane, 1, w, jobs);
    gate_wait(g, before + 1);
    submit(lane, count, w, jobs + 1);
    gate_set(g, false);
}

TEST(who_is_alone_is_not_kept_waiting)
{
    gate g;
    waiter w;
    lane_job *jobs[3];
    online_lane *lane = lane_of(&g, LONG_US);
    waiter_init(&w);
    for (int i = 0; i < 3; i++) {
        submit(lane, 1, &w, jobs + i);
        waiter_wait(&w, i + 1);
    }
    EXPECT_INT(g.batch_count, 3);
    give(jobs, 3);
    myr_lane_stop(lane);
}

/* Asks again as soon as it is told, as a client on another processor may: before the thread looks for more. */
typedef struct again {
    online_lane *lane;
    lane_job *jobs[4];
    int count;
    waiter *w;
} again;

static void again_done(void *ctx)
{
    again *a = ctx;
    if (++a->count < 4) {
        myr_lane_submit(a->jobs[a->count], FAR_NS, again_done, a);
    } else {
        waiter_done(a->w);
    }
}

TEST(who_is_alone_and_quick_is_not_kept_waiting)
{
    gate g;
    waiter w;
    myr_err err = {0};
    again a = {.lane = lane_of(&g, LONG_US), .w = &w};
    waiter_init(&w);
    for (int i = 0; i < 4; i++)
        EXPECT_RC(myr_lane_take(a.lane, &a.jobs[i], &err), OK, &err);
    int64_t start_ns = myr_clock_mono_ns();
    myr_lane_submit(a.jobs[0], FAR_NS, again_done, &a);
    waiter_wait(&w, 1);
    EXPECT(myr_clock_mono_ns() - start_ns < LONG_US * 500LL);
    EXPECT_INT(g.batch_count, 4);
    give(a.jobs, 4);
    myr_lane_stop(a.lane);
}

TEST(those_who_came_together_are_waited_for)
{
    gate g;
    waiter w;
    lane_job *jobs[12];
    online_lane *lane = lane_of(&g, LONG_US);
    waiter_init(&w);
    come_together(lane, &g, 3, &w, jobs); /* four of them: */
    waiter_wait(&w, 1);
    submit(lane, 1, &w, jobs + 4);
    waiter_wait(&w, 5);
    submit(lane, 3, &w, jobs + 5); /* the next four are one batch, however they come */
    submit(lane, 1, &w, jobs + 8);
    waiter_wait(&w, 9);
    EXPECT_INT(g.batch_count, 3);
    EXPECT_INT(g.batches[1], 4);
    EXPECT_INT(g.batches[2], 4);
    give(jobs, 9);
    myr_lane_stop(lane);
}

TEST(nobody_is_waited_for_long)
{
    gate g;
    waiter w;
    lane_job *jobs[8];
    online_lane *lane = lane_of(&g, 1000);
    waiter_init(&w);
    come_together(lane, &g, 3, &w, jobs); /* the fourth does not come again */
    waiter_wait(&w, 4);
    submit(lane, 1, &w, jobs + 4); /* nor do the others */
    waiter_wait(&w, 5);
    EXPECT_INT(g.batches[1], 3);
    EXPECT_INT(g.batches[2], 1);
    give(jobs, 5);
    myr_lane_stop(lane);
}

TEST(who_waits_for_others_is_done_before_the_lane_stops)
{
    gate g;
    waiter w;
    lane_job *jobs[4];
    online_lane *lane = lane_of(&g, LONG_US);
    waiter_init(&w);
    come_together(lane, &g, 2, &w, jobs);
    waiter_wait(&w, 1);
    give(jobs, 3);
    myr_lane_stop(lane);
    waiter_wait(&w, 3);
    EXPECT_INT(g.batches[1], 2);
}

RUN()
