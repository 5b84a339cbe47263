/* What object does without a network: signatures against published vectors, URIs, log-ins, answers, patterns. */
#include "testing.h"

#include "object/internal.h"

/* ---- signatures ---- */

static const object_login vector_login = {.kind = OBJECT_S3,
                                          .endpoint = "https://examplebucket.s3.amazonaws.com",
                                          .region = "us-east-1",
                                          .access = "AKIAIOSFODNN7EXAMPLE",
                                          .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};
#define VECTOR_TIME "20130524T000000Z"
#define VECTOR_MS   1369353600000LL
#define EMPTY_SHA   "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The examples of AWS's documentation of Signature Version 4 for S3. */
TEST(sigv4_signs_as_published)
{
    static const struct {
        const char *method, *path, *query, *payload, *signature;
        object_pairs headers; /* beside host, payload and date */
    } cases[] = {
        {"GET",
         "/test.txt",
         "",
         EMPTY_SHA,
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
         {{{"range", "bytes=0-9"}}, 1}},
        {"PUT",
         "/test%24file.text",
         "",
         "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
         {{{"x-amz-storage-class", "REDUCED_REDUNDANCY"}, {"date", "Fri, 24 May 2013 00:00:00 GMT"}}, 2}},
        {"GET",
         "/",
         "lifecycle=",
         EMPTY_SHA,
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
         {{{0}}, 0}},
        {"GET",
         "/",
         "max-keys=2&prefix=J",
         EMPTY_SHA,
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
         {{{0}}, 0}},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        MYR_AUTO(myr_buf) out = {0};
        object_pairs headers = cases[i].headers;
        myr_object_pairs_add(&headers, "host", "examplebucket.s3.amazonaws.com");
        myr_object_pairs_add(&headers, "x-amz-content-sha256", cases[i].payload);
        myr_object_pairs_add(&headers, "x-amz-date", VECTOR_TIME);
        myr_object_pairs_sort(&headers);
        myr_object_sigv4(&vector_login, cases[i].method, cases[i].path, cases[i].query, &headers, VECTOR_TIME,
                         cases[i].payload, &out);
        EXPECT(!out.failed);
        EXPECT_HAS(out.data, cases[i].signature);
        EXPECT_HAS(out.data, "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request");
    }
}

static const char *signed_header(const object_signed *sign, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; sign->headers[i] != NULL; i++) {
        if (strncmp(sign->headers[i], name, size) == 0 && sign->headers[i][size] == ':')
            return sign->headers[i] + size + 2;
    }
    return "";
}

