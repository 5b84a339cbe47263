/*
 * An arena: a list of chunks in the order of their use. Those before and including `current` hold blocks, those after
 * it are empty and wait. The same calls after a reset meet the same chunks in the same order, so a warm arena allocates
 * nothing. When the cap is near, waiting chunks that do not fit are given back before an allocation is refused.
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define ARENA_HIDE(data, size) ASAN_POISON_MEMORY_REGION((data), (size))
#define ARENA_SHOW(data, size) ASAN_UNPOISON_MEMORY_REGION((data), (size))
#else
#define ARENA_HIDE(data, size) ((void)(data), (void)(size))
#define ARENA_SHOW(data, size) ((void)(data), (void)(size))
#endif

#define ARENA_ALIGNMENT_MAX   64
#define ARENA_ALIGNMENT       16
#define ARENA_CHUNK_BYTES_MIN ((size_t)4096)
#define ARENA_CHUNK_BYTES_MAX ((size_t)1 << 20) /* growth stops here; a larger block gets a chunk of its own */

typedef struct arena_chunk {
    struct arena_chunk *next;
    size_t room; /* bytes in data */
    size_t used;
    _Alignas(ARENA_ALIGNMENT_MAX) unsigned char data[];
} arena_chunk;

struct myr_arena {
    arena_chunk *first;
    arena_chunk *current;    /* NULL: nothing allocated since the reset */
    size_t cap_bytes;        /* 0 = none */
    size_t held_bytes;       /* room of all chunks */
    size_t full_chunk_bytes; /* used in the chunks before current */
    size_t next_chunk_bytes;
    bool is_full;
};

myr_arena *myr_arena_new(size_t cap_bytes)
{
    myr_arena *arena = myr_calloc(1, sizeof *arena);
    if (arena == NULL) return NULL;
    arena->cap_bytes = cap_bytes;
    arena->next_chunk_bytes = ARENA_CHUNK_BYTES_MIN;
    return arena;
}

/* Free the chunks from *link on. */
static void arena_free_chunks(myr_arena *arena, arena_chunk **link)
{
    arena_chunk *chunk = *link;
    *link = NULL;
    while (chunk != NULL) {
        arena_chunk *next = chunk->next;
        MYR_ASSERT(arena->held_bytes >= chunk->room);
        arena->held_bytes -= chunk->room;
        ARENA_SHOW(chunk->data, chunk->room);
        myr_free(chunk);
        chunk = next;
    }
}

void myr_arena_free(myr_arena *arena)
{
    if (arena == NULL) return;
    arena_free_chunks(arena, &arena->first);
    MYR_ASSERT(arena->held_bytes == 0);
    myr_free(arena);
}

/* Where the first waiting chunk hangs. */
static arena_chunk **arena_waiting(myr_arena *arena)
{
    return arena->current != NULL ? &arena->current->next : &arena->first;
}

/* Put a chunk right behind the current one and make it the current one. */
static void arena_enter(myr_arena *arena, arena_chunk *chunk)
{
    MYR_ASSERT(chunk->used == 0);
    arena_chunk **link = arena_waiting(arena);
    chunk->next = *link;
    *link = chunk;
    if (arena->current != NULL) arena->full_chunk_bytes += arena->current->used;
    arena->current = chunk;
}

/* Take the first waiting chunk that has room for size_bytes out of the list, or NULL. */
static arena_chunk *arena_take_waiting(myr_arena *arena, size_t size_bytes)
{
    for (arena_chunk **link = arena_waiting(arena); *link != NULL; link = &(*link)->next) {
        arena_chunk *chunk = *link;
        if (chunk->room >= size_bytes) {
            *link = chunk->next;
            return chunk;
        }
    }
    return NULL;
}

/* A new chunk with room for size_bytes, in no list yet; NULL when the cap or the memory does not allow it. */
static arena_chunk *arena_new_chunk(myr_arena *arena, size_t size_bytes)
{
    size_t room = arena->next_chunk_bytes > size_bytes ? arena->next_chunk_bytes : size_bytes;
    if (arena->cap_bytes > 0) {
        if (arena->cap_bytes - arena->held_bytes < size_bytes) arena_free_chunks(arena, arena_waiting(arena));
        MYR_ASSERT(arena->held_bytes <= arena->cap_bytes);
        size_t left = arena->cap_bytes - arena->held_bytes;
        if (left < size_bytes) {
            arena->is_full = true;
            return NULL;
        }
        if (room > left) room = left;
    }
    size_t total;
    if (__builtin_add_overflow(sizeof(arena_chunk), room, &total)) return NULL;
    arena_chunk *chunk = myr_alloc_aligned(ARENA_ALIGNMENT_MAX, total);
    if (chunk == NULL) return NULL;
    chunk->next = NULL;
    chunk->room = room;
    chunk->used = 0;
    ARENA_HIDE(chunk->data, chunk->room);
    arena->held_bytes += room;
    if (arena->next_chunk_bytes < ARENA_CHUNK_BYTES_MAX) arena->next_chunk_bytes *= 2;
    return chunk;
}

