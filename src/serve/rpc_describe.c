/* Calls about the server and its models: health, metadata. What they say is what REST says. */
#include "serve/rpc_inside.h"

#include <string.h>

/* grpc.health.v1.HealthCheckResponse */
enum { HEALTH_SERVING = 1, HEALTH_NOT_SERVING = 2, HEALTH_SERVICE_UNKNOWN = 3 };

/* ---- names ---- */

/* A message {name = 1, version = 2}. */
static myr_rc describe_read(const rpc_call *call, const char *what, rpc_model_name *out, myr_err *err)
{
    myr_pb_field field;
    rpc_reader reader = myr_serve_rpc_reader(what, call->message.data, call->message.size);
    *out = (rpc_model_name){.name = myr_str_make("", 0), .version = myr_str_make("", 0)};
    while (myr_pb_next(&reader.pb, &field)) {
        if (field.number == 1) MYR_TRY(myr_serve_rpc_text(&reader, &field, "name", &out->name, err));
        if (field.number == 2) MYR_TRY(myr_serve_rpc_text(&reader, &field, "version", &out->version, err));
    }
    return myr_serve_rpc_end(&reader, err);
}

myr_rc myr_serve_rpc_target_of(rpc_call *call, const rpc_model_name *model, serve_target *out, myr_err *err)
{
    MYR_TRY(myr_serve_rpc_may(call, model->name, err));
    return myr_serve_target_find(call->thread, call->arena, model->name,
                                 model->version.size > 0 ? &model->version : NULL, out, err);
}

myr_rc myr_serve_rpc_target(rpc_call *call, const char *what, serve_target *out, myr_err *err)
{
    rpc_model_name model;
    MYR_TRY(describe_read(call, what, &model, err));
    return myr_serve_rpc_target_of(call, &model, out, err);
}

/* ---- is it there? ---- */

myr_rc myr_serve_rpc_server_live(rpc_call *call, myr_err *err)
{
    (void)err;
    myr_pb_put_varint(call->out, 1, 1);
    return MYR_OK;
}

myr_rc myr_serve_rpc_server_ready(rpc_call *call, myr_err *err)
{
    (void)err;
    bool is_ready = !atomic_load(&call->server->is_stopping) && myr_serve_deploy_is_settled(call->server);
    if (is_ready) myr_pb_put_varint(call->out, 1, 1);
    return MYR_OK;
}

/* What is not there is not ready: no error, unlike over REST. */
myr_rc myr_serve_rpc_model_ready(rpc_call *call, myr_err *err)
{
    serve_target target;
    const myr_model *model;
    rpc_model_name name;
    myr_err why = {0};
    MYR_TRY(describe_read(call, "ModelReadyRequest", &name, err));
    MYR_TRY(myr_serve_rpc_may(call, name.name, err));
    myr_rc rc = myr_serve_rpc_target_of(call, &name, &target, &why);
    if (rc == MYR_OK && target.model_idx != MYR_PACK_NONE) { /* checked in full now, if it never was */
        rc = myr_pack_model(target.fleet->fleet->pack, target.model_idx, &model, &why);
    }
    if (rc == MYR_OK) rc = myr_serve_deploy_check(call->server, &target, &why);
    if (rc == MYR_NO_MEMORY) {
        if (err != NULL) *err = why;
        return rc;
    }
    if (rc == MYR_OK) myr_pb_put_varint(call->out, 1, 1);
    return MYR_OK;
}

/* ---- metadata ---- */

myr_rc myr_serve_rpc_server_metadata(rpc_call *call, myr_err *err)
{
    MYR_TRY(myr_serve_rpc_may(call, myr_str_make("", 0), err));
    myr_pb_put_text(call->out, 1, "myriad");
    myr_pb_put_text(call->out, 2, MYR_VERSION);
    for (const char *const *name = myr_serve_extensions; *name != NULL; name++)
        myr_pb_put_text(call->out, 3, *name);
    return MYR_OK;
}

/* TensorMetadata: name = 1, datatype = 2, shape = 3. */
static void describe_tensor(myr_buf *out, uint32_t number, const char *name, const char *datatype, const int64_t *shape,
                            size_t dim_count)
{
    size_t mark = myr_pb_begin(out, number);
    myr_pb_put_text(out, 1, name);
    myr_pb_put_text(out, 2, datatype);
    myr_pb_put_packed(out, 3, shape, dim_count);
    myr_pb_end(out, mark);
}

static void describe_input(void *ctx, const char *name, const char *datatype)
{
    const int64_t shape[] = {-1};
    describe_tensor(ctx, 4, name, datatype, shape, 1);
}

/* ModelMetadataResponse: name = 1, versions = 2, platform = 3, inputs = 4, outputs = 5. */
myr_rc myr_serve_rpc_model_metadata(rpc_call *call, myr_err *err)
{
    serve_target target;
    MYR_TRY(myr_serve_rpc_target(call, "ModelMetadataRequest", &target, err));
    const myr_fleet *fleet = target.fleet->fleet;
    const char *version = myr_arena_printf(call->arena, "%lld", (long long)fleet->release);
    if (version == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_pb_put_bytes(call->out, 1, target.name.data, target.name.size);
    myr_pb_put_text(call->out, 2, version);
    myr_pb_put_text(call->out, 3, "myriad");
    myr_serve_each_input(&target, describe_input, call->out);
    for (int k = 0; k < MYR_OUTPUT_COUNT; k++) {
        size_t width = myr_scorer_width(fleet->scorer, target.model_idx, (myr_output)k);
        if (width == 0) continue;
        int64_t shape[3] = {-1};
        size_t dims = 1 + myr_serve_output_dims(fleet->info, (myr_output)k, width, shape + 1);
        describe_tensor(call->out, 5, k == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name((myr_output)k), "FP64",
                        shape, dims);
    }
    return MYR_OK;
}

/* ---- grpc.health.v1 ---- */

/* The server as a whole, or one of its two services. */
static myr_rc health_look(const rpc_call *call, uint32_t *out, myr_str *out_service, myr_err *err)
{
    rpc_model_name service;
    MYR_TRY(describe_read(call, "HealthCheckRequest", &service, err));
    *out_service = service.name;
    bool is_known = service.name.size == 0 || myr_str_is(service.name, "inference.GRPCInferenceService") ||
                    myr_str_is(service.name, "grpc.health.v1.Health");
    *out = HEALTH_SERVICE_UNKNOWN;
    if (is_known) *out = atomic_load(&call->server->is_stopping) ? HEALTH_NOT_SERVING : HEALTH_SERVING;
    return MYR_OK;
}

myr_rc myr_serve_rpc_health_check(rpc_call *call, myr_err *err)
{
    uint32_t status;
    myr_str service;
    MYR_TRY(health_look(call, &status, &service, err));
    if (status == HEALTH_SERVICE_UNKNOWN) {
        MYR_FAIL(err, NOT_FOUND, "no service '" MYR_STR_FMT "': ask for '' or 'inference.GRPCInferenceService'",
                 MYR_STR_ARG(service));
    }
    myr_pb_put_varint(call->out, 1, status);
    return MYR_OK;
}

myr_rc myr_serve_rpc_health_watch(rpc_call *call, myr_err *err)
{
    uint32_t status;
    myr_str service;
    MYR_TRY(health_look(call, &status, &service, err));
    call->waits = call->note->last == status;
    call->note->last = status;
    if (!call->waits) myr_pb_put_varint(call->out, 1, status);
    return MYR_OK;
}
