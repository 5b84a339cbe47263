/* A fleet's columns, and score scripts run on one row of them. */
#ifndef MYR_SCRIPT_FIXTURE_H
#define MYR_SCRIPT_FIXTURE_H

#include <math.h>

#include "testing.h"

#include "script/script.h"

#define SCRIPT_OUTPUTS_MAX 4

static const char *const script_features[] = {"price", "feat", "kind", "brand"};

TESTING_UNUSED static myr_pack_info script_info(uint32_t output_count)
{
    myr_pack_info info = {.fleet = "oj",
                          .release = 7,
                          .features = script_features,
                          .feature_count = 4,
                          .output_count = output_count,
                          .model_count = 1};
    info.keys.column_count = 2;
    snprintf(info.keys.columns[0].name, sizeof info.keys.columns[0].name, "store");
    snprintf(info.keys.columns[1].name, sizeof info.keys.columns[1].name, "brand");
    info.keys.columns[1].type = MYR_KEY_BYTES;
    return info;
}

/* Row 0: store 2, brand "a b", price 1.5, feat null, kind "red", brand (the feature) 9. Row 1: store null, price 4. */
typedef struct script_bench {
    int64_t stores[2];
    myr_str brands[2], kinds[2];
    double prices[2], feats[2], nines[2];
    uint8_t store_valid[2];
    myr_col keys[2], features[4];
    double cells[SCRIPT_OUTPUTS_MAX][2];
    double *values[SCRIPT_OUTPUTS_MAX];
    myr_arena *arena;
    myr_script *script;
    myr_script_state *state;
    myr_script_row row;
    myr_script_answer answer;
    myr_err err;
} script_bench;

TESTING_UNUSED static void script_bench_init(script_bench *b)
{
    *b = (script_bench){.stores = {2, 0},
                        .brands = {myr_str_of("a b"), myr_str_of("")},
                        .kinds = {myr_str_of("red"), myr_str_of("blue")},
                        .prices = {1.5, 4},
                        .feats = {NAN, 1},
                        .nines = {9, 9},
                        .store_valid = {1, 0}};
    b->keys[0] = (myr_col){"store", MYR_COL_INT64, b->store_valid, {.i64 = b->stores}};
    b->keys[1] = (myr_col){"brand", MYR_COL_TEXT, NULL, {.text = b->brands}};
    b->features[0] = (myr_col){"price", MYR_COL_DOUBLE, NULL, {.f64 = b->prices}};
    b->features[1] = (myr_col){"feat", MYR_COL_DOUBLE, NULL, {.f64 = b->feats}};
    b->features[2] = (myr_col){"kind", MYR_COL_TEXT, NULL, {.text = b->kinds}};
    b->features[3] = (myr_col){"brand", MYR_COL_DOUBLE, NULL, {.f64 = b->nines}};
    for (size_t k = 0; k < SCRIPT_OUTPUTS_MAX; k++) {
        b->cells[k][0] = 10 + (double)k;
        b->cells[k][1] = 20 + (double)k;
        b->values[k] = b->cells[k];
    }
    b->arena = myr_arena_new(1 << 16);
    EXPECT(b->arena != NULL);
    b->row = (myr_script_row){.keys = b->keys,
                              .features = b->features,
                              .values = b->values,
                              .model_idx = MYR_PACK_NONE,
                              .level = MYR_LEVEL_SEGMENT,
                              .arena = b->arena};
}

TESTING_UNUSED static void script_bench_fini(script_bench *b)
{
    myr_script_release(b->state);
    myr_script_free(b->script);
    myr_arena_free(b->arena);
}

TESTING_UNUSED static myr_rc script_bench_load(script_bench *b, const char *text, const myr_script_opts *opts,
                                               uint32_t outputs)
{
    myr_pack_info info = script_info(outputs);
    MYR_TRY(myr_script_parse("rules.lua", myr_str_of(text), &info, opts, &b->script, &b->err));
    return myr_script_acquire(b->script, &b->state, &b->err);
}

TESTING_UNUSED static myr_rc script_bench_run(script_bench *b)
{
    b->answer = (myr_script_answer){0};
    return myr_script_run(b->state, &b->row, &b->answer, &b->err);
}

/* Load and run on row 0, one output; the caller looks at *b, and ends with script_bench_fini. */
TESTING_UNUSED static void script_do(script_bench *b, const char *text)
{
    script_bench_init(b);
    EXPECT_RC(script_bench_load(b, text, NULL, 1), OK, &b->err);
    EXPECT_RC(script_bench_run(b), OK, &b->err);
}

/* The value that the script makes of row 0, whose prediction is 10. */
TESTING_UNUSED static double script_value(const char *text)
{
    script_bench b;
    script_do(&b, text);
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_KEPT);
    double value = b.cells[0][0];
    script_bench_fini(&b);
    return value;
}

/* The script loads, and its run fails with a message that has `part`; values stay. */
TESTING_UNUSED static void script_fails(const char *text, myr_rc rc, const char *part)
{
    script_bench b;
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, text, NULL, 1), OK, &b.err);
    myr_rc got = script_bench_run(&b);
    testing_expect_rc(got, rc, &b.err, text, __FILE__, __LINE__);
    EXPECT_HAS(b.err.message, part);
    EXPECT(b.cells[0][0] == 10);
    script_bench_fini(&b);
}

/* … and does not load. */
TESTING_UNUSED static void script_does_not_load(const char *text, myr_rc rc, const char *part)
{
    script_bench b;
    script_bench_init(&b);
    myr_rc got = script_bench_load(&b, text, NULL, 1);
    testing_expect_rc(got, rc, &b.err, text, __FILE__, __LINE__);
    EXPECT_HAS(b.err.message, part);
    EXPECT(b.script == NULL);
    script_bench_fini(&b);
}

#endif
