/*
 * A reader of the XML that object stores answer with: elements, attributes and texts. What else there is in XML (a
 * document type, entities of one's own, comments, CDATA) none of them sends, and is refused.
 */
#include <string.h>

#include "object/internal.h"

#define XML_DEPTH_MAX      16
#define XML_PATH_BYTES_MAX 512
#define XML_ENTITY_BYTES   10 /* of the longest, `&#x10FFFF;` */

typedef struct xml_reader {
    const char *start, *at, *end;
    char path[XML_PATH_BYTES_MAX]; /* names of the open elements, with slashes */
    size_t ends[XML_DEPTH_MAX];    /* of each, in path */
    bool is_encoded[XML_DEPTH_MAX];
    size_t depth;
    bool has_text; /* the element that is open has no elements so far */
    myr_buf text;
    object_element_fn fn;
    void *ctx;
} xml_reader;

static myr_rc xml_fail(const xml_reader *reader, const char *why, myr_err *err)
{
    MYR_FAIL(err, BAD_FORMAT, "XML, byte %zu: %s", (size_t)(reader->at - reader->start), why);
}

static bool xml_starts(const xml_reader *reader, const char *text)
{
    return myr_str_starts_with(myr_str_make(reader->at, (size_t)(reader->end - reader->at)), text);
}

static bool xml_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void xml_skip_blanks(xml_reader *reader)
{
    while (reader->at < reader->end && xml_is_blank(*reader->at))
        reader->at++;
}

static bool xml_is_name(char c, bool is_first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!is_first && ((c >= '0' && c <= '9') || c == '-' || c == '.'));
}

static myr_rc xml_name(xml_reader *reader, myr_str *out, myr_err *err)
{
    const char *start = reader->at;
    while (reader->at < reader->end && xml_is_name(*reader->at, reader->at == start))
        reader->at++;
    if (reader->at == start) return xml_fail(reader, "a name is missing", err);
    *out = myr_str_make(start, (size_t)(reader->at - start));
    return MYR_OK;
}

/* ---- texts ---- */

static void xml_utf8(myr_buf *out, uint32_t c)
{
    if (c < 0x80) {
        myr_buf_putc(out, (char)c);
    } else if (c < 0x800) {
        const char bytes[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 63))};
        myr_buf_append(out, bytes, sizeof bytes);
    } else if (c < 0x10000) {
        const char bytes[3] = {(char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))};
        myr_buf_append(out, bytes, sizeof bytes);
    } else {
        const char bytes[4] = {(char)(0xF0 | c >> 18), (char)(0x80 | (c >> 12 & 63)), (char)(0x80 | (c >> 6 & 63)),
                               (char)(0x80 | (c & 63))};
        myr_buf_append(out, bytes, sizeof bytes);
    }
}

