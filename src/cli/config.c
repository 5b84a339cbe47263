/* The workspace of a command, and its myriad.yaml applied to option rows. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "object/object.h"
#include "spec/spec.h"

static myr_rc config_section(const myr_spec *spec, const char *section, const myr_spec_node *map, myr_opt_table table,
                             void *slots, myr_err *err);

/* One line: an option, or `onnx:` with more of them below. */
static myr_rc config_item(const myr_spec *spec, const char *name, const myr_spec_node *value, myr_opt_table table,
                          void *slots, myr_err *err)
{
    char origin[MYR_PATH_BYTES_MAX + 32];
    size_t size = strlen(name);
    bool is_group = false;
    for (size_t i = 0; i < table.count; i++)
        is_group = is_group || (strncmp(table.rows[i].name, name, size) == 0 && table.rows[i].name[size] == '.');
    if (is_group) return config_section(spec, name, value, table, slots, err);
    if (value->kind != MYR_SPEC_SCALAR)
        return myr_spec_fail(spec, value, err, "an option's value must be a plain word");
    (void)snprintf(origin, sizeof origin, "%s:%d", myr_spec_name(spec), value->line);
    return myr_opt_set(table, slots, name, value->text, origin, err);
}

static myr_rc config_section(const myr_spec *spec, const char *section, const myr_spec_node *map, myr_opt_table table,
                             void *slots, myr_err *err)
{
    if (map->kind == MYR_SPEC_SCALAR && map->is_null) return MYR_OK; /* `serve:` with every line commented out */
    if (map->kind != MYR_SPEC_MAP) return myr_spec_fail(spec, map, err, "'%s' must be a map of options", section);
    for (uint32_t i = 0; i < map->count; i++) {
        char name[MYR_NAME_BYTES_MAX];
        (void)snprintf(name, sizeof name, "%s.%s", section, map->keys[i]->text);
        MYR_TRY(config_item(spec, name, map->items[i], table, slots, err));
    }
    return MYR_OK;
}

myr_rc myr_cli_config(const char *workspace_root, myr_opt_table table, void *slots, myr_err *err)
{
    static const char *const sections[] = {"serve", "runtime", "scheduler", "object", NULL};
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, workspace_root, "myriad.yaml", err));
    MYR_AUTO(myr_spec_ptr) spec = NULL;
    MYR_TRY(myr_spec_load(path, &spec, err));
    const myr_spec_node *root = myr_spec_root(spec);
    if (root->kind == MYR_SPEC_SCALAR && root->is_null) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(spec, root, sections, err));
    for (uint32_t i = 0; i < root->count; i++) {
        const char *section = root->keys[i]->text;
        size_t size = strlen(section);
        MYR_ASSERT(table.count > 0);
        if (strncmp(table.rows[0].name, section, size) != 0 || table.rows[0].name[size] != '.')
            continue; /* another's */
        MYR_TRY(config_section(spec, section, root->items[i], table, slots, err));
    }
    return MYR_OK;
}

myr_rc myr_cli_runtime(const char *workspace_root, myr_err *err)
{
    myr_runtime_opts opts;
    myr_opt_defaults(myr_runtime_opt_table, &opts);
    MYR_TRY(myr_cli_config(workspace_root, myr_runtime_opt_table, &opts, err));
    MYR_TRY(myr_opt_environment(myr_runtime_opt_table, &opts, err));
    myr_runtime_set_defaults(&opts);
    return MYR_OK;
}

static myr_rc config_objects(const char *workspace_root, myr_err *err)
{
    myr_object_opts opts;
    myr_opt_defaults(myr_object_opt_table, &opts);
    MYR_TRY(myr_cli_config(workspace_root, myr_object_opt_table, &opts, err));
    MYR_TRY(myr_opt_environment(myr_object_opt_table, &opts, err));
    myr_object_set_defaults(&opts);
    return MYR_OK;
}

myr_rc myr_cli_workspace(const myr_cli *cli, myr_workspace **out, myr_err *err)
{
    char root[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_workspace_find(cli->workspace, root, sizeof root, err));
    MYR_TRY(myr_cli_runtime(root, err));
    MYR_TRY(config_objects(root, err));
    return myr_workspace_open(root, out, err);
}
