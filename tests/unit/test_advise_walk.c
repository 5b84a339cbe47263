/* The walk: every combination of answers through both trees, answers by name and by measure, what is needed, what is
 * said. */
#include "advise_fixture.h"

#include <yyjson.h>

#include "advise/internal.h"

/* ---- every combination ---- */

#define WALK_LEAVES_MAX 256

typedef struct walk_leaf {
    uint32_t masks[MYR_ADVISE_QUESTIONS_MAX + 1];
    uint32_t node, branch;
    uint64_t hits;
} walk_leaf;

/* The leaves found by a walk of our own, apart from the code under test. */
static uint32_t leaves_of(const myr_advise_trees *trees, uint32_t tree_idx, uint32_t node_idx, walk_leaf so_far,
                          walk_leaf *out, uint32_t count)
{
    const myr_advise_node *node = &trees->trees[tree_idx].nodes[node_idx];
    for (uint32_t i = 0; i < node->branch_count; i++) {
        walk_leaf leaf = so_far;
        leaf.masks[node->question] &= node->branches[i].mask;
        leaf.node = node_idx;
        leaf.branch = i;
        if (node->branches[i].node != MYR_ADVISE_NONE) {
            count = leaves_of(trees, tree_idx, node->branches[i].node, leaf, out, count);
            continue;
        }
        EXPECT(count < WALK_LEAVES_MAX);
        out[count++] = leaf;
    }
    return count;
}

static bool next_combination(const myr_advise_trees *trees, myr_advise_answers *answers)
{
    for (uint32_t i = 0; i < trees->question_count; i++) {
        if (++answers->of[i].option < trees->questions[i].option_count) return true;
        answers->of[i].option = 0;
    }
    return false;
}

/* Exactly one leaf holds the combination, and it is the one where the walk ended. */
static void one_leaf(const myr_advise_trees *trees, uint32_t tree_idx, const myr_advise_answers *answers,
                     const myr_advice *advice, walk_leaf *leaves, uint32_t count)
{
    uint32_t found = 0;
    const myr_advise_step *last = &advice->steps[tree_idx][advice->step_counts[tree_idx] - 1];
    for (uint32_t i = 0; i < count; i++) {
        bool fits = (leaves[i].masks[trees->question_count] & (1u << advice->verdict)) != 0;
        for (uint32_t q = 0; q < trees->question_count && fits; q++) {
            fits = (leaves[i].masks[q] & (1u << answers->of[q].option)) != 0;
        }
        if (!fits) continue;
        found++;
        leaves[i].hits++;
        EXPECT_INT(leaves[i].node, last->node);
        EXPECT_INT(leaves[i].branch, last->branch);
    }
    EXPECT_INT(found, 1);
}

static const char *option_of(const myr_advise_trees *trees, const myr_advise_answers *answers, const char *question)
{
    uint32_t idx = myr_advise_find_question(trees, question);
    return trees->questions[idx].options[answers->of[idx].option].name;
}

/* What must hold whatever the trees look like. */
static void sensible(const myr_advise_trees *trees, const myr_advise_answers *answers, const myr_advice *advice)
{
    const char *verdict = trees->verdicts[advice->verdict].name, *place = trees->places[advice->place].name;
    const char *often = option_of(trees, answers, "how-often"), *operation = option_of(trees, answers, "operation");
    const char *compute = option_of(trees, answers, "compute"), *soon = option_of(trees, answers, "how-soon");
    if (strcmp(operation, "device") == 0) EXPECT_STR(place, "edge");
    if (strcmp(place, "edge") == 0) EXPECT_STR(operation, "device");
    if (strcmp(verdict, "streaming") == 0) EXPECT_STR(often, "stream");
    if (strcmp(soon, "hours") == 0) EXPECT_STR(verdict, "batch");
    if (strcmp(place, "this-machine") == 0) EXPECT_STR(compute, "little");
    if (strcmp(place, "kubernetes") == 0) EXPECT_STR(operation, "kubernetes");
    if (strcmp(operation, "none") == 0) EXPECT(strcmp(place, "containers") == 0 || strcmp(place, "spark") == 0);
    if (strcmp(verdict, "real-time") == 0) EXPECT(strcmp(place, "spark") != 0);
}

