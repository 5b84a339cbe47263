/* Workers without a network: what worker.c and network.c share. Private to compute. */
#ifndef MYR_COMPUTE_NETWORK_H
#define MYR_COMPUTE_NETWORK_H

#include "compute/compute.h"

/* Who this process is, as texts for the kernel, made before the fork. */
typedef struct compute_ids {
    char uid_map[64], gid_map[64];
} compute_ids;
void myr_offline_prepare(compute_ids *out);
/* Between fork and exec: from here on there is no network. NO: it could not be, and the process must end. */
myr_offline myr_offline_enter(const compute_ids *ids);

#endif