/* The block's place in the current chunk, or NULL if it does not fit there. */
static void *arena_bump(myr_arena *arena, size_t alignment, size_t size_bytes)
{
    arena_chunk *chunk = arena->current;
    if (chunk == NULL) return NULL;
    size_t start = (chunk->used + alignment - 1) & ~(alignment - 1);
    if (start > chunk->room || chunk->room - start < size_bytes) return NULL;
    chunk->used = start + size_bytes;
    ARENA_SHOW(chunk->data + start, size_bytes);
    return chunk->data + start;
}

void *myr_arena_alloc_aligned(myr_arena *arena, size_t alignment, size_t size_bytes)
{
    MYR_ASSERT(alignment > 0 && alignment <= ARENA_ALIGNMENT_MAX && (alignment & (alignment - 1)) == 0);
    if (size_bytes == 0) size_bytes = 1; /* so that each block has its own address */
    void *block = arena_bump(arena, alignment, size_bytes);
    if (block != NULL) return block;
    arena_chunk *chunk = arena_take_waiting(arena, size_bytes);
    if (chunk == NULL) chunk = arena_new_chunk(arena, size_bytes);
    if (chunk == NULL) return NULL;
    arena_enter(arena, chunk);
    block = arena_bump(arena, alignment, size_bytes);
    MYR_ASSERT(block != NULL); /* a chunk starts at the largest alignment */
    return block;
}

void *myr_arena_alloc(myr_arena *arena, size_t size_bytes)
{
    return myr_arena_alloc_aligned(arena, ARENA_ALIGNMENT, size_bytes);
}

void *myr_arena_calloc(myr_arena *arena, size_t count, size_t size_bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) {
        if (arena->cap_bytes > 0) arena->is_full = true; /* more than any cap */
        return NULL;
    }
    void *block = myr_arena_alloc(arena, total);
    if (block != NULL) memset(block, 0, total);
    return block;
}

/* Whether the block ends where the current chunk's used part ends. */
static bool arena_is_last(const myr_arena *arena, const void *block, size_t size_bytes)
{
    const arena_chunk *chunk = arena->current;
    if (chunk == NULL || size_bytes > chunk->used) return false;
    return (const unsigned char *)block == chunk->data + (chunk->used - size_bytes);
}

void *myr_arena_realloc(myr_arena *arena, void *block, size_t old_bytes, size_t new_bytes)
{
    if (block == NULL) return myr_arena_alloc(arena, new_bytes);
    if (old_bytes == 0) old_bytes = 1; /* as it was allocated */
    if (new_bytes == 0) new_bytes = 1;
    if (arena_is_last(arena, block, old_bytes)) {
        arena_chunk *chunk = arena->current;
        size_t start = chunk->used - old_bytes;
        if (chunk->room - start >= new_bytes) {
            chunk->used = start + new_bytes;
            ARENA_SHOW(chunk->data + start, new_bytes);
            ARENA_HIDE(chunk->data + chunk->used, chunk->room - chunk->used);
            return block;
        }
    }
    if (new_bytes <= old_bytes) return block;
    void *moved = myr_arena_alloc(arena, new_bytes);
    if (moved != NULL) memcpy(moved, block, old_bytes);
    return moved;
}

char *myr_arena_strndup(myr_arena *arena, const char *text, size_t size_bytes)
{
    MYR_ASSERT(text != NULL || size_bytes == 0);
    if (size_bytes == SIZE_MAX) return NULL;
    char *copy = myr_arena_alloc_aligned(arena, 1, size_bytes + 1);
    if (copy == NULL) return NULL;
    if (size_bytes > 0) memcpy(copy, text, size_bytes);
    copy[size_bytes] = '\0';
    return copy;
}

char *myr_arena_printf(myr_arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (wanted < 0) return NULL;
    char *text = myr_arena_alloc_aligned(arena, 1, (size_t)wanted + 1);
    if (text == NULL) return NULL;
    va_start(args, fmt);
    int written = vsnprintf(text, (size_t)wanted + 1, fmt, args);
    va_end(args);
    MYR_ASSERT(written == wanted);
    return text;
}

void myr_arena_reset(myr_arena *arena)
{
    for (arena_chunk *chunk = arena->first; chunk != NULL; chunk = chunk->next) {
        chunk->used = 0;
        ARENA_HIDE(chunk->data, chunk->room);
        if (chunk == arena->current) break; /* those behind it are empty already */
    }
    arena->current = NULL;
    arena->full_chunk_bytes = 0;
    arena->is_full = false;
}

bool myr_arena_is_full(const myr_arena *arena)
{
    return arena->is_full;
}

size_t myr_arena_used_bytes(const myr_arena *arena)
{
    return arena->full_chunk_bytes + (arena->current != NULL ? arena->current->used : 0);
}
