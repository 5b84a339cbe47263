/* `myriad version`: this program, and the libraries that are opened at run time: found where, or why not. */
#include <stdio.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "stream/stream.h"

typedef struct version_onnx {
    char version[32];
    char path[MYR_PATH_BYTES_MAX];
    myr_err err; /* rc OK: found */
} version_onnx;

/* With the workspace's configuration if there is one here: it may name the library. */
static myr_rc version_look(const myr_cli *cli, version_onnx *out, myr_err *err)
{
    char root[MYR_PATH_BYTES_MAX];
    myr_err none = {0};
    myr_rc found = myr_workspace_find(cli->workspace, root, sizeof root, cli->workspace != NULL ? err : &none);
    if (found != MYR_OK && cli->workspace != NULL) return found;
    if (found == MYR_OK) MYR_TRY(myr_cli_runtime(root, err));
    MYR_AUTO(myr_runtime_ptr) runtime = NULL;
    MYR_TRY(myr_runtime_new(NULL, &runtime, err));
    myr_rc rc = myr_runtime_find(runtime, out->version, sizeof out->version, out->path, sizeof out->path, &out->err);
    MYR_ASSERT(rc == (myr_rc)out->err.rc);
    return MYR_OK;
}

static myr_rc version_json(const version_onnx *onnx, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_puts(&out, "{\"version\":\"" MYR_VERSION "\",\"onnxruntime\":");
    if (onnx->err.rc == MYR_OK) {
        myr_buf_printf(&out, "{\"version\":\"%s\",\"path\":", onnx->version);
        myr_buf_json_string(&out, myr_str_of(onnx->path));
    } else {
        myr_buf_puts(&out, "{\"version\":null,\"error\":");
        myr_buf_json_string(&out, myr_str_of(onnx->err.message));
    }
    const char *kafka = NULL;
    myr_err absent = {0};
    bool has_kafka = myr_stream_find(&kafka, &absent) == MYR_OK;
    myr_buf_puts(&out, has_kafka ? "},\"librdkafka\":{\"version\":" : "},\"librdkafka\":{\"version\":null,\"error\":");
    myr_buf_json_string(&out, myr_str_of(has_kafka ? kafka : absent.message));
    myr_buf_puts(&out, "}}");
    MYR_TRY(myr_buf_check(&out, err));
    puts(out.data);
    return MYR_OK;
}

myr_rc myr_cmd_version(int argc, char **argv, myr_err *err)
{
    myr_cli cli = {0};
    version_onnx onnx = {0};
    MYR_TRY(myr_cli_parse("version", "this program, and the libraries it finds", "myriad version --json", NULL, 0, argc,
                          argv, &cli, err));
    if (cli.done) return MYR_OK;
    MYR_TRY(version_look(&cli, &onnx, err));
    if (cli.json) return version_json(&onnx, err);
    printf("myriad %s\n", MYR_VERSION);
    if (onnx.err.rc == MYR_OK) {
        printf("ONNX Runtime %s, %s\n", onnx.version, onnx.path);
    } else {
        printf("%s\n", onnx.err.message);
    }
    const char *kafka = NULL;
    myr_err absent = {0};
    if (myr_stream_find(&kafka, &absent) == MYR_OK) {
        printf("librdkafka %s\n", kafka);
    } else {
        printf("Kafka: %s\n", absent.message);
    }
    return MYR_OK;
}
