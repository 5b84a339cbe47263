/*
 * What the files of the gRPC listener share. Not for other directories.
 *
 * Owners: a rpc_loop and its connections belong to the thread that runs it; a myr_rpc to its loop, or, between
 * rpc_defer and its return through the mailbox, to a compute thread (which touches nothing but the answer's fields and
 * the message's arena). A loop that no longer waits for a deferred call abandons it: the call comes back later and is
 * put away. What is atomic is read by several threads.
 */
#ifndef MYR_NET_RPC_INSIDE_H
#define MYR_NET_RPC_INSIDE_H

#include <stdatomic.h>

#include <nghttp2/nghttp2.h>

#include "net/coding.h"
#include "net/internal.h"
#include "net/net.h"
#include "net/wire.h"

#define RPC_NEVER_NS      INT64_MAX
#define RPC_PREFIX_BYTES  5           /* before each message: compressed?, length */
#define RPC_STREAM_WINDOW (256 << 10) /* of a stream: as much of the next messages may wait */
#define RPC_CONN_WINDOW   (1 << 20)
#define RPC_OUT_BYTES     (64u << 10) /* written at once … */
#define RPC_OUT_CHUNK_MAX (32u << 10) /* … and the largest piece that nghttp2 gives */
#define RPC_IN_BYTES      (64u << 10)
#define RPC_ERROR_BYTES   (MYR_ERR_MESSAGE_BYTES * 3) /* each byte escaped */
#define RPC_POOL_CLASSES  11                          /* 32 bytes to 32 KiB */

typedef struct rpc_conn rpc_conn;
typedef struct rpc_loop rpc_loop;

/* ---- rpc_memory.c: what nghttp2 allocates ---- */

/* Blocks that a loop's connections have given back, by size. */
typedef struct rpc_pool {
    void *spares[RPC_POOL_CLASSES];
    size_t spare_bytes;
} rpc_pool;

/* Of one connection: counted and capped. */
typedef struct rpc_memory {
    rpc_pool *pool;
    size_t used_bytes, cap_bytes;
    nghttp2_mem mem;
} rpc_memory;

void myr_rpc_memory_init(rpc_memory *memory, rpc_pool *pool, size_t cap_bytes);
void myr_rpc_pool_fini(rpc_pool *pool); /* all blocks are back */

/* ---- threads ---- */

/* What one thread that runs handlers owns. */
typedef struct rpc_thread {
    myr_rpc_server *server;
    void *state; /* of make_loop_state */
    bool is_loop;
} rpc_thread;

struct rpc_loop {
    rpc_thread thread; /* first: a loop is one */
    int epoll_fd, event_fd;
    rpc_conn *conns;
    _Atomic int64_t conn_count; /* also what was given to it and not yet taken */
    myr_rpc *calls;             /* all live ones */
    int64_t now_ns;             /* when this turn began */
    int64_t wake_ns;            /* not after the first alarm of a call */
    int64_t sweep_ns;           /* when connections are looked at next */
    rpc_conn *dirty;            /* to be flushed before sleeping */
    myr_rpc *ready;             /* whose answer is out: the next message may be taken */
    myr_rpc *spares;
    uint32_t spare_count;
    rpc_pool pool;
    myr_mutex lock;
    myr_rpc *posted; /* under lock: back from compute, last first */
    rpc_conn *posted_conns;
    int64_t drain_step_ns; /* when the second GOAWAY is due; 0: not draining yet */
    bool is_drained;       /* the second was sent */
    bool has_thread;
    myr_thread handle;
    unsigned char *in, *out; /* RPC_IN_BYTES; RPC_OUT_BYTES + RPC_OUT_CHUNK_MAX */
};

/* ---- connections ---- */

struct rpc_conn {
    rpc_loop *loop;
    rpc_conn *prev, *next, *next_dirty, *next_posted;
    net_wire wire;
    net_peer *peer; /* under peers_lock; NULL: not counted */
    nghttp2_session *session;
    rpc_memory memory;
    uint32_t call_count;    /* streams with a call */
    size_t held_bytes;      /* rooms of unfinished messages */
    unsigned char *pending; /* what the socket did not take */
    size_t pending_bytes, pending_sent;
    int64_t deadline_ns; /* cut then: it has not greeted, or has no calls */
    int64_t stall_ns;    /* cut then: it does not take what we write */
    int64_t accept_ns;
    int64_t heard_ns; /* last bytes from the peer */
    bool has_greeted; /* its settings are there */
    bool is_pinged;   /* and no byte since */
    bool is_dirty, is_broken;
    bool is_leaving; /* shut when its last call is over … */
    bool is_shut;    /* … and closed when the peer has left, or soon */
    uint32_t events; /* what epoll watches */
    double glitches; /* a bucket that runs empty over time */
    int64_t glitch_ns;
};

