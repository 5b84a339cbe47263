/* The dialogue over streams: answers, defaults, back, help, wrong answers, the end of input. A terminal comes in
 * tests/system. */
#include "advise_fixture.h"

typedef struct talk {
    char *said;
    size_t said_bytes;
    myr_rc rc;
    myr_err err;
    myr_advise_answers answers;
} talk;

static talk talk_over(const myr_advise_trees *trees, const char *typed, bool colour)
{
    talk t = {0};
    FILE *in = fmemopen((void *)(uintptr_t)typed, strlen(typed) + (typed[0] == '\0'), "r");
    FILE *out = open_memstream(&t.said, &t.said_bytes);
    EXPECT(in != NULL && out != NULL);
    if (typed[0] == '\0') (void)fgetc(in);
    t.rc = myr_advise_ask(trees, in, out, colour, &t.answers, &t.err);
    fclose(in);
    fclose(out);
    return t;
}

static const char *answer_of(const myr_advise_trees *trees, const talk *t, const char *question)
{
    uint32_t idx = myr_advise_find_question(trees, question);
    return t->answers.of[idx].is_given ? trees->questions[idx].options[t->answers.of[idx].option].name : "-";
}

TEST(numbers_names_measures_and_defaults)
{
    myr_advise_trees *trees = fixture_builtin();
    talk t = talk_over(trees, "2\nwhile-waiting\n500\n\n", false); /* operation is left */
    EXPECT_RC(t.rc, CANCELLED, &t.err);
    free(t.said);
    t = talk_over(trees, "2\nwhile-waiting\n500\n  4 \nkubernetes\n", false);
    EXPECT_RC(t.rc, OK, &t.err);
    EXPECT_STR(answer_of(trees, &t, "how-often"), "on-demand");
    EXPECT_STR(answer_of(trees, &t, "how-soon"), "while-waiting");
    EXPECT_STR(answer_of(trees, &t, "batch-size"), "small");
    EXPECT_STR(answer_of(trees, &t, "latency"), "-");
    EXPECT_STR(answer_of(trees, &t, "compute"), "gpu");
    EXPECT_STR(answer_of(trees, &t, "operation"), "kubernetes");
    EXPECT_HAS(t.said, "Not asked, since it changes nothing here: latency.");
    EXPECT(strchr(t.said, '\033') == NULL);
    free(t.said);
    t = talk_over(trees, "\n\n\n\n", false);
    EXPECT_RC(t.rc, OK, &t.err);
    EXPECT_STR(answer_of(trees, &t, "how-often"), "nightly");
    EXPECT_STR(answer_of(trees, &t, "operation"), "one-machine");
    EXPECT_STR(t.answers.of[0].from, "asked, default");
    free(t.said);
    myr_advise_free(trees);
}

TEST(back_takes_the_last_answer_back)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    talk t = talk_over(trees, "b\nfast\nback\nslow\n", false);
    EXPECT_RC(t.rc, OK, &t.err);
    EXPECT_HAS(t.said, "This is the first question.");
    EXPECT_STR(answer_of(trees, &t, "pace"), "slow");
    EXPECT_STR(answer_of(trees, &t, "size"), "-");
    free(t.said);
    myr_advise_free(trees);
}

TEST(help_says_why_and_wrong_answers_are_asked_again)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    talk t = talk_over(trees, "?\nfasst\n3\n0\nfast\nhelp\n101\n-1\nmany\n", false);
    EXPECT_RC(t.rc, OK, &t.err);
    EXPECT_HAS(t.said, "Why this is asked: It matters.");
    EXPECT_HAS(t.said, "'fasst' is no answer to pace: give slow, fast");
    EXPECT_HAS(t.said, "3 is not in the list: give 1 to 2");
    EXPECT_HAS(t.said, "0 is not in the list");
    EXPECT_HAS(t.said, "Enter takes many");
    EXPECT_HAS(t.said, "'101' is no answer to size: give one, many, or a count like 5000");
    EXPECT_STR(answer_of(trees, &t, "size"), "many");
    free(t.said);
    myr_advise_free(trees);
}

TEST(the_end_of_input_decides_nothing)
{
    static const char *const typed[] = {"", "fast\n", "fast\n?\n", "wrong\n"};
    myr_advise_trees *trees = fixture_trees(MINI);
    for (size_t i = 0; i < MYR_COUNT_OF(typed); i++) {
        talk t = talk_over(trees, typed[i], false);
        EXPECT_RC(t.rc, CANCELLED, &t.err);
        EXPECT_HAS(t.err.message, "the input ended at the question '");
        EXPECT_STR(answer_of(trees, &t, "pace"), "-");
        free(t.said);
    }
    talk t = talk_over(trees, "slow", false); /* a last line without its end still counts */
    EXPECT_RC(t.rc, OK, &t.err);
    free(t.said);
    myr_advise_free(trees);
}

TEST(a_long_line_and_controls_are_wrong_answers)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    MYR_AUTO(myr_buf) typed = {0};
    for (int i = 0; i < 5000; i++) {
        myr_buf_puts(&typed, "fast\033[2J");
    }
    myr_buf_puts(&typed, "\nslow\n");
    talk t = talk_over(trees, typed.data, false);
    EXPECT_RC(t.rc, OK, &t.err);
    EXPECT(strchr(t.said, '\033') == NULL);
    EXPECT_HAS(t.said, "is no answer to pace");
    free(t.said);
    myr_advise_free(trees);
}

TEST(colour_only_when_it_is_wanted)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    talk t = talk_over(trees, "slow\n", true);
    EXPECT_HAS(t.said, "\033[1m1. Which pace?\033[0m");
    free(t.said);
    myr_advise_free(trees);
}

/* What was answered before is shown and not asked; when nothing is left, nothing is said. */
TEST(given_answers_are_not_asked)
{
    myr_advise_trees *trees = fixture_trees(MINI);
    myr_advise_answers answers = {0};
    char *said = NULL;
    size_t said_bytes = 0;
    myr_err err = {0};
    fixture_answer(trees, &answers, "pace", "fast");
    FILE *in = fmemopen((void *)(uintptr_t) "one\n", 4, "r"), *out = open_memstream(&said, &said_bytes);
    EXPECT_RC(myr_advise_ask(trees, in, out, false, &answers, &err), OK, &err);
    fflush(out);
    EXPECT_HAS(said, "pace: fast (test)");
    EXPECT(strstr(said, "Which pace") == NULL);
    size_t before = said_bytes;
    EXPECT_RC(myr_advise_ask(trees, in, out, false, &answers, &err), OK, &err);
    fflush(out);
    EXPECT_INT(said_bytes, before);
    fclose(in);
    fclose(out);
    free(said);
    myr_advise_free(trees);
}

RUN()
