/*
 * Models in lanes: every kernel, any number of rows, against the nodes form and against a plain walk of the
 * description; and damaged copies, which are refused or predict without fault.
 */
#include "model_fixture.h"

static const char *const kernel_names[] = {LANES_KERNEL_NAMES};
static const uint32_t row_counts[] = {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 191, 192, 193, 255, 256, 257, 300};

TEST(lanes_find_the_kernels_of_this_cpu)
{
    EXPECT(myr_lanes_force("plain"));
    EXPECT_STR(myr_lanes_kernels()->name, "plain");
    EXPECT(!myr_lanes_force("avx3"));
    EXPECT_STR(myr_lanes_kernels()->name, "plain"); /* as it was */
    EXPECT(myr_lanes_force(NULL));
    const char *best = myr_lanes_kernels()->name;
#if defined(MYR_LANES_EMULATED)
    EXPECT_STR(best, "avx512vbmi");
    EXPECT(myr_lanes_force("avx512"));
#elif defined(__aarch64__)
    EXPECT_STR(best, "neon");
#elif defined(__x86_64__)
    bool has_avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    EXPECT(has_avx512 == (strncmp(best, "avx512", 6) == 0));
    EXPECT(myr_lanes_force("avx2") == (__builtin_cpu_supports("avx2") != 0));
#endif
    EXPECT(myr_lanes_force(NULL));
}

/* Rows of features: random ones, thresholds of the model and their neighbours. */
static double *draw_rows(dice *d, const myr_model_desc *desc, uint32_t row_count)
{
    double *rows = myr_calloc((size_t)row_count * desc->feature_count + 1, sizeof *rows);
    for (size_t k = 0; k < (size_t)row_count * desc->feature_count; k++) {
        rows[k] = dice_value(d);
        const myr_tree *tree = &desc->trees[dice_roll(d, desc->tree_count)];
        if (tree->split_count == 0 || dice_roll(d, 3) == 0) continue;
        const myr_split *split = &tree->splits[dice_roll(d, tree->split_count)];
        if (split->is_category) continue;
        double near[3] = {split->threshold, nextafter(split->threshold, INFINITY),
                          nextafter(split->threshold, -INFINITY)};
        rows[k - k % desc->feature_count + split->feature] = near[dice_roll(d, 3)];
    }
    return rows;
}

/* The keys of layout 4: before the blocks of a column its pivots. */
static uint32_t older_keys(const unsigned char *bytes, const lanes_map *m, const model_header *h, lanes_column *columns,
                           int32_t *out)
{
    const int32_t *keys = (const int32_t *)(bytes + m->keys_at);
    uint32_t block = 0;
    for (uint32_t j = 0; j < h->numeric_columns; j++) {
        const int32_t *from = keys + columns[j].key_block * LANES_BLOCK;
        uint32_t blocks = columns[j].rank_count / LANES_BLOCK + 1u;
        bool same = (columns[j].flags & LANES_SAME) != 0;
        columns[j].flags &= (uint8_t)~LANES_RUN;
        columns[j].slab_block = columns[j].slab_rows = 0;
        columns[j].key_block = same ? columns[j - 1].key_block : (uint16_t)block;
        if (same) continue;
        for (uint32_t b = 0; blocks > 1 && b < LANES_BLOCK; b++) {
            out[block * LANES_BLOCK + b] = b + 1 < blocks ? from[b * LANES_BLOCK + LANES_BLOCK - 1] : LANES_KEY_PAD;
        }
        block += blocks > 1;
        memcpy(out + block * LANES_BLOCK, from, blocks * LANES_BLOCK * sizeof *out);
        block += blocks;
    }
    return block;
}

