/*
 * HTTP/2 as nghttp2 tells it: frames become the events of a call, and what a client may do but not often is counted.
 * nghttp2 checks the protocol itself (pseudo headers, flow control, frame sizes, HPACK) and answers settings and pings.
 */
#include "net/rpc_inside.h"

#define H2_ACKS_MAX          (MYR_RPC_GLITCHES_MAX * 2) /* pings and settings that wait to be answered */
#define H2_CONTINUATIONS_MAX 8                          /* frames of one header */

static myr_rpc *h2_call(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int h2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    rpc_conn *conn = ctx;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    myr_rpc *rpc = myr_rpc_take(conn, frame->hd.stream_id);
    if (rpc == NULL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, rpc) != 0) {
        myr_rpc_on_close(rpc);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return 0;
}

static int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_bytes,
                        const uint8_t *value, size_t value_bytes, uint8_t flags, void *ctx)
{
    (void)flags;
    (void)ctx;
    myr_rpc *rpc = h2_call(session, frame->hd.stream_id);
    if (rpc == NULL || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0; /* a client's trailers say nothing */
    myr_rpc_on_header(rpc, myr_str_make((const char *)name, name_bytes),
                      myr_str_make((const char *)value, value_bytes));
    return 0;
}

/* Frames that cost us something and say nothing. */
static bool h2_is_glitch(const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM:
    case NGHTTP2_PRIORITY:
        return true;
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PING:
        return (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0;
    case NGHTTP2_DATA:
        return frame->hd.length == 0 && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0;
    default:
        return false;
    }
}

static int h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    rpc_conn *conn = ctx;
    if (h2_is_glitch(frame)) myr_rpc_conn_glitch(conn);
    if (frame->hd.type == NGHTTP2_SETTINGS && !conn->has_greeted) {
        conn->has_greeted = true;
        myr_rpc_conn_rest(conn);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    myr_rpc *rpc = h2_call(session, frame->hd.stream_id);
    if (rpc == NULL) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) myr_rpc_on_headers(rpc);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) myr_rpc_on_end(rpc);
    return 0;
}

static int h2_on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size,
                      void *ctx)
{
    (void)flags;
    (void)ctx;
    myr_rpc *rpc = h2_call(session, stream_id);
    if (rpc != NULL) {
        myr_rpc_on_bytes(rpc, data, size);
    } else {
        MYR_IGNORE(nghttp2_session_consume(session, stream_id, size)); /* its answer is on its way */
    }
    return 0;
}

static int h2_on_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code, void *ctx)
{
    (void)error_code;
    (void)ctx;
    myr_rpc *rpc = h2_call(session, stream_id);
    if (rpc != NULL) myr_rpc_on_close(rpc);
    return 0;
}

/*
 * What we have sent. After the end of an answer a client that still speaks is told that nothing more is wanted. A reset
 * that the client's own mistake made us send counts as one of its own: else it could have us open and drop streams for
 * ever.
 */
static int h2_on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    rpc_conn *conn = ctx;
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR) {
        myr_rpc_conn_glitch(conn);
    }
    if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0) {
        MYR_IGNORE(nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR));
    }
    return 0;
}

static int h2_on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error, void *ctx)
{
    (void)session;
    (void)frame;
    (void)error;
    myr_rpc_conn_glitch(ctx);
    return 0;
}

static int h2_callbacks(nghttp2_session_callbacks **out)
{
    int rc = nghttp2_session_callbacks_new(out);
    if (rc != 0) return rc;
    nghttp2_session_callbacks_set_on_begin_headers_callback(*out, h2_on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(*out, h2_on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(*out, h2_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*out, h2_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(*out, h2_on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(*out, h2_on_sent);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(*out, h2_on_invalid);
    return 0;
}

/* Our own windows and limits, as the first thing that is said. */
static int h2_greet(rpc_conn *conn)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)conn->loop->thread.server->opts.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, RPC_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MYR_RPC_HEADER_BYTES_MAX},
    };
    int rc = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, MYR_COUNT_OF(settings));
    if (rc != 0) return rc;
    return nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, RPC_CONN_WINDOW);
}

int myr_rpc_session_new(rpc_conn *conn)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = h2_callbacks(&callbacks);
    if (rc == 0) rc = nghttp2_option_new(&option);
    if (rc == 0) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, H2_ACKS_MAX);
        nghttp2_option_set_max_continuations(option, H2_CONTINUATIONS_MAX);
        /* ours counts first and says ENHANCE_YOUR_CALM */
        nghttp2_option_set_stream_reset_rate_limit(option, MYR_RPC_GLITCHES_MAX * 4, MYR_RPC_GLITCHES_S * 4);
        rc = nghttp2_session_server_new3(&conn->session, callbacks, conn, option, &conn->memory.mem);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rc != 0 ? rc : h2_greet(conn);
}
