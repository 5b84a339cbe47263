/* Linear trees: what a line gives to a row, what compile refuses, and damaged bytes. */
#include "model_fixture.h"

/* The fixture's first two trees; the first one's leaves are lines. */
typedef struct lined {
    fixture f;
    double coefficients[5];
    uint32_t features[5];
    myr_leaf_line lines[4];
} lined;

static void lined_init(lined *l)
{
    static const double coefficients[5] = {2.0, -0.5, 1e35, 3.0, 0.1};
    static const uint32_t features[5] = {3, 0, 1, 2, 2};
    fixture_init(&l->f);
    memcpy(l->coefficients, coefficients, sizeof coefficients);
    memcpy(l->features, features, sizeof features);
    l->lines[0] = (myr_leaf_line){10.0, l->coefficients, l->features, 2};
    l->lines[1] = (myr_leaf_line){20.0, NULL, NULL, 0};
    l->lines[2] = (myr_leaf_line){30.0, l->coefficients + 2, l->features + 2, 1};
    l->lines[3] = (myr_leaf_line){40.0, l->coefficients + 3, l->features + 3, 2};
    l->f.trees[0].lines = l->lines;
    l->f.desc.base_margins = NULL;
}

static double first_margin(const lined *l, const uint32_t *map, uint32_t columns, const double *row)
{
    MYR_AUTO(compiled) c = fixture_compile(&l->f.desc, map, columns);
    double margins[2];
    double values[2];
    myr_model_margins(c.model, row, columns, 1, margins);
    myr_model_predict(c.model, row, columns, 1, values);
    EXPECT(values[0] == margins[0]);
    return margins[0] - 0.0625; /* the third tree's leaf: exact for all values here */
}

TEST(a_line_is_a_constant_and_terms_in_order)
{
    lined l;
    lined_init(&l);
    const double leaf0[4] = {0.25, -2.0, 7.0, 5.0};
    const double leaf1[4] = {1.0, 0.0, 3.0, NAN}; /* no terms: a NaN elsewhere does not matter */
    const double leaf3[4] = {0.0, 1.0, 4.0, NAN};
    EXPECT(first_margin(&l, NULL, 4, leaf0) == 10.0 + 2.0 * 5.0 - 0.5 * 0.25);
    EXPECT(first_margin(&l, NULL, 4, leaf1) == 20.0);
    EXPECT(first_margin(&l, NULL, 4, leaf3) == (40.0 + 3.0 * 4.0) + 0.1 * 4.0 + 0.0625 - 0.0625);
    const uint32_t map[4] = {3, 2, 1, 0};
    const double turned[4] = {5.0, 7.0, -2.0, 0.25};
    EXPECT(first_margin(&l, map, 4, turned) == 10.0 + 2.0 * 5.0 - 0.5 * 0.25);
}

TEST(a_nan_among_the_terms_gives_the_leafs_value)
{
    lined l;
    lined_init(&l);
    const double missing[4] = {0.25, -2.0, 7.0, NAN};
    EXPECT(first_margin(&l, NULL, 4, missing) == 1.0);
}

TEST(a_tiny_value_is_zero_in_a_line)
{
    lined l;
    lined_init(&l);
    l.f.first[1].missing = MYR_MISSING_NONE;
    l.lines[3] = l.lines[2];
    const double tiny[4] = {0.0, 1e-36, 4.0, 0.0}; /* 1e35 times it would be 0.1 */
    const double less_tiny[4] = {0.0, 1e-34, 4.0, 0.0};
    EXPECT(first_margin(&l, NULL, 4, tiny) == 30.0);
    EXPECT(first_margin(&l, NULL, 4, less_tiny) == 30.0 + 1e35 * 1e-34 + 0.0625 - 0.0625);
}

TEST(many_rows_are_as_one)
{
    lined l;
    lined_init(&l);
    dice d = {7};
    MYR_AUTO(compiled) c = fixture_compile(&l.f.desc, NULL, 4);
    double rows[600][4];
    double together[600][2];
    for (int i = 0; i < 600; i++) {
        for (int j = 0; j < 4; j++)
            rows[i][j] = dice_value(&d);
    }
    myr_model_predict(c.model, rows[0], 4, 600, together[0]);
    for (int i = 0; i < 600; i++) {
        double alone[2];
        myr_model_predict(c.model, rows[i], 4, 1, alone);
        EXPECT(memcmp(alone, together[i], sizeof alone) == 0 || isnan(alone[0]));
    }
    EXPECT(!fixture_in_lanes(&c));
}

TEST(lines_never_lie_in_lanes)
{
    lined l;
    lined_init(&l);
    MYR_AUTO(compiled) c = fixture_compile_form(&l.f.desc, NULL, 4, MYR_FORM_LANES);
    EXPECT(!fixture_in_lanes(&c));
    EXPECT_INT(((const model_header *)(const void *)c.bytes)->line_count, 4);
    EXPECT_INT(((const model_header *)(const void *)c.bytes)->line_term_count, 5);
}

static void expect_refused(const lined *l, myr_rc rc, const char *part)
{
    unsigned char *bytes = NULL;
    size_t size = 0;
    myr_err err = {0};
    EXPECT_INT(myr_model_compile(&l->f.desc, NULL, 4, NULL, &bytes, &size, &err), rc);
    EXPECT_HAS(err.message, part);
}