/* The same model as programs before layout 5 wrote it. */
static compiled older_layout(const compiled *c)
{
    compiled out = {0};
    model_header h;
    memcpy(&h, c->bytes, sizeof h);
    lanes_map from = lanes_map_of(&h);
    MYR_AUTO(myr_mem) keys = myr_calloc(2 * h.key_blocks + 1, LANES_BLOCK * sizeof(int32_t));
    MYR_AUTO(myr_mem) columns = myr_calloc(h.numeric_columns + 1u, sizeof(lanes_column));
    memcpy(columns, c->bytes + from.columns_at, h.numeric_columns * sizeof(lanes_column));
    h.key_blocks = (uint16_t)older_keys(c->bytes, &from, &h, columns, keys);
    h.version = 4;
    lanes_map to = lanes_map_of(&h);
    h.size_bytes = out.size = to.size;
    out.bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, to.size);
    memset(out.bytes, 0, to.size);
    memcpy(out.bytes, &h, sizeof h);
    memcpy(out.bytes + to.groups_at, c->bytes + from.groups_at, to.group_bytes);
    memcpy(out.bytes + to.keys_at, keys, to.key_bytes);
    memcpy(out.bytes + to.columns_at, columns, h.numeric_columns * sizeof(lanes_column));
    memcpy(out.bytes + to.sets_at, c->bytes + from.sets_at, h.set_columns * sizeof(lanes_set));
    memcpy(out.bytes + to.bases_at, c->bytes + from.bases_at, h.margin_count * sizeof(double));
    memcpy(out.bytes + to.outputs_at, c->bytes + from.outputs_at, to.output_bytes);
    memcpy(out.bytes + to.lows_at, c->bytes + from.lows_at, to.low_bytes);
    memcpy(out.bytes + to.book_at, c->bytes + from.book_at, h.book_count * sizeof(uint32_t));
    memcpy(out.bytes + to.entries_at, c->bytes + from.entries_at, h.entry_bytes);
    memcpy(out.bytes + to.leaves_at, c->bytes + from.leaves_at, to.leaves_end - to.leaves_at);
    memcpy(out.bytes + to.words_at, c->bytes + from.words_at, h.word_count * sizeof(uint32_t));
    EXPECT_RC(myr_model_check(out.bytes, out.size, &out.model, NULL), OK, NULL);
    return out;
}

/* Runs of one to five rows, each the model of the next, answer what the rows answer together. */
static void compare_runs(const compiled *lanes, const double *rows, uint32_t stride, uint32_t row_count)
{
    myr_model_info info;
    myr_model_get_info(lanes->model, &info);
    uint32_t width = info.output_count;
    uint32_t run_count = 0;
    MYR_AUTO(myr_mem) runs = myr_calloc(row_count, sizeof(myr_model_run));
    MYR_AUTO(myr_mem) got = myr_calloc((size_t)row_count * width + 1, sizeof(double));
    MYR_AUTO(myr_mem) want = myr_calloc((size_t)row_count * width, sizeof(double));
    myr_model_predict(lanes->model, rows, stride, row_count, want);
    ((double *)got)[(size_t)row_count * width] = 42.0;
    for (uint32_t i = 0; i < row_count; run_count++) {
        uint32_t count = run_count % 3 == 2 ? 5 : 1;
        if (count > row_count - i) count = row_count - i;
        ((myr_model_run *)runs)[run_count] = (myr_model_run){
            lanes->model, lanes->size, rows + (size_t)i * stride, stride, count, (double *)got + (size_t)i * width};
        i += count;
    }
    myr_model_predict_runs(runs, run_count);
    for (uint32_t m = 0; m < row_count * width; m++) {
        assert_same_bits(((double *)got)[m], ((double *)want)[m]);
    }
    assert_same_bits(((double *)got)[(size_t)row_count * width], 42.0);
}

static void compare_kernels(dice *d, const myr_model_desc *desc, const compiled *lanes)
{
    uint32_t row_count = row_counts[dice_roll(d, MYR_COUNT_OF(row_counts))];
    uint32_t width = desc->margin_count;
    MYR_AUTO(myr_mem) rows = draw_rows(d, desc, row_count);
    MYR_AUTO(myr_mem) got = myr_calloc((size_t)row_count * width + 1, sizeof(double));
    MYR_AUTO(myr_mem) want = myr_calloc((size_t)row_count * width, sizeof(double));
    for (uint32_t i = 0; i < row_count; i++) {
        plain_margins(desc, (double *)rows + (size_t)i * desc->feature_count, (double *)want + (size_t)i * width);
    }
    for (size_t k = 0; k < MYR_COUNT_OF(kernel_names); k++) {
        if (!myr_lanes_force(kernel_names[k])) continue;
        ((double *)got)[(size_t)row_count * width] = 42.0;
        myr_model_margins(lanes->model, rows, desc->feature_count, row_count, got);
        for (uint32_t m = 0; m < row_count * width; m++) {
            assert_same_bits(((double *)got)[m], ((double *)want)[m]);
        }
        assert_same_bits(((double *)got)[(size_t)row_count * width], 42.0);
        compare_runs(lanes, rows, desc->feature_count, row_count);
    }
    myr_lanes_force(NULL);
}

