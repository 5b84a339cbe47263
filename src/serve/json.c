/*
 * A request body as JSON, strictly: what two readers could understand differently (a key twice, something after the
 * end) is refused. Depth is counted before reading, so that a body of brackets costs nothing.
 */
#include "serve/internal.h"

#include <string.h>

#define JSON_FEW_KEYS   16 /* up to here every pair is compared */
#define JSON_SLOTS_KEPT 4096

/* A place of the table that finds repeated keys; empty when its stamp is not the object's. */
typedef struct json_slot {
    yyjson_val *key;
    uint32_t hash;
    uint32_t stamp;
} json_slot;

/* Opening brackets of both kinds, eight bytes at a time: they differ in one bit. In texts, too. */
static size_t json_count_brackets(myr_str body)
{
    const uint64_t ones = 0x0101010101010101, low = 0x7f7f7f7f7f7f7f7f;
    size_t count = 0, i = 0;
    for (; body.size - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, body.data + i, sizeof word);
        word = (word | 0x20 * ones) ^ '{' * ones; /* 0 in the bytes that are brackets */
        word = ~(((word & low) + low) | word | low) >> 7;
        count += word * ones >> 56;
    }
    for (; i < body.size; i++)
        count += (body.data[i] | 0x20) == '{';
    return count;
}

