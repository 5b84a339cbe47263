/*
 * Redis over hiredis, never blocking: hiredis' own time-outs are per read, so its buffers are filled and emptied here,
 * and every wait is a poll with what is left of the deadline. A call that is late gives its connection up.
 */
#include "db/redis.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include <hiredis/hiredis.h>

#include "db/link.h"

#define REDIS_PORT      6379
#define REDIS_ITEMS_MAX (1u << 20) /* of one answer */

typedef struct redis_address {
    char host[256];
    char user[128];
    char password[512];
    int port;
    int64_t database;
} redis_address;

struct myr_redis {
    db_link link;
    redis_address address;
    redisContext *ctx; /* NULL: not connected */
    myr_str *items;    /* of the answer that is shown */
    size_t item_room;
};

/* ---- the URI ---- */

static myr_rc redis_decode(myr_str text, const char *what, char *out, size_t out_bytes, myr_err *err)
{
    MYR_AUTO(myr_buf) plain = {0};
    bool is_good = myr_percent_decode(&plain, text);
    MYR_TRY(myr_buf_check(&plain, err));
    if (!is_good) MYR_FAIL(err, BAD_INPUT, "the %s of a redis:// URI has a bad %%-escape", what);
    if (plain.size >= out_bytes)
        MYR_FAIL(err, BAD_INPUT, "the %s of a redis:// URI has more than %zu bytes", what, out_bytes - 1);
    if (plain.size > 0) memcpy(out, plain.data, plain.size);
    out[plain.size] = '\0';
    return MYR_OK;
}

/* [[user]:password@] */
static myr_rc redis_parse_user(myr_str user, redis_address *out, myr_err *err)
{
    myr_str name;
    if (!myr_str_split(&user, ':', &name) || user.data == NULL) {
        MYR_FAIL(err, BAD_INPUT, "a redis:// URI with '@' needs a password before it: redis://:password@host");
    }
    MYR_TRY(redis_decode(name, "user", out->user, sizeof out->user, err));
    return redis_decode(user, "password", out->password, sizeof out->password, err);
}

/* host[:port], [v6]:port */
static myr_rc redis_parse_host(myr_str host, redis_address *out, myr_err *err)
{
    const char *bracket = host.size > 0 && host.data[0] == '[' ? memchr(host.data, ']', host.size) : NULL;
    myr_str name = host, port = {0};
    if (bracket != NULL) {
        name = myr_str_make(host.data + 1, (size_t)(bracket - host.data) - 1);
        port = myr_str_make(bracket + 1, host.size - (size_t)(bracket + 1 - host.data));
        if (port.size > 0 && port.data[0] == ':') port = myr_str_make(port.data + 1, port.size - 1);
    } else {
        const char *colon = host.size > 0 ? memchr(host.data, ':', host.size) : NULL;
        if (colon != NULL) {
            name = myr_str_make(host.data, (size_t)(colon - host.data));
            port = myr_str_make(colon + 1, host.size - name.size - 1);
        }
    }
    int64_t number = REDIS_PORT;
    if (port.size > 0 && (!myr_parse_int64(port, &number) || number < 1 || number > 65535)) {
        /* without the text: with a '/' in it that nobody encoded, it is a piece of the password */
        MYR_FAIL(err, BAD_INPUT, "the port of a redis:// URI is not a number from 1 to 65535");
    }
    out->port = (int)number;
    return redis_decode(name.size > 0 ? name : myr_str_of("127.0.0.1"), "host", out->host, sizeof out->host, err);
}

static myr_rc redis_parse(const char *uri, redis_address *out, myr_err *err)
{
    const char *start = strstr(uri, "://");
    if (start == NULL) MYR_FAIL(err, BAD_INPUT, "not a URI of Redis: write redis://:password@host:6379/0");
    myr_str rest = myr_str_of(start + 3), authority = {0}, database = {0};
    size_t size = strcspn(rest.data, "/?#");
    authority = myr_str_make(rest.data, size);
    database = myr_str_make(rest.data + size, rest.size - size);
    const char *at = NULL;
    for (size_t i = 0; i < authority.size; i++) {
        if (authority.data[i] == '@') at = authority.data + i;
    }
    if (at != NULL) {
        MYR_TRY(redis_parse_user(myr_str_make(authority.data, (size_t)(at - authority.data)), out, err));
        authority = myr_str_make(at + 1, authority.size - (size_t)(at + 1 - authority.data));
    }
    MYR_TRY(redis_parse_host(authority, out, err));
    if (database.size <= 1) return MYR_OK;
    if (!myr_parse_int64(myr_str_make(database.data + 1, database.size - 1), &out->database) || out->database < 0 ||
        out->database > 65535) {
        MYR_FAIL(err, BAD_INPUT, "the database of a redis:// URI is not a number from 0 to 65535");
    }
    return MYR_OK;
}

