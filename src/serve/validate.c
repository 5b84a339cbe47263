/*
 * The stage `validate`: keys against the groups that are served, cells against the rules of the service file before the
 * models see them, predictions after. A row that breaks a rule is rejected, or goes to the next level, or its value is
 * brought to the bound it passed; its note says so.
 */
#include "serve/internal.h"

#include <math.h>
#include <string.h>

#define VALIDATE_VALUE_BYTES 64 /* of a value in a message */

/* ---- groups ---- */

/* Whether the row's key lies in a group; a key that is none is left to the scorer, which says why. */
static bool validate_is_inside(const serve_work *work, int64_t row_idx)
{
    const myr_key_schema *schema = &work->bound->fleet->info->keys;
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES];
    uint32_t present = 0;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const myr_col *col = &work->rows.keys[i];
        if (myr_key_value_from_col(schema->columns[i].type, col, row_idx, scratch[i], &values[i], NULL) != MYR_OK) {
            return true;
        }
        present |= values[i].is_null ? 0 : 1u << i;
    }
    serve_group *group = myr_serve_values_group(work->bound, values, present);
    if (group != NULL) atomic_fetch_add_explicit(&group->rows, 1, memory_order_relaxed);
    return group != NULL;
}

myr_rc myr_serve_check_groups(serve_work *work, myr_err *err)
{
    if (work->bound->plan->group_count == 0 || work->rows.fixed_model != MYR_PACK_NONE) return MYR_OK;
    for (int64_t row = 0; row < work->rows.row_count; row++) {
        if (validate_is_inside(work, row)) continue;
        MYR_TRY(myr_serve_work_mark_row(work, (size_t)row, SERVE_ROW_OUTSIDE, err));
        MYR_TRY(myr_serve_work_note(work, (size_t)row, err,
                                    "the key is not in the groups of fleet '%s' that are served here",
                                    work->bound->fleet->name));
    }
    return MYR_OK;
}

/* ---- cells ---- */

typedef struct validate_cell {
    bool is_null, is_number;
    double number;
    myr_str text; /* of a column of texts */
} validate_cell;

static validate_cell validate_read(const serve_work *work, uint32_t feature_idx, int64_t row_idx)
{
    const myr_col *col = &work->rows.features[feature_idx];
    validate_cell cell = {.is_null = myr_col_is_null(col, row_idx)};
    if (cell.is_null) return cell;
    if (col->type == MYR_COL_TEXT) {
        cell.text = col->data.text[row_idx];
        cell.is_number = myr_parse_double(cell.text, &cell.number);
        return cell;
    }
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    cell.number = col->type == MYR_COL_INT64 ? (double)col->data.i64[row_idx] : col->data.f64[row_idx * stride];
    cell.is_number = !isnan(cell.number);
    cell.is_null = !cell.is_number;
    return cell;
}

static const char *validate_text(const validate_cell *cell, char out[VALIDATE_VALUE_BYTES])
{
    if (cell->text.data != NULL) {
        int size = cell->text.size > 40 ? 40 : (int)cell->text.size;
        snprintf(out, VALIDATE_VALUE_BYTES, "'%.*s'", size, cell->text.data);
    } else {
        size_t size = myr_format_double(cell->number, out);
        out[size] = '\0';
    }
    return out;
}

static const char *validate_number(double number, char out[VALIDATE_VALUE_BYTES])
{
    return validate_text(&(validate_cell){.number = number}, out);
}

/* Of what was decoded; the doubles of a matrix share a stride, so all columns are copied at once. */
static bool validate_copy(const serve_work *work, myr_col *col)
{
    size_t row_count = (size_t)work->rows.row_count;
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    if (col->type == MYR_COL_TEXT) {
        myr_str *texts = myr_arena_alloc(work->arena, row_count * sizeof *texts);
        uint8_t *valid = myr_arena_alloc(work->arena, row_count);
        if (texts == NULL || valid == NULL) return false;
        memcpy(texts, col->data.text, row_count * sizeof *texts);
        for (size_t row = 0; row < row_count; row++)
            valid[row] = col->valid != NULL ? col->valid[row] : 1;
        col->data.text = texts;
        col->valid = valid;
        return true;
    }
    double *cells = myr_arena_alloc(work->arena, row_count * sizeof *cells);
    if (cells == NULL) return false;
    for (size_t row = 0; row < row_count; row++) {
        bool is_null = myr_col_is_null(col, (int64_t)row);
        cells[row] = is_null ? (double)NAN : col->data.f64[(int64_t)row * stride];
    }
    col->data.f64 = cells;
    col->valid = NULL;
    return true;
}

