/* A request as it goes out: its URL, its headers, and the signature of the service. */
#include <stdio.h>
#include <string.h>

#include "object/internal.h"

void myr_object_pairs_add(object_pairs *pairs, const char *name, const char *value)
{
    MYR_ASSERT(pairs->count < OBJECT_PAIRS_MAX);
    pairs->items[pairs->count++] = (object_pair){name, value};
}

void myr_object_pairs_sort(object_pairs *pairs)
{
    for (size_t i = 1; i < pairs->count; i++) { /* they are few */
        object_pair pair = pairs->items[i];
        size_t at = i;
        for (; at > 0 && strcmp(pairs->items[at - 1].name, pair.name) > 0; at--)
            pairs->items[at] = pairs->items[at - 1];
        pairs->items[at] = pair;
    }
}

void myr_object_signed_fini(object_signed *sign)
{
    myr_buf_fini(&sign->url);
    myr_buf_fini(&sign->path);
    myr_buf_fini(&sign->query);
    myr_buf_fini(&sign->lines);
}

/* ---- the URL ---- */

static const char *sign_host(const char *endpoint)
{
    return strstr(endpoint, "://") + 3;
}

/* The path of the endpoint, bucket, key; the query in the order of its names. */
static void sign_url(const object_login *login, const object_request *request, object_signed *out)
{
    const char *host = sign_host(login->endpoint), *path = strchr(host, '/');
    if (path != NULL) myr_buf_puts(&out->path, path);
    if (login->bucket != NULL) {
        myr_buf_putc(&out->path, '/');
        myr_object_encode(&out->path, myr_str_of(login->bucket), false);
    }
    if (request->key[0] != '\0' || out->path.size == 0) myr_buf_putc(&out->path, '/');
    myr_object_encode(&out->path, myr_str_of(request->key), true);
    object_pairs query = request->query;
    myr_object_pairs_sort(&query);
    for (size_t i = 0; i < query.count; i++) {
        if (i > 0) myr_buf_putc(&out->query, '&');
        myr_object_encode(&out->query, myr_str_of(query.items[i].name), false);
        myr_buf_putc(&out->query, '=');
        myr_object_encode(&out->query, myr_str_of(query.items[i].value), false);
    }
    myr_buf_append(&out->url, login->endpoint,
                   path != NULL ? (size_t)(path - login->endpoint) : strlen(login->endpoint));
    myr_buf_append(&out->url, out->path.data, out->path.size);
    if (out->query.size > 0) myr_buf_printf(&out->url, "?%s", out->query.data);
    if (login->sas != NULL) myr_buf_printf(&out->url, "%c%s", out->query.size > 0 ? '&' : '?', login->sas);
}

/* ---- headers ---- */

static void sign_line(object_signed *out, const char *name, const char *value)
{
    myr_buf_puts(&out->lines, name);
    myr_buf_puts(&out->lines, ": ");
    myr_buf_append(&out->lines, value, strlen(value) + 1); /* with its NUL */
}

static myr_rc sign_s3(const object_login *login, const object_request *request, int64_t now_ms, object_signed *out,
                      myr_err *err)
{
    MYR_AUTO(myr_buf) authorization = {0};
    char time[MYR_TIME_TEXT_BYTES], payload[MYR_SHA256_HEX_BYTES], stamp[20], host[512];
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, request->body, request->body_bytes);
    myr_sha256_hex(&sha, payload);
    myr_format_time(now_ms, time);
    (void)snprintf(stamp, sizeof stamp, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", time, time + 5, time + 8, time + 11, time + 14,
                   time + 17);
    const char *start = sign_host(login->endpoint);
    int size = snprintf(host, sizeof host, "%.*s", (int)strcspn(start, "/"), start);
    if (size < 0 || (size_t)size >= sizeof host) MYR_FAIL(err, BAD_INPUT, "the endpoint's host is too long");
    object_pairs headers = request->headers;
    myr_object_pairs_add(&headers, "host", host);
    myr_object_pairs_add(&headers, "x-amz-content-sha256", payload);
    myr_object_pairs_add(&headers, "x-amz-date", stamp);
    if (login->session != NULL) myr_object_pairs_add(&headers, "x-amz-security-token", login->session);
    myr_object_pairs_sort(&headers);
    myr_object_sigv4(login, request->method, out->path.data, out->query.size > 0 ? out->query.data : "", &headers,
                     stamp, payload, &authorization);
    MYR_TRY(myr_buf_check(&authorization, err));
    for (size_t i = 0; i < headers.count; i++)
        sign_line(out, headers.items[i].name, headers.items[i].value);
    sign_line(out, "authorization", authorization.data);
    return MYR_OK;
}

static myr_rc sign_azure(const object_login *login, const object_request *request, int64_t now_ms, object_signed *out,
                         myr_err *err)
{
    char date[OBJECT_TIME_BYTES];
    MYR_AUTO(myr_buf) authorization = {0};
    object_pairs headers = request->headers;
    myr_object_time_http(now_ms, date);
    myr_object_pairs_add(&headers, "x-ms-date", date);
    myr_object_pairs_add(&headers, "x-ms-version", "2021-12-02");
    myr_object_pairs_sort(&headers);
    for (size_t i = 0; i < headers.count; i++)
        sign_line(out, headers.items[i].name, headers.items[i].value);
    if (login->sas != NULL) return MYR_OK; /* the URL says who asks */
    myr_object_shared_key(login, request, out->path.data, &headers, &authorization);
    MYR_TRY(myr_buf_check(&authorization, err));
    sign_line(out, "authorization", authorization.data);
    return MYR_OK;
}

/* `out` is empty, and its owner's to end whatever becomes of it. */
myr_rc myr_object_sign(const object_login *login, const object_request *request, int64_t now_ms, object_signed *out,
                       myr_err *err)
{
    sign_url(login, request, out);
    MYR_TRY(myr_buf_check(&out->url, err));
    MYR_TRY(myr_buf_check(&out->path, err));
    MYR_TRY(myr_buf_check(&out->query, err));
    MYR_TRY(login->kind == OBJECT_S3 ? sign_s3(login, request, now_ms, out, err)
                                     : sign_azure(login, request, now_ms, out, err));
    MYR_TRY(myr_buf_check(&out->lines, err));
    size_t count = 0;
    for (size_t at = 0; at < out->lines.size; at += strlen(out->lines.data + at) + 1) {
        MYR_ASSERT(count + 1 < MYR_COUNT_OF(out->headers));
        out->headers[count++] = out->lines.data + at;
    }
    out->headers[count] = NULL;
    return MYR_OK;
}
