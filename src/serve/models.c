/*
 * What is counted of each model: rows, and the time of their stage. 16 bytes a model, in the fleet; the metrics show
 * only the heaviest and the slowest of all fleets, any single one is asked for by its name.
 */
#include "serve/internal.h"

#include <stdlib.h>
#include <string.h>

#define MODELS_SHOWN           50
#define MODELS_GROUPS_MAX      512 /* of all fleets together, shown by name … */
#define MODELS_GROUP_BYTES_MAX 256 /* … which is no longer than this */

myr_rc myr_serve_models_new(serve_fleet *served, myr_err *err)
{
    size_t count = served->fleet->info->model_count;
    served->models = myr_calloc(count + 1, sizeof *served->models); /* pages that nobody asks for are not there */
    if (served->models == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory to count %zu models", count);
    return MYR_OK;
}

void myr_serve_count_models(const serve_work *work)
{
    serve_model_stats *models = work->target.fleet->models;
    size_t row_count = (size_t)work->rows.row_count;
    if (row_count == 0 || work->model_idxs == NULL) return;
    int64_t each_ns = work->stage_ns[SERVE_INFER] / (int64_t)row_count;
    for (size_t row = 0; row < row_count; row++) {
        uint32_t model_idx = work->model_idxs[row];
        if (model_idx == MYR_PACK_NONE || work->statuses[row] != MYR_ROW_OK) continue;
        MYR_ASSERT(model_idx < work->target.fleet->fleet->info->model_count);
        atomic_fetch_add_explicit(&models[model_idx].rows, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&models[model_idx].ns, each_ns, memory_order_relaxed);
    }
}

/* ---- the heaviest and the slowest ---- */

typedef struct models_entry {
    const serve_fleet *served;
    uint32_t model_idx;
    int64_t rows, ns;
    double weight;
} models_entry;

/* The largest so far; the smallest of them stands at `least` once it is full. */
typedef struct models_top {
    models_entry entries[MODELS_SHOWN];
    size_t count, least;
} models_top;

static void top_offer(models_top *top, const models_entry *entry)
{
    if (top->count == MODELS_SHOWN && entry->weight <= top->entries[top->least].weight) return;
    size_t at = top->count < MODELS_SHOWN ? top->count++ : top->least;
    top->entries[at] = *entry;
    if (top->count < MODELS_SHOWN) return;
    for (size_t i = 0; i < MODELS_SHOWN; i++) {
        if (top->entries[i].weight < top->entries[top->least].weight) top->least = i;
    }
}

static int top_compare(const void *a, const void *b)
{
    const models_entry *x = a, *y = b;
    return (x->weight < y->weight) - (x->weight > y->weight);
}

static void models_offer_all(const serve_fleet *served, models_top *heaviest, models_top *slowest)
{
    for (uint32_t i = 0; i < served->fleet->info->model_count; i++) {
        models_entry entry = {.served = served, .model_idx = i};
        entry.rows = atomic_load_explicit(&served->models[i].rows, memory_order_relaxed);
        if (entry.rows == 0) continue;
        entry.ns = atomic_load_explicit(&served->models[i].ns, memory_order_relaxed);
        entry.weight = (double)entry.rows;
        top_offer(heaviest, &entry);
        entry.weight = (double)entry.ns / (double)entry.rows;
        top_offer(slowest, &entry);
    }
}

/* A label's value: a segment may hold quotes and backslashes. */
static void models_put_label(myr_buf *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n') {
            myr_buf_puts(out, "\\n");
            continue;
        }
        if (text[i] == '"' || text[i] == '\\') myr_buf_putc(out, '\\');
        myr_buf_putc(out, text[i]);
    }
}

static void models_put(myr_buf *out, models_top *top, const char *name, const char *type, const char *help,
                       bool is_seconds)
{
    MYR_AUTO(myr_buf) model = {0};
    if (top->count == 0) return;
    qsort(top->entries, top->count, sizeof top->entries[0], top_compare);
    myr_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
    for (size_t i = 0; i < top->count; i++) {
        const models_entry *entry = &top->entries[i];
        myr_buf_clear(&model);
        if (myr_score_model_name(entry->served->fleet->scorer, entry->model_idx, &model, NULL) != MYR_OK) continue;
        if (model.failed || model.size == 0) continue;
        myr_buf_printf(out, "%s{model=\"", name);
        models_put_label(out, model.data, model.size);
        myr_buf_puts(out, "\"} ");
        if (is_seconds) {
            myr_buf_double(out, entry->weight / 1e9);
        } else {
            myr_buf_printf(out, "%lld", (long long)entry->rows);
        }
        myr_buf_putc(out, '\n');
    }
}

static void models_put_group(myr_buf *out, const char *fleet, const char *group, int64_t rows)
{
    myr_buf_printf(out, "myriad_group_rows_total{fleet=\"%s\",group=\"", fleet);
    models_put_label(out, group, strlen(group));
    myr_buf_printf(out, "\"} %lld\n", (long long)rows);
}

/* Rows by group of the service file. Past so many groups of all fleets the others are one per fleet, as are those of
 * all fleets without series of their own. */
static void models_put_groups(const serve_snapshot *snapshot, myr_buf *out)
{
    size_t shown = 0, fleets = 0;
    int64_t unnamed = 0;
    for (size_t i = 0; i < snapshot->fleet_count; i++) {
        const serve_fleet *served = snapshot->fleets[i];
        uint32_t count = served->bound != NULL ? served->bound->plan->group_count : 0;
        bool is_named = strcmp(served->label, SERVE_LABEL_OTHER) != 0;
        int64_t others = 0;
        if (count > 0 && fleets++ == 0) {
            myr_buf_puts(out, "# HELP myriad_group_rows_total Rows asked for, by group of the service file.\n"
                              "# TYPE myriad_group_rows_total counter\n");
        }
        for (uint32_t g = 0; g < count; g++) {
            const char *name = served->bound->plan->groups[g];
            int64_t rows = atomic_load_explicit(&served->bound->groups[g].rows, memory_order_relaxed);
            if (is_named && shown < MODELS_GROUPS_MAX && strlen(name) <= MODELS_GROUP_BYTES_MAX) {
                models_put_group(out, served->label, name, rows);
                shown++;
            } else {
                others += rows;
            }
        }
        if (is_named && others > 0) models_put_group(out, served->label, SERVE_LABEL_OTHER, others);
        unnamed += is_named ? 0 : others;
    }
    if (unnamed > 0) models_put_group(out, SERVE_LABEL_OTHER, SERVE_LABEL_OTHER, unnamed);
}

void myr_serve_models_render(const serve_snapshot *snapshot, myr_buf *out)
{
    models_top heaviest = {0}, slowest = {0};
    models_put_groups(snapshot, out);
    for (size_t i = 0; i < snapshot->fleet_count; i++)
        models_offer_all(snapshot->fleets[i], &heaviest, &slowest);
    models_put(out, &heaviest, "myriad_model_rows_total", "counter",
               "Rows of the 50 heaviest models, since their release was opened.", false);
    models_put(out, &slowest, "myriad_model_slowest_seconds", "gauge",
               "Mean time of a row of the 50 slowest models, since their release was opened.", true);
}
