/* Tests of fleet: workspaces, and bringing models in. */
#include "fleet_fixture.h"

#include <unistd.h>

/* ---- workspace ---- */

TEST(workspace_is_made_once)
{
    char root[TESTING_PATH_BYTES];
    char path[TESTING_PATH_BYTES + 40];
    fixture_root(root);
    bool made = false;
    myr_err err = {0};
    EXPECT_RC(myr_workspace_init(root, fixture_config, &made, &err), OK, &err);
    EXPECT(made);
    EXPECT_RC(myr_workspace_init(root, "other text", &made, &err), OK, &err);
    EXPECT(!made);
    char *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/myriad.yaml", root);
    EXPECT_RC(myr_file_read(path, 1000, &text, &size, &err), OK, &err);
    EXPECT_STR(text, fixture_config); /* an edited configuration is kept */
    myr_free(text);
    snprintf(path, sizeof path, "%s/registry.db", root); /* one that was killed half-way is completed */
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    EXPECT_RC(myr_workspace_init(root, "other text", &made, &err), OK, &err);
    EXPECT(made);
    myr_workspace *workspace = NULL;
    EXPECT_RC(myr_workspace_open(root, &workspace, &err), OK, &err);
    EXPECT_STR(workspace->root, root);
    myr_workspace_close(workspace);
    myr_workspace_close(NULL);
}

TEST(workspace_is_found_from_below)
{
    char root[TESTING_PATH_BYTES], found[MYR_PATH_BYTES_MAX], small[4], before[MYR_PATH_BYTES_MAX],
        deep[TESTING_PATH_BYTES + 40];
    myr_err err = {0};
    fixture_root(root);
    EXPECT_RC(myr_workspace_find(root, found, sizeof found, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "myriad init");
    myr_workspace_close(fixture_workspace());
    EXPECT_RC(myr_workspace_find(root, found, sizeof found, &err), OK, &err);
    EXPECT_STR(found, root);
    EXPECT_RC(myr_workspace_find(root, small, sizeof small, &err), BAD_INPUT, &err);
    EXPECT(getcwd(before, sizeof before) != NULL);
    snprintf(deep, sizeof deep, "%s/packs/a/b", root);
    EXPECT_RC(myr_io_mkdirs(deep, &err), OK, &err);
    EXPECT(chdir(deep) == 0);
    myr_rc below = myr_workspace_find(NULL, found, sizeof found, &err);
    EXPECT(chdir("/") == 0);
    char outside[MYR_PATH_BYTES_MAX];
    myr_rc above = myr_workspace_find(NULL, outside, sizeof outside, &err);
    EXPECT(chdir(before) == 0);
    EXPECT_INT(below, MYR_OK);
    EXPECT_HAS(found, "/ws");
    EXPECT_INT(above, MYR_NOT_FOUND);
    EXPECT_HAS(err.message, "--workspace");
}

TEST(workspace_damage_is_named)
{
    char root[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 40];
    myr_err err = {0};
    myr_workspace_close(fixture_workspace());
    fixture_root(root);
    snprintf(path, sizeof path, "%s/registry.db", root);
    EXPECT_RC(myr_file_write(path, "garbage garbage garbage", 23, &err), OK, &err);
    myr_workspace *workspace = NULL;
    EXPECT_RC(myr_workspace_open(root, &workspace, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "registry.db");
    EXPECT(workspace == NULL);
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    EXPECT_RC(myr_workspace_open(root, &workspace, &err), NOT_FOUND, &err);
}

TEST(workspace_init_survives_each_failed_file_call)
{
    char root[TESTING_PATH_BYTES];
    fixture_root(root);
    FAIL_EACH_IO(nth)
    {
        bool made = false;
        myr_err err = {0};
        myr_rc rc = myr_workspace_init(root, fixture_config, &made, &err);
        TESTING_NO_FAULTS();
        if (rc != MYR_OK) EXPECT(!made);
        EXPECT_RC(myr_workspace_init(root, fixture_config, &made, &err), OK, &err); /* again: complete */
        myr_workspace *workspace = NULL;
        EXPECT_RC(myr_workspace_open(root, &workspace, &err), OK, &err);
        myr_workspace_close(workspace);
        EXPECT_RC(myr_io_remove_tree(root, &err), OK, &err);
    }
}

/* ---- what a fleet is made of ---- */

static myr_fleet_row fleet_row(myr_workspace *workspace, myr_arena *arena, const char *name)
{
    myr_fleet_row row = {0};
    myr_err err = {0};
    EXPECT_RC(myr_registry_fleet_get(workspace->registry, arena, name, &row, &err), OK, &err);
    return row;
}

static void expect_models(myr_workspace *workspace, const char *fleet, const char *wanted)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    myr_model_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_models(workspace->registry, arena, fleet_row(workspace, arena, fleet).id, NULL, &rows,
                                  &count, &err),
              OK, &err);
    char text[2000] = "";
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s/%lld;", rows[i].segment, (long long)rows[i].version);
    }
    EXPECT_STR(text, wanted);
}

