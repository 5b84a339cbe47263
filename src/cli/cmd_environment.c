/* `myriad environment list|show|prune`: what was made for models that are code, and is kept for the next time. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "compute/compute.h"
#include "runtime/runtime.h"

/* A version of a model of this workspace, and the environment that it needs. */
typedef struct environment_user {
    const char *fleet;
    const char *segment;
    int64_t version;
    myr_runtime_wants wants;
    char hash[MYR_ENVIRONMENT_HASH_CHARS + 1];
} environment_user;

typedef struct environment_look {
    myr_workspace *workspace;
    myr_arena *arena;
    char dir[MYR_PATH_BYTES_MAX];
    char python[MYR_PATH_BYTES_MAX];
    myr_err no_python; /* why there is none; rc OK: there is */
    int64_t bytes_max;
    bool require_hashes;
    environment_user *users;
    size_t user_count;
    myr_environment_row *rows;
    size_t row_count;
} environment_look;

/* ---- who needs which ---- */

static myr_rc look_add(environment_look *look, myr_fleet_code *code, const char *fleet, const myr_model_row *row,
                       environment_user *out, bool *out_needs, myr_err *err)
{
    MYR_AUTO(myr_mem) text = NULL;
    size_t size = 0;
    myr_runtime_wants wants = {0};
    myr_rc rc = myr_fleet_code_requirements(code, row->artifact, (char **)&text, &size, &wants, err);
    *out_needs = rc == MYR_OK && text != NULL;
    if (rc == MYR_BAD_FORMAT) return MYR_OK; /* its artifact is gone: `model show` and scoring tell */
    MYR_TRY(rc);
    if (!*out_needs) return MYR_OK;
    *out = (environment_user){.fleet = fleet, .segment = row->segment, .version = row->version, .wants = wants};
    myr_environment_hash(look->python, text, size, look->require_hashes || wants.require_hashes, out->hash);
    return MYR_OK;
}

static myr_rc look_fleet(environment_look *look, myr_fleet_code *code, const myr_fleet_row *fleet, myr_err *err)
{
    const myr_model_filter filter = {.code_only = true, .brief = true};
    myr_model_row *rows = NULL;
    size_t count = 0, had = look->user_count;
    MYR_TRY(myr_registry_models(look->workspace->registry, look->arena, fleet->id, &filter, &rows, &count, err));
    if (count == 0) return MYR_OK;
    environment_user *users = myr_arena_calloc(look->arena, had + count, sizeof *users);
    if (users == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    if (had > 0) memcpy(users, look->users, had * sizeof *users);
    look->users = users;
    for (size_t i = 0; i < count; i++) {
        bool needs = false;
        MYR_TRY(look_add(look, code, fleet->name, &rows[i], &users[look->user_count], &needs, err));
        look->user_count += needs;
    }
    return MYR_OK;
}

static myr_rc look_users(environment_look *look, myr_err *err)
{
    myr_fleet_row *fleets = NULL;
    size_t count = 0;
    myr_fleet_code *code = NULL;
    MYR_TRY(myr_registry_fleets(look->workspace->registry, look->arena, &fleets, &count, err));
    MYR_TRY(myr_fleet_code_open(look->workspace, &code, err));
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < count; i++)
        rc = look_fleet(look, code, &fleets[i], err);
    myr_fleet_code_close(code);
    return rc;
}

static myr_rc look_open(const myr_cli *cli, environment_look *look, myr_err *err)
{
    myr_runtime_opts opts;
    look->arena = myr_arena_new(0);
    if (look->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &look->workspace, err));
    MYR_TRY(myr_runtime_defaults(&opts, err));
    look->bytes_max = opts.python_environments_bytes;
    look->require_hashes = opts.python_require_hashes;
    MYR_TRY(myr_runtime_environments_dir(&opts, look->dir, err));
    /* Without the Python nobody knows which models need which; they can be looked at all the same. */
    if (myr_runtime_python_program(&opts, look->python, &look->no_python) == MYR_OK) MYR_TRY(look_users(look, err));
    return myr_environment_list(look->dir, look->arena, &look->rows, &look->row_count, err);
}

static void environment_look_drop(environment_look *look)
{
    myr_workspace_close(look->workspace);
    myr_arena_free(look->arena);
}

/* ---- one of them as JSON ---- */

static void row_time(const char *name, int64_t unix_ms, myr_buf *out)
{
    char time[MYR_TIME_TEXT_BYTES];
    if (unix_ms == 0) {
        myr_buf_printf(out, ",\"%s\":null", name);
    } else {
        myr_buf_json_field(out, name, myr_format_time(unix_ms, time));
    }
}

