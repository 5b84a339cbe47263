/*
 * The usual V2 request, read in one pass: known fields, each once, shape before data, ASCII without escapes. It is what
 * clients send nearly always, and costs two thirds of what a document and walking it cost. Anything else is left to
 * infer_decode.c, which is also the judge of what is wrong: nothing here makes an error. tests/fuzz holds the two to
 * the same rows.
 *
 * The text is followed by a NUL at its end or after the binary part behind it, so reading stops; whether it stopped
 * inside of the text is looked at once, at the end.
 */
#include "serve/infer_inside.h"

#include <string.h>

typedef struct infer_scanner {
    const char *at, *end;
    myr_arena *arena;
} infer_scanner;

#define SCAN_END        (-1) /* of an object */
#define SCAN_BAD        (-2)
#define SCAN_DIGITS_MAX 15 /* of a number read here: below 2^53 it is a double, as powers of ten up to 10^22 are */
#define SCAN_WORD(text)                                                                                                \
    {                                                                                                                  \
        (text), sizeof(text) - 1                                                                                       \
    }

/* The bytes of a text of the usual form. */
static const bool scan_is_plain[256] = {
    [0x20 ... '"' - 1] = true, ['"' + 1 ... '\\' - 1] = true, ['\\' + 1 ... 0x7f] = true};

/* The next byte that is no blank. */
static inline char scan_peek(infer_scanner *scanner)
{
    if ((unsigned char)*scanner->at > ' ') return *scanner->at;
    while (*scanner->at == ' ' || *scanner->at == '\n' || *scanner->at == '\r' || *scanner->at == '\t')
        scanner->at++;
    return *scanner->at;
}

static inline bool scan_take(infer_scanner *scanner, char c)
{
    if (scan_peek(scanner) != c) return false;
    scanner->at++;
    return true;
}

static bool scan_text(infer_scanner *scanner, myr_str *out)
{
    if (!scan_take(scanner, '"')) return false;
    const char *from = scanner->at;
    while (scan_is_plain[(unsigned char)*scanner->at])
        scanner->at++;
    if (*scanner->at != '"') return false;
    *out = myr_str_make(from, (size_t)(scanner->at - from));
    scanner->at++;
    return true;
}

static bool scan_word(infer_scanner *scanner, const char *word)
{
    size_t size = strlen(word);
    if (strncmp(scanner->at, word, size) != 0) return false;
    scanner->at += size;
    return true;
}

static bool scan_bool(infer_scanner *scanner, bool *out)
{
    *out = scan_peek(scanner) == 't';
    return scan_word(scanner, *out ? "true" : "false");
}

static const char *scan_digits(const char *at, uint64_t *digits)
{
    for (unsigned digit; (digit = (unsigned char)*at - (unsigned)'0') <= 9; at++)
        *digits = *digits * 10 + digit;
    return at;
}

/* A decimal of few digits, as most are: its digits and a power of ten are exact doubles, so their quotient is rounded
 * once, as it should be. */
static bool scan_decimal(infer_scanner *scanner, yyjson_val *out)
{
    static const double powers[SCAN_DIGITS_MAX + 1] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                       1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    bool is_minus = *scanner->at == '-';
    uint64_t digits = 0;
    const char *first = scanner->at + is_minus, *point = scan_digits(first, &digits);
    if (*point != '.' || point == first || (*first == '0' && point != first + 1)) return false;
    const char *end = scan_digits(point + 1, &digits);
    ptrdiff_t places = end - point - 1;
    if (places == 0 || end - first - 1 > SCAN_DIGITS_MAX || *end == 'e' || *end == 'E') return false;
    double value = (double)digits / powers[places];
    yyjson_set_real(out, is_minus ? -value : value);
    scanner->at = end;
    return true;
}

/* The same value of the same kind as yyjson makes of it in a document. */
static bool scan_number(infer_scanner *scanner, yyjson_val *out)
{
    *out = (yyjson_val){0};
    (void)scan_peek(scanner);
    if (scan_decimal(scanner, out)) return true;
    const char *end = yyjson_read_number(scanner->at, out, YYJSON_READ_NOFLAG, NULL, NULL);
    if (end == NULL) return false;
    scanner->at = end;
    return true;
}

