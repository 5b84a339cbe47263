/* `myriad init [DIR]`: make a workspace. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "jobs/jobs.h"
#include "object/object.h"
#include "serve/serve.h"

/* The rows of one section: each with its default, commented out. */
static void init_section(myr_buf *out, myr_opt_table table, const char *indent, const char *prefix)
{
    size_t prefix_bytes = strlen(prefix);
    for (size_t i = 0; i < table.count; i++) {
        const myr_opt_row *row = &table.rows[i];
        if (strncmp(row->name, prefix, prefix_bytes) != 0) continue;
        myr_buf_printf(out, "%s# %s\n%s# %s: %s\n", indent, row->prose, indent, row->name + prefix_bytes,
                       row->default_value[0] != '\0' ? row->default_value : "\"\"");
    }
}

/* myriad.yaml as it is first written. */
static void init_config(myr_buf *out)
{
    myr_buf_puts(out,
                 "# The configuration of this workspace. Every option also exists as an environment variable\n"
                 "# (MYRIAD_SERVE_LISTEN), those of serve as a flag too (--serve.listen, short --listen).\nserve:\n");
    init_section(out, myr_serve_opt_table, "  ", "serve.");
    myr_buf_puts(out, "runtime:\n  onnx:\n");
    init_section(out, myr_runtime_opt_table, "    ", "runtime.onnx.");
    myr_buf_puts(out, "  python:\n");
    init_section(out, myr_runtime_opt_table, "    ", "runtime.python.");
    myr_buf_puts(out, "scheduler:\n");
    init_section(out, myr_scheduler_opt_table, "  ", "scheduler.");
    myr_buf_puts(out, "object:\n");
    init_section(out, myr_object_opt_table, "  ", "object.");
}

myr_rc myr_cmd_init(int argc, char **argv, myr_err *err)
{
    const char *dir = ".";
    const myr_cli_arg args[] = {{"DIR", NULL, MYR_CLI_POSITIONAL_OPT, &dir, "where (default: here); made if absent"}};
    myr_cli cli = {0};
    MYR_TRY(
        myr_cli_parse("init", "make a workspace", "myriad init demo", args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_AUTO(myr_buf) config = {0};
    init_config(&config);
    MYR_TRY(myr_buf_check(&config, err));
    bool made = false;
    MYR_TRY(myr_workspace_init(dir, config.data, &made, err));
    if (cli.json) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_json_string(&text, myr_str_of(dir));
        printf("{\"workspace\":%s,\"made\":%s}\n", text.data != NULL ? text.data : "\"\"", made ? "true" : "false");
        return MYR_OK;
    }
    printf(made ? "made workspace %s (myriad.yaml, registry.db, artifacts/, packs/)\n"
                : "workspace %s is there already: kept\n",
           dir);
    return MYR_OK;
}
