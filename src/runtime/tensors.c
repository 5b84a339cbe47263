/*
 * Cells of columns become tensors, and tensors become values. Inputs take the model's features in order, each as many
 * as it is wide; outputs that are values stand side by side in the answer. What a tensor can't hold (2.5 or nothing in
 * an integer, a word in a number) makes its row bad, and no other.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"

/* Rows that go into one run. Everything in it is this call's. */
typedef struct tensors_run {
    const runtime_session *session;
    const OrtApi *api;
    OrtAllocator *allocator;
    const myr_runner_call *call; /* NULL: a probe of zeros */
    const uint32_t *columns;     /* of the model's features; NULL: a probe */
    uint32_t first, count;       /* rows of the call */
    uint32_t run_rows;           /* count, or the model's fixed number of rows: the last one is repeated */
    void *cells[MYR_RUNTIME_TENSORS_MAX];
    OrtValue *inputs[MYR_RUNTIME_TENSORS_MAX];
    OrtValue *outputs[MYR_RUNTIME_TENSORS_MAX];
    myr_err *err;
} tensors_run;

static void tensors_run_drop(tensors_run *run)
{
    for (uint32_t i = 0; i < run->session->input_count; i++) {
        if (run->inputs[i] != NULL) run->api->ReleaseValue(run->inputs[i]);
        myr_free(run->cells[i]);
        run->inputs[i] = NULL;
        run->cells[i] = NULL;
    }
    for (uint32_t i = 0; i < run->session->value_tensors; i++) {
        if (run->outputs[i] != NULL) run->api->ReleaseValue(run->outputs[i]);
        run->outputs[i] = NULL;
    }
}

static myr_rc run_check(const tensors_run *run, OrtStatus *status, const char *what)
{
    return myr_runtime_check(run->api, status, MYR_BAD_FORMAT, what, run->err);
}

/* ---- cells ---- */

/* The row of the caller's columns that stands at place i of this run. */
static int64_t run_row(const tensors_run *run, uint32_t i)
{
    uint32_t at = run->first + (i < run->count ? i : run->count - 1);
    return run->call->first_row + run->call->order[at];
}

/* Features are strided, `valid` is not. */
static double cell_number(const tensors_run *run, const myr_col *col, int64_t row_idx, bool *out_is_bad)
{
    double value = (double)NAN;
    if (myr_col_is_null(col, row_idx)) return value;
    switch (col->type) {
    case MYR_COL_DOUBLE:
        return col->data.f64[row_idx * run->call->feature_stride];
    case MYR_COL_INT64:
        return (double)col->data.i64[row_idx];
    case MYR_COL_TEXT:
        if (!myr_parse_double(col->data.text[row_idx], &value)) *out_is_bad = true;
        return value;
    }
    return value;
}

/* An integer tensor has no missing value. */
static bool cell_is_whole(double value, double low, double high)
{
    return value >= low && value < high && floor(value) == value; /* a NaN is not */
}

static void cell_put(runtime_class kind, void *cells, size_t at, double value, bool *out_is_bad)
{
    switch (kind) {
    case RUNTIME_FLOAT:
        ((float *)cells)[at] = (float)value;
        return;
    case RUNTIME_DOUBLE:
        ((double *)cells)[at] = value;
        return;
    case RUNTIME_INT64:
        if (!cell_is_whole(value, -0x1p63, 0x1p63)) break;
        ((int64_t *)cells)[at] = (int64_t)value;
        return;
    case RUNTIME_INT32:
        if (!cell_is_whole(value, -0x1p31, 0x1p31)) break;
        ((int32_t *)cells)[at] = (int32_t)value;
        return;
    case RUNTIME_BOOL:
        if (value != 0 && value != 1) break;
        ((bool *)cells)[at] = value != 0;
        return;
    case RUNTIME_TEXT:
    case RUNTIME_BYTES:
    case RUNTIME_MAPS:
    case RUNTIME_CLASS_COUNT:
        break;
    }
    *out_is_bad = true; /* the cell stays 0 */
}

