/* `myriad model list` and `myriad model show`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "cli/args.h"
#include "cli/commands.h"

static void model_name(const char *fleet, const char *segment, myr_buf *out)
{
    myr_buf_printf(out, "%s@%s", fleet, segment); /* `oj@` is the global model, `oj` the fleet */
}

static void model_json(const char *fleet, const myr_model_row *row, myr_buf *out)
{
    char time[MYR_TIME_TEXT_BYTES];
    MYR_AUTO(myr_buf) name = {0};
    model_name(fleet, row->segment, &name);
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, myr_str_of(name.data));
    myr_buf_json_field(out, "fleet", fleet);
    myr_buf_json_field(out, "segment", row->segment);
    myr_buf_printf(out, ",\"version\":%lld", (long long)row->version);
    myr_buf_json_field(out, "algorithm", row->algorithm);
    myr_buf_json_field(out, "format", row->format);
    myr_buf_json_field(out, "objective", row->objective);
    myr_buf_json_field(out, "artifact", row->artifact);
    myr_buf_printf(out, ",\"artifact_bytes\":%lld", (long long)row->artifact_bytes);
    myr_buf_json_field(out, "fingerprint", row->fingerprint);
    myr_buf_json_field(out, "source", row->source);
    myr_buf_json_field(out, "created", myr_format_time(row->created_ms, time));
    myr_buf_puts(out, ",\"tags\":{");
    for (uint32_t i = 0; i < row->tag_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(row->tags[i].key));
        myr_buf_putc(out, ':');
        myr_buf_json_string(out, myr_str_of(row->tags[i].value));
    }
    myr_buf_printf(out, "},\"metrics\":%s}", row->metrics[0] != '\0' ? row->metrics : "{}");
}

/* The `rmse` of a model's metrics as text, or "-". */
static const char *model_rmse(const myr_model_row *row, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "-");
    yyjson_doc *doc = yyjson_read(row->metrics, strlen(row->metrics), 0);
    yyjson_val *rmse = yyjson_obj_get(yyjson_doc_get_root(doc), "rmse");
    if (yyjson_is_num(rmse)) (void)snprintf(out, out_bytes, "%.4f", yyjson_get_num(rmse));
    yyjson_doc_free(doc);
    return out;
}

static void model_line(const char *fleet, const myr_model_row *row, FILE *to)
{
    char rmse[32];
    MYR_AUTO(myr_buf) name = {0}, tags = {0};
    model_name(fleet, row->segment, &name);
    for (uint32_t i = 0; i < row->tag_count; i++) {
        myr_buf_printf(&tags, "%s%s=%s", i > 0 ? "," : "", row->tags[i].key, row->tags[i].value);
    }
    fprintf(to, "%-36s %7lld  %-10s %10s  %s\n", name.data, (long long)row->version, row->algorithm,
            model_rmse(row, rmse, sizeof rmse), tags.data != NULL ? tags.data : "");
}

typedef struct list_args {
    const char *fleet, *tag, *segment;
    bool all_versions;
} list_args;

static myr_rc list_fleet(myr_registry *registry, myr_arena *arena, const myr_fleet_row *fleet, const list_args *a,
                         bool json, size_t *count, myr_err *err)
{
    myr_model_filter filter = {.segment_part = a->segment, .tag = a->tag, .newest_only = !a->all_versions};
    myr_model_row *rows = NULL;
    size_t row_count = 0;
    MYR_TRY(myr_registry_models(registry, arena, fleet->id, &filter, &rows, &row_count, err));
    for (size_t i = 0; i < row_count; i++, (*count)++) {
        if (!json) {
            if (*count == 0) printf("%-36s %7s  %-10s %10s  %s\n", "model", "version", "algorithm", "rmse", "tags");
            model_line(fleet->name, &rows[i], stdout);
            continue;
        }
        MYR_AUTO(myr_buf) out = {0};
        myr_buf_puts(&out, *count > 0 ? ",\n" : "[\n");
        model_json(fleet->name, &rows[i], &out);
        MYR_TRY(myr_buf_check(&out, err));
        fputs(out.data, stdout);
    }
    return MYR_OK;
}

