/*
 * The predictions of a run, also into the prediction store that servers read: handed over a thousand rows at a time
 * from what is staged, before it is published. A staged row has its key and its prediction, whatever else is written:
 * which model it is of, the key says again. Each piece has an idempotency key of its run, file and place, so that
 * one that a killed coordinator had stored is not stored again.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "batch/sink.h"
#include "online/online.h"

#define PREDICTIONS_AT_ONCE 1000
#define PREDICTIONS_STEP_MS 30000
#define PREDICTIONS_KEEP_MS (30LL * 24 * 3600 * 1000) /* of the keys: as long as somebody may resume */
#define PREDICTIONS_COLUMNS (MYR_PARTITION_COLUMNS_MAX + 1)

typedef struct store_run {
    batch *b;
    myr_predictions *store;
    myr_table_data *data; /* of one file */
    myr_arena *arena;     /* of one step */
    myr_arena *kept;      /* of all: */
    myr_str *names;       /* per model index; data == NULL: not written yet */
    myr_mutex lock;
    myr_cond is_over;
    bool is_done; /* under lock */
    int64_t rows;
} store_run;

static void store_run_drop(store_run *run)
{
    myr_predictions_close(run->store);
    myr_table_data_free(run->data);
    myr_arena_free(run->arena);
    myr_arena_free(run->kept);
    myr_cond_fini(&run->is_over);
    myr_mutex_fini(&run->lock);
}

myr_rc myr_batch_predictions_check(const batch *b, myr_err *err)
{
    myr_db_kind kind;
    if (b->opts.predictions == NULL) return MYR_OK;
    MYR_TRY(myr_db_uri_kind(b->opts.predictions, &kind, err));
    if (kind == MYR_DB_REDIS)
        MYR_FAIL(err, UNSUPPORTED, "predictions are stored in SQLite or PostgreSQL, not in Redis");
    bool has_value = false;
    for (uint32_t k = 0; k < b->plan.kind_count; k++)
        has_value = has_value || b->plan.kinds[k] == MYR_OUTPUT_VALUE;
    myr_predictions *store = NULL;
    myr_predictions_opts opts = {.uri = b->opts.predictions};
    if (b->fleet->info->output_count == 1 && has_value) {
        MYR_TRY(myr_predictions_open(&opts, &store, err)); /* that it can be is known before the first row is scored */
        myr_predictions_close(store);
        return MYR_OK;
    }
    MYR_FAIL(err, UNSUPPORTED,
             "fleet %s: predictions are stored of fleets with one output (it has %u) whose values are "
             "predicted",
             b->opts.fleet, b->fleet->info->output_count);
}

/* ---- rows ---- */

static myr_rc store_read(store_run *run, const char *file, myr_err *err)
{
    const myr_key_schema *keys = &run->b->fleet->info->keys;
    myr_table_want wants[PREDICTIONS_COLUMNS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys->column_count; i++)
        wants[count++] = (myr_table_want){.name = keys->columns[i].name, .as_key = true};
    wants[count++] = (myr_table_want){.name = "prediction"};
    myr_table_data_free(run->data);
    run->data = NULL;
    return myr_table_load(run->b->engine, file, wants, count, NULL, &run->data, err);
}

/* Which model a row that has a prediction is of. */
static myr_rc store_row_model(const store_run *run, int64_t row, myr_prediction *out, myr_err *err)
{
    const myr_fleet *fleet = run->b->fleet;
    const myr_score_rows rows = {.row_count = run->data->row_count, .keys = run->data->cols};
    uint32_t model_idx;
    myr_level level;
    myr_pack_entry entry;
    myr_score_choose(fleet->scorer, &rows, row, &model_idx, &level);
    if (model_idx == MYR_PACK_NONE)
        MYR_FAIL(err, INTERNAL, "a row with the key " MYR_STR_FMT " has a prediction, and no model for it",
                 MYR_STR_ARG(out->key));
    MYR_TRY(myr_score_model_name_kept(fleet->scorer, model_idx, run->kept, run->names, &out->model, err));
    MYR_TRY(myr_pack_get_entry(fleet->pack, model_idx, &entry, err));
    out->model_version = entry.version;
    out->level = myr_level_name(level);
    return MYR_OK;
}

/* *out_is_there = false: it has no prediction (its status was not ok), or no whole key. */
static myr_rc store_row(const store_run *run, int64_t row, myr_prediction *out, bool *out_is_there, myr_err *err)
{
    MYR_AUTO(myr_buf) key = {0};
    const myr_key_schema *keys = &run->b->fleet->info->keys;
    const double *value = &run->data->cols[keys->column_count].data.f64[row];
    bool is_null = true;
    *out_is_there = false;
    if (isnan(*value)) return MYR_OK;
    MYR_TRY(myr_online_key(keys, run->data->cols, row, &key, &is_null, err));
    if (is_null) return MYR_OK;
    const char *text = myr_arena_strndup(run->arena, key.data != NULL ? key.data : "", key.size);
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a prediction");
    *out = (myr_prediction){.key = myr_str_make(text, key.size), .values = value, .value_count = 1};
    MYR_TRY(store_row_model(run, row, out, err));
    *out_is_there = true;
    return MYR_OK;
}

/* ---- one piece ---- */

static void store_done(void *ctx)
{
    store_run *run = ctx;
    myr_mutex_lock(&run->lock);
    run->is_done = true;
    myr_cond_signal(&run->is_over);
    myr_mutex_unlock(&run->lock);
}

