/*
 * Patterns over keys, as shells and DuckDB have them over paths: `*` and `?` do not cross a slash, `**` as a whole part
 * stands for any number of parts, `[a-z]` is one byte of a set.
 */
#include <fnmatch.h>
#include <string.h>

#include "object/internal.h"

#define MATCH_PARTS_MAX 512 /* of a key, which has 1,024 bytes */

bool myr_object_is_pattern(const char *key)
{
    return strpbrk(key, "*?[") != NULL;
}

typedef struct match_parts {
    char text[MYR_OBJECT_KEY_BYTES_MAX + 1];
    const char *items[MATCH_PARTS_MAX + 1];
    size_t count;
} match_parts;

static bool match_cut(const char *key, match_parts *out)
{
    size_t size = strlen(key);
    if (size > MYR_OBJECT_KEY_BYTES_MAX) return false;
    memcpy(out->text, key, size + 1);
    out->count = 0;
    for (char *at = out->text, *slash;; at = slash + 1) {
        if (out->count > MATCH_PARTS_MAX) return false;
        out->items[out->count++] = at;
        slash = strchr(at, '/');
        if (slash == NULL) return true;
        *slash = '\0';
    }
}

/* Part by part; after a `**` the rest is tried at each part, and only the last `**` is ever come back to. */
bool myr_object_match(const char *pattern, const char *key)
{
    match_parts p, k;
    size_t i = 0, j = 0, back_i = 0, back_j = 0;
    bool has_back = false;
    if (!match_cut(pattern, &p) || !match_cut(key, &k)) return false;
    while (j < k.count) {
        if (i < p.count && strcmp(p.items[i], "**") == 0) {
            has_back = true;
            back_i = ++i;
            back_j = j;
        } else if (i < p.count && fnmatch(p.items[i], k.items[j], FNM_NOESCAPE) == 0) {
            i++;
            j++;
        } else if (has_back && back_j < k.count) {
            i = back_i;
            j = ++back_j;
        } else {
            return false;
        }
    }
    while (i < p.count && strcmp(p.items[i], "**") == 0)
        i++;
    return i == p.count;
}
