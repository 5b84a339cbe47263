/* Whole trainings on small tables: how rows are split, what wins, and that nothing of the test set leaks into a model.
 */
#include "train_fixture.h"

#define XGBOOST_TRIAL "  - xgboost: {rounds: 5, max_depth: 2}\n"

static bool has_xgboost(void)
{
    return MYR_DEFAULT_XGBOOST_LIB[0] != '\0';
}

static const char *full_spec(void)
{
    return has_xgboost() ? FIXTURE_SPEC XGBOOST_TRIAL "anomalies: {}\n" : FIXTURE_SPEC "anomalies: {}\n";
}

/* Read the fixture's table under its spec. */
static myr_train_table *load(myr_train_plan **out_plan)
{
    char path[MYR_PATH_BYTES_MAX];
    myr_train_table *table = NULL;
    myr_err err = {0};
    fixture_write(fixture_path("t.parquet", path));
    EXPECT_RC(myr_train_plan_load(fixture_path("t.yaml", path), out_plan, &err), OK, &err);
    EXPECT_RC(myr_train_table_load(*out_plan, 1, &table, &err), OK, &err);
    return table;
}

static myr_train_segment *segment_of(myr_train_table *table, const char *text)
{
    for (uint32_t i = 0; i < table->segment_count; i++) {
        if (strcmp(table->segments[i].text, text) == 0) return &table->segments[i];
    }
    fail_msg("no segment %s", text);
    return NULL;
}

static void fit_one(myr_train_table *table, myr_train_segment *segment)
{
    myr_train_scratch scratch = {.lapack = fixture_lapack()};
    myr_err err = {0};
    EXPECT_RC(myr_train_segment_fit(table, segment, &scratch, &err), OK, &err);
    myr_train_scratch_fini(&scratch);
}

/* ---- splitting ---- */

TEST(segments_parents_and_the_whole)
{
    myr_train_plan *plan = NULL;
    fixture_fill(3, 2, 40, 0);
    fixture_spec(FIXTURE_SPEC);
    myr_train_table *t = load(&plan);
    EXPECT_INT(t->segment_count, 6 + 2 + 1);
    EXPECT_STR(t->segments[0].text, "");
    EXPECT_STR(t->segments[1].text, "brand=a");
    EXPECT_STR(t->segments[3].text, "store=1,brand=a");
    EXPECT_STR(t->segments[8].text, "store=3,brand=b");
    EXPECT_STR(myr_train_level_name(t, t->segments[0].level), "global");
    EXPECT_STR(myr_train_level_name(t, t->segments[1].level), "parent");
    EXPECT_STR(myr_train_level_name(t, t->segments[3].level), "segment");
    EXPECT_INT(t->segments[0].count, 240);
    EXPECT_INT(t->segments[1].count, 120);
    EXPECT_INT(t->segments[3].count, 40);
    EXPECT_INT(t->test_count, 6 * 8);
    for (uint32_t i = 1; i < t->segments[1].count; i++) { /* leaves stand together inside a parent, by time */
        const uint32_t *order = t->orders[1] + t->segments[1].first;
        EXPECT(t->leaf_of[order[i]] > t->leaf_of[order[i - 1]] || t->time[order[i]] > t->time[order[i - 1]]);
    }
    myr_train_table_free(t);
    myr_train_plan_free(plan);
}

TEST(the_test_set_is_the_last_weeks_of_each_leaf)
{
    myr_train_plan *plan = NULL;
    fixture_fill(2, 1, 40, 0);
    for (int64_t i = 40; i < 80; i++) /* the second store stopped earlier and has gaps */
        fixture.week[i] = fixture.week[i] * 2 - 50;
    fixture_spec(FIXTURE_SPEC);
    myr_train_table *t = load(&plan);
    for (int64_t i = 0; i < 40; i++)
        EXPECT_INT(t->states[i], fixture.week[i] > 32 ? MYR_TRAIN_ROW_TEST : MYR_TRAIN_ROW_FIT);
    for (int64_t i = 40; i < 80; i++)
        EXPECT_INT(t->states[i], fixture.week[i] > 30 - 8 ? MYR_TRAIN_ROW_TEST : MYR_TRAIN_ROW_FIT);
    EXPECT_INT(t->test_count, 8 + 4);
    EXPECT(segment_of(t, "store=1,brand=a")->origin == 32);
    EXPECT(segment_of(t, "store=2,brand=a")->origin == 22);
    EXPECT(segment_of(t, "brand=a")->origin == 32);
    myr_train_table_free(t);
    myr_train_plan_free(plan);
}

