/* Tests of registry: fleets, models, versions, tags, filters, runs. */
#include "registry_fixture.h"

TEST(registry_fleet_comes_back_whole)
{
    int64_t id = 0;
    myr_registry *registry = fixture_registry(&id);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row plain = {.name = "plain.2-x_", .output_count = 7, .target = NULL};
    int64_t plain_id = 0;
    EXPECT_RC(myr_registry_fleet_add(registry, &plain, &plain_id, &err), OK, &err);
    EXPECT(plain_id != id);

    myr_fleet_row row = {0};
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "oj", &row, &err), OK, &err);
    EXPECT_INT(row.id, id);
    EXPECT_STR(row.name, "oj");
    EXPECT_INT(row.partition_count, 2);
    EXPECT_STR(row.partition_columns[0], "store");
    EXPECT_STR(row.partition_columns[1], "brand");
    EXPECT_INT(row.feature_count, 3);
    EXPECT_STR(row.features[2], "feat");
    EXPECT_STR(row.target, "logmove");
    EXPECT_STR(row.target_transform, "log");
    EXPECT_INT(row.created_ms, 1234);
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "plain.2-x_", &row, &err), OK, &err);
    EXPECT_INT(row.partition_count + row.feature_count, 0);
    EXPECT_INT(row.output_count, 7);
    EXPECT_STR(row.target, "");

    myr_fleet_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_fleets(registry, arena, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT_STR(rows[0].name, "oj");
    EXPECT_STR(rows[0].features[0], "price");
    EXPECT_STR(rows[1].name, "plain.2-x_");
    myr_registry_close(registry);
    myr_registry_close(NULL);
}

TEST(registry_unknown_fleet_names_the_nearest)
{
    myr_registry *registry = fixture_open();
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row row = {.id = -5};
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "juice", &row, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "myriad train");
    myr_fleet_row fleet = fixture_fleet("juices");
    int64_t id = 0;
    EXPECT_RC(myr_registry_fleet_add(registry, &fleet, &id, &err), OK, &err);
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "juice", &row, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "did you mean 'juices'");
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "zzz", &row, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "1 that exist");
    EXPECT_INT(row.id, -5); /* untouched */
    EXPECT_RC(myr_registry_fleet_add(registry, &fleet, &id, &err), EXISTS, &err);
    EXPECT_HAS(err.message, "juices");
    myr_registry_close(registry);
}

static myr_rc try_fleet(myr_registry *registry, const myr_fleet_row *row, myr_err *err)
{
    int64_t id = 0;
    return myr_registry_fleet_add(registry, row, &id, err);
}

TEST(registry_bad_fleets_are_refused)
{
    myr_registry *registry = fixture_open();
    myr_err err = {0};
    static const char *const bad_names[] = {"", "a b", "../x", "a/b", "a@b", ".hidden", "-x", "\xc3\xa4", NULL};
    for (size_t i = 0; i < MYR_COUNT_OF(bad_names); i++) {
        myr_fleet_row row = fixture_fleet(bad_names[i]);
        EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    }
    myr_fleet_row row = fixture_fleet("x");
    row.output_count = 0;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    row.output_count = MYR_OUTPUTS_MAX + 1;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    row = fixture_fleet("x");
    const char *twice[] = {"a", "b", "a"};
    row.features = twice;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'a' is named twice");
    const char *empty[] = {"a", "", "b"};
    row.features = empty;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    const char *not_utf8[] = {"a", "\xff", "b"};
    row.features = not_utf8;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row *rows = NULL;
    size_t count = 99;
    EXPECT_RC(myr_registry_fleets(registry, arena, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 0); /* nothing of them is left */
    myr_registry_close(registry);
}

TEST(registry_partition_columns_are_set_once)
{
    myr_registry *registry = fixture_open();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    int64_t id = 0;
    myr_fleet_row row = fixture_fleet("oj");
    row.partition_count = 0;
    EXPECT_RC(myr_registry_fleet_add(registry, &row, &id, &err), OK, &err);
    static const char *const reserved[] = {"store", "level"};
    EXPECT_RC(myr_registry_fleet_partition(registry, id, reserved, 2, &err), BAD_INPUT, &err);
    static const char *const twice[] = {"store", "store"};
    EXPECT_RC(myr_registry_fleet_partition(registry, id, twice, 2, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_registry_fleet_partition(registry, id, fixture_partition, 2, &err), OK, &err);
    EXPECT_RC(myr_registry_fleet_partition(registry, id, fixture_partition, 2, &err), CONFLICT, &err);
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "oj", &row, &err), OK, &err);
    EXPECT_INT(row.partition_count, 2);
    EXPECT_STR(row.partition_columns[1], fixture_partition[1]);
    EXPECT_INT(row.feature_count, 3);
    myr_registry_close(registry);
}

