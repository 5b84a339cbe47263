/*
 * Options as rows. A value is parsed into a scratch value first and stored only when it is wholly right, so that
 * neither a bad value nor a bad environment changes anything.
 */
#include "base/opt.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPT_ENV_PREFIX     "MYRIAD_"
#define OPT_ENV_BYTES      (sizeof OPT_ENV_PREFIX + MYR_OPT_NAME_BYTES_MAX)
#define OPT_HOST_BYTES_MAX 253 /* of a DNS name */
#define OPT_HELP_WIDTH     92

/* What a text was read as. */
typedef struct opt_value {
    int64_t number;
    bool flag;
    const char *text;
} opt_value;

/* ---- finding ---- */

static const char *opt_short_name(const myr_opt_row *row)
{
    const char *dot = strchr(row->name, '.');
    return dot != NULL ? dot + 1 : row->name;
}

const myr_opt_row *myr_opt_find(myr_opt_table table, const char *name)
{
    for (size_t i = 0; i < table.count; i++) {
        if (strcmp(table.rows[i].name, name) == 0) return &table.rows[i];
    }
    return NULL;
}

const myr_opt_row *myr_opt_find_short(myr_opt_table table, const char *name)
{
    const myr_opt_row *found = NULL;
    for (size_t i = 0; i < table.count; i++) {
        if (strcmp(opt_short_name(&table.rows[i]), name) != 0) continue;
        if (found != NULL) return NULL; /* two rows: the short name says too little */
        found = &table.rows[i];
    }
    return found;
}

static const char *opt_nearest(myr_opt_table table, const char *name)
{
    const char *names[MYR_OPT_ROWS_MAX + 1];
    MYR_ASSERT(table.count <= MYR_OPT_ROWS_MAX);
    for (size_t i = 0; i < table.count; i++)
        names[i] = table.rows[i].name;
    names[table.count] = NULL;
    return myr_nearest(name, names);
}

/* ---- parsing ---- */

/* host:port or [v6]:port; the port may be 0, which lets the system choose. */
static bool opt_is_addr(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) return false;
    uint64_t port;
    if (strlen(colon + 1) > 5 || !myr_parse_uint64(myr_str_of(colon + 1), &port) || port > 65535) return false;
    size_t host_bytes = (size_t)(colon - text);
    if (host_bytes > OPT_HOST_BYTES_MAX) return false;
    char host[OPT_HOST_BYTES_MAX + 1];
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    if (host[0] == '[') {
        if (host[host_bytes - 1] != ']') return false;
        host[host_bytes - 1] = '\0';
        struct in6_addr address;
        return inet_pton(AF_INET6, host + 1, &address) == 1;
    }
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return strspn(host, allowed) == host_bytes;
}

/* What the type expects, for messages and help. */
static const char *opt_wanted(myr_opt_type type)
{
    switch (type) {
    case MYR_OPT_TEXT:
        return "a text";
    case MYR_OPT_INT:
        return "a whole number";
    case MYR_OPT_BYTES:
        return "a size such as 8MiB, 100kB or 4096";
    case MYR_OPT_DURATION:
        return "a duration such as 250ms, 30s or 5m";
    case MYR_OPT_BOOL:
        return "true or false";
    case MYR_OPT_ADDR:
        return "host:port or [v6]:port";
    }
    MYR_ASSERT(false);
    return "";
}

/* Whether the text has the type's form. */
static bool opt_read(const myr_opt_row *row, const char *text, opt_value *value)
{
    value->text = text;
    switch (row->type) {
    case MYR_OPT_TEXT:
        return true;
    case MYR_OPT_INT:
        return myr_parse_int64(myr_str_of(text), &value->number);
    case MYR_OPT_BYTES:
        return myr_parse_bytes(myr_str_of(text), &value->number);
    case MYR_OPT_DURATION:
        return myr_parse_duration_ms(myr_str_of(text), &value->number);
    case MYR_OPT_BOOL:
        return myr_parse_bool(myr_str_of(text), &value->flag);
    case MYR_OPT_ADDR:
        return opt_is_addr(text);
    }
    MYR_ASSERT(false);
    return false;
}

static bool opt_is_text(myr_opt_type type)
{
    return type == MYR_OPT_TEXT || type == MYR_OPT_ADDR;
}
static bool opt_is_number(myr_opt_type type)
{
    return type == MYR_OPT_INT || type == MYR_OPT_BYTES || type == MYR_OPT_DURATION;
}

/* A row that names no range (0, 0) has none. */
static bool opt_has_range(const myr_opt_row *row)
{
    return opt_is_number(row->type) && (row->min != 0 || row->max != 0);
}