TEST(lanes_equal_a_plain_walk_on_random_models)
{
    dice d = {0x1234567812345678ull};
    uint32_t in_lanes = 0;
    for (int k = 0; k < 400; k++) {
        uint32_t features = 1 + dice_roll(&d, k % 5 == 0 ? 60 : 8);
        uint32_t margins = k % 3 == 0 ? 1 + dice_roll(&d, 4) : 1;
        MYR_AUTO(random_model)
        m = random_model_sized(&d, k % 2 ? MYR_CALC_F32 : MYR_CALC_F64, features, margins,
                               1 + dice_roll(&d, k % 4 == 3 ? 140 : 40));
        if (k % 4 == 0) m.desc.average = false;
        MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, features, MYR_FORM_LANES);
        in_lanes += fixture_in_lanes(&c);
        compare_kernels(&d, &m.desc, &c);
    }
    EXPECT(in_lanes > 150); /* the others have too many sets */
}

TEST(lanes_of_an_older_layout_answer_the_same)
{
    dice d = {0x7766554433221100ull};
    for (int k = 0; k < 60; k++) {
        uint32_t features = 1 + dice_roll(&d, k % 5 == 0 ? 60 : 8);
        MYR_AUTO(random_model)
        m = random_model_sized(&d, k % 2 ? MYR_CALC_F32 : MYR_CALC_F64, features, 1, 1 + dice_roll(&d, 100));
        MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, features, MYR_FORM_LANES);
        if (!fixture_in_lanes(&c)) continue;
        MYR_AUTO(compiled) older = older_layout(&c);
        compare_kernels(&d, &m.desc, &older);
    }
}

/* One feature, `splits` thresholds k + fraction, a chain of single splits per tree. */
static random_model stumps(uint32_t splits, double fraction, bool with_zero)
{
    random_model m = {.arena = myr_arena_new(0)};
    m.desc = (myr_model_desc){.feature_count = 1, .margin_count = 1, .tree_count = splits};
    myr_tree *trees = myr_arena_calloc(m.arena, splits, sizeof *trees);
    myr_split *all = myr_arena_calloc(m.arena, splits, sizeof *all);
    double *leaves = myr_arena_calloc(m.arena, splits, 2 * sizeof *leaves);
    for (uint32_t t = 0; t < splits; t++) {
        all[t] = (myr_split){.left = ~0,
                             .right = ~1,
                             .threshold = (double)t + fraction * (double)(t + 1),
                             .missing = with_zero && t % 2 ? MYR_MISSING_ZERO : MYR_MISSING_NAN,
                             .default_left = t % 3 == 0};
        leaves[2 * t + 1] = 1.0 + (double)t * 1e-3;
        trees[t] = (myr_tree){.splits = &all[t], .split_count = 1, .leaves = &leaves[2 * t], .leaf_count = 2};
    }
    m.desc.trees = trees;
    return m;
}

TEST(lanes_split_columns_of_many_thresholds)
{
    dice d = {77};
    static const uint32_t counts[] = {1, 15, 16, 17, 31, 32, 253, 254, 255, 256, 508, 509, 1000};
    for (size_t k = 0; k < MYR_COUNT_OF(counts); k++) {
        for (int variant = 0; variant < 3; variant++) {
            MYR_AUTO(random_model) m = stumps(counts[k], variant == 1 ? 1e-7 : 0.0, variant == 2);
            MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 1, MYR_FORM_LANES);
            EXPECT(fixture_in_lanes(&c));
            for (int again = 0; again < 4; again++) {
                compare_kernels(&d, &m.desc, &c);
            }
        }
    }
}

