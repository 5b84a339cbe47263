/*
 * What follows a compiled model: optional sections, each beginning on a multiple of MYR_MODEL_ALIGN with a
 * `section_head`, in the order of `section_kind`. The model's header says by its flags which of them are there, and
 * `header.size_bytes` is the model alone, so the first section begins there.
 *
 * To add one: a kind here, a flag in layout.h, and a row in section.c with two functions,
 *   build  writes the section (head included, its size a multiple of MYR_MODEL_ALIGN, padding zero) into bytes of its
 *          own, or leaves *out NULL if this model needs none;
 *   check  takes untrusted bytes whose head (magic, version, size) is checked already, and checks all the rest;
 * and `myr_section_find` gives the section of a checked model to whoever reads it.
 */
#ifndef MYR_MODEL_SECTION_H
#define MYR_MODEL_SECTION_H

#include "model/layout.h"

typedef enum section_kind { SECTION_NAMES, SECTION_EXPLAIN, SECTION_COUNT } section_kind;

typedef struct section_head {
    uint32_t magic;
    uint32_t version;
    uint64_t size_bytes; /* head and padding included */
} section_head;

_Static_assert(sizeof(section_head) == 16, "the layout is frozen");

#define SECTION_NAMES_MAGIC     0x4e52594du /* "MYRN" */
#define SECTION_NAMES_VERSION   1
#define SECTION_EXPLAIN_MAGIC   0x4552594du /* "MYRE" */
#define SECTION_EXPLAIN_VERSION 1

/* What a section is built from; the model itself was compiled without an error before. */
typedef struct section_source {
    const myr_model_desc *desc;
    const uint32_t *feature_map; /* NULL: feature j is column j */
    uint32_t column_count;
    const myr_compile_opts *opts; /* never NULL */
} section_source;

static inline uint32_t section_column(const section_source *s, uint32_t feature)
{
    return s->feature_map != NULL ? s->feature_map[feature] : feature;
}

/*
 * Put the sections that the source asks for behind a compiled model. Ownership: *bytes is replaced (the old freed) only
 * when all went well. Errors: those of the sections' builders; NO_MEMORY.
 */
myr_rc myr_sections_append(const section_source *source, unsigned char **bytes, size_t *size_bytes, myr_err *err);

/* Everything behind the first h->size_bytes of untrusted bytes; h is checked. Errors: BAD_FORMAT, UNSUPPORTED. */
myr_rc myr_sections_check(const model_header *h, const unsigned char *bytes, size_t size_bytes, myr_err *err);

/*
 * The section of a checked model and a copy of its head; NULL if it has none (or its pages have turned to zeros).
 * Thread: any. Reads the header, and the heads up to the section.
 */
const unsigned char *myr_section_find(const myr_model *model, section_kind kind, section_head *out_head);

#endif
