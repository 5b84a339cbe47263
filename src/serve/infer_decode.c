/*
 * A V2 infer request: which fields its JSON may have and what they hold. Its inputs go one by one to infer_build.c.
 * What has the usual form comes from infer_scan.c; all else, and whatever is wrong, is read and judged here.
 */
#include "serve/infer_inside.h"

#define INFER_FIELDS 6

/* ---- reading one input ---- */

static myr_rc tensor_read_type(infer_tensor *tensor, yyjson_val *val, myr_err *err)
{
    if (!yyjson_is_str(val)) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': datatype is %s, not a string", tensor->name, myr_serve_json_kind(val));
    }
    tensor->type = myr_serve_datatype_find(myr_str_make(yyjson_get_str(val), yyjson_get_len(val)));
    if (tensor->type != NULL) return MYR_OK;
    if (yyjson_equals_str(val, "FP16") || yyjson_equals_str(val, "BF16")) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': %s is not supported, send FP32", tensor->name, yyjson_get_str(val));
    }
    MYR_FAIL(err, BAD_INPUT,
             "input '%s': unknown datatype '%s' (known: BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64, BYTES)",
             tensor->name, yyjson_get_str(val));
}

static myr_rc tensor_read_shape(infer_tensor *tensor, yyjson_val *val, myr_err *err)
{
    size_t idx, max;
    yyjson_val *dim;
    if (!yyjson_is_arr(val)) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': shape is %s, not an array", tensor->name, myr_serve_json_kind(val));
    }
    if (yyjson_arr_size(val) == 0 || yyjson_arr_size(val) > INFER_DIMS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': shape has %zu dimensions, expected [n] or [n,1]", tensor->name,
                 yyjson_arr_size(val));
    }
    yyjson_arr_foreach(val, idx, max, dim)
    {
        if (!yyjson_is_uint(dim)) {
            MYR_FAIL(err, BAD_INPUT, "input '%s': dimension %zu of shape is not an integer from 0", tensor->name, idx);
        }
        tensor->dims[tensor->dim_count++] = yyjson_get_uint(dim);
    }
    return MYR_OK;
}

/* Where its values are: an array of JSON, or the next bytes of the binary part. */
static myr_rc tensor_read_data(infer_build *build, infer_tensor *tensor, yyjson_val *parameters, myr_err *err)
{
    if (parameters != NULL && !yyjson_is_obj(parameters)) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': parameters is %s, not an object", tensor->name,
                 myr_serve_json_kind(parameters));
    }
    yyjson_val *size = yyjson_obj_get(parameters, "binary_data_size");
    if (yyjson_obj_get(parameters, "shared_memory_region") != NULL) {
        MYR_FAIL(err, UNSUPPORTED, "input '%s': shared memory is not supported: send the data", tensor->name);
    }
    if (size != NULL && tensor->data != NULL) {
        MYR_FAIL(err, BAD_INPUT, "input '%s' has both data and binary_data_size", tensor->name);
    }
    if (size != NULL) return myr_serve_binary_take(build, tensor, size, err);
    if (tensor->data == NULL) MYR_FAIL(err, BAD_INPUT, "input '%s' has no data", tensor->name);
    if (yyjson_is_arr(tensor->data)) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "input '%s': data is %s, not an array", tensor->name, myr_serve_json_kind(tensor->data));
}

