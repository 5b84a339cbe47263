/*
 * Operators between the inputs and the model: they add steps to columns, or choose and join columns. What is not
 * monotone in one column alone (Normalizer, encoders, an Imputer of a value that is not NaN) stays foreign.
 */
#include <math.h>
#include <string.h>

#include "import/onnx_graph.h"

/* A copy of `from` with room for `more` further steps per column. */
static myr_onnx_columns *prepare_copy(myr_onnx_eval *eval, const myr_onnx_columns *from)
{
    myr_onnx_columns *to = myr_onnx_new(eval, 1, sizeof *to);
    if (to == NULL) return NULL;
    *to = *from;
    to->list = myr_onnx_new(eval, from->count, sizeof *to->list);
    if (to->list == NULL) return NULL;
    memcpy(to->list, from->list, from->count * sizeof *to->list);
    return to;
}

static myr_rc prepare_step(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_column *column, myr_onnx_op op,
                           bool single, double c)
{
    bool factor = op == MYR_ONNX_STEP_MUL || op == MYR_ONNX_STEP_DIV;
    if (!isfinite(c) && op != MYR_ONNX_STEP_FILL) MYR_ONNX_FOREIGN(eval, node, "a constant is %g", c);
    if (factor && c == 0.0) MYR_ONNX_FOREIGN(eval, node, "a factor is 0");
    if (column->step_count == MYR_ONNX_STEPS_MAX) {
        MYR_ONNX_FOREIGN(eval, node, "more than %d operations on one column", MYR_ONNX_STEPS_MAX);
    }
    myr_onnx_step *steps = myr_onnx_new(eval, column->step_count + 1, sizeof *steps);
    if (steps == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    if (column->step_count > 0) memcpy(steps, column->steps, column->step_count * sizeof *steps);
    steps[column->step_count++] = (myr_onnx_step){.op = op, .single = single, .c = c};
    column->steps = steps;
    return MYR_OK;
}

/* The columns of input 0, closed to `count` if they were open (count 0: they must be closed). */
static myr_rc prepare_columns(myr_onnx_eval *eval, const myr_onnx_node *node, size_t count, myr_onnx_columns **out)
{
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    bool fits = true;
    if (sym == NULL) MYR_ONNX_FOREIGN(eval, node, "its input is no columns of the graph's inputs");
    if (sym->columns->is_open && count > 1 && count <= MYR_FEATURES_MAX) {
        MYR_TRY(myr_onnx_close(eval, sym->columns, (uint32_t)count, &fits));
    }
    if (sym->columns->is_open) MYR_ONNX_FOREIGN(eval, node, "the input does not say how many columns it has");
    if (count > 1 && sym->columns->count != count) {
        MYR_ONNX_FOREIGN(eval, node, "%zu constants for %u columns", count, sym->columns->count);
    }
    *out = prepare_copy(eval, sym->columns);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    return MYR_OK;
}

/* ---- ai.onnx.ml ---- */

static myr_rc prepare_scaler(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    static const char *const known[] = {"scale", "offset", NULL};
    float *scale;
    float *offset;
    size_t scale_count;
    size_t offset_count;
    myr_onnx_columns *columns;
    MYR_TRY(myr_onnx_check_attrs(eval->onnx, node, known));
    MYR_TRY(myr_onnx_attr_floats(eval->onnx, node, "scale", &scale, &scale_count));
    MYR_TRY(myr_onnx_attr_floats(eval->onnx, node, "offset", &offset, &offset_count));
    if (scale_count == 0 || scale_count != offset_count) {
        MYR_ONNX_FOREIGN(eval, node, "%zu scales, %zu offsets", scale_count, offset_count);
    }
    MYR_TRY(prepare_columns(eval, node, scale_count, &columns));
    bool single = columns->type != MYR_ONNX_DOUBLE;
    for (uint32_t j = 0; j < columns->count; j++) {
        size_t k = scale_count == 1 ? 0 : j;
        myr_onnx_column *column = &columns->list[j];
        if (single && columns->type != MYR_ONNX_FLOAT) {
            MYR_TRY(prepare_step(eval, node, column, MYR_ONNX_STEP_ROUND, true, 0));
        }
        MYR_TRY(prepare_step(eval, node, column, MYR_ONNX_STEP_SUB, single, (double)offset[k]));
        MYR_TRY(prepare_step(eval, node, column, MYR_ONNX_STEP_MUL, single, (double)scale[k]));
        if (!single) MYR_TRY(prepare_step(eval, node, column, MYR_ONNX_STEP_ROUND, true, 0));
    }
    columns->type = MYR_ONNX_FLOAT;
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = columns};
    return MYR_OK;
}

