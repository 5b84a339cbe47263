/*
 * What stands in the request line: the path, cut at '/' before anything is decoded, so that an escaped slash stays
 * inside its part; each part is decoded once. The query is looked up by name.
 */
#include "net/internal.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool myr_net_percent_decode(myr_str text, char *out, size_t *out_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '%') {
            if (text.size - i < 3) return false;
            int high = hex_digit(text.data[i + 1]), low = hex_digit(text.data[i + 2]);
            if (high < 0 || low < 0) return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0') return false;
        out[size++] = c;
    }
    *out_size = size;
    return true;
}

/* text: room for it and a NUL. */
static myr_rc target_part(myr_req *req, myr_str raw, char *text, myr_err *err)
{
    if (req->segment_count == MYR_HTTP_SEGMENTS_MAX) {
        MYR_FAIL(err, NOT_FOUND, "no such path: it has more than %d parts", MYR_HTTP_SEGMENTS_MAX);
    }
    size_t size = raw.size;
    if (raw.size > 0 && memchr(raw.data, '%', raw.size) == NULL) {
        memcpy(text, raw.data, raw.size);
    } else if (!myr_net_percent_decode(raw, text, &size)) {
        MYR_FAIL(err, BAD_INPUT,
                 "path part " MYR_STR_FMT " has a bad escape: %% needs two hexadecimal digits and %%00 is not"
                 " accepted",
                 MYR_STR_ARG(raw));
    }
    text[size] = '\0';
    myr_str part = myr_str_make(text, size);
    if (!myr_utf8_is_valid(part)) {
        MYR_FAIL(err, BAD_INPUT, "path part " MYR_STR_FMT " is not UTF-8 once decoded", MYR_STR_ARG(raw));
    }
    req->segments[req->segment_count++] = part;
    return MYR_OK;
}

myr_rc myr_net_target_parse(myr_req *req, const char *url, myr_err *err)
{
    MYR_ASSERT(req->segment_count == 0);
    if (url[0] != '/') MYR_FAIL(err, BAD_INPUT, "request target %s is not a path: it must begin with /", url);
    myr_str rest = myr_str_of(url + 1);
    if (rest.size > 0 && rest.data[rest.size - 1] == '/') rest.size--; /* one slash at the end changes nothing */
    if (rest.size == 0) return MYR_OK;
    char *text = myr_arena_alloc(req->arena, rest.size + 1); /* a part's NUL has the place of the slash after it */
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the path");
    for (;;) {
        const char *slash = memchr(rest.data, '/', rest.size);
        myr_str part = myr_str_make(rest.data, slash != NULL ? (size_t)(slash - rest.data) : rest.size);
        MYR_TRY(target_part(req, part, text, err));
        if (slash == NULL) return MYR_OK;
        text += part.size + 1;
        rest = myr_str_make(slash + 1, rest.size - part.size - 1);
    }
}

/* ---- query ---- */

typedef struct target_search {
    myr_req *req;
    const char *name;
    myr_str value;
    bool is_found;
} target_search;

static enum MHD_Result target_match(void *ctx, enum MHD_ValueKind kind, const char *key, size_t key_bytes,
                                    const char *value, size_t value_bytes)
{
    target_search *search = ctx;
    (void)kind;
    char *text = myr_arena_alloc(search->req->arena, key_bytes + value_bytes + 1);
    size_t size;
    if (text == NULL || !myr_net_percent_decode(myr_str_make(key, key_bytes), text, &size)) return MHD_YES;
    if (!myr_str_is(myr_str_make(text, size), search->name)) return MHD_YES;
    if (value == NULL) value_bytes = 0;
    if (!myr_net_percent_decode(myr_str_make(value != NULL ? value : "", value_bytes), text, &size)) return MHD_NO;
    search->value = myr_str_make(text, size);
    search->is_found = myr_utf8_is_valid(search->value);
    return MHD_NO; /* ends the walk */
}

bool myr_req_query(myr_req *req, const char *name, myr_str *out)
{
    target_search search = {.req = req, .name = name};
    if (!req->has_query) return false;
    MHD_get_connection_values_n(req->mhd, MHD_GET_ARGUMENT_KIND, target_match, &search);
    if (search.is_found) *out = search.value;
    return search.is_found;
}

typedef struct target_walk {
    myr_req *req;
    myr_rc (*use)(void *ctx, myr_str name, myr_str value, myr_err *err);
    void *ctx;
    myr_rc rc;
    myr_err *err;
} target_walk;

static myr_rc target_decode(myr_req *req, const char *raw, size_t raw_bytes, myr_str *out, myr_err *err)
{
    size_t size = 0;
    char *text = myr_arena_alloc(req->arena, raw_bytes + 1);
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the query");
    if (raw_bytes > 0 && !myr_net_percent_decode(myr_str_make(raw, raw_bytes), text, &size)) {
        MYR_FAIL(err, BAD_INPUT, "the query has a bad escape: %.*s", raw_bytes > 100 ? 100 : (int)raw_bytes, raw);
    }
    text[size] = '\0';
    *out = myr_str_make(text, size);
    if (!myr_utf8_is_valid(*out)) MYR_FAIL(err, BAD_INPUT, "the query is not UTF-8 once decoded");
    return MYR_OK;
}

static enum MHD_Result target_use(void *ctx, enum MHD_ValueKind kind, const char *key, size_t key_bytes,
                                  const char *value, size_t value_bytes)
{
    target_walk *walk = ctx;
    myr_str name, text;
    (void)kind;
    walk->rc = target_decode(walk->req, key, key_bytes, &name, walk->err);
    if (walk->rc == MYR_OK)
        walk->rc = target_decode(walk->req, value, value != NULL ? value_bytes : 0, &text, walk->err);
    if (walk->rc == MYR_OK) walk->rc = walk->use(walk->ctx, name, text, walk->err);
    return walk->rc == MYR_OK ? MHD_YES : MHD_NO;
}

myr_rc myr_req_each_query(myr_req *req, myr_rc (*use)(void *ctx, myr_str name, myr_str value, myr_err *err), void *ctx,
                          myr_err *err)
{
    target_walk walk = {.req = req, .use = use, .ctx = ctx, .err = err};
    MHD_get_connection_values_n(req->mhd, MHD_GET_ARGUMENT_KIND, target_use, &walk);
    return walk.rc;
}
