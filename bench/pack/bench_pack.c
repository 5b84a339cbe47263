/*
 * What 100,000 models in one pack cost: building, opening, finding, first scores, one row of each, memory, and whether
 * two processes share the pages. Processor time for what computes, wall time for what waits (build, open, verify).
 * usage: bench_pack DIR [MODELS]     (default 100000; DIR must exist and needs 28 KB per model; the pack is removed)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "score/score.h"

/* A model as LightGBM makes it for a segment: 50 trees of 31 leaves, thresholds from at most 255 bins a feature. */
#define FEATURES   12
#define TREES      50
#define LEAVES     31
#define BINS       255
#define BRANDS     11
#define FINDS      1000000
#define FIRST_USES 2000

static const char *const feature_names[FEATURES] = {"f0", "f1", "f2", "f3", "f4",  "f5",
                                                    "f6", "f7", "f8", "f9", "f10", "f11"};

static void must(myr_rc rc, const myr_err *err)
{
    if (rc == MYR_OK) return;
    fprintf(stderr, "bench_pack: %s: %s\n", myr_rc_name(rc), err != NULL ? err->message : "");
    exit(1);
}

static double now_s(void)
{
    return (double)myr_clock_mono_ns() / 1e9;
}

/* Time this process was on a processor: what a loop costs, also on a machine that is busy with other things. */
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
static double random_unit(void)
{
    return (double)(random_next() >> 11) / 9007199254740992.0;
}

/* ---- models ---- */

static myr_split splits[TREES][LEAVES - 1];
static double leaves[TREES][LEAVES];

/* Split a leaf chosen at random, as often as there are splits: unbalanced like leaf-wise growth. */
static void grow_tree(myr_split *tree_splits, double *tree_leaves, const double bins[FEATURES][BINS])
{
    int32_t *links[LEAVES] = {NULL}; /* who names the leaf */
    for (int32_t s = 0; s < LEAVES - 1; s++) {
        int32_t leaf = (int32_t)(random_next() % (uint64_t)(s + 1));
        uint32_t feature = (uint32_t)(random_next() % FEATURES);
        tree_splits[s] = (myr_split){.feature = feature,
                                     .left = ~leaf,
                                     .right = ~(s + 1),
                                     .threshold = bins[feature][random_next() % BINS],
                                     .missing = MYR_MISSING_NAN};
        if (links[leaf] != NULL) *links[leaf] = s;
        links[leaf] = &tree_splits[s].left;
        links[s + 1] = &tree_splits[s].right;
    }
    for (int i = 0; i < LEAVES; i++) {
        tree_leaves[i] = random_unit() - 0.5;
    }
}

static unsigned char *make_model(size_t *out_size)
{
    static double bins[FEATURES][BINS];
    static myr_tree trees[TREES];
    for (int j = 0; j < FEATURES; j++) {
        for (int b = 0; b < BINS; b++)
            bins[j][b] = random_unit();
    }
    for (int t = 0; t < TREES; t++) {
        grow_tree(splits[t], leaves[t], (const double(*)[BINS])bins);
        trees[t] =
            (myr_tree){.splits = splits[t], .split_count = LEAVES - 1, .leaves = leaves[t], .leaf_count = LEAVES};
    }
    myr_model_desc desc = {
        .kind = MYR_MODEL_TREES, .feature_count = FEATURES, .margin_count = 1, .trees = trees, .tree_count = TREES};
    unsigned char *bytes = NULL;
    myr_err err = {0};
    must(myr_model_compile(&desc, NULL, FEATURES, NULL, &bytes, out_size, &err), &err);
    return bytes;
}

typedef struct bench_key {
    unsigned char bytes[22];
    uint16_t size;
} bench_key;

/* store=i / 11, brand=b<i % 11> */
static bench_key make_key(const myr_key_schema *schema, uint32_t i)
{
    char brand[8];
    unsigned char bytes[MYR_KEY_BYTES_MAX];
    bench_key key;
    snprintf(brand, sizeof brand, "b%u", i % BRANDS);
    myr_key_value values[2] = {{.i64 = i / BRANDS}, {.text = myr_str_of(brand)}};
    key.size = (uint16_t)myr_key_encode(schema, 3, values, bytes);
    MYR_ASSERT(key.size <= sizeof key.bytes);
    memcpy(key.bytes, bytes, key.size);
    return key;
}

