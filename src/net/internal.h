/*
 * What the files of net share: the server, its connections and requests. Not for other directories.
 *
 * Owners: a net_thread belongs to the one thread that claimed it; a myr_req to its loop, or, while it is deferred, to
 * the compute thread; the list of connections is guarded by conns_lock; the rest of the server is set before the first
 * thread starts or atomic.
 */
#ifndef MYR_NET_INTERNAL_H
#define MYR_NET_INTERNAL_H

#include <stdatomic.h>

#include <microhttpd.h>

#include "net/net.h"

#define NET_NEVER_NS       INT64_MAX
#define NET_PEER_KEY_BYTES 9
#define NET_PEER_LISTS     4096
#define NET_FAIR_CLASSES   64
#define NET_FAIR_FLOWS     16
#define NET_ROOM_MAX       4096 /* requests that wait there: each resumption walks over all of them */
#define NET_ROOM_LOOK_MS   10
#define NET_ANSWER_SLOTS   64

typedef struct net_peer net_peer;
/* Connections by address, of one server; zero-initialise. */
typedef struct net_peers {
    net_peer *lists[NET_PEER_LISTS];
} net_peers;
typedef struct net_fair net_fair;
typedef struct net_room net_room;
typedef struct net_answer net_answer;

/* What one thread that runs handlers owns. Loops also keep requests for their next use. */
typedef struct net_thread {
    myr_http_server *server;
    void *state; /* of make_loop_state */
    bool is_loop;
    myr_req *spare_reqs;
    uint32_t spare_count;
    net_answer *answers[NET_ANSWER_SLOTS]; /* answers.c: by the length of their body */
    uint32_t answer_count;
} net_thread;

/* One connection: its socket and the moment at which we cut it. Made and freed by libmicrohttpd's notifications. */
typedef struct net_conn {
    struct net_conn *prev, *next;
    int fd;
    net_peer *peer;                     /* under conns_lock; NULL: refused */
    void *tls_hold;                     /* what TLS holds for it; NULL in clear text */
    struct gnutls_session_int *session; /* libmicrohttpd's; NULL in clear text */
    bool has_record;                    /* a record waits for the socket: see myr_net_conn_write */
    bool had_request;                   /* loop only */
    int away_count;                     /* room.c, loop only: refused so often in a row, … */
    uint64_t away_class;                /* … a request of this class … */
    int64_t away_bytes, away_until_ns;  /* … of so many bytes, and told not to come before */
    struct net_stream *stream;          /* under conns_lock; written by the loop only */
    _Atomic int64_t deadline_ns;
    _Atomic int64_t listens_ns; /* since when we wait for bytes of the client, or NET_NEVER_NS */
    int64_t looked_ns;          /* reaper only */
} net_conn;

typedef enum net_phase {
    NET_PHASE_NEW,      /* the request line is there */
    NET_PHASE_BODY,     /* headers checked, the body comes */
    NET_PHASE_HELD,     /* asleep in the waiting room, its body unread */
    NET_PHASE_HANDLER,  /* the handler runs on the loop */
    NET_PHASE_DEFERRED, /* asleep: a compute thread has it, or had it */
    NET_PHASE_PARKED,   /* asleep: somebody will wake it */
    NET_PHASE_STREAM,   /* the body is answered as it comes: stream.c */
    NET_PHASE_SENT      /* the answer was handed to libmicrohttpd */
} net_phase;

struct myr_req {
    myr_http_server *server;
    net_thread *loop; /* whose connection it is */
    net_thread *runs; /* whose thread runs it now */
    net_conn *conn;
    struct MHD_Connection *mhd;
    myr_req *next_spare;
    myr_arena *arena;
    net_phase phase;
    bool is_counted; /* in server->in_flight */
    bool must_close;
    bool is_too_large;
    bool is_decoded; /* the body is no longer what Content-Encoding says */
    bool has_query;
    uint64_t header_bits; /* of the headers that are there: most of those asked for are not */
    myr_method method;
    const char *method_name;
    const char *path;
    size_t target_bytes;
    myr_str segments[MYR_HTTP_SEGMENTS_MAX];
    uint32_t segment_count;
    int64_t start_ns;
    char *body; /* in the arena */
    size_t body_bytes, body_room;
    int64_t dropped_bytes;
    void (*again)(void *ctx, myr_req *req);
    uint64_t flow_class, flow; /* of myr_req_set_flow */
    myr_req *next_waiting;     /* fair.c */
    myr_req *newer, *older;    /* room.c, under its lock */
    int64_t held_until_ns;     /* 0: it was never held */
    bool is_away;              /* it waited in vain */
    struct net_stream *stream;
    const void *note;
    /* the answer; status 0 = none yet */
    int status;
    const char *content_type;
    const char *reply;
    size_t reply_bytes;
    struct {
        const char *name, *value;
    } headers[MYR_HTTP_REPLY_HEADERS_MAX];
    uint32_t header_count;
    net_answer *answer; /* what it was sent as, if that is kept */
};

