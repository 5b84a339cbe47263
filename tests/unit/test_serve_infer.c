/* POST …/infer and …/score: what is accepted, what is refused and how it is said, and that all ways give the same bits.
 */
#include <math.h>

#include <yyjson.h>

#include "import/import.h"
#include "serve_fixture.h"

#define OJ   "/v2/models/oj/infer"
#define ONE  "/v2/models/oj@store=2,brand=1/infer"
#define CITY "/v2/models/city/infer"
#define IN(name, shape, type, data)                                                                                    \
    "{\"name\":\"" name "\",\"shape\":" shape ",\"datatype\":\"" type "\",\"data\":" data "}"
#define REQ(inputs) "{\"inputs\":[" inputs "]}"
#define STORE       IN("store", "[1]", "INT64", "[2]") ","
#define BRAND       IN("brand", "[1]", "INT64", "[1]") ","
#define PRICE       IN("price", "[1]", "FP64", "[0.5]") ","
#define DEAL        IN("deal", "[1]", "FP64", "[1]")
#define KEYS        STORE BRAND
#define FEATS       PRICE DEAL

TEST(what_is_accepted)
{
    static const exchange cases[] = {
        {"POST", OJ, REQ(KEYS FEATS), 200,
         "{\"model_name\":\"oj\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"prediction\",\"datatype\":\"FP64\","
         "\"shape\":[1],\"data\":[11]}]}"},
        {"POST", ONE, REQ(FEATS), 200, "{\"model_name\":\"oj@store=2,brand=1\",\"model_version\":\"1\",\"outputs\""},
        {"POST", ONE, "{\"id\":\"a\\\"\\u00e4\\u0000\",\"inputs\":[" FEATS "]}", 200,
         "\"id\":\"a\\\"\xc3\xa4\\u0000\","},
        {"POST", ONE, "{\"parameters\":{\"binary_data_output\":false,\"x\":{\"y\":[]}},\"inputs\":[" FEATS "]}", 200,
         "[11]"},
        {"POST", ONE, "{\"outputs\":[],\"inputs\":[" FEATS "]}", 200, "[11]"},
        {"POST", ONE,
         "{\"outputs\":[{\"name\":\"prediction\",\"parameters\":{\"binary_data\":true}}],\"inputs\":[" FEATS "]}", 200,
         "\"shape\":[1],\"parameters\":{\"binary_data_size\":8}}]}"},
        /* other outputs, in the order asked; without 'prediction' there is none */
        {"POST", ONE, "{\"outputs\":[{\"name\":\"contribution\"},{\"name\":\"margin\"}],\"inputs\":[" FEATS "]}", 200,
         "\"outputs\":[{\"name\":\"contribution\",\"datatype\":\"FP64\",\"shape\":[1,3],\"data\":[0.5,0.5,10]},"
         "{\"name\":\"margin\",\"datatype\":\"FP64\",\"shape\":[1],\"data\":[11]}]}"},
        {"POST", OJ, "{\"outputs\":[{\"name\":\"margin\"}],\"inputs\":[" KEYS FEATS "]}", 200,
         "\"name\":\"margin\",\"datatype\":\"FP64\",\"shape\":[1],\"data\":[11]"},
        {"POST", ONE, " \r\n\t" REQ(FEATS) " \n", 200, "[11]"},
        {"POST", ONE, REQ(DEAL "," IN("price", "[1]", "FP64", "[0.5]")), 200, "[11]"},
        /* shapes: [n], [n,1] flat and nested, no rows */
        {"POST", ONE, REQ(IN("price", "[2,1]", "FP64", "[[1],[2]]") "," IN("deal", "[2,1]", "FP64", "[0,0]")), 200,
         "[11,12]"},
        {"POST", ONE, REQ(IN("price", "[0]", "FP64", "[]") "," IN("deal", "[0]", "FP64", "[]")), 200,
         "\"shape\":[0],\"data\":[]"},
        {"POST", OJ,
         REQ(IN("store", "[0]", "INT64", "[]") "," IN("brand", "[0]", "INT64", "[]") "," IN(
             "price", "[0,1]", "FP64", "[]") "," IN("deal", "[0]", "FP64", "[]")),
         200, "\"shape\":[0],\"data\":[]"},
        /* all features at once */
        {"POST", ONE, REQ(IN("features", "[2,2]", "FP64", "[1,2,3,4]")), 200, "[12,15]"},
        {"POST", ONE, REQ(IN("features", "[2,2]", "FP32", "[[1,2],[3,4]]")), 200, "[12,15]"},
        {"POST", ONE, REQ(IN("features", "[0,2]", "FP64", "[]")), 200, "\"shape\":[0]"},
        {"POST", OJ, REQ(KEYS IN("features", "[1,2]", "FP64", "[0.5,1]")), 200, "[11]"},
        /* datatypes of features */
        {"POST", ONE, REQ(IN("price", "[1]", "BOOL", "[true]") "," IN("deal", "[1]", "INT8", "[-128]")), 200, "[-53]"},
        {"POST", ONE, REQ(IN("price", "[1]", "UINT8", "[255]") "," IN("deal", "[1]", "UINT16", "[65535]")), 200,
         "[33032.5]"},
        {"POST", ONE, REQ(IN("price", "[1]", "INT64", "[-9223372036854775808]") "," DEAL), 200,
         "[-9.223372036854776e+18]"},
        {"POST", ONE, REQ(IN("price", "[1]", "UINT64", "[18446744073709551615]") "," DEAL), 200,
         "[1.8446744073709552e+19]"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP32", "[0.1]") "," IN("deal", "[1]", "FP32", "[0]")), 200,
         "[10.100000001490116]"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[1e308]") "," DEAL), 200, "[1e+308]"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[12]") "," DEAL), 200, "[22.5]"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[null]") "," DEAL), 200, "[null]"},
        {"POST", ONE, REQ(IN("price", "[1]", "BOOL", "[null]") "," DEAL), 200, "[null]"},
        /* as KServe's client says it too */
        {"POST", ONE, "{\"model_name\":\"oj\",\"model_version\":null,\"inputs\":[" FEATS "]}", 200, "[11]"},
        /* keys: integers of any type, text of integers, null goes to the parent; all levels in one request */
        {"POST", OJ, REQ(IN("store", "[1]", "UINT8", "[2]") "," IN("brand", "[1]", "BYTES", "[\"1\"]") "," FEATS), 200,
         "[11]"},
        {"POST", OJ, REQ(STORE IN("brand", "[1,1]", "INT64", "[[9007199254740993]]") "," FEATS), 200, "[21]"},
        {"POST", OJ, REQ(STORE IN("brand", "[1]", "INT64", "[9007199254740992]") "," FEATS), 200, "[1001]"},
        {"POST", OJ, REQ(IN("store", "[1]", "INT64", "[null]") "," BRAND FEATS), 200, "[101]"},
        {"POST", OJ, REQ(IN("store", "[1]", "BYTES", "[null]") "," BRAND FEATS), 200, "[101]"},
        {"POST", OJ,
         REQ(IN("store", "[3]", "INT64", "[5,2,5]") "," IN("brand", "[3]", "INT64", "[1,1,7]") "," IN(
             "price", "[3]", "FP64", "[1,2,3]") "," IN("deal", "[3]", "FP64", "[0,0,0]")),
         200, "\"shape\":[3],\"data\":[101,12,1003]"},
        {"POST", CITY, REQ(IN("name", "[2]", "BYTES", "[\"a/b,c\",\"Oslo\"]") "," IN("x", "[2]", "FP64", "[1,2]")), 200,
         "[3,3]"},
        /* the sign of zero and the smallest number there is */
        {"POST", CITY,
         REQ(IN("name", "[3]", "BYTES", "[\"zero\",\"zero\",\"zero\"]") "," IN("x", "[3]", "FP64", "[-0.0,5e-324,0]")),
         200, "[-0.0,5e-324,0]"},
        {"POST", "/v1/fleets/city/score", "{\"rows\":[{\"name\":\"zero\",\"x\":-0.0}]}", 200, "\"prediction\":-0.0,"},
        {"POST", "/v2/models/city@name=a%252Fb%252Cc/infer", REQ(IN("x", "[1]", "FP64", "[5]")), 200, "[7]"},
    };
    world w;
    world_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(what_is_refused)
{
    static const exchange cases[] = {
        {"POST", ONE, "[]", 400, "the request is an array, not an object"},
        {"POST", ONE, "{}", 400, "the request has no array 'inputs'"},
        {"POST", ONE, "{\"inputs\":{}}", 400, "no array 'inputs'"},
        {"POST", ONE, "{\"inputs\":[]}", 400, "input 'price' and 1 more are missing"},
        {"POST", ONE, "{\"input\":[]}", 400, "unknown field 'input'"},
        {"POST", ONE, "{\"id\":7,\"inputs\":[]}", 400, "'id' is an integer, not a string"},
        {"POST", ONE, "{\"parameters\":[],\"inputs\":[]}", 400, "'parameters' is an array"},
        {"POST", ONE, "{\"outputs\":{},\"inputs\":[" FEATS "]}", 400, "'outputs' is an object, not an array"},
        {"POST", ONE, "{\"outputs\":[1],\"inputs\":[" FEATS "]}", 400, "outputs[0] has no name"},
        {"POST", ONE, "{\"outputs\":[{\"name\":\"value\"}],\"inputs\":[" FEATS "]}", 400, "unknown output 'value'"},
        {"POST", ONE, "{\"outputs\":[{\"name\":\"leaf\"},{\"name\":\"leaf\"}],\"inputs\":[" FEATS "]}", 400,
         "output 'leaf' is asked for twice"},
        {"POST", ONE, "{\"outputs\":[{\"name\":\"leaf\"}],\"inputs\":[" FEATS "]}", 501, "linear and has no leaves"},
        {"POST", ONE, "{\"outputs\":[{\"name\":\"x\"}],\"inputs\":[" FEATS "]}", 400, "unknown output 'x'"},
        {"POST", ONE, "{\"outputs\":[{\"name\":\"prediction\"},{\"name\":\"prediction\"}],\"inputs\":[" FEATS "]}", 400,
         "asked for twice"},
        {"POST", ONE, REQ("7"), 400, "inputs[0] is an integer, not an object"},
        {"POST", ONE, REQ("{}"), 400, "inputs[0] has no name"},
        {"POST", ONE, REQ("{\"name\":7}"), 400, "inputs[0] has no name"},
        {"POST", ONE, REQ("{\"name\":\"price\"}"), 400, "input 'price': shape is nothing, not an array"},
        {"POST", ONE, REQ("{\"name\":\"price\",\"shap\":[1]}"), 400, "unknown field 'shap', did you mean 'shape'?"},
        {"POST", ONE, REQ("{\"name\":\"price\",\"shape\":[1]}"), 400, "input 'price': datatype is nothing"},
        {"POST", ONE, REQ("{\"name\":\"price\",\"shape\":[1],\"datatype\":\"FP64\"}"), 400,
         "input 'price' has no data"},
        {"POST", ONE,
         REQ("{\"name\":\"price\",\"shape\":[1],\"datatype\":\"FP64\",\"parameters\":{\"binary_data_size\":8}}"), 400,
         "input 'price' has binary_data_size, but the request has no header Inference-Header-Content-Length"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "1")), 400, "input 'price': data is an integer, not an array"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP65", "[1]")), 400, "unknown datatype 'FP65'"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP16", "[1]")), 400, "FP16 is not supported, send FP32"},
        {"POST", ONE, REQ(IN("price", "[1]", "BYTES", "[\"1\"]")), 400,
         "input 'price' is a feature: BYTES is not a number"},
        /* shapes */
        {"POST", ONE, REQ(IN("price", "[]", "FP64", "[1]")), 400, "shape has 0 dimensions, expected [n] or [n,1]"},
        {"POST", ONE, REQ(IN("price", "[1,1,1]", "FP64", "[1]")), 400, "shape has 3 dimensions"},
        {"POST", ONE, REQ(IN("price", "[-1]", "FP64", "[1]")), 400, "dimension 0 of shape is not an integer from 0"},
        {"POST", ONE, REQ(IN("price", "[1.0]", "FP64", "[1]")), 400, "dimension 0 of shape"},
        {"POST", ONE, REQ(IN("price", "[\"1\"]", "FP64", "[1]")), 400, "dimension 0 of shape"},
        {"POST", ONE, REQ(IN("price", "[1,2]", "FP64", "[1,2]")), 400,
         "input 'price': shape is [1,2], expected [n,1] or [n]"},
        {"POST", ONE, REQ(IN("price", "[2]", "FP64", "[1]")), 400,
         "input 'price': data has 1 values, its shape says 2"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[1,2]")), 400, "data has 2 values, its shape says 1"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[[1]]")), 400, "data is nested, shape has one dimension"},
        {"POST", ONE, REQ(IN("price", "[2,1]", "FP64", "[[1],2]")), 400, "row 1 of data is not an array of 1 values"},
        {"POST", ONE, REQ(IN("price", "[2,1]", "FP64", "[1,[2]]")), 400, "row 1: an array is not a value of FP64"},
        {"POST", ONE, REQ(IN("price", "[1,1]", "FP64", "[[[1]]]")), 400, "row 0: an array is not a value of FP64"},
        {"POST", ONE, REQ(IN("price", "[4294967296,4294967296]", "FP64", "[]")), 400,
         "shape is [4294967296,4294967296]"},
        {"POST", ONE, REQ(IN("features", "[4294967296,4294967296]", "FP64", "[]")), 400, "expected [n,2]"},
        {"POST", ONE, REQ(IN("price", "[18446744073709551615]", "FP64", "[]")), 413,
         "the most in one request is 65536"},
        {"POST", ONE, REQ(IN("price", "[65537]", "FP64", "[]")), 413,
         "input 'price' has 65537 rows, the most in one request is"},
        {"POST", ONE, REQ(IN("price", "[99999999999999999999]", "FP64", "[]")), 400, "dimension 0 of shape"},
        {"POST", ONE, REQ(PRICE IN("deal", "[2]", "FP64", "[1,2]")), 400, "input 'deal' has 2 rows, 'price' has 1"},
        {"POST", ONE, REQ(IN("features", "[1,3]", "FP64", "[1,2,3]")), 400,
         "input 'features': shape is [1,3], expected [n,2]"},
        {"POST", ONE, REQ(IN("features", "[2]", "FP64", "[1,2]")), 400,
         "input 'features': shape is [2], expected [n,2]"},
        {"POST", ONE, REQ(IN("features", "[1,2]", "INT64", "[1,2]")), 400,
         "input 'features' is INT64, expected FP64 or FP32"},
        {"POST", ONE, REQ(IN("features", "[2,2]", "FP64", "[[1,2],[3]]")), 400,
         "row 1 of data is not an array of 2 values"},
        /* names */
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[0.5]")), 400,
         "input 'deal' is missing (null in data is a missing value)"},
        {"POST", OJ, REQ(STORE FEATS), 400, "input 'brand' is missing"},
        {"POST", ONE, REQ(PRICE DEAL "," IN("prise", "[1]", "FP64", "[1]")), 400,
         "unknown input 'prise', did you mean 'price'?"},
        {"POST", ONE, REQ(IN("zzzzzzzz", "[1]", "FP64", "[1]")), 400,
         "unknown input 'zzzzzzzz': GET /v2/models/oj lists"},
        {"POST", ONE, REQ(STORE FEATS), 400, "input 'store' is a partition column: the name of the model has chosen"},
        {"POST", ONE, REQ(PRICE PRICE DEAL), 400, "input 'price' is given twice"},
        {"POST", OJ, REQ(STORE STORE BRAND FEATS), 400, "input 'store' is given twice"},
        {"POST", ONE, REQ(PRICE IN("features", "[1,2]", "FP64", "[1,2]")), 400, "feature 'price' is given twice"},
        {"POST", ONE, REQ(IN("features", "[1,2]", "FP64", "[1,2]") "," DEAL), 400, "input 'deal' is given twice"},
        /* values */
        {"POST", ONE, REQ(IN("price", "[1]", "INT64", "[1.0]") "," DEAL), 400,
         "input 'price', row 0: 1 is not a value of INT64"},
        {"POST", ONE, REQ(IN("price", "[1]", "INT8", "[128]") "," DEAL), 400, "128 is not a value of INT8"},
        {"POST", ONE, REQ(IN("price", "[1]", "INT8", "[-129]") "," DEAL), 400, "-129 is not a value of INT8"},
        {"POST", ONE, REQ(IN("price", "[1]", "UINT8", "[-1]") "," DEAL), 400, "-1 is not a value of UINT8"},
        {"POST", ONE, REQ(IN("price", "[1]", "UINT32", "[4294967296]") "," DEAL), 400, "is not a value of UINT32"},
        {"POST", ONE, REQ(IN("price", "[1]", "INT64", "[9223372036854775808]") "," DEAL), 400,
         "is not a value of INT64"},
        {"POST", ONE, REQ(IN("price", "[1]", "UINT64", "[18446744073709551616]") "," DEAL), 400,
         "is not a value of UINT64"},
        {"POST", ONE, REQ(IN("price", "[1]", "BOOL", "[1]") "," DEAL), 400, "1 is not a value of BOOL"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[true]") "," DEAL), 400, "a boolean is not a value of FP64"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[\"1\"]") "," DEAL), 400, "a string is not a value of FP64"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[{}]") "," DEAL), 400, "an object is not a value of FP64"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP32", "[1e39]") "," DEAL), 400, "1e+39 is not a value of FP32"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[1e999]") "," DEAL), 400, "the request body is not JSON"},
        {"POST", ONE, REQ(IN("price", "[1]", "FP64", "[NaN]") "," DEAL), 400, "the request body is not JSON"},
        {"POST", OJ, REQ(IN("store", "[1]", "FP64", "[2]") "," BRAND FEATS), 400,
         "input 'store' is a partition column: FP64"},
        {"POST", OJ, REQ(IN("store", "[1]", "BYTES", "[2]") "," BRAND FEATS), 400, "row 0: 2 is not a value of BYTES"},
        {"POST", OJ, REQ(IN("store", "[1]", "UINT64", "[9223372036854775808]") "," BRAND FEATS), 400,
         "past the largest INT64"},
        {"POST", OJ, REQ(IN("store", "[1]", "BYTES", "[\"abc\"]") "," BRAND FEATS), 400,
         "row 0 (store=abc,brand=1): a key value is not of its column's type"},
        {"POST", CITY, REQ(IN("name", "[2]", "BYTES", "[\"Oslo\",\"Ro\\nme\"]") "," IN("x", "[2]", "FP64", "[1,2]")),
         404, "row 1 (name=Ro"},
        {"POST", CITY, REQ(IN("name", "[1]", "INT64", "[4]") "," IN("x", "[1]", "FP64", "[1]")), 404,
         "row 0 (name=4): fleet 'city' has no model for this key, nor a parent or global one"},
        {"POST", CITY, REQ(IN("name", "[1]", "INT64", "[null]") "," IN("x", "[1]", "FP64", "[1]")), 404,
         "row 0 (name=null)"},
    };
    world w;
    world_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(bodies_that_are_not_what_they_must_be)
{
    static const struct {
        const char *headers;
        int status;
        const char *part;
    } cases[] = {
        {"Content-Encoding: br\r\n", 501, "Content-Encoding br is not supported: send gzip, deflate"},
        {"Content-Encoding: gzip\r\n", 400, "the request body is not gzip: byte 2: incorrect header check"},
        {"Content-Encoding: deflate\r\n", 400, "the request body is not deflate"},
        {"Content-Encoding: identity\r\n", 200, "[11]"},
        {"Inference-Header-Content-Length: 10\r\n", 400, "the request body is not JSON"},
        {"Content-Type: text/nonsense\r\n", 200, "[11]"}, /* tritonclient sends none, curl sends a form's */
    };
    world w;
    world_start(&w);
    client c = client_open(w.port);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char text[1024];
        snprintf(text, sizeof text, "POST " ONE " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n%s",
                 strlen(REQ(FEATS)), cases[i].headers, REQ(FEATS));
        EXPECT(client_puts(&c, text));
        expect_answer(&c, cases[i].status, cases[i].part);
    }
    client_close(&c);
    world_stop(&w);
}

