/*
 * Answers as HTTP/2 has them: headers, messages as data, the status in trailers; or, when there is no message, the
 * status alone ("trailers only"). What is submitted here goes out when the connection is flushed.
 */
#include <stdio.h>
#include <string.h>

#include "net/rpc_inside.h"

#define ANSWER_FIELDS_MAX   (5 + MYR_RPC_TRAILERS_MAX)
#define ANSWER_COMPRESS_MIN 1024 /* smaller messages are sent as they are */

static nghttp2_nv answer_field(const char *name, const char *value, size_t value_bytes)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), value_bytes,
                        NGHTTP2_NV_FLAG_NONE};
}

static nghttp2_nv answer_text(const char *name, const char *value)
{
    return answer_field(name, value, strlen(value));
}

/* A failure of nghttp2 to take something is lack of memory or a lost stream: the first ends the connection. */
static void answer_check(rpc_conn *conn, int rc)
{
    if (rc == NGHTTP2_ERR_NOMEM) conn->is_broken = true;
    myr_rpc_conn_touch(conn);
}

/* grpc-status, grpc-message and the trailers of a call; gives their number. */
static size_t answer_status(const myr_rpc *rpc, char number[4], nghttp2_nv *out)
{
    size_t count = 0;
    MYR_ASSERT(rpc->status >= 0 && rpc->status <= 16);
    snprintf(number, 4, "%d", rpc->status);
    out[count++] = answer_text("grpc-status", number);
    if (rpc->message_text_bytes > 0) {
        out[count++] = answer_field("grpc-message", rpc->message_text, rpc->message_text_bytes);
    }
    for (uint32_t i = 0; i < rpc->trailer_count; i++)
        out[count++] =
            answer_field(rpc->trailers[i].name.data, rpc->trailers[i].value.data, rpc->trailers[i].value.size);
    return count;
}

/* nghttp2 wants data: the rest of the message, then, if the call is over, the trailers. */
static ssize_t answer_read(nghttp2_session *session, int32_t stream_id, uint8_t *out, size_t room, uint32_t *flags,
                           nghttp2_data_source *source, void *ctx)
{
    (void)source;
    (void)ctx;
    myr_rpc *rpc = nghttp2_session_get_stream_user_data(session, stream_id);
    if (rpc == NULL) return NGHTTP2_ERR_DEFERRED; /* its status is on its way: answer_end_stream */
    size_t size = rpc->reply_size - rpc->reply_sent;
    if (size > room) size = room;
    if (size > 0) memcpy(out, rpc->reply + rpc->reply_sent, size);
    rpc->reply_sent += size;
    if (rpc->reply_sent < rpc->reply_size) return (ssize_t)size;
    if (rpc->status >= 0) {
        char number[4];
        nghttp2_nv fields[ANSWER_FIELDS_MAX];
        size_t count = answer_status(rpc, number, fields);
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        int rc = nghttp2_submit_trailer(session, stream_id, fields, count);
        if (rc != 0)
            return rc == NGHTTP2_ERR_NOMEM ? NGHTTP2_ERR_CALLBACK_FAILURE : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        return (ssize_t)size;
    }
    if (rpc->phase == RPC_SEND && !rpc->is_ready) { /* the next message may be taken, but not in here */
        rpc->is_ready = true;
        rpc->next_ready = rpc->loop->ready;
        rpc->loop->ready = rpc;
    }
    return size > 0 ? (ssize_t)size : NGHTTP2_ERR_DEFERRED;
}

/* Headers and, when they come, messages; or more messages. */
static void answer_go(myr_rpc *rpc)
{
    rpc_conn *conn = rpc->conn;
    if (rpc->has_headers) {
        answer_check(conn, nghttp2_session_resume_data(conn->session, rpc->stream_id));
        return;
    }
    nghttp2_nv fields[ANSWER_FIELDS_MAX];
    size_t count = 0;
    fields[count++] = answer_text(":status", "200");
    fields[count++] = answer_text("content-type", "application/grpc");
    if (rpc->may_compress) fields[count++] = answer_text("grpc-encoding", myr_net_coding_name(rpc->coding));
    const nghttp2_data_provider data = {.read_callback = answer_read};
    rpc->has_headers = true;
    answer_check(conn, nghttp2_submit_response(conn->session, rpc->stream_id, fields, count, &data));
}

