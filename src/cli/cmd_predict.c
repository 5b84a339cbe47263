/* `myriad predict F --row JSON`: one answer, without a server, by the same path as batch and REST. */
#include <stdio.h>
#include <stdlib.h>

#include <yyjson.h>

#include "cli/args.h"
#include "cli/commands.h"

static myr_rc predict_score(const myr_fleet *fleet, yyjson_val *row, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_score_scratch *scratch = myr_score_scratch_new();
    myr_json_rows rows = {0};
    myr_rc rc = arena != NULL && scratch != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory");
    if (rc == MYR_OK) rc = myr_fleet_decode_rows(fleet, &row, 1, arena, &rows, err);
    if (rc == MYR_OK) rc = myr_fleet_score_json(fleet, scratch, &rows, arena, out, err);
    myr_score_scratch_free(scratch);
    return rc == MYR_OK ? myr_buf_check(out, err) : rc;
}

/* The answer for people, from the answer for machines. */
static myr_rc predict_print(const myr_buf *json, myr_err *err)
{
    yyjson_doc *doc = yyjson_read(json->data, json->size, 0);
    if (doc == NULL) MYR_FAIL(err, INTERNAL, "the answer is not JSON: %s", json->data);
    yyjson_val *root = yyjson_doc_get_root(doc);
    char *prediction = yyjson_val_write(yyjson_obj_get(root, "prediction"), 0, NULL);
    const char *model = yyjson_get_str(yyjson_obj_get(root, "model"));
    printf("prediction %s\nmodel      %s, version %lld\nlevel      %s\nstatus     %s\n",
           prediction != NULL ? prediction : "null", model != NULL ? model : "none",
           (long long)yyjson_get_sint(yyjson_obj_get(root, "model_version")),
           yyjson_get_str(yyjson_obj_get(root, "level")), yyjson_get_str(yyjson_obj_get(root, "status")));
    free(prediction); /* yyjson allocated it */
    yyjson_doc_free(doc);
    return MYR_OK;
}

static myr_rc predict_run(const myr_cli *cli, const char *name, int64_t release, const char *row, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    MYR_AUTO(myr_fleet_ptr) fleet = NULL;
    MYR_TRY(myr_fleet_open(workspace, name, release, &fleet, err));
    myr_str text = myr_str_of(row);
    yyjson_read_err json_err;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.data, text.size, 0, NULL, &json_err);
    if (doc == NULL)
        MYR_FAIL(err, BAD_INPUT, "--row: byte %zu: %s: give a JSON object like '{\"store\":2}'", json_err.pos,
                 json_err.msg);
    MYR_AUTO(myr_buf) out = {0};
    myr_rc rc = predict_score(fleet, yyjson_doc_get_root(doc), &out, err);
    yyjson_doc_free(doc);
    MYR_TRY(rc);
    if (!cli->json) return predict_print(&out, err);
    puts(out.data);
    return MYR_OK;
}

myr_rc myr_cmd_predict(int argc, char **argv, myr_err *err)
{
    const char *fleet = NULL, *row = NULL;
    int64_t release = 0;
    const myr_cli_arg args[] = {
        {"FLEET", NULL, MYR_CLI_POSITIONAL, &fleet, "the fleet"},
        {"--row", "JSON", MYR_CLI_TEXT, &row, "an object with the partition columns and the features"},
        {"--release", "N", MYR_CLI_INT, &release, "a release by number (default: champion)"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("predict", "score one row, without a server",
                          "myriad predict oj --row '{\"store\":2,\"brand\":1,\"week\":153,\"price1\":0.06}'", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (row == NULL) MYR_FAIL(err, BAD_USAGE, "myriad predict: --row is missing: give a JSON object");
    return predict_run(&cli, fleet, release, row, err);
}
