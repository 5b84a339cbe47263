/* Tests of api: Arrow batches in, Arrow arrays out. */
#include "api_fixture.h"

#include <string.h>

#define COLUMNS_MAX 8
#define ROWS        6

static void no_schema_release(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static void no_array_release(struct ArrowArray *array)
{
    array->release = NULL;
}

/* A batch whose columns lie in the test. */
typedef struct batch {
    struct ArrowSchema schema, schemas[COLUMNS_MAX], *schema_list[COLUMNS_MAX];
    struct ArrowArray array, arrays[COLUMNS_MAX], *array_list[COLUMNS_MAX];
    const void *buffers[COLUMNS_MAX][4];
    const void *no_buffers[1];
} batch;

static void batch_init(batch *b, int64_t row_count)
{
    memset(b, 0, sizeof *b);
    b->schema =
        (struct ArrowSchema){.format = "+s", .name = "", .children = b->schema_list, .release = no_schema_release};
    b->array = (struct ArrowArray){.length = row_count,
                                   .n_buffers = 1,
                                   .buffers = b->no_buffers,
                                   .children = b->array_list,
                                   .release = no_array_release};
}

/* Add a column; buffers are bitmap, cells or offsets, text, …. Gives its number. */
static int batch_add(batch *b, const char *name, const char *format, const void *bits, const void *cells,
                     const void *text)
{
    int64_t at = b->schema.n_children++;
    b->array.n_children++;
    EXPECT(at < COLUMNS_MAX);
    b->schemas[at] = (struct ArrowSchema){.format = format, .name = name, .release = no_schema_release};
    b->buffers[at][0] = bits;
    b->buffers[at][1] = cells;
    b->buffers[at][2] = text;
    b->arrays[at] = (struct ArrowArray){.length = b->array.length,
                                        .null_count = bits == NULL ? 0 : -1,
                                        .n_buffers = strcmp(format, "n") == 0 ? 0
                                                     : text == NULL           ? 2
                                                                              : 3,
                                        .buffers = b->buffers[at],
                                        .release = no_array_release};
    b->schema_list[at] = &b->schemas[at];
    b->array_list[at] = &b->arrays[at];
    return (int)at;
}

static const double prices[] = {0, 1, 2, 3, 4, 5}, deals[] = {2, 2, 2, 2, 2, 2};
static const int64_t stores[] = {2, 3, 0, 2, 7, 2};
static const int32_t brand_offsets[] = {0, 1, 2, 3, 4, 5, 6};
static const char brand_text[] = "aaabaa";
static const uint8_t store_bits[] = {0x3b}; /* row 2 is null */

static void batch_usual(batch *b)
{
    batch_init(b, ROWS);
    batch_add(b, "deal", "g", NULL, deals, NULL);
    batch_add(b, "store", "l", store_bits, stores, NULL);
    batch_add(b, "note", "tdD", NULL, stores, NULL); /* a column nobody asks for may be of any type */
    batch_add(b, "brand", "u", NULL, brand_offsets, brand_text);
    batch_add(b, "price", "g", NULL, prices, NULL);
}

static myr_models_rows rows_of(const batch *b)
{
    return (myr_models_rows){.struct_size = sizeof(myr_models_rows),
                             .model_idx = MYR_MODELS_BY_KEY,
                             .schema = &b->schema,
                             .batch = &b->array};
}

static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void expect_values(const myr_models *models, const batch *b, const double *wanted, int count)
{
    myr_err err = {0};
    double values[ROWS];
    myr_models_rows rows = rows_of(b);
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    for (int i = 0; i < count; i++)
        EXPECT(same(values[i], wanted[i]));
}

static const double usual[] = {11, 102, 103, NAN, 105, 16};

TEST(arrow_batches_are_scored)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    batch b;
    batch_usual(&b);
    expect_values(models, &b, usual, ROWS);
    myr_models_rows rows = rows_of(&b);
    double values[2 * ROWS];
    uint8_t levels[ROWS], statuses[ROWS];
    uint32_t model_idxs[ROWS];
    myr_models_out out = {.struct_size = sizeof out,
                          .values = values + 2 * (ROWS - 1),
                          .row_stride = -2, /* backwards, with gaps */
                          .levels = levels,
                          .statuses = statuses,
                          .model_idxs = model_idxs};
    EXPECT_RC(myr_models_score_into(models, &rows, &out, &err), OK, &err);
    static const uint8_t wanted_levels[] = {1, 2, 2, 0, 2, 1}, wanted_statuses[] = {0, 0, 0, 1, 0, 0};
    for (int i = 0; i < ROWS; i++) {
        EXPECT(same(values[2 * (ROWS - 1 - i)], usual[i]));
        EXPECT_INT(levels[i], wanted_levels[i]);
        EXPECT_INT(statuses[i], wanted_statuses[i]);
        EXPECT((model_idxs[i] == MYR_MODELS_BY_KEY) == (i == 3));
    }
    static const char *const names[] = {"note2", "brand2"};
    b.schemas[1].name = "note2";
    b.schemas[3].name = "brand2";
    rows.key_columns = names;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    EXPECT(values[0] == 11);
    myr_models_close(models);
}

