/*
 * The walk over a graph: each node gives its outputs a meaning, in the order of the file (which ONNX wants sorted).
 * In the end the graph's outputs must be one model's scores, and labels beside them, which we do not answer.
 */
#include <string.h>

#include "import/onnx_graph.h"

void *myr_onnx_new(myr_onnx_eval *eval, size_t count, size_t size)
{
    return myr_arena_calloc(eval->onnx->arena, count + 1, size);
}

/* ---- names ---- */

static const myr_onnx_sym *eval_find(const myr_onnx_eval *eval, myr_str name)
{
    uint64_t at;
    if (name.size == 0 || !myr_map_find(eval->names, name, &at)) return NULL;
    return &eval->syms[at];
}

const myr_onnx_sym *myr_onnx_input(const myr_onnx_eval *eval, const myr_onnx_node *node, uint32_t k, myr_onnx_kind kind)
{
    const myr_onnx_sym *sym = k < node->input_count ? eval_find(eval, node->inputs[k]) : NULL;
    return sym != NULL && sym->kind == kind ? sym : NULL;
}

static myr_rc eval_put(myr_onnx_eval *eval, myr_str name, const myr_onnx_sym *sym)
{
    MYR_ASSERT(eval->sym_count < eval->sym_room);
    if (name.size == 0) return MYR_OK; /* an output that is left out */
    if (eval_find(eval, name) != NULL) {
        MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "value \"%.*s\" is made twice", MYR_STR_ARG(name));
    }
    eval->syms[eval->sym_count] = *sym;
    return myr_map_put(eval->names, name, eval->sym_count++, eval->onnx->err);
}

/* ---- inputs ---- */

