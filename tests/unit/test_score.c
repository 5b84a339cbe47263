/* The scoring path: which model answers, in which order, with the same bits whatever stands beside a row. */
#include "pack_fixture.h"

#include <math.h>

#include "score/score_inside.h"

#define ROWS_MAX 200000

/* Columns of rows to score and room for the answers; big enough for every test here. */
static int64_t stores[ROWS_MAX];
static myr_str brands[ROWS_MAX];
static uint8_t store_valid[ROWS_MAX];
static uint8_t brand_valid[ROWS_MAX];
static double features[FIXTURE_FEATURES][ROWS_MAX];
static double values[2][FIXTURE_OUTPUTS][ROWS_MAX];
static uint32_t model_idxs[2][ROWS_MAX];
static uint8_t levels[2][ROWS_MAX];
static uint8_t statuses[2][ROWS_MAX];

typedef struct bench {
    myr_pack *pack;
    myr_scorer *scorer;
    myr_score_scratch *scratch;
    myr_col keys[2];
    myr_col cols[FIXTURE_FEATURES];
    double *out_values[2][FIXTURE_OUTPUTS];
    myr_score_rows rows;
    myr_score_out out[2];
} bench;

static void bench_drop(bench *b)
{
    myr_score_scratch_free(b->scratch);
    myr_scorer_free(b->scorer);
    myr_pack_close(b->pack);
}

static const char *const segments[] = {"",        "brand=a",       "store=1,brand=a", "store=2,brand=a",
                                       "store=2", "store=7,brand="};
#define SEGMENTS (int)MYR_COUNT_OF(segments)

static void bench_columns(bench *b)
{
    b->keys[0] = (myr_col){.name = "store", .type = MYR_COL_INT64, .valid = store_valid, .data.i64 = stores};
    b->keys[1] = (myr_col){.name = "brand", .type = MYR_COL_TEXT, .valid = brand_valid, .data.text = brands};
    for (int j = 0; j < FIXTURE_FEATURES; j++) {
        b->cols[j] = (myr_col){.name = fixture_features[j], .type = MYR_COL_DOUBLE, .data.f64 = features[j]};
    }
    for (int w = 0; w < 2; w++) {
        for (int k = 0; k < FIXTURE_OUTPUTS; k++)
            b->out_values[w][k] = values[w][k];
        b->out[w] = (myr_score_out){b->out_values[w], model_idxs[w], levels[w], statuses[w]};
    }
    b->rows = (myr_score_rows){.keys = b->keys, .features = b->cols, .fixed_model = MYR_PACK_NONE};
    memset(store_valid, 1, sizeof store_valid);
    memset(brand_valid, 1, sizeof brand_valid);
}

static void bench_fill(bench *b, const char *const *list, int count)
{
    char dir[TESTING_PATH_BYTES];
    myr_err err = {0};
    testing_dir(dir);
    fixture_write(dir, "oj-1", list, count);
    b->pack = fixture_open(dir, "oj-1.index");
    EXPECT_RC(myr_scorer_new(b->pack, &b->scorer, &err), OK, &err);
    b->scratch = myr_score_scratch_new();
    bench_columns(b);
}

static void put_row(int64_t row, int64_t store, const char *brand)
{
    stores[row] = store;
    brands[row] = myr_str_of(brand);
    store_valid[row] = 1;
    brand_valid[row] = 1;
    for (int j = 0; j < FIXTURE_FEATURES; j++)
        features[j][row] = (double)((row * 7 + j * 3) % 10) / 10;
}

static void score(bench *b, int64_t row_count)
{
    myr_err err = {0};
    b->rows.row_count = row_count;
    EXPECT_RC(myr_score(b->scorer, b->scratch, &b->rows, &b->out[0], &err), OK, &err);
    bool is_known = b->rows.fixed_model == MYR_PACK_NONE && b->out[0].model_idxs != NULL && b->out[0].levels != NULL;
    for (int64_t r = 0; is_known && r < row_count; r++) {
        uint32_t model_idx = 0;
        myr_level level = MYR_LEVEL_COUNT;
        myr_score_choose(b->scorer, &b->rows, r, &model_idx, &level); /* the same, without asking it */
        EXPECT(model_idx == model_idxs[0][r] && level == (myr_level)levels[0][r]);
    }
}

