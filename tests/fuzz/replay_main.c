/*
 * Runs LLVMFuzzerTestOneInput over every regular file of the directories (or over the files) that are named, and prints
 * how many: the committed corpus as a test, without libFuzzer. An empty directory is a failure, since it tests nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

#define REPLAY_FILE_BYTES_MAX (64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static myr_rc replay_file(const char *path, myr_err *err)
{
    char *text = NULL;
    size_t size = 0;
    MYR_TRY(myr_file_read(path, REPLAY_FILE_BYTES_MAX, &text, &size, err));
    MYR_AUTO(myr_mem) block = text;
    MYR_AUTO(myr_mem) exact = myr_alloc(size > 0 ? size : 1); /* without the NUL behind: ASan sees a read too far */
    if (exact == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for %zu bytes", path, size);
    memcpy(exact, text, size);
    MYR_IGNORE(LLVMFuzzerTestOneInput(exact, size)); /* always 0 */
    return MYR_OK;
}

static myr_rc replay_dir(const char *dir, size_t *count, myr_err *err)
{
    char **names = NULL;
    size_t name_count = 0;
    size_t before = *count;
    myr_rc rc = myr_io_list(dir, &names, &name_count, err);
    for (size_t k = 0; rc == MYR_OK && k < name_count; k++) {
        char path[MYR_PATH_BYTES_MAX];
        rc = myr_path_join(path, sizeof path, dir, names[k], err);
        if (rc == MYR_OK && !myr_io_is_dir(path)) {
            rc = replay_file(path, err);
            (*count)++;
        }
    }
    myr_names_free(names, name_count);
    if (rc == MYR_OK && *count == before) rc = MYR_ERROR(err, BAD_INPUT, "%s: no file to replay", dir);
    return rc;
}

int main(int argc, char **argv)
{
    myr_err err = {0};
    myr_rc rc = MYR_OK;
    size_t count = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: %s DIRECTORY|FILE...\n", argv[0]);
        return 64;
    }
    for (int k = 1; k < argc && rc == MYR_OK; k++) {
        if (myr_io_is_dir(argv[k])) {
            rc = replay_dir(argv[k], &count, &err);
        } else {
            rc = replay_file(argv[k], &err);
            count++;
        }
    }
    if (rc != MYR_OK) fprintf(stderr, "%s\n", err.message);
    printf("replayed %zu inputs\n", count);
    return rc == MYR_OK ? 0 : myr_rc_exit(rc);
}
