/*
 * The end of a run that is done: what its mini-batches wrote is put together, counted once more, and given to the
 * sinks. Killed anywhere in it, the steps that are left are done by whoever goes on.
 */
#include <stdio.h>
#include <string.h>

#include "batch/sink.h"

/* All that the ledger counted must be there, and nothing else. */
static myr_rc publish_check(const batch *b, int64_t files, int64_t bytes, myr_err *err)
{
    int64_t found_files = 0, found_bytes = 0;
    MYR_TRY(myr_batch_attempt_count(b->sinks[0].stage.data, &found_files, &found_bytes, err));
    if (found_files == files && found_bytes == bytes) return MYR_OK;
    MYR_FAIL(err, IO, "%s has %lld files with %lld bytes, its mini-batches wrote %lld with %lld: begin the run again",
             b->sinks[0].stage.data, (long long)found_files, (long long)found_bytes, (long long)files,
             (long long)bytes);
}

/* From the attempts that won into one directory. Those that were moved before are not there any more. */
static myr_rc publish_collect(batch *b, myr_err *err)
{
    int64_t files = 0, bytes = 0;
    if (!myr_io_exists(b->sinks[0].stage.data)) MYR_TRY(myr_io_mkdirs(b->sinks[0].stage.data, err));
    MYR_TRY(myr_batch_manifest_remove(b->sinks[0].stage.data, err));
    for (size_t i = 0; i < b->task_count; i++) {
        char dir[MYR_PATH_BYTES_MAX];
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        if (strcmp(row->state, "done") != 0) continue;
        int size =
            snprintf(dir, sizeof dir, "%s/work/%s-%lld", myr_batch_staging(b), row->name, (long long)row->attempts);
        MYR_ASSERT(size > 0 && (size_t)size < sizeof dir); /* it was made */
        if (myr_io_exists(dir)) MYR_TRY(myr_batch_attempt_move(dir, b->sinks[0].stage.data, row->name, err));
        files += row->file_count;
        bytes += row->byte_count;
    }
    return publish_check(b, files, bytes, err);
}

myr_rc myr_batch_publish(batch *b, myr_batch_report *report, myr_err *err)
{
    batch_manifest manifest = {
        .run_id = b->run_id, .fleet = b->opts.fleet, .release = b->fleet->release, .rows = b->done_rows};
    memcpy(manifest.fingerprint, b->fingerprint, sizeof manifest.fingerprint);
    MYR_TRY(publish_collect(b, err));
    MYR_TRY(myr_batch_append(b, err));
    MYR_TRY(myr_batch_sinks_publish(b, &manifest, err));
    report->output_files = manifest.files;
    report->output_bytes = manifest.bytes;
    return MYR_OK;
}
