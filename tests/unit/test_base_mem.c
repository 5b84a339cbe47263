/* The heap's skin and the arena: counting, refusing, alignment, the cap, and that a warm arena allocates nothing. */
#include "testing.h"

TEST(nth_allocation_fails_once)
{
    myr_mem_fail_at(2);
    void *first = myr_alloc(10);
    void *second = myr_alloc(10);
    void *third = myr_alloc(10);
    EXPECT(first != NULL && second == NULL && third != NULL);
    myr_free(first);
    myr_free(third);
    myr_mem_fail_at(1);
    myr_mem_fail_at(0); /* taken back */
    void *block = myr_calloc(3, 5);
    EXPECT(block != NULL);
    myr_free(block);
}

TEST(each_kind_of_allocation_counts_and_fails)
{
    int64_t before = myr_mem_alloc_count();
    char *grown = myr_realloc(NULL, 4);
    EXPECT(grown != NULL);
    memcpy(grown, "abc", 4);
    for (int kind = 0; kind < 6; kind++) {
        myr_mem_fail_at(1);
        void *block = kind == 0   ? myr_alloc(1)
                      : kind == 1 ? myr_calloc(1, 1)
                      : kind == 2 ? myr_realloc(grown, 1000)
                      : kind == 3 ? myr_realloc_array(grown, 10, 100)
                      : kind == 4 ? myr_alloc_aligned(64, 1)
                                  : (void *)myr_strdup("x");
        EXPECT(block == NULL);
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 7);
    EXPECT_STR(grown, "abc"); /* a failed realloc left it */
    myr_free(grown);
    myr_free(NULL);
}

TEST(products_that_overflow_are_refused)
{
    size_t half = SIZE_MAX / 2 + 1;
    EXPECT(myr_calloc(half, 2) == NULL);
    EXPECT(myr_realloc_array(NULL, half, 2) == NULL);
    EXPECT(myr_alloc_aligned(64, SIZE_MAX - 5) == NULL);
    EXPECT(myr_strndup("", SIZE_MAX) == NULL);
}

TEST(empty_blocks_are_blocks)
{
    void *a = myr_alloc(0), *b = myr_calloc(0, 8), *c = myr_realloc(myr_alloc(4), 0), *d = myr_alloc_aligned(16, 0);
    EXPECT(a != NULL && b != NULL && c != NULL && d != NULL);
    myr_free(a);
    myr_free(b);
    myr_free(c);
    myr_free(d);
}

TEST(aligned_blocks_are_aligned)
{
    for (size_t alignment = 8; alignment <= 4096; alignment *= 2) {
        unsigned char *block = myr_alloc_aligned(alignment, 100);
        EXPECT(block != NULL && (uintptr_t)block % alignment == 0);
        memset(block, 1, 100);
        myr_free(block);
    }
}

TEST(copies_of_text_end_in_nul)
{
    MYR_AUTO(myr_mem) whole = myr_strdup("text");
    MYR_AUTO(myr_mem) part = myr_strndup("text", 2);
    MYR_AUTO(myr_mem) none = myr_strndup(NULL, 0);
    EXPECT_STR(whole, "text");
    EXPECT_STR(part, "te");
    EXPECT_STR(none, "");
}

/* ---- arena ---- */

TEST(arena_blocks_are_aligned_and_apart)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    unsigned char *blocks[200];
    for (size_t i = 0; i < 200; i++) {
        size_t alignment = (size_t)1 << (i % 7);
        blocks[i] = i % 3 == 0 ? myr_arena_alloc(arena, i) : myr_arena_alloc_aligned(arena, alignment, i);
        EXPECT(blocks[i] != NULL && (uintptr_t)blocks[i] % (i % 3 == 0 ? 16 : alignment) == 0);
        memset(blocks[i], (int)i, i);
    }
    for (size_t i = 0; i < 200; i++) {
        for (size_t j = 0; j < i; j++)
            EXPECT(blocks[i][j] == (unsigned char)i);
    }
    EXPECT(myr_arena_used_bytes(arena) >= 199 * 100);
}

TEST(a_warm_arena_allocates_nothing)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(1 << 24);
    int64_t before = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 1000; i++)
            EXPECT(myr_arena_alloc(arena, i * 13 % 5000) != NULL);
        EXPECT(myr_arena_alloc(arena, 3 << 20) != NULL); /* larger than any growing chunk */
        size_t used = myr_arena_used_bytes(arena);
        EXPECT(used > 3 << 20);
        if (round == 0) before = myr_mem_alloc_count();
        myr_arena_reset(arena);
        EXPECT_INT(myr_arena_used_bytes(arena), 0);
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
}