/* Doubles survive the way through JSON, the columns and back, bit for bit; and each way of asking gives the same bits.
 */
/* What is read in one pass, and the same in words that only a document is read from. */
TEST(the_usual_form_answers_as_any_other)
{
    static const char *const pairs[][2] = {
        {REQ(KEYS FEATS),
         "{\"inputs\":[" KEYS PRICE "{\"data\":[1],\"shape\":[1],\"datatype\":\"FP64\",\"name\":\"deal\"}]}"},
        {"{\"id\":\"a b\",\"inputs\":[" KEYS FEATS "]}", "{\"id\":\"a\\u0020b\",\"inputs\":[" KEYS FEATS "]}"},
        {REQ(KEYS IN("features", "[1,2]", "FP64", "[[0.1, 123456.7890123]]")),
         REQ(KEYS IN("\\u0066eatures", "[1,2]", "FP64", "[1e-1, 1.234567890123e5]"))},
        {REQ(KEYS IN("price", "[1]", "FP64", "[null]") "," DEAL),
         REQ(KEYS IN("\\u0070rice", "[1]", "FP64", "[null]") "," DEAL)},
        {"{\"outputs\":[{\"name\":\"margin\"},{\"name\":\"prediction\"}],\"inputs\":[" KEYS FEATS "]}",
         "{\"outputs\":[{\"name\":\"margin\",\"x\":1},{\"name\":\"prediction\"}],\"inputs\":[" KEYS FEATS "]}"},
        {REQ(STORE STORE BRAND FEATS), REQ(STORE IN("\\u0073tore", "[1]", "INT64", "[2]") "," BRAND FEATS)},
        {REQ(STORE FEATS), REQ(STORE IN("\\u0070rice", "[1]", "FP64", "[0.5]") "," DEAL)},
        {REQ(KEYS IN("price", "[2]", "FP64", "[1.5,2.5]") "," DEAL),
         REQ(KEYS IN("\\u0070rice", "[2]", "FP64", "[1.5,2.5]") "," DEAL)},
    };
    world w;
    world_make(&w);
    world_serve(&w);
    client c = client_open(w.port);
    for (size_t i = 0; i < MYR_COUNT_OF(pairs); i++) {
        answer usual = ask(&c, "POST", OJ, pairs[i][0]), other = ask(&c, "POST", OJ, pairs[i][1]);
        EXPECT_INT(usual.status, other.status);
        EXPECT_INT(usual.status, i < 5 ? 200 : 400);
        EXPECT_STR(usual.body, other.body);
        answer_fini(&usual);
        answer_fini(&other);
    }
    client_close(&c);
    world_stop(&w);
}

