/*
 * Overload: how many requests may wait for, or run on, compute threads. The limit is found, not set: additive increase,
 * multiplicative decrease (Chiu and Jain, 1989; as TCP does it), steered by the time that requests wait, not by the
 * time they take, since that depends on what they ask (as WeChat's DAGOR does it: Zhou et al., 2018). A request that
 * could not meet its deadline behind those that are there already is refused at once: a refusal now is worth more than
 * a late answer.
 *
 * Requests that loops answer themselves do not pass here: they never wait inside of us.
 */
#include "serve/internal.h"

#define GATE_UNIT        1000        /* the limit is kept in thousandths */
#define GATE_CUT_NS      100000000LL /* it is cut at most so often: one late burst is one sign */
#define GATE_SHARE       8           /* of a running average: each new value counts for an eighth */
#define GATE_TARGET_NS   50000000LL  /* longest wait that is well for requests without a deadline */
#define GATE_ROOM_NS_MIN 10000000LL  /* a wait that is well whatever a client says: else one could cut it for all */
#define GATE_FLEET_SHARE 4

void myr_serve_gate_start(serve_gate *gate, const myr_serve_opts *opts, myr_metrics *metrics, const char *labels)
{
    int64_t threads = opts->compute_threads > 0 ? opts->compute_threads : myr_cpu_count();
    gate->thread_count = threads;
    gate->limit_min = threads + 1; /* all busy, and one to go on with */
    gate->limit_max = opts->queue_max + threads;
    atomic_store(&gate->limit, gate->limit_max * GATE_UNIT);
    gate->limit_gauge = myr_metrics_series(metrics, MYR_METRIC_GAUGE, "myriad_concurrency_limit",
                                           "Requests that may wait for or run on compute threads, as found.", labels);
    gate->refused = myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_overload_refused_total",
                                       "Requests refused since they would have been late.", labels);
    myr_metric_set(gate->limit_gauge, gate->limit_max);
}

/* Of the limit, what a fleet has whatever the others do: a flood of one must not shut the others out. */
static bool gate_has_share(int64_t of_fleet, int64_t limit)
{
    return of_fleet < limit / GATE_FLEET_SHARE || of_fleet == 0;
}

int64_t myr_serve_gate_room(const serve_gate *gate)
{
    int64_t room = 2 * gate->thread_count + 1 - atomic_load(&gate->inside);
    return room > 0 ? room : 0;
}

bool myr_serve_gate_is_closed(const serve_gate *gate, uint64_t fleet_hash)
{
    int64_t of_fleet = atomic_load_explicit(&gate->of_fleet[fleet_hash % SERVE_GATE_FLEETS], memory_order_relaxed);
    return of_fleet > 0 && myr_serve_gate_room(gate) == 0;
}

myr_rc myr_serve_gate_enter(serve_gate *gate, serve_pass *pass, uint64_t fleet_hash, myr_err *err)
{
    pass->slot = (uint32_t)(fleet_hash % SERVE_GATE_FLEETS);
    int64_t inside = atomic_fetch_add(&gate->inside, 1);
    int64_t of_fleet = atomic_fetch_add(&gate->of_fleet[pass->slot], 1);
    int64_t limit = atomic_load_explicit(&gate->limit, memory_order_relaxed) / GATE_UNIT;
    int64_t now_ns = myr_clock_mono_ns();
    int64_t ahead = inside - gate->thread_count + 1; /* have to begin before this one does … */
    if (of_fleet == 0) ahead = 0;                    /* … but fleets take turns: its first waits for one of each */
    bool has_room = inside < limit || gate_has_share(of_fleet, limit);
    int64_t served_ns = atomic_load_explicit(&gate->served_ns, memory_order_relaxed);
    int64_t wait_ns = ahead > 0 ? ahead * served_ns / gate->thread_count : 0;
    bool is_late = pass->deadline_ns != INT64_MAX && wait_ns + served_ns > pass->deadline_ns - now_ns;
    if (has_room && !(ahead > 0 && is_late)) {
        pass->gated_ns = now_ns;
        return MYR_OK;
    }
    atomic_fetch_sub(&gate->of_fleet[pass->slot], 1);
    atomic_fetch_sub(&gate->inside, 1);
    myr_metric_add(gate->refused, 1);
    if (has_room) {
        MYR_FAIL(err, BUSY, "it would wait %lld ms, and be too late for its deadline: try another server, or later",
                 (long long)(wait_ns / 1000000));
    }
    MYR_FAIL(err, BUSY, "%lld requests wait already, more would be late: try another server, or later",
             (long long)inside);
}

bool myr_serve_gate_is_pressed(const serve_gate *gate, uint64_t fleet_hash)
{
    return atomic_load_explicit(&gate->of_fleet[fleet_hash % SERVE_GATE_FLEETS], memory_order_relaxed) >
           gate->thread_count;
}

/* A running average; a race between two threads loses one of their values, which is as good. */
void myr_serve_gate_served(serve_gate *gate, int64_t took_ns)
{
    _Atomic int64_t *average_ns = &gate->served_ns;
    int64_t before = atomic_load_explicit(average_ns, memory_order_relaxed);
    int64_t after = before == 0 ? took_ns : before + (took_ns - before) / GATE_SHARE;
    atomic_store_explicit(average_ns, after, memory_order_relaxed);
}

void myr_serve_gate_began(serve_gate *gate, serve_pass *pass)
{
    if (pass->gated_ns == 0 || pass->began_ns != 0) return; /* it waits once */
    int64_t now_ns = myr_clock_mono_ns(), waited_ns = now_ns - pass->gated_ns;
    int64_t room_ns = pass->deadline_ns == INT64_MAX ? GATE_TARGET_NS : (pass->deadline_ns - pass->gated_ns) / 2;
    if (room_ns < GATE_ROOM_NS_MIN) room_ns = GATE_ROOM_NS_MIN;
    int64_t limit = atomic_load_explicit(&gate->limit, memory_order_relaxed);
    pass->began_ns = now_ns;
    if (waited_ns <= room_ns) {
        int64_t more = limit + GATE_UNIT * GATE_UNIT / limit; /* by one when all of them were in time */
        limit = more < gate->limit_max * GATE_UNIT ? more : gate->limit_max * GATE_UNIT;
    } else {
        int64_t cut_ns = atomic_load_explicit(&gate->cut_ns, memory_order_relaxed);
        if (now_ns - cut_ns < GATE_CUT_NS || !atomic_compare_exchange_strong(&gate->cut_ns, &cut_ns, now_ns)) return;
        limit = limit * 9 / 10 > gate->limit_min * GATE_UNIT ? limit * 9 / 10 : gate->limit_min * GATE_UNIT;
    }
    atomic_store_explicit(&gate->limit, limit, memory_order_relaxed);
    myr_metric_set(gate->limit_gauge, limit / GATE_UNIT);
}

void myr_serve_gate_leave(serve_gate *gate, const serve_pass *pass)
{
    if (pass->gated_ns == 0) return;
    atomic_fetch_sub(&gate->of_fleet[pass->slot], 1);
    atomic_fetch_sub(&gate->inside, 1);
}
