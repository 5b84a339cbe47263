/* What the two files of the LightGBM reader share: lines, tokens, and one tree. Not for other directories. */
#ifndef MYR_IMPORT_LIGHTGBM_H
#define MYR_IMPORT_LIGHTGBM_H

#include "import/internal.h"

/* Lines of the file, one after the other. */
typedef struct myr_lightgbm_reader {
    const myr_import_src *src;
    size_t at;     /* byte of the next line */
    size_t begin;  /* byte at which the last line began */
    uint32_t line; /* its number, from 1 */
    myr_arena *arena;
    uint32_t feature_count;
    unsigned char *seen; /* scratch of the shape check, for room splits and leaves */
    int32_t *stack;
    uint32_t room;
    myr_err *err;
} myr_lightgbm_reader;

/* The next line without its end (LF or CR LF); false at the end of the file. */
bool myr_lightgbm_line(myr_lightgbm_reader *reader, myr_str *out_line);
/* Step back to the beginning of the last line. */
void myr_lightgbm_unread(myr_lightgbm_reader *reader);
/* The next of the tokens that blanks separate; false when there is none. */
bool myr_lightgbm_token(myr_str *rest, myr_str *out_token);
/* A line as key and value at its first '='; false if it has none. */
bool myr_lightgbm_pair(myr_str line, myr_str *out_key, myr_str *out_value);

/*
 * Read the fields of one tree, from the line behind "Tree=" to the empty line that ends it, into *out (but `output`).
 * Errors: BAD_FORMAT names file, tree, node, field and value; UNSUPPORTED for linear trees; TOO_LARGE; NO_MEMORY.
 */
myr_rc myr_lightgbm_tree(myr_lightgbm_reader *reader, uint32_t tree_idx, myr_tree *out);

/*
 * Read the names of categories, from what stands behind "end of trees", into out->desc.categories. feature_count and
 * feature_names are set. lightgbm_names.c
 */
myr_rc myr_lightgbm_names(myr_lightgbm_reader *reader, myr_str feature_infos, myr_imported *out);

#endif
