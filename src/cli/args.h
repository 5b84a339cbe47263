/* Arguments of a command as rows: parsing, checks and --help come from them. */
#ifndef MYR_CLI_ARGS_H
#define MYR_CLI_ARGS_H

#include "base/base.h"
#include "fleet/fleet.h"

#define MYR_CLI_LIST_MAX 256 /* how often a repeatable flag may stand */

typedef enum myr_cli_type {
    MYR_CLI_POSITIONAL,     /* slot: const char *; required */
    MYR_CLI_POSITIONAL_OPT, /* slot: const char * */
    MYR_CLI_TEXT,           /* slot: const char * */
    MYR_CLI_INT,            /* slot: int64_t */
    MYR_CLI_BYTES,          /* slot: int64_t */
    MYR_CLI_DURATION,       /* slot: int64_t, milliseconds */
    MYR_CLI_FLAG,           /* slot: bool */
    MYR_CLI_LIST,           /* slot: myr_cli_list; repeatable */
    MYR_CLI_OPTIONS /* slot: myr_cli_options: --name value pairs of an option table (--listen, --serve.listen) */
} myr_cli_type;

typedef struct myr_cli_list {
    const char *items[MYR_CLI_LIST_MAX + 1]; /* NULL-terminated */
    uint32_t count;
} myr_cli_list;

typedef struct myr_cli_options {
    myr_opt_table table;
    void *slots;
} myr_cli_options;

typedef struct myr_cli_arg {
    const char *name;  /* "--row", or "FLEET" for a positional */
    const char *value; /* "JSON": what the help shows after the flag; NULL for a FLAG */
    myr_cli_type type;
    void *slot;
    const char *help;
} myr_cli_arg;

/* What every command has. */
typedef struct myr_cli {
    const char *workspace; /* --workspace */
    bool json;             /* --json */
    bool done;             /* --help was asked for and printed: return MYR_OK */
} myr_cli;

/*
 * Parse. Accepts `--name value` and `--name=value`; `--` ends the flags. BAD_USAGE names the argument and the nearest
 * known one. example: one command line for --help.
 */
myr_rc myr_cli_parse(const char *command, const char *summary, const char *example, const myr_cli_arg *args,
                     size_t arg_count, int argc, char **argv, myr_cli *cli, myr_err *err);
/* Cut "a,b,c" into `out` (NULL-terminated, pieces in the arena). NULL text gives an empty list. */
myr_rc myr_cli_commas(myr_arena *arena, const char *text, myr_cli_list *out, myr_err *err);
/* The workspace of --workspace, or the nearest parent with myriad.yaml. */
myr_rc myr_cli_workspace(const myr_cli *cli, myr_workspace **out, myr_err *err);
/* Apply myriad.yaml of a workspace to an option table: `serve: {listen: …}`; unknown keys of this table's sections are
 * errors. */
myr_rc myr_cli_config(const char *workspace_root, myr_opt_table table, void *slots, myr_err *err);
/* Set the options `runtime.*` of this process from a workspace's myriad.yaml and the environment. */
myr_rc myr_cli_runtime(const char *workspace_root, myr_err *err);

#endif
