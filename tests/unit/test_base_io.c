/* Files against the real file system, and with each call failing in turn. */
#include "testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static void at(char out[TESTING_PATH_BYTES], const char *name)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    EXPECT_RC(myr_path_join(out, TESTING_PATH_BYTES, dir, name, NULL), OK, NULL);
}

static void expect_file(const char *path, const char *wanted)
{
    char *text = NULL;
    size_t size = 0;
    myr_err err = {0};
    EXPECT_RC(myr_file_read(path, 1 << 20, &text, &size, &err), OK, &err);
    EXPECT_STR(text, wanted);
    EXPECT_INT(size, strlen(wanted));
    myr_free(text);
}

static size_t count_names(const char *dir)
{
    char **names = NULL;
    size_t count = 0;
    EXPECT_RC(myr_io_list(dir, &names, &count, NULL), OK, NULL);
    myr_names_free(names, count);
    return count;
}

TEST(write_then_read)
{
    char path[TESTING_PATH_BYTES], dir[TESTING_PATH_BYTES];
    at(path, "a file");
    testing_dir(dir);
    EXPECT_RC(myr_file_write(path, "old", 3, NULL), OK, NULL);
    expect_file(path, "old");
    EXPECT_RC(myr_file_write(path, "newer", 5, NULL), OK, NULL);
    expect_file(path, "newer");
    EXPECT_RC(myr_file_write(path, NULL, 0, NULL), OK, NULL);
    expect_file(path, "");
    EXPECT_INT(count_names(dir), 1); /* no temporary file is left */
}

TEST(read_at_the_limit_and_one_past)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    EXPECT_RC(myr_file_write(path, "12345", 5, NULL), OK, NULL);
    char *text = NULL;
    size_t size = 7;
    myr_err err = {0};
    EXPECT_RC(myr_file_read(path, 4, &text, &size, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, path);
    EXPECT_HAS(err.message, "4 bytes");
    EXPECT(text == NULL && size == 7);
    EXPECT_RC(myr_file_read(path, 5, &text, &size, &err), OK, &err);
    EXPECT_STR(text, "12345");
    myr_free(text);
    text = NULL;
    EXPECT_RC(myr_file_read("/proc/self/status", 10, &text, &size, &err), TOO_LARGE,
              &err); /* a file that says it is empty */
    EXPECT_RC(myr_file_read("/proc/self/status", 1 << 20, &text, &size, &err), OK, &err);
    EXPECT(size > 100 && strlen(text) == size);
    myr_free(text);
    EXPECT_RC(myr_file_read("/dev/zero", 100000, &text, &size, &err), TOO_LARGE, &err);
}

