/* Tree files: what is read, what is refused and where the complaint points, limits, short memory, any byte damaged. */
#include "advise_fixture.h"

TEST(the_built_in_files_are_good)
{
    myr_advise_trees *trees = fixture_builtin();
    myr_advise_products *products = NULL;
    myr_err err = {0};
    EXPECT_INT(trees->question_count, 6);
    EXPECT_INT(trees->verdict_count, 4);
    EXPECT_INT(trees->place_count, 7);
    EXPECT_HAS(trees->source, "reconstruction");
    myr_str text = myr_advise_products_text();
    EXPECT_RC(myr_advise_products_parse("p.yaml", text.data, text.size, trees, &products, &err), OK, &err);
    for (uint32_t p = 0; p < trees->place_count; p++) {
        for (uint32_t v = 0; v < trees->verdict_count; v++) {
            for (uint32_t c = 0; c < myr_advise_cloud_count(products); c++) {
                EXPECT(myr_advise_product(products, trees->places[p].name, trees->verdicts[v].name, c) != NULL);
            }
        }
    }
    EXPECT(strcmp(myr_advise_product(products, "containers", "batch", 0),
                  myr_advise_product(products, "containers", "real-time", 0)) != 0);
    EXPECT(myr_advise_product(products, "moon", "batch", 0) == NULL);
    myr_advise_products_free(products);
    myr_advise_free(trees);
}

TEST(a_small_file_is_read_whole)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    EXPECT_INT(trees->question_count, 2);
    EXPECT_INT(trees->questions[1].unit, MYR_ADVISE_COUNT);
    EXPECT_INT(trees->questions[1].measure, MYR_ADVISE_RUN_ROWS);
    EXPECT_INT(trees->questions[1].default_idx, 1);
    EXPECT_INT(trees->questions[0].default_idx, 0);
    EXPECT_INT(trees->questions[1].options[1].up_to, 100);
    EXPECT_INT(trees->combination_count, 4);
    EXPECT_INT(trees->leaf_counts[0], 3);
    EXPECT_INT(trees->leaf_counts[1], 2);
    EXPECT_INT(trees->verdicts[1].next_count, 1);
    EXPECT_STR(trees->verdicts[1].next[0].note, "Look");
    EXPECT_INT(myr_advise_find_question(trees, "size"), 1);
    EXPECT_INT(myr_advise_find_question(trees, "verdict"), MYR_ADVISE_NONE);
    myr_advise_free(trees);
}

