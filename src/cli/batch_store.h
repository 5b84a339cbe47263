/* What a batch wrote, into the prediction store too: `myriad batch run --store URI`. */
#ifndef MYR_CLI_BATCH_STORE_H
#define MYR_CLI_BATCH_STORE_H

#include "base/base.h"
#include "fleet/fleet.h"

/*
 * Store each row with the status ok of a published output (directory, of values), as made now. A row without a whole
 * key is not stored. Errors: those of the table and of the store; what was stored before one stays.
 */
myr_rc myr_batch_store(myr_workspace *workspace, const char *fleet, int64_t release, const char *output, bool is_csv,
                       const char *uri, int64_t *out_rows, myr_err *err);

#endif
