/* What the files of advise share. */
#ifndef MYR_ADVISE_INTERNAL_H
#define MYR_ADVISE_INTERNAL_H

#include "advise/advise.h"

/* The bytes of share/advise/, compiled in by cmake/Embed.cmake. */
extern const unsigned char myr_embed_trees_yaml[];
extern const size_t myr_embed_trees_yaml_size;
extern const unsigned char myr_embed_products_yaml[];
extern const size_t myr_embed_products_yaml_size;

/* A short text of a file: not longer than max_bytes, one line, no control characters. */
myr_rc myr_advise_read_text(const myr_spec *spec, const myr_spec_node *map, const char *key, bool required,
                            size_t max_bytes, const char **out, myr_err *err);
/* A name: lower-case letters, digits and dashes, beginning with a letter. */
myr_rc myr_advise_read_name(const myr_spec *spec, const myr_spec_node *map, const char *key, const char **out,
                            myr_err *err);
/* Check `form: 1`. */
myr_rc myr_advise_read_form(const myr_spec *spec, const myr_spec_node *root, myr_err *err);

/* The parts of a tree file (file.c) and of its trees (nodes.c), then the form of the whole (check.c). */
myr_rc myr_advise_read_nodes(myr_advise_trees *trees, uint32_t tree_idx, const myr_spec_node *map, myr_err *err);
myr_rc myr_advise_check(myr_advise_trees *trees, myr_err *err);

/* A measure as typed: "250ms", "4h", "1.5s" to nanoseconds; "1000" or "1e6" to a count. False if it is none. */
bool myr_advise_parse_measure(myr_advise_unit unit, const char *text, int64_t *out);
/* "up to 100 ms" without "up to": the shortest exact form in the largest unit that divides it. */
void myr_advise_format_measure(myr_advise_unit unit, int64_t value, char *out, size_t out_bytes);
/* Nanoseconds for people: "1.23 us". */
const char *myr_advise_format_ns(double ns, char *out, size_t out_bytes);

/* The names of the options in a mask: "hourly, nightly". */
void myr_advise_mask_names(const myr_advise_question *question, uint32_t mask, myr_buf *out);
/* Whether the advice took this branch. */
bool myr_advise_took(const myr_advice *advice, uint32_t tree_idx, uint32_t node, uint32_t branch);
/* A command with {fleet} and {row} filled in. */
void myr_advise_command(const char *run, const myr_advise_facts *facts, myr_buf *out);

/* Copy bytes, not longer than the space; always NUL-terminated. */
void myr_advise_copy(char *out, size_t out_bytes, const char *text);

#endif
