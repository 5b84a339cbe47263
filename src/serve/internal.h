/*
 * What the files of serve share. Not for other directories.
 *
 * Owners: a serve_thread belongs to the one thread that net gave it to; a serve_call lives on the stack of the thread
 * that answers; snapshots are immutable, made and freed by the reloader alone (main before it starts and after it
 * ended).
 */
#ifndef MYR_SERVE_INTERNAL_H
#define MYR_SERVE_INTERNAL_H

#include <stdatomic.h>

#include <yyjson.h>

#include "net/net.h"
#include "serve/serve.h"
#include "serve/work.h"

#define SERVE_LABELS_MAX 32 /* fleets with series of their own; all others share one label */
#define SERVE_PARAMS_MAX 2
#define SERVE_PARTS_MAX  8  /* of a route's pattern */
#define SERVE_CODES_MAX  17 /* different status codes that a route is counted by */
#define SERVE_JSON       "application/json"
/* How many bytes of the body are JSON; binary tensors follow. 0 in a request: there is no JSON. */
#define SERVE_JSON_LENGTH     "Inference-Header-Content-Length"
#define SERVE_BINARY          "application/octet-stream"
#define SERVE_DEADLINE        "X-Deadline-Ms"            /* how long the client waits */
#define SERVE_DEPLOYMENT      "azureml-model-deployment" /* Azure ML's word for it */
#define SERVE_ALIAS           "X-Myriad-Alias"           /* of the release that is to answer */
#define SERVE_STICKY          "X-Myriad-Sticky"          /* any text: the same text, the same release */
#define SERVE_RELEASE         "X-Myriad-Release"         /* of an answer: where several releases serve */
#define SERVE_TIMING_ASKED    "X-Server-Timing"          /* any value: the answer says how long each stage took */
#define SERVE_IDEMPOTENCY_KEY "Idempotency-Key"
#define SERVE_REPLAYED        "Idempotency-Replayed" /* the answer is that of the same request before */
#define SERVE_STORED_WHEN     "X-Stored"             /* "later": not before the answer, as it should have been */

typedef struct serve_route serve_route;
typedef struct serve_call serve_call;
typedef struct serve_thread serve_thread;
typedef struct serve_note serve_note;
typedef struct serve_rpc serve_rpc;
typedef struct serve_pattern serve_pattern;
typedef struct infer_scan infer_scan;

/* The forms of rows; SERVE_TAKES is a set of them. */
typedef enum serve_format { SERVE_AS_JSON, SERVE_AS_CSV, SERVE_AS_LINES, SERVE_AS_EVENTS } serve_format;
#define SERVE_TAKES_FRAME (1u << SERVE_AS_JSON | 1u << SERVE_AS_CSV)
#define SERVE_TAKES_EXACT (1u << 31) /* the type has to be said, by its own name */
#define SERVE_TAKES_ROWS  (1u << SERVE_AS_JSON | 1u << SERVE_AS_CSV | 1u << SERVE_AS_LINES)

/* ---- snapshot.c, reloader.c: the opened fleets ---- */

/* What V2 counts per fleet and release; from several threads. */
typedef struct serve_infer_stats {
    _Atomic int64_t ok_count, fail_count, rows;
    _Atomic int64_t last_ns; /* monotonic, when one was answered last; 0: never */
    _Atomic int64_t ok_ns, fail_ns, queue_ns, input_ns, infer_ns, output_ns;
} serve_infer_stats;

/* What is counted of one model; from several threads. */
typedef struct serve_model_stats {
    _Atomic int64_t rows, ns; /* answered, and the time of their infer stage */
} serve_model_stats;

/* A fleet that requests can reach, with what they need to find quickly. Shared by the snapshots that hold it. */
struct serve_fleet {
    myr_fleet *fleet;
    int64_t refs;       /* reloader only: snapshots that hold it */
    myr_map *inputs;    /* input name -> SERVE_KEY | SERVE_FEATURE bits */
    const char **known; /* every input name, NULL-terminated: for "nearest"; borrowed from the fleet */
    uint32_t level_models[MYR_PARTITION_COLUMNS_MAX + 1]; /* models by number of key columns */
    serve_service *service;                               /* that it was opened by; NULL: there was no service file */
    const serve_plan *plan;                               /* what that says of it; NULL: nothing */
    serve_bound *bound;                                   /* the plan, bound; NULL: none */
    _Atomic(myr_metric *) rows[MYR_LEVEL_COUNT][MYR_ROW_STATUS_COUNT]; /* made on first use … */
    _Atomic(myr_metric *) stages[SERVE_STAGE_COUNT];                   /* … this too */
    serve_infer_stats stats;
    serve_model_stats *models; /* by model index */
    const char **code;         /* artifacts of its models that are code; in the fleet's arena */
    size_t code_count;
    const char *label;                  /* in metrics: its name, or what all share that are too many */
    _Atomic(myr_metric *) release_rows; /* made on first use */
    _Atomic int64_t row_ns;             /* how long a row takes, about; only with a plan */
    _Atomic int64_t rules_ns;           /* the same, for its score script */
};

