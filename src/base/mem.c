/*
 * Heap memory: a thin skin over the C library's allocator that counts calls and can refuse the n-th, so that a test can
 * walk a function through every failure it may meet. The counters are relaxed: they order nothing.
 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static _Atomic int64_t mem_alloc_count;
static _Atomic int64_t mem_fail_in; /* allocations until one is refused; 0 or less = none */

/* Count one allocation; true if it must fail. */
static bool mem_is_refused(void)
{
    atomic_fetch_add_explicit(&mem_alloc_count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&mem_fail_in, memory_order_relaxed) <= 0) return false;
    return atomic_fetch_sub_explicit(&mem_fail_in, 1, memory_order_relaxed) == 1;
}

/* malloc(0) may give NULL, which would read as a failure: every block has at least one byte. */
static size_t mem_at_least_one(size_t size_bytes)
{
    return size_bytes > 0 ? size_bytes : 1;
}

void *myr_alloc(size_t size_bytes)
{
    if (mem_is_refused()) return NULL;
    return malloc(mem_at_least_one(size_bytes));
}

void *myr_calloc(size_t count, size_t size_bytes)
{
    if (mem_is_refused()) return NULL;
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) return NULL;
    return calloc(mem_at_least_one(total), 1);
}

void *myr_realloc(void *block, size_t size_bytes)
{
    if (mem_is_refused()) return NULL;
    return realloc(block, mem_at_least_one(size_bytes));
}

void *myr_realloc_array(void *block, size_t count, size_t size_bytes)
{
    size_t total;
    if (__builtin_mul_overflow(count, size_bytes, &total)) return NULL;
    return myr_realloc(block, total);
}

void *myr_alloc_aligned(size_t alignment, size_t size_bytes)
{
    MYR_ASSERT(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    if (mem_is_refused()) return NULL;
    size_t rounded;
    if (__builtin_add_overflow(mem_at_least_one(size_bytes), alignment - 1, &rounded)) return NULL;
    return aligned_alloc(alignment, rounded & ~(alignment - 1));
}

void myr_free(void *block)
{
    free(block);
}

char *myr_strndup(const char *text, size_t size_bytes)
{
    MYR_ASSERT(text != NULL || size_bytes == 0);
    if (size_bytes == SIZE_MAX) return NULL;
    char *copy = myr_alloc(size_bytes + 1);
    if (copy == NULL) return NULL;
    if (size_bytes > 0) memcpy(copy, text, size_bytes);
    copy[size_bytes] = '\0';
    return copy;
}

char *myr_strdup(const char *text)
{
    MYR_ASSERT(text != NULL);
    return myr_strndup(text, strlen(text));
}

void myr_mem_fail_at(int64_t nth)
{
    MYR_ASSERT(nth >= 0);
    atomic_store_explicit(&mem_fail_in, nth, memory_order_relaxed);
}

int64_t myr_mem_alloc_count(void)
{
    return atomic_load_explicit(&mem_alloc_count, memory_order_relaxed);
}
