/*
 * What the server counts: requests by route and code, their duration by route, rows by fleet, level and status. Never
 * by model: 100,000 models must not make 100,000 series. A series is made when it is first needed, then found without a
 * lock.
 */
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

#define METRICS_LABELS_BYTES (MYR_NAME_BYTES_MAX * 2 + 128)

/* Codes that are counted by themselves; the last place is for all others. */
static const int metrics_codes[SERVE_CODES_MAX - 1] = {200, 400, 401, 403, 404, 405, 409, 413,
                                                       414, 429, 431, 499, 500, 501, 503, 504};

myr_rc myr_serve_metrics_start(myr_server *server, myr_err *err)
{
    server->metrics = myr_metrics_new();
    server->requests = myr_calloc((myr_serve_route_count + 1) * SERVE_CODES_MAX, sizeof *server->requests);
    server->durations = myr_calloc(myr_serve_route_count + 1, sizeof *server->durations);
    if (server->metrics == NULL || server->requests == NULL || server->durations == NULL) {
        MYR_FAIL(err, NO_MEMORY, "out of memory for metrics");
    }
    for (size_t i = 0; i <= myr_serve_route_count; i++) { /* routes of one name share a series */
        char labels[METRICS_LABELS_BYTES];
        snprintf(labels, sizeof labels, "route=\"%s\"", i < myr_serve_route_count ? myr_serve_routes[i].name : "none");
        server->durations[i] =
            myr_metrics_series(server->metrics, MYR_METRIC_HISTOGRAM, "myriad_request_duration_seconds",
                               "From complete headers to the answer taken.", labels);
    }
    server->fleets_gauge =
        myr_metrics_series(server->metrics, MYR_METRIC_GAUGE, "myriad_fleets", "Fleets that are served.", NULL);
    server->reloads = myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_reloads_total",
                                         "Snapshots of fleets that were made.", NULL);
    server->reload_failures = myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_reload_failures_total",
                                                 "Releases that could not be opened, each time they were tried.", NULL);
    server->service_taken =
        myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_service_files_total",
                           "Service files that were read, at the start and on SIGHUP.", "result=\"taken\"");
    server->service_refused =
        myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_service_files_total",
                           "Service files that were read, at the start and on SIGHUP.", "result=\"refused\"");
    server->service_is_refused =
        myr_metrics_series(server->metrics, MYR_METRIC_GAUGE, "myriad_service_file_is_refused",
                           "1: the service file that was read last does not fit; an earlier one is in force.", NULL);
    return MYR_OK;
}

void myr_serve_metrics_stop(myr_server *server)
{
    myr_free(server->requests);
    myr_free(server->durations);
    myr_metrics_free(server->metrics);
}

static size_t metrics_code_idx(int status)
{
    for (size_t i = 0; i < MYR_COUNT_OF(metrics_codes); i++) {
        if (metrics_codes[i] == status) return i;
    }
    return MYR_COUNT_OF(metrics_codes);
}

void myr_serve_count_request(myr_server *server, const serve_route *route, int status, int64_t duration_ns)
{
    size_t route_idx = route != NULL ? (size_t)(route - myr_serve_routes) : myr_serve_route_count;
    size_t code_idx = metrics_code_idx(status);
    _Atomic(myr_metric *) *slot = &server->requests[route_idx * SERVE_CODES_MAX + code_idx];
    myr_metric *metric = atomic_load_explicit(slot, memory_order_acquire);
    if (metric == NULL) {
        char labels[METRICS_LABELS_BYTES], code[16];
        snprintf(code, sizeof code, "%d", status);
        snprintf(labels, sizeof labels, "route=\"%s\",code=\"%s\"", route != NULL ? route->name : "none",
                 code_idx < MYR_COUNT_OF(metrics_codes) ? code : "other");
        metric = myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_requests_total", "Requests answered.",
                                    labels);
        atomic_store_explicit(slot, metric, memory_order_release);
    }
    myr_metric_add(metric, 1);
    if (duration_ns >= 0) myr_metric_observe_ns(server->durations[route_idx], duration_ns);
}

