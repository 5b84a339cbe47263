/*
 * The plan of an import: which fleet, which partition columns, which signature, and the canonical segment of each item.
 * What an existing fleet has is fixed; what is new comes from the definition, else from the items. A fleet that has
 * only a global model has no partition columns: the first keyed import gives them.
 */
#include <string.h>

#include "fleet/import.h"

static myr_rc plan_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "no memory to plan the import");
}

/* A failure that one item caused. */
static myr_rc plan_fail_item(import_job *job, size_t item_idx, myr_rc rc, myr_err *err)
{
    job->failed_item = item_idx;
    return myr_err_prefix(err, rc, "%s: ", import_name(&job->given[item_idx]));
}

/* ---- what an existing fleet fixes ---- */

static myr_rc plan_check_names(const char *fleet, const char *what, const char *const *have, uint32_t have_count,
                               const char *const *want, uint32_t want_count, myr_err *err)
{
    if (have_count != want_count) {
        MYR_FAIL(err, BAD_INPUT, "fleet '%s' has %u %ss, not %u: they are fixed, use another fleet name", fleet,
                 have_count, what, want_count);
    }
    for (uint32_t i = 0; i < have_count; i++) {
        if (strcmp(have[i], want[i]) == 0) continue;
        MYR_FAIL(err, BAD_INPUT, "fleet '%s': its %s %u is '%s', not '%s': they are fixed, use another fleet name",
                 fleet, what, i + 1, have[i], want[i]);
    }
    return MYR_OK;
}

static myr_rc plan_check_existing(const myr_fleet_row *fleet, const myr_fleet_def *def, myr_err *err)
{
    /* A fleet without any gets them now. */
    if (def->partition_columns != NULL && fleet->partition_count > 0) {
        MYR_TRY(plan_check_names(fleet->name, "partition column", fleet->partition_columns, fleet->partition_count,
                                 def->partition_columns, def->partition_count, err));
    }
    if (def->features != NULL) {
        MYR_TRY(plan_check_names(fleet->name, "feature", fleet->features, fleet->feature_count, def->features,
                                 def->feature_count, err));
    }
    if (def->target != NULL && strcmp(def->target, fleet->target) != 0) {
        MYR_FAIL(err, BAD_INPUT, "fleet '%s' predicts '%s', not '%s': that is fixed, use another fleet name",
                 fleet->name, fleet->target, def->target);
    }
    if (def->target_transform != NULL && strcmp(def->target_transform, fleet->target_transform) != 0) {
        MYR_FAIL(err, BAD_INPUT, "fleet '%s' has the target transform '%s', not '%s': use another fleet name",
                 fleet->name, fleet->target_transform, def->target_transform);
    }
    return MYR_OK;
}

/* ---- partition columns of a fleet that has none ---- */

/* As written in the first item that has the most parts. */
static myr_rc plan_columns_from_items(import_job *job, myr_err *err)
{
    myr_segment most = {.part_count = 0};
    for (size_t i = 0; i < job->item_count; i++) {
        myr_segment segment;
        myr_rc rc = myr_segment_parse(myr_str_of(job->given[i].segment), &segment, err);
        if (rc != MYR_OK) return plan_fail_item(job, i, rc, err);
        if (segment.part_count > most.part_count) most = segment;
    }
    const char **names = myr_arena_calloc(job->arena, (size_t)most.part_count + 1, sizeof *names);
    if (names == NULL) return plan_no_memory(err);
    for (uint32_t i = 0; i < most.part_count; i++) {
        names[i] = myr_arena_strndup(job->arena, most.parts[i].name, strlen(most.parts[i].name));
        if (names[i] == NULL) return plan_no_memory(err);
    }
    job->fleet.partition_columns = names;
    job->fleet.partition_count = most.part_count;
    return MYR_OK;
}

static myr_rc plan_columns(import_job *job, myr_err *err)
{
    job->fleet.partition_columns = job->def->partition_columns;
    job->fleet.partition_count = job->def->partition_columns != NULL ? job->def->partition_count : 0;
    if (job->def->partition_columns == NULL) MYR_TRY(plan_columns_from_items(job, err));
    for (uint32_t i = 0; i < job->fleet.partition_count; i++)
        MYR_TRY(myr_registry_check_partition(job->fleet.partition_columns[i], err));
    return MYR_OK;
}

/* ---- signature of a new fleet ---- */

/* The features of a new fleet: the definition's, else those of the first item. */
static myr_rc plan_take_features(import_job *job, const char *const *features, uint32_t feature_count, myr_err *err)
{
    if (job->def->features != NULL) {
        job->fleet.features = job->def->features;
        job->fleet.feature_count = job->def->feature_count;
        return MYR_OK;
    }
    const char **names = myr_arena_calloc(job->arena, (size_t)feature_count + 1, sizeof *names);
    if (names == NULL) return plan_no_memory(err);
    for (uint32_t i = 0; i < feature_count; i++) {
        names[i] = myr_arena_strndup(job->arena, features[i], strlen(features[i]));
        if (names[i] == NULL) return plan_no_memory(err);
    }
    job->fleet.features = names;
    job->fleet.feature_count = feature_count;
    return MYR_OK;
}

/* Values per row: what the compiled model says, since a transform may make more or fewer of its margins. */
static myr_rc plan_output_count(const myr_imported *imported, uint32_t *out, myr_err *err)
{
    MYR_AUTO(myr_mem) bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    myr_model_info info;
    MYR_TRY(myr_imported_compile(imported, (const char *const *)imported->feature_names, imported->feature_count, NULL,
                                 (unsigned char **)&bytes, &size, err));
    MYR_TRY(myr_model_check(bytes, size, &model, err));
    myr_model_get_info(model, &info);
    *out = info.output_count;
    return MYR_OK;
}

