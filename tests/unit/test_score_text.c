/*
 * Texts as features: each row's text becomes the code that its own model has for it. Models with other lists, in
 * another order, of numbers, and without lists stand side by side.
 */
#include <math.h>

#include "pack_fixture.h"
#include "score/score.h"

enum { ROWS_MAX = 70000, UNKNOWN = 3 };

/* The first output of such a model is the code of the feature `price`, and UNKNOWN for what is missing. */
static fixture_model code_model(const char *const *names, uint32_t count, const uint8_t *kinds)
{
    myr_split splits[3];
    double leaves[4] = {0, 1, 2, UNKNOWN}, none[1] = {7};
    for (int k = 0; k < 3; k++) {
        splits[k] =
            (myr_split){.left = ~k, .right = k < 2 ? k + 1 : ~3, .threshold = k + 0.5, .missing = MYR_MISSING_NAN};
    }
    myr_tree trees[FIXTURE_OUTPUTS] = {
        {.splits = splits, .split_count = 3, .leaves = leaves, .leaf_count = 4},
        {.leaves = none, .leaf_count = 1, .output = 1},
    };
    myr_category_names lists[FIXTURE_FEATURES] = {{.names = names, .count = count, .kinds = kinds}};
    myr_model_desc desc = {.kind = MYR_MODEL_TREES,
                           .feature_count = FIXTURE_FEATURES,
                           .margin_count = FIXTURE_OUTPUTS,
                           .trees = trees,
                           .tree_count = FIXTURE_OUTPUTS,
                           .categories = lists};
    fixture_model model = {0};
    myr_err err = {0};
    EXPECT_RC(myr_model_compile(&desc, NULL, FIXTURE_FEATURES, NULL, &model.bytes, &model.size, &err), OK, &err);
    return model;
}

static int64_t stores[ROWS_MAX];
static myr_str prices[ROWS_MAX], brands[ROWS_MAX]; /* brands: all empty */
static uint8_t price_valid[ROWS_MAX];
static double zeros[ROWS_MAX];
static double values[FIXTURE_OUTPUTS][ROWS_MAX];
static uint32_t model_idxs[ROWS_MAX];
static uint8_t levels[ROWS_MAX], statuses[ROWS_MAX];

typedef struct bench {
    myr_pack *pack;
    myr_scorer *scorer;
    myr_score_scratch *scratch;
    myr_col keys[2];
    myr_col cols[FIXTURE_FEATURES];
    double *out_values[FIXTURE_OUTPUTS];
    myr_score_rows rows;
    myr_score_out out;
} bench;
static void bench_drop(bench *b)
{
    myr_score_scratch_free(b->scratch);
    myr_scorer_free(b->scorer);
    myr_pack_close(b->pack);
}

static void bench_add(myr_pack_writer *writer, const char *segment, const char *const *names, uint32_t count,
                      const uint8_t *kinds)
{
    fixture_key key = fixture_key_of(segment);
    MYR_AUTO(fixture_model) model = code_model(names, count, kinds);
    myr_err err = {0};
    EXPECT_RC(myr_pack_writer_add(writer, key.bytes, key.size, 1, model.bytes, model.size, &err), OK, &err);
}

static void bench_columns(bench *b)
{
    b->keys[0] = (myr_col){.name = "store", .type = MYR_COL_INT64, .data.i64 = stores};
    b->keys[1] = (myr_col){.name = "brand", .type = MYR_COL_TEXT, .data.text = brands};
    b->cols[0] = (myr_col){.name = "price", .type = MYR_COL_TEXT, .valid = price_valid, .data.text = prices};
    b->cols[1] = (myr_col){.name = "deal", .type = MYR_COL_DOUBLE, .data.f64 = zeros};
    b->cols[2] = (myr_col){.name = "feat", .type = MYR_COL_DOUBLE, .data.f64 = zeros};
    b->out_values[0] = values[0];
    b->out_values[1] = values[1];
    b->out = (myr_score_out){b->out_values, model_idxs, levels, statuses};
    b->rows = (myr_score_rows){.keys = b->keys, .features = b->cols, .fixed_model = MYR_PACK_NONE};
    memset(price_valid, 1, sizeof price_valid);
}