/* What the model with this seed gives for the row. */
static void expect_answer(int64_t row, int seed, myr_level level)
{
    EXPECT_INT(statuses[0][row], MYR_ROW_OK);
    EXPECT_INT(model_idxs[0][row], seed - 1);
    EXPECT_STR(myr_level_name((myr_level)levels[0][row]), myr_level_name(level));
    EXPECT(values[0][0][row] == seed + (features[0][row] <= 0.5 ? 1 : 2));
    EXPECT(values[0][1][row] == 100.0 * seed + (features[1][row] <= 0.5 ? 1 : 2));
}

static void expect_none(int64_t row, myr_row_status status)
{
    EXPECT_STR(myr_row_status_name((myr_row_status)statuses[0][row]), myr_row_status_name(status));
    EXPECT_INT(model_idxs[0][row], MYR_PACK_NONE);
    EXPECT_INT(levels[0][row], MYR_LEVEL_NONE);
    EXPECT(isnan(values[0][0][row]) && isnan(values[0][1][row]));
}

TEST(each_level_answers)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    put_row(0, 1, "a");
    put_row(1, 99, "a");
    put_row(2, 99, "zzz");
    put_row(3, 2, "a");
    put_row(4, 2, "zzz"); /* store=2 is not on the default chain, which drops from the left */
    put_row(5, 7, "");    /* an empty text is a value */
    score(&b, 6);
    expect_answer(0, 3, MYR_LEVEL_SEGMENT);
    expect_answer(1, 2, MYR_LEVEL_PARENT);
    expect_answer(2, 1, MYR_LEVEL_GLOBAL);
    expect_answer(3, 4, MYR_LEVEL_SEGMENT);
    expect_answer(4, 1, MYR_LEVEL_GLOBAL);
    expect_answer(5, 6, MYR_LEVEL_SEGMENT);
}

TEST(nulls_go_to_the_levels_that_do_not_look)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    for (int i = 0; i < 4; i++)
        put_row(i, 1, "a");
    store_valid[1] = 0;
    brand_valid[2] = 0;
    store_valid[3] = brand_valid[3] = 0;
    score(&b, 4);
    expect_answer(0, 3, MYR_LEVEL_SEGMENT);
    expect_answer(1, 2, MYR_LEVEL_PARENT);
    expect_answer(2, 1, MYR_LEVEL_GLOBAL);
    expect_answer(3, 1, MYR_LEVEL_GLOBAL);
    double numbers[] = {NAN, 1.0, 1.5, INFINITY};
    b.keys[0] = (myr_col){.name = "store", .type = MYR_COL_DOUBLE, .data.f64 = numbers};
    memset(brand_valid, 1, 4);
    score(&b, 4);
    expect_answer(0, 2, MYR_LEVEL_PARENT);
    expect_answer(1, 3, MYR_LEVEL_SEGMENT);
    expect_none(2, MYR_ROW_BAD_KEY);
    expect_none(3, MYR_ROW_BAD_KEY);
}

TEST(no_model_on_the_chain)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments + 1, 2);
    put_row(0, 5, "b");
    put_row(1, 5, "a");
    put_row(2, 6, "b");
    score(&b, 3);
    expect_none(0, MYR_ROW_NO_MODEL);
    EXPECT_INT(statuses[0][1], MYR_ROW_OK);
    expect_none(2, MYR_ROW_NO_MODEL);
}

