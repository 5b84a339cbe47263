/* The workspace of a command, and its myriad.yaml applied to option rows. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "spec/spec.h"

myr_rc myr_cli_workspace(const myr_cli *cli, myr_workspace **out, myr_err *err)
{
    char root[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_workspace_find(cli->workspace, root, sizeof root, err));
    return myr_workspace_open(root, out, err);
}

static myr_rc config_section(const myr_spec *spec, const char *section, const myr_spec_node *map, myr_opt_table table,
                             void *slots, myr_err *err)
{
    if (map->kind == MYR_SPEC_SCALAR && map->is_null) return MYR_OK; /* `serve:` with every line commented out */
    if (map->kind != MYR_SPEC_MAP) return myr_spec_fail(spec, map, err, "'%s' must be a map of options", section);
    for (uint32_t i = 0; i < map->count; i++) {
        const myr_spec_node *value = map->items[i];
        if (value->kind != MYR_SPEC_SCALAR)
            return myr_spec_fail(spec, value, err, "an option's value must be a plain word");
        char name[MYR_NAME_BYTES_MAX], origin[MYR_PATH_BYTES_MAX + 32];
        (void)snprintf(name, sizeof name, "%s.%s", section, map->keys[i]->text);
        (void)snprintf(origin, sizeof origin, "%s:%d", myr_spec_name(spec), value->line);
        MYR_TRY(myr_opt_set(table, slots, name, value->text, origin, err));
    }
    return MYR_OK;
}

myr_rc myr_cli_config(const char *workspace_root, myr_opt_table table, void *slots, myr_err *err)
{
    static const char *const sections[] = {"serve", NULL};
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, workspace_root, "myriad.yaml", err));
    MYR_AUTO(myr_spec_ptr) spec = NULL;
    MYR_TRY(myr_spec_load(path, &spec, err));
    const myr_spec_node *root = myr_spec_root(spec);
    if (root->kind == MYR_SPEC_SCALAR && root->is_null) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(spec, root, sections, err));
    for (uint32_t i = 0; i < root->count; i++) {
        MYR_TRY(config_section(spec, root->keys[i]->text, root->items[i], table, slots, err));
    }
    return MYR_OK;
}