/* The status alone. */
static void answer_status_only(myr_rpc *rpc)
{
    char number[4];
    nghttp2_nv fields[ANSWER_FIELDS_MAX];
    size_t count = 0;
    fields[count++] = answer_text(":status", "200");
    fields[count++] = answer_text("content-type", "application/grpc");
    if (rpc->has_bad_coding) fields[count++] = answer_text("grpc-accept-encoding", "identity,deflate,gzip");
    count += answer_status(rpc, number, fields + count);
    rpc->has_headers = true;
    answer_check(rpc->conn, nghttp2_submit_response(rpc->conn->session, rpc->stream_id, fields, count, NULL));
}

void myr_rpc_send(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->conn != NULL && rpc->phase != RPC_END);
    MYR_ASSERT(rpc->has_reply || rpc->has_failed || rpc->waits);
    if (rpc->has_failed || (rpc->kind == MYR_RPC_UNARY && rpc->has_reply)) {
        if (!rpc->has_failed) rpc->status = 0;
        rpc->phase = RPC_END;
    } else if (rpc->waits) { /* nothing to say: as if it had been said */
        myr_rpc_go_on(rpc);
        return;
    } else {
        rpc->phase = RPC_SEND;
    }
    myr_rpc_expect(rpc, rpc->loop->now_ns + rpc->server->opts.body_timeout_ms * 1000000);
    if (rpc->has_failed && !rpc->has_headers) {
        answer_status_only(rpc);
    } else {
        answer_go(rpc);
    }
}

void myr_rpc_finish(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->conn != NULL && rpc->phase != RPC_END);
    rpc->status = 0;
    rpc->phase = RPC_END;
    rpc->reply_size = rpc->reply_sent = 0;
    myr_rpc_expect(rpc, rpc->loop->now_ns + rpc->server->opts.body_timeout_ms * 1000000);
    if (rpc->has_headers) {
        answer_go(rpc);
    } else {
        answer_status_only(rpc);
    }
}

void myr_rpc_end(myr_rpc *rpc, myr_rc rc, const char *text)
{
    myr_err err = {0};
    bool is_cut = rpc->reply_sent > 0 && rpc->reply_sent < rpc->reply_size;
    MYR_ASSERT(rpc->conn != NULL && rpc->phase != RPC_END && rpc->phase != RPC_DEFERRED);
    rpc->has_reply = rpc->has_failed = rpc->waits = false;
    rpc->reply_size = rpc->reply_sent = 0;
    rpc->trailer_count = 0;
    MYR_IGNORE(myr_err_set(&err, rc, __FILE__, __LINE__, "%s", text)); /* only noted */
    myr_rpc_fail(rpc, &err);
    if (is_cut) {
        rpc->phase = RPC_END;
        myr_rpc_end_stream(rpc->conn, rpc->stream_id, true, rc, text);
    } else {
        myr_rpc_send(rpc);
    }
}

void myr_rpc_end_stream(rpc_conn *conn, int32_t stream_id, bool has_headers, myr_rc rc, const char *text)
{
    if (has_headers) { /* within messages: there is no honest way but a reset */
        answer_check(conn, nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_CANCEL));
        return;
    }
    char number[4];
    snprintf(number, sizeof number, "%d", myr_rc_grpc(rc));
    nghttp2_nv fields[] = {answer_text(":status", "200"), answer_text("content-type", "application/grpc"),
                           answer_text("grpc-status", number), answer_text("grpc-message", text)};
    answer_check(conn, nghttp2_submit_response(conn->session, stream_id, fields, MYR_COUNT_OF(fields), NULL));
}