/* ---- connecting, sending, receiving ---- */

static void redis_drop(myr_redis *redis)
{
    if (redis->ctx != NULL) redisFree(redis->ctx);
    redis->ctx = NULL;
}

static myr_rc redis_lost(myr_redis *redis, myr_err *err)
{
    myr_rc rc = MYR_ERROR(err, UNAVAILABLE, "%s: the connection was lost: %s", redis->link.shown,
                          redis->ctx->errstr[0] != '\0' ? redis->ctx->errstr : "closed");
    redis_drop(redis);
    return rc;
}

static myr_rc redis_wait(myr_redis *redis, short events, int64_t deadline_ns, myr_err *err)
{
    myr_rc rc = myr_db_link_wait(&redis->link, redis->ctx->fd, events, deadline_ns, err);
    if (rc != MYR_OK) redis_drop(redis);
    return rc;
}

/* The next answer; what is not yet sent goes out meanwhile. */
static myr_rc redis_next(myr_redis *redis, int64_t deadline_ns, redisReply **out, myr_err *err)
{
    for (;;) {
        void *reply = NULL;
        int is_all_sent = 0;
        if (redisGetReplyFromReader(redis->ctx, &reply) != REDIS_OK) return redis_lost(redis, err);
        if (reply != NULL) {
            *out = reply;
            return MYR_OK;
        }
        if (redisBufferWrite(redis->ctx, &is_all_sent) != REDIS_OK) return redis_lost(redis, err);
        MYR_TRY(redis_wait(redis, (short)(is_all_sent ? POLLIN : POLLIN | POLLOUT), deadline_ns, err));
        if (redisBufferRead(redis->ctx) != REDIS_OK) return redis_lost(redis, err);
    }
}

static myr_rc redis_reply_fail(const myr_redis *redis, const redisReply *reply, myr_err *err)
{
    static const struct {
        const char *prefix;
        myr_rc rc;
    } known[] = {{"NOAUTH", MYR_DENIED},   {"WRONGPASS", MYR_DENIED},        {"NOPERM", MYR_DENIED},
                 {"OOM", MYR_NO_SPACE},    {"MISCONF", MYR_UNAVAILABLE},     {"LOADING", MYR_UNAVAILABLE},
                 {"READONLY", MYR_DENIED}, {"CLUSTERDOWN", MYR_UNAVAILABLE}, {"MOVED", MYR_UNSUPPORTED}};
    myr_rc rc = MYR_BAD_INPUT;
    for (size_t i = 0; i < MYR_COUNT_OF(known); i++) {
        if (strncmp(reply->str, known[i].prefix, strlen(known[i].prefix)) == 0) rc = known[i].rc;
    }
    return myr_err_set(err, rc, __FILE__, __LINE__, "%s: %.150s", redis->link.shown, reply->str);
}

/* AUTH and SELECT, as the URI says. */
static myr_rc redis_login(myr_redis *redis, int64_t deadline_ns, myr_err *err)
{
    const redis_address *address = &redis->address;
    int sent = 0;
    int code = REDIS_OK;
    if (address->password[0] != '\0') {
        code = address->user[0] != '\0' ? redisAppendCommand(redis->ctx, "AUTH %s %s", address->user, address->password)
                                        : redisAppendCommand(redis->ctx, "AUTH %s", address->password);
        sent++;
    }
    if (code == REDIS_OK && address->database > 0) {
        code = redisAppendCommand(redis->ctx, "SELECT %lld", (long long)address->database);
        sent++;
    }
    if (code != REDIS_OK) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a command", redis->link.shown);
    for (int i = 0; i < sent; i++) {
        redisReply *reply = NULL;
        MYR_TRY(redis_next(redis, deadline_ns, &reply, err));
        myr_rc rc = reply->type == REDIS_REPLY_ERROR ? redis_reply_fail(redis, reply, err) : MYR_OK;
        freeReplyObject(reply);
        MYR_TRY(rc);
    }
    return MYR_OK;
}

