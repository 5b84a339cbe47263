/* What the files of spec share. */
#ifndef MYR_SPEC_INTERNAL_H
#define MYR_SPEC_INTERNAL_H

#include "spec/spec.h"

struct myr_spec {
    myr_arena *arena; /* owns the nodes and their texts */
    const char *name;
    const myr_spec_node *root;
};

/* Fill spec->root from YAML text. */
myr_rc myr_spec_read(myr_spec *spec, const char *text, size_t size_bytes, myr_err *err);

#endif