/* Thresholds that share their upper halves: the lower ones decide. */
TEST(lanes_tell_close_thresholds_apart)
{
    dice d = {78};
    for (uint32_t count = 1; count < 60; count += 7) {
        MYR_AUTO(random_model) m = stumps(count, 0.0, false);
        for (uint32_t t = 0; t < count; t++) {
            double close = (t % 2 ? 1.0 : -1.0) + (double)t * 0x1p-50;
            m.desc.trees[t].splits[0].threshold = t % 5 == 0 ? (t % 2 ? 0.0 : -0.0) : close;
        }
        MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 1, MYR_FORM_LANES);
        EXPECT(fixture_in_lanes(&c));
        for (int again = 0; again < 8; again++) {
            compare_kernels(&d, &m.desc, &c);
        }
    }
}

/* A tree of `leaves` leaves that leans left or right: the longest chain of bits. */
static random_model chains(uint32_t leaves, uint32_t tree_count)
{
    random_model m = {.arena = myr_arena_new(0)};
    m.desc = (myr_model_desc){.feature_count = 3, .margin_count = 1, .tree_count = tree_count};
    myr_tree *trees = myr_arena_calloc(m.arena, tree_count, sizeof *trees);
    for (uint32_t t = 0; t < tree_count; t++) {
        myr_split *splits = myr_arena_calloc(m.arena, leaves, sizeof *splits);
        double *values = myr_arena_calloc(m.arena, leaves, sizeof *values);
        for (uint32_t s = 0; s + 1 < leaves; s++) {
            int32_t next = s + 2 < leaves ? (int32_t)(s + 1) : ~(int32_t)(leaves - 1);
            splits[s] = (myr_split){.feature = s % 3,
                                    .left = t % 2 ? next : ~(int32_t)s,
                                    .right = t % 2 ? ~(int32_t)s : next,
                                    .threshold = t % 2 ? (double)(leaves - s) / 4 : (double)s / 4,
                                    .missing = MYR_MISSING_NAN};
            values[s] = 0.1 * s + t;
        }
        values[leaves - 1] = -1.0;
        trees[t] = (myr_tree){.splits = splits, .split_count = leaves - 1, .leaves = values, .leaf_count = leaves};
    }
    m.desc.trees = trees;
    return m;
}

TEST(lanes_take_trees_up_to_their_limit)
{
    dice d = {79};
    static const uint32_t leaf_counts[] = {2, 8, 9, 64, 255, LANES_LEAVES_MAX};
    for (size_t k = 0; k < MYR_COUNT_OF(leaf_counts); k++) {
        MYR_AUTO(random_model) m = chains(leaf_counts[k], 66);
        MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 3, MYR_FORM_LANES);
        EXPECT(fixture_in_lanes(&c));
        for (int again = 0; again < 6; again++) {
            compare_kernels(&d, &m.desc, &c);
        }
    }
    MYR_AUTO(random_model) m = chains(LANES_LEAVES_MAX + 1, 10);
    MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 3, MYR_FORM_LANES);
    EXPECT(!fixture_in_lanes(&c)); /* one leaf more: nodes */
}

/* More trees than a register and a group have, few columns: what few rows add while the next trees' bits are found. */
TEST(lanes_add_every_tree_once_and_in_order)
{
    dice d = {83};
    static const uint32_t tree_counts[] = {15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 97, 127, 128, 129, 200};
    for (size_t k = 0; k < MYR_COUNT_OF(tree_counts); k++) {
        for (int variant = 0; variant < 4; variant++) {
            uint32_t count = tree_counts[k];
            MYR_AUTO(random_model) m = chains(5 + (uint32_t)k * 4, count);
            m.desc.calc = variant % 2 ? MYR_CALC_F32 : MYR_CALC_F64;
            m.desc.margin_count = variant < 2 ? 1 : 3;
            for (uint32_t t = 0; t < count; t++) {
                myr_tree *tree = (myr_tree *)&m.desc.trees[t];
                tree->output = variant < 2 ? 0 : dice_roll(&d, 3);
                for (uint32_t leaf = 0; leaf < tree->leaf_count; leaf++) {
                    ((double *)tree->leaves)[leaf] = (double)(float)((dice_value(&d) > 0 ? 1e6 : 1e-6) + leaf);
                }
            }
            MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 3, MYR_FORM_LANES);
            EXPECT(fixture_in_lanes(&c));
            for (int again = 0; again < 8; again++) {
                compare_kernels(&d, &m.desc, &c);
            }
        }
    }
}

