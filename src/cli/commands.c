/* The table of commands. */
#include <string.h>

#include "cli/commands.h"

#if !MYR_WITH_DUCKDB
static myr_rc command_without_duckdb(int argc, char **argv, myr_err *err)
{
    (void)argc;
    (void)argv;
    MYR_FAIL(err, UNAVAILABLE, "this program was built without DuckDB: run scripts/setup and build it again");
}
#define myr_cmd_train         command_without_duckdb
#define myr_cmd_batch_run     command_without_duckdb
#define myr_cmd_sql           command_without_duckdb
#define myr_cmd_batch_resume  command_without_duckdb
#define myr_cmd_batch_retry   command_without_duckdb
#define myr_cmd_batch_worker  command_without_duckdb
#define myr_cmd_features_load command_without_duckdb
#endif

const myr_command myr_commands[] = {
    {"init", "make a workspace: myriad.yaml, registry, artifacts", myr_cmd_init},
    {"train", "clean, segment, try candidates in parallel, register the best, make a release", myr_cmd_train},
    {"model import", "bring in models of LightGBM, XGBoost or ONNX, one or a manifest of many", myr_cmd_model_import},
    {"model list", "models with version, algorithm, error, tags", myr_cmd_model_list},
    {"model show", "one model in full: signature, trials, metrics, versions", myr_cmd_model_show},
    {"release create", "make a release of the newest versions and promote it", myr_cmd_release_create},
    {"release list", "the releases of a fleet and their aliases", myr_cmd_release_list},
    {"release promote", "let champion, or another alias, point to a release", myr_cmd_release_promote},
    {"release rollback", "let champion point to the release it had before", myr_cmd_release_rollback},
    {"pack info", "the files of a pack, its models, keys and features", myr_cmd_pack_info},
    {"pack verify", "check every byte of a pack", myr_cmd_pack_verify},
    {"pack diff", "which models two packs have in common", myr_cmd_pack_diff},
    {"pack compact", "the champion's models in one file; --prune removes what nobody needs", myr_cmd_pack_compact},
    {"environment list", "what was made for models that are code: size, last use, for which models",
     myr_cmd_environment_list},
    {"environment show", "one of them in full: requirements, models", myr_cmd_environment_show},
    {"environment prune", "remove those that are not in use, by age or to a size", myr_cmd_environment_prune},
    {"batch run", "score a table with the right model for each row", myr_cmd_batch_run},
    {"batch resume", "go on with a run that was killed", myr_cmd_batch_resume},
    {"batch retry-failed", "do again what failed in a completed run, and no more", myr_cmd_batch_retry},
    {"batch list", "the runs there were, newest first", myr_cmd_batch_list},
    {"batch status", "how far a run is; --watch follows it", myr_cmd_batch_status},
    {"batch show", "one run in full: settings, mini-batches", myr_cmd_batch_show},
    {"batch logs", "every attempt at a mini-batch of a run, and what came of it", myr_cmd_batch_logs},
    {"batch cancel", "end a run; its output stays what it was", myr_cmd_batch_cancel},
    {"batch-worker", NULL, myr_cmd_batch_worker},
    {"scheduler", "start jobs at their times and on events: cron, files, other jobs", myr_cmd_scheduler},
    {"schedule list", "jobs, when they are due next, how the last one ended", myr_cmd_schedule_list},
    {"schedule next", "when a job is due next, by the clock of its zone", myr_cmd_schedule_next},
    {"schedule pause", "start nothing of a job until it is resumed", myr_cmd_schedule_pause},
    {"schedule resume", "go on with a job that was paused", myr_cmd_schedule_resume},
    {"schedule run", "let the scheduler start a job now", myr_cmd_schedule_run},
    {"schedule cancel", "end a run, or let a firing that waits not be started", myr_cmd_schedule_cancel},
    {"schedule backfill", "run a job for times of the past", myr_cmd_schedule_backfill},
    {"schedule history", "what was due, what became of it and why", myr_cmd_schedule_history},
    {"sql", "a query over tables in which fleets predict", myr_cmd_sql},
    {"features load", "fill a feature store: the latest row of features by key", myr_cmd_features_load},
    {"features get", "what a feature store holds for keys, and since when", myr_cmd_features_get},
    {"predict", "score one row, without a server", myr_cmd_predict},
    {"serve", "answer over REST: scoring, discovery, metrics", myr_cmd_serve},
    {"stream", "score the records of a Kafka topic into another one, at least once", myr_cmd_stream},
    {"token create", "a secret that opens a server: scopes, fleets, expiry, limits", myr_cmd_token_create},
    {"token list", "the tokens there are, never their texts", myr_cmd_token_list},
    {"token revoke", "let a token open nothing any more", myr_cmd_token_revoke},
    {"discover", "which services there are, and where", myr_cmd_discover},
    {"advise", "batch or real time, and on what: questions, two trees, the way and why", myr_cmd_advise},
    {"version", "this program, and the libraries it finds", myr_cmd_version},
};
const size_t myr_command_count = MYR_COUNT_OF(myr_commands);

static bool command_matches(const myr_command *command, int argc, char **argv, int *out_words)
{
    myr_str rest = myr_str_of(command->name), word;
    int words = 0;
    while (myr_str_split(&rest, ' ', &word)) {
        if (words == argc || !myr_str_is(word, argv[words])) return false;
        words++;
    }
    *out_words = words;
    return true;
}

const myr_command *myr_command_find(int argc, char **argv, int *out_words)
{
    for (size_t i = 0; i < myr_command_count; i++) {
        if (command_matches(&myr_commands[i], argc, argv, out_words)) return &myr_commands[i];
    }
    return NULL;
}

static bool command_is_of(const myr_command *command, const char *group)
{
    size_t size = strlen(group);
    return strncmp(command->name, group, size) == 0 && (command->name[size] == ' ' || command->name[size] == '\0');
}

bool myr_command_list(const char *group, myr_buf *out)
{
    bool is_known = false;
    for (size_t i = 0; i < myr_command_count && group != NULL; i++) {
        is_known = is_known || command_is_of(&myr_commands[i], group);
    }
    myr_buf_puts(out,
                 "myriad: machine-learning inference for fleets of models\n\nUsage: myriad COMMAND [arguments]\n\n");
    for (size_t i = 0; i < myr_command_count; i++) {
        if (myr_commands[i].summary == NULL || (is_known && !command_is_of(&myr_commands[i], group))) continue;
        myr_buf_printf(out, "  %-19s %s\n", myr_commands[i].name, myr_commands[i].summary);
    }
    myr_buf_puts(out, "\nEvery command has --help with an example, and --json. Begin with: myriad init demo\n");
    return is_known;
}