TEST(a_request_is_signed_as_it_goes_out)
{
    object_request request = {.method = "GET", .key = "test.txt"};
    MYR_AUTO(object_signed) sign = {0};
    myr_err err = {0};
    myr_object_pairs_add(&request.headers, "range", "bytes=0-9");
    EXPECT_RC(myr_object_sign(&vector_login, &request, VECTOR_MS, &sign, &err), OK, &err);
    EXPECT_STR(sign.url.data, "https://examplebucket.s3.amazonaws.com/test.txt");
    EXPECT_HAS(signed_header(&sign, "authorization"),
               "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
               "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    EXPECT_STR(signed_header(&sign, "x-amz-date"), VECTOR_TIME);
}

TEST(urls_keep_every_byte_of_a_key)
{
    object_login login = vector_login;
    object_request request = {.method = "GET", .key = "a b+c%=&?#\xC3\xA9/~-_.'(*)"};
    MYR_AUTO(object_signed) sign = {0};
    myr_err err = {0};
    login.endpoint = "http://127.0.0.1:9000/base";
    login.bucket = "data";
    login.session = "token";
    myr_object_pairs_add(&request.query, "uploadId", "x/y=");
    myr_object_pairs_add(&request.query, "partNumber", "1");
    EXPECT_RC(myr_object_sign(&login, &request, VECTOR_MS, &sign, &err), OK, &err);
    EXPECT_STR(sign.url.data, "http://127.0.0.1:9000/base/data/a%20b%2Bc%25%3D%26%3F%23%C3%A9/~-_.%27%28%2A%29"
                              "?partNumber=1&uploadId=x%2Fy%3D");
    EXPECT_STR(signed_header(&sign, "host"), "127.0.0.1:9000");
    EXPECT_HAS(signed_header(&sign, "authorization"), "x-amz-security-token");
    MYR_AUTO(object_signed) bucket = {0};
    request = (object_request){.method = "GET", .key = ""};
    EXPECT_RC(myr_object_sign(&login, &request, VECTOR_MS, &bucket, &err), OK, &err);
    EXPECT_STR(bucket.url.data, "http://127.0.0.1:9000/base/data");
}

/* The signatures were computed by Python's hmac over the string that Azure's documentation describes. */
TEST(shared_key_signs_what_azure_describes)
{
    object_login login = {
        .kind = OBJECT_AZURE, .endpoint = "http://127.0.0.1:10000/acct", .bucket = "data", .account = "acct"};
    object_request request = {.method = "PUT", .key = "a b=\xC3\xA9", .body = "hello", .body_bytes = 5};
    MYR_AUTO(object_signed) sign = {0};
    myr_err err = {0};
    EXPECT(myr_object_base64_decode(myr_str_of("c2VjcmV0LWtleQ=="), login.key, sizeof login.key, &login.key_bytes));
    EXPECT_INT(login.key_bytes, 10);
    myr_object_pairs_add(&request.query, "comp", "block");
    myr_object_pairs_add(&request.query, "blockid", "AA==");
    myr_object_pairs_add(&request.headers, "content-type", "application/octet-stream");
    EXPECT_RC(myr_object_sign(&login, &request, VECTOR_MS, &sign, &err), OK, &err);
    EXPECT_STR(sign.url.data, "http://127.0.0.1:10000/acct/data/a%20b%3D%C3%A9?blockid=AA%3D%3D&comp=block");
    EXPECT_STR(signed_header(&sign, "x-ms-date"), "Fri, 24 May 2013 00:00:00 GMT");
    EXPECT_STR(signed_header(&sign, "authorization"), "SharedKey acct:y+QLoxxRPkOY4u2DCocxlbB0N35aUSd/z37QGW1U1po=");
    MYR_AUTO(object_signed) by_sas = {0};
    login.sas = "sv=2021&sig=abc%3D";
    EXPECT_RC(myr_object_sign(&login, &request, VECTOR_MS, &by_sas, &err), OK, &err);
    EXPECT_HAS(by_sas.url.data, "&comp=block&sv=2021&sig=abc%3D");
    EXPECT_STR(signed_header(&by_sas, "authorization"), "");
}

TEST(base64_goes_both_ways)
{
    static const char *const cases[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
    unsigned char out[8];
    size_t size = 0;
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_puts(&text, "");
        myr_object_base64(&text, cases[i][0], strlen(cases[i][0]));
        EXPECT_STR(text.data != NULL ? text.data : "", cases[i][1]);
        EXPECT(myr_object_base64_decode(myr_str_of(cases[i][1]), out, sizeof out, &size));
        EXPECT(size == strlen(cases[i][0]) && memcmp(out, cases[i][0], size) == 0);
    }
    EXPECT(!myr_object_base64_decode(myr_str_of("Zm9v YmFy"), out, sizeof out, &size));
    EXPECT(!myr_object_base64_decode(myr_str_of("Zm9vY"), out, sizeof out, &size));
    EXPECT(myr_object_base64_decode(myr_str_of("MTIzNDU2Nzg="), out, sizeof out, &size)); /* 8 bytes fit */
    EXPECT(!myr_object_base64_decode(myr_str_of("MTIzNDU2Nzg5"), out, sizeof out, &size));
}

/* ---- URIs and log-ins ---- */

TEST(uris_name_bucket_and_key)
{
    static const struct {
        const char *uri, *bucket, *key, *account;
    } good[] = {{"s3://b/k", "b", "k", NULL},
                {"s3://b", "b", "", NULL},
                {"s3a://b.c/", "b.c", "", NULL},
                {"az://c/x/y=1/*.csv", "c", "x/y=1/*.csv", NULL},
                {"azure://c/a b%20", "c", "a b%20", NULL},
                {"abfss://c@acct.dfs.core.windows.net/x", "c", "x", "acct"}};
    static const char *const bad[] = {"s3:/b/k",    "S3://b/k",    "http://b/k",   "s3:///k",
                                      "s3://a?b/k", "s3://a@b/k",  "az://",        "/s3://b",
                                      "",           "abfss://c/x", "abfss://c@/x", "s3://b\xC3\xA9/k"};
    myr_err err = {0};
    object_uri uri;
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++) {
        EXPECT(myr_object_is_uri(good[i].uri));
        EXPECT_RC(myr_object_uri_parse(good[i].uri, &uri, &err), OK, &err);
        EXPECT(myr_str_is(uri.bucket, good[i].bucket) && strcmp(uri.key, good[i].key) == 0);
        EXPECT(good[i].account == NULL ? uri.account.data == NULL : myr_str_is(uri.account, good[i].account));
    }
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++)
        EXPECT_RC(myr_object_uri_parse(bad[i], &uri, &err), BAD_INPUT, &err);
    EXPECT(!myr_object_is_uri("data/s3://b"));
}

