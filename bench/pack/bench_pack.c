/*
 * What many models in one pack cost: building, opening, finding, first use, scoring one row and many.
 * Wall time for what waits for the disk (build, open, verify), processor time for the rest.
 * usage: bench_pack DIR [MODELS]     (default 100000; DIR must exist, the pack is removed afterwards)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "score/score.h"

#define FEATURES   14
#define TREES      20
#define SPLITS     7 /* per tree: 8 leaves */
#define BATCH_ROWS 100000
#define BRANDS     11

static void must(myr_rc rc, const myr_err *err)
{
    if (rc == MYR_OK) return;
    fprintf(stderr, "%s: %s\n", myr_rc_name(rc), err->message);
    exit(1);
}

static double now_s(void)
{
    return (double)myr_clock_mono_ns() / 1e9;
}

/* Time this process was on a processor: what the loops below cost, also on a machine that is busy with other things. */
static double cpu_s(void)
{
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static uint64_t random_state = 88172645463325252ull;
static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* 20 balanced trees of 7 splits over 14 features. */
static unsigned char *make_model(uint32_t seed, size_t *out_size)
{
    static myr_split splits[TREES][SPLITS];
    static double leaves[TREES][SPLITS + 1];
    static myr_tree trees[TREES];
    for (int t = 0; t < TREES; t++) {
        for (int s = 0; s < SPLITS; s++) {
            splits[t][s] = (myr_split){.feature = (uint32_t)(t * 3 + s) % FEATURES,
                                       .threshold = (double)((seed + s) % 10) / 10,
                                       .left = s < 3 ? 2 * s + 1 : ~(2 * (s - 3)),
                                       .right = s < 3 ? 2 * s + 2 : ~(2 * (s - 3) + 1),
                                       .missing = MYR_MISSING_NAN};
        }
        for (int l = 0; l <= SPLITS; l++)
            leaves[t][l] = (double)seed / 7 + l;
        trees[t] =
            (myr_tree){.splits = splits[t], .split_count = SPLITS, .leaves = leaves[t], .leaf_count = SPLITS + 1};
    }
    myr_model_desc desc = {
        .kind = MYR_MODEL_TREES, .feature_count = FEATURES, .margin_count = 1, .trees = trees, .tree_count = TREES};
    unsigned char *bytes = NULL;
    myr_err err = {0};
    must(myr_model_compile(&desc, NULL, FEATURES, NULL, &bytes, out_size, &err), &err);
    return bytes;
}

static size_t make_key(const myr_key_schema *schema, uint32_t i, unsigned char key[MYR_KEY_BYTES_MAX])
{
    char brand[16];
    snprintf(brand, sizeof brand, "b%u", i % BRANDS);
    myr_key_value values[2] = {{.i64 = i / BRANDS}, {.text = myr_str_of(brand)}};
    return myr_key_encode(schema, 3, values, key);
}

static void build(const char *dir, const myr_pack_info *info, uint32_t model_count)
{
    myr_err err = {0};
    myr_pack_writer *writer = NULL;
    double compile_s = 0;
    double compile_cpu_s = 0;
    double begin_cpu = cpu_s();
    double begin = now_s();
    must(myr_pack_writer_open(dir, "bench", info, &writer, &err), &err);
    for (uint32_t i = 0; i < model_count; i++) {
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t key_bytes = make_key(&info->keys, i, key);
        size_t size = 0;
        double compile_begin = now_s();
        double compile_begin_cpu = cpu_s();
        unsigned char *bytes = make_model(i, &size);
        compile_s += now_s() - compile_begin;
        compile_cpu_s += cpu_s() - compile_begin_cpu;
        must(myr_pack_writer_add(writer, key, key_bytes, 1, bytes, size, &err), &err);
        myr_free(bytes);
    }
    double added = now_s();
    must(myr_pack_writer_commit(writer, &err), &err);
    myr_pack_writer_close(writer);
    printf(
        "build            %8.3f s, of it commit %.3f s; %.3f s of processor (models were compiled in another %.3f s)\n",
        now_s() - begin - compile_s, now_s() - added, cpu_s() - begin_cpu - compile_cpu_s, compile_cpu_s);
}

static void print_sizes(const char *dir, uint32_t model_count)
{
    char path[MYR_PATH_BYTES_MAX];
    int64_t index_bytes = 0;
    int64_t blob_bytes = 0;
    must(myr_path_join(path, sizeof path, dir, "bench.index", NULL), NULL);
    must(myr_io_size(path, &index_bytes, NULL), NULL);
    must(myr_path_join(path, sizeof path, dir, "bench.blobs", NULL), NULL);
    must(myr_io_size(path, &blob_bytes, NULL), NULL);
    printf("index            %8.1f bytes per model, models %.1f bytes each, %.1f MB together\n",
           (double)index_bytes / model_count, (double)blob_bytes / model_count,
           (double)(index_bytes + blob_bytes) / 1e6);
}

static void time_finds(const myr_pack *pack, uint32_t model_count, const char *what)
{
    const myr_key_schema *schema = &myr_pack_get_info(pack)->keys;
    const int count = 1000000;
    static struct {
        unsigned char key[24];
        uint32_t size;
    } keys[1000000];
    for (int i = 0; i < count; i++) {
        unsigned char key[MYR_KEY_BYTES_MAX];
        keys[i].size = (uint32_t)make_key(schema, (uint32_t)(random_next() % model_count), key);
        memcpy(keys[i].key, key, keys[i].size);
    }
    uint64_t sum = 0;
    double begin = cpu_s();
    for (int i = 0; i < count; i++) {
        uint32_t idx = 0;
        must(myr_pack_find(pack, keys[i].key, keys[i].size, myr_key_hash(keys[i].key, keys[i].size), &idx, NULL), NULL);
        sum += idx;
    }
    printf("find, %-10s %8.1f ns per random key (with its hash; checksum %llu)\n", what,
           (cpu_s() - begin) * 1e9 / count, (unsigned long long)(sum % 1000));
}

static void time_first_use(const myr_pack *pack, uint32_t model_count)
{
    const myr_model *model = NULL;
    double begin = cpu_s();
    for (uint32_t i = 0; i < model_count; i++)
        must(myr_pack_model(pack, i, &model, NULL), NULL);
    double once = cpu_s();
    for (uint32_t i = 0; i < model_count; i++)
        must(myr_pack_model(pack, i, &model, NULL), NULL);
    printf("first use        %8.1f ns per model (checksum and deep check), %.1f ns later\n",
           (once - begin) * 1e9 / model_count, (cpu_s() - once) * 1e9 / model_count);
}

typedef struct table {
    int64_t *stores;
    myr_str *brands;
    char (*texts)[8];
    double *cells;
    double *values;
    myr_col keys[2];
    myr_col features[FEATURES];
} table;

static void fill_table(table *t, uint32_t model_count, bool is_sorted)
{
    for (int64_t i = 0; i < BATCH_ROWS; i++) {
        uint32_t model =
            is_sorted ? (uint32_t)(i * model_count / BATCH_ROWS) / 100 * 100 : (uint32_t)(random_next() % model_count);
        t->stores[i] = model / BRANDS;
        snprintf(t->texts[i], sizeof t->texts[i], "b%u", model % BRANDS);
        t->brands[i] = myr_str_of(t->texts[i]);
    }
}

static void time_scores(const myr_pack *pack, uint32_t model_count)
{
    table t = {myr_calloc(BATCH_ROWS, 8),
               myr_calloc(BATCH_ROWS, sizeof(myr_str)),
               myr_calloc(BATCH_ROWS, 8),
               myr_calloc(BATCH_ROWS * FEATURES, 8),
               myr_calloc(BATCH_ROWS, 8),
               {{0}},
               {{0}}};
    t.keys[0] = (myr_col){.name = "store", .type = MYR_COL_INT64, .data.i64 = t.stores};
    t.keys[1] = (myr_col){.name = "brand", .type = MYR_COL_TEXT, .data.text = t.brands};
    for (int64_t i = 0; i < BATCH_ROWS * FEATURES; i++)
        t.cells[i] = (double)(random_next() % 1000) / 1000;
    for (int j = 0; j < FEATURES; j++) {
        t.features[j] = (myr_col){.name = "f", .type = MYR_COL_DOUBLE, .data.f64 = t.cells + (size_t)j * BATCH_ROWS};
    }
    myr_scorer *scorer = NULL;
    must(myr_scorer_new(pack, &scorer, NULL), NULL);
    myr_score_scratch *scratch = myr_score_scratch_new();
    double *out_values[] = {t.values};
    myr_score_out out = {out_values, NULL, NULL, NULL};
    for (int kind = 0; kind < 2; kind++) {
        fill_table(&t, model_count, kind == 0);
        myr_score_rows rows = {
            .row_count = BATCH_ROWS, .keys = t.keys, .features = t.features, .fixed_model = MYR_PACK_NONE};
        must(myr_score(scorer, scratch, &rows, &out, NULL), NULL);
        double begin = cpu_s();
        for (int i = 0; i < 5; i++)
            must(myr_score(scorer, scratch, &rows, &out, NULL), NULL);
        printf("score, %s  %8.1f ns per row\n", kind == 0 ? "sorted " : "shuffled",
               (cpu_s() - begin) * 1e9 / 5 / BATCH_ROWS);
    }
    double begin = cpu_s();
    for (int64_t i = 0; i < BATCH_ROWS; i++) {
        myr_col keys[2] = {t.keys[0], t.keys[1]};
        myr_col features[FEATURES];
        memcpy(features, t.features, sizeof features);
        keys[0].data.i64 += i;
        keys[1].data.text += i;
        for (int j = 0; j < FEATURES; j++)
            features[j].data.f64 += i;
        myr_score_rows rows = {.row_count = 1, .keys = keys, .features = features, .fixed_model = MYR_PACK_NONE};
        must(myr_score(scorer, scratch, &rows, &out, NULL), NULL);
    }
    printf("score, one row   %8.1f ns per call\n", (cpu_s() - begin) * 1e9 / BATCH_ROWS);
    myr_score_scratch_free(scratch);
    myr_scorer_free(scorer);
    myr_free(t.stores);
    myr_free(t.brands);
    myr_free(t.texts);
    myr_free(t.cells);
    myr_free(t.values);
}

int main(int argc, char **argv)
{
    static const char *const features[FEATURES] = {"week", "p1", "p2", "p3",  "p4",  "p5",   "p6",
                                                   "p7",   "p8", "p9", "p10", "p11", "deal", "feat"};
    if (argc < 2) {
        fprintf(stderr, "usage: bench_pack DIR [MODELS]\n");
        return 64;
    }
    uint32_t model_count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100000;
    myr_pack_info info = {.fleet = "bench",
                          .release = 1,
                          .features = features,
                          .feature_count = FEATURES,
                          .output_count = 1,
                          .keys = {.column_count = 2, .columns = {{"store", MYR_KEY_INT64}, {"brand", MYR_KEY_BYTES}}}};
    char path[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    must(myr_path_join(path, sizeof path, argv[1], "bench.index", &err), &err);
    printf("models           %8u, %d trees of %d splits over %d features\n", model_count, TREES, SPLITS, FEATURES);
    build(argv[1], &info, model_count);
    print_sizes(argv[1], model_count);
    myr_pack *pack = NULL;
    double best = 1;
    for (int i = 0; i < 20; i++) {
        myr_pack_close(pack);
        double begin = now_s();
        must(myr_pack_open(path, &pack, &err), &err);
        double took = now_s() - begin;
        best = took < best ? took : best;
    }
    printf("open             %8.1f us (best of 20, page cache warm)\n", best * 1e6);
    time_finds(pack, model_count, "pages new");
    time_finds(pack, model_count, "warm");
    time_first_use(pack, model_count);
    time_scores(pack, model_count);
    double begin = now_s();
    must(myr_pack_verify(pack, NULL, &err), &err);
    printf("verify           %8.3f s, all of it\n", now_s() - begin);
    myr_pack_close(pack);
    must(myr_io_unlink(path, &err), &err);
    must(myr_path_join(path, sizeof path, argv[1], "bench.blobs", &err), &err);
    must(myr_io_unlink(path, &err), &err);
    return 0;
}
