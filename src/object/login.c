/*
 * Who asks, and where: out of the environment variables and files that the services' own programs read, so that what
 * works with them works here.
 */
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define LOGIN_FILE_BYTES_MAX (1 << 20)
#define LOGIN_REGION         "us-east-1"

static const char *login_env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static myr_rc login_copy(myr_arena *arena, myr_str text, const char **out, myr_err *err)
{
    *out = myr_arena_strndup(arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    return MYR_OK;
}

/* What goes into headers and URLs must not be able to begin a new line there. */
static myr_rc login_check(const char *what, const char *value, myr_err *err)
{
    for (const char *c = value; c != NULL && *c != '\0'; c++) {
        if (*c > ' ' && *c < 0x7f) continue;
        MYR_FAIL(err, BAD_INPUT, "%s has a blank or a byte that is no ASCII character: it is not copied whole", what);
    }
    return MYR_OK;
}

/* `https://host:port/path`, without slashes at the end. */
static myr_rc login_endpoint(const char *what, myr_str url, myr_arena *arena, const char **out, myr_err *err)
{
    while (url.size > 0 && url.data[url.size - 1] == '/')
        url.size--;
    MYR_TRY(login_copy(arena, url, out, err));
    MYR_TRY(login_check(what, *out, err));
    bool is_http = myr_str_starts_with(url, "http://") && url.size > 7;
    bool is_https = myr_str_starts_with(url, "https://") && url.size > 8;
    if ((!is_http && !is_https) || strpbrk(*out, "?#@") != NULL)
        MYR_FAIL(err, BAD_INPUT, "%s must be http://HOST:PORT or https://HOST:PORT, not '%.80s'", what, *out);
    return MYR_OK;
}

/* ---- S3 ---- */

/* `[name]` gives its name. */
static bool login_section(myr_str line, myr_str *out)
{
    if (line.size < 2 || line.data[0] != '[' || line.data[line.size - 1] != ']') return false;
    *out = myr_str_trim(myr_str_make(line.data + 1, line.size - 2));
    return true;
}

myr_str myr_object_ini_get(myr_str text, const char *section, const char *name)
{
    myr_str line, now = myr_str_of(""), found;
    while (myr_str_split(&text, '\n', &line)) {
        line = myr_str_trim(line);
        if (line.size == 0 || line.data[0] == '#' || line.data[0] == ';') continue;
        if (login_section(line, &found)) {
            now = found;
            continue;
        }
        const char *equals = memchr(line.data, '=', line.size);
        if (equals == NULL || !myr_str_is(now, section)) continue;
        size_t before = (size_t)(equals - line.data);
        if (!myr_str_is(myr_str_trim(myr_str_make(line.data, before)), name)) continue;
        return myr_str_trim(myr_str_make(equals + 1, line.size - before - 1));
    }
    return myr_str_make(NULL, 0);
}

/* A file of ~/.aws, or the one that `variable` names; *out empty: there is none. */
static myr_rc login_file(const char *variable, const char *name, myr_arena *arena, myr_str *out, myr_err *err)
{
    const char *path = login_env(variable), *home = login_env("HOME");
    *out = myr_str_make(NULL, 0);
    if (path == NULL && home != NULL) path = myr_arena_printf(arena, "%s/.aws/%s", home, name);
    if (path == NULL || !myr_io_exists(path)) return MYR_OK;
    char *data = NULL;
    size_t size = 0;
    MYR_TRY(myr_file_read(path, LOGIN_FILE_BYTES_MAX, &data, &size, err));
    const char *copy = myr_arena_strndup(arena, data, size);
    myr_free(data);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    *out = myr_str_make(copy, size);
    return MYR_OK;
}

static myr_rc login_s3_region(myr_arena *arena, const char *profile, object_login *out, myr_err *err)
{
    out->region = login_env("AWS_REGION");
    if (out->region == NULL) out->region = login_env("AWS_DEFAULT_REGION");
    if (out->region != NULL) return login_copy(arena, myr_str_of(out->region), &out->region, err);
    myr_str file;
    MYR_TRY(login_file("AWS_CONFIG_FILE", "config", arena, &file, err));
    const char *section = strcmp(profile, "default") == 0 ? profile : myr_arena_printf(arena, "profile %s", profile);
    myr_str region = myr_object_ini_get(file, section != NULL ? section : "", "region");
    return login_copy(arena, region.size > 0 ? region : myr_str_of(LOGIN_REGION), &out->region, err);
}

static myr_rc login_s3_keys(myr_arena *arena, const char *profile, object_login *out, myr_err *err)
{
    const char *access = login_env("AWS_ACCESS_KEY_ID"), *secret = login_env("AWS_SECRET_ACCESS_KEY");
    myr_str found[3] = {myr_str_of(access), myr_str_of(secret), myr_str_of(login_env("AWS_SESSION_TOKEN"))};
    if (access == NULL || secret == NULL) {
        static const char *const names[3] = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"};
        myr_str file;
        MYR_TRY(login_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", arena, &file, err));
        for (size_t i = 0; i < MYR_COUNT_OF(names); i++)
            found[i] = myr_object_ini_get(file, profile, names[i]);
    }
    if (found[0].size == 0 || found[1].size == 0) {
        MYR_FAIL(err, UNAUTHENTICATED,
                 "no key for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write the profile '%.60s' into "
                 "~/.aws/credentials",
                 profile);
    }
    MYR_TRY(login_copy(arena, found[0], &out->access, err));
    MYR_TRY(login_copy(arena, found[1], &out->secret, err));
    if (found[2].size > 0) MYR_TRY(login_copy(arena, found[2], &out->session, err));
    MYR_TRY(login_check("the access key of S3", out->access, err));
    MYR_TRY(login_check("the secret key of S3", out->secret, err));
    return login_check("the session token of S3", out->session, err);
}

/* A bucket is a part of the host, unless an endpoint is given, or its dots would not match the host's certificate. */
static myr_rc login_s3_endpoint(myr_arena *arena, myr_str bucket, object_login *out, myr_err *err)
{
    const char *given = login_env("AWS_ENDPOINT_URL_S3");
    if (given == NULL) given = login_env("AWS_ENDPOINT_URL");
    if (given != NULL) return login_endpoint("AWS_ENDPOINT_URL", myr_str_of(given), arena, &out->endpoint, err);
    const char *domain = strncmp(out->region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";
    bool is_host = memchr(bucket.data, '.', bucket.size) == NULL;
    if (is_host) out->bucket = NULL;
    out->endpoint = myr_arena_printf(arena, "https://%.*s%ss3.%s.%s", is_host ? (int)bucket.size : 0, bucket.data,
                                     is_host ? "." : "", out->region, domain);
    if (out->endpoint == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    return MYR_OK;
}

static myr_rc login_s3(const object_uri *uri, myr_arena *arena, object_login *out, myr_err *err)
{
    const char *profile = login_env("AWS_PROFILE");
    if (profile == NULL) profile = "default";
    out->ca = login_env("AWS_CA_BUNDLE");
    MYR_TRY(login_s3_keys(arena, profile, out, err));
    MYR_TRY(login_s3_region(arena, profile, out, err));
    MYR_TRY(login_check("AWS_REGION", out->region, err));
    return login_s3_endpoint(arena, uri->bucket, out, err);
}

/* ---- Azure ---- */

myr_str myr_object_connection_get(myr_str text, const char *name)
{
    myr_str part;
    size_t size = strlen(name);
    while (myr_str_split(&text, ';', &part)) {
        part = myr_str_trim(part);
        if (part.size > size && part.data[size] == '=' && strncmp(part.data, name, size) == 0)
            return myr_str_make(part.data + size + 1, part.size - size - 1);
    }
    return myr_str_make(NULL, 0);
}

typedef struct login_azure_parts {
    myr_str account, key, sas, endpoint, protocol, suffix;
} login_azure_parts;

static void login_azure_find(login_azure_parts *out)
{
    const char *connection = login_env("AZURE_STORAGE_CONNECTION_STRING");
    *out = (login_azure_parts){.account = myr_str_of(login_env("AZURE_STORAGE_ACCOUNT")),
                               .key = myr_str_of(login_env("AZURE_STORAGE_KEY")),
                               .sas = myr_str_of(login_env("AZURE_STORAGE_SAS_TOKEN")),
                               .endpoint = myr_str_of(login_env("AZURE_STORAGE_BLOB_ENDPOINT"))};
    if (connection != NULL) {
        myr_str text = myr_str_of(connection);
        *out = (login_azure_parts){.account = myr_object_connection_get(text, "AccountName"),
                                   .key = myr_object_connection_get(text, "AccountKey"),
                                   .sas = myr_object_connection_get(text, "SharedAccessSignature"),
                                   .endpoint = myr_object_connection_get(text, "BlobEndpoint"),
                                   .protocol = myr_object_connection_get(text, "DefaultEndpointsProtocol"),
                                   .suffix = myr_object_connection_get(text, "EndpointSuffix")};
    }
    if (out->protocol.size == 0) out->protocol = myr_str_of("https");
    if (out->suffix.size == 0) out->suffix = myr_str_of("core.windows.net");
    if (out->sas.size > 0 && out->sas.data[0] == '?') out->sas = myr_str_make(out->sas.data + 1, out->sas.size - 1);
}

static myr_rc login_azure_key(const login_azure_parts *parts, myr_arena *arena, object_login *out, myr_err *err)
{
    if (parts->key.size == 0 && parts->sas.size > 0) {
        MYR_TRY(login_copy(arena, parts->sas, &out->sas, err));
        return login_check("AZURE_STORAGE_SAS_TOKEN", out->sas, err);
    }
    if (parts->key.size == 0 || parts->account.size == 0) {
        MYR_FAIL(err, UNAUTHENTICATED,
                 "no key for Azure Blob: set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with "
                 "AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN");
    }
    if (!myr_object_base64_decode(parts->key, out->key, sizeof out->key, &out->key_bytes) || out->key_bytes == 0)
        MYR_FAIL(err, BAD_INPUT, "the key of the Azure account is not base64: it is not copied whole");
    return MYR_OK;
}

static myr_rc login_azure(const object_uri *uri, myr_arena *arena, object_login *out, myr_err *err)
{
    login_azure_parts parts;
    login_azure_find(&parts);
    if (parts.account.size == 0) parts.account = uri->account;
    MYR_TRY(login_copy(arena, parts.account.size > 0 ? parts.account : myr_str_of(""), &out->account, err));
    MYR_TRY(login_check("the name of the Azure account", out->account, err));
    if (uri->account.data != NULL && !myr_str_equal(uri->account, parts.account)) {
        MYR_FAIL(err, UNAUTHENTICATED,
                 "the URI's account is " MYR_STR_FMT ", that of the environment %.60s: set the other",
                 MYR_STR_ARG(uri->account), out->account);
    }
    MYR_TRY(login_azure_key(&parts, arena, out, err));
    if (parts.endpoint.size > 0)
        return login_endpoint("the endpoint of Azure Blob", parts.endpoint, arena, &out->endpoint, err);
    if (out->account[0] == '\0') MYR_FAIL(err, UNAUTHENTICATED, "AZURE_STORAGE_ACCOUNT is not set");
    const char *url = myr_arena_printf(arena, "%.*s://%s.blob.%.*s", (int)parts.protocol.size, parts.protocol.data,
                                       out->account, (int)parts.suffix.size, parts.suffix.data);
    if (url == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object store");
    return login_endpoint("the account of Azure Blob", myr_str_of(url), arena, &out->endpoint, err);
}

myr_rc myr_object_login(const object_uri *uri, myr_arena *arena, object_login *out, myr_err *err)
{
    object_login login = {.kind = uri->kind};
    MYR_TRY(login_copy(arena, uri->bucket, &login.bucket, err));
    MYR_TRY(uri->kind == OBJECT_S3 ? login_s3(uri, arena, &login, err) : login_azure(uri, arena, &login, err));
    *out = login;
    return MYR_OK;
}