/* The value of an input name: (partition column + 1) << 32 | (feature + 1); 0 in a half = it is not one. */
static inline uint32_t serve_input_key(uint64_t value)
{
    return (uint32_t)(value >> 32);
}
static inline uint32_t serve_input_feature(uint64_t value)
{
    return (uint32_t)value;
}

/* A token as requests need it. Never changes; shared by the snapshots that hold it. */
typedef struct serve_token {
    struct serve_token *next_idle; /* reloader only: in no snapshot any more, but in flight */
    int64_t refs;                  /* reloader only: snapshots that hold it */
    _Atomic int64_t in_flight;     /* its requests; also keeps it alive. Raised only by who holds its snapshot */
    _Atomic int64_t next_ns;       /* see auth.c */
    int64_t id, expires_ms, rate_per_s, concurrency;
    unsigned scopes;
    unsigned char hash[MYR_TOKEN_BYTES];
    char *name;
    char *targets; /* as in the registry */
} serve_token;

/* An opened release that an alias other than champion names. */
typedef struct serve_variant {
    serve_fleet *fleet;
    char alias[MYR_NAME_BYTES_MAX + 1];
} serve_variant;

typedef struct serve_directory serve_directory;

typedef struct serve_snapshot {
    struct serve_snapshot *next_retired;
    serve_service *service;     /* the service file; NULL: none. A fleet may have its plan from one before that says the
                                   same of it */
    const char *cors_origins;   /* as serve.cors-origins; after the struct */
    serve_directory *directory; /* NULL: not made yet */
    int64_t fleets_number;      /* another one: fleets are others */
    bool has_tokens;            /* there was one, ever */
    serve_token **tokens;       /* those that are not revoked, ordered by hash */
    size_t token_count;
    size_t fleet_count;
    serve_fleet **fleets;   /* ordered by name */
    _Atomic int64_t parked; /* requests that sleep and go on with it */
    size_t variant_count;
    serve_variant *variants; /* ordered by the fleet's name */
} serve_snapshot;

typedef struct serve_reloader serve_reloader;
typedef struct serve_deploy serve_deploy;

/* Open the workspace and every fleet that has a champion. */
myr_rc myr_serve_reloader_open(myr_server *server, const char *workspace_root, myr_err *err);
/* From now a thread looks for changes. All serve_threads are there. */
myr_rc myr_serve_reloader_start(myr_server *server, myr_err *err);
/* Tell other servers that this one drains; at most a second. */
void myr_serve_reloader_leave(myr_server *server);
void myr_serve_reloader_stop(myr_server *server); /* no request runs any more; NULL-safe */
/*
 * Serve a fleet again, or no longer, and look at the registry; waits until that is done. Errors: TIMEOUT, UNAVAILABLE
 * (stopping), TOO_LARGE (too many unloaded names). Thread: compute, holding no snapshot.
 */
myr_rc myr_serve_reloader_ask(myr_server *server, myr_str name, bool load, myr_err *err);
/*
 * Options as they are now: read the service file again, and look at registry and certificates; waits until that is
 * done, but not for ever. A file that does not fit leaves the one in force. *out_diff: what changed in it, or why
 * nothing did. Thread: main.
 */
void myr_serve_reloader_take(myr_server *server, const myr_serve_opts *opts, myr_buf *out_diff);
/* What became of the service files that were read. */
typedef struct serve_service_state {
    char path[MYR_PATH_BYTES_MAX]; /* of the one in force; "": none */
    int64_t taken_ms;              /* since when; by the wall clock */
    int64_t refused_ms;            /* when the last one was refused; 0: the last one that was read is in force */
    char error[MYR_ERR_MESSAGE_BYTES];
} serve_service_state;
void myr_serve_get_service_state(myr_server *server, serve_service_state *out);
bool myr_serve_reloader_is_well(myr_server *server); /* what there is to serve is served */
/* The names that were unloaded; `use` may not call back. */
void myr_serve_each_unloaded(myr_server *server, void (*use)(void *ctx, const char *name), void *ctx);
/* NULL when there is none of that name. */
serve_fleet *myr_serve_snapshot_find(const serve_snapshot *snapshot, myr_str name);
/* The release of a fleet by an alias other than champion, or by its number. */
serve_fleet *myr_serve_variant_find(const serve_snapshot *snapshot, const char *fleet, myr_str alias);
serve_fleet *myr_serve_variant_of(const serve_snapshot *snapshot, const char *fleet, int64_t release);

/* ---- auth.c: who is asking, and what they may ---- */

/* Zero: may nothing. From identify until forget. */
typedef struct serve_principal {
    serve_token *token; /* NULL: no token is asked for, so everything is allowed */
    bool is_known;
} serve_principal;

typedef enum serve_auth { SERVE_AUTH_AUTO, SERVE_AUTH_REQUIRED, SERVE_AUTH_OFF } serve_auth;

