/*
 * ModelInfer and ModelStreamInfer: a request's tensors become columns by the same steps as REST's binary ones, since
 * that is what they are: raw_input_contents as they lie, typed contents put into the same form first. The answer's
 * values are in raw_output_contents always: clients of Triton read nothing else.
 */
#include "serve/rpc_inside.h"

#include <stdio.h>
#include <string.h>

#include "serve/infer_inside.h"

#define INFER_TEXT_HEAD 4 /* bytes before each text of a raw tensor: its length */

/* ModelInferRequest. */
enum {
    REQUEST_MODEL_NAME = 1,
    REQUEST_MODEL_VERSION,
    REQUEST_ID,
    REQUEST_PARAMETERS,
    REQUEST_INPUTS,
    REQUEST_OUTPUTS,
    REQUEST_RAWS
};
/* ModelInferRequest.InferInputTensor; the first of an output too, whose parameters are 2. */
enum { TENSOR_NAME = 1, TENSOR_DATATYPE, TENSOR_SHAPE, TENSOR_PARAMETERS, TENSOR_CONTENTS };
enum { OUTPUT_NAME = 1, OUTPUT_PARAMETERS };

static const char infer_what[] = "ModelInferRequest";

static rpc_reader infer_reader(myr_str bytes)
{
    return myr_serve_rpc_reader(infer_what, bytes.data, bytes.size);
}

/* ---- typed contents ---- */

/* InferTensorContents, by field number - 1. */
static const struct {
    const char *name;
    myr_pb_wire wire;
    infer_class kind;
    uint32_t width_min, width_max; /* of the datatypes that use it */
} infer_contents[] = {
    {"bool_contents", MYR_PB_VARINT, INFER_BOOL, 1, 1},    {"int_contents", MYR_PB_VARINT, INFER_INT, 1, 4},
    {"int64_contents", MYR_PB_VARINT, INFER_INT, 8, 8},    {"uint_contents", MYR_PB_VARINT, INFER_UINT, 1, 4},
    {"uint64_contents", MYR_PB_VARINT, INFER_UINT, 8, 8},  {"fp32_contents", MYR_PB_FIXED32, INFER_FLOAT, 4, 4},
    {"fp64_contents", MYR_PB_FIXED64, INFER_DOUBLE, 8, 8}, {"bytes_contents", MYR_PB_BYTES, INFER_TEXT, 0, 0},
};

/* Which of them holds the values of a datatype. */
static uint32_t contents_of(const infer_datatype *type)
{
    for (uint32_t i = 0; i < MYR_COUNT_OF(infer_contents); i++) {
        if (infer_contents[i].kind == type->kind && infer_contents[i].width_min <= type->width &&
            type->width <= infer_contents[i].width_max)
            return i;
    }
    MYR_ASSERT(false); /* each class has one */
    return 0;
}

/* How many values there are, and, for texts, how many bytes. Only the datatype's own field may be there. */
static myr_rc contents_count(myr_str contents, const infer_tensor *tensor, uint32_t wanted, uint64_t *out_count,
                             uint64_t *out_bytes, myr_err *err)
{
    myr_pb_field field;
    rpc_reader reader = infer_reader(contents);
    uint64_t count = 0, bytes = 0, more;
    while (myr_pb_next(&reader.pb, &field)) {
        if (field.number == 0 || field.number > MYR_COUNT_OF(infer_contents)) continue;
        if (field.number != wanted + 1) {
            MYR_FAIL(err, BAD_INPUT, "input '%s': %s does not go with %s, which has %s", tensor->name,
                     infer_contents[field.number - 1].name, tensor->type->name, infer_contents[wanted].name);
        }
        bool is_text = tensor->type->kind == INFER_TEXT;
        if (is_text ? field.wire != MYR_PB_BYTES : !myr_pb_count(&field, infer_contents[wanted].wire, &more)) {
            MYR_FAIL(err, BAD_INPUT, "input '%s': %s are damaged", tensor->name, infer_contents[wanted].name);
        }
        count += is_text ? 1 : more;
        bytes += field.size;
    }
    *out_count = count;
    *out_bytes = bytes;
    return myr_serve_rpc_end(&reader, err);
}

