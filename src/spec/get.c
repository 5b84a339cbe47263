/* Checked access: known keys, typed values, each failure with its place in the file. */
#include <string.h>

#include "spec/internal.h"

const myr_spec_node *myr_spec_find(const myr_spec_node *map, const char *key)
{
    MYR_ASSERT(map->kind == MYR_SPEC_MAP);
    for (uint32_t i = 0; i < map->count; i++) {
        if (strcmp(map->keys[i]->text, key) != 0) continue;
        bool is_null = map->items[i]->kind == MYR_SPEC_SCALAR && map->items[i]->is_null;
        return is_null ? NULL : map->items[i];
    }
    return NULL;
}

bool myr_spec_equal(const myr_spec_node *a, const myr_spec_node *b)
{
    if (a->kind != b->kind || a->is_null != b->is_null || a->count != b->count) return false;
    if (a->kind == MYR_SPEC_SCALAR)
        return a->is_null || (a->is_quoted == b->is_quoted && strcmp(a->text, b->text) == 0);
    for (uint32_t i = 0; i < a->count; i++) { /* in the order of the file, which messages and `split` follow */
        if (a->kind == MYR_SPEC_MAP && strcmp(a->keys[i]->text, b->keys[i]->text) != 0) return false;
        if (!myr_spec_equal(a->items[i], b->items[i])) return false;
    }
    return true;
}

static bool name_is_in(const char *name, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

static const char *names_list(const char *const *names, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t size = strlen(names[i]);
        if (used + size + 3 > out_bytes) break;
        if (i > 0) {
            memcpy(out + used, ", ", 2);
            used += 2;
        }
        memcpy(out + used, names[i], size + 1);
        used += size;
    }
    return out;
}

myr_rc myr_spec_check_keys(const myr_spec *spec, const myr_spec_node *map, const char *const *known, myr_err *err)
{
    char list[160];
    if (map->kind != MYR_SPEC_MAP) {
        return myr_spec_fail(spec, map, err, "expected keys here: %s", names_list(known, list, sizeof list));
    }
    for (uint32_t i = 0; i < map->count; i++) {
        const char *key = map->keys[i]->text;
        if (name_is_in(key, known)) continue;
        const char *nearest = myr_nearest(key, known);
        if (nearest != NULL) {
            return myr_spec_fail(spec, map->keys[i], err, "unknown key '%.80s': did you mean '%s'?", key, nearest);
        }
        return myr_spec_fail(spec, map->keys[i], err, "unknown key '%.60s': known here are %s", key,
                             names_list(known, list, sizeof list));
    }
    return MYR_OK;
}

/* The scalar of a key. *out = NULL when it is absent and may be. */
static myr_rc get_scalar(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                         const char *kind, const myr_spec_node **out, myr_err *err)
{
    if (map->kind != MYR_SPEC_MAP) return myr_spec_fail(spec, map, err, "expected a map with key '%s'", key);
    *out = myr_spec_find(map, key);
    if (*out == NULL && required) return myr_spec_fail(spec, map, err, "key '%s' is missing: give %s", key, kind);
    if (*out != NULL && (*out)->kind != MYR_SPEC_SCALAR) {
        return myr_spec_fail(spec, *out, err, "'%s' must be %s", key, kind);
    }
    return MYR_OK;
}

myr_rc myr_spec_text(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, const char **out,
                     myr_err *err)
{
    const myr_spec_node *node = NULL;
    MYR_TRY(get_scalar(spec, map, key, required, "a text", &node, err));
    if (node == NULL) return MYR_OK;
    if (node->text[0] == '\0') return myr_spec_fail(spec, node, err, "'%s' must not be empty", key);
    *out = node->text;
    return MYR_OK;
}

myr_rc myr_spec_int(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, int64_t min,
                    int64_t max, int64_t *out, myr_err *err)
{
    const myr_spec_node *node = NULL;
    MYR_TRY(get_scalar(spec, map, key, required, "a whole number", &node, err));
    if (node == NULL) return MYR_OK;
    int64_t value = 0;
    if (!myr_parse_int64(myr_str_of(node->text), &value)) {
        return myr_spec_fail(spec, node, err, "'%s' must be a whole number, not '%.80s'", key, node->text);
    }
    if (value < min || value > max) {
        return myr_spec_fail(spec, node, err, "'%s' is %lld: it must be from %lld to %lld", key, (long long)value,
                             (long long)min, (long long)max);
    }
    *out = value;
    return MYR_OK;
}

