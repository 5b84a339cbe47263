/* What a handler reads of its call. */
#include <string.h>

#include "net/rpc_inside.h"

uint32_t myr_rpc_method_idx(const myr_rpc *rpc)
{
    return rpc->method_idx;
}

myr_str myr_rpc_path(const myr_rpc *rpc)
{
    return rpc->path;
}

myr_str myr_rpc_message(const myr_rpc *rpc)
{
    return myr_str_make(rpc->message != NULL ? (const char *)rpc->message : "", rpc->message_bytes);
}

bool myr_rpc_metadata(const myr_rpc *rpc, const char *name, myr_str *out)
{
    for (uint32_t i = 0; i < rpc->metadata_count; i++) {
        if (!myr_str_is(rpc->metadata[i].name, name)) continue;
        *out = rpc->metadata[i].value;
        return true;
    }
    return false;
}

myr_arena *myr_rpc_arena(myr_rpc *rpc)
{
    return rpc->arena;
}

void *myr_rpc_loop_state(const myr_rpc *rpc)
{
    MYR_ASSERT(myr_rpc_thread_is_current(rpc->runs));
    return rpc->runs->state;
}

int64_t myr_rpc_start_ns(const myr_rpc *rpc)
{
    return rpc->start_ns;
}

int64_t myr_rpc_call_start_ns(const myr_rpc *rpc)
{
    return rpc->call_start_ns;
}

int64_t myr_rpc_deadline_ns(const myr_rpc *rpc)
{
    return rpc->deadline_ns;
}

bool myr_rpc_is_on_loop(const myr_rpc *rpc)
{
    return myr_rpc_thread_is_current(&rpc->loop->thread);
}

bool myr_rpc_is_loopback(const myr_rpc *rpc)
{
    return rpc->server->listener.is_loopback;
}

bool myr_rpc_is_cancelled(const myr_rpc *rpc)
{
    return atomic_load(&rpc->is_cancelled);
}

void myr_rpc_set_note(myr_rpc *rpc, void *note)
{
    rpc->note = note;
}

void *myr_rpc_note(const myr_rpc *rpc)
{
    return rpc->note;
}

myr_arena *myr_rpc_call_arena(myr_rpc *rpc)
{
    return rpc->head_arena;
}

int myr_rpc_status(const myr_rpc *rpc)
{
    return rpc->status;
}

int64_t myr_rpc_reply_bytes(const myr_rpc *rpc)
{
    return rpc->reply_bytes;
}