TEST(numbers_keep_their_bits)
{
    static const double values[] = {0.1,
                                    -0.0,
                                    0.0,
                                    5e-324,
                                    2.2250738585072014e-308,
                                    1e308,
                                    9007199254740993.0,
                                    -1.0 / 3.0,
                                    123456789.123456789,
                                    1e22,
                                    1e23,
                                    3.0000000000000004};
    world w;
    world_make(&w);
    world_serve(&w);
    client c = client_open(w.port);
    for (size_t i = 0; i < MYR_COUNT_OF(values); i++) {
        char number[MYR_DOUBLE_TEXT_BYTES], body[512];
        size_t size = myr_format_double(values[i], number);
        double wanted = (10.0 + values[i]) + 0.5 * values[i];
        static const char *const ways[] = {ONE, OJ, "/v1/fleets/oj/score"};
        for (size_t way = 0; way < MYR_COUNT_OF(ways); way++) {
            int n = (int)size;
            if (way == 0) {
                snprintf(body, sizeof body, REQ(IN("features", "[1,2]", "FP64", "[%.*s,%.*s]")), n, number, n, number);
            } else if (way == 1) {
                snprintf(body, sizeof body,
                         REQ(KEYS IN("price", "[1]", "FP64", "[%.*s]") "," IN("deal", "[1]", "FP64", "[%.*s]")), n,
                         number, n, number);
            } else {
                snprintf(body, sizeof body, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":%.*s,\"deal\":%.*s}]}", n,
                         number, n, number);
            }
            answer a = ask(&c, "POST", ways[way], body);
            EXPECT_INT(a.status, 200);
            yyjson_doc *doc = yyjson_read(a.body, a.body_bytes, 0);
            yyjson_val *root = yyjson_doc_get_root(doc);
            yyjson_val *val = way < 2
                                  ? yyjson_arr_get_first(
                                        yyjson_obj_get(yyjson_arr_get_first(yyjson_obj_get(root, "outputs")), "data"))
                                  : yyjson_obj_get(yyjson_arr_get_first(yyjson_obj_get(root, "rows")), "prediction");
            if (!yyjson_is_num(val)) print_error("%s\n%s\n", body, a.body);
            EXPECT(yyjson_is_num(val));
            double got = yyjson_get_num(val);
            EXPECT(memcmp(&got, &wanted, sizeof got) == 0);
            yyjson_doc_free(doc);
            answer_fini(&a);
        }
    }
    client_close(&c);
    world_stop(&w);
}