TEST(registry_limits_of_a_fleet)
{
    myr_registry *registry = fixture_open();
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    char name[MYR_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    name[MYR_NAME_BYTES_MAX + 1] = '\0';
    myr_fleet_row row = fixture_fleet(name);
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    name[MYR_NAME_BYTES_MAX] = '\0';
    row.output_count = MYR_OUTPUTS_MAX;
    EXPECT_RC(try_fleet(registry, &row, &err), OK, &err);

    const char **names = myr_arena_calloc(arena, MYR_FEATURES_MAX + 1, sizeof *names);
    for (size_t i = 0; i <= MYR_FEATURES_MAX; i++)
        names[i] = myr_arena_printf(arena, "feature %zu", i);
    row = fixture_fleet("wide");
    row.features = names;
    row.feature_count = MYR_FEATURES_MAX + 1;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    row.feature_count = MYR_FEATURES_MAX;
    row.partition_columns = names;
    row.partition_count = MYR_PARTITION_COLUMNS_MAX + 1;
    EXPECT_RC(try_fleet(registry, &row, &err), BAD_INPUT, &err);
    row.partition_count = MYR_PARTITION_COLUMNS_MAX;
    EXPECT_RC(try_fleet(registry, &row, &err), OK, &err);
    myr_fleet_row back = {0};
    EXPECT_RC(myr_registry_fleet_get(registry, arena, "wide", &back, &err), OK, &err);
    EXPECT_INT(back.feature_count, MYR_FEATURES_MAX);
    EXPECT_STR(back.features[MYR_FEATURES_MAX - 1], names[MYR_FEATURES_MAX - 1]);
    myr_registry_close(registry);
}

TEST(registry_versions_count_per_segment)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    EXPECT_INT(fixture_add(registry, fleet, "store=2,brand=1"), 1);
    EXPECT_INT(fixture_add(registry, fleet, "store=2,brand=1"), 2);
    EXPECT_INT(fixture_add(registry, fleet, "brand=1"), 1);
    EXPECT_INT(fixture_add(registry, fleet, ""), 1);
    EXPECT_INT(fixture_add(registry, fleet, "store=2,brand=1"), 3);
    myr_registry_close(registry);
    registry = fixture_open();
    EXPECT_INT(fixture_add(registry, fleet, ""), 2);
    myr_registry_close(registry);
}

