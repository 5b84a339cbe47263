/*
 * The columns of a run. Read: keys, features, the target if it is there. Copied: partition columns, those of --by, then
 * --keep (by default every column that is neither key nor feature). Made: predictions, and those details that are to be
 * written.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "batch/sink.h"

typedef struct plan_table {
    const char *input;
    const myr_table_column *columns;
    size_t count;
    const char **names;       /* NULL-terminated */
    const char *const *files; /* at least one */
} plan_table;

static const myr_table_column *plan_find(const plan_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->columns[i].name, name) == 0) return &table->columns[i];
    }
    return NULL;
}

static myr_rc plan_need(const plan_table *table, const char *name, const char *what, myr_err *err)
{
    const myr_table_column *column = plan_find(table, name);
    if (column != NULL && column->twin != NULL) {
        MYR_FAIL(err, BAD_INPUT, "%s has two columns '%s' (%s): rename or remove one", table->files[0], column->twin,
                 what);
    }
    if (column != NULL || myr_table_path_has(table->files[0], name)) return MYR_OK;
    const char *nearest = myr_table_nearest(name, table->names);
    if (nearest != NULL) {
        MYR_FAIL(err, BAD_INPUT, "%s has no column '%s' (%s); did you mean '%s'?", table->files[0], name, what,
                 nearest);
    }
    MYR_FAIL(err, BAD_INPUT, "%s has no column '%s' (%s)", table->files[0], name, what);
}

static bool plan_is_in(const char *name, const char *const *list)
{
    for (; list != NULL && *list != NULL; list++) {
        if (strcmp(*list, name) == 0) return true;
    }
    return false;
}

/* ---- read ---- */

static myr_rc plan_wants(const myr_fleet *fleet, myr_arena *arena, batch_plan *plan, myr_err *err)
{
    const myr_pack_info *info = fleet->info;
    plan->wants = myr_arena_calloc(arena, info->keys.column_count + info->feature_count + 1u, sizeof *plan->wants);
    if (plan->wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", fleet->name);
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        plan->wants[plan->want_count++] = (myr_table_want){.name = info->keys.columns[i].name,
                                                           .as_key = true,
                                                           .as_int64 = info->keys.columns[i].type == MYR_KEY_INT64};
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        plan->wants[plan->want_count++] =
            (myr_table_want){.name = info->features[i], .as_text = myr_pack_takes_text(info, i)};
    }
    plan->key_count = info->keys.column_count;
    plan->feature_count = info->feature_count;
    if (plan->has_target) plan->wants[plan->want_count++] = (myr_table_want){.name = fleet->row.target};
    return MYR_OK;
}

static myr_rc plan_check(const plan_table *table, const myr_fleet *fleet, const batch_plan *plan, myr_err *err)
{
    const myr_pack_info *info = fleet->info;
    for (uint32_t i = 0; i < info->keys.column_count; i++)
        MYR_TRY(plan_need(table, info->keys.columns[i].name, "a partition column of the fleet", err));
    for (uint32_t i = 0; i < info->feature_count; i++)
        MYR_TRY(plan_need(table, info->features[i], "a feature of the fleet", err));
    return plan->has_target ? plan_need(table, fleet->row.target, "the target of the fleet", err) : MYR_OK;
}

/* The target is compared if it is there as a number, and with one prediction a row. */
static bool plan_compares(const plan_table *table, const myr_fleet *fleet, const batch_plan *plan)
{
    const char *target = fleet->row.target;
    const myr_table_column *column = target != NULL && target[0] != '\0' ? plan_find(table, target) : NULL;
    return column != NULL && column->is_numeric && fleet->info->output_count == 1 && plan->kinds[0] == MYR_OUTPUT_VALUE;
}

/* ---- made ---- */

