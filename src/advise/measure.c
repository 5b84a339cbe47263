/*
 * What can be measured on a fleet: rows with keys of its own models and made-up feature values go through score, one by
 * one and as a table; sizes come from the pack, runs from the registry. Nothing is guessed: what is not known is not
 * answered.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advise/internal.h"
#include "pack/pack.h"

#define MEASURE_CELLS_MAX  (4 << 20) /* feature and output cells together: 32 MiB */
#define MEASURE_CALLS_MAX  2000      /* with one row */
#define MEASURE_CALLS_NS   1000000000LL
#define MEASURE_ROUNDS_MAX 9
#define MEASURE_ROUND_NS   300000000LL /* a round over the table should not take longer */
#define MEASURE_ROW_BYTES  200         /* features are added to the example row up to here */
#define MEASURE_SPREAD     7919        /* a prime: consecutive calls ask different models */
#define MEASURE_RUNS_MAX   1000        /* newest ones, of all fleets, that are looked through */

/* The made-up table. All in the arena. */
typedef struct measure_table {
    const myr_fleet *fleet;
    myr_arena *arena;
    int64_t row_count;
    myr_col keys[MYR_PARTITION_COLUMNS_MAX];
    struct { /* the cells of `keys`, to write */
        uint8_t *valid;
        int64_t *i64;
        myr_str *text;
    } cells[MYR_PARTITION_COLUMNS_MAX];
    myr_col *features;
    double **values;
    uint8_t *statuses;
} measure_table;

static int measure_compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of a sorted list: the value that `share` of the others do not exceed. */
static double measure_quantile(const double *sorted, int64_t count, double share)
{
    MYR_ASSERT(count > 0);
    int64_t idx = (int64_t)(share * (double)(count - 1) + 0.5);
    MYR_ASSERT(idx >= 0 && idx < count);
    return sorted[idx];
}

static myr_rc measure_key_cell(measure_table *t, uint32_t col_idx, int64_t row_idx, const char *value, size_t size,
                               myr_err *err)
{
    t->cells[col_idx].valid[row_idx] = 1;
    if (t->keys[col_idx].type == MYR_COL_INT64) {
        int64_t number = 0;
        bool is_number = myr_parse_int64(myr_str_make(value, size), &number);
        MYR_ASSERT(is_number); /* the pack wrote it */
        t->cells[col_idx].i64[row_idx] = number;
        return MYR_OK;
    }
    char *copy = myr_arena_strndup(t->arena, value, size);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    t->cells[col_idx].text[row_idx] = myr_str_make(copy, size);
    return MYR_OK;
}

/* The segment of a model, from its key in the pack. */
static myr_rc measure_segment(const myr_fleet *fleet, uint32_t model_idx, myr_segment *out, myr_err *err)
{
    myr_pack_entry entry = {0};
    MYR_AUTO(myr_buf) text = {0};
    MYR_TRY(myr_pack_get_entry(fleet->pack, model_idx, &entry, err));
    MYR_TRY(myr_key_text(&fleet->info->keys, entry.key, entry.key_bytes, &text, err));
    MYR_TRY(myr_buf_check(&text, err));
    return myr_segment_parse(myr_str_make(text.data != NULL ? text.data : "", text.size), out, err);
}

/* A row's key is its model's own segment; columns that a parent model lacks stay null, so that it answers itself. */
static myr_rc measure_keys(measure_table *t, myr_err *err)
{
    const myr_key_schema *schema = &t->fleet->info->keys;
    size_t rows = (size_t)t->row_count;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        bool is_int = schema->columns[i].type == MYR_KEY_INT64;
        t->keys[i] = (myr_col){.name = schema->columns[i].name, .type = is_int ? MYR_COL_INT64 : MYR_COL_TEXT};
        void *data = myr_arena_calloc(t->arena, rows, is_int ? sizeof(int64_t) : sizeof(myr_str));
        t->cells[i].valid = myr_arena_calloc(t->arena, rows, 1);
        if (t->cells[i].valid == NULL || data == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        t->keys[i].valid = t->cells[i].valid;
        if (is_int) {
            t->keys[i].data.i64 = t->cells[i].i64 = data;
        } else {
            t->keys[i].data.text = t->cells[i].text = data;
        }
    }
    uint64_t models = t->fleet->info->model_count;
    for (int64_t r = 0; r < t->row_count; r++) {
        myr_segment segment = {0};
        uint64_t model = models <= rows ? (uint64_t)r % models : (uint64_t)r * models / rows;
        MYR_TRY(measure_segment(t->fleet, (uint32_t)model, &segment, err));
        for (uint32_t p = 0; p < segment.part_count; p++) {
            for (uint32_t i = 0; i < schema->column_count; i++) {
                if (strcmp(schema->columns[i].name, segment.parts[p].name) != 0) continue;
                MYR_TRY(measure_key_cell(t, i, r, segment.parts[p].value, segment.parts[p].value_size, err));
            }
        }
    }
    return MYR_OK;
}

