/* Tests of store: artifacts come back, damage is seen and healed, every failure leaves nothing half. */
#include "testing.h"

#include <sys/wait.h>
#include <unistd.h>

#include "store/store.h"

static const char hello_hex[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; /* of "hello" */

static void store_dir(char dir[TESTING_PATH_BYTES])
{
    char base[TESTING_PATH_BYTES];
    testing_dir(base);
    snprintf(dir, TESTING_PATH_BYTES, "%.200s/x/artifacts", base);
}

static myr_store *store_make(void)
{
    char dir[TESTING_PATH_BYTES];
    store_dir(dir);
    myr_store *store = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_store_open(dir, &store, &err), OK, &err);
    return store;
}

static void hello_path(char path[TESTING_PATH_BYTES + 80])
{
    char dir[TESTING_PATH_BYTES];
    store_dir(dir);
    snprintf(path, TESTING_PATH_BYTES + 80, "%s/2c/%s", dir, hello_hex + 2);
}

static void expect_hello(myr_store *store)
{
    char *data = NULL;
    size_t size = 0;
    myr_err err = {0};
    EXPECT_RC(myr_store_get(store, hello_hex, &data, &size, &err), OK, &err);
    EXPECT_INT(size, 5);
    EXPECT_STR(data, "hello"); /* NUL after the end */
    myr_free(data);
}

TEST(store_gives_back_what_was_put)
{
    myr_store *store = store_make();
    myr_err err = {0};
    char hex[MYR_SHA256_HEX_BYTES] = "";
    EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
    EXPECT_STR(hex, hello_hex);
    expect_hello(store);
    EXPECT_RC(myr_store_put(store, "", 0, hex, &err), OK, &err);
    EXPECT_RC(myr_store_sync(store, &err), OK, &err);
    char *data = NULL;
    size_t size = 9;
    EXPECT_RC(myr_store_get(store, hex, &data, &size, &err), OK, &err);
    EXPECT_INT(size, 0);
    myr_free(data);
    char path[TESTING_PATH_BYTES + 80];
    hello_path(path);
    EXPECT(myr_io_exists(path)); /* two digits, then the rest */
    myr_store_close(store);
    store = store_make();
    expect_hello(store);
    myr_store_close(store);
    myr_store_close(NULL);
}

