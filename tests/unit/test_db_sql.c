/* One SQL over both databases: here over SQLite, and over PostgreSQL where MYR_JOBS_STORE names one. */
#include "testing.h"

#include "db/db.h"

static const char pg_setup[] = "CREATE TEMP TABLE IF NOT EXISTS item(id BIGINT PRIMARY KEY, name TEXT)";

static myr_sql *sql_open(void)
{
    char dir[TESTING_PATH_BYTES], uri[TESTING_PATH_BYTES + 32];
    const char *pg = getenv("MYR_JOBS_STORE");
    myr_sql *sql = NULL;
    myr_err err = {0};
    testing_dir(dir);
    snprintf(uri, sizeof uri, "sqlite:%.200s/t.db", dir);
    if (pg == NULL) {
        myr_db *db = NULL;
        EXPECT_RC(myr_db_open(uri + strlen("sqlite:"), true, &db, &err), OK, &err);
        EXPECT_RC(myr_db_exec(db, "CREATE TABLE IF NOT EXISTS item(id INTEGER PRIMARY KEY, name TEXT) STRICT", &err),
                  OK, &err);
        myr_db_close(db);
    }
    EXPECT_RC(myr_sql_open(pg != NULL ? pg : uri, pg_setup, 4711, &sql, &err), OK, &err);
    return sql;
}

static int64_t count_of(myr_sql *sql)
{
    bool has_row = false;
    myr_err err = {0};
    EXPECT_RC(myr_sql_run(sql, "SELECT COUNT(*) FROM item", NULL, 0, &err), OK, &err);
    EXPECT_RC(myr_sql_next(sql, &has_row, &err), OK, &err);
    EXPECT(has_row);
    int64_t count = myr_sql_int(sql, 0);
    myr_sql_done(sql);
    return count;
}

static myr_rc add(myr_sql *sql, int64_t id, const char *name, int64_t *out_rows, myr_err *err)
{
    return MYR_SQL_CHANGE(sql, out_rows, err, "INSERT INTO item(id, name) VALUES($1, $2) ON CONFLICT(id) DO NOTHING",
                          MYR_SQL_INT(id), MYR_SQL_TEXT(name));
}

TEST(values_go_in_and_come_out)
{
    myr_sql *sql = sql_open();
    myr_err err = {0};
    int64_t rows = 0;
    bool has_row = false;
    EXPECT_RC(add(sql, INT64_MIN, "naïve 'quote' $1", &rows, &err), OK, &err);
    EXPECT_INT(rows, 1);
    EXPECT_RC(add(sql, INT64_MIN, "other", &rows, &err), OK, &err);
    EXPECT_INT(rows, 0);
    EXPECT_RC(add(sql, 7, NULL, &rows, &err), OK, &err);
    EXPECT_RC(MYR_SQL(sql, &err, "SELECT id, name FROM item WHERE id < $1 ORDER BY id", MYR_SQL_INT(8)), OK, &err);
    EXPECT_RC(myr_sql_next(sql, &has_row, &err), OK, &err);
    EXPECT(has_row && myr_sql_int(sql, 0) == INT64_MIN && myr_str_is(myr_sql_text(sql, 1), "naïve 'quote' $1"));
    EXPECT_RC(myr_sql_next(sql, &has_row, &err), OK, &err);
    EXPECT(has_row && myr_sql_text(sql, 1).data == NULL);
    EXPECT_RC(myr_sql_next(sql, &has_row, &err), OK, &err);
    EXPECT(!has_row);
    myr_sql_close(sql);
}

TEST(a_transaction_is_all_or_nothing)
{
    myr_sql *sql = sql_open();
    myr_err err = {0};
    EXPECT_RC(myr_sql_begin(sql, &err), OK, &err);
    EXPECT_RC(add(sql, 1, "a", NULL, &err), OK, &err);
    myr_sql_rollback(sql);
    EXPECT_INT(count_of(sql), 0);
    EXPECT_RC(myr_sql_begin(sql, &err), OK, &err);
    EXPECT_RC(add(sql, 1, "a", NULL, &err), OK, &err);
    EXPECT_RC(myr_sql_commit(sql, &err), OK, &err);
    EXPECT_INT(count_of(sql), 1);
    EXPECT_RC(
        MYR_SQL_CHANGE(sql, NULL, &err, "INSERT INTO item(id, name) VALUES($1, $2)", MYR_SQL_INT(1), MYR_SQL_TEXT("b")),
        EXISTS, &err);
    myr_sql_rollback(sql); /* none is open */
    EXPECT_INT(count_of(sql), 1);
    myr_sql_close(sql);
}

TEST(what_is_no_such_database_is_said)
{
    myr_sql *sql = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_sql_open("redis://127.0.0.1", NULL, 1, &sql, &err), UNSUPPORTED, &err);
    EXPECT_RC(myr_sql_open("sqlite:/no/such/file.db", NULL, 1, &sql, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_sql_open("file.db", NULL, 1, &sql, &err), BAD_INPUT, &err);
    myr_sql_close(NULL);
}

RUN()
