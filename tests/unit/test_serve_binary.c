/* Binary tensors over V2 REST: every datatype, in place and not, and each size that can be wrong. */
#include <math.h>

#include "names_fixture.h"
#include "serve_fixture.h"

#define OJ   "/v2/models/oj/infer"
#define ONE  "/v2/models/oj@store=2,brand=1/infer"
#define CITY "/v2/models/city/infer"
#define BIN(name, shape, type, size)                                                                                   \
    "{\"name\":\"" name "\",\"shape\":" shape ",\"datatype\":\"" type "\",\"parameters\":{\"binary_data_size\":" size  \
    "}}"
#define REQ(inputs) "{\"inputs\":[" inputs "]}"
#define DEAL        "{\"name\":\"deal\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]}"
#define PRICE       BIN("price", "[1]", "FP64", "8")
#define HALF        "\0\0\0\0\0\0\xe0\x3f" /* 0.5 */
#define BYTES(text) text, sizeof text - 1

/* JSON and binary; json NULL: a raw request. Spaces before the JSON move the binary to any alignment. */
static answer ask_binary(client *c, const char *path, const char *json, size_t spaces, const void *data, size_t bytes)
{
    myr_buf text = {0};
    size_t json_bytes = json != NULL ? strlen(json) + spaces : 0;
    myr_buf_printf(&text,
                   "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n"
                   "inference-header-content-length: %zu\r\n\r\n%*s%s",
                   path, json_bytes + bytes, json_bytes, (int)spaces, "", json != NULL ? json : "");
    myr_buf_append(&text, data, bytes);
    EXPECT(client_write(c, text.data, text.size));
    myr_buf_fini(&text);
    return client_read(c);
}

typedef struct binary_case {
    const char *path, *json, *data;
    size_t bytes;
    int status;
    const char *part;
} binary_case;

static void expect_cases(int port, const binary_case *cases, size_t count)
{
    client c = client_open(port);
    for (size_t i = 0; i < count; i++) {
        for (size_t spaces = 0; spaces < 8; spaces++) {
            answer a = ask_binary(&c, cases[i].path, cases[i].json, spaces, cases[i].data, cases[i].bytes);
            bool ok = a.status == cases[i].status && a.body != NULL && strstr(a.body, cases[i].part) != NULL;
            if (!ok) {
                print_error("case %zu: %s\n  wanted %d %s\n  got    %d %s\n", i, cases[i].json, cases[i].status,
                            cases[i].part, a.status, a.body != NULL ? a.body : "(nothing)");
            }
            EXPECT(ok);
            answer_fini(&a);
        }
    }
    client_close(&c);
}

