/*
 * The route table: what there is to ask, by whom it is answered, and what stands in /openapi.json about it. Schemas and
 * parameters are named as in share/serve/openapi.json.
 */
#include "serve/internal.h"

#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

/* A question without a body, answered in JSON. */
#define GET(path, may, label, handler, schema, text)                                                                   \
    {                                                                                                                  \
        .method = MYR_GET, .pattern = path, .access = may, .name = label, .run = handler, .content_type = SERVE_JSON,  \
        .answer = schema, .summary = text                                                                              \
    }
/* The same of a model and of one of its releases. */
#define GET_MODEL(tail, label, handler, schema, text)                                                                  \
    GET(MODEL tail, SERVE_READ_MODEL, label, handler, schema, text),                                                   \
        GET(MODEL "/versions/{version}" tail, SERVE_READ_MODEL, label, handler, schema, text ", of one release")
/* The same, answered by a word. */
#define TEXT(path, label, handler, text)                                                                               \
    {                                                                                                                  \
        .method = MYR_GET, .pattern = path, .access = SERVE_OPEN, .name = label, .run = handler,                       \
        .content_type = "text/plain; charset=utf-8", .answer = "Text", .summary = text                                 \
    }
#define INFER(path, text)                                                                                              \
    {                                                                                                                  \
        .method = MYR_POST, .pattern = path, .access = SERVE_INFER_MODEL, .name = "infer",                             \
        .run = myr_serve_post_infer, .count_rows = myr_serve_infer_rows, .content_type = SERVE_JSON,                   \
        .body = "InferRequest", .answer = "InferAnswer", .summary = text                                               \
    }
#define REPOSITORY(path, may, handler, request, schema, text)                                                          \
    {                                                                                                                  \
        .method = MYR_POST, .pattern = path, .access = may, .name = "repository", .run = handler,                      \
        .content_type = SERVE_JSON, .body = request, .answer = schema, .summary = text                                 \
    }
/* What clients of Triton may ask for and we say no to. */
#define REFUSED(ask, path)                                                                                             \
    {                                                                                                                  \
        .method = ask, .pattern = path, .access = SERVE_READ, .name = "unsupported", .run = myr_serve_not_supported,   \
        .content_type = SERVE_JSON, .summary = "not supported"                                                         \
    }
#define NOT_SUPPORTED(path) REFUSED(MYR_GET, path), REFUSED(MYR_POST, path)

#define MODEL "/v2/models/{model}"