TEST(bad_keys_are_a_status)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    char longest[MYR_KEY_VALUE_BYTES_MAX + 2];
    memset(longest, 'x', sizeof longest);
    for (int i = 0; i < 6; i++)
        put_row(i, 1, "a");
    brands[1] = myr_str_make(longest, MYR_KEY_VALUE_BYTES_MAX + 1);
    brands[2] = myr_str_make(longest, MYR_KEY_VALUE_BYTES_MAX);
    brands[3] = myr_str_of("\xff");
    score(&b, 6);
    expect_answer(0, 3, MYR_LEVEL_SEGMENT);
    expect_none(1, MYR_ROW_BAD_KEY);
    expect_answer(2, 1, MYR_LEVEL_GLOBAL);
    expect_none(3, MYR_ROW_BAD_KEY);
    expect_answer(4, 3, MYR_LEVEL_SEGMENT);
    myr_str texts[] = {myr_str_of("1"), myr_str_of("1.0"), myr_str_of("one"),
                       myr_str_of(""),  myr_str_of("01"),  myr_str_of("1.5")};
    b.keys[0] = (myr_col){.name = "store", .type = MYR_COL_TEXT, .data.text = texts};
    for (int i = 0; i < 6; i++)
        brands[i] = myr_str_of("a");
    score(&b, 6);
    expect_answer(0, 3, MYR_LEVEL_SEGMENT);
    expect_answer(1, 3, MYR_LEVEL_SEGMENT);
    for (int i = 2; i < 6; i++)
        expect_none(i, MYR_ROW_BAD_KEY);
}

/* A bad value in a column that a parent does not look at is still an error of the row. */
TEST(bad_key_does_not_ask_a_parent)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    double numbers[] = {1.5};
    put_row(0, 1, "a");
    b.keys[0] = (myr_col){.name = "store", .type = MYR_COL_DOUBLE, .data.f64 = numbers};
    score(&b, 1);
    expect_none(0, MYR_ROW_BAD_KEY);
}

TEST(missing_features_are_nan)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    static const uint8_t valid[] = {1, 0, 1};
    for (int i = 0; i < 3; i++)
        put_row(i, 1, "a");
    features[0][0] = features[0][1] = 0.25;
    features[0][2] = NAN;
    b.cols[0].valid = valid;
    score(&b, 3);
    EXPECT(values[0][0][0] == 3 + 1);
    EXPECT(values[0][0][1] == values[0][0][2]); /* null and NaN are the same */
    EXPECT(values[0][0][1] == 3 + 2);           /* and take the default way: right */
}

/* What 0/0 gives on x86 has its sign bit set, which some writers print as -nan. */
TEST(a_nan_has_no_sign)
{
    uint64_t bits = 0xfff8000000000000u, plain = 0;
    double in[4] = {1.5, 0, -(double)INFINITY, -0.0}, out[4];
    memcpy(&in[1], &bits, sizeof bits);
    for (int i = 0; i < 4; i++)
        out[i] = score_plain(in[i]);
    memcpy(&plain, &out[1], sizeof plain);
    EXPECT(plain == 0x7ff8000000000000u);
    EXPECT(out[0] == 1.5 && out[2] == in[2] && out[3] == 0 && signbit(out[3]) != 0);
}

TEST(fixed_model_ignores_keys)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    for (int i = 0; i < 5; i++)
        put_row(i, 1, "a");
    b.rows.keys = NULL;
    static const myr_level wanted[] = {MYR_LEVEL_GLOBAL,  MYR_LEVEL_PARENT, MYR_LEVEL_SEGMENT,
                                       MYR_LEVEL_SEGMENT, MYR_LEVEL_PARENT, MYR_LEVEL_SEGMENT};
    for (uint32_t m = 0; m < (uint32_t)SEGMENTS; m++) {
        b.rows.fixed_model = m;
        score(&b, 5);
        for (int i = 0; i < 5; i++)
            expect_answer(i, (int)m + 1, wanted[m]);
    }
    myr_err err = {0};
    b.rows.fixed_model = (uint32_t)SEGMENTS;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    b.rows.fixed_model = MYR_PACK_NONE; /* by key, but there are no keys */
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'store' is missing");
}

TEST(what_is_asked_is_checked_before_anything_is_written)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    myr_err err = {0};
    put_row(0, 1, "a");
    statuses[0][0] = 0xee;
    values[0][0][0] = 4711;
    b.rows.row_count = 1;
    b.cols[1].type = MYR_COL_INT64;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'deal' is neither a column of doubles nor of texts");
    b.cols[1].type = MYR_COL_DOUBLE;
    b.cols[2].data.f64 = NULL;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'feat' is missing");
    b.rows.features = NULL;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    b.rows.features = b.cols;
    b.cols[2].data.f64 = features[2];
    b.keys[1].type = (myr_col_type)7;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    b.keys[1].type = MYR_COL_TEXT;
    b.rows.row_count = -1;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), BAD_INPUT, &err);
    b.rows.row_count = 0;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[0], &err), OK, &err);
    EXPECT(statuses[0][0] == 0xee && values[0][0][0] == 4711);
}

