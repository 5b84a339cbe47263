/*
 * UBJSON read in place. One walker knows the grammar and its bounds; the check runs it over the whole file with all
 * rules on, the iterator runs it again over single values to find their end, which cannot fail any more.
 */
#include "import/ubj.h"

#include <string.h>

typedef struct ubj_walk {
    const myr_import_src *src;
    const unsigned char *at, *end;
    bool is_checked; /* the bytes passed the check before: text is not validated again */
    myr_err *err;
} ubj_walk;

typedef struct ubj_head {
    uint64_t left;
    unsigned char type;
} ubj_head;

static size_t ubj_offset(const ubj_walk *walk)
{
    return (size_t)(walk->at - (const unsigned char *)walk->src->data);
}

#define UBJ_FAIL(walk, code, ...)                                                                                      \
    do {                                                                                                               \
        myr_rc ubj_rc_ = MYR_ERROR((walk)->err, code, __VA_ARGS__);                                                    \
        return myr_err_prefix((walk)->err, ubj_rc_, "%s: byte %zu: ", (walk)->src->name, ubj_offset(walk));            \
    } while (0)

/* Bytes of a number, 0 for anything else. */
static size_t ubj_number_bytes(unsigned char marker)
{
    switch (marker) {
    case 'i':
    case 'U':
        return 1;
    case 'I':
        return 2;
    case 'l':
    case 'd':
        return 4;
    case 'L':
    case 'D':
        return 8;
    default:
        return 0;
    }
}

static uint64_t ubj_big_endian(const unsigned char *at, size_t count)
{
    MYR_ASSERT(count <= sizeof(uint64_t));
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        bits = bits << 8 | at[i];
    }
    return bits;
}

static bool ubj_integer(unsigned char marker, const unsigned char *at, int64_t *out)
{
    switch (marker) {
    case 'i':
        *out = (int8_t)at[0];
        return true;
    case 'U':
        *out = at[0];
        return true;
    case 'I':
        *out = (int16_t)ubj_big_endian(at, 2);
        return true;
    case 'l':
        *out = (int32_t)ubj_big_endian(at, 4);
        return true;
    case 'L':
        *out = (int64_t)ubj_big_endian(at, 8);
        return true;
    default:
        return false;
    }
}

static myr_rc ubj_take_marker(ubj_walk *walk, unsigned char *out)
{
    if (walk->at == walk->end) UBJ_FAIL(walk, BAD_FORMAT, "the file ends inside a value");
    *out = *walk->at++;
    return MYR_OK;
}

/* A length or count: an integer with its marker, never negative. What it counts takes at least `unit` bytes each. */
static myr_rc ubj_take_length(ubj_walk *walk, const char *what, size_t unit, uint64_t *out)
{
    MYR_ASSERT(unit > 0);
    unsigned char marker = 0;
    int64_t length;
    MYR_TRY(ubj_take_marker(walk, &marker));
    size_t bytes = ubj_number_bytes(marker);
    if (bytes == 0 || marker == 'd' || marker == 'D') {
        UBJ_FAIL(walk, BAD_FORMAT, "%s has marker 0x%02x, not an integer", what, marker);
    }
    if (bytes > (size_t)(walk->end - walk->at)) UBJ_FAIL(walk, BAD_FORMAT, "the file ends inside %s", what);
    bool is_integer = ubj_integer(marker, walk->at, &length);
    MYR_ASSERT(is_integer);
    walk->at += bytes;
    size_t room = (size_t)(walk->end - walk->at) / unit;
    if (length < 0 || (uint64_t)length > room) { /* the known side is divided: a product could wrap */
        UBJ_FAIL(walk, BAD_FORMAT, "%s is %lld, room for %zu", what, (long long)length, room);
    }
    *out = (uint64_t)length;
    return MYR_OK;
}

static myr_rc ubj_take_text(ubj_walk *walk, const char *what, myr_str *out)
{
    uint64_t size;
    MYR_TRY(ubj_take_length(walk, what, 1, &size));
    myr_str text = myr_str_make((const char *)walk->at, (size_t)size);
    if (!walk->is_checked && !myr_utf8_is_valid(text)) {
        UBJ_FAIL(walk, BAD_FORMAT, "%s is not UTF-8", what);
    }
    walk->at += size;
    if (out != NULL) *out = text;
    return MYR_OK;
}

