/*
 * Control groups: what is found in trees that look like the kernel's, what is written into a group, and, where this
 * machine lets us, a processor that is really shared out. Without groups: rlimit and affinity.
 */
#include "testing.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "compute/compute.h"

typedef struct tree {
    char root[TESTING_PATH_BYTES], self[TESTING_PATH_BYTES + 16];
} tree;

static void put(const tree *t, const char *name, const char *text)
{
    char path[TESTING_PATH_BYTES + 256], dir[TESTING_PATH_BYTES + 256];
    snprintf(path, sizeof path, "%s/%s", t->root, name);
    myr_path_dir(path, dir, sizeof dir);
    EXPECT_RC(myr_io_mkdirs(dir, NULL), OK, NULL);
    EXPECT_RC(myr_file_write(path, text, strlen(text), NULL), OK, NULL);
}

static const char *get(const tree *t, const char *name)
{
    static char text[256];
    char path[TESTING_PATH_BYTES + 256];
    char *data = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", t->root, name);
    EXPECT_RC(myr_file_read(path, sizeof text - 1, &data, &size, NULL), OK, NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    myr_free(data);
    return text;
}

static void delegate(const tree *t, const char *name)
{
    char path[TESTING_PATH_BYTES + 256];
    snprintf(path, sizeof path, "%s/%s", t->root, name);
    if (setxattr(path, "user.delegate", "1", 1, 0) != 0) skip(); /* a file system without attributes */
}

/* A group of version 2 that passes both controllers on; what the kernel puts into a group made in it is there. */
static void put_group2(const tree *t, const char *group)
{
    char name[256];
    const char *const files[] = {"memory.max", "memory.swap.max", "cpu.max", "cgroup.procs", "memory.events"};
    snprintf(name, sizeof name, "%s/cgroup.subtree_control", group);
    put(t, name, "cpu memory\n");
    for (int number = 0; number < 2; number++) {
        for (size_t i = 0; i < MYR_COUNT_OF(files); i++) {
            snprintf(name, sizeof name, "%s/myriad-%lld-%d/%s", group, (long long)getpid(), number, files[i]);
            put(t, name, "");
        }
    }
}

static tree tree_new(const char *self)
{
    tree t;
    testing_dir(t.root);
    put(&t, "self", self);
    snprintf(t.self, sizeof t.self, "%s/self", t.root);
    return t;
}

static myr_cgroup found(const tree *t, const char *group)
{
    myr_cgroup out;
    myr_cgroup_find(t->root, t->self, group, &out);
    return out;
}

TEST(a_group_of_version_2_that_is_named)
{
    tree t = tree_new("0::/system.slice/x.service\n");
    char wanted[TESTING_PATH_BYTES + 32];
    put(&t, "cgroup.controllers", "cpu memory pids\n");
    put_group2(&t, "batch");
    myr_cgroup place = found(&t, "/batch");
    snprintf(wanted, sizeof wanted, "%s/batch", t.root);
    EXPECT_INT(place.version, 2);
    EXPECT_STR(place.memory, wanted);
    EXPECT_STR(place.cpu, wanted);
    EXPECT_INT(found(&t, "/nowhere").version, 0);
    EXPECT_INT(found(&t, "off").version, 0);
    EXPECT_INT(found(&t, "").version, 0); /* ours is not delegated */
    put(&t, "batch/cgroup.subtree_control", "memory pids\n");
    place = found(&t, "/batch");
    EXPECT_STR(place.memory, wanted);
    EXPECT_STR(get(&t, "batch/cgroup.subtree_control"), "+cpu"); /* asked for; this kernel does not answer */
    EXPECT_STR(place.cpu, "");
}

TEST(our_own_group_or_the_one_above_if_it_is_delegated)
{
    tree t = tree_new("4:memory:/other\n0::/system.slice/x.service/main\n");
    char wanted[TESTING_PATH_BYTES + 64];
    put(&t, "cgroup.controllers", "cpu memory\n");
    put_group2(&t, "system.slice/x.service");
    put_group2(&t, "system.slice/x.service/main");
    EXPECT_INT(found(&t, "").version, 0);
    delegate(&t, "system.slice/x.service/main");
    snprintf(wanted, sizeof wanted, "%s/system.slice/x.service/main", t.root);
    EXPECT_STR(found(&t, "").memory, wanted);
    delegate(&t, "system.slice/x.service"); /* as DelegateSubgroup=main leaves it */
    snprintf(wanted, sizeof wanted, "%s/system.slice/x.service", t.root);
    EXPECT_STR(found(&t, "").memory, wanted);
    EXPECT_STR(found(&t, "").cpu, wanted);
}

TEST(version_1_has_a_tree_per_controller)
{
    tree t = tree_new("5:cpu,cpuacct:/a\n4:memory:/b\n0::/\n");
    char name[256], wanted[TESTING_PATH_BYTES + 64];
    snprintf(name, sizeof name, "memory/b/myriad-%lld-0/memory.limit_in_bytes", (long long)getpid());
    put(&t, name, "");
    snprintf(name, sizeof name, "cpu/a/myriad-%lld-0/cpu.cfs_quota_us", (long long)getpid());
    put(&t, name, "");
    EXPECT_INT(found(&t, "").version, 0);
    myr_cgroup place = found(&t, "/b");
    snprintf(wanted, sizeof wanted, "%s/memory/b", t.root);
    EXPECT_INT(place.version, 1);
    EXPECT_STR(place.memory, wanted);
    EXPECT_STR(place.cpu, "");
    delegate(&t, "cpu/a");
    place = found(&t, "");
    snprintf(wanted, sizeof wanted, "%s/cpu/a", t.root);
    EXPECT_STR(place.cpu, wanted);
    EXPECT_STR(place.memory, "");
}

TEST(trees_that_are_none)
{
    tree t = tree_new("");
    EXPECT_INT(found(&t, "").version, 0);
    EXPECT_INT(found(&t, "/x").version, 0);
    const char *const selves[] = {"0::", "0", "::::", "0:x", "\n\n", "0::/\0", "4:memory"};
    put(&t, "cgroup.controllers", "");
    for (size_t i = 0; i < MYR_COUNT_OF(selves); i++) {
        put(&t, "self", selves[i]);
        EXPECT_INT(found(&t, "").version, 0);
    }
}

TEST(what_is_written_into_a_group)
{
    tree t = tree_new("");
    char name[64], text[256];
    myr_err err = {0};
    myr_cgroup_worker groups = {0};
    put(&t, "cgroup.controllers", "");
    put_group2(&t, "batch");
    myr_cgroup place = found(&t, "/batch");
    EXPECT_RC(myr_cgroup_open(&place, 1, 1 << 30, 1500, &groups, &err), OK, &err);
    snprintf(name, sizeof name, "batch/myriad-%lld-1", (long long)getpid());
    const char *const wanted[][2] = {
        {"memory.max", "1073741824"}, {"memory.swap.max", "0"}, {"cpu.max", "150000 100000"}};
    for (size_t i = 0; i < MYR_COUNT_OF(wanted); i++) {
        snprintf(text, sizeof text, "%s/%s", name, wanted[i][0]);
        EXPECT_STR(get(&t, text), wanted[i][1]);
    }
    EXPECT(myr_cgroup_enter(&groups));
    snprintf(text, sizeof text, "%s/cgroup.procs", name);
    EXPECT_STR(get(&t, text), "0");
    EXPECT(!myr_cgroup_ran_out(&groups));
    snprintf(text, sizeof text, "%s/memory.events", name);
    put(&t, text, "low 0\noom 2\noom_kill 1\n");
    EXPECT(myr_cgroup_ran_out(&groups));
    myr_cgroup_close(&groups);
    EXPECT_STR(groups.memory, "");
    EXPECT(!myr_cgroup_ran_out(&groups));
    myr_cgroup_close(&groups); /* fine */
    /* one that can't be limited is an error, not a worker without a limit */
    EXPECT_RC(myr_cgroup_open(&place, 2, 1 << 30, 0, &groups, &err), IO, &err);
    EXPECT_HAS(err.message, "memory.max can't be set to 1073741824");
    myr_cgroup_close(&groups);
    snprintf(text, sizeof text, "%s/batch/myriad-%lld-2", t.root, (long long)getpid());
    EXPECT(!myr_io_exists(text));
}

/* ---- workers ---- */

static const char *const sh_env[] = {"PATH=/usr/bin:/bin", NULL};

static myr_rc sh(const char *script, myr_worker_opts opts, myr_err *err)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    opts.argv = argv;
    opts.env = sh_env;
    opts.dir = "/";
    return myr_process_run(&opts, 60000, NULL, err);
}

