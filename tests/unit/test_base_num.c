/* Numbers both ways: exact, strict, and the same in every locale. */
#include "testing.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

TEST(integers_at_their_limits)
{
    int64_t i = 5;
    uint64_t u = 5;
    EXPECT(myr_parse_int64(myr_str_of("9223372036854775807"), &i) && i == INT64_MAX);
    EXPECT(myr_parse_int64(myr_str_of("-9223372036854775808"), &i) && i == INT64_MIN);
    EXPECT(myr_parse_int64(myr_str_of("+0012"), &i) && i == 12);
    EXPECT(!myr_parse_int64(myr_str_of("9223372036854775808"), &i) && i == 12);
    EXPECT(!myr_parse_int64(myr_str_of("-9223372036854775809"), &i) && i == 12);
    EXPECT(myr_parse_uint64(myr_str_of("18446744073709551615"), &u) && u == UINT64_MAX);
    EXPECT(!myr_parse_uint64(myr_str_of("18446744073709551616"), &u) && u == UINT64_MAX);
    static const char *const bad[] = {"", "-", "+", " 1", "1 ", "1.0", "0x1", "--1", "1e3", "+-1", "\xd9\xa1"};
    for (size_t k = 0; k < MYR_COUNT_OF(bad); k++)
        EXPECT(!myr_parse_int64(myr_str_of(bad[k]), &i) && i == 12);
    EXPECT(!myr_parse_uint64(myr_str_of("-1"), &u) && !myr_parse_uint64(myr_str_of("+1"), &u));
    EXPECT(myr_parse_int64(myr_str_make("123456", 3), &i) && i == 123); /* only the slice is read */
}

TEST(canonical_integers)
{
    static const char *const bad[] = {"", "-", "-0", "+1", "01", "-01", "00", "1.0", " 1", "9223372036854775808", "1x"};
    int64_t value = 5;
    for (size_t k = 0; k < MYR_COUNT_OF(bad); k++)
        EXPECT(!myr_is_canonical_int64(myr_str_of(bad[k]), &value) && value == 5);
    EXPECT(myr_is_canonical_int64(myr_str_of("0"), &value) && value == 0);
    EXPECT(myr_is_canonical_int64(myr_str_of("-10"), &value) && value == -10);
    EXPECT(myr_is_canonical_int64(myr_str_of("-9223372036854775808"), &value) && value == INT64_MIN);
}

TEST(booleans_sizes_and_durations)
{
    bool flag = false;
    EXPECT(myr_parse_bool(myr_str_of("Yes"), &flag) && flag);
    EXPECT(myr_parse_bool(myr_str_of("off"), &flag) && !flag);
    EXPECT(!myr_parse_bool(myr_str_of("2"), &flag) && !myr_parse_bool(myr_str_of(""), &flag) && !flag);
    int64_t n = 5;
    EXPECT(myr_parse_bytes(myr_str_of("8MiB"), &n) && n == 8 << 20);
    EXPECT(myr_parse_bytes(myr_str_of("100kB"), &n) && n == 100000);
    EXPECT(myr_parse_bytes(myr_str_of("1GB"), &n) && n == 1000000000);
    EXPECT(myr_parse_bytes(myr_str_of("42"), &n) && n == 42);
    EXPECT(myr_parse_bytes(myr_str_of("8388607TiB"), &n));
    EXPECT(!myr_parse_bytes(myr_str_of("8388608TiB"), &n)); /* 2^63 */
    static const char *const bad_bytes[] = {"", "MiB", "-1", "+1", "1.5GB", "8 MiB", "8M", "8MiBs", "1s"};
    n = 5;
    for (size_t k = 0; k < MYR_COUNT_OF(bad_bytes); k++)
        EXPECT(!myr_parse_bytes(myr_str_of(bad_bytes[k]), &n) && n == 5);
    EXPECT(myr_parse_duration_ms(myr_str_of("250ms"), &n) && n == 250);
    EXPECT(myr_parse_duration_ms(myr_str_of("30s"), &n) && n == 30000);
    EXPECT(myr_parse_duration_ms(myr_str_of("5m"), &n) && n == 300000);
    EXPECT(myr_parse_duration_ms(myr_str_of("2h"), &n) && n == 7200000);
    EXPECT(myr_parse_duration_ms(myr_str_of("1d"), &n) && n == 86400000);
    EXPECT(myr_parse_duration_ms(myr_str_of("7"), &n) && n == 7000);
    EXPECT(!myr_parse_duration_ms(myr_str_of("9223372036854775807s"), &n) &&
           !myr_parse_duration_ms(myr_str_of("1w"), &n));
}

