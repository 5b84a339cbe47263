/*
 * A second name for a file, and when a file was last used: what a cache of files is made of. Included by those who keep
 * one. Thread: any. Errors: as in base/io.h.
 */
#ifndef MYR_BASE_LINK_H
#define MYR_BASE_LINK_H

#include "base/io.h"

/* UNSUPPORTED where there are no second names, or not across these two places. EXISTS. */
myr_rc myr_io_link(const char *from, const char *to, myr_err *err);
/* When it was last used is its access time: setting it leaves the time of its last change alone. */
myr_rc myr_io_set_used(const char *path, int64_t unix_ms, myr_err *err);
myr_rc myr_io_used(const char *path, int64_t *out_unix_ms, int64_t *out_bytes, myr_err *err);

#endif