static myr_rc eval_fill_columns(myr_onnx_eval *eval, myr_onnx_columns *columns, uint32_t first, uint32_t count)
{
    static const myr_onnx_step rounding = {.op = MYR_ONNX_STEP_ROUND, .single = true};
    columns->list = myr_onnx_new(eval, count, sizeof *columns->list);
    if (columns->list == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    columns->count = count;
    columns->is_open = false;
    for (uint32_t j = 0; j < count; j++) {
        bool rounded = columns->type == MYR_ONNX_FLOAT; /* cells come as doubles */
        columns->list[j] =
            (myr_onnx_column){.feature = first + j, .step_count = rounded ? 1 : 0, .steps = rounded ? &rounding : NULL};
    }
    return MYR_OK;
}

myr_rc myr_onnx_close(myr_onnx_eval *eval, myr_onnx_columns *columns, uint32_t count, bool *out_fits)
{
    if (columns->is_open) {
        MYR_TRY(eval_fill_columns(eval, columns, 0, count));
        eval->feature_count = count;
    }
    *out_fits = columns->count == count;
    return MYR_OK;
}

/* Columns, if the input is a table of numbers; foreign otherwise. */
static myr_rc eval_input(myr_onnx_eval *eval, const myr_onnx_value *input, uint32_t first)
{
    const myr_onnx_graph *graph = &eval->onnx->graph;
    bool number = input->type == MYR_ONNX_FLOAT || input->type == MYR_ONNX_DOUBLE || input->type == MYR_ONNX_INT64 ||
                  input->type == MYR_ONNX_INT32;
    bool ranked = input->is_tensor && input->has_shape && input->dim_count == 2;
    bool open = ranked && input->dims[1] == -1 && graph->input_count == 1;
    bool table = ranked && (input->width > 0 || open);
    myr_onnx_sym sym = {.is_input = true};
    if (number && table) {
        sym = (myr_onnx_sym){.kind = MYR_ONNX_IS_COLUMNS, .columns = myr_onnx_new(eval, 1, sizeof *sym.columns)};
        if (sym.columns == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
        *sym.columns = (myr_onnx_columns){.type = input->type, .is_open = open};
        if (!open) MYR_TRY(eval_fill_columns(eval, sym.columns, first, input->width));
    } else {
        sym.reason = myr_arena_printf(eval->onnx->arena, "input \"%.100s\" is no table [N,C] of numbers", input->name);
        if (sym.reason == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    }
    return eval_put(eval, myr_str_of(input->name), &sym);
}

static myr_rc eval_inputs(myr_onnx_eval *eval)
{
    const myr_onnx_graph *graph = &eval->onnx->graph;
    uint32_t first = 0;
    for (uint32_t k = 0; k < graph->tensor_count; k++) {
        const myr_onnx_sym sym = {.kind = MYR_ONNX_IS_TENSOR, .tensor = &graph->tensors[k]};
        MYR_TRY(eval_put(eval, graph->tensors[k].name, &sym));
    }
    for (uint32_t k = 0; k < graph->input_count; k++) {
        if (graph->inputs[k].width > MYR_FEATURES_MAX - first) {
            MYR_ONNX_FAIL(eval->onnx, TOO_LARGE, "more than %d features", MYR_FEATURES_MAX);
        }
        MYR_TRY(eval_input(eval, &graph->inputs[k], first));
        first += graph->inputs[k].width;
    }
    eval->feature_count = first;
    return MYR_OK;
}

/* ---- nodes ---- */

static myr_rc eval_constant(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    myr_onnx_tensor *tensor;
    MYR_TRY(myr_onnx_attr_tensor(eval->onnx, node, "value", &tensor));
    if (tensor == NULL) MYR_ONNX_FOREIGN(eval, node, "without a tensor as its value");
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_TENSOR, .tensor = tensor};
    return MYR_OK;
}

/* What is done to labels, of which we answer none, or what makes them from scores. */
static bool eval_is_labels(const myr_onnx_eval *eval, const myr_onnx_node *node)
{
    static const char *const plain[] = {"Cast", "Identity", "Reshape", "Squeeze", "Flatten", NULL};
    if (node->domain.size == 0 && myr_str_is(node->op, "ArgMax")) {
        return myr_onnx_input(eval, node, 0, MYR_ONNX_IS_SCORES) != NULL;
    }
    if (node->is_ml && myr_str_is(node->op, "ArrayFeatureExtractor")) {
        return myr_onnx_input(eval, node, 1, MYR_ONNX_IS_LABELS) != NULL;
    }
    if (node->domain.size > 0 || myr_onnx_input(eval, node, 0, MYR_ONNX_IS_LABELS) == NULL) return false;
    for (size_t k = 0; plain[k] != NULL; k++) {
        if (myr_str_is(node->op, plain[k])) return true;
    }
    return false;
}

static bool eval_has(const myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_kind kind)
{
    for (uint32_t k = 0; k < node->input_count; k++) {
        if (myr_onnx_input(eval, node, k, kind) != NULL) return true;
    }
    return false;
}

static myr_onnx_handler eval_model_handler(const myr_onnx_node *node)
{
    static const struct {
        const char *op;
        bool is_ml;
        myr_onnx_handler handler;
    } models[] = {{"TreeEnsembleRegressor", true, myr_onnx_trees},
                  {"TreeEnsembleClassifier", true, myr_onnx_trees},
                  {"TreeEnsemble", true, myr_onnx_tree_ensemble},
                  {"LinearRegressor", true, myr_onnx_linear},
                  {"LinearClassifier", true, myr_onnx_linear},
                  {"MatMul", false, myr_onnx_matmul},
                  {"Gemm", false, myr_onnx_gemm}};
    for (size_t k = 0; k < MYR_COUNT_OF(models); k++) {
        if (node->is_ml == models[k].is_ml && myr_str_is(node->op, models[k].op)) return models[k].handler;
    }
    return NULL;
}

/* A foreign input makes foreign outputs, for its own reason. */
static myr_rc eval_check_inputs(myr_onnx_eval *eval, const myr_onnx_node *node)
{
    for (uint32_t k = 0; k < node->input_count; k++) {
        const myr_onnx_sym *sym = eval_find(eval, node->inputs[k]);
        if (sym == NULL && node->inputs[k].size > 0) {
            MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "operator %.*s reads \"%.*s\", which nothing before it makes",
                          MYR_STR_ARG(node->op), MYR_STR_ARG(node->inputs[k]));
        }
        if (sym == NULL || sym->kind != MYR_ONNX_IS_FOREIGN) continue;
        if (sym->is_input) MYR_ONNX_FOREIGN(eval, node, "%s", sym->reason);
        MYR_FAIL(eval->onnx->err, UNSUPPORTED, "%s", sym->reason);
    }
    if (node->output_count == 0) MYR_ONNX_FOREIGN(eval, node, "it has no output");
    if (node->domain.size > 0 && !node->is_ml) {
        MYR_ONNX_FOREIGN(eval, node, "of domain %.*s is not known", MYR_STR_ARG(node->domain));
    }
    return MYR_OK;
}

static myr_rc eval_dispatch(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    MYR_TRY(eval_check_inputs(eval, node));
    myr_onnx_handler model = eval_model_handler(node);
    if (model != NULL) return model(eval, node, out);
    if (!node->is_ml && myr_str_is(node->op, "Constant")) return eval_constant(eval, node, out);
    if (eval_is_labels(eval, node)) {
        out[0].kind = MYR_ONNX_IS_LABELS;
        return MYR_OK;
    }
    if (eval_has(eval, node, MYR_ONNX_IS_SCORES) || eval_has(eval, node, MYR_ONNX_IS_OPPOSITE)) {
        return myr_onnx_finish(eval, node, out);
    }
    if (eval_has(eval, node, MYR_ONNX_IS_COLUMNS)) return myr_onnx_prepare(eval, node, out);
    MYR_ONNX_FOREIGN(eval, node, "not read where it stands");
}

static myr_rc eval_node(myr_onnx_eval *eval, const myr_onnx_node *node)
{
    myr_onnx_sym *out = myr_onnx_new(eval, node->output_count, sizeof *out);
    myr_err why = {0};
    myr_err *err = eval->onnx->err;
    if (out == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    eval->onnx->err = &why;
    myr_rc rc = eval_dispatch(eval, node, out);
    eval->onnx->err = err;
    if (rc != MYR_OK && rc != MYR_UNSUPPORTED) {
        if (err != NULL) *err = why;
        return rc;
    }
    const char *reason = rc == MYR_OK ? "is not read" : myr_arena_printf(eval->onnx->arena, "%s", why.message);
    if (reason == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < node->output_count; k++) {
        if (rc != MYR_OK) out[k] = (myr_onnx_sym){.kind = MYR_ONNX_IS_FOREIGN};
        if (out[k].kind == MYR_ONNX_IS_FOREIGN) out[k].reason = reason;
        MYR_TRY(eval_put(eval, node->outputs[k], &out[k]));
    }
    return MYR_OK;
}

/* ---- outputs ---- */

static myr_rc eval_output(myr_onnx_eval *eval, const myr_onnx_value *output, const myr_onnx_scores **out)
{
    const myr_onnx_sym *sym = eval_find(eval, myr_str_of(output->name));
    if (sym == NULL) MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "nothing makes output \"%s\"", output->name);
    switch (sym->kind) {
    case MYR_ONNX_IS_FOREIGN:
        MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "%s", sym->reason);
    case MYR_ONNX_IS_LABELS:
        return MYR_OK;
    case MYR_ONNX_IS_SCORES:
        if (*out != NULL && *out != sym->scores) {
            MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "output \"%s\" gives other scores than the one before it",
                          output->name);
        }
        *out = sym->scores;
        return MYR_OK;
    default:
        MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "output \"%s\" is not the scores of a model", output->name);
    }
}