/* ---- build ---- */

static void build(const char *dir, const myr_pack_info *info, uint32_t model_count)
{
    myr_err err = {0};
    myr_pack_writer *writer = NULL;
    double compile_s = 0;
    double begin = now_s();
    must(myr_pack_writer_open(dir, "bench", info, &writer, &err), &err);
    for (uint32_t i = 0; i < model_count; i++) {
        bench_key key = make_key(&info->keys, i);
        size_t size = 0;
        double compile_begin = now_s();
        unsigned char *bytes = make_model(&size);
        compile_s += now_s() - compile_begin;
        must(myr_pack_writer_add(writer, key.bytes, key.size, 1, bytes, size, &err), &err);
        myr_free(bytes);
        if (isatty(2) && i % 1000 == 0) fprintf(stderr, "\rbuilding %u of %u", i, model_count);
    }
    double added = now_s();
    must(myr_pack_writer_commit(writer, &err), &err);
    myr_pack_writer_close(writer);
    if (isatty(2)) fprintf(stderr, "\r%40s\r", "");
    printf("build                %9.2f s: models made and compiled %.2f, checked and written %.2f, synced %.2f\n",
           now_s() - begin, compile_s, added - begin - compile_s, now_s() - added);
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
    printf("files                %9.1f MB: %.0f bytes per model, %.1f more in the index\n",
           (double)(index_bytes + blob_bytes) / 1e6, (double)blob_bytes / model_count,
           (double)index_bytes / model_count);
}

/* ---- open, find, first use ---- */

static void time_open(const char *path)
{
    double best = 1;
    for (int i = 0; i < 20; i++) {
        myr_pack *pack = NULL;
        myr_err err = {0};
        double begin = now_s();
        must(myr_pack_open(path, &pack, &err), &err);
        double took = now_s() - begin;
        best = took < best ? took : best;
        myr_pack_close(pack);
    }
    printf("open                 %9.3f ms (best of 20)\n", best * 1e3);
}

static void time_finds(const myr_pack *pack, uint32_t model_count)
{
    const myr_key_schema *schema = &myr_pack_get_info(pack)->keys;
    bench_key *keys = myr_calloc(FINDS, sizeof *keys);
    if (keys == NULL) must(MYR_NO_MEMORY, NULL);
    for (int i = 0; i < FINDS; i++)
        keys[i] = make_key(schema, (uint32_t)(random_next() % model_count));
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        double begin = cpu_s();
        for (int i = 0; i < FINDS; i++) {
            uint32_t idx = MYR_PACK_NONE;
            must(
                myr_pack_find(pack, keys[i].bytes, keys[i].size, myr_key_hash(keys[i].bytes, keys[i].size), &idx, NULL),
                NULL);
            MYR_ASSERT(idx < model_count);
        }
        double took = cpu_s() - begin;
        best = took < best ? took : best;
    }
    printf("look up a random key %9.1f ns, its hash included (best of 5)\n", best * 1e9 / FINDS);
    myr_free(keys);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Find, check and score a model that this mapping has never touched; its bytes are in the page cache. */
static void time_first_scores(const char *path, uint32_t model_count)
{
    static double took_us[FIRST_USES];
    double row[FEATURES] = {0.5, 0.25, 0.75, 0.1, 0.9, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.5};
    myr_pack *pack = NULL;
    must(myr_pack_open(path, &pack, NULL), NULL);
    uint32_t step = model_count / FIRST_USES + 1;
    int count = 0;
    for (uint32_t i = 0; i < model_count && count < FIRST_USES; i += step) {
        bench_key key = make_key(&myr_pack_get_info(pack)->keys, i);
        uint32_t idx = MYR_PACK_NONE;
        const myr_model *model = NULL;
        double value = 0;
        int64_t begin = myr_clock_mono_ns();
        must(myr_pack_find(pack, key.bytes, key.size, myr_key_hash(key.bytes, key.size), &idx, NULL), NULL);
        must(myr_pack_model(pack, idx, &model, NULL), NULL);
        myr_model_predict(model, row, FEATURES, 1, &value);
        took_us[count++] = (double)(myr_clock_mono_ns() - begin) / 1e3;
    }
    qsort(took_us, (size_t)count, sizeof *took_us, compare_doubles);
    printf("first score          %9.1f us in the median, best %.1f, 99 of 100 below %.1f\n", took_us[count / 2],
           took_us[0], took_us[count * 99 / 100]);
    myr_pack_close(pack);
}