static bool scan_value(infer_scanner *scanner, yyjson_val *out)
{
    myr_str text;
    bool is_true;
    char c = scan_peek(scanner);
    if (c == '-' || (c >= '0' && c <= '9')) return scan_number(scanner, out);
    *out = (yyjson_val){0};
    switch (c) {
    case '"':
        return scan_text(scanner, &text) && yyjson_set_strn(out, text.data, text.size);
    case 't':
    case 'f':
        return scan_bool(scanner, &is_true) && yyjson_set_bool(out, is_true);
    case 'n':
        return scan_word(scanner, "null") && yyjson_set_null(out);
    default:
        return false;
    }
}

/* The next member of an object up to its value: the place of its key among `known`. */
static int scan_member(infer_scanner *scanner, const myr_str *known, size_t count, uint32_t *seen)
{
    myr_str key;
    char c = scan_peek(scanner);
    if (c == '}') {
        scanner->at++;
        return SCAN_END;
    }
    if (*seen != 0 && !scan_take(scanner, ',')) return SCAN_BAD;
    if (!scan_text(scanner, &key) || !scan_take(scanner, ':')) return SCAN_BAD;
    for (size_t i = 0; i < count; i++) {
        if (!myr_str_equal(key, known[i])) continue;
        if ((*seen & 1u << i) != 0) return SCAN_BAD;
        *seen |= 1u << i;
        return (int)i;
    }
    return SCAN_BAD;
}

/* "[1,12]" of one or two dimensions. */
static bool scan_shape(infer_scanner *scanner, infer_tensor *tensor)
{
    yyjson_val dim;
    if (!scan_take(scanner, '[')) return false;
    do {
        if (tensor->dim_count == INFER_DIMS_MAX || !scan_number(scanner, &dim) || !yyjson_is_uint(&dim)) return false;
        tensor->dims[tensor->dim_count++] = yyjson_get_uint(&dim);
    } while (scan_take(scanner, ','));
    return scan_take(scanner, ']');
}

static bool scan_cells(infer_scanner *scanner, size_t count, yyjson_val *out)
{
    if (!scan_take(scanner, '[')) return false;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && !scan_take(scanner, ',')) return false;
        if (!scan_value(scanner, &out[i])) return false;
    }
    return scan_take(scanner, ']');
}

/* As many values as the shape says, flat or row by row. */
static bool scan_data(infer_scanner *scanner, infer_tensor *tensor)
{
    size_t left = scanner->end > scanner->at ? (size_t)(scanner->end - scanner->at) : 0;
    uint64_t rows = tensor->dims[0], width = tensor->dim_count == 2 ? tensor->dims[1] : 1;
    if (tensor->dim_count == 0 || rows == 0 || width == 0 || rows > left || width > left / rows) return false;
    yyjson_val *cells = myr_arena_alloc(scanner->arena, (size_t)(rows * width) * sizeof *cells);
    if (cells == NULL) return false;
    tensor->cells = cells;
    const char *from = scanner->at;
    bool is_nested = scan_take(scanner, '[') && scan_peek(scanner) == '[';
    if (!is_nested) {
        scanner->at = from;
        return scan_cells(scanner, (size_t)(rows * width), cells);
    }
    for (uint64_t row = 0; row < rows; row++) {
        if (row > 0 && !scan_take(scanner, ',')) return false;
        if (!scan_cells(scanner, (size_t)width, cells + row * width)) return false;
    }
    return tensor->dim_count == 2 && scan_take(scanner, ']');
}

static bool scan_input_parameters(infer_scanner *scanner, infer_tensor *tensor)
{
    static const myr_str known[] = {SCAN_WORD("binary_data_size")};
    uint32_t seen = 0;
    int at = SCAN_BAD;
    if (!scan_take(scanner, '{')) return false;
    while ((at = scan_member(scanner, known, MYR_COUNT_OF(known), &seen)) >= 0) {
        if (!scan_number(scanner, &tensor->size)) return false;
        tensor->has_size = true;
    }
    return at == SCAN_END;
}

