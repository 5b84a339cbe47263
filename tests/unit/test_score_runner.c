/* Models that are not ours among ours: what the runner is asked, and what its answers and errors become. */
#include <math.h>

#include "pack_fixture.h"
#include "score/score.h"

enum { ROWS = 40 };

/* A runner that notes its call and answers row + 1000 k; rows of store 4 are bad if it is told so. */
typedef struct fake {
    int calls;
    uint32_t rows;
    myr_rc rc;
    bool odd_are_bad;
} fake;

static myr_rc fake_run(void *ctx, const myr_runner_call *call, myr_err *err)
{
    fake *f = ctx;
    f->calls++;
    f->rows += call->row_count;
    MYR_ASSERT(call->feature_stride != 0 && call->row_count > 0);
    if (f->rc != MYR_OK) return myr_err_set(err, f->rc, __FILE__, __LINE__, "the runner says no");
    for (uint32_t i = 0; i < call->row_count; i++) {
        int64_t row = call->first_row + call->order[i];
        MYR_ASSERT(i == 0 || call->order[i] > call->order[i - 1]);
        for (uint32_t k = 0; k < FIXTURE_OUTPUTS; k++)
            call->values[k][row] =
                call->features[0].data.f64[row * call->feature_stride] < 0 ? -(double)NAN : (double)row + 1000.0 * k;
        if (f->odd_are_bad && row % 2 == 1) call->is_bad[i] = 1;
    }
    return MYR_OK;
}

typedef struct bench {
    myr_pack *pack;
    myr_scorer *scorer;
    myr_score_scratch *scratch;
    fake fake;
    int64_t stores[ROWS];
    double numbers[ROWS];
    double values[FIXTURE_OUTPUTS][ROWS];
    double *out_values[FIXTURE_OUTPUTS];
    uint32_t model_idxs[ROWS];
    uint8_t levels[ROWS], statuses[ROWS];
    myr_str brands[ROWS];
    uint8_t brand_valid[ROWS];
    myr_col keys[2];
    myr_col cols[FIXTURE_FEATURES];
    myr_score_rows rows;
    myr_score_out out;
} bench;

static inline void bench_drop(bench *b)
{
    myr_score_scratch_free(b->scratch);
    myr_scorer_free(b->scorer);
    myr_pack_close(b->pack);
}

static void bench_add(myr_pack_writer *writer, const char *segment, const fixture_model *model)
{
    myr_err err = {0};
    fixture_key key = fixture_key_of(segment);
    EXPECT_RC(myr_pack_writer_add(writer, key.bytes, key.size, 1, model->bytes, model->size, &err), OK, &err);
}

/* Store 1 is a tree, store 2 and 3 are external, anything else has no model. Rows go 1, 2, 3, 4, 1, … */
static void bench_start(bench *b, bool with_runner)
{
    char dir[TESTING_PATH_BYTES], path[MYR_PATH_BYTES_MAX];
    static const unsigned char sha[MYR_SHA256_BYTES] = {9};
    static const uint32_t columns[FIXTURE_FEATURES] = {0, 1, 2};
    myr_pack_info info = fixture_info(1);
    myr_pack_writer *writer = NULL;
    myr_err err = {0};
    MYR_AUTO(fixture_model) tree = fixture_model_sized(1, FIXTURE_FEATURES, FIXTURE_OUTPUTS);
    MYR_AUTO(fixture_model) external = {0};
    myr_external_desc desc = {"fake", sha, columns, NULL, FIXTURE_FEATURES, FIXTURE_OUTPUTS};
    EXPECT_RC(myr_model_compile_external(&desc, FIXTURE_FEATURES, &external.bytes, &external.size, &err), OK, &err);
    testing_dir(dir);
    EXPECT_RC(myr_pack_writer_open(dir, "r1", &info, &writer, &err), OK, &err);
    bench_add(writer, "store=1,brand=a", &tree);
    bench_add(writer, "store=2,brand=a", &external);
    bench_add(writer, "store=3,brand=a", &external);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    myr_pack_writer_close(writer);
    EXPECT_RC(myr_path_join(path, sizeof path, dir, "r1.index", &err), OK, &err);
    EXPECT_RC(myr_pack_open(path, &b->pack, &err), OK, &err);
    EXPECT_RC(myr_scorer_new(b->pack, &b->scorer, &err), OK, &err);
    b->scratch = myr_score_scratch_new();
    EXPECT(b->scratch != NULL);
    const myr_runner runner = {.ctx = &b->fake, .run = fake_run};
    if (with_runner) myr_scorer_set_runner(b->scorer, &runner);
    for (int64_t i = 0; i < ROWS; i++) {
        b->stores[i] = i % 4 + 1;
        b->brands[i] = myr_str_of("a");
        b->brand_valid[i] = 1;
    }
    b->keys[0] = (myr_col){.name = "store", .type = MYR_COL_INT64, .data.i64 = b->stores};
    b->keys[1] = (myr_col){.name = "brand", .type = MYR_COL_TEXT, .valid = b->brand_valid, .data.text = b->brands};
    for (int j = 0; j < FIXTURE_FEATURES; j++)
        b->cols[j] = (myr_col){.name = fixture_features[j], .type = MYR_COL_DOUBLE, .data.f64 = b->numbers};
    for (int k = 0; k < FIXTURE_OUTPUTS; k++)
        b->out_values[k] = b->values[k];
    b->rows = (myr_score_rows){.row_count = ROWS, .keys = b->keys, .features = b->cols, .fixed_model = MYR_PACK_NONE};
    b->out = (myr_score_out){
        .values = b->out_values, .model_idxs = b->model_idxs, .levels = b->levels, .statuses = b->statuses};
}

