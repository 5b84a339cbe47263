/* One request at a time over libcurl, whose functions are found by name at run time. */
#include "fetch/fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <string.h>

struct myr_fetch {
    void *library;
    CURL *handle;
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *handle);
    void (*easy_reset)(CURL *handle);
    CURLcode (*set)(CURL *handle, CURLoption option, ...);
    CURLcode (*perform)(CURL *handle);
    CURLcode (*get)(CURL *handle, CURLINFO info, ...);
    const char *(*why)(CURLcode code);
};

/* The library stays loaded: it keeps state of its process. */
static myr_rc fetch_dlopen(void **out, myr_err *err)
{
    static const char *const names[] = {"libcurl-gnutls.so.4", "libcurl.so.4"};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        *out = dlopen(names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (*out != NULL) return MYR_OK;
    }
    MYR_FAIL(err, UNAVAILABLE,
             "libcurl is not here (libcurl-gnutls.so.4, libcurl.so.4): apt-get install libcurl3-gnutls");
}

/* ISO C has no way from an object pointer to a function's; POSIX says that the bytes are the same. */
static bool fetch_symbol(void *library, const char *name, void *out_function)
{
    void *symbol = dlsym(library, name);
    memcpy(out_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static myr_rc fetch_load(myr_fetch *fetch, myr_err *err)
{
    MYR_TRY(fetch_dlopen(&fetch->library, err));
    CURLcode (*global_init)(long flags) = NULL;
    bool is_whole = fetch_symbol(fetch->library, "curl_global_init", &global_init) &&
                    fetch_symbol(fetch->library, "curl_easy_init", &fetch->easy_init) &&
                    fetch_symbol(fetch->library, "curl_easy_cleanup", &fetch->easy_cleanup) &&
                    fetch_symbol(fetch->library, "curl_easy_reset", &fetch->easy_reset) &&
                    fetch_symbol(fetch->library, "curl_easy_setopt", &fetch->set) &&
                    fetch_symbol(fetch->library, "curl_easy_perform", &fetch->perform) &&
                    fetch_symbol(fetch->library, "curl_easy_getinfo", &fetch->get) &&
                    fetch_symbol(fetch->library, "curl_easy_strerror", &fetch->why);
    if (!is_whole || global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        MYR_FAIL(err, UNAVAILABLE, "libcurl is here, but not as it should be");
    }
    fetch->handle = fetch->easy_init();
    if (fetch->handle == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
    return MYR_OK;
}

myr_rc myr_fetch_open(myr_fetch **out, myr_err *err)
{
    myr_fetch *fetch = myr_calloc(1, sizeof *fetch);
    if (fetch == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
    myr_rc rc = fetch_load(fetch, err);
    if (rc != MYR_OK) {
        myr_fetch_close(fetch);
        return rc;
    }
    *out = fetch;
    return MYR_OK;
}

void myr_fetch_close(myr_fetch *fetch)
{
    if (fetch == NULL) return;
    if (fetch->handle != NULL) fetch->easy_cleanup(fetch->handle);
    if (fetch->library != NULL) (void)dlclose(fetch->library); /* ours again; NODELETE keeps it */
    myr_free(fetch);
}

/* ---- a request ---- */

typedef struct fetch_body {
    myr_buf *out;
    size_t start, bytes_max;
    bool is_too_large;
} fetch_body;

static size_t fetch_take(char *data, size_t size, size_t count, void *ctx)
{
    fetch_body *body = ctx;
    size_t bytes = size * count; /* size is 1, says libcurl */
    body->is_too_large = bytes > body->bytes_max - (body->out->size - body->start);
    if (body->is_too_large) return 0;
    myr_buf_append(body->out, data, bytes);
    return body->out->failed ? 0 : bytes;
}

static CURLcode fetch_set_up(const myr_fetch *fetch, const char *url, const myr_fetch_opts *opts, fetch_body *body)
{
    CURL *handle = fetch->handle;
    fetch->easy_reset(handle);
    CURLcode code = fetch->set(handle, CURLOPT_URL, url);
    if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_NOSIGNAL, 1L);
    if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_TIMEOUT_MS, (long)opts->timeout_ms);
    if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_USERAGENT, "myriad/" MYR_VERSION);
    if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_WRITEFUNCTION, fetch_take);
    if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_WRITEDATA, (void *)body);
    if (code == CURLE_OK && opts->ca != NULL) code = fetch->set(handle, CURLOPT_CAINFO, opts->ca);
    if (code == CURLE_OK && opts->token != NULL) {
        code = fetch->set(handle, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        if (code == CURLE_OK) code = fetch->set(handle, CURLOPT_XOAUTH2_BEARER, opts->token);
    }
    return code;
}

static myr_rc fetch_fail(const myr_fetch *fetch, const char *url, const fetch_body *body, CURLcode code, myr_err *err)
{
    const char *why = fetch->why(code);
    if (body->is_too_large)
        MYR_FAIL(err, TOO_LARGE, "%.120s: the answer has more than %zu bytes", url, body->bytes_max);
    if (body->out->failed || code == CURLE_OUT_OF_MEMORY) MYR_FAIL(err, NO_MEMORY, "%.120s: out of memory", url);
    if (code == CURLE_OPERATION_TIMEDOUT) MYR_FAIL(err, TIMEOUT, "%.120s: %s", url, why);
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
        MYR_FAIL(err, BAD_INPUT, "'%.120s': %s; a URL is http://HOST:PORT or https://HOST:PORT", url, why);
    }
    MYR_FAIL(err, UNAVAILABLE, "%.120s: %s", url, why);
}

myr_rc myr_fetch_get(myr_fetch *fetch, const char *url, const myr_fetch_opts *opts, int *out_status, myr_buf *out,
                     myr_err *err)
{
    MYR_ASSERT(opts->timeout_ms > 0 && opts->bytes_max >= 0);
    fetch_body body = {.out = out, .start = out->size, .bytes_max = (size_t)opts->bytes_max};
    long status = 0;
    CURLcode code = fetch_set_up(fetch, url, opts, &body);
    if (code == CURLE_OK) code = fetch->perform(fetch->handle);
    if (code == CURLE_OK) code = fetch->get(fetch->handle, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        out->size = body.start;
        return fetch_fail(fetch, url, &body, code, err);
    }
    *out_status = (int)status;
    return MYR_OK;
}
