/* Writing and removing: small files at once, large ones in parts that become an object when all are there. */
#include <stdio.h>
#include <string.h>

#include "object/internal.h"

#define WRITE_PARTS_MAX 10000 /* S3's; Azure's are more */

/* ---- at once ---- */

static void write_begin(const myr_object_client *client, const char *key, const void *data, size_t size_bytes,
                        object_request *out)
{
    *out = (object_request){
        .method = "PUT", .key = key, .body = data, .body_bytes = size_bytes, .bytes_max = OBJECT_SMALL_BYTES_MAX};
    myr_object_pairs_add(&out->headers, "content-type", "application/octet-stream");
    if (client->login.kind == OBJECT_AZURE) myr_object_pairs_add(&out->headers, "x-ms-blob-type", "BlockBlob");
}

/* Whether it is there with these bytes: our own write whose answer was lost. */
static bool write_is_there(myr_object_client *client, const char *key, const void *data, size_t size_bytes)
{
    MYR_AUTO(myr_buf) found = {0};
    if (myr_object_get(client, key, (int64_t)size_bytes, &found, NULL) != MYR_OK) return false;
    return found.size == size_bytes && (size_bytes == 0 || memcmp(found.data, data, size_bytes) == 0);
}

myr_rc myr_object_put(myr_object_client *client, const char *key, const void *data, size_t size_bytes,
                      myr_object_when when, const char *etag, myr_err *err)
{
    object_request request;
    char quoted[256];
    MYR_AUTO(myr_fetch_answer) answer = {0};
    write_begin(client, key, data, size_bytes, &request);
    object_pairs without = request.headers;
    (void)snprintf(quoted, sizeof quoted, "\"%.250s\"", etag != NULL ? etag : "");
    if (when == MYR_OBJECT_IF_ABSENT) myr_object_pairs_add(&request.headers, "if-none-match", "*");
    if (when == MYR_OBJECT_IF_SAME) myr_object_pairs_add(&request.headers, "if-match", quoted);
    myr_rc rc = myr_object_ask(client, &request, &answer, err);
    if (rc == MYR_CONFLICT && write_is_there(client, key, data, size_bytes)) return MYR_OK;
    if (rc != MYR_UNSUPPORTED || when == MYR_OBJECT_ALWAYS) return rc;
    request.headers = without;
    return myr_object_ask(client, &request, &answer, err);
}

/* ---- in parts ---- */

typedef struct write_parts {
    myr_object_client *client;
    const char *key;
    const char *upload; /* S3's name of it; Azure's blocks are ours to name */
    const unsigned char *data;
    int64_t size, part_bytes;
    myr_buf list; /* what is sent in the end: the parts in their order */
} write_parts;

static int64_t write_part_bytes(int64_t size, int64_t part_bytes)
{
    while ((size + part_bytes - 1) / part_bytes > WRITE_PARTS_MAX)
        part_bytes *= 2;
    return part_bytes;
}

