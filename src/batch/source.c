/*
 * The files of a run's input, from wherever they come, as they were when it began: a run that goes on must find them
 * unchanged.
 */
#include "batch/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "db/db.h"

#define SOURCE_PREFIX     "input-"
#define SOURCE_LOCK       ".lock"
#define SOURCE_NAME_BYTES 2000 /* of what an input is called */

/* ---- local files ---- */

static bool local_takes(const char *item)
{
    (void)item;
    return true;
}

/* A pattern's links are not looked at. */
static myr_rc local_find(batch *b, const char *item, myr_err *err)
{
    const char *const *files = NULL;
    size_t count = 0;
    if (b->opts.input.as_items && myr_io_is_dir(item)) item = myr_arena_printf(b->arena, "%s/**", item);
    if (item == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    MYR_TRY(myr_table_files(b->engine, item, b->arena, &files, &count, err));
    for (size_t i = 0; i < count; i++)
        MYR_TRY(myr_batch_source_add(b, files[i], NULL, NULL, err));
    return MYR_OK;
}

const batch_source myr_batch_source_local = {.takes = local_takes, .find = local_find};

static const batch_source *const source_kinds[] = {&myr_batch_source_object, &myr_batch_source_local};

/* ---- one file ---- */

static myr_rc source_look(const char *path, myr_run_input_row *out, myr_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return myr_err_set(err, myr_rc_from_errno(errno), __FILE__, __LINE__, "%s: %s", path, strerror(errno));
    }
    out->bytes = (int64_t)st.st_size;
    out->modified_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return MYR_OK;
}

