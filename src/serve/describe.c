/* Answers about the server itself: health, metadata of V2, fleets, which model answers for a segment. */
#include "serve/internal.h"

#include <string.h>

/* ---- finding what a URL names ---- */

static myr_rc target_fail(myr_str name, const myr_str *version, myr_err *err)
{
    if (version == NULL) {
        MYR_FAIL(err, NOT_FOUND, "Request for unknown model: '" MYR_STR_FMT "' is not found", MYR_STR_ARG(name));
    }
    MYR_FAIL(err, NOT_FOUND, "Request for unknown model: '" MYR_STR_FMT "' version " MYR_STR_FMT " is not found",
             MYR_STR_ARG(name), MYR_STR_ARG(*version));
}

/* The thread's own: only the reloader reads it besides. */
static const serve_snapshot *target_snapshot(const serve_thread *thread)
{
    const serve_snapshot *held = atomic_load_explicit(&thread->held, memory_order_relaxed);
    MYR_ASSERT(held != NULL);
    return held;
}

myr_rc myr_serve_fleet_find(const serve_thread *thread, myr_str name, serve_fleet **out, myr_err *err)
{
    serve_fleet *fleet = myr_serve_snapshot_find(target_snapshot(thread), name);
    if (fleet == NULL) return target_fail(name, NULL, err);
    *out = fleet;
    return MYR_OK;
}

/* The release that serves, or one of those beside it, by its number as we write it. */
static myr_rc target_take_version(const serve_snapshot *snapshot, myr_str name, const myr_str *version,
                                  serve_fleet **fleet, myr_err *err)
{
    int64_t number;
    if (!myr_is_canonical_int64(*version, &number) || number < 0) {
        MYR_FAIL(err, BAD_INPUT, "version '" MYR_STR_FMT "' is not a number: digits without a leading zero",
                 MYR_STR_ARG(*version));
    }
    if (number == (*fleet)->fleet->release) return MYR_OK;
    serve_fleet *other = myr_serve_variant_of(snapshot, (*fleet)->fleet->name, number);
    if (other == NULL) return target_fail(name, version, err);
    *fleet = other;
    return MYR_OK;
}

/* Whether a model lies in the groups of the service file. */
static myr_rc target_is_served(const serve_fleet *fleet, uint32_t model_idx, bool *out, myr_err *err)
{
    myr_pack_entry entry;
    if (fleet->bound == NULL) return MYR_OK;
    MYR_TRY(myr_pack_get_entry(fleet->fleet->pack, model_idx, &entry, err));
    *out = myr_serve_key_is_served(fleet->bound, entry.key);
    return MYR_OK;
}

