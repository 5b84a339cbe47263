/*
 * A worker: a process that opens the fleet and an engine, then scores one mini-batch at a time into a directory of its
 * own, until nobody asks any more. What it fails at is its answer; what kills it costs its parent one attempt.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include "batch/internal.h"

#define WORKER_TELL_NS 200000000 /* between two frames that say how far it is */

typedef struct worker {
    myr_arena *arena;      /* of the settings */
    myr_arena *plan_arena; /* of the plan */
    myr_workspace *workspace;
    myr_fleet *fleet;
    myr_table_engine *engine;
    myr_batch_opts opts;
    batch_plan plan;
    const char *table_plan; /* NULL: no plan yet */
    batch_rows rows;
    int64_t memory_bytes;
    int64_t told_ns;
} worker;

static void worker_drop(worker *w)
{
    myr_table_engine_close(w->engine);
    myr_fleet_close(w->fleet);
    myr_workspace_close(w->workspace);
    myr_mutex_fini(&w->rows.mutex);
    myr_batch_dead_close(&w->rows.dead);
    myr_arena_free(w->plan_arena);
    myr_arena_free(w->arena);
}

static myr_rc worker_need(yyjson_val *root, const char *name, const char **out, myr_err *err)
{
    *out = yyjson_get_str(yyjson_obj_get(root, name));
    if (*out == NULL) MYR_FAIL(err, BAD_FORMAT, "a request to a worker without '%s'", name);
    return MYR_OK;
}

/* {"open": settings, "workspace": root, "memory": bytes} */
static myr_rc worker_open(worker *w, yyjson_val *root, myr_err *err)
{
    const char *settings = NULL, *dir = NULL;
    MYR_TRY(worker_need(root, "open", &settings, err));
    MYR_TRY(worker_need(root, "workspace", &dir, err));
    MYR_TRY(myr_batch_settings_parse(settings, strlen(settings), w->arena, &w->opts, err));
    MYR_TRY(myr_workspace_open(dir, &w->workspace, err));
    myr_runtime_set_environment(w->workspace->runtime, w->opts.network, w->opts.require_hashes);
    MYR_TRY(myr_fleet_open(w->workspace, w->opts.fleet, w->opts.release, &w->fleet, err));
    w->memory_bytes = yyjson_get_sint(yyjson_obj_get(root, "memory"));
    return myr_table_engine_open(1, w->memory_bytes, &w->engine, err);
}

