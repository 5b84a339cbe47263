/*
 * The decoder of V2 infer requests over REST, without a socket: one byte says how (1: raw, 2: one model), two how long
 * the JSON is, then JSON and binary. What the reader of usual requests takes is read as a document, too: it must be
 * one, and give the same rows, outputs and id.
 */
#include "serve_fuzz.h"

static bool fuzz_same_cells(const myr_col *a, const myr_col *b, int64_t row_count, int64_t stride)
{
    if (a->type != b->type) return false;
    for (int64_t row = 0; row < row_count; row++) {
        bool is_null = myr_col_is_null(a, row);
        if (is_null != myr_col_is_null(b, row)) return false;
        if (is_null) continue;
        if (a->type == MYR_COL_TEXT ? !myr_str_equal(a->data.text[row], b->data.text[row])
                                    : memcmp(&a->data.i64[row * stride], &b->data.i64[row * stride], 8) != 0)
            return false;
    }
    return true;
}

/* Two decodings of one request. */
static void fuzz_compare(const fuzz_world *world, const serve_work *a, const serve_work *b)
{
    MYR_ASSERT(a->rows.row_count == b->rows.row_count && a->rows.feature_stride == b->rows.feature_stride);
    MYR_ASSERT(a->output_count == b->output_count && (a->id.data == NULL) == (b->id.data == NULL));
    MYR_ASSERT(memcmp(a->outputs, b->outputs, a->output_count * sizeof a->outputs[0]) == 0 &&
               myr_str_equal(a->id, b->id) && a->limit_ns == b->limit_ns);
    int64_t row_count = a->rows.row_count, stride = a->rows.feature_stride != 0 ? a->rows.feature_stride : 1;
    for (uint32_t i = 0; a->target.model_idx == MYR_PACK_NONE && i < world->info.keys.column_count; i++)
        MYR_ASSERT(fuzz_same_cells(&a->rows.keys[i], &b->rows.keys[i], row_count, 1));
    for (uint32_t i = 0; i < world->info.feature_count; i++)
        MYR_ASSERT(fuzz_same_cells(&a->rows.features[i], &b->rows.features[i], row_count, stride));
}

/* The same request with the scanner before the document. */
static void fuzz_scan(fuzz_world *world, const serve_call *plain, myr_str json, const infer_form *form, myr_rc rc,
                      const myr_err *err)
{
    serve_call call = *plain;
    serve_work work = {.arena = world->arena, .thread = &world->thread, .target = world->work.target};
    infer_form other;
    myr_err why = {0};
    call.json = json;
    call.scan = myr_serve_infer_scan(world->arena, json);
    if (call.scan == NULL) return;
    MYR_ASSERT(call.body != NULL && myr_serve_scan_rows(call.scan) == myr_serve_infer_rows(call.body));
    call.body = NULL;
    MYR_ASSERT(myr_serve_infer_decode(&call, &work, &other, &why) == rc);
    if (rc == MYR_OK) {
        fuzz_compare(world, &world->work, &work);
        for (uint32_t i = 0; i < work.output_count; i++)
            MYR_ASSERT(form->is_binary[i] == other.is_binary[i]);
    } else {
        MYR_ASSERT(strcmp(err->message, why.message) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    size_t json_bytes = data[1] | (size_t)data[2] << 8;
    size -= 3;
    if (json_bytes > size) json_bytes = size;
    fuzz_world world;
    fuzz_begin(&world, (data[0] & 2) != 0);
    const char *body = myr_arena_strndup(world.arena, (const char *)data + 3, size); /* with a NUL, as net gives it */
    serve_call call = {.arena = world.arena, .thread = &world.thread, .has_binary = true, .is_raw = (data[0] & 1) != 0};
    if (call.is_raw) json_bytes = 0;
    call.binary = myr_str_make(body + json_bytes, size - json_bytes);
    myr_str json = myr_str_make(body, json_bytes);
    bool is_json = call.is_raw || myr_serve_json_read(&world.thread, world.arena, json, &call.body, NULL) == MYR_OK;
    infer_form form;
    myr_err err = {0};
    myr_rc rc = MYR_OK;
    if (is_json) {
        rc = myr_serve_infer_decode(&call, &world.work, &form, &err);
        MYR_ASSERT(rc != MYR_OK || world.work.output_count > 0);
        fuzz_look(&world, rc, &err);
    }
    if (!call.is_raw) fuzz_scan(&world, &call, json, &form, rc, &err);
    fuzz_end(&world);
    return 0;
}
