/* A job file, read into the settings of a run: every key checked where it stands. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "batch/internal.h"
#include "db/db.h"
#include "object/object.h"
#include "spec/spec.h"

#define JOB_COLUMNS_MAX   4096
#define JOB_FILE_NAME_MAX 200
#define JOB_CONF_MAX      1000
#define JOB_VALID_MS_MAX  (3650LL * 24 * 3600 * 1000)

struct myr_batch_job {
    myr_arena *arena;
    myr_spec *spec;
    const myr_spec_node *root;
    const char *path;               /* of the job file */
    const myr_batch_moment *moment; /* while it is read */
    myr_batch_limits limits;
    myr_batch_spark spark;
    myr_batch_notify notify;
    myr_batch_opts opts;
};

/* `schedule` and `triggers` say when, which is the scheduler's (src/jobs). */
static const char *const job_keys[] = {"name",
                                       "fleet",
                                       "release",
                                       "input",
                                       "output",
                                       "output_action",
                                       "append_row_file_name",
                                       "mini_batch_size",
                                       "partition_keys",
                                       "compute",
                                       "retry_settings",
                                       "progress_update_timeout",
                                       "first_task_creation_timeout",
                                       "error_threshold",
                                       "mini_batch_error_threshold",
                                       "allowed_failed_percent",
                                       "memory_max",
                                       "environment",
                                       "notify",
                                       "schedule",
                                       "triggers",
                                       NULL};

/* ---- values ---- */

/* `90s`, `5m`, a bare number of seconds; 0 is none. */
static myr_rc job_duration(const myr_spec *spec, const myr_spec_node *map, const char *key, int64_t max_ms,
                           int64_t *out_ms, myr_err *err)
{
    const char *text = NULL;
    int64_t ms = 0;
    MYR_TRY(myr_spec_text(spec, map, key, false, &text, err));
    if (text == NULL) return MYR_OK;
    if (!myr_parse_duration_ms(myr_str_of(text), &ms) || ms < 0 || ms > max_ms) {
        return myr_spec_fail(spec, myr_spec_find(map, key), err,
                             "'%s' must be a time of 0 to %lld days, such as 30s or 5m, not '%.40s'", key,
                             (long long)(max_ms / (24 * 3600 * 1000)), text);
    }
    *out_ms = ms;
    return MYR_OK;
}

static myr_rc job_bytes(const myr_spec *spec, const myr_spec_node *map, const char *key, int64_t *out, myr_err *err)
{
    const char *text = NULL;
    int64_t bytes = 0;
    MYR_TRY(myr_spec_text(spec, map, key, false, &text, err));
    if (text == NULL) return MYR_OK;
    if (!myr_parse_bytes(myr_str_of(text), &bytes) || bytes < 0) {
        return myr_spec_fail(spec, myr_spec_find(map, key), err, "'%s' must be a size, such as 512MiB, not '%.40s'",
                             key, text);
    }
    *out = bytes;
    return MYR_OK;
}

static myr_rc job_columns(const myr_spec *spec, const myr_spec_node *map, const char *key, const char *const **out,
                          myr_err *err)
{
    uint32_t count = 0;
    const char *const *names = NULL;
    MYR_TRY(myr_spec_texts(spec, map, key, false, &names, &count, err));
    if (count > JOB_COLUMNS_MAX) {
        return myr_spec_fail(spec, myr_spec_find(map, key), err, "%u columns in '%s', at most %d", count, key,
                             JOB_COLUMNS_MAX);
    }
    if (count > 0) *out = names;
    return MYR_OK;
}

/* ---- keys ---- */

