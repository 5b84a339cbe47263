/*
 * Names of categories in a compiled model: what a text finds, what a list may not be, and bytes that lie.
 */
#include "model_fixture.h"
#include "model/names.h"

/* A model of two trees over four columns, with lists for some features. */
typedef struct named {
    fixture f;
    myr_category_names lists[FIXTURE_COLUMNS];
} named;

static void named_init(named *n)
{
    memset(n, 0, sizeof *n);
    fixture_init(&n->f);
    n->f.desc.categories = n->lists;
}

static myr_rc compile(const named *n, const uint32_t *map, uint32_t columns, compiled *out, myr_err *err)
{
    MYR_TRY(myr_model_compile(&n->f.desc, map, columns, NULL, &out->bytes, &out->size, err));
    return myr_model_check(out->bytes, out->size, &out->model, err);
}

static double code(const compiled *c, uint32_t column, const char *text)
{
    return myr_names_code(myr_model_names(c->model), column, myr_str_of(text));
}

static const char *const fruits[] = {"pear", "apple", "", "\xc3\xa9t\xc3\xa9 \"q\", 1", "10"};

/* ---- what a text finds ---- */

TEST(a_text_is_found_by_its_spelling_alone)
{
    named n;
    named_init(&n);
    n.lists[3] = (myr_category_names){.names = fruits, .count = MYR_COUNT_OF(fruits)};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    for (uint32_t k = 0; k < MYR_COUNT_OF(fruits); k++) {
        EXPECT(code(&c, 3, fruits[k]) == k);
        EXPECT(myr_str_is(myr_names_text(myr_model_names(c.model), 3, k), fruits[k]));
    }
    static const char *const strangers[] = {"Pear", "pear ", " ", "appl", "apples", "10.0", "1e1", "nan", "null"};
    for (size_t k = 0; k < MYR_COUNT_OF(strangers); k++)
        EXPECT(isnan(code(&c, 3, strangers[k])));
    EXPECT(isnan(myr_names_code(myr_model_names(c.model), 3, myr_str_make("pear\0", 5))));
    EXPECT(isnan(code(&c, 2, "pear")) && isnan(code(&c, 99, "pear")));
    EXPECT(myr_names_has(myr_model_names(c.model), 3) && !myr_names_has(myr_model_names(c.model), 2));
    EXPECT_INT(myr_names_count(myr_model_names(c.model), 3), MYR_COUNT_OF(fruits));
    EXPECT_INT(myr_names_count(myr_model_names(c.model), 0), 0);
    EXPECT_INT(myr_names_text(myr_model_names(c.model), 3, 99).size, 0);
}

TEST(a_number_is_found_by_whatever_reads_as_it)
{
    static const char *const numbers[] = {"3",
                                          "1.0",
                                          "0.5",
                                          "-0.0",
                                          "inf",
                                          "9007199254740993",
                                          "9007199254740992",
                                          "18446744073709551615",
                                          "-7",
                                          "1e+30",
                                          "0.10000000149011612"};
    static const uint8_t kinds[MYR_COUNT_OF(numbers)] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const struct {
        const char *text;
        double code;
    } finds[] = {{"3", 0},
                 {"3.0", 0},
                 {"3.000", 0},
                 {"0.3e1", 0},
                 {"03", 0},
                 {"1", 1},
                 {"1.0", 1},
                 {"0.5", 2},
                 {"5e-1", 2},
                 {"0", 3},
                 {"-0", 3},
                 {"0.0", 3},
                 {"inf", 4},
                 {"Infinity", 4},
                 {"9007199254740993", 5},
                 {"9007199254740992", 6},
                 {"9007199254740992.0", 6},
                 {"18446744073709551615", 7},
                 {"-7", 8},
                 {"-7.0", 8},
                 {"1e30", 9},
                 {"1000000000000000000000000000000", 9},
                 {"0.10000000149011612", 10},
                 {"0.1", NAN},
                 {"-inf", NAN},
                 {"nan", NAN},
                 {"", NAN},
                 {"three", NAN},
                 {"3 ", NAN},
                 {"true", NAN},
                 {"18446744073709551614", NAN}};
    named n;
    named_init(&n);
    n.lists[0] = (myr_category_names){.names = numbers, .count = MYR_COUNT_OF(numbers), .kinds = kinds};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    for (size_t k = 0; k < MYR_COUNT_OF(finds); k++) {
        double got = code(&c, 0, finds[k].text);
        if (!(isnan(finds[k].code) ? isnan(got) : got == finds[k].code))
            fail_msg("'%s' is %g, not %g", finds[k].text, got, finds[k].code);
    }
    EXPECT(myr_str_is(myr_names_text(myr_model_names(c.model), 0, 1), "1")); /* in its shortest form */
    EXPECT(myr_str_is(myr_names_text(myr_model_names(c.model), 0, 3), "0"));
}

