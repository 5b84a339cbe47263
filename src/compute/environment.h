/*
 * What the files of environments share. Private to compute.
 *
 * <dir>/<hash> is a venv, <dir>/<hash>.lock says who has it: exclusive while it is made or removed, shared while it is
 * used. These are locks of open file descriptions, which the kernel gives back for a killed process, as flock's, and
 * which can be asked about without being taken: a list must not be in the way of who wants one.
 */
#ifndef MYR_COMPUTE_ENVIRONMENT_H
#define MYR_COMPUTE_ENVIRONMENT_H

#include "compute/compute.h"

#define ENVIRONMENT_MARK "/.complete"         /* written last, says that all is there: how many bytes that are */
#define ENVIRONMENT_LIST "/.requirements.txt" /* what it was made from */
#define ENVIRONMENT_LOCK ".lock"

#define ENVIRONMENT_FILE_MAX (1 << 20) /* a list of requirements */

/* <dir>/<hash><part>. BAD_INPUT: it does not fit. */
myr_rc myr_environment_path(char out[MYR_PATH_BYTES_MAX], const char *dir, const char *hash, const char *part,
                            myr_err *err);
/* type: F_RDLCK, F_WRLCK. False: another has it (errno EAGAIN), or errno. A lock that we have is changed at once. */
bool myr_environment_lock_try(int fd, short type);

#endif