static myr_rc redis_try_connect(myr_redis *redis, myr_err *err)
{
    int64_t deadline_ns = myr_clock_mono_ns() + LINK_CONNECT_MS * 1000000LL;
    redis->ctx = redisConnectNonBlock(redis->address.host, redis->address.port);
    if (redis->ctx == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a connection", redis->link.shown);
    if (redis->ctx->err != 0)
        MYR_FAIL(err, UNAVAILABLE, "%s: cannot connect: %s", redis->link.shown, redis->ctx->errstr);
    MYR_TRY(redis_wait(redis, POLLOUT, deadline_ns, err));
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(redis->ctx->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) MYR_FAIL(err, UNAVAILABLE, "%s: cannot connect: %s", redis->link.shown, strerror(error));
    MYR_IGNORE(redisEnableKeepAlive(redis->ctx)); /* without it a dead peer is found by the deadline */
    return redis_login(redis, deadline_ns, err);
}

static myr_rc redis_connect(myr_redis *redis, myr_err *err)
{
    if (redis->ctx != NULL) return MYR_OK;
    MYR_TRY(myr_db_link_may(&redis->link, err));
    myr_err why = {0};
    myr_rc rc = redis_try_connect(redis, &why);
    if (rc == MYR_OK) {
        myr_db_link_works(&redis->link);
        return MYR_OK;
    }
    redis_drop(redis);
    rc = myr_db_link_failed(&redis->link, &why);
    if (err != NULL) *err = why;
    return rc;
}

/* ---- commands ---- */

static myr_rc redis_append(myr_redis *redis, const myr_redis_call *call, myr_err *err)
{
    MYR_AUTO(myr_mem) memory = myr_alloc(call->arg_count * (sizeof(char *) + sizeof(size_t)) + 1);
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a command", redis->link.shown);
    const char **args = memory;
    size_t *sizes = (size_t *)(args + call->arg_count);
    for (size_t i = 0; i < call->arg_count; i++) {
        args[i] = call->args[i].data;
        sizes[i] = call->args[i].size;
    }
    if (redisAppendCommandArgv(redis->ctx, (int)call->arg_count, args, sizes) != REDIS_OK)
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for a command", redis->link.shown);
    return MYR_OK;
}

static myr_rc redis_show(myr_redis *redis, const redisReply *reply, size_t call_idx, myr_redis_fn on_answer, void *ctx,
                         myr_err *err)
{
    if (reply->type == REDIS_REPLY_ERROR) return redis_reply_fail(redis, reply, err);
    if (on_answer == NULL) return MYR_OK;
    bool is_list = reply->type == REDIS_REPLY_ARRAY;
    size_t count = is_list ? reply->elements : 1;
    if (count > REDIS_ITEMS_MAX) MYR_FAIL(err, TOO_LARGE, "%s: an answer of %zu items", redis->link.shown, count);
    if (count > redis->item_room) {
        myr_str *items = myr_realloc_array(redis->items, count, sizeof *items);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for %zu items", redis->link.shown, count);
        redis->items = items;
        redis->item_room = count;
    }
    for (size_t i = 0; i < count; i++) {
        const redisReply *item = is_list ? reply->element[i] : reply;
        if (item->type == REDIS_REPLY_ERROR) return redis_reply_fail(redis, item, err);
        redis->items[i] = item->str != NULL ? myr_str_make(item->str, item->len) : myr_str_make(NULL, 0);
    }
    return on_answer(ctx, call_idx, redis->items, count, err);
}

static myr_rc redis_steps(myr_redis *redis, const myr_redis_call *calls, size_t count, int64_t deadline_ns,
                          myr_redis_fn on_answer, void *ctx, myr_err *err)
{
    MYR_TRY(redis_connect(redis, err));
    for (size_t i = 0; i < count; i++)
        MYR_TRY(redis_append(redis, &calls[i], err));
    myr_rc rc = MYR_OK;
    for (size_t i = 0; i < count;
         i++) { /* all are read, so that the connection stays usable; the first failure counts */
        redisReply *reply = NULL;
        MYR_TRY(redis_next(redis, deadline_ns, &reply, err));
        if (rc == MYR_OK) rc = redis_show(redis, reply, i, on_answer, ctx, err);
        freeReplyObject(reply);
    }
    return rc;
}

myr_rc myr_redis_run(myr_redis *redis, const myr_redis_call *calls, size_t count, int64_t deadline_ns,
                     myr_redis_fn on_answer, void *ctx, myr_err *err)
{
    bool was_connected = redis->ctx != NULL;
    myr_rc rc = redis_steps(redis, calls, count, myr_db_link_deadline(deadline_ns), on_answer, ctx, err);
    if (rc == MYR_NO_MEMORY && was_connected) redis_drop(redis); /* half a command may stand in its buffer */
    return rc;
}

/* ---- life ---- */

myr_rc myr_redis_new(const char *uri, myr_redis **out, myr_err *err)
{
    myr_redis *redis = myr_calloc(1, sizeof *redis);
    if (redis == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a connection");
    myr_rc rc = redis_parse(uri, &redis->address, err);
    if (rc == MYR_OK) rc = myr_db_link_init(&redis->link, uri, err);
    if (rc != MYR_OK) {
        myr_redis_free(redis);
        return rc;
    }
    *out = redis;
    return MYR_OK;
}

void myr_redis_free(myr_redis *redis)
{
    if (redis == NULL) return;
    redis_drop(redis);
    myr_db_link_fini(&redis->link);
    myr_free(redis->items);
    myr_free(redis);
}
