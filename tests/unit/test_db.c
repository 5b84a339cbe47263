/* Tests of db: codes, transactions, schema versions, two processes, damaged files. */
#include "testing.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/db.h"

static const char *const migrations_one[] = {
    "CREATE TABLE item(item_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, weight REAL, data BLOB) STRICT;"
    "CREATE TABLE part(item_id INTEGER NOT NULL REFERENCES item, n INTEGER NOT NULL) STRICT;",
};
static const char *const migrations_two[] = {
    "never run: the file has version 1 already",
    "ALTER TABLE item ADD COLUMN color TEXT NOT NULL DEFAULT 'red'; CREATE INDEX item_by_color ON item(color);",
};

static void db_path(char path[TESTING_PATH_BYTES])
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    snprintf(path, TESTING_PATH_BYTES, "%.200s/t.db", dir);
}

static myr_db *db_make(const char *path)
{
    myr_db *db = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(path, true, &db, &err), OK, &err);
    EXPECT_RC(myr_db_migrate(db, migrations_one, 1, &err), OK, &err);
    return db;
}

static myr_rc db_add(myr_db *db, const char *name, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(db, "INSERT INTO item(name, weight) VALUES(?1, ?2)", &stmt, err));
    myr_stmt_bind_text(stmt, 1, myr_str_of(name));
    myr_stmt_bind_double(stmt, 2, 0.5);
    return myr_stmt_run(stmt, err);
}

static int64_t db_number(myr_db *db, const char *sql)
{
    myr_stmt *stmt = NULL;
    bool has_row = false;
    myr_err err = {0};
    EXPECT_RC(myr_db_prepare(db, sql, &stmt, &err), OK, &err);
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err);
    EXPECT(has_row);
    int64_t number = myr_stmt_int64(stmt, 0);
    myr_stmt_reset(stmt);
    return number;
}

TEST(db_values_come_back_as_they_went_in)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    myr_stmt *stmt = NULL;
    EXPECT_RC(myr_db_prepare(db, "INSERT INTO item VALUES(?1, ?2, ?3, ?4)", &stmt, &err), OK, &err);
    myr_stmt_bind_int64(stmt, 1, INT64_MIN);
    myr_stmt_bind_text(stmt, 2, myr_str_make("a\0b", 3));
    myr_stmt_bind_double(stmt, 3, -0.1);
    myr_stmt_bind_blob(stmt, 4, "\x01\x00\xff", 3);
    EXPECT_RC(myr_stmt_run(stmt, &err), OK, &err);
    EXPECT_INT(myr_db_last_id(db), INT64_MIN);
    EXPECT_RC(myr_db_prepare(db, "INSERT INTO item VALUES(?1, ?2, ?3, ?4)", &stmt, &err), OK, &err);
    myr_stmt_bind_int64(stmt, 1, 7);
    myr_stmt_bind_text(stmt, 2, myr_str_of(""));
    myr_stmt_bind_text(stmt, 3, myr_str_make(NULL, 0));
    EXPECT_RC(myr_stmt_run(stmt, &err), OK, &err);

    bool has_row = false;
    EXPECT_RC(myr_db_prepare(db, "SELECT item_id, name, weight, data FROM item ORDER BY 1", &stmt, &err), OK, &err);
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err);
    EXPECT(has_row);
    EXPECT_INT(myr_stmt_int64(stmt, 0), INT64_MIN);
    EXPECT_INT(myr_stmt_text(stmt, 1).size, 3);
    EXPECT(myr_stmt_double(stmt, 2) == -0.1);
    EXPECT(!myr_stmt_is_null(stmt, 3));
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err);
    EXPECT(has_row);
    EXPECT(myr_stmt_text(stmt, 1).data != NULL && myr_stmt_text(stmt, 1).size == 0); /* empty is not NULL */
    EXPECT(myr_stmt_is_null(stmt, 2) && myr_stmt_text(stmt, 2).data == NULL);
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err);
    EXPECT(!has_row);
    myr_db_close(db);
    myr_db_close(NULL);
}

