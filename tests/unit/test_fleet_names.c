/* Names of categories in a fleet: rows as JSON, and what a release keeps of them. */
#include "fleet_fixture.h"
#include "names_fixture.h"

#include <yyjson.h>

typedef struct world {
    myr_workspace *workspace;
    myr_fleet *fleet;
    myr_score_scratch *scratch;
    myr_arena *arena;
    myr_buf out;
} world;
static void world_drop(world *w)
{
    myr_buf_fini(&w->out);
    myr_arena_free(w->arena);
    myr_score_scratch_free(w->scratch);
    myr_fleet_close(w->fleet);
    myr_workspace_close(w->workspace);
}

static void world_make(world *w)
{
    myr_err err = {0};
    w->workspace = fixture_workspace();
    names_fleet(w->workspace);
    EXPECT_RC(myr_fleet_open(w->workspace, "paint", 0, &w->fleet, &err), OK, &err);
    w->scratch = myr_score_scratch_new();
    w->arena = myr_arena_new(0);
}

static myr_rc run(world *w, yyjson_doc *doc, myr_err *err)
{
    yyjson_val *object = yyjson_doc_get_root(doc);
    myr_score_rows rows;
    myr_arena_reset(w->arena);
    myr_buf_clear(&w->out);
    MYR_TRY(myr_fleet_decode_rows(w->fleet, &object, 1, false, w->arena, &rows, err));
    return myr_fleet_score_json(w->fleet, w->scratch, &rows, w->arena, &w->out, err);
}

/* The prediction and the status of one row: `101 ok`, `null bad_input`. */
static const char *answer(world *w, const char *row)
{
    static char text[64];
    myr_err err = {0};
    yyjson_doc *doc = yyjson_read(row, strlen(row), 0);
    EXPECT(doc != NULL);
    EXPECT_RC(run(w, doc, &err), OK, &err);
    yyjson_doc_free(doc);
    yyjson_doc *given = yyjson_read(w->out.data, w->out.size, 0);
    yyjson_val *prediction = yyjson_obj_get(yyjson_doc_get_root(given), "prediction");
    const char *status = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(given), "status"));
    if (yyjson_is_null(prediction)) {
        (void)snprintf(text, sizeof text, "null %s", status);
    } else {
        (void)snprintf(text, sizeof text, "%g %s", yyjson_get_num(prediction), status);
    }
    yyjson_doc_free(given);
    return text;
}

TEST(json_texts_are_read_by_each_model)
{
    static const struct {
        const char *row, *wanted;
    } rows[] = {
        {"{\"store\":1,\"colour\":\"red\"}", "100 ok"},
        {"{\"store\":1,\"colour\":\"green\"}", "101 ok"},
        {"{\"store\":1,\"colour\":\"blue\"}", "109 ok"},
        {"{\"store\":1,\"colour\":null}", "109 ok"},
        {"{\"store\":1}", "109 ok"},
        {"{\"store\":1,\"colour\":1}", "109 ok"}, /* in rows a number is a name, not a code */
        {"{\"store\":1,\"colour\":true}", "109 ok"},
        {"{\"store\":2,\"colour\":\"red\"}", "202 ok"},
        {"{\"store\":2,\"colour\":\"blue\"}", "200 ok"},
        {"{\"store\":2,\"colour\":\"bl\\u0075e\"}", "200 ok"},
        {"{\"store\":3,\"colour\":5}", "300 ok"},
        {"{\"store\":3,\"colour\":5.0}", "300 ok"},
        {"{\"store\":3,\"colour\":\"5\"}", "300 ok"},
        {"{\"store\":3,\"colour\":1}", "301 ok"},
        {"{\"store\":3,\"colour\":0.5}", "302 ok"},
        {"{\"store\":3,\"colour\":5e-1}", "302 ok"},
        {"{\"store\":3,\"colour\":7}", "309 ok"},
        {"{\"store\":9,\"price\":1,\"colour\":2}", "21 ok"}, /* the global model, which takes a number */
        {"{\"store\":9,\"price\":1,\"colour\":\"2.5\"}", "26 ok"},
        {"{\"store\":9,\"price\":1,\"colour\":true}", "11 ok"},
        {"{\"store\":9,\"price\":1,\"colour\":\"red\"}", "null bad_input"},
        {"{\"store\":9,\"price\":1,\"colour\":null}", "null ok"},
    };
    MYR_AUTO(world) w = {0};
    world_make(&w);
    for (size_t k = 0; k < MYR_COUNT_OF(rows); k++) {
        const char *got = answer(&w, rows[k].row);
        if (strcmp(got, rows[k].wanted) != 0) fail_msg("%s: %s, not %s", rows[k].row, got, rows[k].wanted);
    }
}