static void run_note_bad(const tensors_run *run, uint32_t i, bool is_bad)
{
    if (is_bad && i < run->count) run->call->is_bad[run->first + i] = 1;
}

static void run_fill(const tensors_run *run, const runtime_tensor *input, void *cells, const uint32_t *columns)
{
    for (uint32_t k = 0; k < input->width; k++) {
        const myr_col *col = &run->call->features[MYR_EXTERNAL_COLUMN(columns[k])];
        for (uint32_t i = 0; i < run->run_rows; i++) {
            bool is_bad = false;
            double value = cell_number(run, col, run_row(run, i), &is_bad);
            cell_put(input->kind, cells, (size_t)i * input->width + k, is_bad ? 0 : value, &is_bad);
            run_note_bad(run, i, is_bad);
        }
    }
}

/* A number as a text is its shortest form: 5 is "5", 2.5 is "2.5". What is missing is "". */
static myr_str cell_text(const tensors_run *run, const myr_col *col, int64_t row_idx,
                         char scratch[MYR_DOUBLE_TEXT_BYTES])
{
    bool is_bad = false;
    if (myr_col_is_null(col, row_idx)) return myr_str_make("", 0);
    if (col->type == MYR_COL_TEXT) return col->data.text[row_idx];
    if (col->type == MYR_COL_INT64) {
        int size = snprintf(scratch, MYR_DOUBLE_TEXT_BYTES, "%lld", (long long)col->data.i64[row_idx]);
        return myr_str_make(scratch, (size_t)size);
    }
    double value = cell_number(run, col, row_idx, &is_bad);
    if (isnan(value)) return myr_str_make("", 0);
    return myr_str_make(scratch, myr_format_double(value, scratch));
}

static myr_rc run_fill_texts(const tensors_run *run, const runtime_tensor *input, OrtValue *value,
                             const uint32_t *columns)
{
    for (uint32_t i = 0; run->call != NULL && i < run->run_rows; i++) {
        for (uint32_t k = 0; k < input->width; k++) {
            char scratch[MYR_DOUBLE_TEXT_BYTES];
            const myr_col *col = &run->call->features[MYR_EXTERNAL_COLUMN(columns[k])];
            myr_str text = cell_text(run, col, run_row(run, i), scratch);
            size_t at = (size_t)i * input->width + k;
            char *room = NULL;
            MYR_TRY(run_check(run, run->api->GetResizedStringTensorElementBuffer(value, at, text.size, &room),
                              input->name));
            if (text.size > 0) memcpy(room, text.data, text.size);
        }
    }
    return MYR_OK;
}

/* ---- inputs ---- */

/* Of the one row of this run: the file that it names. One that can't be read is that row's fault. */
static myr_rc run_read_file(const tensors_run *run, const myr_col *col, char **out, size_t *out_size)
{
    char scratch[MYR_DOUBLE_TEXT_BYTES], path[MYR_PATH_BYTES_MAX];
    myr_str name = cell_text(run, col, run_row(run, 0), scratch);
    if (name.size == 0 || name.size >= sizeof path || memchr(name.data, '\0', name.size) != NULL)
        MYR_FAIL(run->err, BAD_FORMAT, "a file's name has 1 to %zu bytes", sizeof path - 1);
    memcpy(path, name.data, name.size);
    path[name.size] = '\0';
    myr_rc rc = myr_file_read(path, MYR_FILE_BYTES_MAX, out, out_size, run->err);
    return rc == MYR_OK || rc == MYR_NO_MEMORY ? rc : MYR_BAD_FORMAT;
}