TEST(db_prepare_gives_the_same_statement_unbound)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    char sql[] = "SELECT ?1";
    myr_stmt *first = NULL, *second = NULL;
    EXPECT_RC(myr_db_prepare(db, sql, &first, &err), OK, &err);
    myr_stmt_bind_int64(first, 1, 5);
    bool has_row = false;
    EXPECT_RC(myr_stmt_step(first, &has_row, &err), OK, &err);
    EXPECT_INT(myr_stmt_int64(first, 0), 5);
    EXPECT_RC(myr_db_prepare(db, "SELECT ?1", &second, &err), OK, &err); /* the text counts, not its address */
    EXPECT(first == second);
    EXPECT_RC(myr_stmt_step(second, &has_row, &err), OK, &err);
    EXPECT(myr_stmt_is_null(second, 0));
    EXPECT_RC(myr_db_prepare(db, "SELECT 1 FROM nowhere", &second, &err), INTERNAL, &err);
    EXPECT_HAS(err.message, "nowhere");
    EXPECT(second == first);
    myr_db_close(db);
}

TEST(db_statement_cache_is_bounded)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(path, true, &db, &err), OK, &err); /* keeps one statement itself */
    myr_stmt *stmt = NULL;
    for (int i = 1; i < MYR_DB_STATEMENTS_MAX; i++) {
        char sql[40];
        snprintf(sql, sizeof sql, "SELECT %d", i);
        EXPECT_RC(myr_db_prepare(db, sql, &stmt, &err), OK, &err);
    }
    EXPECT_RC(myr_db_prepare(db, "SELECT 'one more'", &stmt, &err), TOO_LARGE, &err);
    EXPECT_RC(myr_db_prepare(db, "SELECT 1", &stmt, &err), OK, &err); /* those that are there still work */
    myr_db_close(db);
}

TEST(db_constraints_have_their_codes)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    EXPECT_RC(db_add(db, "a", &err), EXISTS, &err);
    EXPECT_HAS(err.message, "item.name");
    EXPECT_HAS(err.message, path);
    EXPECT_RC(db_add(db, "b", &err), OK, &err); /* the statement works again after its failure */
    EXPECT_RC(myr_db_exec(db, "INSERT INTO item(item_id, name) VALUES(1, 'z')", &err), EXISTS, &err);
    EXPECT_RC(myr_db_exec(db, "INSERT INTO part VALUES(99, 1)", &err), BAD_INPUT, &err);  /* foreign keys are on */
    EXPECT_RC(myr_db_exec(db, "INSERT INTO part VALUES(1, 'x')", &err), BAD_INPUT, &err); /* STRICT */
    EXPECT_RC(myr_db_exec(db, "INSERT INTO item(name) VALUES(NULL)", &err), BAD_INPUT, &err);
    EXPECT_RC(myr_db_exec(db, "INSERT INTO item(name) VALUES(\"b\")", &err), INTERNAL, &err); /* "b" is a column */
    EXPECT_RC(myr_db_exec(db, "SELECT 1; SELEC 2", &err), INTERNAL, &err);
    myr_db_close(db);
}

TEST(db_a_failed_bind_is_said_by_step)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    myr_stmt *stmt = NULL;
    size_t size = 1000000001; /* SQLite's limit is 10^9 bytes; the bytes are not read */
    char *big = myr_alloc(16);
    EXPECT_RC(myr_db_prepare(db, "SELECT ?1", &stmt, &err), OK, &err);
    myr_stmt_bind_text(stmt, 1, myr_str_make(big, size));
    myr_stmt_bind_int64(stmt, 1, 3); /* a later good one does not hide it */
    bool has_row = true;
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), TOO_LARGE, &err);
    EXPECT(has_row); /* outputs are untouched */
    EXPECT_RC(myr_stmt_run(stmt, &err), TOO_LARGE, &err);
    EXPECT_RC(myr_stmt_run(stmt, &err), OK, &err); /* run resets: the memory of it is gone */
    myr_free(big);
    myr_db_close(db);
}

