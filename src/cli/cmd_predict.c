/* `myriad predict F --row JSON`: one answer, without a server, by the same path as batch and REST. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "serve/serve.h"

/* *out_trouble: why a model that is not ours gave no answer, if one did not. */
static myr_rc predict_score(const myr_fleet *fleet, yyjson_val *row, myr_output output, myr_buf *out,
                            myr_err *out_trouble, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_score_scratch *scratch = myr_score_scratch_new();
    myr_score_rows rows = {0};
    myr_rc rc = arena != NULL && scratch != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "out of memory");
    if (rc == MYR_OK) rc = myr_fleet_decode_rows(fleet, &row, 1, false, arena, &rows, err);
    rows.output = output;
    if (rc == MYR_OK) rc = myr_fleet_score_json(fleet, scratch, &rows, arena, out, err);
    if (rc == MYR_OK) *out_trouble = *myr_score_trouble(scratch);
    myr_score_scratch_free(scratch);
    return rc == MYR_OK ? myr_buf_check(out, err) : rc;
}

/* The same through the stages of a service file. Deadlines don't count, and nothing is stored. */
static myr_rc predict_stages(myr_stages *stages, yyjson_val *row, myr_output output, myr_buf *out, myr_err *out_trouble,
                             myr_err *err)
{
    static const int64_t hour_ms = 3600000;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    const myr_stages_ask ask = {.output = output, .limit_ms = hour_ms};
    const myr_fleet *fleet;
    myr_score_rows rows = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_stages_begin(stages, &fleet, err));
    myr_rc rc = myr_fleet_decode_rows(fleet, &row, 1, false, arena, &rows, err);
    if (rc == MYR_OK) {
        rc = myr_stages_run(stages, &rows, &ask, arena, err);
        *out_trouble = *myr_stages_trouble(stages);
        if (rc == MYR_OK) rc = myr_stages_put(stages, 0, out, err);
        myr_stages_forget(stages, rc == MYR_OK);
    }
    myr_stages_end(stages);
    return rc;
}

/* One margin's contributions, the largest first to be seen at once. */
static void predict_print_contributions(yyjson_val *one)
{
    yyjson_val *features = yyjson_obj_get(one, "features");
    size_t count = yyjson_obj_size(features);
    double last = INFINITY;
    for (size_t done = 0; done < count;) { /* by size, equal ones in their order; few features, one row */
        double next = -1;
        size_t idx, max;
        yyjson_val *key, *val;
        yyjson_obj_foreach(features, idx, max, key, val)
        {
            double size = fabs(yyjson_get_num(val));
            if (size < last && size > next) next = size;
        }
        if (next < 0) break; /* null: infinite or no number */
        yyjson_obj_foreach(features, idx, max, key, val)
        {
            if (fabs(yyjson_get_num(val)) != next) continue;
            printf("  %+-12.6g %s\n", yyjson_get_num(val), yyjson_get_str(key));
            done++;
        }
        last = next;
    }
    printf("  %+-12.6g (base)\n", yyjson_get_num(yyjson_obj_get(one, "base")));
}

static void predict_print_values(yyjson_val *values, myr_output output)
{
    size_t idx, max;
    yyjson_val *one;
    if (output == MYR_OUTPUT_CONTRIBUTION && yyjson_is_obj(values)) {
        puts("contribution");
        predict_print_contributions(values);
        return;
    }
    if (output == MYR_OUTPUT_CONTRIBUTION && yyjson_is_arr(values)) {
        yyjson_arr_foreach(values, idx, max, one)
        {
            printf("contribution to margin %zu\n", idx);
            predict_print_contributions(one);
        }
        return;
    }
    char *text = yyjson_val_write(values, 0, NULL);
    printf("%-10s %s\n", output == MYR_OUTPUT_VALUE ? "prediction" : myr_output_name(output),
           text != NULL ? text : "null");
    free(text); /* yyjson allocated it */
}

/* What stages have added: a message, where a stored prediction came from, fields of the score script. */
static void predict_print_more(yyjson_val *answer)
{
    static const char *const known[] = {"model", "model_version", "level", "status", NULL};
    size_t idx, max;
    yyjson_val *key, *val;
    yyjson_obj_foreach(answer, idx, max, key, val)
    {
        myr_output output;
        const char *name = yyjson_get_str(key);
        bool is_shown = strcmp(name, "prediction") == 0 || myr_output_parse(myr_str_of(name), &output);
        for (size_t i = 0; known[i] != NULL; i++)
            is_shown = is_shown || strcmp(name, known[i]) == 0;
        if (is_shown) continue;
        char *text = yyjson_val_write(val, 0, NULL);
        printf("%-10s %s\n", name, yyjson_is_str(val) ? yyjson_get_str(val) : text != NULL ? text : "null");
        free(text); /* yyjson allocated it */
    }
}

