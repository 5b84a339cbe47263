/* Specs of training: what is understood, and where a complaint points. */
#include "train_fixture.h"

static myr_rc load(const char *text, myr_train_plan **out, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    fixture_spec(text);
    return myr_train_plan_load(fixture_path("t.yaml", path), out, err);
}

/* The spec is refused, at this place, in these words. */
static void refused(const char *text, const char *place, const char *words)
{
    myr_train_plan *plan = NULL;
    myr_err err = {0};
    EXPECT_RC(load(text, &plan, &err), BAD_INPUT, &err);
    EXPECT(plan == NULL);
    EXPECT_HAS(err.message, place);
    EXPECT_HAS(err.message, words);
}

TEST(a_small_spec_gets_the_presets)
{
    myr_train_plan *plan = NULL;
    myr_err err = {0};
    EXPECT_RC(load("fleet: f\ndata: d/t.csv\ntarget: y\ntime: week\nfeatures: x\ntest: {last: 4}\ntrials: [mean]\n",
                   &plan, &err),
              OK, &err);
    char path[MYR_PATH_BYTES_MAX];
    EXPECT_STR(plan->data, fixture_path("d/t.csv", path)); /* beside the spec */
    EXPECT_INT(plan->partition_count, 0);
    EXPECT_INT(plan->feature_count, 1);
    EXPECT_STR(plan->transform, "");
    EXPECT_INT(plan->window_count, 3);
    EXPECT(plan->window_size == 4); /* as long as the test set */
    EXPECT(!plan->cleans);
    EXPECT_INT(plan->min_rows, 20);
    EXPECT_STR(plan->test_write, "");
    EXPECT_INT(plan->candidate_count, 1);
    EXPECT_INT(plan->mean_idx, 0);
    myr_train_plan_free(plan);
}

TEST(everything_said_is_heard)
{
    myr_train_plan *plan = NULL;
    myr_err err = {0};
    EXPECT_RC(load("fleet: f\ndata: /a/t.csv\npartition: [s, b]\ntarget: {column: y, transform: log}\ntime: "
                   "week\nfeatures: [x, z]\n"
                   "test: {last: 4, write: o.parquet}\nvalidation: {windows: 2, size: 6}\nanomalies: {limit: 5, "
                   "max_share: 0.1}\n"
                   "min_rows: 30\nseed: 7\nthreads: 2\ntags: {team: sales, year: 1992}\ntrials:\n  - ridge: {lambda: "
                   "[1, 10]}\n"
                   "  - xgboost: {max_depth: [2, 3], eta: [0.1, 0.2], tree_method: hist}\n",
                   &plan, &err),
              OK, &err);
    EXPECT_STR(plan->data, "/a/t.csv");
    EXPECT_INT(plan->partition_count, 2);
    EXPECT_STR(plan->transform, "log");
    EXPECT(plan->window_size == 6 && plan->window_count == 2);
    EXPECT(plan->cleans && plan->clean_limit == 5 && plan->clean_share == 0.1);
    EXPECT_INT(plan->min_rows, 30);
    EXPECT_INT(plan->seed, 7);
    EXPECT_INT(plan->tag_count, 2);
    EXPECT_STR(plan->tags[1].key, "year");
    EXPECT_STR(plan->tags[1].value, "1992");
    EXPECT_INT(plan->candidate_count, 6); /* two of ridge, two times two of xgboost */
    EXPECT_STR(plan->candidates[1].algorithm->name, "ridge");
    EXPECT(plan->candidates[1].values[0] == 10);
    EXPECT(plan->candidates[2].values[1] == 2 && plan->candidates[2].values[2] == 0.1);
    EXPECT(plan->candidates[3].values[1] == 2 && plan->candidates[3].values[2] == 0.2); /* the last varies fastest */
    EXPECT(plan->candidates[4].values[1] == 3 && plan->candidates[4].values[2] == 0.1);
    EXPECT_INT(plan->mean_idx, 6); /* not asked for, but there when nothing can be compared */
    EXPECT_STR(plan->candidates[6].algorithm->name, "mean");
    myr_train_plan_free(plan);
}

TEST(typos_are_named_with_their_place)
{
    refused("fleet: f\nfeatuers: [x]\n", "t.yaml:2:1", "did you mean 'features'");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - mean\n  - xgbost: {rounds: 3}\n", "t.yaml:10:5", "did you mean 'xgboost'");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - prophet\n", "t.yaml:9:5", "known are mean, ridge, xgboost");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - ridge: {lamda: 1}\n", "t.yaml:9:13", "did you mean 'lambda'");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - mean: {lambda: 1}\n", "t.yaml:9:11", "has no settings");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - xgboost: {tree_method: exakt}\n", "t.yaml:9",
            "known are auto, exact, hist");
    refused(FIXTURE_SPEC "anomalies: {rule: iqr}\n", "t.yaml:11", "known is mad");
    refused(FIXTURE_SPEC "validation: {window: 3}\n", "t.yaml:11", "did you mean 'windows'");
}

