/* URIs of objects, and the two ways in which their parts are written: percent-encoded, and base64. */
#include <string.h>

#include "object/internal.h"

static const struct {
    const char *scheme;
    object_kind kind;
    bool has_account; /* container@account.dfs.core.windows.net */
} uri_kinds[] = {
    {"s3://", OBJECT_S3, false},       {"s3a://", OBJECT_S3, false},     {"az://", OBJECT_AZURE, false},
    {"azure://", OBJECT_AZURE, false}, {"abfss://", OBJECT_AZURE, true}, {"abfs://", OBJECT_AZURE, true},
};

static size_t uri_kind(const char *text)
{
    size_t i = 0;
    while (i < MYR_COUNT_OF(uri_kinds) && !myr_str_starts_with(myr_str_of(text), uri_kinds[i].scheme))
        i++;
    return i;
}

bool myr_object_is_uri(const char *text)
{
    return uri_kind(text) < MYR_COUNT_OF(uri_kinds);
}

/* What stands in a host's name or in front of a key: no byte that could be anything else there. */
static bool uri_name_is_valid(myr_str name)
{
    if (name.size == 0 || name.size > 63) return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  (c == '.' && i > 0) || (c == '$' && i == 0);
        if (!ok) return false;
    }
    return true;
}

/* `container@account.dfs.core.windows.net`; the host is not asked, but the account's blob service. */
static myr_rc uri_account(const char *text, object_uri *uri, myr_err *err)
{
    const char *at = memchr(uri->bucket.data, '@', uri->bucket.size);
    if (at == NULL)
        MYR_FAIL(err, BAD_INPUT, "'%.120s': write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH", text);
    size_t rest = uri->bucket.size - (size_t)(at + 1 - uri->bucket.data);
    const char *dot = memchr(at + 1, '.', rest);
    uri->account = myr_str_make(at + 1, dot != NULL ? (size_t)(dot - at - 1) : rest);
    uri->bucket.size = (size_t)(at - uri->bucket.data);
    if (!uri_name_is_valid(uri->account)) MYR_FAIL(err, BAD_INPUT, "'%.120s' names no account", text);
    return MYR_OK;
}

myr_rc myr_object_uri_parse(const char *text, object_uri *out, myr_err *err)
{
    size_t i = uri_kind(text);
    if (i == MYR_COUNT_OF(uri_kinds))
        MYR_FAIL(err, BAD_INPUT, "'%.120s' is no object's URI: write s3://BUCKET/KEY or az://CONTAINER/KEY", text);
    object_uri uri = {.kind = uri_kinds[i].kind};
    const char *start = text + strlen(uri_kinds[i].scheme), *slash = strchr(start, '/');
    uri.bucket = myr_str_make(start, slash != NULL ? (size_t)(slash - start) : strlen(start));
    uri.key = slash != NULL ? slash + 1 : start + uri.bucket.size;
    uri.root_bytes = (size_t)(uri.key - text);
    if (uri_kinds[i].has_account) MYR_TRY(uri_account(text, &uri, err));
    if (!uri_name_is_valid(uri.bucket))
        MYR_FAIL(err, BAD_INPUT, "'%.120s' names no %s", text, uri.kind == OBJECT_S3 ? "bucket" : "container");
    if (strlen(uri.key) > MYR_OBJECT_KEY_BYTES_MAX)
        MYR_FAIL(err, BAD_INPUT, "%.60s…: a key has at most %d bytes", text, MYR_OBJECT_KEY_BYTES_MAX);
    *out = uri;
    return MYR_OK;
}

myr_rc myr_object_key(const char *uri, const char **out, myr_err *err)
{
    object_uri parsed;
    MYR_TRY(myr_object_uri_parse(uri, &parsed, err));
    *out = parsed.key;
    return MYR_OK;
}

/* ---- written ---- */

void myr_object_encode(myr_buf *out, myr_str text, bool is_path)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool stays = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~' || (is_path && c == '/');
        if (stays) {
            myr_buf_putc(out, (char)c);
            continue;
        }
        const char encoded[3] = {'%', digits[c >> 4], digits[c & 15]};
        myr_buf_append(out, encoded, sizeof encoded);
    }
}

static const char uri_base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void myr_object_base64(myr_buf *out, const void *data, size_t size_bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size_bytes; i += 3) {
        size_t left = size_bytes - i;
        uint32_t bits = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
        const char four[4] = {uri_base64[bits >> 18 & 63], uri_base64[bits >> 12 & 63],
                              left > 1 ? uri_base64[bits >> 6 & 63] : '=', left > 2 ? uri_base64[bits & 63] : '='};
        myr_buf_append(out, four, sizeof four);
    }
}

bool myr_object_base64_decode(myr_str text, unsigned char *out, size_t room, size_t *out_bytes)
{
    size_t count = 0;
    uint32_t bits = 0;
    unsigned held = 0;
    while (text.size > 0 && text.data[text.size - 1] == '=')
        text.size--;
    for (size_t i = 0; i < text.size; i++) {
        const char *digit = text.data[i] != '\0' ? strchr(uri_base64, text.data[i]) : NULL;
        if (digit == NULL) return false;
        bits = bits << 6 | (uint32_t)(digit - uri_base64);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        if (count == room) return false;
        out[count++] = (unsigned char)(bits >> held);
    }
    *out_bytes = count;
    return text.size % 4 != 1;
}
