/*
 * One score.py in a worker process: its files in a directory of their own, its environment, what it says of itself, and
 * rows as frames (share/python/worker.py has the other end).
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yyjson.h>

#include "runtime/python.h"

#define PYTHON_DIR_TRIES   8
#define PYTHON_INSTALL_MS  600000     /* to make an environment */
#define PYTHON_FILE_BYTES  (64 << 20) /* of a file that a worker writes */
#define PYTHON_WORKER_CODE ((const char *)myr_embed_worker_py)

extern const unsigned char myr_embed_worker_py[];

/* ---- a directory for its files ---- */

/* <tmp>/myriad-<user>, ours alone: in a directory that all may write to, somebody else may have made it. */
static myr_rc python_base_dir(char *out, size_t out_bytes, myr_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char dir[MYR_PATH_BYTES_MAX];
    struct stat st;
    int size = snprintf(out, out_bytes, "%s/myriad-%ld", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp", (long)geteuid());
    if (size < 0 || (size_t)size >= out_bytes) MYR_FAIL(err, BAD_INPUT, "TMPDIR is too long");
    myr_path_dir(out, dir, sizeof dir);
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(myr_io_mkdir_private(out, err));
    if (lstat(out, &st) != 0) MYR_FAIL(err, IO, "%s: %s", out, strerror(errno));
    if (S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0) return MYR_OK;
    MYR_FAIL(err, DENIED, "%s is not a directory of this user alone: remove it, or set TMPDIR", out);
}

/* Directories of processes that were killed: nobody has their lock. */
static void python_sweep_dirs(const char *base)
{
    char **names, path[MYR_PATH_BYTES_MAX];
    size_t count;
    if (myr_io_list(base, &names, &count, NULL) != MYR_OK) return;
    for (size_t i = 0; i < count; i++) {
        myr_fd lock = -1;
        if (!myr_str_ends_with(myr_str_of(names[i]), ".lock")) continue;
        if (myr_path_join(path, sizeof path, base, names[i], NULL) != MYR_OK) continue;
        if (myr_io_lock(path, &lock, NULL) != MYR_OK) continue;
        MYR_IGNORE(myr_io_unlink(path, NULL)); /* best effort, as what follows */
        path[strlen(path) - strlen(".lock")] = '\0';
        MYR_IGNORE(myr_io_remove_tree(path, NULL));
        MYR_IGNORE(myr_io_close(&lock, path, NULL));
    }
    myr_names_free(names, count);
}

static myr_rc python_make_dir(python_model *model, myr_err *err)
{
    char base[MYR_PATH_BYTES_MAX / 2], lock[MYR_PATH_BYTES_MAX];
    MYR_TRY(python_base_dir(base, sizeof base, err));
    python_sweep_dirs(base);
    for (int i = 0; i < PYTHON_DIR_TRIES; i++) {
        uint64_t number;
        MYR_TRY(myr_random(&number, sizeof number, err));
        snprintf(model->dir, sizeof model->dir, "%s/model-%016llx", base, (unsigned long long)number);
        snprintf(lock, sizeof lock, "%s/model-%016llx.lock", base, (unsigned long long)number);
        if (myr_io_lock(lock, &model->lock, NULL) == MYR_OK) return myr_io_mkdirs(model->dir, err);
    }
    model->dir[0] = '\0';
    MYR_FAIL(err, IO, "%s: no directory can be made there", base);
}

/* Import lets no other name pass; an artifact that has one is damaged. */
static bool python_name_is_good(const char *name)
{
    myr_str rest = myr_str_of(name), part;
    while (myr_str_split(&rest, '/', &part)) {
        if (part.size == 0 || part.data[0] == '.') return false;
    }
    return name[0] != '\0';
}

static myr_rc python_write_file(const python_model *model, const myr_runtime_file *file, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX];
    if (!python_name_is_good(file->name)) MYR_FAIL(err, BAD_FORMAT, "a file of the model is named '%.80s'", file->name);
    MYR_TRY(myr_path_join(path, sizeof path, model->dir, file->name, err));
    myr_path_dir(path, dir, sizeof dir);
    MYR_TRY(myr_io_mkdirs(dir, err));
    return myr_file_write(path, file->data, file->size_bytes, err);
}

/* ---- start and end ---- */