TEST(values_are_checked_where_they_stand)
{
    refused(FIXTURE_SPEC_HEAD "trials:\n  - ridge: {lambda: [1, many]}\n", "t.yaml:9:25",
            "must be a number, not 'many'");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - ridge: {lambda: -1}\n", "t.yaml:9", "must be from 0 to");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - xgboost: {rounds: 2.5}\n", "t.yaml:9", "must be a whole number");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - xgboost: {rounds: 10001}\n", "t.yaml:9", "must be from 1 to 10000");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - ridge: {lambda: [[1]]}\n", "t.yaml:9", "must be a value");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - ridge: {lambda: []}\n", "t.yaml:9", "has no value");
    refused(FIXTURE_SPEC_HEAD "trials: mean\n", "t.yaml:8", "must be a list");
    refused(FIXTURE_SPEC_HEAD "trials: []\n", "t.yaml:8", "must be a list");
    refused(FIXTURE_SPEC_HEAD "trials:\n  - [mean]\n", "t.yaml:9", "a trial is an algorithm");
    refused(FIXTURE_SPEC_HEAD, "t.yaml:1:1", "'trials' must be a list");
    refused(FIXTURE_SPEC "min_rows: few\n", "t.yaml:11", "min_rows");
    refused(FIXTURE_SPEC "min_rows: 1\n", "t.yaml:11", "min_rows");
    refused(FIXTURE_SPEC "anomalies: {max_share: 0.6}\n", "t.yaml:11", "max_share");
    refused(FIXTURE_SPEC "validation: {windows: 101}\n", "t.yaml:11", "windows");
    refused(FIXTURE_SPEC "tags: {level: x}\n", "t.yaml:11", "set by training itself");
    refused(FIXTURE_SPEC "tags: {\"a b\": x}\n", "t.yaml:11", "not a tag's name");
    refused(FIXTURE_SPEC "tags: [a]\n", "t.yaml:11", "must be keys with values");
}

TEST(columns_must_make_sense_together)
{
    refused("fleet: f\ndata: t\ntarget: y\ntime: w\nfeatures: [x, y]\ntest: {last: 1}\ntrials: [mean]\n", "t.yaml:5",
            "predict itself");
    refused("fleet: f\ndata: t\ntarget: y\ntime: w\nfeatures: [x, x]\ntest: {last: 1}\ntrials: [mean]\n", "t.yaml:5:15",
            "stands twice");
    refused("fleet: f\ndata: t\ntarget: y\ntime: y\nfeatures: [x]\ntest: {last: 1}\ntrials: [mean]\n", "t.yaml:3",
            "also time");
    refused("fleet: f\ndata: t\npartition: w\ntarget: y\ntime: w\nfeatures: [x]\ntest: {last: 1}\ntrials: [mean]\n",
            "t.yaml:5", "also a partition column");
    refused("fleet: f\ndata: t\ntarget: y\ntime: w\nfeatures: []\ntest: {last: 1}\ntrials: [mean]\n", "t.yaml:5",
            "features");
    refused("fleet: a/b\ndata: t\ntarget: y\ntime: w\nfeatures: [x]\ntest: {last: 1}\ntrials: [mean]\n", "t.yaml:1",
            "not a fleet's name");
    refused("fleet: f\ndata: t\ntarget: {column: y, transform: sqrt}\ntime: w\nfeatures: [x]\ntest: {last: 1}\ntrials: "
            "[mean]\n",
            "t.yaml:3", "known are log");
    refused("fleet: f\ndata: t\ntime: w\nfeatures: [x]\ntest: {last: 1}\ntrials: [mean]\n", "t.yaml:1",
            "'target' is missing");
    refused("fleet: f\ndata: t\ntarget: y\ntime: w\nfeatures: [x]\ntrials: [mean]\n", "t.yaml:1", "'test' is missing");
    refused("fleet: f\ndata: t\ntarget: y\ntime: w\nfeatures: [x]\ntest: {last: 0}\ntrials: [mean]\n", "t.yaml:6",
            "last");
}