TEST(compile_refuses_bad_lines)
{
    lined l;
    lined_init(&l);
    l.features[1] = 4;
    expect_refused(&l, MYR_BAD_INPUT, "tree 0, leaf 0: term 1 has feature 4 of 4");
    lined_init(&l);
    l.coefficients[4] = NAN;
    expect_refused(&l, MYR_BAD_INPUT, "tree 0, leaf 3: coefficient 1 is NaN");
    lined_init(&l);
    l.lines[1].constant = NAN;
    expect_refused(&l, MYR_BAD_INPUT, "tree 0, leaf 1: the line's constant is NaN");
    lined_init(&l);
    l.f.desc.calc = MYR_CALC_F32;
    expect_refused(&l, MYR_BAD_INPUT, "tree 0: lines are in double only");
    lined_init(&l);
    l.lines[2].count = MYR_FEATURES_MAX + 1;
    expect_refused(&l, MYR_TOO_LARGE, "a line of 65536 terms, at most 65535");
}

/* ---- damaged bytes ---- */

static myr_rc check_copy(const unsigned char *bytes, size_t size, myr_err *err)
{
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size > 0 ? size : 1);
    const myr_model *model = NULL;
    memcpy(copy, bytes, size);
    myr_rc rc = myr_model_check(copy, size, &model, err);
    if (rc != MYR_OK) return rc;
    static const double rows[3][4] = {{0, 1, 2, 3}, {NAN, NAN, NAN, NAN}, {1e300, -1e300, INFINITY, 63}};
    double values[3][2];
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count <= 4 && info.output_count <= 2) myr_model_predict(model, rows[0], 4, 3, values[0]);
    return MYR_OK;
}

typedef struct bytes_of {
    model_header *h;
    model_node *nodes;
    model_line *lines;
    model_line_term *terms;
} bytes_of;

static bytes_of open_bytes(unsigned char *bytes)
{
    model_map map = model_map_of((const model_header *)(const void *)bytes);
    return (bytes_of){(void *)bytes, (void *)(bytes + map.items_at), (void *)(bytes + map.lines_at),
                      (void *)(bytes + map.line_terms_at)};
}

#define LIE(statement, part)                                                                                           \
    do {                                                                                                               \
        MYR_AUTO(compiled) c = fixture_compile(&l.f.desc, NULL, 4);                                                    \
        bytes_of b = open_bytes(c.bytes);                                                                              \
        myr_err err = {0};                                                                                             \
        statement;                                                                                                     \
        EXPECT_RC(check_copy(c.bytes, c.size, &err), BAD_FORMAT, &err);                                                \
        EXPECT_HAS(err.message, part);                                                                                 \
    } while (0)

TEST(check_refuses_lies_about_lines)
{
    lined l;
    lined_init(&l);
    LIE(b.h->calc = MYR_CALC_F32, "only nodes in double have lines");
    LIE(b.h->flags |= MODEL_LANES, "only nodes in double have lines");
    LIE(b.h->flags &= (uint8_t)~MODEL_LINES, "4 lines, flags");
    LIE(b.h->line_count = 0, "0 lines, flags");
    LIE(b.lines[1].first++, "line 1: constant 40, 2 terms from 3, expected from 2 of 5");
    LIE((b.lines[2].count--, b.lines[3].first--), "5 terms of lines, 4 used");
    LIE(b.lines[3].count++, "line 3");
    LIE(b.lines[2].constant = NAN, "line 2: constant nan");
    LIE(b.terms[1].column = 4, "term 1 of the lines: coefficient");
    LIE(b.terms[1].pad = 1, "padding 1");
    LIE(b.terms[4].coefficient = NAN, "term 4 of the lines: coefficient nan");
    LIE(b.nodes[4].column = 0, "a leaf has line 2, expected 1 of 4");
    LIE(b.nodes[4].column = 3, "a leaf has line 3, expected 1 of 4");
    LIE(b.nodes[4].flags = 1, "a leaf has line 65537, expected 1 of 4");
    LIE(b.nodes[10].column = 5, "a leaf has line 5");
}

TEST(check_refuses_every_cut_and_survives_every_changed_byte)
{
    lined l;
    lined_init(&l);
    MYR_AUTO(compiled) c = fixture_compile(&l.f.desc, NULL, 4);
    for (size_t size = 0; size < c.size; size++) {
        EXPECT(check_copy(c.bytes, size, NULL) != MYR_OK);
    }
    for (size_t at = 0; at < c.size; at++) {
        static const unsigned char changes[] = {0, 1, 2, 4, 0x20, 0x7f, 0x80, 0xff};
        unsigned char before = c.bytes[at];
        for (size_t k = 0; k < sizeof changes; k++) {
            c.bytes[at] = changes[k];
            MYR_IGNORE(check_copy(c.bytes, c.size, NULL)); /* either way without a fault */
        }
        c.bytes[at] = before;
    }
}

/* Pages that turn to zeros after the check: every run of 64 bytes in turn. */
TEST(zeroed_bytes_end_every_walk)
{
    lined l;
    lined_init(&l);
    MYR_AUTO(compiled) c = fixture_compile(&l.f.desc, NULL, 4);
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, c.size);
    static const double rows[2][4] = {{0, 1, 2, 3}, {NAN, NAN, NAN, NAN}};
    double values[2][2];
    for (size_t from = 0; from < c.size; from += 64) {
        for (size_t to = from + 64; to <= c.size; to += 64) {
            memcpy(copy, c.bytes, c.size);
            memset((char *)copy + from, 0, to - from);
            myr_model_predict(myr_model_checked_before(copy), rows[0], 4, 2, values[0]);
        }
    }
}

RUN()
