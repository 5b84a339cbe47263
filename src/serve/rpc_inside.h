/*
 * What the files of V2 over gRPC share. Not for others.
 *
 * A message is read field by field where it lies (base/protobuf.h) and written into the thread's buffer: field numbers
 * are those of share/grpc/inference.proto, which a test compares with the clients' own.
 */
#ifndef MYR_SERVE_RPC_INSIDE_H
#define MYR_SERVE_RPC_INSIDE_H

#include "serve/internal.h"

/* Kept from the headers of a call to its end. */
typedef struct rpc_note {
    serve_principal who; /* of a unary call; of a stream while one message is answered */
    uint32_t last;       /* what a watch said last; 0: nothing */
    serve_pass pass;     /* of the message that is with a compute thread, or waits for one */
} rpc_note;

/* One message being answered. */
typedef struct rpc_call {
    myr_server *server;
    myr_rpc *rpc;
    rpc_note *note;
    myr_arena *arena;
    serve_thread *thread;
    const serve_snapshot *snapshot;
    myr_str message;
    myr_buf *out;       /* the answer's message */
    bool may_block;     /* on a compute thread */
    bool wants_compute; /* set by a method: ask again where it may block; there is no answer yet */
    bool waits;         /* set by a watch: no news */
} rpc_call;

/* A method of ours. */
typedef struct rpc_method {
    const char *name; /* label in metrics */
    serve_access access;
    myr_rc (*run)(rpc_call *call, myr_err *err);
} rpc_method;

/* rpc.c: the rule of a call's method for a model; DENIED, UNAUTHENTICATED. */
myr_rc myr_serve_rpc_may(const rpc_call *call, myr_str name, myr_err *err);

/* ---- reading a message ---- */

typedef struct rpc_reader {
    myr_pb pb;
    const char *what; /* "ModelInferRequest", for messages */
} rpc_reader;
static inline rpc_reader myr_serve_rpc_reader(const char *what, const void *data, size_t size)
{
    rpc_reader reader = {.what = what};
    myr_pb_init(&reader.pb, data, size);
    return reader;
}
/* After the last field: BAD_INPUT if the bytes were none. */
myr_rc myr_serve_rpc_end(const rpc_reader *reader, myr_err *err);
/* A field as text (UTF-8, without NUL), bytes, or a number. `name` is the field's, for messages. */
myr_rc myr_serve_rpc_text(const rpc_reader *reader, const myr_pb_field *field, const char *name, myr_str *out,
                          myr_err *err);
myr_rc myr_serve_rpc_bytes(const rpc_reader *reader, const myr_pb_field *field, const char *name, myr_str *out,
                           myr_err *err);
myr_rc myr_serve_rpc_number(const rpc_reader *reader, const myr_pb_field *field, const char *name, uint64_t *out,
                            myr_err *err);
/* One entry of a map of parameters: its key, and the value's message. */
myr_rc myr_serve_rpc_entry(const rpc_reader *reader, const myr_pb_field *field, myr_str *out_key, myr_str *out_value,
                           myr_err *err);

/* ---- methods ---- */
myr_rc myr_serve_rpc_server_live(rpc_call *call, myr_err *err); /* rpc_describe.c */
myr_rc myr_serve_rpc_server_ready(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_model_ready(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_server_metadata(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_model_metadata(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_health_check(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_health_watch(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_model_config(rpc_call *call, myr_err *err); /* rpc_repository.c */
myr_rc myr_serve_rpc_model_statistics(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_index(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_load(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_unload(rpc_call *call, myr_err *err);
myr_rc myr_serve_rpc_model_infer(rpc_call *call, myr_err *err); /* rpc_infer.c */
myr_rc myr_serve_rpc_model_stream_infer(rpc_call *call, myr_err *err);

/* rpc_describe.c: the name and version of a model in a request; a version of "" is none. */
typedef struct rpc_model_name {
    myr_str name, version;
} rpc_model_name;
/* The target of a request {name = 1, version = 2}, allowed to who asks. */
myr_rc myr_serve_rpc_target(rpc_call *call, const char *what, serve_target *out, myr_err *err);
/* The same of a name that was read. */
myr_rc myr_serve_rpc_target_of(rpc_call *call, const rpc_model_name *model, serve_target *out, myr_err *err);

/* rpc_infer.c: rows, outputs and id of a ModelInferRequest, for work->target. */
myr_rc myr_serve_rpc_infer_decode(myr_str message, serve_work *work, myr_err *err);

#endif