TEST(kinds_are_told_apart_in_one_list)
{
    static const char *const mixed[] = {"1", "1", "true", "false", "true"};
    static const uint8_t kinds[] = {MYR_CATEGORY_NUMBER, MYR_CATEGORY_TEXT, MYR_CATEGORY_TEXT, MYR_CATEGORY_BOOL,
                                    MYR_CATEGORY_BOOL};
    named n;
    named_init(&n);
    n.lists[1] = (myr_category_names){.names = mixed, .count = MYR_COUNT_OF(mixed), .kinds = kinds};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    EXPECT(code(&c, 1, "1") == 1.0);   /* the text comes before the number */
    EXPECT(code(&c, 1, "1.0") == 0.0); /* which only the number is */
    EXPECT(code(&c, 1, "true") == 2.0 && code(&c, 1, "True") == 4.0 && code(&c, 1, "TRUE") == 4.0);
    EXPECT(code(&c, 1, "False") == 3.0 && code(&c, 1, "0") == 3.0 && isnan(code(&c, 1, "no")));
}

TEST(names_follow_the_feature_map)
{
    named n;
    named_init(&n);
    static const uint32_t map[FIXTURE_COLUMNS] = {7, 2, 5, 0};
    static const char *const a[] = {"x", "y"}, *const b[] = {"y", "x", "z"};
    n.lists[0] = (myr_category_names){.names = a, .count = 2};
    n.lists[3] = (myr_category_names){.names = b, .count = 3};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, map, 9, &c, &err), OK, &err);
    EXPECT(code(&c, 7, "x") == 0.0 && code(&c, 7, "y") == 1.0 && isnan(code(&c, 7, "z")));
    EXPECT(code(&c, 0, "x") == 1.0 && code(&c, 0, "y") == 0.0 && code(&c, 0, "z") == 2.0);
    for (uint32_t k = 0; k < 9; k++)
        EXPECT(myr_names_has(myr_model_names(c.model), k) == (k == 0 || k == 7));
}

TEST(models_without_lists_have_no_section)
{
    named n;
    named_init(&n);
    MYR_AUTO(compiled) with = {0};
    MYR_AUTO(compiled) without = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &with, &err), OK, &err);
    n.f.desc.categories = NULL;
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &without, &err), OK, &err);
    EXPECT(with.size == without.size && memcmp(with.bytes, without.bytes, with.size) == 0);
    EXPECT(myr_model_names(with.model) == NULL);
    EXPECT(!myr_names_has(NULL, 0) && isnan(myr_names_code(NULL, 0, myr_str_of("x"))));
    EXPECT_INT(myr_names_count(NULL, 0), 0);
}

