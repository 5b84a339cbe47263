/* Keys: text, values and bytes of a segment, and that one value has one form. */
#include "testing.h"

#include <math.h>

#include "pack/key.h"

static myr_key_schema schema_of(uint32_t count, const myr_key_type *types)
{
    static const char *const names[] = {"store", "brand", "region", "day", "e", "f", "g", "h"};
    myr_key_schema schema = {.column_count = count};
    for (uint32_t i = 0; i < count; i++) {
        snprintf(schema.columns[i].name, sizeof schema.columns[i].name, "%s", names[i]);
        schema.columns[i].type = types[i];
    }
    return schema;
}

static const myr_key_type int_text[] = {MYR_KEY_INT64, MYR_KEY_BYTES};

static void parse_bad(const char *text, size_t size, const char *part)
{
    myr_err err = {0};
    myr_segment segment;
    memset(&segment, 0x5a, sizeof segment);
    myr_segment before = segment;
    EXPECT_RC(myr_segment_parse(myr_str_make(text, size), &segment, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, part);
    EXPECT(memcmp(&before, &segment, sizeof segment) == 0);
}

#define PARSE_BAD(text, part) parse_bad(text, sizeof(text) - 1, part)

TEST(segment_reads_parts_in_order)
{
    myr_err err = {0};
    myr_segment segment = {0};
    EXPECT_RC(myr_segment_parse(myr_str_of("store=2,brand=tropicana 1l"), &segment, &err), OK, &err);
    EXPECT_INT(segment.part_count, 2);
    EXPECT_STR(segment.parts[0].name, "store");
    EXPECT_STR(segment.parts[0].value, "2");
    EXPECT_STR(segment.parts[1].name, "brand");
    EXPECT_STR(segment.parts[1].value, "tropicana 1l");
    EXPECT_RC(myr_segment_parse(myr_str_of(""), &segment, &err), OK, &err);
    EXPECT_INT(segment.part_count, 0);
}

TEST(segment_value_may_be_empty)
{
    myr_err err = {0};
    myr_segment segment = {0};
    EXPECT_RC(myr_segment_parse(myr_str_of("store="), &segment, &err), OK, &err);
    EXPECT_INT(segment.part_count, 1);
    EXPECT_INT(segment.parts[0].value_size, 0);
    EXPECT_STR(segment.parts[0].value, "");
}

TEST(segment_decodes_once)
{
    myr_err err = {0};
    myr_segment segment = {0};
    EXPECT_RC(myr_segment_parse(myr_str_of("brand=a%2Cb%3Dc%2fd%40e%25,n%2C=%2541"), &segment, &err), OK, &err);
    EXPECT_STR(segment.parts[0].value, "a,b=c/d@e%");
    EXPECT_STR(segment.parts[1].name, "n,");
    EXPECT_STR(segment.parts[1].value, "%41"); /* not decoded again to A */
    EXPECT_RC(myr_segment_parse(myr_str_of("b=x%00y%0A%7f"), &segment, &err), OK, &err);
    EXPECT_INT(segment.parts[0].value_size, 5);
    EXPECT(memcmp(segment.parts[0].value, "x\0y\n\x7f", 6) == 0);
}

TEST(segment_refuses_what_is_not_a_segment)
{
    PARSE_BAD("store", "name=value");
    PARSE_BAD("=2", "name=value");
    PARSE_BAD("store=2,", "part 2");
    PARSE_BAD(",store=2", "part 1");
    PARSE_BAD(",", "part 1");
    PARSE_BAD("a=1,,b=2", "part 2");
    PARSE_BAD("a=1=2", "%3D");
    PARSE_BAD("a=1/2", "%2F");
    PARSE_BAD("a=x@y", "%40");
    PARSE_BAD("a=x\ny", "%0A");
    PARSE_BAD("a=x\0y", "%00");
    PARSE_BAD("a=\x7f", "%7F");
    PARSE_BAD("a/b=1", "%2F");
    PARSE_BAD("a=%", "hexadecimal");
    PARSE_BAD("a=%4", "hexadecimal");
    PARSE_BAD("a=%4g", "hexadecimal");
    PARSE_BAD("a=%%41", "hexadecimal");
    PARSE_BAD("a=%ff", "UTF-8");
    PARSE_BAD("a=\xc3", "UTF-8");
    PARSE_BAD("a%00=1", "NUL");
    PARSE_BAD("a=1,a=2", "twice");
    PARSE_BAD("a=1,%61=2", "twice");
}

TEST(segment_limits)
{
    char text[MYR_KEY_TEXT_BYTES_MAX + 2];
    myr_err err = {0};
    myr_segment segment = {0};
    memset(text, 'n', sizeof text);
    text[MYR_NAME_BYTES_MAX] = '=';
    size_t most = MYR_NAME_BYTES_MAX + 1 + MYR_KEY_VALUE_BYTES_MAX;
    EXPECT_RC(myr_segment_parse(myr_str_make(text, most), &segment, &err), OK, &err);
    EXPECT_INT(segment.parts[0].value_size, MYR_KEY_VALUE_BYTES_MAX);
    EXPECT_INT(strlen(segment.parts[0].name), MYR_NAME_BYTES_MAX);
    parse_bad(text, most + 1, "at most 256");
    text[MYR_NAME_BYTES_MAX] = 'n';
    text[MYR_NAME_BYTES_MAX + 1] = '=';
    parse_bad(text, most, "at most 128");
    parse_bad(text, MYR_KEY_TEXT_BYTES_MAX + 1, "4096");
    EXPECT_RC(myr_segment_parse(myr_str_of("a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1"), &segment, &err), OK, &err);
    EXPECT_INT(segment.part_count, MYR_PARTITION_COLUMNS_MAX);
    PARSE_BAD("a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1", "more than 8");
}

TEST(segment_text_at_its_limit)
{
    /* 8 parts of 2 + 3 x 170 or so bytes: exactly MYR_KEY_TEXT_BYTES_MAX, then one more */
    char text[MYR_KEY_TEXT_BYTES_MAX + 8];
    size_t size = 0;
    for (int part = 0; part < 8; part++) {
        size += (size_t)snprintf(text + size, sizeof text - size, "%s%c=", part > 0 ? "," : "", 'a' + part);
        size_t until = (size_t)(part + 1) * (MYR_KEY_TEXT_BYTES_MAX / 8);
        while (until - size >= 3) {
            memcpy(text + size, "%20", 3);
            size += 3;
        }
        while (size < until)
            text[size++] = 'x';
    }
    EXPECT_INT(size, MYR_KEY_TEXT_BYTES_MAX);
    myr_err err = {0};
    myr_segment segment = {0};
    EXPECT_RC(myr_segment_parse(myr_str_make(text, size), &segment, &err), OK, &err);
    text[size] = 'x';
    parse_bad(text, size + 1, "4096");
    const char *const columns[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    MYR_AUTO(myr_buf) out = {0};
    EXPECT_RC(myr_segment_format(&segment, columns, 8, &out, &err), OK, &err); /* %20 is written as a blank: shorter */
    for (int part = 0; part < 8; part++) {
        memset(segment.parts[part].value, ',', 171);
        segment.parts[part].value_size = 171;
    }
    myr_buf_clear(&out);
    EXPECT_RC(myr_segment_format(&segment, columns, 8, &out, &err), BAD_INPUT, &err); /* 8 x 515 + 7 bytes */
    EXPECT_INT(out.size, 0);
}

TEST(segment_format_orders_and_encodes)
{
    const char *const columns[] = {"store", "brand"};
    myr_err err = {0};
    myr_segment segment = {0};
    MYR_AUTO(myr_buf) out = {0};
    EXPECT_RC(myr_segment_parse(myr_str_of("brand=a%2Cb%2F%40%3D%25%0a\xc3\xa4,store=2"), &segment, &err), OK, &err);
    myr_buf_puts(&out, "oj@");
    EXPECT_RC(myr_segment_format(&segment, columns, 2, &out, &err), OK, &err);
    EXPECT_STR(out.data, "oj@store=2,brand=a%2Cb%2F%40%3D%25%0A\xc3\xa4");
}

TEST(segment_format_refuses_unknown_columns)
{
    const char *const columns[] = {"store", "brand"};
    myr_err err = {0};
    myr_segment segment = {0};
    MYR_AUTO(myr_buf) out = {0};
    EXPECT_RC(myr_segment_parse(myr_str_of("stor=2"), &segment, &err), OK, &err);
    EXPECT_RC(myr_segment_format(&segment, columns, 2, &out, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "did you mean 'store'");
    EXPECT_RC(myr_segment_format(&segment, columns, 0, &out, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "has none");
    EXPECT_INT(out.size, 0);
    segment.part_count = 2;
    segment.parts[0] = segment.parts[1];
    snprintf(segment.parts[0].name, sizeof segment.parts[0].name, "brand");
    segment.parts[1] = segment.parts[0];
    EXPECT_RC(myr_segment_format(&segment, columns, 2, &out, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "twice");
}

TEST(type_stays_int_while_all_values_are_canonical)
{
    static const char *const ints[] = {"0", "2", "-7", "9223372036854775807", "-9223372036854775808"};
    for (size_t i = 0; i < MYR_COUNT_OF(ints); i++) {
        EXPECT_INT(myr_key_type_after(MYR_KEY_INT64, ints[i], strlen(ints[i])), MYR_KEY_INT64);
        EXPECT_INT(myr_key_type_after(MYR_KEY_BYTES, ints[i], strlen(ints[i])), MYR_KEY_BYTES);
    }
    static const char *const texts[] = {"", "-0", "+1", "01", "2.0", "2e0", " 2", "9223372036854775808", "x"};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        EXPECT_INT(myr_key_type_after(MYR_KEY_INT64, texts[i], strlen(texts[i])), MYR_KEY_BYTES);
    }
}

/* ---- cells ---- */

static myr_rc from_double(myr_key_type type, double value, myr_key_value *out, char scratch[MYR_KEY_SCRATCH_BYTES],
                          myr_err *err)
{
    myr_col col = {.name = "store", .type = MYR_COL_DOUBLE, .data.f64 = &value};
    return myr_key_value_from_col(type, &col, 0, scratch, out, err);
}

static myr_rc from_text(myr_key_type type, const char *text, size_t size, myr_key_value *out,
                        char scratch[MYR_KEY_SCRATCH_BYTES], myr_err *err)
{
    myr_str str = myr_str_make(text, size);
    myr_col col = {.name = "store", .type = MYR_COL_TEXT, .data.text = &str};
    return myr_key_value_from_col(type, &col, 0, scratch, out, err);
}

TEST(cells_of_an_int_column)
{
    myr_err err = {0};
    char scratch[MYR_KEY_SCRATCH_BYTES];
    myr_key_value value;
    int64_t two = 2;
    myr_col ints = {.name = "store", .type = MYR_COL_INT64, .data.i64 = &two};
    EXPECT_RC(myr_key_value_from_col(MYR_KEY_INT64, &ints, 0, scratch, &value, &err), OK, &err);
    EXPECT(!value.is_null && value.i64 == 2);
    static const struct {
        double value;
        int64_t wanted;
    } good[] = {{2.0, 2},
                {-0.0, 0},
                {0x1p53 + 2, (1ll << 53) + 2},
                {-0x1p63, INT64_MIN},
                {0x1.fffffffffffffp62, 9223372036854774784}};
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++) {
        EXPECT_RC(from_double(MYR_KEY_INT64, good[i].value, &value, scratch, &err), OK, &err);
        EXPECT(!value.is_null);
        EXPECT_INT(value.i64, good[i].wanted);
    }
    static const double bad[] = {2.5, 0x1p63, -0x1.0000000000001p63, INFINITY, -INFINITY, 5e-324, 1e300};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        EXPECT_RC(from_double(MYR_KEY_INT64, bad[i], &value, scratch, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "'store' is an integer");
    }
}

TEST(text_cells_of_an_int_column)
{
    myr_err err = {0};
    char scratch[MYR_KEY_SCRATCH_BYTES];
    myr_key_value value;
    static const struct {
        const char *text;
        int64_t wanted;
    } good[] = {{"2", 2},
                {"2.0", 2},
                {"2.000", 2},
                {"-70.0", -70},
                {"0", 0},
                {"100", 100},
                {"9223372036854775807", INT64_MAX},
                {"9223372036854775807.0", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++) {
        EXPECT_RC(from_text(MYR_KEY_INT64, good[i].text, strlen(good[i].text), &value, scratch, &err), OK, &err);
        EXPECT_INT(value.i64, good[i].wanted);
    }
    static const char *const bad[] = {"",
                                      "abc",
                                      "2.5",
                                      "2.",
                                      ".0",
                                      "02",
                                      "+2",
                                      " 2",
                                      "2 ",
                                      "2e0",
                                      "-0",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "nan",
                                      "0x2",
                                      "."};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        EXPECT_RC(from_text(MYR_KEY_INT64, bad[i], strlen(bad[i]), &value, scratch, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "'store' is an integer");
    }
}

TEST(cells_of_a_text_column)
{
    myr_err err = {0};
    char scratch[MYR_KEY_SCRATCH_BYTES];
    myr_key_value value;
    static const struct {
        double value;
        const char *wanted;
    } doubles[] = {{2.0, "2"},        {-0.0, "0"}, {2.5, "2.5"}, {-0x1p63, "-9223372036854775808"},
                   {INFINITY, "inf"}, {0.1, "0.1"}};
    for (size_t i = 0; i < MYR_COUNT_OF(doubles); i++) {
        EXPECT_RC(from_double(MYR_KEY_BYTES, doubles[i].value, &value, scratch, &err), OK, &err);
        EXPECT(myr_str_is(value.text, doubles[i].wanted));
    }
    int64_t low = INT64_MIN;
    myr_col ints = {.name = "store", .type = MYR_COL_INT64, .data.i64 = &low};
    EXPECT_RC(myr_key_value_from_col(MYR_KEY_BYTES, &ints, 0, scratch, &value, &err), OK, &err);
    EXPECT(myr_str_is(value.text, "-9223372036854775808"));
    EXPECT_RC(from_text(MYR_KEY_BYTES, "02", 2, &value, scratch, &err), OK, &err);
    EXPECT(myr_str_is(value.text, "02")); /* as it is */
    EXPECT_RC(from_text(MYR_KEY_BYTES, "", 0, &value, scratch, &err), OK, &err);
    EXPECT(!value.is_null && value.text.size == 0);
    char longest[MYR_KEY_VALUE_BYTES_MAX + 1];
    memset(longest, 'x', sizeof longest);
    EXPECT_RC(from_text(MYR_KEY_BYTES, longest, MYR_KEY_VALUE_BYTES_MAX, &value, scratch, &err), OK, &err);
    EXPECT_RC(from_text(MYR_KEY_BYTES, longest, sizeof longest, &value, scratch, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "257 bytes");
    EXPECT_RC(from_text(MYR_KEY_BYTES, "\xff", 1, &value, scratch, &err), BAD_INPUT, &err);
}

TEST(null_and_nan_are_null)
{
    myr_err err = {0};
    char scratch[MYR_KEY_SCRATCH_BYTES];
    uint8_t valid = 0;
    myr_str text = myr_str_of("2");
    myr_col col = {.name = "store", .type = MYR_COL_TEXT, .valid = &valid, .data.text = &text};
    for (int type = MYR_KEY_INT64; type <= MYR_KEY_BYTES; type++) {
        myr_key_value value = {0};
        EXPECT_RC(from_double((myr_key_type)type, NAN, &value, scratch, &err), OK, &err);
        EXPECT(value.is_null);
        value.is_null = false;
        EXPECT_RC(myr_key_value_from_col((myr_key_type)type, &col, 0, scratch, &value, &err), OK, &err);
        EXPECT(value.is_null);
    }
    col.valid = NULL;
    col.type = (myr_col_type)9;
    myr_key_value value;
    EXPECT_RC(myr_key_value_from_col(MYR_KEY_INT64, &col, 0, scratch, &value, &err), BAD_INPUT, &err);
}

/* ---- bytes ---- */

TEST(key_bytes_are_canonical)
{
    myr_key_schema schema = schema_of(2, int_text);
    myr_key_value values[2] = {{.i64 = -2}, {.text = myr_str_of("ab")}};
    unsigned char key[MYR_KEY_BYTES_MAX];
    EXPECT_INT(myr_key_encode(&schema, 0, values, key), 1);
    EXPECT(key[0] == 0);
    EXPECT_INT(myr_key_encode(&schema, 3, values, key), 1 + 8 + 2 + 2);
    EXPECT(memcmp(key,
                  "\x03\xfe\xff\xff\xff\xff\xff\xff\xff\x02\x00"
                  "ab",
                  13) == 0);
    EXPECT_INT(myr_key_encode(&schema, 2, values, key), 5);
    EXPECT(memcmp(key,
                  "\x02\x02\x00"
                  "ab",
                  5) == 0);
    values[1].text = (myr_str){NULL, 0};
    EXPECT_INT(myr_key_encode(&schema, 2, values, key), 3);
    char longest[MYR_KEY_VALUE_BYTES_MAX + 1];
    memset(longest, 'x', sizeof longest);
    values[1].text = myr_str_make(longest, sizeof longest);
    EXPECT_INT(myr_key_encode(&schema, 2, values, key), 0);
    values[1].text.size--;
    EXPECT_INT(myr_key_encode(&schema, 2, values, key), 3 + MYR_KEY_VALUE_BYTES_MAX);
}

TEST(largest_key_fits)
{
    myr_key_type types[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    myr_key_schema schema = schema_of(8, types);
    char longest[MYR_KEY_VALUE_BYTES_MAX];
    memset(longest, ',', sizeof longest);
    myr_key_value values[8];
    for (int i = 0; i < 8; i++)
        values[i] = (myr_key_value){.text = myr_str_make(longest, sizeof longest)};
    unsigned char key[MYR_KEY_BYTES_MAX];
    EXPECT_INT(myr_key_encode(&schema, 0xff, values, key), MYR_KEY_BYTES_MAX);
    myr_err err = {0};
    MYR_AUTO(myr_buf) text = {0};
    EXPECT_RC(myr_key_text(&schema, key, MYR_KEY_BYTES_MAX, &text, &err), OK, &err); /* longer than text that is read */
    EXPECT(text.size > MYR_KEY_TEXT_BYTES_MAX);
}

TEST(one_value_has_one_key_however_it_is_written)
{
    myr_key_schema schema = schema_of(2, int_text);
    myr_err err = {0};
    static const char *const texts[] = {"store=2,brand=x%41", "brand=xA,store=2", "store=2.0,brand=%78A"};
    unsigned char first[MYR_KEY_BYTES_MAX];
    size_t first_size = 0;
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        myr_segment segment = {0};
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t size = 0;
        EXPECT_RC(myr_segment_parse(myr_str_of(texts[i]), &segment, &err), OK, &err);
        EXPECT_RC(myr_key_from_segment(&schema, &segment, key, &size, &err), OK, &err);
        if (i == 0) {
            memcpy(first, key, size);
            first_size = size;
        }
        EXPECT_INT(size, first_size);
        EXPECT(memcmp(key, first, size) == 0);
        EXPECT(myr_key_hash(key, size) == myr_key_hash(first, first_size));
    }
    MYR_AUTO(myr_buf) text = {0};
    EXPECT_RC(myr_key_text(&schema, first, first_size, &text, &err), OK, &err);
    EXPECT_STR(text.data, "store=2,brand=xA");
}

TEST(key_from_segment_refuses)
{
    myr_key_schema schema = schema_of(2, int_text);
    static const struct {
        const char *text;
        const char *part;
    } bad[] = {{"store=2.5", "not a decimal integer"},
               {"store=x", "'store'"},
               {"store=", "'store'"},
               {"region=1", "'region'"},
               {"brnd=1", "did you mean 'brand'"}};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_err err = {0};
        myr_segment segment = {0};
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t size = 77;
        EXPECT_RC(myr_segment_parse(myr_str_of(bad[i].text), &segment, &err), OK, &err);
        EXPECT_RC(myr_key_from_segment(&schema, &segment, key, &size, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, bad[i].part);
        EXPECT_INT(size, 77);
    }
}

TEST(key_text_refuses_what_is_not_canonical)
{
    myr_key_schema schema = schema_of(2, int_text);
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"", 0},
               {"\x04", 1},
               {"\x01", 1},
               {"\x01\0\0\0\0\0\0\0", 8},
               {"\x01\0\0\0\0\0\0\0\0\0", 10},
               {"\x02", 1},
               {"\x02\x01", 2},
               {"\x02\x01\0", 3},
               {"\x02\xff\xff", 3},
               {"\x02\x01\0ab", 5},
               {"\x02\x01\0\xff", 4},
               {"\0\0", 2}};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_err err = {0};
        MYR_AUTO(myr_buf) text = {0};
        EXPECT_RC(myr_key_text(&schema, (const unsigned char *)bad[i].bytes, bad[i].size, &text, &err), BAD_FORMAT,
                  &err);
        EXPECT_INT(text.size, 0);
    }
    myr_err err = {0};
    MYR_AUTO(myr_buf) text = {0};
    EXPECT_RC(myr_key_text(&schema, (const unsigned char *)"\0", 1, &text, &err), OK, &err);
    EXPECT_INT(text.size, 0);
    unsigned char longer[MYR_KEY_BYTES_MAX + 1] = {0};
    EXPECT_RC(myr_key_text(&schema, longer, sizeof longer, &text, &err), BAD_FORMAT, &err);
}

TEST(every_byte_of_a_value_survives_text)
{
    myr_key_schema schema = schema_of(2, int_text);
    myr_err err = {0};
    for (int c = 0; c < 128; c++) {
        char value[2] = {(char)c, 'z'};
        myr_key_value values[2] = {{.i64 = INT64_MIN + c}, {.text = myr_str_make(value, 2)}};
        unsigned char key[MYR_KEY_BYTES_MAX];
        unsigned char again[MYR_KEY_BYTES_MAX];
        size_t size = myr_key_encode(&schema, 3, values, key);
        size_t again_size = 0;
        MYR_AUTO(myr_buf) text = {0};
        myr_segment segment = {0};
        EXPECT_RC(myr_key_text(&schema, key, size, &text, &err), OK, &err);
        EXPECT_RC(myr_segment_parse(myr_str_make(text.data, text.size), &segment, &err), OK, &err);
        EXPECT_RC(myr_key_from_segment(&schema, &segment, again, &again_size, &err), OK, &err);
        EXPECT_INT(again_size, size);
        EXPECT(memcmp(key, again, size) == 0);
    }
}

TEST(chain_drops_columns_from_the_left)
{
    myr_key_type types[8] = {0};
    uint32_t masks[MYR_PARTITION_COLUMNS_MAX + 1];
    myr_key_schema schema = schema_of(3, types);
    EXPECT_INT(myr_key_chain(&schema, masks), 4);
    EXPECT(masks[0] == 7 && masks[1] == 6 && masks[2] == 4 && masks[3] == 0);
    schema = schema_of(0, types);
    EXPECT_INT(myr_key_chain(&schema, masks), 1);
    EXPECT_INT(masks[0], 0);
    schema = schema_of(8, types);
    EXPECT_INT(myr_key_chain(&schema, masks), 9);
    EXPECT(masks[0] == 0xff && masks[7] == 0x80 && masks[8] == 0);
}

TEST(keys_survive_each_failed_allocation)
{
    myr_key_schema schema = schema_of(2, int_text);
    FAIL_EACH_ALLOC (nth) {
        myr_segment segment = {0};
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t size = 0;
        MYR_AUTO(myr_buf) text = {0};
        myr_rc rc = myr_segment_parse(myr_str_of("store=2,brand=x%2Cy"), &segment, NULL);
        if (rc == MYR_OK) rc = myr_key_from_segment(&schema, &segment, key, &size, NULL);
        if (rc == MYR_OK) rc = myr_key_text(&schema, key, size, &text, NULL);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        if (rc == MYR_OK) break;
    }
}

RUN()