TEST(every_combination_through_both_trees)
{
    myr_advise_trees *trees = fixture_builtin();
    static walk_leaf leaves[2][WALK_LEAVES_MAX];
    walk_leaf all;
    memset(&all, 0, sizeof all);
    memset(all.masks, 0xff, sizeof all.masks);
    uint32_t counts[2];
    for (uint32_t t = 0; t < 2; t++) {
        counts[t] = leaves_of(trees, t, trees->trees[t].root, all, leaves[t], 0);
        EXPECT_INT(counts[t], trees->leaf_counts[t]);
    }
    myr_advise_answers answers = {0};
    uint64_t combinations = 0;
    for (uint32_t i = 0; i < trees->question_count; i++) {
        answers.of[i].is_given = true;
    }
    do {
        myr_advice advice = {0};
        myr_err err = {0};
        EXPECT_RC(myr_advise_walk(trees, &answers, &advice, &err), OK, &err);
        one_leaf(trees, 0, &answers, &advice, leaves[0], counts[0]);
        one_leaf(trees, 1, &answers, &advice, leaves[1], counts[1]);
        sensible(trees, &answers, &advice);
        combinations++;
    } while (next_combination(trees, &answers));
    EXPECT_INT(combinations, trees->combination_count);
    EXPECT_INT(combinations, 5 * 4 * 3 * 3 * 4 * 6);
    for (uint32_t t = 0; t < 2; t++) {
        for (uint32_t i = 0; i < counts[t]; i++) {
            EXPECT(leaves[t][i].hits > 0);
        }
    }
    myr_advise_free(trees);
}

/* Questions that are not needed are really not: any answer to them gives the same way. */
TEST(what_is_not_needed_changes_nothing)
{
    myr_advise_trees *trees = fixture_builtin();
    myr_advise_answers all = {0};
    for (uint32_t i = 0; i < trees->question_count; i++) {
        all.of[i].is_given = true;
    }
    do {
        myr_advise_answers some = {0};
        bool needed[MYR_ADVISE_QUESTIONS_MAX];
        myr_advice with_all = {0}, with_some = {0};
        while (myr_advise_needed(trees, &some, needed) > 0) {
            for (uint32_t i = 0; i < trees->question_count; i++) {
                if (!needed[i]) continue;
                EXPECT(!some.of[i].is_given);
                some.of[i] = all.of[i];
                break;
            }
        }
        EXPECT_RC(myr_advise_walk(trees, &all, &with_all, NULL), OK, NULL);
        EXPECT_RC(myr_advise_walk(trees, &some, &with_some, NULL), OK, NULL);
        EXPECT(memcmp(&with_all, &with_some, sizeof with_all) == 0);
    } while (next_combination(trees, &all));
    myr_advise_free(trees);
}

TEST(missing_answers_are_named)
{
    myr_advise_trees *trees = fixture_builtin();
    myr_advise_answers answers = {0};
    myr_advice advice = {.verdict = 77};
    myr_err err = {0};
    EXPECT_RC(myr_advise_walk(trees, &answers, &advice, &err), BAD_USAGE, &err);
    EXPECT_HAS(err.message, "--how-often, --how-soon, --batch-size, --latency, --compute, --operation");
    EXPECT_INT(advice.verdict, 77);
    fixture_answer(trees, &answers, "how-often", "nightly");
    fixture_answer(trees, &answers, "how-soon", "hours");
    EXPECT_RC(myr_advise_walk(trees, &answers, &advice, &err), BAD_USAGE, &err);
    EXPECT_HAS(err.message, "not answered: --compute, --operation: give");
    myr_advise_free(trees);
}

