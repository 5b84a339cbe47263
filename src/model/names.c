/*
 * From a text to the code of a category, by the model's own list. What a text means depends on the list: a category
 * that was a text is found by its spelling alone, one that was a number by its value, in whatever way it is written.
 * All three kinds become one canonical text each, so that a look-up is always a hash and one comparison.
 */
#include "model/names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- canonical texts ---- */

#define NAMES_DIGITS_MAX  20     /* of a whole number that keeps all its digits: int64 and uint64 */
#define NAMES_WHOLE_LIMIT 0x1p64 /* doubles below it are written as whole numbers */

/* "0", or digits without leading zero after an optional minus: then it is canonical already, all digits kept. */
static bool names_is_whole(myr_str text)
{
    size_t at = text.size > 0 && text.data[0] == '-' ? 1 : 0;
    size_t digits = text.size - at;
    if (digits == 0 || digits > NAMES_DIGITS_MAX) return false;
    if (text.data[at] == '0') return digits == 1 && at == 0;
    for (; at < text.size; at++) {
        if (text.data[at] < '0' || text.data[at] > '9') return false;
    }
    return true;
}

/* The one text of a number: "5" for 5, 5.0 and 5e0; 0 for -0.0. False: the text is none. */
static bool names_number(myr_str text, char out[NAMES_TEXT_BYTES], myr_str *out_text)
{
    double value;
    uint64_t natural;
    int64_t whole;
    if (names_is_whole(text) && (myr_parse_uint64(text, &natural) || myr_parse_int64(text, &whole))) {
        memcpy(out, text.data, text.size);
        *out_text = myr_str_make(out, text.size);
        return true;
    }
    if (!myr_parse_double(text, &value) || isnan(value)) return false;
    size_t size;
    if (fabs(value) < NAMES_WHOLE_LIMIT && floor(value) == value) {
        size = (size_t)snprintf(out, NAMES_TEXT_BYTES, "%.0f", value == 0.0 ? 0.0 : value);
    } else {
        size = myr_format_double(value, out);
    }
    MYR_ASSERT(size > 0 && size < NAMES_TEXT_BYTES);
    *out_text = myr_str_make(out, size);
    return true;
}

/* true and false, as JSON and as Python write them, and 1 and 0, which pandas takes for the same values. */
static bool names_truth(myr_str text, myr_str *out_text)
{
    static const struct {
        const char *text;
        const char *canonical;
    } words[] = {{"true", "true"},   {"True", "true"},   {"TRUE", "true"},   {"1", "true"},  {"1.0", "true"},
                 {"false", "false"}, {"False", "false"}, {"FALSE", "false"}, {"0", "false"}, {"0.0", "false"}};
    for (size_t i = 0; i < MYR_COUNT_OF(words); i++) {
        if (!myr_str_is(text, words[i].text)) continue;
        *out_text = myr_str_of(words[i].canonical);
        return true;
    }
    return false;
}

bool myr_names_canonical(myr_category_kind kind, myr_str text, char room[NAMES_TEXT_BYTES], myr_str *out)
{
    switch (kind) {
    case MYR_CATEGORY_TEXT:
        *out = text;
        return true;
    case MYR_CATEGORY_NUMBER:
        return names_number(text, room, out);
    case MYR_CATEGORY_BOOL:
        return names_truth(text, out);
    case MYR_CATEGORY_KIND_COUNT:
        break;
    }
    return false;
}

/* ---- look-up ---- */

/* A section as a look-up sees it. The head is read once, so that pages that turn to zeros give an empty one. */
typedef struct names_view {
    names_head head;
    const names_column *columns;
    const names_entry *entries;
    const uint32_t *ends;
    const char *texts;
} names_view;

static names_view names_open(const void *bytes)
{
    names_view view;
    memcpy(&view.head, bytes, sizeof view.head);
    names_map map = names_map_of(&view.head);
    const unsigned char *at = bytes;
    view.columns = (const names_column *)(at + sizeof view.head);
    view.entries = (const names_entry *)(at + map.entries_at);
    view.ends = (const uint32_t *)(at + map.ends_at);
    view.texts = (const char *)(at + map.texts_at);
    return view;
}

/* The text of name `idx` of the section. Texts lie behind each other; pages that turned to zeros give empty ones. */
static myr_str names_text(const names_view *view, uint32_t idx)
{
    uint32_t begin = idx == 0 ? 0 : view->ends[idx - 1];
    uint32_t end = view->ends[idx];
    return end > begin && end <= view->head.text_bytes ? myr_str_make(view->texts + begin, end - begin)
                                                       : myr_str_make(view->texts, 0);
}

/* The column's description, copied; false: it has no names (or its pages have turned to zeros). */
static bool names_find_column(const names_view *view, uint32_t column, names_column *out)
{
    uint32_t from = 0, to = view->head.column_count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        *out = view->columns[middle];
        if (out->column == column) return out->count > 0 && (uint64_t)out->first + out->count <= view->head.name_count;
        if (out->column < column) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    return false;
}