/* At the limit and one past it. */
TEST(limits_of_a_spec)
{
    for (int count = MYR_TRAIN_CANDIDATES_MAX; count <= MYR_TRAIN_CANDIDATES_MAX + 1; count++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_train_plan *plan = NULL;
        myr_err err = {0};
        myr_buf_puts(&text, FIXTURE_SPEC_HEAD "trials:\n");
        for (int i = 0; i < count; i++)
            myr_buf_puts(&text, "  - mean\n");
        bool fits = count <= MYR_TRAIN_CANDIDATES_MAX;
        EXPECT(load(text.data, &plan, &err) == (fits ? MYR_OK : MYR_BAD_INPUT));
        if (!fits) EXPECT_HAS(err.message, "more than 64 candidates");
        myr_train_plan_free(plan);
    }
    for (int count = MYR_PARTITION_COLUMNS_MAX; count <= MYR_PARTITION_COLUMNS_MAX + 1; count++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_train_plan *plan = NULL;
        myr_err err = {0};
        myr_buf_puts(
            &text,
            "fleet: f\ndata: t\ntarget: y\ntime: w\nfeatures: [x]\ntest: {last: 1}\ntrials: [mean]\npartition: [");
        for (int i = 0; i < count; i++)
            myr_buf_printf(&text, "%sp%d", i > 0 ? ", " : "", i);
        myr_buf_puts(&text, "]\n");
        bool fits = count <= MYR_PARTITION_COLUMNS_MAX;
        EXPECT(load(text.data, &plan, &err) == (fits ? MYR_OK : MYR_BAD_INPUT));
        if (!fits) EXPECT_HAS(err.message, "at most 8");
        myr_train_plan_free(plan);
    }
    refused(FIXTURE_SPEC_HEAD "trials:\n  - xgboost: {rounds: [1,2,3,4,5,6,7,8,9], max_depth: [1,2,3,4,5,6,7,8]}\n",
            "t.yaml:9", "more than 64 candidates");
}

/* `count` items, each from `item` with its number, between head and tail: accepted up to the limit. */
static void limited(const char *head, const char *item, const char *tail, int limit, const char *words)
{
    for (int count = limit; count <= limit + 1; count++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_train_plan *plan = NULL;
        myr_err err = {0};
        myr_buf_puts(&text, head);
        for (int i = 0; i < count; i++) {
            const char *mark = strchr(item, '#');
            myr_buf_append(&text, item, (size_t)(mark - item));
            myr_buf_printf(&text, "%d%s, ", i, mark + 1);
        }
        myr_buf_puts(&text, tail);
        myr_rc rc = load(text.data, &plan, &err);
        EXPECT_INT(rc, count == limit ? MYR_OK : MYR_BAD_INPUT);
        if (rc != MYR_OK) EXPECT_HAS(err.message, words);
        myr_train_plan_free(plan);
    }
}

TEST(limits_of_lists)
{
    limited("fleet: f\ndata: t\ntarget: y\ntime: w\ntest: {last: 1}\ntrials: [mean]\nfeatures: [", "x#", "]\n",
            MYR_TRAIN_FEATURES_MAX, "at most 4096");
    limited(FIXTURE_SPEC "tags: {", "t#: v", "}\n", MYR_TAGS_MAX - 2, "at most 62");
    myr_train_plan *plan = NULL;
    myr_err err = {0};
    EXPECT_RC(load(FIXTURE_SPEC "validation: {windows: 100}\n", &plan, &err), OK, &err); /* 101 is refused above */
    EXPECT_INT(plan->window_count, MYR_TRAIN_WINDOWS_MAX);
    myr_train_plan_free(plan);
}

TEST(an_absent_xgboost_says_what_to_do)
{
    myr_train_xgboost *xgboost = NULL;
    myr_err err = {0};
    setenv("MYRIAD_XGBOOST_LIB", "/nowhere/libxgboost.so", 1);
    EXPECT_RC(myr_train_xgboost_open(&xgboost, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "/nowhere/libxgboost.so");
    EXPECT_HAS(err.message, "MYRIAD_XGBOOST_LIB");
    fixture_fill(2, 1, 60, 0.1);
    fixture_spec(FIXTURE_SPEC "  - xgboost: {rounds: 3}\n");
    myr_train_report report;
    char path[MYR_PATH_BYTES_MAX];
    fixture_write(fixture_path("t.parquet", path));
    EXPECT_RC(fixture_train("w", 1, &report, &err), UNAVAILABLE, &err); /* before any work */
    fixture_spec(FIXTURE_SPEC);
    EXPECT_RC(fixture_train("w", 1, &report, &err), OK, &err); /* who does not ask needs none */
    unsetenv("MYRIAD_XGBOOST_LIB");
}

RUN()