/* The one name of a model, however it was asked for. Written where the answer goes, which stays warm, then copied. */
static myr_rc target_name(serve_thread *thread, myr_arena *arena, const serve_fleet *fleet, uint32_t model_idx,
                          myr_str *out, myr_err *err)
{
    size_t start = thread->out.size;
    MYR_TRY(myr_score_model_name(fleet->fleet->scorer, model_idx, &thread->out, err));
    size_t size = thread->out.size - start;
    char *name = myr_arena_strndup(arena, thread->out.data + start, size);
    thread->out.size = start;
    if (name == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the name of a model");
    *out = myr_str_make(name, size);
    return MYR_OK;
}

myr_rc myr_serve_target_find(serve_thread *thread, myr_arena *arena, myr_str name, const myr_str *version,
                             serve_target *out, myr_err *err)
{
    const char *at = name.size > 0 ? memchr(name.data, '@', name.size) : NULL;
    myr_str fleet_name = myr_str_make(name.data, at != NULL ? (size_t)(at - name.data) : name.size);
    serve_fleet *fleet = myr_serve_snapshot_find(target_snapshot(thread), fleet_name);
    if (fleet == NULL) return target_fail(name, NULL, err);
    if (version != NULL) MYR_TRY(target_take_version(target_snapshot(thread), name, version, &fleet, err));
    uint32_t model_idx = MYR_PACK_NONE;
    if (at != NULL) {
        myr_str segment = myr_str_make(at + 1, name.size - fleet_name.size - 1);
        myr_err why = {0};
        myr_rc rc = myr_fleet_find_segment(fleet->fleet, segment, &model_idx, &why);
        if (rc == MYR_NOT_FOUND) return target_fail(name, NULL, err);
        if (rc != MYR_OK) {
            if (err != NULL) *err = why;
            return rc;
        }
        bool is_served = true;
        MYR_TRY(target_is_served(fleet, model_idx, &is_served, err));
        if (!is_served) return target_fail(name, NULL, err);
        MYR_TRY(target_name(thread, arena, fleet, model_idx, &name, err));
    }
    *out = (serve_target){fleet, model_idx, name, version != NULL};
    return MYR_OK;
}

myr_rc myr_serve_call_target(serve_call *call, serve_target *out, myr_err *err)
{
    const myr_str *version = call->params[1].data != NULL ? &call->params[1] : NULL;
    return myr_serve_target_find(call->thread, call->arena, call->params[0], version, out, err);
}

/* ---- health ---- */

const char *const myr_serve_extensions[] = {"binary_tensor_data", "model_configuration", "model_repository",
                                            "statistics", NULL};

myr_rc myr_serve_get_server(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf_puts(call->out, "{\"name\":\"myriad\",\"version\":\"" MYR_VERSION "\",\"extensions\":[");
    for (const char *const *name = myr_serve_extensions; *name != NULL; name++) {
        myr_serve_comma(call->out);
        myr_buf_printf(call->out, "\"%s\"", *name);
    }
    myr_buf_puts(call->out, "]}");
    return MYR_OK;
}

myr_rc myr_serve_get_live(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf_puts(call->out, "{\"live\":true}");
    return MYR_OK;
}

myr_rc myr_serve_check_ready(serve_call *call, myr_err *err)
{
    if (atomic_load(&call->server->is_stopping)) MYR_FAIL(err, UNAVAILABLE, "the server is stopping");
    if (!myr_serve_reloader_is_well(call->server)) MYR_FAIL(err, UNAVAILABLE, "no fleet can be opened: see the log");
    if (!myr_serve_deploy_is_settled(call->server))
        MYR_FAIL(err, UNAVAILABLE, "environments of models are still being made");
    return MYR_OK;
}

myr_rc myr_serve_get_ready(serve_call *call, myr_err *err)
{
    MYR_TRY(myr_serve_check_ready(call, err));
    myr_buf_puts(call->out, "{\"ready\":true}");
    return MYR_OK;
}

/* ---- metadata ---- */

static void describe_tensor(void *ctx, const char *name, const char *datatype)
{
    myr_buf *out = ctx;
    if (out->data[out->size - 1] != '[') myr_buf_putc(out, ',');
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, myr_str_of(name));
    myr_buf_printf(out, ",\"datatype\":\"%s\",\"shape\":[-1]}", datatype);
}

size_t myr_serve_output_dims(const myr_pack_info *info, myr_output output, size_t width, int64_t out[2])
{
    size_t columns = (size_t)info->feature_count + 1;
    if (output == MYR_OUTPUT_CONTRIBUTION && width > columns) {
        out[0] = (int64_t)(width / columns);
        out[1] = (int64_t)columns;
        return 2;
    }
    out[0] = (int64_t)width;
    return width > 1 ? 1 : 0;
}

void myr_serve_put_width(myr_buf *out, const myr_pack_info *info, myr_output output, size_t width)
{
    int64_t dims[2];
    size_t count = myr_serve_output_dims(info, output, width, dims);
    for (size_t i = 0; i < count; i++)
        myr_buf_printf(out, ",%lld", (long long)dims[i]);
}