TEST(registry_model_comes_back_whole)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_tag tags[] = {{"stage", "test=1"}, {"by", "me"}};
    myr_model_row row = fixture_model("store=2,brand=a%2Cb");
    row.tags = tags;
    row.tag_count = 2;
    row.baseline = (double)NAN;
    row.features = "p\nd";
    int64_t version = 0;
    EXPECT_RC(myr_registry_model_add(registry, fleet, &row, &version, &err), OK, &err);
    row.tag_count = 0;
    row.artifact = HEX_B;
    row.metrics = NULL;
    row.baseline = -0.1;
    row.features = NULL;
    EXPECT_RC(myr_registry_model_add(registry, fleet, &row, &version, &err), OK, &err);

    myr_model_row back = {0};
    EXPECT_RC(myr_registry_model_get(registry, arena, fleet, row.segment, 1, &back, &err), OK, &err);
    EXPECT_STR(back.segment, "store=2,brand=a%2Cb");
    EXPECT_INT(back.key_columns, 2);
    EXPECT_INT(back.version, 1);
    EXPECT_STR(back.algorithm, "ridge");
    EXPECT_STR(back.format, "linear");
    EXPECT_STR(back.artifact, HEX_A);
    EXPECT_INT(back.artifact_bytes, 100);
    EXPECT_STR(back.metrics, "{\"rmse\":0.5}");
    EXPECT_STR(back.fingerprint, "f00d");
    EXPECT_STR(back.source, "train");
    EXPECT_STR(back.features, "p\nd");
    EXPECT(isnan(back.baseline));
    EXPECT_INT(back.created_ms, 77);
    EXPECT_INT(back.tag_count, 2);
    EXPECT_STR(back.tags[0].key, "by"); /* by key */
    EXPECT_STR(back.tags[1].value, "test=1");
    EXPECT_RC(myr_registry_model_get(registry, arena, fleet, row.segment, 0, &back, &err), OK, &err); /* newest */
    EXPECT_INT(back.version, 2);
    EXPECT_STR(back.artifact, HEX_B);
    EXPECT_STR(back.metrics, "{}");
    EXPECT_STR(back.features, "");
    EXPECT(back.baseline == -0.1);
    EXPECT_INT(back.tag_count, 0);
    EXPECT_RC(myr_registry_model_get(registry, arena, fleet, row.segment, 3, &back, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "version 3");
    EXPECT_RC(myr_registry_model_get(registry, arena, fleet, "brand=9", 0, &back, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "oj@brand=9");
    EXPECT_RC(myr_registry_model_get(registry, arena, fleet, "brand", 0, &back, &err), BAD_INPUT, &err);
    myr_registry_close(registry);
}

static myr_rc try_model(myr_registry *registry, int64_t fleet, const myr_model_row *row, myr_err *err)
{
    int64_t version = 0;
    return myr_registry_model_add(registry, fleet, row, &version, err);
}

TEST(registry_bad_models_are_refused)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    static const char *const bad_segments[] = {"brand", "=1", "brand=1,", ",brand=1", "brand=1,brand=2", "brand=%4"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad_segments); i++) {
        myr_model_row row = fixture_model(bad_segments[i]);
        EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    }
    myr_model_row row = fixture_model("brand=1");
    row.key_columns = 2;
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    row = fixture_model("brand=1");
    row.algorithm = "no good";
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    static const char *const bad_hex[] = {
        "",        "abc",
        HEX_A "a", "../../../../../../../../../../../../../../../../../../../../../etc/x",
        NULL,      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad_hex); i++) {
        row = fixture_model("brand=1");
        row.artifact = bad_hex[i];
        EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    }
    row = fixture_model("brand=1");
    EXPECT_RC(try_model(registry, fleet + 1, &row, &err), BAD_INPUT, &err); /* no such fleet */
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_model_row *rows = NULL;
    size_t count = 9;
    EXPECT_RC(myr_registry_models(registry, arena, fleet, NULL, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 0);
    EXPECT_INT(fixture_add(registry, fleet, "brand=1"), 1); /* failures used up no version */
    myr_registry_close(registry);
}