static myr_rc tensor_read(infer_build *build, yyjson_val *input, size_t input_idx, infer_tensor *out, myr_err *err)
{
    static const char *const known[] = {"name", "shape", "datatype", "parameters", "data", NULL};
    if (!yyjson_is_obj(input)) {
        MYR_FAIL(err, BAD_INPUT, "inputs[%zu] is %s, not an object", input_idx, myr_serve_json_kind(input));
    }
    yyjson_val *fields[MYR_COUNT_OF(known) - 1] = {0};
    size_t idx, max;
    yyjson_val *key, *val;
    yyjson_obj_foreach(input, idx, max, key, val)
    {
        size_t at = 0;
        while (known[at] != NULL && !yyjson_equals_str(key, known[at]))
            at++;
        if (known[at] == NULL) {
            const char *nearest = myr_nearest(yyjson_get_str(key), known);
            MYR_FAIL(err, BAD_INPUT, "inputs[%zu]: unknown field '%s'%s%s%s", input_idx, yyjson_get_str(key),
                     nearest != NULL ? ", did you mean '" : "", nearest != NULL ? nearest : "",
                     nearest != NULL ? "'?" : "");
        }
        fields[at] = val;
    }
    if (!yyjson_is_str(fields[0])) MYR_FAIL(err, BAD_INPUT, "inputs[%zu] has no name (a string)", input_idx);
    *out = (infer_tensor){.name = yyjson_get_str(fields[0]), .data = fields[4]};
    MYR_TRY(tensor_read_shape(out, fields[1], err));
    MYR_TRY(tensor_read_type(out, fields[2], err));
    return tensor_read_data(build, out, fields[3], err);
}

static myr_rc build_inputs(infer_build *build, yyjson_val *inputs, myr_err *err)
{
    size_t idx, max;
    yyjson_val *input;
    if (!yyjson_is_arr(inputs)) MYR_FAIL(err, BAD_INPUT, "the request has no array 'inputs'");
    yyjson_arr_foreach(inputs, idx, max, input)
    {
        infer_tensor tensor;
        MYR_TRY(tensor_read(build, input, idx, &tensor, err));
        MYR_TRY(myr_serve_build_add(build, &tensor, err));
    }
    return myr_serve_build_end(build, err);
}

/* A body without JSON: all features of one model as FP64, row by row. */
static myr_rc build_raw(infer_build *build, myr_err *err)
{
    uint32_t width = build->info->feature_count;
    size_t row_bytes = (size_t)width * sizeof(double);
    infer_tensor tensor = {.name = width == 1 ? build->info->features[0] : INFER_MATRIX_NAME,
                           .type = myr_serve_datatype_find(myr_str_of("FP64")),
                           .dim_count = width == 1 ? 1 : 2,
                           .raw = build->binary};
    MYR_ASSERT(width > 0 && tensor.type->kind == INFER_DOUBLE);
    if (build->work->target.model_idx == MYR_PACK_NONE && build->info->keys.column_count > 0) {
        MYR_FAIL(err, BAD_INPUT,
                 "a raw request holds features only: name one model of the fleet, as in %s@%s=…, or send JSON",
                 build->work->target.fleet->fleet->name, build->info->keys.columns[0].name);
    }
    if (tensor.raw.size % row_bytes != 0) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': a raw request of %zu bytes is not whole rows of %u FP64 values",
                 tensor.name, tensor.raw.size, width);
    }
    tensor.dims[0] = tensor.raw.size / row_bytes;
    tensor.dims[1] = width;
    build->binary = (myr_str){0};
    MYR_TRY(myr_serve_build_add(build, &tensor, err));
    return myr_serve_build_end(build, err);
}

static bool output_parse(myr_str name, myr_output *out)
{
    if (myr_str_is(name, SERVE_PREDICTION)) {
        *out = MYR_OUTPUT_VALUE;
        return true;
    }
    return myr_output_parse(name, out) && *out != MYR_OUTPUT_VALUE;
}

myr_rc myr_serve_output_add(serve_work *work, myr_str name, myr_err *err)
{
    myr_output asked;
    if (!output_parse(name, &asked)) {
        MYR_FAIL(err, BAD_INPUT,
                 "unknown output '" MYR_STR_FMT "' (known: prediction, margin, probability, leaf, contribution)",
                 MYR_STR_ARG(name));
    }
    for (uint32_t k = 0; k < work->output_count; k++) {
        if (work->outputs[k] == asked)
            MYR_FAIL(err, BAD_INPUT, "output '" MYR_STR_FMT "' is asked for twice", MYR_STR_ARG(name));
    }
    MYR_ASSERT(work->output_count < MYR_OUTPUT_COUNT); /* each at most once */
    work->outputs[work->output_count++] = asked;
    return MYR_OK;
}

