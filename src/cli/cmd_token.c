/* `myriad token create|list|revoke`. The text of a token is printed once, by create; the registry has its hash. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "pack/pack.h"

#define TOKEN_PREFIX        "myr_" /* so that people and scanners for leaked secrets know what it is */
#define TOKEN_RANDOM_BYTES  32
#define TOKEN_TEXT_BYTES    (sizeof TOKEN_PREFIX + TOKEN_RANDOM_BYTES * 2)
#define TOKEN_EXPIRY_MS_MAX (100LL * 366 * 86400 * 1000)

static const struct {
    const char *name;
    unsigned bit;
} token_scopes[] = {
    {"infer", MYR_SCOPE_INFER}, {"read", MYR_SCOPE_READ}, {"admin", MYR_SCOPE_ADMIN}, {"run", MYR_SCOPE_RUN}};

static myr_rc token_parse_scopes(const char *text, unsigned *out, myr_err *err)
{
    static const char *const known[] = {"infer", "read", "admin", NULL};
    unsigned scopes = 0;
    myr_str rest = myr_str_of(text), word;
    while (myr_str_split(&rest, ',', &word)) {
        unsigned bit = 0;
        for (size_t i = 0; i < MYR_COUNT_OF(token_scopes); i++) {
            if (myr_str_is(word, token_scopes[i].name)) bit = token_scopes[i].bit;
        }
        if (bit == 0) {
            char name[32];
            (void)snprintf(name, sizeof name, "%.*s", (int)(word.size < 31 ? word.size : 31), word.data);
            const char *nearest = myr_nearest(name, known);
            MYR_FAIL(err, BAD_USAGE, "myriad token create: --scope '%s' is not infer, read or admin%s%s", name,
                     nearest != NULL ? ": did you mean " : "", nearest != NULL ? nearest : "");
        }
        scopes |= bit;
    }
    if (scopes == 0) MYR_FAIL(err, BAD_USAGE, "myriad token create: --scope is empty: infer, read, admin or several");
    *out = scopes;
    return MYR_OK;
}

/* One `oj` or `oj@brand=1`, in canonical form: the fleet exists, and the group's columns are its partition columns. */
static myr_rc token_add_target(myr_registry *registry, myr_arena *arena, const char *text, myr_buf *out, myr_err *err)
{
    const char *at = strchr(text, '@');
    char name[MYR_NAME_BYTES_MAX + 1];
    size_t size = at != NULL ? (size_t)(at - text) : strlen(text);
    if (size > MYR_NAME_BYTES_MAX) MYR_FAIL(err, BAD_USAGE, "--fleet '%.60s…' is too long for a fleet's name", text);
    memcpy(name, text, size);
    name[size] = '\0';
    myr_fleet_row fleet;
    MYR_TRY(myr_registry_fleet_get(registry, arena, name, &fleet, err));
    if (out->size > 0) myr_buf_putc(out, '\n');
    myr_buf_puts(out, name);
    if (at == NULL) return MYR_OK;
    myr_segment segment;
    MYR_TRY(myr_segment_parse(myr_str_of(at + 1), &segment, err));
    if (segment.part_count == 0) MYR_FAIL(err, BAD_USAGE, "--fleet '%s': which group? As in oj@brand=1", text);
    myr_buf_putc(out, '@');
    return myr_segment_format(&segment, fleet.partition_columns, fleet.partition_count, out, err);
}

static myr_rc token_make_text(char text[TOKEN_TEXT_BYTES], unsigned char hash[MYR_SHA256_BYTES], myr_err *err)
{
    unsigned char secret[TOKEN_RANDOM_BYTES];
    MYR_TRY(myr_random(secret, sizeof secret, err));
    memcpy(text, TOKEN_PREFIX, sizeof TOKEN_PREFIX - 1);
    myr_hex(secret, sizeof secret, text + sizeof TOKEN_PREFIX - 1);
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, text, strlen(text));
    myr_sha256_bytes(&sha, hash);
    return MYR_OK;
}

typedef struct token_wish {
    const char *name, *scopes, *expires;
    myr_cli_list fleets;
    int64_t rate, concurrency;
} token_wish;