TEST(registry_limits_of_a_model)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_tag tags[MYR_TAGS_MAX + 1];
    for (int i = 0; i <= MYR_TAGS_MAX; i++)
        tags[i] = (myr_tag){myr_arena_printf(arena, "k%02d", i), "v"};
    myr_model_row row = fixture_model("brand=1");
    row.tags = tags;
    row.tag_count = MYR_TAGS_MAX + 1;
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    char *value = myr_arena_calloc(arena, MYR_TAG_VALUE_BYTES_MAX + 2, 1);
    memset(value, 'v', MYR_TAG_VALUE_BYTES_MAX + 1);
    tags[5].value = value;
    row.tag_count = MYR_TAGS_MAX;
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "k05");
    value[MYR_TAG_VALUE_BYTES_MAX] = '\0';
    EXPECT_RC(try_model(registry, fleet, &row, &err), OK, &err);
    myr_model_row back = {0};
    EXPECT_RC(myr_registry_model_get(registry, arena, fleet, "brand=1", 0, &back, &err), OK, &err);
    EXPECT_INT(back.tag_count, MYR_TAGS_MAX);
    EXPECT_STR(back.tags[5].value, value);
    tags[6].key = "k05";
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "twice");
    tags[6].key = "k=5";
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);

    char *metrics = myr_arena_calloc(arena, MYR_METRICS_BYTES_MAX + 2, 1);
    memset(metrics, ' ', MYR_METRICS_BYTES_MAX + 1);
    row = fixture_model("brand=2");
    row.metrics = metrics;
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    metrics[MYR_METRICS_BYTES_MAX] = '\0';
    EXPECT_RC(try_model(registry, fleet, &row, &err), OK, &err);

    char segment[] = "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1";
    row = fixture_model(segment);
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    segment[strlen(segment) - 4] = '\0';
    row = fixture_model(segment);
    EXPECT_RC(try_model(registry, fleet, &row, &err), OK, &err);
    char *text = myr_arena_calloc(arena, MYR_KEY_TEXT_BYTES_MAX + 2, 1);
    memset(text, 'x', MYR_KEY_TEXT_BYTES_MAX + 1);
    memcpy(text, "brand=", 6);
    row = fixture_model(text);
    EXPECT_RC(try_model(registry, fleet, &row, &err), BAD_INPUT, &err);
    text[MYR_KEY_TEXT_BYTES_MAX] = '\0';
    EXPECT_RC(try_model(registry, fleet, &row, &err), OK, &err);
    myr_registry_close(registry);
}

/* The models that a filter gives, as "segment/version;…". */
static void expect_models(myr_registry *registry, int64_t fleet, const myr_model_filter *filter, const char *wanted)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    myr_model_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_models(registry, arena, fleet, filter, &rows, &count, &err), OK, &err);
    char text[2000] = "";
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s/%lld;", rows[i].segment, (long long)rows[i].version);
    }
    EXPECT_STR(text, wanted);
}