/* Without a network unless it is asked for; where the kernel permits no such thing it has one, and people are told. */
static bool python_is_offline(const python_model *model, const myr_runtime_opts *opts)
{
    bool is_asked = opts->network == MYR_ASK_YES || (opts->network == MYR_ASK_MODEL && model->wants.network);
    return !is_asked && myr_offline_find() != MYR_OFFLINE_NO;
}

const char *myr_runtime_offline(bool *out_is_kept)
{
    myr_offline how = myr_offline_find();
    *out_is_kept = how != MYR_OFFLINE_NO;
    return *out_is_kept ? myr_offline_name(how) : "this kernel lets this user make no network name space";
}

static myr_rc python_spawn(python_model *model, const myr_runtime_opts *opts, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX + 8], home[MYR_PATH_BYTES_MAX + 8];
    const char *env_path = getenv("PATH");
    snprintf(path, sizeof path, "PATH=%s", env_path != NULL ? env_path : "/usr/bin:/bin");
    snprintf(home, sizeof home, "HOME=%s", model->dir);
    const char *const env[] = {path,
                               home,
                               "LANG=C.UTF-8",
                               "PYTHONDONTWRITEBYTECODE=1",
                               "PYTHONUNBUFFERED=1",
                               "OMP_NUM_THREADS=1",
                               "OPENBLAS_NUM_THREADS=1",
                               "MKL_NUM_THREADS=1",
                               opts->takes_files ? "MYRIAD_FILES=1" : NULL,
                               NULL};
    const char *const argv[] = {myr_environment_python(model->environment), "-c", PYTHON_WORKER_CODE, NULL};
    const myr_worker_opts worker = {.argv = argv,
                                    .env = env,
                                    .dir = model->dir,
                                    .memory_bytes_max = opts->python_memory,
                                    .is_offline = python_is_offline(model, opts),
                                    .file_bytes_max = PYTHON_FILE_BYTES};
    return myr_worker_start(&worker, &model->worker, err);
}

myr_rc myr_runtime_environments_dir(const myr_runtime_opts *opts, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int size = snprintf(out, MYR_PATH_BYTES_MAX, "%s", opts->python_environments);
    if (out[0] == '\0' && cache != NULL && cache[0] == '/') {
        size = snprintf(out, MYR_PATH_BYTES_MAX, "%s/myriad/environments", cache);
    } else if (out[0] == '\0') {
        size = snprintf(out, MYR_PATH_BYTES_MAX, "%s/.cache/myriad/environments", home != NULL ? home : "/tmp");
    }
    if (size < 0 || size >= MYR_PATH_BYTES_MAX) MYR_FAIL(err, BAD_INPUT, "the path of environments is too long");
    return MYR_OK;
}

myr_rc myr_runtime_python_program(const myr_runtime_opts *opts, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    const char *name = opts->python_program[0] != '\0' ? opts->python_program : "python3";
    return myr_program_find(name, out, MYR_PATH_BYTES_MAX, err);
}

static myr_rc python_environment(python_model *model, const myr_runtime_opts *opts, bool has_requirements,
                                 bool only_found, const _Atomic bool *stop, myr_err *err)
{
    char python[MYR_PATH_BYTES_MAX], requirements[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_runtime_python_program(opts, python, err));
    MYR_TRY(myr_path_join(requirements, sizeof requirements, model->dir, PYTHON_REQUIREMENTS, err));
    MYR_TRY(myr_runtime_environments_dir(opts, dir, err));
    const myr_environment_opts environment = {.dir = dir,
                                              .python = python,
                                              .requirements = has_requirements ? requirements : NULL,
                                              .only_found = only_found,
                                              .require_hashes = opts->python_require_hashes || opts->job_hashes ||
                                                                model->wants.require_hashes,
                                              .timeout_ms = PYTHON_INSTALL_MS,
                                              .bytes_max = opts->python_environments_bytes,
                                              .stop = stop};
    if (has_requirements) memcpy(model->environments, dir, sizeof model->environments);
    model->keep_ms = opts->python_keep_ms;
    model->bytes_max = opts->python_environments_bytes;
    return myr_environment_acquire(&environment, &model->environment, err);
}

