/*
 * Compressed bytes (zlib): expanded into an arena, never past a limit; compressed into one, never to more than there
 * was. zlib's own memory comes from the arena too, so a warm request takes none of the heap.
 */
#include "net/coding.h"

#include <string.h>
#include <strings.h>

#define ZLIB_CONST
#include <zlib.h>

#define CODING_ROOM_FIRST   ((size_t)16384)
#define CODING_WINDOW_BITS  13 /* 8 KiB: zlib then takes 64 KiB for an answer, which a request may keep */
#define CODING_MEMORY_LEVEL 6
#define CODING_GZIP         16 /* added to the bits: gzip's frame, not zlib's */

static void *coding_alloc(void *ctx, unsigned count, unsigned bytes)
{
    return myr_arena_calloc(ctx, count, bytes);
}

static void coding_free(void *ctx, void *block)
{
    (void)ctx;
    (void)block;
}

net_coding myr_net_coding_of(myr_str name)
{
    static const struct {
        const char *name;
        net_coding coding;
    } names[] = {{"gzip", NET_CODING_GZIP}, {"x-gzip", NET_CODING_GZIP}, {"deflate", NET_CODING_ZLIB}};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        if (name.size == strlen(names[i].name) && strncasecmp(name.data, names[i].name, name.size) == 0)
            return names[i].coding;
    }
    return NET_CODING_NONE;
}

const char *myr_net_coding_name(net_coding coding)
{
    return coding == NET_CODING_GZIP ? "gzip" : coding == NET_CODING_ZLIB ? "deflate" : "identity";
}

/* ---- expanding ---- */

/* What is expanded, for messages. */
typedef struct coding_job {
    myr_arena *arena;
    const char *what, *name;
    size_t limit;
} coding_job;

static myr_rc coding_fail(const coding_job *job, const z_stream *stream, int rc, myr_err *err)
{
    if (rc == Z_MEM_ERROR) MYR_FAIL(err, NO_MEMORY, "out of memory for %s", job->what);
    if (rc == Z_STREAM_END) MYR_FAIL(err, BAD_INPUT, "%s goes on after its %s ends", job->what, job->name);
    if (rc == Z_OK || rc == Z_BUF_ERROR) {
        MYR_FAIL(err, BAD_INPUT, "%s ends before its %s does", job->what, job->name);
    }
    MYR_FAIL(err, BAD_INPUT, "%s is not %s: byte %lu: %s", job->what, job->name, stream->total_in,
             stream->msg != NULL ? stream->msg : "it needs a dictionary");
}

static myr_rc coding_fail_limit(const coding_job *job, myr_err *err)
{
    MYR_FAIL(err, TOO_LARGE, "%s expands to more than the limit of %zu bytes", job->what, job->limit);
}

/* Expand all of the stream's input. The room grows to one past the limit, which shows what is more. */
static myr_rc coding_expand(const coding_job *job, z_stream *stream, char **out_text, myr_err *err)
{
    size_t room = 0;
    char *out = NULL;
    int rc = Z_OK;
    while (rc == Z_OK || (rc == Z_BUF_ERROR && stream->avail_out == 0)) {
        if (stream->avail_out == 0) {
            if (room == job->limit + 1) return coding_fail_limit(job, err);
            size_t next = room == 0 ? CODING_ROOM_FIRST : room * 2;
            if (next > job->limit + 1) next = job->limit + 1;
            char *grown = myr_arena_realloc(job->arena, out, room, next);
            if (grown == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %s", job->what);
            out = grown;
            stream->next_out = (Bytef *)out + room;
            stream->avail_out = (uInt)(next - room);
            room = next;
        }
        rc = inflate(stream, Z_NO_FLUSH);
    }
    if (rc != Z_STREAM_END || stream->avail_in > 0) return coding_fail(job, stream, rc, err);
    MYR_ASSERT(stream->total_out <= room);
    if (stream->total_out > job->limit) return coding_fail_limit(job, err);
    *out_text = out;
    return MYR_OK;
}

myr_rc myr_net_expand(myr_arena *arena, net_coding coding, const char *what, myr_str data, size_t limit, char **out,
                      size_t *out_bytes, myr_err *err)
{
    MYR_ASSERT(coding != NET_CODING_NONE && data.size <= UINT32_MAX && limit < UINT32_MAX);
    const coding_job job = {arena, what, myr_net_coding_name(coding), limit};
    z_stream stream = {.zalloc = coding_alloc,
                       .zfree = coding_free,
                       .opaque = arena,
                       .next_in = (const Bytef *)data.data,
                       .avail_in = (uInt)data.size};
    int rc = inflateInit2(&stream, MAX_WBITS + (coding == NET_CODING_GZIP ? CODING_GZIP : 0));
    if (rc != Z_OK) MYR_FAIL(err, NO_MEMORY, "out of memory for %s", what);
    MYR_TRY(coding_expand(&job, &stream, out, err)); /* nothing to end: all of it is the arena's */
    *out_bytes = stream.total_out;
    return MYR_OK;
}

/* ---- compressing ---- */

bool myr_net_compress(myr_arena *arena, net_coding coding, size_t head, myr_str data, char **out, size_t *out_bytes)
{
    MYR_ASSERT(coding != NET_CODING_NONE);
    if (data.size == 0 || data.size > UINT32_MAX) return false;
    z_stream stream = {.zalloc = coding_alloc, .zfree = coding_free, .opaque = arena};
    int bits = CODING_WINDOW_BITS + (coding == NET_CODING_GZIP ? CODING_GZIP : 0);
    if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, bits, CODING_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    char *text = myr_arena_alloc(arena, head + data.size);
    if (text == NULL) return false;
    stream.next_in = (const Bytef *)data.data;
    stream.avail_in = (uInt)data.size;
    stream.next_out = (Bytef *)text + head;
    stream.avail_out = (uInt)data.size;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) return false; /* no smaller than it is */
    MYR_ASSERT(stream.total_out <= data.size);
    *out = text;
    *out_bytes = stream.total_out;
    return true;
}
