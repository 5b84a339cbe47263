/* Configuration, statistics and the model repository over gRPC; what they mean stands in repository.c. */
#include "serve/rpc_inside.h"

#include <string.h>

/* ---- configuration ---- */

/* inference.DataType, by V2's names. */
static uint32_t config_datatype(const char *name)
{
    static const struct {
        const char *name;
        uint32_t number;
    } types[] = {{"FP64", 12}, {"INT64", 9}, {"BYTES", 13}};
    for (size_t i = 0; i < MYR_COUNT_OF(types); i++) {
        if (strcmp(name, types[i].name) == 0) return types[i].number;
    }
    return 0;
}

/* ModelInput: name = 1, data_type = 2, dims = 4. */
static void config_put_input(void *ctx, const char *name, const char *datatype)
{
    const int64_t dims[] = {-1};
    myr_buf *out = ctx;
    size_t mark = myr_pb_begin(out, 5);
    myr_pb_put_text(out, 1, name);
    MYR_ASSERT(config_datatype(datatype) != 0);
    myr_pb_put_varint(out, 2, config_datatype(datatype));
    myr_pb_put_packed(out, 4, dims, 1);
    myr_pb_end(out, mark);
}

/* ModelOutput: name = 1, data_type = 2, dims = 3. */
static void config_put_outputs(myr_buf *out, const serve_target *target)
{
    const myr_fleet *fleet = target->fleet->fleet;
    for (int k = 0; k < MYR_OUTPUT_COUNT; k++) {
        size_t width = myr_scorer_width(fleet->scorer, target->model_idx, (myr_output)k);
        if (width == 0) continue;
        int64_t dims[3] = {-1};
        size_t count = 1 + myr_serve_output_dims(fleet->info, (myr_output)k, width, dims + 1);
        size_t mark = myr_pb_begin(out, 6);
        myr_pb_put_text(out, 1, k == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name((myr_output)k));
        myr_pb_put_varint(out, 2, config_datatype("FP64"));
        myr_pb_put_packed(out, 3, dims, count);
        myr_pb_end(out, mark);
    }
}

/* An entry of ModelConfig.parameters: key = 1, value = 2 {string_value = 1}. */
static void config_put_parameter(myr_buf *out, const char *key, const char *value)
{
    size_t entry = myr_pb_begin(out, 14);
    myr_pb_put_text(out, 1, key);
    size_t inside = myr_pb_begin(out, 2);
    myr_pb_put_text(out, 1, value);
    myr_pb_end(out, inside);
    myr_pb_end(out, entry);
}

/* ModelConfigResponse: config = 1; ModelConfig: name = 1, platform = 2, version_policy = 3 {latest = 1 {num_versions =
 * 1}}, input = 5, output = 6, parameters = 14, backend = 17. max_batch_size (4) is 0: not written. */
