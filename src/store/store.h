/*
 * The face of store: artifacts by the SHA-256 of their content. A directory for now (S3 and Azure Blob fit behind it).
 * An artifact is immutable; putting it again is a no-op. Thread: any; several processes may share the directory.
 * Errors: those of files (NO_SPACE, IO, DENIED …); BAD_INPUT for what names no artifact; TOO_LARGE past
 * MYR_FILE_BYTES_MAX. After a failed sync the handle gives IO for every later put and sync: what was lost is not known.
 */
#ifndef MYR_STORE_STORE_H
#define MYR_STORE_STORE_H

#include "base/base.h"

typedef struct myr_store myr_store;

myr_rc myr_store_open(const char *dir, myr_store **out, myr_err *err); /* makes the directory */
void myr_store_close(myr_store *store);
/* Durable once myr_store_sync (or the next one) has returned OK. out_hex: MYR_SHA256_HEX_BYTES. */
myr_rc myr_store_put(myr_store *store, const void *data, size_t size_bytes, char out_hex[MYR_SHA256_HEX_BYTES],
                     myr_err *err);
myr_rc myr_store_sync(myr_store *store, myr_err *err);
/* Reads and compares the hash: a damaged artifact is BAD_FORMAT, an absent one NOT_FOUND. */
myr_rc myr_store_get(myr_store *store, const char *hex, char **out_data, size_t *out_size, myr_err *err);

#endif