/* {"plan": text for the table, "keep": [columns], "has_target": true, "temp": where to spill} */
static myr_rc worker_plan(worker *w, yyjson_val *root, myr_err *err)
{
    const char *plan = NULL, *temp = NULL;
    MYR_TRY(worker_need(root, "plan", &plan, err));
    MYR_TRY(worker_need(root, "temp", &temp, err));
    myr_arena_reset(w->plan_arena);
    w->opts.keep = myr_batch_settings_list(yyjson_obj_get(root, "keep"), w->plan_arena);
    w->table_plan = myr_arena_strndup(w->plan_arena, plan, strlen(plan));
    const char *dir = myr_arena_printf(w->plan_arena, "%s-%lld", temp, (long long)getpid());
    if (w->opts.keep == NULL || w->table_plan == NULL || dir == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a plan");
    MYR_TRY(myr_table_engine_set_temp(w->engine, dir, err));
    MYR_TRY(myr_batch_plan_again(w->fleet, &w->opts, yyjson_get_bool(yyjson_obj_get(root, "has_target")), w->plan_arena,
                                 &w->plan, err));
    w->rows.fleet = w->fleet;
    w->rows.plan = &w->plan;
    w->rows.is_grouped = w->opts.partition_keys != NULL;
    w->rows.item_idx = myr_batch_plan_item(&w->plan, &w->opts);
    if (w->rows.item_idx >= 0) myr_runtime_take_files(w->workspace->runtime);
    return myr_batch_rows_begin(&w->rows, w->workspace, w->plan_arena, err);
}

static void worker_progress(void *ctx, int64_t done, int64_t total)
{
    worker *w = ctx;
    int64_t now_ns = myr_clock_mono_ns();
    (void)total;
    if (now_ns - w->told_ns < WORKER_TELL_NS) return;
    w->told_ns = now_ns;
    MYR_AUTO(myr_buf) frame = {0};
    myr_buf_printf(&frame, "{\"progress\":%lld}", (long long)done);
    MYR_IGNORE(myr_worker_tell(&frame, NULL)); /* whoever does not hear it does not hear the answer either */
}

static void worker_reset(worker *w, const batch_dead *dead)
{
    batch_rows *rows = &w->rows;
    memset(&rows->counts, 0, sizeof rows->counts);
    memset(rows->is_used, 0, w->fleet->info->model_count);
    rows->trouble = rows->bad_key = (myr_err){0};
    rows->done_rows = 0;
    rows->progress = worker_progress;
    rows->progress_ctx = w;
    myr_runtime_stats stats;
    myr_runtime_get_stats(w->workspace->runtime, &stats);
    rows->runtime = w->workspace->runtime;
    rows->code_failures = stats.code_failures;
    rows->has_code_failed = false;
    myr_batch_dead_close(&rows->dead);
    rows->dead = *dead;
    w->told_ns = 0; /* the first rows are told at once */
}

/* {"score": path, "file": what it is called, "begin": …, "end": …, "line": …, "dir": where to, "dead": file, "name": …,
 * "attempt": …} */
static myr_rc worker_score(worker *w, yyjson_val *root, myr_buf *answer, myr_err *err)
{
    const char *dir = NULL, *dead_path = NULL, *name = NULL, *file = NULL;
    myr_table_part part = {.begin = yyjson_get_sint(yyjson_obj_get(root, "begin")),
                           .end = yyjson_get_sint(yyjson_obj_get(root, "end")),
                           .first_line = yyjson_get_sint(yyjson_obj_get(root, "line"))};
    MYR_TRY(worker_need(root, "score", &part.file, err));
    MYR_TRY(worker_need(root, "dir", &dir, err));
    MYR_TRY(worker_need(root, "dead", &dead_path, err));
    MYR_TRY(worker_need(root, "name", &name, err));
    MYR_TRY(worker_need(root, "file", &file, err));
    if (w->table_plan == NULL) MYR_FAIL(err, BAD_FORMAT, "a mini-batch before the plan");
    batch_dead dead = {.path = dead_path,
                       .part = &part,
                       .file = file,
                       .mini_batch = name,
                       .attempt = yyjson_get_sint(yyjson_obj_get(root, "attempt")),
                       .fd = -1};
    worker_reset(w, &dead);
    w->rows.is_lenient = yyjson_get_bool(yyjson_obj_get(root, "lenient"));
    myr_table_map map = myr_batch_plan_map(&w->plan, &w->opts);
    map.output_dir = dir;
    map.plan = w->table_plan;
    map.part = &part;
    map.fn = myr_batch_rows_score;
    map.ctx = &w->rows;
    map.make_state = myr_batch_rows_thread_new;
    map.free_state = myr_batch_rows_thread_free;
    int64_t rows = 0;
    myr_rc rc = myr_table_map_run(w->engine, &map, &rows, err);
    if (rc == MYR_OK) rc = myr_batch_dead_end(&w->rows.dead, err);
    if (rc != MYR_OK) myr_batch_dead_close(&w->rows.dead);
    MYR_TRY(rc);
    myr_batch_counts_print(&w->rows, rows, answer);
    return myr_buf_check(answer, err);
}

/* {"group": file, "files": […], "rows": at once, "threads": …, "memory": bytes}: the whole engine is for this alone. */
static myr_rc worker_group(worker *w, yyjson_val *root, myr_err *err)
{
    const char *path = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_TRY(worker_need(root, "group", &path, err));
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of files");
    const char *const *files = myr_batch_settings_list(yyjson_obj_get(root, "files"), arena);
    const char *const *names = myr_batch_settings_list(yyjson_obj_get(root, "names"), arena);
    size_t file_count = 0;
    while (files != NULL && files[file_count] != NULL)
        file_count++;
    if (file_count == 0 || names == NULL || w->table_plan == NULL || !w->rows.is_grouped)
        MYR_FAIL(err, BAD_FORMAT, "a request to group nothing");
    myr_table_map map = myr_batch_plan_map(&w->plan, &w->opts);
    map.plan = w->table_plan;
    MYR_TRY(myr_table_engine_set_room(w->engine, (int)yyjson_get_sint(yyjson_obj_get(root, "threads")),
                                      yyjson_get_sint(yyjson_obj_get(root, "memory")), err));
    MYR_TRY(myr_table_group_write(w->engine, &map, files, names, file_count,
                                  yyjson_get_sint(yyjson_obj_get(root, "rows")), path, err));
    return myr_table_engine_set_room(w->engine, 1, w->memory_bytes, err);
}

static myr_rc worker_do(worker *w, const myr_buf *request, myr_buf *answer, myr_err *err)
{
    yyjson_doc *doc = yyjson_read(request->data, request->size, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    myr_rc rc;
    if (w->engine == NULL)
        rc = worker_open(w, root, err);
    else if (yyjson_obj_get(root, "plan") != NULL)
        rc = worker_plan(w, root, err);
    else if (yyjson_obj_get(root, "group") != NULL)
        rc = worker_group(w, root, err);
    else
        rc = worker_score(w, root, answer, err);
    yyjson_doc_free(doc);
    return rc;
}

static myr_rc worker_step(worker *w, myr_err *err)
{
    MYR_AUTO(myr_buf) request = {0};
    MYR_AUTO(myr_buf) answer = {0};
    MYR_TRY(myr_worker_hear(&request, err));
    myr_err failure = {0};
    myr_rc rc = worker_do(w, &request, &answer, &failure);
    if (rc != MYR_OK) {
        myr_buf_clear(&answer);
        myr_batch_wire_error(&failure, w->rows.has_code_failed, &answer);
    } else if (answer.size == 0) {
        myr_buf_puts(&answer, "{}");
    }
    return myr_worker_tell(&answer, err);
}

/* Thread: its process's main one. Errors: those of the socket; CANCELLED, its usual end, is OK. */
myr_rc myr_batch_work(myr_err *err)
{
    MYR_AUTO(worker) w = {.arena = myr_arena_new(0), .plan_arena = myr_arena_new(0), .rows = {.dead = {.fd = -1}}};
    myr_mutex_init(&w.rows.mutex);
    if (w.arena == NULL || w.plan_arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a worker");
    myr_rc rc = MYR_OK;
    while (rc == MYR_OK)
        rc = worker_step(&w, err);
    return rc == MYR_CANCELLED ? MYR_OK : rc;
}
