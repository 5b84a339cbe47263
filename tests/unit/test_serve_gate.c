/* The limit on requests that wait for compute threads: it falls when they wait too long, rises when they don't. */
#include "serve/internal.h"
#include "testing.h"

#define MS 1000000LL

static myr_server *gate_server(void)
{
    myr_server *server = myr_calloc(1, sizeof *server);
    server->opts.compute_threads = 2;
    server->opts.queue_max = 100;
    server->metrics = myr_metrics_new();
    myr_clock_freeze(1700000000000);
    myr_clock_advance_ms(1000);
    myr_serve_gate_start(&server->gate, &server->opts, server->metrics, NULL);
    return server;
}

static void gate_free(myr_server *server)
{
    EXPECT_INT(atomic_load(&server->gate.inside), 0);
    myr_metrics_free(server->metrics);
    myr_free(server);
}

static myr_rc gate_enter(myr_server *server, serve_pass *note, int64_t limit_ms, myr_err *err)
{
    *note = (serve_pass){.deadline_ns = limit_ms > 0 ? myr_clock_mono_ns() + limit_ms * MS : INT64_MAX};
    return myr_serve_gate_enter(&server->gate, note, 1, err);
}

/* Wait, run, end. */
static void gate_pass(myr_server *server, serve_pass *note, int64_t wait_ms, int64_t run_ms)
{
    myr_clock_advance_ms(wait_ms);
    myr_serve_gate_began(&server->gate, note);
    myr_clock_advance_ms(run_ms);
    myr_serve_gate_served(&server->gate, run_ms * MS);
    myr_serve_gate_leave(&server->gate, note);
}

TEST(the_limit_is_the_queue_until_requests_wait)
{
    myr_server *server = gate_server();
    serve_pass notes[103];
    myr_err err = {0};
    for (int i = 0; i < 102; i++)
        EXPECT_RC(gate_enter(server, &notes[i], 0, &err), OK, &err);
    EXPECT_RC(gate_enter(server, &notes[102], 0, &err), BUSY, &err);
    EXPECT_HAS(err.message, "102 requests wait already");
    for (int i = 0; i < 102; i++)
        myr_serve_gate_leave(&server->gate, &notes[i]);
    EXPECT_INT(myr_metric_value(server->gate.refused), 1);
    gate_free(server);
}

TEST(late_requests_cut_it_and_those_in_time_raise_it_again)
{
    myr_server *server = gate_server();
    serve_pass note;
    myr_err err = {0};
    for (int i = 0; i < 200; i++) { /* each waits 80 of its 100 ms: the limit ends at its floor, two threads and one */
        EXPECT_RC(gate_enter(server, &note, 100, &err), OK, &err);
        gate_pass(server, &note, 80, 1);
        myr_clock_advance_ms(50);
    }
    EXPECT_INT(atomic_load(&server->gate.limit), 3 * 1000);
    EXPECT_INT(myr_metric_value(server->gate.limit_gauge), 3);
    for (int i = 0; i < 10000; i++) {
        EXPECT_RC(gate_enter(server, &note, 100, &err), OK, &err);
        gate_pass(server, &note, 1, 0);
    }
    EXPECT_INT(atomic_load(&server->gate.limit), 102 * 1000);
    gate_free(server);
}

TEST(it_is_closed_while_the_threads_have_enough_to_do)
{
    myr_server *server = gate_server();
    serve_pass notes[6];
    myr_err err = {0};
    EXPECT_INT(myr_serve_gate_room(&server->gate), 5); /* two threads, one more for each, and one */
    for (int i = 0; i < 6; i++) {
        EXPECT_INT(myr_serve_gate_is_closed(&server->gate, 1), i == 5);
        EXPECT_RC(gate_enter(server, &notes[i], 0, &err), OK, &err);
    }
    EXPECT_INT(myr_serve_gate_room(&server->gate), 0);
    EXPECT(!myr_serve_gate_is_closed(&server->gate, 2)); /* a fleet of which none is inside */
    myr_serve_gate_leave(&server->gate, &notes[0]);
    EXPECT(myr_serve_gate_is_closed(&server->gate, 1));
    myr_serve_gate_leave(&server->gate, &notes[1]);
    EXPECT_INT(myr_serve_gate_room(&server->gate), 1);
    EXPECT(!myr_serve_gate_is_closed(&server->gate, 1));
    for (int i = 2; i < 6; i++)
        myr_serve_gate_leave(&server->gate, &notes[i]);
    gate_free(server);
}