/* One change to the small file, and what is said of it. */
static const struct bad_case {
    const char *from, *to, *said;
} BAD[] = {
    {"form: 1", "form: 2", "t.yaml:1:7: form 2 is newer"},
    {"form: 1", "form: one", "whole number"},
    {"form: 1\n", "", "'form' is missing"},
    {"title: Mini", "titl: Mini", "t.yaml:2:1: unknown key 'titl': did you mean 'title'"},
    {"source: made up\n", "", "'source' is missing"},
    {"source: made up", "source: \"made\\tup\"", "one line without control"},
    {"name: pace", "name: Pace", "not a name"},
    {"name: pace", "name: json", "taken by the command"},
    {"name: pace", "name: verdict", "taken by the command"},
    {"name: size", "name: pace", "'pace' stands twice"},
    {"name: fast, text: f", "name: slow, text: f", "option 'slow' stands twice"},
    {"why: It matters.", "whi: It matters.", "unknown key 'whi'"},
    {"unit: count", "unit: counts", "known are duration, count"},
    {"measure: run-rows", "measure: row-time", "is a duration"},
    {"measure: run-rows", "measure: rows", "known are row-time"},
    {"default: many", "default: none", "'none' is no option of 'size'"},
    {"up_to: 100", "up_to: 1", "bands must ascend"},
    {"up_to: 100", "up_to: 4h", "a count like 1000"},
    {"up_to: 100", "up_to: -1", "a count like 1000"},
    {"up_to: 100", "up_to: nan", "a count like 1000"},
    {"    unit: count\n    measure: run-rows\n", "", "'up_to' needs a 'unit'"},
    {", up_to: 1}, {name: many, text: m, up_to: 100}", "}, {name: many, text: m}", "no option has 'up_to'"},
    {"{name: no, title: No", "{name: yes, title: No", "'yes' stands twice in 'verdicts'"},
    {"{name: there, title: There, text: Far.}", "{name: there, text: Far.}", "'title' is missing"},
    {"run: 'show {fleet} {row}'", "ran: x", "did you mean 'run'"},
    {"start: p", "start: q", "unknown node 'q'"},
    {"go: s,", "go: t,", "unknown node 't'"},
    {"go: s,", "go: p,", "a cycle"},
    {"go: s,", "go: s, verdict: yes,", "either 'go: NODE' or 'verdict: NAME'"},
    {"go: s, ", "", "either 'go: NODE' or 'verdict: NAME'"},
    {"go: s,", "verdict: no,", "cannot be reached"},
    {"when: one, verdict: yes", "when: one, go: s", "a cycle"},
    {"when: one, verdict: yes", "when: one, go: p", "a cycle"},
    {"when: slow, verdict: yes", "when: slow, go: s", "entered a second time"},
    {"when: slow, verdict: yes", "when: slow, verdict: yess", "did you mean 'yes'"},
    {"when: slow, verdict: yes", "when: slow, place: here", "unknown key 'place'"},
    {"when: slow,", "when: slo,", "did you mean 'slow'"},
    {"when: slow,", "when: slwo,", "unknown option 'slwo': did you mean 'slow'?"},
    {"when: slow,", "when: fast,", "'fast' stands twice at node 'p'"},
    {"when: slow,", "when: [slow, slow],", "'slow' stands twice at node 'p'"},
    {"when: slow,", "when: [],", "'when' must not be empty"},
    {"        - {when: one, verdict: yes, because: one is yes}\n", "", "node 's' has no branch for one of 'size'"},
    {"      ask: size", "      ask: pace", "unknown option 'one'"},
    {"      ask: size", "      ask: verdict", "unknown question 'verdict'"},
    {"when: [many], verdict: no", "when: [many], verdict: yes", "no leaf of the first tree says 'no'"},
    {"place: there", "place: here", "no leaf of the second tree says 'there'"},
    {"      ask: verdict", "      ask: [verdict]", "'ask' must be a text"},
    {"      branches:\n        - {when: yes", "      branchs:\n        - {when: yes", "did you mean 'branches'"},
    {"because: yes is here", "why: yes is here", "unknown key 'why'"},
    {"second:\n", "third:\n", "unknown key 'third'"},
    {"  nodes:\n    v:\n", "  nodes: []\n  extra:\n    v:\n", "unknown key 'extra'"},
    {"title: Two", "title: &a Two", "anchors"},
};

TEST(every_fault_is_named_with_its_place)
{
    for (size_t i = 0; i < MYR_COUNT_OF(BAD); i++) {
        char *text = fixture_mini_with(BAD[i].from, BAD[i].to);
        myr_advise_trees *trees = NULL;
        myr_err err = {0};
        myr_rc rc = fixture_parse(text, &trees, &err);
        if (rc != MYR_BAD_INPUT) print_error("case %zu: %s -> %s\n", i, BAD[i].from, BAD[i].to);
        EXPECT_INT(rc, MYR_BAD_INPUT);
        EXPECT(trees == NULL);
        EXPECT_HAS(err.message, "t.yaml:");
        EXPECT_HAS(err.message, BAD[i].said);
        myr_free(text);
    }
}

