/*
 * The trials of a spec. An algorithm stands alone (`- mean`) or with settings (`- ridge: {lambda: [1, 10]}`); a setting
 * with several values makes a candidate of each, several such settings one of each combination, the last varying
 * fastest.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/internal.h"

const myr_train_algorithm *const myr_train_algorithms[] = {&myr_train_mean, &myr_train_ridge, &myr_train_boosted, NULL};

/* Values of each setting, before they are combined. */
typedef struct trials_grid {
    const myr_train_algorithm *algorithm;
    double values[MYR_TRAIN_SETTINGS_MAX][MYR_TRAIN_CANDIDATES_MAX];
    uint32_t counts[MYR_TRAIN_SETTINGS_MAX];
    uint32_t given;
} trials_grid;

static myr_rc trials_algorithm(const myr_spec *spec, const myr_spec_node *name, const myr_train_algorithm **out,
                               myr_err *err)
{
    const char *names[8] = {0};
    char list[128] = "";
    size_t used = 0;
    for (size_t i = 0; myr_train_algorithms[i] != NULL; i++) {
        MYR_ASSERT(i + 1 < MYR_COUNT_OF(names));
        names[i] = myr_train_algorithms[i]->name;
        if (strcmp(name->text, names[i]) == 0) {
            *out = myr_train_algorithms[i];
            return MYR_OK;
        }
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", names[i]);
        MYR_ASSERT(used < sizeof list);
    }
    const char *nearest = myr_nearest(name->text, names);
    return myr_spec_fail(spec, name, err, "unknown algorithm '%.60s'%s%s%s: known are %s", name->text,
                         nearest != NULL ? " (did you mean '" : "", nearest != NULL ? nearest : "",
                         nearest != NULL ? "'?)" : "", list);
}

/* One value of a setting, from its scalar. */
static myr_rc trials_value(const myr_spec *spec, const myr_spec_node *node, const myr_train_setting *setting,
                           double *out, myr_err *err)
{
    if (node->kind != MYR_SPEC_SCALAR || node->is_null) {
        return myr_spec_fail(spec, node, err, "'%s' must be a value or a list of values", setting->name);
    }
    if (setting->words != NULL) {
        for (uint32_t i = 0; setting->words[i] != NULL; i++) {
            if (strcmp(setting->words[i], node->text) != 0) continue;
            *out = i;
            return MYR_OK;
        }
        return myr_spec_fail(spec, node, err, "'%s' cannot be '%.60s': known are %s, %s%s%s", setting->name, node->text,
                             setting->words[0], setting->words[1], setting->words[2] != NULL ? ", " : "",
                             setting->words[2] != NULL ? setting->words[2] : "");
    }
    double value = 0;
    if (node->is_quoted || !myr_parse_double(myr_str_of(node->text), &value) || !isfinite(value)) {
        return myr_spec_fail(spec, node, err, "'%s' must be a number, not '%.60s'", setting->name, node->text);
    }
    if (setting->is_whole && value != floor(value)) {
        return myr_spec_fail(spec, node, err, "'%s' must be a whole number, not %.60s", setting->name, node->text);
    }
    if (value < setting->min || value > setting->max) {
        return myr_spec_fail(spec, node, err, "'%s' must be from %g to %g, not %.60s", setting->name, setting->min,
                             setting->max, node->text);
    }
    *out = value;
    return MYR_OK;
}