/* The trees are untouched by the section: both forms predict the same bits with it and without it. */
TEST(codes_predict_as_before)
{
    for (int form = MYR_FORM_AUTO; form <= MYR_FORM_NODES; form++) {
        named n;
        named_init(&n);
        n.lists[3] = (myr_category_names){.names = fruits, .count = MYR_COUNT_OF(fruits)};
        MYR_AUTO(compiled) named_model = fixture_compile_form(&n.f.desc, NULL, FIXTURE_COLUMNS, (myr_model_form)form);
        n.f.desc.categories = NULL;
        MYR_AUTO(compiled) plain = fixture_compile_form(&n.f.desc, NULL, FIXTURE_COLUMNS, (myr_model_form)form);
        EXPECT(named_model.size > plain.size);
        for (uint32_t k = 0; k <= MYR_COUNT_OF(fruits); k++) {
            double row[FIXTURE_COLUMNS] = {0.25, -3.0, NAN,
                                           k < MYR_COUNT_OF(fruits) ? code(&named_model, 3, fruits[k]) : NAN};
            double got[2], wanted[2];
            myr_model_predict(named_model.model, row, FIXTURE_COLUMNS, 1, got);
            myr_model_predict(plain.model, row, FIXTURE_COLUMNS, 1, wanted);
            EXPECT(memcmp(got, wanted, sizeof got) == 0);
        }
    }
}

/* Many names: every one is found, none of the neighbours is. Twice compiled is the same bytes. */
TEST(thousands_of_names)
{
    enum { COUNT = 5000 };
    static char texts[COUNT][16];
    static const char *names[COUNT];
    for (uint32_t k = 0; k < COUNT; k++) {
        (void)snprintf(texts[k], sizeof texts[k], "user-%u", k * 7);
        names[k] = texts[k];
    }
    named n;
    named_init(&n);
    n.lists[2] = (myr_category_names){.names = names, .count = COUNT};
    MYR_AUTO(compiled) c = {0};
    MYR_AUTO(compiled) again = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &again, &err), OK, &err);
    EXPECT(c.size == again.size && memcmp(c.bytes, again.bytes, c.size) == 0);
    for (uint32_t k = 0; k < COUNT * 7; k++) {
        char text[16];
        (void)snprintf(text, sizeof text, "user-%u", k);
        double got = code(&c, 2, text);
        EXPECT(k % 7 == 0 ? got == k / 7 : isnan(got));
    }
    EXPECT(c.size < 64 * 40 + COUNT * (12 + 11)); /* 12 bytes a name and its text */
}

/* Texts whose 32-bit hashes are equal (found by trying) are still told apart. */
TEST(names_of_one_hash)
{
    enum { COUNT = 200000 };
    MYR_AUTO(myr_mem) block = myr_calloc(COUNT, 8);
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    char(*texts)[8] = block;
    uint32_t first = 0, second = 0;
    for (uint32_t k = 0; k < COUNT && second == 0; k++) {
        (void)snprintf(texts[k], sizeof texts[k], "%u", k);
        uint32_t hash = names_hash(MYR_CATEGORY_TEXT, myr_str_of(texts[k]));
        uint64_t before;
        myr_str key = myr_str_make((const char *)&hash, sizeof hash);
        if (myr_map_find(seen, key, &before)) {
            first = (uint32_t)before;
            second = k;
        }
        EXPECT_RC(myr_map_put(seen, key, k, NULL), OK, NULL);
    }
    EXPECT(second > 0);
    const char *names[] = {texts[second], "other", texts[first]};
    named n;
    named_init(&n);
    n.lists[0] = (myr_category_names){.names = names, .count = 3};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    EXPECT(code(&c, 0, texts[second]) == 0.0 && code(&c, 0, texts[first]) == 2.0 && code(&c, 0, "other") == 1.0);
}

/* ---- lists that are refused ---- */

static void refuse(const char *const *names, uint32_t count, const uint8_t *kinds, myr_rc wanted, const char *part)
{
    named n;
    named_init(&n);
    n.lists[2] = (myr_category_names){.names = names, .count = count, .kinds = kinds};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_INT(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), wanted);
    EXPECT(c.bytes == NULL);
    EXPECT_HAS(err.message, part);
}