/* The answer for people, from the answer for machines. */
static void predict_print(yyjson_val *answer, myr_output output)
{
    yyjson_val *values = yyjson_obj_get(answer, output == MYR_OUTPUT_VALUE ? "prediction" : myr_output_name(output));
    const char *model = yyjson_get_str(yyjson_obj_get(answer, "model"));
    if (model != NULL) {
        predict_print_values(values, output);
        printf("model      %s, version %lld\n", model,
               (long long)yyjson_get_sint(yyjson_obj_get(answer, "model_version")));
    }
    const char *level = yyjson_get_str(yyjson_obj_get(answer, "level"));
    const char *status = yyjson_get_str(yyjson_obj_get(answer, "status"));
    printf("level      %s\nstatus     %s\n", level != NULL ? level : "", status != NULL ? status : "");
    predict_print_more(answer);
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
    const char *message = yyjson_get_str(yyjson_obj_get(answer, "message"));
    if (message != NULL) MYR_FAIL(err, BAD_INPUT, "%s: %s", status, message);
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
    if (strcmp(status, "no_output") == 0) {
        MYR_FAIL(err, UNSUPPORTED, "the model of this row does not give this output, or not as wide as others of %s",
                 fleet);
    }
    MYR_FAIL(err, BAD_FORMAT,
             "the model of this row is damaged (%s): make the release again with myriad release create %s", status,
             fleet);
}

static myr_rc predict_show(const myr_cli *cli, const char *fleet, myr_output output, const myr_buf *json,
                           const myr_err *trouble, myr_err *err)
{
    yyjson_doc *doc = yyjson_read(json->data, json->size, 0);
    if (doc == NULL) MYR_FAIL(err, INTERNAL, "the answer is not JSON: %s", json->data);
    if (cli->json) {
        puts(json->data);
    } else {
        predict_print(yyjson_doc_get_root(doc), output);
    }
    myr_rc rc = predict_check(fleet, yyjson_doc_get_root(doc), trouble, err);
    yyjson_doc_free(doc);
    return rc;
}

typedef struct predict_ask {
    const char *fleet, *row, *service; /* service NULL: models alone */
    int64_t release;
    myr_output output;
} predict_ask;

static myr_rc predict_answer(const myr_cli *cli, const predict_ask *ask, yyjson_val *row, myr_buf *out,
                             myr_err *out_trouble, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_TRY(myr_cli_workspace(cli, &workspace, err));
    if (ask->service != NULL) {
        myr_stages *stages = NULL;
        MYR_TRY(myr_stages_open(workspace->root, ask->service, ask->fleet, &stages, err));
        myr_rc rc = predict_stages(stages, row, ask->output, out, out_trouble, err);
        myr_stages_close(stages);
        return rc;
    }
    MYR_AUTO(myr_fleet_ptr) fleet = NULL;
    MYR_TRY(myr_fleet_open(workspace, ask->fleet, ask->release, &fleet, err));
    return predict_score(fleet, row, ask->output, out, out_trouble, err);
}

static myr_rc predict_run(const myr_cli *cli, const predict_ask *ask, myr_err *err)
{
    myr_str text = myr_str_of(ask->row);
    yyjson_read_err json_err;
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.data, text.size, 0, NULL, &json_err);
    if (doc == NULL)
        MYR_FAIL(err, BAD_INPUT, "--row: byte %zu: %s: give a JSON object like '{\"store\":2}'", json_err.pos,
                 json_err.msg);
    MYR_AUTO(myr_buf) out = {0};
    myr_err trouble = {0};
    myr_rc rc = predict_answer(cli, ask, yyjson_doc_get_root(doc), &out, &trouble, err);
    yyjson_doc_free(doc);
    MYR_TRY(rc);
    return predict_show(cli, ask->fleet, ask->output, &out, &trouble, err);
}

myr_rc myr_cmd_predict(int argc, char **argv, myr_err *err)
{
    const char *output_name = "value";
    predict_ask ask = {.output = MYR_OUTPUT_VALUE};
    const myr_cli_arg args[] = {
        {"FLEET", NULL, MYR_CLI_POSITIONAL, &ask.fleet, "the fleet"},
        {"--row", "JSON", MYR_CLI_TEXT, &ask.row, "an object with the partition columns and the features"},
        {"--output", "WHAT", MYR_CLI_TEXT, &output_name, "value (default), margin, probability, leaf or contribution"},
        {"--release", "N", MYR_CLI_INT, &ask.release, "a release by number (default: champion)"},
        {"--service", "FILE", MYR_CLI_TEXT, &ask.service, "with the stages of this service file; nothing is stored"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("predict", "score one row, without a server",
                          "myriad predict oj --row '{\"store\":2,\"brand\":1,\"week\":153,\"price1\":0.06}'", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    if (ask.row == NULL) MYR_FAIL(err, BAD_USAGE, "myriad predict: --row is missing: give a JSON object");
    if (!myr_output_parse(myr_str_of(output_name), &ask.output)) {
        MYR_FAIL(err, BAD_USAGE,
                 "myriad predict: --output '%s' is not known: value, margin, probability, leaf or contribution",
                 output_name);
    }
    if (ask.service != NULL && ask.release != 0) {
        MYR_FAIL(err, BAD_USAGE, "myriad predict: --service serves the champion: leave out --release");
    }
    return predict_run(&cli, &ask, err);
}