TEST(each_datatype_has_its_bytes)
{
    static const binary_case cases[] = {
        {ONE, REQ(PRICE "," DEAL), BYTES(HALF), 200, "[11]"},
        {ONE, REQ(BIN("price", "[1,1]", "FP64", "8") "," DEAL), BYTES(HALF), 200, "[11]"},
        {ONE, REQ(BIN("price", "[1]", "FP64", "8") "," DEAL), BYTES("\0\0\0\0\0\0\xf0\x7f"), 200, "[null]"}, /* inf */
        {ONE, REQ(BIN("price", "[1]", "FP64", "8") "," DEAL), BYTES("\0\0\0\0\0\0\xf8\x7f"), 200, "[null]"}, /* NaN */
        {ONE, REQ(BIN("price", "[1]", "FP32", "4") "," DEAL), BYTES("\xcd\xcc\xcc\x3d"), 200, "[10.600000001490116]"},
        {ONE, REQ(BIN("price", "[1]", "BOOL", "1") "," DEAL), BYTES("\1"), 200, "[11.5]"},
        {ONE, REQ(BIN("price", "[1]", "BOOL", "1") "," DEAL), BYTES("\0"), 200, "[10.5]"},
        {ONE, REQ(BIN("price", "[1]", "INT8", "1") "," DEAL), BYTES("\x80"), 200, "[-117.5]"},
        {ONE, REQ(BIN("price", "[1]", "UINT8", "1") "," DEAL), BYTES("\xff"), 200, "[265.5]"},
        {ONE, REQ(BIN("price", "[1]", "INT16", "2") "," DEAL), BYTES("\xff\xff"), 200, "[9.5]"},
        {ONE, REQ(BIN("price", "[1]", "UINT16", "2") "," DEAL), BYTES("\1\1"), 200, "[267.5]"},
        {ONE, REQ(BIN("price", "[1]", "INT32", "4") "," DEAL), BYTES("\0\0\0\x80"), 200, "[-2147483637.5]"},
        {ONE, REQ(BIN("price", "[1]", "UINT32", "4") "," DEAL), BYTES("\0\0\0\x80"), 200, "[2147483658.5]"},
        {ONE, REQ(BIN("price", "[1]", "INT64", "8") "," DEAL), BYTES("\0\0\0\0\0\0\0\x80"), 200,
         "[-9.223372036854776e+18]"},
        {ONE, REQ(BIN("price", "[1]", "UINT64", "8") "," DEAL), BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), 200,
         "[1.8446744073709552e+19]"},
        /* no rows; all features at once, in place */
        {ONE, REQ(BIN("price", "[0]", "FP64", "0") "," BIN("deal", "[0]", "BOOL", "0")), BYTES(""), 200,
         "\"shape\":[0],\"data\":[]"},
        {ONE, REQ(BIN("features", "[2,2]", "FP64", "32")), BYTES(HALF HALF "\0\0\0\0\0\0\0\0" HALF), 200,
         "[10.75,10.25]"},
        {ONE, REQ(BIN("features", "[2,2]", "FP32", "16")), BYTES("\0\0\0\x3f\0\0\0\x3f\0\0\0\0\0\0\0\x3f"), 200,
         "[10.75,10.25]"},
        {ONE, REQ(BIN("features", "[0,2]", "FP64", "0")), BYTES(""), 200, "\"shape\":[0]"},
        /* keys: integers of any width, texts */
        {OJ, REQ(BIN("store", "[1]", "INT64", "8") "," BIN("brand", "[1]", "UINT8", "1") "," PRICE "," DEAL),
         BYTES("\2\0\0\0\0\0\0\0\1" HALF), 200, "[11]"},
        {OJ, REQ(BIN("store", "[1]", "INT16", "2") "," BIN("brand", "[1]", "BYTES", "20") "," PRICE "," DEAL),
         BYTES("\2\0\20\0\0\0"
               "9007199254740993" HALF),
         200, "[21]"},
        {CITY, REQ(BIN("name", "[2]", "BYTES", "17") "," BIN("x", "[2]", "INT8", "2")),
         BYTES("\4\0\0\0Oslo\5\0\0\0a/b,c\1\2"), 200, "[2,4]"},
        {CITY, REQ(BIN("name", "[0]", "BYTES", "0") "," BIN("x", "[0]", "INT8", "0")), BYTES(""), 200, "\"data\":[]"},
    };
    world w;
    world_start(&w);
    expect_cases(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(sizes_that_do_not_fit_are_said)
{
    static const binary_case cases[] = {
        {ONE, REQ(BIN("price", "[1]", "FP64", "9") "," DEAL), BYTES(HALF), 400,
         "input 'price': binary_data_size is 9, 8 bytes of the body are left for it"},
        {ONE, REQ(BIN("price", "[1]", "FP64", "18446744073709551615") "," DEAL), BYTES(HALF), 400,
         "input 'price': binary_data_size is 18446744073709551615"},
        {ONE, REQ(BIN("price", "[1]", "FP64", "7") "," DEAL), BYTES(HALF), 400,
         "input 'price': 7 bytes of binary data, its shape and FP64 say 8"},
        {ONE, REQ(BIN("price", "[2]", "FP64", "8") "," DEAL), BYTES(HALF), 400, "its shape and FP64 say 16"},
        {ONE, REQ(PRICE "," DEAL), BYTES(HALF "\0"), 400, "1 bytes of binary data belong to no input"},
        {ONE, REQ(DEAL), BYTES("\0"), 400, "1 bytes of binary data belong to no input"},
        {ONE, REQ(PRICE "," BIN("deal", "[1]", "FP64", "8")), BYTES(HALF), 400,
         "input 'deal': binary_data_size is 8, 0 bytes"},
        {ONE, REQ(BIN("price", "[1]", "FP64", "-8")), BYTES(HALF), 400, "binary_data_size is an integer, not a number"},
        {ONE, REQ(BIN("price", "[1]", "FP64", "8.0")), BYTES(HALF), 400, "input 'price': binary_data_size is a number"},
        {ONE, REQ(BIN("price", "[1]", "FP64", "\"8\"")), BYTES(HALF), 400, "binary_data_size is a string"},
        {ONE,
         REQ("{\"name\":\"price\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1],\"parameters\":"
             "{\"binary_data_size\":8}}"),
         BYTES(HALF), 400, "input 'price' has both data and binary_data_size"},
        {ONE, REQ("{\"name\":\"price\",\"shape\":[1],\"datatype\":\"FP64\",\"parameters\":7}"), BYTES(HALF), 400,
         "input 'price': parameters is an integer"},
        {ONE,
         REQ("{\"name\":\"price\",\"shape\":[1],\"datatype\":\"FP64\",\"parameters\":{\"shared_memory_region\":\"x\"}"
             "}"),
         BYTES(""), 501, "input 'price': shared memory is not supported"},
        {ONE, REQ(BIN("price", "[65537]", "FP64", "8")), BYTES(HALF), 413, "the most in one request is 65536"},
        {ONE, REQ(BIN("price", "[18446744073709551615]", "FP64", "8")), BYTES(HALF), 413, "the most in one request"},
        {ONE, REQ(BIN("features", "[4611686018427387904,4]", "FP64", "8")), BYTES(HALF), 400, "expected [n,2]"},
        {ONE, REQ(BIN("features", "[1,2]", "FP64", "8")), BYTES(HALF), 400, "its shape and FP64 say 16"},
        {ONE, REQ(BIN("features", "[1,2]", "INT64", "16")), BYTES(HALF HALF), 400, "expected FP64 or FP32"},
        {ONE, REQ(BIN("price", "[1]", "BOOL", "1") "," DEAL), BYTES("\2"), 400,
         "input 'price', row 0: byte 2 is not a value of BOOL"},
        {ONE, REQ(BIN("price", "[1]", "BYTES", "5") "," DEAL), BYTES("\1\0\0\0a"), 400, "BYTES is not a number"},
        {ONE, REQ(BIN("price", "[1]", "FP16", "2") "," DEAL), BYTES("\0\0"), 400, "FP16 is not supported, send FP32"},
        {OJ, REQ(BIN("store", "[1]", "UINT64", "8")), BYTES("\0\0\0\0\0\0\0\x80"), 400, "past the largest INT64"},
        {OJ, REQ(BIN("store", "[1]", "INT64", "4")), BYTES("\0\0\0\0"), 400, "input 'store': 4 bytes of binary data"},
        {OJ, REQ(BIN("store", "[1]", "FP64", "8")), BYTES(HALF), 400, "FP64 is not accepted"},
        {CITY, REQ(BIN("name", "[1]", "BYTES", "3")), BYTES("\0\0\0"), 400,
         "input 'name', row 0: its binary data ends before the length"},
        {CITY, REQ(BIN("name", "[2]", "BYTES", "5")), BYTES("\1\0\0\0a"), 400, "row 1: its binary data ends"},
        {CITY, REQ(BIN("name", "[1]", "BYTES", "5")), BYTES("\2\0\0\0a"), 400,
         "input 'name', row 0: a text of 2 bytes, its binary data has 1 left"},
        {CITY, REQ(BIN("name", "[1]", "BYTES", "4")), BYTES("\xff\xff\xff\xff"), 400, "a text of 4294967295 bytes"},
        {CITY, REQ(BIN("name", "[1]", "BYTES", "6")), BYTES("\1\0\0\0ab"), 400, "1 bytes of binary data follow its 1"},
        {CITY, REQ(BIN("name", "[1]", "BYTES", "5")), BYTES("\1\0\0\0\xff"), 400, "row 0: the text is not UTF-8"},
    };
    world w;
    world_start(&w);
    expect_cases(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(the_length_of_the_json_is_checked)
{
    static const struct {
        const char *value;
        int status;
        const char *part;
    } cases[] = {
        {"x", 400, "Inference-Header-Content-Length is 'x', not a number of bytes"},
        {"-1", 400, "not a number of bytes"},
        {"", 400, "not a number of bytes"},
        {"99999999999999999999", 400, "not a number of bytes"},
        {"9999", 400, "says 9999 bytes of JSON, the body has"},
        {"1", 400, "the request body is not JSON"},
        {"0", 400, "is not whole rows of 2 FP64 values"},
    };
    world w;
    world_start(&w);
    client c = client_open(w.port);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "POST " ONE " HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: %s\r\n"
                 "Content-Length: %zu\r\n\r\n" REQ(DEAL),
                 cases[i].value, strlen(REQ(DEAL)));
        EXPECT(client_puts(&c, text));
        answer a = client_read(&c);
        EXPECT_INT(a.status, cases[i].status);
        EXPECT_HAS(a.body, cases[i].part);
        answer_fini(&a);
    }
    answer a = ask_binary(&c, "/v1/fleets/oj/score", "{\"rows\":[]}", 0, "", 0);
    EXPECT_INT(a.status, 400);
    EXPECT_HAS(a.body, "is for infer");
    answer_fini(&a);
    client_close(&c);
    world_stop(&w);
}

TEST(raw_requests_and_binary_answers)
{
    static const double rows[] = {0.5, 1, 1, 0};
    world w;
    world_start(&w);
    client c = client_open(w.port);
    answer a = ask_binary(&c, ONE, NULL, 0, rows, sizeof rows);
    static const char json[] = "{\"model_name\":\"oj@store=2,brand=1\",\"model_version\":\"1\",\"outputs\":[{\"name\":"
                               "\"prediction\",\"datatype\":\"FP64\",\"shape\":[2],\"parameters\":"
                               "{\"binary_data_size\":16}}]}";
    static const double wanted[] = {11, 11};
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.head, "Content-Type: application/octet-stream\r\n");
    char header[64];
    snprintf(header, sizeof header, "Inference-Header-Content-Length: %zu\r\n", strlen(json));
    EXPECT_HAS(a.head, header);
    EXPECT_INT(a.body_bytes, strlen(json) + 16);
    EXPECT(memcmp(a.body, json, strlen(json)) == 0 && memcmp(a.body + strlen(json), wanted, 16) == 0);
    answer_fini(&a);
    a = ask_binary(&c, OJ, NULL, 0, rows, sizeof rows);
    EXPECT_INT(a.status, 400);
    EXPECT_HAS(a.body, "a raw request holds features only: name one model of the fleet, as in oj@store=");
    answer_fini(&a);
    a = ask_binary(&c, ONE, NULL, 0, rows, 0);
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.body, "\"shape\":[0],\"parameters\":{\"binary_data_size\":0}");
    answer_fini(&a);
    /* one output binary, one not; the binary ones in their order, wide ones row by row */
    a = ask(
        &c, "POST", ONE,
        "{\"parameters\":{\"binary_data_output\":true},\"outputs\":[{\"name\":\"contribution\"},{\"name\":\"margin\","
        "\"parameters\":{\"binary_data\":false}},{\"name\":\"prediction\"}],\"inputs\":[{\"name\":\"features\","
        "\"shape\":[2,2],\"datatype\":\"FP64\",\"data\":[0.5,1,1,0]}]}");
    static const double both[] = {0.5, 0.5, 10, 1, 0, 10, 11, 11};
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.body, "\"shape\":[2,3],\"parameters\":{\"binary_data_size\":48}}");
    EXPECT_HAS(a.body, "{\"name\":\"margin\",\"datatype\":\"FP64\",\"shape\":[2],\"data\":[11,11]}");
    EXPECT(a.body_bytes > sizeof both && memcmp(a.body + a.body_bytes - sizeof both, both, sizeof both) == 0);
    answer_fini(&a);
    client_close(&c);
    world_stop(&w);
}

