/*
 * The decoder of V2 infer requests, without a socket: one byte says how (1: raw, 2: one model), two how long the JSON
 * is, then JSON and binary. What is accepted is read to its last cell, so that ASan sees a column past its bytes.
 */
#include <string.h>

#include "serve/internal.h"

#define FUZZ_ARENA_BYTES (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const fuzz_features[] = {"price", "colour"};
static const uint8_t fuzz_texts[] = {0, 1};
static const char *fuzz_known[] = {"store", "name", "price", "colour", NULL};
static volatile uint64_t fuzz_sum;

static void fuzz_read(const myr_col *col, int64_t row_count, int64_t stride)
{
    MYR_ASSERT(row_count == 0 || col->name != NULL);
    for (int64_t row = 0; row < row_count; row++) {
        if (myr_col_is_null(col, row)) continue;
        if (col->type == MYR_COL_TEXT) {
            MYR_ASSERT(myr_utf8_is_valid(col->data.text[row]));
        } else if (col->type == MYR_COL_INT64) {
            fuzz_sum += (uint64_t)col->data.i64[row];
        } else {
            fuzz_sum += col->data.f64[row * stride] > 0;
        }
    }
}

static void fuzz_decode(serve_call *call, serve_work *work)
{
    infer_form form;
    myr_err err = {0};
    if (myr_serve_infer_decode(call, work, &form, &err) != MYR_OK) {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0');
        return;
    }
    int64_t row_count = work->rows.row_count;
    MYR_ASSERT(row_count >= 0 && row_count <= SERVE_ROWS_MAX && work->output_count > 0);
    const myr_pack_info *info = work->target.fleet->fleet->info;
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    for (uint32_t i = 0; work->target.model_idx == MYR_PACK_NONE && i < info->keys.column_count; i++)
        fuzz_read(&work->rows.keys[i], row_count, 1);
    for (uint32_t i = 0; i < info->feature_count; i++)
        fuzz_read(&work->rows.features[i], row_count, stride);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    size_t json_bytes = data[1] | (size_t)data[2] << 8;
    const char *body = (const char *)data + 3;
    size -= 3;
    if (json_bytes > size) json_bytes = size;
    myr_pack_info info = {.fleet = "f", .features = fuzz_features, .feature_count = 2, .text_features = fuzz_texts};
    info.keys.column_count = 2;
    info.keys.columns[0].type = MYR_KEY_INT64;
    info.keys.columns[1].type = MYR_KEY_BYTES;
    memcpy(info.keys.columns[0].name, "store", 6);
    memcpy(info.keys.columns[1].name, "name", 5);
    myr_fleet fleet = {.info = &info};
    memcpy(fleet.name, "f", 2);
    serve_fleet served = {.fleet = &fleet, .inputs = myr_map_new(), .known = fuzz_known};
    myr_arena *arena = myr_arena_new(FUZZ_ARENA_BYTES);
    MYR_ASSERT(arena != NULL && served.inputs != NULL);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t value = i < 2 ? (i + 1) << 32 : i - 1;
        MYR_ASSERT(myr_map_put(served.inputs, myr_str_of(fuzz_known[i]), value, NULL) == MYR_OK);
    }
    serve_thread thread = {0};
    serve_call call = {.arena = arena, .thread = &thread, .has_binary = true, .is_raw = (data[0] & 1) != 0};
    serve_work work = {.arena = arena, .thread = &thread};
    work.target = (serve_target){&served, (data[0] & 2) != 0 ? 0 : MYR_PACK_NONE, myr_str_of("f")};
    if (call.is_raw) json_bytes = 0;
    call.binary = myr_str_make(body + json_bytes, size - json_bytes);
    if (call.is_raw || myr_serve_json_read(&thread, arena, myr_str_make(body, json_bytes), &call.body, NULL) == MYR_OK)
        fuzz_decode(&call, &work);
    myr_free(thread.slots);
    myr_arena_free(arena);
    myr_map_free(served.inputs);
    return 0;
}
