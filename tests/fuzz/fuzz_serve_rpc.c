/* The decoder of ModelInferRequest, without a socket: one byte says how (1: one model), then the message. */
#include "serve/rpc_inside.h"
#include "serve_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    fuzz_world world;
    myr_err err = {0};
    fuzz_begin(&world, (data[0] & 1) != 0);
    myr_rc rc = myr_serve_rpc_infer_decode(myr_str_make((const char *)data + 1, size - 1), &world.work, &err);
    fuzz_look(&world, rc, &err);
    fuzz_end(&world);
    return 0;
}
