/* Threads, locks and conditions: the only place that names pthread. */
#ifndef MYR_BASE_THREAD_H
#define MYR_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef pthread_t myr_thread;
myr_rc myr_thread_start(myr_thread *out, const char *name, void *(*body)(void *), void *arg,
                        myr_err *err); /* signals blocked */
void myr_thread_join(myr_thread thread);
int myr_cpu_count(void); /* processors this process may use, at least 1 */

typedef pthread_mutex_t myr_mutex;
typedef pthread_cond_t myr_cond;
#define MYR_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
void myr_mutex_init(myr_mutex *mutex);
void myr_mutex_fini(myr_mutex *mutex);
void myr_mutex_lock(myr_mutex *mutex);
void myr_mutex_unlock(myr_mutex *mutex);
void myr_cond_init(myr_cond *cond); /* on the monotonic clock */
void myr_cond_fini(myr_cond *cond);
void myr_cond_wait(myr_cond *cond, myr_mutex *mutex);
bool myr_cond_wait_ms(myr_cond *cond, myr_mutex *mutex, int64_t timeout_ms); /* false when the time is over */
bool myr_cond_wait_us(myr_cond *cond, myr_mutex *mutex, int64_t timeout_us);
void myr_cond_signal(myr_cond *cond);
void myr_cond_broadcast(myr_cond *cond);

#endif