TEST(a_burst_of_late_ones_cuts_once)
{
    myr_server *server = gate_server();
    serve_pass notes[10];
    myr_err err = {0};
    for (int i = 0; i < 10; i++)
        EXPECT_RC(gate_enter(server, &notes[i], 100, &err), OK, &err);
    myr_clock_advance_ms(90);
    for (int i = 0; i < 10; i++)
        gate_pass(server, &notes[i], 0, 0);
    EXPECT_INT(atomic_load(&server->gate.limit), 102 * 1000 * 9 / 10);
    gate_free(server);
}

TEST(a_fleet_that_floods_does_not_shut_out_another)
{
    myr_server *server = gate_server();
    serve_pass notes[102], others[26];
    myr_err err = {0};
    for (int i = 0; i < 102; i++)
        EXPECT_RC(gate_enter(server, &notes[i], 0, &err), OK, &err);
    EXPECT(myr_serve_gate_is_pressed(&server->gate, 1) && !myr_serve_gate_is_pressed(&server->gate, 2));
    for (int i = 0; i < 25; i++) { /* a quarter of the limit is its own */
        others[i] = (serve_pass){.deadline_ns = INT64_MAX};
        EXPECT_RC(myr_serve_gate_enter(&server->gate, &others[i], 2, &err), OK, &err);
    }
    others[25] = (serve_pass){.deadline_ns = INT64_MAX};
    EXPECT_RC(myr_serve_gate_enter(&server->gate, &others[25], 2, &err), BUSY, &err);
    for (int i = 0; i < 102; i++)
        myr_serve_gate_leave(&server->gate, &notes[i]);
    for (int i = 0; i < 26; i++)
        myr_serve_gate_leave(&server->gate, &others[i]);
    gate_free(server);
}

TEST(deadlines_that_nobody_can_meet_cut_nothing)
{
    myr_server *server = gate_server();
    serve_pass note;
    myr_err err = {0};
    for (int i = 0; i < 200; i++) {
        EXPECT_RC(gate_enter(server, &note, 1, &err), OK, &err);
        gate_pass(server, &note, 5, 0);
        myr_clock_advance_ms(200);
    }
    EXPECT_INT(atomic_load(&server->gate.limit), 102 * 1000);
    gate_free(server);
}

TEST(what_would_be_late_is_refused_at_once)
{
    myr_server *server = gate_server();
    serve_pass notes[16];
    myr_err err = {0};
    for (int i = 0; i < 40; i++) { /* one takes 20 ms */
        EXPECT_RC(gate_enter(server, &notes[0], 0, &err), OK, &err);
        gate_pass(server, &notes[0], 0, 20);
    }
    for (int i = 0; i < 10; i++) /* two threads: the tenth waits 9 * 20 / 2 = 90 ms, and runs 20 */
        EXPECT_RC(gate_enter(server, &notes[i], 120, &err), OK, &err);
    EXPECT_RC(gate_enter(server, &notes[10], 100, &err), BUSY, &err);
    EXPECT_HAS(err.message, "it would wait 9");
    EXPECT_RC(gate_enter(server, &notes[10], 0, &err), OK, &err); /* one without a deadline waits */
    EXPECT_RC(gate_enter(server, &notes[11], 1000, &err), OK, &err);
    for (int i = 0; i < 12; i++)
        myr_serve_gate_leave(&server->gate, &notes[i]);
    EXPECT_RC(gate_enter(server, &notes[0], 1, &err), OK, &err); /* nobody waits: whatever its deadline, it is tried */
    myr_serve_gate_leave(&server->gate, &notes[0]);
    gate_free(server);
}

RUN()
