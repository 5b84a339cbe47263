/*
 * Rows by model: a counting sort over the few models that a chunk of rows needs, so that the cost depends on the rows
 * alone and not on how many models the pack has. Within a model rows keep their order.
 */
#include "score/score_inside.h"

#include <string.h>

#define SCORE_ROOM_MIN   64
#define SCORE_TABLE_LOAD 2 /* slots per row, at least */

myr_score_scratch *myr_score_scratch_new(void)
{
    return myr_calloc(1, sizeof(myr_score_scratch));
}

void myr_score_scratch_free(myr_score_scratch *scratch)
{
    if (scratch == NULL) return;
    myr_free(scratch->row_groups);
    myr_free(scratch->order);
    myr_free(scratch->groups);
    myr_free(scratch->table);
    myr_free(scratch->block);
    myr_free(scratch->values);
    myr_free(scratch->is_bad);
    myr_free(scratch);
}

bool myr_score_bad_reserve(myr_score_scratch *scratch, uint32_t row_count)
{
    if (row_count <= scratch->bad_room) return true;
    uint8_t *is_bad = myr_realloc(scratch->is_bad, row_count);
    if (is_bad == NULL) return false;
    scratch->is_bad = is_bad;
    scratch->bad_room = row_count;
    return true;
}

/* The smallest power of two that is not below `least`. */
static uint32_t score_power_of_two(uint32_t least)
{
    uint32_t power = SCORE_ROOM_MIN;
    MYR_ASSERT(least <= SCORE_TABLE_LOAD * SCORE_CHUNK_ROWS);
    while (power < least) {
        power *= 2;
    }
    return power;
}

/* Old contents are not needed: free, then allocate. */
static bool score_grow_doubles(double **block, size_t *room, size_t doubles)
{
    if (doubles <= *room) return true;
    myr_free(*block);
    *room = 0;
    *block = myr_alloc_aligned(MYR_MODEL_ALIGN, doubles * sizeof(double));
    if (*block == NULL) return false;
    *room = doubles;
    return true;
}

static bool score_grow_rows(myr_score_scratch *scratch, uint32_t row_count)
{
    if (row_count <= scratch->row_room) return true;
    uint32_t room = score_power_of_two(row_count);
    myr_free(scratch->row_groups);
    myr_free(scratch->order);
    myr_free(scratch->groups);
    myr_free(scratch->table);
    scratch->row_room = 0;
    scratch->table_room = room * SCORE_TABLE_LOAD;
    scratch->row_groups = myr_realloc_array(NULL, room, sizeof *scratch->row_groups);
    scratch->order = myr_realloc_array(NULL, room, sizeof *scratch->order);
    scratch->groups = myr_realloc_array(NULL, room, sizeof *scratch->groups);
    scratch->table = myr_realloc_array(NULL, scratch->table_room, sizeof *scratch->table);
    if (scratch->row_groups == NULL || scratch->order == NULL || scratch->groups == NULL || scratch->table == NULL) {
        return false;
    }
    scratch->row_room = room;
    return true;
}

myr_rc myr_score_scratch_reserve(myr_score_scratch *scratch, uint32_t row_count, size_t block_doubles,
                                 size_t value_doubles, myr_err *err)
{
    MYR_ASSERT(row_count <= SCORE_CHUNK_ROWS);
    if (!score_grow_rows(scratch, row_count) ||
        !score_grow_doubles(&scratch->block, &scratch->block_room, block_doubles) ||
        !score_grow_doubles(&scratch->values, &scratch->value_room, value_doubles)) {
        MYR_FAIL(err, NO_MEMORY, "no memory to score %u rows", row_count);
    }
    return MYR_OK;
}

/* The group of a code, made if it is new. */
static uint32_t score_group_of(myr_score_scratch *scratch, uint32_t code)
{
    uint32_t mask = (1u << (32 - scratch->table_shift)) - 1;
    uint32_t slot = (code * 2654435769u) >> scratch->table_shift; /* Fibonacci hashing: indexes are dense */
    while (scratch->table[slot] != 0) {                           /* ends: at most half of the slots are taken */
        uint32_t group = scratch->table[slot] - 1;
        if (scratch->groups[group].code == code) return group;
        slot = (slot + 1) & mask;
    }
    MYR_ASSERT(scratch->group_count < scratch->row_room);
    scratch->groups[scratch->group_count] = (score_group){.code = code};
    scratch->table[slot] = ++scratch->group_count;
    return scratch->group_count - 1;
}

static uint32_t score_code_of(const myr_scorer *scorer, const myr_score_rows *rows, int64_t row_idx)
{
    return rows->fixed_model != MYR_PACK_NONE ? rows->fixed_model : myr_score_resolve_row(scorer, rows, row_idx);
}

/* Each row's group, and how many rows each group has. Returns how often it changes from row to row, and one. */
static uint32_t score_group_assign(myr_score_scratch *scratch, const myr_scorer *scorer, const myr_score_rows *rows,
                                   int64_t first_row, uint32_t row_count)
{
    uint32_t column_count = rows->fixed_model != MYR_PACK_NONE ? 0 : scorer->info->keys.column_count;
    uint32_t run_count = 0;
    for (uint32_t i = 0; i < row_count; run_count++) {
        uint32_t end = i + myr_score_keys_run(rows->keys, column_count, first_row + i, row_count - i);
        uint32_t group = score_group_of(scratch, score_code_of(scorer, rows, first_row + i));
        scratch->groups[group].count += end - i;
        while (i < end)
            scratch->row_groups[i++] = group;
    }
    return run_count;
}

/* Rows by group, each group's where the ones before it end. */
static void score_group_order(myr_score_scratch *scratch, uint32_t row_count)
{
    for (uint32_t g = 0; g < scratch->group_count; g++)
        scratch->groups[g].count = 0; /* counted again */
    for (uint32_t i = 0; i < row_count; i++) {
        score_group *group = &scratch->groups[scratch->row_groups[i]];
        scratch->order[group->first + group->count++] = i;
    }
}

void myr_score_group_rows(myr_score_scratch *scratch, const myr_scorer *scorer, const myr_score_rows *rows,
                          int64_t first_row, uint32_t row_count)
{
    MYR_ASSERT(row_count > 0 && row_count <= scratch->row_room);
    if (row_count == 1) {
        scratch->groups[0] = (score_group){.code = score_code_of(scorer, rows, first_row), .count = 1};
        scratch->group_count = 1;
        scratch->order[0] = 0;
        return;
    }
    uint32_t table_size = score_power_of_two(row_count * SCORE_TABLE_LOAD);
    MYR_ASSERT(table_size <= scratch->table_room);
    memset(scratch->table, 0, table_size * sizeof *scratch->table);
    scratch->table_shift = 32 - (uint32_t)__builtin_ctz(table_size);
    scratch->group_count = 0;
    uint32_t run_count = score_group_assign(scratch, scorer, rows, first_row, row_count);
    uint32_t first = 0;
    for (uint32_t g = 0; g < scratch->group_count; g++) {
        scratch->groups[g].first = first;
        first += scratch->groups[g].count;
    }
    MYR_ASSERT(first == row_count);
    if (run_count > scratch->group_count) {
        score_group_order(scratch, row_count);
        return;
    }
    for (uint32_t i = 0; i < row_count; i++) /* sorted as they came */
        scratch->order[i] = i;
}
