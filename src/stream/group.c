/* Partitions that come and go, what of them may be committed, and how far behind they are. */
#include <stdio.h>
#include <string.h>

#include "stream/internal.h"

/* ---- the table of partitions ---- */

static myr_rc group_grow(stream_run *run, size_t count, myr_err *err)
{
    if (count <= run->partition_count) return MYR_OK;
    if (count > MYR_STREAM_PARTITIONS_MAX)
        MYR_FAIL(err, TOO_LARGE, "partition %zu: the most of a topic is %d", count - 1, MYR_STREAM_PARTITIONS_MAX);
    stream_partition *grown = myr_realloc_array(run->partitions, count, sizeof *grown);
    if (grown == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu partitions", count);
    run->partitions = grown;
    for (size_t i = run->partition_count; i < count; i++)
        run->partitions[i] = (stream_partition){.next = -1, .stored = -1, .committed = -1};
    run->partition_count = count;
    return MYR_OK;
}

static myr_metric *group_lag_metric(const stream_run *run, int32_t number)
{
    char labels[400];
    if (run->opts->metrics == NULL) return NULL;
    (void)snprintf(labels, sizeof labels, "topic=\"%s\",partition=\"%d\"", run->opts->from, number);
    return myr_metrics_series(run->opts->metrics, MYR_METRIC_GAUGE, "myriad_stream_lag_records",
                              "Records behind the last committed one, by partition that this process reads.", labels);
}

/* What the group has committed of them so far; -1 where that is nothing, or not known. */
static void group_ask_committed(stream_run *run, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t code = myr_kafka.committed(run->reader, list, STREAM_ASK_MS);
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *one = &list->elems[i];
        stream_partition *partition = &run->partitions[one->partition];
        bool is_known =
            code == RD_KAFKA_RESP_ERR_NO_ERROR && one->err == RD_KAFKA_RESP_ERR_NO_ERROR && one->offset >= 0;
        partition->next = partition->stored = partition->committed = is_known ? one->offset : -1;
        one->offset = RD_KAFKA_OFFSET_INVALID; /* the client asks for itself where to begin */
    }
}

static void group_take(stream_run *run, rd_kafka_topic_partition_list_t *list)
{
    myr_err err = {0};
    for (int i = 0; i < list->cnt; i++) {
        int32_t number = list->elems[i].partition;
        if (group_grow(run, (size_t)number + 1, &err) != MYR_OK) {
            myr_stream_break(run, &err);
            return;
        }
        stream_partition *partition = &run->partitions[number];
        partition->is_assigned = true;
        if (partition->lag == NULL) partition->lag = group_lag_metric(run, number);
    }
    group_ask_committed(run, list);
}

static void group_give(stream_run *run, const rd_kafka_topic_partition_list_t *list, bool is_lost)
{
    for (int i = 0; i < list->cnt; i++) {
        size_t number = (size_t)list->elems[i].partition;
        if (number >= run->partition_count) continue;
        stream_partition *partition = &run->partitions[number];
        myr_stream_forget(run, (int32_t)number);
        partition->is_assigned = false;
        partition->epoch++;                                  /* what is still in flight of it is not ours to commit */
        if (is_lost) partition->next = partition->committed; /* nor is what was stored */
        if (partition->lag != NULL) myr_metric_set(partition->lag, 0);
    }
}

/* ---- rebalances ---- */

static void group_tell(stream_run *run, myr_stream_event event, const rd_kafka_topic_partition_list_t *list)
{
    char text[160] = "";
    size_t size = 0;
    for (int i = 0; i < list->cnt; i++) {
        int more = snprintf(text + size, sizeof text - size, i > 0 ? ",%d" : "%d", list->elems[i].partition);
        if (more < 0 || (size_t)more >= sizeof text - size) break; /* the first ones tell enough */
        size += (size_t)more;
    }
    myr_stream_tell(run, event, text);
}

void myr_stream_check(stream_run *run, rd_kafka_error_t *error)
{
    if (error == NULL) return;
    myr_err err = {0};
    MYR_IGNORE(
        MYR_ERROR(&err, IO, "group %s: %s", run->opts->group, myr_kafka.error_string(error))); /* it ends the run */
    myr_stream_break(run, &err);
    myr_kafka.error_destroy(error);
}

/* Others get them: first what is under way is finished; giving them away commits it. */
static void group_revoke(stream_run *run, const rd_kafka_topic_partition_list_t *list)
{
    bool is_lost = myr_kafka.assignment_lost(run->reader) != 0;
    if (!is_lost && !run->is_closing) MYR_IGNORE(myr_stream_settle(run, STREAM_SETTLE_MS)); /* the rest is done twice */
    group_tell(run, is_lost ? MYR_STREAM_LOST : MYR_STREAM_REVOKED, list);
    group_give(run, list, is_lost);
}

