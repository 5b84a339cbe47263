/* Many threads run one script: each row has its own state, and what it left is not there for the next. */
#include "script_fixture.h"

#define THREADS 4
#define ROUNDS  2000

static const char text[] = "local n = 0\n"
                           "function init() floor = {red = 100, blue = 200} end\n"
                           "function run(row, p) n = n + 1; return n + floor[row.kind] end";

typedef struct worker {
    myr_script *script;
    script_bench bench;
    int wrong;
} worker;

static void *worker_body(void *arg)
{
    worker *w = arg;
    for (int i = 0; i < ROUNDS; i++) {
        myr_script_state *state;
        myr_script_answer answer;
        if (myr_script_acquire(w->script, &state, NULL) != MYR_OK) {
            w->wrong++;
            continue;
        }
        w->bench.row.row_idx = i % 2;
        if (myr_script_run(state, &w->bench.row, &answer, NULL) != MYR_OK) w->wrong++;
        if (w->bench.cells[0][i % 2] != (i % 2 == 0 ? 101 : 201)) w->wrong++;
        myr_script_release(state);
    }
    return NULL;
}

TEST(threads_share_a_script)
{
    static worker workers[THREADS];
    myr_thread threads[THREADS];
    myr_script *script;
    myr_err err;
    myr_pack_info info = script_info(1);
    myr_script_opts opts = {.states = 2}; /* the others are made when they are needed */
    EXPECT_RC(myr_script_parse("rules.lua", myr_str_of(text), &info, &opts, &script, &err), OK, &err);
    for (int i = 0; i < THREADS; i++) {
        script_bench_init(&workers[i].bench);
        workers[i].script = script;
        workers[i].wrong = 0;
        EXPECT_RC(myr_thread_start(&threads[i], "worker", worker_body, &workers[i], &err), OK, &err);
    }
    for (int i = 0; i < THREADS; i++) {
        myr_thread_join(threads[i]);
        EXPECT_INT(workers[i].wrong, 0);
        script_bench_fini(&workers[i].bench);
    }
    myr_script_free(script);
}

RUN()