/* Compared with the shape, whose dimensions may be anything yet. */
static myr_rc contents_check_count(const infer_tensor *tensor, uint32_t wanted, uint64_t count, myr_err *err)
{
    uint64_t product = 1;
    bool is_large = false;
    for (uint32_t i = 0; i < tensor->dim_count; i++)
        is_large = is_large || __builtin_mul_overflow(product, tensor->dims[i], &product);
    if (!is_large && product == count) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "input '%s': %s has %llu values, its shape says %s%llu", tensor->name,
             infer_contents[wanted].name, (unsigned long long)count, is_large ? "more than " : "",
             is_large ? (unsigned long long)INT64_MAX : (unsigned long long)product);
}

/* A whole number of protobuf in the width of its tensor. Negative int32 come as 64 bits. */
static myr_rc contents_put_int(const infer_tensor *tensor, size_t row, uint64_t bits, char *out, myr_err *err)
{
    const infer_datatype *type = tensor->type;
    bool fits = type->kind == INFER_INT ? (int64_t)bits >= type->min && (int64_t)bits <= (int64_t)type->max
                                        : bits <= (type->kind == INFER_BOOL ? 1 : type->max);
    if (type->kind == INFER_INT && !fits) {
        MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: %lld is not a value of %s", tensor->name, row, (long long)bits,
                 type->name);
    }
    if (!fits) {
        MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: %llu is not a value of %s", tensor->name, row,
                 (unsigned long long)bits, type->name);
    }
    memcpy(out, &bits, type->width);
    return MYR_OK;
}

/* Varints, packed or one by one. */
static myr_rc contents_put_ints(const infer_tensor *tensor, const myr_pb_field *field, size_t *row, char *out,
                                myr_err *err)
{
    uint64_t bits = field->value;
    if (field->wire == MYR_PB_VARINT) {
        MYR_TRY(contents_put_int(tensor, *row, bits, out + *row * tensor->type->width, err));
        (*row)++;
        return MYR_OK;
    }
    rpc_reader reader = infer_reader(myr_str_make((const char *)field->data, field->size));
    while (myr_pb_varint(&reader.pb, &bits)) {
        MYR_TRY(contents_put_int(tensor, *row, bits, out + *row * tensor->type->width, err));
        (*row)++;
    }
    return myr_serve_rpc_end(&reader, err);
}

static void contents_put_text(const myr_pb_field *field, size_t *at, char *out)
{
    uint32_t size = (uint32_t)field->size; /* a message has less than 2^31 bytes */
    memcpy(out + *at, &size, INFER_TEXT_HEAD);
    if (size > 0) memcpy(out + *at + INFER_TEXT_HEAD, field->data, size);
    *at += INFER_TEXT_HEAD + size;
}

/* Typed contents as a raw tensor. Doubles and floats that lie in one run stay where they are. */
static myr_rc contents_to_raw(infer_build *build, myr_str contents, infer_tensor *tensor, myr_err *err)
{
    uint32_t wanted = contents_of(tensor->type), width = tensor->type->width;
    uint64_t count, bytes;
    void *memory;
    myr_pb_field field;
    MYR_TRY(contents_count(contents, tensor, wanted, &count, &bytes, err));
    MYR_TRY(contents_check_count(tensor, wanted, count, err));
    size_t raw_bytes = (size_t)(width > 0 ? count * width : count * INFER_TEXT_HEAD + bytes), at = 0, row = 0;
    MYR_TRY(myr_serve_infer_memory(build, raw_bytes, 1, &memory, err));
    char *out = memory;
    rpc_reader reader = infer_reader(contents);
    while (myr_pb_next(&reader.pb, &field)) {
        if (field.number != wanted + 1) continue;
        switch (infer_contents[wanted].wire) {
        case MYR_PB_VARINT:
            MYR_TRY(contents_put_ints(tensor, &field, &row, out, err));
            break;
        case MYR_PB_FIXED32:
        case MYR_PB_FIXED64:
            memcpy(out + at, field.wire == MYR_PB_BYTES ? (const void *)field.data : &field.value,
                   field.wire == MYR_PB_BYTES ? field.size : width);
            at += field.wire == MYR_PB_BYTES ? field.size : width;
            break;
        case MYR_PB_BYTES:
            contents_put_text(&field, &at, out);
            break;
        }
    }
    MYR_ASSERT(at <= raw_bytes && row <= count);
    tensor->raw = myr_str_make(out, raw_bytes);
    return MYR_OK;
}

/* ---- tensors ---- */

