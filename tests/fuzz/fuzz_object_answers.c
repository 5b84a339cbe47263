/*
 * What comes from outside into object: answers of stores, URIs, patterns, files with keys. The first byte says which.
 * Whatever a key is, the URL that it becomes has no byte that a URL must not have.
 */
#include <string.h>

#include "object/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_page(object_kind kind, myr_str text)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(64 << 20);
    object_page page = {.arena = arena};
    if (arena == NULL || myr_object_page_read(&page, kind, text, NULL) != MYR_OK) return;
    for (size_t i = 0; i < page.count; i++)
        MYR_ASSERT(page.items[i].key != NULL && page.items[i].etag != NULL && page.items[i].bytes >= 0);
}

static void fuzz_trouble(myr_str text)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(64 << 20);
    object_trouble trouble;
    const char *found = NULL;
    int64_t ms = 0;
    myr_object_trouble_read(text, &trouble);
    MYR_ASSERT(memchr(trouble.code, '\0', sizeof trouble.code) != NULL);
    MYR_ASSERT(memchr(trouble.message, '\0', sizeof trouble.message) != NULL);
    if (arena != NULL) MYR_IGNORE(myr_object_xml_find(text, "a/b", arena, &found, NULL));
    MYR_IGNORE(!myr_object_time_parse(text, &ms));
}

static void fuzz_uri(const char *text)
{
    static const object_login s3 = {
        .kind = OBJECT_S3, .endpoint = "http://h:1/p", .bucket = "b", .region = "r", .access = "a", .secret = "s"};
    static const object_login azure = {.kind = OBJECT_AZURE, .endpoint = "http://h:1/p", .bucket = "b", .account = "a"};
    object_uri uri;
    if (myr_object_uri_parse(text, &uri, NULL) != MYR_OK) return;
    MYR_ASSERT(myr_object_is_uri(text) && uri.bucket.size > 0 && strlen(uri.key) <= MYR_OBJECT_KEY_BYTES_MAX);
    MYR_ASSERT(myr_object_match("**", uri.key) || strlen(uri.key) > 512);
    object_request request = {.method = "GET", .key = uri.key};
    myr_object_pairs_add(&request.query, "prefix", uri.key);
    for (int i = 0; i < 2; i++) {
        MYR_AUTO(object_signed) sign = {0};
        if (myr_object_sign(i == 0 ? &s3 : &azure, &request, 0, &sign, NULL) != MYR_OK) return;
        for (const char *c = sign.url.data; *c != '\0'; c++)
            MYR_ASSERT(*c > ' ' && *c < 0x7f && *c != '"' && *c != '<' && *c != '\\');
    }
}

/* `pattern NUL key`. */
static void fuzz_match(const char *text, size_t size)
{
    size_t pattern = strlen(text);
    if (pattern < size) MYR_IGNORE(!myr_object_match(text, text + pattern + 1));
}

static void fuzz_texts(myr_str text)
{
    unsigned char key[64];
    size_t key_bytes = 0;
    myr_str found = myr_object_ini_get(text, "default", "k");
    MYR_ASSERT(found.size <= text.size);
    found = myr_object_connection_get(text, "AccountKey");
    MYR_ASSERT(found.size <= text.size);
    if (myr_object_base64_decode(text, key, sizeof key, &key_bytes)) MYR_ASSERT(key_bytes <= sizeof key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 16) return 0;
    MYR_AUTO(myr_mem) memory = myr_strndup((const char *)data + 1, size - 1);
    if (memory == NULL) return 0;
    const char *text = memory;
    switch (data[0]) {
    case 's':
        fuzz_page(OBJECT_S3, myr_str_make(text, size - 1));
        break;
    case 'a':
        fuzz_page(OBJECT_AZURE, myr_str_make(text, size - 1));
        break;
    case 't':
        fuzz_trouble(myr_str_make(text, size - 1));
        break;
    case 'u':
        fuzz_uri(text);
        break;
    case 'm':
        fuzz_match(text, size - 1);
        break;
    default:
        fuzz_texts(myr_str_make(text, size - 1));
    }
    return 0;
}