/* `sets` categorical stumps of one set each. */
static random_model set_stumps(uint32_t sets)
{
    random_model m = stumps(sets, 0.0, false);
    uint32_t *words = myr_arena_calloc(m.arena, sets, sizeof *words);
    for (uint32_t t = 0; t < sets; t++) {
        words[t] = t + 1;
        m.desc.trees[t].splits[0].is_category = 1;
        m.desc.trees[t].splits[0].category_count = 1;
        ((myr_tree *)m.desc.trees)[t].category_words = &words[t];
        ((myr_tree *)m.desc.trees)[t].category_word_count = 1;
    }
    return m;
}

TEST(lanes_take_sets_up_to_their_limit)
{
    dice d = {80};
    static const uint32_t counts[] = {1, 64, 65, LANES_COLUMNS_MAX};
    for (size_t k = 0; k < MYR_COUNT_OF(counts); k++) {
        MYR_AUTO(random_model) m = set_stumps(counts[k]);
        MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 1, MYR_FORM_LANES);
        EXPECT(fixture_in_lanes(&c));
        for (int again = 0; again < 6; again++) {
            compare_kernels(&d, &m.desc, &c);
        }
    }
    MYR_AUTO(random_model) m = set_stumps(LANES_COLUMNS_MAX + 1);
    MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, 1, MYR_FORM_LANES);
    EXPECT(!fixture_in_lanes(&c));
}

/* Tree t asks for feature t, and of most rows on the left for it again: the right side, with one leaf, comes first. */
static random_model leaning(uint32_t features)
{
    random_model m = {.arena = myr_arena_new(0)};
    m.desc = (myr_model_desc){.feature_count = features, .margin_count = 1, .tree_count = features};
    myr_tree *trees = myr_arena_calloc(m.arena, features, sizeof *trees);
    myr_split *splits = myr_arena_calloc(m.arena, features, 2 * sizeof *splits);
    double *leaves = myr_arena_calloc(m.arena, features, 3 * sizeof *leaves);
    for (uint32_t t = 0; t < features; t++) {
        myr_split *s = splits + 2 * (size_t)t;
        s[0] = (myr_split){.feature = t, .left = 1, .right = ~2, .threshold = 1, .missing = MYR_MISSING_NAN};
        s[1] = (myr_split){.feature = t, .left = ~0, .right = ~1, .threshold = -1, .missing = MYR_MISSING_NAN};
        s[0].default_left = s[1].default_left = t % 2 == 0;
        for (uint32_t k = 0; k < 3; k++)
            leaves[3 * t + k] = (double)(3 * t + k) * 1e-3;
        trees[t] = (myr_tree){.splits = s, .split_count = 2, .leaves = leaves + 3 * (size_t)t, .leaf_count = 3};
    }
    m.desc.trees = trees;
    return m;
}

/* Entries name mirrored columns by a sign: up to 128 columns, and not beyond. */
TEST(lanes_are_mirrored_up_to_a_limit)
{
    dice d = {83};
    static const uint32_t counts[] = {8, 16, 17, 32, 33, 64, 65, LANES_MIRROR_MAX, LANES_MIRROR_MAX + 1, 256};
    for (size_t k = 0; k < MYR_COUNT_OF(counts); k++) {
        MYR_AUTO(random_model) m = leaning(counts[k]);
        MYR_AUTO(compiled) c = fixture_compile_form(&m.desc, NULL, counts[k], MYR_FORM_LANES);
        model_header h;
        memcpy(&h, c.bytes, sizeof h);
        EXPECT(fixture_in_lanes(&c) && h.numeric_columns == counts[k]);
        EXPECT(((h.flags & MODEL_MIRROR) != 0) == (counts[k] <= LANES_MIRROR_MAX));
        for (int again = 0; again < 6; again++) {
            compare_kernels(&d, &m.desc, &c);
        }
    }
}

