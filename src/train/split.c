/*
 * A table cut into segments. Key values become small numbers in the order of the values; rows are then sorted once per
 * level (the keys of the level first, so that its segments are runs, and inside them the leaves are runs too), and the
 * columns themselves never move. Which rows are test rows is decided by key and time alone, in the leaf.
 */
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "pack/pack.h"
#include "train/split.h"

typedef struct split_work {
    myr_train_table *t;
    myr_arena *arena; /* until the split is done */
    uint32_t *codes[MYR_PARTITION_COLUMNS_MAX];
    uint32_t sequence[MYR_PARTITION_COLUMNS_MAX]; /* columns in the order they sort by */
    const myr_col *key;                           /* whose values are being compared */
    double *leaf_origin;                          /* per row of order 0: set while leaves are found */
    myr_err *err;
} split_work;

static myr_rc split_no_memory(split_work *w)
{
    MYR_FAIL(w->err, NO_MEMORY, "no memory to cut %u rows into segments", w->t->row_count);
}

/* ---- keys as small numbers ---- */

static int split_compare_values(const myr_col *key, uint32_t a, uint32_t b)
{
    if (key->type == MYR_COL_INT64)
        return (key->data.i64[a] > key->data.i64[b]) - (key->data.i64[a] < key->data.i64[b]);
    myr_str x = key->data.text[a];
    myr_str y = key->data.text[b];
    size_t shorter = x.size < y.size ? x.size : y.size;
    int order = shorter > 0 ? memcmp(x.data, y.data, shorter) : 0;
    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

static int split_by_value(const void *a, const void *b, void *ctx)
{
    const split_work *w = ctx;
    return split_compare_values(w->key, *(const uint32_t *)a, *(const uint32_t *)b);
}

static myr_rc split_code(split_work *w, uint32_t column, uint32_t *rows)
{
    const myr_train_table *t = w->t;
    w->key = &t->keys[column];
    w->codes[column] = myr_arena_calloc(w->arena, (size_t)t->row_count + 1, sizeof(uint32_t));
    if (w->codes[column] == NULL) return split_no_memory(w);
    qsort_r(rows, t->order_count, sizeof *rows, split_by_value, w);
    for (uint32_t i = 0, code = 0; i < t->order_count; i++) {
        code += i > 0 && split_compare_values(w->key, rows[i - 1], rows[i]) != 0;
        w->codes[column][rows[i]] = code;
    }
    return MYR_OK;
}

/* ---- rows ---- */

/* Rows without a key or a time belong nowhere: it cannot even be said whether they are test rows. */
static void split_mark_keyless(split_work *w)
{
    myr_train_table *t = w->t;
    for (uint32_t i = 0; i < t->row_count; i++) {
        bool is_whole = fabs(t->time[i]) <= MYR_TRAIN_VALUE_MAX;
        for (uint32_t k = 0; k < t->plan->partition_count; k++)
            is_whole = is_whole && !myr_col_is_null(&t->keys[k], i);
        t->states[i] = is_whole ? MYR_TRAIN_ROW_FIT : MYR_TRAIN_ROW_OUT;
        if (is_whole) t->orders[0][t->order_count++] = i;
        if (is_whole && t->time[i] != floor(t->time[i])) t->time_is_whole = false;
    }
}

static int split_by_level(const void *a, const void *b, void *ctx)
{
    const split_work *w = ctx;
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    for (uint32_t k = 0; k < w->t->plan->partition_count; k++) {
        const uint32_t *codes = w->codes[w->sequence[k]];
        if (codes[x] != codes[y]) return codes[x] < codes[y] ? -1 : 1;
    }
    double s = w->t->time[x];
    double t = w->t->time[y];
    if (s != t) return s < t ? -1 : 1;
    return (x > y) - (x < y);
}

/* Sort for a level: its own columns first, the dropped ones after them. */
static void split_sort(split_work *w, uint32_t level)
{
    uint32_t columns = w->t->plan->partition_count;
    MYR_ASSERT(level < w->t->level_count && columns <= MYR_PARTITION_COLUMNS_MAX);
    for (uint32_t k = 0; k < columns; k++)
        w->sequence[k] = level + k < columns ? level + k : level + k - columns;
    qsort_r(w->t->orders[level], w->t->order_count, sizeof(uint32_t), split_by_level, w);
}

/* The end of the run of rows from `first` on that agree in the columns from `level` on. */
static uint32_t split_run(const split_work *w, uint32_t level, uint32_t first)
{
    const uint32_t *order = w->t->orders[level];
    MYR_ASSERT(first < w->t->order_count);
    uint32_t end = first + 1;
    for (; end < w->t->order_count; end++) {
        for (uint32_t k = level; k < w->t->plan->partition_count; k++) {
            if (w->codes[k][order[end]] != w->codes[k][order[first]]) return end;
        }
    }
    return end;
}

/* Leaves: the last rows by time are the test set; of the others, those without a target go. */
static void split_states(split_work *w)
{
    myr_train_table *t = w->t;
    uint32_t *order = t->orders[0];
    uint32_t kept = 0;
    for (uint32_t first = 0, end; first < t->order_count; first = end) {
        end = split_run(w, 0, first);
        double origin = t->time[order[end - 1]] - t->plan->test_last;
        for (uint32_t i = first; i < end; i++) {
            uint32_t row = order[i];
            w->leaf_origin[row] = origin;
            if (t->time[row] > origin) {
                t->states[row] = MYR_TRAIN_ROW_TEST;
                t->test_count++;
            } else if (!(fabs(t->target[row]) <= MYR_TRAIN_VALUE_MAX)) {
                t->states[row] = MYR_TRAIN_ROW_OUT;
            }
        }
    }
    for (uint32_t i = 0; i < t->order_count; i++) {
        if (t->states[order[i]] != MYR_TRAIN_ROW_OUT) order[kept++] = order[i];
    }
    MYR_ASSERT(kept >= t->test_count && kept <= t->order_count);
    t->order_count = kept;
    t->out_count = t->row_count - kept;
}

/* ---- segments ---- */

/* The text of the segment of a row: its values of the columns from `level` on. */
static myr_rc split_text(split_work *w, uint32_t level, uint32_t row, const char **out)
{
    const myr_train_plan *plan = w->t->plan;
    myr_segment segment = {0};
    MYR_AUTO(myr_buf) text = {0};
    for (uint32_t k = level; k < plan->partition_count; k++) {
        const myr_col *key = &w->t->keys[k];
        char number[MYR_KEY_SCRATCH_BYTES];
        myr_str value;
        if (key->type == MYR_COL_INT64) {
            value =
                myr_str_make(number, (size_t)snprintf(number, sizeof number, "%lld", (long long)key->data.i64[row]));
        } else {
            value = key->data.text[row];
        }
        if (value.size > MYR_KEY_VALUE_BYTES_MAX) {
            MYR_FAIL(w->err, BAD_INPUT, "%s: partition column '%s' has a value of %zu bytes, at most %d are allowed",
                     plan->data, plan->partition[k], value.size, MYR_KEY_VALUE_BYTES_MAX);
        }
        uint32_t at = segment.part_count++;
        snprintf(segment.parts[at].name, sizeof segment.parts[at].name, "%s", plan->partition[k]);
        if (value.size > 0) memcpy(segment.parts[at].value, value.data, value.size);
        segment.parts[at].value_size = value.size;
    }
    MYR_TRY(myr_segment_format(&segment, plan->partition, plan->partition_count, &text, w->err));
    *out = myr_arena_strndup(w->t->arena, text.data != NULL ? text.data : "", text.size);
    return *out != NULL ? MYR_OK : split_no_memory(w);
}

static uint32_t split_count(const split_work *w, uint32_t level)
{
    uint32_t count = 0;
    for (uint32_t first = 0; first < w->t->order_count; first = split_run(w, level, first))
        count++;
    return count;
}

static myr_rc split_level(split_work *w, uint32_t level)
{
    myr_train_table *t = w->t;
    const uint32_t *order = t->orders[level];
    uint32_t idx = t->level_first[level];
    for (uint32_t first = 0, end; first < t->order_count; first = end, idx++) {
        end = split_run(w, level, first);
        myr_train_segment *segment = &t->segments[idx];
        *segment = (myr_train_segment){.level = level, .first = first, .count = end - first, .origin = -INFINITY};
        MYR_TRY(split_text(w, level, order[first], &segment->text));
        for (uint32_t i = first; i < end; i++) {
            double origin = w->leaf_origin[order[i]];
            if (origin > segment->origin) segment->origin = origin;
            if (level == 0) t->leaf_of[order[i]] = idx;
        }
        segment->trial_rmse = myr_arena_calloc(t->arena, t->plan->candidate_count, sizeof(double));
        if (segment->trial_rmse == NULL) return split_no_memory(w);
    }
    MYR_ASSERT(idx == t->level_first[level] + t->level_segments[level]);
    return MYR_OK;
}

static myr_rc split_segments(split_work *w)
{
    myr_train_table *t = w->t;
    uint64_t total = 0;
    for (uint32_t level = t->level_count; level-- > 0;) {
        if (level > 0) {
            memcpy(t->orders[level], t->orders[0], t->order_count * sizeof(uint32_t));
            split_sort(w, level);
        }
        t->level_first[level] = (uint32_t)total;
        t->level_segments[level] = split_count(w, level);
        total += t->level_segments[level];
        if (total > MYR_TRAIN_SEGMENTS_MAX) {
            MYR_FAIL(w->err, TOO_LARGE, "%s: the partition columns give more than %d segments", t->plan->data,
                     MYR_TRAIN_SEGMENTS_MAX);
        }
    }
    t->segment_count = (uint32_t)total;
    t->segments = myr_arena_calloc(t->arena, total + 1, sizeof *t->segments);
    if (t->segments == NULL) return split_no_memory(w);
    for (uint32_t level = 0; level < t->level_count; level++)
        MYR_TRY(split_level(w, level));
    return MYR_OK;
}

/* ---- the whole ---- */

static myr_rc split_start(split_work *w)
{
    myr_train_table *t = w->t;
    size_t rows = (size_t)t->row_count + 1;
    t->level_count = t->plan->partition_count + 1;
    t->time_is_whole = true;
    t->states = myr_arena_calloc(t->arena, rows, 1);
    t->leaf_of = myr_arena_calloc(t->arena, rows, sizeof(uint32_t));
    w->leaf_origin = myr_arena_calloc(w->arena, rows, sizeof(double));
    if (t->states == NULL || t->leaf_of == NULL || w->leaf_origin == NULL) return split_no_memory(w);
    for (uint32_t level = 0; level < t->level_count; level++) {
        t->orders[level] = myr_arena_calloc(t->arena, rows, sizeof(uint32_t));
        if (t->orders[level] == NULL) return split_no_memory(w);
    }
    return MYR_OK;
}

myr_rc myr_train_split(myr_train_table *table, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    split_work w = {.t = table, .arena = arena, .err = err};
    if (arena == NULL) return split_no_memory(&w);
    MYR_TRY(split_start(&w));
    split_mark_keyless(&w);
    for (uint32_t k = 0; k < table->plan->partition_count; k++)
        MYR_TRY(split_code(&w, k, table->orders[0]));
    split_sort(&w, 0);
    split_states(&w);
    return split_segments(&w);
}
