/*
 * A fleet `paint` with the features price and colour, whose models have other lists of colours: store=1 red green,
 * store=2 blue green red, store=3 the numbers 5 1 0.5, and a global linear model (price + 10 colour) without names. The
 * others answer 100 store + the code of the colour, and 100 store + 9 if it is missing.
 */
#ifndef MYR_TESTS_NAMES_FIXTURE_H
#define MYR_TESTS_NAMES_FIXTURE_H

#include "testing.h"

#include <math.h>

#include "fleet/fleet.h"
#include "import/import.h"

static const char *const names_features[] = {"price", "colour"};
static const char *const names_columns[] = {"store"};

/* A LightGBM file with this list as JSON. */
TESTING_UNUSED static void names_lightgbm(int store, const char *list, myr_buf *out)
{
    myr_buf_printf(out,
                   "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n"
                   "objective=regression\nfeature_names=price colour\nfeature_infos=[0:9] 0:1\n\n"
                   "Tree=0\nnum_leaves=4\nnum_cat=0\nsplit_feature=1 1 1\nthreshold=0.5 1.5 2.5\ndecision_type=8 8 8\n"
                   "left_child=-1 -2 -3\nright_child=1 2 -4\nleaf_value=%d %d %d %d\n\n\nend of trees\n\n"
                   "parameters:\n[categorical_feature: 1]\nend of parameters\n\npandas_categorical:[%s]\n",
                   100 * store, 100 * store + 1, 100 * store + 2, 100 * store + 9, list);
}

/* All four models, and a release of them. */
TESTING_UNUSED static void names_fleet(myr_workspace *workspace)
{
    static const char *const lists[] = {"[\"red\", \"green\"]", "[\"blue\", \"green\", \"red\"]", "[5, 1.0, 0.5]"};
    static const char *const segments[] = {"store=1", "store=2", "store=3", ""};
    static const double weights[] = {1, 10};
    myr_err err = {0};
    myr_buf texts[4] = {0};
    myr_fleet_item items[4] = {0};
    for (size_t i = 0; i < MYR_COUNT_OF(items); i++) {
        if (i < MYR_COUNT_OF(lists))
            names_lightgbm((int)i + 1, lists[i], &texts[i]);
        else
            myr_linear_format(names_features, 2, 0, weights, NULL, &texts[i]);
        items[i] = (myr_fleet_item){.name = "made",
                                    .data = texts[i].data,
                                    .size_bytes = texts[i].size,
                                    .segment = segments[i],
                                    .baseline = (double)NAN};
    }
    myr_fleet_def def = {.name = "paint", .partition_columns = names_columns, .partition_count = 1};
    size_t item = 0;
    EXPECT_RC(myr_fleet_import(workspace, &def, items, MYR_COUNT_OF(items), NULL, NULL, &item, &err), OK, &err);
    myr_release_report report;
    EXPECT_RC(myr_release_create(workspace, "paint", true, &report, &err), OK, &err);
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++)
        myr_buf_fini(&texts[i]);
}

#endif