static void row_json(const environment_look *look, const myr_environment_row *row, myr_buf *out)
{
    bool is_first = true;
    myr_buf_printf(out, "{\"environment\":\"%s\"", row->hash);
    myr_buf_json_field(out, "state", myr_environment_state_name(row->state));
    myr_buf_printf(out, ",\"in_use\":%s,\"bytes\":%lld",
                   row->state == MYR_ENVIRONMENT_IN_USE || row->state == MYR_ENVIRONMENT_BEING_MADE ? "true" : "false",
                   (long long)row->bytes);
    row_time("made", row->made_ms, out);
    row_time("used", row->used_ms, out);
    myr_buf_puts(out, ",\"models\":[");
    for (size_t i = 0; i < look->user_count; i++) {
        const environment_user *user = &look->users[i];
        if (strcmp(user->hash, row->hash) != 0) continue;
        myr_buf_puts(out, is_first ? "{\"fleet\":" : ",{\"fleet\":");
        myr_buf_json_string(out, myr_str_of(user->fleet));
        myr_buf_json_field(out, "segment", user->segment);
        myr_buf_printf(out, ",\"version\":%lld,\"network\":%s,\"require_hashes\":%s}", (long long)user->version,
                       user->wants.network ? "true" : "false", user->wants.require_hashes ? "true" : "false");
        is_first = false;
    }
    myr_buf_putc(out, ']');
}

static myr_rc print_buf(const myr_buf *out, myr_err *err)
{
    MYR_TRY(myr_buf_check(out, err));
    fputs(out->data, stdout);
    return MYR_OK;
}

/* ---- list ---- */

/* `oj (3), f (1)`: fleets, and how many versions of models of theirs need it. Users stand by fleet. */
static void row_fleets(const environment_look *look, const char *hash, myr_buf *out)
{
    const char *fleet = NULL;
    size_t count = 0;
    for (size_t i = 0; i < look->user_count; i++) {
        if (strcmp(look->users[i].hash, hash) != 0) continue;
        if (fleet != look->users[i].fleet && fleet != NULL) myr_buf_printf(out, "%s (%zu), ", fleet, count);
        count = fleet == look->users[i].fleet ? count + 1 : 1;
        fleet = look->users[i].fleet;
    }
    myr_buf_puts(out, fleet != NULL ? fleet : "none of this workspace");
    if (fleet != NULL) myr_buf_printf(out, " (%zu)", count);
}

static myr_rc list_text(const environment_look *look, myr_err *err)
{
    char size[32], most[32], made[MYR_TIME_TEXT_BYTES], used[MYR_TIME_TEXT_BYTES];
    int64_t bytes = 0;
    if (look->row_count > 0)
        printf("%-24s  %-10s %10s  %-24s  %-24s  %s\n", "environment", "state", "size", "made", "last used", "models");
    for (size_t i = 0; i < look->row_count; i++) {
        const myr_environment_row *row = &look->rows[i];
        MYR_AUTO(myr_buf) fleets = {0};
        row_fleets(look, row->hash, &fleets);
        MYR_TRY(myr_buf_check(&fleets, err));
        printf("%-24s  %-10s %10s  %-24s  %-24s  %s\n", row->hash, myr_environment_state_name(row->state),
               myr_format_bytes(row->bytes, size, sizeof size),
               row->made_ms != 0 ? myr_format_time(row->made_ms, made) : "-",
               row->used_ms != 0 ? myr_format_time(row->used_ms, used) : "-", fleets.data);
        bytes += row->bytes;
    }
    printf("%zu environments, %s", look->row_count, myr_format_bytes(bytes, size, sizeof size));
    if (look->bytes_max > 0) printf(" (at most %s)", myr_format_bytes(look->bytes_max, most, sizeof most));
    printf(", in %s\n", look->dir);
    return MYR_OK;
}

static myr_rc list_json(const environment_look *look, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    int64_t bytes = 0;
    for (size_t i = 0; i < look->row_count; i++)
        bytes += look->rows[i].bytes;
    myr_buf_puts(&out, "{\"directory\":");
    myr_buf_json_string(&out, myr_str_of(look->dir));
    myr_buf_printf(&out, ",\"bytes\":%lld,\"bytes_max\":", (long long)bytes);
    myr_buf_printf(&out, look->bytes_max > 0 ? "%lld" : "null", (long long)look->bytes_max);
    myr_buf_puts(&out, ",\"environments\":[");
    for (size_t i = 0; i < look->row_count; i++) {
        myr_buf_puts(&out, i > 0 ? ",\n" : "\n");
        row_json(look, &look->rows[i], &out);
        myr_buf_putc(&out, '}');
    }
    myr_buf_puts(&out, "]}\n");
    return print_buf(&out, err);
}