TEST(db_rollback_takes_everything_back)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    myr_db_rollback(db);
    EXPECT(!myr_db_in_transaction(db));
    EXPECT_RC(myr_db_begin(db, &err), OK, &err);
    EXPECT(myr_db_in_transaction(db));
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    myr_stmt *stmt = NULL;
    bool has_row = false;
    EXPECT_RC(myr_db_prepare(db, "SELECT * FROM item", &stmt, &err), OK, &err);
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err); /* left half-way */
    myr_db_rollback(db);
    EXPECT(!myr_db_in_transaction(db));
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 0);
    EXPECT_RC(myr_db_commit(db, &err), IO, &err); /* says that there is nothing to commit */
    EXPECT_RC(myr_db_begin(db, &err), OK, &err);
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    EXPECT_RC(myr_db_commit(db, &err), OK, &err);
    EXPECT_RC(myr_db_begin(db, &err), OK, &err);
    EXPECT_RC(db_add(db, "b", &err), OK, &err);
    myr_db_close(db); /* closing rolls back */
    db = db_make(path);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 1);
    myr_db_close(db);
}

TEST(db_is_durable_by_its_settings)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    EXPECT_INT(db_number(db, "PRAGMA synchronous"), 2);
    EXPECT_INT(db_number(db, "PRAGMA foreign_keys"), 1);
    myr_db_close(db);
    myr_io_set_sync(false);
    db = db_make(path);
    int64_t synchronous = db_number(db, "PRAGMA synchronous");
    myr_io_set_sync(true);
    EXPECT_INT(synchronous, 0);
    myr_db_close(db);
}

TEST(db_migrates_step_by_step)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(db_add(db, "old", &err), OK, &err);
    EXPECT_RC(myr_db_migrate(db, migrations_one, 1, &err), OK, &err); /* again: nothing to do */
    EXPECT_RC(myr_db_migrate(db, migrations_two, 2, &err), OK, &err);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item WHERE color = 'red'"), 1);
    EXPECT_INT(db_number(db, "PRAGMA user_version"), 2);
    EXPECT_RC(myr_db_migrate(db, migrations_one, 1, &err), UNSUPPORTED, &err); /* an older program */
    EXPECT_HAS(err.message, "version 2");
    EXPECT_HAS(err.message, "up to 1");
    static const char *const broken[] = {"", "", "CREATE TABLE good(x INTEGER) STRICT; CREATE TABLE bad("};
    EXPECT_RC(myr_db_migrate(db, broken, 3, &err), INTERNAL, &err);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'good'"), 0); /* whole step or nothing */
    EXPECT_INT(db_number(db, "PRAGMA user_version"), 2);
    myr_db_close(db);
}

/* All bytes of a file, to see that it was not touched. */
static void file_bytes(const char *path, char **out_data, size_t *out_size)
{
    myr_err err = {0};
    EXPECT_RC(myr_file_read(path, 1 << 20, out_data, out_size, &err), OK, &err);
}

TEST(db_newer_schema_is_refused_untouched)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(myr_db_migrate(db, migrations_two, 2, &err), OK, &err);
    myr_db_close(db);
    char *before = NULL, *after = NULL;
    size_t before_size = 0, after_size = 0;
    file_bytes(path, &before, &before_size);
    EXPECT_RC(myr_db_open(path, false, &db, &err), OK, &err);
    EXPECT_RC(myr_db_migrate(db, migrations_one, 1, &err), UNSUPPORTED, &err);
    myr_db_close(db);
    file_bytes(path, &after, &after_size);
    EXPECT(before_size == after_size && memcmp(before, after, after_size) == 0);
    myr_free(before);
    myr_free(after);
}

TEST(db_of_somebody_else_is_refused)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(path, true, &db, &err), OK, &err);
    EXPECT_RC(myr_db_exec(db, "CREATE TABLE theirs(x); PRAGMA user_version=1", &err), OK, &err);
    EXPECT_RC(myr_db_migrate(db, migrations_one, 1, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "did not make");
    EXPECT_RC(myr_db_exec(db, "PRAGMA user_version=0", &err), OK, &err);
    EXPECT_RC(myr_db_migrate(db, migrations_one, 1, &err), BAD_FORMAT, &err);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM sqlite_schema"), 1);
    myr_db_close(db);
}

/* Open, bring up to date, read something, add something; NULL database on failure. */
static myr_rc db_use(const char *path, myr_err *err)
{
    myr_db *db = NULL;
    MYR_TRY(myr_db_open(path, false, &db, err));
    myr_rc rc = myr_db_migrate(db, migrations_one, 1, err);
    if (rc == MYR_OK) rc = db_add(db, "more", err);
    myr_db_close(db);
    return rc;
}

