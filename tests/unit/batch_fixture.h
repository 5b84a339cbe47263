/* What tests of batch share: a workspace with a fleet of three linear models, a run, and its output as text. */
#ifndef MYR_TESTS_BATCH_FIXTURE_H
#define MYR_TESTS_BATCH_FIXTURE_H

/* A run starts this very program as its workers. */
#define TESTING_MAIN(argc, argv)                                                                                       \
    if ((argc) == 3 && strcmp((argv)[1], MYR_BATCH_WORKER) == 0) return myr_batch_work(NULL) != MYR_OK

#include "table_fixture.h"

#include "batch/batch.h"
#include "import/import.h"

/* ---- a fleet of three linear models: one segment, one parent, one global ---- */

typedef struct world {
    fixture f;
    myr_workspace *workspace;
    char input[TESTING_PATH_BYTES + 16], output[TESTING_PATH_BYTES + 16];
    const char *items[2];
    const char *const *list; /* the input; NULL: `input` alone */
    myr_batch_opts opts;
    myr_batch_report report;
} world;

TESTING_UNUSED static void world_drop(world *w)
{
    myr_workspace_close(w->workspace);
    fixture_drop(&w->f);
}

static const char *const world_features[] = {"x1", "x2"};

/* y(segment) = intercept + x1 + 2 x2 */
TESTING_UNUSED static myr_fleet_item world_item(const char *segment, double intercept, myr_buf *text, double baseline)
{
    static const double weights[] = {1, 2};
    myr_linear_format(world_features, 2, intercept, weights, NULL, text);
    return (myr_fleet_item){.name = segment,
                            .data = text->data,
                            .size_bytes = text->size,
                            .segment = segment,
                            .algorithm = "ridge",
                            .baseline = baseline};
}

TESTING_UNUSED static void world_import(world *w, bool with_global, double shift)
{
    MYR_AUTO(myr_buf) a = {0};
    MYR_AUTO(myr_buf) b = {0};
    MYR_AUTO(myr_buf) c = {0};
    static const char *const keys[] = {"store", "brand"};
    myr_fleet_item items[] = {world_item("store=1,brand=1", 0 + shift, &a, 1),
                              world_item("brand=2", 100 + shift, &b, 2), world_item("", 1000 + shift, &c, NAN)};
    myr_fleet_def def = {.name = "oj",
                         .partition_columns = keys,
                         .partition_count = 2,
                         .features = world_features,
                         .feature_count = 2,
                         .target = "y",
                         .target_transform = "log"};
    size_t bad = 0;
    myr_err *err = &w->f.err;
    EXPECT_RC(myr_fleet_import(w->workspace, &def, items, with_global ? 3 : 2, NULL, NULL, &bad, err), OK, err);
    myr_release_report release;
    EXPECT_RC(myr_release_create(w->workspace, "oj", true, &release, err), OK, err);
}

TESTING_UNUSED static world world_new(bool with_global)
{
    world w = {.f = fixture_new(1)};
    myr_err *err = &w.f.err;
    bool is_made = false;
    char root[TESTING_PATH_BYTES + 16];
    snprintf(root, sizeof root, "%s/ws", w.f.dir);
    EXPECT_RC(myr_workspace_init(root, "", &is_made, err), OK, err);
    EXPECT_RC(myr_workspace_open(root, &w.workspace, err), OK, err);
    world_import(&w, with_global, 0);
    snprintf(w.input, sizeof w.input, "%s/in.csv", w.f.dir);
    snprintf(w.output, sizeof w.output, "%s/out", w.f.dir);
    return w;
}

TESTING_UNUSED static const char world_rows[] = "store,brand,x1,x2,y,note\n"
                                                "1,1,0.5,0.25,1.5,own\n"
                                                "1,2,1,2,104,parent\n"
                                                "7,2,,2,,nan\n"
                                                "7,9,1,1,3,global\n"
                                                "x,1,1,1,3,bad key\n"
                                                ",2,1,1,103,null store\n";

TESTING_UNUSED static myr_rc world_run(world *w)
{
    w->opts.fleet = "oj";
    w->items[0] = w->input;
    w->opts.input.items = w->list != NULL ? w->list : w->items;
    w->opts.output = w->output;
    if (w->opts.threads == 0) w->opts.threads = 2;
    return myr_batch_run(w->workspace, &w->opts, &w->report, &w->f.err);
}

/* The whole output as text: note:prediction/model/version/level/status, by note. */
TESTING_UNUSED static const char *world_result(world *w)
{
    return fixture_sql(&w->f,
                       "SELECT string_agg(coalesce(note, '') || ':' || coalesce(prediction::VARCHAR, '-') || '/' || "
                       "coalesce(model, '-') || '/' || "
                       "coalesce(model_version::VARCHAR, '-') || '/' || level || '/' || status, ' ' ORDER BY note) "
                       "FROM read_parquet('$/out/**/*.parquet')");
}

TESTING_UNUSED static const char world_expected[] =
    "bad key:-/-/-/none/bad_key global:1003.0/oj@/1/global/ok nan:nan/oj@brand=2/1/parent/ok "
    "null store:103.0/oj@brand=2/1/parent/ok own:1.0/oj@store=1,brand=1/1/segment/ok "
    "parent:105.0/oj@brand=2/1/parent/ok";

TESTING_UNUSED static int64_t world_run_count(world *w, const char *state)
{
    myr_run_row *runs = NULL;
    size_t count = 0;
    int64_t found = 0;
    EXPECT_RC(myr_registry_runs(w->workspace->registry, w->f.arena, 0, &runs, &count, &w->f.err), OK, &w->f.err);
    for (size_t i = 0; i < count; i++)
        found += strcmp(runs[i].state, state) == 0;
    return found;
}

/* Names in the test's directory that begin like the output but are not it. */
TESTING_UNUSED static int world_leftovers(world *w)
{
    char **names = NULL;
    size_t count = 0;
    int found = 0;
    EXPECT_RC(myr_io_list(w->f.dir, &names, &count, &w->f.err), OK, &w->f.err);
    for (size_t i = 0; i < count; i++)
        found += strncmp(names[i], "out.", 4) == 0;
    myr_names_free(names, count);
    return found;
}

#endif
