/*
 * The decoder of V2 infer requests over REST, without a socket: one byte says how (1: raw, 2: one model), two how long
 * the JSON is, then JSON and binary.
 */
#include "serve_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3) return 0;
    size_t json_bytes = data[1] | (size_t)data[2] << 8;
    const char *body = (const char *)data + 3;
    size -= 3;
    if (json_bytes > size) json_bytes = size;
    fuzz_world world;
    fuzz_begin(&world, (data[0] & 2) != 0);
    serve_call call = {.arena = world.arena, .thread = &world.thread, .has_binary = true, .is_raw = (data[0] & 1) != 0};
    if (call.is_raw) json_bytes = 0;
    call.binary = myr_str_make(body + json_bytes, size - json_bytes);
    myr_str json = myr_str_make(body, json_bytes);
    if (call.is_raw || myr_serve_json_read(&world.thread, world.arena, json, &call.body, NULL) == MYR_OK) {
        infer_form form;
        myr_err err = {0};
        myr_rc rc = myr_serve_infer_decode(&call, &world.work, &form, &err);
        MYR_ASSERT(rc != MYR_OK || world.work.output_count > 0);
        fuzz_look(&world, rc, &err);
    }
    fuzz_end(&world);
    return 0;
}