TEST(db_open_says_what_is_wrong_with_the_file)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_err err = {0};
    EXPECT_RC(db_use(path, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, path);
    EXPECT(!myr_io_exists(path)); /* and makes none */
    myr_db *db = NULL;
    char below[TESTING_PATH_BYTES + 16];
    snprintf(below, sizeof below, "%s/x/t.db", path);
    EXPECT_RC(myr_db_open(below, true, &db, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_io_mkdirs(path, &err), OK, &err);
    EXPECT_RC(myr_db_open(path, true, &db, &err), BAD_FORMAT, &err);
    EXPECT(db == NULL);
}

TEST(db_damaged_files_are_bad_format)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    myr_db_close(db);
    char *good = NULL;
    size_t good_size = 0;
    file_bytes(path, &good, &good_size);
    EXPECT(good_size > 8192);
    static const size_t cuts[] = {0, 1, 15, 16, 20, 99, 100, 512, 4095, 4096, 8191, 8192};
    for (size_t i = 0; i < MYR_COUNT_OF(cuts); i++) {
        EXPECT_RC(myr_file_write(path, good, cuts[i], &err), OK, &err);
        EXPECT_RC(db_use(path, &err), BAD_FORMAT, &err);
        EXPECT_HAS(err.message, path);
    }
    char *bad = myr_alloc(good_size);
    memcpy(bad, good, good_size);
    memset(bad, 'x', 100); /* the header is garbage */
    EXPECT_RC(myr_file_write(path, bad, good_size, &err), OK, &err);
    EXPECT_RC(db_use(path, &err), BAD_FORMAT, &err);
    memcpy(bad, good, good_size);
    memset(bad + 100, 0xa5, good_size - 100); /* the header is fine, every page is garbage */
    EXPECT_RC(myr_file_write(path, bad, good_size, &err), OK, &err);
    EXPECT_RC(db_use(path, &err), BAD_FORMAT, &err);
    myr_free(bad);
    EXPECT_RC(myr_file_write(path, good, good_size, &err), OK, &err);
    EXPECT_RC(db_use(path, &err), OK, &err);
    myr_free(good);
}

/* Whatever byte is flipped: an error or a right answer, never a crash. */
TEST(db_survives_any_flipped_byte)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    myr_db_close(db);
    char *good = NULL;
    size_t good_size = 0;
    file_bytes(path, &good, &good_size);
    myr_io_set_sync(false); /* only speed */
    for (size_t at = 0; at < good_size; at += at < 128 ? 1 : 97) {
        good[at] = (char)~good[at];
        EXPECT_RC(myr_file_write(path, good, good_size, &err), OK, &err);
        MYR_IGNORE(db_use(path, &err)); /* any code will do */
        good[at] = (char)~good[at];
    }
    myr_io_set_sync(true);
    myr_free(good);
}

/* Run body(path) in another process that starts afresh; gives its exit code. */
static pid_t child_start(int (*body)(const char *path), const char *path)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(body(path));
    EXPECT(pid > 0);
    return pid;
}

static int child_join(pid_t pid)
{
    int status = 0;
    EXPECT(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

#define ADDS 100

static int child_adds(const char *path)
{
    myr_db *db = NULL;
    if (myr_db_open(path, true, &db, NULL) != MYR_OK) return 1;
    if (myr_db_migrate(db, migrations_one, 1, NULL) != MYR_OK) return 2; /* both may be the first */
    for (int i = 0; i < ADDS; i++) {
        char name[40];
        snprintf(name, sizeof name, "%ld-%d", (long)getpid(), i);
        if (myr_db_begin(db, NULL) != MYR_OK || db_add(db, name, NULL) != MYR_OK || myr_db_commit(db, NULL) != MYR_OK)
            return 3;
    }
    myr_db_close(db);
    return 0;
}

TEST(db_two_processes_write_at_once)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    pid_t first = child_start(child_adds, path), second = child_start(child_adds, path);
    EXPECT_INT(child_join(first), 0);
    EXPECT_INT(child_join(second), 0);
    myr_db *db = db_make(path);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 2 * ADDS);
    myr_db_close(db);
}