static myr_rc tensor_read_shape(const rpc_reader *reader, const myr_pb_field *field, infer_tensor *tensor, myr_err *err)
{
    uint64_t dim = field->value;
    if (field->wire != MYR_PB_VARINT && field->wire != MYR_PB_BYTES)
        return myr_serve_rpc_number(reader, field, "inputs.shape", &dim, err);
    rpc_reader packed = infer_reader(myr_str_make((const char *)field->data, field->size));
    bool is_single = field->wire == MYR_PB_VARINT;
    while (is_single || myr_pb_varint(&packed.pb, &dim)) {
        if ((int64_t)dim < 0) {
            MYR_FAIL(err, BAD_INPUT, "an input's shape has the dimension %lld: they count from 0", (long long)dim);
        }
        if (tensor->dim_count < INFER_DIMS_MAX) tensor->dims[tensor->dim_count] = dim;
        tensor->dim_count++;
        if (is_single) return MYR_OK;
    }
    return myr_serve_rpc_end(&packed, err);
}

static myr_rc tensor_read_type(const char *name, myr_str type, const infer_datatype **out, myr_err *err)
{
    *out = myr_serve_datatype_find(type);
    if (*out != NULL) return MYR_OK;
    if (myr_str_is(type, "FP16") || myr_str_is(type, "BF16")) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': " MYR_STR_FMT " is not supported, send FP32", name, MYR_STR_ARG(type));
    }
    MYR_FAIL(err, BAD_INPUT,
             "input '%s': unknown datatype '" MYR_STR_FMT
             "' (known: BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64, BYTES)",
             name, MYR_STR_ARG(type));
}

static myr_rc tensor_check_parameter(const rpc_reader *reader, const myr_pb_field *field, const char *of, myr_err *err)
{
    static const char *const refused[] = {"shared_memory_region", "classification"};
    myr_str key, value;
    MYR_TRY(myr_serve_rpc_entry(reader, field, &key, &value, err));
    for (size_t i = 0; i < MYR_COUNT_OF(refused); i++) {
        if (myr_str_is(key, refused[i])) MYR_FAIL(err, UNSUPPORTED, "an %s's %s is not supported", of, refused[i]);
    }
    return MYR_OK;
}

/* One input, but for its values; *out_contents: data NULL when it has none of its own. */
static myr_rc tensor_read(infer_build *build, myr_str bytes, infer_tensor *out, myr_str *out_contents, myr_err *err)
{
    myr_pb_field field;
    myr_str name = {0}, type = {0};
    rpc_reader reader = infer_reader(bytes);
    *out = (infer_tensor){0};
    *out_contents = (myr_str){0};
    while (myr_pb_next(&reader.pb, &field)) {
        if (field.number == TENSOR_NAME) MYR_TRY(myr_serve_rpc_text(&reader, &field, "inputs.name", &name, err));
        if (field.number == TENSOR_DATATYPE)
            MYR_TRY(myr_serve_rpc_text(&reader, &field, "inputs.datatype", &type, err));
        if (field.number == TENSOR_SHAPE) MYR_TRY(tensor_read_shape(&reader, &field, out, err));
        if (field.number == TENSOR_PARAMETERS) MYR_TRY(tensor_check_parameter(&reader, &field, "input", err));
        if (field.number == TENSOR_CONTENTS)
            MYR_TRY(myr_serve_rpc_bytes(&reader, &field, "inputs.contents", out_contents, err));
    }
    MYR_TRY(myr_serve_rpc_end(&reader, err));
    if (name.size == 0) MYR_FAIL(err, BAD_INPUT, "an input has no name");
    out->name = myr_arena_strndup(build->work->arena, name.data, name.size);
    if (out->name == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the name of an input");
    if (out->dim_count == 0 || out->dim_count > INFER_DIMS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': shape has %u dimensions, expected [n] or [n,1]", out->name,
                 out->dim_count);
    }
    return tensor_read_type(out->name, type, &out->type, err);
}

/* ---- a request ---- */

/* What a request has at its top, and how much of the rest. */
typedef struct infer_head {
    rpc_model_name model;
    myr_str id;
    uint64_t timeout_us; /* 0: none */
    size_t input_count, raw_count;
} infer_head;

/* V2's timeout: InferParameter {int64_param = 2} or {uint64_param = 5}, in microseconds. */
static myr_rc infer_read_parameter(const rpc_reader *reader, const myr_pb_field *field, uint64_t *timeout_us,
                                   myr_err *err)
{
    myr_str key, value;
    myr_pb_field part;
    MYR_TRY(myr_serve_rpc_entry(reader, field, &key, &value, err));
    if (!myr_str_is(key, "timeout")) return MYR_OK;
    rpc_reader inside = infer_reader(value);
    while (myr_pb_next(&inside.pb, &part)) {
        if ((part.number != 2 && part.number != 5) || part.wire != MYR_PB_VARINT || (int64_t)part.value < 0)
            MYR_FAIL(err, BAD_INPUT, "parameter 'timeout' is not a whole number of microseconds");
        *timeout_us = part.value;
    }
    return myr_serve_rpc_end(&inside, err);
}

