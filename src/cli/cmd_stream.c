/* `myriad stream`: the records of a topic scored into another one, in the foreground, until SIGTERM or SIGINT; SIGHUP
 * reads the service file again. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/notify.h"
#include "cli/stream_admin.h"
#include "cli/stream_score.h"

typedef struct stream_args {
    const char *fleet, *service, *from, *to, *brokers, *group, *dead_letter, *linger, *drain, *properties_file,
        *admin_listen;
    int64_t release, batch_rows, in_flight;
    bool ignore_unknown, insecure;
    myr_cli_list properties;
} stream_args;

typedef struct stream_command {
    const myr_cli *cli;
    const stream_args *args;
    stream_scorer scorer;
    stream_admin admin;
    char group[MYR_NAME_BYTES_MAX + 16];
    myr_stream_property properties[MYR_CLI_LIST_MAX];
    size_t property_count;
    myr_arena *arena; /* theirs */
} stream_command;

static volatile sig_atomic_t stream_end_signal, stream_reload_wished;

static void stream_on_signal(int number)
{
    if (number == SIGHUP) {
        stream_reload_wished = 1;
    } else {
        stream_end_signal = number;
    }
}

static void stream_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = stream_on_signal;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

/* ---- arguments ---- */

/* "kafka:orders" */
static myr_rc stream_topic(const char *flag, const char *text, bool must_say, const char **out, myr_err *err)
{
    if (text == NULL) MYR_FAIL(err, BAD_USAGE, "myriad stream: %s is missing: kafka:TOPIC", flag);
    bool says = strncmp(text, "kafka:", 6) == 0;
    if (!says && (must_say || strchr(text, ':') != NULL)) {
        MYR_FAIL(err, BAD_USAGE, "myriad stream: %s '%.100s' is not known: kafka:TOPIC", flag, text);
    }
    *out = says ? text + 6 : text;
    return MYR_OK;
}

static myr_rc stream_duration(const char *flag, const char *text, int64_t *out_ms, myr_err *err)
{
    if (myr_parse_duration_ms(myr_str_of(text), out_ms) && *out_ms >= 0 && *out_ms <= 3600000) return MYR_OK;
    MYR_FAIL(err, BAD_USAGE, "myriad stream: %s '%.40s' is no time up to an hour: 20ms, 5s", flag, text);
}

