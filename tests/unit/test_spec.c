/* Specs: what is read, where a complaint points, what is refused, limits. */
#include "testing.h"

#include "spec/spec.h"

static myr_rc parse(const char *text, myr_spec **out, myr_err *err)
{
    return myr_spec_parse("t.yaml", text, strlen(text), out, err);
}

static const myr_spec_node *root_of(const char *text, myr_spec **out)
{
    myr_err err = {0};
    EXPECT_RC(parse(text, out, &err), OK, &err);
    return myr_spec_root(*out);
}

TEST(nodes_know_their_place)
{
    myr_spec *spec = NULL;
    const myr_spec_node *root = root_of("a: 1\nb:\n  - x\n  - {c: d}\n", &spec);
    EXPECT_INT(root->kind, MYR_SPEC_MAP);
    EXPECT_INT(root->count, 2);
    const myr_spec_node *b = myr_spec_find(root, "b");
    EXPECT_INT(b->kind, MYR_SPEC_LIST);
    EXPECT_INT(b->count, 2);
    EXPECT_INT(b->items[0]->line, 3);
    EXPECT_INT(b->items[0]->column, 5);
    EXPECT_STR(myr_spec_find(b->items[1], "c")->text, "d");
    EXPECT_INT(b->items[1]->line, 4);
    myr_spec_free(spec);
}

TEST(null_is_absent_unless_quoted)
{
    myr_spec *spec = NULL;
    const myr_spec_node *root = root_of("a: ~\nb: null\nc:\nd: \"\"\ne: 'null'\n", &spec);
    EXPECT(myr_spec_find(root, "a") == NULL);
    EXPECT(myr_spec_find(root, "b") == NULL);
    EXPECT(myr_spec_find(root, "c") == NULL);
    EXPECT(myr_spec_find(root, "d") != NULL);
    EXPECT_STR(myr_spec_find(root, "e")->text, "null");
    EXPECT(myr_spec_find(root, "absent") == NULL);
    myr_spec_free(spec);
}

