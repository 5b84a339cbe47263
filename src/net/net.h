/*
 * The face of net: an HTTP/1.1 listener (libmicrohttpd) that knows no models, and a gRPC listener (rpc.h, which is
 * included here). Requests arrive whole; the handler
 * answers at once on the loop that owns the connection, or defers: then the request goes to a bounded pool of compute
 * threads and the connection sleeps. Or a request is a stream: its body is answered while it comes.
 *
 * Threads: loop[i] own their connections; a request belongs to its loop until deferred, then to the compute thread
 * until it returns. Limits: options below; above the body limit the answer is 413, when the pool is full 503 with
 * Retry-After.
 */
#ifndef MYR_NET_NET_H
#define MYR_NET_NET_H

#include <string.h>

#include "base/base.h"

#define MYR_HTTP_SEGMENTS_MAX      16    /* parts of a path; one more is 404 */
#define MYR_HTTP_URL_BYTES_MAX     8192  /* path and query as sent; longer is 414 */
#define MYR_HTTP_HEADER_BYTES_MAX  12288 /* request line and headers; more is 431 */
#define MYR_HTTP_REPLY_HEADERS_MAX 16    /* added by a handler to one answer */
#define MYR_HTTP_DRAIN_BYTES_MAX                                                                                       \
    (16LL << 20)                        /* of a body past its limit, read and dropped so that the 413 can be read */
#define MYR_HTTP_STREAM_OUT_BYTES 65536 /* a step that has written so much returns, however much input is left */
#define MYR_HTTP_STREAM_LINGER_MS 2000  /* after an end before the client's: for it to read it */
#define MYR_HTTP_RETRY_AFTER_MS   1000  /* what a refusal says */
#define MYR_HTTP_LOOPS_MAX        256
#define MYR_HTTP_COMPUTES_MAX     1024

typedef struct myr_http_server myr_http_server;
typedef struct myr_req myr_req;

/*
 * TLS for listeners: certificate chain and key in PEM (the key's file is nobody else's: 0600), and the authority whose
 * clients alone are let in, or NULL. TLS 1.2 and 1.3. Thread: open, refresh and close one at a time; shared by any
 * number of listeners, which end before it. Errors: NOT_FOUND, DENIED (the key is open to others), BAD_FORMAT.
 */
typedef struct myr_tls myr_tls;
myr_rc myr_tls_open(const char *cert_path, const char *key_path, const char *ca_path, myr_tls **out, myr_err *err);
/* Read the files again if they changed: for connections from now on. On failure these keep what there was. */
myr_rc myr_tls_refresh(myr_tls *tls, bool *out_changed, myr_err *err);
bool myr_tls_asks_clients(const myr_tls *tls); /* only clients with a certificate of the authority are let in */
void myr_tls_close(myr_tls *tls);              /* NULL accepted */

typedef struct myr_http_opts {
    const char *listen;        /* "127.0.0.1:8080", "[::1]:0" */
    const char *only_loopback; /* not NULL: why an address that other machines reach is refused (DENIED) */
    myr_tls *tls;              /* NULL: in clear text. Borrowed */
    int loop_count;            /* 0 = one per processor */
    int compute_count;         /* 0 = one per processor */
    int64_t queue_max;         /* requests waiting for a compute thread */
    int64_t body_bytes_max;
    int64_t request_bytes_max; /* arena cap per request: body + decoded + answer */
    int64_t connections_max;
    int64_t address_connections_max; /* of one address (IPv6: one /64); 0 = no limit */
    int64_t header_timeout_ms;       /* from the first byte to the end of the headers … */
    int64_t body_timeout_ms;         /* … and to the end of the body */
    int64_t idle_timeout_ms;         /* keep-alive */
    /*
     * The headers are complete, the body is not there yet. It may answer (then the body is read and dropped, and
     * `handler` is not called), or call myr_req_stream; never defer. NULL: every request reaches the handler.
     */
    void (*on_headers)(void *ctx, myr_req *req);
    void (*handler)(void *ctx, myr_req *req);
    void *(*make_loop_state)(
        void *ctx); /* one per thread that may run a handler: scratch memory; NULL result fails the start */
    void (*free_loop_state)(void *state);
    void (*on_done)(void *ctx,
                    const myr_req *req); /* after the answer was handed over: access log, metrics; may be NULL */
    void *ctx;
} myr_http_opts;

