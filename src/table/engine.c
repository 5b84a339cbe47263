/*
 * One DuckDB in memory, shut off from the network: it neither downloads nor loads extensions, and what it spills goes
 * to a directory that is ours and is removed with the engine.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "table/internal.h"

/* Partitions that stay open for writing: above it DuckDB closes files and goes on in new ones. */
#define ENGINE_OPEN_FILES_MAX   100000
#define ENGINE_OPEN_FILES_SPARE 100 /* descriptors left for everything else */
#define ENGINE_OPEN_FILES_MIN   16
/* Rows of a directory's files that a thread keeps in memory before it writes them: half of DuckDB's own bound. */
#define ENGINE_FLUSH_ROWS 262144

typedef duckdb_config engine_config;
static void engine_config_drop(engine_config *config)
{
    duckdb_destroy_config(config);
}

static myr_rc engine_option(duckdb_config config, const char *name, const char *value, myr_err *err)
{
    if (duckdb_set_config(config, name, value) != DuckDBSuccess) {
        MYR_FAIL(err, INTERNAL, "this DuckDB does not know the option %s=%s", name, value);
    }
    return MYR_OK;
}

static myr_rc engine_options(duckdb_config config, int threads, int64_t memory_bytes, const char *temp_dir,
                             myr_err *err)
{
    char text[64];
    MYR_TRY(engine_option(config, "autoinstall_known_extensions", "false", err));
    MYR_TRY(engine_option(config, "autoload_known_extensions", "false", err));
    MYR_TRY(engine_option(config, "allow_community_extensions", "false", err));
    MYR_TRY(engine_option(config, "temp_directory", temp_dir, err));
    if (threads > 0) {
        snprintf(text, sizeof text, "%d", threads);
        MYR_TRY(engine_option(config, "threads", text, err));
    }
    if (memory_bytes > 0) {
        snprintf(text, sizeof text, "%lldB", (long long)memory_bytes);
        MYR_TRY(engine_option(config, "memory_limit", text, err));
    }
    return MYR_OK;
}

static myr_rc engine_temp_name(char *out, size_t out_bytes, myr_err *err)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] != '/') base = "/tmp";
    uint64_t random = 0;
    MYR_TRY(myr_random(&random, sizeof random, err));
    char name[64];
    snprintf(name, sizeof name, "myriad-duckdb-%016llx", (unsigned long long)random);
    return myr_path_join(out, out_bytes, base, name, err);
}

static myr_rc engine_connect(myr_table_engine *engine, int threads, int64_t memory_bytes, myr_err *err)
{
    MYR_TRY(engine_temp_name(engine->temp_dir, sizeof engine->temp_dir, err));
    MYR_AUTO(engine_config) config = NULL;
    if (duckdb_create_config(&config) != DuckDBSuccess) MYR_FAIL(err, NO_MEMORY, "no memory for DuckDB's options");
    MYR_TRY(engine_options(config, threads, memory_bytes, engine->temp_dir, err));
    char *message = NULL;
    if (duckdb_open_ext(NULL, &engine->database, config, &message) != DuckDBSuccess) {
        myr_rc rc =
            MYR_ERROR(err, INTERNAL, "DuckDB does not start: %s", message != NULL ? message : "no reason given");
        duckdb_free(message);
        return rc;
    }
    if (duckdb_connect(engine->database, &engine->connection) != DuckDBSuccess) {
        MYR_FAIL(err, INTERNAL, "DuckDB gives no connection");
    }
    struct rlimit files;
    int64_t open_max = ENGINE_OPEN_FILES_MAX;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < ENGINE_OPEN_FILES_MAX) {
        open_max = (int64_t)files.rlim_cur - ENGINE_OPEN_FILES_SPARE;
    }
    if (open_max < ENGINE_OPEN_FILES_MIN) open_max = ENGINE_OPEN_FILES_MIN;
    char sql[256];
    /* A file is read once: its bytes are the kernel's to keep. */
    snprintf(sql, sizeof sql,
             "SET enable_external_file_cache = false; "
             "SET partitioned_write_max_open_files = %lld; SET partitioned_write_flush_threshold = %d",
             (long long)open_max, ENGINE_FLUSH_ROWS);
    MYR_TRY(myr_table_exec(engine, sql, "DuckDB", err));
    return myr_table_number_register(engine, err);
}