static void note_progress(void *ctx, int64_t done, int64_t total)
{
    int64_t *last = ctx;
    MYR_ASSERT(done >= last[0]);
    last[0] = done;
    last[1] = total;
}

TEST(import_makes_the_fleet_from_its_items)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    myr_tag tag = {"stage", "test"};
    fixture_add(&list, "brand=1", 1);
    fixture_add(&list, "store=2,brand=1", 2)->tags = &tag; /* the first with most parts gives the order */
    list.items[1].tag_count = 1;
    list.items[1].metrics = "{\"rmse\":1}";
    list.items[1].fingerprint = "fp";
    list.items[1].source = "here";
    list.items[1].baseline = 4.5;
    fixture_add(&list, "brand=1,store=3", 3);
    fixture_add(&list, "", 4);
    fixture_add(&list, "brand=%41%2c", 5);
    int64_t progress[2] = {0, 0};
    size_t item = 0;
    myr_fleet_def def = {.name = "oj", .target = "logmove", .target_transform = "log"};
    EXPECT_RC(myr_fleet_import(workspace, &def, list.items, list.count, note_progress, progress, &item, &err), OK,
              &err);
    EXPECT_INT(progress[0], 5);
    EXPECT_INT(progress[1], 5);
    for (size_t i = 0; i < list.count; i++)
        EXPECT(list.items[i].out_version == 1 && !list.items[i].out_reused);
    myr_fleet_row row = fleet_row(workspace, arena, "oj");
    EXPECT_INT(row.partition_count, 2);
    EXPECT_STR(row.partition_columns[0], "store");
    EXPECT_INT(row.feature_count, 2);
    EXPECT_STR(row.features[1], "deal");
    EXPECT_INT(row.output_count, 1);
    EXPECT_STR(row.target_transform, "log");
    expect_models(workspace, "oj", "store=2,brand=1/1;store=3,brand=1/1;brand=1/1;brand=A%2C/1;/1;");
    myr_model_row model = {0};
    EXPECT_RC(myr_registry_model_get(workspace->registry, arena, row.id, "store=2,brand=1", 1, &model, &err), OK, &err);
    EXPECT_STR(model.algorithm, "ridge");
    EXPECT_STR(model.format, "linear");
    EXPECT_STR(model.metrics, "{\"rmse\":1}");
    EXPECT_STR(model.fingerprint, "fp");
    EXPECT_STR(model.source, "here");
    EXPECT(model.baseline == 4.5);
    EXPECT_STR(model.tags[0].value, "test");
    char *data = NULL;
    size_t size = 0;
    EXPECT_RC(myr_store_get(workspace->store, model.artifact, &data, &size, &err), OK, &err);
    EXPECT(size == list.items[1].size_bytes && memcmp(data, list.items[1].data, size) == 0);
    myr_free(data);
}

