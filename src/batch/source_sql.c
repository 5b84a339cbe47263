/* Inputs that DuckDB makes when the run begins: the result of a query over local files, or those rows of files for
 * which a condition holds. Either is one Parquet file of the run's own. */
#include <string.h>

#include "batch/source.h"

/* The file is there: from here on it is the input. Equal bytes are equal rows. */
myr_rc myr_batch_source_take(batch *b, const char *path, const char *name, myr_err *err)
{
    myr_mapping bytes = {0};
    char hash[MYR_SHA256_HEX_BYTES];
    myr_sha256 sha;
    MYR_TRY(myr_io_map(path, &bytes, err));
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, bytes.data, bytes.size);
    myr_sha256_hex(&sha, hash);
    myr_io_unmap(&bytes);
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
