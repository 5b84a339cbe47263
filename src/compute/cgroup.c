/*
 * Control groups that hold workers, versions 2 and 1. Used where somebody has said that they may be: the group that the
 * system has delegated to us, or one that is named. What can't be used is found out before the first worker.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "compute/compute.h"

#define CGROUP_FILE_BYTES   (64 << 10)
#define CGROUP_PERIOD_US    100000
#define CGROUP_QUOTA_MIN_US 1000 /* the kernel's own */
#define CGROUP_GONE_MS      1000 /* how long a group may stay busy after its last process */

const char *myr_hold_name(myr_hold hold)
{
    static const char *const names[] = {"none", "rlimit", "affinity", "cgroup v1", "cgroup v2"};
    MYR_ASSERT((size_t)hold < MYR_COUNT_OF(names));
    return names[hold];
}

/* ---- files of a group ---- */

static bool cgroup_path(char out[MYR_PATH_BYTES_MAX], const char *dir, const char *name)
{
    return myr_path_join(out, MYR_PATH_BYTES_MAX, dir, name, NULL) == MYR_OK;
}

/* Not myr_file_write: these files are no files, and can't be renamed into place. */
static bool cgroup_write(const char *dir, const char *name, const char *text)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_fd) fd = -1;
    if (!cgroup_path(path, dir, name) || myr_io_open(path, O_WRONLY | O_TRUNC, 0, &fd, NULL) != MYR_OK) return false;
    return myr_io_write(fd, path, text, strlen(text), NULL) == MYR_OK;
}

static bool cgroup_has_word(const char *dir, const char *name, const char *word)
{
    char path[MYR_PATH_BYTES_MAX];
    char *data = NULL;
    size_t size = 0;
    bool has = false;
    if (!cgroup_path(path, dir, name) || myr_file_read(path, CGROUP_FILE_BYTES, &data, &size, NULL) != MYR_OK)
        return false;
    myr_str rest = myr_str_trim(myr_str_make(data, size)), part;
    while (rest.size > 0 && myr_str_split(&rest, ' ', &part))
        has = has || myr_str_is(part, word);
    myr_free(data);
    return has;
}

/* ---- where groups may be made ---- */

/* The path of our own group: "0::/path" of version 2, "4:memory,x:/path" of version 1. */
static bool cgroup_own(const char *self, const char *controller, char out[MYR_PATH_BYTES_MAX])
{
    char *data = NULL;
    size_t size = 0;
    bool is_found = false;
    if (myr_file_read(self, CGROUP_FILE_BYTES, &data, &size, NULL) != MYR_OK) return false;
    myr_str rest = myr_str_make(data, size), line, number, names, name;
    while (!is_found && rest.size > 0 && myr_str_split(&rest, '\n', &line)) {
        if (!myr_str_split(&line, ':', &number) || !myr_str_split(&line, ':', &names)) continue;
        bool is_it = controller[0] == '\0' && names.size == 0;
        while (names.size > 0 && myr_str_split(&names, ',', &name))
            is_it = is_it || myr_str_is(name, controller);
        is_found = is_it && line.size > 0 && line.size < MYR_PATH_BYTES_MAX;
        if (!is_found) continue;
        memcpy(out, line.data, line.size);
        out[line.size] = '\0';
    }
    myr_free(data);
    return is_found;
}

/* systemd marks what it gives away (Delegate=): nothing else is ours to change. */
static bool cgroup_is_delegated(const char *dir)
{
    static const char *const names[] = {"user.delegate", "trusted.delegate"};
    char value[2] = "";
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        if (getxattr(dir, names[i], value, sizeof value) >= 1 && value[0] == '1') return true;
    }
    return false;
}

/* The name of a group for a worker, unlike all others of this machine. */
static void cgroup_name(int64_t number, char out[64])
{
    (void)snprintf(out, 64, "myriad-%lld-%lld", (long long)getpid(), (long long)number);
}

/* Whether a limit can be set in a group made in `dir`: one is made, and goes again. */
static bool cgroup_can(const char *dir, const char *file)
{
    char name[64], group[MYR_PATH_BYTES_MAX], limit[MYR_PATH_BYTES_MAX];
    cgroup_name(0, name);
    if (!cgroup_path(group, dir, name) || !cgroup_path(limit, group, file)) return false;
    if (!myr_io_is_dir(dir) || myr_io_mkdirs(group, NULL) != MYR_OK) return false;
    bool can = access(limit, W_OK) == 0;
    MYR_IGNORE(rmdir(group) != 0);
    return can;
}

