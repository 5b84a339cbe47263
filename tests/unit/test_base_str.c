/* Slices, the buffer, JSON strings, percent-encoding, UTF-8 and names. */
#include "testing.h"

#include <math.h>

static void expect_slice(myr_str slice, const char *wanted)
{
    char copy[300];
    EXPECT(slice.size < sizeof copy);
    if (slice.size > 0) memcpy(copy, slice.data, slice.size);
    copy[slice.size] = '\0';
    EXPECT_STR(copy, wanted);
}

TEST(slices_compare)
{
    myr_str text = myr_str_of("store=2");
    EXPECT(myr_str_is(text, "store=2") && !myr_str_is(text, "store=") && !myr_str_is(text, "store=22"));
    EXPECT(myr_str_equal(myr_str_of(NULL), myr_str_of("")));
    EXPECT(myr_str_starts_with(text, "store") && myr_str_starts_with(text, "") &&
           !myr_str_starts_with(text, "store=2x"));
    EXPECT(myr_str_ends_with(text, "=2") && myr_str_ends_with(text, "") && !myr_str_ends_with(text, "xstore=2"));
    EXPECT(myr_str_starts_with(myr_str_of(NULL), "") && !myr_str_ends_with(myr_str_of(NULL), "a"));
    expect_slice(myr_str_trim(myr_str_of(" \t\r\na b\n ")), "a b");
    expect_slice(myr_str_trim(myr_str_of(" \n")), "");
    expect_slice(myr_str_trim(myr_str_of(NULL)), "");
}

TEST(split_gives_each_part)
{
    static const struct {
        const char *text;
        size_t count;
        const char *last;
    } rows[] = {{"a,b,c", 3, "c"}, {"a,", 2, ""},   {",", 2, ""}, {"", 1, ""},
                {"abc", 1, "abc"}, {",,x", 3, "x"}, {NULL, 0, ""}};
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        myr_str rest = myr_str_of(rows[i].text), part = {0};
        size_t count = 0;
        while (myr_str_split(&rest, ',', &part))
            count++;
        EXPECT_INT(count, rows[i].count);
        expect_slice(part, rows[i].last);
        EXPECT(rest.data == NULL && !myr_str_split(&rest, ',', &part));
    }
}

TEST(buffer_grows_and_ends_in_nul)
{
    MYR_AUTO(myr_buf) buf = {0};
    for (int i = 0; i < 1000; i++) {
        myr_buf_putc(&buf, (char)('a' + i % 26));
        EXPECT(buf.size == (size_t)i + 1 && buf.data[buf.size] == '\0');
    }
    myr_buf_clear(&buf);
    EXPECT_STR(buf.data, "");
    myr_buf_puts(&buf, "x");
    myr_buf_append(&buf, NULL, 0);
    myr_buf_printf(&buf, "=%d;", 5);
    myr_buf_double(&buf, 0.5);
    EXPECT_STR(buf.data, "x=5;0.5");
    EXPECT_RC(myr_buf_check(&buf, NULL), OK, NULL);
    for (int width = 120; width < 140; width++) { /* around the one-pass limit */
        myr_buf_clear(&buf);
        myr_buf_printf(&buf, "%*d", width, 7);
        EXPECT(buf.size == (size_t)width && buf.data[width - 1] == '7' && buf.data[width] == '\0');
    }
}

TEST(integers_are_written_as_printf_does)
{
    static const int64_t values[] = {0, 7, -1, 10, 99, 100, -12345, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    MYR_AUTO(myr_buf) buf = {0};
    for (size_t i = 0; i < MYR_COUNT_OF(values); i++) {
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)values[i]);
        myr_buf_clear(&buf);
        myr_buf_int(&buf, values[i]);
        EXPECT_STR(buf.data, text);
    }
}

