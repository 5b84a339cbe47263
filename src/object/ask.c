/*
 * A request asked until it is answered: signed anew each time (a signature is as old as its clock says), failures told
 * in the service's own words, those that may pass tried again.
 */
#include <stdio.h>
#include <string.h>

#include "object/internal.h"

#define ASK_PAUSE_MS_MAX 20000

/* ---- a client ---- */

static myr_rc client_make(const char *uri, const myr_object_opts *opts, myr_object_client *client, myr_err *err)
{
    object_uri parsed;
    MYR_TRY(myr_object_uri_parse(uri, &parsed, err));
    client->arena = myr_arena_new(0);
    if (client->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    client->root = myr_arena_strndup(client->arena, uri, parsed.root_bytes);
    if (client->root == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    MYR_TRY(myr_object_defaults(&client->opts, err));
    if (opts != NULL) client->opts = *opts;
    MYR_TRY(myr_object_login(&parsed, client->arena, &client->login, err));
    return myr_fetch_open(&client->fetch, err);
}

myr_rc myr_object_open(const char *uri, const myr_object_opts *opts, myr_object_client **out, myr_err *err)
{
    myr_object_client *client = myr_calloc(1, sizeof *client);
    if (client == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    myr_rc rc = client_make(uri, opts, client, err);
    if (rc != MYR_OK) {
        myr_object_close(client);
        return rc;
    }
    *out = client;
    return MYR_OK;
}

void myr_object_close(myr_object_client *client)
{
    if (client == NULL) return;
    myr_fetch_close(client->fetch);
    myr_arena_free(client->arena);
    myr_free(client);
}

const char *myr_object_name(const myr_object_client *client, const char *key, char out[OBJECT_NAME_BYTES])
{
    size_t root = strlen(client->root);
    bool has_slash = root > 0 && client->root[root - 1] == '/';
    int size = snprintf(out, OBJECT_NAME_BYTES, "%s%s%s", client->root, has_slash || key[0] == '\0' ? "" : "/", key);
    if (size >= OBJECT_NAME_BYTES) memcpy(out + OBJECT_NAME_BYTES - 4, "...", 4);
    return out;
}

/* ---- failures ---- */

/* What would mend it. */
static const char *ask_hint(const myr_object_client *client, int status, const char *code)
{
    bool is_s3 = client->login.kind == OBJECT_S3;
    if (strcmp(code, "RequestTimeTooSkewed") == 0) return ": this machine's clock is wrong";
    if (strcmp(code, "ExpiredToken") == 0) return ": AWS_SESSION_TOKEN is over, ask for a new one";
    if (status / 100 == 3 || strcmp(code, "AuthorizationHeaderMalformed") == 0)
        return is_s3 ? ": is AWS_REGION the bucket's?" : "";
    if (status == 401 || status == 403)
        return is_s3 ? ": look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what this key may do"
                     : ": look at the account's key or SAS token and what it may do";
    return "";
}

static myr_rc ask_rc(int status)
{
    switch (status) {
    case 401:
        return MYR_UNAUTHENTICATED;
    case 403:
        return MYR_DENIED;
    case 404:
        return MYR_NOT_FOUND;
    case 409:
    case 412:
        return MYR_CONFLICT;
    case 413:
        return MYR_TOO_LARGE;
    case 501:
        return MYR_UNSUPPORTED;
    case 507:
        return MYR_NO_SPACE;
    default:
        return status >= 500 || status == 429 || status == 408 ? MYR_UNAVAILABLE : MYR_BAD_INPUT;
    }
}

static bool ask_may_pass(int status, const char *code)
{
    return status == 500 || status == 502 || status == 503 || status == 504 || status == 429 || status == 408 ||
           strcmp(code, "RequestTimeout") == 0 || strcmp(code, "SlowDown") == 0 || strcmp(code, "InternalError") == 0;
}

static myr_rc ask_fail(const myr_object_client *client, const object_request *request, const myr_fetch_answer *answer,
                       bool *out_may_pass, myr_err *err)
{
    char name[OBJECT_NAME_BYTES];
    object_trouble trouble;
    myr_object_trouble_read(myr_str_make(answer->body.data, answer->body.size), &trouble);
    if (trouble.code[0] == '\0') { /* of HEAD: there is no body */
        myr_str code = myr_fetch_header(answer, "x-ms-error-code");
        (void)snprintf(trouble.code, sizeof trouble.code, MYR_STR_FMT, MYR_STR_ARG(code));
    }
    *out_may_pass = ask_may_pass(answer->status, trouble.code);
    const char *hint = ask_hint(client, answer->status, trouble.code);
    const char *space = trouble.code[0] != '\0' ? " " : "", *colon = trouble.message[0] != '\0' ? ": " : "";
    return myr_err_set(err, ask_rc(answer->status), __FILE__, __LINE__, "%.100s: %s gives %d%s%.40s%s%.60s%s",
                       myr_object_name(client, request->key, name), request->method, answer->status, space,
                       trouble.code, colon, trouble.message, hint);
}

/* S3 may begin to answer 200 and fail then. */
static bool ask_is_error(const myr_fetch_answer *answer)
{
    object_trouble trouble = {0};
    if (answer->body.size == 0 || memmem(answer->body.data, answer->body.size, "<Error>", 7) == NULL) return false;
    myr_object_trouble_read(myr_str_make(answer->body.data, answer->body.size), &trouble);
    return trouble.code[0] != '\0';
}

/* ---- a request ---- */

myr_rc myr_object_ask_once(myr_object_client *client, const object_request *request, myr_fetch_answer *answer,
                           bool *out_may_pass, myr_err *err)
{
    char name[OBJECT_NAME_BYTES];
    MYR_AUTO(object_signed) sign = {0};
    *out_may_pass = false;
    MYR_TRY(myr_object_sign(&client->login, request, myr_clock_unix_ms(), &sign, err));
    myr_fetch_call call = {.method = request->method,
                           .url = sign.url.data,
                           .name = myr_object_name(client, request->key, name),
                           .headers = sign.headers,
                           .ca = client->login.ca,
                           .body = request->body,
                           .body_bytes = request->body_bytes,
                           .stall_ms = client->opts.stall_ms,
                           .bytes_max = request->bytes_max,
                           .take = request->take,
                           .ctx = request->ctx};
    if (call.body == NULL && (strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0))
        call.body = ""; /* nothing, and said so */
    myr_rc rc = myr_fetch_ask(client->fetch, &call, answer, err);
    if (rc != MYR_OK) {
        *out_may_pass = rc == MYR_UNAVAILABLE || rc == MYR_TIMEOUT;
        return rc;
    }
    if (answer->status / 100 != 2) return ask_fail(client, request, answer, out_may_pass, err);
    if (request->take == NULL && ask_is_error(answer)) {
        answer->status = 500;
        return ask_fail(client, request, answer, out_may_pass, err);
    }
    return MYR_OK;
}

void myr_object_pause(const myr_object_client *client, int64_t attempt, const myr_fetch_answer *answer)
{
    uint32_t dice = 0;
    int64_t pause_ms = client->opts.backoff_ms, asked_s = 0;
    for (int64_t i = 0; i < attempt && pause_ms < ASK_PAUSE_MS_MAX; i++)
        pause_ms *= 2;
    MYR_IGNORE(myr_random(&dice, sizeof dice, NULL)); /* the same pause for all then */
    pause_ms = pause_ms / 2 + (int64_t)(dice % 1024) * pause_ms / 2048;
    if (myr_parse_int64(myr_fetch_header(answer, "retry-after"), &asked_s) && asked_s > 0 && asked_s <= 3600 &&
        pause_ms < asked_s * 1000)
        pause_ms = asked_s * 1000;
    myr_clock_sleep_ms(pause_ms < ASK_PAUSE_MS_MAX ? pause_ms : ASK_PAUSE_MS_MAX);
}

myr_rc myr_object_ask(myr_object_client *client, const object_request *request, myr_fetch_answer *answer, myr_err *err)
{
    MYR_ASSERT(request->take == NULL);
    for (int64_t attempt = 0;; attempt++) {
        bool may_pass = false;
        myr_rc rc = myr_object_ask_once(client, request, answer, &may_pass, err);
        if (rc == MYR_OK || !may_pass || attempt >= client->opts.retries) return rc;
        myr_object_pause(client, attempt, answer);
    }
}