/* A number in the row's own unit, as it would be typed. */
static void opt_format_number(const myr_opt_row *row, int64_t number, char out[32])
{
    static const struct {
        int64_t factor;
        const char *unit;
    } bytes[] = {{1LL << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}},
      times[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
    snprintf(out, 32, "%" PRId64 "%s", number, row->type == MYR_OPT_DURATION ? "ms" : "");
    if (row->type == MYR_OPT_INT || number == 0) return;
    bool is_bytes = row->type == MYR_OPT_BYTES;
    size_t count = is_bytes ? MYR_COUNT_OF(bytes) : MYR_COUNT_OF(times);
    for (size_t i = 0; i < count; i++) {
        int64_t factor = is_bytes ? bytes[i].factor : times[i].factor;
        if (number % factor != 0) continue;
        snprintf(out, 32, "%" PRId64 "%s", number / factor, is_bytes ? bytes[i].unit : times[i].unit);
        return;
    }
}

static myr_rc opt_check_range(const myr_opt_row *row, const opt_value *value, const char *origin, myr_err *err)
{
    if (opt_is_text(row->type)) {
        MYR_ASSERT(row->max > 0);
        size_t size = strlen(value->text);
        if (size >= (size_t)row->max) {
            MYR_FAIL(err, BAD_USAGE, "%s: %s: %zu bytes are too long (limit %" PRId64 ")", origin, row->name, size,
                     row->max - 1);
        }
        return MYR_OK;
    }
    if (!opt_has_range(row) || (value->number >= row->min && value->number <= row->max)) return MYR_OK;
    char min[32], max[32];
    opt_format_number(row, row->min, min);
    opt_format_number(row, row->max, max);
    MYR_FAIL(err, BAD_USAGE, "%s: %s: %s is out of range (%s to %s)", origin, row->name,
             (row->flags & MYR_OPT_SECRET) != 0 ? "the value" : value->text, min, max);
}

static myr_rc opt_parse(const myr_opt_row *row, const char *text, const char *origin, opt_value *value, myr_err *err)
{
    if (!opt_read(row, text, value)) {
        bool is_secret = (row->flags & MYR_OPT_SECRET) != 0; /* never in a message: messages are logged */
        MYR_FAIL(err, BAD_USAGE, "%s: %s: %s%.60s%s is not %s", origin, row->name, is_secret ? "" : "\"",
                 is_secret ? "the value" : text, is_secret ? "" : "\"", opt_wanted(row->type));
    }
    return opt_check_range(row, value, origin, err);
}

/* The value was checked: this cannot fail. */
static void opt_store(const myr_opt_row *row, void *slots, const opt_value *value)
{
    char *slot = (char *)slots + row->offset;
    if (opt_is_text(row->type)) {
        size_t size = strlen(value->text);
        MYR_ASSERT(size < (size_t)row->max);
        memcpy(slot, value->text, size + 1);
    } else if (row->type == MYR_OPT_BOOL) {
        memcpy(slot, &value->flag, sizeof value->flag);
    } else {
        MYR_ASSERT(opt_is_number(row->type));
        memcpy(slot, &value->number, sizeof value->number);
    }
}

/* ---- the face ---- */

void myr_opt_defaults(myr_opt_table table, void *slots)
{
    MYR_ASSERT(table.count <= MYR_OPT_ROWS_MAX);
    for (size_t i = 0; i < table.count; i++) {
        const myr_opt_row *row = &table.rows[i];
        MYR_ASSERT(strlen(row->name) <= MYR_OPT_NAME_BYTES_MAX);
        opt_value value = {0};
        bool is_empty_addr =
            row->type == MYR_OPT_ADDR && row->default_value[0] == '\0'; /* "none" is a default, not a value */
        if (is_empty_addr) {
            value.text = "";
        } else {
            myr_rc rc = opt_parse(row, row->default_value, "default", &value, NULL);
            MYR_ASSERT(rc == MYR_OK);
        }
        opt_store(row, slots, &value);
    }
}

myr_rc myr_opt_set(myr_opt_table table, void *slots, const char *name, const char *value, const char *origin,
                   myr_err *err)
{
    const myr_opt_row *row = myr_opt_find(table, name);
    if (row == NULL) {
        const char *nearest = opt_nearest(table, name);
        if (nearest == NULL) MYR_FAIL(err, BAD_USAGE, "%s: there is no option \"%.80s\"", origin, name);
        MYR_FAIL(err, BAD_USAGE, "%s: there is no option \"%.80s\"; did you mean \"%s\"?", origin, name, nearest);
    }
    opt_value parsed = {0};
    MYR_TRY(opt_parse(row, value, origin, &parsed, err));
    opt_store(row, slots, &parsed);
    return MYR_OK;
}

/* "serve.body-bytes-max" -> "MYRIAD_SERVE_BODY_BYTES_MAX" */
static void opt_env_name(const myr_opt_row *row, char out[OPT_ENV_BYTES])
{
    size_t size = strlen(row->name);
    MYR_ASSERT(size <= MYR_OPT_NAME_BYTES_MAX);
    size_t at = sizeof OPT_ENV_PREFIX - 1;
    memcpy(out, OPT_ENV_PREFIX, at);
    for (size_t i = 0; i <= size; i++) { /* with the NUL */
        char c = row->name[i];
        if (c == '.' || c == '-') c = '_';
        if (c >= 'a' && c <= 'z') c = (char)(c - ('a' - 'A'));
        out[at++] = c;
    }
}

/* The row's variable: NULL if it is not set. */
static const char *opt_env_value(const myr_opt_row *row, char origin[OPT_ENV_BYTES])
{
    opt_env_name(row, origin);
    return getenv(origin);
}

myr_rc myr_opt_environment(myr_opt_table table, void *slots, myr_err *err)
{
    char origin[OPT_ENV_BYTES];
    for (int is_storing = 0; is_storing <= 1; is_storing++) { /* all are checked before the first is stored */
        for (size_t i = 0; i < table.count; i++) {
            const myr_opt_row *row = &table.rows[i];
            const char *text = opt_env_value(row, origin);
            if (text == NULL) continue;
            opt_value value = {0};
            MYR_TRY(opt_parse(row, text, origin, &value, err));
            if (is_storing == 1) opt_store(row, slots, &value);
        }
    }
    return MYR_OK;
}

/* ---- help ---- */

/* Words of the prose, in lines of OPT_HELP_WIDTH. */
static void opt_help_prose(const char *prose, myr_buf *out)
{
    static const char indent[] = "      ";
    myr_str rest = myr_str_of(prose);
    myr_str word;
    size_t column = 0;
    while (myr_str_split(&rest, ' ', &word)) {
        if (word.size == 0) continue;
        if (column > 0 && column + 1 + word.size > OPT_HELP_WIDTH) {
            myr_buf_putc(out, '\n');
            column = 0;
        }
        myr_buf_puts(out, column == 0 ? indent : " ");
        column += column == 0 ? sizeof indent - 1 : 1;
        myr_buf_append(out, word.data, word.size);
        column += word.size;
    }
    myr_buf_putc(out, '\n');
}

static void opt_help_row(myr_opt_table table, const myr_opt_row *row, myr_buf *out)
{
    static const char *const kinds[] = {"TEXT", "N", "SIZE", "TIME", "BOOL", "ADDR"};
    MYR_ASSERT((size_t)row->type < MYR_COUNT_OF(kinds));
    myr_buf_printf(out, "  --%s %s", row->name, kinds[row->type]);
    const char *short_name = opt_short_name(row);
    if (short_name != row->name && myr_opt_find_short(table, short_name) == row)
        myr_buf_printf(out, " (--%s)", short_name);
    myr_buf_putc(out, '\n');
    opt_help_prose(row->prose, out);
    char env[OPT_ENV_BYTES];
    opt_env_name(row, env);
    myr_buf_printf(out, "      [%s", env);
    if (row->default_value[0] != '\0') myr_buf_printf(out, "; default %s", row->default_value);
    if (opt_has_range(row)) {
        char min[32], max[32];
        opt_format_number(row, row->min, min);
        opt_format_number(row, row->max, max);
        myr_buf_printf(out, "; %s to %s", min, max);
    }
    if ((row->flags & MYR_OPT_RELOAD) != 0) myr_buf_puts(out, "; reloadable");
    if ((row->flags & MYR_OPT_SECRET) != 0) myr_buf_puts(out, "; secret");
    myr_buf_puts(out, "]\n");
}

void myr_opt_help(myr_opt_table table, myr_buf *out)
{
    for (size_t i = 0; i < table.count; i++) {
        if (i > 0) myr_buf_putc(out, '\n');
        opt_help_row(table, &table.rows[i], out);
    }
}

/* ---- comparing and showing ---- */

static int64_t opt_number(const myr_opt_row *row, const void *slots)
{
    int64_t number;
    memcpy(&number, (const char *)slots + row->offset, sizeof number);
    return number;
}

bool myr_opt_equal(const myr_opt_row *row, const void *a, const void *b)
{
    const char *p = (const char *)a + row->offset, *q = (const char *)b + row->offset;
    switch (row->type) {
    case MYR_OPT_TEXT:
    case MYR_OPT_ADDR:
        return strcmp(p, q) == 0;
    case MYR_OPT_BOOL:
        return *(const bool *)p == *(const bool *)q;
    case MYR_OPT_INT:
    case MYR_OPT_BYTES:
    case MYR_OPT_DURATION:
        return opt_number(row, a) == opt_number(row, b);
    }
    return false;
}

void myr_opt_format(const myr_opt_row *row, const void *slots, myr_buf *out)
{
    const char *slot = (const char *)slots + row->offset;
    if ((row->flags & MYR_OPT_SECRET) != 0) {
        myr_buf_puts(out, "***");
        return;
    }
    switch (row->type) {
    case MYR_OPT_TEXT:
    case MYR_OPT_ADDR:
        myr_buf_json_string(out, myr_str_of(slot));
        return;
    case MYR_OPT_BOOL:
        myr_buf_puts(out, *(const bool *)slot ? "true" : "false");
        return;
    case MYR_OPT_INT:
    case MYR_OPT_BYTES:
        myr_buf_printf(out, "%lld", (long long)opt_number(row, slots));
        return;
    case MYR_OPT_DURATION:
        myr_buf_printf(out, "%lldms", (long long)opt_number(row, slots));
        return;
    }
}