void myr_stream_on_rebalance(rd_kafka_t *reader, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                             void *ctx)
{
    stream_run *run = ctx;
    bool is_cooperative = strcmp(myr_kafka.rebalance_protocol(reader), "COOPERATIVE") == 0;
    myr_metric_add(run->rebalances, 1);
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        group_take(run, list);
        group_tell(run, MYR_STREAM_ASSIGNED, list);
        if (is_cooperative) myr_stream_check(run, myr_kafka.incremental_assign(reader, list));
        run->is_paused = false;
        return;
    }
    group_revoke(run, list);
    if (is_cooperative) {
        myr_stream_check(run, myr_kafka.incremental_unassign(reader, list));
    } else {
        MYR_IGNORE(myr_kafka.assign(reader, NULL)); /* before a group is joined, and after it is left */
    }
}

/* Of all partitions that are ours. */
static rd_kafka_topic_partition_list_t *group_list(const stream_run *run)
{
    rd_kafka_topic_partition_list_t *list = myr_kafka.topic_partition_list_new((int)run->partition_count);
    for (size_t i = 0; list != NULL && i < run->partition_count; i++) {
        if (run->partitions[i].is_assigned)
            MYR_IGNORE(myr_kafka.topic_partition_list_add(list, run->opts->from, (int32_t)i) == NULL);
    }
    return list;
}

void myr_stream_pause(stream_run *run, bool pause)
{
    if (run->is_paused == pause) return;
    rd_kafka_topic_partition_list_t *list = group_list(run);
    if (list == NULL) return; /* no memory: the next turn tries again */
    MYR_IGNORE(pause ? myr_kafka.pause_partitions(run->reader, list) : myr_kafka.resume_partitions(run->reader, list));
    myr_kafka.topic_partition_list_destroy(list);
    run->is_paused = pause;
}

/* ---- commits: librdkafka makes them of what is stored, when the group is not just being put together ---- */

void myr_stream_note_done(stream_run *run, const stream_item *item)
{
    MYR_ASSERT((size_t)item->message->partition < run->partition_count);
    stream_partition *partition = &run->partitions[item->message->partition];
    if (!partition->is_assigned || partition->epoch != item->epoch) return; /* another reader's by now */
    partition->next = item->message->offset + 1; /* backwards, too: a topic made anew is read from its start */
}

void myr_stream_store(stream_run *run)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (size_t i = 0; i < run->partition_count; i++) {
        stream_partition *partition = &run->partitions[i];
        if (!partition->is_assigned || partition->next == partition->stored) continue;
        if (list == NULL) list = myr_kafka.topic_partition_list_new((int)run->partition_count);
        if (list == NULL) return; /* no memory: the next time */
        myr_kafka.topic_partition_list_add(list, run->opts->from, (int32_t)i)->offset = partition->next;
        partition->stored = partition->next;
    }
    if (list == NULL) return;
    MYR_IGNORE(myr_kafka.offsets_store(run->reader, list)); /* a partition that was just lost is not ours to store */
    myr_kafka.topic_partition_list_destroy(list);
}

void myr_stream_on_commit(rd_kafka_t *reader, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                          void *ctx)
{
    (void)reader;
    stream_run *run = ctx;
    if (code == RD_KAFKA_RESP_ERR__NO_OFFSET) return;
    bool is_ok = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; is_ok && list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *one = &list->elems[i];
        if ((size_t)one->partition >= run->partition_count || one->err != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        run->partitions[one->partition].committed = one->offset;
    }
    myr_metric_add(is_ok ? run->commits : run->commit_failures, 1);
    if (is_ok) myr_stream_is_back(run);
    if (!is_ok) myr_stream_tell(run, MYR_STREAM_UNCOMMITTED, myr_kafka.err2str(code));
}

size_t myr_stream_uncommitted(const stream_run *run)
{
    size_t count = 0;
    for (size_t i = 0; i < run->partition_count; i++)
        count += run->partitions[i].next != run->partitions[i].committed;
    return count;
}

/* ---- lag ---- */

void myr_stream_look_at_lag(stream_run *run)
{
    int64_t now_ns = myr_clock_mono_ns();
    if (now_ns - run->looked_ns < STREAM_LOOK_MS * 1000000LL) return;
    run->looked_ns = now_ns;
    for (size_t i = 0; i < run->partition_count; i++) {
        const stream_partition *partition = &run->partitions[i];
        int64_t low = 0, high = 0; /* as the last fetch told them: nobody is asked */
        if (!partition->is_assigned || partition->lag == NULL) continue;
        if (myr_kafka.get_watermark_offsets(run->reader, run->opts->from, (int32_t)i, &low, &high) !=
                RD_KAFKA_RESP_ERR_NO_ERROR ||
            high < 0)
            continue;
        int64_t done = partition->committed >= 0 ? partition->committed : low > 0 ? low : 0;
        myr_metric_set(partition->lag, high > done ? high - done : 0);
    }
}
