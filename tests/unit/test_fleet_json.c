/* Tests of fleet: rows as JSON, decoded and scored. */
#include "fleet_fixture.h"

#include <yyjson.h>

/* A fleet with an INT64 and a BYTES key, scored from JSON text. */
typedef struct json_world {
    myr_workspace *workspace;
    myr_fleet *fleet;
    myr_score_scratch *scratch;
    myr_arena *arena;
    myr_buf out;
} json_world;

static void json_world_drop(json_world *w)
{
    myr_buf_fini(&w->out);
    myr_arena_free(w->arena);
    myr_score_scratch_free(w->scratch);
    myr_fleet_close(w->fleet);
    myr_workspace_close(w->workspace);
}

static void json_world_make(json_world *w, size_t cap_bytes)
{
    myr_err err = {0};
    w->workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    fixture_add(&list, "store=2,brand=a b", 5);
    fixture_add(&list, "store=2,brand=2", 20);
    fixture_add(&list, "store=2,brand=2.5", 25);
    fixture_add(&list, "store=9007199254740993,brand=x", 93);
    fixture_add(&list, "brand=q\"q", 6);
    fixture_add(&list, "brand=big", 1e308);
    myr_fleet_def def = {.name = "oj", .partition_columns = fixture_columns, .partition_count = 2, .target = "sales"};
    size_t item = 0;
    EXPECT_RC(myr_fleet_import(w->workspace, &def, list.items, list.count, NULL, NULL, &item, &err), OK, &err);
    fixture_release(w->workspace, "oj");
    EXPECT_RC(myr_fleet_open(w->workspace, "oj", 0, &w->fleet, &err), OK, &err);
    EXPECT(w->fleet->info->keys.columns[0].type == MYR_KEY_INT64 &&
           w->fleet->info->keys.columns[1].type == MYR_KEY_BYTES);
    w->scratch = myr_score_scratch_new();
    w->arena = myr_arena_new(cap_bytes);
    EXPECT(w->scratch != NULL && w->arena != NULL);
}

#define ROWS_MAX 64

/* Decode and score the rows of a JSON array; the arena is reset first. */
static myr_rc json_run(json_world *w, yyjson_doc *doc, myr_err *err)
{
    yyjson_val *objects[ROWS_MAX];
    size_t count = 0;
    size_t idx, max;
    yyjson_val *value;
    yyjson_arr_foreach(yyjson_doc_get_root(doc), idx, max, value)
    {
        MYR_ASSERT(count < ROWS_MAX);
        objects[count++] = value;
    }
    myr_arena_reset(w->arena);
    myr_buf_clear(&w->out);
    myr_score_rows rows;
    MYR_TRY(myr_fleet_decode_rows(w->fleet, objects, count, false, w->arena, &rows, err));
    return myr_fleet_score_json(w->fleet, w->scratch, &rows, w->arena, &w->out, err);
}

static yyjson_doc *json_parse(const char *text)
{
    yyjson_doc *doc = yyjson_read(text, strlen(text), 0);
    if (doc == NULL) fail_msg("not JSON: %s", text);
    return doc;
}

/* The answers of rows (written without the outer brackets). */
static const char *json_answers(json_world *w, const char *rows)
{
    char text[4000];
    snprintf(text, sizeof text, "[%s]", rows);
    yyjson_doc *doc = json_parse(text);
    myr_err err = {0};
    EXPECT_RC(json_run(w, doc, &err), OK, &err);
    yyjson_doc_free(doc);
    return w->out.size > 0 ? w->out.data : "";
}