const serve_route myr_serve_routes[] = {
    GET("/v2", SERVE_READ, "server", myr_serve_get_server, "Server", "name, version and extensions"),
    GET("/v2/health/live", SERVE_OPEN, "live", myr_serve_get_live, "Live", "the process answers"),
    GET("/v2/health/ready", SERVE_OPEN, "ready", myr_serve_get_ready, "Ready", "requests are welcome"),
    GET("/v2/models", SERVE_READ, "models", myr_serve_get_models, "Models", "names of all fleets"),
    GET("/v2/models/stats", SERVE_READ, "stats", myr_serve_get_all_stats, "Statistics", "statistics of all fleets"),
    GET_MODEL("", "metadata", myr_serve_get_model, "Model", "inputs and outputs of a fleet or one model"),
    GET_MODEL("/ready", "model_ready", myr_serve_get_model_ready, "ModelReady", "whether it answers"),
    INFER(MODEL "/infer", "score rows, V2"),
    INFER(MODEL "/versions/{version}/infer", "score rows, V2, of one release"),
    GET_MODEL("/config", "config", myr_serve_get_config, "Config", "V2's configuration"),
    GET_MODEL("/stats", "stats", myr_serve_get_stats, "Statistics", "V2's statistics of a fleet"),
    REPOSITORY("/v2/repository/index", SERVE_READ, myr_serve_post_index, "IndexRequest", "Index",
               "fleets and their state"),
    REPOSITORY("/v2/repository/models/{fleet}/load", SERVE_ADMIN_MODEL, myr_serve_post_load, "LoadRequest", NULL,
               "look at the registry, serve a fleet"),
    REPOSITORY("/v2/repository/models/{fleet}/unload", SERVE_ADMIN_MODEL, myr_serve_post_unload, "LoadRequest", NULL,
               "no longer serve a fleet"),
    NOT_SUPPORTED("/v2/repository/{repository}/index"),
    NOT_SUPPORTED("/v2/repository/{repository}/models/{model}/load"),
    NOT_SUPPORTED("/v2/repository/{repository}/models/{model}/unload"),
    NOT_SUPPORTED("/v2/logging"),
    NOT_SUPPORTED("/v2/trace/setting"),
    NOT_SUPPORTED("/v2/models/{model}/trace/setting"),
    NOT_SUPPORTED("/v2/models/{model}/generate"),
    NOT_SUPPORTED("/v2/models/{model}/generate_stream"),
    NOT_SUPPORTED("/v2/systemsharedmemory/status"),
    NOT_SUPPORTED("/v2/cudasharedmemory/status"),
    {.method = MYR_POST,
     .pattern = "/v1/fleets/{fleet}/score",
     .access = SERVE_INFER_MODEL,
     .name = "score",
     .run = myr_serve_post_score,
     .count_rows = myr_serve_score_rows,
     .takes = SERVE_TAKES_ROWS,
     .content_type = SERVE_JSON,
     .parameters = "Output IgnoreUnknown",
     .body = "ScoreRequest",
     .answer = "ScoreAnswer",
     .summary = "score rows, one status per row"},
    GET("/v1/fleets/{fleet}/predictions", SERVE_INFER_MODEL, "predictions", myr_serve_get_prediction,
        "StoredPrediction", "the stored prediction of a key, or one made now"),
    GET("/v1/fleets/{fleet}/models/{segment}", SERVE_READ_SEGMENT, "segment", myr_serve_get_segment, "Segment",
        "which model answers for a segment"),
    GET("/v1/services", SERVE_READ, "services", myr_serve_get_services, "Services", "what is served and where"),
    GET("/v1/services/{service}", SERVE_READ, "services", myr_serve_get_service, "Service", "the same, of one service"),
    GET("/v1/service-file", SERVE_READ_SERVER, "service_file", myr_serve_get_service_file, "ServiceFile",
        "which service file is in force, and why the one read last is not"),
    GET("/v1/fleets/{fleet}", SERVE_READ_MODEL, "fleet", myr_serve_get_fleet, "Fleet",
        "release, signature and levels of a fleet"),
    {.method = MYR_GET,
     .pattern = "/v1/resolve",
     .access = SERVE_READ,
     .name = "resolve",
     .run = myr_serve_get_resolve,
     .content_type = SERVE_JSON,
     .parameters = "FleetQuery",
     .answer = "Resolved",
     .summary = "which model answers for a segment, and where"},
    {.method = MYR_POST,
     .pattern = "/v1/jobs/{job}:run",
     .access = SERVE_RUN_JOB,
     .name = "job_run",
     .run = myr_serve_post_job,
     .content_type = SERVE_JSON,
     .status = 202,
     .parameters = "IdempotencyKey",
     .answer = "JobRun",
     .summary = "let the scheduler start a job"},
    GET("/v1/jobs/{job}/runs/{run}", SERVE_RUN_JOB, "job_runs", myr_serve_get_job_run, "JobRun",
        "what became of a run that was asked for"),
    {.method = MYR_POST,
     .pattern = "/invocations",
     .access = SERVE_INFER_MODEL,
     .name = "invocations",
     .run = myr_serve_post_invocations,
     .count_rows = myr_serve_invocations_rows,
     .takes = SERVE_TAKES_FRAME | SERVE_TAKES_EXACT,
     .of_default = true,
     .allows_nan = true,
     .content_type = SERVE_JSON,
     .parameters = "IgnoreUnknown",
     .body = "Invocation",
     .answer = "Predictions",
     .summary = "MLflow's, of the default fleet"},
    TEXT("/ping", "ping", myr_serve_get_ping, "MLflow's: whether /invocations answers"),
    TEXT("/health", "ping", myr_serve_get_ping, "MLflow's: whether /invocations answers"),
    TEXT("/version", "version", myr_serve_get_version, "the version of the program"),
    TEXT("/", "healthy", myr_serve_get_healthy, "Azure ML's: requests are welcome"),
    {.method = MYR_POST,
     .pattern = "/score",
     .access = SERVE_INFER_MODEL,
     .name = "azure_score",
     .run = myr_serve_post_azure,
     .count_rows = myr_serve_azure_rows,
     .takes = SERVE_TAKES_FRAME,
     .of_default = true,
     .allows_nan = true,
     .content_type = SERVE_JSON,
     .parameters = "IgnoreUnknown Deployment ClientRequestId",
     .body = "AzureScore",
     .answer = "AzurePredictions",
     .summary = "Azure ML's, of the default fleet"},
    {.method = MYR_GET,
     .pattern = "/swagger.json",
     .access = SERVE_READ_MODEL,
     .name = "swagger",
     .run = myr_serve_get_swagger,
     .of_default = true,
     .content_type = SERVE_JSON,
     .answer = "Any",
     .summary = "Azure ML's: what /score takes"},
    GET("/openapi.json", SERVE_READ, "openapi", myr_serve_get_openapi, "Any", "this interface as OpenAPI 3.1"),
    {.method = MYR_GET,
     .pattern = "/docs",
     .access = SERVE_READ,
     .name = "docs",
     .run = myr_serve_get_docs,
     .content_type = "text/html; charset=utf-8",
     .answer = "Text",
     .summary = "this interface, for people"},
    {.method = MYR_GET,
     .pattern = "/metrics",
     .access = SERVE_READ_SERVER,
     .name = "metrics",
     .run = myr_serve_get_metrics,
     .content_type = PROMETHEUS,
     .answer = "Text",
     .summary = "counters for Prometheus"},
};
const size_t myr_serve_route_count = MYR_COUNT_OF(myr_serve_routes);
