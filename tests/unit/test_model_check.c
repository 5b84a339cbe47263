/*
 * Damaged models: cut at any byte, with any byte changed, with each kind of lie in it. Either the check refuses them or
 * they predict without fault; padding is always refused.
 */
#include "model_fixture.h"

static void predict_some(const myr_model *model)
{
    myr_model_info info;
    myr_model_get_info(model, &info);
    EXPECT(info.margin_count >= 1 && info.margin_count <= MYR_OUTPUTS_MAX && info.column_count <= MYR_FEATURES_MAX);
    MYR_AUTO(myr_mem) rows = myr_calloc(9 * (size_t)info.column_count + 1, sizeof(double));
    MYR_AUTO(myr_mem) values = myr_calloc(9 * (size_t)info.margin_count, sizeof(double));
    double *row = rows;
    for (size_t k = 0; k < 9 * (size_t)info.column_count; k++) {
        static const double some[] = {0, 1, -1, 5, 63, 64, NAN, INFINITY, -INFINITY, 1e9, -0.5, 1e-36, 2.5};
        row[k] = some[k % (sizeof some / sizeof *some)];
    }
    myr_model_predict(model, rows, info.column_count, 9, values);
    myr_model_margins(model, rows, info.column_count, 9, values);
}

/* Check a copy in a block of exactly its size, so that ASan sees a read behind it. */
static myr_rc check_copy(const unsigned char *bytes, size_t size, myr_err *err)
{
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size > 0 ? size : 1);
    const myr_model *model = NULL;
    memcpy(copy, bytes, size);
    myr_rc rc = myr_model_check(copy, size, &model, err);
    if (rc == MYR_OK) predict_some(model);
    EXPECT((model != NULL) == (rc == MYR_OK));
    return rc;
}

static compiled linear_model(void)
{
    double weights[3] = {1.0, -2.0, 0.5};
    double fills[3] = {NAN, 2.0, 0.0};
    double base = 3.0;
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR,
                           .feature_count = 3,
                           .margin_count = 1,
                           .base_margins = &base,
                           .weights = weights,
                           .fills = fills};
    return fixture_compile(&desc, NULL, 3);
}

static compiled tree_model(myr_calc calc)
{
    fixture f;
    fixture_init(&f);
    f.desc.calc = calc;
    f.desc.transform = calc == MYR_CALC_F32 ? MYR_TRANSFORM_HARD_MAX : MYR_TRANSFORM_SOFTMAX;
    return fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
}

TEST(check_refuses_every_cut)
{
    MYR_AUTO(compiled) trees = tree_model(MYR_CALC_F64);
    MYR_AUTO(compiled) linear = linear_model();
    const compiled *models[2] = {&trees, &linear};
    for (int m = 0; m < 2; m++) {
        for (size_t size = 0; size < models[m]->size; size++) {
            EXPECT_RC(check_copy(models[m]->bytes, size, NULL), BAD_FORMAT, NULL);
        }
        EXPECT_RC(check_copy(models[m]->bytes, models[m]->size, NULL), OK, NULL);
    }
    MYR_AUTO(myr_mem) longer = myr_calloc(1, trees.size + 64);
    memcpy(longer, trees.bytes, trees.size);
    EXPECT_RC(check_copy(longer, trees.size + 64, NULL), BAD_FORMAT, NULL);
}

static void sweep(compiled *c, size_t *refused, size_t *passed)
{
    for (size_t at = 0; at < c->size; at++) {
        unsigned char before = c->bytes[at];
        for (unsigned change = 1; change < 256; change = change < 4 ? change + 1 : change * 2 + 1) {
            c->bytes[at] = (unsigned char)(before ^ change);
            if (check_copy(c->bytes, c->size, NULL) == MYR_OK) {
                (*passed)++;
            } else {
                (*refused)++;
            }
        }
        c->bytes[at] = before;
    }
}

TEST(check_refuses_or_survives_every_changed_byte)
{
    size_t refused = 0;
    size_t passed = 0;
    MYR_AUTO(compiled) doubles = tree_model(MYR_CALC_F64);
    MYR_AUTO(compiled) floats = tree_model(MYR_CALC_F32);
    MYR_AUTO(compiled) linear = linear_model();
    sweep(&doubles, &refused, &passed);
    sweep(&floats, &refused, &passed);
    sweep(&linear, &refused, &passed);
    EXPECT(refused > passed); /* thresholds, leaves and sets may change; structure may not */
}

