/*
 * Directories and what is below them. A walk lists a directory completely before it touches its entries, follows no
 * link, and goes at most MYR_IO_TREE_DEPTH_MAX deep, so that its stack is bounded.
 */
#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bounds.h"
#include "base/io_call.h"
#include "base/mem.h"

#define TREE_NAMES_MIN   16
#define TREE_BLOCK_BYTES 512 /* st_blocks counts these, whatever the file system's are */

/* ---- listing ---- */

void myr_names_free(char **names, size_t count)
{
    if (names == NULL) return;
    for (size_t i = 0; i < count; i++)
        myr_free(names[i]);
    myr_free(names);
}

typedef struct tree_names {
    char **items;
    size_t count;
    size_t room;
} tree_names;

static void tree_names_drop(tree_names *names)
{
    myr_names_free(names->items, names->count);
}

typedef DIR *tree_dir;
static void tree_dir_drop(tree_dir *dir)
{
    if (*dir != NULL) MYR_IGNORE(closedir(*dir)); /* was only read */
}

static myr_rc tree_add_name(tree_names *names, const char *name, const char *dir, myr_err *err)
{
    if (names->count == names->room) {
        size_t room = names->room > 0 ? names->room * 2 : TREE_NAMES_MIN;
        char **items = myr_realloc_array(names->items, room, sizeof *items);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the names in %s", dir);
        names->items = items;
        names->room = room;
    }
    char *copy = myr_strdup(name);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the names in %s", dir);
    names->items[names->count++] = copy;
    return MYR_OK;
}

/* The next entry but . and .., or NULL at the end. */
static myr_rc tree_next_name(DIR *stream, const char *dir, const char **out_name, myr_err *err)
{
    const struct dirent *entry;
    do {
        entry = NULL;
        errno = 0; /* the only way to tell the end from a failure */
        if (myr_io_allows(MYR_IO_READ, dir)) entry = readdir(stream);
        if (entry == NULL && errno != 0) return myr_io_fail("list", dir, errno, err);
    } while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    *out_name = entry != NULL ? entry->d_name : NULL;
    return MYR_OK;
}

static int tree_compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

myr_rc myr_io_list(const char *dir, char ***out_names, size_t *out_count, myr_err *err)
{
    MYR_AUTO(tree_dir) stream = NULL;
    if (myr_io_allows(MYR_IO_OPEN, dir)) stream = opendir(dir);
    if (stream == NULL) return myr_io_fail("list", dir, errno, err);
    MYR_AUTO(tree_names) names = {0};
    for (;;) {
        const char *name = NULL;
        MYR_TRY(tree_next_name(stream, dir, &name, err));
        if (name == NULL) break;
        MYR_TRY(tree_add_name(&names, name, dir, err));
    }
    if (names.count > 1) qsort(names.items, names.count, sizeof *names.items, tree_compare_names);
    *out_names = names.items;
    *out_count = names.count;
    names = (tree_names){0}; /* the caller's now */
    return MYR_OK;
}

/* ---- making ---- */

static myr_rc tree_make_one(const char *path, mode_t mode, myr_err *err)
{
    if (myr_io_allows(MYR_IO_MKDIR, path) && mkdir(path, mode) == 0) return MYR_OK;
    int error = errno;
    if (error != EEXIST) return myr_io_fail("make directory", path, error, err);
    if (myr_io_is_dir(path)) return MYR_OK;
    MYR_FAIL(err, EXISTS, "cannot make directory %s: a file has that name", path);
}

myr_rc myr_io_mkdirs(const char *path, myr_err *err)
{
    char prefix[MYR_PATH_BYTES_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof prefix) {
        MYR_FAIL(err, BAD_INPUT, "directory name of %zu bytes (1 to %zu are possible): %.100s", size, sizeof prefix - 1,
                 path);
    }
    memcpy(prefix, path, size + 1);
    for (size_t i = 1; i < size; i++) {
        if (prefix[i] != '/' || prefix[i - 1] == '/') continue;
        prefix[i] = '\0';
        MYR_TRY(tree_make_one(prefix, 0755, err));
        prefix[i] = '/';
    }
    return tree_make_one(prefix, 0755, err);
}

myr_rc myr_io_mkdir_private(const char *path, myr_err *err)
{
    return tree_make_one(path, 0700, err);
}

/* ---- walking ---- */