static myr_rc list_run(const myr_cli *cli, const list_args *a, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    myr_fleet_row *fleets = NULL, one;
    size_t fleet_count = 1, count = 0;
    if (a->fleet != NULL) {
        MYR_TRY(myr_registry_fleet_get(workspace->registry, arena, a->fleet, &one, err));
        fleets = &one;
    } else {
        MYR_TRY(myr_registry_fleets(workspace->registry, arena, &fleets, &fleet_count, err));
    }
    for (size_t i = 0; i < fleet_count; i++) {
        MYR_TRY(list_fleet(workspace->registry, arena, &fleets[i], a, cli->json, &count, err));
    }
    if (cli->json) {
        puts(count > 0 ? "\n]" : "[]");
    } else {
        printf("%zu models\n", count);
    }
    return MYR_OK;
}

myr_rc myr_cmd_model_list(int argc, char **argv, myr_err *err)
{
    list_args a = {0};
    const myr_cli_arg args[] = {
        {"--fleet", "F", MYR_CLI_TEXT, &a.fleet, "of one fleet (default: all)"},
        {"--tag", "K=V", MYR_CLI_TEXT, &a.tag, "with this tag"},
        {"--segment", "K=V", MYR_CLI_TEXT, &a.segment, "whose segment has this part"},
        {"--all-versions", NULL, MYR_CLI_FLAG, &a.all_versions, "older versions too"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("model list", "models with version, algorithm, error, tags",
                          "myriad model list --fleet oj --segment brand=1", args, MYR_COUNT_OF(args), argc, argv, &cli,
                          err));
    return cli.done ? MYR_OK : list_run(&cli, &a, err);
}

#define SHOW_NAMES_MAX 100 /* categories of a feature that are listed */

/* "categories":{"colour":{"count":3,"names":["red",…]}}: features whose cells are names, in this model. */
static void show_categories(const myr_fleet_row *fleet, const myr_names *names, myr_buf *out)
{
    bool first = true;
    myr_buf_puts(out, ",\"categories\":{");
    for (uint32_t i = 0; i < fleet->feature_count; i++) {
        uint32_t count = myr_names_count(names, i);
        if (count == 0) continue;
        if (!first) myr_buf_putc(out, ',');
        first = false;
        myr_buf_json_string(out, myr_str_of(fleet->features[i]));
        myr_buf_printf(out, ":{\"count\":%u,\"names\":[", count);
        for (uint32_t k = 0; k < count && k < SHOW_NAMES_MAX; k++) {
            if (k > 0) myr_buf_putc(out, ',');
            myr_buf_json_string(out, myr_names_text(names, i, k));
        }
        myr_buf_puts(out, "]}");
    }
    myr_buf_putc(out, '}');
}

/* The same for people: a line per feature, its first names. */
static void show_categories_print(const myr_fleet_row *fleet, const myr_names *names)
{
    static const uint32_t shown = 8;
    for (uint32_t i = 0; i < fleet->feature_count; i++) {
        uint32_t count = myr_names_count(names, i);
        if (count == 0) continue;
        printf("%-12s %s:", "categories", fleet->features[i]);
        for (uint32_t k = 0; k < count && k < shown; k++) {
            MYR_AUTO(myr_buf) name = {0};
            myr_buf_json_string(&name,
                                myr_names_text(names, i, k)); /* an empty one can be seen, a control can't hurt */
            printf(" %s", name.data != NULL ? name.data : "");
        }
        if (count > shown) printf(" and %u more", count - shown);
        printf("\n");
    }
}

static void show_signature(const myr_fleet_row *fleet, const myr_names *names, myr_buf *out)
{
    myr_buf_puts(out, ",\"signature\":{\"keys\":[");
    for (uint32_t i = 0; i < fleet->partition_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(fleet->partition_columns[i]));
    }
    myr_buf_puts(out, "],\"features\":[");
    for (uint32_t i = 0; i < fleet->feature_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(fleet->features[i]));
    }
    myr_buf_putc(out, ']');
    show_categories(fleet, names, out);
    myr_buf_printf(out, ",\"outputs\":%u}", fleet->output_count);
}

/* One line, if there is something to say. */
static void show_line(const char *label, const char *value)
{
    if (value[0] != '\0') printf("%-12s %s\n", label, value);
}