static myr_rc run_make_file(tensors_run *run, const uint32_t *columns)
{
    const runtime_tensor *input = &run->session->inputs[0];
    char *data = NULL;
    size_t size = input->dims[0] > 0 ? (size_t)input->dims[0] : 1;
    if (run->call == NULL) { /* a probe of zeros */
        data = myr_calloc(size, 1);
        if (data == NULL) MYR_FAIL(run->err, NO_MEMORY, "no memory for %zu bytes of '%.60s'", size, input->name);
    } else {
        MYR_TRY(run_read_file(run, &run->call->features[MYR_EXTERNAL_COLUMN(columns[0])], &data, &size));
    }
    run->cells[0] = data;
    const int64_t dims[] = {(int64_t)size};
    return run_check(run,
                     run->api->CreateTensorWithDataAsOrtValue(run->session->memory, data, size, dims, 1,
                                                              myr_runtime_class_type(RUNTIME_BYTES), &run->inputs[0]),
                     input->name);
}

static myr_rc run_make_input(tensors_run *run, uint32_t idx, const uint32_t *columns)
{
    const runtime_tensor *input = &run->session->inputs[idx];
    const OrtApi *api = run->api;
    int64_t dims[RUNTIME_RANK_MAX];
    if (run->session->takes_file) return run_make_file(run, columns);
    memcpy(dims, input->dims, sizeof dims);
    dims[0] = run->run_rows;
    ONNXTensorElementDataType type = myr_runtime_class_type(input->kind);
    if (input->kind == RUNTIME_TEXT) {
        OrtStatus *status = api->CreateTensorAsOrtValue(run->allocator, dims, input->rank, type, &run->inputs[idx]);
        MYR_TRY(run_check(run, status, input->name));
        return run_fill_texts(run, input, run->inputs[idx], columns);
    }
    size_t count = (size_t)run->run_rows * input->width;
    size_t bytes = myr_runtime_class_bytes(input->kind);
    run->cells[idx] = myr_calloc(count, bytes);
    if (run->cells[idx] == NULL)
        MYR_FAIL(run->err, NO_MEMORY, "no memory for %u rows of '%.60s'", run->run_rows, input->name);
    if (run->call != NULL) run_fill(run, input, run->cells[idx], columns);
    return run_check(run,
                     api->CreateTensorWithDataAsOrtValue(run->session->memory, run->cells[idx], count * bytes, dims,
                                                         input->rank, type, &run->inputs[idx]),
                     input->name);
}

static myr_rc run_go(tensors_run *run)
{
    const runtime_session *session = run->session;
    const char *input_names[MYR_RUNTIME_TENSORS_MAX];
    const char *output_names[MYR_RUNTIME_TENSORS_MAX];
    uint32_t feature = 0;
    (void)myr_runtime_env_refused(); /* what was before is not of this run */
    for (uint32_t i = 0; i < session->input_count; i++) {
        MYR_TRY(run_make_input(run, i, run->columns != NULL ? run->columns + feature : NULL));
        feature += session->inputs[i].width;
        input_names[i] = session->inputs[i].name;
    }
    MYR_ASSERT(feature == session->feature_count);
    for (uint32_t i = 0; i < session->value_tensors; i++)
        output_names[i] = session->outputs[i].name;
    OrtStatus *status = run->api->Run(session->session, NULL, input_names, (const OrtValue *const *)run->inputs,
                                      session->input_count, output_names, session->value_tensors, run->outputs);
    return run_check(run, status, "a run");
}

/* ---- outputs ---- */