TEST(import_again_reuses)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", "store=2,brand=1:5;brand=1:6");
    MYR_AUTO(fixture_items) list = {.count = 0};
    fixture_add(&list, "brand=1,store=2", 5); /* the same model, written the other way round */
    fixture_add(&list, "brand=1", 7);         /* another model */
    fixture_add(&list, "", 6);                /* the same bytes for another segment */
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), OK, &err);
    EXPECT(list.items[0].out_reused && list.items[0].out_version == 1);
    EXPECT(!list.items[1].out_reused && list.items[1].out_version == 2);
    EXPECT(!list.items[2].out_reused && list.items[2].out_version == 1);
    myr_tag tag = {"a", "b"}, other = {"a", "c"};
    const myr_tag *tags[] = {&tag, &tag, &other, NULL};
    static const bool reused[] = {false, true, false, false};
    for (size_t i = 0; i < MYR_COUNT_OF(tags); i++) { /* tags are part of what "the same" means */
        list.items[0].tags = tags[i];
        list.items[0].tag_count = tags[i] != NULL;
        EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), OK, &err);
        EXPECT(list.items[0].out_reused == reused[i]);
    }
    list.items[0].algorithm = "mean";
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), OK, &err);
    EXPECT(!list.items[0].out_reused);
    expect_models(workspace, "oj",
                  "store=2,brand=1/1;store=2,brand=1/2;store=2,brand=1/3;store=2,brand=1/4;store=2,brand=1/5;brand=1/"
                  "1;brand=1/2;/1;");
}