TEST(doubles_are_read_exactly)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "1",
        "+1.5",
        ".5",
        "5.",
        "1e22",
        "1e23",
        "1e-22",
        "123456789012345678",
        "9007199254740993",
        "0.1",
        "1e308",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "4.9406564584124654e-324",
        "2e-324",
        "2.2250738585072011e-308",
        "8.5",
        "1E+5",
        "0.00000000000000000000000000000000000000000000001",
        "1e400",
        "-1e400",
        "1e-400",
        "1e99999999999999999999",
        "0e99999999999999999999",
        "179769313486231580793728971405303415079934132710037826936173778980444968292764.5",
        "0000001.250",
        "7.2057594037927933e16",
        "9214843084008499",
        "0.500000000000000166533453693773481063544750213623046875",
        "3.518437208883201171875e13",
        "100000000000000016777215",
        "6.631236846766476e-316",
        "9223372036854775807", /* 19 digits are read in one pass */
        "9999999999999999999",
        "-18446744073709551616",
        "9007199254740993", /* the first that is no double */
        "900719925474099.2",
        "0.000000000000000001",
        ".0000000000000000001",
        "0000000000000000000000000000003",
        "1234567890.123456789",
        "1234567890.1234567891",
        "5.",
        "-.5",
        "-0"};
    for (size_t k = 0; k < MYR_COUNT_OF(texts); k++) {
        double value = 42;
        EXPECT(myr_parse_double(myr_str_of(texts[k]), &value));
        if (bits_of(value) != bits_of(strtod(texts[k], NULL))) fail_msg("%s is read as %.17g", texts[k], value);
    }
}

/* Of all sizes, with too few, enough and too many digits, and halfway between two doubles. */
TEST(doubles_are_read_as_the_c_library_does)
{
    static const char *const forms[] = {"%.15g", "%.16g", "%.17g", "%.18e", "%.25e", "%.53e"};
    uint64_t dice = 1;
    for (int k = 0; k < 120000; k++) {
        char text[80];
        double value = 0, read = 0;
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = k % 2 == 0 ? dice : (dice & ~(0x7ffull << 52)) | ((1023 - 30 + (dice >> 4) % 60) << 52);
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        snprintf(text, sizeof text, forms[k % 6], value);
        EXPECT(myr_parse_double(myr_str_of(text), &read));
        if (bits_of(read) != bits_of(strtod(text, NULL))) fail_msg("%s is read as %.17g", text, read);
    }
}

TEST(words_for_doubles)
{
    double value = 0;
    EXPECT(myr_parse_double(myr_str_of("inf"), &value) && isinf(value) && value > 0);
    EXPECT(myr_parse_double(myr_str_of("-Infinity"), &value) && isinf(value) && value < 0);
    EXPECT(myr_parse_double(myr_str_of("NaN"), &value) && isnan(value));
    EXPECT(myr_parse_double(myr_str_of("-nan"), &value) && isnan(value));
}

TEST(texts_that_are_not_doubles)
{
    static const char *const bad[] = {"",     " ",   "+",   "-",     ".",   "-.",    "e5",    "1e",    "1e+",
                                      "1e-",  " 1",  "1 ",  "0x10",  "1,5", "1.2.3", "1e5.5", "infin", "nan(1)",
                                      "nanx", "--1", "+-1", "1_000", "1f",  "\t1",   "1\n"};
    double value = 42;
    for (size_t k = 0; k < MYR_COUNT_OF(bad); k++) {
        if (myr_parse_double(myr_str_of(bad[k]), &value)) fail_msg("\"%s\" is read as %g", bad[k], value);
        EXPECT(value == 42);
    }
    EXPECT(!myr_parse_double(myr_str_make("1\0", 2), &value));
}

TEST(a_double_text_at_the_limit_and_one_past)
{
    char text[MYR_DOUBLE_DIGITS_MAX + 1];
    memset(text, '3', sizeof text);
    double value = 42;
    EXPECT(!myr_parse_double(myr_str_make(text, MYR_DOUBLE_DIGITS_MAX + 1), &value) && value == 42);
    EXPECT(myr_parse_double(myr_str_make(text, MYR_DOUBLE_DIGITS_MAX), &value) && value > 3e127 && value < 4e127);
}

static void expect_double(double value, const char *wanted)
{
    char text[MYR_DOUBLE_TEXT_BYTES];
    size_t size = myr_format_double(value, text);
    EXPECT_STR(text, wanted);
    EXPECT_INT(size, strlen(wanted));
}

