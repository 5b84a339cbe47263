/*
 * The lists of a description become the section `names`: each list in the order of its codes, and an index by hash.
 * What is written is canonical, so the same lists give the same bytes.
 */
#include "model/names.h"

#include <stdlib.h>
#include <string.h>

/* One name while the section is made. */
typedef struct build_item {
    uint32_t hash;
    uint32_t code;
    uint32_t kind;
    myr_str text;
    char room[NAMES_TEXT_BYTES]; /* of a number, where it was not written canonically */
} build_item;

/* A feature that has names, and its column. */
typedef struct build_feature {
    uint32_t column;
    uint32_t feature;
} build_feature;

typedef struct names_build {
    const section_source *source;
    build_feature *features; /* by column */
    names_head head;
    build_item *items; /* of one feature */
    unsigned char *bytes;
    names_map map;
    uint32_t names_used, texts_used;
    myr_err *err;
} names_build;

static const myr_category_names *build_list(const names_build *b, uint32_t feature)
{
    return &b->source->desc->categories[feature];
}

/* ---- what there is ---- */

static int build_compare_features(const void *a, const void *b)
{
    const build_feature *x = a, *y = b;
    return x->column < y->column ? -1 : x->column > y->column;
}

static myr_rc build_find_features(names_build *b)
{
    const myr_model_desc *desc = b->source->desc;
    uint32_t count = 0;
    for (uint32_t j = 0; j < desc->feature_count; j++) {
        if (build_list(b, j)->count == 0) continue;
        b->features[count++] = (build_feature){section_column(b->source, j), j};
    }
    if (count > 1) qsort(b->features, count, sizeof *b->features, build_compare_features);
    for (uint32_t k = 1; k < count; k++) {
        if (b->features[k].column != b->features[k - 1].column) continue;
        MYR_FAIL(b->err, BAD_INPUT, "features %u and %u have names and are both column %u", b->features[k - 1].feature,
                 b->features[k].feature, b->features[k].column);
    }
    b->head.column_count = count;
    return MYR_OK;
}

/* ---- one feature ---- */

static myr_rc build_item_fill(const names_build *b, uint32_t feature, uint32_t code, build_item *item)
{
    const myr_category_names *list = build_list(b, feature);
    myr_str given = myr_str_of(list->names[code]);
    item->code = code;
    item->kind = list->kinds != NULL ? list->kinds[code] : MYR_CATEGORY_TEXT;
    if (given.size > MYR_CATEGORY_NAME_BYTES_MAX) {
        MYR_FAIL(b->err, TOO_LARGE, "feature %u, category %u: its name has %zu bytes, at most %d", feature, code,
                 given.size, MYR_CATEGORY_NAME_BYTES_MAX);
    }
    if (!myr_utf8_is_valid(given)) {
        MYR_FAIL(b->err, BAD_INPUT, "feature %u, category %u: its name is not UTF-8", feature, code);
    }
    if (!myr_names_canonical((myr_category_kind)item->kind, given, item->room, &item->text)) {
        MYR_FAIL(b->err, BAD_INPUT, "feature %u, category %u: '" MYR_STR_FMT "' is not of kind %u", feature, code,
                 MYR_STR_ARG(given), item->kind);
    }
    item->hash = names_hash((myr_category_kind)item->kind, item->text);
    return MYR_OK;
}

static int build_compare_items(const void *a, const void *b)
{
    const build_item *x = a, *y = b;
    return myr_names_compare(x->hash, x->kind, x->text, y->hash, y->kind, y->text);
}

/* The names of one feature, in the order of codes. */
static myr_rc build_items(names_build *b, uint32_t feature)
{
    const myr_category_names *list = build_list(b, feature);
    for (uint32_t code = 0; code < list->count; code++) {
        MYR_TRY(build_item_fill(b, feature, code, &b->items[code]));
    }
    return MYR_OK;
}

/* Adds one feature to the head's counts. */
static myr_rc build_measure(names_build *b, uint32_t feature)
{
    const myr_category_names *list = build_list(b, feature);
    MYR_TRY(build_items(b, feature));
    uint64_t bytes = b->head.text_bytes;
    for (uint32_t code = 0; code < list->count; code++)
        bytes += b->items[code].text.size;
    uint64_t names = (uint64_t)b->head.name_count + list->count;
    if (bytes > MYR_NAMES_TEXT_BYTES_MAX || names > UINT32_MAX) {
        MYR_FAIL(b->err, TOO_LARGE, "the names of categories up to feature %u have %llu bytes, at most %d", feature,
                 (unsigned long long)bytes, MYR_NAMES_TEXT_BYTES_MAX);
    }
    b->head.text_bytes = (uint32_t)bytes;
    b->head.name_count = (uint32_t)names;
    return MYR_OK;
}