/* Version 2: groups below have a controller if this one passes it on, which it can while no process is in it. */
static bool cgroup_passes(const char *dir, const char *controller)
{
    char text[32];
    if (cgroup_has_word(dir, "cgroup.subtree_control", controller)) return true;
    (void)snprintf(text, sizeof text, "+%s", controller);
    return cgroup_write(dir, "cgroup.subtree_control", text) &&
           cgroup_has_word(dir, "cgroup.subtree_control", controller);
}

static void cgroup_try2(const char *dir, myr_cgroup *out)
{
    if (out->memory[0] == '\0' && cgroup_passes(dir, "memory") && cgroup_can(dir, "memory.max"))
        (void)snprintf(out->memory, sizeof out->memory, "%s", dir);
    if (out->cpu[0] == '\0' && cgroup_passes(dir, "cpu") && cgroup_can(dir, "cpu.max"))
        (void)snprintf(out->cpu, sizeof out->cpu, "%s", dir);
}

static void cgroup_find2(const char *root, const char *self, const char *group, myr_cgroup *out)
{
    char own[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX], above[MYR_PATH_BYTES_MAX];
    out->version = 2;
    if (group[0] != '\0') {
        if (cgroup_path(dir, root, group + 1)) cgroup_try2(dir, out);
        return;
    }
    if (!cgroup_own(self, "", own) || !cgroup_path(dir, root, own + 1)) return;
    myr_path_dir(dir, above, sizeof above); /* where DelegateSubgroup= has put us one below */
    if (cgroup_is_delegated(above)) cgroup_try2(above, out);
    if (cgroup_is_delegated(dir)) cgroup_try2(dir, out);
}

static void cgroup_find1(const char *root, const char *self, const char *group, myr_cgroup *out)
{
    static const struct {
        const char *controller, *file;
    } parts[] = {{"memory", "memory.limit_in_bytes"}, {"cpu", "cpu.cfs_quota_us"}};
    out->version = 1;
    for (size_t i = 0; i < MYR_COUNT_OF(parts); i++) {
        char own[MYR_PATH_BYTES_MAX], mount[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX];
        char *place = i == 0 ? out->memory : out->cpu;
        if (!cgroup_path(mount, root, parts[i].controller)) continue;
        if (group[0] == '\0' && !cgroup_own(self, parts[i].controller, own)) continue;
        if (!cgroup_path(dir, mount, (group[0] != '\0' ? group : own) + 1)) continue;
        bool is_ours = group[0] != '\0' || cgroup_is_delegated(dir);
        if (is_ours && cgroup_can(dir, parts[i].file)) (void)snprintf(place, MYR_PATH_BYTES_MAX, "%s", dir);
    }
}

void myr_cgroup_find(const char *root, const char *self, const char *group, myr_cgroup *out)
{
    char controllers[MYR_PATH_BYTES_MAX];
    *out = (myr_cgroup){0};
    if (strcmp(group, "off") == 0 || !cgroup_path(controllers, root, "cgroup.controllers")) return;
    MYR_ASSERT(group[0] == '\0' || group[0] == '/');
    if (myr_io_exists(controllers)) {
        cgroup_find2(root, self, group, out);
    } else {
        cgroup_find1(root, self, group, out);
    }
    if (out->memory[0] == '\0' && out->cpu[0] == '\0') out->version = 0;
}

/* ---- the groups of a worker ---- */

static myr_rc cgroup_make(const char *dir, const char *name, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(path, sizeof path, dir, name, err));
    MYR_TRY(myr_io_mkdirs(path, err));
    memcpy(out, path, sizeof path); /* from now on there is one to remove */
    return MYR_OK;
}

static myr_rc cgroup_limit(const char *group, const char *file, const char *text, myr_err *err)
{
    if (cgroup_write(group, file, text)) return MYR_OK;
    MYR_FAIL(err, IO, "a worker's control group: %s/%s can't be set to %s", group, file, text);
}