TEST(keys_have_1024_bytes_at_most)
{
    char uri[1100];
    object_uri parsed;
    memset(uri, 'k', sizeof uri);
    memcpy(uri, "s3://b/", 7);
    uri[7 + MYR_OBJECT_KEY_BYTES_MAX] = '\0';
    EXPECT_RC(myr_object_uri_parse(uri, &parsed, NULL), OK, NULL);
    uri[7 + MYR_OBJECT_KEY_BYTES_MAX] = 'k';
    uri[8 + MYR_OBJECT_KEY_BYTES_MAX] = '\0';
    EXPECT_RC(myr_object_uri_parse(uri, &parsed, NULL), BAD_INPUT, NULL);
}

static void env_clear(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",       "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",       "AWS_REGION",
                                        "AWS_DEFAULT_REGION",      "AWS_PROFILE",
                                        "AWS_ENDPOINT_URL",        "AWS_ENDPOINT_URL_S3",
                                        "AWS_CA_BUNDLE",           "AZURE_STORAGE_CONNECTION_STRING",
                                        "AZURE_STORAGE_ACCOUNT",   "AZURE_STORAGE_KEY",
                                        "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_BLOB_ENDPOINT"};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++)
        EXPECT(unsetenv(names[i]) == 0);
    EXPECT(setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere", 1) == 0 && setenv("AWS_CONFIG_FILE", "/nowhere", 1) == 0);
}

static myr_rc login_of(const char *text, myr_arena *arena, object_login *out, myr_err *err)
{
    object_uri uri;
    MYR_TRY(myr_object_uri_parse(text, &uri, err));
    return myr_object_login(&uri, arena, out, err);
}

TEST(s3_is_found_as_aws_programs_find_it)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    object_login login;
    myr_err err = {0};
    env_clear();
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), UNAUTHENTICATED, &err);
    EXPECT_HAS(err.message, "AWS_ACCESS_KEY_ID");
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "word", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.endpoint, "https://b.s3.us-east-1.amazonaws.com");
    EXPECT(login.bucket == NULL && login.session == NULL);
    setenv("AWS_DEFAULT_REGION", "eu-west-1", 1);
    EXPECT_RC(login_of("s3://b.c/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.endpoint, "https://s3.eu-west-1.amazonaws.com"); /* no certificate is for b.c.s3… */
    EXPECT_STR(login.bucket, "b.c");
    setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000//", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.endpoint, "http://127.0.0.1:9000");
    setenv("AWS_ENDPOINT_URL", "127.0.0.1:9000", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), BAD_INPUT, &err);
    setenv("AWS_ENDPOINT_URL", "http://user:word@host", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), BAD_INPUT, &err);
    unsetenv("AWS_ENDPOINT_URL");
    setenv("AWS_SESSION_TOKEN", "two\nlines", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), BAD_INPUT, &err);
    env_clear();
}

TEST(profiles_come_from_the_credentials_file)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    object_login login;
    myr_err err = {0};
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 16];
    static const char text[] = "# mine\n[default]\naws_access_key_id = a\naws_secret_access_key=b=c\n\n[ other ]\r\n"
                               "aws_access_key_id=d\r\naws_secret_access_key = e\r\naws_session_token=f\r\n";
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/c", dir);
    EXPECT_RC(myr_file_write(path, text, sizeof text - 1, &err), OK, &err);
    env_clear();
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.access, "a");
    EXPECT_STR(login.secret, "b=c");
    EXPECT(login.session == NULL);
    setenv("AWS_PROFILE", "other", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.secret, "e");
    EXPECT_STR(login.session, "f");
    setenv("AWS_PROFILE", "third", 1);
    EXPECT_RC(login_of("s3://b/k", arena, &login, &err), UNAUTHENTICATED, &err);
    EXPECT_HAS(err.message, "third");
    env_clear();
}

