/*
 * What a record became, to its topic, and what the brokers say to it. What is too large goes to the dead-letter topic,
 * or if it is too large for that as well, its headers do. A broker measures a whole request, so what it finds too large
 * is first sent once more by itself, while nothing else is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "stream/internal.h"

/* ---- headers ---- */

/* In the place of one of the same name. */
static bool headers_put(rd_kafka_headers_t *headers, const char *name, myr_str value)
{
    MYR_IGNORE(myr_kafka.header_remove(headers, name)); /* it may not be there */
    return myr_kafka.header_add(headers, name, -1, value.data, (ssize_t)value.size) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool headers_put_number(rd_kafka_headers_t *headers, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    return headers_put(headers, name, myr_str_of(text));
}

/* Where it came from: who reads an answer twice knows it by this. */
static bool headers_put_source(rd_kafka_headers_t *headers, const stream_run *run, const rd_kafka_message_t *message)
{
    return headers_put(headers, "myriad.topic", myr_str_of(run->opts->from)) &&
           headers_put_number(headers, "myriad.partition", message->partition) &&
           headers_put_number(headers, "myriad.offset", message->offset);
}

/* Those of the record, and ours; NULL: no memory. */
static rd_kafka_headers_t *headers_make(const stream_run *run, const rd_kafka_message_t *message,
                                        const myr_stream_answer *answer)
{
    rd_kafka_headers_t *theirs = NULL;
    bool has_theirs = myr_kafka.message_headers(message, &theirs) == RD_KAFKA_RESP_ERR_NO_ERROR && theirs != NULL;
    rd_kafka_headers_t *headers = has_theirs ? myr_kafka.headers_copy(theirs) : myr_kafka.headers_new(8);
    if (headers == NULL) return NULL;
    bool is_whole = headers_put_source(headers, run, message);
    for (uint32_t i = 0; is_whole && i < answer->header_count; i++)
        is_whole = headers_put(headers, answer->headers[i].name, answer->headers[i].value);
    if (is_whole) return headers;
    myr_kafka.headers_destroy(headers);
    return NULL;
}

/* ---- writing ---- */

/* One try. The headers are the message's when it is OK. */
static rd_kafka_resp_err_t send_once(stream_run *run, stream_item *item, myr_str value, rd_kafka_headers_t *headers)
{
    const rd_kafka_message_t *record = item->message;
    bool is_dead = item->form == STREAM_DEAD || item->form == STREAM_BARE;
    rd_kafka_timestamp_type_t kind;
    int64_t timestamp = myr_kafka.message_timestamp(record, &kind);
    rd_kafka_vu_t parts[] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = is_dead ? run->opts->dead_letter : run->opts->to},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {.ptr = record->key, .size = record->key_len}},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = (void *)(uintptr_t)value.data, .size = value.size}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = item},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp > 0 ? timestamp : 0},
    };
    rd_kafka_error_t *error = myr_kafka.produceva(run->writer, parts, MYR_COUNT_OF(parts));
    if (error == NULL) return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t code = myr_kafka.error_code(error);
    myr_kafka.error_destroy(error);
    return code;
}

/* A full queue empties by acknowledgements. */
static rd_kafka_resp_err_t send_wait(stream_run *run, stream_item *item, myr_str value, rd_kafka_headers_t *headers)
{
    for (;;) {
        rd_kafka_resp_err_t code = send_once(run, item, value, headers);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || run->failure.rc != MYR_OK) return code;
        if (run->opts->is_over(run->opts->ctx) && run->is_away) return code;
        myr_kafka.poll(run->writer, STREAM_POLL_MS);
    }
}

static bool send_is_too_large(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE;
}

/* The next form of what is too large, with its headers told so. */
static myr_rc send_smaller(stream_run *run, stream_item *item, size_t bytes, rd_kafka_headers_t *headers, myr_err *err)
{
    char cause[100];
    bool is_answer = item->form == STREAM_ANSWER;
    if (item->form == STREAM_EXCUSE || item->form == STREAM_BARE) {
        MYR_FAIL(err, IO, "topic %s: a message without a value is too large for it (max.message.bytes)",
                 item->form == STREAM_BARE ? run->opts->dead_letter : run->opts->to);
    }
    item->form = !is_answer ? STREAM_BARE : run->opts->dead_letter != NULL ? STREAM_DEAD : STREAM_EXCUSE;
    (void)snprintf(cause, sizeof cause,
                   is_answer ? "its answer of %zu bytes is too large for the topic"
                             : "its value of %zu bytes, too large for the topic, is left out",
                   bytes);
    if (headers_put(headers, is_answer ? "myriad.cause" : "myriad.omitted", myr_str_of(cause))) return MYR_OK;
    MYR_FAIL(err, NO_MEMORY, "out of memory for the headers of a message");
}

static myr_str send_value(const stream_item *item, myr_str answer)
{
    static const char excuse[] = "{\"error\":\"the answer is too large for the topic\"}";
    switch ((stream_form)item->form) {
    case STREAM_ANSWER:
        return answer;
    case STREAM_EXCUSE:
        return myr_str_of(excuse);
    case STREAM_DEAD:
        return myr_str_make(item->message->payload, item->message->len);
    default:
        return (myr_str){NULL, 0};
    }
}

