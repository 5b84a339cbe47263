/* Names of categories over REST: rows, tensors, metadata. */
#include "names_fixture.h"
#include "serve_fixture.h"

#define PAINT "/v2/models/paint/infer"
#define ONE   "/v2/models/paint@store=1/infer"
#define SCORE "/v1/fleets/paint/score"
#define IN(name, shape, type, data)                                                                                    \
    "{\"name\":\"" name "\",\"shape\":" shape ",\"datatype\":\"" type "\",\"data\":" data "}"
#define REQ(inputs) "{\"inputs\":[" inputs "]}"
#define PRICE3      IN("price", "[3]", "FP64", "[0,0,0]")
#define PRICE1      IN("price", "[1]", "FP64", "[1]")

static void paint_start(world *w)
{
    world_make(w);
    {
        myr_err err = {0};
        MYR_AUTO(myr_workspace_ptr) workspace = NULL;
        EXPECT_RC(myr_workspace_open(w->dir, &workspace, &err), OK, &err);
        names_fleet(workspace);
    }
    world_serve(w);
}

TEST(tensors_of_texts_are_names_and_floats_are_codes)
{
    static const exchange cases[] = {
        {"POST", PAINT,
         REQ(IN("store", "[3]", "INT64", "[1,2,3]") "," PRICE3
                                                    "," IN("colour", "[3]", "BYTES", "[\"green\",\"red\",\"5\"]")),
         200, "[101,202,300]"},
        {"POST", ONE, REQ(PRICE3 "," IN("colour", "[3]", "BYTES", "[\"red\",\"zz\",null]")), 200, "[100,109,109]"},
        {"POST", ONE, REQ(PRICE3 "," IN("colour", "[3,1]", "BYTES", "[[\"red\"],[\"green\"],[\"\"]]")), 200,
         "[100,101,109]"},
        {"POST", ONE, REQ(PRICE3 "," IN("colour", "[3]", "FP64", "[0,1,null]")), 200, "[100,101,109]"},
        {"POST", ONE, REQ(PRICE3 "," IN("colour", "[3]", "FP32", "[0,1,2]")), 200, "[100,101,102]"},
        {"POST", ONE, REQ(IN("features", "[2,2]", "FP64", "[0,0,0,1]")), 200, "[100,101]"},
        {"POST", PAINT,
         REQ(IN("store", "[3]", "INT64", "[3,3,1]") "," PRICE3 "," IN("colour", "[3]", "INT64", "[5,1,0]")), 200,
         "[300,301,109]"}, /* whole numbers are names too */
        {"POST", PAINT,
         REQ(IN("store", "[3]", "INT64", "[3,3,null]") "," PRICE3
                                                       "," IN("colour", "[3]", "UINT64", "[18446744073709551615,1,3]")),
         200, "[309,301,30]"},
        {"POST", PAINT, REQ(IN("store", "[1]", "INT64", "[9]") "," PRICE1 "," IN("colour", "[1]", "BOOL", "[true]")),
         200, "[11]"},
        {"POST", PAINT, REQ(IN("store", "[1]", "INT64", "[9]") "," PRICE1 "," IN("colour", "[1]", "BYTES", "[\"2\"]")),
         200, "[21]"},
        {"POST", PAINT,
         REQ(IN("store", "[1]", "INT64", "[9]") "," PRICE1 "," IN("colour", "[1]", "BYTES", "[\"red\"]")), 400,
         "row 0"},
        {"POST", ONE, REQ(PRICE1 "," IN("colour", "[1]", "BYTES", "[7]")), 400, "row 0: 7 is not a value of BYTES"},
        {"POST", ONE, REQ(PRICE1 "," IN("colour", "[1]", "INT8", "[1.5]")), 400, "1.5 is not a value of INT8"},
        {"POST", ONE, REQ(IN("price", "[1]", "BYTES", "[\"1\"]") "," IN("colour", "[1]", "BYTES", "[\"red\"]")), 400,
         "input 'price' is a feature: BYTES is not a number"},
        {"POST", ONE,
         REQ(PRICE1 "," IN("colour", "[1]", "BYTES", "[\"red\"]") "," IN("colour", "[1]", "BYTES", "[\"red\"]")), 400,
         "input 'colour' is given twice"},
        {"POST", ONE, REQ(PRICE1), 400, "input 'colour' is missing"},
    };
    world w;
    paint_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(rows_and_metadata)
{
    static const exchange cases[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":1,\"price\":0,\"colour\":\"green\"}]}", 200, "\"prediction\":101,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":3,\"price\":0,\"colour\":5.0}]}", 200, "\"prediction\":300,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":9,\"price\":0,\"colour\":\"red\"}]}", 200,
         "\"level\":\"global\",\"status\":\"bad_input\""},
        {"GET", "/v2/models/paint", NULL, 200,
         "\"inputs\":[{\"name\":\"store\",\"datatype\":\"INT64\",\"shape\":[-1]},"
         "{\"name\":\"price\",\"datatype\":\"FP64\",\"shape\":[-1]},"
         "{\"name\":\"colour\",\"datatype\":\"BYTES\",\"shape\":[-1]}]"},
        {"GET", "/v2/models/paint@store=1", NULL, 200, "{\"name\":\"colour\",\"datatype\":\"BYTES\""},
        {"GET", "/v1/fleets/paint", NULL, 200, "{\"name\":\"colour\",\"datatype\":\"BYTES\""},
    };
    world w;
    paint_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

RUN()