TEST(arrow_slices_are_scored)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    batch b;
    batch_usual(&b);
    b.array.offset = 1; /* of the struct: children are not moved */
    b.array.length = 4;
    expect_values(models, &b, usual + 1, 4);
    static const double shifted[] = {-1, -1, 0, 1, 2, 3, 4, 5};
    b.buffers[4][1] = shifted; /* and of a child */
    b.arrays[4].offset = 2;
    expect_values(models, &b, usual + 1, 4);
    static const uint8_t rows_there[] = {0x3d}; /* row 1, the first of the slice, is null as a whole */
    b.no_buffers[0] = rows_there;
    b.array.null_count = -1;
    static const double wanted[] = {NAN, 103, NAN, 105};
    expect_values(models, &b, wanted, 4);
    b.array.length = 0;
    expect_values(models, &b, NULL, 0);
    myr_models_close(models);
}

/* The same six rows in each type that may hold them. */
TEST(arrow_types_are_read)
{
    static const int8_t i8[] = {2, 3, 0, 2, 7, 2};
    static const uint8_t u8[] = {2, 3, 0, 2, 7, 2};
    static const int16_t i16[] = {2, 3, 0, 2, 7, 2};
    static const uint16_t u16[] = {2, 3, 0, 2, 7, 2};
    static const int32_t i32[] = {2, 3, 0, 2, 7, 2};
    static const uint32_t u32[] = {2, 3, 0, 2, 7, 2};
    static const uint64_t u64[] = {2, 3, 0, 2, 7, 2};
    static const float f32[] = {2, 3, 0, 2, 7, 2};
    static const double f64[] = {2, 3, NAN, 2, 7, 2};
    static const int64_t offsets64[] = {0, 1, 2, 2, 3, 4, 5};
    static const struct {
        const char *format;
        const void *cells, *text;
    } types[] = {{"c", i8, NULL},  {"C", u8, NULL},  {"s", i16, NULL}, {"S", u16, NULL}, {"i", i32, NULL},
                 {"I", u32, NULL}, {"L", u64, NULL}, {"f", f32, NULL}, {"g", f64, NULL}, {"U", offsets64, "23272"}};
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    for (size_t i = 0; i < MYR_COUNT_OF(types); i++) {
        batch b;
        batch_usual(&b);
        b.schemas[1].format = types[i].format;
        b.buffers[1][1] = types[i].cells;
        b.buffers[1][2] = types[i].text;
        b.arrays[1].n_buffers = types[i].text == NULL ? 2 : 3;
        expect_values(models, &b, usual, ROWS); /* as a key */
        if (types[i].text != NULL) continue;
        b.buffers[4][0] = store_bits; /* as a feature */
        b.buffers[4][1] = types[i].cells;
        b.schemas[4].format = types[i].format;
        b.arrays[4].null_count = -1;
        static const double wanted[] = {13, 104, NAN, NAN, 108, 13};
        expect_values(models, &b, wanted, ROWS);
    }
    static const uint8_t truths[] = {0x21}; /* rows 0 and 5 */
    batch b;
    batch_usual(&b);
    b.schemas[4].format = "b";
    b.buffers[4][1] = truths;
    static const double of_truths[] = {12, 101, 101, NAN, 101, 12};
    expect_values(models, &b, of_truths, ROWS);
    b.schemas[4].format = "n";
    b.arrays[4].n_buffers = 0;
    static const double of_null[] = {NAN, NAN, NAN, NAN, NAN, NAN};
    expect_values(models, &b, of_null, ROWS);
    batch_usual(&b);
    b.schemas[1].format = "n"; /* no store at all: the parents answer */
    b.arrays[1].n_buffers = 0;
    static const double of_parents[] = {101, 102, 103, NAN, 105, 106};
    expect_values(models, &b, of_parents, ROWS);
    myr_models_close(models);
}