static bool scan_input(infer_scanner *scanner, infer_tensor *tensor)
{
    static const myr_str known[] = {SCAN_WORD("name"), SCAN_WORD("shape"), SCAN_WORD("datatype"),
                                    SCAN_WORD("parameters"), SCAN_WORD("data")};
    uint32_t seen = 0;
    int at = SCAN_BAD;
    bool ok = scan_take(scanner, '{');
    myr_str text;
    while (ok && (at = scan_member(scanner, known, MYR_COUNT_OF(known), &seen)) >= 0) {
        switch (at) {
        case 0:
            ok = scan_text(scanner, &text);
            tensor->name = ok ? myr_arena_strndup(scanner->arena, text.data, text.size) : NULL;
            break;
        case 1:
            ok = scan_shape(scanner, tensor);
            break;
        case 2:
            ok = scan_text(scanner, &text);
            tensor->type = ok ? myr_serve_datatype_find(text) : NULL;
            break;
        case 3:
            ok = scan_input_parameters(scanner, tensor);
            break;
        default:
            ok = scan_data(scanner, tensor);
            break;
        }
    }
    bool is_whole = tensor->name != NULL && tensor->type != NULL && tensor->dim_count > 0;
    return ok && at == SCAN_END && is_whole && tensor->has_size == (tensor->cells == NULL);
}

static bool scan_inputs(infer_scanner *scanner, infer_scan *scan)
{
    infer_tensor **link = &scan->inputs;
    if (!scan_take(scanner, '[')) return false;
    do {
        infer_tensor *tensor = myr_arena_calloc(scanner->arena, 1, sizeof *tensor);
        if (tensor == NULL || !scan_input(scanner, tensor)) return false;
        *link = tensor;
        link = &tensor->next;
    } while (scan_take(scanner, ','));
    return scan_take(scanner, ']');
}

/* An object that has one flag or nothing. */
static bool scan_flag(infer_scanner *scanner, const char *name, infer_flag *out)
{
    const myr_str known[] = {myr_str_of(name)};
    uint32_t seen = 0;
    bool is_on;
    int at = SCAN_BAD;
    if (!scan_take(scanner, '{')) return false;
    while ((at = scan_member(scanner, known, MYR_COUNT_OF(known), &seen)) >= 0) {
        if (!scan_bool(scanner, &is_on)) return false;
        *out = is_on ? INFER_ON : INFER_OFF;
    }
    return at == SCAN_END;
}

static bool scan_outputs(infer_scanner *scanner, infer_scan *scan)
{
    static const myr_str known[] = {SCAN_WORD("name"), SCAN_WORD("parameters")};
    if (!scan_take(scanner, '[')) return false;
    do {
        uint32_t seen = 0;
        int at = SCAN_BAD;
        if (scan->output_count == MYR_OUTPUT_COUNT || !scan_take(scanner, '{')) return false;
        infer_asked *asked = &scan->outputs[scan->output_count++];
        while ((at = scan_member(scanner, known, MYR_COUNT_OF(known), &seen)) >= 0) {
            bool ok = at == 0 ? scan_text(scanner, &asked->name) : scan_flag(scanner, "binary_data", &asked->is_binary);
            if (!ok) return false;
        }
        if (at != SCAN_END || asked->name.data == NULL) return false;
    } while (scan_take(scanner, ','));
    return scan_take(scanner, ']');
}

static bool scan_request(infer_scanner *scanner, infer_scan *scan)
{
    static const myr_str known[] = {SCAN_WORD("id"), SCAN_WORD("parameters"), SCAN_WORD("inputs"),
                                    SCAN_WORD("outputs")};
    uint32_t seen = 0;
    int at = SCAN_BAD;
    bool ok = scan_take(scanner, '{');
    while (ok && (at = scan_member(scanner, known, MYR_COUNT_OF(known), &seen)) >= 0) {
        switch (at) {
        case 0:
            ok = scan_text(scanner, &scan->id);
            break;
        case 1:
            ok = scan_flag(scanner, "binary_data_output", &scan->is_binary);
            break;
        case 2:
            ok = scan_inputs(scanner, scan);
            break;
        default:
            ok = scan_outputs(scanner, scan);
            break;
        }
    }
    if (!ok || at != SCAN_END || scan->inputs == NULL || scanner->at > scanner->end) return false;
    return myr_str_trim(myr_str_make(scanner->at, (size_t)(scanner->end - scanner->at))).size == 0;
}

infer_scan *myr_serve_infer_scan(myr_arena *arena, myr_str text)
{
    infer_scanner scanner = {.at = text.data, .end = text.data + text.size, .arena = arena};
    if (text.size == 0 || text.size > INFER_SCAN_BYTES_MAX) return NULL;
    infer_scan *scan = myr_arena_calloc(arena, 1, sizeof *scan);
    return scan != NULL && scan_request(&scanner, scan) ? scan : NULL;
}

int64_t myr_serve_scan_rows(const infer_scan *scan)
{
    uint64_t rows = scan->inputs->dims[0];
    return rows < INT64_MAX ? (int64_t)rows : 0;
}
