/* What is there, and reading it: lists page by page, files range by range when they are cut. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define READ_PAGES_MAX 100000

/* ---- lists ---- */

static void list_request(const myr_object_client *client, const char *prefix, const char *next, const char *count,
                         object_request *out)
{
    bool is_s3 = client->login.kind == OBJECT_S3;
    *out = (object_request){.method = "GET", .key = "", .bytes_max = OBJECT_PAGE_BYTES_MAX};
    if (is_s3) {
        myr_object_pairs_add(&out->query, "list-type", "2");
        myr_object_pairs_add(&out->query, "encoding-type", "url");
    } else {
        myr_object_pairs_add(&out->query, "comp", "list");
        myr_object_pairs_add(&out->query, "restype", "container");
    }
    if (prefix[0] != '\0') myr_object_pairs_add(&out->query, "prefix", prefix);
    if (next[0] != '\0') myr_object_pairs_add(&out->query, is_s3 ? "continuation-token" : "marker", next);
    myr_object_pairs_add(&out->query, is_s3 ? "max-keys" : "maxresults", count);
}

static int list_order(const void *a, const void *b)
{
    return strcmp(((const myr_object *)a)->key, ((const myr_object *)b)->key);
}

myr_rc myr_object_list(myr_object_client *client, const char *prefix, myr_arena *arena, myr_object **out,
                       size_t *out_count, myr_err *err)
{
    object_page page = {.arena = arena, .next = myr_str_make("", 0)};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    char name[OBJECT_NAME_BYTES], count[24];
    (void)snprintf(count, sizeof count, "%lld", (long long)client->opts.page_keys);
    for (int i = 0;; i++) {
        object_request request;
        const char *before = page.next.data;
        list_request(client, prefix, before, count, &request);
        MYR_TRY(myr_object_ask(client, &request, &answer, err));
        myr_rc rc =
            myr_object_page_read(&page, client->login.kind, myr_str_make(answer.body.data, answer.body.size), err);
        if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", myr_object_name(client, prefix, name));
        if (page.next.size == 0) break;
        if (i == READ_PAGES_MAX || strcmp(before, page.next.data) == 0) {
            MYR_FAIL(err, BAD_FORMAT, "%s: a list that does not end", myr_object_name(client, prefix, name));
        }
    }
    for (size_t k = 0; k < page.count; k++) {
        if (!myr_str_starts_with(myr_str_of(page.items[k].key), prefix))
            MYR_FAIL(err, BAD_FORMAT, "%s: a list with a key that was not asked for: %.60s",
                     myr_object_name(client, prefix, name), page.items[k].key);
    }
    if (page.count > 0) qsort(page.items, page.count, sizeof *page.items, list_order); /* some stores have their own */
    *out = page.items;
    *out_count = page.count;
    return MYR_OK;
}

