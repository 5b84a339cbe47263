/*
 * Threads, locks and conditions. Our threads take no signals but those that a fault of their own raises, so that the
 * main thread alone decides about stopping. A lock that fails is our own bug: it asserts.
 */
#include "base/thread.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREAD_NAME_BYTES  16 /* the kernel's limit, with NUL */
#define THREAD_WAIT_MS_MAX (365LL * 86400 * 1000)

/* Every signal except those that report a fault of the running instruction: blocking them would kill without a word. */
static void thread_blocked_signals(sigset_t *set)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigfillset(set);
    for (size_t i = 0; i < MYR_COUNT_OF(faults); i++)
        sigdelset(set, faults[i]);
}

myr_rc myr_thread_start(myr_thread *out, const char *name, void *(*body)(void *), void *arg, myr_err *err)
{
    sigset_t blocked, before;
    thread_blocked_signals(&blocked);
    int failed = pthread_sigmask(SIG_BLOCK, &blocked, &before); /* inherited by the new thread */
    MYR_ASSERT(failed == 0);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, arg);
    failed = pthread_sigmask(SIG_SETMASK, &before, NULL);
    MYR_ASSERT(failed == 0);
    if (error != 0) {
        char text[64];
        return myr_err_set(err, myr_rc_from_errno(error), __FILE__, __LINE__, "cannot start thread %s: %s", name,
                           strerror_r(error, text, sizeof text));
    }
    char short_name[THREAD_NAME_BYTES] = {0};
    memcpy(short_name, name, strnlen(name, sizeof short_name - 1));
    MYR_IGNORE(pthread_setname_np(thread, short_name)); /* only for people who look */
    *out = thread;
    return MYR_OK;
}

void myr_thread_join(myr_thread thread)
{
    int error = pthread_join(thread, NULL);
    MYR_ASSERT(error == 0);
}

int myr_cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than 1,024 processors */
    return online > 0 && online < 65536 ? (int)online : 1;
}

void myr_mutex_init(myr_mutex *mutex)
{
    int error = pthread_mutex_init(mutex, NULL);
    MYR_ASSERT(error == 0);
}

void myr_mutex_fini(myr_mutex *mutex)
{
    int error = pthread_mutex_destroy(mutex);
    MYR_ASSERT(error == 0); /* nobody holds it */
}

void myr_mutex_lock(myr_mutex *mutex)
{
    int error = pthread_mutex_lock(mutex);
    MYR_ASSERT(error == 0);
}

void myr_mutex_unlock(myr_mutex *mutex)
{
    int error = pthread_mutex_unlock(mutex);
    MYR_ASSERT(error == 0);
}

void myr_cond_init(myr_cond *cond)
{
    pthread_condattr_t attributes;
    int error = pthread_condattr_init(&attributes);
    MYR_ASSERT(error == 0);
    error = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    MYR_ASSERT(error == 0);
    error = pthread_cond_init(cond, &attributes);
    MYR_ASSERT(error == 0);
    pthread_condattr_destroy(&attributes);
}

void myr_cond_fini(myr_cond *cond)
{
    int error = pthread_cond_destroy(cond);
    MYR_ASSERT(error == 0);
}

void myr_cond_wait(myr_cond *cond, myr_mutex *mutex)
{
    int error = pthread_cond_wait(cond, mutex);
    MYR_ASSERT(error == 0);
}

bool myr_cond_wait_us(myr_cond *cond, myr_mutex *mutex, int64_t timeout_us)
{
    if (timeout_us < 0) timeout_us = 0;
    if (timeout_us > THREAD_WAIT_MS_MAX * 1000) timeout_us = THREAD_WAIT_MS_MAX * 1000;
    struct timespec until; /* the real clock, also where a test has stopped ours: another thread must end this wait */
    int failed = clock_gettime(CLOCK_MONOTONIC, &until);
    MYR_ASSERT(failed == 0);
    until.tv_sec += timeout_us / 1000000;
    until.tv_nsec += timeout_us % 1000000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int error = pthread_cond_timedwait(cond, mutex, &until);
    MYR_ASSERT(error == 0 || error == ETIMEDOUT);
    return error == 0;
}

bool myr_cond_wait_ms(myr_cond *cond, myr_mutex *mutex, int64_t timeout_ms)
{
    return myr_cond_wait_us(cond, mutex, timeout_ms < THREAD_WAIT_MS_MAX ? timeout_ms * 1000 : INT64_MAX);
}

void myr_cond_signal(myr_cond *cond)
{
    MYR_IGNORE(pthread_cond_signal(cond)); /* cannot fail */
}
void myr_cond_broadcast(myr_cond *cond)
{
    MYR_IGNORE(pthread_cond_broadcast(cond)); /* cannot fail */
}