TEST(optional_answers_may_be_null)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    put_row(0, 1, "a");
    b.out[0].model_idxs = NULL;
    b.out[0].levels = NULL;
    b.out[0].statuses = NULL;
    score(&b, 1);
    EXPECT(values[0][0][0] == 3 + (features[0][0] <= 0.5 ? 1 : 2));
}

/* ---- a damaged model ---- */

TEST(a_broken_model_breaks_its_rows_only)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_pack_entry entry;
    EXPECT_RC(myr_pack_get_entry(b.pack, 0, &entry, NULL), OK, NULL);
    fixture_poke(dir, "oj-1.blobs", 64 + 2 * entry.model_bytes + 70, "\x5a", 1); /* model 2: store=1,brand=a */
    for (int i = 0; i < 9; i++)
        put_row(i, i % 3 == 1 ? 1 : 2, "a");
    for (int twice = 0; twice < 2; twice++) {
        score(&b, 9);
        for (int i = 0; i < 9; i++) {
            if (i % 3 != 1) {
                expect_answer(i, 4, MYR_LEVEL_SEGMENT);
                continue;
            }
            EXPECT_INT(statuses[0][i], MYR_ROW_BROKEN_MODEL);
            EXPECT_INT(model_idxs[0][i], 2); /* which one it is can be told */
            EXPECT_INT(levels[0][i], MYR_LEVEL_SEGMENT);
            EXPECT(isnan(values[0][0][i]) && isnan(values[0][1][i]));
        }
    }
    fixture_poke(dir, "oj-1.index", 4096, "\x5a\x5a\x5a\x5a",
                 4); /* too late: the page was checked and is in memory … */
    MYR_AUTO(myr_pack_ptr) again = fixture_open(dir, "oj-1.index"); /* … but not for the next one to open it */
    myr_scorer *scorer = NULL;
    EXPECT_RC(myr_scorer_new(again, &scorer, NULL), OK, NULL);
    b.rows.row_count = 2;
    EXPECT_RC(myr_score(scorer, b.scratch, &b.rows, &b.out[0], NULL), OK, NULL);
    expect_none(0, MYR_ROW_BROKEN_MODEL);
    expect_none(1, MYR_ROW_BROKEN_MODEL);
    myr_scorer_free(scorer);
}

/* ---- order and bits ---- */

static uint64_t random_state = 88172645463325252ull;
static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill_random(int64_t row_count)
{
    static const char *const names[] = {"a", "b", "", "zz"};
    for (int64_t i = 0; i < row_count; i++) {
        put_row(i, (int64_t)(random_next() % 4), names[random_next() % 4]);
        store_valid[i] = random_next() % 10 != 0;
        for (int j = 0; j < FIXTURE_FEATURES; j++)
            features[j][i] = (double)(random_next() % 1000) / 500 - 1;
    }
}

static bool same_bits(int64_t a, int64_t b)
{
    return memcmp(&values[0][0][a], &values[1][0][b], 8) == 0 && memcmp(&values[0][1][a], &values[1][1][b], 8) == 0 &&
           model_idxs[0][a] == model_idxs[1][b] && levels[0][a] == levels[1][b] && statuses[0][a] == statuses[1][b];
}

TEST(a_row_alone_has_the_bits_it_has_among_many)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    const int64_t row_count = 10000;
    fill_random(row_count);
    score(&b, row_count);
    for (int64_t i = 0; i < row_count; i += 7) { /* one row each, from its place in the same columns */
        bench one = b;
        one.keys[0].data.i64 += i;
        one.keys[0].valid += i;
        one.keys[1].data.text += i;
        one.keys[1].valid += i;
        for (int j = 0; j < FIXTURE_FEATURES; j++)
            one.cols[j].data.f64 += i;
        one.rows =
            (myr_score_rows){.row_count = 1, .keys = one.keys, .features = one.cols, .fixed_model = MYR_PACK_NONE};
        double *single[] = {&values[1][0][i], &values[1][1][i]};
        myr_score_out out = {single, &model_idxs[1][i], &levels[1][i], &statuses[1][i]};
        EXPECT_RC(myr_score(b.scorer, b.scratch, &one.rows, &out, NULL), OK, NULL);
        EXPECT(same_bits(i, i));
    }
}