static myr_rc token_fill(const token_wish *wish, myr_registry *registry, myr_arena *arena, myr_buf *targets,
                         myr_token_row *row, myr_err *err)
{
    *row = (myr_token_row){.name = wish->name, .rate_per_s = wish->rate, .concurrency = wish->concurrency};
    MYR_TRY(token_parse_scopes(wish->scopes != NULL ? wish->scopes : "infer,read", &row->scopes, err));
    row->created_ms = myr_clock_unix_ms();
    if (wish->expires != NULL) {
        int64_t after_ms = 0;
        if (!myr_parse_duration_ms(myr_str_of(wish->expires), &after_ms) || after_ms < 1 ||
            after_ms > TOKEN_EXPIRY_MS_MAX) {
            MYR_FAIL(err, BAD_USAGE, "myriad token create: --expires '%s' is not a time such as 90d or 12h",
                     wish->expires);
        }
        row->expires_ms = row->created_ms + after_ms;
    }
    for (uint32_t i = 0; i < wish->fleets.count; i++)
        MYR_TRY(token_add_target(registry, arena, wish->fleets.items[i], targets, err));
    MYR_TRY(myr_buf_check(targets, err));
    row->targets = targets->data != NULL ? targets->data : "";
    return MYR_OK;
}

static void token_put_scopes(myr_buf *out, unsigned scopes, const char *before, const char *after)
{
    const char *comma = "";
    for (size_t i = 0; i < MYR_COUNT_OF(token_scopes); i++) {
        if ((scopes & token_scopes[i].bit) == 0) continue;
        myr_buf_printf(out, "%s%s%s%s", comma, before, token_scopes[i].name, after);
        comma = ",";
    }
}

/* A time, or null. */
static void token_put_time(myr_buf *out, const char *key, int64_t unix_ms)
{
    char time[MYR_TIME_TEXT_BYTES];
    if (unix_ms == 0) {
        myr_buf_printf(out, ",\"%s\":null", key);
    } else {
        myr_buf_printf(out, ",\"%s\":\"%s\"", key, myr_format_time(unix_ms, time));
    }
}

static void token_put_json(myr_buf *out, const myr_token_row *row, const char *text)
{
    myr_buf_printf(out, "{\"name\":\"%s\",", row->name);
    if (text != NULL) myr_buf_printf(out, "\"token\":\"%s\",", text);
    myr_buf_puts(out, "\"scopes\":[");
    token_put_scopes(out, row->scopes, "\"", "\"");
    myr_buf_puts(out, "],\"fleets\":[");
    myr_str rest = myr_token_targets(row), target;
    for (const char *comma = ""; myr_str_split(&rest, '\n', &target); comma = ",") {
        myr_buf_puts(out, comma);
        myr_buf_json_string(out, target);
    }
    myr_buf_printf(out, "],\"rate\":%lld,\"concurrency\":%lld", (long long)row->rate_per_s,
                   (long long)row->concurrency);
    token_put_time(out, "created", row->created_ms);
    token_put_time(out, "expires", row->expires_ms);
    token_put_time(out, "revoked", row->revoked_ms);
    myr_buf_putc(out, '}');
}

static myr_rc token_create(const myr_cli *cli, const token_wish *wish, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) targets = {0};
    MYR_AUTO(myr_buf) out = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    char text[TOKEN_TEXT_BYTES];
    myr_token_row row;
    MYR_TRY(token_fill(wish, workspace->registry, arena, &targets, &row, err));
    MYR_TRY(token_make_text(text, row.hash, err));
    MYR_TRY(myr_registry_token_add(workspace->registry, &row, &row.id, err));
    if (cli->json) {
        token_put_json(&out, &row, text);
        MYR_TRY(myr_buf_check(&out, err));
        printf("%s\n", out.data);
        return MYR_OK;
    }
    printf("%s\n", text);
    fprintf(stderr, "This is the only time that the token is shown. Clients send it as: Authorization: Bearer …\n"
                    "From now on servers of this workspace ask for a token (serve.auth).\n");
    return MYR_OK;
}