TEST(unknown_key_names_place_and_nearest)
{
    static const char *const known[] = {"fleet", "features", NULL};
    myr_spec *spec = NULL;
    myr_err err = {0};
    const myr_spec_node *root = root_of("fleet: oj\nfeatuers: [a]\n", &spec);
    EXPECT_RC(myr_spec_check_keys(spec, root, known, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "t.yaml:2:1:");
    EXPECT_HAS(err.message, "'featuers'");
    EXPECT_HAS(err.message, "did you mean 'features'");
    myr_spec_free(spec);
    root = root_of("zzz: 1\n", &spec);
    EXPECT_RC(myr_spec_check_keys(spec, root, known, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "known here are fleet, features");
    myr_spec_free(spec);
    root = root_of("just text\n", &spec);
    EXPECT_RC(myr_spec_check_keys(spec, root, known, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "expected keys");
    myr_spec_free(spec);
}

TEST(typed_reads)
{
    myr_spec *spec = NULL;
    myr_err err = {0};
    const myr_spec_node *root = root_of("i: 7\nd: 0.5\nb: yes\nt: word\nl: [x, y]\none: x\nn: [1, 2.5]\n", &spec);
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *t = NULL;
    const char *const *texts = NULL;
    const double *numbers = NULL;
    uint32_t count = 0;
    EXPECT_RC(myr_spec_int(spec, root, "i", true, 0, 10, &i, &err), OK, &err);
    EXPECT_INT(i, 7);
    EXPECT_RC(myr_spec_double(spec, root, "d", true, 0, 1, &d, &err), OK, &err);
    EXPECT(d == 0.5);
    EXPECT_RC(myr_spec_bool(spec, root, "b", true, &b, &err), OK, &err);
    EXPECT(b);
    EXPECT_RC(myr_spec_text(spec, root, "t", true, &t, &err), OK, &err);
    EXPECT_STR(t, "word");
    EXPECT_RC(myr_spec_texts(spec, root, "l", true, &texts, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT_STR(texts[1], "y");
    EXPECT(texts[2] == NULL);
    EXPECT_RC(myr_spec_texts(spec, root, "one", true, &texts, &count, &err), OK, &err);
    EXPECT_INT(count, 1);
    EXPECT_RC(myr_spec_doubles(spec, root, "n", true, &numbers, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT(numbers[1] == 2.5);
    myr_spec_free(spec);
}

TEST(wrong_types_and_ranges_name_place_and_value)
{
    myr_spec *spec = NULL;
    myr_err err = {0};
    const myr_spec_node *root = root_of("i: 11\nx: abc\nm: {a: 1}\ne: []\nf: .nan\n", &spec);
    int64_t i = 42;
    double d = 42;
    bool b = true;
    const char *t = "kept";
    const char *const *texts = NULL;
    const double *numbers = NULL;
    uint32_t count = 42;
    EXPECT_RC(myr_spec_int(spec, root, "i", true, 0, 10, &i, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "t.yaml:1:4: 'i' is 11: it must be from 0 to 10");
    EXPECT_RC(myr_spec_int(spec, root, "x", true, 0, 10, &i, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'abc'");
    EXPECT_RC(myr_spec_int(spec, root, "missing", true, 0, 10, &i, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "key 'missing' is missing");
    EXPECT_RC(myr_spec_int(spec, root, "missing", false, 0, 10, &i, &err), OK, &err);
    EXPECT_INT(i, 42);
    EXPECT_RC(myr_spec_double(spec, root, "f", true, 0, 1, &d, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_spec_bool(spec, root, "x", true, &b, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_spec_text(spec, root, "m", true, &t, &err), BAD_INPUT, &err);
    EXPECT_STR(t, "kept");
    EXPECT_RC(myr_spec_texts(spec, root, "m", true, &texts, &count, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_spec_texts(spec, root, "e", true, &texts, &count, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "must not be empty");
    EXPECT_RC(myr_spec_doubles(spec, root, "x", true, &numbers, &count, &err), BAD_INPUT, &err);
    EXPECT_INT(count, 42);
    myr_spec_free(spec);
}

/* No document at all is the null one: whoever may do without settings takes it for none. */
TEST(nothing_is_a_null_root)
{
    static const char *const cases[] = {"", "\n\n", "# only a comment\n", "~\n", "---\n"};
    static const char *const known[] = {"a", NULL};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        myr_spec *spec = NULL;
        myr_err err = {0};
        EXPECT_RC(parse(cases[i], &spec, &err), OK, &err);
        const myr_spec_node *root = myr_spec_root(spec);
        EXPECT(root->kind == MYR_SPEC_SCALAR && root->is_null);
        EXPECT_RC(myr_spec_check_keys(spec, root, known, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "expected keys here: a");
        myr_spec_free(spec);
    }
}

TEST(refused_with_their_place)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"a: 1\na: 2\n", "t.yaml:2:1: key 'a' stands here a second time"},
        {"a: &x 1\nb: *x\n", "anchors"},
        {"a: [1\n", "not YAML"},
        {"a: 1\n---\nb: 2\n", "a second document"},
        {"? [a]\n: b\n", "a key must be a plain word"},
        {"a: \"x\\0y\"\n", "NUL"},
        {"\ta: 1\n", "not YAML"},
        {"a: \xff\n", "t.yaml"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        myr_spec *spec = NULL;
        myr_err err = {0};
        EXPECT_RC(parse(cases[i].text, &spec, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, cases[i].part);
        EXPECT(spec == NULL);
    }
}

/* `[[[…]]]`, depth lists inside each other. */
static char *nested(size_t depth)
{
    char *text = calloc(1, 2 * depth + 1);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    return text;
}

TEST(depth_at_the_limit_and_one_past)
{
    myr_spec *spec = NULL;
    myr_err err = {0};
    char *fits = nested(MYR_SPEC_DEPTH_MAX), *deeper = nested(MYR_SPEC_DEPTH_MAX + 1);
    EXPECT_RC(parse(fits, &spec, &err), OK, &err);
    myr_spec_free(spec);
    spec = NULL;
    EXPECT_RC(parse(deeper, &spec, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "nested deeper than");
    free(fits);
    free(deeper);
}

TEST(size_at_the_limit_and_one_past)
{
    myr_spec *spec = NULL;
    myr_err err = {0};
    char *text = malloc(MYR_SPEC_BYTES_MAX + 1);
    memset(text, ' ', MYR_SPEC_BYTES_MAX + 1);
    memcpy(text, "a: 1\n#", 6);
    EXPECT_RC(myr_spec_parse("t.yaml", text, MYR_SPEC_BYTES_MAX, &spec, &err), OK, &err);
    myr_spec_free(spec);
    spec = NULL;
    EXPECT_RC(myr_spec_parse("t.yaml", text, MYR_SPEC_BYTES_MAX + 1, &spec, &err), TOO_LARGE, &err);
    free(text);
}

TEST(too_many_values_are_refused)
{
    myr_spec *spec = NULL;
    myr_err err = {0};
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_putc(&text, '[');
    for (int i = 0; i < 20001; i++) {
        myr_buf_puts(&text, "1,");
    }
    myr_buf_putc(&text, ']');
    EXPECT_RC(myr_spec_parse("t.yaml", text.data, text.size, &spec, &err), TOO_LARGE, &err);
}

TEST(survives_each_failed_allocation)
{
    FAIL_EACH_ALLOC (nth) {
        myr_spec *spec = NULL;
        myr_err err = {0};
        myr_rc rc = parse("a: [1, 2, {b: c}]\nd: e\n", &spec, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && spec == NULL));
        myr_spec_free(spec);
    }
}

TEST(load_names_a_missing_file)
{
    myr_spec *spec = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_spec_load("/nonexistent/train.yaml", &spec, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "/nonexistent/train.yaml");
}

RUN()