TEST(without_groups_rlimit_and_affinity_hold_a_worker)
{
    myr_err err = {0};
    myr_hold memory, cpu;
    myr_worker_opts opts = {.memory_bytes_max = 64 << 20, .cpu_milli_max = 1000};
    myr_worker_holds(&opts, &memory, &cpu);
    EXPECT_STR(myr_hold_name(memory), "rlimit");
    EXPECT_STR(myr_hold_name(cpu), "affinity");
    EXPECT_RC(sh("[ $(ulimit -v) = 65536 ] && [ $(nproc) = 1 ]", opts, &err), OK, &err);
    opts.cpu_milli_max = 1 + 1000 * (int64_t)myr_cpu_count(); /* more than there are: all */
    opts.memory_bytes_max = 0;
    myr_worker_holds(&opts, &memory, &cpu);
    EXPECT_STR(myr_hold_name(memory), "none");
    char script[64];
    snprintf(script, sizeof script, "[ $(nproc) = %d ] && [ $(ulimit -v) = unlimited ]", myr_cpu_count());
    EXPECT_RC(sh(script, opts, &err), OK, &err);
}

TEST(workers_of_one_processor_each_are_shared_out)
{
    myr_err err = {0};
    if (myr_cpu_count() < 2) skip();
    char first[64] = "", second[64] = "", script[TESTING_PATH_BYTES + 64], dir[TESTING_PATH_BYTES];
    char *const seen[] = {first, second};
    testing_dir(dir);
    snprintf(script, sizeof script, "grep Cpus_allowed_list /proc/self/status > %s/seen", dir);
    for (int i = 0; i < 2; i++) {
        tree t;
        EXPECT_RC(sh(script, (myr_worker_opts){.cpu_milli_max = 500}, &err), OK, &err);
        memcpy(t.root, dir, sizeof dir);
        snprintf(seen[i], 64, "%s", get(&t, "seen"));
    }
    EXPECT(strcmp(first, second) != 0);
}

