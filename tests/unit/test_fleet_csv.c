/* Tests of fleet: rows as CSV; every cell as the same cell in JSON. */
#include "fleet_fixture.h"

#include <yyjson.h>

typedef struct csv_world {
    myr_workspace *workspace;
    myr_fleet *fleet;
    myr_arena *arena;
    myr_score_rows rows;
} csv_world;

static void csv_start(csv_world *w)
{
    myr_err err = {0};
    w->workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    fixture_add(&list, "store=2,brand=x", 5);
    myr_fleet_def def = {.name = "oj", .partition_columns = fixture_columns, .partition_count = 2, .target = "sales"};
    size_t item = 0;
    EXPECT_RC(myr_fleet_import(w->workspace, &def, list.items, list.count, NULL, NULL, &item, &err), OK, &err);
    fixture_release(w->workspace, "oj");
    EXPECT_RC(myr_fleet_open(w->workspace, "oj", 0, &w->fleet, &err), OK, &err);
    w->arena = myr_arena_new(1 << 20);
}

static void csv_stop(csv_world *w)
{
    myr_arena_free(w->arena);
    myr_fleet_close(w->fleet);
    myr_workspace_close(w->workspace);
}

static myr_rc csv_read_text(csv_world *w, const char *text, size_t size, size_t rows_max, myr_err *err)
{
    /* a copy of its own size: ASan sees a read past it */
    char *copy = myr_alloc(size > 0 ? size : 1);
    memcpy(copy, text, size);
    myr_arena_reset(w->arena);
    myr_rc rc = myr_fleet_decode_csv(w->fleet, myr_str_make(copy, size), rows_max, false, w->arena, &w->rows, err);
    if (rc == MYR_OK && w->rows.row_count > 0) { /* texts are borrowed: look at them before the copy goes */
        for (int64_t i = 0; i < w->rows.row_count; i++) {
            if (!myr_col_is_null(&w->rows.keys[1], i)) EXPECT(myr_utf8_is_valid(w->rows.keys[1].data.text[i]));
        }
    }
    myr_free(copy);
    return rc;
}

/* One row's text key and its first feature. */
static void csv_expect(csv_world *w, const char *text, const char *key, double feature)
{
    myr_err err = {0};
    myr_arena_reset(w->arena);
    myr_rc rc = myr_fleet_decode_csv(w->fleet, myr_str_of(text), 9, false, w->arena, &w->rows, &err);
    EXPECT_RC(rc, OK, &err);
    EXPECT_INT(w->rows.row_count, 1);
    const myr_col *brand = &w->rows.keys[1];
    EXPECT_INT(myr_col_is_null(brand, 0), key == NULL);
    if (key != NULL) EXPECT(myr_str_is(brand->data.text[0], key));
    double got = w->rows.features[0].data.f64[0];
    EXPECT(isnan(feature) ? isnan(got) : memcmp(&got, &feature, sizeof got) == 0);
}

TEST(cells_of_every_kind)
{
    csv_world w = {0};
    csv_start(&w);
    const char *name = w.fleet->info->features[0];
    static const struct {
        const char *key, *cell, *wanted_key;
        double wanted;
    } cases[] = {
        {"x", "1.5", "x", 1.5},
        {"", "", NULL, (double)NAN},
        {"\"\"", "\"\"", "", (double)NAN},
        {"\"a,b\"", "\"2\"", "a,b", 2},
        {"\"a\"\"b\"\"\"", "-0.0", "a\"b\"", -0.0},
        {"\"two\nlines\r\nthree\"", "5e-324", "two\nlines\r\nthree", 5e-324},
        {" x ", "true", " x ", 1},
        {"a\rb", "True", "a\rb", 1},
        {"ü", "False", "ü", 0},
        {"x", "false", "x", 0},
        {"x", "nan", "x", (double)NAN},
        {"x", "inf", "x", (double)INFINITY},
        {"x", "1e999", "x", (double)INFINITY},
    };
    static const char *const ends[] = {"", "\n", "\r\n", "\n\n", "\r\n\r\n\n"};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        for (size_t e = 0; e < MYR_COUNT_OF(ends); e++) {
            MYR_AUTO(myr_buf) text = {0};
            myr_buf_printf(&text, "%sbrand,%s%s%s,%s%s", e % 2 == 0 ? "\xef\xbb\xbf" : "", name, e > 1 ? "\r\n" : "\n",
                           cases[i].key, cases[i].cell, ends[e]);
            csv_expect(&w, text.data, cases[i].wanted_key, cases[i].wanted);
        }
    }
    csv_stop(&w);
}

TEST(cells_that_are_none)
{
    csv_world w = {0};
    csv_start(&w);
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "empty"},
        {"\n\r\n", "empty"},
        {"brand\n\"x", "line 2: a quoted cell begins and has no end"},
        {"brand\n\nx\n\"x\n\n\n", "line 4: a quoted cell begins"},
        {"brand\n\"x\"y\n", "line 2: something follows"},
        {"brand\n\"x\n\n\"y\n", "line 4: something follows"},
        {"brand\nx\"y\n", "line 2: a quote stands"},
        {"brand,store\nx\n", "line 2: 1 cells, the first line names 2"},
        {"brand\nx,1\n", "line 2: 2 cells, the first line names 1"},
        {"brand,brand\nx,y\n", "line 2: 'brand' is given twice"},
        {"brnd\nx\n", "column 1: fleet 'oj' has no field 'brnd': did you mean 'brand'?"},
        {"brand,\nx,\n", "column 2: fleet 'oj' has no field ''"},
        {"\"brand\nx\n", "line 1: a quoted cell"},
        {"brand\n\xc3\n", "not UTF-8"},
        {"brand\na\nb\nc\nd\n", "line 5: more than 3 rows"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        myr_err err = {0};
        EXPECT(csv_read_text(&w, cases[i].text, strlen(cases[i].text), 3, &err) != MYR_OK);
        EXPECT_HAS(err.message, cases[i].message);
    }
    myr_err err = {0};
    EXPECT_RC(csv_read_text(&w, "brand\na\nb\nc\n", 12, 3, &err), OK, &err);
    EXPECT_INT(w.rows.row_count, 3);
    EXPECT_RC(csv_read_text(&w, "sales\n1\n", 8, 3, &err), OK, &err); /* the target is known, and no input */
    csv_stop(&w);
}

TEST(every_cut_is_an_answer)
{
    csv_world w = {0};
    csv_start(&w);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_printf(&text, "\xef\xbb\xbfstore,\"brand\",%s\r\n2,\"a\"\"b\",1\n\n3,\xc3\xbc,\n",
                   w.fleet->info->features[0]);
    for (size_t size = 0; size <= text.size; size++) {
        myr_err err = {0};
        myr_rc rc = csv_read_text(&w, text.data, size, 9, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_BAD_INPUT && err.message[0] != '\0'));
    }
    csv_stop(&w);
}

TEST(every_failed_allocation_is_an_answer)
{
    csv_world w = {0};
    csv_start(&w);
    FAIL_EACH_ALLOC (nth) {
        myr_arena *arena = myr_arena_new(1 << 20);
        myr_score_rows rows;
        myr_rc rc = arena == NULL ? MYR_NO_MEMORY
                                  : myr_fleet_decode_csv(w.fleet, myr_str_of("store,brand\n1,\"a\"\"b\"\n"), 9, false,
                                                         arena, &rows, NULL);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        myr_arena_free(arena);
    }
    csv_stop(&w);
}

RUN()