static myr_rc node_double(const myr_spec *spec, const myr_spec_node *node, const char *key, double min, double max,
                          double *out, myr_err *err)
{
    double value = 0;
    if (node->kind != MYR_SPEC_SCALAR || !myr_parse_double(myr_str_of(node->text), &value)) {
        return myr_spec_fail(spec, node, err, "'%s' must be a number, not '%.80s'", key,
                             node->kind == MYR_SPEC_SCALAR ? node->text : "a list or map");
    }
    if (!(value >= min && value <= max)) { /* a NaN fails too */
        return myr_spec_fail(spec, node, err, "'%s' is %s: it must be from %g to %g", key, node->text, min, max);
    }
    *out = value;
    return MYR_OK;
}

myr_rc myr_spec_double(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, double min,
                       double max, double *out, myr_err *err)
{
    const myr_spec_node *node = NULL;
    MYR_TRY(get_scalar(spec, map, key, required, "a number", &node, err));
    return node == NULL ? MYR_OK : node_double(spec, node, key, min, max, out, err);
}

myr_rc myr_spec_bool(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, bool *out,
                     myr_err *err)
{
    const myr_spec_node *node = NULL;
    MYR_TRY(get_scalar(spec, map, key, required, "true or false", &node, err));
    if (node == NULL) return MYR_OK;
    if (!myr_parse_bool(myr_str_of(node->text), out)) {
        return myr_spec_fail(spec, node, err, "'%s' must be true or false, not '%.80s'", key, node->text);
    }
    return MYR_OK;
}

/* The values of a key as an array: a list's items, or one scalar standing alone. *out_count = 0 when absent. */
static myr_rc get_items(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                        const char *kind, const myr_spec_node *const **out, uint32_t *out_count,
                        const myr_spec_node **alone, myr_err *err)
{
    if (map->kind != MYR_SPEC_MAP) return myr_spec_fail(spec, map, err, "expected a map with key '%s'", key);
    const myr_spec_node *node = myr_spec_find(map, key);
    *out_count = 0;
    if (node == NULL && required) return myr_spec_fail(spec, map, err, "key '%s' is missing: give %s", key, kind);
    if (node == NULL) return MYR_OK;
    if (node->kind == MYR_SPEC_MAP) return myr_spec_fail(spec, node, err, "'%s' must be %s", key, kind);
    *alone = node;
    *out = node->kind == MYR_SPEC_LIST ? node->items : alone;
    *out_count = node->kind == MYR_SPEC_LIST ? node->count : 1;
    if (*out_count == 0) return myr_spec_fail(spec, node, err, "'%s' must not be empty: give %s", key, kind);
    return MYR_OK;
}

myr_rc myr_spec_texts(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                      const char *const **out, uint32_t *out_count, myr_err *err)
{
    const myr_spec_node *const *items = NULL, *alone = NULL;
    uint32_t count = 0;
    MYR_TRY(get_items(spec, map, key, required, "a list of texts", &items, &count, &alone, err));
    if (count == 0) return MYR_OK;
    const char **texts = myr_arena_calloc(spec->arena, (size_t)count + 1, sizeof *texts); /* NULL-terminated */
    if (texts == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", spec->name);
    for (uint32_t i = 0; i < count; i++) {
        if (items[i]->kind != MYR_SPEC_SCALAR || items[i]->text[0] == '\0') {
            return myr_spec_fail(spec, items[i], err, "'%s' must be a list of texts", key);
        }
        texts[i] = items[i]->text;
    }
    *out = texts;
    *out_count = count;
    return MYR_OK;
}

myr_rc myr_spec_doubles(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                        const double **out, uint32_t *out_count, myr_err *err)
{
    const myr_spec_node *const *items = NULL, *alone = NULL;
    uint32_t count = 0;
    MYR_TRY(get_items(spec, map, key, required, "a list of numbers", &items, &count, &alone, err));
    if (count == 0) return MYR_OK;
    double *values = myr_arena_calloc(spec->arena, count, sizeof *values);
    if (values == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", spec->name);
    for (uint32_t i = 0; i < count; i++) {
        MYR_TRY(node_double(spec, items[i], key, -1e308, 1e308, &values[i], err));
    }
    *out = values;
    *out_count = count;
    return MYR_OK;
}
