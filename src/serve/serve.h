/* The face of serve: routes over the scoring path, discovery, metrics; one snapshot of opened fleets, replaced whole.
 */
#ifndef MYR_SERVE_SERVE_H
#define MYR_SERVE_SERVE_H

#include "base/base.h"
#include "fleet/fleet.h"

/* The option rows `serve.*`; the struct is theirs. */
typedef struct myr_serve_opts {
    char listen[128];
    int64_t grpc_streams_max;
    int64_t loops, compute_threads, queue_max, body_bytes_max, request_bytes_max, connections_max;
    int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, drain_ms, reload_ms;
    int64_t stream_idle_ms, stream_line_bytes_max;
    int64_t inline_rows_max; /* requests with more rows are scored on a compute thread */
    int64_t part_rows;       /* of a request on a compute thread that one thread scores, at least; 0: all */
    int64_t deadline_ms, bulk_deadline_ms; /* 0 = none */
    char service[MYR_PATH_BYTES_MAX];      /* the service file; "" = none */
    char name[MYR_NAME_BYTES_MAX + 1], region[MYR_NAME_BYTES_MAX + 1], advertise[256];
    int64_t lease_ms;
    char access_log[MYR_PATH_BYTES_MAX]; /* off, stderr, or a file */
    int64_t drain_delay_ms;
    bool model_control;     /* load and unload over REST */
    char grpc_listen[128];  /* "": no gRPC */
    char admin_listen[128]; /* "": admin routes answer on `listen`, if that is loopback */
    char tls_cert[MYR_PATH_BYTES_MAX], tls_key[MYR_PATH_BYTES_MAX], tls_client_ca[MYR_PATH_BYTES_MAX];
    int64_t address_connections_max;
    char auth[16];                         /* auto, required, off */
    char metrics[16];                      /* main, admin: where /metrics answers */
    char cors_origins[1024];               /* origins of web pages that may ask, commas between them; "": none */
    bool insecure;                         /* other machines may be answered without tokens or in clear text */
    int64_t token_rate, token_concurrency; /* of tokens that don't say; 0 = no limit */
    char job_store[1024];                  /* where jobs are kept; "": the workspace's registry */
} myr_serve_opts;
extern const myr_opt_table myr_serve_opt_table;

typedef struct myr_server myr_server;
/*
 * Open every fleet that has a champion and listen. The registry is looked at every reload_ms: a moved alias or a new
 * fleet replaces the snapshot without a failed request; a pack that can't be opened keeps the old one, and is logged.
 * Thread: start, stop: main. Errors: BAD_USAGE (listen address, limits), DENIED (others
 * would reach it without tokens or TLS), IO (address in use), those of opening a
 * workspace.
 */
myr_rc myr_server_start(const char *workspace_root, const myr_serve_opts *opts, myr_server **out, myr_err *err);
int myr_server_port(const myr_server *server);
int myr_server_grpc_port(const myr_server *server);  /* 0: there is none */
int myr_server_admin_port(const myr_server *server); /* 0: there is none */
size_t myr_server_fleet_count(const myr_server *server);
/*
 * Options as they are now: those that may change while serving (MYR_OPT_RELOAD) do, the rest is only told: a line per
 * difference. The service file is read again: if it does not fit, the one in force goes on, and *out_diff says why;
 * else a line per difference. The registry and certificates are looked at, the access log is opened again. Waits until
 * that is done, at most half a minute. Thread: main.
 */
void myr_server_reload(myr_server *server, const myr_serve_opts *next, myr_buf *out_diff);
void myr_server_drain(myr_server *server); /* no longer ready, but everything is answered: before a stop */
void myr_server_stop(myr_server *server);  /* drains */

/* ---- rows through the stages, without a server ---- */

/* A fleet and what a service file says of it. One thread's. */
typedef struct myr_stages myr_stages;
/* Errors: those of the service file and of opening the workspace; NOT_FOUND: the file does not serve the fleet. */
myr_rc myr_stages_open(const char *workspace_root, const char *service, const char *fleet, myr_stages **out,
                       myr_err *err);
void myr_stages_close(myr_stages *stages); /* what waits to be stored is stored. NULL accepted */
/* A new champion, or a score script that changed, answers from the next begin on. Quick when there is nothing new; what
 * can't be opened is logged, and leaves what is there. reads_service: the service file is read again, too; one that
 * does not fit is logged. Not between begin and end. */
void myr_stages_follow(myr_stages *stages, bool reads_service);
/* The fleet that rows are to be decoded for; it stays until end. NOT_FOUND: it is not served any more. */
myr_rc myr_stages_begin(myr_stages *stages, const myr_fleet **out, myr_err *err);
void myr_stages_end(myr_stages *stages);

typedef struct myr_stages_ask {
    myr_output output;
    int64_t limit_ms; /* for all rows together; 0: the fleet's deadline for each, from 1 to 10 s, 10 s without one */
    bool champion;    /* champion answers, whatever share the file gives to others */
} myr_stages_ask;
/*
 * Decoded rows through the stages; rows and answers live in `arena`. After it, also after a failure, forget comes
 * before the next one. A row that can't be answered is a status. Errors: TIMEOUT, UNAVAILABLE, BUSY (a source of
 * features, or a script that is too slow, as `degrade` says): no row has an answer; NO_MEMORY.
 */
myr_rc myr_stages_run(myr_stages *stages, const myr_score_rows *rows, const myr_stages_ask *ask, myr_arena *arena,
                      myr_err *err);
/* After run: store what was answered, if the file says so and as it says. Errors: those of myr_stored_result. */
myr_rc myr_stages_store(myr_stages *stages, myr_err *err);
void myr_stages_forget(myr_stages *stages, bool is_ok);
/* What became of a row; borrowed until forget. */
typedef struct myr_stages_answer {
    myr_row_status status;
    uint32_t model_idx;     /* of `fleet`; MYR_PACK_NONE: no model answered */
    const myr_fleet *fleet; /* its release answered */
    myr_str message;        /* why it is not the usual answer; data NULL: it is */
} myr_stages_answer;
void myr_stages_row(const myr_stages *stages, size_t row_idx, myr_stages_answer *out);
/* As POST /v1/fleets/{fleet}/score answers it, appended. */
myr_rc myr_stages_put(const myr_stages *stages, size_t row_idx, myr_buf *out, myr_err *err);
const myr_err *myr_stages_trouble(const myr_stages *stages); /* why a model that is not ours gave no answer */

/* ---- what is known of all servers ---- */

/* NULL: anything. As GET /v1/services has them: docs/discovery.md. */
typedef struct myr_services_query {
    const char *fleet, *group, *tag, *region, *feature;
} myr_services_query;
/* The same answer, out of a workspace's registry, without a server; no more than 1,000 services. Errors: those of
 * opening a workspace; BAD_INPUT. */
myr_rc myr_serve_list_services(const char *workspace_root, const myr_services_query *query, myr_buf *out, myr_err *err);

#endif
