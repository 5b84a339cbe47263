/*
 * A worker without a network: a network name space of its own, in which there is but a loopback that leads nowhere
 * else. Whoever may not make one makes a user name space first, in which it may, and is in it who it was before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/network.h"

const char *myr_offline_name(myr_offline how)
{
    static const char *const names[] = {"no", "network name space", "user and network name space"};
    MYR_ASSERT((size_t)how < MYR_COUNT_OF(names));
    return names[how];
}

void myr_offline_prepare(compute_ids *out)
{
    snprintf(out->uid_map, sizeof out->uid_map, "%lu %lu 1\n", (unsigned long)geteuid(), (unsigned long)geteuid());
    snprintf(out->gid_map, sizeof out->gid_map, "%lu %lu 1\n", (unsigned long)getegid(), (unsigned long)getegid());
}

/* ---- between fork and exec: only what is safe there ---- */

static bool offline_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t size = strlen(text);
    bool is_written = write(fd, text, size) == (ssize_t)size;
    close(fd);
    return is_written;
}

/* Programs talk to their own processes over 127.0.0.1; one that may not brings up nothing, and they may not either. */
static void offline_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
        request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
        MYR_IGNORE(ioctl(fd, SIOCSIFFLAGS, &request));
    }
    close(fd);
}

myr_offline myr_offline_enter(const compute_ids *ids)
{
    myr_offline how = MYR_OFFLINE_NETWORK;
    if (unshare(CLONE_NEWNET) != 0) {
        how = MYR_OFFLINE_USER;
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return MYR_OFFLINE_NO;
        /* Who may drop groups could get what is refused to one of them; so the kernel wants this first. */
        bool is_denied = offline_write("/proc/self/setgroups", "deny");
        if (!is_denied || !offline_write("/proc/self/uid_map", ids->uid_map) ||
            !offline_write("/proc/self/gid_map", ids->gid_map))
            return MYR_OFFLINE_NO;
    }
    offline_loopback();
    if (how == MYR_OFFLINE_NETWORK) MYR_IGNORE(prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN)); /* root could step back */
    return how;
}

/* ---- tried out ---- */

static _Atomic int offline_tried; /* 1 more than what was found; 0: nobody has tried */

/* By a process that does nothing else. */
static myr_offline offline_try(void)
{
    compute_ids ids;
    int status = 0;
    pid_t ended;
    myr_offline_prepare(&ids);
    pid_t pid = fork();
    if (pid == 0) _exit((int)myr_offline_enter(&ids));
    if (pid < 0) return MYR_OFFLINE_NO;
    do {
        ended = waitpid(pid, &status, 0);
    } while (ended < 0 && errno == EINTR);
    bool is_known = ended == pid && WIFEXITED(status) && WEXITSTATUS(status) <= MYR_OFFLINE_USER;
    return is_known ? (myr_offline)WEXITSTATUS(status) : MYR_OFFLINE_NO;
}

myr_offline myr_offline_find(void)
{
    int tried = atomic_load(&offline_tried);
    if (tried == 0) { /* two who try at once find the same */
        tried = (int)offline_try() + 1;
        atomic_store(&offline_tried, tried);
    }
    return (myr_offline)(tried - 1);
}
