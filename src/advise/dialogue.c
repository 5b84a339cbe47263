/*
 * The dialogue: one question at a time, only while it can change the outcome. What was asked is a stack, so that `b`
 * takes the last answer back and asks it again.
 */
#include <stdio.h>
#include <string.h>

#include "advise/internal.h"

#define DIALOGUE_LINE_BYTES 256 /* a longer line is a wrong answer, read to its end */

typedef struct dialogue {
    const myr_advise_trees *trees;
    myr_advise_answers *answers;
    FILE *in, *out;
    const char *bold, *dim, *plain; /* escape codes or "" */
    uint32_t asked[MYR_ADVISE_QUESTIONS_MAX];
    uint32_t asked_count;
} dialogue;

typedef enum dialogue_word {
    DIALOGUE_TEXT,
    DIALOGUE_DEFAULT,
    DIALOGUE_BACK,
    DIALOGUE_HELP,
    DIALOGUE_END
} dialogue_word;

/* Read a line without its end; false at the end of input. */
static bool dialogue_line(FILE *in, char out[DIALOGUE_LINE_BYTES])
{
    size_t size = 0;
    int c = fgetc(in);
    if (c == EOF) return false;
    for (; c != EOF && c != '\n'; c = fgetc(in)) {
        bool is_plain = c >= 0x20 && c != 0x7f;
        if (size < DIALOGUE_LINE_BYTES - 1) out[size++] = is_plain ? (char)c : ' ';
    }
    out[size] = '\0';
    return true;
}

static dialogue_word dialogue_read(const dialogue *d, char line[DIALOGUE_LINE_BYTES], myr_str *out_word)
{
    if (!dialogue_line(d->in, line)) return DIALOGUE_END;
    *out_word = myr_str_trim(myr_str_of(line));
    line[(size_t)(out_word->data - line) + out_word->size] = '\0';
    if (out_word->size == 0) return DIALOGUE_DEFAULT;
    if (myr_str_is(*out_word, "b") || myr_str_is(*out_word, "back")) return DIALOGUE_BACK;
    if (myr_str_is(*out_word, "?") || myr_str_is(*out_word, "help")) return DIALOGUE_HELP;
    return DIALOGUE_TEXT;
}

static void dialogue_show(const dialogue *d, uint32_t question_idx)
{
    const myr_advise_question *question = &d->trees->questions[question_idx];
    fprintf(d->out, "\n%s%u. %s%s %s(%s)%s\n", d->bold, d->asked_count + 1, question->ask, d->plain, d->dim,
            question->name, d->plain);
    for (uint32_t i = 0; i < question->option_count; i++) {
        const myr_advise_option *option = &question->options[i];
        fprintf(d->out, "  %s%2u%s  %-13s %s%s\n", d->bold, i + 1, d->plain, option->name, option->text,
                i == question->default_idx ? "  [Enter]" : "");
    }
}

static void dialogue_help(const dialogue *d, const myr_advise_question *question)
{
    MYR_AUTO(myr_buf) allowed = {0};
    myr_advise_allowed(question, &allowed);
    fprintf(d->out, "  Why this is asked: %s\n  Answers: a number, or %s.\n  Enter takes %s, b goes one back.\n",
            question->why, allowed.data != NULL ? allowed.data : "", question->options[question->default_idx].name);
}

/* A number of the list, a name or a measure. */
static myr_rc dialogue_take(const dialogue *d, uint32_t question_idx, const char *word, myr_err *err)
{
    const myr_advise_question *question = &d->trees->questions[question_idx];
    int64_t number = 0;
    bool is_number = myr_parse_int64(myr_str_of(word), &number);
    if (is_number && number >= 1 && number <= question->option_count) word = question->options[number - 1].name;
    if (is_number && question->unit != MYR_ADVISE_COUNT && (number < 1 || number > question->option_count)) {
        MYR_FAIL(err, BAD_USAGE, "%lld is not in the list: give 1 to %u", (long long)number, question->option_count);
    }
    return myr_advise_answer_set(d->trees, question_idx, word, "asked", d->answers, err);
}