TEST(shuffled_rows_have_the_same_answers)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    const int64_t row_count = 10000;
    static int64_t from[10000];
    fill_random(row_count);
    score(&b, row_count);
    for (int w = 0; w < FIXTURE_OUTPUTS; w++)
        memcpy(values[1][w], values[0][w], sizeof values[0][w]);
    memcpy(model_idxs[1], model_idxs[0], sizeof model_idxs[0]);
    memcpy(levels[1], levels[0], sizeof levels[0]);
    memcpy(statuses[1], statuses[0], sizeof statuses[0]);
    for (int64_t i = 0; i < row_count; i++)
        from[i] = i;
    for (int64_t i = row_count - 1; i > 0; i--) {
        int64_t j = (int64_t)(random_next() % (uint64_t)(i + 1));
#define SWAP(array)                                                                                                    \
    do {                                                                                                               \
        __typeof__((array)[0]) kept = (array)[i];                                                                      \
        (array)[i] = (array)[j];                                                                                       \
        (array)[j] = kept;                                                                                             \
    } while (0)
        SWAP(from);
        SWAP(stores);
        SWAP(store_valid);
        SWAP(brands);
        for (int f = 0; f < FIXTURE_FEATURES; f++)
            SWAP(features[f]);
    }
    score(&b, row_count);
    for (int64_t i = 0; i < row_count; i++)
        EXPECT(same_bits(i, from[i]));
}

/* Chunks: one row less, exactly, one more, and several. */
TEST(more_rows_than_a_chunk)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    static const int64_t counts[] = {1,
                                     SCORE_BLOCK_ROWS,
                                     SCORE_BLOCK_ROWS + 1,
                                     SCORE_CHUNK_ROWS - 1,
                                     SCORE_CHUNK_ROWS,
                                     SCORE_CHUNK_ROWS + 1,
                                     3 * SCORE_CHUNK_ROWS + 5};
    for (size_t c = 0; c < MYR_COUNT_OF(counts); c++) {
        for (int64_t i = 0; i < counts[c]; i++)
            put_row(i, i % 3, "a");
        memset(statuses[0], 0xee, sizeof statuses[0]);
        score(&b, counts[c]);
        for (int64_t i = 0; i < counts[c]; i++) {
            static const int seeds[] = {2, 3, 4};
            if (model_idxs[0][i] != (uint32_t)seeds[i % 3] - 1 || statuses[0][i] != MYR_ROW_OK ||
                values[0][0][i] != seeds[i % 3] + (features[0][i] <= 0.5 ? 1 : 2)) {
                expect_answer(i, seeds[i % 3], i % 3 == 0 ? MYR_LEVEL_PARENT : MYR_LEVEL_SEGMENT);
            }
        }
        EXPECT_INT(statuses[0][counts[c]], 0xee);
    }
}

/* As many models as rows in a chunk, and then the like with few rows: groups are bounded by rows, not by models. */
TEST(every_row_has_its_own_model)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "many", &info, &writer, &err), OK, &err);
    const int count = 3000;
    for (int i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "store=%d,brand=a", i);
        EXPECT_RC(fixture_add(writer, text, i + 1, &err), OK, &err);
    }
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(bench) b = {0};
    b.pack = fixture_open(dir, "many.index");
    EXPECT_RC(myr_scorer_new(b.pack, &b.scorer, &err), OK, &err);
    b.scratch = myr_score_scratch_new();
    bench_columns(&b);
    for (int i = 0; i < count; i++)
        put_row(i, count - 1 - i, "a");
    score(&b, count);
    for (int i = 0; i < count; i++)
        expect_answer(i, count - i, MYR_LEVEL_SEGMENT);
    EXPECT_INT(b.scratch->group_count, count);
}