/* Values from -3 to 3, the same in every measurement. */
static myr_rc measure_features(measure_table *t, myr_err *err)
{
    const myr_pack_info *info = t->fleet->info;
    size_t rows = (size_t)t->row_count;
    t->features = myr_arena_calloc(t->arena, info->feature_count + 1, sizeof *t->features);
    t->values = myr_arena_calloc(t->arena, info->output_count + 1, sizeof *t->values);
    t->statuses = myr_arena_calloc(t->arena, rows, 1);
    if (t->features == NULL || t->values == NULL || t->statuses == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < info->output_count; i++) {
        t->values[i] = myr_arena_calloc(t->arena, rows, sizeof(double));
        if (t->values[i] == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        double *cells = myr_arena_calloc(t->arena, rows, sizeof(double));
        if (cells == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        for (size_t r = 0; r < rows; r++) {
            uint64_t where[2] = {i, r};
            cells[r] = (double)(myr_hash64(where, sizeof where, 1) >> 40) / (double)(1 << 24) * 6 - 3;
        }
        t->features[i] = (myr_col){.name = info->features[i], .type = MYR_COL_DOUBLE, .data.f64 = cells};
    }
    return MYR_OK;
}

static myr_rc measure_make(measure_table *t, myr_err *err)
{
    const myr_pack_info *info = t->fleet->info;
    int64_t cells = (int64_t)info->feature_count + info->output_count;
    t->row_count = MYR_ADVISE_TIMED_ROWS_MAX;
    if (cells * t->row_count > MEASURE_CELLS_MAX) t->row_count = MEASURE_CELLS_MAX / cells;
    MYR_ASSERT(t->row_count > 0);
    MYR_TRY(measure_keys(t, err));
    return measure_features(t, err);
}

/* Score `count` rows from `first` on and give the time it took. `part` has room for the columns. */
static myr_rc measure_score(const measure_table *t, myr_score_scratch *scratch, int64_t first, int64_t count,
                            myr_col *part, double *out_ns, myr_err *err)
{
    const myr_pack_info *info = t->fleet->info;
    myr_col keys[MYR_PARTITION_COLUMNS_MAX];
    MYR_ASSERT(first >= 0 && first + count <= t->row_count);
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        keys[i] = t->keys[i];
        keys[i].valid += first;
        if (keys[i].type == MYR_COL_INT64) keys[i].data.i64 += first;
        if (keys[i].type == MYR_COL_TEXT) keys[i].data.text += first;
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        part[i] = t->features[i];
        part[i].data.f64 += first;
    }
    myr_score_rows rows = {.row_count = count, .keys = keys, .features = part, .fixed_model = MYR_PACK_NONE};
    myr_score_out out = {.values = t->values, .statuses = t->statuses};
    int64_t started_ns = myr_clock_mono_ns();
    MYR_TRY(myr_score(t->fleet->scorer, scratch, &rows, &out, err));
    *out_ns = (double)(myr_clock_mono_ns() - started_ns);
    return MYR_OK;
}

static myr_rc measure_single(const measure_table *t, myr_score_scratch *scratch, myr_col *part, myr_advise_facts *facts,
                             myr_err *err)
{
    double times[MEASURE_CALLS_MAX], ignored_ns = 0;
    int64_t count = 0, started_ns = myr_clock_mono_ns(), ok_count = 0;
    for (int64_t i = 0; i < MEASURE_CALLS_MAX && myr_clock_mono_ns() - started_ns < MEASURE_CALLS_NS; i++) {
        int64_t row_idx = i * MEASURE_SPREAD % t->row_count;
        MYR_TRY(measure_score(t, scratch, row_idx, 1, part, &ignored_ns, err)); /* checks the model, warms its pages */
        MYR_TRY(measure_score(t, scratch, row_idx, 1, part, &times[count++], err));
        ok_count += t->statuses[0] == MYR_ROW_OK;
    }
    if (ok_count == 0)
        MYR_FAIL(err, BAD_FORMAT, "no model of %s could score a row: see myriad model list", t->fleet->name);
    MYR_ASSERT(count > 0);
    qsort(times, (size_t)count, sizeof *times, measure_compare_doubles);
    facts->one_row_p50_ns = measure_quantile(times, count, 0.5);
    facts->one_row_p99_ns = measure_quantile(times, count, 0.99);
    facts->one_row_calls = count;
    return MYR_OK;
}

static myr_rc measure_rounds(const measure_table *t, myr_score_scratch *scratch, myr_col *part, myr_advise_facts *facts,
                             myr_err *err)
{
    double times[MEASURE_ROUNDS_MAX], ignored_ns = 0, one_ns = facts->one_row_p50_ns > 1 ? facts->one_row_p50_ns : 1;
    int64_t rows = t->row_count;
    if (one_ns * (double)rows > (double)MEASURE_ROUND_NS) rows = (int64_t)((double)MEASURE_ROUND_NS / one_ns) + 1;
    if (rows > t->row_count) rows = t->row_count;
    MYR_TRY(measure_score(t, scratch, 0, rows, part, &ignored_ns, err));
    for (int i = 0; i < MEASURE_ROUNDS_MAX; i++) {
        MYR_TRY(measure_score(t, scratch, 0, rows, part, &times[i], err));
    }
    qsort(times, MEASURE_ROUNDS_MAX, sizeof *times, measure_compare_doubles);
    facts->row_ns = measure_quantile(times, MEASURE_ROUNDS_MAX, 0.5) / (double)rows;
    facts->timed_rows = rows;
    facts->timed_rounds = MEASURE_ROUNDS_MAX;
    facts->timed_models = rows < facts->model_count ? rows : facts->model_count;
    return MYR_OK;
}

static myr_rc measure_times(const myr_fleet *fleet, myr_arena *arena, myr_advise_facts *facts, myr_err *err)
{
    measure_table table = {.fleet = fleet, .arena = arena};
    MYR_TRY(measure_make(&table, err));
    myr_col *part = myr_arena_calloc(arena, fleet->info->feature_count + 1, sizeof *part);
    myr_score_scratch *scratch = myr_score_scratch_new();
    myr_rc rc = part != NULL && scratch != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory");
    if (rc == MYR_OK) rc = measure_single(&table, scratch, part, facts, err);
    if (rc == MYR_OK) rc = measure_rounds(&table, scratch, part, facts, err);
    myr_score_scratch_free(scratch);
    return rc;
}

static myr_rc measure_sizes(const myr_fleet *fleet, myr_arena *arena, myr_advise_facts *facts, myr_err *err)
{
    uint32_t count = fleet->info->model_count;
    MYR_ASSERT(count > 0); /* a release has models */
    double *sizes = myr_arena_calloc(arena, count, sizeof *sizes);
    if (sizes == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < count; i++) {
        myr_pack_entry entry = {0};
        MYR_TRY(myr_pack_get_entry(fleet->pack, i, &entry, err));
        sizes[i] = (double)entry.model_bytes;
        facts->model_bytes += (int64_t)entry.model_bytes;
    }
    qsort(sizes, count, sizeof *sizes, measure_compare_doubles);
    facts->model_bytes_median = (int64_t)measure_quantile(sizes, count, 0.5);
    facts->model_bytes_max = (int64_t)sizes[count - 1];
    return MYR_OK;
}

static myr_rc measure_runs(myr_workspace *workspace, myr_arena *arena, myr_advise_facts *facts, myr_err *err)
{
    myr_run_row *runs = NULL;
    size_t run_count = 0;
    double rows[MYR_ADVISE_RUNS_MAX], times[MYR_ADVISE_RUNS_MAX];
    MYR_TRY(myr_registry_runs(workspace->registry, arena, MEASURE_RUNS_MAX, &runs, &run_count, err)); /* newest first */
    for (size_t i = 0; i < run_count && facts->run_count < MYR_ADVISE_RUNS_MAX; i++) {
        if (strcmp(runs[i].fleet, facts->fleet) != 0 || strcmp(runs[i].state, "completed") != 0) continue;
        if (facts->run_count == 0) {
            facts->run_rows = runs[i].row_count;
            facts->run_ms = runs[i].ended_ms - runs[i].started_ms;
        }
        rows[facts->run_count] = (double)runs[i].row_count;
        times[facts->run_count++] = (double)(runs[i].ended_ms - runs[i].started_ms);
    }
    if (facts->run_count == 0) return MYR_OK;
    qsort(rows, facts->run_count, sizeof *rows, measure_compare_doubles);
    qsort(times, facts->run_count, sizeof *times, measure_compare_doubles);
    facts->run_rows_median = (int64_t)measure_quantile(rows, facts->run_count, 0.5);
    facts->run_ms_median = (int64_t)measure_quantile(times, facts->run_count, 0.5);
    return MYR_OK;
}

/* A JSON text that may stand between single quotes of a shell. */
static void measure_json(myr_buf *out, myr_str text)
{
    MYR_AUTO(myr_buf) quoted = {0};
    myr_buf_json_string(&quoted, text);
    for (size_t i = 0; i < quoted.size; i++) {
        if (quoted.data[i] == '\'') {
            myr_buf_puts(out, "\\u0027");
        } else {
            myr_buf_putc(out, quoted.data[i]);
        }
    }
}

/* A row of the first model as JSON: its keys, and features while there is room (a missing one is a missing value). */
static myr_rc measure_example(const myr_fleet *fleet, myr_advise_facts *facts, myr_err *err)
{
    myr_segment segment = {0};
    MYR_AUTO(myr_buf) row = {0};
    MYR_TRY(measure_segment(fleet, 0, &segment, err));
    myr_buf_putc(&row, '{');
    for (uint32_t i = 0; i < segment.part_count; i++) {
        int64_t number = 0;
        myr_str value = myr_str_make(segment.parts[i].value, segment.parts[i].value_size);
        if (i > 0) myr_buf_putc(&row, ',');
        measure_json(&row, myr_str_of(segment.parts[i].name));
        myr_buf_putc(&row, ':');
        if (myr_is_canonical_int64(value, &number)) {
            myr_buf_printf(&row, "%lld", (long long)number);
        } else {
            measure_json(&row, value);
        }
    }
    for (uint32_t i = 0; i < fleet->info->feature_count && row.size < MEASURE_ROW_BYTES; i++) {
        if (row.size > 1) myr_buf_putc(&row, ',');
        measure_json(&row, myr_str_of(fleet->info->features[i]));
        myr_buf_puts(&row, ":0");
    }
    myr_buf_putc(&row, '}');
    MYR_TRY(myr_buf_check(&row, err));
    myr_advise_copy(facts->row, sizeof facts->row, row.size < sizeof facts->row ? row.data : "{}");
    return MYR_OK;
}

myr_rc myr_advise_measure_fleet(myr_workspace *workspace, const char *name, myr_advise_facts *out, myr_err *err)
{
    MYR_AUTO(myr_fleet_ptr) fleet = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_advise_facts facts = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_fleet_open(workspace, name, 0, &fleet, err));
    myr_advise_copy(facts.fleet, sizeof facts.fleet, fleet->name);
    facts.release = fleet->release;
    facts.model_count = fleet->info->model_count;
    facts.feature_count = fleet->info->feature_count;
    facts.output_count = fleet->info->output_count;
    MYR_TRY(measure_sizes(fleet, arena, &facts, err));
    MYR_TRY(measure_times(fleet, arena, &facts, err));
    MYR_TRY(measure_runs(workspace, arena, &facts, err));
    MYR_TRY(measure_example(fleet, &facts, err));
    *out = facts;
    return MYR_OK;
}

