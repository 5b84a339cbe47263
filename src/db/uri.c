/* Which database a URI names, and how it is shown to people: never with its password. */
#include "db/db.h"

#include <string.h>

static const struct {
    const char *prefix;
    myr_db_kind kind;
} uri_kinds[] = {
    {"sqlite:", MYR_DB_SQLITE}, {"postgresql://", MYR_DB_POSTGRES}, {"postgres://", MYR_DB_POSTGRES},
    {"redis://", MYR_DB_REDIS}, {"valkey://", MYR_DB_REDIS},
};

myr_rc myr_db_uri_kind(const char *uri, myr_db_kind *out, myr_err *err)
{
    for (size_t i = 0; i < MYR_COUNT_OF(uri_kinds); i++) {
        if (!myr_str_starts_with(myr_str_of(uri), uri_kinds[i].prefix)) continue;
        *out = uri_kinds[i].kind;
        return MYR_OK;
    }
    MYR_AUTO(myr_buf) shown = {0};
    myr_db_uri_show(uri, &shown);
    MYR_TRY(myr_buf_check(&shown, err));
    if (strncmp(uri, "rediss://", 9) == 0) {
        MYR_FAIL(err, UNSUPPORTED, "%s: Redis over TLS is not supported: put a TLS tunnel (stunnel) before it",
                 shown.data);
    }
    MYR_FAIL(err, BAD_INPUT, "'%s' names no database: write sqlite:PATH, postgresql://HOST/DB or redis://HOST:PORT/DB",
             shown.data != NULL ? shown.data : "");
}

const char *myr_db_uri_path(const char *uri)
{
    return uri + strlen("sqlite:");
}

/* Appends `password=…` of a query as `password=***`. */
static void uri_show_query(myr_str query, myr_buf *out)
{
    myr_str part;
    char before = '?';
    while (myr_str_split(&query, '&', &part)) {
        myr_buf_putc(out, before);
        before = '&';
        if (myr_str_starts_with(part, "password=") || myr_str_starts_with(part, "sslpassword=")) {
            const char *equals = memchr(part.data, '=', part.size);
            myr_buf_append(out, part.data, (size_t)(equals - part.data) + 1);
            myr_buf_puts(out, "***");
        } else {
            myr_buf_append(out, part.data, part.size);
        }
    }
}

/* An '@' behind the '?': of the query, or both are of a password that nobody encoded. What could be one is left out. */
static void uri_show_start(const char *uri, const char *authority, const char *mark, myr_buf *out)
{
    const char *colon = memchr(authority, ':', (size_t)(mark - authority));
    const char *end = colon != NULL ? colon : mark;
    myr_buf_append(out, uri, (size_t)(end - uri));
    myr_buf_puts(out, colon != NULL ? ":***?***" : "?***");
}

/* What begins like no URI (`host=db password=…`, `postgres:user:…`) can hold a password anywhere: its first word. */
static void uri_show_other(const char *text, myr_buf *out)
{
    size_t size = strcspn(text, ":=@?; \t\r\n");
    myr_buf_append(out, text, size);
    if (text[size] != '\0') myr_buf_puts(out, "***");
}

void myr_db_uri_show(const char *uri, myr_buf *out)
{
    const char *authority = strchr(uri, ':'); /* behind the scheme, which holds nothing that could end it */
    if (authority == NULL || strncmp(authority, "://", 3) != 0 ||
        strcspn(uri, "=@?; \t\r\n") < strlen(uri) - strlen(authority)) {
        if (myr_str_starts_with(myr_str_of(uri), "sqlite:")) {
            myr_buf_puts(out, uri);
        } else {
            uri_show_other(uri, out);
        }
        return;
    }
    authority += 3;
    const char *at = strrchr(authority, '@'); /* wherever it is: a password may hold what nobody encoded */
    const char *mark = strchr(authority, '?');
    if (at != NULL && mark != NULL && at > mark) {
        uri_show_start(uri, authority, mark, out);
        return;
    }
    const char *colon = at == NULL ? NULL : memchr(authority, ':', (size_t)(at - authority));
    if (colon != NULL) {
        myr_buf_append(out, uri, (size_t)(colon - uri));
        myr_buf_puts(out, ":***");
        uri = at;
    }
    const char *query = strchr(uri, '?');
    if (query == NULL) {
        myr_buf_puts(out, uri);
        return;
    }
    myr_buf_append(out, uri, (size_t)(query - uri));
    uri_show_query(myr_str_of(query + 1), out);
}