TEST(azure_is_found_as_its_programs_find_it)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    object_login login;
    myr_err err = {0};
    env_clear();
    EXPECT_RC(login_of("az://c/k", arena, &login, &err), UNAUTHENTICATED, &err);
    EXPECT_HAS(err.message, "AZURE_STORAGE_CONNECTION_STRING");
    setenv("AZURE_STORAGE_ACCOUNT", "acct", 1);
    setenv("AZURE_STORAGE_KEY", "a2V5", 1);
    EXPECT_RC(login_of("az://c/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.endpoint, "https://acct.blob.core.windows.net");
    EXPECT(login.key_bytes == 3 && memcmp(login.key, "key", 3) == 0 && login.sas == NULL);
    EXPECT_RC(login_of("abfss://c@acct.dfs.core.windows.net/k", arena, &login, &err), OK, &err);
    EXPECT_RC(login_of("abfss://c@other.dfs.core.windows.net/k", arena, &login, &err), UNAUTHENTICATED, &err);
    setenv("AZURE_STORAGE_KEY", "no base64!", 1);
    EXPECT_RC(login_of("az://c/k", arena, &login, &err), BAD_INPUT, &err);
    EXPECT(strstr(err.message, "no base64!") == NULL);
    unsetenv("AZURE_STORAGE_KEY");
    setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=x", 1);
    EXPECT_RC(login_of("az://c/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.sas, "sv=1&sig=x");
    setenv("AZURE_STORAGE_CONNECTION_STRING",
           "DefaultEndpointsProtocol=http;AccountName=dev;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/dev;", 1);
    EXPECT_RC(login_of("az://c/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.endpoint, "http://127.0.0.1:1/dev");
    EXPECT_STR(login.account, "dev");
    setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=dev;AccountKey=a2V5;EndpointSuffix=core.example", 1);
    EXPECT_RC(login_of("az://c/k", arena, &login, &err), OK, &err);
    EXPECT_STR(login.endpoint, "https://dev.blob.core.example");
    env_clear();
}

/* ---- answers ---- */

static myr_rc page_of(object_kind kind, const char *text, object_page *page, myr_err *err)
{
    return myr_object_page_read(page, kind, myr_str_of(text), err);
}

TEST(a_page_of_s3_is_read)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    object_page page = {.arena = arena};
    myr_err err = {0};
    static const char first[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
        "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<Name>b</Name><Prefix>x/</Prefix><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>"
        "<Contents><Key>x/a+b%2Bc%3D1%25.csv</Key><LastModified>2009-10-12T17:50:30.123Z</LastModified>"
        "<ETag>&quot;fba9&quot;</ETag><Size>434234</Size><Owner><ID>x</ID></Owner></Contents>"
        "<Contents><Key>x/%C3%A9</Key><Size>0</Size></Contents><EncodingType>url</EncodingType>"
        "<NextContinuationToken>1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J==</NextContinuationToken></ListBucketResult>";
    static const char second[] =
        "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>x/p&amp;q+%20&#x41;</Key>"
        "<Size>1</Size></Contents></ListBucketResult>";
    EXPECT_RC(page_of(OBJECT_S3, first, &page, &err), OK, &err);
    EXPECT_INT(page.count, 2);
    EXPECT_STR(page.items[0].key, "x/a b+c=1%.csv");
    EXPECT_STR(page.items[0].etag, "fba9");
    EXPECT_INT(page.items[0].bytes, 434234);
    EXPECT_INT(page.items[0].modified_ms, 1255369830123);
    EXPECT_STR(page.items[1].key, "x/\xC3\xA9");
    EXPECT(myr_str_is(page.next, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J=="));
    EXPECT_RC(page_of(OBJECT_S3, second, &page, &err), OK, &err);
    EXPECT_INT(page.count, 3);
    EXPECT_STR(page.items[2].key, "x/p&q+%20A"); /* not encoded: the page does not say so */
    EXPECT_INT(page.next.size, 0);
}

TEST(a_page_of_azure_is_read)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    object_page page = {.arena = arena};
    myr_err err = {0};
    static const char text[] =
        "\xEF\xBB\xBF<?xml version='1.0' encoding='utf-8'?><EnumerationResults ServiceEndpoint=\"https://a/\" "
        "ContainerName='c'>"
        "<Blobs><Blob><Name>a+%20</Name><Properties><Last-Modified>Mon, 12 Oct 2009 17:50:30 GMT</Last-Modified>"
        "<Etag>0x8D</Etag><Content-Length>7</Content-Length><ResourceType>file</ResourceType></Properties></Blob>"
        "<Blob><Name Encoded=\"true\">a%0B+</Name><Properties><Content-Length>8</Content-Length></Properties></Blob>"
        "<Blob><Name>dir</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType>"
        "</Properties></Blob></Blobs><NextMarker /></EnumerationResults>";
    EXPECT_RC(page_of(OBJECT_AZURE, text, &page, &err), OK, &err);
    EXPECT_INT(page.count, 2);
    EXPECT_STR(page.items[0].key, "a+%20");
    EXPECT_STR(page.items[0].etag, "0x8D");
    EXPECT_INT(page.items[0].modified_ms, 1255369830000);
    EXPECT_STR(page.items[1].key, "a\v+");
    EXPECT_INT(page.next.size, 0);
}

TEST(answers_that_are_none_are_refused)
{
    static const char *const bad[] = {
        "",
        "<html><body>hello</body></html>",
        "<ListBucketResult>",
        "<ListBucketResult></listBucketResult>",
        "<ListBucketResult/><x/>",
        "<ListBucketResult/>text",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult/>",
        "<ListBucketResult><!-- c --></ListBucketResult>",
        "<ListBucketResult>&unknown;</ListBucketResult>",
        "<ListBucketResult>&#0;</ListBucketResult>",
        "<ListBucketResult>&#xD800;</ListBucketResult>",
        "<ListBucketResult>&#1114112;</ListBucketResult>",
        "<ListBucketResult>&amp</ListBucketResult>",
        "<ListBucketResult>\xFF</ListBucketResult>",
        "<ListBucketResult a=b/>",
        "<ListBucketResult a=\"<\"/>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>k</Key><Size>9223372036854775808</Size></Contents></ListBucketResult>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%zz</Key><Size>1</Size></Contents></"
        "ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%00</Key><Size>1</Size></Contents></"
        "ListBucketResult>",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        object_page page = {.arena = arena};
        myr_err err = {0};
        EXPECT_RC(page_of(OBJECT_S3, bad[i], &page, &err), BAD_FORMAT, &err);
    }
}

static myr_rc count_elements(void *ctx, const object_element *element, myr_err *err)
{
    (void)element;
    (void)err;
    ++*(int *)ctx;
    return MYR_OK;
}

TEST(elements_are_nested_16_deep_at_most)
{
    for (int depth = 16; depth <= 17; depth++) {
        MYR_AUTO(myr_buf) text = {0};
        int count = 0;
        myr_err err = {0};
        for (int i = 0; i < depth; i++)
            myr_buf_puts(&text, "<a>");
        for (int i = 0; i < depth; i++)
            myr_buf_puts(&text, "</a>");
        myr_rc rc = myr_object_xml_read(myr_str_make(text.data, text.size), count_elements, &count, &err);
        EXPECT_INT(rc, depth == 16 ? MYR_OK : MYR_BAD_FORMAT);
    }
}

TEST(troubles_are_told_in_the_services_words)
{
    object_trouble trouble;
    myr_object_trouble_read(myr_str_of("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>The key\nis not"
                                       "</Message><RequestId>1</RequestId></Error>"),
                            &trouble);
    EXPECT_STR(trouble.code, "NoSuchKey");
    EXPECT_STR(trouble.message, "The key");
    myr_object_trouble_read(myr_str_of("<html>Bad gateway"), &trouble);
    EXPECT_STR(trouble.code, "");
}

TEST(times_are_read_and_written)
{
    static const char *const good[] = {"2009-10-12T17:50:30.000Z", "2009-10-12T17:50:30Z",
                                       "Mon, 12 Oct 2009 17:50:30 GMT", "2009-10-12T17:50:30.0000000Z"};
    static const char *const bad[] = {"",
                                      "2009-10-12",
                                      "2009-13-12T17:50:30.000Z",
                                      "2009-10-12T25:50:30.000Z",
                                      "2009-10-12T17:50:30.000+",
                                      "Mon, 12 Okt 2009 17:50:30 GMT",
                                      "2009-10-12T17:50:3xZ"};
    char out[OBJECT_TIME_BYTES];
    int64_t ms = 0;
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++) {
        EXPECT(myr_object_time_parse(myr_str_of(good[i]), &ms));
        EXPECT_INT(ms, 1255369830000);
    }
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++)
        EXPECT(!myr_object_time_parse(myr_str_of(bad[i]), &ms));
    myr_object_time_http(1255369830000, out);
    EXPECT_STR(out, "Mon, 12 Oct 2009 17:50:30 GMT");
    myr_object_time_http(0, out);
    EXPECT_STR(out, "Thu, 01 Jan 1970 00:00:00 GMT");
}

TEST(patterns_match_as_over_paths)
{
    static const struct {
        const char *pattern, *key;
        bool matches;
    } cases[] = {{"a/*.csv", "a/b.csv", true},
                 {"a/*.csv", "a/b/c.csv", false},
                 {"a/**/*.csv", "a/c.csv", true},
                 {"a/**/*.csv", "a/b/c/d.csv", true},
                 {"a/**", "a/b/c", true},
                 {"**/x=*/p?.csv", "u/v/x=1/pq.csv", true},
                 {"**/x=*/p?.csv", "u/x=1/v/pq.csv", false},
                 {"[ab].csv", "b.csv", true},
                 {"[ab].csv", "c.csv", false},
                 {"**/a/**/b", "a/x/a/y/b", true},
                 {"**/a/**/b", "a/x/a/y/c", false},
                 {"a/*", "a/", true},
                 {"a", "a", true},
                 {"a", "ab", false},
                 {"", "", true}};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++)
        EXPECT_INT(myr_object_match(cases[i].pattern, cases[i].key), cases[i].matches);
}

/* ---- the cache ---- */

TEST(the_cache_keeps_what_was_used_last)
{
    char dir[TESTING_PATH_BYTES], cache[TESTING_PATH_BYTES + 16], path[TESTING_PATH_BYTES + 16],
        to[TESTING_PATH_BYTES + 16];
    myr_object objects[3];
    static const char *const keys[3] = {"a", "b", "c"};
    myr_err err = {0};
    testing_dir(dir);
    snprintf(cache, sizeof cache, "%s/cache", dir);
    snprintf(path, sizeof path, "%s/file", dir);
    EXPECT_RC(myr_io_mkdirs(cache, &err), OK, &err);
    for (int i = 0; i < 3; i++) {
        objects[i] = (myr_object){.key = keys[i], .bytes = 100, .etag = "e"};
        EXPECT(!myr_object_cache_take(cache, "s3://b/", &objects[i], path));
        char data[100] = {(char)i};
        EXPECT_RC(myr_file_write(path, data, sizeof data, &err), OK, &err);
        myr_object_cache_put(cache, "s3://b/", &objects[i], path);
        EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
        myr_clock_sleep_ms(5);
    }
    EXPECT(myr_object_cache_take(cache, "s3://b/", &objects[0], path)); /* used last from now on */
    EXPECT_RC(myr_object_cache_prune(cache, 200, &err), OK, &err);
    snprintf(to, sizeof to, "%s/to", dir);
    EXPECT(!myr_object_cache_take(cache, "s3://b/", &objects[1], to));
    EXPECT(myr_object_cache_take(cache, "s3://b/", &objects[2], to));
    EXPECT(!myr_object_cache_take(cache, "s3://b/", &objects[2], to)); /* its name is taken */
    myr_object other = objects[2];
    EXPECT_RC(myr_io_unlink(to, &err), OK, &err);
    EXPECT(!myr_object_cache_take(cache, "s3://c/", &objects[2], to));
    other.etag = "f";
    EXPECT(!myr_object_cache_take(cache, "s3://b/", &other, to));
    other.etag = ""; /* what may change and look the same is not kept */
    myr_object_cache_put(cache, "s3://b/", &other, path);
    EXPECT(!myr_object_cache_take(cache, "s3://b/", &other, to));
    EXPECT_RC(myr_object_cache_prune(cache, 0, &err), OK, &err);
    EXPECT(!myr_object_cache_take(cache, "s3://b/", &objects[0], to));
}

TEST(object_survives_each_failed_allocation)
{
    env_clear();
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "word", 1);
    FAIL_EACH_ALLOC (nth) {
        myr_object_client *client = NULL;
        myr_err err = {0};
        myr_rc rc = myr_object_open("s3://b/k", NULL, &client, &err);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY || rc == MYR_UNAVAILABLE);
        EXPECT((rc == MYR_OK) == (client != NULL));
        myr_object_close(client);
    }
    env_clear();
}

RUN()