/* Ask one question until it is answered or taken back. */
static myr_rc dialogue_ask(dialogue *d, uint32_t question_idx, bool *out_back, myr_err *err)
{
    const myr_advise_question *question = &d->trees->questions[question_idx];
    dialogue_show(d, question_idx);
    for (;;) {
        char line[DIALOGUE_LINE_BYTES];
        myr_str word = {0};
        myr_err wrong = {0};
        fprintf(d->out, "%s> %s", d->bold, d->plain);
        (void)fflush(d->out);
        switch (dialogue_read(d, line, &word)) {
        case DIALOGUE_END:
            fputc('\n', d->out);
            MYR_FAIL(err, CANCELLED, "the input ended at the question '%s': nothing was decided", question->name);
        case DIALOGUE_HELP:
            dialogue_help(d, question);
            continue;
        case DIALOGUE_BACK:
            if (d->asked_count > 0) {
                *out_back = true;
                return MYR_OK;
            }
            fputs("  This is the first question.\n", d->out);
            continue;
        case DIALOGUE_DEFAULT:
            return myr_advise_answer_set(d->trees, question_idx, question->options[question->default_idx].name,
                                         "asked, default", d->answers, err);
        case DIALOGUE_TEXT:
            if (dialogue_take(d, question_idx, word.data, &wrong) == MYR_OK) return MYR_OK;
            fprintf(d->out, "  %s\n", wrong.message);
        }
    }
}

/* The next question that is open and still matters. */
static uint32_t dialogue_next(const dialogue *d)
{
    bool needed[MYR_ADVISE_QUESTIONS_MAX];
    if (myr_advise_needed(d->trees, d->answers, needed) == 0) return MYR_ADVISE_NONE;
    uint32_t question_idx = 0;
    while (!needed[question_idx]) {
        question_idx++;
        MYR_ASSERT(question_idx < d->trees->question_count);
    }
    return question_idx;
}

static void dialogue_start(const dialogue *d)
{
    fprintf(d->out, "%s%s%s\n%s%s%s\nA number or a name answers; Enter takes the default, ? says why, b goes back.\n",
            d->bold, d->trees->title, d->plain, d->dim, d->trees->source, d->plain);
    for (uint32_t i = 0; i < d->trees->question_count; i++) {
        const myr_advise_answer *answer = &d->answers->of[i];
        if (!answer->is_given) continue;
        fprintf(d->out, "  %s: %s (%s)\n", d->trees->questions[i].name,
                d->trees->questions[i].options[answer->option].name, answer->from);
    }
}

/* Say which questions were left out, and that this is on purpose. */
static void dialogue_end(const dialogue *d)
{
    MYR_AUTO(myr_buf) skipped = {0};
    for (uint32_t i = 0; i < d->trees->question_count; i++) {
        if (d->answers->of[i].is_given) continue;
        myr_buf_printf(&skipped, "%s%s", skipped.size > 0 ? ", " : "", d->trees->questions[i].name);
    }
    if (skipped.size > 0) fprintf(d->out, "\nNot asked, since it changes nothing here: %s.\n", skipped.data);
    fputc('\n', d->out);
}

myr_rc myr_advise_ask(const myr_advise_trees *trees, FILE *in, FILE *out, bool colour, myr_advise_answers *answers,
                      myr_err *err)
{
    myr_advise_answers taken = *answers;
    dialogue d = {.trees = trees, .answers = &taken, .in = in, .out = out, .bold = "", .dim = "", .plain = ""};
    if (colour) {
        d.bold = "\033[1m";
        d.dim = "\033[2m";
        d.plain = "\033[0m";
    }
    uint32_t question_idx = dialogue_next(&d);
    if (question_idx == MYR_ADVISE_NONE) return MYR_OK;
    dialogue_start(&d);
    while (question_idx != MYR_ADVISE_NONE) {
        bool back = false;
        MYR_TRY(dialogue_ask(&d, question_idx, &back, err));
        if (back) {
            MYR_ASSERT(d.asked_count > 0);
            question_idx = d.asked[--d.asked_count];
            taken.of[question_idx] = (myr_advise_answer){0};
            continue;
        }
        MYR_ASSERT(d.asked_count < MYR_ADVISE_QUESTIONS_MAX);
        d.asked[d.asked_count++] = question_idx;
        question_idx = dialogue_next(&d);
    }
    dialogue_end(&d);
    *answers = taken;
    return MYR_OK;
}
