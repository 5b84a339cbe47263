/* One request at a time over libcurl, whose functions are found by name at run time. */
#include "fetch/fetch.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/library.h"

struct myr_fetch {
    CURL *handle;
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *handle);
    void (*easy_reset)(CURL *handle);
    CURLcode (*set)(CURL *handle, CURLoption option, ...);
    CURLcode (*perform)(CURL *handle);
    CURLcode (*get)(CURL *handle, CURLINFO info, ...);
    const char *(*why)(CURLcode code);
    struct curl_slist *(*list_append)(struct curl_slist *list, const char *text);
    void (*list_free)(struct curl_slist *list);
};

/* Once for the process: the others of the first moment wait. */
static bool fetch_init(CURLcode (*global_init)(long flags))
{
    static myr_mutex lock = MYR_MUTEX_INIT;
    static bool is_done;
    myr_mutex_lock(&lock);
    if (!is_done) is_done = global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    bool ok = is_done;
    myr_mutex_unlock(&lock);
    return ok;
}

static myr_rc fetch_load(myr_fetch *fetch, myr_err *err)
{
    static const char *const names[] = {"libcurl-gnutls.so.4", "libcurl.so.4", NULL};
    void *library = myr_library_open(names);
    if (library == NULL) {
        MYR_FAIL(err, UNAVAILABLE,
                 "libcurl is not here (libcurl-gnutls.so.4, libcurl.so.4): apt-get install libcurl3-gnutls");
    }
    CURLcode (*global_init)(long flags) = NULL;
    bool is_whole = myr_library_symbol(library, "curl_global_init", &global_init) &&
                    myr_library_symbol(library, "curl_easy_init", &fetch->easy_init) &&
                    myr_library_symbol(library, "curl_easy_cleanup", &fetch->easy_cleanup) &&
                    myr_library_symbol(library, "curl_easy_reset", &fetch->easy_reset) &&
                    myr_library_symbol(library, "curl_easy_setopt", &fetch->set) &&
                    myr_library_symbol(library, "curl_easy_perform", &fetch->perform) &&
                    myr_library_symbol(library, "curl_easy_getinfo", &fetch->get) &&
                    myr_library_symbol(library, "curl_easy_strerror", &fetch->why) &&
                    myr_library_symbol(library, "curl_slist_append", &fetch->list_append) &&
                    myr_library_symbol(library, "curl_slist_free_all", &fetch->list_free);
    if (!is_whole || !fetch_init(global_init)) {
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
    myr_free(fetch);
}

/* ---- a request ---- */

#define FETCH_CONNECT_MS 15000
#define FETCH_SLOW_BYTES 1024L     /* a second */
#define FETCH_WHY_BYTES  (1 << 20) /* of what stands in place of what is wanted */

typedef struct fetch_state {
    const myr_fetch *fetch;
    const myr_fetch_call *call;
    myr_fetch_answer *answer;
    int64_t taken_bytes;
    bool is_too_large;
    myr_rc rc; /* of `take` */
    myr_err err;
} fetch_state;

static long fetch_status(const myr_fetch *fetch)
{
    long status = 0;
    return fetch->get(fetch->handle, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK ? status : 0;
}

static size_t fetch_take_body(char *data, size_t size, size_t count, void *ctx)
{
    fetch_state *state = ctx;
    size_t bytes = size * count; /* size is 1, says libcurl */
    bool is_taken = state->call->take != NULL && fetch_status(state->fetch) / 100 == 2;
    int64_t bytes_max = state->call->bytes_max;
    if (state->call->take != NULL && !is_taken && bytes_max > FETCH_WHY_BYTES) bytes_max = FETCH_WHY_BYTES;
    state->is_too_large = (int64_t)bytes > bytes_max - state->taken_bytes;
    if (state->is_too_large) return 0;
    state->taken_bytes += (int64_t)bytes;
    if (is_taken) {
        state->rc = state->call->take(state->call->ctx, data, bytes, &state->err);
        return state->rc == MYR_OK ? bytes : 0;
    }
    myr_buf_append(&state->answer->body, data, bytes);
    return state->answer->body.failed ? 0 : bytes;
}

/* A new status line begins anew: what stood before was of a `100 Continue`. */
static size_t fetch_take_header(char *data, size_t size, size_t count, void *ctx)
{
    fetch_state *state = ctx;
    size_t bytes = size * count;
    myr_buf *headers = &state->answer->headers;
    if (myr_str_starts_with(myr_str_make(data, bytes), "HTTP/")) myr_buf_clear(headers);
    state->is_too_large = bytes > MYR_FETCH_HEADERS_BYTES_MAX - headers->size;
    if (state->is_too_large) return 0;
    myr_buf_append(headers, data, bytes);
    return headers->failed ? 0 : bytes;
}

#define FETCH_SET(option, value)                                                                                       \
    if (code == CURLE_OK) code = fetch->set(fetch->handle, option, value)

static CURLcode fetch_set_method(const myr_fetch *fetch, const myr_fetch_call *call)
{
    CURLcode code = CURLE_OK;
    if (call->method != NULL && strcmp(call->method, "HEAD") == 0) {
        FETCH_SET(CURLOPT_NOBODY, 1L);
        return code;
    }
    if (call->body != NULL) {
        FETCH_SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_bytes);
        FETCH_SET(CURLOPT_POSTFIELDS, (const char *)call->body);
    }
    if (call->method != NULL) FETCH_SET(CURLOPT_CUSTOMREQUEST, call->method);
    return code;
}

static CURLcode fetch_set_up(const myr_fetch *fetch, fetch_state *state, struct curl_slist *headers)
{
    const myr_fetch_call *call = state->call;
    fetch->easy_reset(fetch->handle);
    CURLcode code = fetch_set_method(fetch, call);
    FETCH_SET(CURLOPT_URL, call->url);
    FETCH_SET(CURLOPT_PATH_AS_IS, 1L);
    FETCH_SET(CURLOPT_PROTOCOLS_STR, "http,https");
    FETCH_SET(CURLOPT_NOSIGNAL, 1L);
    FETCH_SET(CURLOPT_CONNECTTIMEOUT_MS, (long)FETCH_CONNECT_MS);
    FETCH_SET(CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    FETCH_SET(CURLOPT_USERAGENT, "myriad/" MYR_VERSION);
    FETCH_SET(CURLOPT_WRITEFUNCTION, fetch_take_body);
    FETCH_SET(CURLOPT_WRITEDATA, (void *)state);
    FETCH_SET(CURLOPT_HEADERFUNCTION, fetch_take_header);
    FETCH_SET(CURLOPT_HEADERDATA, (void *)state);
    if (headers != NULL) FETCH_SET(CURLOPT_HTTPHEADER, headers);
    if (call->ca != NULL) FETCH_SET(CURLOPT_CAINFO, call->ca);
    if (call->stall_ms > 0) {
        FETCH_SET(CURLOPT_LOW_SPEED_LIMIT, FETCH_SLOW_BYTES);
        FETCH_SET(CURLOPT_LOW_SPEED_TIME, (long)((call->stall_ms + 999) / 1000));
    }
    if (call->token != NULL) {
        FETCH_SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        FETCH_SET(CURLOPT_XOAUTH2_BEARER, call->token);
    }
    return code;
}

static myr_rc fetch_fail(const fetch_state *state, CURLcode code, myr_err *err)
{
    const myr_fetch_call *call = state->call;
    const char *why = state->fetch->why(code), *name = call->name != NULL ? call->name : call->url;
    if (state->rc != MYR_OK) {
        if (err != NULL) *err = state->err;
        return state->rc;
    }
    if (state->is_too_large)
        MYR_FAIL(err, TOO_LARGE, "%.120s: the answer is larger than %lld bytes", name, (long long)call->bytes_max);
    if (state->answer->body.failed || state->answer->headers.failed || code == CURLE_OUT_OF_MEMORY)
        MYR_FAIL(err, NO_MEMORY, "%.120s: out of memory", name);
    if (code == CURLE_OPERATION_TIMEDOUT) MYR_FAIL(err, TIMEOUT, "%.120s: %s", name, why);
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
        MYR_FAIL(err, BAD_INPUT, "'%.120s': %s; a URL is http://HOST:PORT or https://HOST:PORT", name, why);
    }
    MYR_FAIL(err, UNAVAILABLE, "%.120s: %s", name, why);
}

/* curl adds `Expect` and a type of its own to what is sent, if it is not told otherwise. */
static myr_rc fetch_headers(const myr_fetch *fetch, const myr_fetch_call *call, struct curl_slist **out, myr_err *err)
{
    static const char *const ours[] = {"Expect:", "Content-Type:", NULL};
    for (int pass = 0; pass < 2; pass++) {
        const char *const *header = pass == 0 ? ours : call->headers;
        for (; header != NULL && *header != NULL; header++) {
            struct curl_slist *more = fetch->list_append(*out, *header);
            if (more == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
            *out = more;
        }
    }
    return MYR_OK;
}

myr_rc myr_fetch_ask(myr_fetch *fetch, const myr_fetch_call *call, myr_fetch_answer *answer, myr_err *err)
{
    MYR_ASSERT(call->timeout_ms >= 0 && call->bytes_max >= 0);
    fetch_state state = {.fetch = fetch, .call = call, .answer = answer};
    struct curl_slist *headers = NULL;
    answer->status = 0;
    myr_buf_clear(&answer->headers);
    myr_buf_clear(&answer->body);
    myr_rc rc = fetch_headers(fetch, call, &headers, err);
    if (rc == MYR_OK) {
        CURLcode code = fetch_set_up(fetch, &state, headers);
        if (code == CURLE_OK) code = fetch->perform(fetch->handle);
        answer->status = (int)fetch_status(fetch);
        if (code != CURLE_OK) rc = fetch_fail(&state, code, err);
    }
    fetch->list_free(headers);
    return rc;
}

void myr_fetch_answer_fini(myr_fetch_answer *answer)
{
    myr_buf_fini(&answer->headers);
    myr_buf_fini(&answer->body);
}

myr_str myr_fetch_header(const myr_fetch_answer *answer, const char *name)
{
    myr_str rest = myr_str_make(answer->headers.data, answer->headers.size), line;
    size_t size = strlen(name);
    while (rest.size > 0 && myr_str_split(&rest, '\n', &line)) {
        if (line.size > size && line.data[size] == ':' && strncasecmp(line.data, name, size) == 0)
            return myr_str_trim(myr_str_make(line.data + size + 1, line.size - size - 1));
    }
    return myr_str_make(NULL, 0);
}
