/*
 * Objects that were read before: files named by the hash of what tells one object from another, and a second name for
 * each reader. What was used longest ago goes first when there is too much.
 */
#include <stdlib.h>
#include <string.h>

#include "base/link.h"
#include "object/internal.h"

typedef struct cache_file {
    const char *name;
    int64_t used_ms, bytes;
} cache_file;

/* An object without an ETag may change and look the same. */
static bool cache_path(const char *dir, const char *root, const myr_object *object, char out[MYR_PATH_BYTES_MAX])
{
    char hex[MYR_SHA256_HEX_BYTES];
    myr_sha256 sha;
    if (object->etag[0] == '\0') return false;
    myr_sha256_init(&sha);
    const char *const parts[] = {root, object->key, object->etag};
    for (size_t i = 0; i < MYR_COUNT_OF(parts); i++)
        myr_sha256_add(&sha, parts[i], strlen(parts[i]) + 1);
    myr_sha256_add(&sha, &object->bytes, sizeof object->bytes);
    myr_sha256_hex(&sha, hex);
    return myr_path_join(out, MYR_PATH_BYTES_MAX, dir, hex, NULL) == MYR_OK;
}

bool myr_object_cache_take(const char *dir, const char *root, const myr_object *object, const char *path)
{
    char cached[MYR_PATH_BYTES_MAX];
    int64_t used_ms = 0, bytes = 0;
    if (!cache_path(dir, root, object, cached) || !myr_io_exists(cached)) return false;
    if (myr_io_used(cached, &used_ms, &bytes, NULL) != MYR_OK || bytes != object->bytes) return false;
    if (myr_io_link(cached, path, NULL) != MYR_OK) return false;
    MYR_IGNORE(myr_io_set_used(cached, myr_clock_unix_ms(), NULL)); /* it goes a little earlier then */
    return true;
}

void myr_object_cache_put(const char *dir, const char *root, const myr_object *object, const char *path)
{
    char cached[MYR_PATH_BYTES_MAX];
    if (!cache_path(dir, root, object, cached)) return;
    MYR_IGNORE(myr_io_link(path, cached, NULL)); /* it is read again then */
}

static int cache_order(const void *a, const void *b)
{
    int64_t x = ((const cache_file *)a)->used_ms, y = ((const cache_file *)b)->used_ms;
    return x < y ? -1 : x > y;
}

myr_rc myr_object_cache_prune(const char *dir, int64_t bytes_max, myr_err *err)
{
    MYR_AUTO(myr_file_names) names = {0};
    int64_t bytes = 0;
    size_t count = 0;
    if (!myr_io_exists(dir)) return MYR_OK;
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    MYR_AUTO(myr_mem) memory = myr_calloc(names.count + 1, sizeof(cache_file));
    cache_file *files = memory;
    if (files == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a cache of %zu objects", names.count);
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        cache_file *file = &files[count];
        file->name = names.items[i];
        if (myr_path_join(path, sizeof path, dir, file->name, NULL) != MYR_OK ||
            myr_io_used(path, &file->used_ms, &file->bytes, NULL) != MYR_OK)
            continue; /* somebody else has removed it */
        bytes += file->bytes;
        count++;
    }
    qsort(files, count, sizeof *files, cache_order);
    for (size_t i = 0; i < count && bytes > bytes_max; i++) {
        char path[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(path, sizeof path, dir, files[i].name, err));
        MYR_IGNORE(myr_io_unlink(path, NULL)); /* likewise */
        bytes -= files[i].bytes;
    }
    return MYR_OK;
}