/* A file keeps secrets out of the list of processes. */
static myr_rc stream_properties(stream_command *command, myr_err *err)
{
    const stream_args *args = command->args;
    size_t count = 0;
    command->arena = myr_arena_new(0);
    if (command->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the Kafka properties");
    if (args->properties_file != NULL)
        MYR_TRY(myr_stream_properties_load(args->properties_file, command->arena, MYR_CLI_LIST_MAX, command->properties,
                                           &count, err));
    for (uint32_t i = 0; i < args->properties.count; i++) {
        const char *item = args->properties.items[i];
        char *text = myr_arena_strndup(command->arena, item, strlen(item));
        if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the Kafka properties");
        if (count == MYR_CLI_LIST_MAX) MYR_FAIL(err, BAD_USAGE, "more than %d Kafka properties", MYR_CLI_LIST_MAX);
        MYR_TRY(myr_stream_property_parse("a --kafka-property", text, &command->properties[count++], err));
    }
    command->property_count = count;
    return MYR_OK;
}

static myr_rc stream_options(stream_command *command, myr_stream_setup *opts, myr_err *err)
{
    const stream_args *args = command->args;
    if (args->fleet == NULL) MYR_FAIL(err, BAD_USAGE, "myriad stream: --fleet is missing: name the fleet that answers");
    if (args->service != NULL && args->release != 0)
        MYR_FAIL(err, BAD_USAGE, "myriad stream: --service serves the champion: leave out --release");
    MYR_TRY(stream_topic("--from", args->from, true, &opts->from, err));
    MYR_TRY(stream_topic("--to", args->to, true, &opts->to, err));
    if (args->dead_letter != NULL)
        MYR_TRY(stream_topic("--dead-letter", args->dead_letter, false, &opts->dead_letter, err));
    MYR_TRY(stream_duration("--linger", args->linger, &opts->linger_ms, err));
    MYR_TRY(stream_duration("--drain", args->drain, &opts->drain_ms, err));
    (void)snprintf(command->group, sizeof command->group, "myriad-%.*s", MYR_NAME_BYTES_MAX, args->fleet);
    opts->group = args->group != NULL ? args->group : command->group;
    opts->batch_rows = args->batch_rows;
    opts->in_flight = args->in_flight;
    MYR_TRY(stream_properties(command, err));
    opts->link = (myr_stream_link){args->brokers, command->properties, command->property_count};
    return MYR_OK;
}

/* ---- while it runs ---- */

static bool stream_is_over(void *ctx)
{
    (void)ctx;
    return stream_end_signal != 0;
}

static myr_rc stream_answer(void *ctx, const myr_stream_record *records, size_t count, myr_stream_answer *answers,
                            myr_err *err)
{
    stream_command *command = ctx;
    if (stream_reload_wished != 0) {
        stream_reload_wished = 0;
        command->scorer.reads_service = command->scorer.service != NULL;
    }
    return myr_stream_scorer_answer(&command->scorer, records, count, answers, err);
}

static void stream_event(void *ctx, myr_stream_event event, const char *detail)
{
    static const struct {
        myr_log_level level;
        const char *text, *field;
    } words[] = {
        [MYR_STREAM_AWAY] = {MYR_LOG_WARN, "no broker is reached: it is tried again", "why"},
        [MYR_STREAM_BACK] = {MYR_LOG_INFO, "a broker is reached again", "brokers"},
        [MYR_STREAM_WAITING] = {MYR_LOG_WARN, "waiting for a broker", "why"},
        [MYR_STREAM_READY] = {MYR_LOG_INFO, "streaming", "from"},
        [MYR_STREAM_ASSIGNED] = {MYR_LOG_INFO, "partitions came", "partitions"},
        [MYR_STREAM_REVOKED] = {MYR_LOG_INFO, "partitions went", "partitions"},
        [MYR_STREAM_LOST] = {MYR_LOG_WARN, "partitions were taken: some records may be answered twice", "partitions"},
        [MYR_STREAM_UNCOMMITTED] = {MYR_LOG_WARN, "offsets not committed: it is tried again", "why"},
    };
    stream_command *command = ctx;
    MYR_ASSERT((size_t)event < MYR_COUNT_OF(words));
    myr_log(words[event].level, "cli", words[event].text, words[event].field, detail, NULL);
    if (event == MYR_STREAM_READY) myr_notify("READY=1");
    if (event == MYR_STREAM_READY || event == MYR_STREAM_BACK) atomic_store(&command->admin.is_ready, true);
    if (event == MYR_STREAM_AWAY) atomic_store(&command->admin.is_ready, false);
}

static void stream_put_admin(const stream_command *command, myr_buf *out)
{
    const char *listen = command->args->admin_listen, *colon = strrchr(listen, ':');
    int host_bytes = colon != NULL ? (int)(colon - listen) : (int)strlen(listen);
    myr_buf_printf(out, "http://%.*s:%d", host_bytes, listen, myr_http_port(command->admin.server));
}

static void stream_announce(const stream_command *command, const myr_stream_setup *opts)
{
    MYR_AUTO(myr_buf) admin = {0};
    long long release = (long long)command->scorer.fleet->release;
    const char *fleet = command->scorer.fleet->name;
    if (command->admin.server != NULL) stream_put_admin(command, &admin);
    if (command->cli->json) {
        printf("{\"from\":\"%s\",\"to\":\"%s\",\"group\":\"%s\",\"fleet\":\"%s\",\"release\":%lld", opts->from,
               opts->to, opts->group, fleet, release);
        printf(admin.size > 0 ? ",\"admin\":\"%s\"}\n" : "}\n%s", admin.size > 0 ? admin.data : "");
    } else {
        printf("scoring kafka:%s into kafka:%s as group %s, with %s release %lld", opts->from, opts->to, opts->group,
               fleet, release);
        printf(admin.size > 0 ? ", admin on %s\n" : "\n%s", admin.size > 0 ? admin.data : "");
    }
    (void)fflush(stdout); /* whoever started us waits for this line */
}

static myr_rc stream_go(stream_command *command, myr_stream_setup *opts, myr_err *err)
{
    const stream_args *args = command->args;
    myr_stream_report report;
    MYR_TRY(myr_stream_scorer_init(&command->scorer, err));
    if (args->admin_listen != NULL)
        MYR_TRY(myr_stream_admin_start(&command->admin, args->admin_listen, args->insecure, err));
    stream_announce(command, opts);
    myr_rc rc = myr_stream_run(opts, &report, err);
    myr_notify("STOPPING=1");
    printf(command->cli->json ? "{\"answered\":%lld,\"dead\":%lld,\"batches\":%lld}\n"
                              : "answered %lld, dead %lld, in %lld batches\n",
           (long long)report.answered, (long long)report.dead, (long long)report.batches);
    return rc;
}

static myr_rc stream_run_command(stream_command *command, myr_err *err)
{
    myr_stream_setup opts = {
        .answer = stream_answer, .is_over = stream_is_over, .on_event = stream_event, .ctx = command};
    MYR_TRY(stream_options(command, &opts, err));
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(command->cli, &workspace, err));
    myr_metrics *metrics = opts.metrics = command->admin.metrics = myr_metrics_new();
    if (metrics == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a stream");
    command->scorer = (stream_scorer){.workspace = workspace,
                                      .name = command->args->fleet,
                                      .service = command->args->service,
                                      .release = command->args->release,
                                      .ignore_unknown = command->args->ignore_unknown};
    command->scorer.release_gauge = myr_metrics_series(metrics, MYR_METRIC_GAUGE, "myriad_stream_release",
                                                       "The release of the fleet that answers.", NULL);
    stream_catch_signals();
    myr_rc rc = stream_go(command, &opts, err);
    myr_stream_admin_stop(&command->admin);
    myr_stream_scorer_fini(&command->scorer);
    myr_metrics_free(metrics);
    return rc;
}

myr_rc myr_cmd_stream(int argc, char **argv, myr_err *err)
{
    stream_args a = {
        .brokers = "127.0.0.1:9092", .linger = "5ms", .drain = "30s", .batch_rows = 1000, .in_flight = 20000};
    const myr_cli_arg args[] = {
        {"--from", "kafka:TOPIC", MYR_CLI_TEXT, &a.from, "rows: each record a JSON object by column name"},
        {"--to", "kafka:TOPIC", MYR_CLI_TEXT, &a.to, "answers, each with its record's key and headers"},
        {"--fleet", "F", MYR_CLI_TEXT, &a.fleet, "the fleet whose models score"},
        {"--release", "N", MYR_CLI_INT, &a.release, "a release by number (default: champion, followed)"},
        {"--service", "FILE", MYR_CLI_TEXT, &a.service, "the stages of this service file, on each row"},
        {"--brokers", "LIST", MYR_CLI_TEXT, &a.brokers, "HOST:PORT, commas between them (default 127.0.0.1:9092)"},
        {"--group", "NAME", MYR_CLI_TEXT, &a.group, "the consumer group (default myriad-FLEET)"},
        {"--dead-letter", "TOPIC", MYR_CLI_TEXT, &a.dead_letter, "records that are no rows, or have no answer"},
        {"--ignore-unknown", NULL, MYR_CLI_FLAG, &a.ignore_unknown,
         "columns that the fleet does not know are no mistake"},
        {"--batch-rows", "N", MYR_CLI_INT, &a.batch_rows, "records scored at once, at most (default 1000)"},
        {"--linger", "TIME", MYR_CLI_TEXT, &a.linger, "how long a record waits for others (default 5ms)"},
        {"--in-flight", "N", MYR_CLI_INT, &a.in_flight, "records read and not yet acknowledged (default 20000)"},
        {"--drain", "TIME", MYR_CLI_TEXT, &a.drain, "at the end: how long to wait for the brokers (default 30s)"},
        {"--kafka-property", "K=V", MYR_CLI_LIST, &a.properties, "a property of librdkafka, as for SASL and TLS"},
        {"--kafka-properties", "FILE", MYR_CLI_TEXT, &a.properties_file, "such properties, one a line: for secrets"},
        {"--admin-listen", "ADDR", MYR_CLI_TEXT, &a.admin_listen, "HOST:PORT for /metrics, /ready and /live"},
        {"--insecure", NULL, MYR_CLI_FLAG, &a.insecure, "other machines may reach --admin-listen"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("stream", "score the records of a Kafka topic into another one, at least once",
                          "myriad stream --from kafka:sales --to kafka:forecasts --fleet oj --dead-letter sales-dead",
                          args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    static stream_command command; /* too large for a stack; main's alone */
    command = (stream_command){.cli = &cli, .args = &a};
    myr_rc rc = stream_run_command(&command, err);
    myr_arena_free(command.arena);
    return rc;
}
