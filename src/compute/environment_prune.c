/*
 * Which environments there are, and the removal of those that nobody has. Whoever removes has a lock of the directory
 * besides that of the environment: two who both make room would remove twice as much.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/environment.h"

#define PRUNE_LOCK     ".prune"
#define PRUNE_WAIT_MS  10000 /* for another who removes */
#define PRUNE_LOOK_MS  20
#define MARK_BYTES_MAX 64

const char *myr_environment_state_name(myr_environment_state state)
{
    static const char *const names[] = {"idle", "in use", "being made", "left over"};
    MYR_ASSERT((size_t)state < MYR_COUNT_OF(names));
    return names[state];
}

/* ---- what there is ---- */

static int64_t list_ms(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000 + time->tv_nsec / 1000000;
}

static bool list_is_hash(const char *name)
{
    return strlen(name) == MYR_ENVIRONMENT_HASH_CHARS && strspn(name, "0123456789abcdef") == MYR_ENVIRONMENT_HASH_CHARS;
}

/* What somebody has it for: F_UNLCK: nobody has it. Asked, not taken. *out_used_ms: 0 if nobody ever had it. One that
 * can't be asked about is had, as far as we know: it must not keep the others from being told and removed. */
static myr_rc list_lock(const char *dir, const char *hash, short *out_type, int64_t *out_used_ms, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    struct stat st;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    *out_type = F_UNLCK;
    *out_used_ms = 0;
    MYR_TRY(myr_environment_path(path, dir, hash, ENVIRONMENT_LOCK, err));
    MYR_AUTO(myr_fd) fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return MYR_OK;
    *out_type = F_RDLCK;
    if (fd < 0 || fstat(fd, &st) != 0 || fcntl(fd, F_OFD_GETLK, &lock) != 0) return MYR_OK;
    *out_type = lock.l_type;
    *out_used_ms = list_ms(&st.st_mtim);
    return MYR_OK;
}

/* Is it whole, since when, and how large; bytes -1: the mark does not say. */
static myr_rc list_mark(const char *dir, const char *hash, myr_environment_row *row, bool *out_whole, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_mem) text = NULL;
    size_t size = 0;
    struct stat st;
    *out_whole = false;
    MYR_TRY(myr_environment_path(path, dir, hash, ENVIRONMENT_MARK, err));
    if (stat(path, &st) != 0) return MYR_OK;
    myr_rc rc = myr_file_read(path, MARK_BYTES_MAX, (char **)&text, &size, err);
    if (rc == MYR_NOT_FOUND) return MYR_OK; /* it was removed just now */
    if (rc != MYR_OK && rc != MYR_TOO_LARGE) return rc;
    row->made_ms = list_ms(&st.st_mtim);
    if (!myr_parse_int64(myr_str_trim(myr_str_make(text, size)), &row->bytes) || row->bytes < 0) row->bytes = -1;
    *out_whole = true;
    return MYR_OK;
}

/* The lock first: one that is whole and then removed is told as being removed or not at all, never as whole. */
static myr_rc list_look(const char *dir, const char *hash, myr_environment_row *out, myr_err *err)
{
    short type;
    bool is_whole = false;
    char path[MYR_PATH_BYTES_MAX];
    *out = (myr_environment_row){.bytes = -1};
    memcpy(out->hash, hash, sizeof out->hash);
    MYR_TRY(list_lock(dir, hash, &type, &out->used_ms, err));
    MYR_TRY(list_mark(dir, hash, out, &is_whole, err));
    if (is_whole) out->state = type == F_UNLCK ? MYR_ENVIRONMENT_IDLE : MYR_ENVIRONMENT_IN_USE;
    if (!is_whole) out->state = type == F_UNLCK ? MYR_ENVIRONMENT_LEFT_OVER : MYR_ENVIRONMENT_BEING_MADE;
    if (type == F_WRLCK) out->state = MYR_ENVIRONMENT_BEING_MADE;
    MYR_TRY(myr_environment_path(path, dir, hash, "", err));
    if (out->state == MYR_ENVIRONMENT_BEING_MADE ||
        (out->bytes < 0 && myr_io_measure_tree(path, &out->bytes, NULL) != MYR_OK))
        out->bytes = 0; /* it changes while it is looked at */
    return MYR_OK;
}