/* The code of a canonical text, or NaN. */
static double names_look_up(const names_view *view, const names_column *at, myr_category_kind kind, myr_str text)
{
    const names_entry *entries = view->entries + at->first;
    uint32_t hash = names_hash(kind, text);
    uint32_t from = 0, left = at->count;
    while (left > 1) { /* to the first entry whose hash is not below; without a branch that nothing could foretell */
        uint32_t half = left / 2;
        from += entries[from + half - 1].hash < hash ? half : 0;
        left -= half;
    }
    if (entries[from].hash < hash) from++;
    for (; from < at->count && entries[from].hash == hash; from++) {
        uint32_t word = entries[from].code;
        uint32_t code = word & NAMES_CODE_MASK;
        if (word >> NAMES_KIND_SHIFT == (uint32_t)kind && myr_str_equal(names_text(view, at->first + code), text)) {
            return code;
        }
    }
    return (double)NAN;
}

const myr_names *myr_model_names(const myr_model *model)
{
    section_head head;
    return (const myr_names *)(const void *)myr_section_find(model, SECTION_NAMES, &head);
}

bool myr_names_has(const myr_names *names, uint32_t column)
{
    if (names == NULL) return false;
    names_view view = names_open(names);
    names_column at;
    return names_find_column(&view, column, &at);
}

double myr_names_code(const myr_names *names, uint32_t column, myr_str text)
{
    if (names == NULL) return (double)NAN;
    names_view view = names_open(names);
    names_column at;
    if (!names_find_column(&view, column, &at)) return (double)NAN;
    for (int kind = 0; kind < MYR_CATEGORY_KIND_COUNT; kind++) {
        char room[NAMES_TEXT_BYTES];
        myr_str canonical;
        if ((at.kinds & (1u << kind)) == 0) continue;
        if (!myr_names_canonical((myr_category_kind)kind, text, room, &canonical)) continue;
        double code = names_look_up(&view, &at, (myr_category_kind)kind, canonical);
        if (!isnan(code)) return code;
    }
    return (double)NAN;
}

uint32_t myr_names_count(const myr_names *names, uint32_t column)
{
    if (names == NULL) return 0;
    names_view view = names_open(names);
    names_column at;
    return names_find_column(&view, column, &at) ? at.count : 0;
}

myr_str myr_names_text(const myr_names *names, uint32_t column, uint32_t code)
{
    names_view view = names_open(names);
    names_column at;
    if (!names_find_column(&view, column, &at) || code >= at.count) return myr_str_make("", 0);
    return names_text(&view, at.first + code);
}

bool myr_model_mark_text(const myr_model *model, uint8_t *marks)
{
    const myr_names *names = myr_model_names(model);
    myr_external external;
    bool has_text = false;
    if (myr_model_external(model, &external)) {
        for (uint32_t j = 0; j < external.feature_count; j++) {
            if ((external.columns[j] & MYR_EXTERNAL_TEXT) == 0) continue;
            marks[MYR_EXTERNAL_COLUMN(external.columns[j])] = 1;
            has_text = true;
        }
    }
    if (names == NULL) return has_text;
    names_view view = names_open(names);
    for (uint32_t k = 0; k < view.head.column_count; k++) {
        marks[view.columns[k].column] = 1;
        has_text = true;
    }
    return has_text;
}

/* ---- check ---- */

/* One name: its text lies behind the one before, its kind is known, its hash is its own. */
static myr_rc names_check_entry(const names_view *view, const names_column *at, uint32_t idx, myr_err *err)
{
    names_entry entry = view->entries[at->first + idx];
    uint32_t kind = entry.code >> NAMES_KIND_SHIFT;
    uint32_t code = entry.code & NAMES_CODE_MASK;
    if (code >= at->count || kind >= MYR_CATEGORY_KIND_COUNT || (at->kinds & (1u << kind)) == 0) {
        MYR_FAIL(err, BAD_FORMAT, "names: column %u, entry %u: code %u of %u, kind %u of 0x%x", at->column, idx, code,
                 at->count, kind, at->kinds);
    }
    myr_str text = names_text(view, at->first + code);
    char room[NAMES_TEXT_BYTES];
    myr_str canonical;
    if (text.size > MYR_CATEGORY_NAME_BYTES_MAX || !myr_utf8_is_valid(text) ||
        !myr_names_canonical((myr_category_kind)kind, text, room, &canonical) || !myr_str_equal(text, canonical)) {
        MYR_FAIL(err, BAD_FORMAT, "names: column %u, category %u: its text of %zu bytes is not one of kind %u",
                 at->column, code, text.size, kind);
    }
    if (entry.hash != names_hash((myr_category_kind)kind, text)) {
        MYR_FAIL(err, BAD_FORMAT, "names: column %u, category %u: hash 0x%08x is not its text's", at->column, code,
                 entry.hash);
    }
    return MYR_OK;
}