/* A parameter that is true or false; *out stays as it is when it is not there. */
static myr_rc decode_flag(yyjson_val *parameters, const char *name, bool *out, myr_err *err)
{
    yyjson_val *flag = yyjson_obj_get(parameters, name);
    if (flag == NULL) return MYR_OK;
    if (!yyjson_is_bool(flag)) {
        MYR_FAIL(err, BAD_INPUT, "parameter '%s' is %s, not true or false", name, myr_serve_json_kind(flag));
    }
    *out = yyjson_get_bool(flag);
    return MYR_OK;
}

static myr_rc decode_output(yyjson_val *output, size_t idx, serve_work *work, infer_form *form, myr_err *err)
{
    yyjson_val *name = yyjson_obj_get(output, "name"), *parameters = yyjson_obj_get(output, "parameters");
    if (!yyjson_is_str(name)) MYR_FAIL(err, BAD_INPUT, "outputs[%zu] has no name (a string)", idx);
    MYR_TRY(myr_serve_output_add(work, myr_str_make(yyjson_get_str(name), yyjson_get_len(name)), err));
    if (parameters != NULL && !yyjson_is_obj(parameters)) {
        MYR_FAIL(err, BAD_INPUT, "output '%s': parameters is %s, not an object", yyjson_get_str(name),
                 myr_serve_json_kind(parameters));
    }
    static const char *const refused[] = {"classification", "shared_memory_region"};
    for (size_t k = 0; k < MYR_COUNT_OF(refused); k++) {
        if (yyjson_obj_get(parameters, refused[k]) != NULL)
            MYR_FAIL(err, UNSUPPORTED, "output '%s': %s is not supported", yyjson_get_str(name), refused[k]);
    }
    form->is_binary[work->output_count - 1] = form->is_binary_default;
    return decode_flag(parameters, "binary_data", &form->is_binary[work->output_count - 1], err);
}

static myr_rc decode_outputs(yyjson_val *outputs, serve_work *work, infer_form *form, myr_err *err)
{
    size_t idx, max;
    yyjson_val *output;
    if (outputs != NULL && !yyjson_is_arr(outputs))
        MYR_FAIL(err, BAD_INPUT, "'outputs' is %s, not an array", myr_serve_json_kind(outputs));
    yyjson_arr_foreach(outputs, idx, max, output) MYR_TRY(decode_output(output, idx, work, form, err));
    if (work->output_count > 0) return MYR_OK;
    work->outputs[0] = MYR_OUTPUT_VALUE;
    form->is_binary[0] = form->is_binary_default;
    work->output_count = 1;
    return MYR_OK;
}

int64_t myr_serve_infer_rows(yyjson_val *body)
{
    yyjson_val *input = yyjson_arr_get_first(yyjson_obj_get(body, "inputs"));
    yyjson_val *dim = yyjson_arr_get_first(yyjson_obj_get(input, "shape"));
    return yyjson_is_uint(dim) && yyjson_get_uint(dim) < INT64_MAX ? (int64_t)yyjson_get_uint(dim) : 0;
}

/* The fields of the request, by place in `known`. The last two are what KServe's client says of what its path says. */
static myr_rc decode_fields(yyjson_val *body, yyjson_val *fields[INFER_FIELDS], myr_err *err)
{
    static const char *const known[INFER_FIELDS + 1] = {"id",      "parameters", "inputs",
                                                        "outputs", "model_name", "model_version"};
    size_t idx, max;
    yyjson_val *key, *val;
    if (!yyjson_is_obj(body)) MYR_FAIL(err, BAD_INPUT, "the request is %s, not an object", myr_serve_json_kind(body));
    yyjson_obj_foreach(body, idx, max, key, val)
    {
        size_t at = 0;
        while (known[at] != NULL && !yyjson_equals_str(key, known[at]))
            at++;
        if (known[at] == NULL) {
            MYR_FAIL(err, BAD_INPUT, "unknown field '%s' (known: id, parameters, inputs, outputs)",
                     yyjson_get_str(key));
        }
        fields[at] = val;
    }
    if (fields[0] != NULL && !yyjson_is_str(fields[0])) {
        MYR_FAIL(err, BAD_INPUT, "'id' is %s, not a string", myr_serve_json_kind(fields[0]));
    }
    if (fields[1] != NULL && !yyjson_is_obj(fields[1])) {
        MYR_FAIL(err, BAD_INPUT, "'parameters' is %s, not an object", myr_serve_json_kind(fields[1]));
    }
    return MYR_OK;
}