TEST(bad_lists_are_refused_by_feature_and_category)
{
    static const uint8_t numbers[] = {MYR_CATEGORY_NUMBER, MYR_CATEGORY_NUMBER};
    static const uint8_t truths[] = {MYR_CATEGORY_BOOL, MYR_CATEGORY_BOOL};
    static const uint8_t unknown[] = {MYR_CATEGORY_TEXT, MYR_CATEGORY_KIND_COUNT};
    refuse((const char *const[]){"a", "b", "a"}, 3, NULL, MYR_BAD_INPUT, "feature 2: categories 0 and 2 are both 'a'");
    refuse((const char *const[]){"1", "1.0"}, 2, numbers, MYR_BAD_INPUT, "categories 0 and 1 are both '1'");
    refuse((const char *const[]){"a", "\xff"}, 2, NULL, MYR_BAD_INPUT, "feature 2, category 1: its name is not UTF-8");
    refuse((const char *const[]){"1", "x"}, 2, numbers, MYR_BAD_INPUT, "category 1: 'x' is not of kind 1");
    refuse((const char *const[]){"nan", "1"}, 2, numbers, MYR_BAD_INPUT, "category 0: 'nan' is not of kind 1");
    refuse((const char *const[]){"true", "maybe"}, 2, truths, MYR_BAD_INPUT, "'maybe' is not of kind 2");
    refuse((const char *const[]){"a", "b"}, 2, unknown, MYR_BAD_INPUT, "is not of kind 3");
}

TEST(two_features_of_one_column)
{
    static const uint32_t map[FIXTURE_COLUMNS] = {1, 1, 2, 3};
    static const char *const names[] = {"a"};
    named n;
    named_init(&n);
    n.lists[0] = n.lists[1] = (myr_category_names){.names = names, .count = 1};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, map, FIXTURE_COLUMNS, &c, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "features 0 and 1 have names and are both column 1");
}

TEST(limits_of_names)
{
    MYR_AUTO(myr_mem) block = myr_calloc(MYR_CATEGORY_NAME_BYTES_MAX + 2, 1);
    char *text = block;
    memset(text, 'x', MYR_CATEGORY_NAME_BYTES_MAX + 1);
    refuse((const char *const[]){text}, 1, NULL, MYR_TOO_LARGE, "its name has 65536 bytes, at most 65535");
    text[MYR_CATEGORY_NAME_BYTES_MAX] = '\0';
    named n;
    named_init(&n);
    const char *names[] = {text};
    n.lists[2] = (myr_category_names){.names = names, .count = 1};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    EXPECT(code(&c, 2, text) == 0.0);
    refuse(names, MYR_CATEGORY_MAX + 1, NULL, MYR_TOO_LARGE, "16777217 categories, at most 16777216");
}

/* 1024 names of 65,535 bytes are 1024 bytes less than all names may have; the rest is one name more. */
TEST(limit_of_all_texts)
{
    enum {
        COUNT = MYR_NAMES_TEXT_BYTES_MAX / MYR_CATEGORY_NAME_BYTES_MAX,
        REST = MYR_NAMES_TEXT_BYTES_MAX % MYR_CATEGORY_NAME_BYTES_MAX
    };
    MYR_AUTO(myr_mem) block = myr_alloc((size_t)COUNT * (MYR_CATEGORY_NAME_BYTES_MAX + 1));
    static const char *names[COUNT + 2];
    char rest[REST + 2];
    char *text = block;
    memset(text, 'x', (size_t)COUNT * (MYR_CATEGORY_NAME_BYTES_MAX + 1));
    for (uint32_t k = 0; k < COUNT; k++) {
        names[k] = text + (size_t)k * (MYR_CATEGORY_NAME_BYTES_MAX + 1);
        (void)snprintf((char *)(uintptr_t)names[k], 8, "%07u", k);
        ((char *)(uintptr_t)names[k])[7] = 'x';
        ((char *)(uintptr_t)names[k])[MYR_CATEGORY_NAME_BYTES_MAX] = '\0';
    }
    memset(rest, 'y', sizeof rest);
    rest[REST] = '\0';
    names[COUNT] = rest;
    named n;
    named_init(&n);
    n.lists[2] = (myr_category_names){.names = names, .count = COUNT + 1};
    MYR_AUTO(compiled) c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    EXPECT(code(&c, 2, rest) == COUNT && code(&c, 2, names[5]) == 5.0);
    rest[REST] = 'y';
    rest[REST + 1] = '\0';
    MYR_AUTO(compiled) more = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &more, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "have 67108865 bytes, at most 67108864");
}