/* ---- answers ---- */

static const struct band_case {
    const char *question, *value, *option;
} BANDS[] = {
    {"how-soon", "100ms", "at-once"},    {"how-soon", "100.001ms", "while-waiting"},
    {"how-soon", "0s", "at-once"},       {"how-soon", "1m", "while-waiting"},
    {"how-soon", "60001 ms", "minutes"}, {"how-soon", "1h", "minutes"},
    {"how-soon", "4h", "hours"},         {"how-soon", "52w", "hours"},
    {"how-often", "6h", "hourly"},       {"how-often", "15min", "hourly"},
    {"how-often", "1d", "nightly"},      {"how-often", "37h", "rarely"},
    {"batch-size", "1", "one"},          {"batch-size", "2", "small"},
    {"batch-size", "1000", "small"},     {"batch-size", "1001", "large"},
    {"batch-size", "1e6", "large"},      {"latency", "20ms", "low"},
    {"latency", "350us", "low"},         {"latency", "1.5s", "high"},
    {"compute", "3600s", "little"},      {"compute", "2d", "much"},
    {"compute", "49h", "very-much"},     {"compute", "gpu", "gpu"},
    {"latency", "12 ns", "low"},
};

TEST(measures_fall_into_bands)
{
    myr_advise_trees *trees = fixture_builtin();
    for (size_t i = 0; i < MYR_COUNT_OF(BANDS); i++) {
        myr_advise_answers answers = {0};
        fixture_answer(trees, &answers, BANDS[i].question, BANDS[i].value);
        EXPECT_STR(option_of(trees, &answers, BANDS[i].question), BANDS[i].option);
    }
    myr_advise_free(trees);
}

TEST(wrong_answers_name_the_allowed_ones)
{
    static const struct band_case bad[] = {
        {"how-soon", "4", "at-once, while-waiting, minutes, hours, or a time like 250ms, 4h, 2d"},
        {"how-soon", "4 fortnights", "'4 fortnights' is no answer to how-soon"},
        {"how-soon", "-1s", "a time like"},
        {"how-soon", "", "a time like"},
        {"how-soon", "h", "a time like"},
        {"how-soon", "1e3s", "a time like"},
        {"how-soon", "nan", "a time like"},
        {"how-soon", "1.2.3s", "a time like"},
        {"how-soon", "99999999999999w", "a time like"},
        {"how-soon", "Hours", "a time like"},
        {"batch-size", "1.5", "or a count like 5000"},
        {"batch-size", "-3", "a count"},
        {"batch-size", "inf", "a count"},
        {"batch-size", "1e30", "a count"},
        {"operation", "4h", "none, one-machine, redundant, kubernetes, spark, device"},
    };
    myr_advise_trees *trees = fixture_builtin();
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_advise_answers answers = {0};
        myr_err err = {0};
        uint32_t question = myr_advise_find_question(trees, bad[i].question);
        EXPECT_RC(myr_advise_answer_set(trees, question, bad[i].value, "--flag", &answers, &err), BAD_USAGE, &err);
        EXPECT_HAS(err.message, "--flag: ");
        EXPECT_HAS(err.message, bad[i].option);
        EXPECT(!answers.of[question].is_given);
    }
    myr_advise_free(trees);
}

/* The highest band of the small file ends at 100. */
TEST(a_measure_above_all_bands)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    myr_advise_answers answers = {0};
    myr_err err = {0};
    EXPECT_RC(myr_advise_answer_set(trees, 1, "100", "f", &answers, &err), OK, &err);
    EXPECT_RC(myr_advise_answer_set(trees, 1, "101", "f", &answers, &err), BAD_USAGE, &err);
    EXPECT_STR(answers.of[1].given, "100");
    myr_advise_free(trees);
}

