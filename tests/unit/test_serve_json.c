/* Bodies as JSON, hostile ones above all: each is one clear answer, and the connection goes on. */
#include "import/import.h"
#include "serve_fixture.h"

/* A row with `text` as a whole body. 200 answers are rows; y = accepted by the grammar, n = not JSON or not one
 * reading. */
static const struct {
    const char *body;
    int status;
    const char *part;
} cases[] = {
    {"", 400, "the request body is empty: send a JSON object"},
    {" \n", 400, "the request body is empty"},
    {"{\"rows\":[]}", 200, "[]"},
    {" {\"rows\" :\t[ ]\r\n} ", 200, "[]"},
    {"{\"\\u0072ows\":[]}", 200, "[]"}, /* the same key in other spelling */
    {"{\"rows\":[]", 400, "is not JSON"},
    {"{\"rows\":[]}}", 400, "is not JSON"},
    {"{\"rows\":[]} x", 400, "is not JSON"},
    {"{\"rows\":[]}{\"rows\":[]}", 400, "is not JSON"},
    {"{\"rows\":[],}", 400, "is not JSON"},
    {"{\"rows\":[,]}", 400, "is not JSON"},
    {"{\"rows\":[{},]}", 400, "is not JSON"},
    {"{'rows':[]}", 400, "is not JSON"},
    {"{rows:[]}", 400, "is not JSON"},
    {"{\"rows\"=[]}", 400, "is not JSON"},
    {"{\"rows\":[] /* c */}", 400, "is not JSON"},
    {"{\"rows\":[]} // c", 400, "is not JSON"},
    {"\xef\xbb\xbf{\"rows\":[]}", 400, "is not JSON"},
    {"\xff\xfe{\"rows\":[]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":NaN}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":-Infinity}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":nan}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":+1}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":01}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":-}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":1.}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":.5}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":1e}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":0x1}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"price\":1e999}]}", 400, "is not JSON"},
    {"{\"rows\":[{\"store\":True}]}", 400, "is not JSON"},
    {"{\"rows\":[\"\\x\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"\\u12\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"\\ud800\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"\\udc00\\ud800\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"a\nb\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"\xff\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"\xc0\xaf\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"\xed\xa0\x80\"]}", 400, "is not JSON"},
    {"{\"rows\":[\"unclosed", 400, "is not JSON"},
    {"{\"rows\":[\"\\", 400, "is not JSON"},
    {"nul", 400, "is not JSON"},
    {"null", 400, "the request is null, not an object"},
    {"1", 400, "the request is an integer"},
    {"\"x\"", 400, "the request is a string"},
    {"{\"rows\":[],\"rows\":[]}", 400, "the key \\\"rows\\\" stands twice"},
    {"{\"rows\":[],\"\\u0072ows\":[]}", 400, "the key \\\"rows\\\" stands twice"},
    {"{\"rows\":[{\"store\":1,\"brand\":1,\"store\":2}]}", 400, "the key \\\"store\\\" stands twice"},
    {"{\"rows\":[{\"a\":{\"b\":[{\"c\":1,\"c\":1}]}}]}", 400, "the key \\\"c\\\" stands twice"},
    {"{\"rows\":[{\"\":1,\"\":1}]}", 400, "stands twice"},
    {"{\"rows\":[{\"st\\u0000ore\":1}]}", 400, "st"}, /* a NUL in a name: unknown, not cut */
    {"{\"r\\u0000ws\":[]}", 400, "unknown field"},
};

TEST(each_case_has_its_answer)
{
    world w;
    world_start(&w);
    client c = client_open(w.port);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        answer a = ask(&c, "POST", "/v1/fleets/oj/score", cases[i].body);
        bool ok = a.status == cases[i].status && strstr(a.body, cases[i].part) != NULL;
        if (!ok) print_error("case %zu %s: %d %s\n", i, cases[i].body, a.status, a.body);
        EXPECT(ok);
        answer_fini(&a);
    }
    client_close(&c);
    world_stop(&w);
}