static myr_rc prepare_imputer(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    static const char *const known[] = {"imputed_value_floats", "replaced_value_float", NULL};
    float *values;
    size_t count;
    float replaced;
    myr_onnx_columns *columns;
    MYR_TRY(myr_onnx_check_attrs(eval->onnx, node, known));
    MYR_TRY(myr_onnx_attr_floats(eval->onnx, node, "imputed_value_floats", &values, &count));
    MYR_TRY(myr_onnx_attr_float(eval->onnx, node, "replaced_value_float", 0.0f, &replaced));
    if (!isnan(replaced))
        MYR_ONNX_FOREIGN(eval, node, "it replaces %g; only the replacing of NaN is read", (double)replaced);
    if (count == 0) MYR_ONNX_FOREIGN(eval, node, "no imputed_value_floats");
    MYR_TRY(prepare_columns(eval, node, count, &columns));
    if (columns->type != MYR_ONNX_FLOAT) MYR_ONNX_FOREIGN(eval, node, "its input is not of floats");
    for (uint32_t j = 0; j < columns->count; j++) {
        double value = (double)values[count == 1 ? 0 : j];
        MYR_TRY(prepare_step(eval, node, &columns->list[j], MYR_ONNX_STEP_FILL, true, value));
    }
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = columns};
    return MYR_OK;
}

/* ArrayFeatureExtractor, and Gather along the columns. */
static myr_rc prepare_choose(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    const myr_onnx_sym *which = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_TENSOR);
    int64_t *indices;
    int64_t axis = 1;
    myr_onnx_columns *columns;
    if (which == NULL) MYR_ONNX_FOREIGN(eval, node, "the columns to choose are no constant");
    if (!node->is_ml) MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "axis", 0, &axis));
    if ((axis != 1 && axis != -1) || (!node->is_ml && which->tensor->dim_count != 1)) {
        MYR_ONNX_FOREIGN(eval, node, "it does not choose columns");
    }
    MYR_TRY(myr_onnx_tensor_int64s(eval->onnx, which->tensor, &indices));
    MYR_TRY(prepare_columns(eval, node, 0, &columns));
    if (which->tensor->count == 0 || which->tensor->count > MYR_FEATURES_MAX) {
        MYR_ONNX_FOREIGN(eval, node, "it chooses %llu columns", (unsigned long long)which->tensor->count);
    }
    myr_onnx_columns *chosen = myr_onnx_new(eval, 1, sizeof *chosen);
    if (chosen == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    *chosen = (myr_onnx_columns){.type = columns->type, .count = (uint32_t)which->tensor->count};
    chosen->list = myr_onnx_new(eval, chosen->count, sizeof *chosen->list);
    if (chosen->list == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < chosen->count; k++) {
        if (indices[k] < 0 || indices[k] >= (int64_t)columns->count) {
            MYR_ONNX_FOREIGN(eval, node, "column %lld of %u", (long long)indices[k], columns->count);
        }
        chosen->list[k] = columns->list[indices[k]];
    }
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = chosen};
    return MYR_OK;
}

/* ---- ai.onnx ---- */

static myr_rc prepare_cast(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    int64_t to;
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    myr_onnx_columns *columns;
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "to", 0, &to));
    if (sym->columns->type == to) {
        out[0] = *sym;
        return MYR_OK;
    }
    if (to != MYR_ONNX_FLOAT && to != MYR_ONNX_DOUBLE) MYR_ONNX_FOREIGN(eval, node, "to type %lld", (long long)to);
    MYR_TRY(prepare_columns(eval, node, 0, &columns));
    for (uint32_t j = 0; to == MYR_ONNX_FLOAT && j < columns->count; j++) {
        MYR_TRY(prepare_step(eval, node, &columns->list[j], MYR_ONNX_STEP_ROUND, true, 0));
    }
    columns->type = to;
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = columns};
    return MYR_OK;
}

/* Numbers that stand beside columns: one for all, or one for each ([], [1], [C], [1,C]). */
static bool prepare_is_row(const myr_onnx_tensor *tensor)
{
    for (uint32_t k = 0; k + 1 < tensor->dim_count; k++) {
        if (tensor->dims[k] != 1) return false;
    }
    return tensor->dim_count <= 2 && tensor->count > 0;
}

