/*
 * The floor under our REST server: libmicrohttpd, started as net starts it, reading a body and answering a constant.
 * What a request costs above it is ours.
 *
 * usage: bench_http_floor PORT      (until SIGTERM)
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <microhttpd.h>

static const char answer[] = "{\"model_name\":\"one\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"prediction\","
                             "\"datatype\":\"FP64\",\"shape\":[1],\"data\":[-0.41625]}]}";

static enum MHD_Result floor_on_access(void *ctx, struct MHD_Connection *conn, const char *url, const char *method,
                                       const char *version, const char *data, size_t *data_bytes, void **slot)
{
    static int begun;
    (void)ctx;
    (void)url;
    (void)method;
    (void)version;
    (void)data;
    if (*slot == NULL) {
        *slot = &begun;
        return MHD_YES;
    }
    if (*data_bytes > 0) {
        *data_bytes = 0;
        return MHD_YES;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer_static(sizeof answer - 1, answer);
    if (response == NULL) return MHD_NO;
    enum MHD_Result result = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    if (result == MHD_YES) result = MHD_queue_response(conn, 200, response);
    MHD_destroy_response(response);
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    sigset_t ends;
    int got;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME, (uint16_t)atoi(argv[1]), NULL, NULL,
        floor_on_access, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)15 << 10, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, MHD_OPTION_END);
    if (daemon == NULL) {
        fprintf(stderr, "%s: port %s can't be had\n", argv[0], argv[1]);
        return 1;
    }
    sigwait(&ends, &got);
    MHD_stop_daemon(daemon);
    return 0;
}