/* A socket that listens, and whether only this machine reaches it. */
typedef struct net_socket {
    int fd, port;
    bool is_loopback;
} net_socket;

struct myr_http_server {
    myr_http_opts opts; /* counts resolved; listen is not kept */
    struct MHD_Daemon *daemon;
    net_socket listener;
    myr_pool *pool;
    net_fair *fair;      /* requests that wait for the pool */
    net_room *room;      /* requests that came too soon */
    net_thread *threads; /* loops, then compute threads */
    int thread_count;
    _Atomic int claimed_loops, claimed_computes;
    _Atomic int64_t in_flight;      /* headers complete, answer not yet sent */
    _Atomic int64_t deferred_count; /* asleep, for a compute thread */
    _Atomic int64_t parked_count;   /* streams asleep until their client takes bytes */
    int64_t deferred_max;
    _Atomic bool is_draining; /* answers close their connection */
    _Atomic bool is_hurrying; /* the drain time is over: no more work begins */
    myr_mutex conns_lock;
    net_conn *conns;                /* under conns_lock */
    net_peers peers;                /* under conns_lock */
    int reaper_epoll, reaper_event; /* what wakes the reaper: streams that may send again, and myr_net_reaper_hurry */
    _Atomic bool reaper_stop;
    bool has_reaper;
    int64_t reaper_period_ms;
    myr_thread reaper;
};

/* The calling thread's net_thread; claimed on the first call. */
net_thread *myr_net_thread_here(myr_http_server *server, bool is_loop);
bool myr_net_thread_is_current(const net_thread *thread);

/* ---- threads.c: for both listeners ---- */
#define NET_LAST_WORDS_MS_MAX 200 /* after the drain time: for the answers that were just made */
/* 0 becomes one per processor. BAD_USAGE: more than a listener may have; both counts are as they were. */
myr_rc myr_net_threads_resolve(int *loop_count, int *compute_count, myr_err *err);
/* Wait until a counter is 0 or the deadline is over. */
void myr_net_wait_zero(const _Atomic int64_t *counter, int64_t deadline_ns);

/* ---- listen.c ---- */
/* A listening socket for "host:port" or "[v6]:port". only_loopback: as in myr_http_opts. The fd is the caller's. */
myr_rc myr_net_listen(const char *listen, const char *only_loopback, net_socket *out, myr_err *err);

/* ---- conn.c: connections and their deadlines ---- */
void myr_net_on_connection(void *ctx, struct MHD_Connection *mhd, void **slot,
                           enum MHD_ConnectionNotificationCode what);
/* From now we … (conn may be NULL) */
void myr_net_conn_wait(net_conn *conn, int64_t timeout_ms); /* … wait for the client's bytes */
void myr_net_conn_send(net_conn *conn, int64_t timeout_ms); /* … wait for the client to take its answer */
void myr_net_conn_work(net_conn *conn);                     /* … work: no deadline */
myr_rc myr_net_reaper_start(myr_http_server *server, myr_err *err);
void myr_net_reaper_hurry(myr_http_server *server); /* look now */
void myr_net_reaper_stop(myr_http_server *server);

/* ---- request.c: what libmicrohttpd calls ---- */
void *myr_net_on_request_line(void *ctx, const char *target, struct MHD_Connection *mhd);
enum MHD_Result myr_net_on_access(void *ctx, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_bytes, void **slot);
void myr_net_on_completed(void *ctx, struct MHD_Connection *mhd, void **slot, enum MHD_RequestTerminationCode how);
void myr_net_req_free(myr_req *req);

void myr_net_reply_busy(myr_req *req, const char *message);
/* The message of a pool that is full, or of a server that stops. */
const char *myr_net_busy_text(bool is_hurrying);
/* Count one more request asleep, before it is. False: not now; *out_hurrying says why. */
bool myr_net_fall_asleep(myr_http_server *server, bool *out_hurrying);