static myr_rc prepare_arithmetic(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_op op, myr_onnx_sym *out)
{
    bool commutes = op == MYR_ONNX_STEP_ADD || op == MYR_ONNX_STEP_MUL;
    bool swapped = commutes && myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS) == NULL;
    const myr_str swapped_inputs[2] = {node->inputs[1], node->inputs[0]};
    myr_onnx_node turned = *node;
    if (swapped) turned.inputs = swapped_inputs;
    const myr_onnx_sym *with = myr_onnx_input(eval, &turned, 1, MYR_ONNX_IS_TENSOR);
    double *numbers;
    myr_onnx_columns *columns;
    if (with == NULL || !prepare_is_row(with->tensor))
        MYR_ONNX_FOREIGN(eval, node, "not of columns and a row of constants");
    MYR_TRY(myr_onnx_tensor_doubles(eval->onnx, with->tensor, &numbers));
    MYR_TRY(prepare_columns(eval, &turned, with->tensor->count, &columns));
    if (columns->type != with->tensor->type) MYR_ONNX_FOREIGN(eval, node, "of different types");
    for (uint32_t j = 0; j < columns->count; j++) {
        MYR_TRY(prepare_step(eval, node, &columns->list[j], op, columns->type == MYR_ONNX_FLOAT,
                             numbers[with->tensor->count == 1 ? 0 : j]));
    }
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = columns};
    return MYR_OK;
}

static myr_rc prepare_concat(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    int64_t axis;
    uint64_t count = 0;
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "axis", 0, &axis));
    if (axis != 1 && axis != -1) MYR_ONNX_FOREIGN(eval, node, "along axis %lld", (long long)axis);
    const myr_onnx_sym *first = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    for (uint32_t k = 0; k < node->input_count; k++) {
        const myr_onnx_sym *part = myr_onnx_input(eval, node, k, MYR_ONNX_IS_COLUMNS);
        if (part == NULL || part->columns->is_open || part->columns->type != first->columns->type) {
            MYR_ONNX_FOREIGN(eval, node, "input %u is no columns of the first one's type", k);
        }
        count += part->columns->count;
    }
    if (count > MYR_FEATURES_MAX) MYR_ONNX_FOREIGN(eval, node, "more than %d columns", MYR_FEATURES_MAX);
    myr_onnx_columns *all = myr_onnx_new(eval, 1, sizeof *all);
    if (all == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    all->type = first->columns->type;
    all->list = myr_onnx_new(eval, count, sizeof *all->list);
    if (all->list == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < node->input_count; k++) {
        const myr_onnx_columns *part = myr_onnx_input(eval, node, k, MYR_ONNX_IS_COLUMNS)->columns;
        memcpy(all->list + all->count, part->list, part->count * sizeof *part->list);
        all->count += part->count;
    }
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = all};
    return MYR_OK;
}

myr_rc myr_onnx_prepare(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    static const struct {
        const char *op;
        myr_onnx_op step;
    } arithmetic[] = {
        {"Add", MYR_ONNX_STEP_ADD}, {"Sub", MYR_ONNX_STEP_SUB}, {"Mul", MYR_ONNX_STEP_MUL}, {"Div", MYR_ONNX_STEP_DIV}};
    if (node->is_ml) {
        if (myr_str_is(node->op, "Scaler")) return prepare_scaler(eval, node, out);
        if (myr_str_is(node->op, "Imputer")) return prepare_imputer(eval, node, out);
        if (myr_str_is(node->op, "ArrayFeatureExtractor")) return prepare_choose(eval, node, out);
        MYR_ONNX_FOREIGN(eval, node, "not read where it stands");
    }
    if (myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS) == NULL && node->input_count != 2) {
        MYR_ONNX_FOREIGN(eval, node, "not read where it stands");
    }
    if (myr_str_is(node->op, "Cast") && node->input_count == 1) return prepare_cast(eval, node, out);
    if (myr_str_is(node->op, "Concat")) return prepare_concat(eval, node, out);
    if (myr_str_is(node->op, "Gather")) return prepare_choose(eval, node, out);
    if (myr_str_is(node->op, "Identity") && node->input_count == 1) {
        out[0] = *myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
        return MYR_OK;
    }
    for (size_t k = 0; k < MYR_COUNT_OF(arithmetic); k++) {
        if (myr_str_is(node->op, arithmetic[k].op) && node->input_count == 2) {
            return prepare_arithmetic(eval, node, arithmetic[k].step, out);
        }
    }
    MYR_ONNX_FOREIGN(eval, node, "not read where it stands");
}