TEST(parameters_of_outputs_are_checked)
{
#define OUT(more) "{" more ",\"inputs\":[{\"name\":\"features\",\"shape\":[0,2],\"datatype\":\"FP64\",\"data\":[]}]}"
    static const exchange cases[] = {
        {"POST", ONE, OUT("\"parameters\":{\"binary_data_output\":1}"), 400,
         "parameter 'binary_data_output' is an integer, not true or false"},
        {"POST", ONE, OUT("\"outputs\":[{\"name\":\"prediction\",\"parameters\":{\"binary_data\":null}}]"), 400,
         "parameter 'binary_data' is null"},
        {"POST", ONE, OUT("\"outputs\":[{\"name\":\"prediction\",\"parameters\":[]}]"), 400,
         "output 'prediction': parameters is an array"},
        {"POST", ONE, OUT("\"outputs\":[{\"name\":\"prediction\",\"parameters\":{\"classification\":2}}]"), 501,
         "output 'prediction': classification is not supported"},
        {"POST", ONE, OUT("\"outputs\":[{\"name\":\"prediction\",\"parameters\":{\"shared_memory_region\":\"x\"}}]"),
         501, "shared_memory_region is not supported"},
    };
    world w;
    world_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

/* Categories: texts, whole numbers and truth values are names, floats are codes, as in JSON. */
TEST(names_of_categories)
{
#define STORE(n, size) BIN("store", n, "UINT8", size)
    static const binary_case cases[] = {
        {"/v2/models/paint/infer",
         REQ(STORE("[2]", "2") "," BIN("price", "[2]", "INT8", "2") "," BIN("colour", "[2]", "BYTES", "16")),
         BYTES("\1\2\0\0\5\0\0\0green\3\0\0\0red"), 200, "[101,202]"},
        {"/v2/models/paint/infer",
         REQ(STORE("[2]", "2") "," BIN("price", "[2]", "INT8", "2") "," BIN("colour", "[2]", "INT8", "2")),
         BYTES("\3\3\0\0\5\1"), 200, "[300,301]"},
        {"/v2/models/paint/infer",
         REQ(STORE("[1]", "1") "," BIN("price", "[1]", "INT8", "1") "," BIN("colour", "[1]", "BOOL", "1")),
         BYTES("\11\1\1"), 200, "[11]"},
        {"/v2/models/paint@store=1/infer", REQ(BIN("price", "[1]", "INT8", "1") "," BIN("colour", "[1]", "FP64", "8")),
         BYTES("\0\0\0\0\0\0\0\xf0\x3f"), 200, "[101]"},
        {"/v2/models/paint/infer",
         REQ(STORE("[1]", "1") "," BIN("price", "[1]", "INT8", "1") "," BIN("colour", "[1]", "BOOL", "1")),
         BYTES("\11\1\3"), 400, "input 'colour', row 0: byte 3 is not a value of BOOL"},
        {"/v2/models/paint/infer",
         REQ(STORE("[1]", "1") "," BIN("price", "[1]", "INT8", "1") "," BIN("colour", "[1]", "INT16", "1")),
         BYTES("\11\1\1"), 400, "input 'colour': 1 bytes of binary data, its shape and INT16 say 2"},
    };
    world w;
    world_make(&w);
    {
        myr_err err = {0};
        MYR_AUTO(myr_workspace_ptr) workspace = NULL;
        EXPECT_RC(myr_workspace_open(w.dir, &workspace, &err), OK, &err);
        names_fleet(workspace);
    }
    world_serve(&w);
    expect_cases(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

/* A body past 64 KiB is read on a compute thread; the same bits as on the loop. */
TEST(large_tensors)
{
    enum { ROWS = 65536 };
    world w;
    world_start(&w);
    double *rows = myr_calloc((size_t)ROWS * 2, sizeof *rows);
    EXPECT(rows != NULL);
    for (size_t i = 0; i < (size_t)ROWS * 2; i++)
        rows[i] = (double)i * 0.1;
    client c = client_open(w.port);
    for (size_t count = ROWS / 64; count <= ROWS; count *= 4) {
        answer a = ask_binary(&c, ONE, NULL, 0, rows, count * 16);
        EXPECT_INT(a.status, 200);
        EXPECT(a.body_bytes > count * 8);
        for (size_t i = 0; i < count; i++) {
            double got, wanted = (10 + rows[i * 2]) + 0.5 * rows[i * 2 + 1];
            memcpy(&got, a.body + a.body_bytes - (count - i) * 8, sizeof got);
            EXPECT(memcmp(&got, &wanted, sizeof got) == 0);
        }
        answer_fini(&a);
    }
    myr_free(rows);
    rows = myr_calloc(ROWS + 1, 16);
    answer a = ask_binary(&c, ONE, NULL, 0, rows, (ROWS + 1) * 16);
    EXPECT_INT(a.status, 413);
    EXPECT_HAS(a.body, "input 'features' has 65537 rows");
    answer_fini(&a);
    myr_free(rows);
    client_close(&c);
    world_stop(&w);
}

/* A warm binary request takes no memory of ours, like a JSON one. */
TEST(a_warm_request_allocates_nothing)
{
    world w;
    world_make(&w);
    w.opts.loops = 1;
    w.opts.reload_ms = 3600000;
    world_serve(&w);
    client c = client_open(w.port);
    static const char json[] =
        "{\"parameters\":{\"binary_data_output\":true},\"inputs\":[" BIN("features", "[1,2]", "FP32", "8") "]}";
    char request[512];
    int n = snprintf(request, sizeof request,
                     "POST " ONE " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n"
                     "Inference-Header-Content-Length: %zu\r\n\r\n%s",
                     strlen(json) + 8, strlen(json), json);
    memcpy(request + n, "\0\0\0\x3f\0\0\x80\x3f", 8);
    int64_t before = 0;
    for (int i = 0; i < 300; i++) {
        char sink[4096];
        static const double wanted = 11;
        if (i == 200) before = myr_mem_alloc_count();
        EXPECT(client_write(&c, request, (size_t)n + 8));
        ssize_t got = recv(c.fd, sink, sizeof sink, 0);
        EXPECT(got > 8 && memcmp(sink + got - 8, &wanted, 8) == 0);
    }
    usleep(20000);
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
    client_close(&c);
    world_stop(&w);
}

RUN()