/* The first item gives the number of outputs, and the features if the definition has none. */
static myr_rc plan_signature(import_job *job, myr_err *err)
{
    MYR_AUTO(import_model) read = {0};
    MYR_TRY(myr_fleet_import_read(job, &job->given[0], job->def->features, job->def->feature_count, &read, err));
    const myr_imported *imported = read.imported;
    if (imported == NULL) {
        job->fleet.output_count = read.external.output_count;
        return plan_take_features(job, read.external.features, read.external.feature_count, err);
    }
    myr_rc rc = plan_output_count(imported, &job->fleet.output_count, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", import_name(&job->given[0]));
    return plan_take_features(job, (const char *const *)imported->feature_names, imported->feature_count, err);
}

static myr_rc plan_new_fleet(import_job *job, myr_err *err)
{
    const myr_fleet_def *def = job->def;
    job->is_new = true;
    job->fleet = (myr_fleet_row){
        .name = def->name,
        .target = def->target != NULL ? def->target : "",
        .target_transform = def->target_transform != NULL ? def->target_transform : "",
        .created_ms = myr_clock_unix_ms(),
    };
    MYR_TRY(plan_columns(job, err));
    myr_rc rc = plan_signature(job, err);
    if (rc != MYR_OK) job->failed_item = 0;
    return rc;
}

/* ---- items ---- */

static myr_rc plan_segment(import_job *job, size_t item_idx, myr_buf *text, myr_err *err)
{
    const myr_fleet_item *given = &job->given[item_idx];
    import_item *item = &job->items[item_idx];
    myr_segment segment;
    MYR_TRY(myr_segment_parse(myr_str_of(given->segment), &segment, err));
    myr_buf_clear(text);
    MYR_TRY(myr_segment_format(&segment, job->fleet.partition_columns, job->fleet.partition_count, text, err));
    item->segment = myr_arena_strndup(job->arena, text->size > 0 ? text->data : "", text->size);
    item->key_columns = segment.part_count;
    return item->segment != NULL ? MYR_OK : plan_no_memory(err);
}

/* Names that replace the file's, one per line: names have no control characters (import checks that). */
static myr_rc plan_features(import_job *job, size_t item_idx, myr_buf *text, myr_err *err)
{
    const myr_fleet_item *given = &job->given[item_idx];
    myr_buf_clear(text);
    for (uint32_t i = 0; given->features != NULL && i < given->feature_count; i++) {
        if (i > 0) myr_buf_putc(text, '\n');
        myr_buf_puts(text, given->features[i]);
    }
    MYR_TRY(myr_buf_check(text, err));
    job->items[item_idx].features = myr_arena_strndup(job->arena, text->size > 0 ? text->data : "", text->size);
    return job->items[item_idx].features != NULL ? MYR_OK : plan_no_memory(err);
}

static myr_rc plan_options(import_job *job, size_t item_idx, myr_buf *text, myr_err *err)
{
    MYR_TRY(myr_fleet_options_format(&job->given[item_idx], text, err));
    job->items[item_idx].options = myr_arena_strndup(job->arena, text->size > 0 ? text->data : "", text->size);
    return job->items[item_idx].options != NULL ? MYR_OK : plan_no_memory(err);
}

static myr_rc plan_items(import_job *job, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    MYR_AUTO(myr_buf) text = {0};
    if (seen == NULL) return plan_no_memory(err);
    for (size_t i = 0; i < job->item_count; i++) {
        myr_rc rc = plan_segment(job, i, &text, err);
        if (rc == MYR_OK) rc = plan_features(job, i, &text, err);
        if (rc == MYR_OK) rc = plan_options(job, i, &text, err);
        if (rc != MYR_OK) return plan_fail_item(job, i, rc, err);
        myr_str segment = myr_str_of(job->items[i].segment);
        uint64_t first = 0;
        if (myr_map_find(seen, segment, &first)) {
            job->failed_item = i;
            MYR_FAIL(err, BAD_INPUT, "%s: the segment '%.100s' was given before, by %s: one model per segment",
                     import_name(&job->given[i]), job->items[i].segment, import_name(&job->given[first]));
        }
        MYR_TRY(myr_map_put(seen, segment, i, err));
    }
    return MYR_OK;
}

myr_rc myr_fleet_import_plan(import_job *job, myr_err *err)
{
    const char *name = job->def->name != NULL ? job->def->name : "";
    if (!myr_name_is_valid(myr_str_of(name))) {
        MYR_FAIL(err, BAD_INPUT,
                 "fleet name '%.150s': 1 to %d letters, digits, '.', '_', '-', the first a letter or digit", name,
                 MYR_NAME_BYTES_MAX);
    }
    myr_err own = {0};
    myr_rc rc = myr_registry_fleet_get(job->workspace->registry, job->arena, name, &job->fleet, &own);
    if (rc == MYR_NOT_FOUND) {
        MYR_TRY(plan_new_fleet(job, err));
    } else if (rc != MYR_OK) {
        if (err != NULL) *err = own;
        return rc;
    } else {
        MYR_TRY(plan_check_existing(&job->fleet, job->def, err));
        if (job->fleet.partition_count == 0) {
            MYR_TRY(plan_columns(job, err));
            job->sets_partition = job->fleet.partition_count > 0;
        }
    }
    return plan_items(job, err);
}
