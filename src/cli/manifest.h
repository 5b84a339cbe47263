/* A manifest: a CSV file with a column `path` and one per partition column, a line per model. */
#ifndef MYR_CLI_MANIFEST_H
#define MYR_CLI_MANIFEST_H

#include "base/base.h"
#include "fleet/fleet.h"

#define MYR_MANIFEST_BYTES_MAX  (64LL << 20)
#define MYR_MANIFEST_MODELS_MAX 1000000

typedef struct myr_manifest {
    myr_fleet_item *items;
    int *lines; /* where each item stands in the file */
    size_t count;
    const char *const *columns; /* the partition columns, in the header's order */
    uint32_t column_count;
} myr_manifest;

/*
 * Read one. An empty cell leaves its column out of the segment (a parent or the global model). Paths are relative to
 * the manifest's directory. Everything is in the arena. BAD_INPUT "models.csv:3: …".
 */
myr_rc myr_manifest_read(myr_arena *arena, const char *path, myr_manifest *out, myr_err *err);
/*
 * Fit the columns to a fleet that exists and has keys: by name, so their order is free and some may be absent; the
 * fleet's order counts (`columns` becomes NULL). A column that the fleet lacks is BAD_INPUT, "models.csv:1: …".
 */
myr_rc myr_manifest_match(myr_workspace *workspace, const char *fleet, const char *path, myr_arena *arena,
                          myr_manifest *manifest, myr_err *err);

#endif
