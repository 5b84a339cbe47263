/* Settings of a run as the ledger has them: whatever is read can be run with, and is the same when it is written again.
 */
#include <string.h>

#include "batch/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void fuzz_use(const myr_batch_opts *opts)
{
    const myr_batch_limits *limits = opts->limits;
    const myr_batch_input *input = &opts->input;
    MYR_ASSERT(opts->fleet != NULL && opts->output != NULL && (input->table == NULL || input->database != NULL));
    MYR_ASSERT(input->items != NULL || input->sql != NULL || input->table != NULL);
    MYR_ASSERT(opts->kind_count <= MYR_OUTPUT_COUNT && opts->memory_bytes >= 0 && opts->release >= 0);
    MYR_ASSERT(limits->mini_batch.rows >= 0 && limits->mini_batch.bytes >= 0 && limits->workers_max >= 0);
    MYR_ASSERT(limits->max_retries >= 0 && limits->backoff_ms >= 0 && limits->timeout_ms >= 0);
    MYR_ASSERT(limits->error_threshold >= -1 && limits->mini_batch_error_threshold >= -1);
    for (const char *const *name = opts->by; name != NULL && *name != NULL; name++)
        MYR_ASSERT(strlen(*name) < (size_t)-1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) once = {0};
    MYR_AUTO(myr_buf) twice = {0};
    myr_batch_opts opts = {0}, again = {0};
    myr_err err = {0};
    if (myr_batch_settings_parse((const char *)data, size_bytes, arena, &opts, &err) != MYR_OK) {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0');
        return 0;
    }
    fuzz_use(&opts);
    myr_batch_settings_print(&opts, &once);
    MYR_ASSERT(myr_batch_settings_parse(once.data, once.size, arena, &again, NULL) == MYR_OK);
    myr_batch_settings_print(&again, &twice);
    MYR_ASSERT(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    return 0;
}
