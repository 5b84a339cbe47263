/* `myriad predict F --row JSON`: one answer, without a server, by the same path as batch and REST. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "cli/args.h"
#include "cli/commands.h"

/* *out_trouble: why a model that is not ours gave no answer, if one did not. */
static myr_rc predict_score(const myr_fleet *fleet, yyjson_val *row, myr_buf *out, myr_err *out_trouble, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_score_scratch *scratch = myr_score_scratch_new();
    myr_json_rows rows = {0};
    myr_rc rc = arena != NULL && scratch != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory");
    if (rc == MYR_OK) rc = myr_fleet_decode_rows(fleet, &row, 1, arena, &rows, err);
    if (rc == MYR_OK) rc = myr_fleet_score_json(fleet, scratch, &rows, arena, out, err);
    if (rc == MYR_OK) *out_trouble = *myr_score_trouble(scratch);
    myr_score_scratch_free(scratch);
    return rc == MYR_OK ? myr_buf_check(out, err) : rc;
}

/* The answer for people, from the answer for machines. */
static void predict_print(yyjson_val *answer)
{
    char *prediction = yyjson_val_write(yyjson_obj_get(answer, "prediction"), 0, NULL);
    const char *model = yyjson_get_str(yyjson_obj_get(answer, "model"));
    if (model != NULL) {
        printf("prediction %s\nmodel      %s, version %lld\n", prediction != NULL ? prediction : "null", model,
               (long long)yyjson_get_sint(yyjson_obj_get(answer, "model_version")));
    }
    printf("level      %s\nstatus     %s\n", yyjson_get_str(yyjson_obj_get(answer, "level")),
           yyjson_get_str(yyjson_obj_get(answer, "status")));
    free(prediction); /* yyjson allocated it */
}

/* A row that could not be scored is this command's failure: it had no other row. */
static myr_rc predict_check(const char *fleet, yyjson_val *answer, const myr_err *trouble, myr_err *err)
{
    const char *status = yyjson_get_str(yyjson_obj_get(answer, "status"));
    if (status == NULL) MYR_FAIL(err, INTERNAL, "the answer has no status");
    if (strcmp(status, "ok") == 0) return MYR_OK;
    if (trouble->rc != MYR_OK) {
        *err = *trouble;
        return (myr_rc)trouble->rc;
    }
    if (strcmp(status, "no_model") == 0) {
        MYR_FAIL(err, NOT_FOUND,
                 "%s has no model for this row, nor a parent or global one: see myriad model list --fleet %s", fleet,
                 fleet);
    }
    if (strcmp(status, "bad_key") == 0) {
        MYR_FAIL(err, BAD_INPUT,
                 "a key of the row is not of its column's type: see the segments of myriad model list --fleet %s",
                 fleet);
    }
    if (strcmp(status, "bad_input") == 0)
        MYR_FAIL(err, BAD_INPUT, "a feature of the row is nothing that its model takes: a text or a missing value");
    MYR_FAIL(err, BAD_FORMAT,
             "the model of this row is damaged (%s): make the release again with myriad release create %s", status,
             fleet);
}

static myr_rc predict_show(const myr_cli *cli, const char *fleet, const myr_buf *json, const myr_err *trouble,
                           myr_err *err)
{
    yyjson_doc *doc = yyjson_read(json->data, json->size, 0);
    if (doc == NULL) MYR_FAIL(err, INTERNAL, "the answer is not JSON: %s", json->data);
    if (cli->json) {
        puts(json->data);
    } else {
        predict_print(yyjson_doc_get_root(doc));
    }
    myr_rc rc = predict_check(fleet, yyjson_doc_get_root(doc), trouble, err);
    yyjson_doc_free(doc);
    return rc;
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
    myr_err trouble = {0};
    myr_rc rc = predict_score(fleet, yyjson_doc_get_root(doc), &out, &trouble, err);
    yyjson_doc_free(doc);
    MYR_TRY(rc);
    return predict_show(cli, name, &out, &trouble, err);
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