TEST(rows_that_belong_nowhere_are_counted)
{
    myr_train_report report;
    fixture_fill(2, 1, 60, 0.1);
    fixture.store_valid[0] = 0; /* no key */
    fixture.week[1] = NAN;      /* no time */
    fixture.y[2] = NAN;         /* no target to learn from */
    fixture.y[3] = 1e39;        /* nor one that a float holds */
    fixture.y[59] = NAN;        /* a test row without target is a test row */
    fixture_spec(FIXTURE_SPEC);
    fixture_trained("w", 1, &report);
    EXPECT_INT(report.rows_read, 120);
    EXPECT_INT(report.rows_unusable, 4);
    EXPECT_INT(report.rows_test, 16);
    EXPECT_INT(report.rows_train, 100);
    EXPECT_INT(report.rows_anomalous, 0);
    EXPECT_INT(report.rows_read, report.rows_unusable + report.rows_test + report.rows_train + report.rows_anomalous);
}

TEST(windows_roll_back_from_the_test_set)
{
    myr_train_plan *plan = NULL;
    fixture_fill(1, 1, 40, 0);
    for (int64_t i = 0; i < 40; i++)
        fixture.y[i] = fixture.week[i];
    fixture_spec(FIXTURE_SPEC_HEAD "validation: {windows: 2}\nmin_rows: 16\ntrials: [mean]\n");
    myr_train_table *t = load(&plan);
    myr_train_segment *s = segment_of(t, "store=1,brand=a");
    fit_one(t, s);
    double sse = 0; /* weeks 25 to 32 from those before 25, 17 to 24 from those before 17 */
    for (int week = 17; week <= 32; week++) {
        double error = week - (week > 24 ? 12.5 : 8.5);
        sse += error * error;
    }
    EXPECT(fabs(s->trial_rmse[0] - sqrt(sse / 16)) < 1e-12);
    EXPECT_INT(s->window_count, 2);
    EXPECT_INT(s->fit_rows, 32);
    EXPECT(s->baseline == 16.5);
    EXPECT_INT(s->test_rows, 8);
    EXPECT(fabs(s->test_sse - s->baseline_sse) < 1e-9); /* the mean is the baseline */
    myr_train_table_free(t);
    myr_train_plan_free(plan);
}

TEST(windows_need_min_rows_before_them)
{
    for (int min_rows = 16; min_rows <= 17; min_rows++) {
        myr_train_plan *plan = NULL;
        char spec[1024];
        fixture_fill(1, 1, 40, 0);
        snprintf(spec, sizeof spec, FIXTURE_SPEC "validation: {windows: 3}\nmin_rows: %d\n", min_rows);
        fixture_spec(spec);
        myr_train_table *t = load(&plan);
        myr_train_segment *s = segment_of(t, "store=1,brand=a");
        fit_one(t, s);
        EXPECT_INT(s->window_count, min_rows == 16 ? 2 : 1); /* before them lie 24, 16 and 8 weeks */
        myr_train_table_free(t);
        myr_train_plan_free(plan);
    }
}

/* The window judges all of its rows; what is far from the rest is only kept out of fits. */
TEST(anomalies_are_left_out_of_fits_alone)
{
    myr_train_plan *plan = NULL;
    fixture_fill(1, 1, 40, 0);
    for (int64_t i = 0; i < 40; i++)
        fixture.y[i] = i % 2;
    fixture.y[3] = 1000; /* in both fits */
    fixture.y[30] = 500; /* in the last window: judged */
    fixture_spec(FIXTURE_SPEC_HEAD
                 "validation: {windows: 1}\nmin_rows: 10\nanomalies: {limit: 6, max_share: 0.1}\ntrials: [mean]\n");
    myr_train_table *t = load(&plan);
    myr_train_segment *s = segment_of(t, "store=1,brand=a");
    fit_one(t, s);
    EXPECT_INT(s->anomalies, 2);
    EXPECT_INT(s->fit_rows, 30);
    EXPECT(s->trial_rmse[0] > 170 && s->trial_rmse[0] < 180); /* about sqrt(500^2 / 8) */
    EXPECT(s->baseline > 0.4 && s->baseline < 0.6);
    myr_train_table_free(t);
    myr_train_plan_free(plan);
}