static void store_wait(store_run *run)
{
    myr_mutex_lock(&run->lock);
    while (!run->is_done)
        myr_cond_wait(&run->is_over, &run->lock);
    run->is_done = false;
    myr_mutex_unlock(&run->lock);
}

static int64_t store_deadline(void)
{
    return myr_clock_mono_ns() + PREDICTIONS_STEP_MS * 1000000LL;
}

static myr_rc store_claimed(store_run *run, myr_store_request *request, myr_err *err)
{
    myr_stored *stored = NULL;
    myr_kept_answer answer = {0};
    MYR_TRY(myr_claim_result(request->claim, &answer, err));
    if (answer.status != 0) return MYR_OK; /* whoever was here before has stored it */
    request->answer = (myr_kept_answer){
        .status = 200, .content_type = myr_str_of("text/plain"), .body = myr_str_of("stored by a batch run")};
    MYR_TRY(myr_stored_start(run->store, request, store_deadline(), store_done, run, &stored, err));
    store_wait(run);
    myr_rc rc = myr_stored_result(stored, &answer, err);
    myr_stored_free(stored);
    return rc;
}

/* first: the row of the file that it begins with. */
static myr_rc store_piece(store_run *run, myr_store_request *request, const char *file, int64_t first, myr_err *err)
{
    char key[MYR_SHA256_HEX_BYTES + 8];
    MYR_AUTO(myr_buf) name = {0};
    myr_claim_id id = {.token = myr_str_of(""), .fleet = request->fleet};
    myr_sha256 sha;
    myr_buf_printf(&name, "%s %lld %s %lld", run->b->fingerprint, (long long)run->b->run_id, file, (long long)first);
    MYR_TRY(myr_buf_check(&name, err));
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, name.data, name.size);
    myr_sha256_hex(&sha, id.hash);
    (void)snprintf(key, sizeof key, "batch-%s", id.hash);
    id.key = myr_str_of(key);
    request->claim = NULL;
    MYR_TRY(myr_claim_start(run->store, &id, store_deadline(), store_done, run, &request->claim, err));
    store_wait(run);
    myr_rc rc = store_claimed(run, request, err);
    myr_claim_free(request->claim);
    run->rows += rc == MYR_OK ? (int64_t)request->row_count : 0;
    return rc;
}

/* ---- all ---- */

/* name: of the file below the output, which is the same whoever stores it. */
static myr_rc store_file(store_run *run, const char *file, const char *name, myr_err *err)
{
    char id[64];
    myr_prediction rows[PREDICTIONS_AT_ONCE];
    const batch *b = run->b;
    (void)snprintf(id, sizeof id, "run-%lld", (long long)b->run_id);
    myr_store_request request = {.fleet = myr_str_of(b->opts.fleet),
                                 .release = b->fleet->release,
                                 .source = "batch",
                                 .request_id = myr_str_of(id),
                                 .produced_ms = b->started_ms,
                                 .valid_ms = b->opts.valid_ms > 0 ? b->started_ms + b->opts.valid_ms : 0,
                                 .rows = rows};
    MYR_TRY(store_read(run, file, err));
    for (int64_t row = 0; row < run->data->row_count;) {
        int64_t first = row;
        request.row_count = 0;
        myr_arena_reset(run->arena);
        for (; row < run->data->row_count && request.row_count < PREDICTIONS_AT_ONCE; row++) {
            bool is_there;
            MYR_TRY(store_row(run, row, &rows[request.row_count], &is_there, err));
            if (is_there) request.row_count++;
        }
        if (request.row_count > 0) MYR_TRY(store_piece(run, &request, name, first, err));
    }
    return MYR_OK;
}

/* What is staged for a sink: none has published yet. */
static myr_rc store_sink(store_run *run, const batch_sink *sink, myr_err *err)
{
    const char *const *files = NULL;
    size_t count = 0, root_bytes = strlen(sink->stage.data) + 1;
    myr_rc rc = myr_table_files(run->b->engine, sink->stage.data, run->b->arena, &files, &count, err);
    if (rc == MYR_NOT_FOUND) return MYR_OK; /* no row belongs there */
    MYR_TRY(rc);
    for (size_t i = 0; i < count; i++)
        MYR_TRY(store_file(run, files[i], files[i] + root_bytes, err));
    return MYR_OK;
}

myr_rc myr_batch_predictions_store(batch *b, int64_t *out_rows, myr_err *err)
{
    char done[MYR_PATH_BYTES_MAX];
    if (b->opts.predictions == NULL) return MYR_OK;
    MYR_TRY(myr_path_join(done, sizeof done, myr_batch_staging(b), "stored", err));
    if (myr_io_exists(done)) return MYR_OK; /* all of it, by a coordinator that died later */
    MYR_AUTO(store_run) run = {.b = b, .arena = myr_arena_new(0), .kept = myr_arena_new(0)};
    myr_mutex_init(&run.lock);
    myr_cond_init(&run.is_over);
    if (run.kept != NULL) run.names = myr_arena_calloc(run.kept, b->fleet->info->model_count + 1u, sizeof *run.names);
    if (run.arena == NULL || run.names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for predictions");
    myr_predictions_opts opts = {.uri = b->opts.predictions, .answer_keep_ms = PREDICTIONS_KEEP_MS};
    MYR_TRY(myr_predictions_open(&opts, &run.store, err));
    for (size_t i = 0; i < b->sink_count; i++)
        MYR_TRY(store_sink(&run, &b->sinks[i], err));
    MYR_TRY(myr_file_write(done, "", 0, err));
    *out_rows = run.rows;
    return MYR_OK;
}