/* The predictions first; what is asked for by name after them, where there is any. */
static void describe_outputs(myr_buf *out, const serve_target *target)
{
    const myr_fleet *fleet = target->fleet->fleet;
    myr_buf_puts(out, "\"outputs\":[");
    for (int k = 0; k < MYR_OUTPUT_COUNT; k++) {
        size_t width = myr_scorer_width(fleet->scorer, target->model_idx, (myr_output)k);
        if (width == 0) continue;
        myr_buf_printf(out, "%s{\"name\":\"%s\",\"datatype\":\"FP64\",\"shape\":[-1", k > 0 ? "," : "",
                       k == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name((myr_output)k));
        myr_serve_put_width(out, fleet->info, (myr_output)k, width);
        myr_buf_puts(out, "]}");
    }
    myr_buf_putc(out, ']');
}

void myr_serve_each_input(const serve_target *target, void (*put)(void *ctx, const char *name, const char *datatype),
                          void *ctx)
{
    const myr_pack_info *info = target->fleet->fleet->info;
    bool with_keys = target->model_idx == MYR_PACK_NONE;
    for (uint32_t i = 0; with_keys && i < info->keys.column_count; i++)
        put(ctx, info->keys.columns[i].name, info->keys.columns[i].type == MYR_KEY_INT64 ? "INT64" : "BYTES");
    for (uint32_t i = 0; i < info->feature_count; i++) {
        /* A name that is both a partition column and a feature stands once, as the column. */
        bool is_key = false;
        for (uint32_t j = 0; with_keys && j < info->keys.column_count; j++) {
            if (strcmp(info->keys.columns[j].name, info->features[i]) == 0) is_key = true;
        }
        if (!is_key) put(ctx, info->features[i], myr_pack_takes_text(info, i) ? "BYTES" : "FP64");
    }
}

/* "inputs":[…],"outputs":[…] */
static void describe_signature(myr_buf *out, const serve_target *target)
{
    myr_buf_puts(out, "\"inputs\":[");
    myr_serve_each_input(target, describe_tensor, out);
    myr_buf_puts(out, "],");
    describe_outputs(out, target);
}

myr_rc myr_serve_get_models(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf_puts(call->out, "{\"models\":[");
    for (size_t i = 0; i < call->snapshot->fleet_count; i++) {
        const char *name = call->snapshot->fleets[i]->fleet->name;
        if (!myr_serve_may_see(call->who, name)) continue;
        myr_serve_comma(call->out);
        myr_buf_json_string(call->out, myr_str_of(name));
    }
    myr_buf_puts(call->out, "]}");
    return MYR_OK;
}

myr_rc myr_serve_get_model(serve_call *call, myr_err *err)
{
    serve_target target;
    MYR_TRY(myr_serve_call_target(call, &target, err));
    myr_buf_puts(call->out, "{\"name\":");
    myr_buf_json_string(call->out, target.name);
    myr_buf_printf(call->out, ",\"versions\":[\"%lld\"],\"platform\":\"myriad\",",
                   (long long)target.fleet->fleet->release);
    describe_signature(call->out, &target);
    myr_buf_putc(call->out, '}');
    return MYR_OK;
}

myr_rc myr_serve_get_model_ready(serve_call *call, myr_err *err)
{
    serve_target target;
    MYR_TRY(myr_serve_call_target(call, &target, err));
    if (target.model_idx != MYR_PACK_NONE) { /* checked in full now, if it never was */
        const myr_model *model;
        MYR_TRY(myr_pack_model(target.fleet->fleet->pack, target.model_idx, &model, err));
    }
    MYR_TRY(myr_serve_deploy_check(call->server, &target, err));
    myr_buf_puts(call->out, "{\"name\":");
    myr_buf_json_string(call->out, target.name);
    myr_buf_puts(call->out, ",\"ready\":true}");
    return MYR_OK;
}

/* ---- a fleet ---- */

