/*
 * The face of object: files in S3 and Azure Blob, by URI. Keys are bytes as they are: nothing in a URI is decoded.
 * Failures that may pass (500, 503, 429, a cut or a slow connection) are tried again, a bounded number of times; what
 * was read or written until then is not done again. Messages name the URI, the status, and the service's own code and
 * words, never a secret.
 *
 * Thread: a client has one user at a time; several clients may be used side by side.
 * Errors of all: NOT_FOUND no such object, bucket or container; DENIED and UNAUTHENTICATED by the service; UNAVAILABLE
 * it does not answer (or libcurl is not here); TIMEOUT; CONFLICT somebody else changed it; BAD_FORMAT an answer that is
 * none; BAD_INPUT a URI; NO_MEMORY.
 */
#ifndef MYR_OBJECT_OBJECT_H
#define MYR_OBJECT_OBJECT_H

#include "base/base.h"

#define MYR_OBJECT_KEY_BYTES_MAX 1024
#define MYR_OBJECT_LIST_MAX      1000000     /* objects below one prefix; more is TOO_LARGE */
#define MYR_OBJECT_BYTES_MAX     (5LL << 40) /* of one object */
#define MYR_OBJECT_PART_BYTES    (5LL << 20) /* S3 takes no smaller part, but the last */
#define MYR_OBJECT_TRANSFERS_MAX 64

/* ---- options: the rows `object.*` ---- */
typedef struct myr_object_opts {
    int64_t retries, backoff_ms, stall_ms;
    int64_t part_bytes; /* larger files are sent in parts of this size */
    int64_t transfers;  /* files at once */
    int64_t page_keys;  /* of a list, asked for at once */
    int64_t cache_bytes;
} myr_object_opts;
extern const myr_opt_table myr_object_opt_table;
void myr_object_set_defaults(const myr_object_opts *opts); /* of clients that are opened from now on */

/* ---- where ---- */
/* s3://BUCKET/KEY, az://CONTAINER/KEY (also azure://), abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/KEY. */
bool myr_object_is_uri(const char *text);
/* The part of a URI behind the bucket: the key, or a prefix. BAD_INPUT if it is none of the above. Borrowed. */
myr_rc myr_object_key(const char *uri, const char **out, myr_err *err);

typedef struct myr_object_client myr_object_client;
/*
 * A client of the bucket or container that `uri` names; nothing is asked yet. Who asks is found in the environment:
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or ~/.aws/credentials (AWS_PROFILE), AWS_REGION,
 * AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_CA_BUNDLE; AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with
 * AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN. UNAUTHENTICATED: it is not there. opts NULL: the defaults.
 */
myr_rc myr_object_open(const char *uri, const myr_object_opts *opts, myr_object_client **out, myr_err *err);
void myr_object_close(myr_object_client *client); /* NULL accepted */
typedef myr_object_client *myr_object_client_ptr;
static inline void myr_object_client_ptr_drop(myr_object_client_ptr *client)
{
    myr_object_close(*client);
}

/* ---- what is there ---- */
typedef struct myr_object {
    const char *key;
    int64_t bytes;
    int64_t modified_ms;
    const char *etag; /* without its quotes */
} myr_object;
/* All whose keys begin with `prefix`, in order of their bytes. Texts live in `arena`. */
myr_rc myr_object_list(myr_object_client *client, const char *prefix, myr_arena *arena, myr_object **out,
                       size_t *out_count, myr_err *err);
myr_rc myr_object_head(myr_object_client *client, const char *key, myr_arena *arena, myr_object *out, myr_err *err);
/*
 * The objects of an input: the one of this key; else, if the key ends in `/` or is empty, all below it but those whose
 * names, or a directory of theirs, begin with `_` or `.`; else, with `*`, `?` or `[` in it, those that match: `*` does
 * not cross a `/`, `**` does. NOT_FOUND: none.
 */
myr_rc myr_object_find(myr_object_client *client, const char *key, myr_arena *arena, myr_object **out,
                       size_t *out_count, myr_err *err);

/* For who looks again and again: whether a key is one of those, and what all of them begin with. */
bool myr_object_takes(const char *key, const char *found);
void myr_object_prefix(const char *key, char out[MYR_OBJECT_KEY_BYTES_MAX + 1]);

/* ---- reading ---- */
/* A small one, whole. More than bytes_max is TOO_LARGE. */
myr_rc myr_object_get(myr_object_client *client, const char *key, int64_t bytes_max, myr_buf *out, myr_err *err);
/* Into a file, which appears when it is whole and synced. A cut goes on where it was; CONFLICT: it is not `object` any
 * more. NO_SPACE, IO. */
myr_rc myr_object_get_file(myr_object_client *client, const myr_object *object, const char *path, myr_err *err);

/* ---- writing ---- */
typedef enum myr_object_when { MYR_OBJECT_ALWAYS, MYR_OBJECT_IF_ABSENT, MYR_OBJECT_IF_SAME } myr_object_when;
/* IF_ABSENT, IF_SAME (the ETag is still `etag`): else CONFLICT. Where the store knows no conditions, always. */
myr_rc myr_object_put(myr_object_client *client, const char *key, const void *data, size_t size_bytes,
                      myr_object_when when, const char *etag, myr_err *err);
/* A file, in parts if it is large. A failure leaves nothing under the key, and no parts. */
myr_rc myr_object_put_file(myr_object_client *client, const char *key, const char *path, myr_err *err);
myr_rc myr_object_delete(myr_object_client *client, const char *key, myr_err *err); /* absent is fine */

/* ---- many at once, `transfers` at a time, each with a client of its own ---- */
typedef struct myr_object_move {
    myr_object object; /* what is read: all of it; what is written or removed: its key */
    const char *path;  /* the file, of two that are moved; directories above one that is read are made */
} myr_object_move;
/* cache: a directory in which `cache_bytes` of what was read stay for the next time, on the same file system as the
 * paths; NULL: none. */
myr_rc myr_object_get_all(const char *uri, const char *cache, const myr_object_move *moves, size_t count, myr_err *err);
myr_rc myr_object_put_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err);
myr_rc myr_object_delete_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err);

#endif
