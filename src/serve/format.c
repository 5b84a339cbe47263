/* The forms of rows over REST: which one a body has (Content-Type), which one its answer gets (Accept). */
#include "serve/internal.h"

#include <string.h>
#include <strings.h>

/* Names are compared without parameters (charset …) and case. The first name of a form is the one that answers have. */
static const struct {
    const char *type;
    serve_format format;
} format_types[] = {
    {SERVE_JSON, SERVE_AS_JSON},
    {"text/csv", SERVE_AS_CSV},
    {"application/x-ndjson", SERVE_AS_LINES},
    {"application/ndjson", SERVE_AS_LINES},
    {"application/jsonl", SERVE_AS_LINES},
    {"application/jsonlines", SERVE_AS_LINES},
    {"text/event-stream", SERVE_AS_EVENTS},
    {"text/json", SERVE_AS_JSON},
    {"application/x-www-form-urlencoded", SERVE_AS_JSON}, /* what curl -d says of anything */
};

const char *myr_serve_format_type(serve_format format)
{
    size_t i = 0;
    while (format_types[i].format != format)
        i++;
    return format_types[i].type;
}

/* Of "text/csv; charset=utf-8"; false: no form of ours. */
static bool format_parse(myr_str text, serve_format *out)
{
    myr_str name;
    if (!myr_str_split(&text, ';', &name)) return false;
    name = myr_str_trim(name);
    for (size_t i = 0; i < MYR_COUNT_OF(format_types); i++) {
        const char *type = format_types[i].type;
        if (name.size == strlen(type) && strncasecmp(name.data, type, name.size) == 0) {
            *out = format_types[i].format;
            return true;
        }
    }
    return false;
}

myr_rc myr_serve_body_format(myr_req *req, unsigned takes, serve_format *out, myr_err *err)
{
    const char *type = myr_req_header(req, "Content-Type");
    serve_format found = SERVE_AS_JSON;
    bool is_known = type == NULL || format_parse(myr_str_of(type), &found);
    if ((takes & SERVE_TAKES_EXACT) != 0) {
        size_t size = strlen(myr_serve_format_type(found));
        is_known = type != NULL && is_known && strncasecmp(type, myr_serve_format_type(found), size) == 0;
    }
    if (is_known && (takes & 1u << found) != 0) {
        *out = found;
        return MYR_OK;
    }
    MYR_FAIL(err, BAD_TYPE, "Content-Type %.100s is not taken here: send " SERVE_JSON "%s%s", type != NULL ? type : "",
             (takes & 1u << SERVE_AS_CSV) != 0 ? ", text/csv" : "",
             (takes & 1u << SERVE_AS_LINES) != 0 ? ", application/x-ndjson" : "");
}

/* The weight of a part of Accept, "text/csv;q=0.5"; 1 if it has none. */
static double format_weight(myr_str part)
{
    myr_str rest = part, piece;
    double weight = 1;
    while (myr_str_split(&rest, ';', &piece)) {
        piece = myr_str_trim(piece);
        if (piece.size < 3 || (piece.data[0] != 'q' && piece.data[0] != 'Q') || piece.data[1] != '=') continue;
        if (!myr_parse_double(myr_str_make(piece.data + 2, piece.size - 2), &weight) || !(weight >= 0)) weight = 0;
    }
    return weight;
}

serve_format myr_serve_answer_format(myr_req *req, serve_format body)
{
    const char *accept = myr_req_header(req, "Accept");
    myr_str rest = myr_str_of(accept), part;
    double best = 0;
    serve_format chosen = body; /* nobody asks, or for nothing that we have */
    while (accept != NULL && myr_str_split(&rest, ',', &part)) {
        serve_format found = body;
        double weight = format_weight(part);
        if (weight <= best) continue; /* of equals the first */
        if (!format_parse(part, &found) && !myr_str_starts_with(myr_str_trim(part), "*/*")) continue;
        best = weight;
        chosen = found;
    }
    return chosen;
}