/* store 1: red green; store 2: blue green red; store 3: the numbers 5, 1, 0.5; store 4: no names; store 5: truths. */
static void bench_fill(bench *b)
{
    static const char *const one[] = {"red", "green"}, *const two[] = {"blue", "green", "red"};
    static const char *const three[] = {"5", "1.0", "0.5"}, *const five[] = {"false", "true"};
    static const uint8_t numbers[] = {MYR_CATEGORY_NUMBER, MYR_CATEGORY_NUMBER, MYR_CATEGORY_NUMBER};
    static const uint8_t truths[] = {MYR_CATEGORY_BOOL, MYR_CATEGORY_BOOL};
    char dir[TESTING_PATH_BYTES];
    myr_err err = {0};
    testing_dir(dir);
    myr_pack_info info = fixture_info(7);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-1", &info, &writer, &err), OK, &err);
    bench_add(writer, "store=1,brand=", one, 2, NULL);
    bench_add(writer, "store=2,brand=", two, 3, NULL);
    bench_add(writer, "store=3,brand=", three, 3, numbers);
    bench_add(writer, "store=4,brand=", NULL, 0, NULL);
    bench_add(writer, "store=5,brand=", five, 2, truths);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    b->pack = fixture_open(dir, "oj-1.index");
    EXPECT(myr_pack_takes_text(myr_pack_get_info(b->pack), 0) && !myr_pack_takes_text(myr_pack_get_info(b->pack), 1));
    EXPECT_RC(myr_scorer_new(b->pack, &b->scorer, &err), OK, &err);
    b->scratch = myr_score_scratch_new();
    bench_columns(b);
}

static void score(bench *b, int64_t row_count)
{
    myr_err err = {0};
    b->rows.row_count = row_count;
    EXPECT_RC(myr_score(b->scorer, b->scratch, &b->rows, &b->out, &err), OK, &err);
}

typedef struct cell {
    int64_t store;
    const char *text; /* NULL: null */
    double wanted;    /* NAN: bad_input */
} cell;

static const cell cells[] = {
    {1, "red", 0},       {1, "green", 1},     {1, "blue", UNKNOWN}, {1, NULL, UNKNOWN}, {1, "Red", UNKNOWN},
    {1, "", UNKNOWN},    {1, "0", UNKNOWN},   {2, "red", 2},        {2, "green", 1},    {2, "blue", 0},
    {2, "5", UNKNOWN},   {3, "5", 0},         {3, "5.0", 0},        {3, "1", 1},        {3, "0.5", 2},
    {3, "5e-1", 2},      {3, "6", UNKNOWN},   {3, "red", UNKNOWN},  {4, "0", 0},        {4, "1.0", 1},
    {4, "red", NAN},     {4, "true", 1},      {4, "false", 0},      {4, "True", NAN},   {4, "", NAN},
    {4, NULL, UNKNOWN},  {4, "nan", UNKNOWN}, {5, "true", 1},       {5, "False", 0},    {5, "1", 1},
    {5, "yes", UNKNOWN},
};

static void put(int64_t row, const cell *c)
{
    stores[row] = c->store;
    price_valid[row] = c->text != NULL;
    prices[row] = myr_str_of(c->text);
}

static void expect(int64_t row, const cell *c)
{
    EXPECT_INT(levels[row], MYR_LEVEL_SEGMENT);
    EXPECT_INT(model_idxs[row], c->store - 1);
    if (isnan(c->wanted)) {
        EXPECT_STR(myr_row_status_name((myr_row_status)statuses[row]), "bad_input");
        EXPECT(isnan(values[0][row]) && isnan(values[1][row]));
        return;
    }
    EXPECT_STR(myr_row_status_name((myr_row_status)statuses[row]), "ok");
    if (values[0][row] != c->wanted)
        fail_msg("store %lld, '%s': %g, not %g", (long long)c->store, c->text, values[0][row], c->wanted);
    EXPECT(values[1][row] == 7.0);
}