TEST(import_takes_files_and_other_names)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(fixture_items) list = {.count = 0};
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 20];
    myr_err err = {0};
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/m.json", dir);
    static const char *const names[] = {"cost", "promo"};
    myr_fleet_item *item = fixture_add(&list, "brand=1", 1);
    EXPECT_RC(myr_file_write(path, item->data, item->size_bytes, &err), OK, &err);
    *item = (myr_fleet_item){.name = "m.json",
                             .path = path,
                             .segment = "brand=1",
                             .features = names,
                             .feature_count = 2,
                             .baseline = (double)NAN};
    EXPECT_RC(fixture_import(workspace, "x", &list, NULL, &err), OK, &err);
    myr_fleet_row row = fleet_row(workspace, arena, "x");
    EXPECT_STR(row.features[0], "cost");
    myr_model_row model = {0};
    EXPECT_RC(myr_registry_model_get(workspace->registry, arena, row.id, "brand=1", 1, &model, &err), OK, &err);
    EXPECT_STR(model.features, "cost\npromo");
    EXPECT_STR(model.source, path);
    EXPECT_STR(model.algorithm, "linear"); /* from the file */
    fixture_release(workspace, "x");       /* compiled again from the artifact, with those names */
    item->feature_count = 1;
    EXPECT_RC(fixture_import(workspace, "x", &list, NULL, &err), BAD_INPUT, &err);
    item->features = NULL; /* the file's own names are none of the fleet's */
    item->feature_count = 0;
    EXPECT_RC(fixture_import(workspace, "x", &list, NULL, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "price");
    item->path = "/nowhere/m.json";
    size_t at = 99;
    EXPECT_RC(fixture_import(workspace, "x", &list, &at, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "/nowhere/m.json");
    EXPECT_INT(at, 0);
    item->path = NULL;
    EXPECT_RC(fixture_import(workspace, "x", &list, NULL, &err), BAD_INPUT, &err);
}

/* ---- refusals: nothing is left behind ---- */

/* Import and expect the failure of one item; afterwards the registry and the store are as before. */
static void expect_refused(fixture_items *list, myr_rc wanted, size_t wanted_item, const char *part)
{
    myr_workspace *workspace = fixture_workspace();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    size_t item = 77;
    myr_rc rc = fixture_import(workspace, "oj", list, &item, &err);
    if (rc != wanted || item != wanted_item) {
        fail_msg("%s item %zu: %s", myr_rc_name(rc), item, rc != MYR_OK ? err.message : "");
    }
    EXPECT_HAS(err.message, part);
    myr_fleet_row *fleets = NULL;
    size_t count = 9;
    EXPECT_RC(myr_registry_fleets(workspace->registry, arena, &fleets, &count, &err), OK, &err);
    EXPECT_INT(count, 0);
    char path[TESTING_PATH_BYTES + 40], root[TESTING_PATH_BYTES];
    fixture_root(root);
    snprintf(path, sizeof path, "%s/artifacts", root);
    char **names = NULL;
    size_t name_count = 9;
    EXPECT_RC(myr_io_list(path, &names, &name_count, &err), OK, &err);
    EXPECT_INT(name_count, 0);
    myr_names_free(names, name_count);
    myr_workspace_close(workspace);
}

TEST(import_is_all_or_nothing)
{
    MYR_AUTO(fixture_items) list = {.count = 0};
    for (int i = 0; i < 20; i++) {
        static char segments[20][32];
        snprintf(segments[i], sizeof segments[i], "store=%d,brand=1", i);
        fixture_add(&list, segments[i], i);
        list.items[i].name = i == 7 ? "seven.json" : i == 12 ? "twelve.json" : "x";
    }
    myr_fleet_item good = list.items[7], late = list.items[12];
    list.items[7].data = "not a model";
    list.items[7].size_bytes = 11;
    list.items[12].data = "nor this";
    list.items[12].size_bytes = 8;
    expect_refused(&list, MYR_BAD_FORMAT, 7, "seven.json"); /* the first of them, whichever thread met it */
    list.items[7] = good;
    expect_refused(&list, MYR_BAD_FORMAT, 12, "twelve.json");
    list.items[12] = late;
    list.items[12].segment = "store=12,shop=1";
    expect_refused(&list, MYR_BAD_INPUT, 12, "'shop' is not a partition column");
    list.items[12].segment = "store=12,brand";
    expect_refused(&list, MYR_BAD_INPUT, 12, "name=value");
    list.items[12].segment = "brand=1,store=3";
    expect_refused(&list, MYR_BAD_INPUT, 12, "given before");
    list.items[12].segment = "brand=1";
    list.items[12].data = fixture_two_outputs;
    list.items[12].size_bytes = strlen(fixture_two_outputs);
    expect_refused(&list, MYR_BAD_INPUT, 12, "2 values per row");
    list.items[12] = late;
    list.items[0].data = "{}";
    list.items[0].size_bytes = 2;
    expect_refused(&list, MYR_BAD_FORMAT, 0, "x");
}

TEST(import_refuses_bad_tags_after_all_else)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    myr_tag bad = {"not a key", "v"};
    fixture_add(&list, "brand=1", 1);
    fixture_add(&list, "brand=2", 1)->tags = &bad;
    list.items[1].tag_count = 1;
    list.items[1].name = "second";
    size_t item = 9;
    EXPECT_RC(fixture_import(workspace, "oj", &list, &item, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "second");
    EXPECT_INT(item, 1);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row row = {0};
    EXPECT_RC(myr_registry_fleet_get(workspace->registry, arena, "oj", &row, &err), NOT_FOUND, &err);
}

TEST(import_keeps_to_what_the_fleet_is)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    size_t item = 0;
    fixture_bring(workspace, "oj", "store=2,brand=1:5");
    fixture_add(&list, "brand=1", 6);
    static const char *const other_columns[] = {"brand", "store"};
    static const char *const other_features[] = {"deal", "price"};
    myr_fleet_def defs[] = {
        {.name = "oj", .partition_columns = other_columns, .partition_count = 2},
        {.name = "oj", .partition_columns = fixture_columns, .partition_count = 1},
        {.name = "oj", .features = other_features, .feature_count = 2},
        {.name = "oj", .features = fixture_features, .feature_count = 1},
        {.name = "oj", .target = "sales"},
        {.name = "oj", .target_transform = "log"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(defs); i++) {
        EXPECT_RC(myr_fleet_import(workspace, &defs[i], list.items, 1, NULL, NULL, &item, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "another fleet name");
        EXPECT_INT(item, 1); /* not about an item */
    }
    myr_fleet_def same = {.name = "oj",
                          .partition_columns = fixture_columns,
                          .partition_count = 2,
                          .features = fixture_features,
                          .feature_count = 2,
                          .target = "",
                          .target_transform = ""};
    EXPECT_RC(myr_fleet_import(workspace, &same, list.items, 1, NULL, NULL, &item, &err), OK, &err);
    myr_fleet_def nameless[] = {{.name = NULL}, {.name = ""}, {.name = "../x"}};
    for (size_t i = 0; i < MYR_COUNT_OF(nameless); i++) {
        EXPECT_RC(myr_fleet_import(workspace, &nameless[i], list.items, 1, NULL, NULL, &item, &err), BAD_INPUT, &err);
    }
    EXPECT_RC(myr_fleet_import(workspace, &same, list.items, 0, NULL, NULL, &item, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_fleet_import(workspace, &same, list.items, MYR_PACK_MODELS_MAX + 1, NULL, NULL, &item, &err),
              TOO_LARGE, &err);
    expect_models(workspace, "oj", "store=2,brand=1/1;brand=1/1;");
}

static void refuse_reserved(const char *segment, const char *part)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    fixture_add(&list, segment, 6);
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, part);
    EXPECT_HAS(err.message, "batch"); /* says whose word it is */
}

TEST(import_refuses_columns_that_a_batch_writes)
{
    refuse_reserved("prediction=1", "'prediction'");
    refuse_reserved("store=1,prediction_0=1", "'prediction_0'");
    refuse_reserved("prediction_1023=1", "'prediction_1023'");
    refuse_reserved("model=1", "'model'");
    refuse_reserved("model_version=1", "'model_version'");
    refuse_reserved("level=1", "'level'");
    refuse_reserved("Status=1", "'Status'"); /* SQL does not tell case apart */
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "near", "prediction_x=1,prediction_=2,models=3,levels=4:5");
    expect_models(workspace, "near", "prediction_x=1,prediction_=2,models=3,levels=4/1;");
}

