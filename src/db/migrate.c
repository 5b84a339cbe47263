/*
 * Schema versions: the number stands in the file (user_version) and moves by one in the same transaction as the change
 * it names. Another number (application_id) says that the file is ours at all.
 */
#include <stdio.h>

#include "db/internal.h"

#define DB_APPLICATION_ID 1836675684 /* "myrd" */

static myr_rc migrate_check_owner(myr_db *db, int64_t version, myr_err *err)
{
    int64_t application_id = 0;
    int64_t table_count = 0;
    MYR_TRY(myr_db_pragma_int64(db, "PRAGMA application_id", &application_id, err));
    MYR_TRY(myr_db_pragma_int64(db, "SELECT count(*) FROM sqlite_schema", &table_count, err));
    bool is_new = version == 0 && table_count == 0;
    if (!is_new && application_id != DB_APPLICATION_ID) {
        MYR_FAIL(err, BAD_FORMAT, "%s: an SQLite database that myriad did not make", db->path);
    }
    return MYR_OK;
}

static myr_rc migrate_check(myr_db *db, int count, int64_t *out_version, myr_err *err)
{
    int64_t version = 0;
    MYR_TRY(myr_db_pragma_int64(db, "PRAGMA user_version", &version, err));
    MYR_TRY(migrate_check_owner(db, version, err));
    if (version > count) {
        MYR_FAIL(err, UNSUPPORTED, "%s: its schema is version %lld, this program knows up to %d: use a newer myriad",
                 db->path, (long long)version, count);
    }
    if (version < 0) MYR_FAIL(err, BAD_FORMAT, "%s: its schema version is %lld", db->path, (long long)version);
    *out_version = version;
    return MYR_OK;
}

/* One step, under the write lock: another process may have made it since we looked. */
static myr_rc migrate_step(myr_db *db, const char *const *migrations, int count, myr_err *err)
{
    int64_t version = 0;
    MYR_TRY(migrate_check(db, count, &version, err));
    if (version == count) return MYR_OK;
    MYR_TRY(myr_db_exec(db, migrations[version], err));
    char sql[96];
    int size = snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%lld", DB_APPLICATION_ID,
                        (long long)version + 1);
    MYR_ASSERT(size > 0 && (size_t)size < sizeof sql);
    return myr_db_exec(db, sql, err);
}

myr_rc myr_db_migrate(myr_db *db, const char *const *migrations, int count, myr_err *err)
{
    MYR_ASSERT(count > 0 && !myr_db_in_transaction(db));
    for (;;) {
        int64_t version = 0;
        MYR_TRY(migrate_check(db, count, &version, err));
        if (version == count) return MYR_OK;
        MYR_TRY(myr_db_begin(db, err));
        myr_rc rc = migrate_step(db, migrations, count, err);
        if (rc == MYR_OK) rc = myr_db_commit(db, err);
        if (rc != MYR_OK) {
            myr_db_rollback(db);
            return rc;
        }
    }
}