/* V2's timeout, in microseconds; 0 and absent: none. */
static myr_rc decode_timeout(yyjson_val *parameters, serve_work *work, myr_err *err)
{
    yyjson_val *timeout = yyjson_obj_get(parameters, "timeout");
    if (timeout == NULL) return MYR_OK;
    if (!yyjson_is_uint(timeout)) {
        MYR_FAIL(err, BAD_INPUT, "parameter 'timeout' is %s, not a whole number of microseconds",
                 myr_serve_json_kind(timeout));
    }
    uint64_t limit_us = yyjson_get_uint(timeout);
    if (limit_us > 0) myr_serve_work_limit(work, limit_us < INT64_MAX / 1000 ? (int64_t)limit_us * 1000 : INT64_MAX);
    return MYR_OK;
}

static myr_rc decode_begin(const serve_call *call, serve_work *work, infer_build *build, infer_form *out, myr_err *err)
{
    *out = (infer_form){.is_binary_default = call->is_raw};
    work->is_whole = true;
    work->output_count = 0;
    MYR_TRY(myr_serve_build_begin(build, work, err));
    build->has_binary = call->has_binary;
    build->binary = call->binary;
    return MYR_OK;
}

/* A request of the usual form. Its errors are only a reason to read it again. */
static myr_rc decode_scanned(infer_build *build, const infer_scan *scan, infer_form *out)
{
    serve_work *work = build->work;
    out->is_binary_default = scan->is_binary == INFER_ON;
    for (uint32_t i = 0; i < scan->output_count; i++) {
        const infer_asked *asked = &scan->outputs[i];
        MYR_TRY(myr_serve_output_add(work, asked->name, NULL));
        out->is_binary[i] = asked->is_binary == INFER_UNSET ? out->is_binary_default : asked->is_binary == INFER_ON;
    }
    if (scan->output_count == 0) MYR_TRY(decode_outputs(NULL, work, out, NULL));
    for (const infer_tensor *input = scan->inputs; input != NULL; input = input->next) {
        infer_tensor tensor = *input;
        if (tensor.has_size) MYR_TRY(myr_serve_binary_take(build, &tensor, &tensor.size, NULL));
        MYR_TRY(myr_serve_build_add(build, &tensor, NULL));
    }
    MYR_TRY(myr_serve_build_end(build, NULL));
    work->id = scan->id;
    return MYR_OK;
}

myr_rc myr_serve_infer_decode(serve_call *call, serve_work *work, infer_form *out, myr_err *err)
{
    infer_build build;
    yyjson_val *fields[INFER_FIELDS] = {0};
    MYR_TRY(decode_begin(call, work, &build, out, err));
    if (call->is_raw) {
        MYR_TRY(decode_outputs(NULL, work, out, err));
        return build_raw(&build, err);
    }
    if (call->scan != NULL) {
        if (decode_scanned(&build, call->scan, out) == MYR_OK) return MYR_OK;
        MYR_TRY(myr_serve_json_read(call->thread, call->arena, call->json, &call->body, err));
        MYR_TRY(decode_begin(call, work, &build, out, err));
    }
    MYR_TRY(decode_fields(call->body, fields, err));
    MYR_TRY(decode_flag(fields[1], "binary_data_output", &out->is_binary_default, err));
    MYR_TRY(decode_timeout(fields[1], work, err));
    MYR_TRY(decode_outputs(fields[3], work, out, err));
    if (fields[0] != NULL) work->id = myr_str_make(yyjson_get_str(fields[0]), yyjson_get_len(fields[0]));
    return build_inputs(&build, fields[2], err);
}