/* Ownership: *out is the caller's. Thread: one owner. Errors: BAD_INPUT (a limit DuckDB refuses), NO_MEMORY, INTERNAL.
 */
myr_rc myr_table_engine_open(int threads, int64_t memory_bytes, myr_table_engine **out, myr_err *err)
{
    if (threads < 0 || memory_bytes < 0) MYR_FAIL(err, BAD_USAGE, "threads and memory cannot be negative");
    myr_table_engine *engine = myr_calloc(1, sizeof *engine);
    if (engine == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a table engine");
    engine->held_fd = -1;
    myr_rc rc = engine_connect(engine, threads, memory_bytes, err);
    if (rc != MYR_OK) {
        myr_table_engine_close(engine);
        return rc;
    }
    *out = engine;
    return MYR_OK;
}

void myr_table_engine_close(myr_table_engine *engine)
{
    if (engine == NULL) return;
    if (engine->connection != NULL) duckdb_disconnect(&engine->connection);
    if (engine->database != NULL) duckdb_close(&engine->database);
    myr_fd_drop(&engine->held_fd);
    if (engine->temp_dir[0] != '\0') MYR_IGNORE(myr_io_remove_tree(engine->temp_dir, NULL)); /* only spilled bytes */
    myr_free(engine);
}

myr_rc myr_table_engine_set_room(myr_table_engine *engine, int threads, int64_t memory_bytes, myr_err *err)
{
    char sql[128];
    if (threads > 0) {
        (void)snprintf(sql, sizeof sql, "SET threads = %d", threads);
        MYR_TRY(myr_table_exec(engine, sql, "DuckDB", err));
    }
    if (memory_bytes == 0) return myr_table_exec(engine, "RESET memory_limit", "DuckDB", err);
    (void)snprintf(sql, sizeof sql, "SET memory_limit = '%lldB'", (long long)memory_bytes);
    return myr_table_exec(engine, sql, "DuckDB", err);
}

/* Spill below `dir` (made when needed, removed by close) instead of the system's directory for temporary files. */
myr_rc myr_table_engine_set_temp(myr_table_engine *engine, const char *dir, myr_err *err)
{
    if (strlen(dir) >= sizeof engine->temp_dir) MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", dir);
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SET temp_directory = ");
    myr_table_sql_literal(&sql, dir);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_table_exec(engine, sql.data, dir, err));
    snprintf(engine->temp_dir, sizeof engine->temp_dir, "%s", dir);
    return MYR_OK;
}

void myr_table_engine_set_lenient(myr_table_engine *engine, bool is_lenient)
{
    engine->is_lenient = is_lenient;
}

myr_rc myr_table_query(myr_table_engine *engine, const char *sql, const char *about, duckdb_result *out, myr_err *err)
{
    MYR_ASSERT(engine->connection != NULL);
    duckdb_result result;
    if (duckdb_query(engine->connection, sql, &result) != DuckDBSuccess) {
        myr_rc rc =
            myr_table_error(duckdb_result_error_type(&result), duckdb_result_error(&result), about, engine->range, err);
        MYR_ASSERT(rc != MYR_OK);
        if (rc == MYR_INTERNAL) myr_log(MYR_LOG_DEBUG, "table", "sql", "text", sql, NULL);
        duckdb_destroy_result(&result);
        return rc;
    }
    *out = result;
    return MYR_OK;
}

myr_rc myr_table_exec(myr_table_engine *engine, const char *sql, const char *about, myr_err *err)
{
    MYR_AUTO(table_result) result = {0};
    return myr_table_query(engine, sql, about, &result, err);
}
