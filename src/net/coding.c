/*
 * Compressed bodies (zlib): a request's is expanded into its arena, never past the limit that holds for any body; an
 * answer's is compressed for a client that asks. zlib's own memory comes from the arena too, so a warm request takes
 * none of the heap.
 */
#include "net/internal.h"

#include <string.h>
#include <strings.h>

#define ZLIB_CONST
#include <zlib.h>

#define CODING_ROOM_FIRST   ((size_t)16384)
#define CODING_ANSWER_MIN   1024 /* smaller answers are sent as they are */
#define CODING_WINDOW_BITS  13   /* 8 KiB: zlib then takes 64 KiB for an answer, which a request may keep */
#define CODING_MEMORY_LEVEL 6
#define CODING_GZIP         16 /* added to the bits: gzip's frame, not zlib's */

typedef enum coding { CODING_NONE, CODING_OF_GZIP, CODING_OF_ZLIB } coding;

static void *coding_alloc(void *ctx, unsigned count, unsigned bytes)
{
    return myr_arena_calloc(ctx, count, bytes);
}

static void coding_free(void *ctx, void *block)
{
    (void)ctx;
    (void)block;
}

static coding coding_of(myr_str name)
{
    static const struct {
        const char *name;
        coding coding;
    } names[] = {{"gzip", CODING_OF_GZIP}, {"x-gzip", CODING_OF_GZIP}, {"deflate", CODING_OF_ZLIB}};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        if (name.size == strlen(names[i].name) && strncasecmp(name.data, names[i].name, name.size) == 0)
            return names[i].coding;
    }
    return CODING_NONE;
}

/* ---- requests ---- */

bool myr_req_is_encoded(myr_req *req)
{
    const char *name = myr_req_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING);
    return !req->is_decoded && name != NULL && strcasecmp(name, "identity") != 0;
}

static myr_rc coding_fail(const char *name, const z_stream *stream, int rc, myr_err *err)
{
    if (rc == Z_MEM_ERROR) MYR_FAIL(err, NO_MEMORY, "out of memory for the request body");
    if (rc == Z_STREAM_END) MYR_FAIL(err, BAD_INPUT, "the request body goes on after its %s ends", name);
    if (rc == Z_OK || rc == Z_BUF_ERROR) MYR_FAIL(err, BAD_INPUT, "the request body ends before its %s does", name);
    MYR_FAIL(err, BAD_INPUT, "the request body is not %s: byte %lu: %s", name, stream->total_in,
             stream->msg != NULL ? stream->msg : "it needs a dictionary");
}

/* Expand all of the stream's input; room for a NUL behind it. The limit is a body's. */
static myr_rc coding_expand(myr_req *req, const char *name, z_stream *stream, myr_err *err)
{
    size_t limit = (size_t)req->server->opts.body_bytes_max, room = 0;
    char *out = NULL;
    int rc = Z_OK;
    while (rc == Z_OK || (rc == Z_BUF_ERROR && stream->avail_out == 0)) {
        if (stream->avail_out == 0) {
            if (room == limit + 1) {
                MYR_FAIL(err, TOO_LARGE, "the request body expands to more than the limit of %zu bytes", limit);
            }
            size_t next = room == 0 ? CODING_ROOM_FIRST : room * 2;
            if (next > limit + 1) next = limit + 1;
            char *grown = myr_arena_realloc(req->arena, out, room, next);
            if (grown == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the request body");
            out = grown;
            stream->next_out = (Bytef *)out + room;
            stream->avail_out = (uInt)(next - room);
            room = next;
        }
        rc = inflate(stream, Z_NO_FLUSH);
    }
    if (rc != Z_STREAM_END || stream->avail_in > 0) return coding_fail(name, stream, rc, err);
    MYR_ASSERT(stream->total_out <= room);
    if (stream->total_out > limit) {
        MYR_FAIL(err, TOO_LARGE, "the request body expands to more than the limit of %zu bytes", limit);
    }
    req->body = out;
    req->body_bytes = stream->total_out;
    req->body_room = room;
    return MYR_OK;
}

myr_rc myr_req_decode_body(myr_req *req, myr_err *err)
{
    if (!myr_req_is_encoded(req)) return MYR_OK;
    const char *name = myr_req_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING);
    coding found = coding_of(myr_str_trim(myr_str_of(name)));
    if (found == CODING_NONE) {
        MYR_FAIL(err, UNSUPPORTED, "Content-Encoding %s is not supported: send gzip, deflate, or the body as it is",
                 name);
    }
    myr_str body = myr_req_body(req);
    MYR_ASSERT(body.size <= UINT32_MAX);
    z_stream stream = {.zalloc = coding_alloc,
                       .zfree = coding_free,
                       .opaque = req->arena,
                       .next_in = (const Bytef *)body.data,
                       .avail_in = (uInt)body.size};
    int rc = inflateInit2(&stream, MAX_WBITS + (found == CODING_OF_GZIP ? CODING_GZIP : 0));
    if (rc != Z_OK) MYR_FAIL(err, NO_MEMORY, "out of memory for the request body");
    MYR_TRY(coding_expand(req, name, &stream, err)); /* nothing to end: all of it is the arena's */
    req->is_decoded = true;
    return MYR_OK;
}

/* ---- answers ---- */

/* One part of Accept-Encoding, "gzip;q=0.5": a weight of zero says no. */
static coding coding_wanted(myr_str part)
{
    myr_str rest = part, name, weight;
    double number;
    if (!myr_str_split(&rest, ';', &name)) return CODING_NONE;
    while (myr_str_split(&rest, ';', &weight)) {
        weight = myr_str_trim(weight);
        if (weight.size < 2 || (weight.data[0] != 'q' && weight.data[0] != 'Q') || weight.data[1] != '=') continue;
        if (!myr_parse_double(myr_str_make(weight.data + 2, weight.size - 2), &number) || number <= 0)
            return CODING_NONE;
    }
    return coding_of(myr_str_trim(name));
}

/* gzip before deflate, whatever the order. */
static coding coding_choose(myr_req *req)
{
    const char *text = myr_req_header(req, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    coding chosen = CODING_NONE;
    myr_str rest = myr_str_of(text), part;
    while (text != NULL && myr_str_split(&rest, ',', &part)) {
        coding wanted = coding_wanted(part);
        if (wanted != CODING_NONE && chosen != CODING_OF_GZIP) chosen = wanted;
    }
    return chosen;
}

bool myr_req_encode_reply(myr_req *req, const char *body, size_t body_bytes, const char **out_body, size_t *out_bytes)
{
    if (body_bytes < CODING_ANSWER_MIN || body_bytes > UINT32_MAX) return false;
    coding chosen = coding_choose(req);
    if (chosen == CODING_NONE) return false;
    z_stream stream = {.zalloc = coding_alloc, .zfree = coding_free, .opaque = req->arena};
    int bits = CODING_WINDOW_BITS + (chosen == CODING_OF_GZIP ? CODING_GZIP : 0);
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, bits, CODING_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    char *out = myr_arena_alloc(req->arena, body_bytes);
    if (out == NULL) return false;
    stream.next_in = (const Bytef *)body;
    stream.avail_in = (uInt)body_bytes;
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)body_bytes;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) return false; /* no smaller than it is */
    MYR_ASSERT(stream.total_out <= body_bytes);
    myr_req_add_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING, chosen == CODING_OF_GZIP ? "gzip" : "deflate");
    *out_body = out;
    *out_bytes = stream.total_out;
    return true;
}
