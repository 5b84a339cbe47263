/*
 * Large models: every kernel, any number of rows, against a plain walk of the description; the form's limits; and
 * damaged copies, which are refused or predict without fault.
 */
#include "model_fixture.h"

#include "model/large.h"

static const char *const kernel_names[] = {"plain", "avx2", "avx512", "neon"};
static const uint32_t row_counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 63, 64, 65, 191, 192, 193, 256, 257};

static bool in_large(const compiled *c)
{
    return (((const model_header *)(const void *)c->bytes)->flags & MODEL_LARGE) != 0;
}

static large_header large_of(const compiled *c)
{
    large_header g;
    memcpy(&g, c->bytes + sizeof(model_header), sizeof g);
    return g;
}

/* Rows: odd values, thresholds and their neighbours, categories of the sets and beyond them. */
static double *draw_rows(dice *d, const myr_model_desc *desc, uint32_t row_count)
{
    double *rows = myr_calloc((size_t)row_count * desc->feature_count + 1, sizeof *rows);
    for (size_t k = 0; k < (size_t)row_count * desc->feature_count; k++) {
        rows[k] = dice_value(d);
        const myr_tree *tree = &desc->trees[dice_roll(d, desc->tree_count)];
        if (tree->split_count == 0 || dice_roll(d, 4) == 0) continue;
        const myr_split *split = &tree->splits[dice_roll(d, tree->split_count)];
        double near[3] = {split->threshold, nextafter(split->threshold, INFINITY),
                          nextafter(split->threshold, -INFINITY)};
        double value = near[dice_roll(d, 3)];
        if (split->is_category)
            value = (double)dice_roll(d, split->category_count * 32 + 3) - 1.0 + 0.5 * dice_roll(d, 2);
        rows[k - k % desc->feature_count + split->feature] = value;
    }
    return rows;
}

static void compare_some(dice *d, const myr_model_desc *desc, const compiled *c, uint32_t row_count)
{
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
        myr_model_margins(c->model, rows, desc->feature_count, row_count, got);
        for (uint32_t m = 0; m < row_count * width; m++) {
            assert_same_bits(((double *)got)[m], ((double *)want)[m]);
        }
        assert_same_bits(((double *)got)[(size_t)row_count * width], 42.0);
    }
    myr_lanes_force(NULL);
}

static void compare_kernels(dice *d, const myr_model_desc *desc, const compiled *c)
{
    compare_some(d, desc, c, row_counts[dice_roll(d, MYR_COUNT_OF(row_counts))]);
}

/* What a drawn model may have. */
typedef struct shape {
    myr_calc calc;
    uint32_t features, margins, trees, splits, categories; /* categories of a set, at most; 0: no sets */
    bool fine;                                             /* thresholds that hardly two splits share */
} shape;

static void grow_set(dice *d, myr_tree *tree, myr_split *split, uint32_t categories)
{
    split->is_category = 1;
    if (split->missing == MYR_MISSING_ZERO) split->missing = MYR_MISSING_NAN;
    split->category_first = tree->category_word_count;
    split->category_count = dice_roll(d, categories / 32 + 2);
    for (uint32_t k = 0; k < split->category_count; k++) {
        tree->category_words[tree->category_word_count++] = dice_roll(d, UINT32_MAX);
    }
}

static void grow_tree(dice *d, myr_arena *arena, const shape *s, myr_tree *tree)
{
    uint32_t splits = dice_roll(d, s->splits + 1);
    uint32_t words = splits * (s->categories / 32 + 2);
    *tree = (myr_tree){.split_count = splits, .leaf_count = splits + 1, .output = dice_roll(d, s->margins)};
    tree->splits = myr_arena_calloc(arena, splits + 1, sizeof *tree->splits);
    tree->leaves = myr_arena_calloc(arena, splits + 1, sizeof *tree->leaves);
    tree->category_words = myr_arena_calloc(arena, words + 1, sizeof *tree->category_words);
    for (uint32_t k = 0; k < splits; k++) {
        myr_split *split = &tree->splits[k];
        *split = (myr_split){.feature = dice_roll(d, s->features),
                             .left = ~(int32_t)k,
                             .right = ~(int32_t)(k + 1),
                             .missing = (uint8_t)dice_roll(d, 3),
                             .default_left = (uint8_t)dice_roll(d, 2)};
        if (k > 0) { /* leaf number `leaf` becomes this split; its other leaf is new */
            uint32_t parent = dice_roll(d, k);
            int32_t *child = dice_roll(d, 2) ? &tree->splits[parent].left : &tree->splits[parent].right;
            while (*child >= 0) {
                child = dice_roll(d, 2) ? &tree->splits[*child].left : &tree->splits[*child].right;
            }
            split->left = *child;
            *child = (int32_t)k;
        }
        if (s->categories > 0 && split->feature % 2 == 0) {
            grow_set(d, tree, split, s->categories);
            continue;
        }
        split->threshold = s->fine ? (double)dice_roll(d, 1u << 30) / 1e6 - 500.0 : dice_value(d);
        if (isnan(split->threshold)) split->threshold = 0.0;
        if (s->calc == MYR_CALC_F32) split->threshold = (double)(float)split->threshold;
    }
    for (uint32_t k = 0; k <= splits; k++) {
        tree->leaves[k] = (double)((float)dice_roll(d, 1000) * 0.37f - 185.0f);
        if (s->calc == MYR_CALC_F64) tree->leaves[k] *= 1.0000000001;
    }
}