TEST(an_answers_file)
{
    static const struct bad_case {
        const char *text, *said;
    } bad[] = {{"how-oftn: nightly\n", "a.yaml:1:1: unknown key 'how-oftn': did you mean 'how-often'"},
               {"how-often: nightly\nhow-soon: never\n", "a.yaml:2:11: 'never' is no answer to how-soon"},
               {"how-often: [nightly]\n", "must be a text"},
               {"- nightly\n", "expected keys"}};
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 16];
    myr_advise_trees *trees = fixture_builtin();
    myr_advise_answers answers = {0};
    myr_err err = {0};
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/a.yaml", dir);
    const char *good = "how-often: nightly\nhow-soon: 4h\nlatency: ~\n";
    EXPECT_RC(myr_file_write(path, good, strlen(good), &err), OK, &err);
    EXPECT_RC(myr_advise_answers_load(trees, path, &answers, &err), OK, &err);
    EXPECT_STR(option_of(trees, &answers, "how-soon"), "hours");
    EXPECT(!answers.of[3].is_given);
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_advise_answers none = {0};
        EXPECT_RC(myr_file_write(path, bad[i].text, strlen(bad[i].text), &err), OK, &err);
        myr_rc rc = myr_advise_answers_load(trees, path, &none, &err);
        EXPECT(rc == MYR_BAD_INPUT || rc == MYR_BAD_USAGE);
        EXPECT_HAS(err.message, bad[i].said);
        EXPECT(!none.of[0].is_given);
    }
    myr_advise_free(trees);
}

/* ---- measured ---- */

TEST(facts_answer_what_they_can)
{
    myr_advise_trees *trees = fixture_builtin();
    myr_advise_answers answers = {0};
    myr_advise_facts facts = {.one_row_p99_ns = 25e6, .one_row_calls = 40, .row_ns = 1e6};
    myr_err err = {0};
    EXPECT_RC(myr_advise_answer_measured(trees, &facts, &answers, &err), OK, &err);
    EXPECT_STR(option_of(trees, &answers, "latency"), "some");
    EXPECT_HAS(answers.of[3].from, "measured: 99th percentile of 40 calls");
    EXPECT_STR(answers.of[3].given, "25 ms");
    EXPECT(!answers.of[2].is_given); /* no run: no rows */
    EXPECT(!answers.of[4].is_given);
    EXPECT(!answers.of[0].is_given); /* no request history */
    facts.run_count = 1;
    facts.run_rows = 10000000;
    fixture_answer(trees, &answers, "batch-size", "one"); /* an answer that is given stays */
    EXPECT_RC(myr_advise_answer_measured(trees, &facts, &answers, &err), OK, &err);
    EXPECT_STR(option_of(trees, &answers, "compute"), "much");
    EXPECT_HAS(answers.of[4].from, "10000000 rows of the last run at 1 ms each");
    EXPECT_STR(option_of(trees, &answers, "batch-size"), "one");
    myr_advise_free(trees);
}

/* ---- said ---- */

static myr_advise_report mini_report(const myr_advise_trees *trees, myr_advise_answers *answers, myr_advice *advice,
                                     myr_advise_products **out_products)
{
    myr_err err = {0};
    EXPECT_RC(myr_advise_products_load(NULL, trees, out_products, &err), OK,
              &err); /* built-in: other places are no error */
    fixture_answer(trees, answers, "pace", "fast");
    fixture_answer(trees, answers, "size", "50");
    EXPECT_RC(myr_advise_walk(trees, answers, advice, &err), OK, &err);
    return (myr_advise_report){.trees = trees, .products = *out_products, .answers = answers, .advice = advice};
}

