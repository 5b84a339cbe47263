/* The parts of a fit: anomalies, mean and ridge against sums done by hand, XGBoost through our own kernels. */
#include "train_fixture.h"

/* ---- anomalies ---- */

TEST(values_far_from_the_median_go)
{
    /* median 3, deviations 2 1 0 1 97: MAD 1, bound 6 * 1.4826 = 8.9 */
    const double target[] = {1, 2, 3, 4, 100};
    uint32_t rows[] = {0, 1, 2, 3, 4};
    double sorted[5];
    EXPECT_INT(myr_train_clean(target, 6, 0.2, rows, 5, sorted), 4);
    for (uint32_t i = 0; i < 4; i++)
        EXPECT_INT(rows[i], i); /* in their order */
}

TEST(the_bound_itself_stays)
{
    double bound = 3 + 6 * 1.4826;
    const double target[] = {1, 2, 3, 4, bound, 2, 4, 3, 1, 5, 3};
    uint32_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    double sorted[11];
    EXPECT_INT(myr_train_clean(target, 6, 1, rows, 11, sorted), 11);
    EXPECT_INT(myr_train_clean(target, 5.99, 1, rows, 11, sorted), 10);
}

TEST(a_large_share_is_how_the_values_are)
{
    const double target[] = {1, 2, 3, 4, 100};
    uint32_t rows[] = {0, 1, 2, 3, 4};
    double sorted[5];
    EXPECT_INT(myr_train_clean(target, 6, 0.19, rows, 5, sorted), 5); /* one of five is 0.2 */
    const double flat[] = {1, 1, 1, 1, 100};
    EXPECT_INT(myr_train_clean(flat, 6, 0.5, rows, 5, sorted), 5); /* MAD 0 */
    EXPECT_INT(myr_train_clean(flat, 6, 0.5, rows, 0, sorted), 0);
}

TEST(rows_not_asked_for_do_not_move_the_limit)
{
    const double target[] = {1, 1e9, 2, 1e9, 3, 1e9, 4, 1e9, 100};
    uint32_t rows[] = {0, 2, 4, 6, 8};
    double sorted[5];
    EXPECT_INT(myr_train_clean(target, 6, 0.2, rows, 5, sorted), 4);
    EXPECT_INT(rows[3], 6);
}

/* ---- fits ---- */

static const char *const names[] = {"a", "b"};

static myr_imported *fit(const myr_train_algorithm *algorithm, const double *x, const double *y, uint32_t rows,
                         uint32_t features, const double *values, const myr_train_xgboost *xgboost)
{
    myr_train_scratch scratch = {.xgboost = xgboost, .lapack = fixture_lapack()};
    MYR_AUTO(myr_buf) out = {0};
    myr_err err = {0};
    const myr_train_sample sample = {
        .x = x, .y = y, .row_count = rows, .feature_count = features, .features = names, .is_leaf = true};
    myr_imported *imported = NULL;
    EXPECT_RC(algorithm->fit(&sample, values, &scratch, &out, &err), OK, &err);
    EXPECT_RC(myr_import("fit", out.data, out.size, NULL, 0, &imported, &err), OK, &err);
    myr_train_scratch_fini(&scratch);
    return imported;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * (1 + fabs(b));
}

TEST(the_mean_needs_no_feature)
{
    const double x[] = {NAN, NAN, NAN}, y[] = {1, 2, 6};
    myr_imported *m = fit(&myr_train_mean, x, y, 3, 1, NULL, NULL);
    EXPECT_INT(m->feature_count, 0);
    EXPECT(m->desc.base_margins[0] == 3);
    myr_imported_free(m);
}

/* x = 1 3 5 (mean 3, deviation sqrt(8/3)), y = 2 4 9 (mean 5): z'z = 3, z'y = 14/s; weight = z'y / (3 + lambda) / s. */
TEST(ridge_as_computed_by_hand)
{
    const double x[] = {1, 3, 5}, y[] = {2, 4, 9};
    for (int i = 0; i < 3; i++) {
        const double lambda = i == 0 ? 0 : i == 1 ? 1 : 1e9;
        myr_imported *m = fit(&myr_train_ridge, x, y, 3, 1, &lambda, NULL);
        double weight = 14.0 / (8.0 / 3) / (3 + lambda);
        EXPECT(near(m->desc.weights[0], weight));
        EXPECT(near(m->desc.base_margins[0], 5 - 3 * weight)); /* the intercept is free of the penalty */
        EXPECT(near(m->desc.fills[0], 3));
        myr_imported_free(m);
    }
}

