/* The files of a run as they were when it began: a run that goes on must find them unchanged. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/internal.h"

static myr_rc inputs_look(const char *path, myr_run_input_row *out, myr_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        return myr_err_set(err, myr_rc_from_errno(errno), __FILE__, __LINE__, "%s: %s", path, strerror(errno));
    }
    *out = (myr_run_input_row){.path = path,
                               .bytes = (int64_t)st.st_size,
                               .modified_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    return MYR_OK;
}

myr_rc myr_batch_inputs_find(batch *b, const char *const *files, size_t count, myr_err *err)
{
    b->inputs = myr_arena_calloc(b->arena, count + 1, sizeof *b->inputs);
    if (b->inputs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", count);
    for (size_t i = 0; i < count; i++)
        MYR_TRY(inputs_look(files[i], &b->inputs[i], err));
    b->input_count = count;
    return MYR_OK;
}

myr_rc myr_batch_inputs_check(const batch *b, myr_err *err)
{
    for (size_t i = 0; i < b->input_count; i++) {
        const myr_run_input_row *was = &b->inputs[i];
        myr_run_input_row is = {0};
        myr_rc rc = inputs_look(was->path, &is, err);
        if (rc != MYR_OK) return myr_err_prefix(err, rc, "run %lld began with ", (long long)b->run_id);
        if (is.bytes == was->bytes && is.modified_ns == was->modified_ns) continue;
        MYR_FAIL(err, BAD_INPUT,
                 "%s has changed since run %lld began (%lld bytes, then %lld): begin a new run with `myriad batch run`",
                 was->path, (long long)b->run_id, (long long)is.bytes, (long long)was->bytes);
    }
    return MYR_OK;
}
