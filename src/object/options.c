/* The option rows `object.*`, and what the program's configuration made of them. */
#include "object/internal.h"

static const myr_opt_row object_rows[] = {
    {"object.retries", "6", MYR_OPT_INT, 0, 0, 100, offsetof(myr_object_opts, retries),
     "Further tries after a failure of an object store that may pass, in a row without progress."},
    {"object.backoff", "200ms", MYR_OPT_DURATION, 0, 0, 60000, offsetof(myr_object_opts, backoff_ms),
     "Time before the first of them, about twice as long before each further one, up to 20 s."},
    {"object.stall-timeout", "30s", MYR_OPT_DURATION, 0, 1000, 3600000, offsetof(myr_object_opts, stall_ms),
     "A connection that carries less than 1 KiB/s for so long is given up, and the rest asked for again."},
    {"object.part-bytes", "16MiB", MYR_OPT_BYTES, 0, MYR_OBJECT_PART_BYTES, 1LL << 30,
     offsetof(myr_object_opts, part_bytes), "Larger files are sent in parts of this size."},
    {"object.transfers", "4", MYR_OPT_INT, 0, 1, MYR_OBJECT_TRANSFERS_MAX, offsetof(myr_object_opts, transfers),
     "Objects that are read or written at once."},
    {"object.page-keys", "1000", MYR_OPT_INT, 0, 1, 1000, offsetof(myr_object_opts, page_keys),
     "Keys that a list is asked for at once."},
    {"object.cache-bytes", "4GiB", MYR_OPT_BYTES, 0, 0, 1LL << 44, offsetof(myr_object_opts, cache_bytes),
     "Inputs that stay on the disk for the next run, those read last; in cache/objects of the workspace. 0: none."},
};

const myr_opt_table myr_object_opt_table = {object_rows, MYR_COUNT_OF(object_rows)};

static myr_mutex options_lock = MYR_MUTEX_INIT; /* guards what follows */
static bool options_are_set;
static myr_object_opts options_set;

void myr_object_set_defaults(const myr_object_opts *opts)
{
    myr_mutex_lock(&options_lock);
    options_set = *opts;
    options_are_set = true;
    myr_mutex_unlock(&options_lock);
}

myr_rc myr_object_defaults(myr_object_opts *out, myr_err *err)
{
    myr_mutex_lock(&options_lock);
    bool is_set = options_are_set;
    if (is_set) *out = options_set;
    myr_mutex_unlock(&options_lock);
    if (is_set) return MYR_OK;
    myr_opt_defaults(myr_object_opt_table, out);
    return myr_opt_environment(myr_object_opt_table, out, err);
}
