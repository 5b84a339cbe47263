/*
 * Artifacts in a directory: <dir>/ab/cdef…, named by the SHA-256 of their bytes. A file gets its name only when its
 * bytes are on disk (written beside, synced, renamed), so a name never stands for less than the whole; what
 * myr_store_sync adds is that the names themselves last, one directory sync for any number of artifacts.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORE_SUBDIRS   256 /* the first byte of the hash */
#define STORE_TMP_TRIES 100 /* temporary names that killed processes may have left */
/* Temporary files of dead processes are removed when they are older: a number that is free here may be that of a
 * process on another machine or in another container that shares the directory. */
#define STORE_TMP_AGE_MS (10 * 60 * 1000)

/* Any thread: the lock guards what is not yet synced. */
struct myr_store {
    char dir[MYR_PATH_BYTES_MAX];
    myr_mutex lock;
    bool is_failed; /* a directory sync failed: what it lost is not known, so this handle promises nothing any more */
    bool is_root_dirty;
    bool is_dirty[STORE_SUBDIRS];
    bool is_swept[STORE_SUBDIRS];
};

typedef struct store_path {
    unsigned subdir_idx;
    char subdir[MYR_PATH_BYTES_MAX];
    char file[MYR_PATH_BYTES_MAX];
} store_path;

static int store_hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

static myr_rc store_path_of(const myr_store *store, const char *hex, store_path *out, myr_err *err)
{
    size_t size = hex != NULL ? strlen(hex) : 0;
    bool is_hex = size == MYR_SHA256_HEX_BYTES - 1;
    for (size_t i = 0; is_hex && i < size; i++)
        is_hex = store_hex_digit(hex[i]) >= 0;
    if (!is_hex)
        MYR_FAIL(err, BAD_INPUT, "'%.80s' does not name an artifact: 64 hexadecimal digits do", hex != NULL ? hex : "");
    out->subdir_idx = (unsigned)(store_hex_digit(hex[0]) * 16 + store_hex_digit(hex[1]));
    MYR_ASSERT(out->subdir_idx < STORE_SUBDIRS);
    char first[3] = {hex[0], hex[1], '\0'};
    MYR_TRY(myr_path_join(out->subdir, sizeof out->subdir, store->dir, first, err));
    return myr_path_join(out->file, sizeof out->file, out->subdir, hex + 2, err);
}

myr_rc myr_store_open(const char *dir, myr_store **out, myr_err *err)
{
    if (strlen(dir) >= MYR_PATH_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "path of %zu bytes is too long (limit %d): %.100s…", strlen(dir), MYR_PATH_BYTES_MAX,
                 dir);
    }
    MYR_TRY(myr_io_mkdirs(dir, err));
    myr_store *store = myr_calloc(1, sizeof *store);
    if (store == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to open the artifacts in %s", dir);
    memcpy(store->dir, dir, strlen(dir) + 1);
    myr_mutex_init(&store->lock);
    *out = store;
    return MYR_OK;
}

void myr_store_close(myr_store *store)
{
    if (store == NULL) return;
    myr_mutex_fini(&store->lock);
    myr_free(store);
}

/* ---- putting ---- */

static void store_hash(const void *data, size_t size_bytes, char out_hex[MYR_SHA256_HEX_BYTES])
{
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, data, size_bytes);
    myr_sha256_hex(&sha, out_hex);
}

/* Whether the file is there and is the artifact; one that is not (cut, damaged) is to be written again. */
static bool store_has(const store_path *path, const char *hex, size_t size_bytes)
{
    int64_t there_bytes = 0;
    if (!myr_io_exists(path->file) || myr_io_size(path->file, &there_bytes, NULL) != MYR_OK) return false;
    if (there_bytes < 0 || (size_t)there_bytes != size_bytes) return false;
    MYR_AUTO(myr_mem) data = NULL;
    size_t read_bytes = 0;
    if (myr_file_read(path->file, there_bytes, (char **)&data, &read_bytes, NULL) != MYR_OK) return false;
    char there_hex[MYR_SHA256_HEX_BYTES];
    store_hash(data, read_bytes, there_hex);
    return strcmp(there_hex, hex) == 0;
}

