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

/* ---- one row, without a server ---- */

/*
 * A row (a JSON object) of a fleet through the stages of a service file: what POST /v1/fleets/{fleet}/score answers for
 * it is appended to *out. Deadlines don't count, nothing is stored. *out_trouble: why a model that is not ours gave no
 * answer, if one did not. Errors: those of the service file, of opening the workspace and of decoding; NOT_FOUND: the
 * file does not serve the fleet.
 */
struct yyjson_val;
myr_rc myr_serve_score_once(const char *workspace_root, const char *service, const char *fleet, struct yyjson_val *row,
                            myr_output output, myr_buf *out, myr_err *out_trouble, myr_err *err);

/* ---- what is known of all servers ---- */

/* NULL: anything. As GET /v1/services has them: docs/discovery.md. */
typedef struct myr_services_query {
    const char *fleet, *group, *tag, *region, *feature;
} myr_services_query;
/* The same answer, out of a workspace's registry, without a server; no more than 1,000 services. Errors: those of
 * opening a workspace; BAD_INPUT. */
myr_rc myr_serve_list_services(const char *workspace_root, const myr_services_query *query, myr_buf *out, myr_err *err);

#endif
