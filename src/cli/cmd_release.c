/* `myriad release create|list|promote|rollback`. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"

typedef enum explain_choice { EXPLAIN_AS_BEFORE, EXPLAIN_YES, EXPLAIN_NO } explain_choice;

static myr_rc release_create(const myr_cli *cli, const char *fleet, bool promote, explain_choice explain, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    myr_release_report r = {0};
    if (explain != EXPLAIN_AS_BEFORE) MYR_TRY(myr_fleet_set_explain(workspace, fleet, explain == EXPLAIN_YES, err));
    MYR_TRY(myr_release_create(workspace, fleet, promote, &r, err));
    if (cli->json) {
        printf("{\"fleet\":\"%s\",\"release\":%lld,\"models\":%lld,\"new_models\":%lld,\"pack_bytes\":%lld,\"reused\":%"
               "s,\"promoted\":%s,\"explain\":%s}\n",
               fleet, (long long)r.number, (long long)r.model_count, (long long)r.new_models, (long long)r.pack_bytes,
               r.reused ? "true" : "false", r.promoted ? "true" : "false", r.explain ? "true" : "false");
        return MYR_OK;
    }
    char size[32];
    printf("%s release %lld: %lld models%s, %lld written, pack %s%s%s\n", fleet, (long long)r.number,
           (long long)r.model_count, r.reused ? " (as it was: nothing changed)" : "", (long long)r.new_models,
           myr_format_bytes(r.pack_bytes, size, sizeof size), r.explain ? " with explanations" : "",
           r.promoted ? "; champion" : "");
    if (!promote) printf("next: myriad release promote %s %lld\n", fleet, (long long)r.number);
    return MYR_OK;
}

myr_rc myr_cmd_release_create(int argc, char **argv, myr_err *err)
{
    const char *fleet = NULL;
    bool stay = false;
    bool explain = false;
    bool no_explain = false;
    const myr_cli_arg args[] = {
        {"FLEET", NULL, MYR_CLI_POSITIONAL, &fleet, "the fleet"},
        {"--no-promote", NULL, MYR_CLI_FLAG, &stay, "leave champion where it is"},
        {"--explain", NULL, MYR_CLI_FLAG, &explain, "with what leaf numbers and contributions need, from now on"},
        {"--no-explain", NULL, MYR_CLI_FLAG, &no_explain, "without it again, from now on (smaller)"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("release create", "make a release of the newest versions and promote it",
                          "myriad release create oj", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (explain && no_explain) MYR_FAIL(err, BAD_USAGE, "myriad release create: --explain or --no-explain, not both");
    return release_create(&cli, fleet, !stay, explain ? EXPLAIN_YES : no_explain ? EXPLAIN_NO : EXPLAIN_AS_BEFORE, err);
}

static void release_print(const myr_release_row *row, bool json, bool is_first)
{
    char time[MYR_TIME_TEXT_BYTES];
    (void)myr_format_time(row->created_ms, time);
    if (!json) {
        printf("%7lld  %8lld  %s  %s\n", (long long)row->number, (long long)row->model_count, time, row->aliases);
        return;
    }
    printf("%s{\"release\":%lld,\"models\":%lld,\"created\":\"%s\",\"pack\":\"%s\",\"aliases\":\"%s\"}",
           is_first ? "[\n" : ",\n", (long long)row->number, (long long)row->model_count, time, row->pack,
           row->aliases);
}

static myr_rc release_list(const myr_cli *cli, const char *name, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    myr_fleet_row fleet;
    myr_release_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_fleet_get(workspace->registry, arena, name, &fleet, err));
    MYR_TRY(myr_registry_releases(workspace->registry, arena, fleet.id, &rows, &count, err));
    if (!cli->json) printf("release    models  created                   aliases\n");
    for (size_t i = 0; i < count; i++) {
        release_print(&rows[i], cli->json, i == 0);
    }
    if (cli->json) puts(count > 0 ? "\n]" : "[]");
    return MYR_OK;
}

myr_rc myr_cmd_release_list(int argc, char **argv, myr_err *err)
{
    const char *fleet = NULL;
    const myr_cli_arg args[] = {{"FLEET", NULL, MYR_CLI_POSITIONAL, &fleet, "the fleet"}};
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("release list", "the releases of a fleet and their aliases", "myriad release list oj", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : release_list(&cli, fleet, err);
}

static void release_print_alias(const myr_cli *cli, const char *fleet, const char *alias, int64_t number)
{
    if (cli->json && number == 0) {
        printf("{\"fleet\":\"%s\",\"%s\":null}\n", fleet, alias);
    } else if (cli->json) {
        printf("{\"fleet\":\"%s\",\"%s\":%lld}\n", fleet, alias, (long long)number);
    } else if (number == 0) {
        printf("%s: %s names no release any more\n", fleet, alias);
    } else {
        printf("%s: %s is release %lld\n", fleet, alias, (long long)number);
    }
}

static myr_rc release_promote(const myr_cli *cli, const char *fleet, const char *number_text, const char *alias,
                              myr_err *err)
{
    int64_t number = 0;
    if (!myr_parse_int64(myr_str_of(number_text), &number) || number < 1) {
        MYR_FAIL(err, BAD_USAGE, "myriad release promote: '%s' is not a release number: see myriad release list %s",
                 number_text, fleet);
    }
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    MYR_TRY(myr_release_set_alias(workspace, fleet, alias, number, err));
    release_print_alias(cli, fleet, alias, number);
    return MYR_OK;
}

myr_rc myr_cmd_release_promote(int argc, char **argv, myr_err *err)
{
    const char *fleet = NULL, *number = NULL, *alias = "champion";
    const myr_cli_arg args[] = {
        {"FLEET", NULL, MYR_CLI_POSITIONAL, &fleet, "the fleet"},
        {"N", NULL, MYR_CLI_POSITIONAL, &number, "the release's number"},
        {"--alias", "NAME", MYR_CLI_TEXT, &alias, "another alias than champion, as challenger: served beside it"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("release promote", "let champion, or another alias, point to a release",
                          "myriad release promote oj 3", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : release_promote(&cli, fleet, number, alias, err);
}

static myr_rc release_rollback(const myr_cli *cli, const char *fleet, const char *alias, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    int64_t number = 0;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    MYR_TRY(myr_release_rollback(workspace, fleet, alias, &number, err));
    release_print_alias(cli, fleet, alias, number);
    return MYR_OK;
}

myr_rc myr_cmd_release_rollback(int argc, char **argv, myr_err *err)
{
    const char *fleet = NULL, *alias = "champion";
    const myr_cli_arg args[] = {
        {"FLEET", NULL, MYR_CLI_POSITIONAL, &fleet, "the fleet"},
        {"--alias", "NAME", MYR_CLI_TEXT, &alias, "another alias than champion; it goes if it named none before"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("release rollback", "let champion point to the release it had before",
                          "myriad release rollback oj", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : release_rollback(&cli, fleet, alias, err);
}