/* "levels": the fallback chain from the most special to the global model, with how many models each has. */
static void describe_levels(myr_buf *out, const serve_fleet *served)
{
    const myr_pack_info *info = served->fleet->info;
    uint32_t masks[MYR_PARTITION_COLUMNS_MAX + 1];
    uint32_t count = myr_key_chain(&info->keys, masks);
    myr_buf_puts(out, "\"levels\":[");
    for (uint32_t i = 0; i < count; i++) {
        myr_level level = i == 0 ? MYR_LEVEL_SEGMENT : MYR_LEVEL_PARENT;
        if (masks[i] == 0) level = MYR_LEVEL_GLOBAL;
        myr_buf_printf(out, "%s{\"level\":\"%s\",\"columns\":[", i > 0 ? "," : "", myr_level_name(level));
        uint32_t columns = 0;
        for (uint32_t j = 0; j < info->keys.column_count; j++) {
            if ((masks[i] & (1u << j)) == 0) continue;
            if (columns++ > 0) myr_buf_putc(out, ',');
            myr_buf_json_string(out, myr_str_of(info->keys.columns[j].name));
        }
        myr_buf_printf(out, "],\"model_count\":%u}", served->level_models[columns]);
    }
    myr_buf_putc(out, ']');
}

/* The groups that are served; null: all of the fleet. */
static void describe_groups(myr_buf *out, const serve_bound *bound)
{
    if (bound == NULL || bound->plan->group_count == 0) {
        myr_buf_puts(out, "null");
        return;
    }
    myr_buf_putc(out, '[');
    for (uint32_t i = 0; i < bound->plan->group_count; i++) {
        myr_serve_comma(out);
        myr_buf_json_string(out, myr_str_of(bound->plan->groups[i]));
    }
    myr_buf_putc(out, ']');
}

void myr_serve_put_fleet(myr_buf *out, const serve_fleet *served, const char *more, bool with_signature)
{
    const myr_fleet *fleet = served->fleet;
    const serve_target target = {.fleet = (serve_fleet *)(uintptr_t)served, .model_idx = MYR_PACK_NONE};
    const char *name = fleet->name; /* a valid name: nothing to escape in JSON or in a path */
    myr_buf_printf(out, "{\"name\":\"%s\",\"release\":%lld,\"model_count\":%u,\"partition_columns\":[", name,
                   (long long)fleet->release, fleet->info->model_count);
    for (uint32_t i = 0; i < fleet->info->keys.column_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(fleet->info->keys.columns[i].name));
    }
    myr_buf_puts(out, "],\"groups\":");
    describe_groups(out, served->bound);
    myr_buf_putc(out, ',');
    if (with_signature) {
        myr_buf_puts(out, "\"signature\":{");
        describe_signature(out, &target);
        myr_buf_puts(out, "},");
    }
    describe_levels(out, served);
    myr_buf_printf(out,
                   ",\"uris\":{\"metadata\":\"/v2/models/%s\",\"infer\":\"/v2/models/%s/infer\","
                   "\"score\":\"/v1/fleets/%s/score\",\"model\":\"/v1/fleets/%s/models/{segment}\"}",
                   name, name, name, name);
    myr_buf_puts(out, ",\"metadata\":{\"target\":");
    myr_buf_json_string(out, myr_str_of(fleet->row.target));
    myr_buf_puts(out, ",\"target_transform\":");
    myr_buf_json_string(out, myr_str_of(fleet->row.target_transform));
    myr_buf_putc(out, '}');
    myr_buf_puts(out, more);
    myr_buf_putc(out, '}');
}

myr_rc myr_serve_get_fleet(serve_call *call, myr_err *err)
{
    serve_fleet *served;
    MYR_TRY(myr_serve_fleet_find(call->thread, call->params[0], &served, err));
    myr_serve_put_fleet(call->out, served, "", true);
    return MYR_OK;
}

/* ---- which model answers ---- */

/* The parts of `segment` whose columns are in the mask; false when one of those is missing. */
static bool segment_of_mask(const myr_key_schema *keys, const myr_segment *segment, uint32_t mask, myr_segment *out)
{
    uint32_t wanted = 0;
    out->part_count = 0;
    for (uint32_t i = 0; i < keys->column_count; i++) {
        if ((mask & (1u << i)) == 0) continue;
        wanted++;
        for (uint32_t j = 0; j < segment->part_count; j++) {
            if (strcmp(segment->parts[j].name, keys->columns[i].name) == 0) {
                out->parts[out->part_count++] = segment->parts[j];
            }
        }
    }
    return out->part_count == wanted;
}