TEST(arena_cap_at_the_limit_and_one_past)
{
    for (size_t cap = 1; cap < 10000; cap = cap * 3 + 1) {
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(cap);
        EXPECT(myr_arena_alloc(arena, cap + 1) == NULL && myr_arena_is_full(arena));
        myr_arena_reset(arena);
        EXPECT(!myr_arena_is_full(arena));
        EXPECT(myr_arena_alloc(arena, cap) != NULL && !myr_arena_is_full(arena));
        EXPECT(myr_arena_alloc(arena, 1) == NULL && myr_arena_is_full(arena));
    }
}

TEST(arena_cap_is_not_eaten_by_small_chunks)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(100000);
    for (int i = 0; i < 60; i++)
        EXPECT(myr_arena_alloc(arena, 1000) != NULL);
    myr_arena_reset(arena);
    EXPECT(myr_arena_alloc(arena, 90000) != NULL); /* waiting chunks are given back for it */
    EXPECT(!myr_arena_is_full(arena));
    myr_arena_reset(arena);
    for (int i = 0; i < 60; i++)
        EXPECT(myr_arena_alloc(arena, 1000) != NULL);
}

TEST(arena_refuses_sizes_that_overflow)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT(myr_arena_alloc(arena, SIZE_MAX) == NULL);
    EXPECT(myr_arena_alloc(arena, SIZE_MAX - 70) == NULL);
    EXPECT(myr_arena_calloc(arena, SIZE_MAX / 2, 3) == NULL);
    EXPECT(myr_arena_strndup(arena, "", SIZE_MAX) == NULL);
    EXPECT(!myr_arena_is_full(arena)); /* there is no cap to be full */
    MYR_AUTO(myr_arena_ptr) capped = myr_arena_new(100);
    EXPECT(myr_arena_calloc(capped, SIZE_MAX / 2, 3) == NULL && myr_arena_is_full(capped));
    EXPECT(myr_arena_alloc(capped, SIZE_MAX) == NULL);
}

TEST(arena_realloc_grows_in_place_when_last)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    char *text = myr_arena_alloc(arena, 4);
    memcpy(text, "abc", 4);
    EXPECT(myr_arena_realloc(arena, text, 4, 100) == text);
    EXPECT(myr_arena_realloc(arena, text, 100, 8) == text); /* and shrinks */
    char *other = myr_arena_alloc(arena, 1);
    char *moved = myr_arena_realloc(arena, text, 8, 50);
    EXPECT(moved != NULL && moved != text && other != NULL);
    EXPECT_STR(moved, "abc");
    EXPECT(myr_arena_realloc(arena, text, 8, 3) == text);
    char *far = myr_arena_realloc(arena, moved, 50, 100000); /* last, but the chunk is too small */
    EXPECT(far != NULL);
    EXPECT_STR(far, "abc");
    char *fresh = myr_arena_realloc(arena, NULL, 0, 5);
    EXPECT(fresh != NULL);
    char *empty = myr_arena_alloc(arena, 0);
    EXPECT(myr_arena_realloc(arena, empty, 0, 20) == empty);
}

TEST(arena_texts)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_STR(myr_arena_strndup(arena, "abcdef", 3), "abc");
    EXPECT_STR(myr_arena_printf(arena, "%s=%d", "a", 5), "a=5");
    EXPECT_INT(strlen(myr_arena_printf(arena, "%5000d", 1)), 5000);
    char *zeros = myr_arena_calloc(arena, 10, 10);
    for (int i = 0; i < 100; i++)
        EXPECT(zeros[i] == 0);
    myr_arena_free(NULL);
}

TEST(arena_survives_each_failed_allocation)
{
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        if (arena == NULL) continue;
        int missing = 0;
        for (size_t i = 0; i < 20; i++) {
            char *block = myr_arena_alloc(arena, 1000);
            if (block == NULL) {
                missing++;
            } else {
                memset(block, 1, 1000);
            }
        }
        EXPECT(missing <= 1 && !myr_arena_is_full(arena)); /* short memory is not a full arena */
        if (missing == 0) successes++;
    }
    EXPECT_INT(successes, 1);
}

RUN()
