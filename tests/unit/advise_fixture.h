/* Tree files for the tests of advise: a small good one, that with one change, and generated ones of any size. */
#ifndef MYR_TESTS_ADVISE_FIXTURE_H
#define MYR_TESTS_ADVISE_FIXTURE_H

#include "testing.h"

#include "advise/advise.h"

static const char MINI[] =
    "form: 1\n"
    "title: Mini\n"
    "source: made up\n"
    "questions:\n"
    "  - {name: pace, ask: Which pace?, why: It matters., options: [{name: slow, text: s}, {name: fast, text: f}]}\n"
    "  - name: size\n"
    "    ask: Which size?\n"
    "    why: Size matters.\n"
    "    unit: count\n"
    "    measure: run-rows\n"
    "    default: many\n"
    "    options: [{name: one, text: o, up_to: 1}, {name: many, text: m, up_to: 100}]\n"
    "verdicts:\n"
    "  - {name: yes, title: Yes, text: It is so.}\n"
    "  - {name: no, title: No, text: It is not., next: [{note: Look, run: 'show {fleet} {row}'}]}\n"
    "places:\n"
    "  - {name: here, title: Here, text: Not far.}\n"
    "  - {name: there, title: There, text: Far.}\n"
    "first:\n"
    "  title: One\n"
    "  start: p\n"
    "  nodes:\n"
    "    p:\n"
    "      ask: pace\n"
    "      branches:\n"
    "        - {when: slow, verdict: yes, because: slow is yes}\n"
    "        - {when: fast, go: s, because: fast needs a size}\n"
    "    s:\n"
    "      ask: size\n"
    "      branches:\n"
    "        - {when: one, verdict: yes, because: one is yes}\n"
    "        - {when: [many], verdict: no, because: many is no}\n"
    "second:\n"
    "  title: Two\n"
    "  start: v\n"
    "  nodes:\n"
    "    v:\n"
    "      ask: verdict\n"
    "      branches:\n"
    "        - {when: yes, place: here, because: yes is here}\n"
    "        - {when: no, place: there, because: no is there}\n";

/* MINI with the first `from` replaced. The caller frees it. */
TESTING_UNUSED static char *fixture_mini_with(const char *from, const char *to)
{
    const char *at = strstr(MINI, from);
    if (at == NULL) fail_msg("'%s' is not in the fixture", from);
    myr_buf text = {0};
    myr_buf_append(&text, MINI, (size_t)(at - MINI));
    myr_buf_puts(&text, to);
    myr_buf_puts(&text, at + strlen(from));
    return myr_buf_take(&text);
}

TESTING_UNUSED static myr_rc fixture_parse(const char *text, myr_advise_trees **out, myr_err *err)
{
    return myr_advise_parse("t.yaml", text, strlen(text), out, err);
}

TESTING_UNUSED static myr_advise_trees *fixture_trees(const char *text)
{
    myr_advise_trees *trees = NULL;
    myr_err err = {0};
    EXPECT_RC(fixture_parse(text, &trees, &err), OK, &err);
    return trees;
}

TESTING_UNUSED static myr_advise_trees *fixture_builtin(void)
{
    myr_advise_trees *trees = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_advise_load(NULL, &trees, &err), OK, &err);
    return trees;
}

TESTING_UNUSED static void fixture_answer(const myr_advise_trees *trees, myr_advise_answers *answers, const char *name,
                                          const char *value)
{
    myr_err err = {0};
    uint32_t question = myr_advise_find_question(trees, name);
    EXPECT(question != MYR_ADVISE_NONE);
    EXPECT_RC(myr_advise_answer_set(trees, question, value, "test", answers, &err), OK, &err);
}

/* What a generated file has; the rest is as small as can be. */
typedef struct fixture_size {
    uint32_t questions;                           /* at least 2 */
    uint32_t options;                             /* at least 2 */
    uint32_t nodes;                               /* of the first tree, beyond the chain that asks every question */
    uint32_t ends;                                /* verdicts and places, at least 2 */
    uint32_t next;                                /* steps of the first place */
    uint32_t name_bytes, title_bytes, text_bytes; /* of one name, title, text each; 0 = short */
} fixture_size;

static void fixture_fill(myr_buf *out, uint32_t bytes, const char *otherwise)
{
    if (bytes == 0) myr_buf_puts(out, otherwise);
    for (uint32_t i = 0; i < bytes; i++) {
        myr_buf_putc(out, 'a');
    }
}

