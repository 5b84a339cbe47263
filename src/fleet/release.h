/* Making a release: what its files share. Private to fleet. */
#ifndef MYR_FLEET_RELEASE_H
#define MYR_FLEET_RELEASE_H

#include <stdio.h>

#include "fleet/internal.h"

#define RELEASE_WINDOW        16 /* models in memory at once, compiled in parallel */
#define RELEASE_LOOK_BACK_MAX 8  /* earlier releases looked at for models to keep */
#define RELEASE_NAME_BYTES    32

typedef struct release_job {
    myr_workspace *workspace;
    myr_arena *arena;
    myr_fleet_row fleet;
    char dir[MYR_PATH_BYTES_MAX]; /* packs/<fleet> */
    myr_fd lock;                  /* on dir/.lock, until the row is registered */
    myr_model_row *models;        /* newest of each segment, in the order of the pack */
    size_t model_count;
    myr_release_row *releases; /* by number */
    size_t release_count;
    int64_t number;
    myr_pack_info info;
    myr_pack *earlier; /* whose models may be kept; NULL = none fits */
    bool earlier_is_newest;
    bool copies; /* compact: the bytes of `earlier` are copied, nothing is kept by reference or compiled */
    int64_t new_models;
} release_job;

/* Does a model of an earlier pack hold explanations if and only if the fleet's releases shall? */
bool myr_fleet_model_explains_as(const myr_fleet_row *fleet, const myr_model *model);

/* release.c, in the order of their use; the number is the job's own from `describe` until it is registered. */
myr_rc myr_fleet_release_lock(release_job *job, myr_err *err);        /* BUSY: another process makes one */
myr_rc myr_fleet_release_describe(release_job *job, myr_err *err);    /* job->models is there: number, info */
myr_rc myr_fleet_release_clean(const release_job *job, myr_err *err); /* what a killed process left */
myr_rc myr_fleet_release_write_pack(release_job *job, myr_err *err);  /* release_pack.c */
myr_rc myr_fleet_release_register(release_job *job, bool promote, myr_err *err);
myr_rc myr_fleet_release_pack_bytes(const release_job *job, int64_t number, int64_t *out_bytes, myr_err *err);

static inline void release_file_name(int64_t number, const char *suffix, char out[RELEASE_NAME_BYTES])
{
    int size = snprintf(out, RELEASE_NAME_BYTES, "r%lld%s", (long long)number, suffix);
    MYR_ASSERT(size > 0 && size < RELEASE_NAME_BYTES);
}

#endif