/* A number of rows, a size in bytes, or `file`: each file whole. */
static myr_rc job_size(myr_batch_job *job, myr_err *err)
{
    const char *text = NULL;
    myr_table_size size = {0};
    MYR_TRY(myr_spec_text(job->spec, job->root, "mini_batch_size", false, &text, err));
    if (text == NULL) return MYR_OK;
    bool ok = strcmp(text, "file") == 0;
    myr_str count = myr_str_of(text);
    if (myr_str_ends_with(count, " files")) { /* of items, which are rows of a list */
        count.size -= strlen(" files");
        ok = job->opts.input.as_items && myr_parse_int64(count, &size.rows) && size.rows > 0 &&
             size.rows <= MYR_BATCH_ITEMS_MAX;
    } else if (!ok && myr_parse_int64(myr_str_of(text), &size.rows)) {
        ok = size.rows > 0;
    } else if (!ok) {
        ok = myr_parse_bytes(myr_str_of(text), &size.bytes) && size.bytes > 0 && size.bytes <= MYR_TABLE_PART_BYTES_MAX;
    }
    if (!ok) {
        return myr_spec_fail(job->spec, myr_spec_find(job->root, "mini_batch_size"), err,
                             "'mini_batch_size' is '%.40s': a number of rows (100000), a size up to 1GiB (10mb), "
                             "`file` for whole files; 50 files (up to %d) with `input: {items: …}`",
                             text, MYR_BATCH_ITEMS_MAX);
    }
    job->limits.is_auto_size = false;
    job->limits.mini_batch = size;
    return MYR_OK;
}

/* Rows of one key stay together, so there is no size in bytes, and no file that is a mini-batch. */
static myr_rc job_partition_keys(myr_batch_job *job, myr_err *err)
{
    MYR_TRY(job_columns(job->spec, job->root, "partition_keys", &job->opts.partition_keys, err));
    if (job->opts.partition_keys == NULL || job->limits.is_auto_size || job->limits.mini_batch.rows > 0) return MYR_OK;
    return myr_spec_fail(job->spec, myr_spec_find(job->root, "mini_batch_size"), err,
                         "with 'partition_keys' 'mini_batch_size' is a number of rows: so many are put together, in "
                         "whole keys; 1 makes each key a mini-batch");
}

/* Thousandths of a processor. */
static myr_rc job_cpus(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    double cpus = 0;
    MYR_TRY(myr_spec_double(job->spec, node, "worker_cpus", false, 0.01, BATCH_CPU_MILLI_MAX / 1000.0, &cpus, err));
    job->limits.worker_cpu_milli = (int64_t)(cpus * 1000 + 0.5);
    return MYR_OK;
}

/* Where groups of workers may be made: `auto`, `off`, or a path from the root of the hierarchy. */
static myr_rc job_cgroup(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    const char *group = "auto";
    MYR_TRY(myr_spec_text(job->spec, node, "cgroup", false, &group, err));
    bool is_path = group[0] == '/' && strstr(group, "..") == NULL;
    if (!is_path && strcmp(group, "auto") != 0 && strcmp(group, "off") != 0) {
        return myr_spec_fail(job->spec, myr_spec_find(node, "cgroup"), err,
                             "'cgroup' is '%.60s': auto, off, or a group that is there, such as /batch.slice", group);
    }
    if (strcmp(group, "auto") != 0) job->opts.cgroup = group;
    return MYR_OK;
}

static myr_rc job_local(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    static const char *const keys[] = {"type",        "min",    "max", "idle_seconds", "worker_memory_max",
                                       "worker_cpus", "cgroup", NULL};
    myr_batch_limits *limits = &job->limits;
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(myr_spec_int(job->spec, node, "max", false, 1, MYR_BATCH_WORKERS_MAX, &limits->workers_max, err));
    MYR_TRY(myr_spec_int(job->spec, node, "min", false, 0, MYR_BATCH_WORKERS_MAX, &limits->workers_min, err));
    if (limits->workers_max > 0 && limits->workers_min > limits->workers_max) {
        return myr_spec_fail(job->spec, myr_spec_find(node, "min"), err, "'min' is %lld, more than 'max'",
                             (long long)limits->workers_min);
    }
    MYR_TRY(job_duration(job->spec, node, "idle_seconds", BATCH_MILLISECONDS_MAX, &limits->idle_ms, err));
    MYR_TRY(job_bytes(job->spec, node, "worker_memory_max", &limits->worker_memory_bytes, err));
    MYR_TRY(job_cpus(job, node, err));
    return job_cgroup(job, node, err);
}

