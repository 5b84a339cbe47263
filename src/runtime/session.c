/*
 * A session of ONNX Runtime and what is known about its tensors: which columns go into which input, which outputs are
 * the answer. What rows of a table can't be is refused here, by the name of the input or output.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"

/* ---- element types ---- */

static const struct {
    const char *name;
    size_t bytes;
    ONNXTensorElementDataType type;
} session_classes[] = {
    [RUNTIME_FLOAT] = {"float", sizeof(float), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    [RUNTIME_DOUBLE] = {"double", sizeof(double), ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
    [RUNTIME_INT64] = {"int64", sizeof(int64_t), ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    [RUNTIME_INT32] = {"int32", sizeof(int32_t), ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    [RUNTIME_BOOL] = {"bool", sizeof(bool), ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL},
    [RUNTIME_TEXT] = {"string", 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING},
    [RUNTIME_BYTES] = {"bytes", sizeof(uint8_t), ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    [RUNTIME_MAPS] = {"map", 0, ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED},
};
_Static_assert(MYR_COUNT_OF(session_classes) == RUNTIME_CLASS_COUNT, "a row per class");

const char *myr_runtime_class_name(runtime_class kind)
{
    MYR_ASSERT((unsigned)kind < RUNTIME_CLASS_COUNT);
    return session_classes[kind].name;
}

size_t myr_runtime_class_bytes(runtime_class kind)
{
    MYR_ASSERT((unsigned)kind < RUNTIME_CLASS_COUNT);
    return session_classes[kind].bytes;
}

ONNXTensorElementDataType myr_runtime_class_type(runtime_class kind)
{
    MYR_ASSERT((unsigned)kind < RUNTIME_CLASS_COUNT);
    return session_classes[kind].type;
}

static bool session_class_of(ONNXTensorElementDataType type, runtime_class *out)
{
    for (size_t i = 0; i < MYR_COUNT_OF(session_classes); i++) {
        if (session_classes[i].type != type || i == RUNTIME_MAPS) continue;
        *out = (runtime_class)i;
        return true;
    }
    return false;
}

/* ---- one tensor ---- */

/* What stays the same while a session is opened. */
typedef struct session_open {
    runtime_session *session;
    const OrtApi *api;
    const char *name; /* of the model, for messages */
    OrtAllocator *allocator;
    myr_err *err;
} session_open;

static myr_rc open_check(const session_open *open, OrtStatus *status)
{
    return myr_runtime_check(open->api, status, MYR_BAD_FORMAT, open->name, open->err);
}

static myr_rc tensor_shape(const session_open *open, const OrtTensorTypeAndShapeInfo *shape, const char *what,
                           runtime_tensor *tensor)
{
    ONNXTensorElementDataType type;
    size_t rank = 0;
    MYR_TRY(open_check(open, open->api->GetTensorElementType(shape, &type)));
    MYR_TRY(open_check(open, open->api->GetDimensionsCount(shape, &rank)));
    if (!session_class_of(type, &tensor->kind)) {
        MYR_FAIL(open->err, UNSUPPORTED,
                 "%.60s: %s '%.60s' has ONNX element type %d: float, double, int64, int32, bool, string and, as a "
                 "file, uint8 can be scored",
                 open->name, what, tensor->name, (int)type);
    }
    if (rank > RUNTIME_RANK_MAX) {
        MYR_FAIL(open->err, UNSUPPORTED, "%.60s: %s '%.60s' has %zu dimensions, at most %d", open->name, what,
                 tensor->name, rank, RUNTIME_RANK_MAX);
    }
    tensor->rank = (uint32_t)rank;
    return open_check(open, open->api->GetDimensions(shape, tensor->dims, rank));
}

/* A sequence of maps from a class to its probability: what ZipMap makes. */
static myr_rc tensor_maps(const session_open *open, const OrtTypeInfo *info, bool *out_is)
{
    const OrtApi *api = open->api;
    const OrtSequenceTypeInfo *sequence = NULL;
    const OrtMapTypeInfo *map = NULL;
    const OrtTensorTypeAndShapeInfo *value = NULL;
    OrtTypeInfo *element = NULL, *value_info = NULL;
    enum ONNXType type = ONNX_TYPE_UNKNOWN, value_type = ONNX_TYPE_UNKNOWN;
    ONNXTensorElementDataType cell = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    OrtStatus *status = api->CastTypeInfoToSequenceTypeInfo(info, &sequence);
    if (status == NULL) status = api->GetSequenceElementType(sequence, &element);
    if (status == NULL) status = api->GetOnnxTypeFromTypeInfo(element, &type);
    if (status == NULL && type == ONNX_TYPE_MAP) {
        status = api->CastTypeInfoToMapTypeInfo(element, &map);
        if (status == NULL) status = api->GetMapValueType(map, &value_info);
        if (status == NULL) status = api->GetOnnxTypeFromTypeInfo(value_info, &value_type);
        if (status == NULL) status = api->CastTypeInfoToTensorInfo(value_info, &value);
        if (status == NULL && value_type == ONNX_TYPE_TENSOR) status = api->GetTensorElementType(value, &cell);
    }
    *out_is = cell == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    if (value_info != NULL) api->ReleaseTypeInfo(value_info);
    if (element != NULL) api->ReleaseTypeInfo(element);
    return open_check(open, status);
}

static myr_rc tensor_read(const session_open *open, const OrtTypeInfo *info, const char *what, bool is_output,
                          runtime_tensor *tensor)
{
    enum ONNXType type = ONNX_TYPE_UNKNOWN;
    const OrtTensorTypeAndShapeInfo *shape = NULL;
    MYR_TRY(open_check(open, open->api->GetOnnxTypeFromTypeInfo(info, &type)));
    if (type == ONNX_TYPE_TENSOR) {
        MYR_TRY(open_check(open, open->api->CastTypeInfoToTensorInfo(info, &shape)));
        return tensor_shape(open, shape, what, tensor);
    }
    bool is_maps = false;
    if (is_output && type == ONNX_TYPE_SEQUENCE) MYR_TRY(tensor_maps(open, info, &is_maps));
    tensor->kind = RUNTIME_MAPS;
    if (is_maps) return MYR_OK;
    MYR_FAIL(open->err, UNSUPPORTED, "%.60s: %s '%.60s' is %s, not a tensor: rows of a table can't be that", open->name,
             what, tensor->name,
             type == ONNX_TYPE_SEQUENCE   ? "a sequence"
             : type == ONNX_TYPE_MAP      ? "a map"
             : type == ONNX_TYPE_OPTIONAL ? "optional"
                                          : "of another kind");
}

typedef OrtStatusPtr(ORT_API_CALL *session_get_name)(const OrtSession *, size_t, OrtAllocator *, char **);
typedef OrtStatusPtr(ORT_API_CALL *session_get_type)(const OrtSession *, size_t, OrtTypeInfo **);

static myr_rc tensor_load(const session_open *open, size_t idx, bool is_output, runtime_tensor *tensor)
{
    const OrtApi *api = open->api;
    session_get_name get_name = is_output ? api->SessionGetOutputName : api->SessionGetInputName;
    session_get_type get_type = is_output ? api->SessionGetOutputTypeInfo : api->SessionGetInputTypeInfo;
    char *name = NULL;
    OrtTypeInfo *info = NULL;
    MYR_TRY(open_check(open, get_name(open->session->session, idx, open->allocator, &name)));
    tensor->name = myr_strdup(name);
    MYR_IGNORE(open_check(open, api->AllocatorFree(open->allocator, name))); /* nothing is left to be done */
    if (tensor->name == NULL) MYR_FAIL(open->err, NO_MEMORY, "%.60s: no memory for its tensors", open->name);
    MYR_TRY(open_check(open, get_type(open->session->session, idx, &info)));
    myr_rc rc = tensor_read(open, info, is_output ? "output" : "input", is_output, tensor);
    api->ReleaseTypeInfo(info);
    return rc;
}

static myr_rc open_tensors(const session_open *open, bool is_output, runtime_tensor **out, uint32_t *out_count)
{
    const OrtApi *api = open->api;
    const OrtSession *session = open->session->session;
    size_t count = 0;
    MYR_TRY(open_check(open, is_output ? api->SessionGetOutputCount(session, &count)
                                       : api->SessionGetInputCount(session, &count)));
    if (count == 0 || count > MYR_RUNTIME_TENSORS_MAX) {
        MYR_FAIL(open->err, UNSUPPORTED, "%.60s: %zu %s, 1 to %d can be scored", open->name, count,
                 is_output ? "outputs" : "inputs", MYR_RUNTIME_TENSORS_MAX);
    }
    *out = myr_calloc(count, sizeof **out);
    if (*out == NULL) MYR_FAIL(open->err, NO_MEMORY, "%.60s: no memory for %zu tensors", open->name, count);
    *out_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        MYR_TRY(tensor_load(open, i, is_output, &(*out)[i]));
    }
    return MYR_OK;
}

/* ---- inputs ---- */

/* Bytes are a file: the only input, in one dimension. */
static myr_rc inputs_file(const session_open *open, uint32_t feature_count)
{
    runtime_session *session = open->session;
    const runtime_tensor *bytes = NULL;
    for (uint32_t i = 0; i < session->input_count; i++) {
        if (session->inputs[i].kind == RUNTIME_BYTES) bytes = &session->inputs[i];
    }
    if (bytes == NULL) return MYR_OK;
    if (session->input_count != 1 || bytes->rank != 1 || feature_count > 1) {
        MYR_FAIL(
            open->err, UNSUPPORTED,
            "%.60s: input '%.60s' is of bytes (uint8), which are a file: it must be the only one, of shape [bytes]",
            open->name, bytes->name);
    }
    if (bytes->dims[0] == 0 || bytes->dims[0] > MYR_FILE_BYTES_MAX) {
        MYR_FAIL(open->err, UNSUPPORTED, "%.60s: input '%.60s' is a file of %lld bytes, 1 to %lld can be read",
                 open->name, bytes->name, (long long)bytes->dims[0], (long long)MYR_FILE_BYTES_MAX);
    }
    session->takes_file = true;
    session->feature_count = 1;
    session->inputs[0].width = 1;
    return MYR_OK;
}

/* The rows of a run: any number, or what the first dimension of some input says. */
static myr_rc inputs_batch(const session_open *open)
{
    runtime_session *session = open->session;
    for (uint32_t i = 0; i < session->input_count; i++) {
        const runtime_tensor *input = &session->inputs[i];
        if (input->rank == 0) {
            MYR_FAIL(open->err, UNSUPPORTED,
                     "%.60s: input '%.60s' has no dimension of rows: export it with shape [N, C]", open->name,
                     input->name);
        }
        if (input->dims[0] < 0) continue;
        if (input->dims[0] == 0 || input->dims[0] > RUNTIME_ROWS_MAX ||
            (session->batch != 0 && session->batch != input->dims[0])) {
            MYR_FAIL(open->err, UNSUPPORTED,
                     "%.60s: input '%.60s' takes %lld rows at once, not any number or 1 to %d like the other inputs",
                     open->name, input->name, (long long)input->dims[0], RUNTIME_ROWS_MAX);
        }
        session->batch = input->dims[0];
    }
    return MYR_OK;
}

/* Values of a row in one input, as far as the file says: *out_free is the place of a dimension without a size. */
static myr_rc input_width(const session_open *open, runtime_tensor *input, uint32_t *out_free)
{
    uint64_t width = 1;
    *out_free = 0;
    for (uint32_t d = 1; d < input->rank; d++) {
        if (input->dims[d] < 0 && *out_free == 0) {
            *out_free = d;
            continue;
        }
        if (input->dims[d] < 0) {
            MYR_FAIL(open->err, UNSUPPORTED, "%.60s: input '%.60s' has two dimensions without a size beside its rows",
                     open->name, input->name);
        }
        if (input->dims[d] == 0 || width * (uint64_t)input->dims[d] > MYR_FEATURES_MAX ||
            input->dims[d] > MYR_FEATURES_MAX) {
            MYR_FAIL(open->err, UNSUPPORTED, "%.60s: input '%.60s' takes 0 or more than %d values a row", open->name,
                     input->name, MYR_FEATURES_MAX);
        }
        width *= (uint64_t)input->dims[d];
    }
    input->width = (uint32_t)width;
    return MYR_OK;
}

/* All widths: one input may leave a dimension open, which the number of columns then fills. */
static myr_rc inputs_widths(const session_open *open, uint32_t feature_count)
{
    runtime_session *session = open->session;
    runtime_tensor *any = NULL;
    uint32_t any_dim = 0;
    uint64_t total = 0;
    for (uint32_t i = 0; i < session->input_count; i++) {
        runtime_tensor *input = &session->inputs[i];
        uint32_t free_dim = 0;
        MYR_TRY(input_width(open, input, &free_dim));
        if (free_dim == 0) {
            total += input->width;
            continue;
        }
        if (any != NULL || feature_count == 0) {
            MYR_FAIL(open->err, BAD_INPUT, "%.60s: input '%.60s' takes any number of columns: %s", open->name,
                     input->name, any != NULL ? "so does another one" : "name them with --features");
        }
        any = input;
        any_dim = free_dim;
    }
    if (any != NULL) {
        if (total >= feature_count || (feature_count - total) % any->width != 0) {
            MYR_FAIL(open->err, BAD_INPUT, "%.60s: %u columns leave none or half a value for input '%.60s'", open->name,
                     feature_count, any->name);
        }
        any->dims[any_dim] = (int64_t)((feature_count - total) / any->width);
        any->width = (uint32_t)(feature_count - total);
        total = feature_count;
    }
    if (total > MYR_FEATURES_MAX || (feature_count != 0 && total != feature_count)) {
        MYR_FAIL(open->err, BAD_INPUT, "%.60s: its inputs take %llu columns, %u are given (at most %d)", open->name,
                 (unsigned long long)total, feature_count, MYR_FEATURES_MAX);
    }
    session->feature_count = (uint32_t)total;
    return MYR_OK;
}

/* ---- outputs ---- */

static bool output_is_float(const runtime_tensor *output)
{
    return output->kind == RUNTIME_FLOAT || output->kind == RUNTIME_DOUBLE || output->kind == RUNTIME_MAPS;
}

/* The answer is every output of floats; without any, every output of integers. Texts (labels) never are. */
static myr_rc outputs_choose(const session_open *open)
{
    runtime_session *session = open->session;
    bool has_floats = false;
    for (uint32_t i = 0; i < session->output_count; i++)
        has_floats = has_floats || output_is_float(&session->outputs[i]);
    uint32_t first = 0;
    for (uint32_t i = 0; i < session->output_count; i++) {
        runtime_tensor *output = &session->outputs[i];
        output->is_value = has_floats ? output_is_float(output) : output->kind != RUNTIME_TEXT;
        if (!output->is_value) continue;
        runtime_tensor moved = *output; /* to the front; the order among values stays */
        memmove(&session->outputs[first + 1], &session->outputs[first], (i - first) * sizeof moved);
        session->outputs[first++] = moved;
    }
    session->value_tensors = first;
    if (first > 0) return MYR_OK;
    MYR_FAIL(open->err, UNSUPPORTED, "%.60s: its outputs are texts, an answer is numbers: export its scores as well",
             open->name);
}

/* ---- opening ---- */

static myr_rc session_options(const session_open *open, const myr_runtime_bundle *bundle, OrtSessionOptions *options)
{
    const OrtApi *api = open->api;
    MYR_TRY(open_check(open, api->DisablePerSessionThreads(options)));
    MYR_TRY(
        open_check(open, api->DisableMemPattern(options))); /* row counts change from run to run: plans would pile up */
    MYR_TRY(open_check(open, api->AddSessionConfigEntry(options, "session.use_env_allocators", "1")));
    if (bundle->file_count < 2) return MYR_OK;
    size_t count = bundle->file_count - 1;
    const ORTCHAR_T *names[MYR_RUNTIME_FILES_MAX];
    char *buffers[MYR_RUNTIME_FILES_MAX];
    size_t sizes[MYR_RUNTIME_FILES_MAX];
    for (size_t i = 0; i < count; i++) {
        names[i] = bundle->files[i + 1].name;
        buffers[i] = (char *)(uintptr_t)bundle->files[i + 1].data; /* read only, but its type does not say so */
        sizes[i] = bundle->files[i + 1].size_bytes;
    }
    return open_check(open, api->AddExternalInitializersFromFilesInMemory(options, names, buffers, sizes, count));
}

static myr_rc session_create(const session_open *open, OrtEnv *env, const myr_runtime_bundle *bundle)
{
    const OrtApi *api = open->api;
    OrtSessionOptions *options = NULL;
    MYR_TRY(open_check(open, api->CreateSessionOptions(&options)));
    myr_rc rc = session_options(open, bundle, options);
    if (rc == MYR_OK) {
        const myr_runtime_file *model = &bundle->files[0];
        rc = open_check(
            open, api->CreateSessionFromArray(env, model->data, model->size_bytes, options, &open->session->session));
    }
    api->ReleaseSessionOptions(options);
    return rc;
}

static myr_rc session_steps(const session_open *open, OrtEnv *env, const myr_runtime_bundle *bundle,
                            uint32_t feature_count)
{
    runtime_session *session = open->session;
    MYR_TRY(session_create(open, env, bundle));
    MYR_TRY(open_check(open, open->api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &session->memory)));
    MYR_TRY(open_tensors(open, false, &session->inputs, &session->input_count));
    MYR_TRY(open_tensors(open, true, &session->outputs, &session->output_count));
    MYR_TRY(inputs_file(open, feature_count));
    if (!session->takes_file) MYR_TRY(inputs_batch(open));
    if (!session->takes_file) MYR_TRY(inputs_widths(open, feature_count));
    MYR_TRY(outputs_choose(open));
    myr_err failed = {0};
    myr_rc rc = myr_runtime_session_probe(session, &failed);
    if (rc == MYR_OK) return MYR_OK;
    if (open->err != NULL) *open->err = failed;
    return myr_err_prefix(open->err, rc, "%.60s: ", open->name);
}

myr_rc myr_runtime_session_open(const OrtApi *api, OrtEnv *env, const myr_runtime_bundle *bundle,
                                uint32_t feature_count, runtime_session **out, myr_err *err)
{
    MYR_ASSERT(bundle->file_count >= 1);
    const char *name = bundle->files[0].name;
    if (bundle->file_count > MYR_RUNTIME_FILES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%.60s: %u files, at most %d", name, bundle->file_count, MYR_RUNTIME_FILES_MAX);
    }
    runtime_session *session = myr_calloc(1, sizeof *session);
    if (session != NULL) session->charge = myr_runtime_charge_new();
    if (session == NULL || session->charge == NULL) {
        myr_free(session);
        MYR_FAIL(err, NO_MEMORY, "%.60s: no memory for a session", name);
    }
    session->api = api;
    session_open open = {.session = session, .api = api, .name = name, .err = err};
    myr_rc rc = open_check(&open, api->GetAllocatorWithDefaultOptions(&open.allocator));
    (void)myr_runtime_env_refused(); /* what was before is not of this session */
    myr_runtime_charge_set(session->charge);
    if (rc == MYR_OK) rc = session_steps(&open, env, bundle, feature_count);
    myr_runtime_charge_set(NULL);
    if (rc != MYR_OK) {
        myr_runtime_session_close(session);
        return rc;
    }
    *out = session;
    return MYR_OK;
}

static void session_free_tensors(runtime_tensor *tensors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        myr_free(tensors[i].name);
    myr_free(tensors);
}

void myr_runtime_session_close(runtime_session *session)
{
    if (session == NULL) return;
    if (session->session != NULL) session->api->ReleaseSession(session->session);
    if (session->memory != NULL) session->api->ReleaseMemoryInfo(session->memory);
    session_free_tensors(session->inputs, session->input_count);
    session_free_tensors(session->outputs, session->output_count);
    myr_runtime_charge_release(session->charge);
    myr_free(session);
}