TEST(arrow_keys_of_odd_types)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    double values[ROWS];
    uint8_t statuses[ROWS];
    batch b;
    batch_usual(&b);
    static const uint64_t huge[] = {2, 18446744073709551615u, 3, 2, 9223372036854775807u, 9223372036854775808u};
    b.schemas[1].format = "L";
    b.buffers[1][1] = huge;
    myr_models_rows rows = rows_of(&b);
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, statuses, &err), OK, &err);
    static const uint8_t wanted[] = {0, 2, 0, 1, 0, 2}; /* beyond int64: no key of an INT64 column */
    for (int i = 0; i < ROWS; i++)
        EXPECT_INT(statuses[i], wanted[i]);
    static const uint8_t truths[] = {0xff};
    b.schemas[1].format = "b"; /* a word, which is no integer either */
    b.buffers[1][1] = truths;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, statuses, &err), OK, &err);
    EXPECT(statuses[0] == 2 && statuses[2] == 0); /* row 2 is null: its parent answers */
    myr_models_close(models);
}

/* Text views: short ones lie in the view, long ones in a buffer of their own. */
TEST(arrow_views_are_read)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    unsigned char views[ROWS][16] = {{0}};
    static const char longer[] = "a brand with a longer name";
    const void *buffers[4] = {NULL, views, longer, NULL};
    for (int i = 0; i < ROWS; i++) {
        int32_t size = 1;
        memcpy(views[i], &size, 4);
        views[i][4] = (unsigned char)brand_text[i];
    }
    int32_t size = (int32_t)strlen(longer), none = 0;
    memcpy(views[5], &size, 4);
    memcpy(views[5] + 4, longer, 4);
    memcpy(views[5] + 8, &none, 4);
    memcpy(views[5] + 12, &none, 4);
    batch b;
    batch_usual(&b);
    b.schemas[3].format = "vu";
    b.arrays[3].buffers = buffers;
    b.arrays[3].n_buffers = 4;
    static const double wanted[] = {11, 102, 103, NAN, 105, NAN};
    expect_values(models, &b, wanted, ROWS);
    myr_models_close(models);
}

TEST(arrow_dictionaries_are_read)
{
    static const int8_t codes[] = {1, 1, 1, 0, 1, 1};
    static const int32_t offsets[] = {0, 1, 2};
    static const int64_t entry_stores[] = {2, 3, 7};
    static const uint16_t store_codes[] = {0, 1, 99, 0, 2, 0}; /* the null row may have any code */
    static const double entry_prices[] = {0, 1, 2, 3, 4, 5};
    static const int64_t price_codes[] = {0, 1, 2, 3, 4, 5};
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    batch b, entries;
    batch_usual(&b);
    batch_init(&entries, 2);
    batch_add(&entries, NULL, "u", NULL, offsets, "ba");
    entries.array.length = 3;
    batch_add(&entries, NULL, "l", NULL, entry_stores, NULL);
    entries.array.length = 6;
    batch_add(&entries, NULL, "g", NULL, entry_prices, NULL);
    static const int of[] = {3, 1, 4};
    static const char *const formats[] = {"c", "S", "l"};
    const void *const cells[] = {codes, store_codes, price_codes};
    for (int i = 0; i < 3; i++) {
        b.schemas[of[i]].format = formats[i];
        b.schemas[of[i]].dictionary = &entries.schemas[i];
        b.arrays[of[i]].dictionary = &entries.arrays[i];
        b.arrays[of[i]].n_buffers = 2;
        b.buffers[of[i]][1] = cells[i];
        expect_values(models, &b, usual, ROWS);
    }
    static const uint8_t entry_bits[] = {0x2}; /* the entry "b" is null: so are its rows */
    entries.buffers[0][0] = entry_bits;
    entries.arrays[0].null_count = 1;
    expect_values(models, &b, usual, ROWS);
    double values[ROWS] = {77};
    myr_models_rows rows = rows_of(&b);
    static const int8_t bad_codes[] = {1, 1, 1, 0, 2, -1};
    for (int i = 4; i < ROWS; i++) {
        int8_t one_bad[ROWS];
        memcpy(one_bad, codes, sizeof one_bad);
        one_bad[i] = bad_codes[i];
        b.buffers[3][1] = one_bad;
        EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "column 'brand', row");
        EXPECT_HAS(err.message, "of a dictionary of 2 entries");
        EXPECT(values[0] == 77);
    }
    b.schemas[3].format = "u";
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), BAD_INPUT, &err);
    b.schemas[3].format = "c";
    entries.schemas[0].dictionary = &entries.schemas[1];
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), UNSUPPORTED, &err);
    myr_models_close(models);
}

