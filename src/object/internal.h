/* What the files of object share: a request before it is signed, who signs it, and the steps to its answer. */
#ifndef MYR_OBJECT_INTERNAL_H
#define MYR_OBJECT_INTERNAL_H

#include "fetch/fetch.h"
#include "object/object.h"

#define OBJECT_PAIRS_MAX       12
#define OBJECT_PAGE_BYTES_MAX  (32 << 20) /* of a page of a list */
#define OBJECT_SMALL_BYTES_MAX (1 << 20)  /* of any other answer that we read */
#define OBJECT_TIME_BYTES      40

/* ---- options.c ---- */
myr_rc myr_object_defaults(myr_object_opts *out, myr_err *err);

/* ---- uri.c ---- */
typedef enum object_kind { OBJECT_S3, OBJECT_AZURE } object_kind;
typedef struct object_uri {
    object_kind kind;
    myr_str bucket;    /* or container */
    myr_str account;   /* data == NULL: it says none */
    const char *key;   /* what stands behind the bucket's slash; "" if there is none */
    size_t root_bytes; /* of the text before the key, with its slash if it has one */
} object_uri;
myr_rc myr_object_uri_parse(const char *text, object_uri *out, myr_err *err);
/* Every byte but A-Z a-z 0-9 - . _ ~ as %XX; slashes stay if `path`. */
void myr_object_encode(myr_buf *out, myr_str text, bool is_path);
void myr_object_base64(myr_buf *out, const void *data, size_t size_bytes);
/* False: it is none, or has more bytes than there is room for. */
bool myr_object_base64_decode(myr_str text, unsigned char *out, size_t room, size_t *out_bytes);

/* ---- login.c: who asks, and where ---- */
typedef struct object_login {
    object_kind kind;
    const char *endpoint;                           /* https://host:port and a path, without a slash at the end */
    const char *bucket;                             /* between endpoint and key; NULL: the endpoint's host has it */
    const char *ca;                                 /* NULL: the system's certificates */
    const char *region, *access, *secret, *session; /* S3; session may be NULL */
    const char *account, *sas;                      /* Azure; sas NULL: the key */
    unsigned char key[256];
    size_t key_bytes;
} object_login;
myr_rc myr_object_login(const object_uri *uri, myr_arena *arena, object_login *out, myr_err *err);
/* A section's value in a file like ~/.aws/credentials; data == NULL: it is not there. */
myr_str myr_object_ini_get(myr_str text, const char *section, const char *name);
/* `AccountName` of `DefaultEndpointsProtocol=https;AccountName=…`; data == NULL: it is not there. */
myr_str myr_object_connection_get(myr_str text, const char *name);

/* ---- sign.c, sign_s3.c, sign_azure.c ---- */
typedef struct object_pair {
    const char *name, *value;
} object_pair;
typedef struct object_pairs {
    object_pair items[OBJECT_PAIRS_MAX];
    size_t count;
} object_pairs;
void myr_object_pairs_add(object_pairs *pairs, const char *name, const char *value);
void myr_object_pairs_sort(object_pairs *pairs); /* by the bytes of the names */

typedef struct object_request {
    const char *method;
    const char *key;      /* "": the bucket itself */
    object_pairs query;   /* not encoded */
    object_pairs headers; /* lower case; beside those that signing adds */
    const void *body;     /* NULL: none */
    size_t body_bytes;
    myr_fetch_take take; /* of a 2xx; NULL: into answer->body */
    void *ctx;
    int64_t bytes_max;
} object_request;

/* A request as it goes out. The texts are its own. */
typedef struct object_signed {
    myr_buf url, path, query; /* path and query as they stand in the URL */
    myr_buf lines;            /* headers, each with a NUL behind */
    const char *headers[OBJECT_PAIRS_MAX + 8];
} object_signed;
void myr_object_signed_fini(object_signed *sign);
static inline void object_signed_drop(object_signed *sign)
{
    myr_object_signed_fini(sign);
}
myr_rc myr_object_sign(const object_login *login, const object_request *request, int64_t now_ms, object_signed *out,
                       myr_err *err);
/* AWS Signature Version 4 of a request: what stands behind `Authorization: `. time: 20130524T000000Z; headers sorted,
 * with host; payload: SHA-256 of the body in hexadecimal. */