TEST(registry_filters)
{
    int64_t fleet = 0, other = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    myr_fleet_row row = fixture_fleet("other");
    EXPECT_RC(myr_registry_fleet_add(registry, &row, &other, &err), OK, &err);
    myr_tag blue = {"color", "blue"}, red = {"color", "red"};
    struct {
        const char *segment;
        myr_tag *tag;
        int64_t fleet;
    } adds[] = {{"", NULL, fleet},
                {"brand=2", &blue, fleet},
                {"brand=1", &blue, fleet},
                {"store=2,brand=1", &blue, fleet},
                {"store=2,brand=1", &red, fleet},
                {"store=10,brand=1", NULL, fleet},
                {"store=2,brand=2", &blue, fleet},
                {"store=2,brand=1", &blue, other},
                {"brand=a%2Cb%25", NULL, fleet}};
    for (size_t i = 0; i < MYR_COUNT_OF(adds); i++) {
        myr_model_row model = fixture_model(adds[i].segment);
        model.tags = adds[i].tag;
        model.tag_count = adds[i].tag != NULL;
        EXPECT_RC(try_model(registry, adds[i].fleet, &model, &err), OK, &err);
    }
    expect_models(registry, fleet, NULL,
                  "store=10,brand=1/1;store=2,brand=1/1;store=2,brand=1/2;store=2,brand=2/1;brand=1/1;brand=2/"
                  "1;brand=a%2Cb%25/1;/1;");
    expect_models(registry, fleet, &(myr_model_filter){.newest_only = true},
                  "store=10,brand=1/1;store=2,brand=1/2;store=2,brand=2/1;brand=1/1;brand=2/1;brand=a%2Cb%25/1;/1;");
    expect_models(registry, fleet, &(myr_model_filter){.segment_part = "brand=1", .newest_only = true},
                  "store=10,brand=1/1;store=2,brand=1/2;brand=1/1;");
    expect_models(registry, fleet, &(myr_model_filter){.segment_part = "brand=1,store=2"},
                  "store=2,brand=1/1;store=2,brand=1/2;");
    expect_models(registry, fleet, &(myr_model_filter){.segment_part = "brand=a%2cb%25"},
                  "brand=a%2Cb%25/1;"); /* decoded */
    expect_models(registry, fleet, &(myr_model_filter){.segment_part = "brand=9"}, "");
    expect_models(registry, fleet, &(myr_model_filter){.segment_part = "shop=1"}, "");
    expect_models(registry, fleet, &(myr_model_filter){.segment_part = ""}, /* no part is asked for */
                  "store=10,brand=1/1;store=2,brand=1/1;store=2,brand=1/2;store=2,brand=2/1;brand=1/1;brand=2/"
                  "1;brand=a%2Cb%25/1;/1;");
    expect_models(registry, fleet, &(myr_model_filter){.tag = "color=blue"},
                  "store=2,brand=1/1;store=2,brand=2/1;brand=1/1;brand=2/1;");
    expect_models(registry, fleet, &(myr_model_filter){.tag = "color=blue", .newest_only = true},
                  "store=2,brand=2/1;brand=1/1;brand=2/1;");
    expect_models(registry, fleet, &(myr_model_filter){.tag = "color=blue", .segment_part = "brand=1"},
                  "store=2,brand=1/1;brand=1/1;");
    expect_models(registry, fleet, &(myr_model_filter){.tag = "color="}, "");
    expect_models(registry, other, &(myr_model_filter){.tag = "color=blue"}, "store=2,brand=1/1;");

    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_model_row *rows = NULL;
    size_t count = 0;
    static const char *const bad_tags[] = {"", "color", "=blue"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad_tags); i++) {
        EXPECT_RC(
            myr_registry_models(registry, arena, fleet, &(myr_model_filter){.tag = bad_tags[i]}, &rows, &count, &err),
            BAD_INPUT, &err);
        EXPECT_HAS(err.message, "key=value");
    }
    EXPECT_RC(
        myr_registry_models(registry, arena, fleet, &(myr_model_filter){.segment_part = "brand"}, &rows, &count, &err),
        BAD_INPUT, &err);
    EXPECT_RC(myr_registry_models(registry, arena, fleet, &(myr_model_filter){.brief = true}, &rows, &count, &err), OK,
              &err);
    EXPECT_STR(rows[0].metrics, "");
    myr_registry_close(registry);
}