static void bench_score(bench *b)
{
    myr_err err = {0};
    EXPECT_RC(myr_score(b->scorer, b->scratch, &b->rows, &b->out, &err), OK, &err);
}

/* Rows of store 1 are answered by its tree, those of store 4 by nobody, whatever the runner does. */
static void expect_others(const bench *b)
{
    for (int64_t i = 0; i < ROWS; i++) {
        if (b->stores[i] == 1) EXPECT(b->statuses[i] == MYR_ROW_OK && b->values[0][i] == 2);
        if (b->stores[i] == 4) EXPECT(b->statuses[i] == MYR_ROW_NO_MODEL && isnan(b->values[0][i]));
    }
}

static bool is_external(const bench *b, int64_t i)
{
    return b->stores[i] == 2 || b->stores[i] == 3;
}

TEST(the_runner_gets_each_models_rows_at_once)
{
    MYR_AUTO(bench) b = {0};
    bench_start(&b, true);
    bench_score(&b);
    EXPECT_INT(b.fake.calls, 2);
    EXPECT_INT(b.fake.rows, ROWS / 2);
    EXPECT(myr_score_trouble(b.scratch)->rc == MYR_OK && !myr_score_needs_runner(b.scratch));
    expect_others(&b);
    for (int64_t i = 0; i < ROWS; i++) {
        if (!is_external(&b, i)) continue;
        EXPECT(b.statuses[i] == MYR_ROW_OK && b.levels[i] == MYR_LEVEL_SEGMENT && b.model_idxs[i] != MYR_PACK_NONE);
        EXPECT(b.values[0][i] == (double)i && b.values[1][i] == (double)i + 1000);
    }
}

TEST(a_nan_of_the_runner_has_no_sign)
{
    MYR_AUTO(bench) b = {0};
    bench_start(&b, true);
    for (int i = 0; i < ROWS; i++)
        b.numbers[i] = -1;
    bench_score(&b);
    EXPECT(isnan(b.values[0][1]) && !signbit(b.values[0][1]) && b.statuses[1] == MYR_ROW_OK);
}

TEST(rows_that_it_calls_bad_are_bad_input)
{
    MYR_AUTO(bench) b = {0};
    bench_start(&b, true);
    b.fake.odd_are_bad = true;
    bench_score(&b);
    expect_others(&b);
    for (int64_t i = 0; i < ROWS; i++) {
        if (!is_external(&b, i)) continue;
        EXPECT_INT(b.statuses[i], i % 2 == 1 ? MYR_ROW_BAD_INPUT : MYR_ROW_OK);
        EXPECT(i % 2 == 1 ? isnan(b.values[0][i]) && isnan(b.values[1][i]) : b.values[0][i] == (double)i);
    }
}

TEST(its_errors_are_statuses_and_the_first_is_kept)
{
    static const struct {
        myr_rc rc;
        uint8_t status;
    } cases[] = {{MYR_BAD_FORMAT, MYR_ROW_BROKEN_MODEL},
                 {MYR_UNAVAILABLE, MYR_ROW_UNAVAILABLE},
                 {MYR_BUSY, MYR_ROW_UNAVAILABLE},
                 {MYR_NO_MEMORY, MYR_ROW_UNAVAILABLE},
                 {MYR_TOO_LARGE, MYR_ROW_UNAVAILABLE}};
    MYR_AUTO(bench) b = {0};
    bench_start(&b, true);
    for (size_t c = 0; c < MYR_COUNT_OF(cases); c++) {
        b.fake.rc = cases[c].rc;
        bench_score(&b);
        expect_others(&b);
        EXPECT_INT(myr_score_trouble(b.scratch)->rc, cases[c].rc);
        EXPECT_HAS(myr_score_trouble(b.scratch)->message, "the runner says no");
        for (int64_t i = 0; i < ROWS; i++) {
            if (is_external(&b, i)) EXPECT(b.statuses[i] == cases[c].status && isnan(b.values[1][i]));
        }
    }
    b.fake.rc = MYR_OK;
    bench_score(&b);
    EXPECT_INT(myr_score_trouble(b.scratch)->rc, MYR_OK); /* of the last call alone */
}

TEST(without_a_runner_the_rows_say_so)
{
    MYR_AUTO(bench) b = {0};
    bench_start(&b, false);
    bench_score(&b);
    expect_others(&b);
    EXPECT_INT(b.statuses[1], MYR_ROW_UNAVAILABLE);
    EXPECT_INT(myr_score_trouble(b.scratch)->rc, MYR_UNAVAILABLE);
    EXPECT_STR(myr_row_status_name(MYR_ROW_UNAVAILABLE), "unavailable");
}

TEST(no_runner_asks_for_everything_else)
{
    MYR_AUTO(bench) b = {0};
    bench_start(&b, true);
    b.rows.no_runner = true;
    bench_score(&b);
    expect_others(&b);
    EXPECT_INT(b.fake.calls, 0);
    EXPECT(myr_score_needs_runner(b.scratch) && b.statuses[2] == MYR_ROW_UNAVAILABLE);
    b.rows.row_count = 1; /* a tree's */
    bench_score(&b);
    EXPECT(!myr_score_needs_runner(b.scratch) && b.statuses[0] == MYR_ROW_OK);
}

TEST(a_warm_call_takes_no_memory_of_ours)
{
    MYR_AUTO(bench) b = {0};
    bench_start(&b, true);
    bench_score(&b);
    int64_t before = myr_mem_alloc_count();
    bench_score(&b);
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
}

RUN()