TEST(check_refuses_padding)
{
    MYR_AUTO(compiled) c = tree_model(MYR_CALC_F64);
    model_header h;
    memcpy(&h, c.bytes, sizeof h);
    model_map m = model_map_of(&h);
    uint64_t gaps[4][2] = {
        {m.bases_end, m.trees_at}, {m.trees_end, m.items_at}, {m.items_end, m.words_at}, {m.words_end, m.size}};
    size_t tried = 0;
    for (int g = 0; g < 4; g++) {
        for (uint64_t at = gaps[g][0]; at < gaps[g][1]; at++) {
            myr_err err = {0};
            c.bytes[at] = 1;
            EXPECT_RC(check_copy(c.bytes, c.size, &err), BAD_FORMAT, &err);
            EXPECT_HAS(err.message, "padding byte");
            c.bytes[at] = 0;
            tried++;
        }
    }
    EXPECT(tried > 64);
    size_t in_header[6] = {offsetof(model_header, numeric_columns), offsetof(model_header, entry_bytes),
                           offsetof(model_header, set_columns),     offsetof(model_header, key_blocks),
                           offsetof(model_header, low_count),       offsetof(model_header, book_count)};
    for (int k = 0; k < 6; k++) {
        c.bytes[in_header[k]] = 1;
        EXPECT_RC(check_copy(c.bytes, c.size, NULL), BAD_FORMAT, NULL);
        c.bytes[in_header[k]] = 0;
    }
    c.bytes[m.items_at] = 1; /* slot 0 of a tree */
    EXPECT_RC(check_copy(c.bytes, c.size, NULL), BAD_FORMAT, NULL);
}

static void expect_lie(compiled *c, size_t at, const void *lie, size_t lie_bytes, myr_rc rc, const char *part)
{
    unsigned char before[8];
    myr_err err = {0};
    memcpy(before, c->bytes + at, lie_bytes);
    memcpy(c->bytes + at, lie, lie_bytes);
    EXPECT_INT(check_copy(c->bytes, c->size, &err), rc);
    EXPECT_HAS(err.message, part);
    memcpy(c->bytes + at, before, lie_bytes);
}

