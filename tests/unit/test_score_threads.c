/* Many threads, one scorer: the first touch of every page and model is raced for, and all get the same answers. Run
 * with TSan. */
#include "pack_fixture.h"

#include <math.h>
#include <stdatomic.h>

#include "score/score.h"

#define THREADS 6
#define MODELS  600
#define ROWS    2000
#define ROUNDS  4

typedef struct shared {
    const myr_scorer *scorer;
    atomic_int waiting;
    uint32_t broken; /* a model index that is damaged, or MYR_PACK_NONE */
} shared;

typedef struct worker {
    shared *all;
    unsigned seed;
    int wrong;
    int broken_rows;
} worker;

static void *work(void *arg)
{
    worker *w = arg;
    int64_t stores[ROWS];
    myr_str brands[ROWS];
    double cells[ROWS];
    double first[ROWS];
    double second[ROWS];
    uint32_t idxs[ROWS];
    uint8_t statuses[ROWS];
    myr_col keys[] = {{.name = "store", .type = MYR_COL_INT64, .data.i64 = stores},
                      {.name = "brand", .type = MYR_COL_TEXT, .data.text = brands}};
    myr_col col = {.name = "x", .type = MYR_COL_DOUBLE, .data.f64 = cells};
    myr_col features[] = {col, col, col};
    double *values[] = {first, second};
    myr_score_rows rows = {.row_count = ROWS, .keys = keys, .features = features, .fixed_model = MYR_PACK_NONE};
    myr_score_out out = {values, idxs, NULL, statuses};
    myr_score_scratch *scratch = myr_score_scratch_new();
    unsigned state = w->seed;
    atomic_fetch_sub(&w->all->waiting, 1);
    while (atomic_load(&w->all->waiting) > 0) { /* all begin together */
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < ROWS; i++) {
            state = state * 1664525u + 1013904223u;
            stores[i] = (state >> 8) % MODELS;
            brands[i] = myr_str_of("a");
            cells[i] = (state >> 16) % 2 == 0 ? 0.25 : 0.75;
        }
        w->wrong += scratch == NULL || myr_score(w->all->scorer, scratch, &rows, &out, NULL) != MYR_OK;
        for (int i = 0; i < ROWS; i++) {
            bool is_broken = idxs[i] == w->all->broken;
            w->broken_rows += is_broken;
            w->wrong += idxs[i] != (uint32_t)stores[i];
            w->wrong += statuses[i] != (is_broken ? MYR_ROW_BROKEN_MODEL : MYR_ROW_OK);
            double wanted = (double)(stores[i] + 1) + (cells[i] <= 0.5 ? 1 : 2);
            w->wrong += is_broken ? !isnan(first[i]) : first[i] != wanted;
        }
    }
    myr_score_scratch_free(scratch);
    return NULL;
}

static void write_many(const char *dir)
{
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "many", &info, &writer, &err), OK, &err);
    for (int i = 0; i < MODELS; i++) {
        char text[32];
        snprintf(text, sizeof text, "store=%d,brand=a", i);
        EXPECT_RC(fixture_add(writer, text, i + 1, &err), OK, &err);
    }
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
}

static int run_all(const char *dir, uint32_t broken)
{
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "many.index");
    myr_scorer *scorer = NULL;
    EXPECT_RC(myr_scorer_new(pack, &scorer, NULL), OK, NULL);
    shared all = {.scorer = scorer, .broken = broken};
    atomic_store(&all.waiting, THREADS);
    myr_thread threads[THREADS];
    worker workers[THREADS];
    int broken_rows = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        workers[t] = (worker){.all = &all, .seed = t + 1};
        EXPECT_RC(myr_thread_start(&threads[t], "score", work, &workers[t], NULL), OK, NULL);
    }
    for (int t = 0; t < THREADS; t++) {
        myr_thread_join(threads[t]);
    }
    for (int t = 0; t < THREADS; t++) {
        EXPECT_INT(workers[t].wrong, 0);
        broken_rows += workers[t].broken_rows;
    }
    uint32_t broken_count = 0;
    myr_rc rc = myr_pack_verify(pack, &broken_count, NULL);
    EXPECT_INT(rc, broken == MYR_PACK_NONE ? MYR_OK : MYR_BAD_FORMAT);
    EXPECT_INT(broken_count, broken == MYR_PACK_NONE ? 0 : 1);
    myr_scorer_free(scorer);
    return broken_rows;
}

TEST(threads_share_a_scorer)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    write_many(dir);
    for (int i = 0; i < 5; i++)
        EXPECT_INT(run_all(dir, MYR_PACK_NONE), 0); /* a fresh pack each time: nothing is marked */
}

TEST(threads_meet_a_broken_model)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    write_many(dir);
    MYR_AUTO(fixture_model) model = fixture_model_of(1);
    fixture_poke(dir, "many.blobs", 64 + 7 * model.size + 70, "\x5a", 1);
    EXPECT(run_all(dir, 7) > 0);
}

RUN()