static int child_begins(const char *path)
{
    myr_db *db = NULL;
    if (myr_db_open(path, false, &db, NULL) != MYR_OK) return 1;
    int64_t before_ms = myr_clock_mono_ns() / 1000000;
    myr_rc rc = myr_db_begin(db, NULL);
    int64_t waited_ms = myr_clock_mono_ns() / 1000000 - before_ms;
    myr_db_close(db);
    return rc == MYR_BUSY && waited_ms >= MYR_DB_BUSY_MS - 500 ? 0 : 2;
}

TEST(db_is_busy_after_the_time_out)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(myr_db_begin(db, &err), OK, &err);
    EXPECT_INT(child_join(child_start(child_begins, path)), 0);
    EXPECT_RC(myr_db_commit(db, &err), OK, &err);
    myr_db_close(db);
}

static int child_dies_inside(const char *path)
{
    myr_db *db = NULL;
    if (myr_db_open(path, false, &db, NULL) != MYR_OK) return 1;
    if (db_add(db, "whole", NULL) != MYR_OK) return 2;
    if (myr_db_begin(db, NULL) != MYR_OK || db_add(db, "half", NULL) != MYR_OK) return 3;
    kill(getpid(), SIGKILL);
    return 4;
}

TEST(db_survives_a_killed_writer)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db_close(db_make(path));
    EXPECT_INT(child_join(child_start(child_dies_inside, path)), 1000);
    myr_db *db = db_make(path);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item WHERE name = 'whole'"), 1);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 1);
    myr_db_close(db);
}

static int child_counts_thousand(const char *path)
{
    myr_db *db = NULL;
    if (myr_db_open(path, false, &db, NULL) != MYR_OK) return 1;
    int64_t count = db_number(db, "SELECT count(*) FROM item WHERE name LIKE 'row %'");
    myr_db_close(db);
    return count == 1000 ? 0 : 2;
}

/* What is written together (log_file.c): larger than what is kept, read before it is committed, rolled back, by two. */
TEST(db_a_log_that_is_written_together_is_whole)
{
    char path[TESTING_PATH_BYTES], name[600];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(myr_db_exec(db, "PRAGMA cache_size=10", &err), OK, &err); /* pages go to the log before the commit */
    for (int round = 0; round < 2; round++) {
        EXPECT_RC(myr_db_begin(db, &err), OK, &err);
        for (int i = 0; i < 1000; i++) {
            snprintf(name, sizeof name, "row %d %0500d", i, i);
            EXPECT_RC(db_add(db, name, &err), OK, &err);
        }
        EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 1000);
        EXPECT_INT(db_number(db, "SELECT sum(length(name)) > 500000 FROM item"), 1);
        if (round == 0) myr_db_rollback(db);
    }
    EXPECT_RC(myr_db_commit(db, &err), OK, &err);
    EXPECT_INT(child_join(child_start(child_counts_thousand, path)), 0);
    EXPECT_RC(db_add(db, "after", &err), OK, &err);
    EXPECT_RC(myr_db_checkpoint(db, true, &err), OK, &err);
    EXPECT_RC(db_add(db, "in the next log", &err), OK, &err);
    EXPECT_INT(child_join(child_start(child_counts_thousand, path)), 0);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 1002);
    myr_stmt *stmt = NULL;
    bool has_row = false;
    EXPECT_RC(myr_db_prepare(db, "PRAGMA integrity_check", &stmt, &err), OK, &err);
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err);
    EXPECT(has_row && myr_str_is(myr_stmt_text(stmt, 0), "ok"));
    myr_stmt_reset(stmt);
    myr_db_close(db);
}

TEST(db_pages_of_the_log_are_counted_and_begin_anew)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    myr_db_own_checkpoints(db);
    EXPECT_RC(db_add(db, "a", &err), OK, &err);
    int64_t first = myr_db_log_pages(db);
    EXPECT(first > 0);
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        EXPECT_RC(db_add(db, name, &err), OK, &err);
    }
    EXPECT(myr_db_log_pages(db) > first + 100);
    EXPECT_RC(myr_db_checkpoint(db, false, &err), OK, &err);
    EXPECT_RC(db_add(db, "b", &err), OK, &err);
    EXPECT(myr_db_log_pages(db) < 10);
    EXPECT_RC(myr_db_checkpoint(db, true, &err), OK, &err);
    myr_db_close(db);
}

