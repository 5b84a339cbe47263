/*
 * Large ONNX models in a process of their own: a file that breaks ONNX Runtime's parser, a graph that runs without end
 * or eats memory takes that process and its own rows. It is asked as score.py is (python.c, python_worker.c), and is
 * this program once more, with a runtime that holds the one model.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/python.h"

#define ISOLATED_ARGS   7 /* before the names of files */
#define ISOLATED_NAME   MYR_RUNTIME_WORKER
#define ISOLATED_HEX    "0000000000000000000000000000000000000000000000000000000000000000"
#define ISOLATED_NO_CAP (1LL << 44)

static char isolated_program[MYR_PATH_BYTES_MAX]; /* "": models stay in this process. Set before threads start */

void myr_runtime_set_worker(const char *program)
{
    snprintf(isolated_program, sizeof isolated_program, "%s", program);
}

/* ---- the asker's side ---- */

bool myr_runtime_isolated_is_on(const myr_runtime_opts *opts)
{
    return opts->isolate_bytes > 0 && isolated_program[0] != '\0';
}

myr_rc myr_runtime_isolated_spawn(python_model *model, const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                                  const myr_external *external, myr_err *err)
{
    static const char *const env[] = {"LANG=C.UTF-8", "PATH=/usr/bin:/bin", NULL};
    char threads[24], bytes_max[24], features[24], outputs[24];
    const char *argv[ISOLATED_ARGS + MYR_RUNTIME_FILES_MAX + 2];
    size_t count = 0;
    int64_t cap = opts->isolate_memory > 0 ? opts->isolate_memory : ISOLATED_NO_CAP;
    snprintf(threads, sizeof threads, "%lld", (long long)opts->threads);
    snprintf(bytes_max, sizeof bytes_max, "%lld", (long long)cap);
    snprintf(features, sizeof features, "%u", external->feature_count);
    snprintf(outputs, sizeof outputs, "%u", external->output_count);
    const char *const first[] = {isolated_program, ISOLATED_NAME, opts->library, threads,
                                 bytes_max,        features,      outputs,       opts->takes_files ? "1" : "0"};
    for (size_t i = 0; i < MYR_COUNT_OF(first); i++)
        argv[count++] = first[i];
    MYR_ASSERT(bundle->file_count <= MYR_RUNTIME_FILES_MAX);
    for (uint32_t i = 0; i < bundle->file_count; i++)
        argv[count++] = bundle->files[i].name;
    argv[count] = NULL;
    const myr_worker_opts worker = {
        .argv = argv, .env = env, .dir = model->dir, .memory_bytes_max = opts->isolate_memory};
    return myr_worker_start(&worker, &model->worker, err);
}

/* ---- the worker's side ---- */

/* Files of the directory that it runs in, by their names; the first is the model. */
typedef struct isolated_files {
    char **names;
    uint32_t count;
} isolated_files;

static void isolated_unload(void *ctx, const myr_runtime_bundle *bundle)
{
    (void)ctx;
    for (uint32_t i = 0; i < bundle->file_count; i++)
        myr_free((void *)(uintptr_t)bundle->files[i].data);
}