/* Texts in the order of codes, then entries in that of hashes. Items are sorted last: they hold the texts. */
static myr_rc build_write(names_build *b, uint32_t place)
{
    uint32_t feature = b->features[place].feature;
    uint32_t count = build_list(b, feature)->count;
    names_column *column = (names_column *)(b->bytes + sizeof(names_head)) + place;
    uint32_t *ends = (uint32_t *)(b->bytes + b->map.ends_at) + b->names_used;
    names_entry *entries = (names_entry *)(b->bytes + b->map.entries_at) + b->names_used;
    *column = (names_column){.column = b->features[place].column, .first = b->names_used, .count = count};
    MYR_TRY(build_items(b, feature));
    for (uint32_t code = 0; code < count; code++) {
        myr_str text = b->items[code].text;
        if (text.size > 0) memcpy(b->bytes + b->map.texts_at + b->texts_used, text.data, text.size);
        b->texts_used += (uint32_t)text.size;
        ends[code] = b->texts_used;
        b->items[code].text.data = (const char *)b->bytes + b->map.texts_at + b->texts_used - text.size;
        column->kinds |= 1u << b->items[code].kind;
    }
    qsort(b->items, count, sizeof *b->items, build_compare_items); /* which moves the rooms: texts point elsewhere */
    for (uint32_t i = 0; i < count; i++) {
        const build_item *item = &b->items[i];
        entries[i] = (names_entry){item->hash, item->code | item->kind << NAMES_KIND_SHIFT};
        if (i > 0 && build_compare_items(&b->items[i - 1], item) == 0) {
            uint32_t other = b->items[i - 1].code;
            MYR_FAIL(b->err, BAD_INPUT, "feature %u: categories %u and %u are both '" MYR_STR_FMT "'", feature,
                     other < item->code ? other : item->code, other < item->code ? item->code : other,
                     MYR_STR_ARG(item->text));
        }
    }
    b->names_used += count;
    return MYR_OK;
}

/* ---- all of it ---- */

static myr_rc build_room(names_build *b, myr_mem *items)
{
    uint32_t most = 0;
    for (uint32_t k = 0; k < b->head.column_count; k++) {
        uint32_t count = build_list(b, b->features[k].feature)->count;
        if (count > MYR_CATEGORY_MAX) {
            MYR_FAIL(b->err, TOO_LARGE, "feature %u has %u categories, at most %d", b->features[k].feature, count,
                     MYR_CATEGORY_MAX);
        }
        most = count > most ? count : most;
    }
    *items = myr_calloc(most, sizeof *b->items);
    if (*items == NULL) MYR_FAIL(b->err, NO_MEMORY, "no memory for %u categories", most);
    b->items = *items;
    return MYR_OK;
}

static myr_rc build_section(names_build *b, myr_mem *bytes)
{
    for (uint32_t k = 0; k < b->head.column_count; k++) {
        MYR_TRY(build_measure(b, b->features[k].feature));
    }
    b->map = names_map_of(&b->head);
    b->head.frame = (section_head){SECTION_NAMES_MAGIC, SECTION_NAMES_VERSION, b->map.size};
    *bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, b->map.size);
    if (*bytes == NULL) {
        MYR_FAIL(b->err, NO_MEMORY, "no memory for %llu bytes of names", (unsigned long long)b->map.size);
    }
    memset(*bytes, 0, b->map.size);
    b->bytes = *bytes;
    memcpy(b->bytes, &b->head, sizeof b->head);
    for (uint32_t k = 0; k < b->head.column_count; k++) {
        MYR_TRY(build_write(b, k));
    }
    MYR_ASSERT(b->names_used == b->head.name_count && b->texts_used == b->head.text_bytes);
    return MYR_OK;
}

myr_rc myr_names_build(const section_source *source, unsigned char **out, size_t *out_size, myr_err *err)
{
    names_build b = {.source = source, .err = err};
    if (source->desc->categories == NULL || source->desc->feature_count == 0) return MYR_OK;
    MYR_AUTO(myr_mem) features = myr_calloc(source->desc->feature_count, sizeof *b.features);
    MYR_AUTO(myr_mem) items = NULL;
    MYR_AUTO(myr_mem) bytes = NULL;
    if (features == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u features", source->desc->feature_count);
    b.features = features;
    MYR_TRY(build_find_features(&b));
    if (b.head.column_count == 0) return MYR_OK;
    MYR_TRY(build_room(&b, &items));
    MYR_TRY(build_section(&b, &bytes));
    *out = bytes;
    *out_size = b.map.size;
    bytes = NULL;
    return MYR_OK;
}