TEST(doubles_are_written_short)
{
    expect_double(0, "0");
    expect_double(-0.0, "-0");
    expect_double(3, "3");
    expect_double(-12345678, "-12345678");
    expect_double(0.1, "0.1");
    expect_double(0.1 + 0.2, "0.30000000000000004");
    expect_double(1.0 / 3, "0.3333333333333333");
    expect_double(1e30, "1e+30");
    expect_double(-1.5e-7, "-1.5e-07");
    expect_double(0.0001, "0.0001");
    expect_double(0.00001, "1e-05");
    expect_double(999999999999999, "999999999999999");
    expect_double(1e15, "1000000000000000");
    expect_double(9007199254740993.0, "9007199254740992");
    expect_double(1e16, "10000000000000000");
    expect_double(1e17, "1e+17");
    expect_double(123456.75, "123456.75");
    expect_double(5e-324, "5e-324");
    expect_double(-1.7976931348623157e308, "-1.7976931348623157e+308");
    expect_double(-2.2250738585072014e-308, "-2.2250738585072014e-308");
    expect_double((double)INFINITY, "inf");
    expect_double(-(double)INFINITY, "-inf");
    expect_double((double)NAN, "nan");
    expect_double(-(double)NAN, "nan");
}

TEST(any_bits_round_trip)
{
    myr_random_seed(20261122);
    for (int k = 0; k < 200000; k++) {
        uint64_t bits;
        EXPECT_RC(myr_random(&bits, sizeof bits, NULL), OK, NULL);
        double value, again;
        if (k % 2 != 0)
            bits = (bits & 0x800fffffffffffffULL) | (uint64_t)(1000 + bits % 60) << 52; /* of everyday size */
        memcpy(&value, &bits, sizeof value);
        char text[MYR_DOUBLE_TEXT_BYTES];
        size_t size = myr_format_double(value, text);
        if (!myr_parse_double(myr_str_make(text, size), &again)) fail_msg("%s is not read", text);
        if (isnan(value) ? !isnan(again) : bits_of(value) != bits_of(again))
            fail_msg("%s reads back as %.17g", text, again);
        if (!isnan(value) && bits_of(strtod(text, NULL)) != bits) fail_msg("%s is not %.17g", text, value);
        char longer[64]; /* never longer than the digits that always suffice */
        snprintf(longer, sizeof longer, "%.17g", value);
        if (!isnan(value) && size > strlen(longer)) fail_msg("%s is longer than %s", text, longer);
    }
}

/* Make a locale with a decimal comma where none is installed; false if the machine cannot. */
static bool use_comma_locale(void)
{
    char dir[TESTING_PATH_BYTES], command[600];
    testing_dir(dir);
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", dir);
    if (system(command) == -1) return false;
    setenv("LOCPATH", dir, 1);
    return setlocale(LC_ALL, "de_DE.UTF-8") != NULL && strcmp(localeconv()->decimal_point, ",") == 0;
}

TEST(the_locale_does_not_matter)
{
    if (!use_comma_locale()) skip(); /* no localedef here */
    char text[32];
    snprintf(text, sizeof text, "%.1f", 0.5);
    EXPECT_STR(text, "0,5"); /* it is on */
    expect_double(1234.5, "1234.5");
    expect_double(1.5e-7, "1.5e-07");
    double value = 0;
    EXPECT(myr_parse_double(myr_str_of("1234.5678901234567890123"), &value) && value == 1234.567890123456789);
    EXPECT(!myr_parse_double(myr_str_of("1234,5"), &value));
    setlocale(LC_ALL, "C");
}

static void expect_bytes(int64_t bytes, const char *wanted)
{
    char text[32];
    EXPECT_STR(myr_format_bytes(bytes, text, sizeof text), wanted);
}

TEST(sizes_and_counts_for_people)
{
    expect_bytes(0, "0 B");
    expect_bytes(999, "999 B");
    expect_bytes(1000, "1.0 kB");
    expect_bytes(999949, "999.9 kB");
    expect_bytes(999950, "1.0 MB");
    expect_bytes(12345678, "12.3 MB");
    expect_bytes(-1500, "-1.5 kB");
    expect_bytes(INT64_MAX, "9.2 EB");
    expect_bytes(INT64_MIN, "-9.2 EB");
    char text[32];
    EXPECT_STR(myr_format_count(0, text, sizeof text), "0");
    EXPECT_STR(myr_format_count(999, text, sizeof text), "999");
    EXPECT_STR(myr_format_count(1234567, text, sizeof text), "1,234,567");
    EXPECT_STR(myr_format_count(-100000, text, sizeof text), "-100,000");
    EXPECT_STR(myr_format_count(INT64_MIN, text, sizeof text), "-9,223,372,036,854,775,808");
    EXPECT_STR(myr_format_count(1234567, text, 6), "1,234");
}

RUN()