/* Spark's own settings, as KEY=VALUE. */
static myr_rc job_conf(myr_batch_job *job, const myr_spec_node *map, myr_err *err)
{
    if (map == NULL) return MYR_OK;
    if (map->kind != MYR_SPEC_MAP || map->count > JOB_CONF_MAX)
        return myr_spec_fail(job->spec, map, err, "'conf' is a map of at most %d settings of Spark", JOB_CONF_MAX);
    const char **conf = myr_arena_calloc(job->arena, map->count + 1, sizeof *conf);
    for (uint32_t i = 0; conf != NULL && i < map->count; i++) {
        const char *name = map->keys[i]->text;
        if (map->items[i]->kind != MYR_SPEC_SCALAR || map->items[i]->is_null || strchr(name, '=') != NULL) {
            return myr_spec_fail(job->spec, map->items[i], err, "'%.60s' must be one word, such as 4g", name);
        }
        conf[i] = myr_arena_printf(job->arena, "%s=%s", name, map->items[i]->text);
        if (conf[i] == NULL) conf = NULL;
    }
    if (conf == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    job->spark.conf = conf;
    return MYR_OK;
}

/* Spark tries its tasks again by itself: what it gives up is not tried again, unless retry_settings says so. */
static myr_rc job_spark(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    static const char *const keys[] = {"type", "master", "min", "max", "idle_seconds", "python", "conf", NULL};
    myr_batch_spark *spark = &job->spark;
    spark->python = "python3";
    job->limits.max_retries = 0;
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(myr_spec_text(job->spec, node, "master", false, &spark->master, err));
    MYR_TRY(myr_spec_text(job->spec, node, "python", false, &spark->python, err));
    MYR_TRY(myr_spec_int(job->spec, node, "min", false, 0, BATCH_COUNT_MAX, &spark->executors_min, err));
    MYR_TRY(myr_spec_int(job->spec, node, "max", false, 1, BATCH_COUNT_MAX, &spark->executors_max, err));
    MYR_TRY(job_duration(job->spec, node, "idle_seconds", BATCH_MILLISECONDS_MAX, &job->limits.idle_ms, err));
    bool is_order = spark->executors_min <= spark->executors_max;
    if (spark->executors_min > 0 && !is_order) {
        return myr_spec_fail(job->spec, myr_spec_find(node, "min"), err,
                             "min: %lld executors stay, which goes with a 'max' of at least so many",
                             (long long)spark->executors_min);
    }
    job->opts.spark = spark;
    return job_conf(job, myr_spec_find(node, "conf"), err);
}

static myr_rc job_compute(myr_batch_job *job, myr_err *err)
{
    const myr_spec_node *node = myr_spec_find(job->root, "compute");
    const char *type = "local";
    if (node == NULL) return MYR_OK;
    if (node->kind == MYR_SPEC_MAP) MYR_TRY(myr_spec_text(job->spec, node, "type", false, &type, err));
    if (strcmp(type, "local") == 0) return job_local(job, node, err);
    if (strcmp(type, "spark") == 0) return job_spark(job, node, err);
    return myr_spec_fail(job->spec, myr_spec_find(node, "type"), err,
                         "compute type '%.40s' is not known: local or spark", type);
}

static myr_rc job_retries(myr_batch_job *job, myr_err *err)
{
    static const char *const keys[] = {"max_retries", "timeout", "backoff", NULL};
    const myr_spec_node *node = myr_spec_find(job->root, "retry_settings");
    if (node == NULL) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(myr_spec_int(job->spec, node, "max_retries", false, 0, BATCH_RETRIES_MAX, &job->limits.max_retries, err));
    MYR_TRY(job_duration(job->spec, node, "timeout", BATCH_MILLISECONDS_MAX, &job->limits.timeout_ms, err));
    return job_duration(job->spec, node, "backoff", BATCH_MILLISECONDS_MAX, &job->limits.backoff_ms, err);
}

static myr_rc job_limits(myr_batch_job *job, myr_err *err)
{
    myr_batch_limits *limits = &job->limits;
    const myr_spec *spec = job->spec;
    MYR_TRY(job_size(job, err));
    MYR_TRY(job_partition_keys(job, err));
    MYR_TRY(job_compute(job, err));
    MYR_TRY(job_retries(job, err));
    MYR_TRY(job_duration(spec, job->root, "progress_update_timeout", BATCH_MILLISECONDS_MAX,
                         &limits->progress_timeout_ms, err));
    MYR_TRY(job_duration(spec, job->root, "first_task_creation_timeout", BATCH_MILLISECONDS_MAX,
                         &limits->first_task_timeout_ms, err));
    MYR_TRY(
        myr_spec_int(spec, job->root, "error_threshold", false, -1, BATCH_COUNT_MAX, &limits->error_threshold, err));
    MYR_TRY(myr_spec_int(spec, job->root, "mini_batch_error_threshold", false, -1, BATCH_COUNT_MAX,
                         &limits->mini_batch_error_threshold, err));
    MYR_TRY(myr_spec_double(spec, job->root, "allowed_failed_percent", false, 0, 100, &limits->allowed_failed_percent,
                            err));
    return job_bytes(spec, job->root, "memory_max", &job->opts.memory_bytes, err);
}

/* `on:` a list of ends, or one. */
static myr_rc job_notify_on(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    myr_batch_notify *notify = &job->notify;
    const char *const *ends = NULL;
    uint32_t count = 0;
    MYR_TRY(myr_spec_texts(job->spec, node, "on", false, &ends, &count, err));
    notify->on_completed = notify->on_failed = ends == NULL;
    for (uint32_t i = 0; i < count; i++) {
        bool *on = strcmp(ends[i], "completed") == 0  ? &notify->on_completed
                   : strcmp(ends[i], "failed") == 0   ? &notify->on_failed
                   : strcmp(ends[i], "canceled") == 0 ? &notify->on_canceled
                                                      : NULL;
        if (on == NULL) {
            return myr_spec_fail(job->spec, myr_spec_find(node, "on"), err,
                                 "'on' has '%.40s': completed, failed and canceled are known", ends[i]);
        }
        *on = true;
    }
    return MYR_OK;
}

static myr_rc job_notify(myr_batch_job *job, myr_err *err)
{
    static const char *const keys[] = {"webhook", "command", "on", NULL};
    static const char *const schemes[] = {"http://", "https://", "env:"};
    const myr_spec_node *node = myr_spec_find(job->root, "notify");
    myr_batch_notify *notify = &job->notify;
    uint32_t words = 0;
    bool is_url = false;
    if (node == NULL) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(myr_spec_text(job->spec, node, "webhook", false, &notify->webhook, err));
    MYR_TRY(myr_spec_texts(job->spec, node, "command", false, &notify->command, &words, err));
    for (size_t i = 0; notify->webhook != NULL && i < MYR_COUNT_OF(schemes); i++)
        is_url = is_url || strncmp(notify->webhook, schemes[i], strlen(schemes[i])) == 0;
    if (notify->webhook != NULL && !is_url) {
        return myr_spec_fail(job->spec, myr_spec_find(node, "webhook"), err,
                             "'webhook' must be a URL, https://HOST/PATH, or env:NAME of a variable that has one");
    }
    if (notify->command != NULL && (words == 0 || words > BATCH_COMMAND_MAX)) {
        return myr_spec_fail(job->spec, myr_spec_find(node, "command"), err,
                             "'command' has %u words: a program and its arguments, at most %d", words,
                             BATCH_COMMAND_MAX);
    }
    if (notify->webhook == NULL && notify->command == NULL)
        return myr_spec_fail(job->spec, node, err, "'notify' has neither a webhook nor a command");
    job->opts.notify = notify;
    return job_notify_on(job, node, err);
}

static myr_rc job_release(myr_batch_job *job, myr_err *err)
{
    const char *text = NULL;
    MYR_TRY(myr_spec_text(job->spec, job->root, "release", false, &text, err));
    if (text == NULL || (myr_is_canonical_int64(myr_str_of(text), &job->opts.release) && job->opts.release > 0))
        return MYR_OK;
    job->opts.release = 0;
    if (!myr_name_is_valid(myr_str_of(text)) || myr_is_canonical_int64(myr_str_of(text), &job->opts.release)) {
        return myr_spec_fail(job->spec, myr_spec_find(job->root, "release"), err,
                             "'release' is '%.60s': a number from 1 on, or an alias such as champion", text);
    }
    job->opts.alias = text;
    return MYR_OK;
}

/* A text with its places filled. node: where it stands. */
static myr_rc job_fill(myr_batch_job *job, const myr_spec_node *node, const char **text, myr_err *err)
{
    MYR_AUTO(myr_buf) filled = {0};
    myr_err why = {0};
    if (*text == NULL) return MYR_OK;
    if (myr_batch_moment_fill(job->moment, *text, &filled, &why) != MYR_OK)
        return myr_spec_fail(job->spec, node, err, "%s", why.message);
    *text = myr_arena_strndup(job->arena, filled.data != NULL ? filled.data : "", filled.size);
    if (*text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    return MYR_OK;
}

/* With its places filled; relative to a directory, absolute ones and URIs stay. */
static myr_rc job_path(myr_batch_job *job, const char *dir, const myr_spec_node *node, const char **path, myr_err *err)
{
    char joined[MYR_PATH_BYTES_MAX];
    MYR_TRY(job_fill(job, node, path, err));
    if ((*path)[0] == '/' || dir[0] == '\0' || strcmp(dir, ".") == 0 || myr_object_is_uri(*path)) return MYR_OK;
    MYR_TRY(myr_path_join(joined, sizeof joined, dir, *path, err));
    *path = myr_arena_strndup(job->arena, joined, strlen(joined));
    if (*path == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    return MYR_OK;
}

static myr_rc job_files(myr_batch_job *job, const char *dir, const myr_spec_node *map, const char *key, myr_err *err)
{
    const char *const *texts = NULL;
    uint32_t count = 0;
    const myr_spec_node *node = myr_spec_find(map, key);
    MYR_TRY(myr_spec_texts(job->spec, map, key, true, &texts, &count, err));
    if (count == 0) {
        return myr_spec_fail(job->spec, node, err, "'%s' is an empty list: name files, patterns or directories", key);
    }
    const char **items = myr_arena_calloc(job->arena, count + 1, sizeof *items);
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    for (uint32_t i = 0; i < count; i++) {
        items[i] = texts[i];
        MYR_TRY(job_path(job, dir, node->kind == MYR_SPEC_LIST ? node->items[i] : node, &items[i], err));
    }
    job->opts.input.items = items;
    return MYR_OK;
}

/* A database: of SQLite's relative paths are below `dir`. */
static myr_rc job_database(myr_batch_job *job, const char *dir, const myr_spec_node *map, const char *key,
                           const char **out, myr_err *err)
{
    myr_db_kind kind = MYR_DB_SQLITE;
    myr_err why = {0};
    MYR_TRY(myr_spec_text(job->spec, map, key, true, out, err));
    if (myr_db_uri_kind(*out, &kind, &why) != MYR_OK || kind == MYR_DB_REDIS) {
        return myr_spec_fail(job->spec, myr_spec_find(map, key), err, "'%s': %.160s", key,
                             kind == MYR_DB_REDIS ? "Redis has no tables: PostgreSQL and SQLite have" : why.message);
    }
    if (kind != MYR_DB_SQLITE) return MYR_OK;
    const char *path = myr_db_uri_path(*out);
    MYR_TRY(job_path(job, dir, myr_spec_find(map, key), &path, err));
    *out = myr_arena_printf(job->arena, "sqlite:%s", path);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    return MYR_OK;
}

/* A path, a list of them, or {files | sql | table and database, filter}. */
static myr_rc job_input(myr_batch_job *job, const char *dir, myr_err *err)
{
    static const char *const keys[] = {"files", "items", "sql", "table", "database", "filter", NULL};
    const myr_spec_node *node = myr_spec_find(job->root, "input");
    myr_batch_input *input = &job->opts.input;
    if (node == NULL) return MYR_OK; /* a flag may give it */
    if (node->kind != MYR_SPEC_MAP) return job_files(job, dir, job->root, "input", err);
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    bool has_files = myr_spec_find(node, "files") != NULL, has_database = myr_spec_find(node, "database") != NULL;
    MYR_TRY(myr_spec_text(job->spec, node, "sql", false, &input->sql, err));
    MYR_TRY(myr_spec_text(job->spec, node, "table", has_database, &input->table, err));
    MYR_TRY(myr_spec_text(job->spec, node, "filter", false, &input->filter, err));
    MYR_TRY(job_fill(job, myr_spec_find(node, "sql"), &input->sql, err));
    MYR_TRY(job_fill(job, myr_spec_find(node, "filter"), &input->filter, err));
    if (has_files) MYR_TRY(job_files(job, dir, node, "files", err));
    input->as_items = myr_spec_find(node, "items") != NULL;
    if (input->as_items) MYR_TRY(job_files(job, dir, node, "items", err));
    if (input->table != NULL) MYR_TRY(job_database(job, dir, node, "database", &input->database, err));
    if (has_files + input->as_items + (input->sql != NULL) + (input->table != NULL) != 1)
        return myr_spec_fail(job->spec, node, err, "'input' has one of files, items, sql and table");
    if (input->sql != NULL && input->filter != NULL)
        return myr_spec_fail(job->spec, myr_spec_find(node, "filter"), err,
                             "'filter' stands beside files or a table: a query has its own WHERE");
    input->dir = input->sql != NULL ? myr_arena_strndup(job->arena, dir, strlen(dir)) : NULL;
    return MYR_OK;
}

static myr_rc job_format(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    const char *format = "parquet";
    MYR_TRY(myr_spec_text(job->spec, node, "format", false, &format, err));
    if (myr_table_format_parse(format, &job->opts.format)) return MYR_OK;
    return myr_spec_fail(job->spec, myr_spec_find(node, "format"), err,
                         "format '%.40s' is not known: parquet, csv or jsonl", format);
}

static myr_rc job_kinds(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    const char *const *names = NULL;
    uint32_t count = 0;
    MYR_TRY(myr_spec_texts(job->spec, node, "predict", false, &names, &count, err));
    myr_output *kinds = myr_arena_calloc(job->arena, MYR_OUTPUT_COUNT, sizeof *kinds);
    if (kinds == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    for (uint32_t i = 0; i < count; i++) {
        bool ok = i < MYR_OUTPUT_COUNT && myr_output_parse(myr_str_of(names[i]), &kinds[i]);
        for (uint32_t k = 0; ok && k < i; k++)
            ok = kinds[k] != kinds[i];
        if (!ok) {
            return myr_spec_fail(job->spec, myr_spec_find(node, "predict"), err,
                                 "'predict' has '%.40s': value, margin, probability, leaf and contribution are known, "
                                 "each once",
                                 names[i]);
        }
    }
    job->opts.kinds = kinds;
    job->opts.kind_count = count;
    return MYR_OK;
}

static myr_rc job_details(myr_batch_job *job, const myr_spec_node *node, myr_err *err)
{
    const myr_spec_node *list = myr_spec_find(node, "details");
    const char *const *names = NULL;
    uint32_t count = 0;
    myr_err why = {0};
    if (list == NULL) return MYR_OK;
    bool is_none = list->kind == MYR_SPEC_LIST && list->count == 0;
    if (!is_none) MYR_TRY(myr_spec_texts(job->spec, node, "details", true, &names, &count, err));
    if (myr_batch_details_choose(names, count, job->opts.leaves_out, &why) == MYR_OK) return MYR_OK;
    return myr_spec_fail(job->spec, list, err, "'details': %s", why.message);
}

/* {table, database, mode}. */
static myr_rc job_table(myr_batch_job *job, const char *root, const myr_spec_node *node, myr_batch_store *out,
                        myr_err *err)
{
    const char *mode = "replace";
    if (myr_spec_find(node, "path") != NULL)
        return myr_spec_fail(job->spec, myr_spec_find(node, "path"), err, "an output is a path or a table, not both");
    MYR_TRY(myr_spec_text(job->spec, node, "table", true, &out->table, err));
    MYR_TRY(job_database(job, root, node, "database", &out->output, err));
    MYR_TRY(myr_spec_text(job->spec, node, "mode", false, &mode, err));
    out->append = strcmp(mode, "append") == 0;
    if (out->append || strcmp(mode, "replace") == 0) return MYR_OK;
    return myr_spec_fail(job->spec, myr_spec_find(node, "mode"), err, "mode '%.40s' is not known: replace or append",
                         mode);
}

/* A path, or {table, database, mode}. */
static myr_rc job_store(myr_batch_job *job, const char *root, const myr_spec_node *map, const myr_spec_node *node,
                        myr_batch_store *store, myr_err *err)
{
    static const char *const keys[] = {"table", "database", "mode", NULL};
    if (node->kind == MYR_SPEC_MAP) {
        MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
        return job_table(job, root, node, store, err);
    }
    MYR_TRY(myr_spec_text(job->spec, map, store->group, true, &store->output, err));
    return job_path(job, root, node, &store->output, err);
}

static void job_default(myr_batch_job *job, const myr_batch_store *store)
{
    job->opts.output = store->output;
    job->opts.table = store->table;
    job->opts.append = store->append;
}

/* {brand=1: …, default: …} */
static myr_rc job_stores(myr_batch_job *job, const char *root, const myr_spec_node *map, myr_err *err)
{
    if (map->kind != MYR_SPEC_MAP || map->count > MYR_BATCH_STORES_MAX + 1) {
        return myr_spec_fail(job->spec, map, err,
                             "'stores' is {brand=1: a directory or a table, …, default: …}, at most %d of them",
                             MYR_BATCH_STORES_MAX);
    }
    myr_batch_store *stores = myr_arena_calloc(job->arena, map->count + 1, sizeof *stores);
    if (stores == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", job->path);
    size_t count = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        myr_batch_store store = {.group = map->keys[i]->text};
        MYR_TRY(job_store(job, root, map, map->items[i], &store, err));
        if (strcmp(store.group, "default") == 0)
            job_default(job, &store);
        else
            stores[count++] = store;
    }
    job->opts.stores = stores;
    job->opts.store_count = count;
    if (job->opts.output == NULL)
        return myr_spec_fail(job->spec, map, err, "'stores' needs a 'default': where what belongs to no group goes");
    return MYR_OK;
}

/* Where it goes: a path, a table, or stores. */
static myr_rc job_place(myr_batch_job *job, const char *root, const myr_spec_node *node, myr_err *err)
{
    const myr_spec_node *stores = myr_spec_find(node, "stores"), *path = myr_spec_find(node, "path");
    bool has_table = myr_spec_find(node, "table") != NULL || myr_spec_find(node, "database") != NULL;
    if (stores != NULL && (path != NULL || has_table)) {
        return myr_spec_fail(job->spec, stores, err,
                             "'stores' stands in place of a path or a table, which is its 'default'");
    }
    if (stores != NULL) return job_stores(job, root, stores, err);
    if (has_table) {
        myr_batch_store store = {0};
        MYR_TRY(job_table(job, root, node, &store, err));
        job_default(job, &store);
        return MYR_OK;
    }
    MYR_TRY(myr_spec_text(job->spec, node, "path", true, &job->opts.output, err));
    return job_path(job, root, path, &job->opts.output, err);
}

/* {to, valid_for} */
static myr_rc job_predictions(myr_batch_job *job, const char *root, const myr_spec_node *node, myr_err *err)
{
    static const char *const keys[] = {"to", "valid_for", NULL};
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(job_database(job, root, node, "to", &job->opts.predictions, err));
    return job_duration(job->spec, node, "valid_for", JOB_VALID_MS_MAX, &job->opts.valid_ms, err);
}

/* A path alone, or {path | table and database | stores, predictions, format, by, keep, predict, details}. */
static myr_rc job_output(myr_batch_job *job, const char *output_root, myr_err *err)
{
    static const char *const keys[] = {"path",   "table", "database", "mode",    "stores",  "predictions",
                                       "format", "by",    "keep",     "predict", "details", NULL};
    const myr_spec_node *node = myr_spec_find(job->root, "output");
    if (node == NULL) return MYR_OK; /* a flag may give it */
    if (node->kind == MYR_SPEC_SCALAR) {
        MYR_TRY(myr_spec_text(job->spec, job->root, "output", true, &job->opts.output, err));
        return job_path(job, output_root, node, &job->opts.output, err);
    }
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(job_place(job, output_root, node, err));
    if (myr_spec_find(node, "predictions") != NULL)
        MYR_TRY(job_predictions(job, output_root, myr_spec_find(node, "predictions"), err));
    MYR_TRY(job_format(job, node, err));
    MYR_TRY(job_columns(job->spec, node, "by", &job->opts.by, err));
    MYR_TRY(job_columns(job->spec, node, "keep", &job->opts.keep, err));
    MYR_TRY(job_kinds(job, node, err));
    return job_details(job, node, err);
}

/* A name in the output's directory, of the output's format. */
static myr_rc job_append_name(myr_batch_job *job, myr_err *err)
{
    const char *name = NULL;
    char ending[16];
    (void)snprintf(ending, sizeof ending, ".%s", myr_table_format_name(job->opts.format));
    MYR_TRY(myr_spec_text(job->spec, job->root, "append_row_file_name", false, &name, err));
    if (name == NULL) return MYR_OK;
    if (job->opts.action != MYR_BATCH_APPEND) {
        return myr_spec_fail(job->spec, myr_spec_find(job->root, "append_row_file_name"), err,
                             "'append_row_file_name' is for 'output_action: append_row'");
    }
    if (strchr(name, '/') != NULL || name[0] == '_' || name[0] == '.' || strlen(name) > JOB_FILE_NAME_MAX ||
        !myr_str_ends_with(myr_str_of(name), ending)) {
        return myr_spec_fail(job->spec, myr_spec_find(job->root, "append_row_file_name"), err,
                             "'append_row_file_name' is '%.60s': a name of at most %d bytes that ends in %s, the "
                             "output's format",
                             name, JOB_FILE_NAME_MAX, ending);
    }
    job->opts.append_name = name;
    return MYR_OK;
}

static myr_rc job_action(myr_batch_job *job, myr_err *err)
{
    const char *text = NULL;
    const myr_spec_node *node = myr_spec_find(job->root, "output_action");
    MYR_TRY(myr_spec_text(job->spec, job->root, "output_action", false, &text, err));
    if (text != NULL && !myr_batch_action_parse(text, &job->opts.action)) {
        return myr_spec_fail(job->spec, node, err,
                             "'output_action' is '%.40s': parts (a file per mini-batch), append_row (one file) or "
                             "summary_only (rows are counted)",
                             text);
    }
    if (job->opts.action != MYR_BATCH_PARTS && job->opts.by != NULL) {
        return myr_spec_fail(job->spec, node, err, "'output_action: %s' makes no directories: leave out 'by'", text);
    }
    return job_append_name(job, err);
}

/* {network, require_hashes}: what models that are code ask for by themselves, the job has the last word on. */
static myr_rc job_environment(myr_batch_job *job, myr_err *err)
{
    static const char *const keys[] = {"network", "require_hashes", NULL};
    const myr_spec_node *node = myr_spec_find(job->root, "environment");
    bool network = false;
    if (node == NULL) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(job->spec, node, keys, err));
    MYR_TRY(myr_spec_bool(job->spec, node, "network", false, &network, err));
    if (myr_spec_find(node, "network") != NULL) job->opts.network = network ? MYR_ASK_YES : MYR_ASK_NO;
    return myr_spec_bool(job->spec, node, "require_hashes", false, &job->opts.require_hashes, err);
}

static myr_rc job_read(myr_batch_job *job, const char *output_root, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_spec_load(job->path, &job->spec, err));
    job->root = myr_spec_root(job->spec);
    job->limits = myr_batch_limits_default();
    job->opts.limits = &job->limits;
    MYR_TRY(myr_spec_check_keys(job->spec, job->root, job_keys, err));
    MYR_TRY(myr_spec_text(job->spec, job->root, "name", false, &job->opts.job, err));
    if (job->opts.job != NULL && !myr_name_is_valid(myr_str_of(job->opts.job))) {
        return myr_spec_fail(job->spec, myr_spec_find(job->root, "name"), err,
                             "'%.60s' is not a job's name: letters, digits, '.', '_' and '-', at most %d",
                             job->opts.job, MYR_NAME_BYTES_MAX);
    }
    MYR_TRY(myr_spec_text(job->spec, job->root, "fleet", false, &job->opts.fleet, err));
    MYR_TRY(job_release(job, err));
    myr_path_dir(job->path, dir, sizeof dir);
    MYR_TRY(job_input(job, dir, err));
    MYR_TRY(job_output(job, output_root, err));
    MYR_TRY(job_action(job, err));
    MYR_TRY(job_notify(job, err));
    MYR_TRY(job_environment(job, err));
    return job_limits(job, err);
}

myr_rc myr_batch_job_load(const char *path, const char *output_root, const myr_batch_moment *moment,
                          myr_batch_job **out, myr_err *err)
{
    myr_batch_job *job = myr_calloc(1, sizeof *job);
    if (job == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", path);
    job->arena = myr_arena_new(0);
    job->path = path;
    job->moment = moment;
    myr_rc rc =
        job->arena != NULL ? job_read(job, output_root, err) : MYR_ERROR(err, NO_MEMORY, "no memory to read %s", path);
    if (rc != MYR_OK) {
        myr_batch_job_free(job);
        return rc;
    }
    *out = job;
    return MYR_OK;
}

const myr_batch_opts *myr_batch_job_opts(const myr_batch_job *job)
{
    return &job->opts;
}

void myr_batch_job_free(myr_batch_job *job)
{
    if (job == NULL) return;
    myr_spec_free(job->spec);
    myr_arena_free(job->arena);
    myr_free(job);
}
