/* Models that are not ours: what external.c, check.c and predict.c share. Not for other directories: see model.h. */
#ifndef MYR_MODEL_EXTERNAL_H
#define MYR_MODEL_EXTERNAL_H

#include "model/layout.h"

typedef struct external_record {
    char runtime[MYR_EXTERNAL_RUNTIME_BYTES];
    unsigned char sha256[MYR_SHA256_BYTES];
} external_record;
_Static_assert(sizeof(external_record) == 64, "the layout is frozen");

/* Untrusted bytes whose magic, version and kind were looked at: the rest. Errors: BAD_FORMAT. */
myr_rc myr_external_check(const unsigned char *bytes, size_t size_bytes, myr_err *err);

#endif
