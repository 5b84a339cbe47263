/* The worker's own end: frames over the socket that its parent left at MYR_WORKER_FD. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "compute/compute.h"

#define INSIDE_PREFIX_BYTES 4
#define INSIDE_STEP_BYTES   16384 /* a length alone takes no memory */

static myr_rc inside_read(char *data, size_t size, myr_err *err)
{
    while (size > 0) {
        ssize_t got = recv(MYR_WORKER_FD, data, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) MYR_FAIL(err, IO, "the socket of this worker: %s", strerror(errno));
        if (got == 0) MYR_FAIL(err, CANCELLED, "who started this worker wants nothing more");
        data += got;
        size -= (size_t)got;
    }
    return MYR_OK;
}

static myr_rc inside_write(const char *data, size_t size, myr_err *err)
{
    while (size > 0) {
        ssize_t sent = send(MYR_WORKER_FD, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) MYR_FAIL(err, IO, "the socket of this worker: %s", strerror(errno));
        data += sent;
        size -= (size_t)sent;
    }
    return MYR_OK;
}

myr_rc myr_worker_hear(myr_buf *request, myr_err *err)
{
    unsigned char prefix[INSIDE_PREFIX_BYTES];
    MYR_TRY(inside_read((char *)prefix, sizeof prefix, err));
    size_t size = (size_t)prefix[0] | (size_t)prefix[1] << 8 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 24;
    if (size > MYR_WORKER_FRAME_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "a request of %zu bytes to this worker, at most %d", size, MYR_WORKER_FRAME_BYTES_MAX);
    }
    myr_buf_clear(request);
    for (size_t done = 0; done < size;) {
        char part[INSIDE_STEP_BYTES];
        size_t next = size - done < sizeof part ? size - done : sizeof part;
        MYR_TRY(inside_read(part, next, err));
        myr_buf_append(request, part, next);
        done += next;
    }
    return myr_buf_check(request, err);
}

myr_rc myr_worker_tell(const myr_buf *answer, myr_err *err)
{
    unsigned char prefix[INSIDE_PREFIX_BYTES];
    MYR_TRY(myr_buf_check(answer, err));
    if (answer->size > MYR_WORKER_FRAME_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "an answer of %zu bytes, at most %d", answer->size, MYR_WORKER_FRAME_BYTES_MAX);
    }
    for (int i = 0; i < INSIDE_PREFIX_BYTES; i++)
        prefix[i] = (unsigned char)(answer->size >> (8 * i));
    MYR_TRY(inside_write((const char *)prefix, sizeof prefix, err));
    return inside_write(answer->data, answer->size, err);
}