TEST(json_doubles_stay_doubles)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {3, "3"},
        {-0.0, "-0.0"},
        {9007199254740991, "9007199254740991"}, /* 2^53 - 1: the last that an integer reader cannot get wrong */
        {9007199254740992, "9007199254740992.0"},
        {50408522002546592, "50408522002546590.0"},
        {-50408522002546592, "-50408522002546590.0"},
        {1e17, "1e+17"},
        {0.1, "0.1"},
        {(double)INFINITY, "null"},
        {-(double)NAN, "null"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        MYR_AUTO(myr_buf) buf = {0};
        myr_buf_json_double(&buf, cases[i].value);
        EXPECT_STR(buf.data, cases[i].text);
        if (isfinite(cases[i].value)) EXPECT(strtod(buf.data, NULL) == cases[i].value);
    }
}

TEST(take_gives_the_text_away)
{
    myr_buf buf = {0};
    char *empty = myr_buf_take(&buf);
    EXPECT_STR(empty, "");
    myr_free(empty);
    myr_buf_puts(&buf, "abc");
    char *text = myr_buf_take(&buf);
    EXPECT_STR(text, "abc");
    EXPECT(buf.data == NULL && buf.size == 0 && buf.room == 0);
    myr_free(text);
}

TEST(buffer_survives_each_failed_allocation)
{
    int successes = 0;
    FAIL_EACH_ALLOC (nth) {
        MYR_AUTO(myr_buf) buf = {0};
        for (int i = 0; i < 50; i++) {
            myr_buf_puts(&buf, "some text ");
            myr_buf_printf(&buf, "%200d", i);
            myr_buf_json_string(&buf, myr_str_of("\"q\"\n"));
        }
        myr_err err = {0};
        myr_rc rc = myr_buf_check(&buf, &err);
        EXPECT(rc == (buf.failed ? MYR_NO_MEMORY : MYR_OK));
        if (rc == MYR_OK) successes++;
        if (rc == MYR_OK) EXPECT_INT(buf.size, 50 * (10 + 200 + 9));
        char *text = myr_buf_take(&buf);
        EXPECT((text == NULL) == (rc != MYR_OK) && buf.data == NULL && !buf.failed);
        myr_free(text);
    }
    EXPECT_INT(successes, 1);
}

TEST(a_failed_buffer_works_again_after_clear)
{
    MYR_AUTO(myr_buf) buf = {0};
    myr_mem_fail_at(1);
    myr_buf_puts(&buf, "a");
    EXPECT(buf.failed);
    myr_buf_puts(&buf, "b"); /* does nothing */
    EXPECT(buf.data == NULL);
    myr_buf_clear(&buf);
    myr_buf_puts(&buf, "c");
    EXPECT_STR(buf.data, "c");
}

static void expect_json(const char *text, size_t size, const char *wanted)
{
    MYR_AUTO(myr_buf) buf = {0};
    myr_buf_json_string(&buf, myr_str_make(text, size));
    EXPECT_STR(buf.data, wanted);
}

TEST(json_strings)
{
    expect_json(NULL, 0, "\"\"");
    expect_json("a\"b\\c/", 6, "\"a\\\"b\\\\c/\"");
    expect_json("\b\f\n\r\t\x01\x1f\x7f\0", 9, "\"\\b\\f\\n\\r\\t\\u0001\\u001F\\u007F\\u0000\"");
    expect_json("z\xc3\xa4\xf0\x9f\x98\x80", 7, "\"zä😀\"");
    expect_json("a\xff\xc3", 3, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_json("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(utf8_borders)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\x7f",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2\x7f",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xe2\x82",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xf0\x90\x80",
                                      "\xff",
                                      "a\xfe",
                                      "\xe2\x28\xa1",
                                      "\xf0\x90\x80\x41"};
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++)
        EXPECT(myr_utf8_is_valid(myr_str_of(good[i])));
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++)
        EXPECT(!myr_utf8_is_valid(myr_str_of(bad[i])));
    EXPECT(myr_utf8_is_valid(myr_str_make("\0", 1)));
}

TEST(percent_encoding_round_trips)
{
    MYR_AUTO(myr_buf) coded = {0};
    MYR_AUTO(myr_buf) plain = {0};
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    myr_percent_encode(&coded, myr_str_make(all, sizeof all), ",=/@");
    EXPECT(strpbrk(coded.data, ",=/@\n\x7f") == NULL);
    EXPECT(myr_percent_decode(&plain, myr_str_of(coded.data)));
    EXPECT(plain.size == 256 && memcmp(plain.data, all, 256) == 0);
    myr_buf_clear(&coded);
    myr_percent_encode(&coded, myr_str_of("50%,a b=\xc3\xa4"), ",=");
    EXPECT_STR(coded.data, "50%25%2Ca b%3Dä");
}

