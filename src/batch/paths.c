/* What a run is told relative to the current directory is written down as paths that mean the same from anywhere. */
#include <string.h>

#include "batch/source.h"
#include "db/db.h"
#include "object/object.h"

myr_rc myr_batch_path(batch *b, const char **path, myr_err *err)
{
    char made[MYR_PATH_BYTES_MAX];
    if ((*path)[0] == '/' || myr_object_is_uri(*path)) return MYR_OK;
    MYR_TRY(myr_path_absolute(*path, made, sizeof made, err));
    const char *copy = myr_arena_strndup(b->arena, made, strlen(made));
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    *path = copy;
    return MYR_OK;
}

myr_rc myr_batch_path_database(batch *b, const char **uri, myr_err *err)
{
    if (!myr_str_starts_with(myr_str_of(*uri), "sqlite:")) return MYR_OK;
    const char *path = myr_db_uri_path(*uri);
    if (path[0] == '/') return MYR_OK;
    MYR_TRY(myr_batch_path(b, &path, err));
    const char *made = myr_arena_printf(b->arena, "sqlite:%s", path);
    if (made == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    *uri = made;
    return MYR_OK;
}

static myr_rc paths_items(batch *b, myr_err *err)
{
    size_t count = 0;
    while (b->opts.input.items[count] != NULL)
        count++;
    const char **items = myr_arena_calloc(b->arena, count + 1, sizeof *items);
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu inputs", count);
    for (size_t i = 0; i < count; i++) {
        items[i] = b->opts.input.items[i];
        MYR_TRY(myr_batch_path(b, &items[i], err));
    }
    b->opts.input.items = items;
    return MYR_OK;
}

/* The output's places are those of its sinks, which do the same. */
myr_rc myr_batch_paths(batch *b, myr_err *err)
{
    myr_batch_input *input = &b->opts.input;
    if (input->items != NULL) MYR_TRY(paths_items(b, err));
    if (input->dir != NULL) MYR_TRY(myr_batch_path(b, &input->dir, err));
    if (input->database != NULL) MYR_TRY(myr_batch_path_database(b, &input->database, err));
    if (b->opts.predictions != NULL) MYR_TRY(myr_batch_path_database(b, &b->opts.predictions, err));
    const myr_batch_spark *asked = b->opts.spark;
    if (asked == NULL || asked->python == NULL || strchr(asked->python, '/') == NULL) return MYR_OK; /* one of PATH */
    myr_batch_spark *spark = myr_arena_calloc(b->arena, 1, sizeof *spark);
    if (spark == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    *spark = *asked;
    b->opts.spark = spark;
    return myr_batch_path(b, &spark->python, err);
}
