/* What the files of the store share. Not for others. */
#ifndef MYR_JOBS_STORE_INSIDE_H
#define MYR_JOBS_STORE_INSIDE_H

#include "jobs/store.h"

#define STORE_LEASE_ABSURD 3 /* times the lease: nobody asks for so long */

/* A text of the current row, copied into the arena; null becomes "". */
myr_rc myr_store_text(myr_sql *sql, int column, myr_arena *arena, const char **out, myr_err *err);

/* A growing array of rows: on the heap while it grows, in the caller's arena at the end. Zero-initialise. */
typedef struct store_rows {
    void *items;
    size_t count, room;
} store_rows;
static inline void store_rows_drop(store_rows *rows)
{
    myr_free(rows->items);
}
myr_rc myr_store_rows_add(store_rows *rows, const void *item, size_t item_bytes, myr_err *err);
myr_rc myr_store_rows_take(const store_rows *rows, size_t item_bytes, myr_arena *arena, void **out, size_t *out_count,
                           myr_err *err);

#endif