const char *myr_serve_metrics_label(myr_server *server, const char *fleet)
{
    for (size_t i = 0; i < server->label_count; i++) {
        if (strcmp(server->labels[i], fleet) == 0) return server->labels[i];
    }
    if (server->label_count == SERVE_LABELS_MAX) return SERVE_LABEL_OTHER;
    char *label = server->labels[server->label_count++];
    snprintf(label, sizeof server->labels[0], "%s", fleet);
    return label;
}

/* A fleet's name has no character that a label must escape (myr_name_is_valid); checked where it would matter. */
static myr_metric *metrics_rows(myr_server *server, const char *fleet, size_t level, size_t status)
{
    char labels[METRICS_LABELS_BYTES];
    MYR_ASSERT(strpbrk(fleet, "\"\\\n") == NULL);
    snprintf(labels, sizeof labels, "fleet=\"%s\",level=\"%s\",status=\"%s\"", fleet, myr_level_name((myr_level)level),
             myr_row_status_name((myr_row_status)status));
    return myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_rows_total",
                              "Rows scored, by level of their model.", labels);
}

void myr_serve_count_rows(myr_server *server, serve_fleet *fleet, serve_row_counts counts)
{
    for (size_t level = 0; level < MYR_LEVEL_COUNT; level++) {
        for (size_t status = 0; status < MYR_ROW_STATUS_COUNT; status++) {
            if (counts[level][status] == 0) continue;
            _Atomic(myr_metric *) *slot = &fleet->rows[level][status];
            myr_metric *metric = atomic_load_explicit(slot, memory_order_acquire);
            if (metric == NULL) {
                metric = metrics_rows(server, fleet->label, level, status);
                atomic_store_explicit(slot, metric, memory_order_release);
            }
            myr_metric_add(metric, counts[level][status]);
        }
    }
}

static myr_metric *metrics_stage(const serve_work *work, size_t stage)
{
    char labels[METRICS_LABELS_BYTES];
    snprintf(labels, sizeof labels, "fleet=\"%s\",stage=\"%s\"", work->target.fleet->label,
             myr_serve_stage_name((serve_stage)stage));
    return myr_metrics_series(work->server->metrics, MYR_METRIC_HISTOGRAM, "myriad_stage_duration_seconds",
                              "Stages of requests that were answered.", labels);
}

void myr_serve_count_stages(const serve_work *work)
{
    for (size_t stage = 0; stage < SERVE_STAGE_COUNT; stage++) {
        if (work->stage_ns[stage] == 0) continue; /* it was not there */
        _Atomic(myr_metric *) *slot = &work->target.fleet->stages[stage];
        myr_metric *metric = atomic_load_explicit(slot, memory_order_acquire);
        if (metric == NULL) {
            metric = metrics_stage(work, stage);
            atomic_store_explicit(slot, metric, memory_order_release);
        }
        myr_metric_observe_ns(metric, work->stage_ns[stage]);
    }
}

void myr_serve_count_release(myr_server *server, serve_fleet *fleet, int64_t row_count)
{
    myr_metric *metric = atomic_load_explicit(&fleet->release_rows, memory_order_acquire);
    if (metric == NULL) {
        char labels[METRICS_LABELS_BYTES];
        snprintf(labels, sizeof labels, "fleet=\"%s\",release=\"%lld\"", fleet->fleet->name,
                 (long long)fleet->fleet->release);
        metric = myr_metrics_series(server->metrics, MYR_METRIC_COUNTER, "myriad_release_rows_total",
                                    "Rows by the release that answered, while several serve.", labels);
        atomic_store_explicit(&fleet->release_rows, metric, memory_order_release);
    }
    myr_metric_add(metric, row_count);
}

myr_rc myr_serve_get_metrics(serve_call *call, myr_err *err)
{
    (void)err;
    myr_metrics_render(call->server->metrics, call->out);
    myr_serve_models_render(call->snapshot, call->out);
    return MYR_OK;
}
