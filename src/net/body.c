/* Compressed bodies over HTTP: a request's is expanded when its handler says so, an answer's compressed on demand. */
#include "net/coding.h"
#include "net/internal.h"

#include <string.h>
#include <strings.h>

#define BODY_ANSWER_BYTES_MIN 1024 /* smaller answers are sent as they are */

/* ---- requests ---- */

bool myr_req_is_encoded(myr_req *req)
{
    const char *name = myr_req_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING);
    return !req->is_decoded && name != NULL && strcasecmp(name, "identity") != 0;
}

myr_rc myr_req_decode_body(myr_req *req, myr_err *err)
{
    if (!myr_req_is_encoded(req)) return MYR_OK;
    const char *name = myr_req_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING);
    net_coding found = myr_net_coding_of(myr_str_trim(myr_str_of(name)));
    if (found == NET_CODING_NONE) {
        MYR_FAIL(err, UNSUPPORTED, "Content-Encoding %s is not supported: send gzip, deflate, or the body as it is",
                 name);
    }
    char *body;
    size_t body_bytes;
    MYR_TRY(myr_net_expand(req->arena, found, "the request body", myr_req_body(req),
                           (size_t)req->server->opts.body_bytes_max, &body, &body_bytes, err));
    req->body = body;
    req->body_bytes = body_bytes;
    req->body_room = body_bytes;
    req->is_decoded = true;
    return MYR_OK;
}

/* ---- answers ---- */

/* One part of Accept-Encoding, "gzip;q=0.5": a weight of zero says no. */
static net_coding body_wanted(myr_str part)
{
    myr_str rest = part, name, weight;
    double number;
    if (!myr_str_split(&rest, ';', &name)) return NET_CODING_NONE;
    while (myr_str_split(&rest, ';', &weight)) {
        weight = myr_str_trim(weight);
        if (weight.size < 2 || (weight.data[0] != 'q' && weight.data[0] != 'Q') || weight.data[1] != '=') continue;
        if (!myr_parse_double(myr_str_make(weight.data + 2, weight.size - 2), &number) || number <= 0)
            return NET_CODING_NONE;
    }
    return myr_net_coding_of(myr_str_trim(name));
}

/* gzip before deflate, whatever the order. */
static net_coding body_choose(myr_req *req)
{
    const char *text = myr_req_header(req, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    net_coding chosen = NET_CODING_NONE;
    myr_str rest = myr_str_of(text), part;
    while (text != NULL && myr_str_split(&rest, ',', &part)) {
        net_coding wanted = body_wanted(part);
        if (wanted != NET_CODING_NONE && chosen != NET_CODING_GZIP) chosen = wanted;
    }
    return chosen;
}

bool myr_req_encode_reply(myr_req *req, const char *body, size_t body_bytes, const char **out_body, size_t *out_bytes)
{
    char *text;
    if (body_bytes < BODY_ANSWER_BYTES_MIN) return false;
    net_coding chosen = body_choose(req);
    if (chosen == NET_CODING_NONE) return false;
    if (!myr_net_compress(req->arena, chosen, 0, myr_str_make(body, body_bytes), &text, out_bytes)) return false;
    myr_req_add_header(req, MHD_HTTP_HEADER_CONTENT_ENCODING, myr_net_coding_name(chosen));
    *out_body = text;
    return true;
}