/* Rows at the limit, past what a loop does itself, in both forms; every row keeps its place. */
TEST(many_rows)
{
    static const size_t counts[] = {255, 256, 257, 5000, 65536};
    world w;
    world_make(&w);
    w.opts.body_bytes_max = 32 << 20;
    world_serve(&w);
    client c = client_open(w.port);
    for (size_t k = 0; k < MYR_COUNT_OF(counts); k++) {
        size_t n = counts[k];
        myr_buf infer = {0}, score = {0};
        myr_buf_printf(&infer, "{\"inputs\":[{\"name\":\"features\",\"datatype\":\"FP64\",\"shape\":[%zu,2],\"data\":[",
                       n);
        myr_buf_puts(&score, "{\"rows\":[");
        for (size_t i = 0; i < n; i++) {
            myr_buf_printf(&infer, "%s%zu,0", i > 0 ? "," : "", i);
            myr_buf_printf(&score, "%s{\"store\":2,\"brand\":1,\"price\":%zu,\"deal\":0}", i > 0 ? "," : "", i);
        }
        myr_buf_puts(&infer, "]}]}");
        myr_buf_puts(&score, "]}");
        answer a = ask(&c, "POST", ONE, infer.data);
        EXPECT_INT(a.status, 200);
        yyjson_doc *doc = yyjson_read(a.body, a.body_bytes, 0);
        yyjson_val *data = yyjson_obj_get(yyjson_arr_get_first(yyjson_obj_get(yyjson_doc_get_root(doc), "outputs")),
                                          "data"),
                   *val;
        EXPECT_INT(yyjson_arr_size(data), n);
        size_t idx, max;
        yyjson_arr_foreach(data, idx, max, val) if (yyjson_get_num(val) != 10.0 + (double)idx) EXPECT(false);
        yyjson_doc_free(doc);
        answer_fini(&a);
        a = ask(&c, "POST", "/v1/fleets/oj/score", score.data);
        EXPECT_INT(a.status, 200);
        doc = yyjson_read(a.body, a.body_bytes, 0);
        data = yyjson_obj_get(yyjson_doc_get_root(doc), "rows");
        EXPECT_INT(yyjson_arr_size(data), n);
        yyjson_arr_foreach(data, idx, max, val)
        {
            if (yyjson_get_num(yyjson_obj_get(val, "prediction")) != 10.0 + (double)idx) EXPECT(false);
        }
        yyjson_doc_free(doc);
        answer_fini(&a);
        myr_buf_fini(&infer);
        myr_buf_fini(&score);
    }
    myr_buf score = {0};
    myr_buf_puts(&score, "{\"rows\":[");
    for (size_t i = 0; i < 65537; i++)
        myr_buf_puts(&score, i > 0 ? ",{}" : "{}");
    myr_buf_puts(&score, "]}");
    answer a = ask(&c, "POST", "/v1/fleets/oj/score", score.data);
    EXPECT_INT(a.status, 413);
    EXPECT_HAS(a.body, "65537 rows, the most in one request is 65536");
    answer_fini(&a);
    myr_buf_fini(&score);
    client_close(&c);
    world_stop(&w);
}