/* `#10` or `#xA`, without its ampersand and semicolon. */
static bool xml_number(myr_str name, uint32_t *out)
{
    bool is_hex = name.size > 2 && name.data[1] == 'x';
    uint32_t value = 0;
    size_t first = is_hex ? 2 : 1;
    for (size_t i = first; i < name.size; i++) {
        char c = name.data[i];
        uint32_t digit = 16;
        if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
        if (is_hex && c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a' + 10);
        if (is_hex && c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A' + 10);
        if (digit == 16) return false;
        value = value * (is_hex ? 16 : 10) + digit; /* of at most 7 digits: an entity is not longer */
    }
    *out = value;
    return name.size > first && value > 0 && value <= 0x10FFFF && !(value >= 0xD800 && value <= 0xDFFF);
}

static myr_rc xml_entity(xml_reader *reader, myr_err *err)
{
    static const struct {
        const char *name;
        char c;
    } known[] = {{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}};
    size_t left = (size_t)(reader->end - reader->at);
    const char *end = memchr(reader->at, ';', left < XML_ENTITY_BYTES ? left : XML_ENTITY_BYTES);
    if (end == NULL) return xml_fail(reader, "an entity has no end", err);
    myr_str name = myr_str_make(reader->at + 1, (size_t)(end - reader->at - 1));
    uint32_t c = 0;
    for (size_t i = 0; i < MYR_COUNT_OF(known); i++) {
        if (myr_str_is(name, known[i].name)) c = (unsigned char)known[i].c;
    }
    if (c == 0 && !(name.size > 1 && name.data[0] == '#' && xml_number(name, &c)))
        return xml_fail(reader, "an entity that is not known", err);
    xml_utf8(&reader->text, c);
    reader->at = end + 1;
    return MYR_OK;
}

static myr_rc xml_text(xml_reader *reader, myr_err *err)
{
    while (reader->at < reader->end && *reader->at != '<') {
        if (*reader->at == '&') {
            MYR_TRY(xml_entity(reader, err));
            continue;
        }
        const char *start = reader->at;
        while (reader->at < reader->end && *reader->at != '<' && *reader->at != '&')
            reader->at++;
        myr_buf_append(&reader->text, start, (size_t)(reader->at - start));
    }
    return myr_buf_check(&reader->text, err);
}

/* ---- elements ---- */

/* Name="value" pairs up to the end of the tag. */
static myr_rc xml_attributes(xml_reader *reader, bool *out_is_encoded, myr_err *err)
{
    for (;;) {
        const char *before = reader->at;
        myr_str name;
        xml_skip_blanks(reader);
        if (reader->at == reader->end) return xml_fail(reader, "a tag has no end", err);
        if (*reader->at == '>' || *reader->at == '/' || *reader->at == '?') return MYR_OK;
        if (reader->at == before) return xml_fail(reader, "a blank is missing in a tag", err);
        MYR_TRY(xml_name(reader, &name, err));
        if (!xml_starts(reader, "=\"") && !xml_starts(reader, "='"))
            return xml_fail(reader, "an attribute has no value", err);
        char quote = reader->at[1];
        const char *value = reader->at + 2, *end = memchr(value, quote, (size_t)(reader->end - value));
        if (end == NULL || memchr(value, '<', (size_t)(end - value)) != NULL)
            return xml_fail(reader, "an attribute has no end", err);
        if (myr_str_is(name, "Encoded") && myr_str_is(myr_str_make(value, (size_t)(end - value)), "true"))
            *out_is_encoded = true;
        reader->at = end + 1;
    }
}

static myr_rc xml_close(xml_reader *reader, myr_err *err)
{
    size_t i = --reader->depth;
    object_element element = {.path = myr_str_make(reader->path, reader->ends[i]),
                              .text = reader->has_text ? myr_str_make(reader->text.data, reader->text.size)
                                                       : myr_str_make("", 0),
                              .is_encoded = reader->is_encoded[i]};
    if (element.text.data == NULL) element.text.data = "";
    MYR_TRY(reader->fn(reader->ctx, &element, err));
    reader->has_text = false;
    myr_buf_clear(&reader->text);
    return MYR_OK;
}

static myr_rc xml_open_tag(xml_reader *reader, myr_err *err)
{
    myr_str name;
    bool is_encoded = false;
    reader->at++; /* < */
    MYR_TRY(xml_name(reader, &name, err));
    size_t before = reader->depth > 0 ? reader->ends[reader->depth - 1] : 0;
    if (reader->depth == XML_DEPTH_MAX || name.size + 1 > sizeof reader->path - before)
        return xml_fail(reader, "elements are nested too deep", err);
    if (before > 0) reader->path[before++] = '/';
    memcpy(reader->path + before, name.data, name.size);
    MYR_TRY(xml_attributes(reader, &is_encoded, err));
    bool is_empty = *reader->at == '/';
    reader->at += is_empty ? 1 : 0;
    if (reader->at == reader->end || *reader->at != '>') return xml_fail(reader, "a tag has no end", err);
    reader->at++;
    reader->ends[reader->depth] = before + name.size;
    reader->is_encoded[reader->depth++] = is_encoded;
    reader->has_text = true;
    myr_buf_clear(&reader->text);
    return is_empty ? xml_close(reader, err) : MYR_OK;
}

static myr_rc xml_close_tag(xml_reader *reader, myr_err *err)
{
    myr_str name;
    reader->at += 2; /* </ */
    MYR_TRY(xml_name(reader, &name, err));
    xml_skip_blanks(reader);
    if (reader->at == reader->end || *reader->at != '>') return xml_fail(reader, "a tag has no end", err);
    if (reader->depth == 0) return xml_fail(reader, "an element ends that has not begun", err);
    size_t before = reader->depth > 1 ? reader->ends[reader->depth - 2] + 1 : 0;
    if (!myr_str_equal(name, myr_str_make(reader->path + before, reader->ends[reader->depth - 1] - before)))
        return xml_fail(reader, "another element ends than the one that is open", err);
    reader->at++;
    return xml_close(reader, err);
}

/* A byte order mark and `<?xml …?>` may stand in front. */
static myr_rc xml_prolog(xml_reader *reader, myr_err *err)
{
    bool unused = false;
    if (xml_starts(reader, "\xEF\xBB\xBF")) reader->at += 3;
    if (xml_starts(reader, "<?xml")) {
        reader->at += 5;
        MYR_TRY(xml_attributes(reader, &unused, err));
        if (!xml_starts(reader, "?>")) return xml_fail(reader, "the declaration has no end", err);
        reader->at += 2;
    }
    xml_skip_blanks(reader);
    return MYR_OK;
}

static myr_rc xml_read(xml_reader *reader, myr_err *err)
{
    MYR_TRY(xml_prolog(reader, err));
    if (reader->at == reader->end || *reader->at != '<') return xml_fail(reader, "there is no element", err);
    do {
        if (reader->at == reader->end) return xml_fail(reader, "it ends too early", err);
        if (*reader->at != '<')
            MYR_TRY(xml_text(reader, err));
        else if (xml_starts(reader, "</"))
            MYR_TRY(xml_close_tag(reader, err));
        else
            MYR_TRY(xml_open_tag(reader, err));
    } while (reader->depth > 0);
    xml_skip_blanks(reader);
    return reader->at == reader->end ? MYR_OK : xml_fail(reader, "something follows the document", err);
}

myr_rc myr_object_xml_read(myr_str text, object_element_fn fn, void *ctx, myr_err *err)
{
    xml_reader reader = {.fn = fn, .ctx = ctx};
    if (text.data == NULL) text = myr_str_of("");
    reader.start = reader.at = text.data;
    reader.end = text.data + text.size;
    if (!myr_utf8_is_valid(text)) MYR_FAIL(err, BAD_FORMAT, "XML: it is not UTF-8");
    myr_rc rc = xml_read(&reader, err);
    myr_buf_fini(&reader.text);
    return rc;
}

void myr_object_xml_text(myr_buf *out, myr_str text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '&')
            myr_buf_puts(out, "&amp;");
        else if (c == '<')
            myr_buf_puts(out, "&lt;");
        else if (c == '>')
            myr_buf_puts(out, "&gt;");
        else
            myr_buf_putc(out, c);
    }
}