TEST(db_data_version_moves_when_others_commit)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *mine = db_make(path), *other = db_make(path);
    myr_err err = {0};
    int64_t before = 0, after = 0;
    EXPECT_RC(myr_db_data_version(mine, &before, &err), OK, &err);
    EXPECT_RC(db_add(mine, "mine", &err), OK, &err);
    EXPECT_RC(myr_db_data_version(mine, &after, &err), OK, &err);
    EXPECT_INT(after, before);
    EXPECT_RC(db_add(other, "other", &err), OK, &err);
    EXPECT_RC(myr_db_data_version(mine, &after, &err), OK, &err);
    EXPECT(after != before);
    myr_db_close(mine);
    myr_db_close(other);
}

/* ---- a directory that cannot be written ---- */

/* As a user whom file modes bind, which root is not. */
static bool become_nobody(void)
{
    return geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0);
}

static void make_read_only(const char *path, bool is_read_only)
{
    char dir[TESTING_PATH_BYTES];
    myr_path_dir(path, dir, sizeof dir);
    EXPECT_INT(chmod(dir, is_read_only ? 0555 : 0755), 0);
    EXPECT_INT(chmod(path, is_read_only ? 0444 : 0644), 0);
}

/* Opens, reads one row, fails to write with `rc` and a message that has `part`. 0 = all that. */
static int child_only_reads(const char *path, myr_rc rc, const char *part)
{
    myr_db *db = NULL;
    myr_stmt *stmt = NULL;
    bool has_row = false;
    myr_err err = {0};
    if (myr_db_open(path, false, &db, &err) != MYR_OK || myr_db_migrate(db, migrations_one, 1, &err) != MYR_OK) {
        print_error("%s\n", err.message);
        return 1;
    }
    if (myr_db_prepare(db, "SELECT name FROM item", &stmt, &err) != MYR_OK ||
        myr_stmt_step(stmt, &has_row, &err) != MYR_OK || !has_row) {
        print_error("%s\n", err.message);
        return 2;
    }
    if (!myr_str_is(myr_stmt_text(stmt, 0), "there")) return 3;
    myr_stmt_reset(stmt);
    int64_t number = 0;
    if (myr_db_data_version(db, &number, &err) != MYR_OK) return 4;
    for (int i = 0; i < 2; i++) {
        myr_rc got = i == 0 ? db_add(db, "more", &err) : myr_db_begin(db, &err);
        if (got == rc && strstr(err.message, part) != NULL && strstr(err.message, path) != NULL) continue;
        print_error("%s: %s\n", myr_rc_name(got), err.message);
        return 5;
    }
    myr_db_close(db);
    return 0;
}

static int child_reads_read_only(const char *path)
{
    return become_nobody() ? child_only_reads(path, MYR_DENIED, "read-only") : 9;
}

TEST(db_read_only_is_read)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_err err = {0};
    myr_db *db = db_make(path);
    EXPECT_RC(db_add(db, "there", &err), OK, &err);
    make_read_only(path, true);
    EXPECT_INT(child_join(child_start(child_reads_read_only, path)), 0); /* beside a writer that has it open */
    make_read_only(path, false);
    myr_db_close(db);
    make_read_only(path, true);
    EXPECT_INT(child_join(child_start(child_reads_read_only, path)), 0); /* alone */
    make_read_only(path, false);
}

static int child_refuses_a_log(const char *path)
{
    myr_db *db = NULL;
    myr_err err = {0};
    if (!become_nobody()) return 9;
    myr_rc rc = myr_db_open(path, false, &db, &err);
    if (rc == MYR_DENIED && strstr(err.message, "-wal") != NULL) return 0;
    print_error("%s: %s\n", myr_rc_name(rc), err.message);
    return 1;
}