static void expect_bad(json_world *w, const char *rows, const char *part)
{
    char text[4000];
    snprintf(text, sizeof text, "[%s]", rows);
    yyjson_doc *doc = json_parse(text);
    myr_err err = {0};
    EXPECT_RC(json_run(w, doc, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, part);
    EXPECT_INT(w->out.size, 0);
    yyjson_doc_free(doc);
}

TEST(json_answers_in_the_order_given)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    EXPECT_STR(
        json_answers(&w, "{\"store\":2,\"brand\":\"a b\",\"price\":1,\"deal\":2},"
                         "{\"brand\":\"q\\\"q\",\"price\":0.1,\"deal\":0,\"store\":77},"
                         "{\"store\":2,\"brand\":\"none\",\"price\":1,\"deal\":1}"),
        "{\"prediction\":7,\"model\":\"oj@store=2,brand=a "
        "b\",\"model_version\":1,\"level\":\"segment\",\"status\":\"ok\"},"
        "{\"prediction\":6.1,\"model\":\"oj@brand=q\\\"q\",\"model_version\":1,\"level\":\"parent\",\"status\":\"ok\"},"
        "{\"prediction\":null,\"model\":null,\"model_version\":null,\"level\":\"none\",\"status\":\"no_model\"}");
    EXPECT_STR(json_answers(&w, ""), "");
}

TEST(json_keys_have_one_meaning)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    static const char *const same[] = {"2", "2.0", "\"2\"", "20e-1"};
    for (size_t i = 0; i < MYR_COUNT_OF(same); i++) {
        for (size_t k = 0; k < MYR_COUNT_OF(same); k++) { /* as INT64 and as BYTES */
            char row[200];
            snprintf(row, sizeof row, "{\"store\":%s,\"brand\":%s,\"price\":0,\"deal\":0}", same[i], same[k]);
            EXPECT_HAS(json_answers(&w, row), "\"model\":\"oj@store=2,brand=2\"");
        }
    }
    EXPECT_HAS(json_answers(&w, "{\"store\":2,\"brand\":2.5,\"price\":0,\"deal\":0}"), "oj@store=2,brand=2.5");
    EXPECT_HAS(json_answers(&w, "{\"store\":9007199254740993,\"brand\":\"x\",\"price\":0,\"deal\":0}"),
               "\"prediction\":93");
    EXPECT_HAS(json_answers(&w, "{\"store\":9007199254740992,\"brand\":\"x\",\"price\":0,\"deal\":0}"), "no_model");
    static const char *const bad[] = {"2.5", "\"x\"", "\"\"", "18446744073709551615", "1e300", "\"2,brand=2\""};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) { /* a status of its row, and of no other */
        char rows[300];
        snprintf(rows, sizeof rows,
                 "{\"store\":%s,\"brand\":2,\"price\":0,\"deal\":0},{\"store\":2,\"brand\":2,\"price\":0,\"deal\":0}",
                 bad[i]);
        EXPECT_HAS(json_answers(&w, rows), "\"status\":\"bad_key\"},{\"prediction\":20");
    }
    static const char *const absent[] = {"{\"store\":null,\"brand\":\"q\\\"q\"}", "{\"brand\":\"q\\\"q\"}"};
    for (size_t i = 0; i < MYR_COUNT_OF(absent); i++)
        EXPECT_HAS(json_answers(&w, absent[i]), "\"level\":\"parent\"");
    expect_bad(&w, "{\"store\":2},{\"store\":true}", "row 1: 'store' is a true");
    expect_bad(&w, "{\"brand\":[2]}", "row 0: 'brand' is an array");
    expect_bad(&w, "{\"brand\":{}}", "row 0: 'brand' is an object");
}

