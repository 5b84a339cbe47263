/*
 * From a batch's output to the prediction store: the table is read again and handed over a thousand rows at a time. The
 * output is published before, so a store that fails takes nothing of it away.
 */
#include "cli/batch_store.h"

#include <stdio.h>
#include <string.h>

#include "online/online.h"
#include "table/table.h"

#define STORE_ROWS_AT_ONCE 1000
#define STORE_STEP_MS      30000
#define STORE_COLUMNS      (MYR_PARTITION_COLUMNS_MAX + 5)

/* The columns behind the keys. */
enum { STORE_VALUE, STORE_MODEL, STORE_VERSION, STORE_LEVEL, STORE_STATUS, STORE_OURS };

typedef struct store_run {
    const myr_fleet *fleet;
    myr_table_data *data;
    myr_predictions *store;
    myr_arena *arena; /* of one step */
    myr_mutex lock;
    myr_cond is_over;
    bool is_done; /* under lock */
} store_run;

static void store_run_drop(store_run *run)
{
    myr_predictions_close(run->store);
    myr_table_data_free(run->data);
    myr_arena_free(run->arena);
    myr_cond_fini(&run->is_over);
    myr_mutex_fini(&run->lock);
}

static myr_rc store_read(store_run *run, const char *output, bool is_csv, myr_err *err)
{
    static const char *const names[STORE_OURS] = {"prediction", "model", "model_version", "level", "status"};
    const myr_key_schema *keys = &run->fleet->info->keys;
    MYR_AUTO(myr_table_engine_ptr) engine = NULL;
    myr_table_want wants[STORE_COLUMNS];
    char glob[MYR_PATH_BYTES_MAX];
    uint32_t count = 0;
    int size = snprintf(glob, sizeof glob, "%s/**/*.%s", output, is_csv ? "csv" : "parquet");
    if (size < 0 || (size_t)size >= sizeof glob) MYR_FAIL(err, BAD_INPUT, "path is too long: %.100s…", output);
    for (uint32_t i = 0; i < keys->column_count; i++)
        wants[count++] = (myr_table_want){.name = keys->columns[i].name, .as_key = true};
    for (int i = 0; i < STORE_OURS; i++)
        wants[count++] = (myr_table_want){.name = names[i], .as_text = i != STORE_VALUE && i != STORE_VERSION};
    MYR_TRY(myr_table_engine_open(0, 0, &engine, err));
    return myr_table_load(engine, glob, wants, count, NULL, &run->data, err);
}

static const myr_col *store_col(const store_run *run, int which)
{
    return &run->data->cols[run->fleet->info->keys.column_count + (uint32_t)which];
}

/* *out_is_there = false: it has no prediction, or no whole key. */
static myr_rc store_row(const store_run *run, int64_t row, myr_prediction *out, bool *out_is_there, myr_err *err)
{
    MYR_AUTO(myr_buf) key = {0};
    bool is_null = true;
    *out_is_there = false;
    if (!myr_str_is(store_col(run, STORE_STATUS)->data.text[row], myr_row_status_name(MYR_ROW_OK))) return MYR_OK;
    MYR_TRY(myr_online_key(&run->fleet->info->keys, run->data->cols, row, &key, &is_null, err));
    if (is_null) return MYR_OK;
    const char *text = myr_arena_strndup(run->arena, key.data, key.size);
    myr_str level = store_col(run, STORE_LEVEL)->data.text[row];
    const char *level_text = myr_arena_strndup(run->arena, level.data, level.size);
    if (text == NULL || level_text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a prediction");
    *out = (myr_prediction){.key = myr_str_make(text, key.size),
                            .values = &store_col(run, STORE_VALUE)->data.f64[row],
                            .value_count = 1,
                            .model = store_col(run, STORE_MODEL)->data.text[row],
                            .model_version = (int64_t)store_col(run, STORE_VERSION)->data.f64[row],
                            .level = level_text};
    *out_is_there = true;
    return MYR_OK;
}

static void store_done(void *ctx)
{
    store_run *run = ctx;
    myr_mutex_lock(&run->lock);
    run->is_done = true;
    myr_cond_signal(&run->is_over);
    myr_mutex_unlock(&run->lock);
}

static myr_rc store_step(store_run *run, const myr_store_request *request, myr_err *err)
{
    myr_stored *stored = NULL;
    myr_kept_answer none;
    run->is_done = false;
    MYR_TRY(myr_stored_start(run->store, request, myr_clock_mono_ns() + STORE_STEP_MS * 1000000LL, store_done, run,
                             &stored, err));
    myr_mutex_lock(&run->lock);
    while (!run->is_done)
        myr_cond_wait(&run->is_over, &run->lock);
    myr_mutex_unlock(&run->lock);
    myr_rc rc = myr_stored_result(stored, &none, err);
    myr_stored_free(stored);
    return rc;
}

static myr_rc store_all(store_run *run, int64_t *out_rows, myr_err *err)
{
    myr_prediction rows[STORE_ROWS_AT_ONCE];
    myr_store_request request = {.fleet = myr_str_of(run->fleet->name),
                                 .release = run->fleet->release,
                                 .source = "batch",
                                 .produced_ms = myr_clock_unix_ms(),
                                 .rows = rows};
    *out_rows = 0;
    for (int64_t row = 0; row < run->data->row_count;) {
        request.row_count = 0;
        myr_arena_reset(run->arena);
        for (; row < run->data->row_count && request.row_count < STORE_ROWS_AT_ONCE; row++) {
            bool is_there;
            MYR_TRY(store_row(run, row, &rows[request.row_count], &is_there, err));
            if (is_there) request.row_count++;
        }
        if (request.row_count > 0) MYR_TRY(store_step(run, &request, err));
        *out_rows += (int64_t)request.row_count;
    }
    return MYR_OK;
}

myr_rc myr_batch_store(myr_workspace *workspace, const char *fleet, int64_t release, const char *output, bool is_csv,
                       const char *uri, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_fleet_ptr) opened = NULL;
    MYR_TRY(myr_fleet_open(workspace, fleet, release, &opened, err));
    if (opened->info->output_count > 1)
        MYR_FAIL(err, UNSUPPORTED, "--store: fleet %s has %u outputs, a batch stores fleets of one", fleet,
                 opened->info->output_count);
    MYR_AUTO(store_run) run = {.fleet = opened, .arena = myr_arena_new(0)};
    myr_mutex_init(&run.lock);
    myr_cond_init(&run.is_over);
    if (run.arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for predictions");
    myr_predictions_opts opts = {.uri = uri};
    MYR_TRY(myr_predictions_open(&opts, &run.store, err));
    MYR_TRY(store_read(&run, output, is_csv, err));
    return store_all(&run, out_rows, err);
}
