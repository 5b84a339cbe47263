/*
 * What both listeners, REST's and gRPC's, do alike about their threads: how many there are, and waiting at the end
 * until what they do is done.
 */
#include "net/internal.h"

#define THREADS_LOOK_MS 5

static int threads_resolve(int asked, int count_max)
{
    int count = asked > 0 ? asked : myr_cpu_count();
    return count < count_max ? count : count_max;
}

myr_rc myr_net_threads_resolve(int *loop_count, int *compute_count, myr_err *err)
{
    if (*loop_count < 0 || *loop_count > MYR_HTTP_LOOPS_MAX) {
        MYR_FAIL(err, BAD_USAGE, "%d loops: 0 (one per processor) to %d", *loop_count, MYR_HTTP_LOOPS_MAX);
    }
    if (*compute_count < 0 || *compute_count > MYR_HTTP_COMPUTES_MAX) {
        MYR_FAIL(err, BAD_USAGE, "%d compute threads: 0 (one per processor) to %d", *compute_count,
                 MYR_HTTP_COMPUTES_MAX);
    }
    *loop_count = threads_resolve(*loop_count, MYR_HTTP_LOOPS_MAX);
    *compute_count = threads_resolve(*compute_count, MYR_HTTP_COMPUTES_MAX);
    return MYR_OK;
}

void myr_net_wait_zero(const _Atomic int64_t *counter, int64_t deadline_ns)
{
    while (atomic_load(counter) > 0 && myr_clock_mono_ns() < deadline_ns)
        myr_clock_sleep_ms(THREADS_LOOK_MS);
}