myr_rc myr_cmd_token_create(int argc, char **argv, myr_err *err)
{
    token_wish wish = {0};
    const myr_cli_arg args[] = {
        {"NAME", NULL, MYR_CLI_POSITIONAL, &wish.name, "what you call it: who has it, what for"},
        {"--scope", "LIST", MYR_CLI_TEXT, &wish.scopes, "infer, read, admin, run, or several; default infer,read"},
        {"--fleet", "F[@GROUP]", MYR_CLI_LIST, &wish.fleets, "only this fleet or group (oj, oj@brand=1); repeatable"},
        {"--expires", "TIME", MYR_CLI_TEXT, &wish.expires, "for how long it is good: 12h, 90d; default for ever"},
        {"--rate", "N", MYR_CLI_INT, &wish.rate, "most requests per second"},
        {"--concurrency", "N", MYR_CLI_INT, &wish.concurrency, "most requests at once"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("token create", "make a secret that opens a server",
                          "myriad token create shop-71 --scope infer --fleet oj@brand=1 --expires 90d", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : token_create(&cli, &wish, err);
}

static const char *token_state(const myr_token_row *row)
{
    if (row->revoked_ms != 0) return "revoked";
    return row->expires_ms != 0 && row->expires_ms <= myr_clock_unix_ms() ? "expired" : "good";
}

static void token_print(const myr_token_row *row, myr_buf *out)
{
    char created[MYR_TIME_TEXT_BYTES], expires[MYR_TIME_TEXT_BYTES] = "never";
    (void)myr_format_time(row->created_ms, created);
    if (row->expires_ms != 0) (void)myr_format_time(row->expires_ms, expires);
    myr_buf scopes = {0};
    token_put_scopes(&scopes, row->scopes, "", "");
    myr_buf_printf(out, "%-8s %-17s %-24s  %-24s  %s", token_state(row), scopes.data != NULL ? scopes.data : "",
                   created, expires, row->name);
    myr_buf_fini(&scopes);
    myr_str rest = myr_token_targets(row), target;
    while (myr_str_split(&rest, '\n', &target))
        myr_buf_printf(out, " " MYR_STR_FMT, MYR_STR_ARG(target));
    myr_buf_putc(out, '\n');
}

static myr_rc token_list(const myr_cli *cli, bool all, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) out = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    myr_token_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_tokens(workspace->registry, arena, !all, &rows, &count, err));
    myr_buf_puts(&out,
                 cli->json
                     ? "["
                     : "state    scopes            created                   expires                   name, fleets\n");
    for (size_t i = 0; i < count; i++) {
        if (!cli->json) {
            token_print(&rows[i], &out);
            continue;
        }
        myr_buf_puts(&out, i > 0 ? ",\n" : "\n");
        token_put_json(&out, &rows[i], NULL);
    }
    if (cli->json) myr_buf_puts(&out, count > 0 ? "\n]\n" : "]\n");
    MYR_TRY(myr_buf_check(&out, err));
    fputs(out.data, stdout);
    return MYR_OK;
}

myr_rc myr_cmd_token_list(int argc, char **argv, myr_err *err)
{
    bool all = false;
    const myr_cli_arg args[] = {{"--all", NULL, MYR_CLI_FLAG, &all, "also those that were revoked"}};
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("token list", "the tokens there are, never their texts", "myriad token list --all", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : token_list(&cli, all, err);
}

myr_rc myr_cmd_token_revoke(int argc, char **argv, myr_err *err)
{
    const char *name = NULL;
    const myr_cli_arg args[] = {{"NAME", NULL, MYR_CLI_POSITIONAL, &name, "as it was created"}};
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("token revoke", "let a token open nothing any more", "myriad token revoke shop-71", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(&cli, &workspace, err));
    MYR_TRY(myr_registry_token_revoke(workspace->registry, name, err));
    if (cli.json) {
        printf("{\"revoked\":\"%s\"}\n", name); /* it was found, so it is a valid name */
    } else {
        printf("%s is revoked; servers refuse it within serve.reload (1 s)\n", name);
    }
    return MYR_OK;
}