myr_rc myr_serve_own_features(serve_work *work, myr_err *err)
{
    uint32_t count = work->bound->fleet->info->feature_count;
    if (work->owns_features) return MYR_OK;
    myr_col *cols = myr_arena_alloc(work->arena, count * sizeof *cols);
    if (cols == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %u columns", count);
    for (uint32_t j = 0; j < count; j++) {
        cols[j] = work->rows.features[j];
        if (!validate_copy(work, &cols[j])) MYR_FAIL(err, NO_MEMORY, "out of memory for %u columns", count);
    }
    work->rows.features = cols;
    work->rows.feature_stride = 0;
    work->owns_features = true;
    return MYR_OK;
}

/* ---- inputs ---- */

static bool validate_is_in_set(const serve_check *check, const validate_cell *cell)
{
    for (uint32_t i = 0; i < check->set_count; i++) {
        bool is_same = cell->text.data != NULL ? myr_str_is(cell->text, check->texts[i])
                                               : check->numbers != NULL && check->numbers[i] == cell->number;
        if (is_same) return true;
    }
    return false;
}

/* What is wrong with a cell, appended to "'price' is 12"; NULL: nothing. */
static const char *validate_fault(const serve_check *check, const validate_cell *cell)
{
    if (cell->is_null) return check->is_required ? "missing" : NULL;
    if (check->set_count > 0 && !validate_is_in_set(check, cell)) return "not one of the values that are allowed";
    bool wants_number = check->is_finite || check->is_whole || isfinite(check->min) || isfinite(check->max);
    if (wants_number && !cell->is_number) return "not a number";
    if (check->is_finite && !isfinite(cell->number)) return "not finite";
    if (check->is_whole && floor(cell->number) != cell->number) return "not a whole number";
    return NULL;
}

/* Reject the row or send it to the next level. */
static myr_rc validate_refuse(serve_work *work, size_t row_idx, serve_violation then, myr_err *err)
{
    bool can_fall = then == SERVE_FALLBACK && work->rows.fixed_model == MYR_PACK_NONE;
    return myr_serve_work_mark_row(work, row_idx, can_fall ? SERVE_ROW_FALLS : SERVE_ROW_REJECTED, err);
}

static myr_rc validate_bound(serve_work *work, const serve_check *check, uint32_t feature_idx, size_t row_idx,
                             const validate_cell *cell, myr_err *err)
{
    char text[VALIDATE_VALUE_BYTES], limit[VALIDATE_VALUE_BYTES];
    bool is_below = cell->number < check->min;
    double bound = is_below ? check->min : check->max;
    if (!is_below && cell->number <= check->max) return MYR_OK;
    const char *side = is_below ? "below" : "above";
    bool can_clamp = check->then == SERVE_CLAMP && work->rows.features[feature_idx].type == MYR_COL_DOUBLE;
    if (!can_clamp) {
        MYR_TRY(myr_serve_work_note(work, row_idx, err, "'%.60s' is %s, %s %s", check->name, validate_text(cell, text),
                                    side, validate_number(bound, limit)));
        return validate_refuse(work, row_idx, check->then, err);
    }
    MYR_TRY(myr_serve_own_features(work, err));
    ((double *)(uintptr_t)work->rows.features[feature_idx].data.f64)[row_idx] =
        bound; /* its own: see myr_serve_own_features */
    return myr_serve_work_note(work, row_idx, err, "'%.60s' is %s, %s %s, and was taken as that", check->name,
                               validate_text(cell, text), side, validate_number(bound, limit));
}

static myr_rc validate_cell_check(serve_work *work, const serve_check *check, uint32_t feature_idx, size_t row_idx,
                                  myr_err *err)
{
    validate_cell cell = validate_read(work, feature_idx, (int64_t)row_idx);
    char text[VALIDATE_VALUE_BYTES];
    const char *fault = validate_fault(check, &cell);
    if (fault == NULL) {
        return cell.is_null ? MYR_OK : validate_bound(work, check, feature_idx, row_idx, &cell, err);
    }
    MYR_TRY(myr_serve_work_note(work, row_idx, err, "'%.60s' is %s%s%s", check->name,
                                cell.is_null ? "" : validate_text(&cell, text), cell.is_null ? "" : ", ", fault));
    return validate_refuse(work, row_idx, check->then, err);
}

/* The first column that is below the one before it; nulls are passed over. */
static myr_rc validate_order(serve_work *work, const serve_order *order, const uint32_t *features, size_t row_idx,
                             myr_err *err)
{
    uint32_t before = UINT32_MAX;
    double last = -INFINITY;
    for (uint32_t i = 0; i < order->count; i++) {
        validate_cell cell = validate_read(work, features[i], (int64_t)row_idx);
        if (!cell.is_number) continue;
        if (cell.number < last) {
            char text[VALIDATE_VALUE_BYTES], limit[VALIDATE_VALUE_BYTES];
            MYR_TRY(myr_serve_work_note(work, row_idx, err, "'%.60s' is %s, below '%.60s', which is %s",
                                        order->names[i], validate_text(&cell, text), order->names[before],
                                        validate_number(last, limit)));
            return validate_refuse(work, row_idx, work->bound->plan->validate.then, err);
        }
        last = cell.number;
        before = i;
    }
    return MYR_OK;
}

myr_rc myr_serve_check_inputs(serve_work *work, myr_err *err)
{
    const serve_validate *rules = &work->bound->plan->validate;
    for (uint32_t i = 0; i < rules->check_count; i++) {
        for (size_t row = 0; row < (size_t)work->rows.row_count; row++)
            MYR_TRY(validate_cell_check(work, &rules->checks[i], work->bound->check_features[i], row, err));
    }
    for (uint32_t i = 0; i < rules->order_count; i++) {
        for (size_t row = 0; row < (size_t)work->rows.row_count; row++)
            MYR_TRY(validate_order(work, &rules->orders[i], work->bound->order_features[i], row, err));
    }
    return MYR_OK;
}

/* ---- predictions ---- */

/* Bring a value to its bound or say no. */
static myr_rc validate_value(serve_work *work, const serve_output_check *rule, size_t row_idx, double *value,
                             myr_err *err)
{
    if (rule->is_finite && !isfinite(*value)) {
        MYR_TRY(myr_serve_work_note(work, row_idx, err, "the prediction is not finite"));
        return validate_refuse(work, row_idx, rule->then, err);
    }
    bool is_below = *value < rule->min;
    if (!is_below && !(*value > rule->max)) return MYR_OK; /* a NaN is finite's matter */
    double bound = is_below ? rule->min : rule->max;
    const char *side = is_below ? "below" : "above";
    char text[VALIDATE_VALUE_BYTES], limit[VALIDATE_VALUE_BYTES];
    if (rule->then == SERVE_CLAMP) {
        MYR_TRY(myr_serve_work_note(work, row_idx, err, "the prediction was %s, %s %s, and was set to that",
                                    validate_number(*value, text), side, validate_number(bound, limit)));
        *value = bound;
        return MYR_OK;
    }
    MYR_TRY(myr_serve_work_note(work, row_idx, err, "the prediction is %s, %s %s", validate_number(*value, text), side,
                                validate_number(bound, limit)));
    return validate_refuse(work, row_idx, rule->then, err);
}

static myr_rc validate_rising(serve_work *work, const serve_output_check *rule, const myr_answers *answers,
                              size_t row_idx, myr_err *err)
{
    for (uint32_t k = 1; k < answers->width; k++) {
        double before = answers->values[k - 1][row_idx], *value = &answers->values[k][row_idx];
        if (!(*value < before)) continue;
        char text[VALIDATE_VALUE_BYTES], limit[VALIDATE_VALUE_BYTES];
        bool can_clamp = rule->then == SERVE_CLAMP;
        MYR_TRY(myr_serve_work_note(work, row_idx, err, "prediction %u %s %s, below the one before it, %s%s", k,
                                    can_clamp ? "was" : "is", validate_number(*value, text),
                                    validate_number(before, limit), can_clamp ? ", and was set to that" : ""));
        if (!can_clamp) return validate_refuse(work, row_idx, rule->then, err);
        *value = before;
    }
    return MYR_OK;
}

myr_rc myr_serve_check_outputs(serve_work *work, myr_err *err)
{
    const serve_output_check *rule = &work->bound->plan->validate.output;
    for (uint32_t i = 0; rule->is_there && i < work->output_count; i++) {
        const myr_answers *answers = &work->answers[i];
        if (answers->output != MYR_OUTPUT_VALUE) continue;
        for (size_t row = 0; row < (size_t)work->rows.row_count; row++) {
            if (work->statuses[row] != MYR_ROW_OK) continue;
            for (uint32_t k = 0; k < answers->width; k++)
                MYR_TRY(validate_value(work, rule, row, &answers->values[k][row], err));
            if (rule->is_monotone) MYR_TRY(validate_rising(work, rule, answers, row, err));
        }
    }
    return MYR_OK;
}
