/*
 * AWS Signature Version 4, in one Authorization header: what is asked, by whom, for which region and day, is hashed
 * into one text, and that is signed by a key that is derived from the secret for this day and region alone.
 */
#include <stdio.h>
#include <string.h>

#include "object/internal.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"

static void sigv4_names(myr_buf *out, const object_pairs *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (i > 0) myr_buf_putc(out, ';');
        myr_buf_puts(out, headers->items[i].name);
    }
}

/* SHA-256 of the request in its canonical form. */
static void sigv4_request(const char *method, const char *path, const char *query, const object_pairs *headers,
                          const char *payload, char out_hex[MYR_SHA256_HEX_BYTES], bool *out_failed)
{
    MYR_AUTO(myr_buf) text = {0};
    myr_sha256 sha;
    myr_buf_printf(&text, "%s\n%s\n%s\n", method, path, query);
    for (size_t i = 0; i < headers->count; i++)
        myr_buf_printf(&text, "%s:%s\n", headers->items[i].name, headers->items[i].value);
    myr_buf_putc(&text, '\n');
    sigv4_names(&text, headers);
    myr_buf_printf(&text, "\n%s", payload);
    *out_failed = text.failed;
    myr_sha256_init(&sha);
    if (!text.failed) myr_sha256_add(&sha, text.data, text.size);
    myr_sha256_hex(&sha, out_hex);
}

static void sigv4_hmac(unsigned char key[MYR_SHA256_BYTES], const char *text)
{
    myr_hmac_sha256(key, MYR_SHA256_BYTES, text, strlen(text), key);
}

void myr_object_sigv4(const object_login *login, const char *method, const char *path, const char *query,
                      const object_pairs *headers, const char *time, const char *payload, myr_buf *out)
{
    char request[MYR_SHA256_HEX_BYTES], day[9], signature[MYR_SHA256_HEX_BYTES];
    unsigned char key[MYR_SHA256_BYTES];
    bool failed = false;
    MYR_AUTO(myr_buf) text = {0};
    (void)snprintf(day, sizeof day, "%.8s", time);
    sigv4_request(method, path, query, headers, payload, request, &failed);
    myr_buf_printf(&text, SIGV4_ALGORITHM "\n%s\n%s/%s/s3/aws4_request\n%s", time, day, login->region, request);

    MYR_AUTO(myr_buf) secret = {0};
    myr_buf_printf(&secret, "AWS4%s", login->secret);
    if (failed || text.failed || secret.failed) {
        out->failed = true;
        return;
    }
    myr_hmac_sha256(secret.data, secret.size, day, strlen(day), key);
    sigv4_hmac(key, login->region);
    sigv4_hmac(key, "s3");
    sigv4_hmac(key, "aws4_request");
    sigv4_hmac(key, text.data);
    myr_hex(key, sizeof key, signature);

    myr_buf_printf(out, SIGV4_ALGORITHM " Credential=%s/%s/%s/s3/aws4_request,SignedHeaders=", login->access, day,
                   login->region);
    sigv4_names(out, headers);
    myr_buf_printf(out, ",Signature=%s", signature);
}
