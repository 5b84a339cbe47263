/*
 * Logging: one line = time, level, mod, event, key=value…, to standard error. Library directories log at debug only.
 * myr_log(MYR_LOG_INFO, "serve", "listening", "addr", "127.0.0.1:8080", NULL): values are strings, quoted when needed.
 * Thread: any; a line is written by one write.
 */
#ifndef MYR_BASE_LOG_H
#define MYR_BASE_LOG_H

#include "base/err.h"

typedef enum myr_log_level { MYR_LOG_DEBUG, MYR_LOG_INFO, MYR_LOG_WARN, MYR_LOG_ERROR, MYR_LOG_OFF } myr_log_level;

void myr_log_set_level(myr_log_level level);
bool myr_log_is_on(myr_log_level level);
void myr_log(myr_log_level level, const char *mod, const char *event, ... /* key, value, …, NULL */)
    __attribute__((sentinel));
void myr_log_err(myr_log_level level, const char *mod, const char *event, const myr_err *err); /* rc, message, source */

#endif