/* In the first form that is small enough for this client's own limit. Takes the headers. */
static myr_rc send_headed(stream_run *run, stream_item *item, myr_str answer, rd_kafka_headers_t *headers, myr_err *err)
{
    myr_rc rc = MYR_OK;
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    while (rc == MYR_OK) {
        myr_str value = send_value(item, answer);
        code = send_wait(run, item, value, headers);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return MYR_OK;
        if (!send_is_too_large(code)) break;
        rc = send_smaller(run, item, value.size, headers, err);
    }
    myr_kafka.headers_destroy(headers);
    if (rc != MYR_OK) return rc;
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) MYR_FAIL(err, TIMEOUT, "the brokers are away, and the queue is full");
    return myr_kafka_fail(err, code, "writing to", item->form >= STREAM_DEAD ? run->opts->dead_letter : run->opts->to);
}

myr_rc myr_stream_send(stream_run *run, stream_item *item, const myr_stream_answer *answer, myr_err *err)
{
    rd_kafka_headers_t *headers = headers_make(run, item->message, answer);
    bool is_dead = answer->is_dead && run->opts->dead_letter != NULL;
    if (headers != NULL && is_dead && !headers_put(headers, "myriad.cause", answer->cause)) {
        myr_kafka.headers_destroy(headers);
        headers = NULL;
    }
    if (headers == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the headers of a message");
    item->form = is_dead ? STREAM_DEAD : STREAM_ANSWER;
    return send_headed(run, item, answer->value, headers, err);
}

/* ---- by itself ---- */

void myr_stream_free_again(stream_item *item)
{
    if (item->headers != NULL) myr_kafka.headers_destroy(item->headers);
    myr_free(item->value);
    item->headers = NULL;
    item->value = NULL;
}

/* Keep of an unacknowledged message what is needed to send it again. */
static myr_rc send_keep(stream_run *run, stream_item *item, const rd_kafka_message_t *message, myr_err *err)
{
    rd_kafka_headers_t *headers = NULL;
    MYR_ASSERT(item->headers == NULL && item->value == NULL);
    if (myr_kafka.message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        item->headers = myr_kafka.headers_copy(headers);
    if (item->form == STREAM_ANSWER) item->value = myr_strndup(message->payload, message->len);
    item->value_bytes = message->len;
    if (item->headers == NULL || (item->form == STREAM_ANSWER && item->value == NULL))
        MYR_FAIL(err, NO_MEMORY, "out of memory for a message of %zu bytes", message->len);
    item->state = STREAM_ALONE;
    run->alone_count++;
    if (!item->is_by_itself) return MYR_OK; /* the request was too large, perhaps not the message */
    return send_smaller(run, item, message->len, item->headers, err);
}

static stream_item *send_first_alone(stream_run *run)
{
    for (size_t b = 0; b < run->flight_count; b++) {
        stream_batch *batch = &run->batches[(run->first + b) % STREAM_BATCHES_MAX];
        for (size_t i = 0; batch->pending > 0 && i < batch->count; i++) {
            if (batch->items[i].state == STREAM_ALONE) return &batch->items[i];
        }
    }
    return NULL;
}

void myr_stream_send_alone(stream_run *run)
{
    if (run->alone_count == 0 || run->pending != run->alone_count || run->failure.rc != MYR_OK) return;
    MYR_ASSERT(run->lone == NULL);
    stream_item *item = send_first_alone(run);
    MYR_ASSERT(item != NULL);
    myr_err err = {0};
    rd_kafka_headers_t *headers = item->headers;
    char *value = item->value;
    item->headers = NULL;
    item->value = NULL;
    item->state = STREAM_WAITS;
    item->is_by_itself = true;
    run->alone_count--;
    run->lone = item;
    if (send_headed(run, item, myr_str_make(value, item->value_bytes), headers, &err) != MYR_OK)
        myr_stream_break(run, &err);
    myr_free(value);
}

/* ---- acknowledgements ---- */

static bool send_is_purge(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__PURGE_QUEUE || code == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
}

/* The broker takes neither this record nor another like it: a record that its topic refuses. */
static bool send_is_refused(rd_kafka_resp_err_t code)
{
    return send_is_too_large(code) || code == RD_KAFKA_RESP_ERR_INVALID_RECORD || code == RD_KAFKA_RESP_ERR_INVALID_MSG;
}

void myr_stream_on_delivery(rd_kafka_t *writer, const rd_kafka_message_t *message, void *ctx)
{
    (void)writer;
    stream_run *run = ctx;
    stream_item *item = message->_private;
    MYR_ASSERT(item->state == STREAM_WAITS && item->batch->pending > 0);
    if (run->lone == item) run->lone = NULL;
    myr_err err = {0};
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        item->state = STREAM_IS_DONE;
        item->batch->pending--;
        run->pending--;
        myr_stream_is_back(run);
    } else if (send_is_refused(message->err)) {
        if (send_keep(run, item, message, &err) != MYR_OK) myr_stream_break(run, &err);
    } else if (!send_is_purge(message->err)) { /* purged: the run is ending, it said why */
        const char *topic = item->form >= STREAM_DEAD ? run->opts->dead_letter : run->opts->to;
        MYR_IGNORE(myr_kafka_fail(&err, message->err, "writing to", topic)); /* it ends the run */
        myr_stream_break(run, &err);
    }
}
