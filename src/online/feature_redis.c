/*
 * Features in Redis: `myriad:features:NAME` is the definition, `myriad:features:NAME:KEY` a row: when it was written, a
 * blank, the row. All keys of a question go as one MGET.
 */
#include "online/feature.h"

#include <string.h>

#define REDIS_PREFIX "myriad:features:"

static myr_rc redis_open(const char *uri, bool create, void **out, myr_err *err)
{
    (void)create;
    myr_redis *redis = NULL;
    MYR_TRY(myr_redis_new(uri, &redis, err));
    *out = redis;
    return MYR_OK;
}

static void redis_close(void *self)
{
    myr_redis_free(self);
}

static void redis_put_key(myr_buf *out, myr_str name, myr_str key)
{
    myr_buf_puts(out, REDIS_PREFIX);
    myr_buf_append(out, name.data, name.size);
    if (key.data == NULL) return;
    myr_buf_putc(out, ':');
    myr_buf_append(out, key.data, key.size);
}

typedef struct redis_definition {
    myr_buf *out;
    bool is_there;
} redis_definition;

static myr_rc redis_on_definition(void *ctx, size_t call_idx, const myr_str *items, size_t item_count, myr_err *err)
{
    redis_definition *definition = ctx;
    (void)call_idx;
    definition->is_there = item_count == 1 && items[0].data != NULL;
    if (definition->is_there) myr_buf_append(definition->out, items[0].data, items[0].size);
    return myr_buf_check(definition->out, err);
}

static myr_rc redis_get_definition(void *self, myr_str name, myr_buf *out, bool *out_is_there, int64_t deadline_ns,
                                   myr_err *err)
{
    MYR_AUTO(myr_buf) key = {0};
    redis_put_key(&key, name, myr_str_make(NULL, 0));
    MYR_TRY(myr_buf_check(&key, err));
    myr_str args[] = {myr_str_of("GET"), {key.data, key.size}};
    myr_redis_call call = {args, 2};
    redis_definition definition = {.out = out};
    MYR_TRY(myr_redis_run(self, &call, 1, deadline_ns, redis_on_definition, &definition, err));
    *out_is_there = definition.is_there;
    return MYR_OK;
}

static myr_rc redis_put_definition(void *self, myr_str name, myr_str json, int64_t deadline_ns, myr_err *err)
{
    MYR_AUTO(myr_buf) key = {0};
    redis_put_key(&key, name, myr_str_make(NULL, 0));
    MYR_TRY(myr_buf_check(&key, err));
    myr_str args[] = {myr_str_of("SET"), {key.data, key.size}, json};
    myr_redis_call call = {args, 3};
    return myr_redis_run(self, &call, 1, deadline_ns, NULL, NULL, err);
}

/* The texts of all keys (and values) in one buffer, cut by their ends: it moves while it grows. */
static myr_rc redis_put(void *self, myr_str name, const myr_feature_put *rows, size_t count, int64_t written_ms,
                        int64_t deadline_ns, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_mem) memory = myr_calloc(2 * count + 1, sizeof(myr_str) + sizeof(size_t));
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", count);
    myr_str *args = memory;
    size_t *ends = (size_t *)(args + 2 * count + 1);
    for (size_t i = 0; i < count; i++) {
        redis_put_key(&text, name, rows[i].key);
        ends[2 * i] = text.size;
        myr_buf_printf(&text, "%lld ", (long long)written_ms);
        myr_buf_append(&text, rows[i].json.data, rows[i].json.size);
        ends[2 * i + 1] = text.size;
    }
    MYR_TRY(myr_buf_check(&text, err));
    args[0] = myr_str_of("MSET"); /* all or none, as a transaction */
    size_t at = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        args[i + 1] = myr_str_make(text.data + at, ends[i] - at);
        at = ends[i];
    }
    myr_redis_call call = {args, 2 * count + 1};
    return count == 0 ? MYR_OK : myr_redis_run(self, &call, 1, deadline_ns, NULL, NULL, err);
}

typedef struct redis_rows {
    size_t count;
    myr_feature_fn fn;
    void *ctx;
} redis_rows;

static myr_rc redis_on_rows(void *ctx, size_t call_idx, const myr_str *items, size_t item_count, myr_err *err)
{
    const redis_rows *rows = ctx;
    (void)call_idx;
    for (size_t i = 0; i < item_count && i < rows->count; i++) {
        myr_str rest = items[i], written;
        int64_t written_ms = 0;
        if (items[i].data == NULL) continue;
        if (!myr_str_split(&rest, ' ', &written) || rest.data == NULL || !myr_parse_int64(written, &written_ms)) {
            written_ms = 0;
            rest = myr_str_make("", 0); /* no row of ours: its question's error, said by who reads it */
        }
        MYR_TRY(rows->fn(rows->ctx, i, written_ms, rest, err));
    }
    return MYR_OK;
}

static myr_rc redis_get(void *self, myr_str name, const myr_str *keys, size_t count, int64_t deadline_ns,
                        myr_feature_fn fn, void *ctx, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_mem) memory = myr_calloc(count + 1, sizeof(myr_str) + sizeof(size_t));
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu keys", count);
    myr_str *args = memory;
    size_t *ends = (size_t *)(args + count + 1);
    for (size_t i = 0; i < count; i++) {
        redis_put_key(&text, name, keys[i]);
        ends[i] = text.size;
    }
    MYR_TRY(myr_buf_check(&text, err));
    args[0] = myr_str_of("MGET");
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        args[i + 1] = myr_str_make(text.data + at, ends[i] - at);
        at = ends[i];
    }
    redis_rows rows = {count, fn, ctx};
    myr_redis_call call = {args, count + 1};
    return count == 0 ? MYR_OK : myr_redis_run(self, &call, 1, deadline_ns, redis_on_rows, &rows, err);
}

const feature_kind myr_feature_redis = {redis_open, redis_close, redis_get_definition, redis_put_definition, redis_put,
                                        redis_get,  NULL};