static myr_rc source_room(batch *b, myr_err *err)
{
    if (b->input_count == MYR_TABLE_FILES_MAX)
        MYR_FAIL(err, TOO_LARGE, "the input has more than %d files: name fewer", MYR_TABLE_FILES_MAX);
    if (b->input_count < b->input_room) return MYR_OK;
    size_t room = b->input_room > 0 ? 2 * b->input_room : 16;
    myr_run_input_row *inputs =
        myr_arena_realloc(b->arena, b->inputs, b->input_room * sizeof *inputs, room * sizeof *inputs);
    if (inputs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", room);
    b->inputs = inputs;
    b->input_room = room;
    return MYR_OK;
}

static const char *source_copy(batch *b, const char *text)
{
    return myr_arena_strndup(b->arena, text, strlen(text));
}

myr_rc myr_batch_source_add(batch *b, const char *path, const char *name, const char *identity, myr_err *err)
{
    MYR_TRY(source_room(b, err));
    myr_run_input_row row = {.path = source_copy(b, path),
                             .name = source_copy(b, name != NULL ? name : ""),
                             .identity = source_copy(b, identity != NULL ? identity : "")};
    if (row.path == NULL || row.name == NULL || row.identity == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for a list of files");
    MYR_TRY(source_look(path, &row, err));
    b->inputs[b->input_count++] = row;
    return MYR_OK;
}

const char *myr_batch_input_name(const myr_run_input_row *input)
{
    return input->name != NULL && input->name[0] != '\0' ? input->name : input->path;
}

/* How much of the path of what was brought stands in a message, which may have cut it short; *out: where. */
static size_t source_named(const batch *b, const myr_run_input_row *row, const char *message, const char **out)
{
    size_t size = 0;
    *out = b->brought != NULL ? strstr(message, b->brought) : NULL;
    if (*out == NULL || row->name == NULL || row->name[0] == '\0') return 0;
    while (row->path[size] != '\0' && row->path[size] == (*out)[size])
        size++;
    return size;
}

void myr_batch_sources_rename(const batch *b, int64_t input, myr_err *err)
{
    const myr_run_input_row *row = &b->inputs[input];
    const char *at = NULL;
    size_t size = source_named(b, row, err->message, &at);
    if (size == 0) return;
    char after[MYR_ERR_MESSAGE_BYTES];
    (void)snprintf(after, sizeof after, "%s", at + size);
    size_t before = (size_t)(at - err->message);
    (void)snprintf(err->message + before, sizeof err->message - before, "%s%s", row->name, after);
}

void myr_batch_sources_rename_any(const batch *b, myr_err *err)
{
    size_t best = 0, best_size = 0;
    const char *at = NULL;
    for (size_t i = 0; err != NULL && i < b->input_count; i++) {
        size_t size = source_named(b, &b->inputs[i], err->message, &at);
        if (size <= best_size) continue;
        best = i;
        best_size = size;
    }
    if (best_size > 0) myr_batch_sources_rename(b, (int64_t)best, err);
}

/* ---- where what is brought lies ---- */

/* What nobody needs any more: its maker is gone, and no run that may go on has files in it. */
static myr_rc source_sweep_one(const batch *b, const char *lock_path, myr_err *err)
{
    MYR_AUTO(myr_fd) lock = -1;
    char dir[MYR_PATH_BYTES_MAX];
    bool is_used = false;
    myr_rc rc = myr_io_lock(lock_path, &lock, err);
    if (rc == MYR_BUSY) return MYR_OK;
    MYR_TRY(rc);
    (void)snprintf(dir, sizeof dir, "%.*s", (int)(strlen(lock_path) - strlen(SOURCE_LOCK)), lock_path);
    MYR_TRY(myr_registry_run_input_is_used(b->workspace->registry, dir, &is_used, err));
    if (is_used) return MYR_OK;
    MYR_TRY(myr_io_remove_tree(dir, err));
    return myr_io_unlink(lock_path, err);
}

myr_rc myr_batch_sources_sweep(const batch *b, myr_err *err)
{
    char parent[MYR_PATH_BYTES_MAX];
    char **names = NULL;
    size_t count = 0;
    MYR_TRY(myr_path_join(parent, sizeof parent, b->workspace->root, "runs", err));
    if (!myr_io_exists(parent)) return MYR_OK;
    myr_rc rc = myr_io_list(parent, &names, &count, err);
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        myr_str name = myr_str_of(names[i]);
        if (!myr_str_starts_with(name, SOURCE_PREFIX) || !myr_str_ends_with(name, SOURCE_LOCK)) continue;
        rc = myr_path_join(path, sizeof path, parent, names[i], err);
        if (rc == MYR_OK) rc = source_sweep_one(b, path, err);
    }
    myr_names_free(names, count);
    return rc;
}

myr_rc myr_batch_source_dir(batch *b, const char **out, myr_err *err)
{
    char parent[MYR_PATH_BYTES_MAX];
    uint64_t number = 0;
    if (b->brought != NULL) {
        *out = b->brought;
        return MYR_OK;
    }
    MYR_TRY(myr_path_join(parent, sizeof parent, b->workspace->root, "runs", err));
    MYR_TRY(myr_io_mkdirs(parent, err));
    MYR_TRY(myr_random(&number, sizeof number, err));
    const char *dir = myr_arena_printf(b->arena, "%s/" SOURCE_PREFIX "%016llx", parent, (unsigned long long)number);
    const char *lock = dir != NULL ? myr_arena_printf(b->arena, "%s" SOURCE_LOCK, dir) : NULL;
    if (lock == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    MYR_TRY(myr_batch_stage_lock(lock, &b->brought_lock, err));
    b->brought = dir;
    MYR_TRY(myr_io_mkdirs(dir, err));
    *out = dir;
    return MYR_OK;
}

/* Of a run that goes on: the directory that its files lie in. */
static myr_rc source_dir_again(batch *b, myr_err *err)
{
    char prefix[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(prefix, sizeof prefix, b->workspace->root, "runs/" SOURCE_PREFIX, err));
    for (size_t i = 0; i < b->input_count && b->brought == NULL; i++) {
        const char *path = b->inputs[i].path;
        if (!myr_str_starts_with(myr_str_of(path), prefix)) continue;
        size_t bytes = strlen(prefix) + strcspn(path + strlen(prefix), "/");
        const char *dir = myr_arena_strndup(b->arena, path, bytes);
        const char *lock = dir != NULL ? myr_arena_printf(b->arena, "%s" SOURCE_LOCK, dir) : NULL;
        if (lock == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
        MYR_TRY(myr_batch_stage_lock(lock, &b->brought_lock, err));
        b->brought = dir;
    }
    return MYR_OK;
}

void myr_batch_sources_close(batch *b)
{
    if (b->brought == NULL) return;
    if (!b->is_kept) MYR_IGNORE(myr_io_remove_tree(b->brought, NULL)); /* what stays the next run sweeps */
    if (!myr_io_exists(b->brought)) {
        char lock[MYR_PATH_BYTES_MAX];
        int size = snprintf(lock, sizeof lock, "%s" SOURCE_LOCK, b->brought);
        if (size > 0 && (size_t)size < sizeof lock) MYR_IGNORE(myr_io_unlink(lock, NULL));
    }
    myr_fd_drop(&b->brought_lock);
    b->brought = NULL;
}

/* ---- all ---- */

static void source_call_items(const char *const *items, myr_buf *out)
{
    for (; items != NULL && *items != NULL; items++) {
        if (out->size > 0) myr_buf_puts(out, ", ");
        myr_buf_puts(out, *items);
        if (out->size > SOURCE_NAME_BYTES && items[1] != NULL) {
            myr_buf_puts(out, ", …");
            return;
        }
    }
}

static myr_rc source_call(batch *b, myr_err *err)
{
    const myr_batch_input *input = &b->opts.input;
    MYR_AUTO(myr_buf) name = {0};
    source_call_items(input->items, &name);
    if (input->sql != NULL) myr_buf_puts(&name, input->sql);
    if (input->table != NULL) {
        myr_buf_printf(&name, "table %s of ", input->table);
        myr_db_uri_show(input->database, &name);
    }
    if (input->filter != NULL) myr_buf_printf(&name, " where %s", input->filter);
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '\n') name.data[i] = ' ';
    }
    MYR_TRY(myr_buf_check(&name, err));
    b->input_name = source_copy(b, name.data != NULL ? name.data : "");
    if (b->input_name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    return MYR_OK;
}

/* A file that two items name would be scored twice. */
static myr_rc source_check_twice(const batch *b, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    if (seen == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of files");
    for (size_t i = 0; i < b->input_count; i++) {
        if (myr_map_find(seen, myr_str_of(b->inputs[i].path), NULL))
            MYR_FAIL(err, BAD_INPUT, "the input names %s twice", myr_batch_input_name(&b->inputs[i]));
        MYR_TRY(myr_map_put(seen, myr_str_of(b->inputs[i].path), 1, err));
    }
    return MYR_OK;
}

myr_rc myr_batch_sources_find(batch *b, myr_err *err)
{
    MYR_TRY(source_call(b, err));
    if (b->opts.input.sql != NULL) return myr_batch_source_query(b, err);
    if (b->opts.input.table != NULL) return myr_batch_source_table(b, err);
    for (const char *const *item = b->opts.input.items; *item != NULL; item++) {
        size_t k = 0;
        while (!source_kinds[k]->takes(*item))
            k++;
        MYR_TRY(source_kinds[k]->find(b, *item, err));
    }
    MYR_TRY(source_check_twice(b, err));
    if (b->opts.input.as_items) MYR_TRY(myr_batch_source_items(b, err));
    return b->opts.input.filter != NULL ? myr_batch_source_filter(b, err) : MYR_OK;
}

myr_rc myr_batch_sources_again(batch *b, int64_t run_id, myr_err *err)
{
    MYR_TRY(source_call(b, err));
    MYR_TRY(myr_registry_run_inputs(b->workspace->registry, b->arena, run_id, &b->inputs, &b->input_count, err));
    return source_dir_again(b, err);
}

myr_rc myr_batch_sources_check(const batch *b, myr_err *err)
{
    for (size_t i = 0; i < b->input_count; i++) {
        const myr_run_input_row *was = &b->inputs[i];
        myr_run_input_row is = {0};
        myr_rc rc = source_look(was->path, &is, err);
        if (rc != MYR_OK) return myr_err_prefix(err, rc, "run %lld began with ", (long long)b->run_id);
        if (is.bytes == was->bytes && is.modified_ns == was->modified_ns) continue;
        MYR_FAIL(err, BAD_INPUT,
                 "%s has changed since run %lld began (%lld bytes, then %lld): begin a new run with `myriad batch run`",
                 was->path, (long long)b->run_id, (long long)is.bytes, (long long)was->bytes);
    }
    return MYR_OK;
}