TEST(a_request_that_needs_too_much_memory_is_413)
{
    world w;
    world_make(&w);
    w.opts.body_bytes_max = 300 << 10;
    w.opts.request_bytes_max = 400 << 10;
    world_serve(&w);
    myr_buf body = {0};
    myr_buf_puts(&body, "{\"rows\":[");
    for (int i = 0; i < 20000; i++)
        myr_buf_puts(&body, i > 0 ? ",{}" : "{}");
    myr_buf_puts(&body, "]}");
    answer a = ask_once(w.port, "POST", "/v1/fleets/oj/score", body.data);
    EXPECT_INT(a.status, 413);
    EXPECT_HAS(a.body, "serve.request-bytes-max");
    answer_fini(&a);
    myr_buf_fini(&body);
    world_stop(&w);
}

TEST(score_answers_each_row_for_itself)
{
    static const exchange cases[] = {
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[]}", 200, "{\"rows\":[]}"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[{\"store\":\"2\",\"brand\":1.0,\"price\":0.5,\"deal\":true}]}", 200,
         "\"prediction\":11,\"model\":\"oj@store=2,brand=1\""},
        {"POST", "/v1/fleets/city/score", "{\"rows\":[{\"name\":\"Rome\",\"x\":1},{\"name\":\"Oslo\",\"x\":1}]}", 200,
         "\"status\":\"no_model\""},
        {"POST", "/v1/fleets/city/score", "{\"rows\":[{\"name\":\"Rome\",\"x\":1},{\"name\":\"Oslo\",\"x\":1}]}", 200,
         "\"prediction\":2"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"brand\":1,\"prise\":1}]}", 400, "price"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":[]}]}", 400, "price"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[7]}", 400, "row 0 is an integer, not an object"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":{}}", 400, "no array 'rows'"},
        {"POST", "/v1/fleets/oj/score", "{}", 400, "no array 'rows'"},
        {"POST", "/v1/fleets/oj/score", "[]", 400, "the request is an array"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[],\"x\":1}", 400, "unknown field 'x'"},
        {"POST", "/v1/fleets/oj/score", "", 400, "the request body is empty"},
    };
    world w;
    world_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

/* The answer of many rows, and one row's of each, must be the same text. */
static void expect_parts(int port, const char *path)
{
    enum { ROWS = 301 };
    myr_buf body = {0};
    myr_buf_puts(&body, "{\"rows\":[");
    for (int i = 0; i < ROWS; i++) {
        myr_buf_printf(&body, "%s{\"store\":%d,\"brand\":%s,\"price\":%d,\"deal\":%d.5}", i > 0 ? "," : "", i % 3 + 1,
                       i % 5 == 4   ? "\"x\""
                       : i % 2 == 0 ? "1"
                                    : "7",
                       i, i % 7);
    }
    myr_buf_puts(&body, "]}");
    answer all = ask_once(port, "POST", path, body.data);
    EXPECT_INT(all.status, 200);
    const char *at = all.body + strlen("{\"rows\":[");
    const char *row = body.data + strlen("{\"rows\":[");
    for (int i = 0; i < ROWS; i++) {
        char one[256];
        const char *end = strchr(row, '}');
        snprintf(one, sizeof one, "{\"rows\":[%.*s]}", (int)(end - row + 1), row);
        answer a = ask_once(port, "POST", path, one);
        const char *wanted = a.body + strlen("{\"rows\":[");
        size_t size = strlen(wanted) - strlen("]}");
        if (strncmp(at, wanted, size) != 0) print_error("row %d: %.200s\n  alone: %s\n", i, at, wanted);
        EXPECT(strncmp(at, wanted, size) == 0);
        at += size + 1;
        row = end + 2;
        answer_fini(&a);
    }
    EXPECT_STR(at - 1, "]}");
    answer_fini(&all);
    myr_buf_fini(&body);
}

TEST(a_request_on_several_threads_is_one_on_one)
{
    world w;
    world_make(&w);
    w.opts.part_rows = 7;
    w.opts.inline_rows_max = 16;
    world_serve(&w);
    expect_parts(w.port, "/v1/fleets/oj/score");
    expect_parts(w.port, "/v1/fleets/oj/score?output=margin");
    world_stop(&w);
}

RUN()
