/* output_action: append_row: what the mini-batches wrote becomes one file, in the order of the input. The parts stay
 * where they are until the run is over, so that one that is killed meanwhile makes the file again. */
#include <stdio.h>
#include <string.h>

#include "batch/sink.h"

#define APPEND_DIR "appended" /* below what is staged */

static const char *append_name(const myr_batch_opts *opts)
{
    if (opts->append_name != NULL) return opts->append_name;
    static const char *const names[] = {[MYR_TABLE_PARQUET] = "predictions.parquet",
                                        [MYR_TABLE_CSV] = "predictions.csv",
                                        [MYR_TABLE_JSONL] = "predictions.jsonl"};
    MYR_ASSERT((size_t)opts->format < MYR_COUNT_OF(names));
    return names[opts->format];
}

static myr_rc append_list(const batch *b, const myr_file_names *names, const char ***out, myr_err *err)
{
    const char **files = myr_arena_calloc(b->arena, names->count + 1, sizeof *files);
    if (files == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", names->count);
    for (size_t i = 0; i < names->count; i++) {
        files[i] = myr_arena_printf(b->arena, "%s/%s", b->sinks[0].stage.data, names->items[i]);
        if (files[i] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", names->count);
    }
    *out = files;
    return MYR_OK;
}

myr_rc myr_batch_append(batch *b, myr_err *err)
{
    MYR_AUTO(myr_file_names) names = {0};
    char dir[MYR_PATH_BYTES_MAX], path[MYR_PATH_BYTES_MAX];
    const char **files = NULL;
    if (b->opts.action != MYR_BATCH_APPEND) return MYR_OK;
    MYR_TRY(myr_path_join(dir, sizeof dir, myr_batch_staging(b), APPEND_DIR, err));
    MYR_TRY(myr_path_join(path, sizeof path, dir, append_name(&b->opts), err));
    MYR_TRY(myr_io_remove_tree(dir, err)); /* of a coordinator that died */
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(
        myr_io_list(b->sinks[0].stage.data, &names.items, &names.count, err)); /* sorted: in the order of the input */
    MYR_TRY(append_list(b, &names, &files, err));
    if (names.count > 0) MYR_TRY(myr_table_append(b->engine, files, names.count, b->opts.format, path, err));
    memcpy(b->sinks[0].stage.data, dir, sizeof b->sinks[0].stage.data);
    return MYR_OK;
}