TEST(store_refuses_names_that_are_no_hashes)
{
    myr_store *store = store_make();
    myr_err err = {0};
    char *data = NULL;
    size_t size = 0;
    static const char *const bad[] = {"", "ab", NULL,
                                      "../../../../../../../../../../../../../../../../../../../etc/passwd12",
                                      "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        EXPECT_RC(myr_store_get(store, bad[i], &data, &size, &err), BAD_INPUT, &err);
    }
    EXPECT_RC(myr_store_get(store, hello_hex, &data, &size, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, hello_hex + 2);
    EXPECT(data == NULL && size == 0);
    myr_store_close(store);
}

/* A leftover under the right name, whatever it holds, is never believed: get says so, put writes it again. */
TEST(store_damage_is_seen_and_healed)
{
    myr_store *store = store_make();
    myr_err err = {0};
    char hex[MYR_SHA256_HEX_BYTES];
    char path[TESTING_PATH_BYTES + 80];
    hello_path(path);
    static const char *const leftovers[] = {"", "hel", "hellO", "hello!"};
    for (size_t i = 0; i < MYR_COUNT_OF(leftovers); i++) {
        EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
        EXPECT_RC(myr_file_write(path, leftovers[i], strlen(leftovers[i]), &err), OK, &err);
        char *data = NULL;
        size_t size = 0;
        EXPECT_RC(myr_store_get(store, hello_hex, &data, &size, &err), BAD_FORMAT, &err);
        EXPECT_HAS(err.message, "damaged");
        EXPECT(data == NULL);
        EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
        expect_hello(store);
    }
    myr_store_close(store);
}

static int64_t inode_size_calls(const char *path)
{
    int64_t size = -1;
    MYR_IGNORE(myr_io_size(path, &size, NULL)); /* -1 tells */
    return size;
}

static int count_writes(void *ctx, myr_io_op op, const char *path)
{
    (void)path;
    if (op == MYR_IO_WRITE) (*(int *)ctx)++;
    return 0;
}

/* What killed processes left goes when its directory is next written to; what may still be written stays. */
TEST(store_sweeps_what_the_dead_left)
{
    myr_store *store = store_make();
    char dir[TESTING_PATH_BYTES], hex[MYR_SHA256_HEX_BYTES];
    myr_err err = {0};
    store_dir(dir);
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    EXPECT(pid > 0 && waitpid(pid, NULL, 0) == pid); /* a number that no process has now */
    char name[8][40];
    static const bool stays[8] = {false, false, true, true, true, true, true, true};
    snprintf(name[0], sizeof name[0], "2c/tmp-%ld-0", (long)pid);
    snprintf(name[1], sizeof name[1], "2c/tmp-%ld-17", (long)pid);
    snprintf(name[2], sizeof name[2], "2c/tmp-%ld-3", (long)getpid()); /* alive */
    snprintf(name[3], sizeof name[3], "2c/tmp-%ld-", (long)pid);       /* not our names */
    snprintf(name[4], sizeof name[4], "2c/tmp-%ld-x", (long)pid);
    snprintf(name[5], sizeof name[5], "2c/tmp-0%ld-1", (long)pid);
    snprintf(name[6], sizeof name[6], "2c/tmp-0-1");              /* kill(0, …) would mean us all */
    snprintf(name[7], sizeof name[7], "ff/tmp-%ld-1", (long)pid); /* another directory's turn */
    char path[8][TESTING_PATH_BYTES + 48];
    for (int i = 0; i < 8; i++) {
        char parent[TESTING_PATH_BYTES + 48];
        snprintf(path[i], sizeof path[i], "%s/%s", dir, name[i]);
        myr_path_dir(path[i], parent, sizeof parent);
        EXPECT_RC(myr_io_mkdirs(parent, &err), OK, &err);
        EXPECT_RC(myr_file_write(path[i], "half", 4, &err), OK, &err);
    }
    EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
    for (int i = 0; i < 8; i++)
        EXPECT(myr_io_exists(path[i])); /* young: it may be of a process on another machine */
    myr_store_close(store);
    store = store_make();
    myr_clock_freeze(myr_clock_unix_ms() + 3600000);
    EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
    for (int i = 0; i < 8; i++) {
        if (myr_io_exists(path[i]) != stays[i]) fail_msg("%s", path[i]);
    }
    expect_hello(store);
    myr_store_close(store);
}

TEST(store_put_again_writes_nothing)
{
    myr_store *store = store_make();
    myr_err err = {0};
    char hex[MYR_SHA256_HEX_BYTES];
    int writes = 0;
    myr_io_set_hook(count_writes, &writes);
    EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
    EXPECT(writes > 0);
    writes = 0;
    EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), OK, &err);
    EXPECT_INT(writes, 0);
    myr_io_set_hook(NULL, NULL);
    char path[TESTING_PATH_BYTES + 80];
    hello_path(path);
    EXPECT_INT(inode_size_calls(path), 5);
    myr_store_close(store);
}

static size_t names_in(const char *dir)
{
    char **names = NULL;
    size_t count = 0;
    if (!myr_io_is_dir(dir)) return 0;
    myr_err err = {0};
    EXPECT_RC(myr_io_list(dir, &names, &count, &err), OK, &err);
    myr_names_free(names, count);
    return count;
}

/* Each file call fails once, as a broken disk and as a full one: the artifact is whole or not there, and no litter
 * stays. */
TEST(store_survives_each_failed_file_call)
{
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 80], sub[TESTING_PATH_BYTES + 8];
    store_dir(dir);
    hello_path(path);
    snprintf(sub, sizeof sub, "%s/2c", dir);
    static const int errors[] = {EIO, ENOSPC};
    for (size_t k = 0; k < MYR_COUNT_OF(errors); k++) {
        FAIL_EACH_IO_AS(nth, errors[k])
        {
            myr_store *store = NULL;
            char hex[MYR_SHA256_HEX_BYTES] = "untouched";
            myr_err err = {0};
            myr_rc rc = myr_store_open(dir, &store, &err);
            myr_rc put = rc == MYR_OK ? myr_store_put(store, "hello", 5, hex, &err) : rc;
            rc = put == MYR_OK ? myr_store_sync(store, &err) : put;
            bool failed_once = testing_fault.calls >= nth;
            TESTING_NO_FAULTS();
            /* EXISTS: the directory is there, but looking at it fails, so it seems to be a file */
            EXPECT(rc == MYR_OK || rc == MYR_EXISTS || rc == (errors[k] == EIO ? MYR_IO : MYR_NO_SPACE));
            if (put != MYR_OK) EXPECT_STR(hex, "untouched");
            if (put == MYR_OK) expect_hello(store);
            if (put == MYR_OK && rc != MYR_OK) { /* a failed sync is final for this handle */
                EXPECT(failed_once);
                EXPECT_RC(myr_store_sync(store, &err), IO, &err);
                EXPECT_RC(myr_store_put(store, "hello", 5, hex, &err), IO, &err);
            }
            size_t litter = names_in(sub) - (myr_io_exists(path) ? 1 : 0);
            EXPECT(litter == 0 || testing_fault.calls > nth); /* only when the clean-up itself was what failed */
            myr_store_close(store);
            EXPECT_RC(myr_io_remove_tree(dir, &err), OK, &err);
        }
    }
}