/* What stands between `[` and the first element. */
static myr_rc ubj_take_array_head(ubj_walk *walk, ubj_head *out)
{
    ubj_head head = {.left = UINT64_MAX, .type = 0};
    size_t unit = 1;
    if (walk->at < walk->end && *walk->at == '$') {
        walk->at++;
        MYR_TRY(ubj_take_marker(walk, &head.type));
        unit = ubj_number_bytes(head.type);
        if (unit == 0) UBJ_FAIL(walk, BAD_FORMAT, "a typed array of 0x%02x is not one of numbers", head.type);
        if (walk->at == walk->end || *walk->at != '#') UBJ_FAIL(walk, BAD_FORMAT, "a typed array without its count");
    }
    if (walk->at < walk->end && *walk->at == '#') {
        walk->at++;
        MYR_TRY(ubj_take_length(walk, "an array's count", unit, &head.left));
    }
    *out = head;
    return MYR_OK;
}

static myr_rc ubj_walk_payload(ubj_walk *walk, unsigned char marker, unsigned depth);

static myr_rc ubj_walk_array(ubj_walk *walk, unsigned depth)
{
    ubj_head head;
    MYR_TRY(ubj_take_array_head(walk, &head));
    if (head.type != 0) {
        walk->at += head.left * ubj_number_bytes(head.type); /* the head has compared it with what is left */
        return MYR_OK;
    }
    while (head.left > 0) {
        unsigned char marker = 0;
        MYR_TRY(ubj_take_marker(walk, &marker));
        if (head.left == UINT64_MAX) {
            if (marker == ']') return MYR_OK;
        } else {
            head.left--;
        }
        MYR_TRY(ubj_walk_payload(walk, marker, depth));
    }
    return MYR_OK;
}

static myr_rc ubj_walk_object(ubj_walk *walk, unsigned depth)
{
    for (;;) {
        unsigned char marker = 0;
        if (walk->at < walk->end && *walk->at == '}') {
            walk->at++;
            return MYR_OK;
        }
        MYR_TRY(ubj_take_text(walk, "a key's length", NULL));
        MYR_TRY(ubj_take_marker(walk, &marker));
        MYR_TRY(ubj_walk_payload(walk, marker, depth));
    }
}

/* Move past the value whose marker was taken. Recursion is as deep as the nesting, which has a limit. */
static myr_rc ubj_walk_payload(ubj_walk *walk, unsigned char marker, unsigned depth)
{
    size_t bytes = ubj_number_bytes(marker);
    if (bytes > 0) {
        if (bytes > (size_t)(walk->end - walk->at)) UBJ_FAIL(walk, BAD_FORMAT, "the file ends inside a number");
        walk->at += bytes;
        return MYR_OK;
    }
    switch (marker) {
    case 'Z':
    case 'T':
    case 'F':
        return MYR_OK;
    case 'S':
        return ubj_take_text(walk, "a text's length", NULL);
    case '[':
    case '{':
        if (depth >= MYR_IMPORT_DEPTH_MAX) {
            UBJ_FAIL(walk, TOO_LARGE, "nested deeper than %d", MYR_IMPORT_DEPTH_MAX);
        }
        return marker == '[' ? ubj_walk_array(walk, depth + 1) : ubj_walk_object(walk, depth + 1);
    default:
        walk->at--; /* it was taken: name its own place */
        UBJ_FAIL(walk, BAD_FORMAT, "0x%02x begins no value", marker);
    }
}

myr_rc myr_ubj_check(const myr_import_src *src, myr_ubj_value *out_root, myr_err *err)
{
    const unsigned char *begin = (const unsigned char *)src->data;
    ubj_walk walk = {.src = src, .at = begin, .end = begin + src->size, .err = err};
    unsigned char marker = 0;
    MYR_TRY(ubj_take_marker(&walk, &marker));
    MYR_TRY(ubj_walk_payload(&walk, marker, 0));
    if (walk.at != walk.end) {
        UBJ_FAIL(&walk, BAD_FORMAT, "%zu bytes after the model", (size_t)(walk.end - walk.at));
    }
    *out_root = (myr_ubj_value){.at = begin + 1, .marker = marker};
    return MYR_OK;
}