/* What is asked for, and how many columns that is. */
static myr_rc plan_kinds(const myr_fleet *fleet, const myr_batch_opts *opts, batch_plan *plan, myr_err *err)
{
    size_t total = 0;
    MYR_ASSERT(opts->kind_count <= MYR_OUTPUT_COUNT);
    plan->kind_count = opts->kind_count > 0 ? opts->kind_count : 1;
    for (uint32_t k = 0; k < plan->kind_count; k++) {
        size_t width = 0;
        plan->kinds[k] = opts->kind_count > 0 ? opts->kinds[k] : MYR_OUTPUT_VALUE;
        MYR_TRY(myr_scorer_check_output(fleet->scorer, MYR_PACK_NONE, plan->kinds[k], &width, err));
        total += width;
        if (total > MYR_BATCH_VALUES_MAX) {
            MYR_FAIL(err, TOO_LARGE, "%s and what stands before it are %zu columns, at most %d are written",
                     myr_output_name(plan->kinds[k]), total, MYR_BATCH_VALUES_MAX);
        }
        plan->kind_widths[k] = (uint32_t)width;
    }
    plan->value_count = (uint32_t)total;
    return MYR_OK;
}

static myr_rc plan_value_names(const myr_fleet *fleet, myr_arena *arena, batch_plan *plan, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    for (uint32_t k = 0; k < plan->kind_count; k++) {
        for (uint32_t i = 0; i < plan->kind_widths[k]; i++) {
            text.size = 0;
            myr_scorer_column_name(fleet->scorer, plan->kinds[k], plan->kind_widths[k], i, &text);
            MYR_TRY(myr_buf_check(&text, err));
            const char *name = myr_arena_strndup(arena, text.data, text.size);
            if (name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the output's columns");
            plan->outputs[plan->output_count++] = (myr_table_output){.name = name, .type = MYR_COL_DOUBLE};
        }
    }
    return MYR_OK;
}

static const char *plan_level(uint32_t code)
{
    return myr_level_name((myr_level)code);
}

static const char *plan_status(uint32_t code)
{
    return myr_row_status_name((myr_row_status)code);
}

/* A column of codes, and what they are called. */
static myr_rc plan_words(myr_table_output *output, uint32_t count, const char *(*word)(uint32_t), myr_arena *arena,
                         myr_err *err)
{
    const char **words = myr_arena_calloc(arena, count, sizeof *words);
    if (words == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the output's columns");
    for (uint32_t i = 0; i < count; i++)
        words[i] = word(i);
    output->words = words;
    output->word_count = count;
    return MYR_OK;
}

/* What is not written is not made: of a run that only counts, nothing is. */
static myr_rc plan_details(const myr_batch_opts *opts, myr_arena *arena, batch_plan *plan, myr_err *err)
{
    for (int i = 0; i < MYR_BATCH_DETAIL_COUNT; i++) {
        bool is_number = i == MYR_BATCH_MODEL_VERSION;
        myr_table_output *output = &plan->outputs[plan->output_count];
        plan->detail_at[i] = -1;
        if (opts->leaves_out[i] || opts->action == MYR_BATCH_SUMMARY) continue;
        plan->detail_at[i] = (int)plan->output_count++;
        *output = (myr_table_output){.name = myr_batch_detail_name((myr_batch_detail)i),
                                     .type = is_number ? MYR_COL_INT64 : MYR_COL_TEXT};
        if (i == MYR_BATCH_LEVEL) MYR_TRY(plan_words(output, MYR_LEVEL_COUNT, plan_level, arena, err));
        if (i == MYR_BATCH_STATUS) MYR_TRY(plan_words(output, MYR_ROW_STATUS_COUNT, plan_status, arena, err));
    }
    return MYR_OK;
}

static myr_rc plan_outputs(const myr_fleet *fleet, const myr_batch_opts *opts, myr_arena *arena, batch_plan *plan,
                           myr_err *err)
{
    MYR_ASSERT(plan->value_count > 0 && plan->value_count <= MYR_BATCH_VALUES_MAX);
    plan->outputs = myr_arena_calloc(arena, plan->value_count + MYR_BATCH_DETAIL_COUNT, sizeof *plan->outputs);
    if (plan->outputs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the output's columns");
    MYR_TRY(plan_value_names(fleet, arena, plan, err));
    return plan_details(opts, arena, plan, err);
}

/* DuckDB's and Parquet readers' names do not differ by case alone. */
static bool plan_is_made(const batch_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->output_count; i++) {
        if (strcasecmp(plan->outputs[i].name, name) == 0) return true;
    }
    return false;
}

/* ---- copied ---- */

static myr_rc plan_keep_add(const plan_table *table, batch_plan *plan, const char *name, const char *what, myr_err *err)
{
    MYR_TRY(plan_need(table, name, what, err));
    for (uint32_t i = 0; i < plan->keep_count; i++) {
        if (strcmp(plan->keep[i], name) == 0) return MYR_OK;
    }
    if (plan_is_made(plan, name)) {
        MYR_FAIL(err, BAD_INPUT, "%s: the column '%s' (%s) would stand twice in the output: rename it in the input%s",
                 table->input, name, what, strcmp(what, "of --keep") == 0 ? " or leave it out" : "");
    }
    plan->keep[plan->keep_count++] = name;
    return MYR_OK;
}

/* `dropped` gets the names that are left out because we make columns of these names. */
static myr_rc plan_keep_default(const plan_table *table, const myr_fleet *fleet, batch_plan *plan, myr_buf *dropped,
                                myr_err *err)
{
    MYR_AUTO(myr_map_ptr) features = myr_map_new();
    if (features == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", table->input);
    for (uint32_t i = 0; i < fleet->info->feature_count; i++) {
        MYR_TRY(myr_map_put(features, myr_str_of(fleet->info->features[i]), 1, err));
    }
    for (size_t i = 0; i < table->count; i++) {
        const char *name = table->columns[i].name;
        if (myr_map_find(features, myr_str_of(name), NULL)) continue;
        if (plan_is_made(plan, name)) {
            myr_buf_printf(dropped, "%s%s", dropped->size > 0 ? ", " : "", name);
            continue;
        }
        MYR_TRY(plan_keep_add(table, plan, name, "kept", err));
    }
    return myr_buf_check(dropped, err);
}

static myr_rc plan_keep(const plan_table *table, const myr_fleet *fleet, const myr_batch_opts *opts, myr_arena *arena,
                        batch_plan *plan, myr_err *err)
{
    size_t asked = plan->key_count + 1; /* a list's files */
    for (const char *const *name = opts->by; name != NULL && *name != NULL; name++)
        asked++;
    for (const char *const *name = opts->keep; name != NULL && *name != NULL; name++)
        asked++;
    plan->keep = myr_arena_calloc(arena, table->count + asked + 1, sizeof *plan->keep); /* the paths' may join */
    if (plan->keep == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", table->input);
    for (uint32_t i = 0; i < plan->key_count; i++) {
        MYR_TRY(plan_keep_add(table, plan, fleet->info->keys.columns[i].name, "a partition column of the fleet", err));
    }
    for (const char *const *by = opts->by; by != NULL && *by != NULL; by++) {
        if (plan_is_in(*by, by + 1)) MYR_FAIL(err, BAD_USAGE, "--by names '%s' twice", *by);
        MYR_TRY(plan_keep_add(table, plan, *by, "of --by", err));
    }
    plan->partition_by = opts->by != NULL && opts->by[0] != NULL ? opts->by : NULL;
    if (opts->input.as_items) MYR_TRY(plan_keep_add(table, plan, MYR_BATCH_ITEM, "of a list of files", err));
    if (opts->input.as_items && opts->keep == NULL) return MYR_OK;
    if (opts->keep == NULL) {
        MYR_AUTO(myr_buf) dropped = {0};
        MYR_TRY(plan_keep_default(table, fleet, plan, &dropped, err));
        plan->dropped = myr_arena_strndup(arena, dropped.data != NULL ? dropped.data : "", dropped.size);
        if (plan->dropped == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", table->input);
        return MYR_OK;
    }
    for (const char *const *keep = opts->keep; *keep != NULL; keep++) {
        MYR_TRY(plan_keep_add(table, plan, *keep, "of --keep", err));
    }
    return MYR_OK;
}

static myr_rc plan_partition_keys(const plan_table *table, const myr_batch_opts *opts, myr_err *err)
{
    for (const char *const *key = opts->partition_keys; key != NULL && *key != NULL; key++) {
        if (plan_is_in(*key, key + 1)) MYR_FAIL(err, BAD_USAGE, "partition_keys names '%s' twice", *key);
        MYR_TRY(plan_need(table, *key, "of partition_keys", err));
    }
    return MYR_OK;
}

int64_t myr_batch_plan_item(const batch_plan *plan, const myr_batch_opts *opts)
{
    for (uint32_t i = plan->key_count; opts->input.as_items && i < plan->key_count + plan->feature_count; i++) {
        if (strcmp(plan->wants[i].name, MYR_BATCH_ITEM) == 0) return i;
    }
    return -1;
}

myr_table_map myr_batch_plan_map(const batch_plan *plan, const myr_batch_opts *opts)
{
    return (myr_table_map){.wants = plan->wants,
                           .want_count = plan->want_count,
                           .keep = plan->keep,
                           .keep_count = plan->keep_count,
                           .outputs = plan->outputs,
                           .output_count = plan->output_count,
                           .partition_by = plan->partition_by,
                           .keeps_partitions = myr_batch_has_tables(opts),
                           .format = opts->action == MYR_BATCH_SUMMARY ? MYR_TABLE_NOTHING : opts->format,
                           .group_by = opts->partition_keys};
}

myr_rc myr_batch_plan(myr_table_engine *engine, const myr_fleet *fleet, const myr_batch_opts *opts, myr_arena *arena,
                      const batch_files *files, batch_plan *out, myr_err *err)
{
    myr_table_column *columns = NULL;
    plan_table table = {.input = files->input, .files = files->paths};
    MYR_TRY(
        myr_table_describe_files(engine, files->input, files->paths, files->count, arena, &columns, &table.count, err));
    table.columns = columns;
    table.names = myr_arena_calloc(arena, table.count + 1, sizeof *table.names);
    if (table.names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", files->input);
    for (size_t i = 0; i < table.count; i++)
        table.names[i] = columns[i].name;
    batch_plan plan = {0};
    MYR_TRY(plan_kinds(fleet, opts, &plan, err));
    plan.has_target = plan_compares(&table, fleet, &plan);
    MYR_TRY(plan_check(&table, fleet, &plan, err));
    MYR_TRY(plan_partition_keys(&table, opts, err));
    MYR_TRY(plan_wants(fleet, arena, &plan, err));
    MYR_TRY(plan_outputs(fleet, opts, arena, &plan, err));
    MYR_TRY(plan_keep(&table, fleet, opts, arena, &plan, err));
    *out = plan;
    return MYR_OK;
}

myr_rc myr_batch_plan_again(const myr_fleet *fleet, const myr_batch_opts *opts, bool has_target, myr_arena *arena,
                            batch_plan *out, myr_err *err)
{
    batch_plan plan = {.has_target = has_target};
    MYR_TRY(plan_kinds(fleet, opts, &plan, err));
    MYR_TRY(plan_wants(fleet, arena, &plan, err));
    MYR_TRY(plan_outputs(fleet, opts, arena, &plan, err));
    while (opts->keep != NULL && opts->keep[plan.keep_count] != NULL)
        plan.keep_count++;
    plan.keep = myr_arena_calloc(arena, plan.keep_count + 1, sizeof *plan.keep);
    if (plan.keep == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", fleet->name);
    for (uint32_t i = 0; i < plan.keep_count; i++)
        plan.keep[i] = opts->keep[i];
    plan.partition_by = opts->by != NULL && opts->by[0] != NULL ? opts->by : NULL;
    *out = plan;
    return MYR_OK;
}