static void store_mark(myr_store *store, unsigned subdir_idx, bool is_new_subdir)
{
    myr_mutex_lock(&store->lock);
    store->is_dirty[subdir_idx] = true;
    if (is_new_subdir) store->is_root_dirty = true;
    myr_mutex_unlock(&store->lock);
}

/* ---- what killed processes left ---- */

/* `tmp-<pid>-<n>`, as store_open_tmp makes them; 0 if it is no such name. */
static int64_t store_tmp_pid(const char *name)
{
    myr_str rest = myr_str_of(name), pid_text;
    int64_t pid = 0, number = 0;
    if (!myr_str_starts_with(rest, "tmp-")) return 0;
    rest = myr_str_make(rest.data + 4, rest.size - 4);
    if (!myr_str_split(&rest, '-', &pid_text) || rest.data == NULL) return 0;
    if (!myr_is_canonical_int64(pid_text, &pid) || !myr_is_canonical_int64(rest, &number)) return 0;
    return pid > 0 && pid <= INT32_MAX ? pid : 0;
}

static bool store_is_left(const char *path, int64_t pid)
{
    struct stat st;
    if (kill((pid_t)pid, 0) == 0 || errno != ESRCH) return false;
    return stat(path, &st) == 0 && myr_clock_unix_ms() - (int64_t)st.st_mtim.tv_sec * 1000 > STORE_TMP_AGE_MS;
}

/* Once per directory and handle, when it is first written to: an import that is done again comes by the same ones. A
 * failure costs disk space only, and the next one tries again. */
static void store_sweep(myr_store *store, const store_path *path)
{
    myr_mutex_lock(&store->lock);
    bool is_swept = store->is_swept[path->subdir_idx];
    store->is_swept[path->subdir_idx] = true;
    myr_mutex_unlock(&store->lock);
    char **names = NULL;
    size_t count = 0;
    if (is_swept || myr_io_list(path->subdir, &names, &count, NULL) != MYR_OK) return;
    for (size_t i = 0; i < count; i++) {
        char tmp[MYR_PATH_BYTES_MAX];
        int64_t pid = store_tmp_pid(names[i]);
        if (pid == 0 || myr_path_join(tmp, sizeof tmp, path->subdir, names[i], NULL) != MYR_OK) continue;
        if (store_is_left(tmp, pid)) MYR_IGNORE(myr_io_unlink(tmp, NULL)); /* best effort */
    }
    myr_names_free(names, count);
}

static myr_rc store_open_tmp(const store_path *path, char tmp[MYR_PATH_BYTES_MAX], myr_fd *out_fd, myr_err *err)
{
    static atomic_uint counter;
    for (int tries = 1;; tries++) {
        unsigned number = atomic_fetch_add(&counter, 1);
        int size = snprintf(tmp, MYR_PATH_BYTES_MAX, "%s/tmp-%ld-%u", path->subdir, (long)getpid(), number);
        if (size < 0 || size >= MYR_PATH_BYTES_MAX) MYR_FAIL(err, BAD_INPUT, "path is too long: %.100s…", path->subdir);
        myr_rc rc = myr_io_open(tmp, O_WRONLY | O_CREAT | O_EXCL, 0444, out_fd, err);
        if (rc != MYR_EXISTS || tries == STORE_TMP_TRIES) return rc;
    }
}

static myr_rc store_fill(myr_fd *fd, const char *tmp, const char *file, const void *data, size_t size_bytes,
                         myr_err *err)
{
    MYR_TRY(myr_io_write(*fd, tmp, data, size_bytes, err));
    MYR_TRY(myr_io_sync(*fd, tmp, err));
    MYR_TRY(myr_io_close(fd, tmp, err));
    return myr_io_rename(tmp, file, err);
}