/* What happens to an entry; a directory comes after all that is in it. */
typedef myr_rc (*tree_fn)(void *ctx, const char *path, const struct stat *st, myr_err *err);

static myr_rc tree_walk(const char *path, int depth, tree_fn fn, void *ctx, myr_err *err);

/* Forms a cycle with tree_walk; depth bounds it. */
static myr_rc tree_walk_below(const char *dir, int depth, tree_fn fn, void *ctx, myr_err *err)
{
    if (depth == MYR_IO_TREE_DEPTH_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, MYR_IO_TREE_DEPTH_MAX);
    }
    MYR_AUTO(tree_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(path, sizeof path, dir, names.items[i], err));
        MYR_TRY(tree_walk(path, depth + 1, fn, ctx, err));
    }
    return MYR_OK;
}

static myr_rc tree_walk(const char *path, int depth, tree_fn fn, void *ctx, myr_err *err)
{
    struct stat st;
    if (!myr_io_allows(MYR_IO_STAT, path) || lstat(path, &st) != 0) return myr_io_fail("look at", path, errno, err);
    if (S_ISDIR(st.st_mode)) MYR_TRY(tree_walk_below(path, depth, fn, ctx, err));
    return fn(ctx, path, &st, err);
}

static myr_rc tree_remove_one(void *ctx, const char *path, const struct stat *st, myr_err *err)
{
    (void)ctx;
    if (!S_ISDIR(st->st_mode)) return myr_io_unlink(path, err);
    if (!myr_io_allows(MYR_IO_UNLINK, path) || rmdir(path) != 0) return myr_io_fail("remove", path, errno, err);
    return MYR_OK;
}

myr_rc myr_io_remove_tree(const char *path, myr_err *err)
{
    struct stat st;
    if (!myr_io_allows(MYR_IO_STAT, path) || lstat(path, &st) != 0) {
        if (errno == ENOENT) return MYR_OK;
        return myr_io_fail("look at", path, errno, err);
    }
    return tree_walk(path, 0, tree_remove_one, NULL, err);
}

static myr_rc tree_measure_one(void *ctx, const char *path, const struct stat *st, myr_err *err)
{
    (void)path, (void)err;
    *(int64_t *)ctx += (int64_t)st->st_blocks * TREE_BLOCK_BYTES;
    return MYR_OK;
}

myr_rc myr_io_measure_tree(const char *path, int64_t *out_bytes, myr_err *err)
{
    int64_t bytes = 0;
    MYR_TRY(tree_walk(path, 0, tree_measure_one, &bytes, err));
    *out_bytes = bytes;
    return MYR_OK;
}

static myr_rc tree_sync_fd(const char *path, int flags, myr_err *err)
{
    if (!myr_io_syncs()) return MYR_OK;
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_RDONLY | flags, 0, &fd, err));
    MYR_TRY(myr_io_sync(fd, path, err));
    return myr_io_close(&fd, path, err);
}

myr_rc myr_io_sync_dir(const char *dir, myr_err *err)
{
    return tree_sync_fd(dir, O_DIRECTORY, err);
}

static myr_rc tree_sync_one(void *ctx, const char *path, const struct stat *st, myr_err *err)
{
    (void)ctx;
    if (S_ISDIR(st->st_mode)) return myr_io_sync_dir(path, err);
    if (S_ISREG(st->st_mode)) return tree_sync_fd(path, O_NOFOLLOW, err);
    return MYR_OK; /* links, sockets and pipes hold no data of ours */
}

myr_rc myr_io_sync_tree(const char *dir, myr_err *err)
{
    if (!myr_io_syncs()) return MYR_OK;
    return tree_walk(dir, 0, tree_sync_one, NULL, err);
}

myr_rc myr_io_sync_all_of(int fd, const char *path, myr_err *err)
{
    if (!myr_io_syncs()) return MYR_OK;
    if (!myr_io_allows(MYR_IO_SYNC, path) || syncfs(fd) != 0) return myr_io_fail("sync", path, errno, err);
    return MYR_OK;
}

myr_rc myr_io_sync_all(const char *path, myr_err *err)
{
    if (!myr_io_syncs()) return MYR_OK;
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_RDONLY, 0, &fd, err));
    MYR_TRY(myr_io_sync_all_of(fd, path, err));
    return myr_io_close(&fd, path, err);
}