/* The width of an output of a tensor: its values, split evenly over the rows of its first dimension. */
static myr_rc output_tensor_width(const tensors_run *run, uint32_t idx, uint32_t *out_width)
{
    const OrtApi *api = run->api;
    OrtTensorTypeAndShapeInfo *info = NULL;
    int64_t dims[RUNTIME_RANK_MAX] = {0};
    size_t rank = 0, count = 0;
    OrtStatus *status = api->GetTensorTypeAndShape(run->outputs[idx], &info);
    if (status == NULL) status = api->GetDimensionsCount(info, &rank);
    if (status == NULL) status = api->GetTensorShapeElementCount(info, &count);
    if (status == NULL && rank <= RUNTIME_RANK_MAX) status = api->GetDimensions(info, dims, rank);
    if (info != NULL) api->ReleaseTensorTypeAndShapeInfo(info);
    const char *name = run->session->outputs[idx].name;
    MYR_TRY(run_check(run, status, name));
    bool has_rows = run->session->takes_file || (rank > 0 && dims[0] == (int64_t)run->run_rows); /* all is one file's */
    if (!has_rows || rank > RUNTIME_RANK_MAX || count == 0 || count / run->run_rows > MYR_OUTPUTS_MAX) {
        MYR_FAIL(run->err, UNSUPPORTED, "output '%.60s' has %zu values for %u rows, not 1 to %d for each", name, count,
                 run->run_rows, MYR_OUTPUTS_MAX);
    }
    *out_width = (uint32_t)(count / run->run_rows);
    return MYR_OK;
}

typedef myr_rc (*output_visit)(const tensors_run *run, uint32_t row, size_t width, const float *values, void *ctx);

/* The maps of one output: the values of each, in the order of their keys. */
static myr_rc output_each_map(const tensors_run *run, uint32_t idx, output_visit visit, void *ctx)
{
    const OrtApi *api = run->api;
    const char *name = run->session->outputs[idx].name;
    size_t rows = 0;
    MYR_TRY(run_check(run, api->GetValueCount(run->outputs[idx], &rows), name));
    if (rows != run->run_rows) {
        MYR_FAIL(run->err, UNSUPPORTED, "output '%.60s' has %zu maps for %u rows", name, rows, run->run_rows);
    }
    for (uint32_t i = 0; i < run->run_rows; i++) {
        OrtValue *map = NULL, *values = NULL;
        OrtTensorTypeAndShapeInfo *info = NULL;
        size_t width = 0;
        void *data = NULL;
        OrtStatus *status = api->GetValue(run->outputs[idx], (int)i, run->allocator, &map);
        if (status == NULL) status = api->GetValue(map, 1, run->allocator, &values); /* 0 has the keys, sorted */
        if (status == NULL) status = api->GetTensorTypeAndShape(values, &info);
        if (status == NULL) status = api->GetTensorShapeElementCount(info, &width);
        if (status == NULL) status = api->GetTensorMutableData(values, &data);
        myr_rc rc = status == NULL ? visit(run, i, width, data, ctx) : run_check(run, status, name);
        if (info != NULL) api->ReleaseTensorTypeAndShapeInfo(info);
        if (values != NULL) api->ReleaseValue(values);
        if (map != NULL) api->ReleaseValue(map);
        MYR_TRY(rc);
    }
    return MYR_OK;
}

static myr_rc output_fail_width(const tensors_run *run, const char *name, size_t width, uint32_t wanted)
{
    MYR_FAIL(run->err, UNSUPPORTED, "output '%.60s' has %zu values for a row, %u before", name, width, wanted);
}

static myr_rc output_map_width(const tensors_run *run, uint32_t row, size_t width, const float *values, void *ctx)
{
    (void)values;
    uint32_t *known = ctx;
    if (width == 0 || width > MYR_OUTPUTS_MAX) {
        MYR_FAIL(run->err, UNSUPPORTED, "a map of %zu values, 1 to %d can be an answer", width, MYR_OUTPUTS_MAX);
    }
    if (row > 0 && width != *known) return output_fail_width(run, "map", width, *known);
    *known = (uint32_t)width;
    return MYR_OK;
}

/* Where the values of one output go. */
typedef struct output_place {
    const runtime_tensor *output;
    uint32_t first_value;
} output_place;

static void output_put(const tensors_run *run, uint32_t i, uint32_t value_idx, double value)
{
    run->call->values[value_idx][run_row(run, i)] = value;
}