TEST(import_gives_the_canonical_segment)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    fixture_bring(workspace, "oj", "store=1,brand=2:5");
    fixture_add(&list, "brand=%41,store=", 6);
    fixture_add(&list, "", 7);
    myr_fleet_def def = {.name = "oj", .out_arena = arena};
    EXPECT_RC(myr_fleet_import(workspace, &def, list.items, list.count, NULL, NULL, NULL, &err), OK, &err);
    EXPECT_STR(list.items[0].out_segment, "store=,brand=A");
    EXPECT_STR(list.items[1].out_segment, "");
    def.out_arena = NULL; /* not asked for: as it was */
    list.items[0].out_segment = NULL;
    EXPECT_RC(myr_fleet_import(workspace, &def, list.items, 1, NULL, NULL, NULL, &err), OK, &err);
    EXPECT(list.items[0].out_segment == NULL);
}

TEST(import_of_keys_after_the_global_model)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_fleet_ptr) before = NULL, after = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    uint8_t status = 0;
    fixture_bring(workspace, "oj", ":1");
    fixture_release(workspace, "oj");
    fixture_bring(workspace, "oj", ":1"); /* still none */
    EXPECT_INT(fleet_row(workspace, arena, "oj").partition_count, 0);
    fixture_bring(workspace, "oj", "brand=1:2;store=2,brand=1:3");
    myr_fleet_row row = fleet_row(workspace, arena, "oj");
    EXPECT_INT(row.partition_count, 2);
    EXPECT_STR(row.partition_columns[0], "store");
    EXPECT_STR(row.partition_columns[1], "brand");
    expect_models(workspace, "oj", "store=2,brand=1/1;brand=1/1;/1;");
    /* The release that was made before still answers, as it was. */
    EXPECT_RC(myr_fleet_open(workspace, "oj", 0, &before, &err), OK, &err);
    EXPECT_INT(before->info->keys.column_count, 0);
    fixture_release(workspace, "oj");
    EXPECT_RC(myr_fleet_open(workspace, "oj", 0, &after, &err), OK, &err);
    EXPECT(fixture_score(after, "2", "1", 0, &status) == 3);
    EXPECT(fixture_score(after, "9", "1", 0, &status) == 2);
    EXPECT(fixture_score(after, "9", "9", 0, &status) == 1);
    /* From now on they are fixed. */
    fixture_add(&list, "shop=1", 6);
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'shop' is not a partition column");
    EXPECT_HAS(err.message, "store, brand"); /* all of them */
    static const char *const three[] = {"store", "brand", "shop"};
    myr_fleet_def more = {.name = "oj", .partition_columns = three, .partition_count = 3};
    EXPECT_RC(myr_fleet_import(workspace, &more, list.items, 1, NULL, NULL, NULL, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "another fleet name");
}