TEST(compile_survives_each_failed_allocation)
{
    named n;
    named_init(&n);
    n.lists[1] = (myr_category_names){.names = fruits, .count = MYR_COUNT_OF(fruits)};
    n.lists[3] = (myr_category_names){.names = fruits, .count = 2};
    FAIL_EACH_ALLOC (nth) {
        MYR_AUTO(compiled) c = {0};
        myr_rc rc = compile(&n, NULL, FIXTURE_COLUMNS, &c, NULL);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && c.bytes == NULL));
    }
}

/* ---- bytes that lie ---- */

static compiled some_model(void)
{
    static const char *const numbers[] = {"5", "1.5", "-2"};
    static const uint8_t kinds[] = {MYR_CATEGORY_NUMBER, MYR_CATEGORY_NUMBER, MYR_CATEGORY_NUMBER};
    named n;
    named_init(&n);
    n.lists[0] = (myr_category_names){.names = numbers, .count = 3, .kinds = kinds};
    n.lists[3] = (myr_category_names){.names = fruits, .count = MYR_COUNT_OF(fruits)};
    compiled c = {0};
    myr_err err = {0};
    EXPECT_RC(compile(&n, NULL, FIXTURE_COLUMNS, &c, &err), OK, &err);
    return c;
}

static void look_up_some(const myr_model *model)
{
    const myr_names *names = myr_model_names(model);
    for (uint32_t column = 0; column < FIXTURE_COLUMNS + 1; column++) {
        uint32_t count = myr_names_count(names, column);
        for (size_t k = 0; k < MYR_COUNT_OF(fruits); k++) {
            double got = myr_names_code(names, column, myr_str_of(fruits[k]));
            EXPECT(isnan(got) || (got >= 0 && got < count));
        }
        EXPECT(isnan(myr_names_code(names, column, myr_str_of("7"))));
        for (uint32_t k = 0; k < count && k < 8; k++)
            EXPECT(myr_names_text(names, column, k).size <= MYR_CATEGORY_NAME_BYTES_MAX);
    }
}

/* A copy of exactly its size, so that ASan sees a read behind it. */
static myr_rc check_copy(const unsigned char *bytes, size_t size, myr_err *err)
{
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size > 0 ? size : 1);
    const myr_model *model = NULL;
    memcpy(copy, bytes, size);
    myr_rc rc = myr_model_check(copy, size, &model, err);
    if (rc == MYR_OK) look_up_some(model);
    return rc;
}

/* Any change anywhere in the section is seen, since there is one way to write a list. But for which column it is of. */
TEST(every_changed_byte_is_refused)
{
    MYR_AUTO(compiled) c = some_model();
    size_t at = (size_t)((const unsigned char *)myr_model_names(c.model) - c.bytes);
    static const unsigned char masks[] = {1, 0x80, 0xff};
    for (size_t k = at; k < c.size; k++) {
        for (size_t m = 0; m < MYR_COUNT_OF(masks); m++) {
            c.bytes[k] ^= masks[m];
            myr_err err = {0};
            myr_rc rc = check_copy(c.bytes, c.size, &err);
            size_t in_columns = k - at - sizeof(names_head);
            bool is_column = in_columns < 2 * sizeof(names_column) && in_columns % sizeof(names_column) == 0;
            if (is_column && rc == MYR_OK) rc = MYR_BAD_FORMAT;
            if (rc != MYR_BAD_FORMAT && rc != MYR_UNSUPPORTED) fail_msg("byte %zu: %d, %s", k - at, rc, err.message);
            c.bytes[k] ^= masks[m];
        }
    }
    EXPECT_RC(check_copy(c.bytes, c.size, NULL), OK, NULL);
}

TEST(every_cut_is_refused)
{
    MYR_AUTO(compiled) c = some_model();
    size_t at = (size_t)((const unsigned char *)myr_model_names(c.model) - c.bytes);
    for (size_t size = at; size < c.size; size++)
        EXPECT(check_copy(c.bytes, size, NULL) != MYR_OK);
}