TEST(a_question_twice_on_a_way)
{
    char *text = fixture_mini_with(
        "when: one, verdict: yes, because: one is yes}\n        - {when: [many], verdict: no, because: many is no}\n",
        "when: one, go: again, because: b}\n        - {when: [many], verdict: no, because: c}\n"
        "    again:\n      ask: pace\n      branches:\n        - {when: [slow, fast], verdict: yes, because: d}\n");
    myr_advise_trees *trees = NULL;
    myr_err err = {0};
    EXPECT_RC(fixture_parse(text, &trees, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "node 'again' asks 'pace' a second time");
    myr_free(text);
}

/* `no` is said for fast and many alone, so a second tree that asks for slow under `no` has a leaf that nobody reaches.
 */
TEST(a_leaf_that_only_both_trees_together_cut_off)
{
    char *text = fixture_mini_with("        - {when: no, place: there, because: no is there}\n",
                                   "        - {when: no, go: w, because: b}\n"
                                   "    w:\n      ask: pace\n      branches:\n"
                                   "        - {when: fast, place: there, because: c}\n"
                                   "        - {when: slow, place: here, because: d}\n");
    myr_advise_trees *trees = NULL;
    myr_err err = {0};
    EXPECT_RC(fixture_parse(text, &trees, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "t.yaml:46:11: this leaf ('here') can never be reached");
    myr_free(text);
}

static void limit(fixture_size size, bool fits, const char *said)
{
    MYR_AUTO(myr_buf) text = {0};
    myr_advise_trees *trees = NULL;
    myr_err err = {0};
    fixture_generate(&size, &text);
    myr_rc rc = fixture_parse(text.data, &trees, &err);
    if (fits) {
        EXPECT_RC(rc, OK, &err);
    } else {
        EXPECT_RC(rc, BAD_INPUT, &err);
        EXPECT_HAS(err.message, said);
    }
    myr_advise_free(trees);
}

TEST(limits_at_and_one_past)
{
    const fixture_size small = {.questions = 3, .options = 3, .ends = 2};
    fixture_size size = small;
    limit(small, true, "");
    for (uint32_t past = 0; past < 2; past++) {
        bool fits = past == 0;
        size = small;
        size.questions = MYR_ADVISE_QUESTIONS_MAX + past;
        limit(size, fits, "'questions' has 13 items: at most 12");
        size = small;
        size.options = MYR_ADVISE_OPTIONS_MAX + past;
        limit(size, fits, "'options' has 13 items: at most 12");
        size.options = MYR_ADVISE_OPTIONS_MAX;
        size.ends = MYR_ADVISE_OPTIONS_MAX + past;
        limit(size, fits, "'verdicts' has 13 items: at most 12");
        size = small;
        size.options = MYR_ADVISE_OPTIONS_MAX;
        size.nodes = MYR_ADVISE_NODES_MAX - 3 + past;
        limit(size, fits, "a tree of 129 nodes: at most 128");
        size = small;
        size.next = MYR_ADVISE_NEXT_MAX + past;
        limit(size, fits, "'next' has 9 items: at most 8");
        size = small;
        size.name_bytes = MYR_ADVISE_NAME_BYTES_MAX + past;
        limit(size, fits, "1 to 32 bytes");
        size = small;
        size.title_bytes = MYR_ADVISE_TITLE_BYTES_MAX + past;
        limit(size, fits, "'title' has 81 bytes");
        size = small;
        size.text_bytes = MYR_ADVISE_TEXT_BYTES_MAX + past;
        limit(size, fits, "'why' has 241 bytes");
    }
    char name[MYR_ADVISE_NAME_BYTES_MAX + 2] = {0};
    memset(name, 'p', MYR_ADVISE_NAME_BYTES_MAX + 1);
    char *text = fixture_mini_with("pace", name);
    myr_advise_trees *trees = NULL;
    myr_err err = {0};
    EXPECT_RC(fixture_parse(text, &trees, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "is not a name: up to 32");
    myr_free(text);
}

/* 12^12 combinations: counted, not tried. */
TEST(many_combinations_take_no_time)
{
    MYR_AUTO(myr_buf) text = {0};
    fixture_size size = {.questions = 12, .options = 12, .nodes = 116, .ends = 12};
    fixture_generate(&size, &text);
    int64_t started_ns = myr_clock_mono_ns();
    myr_advise_trees *trees = fixture_trees(text.data);
    EXPECT(trees->combination_count == 8916100448256ULL);
    EXPECT(myr_clock_mono_ns() - started_ns < 5000000000LL);
    myr_advise_free(trees);
}

static const char PRODUCTS[] = "form: 1\nclouds: [A, B]\nrows:\n  - {place: here, verdict: [yes], names: {A: x, B: "
                               "y}}\n  - {place: here, names: {A: z}}\n";

static myr_rc products_with(const char *text, const myr_advise_trees *trees, myr_advise_products **out, myr_err *err)
{
    return myr_advise_products_parse("p.yaml", text, strlen(text), trees, out, err);
}

TEST(products_are_a_table)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    myr_advise_products *products = NULL;
    myr_err err = {0};
    EXPECT_RC(products_with(PRODUCTS, trees, &products, &err), OK, &err);
    EXPECT_INT(myr_advise_cloud_count(products), 2);
    EXPECT_STR(myr_advise_cloud(products, 1), "B");
    EXPECT_STR(myr_advise_product(products, "here", "yes", 1), "y");
    EXPECT_STR(myr_advise_product(products, "here", "no", 0), "z");
    EXPECT(myr_advise_product(products, "here", "no", 1) == NULL);
    EXPECT(myr_advise_product(products, "there", "no", 0) == NULL);
    myr_advise_products_free(products);
    myr_advise_free(trees);
}

TEST(products_that_are_refused)
{
    static const struct bad_case bad[] = {
        {"form: 1\nclouds: [A]\nrows:\n  - {place: heer, names: {A: x}}\n", "",
         "p.yaml:4:13: place 'heer' is not in the trees: did you mean 'here'"},
        {"form: 1\nclouds: [A]\nrows:\n  - {place: here, verdict: maybe, names: {A: x}}\n", "", "verdict 'maybe'"},
        {"form: 1\nclouds: [Azure]\nrows:\n  - {place: here, names: {Azur: x}}\n", "", "did you mean 'Azure'"},
        {"form: 1\nclouds: [A]\nrows:\n  - {place: here}\n", "", "'names' is missing"},
        {"form: 1\nclouds: [A]\nrows: x\n", "", "'rows' must be a list"},
        {"form: 1\nclouds: [a, b, c, d, e, f, g, h, i]\nrows: []\n", "", "9 clouds: at most 8"},
        {"form: 1\nclouds: [abcdefghijklmnopqrstuvwxyz01234567]\nrows: []\n", "", "at most 32 bytes"},
        {"- a\n", "", "expected a map"},
    };
    myr_advise_trees *trees = fixture_trees(MINI);
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_advise_products *products = NULL;
        myr_err err = {0};
        EXPECT_RC(products_with(bad[i].from, trees, &products, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, bad[i].said);
        EXPECT(products == NULL);
    }
    for (uint32_t past = 0; past < 2; past++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_advise_products *products = NULL;
        myr_err err = {0};
        myr_buf_puts(&text, "form: 1\nclouds: [a, b, c, d, e, f, g, h]\nrows:\n");
        for (uint32_t i = 0; i < MYR_ADVISE_ROWS_MAX + past; i++) {
            myr_buf_puts(&text, "  - {place: here, names: {a: x}}\n");
        }
        EXPECT_INT(products_with(text.data, trees, &products, &err), past == 0 ? MYR_OK : MYR_BAD_INPUT);
        if (past == 1) EXPECT_HAS(err.message, "257 rows: at most 256");
        myr_advise_products_free(products);
    }
    myr_advise_free(trees);
}

TEST(short_memory_is_an_error)
{
    FAIL_EACH_ALLOC (nth) {
        myr_advise_trees *trees = NULL;
        myr_advise_products *products = NULL;
        myr_err err = {0};
        myr_rc rc = fixture_parse(MINI, &trees, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && trees == NULL));
        if (rc == MYR_OK) rc = products_with(PRODUCTS, trees, &products, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && products == NULL));
        myr_advise_products_free(products);
        myr_advise_free(trees);
        if (rc == MYR_OK) break;
    }
}