static myr_rc eval_outputs(myr_onnx_eval *eval, const myr_onnx_scores **out)
{
    const myr_onnx_graph *graph = &eval->onnx->graph;
    *out = NULL;
    for (uint32_t k = 0; k < graph->output_count; k++) {
        MYR_TRY(eval_output(eval, &graph->outputs[k], out));
    }
    if (*out == NULL) MYR_ONNX_FAIL(eval->onnx, UNSUPPORTED, "the graph answers labels alone, or nothing");
    return MYR_OK;
}

static myr_rc eval_room(myr_onnx_eval *eval)
{
    const myr_onnx_graph *graph = &eval->onnx->graph;
    uint64_t room = (uint64_t)graph->tensor_count + graph->input_count;
    for (uint32_t k = 0; k < graph->node_count; k++) {
        room += graph->nodes[k].output_count;
    }
    if (room > UINT32_MAX) MYR_ONNX_FAIL(eval->onnx, TOO_LARGE, "the graph has %llu values", (unsigned long long)room);
    eval->sym_room = (uint32_t)room + 1;
    eval->syms = myr_onnx_new(eval, eval->sym_room, sizeof *eval->syms);
    if (eval->syms == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    return MYR_OK;
}

static myr_rc eval_graph(myr_onnx_eval *eval, const myr_onnx_scores **out)
{
    myr_onnx *onnx = eval->onnx;
    MYR_TRY(myr_onnx_parse(onnx));
    MYR_TRY(myr_onnx_drop_initialized(onnx));
    if (onnx->has_functions) MYR_ONNX_FAIL(onnx, UNSUPPORTED, "the file defines operators of its own");
    MYR_TRY(eval_room(eval));
    MYR_TRY(eval_inputs(eval));
    for (uint32_t k = 0; k < onnx->graph.node_count; k++) {
        MYR_TRY(eval_node(eval, &onnx->graph.nodes[k]));
    }
    return eval_outputs(eval, out);
}

myr_rc myr_import_onnx(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    myr_onnx onnx = {.src = src, .arena = out->arena, .err = err};
    myr_onnx_eval eval = {.onnx = &onnx};
    const myr_onnx_scores *scores;
    MYR_AUTO(myr_map_ptr) names = myr_map_new();
    if (names == NULL) MYR_ONNX_ALLOC_FAIL(&onnx);
    eval.names = names;
    MYR_TRY(eval_graph(&eval, &scores));
    MYR_TRY(myr_onnx_feature_names(&onnx, &out->feature_names, &out->feature_count));
    if (out->feature_count == 0) out->feature_count = eval.feature_count;
    out->algorithm = "onnx";
    out->objective = scores->op;
    out->desc = scores->desc;
    out->desc.feature_count = out->feature_count;
    MYR_ASSERT(scores->desc.feature_count <= out->feature_count);
    return MYR_OK;
}
