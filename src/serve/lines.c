/* NDJSON: a JSON object on each line. Empty lines count as lines and are no rows. */
#include "serve/internal.h"

#include <string.h>

bool myr_serve_next_line(myr_str *rest, size_t *line, myr_str *out)
{
    while (rest->size > 0) {
        const char *end = memchr(rest->data, '\n', rest->size);
        size_t size = end != NULL ? (size_t)(end - rest->data) : rest->size;
        myr_str found = myr_str_trim(myr_str_make(rest->data, size));
        size_t used = end != NULL ? size + 1 : size;
        *rest = myr_str_make(rest->data + used, rest->size - used);
        ++*line;
        if (found.size == 0) continue;
        *out = found;
        return true;
    }
    return false;
}

myr_rc myr_serve_put_line(serve_thread *thread, myr_arena *arena, myr_rows_build *build, size_t row_idx, size_t line,
                          myr_str text, myr_err *err)
{
    yyjson_val *object;
    myr_rc rc = myr_serve_json_read(thread, arena, text, &object, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "line %zu: ", line);
    myr_rows_label(build, "line", line);
    return myr_rows_put_object(build, row_idx, object, err);
}

size_t myr_serve_count_lines(myr_str text)
{
    size_t count = 0, line = 0;
    myr_str found;
    while (myr_serve_next_line(&text, &line, &found))
        count++;
    return count;
}

myr_rc myr_serve_decode_lines(serve_thread *thread, myr_arena *arena, const myr_fleet *fleet, myr_str text,
                              bool ignore_unknown, myr_score_rows *out, myr_err *err)
{
    myr_rows_build *build;
    size_t count = myr_serve_count_lines(text), line = 0;
    myr_str found;
    if (count > SERVE_ROWS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%zu rows, the most in one request is %d", count, SERVE_ROWS_MAX);
    }
    MYR_TRY(myr_rows_begin(fleet, count, ignore_unknown, arena, &build, err));
    for (size_t row = 0; row < count; row++) {
        MYR_ASSERT(myr_serve_next_line(&text, &line, &found));
        MYR_TRY(myr_serve_put_line(thread, arena, build, row, line, found, err));
    }
    myr_rows_end(build, count, out);
    return MYR_OK;
}