myr_rc myr_environment_list(const char *dir, myr_arena *arena, myr_environment_row **out, size_t *out_count,
                            myr_err *err)
{
    char **names = NULL, path[MYR_PATH_BYTES_MAX];
    size_t name_count = 0, count = 0;
    myr_rc rc = myr_io_list(dir, &names, &name_count, err);
    if (rc != MYR_OK && rc != MYR_NOT_FOUND) return rc;
    myr_environment_row *rows = myr_arena_calloc(arena, name_count + 1, sizeof *rows);
    rc = rows != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "no memory for %zu environments", name_count);
    for (size_t i = 0; rc == MYR_OK && i < name_count; i++) {
        if (!list_is_hash(names[i])) continue;
        rc = myr_environment_path(path, dir, names[i], "", err);
        if (rc != MYR_OK || !myr_io_is_dir(path)) continue;
        rc = list_look(dir, names[i], &rows[count], err);
        count += rc == MYR_OK;
    }
    myr_names_free(names, name_count);
    MYR_TRY(rc);
    *out = rows;
    *out_count = count;
    return MYR_OK;
}

myr_rc myr_environment_requirements(const char *dir, const char *hash, char **out, size_t *out_size, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_environment_path(path, dir, hash, ENVIRONMENT_LIST, err));
    return myr_file_read(path, ENVIRONMENT_FILE_MAX, out, out_size, err);
}

/* ---- removal ---- */

/* Without its mark first, and for good: what is half removed must be whole for nobody. */
static myr_rc remove_all_of(const char *dir, const char *hash, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX], mark[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_environment_path(path, dir, hash, "", err));
    MYR_TRY(myr_environment_path(mark, dir, hash, ENVIRONMENT_MARK, err));
    myr_rc rc = myr_io_unlink(mark, err);
    if (rc != MYR_OK && rc != MYR_NOT_FOUND) return rc;
    MYR_TRY(myr_io_sync_dir(path, err));
    return myr_io_remove_tree(path, err);
}

/* *out_removed: false: somebody has it by now, or has had it since it was looked at. */
static myr_rc remove_one(const char *dir, const myr_environment_row *row, bool *out_removed, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    struct stat st;
    *out_removed = false;
    MYR_TRY(myr_environment_path(path, dir, row->hash, ENVIRONMENT_LOCK, err));
    /* The lock file stays: another may be waiting for it. */
    MYR_AUTO(myr_fd) fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
    if (!myr_environment_lock_try(fd, F_WRLCK)) {
        if (errno == EAGAIN) return MYR_OK;
        MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
    }
    if (fstat(fd, &st) != 0) MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
    if (row->used_ms != 0 && list_ms(&st.st_mtim) != row->used_ms) return MYR_OK;
    MYR_TRY(remove_all_of(dir, row->hash, err));
    myr_log(MYR_LOG_DEBUG, "compute", "environment removed", "environment", row->hash, NULL);
    *out_removed = true;
    return MYR_OK;
}

static bool remove_is_kept(const myr_environment_prune *prune, const char *hash)
{
    for (size_t i = 0; prune->kept != NULL && prune->kept[i] != NULL; i++) {
        if (strcmp(prune->kept[i], hash) == 0) return true;
    }
    return false;
}