/* What a killed writer committed is in the log: leaving it out would be reading an old state in silence. */
TEST(db_read_only_with_a_log_is_refused)
{
    char path[TESTING_PATH_BYTES], shm[TESTING_PATH_BYTES + 8];
    db_path(path);
    myr_db_close(db_make(path));
    EXPECT_INT(child_join(child_start(child_dies_inside, path)), 1000);
    snprintf(shm, sizeof shm, "%s-shm", path);
    EXPECT_INT(unlink(shm), 0); /* as after a restart of the machine from a copy */
    make_read_only(path, true);
    EXPECT_INT(child_join(child_start(child_refuses_a_log, path)), 0);
    make_read_only(path, false);
}

static int child_reads_full(const char *path)
{
    struct rlimit none = {0, 0};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &none) != 0) return 9; /* no file may grow: what a full disk does */
    return child_only_reads(path, MYR_NO_SPACE, "disk is full");
}

TEST(db_on_a_full_disk_is_read)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_err err = {0};
    myr_db *db = db_make(path);
    EXPECT_RC(db_add(db, "there", &err), OK, &err);
    myr_db_close(db);
    EXPECT_INT(child_join(child_start(child_reads_full, path)), 0);
}

static int child_follows(const char *path)
{
    myr_db *db = NULL;
    int64_t before = 0, after = 0;
    if (!become_nobody() || myr_db_open(path, false, &db, NULL) != MYR_OK) return 1;
    if (db_number(db, "SELECT count(*) FROM item") != 0 || myr_db_data_version(db, &before, NULL) != MYR_OK) return 2;
    if (myr_db_data_version(db, &after, NULL) != MYR_OK || after != before) return 3;
    char go[TESTING_PATH_BYTES + 8];
    snprintf(go, sizeof go, "%s-go", path);
    for (int i = 0; i < 500 && !myr_io_exists(go); i++)
        myr_clock_sleep_ms(10);
    if (myr_db_data_version(db, &after, NULL) != MYR_OK || after == before) return 4;
    if (db_number(db, "SELECT count(*) FROM item") != 1) return 5;
    myr_db_close(db);
    return 0;
}

/* A server without the right to write sees what others committed, once their log is in the file. */
TEST(db_read_only_follows_the_file)
{
    char path[TESTING_PATH_BYTES], go[TESTING_PATH_BYTES + 8];
    db_path(path);
    myr_err err = {0};
    myr_db_close(db_make(path));
    make_read_only(path, true);
    pid_t child = child_start(child_follows, path);
    usleep(300000);
    make_read_only(path, false);
    myr_db *db = db_make(path);
    EXPECT_RC(db_add(db, "new", &err), OK, &err);
    myr_db_close(db);
    snprintf(go, sizeof go, "%s-go", path);
    EXPECT_RC(myr_file_write(go, "", 0, &err), OK, &err);
    EXPECT_INT(child_join(child), 0);
}

TEST(db_full_file_is_no_space_and_rolls_back)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db *db = db_make(path);
    myr_err err = {0};
    EXPECT_RC(myr_db_exec(db, "PRAGMA max_page_count=8", &err), OK, &err);
    myr_rc rc = myr_db_begin(db, &err);
    for (int i = 0; rc == MYR_OK && i < 100000; i++) {
        char name[200];
        memset(name, 'n', sizeof name);
        snprintf(name + 180, 20, "%d", i);
        rc = db_add(db, name, &err);
    }
    EXPECT_INT(rc, MYR_NO_SPACE);
    myr_db_rollback(db);
    EXPECT_INT(db_number(db, "SELECT count(*) FROM item"), 0);
    EXPECT_RC(db_add(db, "small", &err), OK, &err);
    myr_db_close(db);
}

TEST(db_survives_each_failed_allocation)
{
    char path[TESTING_PATH_BYTES];
    db_path(path);
    myr_db_close(db_make(path));
    FAIL_EACH_ALLOC (nth) {
        myr_db *db = NULL;
        myr_rc rc = myr_db_open(path, false, &db, NULL);
        if (rc == MYR_OK) rc = myr_db_migrate(db, migrations_one, 1, NULL);
        char name[40];
        snprintf(name, sizeof name, "n%lld", (long long)nth);
        if (rc == MYR_OK) rc = db_add(db, name, NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        myr_db_close(db);
    }
}

RUN()