static void expect_refused(const myr_models *models, const batch *b, myr_rc rc, const char *says)
{
    myr_err err = {0};
    double values[ROWS] = {77};
    myr_models_rows rows = rows_of(b);
    struct ArrowSchema schema = {.n_children = 55};
    struct ArrowArray array = {.length = 55};
    EXPECT_INT(myr_models_score(models, &rows, values, NULL, NULL, &err), rc);
    EXPECT_HAS(err.message, says);
    EXPECT(values[0] == 77);
    EXPECT_INT(myr_models_score_arrow(models, &rows, MYR_MODELS_COLUMN_VALUES, &schema, &array, &err), rc);
    EXPECT(schema.n_children == 55 && array.length == 55);
}

TEST(arrow_refuses_bad_batches)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    myr_models *models = api_open(path);
    batch b;
    batch_usual(&b);
    b.schemas[4].name = "prise";
    expect_refused(models, &b, MYR_BAD_INPUT, "no column 'price', a feature");
    batch_usual(&b);
    b.schemas[3].name = NULL;
    expect_refused(models, &b, MYR_BAD_INPUT, "no column 'brand', a partition column");
    batch_usual(&b);
    b.schemas[2].name = "price";
    expect_refused(models, &b, MYR_BAD_INPUT, "two columns 'price'");
    batch_usual(&b);
    b.schemas[4].format = "tdD";
    expect_refused(models, &b, MYR_UNSUPPORTED, "column 'price' has the Arrow type 'tdD'");
    batch_usual(&b);
    b.schemas[4].format = NULL;
    expect_refused(models, &b, MYR_UNSUPPORTED, "column 'price'");
    batch_usual(&b);
    b.arrays[4].length = ROWS - 1;
    expect_refused(models, &b, MYR_BAD_INPUT, "column 'price' has 5 cells, the batch needs 6");
    batch_usual(&b);
    b.arrays[4].n_buffers = 1;
    expect_refused(models, &b, MYR_BAD_INPUT, "with 1 buffers");
    batch_usual(&b);
    b.buffers[4][1] = NULL;
    expect_refused(models, &b, MYR_BAD_INPUT, "without a buffer");
    batch_usual(&b);
    b.arrays[4].offset = -1;
    expect_refused(models, &b, MYR_BAD_INPUT, "at offset -1");
    batch_usual(&b);
    b.arrays[4].release = NULL;
    expect_refused(models, &b, MYR_BAD_INPUT, "column 'price': the Arrow array was released");
    batch_usual(&b);
    b.array.release = NULL;
    expect_refused(models, &b, MYR_BAD_INPUT, "the Arrow batch was released");
    batch_usual(&b);
    b.schema.format = "g";
    expect_refused(models, &b, MYR_BAD_INPUT, "this is 'g'");
    batch_usual(&b);
    b.array.n_children--;
    expect_refused(models, &b, MYR_BAD_INPUT, "with 4 columns, its schema has 5");
    batch_usual(&b);
    myr_models_rows rows = rows_of(&b);
    double value = 77;
    myr_err err = {0};
    rows.row_count = 5;
    EXPECT_RC(myr_models_score(models, &rows, &value, NULL, NULL, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "row_count is 5, the batch has 6 rows");
    rows = rows_of(&b);
    rows.schema = NULL;
    EXPECT_RC(myr_models_score(models, &rows, &value, NULL, NULL, &err), BAD_INPUT, &err);
    rows = rows_of(&b);
    struct ArrowSchema schema;
    struct ArrowArray array;
    EXPECT_RC(myr_models_score_arrow(models, &rows, 0, &schema, &array, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_score_arrow(models, &rows, 32, &schema, &array, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_score_arrow(models, &rows, 1, NULL, &array, &err), BAD_INPUT, &err);
    myr_models_out out = {.struct_size = sizeof out - 1, .values = &value};
    EXPECT_RC(myr_models_score_into(models, &rows, &out, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_score_into(models, &rows, NULL, &err), BAD_INPUT, &err);
    EXPECT(value == 77);
    myr_models_close(models);
}

/* The text of row i of a dictionary column. */
static void text_at(const struct ArrowArray *array, int64_t row_idx, int code_bytes, char out[64])
{
    int32_t code =
        code_bytes == 1 ? ((const int8_t *)array->buffers[1])[row_idx] : ((const int32_t *)array->buffers[1])[row_idx];
    const int32_t *offsets = array->dictionary->buffers[1];
    const char *data = array->dictionary->buffers[2];
    snprintf(out, 64, "%.*s", (int)(offsets[code + 1] - offsets[code]), data + offsets[code]);
}

static bool is_there(const struct ArrowArray *array, int64_t row_idx)
{
    const uint8_t *bits = array->buffers[0];
    return bits == NULL || (bits[row_idx >> 3] >> (row_idx & 7) & 1) != 0;
}

TEST(arrow_answers)
{
    char path[TESTING_PATH_BYTES], text[64];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    batch b;
    batch_usual(&b);
    myr_models_rows rows = rows_of(&b);
    struct ArrowSchema schema;
    struct ArrowArray array;
    EXPECT_RC(myr_models_score_arrow(models, &rows, 31, &schema, &array, &err), OK, &err);
    static const char *const names[] = {"prediction", "level", "status", "model", "model_index"};
    static const char *const formats[] = {"g", "c", "c", "i", "I"};
    EXPECT_STR(schema.format, "+s");
    EXPECT_INT(schema.n_children, 5);
    EXPECT_INT(array.n_children, 5);
    for (int i = 0; i < 5; i++) {
        EXPECT_STR(schema.children[i]->name, names[i]);
        EXPECT_STR(schema.children[i]->format, formats[i]);
        EXPECT_INT(array.children[i]->length, ROWS);
        EXPECT_INT(array.children[i]->null_count, i == 1 || i == 2 ? 0 : 1); /* row 3 has no model */
        EXPECT((uintptr_t)array.children[i]->buffers[1] % 64 == 0);
    }
    for (int i = 0; i < ROWS; i++) {
        EXPECT(same(((const double *)array.children[0]->buffers[1])[i], usual[i]));
        EXPECT_INT(is_there(array.children[0], i), i != 3);
        EXPECT_INT(is_there(array.children[4], i), i != 3);
        text_at(array.children[1], i, 1, text);
        EXPECT_STR(text, i == 3 ? "none" : i == 0 || i == 5 ? "segment" : "parent");
        text_at(array.children[2], i, 1, text);
        EXPECT_STR(text, i == 3 ? "no_model" : "ok");
        if (i == 3) continue;
        text_at(array.children[3], i, 4, text);
        EXPECT_STR(text, i == 0 || i == 5 ? "oj@store=2,brand=a" : "oj@brand=a");
    }
    struct ArrowArray moved = *array.children[0]; /* a consumer takes one column and lets go of the rest */
    array.children[0]->release = NULL;
    array.release(&array);
    EXPECT(array.release == NULL && moved.release != NULL);
    EXPECT(((const double *)moved.buffers[1])[0] == 11);
    moved.release(&moved);
    schema.release(&schema);
    EXPECT(schema.release == NULL);
    b.array.length = 0; /* no rows: the same columns, empty */
    EXPECT_RC(myr_models_score_arrow(models, &rows, 31, &schema, &array, &err), OK, &err);
    EXPECT(array.length == 0 && array.n_children == 5 && array.children[3]->dictionary->length == 0);
    array.release(&array);
    schema.release(&schema);
    myr_models_close(models);
}

TEST(matrices_of_any_strides)
{
    char path[TESTING_PATH_BYTES];
    write_model(5, path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    static const double column_major[] = {1, 2, 3, 10, 20, 30};
    double values[3];
    myr_models_rows rows = {.struct_size = sizeof rows,
                            .row_count = 3,
                            .model_idx = 0,
                            .features = column_major,
                            .row_stride = 1,
                            .column_stride = 3};
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    EXPECT(values[0] == 11 && values[1] == 17 && values[2] == 23);
    rows.features = column_major + 5; /* rows and columns backwards */
    rows.row_stride = -1;
    rows.column_stride = -3;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    EXPECT(values[0] == 5 + 30 + 1.5 && values[2] == 5 + 10 + 0.5);
    rows.row_stride = 0;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), BAD_INPUT, &err);
    rows.row_count = 1; /* the stride of one row means nothing */
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), OK, &err);
    EXPECT_INT(myr_models_width(models, 0, MYR_MODELS_VALUE), 1);
    EXPECT_INT(myr_models_width(models, 1, MYR_MODELS_VALUE), 0);
    EXPECT_INT(myr_models_width(models, 0, 99), 0);
    rows.output = 99;
    EXPECT_RC(myr_models_score(models, &rows, values, NULL, NULL, &err), BAD_INPUT, &err);
    myr_models_close(models);
}