static ubj_walk ubj_again(const unsigned char *at, const unsigned char *end)
{
    static const myr_import_src checked = {.name = "checked", .data = "", .size = 0};
    return (ubj_walk){.src = &checked, .at = at, .end = end, .is_checked = true, .err = NULL};
}

void myr_ubj_iter_init(const myr_import_src *src, myr_ubj_value container, myr_ubj_iter *out)
{
    MYR_ASSERT(container.marker == '[' || container.marker == '{');
    const unsigned char *end = (const unsigned char *)src->data + src->size;
    ubj_walk walk = ubj_again(container.at, end);
    ubj_head head = {.left = UINT64_MAX, .type = 0};
    if (container.marker == '[') {
        myr_rc rc = ubj_take_array_head(&walk, &head);
        MYR_ASSERT(rc == MYR_OK);
    }
    *out = (myr_ubj_iter){
        .at = walk.at, .end = end, .left = head.left, .type = head.type, .is_object = container.marker == '{'};
}

bool myr_ubj_next(myr_ubj_iter *iter, myr_str *out_key, myr_ubj_value *out_value)
{
    if (iter->left == 0) return false;
    ubj_walk walk = ubj_again(iter->at, iter->end);
    myr_rc rc = MYR_OK;
    MYR_ASSERT(iter->type != 0 || walk.at < walk.end);
    if (iter->type == 0 && iter->left == UINT64_MAX && *walk.at == (iter->is_object ? '}' : ']')) {
        iter->left = 0;
        return false;
    }
    if (iter->is_object) rc = ubj_take_text(&walk, "key", out_key);
    MYR_ASSERT(rc == MYR_OK);
    unsigned char marker = iter->type != 0 ? iter->type : *walk.at++;
    myr_ubj_value value = {.at = walk.at, .marker = marker};
    rc = ubj_walk_payload(&walk, marker, 0);
    MYR_ASSERT(rc == MYR_OK);
    if (iter->left != UINT64_MAX) iter->left--;
    iter->at = walk.at;
    *out_value = value;
    return true;
}

uint64_t myr_ubj_count(const myr_import_src *src, myr_ubj_value container)
{
    myr_ubj_iter iter;
    myr_ubj_iter_init(src, container, &iter);
    if (iter.left != UINT64_MAX) return iter.left;
    uint64_t count = 0;
    myr_ubj_value value;
    while (myr_ubj_next(&iter, NULL, &value)) {
        count++;
    }
    return count;
}

bool myr_ubj_int(myr_ubj_value value, int64_t *out)
{
    if (value.marker == 'T' || value.marker == 'F') {
        *out = value.marker == 'T';
        return true;
    }
    return ubj_integer(value.marker, value.at, out);
}

bool myr_ubj_float(myr_ubj_value value, float *out)
{
    int64_t integer;
    if (value.marker == 'd') {
        uint32_t bits = (uint32_t)ubj_big_endian(value.at, 4);
        memcpy(out, &bits, sizeof bits);
        return true;
    }
    if (value.marker == 'D') {
        uint64_t bits = ubj_big_endian(value.at, 8);
        double wide;
        memcpy(&wide, &bits, sizeof bits);
        *out = (float)wide;
        return true;
    }
    if (!ubj_integer(value.marker, value.at, &integer)) return false;
    *out = (float)integer;
    return true;
}

bool myr_ubj_string(myr_ubj_value value, myr_str *out)
{
    if (value.marker != 'S') return false;
    int64_t size;
    size_t bytes = ubj_number_bytes(value.at[0]);
    bool is_integer = ubj_integer(value.at[0], value.at + 1, &size);
    MYR_ASSERT(is_integer && size >= 0);
    *out = myr_str_make((const char *)value.at + 1 + bytes, (size_t)size);
    return true;
}
