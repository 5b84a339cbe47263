/*
 * Azure's Shared Key: some headers by their places, those of x-ms- by name, then the resource, signed by the account's
 * key. A shared access signature needs none of this: it is a part of the URL.
 */
#include <stdio.h>
#include <string.h>

#include "object/internal.h"

/* The lines between the method and the x-ms- headers, in their order. */
static const char *const shared_key_lines[] = {
    "content-encoding",  "content-language", "content-length", "content-md5",         "content-type", "date",
    "if-modified-since", "if-match",         "if-none-match",  "if-unmodified-since", "range"};

static const char *shared_key_find(const object_pairs *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (strcmp(headers->items[i].name, name) == 0) return headers->items[i].value;
    }
    return "";
}

static void shared_key_text(const object_login *login, const object_request *request, const char *path,
                            const object_pairs *headers, myr_buf *out)
{
    myr_buf_printf(out, "%s\n", request->method);
    for (size_t i = 0; i < MYR_COUNT_OF(shared_key_lines); i++) {
        const char *name = shared_key_lines[i];
        if (strcmp(name, "content-length") == 0 && request->body_bytes > 0)
            myr_buf_printf(out, "%zu\n", request->body_bytes);
        else
            myr_buf_printf(out, "%s\n", shared_key_find(headers, name));
    }
    for (size_t i = 0; i < headers->count; i++) {
        if (strncmp(headers->items[i].name, "x-ms-", 5) == 0)
            myr_buf_printf(out, "%s:%s\n", headers->items[i].name, headers->items[i].value);
    }
    myr_buf_printf(out, "/%s%s", login->account, path);
    object_pairs query = request->query;
    myr_object_pairs_sort(&query);
    for (size_t i = 0; i < query.count; i++)
        myr_buf_printf(out, "\n%s:%s", query.items[i].name, query.items[i].value);
}

void myr_object_shared_key(const object_login *login, const object_request *request, const char *path,
                           const object_pairs *headers, myr_buf *out)
{
    MYR_AUTO(myr_buf) text = {0};
    unsigned char signature[MYR_SHA256_BYTES];
    shared_key_text(login, request, path, headers, &text);
    if (text.failed) {
        out->failed = true;
        return;
    }
    myr_hmac_sha256(login->key, login->key_bytes, text.data, text.size, signature);
    myr_buf_printf(out, "SharedKey %s:", login->account);
    myr_object_base64(out, signature, sizeof signature);
}
