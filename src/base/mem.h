/*
 * Heap memory: the only place that calls malloc. A test can make the n-th allocation fail.
 * Thread: any. Errors: NULL when memory is short (or when a test says so); never aborts.
 */
#ifndef MYR_BASE_MEM_H
#define MYR_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

void *myr_alloc(size_t size_bytes) __attribute__((malloc));
void *myr_calloc(size_t count, size_t size_bytes);                     /* zeroed; NULL if the product overflows */
void *myr_realloc(void *block, size_t size_bytes);                     /* on failure the old block stays valid */
void *myr_realloc_array(void *block, size_t count, size_t size_bytes); /* NULL if the product overflows */
void *myr_alloc_aligned(size_t alignment, size_t size_bytes);          /* freed by myr_free; size is rounded up */
void myr_free(void *block);                                            /* NULL accepted */
char *myr_strdup(const char *text);
char *myr_strndup(const char *text, size_t size_bytes); /* always NUL-terminated */

/* For MYR_AUTO(myr_mem): a void pointer freed at the end of its scope. */
typedef void *myr_mem;
static inline void myr_mem_drop(myr_mem *block)
{
    myr_free(*block);
}

/* Tests only (process-wide). Fail the nth allocation from now (1 = the next; 0 = none again). */
void myr_mem_fail_at(int64_t nth);
/* Allocations since the process started; the difference over a warm request must be 0. */
int64_t myr_mem_alloc_count(void);

#endif