/* ---- what wins ---- */

TEST(the_truth_wins)
{
    myr_train_report report;
    fixture_fill(3, 2, 60, 0.05);
    fixture_spec(full_spec());
    fixture_trained("w", 2, &report);
    EXPECT_INT(report.segments, 6);
    EXPECT_INT(report.parents, 2);
    EXPECT_INT(report.globals, 1);
    EXPECT_INT(report.models_added, 9);
    EXPECT_STR(report.wins[1].algorithm, "ridge");
    EXPECT_INT(report.wins[1].wins, 6);
    EXPECT(report.rmse < 0.1 * report.baseline_rmse);
    EXPECT_INT(report.segments_worse, 0);
    EXPECT(report.release.promoted && report.release.model_count == 9);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_model_row row = fixture_model("w", "store=2,brand=b", arena);
    EXPECT_STR(row.algorithm, "ridge");
    EXPECT_HAS(row.metrics, "\"trials\":[{\"algorithm\":\"mean\"");
    EXPECT_HAS(row.metrics, "\"settings\":{\"lambda\":0.01}");
    EXPECT_INT(strlen(row.fingerprint), 64);
    EXPECT(fabs(row.baseline - 2) < 0.5);
    EXPECT_INT(row.tag_count, 2);
    EXPECT_STR(fixture_model("w", "brand=a", arena).tags[1].key, "level");
    EXPECT_STR(fixture_model("w", "brand=a", arena).tags[1].value, "parent");
}

TEST(of_equals_the_first_wins)
{
    myr_train_report report;
    fixture_fill(2, 1, 60, 0);
    for (int64_t i = 0; i < fixture.count; i++)
        fixture.y[i] = 4; /* all candidates are right */
    fixture_spec(full_spec());
    fixture_trained("w", 1, &report);
    EXPECT_STR(report.wins[0].algorithm, "mean");
    EXPECT_INT(report.wins[0].wins, 2);
    EXPECT_INT(report.segments_worse, 0);
    EXPECT(report.rmse == 0 && report.baseline_rmse == 0);
}

TEST(too_few_rows_are_left_to_the_parent)
{
    for (int weeks = 27; weeks <= 28; weeks++) { /* without the 8 of the test: 19 and 20, min_rows is 20 */
        myr_train_report report;
        fixture_fill(3, 1, 60, 0.1);
        int64_t kept = 0; /* the third store opened late */
        for (int64_t i = 0; i < fixture.count; i++) {
            if (fixture.store[i] == 3 && fixture.week[i] <= 60 - weeks) continue;
            fixture.store[kept] = fixture.store[i];
            fixture.week[kept] = fixture.week[i];
            fixture.x1[kept] = fixture.x1[i];
            fixture.x2[kept] = fixture.x2[i];
            fixture.y[kept++] = fixture.y[i];
        }
        fixture.count = kept;
        fixture_spec(FIXTURE_SPEC);
        fixture_trained(weeks == 27 ? "w27" : "w28", 1, &report);
        EXPECT_INT(report.segments, weeks == 27 ? 2 : 3);
        EXPECT_INT(report.segments_small, weeks == 27 ? 1 : 0);
        EXPECT_INT(report.wins[0].wins, weeks == 27 ? 0 : 1); /* nothing could be compared: the mean */
        EXPECT_INT(report.rows_test, 24);
        char *text = fixture_read(report.report_path);
        EXPECT_HAS(text, weeks == 27 ? "fewer than 20 rows: its parent answers" : "\"too_small\":0");
        myr_free(text);
    }
}

