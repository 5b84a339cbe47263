/*
 * The end of a run that is done: what its mini-batches wrote is put together, counted once more, and given to the
 * sinks. Killed anywhere in it, the steps that are left are done by whoever goes on.
 */
#include <stdio.h>
#include <string.h>

#include "batch/sink.h"

typedef struct publish_sum {
    int64_t files, bytes;
} publish_sum;

/*
 * Make each sink's stage ready, and count what one has that published already (whoever did it died before the others
 * had): it says what it took. What is staged for a directory then is what was there before.
 */
static myr_rc publish_ready(batch *b, bool *are_done, publish_sum *sum, myr_err *err)
{
    for (size_t i = 0; i < b->sink_count; i++) {
        batch_sink *sink = &b->sinks[i];
        batch_manifest there = {0};
        MYR_TRY(sink->kind->find(sink, b->run_id, b->fingerprint, &there, &are_done[i], err));
        are_done[i] = are_done[i] && sink->table == NULL; /* what a table took is staged still */
        sum->files += are_done[i] ? there.files : 0;
        sum->bytes += are_done[i] ? there.bytes : 0;
        if (!myr_io_exists(sink->stage.data)) MYR_TRY(myr_io_mkdirs(sink->stage.data, err));
        if (!are_done[i]) MYR_TRY(myr_batch_manifest_remove(sink->stage.data, err));
    }
    return MYR_OK;
}

/* From the attempts that won to the sinks' stages. Those that were moved before are not there any more. */
static myr_rc publish_move(batch *b, publish_sum *sum, myr_err *err)
{
    for (size_t i = 0; i < b->task_count; i++) {
        char dir[MYR_PATH_BYTES_MAX];
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        if (strcmp(row->state, "done") != 0) continue;
        int size =
            snprintf(dir, sizeof dir, "%s/work/%s-%lld", myr_batch_staging(b), row->name, (long long)row->attempts);
        MYR_ASSERT(size > 0 && (size_t)size < sizeof dir); /* it was made */
        if (myr_io_exists(dir)) MYR_TRY(myr_batch_attempt_move(b, dir, row->name, err));
        sum->files += row->file_count;
        sum->bytes += row->byte_count;
    }
    return MYR_OK;
}

/* All that the ledger counted is there then, and nothing else. */
static myr_rc publish_collect(batch *b, myr_err *err)
{
    publish_sum found = {0}, wanted = {0};
    bool *are_done = myr_arena_calloc(b->arena, b->sink_count, sizeof *are_done);
    if (are_done == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu places", b->sink_count);
    MYR_TRY(publish_ready(b, are_done, &found, err));
    MYR_TRY(publish_move(b, &wanted, err));
    for (size_t i = 0; i < b->sink_count; i++) {
        int64_t files = 0, bytes = 0;
        if (!are_done[i]) MYR_TRY(myr_batch_attempt_count(b->sinks[i].stage.data, &files, &bytes, err));
        found.files += files;
        found.bytes += bytes;
    }
    if (found.files == wanted.files && found.bytes == wanted.bytes) return MYR_OK;
    MYR_FAIL(err, IO, "%s has %lld files with %lld bytes, its mini-batches wrote %lld with %lld: begin the run again",
             myr_batch_staging(b), (long long)found.files, (long long)found.bytes, (long long)wanted.files,
             (long long)wanted.bytes);
}

myr_rc myr_batch_publish(batch *b, myr_batch_report *report, myr_err *err)
{
    batch_manifest manifest = {
        .run_id = b->run_id, .fleet = b->opts.fleet, .release = b->fleet->release, .run_rows = b->done_rows};
    memcpy(manifest.fingerprint, b->fingerprint, sizeof manifest.fingerprint);
    MYR_TRY(publish_collect(b, err));
    MYR_TRY(myr_batch_predictions_store(b, &report->stored_rows, err));
    MYR_TRY(myr_batch_append(b, err));
    MYR_TRY(myr_batch_sinks_publish(b, &manifest, err));
    report->output_files = manifest.files;
    report->output_bytes = manifest.bytes;
    return MYR_OK;
}
