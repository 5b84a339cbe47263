/* Inputs that DuckDB makes when the run begins: the result of a query over local files, or those rows of files for
 * which a condition holds. Either is one Parquet file of the run's own. */
#include <fcntl.h>
#include <string.h>

#include "batch/source.h"

#define SOURCE_STEP_BYTES (1 << 20)

/* Read, not mapped: a large snapshot need not be in memory. */
static myr_rc source_hash(const char *path, char out[MYR_SHA256_HEX_BYTES], myr_err *err)
{
    MYR_AUTO(myr_fd) fd = -1;
    MYR_AUTO(myr_mem) step = myr_alloc(SOURCE_STEP_BYTES);
    int64_t bytes = 0;
    myr_sha256 sha;
    if (step == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", path);
    MYR_TRY(myr_io_size(path, &bytes, err));
    MYR_TRY(myr_io_open(path, O_RDONLY, 0, &fd, err));
    myr_sha256_init(&sha);
    for (int64_t at = 0; at < bytes;) {
        size_t next = bytes - at < SOURCE_STEP_BYTES ? (size_t)(bytes - at) : SOURCE_STEP_BYTES;
        MYR_TRY(myr_io_pread(fd, path, step, next, at, err));
        myr_sha256_add(&sha, step, next);
        at += (int64_t)next;
    }
    myr_sha256_hex(&sha, out);
    return MYR_OK;
}

/* The file is there: from here on it is the input. Equal bytes are equal rows. */
myr_rc myr_batch_source_take(batch *b, const char *path, const char *name, myr_err *err)
{
    char hash[MYR_SHA256_HEX_BYTES];
    MYR_TRY(source_hash(path, hash, err));
    b->input_count = 0; /* what it was made of */
    return myr_batch_source_add(b, path, name, hash, err);
}

myr_rc myr_batch_source_path(batch *b, const char *file, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    const char *dir = NULL;
    MYR_TRY(myr_batch_source_dir(b, &dir, err));
    return myr_path_join(out, MYR_PATH_BYTES_MAX, dir, file, err);
}

myr_rc myr_batch_source_query(batch *b, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    int64_t rows = 0;
    MYR_TRY(myr_batch_source_path(b, "query.parquet", path, err));
    myr_rc rc = myr_table_snapshot_query(b->engine, b->opts.input.sql, b->opts.input.dir, path, &rows, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "input: ");
    return myr_batch_source_take(b, path, b->input_name, err);
}

myr_rc myr_batch_source_filter(batch *b, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    int64_t rows = 0;
    const char **files = myr_arena_calloc(b->arena, b->input_count + 1, sizeof *files);
    if (files == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", b->input_count);
    for (size_t i = 0; i < b->input_count; i++)
        files[i] = b->inputs[i].path;
    MYR_TRY(myr_batch_source_path(b, "filter.parquet", path, err));
    myr_rc rc = myr_table_snapshot_filter(b->engine, b->input_name, files, b->input_count, b->opts.input.filter, path,
                                          &rows, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "filter: ");
    return myr_batch_source_take(b, path, b->input_name, err);
}