static myr_rc python_read_names(yyjson_val *list, myr_arena *arena, const char *const **out, uint32_t *out_count,
                                myr_err *err)
{
    size_t idx, max, count = yyjson_arr_size(list);
    yyjson_val *item;
    *out = NULL;
    *out_count = 0;
    if (!yyjson_is_arr(list)) return MYR_OK;
    if (count > MYR_FEATURES_MAX)
        MYR_FAIL(err, TOO_LARGE, "score.py names %zu features, at most %d", count, MYR_FEATURES_MAX);
    const char **names = myr_arena_calloc(arena, count + 1, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu names", count);
    yyjson_arr_foreach(list, idx, max, item)
    {
        names[idx] = myr_arena_strndup(arena, yyjson_get_str(item), yyjson_get_len(item));
        if (names[idx] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu names", count);
    }
    *out = names;
    *out_count = (uint32_t)count;
    return MYR_OK;
}

/* What it says when init() is over. */
static myr_rc python_hello(python_model *model, myr_arena *arena, myr_err *err)
{
    int64_t deadline_ns = myr_clock_mono_ns() + model->timeout_ms * 1000000;
    MYR_TRY(myr_worker_ask(model->worker, NULL, deadline_ns, &model->answer, err));
    const myr_buf *hello = &model->answer;
    if (hello->size > 0 && hello->data[0] == 1) MYR_FAIL(err, UNAVAILABLE, "%s", hello->data + 1);
    yyjson_doc *doc = hello->size > 1 && hello->data[0] == 0 ? yyjson_read(hello->data + 1, hello->size - 1, 0) : NULL;
    if (doc == NULL) MYR_FAIL(err, UNAVAILABLE, "its worker does not speak as it should");
    yyjson_val *root = yyjson_doc_get_root(doc);
    myr_rc rc = MYR_OK;
    model->takes_files = yyjson_equals_str(yyjson_obj_get(root, "items"), "files");
    model->output_count = yyjson_get_sint(yyjson_obj_get(root, "outputs"));
    if (arena != NULL) {
        rc = python_read_names(yyjson_obj_get(root, "features"), arena, &model->features, &model->feature_count, err);
        if (rc == MYR_OK)
            rc = python_read_names(yyjson_obj_get(root, "texts"), arena, &model->texts, &model->text_count, err);
    }
    yyjson_doc_free(doc);
    return rc;
}

/* Its files, and what they need. */
static myr_rc python_furnish(python_model *model, const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                             bool only_found, const _Atomic bool *stop, myr_err *err)
{
    bool has_requirements = false;
    model->wants = bundle->wants;
    MYR_TRY(python_make_dir(model, err));
    for (uint32_t i = 0; i < bundle->file_count; i++) {
        MYR_TRY(python_write_file(model, &bundle->files[i], err));
        has_requirements = has_requirements || strcmp(bundle->files[i].name, PYTHON_REQUIREMENTS) == 0;
    }
    return python_environment(model, opts, has_requirements, only_found, stop, err);
}

static myr_rc python_open(python_model *model, const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                          myr_arena *arena, bool only_found, myr_err *err)
{
    MYR_TRY(python_furnish(model, opts, bundle, only_found, NULL, err));
    MYR_TRY(python_spawn(model, opts, err));
    model->run_name = "run()";
    model->timeout_ms = opts->python_timeout_ms;
    return python_hello(model, arena, err);
}

static python_model *python_new(void)
{
    python_model *model = myr_calloc(1, sizeof *model);
    if (model != NULL) model->lock = -1;
    return model;
}

myr_rc myr_runtime_python_open(const myr_runtime_opts *opts, const myr_runtime_bundle *bundle, myr_arena *arena,
                               bool only_found, python_model **out, myr_err *err)
{
    python_model *model = python_new();
    if (model == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a worker");
    myr_rc rc = python_open(model, opts, bundle, arena, only_found, err);
    if (rc != MYR_OK) {
        myr_runtime_python_close(model);
        return rc;
    }
    *out = model;
    return MYR_OK;
}

static myr_rc isolated_open(python_model *model, const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                            const myr_external *external, myr_err *err)
{
    MYR_TRY(python_make_dir(model, err));
    for (uint32_t i = 0; i < bundle->file_count; i++)
        MYR_TRY(python_write_file(model, &bundle->files[i], err));
    model->run_name = "a run";
    model->timeout_ms = opts->isolate_timeout_ms;
    MYR_TRY(myr_runtime_isolated_spawn(model, opts, bundle, external, err));
    return python_hello(model, NULL, err);
}

myr_rc myr_runtime_isolated_open(const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                                 const myr_external *external, python_model **out, myr_err *err)
{
    python_model *model = python_new();
    if (model == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a worker");
    myr_rc rc = isolated_open(model, opts, bundle, external, err);
    if (rc != MYR_OK) {
        myr_runtime_python_close(model);
        return rc;
    }
    *out = model;
    return MYR_OK;
}

static void python_drop_dir(python_model *model)
{
    char lock[MYR_PATH_BYTES_MAX + 8];
    if (model->dir[0] == '\0') return;
    MYR_IGNORE(myr_io_remove_tree(model->dir, NULL)); /* best effort: the next sweep finds what is left */
    snprintf(lock, sizeof lock, "%s.lock", model->dir);
    MYR_IGNORE(myr_io_unlink(lock, NULL));
    myr_fd_drop(&model->lock);
    model->lock = -1;
    model->dir[0] = '\0';
}

void myr_runtime_python_close(python_model *model)
{
    if (model == NULL) return;
    myr_worker_stop(model->worker);
    myr_environment_release(model->environment);
    if (model->environments[0] != '\0') myr_environment_sweep(model->environments, model->keep_ms, model->bytes_max);
    python_drop_dir(model);
    myr_buf_fini(&model->request);
    myr_buf_fini(&model->answer);
    myr_free(model);
}

myr_rc myr_runtime_python_prepare(const myr_runtime_opts *opts, const myr_runtime_bundle *bundle, bool only_found,
                                  const _Atomic bool *stop, python_model **out, myr_err *err)
{
    python_model *model = python_new();
    if (model == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an environment");
    myr_rc rc = python_furnish(model, opts, bundle, only_found, stop, err);
    python_drop_dir(model); /* its files were for pip alone */
    if (rc != MYR_OK) {
        myr_runtime_python_close(model);
        return rc;
    }
    *out = model;
    return MYR_OK;
}

/* ---- rows ---- */

void myr_runtime_frame_put_u32(myr_buf *out, uint32_t value)
{
    unsigned char bytes[4] = {(unsigned char)value, (unsigned char)(value >> 8), (unsigned char)(value >> 16),
                              (unsigned char)(value >> 24)};
    myr_buf_append(out, bytes, sizeof bytes);
}

static uint32_t frame_get_u32(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static double frame_number(const myr_runner_call *call, const myr_col *col, uint32_t i)
{
    int64_t row = call->first_row + call->order[i];
    double value = (double)NAN;
    if (myr_col_is_null(col, row)) return value;
    switch (col->type) {
    case MYR_COL_DOUBLE:
        return col->data.f64[row * call->feature_stride];
    case MYR_COL_INT64:
        return (double)col->data.i64[row];
    case MYR_COL_TEXT:
        if (!myr_parse_double(col->data.text[row], &value)) call->is_bad[i] = 1;
        return value;
    }
    return value;
}

/* A number as a text is its shortest form, as for ONNX models. */
static void frame_put_text(const myr_runner_call *call, const myr_col *col, uint32_t i, myr_buf *out)
{
    int64_t row = call->first_row + call->order[i];
    char scratch[MYR_DOUBLE_TEXT_BYTES];
    myr_str text;
    if (!myr_col_is_null(col, row) && col->type == MYR_COL_TEXT) {
        text = col->data.text[row];
    } else {
        double value = frame_number(call, col, i);
        if (isnan(value)) {
            myr_runtime_frame_put_u32(out, UINT32_MAX);
            return;
        }
        text = myr_str_make(scratch, myr_format_double(value, scratch));
    }
    myr_runtime_frame_put_u32(out, (uint32_t)text.size);
    myr_buf_append(out, text.data, text.size);
}

static myr_rc frame_request(const myr_external *external, const myr_runner_call *call, myr_buf *out, myr_err *err)
{
    myr_buf_clear(out);
    myr_runtime_frame_put_u32(out, call->row_count);
    myr_runtime_frame_put_u32(out, external->feature_count);
    for (uint32_t j = 0; j < external->feature_count; j++) {
        const myr_col *col = &call->features[MYR_EXTERNAL_COLUMN(external->columns[j])];
        bool is_text = (external->columns[j] & MYR_EXTERNAL_TEXT) != 0;
        myr_runtime_frame_put_u32(out, (uint32_t)strlen(col->name));
        myr_buf_puts(out, col->name);
        myr_buf_putc(out, is_text ? '\1' : '\0');
        for (uint32_t i = 0; i < call->row_count; i++) {
            if (is_text) {
                frame_put_text(call, col, i, out);
            } else {
                double value = frame_number(call, col, i);
                myr_buf_append(out, &value, sizeof value);
            }
        }
    }
    return myr_buf_check(out, err);
}

/* The worker's words for an error; *out_ends: it ends with it. */
static myr_rc frame_check(const myr_buf *answer, bool *out_ends, myr_err *err)
{
    char kind = answer->size > 0 ? answer->data[0] : '\3';
    *out_ends = kind != 0 && kind != 1;
    if (kind == 0 && answer->size >= 9) return MYR_OK;
    if (kind == 1 || kind == 2) MYR_FAIL(err, UNAVAILABLE, "%s", answer->data + 1);
    *out_ends = true;
    MYR_FAIL(err, UNAVAILABLE, "its worker does not speak as it should");
}

static myr_rc frame_answer(const myr_buf *answer, const myr_external *external, const myr_runner_call *call,
                           myr_err *err)
{
    uint32_t rows = frame_get_u32(answer->data + 1), width = frame_get_u32(answer->data + 5);
    size_t cells_bytes = (size_t)rows * width * sizeof(double), rest_bytes = answer->size - 9 - cells_bytes;
    bool is_whole = rows == call->row_count && cells_bytes <= answer->size - 9;
    if (!is_whole || (rest_bytes != 0 && rest_bytes != rows)) { /* behind the values: which rows it can't take */
        MYR_FAIL(err, UNAVAILABLE, "its worker does not speak as it should");
    }
    if (width != external->output_count) {
        MYR_FAIL(err, UNAVAILABLE, "run() gave %u values a row, it was imported with %u", width,
                 external->output_count);
    }
    const char *at = answer->data + 9;
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t k = 0; k < width; k++, at += sizeof(double))
            memcpy(&call->values[k][call->first_row + call->order[i]], at, sizeof(double));
    }
    for (uint32_t i = 0; rest_bytes > 0 && i < rows; i++)
        call->is_bad[i] |= at[i] != 0;
    return MYR_OK;
}

myr_rc myr_runtime_python_ask(python_model *model, const myr_external *external, const myr_runner_call *call,
                              bool *out_ends, myr_err *err)
{
    *out_ends = false;
    MYR_TRY(frame_request(external, call, &model->request, err));
    *out_ends = true;
    myr_rc rc = myr_worker_ask(model->worker, &model->request, myr_clock_mono_ns() + model->timeout_ms * 1000000,
                               &model->answer, err);
    if (rc == MYR_TIMEOUT) {
        MYR_FAIL(err, UNAVAILABLE, "%s took more than %lld ms: its worker was ended", model->run_name,
                 (long long)model->timeout_ms);
    }
    MYR_TRY(rc);
    MYR_TRY(frame_check(&model->answer, out_ends, err));
    return frame_answer(&model->answer, external, call, err);
}

/* ---- a model looked at ---- */

myr_rc myr_runtime_python_width(python_model *model, const myr_runtime_opts *opts, const char *const *features,
                                const uint8_t *is_text, uint32_t feature_count, uint32_t *out, myr_err *err)
{
    bool ends;
    myr_buf *request = &model->request;
    const double zero = 0;
    myr_buf_clear(request);
    myr_runtime_frame_put_u32(request, 1);
    myr_runtime_frame_put_u32(request, feature_count);
    for (uint32_t j = 0; j < feature_count; j++) {
        myr_runtime_frame_put_u32(request, (uint32_t)strlen(features[j]));
        myr_buf_puts(request, features[j]);
        myr_buf_putc(request, is_text[j] ? '\1' : '\0');
        if (is_text[j]) {
            myr_runtime_frame_put_u32(request, 0);
        } else {
            myr_buf_append(request, &zero, sizeof zero);
        }
    }
    MYR_TRY(myr_buf_check(request, err));
    int64_t deadline_ns = myr_clock_mono_ns() + opts->python_timeout_ms * 1000000;
    myr_rc rc = myr_worker_ask(model->worker, request, deadline_ns, &model->answer, err);
    if (rc == MYR_OK) rc = frame_check(&model->answer, &ends, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "run() of one row of zeros: ");
    *out = frame_get_u32(model->answer.data + 5);
    if (*out > 0 && *out <= MYR_OUTPUTS_MAX) return MYR_OK;
    MYR_FAIL(err, UNSUPPORTED, "run() gives %u values a row, not 1 to %d", *out, MYR_OUTPUTS_MAX);
}