TEST(lanes_are_deterministic_and_smaller)
{
    dice d = {81};
    MYR_AUTO(random_model) m = random_model_sized(&d, MYR_CALC_F64, 5, 1, 50);
    MYR_AUTO(compiled) a = fixture_compile_form(&m.desc, NULL, 5, MYR_FORM_LANES);
    MYR_AUTO(compiled) b = fixture_compile_form(&m.desc, NULL, 5, MYR_FORM_LANES);
    MYR_AUTO(compiled) nodes = fixture_compile_form(&m.desc, NULL, 5, MYR_FORM_NODES);
    EXPECT(fixture_in_lanes(&a) && !fixture_in_lanes(&nodes));
    EXPECT(a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0);
    EXPECT(a.size < nodes.size);
    myr_model_info in_lanes;
    myr_model_info in_nodes;
    myr_model_get_info(a.model, &in_lanes);
    myr_model_get_info(nodes.model, &in_nodes);
    EXPECT(in_lanes.leaf_count == in_nodes.leaf_count && in_lanes.tree_count == 50 && in_lanes.size_bytes == a.size);
}

TEST(lanes_survive_each_failed_allocation)
{
    dice d = {82};
    MYR_AUTO(random_model) m = random_model_sized(&d, MYR_CALC_F64, 5, 1, 20);
    for (int64_t nth = 1;; nth++) {
        unsigned char *bytes = NULL;
        size_t size = 0;
        myr_mem_fail_at(nth);
        myr_rc rc = myr_model_compile(&m.desc, NULL, 5, NULL, &bytes, &size, NULL);
        myr_mem_fail_at(0);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && bytes == NULL));
        myr_free(bytes);
        if (rc == MYR_OK) break;
        EXPECT(nth < 100);
    }
}

/* ---- damage ---- */

/* With one kernel set after the other, from call to call: a change at a byte is followed by many others there. */
static void predict_some(const myr_model *model)
{
    static size_t turn;
    static const double some[] = {0, 1, -1, 5, 63, 64, NAN, INFINITY, -INFINITY, 1e9, -0.5, 1e-36, 2.5};
    double rows[70 * 8];
    double values[70 * 4];
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count > 8 || info.margin_count > 4) return;
    for (size_t k = 0; k < MYR_COUNT_OF(rows); k++) {
        rows[k] = some[k % MYR_COUNT_OF(some)];
    }
    do {
        turn = (turn + 1) % MYR_COUNT_OF(kernel_names);
    } while (!myr_lanes_force(kernel_names[turn])); /* plain is everywhere */
    myr_model_margins(model, rows, info.column_count, 5, values);
    myr_model_margins(model, rows, info.column_count, 70, values);
    myr_model_run runs[] = {{model, info.size_bytes, rows, 8, 1, values},
                            {model, info.size_bytes, rows + 8, 8, 9, values + 4},
                            {model, info.size_bytes, rows + 80, 8, 1, values + 40}};
    myr_model_predict_runs(runs, MYR_COUNT_OF(runs));
    myr_lanes_force(NULL);
}

/* Check a copy in a block of exactly its size, so that ASan sees a read behind it. */
static myr_rc check_copy(const unsigned char *bytes, size_t size)
{
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size > 0 ? size : 1);
    const myr_model *model = NULL;
    memcpy(copy, bytes, size);
    myr_rc rc = myr_model_check(copy, size, &model, NULL);
    if (rc == MYR_OK) predict_some(model);
    EXPECT((model != NULL) == (rc == MYR_OK));
    return rc;
}

/* Shapes of all kinds: doubles with a book and without, floats, several outputs, sets, more than one group. */
static compiled damage_shape(int shape)
{
    dice d = {1000 + (uint64_t)shape};
    static const uint32_t trees[] = {2, 3, 9, 66};
    MYR_AUTO(random_model)
    m = shape == 0   ? stumps(20, 0.0, true)
        : shape == 1 ? stumps(300, 1e-7, false)
        : shape == 2 ? chains(70, 3)
                     : random_model_sized(&d, shape % 2 ? MYR_CALC_F32 : MYR_CALC_F64, 4, 1 + (uint32_t)shape % 3,
                                          trees[shape % 4]);
    return fixture_compile_form(&m.desc, NULL, m.desc.feature_count, MYR_FORM_LANES);
}
#define DAMAGE_SHAPES 8
#if defined(MYR_EMULATED)
#define DAMAGE_STEP 61 /* the kernels alone matter there, and are slow */
#else
#define DAMAGE_STEP 1
#endif