/* ---- from facts to answers ---- */

/* The measure as text that answers, and how it came about. False if the facts do not hold it. */
static bool measure_value(const myr_advise_facts *facts, myr_advise_measure measure, int64_t *out_value, char *from,
                          size_t from_bytes)
{
    double core_ns = (double)facts->run_rows * facts->row_ns;
    char cost[48];
    switch (measure) {
    case MYR_ADVISE_ASKED:
        return false;
    case MYR_ADVISE_ROW_TIME:
        *out_value = (int64_t)facts->one_row_p99_ns;
        (void)snprintf(from, from_bytes, "measured: 99th percentile of %lld calls with one row",
                       (long long)facts->one_row_calls);
        return true;
    case MYR_ADVISE_RUN_ROWS:
        *out_value = facts->run_rows;
        (void)snprintf(from, from_bytes, "measured: rows of the last completed run");
        return facts->run_count > 0;
    case MYR_ADVISE_RUN_CORE_TIME:
        *out_value = core_ns < 9e18 ? (int64_t)core_ns : MYR_ADVISE_ANY;
        (void)snprintf(from, from_bytes, "measured: %lld rows of the last run at %s each", (long long)facts->run_rows,
                       myr_advise_format_ns(facts->row_ns, cost, sizeof cost));
        return facts->run_count > 0;
    }
    return false;
}

myr_rc myr_advise_answer_measured(const myr_advise_trees *trees, const myr_advise_facts *facts,
                                  myr_advise_answers *answers, myr_err *err)
{
    myr_advise_answers taken = *answers;
    for (uint32_t i = 0; i < trees->question_count; i++) {
        const myr_advise_question *question = &trees->questions[i];
        int64_t value = 0;
        char from[sizeof taken.of[i].from], given[MYR_ADVISE_GIVEN_BYTES];
        if (taken.of[i].is_given || !measure_value(facts, question->measure, &value, from, sizeof from)) continue;
        bool is_time = question->unit == MYR_ADVISE_DURATION;
        (void)snprintf(given, sizeof given, "%lld%s", (long long)value, is_time ? "ns" : "");
        MYR_TRY(myr_advise_answer_set(trees, i, given, from, &taken, err));
        if (is_time) myr_advise_format_ns((double)value, taken.of[i].given, sizeof taken.of[i].given);
    }
    *answers = taken;
    return MYR_OK;
}