/* What a request is about; tokens for some fleets are checked by it. */
typedef enum serve_on {
    SERVE_ON_LIST,   /* nothing, or a list that its handler cuts down by myr_serve_may_see */
    SERVE_ON_SERVER, /* the whole of it: only for tokens that reach everything */
    SERVE_ON_MODEL,  /* name is `oj` or `oj@store=2,brand=1` */
    SERVE_ON_SEGMENT /* name is a fleet, segment one of its segments */
} serve_on;

/*
 * The principal of an Authorization header's (or a gRPC metadata's) whole text; data == NULL: there was none. The
 * request counts against the token's limits until myr_serve_forget. Thread: any serve_thread's own, holding no
 * snapshot. Errors: UNAUTHENTICATED; TOO_MANY.
 */
myr_rc myr_serve_identify(myr_server *server, serve_thread *thread, myr_str authorization, serve_principal *out,
                          myr_err *err);
void myr_serve_forget(const serve_principal *who); /* at the end of the request; one that was never filled is fine */
/* scope: MYR_SCOPE_*. DENIED says what is missing. */
myr_rc myr_serve_may(const serve_principal *who, unsigned scope, serve_on on, myr_str name, myr_str segment,
                     myr_err *err);
bool myr_serve_may_see(const serve_principal *who, const char *fleet); /* in lists */
/* Rows that choose their models by key, of a fleet that myr_serve_may allowed: a token may have only some groups. */
myr_rc myr_serve_may_rows(const serve_principal *who, const serve_fleet *served, const myr_score_rows *rows,
                          myr_arena *arena, myr_err *err);
/* The token of an Authorization header. UNAUTHENTICATED. */
myr_rc myr_serve_read_bearer(myr_str header, myr_str *out, myr_err *err);
/* Whether somebody identified some time ago would be let in now, too. UNAUTHENTICATED. */
myr_rc myr_serve_check_known(const myr_server *server, const serve_snapshot *snapshot, const serve_principal *who,
                             myr_err *err);
bool myr_serve_asks_for_tokens(const myr_server *server, const serve_snapshot *snapshot);

/* For the reloader: the tokens of the next snapshot. */
myr_rc myr_serve_tokens_read(myr_registry *registry, myr_arena *arena, const serve_snapshot *old, serve_snapshot *next,
                             myr_err *err);
bool myr_serve_tokens_equal(const serve_snapshot *a, const serve_snapshot *b);
void myr_serve_token_free(serve_token *token);

/* ---- screen.c: before the body, after the answer ---- */

/* The part of a traceparent header that every version has, or size 0: it is none. */
myr_str myr_serve_read_trace(myr_str text);
void myr_serve_screen(void *ctx, myr_req *req); /* of net: on_headers, on_done; ctx is a serve_listener */
void myr_serve_done(void *ctx, const myr_req *req);

/* ---- gate.c: requests for compute threads, as many as can be in time ---- */
#define SERVE_GATE_FLEETS 64
typedef struct serve_gate {
    int64_t thread_count, limit_min, limit_max;  /* fixed at start */
    _Atomic int64_t inside;                      /* entered, not yet left … */
    _Atomic int64_t of_fleet[SERVE_GATE_FLEETS]; /* … by fleet, hashed */
    _Atomic int64_t limit;                       /* in thousandths */
    _Atomic int64_t served_ns;                   /* running average of what one takes */
    _Atomic int64_t cut_ns;                      /* when the limit was cut last */
    myr_metric *limit_gauge, *refused;
} serve_gate;
/* One request's way through a gate. */
typedef struct serve_pass {
    uint32_t slot;
    int64_t deadline_ns;        /* INT64_MAX: it has none; 0: not known yet */
    int64_t gated_ns, began_ns; /* 0: it did not come there */
} serve_pass;
/* Each listener has compute threads of its own and so a gate of its own; labels: of its metrics, or NULL. */
void myr_serve_gate_start(serve_gate *gate, const myr_serve_opts *opts, myr_metrics *metrics, const char *labels);
/* pass->deadline_ns is set. BUSY: too many, or it would be late. */
myr_rc myr_serve_gate_enter(serve_gate *gate, serve_pass *pass, uint64_t fleet_hash, myr_err *err);
/* How many more may come, so that the next ones are there before the threads are idle. */
int64_t myr_serve_gate_room(const serve_gate *gate);
/* Requests of this fleet wait, so that another one would, too. */
bool myr_serve_gate_is_closed(const serve_gate *gate, uint64_t fleet_hash);
bool myr_serve_gate_is_pressed(const serve_gate *gate, uint64_t fleet_hash); /* requests of this fleet wait */
void myr_serve_gate_served(serve_gate *gate, int64_t took_ns);               /* a compute thread was busy so long */
void myr_serve_gate_began(serve_gate *gate, serve_pass *pass);               /* on its compute thread */
void myr_serve_gate_leave(serve_gate *gate, const serve_pass *pass); /* at its end; one that never entered is fine */