TEST(lanes_check_refuses_every_cut)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        for (size_t size = 0; size < c.size; size += DAMAGE_STEP) {
            EXPECT_INT(check_copy(c.bytes, size), MYR_BAD_FORMAT);
        }
        EXPECT_INT(check_copy(c.bytes, c.size), MYR_OK);
    }
}

TEST(lanes_check_refuses_or_survives_every_changed_byte)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        EXPECT(fixture_in_lanes(&c));
        for (size_t at = 0; at < c.size; at += DAMAGE_STEP) {
            unsigned char before = c.bytes[at];
            static const unsigned char changes[] = {1, 2, 4, 8, 16, 32, 64, 128, 255};
            size_t step = c.size > 8192 ? 4 : 1; /* one change per byte in the large ones */
            for (size_t k = at % step; k < MYR_COUNT_OF(changes); k += step) {
                c.bytes[at] = before ^ changes[k];
                MYR_IGNORE(check_copy(c.bytes, c.size)); /* either answer; what counts is that nothing faults */
            }
            c.bytes[at] = before;
        }
    }
}

TEST(lanes_check_refuses_padding)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        model_header h;
        memcpy(&h, c.bytes, sizeof h);
        lanes_map m = lanes_map_of(&h);
        uint64_t gaps[6][2] = {{m.outputs_end, m.keys_at}, {m.entries_end, m.lows_at}, {m.lows_end, m.book_at},
                               {m.book_end, m.leaves_at},  {m.leaves_end, m.words_at}, {m.words_end, m.size}};
        for (int g = 0; g < 6; g++) {
            for (uint64_t at = gaps[g][0]; at < gaps[g][1]; at++) {
                c.bytes[at] = 1;
                EXPECT_INT(check_copy(c.bytes, c.size), MYR_BAD_FORMAT);
                c.bytes[at] = 0;
            }
        }
    }
}

/* Every entry is looked at: each kind of lie in each of them is refused, by name. */
TEST(lanes_check_refuses_lies_of_entries)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        model_header h;
        memcpy(&h, c.bytes, sizeof h);
        lanes_map m = lanes_map_of(&h);
        const lanes_group *g = (const lanes_group *)(c.bytes + m.groups_at);
        unsigned char *counts = c.bytes + m.entries_at + g->lane_count * sizeof(uint16_t);
        unsigned char *entry = counts + (size_t)g->lane_count * g->byte_count;
        for (unsigned p = 0; p < g->positions[0]; p++, entry += 3 * (size_t)g->lane_count) {
            for (unsigned k = 0; k < g->lane_count; k++) {
                uint32_t columns_max = (h.flags & MODEL_MIRROR) != 0 ? LANES_MIRROR_MAX : LANES_COLUMNS_MAX;
                unsigned char no_column = (unsigned char)(columns_max - 1);
                unsigned char lies[3][2] = {{no_column, 1}, {127, 1}, {0, 1}}; /* column, rank, clear: inside, behind */
                for (unsigned plane = 0; plane < 3; plane++) {
                    unsigned char *at = entry + plane * g->lane_count + k;
                    unsigned char before = *at;
                    if (plane == 0 && p < counts[k] && h.numeric_columns + h.set_columns == columns_max) continue;
                    *at = lies[plane][p < counts[k] ? 0 : 1];
                    EXPECT_INT(check_copy(c.bytes, c.size), MYR_BAD_FORMAT);
                    *at = before;
                }
            }
        }
    }
}

/* A mapping may turn to zeros, page by page, after the check. */
TEST(lanes_survive_zeroed_parts)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        MYR_AUTO(compiled) copy = {.bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c.size), .size = c.size};
        size_t step = c.size / 40 / 64 * 64 + 64;
        for (size_t from = 0; from <= c.size; from += step) {
            for (size_t to = from; to <= c.size; to += step) {
                memcpy(copy.bytes, c.bytes, c.size);
                memset(copy.bytes + from, 0, to - from);
                predict_some(myr_model_checked_before(copy.bytes));
            }
        }
    }
}

RUN()