static void fixture_ends(myr_buf *out, const fixture_size *size, const char *key, char letter)
{
    myr_buf_printf(out, "%s:\n", key);
    for (uint32_t i = 0; i < size->ends; i++) {
        myr_buf_printf(out, "  - {name: %c%u, title: ", letter, i);
        fixture_fill(out, i == 0 ? size->title_bytes : 0, "t");
        myr_buf_puts(out, ", text: t");
        if (i == 0 && letter == 'w' && size->next > 0) {
            myr_buf_puts(out, ", next: [");
            for (uint32_t j = 0; j < size->next; j++) {
                myr_buf_printf(out, "%s{run: r}", j > 0 ? ", " : "");
            }
            myr_buf_putc(out, ']');
        }
        myr_buf_puts(out, "}\n");
    }
}

/*
 * A chain asks the questions in turn: option 0 goes on (or ends in v1), the others end in v0. Further nodes hang on the
 * first question's other options and ask the second, then on those and ask the third.
 */
TESTING_UNUSED static void fixture_generate(const fixture_size *size, myr_buf *out)
{
    myr_buf_puts(out, "form: 1\ntitle: generated\nsource: generated\nquestions:\n");
    for (uint32_t i = 0; i < size->questions; i++) {
        myr_buf_printf(out, "  - {name: q%u, ask: a, why: ", i);
        fixture_fill(out, i == 0 ? size->text_bytes : 0, "w");
        myr_buf_puts(out, ", options: [");
        for (uint32_t j = 0; j < size->options; j++) {
            myr_buf_printf(out, "%s{name: o%u, text: t}", j > 0 ? ", " : "", j);
        }
        myr_buf_puts(out, "]}\n");
    }
    fixture_ends(out, size, "verdicts", 'v');
    fixture_ends(out, size, "places", 'w');
    myr_buf_puts(out, "first:\n  title: f\n  start: c0\n  nodes:\n");
    uint32_t extra = size->nodes, second_level = 0;
    for (uint32_t i = 0; i < size->questions; i++) {
        myr_buf_printf(out, "    c%u:\n      ask: q%u\n      branches:\n", i, i);
        bool is_last = i + 1 == size->questions;
        myr_buf_printf(out,
                       is_last ? "        - {when: o0, verdict: v1, because: b}\n"
                               : "        - {when: o0, go: c%u, because: b}\n",
                       i + 1);
        for (uint32_t j = 1; j < size->options; j++) {
            bool hangs = i == 0 && extra > 0;
            uint32_t verdict = is_last && j < size->ends - 1 ? j + 1 : 0;
            if (hangs) {
                myr_buf_printf(out, "        - {when: o%u, go: x%u, because: b}\n", j, second_level++);
                extra--;
            } else {
                myr_buf_printf(out, "        - {when: o%u, verdict: v%u, because: b}\n", j, verdict);
            }
        }
    }
    uint32_t third = 0;
    for (uint32_t i = 0; i < second_level; i++) {
        myr_buf_printf(out, "    x%u:\n      ask: q1\n      branches:\n", i);
        for (uint32_t j = 0; j < size->options; j++) {
            if (extra > 0) {
                extra--;
                myr_buf_printf(out, "        - {when: o%u, go: y%u, because: b}\n", j, third++);
            } else {
                myr_buf_printf(out, "        - {when: o%u, verdict: v0, because: b}\n", j);
            }
        }
    }
    for (uint32_t i = 0; i < third; i++) {
        myr_buf_printf(out, "    y%u:\n      ask: q2\n      branches:\n        - {when: [", i);
        for (uint32_t j = 0; j < size->options; j++) {
            myr_buf_printf(out, "%so%u", j > 0 ? ", " : "", j);
        }
        myr_buf_puts(out, "], verdict: v0, because: b}\n");
    }
    EXPECT_INT(extra, 0);
    myr_buf_puts(out, "second:\n  title: s\n  start: ");
    fixture_fill(out, size->name_bytes, "v");
    myr_buf_puts(out, "\n  nodes:\n    ");
    fixture_fill(out, size->name_bytes, "v");
    myr_buf_puts(out, ":\n      ask: verdict\n      branches:\n");
    for (uint32_t i = 0; i < size->ends; i++) {
        myr_buf_printf(out, "        - {when: v%u, place: w%u, because: b}\n", i, i);
    }
    EXPECT(!out->failed);
}

#endif