static myr_rc head_copy(myr_arena *arena, myr_str text, const char **out, myr_err *err)
{
    if (text.size >= 2 && text.data[0] == '"') text = myr_str_make(text.data + 1, text.size - 2);
    *out = myr_arena_strndup(arena, text.size > 0 ? text.data : "", text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object");
    return MYR_OK;
}

myr_rc myr_object_head(myr_object_client *client, const char *key, myr_arena *arena, myr_object *out, myr_err *err)
{
    object_request request = {.method = "HEAD", .key = key, .bytes_max = OBJECT_SMALL_BYTES_MAX};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    char name[OBJECT_NAME_BYTES];
    myr_object object = {0};
    MYR_TRY(myr_object_ask(client, &request, &answer, err));
    if (!myr_parse_int64(myr_fetch_header(&answer, "content-length"), &object.bytes) || object.bytes < 0)
        MYR_FAIL(err, BAD_FORMAT, "%s: the answer has no size", myr_object_name(client, key, name));
    MYR_IGNORE(!myr_object_time_parse(myr_fetch_header(&answer, "last-modified"), &object.modified_ms)); /* 0 then */
    MYR_TRY(head_copy(arena, myr_str_of(key), &object.key, err));
    MYR_TRY(head_copy(arena, myr_fetch_header(&answer, "etag"), &object.etag, err));
    *out = object;
    return MYR_OK;
}

/* ---- of an input ---- */

/* As readers of Hive directories have it: `_SUCCESS`, `_myriad.json`, `_temporary/…` are no data. */
static bool find_is_hidden(const char *rest)
{
    for (const char *part = rest; part != NULL; part = strchr(part, '/') != NULL ? strchr(part, '/') + 1 : NULL) {
        if (part[0] == '_' || part[0] == '.') return true;
    }
    return false;
}

bool myr_object_takes(const char *key, const char *found)
{
    size_t size = strlen(key), found_size = strlen(found);
    if (found_size == 0 || found[found_size - 1] == '/') return false; /* what consoles make for a directory */
    if (size == 0 || key[size - 1] == '/') return strncmp(found, key, size) == 0 && !find_is_hidden(found + size);
    return myr_object_is_pattern(key) ? myr_object_match(key, found) : strcmp(key, found) == 0;
}

void myr_object_prefix(const char *key, char out[MYR_OBJECT_KEY_BYTES_MAX + 1])
{
    (void)snprintf(out, MYR_OBJECT_KEY_BYTES_MAX + 1, "%.*s", (int)strcspn(key, "*?["), key);
}

static myr_rc find_listed(myr_object_client *client, const char *key, myr_arena *arena, myr_object **out,
                          size_t *out_count, myr_err *err)
{
    char prefix[MYR_OBJECT_KEY_BYTES_MAX + 1], name[OBJECT_NAME_BYTES];
    myr_object *found = NULL;
    size_t count = 0, kept = 0, size = strlen(key);
    bool is_below = size == 0 || key[size - 1] == '/';
    if (is_below)
        (void)snprintf(prefix, sizeof prefix, "%s", key);
    else
        myr_object_prefix(key, prefix);
    MYR_TRY(myr_object_list(client, prefix, arena, &found, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (myr_object_takes(key, found[i].key)) found[kept++] = found[i];
    }
    if (kept == 0) {
        MYR_FAIL(err, NOT_FOUND, "%s: %s", myr_object_name(client, key, name),
                 is_below ? "there is no object below it" : "no object matches");
    }
    *out = found;
    *out_count = kept;
    return MYR_OK;
}

myr_rc myr_object_find(myr_object_client *client, const char *key, myr_arena *arena, myr_object **out,
                       size_t *out_count, myr_err *err)
{
    size_t size = strlen(key);
    if (size == 0 || key[size - 1] == '/') return find_listed(client, key, arena, out, out_count, err);
    bool is_pattern = myr_object_is_pattern(key);
    myr_object *one = myr_arena_calloc(arena, 1, sizeof *one);
    if (one == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object");
    myr_rc rc = myr_object_head(client, key, arena, one, err); /* a name before it is a pattern */
    if (rc == MYR_NOT_FOUND && is_pattern) return find_listed(client, key, arena, out, out_count, err);
    if (rc != MYR_OK) return rc;
    *out = one;
    *out_count = 1;
    return MYR_OK;
}

/* ---- reading ---- */

myr_rc myr_object_get(myr_object_client *client, const char *key, int64_t bytes_max, myr_buf *out, myr_err *err)
{
    object_request request = {.method = "GET", .key = key, .bytes_max = bytes_max};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    MYR_TRY(myr_object_ask(client, &request, &answer, err));
    myr_buf_append(out, answer.body.data, answer.body.size);
    return myr_buf_check(out, err);
}

typedef struct read_file {
    const myr_object *object;
    const char *path; /* while it grows */
    int fd;
    int64_t done; /* bytes that are there */
} read_file;

static myr_rc read_take(void *ctx, const void *data, size_t size_bytes, myr_err *err)
{
    read_file *file = ctx;
    if ((int64_t)size_bytes > file->object->bytes - file->done)
        MYR_FAIL(err, BAD_FORMAT, "%.120s: more bytes come than the object has", file->object->key);
    MYR_TRY(myr_io_write(file->fd, file->path, data, size_bytes, err));
    file->done += (int64_t)size_bytes;
    return MYR_OK;
}

/* The rest of it, if it is still the same. */
static myr_rc read_rest(myr_object_client *client, read_file *file, myr_fetch_answer *answer, bool *out_may_pass,
                        myr_err *err)
{
    char range[64], etag[256], name[OBJECT_NAME_BYTES];
    object_request request = {
        .method = "GET", .key = file->object->key, .take = read_take, .ctx = file, .bytes_max = MYR_OBJECT_BYTES_MAX};
    int64_t before = file->done;
    (void)snprintf(range, sizeof range, "bytes=%lld-", (long long)before);
    (void)snprintf(etag, sizeof etag, "\"%.250s\"", file->object->etag);
    if (before > 0) myr_object_pairs_add(&request.headers, "range", range);
    if (file->object->etag[0] != '\0') myr_object_pairs_add(&request.headers, "if-match", etag);
    myr_rc rc = myr_object_ask_once(client, &request, answer, out_may_pass, err);
    if (rc == MYR_CONFLICT) {
        MYR_FAIL(err, CONFLICT, "%s has changed while it was read: begin again",
                 myr_object_name(client, file->object->key, name));
    }
    MYR_TRY(rc);
    if (before > 0 && answer->status != 206)
        MYR_FAIL(err, UNSUPPORTED, "%s: the store gives no parts of an object",
                 myr_object_name(client, file->object->key, name));
    if (file->done == file->object->bytes) return MYR_OK;
    *out_may_pass = true;
    MYR_FAIL(err, UNAVAILABLE, "%s: %lld bytes came, it has %lld", myr_object_name(client, file->object->key, name),
             (long long)file->done, (long long)file->object->bytes);
}

/* Failures are counted from the last byte that came. */
static myr_rc read_all(myr_object_client *client, read_file *file, myr_err *err)
{
    MYR_AUTO(myr_fetch_answer) answer = {0};
    for (int64_t failures = 0;;) {
        bool may_pass = false;
        int64_t before = file->done;
        myr_rc rc = read_rest(client, file, &answer, &may_pass, err);
        if (rc == MYR_OK) return MYR_OK;
        failures = file->done > before ? 0 : failures + 1;
        if (!may_pass || failures > client->opts.retries) return rc;
        myr_object_pause(client, failures, &answer);
    }
}

myr_rc myr_object_get_file(myr_object_client *client, const myr_object *object, const char *path, myr_err *err)
{
    char part[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX];
    myr_fd fd = -1;
    int size = snprintf(part, sizeof part, "%s.part", path);
    if (size < 0 || (size_t)size >= sizeof part) MYR_FAIL(err, BAD_INPUT, "%.120s: the path is too long", path);
    myr_path_dir(path, dir, sizeof dir);
    MYR_TRY(myr_io_open(part, O_WRONLY | O_CREAT | O_TRUNC, 0666, &fd, err));
    read_file file = {.object = object, .path = part, .fd = fd};
    myr_rc rc = object->bytes > 0 ? read_all(client, &file, err) : MYR_OK;
    if (rc == MYR_OK) rc = myr_io_sync(fd, part, err);
    if (rc == MYR_OK) rc = myr_io_close(&fd, part, err);
    if (rc == MYR_OK) rc = myr_io_rename(part, path, err);
    if (rc == MYR_OK) return myr_io_sync_dir(dir, err);
    myr_fd_drop(&fd);
    MYR_IGNORE(myr_io_unlink(part, NULL)); /* rc is the one to tell */
    return rc;
}