/* Start listening. Port 0 picks one. IO: "127.0.0.1:8080: address in use: choose another --listen". */
myr_rc myr_http_start(const myr_http_opts *opts, myr_http_server **out, myr_err *err);
int myr_http_port(const myr_http_server *server);
/* No new connections, and each answer closes its own; what is in flight goes on until myr_http_stop. NULL accepted. */
void myr_http_drain(myr_http_server *server);
/* The same if it was not done yet; what is in flight is answered (at most drain_ms), then everything is freed. */
void myr_http_stop(myr_http_server *server, int64_t drain_ms);

/* ---- a request, as the handler sees it ---- */
typedef enum myr_method { MYR_GET, MYR_POST, MYR_PUT, MYR_DELETE, MYR_HEAD, MYR_OPTIONS, MYR_METHOD_OTHER } myr_method;
myr_method myr_req_method(const myr_req *req);
const char *myr_req_method_name(const myr_req *req);
/* The path cut at '/' and percent-decoded once per part: "/v2/models/oj%40x/infer" -> v2, models, oj@x, infer. */
uint32_t myr_req_segments(const myr_req *req, const myr_str **out_segments);
const char *myr_req_path(const myr_req *req);                     /* as sent, without query */
bool myr_req_query(myr_req *req, const char *name, myr_str *out); /* decoded; first of that name */
/* Every part of the query in its order, decoded; `use` ends the walk with its error. BAD_INPUT: a bad escape, not
 * UTF-8.
 */
myr_rc myr_req_each_query(myr_req *req, myr_rc (*use)(void *ctx, myr_str name, myr_str value, myr_err *err), void *ctx,
                          myr_err *err);
const char *myr_req_header_of(myr_req *req, const char *name, size_t name_bytes); /* NULL if absent */
static inline const char *myr_req_header(myr_req *req, const char *name)
{
    return myr_req_header_of(req, name, strlen(name));
}
myr_str myr_req_body(const myr_req *req);
bool myr_req_is_encoded(myr_req *req); /* Content-Encoding says that the body is not there as it is meant, yet */
/*
 * From now on myr_req_body is what gzip or deflate (zlib's frame) held. It takes time: not on a loop. Errors:
 * UNSUPPORTED (another coding), BAD_INPUT (damaged, cut, something after it), TOO_LARGE (more than body_bytes_max),
 * NO_MEMORY.
 */
myr_rc myr_req_decode_body(myr_req *req, myr_err *err);
myr_arena *myr_req_arena(myr_req *req);                                          /* reset after the answer */
void *myr_req_loop_state(myr_req *req);                                          /* of the thread that runs now */
#define MYR_HTTP_CLIENT_BYTES 46                                                 /* an IPv6 address as text, with NUL */
const char *myr_req_client(const myr_req *req, char out[MYR_HTTP_CLIENT_BYTES]); /* its address; gives back out */
bool myr_req_is_loopback(const myr_req *req); /* its listener: only this machine reaches it */
int64_t myr_req_start_ns(const myr_req *req); /* monotonic, when the headers were complete */
int myr_req_status(const myr_req *req);       /* for on_done */
int64_t myr_req_reply_bytes(const myr_req *req);
/* A slot for the handler's own note (route number …), kept until on_done. */
void myr_req_set_note(myr_req *req, const void *note);
const void *myr_req_note(const myr_req *req);

/* ---- answering: exactly once per request ---- */
/* body: in the request's arena or static; borrowed until the answer is sent. */
void myr_req_reply(myr_req *req, int status, const char *content_type, const char *body, size_t body_bytes);
void myr_req_add_header(myr_req *req, const char *name,
                        const char *value); /* before the reply; both static or in the arena */
/*
 * Compress an answer for a client whose Accept-Encoding wants it, and add the header. False: send it as it is (not
 * wanted, small, or no smaller). *out_body is the arena's.
 */
