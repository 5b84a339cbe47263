/*
 * Files: the only place where our own code calls the file system. Every fallible call asks the hook first, so that a
 * test can fail the n-th one. Durable means: file synced, renamed, directory synced; a failed fsync is never retried.
 * Thread: any. Errors: by errno (NOT_FOUND, DENIED, NO_SPACE, IO …), the message names the path.
 */
#ifndef MYR_BASE_IO_H
#define MYR_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* An owned file descriptor: MYR_AUTO(myr_fd) fd = -1; */
typedef int myr_fd;
void myr_fd_drop(myr_fd *fd);

/* Read a whole file of at most max_bytes (else TOO_LARGE). *out_data is the caller's (myr_free), NUL added after the
 * end. */
myr_rc myr_file_read(const char *path, int64_t max_bytes, char **out_data, size_t *out_size, myr_err *err);
/* Write a file durably and atomically: temporary name beside it, sync, rename, directory sync. */
myr_rc myr_file_write(const char *path, const void *data, size_t size_bytes, myr_err *err);

myr_rc myr_io_open(const char *path, int flags, int mode, myr_fd *out_fd, myr_err *err); /* O_CLOEXEC added */
myr_rc myr_io_write(int fd, const char *path, const void *data, size_t size_bytes,
                    myr_err *err); /* all of it; EINTR, short writes */
myr_rc myr_io_pread(int fd, const char *path, void *data, size_t size_bytes, int64_t offset,
                    myr_err *err); /* all of it, else IO */
myr_rc myr_io_sync(int fd, const char *path, myr_err *err);
myr_rc myr_io_sync_dir(const char *dir, myr_err *err);
#define MYR_IO_TREE_DEPTH_MAX 64 /* directories below one another that walks of a tree go; deeper is TOO_LARGE */
myr_rc myr_io_sync_tree(const char *dir, myr_err *err); /* every regular file and directory below, then dir itself */
/* All that was written to the file system which path is on: one call for a tree of many files that others have written.
 */
myr_rc myr_io_sync_all(const char *path, myr_err *err);
/* The same by a descriptor, which is told of everything that could not be written since it was opened. */
myr_rc myr_io_sync_all_of(int fd, const char *path, myr_err *err);
myr_rc myr_io_close(myr_fd *fd, const char *path, myr_err *err);      /* reports a delayed write error; *fd = -1 */
myr_rc myr_io_rename(const char *from, const char *to, myr_err *err); /* the caller syncs the directory */
/* Swap what two existing names stand for, at once; UNSUPPORTED where the file system cannot. */
myr_rc myr_io_exchange(const char *a, const char *b, myr_err *err);
myr_rc myr_io_mkdirs(const char *path, myr_err *err);        /* with parents; existing is fine */
myr_rc myr_io_mkdir_private(const char *path, myr_err *err); /* one, for its user alone; existing is fine, as it is */
myr_rc myr_io_unlink(const char *path, myr_err *err);
myr_rc myr_io_remove_tree(const char *path, myr_err *err); /* does not follow links; absent is fine */
/* What it takes on the disk, with all that is below; follows no link. */
myr_rc myr_io_measure_tree(const char *path, int64_t *out_bytes, myr_err *err);
myr_rc myr_io_size(const char *path, int64_t *out_bytes, myr_err *err);
bool myr_io_exists(const char *path);
bool myr_io_is_dir(const char *path);
/* Names in a directory (without . and ..), sorted. Freed with myr_names_free. */
myr_rc myr_io_list(const char *dir, char ***out_names, size_t *out_count, myr_err *err);
void myr_names_free(char **names, size_t count);
/* MYR_AUTO(myr_file_names) names = {0}: freed however its function is left. */
typedef struct myr_file_names {
    char **items;
    size_t count;
} myr_file_names;
static inline void myr_file_names_drop(myr_file_names *names)
{
    myr_names_free(names->items, names->count);
}

/* A read-only shared mapping of a whole file. */
typedef struct myr_mapping {
    const unsigned char *data;
    size_t size;
} myr_mapping;
myr_rc myr_io_map(const char *path, myr_mapping *out, myr_err *err); /* an empty file is BAD_FORMAT */
void myr_io_unmap(myr_mapping *mapping);                             /* zeroes it; already empty is fine */

/*
 * Pages of mapped files that were lost under the process (the file shrank) and replaced by zeros. A program's SIGBUS
 * handler counts here (safe in a handler); whoever read from a mapping compares the number before and after, and
 * refuses the result when it moved. Without a handler it stays 0.
 */
void myr_io_map_lose(void);
uint64_t myr_io_map_losses(void);

/* An exclusive advisory lock on a file that is created; held until the fd is closed. BUSY if another process has it. */
myr_rc myr_io_lock(const char *path, myr_fd *out_fd, myr_err *err);

/* Join with one '/', into the caller's buffer; BAD_INPUT if it does not fit. */
myr_rc myr_path_join(char *out, size_t out_bytes, const char *dir, const char *name, myr_err *err);
/* One that means the same from everywhere, below the current directory unless it is absolute already. NOT_FOUND: that
 * directory is gone; BAD_INPUT: too long. */
myr_rc myr_path_absolute(const char *path, char *out, size_t out_bytes, myr_err *err);
void myr_path_dir(const char *path, char *out,
                  size_t out_bytes); /* directory part, "." if none, "" if it does not fit */

/*
 * The file `name` (relative, a/b.data) in the directory `dir`, with links followed, as an absolute path. DENIED: the
 * name is absolute, empty, has a "." or ".." part or a backslash, or a link leads out of `dir`; BAD_INPUT: not a
 * regular file; NOT_FOUND.
 */
myr_rc myr_path_inside(const char *dir, const char *name, char *out, size_t out_bytes, myr_err *err);

/* Random bytes from the kernel, or from a seeded sequence when a test said so. */
myr_rc myr_random(void *data, size_t size_bytes, myr_err *err);
void myr_random_seed(uint64_t seed); /* tests: 0 = the kernel again */

/* ---- fault injection, tests only ---- */
typedef enum myr_io_op {
    MYR_IO_OPEN,
    MYR_IO_READ,
    MYR_IO_WRITE,
    MYR_IO_SYNC,
    MYR_IO_CLOSE,
    MYR_IO_RENAME,
    MYR_IO_MKDIR,
    MYR_IO_UNLINK,
    MYR_IO_MAP,
    MYR_IO_STAT
} myr_io_op;
/* Gives 0 to let the call happen, or an errno with which it fails (without happening). */
typedef int (*myr_io_hook)(void *ctx, myr_io_op op, const char *path);
void myr_io_set_hook(myr_io_hook hook, void *ctx); /* NULL removes it */

/*
 * Whether syncs reach the disk: false turns myr_io_sync* into no-ops. Only for the negative control of the power-cut
 * test; set by the environment variable MYRIAD_UNSAFE_NO_SYNC=1 at start.
 */
void myr_io_set_sync(bool on);
bool myr_io_syncs(void);

#endif
