/*
 * Inputs in object stores: listed, and brought into the run's directory under names that say the same of their rows:
 * a `store=7/` of a key is a `store=7/` of a path. An object's identity is its ETag and size.
 */
#include <string.h>
#include <sys/statvfs.h>

#include "batch/source.h"
#include "object/object.h"

typedef struct object_input {
    batch *b;
    const char *item; /* the URI, or the pattern of them */
    const char *key;
    myr_object *objects;
    myr_object_move *moves;
    size_t count;
} object_input;

static bool object_takes(const char *item)
{
    return myr_object_is_uri(item);
}

/* A key as a path: what no directory may be called gets another spelling, which is that of no other key we met. */
static myr_rc object_path(const object_input *input, const char *dir, const char *key, const char **out, myr_err *err)
{
    MYR_AUTO(myr_buf) path = {0};
    myr_str rest = myr_str_of(key), part;
    myr_buf_puts(&path, dir);
    while (myr_str_split(&rest, '/', &part)) {
        myr_buf_putc(&path, '/');
        if (part.size > 255)
            MYR_FAIL(err, BAD_INPUT, "%s: a part of the key '%.80s' is longer than 255 bytes", input->item, key);
        if (part.size == 0 || myr_str_is(part, ".") || myr_str_is(part, ".."))
            myr_buf_printf(&path, "%%%zu", part.size); /* %0, %1, %2: no encoded byte */
        else
            myr_buf_append(&path, part.data, part.size);
    }
    MYR_TRY(myr_buf_check(&path, err));
    if (path.size >= MYR_PATH_BYTES_MAX) MYR_FAIL(err, BAD_INPUT, "%s: the key '%.80s' is too long", input->item, key);
    *out = myr_arena_strndup(input->b->arena, path.data, path.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu objects", input->count);
    return MYR_OK;
}

/* Said before an hour of downloads rather than after it. */
static myr_rc object_check_space(const object_input *input, const char *dir, myr_err *err)
{
    struct statvfs disk;
    int64_t bytes = 0;
    char wanted[32], left[32];
    for (size_t i = 0; i < input->count; i++)
        bytes += input->objects[i].bytes;
    if (statvfs(dir, &disk) != 0) return MYR_OK; /* writing will tell */
    int64_t free_bytes = (int64_t)(disk.f_bavail * disk.f_frsize);
    if (bytes <= free_bytes) return MYR_OK;
    MYR_FAIL(err, NO_SPACE, "%s: its objects have %s, %.120s has room for %s", input->item,
             myr_format_bytes(bytes, wanted, sizeof wanted), dir, myr_format_bytes(free_bytes, left, sizeof left));
}

static myr_rc object_bring(object_input *input, myr_err *err)
{
    const char *dir = NULL;
    size_t root_bytes = strlen(input->item) - strlen(input->key);
    MYR_TRY(myr_batch_source_dir(input->b, &dir, err));
    MYR_TRY(object_check_space(input, dir, err));
    input->moves = myr_arena_calloc(input->b->arena, input->count, sizeof *input->moves);
    const char *name = myr_arena_strndup(input->b->arena, input->item, root_bytes);
    if (input->moves == NULL || name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu objects", input->count);
    myr_str bucket = myr_str_of(strstr(name, "://") + 3);
    if (myr_str_ends_with(bucket, "/")) bucket.size--;
    dir = myr_arena_printf(input->b->arena, "%s/%.*s", dir, (int)bucket.size, bucket.data);
    if (dir == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    for (size_t i = 0; i < input->count; i++) {
        input->moves[i].object = input->objects[i];
        MYR_TRY(object_path(input, dir, input->objects[i].key, &input->moves[i].path, err));
    }
    char cache[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(cache, sizeof cache, input->b->workspace->root, "cache/objects", err));
    return myr_object_get_all(input->item, cache, input->moves, input->count, err);
}

static myr_rc object_add(const object_input *input, const myr_object_move *move, myr_err *err)
{
    const myr_object *object = &move->object;
    size_t root_bytes = strlen(input->item) - strlen(input->key);
    MYR_AUTO(myr_buf) name = {0};
    MYR_AUTO(myr_buf) identity = {0};
    myr_buf_append(&name, input->item, root_bytes);
    if (name.data[name.size - 1] != '/') myr_buf_putc(&name, '/');
    myr_buf_puts(&name, object->key);
    myr_buf_printf(&identity, "%s %lld", object->etag, (long long)object->bytes);
    if (object->etag[0] == '\0') myr_buf_printf(&identity, " %lld", (long long)object->modified_ms);
    MYR_TRY(myr_buf_check(&name, err));
    MYR_TRY(myr_buf_check(&identity, err));
    return myr_batch_source_add(input->b, move->path, name.data, identity.data, err);
}

static myr_rc object_find(batch *b, const char *item, myr_err *err)
{
    MYR_AUTO(myr_object_client_ptr) client = NULL;
    object_input input = {.b = b, .item = item};
    MYR_TRY(myr_object_key(item, &input.key, err));
    MYR_TRY(myr_object_open(item, NULL, &client, err));
    MYR_TRY(myr_object_find(client, input.key, b->arena, &input.objects, &input.count, err));
    MYR_TRY(object_bring(&input, err));
    for (size_t i = 0; i < input.count; i++)
        MYR_TRY(object_add(&input, &input.moves[i], err));
    return MYR_OK;
}

const batch_source myr_batch_source_object = {.takes = object_takes, .find = object_find};