TEST(each_model_reads_a_text_by_its_own_list)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b);
    for (size_t k = 0; k < MYR_COUNT_OF(cells); k++) { /* alone */
        put(0, &cells[k]);
        score(&b, 1);
        expect(0, &cells[k]);
    }
    for (int64_t row = 0; row < ROWS_MAX; row++) /* among others, over chunks and blocks */
        put(row, &cells[(row * 11) % (int64_t)MYR_COUNT_OF(cells)]);
    score(&b, ROWS_MAX);
    for (int64_t row = 0; row < ROWS_MAX; row++)
        expect(row, &cells[(row * 11) % (int64_t)MYR_COUNT_OF(cells)]);
}

TEST(a_fixed_model_reads_by_its_list_too)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b);
    for (int64_t row = 0; row < (int64_t)MYR_COUNT_OF(cells); row++)
        put(row, &cells[row]);
    b.rows.fixed_model = 1;
    score(&b, (int64_t)MYR_COUNT_OF(cells));
    EXPECT(values[0][0] == 2.0 && values[0][2] == 0.0 && values[0][11] == UNKNOWN && statuses[20] == MYR_ROW_OK);
}

/* Cells that are doubles are codes, as always, whatever lists there are. */
TEST(doubles_are_codes)
{
    static double codes[] = {0, 1, 2, NAN, 1.5};
    MYR_AUTO(bench) b = {0};
    bench_fill(&b);
    b.cols[0] = (myr_col){.name = "price", .type = MYR_COL_DOUBLE, .data.f64 = codes};
    for (int64_t row = 0; row < (int64_t)MYR_COUNT_OF(codes); row++)
        stores[row] = 2;
    score(&b, (int64_t)MYR_COUNT_OF(codes));
    for (int64_t row = 0; row < 4; row++)
        EXPECT(values[0][row] == (row < 3 ? codes[row] : UNKNOWN));
}

TEST(answers_may_be_values_alone)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b);
    b.out.model_idxs = NULL;
    b.out.levels = NULL;
    b.out.statuses = NULL;
    put(0, &(cell){4, "red", NAN});
    put(1, &(cell){1, "red", 0});
    score(&b, 2);
    EXPECT(isnan(values[0][0]) && isnan(values[1][0]) && values[0][1] == 0.0);
}

TEST(other_types_are_refused)
{
    MYR_AUTO(bench) b = {0};
    myr_err err = {0};
    bench_fill(&b);
    b.rows.row_count = 1;
    b.cols[0].type = MYR_COL_INT64;
    EXPECT_RC(myr_score(b.scorer, b.scratch, &b.rows, &b.out, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'price' is neither a column of doubles nor of texts");
}

TEST(a_warm_call_allocates_nothing)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b);
    for (int64_t row = 0; row < 5000; row++)
        put(row, &cells[(row * 11) % (int64_t)MYR_COUNT_OF(cells)]);
    score(&b, 5000);
    int64_t before = myr_mem_alloc_count();
    score(&b, 5000);
    score(&b, 1);
    EXPECT_INT(myr_mem_alloc_count(), before);
}

TEST(scoring_survives_each_failed_allocation)
{
    MYR_AUTO(bench) b = {0};
    bench_fill(&b);
    put(0, &cells[0]);
    b.rows.row_count = 1;
    FAIL_EACH_ALLOC (nth) {
        statuses[0] = 0xee;
        myr_score_scratch *scratch = myr_score_scratch_new();
        myr_rc rc = scratch == NULL ? MYR_NO_MEMORY : myr_score(b.scorer, scratch, &b.rows, &b.out, NULL);
        EXPECT(rc == MYR_OK ? statuses[0] == MYR_ROW_OK : rc == MYR_NO_MEMORY && statuses[0] == 0xee);
        myr_score_scratch_free(scratch);
    }
}

RUN()
