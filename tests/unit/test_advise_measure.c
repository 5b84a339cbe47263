/* What is measured on a fleet: its shape, sizes, runs; wide fleets, parents alone, damaged packs, short memory, a still
 * clock. */
#include "fleet_fixture.h"

#include "advise/advise.h"

static myr_advise_facts measured(myr_workspace *workspace, const char *fleet)
{
    myr_advise_facts facts;
    myr_err err = {0};
    memset(&facts, 0xee, sizeof facts);
    EXPECT_RC(myr_advise_measure_fleet(workspace, fleet, &facts, &err), OK, &err);
    return facts;
}

static void run(myr_workspace *workspace, const char *fleet, const char *state, int64_t rows, int64_t duration_ms)
{
    int64_t id = 0;
    myr_err err = {0};
    myr_run_row row = {.fleet = fleet,
                       .release = 1,
                       .input = "i",
                       .output = "o",
                       .state = "running",
                       .started_ms = myr_clock_unix_ms()};
    EXPECT_RC(myr_registry_run_start(workspace->registry, &row, &id, &err), OK, &err);
    myr_clock_advance_ms(duration_ms);
    EXPECT_RC(myr_registry_run_end(workspace->registry, id, state, rows, rows, "", &err), OK, &err);
}

TEST(shape_sizes_and_times)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "oj", "store=2,brand=1:1;store=5,brand=1:2;store=5,brand=x%2Cy:3;brand=1:4;:5");
    fixture_release(workspace, "oj");
    myr_advise_facts facts = measured(workspace, "oj");
    EXPECT_STR(facts.fleet, "oj");
    EXPECT_INT(facts.release, 1);
    EXPECT_INT(facts.model_count, 5);
    EXPECT_INT(facts.feature_count, 2);
    EXPECT_INT(facts.output_count, 1);
    EXPECT(facts.model_bytes_median > 0 && facts.model_bytes == 5 * facts.model_bytes_median);
    EXPECT_INT(facts.model_bytes_max, facts.model_bytes_median);
    EXPECT(facts.timed_rows > 0 && facts.timed_rows <= MYR_ADVISE_TIMED_ROWS_MAX);
    EXPECT_INT(facts.timed_models, 5);
    EXPECT(facts.row_ns > 0 && facts.one_row_p50_ns > 0 && facts.one_row_p99_ns >= facts.one_row_p50_ns);
    EXPECT_INT(facts.run_count, 0);
    EXPECT_HAS(facts.row, "\"store\":");
    EXPECT_HAS(facts.row, "\"price\":0");
}

TEST(parents_and_globals_alone_answer_themselves)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "one", ":5");
    fixture_release(workspace, "one");
    EXPECT_INT(measured(workspace, "one").timed_models, 1);
    fixture_bring(workspace, "two", "store=2,brand=1:1;brand=2:2");
    fixture_release(workspace, "two");
    EXPECT_INT(measured(workspace, "two").timed_models, 2);
}

TEST(only_completed_runs_of_this_fleet_count)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "oj", ":5");
    fixture_release(workspace, "oj");
    myr_clock_freeze(1000000);
    run(workspace, "oj", "completed", 100, 1000);
    run(workspace, "other", "completed", 777, 10);
    run(workspace, "oj", "completed", 300, 3000);
    run(workspace, "oj", "failed", 5, 10);
    myr_advise_facts facts = measured(workspace, "oj"); /* a still clock: no time passes, and nothing divides by it */
    EXPECT_INT(facts.run_count, 2);
    EXPECT_INT(facts.run_rows, 300);
    EXPECT_INT(facts.run_ms, 3000);
    EXPECT(facts.row_ns == 0 && facts.one_row_calls > 0);
    for (int i = 0; i < MYR_ADVISE_RUNS_MAX - 2; i++) {
        run(workspace, "oj", "completed", 400 + i, 50);
    }
    facts = measured(workspace, "oj");
    EXPECT_INT(facts.run_count, MYR_ADVISE_RUNS_MAX);
    run(workspace, "oj", "completed", 9, 50);
    facts = measured(workspace, "oj");
    EXPECT_INT(facts.run_count, MYR_ADVISE_RUNS_MAX);
    EXPECT_INT(facts.run_rows, 9);
    EXPECT_INT(facts.run_ms_median, 50);
}

/* Many features: the made-up table stays small, and the example row stays short. */
TEST(a_wide_fleet)
{
    enum { WIDE = 20000 };
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) text = {0};
    const char **names = myr_arena_calloc(arena, WIDE, sizeof *names);
    double *weights = myr_arena_calloc(arena, WIDE, sizeof *weights);
    myr_err err = {0};
    for (int i = 0; i < WIDE; i++) {
        names[i] = myr_arena_printf(arena, "feature_%d", i);
    }
    myr_linear_format(names, WIDE, 1, weights, NULL, &text);
    myr_fleet_item item = {
        .name = "wide", .data = text.data, .size_bytes = text.size, .segment = "", .baseline = (double)NAN};
    myr_fleet_def def = {.name = "wide"};
    size_t bad = 0;
    EXPECT_RC(myr_fleet_import(workspace, &def, &item, 1, NULL, NULL, &bad, &err), OK, &err);
    fixture_release(workspace, "wide");
    size_t before = (size_t)myr_clock_mono_ns();
    myr_advise_facts facts = measured(workspace, "wide");
    EXPECT((size_t)myr_clock_mono_ns() - before < 30000000000ULL);
    EXPECT(facts.timed_rows > 0 && facts.timed_rows * (WIDE + 1) <= 4 << 20);
    EXPECT(strlen(facts.row) < 300);
}

TEST(what_is_not_there)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_advise_facts facts = {.model_count = 77};
    myr_err err = {0};
    EXPECT_RC(myr_advise_measure_fleet(workspace, "oj", &facts, &err), NOT_FOUND, &err);
    fixture_bring(workspace, "oj", ":5");
    EXPECT_RC(myr_advise_measure_fleet(workspace, "oj", &facts, &err), NOT_FOUND, &err); /* no release yet */
    EXPECT_INT(facts.model_count, 77);
}

/* Every allocation up to some, then ever farther apart: a measurement makes tens of thousands. */
TEST(short_memory)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "oj", "store=2,brand=x:1;:5");
    fixture_release(workspace, "oj");
    int64_t before = myr_mem_alloc_count();
    (void)measured(workspace, "oj");
    int64_t made = myr_mem_alloc_count() - before;
    for (int64_t nth = 1; nth <= made; nth += nth < 150 ? 1 : nth / 3) {
        myr_advise_facts facts = {.model_count = 77};
        myr_err err = {0};
        myr_mem_fail_at(nth);
        myr_rc rc = myr_advise_measure_fleet(workspace, "oj", &facts, &err);
        myr_mem_fail_at(0);
        EXPECT_INT(rc, MYR_NO_MEMORY);
        EXPECT_INT(facts.model_count, 77);
    }
}

RUN()