typedef enum rpc_phase {
    RPC_HEAD,     /* headers come */
    RPC_READ,     /* a message comes, or will */
    RPC_RUN,      /* the handler has it, on the loop */
    RPC_DEFERRED, /* a compute thread has it, or had it */
    RPC_SEND,     /* a message of ours goes out */
    RPC_WATCH,    /* asleep until the next look */
    RPC_END       /* status is noted or out: nothing of the client counts any more */
} rpc_phase;

typedef struct rpc_field {
    myr_str name, value;
} rpc_field;

/* call_reset clears what stands between `server` and `metadata`. */
struct myr_rpc {
    myr_arena *head_arena; /* headers: as long as the call */
    myr_arena *arena;      /* one message and its answer */
    myr_buf backlog;       /* of a stream: what came before its turn */
    myr_rpc_server *server;
    rpc_loop *loop;
    rpc_thread *runs; /* whose thread runs it now */
    rpc_conn *conn;   /* NULL: abandoned */
    myr_rpc *prev, *next, *next_ready, *next_posted, *next_spare;
    int32_t stream_id;
    rpc_phase phase;
    myr_rpc_kind kind;
    uint32_t method_idx;
    bool is_counted; /* in server->in_flight */
    bool is_ready;
    _Atomic bool is_cancelled; /* these two the loop writes also while a compute thread has the call */
    bool is_late;              /* cancelled by its deadline */
    /* headers */
    size_t header_bytes;
    myr_str path;
    uint32_t metadata_count;
    bool is_post, is_grpc, has_bad_timeout, has_bad_coding;
    net_coding coding; /* of messages that say so */
    unsigned accepts;  /* bits of codings */
    bool may_compress; /* answers, in the same coding */
    int64_t call_start_ns, start_ns, deadline_ns;
    int64_t slow_ns;  /* the peer must have got on by then */
    int64_t alarm_ns; /* the earlier of the two */
    /* the message that comes */
    unsigned char *message;
    size_t message_bytes, message_room, message_size; /* there, room, announced */
    uint32_t prefix_bytes;
    bool is_compressed, is_expanded, has_message, has_ended, is_kept;
    size_t backlog_used;
    /* the answer */
    void (*again)(void *ctx, myr_rpc *rpc);
    void *note;
    bool has_reply, has_failed, waits;
    unsigned char *reply; /* with its prefix */
    size_t reply_size, reply_sent;
    int64_t reply_bytes; /* all that were sent */
    bool has_headers;    /* ours are out */
    int status;          /* -1: none yet */
    size_t message_text_bytes;
    uint32_t trailer_count;
    rpc_field metadata[MYR_RPC_METADATA_MAX];
    rpc_field trailers[MYR_RPC_TRAILERS_MAX];
    unsigned char prefix[RPC_PREFIX_BYTES];
    char message_text[RPC_ERROR_BYTES + 1];
};

struct myr_rpc_server {
    myr_rpc_opts opts; /* counts resolved; listen is not kept */
    net_socket listener;
    rpc_loop *loops;
    rpc_thread *computes;
    _Atomic int claimed_computes;
    myr_pool *pool;
    int64_t deferred_max;
    _Atomic int64_t conn_count;
    myr_mutex peers_lock;      /* the acceptor counts, any loop discounts */
    net_peers peers;           /* under peers_lock */
    _Atomic int64_t in_flight; /* calls, abandoned ones too */
    _Atomic int64_t deferred_count;
    _Atomic bool is_draining, is_hurrying, is_ending;
    _Atomic bool is_full; /* the acceptor has paused */
    bool is_listening;    /* loop 0: in its epoll set */
    int64_t listen_again_ns;
};

bool myr_rpc_thread_is_current(const rpc_thread *thread);
void myr_rpc_thread_claim(rpc_thread *thread); /* by the thread that it describes */

