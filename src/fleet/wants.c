/* What a model that is code asks of its environment, in its own words: score.yaml beside score.py. */
#include "fleet/external.h"
#include "spec/spec.h"

static myr_rc wants_environment(const myr_spec *spec, const myr_spec_node *node, myr_runtime_wants *out, myr_err *err)
{
    static const char *const keys[] = {"network", "require_hashes", NULL};
    MYR_TRY(myr_spec_check_keys(spec, node, keys, err));
    MYR_TRY(myr_spec_bool(spec, node, "network", false, &out->network, err));
    return myr_spec_bool(spec, node, "require_hashes", false, &out->require_hashes, err);
}

myr_rc myr_fleet_wants_read(const char *dir, myr_runtime_wants *out, myr_err *err)
{
    static const char *const keys[] = {"environment", NULL};
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_spec_ptr) spec = NULL;
    myr_runtime_wants wants = {0};
    myr_err why = {0};
    myr_rc rc = myr_path_inside(dir, EXTERNAL_WANTS, path, sizeof path, &why);
    if (rc == MYR_NOT_FOUND) {
        *out = wants;
        return MYR_OK;
    }
    if (rc != MYR_OK) return myr_err_set(err, rc, why.file, why.line, "%s", why.message);
    MYR_TRY(myr_spec_load(path, &spec, err));
    const myr_spec_node *root = myr_spec_root(spec);
    bool is_empty = root->kind == MYR_SPEC_SCALAR && root->is_null;
    if (!is_empty) MYR_TRY(myr_spec_check_keys(spec, root, keys, err));
    const myr_spec_node *environment = is_empty ? NULL : myr_spec_find(root, "environment");
    if (environment != NULL) MYR_TRY(wants_environment(spec, environment, &wants, err));
    *out = wants;
    return MYR_OK;
}
