/* The ring of batches: one fills, those before it are in flight, the oldest is done first. */
#include <string.h>

#include "stream/internal.h"

stream_batch *myr_stream_filling(stream_run *run)
{
    return &run->batches[(run->first + run->flight_count) % STREAM_BATCHES_MAX];
}

bool myr_stream_has_room(const stream_run *run)
{
    return run->alone_count == 0 && run->lone == NULL && run->flight_count < STREAM_BATCHES_MAX - 1 &&
           run->flight_rows < (size_t)run->opts->in_flight && run->flight_bytes < STREAM_FLIGHT_BYTES;
}

static size_t batch_bytes(const rd_kafka_message_t *message)
{
    return message->len + message->key_len;
}

void myr_stream_add(stream_run *run, rd_kafka_message_t *message)
{
    stream_batch *batch = myr_stream_filling(run);
    size_t rows = (size_t)run->opts->batch_rows, at = (size_t)message->partition;
    if (batch->items == NULL) batch->items = myr_arena_calloc(run->arena, rows, sizeof *batch->items);
    if (batch->items == NULL) {
        myr_err err = {0};
        MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "out of memory for %zu records", rows)); /* it ends the run */
        myr_stream_break(run, &err);
    }
    bool is_ours = at < run->partition_count && run->partitions[at].is_assigned;
    if (batch->items == NULL || !is_ours) { /* not ours: it came just before its partition went */
        myr_kafka.message_destroy(message);
        return;
    }
    MYR_ASSERT(batch->count < rows);
    if (batch->count == 0) run->filling_since_ns = myr_clock_mono_ns();
    batch->items[batch->count++] =
        (stream_item){.message = message, .batch = batch, .epoch = run->partitions[at].epoch};
    batch->bytes += batch_bytes(message);
    run->flight_rows++;
    run->flight_bytes += batch_bytes(message);
}

static void batch_drop_item(stream_run *run, stream_item *item)
{
    run->flight_rows--;
    run->flight_bytes -= batch_bytes(item->message);
    myr_kafka.message_destroy(item->message);
    myr_stream_free_again(item);
}

void myr_stream_forget(stream_run *run, int32_t partition)
{
    stream_batch *batch = myr_stream_filling(run);
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        stream_item *item = &batch->items[i];
        if (item->message->partition == partition) {
            batch->bytes -= batch_bytes(item->message);
            batch_drop_item(run, item);
        } else {
            batch->items[kept++] = *item;
        }
    }
    batch->count = kept;
}

/* ---- answering ---- */

static myr_str batch_text(const void *data, size_t size)
{
    return myr_str_make(data, data != NULL ? size : 0);
}

static void batch_show(const stream_run *run, const stream_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const rd_kafka_message_t *message = batch->items[i].message;
        run->records[i] = (myr_stream_record){.key = batch_text(message->key, message->key_len),
                                              .value = batch_text(message->payload, message->len),
                                              .partition = message->partition,
                                              .offset = message->offset};
    }
    memset(run->answers, 0, batch->count * sizeof *run->answers);
}

myr_rc myr_stream_answer_batch(stream_run *run, myr_err *err)
{
    stream_batch *batch = myr_stream_filling(run);
    if (batch->count == 0) return MYR_OK;
    int64_t start_ns = myr_clock_mono_ns();
    batch_show(run, batch);
    MYR_TRY(run->opts->answer(run->opts->ctx, run->records, batch->count, run->answers, err));
    batch->pending = batch->count; /* in flight from here, also when writing fails: then none of it is ever done */
    run->pending += batch->count;
    run->flight_count++;
    for (size_t i = 0; i < batch->count; i++)
        MYR_TRY(myr_stream_send(run, &batch->items[i], &run->answers[i], err));
    run->report.batches++;
    myr_metric_observe_ns(run->batch_time, myr_clock_mono_ns() - start_ns);
    return MYR_OK;
}

/* ---- acknowledged ---- */

static void batch_finish(stream_run *run, stream_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        stream_item *item = &batch->items[i];
        MYR_ASSERT(item->state == STREAM_IS_DONE);
        bool is_dead = item->form == STREAM_DEAD || item->form == STREAM_BARE;
        run->report.dead += is_dead;
        run->report.answered += !is_dead;
        myr_metric_add(is_dead ? run->dead : run->answered, 1);
        myr_stream_note_done(run, item);
        batch_drop_item(run, item);
    }
    batch->count = batch->bytes = 0;
}

void myr_stream_reap(stream_run *run)
{
    bool any = false;
    while (run->flight_count > 0 && run->batches[run->first].pending == 0) {
        batch_finish(run, &run->batches[run->first]);
        run->first = (run->first + 1) % STREAM_BATCHES_MAX;
        run->flight_count--;
        any = true;
    }
    if (any) myr_stream_store(run);
}

bool myr_stream_settle(stream_run *run, int64_t timeout_ms)
{
    int64_t until_ns = myr_clock_mono_ns() + timeout_ms * 1000000;
    for (;;) {
        myr_stream_reap(run);
        if (run->flight_count == 0) return true;
        if (run->failure.rc != MYR_OK || myr_clock_mono_ns() >= until_ns) return false;
        myr_stream_send_alone(run);
        myr_kafka.poll(run->writer, 10);
    }
}

void myr_stream_free_batches(stream_run *run)
{
    for (size_t b = 0; b < STREAM_BATCHES_MAX; b++) {
        stream_batch *batch = &run->batches[b];
        for (size_t i = 0; i < batch->count; i++)
            batch_drop_item(run, &batch->items[i]);
        batch->count = 0;
    }
}
