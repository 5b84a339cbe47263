/* URIs of databases, as people and service files write them: parsed, and shown without their password. */
#include <string.h>

#include "db/db.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever stands before it in the query, a password is not shown. */
static void check_password(const char *text)
{
    MYR_AUTO(myr_buf) uri = {0};
    MYR_AUTO(myr_buf) shown = {0};
    if (strstr(text, "fuzz-secret") != NULL) return;
    myr_buf_printf(&uri, "postgresql://db:5432/x?user=%s&password=fuzz-secret", text);
    if (uri.failed) return;
    myr_db_uri_show(uri.data, &shown);
    MYR_ASSERT(shown.failed || strstr(shown.data, "fuzz-secret") == NULL);
    myr_buf_clear(&uri);
    myr_buf_clear(&shown);
    myr_buf_printf(&uri, "host=%s password=fuzz-secret", text);
    myr_db_uri_show(uri.data, &shown);
    MYR_ASSERT(shown.failed || strstr(shown.data, "fuzz-secret") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096) return 0;
    MYR_AUTO(myr_mem) memory = myr_strndup((const char *)data, size);
    MYR_AUTO(myr_buf) shown = {0};
    myr_db_kind kind;
    myr_err err = {0};
    if (memory == NULL) return 0;
    const char *uri = memory;
    myr_db_uri_show(uri, &shown);
    check_password(uri);
    myr_rc rc = myr_db_uri_kind(uri, &kind, &err);
    if (rc == MYR_OK && kind == MYR_DB_REDIS) {
        myr_redis *redis = NULL;
        if (myr_redis_new(uri, &redis, &err) == MYR_OK) myr_redis_free(redis);
    }
    if (rc == MYR_OK && kind == MYR_DB_POSTGRES) {
        myr_pg *pg = NULL;
        if (myr_pg_new(uri, NULL, &pg, &err) == MYR_OK) myr_pg_free(pg);
    }
    if (rc == MYR_OK && kind == MYR_DB_SQLITE) MYR_ASSERT(myr_db_uri_path(uri) == uri + strlen("sqlite:"));
    return 0;
}
