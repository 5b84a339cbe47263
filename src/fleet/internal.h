/* What the files of fleet share. Not for other directories. */
#ifndef MYR_FLEET_INTERNAL_H
#define MYR_FLEET_INTERNAL_H

#include "fleet/fleet.h"

#define FLEET_CONFIG    "myriad.yaml"
#define FLEET_REGISTRY  "registry.db"
#define FLEET_ARTIFACTS "artifacts"
#define FLEET_PACKS     "packs"
#define FLEET_CHAMPION  "champion"

/* A field of a JSON row: where its value goes. One name may be both a key and a feature. */
#define FLEET_FIELD_NONE UINT32_MAX
typedef struct fleet_field {
    uint32_t key_idx;     /* or FLEET_FIELD_NONE */
    uint32_t feature_idx; /* or FLEET_FIELD_NONE */
} fleet_field;
static inline uint64_t fleet_field_pack(fleet_field field)
{
    return (uint64_t)field.key_idx << 32 | field.feature_idx;
}
static inline fleet_field fleet_field_unpack(uint64_t value)
{
    return (fleet_field){.key_idx = (uint32_t)(value >> 32), .feature_idx = (uint32_t)value};
}

/* Model bytes out of the store, compiled for the fleet's columns; *out_bytes is the caller's (myr_free). */
myr_rc myr_fleet_compile_row(myr_workspace *workspace, const myr_fleet_row *fleet, const myr_model_row *model,
                             unsigned char **out_bytes, size_t *out_size, myr_err *err);

/* Whether a pack was made for this fleet as it is: name, features, outputs. BAD_FORMAT says what differs. */
myr_rc myr_fleet_check_pack(const myr_fleet_row *fleet, const myr_pack_info *info, const char *path, myr_err *err);

/* `packs/<fleet>`, absolute or as the workspace's root is written. */
myr_rc myr_fleet_packs_dir(const myr_workspace *workspace, const char *fleet, char *out, size_t out_bytes,
                           myr_err *err);

#endif
