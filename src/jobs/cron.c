/*
 * Cron expressions as sets of bits. What a field may hold is a row; one reader serves all five.
 *
 * As in Vixie's cron a field that begins with '*' is a wildcard, whatever its step: a day of the month and a day of the
 * week that are both no wildcards are joined by "or", and a wildcard among minute and hour makes the expression follow
 * the time that passes instead of the clock on the wall (next.c).
 */
#include "jobs/cron.h"

#include <string.h>
#include <strings.h>

typedef struct cron_field {
    const char *what;
    int min, max;
    const char *const *names; /* of min, min + 1, …; NULL-terminated, or NULL */
    const char *allowed;      /* for messages */
} cron_field;

static const char *const cron_months[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                          "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const cron_weekdays[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

enum { CRON_MINUTE, CRON_HOUR, CRON_DAY, CRON_MONTH, CRON_WEEKDAY, CRON_FIELDS };
static const cron_field cron_fields[CRON_FIELDS] = {
    {"minute", 0, 59, NULL, "0 to 59"},
    {"hour", 0, 23, NULL, "0 to 23"},
    {"day of month", 1, 31, NULL, "1 to 31, or L for the last day"},
    {"month", 1, 12, cron_months, "1 to 12, or JAN to DEC"},
    {"day of week", 0, 7, cron_weekdays, "0 to 7 (0 and 7 are Sunday), or SUN to SAT"},
};

static const struct {
    const char *name, *means;
} cron_words[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
};

static myr_rc cron_fail(const cron_field *field, myr_str item, myr_err *err)
{
    MYR_FAIL(err, BAD_INPUT, "%s '" MYR_STR_FMT "': %s; a list (1,2), a range (1-5), * and steps (*/2, 1-9/2)",
             field->what, MYR_STR_ARG(item), field->allowed);
}

/* A number, or a name of the field. */
static bool cron_value(const cron_field *field, myr_str text, int *out)
{
    int64_t number = 0;
    for (int i = 0; field->names != NULL && field->names[i] != NULL; i++) {
        if (text.size != strlen(field->names[i]) || strncasecmp(text.data, field->names[i], text.size) != 0) continue;
        *out = field->min + i;
        return true;
    }
    if (text.size == 0 || text.size > 2 || text.data[0] < '0' || text.data[0] > '9') return false;
    if (!myr_parse_int64(text, &number) || number < field->min || number > field->max) return false;
    *out = (int)number;
    return true;
}

static uint64_t cron_bits(int first, int last, int step)
{
    uint64_t bits = 0;
    for (int i = first; i <= last; i += step)
        bits |= 1ULL << i;
    return bits;
}

/* One part of a list: `*`, `5`, `1-5`, each but the second with a step. */
static myr_rc cron_item(const cron_field *field, myr_str item, uint64_t *bits, myr_err *err)
{
    myr_str step_text = item, range = {0}, last_text, first_text;
    int first = field->min, last = field->max;
    int64_t step = 1;
    MYR_IGNORE(!myr_str_split(&step_text, '/', &range)); /* an empty item is no range */
    bool has_step = step_text.data != NULL;
    if (has_step) {
        bool is_step = myr_parse_int64(step_text, &step) && step_text.data[0] != '+';
        if (!is_step || step < 1 || step > field->max - field->min) {
            MYR_FAIL(err, BAD_INPUT, "%s '" MYR_STR_FMT "': the step after '/' is a number from 1 to %d", field->what,
                     MYR_STR_ARG(item), field->max - field->min);
        }
    }
    if (!myr_str_is(range, "*")) {
        last_text = range;
        if (!myr_str_split(&last_text, '-', &first_text) || !cron_value(field, first_text, &first))
            return cron_fail(field, item, err);
        bool is_range = last_text.data != NULL;
        last = first;
        if (is_range && !cron_value(field, last_text, &last)) return cron_fail(field, item, err);
        if (has_step && !is_range) {
            MYR_FAIL(err, BAD_INPUT, "%s '" MYR_STR_FMT "': a step needs a range: write %d-%d/%d", field->what,
                     MYR_STR_ARG(item), first, field->max, (int)step);
        }
        if (first > last) {
            MYR_FAIL(err, BAD_INPUT, "%s '" MYR_STR_FMT "': the range ends before it begins: write it as two, a-b,c-d",
                     field->what, MYR_STR_ARG(item));
        }
    } else if (field == &cron_fields[CRON_WEEKDAY]) {
        last = 6; /* 7 is Sunday again */
    }
    *bits |= cron_bits(first, last, (int)step);
    return MYR_OK;
}

static myr_rc cron_set(const cron_field *field, myr_str text, uint64_t *out_bits, bool *out_is_wild, myr_err *err)
{
    myr_str rest = text, item;
    uint64_t bits = 0;
    while (myr_str_split(&rest, ',', &item)) {
        if (field == &cron_fields[CRON_DAY] && (myr_str_is(item, "L") || myr_str_is(item, "l"))) {
            bits |= CRON_LAST_DAY;
            continue;
        }
        MYR_TRY(cron_item(field, item, &bits, err));
    }
    *out_bits = bits;
    *out_is_wild = text.data[0] == '*';
    return MYR_OK;
}

/* Is there a day at all? 30 February never comes. */
static bool cron_ever_comes(const myr_cron *cron)
{
    static const int longest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (!cron->any_day && !cron->any_weekday) return true; /* joined by "or": a day of the week comes */
    for (int month = 1; month <= 12; month++) {
        if ((cron->months >> month & 1) == 0) continue;
        if ((cron->days & (cron_bits(1, longest[month - 1], 1) | CRON_LAST_DAY)) != 0) return true;
    }
    return false;
}

/* The next word between blanks or tabs; false at the end. */
static bool cron_word(myr_str *rest, myr_str *out)
{
    *rest = myr_str_trim(*rest);
    size_t size = 0;
    while (size < rest->size && rest->data[size] != ' ' && rest->data[size] != '\t')
        size++;
    *out = myr_str_make(rest->data, size);
    *rest = myr_str_make(rest->data + size, rest->size - size);
    return size > 0;
}

static myr_rc cron_read(myr_str text, myr_cron *out, myr_err *err)
{
    myr_str fields[CRON_FIELDS], rest = text, word;
    size_t count = 0;
    for (; cron_word(&rest, &word); count++) {
        if (count < CRON_FIELDS) fields[count] = word;
    }
    if (count != CRON_FIELDS) {
        MYR_FAIL(err, BAD_INPUT,
                 "%zu fields: write five (minute, hour, day of month, month, day of week), as in '30 2 * * MON-FRI'",
                 count);
    }
    uint64_t bits[CRON_FIELDS];
    bool is_wild[CRON_FIELDS];
    for (int i = 0; i < CRON_FIELDS; i++)
        MYR_TRY(cron_set(&cron_fields[i], fields[i], &bits[i], &is_wild[i], err));
    myr_cron cron = {
        .minutes = bits[CRON_MINUTE],
        .hours = (uint32_t)bits[CRON_HOUR],
        .days = bits[CRON_DAY],
        .months = (uint32_t)bits[CRON_MONTH],
        .weekdays = (uint32_t)((bits[CRON_WEEKDAY] | bits[CRON_WEEKDAY] >> 7) & 0x7f),
        .any_day = is_wild[CRON_DAY],
        .any_weekday = is_wild[CRON_WEEKDAY],
        .is_wild = is_wild[CRON_MINUTE] || is_wild[CRON_HOUR],
    };
    if (!cron_ever_comes(&cron)) {
        MYR_FAIL(err, BAD_INPUT,
                 "day of month '" MYR_STR_FMT "', month '" MYR_STR_FMT
                 "': no such day ever comes: months have 29 to 31",
                 MYR_STR_ARG(fields[CRON_DAY]), MYR_STR_ARG(fields[CRON_MONTH]));
    }
    *out = cron;
    return MYR_OK;
}

myr_rc myr_cron_parse(myr_str text, myr_cron *out, myr_err *err)
{
    myr_str words = myr_str_trim(text.data != NULL ? text : myr_str_of(""));
    if (words.size > MYR_CRON_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "cron: %zu bytes: at most %d", words.size, MYR_CRON_BYTES_MAX);
    }
    if (memchr(words.data, '\0', words.size) != NULL) MYR_FAIL(err, BAD_INPUT, "cron: a NUL byte stands in it");
    for (size_t i = 0; i < MYR_COUNT_OF(cron_words); i++) {
        if (words.size == strlen(cron_words[i].name) && strncasecmp(words.data, cron_words[i].name, words.size) == 0)
            return cron_read(myr_str_of(cron_words[i].means), out, err);
    }
    if (words.size > 0 && words.data[0] == '@') {
        MYR_FAIL(err, BAD_INPUT,
                 "cron '" MYR_STR_FMT "': @yearly, @monthly, @weekly, @daily and @hourly are known, or five fields",
                 MYR_STR_ARG(words));
    }
    myr_rc rc = cron_read(words, out, err);
    return rc == MYR_OK ? MYR_OK : myr_err_prefix(err, rc, "cron '" MYR_STR_FMT "': ", MYR_STR_ARG(words));
}

bool myr_cron_has_day(const myr_cron *cron, int64_t day)
{
    int year, month, day_of_month, next_year, next_month, next_day;
    myr_civil_of_day(day, &year, &month, &day_of_month);
    if ((cron->months >> month & 1) == 0) return false;
    int weekday = (int)(((day + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    myr_civil_of_day(day + 1, &next_year, &next_month, &next_day);
    uint64_t bits = 1ULL << day_of_month | (next_day == 1 ? CRON_LAST_DAY : 0);
    bool is_day = (cron->days & bits) != 0, is_weekday = (cron->weekdays >> weekday & 1) != 0;
    return cron->any_day || cron->any_weekday ? is_day && is_weekday : is_day || is_weekday;
}