static random_model grow(dice *d, const shape *s)
{
    random_model m = {.arena = myr_arena_new(0)};
    m.desc = (myr_model_desc){
        .calc = s->calc, .feature_count = s->features, .margin_count = s->margins, .tree_count = s->trees};
    myr_tree *trees = myr_arena_calloc(m.arena, s->trees, sizeof *trees);
    for (uint32_t t = 0; t < s->trees; t++) {
        grow_tree(d, m.arena, s, &trees[t]);
    }
    m.desc.trees = trees;
    return m;
}

static compiled compile_large(const random_model *m)
{
    return fixture_compile_form(&m->desc, NULL, m->desc.feature_count, MYR_FORM_LARGE);
}

TEST(large_equals_a_plain_walk_on_random_models)
{
    dice d = {0x9876543212345678ull};
    uint32_t words = 0;
    for (int k = 0; k < 240; k++) {
        static const uint32_t splits[] = {3, 30, 120, 255, 700};
        static const uint32_t categories[] = {0, 20, 100, 600, 3000};
        static const uint32_t features[] = {1, 5, 9, 40, 300};
        shape s = {.calc = k % 2 ? MYR_CALC_F32 : MYR_CALC_F64,
                   .features = features[dice_roll(&d, 5)],
                   .margins = k % 3 == 0 ? 1 + dice_roll(&d, 4) : 1,
                   .trees = 1 + dice_roll(&d, k % 7 == 0 ? 140 : 12),
                   .splits = splits[dice_roll(&d, 5)],
                   .categories = categories[dice_roll(&d, 5)],
                   .fine = dice_roll(&d, 2) != 0};
        MYR_AUTO(random_model) m = grow(&d, &s);
        MYR_AUTO(compiled) c = compile_large(&m);
        EXPECT(in_large(&c));
        words += (large_of(&c).flags & LARGE_WORDS) != 0;
        compare_kernels(&d, &m.desc, &c);
        compare_kernels(&d, &m.desc, &c);
    }
    EXPECT(words > 20 && words < 200); /* both ways to count */
}

TEST(large_is_chosen_where_it_is_better)
{
    dice d = {5};
    shape s = {.features = 6, .margins = 1, .trees = 20, .splits = 250, .categories = 100};
    MYR_AUTO(random_model) sets = grow(&d, &s);
    MYR_AUTO(compiled) c = fixture_compile(&sets.desc, NULL, s.features);
    EXPECT(in_large(&c) && (large_of(&c).flags & LARGE_WORDS) == 0);
    MYR_AUTO(compiled) again = fixture_compile(&sets.desc, NULL, s.features);
    EXPECT(c.size == again.size && memcmp(c.bytes, again.bytes, c.size) == 0);
    MYR_AUTO(compiled) nodes = fixture_compile_form(&sets.desc, NULL, s.features, MYR_FORM_NODES);
    myr_model_info a;
    myr_model_info b;
    myr_model_get_info(c.model, &a);
    myr_model_get_info(nodes.model, &b);
    EXPECT(a.leaf_count == b.leaf_count && a.tree_count == 20 && a.size_bytes == c.size);
    s = (shape){.features = 6, .margins = 1, .trees = 20, .splits = 30};
    MYR_AUTO(random_model) small = grow(&d, &s);
    MYR_AUTO(compiled) lanes = fixture_compile(&small.desc, NULL, s.features);
    EXPECT(fixture_in_lanes(&lanes) && !in_large(&lanes));
}