/* Go down the fallback chain as scoring does. */
myr_rc myr_serve_segment_find(const myr_fleet *fleet, const myr_segment *segment, uint32_t *out_idx,
                              myr_level *out_level, myr_err *err)
{
    const myr_key_schema *keys = &fleet->info->keys;
    uint32_t masks[MYR_PARTITION_COLUMNS_MAX + 1];
    uint32_t count = myr_key_chain(keys, masks);
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t key_bytes;
    *out_level = MYR_LEVEL_NONE;
    MYR_TRY(myr_key_from_segment(keys, segment, key, &key_bytes, err)); /* unknown columns, values of the wrong type */
    for (uint32_t i = 0; i < count; i++) {
        myr_segment part;
        if (!segment_of_mask(keys, segment, masks[i], &part)) continue;
        MYR_TRY(myr_key_from_segment(keys, &part, key, &key_bytes, err));
        MYR_TRY(myr_pack_find(fleet->pack, key, key_bytes, myr_key_hash(key, key_bytes), out_idx, err));
        if (*out_idx == MYR_PACK_NONE) continue;
        *out_level = masks[i] == 0 ? MYR_LEVEL_GLOBAL : i == 0 ? MYR_LEVEL_SEGMENT : MYR_LEVEL_PARENT;
        return MYR_OK;
    }
    return MYR_OK;
}

myr_rc myr_serve_get_segment(serve_call *call, myr_err *err)
{
    serve_fleet *served;
    MYR_TRY(myr_serve_fleet_find(call->thread, call->params[0], &served, err));
    const myr_fleet *fleet = served->fleet;
    myr_segment segment;
    MYR_TRY(myr_segment_parse(call->params[1], &segment, err));
    uint32_t model_idx = MYR_PACK_NONE;
    myr_level level;
    MYR_TRY(myr_serve_segment_find(fleet, &segment, &model_idx, &level, err));
    if (level == MYR_LEVEL_NONE) {
        MYR_FAIL(err, NOT_FOUND, "fleet %s has no model for '" MYR_STR_FMT "' on its fallback chain", fleet->name,
                 MYR_STR_ARG(call->params[1]));
    }
    myr_pack_entry entry;
    MYR_TRY(myr_pack_get_entry(fleet->pack, model_idx, &entry, err));
    MYR_AUTO(myr_buf) name = {0};
    MYR_TRY(myr_score_model_name(fleet->scorer, model_idx, &name, err));
    MYR_TRY(myr_buf_check(&name, err));
    myr_buf_puts(call->out, "{\"segment\":");
    myr_buf_json_string(call->out, call->params[1]);
    myr_buf_puts(call->out, ",\"model\":");
    myr_buf_json_string(call->out, myr_str_make(name.data, name.size));
    myr_buf_printf(call->out, ",\"model_version\":%lld,\"level\":\"%s\",\"release\":%lld,\"bytes\":%zu}",
                   (long long)entry.version, myr_level_name(level), (long long)fleet->release, entry.model_bytes);
    return MYR_OK;
}

/* ---- the service file ---- */

myr_rc myr_serve_get_service_file(serve_call *call, myr_err *err)
{
    serve_service_state state;
    char time[MYR_TIME_TEXT_BYTES];
    (void)err;
    myr_serve_get_service_state(call->server, &state);
    myr_buf_puts(call->out, "{\"path\":");
    if (state.path[0] == '\0') {
        myr_buf_puts(call->out, "null");
    } else {
        myr_buf_json_string(call->out, myr_str_of(state.path));
    }
    myr_buf_printf(call->out, ",\"taken_at\":\"%s\",\"refused\":", myr_format_time(state.taken_ms, time));
    if (state.refused_ms == 0) {
        myr_buf_puts(call->out, "null}");
        return MYR_OK;
    }
    myr_buf_printf(call->out, "{\"at\":\"%s\",\"error\":", myr_format_time(state.refused_ms, time));
    myr_buf_json_string(call->out, myr_str_of(state.error));
    myr_buf_puts(call->out, "}}");
    return MYR_OK;
}
