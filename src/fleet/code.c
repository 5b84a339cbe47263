/*
 * What models that are code need before they can answer: environments, made where no request waits, and held as long
 * as somebody serves them.
 */
#include <string.h>

#include "fleet/external.h"

#define CODE_REQUIREMENTS "requirements.txt"

struct myr_fleet_code {
    fleet_external *external;
    myr_runtime *runtime;
};

myr_rc myr_fleet_code_open(myr_workspace *workspace, myr_fleet_code **out, myr_err *err)
{
    myr_fleet_code *code = myr_calloc(1, sizeof *code);
    if (code == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the models that are code");
    myr_rc rc = myr_fleet_external_open(workspace, &code->external, err);
    if (rc != MYR_OK) {
        myr_free(code);
        return rc;
    }
    code->runtime = myr_runtime_acquire(workspace->runtime);
    *out = code;
    return MYR_OK;
}

void myr_fleet_code_close(myr_fleet_code *code)
{
    if (code == NULL) return;
    myr_fleet_external_close(code->external);
    myr_runtime_release(code->runtime);
    myr_free(code);
}

/* With all its files, since the list may name some of them. */
static myr_rc code_make(myr_fleet_code *code, const char *artifact, const _Atomic bool *stop, myr_arena *arena,
                        myr_runtime_environment **out, myr_err *err)
{
    myr_runtime_source source = myr_fleet_external_source(code->external);
    myr_runtime_bundle bundle = {0};
    MYR_TRY(source.load(source.ctx, artifact, arena, &bundle, err));
    myr_rc rc = myr_runtime_environment_acquire(code->runtime, &bundle, false, stop, out, err);
    source.unload(source.ctx, &bundle);
    return rc;
}

myr_rc myr_fleet_code_requirements(myr_fleet_code *code, const char *artifact, char **out, size_t *out_size,
                                   myr_runtime_wants *out_wants, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an environment");
    return myr_fleet_external_file(code->external, artifact, CODE_REQUIREMENTS, arena, out, out_size, out_wants, err);
}

myr_rc myr_fleet_code_prepare(myr_fleet_code *code, const char *artifact, const _Atomic bool *stop,
                              myr_runtime_environment **out, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_mem) list = NULL;
    myr_runtime_file file = {.name = CODE_REQUIREMENTS};
    myr_runtime_wants wants;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an environment");
    MYR_TRY(myr_fleet_code_requirements(code, artifact, (char **)&list, &file.size_bytes, &wants, err));
    if (list == NULL) {
        *out = NULL;
        return MYR_OK;
    }
    file.data = list;
    const myr_runtime_bundle alone = {&file, 1, wants};
    myr_rc rc = myr_runtime_environment_acquire(code->runtime, &alone, true, stop, out, err);
    return rc == MYR_BUSY ? code_make(code, artifact, stop, arena, out, err) : rc;
}

void myr_fleet_code_keep(myr_fleet_code *code, const char *const *artifacts, size_t count)
{
    myr_runtime_keep_code(code->runtime, artifacts, count);
}