TEST(text_says_the_way_and_why)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    myr_advise_products *products = NULL;
    myr_advise_answers answers = {0};
    myr_advice advice = {0};
    MYR_AUTO(myr_buf) out = {0};
    myr_advise_report report = mini_report(trees, &answers, &advice, &products);
    myr_advise_text(&report, &out);
    EXPECT_HAS(out.data, "Verdict: No\n");
    EXPECT_HAS(out.data, "  2. Which size?\n     many: 50  (test)\n     many is no\n");
    EXPECT_HAS(out.data, "Where: There");
    EXPECT_HAS(out.data, "no name in the table");
    EXPECT_HAS(out.data, "  # Look\n  show FLEET {\"store\":2,\"brand\":1}\n");
    EXPECT_HAS(out.data, "made up\n");
    EXPECT(strchr(out.data, '\033') == NULL);
    report.colour = true;
    myr_buf_clear(&out);
    myr_advise_text(&report, &out);
    EXPECT_HAS(out.data, "\033[1mVerdict: No\033[0m");
    myr_buf_clear(&out);
    myr_advise_tree_text(trees, &advice, &out);
    EXPECT_STR(
        out.data,
        "One  ([*] and == mark your way)\n[*] Which pace?\n |-- slow --> Yes\n `== fast\n    [*] Which size?\n"
        "     |-- one --> Yes\n     `== many ==> No  [*]\n\nTwo\n[*] What did the first tree say?\n |-- yes --> Here\n"
        " `== no ==> There  [*]\n");
    myr_buf_clear(&out);
    myr_advise_tree_text(trees, NULL, &out);
    EXPECT(strstr(out.data, "[*]") == NULL && strstr(out.data, "==") == NULL);
    myr_advise_products_free(products);
    myr_advise_free(trees);
}

TEST(json_holds_all_of_it)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    myr_advise_products *products = NULL;
    myr_advise_answers answers = {0};
    myr_advice advice = {0};
    MYR_AUTO(myr_buf) out = {0};
    myr_advise_report report = mini_report(trees, &answers, &advice, &products);
    myr_advise_facts facts = {.fleet = "f", .row = "{\"a\":1}", .model_count = 3};
    for (int with_facts = 0; with_facts < 2; with_facts++) {
        report.facts = with_facts ? &facts : NULL;
        myr_buf_clear(&out);
        myr_advise_json(&report, &out);
        yyjson_doc *doc = yyjson_read(out.data, out.size, 0);
        EXPECT(doc != NULL);
        yyjson_val *root = yyjson_doc_get_root(doc);
        EXPECT_STR(yyjson_get_str(yyjson_obj_get(root, "verdict")), "no");
        EXPECT_STR(yyjson_get_str(yyjson_obj_get(root, "place")), "there");
        EXPECT_INT(yyjson_arr_size(yyjson_ptr_get(root, "/first/path")), 2);
        EXPECT_STR(yyjson_get_str(yyjson_ptr_get(root, "/first/path/1/because")), "many is no");
        EXPECT_STR(yyjson_get_str(yyjson_ptr_get(root, "/answers/size/given")), "50");
        EXPECT_STR(yyjson_get_str(yyjson_ptr_get(root, "/answers/size/answer")), "many");
        EXPECT(yyjson_is_null(yyjson_ptr_get(root, "/products/Azure")));
        EXPECT_STR(yyjson_get_str(yyjson_ptr_get(root, "/next/0/run")),
                   with_facts ? "show f {\"a\":1}" : "show FLEET {\"store\":2,\"brand\":1}");
        EXPECT_INT(yyjson_get_int(yyjson_ptr_get(root, "/measured/models")), with_facts ? 3 : 0);
        yyjson_doc_free(doc);
    }
    myr_advise_products_free(products);
    myr_advise_free(trees);
}

TEST(times_for_people)
{
    static const struct time_case {
        double ns;
        const char *text;
    } cases[] = {{0, "0 ns"},  {850, "850 ns"},   {1500, "1.5 us"}, {2.5e6, "2.5 ms"},
                 {1e9, "1 s"}, {90e9, "1.5 min"}, {7200e9, "2 h"}};
    char out[48];
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        EXPECT_STR(myr_advise_format_ns(cases[i].ns, out, sizeof out), cases[i].text);
    }
}

RUN()
