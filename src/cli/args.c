/* Arguments by rows: one loop over the words, one over the rows; help is printed from the same rows. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"

static const char ARGS_WORKSPACE[] = "--workspace";

typedef struct args_state {
    const char *command, *summary, *example;
    const myr_cli_arg *args;
    size_t arg_count;
    uint32_t positional_count;
    uint64_t given; /* bit per row: it stood already */
    myr_cli *cli;
} args_state;

static bool args_is_positional(const myr_cli_arg *arg)
{
    return arg->type == MYR_CLI_POSITIONAL || arg->type == MYR_CLI_POSITIONAL_OPT;
}

static void help_row(const char *name, const char *value, const char *text)
{
    char head[64];
    (void)snprintf(head, sizeof head, "%s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    printf("  %-26s %s\n", head, text);
}

static void args_help(const args_state *s)
{
    printf("myriad %s: %s\n\nUsage: myriad %s", s->command, s->summary, s->command);
    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].type == MYR_CLI_POSITIONAL) printf(" %s", s->args[i].name);
        if (s->args[i].type == MYR_CLI_POSITIONAL_OPT) printf(" [%s]", s->args[i].name);
    }
    printf(" [options]\n\n");
    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].type == MYR_CLI_OPTIONS) continue;
        help_row(s->args[i].name, s->args[i].value, s->args[i].help);
    }
    help_row(ARGS_WORKSPACE, "DIR", "the workspace (default: the nearest parent directory with myriad.yaml)");
    help_row("--json", NULL, "answer as JSON");
    help_row("--help", NULL, "this text");
    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].type != MYR_CLI_OPTIONS) continue;
        MYR_AUTO(myr_buf) text = {0};
        myr_opt_help(((const myr_cli_options *)s->args[i].slot)->table, &text);
        printf("\nOptions (also in myriad.yaml and the environment):\n%s", text.data != NULL ? text.data : "");
    }
    printf("\nExample:\n  %s\n", s->example);
}

static const myr_cli_arg *args_find(const args_state *s, myr_str name)
{
    for (size_t i = 0; i < s->arg_count; i++) {
        if (!args_is_positional(&s->args[i]) && myr_str_is(name, s->args[i].name)) return &s->args[i];
    }
    return NULL;
}

static myr_rc args_unknown(const args_state *s, myr_str name, myr_err *err)
{
    const char *known[64] = {ARGS_WORKSPACE, "--json", "--help"};
    size_t count = 3;
    for (size_t i = 0; i < s->arg_count && count < MYR_COUNT_OF(known) - 1; i++) {
        if (!args_is_positional(&s->args[i]) && s->args[i].type != MYR_CLI_OPTIONS) known[count++] = s->args[i].name;
    }
    char text[MYR_NAME_BYTES_MAX];
    (void)snprintf(text, sizeof text, MYR_STR_FMT, MYR_STR_ARG(name));
    const char *nearest = myr_nearest(text, known);
    if (nearest != NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad %s: unknown option %s: did you mean %s?", s->command, text, nearest);
    MYR_FAIL(err, BAD_USAGE, "myriad %s: unknown option %s: see myriad %s --help", s->command, text, s->command);
}

static myr_rc args_store(const args_state *s, const myr_cli_arg *arg, const char *value, myr_err *err)
{
    switch (arg->type) {
    case MYR_CLI_INT:
        if (myr_parse_int64(myr_str_of(value), arg->slot) && *(int64_t *)arg->slot >= 1) return MYR_OK;
        MYR_FAIL(err, BAD_USAGE, "myriad %s: %s '%s' is not a whole number of 1 or more", s->command, arg->name, value);
    case MYR_CLI_BYTES:
        if (myr_parse_bytes(myr_str_of(value), arg->slot)) return MYR_OK;
        MYR_FAIL(err, BAD_USAGE, "myriad %s: %s '%s' is not a size such as 512MiB", s->command, arg->name, value);
    case MYR_CLI_DURATION:
        if (myr_parse_duration_ms(myr_str_of(value), arg->slot)) return MYR_OK;
        MYR_FAIL(err, BAD_USAGE, "myriad %s: %s '%s' is not a time such as 12h", s->command, arg->name, value);
    case MYR_CLI_LIST: {
        myr_cli_list *list = arg->slot;
        if (list->count == MYR_CLI_LIST_MAX) {
            MYR_FAIL(err, TOO_LARGE, "myriad %s: %s stands more than %d times", s->command, arg->name,
                     MYR_CLI_LIST_MAX);
        }
        list->items[list->count++] = value;
        return MYR_OK;
    }
    default:
        *(const char **)arg->slot = value;
        return MYR_OK;
    }
}

/* A flag that stands twice would drop its first value in silence; only a LIST may. */
static myr_rc args_once(args_state *s, const myr_cli_arg *arg, myr_err *err)
{
    size_t idx = (size_t)(arg - s->args);
    MYR_ASSERT(idx < s->arg_count && s->arg_count <= 64);
    if (arg->type != MYR_CLI_LIST && (s->given >> idx & 1) != 0) {
        MYR_FAIL(err, BAD_USAGE, "myriad %s: %s is given twice: once is enough", s->command, arg->name);
    }
    s->given |= 1ULL << idx;
    return MYR_OK;
}

/* An option of a table, by its full name or the part after the dot. */
static myr_rc args_option(const args_state *s, myr_str name, const char *value, bool *out_found, myr_err *err)
{
    char text[MYR_NAME_BYTES_MAX];
    (void)snprintf(text, sizeof text, MYR_STR_FMT, MYR_STR_ARG(name));
    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].type != MYR_CLI_OPTIONS) continue;
        const myr_cli_options *options = s->args[i].slot;
        const myr_opt_row *row = myr_opt_find(options->table, text + 2);
        if (row == NULL) row = myr_opt_find_short(options->table, text + 2);
        if (row == NULL) continue;
        *out_found = true;
        if (value == NULL) MYR_FAIL(err, BAD_USAGE, "myriad %s: %s needs a value", s->command, text);
        return myr_opt_set(options->table, options->slots, row->name, value, text, err);
    }
    *out_found = false;
    return MYR_OK;
}

