/* libpq, opened when the first connection is made: with what it links to (Kerberos, LDAP, TLS) it takes as long to load
 * as all the rest of the program. */
#include "base/library.h"
#include "db/pg_inside.h"

pg_calls myr_libpq;

static myr_rc pg_load(pg_calls *out, myr_err *err)
{
    static const char *const names[] = {"libpq.so.5", NULL};
    void *library = myr_library_open(names);
    if (library == NULL)
        MYR_FAIL(err, UNAVAILABLE, "PostgreSQL needs %s, which is not here: apt-get install libpq5", names[0]);
    bool is_whole = true;
#define PG_CALL(name) is_whole = myr_library_symbol(library, "PQ" #name, &out->name) && is_whole;
    PG_CALLS(PG_CALL)
#undef PG_CALL
    if (!is_whole) MYR_FAIL(err, UNAVAILABLE, "%s is here, but older than 14: myriad needs a newer one", names[0]);
    return MYR_OK;
}

myr_rc myr_pg_load(myr_err *err)
{
    static myr_mutex lock = MYR_MUTEX_INIT;
    static bool is_loaded;
    pg_calls calls;
    myr_mutex_lock(&lock);
    myr_rc rc = is_loaded ? MYR_OK : pg_load(&calls, err);
    if (rc == MYR_OK && !is_loaded) {
        myr_libpq = calls;
        is_loaded = true;
    }
    myr_mutex_unlock(&lock);
    return rc;
}