static myr_rc store_write(const store_path *path, const void *data, size_t size_bytes, myr_err *err)
{
    char tmp[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(store_open_tmp(path, tmp, &fd, err));
    myr_rc rc = store_fill(&fd, tmp, path->file, data, size_bytes, err);
    if (rc != MYR_OK) MYR_IGNORE(myr_io_unlink(tmp, NULL)); /* the first failure is the one to tell */
    return rc;
}

static bool store_is_failed(myr_store *store)
{
    myr_mutex_lock(&store->lock);
    bool is_failed = store->is_failed;
    myr_mutex_unlock(&store->lock);
    return is_failed;
}

static myr_rc store_check_alive(myr_store *store, myr_err *err)
{
    if (store_is_failed(store))
        MYR_FAIL(err, IO, "%s: a sync failed before: check the disk, then run it again", store->dir);
    return MYR_OK;
}

myr_rc myr_store_put(myr_store *store, const void *data, size_t size_bytes, char out_hex[MYR_SHA256_HEX_BYTES],
                     myr_err *err)
{
    MYR_TRY(store_check_alive(store, err));
    if (size_bytes > (size_t)MYR_FILE_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "an artifact of %zu bytes, at most %lld are allowed", size_bytes, MYR_FILE_BYTES_MAX);
    }
    char hex[MYR_SHA256_HEX_BYTES];
    store_path path;
    store_hash(data, size_bytes, hex);
    MYR_TRY(store_path_of(store, hex, &path, err));
    bool is_new_subdir = !myr_io_is_dir(path.subdir);
    if (is_new_subdir) MYR_TRY(myr_io_mkdirs(path.subdir, err));
    store_sweep(store, &path);
    if (!store_has(&path, hex, size_bytes)) MYR_TRY(store_write(&path, data, size_bytes, err));
    /* Also when it was there: whoever put it may have been killed before its sync. */
    store_mark(store, path.subdir_idx, is_new_subdir);
    memcpy(out_hex, hex, sizeof hex);
    return MYR_OK;
}

static myr_rc store_sync_dirs(const myr_store *store, myr_err *err)
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < STORE_SUBDIRS; i++) {
        if (!store->is_dirty[i]) continue;
        char name[3] = {digits[i / 16], digits[i % 16], '\0'};
        char path[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(path, sizeof path, store->dir, name, err));
        MYR_TRY(myr_io_sync_dir(path, err));
    }
    return store->is_root_dirty ? myr_io_sync_dir(store->dir, err) : MYR_OK;
}

myr_rc myr_store_sync(myr_store *store, myr_err *err)
{
    MYR_TRY(store_check_alive(store, err));
    myr_mutex_lock(&store->lock); /* held over the sync: a put meanwhile waits to mark its directory, and is not lost */
    myr_rc rc = store_sync_dirs(store, err);
    if (rc == MYR_OK) {
        memset(store->is_dirty, 0, sizeof store->is_dirty);
        store->is_root_dirty = false;
    }
    store->is_failed = rc != MYR_OK;
    myr_mutex_unlock(&store->lock);
    return rc;
}

/* ---- getting ---- */

myr_rc myr_store_get(myr_store *store, const char *hex, char **out_data, size_t *out_size, myr_err *err)
{
    store_path path;
    MYR_TRY(store_path_of(store, hex, &path, err));
    MYR_AUTO(myr_mem) data = NULL;
    size_t size_bytes = 0;
    MYR_TRY(myr_file_read(path.file, MYR_FILE_BYTES_MAX, (char **)&data, &size_bytes, err));
    char there_hex[MYR_SHA256_HEX_BYTES];
    store_hash(data, size_bytes, there_hex);
    if (strcmp(there_hex, hex) != 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the artifact is damaged (%zu bytes with SHA-256 %.16s…): import the model again",
                 path.file, size_bytes, there_hex);
    }
    *out_data = data;
    *out_size = size_bytes;
    data = NULL; /* the caller's now */
    return MYR_OK;
}