static myr_rc cgroup_hold_memory(const myr_cgroup *place, const char *group, int64_t bytes, myr_err *err)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", (long long)bytes);
    if (place->version == 1) return cgroup_limit(group, "memory.limit_in_bytes", text, err);
    MYR_IGNORE(cgroup_write(group, "memory.swap.max", "0")); /* a kernel without swap has no such file */
    return cgroup_limit(group, "memory.max", text, err);
}

static myr_rc cgroup_hold_cpu(const myr_cgroup *place, const char *group, int64_t milli, myr_err *err)
{
    char text[48];
    int64_t quota_us = milli * CGROUP_PERIOD_US / 1000;
    if (quota_us < CGROUP_QUOTA_MIN_US) quota_us = CGROUP_QUOTA_MIN_US;
    if (place->version == 2) {
        (void)snprintf(text, sizeof text, "%lld %d", (long long)quota_us, CGROUP_PERIOD_US);
        return cgroup_limit(group, "cpu.max", text, err);
    }
    (void)snprintf(text, sizeof text, "%d", CGROUP_PERIOD_US);
    MYR_TRY(cgroup_limit(group, "cpu.cfs_period_us", text, err));
    (void)snprintf(text, sizeof text, "%lld", (long long)quota_us);
    return cgroup_limit(group, "cpu.cfs_quota_us", text, err);
}

myr_rc myr_cgroup_open(const myr_cgroup *place, int64_t number, int64_t memory_bytes, int64_t cpu_milli,
                       myr_cgroup_worker *out, myr_err *err)
{
    char name[64];
    cgroup_name(number, name);
    if (memory_bytes > 0 && place->memory[0] != '\0') {
        MYR_TRY(cgroup_make(place->memory, name, out->memory, err));
        MYR_TRY(cgroup_hold_memory(place, out->memory, memory_bytes, err));
    }
    if (cpu_milli > 0 && place->cpu[0] != '\0') {
        MYR_TRY(cgroup_make(place->cpu, name, out->cpu, err));
        MYR_TRY(cgroup_hold_cpu(place, out->cpu, cpu_milli, err));
    }
    return MYR_OK;
}

bool myr_cgroup_enter(const myr_cgroup_worker *groups)
{
    const char *const dirs[] = {groups->memory, groups->cpu};
    for (size_t i = 0; i < MYR_COUNT_OF(dirs); i++) {
        char path[MYR_PATH_BYTES_MAX + 16];
        size_t size = strlen(dirs[i]);
        if (size == 0) continue;
        memcpy(path, dirs[i], size); /* between fork and exec: nothing that takes a lock */
        memcpy(path + size, "/cgroup.procs", sizeof "/cgroup.procs");
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool is_in = fd >= 0 && write(fd, "0", 1) == 1;
        if (fd >= 0) close(fd);
        if (!is_in) return false;
    }
    return true;
}

bool myr_cgroup_ran_out(const myr_cgroup_worker *groups)
{
    static const char *const files[] = {"memory.events", "memory.oom_control"};
    for (size_t i = 0; groups->memory[0] != '\0' && i < MYR_COUNT_OF(files); i++) {
        char path[MYR_PATH_BYTES_MAX];
        char *data = NULL;
        size_t size = 0;
        int64_t kills = 0;
        if (!cgroup_path(path, groups->memory, files[i]) ||
            myr_file_read(path, CGROUP_FILE_BYTES, &data, &size, NULL) != MYR_OK)
            continue;
        myr_str rest = myr_str_make(data, size), line, word;
        while (rest.size > 0 && myr_str_split(&rest, '\n', &line)) {
            if (myr_str_split(&line, ' ', &word) && myr_str_is(word, "oom_kill"))
                MYR_IGNORE(myr_parse_int64(line, &kills));
        }
        myr_free(data);
        if (kills > 0) return true;
    }
    return false;
}

void myr_cgroup_close(myr_cgroup_worker *groups)
{
    char *const dirs[] = {groups->memory, groups->cpu};
    for (size_t i = 0; i < MYR_COUNT_OF(dirs); i++) {
        for (int waited_ms = 0; dirs[i][0] != '\0' && waited_ms < CGROUP_GONE_MS; waited_ms++) {
            if (rmdir(dirs[i]) == 0 || errno != EBUSY) break;
            usleep(1000);
        }
        dirs[i][0] = '\0';
    }
}
