/* The table of a training: read once into columns, cut into segments; its test rows written again. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "train/split.h"

#define TABLE_MEMORY_BYTES (512LL << 20) /* for DuckDB, while it reads and writes */

/* Which wanted column is which. */
typedef struct table_wants {
    myr_table_want *items;
    uint32_t count;
    uint32_t time, target;
    uint32_t *features;
} table_wants;

/* A column wanted as a number: once, even if it is time and feature. */
static uint32_t table_want_number(table_wants *wants, uint32_t first, const char *name)
{
    for (uint32_t i = first; i < wants->count; i++) {
        if (strcmp(wants->items[i].name, name) == 0) return i;
    }
    wants->items[wants->count] = (myr_table_want){.name = name};
    return wants->count++;
}

static myr_rc table_wants_fill(const myr_train_plan *plan, myr_arena *arena, table_wants *out, myr_err *err)
{
    table_wants wants = {0};
    uint32_t keys = plan->partition_count;
    wants.items = myr_arena_calloc(arena, (size_t)keys + plan->feature_count + 2, sizeof *wants.items);
    wants.features = myr_arena_calloc(arena, plan->feature_count, sizeof *wants.features);
    if (wants.items == NULL || wants.features == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for %u features", plan->feature_count);
    for (; wants.count < keys; wants.count++)
        wants.items[wants.count] = (myr_table_want){.name = plan->partition[wants.count], .as_key = true};
    wants.time = table_want_number(&wants, keys, plan->time);
    wants.target = table_want_number(&wants, keys, plan->target);
    for (uint32_t j = 0; j < plan->feature_count; j++)
        wants.features[j] = table_want_number(&wants, keys, plan->features[j]);
    *out = wants;
    return MYR_OK;
}

static myr_rc table_read(myr_train_table *t, int threads, myr_err *err)
{
    const myr_train_plan *plan = t->plan;
    table_wants wants;
    MYR_AUTO(myr_table_engine_ptr) engine = NULL;
    MYR_TRY(table_wants_fill(plan, t->arena, &wants, err));
    MYR_TRY(myr_table_engine_open(threads, TABLE_MEMORY_BYTES, &engine, err));
    MYR_TRY(myr_table_load(engine, plan->data, wants.items, wants.count, NULL, &t->data, err));
    if (t->data->row_count == 0) MYR_FAIL(err, BAD_INPUT, "%s has no rows: there is nothing to learn from", plan->data);
    if (t->data->row_count > MYR_TRAIN_ROWS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s has %lld rows, at most %u are trained on at once", plan->data,
                 (long long)t->data->row_count, MYR_TRAIN_ROWS_MAX);
    }
    t->row_count = (uint32_t)t->data->row_count;
    t->keys = t->data->cols;
    t->time = t->data->cols[wants.time].data.f64;
    t->target = t->data->cols[wants.target].data.f64;
    t->features = myr_arena_calloc(t->arena, plan->feature_count, sizeof *t->features);
    if (t->features == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u features", plan->feature_count);
    for (uint32_t j = 0; j < plan->feature_count; j++) {
        MYR_ASSERT(t->data->cols[wants.features[j]].type == MYR_COL_DOUBLE);
        t->features[j] = t->data->cols[wants.features[j]].data.f64;
    }
    return MYR_OK;
}

static myr_rc table_make(myr_train_table *t, int threads, myr_err *err)
{
    t->arena = myr_arena_new(0);
    if (t->arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", t->plan->data);
    MYR_TRY(table_read(t, threads, err));
    return myr_train_split(t, err);
}

myr_rc myr_train_table_load(const myr_train_plan *plan, int threads, myr_train_table **out, myr_err *err)
{
    myr_train_table *table = myr_calloc(1, sizeof *table);
    if (table == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", plan->data);
    table->plan = plan;
    myr_rc rc = table_make(table, threads, err);
    if (rc != MYR_OK) {
        myr_train_table_free(table);
        return rc;
    }
    *out = table;
    return MYR_OK;
}

void myr_train_table_free(myr_train_table *table)
{
    if (table == NULL) return;
    for (uint32_t i = 0; i < table->segment_count; i++) {
        if (table->segments != NULL) myr_buf_fini(&table->segments[i].artifact);
    }
    myr_table_data_free(table->data);
    myr_arena_free(table->arena);
    myr_free(table);
}

const char *myr_train_level_name(const myr_train_table *table, uint32_t level)
{
    MYR_ASSERT(level < table->level_count);
    if (level + 1 == table->level_count) return "global";
    return level == 0 ? "segment" : "parent";
}

void myr_train_gather(const myr_train_table *table, const uint32_t *rows, uint32_t count, double *out)
{
    uint32_t p = table->plan->feature_count;
    for (uint32_t j = 0; j < p; j++) {
        const double *values = table->features[j];
        for (uint32_t i = 0; i < count; i++) {
            double x = values[rows[i]];
            out[(size_t)i * p + j] = fabs(x) <= MYR_TRAIN_VALUE_MAX ? x : NAN;
        }
    }
}

/* ---- the test rows, written ---- */

typedef struct table_test {
    const myr_train_table *t;
    myr_arena *arena;
    uint32_t *rows;
    myr_col *cols;
    uint32_t col_count;
} table_test;

static bool table_test_has(const table_test *w, const char *name)
{
    for (uint32_t i = 0; i < w->col_count; i++) {
        if (strcmp(w->cols[i].name, name) == 0) return true;
    }
    return false;
}

static myr_rc table_test_key(table_test *w, const myr_col *key, myr_err *err)
{
    uint32_t count = w->t->test_count;
    myr_col *col = &w->cols[w->col_count];
    *col = (myr_col){.name = key->name, .type = key->type};
    size_t item_bytes = key->type == MYR_COL_INT64 ? sizeof(int64_t) : sizeof(myr_str);
    void *values = myr_arena_calloc(w->arena, (size_t)count + 1, item_bytes);
    if (values == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u test rows", count);
    for (uint32_t i = 0; i < count; i++) {
        if (key->type == MYR_COL_INT64)
            ((int64_t *)values)[i] = key->data.i64[w->rows[i]];
        else
            ((myr_str *)values)[i] = key->data.text[w->rows[i]];
    }
    if (key->type == MYR_COL_INT64)
        col->data.i64 = values;
    else
        col->data.text = values;
    w->col_count++;
    return MYR_OK;
}

static myr_rc table_test_number(table_test *w, const char *name, const double *from, bool is_whole, myr_err *err)
{
    uint32_t count = w->t->test_count;
    if (table_test_has(w, name)) return MYR_OK; /* time or a key among the features */
    myr_col *col = &w->cols[w->col_count];
    *col = (myr_col){.name = name, .type = is_whole ? MYR_COL_INT64 : MYR_COL_DOUBLE};
    double *values = myr_arena_calloc(w->arena, (size_t)count + 1, sizeof *values);
    int64_t *wholes = is_whole ? myr_arena_calloc(w->arena, (size_t)count + 1, sizeof *wholes) : NULL;
    uint8_t *valid = myr_arena_alloc(w->arena, (size_t)count + 1);
    if (values == NULL || valid == NULL || (is_whole && wholes == NULL))
        MYR_FAIL(err, NO_MEMORY, "no memory for %u test rows", count);
    for (uint32_t i = 0; i < count; i++) {
        values[i] = from[w->rows[i]];
        valid[i] = (uint8_t)!isnan(values[i]);
        if (is_whole) wholes[i] = (int64_t)values[i];
    }
    col->valid = valid;
    if (is_whole)
        col->data.i64 = wholes;
    else
        col->data.f64 = values;
    w->col_count++;
    return MYR_OK;
}

static bool table_time_fits(const myr_train_table *t)
{
    for (uint32_t i = 0; i < t->order_count; i++) {
        if (fabs(t->time[t->orders[0][i]]) > 9e15) return false;
    }
    return t->time_is_whole;
}

static myr_rc table_test_fill(table_test *w, myr_err *err)
{
    const myr_train_table *t = w->t;
    const myr_train_plan *plan = t->plan;
    uint32_t count = 0;
    w->rows = myr_arena_calloc(w->arena, (size_t)t->test_count + 1, sizeof *w->rows);
    w->cols = myr_arena_calloc(w->arena, (size_t)plan->partition_count + plan->feature_count + 2, sizeof *w->cols);
    if (w->rows == NULL || w->cols == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u test rows", t->test_count);
    for (uint32_t i = 0; i < t->order_count; i++) {
        if (t->states[t->orders[0][i]] == MYR_TRAIN_ROW_TEST) w->rows[count++] = t->orders[0][i];
    }
    MYR_ASSERT(count == t->test_count);
    for (uint32_t k = 0; k < plan->partition_count; k++)
        MYR_TRY(table_test_key(w, &t->keys[k], err));
    MYR_TRY(table_test_number(w, plan->time, t->time, table_time_fits(t), err));
    for (uint32_t j = 0; j < plan->feature_count; j++)
        MYR_TRY(table_test_number(w, plan->features[j], t->features[j], false, err));
    return table_test_number(w, plan->target, t->target, false, err);
}

myr_rc myr_train_table_write_test(const myr_train_table *table, const char *path, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_table_engine_ptr) engine = NULL;
    table_test w = {.t = table, .arena = arena};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %s", path);
    MYR_TRY(table_test_fill(&w, err));
    myr_path_dir(path, dir, sizeof dir);
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(myr_table_engine_open(1, TABLE_MEMORY_BYTES, &engine, err));
    return myr_table_write(engine, path, w.cols, w.col_count, w.t->test_count, err);
}
