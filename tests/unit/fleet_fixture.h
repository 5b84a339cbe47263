/*
 * A workspace in a fresh directory, and models for it: linear ones (prediction = intercept + price + deal / 2), and a
 * LightGBM one with two outputs. For the tests of fleet.
 */
#ifndef MYR_TESTS_FLEET_FIXTURE_H
#define MYR_TESTS_FLEET_FIXTURE_H

#include "testing.h"

#include <math.h>

#include "fleet/fleet.h"
#include "import/import.h"

#define FIXTURE_ITEMS_MAX 64

static const char *const fixture_features[] = {"price", "deal"};
static const char *const fixture_columns[] = {"store", "brand"};
static const char fixture_config[] = "# a workspace for tests\n";

/* Items, and the model texts that they borrow. */
typedef struct fixture_items {
    myr_fleet_item items[FIXTURE_ITEMS_MAX];
    myr_buf texts[FIXTURE_ITEMS_MAX];
    size_t count;
} fixture_items;

TESTING_UNUSED static void fixture_items_drop(fixture_items *list)
{
    for (size_t i = 0; i < list->count; i++)
        myr_buf_fini(&list->texts[i]);
}

TESTING_UNUSED static myr_fleet_item *fixture_add(fixture_items *list, const char *segment, double intercept)
{
    static const double weights[] = {1, 0.5};
    EXPECT(list->count < FIXTURE_ITEMS_MAX);
    myr_buf *text = &list->texts[list->count];
    myr_linear_format(fixture_features, 2, intercept, weights, NULL, text);
    myr_fleet_item *item = &list->items[list->count++];
    *item = (myr_fleet_item){.name = "made",
                             .data = text->data,
                             .size_bytes = text->size,
                             .segment = segment,
                             .algorithm = "ridge",
                             .baseline = (double)NAN};
    return item;
}

/* Two outputs: softmax over constants, the same for every row. */
static const char fixture_two_outputs[] =
    "tree\nversion=v4\nnum_class=2\nnum_tree_per_iteration=2\nlabel_index=0\nmax_feature_idx=1\n"
    "objective=multiclass num_class:2\nfeature_names=price deal\nfeature_infos=none none\n\n"
    "Tree=0\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\ndecision_type=\nleft_child=\nright_"
    "child=\n"
    "leaf_value=0\nleaf_weight=\nleaf_count=\ninternal_value=\ninternal_weight=\ninternal_count=\nis_linear="
    "0\nshrinkage=1\n\n\n"
    "Tree=1\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\ndecision_type=\nleft_child=\nright_"
    "child=\n"
    "leaf_value=0\nleaf_weight=\nleaf_count=\ninternal_value=\ninternal_weight=\ninternal_count=\nis_linear="
    "0\nshrinkage=1\n\n\n"
    "end of trees\n\nfeature_importances:\n\nparameters:\n[boosting: gbdt]\nend of "
    "parameters\n\npandas_categorical:null\n";

TESTING_UNUSED static void fixture_root(char root[TESTING_PATH_BYTES])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    snprintf(root, TESTING_PATH_BYTES, "%.200s/ws", dir);
}

/* Made if it is not there yet. */
TESTING_UNUSED static myr_workspace *fixture_workspace(void)
{
    char root[TESTING_PATH_BYTES];
    bool made = false;
    myr_workspace *workspace = NULL;
    myr_err err = {0};
    fixture_root(root);
    EXPECT_RC(myr_workspace_init(root, fixture_config, &made, &err), OK, &err);
    EXPECT_RC(myr_workspace_open(root, &workspace, &err), OK, &err);
    return workspace;
}

TESTING_UNUSED static myr_rc fixture_import(myr_workspace *workspace, const char *fleet, fixture_items *list,
                                            size_t *out_item, myr_err *err)
{
    myr_fleet_def def = {.name = fleet};
    size_t item = 0;
    return myr_fleet_import(workspace, &def, list->items, list->count, NULL, NULL, out_item != NULL ? out_item : &item,
                            err);
}

/* Import models "segment:intercept;segment:intercept" and give the items for a look at what came back. */
TESTING_UNUSED static void fixture_bring(myr_workspace *workspace, const char *fleet, const char *text)
{
    MYR_AUTO(fixture_items) list = {.count = 0};
    char copy[1000];
    char *segments[FIXTURE_ITEMS_MAX];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *at = copy; at != NULL && list.count < FIXTURE_ITEMS_MAX;) {
        char *next = strchr(at, ';');
        if (next != NULL) *next++ = '\0';
        char *colon = strrchr(at, ':');
        EXPECT(colon != NULL);
        *colon = '\0';
        double intercept = 0;
        EXPECT(myr_parse_double(myr_str_of(colon + 1), &intercept));
        segments[list.count] = at;
        fixture_add(&list, segments[list.count], intercept);
        at = next;
    }
    myr_err err = {0};
    EXPECT_RC(fixture_import(workspace, fleet, &list, NULL, &err), OK, &err);
}

TESTING_UNUSED static myr_release_report fixture_release(myr_workspace *workspace, const char *fleet)
{
    myr_release_report report = {0};
    myr_err err = {0};
    EXPECT_RC(myr_release_create(workspace, fleet, true, &report, &err), OK, &err);
    return report;
}

/* One row with text keys (NULL = null) and price, through the opened fleet. */
TESTING_UNUSED static double fixture_score(const myr_fleet *fleet, const char *store, const char *brand, double price,
                                           uint8_t *out_status)
{
    myr_str texts[2] = {myr_str_of(store), myr_str_of(brand)};
    uint8_t valid[2] = {store != NULL, brand != NULL};
    double deal = 0;
    myr_col keys[2], features[2];
    for (int k = 0; k < 2; k++) {
        if (texts[k].data == NULL) texts[k] = myr_str_of("");
        keys[k] = (myr_col){.name = "key", .type = MYR_COL_TEXT, .valid = &valid[k], .data.text = &texts[k]};
    }
    features[0] = (myr_col){.name = "price", .type = MYR_COL_DOUBLE, .data.f64 = &price};
    features[1] = (myr_col){.name = "deal", .type = MYR_COL_DOUBLE, .data.f64 = &deal};
    myr_score_rows rows = {.row_count = 1, .keys = keys, .features = features, .fixed_model = MYR_PACK_NONE};
    double value = 0;
    double *values[1] = {&value};
    myr_score_out out = {values, NULL, NULL, out_status};
    myr_err err = {0};
    myr_score_scratch *scratch = myr_score_scratch_new();
    myr_rc rc = myr_score(fleet->scorer, scratch, &rows, &out, &err);
    myr_score_scratch_free(scratch);
    EXPECT_RC(rc, OK, &err);
    return value;
}

#endif
