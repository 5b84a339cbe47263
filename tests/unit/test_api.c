/* Tests of api: the C ABI over packs and over single model files. */
#include "api_fixture.h"

TEST(api_says_version_and_codes)
{
    EXPECT_STR(myr_version(), MYR_VERSION);
    EXPECT_STR(myr_error_name(MYR_NOT_FOUND), "NOT_FOUND");
    EXPECT_STR(myr_error_name(-5), "INTERNAL");
    EXPECT_STR(myr_error_name(1000), "INTERNAL");
    EXPECT_INT(sizeof(myr_err), 256); /* frozen */
}

TEST(api_describes_a_pack)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    myr_models_info info = {.struct_size = sizeof info};
    EXPECT_RC(myr_models_get_info(models, &info, &err), OK, &err);
    EXPECT_STR(info.fleet, "oj");
    EXPECT_INT(info.release, 7);
    EXPECT_INT(info.model_count, 2);
    EXPECT_INT(info.key_count, 2);
    EXPECT_INT(info.feature_count, 2);
    EXPECT_INT(info.output_count, 1);
    EXPECT_INT(info.struct_size, sizeof info);
    EXPECT_STR(myr_models_key_name(models, 0), "store");
    EXPECT_INT(myr_models_key_is_int64(models, 0), 1);
    EXPECT_INT(myr_models_key_is_int64(models, 1), 0);
    EXPECT(myr_models_key_name(models, 2) == NULL && myr_models_key_is_int64(models, 2) == 0);
    EXPECT_STR(myr_models_feature_name(models, 1), "deal");
    EXPECT(myr_models_feature_name(models, 2) == NULL);
    uint32_t idx = 99;
    EXPECT_RC(myr_models_find(models, "brand=a,store=2", &idx, &err), OK, &err);
    EXPECT(idx < 2);
    uint32_t before = idx;
    EXPECT_RC(myr_models_find(models, "store=2,brand=b", &idx, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_models_find(models, "", &idx, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_models_find(models, "shop=2", &idx, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_find(models, "store=x", &idx, NULL), BAD_INPUT, NULL);
    EXPECT_INT(idx, before);
    myr_models_close(models);
    myr_models_close(NULL);
}

TEST(api_scores_a_pack)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    const char *keys[] = {"2", "a", "3", "a", NULL, "a", "2", "b", "x", "a", "2.0", "a"};
    double features[6][3]; /* one column more than there are features */
    for (int i = 0; i < 6; i++) {
        features[i][0] = i;
        features[i][1] = 2;
        features[i][2] = -1e9;
    }
    myr_models_rows rows = {.struct_size = sizeof rows,
                            .row_count = 6,
                            .model_idx = MYR_MODELS_BY_KEY,
                            .key_texts = keys,
                            .features = features[0],
                            .row_stride = 3};
    double values[6];
    uint8_t levels[6], statuses[6];
    EXPECT_RC(myr_models_score(models, &rows, values, levels, statuses, &err), OK, &err);
    static const double wanted[] = {11, 102, 103, NAN, NAN, 16};
    static const uint8_t wanted_levels[] = {1, 2, 2, 0, 0, 1}, wanted_statuses[] = {0, 0, 0, 1, 2, 0};
    for (int i = 0; i < 6; i++) {
        EXPECT(values[i] == wanted[i] || (isnan(values[i]) && isnan(wanted[i])));
        EXPECT_INT(levels[i], wanted_levels[i]);
        EXPECT_INT(statuses[i], wanted_statuses[i]);
    }
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    EXPECT_RC(myr_models_find(models, "brand=a", &rows.model_idx, &err), OK, &err);
    rows.key_texts = NULL; /* one model for all: no keys are needed */
    EXPECT_RC(myr_models_score(models, &rows, values, levels, statuses, &err), OK, &err);
    for (int i = 0; i < 6; i++)
        EXPECT(values[i] == 101 + i && levels[i] == 2 && statuses[i] == 0);
    rows.row_stride = 0;
    static const double dense[] = {1, 2, 3, 4};
    rows.features = dense;
    rows.row_count = 2;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    EXPECT(values[0] == 102 && values[1] == 105);
    myr_models_close(models);
}

/* Many rows go in chunks; each row's bits are those it has alone. */
TEST(api_scores_many_rows)
{
    enum { COUNT = 200000 };
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    const char **keys = myr_arena_calloc(arena, 2 * COUNT, sizeof *keys);
    double *features = myr_arena_calloc(arena, 2 * COUNT, sizeof *features);
    double *values = myr_arena_calloc(arena, COUNT, sizeof *values);
    uint8_t *levels = myr_arena_calloc(arena, COUNT, 1);
    for (int i = 0; i < COUNT; i++) {
        keys[2 * i] = i % 3 == 0 ? "2" : "5";
        keys[2 * i + 1] = "a";
        features[2 * i] = i * 0.1;
    }
    myr_models_rows rows = {.struct_size = sizeof rows,
                            .row_count = COUNT,
                            .model_idx = MYR_MODELS_BY_KEY,
                            .key_texts = keys,
                            .features = features};
    EXPECT_RC(myr_models_score(models, &rows, values, levels, NULL, &err), OK, &err);
    for (int i = 0; i < COUNT; i++) {
        EXPECT(values[i] == (i % 3 == 0 ? 10 : 100) + i * 0.1 + 0.0);
        EXPECT(levels[i] == (i % 3 == 0 ? 1 : 2));
    }
    rows.row_count = 1;
    EXPECT_RC(myr_models_score(models, &rows, values, levels, NULL, &err), OK, &err);
    int64_t before = myr_mem_alloc_count();
    for (int i = 0; i < 100; i++)
        EXPECT_RC(myr_models_score(models, &rows, values, levels, NULL, &err), OK, &err);
    EXPECT_INT(myr_mem_alloc_count() - before, 0); /* warm */
    myr_models_close(models);
}

TEST(api_scores_a_model_file)
{
    char path[TESTING_PATH_BYTES];
    write_model(5, path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    myr_models_info info = {.struct_size = sizeof info};
    EXPECT_RC(myr_models_get_info(models, &info, &err), OK, &err);
    EXPECT_STR(info.fleet, "");
    EXPECT(info.release == 0 && info.model_count == 1 && info.key_count == 0 && info.feature_count == 2 &&
           info.output_count == 1);
    EXPECT_STR(myr_models_feature_name(models, 0), "price");
    EXPECT(myr_models_key_name(models, 0) == NULL);
    uint32_t idx = 99;
    EXPECT_RC(myr_models_find(models, "", &idx, &err), OK, &err);
    EXPECT_INT(idx, 0);
    EXPECT_RC(myr_models_find(models, "store=1", &idx, &err), BAD_INPUT, &err);
    static const double features[] = {1, 2, 99, 3, 4, 99};
    double values[2];
    uint8_t levels[2] = {9, 9}, statuses[2] = {9, 9};
    myr_models_rows rows = {.struct_size = sizeof rows,
                            .row_count = 2,
                            .model_idx = MYR_MODELS_BY_KEY,
                            .features = features,
                            .row_stride = 3};
    EXPECT_RC(myr_models_score(models, &rows, values, levels, statuses, &err), OK, &err);
    EXPECT(values[0] == 7 && values[1] == 10);
    EXPECT(levels[0] == 3 && levels[1] == 3 && statuses[0] == 0 && statuses[1] == 0);
    rows.model_idx = 0;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    rows.model_idx = 1;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), BAD_INPUT, &err);
    myr_models_close(models);
}

