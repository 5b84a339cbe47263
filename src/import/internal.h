/*
 * What the files of import share: one source of bytes, and one function per format that turns it into a description.
 * Not for other directories.
 */
#ifndef MYR_IMPORT_INTERNAL_H
#define MYR_IMPORT_INTERNAL_H

#include "import/import.h"

/* The bytes of one model file: borrowed for the call, not NUL-terminated, hostile. `name` stands first in messages. */
typedef struct myr_import_src {
    const char *name;
    const char *data;
    size_t size;
    const myr_import_opts *opts; /* never NULL */
} myr_import_src;

/*
 * Read one format. `out` comes with `arena` and `format` set and everything else zero; the reader allocates from
 * out->arena alone and sets algorithm, objective, feature_count, desc, and feature_names (feature_count names, copied,
 * NUL-terminated) or leaves feature_names NULL when the file has none (the caller then makes f0, f1, …).
 * On success every tree of `desc` is sound: each split and each leaf hangs below exactly one parent, features are below
 * feature_count, words of category sets are in range. The caller of these checks names for length and repeats.
 * Ownership: *out is freed by the caller, whatever the result. Errors: as myr_import; src->name begins each message.
 */
myr_rc myr_import_lightgbm(const myr_import_src *src, myr_imported *out, myr_err *err);
myr_rc myr_import_xgboost(const myr_import_src *src, myr_imported *out, myr_err *err); /* out->format: JSON or UBJ */
myr_rc myr_import_linear(const myr_import_src *src, myr_imported *out, myr_err *err);
myr_rc myr_import_onnx(const myr_import_src *src, myr_imported *out, myr_err *err);

/* BAD_INPUT if the caller gave names, but not `feature_count` of them. */
myr_rc myr_import_check_name_count(const myr_import_src *src, uint32_t feature_count, myr_err *err);

#endif