/* Groups of 1 to 40 rows, among them rows without a model: those that wait for each other and those that do not. */
TEST(groups_of_all_sizes_answer_in_order)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    for (uint32_t round = 0; round < 60; round++) {
        int64_t row_count = 0;
        for (uint32_t g = 0; g < 4; g++) { /* stores 0 to 3, of which some are no segments */
            for (uint64_t left = 1 + random_next() % 40; left > 0; left--) {
                put_row(row_count, (int64_t)g, left % 2 != 0 ? "a" : "b");
                store_valid[row_count] = left % 11 != 0;
                for (int j = 0; j < FIXTURE_FEATURES; j++)
                    features[j][row_count] = (double)(random_next() % 1000) / 500 - 1;
                row_count++;
            }
        }
        score(&b, row_count);
        for (int w = 0; w < FIXTURE_OUTPUTS; w++)
            memcpy(values[1][w], values[0][w], (size_t)row_count * sizeof(double));
        memcpy(model_idxs[1], model_idxs[0], sizeof model_idxs[0]);
        memcpy(levels[1], levels[0], sizeof levels[0]);
        memcpy(statuses[1], statuses[0], sizeof statuses[0]);
        for (int64_t i = 1; i < row_count; i++) { /* alone, in the place of row 0 */
            put_row(0, stores[i], brands[i].data);
            store_valid[0] = store_valid[i];
            for (int j = 0; j < FIXTURE_FEATURES; j++)
                features[j][0] = features[j][i];
            score(&b, 1);
            EXPECT(same_bits(0, i));
        }
    }
}

/* ---- memory ---- */

TEST(a_warm_call_allocates_nothing)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    fill_random(5000);
    score(&b, 5000);
    int64_t before = myr_mem_alloc_count();
    score(&b, 5000);
    score(&b, 1);
    score(&b, 4097);
    EXPECT_INT(myr_mem_alloc_count(), before);
}

TEST(scoring_survives_each_failed_allocation)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    put_row(0, 1, "a");
    put_row(1, 2, "a");
    int failures = 0;
    b.rows.row_count = 2;
    FAIL_EACH_ALLOC (nth) {
        myr_err err = {0};
        myr_scorer *scorer = NULL;
        statuses[0][0] = 0xee;
        myr_score_scratch *scratch = myr_score_scratch_new();
        myr_rc rc = scratch == NULL ? MYR_NO_MEMORY : myr_scorer_new(b.pack, &scorer, &err);
        if (rc == MYR_OK) rc = myr_score(scorer, scratch, &b.rows, &b.out[0], &err);
        if (rc != MYR_OK) {
            EXPECT_INT(rc, MYR_NO_MEMORY);
            EXPECT_INT(statuses[0][0], 0xee);
            failures++;
            if (scratch != NULL && scorer != NULL) { /* the same scratch works as soon as there is memory */
                EXPECT_RC(myr_score(scorer, scratch, &b.rows, &b.out[0], &err), OK, &err);
                expect_answer(0, 3, MYR_LEVEL_SEGMENT);
            }
        }
        myr_score_scratch_free(scratch);
        myr_scorer_free(scorer);
        if (rc == MYR_OK) break;
    }
    EXPECT_INT(failures, 8); /* scratch, scorer, four arrays of rows, block, values */
}

