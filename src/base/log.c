/*
 * Logging: a line is built in a fixed buffer and written at once, so that lines of many threads never mix and a full
 * heap can still be reported. A line that does not fit is cut, visibly.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/utf8.h"

#define LOG_LINE_BYTES_MAX 4096 /* with the line end; what a pipe writes as one piece */
#define LOG_CUT            "\xe2\x80\xa6\n"

typedef struct log_line {
    size_t size;
    bool is_cut;
    char text[LOG_LINE_BYTES_MAX];
} log_line;

static _Atomic int log_level = MYR_LOG_INFO;

void myr_log_set_level(myr_log_level level)
{
    MYR_ASSERT(level >= MYR_LOG_DEBUG && level <= MYR_LOG_OFF);
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool myr_log_is_on(myr_log_level level)
{
    return level < MYR_LOG_OFF && (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* One piece, whole or not at all; room for the cut mark is kept. */
static void log_put(log_line *line, const char *data, size_t size)
{
    if (line->is_cut) return;
    if (size > sizeof line->text - (sizeof LOG_CUT - 1) - line->size) {
        line->is_cut = true;
        return;
    }
    memcpy(line->text + line->size, data, size);
    line->size += size;
}

static void log_puts(log_line *line, const char *text)
{
    log_put(line, text, strlen(text));
}

/* A value that can stand without quotes: not empty, no blank, quote, '=', backslash, control or broken UTF-8. */
static bool log_is_bare(const char *value, size_t size)
{
    for (size_t pos = 0; pos < size;) {
        size_t step = myr_utf8_step(value + pos, size - pos);
        if (step == 0 || !myr_utf8_is_plain(value + pos, step)) return false;
        if (strchr(" \"'=\\", value[pos]) != NULL) return false;
        pos += step;
    }
    return size > 0;
}

static void log_quoted(log_line *line, const char *value, size_t size)
{
    log_puts(line, "\"");
    for (size_t pos = 0; pos < size;) {
        size_t step = myr_utf8_step(value + pos, size - pos);
        char escape[8];
        if (step > 0 && myr_utf8_is_plain(value + pos, step) && value[pos] != '"' && value[pos] != '\\') {
            log_put(line, value + pos, step);
            pos += step;
            continue;
        }
        switch (value[pos]) {
        case '"':
            log_puts(line, "\\\"");
            break;
        case '\\':
            log_puts(line, "\\\\");
            break;
        case '\n':
            log_puts(line, "\\n");
            break;
        case '\r':
            log_puts(line, "\\r");
            break;
        case '\t':
            log_puts(line, "\\t");
            break;
        default:
            snprintf(escape, sizeof escape, "\\x%02x", (unsigned)(unsigned char)value[pos]);
            log_puts(line, escape);
        }
        pos++;
    }
    log_puts(line, "\"");
}

static void log_pair(log_line *line, const char *key, const char *value)
{
    size_t size = strlen(value);
    log_puts(line, " ");
    log_puts(line, key);
    log_puts(line, "=");
    if (log_is_bare(value, size)) {
        log_put(line, value, size);
    } else {
        log_quoted(line, value, size);
    }
}

static void log_begin(log_line *line, myr_log_level level, const char *mod, const char *event)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    MYR_ASSERT(level >= MYR_LOG_DEBUG && level < MYR_LOG_OFF);
    line->size = 0;
    line->is_cut = false;
    char time[MYR_TIME_TEXT_BYTES];
    log_puts(line, myr_format_time(myr_clock_unix_ms(), time));
    log_puts(line, " ");
    log_puts(line, names[level]);
    log_pair(line, "mod", mod);
    log_pair(line, "event", event);
}

/* One write; what a full or closed standard error refuses is lost, there is nowhere to say so. */
static void log_end(log_line *line)
{
    const char *end = line->is_cut ? LOG_CUT : "\n";
    size_t end_bytes = strlen(end);
    MYR_ASSERT(line->size + end_bytes <= sizeof line->text);
    memcpy(line->text + line->size, end, end_bytes);
    line->size += end_bytes;
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line->text, line->size);
    } while (written < 0 && errno == EINTR);
}

void myr_log(myr_log_level level, const char *mod, const char *event, ...)
{
    if (!myr_log_is_on(level)) return;
    int saved = errno; /* a log line in the middle of error handling changes nothing */
    log_line line;
    log_begin(&line, level, mod, event);
    va_list args;
    va_start(args, event);
    for (const char *key = va_arg(args, const char *); key != NULL; key = va_arg(args, const char *)) {
        const char *value = va_arg(args, const char *);
        log_pair(&line, key, value != NULL ? value : "");
        if (value == NULL) break; /* perhaps the end itself: reading on would run past the arguments */
    }
    va_end(args);
    log_end(&line);
    errno = saved;
}

void myr_log_err(myr_log_level level, const char *mod, const char *event, const myr_err *err)
{
    if (!myr_log_is_on(level)) return;
    MYR_ASSERT(err != NULL);
    char source[128];
    const char *slash = err->file != NULL ? strrchr(err->file, '/') : NULL;
    const char *file = slash != NULL ? slash + 1 : err->file;
    snprintf(source, sizeof source, "%s:%d", file != NULL ? file : "?", (int)err->line);
    myr_log(level, mod, event, "rc", myr_rc_name((myr_rc)err->rc), "message", err->message, "source", source, NULL);
}