/* ---- models.c: what is counted of each model ---- */
myr_rc myr_serve_models_new(serve_fleet *served, myr_err *err);
void myr_serve_count_models(const serve_work *work);                        /* answered */
void myr_serve_models_render(const serve_snapshot *snapshot, myr_buf *out); /* the heaviest and the slowest */

/* ---- access.c: the access log ---- */
typedef struct serve_log serve_log;
typedef struct serve_access_line {
    const char *client, *method, *path, *route, *token, *request_id; /* NULL or "": not there */
    int status;
    int64_t bytes, took_ns;
    myr_str trace; /* a good traceparent, or size 0 */
} serve_access_line;
myr_rc myr_serve_access_start(myr_server *server, myr_err *err);              /* as serve.access-log says */
void myr_serve_access_put(myr_server *server, const serve_access_line *line); /* server->access is there. Any thread */
void myr_serve_access_reopen(myr_server *server);                             /* the file was moved away */
void myr_serve_access_stop(myr_server *server);                               /* what waits is written; NULL-safe */

/* ---- server.c ---- */

/* What one thread that answers requests owns. */
struct serve_thread {
    struct serve_thread *next;      /* list of all, fixed at start */
    _Atomic(serve_snapshot *) held; /* the snapshot in use: never freed meanwhile */
    myr_score_scratch *scratch;
    myr_buf out;             /* the answer as it is written */
    myr_buf text;            /* what a stage writes for one row */
    struct json_slot *slots; /* for finding repeated keys; see json.c */
    size_t slot_count;
    uint32_t stamp;
    myr_mutex wait_lock; /* see wait.c */
    myr_cond wait_over;
};

/* ---- parallel.c ---- */
typedef struct serve_helpers serve_helpers;
/* part_rows: fewer are not shared; 0: none ever, *out is not touched. */
myr_rc myr_serve_helpers_start(int64_t part_rows, serve_helpers **out, myr_err *err);
void myr_serve_helpers_stop(serve_helpers *helpers); /* no request runs any more; NULL accepted */
/* work->rows into `out`, which has all four arrays, on as many threads as it pays. *trouble: see myr_score_trouble; as
 * it was when there was none. */
myr_rc myr_serve_score(serve_work *work, const myr_score_out *out, size_t width, myr_err *trouble, myr_err *err);

/* One address that is listened on: what net hands back with each of its requests. */
typedef struct serve_listener {
    myr_server *server;
    myr_http_server *http;
    bool is_admin;
} serve_listener;

struct myr_server {
    myr_serve_opts opts; /* rows with MYR_OPT_RELOAD by myr_serve_now: they change while serving */
    serve_log *access;   /* NULL: no access log */
    serve_gate gate;
    serve_auth auth;
    myr_tls *tls;                  /* NULL: in clear text. Refreshed by the reloader */
    bool has_admin;                /* serve.admin-listen is set: admin routes answer there alone */
    serve_listener main, admin;    /* http is NULL while it does not listen */
    struct serve_helpers *helpers; /* threads that share the rows of large requests; NULL: none do */
    serve_rpc *rpc;                /* NULL: no gRPC */
    serve_reloader *reloader;
    struct serve_deploy *deploy;   /* environments of models that are code */
    char root[MYR_PATH_BYTES_MAX]; /* the workspace */
    serve_pattern *patterns;       /* route.c: the route table, cut; ordered by number of parts: … */
    serve_pattern *patterns_of[SERVE_PARTS_MAX + 3]; /* … where those of so many begin, and the end */
    _Atomic(serve_snapshot *) current;
    serve_thread *threads; /* fixed before the reloader's thread starts */
    myr_metrics *metrics;
    _Atomic(myr_metric *) *requests; /* [route_count + 1][SERVE_CODES_MAX], made on first use */
    myr_metric **durations;          /* [route_count + 1] */
    myr_metric *reloads, *reload_failures, *fleets_gauge;
    myr_metric *service_taken, *service_refused, *service_is_refused;
    char labels[SERVE_LABELS_MAX][MYR_NAME_BYTES_MAX + 1]; /* of fleets in metrics; the reloader's */
    size_t label_count;
    _Atomic size_t fleet_count; /* of the current snapshot */
    _Atomic bool is_stopping;
    _Atomic int64_t trouble_ns; /* when a runner's trouble was logged last; 0 = never */
};

