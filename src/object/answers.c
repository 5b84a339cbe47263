/* What the services answer: pages of lists, what went wrong, times. */
#include <stdio.h>
#include <string.h>

#include "object/internal.h"

/* ---- times ---- */

static bool time_digits(const char *text, size_t count, int *out)
{
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + text[i] - '0';
    }
    *out = value;
    return true;
}

static const char time_months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char time_days[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was the first of them */

static bool time_month(const char *text, int *out)
{
    for (int i = 0; i < 12; i++) {
        if (memcmp(time_months + 3 * (size_t)i, text, 3) != 0) continue;
        *out = i + 1;
        return true;
    }
    return false;
}

static bool time_clock(const char *text, int64_t *out_s)
{
    int hour, minute, second;
    if (!time_digits(text, 2, &hour) || text[2] != ':' || !time_digits(text + 3, 2, &minute) || text[5] != ':' ||
        !time_digits(text + 6, 2, &second) || hour > 23 || minute > 59 || second > 60)
        return false;
    *out_s = hour * 3600 + minute * 60 + second;
    return true;
}

bool myr_object_time_parse(myr_str text, int64_t *out_ms)
{
    int year, month, day, ms = 0;
    int64_t seconds;
    const char *t = text.data;
    bool ok;
    if (text.size == 29) { /* Wed, 12 Oct 2009 17:50:00 GMT */
        ok = time_digits(t + 5, 2, &day) && time_month(t + 8, &month) && time_digits(t + 12, 4, &year) &&
             time_clock(t + 17, &seconds) && memcmp(t + 25, " GMT", 4) == 0;
    } else { /* 2009-10-12T17:50:30.000Z, its fraction of any length or not there */
        ok = text.size >= 20 && time_digits(t, 4, &year) && t[4] == '-' && time_digits(t + 5, 2, &month) &&
             t[7] == '-' && time_digits(t + 8, 2, &day) && t[10] == 'T' && time_clock(t + 11, &seconds) &&
             t[text.size - 1] == 'Z';
        if (ok && text.size >= 24 && t[19] == '.') ok = time_digits(t + 20, 3, &ms);
    }
    if (!ok || month < 1 || month > 12 || day < 1 || day > 31) return false;
    *out_ms = (myr_day_of_civil(year, month, day) * 86400 + seconds) * 1000 + ms;
    return true;
}

void myr_object_time_http(int64_t unix_ms, char out[OBJECT_TIME_BYTES])
{
    char time[MYR_TIME_TEXT_BYTES];
    int month = 1;
    myr_format_time(unix_ms, time);
    (void)time_digits(time + 5, 2, &month);
    int64_t day = (unix_ms >= 0 ? unix_ms : 0) / 86400000;
    (void)snprintf(out, OBJECT_TIME_BYTES, "%.3s, %.2s %.3s %.4s %.8s GMT", time_days + 3 * (day % 7), time + 8,
                   time_months + 3 * (month - 1), time, time + 11);
}

/* ---- lists ---- */

static myr_rc page_copy(object_page *page, myr_str text, const char **out, myr_err *err)
{
    *out = myr_arena_strndup(page->arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a list of objects");
    return MYR_OK;
}

/* As S3 encodes keys when it is asked to: as in a form, where a blank is a plus. */
static myr_rc page_key(object_page *page, myr_str text, bool is_encoded, const char **out, myr_err *err)
{
    if (!is_encoded) return page_copy(page, text, out, err);
    MYR_AUTO(myr_buf) plain = {0};
    MYR_AUTO(myr_buf) decoded = {0};
    for (size_t i = 0; i < text.size; i++)
        myr_buf_putc(&plain, text.data[i] == '+' && page->is_url_encoded ? ' ' : text.data[i]);
    bool ok = myr_percent_decode(&decoded, myr_str_make(plain.data, plain.size));
    MYR_TRY(myr_buf_check(&plain, err));
    MYR_TRY(myr_buf_check(&decoded, err));
    if (!ok || (decoded.size > 0 && memchr(decoded.data, '\0', decoded.size) != NULL))
        MYR_FAIL(err, BAD_FORMAT, "a list with a key that cannot be decoded: " MYR_STR_FMT, MYR_STR_ARG(text));
    return page_copy(page, myr_str_make(decoded.data != NULL ? decoded.data : "", decoded.size), out, err);
}

static myr_str page_unquote(myr_str text)
{
    if (text.size >= 2 && text.data[0] == '"' && text.data[text.size - 1] == '"')
        return myr_str_make(text.data + 1, text.size - 2);
    return text;
}

static myr_rc page_add(object_page *page, myr_err *err)
{
    const myr_object *now = &page->now;
    if (now->key == NULL || now->bytes < 0)
        MYR_FAIL(err, BAD_FORMAT, "a list with an object that has no key or no size");
    if (page->count == MYR_OBJECT_LIST_MAX)
        MYR_FAIL(err, TOO_LARGE, "more than %d objects: name a longer prefix", MYR_OBJECT_LIST_MAX);
    if (page->count == page->room) {
        size_t room = page->room > 0 ? page->room * 2 : 64;
        myr_object *items =
            myr_arena_realloc(page->arena, page->items, page->room * sizeof *items, room * sizeof *items);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a list of %zu objects", room);
        page->items = items;
        page->room = room;
    }
    if (page->now.etag == NULL) page->now.etag = "";
    page->items[page->count++] = page->now;
    return MYR_OK;
}

static myr_rc page_number(myr_str text, int64_t *out, myr_err *err)
{
    if (myr_parse_int64(text, out) && *out >= 0) return MYR_OK;
    MYR_FAIL(err, BAD_FORMAT, "a list with a size that is none: " MYR_STR_FMT, MYR_STR_ARG(text));
}

static void page_clear(object_page *page)
{
    page->now = (myr_object){.bytes = -1};
    page->is_directory = false;
}

static myr_rc page_s3(void *ctx, const object_element *element, myr_err *err)
{
    object_page *page = ctx;
    myr_str path = element->path;
    const char *text = NULL;
    if (myr_str_is(path, "ListBucketResult")) page->is_list = true;
    if (myr_str_is(path, "ListBucketResult/EncodingType")) page->is_url_encoded = myr_str_is(element->text, "url");
    if (myr_str_is(path, "ListBucketResult/IsTruncated")) page->is_truncated = myr_str_is(element->text, "true");
    if (myr_str_is(path, "ListBucketResult/NextContinuationToken")) {
        MYR_TRY(page_copy(page, element->text, &text, err));
        page->next = myr_str_of(text);
    }
    if (myr_str_is(path, "ListBucketResult/Contents/Key"))
        return page_copy(page, element->text, &page->now.key, err); /* EncodingType may follow */
    if (myr_str_is(path, "ListBucketResult/Contents/Size")) return page_number(element->text, &page->now.bytes, err);
    if (myr_str_is(path, "ListBucketResult/Contents/ETag"))
        return page_copy(page, page_unquote(element->text), &page->now.etag, err);
    if (myr_str_is(path, "ListBucketResult/Contents/LastModified") &&
        !myr_object_time_parse(element->text, &page->now.modified_ms))
        MYR_FAIL(err, BAD_FORMAT, "a list with a time that is none: " MYR_STR_FMT, MYR_STR_ARG(element->text));
    if (!myr_str_is(path, "ListBucketResult/Contents")) return MYR_OK;
    MYR_TRY(page_add(page, err));
    page_clear(page);
    return MYR_OK;
}

static myr_rc page_azure(void *ctx, const object_element *element, myr_err *err)
{
    object_page *page = ctx;
    myr_str path = element->path;
    const char *text = NULL;
    if (myr_str_is(path, "EnumerationResults")) page->is_list = true;
    if (myr_str_is(path, "EnumerationResults/NextMarker")) {
        MYR_TRY(page_copy(page, element->text, &text, err));
        page->next = myr_str_of(text);
        page->is_truncated = page->next.size > 0;
    }
    if (myr_str_is(path, "EnumerationResults/Blobs/Blob/Name"))
        return page_key(page, element->text, element->is_encoded, &page->now.key, err);
    if (myr_str_is(path, "EnumerationResults/Blobs/Blob/Properties/Content-Length"))
        return page_number(element->text, &page->now.bytes, err);
    if (myr_str_is(path, "EnumerationResults/Blobs/Blob/Properties/Etag"))
        return page_copy(page, page_unquote(element->text), &page->now.etag, err);
    if (myr_str_is(path, "EnumerationResults/Blobs/Blob/Properties/ResourceType"))
        page->is_directory = myr_str_is(element->text, "directory");
    if (myr_str_is(path, "EnumerationResults/Blobs/Blob/Properties/Last-Modified") &&
        !myr_object_time_parse(element->text, &page->now.modified_ms))
        MYR_FAIL(err, BAD_FORMAT, "a list with a time that is none: " MYR_STR_FMT, MYR_STR_ARG(element->text));
    if (!myr_str_is(path, "EnumerationResults/Blobs/Blob")) return MYR_OK;
    if (!page->is_directory) MYR_TRY(page_add(page, err));
    page_clear(page);
    return MYR_OK;
}

myr_rc myr_object_page_read(object_page *page, object_kind kind, myr_str text, myr_err *err)
{
    size_t before = page->count;
    page->next = myr_str_make("", 0);
    page->is_truncated = page->is_url_encoded = page->is_list = false;
    page_clear(page);
    MYR_TRY(myr_object_xml_read(text, kind == OBJECT_S3 ? page_s3 : page_azure, page, err));
    if (!page->is_list)
        MYR_FAIL(err, BAD_FORMAT, "the answer is no list of objects: is this the address of an object store?");
    if (page->is_truncated && page->next.size == 0)
        MYR_FAIL(err, BAD_FORMAT, "a list that goes on, but does not say where");
    if (!page->is_truncated) page->next = myr_str_make("", 0);
    for (size_t i = before; page->is_url_encoded && i < page->count; i++)
        MYR_TRY(page_key(page, myr_str_of(page->items[i].key), true, &page->items[i].key, err));
    return MYR_OK;
}

/* ---- what went wrong ---- */

/* One line: Azure's messages go on with numbers of their own. */
static void trouble_copy(char *out, size_t out_bytes, myr_str text)
{
    const char *end = memchr(text.data, '\n', text.size);
    size_t size = end != NULL ? (size_t)(end - text.data) : text.size;
    if (size >= out_bytes) size = out_bytes - 1;
    memcpy(out, text.data, size);
    out[size] = '\0';
}

static myr_rc trouble_take(void *ctx, const object_element *element, myr_err *err)
{
    object_trouble *trouble = ctx;
    (void)err;
    if (myr_str_is(element->path, "Error/Code")) trouble_copy(trouble->code, sizeof trouble->code, element->text);
    if (myr_str_is(element->path, "Error/Message"))
        trouble_copy(trouble->message, sizeof trouble->message, element->text);
    return MYR_OK;
}

void myr_object_trouble_read(myr_str text, object_trouble *out)
{
    *out = (object_trouble){0};
    MYR_IGNORE(myr_object_xml_read(text, trouble_take, out, NULL)); /* some answer in words of their own */
}

typedef struct xml_wanted {
    const char *name;
    myr_arena *arena;
    const char *found;
} xml_wanted;

static myr_rc find_take(void *ctx, const object_element *element, myr_err *err)
{
    xml_wanted *wanted = ctx;
    if (wanted->found != NULL || !myr_str_is(element->path, wanted->name)) return MYR_OK;
    wanted->found = myr_arena_strndup(wanted->arena, element->text.data, element->text.size);
    if (wanted->found == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an answer");
    return MYR_OK;
}

myr_rc myr_object_xml_find(myr_str text, const char *path, myr_arena *arena, const char **out, myr_err *err)
{
    xml_wanted wanted = {.name = path, .arena = arena};
    MYR_TRY(myr_object_xml_read(text, find_take, &wanted, err));
    if (wanted.found == NULL) MYR_FAIL(err, NOT_FOUND, "the answer has no %s", path);
    *out = wanted.found;
    return MYR_OK;
}