/* Two features, lambda 2, solved by hand: z = standardised columns, (z'z + 2I) w = z'y with z'z = [[4, 0], [0, 4]]. */
TEST(ridge_of_two_features)
{
    const double x[] = {1, 10, 1, 30, 3, 10, 3, 30};
    const double y[] = {0, 4, 2, 8}; /* mean 3.5; z1 = -1 -1 1 1, z2 = -1 1 -1 1: z1'y = 6, z2'y = 10 */
    const double lambda = 2;
    myr_imported *m = fit(&myr_train_ridge, x, y, 4, 2, &lambda, NULL);
    EXPECT(near(m->desc.weights[0], 6.0 / 6 / 1));
    EXPECT(near(m->desc.weights[1], 10.0 / 6 / 10));
    EXPECT(near(m->desc.base_margins[0], 3.5 - 2 * 1.0 - 20 * (1.0 / 6)));
    EXPECT_STR(m->feature_names[1], "b");
    myr_imported_free(m);
}

TEST(a_missing_value_stands_at_the_mean)
{
    const double with[] = {1, NAN, 3, 5}, y[] = {2, 5, 4, 9};
    const double lambda = 1;
    myr_imported *m = fit(&myr_train_ridge, with, y, 4, 1, &lambda, NULL);
    /* z'z counts four rows: s = sqrt(8/4), z'z = 4; y's mean is 5, so the row adds nothing to z'y = 14/s */
    double weight = 14.0 / (8.0 / 4) / (4 + 1);
    EXPECT(near(m->desc.weights[0], weight));
    EXPECT(near(m->desc.fills[0], 3));
    myr_imported_free(m);
}

TEST(a_feature_that_does_not_vary_gets_no_weight)
{
    const double x[] = {0.1, NAN, 0.1, NAN, 0.1, NAN}, y[] = {1, 2, 3};
    const double lambda = 0;
    myr_imported *m = fit(&myr_train_ridge, x, y, 3, 2, &lambda, NULL);
    EXPECT(m->desc.weights[0] == 0 && m->desc.weights[1] == 0);
    EXPECT(m->desc.fills[1] == 0); /* never seen: anything will do, but not NaN */
    EXPECT(m->desc.base_margins[0] == 2);
    myr_imported_free(m);
}

TEST(equal_features_without_penalty_still_solve)
{
    const double x[] = {1, 1, 2, 2, 3, 3, 4, 4}, y[] = {1, 2, 3, 4};
    const double lambda = 0;
    myr_imported *m = fit(&myr_train_ridge, x, y, 4, 2, &lambda, NULL);
    EXPECT(fabs(m->desc.weights[0] + m->desc.weights[1] - 1) < 1e-6);
    myr_imported_free(m);
}

TEST(many_rows_come_in_blocks)
{
    static double x[1000], y[1000];
    for (int i = 0; i < 1000; i++) {
        x[i] = i;
        y[i] = 3 * i - 7;
    }
    const double lambda = 0;
    myr_imported *m = fit(&myr_train_ridge, x, y, 1000, 1, &lambda, NULL);
    EXPECT(fabs(m->desc.weights[0] - 3) < 1e-12);
    EXPECT(fabs(m->desc.base_margins[0] + 7) < 1e-9);
    myr_imported_free(m);
}

TEST(xgboost_learns_a_step)
{
    if (MYR_DEFAULT_XGBOOST_LIB[0] == '\0') skip();
    double values[MYR_TRAIN_SETTINGS_MAX];
    double x[40], y[20];
    for (uint32_t s = 0; s < myr_train_boosted.setting_count; s++)
        values[s] = myr_train_boosted.settings[s].preset;
    for (int i = 0; i < 20; i++) {
        x[2 * i] = i;
        x[2 * i + 1] = i % 3 == 0 ? NAN : i % 3;
        y[i] = i < 10 ? 1 : 5;
    }
    myr_train_xgboost *xgboost = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_train_xgboost_open(&xgboost, &err), OK, &err);
    myr_imported *m = fit(&myr_train_boosted, x, y, 20, 2, values, xgboost);
    EXPECT_STR(m->algorithm, "xgboost");
    EXPECT_STR(m->feature_names[0], "a"); /* by name, not f0 */
    EXPECT_INT(m->desc.tree_count, 60);
    unsigned char *bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    double out[2];
    const double rows[] = {2, 1, 17, NAN};
    EXPECT_RC(myr_imported_compile(m, names, 2, NULL, &bytes, &size, &err), OK, &err);
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, &err);
    myr_model_predict(model, rows, 2, 2, out);
    EXPECT(fabs(out[0] - 1) < 0.1 && fabs(out[1] - 5) < 0.1);
    myr_free(bytes);
    myr_imported_free(m);
    myr_train_xgboost_close(xgboost);
}

RUN()
