/* `myriad pack info|verify|diff`: look into packs, of a fleet or by their files. `pack compact`: tidy a fleet's. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"

#define PACK_NAMES_SHOWN  20 /* of a diff, per kind, unless --all */
#define PACK_MODELS_ASKED 16 /* whether they hold explanations */

/* ---- which pack ---- */

/* A path that ends in .index, or a fleet with a release (0 = champion). */
static myr_rc pack_path(const myr_cli *cli, const char *which, int64_t release, char *out, size_t out_bytes,
                        myr_err *err)
{
    if (myr_str_ends_with(myr_str_of(which), ".index")) {
        if (release != 0) MYR_FAIL(err, BAD_USAGE, "%s is a file: --release goes with a fleet", which);
        if (strlen(which) >= out_bytes) MYR_FAIL(err, BAD_USAGE, "a path of %zu bytes is too long", strlen(which));
        memcpy(out, which, strlen(which) + 1);
        return MYR_OK;
    }
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row fleet;
    myr_release_row row;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    MYR_TRY(myr_registry_fleet_get(workspace->registry, arena, which, &fleet, err));
    if (release == 0) MYR_TRY(myr_registry_alias_get(workspace->registry, fleet.id, "champion", &release, err));
    MYR_TRY(myr_registry_release_get(workspace->registry, arena, fleet.id, release, &row, err));
    return myr_path_join(out, out_bytes, workspace->root, row.pack, err);
}

static myr_rc pack_open(const myr_cli *cli, const char *which, int64_t release, myr_pack **out, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(pack_path(cli, which, release, path, sizeof path, err));
    return myr_pack_open(path, out, err);
}

/* ---- info ---- */

static const char *pack_key_type(myr_key_type type)
{
    return type == MYR_KEY_INT64 ? "INT64" : "BYTES";
}

static uint64_t pack_unused_bytes(const myr_pack_contents *contents)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < contents->file_count; i++) {
        bytes += contents->files[i].file_bytes - contents->files[i].used_bytes;
    }
    return bytes;
}

/* A release is made one way or the other: the first models that have trees tell. */
static bool pack_explains(const myr_pack *pack)
{
    for (uint32_t i = 0; i < myr_pack_get_info(pack)->model_count && i < PACK_MODELS_ASKED; i++) {
        const myr_model *model = NULL;
        if (myr_pack_model(pack, i, &model, NULL) == MYR_OK && myr_model_has_explanations(model)) return true;
    }
    return false;
}

static void info_text(const myr_pack *pack, const myr_pack_contents *contents)
{
    const myr_pack_info *info = myr_pack_get_info(pack);
    char size[32];
    char used[32];
    printf("%s release %lld, format %u: %u models, %u features, %u output%s\n", info->fleet, (long long)info->release,
           contents->format, info->model_count, info->feature_count, info->output_count,
           info->output_count == 1 ? "" : "s");
    printf("keys   ");
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        printf("%s%s (%s)", i == 0 ? "" : ", ", info->keys.columns[i].name, pack_key_type(info->keys.columns[i].type));
    }
    printf("%s\nindex  %s\n", info->keys.column_count == 0 ? "none: one global model" : "",
           myr_format_bytes((int64_t)contents->index_bytes, size, sizeof size));
    for (uint32_t i = 0; i < contents->file_count; i++) {
        const myr_pack_blobs *file = &contents->files[i];
        printf("blobs  %-20s %10s, in use %s by %u models\n", file->name,
               myr_format_bytes((int64_t)file->file_bytes, size, sizeof size),
               myr_format_bytes((int64_t)file->used_bytes, used, sizeof used), file->used_models);
    }
    printf("unused %s\nexplanations %s\n", myr_format_bytes((int64_t)pack_unused_bytes(contents), size, sizeof size),
           pack_explains(pack) ? "yes" : "no: myriad release create --explain");
}

static void info_json(const myr_pack *pack, const myr_pack_contents *contents, myr_buf *out)
{
    const myr_pack_info *info = myr_pack_get_info(pack);
    myr_buf_puts(out, "{\"fleet\":");
    myr_buf_json_string(out, myr_str_of(info->fleet));
    myr_buf_printf(out, ",\"release\":%lld,\"format\":%u,\"models\":%u,\"outputs\":%u,\"features\":[",
                   (long long)info->release, contents->format, info->model_count, info->output_count);
    for (uint32_t i = 0; i < info->feature_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(info->features[i]));
    }
    myr_buf_puts(out, "],\"keys\":[");
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        myr_buf_puts(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        myr_buf_json_string(out, myr_str_of(info->keys.columns[i].name));
        myr_buf_printf(out, ",\"type\":\"%s\"}", pack_key_type(info->keys.columns[i].type));
    }
    myr_buf_printf(out, "],\"index_bytes\":%llu,\"blobs\":[", (unsigned long long)contents->index_bytes);
    for (uint32_t i = 0; i < contents->file_count; i++) {
        const myr_pack_blobs *file = &contents->files[i];
        myr_buf_puts(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        myr_buf_json_string(out, myr_str_of(file->name));
        myr_buf_printf(out, ",\"bytes\":%llu,\"used_bytes\":%llu,\"used_models\":%u}",
                       (unsigned long long)file->file_bytes, (unsigned long long)file->used_bytes, file->used_models);
    }
    myr_buf_printf(out, "],\"unused_bytes\":%llu,\"explain\":%s}", (unsigned long long)pack_unused_bytes(contents),
                   pack_explains(pack) ? "true" : "false");
}