TEST(json_refuses_what_is_neither_text_nor_number)
{
    static const struct {
        const char *row, *part;
    } rows[] = {
        {"{\"store\":1,\"colour\":[\"red\"]}", "row 0: 'colour' is an array, not a text or a number"},
        {"{\"store\":1,\"colour\":{}}", "row 0: 'colour' is an object, not a text or a number"},
        {"{\"store\":1,\"colour\":\"red\",\"colour\":\"red\"}", "row 0: 'colour' is given twice"},
        {"{\"store\":1,\"price\":\"red\"}", "row 0: 'price' is \"red\", not a number"},
    };
    MYR_AUTO(world) w = {0};
    world_make(&w);
    for (size_t k = 0; k < MYR_COUNT_OF(rows); k++) {
        myr_err err = {0};
        yyjson_doc *doc = yyjson_read(rows[k].row, strlen(rows[k].row), 0);
        EXPECT_RC(run(&w, doc, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, rows[k].part);
        yyjson_doc_free(doc);
    }
}

TEST(json_decoding_is_warm_without_heap)
{
    static const char row[] = "{\"store\":3,\"colour\":5,\"price\":\"1\"}";
    MYR_AUTO(world) w = {0};
    world_make(&w);
    myr_err err = {0};
    yyjson_doc *doc = yyjson_read(row, strlen(row), 0);
    EXPECT_RC(run(&w, doc, &err), OK, &err);
    EXPECT_RC(run(&w, doc, &err), OK, &err);
    int64_t before = myr_mem_alloc_count();
    EXPECT_RC(run(&w, doc, &err), OK, &err);
    EXPECT_INT(myr_mem_alloc_count(), before);
    yyjson_doc_free(doc);
}

/* A release that keeps models by reference knows their names too; one without them forgets. */
TEST(releases_follow_the_names)
{
    MYR_AUTO(world) w = {0};
    world_make(&w);
    EXPECT(!myr_pack_takes_text(w.fleet->info, 0) && myr_pack_takes_text(w.fleet->info, 1));
    static const int stores[] = {1, 2, 3};
    for (size_t k = 0; k < MYR_COUNT_OF(stores); k++) { /* one after the other gets a model without names */
        static const double weights[] = {1, 10};
        char segment[16];
        MYR_AUTO(fixture_items) list = {.count = 1};
        myr_err err = {0};
        (void)snprintf(segment, sizeof segment, "store=%d", stores[k]);
        myr_linear_format(names_features, 2, stores[k], weights, NULL, &list.texts[0]);
        list.items[0] = (myr_fleet_item){.name = "made",
                                         .data = list.texts[0].data,
                                         .size_bytes = list.texts[0].size,
                                         .segment = segment,
                                         .baseline = (double)NAN};
        EXPECT_RC(fixture_import(w.workspace, "paint", &list, NULL, &err), OK, &err);
        fixture_release(w.workspace, "paint");
        myr_fleet_close(w.fleet);
        w.fleet = NULL;
        EXPECT_RC(myr_fleet_open(w.workspace, "paint", 0, &w.fleet, &err), OK, &err);
        EXPECT(myr_pack_takes_text(w.fleet->info, 1) == (k + 1 < MYR_COUNT_OF(stores)));
    }
    EXPECT_STR(answer(&w, "{\"store\":1,\"price\":1,\"colour\":1}"), "12 ok");
}

RUN()