/* Half a processor for two seconds of spinning: what it got, in thousandths of a second. */
TEST(a_processor_is_shared_out_where_the_machine_lets_us)
{
    char group[] = "/myriad-test-XXXXXX", dir[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    myr_cgroup place = {0};
    myr_hold memory, cpu;
    snprintf(group, sizeof group, "/myriad-t%lld", (long long)getpid());
    snprintf(dir, sizeof dir, MYR_CGROUP_ROOT "/cpu%s", group);
    if (mkdir(dir, 0755) != 0) skip(); /* version 2, or not root */
    myr_cgroup_find(MYR_CGROUP_ROOT, MYR_CGROUP_SELF, group, &place);
    if (place.cpu[0] == '\0') {
        rmdir(dir);
        skip();
    }
    myr_worker_opts opts = {.cpu_milli_max = 250, .cgroup = &place};
    myr_worker_holds(&opts, &memory, &cpu);
    struct rusage before, after;
    getrusage(RUSAGE_CHILDREN, &before);
    myr_rc rc = sh("end=$(($(date +%s) + 3)); while [ $(date +%s) -lt $end ]; do :; done", opts, &err);
    getrusage(RUSAGE_CHILDREN, &after);
    EXPECT(rmdir(dir) == 0); /* the worker's own is gone */
    EXPECT_RC(rc, OK, &err);
    EXPECT_STR(myr_hold_name(cpu), "cgroup v1");
    int64_t used_ms =
        (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
        (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000;
    print_message("a quarter of a processor: %lld ms of about 3000\n", (long long)used_ms);
    EXPECT(used_ms < 1500);
}

RUN()