static void show_words(const char *label, const char *const *words, uint32_t count)
{
    printf("%-12s", label);
    for (uint32_t i = 0; i < count; i++) {
        printf(" %s", words[i]);
    }
    printf("\n");
}

static void show_print(const myr_fleet_row *fleet, const myr_model_row *row, const myr_names *names)
{
    char time[MYR_TIME_TEXT_BYTES], size[32], rmse[32];
    printf("%-12s %s@%s\n%-12s %lld of %s\n", "model", fleet->name, row->segment, "version", (long long)row->version,
           myr_format_time(row->created_ms, time));
    printf("%-12s %s (%s)\n", "algorithm", row->algorithm, row->format);
    show_line("objective", row->objective);
    printf("%-12s %s, %s\n", "artifact", row->artifact, myr_format_bytes(row->artifact_bytes, size, sizeof size));
    show_line("fingerprint", row->fingerprint);
    show_line("source", row->source);
    printf("%-12s %s in validation\n", "rmse", model_rmse(row, rmse, sizeof rmse));
    if (!isnan(row->baseline)) printf("%-12s the mean model answers %.6g\n", "baseline", row->baseline);
    show_words("keys", fleet->partition_columns, fleet->partition_count);
    show_words("features", fleet->features, fleet->feature_count);
    show_categories_print(fleet, names);
    printf("%-12s %u\n%-12s", "outputs", fleet->output_count, "tags");
    for (uint32_t i = 0; i < row->tag_count; i++) {
        printf(" %s=%s", row->tags[i].key, row->tags[i].value);
    }
    printf("\n%-12s %s\n", "metrics", row->metrics);
}

static myr_rc show_run(const myr_cli *cli, const char *name, int64_t version, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    const char *at = strchr(name, '@');
    const char *fleet_name = myr_arena_strndup(arena, name, at != NULL ? (size_t)(at - name) : strlen(name));
    if (fleet_name == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_fleet_row fleet;
    myr_model_row row;
    myr_segment segment;
    MYR_AUTO(myr_buf) canonical = {0};
    MYR_TRY(myr_registry_fleet_get(workspace->registry, arena, fleet_name, &fleet, err));
    MYR_TRY(myr_segment_parse(myr_str_of(at != NULL ? at + 1 : ""), &segment, err));
    MYR_TRY(myr_segment_format(&segment, fleet.partition_columns, fleet.partition_count, &canonical, err));
    MYR_TRY(myr_registry_model_get(workspace->registry, arena, fleet.id, canonical.data != NULL ? canonical.data : "",
                                   version, &row, err));
    MYR_AUTO(myr_mem) bytes = NULL;
    const myr_model *model = NULL;
    /* What the registry knows is told also of a model whose artifact is gone or damaged. */
    MYR_IGNORE(myr_fleet_model_load(workspace, &fleet, &row, (unsigned char **)&bytes, &model, NULL));
    const myr_names *names = bytes != NULL ? myr_model_names(model) : NULL;
    if (!cli->json) {
        show_print(&fleet, &row, names);
        return MYR_OK;
    }
    MYR_AUTO(myr_buf) out = {0};
    model_json(fleet.name, &row, &out);
    MYR_TRY(myr_buf_check(&out, err));
    out.size--; /* the signature goes inside the closing brace */
    show_signature(&fleet, names, &out);
    myr_buf_puts(&out, "}\n");
    MYR_TRY(myr_buf_check(&out, err));
    fputs(out.data, stdout);
    return MYR_OK;
}

myr_rc myr_cmd_model_show(int argc, char **argv, myr_err *err)
{
    const char *name = NULL;
    int64_t version = 0;
    const myr_cli_arg args[] = {
        {"MODEL", NULL, MYR_CLI_POSITIONAL, &name, "oj@store=2,brand=1; oj@ is the global model"},
        {"--version", "N", MYR_CLI_INT, &version, "default: the newest"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("model show", "one model in full: signature, trials, metrics, versions",
                          "myriad model show oj@store=2,brand=1 --json", args, MYR_COUNT_OF(args), argc, argv, &cli,
                          err));
    return cli.done ? MYR_OK : show_run(&cli, name, version, err);
}
