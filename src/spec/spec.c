/* Loading a spec, and saying where in it something is wrong. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "spec/internal.h"

/* A tree never needs more than this many bytes for each byte of a file within MYR_SPEC_BYTES_MAX. */
#define SPEC_ARENA_BYTES_MAX (64ULL << 20)

myr_rc myr_spec_parse(const char *name, const char *text, size_t size_bytes, myr_spec **out, myr_err *err)
{
    if (size_bytes > MYR_SPEC_BYTES_MAX) MYR_FAIL(err, TOO_LARGE, "%s: larger than %d bytes", name, MYR_SPEC_BYTES_MAX);
    myr_arena *arena = myr_arena_new(SPEC_ARENA_BYTES_MAX);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", name);
    myr_spec *spec = myr_arena_calloc(arena, 1, sizeof *spec);
    if (spec != NULL) {
        spec->arena = arena;
        spec->name = myr_arena_strndup(arena, name, strlen(name));
    }
    if (spec == NULL || spec->name == NULL) {
        myr_arena_free(arena);
        MYR_FAIL(err, NO_MEMORY, "%s: out of memory", name);
    }
    myr_rc rc = myr_spec_read(spec, text, size_bytes, err);
    if (rc != MYR_OK) {
        myr_arena_free(arena);
        return rc;
    }
    *out = spec;
    return MYR_OK;
}

myr_rc myr_spec_load(const char *path, myr_spec **out, myr_err *err)
{
    char *text = NULL;
    size_t size_bytes = 0;
    MYR_TRY(myr_file_read(path, MYR_SPEC_BYTES_MAX, &text, &size_bytes, err));
    myr_rc rc = myr_spec_parse(path, text, size_bytes, out, err);
    myr_free(text);
    return rc;
}

void myr_spec_free(myr_spec *spec)
{
    if (spec == NULL) return;
    myr_arena_free(spec->arena); /* the spec itself lives in it */
}

const myr_spec_node *myr_spec_root(const myr_spec *spec)
{
    return spec->root;
}
const char *myr_spec_name(const myr_spec *spec)
{
    return spec->name;
}

myr_rc myr_spec_fail(const myr_spec *spec, const myr_spec_node *node, myr_err *err, const char *fmt, ...)
{
    char message[MYR_ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    MYR_FAIL(err, BAD_INPUT, "%s:%d:%d: %s", spec->name, node->line, node->column, message);
}