static myr_rc list_run(const myr_cli *cli, myr_err *err)
{
    MYR_AUTO(environment_look) look = {0};
    MYR_TRY(look_open(cli, &look, err));
    return cli->json ? list_json(&look, err) : list_text(&look, err);
}

myr_rc myr_cmd_environment_list(int argc, char **argv, myr_err *err)
{
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("environment list",
                          "what was made for models that are code: size, last use, for which models",
                          "myriad environment list --json", NULL, 0, argc, argv, &cli, err));
    return cli.done ? MYR_OK : list_run(&cli, err);
}

/* ---- show ---- */

static myr_rc show_find(const environment_look *look, const char *name, const myr_environment_row **out, myr_err *err)
{
    const myr_environment_row *found = NULL;
    for (size_t i = 0; i < look->row_count; i++) {
        if (strncmp(look->rows[i].hash, name, strlen(name)) != 0) continue;
        if (found != NULL)
            MYR_FAIL(err, BAD_USAGE, "more than one environment begins with '%.30s': write more of it", name);
        found = &look->rows[i];
    }
    if (found == NULL)
        MYR_FAIL(err, NOT_FOUND, "no environment '%.30s' in %s: myriad environment list", name, look->dir);
    *out = found;
    return MYR_OK;
}

static myr_rc show_json(const environment_look *look, const myr_environment_row *row, const char *path,
                        const char *python, myr_str requirements, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    bool is_offline;
    const char *how = myr_runtime_offline(&is_offline);
    row_json(look, row, &out);
    myr_buf_json_field(&out, "path", path);
    myr_buf_json_field(&out, "python", python);
    myr_buf_printf(&out, ",\"offline\":%s", is_offline ? "true" : "false");
    myr_buf_json_field(&out, "offline_by", how);
    myr_buf_puts(&out, ",\"requirements\":");
    if (requirements.data != NULL) {
        myr_buf_json_string(&out, requirements);
    } else {
        myr_buf_puts(&out, "null");
    }
    myr_buf_puts(&out, "}\n");
    return print_buf(&out, err);
}

static void show_text(const environment_look *look, const myr_environment_row *row, const char *path,
                      const char *python, myr_str requirements)
{
    char size[32], time[MYR_TIME_TEXT_BYTES];
    bool is_offline;
    const char *how = myr_runtime_offline(&is_offline);
    printf("%-12s %s\n%-12s %s\n", "environment", row->hash, "state", myr_environment_state_name(row->state));
    printf("%-12s %s\n", "size", myr_format_bytes(row->bytes, size, sizeof size));
    printf("%-12s %s\n", "made", row->made_ms != 0 ? myr_format_time(row->made_ms, time) : "-");
    printf("%-12s %s\n", "last used", row->used_ms != 0 ? myr_format_time(row->used_ms, time) : "-");
    printf("%-12s %s\n%-12s %s\n", "path", path, "python", python);
    printf("%-12s %s (%s)\n", "network", is_offline ? "none, unless a model or job asks for it" : "it has one", how);
    for (size_t i = 0; i < look->user_count; i++) {
        const environment_user *user = &look->users[i];
        if (strcmp(user->hash, row->hash) == 0)
            printf("%-12s %s@%s version %lld%s%s\n", "model", user->fleet, user->segment, (long long)user->version,
                   user->wants.network ? ", asks for the network" : "",
                   user->wants.require_hashes ? ", asks for hashes" : "");
    }
    if (requirements.data != NULL) printf("\n" MYR_STR_FMT, MYR_STR_ARG(requirements));
}

static myr_rc show_run(const myr_cli *cli, const char *name, myr_err *err)
{
    MYR_AUTO(environment_look) look = {0};
    MYR_AUTO(myr_mem) text = NULL;
    const myr_environment_row *row = NULL;
    char path[MYR_PATH_BYTES_MAX], python[MYR_PATH_BYTES_MAX], real[PATH_MAX];
    size_t size = 0;
    MYR_TRY(look_open(cli, &look, err));
    MYR_TRY(show_find(&look, name, &row, err));
    MYR_TRY(myr_path_join(path, sizeof path, look.dir, row->hash, err));
    MYR_TRY(myr_path_join(python, sizeof python, path, "bin/python", err));
    if (realpath(python, real) == NULL) real[0] = '\0'; /* it is not whole */
    myr_rc rc = myr_environment_requirements(look.dir, row->hash, (char **)&text, &size, err);
    if (rc != MYR_OK && rc != MYR_NOT_FOUND) return rc;
    if (cli->json) return show_json(&look, row, path, real, myr_str_make(text, size), err);
    show_text(&look, row, path, real, myr_str_make(text, size));
    return MYR_OK;
}

