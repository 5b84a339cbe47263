/*
 * What a person asked of an import beyond the file (rounds, features of categories), as the registry keeps it with the
 * version: a line "name=value" each, so that a release reads the artifact as the import did.
 */
#include <string.h>

#include "fleet/import.h"

static void options_put_number(myr_buf *out, const char *name, uint32_t value)
{
    if (value > 0) myr_buf_printf(out, "%s%s=%u", out->size > 0 ? "\n" : "", name, value);
}

myr_rc myr_fleet_options_format(const myr_fleet_item *item, myr_buf *out, myr_err *err)
{
    myr_buf_clear(out);
    options_put_number(out, "first_iteration", item->first_iteration);
    options_put_number(out, "iterations", item->iterations);
    options_put_number(out, "best_iteration", item->best_iteration);
    for (uint32_t i = 0; i < item->category_feature_count; i++) {
        const char *name = item->category_features[i];
        if (strchr(name, '\n') != NULL) {
            MYR_FAIL(err, BAD_INPUT, "category feature %u has a line end in its name", i);
        }
        myr_buf_printf(out, "%scategory=%s", out->size > 0 ? "\n" : "", name);
    }
    return myr_buf_check(out, err);
}

static myr_rc options_read_line(myr_str line, myr_arena *arena, myr_import_opts *out, const char **names, myr_err *err)
{
    myr_str name = {0};
    myr_str value = line;
    uint64_t number = 0;
    if (!myr_str_split(&value, '=', &name) || value.data == NULL)
        MYR_FAIL(err, BAD_FORMAT, "registry: import option \"%.*s\" has no value", MYR_STR_ARG(line));
    if (myr_str_is(name, "category")) {
        names[out->category_feature_count] = myr_arena_strndup(arena, value.data, value.size);
        if (names[out->category_feature_count] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for import options");
        out->category_feature_count++;
        return MYR_OK;
    }
    if (!myr_parse_uint64(value, &number) || number > UINT32_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "registry: import option \"%.*s\" is not a number", MYR_STR_ARG(line));
    }
    if (myr_str_is(name, "first_iteration")) {
        out->first_iteration = (uint32_t)number;
    } else if (myr_str_is(name, "iterations")) {
        out->iterations = (uint32_t)number;
    } else if (myr_str_is(name, "best_iteration")) {
        out->best_iteration = number != 0;
    } else {
        MYR_FAIL(err, UNSUPPORTED, "registry: import option \"%.*s\" is not known: use a newer program",
                 MYR_STR_ARG(name));
    }
    return MYR_OK;
}

myr_rc myr_fleet_options_parse(const char *text, myr_arena *arena, myr_import_opts *out, myr_err *err)
{
    size_t lines = 1;
    for (const char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    const char **names = myr_arena_calloc(arena, lines, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for import options");
    out->category_features = names;
    myr_str rest = myr_str_of(text);
    myr_str line;
    while (text[0] != '\0' && myr_str_split(&rest, '\n', &line)) {
        MYR_TRY(options_read_line(line, arena, out, names, err));
    }
    return MYR_OK;
}
