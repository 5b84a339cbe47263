/* The program: find the command that the words name, run it, turn its result into an exit code. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/guard.h"

static int main_usage(int argc, char **argv)
{
    MYR_AUTO(myr_buf) list = {0};
    myr_command_list(&list);
    bool asked =
        argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
    FILE *out = asked ? stdout : stderr;
    if (!asked) fprintf(stderr, "myriad: unknown command '%s'\n\n", argv[1]);
    fputs(list.data != NULL ? list.data : "", out);
    return asked ? 0 : myr_rc_exit(MYR_BAD_USAGE);
}

/* Results that could not be written are an error, not a success: `myriad … > /dev/full`. */
static int main_flush(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "myriad: standard output: %s\n", strerror(errno));
    return code != 0 ? code : myr_rc_exit(MYR_IO);
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write */
    myr_guard_install();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("myriad %s\n", MYR_VERSION);
        return main_flush(0);
    }
    int words = 0;
    const myr_command *command = argc > 1 ? myr_command_find(argc - 1, argv + 1, &words) : NULL;
    if (command == NULL) return main_flush(main_usage(argc, argv));
    myr_err err = {0};
    myr_rc rc = command->run(argc - 1 - words, argv + 1 + words, &err);
    if (rc != MYR_OK) fprintf(stderr, "myriad: %s\n", err.message[0] != '\0' ? err.message : myr_rc_text(rc));
    return main_flush(myr_rc_exit(rc));
}
