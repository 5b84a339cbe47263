/* Options as rows, from each of their sources. */
#include "testing.h"

typedef struct settings {
    char listen[64];
    int64_t threads, body_bytes_max, deadline_ms, depth;
    bool access_log;
    char token[8];
    char batch_listen[64];
} settings;

#define AT(slot) offsetof(settings, slot)
static const myr_opt_row ROWS[] = {
    {"serve.listen", "127.0.0.1:8080", MYR_OPT_ADDR, 0, 0, sizeof(((settings *)0)->listen), AT(listen),
     "REST address; port 0 picks a free one and prints it."},
    {"serve.threads", "2", MYR_OPT_INT, 0, 1, 64, AT(threads), "Event loops."},
    {"serve.body-bytes-max", "8MiB", MYR_OPT_BYTES, MYR_OPT_RELOAD, 1 << 10, 1 << 30, AT(body_bytes_max),
     "Largest body accepted; above it the reply is 413. This sentence is here so that the paragraph has to be wrapped "
     "into more than one line of the help text."},
    {"serve.deadline", "100ms", MYR_OPT_DURATION, 0, 1, 60000, AT(deadline_ms), "For one request."},
    {"serve.depth", "-3", MYR_OPT_INT, 0, 0, 0, AT(depth), "No range."},
    {"serve.access-log", "off", MYR_OPT_BOOL, MYR_OPT_RELOAD, 0, 0, AT(access_log), "One line per request."},
    {"serve.token", "", MYR_OPT_TEXT, MYR_OPT_SECRET, 0, sizeof(((settings *)0)->token), AT(token), "Who may ask."},
    {"batch.listen", "", MYR_OPT_ADDR, 0, 0, sizeof(((settings *)0)->batch_listen), AT(batch_listen),
     "None by default."},
};
static const myr_opt_table TABLE = {ROWS, MYR_COUNT_OF(ROWS)};

TEST(defaults_fill_the_struct)
{
    settings s;
    memset(&s, 'x', sizeof s);
    myr_opt_defaults(TABLE, &s);
    EXPECT_STR(s.listen, "127.0.0.1:8080");
    EXPECT_INT(s.threads, 2);
    EXPECT_INT(s.body_bytes_max, 8 << 20);
    EXPECT_INT(s.deadline_ms, 100);
    EXPECT_INT(s.depth, -3);
    EXPECT(!s.access_log);
    EXPECT_STR(s.token, "");
    EXPECT_STR(s.batch_listen, "");
}

static myr_rc set(settings *s, const char *name, const char *value, myr_err *err)
{
    return myr_opt_set(TABLE, s, name, value, "myriad.yaml:3", err);
}

TEST(set_parses_each_type)
{
    settings s;
    myr_opt_defaults(TABLE, &s);
    EXPECT_RC(set(&s, "serve.listen", "[::1]:0", NULL), OK, NULL);
    EXPECT_RC(set(&s, "serve.threads", "64", NULL), OK, NULL);
    EXPECT_RC(set(&s, "serve.body-bytes-max", "1kib", NULL), OK, NULL);
    EXPECT_RC(set(&s, "serve.deadline", "1m", NULL), OK, NULL);
    EXPECT_RC(set(&s, "serve.access-log", "true", NULL), OK, NULL);
    EXPECT_RC(set(&s, "serve.token", "1234567", NULL), OK, NULL);
    EXPECT_RC(set(&s, "serve.depth", "-9223372036854775808", NULL), OK, NULL);
    EXPECT_STR(s.listen, "[::1]:0");
    EXPECT_STR(s.token, "1234567");
    EXPECT(s.threads == 64 && s.body_bytes_max == 1024 && s.deadline_ms == 60000 && s.access_log &&
           s.depth == INT64_MIN);
}

TEST(bad_values_are_refused_and_change_nothing)
{
    static const struct {
        const char *name, *value, *part;
    } rows[] = {
        {"serve.threads", "0", "0 is out of range (1 to 64)"},
        {"serve.threads", "65", "65 is out of range"},
        {"serve.threads", "two", "\"two\" is not a whole number"},
        {"serve.threads", "", "\"\" is not"},
        {"serve.body-bytes-max", "1023", "(1KiB to 1GiB)"},
        {"serve.body-bytes-max", "8M", "is not a size"},
        {"serve.body-bytes-max", "1073741825", "out of range"},
        {"serve.deadline", "0", "(1ms to 1m)"},
        {"serve.deadline", "60001ms", "out of range"},
        {"serve.access-log", "maybe", "true or false"},
        {"serve.listen", "8080", "host:port"},
        {"serve.listen", ":80", "host:port"},
        {"serve.listen", "host:", "host:port"},
        {"serve.listen", "host:65536", "host:port"},
        {"serve.listen", "host:000080", "host:port"},
        {"serve.listen", "::1:80", "host:port"},
        {"serve.listen", "[::g]:80", "host:port"},
        {"serve.listen", "[::1:80", "host:port"},
        {"serve.listen", "a b:80", "host:port"},
        {"serve.listen", "[]:80", "host:port"},
        {"serve.token", "12345678", "8 bytes are too long (limit 7)"},
    };
    settings s, before;
    memset(&s, 0, sizeof s);
    myr_opt_defaults(TABLE, &s);
    before = s;
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        myr_err err = {0};
        EXPECT_RC(set(&s, rows[i].name, rows[i].value, &err), BAD_USAGE, &err);
        EXPECT_HAS(err.message, rows[i].part);
        EXPECT_HAS(err.message, "myriad.yaml:3: ");
        EXPECT_HAS(err.message, rows[i].name);
    }
    EXPECT(memcmp(&s, &before, sizeof s) == 0);
}

