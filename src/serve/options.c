/* The option rows `serve.*`: one row gives the key in myriad.yaml, the environment variable, the flag and the help. */
#include "serve/serve.h"

static const myr_opt_row serve_rows[] = {
    {"serve.listen", "127.0.0.1:8080", MYR_OPT_ADDR, 0, 0, sizeof((myr_serve_opts *)0)->listen,
     offsetof(myr_serve_opts, listen), "Where the server listens: HOST:PORT or [IPV6]:PORT. Port 0 picks a free one."},
    {"serve.loops", "0", MYR_OPT_INT, 0, 0, 256, offsetof(myr_serve_opts, loops),
     "Event loops, each a thread that owns its connections. 0: one per processor."},
    {"serve.compute-threads", "0", MYR_OPT_INT, 0, 0, 1024, offsetof(myr_serve_opts, compute_threads),
     "Threads for requests that are too large for a loop. 0: one per processor."},
    {"serve.queue-max", "1024", MYR_OPT_INT, 0, 1, 1 << 20, offsetof(myr_serve_opts, queue_max),
     "Requests that may wait for a compute thread; more are answered 503 with Retry-After."},
    {"serve.body-bytes-max", "8MiB", MYR_OPT_BYTES, 0, 1024, 1LL << 30, offsetof(myr_serve_opts, body_bytes_max),
     "Largest request body; more is answered 413."},
    {"serve.request-bytes-max", "256MiB", MYR_OPT_BYTES, 0, 65536, 1LL << 36,
     offsetof(myr_serve_opts, request_bytes_max),
     "Most memory that one request may take (body, decoded columns, answer); more is answered 413."},
    {"serve.connections-max", "10000", MYR_OPT_INT, 0, 1, 1000000, offsetof(myr_serve_opts, connections_max),
     "Open connections; more wait in the kernel's queue."},
    {"serve.header-timeout", "10s", MYR_OPT_DURATION, 0, 10, 3600000, offsetof(myr_serve_opts, header_timeout_ms),
     "Time for the headers of a request to arrive; then the connection is closed."},
    {"serve.body-timeout", "60s", MYR_OPT_DURATION, 0, 10, 3600000, offsetof(myr_serve_opts, body_timeout_ms),
     "Time for a body to arrive, and for an answer to be taken; then the connection is closed."},
    {"serve.idle-timeout", "75s", MYR_OPT_DURATION, 0, 10, 86400000, offsetof(myr_serve_opts, idle_timeout_ms),
     "Time that a connection may stay open without a request."},
    {"serve.drain", "10s", MYR_OPT_DURATION, 0, 0, 3600000, offsetof(myr_serve_opts, drain_ms),
     "When stopping: time for requests in flight to be answered."},
    {"serve.reload", "1s", MYR_OPT_DURATION, 0, 10, 3600000, offsetof(myr_serve_opts, reload_ms),
     "How often the registry is looked at for new releases."},
    {"serve.inline-rows-max", "256", MYR_OPT_INT, 0, 0, 65536, offsetof(myr_serve_opts, inline_rows_max),
     "Requests with more rows are scored on a compute thread."},
    {"serve.access-log", "false", MYR_OPT_BOOL, 0, 0, 0, offsetof(myr_serve_opts, access_log),
     "One log line per request."},
    {"serve.model-control", "false", MYR_OPT_BOOL, 0, 0, 0, offsetof(myr_serve_opts, model_control),
     "Answer V2's load and unload of fleets: whoever reaches the port may stop one."},
};

const myr_opt_table myr_serve_opt_table = {serve_rows, MYR_COUNT_OF(serve_rows)};