#define LIE(field, type, value, code, part)                                                                            \
    do {                                                                                                               \
        type lie_ = (type)(value);                                                                                     \
        expect_lie(&c, offsetof(model_header, field), &lie_, sizeof lie_, MYR_##code, part);                           \
    } while (0)

TEST(check_names_lies_of_the_header)
{
    MYR_AUTO(compiled) c = tree_model(MYR_CALC_F64);
    LIE(magic, uint32_t, 0, BAD_FORMAT, "magic 0x00000000");
    LIE(version, uint16_t, 6, UNSUPPORTED, "layout version 6");
    LIE(version, uint16_t, 1, BAD_FORMAT, "layout version 1");
    LIE(version, uint16_t, 0, BAD_FORMAT, "layout version 0");
    LIE(kind, uint8_t, 3, BAD_FORMAT, "kind 3");
    LIE(kind, uint8_t, MYR_MODEL_LINEAR, BAD_FORMAT, "a linear model");
    LIE(calc, uint8_t, 2, BAD_FORMAT, "calc 2");
    LIE(transform, uint8_t, MYR_TRANSFORM_COUNT_, BAD_FORMAT, "is not known");
    LIE(transform, uint8_t, MYR_TRANSFORM_SIGMOID, BAD_FORMAT, "parameter 0");
    LIE(flags, uint8_t, 0, BAD_FORMAT, "flags 0x0 do not fit");
    LIE(flags, uint8_t, 8, BAD_FORMAT, "flags 0x8");
    LIE(flags, uint8_t, MODEL_MIRROR | MODEL_SPECIAL, BAD_FORMAT, "counts of lanes, but it has none");
    LIE(flags, uint8_t, 3, BAD_FORMAT, "average over 0");
    LIE(column_count, uint32_t, 3, BAD_FORMAT, "column 3 of 3");
    LIE(column_count, uint32_t, 65536, BAD_FORMAT, "65536 columns");
    LIE(margin_count, uint32_t, 0, BAD_FORMAT, "0 margins");
    LIE(margin_count, uint32_t, 1025, BAD_FORMAT, "1025 margins");
    LIE(margin_count, uint32_t, 1, BAD_FORMAT, "padding byte");
    LIE(tree_count, uint32_t, 1000001, BAD_FORMAT, "1000001 trees");
    LIE(tree_count, uint32_t, 2, BAD_FORMAT, "padding byte");
    LIE(item_count, uint32_t, UINT32_MAX, BAD_FORMAT, "counts need");
    LIE(item_count, uint32_t, 15, BAD_FORMAT, "padding byte");
    LIE(word_count, uint32_t, 4, BAD_FORMAT, "4 category words, 3 used");
    LIE(word_count, uint32_t, 2, BAD_FORMAT, "");
    LIE(transform_param, double, 1.0, BAD_FORMAT, "takes no parameter");
    LIE(transform_param, double, -0.0, BAD_FORMAT, "takes no parameter");
    LIE(size_bytes, uint64_t, 0, BAD_FORMAT, "its header says 0");
    LIE(average_over, uint32_t, 3, BAD_FORMAT, "average over 3");
}

TEST(check_names_lies_of_the_nodes)
{
    MYR_AUTO(compiled) c = tree_model(MYR_CALC_F64);
    model_header h;
    memcpy(&h, c.bytes, sizeof h);
    model_map m = model_map_of(&h);
    size_t root = m.items_at + sizeof(model_node);
    uint32_t children[] = {1, 3, 4, UINT32_MAX, UINT32_MAX - 1};
    for (size_t k = 0; k < sizeof children / sizeof *children; k++) {
        expect_lie(&c, root + offsetof(model_node, child), &children[k], 4, MYR_BAD_FORMAT, "tree 0, slot 1: child");
    }
    uint32_t leaf = 0;
    expect_lie(&c, root + offsetof(model_node, child), &leaf, 4, MYR_BAD_FORMAT, "slot");
    uint16_t column = FIXTURE_COLUMNS;
    expect_lie(&c, root + offsetof(model_node, column), &column, 2, MYR_BAD_FORMAT, "slot 1: column 4 of 4");
    uint16_t flags = 8;
    expect_lie(&c, root + offsetof(model_node, flags), &flags, 2, MYR_BAD_FORMAT, "slot 1: flags 0x8");
    flags = NODE_CATEGORY;
    expect_lie(&c, root + offsetof(model_node, flags), &flags, 2, MYR_BAD_FORMAT, "slot 1: ");
    double nan_value = NAN;
    expect_lie(&c, root, &nan_value, 8, MYR_BAD_FORMAT, "threshold nan");
    uint32_t first = 2;
    expect_lie(&c, m.trees_at + sizeof(model_tree), &first, 4, MYR_BAD_FORMAT, "tree 0");
    first = 7;
    expect_lie(&c, m.trees_at + sizeof(model_tree), &first, 4, MYR_BAD_FORMAT, "tree 0 has 7 slots");
    first = UINT32_MAX;
    expect_lie(&c, m.trees_at + sizeof(model_tree), &first, 4, MYR_BAD_FORMAT, "tree 0 has nodes 0 to 4294967295");
    expect_lie(&c, m.trees_at + 4, &first, 4, MYR_BAD_FORMAT, "adds to output 4294967295");
    expect_lie(&c, m.bases_at, &nan_value, 8, MYR_BAD_FORMAT, "base margin 0");
}

TEST(check_names_lies_of_the_terms)
{
    MYR_AUTO(compiled) c = linear_model();
    model_header h;
    memcpy(&h, c.bytes, sizeof h);
    size_t term = model_map_of(&h).items_at;
    double infinite = INFINITY;
    uint32_t three = 3;
    expect_lie(&c, term, &infinite, 8, MYR_BAD_FORMAT, "term 0: weight inf");
    expect_lie(&c, term + offsetof(model_term, fill), &infinite, 8, MYR_BAD_FORMAT, "fill inf");
    expect_lie(&c, term + offsetof(model_term, column), &three, 4, MYR_BAD_FORMAT, "term 0: column 3 of 3");
    expect_lie(&c, term + offsetof(model_term, output), &three, 4, MYR_BAD_FORMAT, "output 3");
    LIE(tree_count, uint32_t, 1, BAD_FORMAT, "linear");
    LIE(calc, uint8_t, 1, BAD_FORMAT, "fill 2"); /* a model in float has no fills */
}

TEST(check_wants_alignment)
{
    MYR_AUTO(compiled) c = tree_model(MYR_CALC_F64);
    MYR_AUTO(myr_mem) block = myr_alloc_aligned(MYR_MODEL_ALIGN, c.size + MYR_MODEL_ALIGN);
    memcpy((unsigned char *)block + 8, c.bytes, c.size);
    const myr_model *model = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_model_check((unsigned char *)block + 8, c.size, &model, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "multiple of 64");
}

TEST(check_passes_random_models_and_their_damaged_copies_never_fault)
{
    dice d = {0x9e3779b97f4a7c15ull};
    for (int k = 0; k < 60; k++) {
        MYR_AUTO(random_model) m = random_model_make(&d, k % 2 ? MYR_CALC_F32 : MYR_CALC_F64);
        MYR_AUTO(compiled) c = fixture_compile(&m.desc, NULL, m.desc.feature_count);
        for (int change = 0; change < 200; change++) {
            size_t at = dice_roll(&d, (uint32_t)c.size);
            unsigned char before = c.bytes[at];
            c.bytes[at] = (unsigned char)dice_roll(&d, 256);
            MYR_IGNORE(check_copy(c.bytes, c.size, NULL)); /* either answer; what counts is that nothing faults */
            c.bytes[at] = before;
        }
    }
}

RUN()