static myr_rc infer_read_head(myr_str message, infer_head *out, myr_err *err)
{
    myr_pb_field field;
    rpc_reader reader = infer_reader(message);
    *out = (infer_head){0};
    while (myr_pb_next(&reader.pb, &field)) {
        switch (field.number) {
        case REQUEST_MODEL_NAME:
            MYR_TRY(myr_serve_rpc_text(&reader, &field, "model_name", &out->model.name, err));
            break;
        case REQUEST_MODEL_VERSION:
            MYR_TRY(myr_serve_rpc_text(&reader, &field, "model_version", &out->model.version, err));
            break;
        case REQUEST_ID:
            MYR_TRY(myr_serve_rpc_text(&reader, &field, "id", &out->id, err));
            break;
        case REQUEST_PARAMETERS:
            MYR_TRY(infer_read_parameter(&reader, &field, &out->timeout_us, err));
            break;
        case REQUEST_INPUTS:
            out->input_count++;
            break;
        case REQUEST_RAWS:
            out->raw_count++;
            break;
        default: /* outputs come later; what is not known is passed over, as protobuf does */
            break;
        }
    }
    return myr_serve_rpc_end(&reader, err);
}

/* The next field of a number; what is after it was checked before. */
static myr_rc infer_next(rpc_reader *reader, uint32_t number, const char *name, myr_str *out, bool *out_found,
                         myr_err *err)
{
    myr_pb_field field;
    *out_found = false;
    while (myr_pb_next(&reader->pb, &field)) {
        if (field.number != number) continue;
        *out_found = true;
        return myr_serve_rpc_bytes(reader, &field, name, out, err);
    }
    return MYR_OK;
}

static myr_rc infer_read_outputs(myr_str message, serve_work *work, myr_err *err)
{
    rpc_reader reader = infer_reader(message);
    myr_str bytes, name;
    myr_pb_field field;
    bool found;
    for (;;) {
        MYR_TRY(infer_next(&reader, REQUEST_OUTPUTS, "outputs", &bytes, &found, err));
        if (!found) return MYR_OK;
        rpc_reader inside = infer_reader(bytes);
        name = myr_str_make("", 0);
        while (myr_pb_next(&inside.pb, &field)) {
            if (field.number == OUTPUT_NAME) MYR_TRY(myr_serve_rpc_text(&inside, &field, "outputs.name", &name, err));
            if (field.number == OUTPUT_PARAMETERS) MYR_TRY(tensor_check_parameter(&inside, &field, "output", err));
        }
        MYR_TRY(myr_serve_rpc_end(&inside, err));
        MYR_TRY(myr_serve_output_add(work, name, err));
    }
}

/* Each input with its values: its own contents, or the next of raw_input_contents. */
static myr_rc infer_read_inputs(infer_build *build, myr_str message, const infer_head *head, myr_err *err)
{
    rpc_reader inputs = infer_reader(message), raws = inputs;
    myr_str bytes, contents;
    infer_tensor tensor;
    bool found;
    if (head->raw_count > 0 && head->raw_count != head->input_count) {
        MYR_FAIL(err, BAD_INPUT, "%zu inputs, but %zu in raw_input_contents: one for each", head->input_count,
                 head->raw_count);
    }
    for (;;) {
        MYR_TRY(infer_next(&inputs, REQUEST_INPUTS, "inputs", &bytes, &found, err));
        if (!found) return MYR_OK;
        MYR_TRY(tensor_read(build, bytes, &tensor, &contents, err));
        if (head->raw_count == 0) {
            if (contents.data == NULL) contents = myr_str_make("", 0); /* no values: of an empty batch */
            MYR_TRY(contents_to_raw(build, contents, &tensor, err));
        } else if (contents.data != NULL) {
            MYR_FAIL(err, BAD_INPUT, "input '%s' has contents beside raw_input_contents: send one or the other",
                     tensor.name);
        } else {
            MYR_TRY(infer_next(&raws, REQUEST_RAWS, "raw_input_contents", &tensor.raw, &found, err));
            MYR_ASSERT(found && tensor.raw.data != NULL);
        }
        MYR_TRY(myr_serve_build_add(build, &tensor, err));
    }
}