typedef struct lie {
    size_t at; /* in the section */
    uint32_t value;
    const char *part;
} lie;

TEST(each_lie_is_named)
{
    MYR_AUTO(compiled) c = some_model();
    unsigned char *section = (unsigned char *)(uintptr_t)myr_model_names(c.model);
    names_head head;
    memcpy(&head, section, sizeof head);
    names_map map = names_map_of(&head);
    const lie lies[] = {
        {offsetof(names_head, column_count), 0, "names: 0 columns"},
        {offsetof(names_head, column_count), 5, "names: 5 columns of 4"},
        {offsetof(names_head, name_count), 9000, "the counts need"},
        {offsetof(names_head, text_bytes), MYR_NAMES_TEXT_BYTES_MAX + 1, "at most 67108864"},
        {offsetof(names_head, zero), 1, "the head ends in 1"},
        {sizeof head + offsetof(names_column, column), 4, "column 4 of 4 stands at place 0"},
        {sizeof head + sizeof(names_column) + offsetof(names_column, column), 0, "column 0 of 4 stands at place 1"},
        {sizeof head + offsetof(names_column, first), 1, "has 3 names from 1, expected from 0"},
        {sizeof head + offsetof(names_column, count), 0, "has 0 names"},
        {sizeof head + offsetof(names_column, count), 2, "has 5 names from 3, expected from 2"},
        {sizeof head + offsetof(names_column, kinds), 3, "kinds 0x2, its head says 0x3"},
        {map.entries_at, 0, "is not its text's"},
        {map.entries_at + 4, 3 | MYR_CATEGORY_NUMBER << NAMES_KIND_SHIFT, "code 3 of 3"},
        {map.entries_at + 4, 7u << NAMES_KIND_SHIFT, "kind 7"},
        {map.ends_at, 1000, "text 0 ends at 1000"},
        {map.texts_at, 0xffffffff, "is not one of kind"},
        {map.texts_end & ~(uint64_t)3, 0xffffffff, ""},
    };
    for (size_t k = 0; k < MYR_COUNT_OF(lies); k++) {
        unsigned char before[4];
        myr_err err = {0};
        memcpy(before, section + lies[k].at, 4);
        memcpy(section + lies[k].at, &lies[k].value, 4);
        EXPECT_RC(check_copy(c.bytes, c.size, &err), BAD_FORMAT, &err);
        EXPECT_HAS(err.message, lies[k].part);
        memcpy(section + lies[k].at, before, 4);
    }
}

/* A newer section is refused by its version, before anything of it is believed. */
TEST(a_newer_section_is_named)
{
    MYR_AUTO(compiled) c = some_model();
    unsigned char *section = (unsigned char *)(uintptr_t)myr_model_names(c.model);
    myr_err err = {0};
    section[offsetof(section_head, version)] = SECTION_NAMES_VERSION + 1;
    EXPECT_RC(check_copy(c.bytes, c.size, &err), UNSUPPORTED, &err);
    EXPECT_HAS(err.message, "section 'names' of version 2");
}

/* Pages of a mapping may turn to zeros after the check: look-ups stay inside and find nothing or something. */
TEST(runs_of_zeros_are_survived)
{
    MYR_AUTO(compiled) c = some_model();
    const myr_names *names = myr_model_names(c.model);
    size_t at = (size_t)((const unsigned char *)names - c.bytes);
    size_t size = c.size - at;
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size);
    for (size_t from = 0; from < size; from += 4) {
        for (size_t to = from + 4; to <= size; to += 4) {
            memcpy(copy, c.bytes + at, size);
            memset((unsigned char *)copy + from, 0, to - from);
            const myr_names *lost = copy;
            for (uint32_t column = 0; column < FIXTURE_COLUMNS; column++) {
                for (size_t k = 0; k < MYR_COUNT_OF(fruits); k++) {
                    double got = myr_names_code(lost, column, myr_str_of(fruits[k]));
                    EXPECT(isnan(got) || (got >= 0 && got < 8));
                }
                (void)myr_names_text(lost, column, 2);
            }
        }
    }
}

RUN()
