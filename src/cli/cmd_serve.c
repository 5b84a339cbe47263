/* `myriad serve`: the server in the foreground, until SIGTERM or SIGINT. */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "serve/serve.h"

/*
 * SIGTERM and SIGINT end the server. A handler and not a blocked mask with sigwait: OpenBLAS starts threads before
 * main, and a signal that meets one of them, unblocked and without a handler, would end the process in the middle of
 * its answers.
 */
static sem_t serve_end;
static volatile sig_atomic_t serve_end_signal;

static void serve_on_signal(int number)
{
    serve_end_signal = number;
    (void)sem_post(&serve_end);
}

static void serve_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = serve_on_signal;
    (void)sigemptyset(&action.sa_mask);
    (void)sem_init(&serve_end, 0, 0);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
}

static void serve_wait_for_signal(void)
{
    while (sem_wait(&serve_end) != 0) {
        MYR_ASSERT(errno == EINTR);
    }
}

/* The address as a URL, with the port that it was given. */
static void serve_put_url(myr_buf *out, const myr_serve_opts *opts, const char *listen, int port)
{
    const char *colon = strrchr(listen, ':');
    int host_bytes = colon != NULL ? (int)(colon - listen) : (int)strlen(listen);
    myr_buf_printf(out, "%s://%.*s:%d", opts->tls_cert[0] != '\0' ? "https" : "http", host_bytes, listen, port);
}

static myr_rc serve_announce(const myr_server *server, const myr_serve_opts *opts, bool json, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    int admin_port = myr_server_admin_port(server);
    size_t fleets = myr_server_fleet_count(server);
    myr_buf_puts(&out, json ? "{\"listening\":\"" : "listening on ");
    serve_put_url(&out, opts, opts->listen, myr_server_port(server));
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

static myr_rc serve_run(const char *root, const myr_serve_opts *opts, bool json, myr_err *err)
{
    serve_catch_signals();
    myr_server *server = NULL;
    MYR_TRY(myr_server_start(root, opts, &server, err));
    myr_rc rc = serve_announce(server, opts, json, err);
    if (rc == MYR_OK) serve_wait_for_signal();
    myr_server_stop(server); /* what is in flight is answered */
    myr_log(MYR_LOG_INFO, "cli", "stopped", "signal", serve_end_signal == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    return rc;
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
    return myr_cli_parse("serve", "", "", args, MYR_COUNT_OF(args), argc, argv, &again, err);
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
    return serve_run(root, &opts, cli.json, err);
}
