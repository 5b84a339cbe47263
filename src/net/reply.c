/*
 * Answers, and what a handler reads of a request. An answer is only noted by the handler, on whichever thread it runs;
 * the loop hands it to libmicrohttpd, which borrows body and headers from the arena until the request is completed.
 */
#include "net/internal.h"

#include <stdio.h>
#include <string.h>

#define REPLY_ERROR_BYTES (MYR_ERR_MESSAGE_BYTES * 6 + 32) /* each byte escaped */

/* ---- reading ---- */

myr_method myr_req_method(const myr_req *req)
{
    return req->method;
}

const char *myr_req_method_name(const myr_req *req)
{
    return req->method_name;
}

uint32_t myr_req_segments(const myr_req *req, const myr_str **out_segments)
{
    *out_segments = req->segments;
    return req->segment_count;
}

const char *myr_req_path(const myr_req *req)
{
    return req->path;
}

const char *myr_req_header_of(myr_req *req, const char *name, size_t name_bytes)
{
    const char *value = NULL;
    if ((req->header_bits & myr_net_header_bit(name, name_bytes)) == 0) return NULL;
    MHD_lookup_connection_value_n(req->mhd, MHD_HEADER_KIND, name, name_bytes, &value, NULL);
    return value;
}

myr_str myr_req_body(const myr_req *req)
{
    return req->body == NULL ? myr_str_make("", 0) : myr_str_make(req->body, req->body_bytes);
}

myr_arena *myr_req_arena(myr_req *req)
{
    return req->arena;
}

void *myr_req_loop_state(myr_req *req)
{
    MYR_ASSERT(myr_net_thread_is_current(req->runs));
    return req->runs->state;
}

bool myr_req_is_loopback(const myr_req *req)
{
    return req->server->listener.is_loopback;
}

int64_t myr_req_start_ns(const myr_req *req)
{
    return req->start_ns;
}

int myr_req_status(const myr_req *req)
{
    return req->status;
}

int64_t myr_req_reply_bytes(const myr_req *req)
{
    return (int64_t)req->reply_bytes;
}

void myr_req_set_note(myr_req *req, const void *note)
{
    req->note = note;
}

const void *myr_req_note(const myr_req *req)
{
    return req->note;
}

bool myr_req_is_on_loop(const myr_req *req)
{
    return myr_net_thread_is_current(req->loop);
}

/* ---- answering ---- */

void myr_req_reply(myr_req *req, int status, const char *content_type, const char *body, size_t body_bytes)
{
    MYR_ASSERT(req->status == 0 && req->phase != NET_PHASE_SENT);
    MYR_ASSERT(status >= 200 && status <= 599);
    MYR_ASSERT(body != NULL || body_bytes == 0);
    req->status = status;
    req->content_type = content_type;
    req->reply = body;
    req->reply_bytes = body_bytes;
}

void myr_req_add_header(myr_req *req, const char *name, const char *value)
{
    MYR_ASSERT(req->header_count < MYR_HTTP_REPLY_HEADERS_MAX && req->status == 0);
    req->headers[req->header_count].name = name;
    req->headers[req->header_count].value = value;
    req->header_count++;
}

/* The message is UTF-8 without controls (myr_err_set): only quote and backslash need care; controls are for safety. */
static size_t reply_escape(const char *text, char *out)
{
    char *p = out;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c < 0x20) {
            p += snprintf(p, 7, "\\u%04x", c);
        } else {
            *p++ = (char)c;
        }
    }
    return (size_t)(p - out);
}

void myr_req_reply_error(myr_req *req, const myr_err *err)
{
    MYR_ASSERT(err->rc != MYR_OK);
    myr_rc rc = (myr_rc)err->rc;
    char *body = myr_arena_alloc(req->arena, REPLY_ERROR_BYTES);
    if (rc == MYR_BUSY || rc == MYR_UNAVAILABLE || rc == MYR_TOO_MANY)
        myr_req_add_header(req, MHD_HTTP_HEADER_RETRY_AFTER, "1"); /* MYR_HTTP_RETRY_AFTER_MS */
    if (body == NULL) {
        static const char text[] = "{\"error\":\"out of memory\"}";
        myr_req_reply(req, myr_rc_http(rc), "application/json", text, sizeof text - 1);
        return;
    }
    memcpy(body, "{\"error\":\"", 10);
    size_t size = 10 + reply_escape(err->message, body + 10);
    memcpy(body + size, "\"}", 2);
    size += 2;
    MYR_ASSERT(size <= REPLY_ERROR_BYTES);
    myr_req_reply(req, myr_rc_http(rc), "application/json", body, size);
}

/* Whether this answer is the connection's last, which a header says. */
static bool reply_closes(const myr_req *req)
{
    return req->must_close || atomic_load_explicit(&req->server->is_draining, memory_order_relaxed);
}

static bool reply_headers(const myr_req *req, struct MHD_Response *response)
{
    bool ok = true;
    if (req->content_type != NULL) {
        ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, req->content_type) == MHD_YES;
    }
    for (uint32_t i = 0; i < req->header_count; i++) {
        ok = ok && MHD_add_response_header(response, req->headers[i].name, req->headers[i].value) == MHD_YES;
    }
    return ok;
}

struct MHD_Response *myr_net_response_new(const myr_req *req, const char *body)
{
    struct MHD_Response *response = MHD_create_response_from_buffer_static(req->reply_bytes, body);
    if (response == NULL || reply_headers(req, response)) return response;
    MHD_destroy_response(response);
    return NULL;
}

static enum MHD_Result reply_queue(myr_req *req, struct MHD_Response *response)
{
    myr_net_conn_send(req->conn, req->server->opts.body_timeout_ms); /* the client has as long to take it */
    req->phase = NET_PHASE_SENT;
    return MHD_queue_response(req->mhd, (unsigned)req->status, response);
}

enum MHD_Result myr_net_send(myr_req *req)
{
    MYR_ASSERT(myr_net_thread_is_current(req->loop) && req->status != 0 && req->phase != NET_PHASE_SENT);
    bool closes = reply_closes(req);
    if (!closes) req->answer = myr_net_answer_take(req);
    if (req->answer != NULL) return reply_queue(req, myr_net_answer_response(req->answer));
    struct MHD_Response *response = myr_net_response_new(req, req->reply);
    if (response == NULL) return MHD_NO;
    enum MHD_Result result = MHD_NO;
    if (!closes || MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES)
        result = reply_queue(req, response);
    MHD_destroy_response(response); /* the connection holds its own reference */
    return result;
}
