/*
 * A write-ahead log whose frames are written together. SQLite writes each frame of a commit as two pieces, a header of
 * 24 bytes and a page, and then syncs; here the pieces that follow each other are one write, right before that sync.
 * Nobody looks for them earlier: frames become visible when the index in shared memory names them, which SQLite does
 * after the sync (with synchronous=FULL; without syncs this is not used). Reads, sizes and truncations of this
 * connection write first what is kept.
 *
 * A sync of bytes behind the end of a file writes twice, since it also says where the file ends now. So a log that has
 * to grow grows by about what it has, with zeros, which SQLite takes for no frame: its next syncs are one write.
 *
 * A write that fails is an error of the sync, and so of the commit; what was kept is forgotten then, since SQLite rolls
 * back. All other files are SQLite's own.
 */
#include <string.h>

#include "db/internal.h"

#define LOG_KEPT_BYTES ((size_t)128 << 10)
#define LOG_GROW_MIN   ((sqlite3_int64)64 << 10)
#define LOG_GROW_MAX   ((sqlite3_int64)4 << 20)

typedef struct log_file {
    sqlite3_file base; /* first: what SQLite sees */
    sqlite3_file *under;
    char *kept; /* made with the first write */
    size_t kept_bytes;
    sqlite3_int64 offset; /* of the first byte that is kept */
    sqlite3_int64 end;    /* of the file when we looked last; others may have moved it */
} log_file;

/* ---- writing ---- */

static int log_flush(log_file *log)
{
    if (log->kept_bytes == 0) return SQLITE_OK;
    int bytes = (int)log->kept_bytes;
    log->kept_bytes = 0;
    return log->under->pMethods->xWrite(log->under, log->kept, bytes, log->offset);
}

static int log_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    log_file *log = (log_file *)(void *)file;
    bool follows = offset == log->offset + (sqlite3_int64)log->kept_bytes;
    size_t size = (size_t)bytes;
    if (log->kept == NULL) log->kept = myr_alloc(LOG_KEPT_BYTES);
    if (!follows || log->kept_bytes + size > LOG_KEPT_BYTES || log->kept == NULL) {
        int code = log_flush(log);
        if (code != SQLITE_OK) return code;
    }
    if (log->kept == NULL || size > LOG_KEPT_BYTES)
        return log->under->pMethods->xWrite(log->under, data, bytes, offset);
    if (log->kept_bytes == 0) log->offset = offset;
    memcpy(log->kept + log->kept_bytes, data, size);
    log->kept_bytes += size;
    return SQLITE_OK;
}

/* After a write up to `written`, by who has the lock to write. A disk without room for zeros is no failure. */
static void log_grow(log_file *log, sqlite3_int64 written)
{
    static const char zeros[LOG_GROW_MIN];
    if (written <= log->end || log->under->pMethods->xFileSize(log->under, &log->end) != SQLITE_OK) return;
    if (written < log->end) return;
    sqlite3_int64 more = written > LOG_GROW_MAX ? LOG_GROW_MAX : written;
    do {
        if (log->under->pMethods->xWrite(log->under, zeros, (int)sizeof zeros, log->end) != SQLITE_OK) return;
        log->end += (sqlite3_int64)sizeof zeros;
    } while (log->end < written + more);
}

static int log_sync(sqlite3_file *file, int flags)
{
    log_file *log = (log_file *)(void *)file;
    sqlite3_int64 written = log->kept_bytes > 0 ? log->offset + (sqlite3_int64)log->kept_bytes : 0;
    int code = log_flush(log);
    if (code == SQLITE_OK) log_grow(log, written);
    return code == SQLITE_OK ? log->under->pMethods->xSync(log->under, flags) : code;
}

static int log_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    log_file *log = (log_file *)(void *)file;
    int code = log_flush(log);
    return code == SQLITE_OK ? log->under->pMethods->xTruncate(log->under, bytes) : code;
}

/* ---- reading ---- */

