/*
 * The map `validate` of a fleet:
 *   on_violation: reject | clamp | fallback        where a rule does not say
 *   inputs:  {price: {min: 0, max: 10, required: true, finite: true, integer: true, in: [1, 2], on_violation: clamp}}
 *   monotone: [low, mid, high]                     or a list of such lists
 *   output:  {min: 0, max: 1e6, finite: true, monotone: true, on_violation: fallback}
 */
#include "serve/service.h"

#include <math.h>
#include <string.h>

static const char *const violation_words[] = {"reject", "clamp", "fallback", NULL};

static myr_rc validate_then(const serve_service *service, const myr_spec_node *map, serve_violation *out, myr_err *err)
{
    uint32_t word = (uint32_t)*out;
    MYR_TRY(myr_service_word(service, map, "on_violation", violation_words, &word, err));
    *out = (serve_violation)word;
    return MYR_OK;
}

static myr_rc validate_bounds(const serve_service *service, const myr_spec_node *map, double *min, double *max,
                              myr_err *err)
{
    *min = -INFINITY;
    *max = INFINITY;
    MYR_TRY(myr_spec_double(service->spec, map, "min", false, -INFINITY, INFINITY, min, err));
    MYR_TRY(myr_spec_double(service->spec, map, "max", false, -INFINITY, INFINITY, max, err));
    if (*min <= *max) return MYR_OK;
    return myr_spec_fail(service->spec, myr_spec_find(map, "min"), err, "'min' is %g, above 'max', which is %g", *min,
                         *max);
}

/* The set `in`: as texts, and as numbers if all of them are. */
static myr_rc validate_set(const serve_service *service, const myr_spec_node *map, serve_check *out, myr_err *err)
{
    MYR_TRY(myr_spec_texts(service->spec, map, "in", false, &out->texts, &out->set_count, err));
    if (out->set_count > SERVE_SET_MAX) {
        return myr_spec_fail(service->spec, myr_spec_find(map, "in"), err, "%u values, at most %d are taken",
                             out->set_count, SERVE_SET_MAX);
    }
    if (out->set_count == 0) return MYR_OK;
    double *numbers = myr_arena_calloc(service->arena, out->set_count, sizeof *numbers);
    if (numbers == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
    out->numbers = numbers;
    for (uint32_t i = 0; i < out->set_count; i++) {
        if (!myr_parse_double(myr_str_of(out->texts[i]), &numbers[i])) out->numbers = NULL;
    }
    return MYR_OK;
}

static myr_rc validate_input(const serve_service *service, const myr_spec_node *name, const myr_spec_node *map,
                             serve_violation then, serve_check *out, myr_err *err)
{
    static const char *const known[] = {"min", "max", "required", "finite", "integer", "in", "on_violation", NULL};
    *out = (serve_check){.name = name->text, .node = name, .then = then};
    MYR_TRY(myr_spec_check_keys(service->spec, map, known, err));
    MYR_TRY(validate_bounds(service, map, &out->min, &out->max, err));
    MYR_TRY(myr_spec_bool(service->spec, map, "required", false, &out->is_required, err));
    MYR_TRY(myr_spec_bool(service->spec, map, "finite", false, &out->is_finite, err));
    MYR_TRY(myr_spec_bool(service->spec, map, "integer", false, &out->is_whole, err));
    MYR_TRY(validate_set(service, map, out, err));
    MYR_TRY(validate_then(service, map, &out->then, err));
    bool has_bound = isfinite(out->min) || isfinite(out->max);
    if (out->then == SERVE_CLAMP && !has_bound && myr_spec_find(map, "on_violation") != NULL) {
        return myr_spec_fail(service->spec, name, err, "'%.60s' can't be clamped: give it 'min' or 'max'", name->text);
    }
    return MYR_OK;
}

static myr_rc validate_inputs(const serve_service *service, const myr_spec_node *map, serve_validate *out, myr_err *err)
{
    if (map == NULL) return MYR_OK;
    if (map->kind != MYR_SPEC_MAP) {
        return myr_spec_fail(service->spec, map, err, "'inputs' is a map with a key per feature");
    }
    if (map->count > SERVE_CHECKS_MAX) {
        return myr_spec_fail(service->spec, map, err, "%u inputs, at most %d are taken", map->count, SERVE_CHECKS_MAX);
    }
    out->checks = myr_arena_calloc(service->arena, map->count + 1, sizeof *out->checks);
    if (out->checks == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
    for (uint32_t i = 0; i < map->count; i++) {
        MYR_TRY(validate_input(service, map->keys[i], map->items[i], out->then, &out->checks[i], err));
    }
    out->check_count = map->count;
    return MYR_OK;
}

static myr_rc validate_order(const serve_service *service, const myr_spec_node *list, serve_order *out, myr_err *err)
{
    if (list->kind != MYR_SPEC_LIST || list->count < 2 || list->count > SERVE_ORDER_MAX) {
        return myr_spec_fail(service->spec, list, err, "'monotone' is a list of 2 to %d features", SERVE_ORDER_MAX);
    }
    const char **names = myr_arena_calloc(service->arena, list->count, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->items[i]->kind != MYR_SPEC_SCALAR) {
            return myr_spec_fail(service->spec, list->items[i], err, "'monotone' is a list of features");
        }
        names[i] = list->items[i]->text;
    }
    *out = (serve_order){.names = names, .node = list, .count = list->count};
    return MYR_OK;
}

/* One list of features, or a list of lists. */
static myr_rc validate_orders(const serve_service *service, const myr_spec_node *node, serve_validate *out,
                              myr_err *err)
{
    if (node == NULL) return MYR_OK;
    bool is_many = node->kind == MYR_SPEC_LIST && node->count > 0 && node->items[0]->kind == MYR_SPEC_LIST;
    uint32_t count = is_many ? node->count : 1;
    out->orders = myr_arena_calloc(service->arena, count, sizeof *out->orders);
    if (out->orders == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
    for (uint32_t i = 0; i < count; i++)
        MYR_TRY(validate_order(service, is_many ? node->items[i] : node, &out->orders[i], err));
    out->order_count = count;
    return MYR_OK;
}

static myr_rc validate_output(const serve_service *service, const myr_spec_node *map, serve_violation then,
                              serve_output_check *out, myr_err *err)
{
    static const char *const known[] = {"min", "max", "finite", "monotone", "on_violation", NULL};
    if (map == NULL) return MYR_OK;
    *out = (serve_output_check){.is_there = true, .then = then};
    MYR_TRY(myr_spec_check_keys(service->spec, map, known, err));
    MYR_TRY(validate_bounds(service, map, &out->min, &out->max, err));
    MYR_TRY(myr_spec_bool(service->spec, map, "finite", false, &out->is_finite, err));
    MYR_TRY(myr_spec_bool(service->spec, map, "monotone", false, &out->is_monotone, err));
    return validate_then(service, map, &out->then, err);
}

myr_rc myr_service_validate(const serve_service *service, const myr_spec_node *map, serve_validate *out, myr_err *err)
{
    static const char *const known[] = {"on_violation", "inputs", "monotone", "output", NULL};
    *out = (serve_validate){.then = SERVE_REJECT};
    MYR_TRY(myr_spec_check_keys(service->spec, map, known, err));
    MYR_TRY(validate_then(service, map, &out->then, err));
    MYR_TRY(validate_inputs(service, myr_spec_find(map, "inputs"), out, err));
    MYR_TRY(validate_orders(service, myr_spec_find(map, "monotone"), out, err));
    return validate_output(service, myr_spec_find(map, "output"), out->then, &out->output, err);
}
