/*
 * A workspace is a directory that is complete once it has its myriad.yaml: init writes that file last, so one that was
 * killed is simply done again.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleet/internal.h"

static myr_rc workspace_has(const char *dir, const char *name, bool wants_dir, bool *out_has, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, dir, name, err));
    *out_has = myr_io_exists(path) && myr_io_is_dir(path) == wants_dir;
    return MYR_OK;
}

static myr_rc workspace_is_complete(const char *dir, bool *out_is_complete, myr_err *err)
{
    static const struct {
        const char *name;
        bool is_dir;
    } parts[] = {{FLEET_CONFIG, false}, {FLEET_REGISTRY, false}, {FLEET_ARTIFACTS, true}, {FLEET_PACKS, true}};
    bool has = true;
    for (size_t i = 0; has && i < MYR_COUNT_OF(parts); i++) {
        MYR_TRY(workspace_has(dir, parts[i].name, parts[i].is_dir, &has, err));
    }
    *out_is_complete = has;
    return MYR_OK;
}

static myr_rc workspace_make(const char *dir, const char *config_text, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, dir, FLEET_ARTIFACTS, err));
    MYR_TRY(myr_io_mkdirs(path, err));
    MYR_TRY(myr_path_join(path, sizeof path, dir, FLEET_PACKS, err));
    MYR_TRY(myr_io_mkdirs(path, err));
    MYR_TRY(myr_path_join(path, sizeof path, dir, FLEET_REGISTRY, err));
    myr_registry *registry = NULL;
    MYR_TRY(myr_registry_open(path, true, &registry, err));
    myr_registry_close(registry);
    MYR_TRY(myr_io_sync_dir(dir, err));
    MYR_TRY(myr_path_join(path, sizeof path, dir, FLEET_CONFIG, err));
    if (!myr_io_exists(path)) MYR_TRY(myr_file_write(path, config_text, strlen(config_text), err));
    char parent[MYR_PATH_BYTES_MAX];
    myr_path_dir(dir, parent, sizeof parent);
    return myr_io_sync_dir(parent, err);
}

myr_rc myr_workspace_init(const char *dir, const char *config_text, bool *out_made, myr_err *err)
{
    bool is_complete = false;
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(workspace_is_complete(dir, &is_complete, err));
    if (!is_complete) MYR_TRY(workspace_make(dir, config_text, err));
    *out_made = !is_complete;
    return MYR_OK;
}

/* Cut the last name off an absolute path; false when nothing is left above "/". */
static bool workspace_go_up(char *dir)
{
    char *slash = strrchr(dir, '/');
    if (slash == NULL || dir[1] == '\0') return false;
    slash[slash == dir ? 1 : 0] = '\0'; /* the root keeps its slash */
    return true;
}

myr_rc myr_workspace_find(const char *dir, char *out_root, size_t out_bytes, myr_err *err)
{
    bool has = false;
    if (dir != NULL) {
        MYR_TRY(workspace_has(dir, FLEET_CONFIG, false, &has, err));
        if (has) return myr_path_absolute(dir, out_root, out_bytes, err);
        MYR_FAIL(err, NOT_FOUND, "%.100s is no workspace, it has no %s: type `myriad init %.80s`", dir, FLEET_CONFIG,
                 dir);
    }
    char at[MYR_PATH_BYTES_MAX];
    if (getcwd(at, sizeof at) == NULL) {
        int error = errno;
        return myr_err_set(err, myr_rc_from_errno(error), __FILE__, __LINE__, "the current directory: %s",
                           strerror(error));
    }
    do {
        MYR_TRY(workspace_has(at, FLEET_CONFIG, false, &has, err));
        if (has) return myr_path_absolute(at, out_root, out_bytes, err);
    } while (workspace_go_up(at));
    MYR_FAIL(err, NOT_FOUND,
             "no workspace here or above: type `myriad init DIR`, then go there or use --workspace DIR");
}

/* What is written down below it is known again, wherever one stands and however one calls it then. */
static myr_rc workspace_real(const char *root, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    _Static_assert(MYR_PATH_BYTES_MAX >= PATH_MAX, "realpath writes up to PATH_MAX bytes");
    if (realpath(root, out) != NULL) return MYR_OK;
    return myr_path_absolute(root, out, MYR_PATH_BYTES_MAX, err); /* opening what is in it will say why not */
}

myr_rc myr_workspace_open(const char *root, myr_workspace **out, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_workspace_ptr) workspace = myr_calloc(1, sizeof *workspace);
    if (workspace == NULL) MYR_FAIL(err, NO_MEMORY, "%.150s: no memory to open the workspace", root);
    MYR_TRY(workspace_real(root, workspace->root, err));
    MYR_TRY(myr_path_join(path, sizeof path, root, FLEET_REGISTRY, err));
    MYR_TRY(myr_registry_open(path, false, &workspace->registry, err));
    MYR_TRY(myr_path_join(path, sizeof path, root, FLEET_ARTIFACTS, err));
    MYR_TRY(myr_store_open(path, &workspace->store, err));
    MYR_TRY(myr_runtime_new(NULL, &workspace->runtime, err));
    *out = workspace;
    workspace = NULL;
    return MYR_OK;
}

void myr_workspace_close(myr_workspace *workspace)
{
    if (workspace == NULL) return;
    myr_registry_close(workspace->registry);
    myr_store_close(workspace->store);
    myr_runtime_release(workspace->runtime);
    myr_free(workspace);
}

myr_rc myr_fleet_packs_dir(const myr_workspace *workspace, const char *fleet, char *out, size_t out_bytes, myr_err *err)
{
    char packs[MYR_PATH_BYTES_MAX];
    MYR_ASSERT(myr_name_is_valid(myr_str_of(fleet))); /* it came out of the registry */
    MYR_TRY(myr_path_join(packs, sizeof packs, workspace->root, FLEET_PACKS, err));
    return myr_path_join(out, out_bytes, packs, fleet, err);
}