bool myr_req_encode_reply(myr_req *req, const char *body, size_t body_bytes, const char **out_body, size_t *out_bytes);
/* {"error":"…"} with the status of err->rc; BUSY, UNAVAILABLE and TOO_MANY carry Retry-After: 1. */
void myr_req_reply_error(myr_req *req, const myr_err *err);
/*
 * Whose a request is that will be deferred: classes (fleets) take turns, and flows (clients) within a class. A class
 * may fill half of the queue, a flow a quarter. Any numbers, hashed into slots; class 0: nobody's, in turn and not
 * bounded.
 */
void myr_req_set_flow(myr_req *req, uint64_t class_hash, uint64_t flow_hash);
/* Run `again` for this request on a compute thread; it must reply. When the pool is full the answer is 503, here and
 * now. */
void myr_req_defer(myr_req *req, void (*again)(void *ctx, myr_req *req));
bool myr_req_is_on_loop(const myr_req *req); /* for assertions */
/*
 * Overload: how refusing stays cheap (room.c). On the loop: this request, of a class (a fleet), is refused for want of
 * room.
 */
void myr_req_turn_away(myr_req *req, uint64_t class_hash);
/*
 * In on_headers: if the connection was turned away less than MYR_HTTP_RETRY_AFTER_MS ago with a request of this class
 * and not much larger than this one, this one waits, unread, until it is let in, or is refused after wait_ms, or, the
 * longer the client insists, up to MYR_HTTP_RETRY_AFTER_MS. False: it does not wait.
 */
bool myr_req_hold(myr_req *req, uint64_t class_hash, int64_t wait_ms);
bool myr_req_was_held(const myr_req *req); /* its time runs since myr_req_start_ns */
bool myr_req_is_away(const myr_req *req);  /* it was refused there; for on_done */
/* There is room for so many of those that wait on this listener. Any thread. */
void myr_req_let_in(const myr_req *req, int64_t count);
void myr_http_let_in(myr_http_server *server, int64_t count);
/*
 * On a loop: the request sleeps without a thread until myr_req_wake; then `again` runs for it on the same loop, and may
 * park it once more. False: too many sleep already, or the server is stopping: nothing has happened. The handler
 * returns after it; until then it may still use the request.
 */
bool myr_req_park(myr_req *req, void (*again)(void *ctx, myr_req *req));
void myr_req_wake(myr_req *req); /* once for each park; any thread, which may not use the request afterwards */
/* Whether this request can be parked: it came whole, and runs on its loop. */
bool myr_req_can_park(const myr_req *req);

/*
 * ---- streams: the answer begins before the request has ended ----
 * The body comes in pieces of any size; step is run for what has come, and what it writes is sent at once (chunked).
 * While the client does not take its answers, nothing more is read from it. The connection closes after a stream.
 */
typedef struct myr_http_stream_opts {
    /*
     * On a loop (never block) or, after myr_http_stream_defer, on a compute thread. Uses input, writes output. True:
     * there is more to do with the input that is here, so run me again when the output is taken. False: that is all
     * until more comes; with is_last: the answer is complete.
     */
    bool (*step)(void *ctx, myr_req *req);
    int status;
    const char *content_type;
    size_t in_bytes_max;     /* of input that a step may leave; at that it has to use some */
    int64_t idle_timeout_ms; /* without a byte from the client */
    const char *late;        /* the last words when that is over … */
    const char *stopping;    /* … and when the server stops; static */
} myr_http_stream_opts;
/* In on_headers only; then the handler is not called. Errors: NO_MEMORY: it is none, the handler will be called. */
myr_rc myr_req_stream(myr_req *req, const myr_http_stream_opts *opts, myr_err *err);
/* The rest is for step, and out and end for on_headers. */
myr_str myr_http_stream_in(const myr_req *req); /* what has come and was not used; NUL-terminated if there is any */
void myr_http_stream_use(myr_req *req, size_t bytes);
bool myr_http_stream_is_last(const myr_req *req); /* nothing follows this input */
bool myr_http_stream_is_full(const myr_req *req); /* no more fits: use some */
myr_buf *myr_http_stream_out(myr_req *req);
void myr_http_stream_end(myr_req *req);         /* the answer is complete, whatever the client still sends */
myr_arena *myr_http_stream_arena(myr_req *req); /* reset before each step; capped as a request's */
/* On a loop: run step again on a compute thread; return false at once. False: the pool is full. */
bool myr_http_stream_defer(myr_req *req);

#include "net/rpc.h"

#endif