/* One tree that leans to one side: the longest walk. */
static random_model chain(uint32_t leaves, bool left)
{
    random_model m = {.arena = myr_arena_new(0)};
    myr_tree *tree = myr_arena_calloc(m.arena, 1, sizeof *tree);
    *tree = (myr_tree){.split_count = leaves - 1, .leaf_count = leaves};
    tree->splits = myr_arena_calloc(m.arena, leaves, sizeof *tree->splits);
    tree->leaves = myr_arena_calloc(m.arena, leaves, sizeof *tree->leaves);
    for (uint32_t s = 0; s + 1 < leaves; s++) {
        int32_t next = s + 2 < leaves ? (int32_t)(s + 1) : ~(int32_t)(leaves - 1);
        tree->splits[s] = (myr_split){.left = left ? next : ~(int32_t)s,
                                      .right = left ? ~(int32_t)s : next,
                                      .threshold = left ? (double)(leaves - s) / 64 : (double)s / 64,
                                      .missing = MYR_MISSING_NAN};
        tree->leaves[s] = 0.1 * s;
    }
    m.desc = (myr_model_desc){.feature_count = 1, .margin_count = 1, .tree_count = 1, .trees = tree};
    return m;
}

TEST(large_takes_leaves_up_to_their_limit)
{
    dice d = {6};
    static const uint32_t counts[] = {1, 2, 3, 255, 256, 257, 1000, LARGE_LEAVES_MAX};
    for (size_t k = 0; k < 2 * MYR_COUNT_OF(counts); k++) {
        MYR_AUTO(random_model) m = chain(counts[k / 2], k % 2 != 0);
        MYR_AUTO(compiled) c = compile_large(&m);
        EXPECT(in_large(&c) && ((large_of(&c).flags & LARGE_WORDS) != 0) == (counts[k / 2] > LANES_LEAVES_MAX));
        compare_some(&d, &m.desc, &c, 9);
        compare_some(&d, &m.desc, &c, counts[k / 2] > 1000 ? 3 : 70);
    }
    MYR_AUTO(random_model) m = chain(LARGE_LEAVES_MAX + 1, false);
    MYR_AUTO(compiled) c = compile_large(&m);
    EXPECT(!in_large(&c)); /* one leaf more: nodes */
}

/* Stumps with a set each on a feature of their own. */
static random_model set_stumps(uint32_t trees, uint32_t features, uint32_t top_category)
{
    random_model m = {.arena = myr_arena_new(0)};
    myr_tree *all = myr_arena_calloc(m.arena, trees, sizeof *all);
    uint32_t words = top_category / 32 + 1;
    for (uint32_t t = 0; t < trees; t++) {
        all[t] = (myr_tree){.split_count = 1, .leaf_count = 2, .category_word_count = words};
        all[t].splits = myr_arena_calloc(m.arena, 1, sizeof *all[t].splits);
        all[t].leaves = myr_arena_calloc(m.arena, 2, sizeof *all[t].leaves);
        all[t].category_words = myr_arena_calloc(m.arena, words, sizeof *all[t].category_words);
        all[t].category_words[words - 1] = 1u << top_category % 32;
        all[t].category_words[0] |= t + 1;
        all[t].leaves[0] = t + 0.25;
        all[t].splits[0] = (myr_split){.feature = t % features,
                                       .left = ~0,
                                       .right = ~1,
                                       .category_count = words,
                                       .is_category = 1,
                                       .missing = t % 2 ? MYR_MISSING_NAN : MYR_MISSING_NONE,
                                       .default_left = t % 4 == 1};
    }
    m.desc = (myr_model_desc){.feature_count = features, .margin_count = 1, .tree_count = trees, .trees = all};
    return m;
}

TEST(large_takes_sets_up_to_their_limits)
{
    dice d = {7};
    static const struct {
        uint32_t trees, features, top;
        bool fits;
    } cases[] = {{700, 1, 40, true}, /* more than a line of sets */
                 {LARGE_CODE_COLUMNS, LARGE_CODE_COLUMNS, 70, true},
                 {LARGE_CODE_COLUMNS + 1, LARGE_CODE_COLUMNS + 1, 70, false},
                 {600, 1, LARGE_CODES_MAX - 3, true}, /* codes for NaN and for no category are two more */
                 {600, 1, LARGE_CODES_MAX - 2, false}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        MYR_AUTO(random_model) m = set_stumps(cases[k].trees, cases[k].features, cases[k].top);
        MYR_AUTO(compiled) c = compile_large(&m);
        EXPECT(in_large(&c) == cases[k].fits);
        compare_some(&d, &m.desc, &c, 70);
        compare_some(&d, &m.desc, &c, 5);
    }
}

