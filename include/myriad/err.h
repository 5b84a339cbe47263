/* Result codes and errors of the stable C ABI: C99- and C++17-clean, libc only. */
#ifndef MYRIAD_ERR_H
#define MYRIAD_ERR_H

#include <stdint.h>

#if defined(__GNUC__)
#define MYR_API __attribute__((visibility("default")))
#else
#define MYR_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum myr_rc {
#define MYR_RC(name, number, http, grpc, exit_code, retryable, text) MYR_##name = number,
#include "myriad/rc.def"
#undef MYR_RC
    MYR_RC_LAST_ /* not a code: keeps the list closed */
} myr_rc;

#define MYR_ERR_MESSAGE_BYTES 240

/*
 * What went wrong, in words. The caller owns it; every call that takes one accepts NULL.
 * Written only when the call fails. 256 bytes, frozen.
 */
typedef struct myr_err {
    int32_t rc;                          /* a myr_rc */
    int32_t line;                        /* where in myriad's source it was raised */
    const char *file;                    /* static string */
    char message[MYR_ERR_MESSAGE_BYTES]; /* UTF-8, NUL-terminated; names the file, field, value and the mend */
} myr_err;

#ifdef __cplusplus
}
#endif
#endif