TEST(json_features_are_numbers)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    struct {
        const char *price;
        const char *prediction;
    } good[] = {{"3", "23"},
                {"-3", "17"},
                {"0.25", "20.25"},
                {"\"4\"", "24"},
                {"\"1e2\"", "120"},
                {"true", "21"},
                {"false", "20"},
                {"null", "null"},
                {"\"nan\"", "null"},
                {"\"inf\"", "null"},
                {"18446744073709551615", "1.8446744073709552e+19"}};
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++) {
        char row[200], wanted[100];
        snprintf(row, sizeof row, "{\"store\":2,\"brand\":2,\"deal\":0,\"price\":%s}", good[i].price);
        snprintf(wanted, sizeof wanted, "{\"prediction\":%s,", good[i].prediction);
        EXPECT_HAS(json_answers(&w, row), wanted);
        EXPECT_HAS(w.out.data, "\"status\":\"ok\"");
    }
    EXPECT_HAS(json_answers(&w, "{\"store\":2,\"brand\":2,\"deal\":0}"),
               "\"prediction\":null"); /* missing: NaN into a linear model */
    EXPECT_HAS(json_answers(&w, "{\"brand\":\"big\",\"deal\":0,\"price\":1.7e308}"),
               "\"prediction\":null"); /* infinite */
    expect_bad(&w, "{\"price\":1},{\"price\":\"dear\"}", "row 1: 'price' is \"dear\", not a number");
    expect_bad(&w, "{\"price\":\"\"}", "row 0");
    expect_bad(&w, "{\"price\":\" 1\"}", "row 0");
    expect_bad(&w, "{\"price\":[1]}", "row 0: 'price' is an array");
    expect_bad(&w, "{\"price\":{\"a\":1}}", "row 0: 'price' is an object");
}

TEST(json_fields_must_be_known_and_once)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    expect_bad(&w, "{\"price\":1,\"prise\":2}", "did you mean 'price'");
    expect_bad(&w, "{\"bramd\":1}", "did you mean 'brand'");
    expect_bad(&w, "{},{},{\"something else\":1}", "row 2: fleet 'oj' has no field 'something else'");
    expect_bad(&w, "{\"\":1}", "no field ''");
    expect_bad(&w, "{\"price\":1,\"deal\":0,\"price\":1}", "'price' is given twice");
    expect_bad(&w, "{\"store\":1},{\"store\":null,\"store\":2}", "row 1: 'store' is given twice");
    expect_bad(&w, "3", "row 0 is not a JSON object");
    expect_bad(&w, "{},[]", "row 1 is not a JSON object");
    EXPECT_HAS(json_answers(&w, "{\"store\":2,\"brand\":2,\"price\":1,\"deal\":0,\"sales\":[\"anything\"]}"),
               "21");                                                        /* the target */
    EXPECT_HAS(json_answers(&w, "{\"price\":1},{\"price\":1}"), "no_model"); /* once per row is once */
    static char text[20000];
    int size = snprintf(text, sizeof text, "[{\"");
    memset(text + size, 'x', 15000);
    snprintf(text + size + 15000, 100, "\":1}]");
    yyjson_doc *doc = json_parse(text);
    myr_err err = {0};
    EXPECT_RC(json_run(&w, doc, &err), BAD_INPUT, &err);
    yyjson_doc_free(doc);
}

TEST(json_fixed_model_ignores_keys)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    myr_err err = {0};
    yyjson_doc *doc = json_parse("{\"price\":1,\"deal\":4}");
    yyjson_val *object = yyjson_doc_get_root(doc);
    myr_score_rows rows;
    EXPECT_RC(myr_fleet_decode_rows(w.fleet, &object, 1, false, w.arena, &rows, &err), OK, &err);
    EXPECT_RC(myr_fleet_find_segment(w.fleet, myr_str_of("store=2,brand=2"), &rows.fixed_model, &err), OK, &err);
    EXPECT_RC(myr_fleet_score_json(w.fleet, w.scratch, &rows, w.arena, &w.out, &err), OK, &err);
    EXPECT_HAS(w.out.data, "{\"prediction\":23,\"model\":\"oj@store=2,brand=2\"");
    yyjson_doc_free(doc);
}

TEST(json_several_outputs_are_an_array)
{
    MYR_AUTO(json_world) w = {0};
    myr_err err = {0};
    size_t at = 0;
    MYR_AUTO(fixture_items) list = {.count = 1};
    list.items[0] = (myr_fleet_item){.name = "two",
                                     .data = fixture_two_outputs,
                                     .size_bytes = strlen(fixture_two_outputs),
                                     .segment = "",
                                     .baseline = (double)NAN};
    w.workspace = fixture_workspace();
    EXPECT_RC(fixture_import(w.workspace, "two", &list, &at, &err), OK, &err);
    fixture_release(w.workspace, "two");
    EXPECT_RC(myr_fleet_open(w.workspace, "two", 0, &w.fleet, &err), OK, &err);
    EXPECT_INT(w.fleet->info->output_count, 2);
    w.scratch = myr_score_scratch_new();
    w.arena = myr_arena_new(0);
    EXPECT_STR(
        json_answers(&w, "{\"price\":1,\"deal\":4}"),
        "{\"prediction\":[0.5,0.5],\"model\":\"two@\",\"model_version\":1,\"level\":\"global\",\"status\":\"ok\"}");
}