TEST(models_are_listed)
{
    char path[TESTING_PATH_BYTES], text[64];
    write_pack(path);
    myr_models *models = api_open(path);
    myr_err err = {0};
    uint32_t idx = 0;
    size_t size = 99;
    myr_models_entry entry = {.struct_size = sizeof entry};
    EXPECT_RC(myr_models_find(models, "brand=a", &idx, &err), OK, &err);
    EXPECT_RC(myr_models_get_entry(models, idx, &entry, &err), OK, &err);
    EXPECT(entry.version == 1 && entry.level == 2 && entry.key_count == 1 && entry.size_bytes > 0);
    EXPECT_RC(myr_models_get_segment(models, idx, text, sizeof text, &size, &err), OK, &err);
    EXPECT_STR(text, "brand=a");
    EXPECT_INT(size, 7);
    EXPECT_RC(myr_models_get_segment(models, idx, text, 8, NULL, &err), OK, &err);
    size = 0;
    EXPECT_RC(myr_models_get_segment(models, idx, text, 7, &size, &err), TOO_LARGE, &err); /* no room for the NUL */
    EXPECT_INT(size, 7);
    EXPECT_RC(myr_models_get_segment(models, idx, NULL, 0, &size, &err), TOO_LARGE, &err);
    EXPECT_RC(myr_models_get_segment(models, 2, text, sizeof text, &size, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_models_get_entry(models, 2, &entry, &err), BAD_INPUT, &err);
    EXPECT_STR(myr_models_file_name(models, 0), "r7.blobs");
    EXPECT(myr_models_file_name(models, 1) == NULL && myr_models_file_name(NULL, 0) == NULL);
    EXPECT_STR(myr_models_level_name(1), "segment");
    EXPECT_STR(myr_models_status_name(1), "no_model");
    EXPECT_STR(myr_models_level_name(4), "stored");
    EXPECT(myr_models_level_name(5) == NULL && myr_models_level_name(-1) == NULL);
    EXPECT(myr_models_status_name(99) == NULL && myr_models_status_name(-1) == NULL);
    myr_models_close(models);
}

TEST(arrow_survives_each_failed_allocation)
{
    char path[TESTING_PATH_BYTES];
    write_pack(path);
    batch b;
    batch_usual(&b);
    FAIL_EACH_ALLOC (nth) {
        myr_models *models = NULL;
        myr_models_rows rows = rows_of(&b);
        struct ArrowSchema schema = {.n_children = 55};
        struct ArrowArray array = {.length = 55};
        myr_rc rc = (myr_rc)myr_models_open(path, &models, NULL);
        if (rc == MYR_OK) rc = (myr_rc)myr_models_score_arrow(models, &rows, 31, &schema, &array, NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && schema.n_children == 55 && array.length == 55));
        if (rc == MYR_OK) {
            EXPECT(((const double *)array.children[0]->buffers[1])[0] == 11);
            array.release(&array);
            schema.release(&schema);
        }
        myr_models_close(models);
    }
}

RUN()