static myr_rc trials_setting(const myr_spec *spec, const myr_spec_node *node, uint32_t s, trials_grid *grid,
                             myr_err *err)
{
    const myr_train_setting *setting = &grid->algorithm->settings[s];
    bool is_list = node->kind == MYR_SPEC_LIST;
    uint32_t count = is_list ? node->count : 1;
    if (count == 0) return myr_spec_fail(spec, node, err, "'%s' has no value", setting->name);
    if (count > MYR_TRAIN_CANDIDATES_MAX) {
        return myr_spec_fail(spec, node, err, "%u values of '%s', at most %d candidates", count, setting->name,
                             MYR_TRAIN_CANDIDATES_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        MYR_TRY(trials_value(spec, is_list ? node->items[i] : node, setting, &grid->values[s][i], err));
    }
    grid->counts[s] = count;
    grid->given |= 1u << s;
    return MYR_OK;
}

static myr_rc trials_settings(const myr_spec *spec, const myr_spec_node *map, trials_grid *grid, myr_err *err)
{
    const myr_train_algorithm *a = grid->algorithm;
    const char *names[MYR_TRAIN_SETTINGS_MAX + 1] = {0};
    MYR_ASSERT(a != NULL && a->setting_count <= MYR_TRAIN_SETTINGS_MAX);
    for (uint32_t s = 0; s < a->setting_count; s++) {
        names[s] = a->settings[s].name;
        grid->counts[s] = 1;
        grid->values[s][0] = a->settings[s].preset;
    }
    if (map == NULL) return MYR_OK;
    if (a->setting_count == 0) return myr_spec_fail(spec, map, err, "'%s' has no settings", a->name);
    MYR_TRY(myr_spec_check_keys(spec, map, names, err));
    for (uint32_t s = 0; s < a->setting_count; s++) {
        const myr_spec_node *node = myr_spec_find(map, names[s]);
        if (node != NULL) MYR_TRY(trials_setting(spec, node, s, grid, err));
    }
    return MYR_OK;
}

/* Count through the combinations as an odometer does. */
static myr_rc trials_expand(const myr_spec *spec, const myr_spec_node *node, const trials_grid *grid,
                            myr_train_plan *plan, myr_err *err)
{
    uint32_t at[MYR_TRAIN_SETTINGS_MAX] = {0};
    uint32_t settings = grid->algorithm->setting_count;
    for (;;) {
        if (plan->candidate_count == MYR_TRAIN_CANDIDATES_MAX) {
            return myr_spec_fail(spec, node, err, "more than %d candidates: give fewer values",
                                 MYR_TRAIN_CANDIDATES_MAX);
        }
        myr_train_candidate *candidate = &plan->candidates[plan->candidate_count++];
        *candidate = (myr_train_candidate){.algorithm = grid->algorithm, .given = grid->given};
        for (uint32_t s = 0; s < settings; s++)
            candidate->values[s] = grid->values[s][at[s]];
        MYR_ASSERT(settings <= MYR_TRAIN_SETTINGS_MAX);
        uint32_t turning = settings;
        while (turning > 0 && ++at[turning - 1] == grid->counts[turning - 1])
            at[--turning] = 0;
        if (turning == 0) return MYR_OK;
    }
}

static myr_rc trials_one(const myr_spec *spec, const myr_spec_node *node, trials_grid *grid, myr_train_plan *plan,
                         myr_err *err)
{
    const myr_spec_node *name = node;
    const myr_spec_node *settings = NULL;
    if (node->kind == MYR_SPEC_MAP && node->count == 1) {
        name = node->keys[0];
        settings = node->items[0];
        if (settings->kind == MYR_SPEC_SCALAR && settings->is_null) settings = NULL;
    }
    if (name->kind != MYR_SPEC_SCALAR || name->is_null) {
        return myr_spec_fail(spec, node, err,
                             "a trial is an algorithm, or one with settings: - ridge: {lambda: [1, 10]}");
    }
    *grid = (trials_grid){0};
    MYR_TRY(trials_algorithm(spec, name, &grid->algorithm, err));
    MYR_TRY(trials_settings(spec, settings, grid, err));
    return trials_expand(spec, node, grid, plan, err);
}

myr_rc myr_train_plan_trials(const myr_spec *spec, const myr_spec_node *root, myr_train_plan *plan, myr_err *err)
{
    const myr_spec_node *list = myr_spec_find(root, "trials");
    if (list == NULL || list->kind != MYR_SPEC_LIST || list->count == 0) {
        return myr_spec_fail(spec, list != NULL ? list : root, err, "'trials' must be a list of algorithms: - mean");
    }
    trials_grid *grid = myr_arena_alloc(plan->arena, sizeof *grid);
    if (grid == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the trials");
    for (uint32_t i = 0; i < list->count; i++) {
        MYR_TRY(trials_one(spec, list->items[i], grid, plan, err));
    }
    plan->candidates[plan->candidate_count] = (myr_train_candidate){.algorithm = &myr_train_mean};
    plan->mean_idx = 0;
    while (plan->candidates[plan->mean_idx].algorithm != &myr_train_mean)
        plan->mean_idx++;
    MYR_ASSERT(plan->mean_idx <= plan->candidate_count);
    return MYR_OK;
}
