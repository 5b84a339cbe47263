/*
 * Memory for nghttp2. Its objects are small, many and short-lived (a stream, a header, a frame to be sent), and all of
 * a connection live on one thread: blocks are kept by their loop in lists by size, so a warm call takes nothing from
 * the heap. What one connection holds is capped; nghttp2 then gives up the connection.
 */
#include <string.h>

#include "net/rpc_inside.h"

#define POOL_BLOCK_BYTES_MIN 32u
#define POOL_SPARE_BYTES_MAX ((size_t)16 << 20) /* of a loop */

/* In front of each block. */
typedef struct pool_head {
    size_t bytes;   /* of the block with its head: what the connection is charged */
    uint32_t class; /* RPC_POOL_CLASSES: a block of its own */
} pool_head;

_Static_assert(sizeof(pool_head) == 16, "blocks stay aligned");

static void *memory_alloc(size_t size, void *ctx)
{
    rpc_memory *memory = ctx;
    if (size > SIZE_MAX / 2) return NULL;
    size_t bytes = POOL_BLOCK_BYTES_MIN, wanted = size + sizeof(pool_head);
    uint32_t class = 0;
    while (bytes < wanted && class < RPC_POOL_CLASSES) {
        bytes *= 2;
        class ++;
    }
    if (class == RPC_POOL_CLASSES) bytes = wanted;
    if (bytes > memory->cap_bytes - memory->used_bytes) return NULL;
    pool_head *head = class < RPC_POOL_CLASSES ? memory->pool->spares[class] : NULL;
    if (head != NULL) {
        memcpy(&memory->pool->spares[class], head + 1, sizeof(void *));
        memory->pool->spare_bytes -= bytes;
    } else {
        head = myr_alloc(bytes);
        if (head == NULL) return NULL;
    }
    *head = (pool_head){bytes, class};
    memory->used_bytes += bytes;
    return head + 1;
}

static void memory_free(void *block, void *ctx)
{
    rpc_memory *memory = ctx;
    if (block == NULL) return;
    pool_head *head = (pool_head *)block - 1;
    rpc_pool *pool = memory->pool;
    MYR_ASSERT(memory->used_bytes >= head->bytes && head->class <= RPC_POOL_CLASSES);
    memory->used_bytes -= head->bytes;
    if (head->class == RPC_POOL_CLASSES || pool->spare_bytes + head->bytes > POOL_SPARE_BYTES_MAX) {
        myr_free(head);
        return;
    }
    pool->spare_bytes += head->bytes;
    memcpy(block, &pool->spares[head->class], sizeof(void *));
    pool->spares[head->class] = head;
}

static void *memory_calloc(size_t count, size_t size, void *ctx)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    void *block = memory_alloc(bytes, ctx);
    if (block != NULL) memset(block, 0, bytes);
    return block;
}

static void *memory_realloc(void *block, size_t size, void *ctx)
{
    if (block == NULL) return memory_alloc(size, ctx);
    size_t room = ((pool_head *)block - 1)->bytes - sizeof(pool_head);
    if (size <= room) return block;
    void *grown = memory_alloc(size, ctx);
    if (grown == NULL) return NULL;
    memcpy(grown, block, room);
    memory_free(block, ctx);
    return grown;
}

void myr_rpc_memory_init(rpc_memory *memory, rpc_pool *pool, size_t cap_bytes)
{
    *memory = (rpc_memory){.pool = pool,
                           .cap_bytes = cap_bytes,
                           .mem = {.mem_user_data = memory,
                                   .malloc = memory_alloc,
                                   .free = memory_free,
                                   .calloc = memory_calloc,
                                   .realloc = memory_realloc}};
}

void myr_rpc_pool_fini(rpc_pool *pool)
{
    for (size_t i = 0; i < RPC_POOL_CLASSES; i++) {
        while (pool->spares[i] != NULL) {
            pool_head *head = pool->spares[i];
            memcpy(&pool->spares[i], head + 1, sizeof(void *));
            myr_free(head);
        }
    }
    pool->spare_bytes = 0;
}