void myr_rpc_refuse(myr_rpc *rpc, const char *http_status)
{
    nghttp2_nv fields[] = {answer_text(":status", http_status)};
    rpc->phase = RPC_END;
    rpc->status = myr_rc_grpc(MYR_UNSUPPORTED);
    rpc->has_headers = true;
    myr_rpc_expect(rpc, rpc->loop->now_ns + rpc->server->opts.body_timeout_ms * 1000000);
    answer_check(rpc->conn, nghttp2_submit_response(rpc->conn->session, rpc->stream_id, fields, 1, NULL));
}

/* ---- the handler's side ---- */

static bool answer_is_free(const myr_rpc *rpc)
{
    return !rpc->has_reply && !rpc->has_failed && !rpc->waits;
}

/* The message with its prefix, in the arena; false: no memory. */
static bool answer_note(myr_rpc *rpc, const void *data, size_t size)
{
    char *text = NULL;
    size_t bytes = size;
    bool is_smaller =
        rpc->may_compress && rpc->is_compressed && size >= ANSWER_COMPRESS_MIN &&
        myr_net_compress(rpc->arena, rpc->coding, RPC_PREFIX_BYTES, myr_str_make(data, size), &text, &bytes);
    if (!is_smaller) {
        text = myr_arena_alloc(rpc->arena, RPC_PREFIX_BYTES + size);
        if (text == NULL) return false;
        bytes = size;
        if (size > 0) memcpy(text + RPC_PREFIX_BYTES, data, size);
    }
    text[0] = (char)is_smaller;
    for (unsigned i = 0; i < 4; i++)
        text[1 + i] = (char)(bytes >> (24 - 8 * i));
    rpc->reply = (unsigned char *)text;
    rpc->reply_size = RPC_PREFIX_BYTES + bytes;
    return true;
}

void myr_rpc_reply(myr_rpc *rpc, const void *data, size_t size_bytes)
{
    MYR_ASSERT(answer_is_free(rpc) && (data != NULL || size_bytes == 0));
    myr_err err = {0};
    if (size_bytes > INT32_MAX) { /* a message's length has 32 bits, and clients stop at 31 */
        MYR_IGNORE(MYR_ERROR(&err, TOO_LARGE, "the answer has %zu bytes: ask for fewer rows", size_bytes));
        myr_rpc_fail(rpc, &err);
        return;
    }
    if (!answer_note(rpc, data, size_bytes)) {
        MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "out of memory for the answer"));
        myr_rpc_fail(rpc, &err);
        return;
    }
    rpc->reply_sent = 0;
    rpc->reply_bytes += (int64_t)size_bytes;
    rpc->has_reply = true;
}

void myr_rpc_fail(myr_rpc *rpc, const myr_err *err)
{
    MYR_ASSERT(answer_is_free(rpc) && err->rc != MYR_OK);
    myr_rc rc = (myr_rc)err->rc;
    rpc->has_failed = true;
    rpc->status = myr_rc_grpc(rc);
    rpc->message_text_bytes = myr_rpc_escape(err->message, rpc->message_text);
    if ((rc == MYR_BUSY || rc == MYR_UNAVAILABLE) && rpc->trailer_count < MYR_RPC_TRAILERS_MAX) {
        myr_rpc_add_trailer(rpc, "grpc-retry-pushback-ms", "1000");
    }
}

void myr_rpc_wait(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->kind == MYR_RPC_WATCH && answer_is_free(rpc));
    rpc->waits = true;
}

void myr_rpc_add_trailer(myr_rpc *rpc, const char *name, const char *value)
{
    MYR_ASSERT(rpc->trailer_count < MYR_RPC_TRAILERS_MAX && !rpc->has_reply);
    rpc->trailers[rpc->trailer_count++] = (rpc_field){myr_str_of(name), myr_str_of(value)};
}