static myr_rc info_print(const myr_cli *cli, const char *which, int64_t release, myr_err *err)
{
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_pack_contents contents;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(pack_open(cli, which, release, &pack, err));
    MYR_TRY(myr_pack_list_files(pack, arena, &contents, err));
    if (!cli->json) {
        info_text(pack, &contents);
        return MYR_OK;
    }
    MYR_AUTO(myr_buf) out = {0};
    info_json(pack, &contents, &out);
    MYR_TRY(myr_buf_check(&out, err));
    puts(out.data);
    return MYR_OK;
}

myr_rc myr_cmd_pack_info(int argc, char **argv, myr_err *err)
{
    const char *which = NULL;
    int64_t release = 0;
    const myr_cli_arg args[] = {
        {"PACK", NULL, MYR_CLI_POSITIONAL, &which, "a fleet, or a file ending in .index"},
        {"--release", "N", MYR_CLI_INT, &release, "of the fleet; else its champion"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("pack info", "the files of a pack, its models, keys and features", "myriad pack info oj",
                          args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : info_print(&cli, which, release, err);
}

/* ---- verify ---- */

static myr_rc verify_print(const myr_cli *cli, const char *which, int64_t release, myr_err *err)
{
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    uint32_t broken = 0;
    MYR_TRY(pack_open(cli, which, release, &pack, err));
    uint32_t model_count = myr_pack_get_info(pack)->model_count;
    myr_rc rc = myr_pack_verify(pack, &broken, err);
    if (cli->json) {
        printf("{\"ok\":%s,\"models\":%u,\"broken\":%u}\n", rc == MYR_OK ? "true" : "false", model_count, broken);
    } else if (rc == MYR_OK) {
        printf("ok: index and %u models, every byte\n", model_count);
    } else {
        printf("damaged: %u of %u models can't be used\n", broken, model_count);
    }
    return rc;
}

myr_rc myr_cmd_pack_verify(int argc, char **argv, myr_err *err)
{
    const char *which = NULL;
    int64_t release = 0;
    const myr_cli_arg args[] = {
        {"PACK", NULL, MYR_CLI_POSITIONAL, &which, "a fleet, or a file ending in .index"},
        {"--release", "N", MYR_CLI_INT, &release, "of the fleet; else its champion"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("pack verify", "check every byte of a pack: checksums, index, each model",
                          "myriad pack verify oj", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : verify_print(&cli, which, release, err);
}

/* ---- diff ---- */

typedef struct diff_list {
    const myr_key_schema *keys;
    uint32_t counts[MYR_PACK_REMOVED + 1];
    myr_buf names[MYR_PACK_REMOVED + 1]; /* as text or JSON; not of what is the same */
    bool json;
    bool all;
} diff_list;

static const char *const diff_words[] = {"same", "changed", "added", "removed"};

static myr_rc diff_note(void *ctx, myr_pack_change change, const myr_pack_entry *before, const myr_pack_entry *after,
                        myr_err *err)
{
    diff_list *list = ctx;
    const myr_pack_entry *entry = after != NULL ? after : before;
    uint32_t count = list->counts[change]++;
    if (change == MYR_PACK_SAME || (!list->all && count >= PACK_NAMES_SHOWN)) return MYR_OK;
    myr_buf *out = &list->names[change];
    MYR_AUTO(myr_buf) segment = {0};
    MYR_TRY(myr_key_text(list->keys, entry->key, entry->key_bytes, &segment, err));
    MYR_TRY(myr_buf_check(&segment, err));
    myr_str text = myr_str_make(segment.data, segment.size);
    if (list->json) {
        if (count > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, text);
    } else {
        myr_buf_printf(out, "  %s %.*s", diff_words[change], (int)text.size, text.size > 0 ? text.data : "");
        if (change == MYR_PACK_CHANGED) {
            myr_buf_printf(out, ": version %lld to %lld", (long long)before->version, (long long)after->version);
        }
        myr_buf_putc(out, '\n');
    }
    return myr_buf_check(out, err);
}

static void diff_print_text(const diff_list *list)
{
    printf("%u added, %u removed, %u changed, %u the same\n", list->counts[MYR_PACK_ADDED],
           list->counts[MYR_PACK_REMOVED], list->counts[MYR_PACK_CHANGED], list->counts[MYR_PACK_SAME]);
    for (int change = MYR_PACK_CHANGED; change <= MYR_PACK_REMOVED; change++) {
        if (list->names[change].size > 0) fputs(list->names[change].data, stdout);
        if (!list->all && list->counts[change] > PACK_NAMES_SHOWN) {
            printf("  %u more %s: --all shows them\n", list->counts[change] - PACK_NAMES_SHOWN, diff_words[change]);
        }
    }
}

static void diff_print_json(const diff_list *list)
{
    printf("{\"same\":%u", list->counts[MYR_PACK_SAME]);
    for (int change = MYR_PACK_CHANGED; change <= MYR_PACK_REMOVED; change++) {
        printf(",\"%s\":[%s]", diff_words[change], list->names[change].size > 0 ? list->names[change].data : "");
    }
    puts("}");
}

static myr_rc diff_run(const myr_pack *before, const myr_pack *after, diff_list *list, myr_err *err)
{
    MYR_TRY(myr_pack_diff(before, after, diff_note, list, err));
    if (list->json) {
        diff_print_json(list);
    } else {
        diff_print_text(list);
    }
    return MYR_OK;
}

static myr_rc diff_print(const myr_cli *cli, const char *before_name, const char *after_name, bool all, myr_err *err)
{
    MYR_AUTO(myr_pack_ptr) before = NULL;
    MYR_AUTO(myr_pack_ptr) after = NULL;
    MYR_TRY(pack_open(cli, before_name, 0, &before, err));
    MYR_TRY(pack_open(cli, after_name, 0, &after, err));
    diff_list list = {.keys = &myr_pack_get_info(after)->keys, .json = cli->json, .all = all || cli->json};
    myr_rc rc = diff_run(before, after, &list, err);
    for (int change = 0; change <= MYR_PACK_REMOVED; change++) {
        myr_buf_fini(&list.names[change]);
    }
    return rc;
}

myr_rc myr_cmd_pack_diff(int argc, char **argv, myr_err *err)
{
    const char *before = NULL;
    const char *after = NULL;
    bool all = false;
    const myr_cli_arg args[] = {
        {"BEFORE", NULL, MYR_CLI_POSITIONAL, &before, "a fleet (its champion), or a file ending in .index"},
        {"AFTER", NULL, MYR_CLI_POSITIONAL, &after, "the same"},
        {"--all", NULL, MYR_CLI_FLAG, &all, "name every model that differs, not the first 20 of each kind"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("pack diff", "which models two packs have in common, by the bytes of the models",
                          "myriad pack diff packs/oj/r1.index oj", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : diff_print(&cli, before, after, all, err);
}

/* ---- compact ---- */

static myr_rc compact_print(const myr_cli *cli, const char *fleet, bool prune, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    myr_compact_report r;
    char size[32];
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    MYR_TRY(myr_release_compact(workspace, fleet, prune, &r, err));
    if (cli->json) {
        printf("{\"fleet\":\"%s\",\"release\":%lld,\"models\":%lld,\"pack_bytes\":%lld,\"reused\":%s,"
               "\"pruned_releases\":%lld,\"freed_bytes\":%lld}\n",
               fleet, (long long)r.number, (long long)r.model_count, (long long)r.pack_bytes,
               r.reused ? "true" : "false", (long long)r.pruned_releases, (long long)r.freed_bytes);
        return MYR_OK;
    }
    printf("%s release %lld: %lld models in one file, %s%s; champion\n", fleet, (long long)r.number,
           (long long)r.model_count, myr_format_bytes(r.pack_bytes, size, sizeof size), r.reused ? " (as it was)" : "");
    if (prune) {
        printf("removed %lld older release%s without an alias, freed %s\n", (long long)r.pruned_releases,
               r.pruned_releases == 1 ? "" : "s", myr_format_bytes(r.freed_bytes, size, sizeof size));
    }
    return MYR_OK;
}

myr_rc myr_cmd_pack_compact(int argc, char **argv, myr_err *err)
{
    const char *fleet = NULL;
    bool prune = false;
    const myr_cli_arg args[] = {
        {"FLEET", NULL, MYR_CLI_POSITIONAL, &fleet, "the fleet whose champion is rewritten"},
        {"--prune", NULL, MYR_CLI_FLAG, &prune, "remove older releases without an alias, and files nobody needs then"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("pack compact", "the champion's models in one file, as a new release",
                          "myriad pack compact oj --prune", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : compact_print(&cli, fleet, prune, err);
}
