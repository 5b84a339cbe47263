/*
 * Names of categories as a section of a compiled model. Private to model.
 *
 *   head            32 bytes: what every section begins with, then the counts
 *   columns         16 bytes each, ascending: those that have names
 *   entries         8 bytes a name: hash and code, by column, then by hash, kind and text
 *   ends            4 bytes a name: where its text ends, by column, then by code
 *   texts           one after the other, without gaps; then zeros to a multiple of 64
 *
 * A look-up halves the hashes of its column, which lie side by side, then compares one text.
 */
#ifndef MYR_MODEL_NAMES_H
#define MYR_MODEL_NAMES_H

#include "model/section.h"

typedef struct names_head {
    section_head frame;
    uint32_t column_count;
    uint32_t name_count; /* of all columns */
    uint32_t text_bytes;
    uint32_t zero;
} names_head;

typedef struct names_column {
    uint32_t column;
    uint32_t first; /* of its entries and ends */
    uint32_t count;
    uint32_t kinds; /* a bit for each myr_category_kind that occurs */
} names_column;

typedef struct names_entry {
    uint32_t hash;
    uint32_t code; /* below the count; the kind stands above NAMES_KIND_SHIFT */
} names_entry;
#define NAMES_KIND_SHIFT 24
#define NAMES_CODE_MASK  ((1u << NAMES_KIND_SHIFT) - 1)
/* NOLINTNEXTLINE(misc-redundant-expression): two limits that happen to be equal */
_Static_assert(MYR_CATEGORY_MAX <= 1 << NAMES_KIND_SHIFT, "a code and its kind share a word");
_Static_assert(sizeof(names_head) == 32 && sizeof(names_column) == 16 && sizeof(names_entry) == 8,
               "the layout is frozen");

/* The longest text of a number or a truth value, with NUL. */
#define NAMES_TEXT_BYTES MYR_DOUBLE_TEXT_BYTES

/* Where things lie. The counts are 32-bit: no sum can wrap. */
typedef struct names_map {
    uint64_t entries_at, ends_at, texts_at, texts_end, size;
} names_map;
static inline names_map names_map_of(const names_head *head)
{
    names_map map;
    map.entries_at = sizeof *head + (uint64_t)head->column_count * sizeof(names_column);
    map.ends_at = map.entries_at + (uint64_t)head->name_count * sizeof(names_entry);
    map.texts_at = map.ends_at + (uint64_t)head->name_count * sizeof(uint32_t);
    map.texts_end = map.texts_at + head->text_bytes;
    map.size = model_round_up(map.texts_end);
    return map;
}

static inline uint32_t names_hash(myr_category_kind kind, myr_str text)
{
    return (uint32_t)myr_hash64(text.data, text.size, (uint64_t)kind);
}

/* The text under which a category of the kind is kept; false: the text is none of the kind. `room`: a number's text. */
bool myr_names_canonical(myr_category_kind kind, myr_str text, char room[NAMES_TEXT_BYTES], myr_str *out);
/* The order of entries: hash, kind, text. Two that are equal would be one category with two codes. */
int myr_names_compare(uint32_t a_hash, uint32_t a_kind, myr_str a, uint32_t b_hash, uint32_t b_kind, myr_str b);

/*
 * The two functions of the section. build: BAD_INPUT names feature and category (twice there, not UTF-8, no number);
 * TOO_LARGE; NO_MEMORY. check: BAD_FORMAT.
 */
myr_rc myr_names_build(const section_source *source, unsigned char **out, size_t *out_size, myr_err *err);
myr_rc myr_names_check(const model_header *h, const unsigned char *bytes, uint64_t size_bytes, myr_err *err);

#endif