TEST(bad_percent_escapes_are_refused)
{
    static const char *const bad[] = {"ab%", "ab%2", "ab%zz", "ab%2g", "ab%%41"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        MYR_AUTO(myr_buf) out = {0};
        EXPECT(!myr_percent_decode(&out, myr_str_of(bad[i])));
        EXPECT_STR(out.data, "ab");
    }
    MYR_AUTO(myr_buf) out = {0};
    EXPECT(myr_percent_decode(&out, myr_str_of("%2c%2C%252C"))); /* once */
    EXPECT_STR(out.data, ",,%2C");
    MYR_AUTO(myr_buf) empty = {0};
    EXPECT(myr_percent_decode(&empty, myr_str_of("")));
    EXPECT_STR(empty.data, "");
}

TEST(nearest_names)
{
    static const char *const known[] = {"ridge", "mean", "xgboost", "serve.listen", NULL};
    EXPECT_STR(myr_nearest("rigde", known), "ridge"); /* two letters swapped: one edit */
    EXPECT_STR(myr_nearest("rigdes", known), "ridge");
    EXPECT_STR(myr_nearest("ridgee", known), "ridge");
    EXPECT_STR(myr_nearest("xgbost", known), "xgboost");
    EXPECT_STR(myr_nearest("serve.lisetn", known), "serve.listen");
    EXPECT_STR(myr_nearest("mean", known), "mean");
    EXPECT(myr_nearest("forest", known) == NULL);
    EXPECT(myr_nearest("", known) == NULL);
}

TEST(nearest_counts_a_swap_as_one_edit)
{
    static const char *const known[] = {"best", "test", "serve", "id", NULL};
    EXPECT_STR(myr_nearest("tets", known), "test");
    EXPECT_STR(myr_nearest("sevre", known), "serve");
    EXPECT_STR(myr_nearest("srevr", known), "serve"); /* two edits of five letters */
    EXPECT(myr_nearest("etts", known) == NULL);       /* two edits of four letters: could be any word */
    EXPECT(myr_nearest("di", known) == NULL);         /* as could one of two */
    EXPECT(myr_nearest("xyzzy", known) == NULL);
}

TEST(nearest_looks_past_case_first)
{
    static const char *const known[] = {"PRICES", "Price", NULL};
    EXPECT_STR(myr_nearest("price", known), "Price");
    EXPECT_STR(myr_nearest("prices", known), "PRICES");
    EXPECT_STR(myr_nearest("pirce", known), "Price");
    EXPECT_STR(myr_nearest("ID", (const char *const[]){"ide", "id", NULL}), "id");
}

TEST(nearest_at_the_length_limit)
{
    char limit[MYR_NAME_BYTES_MAX + 1], past[MYR_NAME_BYTES_MAX + 2];
    memset(limit, 'a', sizeof limit - 1);
    limit[sizeof limit - 1] = '\0';
    memset(past, 'a', sizeof past - 1);
    past[sizeof past - 1] = '\0';
    const char *known[] = {past, limit, NULL};
    EXPECT(myr_nearest(limit, known) == limit);
    EXPECT(myr_nearest(past, known) == NULL);
}

TEST(names_people_type)
{
    static const char *const good[] = {"a", "0", "oj", "Store-2.v1_x", "9.9"};
    static const char *const bad[] = {"", ".", "-a", "_a", "a b", "a/b", "a@b", "\xc3\xa4", "a\n", "a=b"};
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++)
        EXPECT(myr_name_is_valid(myr_str_of(good[i])));
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++)
        EXPECT(!myr_name_is_valid(myr_str_of(bad[i])));
    char name[MYR_NAME_BYTES_MAX + 1];
    memset(name, 'n', sizeof name);
    EXPECT(myr_name_is_valid(myr_str_make(name, MYR_NAME_BYTES_MAX)));
    EXPECT(!myr_name_is_valid(myr_str_make(name, MYR_NAME_BYTES_MAX + 1)));
}

RUN()
