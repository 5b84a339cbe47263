/* yyjson's allocator over an arena: nothing is freed one by one, the reset of the arena frees all at once. */
#include "base/arena.h"

#include <yyjson.h>

#include "base/err.h"

static void *json_arena_malloc(void *ctx, size_t size_bytes)
{
    return myr_arena_alloc(ctx, size_bytes);
}

static void *json_arena_realloc(void *ctx, void *block, size_t old_bytes, size_t new_bytes)
{
    return myr_arena_realloc(ctx, block, old_bytes, new_bytes);
}

static void json_arena_free(void *ctx, void *block)
{
    (void)ctx;
    (void)block;
}

void myr_arena_yyjson(myr_arena *arena, struct yyjson_alc *out)
{
    MYR_ASSERT(arena != NULL);
    *out = (yyjson_alc){json_arena_malloc, json_arena_realloc, json_arena_free, arena};
}
