/*
 * The face of spec: YAML files read into a tree whose every node knows its line and column, and checked access to it.
 * Errors: BAD_INPUT "train.yaml:7:3: …" with the nearest known key or the list of what is allowed.
 * Thread: a tree is immutable; any. Limits: SPEC_BYTES_MAX, SPEC_DEPTH_MAX; anchors and aliases are refused.
 */
#ifndef MYR_SPEC_SPEC_H
#define MYR_SPEC_SPEC_H

#include "base/base.h"

#define MYR_SPEC_BYTES_MAX (1 << 20)
#define MYR_SPEC_DEPTH_MAX 32

typedef enum myr_spec_kind { MYR_SPEC_SCALAR, MYR_SPEC_LIST, MYR_SPEC_MAP } myr_spec_kind;
typedef struct myr_spec_node {
    myr_spec_kind kind;
    int line, column; /* from 1 */
    const char *text; /* SCALAR; an unquoted ~, null or nothing has is_null */
    bool is_null, is_quoted;
    uint32_t count;                           /* LIST and MAP */
    const struct myr_spec_node *const *items; /* LIST: values; MAP: values */
    const struct myr_spec_node *const *keys;  /* MAP: scalars, unique */
} myr_spec_node;
typedef struct myr_spec myr_spec;

myr_rc myr_spec_load(const char *path, myr_spec **out, myr_err *err);
myr_rc myr_spec_parse(const char *name, const char *text, size_t size_bytes, myr_spec **out, myr_err *err);
void myr_spec_free(myr_spec *spec); /* NULL accepted */
typedef myr_spec *myr_spec_ptr;
static inline void myr_spec_ptr_drop(myr_spec_ptr *spec)
{
    myr_spec_free(*spec);
}
const myr_spec_node *myr_spec_root(const myr_spec *spec);
const char *myr_spec_name(const myr_spec *spec); /* for messages */

/* Say something about a node: BAD_INPUT "file:line:column: …". */
myr_rc myr_spec_fail(const myr_spec *spec, const myr_spec_node *node, myr_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The node is a map with only these keys (NULL-terminated); else an error with the nearest known one. */
myr_rc myr_spec_check_keys(const myr_spec *spec, const myr_spec_node *map, const char *const *known, myr_err *err);
const myr_spec_node *myr_spec_find(const myr_spec_node *map, const char *key); /* NULL if absent or null */

/* The same values in the same places, however they are written and wherever they stand. */
bool myr_spec_equal(const myr_spec_node *a, const myr_spec_node *b);

/* Typed reads. `key` absent: *out untouched if !required, else BAD_INPUT. Text stays the spec's. */
myr_rc myr_spec_text(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, const char **out,
                     myr_err *err);
myr_rc myr_spec_int(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, int64_t min,
                    int64_t max, int64_t *out, myr_err *err);
myr_rc myr_spec_double(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, double min,
                       double max, double *out, myr_err *err);
myr_rc myr_spec_bool(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required, bool *out,
                     myr_err *err);
/* A list of texts, or one text standing alone (a list of one). The array lives as long as the spec. */
myr_rc myr_spec_texts(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                      const char *const **out, uint32_t *out_count, myr_err *err);
/* A list of numbers, or one number. */
myr_rc myr_spec_doubles(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                        const double **out, uint32_t *out_count, myr_err *err);

#endif