static myr_rc infer_decode(myr_str message, const infer_head *head, serve_work *work, myr_err *err)
{
    infer_build build;
    work->is_whole = true;
    if (head->id.size > 0) work->id = head->id;
    if (head->timeout_us > 0)
        myr_serve_work_limit(work, head->timeout_us < INT64_MAX / 1000 ? (int64_t)head->timeout_us * 1000 : INT64_MAX);
    MYR_TRY(infer_read_outputs(message, work, err));
    MYR_TRY(myr_serve_build_begin(&build, work, err));
    MYR_TRY(infer_read_inputs(&build, message, head, err));
    return myr_serve_build_end(&build, err);
}

myr_rc myr_serve_rpc_infer_decode(myr_str message, serve_work *work, myr_err *err)
{
    infer_head head;
    MYR_TRY(infer_read_head(message, &head, err));
    return infer_decode(message, &head, work, err);
}

/* ---- the answer ---- */

/* ModelInferResponse: model_name = 1, model_version = 2, id = 3, outputs = 5 {name = 1, datatype = 2, shape = 3},
 * raw_output_contents = 6. */
static void infer_encode(myr_buf *out, const serve_work *work)
{
    char version[24];
    const myr_fleet *fleet = work->target.fleet->fleet;
    size_t row_count = (size_t)work->rows.row_count;
    int size = snprintf(version, sizeof version, "%lld", (long long)fleet->release);
    myr_pb_put_bytes(out, 1, work->target.name.data, work->target.name.size);
    myr_pb_put_bytes(out, 2, version, (size_t)size);
    if (work->id.data != NULL) myr_pb_put_bytes(out, 3, work->id.data, work->id.size);
    for (uint32_t i = 0; i < work->output_count; i++) {
        const myr_answers *answers = &work->answers[i];
        int64_t shape[3] = {(int64_t)row_count};
        size_t dims = 1 + myr_serve_output_dims(fleet->info, answers->output, answers->width, shape + 1);
        size_t mark = myr_pb_begin(out, 5);
        myr_pb_put_text(out, 1,
                        answers->output == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name(answers->output));
        myr_pb_put_text(out, 2, "FP64");
        myr_pb_put_packed(out, 3, shape, dims);
        myr_pb_end(out, mark);
    }
    for (uint32_t i = 0; i < work->output_count; i++) {
        myr_pb_put_size(out, 6, row_count * work->answers[i].width * sizeof(double));
        myr_serve_put_binary(out, &work->answers[i], row_count);
    }
}

/* ---- the calls ---- */

/* What the metadata says of it: how long it may take, which release is to answer. */
static void infer_read_metadata(const rpc_call *call, serve_work *work)
{
    (void)myr_rpc_metadata(call->rpc, "x-myriad-alias", &work->alias);
    (void)myr_rpc_metadata(call->rpc, "x-myriad-sticky", &work->sticky);
    int64_t deadline_ns = myr_rpc_deadline_ns(call->rpc);
    work->whole_ns = myr_rpc_start_ns(call->rpc);
    if (deadline_ns == INT64_MAX) return;
    int64_t left_ns = deadline_ns - work->whole_ns;
    myr_serve_work_limit(work, left_ns > 0 ? left_ns : 1);
}

/* What makes a call the same as another: its message, since all that it asks for stands there. */
static void infer_read_key(const rpc_call *call, serve_work *work)
{
    myr_claim_id *id = &work->claim_id;
    bool has_key = myr_rpc_metadata(call->rpc, "idempotency-key", &id->key);
    work->can_replay = myr_serve_wants_claim(work, has_key);
    if (!work->can_replay) return;
    if (call->note->who.token != NULL) id->token = myr_str_of(call->note->who.token->name);
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, infer_what, sizeof infer_what);
    myr_sha256_add(&sha, call->message.data, call->message.size);
    myr_sha256_hex(&sha, id->hash);
}

static myr_rc infer_run(rpc_call *call, const infer_head *head, serve_work *work, myr_err *err)
{
    MYR_TRY(infer_decode(call->message, head, work, err));
    call->wants_compute = !call->may_block && work->rows.row_count > myr_serve_now(&call->server->opts.inline_rows_max);
    work->wants_compute = call->wants_compute;
    if (call->wants_compute) return MYR_OK;
    MYR_TRY(myr_serve_work_run(work, err));
    call->wants_compute = work->wants_compute;
    return MYR_OK;
}