TEST(store_survives_each_failed_allocation)
{
    char dir[TESTING_PATH_BYTES];
    store_dir(dir);
    FAIL_EACH_ALLOC (nth) {
        myr_store *store = NULL;
        char hex[MYR_SHA256_HEX_BYTES];
        char *data = NULL;
        size_t size = 0;
        myr_rc rc = myr_store_open(dir, &store, NULL);
        if (rc == MYR_OK) rc = myr_store_put(store, "hello", 5, hex, NULL);
        if (rc == MYR_OK)
            rc = myr_store_put(store, "hello", 5, hex, NULL); /* reads it; writes it again without memory */
        if (rc == MYR_OK) rc = myr_store_get(store, hex, &data, &size, NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && data == NULL));
        myr_free(data);
        myr_store_close(store);
    }
}

TEST(store_path_limit)
{
    static char dir[MYR_PATH_BYTES_MAX + 1];
    memset(dir, 'd', MYR_PATH_BYTES_MAX);
    myr_store *store = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_store_open(dir, &store, &err), BAD_INPUT, &err);
    EXPECT(store == NULL);
    char base[TESTING_PATH_BYTES];
    store_dir(base);
    EXPECT_RC(myr_io_mkdirs(base, &err), OK, &err);
    char file[TESTING_PATH_BYTES + 8];
    snprintf(file, sizeof file, "%s/f", base);
    EXPECT_RC(myr_file_write(file, "x", 1, &err), OK, &err);
    EXPECT_RC(myr_store_open(file, &store, &err), EXISTS, &err); /* a file where the directory should be */
}

static void *thread_puts(void *arg)
{
    myr_store *store = arg;
    for (int i = 0; i < 200; i++) {
        char text[32], hex[MYR_SHA256_HEX_BYTES];
        snprintf(text, sizeof text, "artifact %d", i);
        if (myr_store_put(store, text, strlen(text), hex, NULL) != MYR_OK) return (void *)1;
        if (i % 50 == 0 && myr_store_sync(store, NULL) != MYR_OK) return (void *)1;
    }
    return NULL;
}

static void *thread_body(void *arg)
{
    void **slot = arg;
    slot[1] = thread_puts(slot[0]);
    return NULL;
}

/* Two threads and another process put the same artifacts at once. */
TEST(store_is_shared)
{
    myr_io_set_sync(false); /* only speed */
    char dir[TESTING_PATH_BYTES];
    store_dir(dir);
    myr_store *store = store_make();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        myr_store *own = NULL;
        _exit(myr_store_open(dir, &own, NULL) == MYR_OK && thread_puts(own) == NULL ? 0 : 1);
    }
    void *slots[2][2] = {{store, (void *)1}, {store, (void *)1}};
    myr_thread threads[2];
    myr_err err = {0};
    for (int i = 0; i < 2; i++)
        EXPECT_RC(myr_thread_start(&threads[i], "put", thread_body, slots[i], &err), OK, &err);
    for (int i = 0; i < 2; i++)
        myr_thread_join(threads[i]);
    int status = 0;
    EXPECT(waitpid(pid, &status, 0) == pid);
    myr_io_set_sync(true);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT(slots[0][1] == NULL && slots[1][1] == NULL);
    for (int i = 0; i < 200; i++) {
        char text[32], hex[MYR_SHA256_HEX_BYTES];
        snprintf(text, sizeof text, "artifact %d", i);
        myr_sha256 sha;
        myr_sha256_init(&sha);
        myr_sha256_add(&sha, text, strlen(text));
        myr_sha256_hex(&sha, hex);
        char *data = NULL;
        size_t size = 0;
        EXPECT_RC(myr_store_get(store, hex, &data, &size, &err), OK, &err);
        myr_free(data);
    }
    myr_store_close(store);
}

RUN()