/* total_bytes: of all that are there now. */
static bool remove_is_due(const myr_environment_prune *prune, const myr_environment_row *row, int64_t total_bytes)
{
    int64_t age_ms = myr_clock_unix_ms() - row->used_ms;
    if (row->state == MYR_ENVIRONMENT_LEFT_OVER) return true;
    if (row->state != MYR_ENVIRONMENT_IDLE || remove_is_kept(prune, row->hash)) return false;
    if (age_ms < 0) age_ms = 0; /* the clock was set back */
    return (prune->by_age && age_ms >= prune->keep_ms) || (prune->by_size && total_bytes > prune->bytes_max);
}

static int remove_compare(const void *a, const void *b)
{
    const myr_environment_row *x = a, *y = b;
    if (x->used_ms != y->used_ms) return x->used_ms < y->used_ms ? -1 : 1;
    return strcmp(x->hash, y->hash);
}

/* Those had least lately first. */
static myr_rc remove_due(const char *dir, const myr_environment_prune *prune, myr_arena *arena,
                         myr_environment_pruned *out, myr_err *err)
{
    myr_environment_row *rows = NULL;
    size_t count = 0, removed = 0;
    myr_err first = {0};
    MYR_TRY(myr_environment_list(dir, arena, &rows, &count, err));
    qsort(rows, count, sizeof *rows, remove_compare);
    for (size_t i = 0; i < count; i++)
        out->left_bytes += rows[i].bytes;
    for (size_t i = 0; i < count; i++) {
        bool is_gone = false;
        myr_err why = {0};
        if (remove_is_due(prune, &rows[i], out->left_bytes) && remove_one(dir, &rows[i], &is_gone, &why) != MYR_OK &&
            first.rc == MYR_OK)
            first = why;
        out->left_in_use += rows[i].state == MYR_ENVIRONMENT_IN_USE || rows[i].state == MYR_ENVIRONMENT_BEING_MADE;
        if (!is_gone) continue;
        out->left_bytes -= rows[i].bytes;
        out->removed_bytes += rows[i].bytes;
        rows[removed++] = rows[i];
    }
    out->removed = rows;
    out->removed_count = removed;
    out->left_count = count - removed;
    return first.rc == MYR_OK ? MYR_OK
                              : myr_err_set(err, (myr_rc)first.rc, first.file, first.line, "%s", first.message);
}

static myr_rc remove_lock(const char *dir, myr_fd *out, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    int64_t deadline_ns = myr_clock_mono_ns() + PRUNE_WAIT_MS * 1000000LL;
    MYR_TRY(myr_path_join(path, sizeof path, dir, PRUNE_LOCK, err));
    *out = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*out < 0) MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
    while (!myr_environment_lock_try(*out, F_WRLCK)) {
        if (errno != EAGAIN) MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
        if (myr_clock_mono_ns() >= deadline_ns) MYR_FAIL(err, BUSY, "%s: another process removes environments", dir);
        myr_clock_sleep_ms(PRUNE_LOOK_MS);
    }
    return MYR_OK;
}

myr_rc myr_environment_remove(const char *dir, const myr_environment_prune *prune, myr_arena *arena,
                              myr_environment_pruned *out, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) own = arena == NULL ? myr_arena_new(0) : NULL;
    MYR_AUTO(myr_fd) lock = -1;
    myr_environment_pruned pruned = {0};
    MYR_ASSERT(arena != NULL || out == NULL);
    if (arena == NULL && own == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for environments");
    myr_rc rc = MYR_OK;
    if (myr_io_is_dir(dir)) {
        MYR_TRY(remove_lock(dir, &lock, err));
        rc = remove_due(dir, prune, arena != NULL ? arena : own, &pruned, err);
    }
    if (out != NULL) *out = pruned; /* also beside an error: what was removed is removed */
    return rc;
}

void myr_environment_sweep(const char *dir, int64_t keep_ms, int64_t bytes_max)
{
    const myr_environment_prune prune = {
        .by_age = true, .keep_ms = keep_ms, .by_size = bytes_max > 0, .bytes_max = bytes_max};
    MYR_IGNORE(myr_environment_remove(dir, &prune, NULL, NULL, NULL)); /* the next sweep goes on */
}
