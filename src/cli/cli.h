/* The face of cli: the program's commands. One file per command; main.c only dispatches and is the only place that exits. */
#ifndef MYR_CLI_CLI_H
#define MYR_CLI_CLI_H

#include "base/base.h"

typedef struct myr_command {
    const char *name;    /* "model import" */
    const char *summary; /* one line for the list of commands */
    const char *help;    /* usage, options, an example */
    myr_rc (*run)(int argc, char **argv, myr_err *err); /* argv[0] = first argument after the command's name */
} myr_command;
extern const myr_command myr_commands[];
extern const size_t myr_command_count;

#endif