/* ---- stream.c ---- */
/* The headers of a request that became a stream. Loop only. */
void myr_net_stream_begin(myr_req *req, const char *version);
/* As myr_net_on_access, of a stream. */
enum MHD_Result myr_net_stream_access(myr_req *req, const char *data, size_t *data_bytes);
void myr_net_stream_end(myr_req *req); /* completed: free it. Loop only */
/* Reaper only, conns_lock held: whether the connection has to be shut down; last words were sent. */
bool myr_net_stream_look(struct net_stream *stream, bool is_late);
/* Reaper only: its socket takes bytes again, or is gone. */
void myr_net_stream_writable(struct net_stream *stream, uint32_t events);

/* ---- peers.c: under the lock of their server ---- */
void myr_net_peer_key(const struct sockaddr *address, unsigned char out[NET_PEER_KEY_BYTES]);
/* One more connection of this address. False: it has as many as it may (0: any number), or memory is short. */
bool myr_net_peer_add(net_peers *peers, int64_t count_max, const unsigned char key[NET_PEER_KEY_BYTES], net_peer **out);
void myr_net_peer_remove(net_peers *peers, net_peer *peer);

/* ---- fair.c: any thread ---- */
myr_rc myr_net_fair_new(int64_t queue_max, net_fair **out, myr_err *err);
void myr_net_fair_free(net_fair *fair);              /* NULL accepted */
bool myr_net_fair_put(net_fair *fair, myr_req *req); /* false: its class or flow has as many waiting as it may */
myr_req *myr_net_fair_take(net_fair *fair);          /* there is one */

/* ---- room.c: requests that came before their Retry-After; any thread ---- */
myr_rc myr_net_room_new(net_room **out, myr_err *err);
void myr_net_room_free(net_room *room);                 /* NULL accepted; it is empty */
bool myr_net_room_look(net_room *room, int64_t now_ns); /* refuse those whose time is over; true: others wait */
void myr_net_room_close(net_room *room);                /* let all in, and from now on nobody waits */
void myr_net_room_refuse(myr_req *req); /* it waited in vain, or there was no place to wait. Loop only */

/* ---- tls.c ---- */
#define NET_TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"
/* The first reading, for libmicrohttpd's start; before the first refresh. */
void myr_net_tls_first(const myr_tls *tls, const char **out_cert, const char **out_key);
/* Give a session what it shows and asks, before its handshake; protocol: its ALPN name. hold: until myr_net_tls_end. */
bool myr_net_tls_begin(myr_tls *tls, struct gnutls_session_int *session, const char *protocol, void **out_hold);
void myr_net_tls_end(myr_tls *tls, void *hold); /* the session is over; NULL is fine */
/* As send() on the connection's socket, through TLS if there is some: -1 and errno. Owner of the stream only. */
ssize_t myr_net_conn_write(net_conn *conn, const void *data, size_t size);
void myr_net_conn_bye(net_conn *conn); /* no more is written */

/* The bit of myr_req.header_bits for a name: by its length and its first letter, of either case. */
static inline uint64_t myr_net_header_bit(const char *name, size_t name_bytes)
{
    unsigned first = name_bytes > 0 ? (unsigned char)name[0] | 0x20u : 0;
    return 1ULL << ((name_bytes + 7 * first) % 64);
}

/* ---- target.c: the path ---- */
/* Cut and decode url. BAD_INPUT names the part; NOT_FOUND: too many parts; NO_MEMORY. */
myr_rc myr_net_target_parse(myr_req *req, const char *url, myr_err *err);
/* Decode %xx once, into `out` (room for text.size bytes). False: a bad escape or %00. */
bool myr_net_percent_decode(myr_str text, char *out, size_t *out_size);

/* ---- reply.c ---- */
/* Hand the answer to libmicrohttpd. MHD_NO closes the connection. Loop only. */
enum MHD_Result myr_net_send(myr_req *req);
/* A response with the headers of this answer and a body of its length at `body`, borrowed; NULL: no memory. */
struct MHD_Response *myr_net_response_new(const myr_req *req, const char *body);

/* ---- answers.c: loop only ---- */
/* What can be sent for this answer, with its body in it; NULL: it is too large to be kept, or memory is short. */
net_answer *myr_net_answer_take(myr_req *req);
struct MHD_Response *myr_net_answer_response(const net_answer *answer);
void myr_net_answer_put(net_thread *loop, net_answer *answer); /* it was sent */
void myr_net_answers_fini(net_thread *loop);

#endif