static myr_rc output_put_map(const tensors_run *run, uint32_t row, size_t width, const float *values, void *ctx)
{
    const output_place *place = ctx;
    if (width != place->output->width) return output_fail_width(run, place->output->name, width, place->output->width);
    if (row >= run->count) return MYR_OK;
    for (uint32_t k = 0; k < place->output->width; k++)
        output_put(run, row, place->first_value + k, (double)values[k]);
    return MYR_OK;
}

static double output_cell(runtime_class kind, const void *cells, size_t at)
{
    switch (kind) {
    case RUNTIME_FLOAT:
        return (double)((const float *)cells)[at];
    case RUNTIME_DOUBLE:
        return ((const double *)cells)[at];
    case RUNTIME_INT64:
        return (double)((const int64_t *)cells)[at];
    case RUNTIME_INT32:
        return (double)((const int32_t *)cells)[at];
    case RUNTIME_BOOL:
        return ((const bool *)cells)[at] ? 1.0 : 0.0;
    case RUNTIME_BYTES:
        return (double)((const uint8_t *)cells)[at];
    case RUNTIME_TEXT:
    case RUNTIME_MAPS:
    case RUNTIME_CLASS_COUNT:
        break;
    }
    return (double)NAN;
}

static myr_rc output_take(const tensors_run *run, uint32_t idx, uint32_t first_value)
{
    const runtime_tensor *output = &run->session->outputs[idx];
    output_place place = {output, first_value};
    if (output->kind == RUNTIME_MAPS) return output_each_map(run, idx, output_put_map, &place);
    uint32_t width = 0;
    MYR_TRY(output_tensor_width(run, idx, &width));
    if (width != output->width) return output_fail_width(run, output->name, width, output->width);
    void *cells = NULL;
    MYR_TRY(run_check(run, run->api->GetTensorMutableData(run->outputs[idx], &cells), output->name));
    for (uint32_t i = 0; i < run->count; i++) {
        for (uint32_t k = 0; k < width; k++)
            output_put(run, i, first_value + k, output_cell(output->kind, cells, (size_t)i * width + k));
    }
    return MYR_OK;
}

static myr_rc run_take(const tensors_run *run)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < run->session->value_tensors; i++) {
        MYR_TRY(output_take(run, i, value));
        value += run->session->outputs[i].width;
    }
    return MYR_OK;
}

/* ---- a probe ---- */

/* The width that the file says, or 0. */
static uint32_t probe_said_width(const runtime_tensor *output, bool takes_file)
{
    uint64_t width = output->kind == RUNTIME_MAPS || (output->rank == 0 && !takes_file) ? 0 : 1;
    for (uint32_t d = takes_file ? 0 : 1; d < output->rank; d++) {
        if (output->dims[d] <= 0 || output->dims[d] > MYR_OUTPUTS_MAX) return 0;
        width *= (uint64_t)output->dims[d];
        if (width > MYR_OUTPUTS_MAX) return 0;
    }
    return (uint32_t)width;
}

static myr_rc probe_steps(tensors_run *run, runtime_session *session)
{
    MYR_TRY(run_go(run));
    for (uint32_t i = 0; i < session->value_tensors; i++) {
        runtime_tensor *output = &session->outputs[i];
        uint32_t width = 0;
        if (output->kind == RUNTIME_MAPS) {
            MYR_TRY(output_each_map(run, i, output_map_width, &width));
        } else {
            MYR_TRY(output_tensor_width(run, i, &width));
        }
        output->width = width;
    }
    return MYR_OK;
}