/* ---- one row of each model ---- */

typedef struct bench_rows {
    int64_t *stores;
    myr_str *brands;
    double *cells;
    double *values;
    uint8_t *statuses;
    myr_col keys[2];
    myr_col features[FEATURES];
} bench_rows;

static const char *const brand_texts[BRANDS] = {"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b10"};

static void make_rows(bench_rows *r, uint32_t count, bool shuffled)
{
    uint32_t *order = myr_calloc(count, sizeof *order);
    r->stores = myr_calloc(count, sizeof *r->stores);
    r->brands = myr_calloc(count, sizeof *r->brands);
    r->cells = myr_calloc((size_t)count * FEATURES, sizeof *r->cells);
    r->values = myr_calloc(count, sizeof *r->values);
    r->statuses = myr_calloc(count, 1);
    if (order == NULL || r->statuses == NULL || r->cells == NULL) must(MYR_NO_MEMORY, NULL);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = shuffled ? (uint32_t)(random_next() % (i + 1)) : i;
        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < count; i++) {
        r->stores[i] = order[i] / BRANDS;
        r->brands[i] = myr_str_of(brand_texts[order[i] % BRANDS]);
    }
    for (size_t i = 0; i < (size_t)count * FEATURES; i++)
        r->cells[i] = random_unit();
    r->keys[0] = (myr_col){.name = "store", .type = MYR_COL_INT64, .data.i64 = r->stores};
    r->keys[1] = (myr_col){.name = "brand", .type = MYR_COL_TEXT, .data.text = r->brands};
    for (size_t j = 0; j < FEATURES; j++) {
        r->features[j] = (myr_col){.name = feature_names[j], .type = MYR_COL_DOUBLE, .data.f64 = r->cells + j * count};
    }
    myr_free(order);
}

static void free_rows(bench_rows *r)
{
    myr_free(r->stores);
    myr_free(r->brands);
    myr_free(r->cells);
    myr_free(r->values);
    myr_free(r->statuses);
}

static double score_all(const myr_pack *pack, const bench_rows *r, uint32_t count)
{
    myr_scorer *scorer = NULL;
    double *values[] = {r->values};
    myr_score_out out = {.values = values, .statuses = r->statuses};
    myr_score_rows rows = {.row_count = count, .keys = r->keys, .features = r->features, .fixed_model = MYR_PACK_NONE};
    must(myr_scorer_new(pack, &scorer, NULL), NULL);
    myr_score_scratch *scratch = myr_score_scratch_new();
    double begin = cpu_s();
    must(myr_score(scorer, scratch, &rows, &out, NULL), NULL);
    double took = cpu_s() - begin;
    for (uint32_t i = 0; i < count; i++)
        MYR_ASSERT(r->statuses[i] == MYR_ROW_OK);
    myr_score_scratch_free(scratch);
    myr_scorer_free(scorer);
    return took;
}

static void time_one_row_each(const char *path, uint32_t model_count, bool shuffled)
{
    bench_rows rows = {0};
    myr_pack *pack = NULL;
    make_rows(&rows, model_count, shuffled);
    must(myr_pack_open(path, &pack, NULL), NULL);
    double first = score_all(pack, &rows, model_count);
    double warm = 1e9;
    for (int i = 0; i < 5; i++) {
        double took = score_all(pack, &rows, model_count);
        warm = took < warm ? took : warm;
    }
    printf("a row of each, %s %8.3f s with every check, %.3f s warm: %.2f us a row\n", shuffled ? "mixed " : "sorted",
           first, warm, warm * 1e6 / model_count);
    myr_pack_close(pack);
    free_rows(&rows);
}

