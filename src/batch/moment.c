/*
 * `{date}` and the like in the paths of a job file: the time that the run is for, as the clock of the job's zone shows
 * it, and the run itself. What is filled in is digits and a few signs, so that it can't lead out of a directory.
 */
#include <string.h>

#include "batch/internal.h"

/* Where a part stands in 2026-11-30T02:30:00+01:00. */
static const struct {
    const char *name;
    size_t at, size;
} moment_parts[] = {{"date", 0, 10}, {"year", 0, 4},    {"month", 5, 2},  {"day", 8, 2},
                    {"hour", 11, 2}, {"minute", 14, 2}, {"second", 17, 2}};

static const char *const moment_names[] = {"date", "time",   "year",   "month", "day",
                                           "hour", "minute", "second", "run",   NULL};

/* Without what a name of a file had better not hold: 02:30 of the clock is 0230. */
static bool moment_put(const myr_batch_moment *moment, myr_str name, myr_buf *out)
{
    for (size_t i = 0; i < MYR_COUNT_OF(moment_parts); i++) {
        if (!myr_str_is(name, moment_parts[i].name)) continue;
        myr_buf_append(out, moment->time + moment_parts[i].at, moment_parts[i].size);
        return true;
    }
    if (myr_str_is(name, "time")) {
        myr_buf_append(out, moment->time + 11, 2);
        myr_buf_append(out, moment->time + 14, 2);
    } else if (myr_str_is(name, "run")) {
        myr_buf_puts(out, moment->run);
    } else {
        return false;
    }
    return true;
}

static myr_rc moment_unknown(myr_str name, myr_err *err)
{
    char text[64];
    size_t size = name.size < sizeof text ? name.size : sizeof text - 1;
    memcpy(text, name.data, size);
    text[size] = '\0';
    const char *nearest = myr_nearest(text, moment_names);
    if (nearest != NULL) MYR_FAIL(err, BAD_INPUT, "unknown place '{%s}': did you mean '{%s}'?", text, nearest);
    MYR_FAIL(err, BAD_INPUT,
             "unknown place '{%s}': {date}, {time}, {year}, {month}, {day}, {hour}, {minute}, {second} and {run} are "
             "known; a brace is written {{",
             text);
}

myr_rc myr_batch_moment_fill(const myr_batch_moment *moment, const char *text, myr_buf *out, myr_err *err)
{
    MYR_ASSERT(strlen(moment->time) >= 19);
    for (const char *at = text; *at != '\0';) {
        if (at[0] != '{' || at[1] == '{') {
            at += at[0] == '{' ? 1 : 0;
            myr_buf_putc(out, *at++);
            continue;
        }
        const char *end = strchr(at, '}');
        if (end == NULL) MYR_FAIL(err, BAD_INPUT, "'%.60s' has no '}'; a brace is written {{", at);
        myr_str name = myr_str_make(at + 1, (size_t)(end - at - 1));
        if (!moment_put(moment, name, out)) return moment_unknown(name, err);
        at = end + 1;
    }
    return myr_buf_check(out, err);
}
