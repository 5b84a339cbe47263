/*
 * Errors: facts about a code come from rc.def, messages are made in one fixed buffer. Whatever stands in a message, it
 * is one line of valid UTF-8 that fits: bytes that are not are shown as \xNN, and a cut is visible as an ellipsis.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* Longer than any message: what does not fit here does not fit there either, because escaping only lengthens. */
#define ERR_RAW_BYTES (4 * MYR_ERR_MESSAGE_BYTES)
#define ERR_ELLIPSIS  "\xe2\x80\xa6"

_Static_assert(sizeof(myr_err) == 256, "myr_err is frozen");

typedef struct rc_facts {
    const char *name;
    const char *text;
    int http, grpc, exit_code, retryable;
} rc_facts;

static const rc_facts RC_FACTS[] = {
#define MYR_RC(name, number, http, grpc, exit_code, retryable, text)                                                   \
    [number] = {#name, text, http, grpc, exit_code, retryable},
#include "myriad/rc.def"
#undef MYR_RC
};
_Static_assert(MYR_COUNT_OF(RC_FACTS) == MYR_RC_LAST_, "rc.def is in order and without holes");

static const rc_facts *rc_find(myr_rc rc)
{
    size_t number = (size_t)rc; /* a negative number becomes a large one */
    if (number >= MYR_COUNT_OF(RC_FACTS)) number = MYR_INTERNAL;
    MYR_ASSERT(RC_FACTS[number].name != NULL);
    return &RC_FACTS[number];
}

const char *myr_rc_name(myr_rc rc)
{
    return rc_find(rc)->name;
}
const char *myr_rc_text(myr_rc rc)
{
    return rc_find(rc)->text;
}
int myr_rc_http(myr_rc rc)
{
    return rc_find(rc)->http;
}
int myr_rc_grpc(myr_rc rc)
{
    return rc_find(rc)->grpc;
}
int myr_rc_exit(myr_rc rc)
{
    return rc_find(rc)->exit_code;
}
bool myr_rc_retryable(myr_rc rc)
{
    return rc_find(rc)->retryable != 0;
}

/* The text of the character at raw: itself, or its first byte escaped. Gives the bytes consumed. */
static size_t err_next(const char *raw, size_t raw_bytes, char piece[5], size_t *piece_bytes)
{
    size_t step = myr_utf8_step(raw, raw_bytes);
    if (step > 0 && myr_utf8_is_plain(raw, step)) {
        memcpy(piece, raw, step);
        *piece_bytes = step;
        return step;
    }
    *piece_bytes = (size_t)snprintf(piece, 5, "\\x%02x", (unsigned)(unsigned char)raw[0]);
    return 1;
}

/* Copy raw into message, made printable and cut so that it fits. */
static void err_write(char message[MYR_ERR_MESSAGE_BYTES], const char *raw, size_t raw_bytes)
{
    const size_t room = MYR_ERR_MESSAGE_BYTES - 1;
    const size_t ellipsis_bytes = sizeof ERR_ELLIPSIS - 1;
    size_t at = 0;
    size_t cut = 0; /* the last character boundary after which the ellipsis still fits */
    for (size_t pos = 0; pos < raw_bytes;) {
        char piece[5];
        size_t piece_bytes;
        pos += err_next(raw + pos, raw_bytes - pos, piece, &piece_bytes);
        if (at + piece_bytes > room) {
            memcpy(message + cut, ERR_ELLIPSIS, ellipsis_bytes);
            at = cut + ellipsis_bytes;
            break;
        }
        memcpy(message + at, piece, piece_bytes);
        at += piece_bytes;
        if (at + ellipsis_bytes <= room) cut = at;
    }
    MYR_ASSERT(at <= room);
    memset(message + at, 0, MYR_ERR_MESSAGE_BYTES - at);
}

/* vsnprintf that cannot fail: gives the bytes that stand in raw. */
__attribute__((format(printf, 3, 0))) static size_t err_format(char *raw, size_t room, const char *fmt, va_list args)
{
    int wanted = vsnprintf(raw, room, fmt, args);
    if (wanted < 0) { /* only a length past INT_MAX */
        raw[0] = '\0';
        return 0;
    }
    return (size_t)wanted < room ? (size_t)wanted : room - 1;
}

myr_rc myr_err_set(myr_err *err, myr_rc rc, const char *file, int line, const char *fmt, ...)
{
    if (err == NULL) return rc;
    char raw[ERR_RAW_BYTES]; /* the arguments may point into err->message, so it is written last */
    va_list args;
    va_start(args, fmt);
    size_t raw_bytes = err_format(raw, sizeof raw, fmt, args);
    va_end(args);
    err_write(err->message, raw, raw_bytes);
    err->rc = (int32_t)rc;
    err->line = (int32_t)line;
    err->file = file;
    return rc;
}

myr_rc myr_err_prefix(myr_err *err, myr_rc rc, const char *fmt, ...)
{
    if (err == NULL) return rc;
    if (err->rc == MYR_OK) { /* raised without an err: at least the code's own sentence follows the prefix */
        (void)myr_err_set(err, rc, NULL, 0, "%s", myr_rc_text(rc));
    }
    char raw[ERR_RAW_BYTES];
    va_list args;
    va_start(args, fmt);
    size_t raw_bytes = err_format(raw, sizeof raw - MYR_ERR_MESSAGE_BYTES, fmt, args);
    va_end(args);
    size_t old_bytes = strnlen(err->message, MYR_ERR_MESSAGE_BYTES - 1);
    MYR_ASSERT(raw_bytes + old_bytes < sizeof raw);
    memcpy(raw + raw_bytes, err->message, old_bytes);
    err_write(err->message, raw, raw_bytes + old_bytes);
    return (myr_rc)err->rc;
}

myr_rc myr_rc_from_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return MYR_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return MYR_EXISTS;
    case ENOMEM:
        return MYR_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
        return MYR_NO_SPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return MYR_DENIED;
    case EAGAIN:
    case EBUSY:
    case EMFILE:
    case ENFILE:
        return MYR_BUSY;
    case ETIMEDOUT:
        return MYR_TIMEOUT;
    case ECANCELED:
        return MYR_CANCELLED;
    case EFBIG:
        return MYR_TOO_LARGE;
    case ENAMETOOLONG:
    case EISDIR:
    case ELOOP:
        return MYR_BAD_INPUT;
    case ENOSYS:
    case EOPNOTSUPP:
        return MYR_UNSUPPORTED;
    case EADDRINUSE:
    case ECONNREFUSED:
    case ENETUNREACH:
    case EHOSTUNREACH:
        return MYR_UNAVAILABLE;
    default:
        return MYR_IO; /* 0 too: whoever asks has seen a failure */
    }
}

void myr_assert_fail(const char *cond, const char *file, int line)
{
    fprintf(stderr, "%s:%d: internal error: assertion failed: %s\n", file, line, cond);
    abort();
}