/* An option that may change while serving. */
static inline int64_t myr_serve_now(const int64_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}
static inline bool myr_serve_is_on(const bool *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

/* State of a thread that answers requests, before the reloader starts; NULL: no memory. Freed with the server: leave
 * only checks that it is idle. */
serve_thread *myr_serve_thread_new(myr_server *server);
void myr_serve_thread_leave(void *state);
/* Hold the current snapshot on this thread until dropped. No lock: see server.c. */
const serve_snapshot *myr_serve_hold(myr_server *server, serve_thread *thread);
void myr_serve_drop(serve_thread *thread);
/*
 * A request that falls asleep keeps the snapshot that its thread holds: pin it, and let go of it on the thread. Woken,
 * the thread holds it again. Unpin when the request has ended, before the drop.
 */
serve_snapshot *myr_serve_pin(serve_thread *thread);
void myr_serve_hold_pinned(serve_thread *thread, serve_snapshot *snapshot);
void myr_serve_unpin(serve_snapshot *snapshot);

/* ---- route.c ---- */

/* One request being answered. */
struct serve_call {
    myr_server *server;
    myr_req *req;
    myr_arena *arena;
    serve_thread *thread;
    const serve_snapshot *snapshot;
    const serve_route *route;
    const serve_principal *who;
    myr_str params[SERVE_PARAMS_MAX]; /* the {…} of the pattern */
    yyjson_val *body;                 /* JSON routes; NULL when is_raw, or … */
    infer_scan *scan;                 /* … an infer request of the usual form, out of … */
    myr_str json;                     /* … this */
    serve_format format;              /* of the body, on routes that take several … */
    myr_str text;                     /* … and the body where it is not JSON */
    const char *answer_type;          /* NULL: the route's */
    myr_str binary;                   /* what follows the JSON of an infer request … */
    bool has_binary, is_raw;          /* … whose header says so; raw: there is no JSON at all */
    size_t json_bytes;                /* of an answer with binary tensors; 0: JSON alone */
    myr_buf *out;                     /* the answer: JSON unless the route says otherwise */
    bool may_block;                   /* on a compute thread: models that are not ours may be run */
    bool wants_compute;               /* set by a route: ask again where it may block; there is no answer yet */
    int64_t whole_ns;                 /* monotonic: when the request was all there */
    int64_t began_ns;                 /* the same: when this pass began */
    serve_work *work;                 /* of a request that scores; NULL until it has one */
    bool is_unchanged;                /* set by a route: 304, the client has this answer already */
};

/* The scope that a route asks for, and what it is about. The names are those of its parameters. */
typedef enum serve_access {
    SERVE_UNSET,
    SERVE_OPEN,         /* anybody: health */
    SERVE_READ,         /* on a list, or nothing of a fleet */
    SERVE_READ_MODEL,   /* {fleet or model} */
    SERVE_READ_SEGMENT, /* {fleet}, {segment} */
    SERVE_READ_SERVER,
    SERVE_INFER_MODEL, /* {fleet or model} */
    SERVE_ADMIN_MODEL, /* {fleet} */
    SERVE_RUN_JOB,     /* jobs are not of one fleet */
    SERVE_ACCESS_COUNT
} serve_access;
typedef struct serve_access_rule {
    const char *name; /* "infer", …; "open": none is needed */
    unsigned scope;   /* MYR_SCOPE_*; 0: none */
    serve_on on;
} serve_access_rule;
extern const serve_access_rule myr_serve_access_rules[SERVE_ACCESS_COUNT];

struct serve_route {
    myr_method method;   /* GET answers HEAD too */
    const char *pattern; /* "/v2/models/{model}/infer" */
    serve_access access; /* who may; zero is a mistake that a test finds and nobody may */
    const char *name;    /* label in metrics */
    const char *summary; /* for people: docs/rest.md */
    myr_rc (*run)(serve_call *call, myr_err *err);
    int64_t (*count_rows)(yyjson_val *body); /* JSON routes: how much work it is, before it is checked; else NULL */
    const char *content_type;
    int status;      /* of an answer that is no error; 0: 200 */
    unsigned takes;  /* forms of the body by Content-Type; 0: JSON, whatever it says */
    bool of_default; /* of the default fleet: params[0] is its name, or "" when there is none */
    bool allows_nan; /* NaN and Infinity stand in JSON of Python's */
    /* for /openapi.json */
    const char *parameters;    /* names of components, besides the path's: "Output IgnoreUnknown" */
    const char *body, *answer; /* schemas; NULL: there is none */
};
extern const serve_route myr_serve_routes[];
extern const size_t myr_serve_route_count;

/* The route of a request, with its parameters. NOT_FOUND, or BAD_METHOD with the methods there are in *out_allow
 * (arena). */
myr_rc myr_serve_route_find(const myr_server *server, myr_req *req, const serve_route **out_route,
                            myr_str out_params[SERVE_PARAMS_MAX], const char **out_allow, myr_err *err);
myr_rc myr_serve_routes_start(myr_server *server, myr_err *err);
void myr_serve_routes_stop(myr_server *server);

/* A comma, unless the array that is being written is still empty. */
static inline void myr_serve_comma(myr_buf *out)
{
    if (out->size > 0 && out->data[out->size - 1] != '[') myr_buf_putc(out, ',');
}

/* What is known of a request between its passes, and for the log; in its arena. */
struct serve_note {
    const serve_route *route; /* NULL: there is none */
    serve_principal who;
    const char *request_id; /* the client's or ours; NULL: none */
    myr_str trace;          /* its traceparent; size 0: none */
    myr_str params[SERVE_PARAMS_MAX];
    struct serve_stream *stream; /* score_stream.c; NULL: it is none */
    int64_t whole_ns;            /* as in serve_call */
    serve_work *work;            /* of a request that sleeps, with the snapshot that it pins */
    serve_snapshot *pinned;
    serve_pass pass;
    bool is_encoded;        /* it is answered: … */
    myr_kept_answer answer; /* … so, in its arena, and stored before that is sent */
    bool is_read;           /* and so the rest is there */
    yyjson_val *body;       /* these as in serve_call */
    infer_scan *scan;
    myr_str json;
    serve_format format;
    myr_str text, binary;
    bool has_binary, is_raw;
};

/* ---- json.c: a body as JSON ---- */
#define SERVE_JSON_DEPTH_MAX 100
#define SERVE_JSON_KEYS_MAX  131072 /* of one object */
/* Read a whole body: UTF-8, one value and nothing after it, no NaN, at most so deep, no key twice in an object. */
myr_rc myr_serve_json_read(serve_thread *thread, myr_arena *arena, myr_str body, yyjson_val **out_root, myr_err *err);
/* ---- format.c, lines.c: rows in other forms ---- */
const char *myr_serve_format_type(serve_format format);
/* What Content-Type says; none is JSON. BAD_TYPE: not in `takes`. */
myr_rc myr_serve_body_format(myr_req *req, unsigned takes, serve_format *out, myr_err *err);
/* What Accept wants most; that of the body if it wants nothing of ours. */
serve_format myr_serve_answer_format(myr_req *req, serve_format body);
/* Cut the next line that is not empty off *rest; *line counts all. False: there is none. */
bool myr_serve_next_line(myr_str *rest, size_t *line, myr_str *out);
size_t myr_serve_count_lines(myr_str text); /* that are not empty */
/* A line as the row row_idx. Errors name the line; the row is then to be undone. */
myr_rc myr_serve_put_line(serve_thread *thread, myr_arena *arena, myr_rows_build *build, size_t row_idx, size_t line,
                          myr_str text, myr_err *err);
myr_rc myr_serve_decode_lines(serve_thread *thread, myr_arena *arena, const myr_fleet *fleet, myr_str text,
                              bool ignore_unknown, myr_score_rows *out, myr_err *err);

/* ---- frame.c: tables in JSON as other servers take them ---- */
typedef enum serve_frame_form { SERVE_FRAME_ANY, SERVE_FRAME_SPLIT, SERVE_FRAME_RECORDS } serve_frame_form;
typedef struct serve_frame {
    const serve_fleet *fleet;
    myr_arena *arena;
    bool ignore_unknown;
} serve_frame;
/* name: of the field, for messages. ANY: split, columns by name, records, or rows in the order of the signature. */
myr_rc myr_serve_frame_decode(serve_frame *frame, const char *name, yyjson_val *value, serve_frame_form form,
                              myr_score_rows *out, myr_err *err);

/* ---- score_encode.c ---- */
/* All rows of a work, with what stands around them. */
myr_rc myr_serve_put_rows(const serve_work *work, serve_format format, myr_buf *out, myr_err *err);
/* The pieces of it, for streams: not as CSV. number: of the event. */
myr_rc myr_serve_put_row(const serve_work *work, size_t row_idx, serve_format format, size_t number, myr_buf *out,
                         myr_err *err);
void myr_serve_put_line_error(serve_format format, size_t line, const myr_err *why, myr_buf *out);
void myr_serve_put_end(serve_format format, size_t row_count, size_t failed_count, myr_buf *out);

/* The same, with NaN and Infinity, as Python writes them. */
myr_rc myr_serve_json_read_loose(serve_thread *thread, myr_arena *arena, myr_str body, yyjson_val **out_root,
                                 myr_err *err);
/* "a string", "an array", … of a value, for messages. */
const char *myr_serve_json_kind(yyjson_val *val);

/* ---- handlers ---- */
myr_rc myr_serve_get_server(serve_call *call, myr_err *err); /* describe.c */
myr_rc myr_serve_get_live(serve_call *call, myr_err *err);
myr_rc myr_serve_get_ready(serve_call *call, myr_err *err);
myr_rc myr_serve_get_models(serve_call *call, myr_err *err);
myr_rc myr_serve_get_model(serve_call *call, myr_err *err);
myr_rc myr_serve_get_model_ready(serve_call *call, myr_err *err);
myr_rc myr_serve_get_segment(serve_call *call, myr_err *err);
myr_rc myr_serve_get_fleet(serve_call *call, myr_err *err);
/* A fleet as it is described: {"name":…,"release":…,…}. `more`: members to add, `,"a":1`. */
void myr_serve_put_fleet(myr_buf *out, const serve_fleet *served, const char *more, bool with_signature);
/* Which model answers for a segment, down the fallback chain; level NONE: none. BAD_INPUT names a bad column or value.
 */
myr_rc myr_serve_segment_find(const myr_fleet *fleet, const myr_segment *segment, uint32_t *out_idx,
                              myr_level *out_level, myr_err *err);
myr_rc myr_serve_get_metrics(serve_call *call, myr_err *err);
myr_rc myr_serve_get_services(serve_call *call, myr_err *err); /* discover.c */
myr_rc myr_serve_get_service(serve_call *call, myr_err *err);
myr_rc myr_serve_get_resolve(serve_call *call, myr_err *err);
myr_rc myr_serve_get_service_file(serve_call *call, myr_err *err); /* describe.c */
myr_rc myr_serve_post_infer(serve_call *call, myr_err *err);       /* infer.c */
int64_t myr_serve_infer_rows(yyjson_val *body);
myr_rc myr_serve_get_prediction(serve_call *call, myr_err *err); /* prediction.c */
myr_rc myr_serve_post_score(serve_call *call, myr_err *err);     /* score.c */
int64_t myr_serve_score_rows(yyjson_val *body);
/* `?output=`; *out_count 0: none is asked for. BAD_INPUT. */
myr_rc myr_serve_score_output(myr_req *req, myr_output *out, uint32_t *out_count, myr_err *err);
/* `?name=true`; false without it. BAD_INPUT. */
myr_rc myr_serve_query_flag(myr_req *req, const char *name, bool *out, myr_err *err);
/* score_stream.c, on a loop when the headers are there: may this request be a stream, at little cost? Then begin it, if
 * it is one after all. */
bool myr_serve_may_stream(myr_req *req, const serve_route *route);
myr_rc myr_serve_stream_begin(myr_server *server, myr_req *req, serve_note *note, myr_err *err);

myr_rc myr_serve_post_invocations(serve_call *call, myr_err *err); /* compat.c */
int64_t myr_serve_invocations_rows(yyjson_val *body);
myr_rc myr_serve_post_azure(serve_call *call, myr_err *err);
int64_t myr_serve_azure_rows(yyjson_val *body);
myr_rc myr_serve_get_openapi(serve_call *call, myr_err *err); /* openapi.c */
myr_rc myr_serve_get_docs(serve_call *call, myr_err *err);

/* ---- jobs.c ---- */
myr_rc myr_serve_post_job(serve_call *call, myr_err *err);
myr_rc myr_serve_get_job_run(serve_call *call, myr_err *err);
myr_rc myr_serve_get_swagger(serve_call *call, myr_err *err);
myr_rc myr_serve_get_healthy(serve_call *call, myr_err *err);
myr_rc myr_serve_get_ping(serve_call *call, myr_err *err);
myr_rc myr_serve_get_version(serve_call *call, myr_err *err);
/* The fleet that routes without a name ask, of the snapshot that the thread holds. NOT_FOUND: it is not clear which. */
myr_rc myr_serve_default_fleet(const serve_thread *thread, serve_fleet **out, myr_err *err);
/* describe.c: UNAVAILABLE while stopping. */
myr_rc myr_serve_check_ready(serve_call *call, myr_err *err);

myr_rc myr_serve_get_config(serve_call *call, myr_err *err); /* repository.c */
myr_rc myr_serve_get_stats(serve_call *call, myr_err *err);
myr_rc myr_serve_get_all_stats(serve_call *call, myr_err *err);
myr_rc myr_serve_post_index(serve_call *call, myr_err *err);
myr_rc myr_serve_post_load(serve_call *call, myr_err *err);
myr_rc myr_serve_post_unload(serve_call *call, myr_err *err);
myr_rc myr_serve_not_supported(serve_call *call, myr_err *err);

/* infer.c: the values of an output as V2's binary tensor. */
void myr_serve_put_binary(myr_buf *out, const myr_answers *answers, size_t row_count);
/* repository.c: whether V2's load and unload are allowed, for this fleet. */
myr_rc myr_serve_control_check(const myr_server *server, myr_str fleet, myr_err *err);
/*
 * repository.c: load or unload a fleet, and wait for it. Thread: compute, holding a snapshot; *snapshot after it.
 * Errors: those of myr_serve_reloader_ask.
 */
myr_rc myr_serve_control(myr_server *server, serve_thread *thread, myr_str fleet, bool load,
                         const serve_snapshot **snapshot, myr_err *err);
/* repository.c: a request that was answered, or failed, now, in V2's statistics. */
void myr_serve_count_infer(const serve_work *work, bool is_ok);
/* repository.c: when one was answered last, by the wall clock as it goes now; 0: never. */
int64_t myr_serve_last_ms(const serve_infer_stats *stats);
/* server.c: X-Deadline-Ms; 0 without it. BAD_INPUT. */
myr_rc myr_serve_read_limit(myr_req *req, int64_t *out_ns, myr_err *err);
/* server.c: of the fleet that a request names (`fleet`, `fleet@…`), or of nothing. */
uint64_t myr_serve_fleet_hash(myr_str name);
/* server.c: which release the client asks for. */
void myr_serve_work_headers(serve_work *work, myr_req *req);
/* server.c: the work of a REST request. */
myr_rc myr_serve_call_work(serve_call *call, serve_work **out, myr_err *err);
/*
 * server.c: this route can be run again for a request that slept: call->work is then set, and decoded. Before
 * myr_serve_work_run, which may leave work->waits.
 */
void myr_serve_call_may_sleep(serve_call *call);
/* work.c: log trouble of models or stores, but not each time. */
void myr_serve_note_trouble(myr_server *server, const char *what, const myr_err *trouble);
/* describe.c: what the path names, as `{}` or `{}/versions/{}`. */
myr_rc myr_serve_call_target(serve_call *call, serve_target *out, myr_err *err);

/* ---- rpc.c: V2 over gRPC, on serve.grpc-listen ---- */
/* only_loopback: as in myr_rpc_opts. Sets server->rpc. */
myr_rc myr_serve_rpc_start(myr_server *server, const char *only_loopback, myr_err *err);
int myr_serve_rpc_port(const serve_rpc *rpc);              /* 0: NULL */
void myr_serve_rpc_stop(serve_rpc *rpc, int64_t drain_ms); /* NULL accepted */

/* ---- metrics.c ---- */
myr_rc myr_serve_metrics_start(myr_server *server, myr_err *err);
void myr_serve_metrics_stop(myr_server *server);
/* ---- server.c, for stages.c ---- */
/* All of a server but its listeners and its reloader's thread; server->threads is one thread, the caller's. */
myr_rc myr_serve_open_silent(const char *workspace_root, const char *service, myr_server **out, myr_err *err);
void myr_serve_close_silent(myr_server *server);

/* ---- deploy.c: environments of models that are code ---- */
/* open: the workspace is borrowed for the call; it is for myr_serve_deploy_close to clean up, whatever comes of it. */
myr_rc myr_serve_deploy_open(myr_server *server, myr_workspace *workspace, myr_err *err);
void myr_serve_deploy_close(myr_server *server); /* ends at once, whatever is being made; NULL-safe */
/* Reloader (main before it starts): this is what is served from now on. */
void myr_serve_deploy_look(myr_server *server, const serve_snapshot *snapshot);
/* Any thread: has each been made, or failed, once? */
bool myr_serve_deploy_is_settled(myr_server *server);
/* Any thread: UNAVAILABLE while the model's is not there; of a fleet, while one has not been tried yet. */
myr_rc myr_serve_deploy_check(myr_server *server, const serve_target *target, myr_err *err);

#define SERVE_LABEL_OTHER "_other" /* no fleet's name begins so, no group is called so */
/* The label of a fleet's series; lives as long as the server. Thread: reloader. */
const char *myr_serve_metrics_label(myr_server *server, const char *fleet);
void myr_serve_count_request(myr_server *server, const serve_route *route, int status,
                             int64_t duration_ns); /* NULL: no route; -1: not to be measured */
/* Rows by level and status. */
typedef int64_t serve_row_counts[MYR_LEVEL_COUNT][MYR_ROW_STATUS_COUNT];
void myr_serve_count_rows(myr_server *server, serve_fleet *fleet, serve_row_counts counts);
void myr_serve_count_release(myr_server *server, serve_fleet *fleet, int64_t row_count);
/* How long each stage of a request took. */
void myr_serve_count_stages(const serve_work *work);

/* describe.c: every input with its datatype: the partition columns (unless the model is chosen), then the features. */
void myr_serve_each_input(const serve_target *target, void (*put)(void *ctx, const char *name, const char *datatype),
                          void *ctx);
/* describe.c: V2's extensions that are served, NULL-terminated. */
extern const char *const myr_serve_extensions[];
/* describe.c: what follows the rows in an output's shape: nothing, the width, or margins and features + 1. */
size_t myr_serve_output_dims(const myr_pack_info *info, myr_output output, size_t width, int64_t out[2]);
/* describe.c: the same as JSON, each with a comma before it. */
void myr_serve_put_width(myr_buf *out, const myr_pack_info *info, myr_output output, size_t width);

/* ---- infer_decode.c: V2 tensors to columns ---- */
#define SERVE_PREDICTION "prediction" /* the tensor of values; the others have the names of their outputs */
/* How the answer is wanted, besides the work. */
typedef struct infer_form {
    bool is_binary[MYR_OUTPUT_COUNT]; /* of each output: after the JSON, not in it */
    bool is_binary_default;           /* for outputs that don't say */
} infer_form;
/* infer_scan.c: an infer request of the usual form, in the arena; NULL: it is read as any JSON is. A NUL follows the
 * text, there or after what lies behind it. */
infer_scan *myr_serve_infer_scan(myr_arena *arena, myr_str text);
int64_t myr_serve_scan_rows(const infer_scan *scan); /* as myr_serve_infer_rows */
/* Rows, outputs and id of an infer request, for work->target. */
myr_rc myr_serve_infer_decode(serve_call *call, serve_work *work, infer_form *out, myr_err *err);

#endif
