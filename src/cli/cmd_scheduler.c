/* `myriad scheduler`: turns in the foreground until SIGTERM or SIGINT; SIGHUP reads the job files again. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/notify.h"
#include "cli/scheduler_opts.h"

#define SCHEDULER_TROUBLE_MS 1000 /* after a turn that failed */

static myr_scheduler *scheduler_of_signals;
static volatile sig_atomic_t scheduler_end_signal, scheduler_reload_wished;

static void scheduler_on_signal(int number)
{
    if (number == SIGHUP) scheduler_reload_wished = 1;
    if (number == SIGTERM || number == SIGINT) scheduler_end_signal = number;
    myr_scheduler_wake(scheduler_of_signals); /* SIGCHLD: a run has ended, look at once */
}

static void scheduler_catch_signals(myr_scheduler *scheduler)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = scheduler_on_signal;
    action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
    (void)sigemptyset(&action.sa_mask);
    scheduler_of_signals = scheduler;
    for (size_t i = 0; i < MYR_COUNT_OF(numbers); i++)
        (void)sigaction(numbers[i], &action, NULL);
}

myr_rc myr_cli_scheduler_opts(const char *root, int argc, char **argv, myr_scheduler_opts *out, myr_err *err)
{
    myr_opt_defaults(myr_scheduler_opt_table, out);
    MYR_TRY(myr_cli_config(root, myr_scheduler_opt_table, out, err));
    MYR_TRY(myr_opt_environment(myr_scheduler_opt_table, out, err));
    myr_cli_options options = {.table = myr_scheduler_opt_table, .slots = out};
    const myr_cli_arg args[] = {{"options", NULL, MYR_CLI_OPTIONS, &options, ""}};
    myr_cli again = {0};
    return argc > 0 ? myr_cli_parse("scheduler", "", "", args, MYR_COUNT_OF(args), argc, argv, &again, err) : MYR_OK;
}

myr_rc myr_cli_jobs_dir(const char *root, const myr_scheduler_opts *opts, char *out, myr_err *err)
{
    bool is_absolute = opts->jobs[0] == '/';
    return myr_path_join(out, MYR_PATH_BYTES_MAX, is_absolute ? "/" : root, opts->jobs + (is_absolute ? 1 : 0), err);
}

/* A failure is said once, and again when it is another. */
static void scheduler_say(const myr_err *err, myr_err *last)
{
    if (strcmp(err->message, last->message) != 0)
        myr_log_err(MYR_LOG_ERROR, "jobs", "a turn failed, the next one tries again", err);
    *last = *err;
}

static void scheduler_until_told(myr_scheduler *scheduler)
{
    myr_err last = {0};
    myr_notify("READY=1");
    while (scheduler_end_signal == 0) {
        int64_t sleep_ms = 0;
        myr_err err = {0};
        if (scheduler_reload_wished != 0) {
            scheduler_reload_wished = 0;
            myr_scheduler_reload(scheduler);
        }
        if (myr_scheduler_turn(scheduler, &sleep_ms, &err) == MYR_OK) {
            last = (myr_err){0};
        } else {
            scheduler_say(&err, &last);
            sleep_ms = SCHEDULER_TROUBLE_MS;
        }
        myr_scheduler_sleep(scheduler, sleep_ms);
    }
    myr_notify("STOPPING=1");
}

static myr_rc scheduler_run(const char *root, const myr_scheduler_opts *opts, bool json, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    myr_scheduler *scheduler = NULL;
    char dir[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_workspace_open(root, &workspace, err)); /* and bring its registry up to date */
    MYR_TRY(myr_cli_jobs_dir(root, opts, dir, err));
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(myr_scheduler_open(root, opts, &scheduler, err));
    scheduler_catch_signals(scheduler);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_json_string(&text, myr_str_of(dir));
    printf(json ? "{\"jobs\":%s}\n" : "scheduler: job files of %s\n", text.data != NULL ? text.data : "");
    (void)fflush(stdout); /* whoever started us waits for this line */
    scheduler_until_told(scheduler);
    (void)signal(SIGCHLD, SIG_DFL);
    myr_scheduler_close(scheduler);
    myr_log(MYR_LOG_INFO, "jobs", "stopped", "signal", scheduler_end_signal == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    return MYR_OK;
}

myr_rc myr_cmd_scheduler(int argc, char **argv, myr_err *err)
{
    static myr_scheduler_opts opts; /* large; main's alone */
    myr_opt_defaults(myr_scheduler_opt_table, &opts);
    myr_cli_options options = {.table = myr_scheduler_opt_table, .slots = &opts};
    const myr_cli_arg args[] = {{"options", NULL, MYR_CLI_OPTIONS, &options, ""}};
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("scheduler", "start jobs at their times and on events", "myriad scheduler --jobs jobs", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    char root[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_workspace_find(cli.workspace, root, sizeof root, err));
    MYR_TRY(myr_cli_scheduler_opts(root, argc, argv, &opts, err));
    return scheduler_run(root, &opts, cli.json, err);
}