/* ---- memory ---- */

/* Kilobytes of a field of /proc/self/smaps, summed over the mappings of files whose name holds `name`. */
static long smaps_kb(const char *name, const char *field)
{
    char line[4096];
    long sum = 0;
    bool is_ours = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        bool is_head = (line[0] >= '0' && line[0] <= '9') || (line[0] >= 'a' && line[0] <= 'f');
        if (is_head) is_ours = strstr(line, name) != NULL;
        size_t size = strlen(field);
        if (is_ours && strncmp(line, field, size) == 0) sum += strtol(line + size, NULL, 10);
    }
    if (f != NULL) fclose(f);
    return sum;
}

static void touch_all(const myr_pack *pack, uint32_t model_count)
{
    double row[FEATURES] = {0};
    for (uint32_t i = 0; i < model_count; i++) {
        const myr_model *model = NULL;
        double value = 0;
        must(myr_pack_model(pack, i, &model, NULL), NULL);
        myr_model_predict(model, row, FEATURES, 1, &value);
    }
}

static void print_memory(const char *who)
{
    printf("memory, %s %9.1f MB of the pack mapped in, %.1f MB its share of them (Pss), %.1f MB private\n", who,
           (double)smaps_kb("bench.", "Rss:") / 1e3, (double)smaps_kb("bench.", "Pss:") / 1e3,
           (double)(smaps_kb("bench.", "Private_Clean:") + smaps_kb("bench.", "Private_Dirty:")) / 1e3);
    fflush(stdout);
}

/* This process, then this and another that has opened the pack by itself: the kernel says who shares what. */
static void measure_memory(const char *path, uint32_t model_count)
{
    int up[2];
    int down[2];
    char byte = 0;
    myr_pack *pack = NULL;
    must(myr_pack_open(path, &pack, NULL), NULL);
    touch_all(pack, model_count);
    print_memory("alone ");
    if (pipe(up) != 0 || pipe(down) != 0) must(MYR_IO, NULL);
    pid_t child = fork();
    if (child == 0) {
        myr_pack_close(pack);
        pack = NULL;
        must(myr_pack_open(path, &pack, NULL), NULL);
        touch_all(pack, model_count);
        print_memory("second");
        bool told = write(up[1], "x", 1) == 1 && read(down[0], &byte, 1) == 1;
        _exit(told ? 0 : 1);
    }
    int status = 1;
    if (child < 0 || read(up[0], &byte, 1) != 1) must(MYR_IO, NULL);
    print_memory("first ");
    if (write(down[1], "x", 1) != 1 || waitpid(child, &status, 0) != child || status != 0) must(MYR_IO, NULL);
    myr_pack_close(pack);
}

/* ---- all of it ---- */

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_pack DIR [MODELS]\n");
        return 64;
    }
    uint32_t model_count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100000;
    myr_pack_info info = {.fleet = "bench",
                          .release = 1,
                          .features = feature_names,
                          .feature_count = FEATURES,
                          .output_count = 1,
                          .keys = {.column_count = 2, .columns = {{"store", MYR_KEY_INT64}, {"brand", MYR_KEY_BYTES}}}};
    char path[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    must(myr_path_join(path, sizeof path, argv[1], "bench.index", &err), &err);
    printf("models               %9u of %d trees x %d leaves over %d features\n", model_count, TREES, LEAVES, FEATURES);
    build(argv[1], &info, model_count);
    print_sizes(argv[1], model_count);
    time_open(path);
    time_first_scores(path, model_count);
    time_one_row_each(path, model_count, false);
    time_one_row_each(path, model_count, true);
    measure_memory(path, model_count);
    myr_pack *pack = NULL;
    must(myr_pack_open(path, &pack, &err), &err);
    time_finds(pack, model_count);
    double begin = now_s();
    must(myr_pack_verify(pack, NULL, &err), &err);
    printf("verify               %9.2f s, all of it\n", now_s() - begin);
    myr_pack_close(pack);
    must(myr_io_unlink(path, &err), &err);
    must(myr_path_join(path, sizeof path, argv[1], "bench.blobs", &err), &err);
    must(myr_io_unlink(path, &err), &err);
    return 0;
}