int myr_names_compare(uint32_t a_hash, uint32_t a_kind, myr_str a, uint32_t b_hash, uint32_t b_kind, myr_str b)
{
    if (a_hash != b_hash) return a_hash < b_hash ? -1 : 1;
    if (a_kind != b_kind) return a_kind < b_kind ? -1 : 1;
    size_t least = a.size < b.size ? a.size : b.size;
    int order = least > 0 ? memcmp(a.data, b.data, least) : 0;
    if (order != 0) return order;
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

/* Strictly ascending: so no code stands twice, and since all are below the count, each stands once. */
static myr_rc names_check_column(const names_view *view, const names_column *at, myr_err *err)
{
    uint32_t kinds = 0;
    for (uint32_t i = 0; i < at->count; i++) {
        MYR_TRY(names_check_entry(view, at, i, err));
        names_entry now = view->entries[at->first + i];
        kinds |= 1u << (now.code >> NAMES_KIND_SHIFT);
        if (i == 0) continue;
        names_entry before = view->entries[at->first + i - 1];
        int order = myr_names_compare(
            before.hash, before.code >> NAMES_KIND_SHIFT, names_text(view, at->first + (before.code & NAMES_CODE_MASK)),
            now.hash, now.code >> NAMES_KIND_SHIFT, names_text(view, at->first + (now.code & NAMES_CODE_MASK)));
        if (order >= 0) {
            MYR_FAIL(err, BAD_FORMAT, "names: column %u, entry %u is not behind the one before", at->column, i);
        }
    }
    if (kinds != at->kinds) {
        MYR_FAIL(err, BAD_FORMAT, "names: column %u has kinds 0x%x, its head says 0x%x", at->column, kinds, at->kinds);
    }
    return MYR_OK;
}

static myr_rc names_check_head(const names_head *head, uint64_t size_bytes, uint32_t column_count, myr_err *err)
{
    if (head->zero != 0) MYR_FAIL(err, BAD_FORMAT, "names: the head ends in %u, not 0", head->zero);
    if (head->column_count == 0 || head->column_count > column_count || head->text_bytes > MYR_NAMES_TEXT_BYTES_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "names: %u columns of %u, texts of %u bytes, at most %d", head->column_count,
                 column_count, head->text_bytes, MYR_NAMES_TEXT_BYTES_MAX);
    }
    uint64_t size = names_map_of(head).size;
    if (size != size_bytes) {
        MYR_FAIL(err, BAD_FORMAT, "names: %llu bytes, but the counts need %llu", (unsigned long long)size_bytes,
                 (unsigned long long)size);
    }
    return MYR_OK;
}

/* Columns ascend, share out all entries; texts share out all bytes. After it names_text can't leave the section. */
static myr_rc names_check_layout(const names_view *view, uint32_t column_count, myr_err *err)
{
    const names_head *head = &view->head;
    uint32_t used = 0;
    for (uint32_t k = 0; k < head->column_count; k++) {
        const names_column *at = &view->columns[k];
        if (at->column >= column_count || (k > 0 && at->column <= view->columns[k - 1].column)) {
            MYR_FAIL(err, BAD_FORMAT, "names: column %u of %u stands at place %u", at->column, column_count, k);
        }
        if (at->first != used || at->count == 0 || at->count > MYR_CATEGORY_MAX ||
            at->count > head->name_count - used) {
            MYR_FAIL(err, BAD_FORMAT, "names: column %u has %u names from %u, expected from %u of %u", at->column,
                     at->count, at->first, used, head->name_count);
        }
        used += at->count;
    }
    if (used != head->name_count) {
        MYR_FAIL(err, BAD_FORMAT, "names: %u names, the columns have %u", head->name_count, used);
    }
    uint32_t end = 0;
    for (uint32_t i = 0; i < head->name_count; i++) {
        if (view->ends[i] < end || view->ends[i] > head->text_bytes) {
            MYR_FAIL(err, BAD_FORMAT, "names: text %u ends at %u, after %u of %u", i, view->ends[i], end,
                     head->text_bytes);
        }
        end = view->ends[i];
    }
    if (end != head->text_bytes) {
        MYR_FAIL(err, BAD_FORMAT, "names: texts of %u bytes, the last ends at %u", head->text_bytes, end);
    }
    return MYR_OK;
}

myr_rc myr_names_check(const model_header *h, const unsigned char *bytes, uint64_t size_bytes, myr_err *err)
{
    names_head head;
    MYR_ASSERT((uintptr_t)bytes % MYR_MODEL_ALIGN == 0 && size_bytes >= sizeof head);
    memcpy(&head, bytes, sizeof head);
    MYR_TRY(names_check_head(&head, size_bytes, h->column_count, err));
    names_view view = names_open(bytes);
    MYR_TRY(names_check_layout(&view, h->column_count, err));
    for (uint32_t k = 0; k < head.column_count; k++) {
        MYR_TRY(names_check_column(&view, &view.columns[k], err));
    }
    for (uint64_t k = names_map_of(&head).texts_end; k < size_bytes; k++) {
        if (bytes[k] != 0) {
            MYR_FAIL(err, BAD_FORMAT, "names: padding byte %llu is %u, not 0", (unsigned long long)k, bytes[k]);
        }
    }
    return MYR_OK;
}