/* ---- rpc_loop.c ---- */
void *myr_rpc_loop_main(void *loop);
myr_rc myr_rpc_loop_init(rpc_loop *loop, myr_err *err);
void myr_rpc_loop_fini(rpc_loop *loop); /* its thread has ended or never was */
void myr_rpc_loop_wake(rpc_loop *loop);
void myr_rpc_loop_post(rpc_loop *loop, myr_rpc *rpc); /* any thread: the call is the loop's again */
/* The calling compute thread's rpc_thread; claimed on the first call. */
rpc_thread *myr_rpc_compute_here(myr_rpc_server *server);

/* ---- rpc_conn.c: loop only ---- */
rpc_conn *myr_rpc_conn_new(rpc_loop *loop, int fd); /* acceptor; closes fd if it can't */
void myr_rpc_conn_discard(rpc_conn *conn);          /* one that no loop has taken */
/* Counted by its address. False: that has as many as it may. */
bool myr_rpc_conn_count(rpc_conn *conn, const struct sockaddr *address);
void myr_rpc_conn_take(rpc_loop *loop, rpc_conn *conn);
void myr_rpc_conn_on_events(rpc_conn *conn, uint32_t events);
void myr_rpc_conn_touch(rpc_conn *conn); /* something is to be sent */
void myr_rpc_conn_flush(rpc_conn *conn); /* may free it */
void myr_rpc_conn_sweep(rpc_loop *loop, int64_t now_ns);
void myr_rpc_conn_close(rpc_conn *conn);
void myr_rpc_conn_glitch(rpc_conn *conn);           /* something that a client may do, but not often */
void myr_rpc_conn_leave(rpc_conn *conn, bool last); /* GOAWAY: the notice, or with the last stream */
void myr_rpc_conn_rest(rpc_conn *conn);             /* a call began or ended: its deadline follows */

/* ---- rpc_h2.c: nghttp2's callbacks ---- */
int myr_rpc_session_new(rpc_conn *conn); /* 0, or nghttp2's error */

/* ---- rpc_call.c: loop only unless said ---- */
myr_rpc *myr_rpc_take(rpc_conn *conn, int32_t stream_id); /* NULL: no memory */
void myr_rpc_free(myr_rpc *rpc);
void myr_rpc_on_bytes(myr_rpc *rpc, const unsigned char *data, size_t size);
void myr_rpc_on_end(myr_rpc *rpc);    /* the client has said all */
void myr_rpc_on_close(myr_rpc *rpc);  /* the stream is gone */
void myr_rpc_on_return(myr_rpc *rpc); /* back from compute */
void myr_rpc_on_alarm(myr_rpc *rpc, int64_t now_ns);
void myr_rpc_on_drain(myr_rpc *rpc);                /* watches and idle streams end */
void myr_rpc_go_on(myr_rpc *rpc);                   /* its answer is out */
void myr_rpc_expect(myr_rpc *rpc, int64_t slow_ns); /* something happens until then, or it is late */
void myr_rpc_expect_body(myr_rpc *rpc);             /* bytes, within the body's time-out */

/* ---- rpc_head.c: loop only ---- */
#define RPC_STOPPING "the server is stopping: ask another one or again later"
void myr_rpc_on_header(myr_rpc *rpc, myr_str name, myr_str value);
void myr_rpc_on_headers(myr_rpc *rpc); /* all are there */

/* ---- rpc_answer.c ---- */
void myr_rpc_send(myr_rpc *rpc);   /* the answer that was noted */
void myr_rpc_finish(myr_rpc *rpc); /* all was answered: status 0 */
/* End a call of ours with a status. */
void myr_rpc_end(myr_rpc *rpc, myr_rc rc, const char *text);
/* The same for a stream whose call is not ours to touch. */
void myr_rpc_end_stream(rpc_conn *conn, int32_t stream_id, bool has_headers, myr_rc rc, const char *text);
void myr_rpc_refuse(myr_rpc *rpc, const char *http_status); /* no gRPC at all */

/* ---- rpc_text.c: small texts of the protocol ---- */
/* "250m" in nanoseconds; false: not 1 to 8 digits and a unit. */
bool myr_rpc_timeout_parse(myr_str text, int64_t *out_ns);
/* application/grpc, +proto, ;charset… */
bool myr_rpc_is_content_type(myr_str text);
/* Percent-encode a message for grpc-message; gives its bytes. */
size_t myr_rpc_escape(const char *text, char out[RPC_ERROR_BYTES + 1]);
/* Whether `name` stands in a list with commas. */
bool myr_rpc_list_has(myr_str list, myr_str name);

#endif
