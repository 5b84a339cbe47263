/* The headers of a call: what the protocol itself uses of them, what is kept as metadata, what is refused by them. */
#include <stdio.h>
#include <string.h>

#include "net/rpc_inside.h"

static bool head_is(myr_str text, const char *wanted)
{
    return myr_str_is(text, wanted);
}

static bool head_copy(myr_rpc *rpc, myr_str text, myr_str *out)
{
    char *copy = myr_arena_strndup(rpc->head_arena, text.data, text.size);
    if (copy == NULL) return false;
    *out = myr_str_make(copy, text.size);
    return true;
}

/* Fields that the protocol itself uses. False: it is none of them. */
static bool head_known(myr_rpc *rpc, myr_str name, myr_str value)
{
    if (head_is(name, ":method")) {
        rpc->is_post = head_is(value, "POST");
    } else if (head_is(name, ":path")) {
        if (!head_copy(rpc, value, &rpc->path)) rpc->header_bytes = SIZE_MAX / 2;
    } else if (head_is(name, "content-type")) {
        rpc->is_grpc = myr_rpc_is_content_type(value);
    } else if (head_is(name, "grpc-timeout")) {
        int64_t timeout_ns = 0;
        rpc->has_bad_timeout = !myr_rpc_timeout_parse(value, &timeout_ns);
        rpc->deadline_ns = timeout_ns; /* from the end of the headers: call_on_headers */
    } else if (head_is(name, "grpc-encoding")) {
        rpc->coding = myr_net_coding_of(value);
        rpc->has_bad_coding = rpc->coding == NET_CODING_NONE && !head_is(value, "identity");
    } else if (head_is(name, "grpc-accept-encoding")) {
        if (myr_rpc_list_has(value, myr_str_of("gzip"))) rpc->accepts |= 1u << NET_CODING_GZIP;
        if (myr_rpc_list_has(value, myr_str_of("deflate"))) rpc->accepts |= 1u << NET_CODING_ZLIB;
    } else {
        return name.size > 0 && (name.data[0] == ':' || head_is(name, "te"));
    }
    return true;
}

void myr_rpc_on_header(myr_rpc *rpc, myr_str name, myr_str value)
{
    rpc->header_bytes += name.size + value.size + 32;
    if (rpc->header_bytes > MYR_RPC_HEADER_BYTES_MAX || head_known(rpc, name, value)) return;
    rpc_field field;
    if (rpc->metadata_count == MYR_RPC_METADATA_MAX || !head_copy(rpc, name, &field.name) ||
        !head_copy(rpc, value, &field.value)) {
        rpc->header_bytes = SIZE_MAX / 2; /* more than the limit, for ever */
        return;
    }
    rpc->metadata[rpc->metadata_count++] = field;
}

static void head_find_method(myr_rpc *rpc)
{
    const myr_rpc_opts *opts = &rpc->server->opts;
    for (uint32_t i = 0; i < opts->method_count; i++) {
        if (!head_is(rpc->path, opts->methods[i].path)) continue;
        rpc->method_idx = i;
        rpc->kind = opts->methods[i].kind;
        return;
    }
}

/* What is wrong with a call before any message; true: it is answered. */
static bool head_refuse(myr_rpc *rpc)
{
    char text[MYR_ERR_MESSAGE_BYTES];
    if (rpc->header_bytes > MYR_RPC_HEADER_BYTES_MAX) {
        myr_rpc_end(rpc, MYR_TOO_LARGE, "the header is larger than 16 KiB, or has more than 64 fields");
    } else if (!rpc->is_post) {
        myr_rpc_refuse(rpc, "405");
    } else if (!rpc->is_grpc) {
        myr_rpc_refuse(rpc, "415");
    } else if (rpc->method_idx == MYR_RPC_NO_METHOD) {
        snprintf(text, sizeof text, "unknown method " MYR_STR_FMT, MYR_STR_ARG(rpc->path));
        myr_rpc_end(rpc, MYR_UNSUPPORTED, text);
    } else if (rpc->has_bad_coding) {
        myr_rpc_end(rpc, MYR_UNSUPPORTED, "grpc-encoding is not known: send identity, gzip or deflate");
    } else if (rpc->has_bad_timeout) {
        myr_rpc_end(rpc, MYR_BAD_INPUT, "grpc-timeout is not 1 to 8 digits and one of H, M, S, m, u, n");
    } else if (rpc->kind != MYR_RPC_UNARY && atomic_load(&rpc->server->is_draining)) {
        myr_rpc_end(rpc, MYR_UNAVAILABLE, RPC_STOPPING);
    } else {
        return false;
    }
    return true;
}

void myr_rpc_on_headers(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->phase == RPC_HEAD);
    rpc->phase = RPC_READ;
    rpc->call_start_ns = rpc->start_ns = rpc->loop->now_ns;
    rpc->is_counted = true;
    atomic_fetch_add(&rpc->server->in_flight, 1);
    if (rpc->deadline_ns != RPC_NEVER_NS &&
        __builtin_add_overflow(rpc->deadline_ns, rpc->call_start_ns, &rpc->deadline_ns)) {
        rpc->deadline_ns = RPC_NEVER_NS;
    }
    rpc->may_compress = rpc->coding != NET_CODING_NONE && (rpc->accepts & 1u << rpc->coding) != 0;
    head_find_method(rpc);
    /* between messages a client may be silent: the connection's pings tell whether it is there */
    if (rpc->kind == MYR_RPC_STREAM) {
        myr_rpc_expect(rpc, RPC_NEVER_NS);
    } else {
        myr_rpc_expect_body(rpc);
    }
    if (head_refuse(rpc) || rpc->server->opts.on_headers == NULL) return;
    rpc->server->opts.on_headers(rpc->server->opts.ctx, rpc);
    MYR_ASSERT(rpc->phase == RPC_READ && !rpc->has_reply && !rpc->waits);
    if (rpc->has_failed) myr_rpc_send(rpc); /* then nothing more is read */
}