TEST(api_refuses_bad_calls)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    static const double features[2];
    const char *keys[2] = {"2", "a"};
    double value = 77;
    const myr_models_rows good = {.struct_size = sizeof good,
                                  .row_count = 1,
                                  .model_idx = MYR_MODELS_BY_KEY,
                                  .key_texts = keys,
                                  .features = features};
    myr_models_rows bad[8];
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++)
        bad[i] = good;
    bad[0].struct_size = 0;
    bad[1].struct_size = offsetof(myr_models_rows, column_stride) - 1;
    bad[2].row_count = -1;
    bad[3].features = NULL;
    bad[4].key_texts = NULL;
    bad[5].row_stride = 1;
    bad[6].row_stride = -2;
    bad[7].model_idx = 2;
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        EXPECT_RC(myr_models_score(models, &bad[i], &value, NULL, NULL, &err), BAD_INPUT, &err);
        EXPECT(err.message[0] != '\0' && value == 77);
        EXPECT_RC(myr_models_score(models, &bad[i], &value, NULL, NULL, NULL), BAD_INPUT, NULL);
    }
    EXPECT_RC(myr_models_score(models, &good, NULL, NULL, NULL, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_score(NULL, &good, &value, NULL, NULL, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_score(models, NULL, &value, NULL, NULL, &err), BAD_INPUT, &err);
    myr_models_rows none = {.struct_size = sizeof none};
    EXPECT_RC(myr_models_score(models, &none, NULL, NULL, NULL, &err), OK, &err); /* no rows: nothing is needed */
    myr_models_rows older = good; /* a caller that knows the fields of 0.1 alone: what lies behind them is not ours */
    older.struct_size = offsetof(myr_models_rows, column_stride);
    older.column_stride = 99;
    older.output = 99;
    EXPECT_RC(myr_models_score(models, &older, &value, NULL, NULL, &err), OK, &err);
    EXPECT(value == 10);
    value = 77;
    struct { /* a newer caller, with a field that we do not know */
        myr_models_rows rows;
        char later[16];
    } newer = {.rows = good};
    newer.rows.struct_size = sizeof newer;
    EXPECT_RC(myr_models_score(models, &newer.rows, &value, NULL, NULL, &err), OK, &err);
    EXPECT(value == 10);
    myr_models_info info = {.struct_size = sizeof info - 1, .model_count = 55};
    EXPECT_RC(myr_models_get_info(models, &info, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "sizeof(myr_models_info)");
    EXPECT_INT(info.model_count, 55);
    uint32_t idx = 0;
    EXPECT_RC(myr_models_get_info(NULL, &info, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_find(NULL, "", &idx, &err), BAD_INPUT, &err);
    EXPECT(myr_models_key_name(NULL, 0) == NULL && myr_models_feature_name(NULL, 0) == NULL);
    myr_models_close(models);
}

TEST(api_open_refuses_what_is_no_model)
{
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 20];
    testing_dir(dir);
    myr_models *models = NULL;
    myr_err err = {0};
    snprintf(path, sizeof path, "%s/x.index", dir);
    EXPECT_RC(myr_models_open(path, &models, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_file_write(path, "not an index", 12, &err), OK, &err);
    EXPECT_RC(myr_models_open(path, &models, &err), BAD_FORMAT, &err);
    snprintf(path, sizeof path, "%s/x.txt", dir);
    EXPECT_RC(myr_models_open(path, &models, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "x.txt");
    EXPECT_RC(myr_file_write(path, "", 0, &err), OK, &err);
    EXPECT_RC(myr_models_open(path, &models, &err), BAD_FORMAT, &err);
    EXPECT_RC(myr_file_write(path, "tree\nversion=v4\n", 16, &err), OK, &err);
    EXPECT_RC(myr_models_open(path, &models, &err), BAD_FORMAT, &err);
    EXPECT_RC(myr_models_open(NULL, &models, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_open(path, NULL, &err), BAD_INPUT, &err);
    EXPECT(models == NULL);
}

typedef struct api_caller {
    const myr_models *models;
    int failed;
} api_caller;

static void *api_caller_body(void *arg)
{
    api_caller *caller = arg;
    const char *keys[2] = {"2", "a"};
    for (int i = 0; i < 2000; i++) {
        double features[2] = {i, 0}, value = 0;
        myr_models_rows rows = {.struct_size = sizeof rows,
                                .row_count = 1,
                                .model_idx = MYR_MODELS_BY_KEY,
                                .key_texts = keys,
                                .features = features};
        if (myr_models_score(caller->models, &rows, &value, NULL, NULL, NULL) != MYR_OK || value != 10 + i)
            caller->failed++;
    }
    return NULL;
}

TEST(api_calls_may_overlap)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    api_caller callers[4];
    myr_thread threads[4];
    myr_err err = {0};
    for (int i = 0; i < 4; i++) {
        callers[i] = (api_caller){models, 0};
        EXPECT_RC(myr_thread_start(&threads[i], "api", api_caller_body, &callers[i], &err), OK, &err);
    }
    for (int i = 0; i < 4; i++)
        myr_thread_join(threads[i]);
    for (int i = 0; i < 4; i++)
        EXPECT_INT(callers[i].failed, 0);
    myr_models_close(models);
}

TEST(api_survives_each_failed_allocation)
{
    char pack[TESTING_PATH_BYTES], file[TESTING_PATH_BYTES];
    write_pack(pack);
    write_model(5, file);
    const char *paths[] = {pack, file};
    for (int k = 0; k < 2; k++) {
        FAIL_EACH_ALLOC (nth) {
            myr_models *models = NULL;
            const char *keys[2] = {"2", "a"};
            double features[2] = {1, 2}, value = 77;
            myr_models_rows rows = {.struct_size = sizeof rows,
                                    .row_count = 1,
                                    .model_idx = MYR_MODELS_BY_KEY,
                                    .key_texts = keys,
                                    .features = features};
            myr_rc rc = (myr_rc)myr_models_open(paths[k], &models, NULL);
            EXPECT((rc == MYR_OK) == (models != NULL));
            if (rc == MYR_OK) rc = (myr_rc)myr_models_score(models, &rows, &value, NULL, NULL, NULL);
            TESTING_NO_FAULTS();
            EXPECT(rc == MYR_OK ? value == (k == 0 ? 12 : 7) : rc == MYR_NO_MEMORY && value == 77);
            myr_models_close(models);
        }
    }
}

RUN()
