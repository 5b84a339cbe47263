/* The spec of a training, read into a plan: every key checked where it stands. */
#include <stdlib.h>
#include <string.h>

#include "train/internal.h"

#define PLAN_NUMBER_MAX  1e12
#define PLAN_THREADS_MAX 256

static const char *const plan_keys[] = {"fleet",    "data", "partition",  "target",    "time",
                                        "features", "test", "validation", "anomalies", "trials",
                                        "min_rows", "tags", "seed",       "threads",   NULL};

static bool plan_has(const char *const *names, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

/* A list of column names, none twice. */
static myr_rc plan_columns(const myr_spec *spec, const myr_spec_node *root, const char *key, bool required,
                           uint32_t max, const char *const **out, uint32_t *out_count, myr_err *err)
{
    const char *const *names = NULL;
    uint32_t count = 0;
    MYR_TRY(myr_spec_texts(spec, root, key, required, &names, &count, err));
    if (count == 0) return MYR_OK;
    const myr_spec_node *node = myr_spec_find(root, key);
    if (count > max) return myr_spec_fail(spec, node, err, "%u columns in '%s', at most %u", count, key, max);
    for (uint32_t i = 0; i < count; i++) {
        const myr_spec_node *at = node->kind == MYR_SPEC_LIST ? node->items[i] : node;
        size_t size = strlen(names[i]);
        if (size == 0 || size > MYR_NAME_BYTES_MAX) {
            return myr_spec_fail(spec, at, err, "'%s': a column name has 1 to %d bytes", key, MYR_NAME_BYTES_MAX);
        }
        if (plan_has(names, i, names[i]))
            return myr_spec_fail(spec, at, err, "'%s' stands twice in '%s'", names[i], key);
    }
    *out = names;
    *out_count = count;
    return MYR_OK;
}

static myr_rc plan_path(myr_train_plan *plan, const char *spec_path, const char *path, const char **out, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    char joined[MYR_PATH_BYTES_MAX];
    myr_path_dir(spec_path, dir, sizeof dir);
    if (path[0] == '/') {
        *out = path;
        return MYR_OK;
    }
    MYR_TRY(myr_path_join(joined, sizeof joined, dir, path, err));
    *out = myr_arena_strndup(plan->arena, joined, strlen(joined));
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", spec_path);
    return MYR_OK;
}

static myr_rc plan_target(const myr_spec *spec, const myr_spec_node *root, myr_train_plan *plan, myr_err *err)
{
    static const char *const keys[] = {"column", "transform", NULL};
    const myr_spec_node *node = myr_spec_find(root, "target");
    if (node != NULL && node->kind == MYR_SPEC_SCALAR) {
        return myr_spec_text(spec, root, "target", true, &plan->target, err);
    }
    if (node == NULL) return myr_spec_fail(spec, root, err, "'target' is missing: the column to predict");
    MYR_TRY(myr_spec_check_keys(spec, node, keys, err));
    MYR_TRY(myr_spec_text(spec, node, "column", true, &plan->target, err));
    MYR_TRY(myr_spec_text(spec, node, "transform", false, &plan->transform, err));
    if (strcmp(plan->transform, "none") == 0) plan->transform = "";
    if (plan->transform[0] != '\0' && strcmp(plan->transform, "log") != 0) {
        return myr_spec_fail(spec, myr_spec_find(node, "transform"), err,
                             "unknown transform '%.60s': known are log (the column holds logarithms) and none",
                             plan->transform);
    }
    return MYR_OK;
}

/* A relative path none of whose parts is `..`; "" is none at all. */
static bool plan_stays_below(const char *path)
{
    myr_str rest = myr_str_of(path), part;
    if (path[0] == '/') return false;
    while (myr_str_split(&rest, '/', &part)) {
        if (myr_str_is(part, "..")) return false;
    }
    return true;
}

static myr_rc plan_split(const myr_spec *spec, const myr_spec_node *root, myr_train_plan *plan, myr_err *err)
{
    static const char *const test_keys[] = {"last", "write", NULL};
    static const char *const window_keys[] = {"windows", "size", NULL};
    const myr_spec_node *test = myr_spec_find(root, "test");
    const myr_spec_node *validation = myr_spec_find(root, "validation");
    if (test == NULL) return myr_spec_fail(spec, root, err, "'test' is missing: for example test: {last: 8}");
    MYR_TRY(myr_spec_check_keys(spec, test, test_keys, err));
    MYR_TRY(myr_spec_double(spec, test, "last", true, 1e-9, PLAN_NUMBER_MAX, &plan->test_last, err));
    MYR_TRY(myr_spec_text(spec, test, "write", false, &plan->test_write, err));
    if (!plan_stays_below(plan->test_write)) {
        return myr_spec_fail(spec, myr_spec_find(test, "write"), err,
                             "'write' must be a path below the workspace, such as data/test.csv, without '..'");
    }
    plan->window_size = plan->test_last;
    if (validation == NULL) return MYR_OK;
    int64_t windows = plan->window_count;
    MYR_TRY(myr_spec_check_keys(spec, validation, window_keys, err));
    MYR_TRY(myr_spec_int(spec, validation, "windows", false, 1, MYR_TRAIN_WINDOWS_MAX, &windows, err));
    MYR_TRY(myr_spec_double(spec, validation, "size", false, 1e-9, PLAN_NUMBER_MAX, &plan->window_size, err));
    plan->window_count = (uint32_t)windows;
    return MYR_OK;
}

static myr_rc plan_anomalies(const myr_spec *spec, const myr_spec_node *root, myr_train_plan *plan, myr_err *err)
{
    static const char *const keys[] = {"rule", "limit", "max_share", NULL};
    const myr_spec_node *node = myr_spec_find(root, "anomalies");
    const char *rule = "mad";
    if (node == NULL) return MYR_OK;
    if (node->kind == MYR_SPEC_SCALAR && !node->is_quoted && strcmp(node->text, "none") == 0) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(spec, node, keys, err));
    MYR_TRY(myr_spec_text(spec, node, "rule", false, &rule, err));
    if (strcmp(rule, "mad") != 0) {
        return myr_spec_fail(spec, myr_spec_find(node, "rule"), err, "unknown rule '%.60s': known is mad", rule);
    }
    plan->cleans = true;
    MYR_TRY(myr_spec_double(spec, node, "limit", false, 0.1, PLAN_NUMBER_MAX, &plan->clean_limit, err));
    return myr_spec_double(spec, node, "max_share", false, 0, 0.5, &plan->clean_share, err);
}

