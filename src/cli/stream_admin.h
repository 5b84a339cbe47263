/* What an operator asks of `myriad stream`, over HTTP: /metrics, /live, /ready. */
#ifndef MYR_CLI_STREAM_ADMIN_H
#define MYR_CLI_STREAM_ADMIN_H

#include <stdatomic.h>

#include "net/net.h"

typedef struct stream_admin {
    myr_metrics *metrics;    /* borrowed */
    atomic_bool is_ready;    /* set by the stream: it has partitions, or may get some, and brokers are there */
    myr_http_server *server; /* NULL: nobody listens */
} stream_admin;

/* listen: "127.0.0.1:0". is_open: other machines may ask as well. Errors: DENIED, IO, BAD_USAGE. */
myr_rc myr_stream_admin_start(stream_admin *admin, const char *listen, bool is_open, myr_err *err);
void myr_stream_admin_stop(stream_admin *admin);

#endif
