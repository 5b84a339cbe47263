/* Answers: an option by its name, or a measure ("4h", "50000") that falls into the band of one. */
#include <stdio.h>
#include <string.h>

#include "advise/internal.h"

#define ANSWERS_LIMIT 9.0e18 /* below INT64_MAX, exactly a double */

typedef struct answers_unit {
    const char *name;
    double ns;
} answers_unit;

static const answers_unit ANSWERS_UNITS[] = {
    {"ns", 1.0},   {"us", 1e3},   {"ms", 1e6},    {"s", 1e9},      {"m", 60e9},
    {"min", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {"w", 604800e9},
};

void myr_advise_copy(char *out, size_t out_bytes, const char *text)
{
    (void)snprintf(out, out_bytes, "%s", text);
}

bool myr_advise_parse_measure(myr_advise_unit unit, const char *text, int64_t *out)
{
    MYR_ASSERT(unit != MYR_ADVISE_NAMED);
    myr_str all = myr_str_trim(myr_str_of(text));
    size_t digits = 0;
    while (digits < all.size && (all.data[digits] == '.' || (all.data[digits] >= '0' && all.data[digits] <= '9'))) {
        digits++;
    }
    double value = 0, scale = 1;
    if (unit == MYR_ADVISE_COUNT) digits = all.size; /* 1e6 is a count */
    if (!myr_parse_double(myr_str_make(all.data, digits), &value)) return false;
    if (unit == MYR_ADVISE_DURATION) {
        myr_str word = myr_str_trim(myr_str_make(all.data + digits, all.size - digits));
        scale = 0;
        for (size_t i = 0; i < MYR_COUNT_OF(ANSWERS_UNITS); i++) {
            if (myr_str_is(word, ANSWERS_UNITS[i].name)) scale = ANSWERS_UNITS[i].ns;
        }
    }
    value *= scale;
    if (scale == 0 || !(value >= 0 && value <= ANSWERS_LIMIT)) return false; /* a NaN fails too */
    if (unit == MYR_ADVISE_COUNT && value != (double)(int64_t)value) return false;
    *out = (int64_t)value;
    return true;
}

void myr_advise_format_measure(myr_advise_unit unit, int64_t value, char *out, size_t out_bytes)
{
    static const answers_unit shown[] = {{"d", 86400e9}, {"h", 3600e9}, {"min", 60e9},
                                         {"s", 1e9},     {"ms", 1e6},   {"us", 1e3}};
    if (unit == MYR_ADVISE_COUNT) {
        myr_format_count(value, out, out_bytes);
        return;
    }
    for (size_t i = 0; i < MYR_COUNT_OF(shown); i++) {
        int64_t ns = (int64_t)shown[i].ns;
        if (value == 0 || value % ns != 0) continue;
        (void)snprintf(out, out_bytes, "%lld %s", (long long)(value / ns), shown[i].name);
        return;
    }
    (void)snprintf(out, out_bytes, "%lld ns", (long long)value);
}

const char *myr_advise_format_ns(double ns, char *out, size_t out_bytes)
{
    static const answers_unit shown[] = {{"h", 3600e9}, {"min", 60e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}};
    for (size_t i = 0; i < MYR_COUNT_OF(shown); i++) {
        if (ns < shown[i].ns) continue;
        (void)snprintf(out, out_bytes, "%.3g %s", ns / shown[i].ns, shown[i].name);
        return out;
    }
    (void)snprintf(out, out_bytes, "%.3g ns", ns);
    return out;
}

void myr_advise_mask_names(const myr_advise_question *question, uint32_t mask, myr_buf *out)
{
    const char *separator = "";
    for (uint32_t i = 0; i < question->option_count; i++) {
        if ((mask & (1u << i)) == 0) continue;
        myr_buf_printf(out, "%s%s", separator, question->options[i].name);
        separator = ", ";
    }
}

void myr_advise_allowed(const myr_advise_question *question, myr_buf *out)
{
    myr_advise_mask_names(question, UINT32_MAX, out);
    if (question->unit == MYR_ADVISE_DURATION) myr_buf_puts(out, ", or a time like 250ms, 4h, 2d");
    if (question->unit == MYR_ADVISE_COUNT) myr_buf_puts(out, ", or a count like 5000");
}

static uint32_t answers_by_name(const myr_advise_question *question, const char *value)
{
    for (uint32_t i = 0; i < question->option_count; i++) {
        if (strcmp(question->options[i].name, value) == 0) return i;
    }
    return MYR_ADVISE_NONE;
}

/* Bands ascend, so the first that holds the measure is the one. */
static uint32_t answers_by_band(const myr_advise_question *question, const char *value)
{
    int64_t measure = 0;
    if (question->unit == MYR_ADVISE_NAMED || !myr_advise_parse_measure(question->unit, value, &measure))
        return MYR_ADVISE_NONE;
    for (uint32_t i = 0; i < question->option_count; i++) {
        if (question->options[i].is_band && measure <= question->options[i].up_to) return i;
    }
    return MYR_ADVISE_NONE;
}

myr_rc myr_advise_answer_set(const myr_advise_trees *trees, uint32_t question_idx, const char *value, const char *from,
                             myr_advise_answers *answers, myr_err *err)
{
    MYR_ASSERT(question_idx < trees->question_count);
    const myr_advise_question *question = &trees->questions[question_idx];
    uint32_t option = answers_by_name(question, value);
    if (option == MYR_ADVISE_NONE) option = answers_by_band(question, value);
    if (option == MYR_ADVISE_NONE) {
        MYR_AUTO(myr_buf) allowed = {0};
        myr_advise_allowed(question, &allowed);
        MYR_FAIL(err, BAD_USAGE, "%s: '%.40s' is no answer to %s: give %s", from, value, question->name,
                 allowed.data != NULL ? allowed.data : "another");
    }
    myr_advise_answer *answer = &answers->of[question_idx];
    answer->is_given = true;
    answer->option = option;
    myr_advise_copy(answer->given, sizeof answer->given, value);
    myr_advise_copy(answer->from, sizeof answer->from, from);
    return MYR_OK;
}

static myr_rc answers_read(const myr_advise_trees *trees, const myr_spec *spec, myr_advise_answers *answers,
                           myr_err *err)
{
    const char *known[MYR_ADVISE_QUESTIONS_MAX + 1] = {0};
    const myr_spec_node *root = myr_spec_root(spec);
    for (uint32_t i = 0; i < trees->question_count; i++) {
        known[i] = trees->questions[i].name;
    }
    MYR_TRY(myr_spec_check_keys(spec, root, known, err));
    for (uint32_t i = 0; i < trees->question_count; i++) {
        const char *value = NULL;
        MYR_TRY(myr_spec_text(spec, root, known[i], false, &value, err));
        if (value == NULL) continue;
        char from[MYR_ADVISE_GIVEN_BYTES * 2];
        const myr_spec_node *at = myr_spec_find(root, known[i]);
        (void)snprintf(from, sizeof from, "%.90s:%d:%d", myr_spec_name(spec), at->line, at->column);
        MYR_TRY(myr_advise_answer_set(trees, i, value, from, answers, err));
    }
    return MYR_OK;
}

myr_rc myr_advise_answers_load(const myr_advise_trees *trees, const char *path, myr_advise_answers *answers,
                               myr_err *err)
{
    MYR_AUTO(myr_spec_ptr) spec = NULL;
    myr_advise_answers read = *answers;
    MYR_TRY(myr_spec_load(path, &spec, err));
    MYR_TRY(answers_read(trees, spec, &read, err));
    *answers = read;
    return MYR_OK;
}
