/*
 * Job files: whatever is read is within its limits, and is the same after it was written into the ledger and read back.
 * A file of a name alone: the descriptor is of memory.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "batch/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void fuzz_limits(const myr_batch_limits *limits)
{
    MYR_ASSERT(limits->is_auto_size || limits->mini_batch.rows >= 0);
    MYR_ASSERT(limits->mini_batch.bytes >= 0 && limits->mini_batch.bytes <= MYR_TABLE_PART_BYTES_MAX);
    MYR_ASSERT(limits->workers_max >= 0 && limits->workers_max <= MYR_BATCH_WORKERS_MAX);
    MYR_ASSERT(limits->idle_ms >= 0 && limits->worker_memory_bytes >= 0 && limits->max_retries >= 0);
    MYR_ASSERT(limits->backoff_ms >= 0 && limits->timeout_ms >= 0 && limits->progress_timeout_ms >= 0);
    MYR_ASSERT(limits->error_threshold >= -1 && limits->mini_batch_error_threshold >= -1);
    MYR_ASSERT(limits->allowed_failed_percent >= 0 && limits->allowed_failed_percent <= 100);
}

/* What a run would keep of it. */
static void fuzz_again(const myr_batch_opts *opts)
{
    MYR_AUTO(myr_buf) once = {0};
    MYR_AUTO(myr_buf) twice = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_batch_opts read = {0};
    const myr_batch_input *input = &opts->input;
    if (opts->fleet == NULL || opts->output == NULL) return;
    if (input->items == NULL && input->sql == NULL && input->table == NULL) return;
    MYR_ASSERT(input->table == NULL || input->database != NULL);
    myr_batch_settings_print(opts, &once);
    MYR_ASSERT(myr_batch_settings_parse(once.data, once.size, arena, &read, NULL) == MYR_OK);
    myr_batch_settings_print(&read, &twice);
    MYR_ASSERT(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    char path[64];
    const myr_batch_moment moment = {.time = "2026-11-30T02:30:00+01:00", .run = "7"};
    myr_batch_job *job = NULL;
    myr_err err = {0};
    int fd = memfd_create("job", MFD_CLOEXEC);
    MYR_ASSERT(fd >= 0 && write(fd, data, size_bytes) == (ssize_t)size_bytes);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (myr_batch_job_load(path, "/output", &moment, &job, &err) == MYR_OK) {
        fuzz_limits(myr_batch_job_opts(job)->limits);
        fuzz_again(myr_batch_job_opts(job));
    } else {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0');
    }
    myr_batch_job_free(job);
    (void)close(fd);
    return 0;
}