TEST(a_table_too_small_for_anything)
{
    myr_train_report report;
    myr_err err = {0};
    char path[MYR_PATH_BYTES_MAX];
    fixture_fill(1, 1, 12, 0);
    fixture_spec(FIXTURE_SPEC);
    fixture_write(fixture_path("t.parquet", path));
    EXPECT_RC(fixture_train("w", 1, &report, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "4 rows before the test set, at least 20 (min_rows)");
    for (int64_t i = 0; i < fixture.count; i++)
        fixture.week[i] = NAN;
    fixture_write(path);
    EXPECT_RC(fixture_train("w", 1, &report, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "no row has a key and a time");
    fixture.count = 0;
    fixture_write(path);
    EXPECT_RC(fixture_train("w", 1, &report, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "has no rows");
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    EXPECT_RC(fixture_train("w", 1, &report, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "t.parquet");
}

TEST(one_model_without_partition_columns)
{
    myr_train_report report;
    fixture_fill(1, 1, 60, 0.1);
    fixture_spec("fleet: f\ndata: t.parquet\ntarget: y\ntime: week\nfeatures: [x1, x2]\ntest: {last: 8}\n"
                 "trials:\n  - mean\n  - ridge\n");
    fixture_trained("w", 2, &report);
    EXPECT_INT(report.segments, 0);
    EXPECT_INT(report.globals, 1);
    EXPECT_INT(report.models_added, 1);
    EXPECT(report.rmse < report.baseline_rmse);
    EXPECT_STR(report.test_path, "");
}

TEST(missing_features_and_odd_keys)
{
    myr_train_report report;
    fixture_fill(2, 2, 60, 0.1);
    for (int64_t i = 0; i < fixture.count; i++) {
        if (i % 5 == 0) fixture.x1[i] = NAN;
        if (i % 7 == 0) fixture.x2[i] = i % 2 == 0 ? INFINITY : 1e300;
        fixture.brand[i] = fixture.brand[i].data[0] == 'a' ? myr_str_of("a,b=%/@ \xc3\xa9") : myr_str_of("");
    }
    fixture_spec(full_spec());
    fixture_trained("w", 2, &report);
    EXPECT_INT(report.models_added, 7);
    EXPECT(report.rmse < report.baseline_rmse);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_STR(fixture_model("w", "store=1,brand=a%2Cb%3D%25%2F%40 \xc3\xa9", arena).algorithm, "ridge");
    EXPECT_STR(fixture_model("w", "store=1,brand=", arena).algorithm, "ridge");
    char *text = fixture_read(report.plot_path);
    EXPECT_HAS(text, "</svg>");
    myr_free(text);
}

TEST(a_key_value_has_a_limit)
{
    static char value[MYR_KEY_VALUE_BYTES_MAX + 1];
    memset(value, 'k', sizeof value);
    for (size_t size = MYR_KEY_VALUE_BYTES_MAX; size <= MYR_KEY_VALUE_BYTES_MAX + 1; size++) {
        myr_train_report report;
        myr_err err = {0};
        char path[MYR_PATH_BYTES_MAX];
        fixture_fill(1, 1, 40, 0.1);
        for (int64_t i = 0; i < fixture.count; i++)
            fixture.brand[i] = myr_str_make(value, size);
        fixture_spec(FIXTURE_SPEC);
        fixture_write(fixture_path("t.parquet", path));
        if (size <= MYR_KEY_VALUE_BYTES_MAX) {
            EXPECT_RC(fixture_train("w", 1, &report, &err), OK, &err);
        } else {
            EXPECT_RC(fixture_train("w", 1, &report, &err), BAD_INPUT, &err);
            EXPECT_HAS(err.message, "'brand' has a value of 257 bytes, at most 256");
        }
    }
}

/* Numbers that leave no room between ticks, or none above them. */
TEST(a_picture_of_absurd_numbers)
{
    static const struct {
        double y, step, week;
        const char *transform;
    } cases[] = {
        {1e38, 0, 0, "none"}, {-1e38, 0, 1e38, "none"}, {1e18, 64, 1e17, "none"}, {1e-310, 1e-312, 1e-300, "none"},
        {0, 0, 1e15, "log"},  {709, 0.01, 0, "log"},    {1e30, 1, 0, "log"},      {-800, 1, 0, "log"}};
    for (size_t c = 0; c < MYR_COUNT_OF(cases); c++) {
        char spec[1024], name[16];
        myr_train_report report;
        fixture_fill(1, 1, 60, 0);
        for (int64_t i = 0; i < fixture.count; i++) {
            fixture.y[i] = cases[c].y + cases[c].step * (double)(i % 5);
            fixture.week[i] += cases[c].week;
        }
        snprintf(
            spec, sizeof spec,
            "fleet: f\ndata: t.parquet\npartition: [store, brand]\ntarget: {column: y, transform: %s}\ntime: week\n"
            "features: [x1]\ntest: {last: 8}\ntrials: [mean]\n",
            cases[c].transform);
        fixture_spec(spec);
        snprintf(name, sizeof name, "w%zu", c);
        fixture_trained(name, 1, &report);
        char *text = fixture_read(report.plot_path);
        EXPECT_HAS(text, "</svg>");
        EXPECT(strstr(text, "nan") == NULL && strstr(text, "inf") == NULL);
        EXPECT(strlen(text) < 100000);
        myr_free(text);
    }
}

/* ---- no leak ---- */

/* Targets of the test set: another order, and two values that would bend any fit, limit or mean that saw them. */
static void disturb_test_targets(void)
{
    for (int64_t i = 0; i < fixture.count; i++) {
        if (fixture.week[i] <= 52) continue;
        int64_t other = i + 1 < fixture.count && fixture.week[i + 1] > 52 ? i + 1 : i;
        double y = fixture.y[i];
        fixture.y[i] = fixture.y[other];
        fixture.y[other] = y;
        if (fixture.week[i] == 57) fixture.y[i] = 1e6;
        if (fixture.week[i] == 58) fixture.y[i] = NAN;
    }
}

TEST(targets_of_the_test_set_reach_no_model)
{
    myr_train_report first, second;
    char a[MYR_SHA256_HEX_BYTES], b[MYR_SHA256_HEX_BYTES];
    fixture_fill(3, 2, 60, 2);
    fixture.y[5] = 400; /* an anomaly */
    fixture_spec(full_spec());
    fixture_trained("w1", 2, &first);
    disturb_test_targets();
    fixture_trained("w2", 2, &second);
    EXPECT(first.rmse != second.rmse); /* the disturbance was there */
    EXPECT_INT(first.rows_anomalous, second.rows_anomalous);
    EXPECT(first.rows_anomalous > 0);
    for (uint32_t i = 0; i < first.win_count; i++)
        EXPECT_INT(first.wins[i].wins, second.wins[i].wins);
    EXPECT_STR(fixture_pack_hex("w1", a), fixture_pack_hex("w2", b));
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    static const char *const segments[] = {"store=1,brand=a", "store=3,brand=b", "brand=a", ""};
    for (size_t i = 0; i < MYR_COUNT_OF(segments); i++) {
        myr_model_row x = fixture_model("w1", segments[i], arena);
        myr_model_row y = fixture_model("w2", segments[i], arena);
        EXPECT_STR(x.artifact, y.artifact);
        EXPECT_STR(x.fingerprint, y.fingerprint);
        EXPECT(x.baseline == y.baseline);
    }
}

/* The same in one workspace: nothing is new, although the test errors are others. */
TEST(test_targets_make_no_new_version)
{
    myr_train_report report;
    fixture_fill(2, 1, 60, 1);
    fixture_spec(full_spec());
    fixture_trained("w", 1, &report);
    disturb_test_targets();
    fixture_trained("w", 1, &report);
    EXPECT_INT(report.models_added, 0);
    EXPECT_INT(report.models_reused, 4);
    EXPECT(report.release.reused);
}

/* The control: one target before the test set changes its model, its parents, the pack. */
TEST(targets_before_the_test_set_do_reach_models)
{
    myr_train_report report;
    char a[MYR_SHA256_HEX_BYTES], b[MYR_SHA256_HEX_BYTES];
    fixture_fill(2, 1, 60, 1);
    fixture_spec(FIXTURE_SPEC);
    fixture_trained("w1", 1, &report);
    fixture.y[51] += 0.25; /* week 52: the last before the test set */
    fixture_trained("w2", 1, &report);
    EXPECT(strcmp(fixture_pack_hex("w1", a), fixture_pack_hex("w2", b)) != 0);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    static const char *const changed[] = {"store=1,brand=a", "brand=a", ""};
    for (size_t i = 0; i < MYR_COUNT_OF(changed); i++) {
        EXPECT(strcmp(fixture_model("w1", changed[i], arena).fingerprint,
                      fixture_model("w2", changed[i], arena).fingerprint) != 0);
    }
    EXPECT_STR(fixture_model("w1", "store=2,brand=a", arena).artifact,
               fixture_model("w2", "store=2,brand=a", arena).artifact);
}

/* ---- the same again ---- */

TEST(threads_change_nothing)
{
    myr_train_report report;
    char a[MYR_SHA256_HEX_BYTES], b[MYR_SHA256_HEX_BYTES];
    fixture_fill(4, 2, 60, 2);
    fixture_spec(full_spec());
    fixture_trained("w1", 1, &report);
    fixture_trained("w3", 3, &report);
    EXPECT_STR(fixture_pack_hex("w1", a), fixture_pack_hex("w3", b));
}

TEST(test_rows_are_written_as_they_were)
{
    myr_train_report report;
    myr_err err = {0};
    fixture_fill(2, 2, 60, 0.5);
    fixture.x1[59] = NAN;
    fixture_spec(FIXTURE_SPEC);
    fixture_trained("w", 1, &report);
    EXPECT_HAS(report.test_path, "/w/out/test.parquet");
    static const char *const names[] = {"store", "brand", "week", "x1", "x2", "fixed", "y"};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_table_engine *engine = NULL;
    myr_table_column *columns = NULL;
    size_t count = 0;
    EXPECT_RC(myr_table_engine_open(1, 0, &engine, &err), OK, &err);
    EXPECT_RC(myr_table_describe(engine, report.test_path, arena, &columns, &count, &err), OK, &err);
    EXPECT_INT(count, MYR_COUNT_OF(names)); /* week is time and feature: once */
    for (size_t i = 0; i < count; i++)
        EXPECT_STR(columns[i].name, names[i]);
    EXPECT(columns[2].is_integer);
    myr_table_data *data = NULL;
    const myr_table_want wants[] = {{.name = "store", .as_key = true},
                                    {.name = "brand", .as_key = true},
                                    {.name = "week"},
                                    {.name = "x1"},
                                    {.name = "y"}};
    EXPECT_RC(myr_table_load(engine, report.test_path, wants, MYR_COUNT_OF(wants), NULL, &data, &err), OK, &err);
    EXPECT_INT(data->row_count, 4 * 8);
    for (int64_t i = 0; i < data->row_count; i++) { /* leaf by leaf, as the table itself stands */
        int64_t from = i / 8 * 60 + 52 + i % 8;
        EXPECT_INT(data->cols[0].data.i64[i], fixture.store[from]);
        EXPECT(myr_str_equal(data->cols[1].data.text[i], fixture.brand[from]));
        EXPECT(data->cols[2].data.f64[i] == fixture.week[from]);
        EXPECT(data->cols[3].data.f64[i] == fixture.x1[from] ||
               (isnan(fixture.x1[from]) && isnan(data->cols[3].data.f64[i])));
        EXPECT(data->cols[4].data.f64[i] == fixture.y[from]);
    }
    myr_table_data_free(data);
    myr_table_engine_close(engine);
}

/* ---- short of memory ---- */

TEST(a_plan_survives_each_failed_allocation)
{
    char path[MYR_PATH_BYTES_MAX];
    fixture_spec(FIXTURE_SPEC "tags: {a: b}\nanomalies: {}\n");
    fixture_path("t.yaml", path);
    FAIL_EACH_ALLOC (nth) {
        myr_train_plan *plan = NULL;
        myr_err err = {0};
        myr_rc rc = myr_train_plan_load(path, &plan, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && plan == NULL));
        myr_train_plan_free(plan);
        if (rc == MYR_OK) break;
    }
}

TEST(a_fit_survives_each_failed_allocation)
{
    myr_train_plan *plan = NULL;
    fixture_fill(1, 1, 60, 0.5);
    fixture_spec(FIXTURE_SPEC "anomalies: {}\n");
    myr_train_table *t = load(&plan);
    const myr_train_segment fresh = *segment_of(t, "store=1,brand=a");
    FAIL_EACH_ALLOC (nth) {
        myr_train_segment segment = fresh;
        myr_train_scratch scratch = {.lapack = fixture_lapack()};
        myr_err err = {0};
        myr_rc rc = myr_train_segment_fit(t, &segment, &scratch, &err);
        if (rc != MYR_OK) EXPECT_RC(rc, NO_MEMORY, &err);
        EXPECT(segment.is_fitted == (rc == MYR_OK));
        if (rc != MYR_OK) EXPECT_HAS(err.message, "segment 'store=1,brand=a': ");
        myr_buf_fini(&segment.artifact);
        myr_train_scratch_fini(&scratch);
        if (rc == MYR_OK) break;
    }
    myr_train_table_free(t);
    myr_train_plan_free(plan);
}

RUN()