static myr_rc json_check_depth(myr_str body, myr_err *err)
{
    size_t depth = 0;
    bool in_string = false;
    if (json_count_brackets(body) <= SERVE_JSON_DEPTH_MAX) return MYR_OK;
    for (size_t i = 0; i < body.size; i++) {
        char c = body.data[i];
        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > SERVE_JSON_DEPTH_MAX) {
                MYR_FAIL(err, BAD_INPUT, "byte %zu: JSON is nested deeper than %d levels", i, SERVE_JSON_DEPTH_MAX);
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return MYR_OK;
}

static bool json_same_key(yyjson_val *a, yyjson_val *b)
{
    size_t size = yyjson_get_len(a);
    return size == yyjson_get_len(b) && memcmp(yyjson_get_str(a), yyjson_get_str(b), size) == 0;
}

static myr_rc json_fail_twice(yyjson_val *key, myr_err *err)
{
    myr_str name = myr_str_make(yyjson_get_str(key), yyjson_get_len(key));
    MYR_FAIL(err, BAD_INPUT, "the key \"" MYR_STR_FMT "\" stands twice in one JSON object", MYR_STR_ARG(name));
}

static myr_rc json_check_few(yyjson_val *object, myr_err *err)
{
    yyjson_val *keys[JSON_FEW_KEYS];
    size_t count = 0, idx, max;
    yyjson_val *key, *val;
    yyjson_obj_foreach(object, idx, max, key, val)
    {
        MYR_ASSERT(count < JSON_FEW_KEYS);
        for (size_t i = 0; i < count; i++) {
            if (json_same_key(keys[i], key)) return json_fail_twice(key, err);
        }
        keys[count++] = key;
    }
    return MYR_OK;
}

/* A table of at least twice the keys, kept by the thread. */
static myr_rc json_make_slots(serve_thread *thread, size_t key_count, myr_err *err)
{
    size_t count = 64;
    while (count < key_count * 2)
        count *= 2;
    if (count <= thread->slot_count && thread->stamp < UINT32_MAX) return MYR_OK;
    json_slot *slots = myr_calloc(count, sizeof *slots);
    if (slots == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an object of %zu keys", key_count);
    myr_free(thread->slots);
    thread->slots = slots;
    thread->slot_count = count;
    thread->stamp = 0;
    return MYR_OK;
}

static myr_rc json_check_many(serve_thread *thread, yyjson_val *object, myr_err *err)
{
    size_t key_count = yyjson_obj_size(object), idx, max;
    if (key_count > SERVE_JSON_KEYS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "a JSON object has %zu keys, the most is %d", key_count, SERVE_JSON_KEYS_MAX);
    }
    MYR_TRY(json_make_slots(thread, key_count, err));
    uint32_t stamp = ++thread->stamp;
    yyjson_val *key, *val;
    yyjson_obj_foreach(object, idx, max, key, val)
    {
        uint32_t hash = (uint32_t)myr_hash64(yyjson_get_str(key), yyjson_get_len(key), 0);
        size_t at = hash & (thread->slot_count - 1);
        while (thread->slots[at].stamp == stamp) {
            json_slot *slot = &thread->slots[at];
            if (slot->hash == hash && json_same_key(slot->key, key)) return json_fail_twice(key, err);
            at = (at + 1) & (thread->slot_count - 1);
        }
        thread->slots[at] = (json_slot){key, hash, stamp};
    }
    return MYR_OK;
}

/* All values of a document lie behind each other in memory, so objects are found without a stack. */
static myr_rc json_check_keys(serve_thread *thread, yyjson_doc *doc, myr_err *err)
{
    yyjson_val *val = yyjson_doc_get_root(doc);
    for (size_t left = yyjson_doc_get_val_count(doc); left > 0; left--, val++) {
        if (!yyjson_is_obj(val) || yyjson_obj_size(val) < 2) continue;
        if (yyjson_obj_size(val) <= JSON_FEW_KEYS) {
            MYR_TRY(json_check_few(val, err));
        } else {
            MYR_TRY(json_check_many(thread, val, err));
        }
    }
    if (thread->slot_count > JSON_SLOTS_KEPT) { /* a rare giant is not kept */
        myr_free(thread->slots);
        thread->slots = NULL;
        thread->slot_count = 0;
    }
    return MYR_OK;
}

static myr_rc json_read(serve_thread *thread, myr_arena *arena, myr_str body, yyjson_read_flag flags,
                        yyjson_val **out_root, myr_err *err)
{
    if (myr_str_trim(body).size == 0) MYR_FAIL(err, BAD_INPUT, "the request body is empty: send a JSON object");
    MYR_TRY(json_check_depth(body, err));
    yyjson_alc alc;
    yyjson_read_err failed;
    myr_arena_yyjson(arena, &alc);
    /* The reader does not write to its input unless told so (YYJSON_READ_INSITU). */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)body.data, body.size, flags, &alc, &failed);
    if (doc == NULL && failed.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        MYR_FAIL(err, NO_MEMORY, "out of memory for the request body");
    }
    if (doc == NULL) MYR_FAIL(err, BAD_INPUT, "the request body is not JSON: byte %zu: %s", failed.pos, failed.msg);
    MYR_TRY(json_check_keys(thread, doc, err));
    *out_root = yyjson_doc_get_root(doc);
    return MYR_OK;
}

myr_rc myr_serve_json_read(serve_thread *thread, myr_arena *arena, myr_str body, yyjson_val **out_root, myr_err *err)
{
    return json_read(thread, arena, body, YYJSON_READ_NOFLAG, out_root, err);
}

myr_rc myr_serve_json_read_loose(serve_thread *thread, myr_arena *arena, myr_str body, yyjson_val **out_root,
                                 myr_err *err)
{
    return json_read(thread, arena, body, YYJSON_READ_ALLOW_INF_AND_NAN, out_root, err);
}

const char *myr_serve_json_kind(yyjson_val *val)
{
    switch (yyjson_get_type(val)) {
    case YYJSON_TYPE_NULL:
        return "null";
    case YYJSON_TYPE_BOOL:
        return "a boolean";
    case YYJSON_TYPE_NUM:
        return yyjson_is_int(val) ? "an integer" : "a number with a fraction or exponent";
    case YYJSON_TYPE_STR:
        return "a string";
    case YYJSON_TYPE_ARR:
        return "an array";
    case YYJSON_TYPE_OBJ:
        return "an object";
    default:
        return "nothing";
    }
}