static myr_rc parts_begin(write_parts *parts, myr_arena *arena, myr_err *err)
{
    if (parts->client->login.kind == OBJECT_AZURE) {
        myr_buf_puts(&parts->list, "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        return MYR_OK;
    }
    object_request request = {.method = "POST", .key = parts->key, .bytes_max = OBJECT_SMALL_BYTES_MAX};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    myr_object_pairs_add(&request.query, "uploads", "");
    myr_object_pairs_add(&request.headers, "content-type", "application/octet-stream");
    MYR_TRY(myr_object_ask(parts->client, &request, &answer, err));
    myr_buf_puts(&parts->list, "<CompleteMultipartUpload>");
    return myr_object_xml_find(myr_str_make(answer.body.data, answer.body.size),
                               "InitiateMultipartUploadResult/UploadId", arena, &parts->upload, err);
}

static myr_rc parts_put(write_parts *parts, int64_t part, myr_err *err)
{
    char number[32], name[OBJECT_NAME_BYTES];
    int64_t offset = part * parts->part_bytes, left = parts->size - offset;
    MYR_AUTO(myr_buf) block = {0};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    object_request request = {.method = "PUT",
                              .key = parts->key,
                              .body = parts->data + offset,
                              .body_bytes = (size_t)(left < parts->part_bytes ? left : parts->part_bytes),
                              .bytes_max = OBJECT_SMALL_BYTES_MAX};
    if (parts->client->login.kind == OBJECT_AZURE) {
        (void)snprintf(number, sizeof number, "myriad-%06lld", (long long)part); /* all of one length */
        myr_object_base64(&block, number, strlen(number));
        MYR_TRY(myr_buf_check(&block, err));
        myr_object_pairs_add(&request.query, "blockid", block.data);
        myr_object_pairs_add(&request.query, "comp", "block");
        myr_buf_printf(&parts->list, "<Latest>%s</Latest>", block.data);
        return myr_object_ask(parts->client, &request, &answer, err);
    }
    (void)snprintf(number, sizeof number, "%lld", (long long)part + 1);
    myr_object_pairs_add(&request.query, "partNumber", number);
    myr_object_pairs_add(&request.query, "uploadId", parts->upload);
    MYR_TRY(myr_object_ask(parts->client, &request, &answer, err));
    myr_str etag = myr_fetch_header(&answer, "etag");
    if (etag.size == 0)
        MYR_FAIL(err, BAD_FORMAT, "%s: a part was taken without an ETag",
                 myr_object_name(parts->client, parts->key, name));
    myr_buf_printf(&parts->list, "<Part><PartNumber>%s</PartNumber><ETag>", number);
    myr_object_xml_text(&parts->list, etag);
    myr_buf_puts(&parts->list, "</ETag></Part>");
    return MYR_OK;
}

/* The object is there from here on. Asked again after a lost answer, S3 does not know the upload any more. */
static myr_rc parts_end(write_parts *parts, myr_arena *arena, myr_err *err)
{
    bool is_azure = parts->client->login.kind == OBJECT_AZURE;
    MYR_AUTO(myr_fetch_answer) answer = {0};
    myr_buf_puts(&parts->list, is_azure ? "</BlockList>" : "</CompleteMultipartUpload>");
    MYR_TRY(myr_buf_check(&parts->list, err));
    object_request request = {.method = is_azure ? "PUT" : "POST",
                              .key = parts->key,
                              .body = parts->list.data,
                              .body_bytes = parts->list.size,
                              .bytes_max = OBJECT_SMALL_BYTES_MAX};
    myr_object_pairs_add(&request.query, is_azure ? "comp" : "uploadId", is_azure ? "blocklist" : parts->upload);
    myr_object_pairs_add(&request.headers, "content-type", "application/xml");
    myr_rc rc = myr_object_ask(parts->client, &request, &answer, err);
    if (rc != MYR_NOT_FOUND) return rc;
    myr_object found;
    if (myr_object_head(parts->client, parts->key, arena, &found, NULL) != MYR_OK || found.bytes != parts->size)
        return rc;
    return MYR_OK;
}

/* Parts without an object cost money. Azure's go by themselves. */
static void parts_abort(const write_parts *parts)
{
    if (parts->upload == NULL) return;
    object_request request = {.method = "DELETE", .key = parts->key, .bytes_max = OBJECT_SMALL_BYTES_MAX};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    bool unused = false;
    myr_object_pairs_add(&request.query, "uploadId", parts->upload);
    MYR_IGNORE(myr_object_ask_once(parts->client, &request, &answer, &unused, NULL)); /* what failed is told */
}

static myr_rc parts_run(write_parts *parts, myr_arena *arena, myr_err *err)
{
    MYR_TRY(parts_begin(parts, arena, err));
    for (int64_t part = 0; part * parts->part_bytes < parts->size; part++)
        MYR_TRY(parts_put(parts, part, err));
    return parts_end(parts, arena, err);
}

static myr_rc write_in_parts(myr_object_client *client, const char *key, const myr_mapping *file, myr_err *err)
{
    write_parts parts = {.client = client, .key = key, .data = file->data, .size = (int64_t)file->size};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object");
    parts.part_bytes = write_part_bytes(parts.size, client->opts.part_bytes);
    myr_rc rc = parts_run(&parts, arena, err);
    if (rc != MYR_OK) parts_abort(&parts);
    myr_buf_fini(&parts.list);
    return rc;
}

static myr_rc write_mapped(myr_object_client *client, const char *key, const char *path, const myr_mapping *file,
                           myr_err *err)
{
    uint64_t losses = myr_io_map_losses();
    myr_rc rc = (int64_t)file->size > client->opts.part_bytes
                    ? write_in_parts(client, key, file, err)
                    : myr_object_put(client, key, file->data, file->size, MYR_OBJECT_ALWAYS, NULL, err);
    if (rc != MYR_OK || myr_io_map_losses() == losses) return rc;
    MYR_IGNORE(myr_object_delete(client, key, NULL)); /* it has zeros in it */
    MYR_FAIL(err, IO, "%s could not be read: it became shorter, or its disk fails", path);
}

myr_rc myr_object_put_file(myr_object_client *client, const char *key, const char *path, myr_err *err)
{
    int64_t size = 0;
    myr_mapping file = {0};
    MYR_TRY(myr_io_size(path, &size, err));
    if (size == 0) return myr_object_put(client, key, "", 0, MYR_OBJECT_ALWAYS, NULL, err);
    if (size > MYR_OBJECT_BYTES_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s has %lld bytes, an object at most 5 TiB", path, (long long)size);
    MYR_TRY(myr_io_map(path, &file, err));
    myr_rc rc = write_mapped(client, key, path, &file, err);
    myr_io_unmap(&file);
    return rc;
}

/* ---- removing ---- */

myr_rc myr_object_delete(myr_object_client *client, const char *key, myr_err *err)
{
    object_request request = {.method = "DELETE", .key = key, .bytes_max = OBJECT_SMALL_BYTES_MAX};
    MYR_AUTO(myr_fetch_answer) answer = {0};
    myr_rc rc = myr_object_ask(client, &request, &answer, err);
    return rc == MYR_NOT_FOUND ? MYR_OK : rc;
}
