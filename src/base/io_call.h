/* What the files of base that call the file system share: the question to the hook and the wording of failures. */
#ifndef MYR_BASE_IO_CALL_H
#define MYR_BASE_IO_CALL_H

#include "base/io.h"

/* Ask the hook. False: the call must not happen, errno says why. */
bool myr_io_allows(myr_io_op op, const char *path);

/* "cannot <verb> <path>: <error>", with the code that the errno means. */
myr_rc myr_io_fail(const char *verb, const char *path, int error, myr_err *err);

/* One read; *out_bytes = 0 at the end of the file. */
myr_rc myr_io_read_some(int fd, const char *path, void *data, size_t size_bytes, size_t *out_bytes, myr_err *err);

#endif
