/* Errors: a result code plus a caller-owned message. No thread-local state, no heap. */
#ifndef MYR_BASE_ERR_H
#define MYR_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "myriad/err.h"

/* Facts about a code, from rc.def. Any thread; unknown numbers are answered as INTERNAL. */
const char *myr_rc_name(myr_rc rc); /* "NOT_FOUND" */
const char *myr_rc_text(myr_rc rc); /* one sentence for people */
int myr_rc_http(myr_rc rc);         /* HTTP status */
int myr_rc_grpc(myr_rc rc);         /* gRPC status code */
int myr_rc_exit(myr_rc rc);         /* process exit code */
bool myr_rc_retryable(myr_rc rc);

/*
 * Fill `err` (NULL accepted) and give back `rc`. A message that is too long is cut at a character and ends in "…".
 * Control characters from input are shown escaped, so that a message is always one line.
 */
myr_rc myr_err_set(myr_err *err, myr_rc rc, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Put words before the message of an error that is passed on ("models.csv:3: …"). Gives back err->rc, or rc if err is
 * NULL. */
myr_rc myr_err_prefix(myr_err *err, myr_rc rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The code that an errno means (ENOENT -> NOT_FOUND, ENOSPC/EDQUOT -> NO_SPACE, ENOMEM -> NO_MEMORY, EACCES -> DENIED,
 * …). */
myr_rc myr_rc_from_errno(int error);

/* The only two macros that hide a return. */
#define MYR_TRY(call)                                                                                                  \
    do {                                                                                                               \
        myr_rc try_rc_ = (call);                                                                                       \
        if (try_rc_ != MYR_OK) return try_rc_;                                                                         \
    } while (0)
#define MYR_FAIL(err, code, ...) return MYR_ERROR((err), code, __VA_ARGS__)

/* The same without return, for `goto out` functions: rc = MYR_ERROR(err, IO, "…"). A constant, so that the compiler
 * sees the failure. */
#define MYR_ERROR(err, code, ...) ((void)myr_err_set((err), MYR_##code, __FILE__, __LINE__, __VA_ARGS__), MYR_##code)

/* A result dropped on purpose; the reason stands beside it. */
#define MYR_IGNORE(call)                                                                                               \
    do {                                                                                                               \
        if (call) {                                                                                                    \
        }                                                                                                              \
    } while (0)

/* Our own invariants, always on: prints file, line and condition, then aborts. Never reachable from input. */
#define MYR_ASSERT(cond) ((cond) ? (void)0 : myr_assert_fail(#cond, __FILE__, __LINE__))
_Noreturn void myr_assert_fail(const char *cond, const char *file, int line);

/* A variable whose type's `_drop` runs at the end of its scope: MYR_AUTO(myr_fd) fd = …; */
#define MYR_AUTO(type) __attribute__((cleanup(type##_drop))) type

#define MYR_WARN_UNUSED     __attribute__((warn_unused_result))
#define MYR_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