TEST(registry_runs)
{
    myr_registry *registry = fixture_open();
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    int64_t first = 0, second = 0;
    myr_run_row row = {.fleet = "oj", .release = 3, .input = "in.csv", .output = "out", .started_ms = 55};
    EXPECT_RC(myr_registry_run_start(registry, &row, &first, &err), OK, &err);
    EXPECT_RC(myr_registry_run_start(registry, &row, &second, &err), OK, &err);
    EXPECT(second > first);
    EXPECT_RC(myr_registry_run_end(registry, first, "completed", 100, 99, "1 row without a model", &err), OK, &err);
    EXPECT_RC(myr_registry_run_end(registry, second + 1, "failed", 0, 0, "", &err), NOT_FOUND, &err);
    EXPECT_RC(myr_registry_run_end(registry, first, "done", 0, 0, "", &err), BAD_INPUT, &err);
    myr_run_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_runs(registry, arena, 0, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT_INT(rows[0].id, second);
    EXPECT_STR(rows[0].state, "running");
    EXPECT_STR(rows[1].state, "completed");
    EXPECT_STR(rows[1].message, "1 row without a model");
    EXPECT_INT(rows[1].row_count, 100);
    EXPECT_INT(rows[1].ok_count, 99);
    EXPECT_INT(rows[1].release, 3);
    EXPECT_STR(rows[1].input, "in.csv");
    EXPECT(rows[1].ended_ms > 55);
    myr_registry_close(registry);
}

/* One that was killed is found behind any number of others, and so is the last of a state that nothing has now. */
TEST(registry_the_newest_run_of_a_state)
{
    enum { LATER = 1500 };
    myr_registry *registry = fixture_open();
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    int64_t killed = 0, last = 0, found = -1;
    myr_run_row row = {.fleet = "oj", .settings = "{}", .started_ms = 55}, *rows = NULL;
    EXPECT_RC(myr_registry_run_newest(registry, "running", &found, &err), OK, &err);
    EXPECT_INT(found, 0);
    EXPECT_RC(myr_registry_run_start(registry, &row, &killed, &err), OK, &err);
    EXPECT_RC(myr_registry_begin(registry, &err), OK, &err);
    for (int i = 0; i < LATER; i++) {
        EXPECT_RC(myr_registry_run_start(registry, &row, &last, &err), OK, &err);
        EXPECT_RC(myr_registry_run_end(registry, last, "completed", 1, 1, "", &err), OK, &err);
    }
    row.settings = ""; /* of a version that kept none: nobody can take it up */
    EXPECT_RC(myr_registry_run_start(registry, &row, &found, &err), OK, &err);
    EXPECT_RC(myr_registry_commit(registry, &err), OK, &err);
    EXPECT_RC(myr_registry_run_newest(registry, "running", &found, &err), OK, &err);
    EXPECT_INT(found, killed);
    EXPECT_RC(myr_registry_run_newest(registry, "completed", &found, &err), OK, &err);
    EXPECT_INT(found, last);
    EXPECT_RC(myr_registry_run_newest(registry, "interrupted", &found, &err), BAD_INPUT, &err);
    size_t count = 0;
    EXPECT_RC(myr_registry_runs(registry, arena, 0, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, LATER + 2);
    EXPECT_RC(myr_registry_runs(registry, arena, 30, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 30);
    EXPECT_INT(rows[29].id, last - 28);
    myr_registry_close(registry);
}

/* A fleet, models with tags, a release, all reads: every allocation of it fails once. */
TEST(registry_survives_each_failed_allocation)
{
    int64_t fleet = 0;
    myr_registry_close(fixture_registry(&fleet));
    char path[TESTING_PATH_BYTES];
    fixture_path(path);
    FAIL_EACH_ALLOC (nth) {
        myr_registry *registry = NULL;
        myr_arena *arena = NULL;
        myr_rc rc = myr_registry_open(path, false, &registry, NULL);
        if (rc == MYR_OK && (arena = myr_arena_new(0)) == NULL) rc = MYR_NO_MEMORY;
        myr_tag tag = {"a", "b"};
        myr_model_row row = fixture_model("store=2,brand=%2C");
        row.tags = &tag;
        row.tag_count = 1;
        int64_t version = 0, next = 0;
        if (rc == MYR_OK) rc = myr_registry_model_add(registry, fleet, &row, &version, NULL);
        myr_model_row *rows = NULL;
        size_t count = 0;
        if (rc == MYR_OK) rc = myr_registry_models(registry, arena, fleet, NULL, &rows, &count, NULL);
        myr_fleet_row fleet_row = {0};
        if (rc == MYR_OK) rc = myr_registry_fleet_get(registry, arena, "oj", &fleet_row, NULL);
        if (rc == MYR_OK) rc = myr_registry_release_next(registry, fleet, &next, NULL);
        myr_release_row release = {.number = next, .pack = "packs/oj/r"};
        int64_t id = rc == MYR_OK ? rows[0].id : 0;
        if (rc == MYR_OK) rc = myr_registry_release_add(registry, fleet, &release, &id, 1, NULL);
        int64_t *ids = NULL;
        if (rc == MYR_OK) rc = myr_registry_release_model_ids(registry, arena, fleet, next, &ids, &count, NULL);
        if (rc == MYR_OK) rc = myr_registry_fleet_get(registry, arena, "ojj", &fleet_row, NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_NOT_FOUND || rc == MYR_NO_MEMORY); /* the last one is NOT_FOUND when all went well */
        myr_arena_free(arena);
        myr_registry_close(registry);
    }
}

RUN()
