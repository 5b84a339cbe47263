/*
 * The face of net: an HTTP/1.1 listener (libmicrohttpd) that knows no models. Requests arrive whole; the handler
 * answers at once on the loop that owns the connection, or defers: then the request goes to a bounded pool of compute
 * threads and the connection sleeps.
 *
 * Threads: loop[i] own their connections; a request belongs to its loop until deferred, then to the compute thread
 * until it returns. Limits: options below; above the body limit the answer is 413, when the pool is full 503 with
 * Retry-After.
 */
#ifndef MYR_NET_NET_H
#define MYR_NET_NET_H

#include "base/base.h"

#define MYR_HTTP_SEGMENTS_MAX      16    /* parts of a path; one more is 404 */
#define MYR_HTTP_URL_BYTES_MAX     8192  /* path and query as sent; longer is 414 */
#define MYR_HTTP_HEADER_BYTES_MAX  12288 /* request line and headers; more is 431 */
#define MYR_HTTP_REPLY_HEADERS_MAX 8     /* added by a handler to one answer */
#define MYR_HTTP_DRAIN_BYTES_MAX                                                                                       \
    (16LL << 20) /* of a body past its limit, read and dropped so that the 413 can be read */
#define MYR_HTTP_LOOPS_MAX    256
#define MYR_HTTP_COMPUTES_MAX 1024

typedef struct myr_http_server myr_http_server;
typedef struct myr_req myr_req;

typedef struct myr_http_opts {
    const char *listen; /* "127.0.0.1:8080", "[::1]:0" */
    int loop_count;     /* 0 = one per processor */
    int compute_count;  /* 0 = one per processor */
    int64_t queue_max;  /* requests waiting for a compute thread */
    int64_t body_bytes_max;
    int64_t request_bytes_max; /* arena cap per request: body + decoded + answer */
    int64_t connections_max;
    int64_t header_timeout_ms; /* from the first byte to the end of the headers … */
    int64_t body_timeout_ms;   /* … and to the end of the body */
    int64_t idle_timeout_ms;   /* keep-alive */
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
/* No new connections; what is in flight is answered (at most drain_ms), then everything is freed. */
void myr_http_stop(myr_http_server *server, int64_t drain_ms);

/* ---- a request, as the handler sees it ---- */
typedef enum myr_method { MYR_GET, MYR_POST, MYR_PUT, MYR_DELETE, MYR_HEAD, MYR_OPTIONS, MYR_METHOD_OTHER } myr_method;
myr_method myr_req_method(const myr_req *req);
const char *myr_req_method_name(const myr_req *req);
/* The path cut at '/' and percent-decoded once per part: "/v2/models/oj%40x/infer" -> v2, models, oj@x, infer. */
uint32_t myr_req_segments(const myr_req *req, const myr_str **out_segments);
const char *myr_req_path(const myr_req *req);                     /* as sent, without query */
bool myr_req_query(myr_req *req, const char *name, myr_str *out); /* decoded; first of that name */
const char *myr_req_header(myr_req *req, const char *name);       /* NULL if absent */
myr_str myr_req_body(const myr_req *req);
bool myr_req_is_encoded(myr_req *req); /* Content-Encoding says that the body is not there as it is meant, yet */
/*
 * From now on myr_req_body is what gzip or deflate (zlib's frame) held. It takes time: not on a loop. Errors:
 * UNSUPPORTED (another coding), BAD_INPUT (damaged, cut, something after it), TOO_LARGE (more than body_bytes_max),
 * NO_MEMORY.
 */
myr_rc myr_req_decode_body(myr_req *req, myr_err *err);
myr_arena *myr_req_arena(myr_req *req);       /* reset after the answer */
void *myr_req_loop_state(myr_req *req);       /* of the thread that runs now */
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
/* {"error":"…"} with the status of err->rc; BUSY and UNAVAILABLE carry Retry-After: 1. */
void myr_req_reply_error(myr_req *req, const myr_err *err);
/* Run `again` for this request on a compute thread; it must reply. When the pool is full the answer is 503, here and
 * now. */
void myr_req_defer(myr_req *req, void (*again)(void *ctx, myr_req *req));
bool myr_req_is_on_loop(const myr_req *req); /* for assertions */

/* A yyjson allocator over the request's arena: one reset frees all. */
struct yyjson_alc;
void myr_arena_yyjson(myr_arena *arena, struct yyjson_alc *out);

#endif