myr_rc myr_cmd_environment_show(int argc, char **argv, myr_err *err)
{
    const char *name = NULL;
    const myr_cli_arg args[] = {
        {"ENVIRONMENT", NULL, MYR_CLI_POSITIONAL, &name, "as listed, or how it begins"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("environment show", "one of them in full: requirements, models",
                          "myriad environment show 3f2a --json", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : show_run(&cli, name, err);
}

/* ---- prune ---- */

typedef struct prune_args {
    bool all;
    int64_t older_than_ms, to_size; /* -1: not asked for */
} prune_args;

/* What models of this workspace need stays, unless it is asked for. */
static myr_rc prune_plan(const environment_look *look, const prune_args *a, myr_environment_prune *out, myr_err *err)
{
    bool is_plain = !a->all && a->older_than_ms < 0 && a->to_size < 0;
    if (a->all && (a->older_than_ms >= 0 || a->to_size >= 0))
        MYR_FAIL(err, BAD_USAGE, "--all removes all that are not in use: leave out --older-than and --to-size");
    *out = (myr_environment_prune){.by_age = is_plain || a->all || a->older_than_ms >= 0,
                                   .keep_ms = a->older_than_ms > 0 ? a->older_than_ms : 0,
                                   .by_size = a->to_size >= 0,
                                   .bytes_max = a->to_size};
    if (!is_plain) return MYR_OK;
    if (look->no_python.rc != MYR_OK)
        MYR_FAIL(err, NOT_FOUND, "which of them models need is not known: %s; --all removes them all the same",
                 look->no_python.message);
    const char **kept = myr_arena_calloc(look->arena, look->user_count + 1, sizeof *kept);
    if (kept == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (size_t i = 0; i < look->user_count; i++)
        kept[i] = look->users[i].hash;
    out->kept = kept;
    return MYR_OK;
}

static myr_rc prune_json(const myr_environment_pruned *p, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_puts(&out, "{\"removed\":[");
    for (size_t i = 0; i < p->removed_count; i++)
        myr_buf_printf(&out, "%s{\"environment\":\"%s\",\"bytes\":%lld}", i > 0 ? "," : "", p->removed[i].hash,
                       (long long)p->removed[i].bytes);
    myr_buf_printf(&out, "],\"removed_bytes\":%lld,\"left\":%zu,\"left_in_use\":%zu,\"left_bytes\":%lld}\n",
                   (long long)p->removed_bytes, p->left_count, p->left_in_use, (long long)p->left_bytes);
    return print_buf(&out, err);
}

static void prune_text(const myr_environment_pruned *p)
{
    char size[32];
    for (size_t i = 0; i < p->removed_count; i++)
        printf("removed %s, %s\n", p->removed[i].hash, myr_format_bytes(p->removed[i].bytes, size, sizeof size));
    printf("%zu environments removed, %s freed; ", p->removed_count,
           myr_format_bytes(p->removed_bytes, size, sizeof size));
    printf("%zu left, %s, %zu of them in use\n", p->left_count, myr_format_bytes(p->left_bytes, size, sizeof size),
           p->left_in_use);
}

static myr_rc prune_run(const myr_cli *cli, const prune_args *a, myr_err *err)
{
    MYR_AUTO(environment_look) look = {0};
    myr_environment_prune plan;
    myr_environment_pruned pruned = {0};
    MYR_TRY(look_open(cli, &look, err));
    MYR_TRY(prune_plan(&look, a, &plan, err));
    myr_rc rc = myr_environment_remove(look.dir, &plan, look.arena, &pruned, err);
    /* What was removed is told beside what could not be. */
    if (rc == MYR_OK || pruned.removed_count > 0) {
        if (cli->json) {
            MYR_TRY(prune_json(&pruned, rc == MYR_OK ? err : NULL));
        } else {
            prune_text(&pruned);
        }
    }
    return rc;
}

myr_rc myr_cmd_environment_prune(int argc, char **argv, myr_err *err)
{
    prune_args a = {.older_than_ms = -1, .to_size = -1};
    const myr_cli_arg args[] = {
        {"--all", NULL, MYR_CLI_FLAG, &a.all, "also those that models of this workspace need"},
        {"--older-than", "TIME", MYR_CLI_DURATION, &a.older_than_ms, "those not used for so long, needed or not"},
        {"--to-size", "SIZE", MYR_CLI_BYTES, &a.to_size, "those used least lately, until the rest has at most so much"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("environment prune", "remove those that are not in use, by age or to a size",
                          "myriad environment prune --older-than 7d --to-size 5GiB", args, MYR_COUNT_OF(args), argc,
                          argv, &cli, err));
    return cli.done ? MYR_OK : prune_run(&cli, &a, err);
}