static myr_rc args_positional(args_state *s, const char *word, myr_err *err)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < s->arg_count; i++) {
        if (!args_is_positional(&s->args[i])) continue;
        if (seen++ != s->positional_count) continue;
        s->positional_count++;
        return args_store(s, &s->args[i], word, err);
    }
    MYR_FAIL(err, BAD_USAGE, "myriad %s: one argument too many: '%s'", s->command, word);
}

/* A word that begins with --: *out_used tells whether the next word was its value. */
static myr_rc args_flag(args_state *s, const char *word, const char *next, bool *out_used, myr_err *err)
{
    const char *equals = strchr(word, '=');
    myr_str name = myr_str_make(word, equals != NULL ? (size_t)(equals - word) : strlen(word));
    const char *value = equals != NULL ? equals + 1 : next;
    *out_used = false;
    if (equals == NULL && myr_str_is(name, "--json")) {
        s->cli->json = true;
        return MYR_OK;
    }
    const myr_cli_arg *arg = args_find(s, name);
    if (arg != NULL && arg->type == MYR_CLI_FLAG) {
        if (equals != NULL) MYR_FAIL(err, BAD_USAGE, "myriad %s: %s takes no value", s->command, arg->name);
        *(bool *)arg->slot = true;
        return MYR_OK;
    }
    *out_used = equals == NULL;
    bool is_option = false;
    if (arg == NULL && !myr_str_is(name, ARGS_WORKSPACE)) {
        MYR_TRY(args_option(s, name, value, &is_option, err));
        return is_option ? MYR_OK : args_unknown(s, name, err);
    }
    if (value == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad %s: " MYR_STR_FMT " needs a value", s->command, MYR_STR_ARG(name));
    if (arg == NULL) {
        s->cli->workspace = value;
        return MYR_OK;
    }
    MYR_TRY(args_once(s, arg, err));
    return args_store(s, arg, value, err);
}

static bool args_want_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) return false;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

static myr_rc args_check_all_given(const args_state *s, myr_err *err)
{
    uint32_t required = 0;
    for (size_t i = 0; i < s->arg_count; i++) {
        if (s->args[i].type != MYR_CLI_POSITIONAL || required++ < s->positional_count) continue;
        MYR_FAIL(err, BAD_USAGE, "myriad %s: %s is missing: for example %s", s->command, s->args[i].name, s->example);
    }
    return MYR_OK;
}

myr_rc myr_cli_parse(const char *command, const char *summary, const char *example, const myr_cli_arg *args,
                     size_t arg_count, int argc, char **argv, myr_cli *cli, myr_err *err)
{
    args_state s = {
        .command = command, .summary = summary, .example = example, .args = args, .arg_count = arg_count, .cli = cli};
    if (args_want_help(argc, argv)) {
        args_help(&s);
        cli->done = true;
        return MYR_OK;
    }
    bool flags_ended = false;
    for (int i = 0; i < argc; i++) {
        if (!flags_ended && strcmp(argv[i], "--") == 0) {
            flags_ended = true;
        } else if (!flags_ended && strncmp(argv[i], "--", 2) == 0) {
            bool used = false;
            MYR_TRY(args_flag(&s, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used, err));
            i += used ? 1 : 0;
        } else {
            MYR_TRY(args_positional(&s, argv[i], err));
        }
    }
    return args_check_all_given(&s, err);
}

myr_rc myr_cli_commas(myr_arena *arena, const char *text, myr_cli_list *out, myr_err *err)
{
    *out = (myr_cli_list){0};
    myr_str rest = myr_str_of(text), part;
    while (text != NULL && myr_str_split(&rest, ',', &part)) {
        part = myr_str_trim(part);
        if (part.size == 0) MYR_FAIL(err, BAD_USAGE, "'%s': a name is missing between the commas", text);
        if (out->count == MYR_CLI_LIST_MAX)
            MYR_FAIL(err, TOO_LARGE, "'%.80s…': more than %d names", text, MYR_CLI_LIST_MAX);
        const char *name = myr_arena_strndup(arena, part.data, part.size);
        if (name == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        out->items[out->count++] = name;
    }
    return MYR_OK;
}