TEST(json_limits)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    yyjson_doc *doc = json_parse("{}");
    yyjson_val **objects = myr_arena_calloc(arena, MYR_JSON_ROWS_MAX + 1, sizeof *objects);
    for (size_t i = 0; i <= MYR_JSON_ROWS_MAX; i++)
        objects[i] = yyjson_doc_get_root(doc);
    myr_score_rows rows = {.row_count = -7};
    EXPECT_RC(myr_fleet_decode_rows(w.fleet, objects, MYR_JSON_ROWS_MAX + 1, false, w.arena, &rows, &err), TOO_LARGE,
              &err);
    EXPECT_INT(rows.row_count, -7);
    EXPECT_RC(myr_fleet_decode_rows(w.fleet, objects, MYR_JSON_ROWS_MAX, false, w.arena, &rows, &err), OK, &err);
    EXPECT_INT(rows.row_count, MYR_JSON_ROWS_MAX);
    MYR_AUTO(myr_arena_ptr) small = myr_arena_new(1 << 20);
    EXPECT_RC(myr_fleet_decode_rows(w.fleet, objects, MYR_JSON_ROWS_MAX, false, small, &rows, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "send fewer");
    yyjson_doc_free(doc);
}

/* The goal of a warm request: no heap of ours. */
TEST(json_warm_call_allocates_nothing)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 1 << 20);
    yyjson_doc *doc =
        json_parse("[{\"store\":2,\"brand\":2,\"price\":0.1,\"deal\":3},{\"store\":2.0,\"brand\":2.5,\"price\":\"7\"},"
                   "{\"brand\":\"q\\\"q\",\"price\":1e-300},{\"store\":\"x\",\"brand\":\"none\"},{\"store\":true}]");
    yyjson_doc *good =
        json_parse("[{\"store\":2,\"brand\":2,\"price\":0.1,\"deal\":3},{\"store\":2.0,\"brand\":2.5,\"price\":\"7\"},"
                   "{\"brand\":\"q\\\"q\",\"price\":1e-300},{\"store\":\"x\",\"brand\":\"none\"}]");
    myr_err err = {0};
    EXPECT_RC(json_run(&w, good, &err), OK, &err);
    EXPECT_RC(json_run(&w, doc, &err), BAD_INPUT, &err);
    int64_t before = myr_mem_alloc_count();
    for (int i = 0; i < 100; i++) {
        EXPECT_RC(json_run(&w, good, &err), OK, &err);
        EXPECT_RC(json_run(&w, doc, &err), BAD_INPUT, &err);
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
    yyjson_doc_free(doc);
    yyjson_doc_free(good);
}

TEST(json_survives_each_failed_allocation)
{
    MYR_AUTO(json_world) w = {0};
    json_world_make(&w, 0);
    yyjson_doc *doc =
        json_parse("[{\"store\":2,\"brand\":2.5,\"price\":0.1,\"deal\":3},{\"brand\":\"q\\\"q\",\"price\":1}]");
    FAIL_EACH_ALLOC (nth) {
        json_world cold = {
            .workspace = w.workspace, .fleet = w.fleet, .scratch = myr_score_scratch_new(), .arena = myr_arena_new(0)};
        myr_rc rc = MYR_NO_MEMORY;
        if (cold.scratch != NULL && cold.arena != NULL) rc = json_run(&cold, doc, NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && cold.out.size == 0));
        cold.workspace = NULL;
        cold.fleet = NULL;
        json_world_drop(&cold);
    }
    yyjson_doc_free(doc);
}

RUN()