static myr_rc plan_tags(const myr_spec *spec, const myr_spec_node *root, myr_train_plan *plan, myr_err *err)
{
    const myr_spec_node *node = myr_spec_find(root, "tags");
    if (node == NULL) return MYR_OK;
    if (node->kind != MYR_SPEC_MAP)
        return myr_spec_fail(spec, node, err, "'tags' must be keys with values: {team: sales}");
    if (node->count > MYR_TAGS_MAX - 2)
        return myr_spec_fail(spec, node, err, "%u tags, at most %d", node->count, MYR_TAGS_MAX - 2);
    plan->tags = myr_arena_calloc(plan->arena, node->count + 1, sizeof *plan->tags);
    if (plan->tags == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u tags", node->count);
    for (uint32_t i = 0; i < node->count; i++) {
        const char *key = node->keys[i]->text;
        if (!myr_name_is_valid(myr_str_of(key))) {
            return myr_spec_fail(spec, node->keys[i], err,
                                 "'%.60s' is not a tag's name: letters, digits, '.', '_' and '-'", key);
        }
        if (strcmp(key, "level") == 0 || strcmp(key, "algorithm") == 0) {
            return myr_spec_fail(spec, node->keys[i], err, "the tag '%s' is set by training itself: take another name",
                                 key);
        }
        plan->tags[i].key = key;
        MYR_TRY(myr_spec_text(spec, node, key, true, &plan->tags[i].value, err));
        if (strlen(plan->tags[i].value) > MYR_TAG_VALUE_BYTES_MAX) {
            return myr_spec_fail(spec, node->items[i], err, "a tag's value has at most %d bytes",
                                 MYR_TAG_VALUE_BYTES_MAX);
        }
        plan->tag_count++;
    }
    return MYR_OK;
}

/* What one key alone cannot tell. */
static myr_rc plan_check_columns(const myr_spec *spec, const myr_spec_node *root, const myr_train_plan *plan,
                                 myr_err *err)
{
    if (!myr_name_is_valid(myr_str_of(plan->fleet))) {
        return myr_spec_fail(spec, myr_spec_find(root, "fleet"), err,
                             "'%.60s' is not a fleet's name: letters, digits, '.', '_' and '-', at most %d",
                             plan->fleet, MYR_NAME_BYTES_MAX);
    }
    if (plan_has(plan->features, plan->feature_count, plan->target)) {
        return myr_spec_fail(spec, myr_spec_find(root, "features"), err,
                             "the target '%.60s' stands among the features: it would predict itself", plan->target);
    }
    if (plan_has(plan->partition, plan->partition_count, plan->target) || strcmp(plan->target, plan->time) == 0) {
        return myr_spec_fail(spec, myr_spec_find(root, "target"), err,
                             "'%.60s' is the target and also time or a partition column", plan->target);
    }
    if (plan_has(plan->partition, plan->partition_count, plan->time)) {
        return myr_spec_fail(spec, myr_spec_find(root, "time"), err, "'%.60s' is time and also a partition column",
                             plan->time);
    }
    return MYR_OK;
}

static myr_rc plan_read(const char *spec_path, myr_train_plan *plan, myr_err *err)
{
    MYR_TRY(myr_spec_load(spec_path, &plan->spec, err));
    const myr_spec *spec = plan->spec;
    const myr_spec_node *root = myr_spec_root(spec);
    const char *data = NULL;
    MYR_TRY(myr_spec_check_keys(spec, root, plan_keys, err));
    MYR_TRY(myr_spec_text(spec, root, "fleet", true, &plan->fleet, err));
    MYR_TRY(myr_spec_text(spec, root, "data", true, &data, err));
    MYR_TRY(plan_path(plan, spec_path, data, &plan->data, err));
    MYR_TRY(plan_columns(spec, root, "partition", false, MYR_PARTITION_COLUMNS_MAX, &plan->partition,
                         &plan->partition_count, err));
    MYR_TRY(plan_target(spec, root, plan, err));
    MYR_TRY(myr_spec_text(spec, root, "time", true, &plan->time, err));
    MYR_TRY(
        plan_columns(spec, root, "features", true, MYR_TRAIN_FEATURES_MAX, &plan->features, &plan->feature_count, err));
    if (plan->feature_count == 0)
        return myr_spec_fail(spec, myr_spec_find(root, "features"), err, "'features' is empty");
    MYR_TRY(plan_check_columns(spec, root, plan, err));
    MYR_TRY(plan_split(spec, root, plan, err));
    MYR_TRY(plan_anomalies(spec, root, plan, err));
    MYR_TRY(myr_spec_int(spec, root, "min_rows", false, 2, 1000000000, &plan->min_rows, err));
    MYR_TRY(myr_spec_int(spec, root, "seed", false, 0, INT32_MAX, &plan->seed, err));
    MYR_TRY(myr_spec_int(spec, root, "threads", false, 0, PLAN_THREADS_MAX, &plan->threads, err));
    MYR_TRY(plan_tags(spec, root, plan, err));
    return myr_train_plan_trials(spec, root, plan, err);
}

myr_rc myr_train_plan_load(const char *spec_path, myr_train_plan **out, myr_err *err)
{
    myr_train_plan *plan = myr_calloc(1, sizeof *plan);
    if (plan == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", spec_path);
    plan->arena = myr_arena_new(0);
    plan->transform = plan->test_write = "";
    plan->window_count = 3;
    plan->clean_limit = 6;
    plan->clean_share = 0.05;
    plan->min_rows = 20;
    myr_rc rc = plan->arena != NULL ? plan_read(spec_path, plan, err)
                                    : MYR_ERROR(err, NO_MEMORY, "no memory to read %s", spec_path);
    if (rc != MYR_OK) {
        myr_train_plan_free(plan);
        return rc;
    }
    *out = plan;
    return MYR_OK;
}

void myr_train_plan_free(myr_train_plan *plan)
{
    if (plan == NULL) return;
    myr_spec_free(plan->spec);
    myr_arena_free(plan->arena);
    myr_free(plan);
}