static myr_rc isolated_load(void *ctx, const char *hex, myr_arena *arena, myr_runtime_bundle *out, myr_err *err)
{
    const isolated_files *from = ctx;
    (void)hex;
    myr_runtime_file *files = myr_arena_calloc(arena, from->count, sizeof *files);
    if (files == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u files", from->count);
    *out = (myr_runtime_bundle){.files = files};
    for (uint32_t i = 0; i < from->count; i++) {
        char *data = NULL;
        size_t size = 0;
        myr_rc rc = myr_file_read(from->names[i], MYR_FILE_BYTES_MAX, &data, &size, err);
        if (rc != MYR_OK) {
            isolated_unload(ctx, out);
            return rc;
        }
        files[out->file_count++] = (myr_runtime_file){from->names[i], data, size};
    }
    return MYR_OK;
}

/* A reader of a frame; what it asks for past its end is 0, and is_short is set. */
typedef struct isolated_cursor {
    const char *at, *end;
    bool is_short;
} isolated_cursor;

static const char *cursor_take(isolated_cursor *cursor, size_t size)
{
    if ((size_t)(cursor->end - cursor->at) < size) {
        cursor->is_short = true;
        return NULL;
    }
    const char *at = cursor->at;
    cursor->at += size;
    return at;
}

static uint32_t cursor_u32(isolated_cursor *cursor)
{
    unsigned char bytes[4] = {0};
    const char *at = cursor_take(cursor, sizeof bytes);
    if (at != NULL) memcpy(bytes, at, sizeof bytes);
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* What one worker holds. */
typedef struct isolated_worker {
    myr_runtime *runtime;
    myr_runtime_source source;
    uint32_t feature_count, output_count;
    unsigned char *model_bytes; /* compiled for columns as they come, when the first rows say which are texts */
    const myr_model *model;
} isolated_worker;

static myr_rc isolated_bad_frame(myr_err *err)
{
    MYR_FAIL(err, BAD_INPUT, "a frame that is no rows");
}

static myr_rc isolated_read_text_column(isolated_cursor *cursor, uint32_t rows, myr_arena *arena, myr_col *col,
                                        myr_err *err)
{
    myr_str *texts = myr_arena_calloc(arena, rows, sizeof *texts);
    uint8_t *valid = myr_arena_calloc(arena, rows / 8 + 1, 1);
    if (texts == NULL || valid == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u texts", rows);
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t size = cursor_u32(cursor);
        if (size == UINT32_MAX) continue;
        const char *at = cursor_take(cursor, size);
        if (at == NULL) return isolated_bad_frame(err);
        texts[i] = myr_str_make(at, size);
        valid[i / 8] |= (uint8_t)(1u << i % 8);
    }
    *col = (myr_col){.name = col->name, .type = MYR_COL_TEXT, .valid = valid, .data = {.text = texts}};
    return MYR_OK;
}

/* Columns in the arena or in the frame; is_text per column. */
static myr_rc isolated_read(isolated_worker *worker, const myr_buf *frame, myr_arena *arena, myr_col **out_cols,
                            uint8_t **out_text, uint32_t *out_rows, myr_err *err)
{
    isolated_cursor cursor = {frame->data, frame->data + frame->size, false};
    uint32_t rows = cursor_u32(&cursor), count = cursor_u32(&cursor);
    if (cursor.is_short || rows == 0 || rows > frame->size || count != worker->feature_count)
        return isolated_bad_frame(err);
    myr_col *cols = myr_arena_calloc(arena, count + 1, sizeof *cols);
    uint8_t *is_text = myr_arena_calloc(arena, count + 1, 1);
    if (cols == NULL || is_text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", count);
    for (uint32_t j = 0; j < count; j++) {
        uint32_t name_size = cursor_u32(&cursor);
        const char *name = cursor_take(&cursor, name_size), *kind = cursor_take(&cursor, 1);
        if (name == NULL || kind == NULL) return isolated_bad_frame(err);
        cols[j].name = myr_arena_strndup(arena, name, name_size);
        if (cols[j].name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", count);
        is_text[j] = *kind == 1;
        if (is_text[j]) {
            MYR_TRY(isolated_read_text_column(&cursor, rows, arena, &cols[j], err));
            continue;
        }
        const char *cells = cursor_take(&cursor, rows * sizeof(double));
        double *numbers = myr_arena_calloc(arena, rows, sizeof *numbers); /* the frame's lie anywhere */
        if (cells == NULL) return isolated_bad_frame(err);
        if (numbers == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u numbers", rows);
        memcpy(numbers, cells, rows * sizeof(double));
        cols[j] = (myr_col){.name = cols[j].name, .type = MYR_COL_DOUBLE, .data = {.f64 = numbers}};
    }
    *out_cols = cols;
    *out_text = is_text;
    *out_rows = rows;
    return MYR_OK;
}

/* The model as score knows it, once it is known which columns are texts. */
static myr_rc isolated_compile(isolated_worker *worker, const uint8_t *is_text, myr_arena *arena, myr_err *err)
{
    static const unsigned char sha256[MYR_SHA256_BYTES];
    size_t size = 0;
    if (worker->model != NULL) return MYR_OK;
    uint32_t *columns = myr_arena_calloc(arena, worker->feature_count + 1, sizeof *columns);
    if (columns == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", worker->feature_count);
    for (uint32_t j = 0; j < worker->feature_count; j++)
        columns[j] = j;
    const myr_external_desc desc = {.runtime = MYR_RUNTIME_ONNX,
                                    .sha256 = sha256,
                                    .columns = columns,
                                    .is_text = is_text,
                                    .feature_count = worker->feature_count,
                                    .output_count = worker->output_count};
    MYR_TRY(myr_model_compile_external(&desc, worker->feature_count, &worker->model_bytes, &size, err));
    return myr_model_check(worker->model_bytes, size, &worker->model, err);
}

static myr_rc isolated_score(isolated_worker *worker, const myr_buf *frame, myr_arena *arena, myr_buf *out,
                             myr_err *err)
{
    myr_col *cols = NULL;
    uint8_t *is_text = NULL;
    uint32_t rows = 0, width = worker->output_count;
    MYR_TRY(isolated_read(worker, frame, arena, &cols, &is_text, &rows, err));
    MYR_TRY(isolated_compile(worker, is_text, arena, err));
    double **values = myr_arena_calloc(arena, width + 1, sizeof *values);
    uint32_t *order = myr_arena_calloc(arena, rows, sizeof *order);
    uint8_t *is_bad = myr_arena_calloc(arena, rows, 1);
    bool has_room = values != NULL && order != NULL && is_bad != NULL;
    for (uint32_t k = 0; has_room && k < width; k++)
        has_room = (values[k] = myr_arena_calloc(arena, rows, sizeof **values)) != NULL;
    if (!has_room) MYR_FAIL(err, NO_MEMORY, "no memory for %u answers", rows);
    for (uint32_t i = 0; i < rows; i++)
        order[i] = i;
    const myr_runner_call call = {.model = worker->model,
                                  .features = cols,
                                  .feature_stride = 1,
                                  .order = order,
                                  .row_count = rows,
                                  .values = values,
                                  .is_bad = is_bad};
    MYR_TRY(myr_runtime_run(worker->runtime, &worker->source, &call, err));
    myr_buf_putc(out, '\0');
    myr_runtime_frame_put_u32(out, rows);
    myr_runtime_frame_put_u32(out, width);
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t k = 0; k < width; k++)
            myr_buf_append(out, &values[k][i], sizeof(double));
    }
    myr_buf_append(out, is_bad, rows);
    return myr_buf_check(out, err);
}

static myr_rc isolated_say(myr_buf *out, char kind, const char *text, myr_err *err)
{
    myr_buf_clear(out);
    myr_buf_putc(out, kind);
    myr_buf_puts(out, text);
    return myr_worker_tell(out, err);
}

static void isolated_serve(isolated_worker *worker, myr_buf *frame, myr_buf *out)
{
    while (myr_worker_hear(frame, NULL) == MYR_OK) {
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        myr_err err = {0};
        myr_buf_clear(out);
        myr_rc rc = arena != NULL ? isolated_score(worker, frame, arena, out, &err)
                                  : MYR_ERROR(&err, NO_MEMORY, "no memory for the rows");
        rc = rc == MYR_OK ? myr_worker_tell(out, NULL) : isolated_say(out, '\1', err.message, NULL);
        if (rc != MYR_OK) return;
    }
}

static bool isolated_number(const char *text, int64_t most, int64_t *out)
{
    uint64_t value = 0;
    if (!myr_parse_uint64(myr_str_of(text), &value) || value > (uint64_t)most) return false;
    *out = (int64_t)value;
    return true;
}

int myr_runtime_worker_main(int argc, char **argv)
{
    myr_runtime_opts opts = {0};
    int64_t features = 0, outputs = 0, takes_files = 0;
    isolated_files files = {argv + ISOLATED_ARGS - 1, (uint32_t)(argc - (ISOLATED_ARGS - 1))};
    isolated_worker worker = {.source = {.ctx = &files, .load = isolated_load, .unload = isolated_unload}};
    MYR_AUTO(myr_buf) frame = {0};
    MYR_AUTO(myr_buf) out = {0};
    myr_err err = {0};
    myr_opt_defaults(myr_runtime_opt_table, &opts);
    bool is_good = argc >= ISOLATED_ARGS && isolated_number(argv[1], 256, &opts.threads) &&
                   isolated_number(argv[2], INT64_MAX, &opts.bytes_max) &&
                   isolated_number(argv[3], MYR_FEATURES_MAX, &features) &&
                   isolated_number(argv[4], MYR_OUTPUTS_MAX, &outputs) && isolated_number(argv[5], 1, &takes_files) &&
                   opts.threads >= 1 && opts.bytes_max > 0;
    if (!is_good || (size_t)snprintf(opts.library, sizeof opts.library, "%s", argv[0]) >= sizeof opts.library) {
        fputs("myriad: " ISOLATED_NAME " is started by myriad alone\n", stderr);
        return 64;
    }
    opts.isolate_bytes = 0;
    worker.feature_count = (uint32_t)features;
    worker.output_count = (uint32_t)outputs;
    myr_rc rc = myr_runtime_new(&opts, &worker.runtime, &err);
    if (rc == MYR_OK && takes_files != 0) myr_runtime_take_files(worker.runtime);
    if (rc == MYR_OK) rc = myr_runtime_pin(worker.runtime, &worker.source, ISOLATED_HEX, worker.feature_count, &err);
    bool is_loaded = rc == MYR_OK;
    rc = isolated_say(&out, is_loaded ? '\0' : '\1', is_loaded ? "{}" : err.message, NULL);
    if (is_loaded && rc == MYR_OK) isolated_serve(&worker, &frame, &out);
    if (is_loaded) myr_runtime_unpin(worker.runtime, ISOLATED_HEX);
    myr_runtime_release(worker.runtime);
    myr_free(worker.model_bytes);
    return is_loaded ? 0 : 1;
}
