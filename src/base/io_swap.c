/* Two names that change places in one step, so that nobody ever finds neither of them. Linux only; not all file
 * systems. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/io_call.h"

myr_rc myr_io_exchange(const char *a, const char *b, myr_err *err)
{
    if (!myr_io_allows(MYR_IO_RENAME, a) || renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0) {
        int error = errno;
        char text[128];
        if (error == EINVAL || error == ENOSYS || error == ENOTSUP) {
            MYR_FAIL(err, UNSUPPORTED, "%s: the file system cannot exchange names", a);
        }
        return myr_err_set(err, myr_rc_from_errno(error), __FILE__, __LINE__, "cannot exchange %s and %s: %s", a, b,
                           strerror_r(error, text, sizeof text));
    }
    return MYR_OK;
}