TEST(depth_at_the_limit_and_one_past_it)
{
    world w;
    world_start(&w);
    client c = client_open(w.port);
    static const size_t depths[] = {97, 98, 100000};
    for (size_t k = 0; k < MYR_COUNT_OF(depths); k++) {
        myr_buf text = {0};
        myr_buf_puts(&text, "{\"rows\":["); /* two levels */
        for (size_t i = 0; i < depths[k]; i++)
            myr_buf_putc(&text, '[');
        myr_buf_puts(&text, "{\"x\":\"]]}\\\"[[[\"}"); /* one more; brackets in a string are none */
        for (size_t i = 0; i < depths[k]; i++)
            myr_buf_putc(&text, ']');
        myr_buf_puts(&text, "]}");
        answer a = ask(&c, "POST", "/v1/fleets/oj/score", text.data);
        EXPECT_INT(a.status, 400);
        EXPECT_HAS(a.body, k == 0 ? "row 0 is an array, not an object" : "JSON is nested deeper than 100 levels");
        answer_fini(&a);
        myr_buf_fini(&text);
    }
    myr_buf text = {0}; /* brackets up to the body's limit: refused before any is kept */
    for (size_t i = 0; i < (8 << 20); i++)
        myr_buf_putc(&text, '[');
    answer a = ask(&c, "POST", "/v1/fleets/oj/score", text.data);
    EXPECT_INT(a.status, 400);
    EXPECT_HAS(a.body, "byte 100: JSON is nested deeper");
    answer_fini(&a);
    myr_buf_fini(&text);
    client_close(&c);
    world_stop(&w);
}

static int status_of_keys(client *c, size_t key_count, bool twice, const char *part)
{
    myr_buf text = {0};
    myr_buf_puts(&text, "{\"rows\":[{");
    for (size_t i = 0; i < key_count; i++) {
        myr_buf_printf(&text, "%s\"k%zu\":0", i > 0 ? "," : "", twice && i == key_count - 1 ? key_count / 2 : i);
    }
    myr_buf_puts(&text, "}]}");
    answer a = ask(c, "POST", "/v1/fleets/oj/score", text.data);
    if (strstr(a.body, part) == NULL) print_error("%zu keys: %d %s\n", key_count, a.status, a.body);
    EXPECT_HAS(a.body, part);
    int status = a.status;
    answer_fini(&a);
    myr_buf_fini(&text);
    return status;
}

TEST(repeated_keys_are_found_in_objects_of_any_size)
{
    world w;
    world_start(&w);
    client c = client_open(w.port);
    static const size_t counts[] = {3, 16, 17, 18, 63, 64, 65, 1000, 131072};
    for (size_t i = 0; i < MYR_COUNT_OF(counts); i++) {
        EXPECT_INT(status_of_keys(&c, counts[i], true, "stands twice"), 400);
        EXPECT_INT(status_of_keys(&c, counts[i], false, "k0"), 400); /* the field is unknown; nothing stands twice */
    }
    EXPECT_INT(status_of_keys(&c, 131073, false, "has 131073 keys, the most is 131072"), 400);
    client_close(&c);
    world_stop(&w);
}

/* Each prefix of a good body is an error or, at its end, the answer; nothing in between is taken for whole. */
TEST(every_prefix_of_a_body_is_refused)
{
    static const char whole[] = "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":0.5,\"deal\":1e0,\"\\u0064\":null}]}";
    world w;
    world_start(&w);
    client c = client_open(w.port);
    for (size_t i = 0; i < sizeof whole - 1; i++) {
        char part[sizeof whole];
        memcpy(part, whole, i);
        part[i] = '\0';
        answer a = ask(&c, "POST", "/v1/fleets/oj/score", part);
        EXPECT_INT(a.status, 400);
        answer_fini(&a);
    }
    client_close(&c);
    world_stop(&w);
}

RUN()