myr_rc myr_serve_rpc_model_config(rpc_call *call, myr_err *err)
{
    serve_target target;
    MYR_TRY(myr_serve_rpc_target(call, "ModelConfigRequest", &target, err));
    const myr_fleet *fleet = target.fleet->fleet;
    const char *release = myr_arena_printf(call->arena, "%lld", (long long)fleet->release);
    const char *models = myr_arena_printf(call->arena, "%u", fleet->info->model_count);
    if (release == NULL || models == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_buf *out = call->out;
    size_t config = myr_pb_begin(out, 1);
    myr_pb_put_bytes(out, 1, target.name.data, target.name.size);
    myr_pb_put_text(out, 2, "myriad");
    size_t policy = myr_pb_begin(out, 3), latest = myr_pb_begin(out, 1);
    myr_pb_put_varint(out, 1, 1);
    myr_pb_end(out, latest);
    myr_pb_end(out, policy);
    myr_serve_each_input(&target, config_put_input, out);
    config_put_outputs(out, &target);
    config_put_parameter(out, "fleet", fleet->name);
    config_put_parameter(out, "release", release);
    config_put_parameter(out, "models", models);
    myr_pb_put_text(out, 17, "myriad");
    myr_pb_end(out, config);
    return MYR_OK;
}

/* ---- statistics ---- */

/* StatisticDuration: count = 1, ns = 2. */
static void stats_put(myr_buf *out, uint32_t number, int64_t count, int64_t ns)
{
    size_t mark = myr_pb_begin(out, number);
    if (count > 0) myr_pb_put_varint(out, 1, (uint64_t)count);
    if (ns > 0) myr_pb_put_varint(out, 2, (uint64_t)ns);
    myr_pb_end(out, mark);
}

/* ModelStatistics: name = 1, version = 2, last_inference = 3, inference_count = 4, execution_count = 5,
 * inference_stats = 6 {success, fail, queue, compute_input, compute_infer, compute_output, cache_hit, cache_miss}. */
static void stats_put_fleet(rpc_call *call, serve_fleet *served, const char *version)
{
    serve_infer_stats *stats = &served->stats;
    int64_t ok = atomic_load(&stats->ok_count);
    myr_buf *out = call->out;
    size_t model = myr_pb_begin(out, 1);
    myr_pb_put_text(out, 1, served->fleet->name);
    myr_pb_put_text(out, 2, version);
    myr_pb_put_varint(out, 3, (uint64_t)myr_serve_last_ms(stats));
    myr_pb_put_varint(out, 4, (uint64_t)atomic_load(&stats->rows));
    myr_pb_put_varint(out, 5, (uint64_t)ok);
    size_t inside = myr_pb_begin(out, 6);
    stats_put(out, 1, ok, atomic_load(&stats->ok_ns));
    stats_put(out, 2, atomic_load(&stats->fail_count), atomic_load(&stats->fail_ns));
    stats_put(out, 3, ok, atomic_load(&stats->queue_ns));
    stats_put(out, 4, ok, atomic_load(&stats->input_ns));
    stats_put(out, 5, ok, atomic_load(&stats->infer_ns));
    stats_put(out, 6, ok, atomic_load(&stats->output_ns));
    stats_put(out, 7, 0, 0);
    stats_put(out, 8, 0, 0);
    myr_pb_end(out, inside);
    myr_pb_end(out, model);
}

static myr_rc stats_add(rpc_call *call, serve_fleet *served, myr_err *err)
{
    const char *version = myr_arena_printf(call->arena, "%lld", (long long)served->fleet->release);
    if (version == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    stats_put_fleet(call, served, version);
    return MYR_OK;
}

/* Without a name: of all fleets that one may see. */
static myr_rc stats_all(rpc_call *call, myr_err *err)
{
    const serve_principal *who = &call->note->who;
    MYR_TRY(myr_serve_may(who, MYR_SCOPE_READ, SERVE_ON_LIST, myr_str_make("", 0), myr_str_make("", 0), err));
    for (size_t i = 0; i < call->snapshot->fleet_count; i++) {
        serve_fleet *served = call->snapshot->fleets[i];
        if (myr_serve_may_see(who, served->fleet->name)) MYR_TRY(stats_add(call, served, err));
    }
    return MYR_OK;
}

myr_rc myr_serve_rpc_model_statistics(rpc_call *call, myr_err *err)
{
    serve_target target;
    if (call->message.size == 0) return stats_all(call, err);
    MYR_TRY(myr_serve_rpc_target(call, "ModelStatisticsRequest", &target, err));
    if (target.model_idx != MYR_PACK_NONE)
        MYR_FAIL(err, UNSUPPORTED, "statistics are kept per fleet: ask for %s", target.fleet->fleet->name);
    return stats_add(call, target.fleet, err);
}

/* ---- the repository ---- */

/* RepositoryIndexResponse: models = 1 {name = 1, version = 2, state = 3, reason = 4}. */
static void index_put(rpc_call *call, const char *name, const char *version, const char *state, const char *reason)
{
    if (!myr_serve_may_see(&call->note->who, name)) return;
    size_t mark = myr_pb_begin(call->out, 1);
    myr_pb_put_text(call->out, 1, name);
    if (version != NULL) myr_pb_put_text(call->out, 2, version);
    myr_pb_put_text(call->out, 3, state);
    if (reason != NULL) myr_pb_put_text(call->out, 4, reason);
    myr_pb_end(call->out, mark);
}

static void index_put_unloaded(void *ctx, const char *name)
{
    index_put(ctx, name, NULL, "UNAVAILABLE", "unloaded");
}

/* A request of the repository: repository_name = 1, which we have none of, and one more. */
typedef struct repository_request {
    myr_str model;   /* load and unload: 2 */
    uint64_t ready;  /* index: 2 */
    myr_str refused; /* the key of the first parameter (3) */
    bool has_refused;
} repository_request;

static myr_rc repository_read(const rpc_call *call, const char *what, bool is_index, repository_request *out,
                              myr_err *err)
{
    enum { REPOSITORY_NAME = 1, REPOSITORY_SECOND, REPOSITORY_PARAMETERS };
    myr_pb_field field;
    myr_str text, value;
    rpc_reader reader = myr_serve_rpc_reader(what, call->message.data, call->message.size);
    *out = (repository_request){.model = myr_str_make("", 0)};
    while (myr_pb_next(&reader.pb, &field)) {
        if (field.number == REPOSITORY_NAME) {
            MYR_TRY(myr_serve_rpc_text(&reader, &field, "repository_name", &text, err));
            if (text.size > 0) MYR_FAIL(err, UNSUPPORTED, "there is one repository, without a name");
        } else if (field.number == REPOSITORY_SECOND && is_index) {
            MYR_TRY(myr_serve_rpc_number(&reader, &field, "ready", &out->ready, err));
        } else if (field.number == REPOSITORY_SECOND) {
            MYR_TRY(myr_serve_rpc_text(&reader, &field, "model_name", &out->model, err));
        } else if (field.number == REPOSITORY_PARAMETERS && !out->has_refused) {
            MYR_TRY(myr_serve_rpc_entry(&reader, &field, &out->refused, &value, err));
            out->has_refused = true;
        }
    }
    return myr_serve_rpc_end(&reader, err);
}

myr_rc myr_serve_rpc_index(rpc_call *call, myr_err *err)
{
    repository_request request;
    MYR_TRY(repository_read(call, "RepositoryIndexRequest", true, &request, err));
    MYR_TRY(myr_serve_rpc_may(call, myr_str_make("", 0), err));
    for (size_t i = 0; i < call->snapshot->fleet_count; i++) {
        const myr_fleet *fleet = call->snapshot->fleets[i]->fleet;
        const char *version = myr_arena_printf(call->arena, "%lld", (long long)fleet->release);
        if (version == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
        index_put(call, fleet->name, version, "READY", NULL);
    }
    if (request.ready == 0) myr_serve_each_unloaded(call->server, index_put_unloaded, call);
    return MYR_OK;
}

/* They wait for the reloader, so never on a loop. */
static myr_rc repository_control(rpc_call *call, const char *what, bool load, myr_str *out_model, myr_err *err)
{
    repository_request request;
    MYR_TRY(repository_read(call, what, false, &request, err));
    MYR_TRY(myr_serve_rpc_may(call, request.model, err));
    MYR_TRY(myr_serve_control_check(call->server, request.model, err));
    if (load && request.has_refused) {
        MYR_FAIL(err, UNSUPPORTED, "parameter '" MYR_STR_FMT "' is not supported: models come from the registry",
                 MYR_STR_ARG(request.refused));
    }
    serve_fleet *fleet;
    if (!load) MYR_TRY(myr_serve_fleet_find(call->thread, request.model, &fleet, err));
    call->wants_compute = !call->may_block;
    *out_model = request.model;
    if (call->wants_compute) return MYR_OK;
    return myr_serve_control(call->server, call->thread, request.model, load, &call->snapshot, err);
}

myr_rc myr_serve_rpc_load(rpc_call *call, myr_err *err)
{
    myr_str model;
    serve_fleet *fleet;
    MYR_TRY(repository_control(call, "RepositoryModelLoadRequest", true, &model, err));
    return call->wants_compute ? MYR_OK : myr_serve_fleet_find(call->thread, model, &fleet, err);
}

myr_rc myr_serve_rpc_unload(rpc_call *call, myr_err *err)
{
    myr_str model;
    return repository_control(call, "RepositoryModelUnloadRequest", false, &model, err);
}