/* Sets of one feature that fill many runs of one tree, and the widest own columns that bytes have room for. */
TEST(large_takes_trees_of_many_sets)
{
    dice d = {8};
    static const uint32_t splits[] = {64, 65, 255, 256, 511, 512, 513, 1500};
    for (size_t k = 0; k < 2 * MYR_COUNT_OF(splits); k++) {
        shape s = {
            .calc = k % 2 ? MYR_CALC_F32 : MYR_CALC_F64, .features = 1, .margins = 1, .trees = 3, .categories = 70};
        s.splits = splits[k / 2];
        MYR_AUTO(random_model) m = grow(&d, &s);
        grow_tree(&d, m.arena, &s, (myr_tree *)&m.desc.trees[1]);
        MYR_AUTO(compiled) c = compile_large(&m);
        EXPECT(in_large(&c));
        compare_some(&d, &m.desc, &c, 80);
        compare_some(&d, &m.desc, &c, 1);
    }
}

/* `columns` features, two thresholds each that want different sides for what is missing: two byte columns each. */
static random_model wide_model(uint32_t columns, uint32_t thresholds, bool sides)
{
    random_model m = {.arena = myr_arena_new(0)};
    uint32_t count = columns * thresholds;
    myr_tree *trees = myr_arena_calloc(m.arena, count, sizeof *trees);
    for (uint32_t t = 0; t < count; t++) {
        trees[t] = (myr_tree){.split_count = 1, .leaf_count = 2};
        trees[t].splits = myr_arena_calloc(m.arena, 1, sizeof *trees[t].splits);
        trees[t].leaves = myr_arena_calloc(m.arena, 2, sizeof *trees[t].leaves);
        trees[t].leaves[1] = t + 1.5;
        trees[t].splits[0] = (myr_split){.feature = t % columns,
                                         .left = ~0,
                                         .right = ~1,
                                         .threshold = (double)(t / columns) / 4 - 3,
                                         .missing = MYR_MISSING_NAN,
                                         .default_left = sides && t / columns % 2 == 0};
    }
    m.desc = (myr_model_desc){.feature_count = columns, .margin_count = 1, .tree_count = count, .trees = trees};
    return m;
}

TEST(large_takes_columns_up_to_their_limits)
{
    dice d = {9};
    static const struct {
        uint32_t columns, thresholds;
        bool sides, words, fits;
    } cases[] = {{300, 3, false, false, true},
                 {512, 2, false, false, true},
                 {LARGE_BYTE_COLUMNS, 1, false, false, true},
                 {LARGE_BYTE_COLUMNS + 1, 1, false, true, true},
                 {LARGE_BYTE_COLUMNS / 2, 3, true, false, true},
                 {LARGE_BYTE_COLUMNS / 2 + 1, 3, true, true, true},
                 {4, 2000, true, false, true}, /* 8 columns of 254 thresholds, twice */
                 {1, 65534 / 8, true, false, true},
                 {LARGE_TILE_BYTES / 2 - 32, 1, false, true, true},
                 {LARGE_TILE_BYTES / 2 - 31, 1, false, true, false}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        MYR_AUTO(random_model) m = wide_model(cases[k].columns, cases[k].thresholds, cases[k].sides);
        MYR_AUTO(compiled) c = compile_large(&m);
        EXPECT(in_large(&c) == cases[k].fits);
        if (in_large(&c)) EXPECT(((large_of(&c).flags & LARGE_WORDS) != 0) == cases[k].words);
        compare_some(&d, &m.desc, &c, 3);
        compare_some(&d, &m.desc, &c, cases[k].columns > 5000 ? 5 : 66);
    }
}

TEST(large_survives_each_failed_allocation)
{
    dice d = {10};
    shape s = {.features = 6, .margins = 1, .trees = 10, .splits = 400, .categories = 100};
    MYR_AUTO(random_model) m = grow(&d, &s);
    for (int64_t nth = 1;; nth++) {
        unsigned char *bytes = NULL;
        size_t size = 0;
        const myr_model *model = NULL;
        myr_mem_fail_at(nth);
        myr_rc rc = myr_model_compile(&m.desc, NULL, 6, NULL, &bytes, &size, NULL);
        if (rc == MYR_OK) rc = myr_model_check(bytes, size, &model, NULL);
        myr_mem_fail_at(0);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && model == NULL));
        myr_free(bytes);
        if (rc == MYR_OK) break;
        EXPECT(nth < 100);
    }
}

/* ---- damage ---- */

