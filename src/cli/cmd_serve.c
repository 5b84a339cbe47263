/* `myriad serve`: the server in the foreground, until SIGTERM or SIGINT; SIGHUP reads its options again. */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/notify.h"
#include "cli/scheduler_opts.h"
#include "serve/serve.h"

/*
 * SIGTERM and SIGINT end the server, SIGHUP reads its options again. Handlers and not a blocked mask with sigwait:
 * OpenBLAS starts threads before main, and a signal that meets one of them, unblocked and without a handler, would end
 * the process in the middle of its answers.
 */
static sem_t serve_wake;
static volatile sig_atomic_t serve_end_signal, serve_reload_wished;

static void serve_on_signal(int number)
{
    int saved = errno;
    if (number == SIGHUP) {
        serve_reload_wished = 1;
    } else {
        serve_end_signal = number;
    }
    (void)sem_post(&serve_wake);
    errno = saved;
}

static void serve_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = serve_on_signal;
    (void)sigemptyset(&action.sa_mask);
    (void)sem_init(&serve_wake, 0, 0);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

/* The next signal, or, unless timeout_ms is 0, the end of that time. */
static void serve_wait(int64_t timeout_ms)
{
    if (timeout_ms == 0) {
        while (sem_wait(&serve_wake) != 0)
            MYR_ASSERT(errno == EINTR);
        return;
    }
    int64_t until_ms = myr_clock_unix_ms() + timeout_ms;
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    while (sem_timedwait(&serve_wake, &until) != 0 && errno == EINTR) {
    }
}

/* How the program was called: options are read from all their sources again. */
typedef struct serve_call_line {
    const char *root;
    int argc;
    char **argv;
    bool json;
} serve_call_line;

/* The address as a URL, with the port that it was given. */
/* The port that it became; `listen` may say 0. */
static void serve_put_address(myr_buf *out, const char *listen, int port)
{
    const char *colon = strrchr(listen, ':');
    int host_bytes = colon != NULL ? (int)(colon - listen) : (int)strlen(listen);
    myr_buf_printf(out, "%.*s:%d", host_bytes, listen, port);
}

static void serve_put_url(myr_buf *out, const myr_serve_opts *opts, const char *listen, int port)
{
    myr_buf_puts(out, opts->tls_cert[0] != '\0' ? "https://" : "http://");
    serve_put_address(out, listen, port);
}

static myr_rc serve_announce(const myr_server *server, const myr_serve_opts *opts, bool json, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    int admin_port = myr_server_admin_port(server), grpc_port = myr_server_grpc_port(server);
    size_t fleets = myr_server_fleet_count(server);
    myr_buf_puts(&out, json ? "{\"listening\":\"" : "listening on ");
    serve_put_url(&out, opts, opts->listen, myr_server_port(server));
    if (grpc_port != 0) {
        myr_buf_puts(&out, json ? "\",\"grpc\":\"" : ", gRPC on ");
        serve_put_address(&out, opts->grpc_listen, grpc_port);
    }
    if (admin_port != 0) {
        myr_buf_puts(&out, json ? "\",\"admin\":\"" : ", admin on ");
        serve_put_url(&out, opts, opts->admin_listen, admin_port);
    }
    myr_buf_printf(&out, json ? "\",\"fleets\":%zu}\n" : ", %zu fleets\n", fleets);
    MYR_TRY(myr_buf_check(&out, err));
    fputs(out.data, stdout);
    (void)fflush(stdout); /* whoever started us waits for this line */
    return MYR_OK;
}

/*
 * Order of precedence: flags, environment, myriad.yaml, defaults. The workspace must be known before its file can be
 * read, so the flags are parsed twice: once to find it, once over the other sources.
 */
static myr_rc serve_options(const char *root, int argc, char **argv, myr_serve_opts *opts, myr_err *err)
{
    myr_opt_defaults(myr_serve_opt_table, opts);
    MYR_TRY(myr_cli_config(root, myr_serve_opt_table, opts, err));
    MYR_TRY(myr_opt_environment(myr_serve_opt_table, opts, err));
    myr_cli_options options = {.table = myr_serve_opt_table, .slots = opts};
    const myr_cli_arg args[] = {{"options", NULL, MYR_CLI_OPTIONS, &options, ""}};
    myr_cli again = {0};
    MYR_TRY(myr_cli_parse("serve", "", "", args, MYR_COUNT_OF(args), argc, argv, &again, err));
    if (opts->job_store[0] != '\0') return MYR_OK;
    static myr_scheduler_opts scheduler; /* large; main's alone */
    MYR_TRY(myr_cli_scheduler_opts(root, 0, NULL, &scheduler, err));
    memcpy(opts->job_store, scheduler.store, sizeof opts->job_store);
    return MYR_OK;
}

/* SIGHUP: what differs is printed. A mistake anywhere keeps everything as it was. */
static void serve_reload(const serve_call_line *line, myr_server *server)
{
    static myr_serve_opts next; /* too large for a stack frame that is used now and then; main's alone */
    MYR_AUTO(myr_buf) diff = {0};
    myr_err err = {0};
    myr_notify_reloading();
    if (serve_options(line->root, line->argc, line->argv, &next, &err) != MYR_OK) {
        myr_log_err(MYR_LOG_ERROR, "cli", "options not read again: the earlier ones go on", &err);
    } else {
        myr_server_reload(server, &next, &diff);
        myr_log(MYR_LOG_INFO, "cli", "reloaded", "options", diff.size > 0 ? "changed" : "as they were", NULL);
        fputs(diff.data != NULL ? diff.data : "", stdout);
        (void)fflush(stdout);
    }
    myr_notify("READY=1");
}

static void serve_until_told(const serve_call_line *line, myr_server *server)
{
    myr_notify("READY=1");
    while (serve_end_signal == 0) {
        serve_wait(0);
        if (serve_reload_wished == 0) continue;
        serve_reload_wished = 0;
        serve_reload(line, server);
    }
    myr_notify("STOPPING=1");
}

static myr_rc serve_run(const serve_call_line *line, const myr_serve_opts *opts, myr_err *err)
{
    serve_catch_signals();
    myr_server *server = NULL;
    MYR_TRY(myr_server_start(line->root, opts, &server, err));
    myr_rc rc = serve_announce(server, opts, line->json, err);
    if (rc == MYR_OK) serve_until_told(line, server);
    int number = serve_end_signal;
    myr_server_drain(server);
    serve_end_signal = 0; /* a second one ends the waiting */
    if (number != 0 && opts->drain_delay_ms > 0) serve_wait(opts->drain_delay_ms);
    myr_server_stop(server); /* what is in flight is answered */
    myr_log(MYR_LOG_INFO, "cli", "stopped", "signal", number == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    return rc;
}

myr_rc myr_cmd_serve(int argc, char **argv, myr_err *err)
{
    myr_serve_opts opts;
    myr_opt_defaults(myr_serve_opt_table, &opts);
    myr_cli_options options = {.table = myr_serve_opt_table, .slots = &opts};
    const myr_cli_arg args[] = {{"options", NULL, MYR_CLI_OPTIONS, &options, ""}};
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("serve", "answer over REST: scoring, discovery, metrics",
                          "myriad serve --listen 127.0.0.1:8080", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    char root[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_workspace_find(cli.workspace, root, sizeof root, err));
    MYR_TRY(serve_options(root, argc, argv, &opts, err));
    MYR_TRY(myr_cli_runtime(root, err));
    const serve_call_line line = {.root = root, .argc = argc, .argv = argv, .json = cli.json};
    return serve_run(&line, &opts, err);
}
