/* `myriad model import`: one model file, or a manifest of many; all or nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/manifest.h"
#include "cli/progress.h"

typedef struct import_args {
    const char *file, *fleet, *segment, *manifest, *features;
    const char *first_iteration, *iterations, *category_features;
    myr_cli_list tags, metrics;
} import_args;

static myr_rc import_check(const import_args *a, myr_err *err)
{
    if (a->fleet == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad model import: --fleet is missing: name the fleet the models belong to");
    if ((a->file == NULL) == (a->manifest == NULL)) {
        MYR_FAIL(err, BAD_USAGE, "myriad model import: give either one FILE with --segment, or --manifest FILE.csv");
    }
    if (a->file != NULL && a->segment == NULL) {
        MYR_FAIL(err, BAD_USAGE,
                 "myriad model import: --segment is missing: --segment store=2,brand=1, or --segment \"\" for the "
                 "global model");
    }
    if (a->manifest != NULL && a->segment != NULL) {
        MYR_FAIL(err, BAD_USAGE,
                 "myriad model import: --segment does not go with --manifest: its columns name the segments");
    }
    return MYR_OK;
}

static myr_rc import_tags(myr_arena *arena, const myr_cli_list *list, myr_tag **out, myr_err *err)
{
    myr_tag *tags = myr_arena_calloc(arena, list->count + 1, sizeof *tags);
    if (tags == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (equals == NULL || equals == list->items[i]) {
            MYR_FAIL(err, BAD_USAGE, "myriad model import: --tag '%s' is not key=value", list->items[i]);
        }
        tags[i].key = myr_arena_strndup(arena, list->items[i], (size_t)(equals - list->items[i]));
        tags[i].value = equals + 1;
        if (tags[i].key == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    }
    *out = tags;
    return MYR_OK;
}

/* `rmse=0.5` and its like as a JSON object; NULL if there are none. */
static myr_rc import_metrics(myr_arena *arena, const myr_cli_list *list, const char **out, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    if (list->count == 0) return MYR_OK;
    for (uint32_t i = 0; i < list->count; i++) {
        const char *equals = strchr(list->items[i], '=');
        double value = 0;
        if (equals == NULL || equals == list->items[i] || !myr_parse_double(myr_str_of(equals + 1), &value) ||
            !isfinite(value)) {
            MYR_FAIL(err, BAD_USAGE, "myriad model import: --metric '%s' is not name=number", list->items[i]);
        }
        myr_buf_putc(&text, i == 0 ? '{' : ',');
        myr_buf_json_string(&text, myr_str_make(list->items[i], (size_t)(equals - list->items[i])));
        myr_buf_putc(&text, ':');
        myr_buf_json_double(&text, value);
    }
    myr_buf_putc(&text, '}');
    MYR_TRY(myr_buf_check(&text, err));
    *out = myr_arena_strndup(arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

static void import_print(const myr_cli *cli, const char *fleet, const myr_manifest *manifest)
{
    size_t reused = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        reused += manifest->items[i].out_reused ? 1 : 0;
    }
    if (cli->json) {
        printf("{\"fleet\":\"%s\",\"imported\":%zu,\"reused\":%zu", fleet, manifest->count - reused, reused);
        if (manifest->count == 1) printf(",\"version\":%lld", (long long)manifest->items[0].out_version);
        printf("}\n");
    } else if (manifest->count == 1) {
        printf("%s %s@%s version %lld%s\n", reused > 0 ? "kept" : "imported", fleet, manifest->items[0].out_segment,
               (long long)manifest->items[0].out_version, reused > 0 ? ": the same model is there already" : "");
    } else {
        printf("imported %zu models into %s, %zu as they were\n", manifest->count - reused, fleet, reused);
    }
    if (!cli->json) printf("next: myriad release create %s\n", fleet);
}

static void import_progress(void *ctx, int64_t done, int64_t total)
{
    myr_bar_update(ctx, "importing", done, total);
}

static myr_rc import_rounds(const import_args *a, myr_fleet_item *out, myr_err *err)
{
    uint64_t first = 0;
    uint64_t count = 0;
    if (a->first_iteration != NULL &&
        (!myr_parse_uint64(myr_str_of(a->first_iteration), &first) || first > MYR_TREES_MAX)) {
        MYR_FAIL(err, BAD_USAGE, "myriad model import: --first-iteration '%s' is not a number from 0 to %d",
                 a->first_iteration, MYR_TREES_MAX);
    }
    out->best_iteration = a->iterations != NULL && strcmp(a->iterations, "best") == 0;
    if (a->iterations != NULL && !out->best_iteration &&
        (!myr_parse_uint64(myr_str_of(a->iterations), &count) || count == 0 || count > MYR_TREES_MAX)) {
        MYR_FAIL(err, BAD_USAGE, "myriad model import: --iterations '%s' is neither 'best' nor a number from 1 to %d",
                 a->iterations, MYR_TREES_MAX);
    }
    out->first_iteration = (uint32_t)first;
    out->iterations = (uint32_t)count;
    return MYR_OK;
}

static myr_rc import_items(myr_arena *arena, const import_args *a, myr_manifest *out, myr_err *err)
{
    myr_tag *tags = NULL;
    const char *metrics = NULL;
    MYR_TRY(import_tags(arena, &a->tags, &tags, err));
    MYR_TRY(import_metrics(arena, &a->metrics, &metrics, err));
    if (a->manifest != NULL) {
        MYR_TRY(myr_manifest_read(arena, a->manifest, out, err));
    } else {
        out->items = myr_arena_calloc(arena, 1, sizeof *out->items);
        if (out->items == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        out->items[0] = (myr_fleet_item){.name = a->file, .path = a->file, .segment = a->segment, .baseline = NAN};
        out->count = 1;
    }
    myr_cli_list features = {0};
    MYR_TRY(myr_cli_commas(arena, a->features, &features, err));
    const char **names = myr_arena_calloc(arena, features.count + 1, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    memcpy(names, features.items, features.count * sizeof *names);
    myr_cli_list categories = {0};
    MYR_TRY(myr_cli_commas(arena, a->category_features, &categories, err));
    const char **category_names = myr_arena_calloc(arena, categories.count + 1, sizeof *category_names);
    if (category_names == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    memcpy(category_names, categories.items, categories.count * sizeof *category_names);
    myr_fleet_item rounds = {0};
    MYR_TRY(import_rounds(a, &rounds, err));
    for (size_t i = 0; i < out->count; i++) {
        out->items[i].first_iteration = rounds.first_iteration;
        out->items[i].iterations = rounds.iterations;
        out->items[i].best_iteration = rounds.best_iteration;
        out->items[i].category_features = category_names;
        out->items[i].category_feature_count = categories.count;
        out->items[i].tags = tags;
        out->items[i].tag_count = a->tags.count;
        out->items[i].metrics = metrics;
        out->items[i].features = features.count > 0 ? names : NULL;
        out->items[i].feature_count = features.count;
    }
    return MYR_OK;
}

static myr_rc import_run(const myr_cli *cli, const import_args *a, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_manifest manifest = {0};
    MYR_TRY(import_items(arena, a, &manifest, err));
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    if (a->manifest != NULL) MYR_TRY(myr_manifest_match(workspace, a->fleet, a->manifest, arena, &manifest, err));
    myr_fleet_def def = {.name = a->fleet,
                         .partition_columns = manifest.columns,
                         .partition_count = manifest.column_count,
                         .out_arena = arena};
    myr_bar bar;
    myr_bar_start(&bar, "models");
    size_t bad = 0;
    myr_rc rc = myr_fleet_import(workspace, &def, manifest.items, manifest.count, import_progress, &bar, &bad, err);
    myr_bar_end(&bar);
    if (rc != MYR_OK && a->manifest != NULL && bad < manifest.count) {
        return myr_err_prefix(err, rc, "%s:%d: ", a->manifest, manifest.lines[bad]);
    }
    MYR_TRY(rc);
    import_print(cli, a->fleet, &manifest);
    return MYR_OK;
}

myr_rc myr_cmd_model_import(int argc, char **argv, myr_err *err)
{
    import_args a = {0};
    const myr_cli_arg args[] = {
        {"FILE", NULL, MYR_CLI_POSITIONAL_OPT, &a.file,
         "a LightGBM text model, an XGBoost .json or .ubj model, an .onnx model, or a directory with score.py"},
        {"--fleet", "F", MYR_CLI_TEXT, &a.fleet, "the fleet; made if absent"},
        {"--segment", "K=V,...", MYR_CLI_TEXT, &a.segment,
         "store=2,brand=1; brand=1 for a parent; \"\" for the global model"},
        {"--manifest", "FILE.csv", MYR_CLI_TEXT, &a.manifest,
         "columns: path and one per partition column; all or nothing"},
        {"--tag", "K=V", MYR_CLI_LIST, &a.tags, "repeatable"},
        {"--metric", "NAME=N", MYR_CLI_LIST, &a.metrics,
         "a number that `model show` tells, such as rmse=0.5; repeatable"},
        {"--features", "A,B,...", MYR_CLI_TEXT, &a.features, "names in place of the file's own"},
        {"--iterations", "N", MYR_CLI_TEXT, &a.iterations,
         "keep N boosting rounds; 'best': those up to XGBoost's best_iteration"},
        {"--first-iteration", "N", MYR_CLI_TEXT, &a.first_iteration, "leave the first N boosting rounds out"},
        {"--category-features", "A,B,...", MYR_CLI_TEXT, &a.category_features,
         "LightGBM: the features that pandas_categorical's lists belong to, in order"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("model import", "bring in models of LightGBM, XGBoost or ONNX, one or a manifest of many",
                          "myriad model import model.txt --fleet oj --segment store=2,brand=1 --tag team=juice", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(import_check(&a, err));
    return import_run(&cli, &a, err);
}