TEST(import_sets_columns_by_the_definition)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    fixture_bring(workspace, "oj", ":1");
    fixture_add(&list, "brand=1", 6);
    myr_fleet_def def = {.name = "oj", .partition_columns = fixture_columns, .partition_count = 2};
    EXPECT_RC(myr_fleet_import(workspace, &def, list.items, 1, NULL, NULL, NULL, &err), OK, &err);
    EXPECT_INT(fleet_row(workspace, arena, "oj").partition_count, 2);
    expect_models(workspace, "oj", "brand=1/1;/1;");
}

TEST(import_partition_limit)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    myr_err err = {0};
    fixture_add(&list, "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1", 6);
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), BAD_INPUT, &err);
    list.items[0].segment = "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1";
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), OK, &err);
}

TEST(import_heals_a_damaged_artifact)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    fixture_bring(workspace, "oj", "brand=1:5");
    myr_model_row model = {0};
    myr_release_report report = {0};
    char path[MYR_PATH_BYTES_MAX + 100];
    EXPECT_RC(myr_registry_model_get(workspace->registry, arena, fleet_row(workspace, arena, "oj").id, "brand=1", 1,
                                     &model, &err),
              OK, &err);
    snprintf(path, sizeof path, "%s/artifacts/%.2s/%s", workspace->root, model.artifact, model.artifact + 2);
    EXPECT_RC(myr_file_write(path, "damaged", 7, &err), OK, &err);
    EXPECT_RC(myr_release_create(workspace, "oj", true, &report, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "oj@brand=1");
    EXPECT_HAS(err.message, "damaged");
    fixture_bring(workspace, "oj", "brand=1:5"); /* no new version, but the bytes are back */
    fixture_release(workspace, "oj");
    expect_models(workspace, "oj", "brand=1/1;");
}

TEST(import_survives_each_failed_allocation)
{
    FAIL_EACH_ALLOC (nth) {
        MYR_AUTO(fixture_items) list = {.count = 0};
        TESTING_NO_FAULTS();
        fixture_add(&list, "store=2,brand=1", 5);
        fixture_add(&list, "brand=1", (double)nth);
        myr_workspace *workspace = fixture_workspace();
        size_t item = 0;
        myr_fleet_def def = {.name = "oj"};
        testing_fault.alloc_before = myr_mem_alloc_count();
        myr_mem_fail_at(nth);
        myr_rc rc = myr_fleet_import(workspace, &def, list.items, list.count, NULL, NULL, &item, NULL);
        myr_mem_fail_at(0);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        EXPECT((rc == MYR_OK) == (list.items[0].out_version > 0));
        int64_t made = myr_mem_alloc_count() - testing_fault.alloc_before;
        myr_workspace_close(workspace);
        testing_fault.alloc_before = myr_mem_alloc_count() - made; /* only the import's count */
    }
}

RUN()