/* Damage of any kind is a message or another good tree, and a good tree can always be walked and drawn. */
TEST(any_damaged_byte)
{
    static const char bytes[] = {' ', ':', '{', 'x', '0', '\n', '-', '\xff'};
    for (size_t i = 0; i < sizeof MINI - 1; i++) {
        char text[sizeof MINI];
        memcpy(text, MINI, sizeof MINI);
        for (size_t j = 0; j < sizeof bytes; j++) {
            text[i] = bytes[j];
            myr_advise_trees *trees = NULL;
            myr_advise_answers answers = {0};
            myr_advice advice = {0};
            myr_err err = {0};
            if (myr_advise_parse("t.yaml", text, sizeof text - 1, &trees, &err) != MYR_OK) {
                EXPECT(err.message[0] != '\0');
                continue;
            }
            for (uint32_t q = 0; q < trees->question_count; q++) {
                answers.of[q].is_given = true;
            }
            EXPECT_RC(myr_advise_walk(trees, &answers, &advice, &err), OK, &err);
            MYR_AUTO(myr_buf) svg = {0};
            if (j == 0) EXPECT_RC(myr_advise_svg(trees, &advice, &svg, &err), OK, &err);
            myr_advise_free(trees);
        }
    }
}

TEST(cut_anywhere)
{
    for (size_t size = 0; size < sizeof MINI - 1; size++) {
        myr_advise_trees *trees = NULL;
        myr_err err = {0};
        if (myr_advise_parse("t.yaml", MINI, size, &trees, &err) == MYR_OK) EXPECT(size >= sizeof MINI - 1 - 12);
        myr_advise_free(trees);
    }
}

TEST(a_file_that_is_not_there)
{
    myr_advise_trees *trees = NULL;
    myr_advise_products *products = NULL;
    myr_advise_answers answers = {0};
    myr_err err = {0};
    EXPECT_RC(myr_advise_load("/nowhere/t.yaml", &trees, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_advise_products_load("/nowhere/p.yaml", trees, &products, &err), NOT_FOUND, &err);
    trees = fixture_trees(MINI);
    EXPECT_RC(myr_advise_answers_load(trees, "/nowhere/a.yaml", &answers, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "/nowhere/a.yaml");
    myr_advise_free(trees);
}

RUN()
