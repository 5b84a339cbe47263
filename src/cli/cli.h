/*
 * The face of cli: the program's commands, one file each. main.c only dispatches and is the only place that exits.
 * A command parses its arguments by rows (args.h), opens the workspace, calls one directory's face, prints.
 */
#ifndef MYR_CLI_CLI_H
#define MYR_CLI_CLI_H

#include "base/base.h"

typedef struct myr_command {
    const char *name;                                   /* "model import" */
    const char *summary;                                /* one line for the list of commands */
    myr_rc (*run)(int argc, char **argv, myr_err *err); /* argv[0] is the first word after the command's name */
} myr_command;
extern const myr_command myr_commands[];
extern const size_t myr_command_count;

/* The command that the words name and how many words its name took, or NULL. */
const myr_command *myr_command_find(int argc, char **argv, int *out_words);
/* The commands with their summaries: those of a group ("model"), if it is one (then true), else all. group may be NULL.
 */
bool myr_command_list(const char *group, myr_buf *out);

#endif