TEST(rows_wider_than_a_block)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    MYR_AUTO(myr_mem) names = myr_calloc(MYR_FEATURES_MAX, sizeof(char *));
    MYR_AUTO(myr_mem) cols = myr_calloc(MYR_FEATURES_MAX, sizeof(myr_col));
    static double cells[3] = {0.25, 0.75, 0.25};
    for (int j = 0; j < MYR_FEATURES_MAX; j++) {
        ((const char **)names)[j] = "f";
        ((myr_col *)cols)[j] = (myr_col){.name = "f", .type = MYR_COL_DOUBLE, .data.f64 = cells};
    }
    myr_pack_info info = {.fleet = "wide", .features = names, .feature_count = MYR_FEATURES_MAX, .output_count = 1};
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    MYR_AUTO(fixture_model) model = fixture_model_sized(1, MYR_FEATURES_MAX, 1);
    EXPECT_RC(myr_pack_writer_open(dir, "wide", &info, &writer, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_add(writer, (const unsigned char *)"\0", 1, 1, model.bytes, model.size, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(bench) b = {0};
    b.pack = fixture_open(dir, "wide.index");
    EXPECT_RC(myr_scorer_new(b.pack, &b.scorer, &err), OK, &err);
    b.scratch = myr_score_scratch_new();
    double *out[] = {values[0][0]};
    myr_score_rows rows = {.row_count = 3, .features = cols, .fixed_model = MYR_PACK_NONE};
    myr_score_out answers = {out, NULL, levels[0], NULL};
    EXPECT_RC(myr_score(b.scorer, b.scratch, &rows, &answers, &err), OK, &err);
    EXPECT(values[0][0][0] == 2 && values[0][0][1] == 3 && values[0][0][2] == 2);
    EXPECT_INT(levels[0][0], MYR_LEVEL_GLOBAL); /* no partition columns: the one model is global */
}

/* ---- names ---- */

/* Rows of a matrix, forwards and backwards, have the bits of columns; consecutive rows of a model go without a copy. */
TEST(features_may_be_strided)
{
    enum { COUNT = 3000, STRIDE = FIXTURE_FEATURES + 3 };
    static double matrix[COUNT][STRIDE];
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    for (int i = 0; i < COUNT; i++) {
        put_row(i, i < 1000 ? 1 : i % 3, "a"); /* a run of one model, then models by turns */
        for (int j = 0; j < STRIDE; j++)
            matrix[i][j] = j < FIXTURE_FEATURES ? features[j][i] : -1e9;
    }
    score(&b, COUNT);
    myr_err err = {0};
    b.rows.feature_stride = STRIDE;
    for (int j = 0; j < FIXTURE_FEATURES; j++)
        b.cols[j].data.f64 = &matrix[0][j];
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[1], &err), OK, &err);
    for (int k = 0; k < FIXTURE_OUTPUTS; k++)
        EXPECT(memcmp(values[0][k], values[1][k], COUNT * sizeof(double)) == 0);
    b.rows.fixed_model = 2;
    b.rows.feature_stride = -STRIDE;
    for (int j = 0; j < FIXTURE_FEATURES; j++)
        b.cols[j].data.f64 = &matrix[COUNT - 1][j];
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out[1], &err), OK, &err);
    for (int i = 0; i < 1000; i++)
        EXPECT(values[1][0][COUNT - 1 - i] == values[0][0][i]);
}

TEST(names_of_models_levels_and_statuses)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b, segments, SEGMENTS);
    static const char *const wanted[] = {"oj@", "oj@brand=a", "oj@store=1,brand=a"};
    for (uint32_t i = 0; i < 3; i++) {
        MYR_AUTO(myr_buf) name = {0};
        myr_buf_puts(&name, "> ");
        EXPECT_RC(myr_score_model_name(b.scorer, i, &name, NULL), OK, NULL);
        EXPECT_STR(name.data + 2, wanted[i]);
    }
    MYR_AUTO(myr_buf) name = {0};
    EXPECT_RC(myr_score_model_name(b.scorer, MYR_PACK_NONE, &name, NULL), BAD_INPUT, NULL);
    EXPECT_INT(name.size, 0);
    EXPECT(myr_scorer_pack(b.scorer) == b.pack);
    EXPECT_STR(myr_level_name(MYR_LEVEL_NONE), "none");
    EXPECT_STR(myr_level_name(MYR_LEVEL_SEGMENT), "segment");
    EXPECT_STR(myr_level_name(MYR_LEVEL_PARENT), "parent");
    EXPECT_STR(myr_level_name(MYR_LEVEL_GLOBAL), "global");
    EXPECT_STR(myr_row_status_name(MYR_ROW_OK), "ok");
    EXPECT_STR(myr_row_status_name(MYR_ROW_NO_MODEL), "no_model");
    EXPECT_STR(myr_row_status_name(MYR_ROW_BAD_KEY), "bad_key");
    EXPECT_STR(myr_row_status_name(MYR_ROW_BROKEN_MODEL), "broken_model");
    myr_scorer_free(NULL);
    myr_score_scratch_free(NULL);
}

RUN()