TEST(an_unknown_name_is_answered_with_the_nearest)
{
    settings s;
    myr_opt_defaults(TABLE, &s);
    myr_err err = {0};
    EXPECT_RC(set(&s, "serve.lisetn", "x", &err), BAD_USAGE, &err);
    EXPECT_HAS(err.message, "did you mean \"serve.listen\"?");
    EXPECT_RC(set(&s, "zzz", "x", &err), BAD_USAGE, &err);
    EXPECT(strstr(err.message, "did you mean") == NULL);
}

TEST(short_names_are_unique)
{
    EXPECT(myr_opt_find(TABLE, "serve.threads") == &ROWS[1] && myr_opt_find(TABLE, "threads") == NULL);
    EXPECT(myr_opt_find_short(TABLE, "threads") == &ROWS[1]);
    EXPECT(myr_opt_find_short(TABLE, "listen") == NULL); /* two rows have it */
    EXPECT(myr_opt_find_short(TABLE, "serve.threads") == NULL);
}

TEST(the_environment_is_applied_wholly_or_not)
{
    settings s;
    myr_opt_defaults(TABLE, &s);
    setenv("MYRIAD_SERVE_THREADS", "5", 1);
    setenv("MYRIAD_SERVE_BODY_BYTES_MAX", "2MiB", 1);
    setenv("MYRIAD_SERVE_ACCESS_LOG", "perhaps", 1);
    myr_err err = {0};
    EXPECT_RC(myr_opt_environment(TABLE, &s, &err), BAD_USAGE, &err);
    EXPECT_HAS(err.message, "MYRIAD_SERVE_ACCESS_LOG: serve.access-log");
    EXPECT(s.threads == 2 && s.body_bytes_max == 8 << 20);
    setenv("MYRIAD_SERVE_ACCESS_LOG", "1", 1);
    EXPECT_RC(myr_opt_environment(TABLE, &s, &err), OK, &err);
    EXPECT(s.threads == 5 && s.body_bytes_max == 2 << 20 && s.access_log);
    unsetenv("MYRIAD_SERVE_THREADS");
    unsetenv("MYRIAD_SERVE_BODY_BYTES_MAX");
    unsetenv("MYRIAD_SERVE_ACCESS_LOG");
}

TEST(a_secret_stands_in_no_message)
{
    settings s;
    myr_opt_defaults(TABLE, &s);
    static const myr_opt_row row = {"a.pin", "1", MYR_OPT_INT, MYR_OPT_SECRET, 1, 5, AT(threads), "A secret number."};
    myr_err err = {0};
    EXPECT_RC(myr_opt_set((myr_opt_table){&row, 1}, &s, "a.pin", "777", "flag", &err), BAD_USAGE, &err);
    EXPECT(strstr(err.message, "777") == NULL);
    EXPECT_RC(myr_opt_set((myr_opt_table){&row, 1}, &s, "a.pin", "hunter2", "flag", &err), BAD_USAGE, &err);
    EXPECT(strstr(err.message, "hunter2") == NULL);
}

TEST(help_has_a_paragraph_per_row)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_opt_help(TABLE, &out);
    EXPECT_RC(myr_buf_check(&out, NULL), OK, NULL);
    for (size_t i = 0; i < TABLE.count; i++)
        EXPECT_HAS(out.data, ROWS[i].name);
    EXPECT_HAS(
        out.data,
        "  --serve.threads N (--threads)\n      Event loops.\n      [MYRIAD_SERVE_THREADS; default 2; 1 to 64]\n");
    EXPECT_HAS(out.data, "--serve.listen ADDR\n"); /* no short name: it would mean two */
    EXPECT_HAS(out.data, "; default 8MiB; 1KiB to 1GiB; reloadable]");
    for (const char *line = out.data; line != NULL; line = strchr(line, '\n') != NULL ? strchr(line, '\n') + 1 : NULL) {
        EXPECT(strcspn(line, "\n") <= 100);
    }
}

TEST(values_are_compared_and_shown)
{
    settings a, b;
    MYR_AUTO(myr_buf) out = {0};
    myr_opt_defaults(TABLE, &a);
    b = a;
    for (size_t i = 0; i < TABLE.count; i++) {
        EXPECT(myr_opt_equal(&ROWS[i], &a, &b));
        myr_opt_format(&ROWS[i], &a, &out);
        myr_buf_putc(&out, ' ');
    }
    EXPECT_STR(out.data, "\"127.0.0.1:8080\" 2 8388608 100ms -3 false *** \"\" ");
    snprintf(b.listen, sizeof b.listen, "x:1");
    b.threads++;
    b.body_bytes_max++;
    b.deadline_ms++;
    b.depth++;
    b.access_log = true;
    b.token[0] = 's';
    snprintf(b.batch_listen, sizeof b.batch_listen, "y:1");
    for (size_t i = 0; i < TABLE.count; i++)
        EXPECT(!myr_opt_equal(&ROWS[i], &a, &b));
}

RUN()