void myr_object_sigv4(const object_login *login, const char *method, const char *path, const char *query,
                      const object_pairs *headers, const char *time, const char *payload, myr_buf *out);
/* Azure's Shared Key. path: of the URL, encoded; query and headers: not encoded, sorted, with x-ms-date. */
void myr_object_shared_key(const object_login *login, const object_request *request, const char *path,
                           const object_pairs *headers, myr_buf *out);

/* ---- ask.c ---- */
struct myr_object_client {
    myr_arena *arena;
    object_login login;
    const char *root; /* the URI without a key: what messages begin with */
    myr_object_opts opts;
    myr_fetch *fetch;
};
/* Once: OK is a 2xx. *out_may_pass: another try may do better. */
myr_rc myr_object_ask_once(myr_object_client *client, const object_request *request, myr_fetch_answer *answer,
                           bool *out_may_pass, myr_err *err);
/* Again and again, until it is done or will not be. Not for requests with `take`: what came would come again. */
myr_rc myr_object_ask(myr_object_client *client, const object_request *request, myr_fetch_answer *answer, myr_err *err);
/* Wait before the next try; attempt: 0 after the first. */
void myr_object_pause(const myr_object_client *client, int64_t attempt, const myr_fetch_answer *answer);
/* The URI of a key, for messages. */
#define OBJECT_NAME_BYTES 160
const char *myr_object_name(const myr_object_client *client, const char *key, char out[OBJECT_NAME_BYTES]);

/* ---- cache.c ---- */
/* root: of the client. A second name, `path`, for the object if it is in the cache; false: it is not. */
bool myr_object_cache_take(const char *dir, const char *root, const myr_object *object, const char *path);
void myr_object_cache_put(const char *dir, const char *root, const myr_object *object, const char *path);
/* What was used longest ago goes until bytes_max are left. */
myr_rc myr_object_cache_prune(const char *dir, int64_t bytes_max, myr_err *err);

/* ---- xml.c ---- */
typedef struct object_element {
    myr_str path;    /* `ListBucketResult/Contents/Key`: names from the root on */
    myr_str text;    /* what stands in it, decoded, if it has no elements */
    bool is_encoded; /* it has the attribute Encoded="true" */
} object_element;
/* At the end of every element. A failure ends the reading and is what it gives. */
typedef myr_rc (*object_element_fn)(void *ctx, const object_element *element, myr_err *err);
/* BAD_FORMAT: not a document of elements, attributes and texts alone, nested at most 16 deep. */
myr_rc myr_object_xml_read(myr_str text, object_element_fn fn, void *ctx, myr_err *err);
void myr_object_xml_text(myr_buf *out, myr_str text); /* escaped */

/* ---- answers.c ---- */
typedef struct object_page {
    myr_arena *arena;
    myr_object *items;
    size_t count, room;
    myr_str next; /* where the next page begins; size == 0: this was the last. In the arena */
    /* while it is read */
    myr_object now;
    bool is_url_encoded; /* S3's EncodingType */
    bool is_directory;   /* Azure's hierarchical namespace has directories as blobs */
    bool is_truncated, is_list;
} object_page;
/* A page of a list, S3's or Azure's, appended. BAD_FORMAT, TOO_LARGE. */
myr_rc myr_object_page_read(object_page *page, object_kind kind, myr_str text, myr_err *err);
/* S3's code and message, or Azure's; what is not there stays empty. */
typedef struct object_trouble {
    char code[64], message[160];
} object_trouble;
void myr_object_trouble_read(myr_str text, object_trouble *out);
/* The text of the first element that is called so; NOT_FOUND. */
myr_rc myr_object_xml_find(myr_str text, const char *name, myr_arena *arena, const char **out, myr_err *err);
/* 2009-10-12T17:50:30.000Z, or Wed, 12 Oct 2009 17:50:00 GMT. */
bool myr_object_time_parse(myr_str text, int64_t *out_ms);
void myr_object_time_http(int64_t unix_ms, char out[OBJECT_TIME_BYTES]);

/* ---- match.c ---- */
bool myr_object_is_pattern(const char *key);
bool myr_object_match(const char *pattern, const char *key);

#endif