/* Everything but the encoding; *out_work is NULL when it failed before there was a target. The messages of a stream
 * share their metadata, so none of them has a key. */
static myr_rc infer_answer(rpc_call *call, const infer_head *head, bool is_stream, serve_work **out_work, myr_err *err)
{
    serve_work *work;
    MYR_TRY(myr_serve_work_new(call->server, call->thread, call->arena, &call->note->who, myr_rpc_start_ns(call->rpc),
                               myr_clock_mono_ns(), call->may_block, &work, err));
    infer_read_metadata(call, work);
    if (!is_stream) infer_read_key(call, work);
    MYR_TRY(myr_serve_rpc_target_of(call, &head->model, &work->target, err));
    *out_work = work;
    return infer_run(call, head, work, err);
}

/* Only what stood there before. */
static void infer_cut(myr_buf *out, size_t size)
{
    if (!out->failed) out->size = size;
}

/* The answer as it will be sent, kept under the call's key. */
static myr_rc infer_keep(const rpc_call *call, const serve_work *work, size_t from, myr_kept_answer *out, myr_err *err)
{
    *out = (myr_kept_answer){0};
    MYR_TRY(myr_buf_check(call->out, err));
    if (!work->can_replay) return MYR_OK;
    size_t size = call->out->size - from;
    const char *copy = myr_arena_strndup(call->arena, call->out->data + from, size);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
    *out = (myr_kept_answer){
        .status = 200, .content_type = myr_str_of("application/grpc"), .body = myr_str_make(copy, size)};
    return MYR_OK;
}

/* Encode, and store what was answered; on failure nothing of it stays in the answer. A fleet that stores is answered on
 * a compute thread (myr_serve_claim_start), so waiting is fine. */
static myr_rc infer_finish(rpc_call *call, serve_work *work, myr_err *err)
{
    size_t from = call->out->size;
    myr_rc rc = MYR_OK;
    if (work->replay.status == 0) infer_encode(call->out, work);
    if (myr_serve_work_stores(work)) {
        myr_kept_answer answer;
        rc = infer_keep(call, work, from, &answer, err);
        if (rc == MYR_OK) rc = myr_serve_store_start(work, &answer, err);
        if (rc == MYR_OK) rc = myr_serve_store_take(work, err);
    }
    if (rc != MYR_OK || work->replay.status != 0) infer_cut(call->out, from);
    if (rc == MYR_OK && work->replay.status != 0)
        myr_buf_append(call->out, work->replay.body.data, work->replay.body.size);
    return rc;
}

myr_rc myr_serve_rpc_model_infer(rpc_call *call, myr_err *err)
{
    infer_head head;
    serve_work *work = NULL;
    MYR_TRY(infer_read_head(call->message, &head, err));
    myr_rc rc = infer_answer(call, &head, false, &work, err);
    if (rc == MYR_OK && !call->wants_compute) rc = infer_finish(call, work, err);
    if (work != NULL) myr_serve_work_end(work, rc == MYR_OK);
    return rc;
}

/* ModelStreamInferResponse: error_message = 1, infer_response = 2. A request that fails does not end its stream. */
myr_rc myr_serve_rpc_model_stream_infer(rpc_call *call, myr_err *err)
{
    infer_head head = {0};
    serve_work *work = NULL;
    myr_err why = {0};
    myr_rc rc = infer_read_head(call->message, &head, &why);
    size_t from = call->out->size, mark = 0;
    if (rc == MYR_OK) rc = infer_answer(call, &head, true, &work, &why);
    if (rc == MYR_OK && call->wants_compute) return MYR_OK;
    if (rc == MYR_OK) {
        mark = myr_pb_begin(call->out, 2);
        rc = infer_finish(call, work, &why);
        if (rc != MYR_OK) infer_cut(call->out, from);
    }
    if (rc == MYR_UNAUTHENTICATED || rc == MYR_DENIED || rc == MYR_TOO_MANY) { /* of who asks, not of what */
        if (err != NULL) *err = why;
        return rc;
    }
    if (rc != MYR_OK) myr_pb_put_text(call->out, 1, why.message);
    if (rc != MYR_OK) {
        mark = myr_pb_begin(call->out, 2);
        if (head.id.size > 0) myr_pb_put_bytes(call->out, 3, head.id.data, head.id.size); /* whose answer this is */
    }
    myr_pb_end(call->out, mark);
    if (work != NULL) myr_serve_work_end(work, rc == MYR_OK);
    return MYR_OK;
}