static void predict_some(const myr_model *model)
{
    static const double some[] = {0, 1, -1, 5, 63, 64, NAN, INFINITY, -INFINITY, 1e9, -0.5, 1e-36, 2.5, 2000};
    double rows[70 * 8];
    double values[70 * 4];
    double one[4];
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count > 8 || info.margin_count > 4) return;
    for (size_t k = 0; k < MYR_COUNT_OF(rows); k++) {
        rows[k] = some[k % MYR_COUNT_OF(some)];
    }
    for (size_t k = 0; k < MYR_COUNT_OF(kernel_names); k++) {
        if (!myr_lanes_force(kernel_names[k])) continue;
        myr_model_margins(model, rows, info.column_count, 9, values);
        myr_model_margins(model, rows, info.column_count, 70, values);
        myr_model_margins(model, rows, info.column_count, 1, one);
    }
    myr_lanes_force(NULL);
}

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

#define DAMAGE_SHAPES 6

static compiled damage_shape(int which)
{
    static const shape shapes[DAMAGE_SHAPES] = {
        {.features = 4, .margins = 1, .trees = 3, .splits = 40, .categories = 40},
        {.features = 4, .margins = 3, .trees = 9, .splits = 12, .calc = MYR_CALC_F32, .categories = 10},
        {.features = 3, .margins = 1, .trees = 2, .splits = 60, .fine = true},
        {.features = 2, .margins = 2, .trees = 4, .splits = 30, .calc = MYR_CALC_F32, .categories = 300},
        {.features = 2, .margins = 1, .trees = 2, .splits = 330, .categories = 20}, /* words */
        {.features = 2, .margins = 1, .trees = 2, .splits = 300, .calc = MYR_CALC_F32, .fine = true}};
    dice d = {2000 + (uint64_t)which};
    MYR_AUTO(random_model) m = grow(&d, &shapes[which]);
    if (which >= 4) { /* surely more than 256 leaves */
        shape s = shapes[which];
        do {
            grow_tree(&d, m.arena, &s, (myr_tree *)&m.desc.trees[0]);
        } while (m.desc.trees[0].split_count < LANES_LEAVES_MAX);
    }
    return compile_large(&m);
}

TEST(large_check_refuses_every_cut)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        EXPECT(in_large(&c) && ((large_of(&c).flags & LARGE_WORDS) != 0) == (shape >= 4));
        for (size_t size = 0; size < c.size; size += size < 512 ? 1 : 37) {
            EXPECT_INT(check_copy(c.bytes, size), MYR_BAD_FORMAT);
        }
        EXPECT_INT(check_copy(c.bytes, c.size), MYR_OK);
    }
}

/* Any byte may be changed: refused, or what passes predicts. Most bytes have one right value. */
TEST(large_check_refuses_or_survives_every_changed_byte)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        size_t step = c.size / 6000 + 1;
        for (size_t at = 0; at < c.size; at += step) {
            unsigned char before = c.bytes[at];
            static const unsigned char changes[] = {1, 2, 4, 8, 16, 32, 64, 128, 255};
            c.bytes[at] = before ^ changes[at / step % MYR_COUNT_OF(changes)];
            MYR_IGNORE(check_copy(c.bytes, c.size)); /* either answer; what counts is that nothing faults */
            c.bytes[at] = before;
        }
    }
}

/* Changing a node, an entry, a top, a run or the padding is always seen. */
TEST(large_check_refuses_lies)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        model_header h;
        large_header g = large_of(&c);
        large_map m = {0};
        memcpy(&h, c.bytes, sizeof h);
        EXPECT(large_map_of(&h, &g, &m));
        const uint64_t parts[][2] = {
            {m.trees_at, m.codes_at},    {m.codes_end, m.columns_at}, {m.columns_end, m.bases_at},
            {m.bases_end, m.outputs_at}, {m.outputs_end, m.keys_at},  {m.keys_end, m.lows_at},
            {m.lows_end, m.book_at},     {m.book_end, m.nodes_at},    {m.nodes_end, m.leaves_at},
            {m.leaves_end, m.bits_at},   {m.bits_end, m.size}};
        for (size_t p = 0; p < MYR_COUNT_OF(parts); p++) {
            size_t step = (parts[p][1] - parts[p][0]) / 500 + 1;
            for (uint64_t at = parts[p][0]; at < parts[p][1]; at += step) {
                c.bytes[at] ^= 0x81;
                EXPECT_INT(check_copy(c.bytes, c.size), MYR_BAD_FORMAT);
                c.bytes[at] ^= 0x81;
            }
        }
    }
}

/* A mapping may turn to zeros, page by page, after the check. */
TEST(large_survives_zeroed_parts)
{
    for (int shape = 0; shape < DAMAGE_SHAPES; shape++) {
        MYR_AUTO(compiled) c = damage_shape(shape);
        MYR_AUTO(compiled) copy = {.bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c.size), .size = c.size};
        size_t step = c.size / 24 / 64 * 64 + 64;
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
