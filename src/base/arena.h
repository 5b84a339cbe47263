/*
 * An arena: many small allocations, one release. Chunks are kept over a reset, so a warm arena allocates nothing.
 * Thread: one owner at a time. Errors: NULL when memory is short or the cap is reached (see myr_arena_is_full).
 */
#ifndef MYR_BASE_ARENA_H
#define MYR_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

typedef struct myr_arena myr_arena;

/* cap_bytes: the most that all chunks may hold together; 0 = no cap. */
myr_arena *myr_arena_new(size_t cap_bytes);
void myr_arena_free(myr_arena *arena); /* NULL accepted */
typedef myr_arena *myr_arena_ptr;
static inline void myr_arena_ptr_drop(myr_arena_ptr *arena)
{
    myr_arena_free(*arena);
}

void *myr_arena_alloc(myr_arena *arena, size_t size_bytes); /* 16-byte aligned */
void *myr_arena_alloc_aligned(myr_arena *arena, size_t alignment,
                              size_t size_bytes);                          /* alignment: power of two <= 64 */
void *myr_arena_calloc(myr_arena *arena, size_t count, size_t size_bytes); /* zeroed; NULL on overflow */
void *myr_arena_realloc(myr_arena *arena, void *block, size_t old_bytes, size_t new_bytes); /* grows in place if last */
char *myr_arena_strndup(myr_arena *arena, const char *text, size_t size_bytes);
char *myr_arena_printf(myr_arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void myr_arena_reset(myr_arena *arena);         /* everything allocated is gone; chunks stay */
bool myr_arena_is_full(const myr_arena *arena); /* an allocation since the last reset was refused by the cap */
size_t myr_arena_used_bytes(const myr_arena *arena);

/* A yyjson allocator over an arena: one reset frees all. */
struct yyjson_alc;
void myr_arena_yyjson(myr_arena *arena, struct yyjson_alc *out);

#endif
