/* The program: find the command that the words name, run it, turn its result into an exit code. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/guard.h"
#include "runtime/runtime.h"

static bool word_asks_for_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* No command: asked for help about all or some of them (`myriad`, `myriad help`, `myriad model --help`), or a mistake.
 */
static int main_usage(int argc, char **argv)
{
    MYR_AUTO(myr_buf) list = {0};
    const char *group = argc > 1 && !word_asks_for_help(argv[1]) ? argv[1] : NULL;
    bool is_known = myr_command_list(group, &list);
    bool asked = group == NULL || (is_known && (argc == 2 || word_asks_for_help(argv[2])));
    if (!asked) {
        fprintf(stderr, "myriad: unknown command '%s%s%s'\n\n", argv[1], is_known ? " " : "", is_known ? argv[2] : "");
    }
    fputs(list.data != NULL ? list.data : "", asked ? stdout : stderr);
    return asked ? 0 : myr_rc_exit(MYR_BAD_USAGE);
}

/* `myriad help train` is `myriad train --help`. */
static int main_help_of(int argc, char **argv)
{
    static char flag[] = "--help";
    char *words[4] = {0};
    int count = 0;
    for (int i = 2; i < argc && count < 3; i++) {
        words[count++] = argv[i];
    }
    words[count] = flag;
    int taken = 0;
    const myr_command *command = myr_command_find(count, words, &taken);
    if (command == NULL) return main_usage(argc - 1, argv + 1);
    myr_err err = {0};
    return myr_rc_exit(command->run(1, &words[count], &err));
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
    if (argc > 1 && strcmp(argv[1], MYR_RUNTIME_WORKER) == 0) return myr_runtime_worker_main(argc - 2, argv + 2);
    myr_runtime_set_worker("/proc/self/exe"); /* this very file, even if another has taken its name */
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("myriad %s\n", MYR_VERSION);
        return main_flush(0);
    }
    if (argc > 2 && strcmp(argv[1], "help") == 0) return main_flush(main_help_of(argc, argv));
    int words = 0;
    const myr_command *command = argc > 1 ? myr_command_find(argc - 1, argv + 1, &words) : NULL;
    if (command == NULL) return main_flush(main_usage(argc, argv));
    myr_err err = {0};
    myr_rc rc = command->run(argc - 1 - words, argv + 1 + words, &err);
    if (rc != MYR_OK) fprintf(stderr, "myriad: %s\n", err.message[0] != '\0' ? err.message : myr_rc_text(rc));
    return main_flush(myr_rc_exit(rc));
}