myr_rc myr_runtime_session_probe(runtime_session *session, myr_err *err)
{
    tensors_run run = {.session = session, .api = session->api, .count = 1, .err = err};
    run.run_rows = session->batch != 0 ? (uint32_t)session->batch : 2; /* 2: so that a dimension of rows shows */
    if (session->takes_file) run.run_rows = 1;
    MYR_TRY(run_check(&run, run.api->GetAllocatorWithDefaultOptions(&run.allocator), "a run"));
    myr_rc rc = probe_steps(&run, session);
    tensors_run_drop(&run);
    uint64_t total = 0;
    for (uint32_t i = 0; i < session->value_tensors; i++) {
        runtime_tensor *output = &session->outputs[i];
        /* A model may refuse a row of zeros (an encoder that knows no such category) and still be sound. */
        if (rc == MYR_BAD_FORMAT) output->width = probe_said_width(output, session->takes_file);
        if (output->width == 0) {
            if (rc != MYR_OK) return rc;
            MYR_FAIL(err, UNSUPPORTED, "output '%.60s' has no values", output->name);
        }
        total += output->width;
    }
    if (rc != MYR_OK && rc != MYR_BAD_FORMAT) return rc;
    if (total > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%llu values a row, at most %d", (unsigned long long)total, MYR_OUTPUTS_MAX);
    }
    session->value_count = (uint32_t)total;
    return MYR_OK;
}

/* ---- rows ---- */

static myr_rc run_rows(tensors_run *run, uint32_t first, uint32_t count)
{
    run->first = first;
    run->count = count;
    run->run_rows = run->session->batch != 0 ? (uint32_t)run->session->batch : count;
    myr_rc rc = run_go(run);
    if (rc == MYR_OK) rc = run_take(run);
    tensors_run_drop(run);
    return rc;
}

/* A model that refuses some row gives no answer to any of them: ask again one by one, and the bad ones show. */
static myr_rc run_one_by_one(tensors_run *run, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        myr_rc rc = run_rows(run, first + i, 1);
        if (rc == MYR_BAD_FORMAT) {
            run->call->is_bad[first + i] = 1;
        } else {
            MYR_TRY(rc);
        }
    }
    return MYR_OK;
}

static uint32_t run_step(const runtime_session *session)
{
    if (session->batch != 0) return (uint32_t)session->batch;
    if (session->takes_file) return 1;
    uint32_t rows = RUNTIME_CELLS_MAX /
                    (session->feature_count > session->value_count ? session->feature_count : session->value_count);
    if (rows == 0) return 1;
    return rows < RUNTIME_ROWS_MAX ? rows : RUNTIME_ROWS_MAX;
}

myr_rc myr_runtime_session_run(const runtime_session *session, const myr_runner_call *call, myr_err *err)
{
    myr_external external = {0};
    tensors_run run = {.session = session, .api = session->api, .call = call, .err = err};
    if (!myr_model_external(call->model, &external) || external.feature_count != session->feature_count ||
        external.output_count != session->value_count) {
        MYR_FAIL(err, BAD_FORMAT, "the model takes %u columns and gives %u values a row, its artifact %u and %u",
                 external.feature_count, external.output_count, session->feature_count, session->value_count);
    }
    run.columns = external.columns;
    MYR_TRY(run_check(&run, run.api->GetAllocatorWithDefaultOptions(&run.allocator), "a run"));
    uint32_t step = run_step(session);
    for (uint32_t first = 0; first < call->row_count; first += step) {
        uint32_t count = call->row_count - first < step ? call->row_count - first : step;
        myr_rc rc = run_rows(&run, first, count);
        bool is_refused =
            rc == MYR_BAD_FORMAT || (session->takes_file && rc == MYR_UNSUPPORTED); /* as many values as it likes */
        if (is_refused && count == 1) {
            call->is_bad[first] = 1;
            continue;
        }
        bool is_worth_it = rc == MYR_BAD_FORMAT || (rc == MYR_NO_MEMORY && count > 1); /* fewer rows take less */
        if (is_worth_it) rc = run_one_by_one(&run, first, count);
        MYR_TRY(rc);
    }
    return MYR_OK;
}