static int log_read(sqlite3_file *file, void *out, int bytes, sqlite3_int64 offset)
{
    log_file *log = (log_file *)(void *)file;
    int code = log_flush(log);
    return code == SQLITE_OK ? log->under->pMethods->xRead(log->under, out, bytes, offset) : code;
}

static int log_size(sqlite3_file *file, sqlite3_int64 *out)
{
    log_file *log = (log_file *)(void *)file;
    int code = log_flush(log);
    return code == SQLITE_OK ? log->under->pMethods->xFileSize(log->under, out) : code;
}

static int log_close(sqlite3_file *file)
{
    log_file *log = (log_file *)(void *)file;
    int code = log_flush(log), closed = log->under->pMethods->xClose(log->under);
    myr_free(log->kept);
    return code == SQLITE_OK ? closed : code;
}

/* ---- the rest is SQLite's ---- */

static int log_lock(sqlite3_file *file, int level)
{
    log_file *log = (log_file *)(void *)file;
    return log->under->pMethods->xLock(log->under, level);
}

static int log_unlock(sqlite3_file *file, int level)
{
    log_file *log = (log_file *)(void *)file;
    return log->under->pMethods->xUnlock(log->under, level);
}

static int log_check_lock(sqlite3_file *file, int *out)
{
    log_file *log = (log_file *)(void *)file;
    return log->under->pMethods->xCheckReservedLock(log->under, out);
}

static int log_control(sqlite3_file *file, int what, void *arg)
{
    log_file *log = (log_file *)(void *)file;
    return log->under->pMethods->xFileControl(log->under, what, arg);
}

static int log_sector_size(sqlite3_file *file)
{
    log_file *log = (log_file *)(void *)file;
    return log->under->pMethods->xSectorSize(log->under);
}

static int log_characteristics(sqlite3_file *file)
{
    log_file *log = (log_file *)(void *)file;
    return log->under->pMethods->xDeviceCharacteristics(log->under);
}

static const sqlite3_io_methods log_methods = {.iVersion = 1,
                                               .xClose = log_close,
                                               .xRead = log_read,
                                               .xWrite = log_write,
                                               .xTruncate = log_truncate,
                                               .xSync = log_sync,
                                               .xFileSize = log_size,
                                               .xLock = log_lock,
                                               .xUnlock = log_unlock,
                                               .xCheckReservedLock = log_check_lock,
                                               .xFileControl = log_control,
                                               .xSectorSize = log_sector_size,
                                               .xDeviceCharacteristics = log_characteristics};

/* ---- opening ---- */

static myr_mutex log_lock_once = MYR_MUTEX_INIT;
static sqlite3_vfs log_vfs, *log_under; /* written once, under it */

static int log_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0) return log_under->xOpen(log_under, name, file, flags, out_flags);
    log_file *log = (log_file *)(void *)file;
    *log = (log_file){.under = (sqlite3_file *)(void *)(log + 1)};
    int code = log_under->xOpen(log_under, name, log->under, flags, out_flags);
    if (code == SQLITE_OK) log->base.pMethods = &log_methods; /* else there is nothing to close */
    return code;
}

static void log_register(void)
{
    sqlite3_vfs *under = sqlite3_vfs_find(NULL);
    MYR_ASSERT(under != NULL);
    log_vfs = *under;
    log_vfs.pNext = NULL;
    log_vfs.zName = "myriad";
    log_vfs.szOsFile = (int)sizeof(log_file) + under->szOsFile;
    log_vfs.xOpen = log_open;
    log_under = under;
    if (sqlite3_vfs_register(&log_vfs, 0) != SQLITE_OK) log_under = NULL;
}

const char *myr_db_vfs(void)
{
    if (!myr_io_syncs() || sqlite3_initialize() != SQLITE_OK) return NULL; /* what is wrong is said by the open */
    myr_mutex_lock(&log_lock_once);
    if (log_under == NULL) log_register();
    bool is_there = log_under != NULL;
    myr_mutex_unlock(&log_lock_once);
    return is_there ? log_vfs.zName : NULL;
}
