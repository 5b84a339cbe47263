/*
 * The gRPC listener: HTTP/2 (nghttp2) on event loops of its own. It knows no models and no protobuf: a method is a
 * path, a message is bytes. A handler answers each message on the loop that owns the connection, or defers to a bounded
 * pool of compute threads; a compressed message is always expanded there. A chapter of net.h.
 *
 * Threads: loop[i] own their connections; a call belongs to its loop, or, while deferred, to the compute thread.
 * Errors: a myr_err becomes grpc-status (rc.def) and grpc-message. Limits: the options and those named below; a message
 * past its limit is RESOURCE_EXHAUSTED, a full queue is UNAVAILABLE with grpc-retry-pushback-ms, a client that floods
 * is sent GOAWAY with ENHANCE_YOUR_CALM.
 */
#ifndef MYR_NET_RPC_H
#define MYR_NET_RPC_H

#include "base/base.h"

#define MYR_RPC_HEADER_BYTES_MAX 16384 /* of a request, each field counted as name + value + 32; more is refused */
#define MYR_RPC_METADATA_MAX     64    /* fields of a request that a handler may read */
#define MYR_RPC_TRAILERS_MAX     4     /* added by a handler to one answer */
#define MYR_RPC_GLITCHES_MAX     500   /* resets, pings, settings, empty frames … of a connection at once … */
#define MYR_RPC_GLITCHES_S       50    /* … and per second over time */
#define MYR_RPC_STREAMS_MAX      4096  /* the largest streams_max */
#define MYR_RPC_NO_METHOD        UINT32_MAX

typedef struct myr_rpc_server myr_rpc_server;
typedef struct myr_rpc myr_rpc; /* one call: one stream of HTTP/2 */

typedef enum myr_rpc_kind {
    MYR_RPC_UNARY,  /* one message, one answer */
    MYR_RPC_STREAM, /* any number of messages, each answered once, in order */
    MYR_RPC_WATCH   /* one message; the handler is asked again every watch_ms whether there is news */
} myr_rpc_kind;

typedef struct myr_rpc_method {
    const char *path; /* "/grpc.health.v1.Health/Check" */
    myr_rpc_kind kind;
} myr_rpc_method;

typedef struct myr_rpc_opts {
    const char *listen;
    const char *only_loopback; /* as in myr_http_opts */
    struct myr_tls *tls;       /* as in myr_http_opts */
    int loop_count;            /* 0 = one per processor */
    int compute_count;         /* 0 = one per processor */
    int64_t queue_max;         /* messages waiting for a compute thread */
    int64_t message_bytes_max; /* of a request, expanded */
    int64_t request_bytes_max; /* arena cap per call: message + decoded + answer; and of a connection's unfinished
                                  messages */
    int64_t connections_max;
    int64_t address_connections_max; /* as in myr_http_opts */
    int64_t streams_max;             /* calls of one connection at once */
    int64_t header_timeout_ms; /* from accept to the end of the preface and first settings; for the answer to a ping */
    int64_t body_timeout_ms;   /* for a message to arrive, and for an answer to be taken */
    int64_t idle_timeout_ms;   /* a connection without calls is sent away; a silent one with calls is pinged */
    int64_t watch_ms;
    const myr_rpc_method *methods;
    uint32_t method_count;
    /* The headers are there, no message yet. It may fail the call, nothing else. NULL: every call is welcome. Loop. */
    void (*on_headers)(void *ctx, myr_rpc *rpc);
    void (*handler)(void *ctx, myr_rpc *rpc); /* a message is there; on the loop, or on a compute thread if it was
                                                 compressed */
    void *(*make_loop_state)(void *ctx);      /* as in myr_http_opts */
    void (*free_loop_state)(void *state);
    void (*on_done)(void *ctx, const myr_rpc *rpc); /* the call is over, whoever ended it; loop; may be NULL */
    void *ctx;
} myr_rpc_opts;

/* Errors: BAD_USAGE (limits, address), IO (address in use), NO_MEMORY. Thread: main, as for port and stop. */
myr_rc myr_rpc_start(const myr_rpc_opts *opts, myr_rpc_server **out, myr_err *err);
int myr_rpc_port(const myr_rpc_server *server);
/* GOAWAY to all; calls in flight are answered (at most drain_ms), then everything is freed. NULL accepted. */
void myr_rpc_stop(myr_rpc_server *server, int64_t drain_ms);

/* ---- a call, as the handler sees it; from the thread that runs it ---- */
uint32_t myr_rpc_method_idx(const myr_rpc *rpc); /* MYR_RPC_NO_METHOD (on_done alone): there is none of this path */
myr_str myr_rpc_path(const myr_rpc *rpc);
myr_str myr_rpc_message(const myr_rpc *rpc);                               /* expanded; 16-byte aligned */
bool myr_rpc_metadata(const myr_rpc *rpc, const char *name, myr_str *out); /* lower case; the first of that name */
myr_arena *myr_rpc_arena(myr_rpc *rpc);                                    /* reset after each message's answer */
void *myr_rpc_loop_state(const myr_rpc *rpc);                              /* of the thread that runs now */
int64_t myr_rpc_start_ns(const myr_rpc *rpc);                              /* when this message was complete */
int64_t myr_rpc_deadline_ns(const myr_rpc *rpc);                           /* of grpc-timeout; INT64_MAX: none */
bool myr_rpc_is_on_loop(const myr_rpc *rpc);
bool myr_rpc_is_loopback(const myr_rpc *rpc);  /* its listener: only this machine reaches it */
bool myr_rpc_is_cancelled(const myr_rpc *rpc); /* nobody waits for the answer any more; any thread */
/* For the handler's own use, as long as the call; its memory may be the call's. NULL at first. */
void myr_rpc_set_note(myr_rpc *rpc, void *note);
void *myr_rpc_note(const myr_rpc *rpc);
myr_arena *myr_rpc_call_arena(myr_rpc *rpc); /* reset after the call; small: a header's size */
/* For on_done. */
int myr_rpc_status(const myr_rpc *rpc); /* gRPC's number */
int64_t myr_rpc_reply_bytes(const myr_rpc *rpc);
int64_t myr_rpc_call_start_ns(const myr_rpc *rpc); /* when the headers were complete */

/* ---- answering: exactly one of these per pass ---- */
/* A message; borrowed for this call only. Compressed if the request was, and it helps. */
void myr_rpc_reply(myr_rpc *rpc, const void *data, size_t size_bytes);
void myr_rpc_fail(myr_rpc *rpc, const myr_err *err); /* ends the call */
void myr_rpc_wait(myr_rpc *rpc);                     /* MYR_RPC_WATCH alone: no news */
/* Run `again` on a compute thread. When the pool is full the answer is UNAVAILABLE, here and now. Loop only. */
void myr_rpc_defer(myr_rpc *rpc, void (*again)(void *ctx, myr_rpc *rpc));
/* A trailer, before the answer; both static or in the arena. */
void myr_rpc_add_trailer(myr_rpc *rpc, const char *name, const char *value);

#endif