TEST(errors_name_the_path_and_the_reason)
{
    char path[TESTING_PATH_BYTES], dir[TESTING_PATH_BYTES];
    at(path, "absent/file");
    testing_dir(dir);
    char *text = NULL;
    size_t size = 0;
    int64_t bytes = 5;
    myr_err err = {0};
    EXPECT_RC(myr_file_read(path, 10, &text, &size, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "absent/file: No such file");
    EXPECT_RC(myr_file_write(path, "x", 1, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_file_read(dir, 10, &text, &size, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_io_size(path, &bytes, &err), NOT_FOUND, &err);
    EXPECT_INT(bytes, 5);
    EXPECT_RC(myr_io_rename(path, dir, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "rename");
    EXPECT_RC(myr_io_unlink(path, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_io_sync_dir(path, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_io_sync_tree(path, &err), NOT_FOUND, &err);
    EXPECT(!myr_io_exists(path) && !myr_io_is_dir(path) && myr_io_is_dir(dir) && myr_io_exists(dir));
}

TEST(write_leaves_old_or_new_at_each_fault)
{
    char path[TESTING_PATH_BYTES], dir[TESTING_PATH_BYTES];
    at(path, "f");
    testing_dir(dir);
    int successes = 0;
    FAIL_EACH_IO_AS(nth, ENOSPC)
    {
        TESTING_NO_FAULTS();
        EXPECT_RC(myr_file_write(path, "old", 3, NULL), OK, NULL);
        testing_fault.calls = 0;
        testing_fault.nth = nth;
        myr_err err = {0};
        myr_rc rc = myr_file_write(path, "new!", 4, &err);
        int64_t calls = testing_fault.calls;
        TESTING_NO_FAULTS();
        char *text = NULL;
        size_t size = 0;
        EXPECT_RC(myr_file_read(path, 100, &text, &size, NULL), OK, NULL);
        EXPECT(strcmp(text, "old") == 0 || strcmp(text, "new!") == 0);
        if (rc == MYR_OK) EXPECT_STR(text, "new!");
        if (rc != MYR_OK && rc != MYR_NO_SPACE) fail_msg("%s", err.message);
        myr_free(text);
        EXPECT_INT(rc != MYR_OK, nth <= 8); /* each of the eight calls is needed: see the order below */
        EXPECT_INT(count_names(dir), 1);
        testing_fault.calls = calls;
        if (rc == MYR_OK) successes++;
    }
    EXPECT(successes >= 1);
}

static int fail_all_after(void *ctx, myr_io_op op, const char *path)
{
    int *left = ctx;
    (void)op;
    (void)path;
    return (*left)-- > 0 ? 0 : EIO;
}

TEST(write_on_a_dying_disk_keeps_the_old_file)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    EXPECT_RC(myr_file_write(path, "old", 3, NULL), OK, NULL);
    for (int calls = 0; calls < 4; calls++) { /* open, write, sync, close: all before the rename */
        int left = calls;
        myr_io_set_hook(fail_all_after, &left);
        EXPECT_RC(myr_file_write(path, "new", 3, NULL), IO, NULL);
        myr_io_set_hook(NULL, NULL);
        expect_file(path, "old");
    }
}

static int record_ops(void *ctx, myr_io_op op, const char *path)
{
    char *ops = ctx;
    (void)path;
    ops[strlen(ops)] = "ORWSCNMUPT"[op];
    return 0;
}

TEST(write_is_durable_in_this_order)
{
    char path[TESTING_PATH_BYTES], ops[64] = {0};
    at(path, "f");
    myr_io_set_hook(record_ops, ops);
    EXPECT_RC(myr_file_write(path, "x", 1, NULL), OK, NULL);
    EXPECT_STR(ops, "OWSCNOSC"); /* open write sync close rename, then the directory */
    myr_io_set_sync(false);
    memset(ops, 0, sizeof ops);
    EXPECT(!myr_io_syncs());
    EXPECT_RC(myr_file_write(path, "x", 1, NULL), OK, NULL);
    EXPECT_STR(ops, "OWCN");
    myr_io_set_sync(true);
    EXPECT(myr_io_syncs());
}

static int interrupt_often(void *ctx, myr_io_op op, const char *path)
{
    int *calls = ctx;
    (void)path;
    return (op == MYR_IO_READ || op == MYR_IO_WRITE) && (*calls)++ % 3 != 0 ? EINTR : 0;
}

TEST(interrupted_reads_and_writes_go_on)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    int calls = 0;
    myr_io_set_hook(interrupt_often, &calls);
    EXPECT_RC(myr_file_write(path, "text", 4, NULL), OK, NULL);
    expect_file(path, "text");
    MYR_AUTO(myr_fd) fd = -1;
    EXPECT_RC(myr_io_open(path, O_RDONLY, 0, &fd, NULL), OK, NULL);
    char two[3] = {0};
    EXPECT_RC(myr_io_pread(fd, path, two, 2, 1, NULL), OK, NULL);
    EXPECT_STR(two, "ex");
    EXPECT(calls > 6);
}

static int interrupt_sync(void *ctx, myr_io_op op, const char *path)
{
    (void)path;
    if (op != MYR_IO_SYNC) return 0;
    *(int *)ctx += 1;
    return EINTR;
}

TEST(a_failed_sync_is_not_tried_again)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    int calls = 0;
    myr_io_set_hook(interrupt_sync, &calls);
    EXPECT(myr_file_write(path, "x", 1, NULL) != MYR_OK);
    EXPECT_INT(calls, 1);
    EXPECT(!myr_io_exists(path));
}

static void *drain_slowly(void *arg)
{
    int fd = *(int *)arg;
    char chunk[777];
    size_t total = 0;
    for (ssize_t got; (got = read(fd, chunk, sizeof chunk)) > 0;)
        total += (size_t)got;
    return (void *)(uintptr_t)total;
}

TEST(short_writes_are_completed)
{
    int ends[2];
    EXPECT(pipe(ends) == 0);
    pthread_t reader;
    EXPECT(pthread_create(&reader, NULL, drain_slowly, &ends[0]) == 0);
    static char data[1 << 20];
    EXPECT_RC(myr_io_write(ends[1], "pipe", data, sizeof data, NULL), OK, NULL);
    close(ends[1]);
    void *total = NULL;
    pthread_join(reader, &total);
    EXPECT_INT((uintptr_t)total, sizeof data);
    close(ends[0]);
}

TEST(pread_past_the_end_is_an_error)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    EXPECT_RC(myr_file_write(path, "12345", 5, NULL), OK, NULL);
    MYR_AUTO(myr_fd) fd = -1;
    EXPECT_RC(myr_io_open(path, O_RDONLY, 0, &fd, NULL), OK, NULL);
    EXPECT((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    char data[6];
    myr_err err = {0};
    EXPECT_RC(myr_io_pread(fd, path, data, 5, 0, &err), OK, &err);
    EXPECT_RC(myr_io_pread(fd, path, data, 5, 1, &err), IO, &err);
    EXPECT_HAS(err.message, "ends at byte 5");
    EXPECT_RC(myr_io_close(&fd, path, &err), OK, &err);
    EXPECT_INT(fd, -1);
}

TEST(close_failures_still_close)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    myr_fd fd = -1;
    EXPECT_RC(myr_io_open(path, O_WRONLY | O_CREAT, 0644, &fd, NULL), OK, NULL);
    int number = fd, left = 0;
    myr_io_set_hook(fail_all_after, &left);
    EXPECT_RC(myr_io_close(&fd, path, NULL), IO, NULL);
    EXPECT_INT(fd, -1);
    EXPECT(fcntl(number, F_GETFD) == -1);
}

TEST(directories)
{
    char deep[TESTING_PATH_BYTES], file[TESTING_PATH_BYTES], below[TESTING_PATH_BYTES], dir[TESTING_PATH_BYTES];
    at(deep, "a//b/c/");
    at(file, "a/b/file");
    at(below, "a/b/file/x");
    testing_dir(dir);
    myr_err err = {0};
    EXPECT_RC(myr_io_mkdirs(deep, &err), OK, &err);
    EXPECT_RC(myr_io_mkdirs(deep, &err), OK, &err);
    EXPECT_RC(myr_file_write(file, "x", 1, &err), OK, &err);
    EXPECT_RC(myr_io_mkdirs(file, &err), EXISTS, &err);
    EXPECT_RC(myr_io_mkdirs(below, &err), EXISTS, &err);
    EXPECT_RC(myr_io_mkdirs("", &err), BAD_INPUT, &err);
    EXPECT_RC(myr_io_sync_tree(dir, &err), OK, &err);
    char a[TESTING_PATH_BYTES];
    at(a, "a");
    EXPECT_RC(myr_io_remove_tree(a, &err), OK, &err);
    EXPECT(!myr_io_exists(a));
    EXPECT_RC(myr_io_remove_tree(a, &err), OK, &err); /* absent is fine */
}

TEST(names_are_sorted)
{
    char path[TESTING_PATH_BYTES], dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    for (int i = 40; i > 0; i--) {
        char name[16];
        snprintf(name, sizeof name, "n%02d", i);
        at(path, name);
        EXPECT_RC(myr_file_write(path, "", 0, NULL), OK, NULL);
    }
    char **names = NULL;
    size_t count = 0;
    EXPECT_RC(myr_io_list(dir, &names, &count, NULL), OK, NULL);
    EXPECT_INT(count, 40);
    for (size_t i = 1; i < count; i++)
        EXPECT(strcmp(names[i - 1], names[i]) < 0);
    myr_names_free(names, count);
    FAIL_EACH_ALLOC (nth) {
        names = NULL;
        myr_rc rc = myr_io_list(dir, &names, &count, NULL);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && names == NULL));
        if (rc == MYR_OK) myr_names_free(names, count);
    }
    at(path, "n01");
    EXPECT_RC(myr_io_list(path, &names, &count, NULL), NOT_FOUND, NULL);
    myr_names_free(NULL, 0);
}

TEST(remove_tree_does_not_follow_links)
{
    char kept[TESTING_PATH_BYTES], file[TESTING_PATH_BYTES], tree[TESTING_PATH_BYTES], link_path[TESTING_PATH_BYTES];
    at(kept, "kept");
    at(file, "kept/file");
    at(tree, "tree");
    at(link_path, "tree/link");
    EXPECT_RC(myr_io_mkdirs(kept, NULL), OK, NULL);
    EXPECT_RC(myr_io_mkdirs(tree, NULL), OK, NULL);
    EXPECT_RC(myr_file_write(file, "x", 1, NULL), OK, NULL);
    EXPECT(symlink(kept, link_path) == 0);
    EXPECT_RC(myr_io_sync_tree(tree, NULL), OK, NULL);
    EXPECT_RC(myr_io_remove_tree(tree, NULL), OK, NULL);
    EXPECT(!myr_io_exists(tree) && myr_io_exists(file));
    EXPECT(symlink("nowhere", tree) == 0); /* a link as the root, too */
    EXPECT_RC(myr_io_remove_tree(tree, NULL), OK, NULL);
    struct stat st;
    EXPECT(lstat(tree, &st) != 0);
}

TEST(trees_at_the_depth_limit_and_one_past)
{
    char root[TESTING_PATH_BYTES], path[2 * TESTING_PATH_BYTES];
    at(root, "t");
    snprintf(path, sizeof path, "%s", root);
    for (int depth = 1; depth < MYR_IO_TREE_DEPTH_MAX; depth++)
        strcat(path, "/d");
    EXPECT_RC(myr_io_mkdirs(path, NULL), OK, NULL);
    EXPECT_RC(myr_io_sync_tree(root, NULL), OK, NULL);
    strcat(path, "/d");
    EXPECT_RC(myr_io_mkdirs(path, NULL), OK, NULL);
    myr_err err = {0};
    EXPECT_RC(myr_io_sync_tree(root, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "nested");
    EXPECT_RC(myr_io_remove_tree(root, NULL), TOO_LARGE, NULL);
    EXPECT(rmdir(path) == 0);
    EXPECT_RC(myr_io_remove_tree(root, &err), OK, &err);
}

TEST(tree_calls_report_each_fault)
{
    char sub[TESTING_PATH_BYTES], file[TESTING_PATH_BYTES], root[TESTING_PATH_BYTES];
    at(root, "r");
    at(sub, "r/s");
    at(file, "r/s/f");
    FAIL_EACH_IO(nth)
    {
        TESTING_NO_FAULTS();
        EXPECT_RC(myr_io_mkdirs(sub, NULL), OK, NULL);
        EXPECT_RC(myr_file_write(file, "x", 1, NULL), OK, NULL);
        testing_fault.calls = 0;
        testing_fault.nth = nth;
        myr_rc synced = myr_io_sync_tree(root, NULL);
        int64_t sync_calls = testing_fault.calls;
        EXPECT_INT(synced, nth <= sync_calls ? MYR_IO : MYR_OK);
        myr_rc removed = myr_io_remove_tree(root, NULL);
        int64_t calls = testing_fault.calls;
        EXPECT_INT(removed, nth > sync_calls && nth <= calls ? MYR_IO : MYR_OK);
        TESTING_NO_FAULTS();
        EXPECT(removed != MYR_OK || !myr_io_exists(root));
        testing_fault.calls = calls;
    }
}

TEST(mapping)
{
    char path[TESTING_PATH_BYTES], empty[TESTING_PATH_BYTES], dir[TESTING_PATH_BYTES], pipe_path[TESTING_PATH_BYTES];
    at(path, "f");
    at(empty, "empty");
    at(pipe_path, "pipe");
    testing_dir(dir);
    EXPECT_RC(myr_file_write(path, "mapped", 6, NULL), OK, NULL);
    EXPECT_RC(myr_file_write(empty, "", 0, NULL), OK, NULL);
    EXPECT(mkfifo(pipe_path, 0600) == 0);
    myr_mapping map = {0};
    myr_err err = {0};
    EXPECT_RC(myr_io_map(empty, &map, &err), BAD_FORMAT, &err);
    EXPECT_RC(myr_io_map(dir, &map, &err), BAD_FORMAT, &err);
    EXPECT_RC(myr_io_map(pipe_path, &map, &err), BAD_FORMAT, &err); /* and does not wait for a writer */
    EXPECT(map.data == NULL);
    FAIL_EACH_IO(nth)
    {
        myr_rc rc = myr_io_map(path, &map, NULL);
        EXPECT(rc == MYR_OK || (rc == MYR_IO && map.data == NULL));
        if (rc == MYR_OK) EXPECT(map.size == 6 && memcmp(map.data, "mapped", 6) == 0);
        myr_io_unmap(&map);
        EXPECT(map.data == NULL && map.size == 0);
    }
    myr_io_unmap(&map); /* already empty */
}

TEST(a_lock_is_held_by_one)
{
    char path[TESTING_PATH_BYTES];
    at(path, "lock");
    MYR_AUTO(myr_fd) first = -1;
    myr_fd second = -1;
    myr_err err = {0};
    EXPECT_RC(myr_io_lock(path, &first, &err), OK, &err);
    EXPECT_RC(myr_io_lock(path, &second, &err), BUSY, &err);
    EXPECT_INT(second, -1);
    EXPECT_HAS(err.message, "locked");
    myr_fd_drop(&first);
    EXPECT_RC(myr_io_lock(path, &second, &err), OK, &err);
    myr_fd_drop(&second);
    EXPECT_INT(second, -1);
}

static void expect_join(const char *dir, const char *name, const char *wanted)
{
    char out[64];
    EXPECT_RC(myr_path_join(out, sizeof out, dir, name, NULL), OK, NULL);
    EXPECT_STR(out, wanted);
}

static void expect_dir(const char *path, const char *wanted)
{
    char out[16];
    myr_path_dir(path, out, sizeof out);
    EXPECT_STR(out, wanted);
}

TEST(paths)
{
    expect_join("a", "b", "a/b");
    expect_join("a//", "/b", "a/b");
    expect_join("/", "b", "/b");
    expect_join("", "b", "b");
    expect_join("", "/b", "/b");
    expect_join("a", "", "a/");
    char out[4] = "xyz";
    EXPECT_RC(myr_path_join(out, sizeof out, "a", "b", NULL), OK, NULL); /* three bytes and the NUL */
    EXPECT_RC(myr_path_join(out, sizeof out, "a", "bc", NULL), BAD_INPUT, NULL);
    EXPECT_STR(out, "a/b");
    expect_dir("a/b", "a");
    expect_dir("a", ".");
    expect_dir("", ".");
    expect_dir("/", "/");
    expect_dir("/a", "/");
    expect_dir("//a", "/");
    expect_dir("a/b/", "a");
    expect_dir("a//b", "a");
    expect_dir("123456789012345/x", "123456789012345");
    expect_dir("1234567890123456/x", ""); /* does not fit: no directory rather than another one */
}

TEST(path_absolute)
{
    char cwd[MYR_PATH_BYTES_MAX], out[MYR_PATH_BYTES_MAX], wanted[MYR_PATH_BYTES_MAX + 8];
    EXPECT(getcwd(cwd, sizeof cwd) != NULL);
    EXPECT_RC(myr_path_absolute("/a/./b", out, sizeof out, NULL), OK, NULL);
    EXPECT_STR(out, "/a/./b");
    static const char *const here[] = {"", ".", "./", "././"}, *const below[] = {"a/b", "./a/b", ".//a/b"};
    for (size_t i = 0; i < MYR_COUNT_OF(here); i++) {
        EXPECT_RC(myr_path_absolute(here[i], out, sizeof out, NULL), OK, NULL);
        EXPECT_STR(out, cwd);
    }
    snprintf(wanted, sizeof wanted, "%s/a/b", cwd);
    for (size_t i = 0; i < MYR_COUNT_OF(below); i++) {
        EXPECT_RC(myr_path_absolute(below[i], out, sizeof out, NULL), OK, NULL);
        EXPECT_STR(out, wanted);
    }
    EXPECT_RC(myr_path_absolute("..", out, sizeof out, NULL), OK, NULL);
    snprintf(wanted, sizeof wanted, "%s/..", cwd);
    EXPECT_STR(out, wanted);
    EXPECT_RC(myr_path_absolute("a", out, strlen(cwd) + 3, NULL), OK, NULL);
    EXPECT_RC(myr_path_absolute("ab", out, strlen(cwd) + 3, NULL), BAD_INPUT, NULL);
}

TEST(path_limits)
{
    char *path = myr_alloc(MYR_PATH_BYTES_MAX + 1);
    memset(path, 'p', MYR_PATH_BYTES_MAX);
    path[MYR_PATH_BYTES_MAX] = '\0';
    myr_err err = {0};
    EXPECT_RC(myr_io_mkdirs(path, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_file_write(path, "x", 1, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "too long");
    EXPECT_RC(myr_io_mkdirs(path + 1, &err), BAD_INPUT, &err); /* fits here, but the system refuses the name */
    EXPECT_HAS(err.message, "cannot make directory pppp");
    myr_free(path);
}

TEST(randomness)
{
    unsigned char a[100] = {0}, b[100] = {0};
    EXPECT_RC(myr_random(a, sizeof a, NULL), OK, NULL);
    EXPECT_RC(myr_random(b, sizeof b, NULL), OK, NULL);
    EXPECT(memcmp(a, b, sizeof a) != 0);
    myr_random_seed(7);
    EXPECT_RC(myr_random(a, sizeof a, NULL), OK, NULL);
    EXPECT_RC(myr_random(b, sizeof b, NULL), OK, NULL);
    EXPECT(memcmp(a, b, sizeof a) != 0);
    myr_random_seed(7);
    EXPECT_RC(myr_random(b, sizeof b, NULL), OK, NULL);
    EXPECT(memcmp(a, b, sizeof a) == 0); /* the same seed, the same sequence */
    myr_random_seed(0);
    EXPECT_RC(myr_random(b, sizeof b, NULL), OK, NULL);
    EXPECT(memcmp(a, b, sizeof a) != 0);
}

TEST(read_survives_each_failed_allocation)
{
    char path[TESTING_PATH_BYTES];
    at(path, "f");
    EXPECT_RC(myr_file_write(path, "text", 4, NULL), OK, NULL);
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        char *text = NULL;
        size_t size = 0;
        myr_rc rc = myr_file_read(path, 100, &text, &size, NULL);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && text == NULL && size == 0));
        myr_free(text);
        if (rc == MYR_OK) successes++;
    }
    EXPECT_INT(successes, 1);
}

RUN()
