/* Tests of online's feature store: keys, questions, ages, limits, deadlines. */
#include "online_fixture.h"

#include <math.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const keys_sb[] = {"store", "brand"};
static const char *const features_pn[] = {"price", "name"};

static myr_feature_table table_sb(void)
{
    myr_feature_table table = {.features = features_pn, .feature_count = 2, .keys = {.column_count = 2}};
    strcpy(table.keys.columns[0].name, "store");
    strcpy(table.keys.columns[1].name, "brand");
    return table;
}

static void put(const char *uri, const char *key, const char *json, int64_t written_ms)
{
    myr_err err = {0};
    myr_feature_store *store = NULL;
    myr_feature_table table = table_sb();
    EXPECT_RC(myr_feature_store_open(uri, true, &store, &err), OK, &err);
    EXPECT_RC(myr_feature_store_define(store, "prices", &table, FAR_NS, &err), OK, &err);
    myr_feature_put row = {myr_str_of(key), myr_str_of(json)};
    EXPECT_RC(myr_feature_store_put(store, "prices", &row, 1, written_ms, FAR_NS, &err), OK, &err);
    myr_feature_store_close(store);
}

static myr_source *source_of(const char *uri, int64_t max_age_ms, size_t waiting_max)
{
    myr_err err = {0};
    myr_source *source = NULL;
    myr_source_opts opts = {.uri = uri,
                            .table = "prices",
                            .keys = keys_sb,
                            .key_count = 2,
                            .features = features_pn,
                            .feature_count = 2,
                            .max_age_ms = max_age_ms,
                            .waiting_max = waiting_max};
    EXPECT_RC(myr_source_open(&opts, &source, &err), OK, &err);
    return source;
}

TEST(keys_are_canonical)
{
    myr_key_schema schema = {.column_count = 2, .columns = {{"store", MYR_KEY_INT64}, {"name", MYR_KEY_BYTES}}};
    double stores[] = {2.0, NAN, 2.5};
    myr_str names[] = {myr_str_of("a,b"), myr_str_of("c"), myr_str_of("d")};
    myr_col cols[] = {{.name = "store", .type = MYR_COL_DOUBLE, .data.f64 = stores},
                      {.name = "name", .type = MYR_COL_TEXT, .data.text = names}};
    MYR_AUTO(myr_buf) text = {0};
    myr_err err = {0};
    bool is_null = true;
    EXPECT_RC(myr_online_key(&schema, cols, 0, &text, &is_null, &err), OK, &err);
    EXPECT(!is_null);
    EXPECT_STR(text.data, "store=2,name=a%2Cb");
    EXPECT_RC(myr_online_key(&schema, cols, 1, &text, &is_null, &err), OK, &err);
    EXPECT(is_null);
    EXPECT_STR(text.data, "store=2,name=a%2Cb"); /* untouched */
    EXPECT_RC(myr_online_key(&schema, cols, 2, &text, &is_null, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "2.5 is not an integer");
}

TEST(a_question_gives_rows_by_age)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    int64_t now_ms = myr_clock_unix_ms();
    put(uri, "store=2,brand=1", "{\"price\":0.5,\"name\":\"x\",\"more\":[1]}", now_ms - 1000);
    put(uri, "store=3,brand=1", "{\"price\":null}", now_ms - 100000);
    myr_source *source = source_of(uri, 50000, 0);
    myr_err err = {0};
    EXPECT_RC(myr_source_check(source, FAR_NS, &err), OK, &err);
    myr_str keys[] = {myr_str_of("store=3,brand=1"), myr_str_of("store=9,brand=9"), myr_str_of("store=2,brand=1"),
                      myr_str_of("store=2,brand=1")};
    waiter w;
    waiter_init(&w);
    myr_lookup *fetch = NULL;
    const myr_feature_row *rows = NULL;
    EXPECT_RC(myr_lookup_start(source, keys, 4, in_ms(10000), waiter_done, &w, &fetch, &err), OK, &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), OK, &err);
    EXPECT_INT(rows[0].state, MYR_FEATURE_STALE);
    EXPECT(isnan(rows[0].cells[0].number) && rows[0].cells[0].text.data == NULL);
    EXPECT_INT(rows[1].state, MYR_FEATURE_MISSING);
    EXPECT_INT(rows[1].written_ms, 0);
    for (int i = 2; i < 4; i++) {
        EXPECT_INT(rows[i].state, MYR_FEATURE_FOUND);
        EXPECT_INT(rows[i].written_ms, now_ms - 1000);
        EXPECT(rows[i].cells[0].number == 0.5);
        EXPECT(myr_str_is(rows[i].cells[1].text, "x"));
    }
    myr_lookup_free(fetch);
    EXPECT_RC(myr_lookup_start(source, keys, 0, in_ms(10000), waiter_done, &w, &fetch, &err), OK, &err);
    waiter_wait(&w, 2);
    EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), OK, &err);
    myr_lookup_free(fetch);
    myr_source_close(source);
}

TEST(a_damaged_row_is_its_questions_error_alone)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    put(uri, "store=2,brand=1", "{\"price\":0.5}", 1);
    put(uri, "store=3,brand=1", "{\"price\":[0.5]}", 1);
    put(uri, "store=4,brand=1", "nonsense", 1);
    myr_source *source = source_of(uri, 0, 0);
    myr_str keys[] = {myr_str_of("store=2,brand=1"), myr_str_of("store=3,brand=1"), myr_str_of("store=4,brand=1")};
    myr_lookup *fetches[3];
    myr_err err = {0};
    waiter w;
    waiter_init(&w);
    for (int i = 0; i < 3; i++)
        EXPECT_RC(myr_lookup_start(source, &keys[i], 1, in_ms(10000), waiter_done, &w, &fetches[i], &err), OK, &err);
    waiter_wait(&w, 3);
    const myr_feature_row *rows;
    EXPECT_RC(myr_lookup_rows(fetches[0], &rows, &err), OK, &err);
    EXPECT_RC(myr_lookup_rows(fetches[1], &rows, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "store=3,brand=1");
    EXPECT_RC(myr_lookup_rows(fetches[2], &rows, &err), BAD_FORMAT, &err);
    for (int i = 0; i < 3; i++)
        myr_lookup_free(fetches[i]);
    myr_source_close(source);
}

/* Whether a question of the one key gives a row. */
static bool is_there(myr_source *source)
{
    myr_str key = myr_str_of("store=2,brand=1");
    myr_lookup *fetch = NULL;
    const myr_feature_row *rows = NULL;
    myr_err err = {0};
    waiter w;
    waiter_init(&w);
    EXPECT_RC(myr_lookup_start(source, &key, 1, in_ms(10000), waiter_done, &w, &fetch, &err), OK, &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), OK, &err);
    bool is_found = rows != NULL && rows[0].state == MYR_FEATURE_FOUND;
    myr_lookup_free(fetch);
    return is_found;
}

/* As a user who may not write: sees no row, and one as soon as the file has it. 0 = so it was. */
static int child_follows(const char *uri)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return 1;
    myr_source *source = source_of(uri, 0, 0);
    if (is_there(source)) return 2;
    bool has_come = false;
    for (int i = 0; i < 500 && !has_come; i++) {
        myr_clock_sleep_ms(10);
        has_come = is_there(source);
    }
    myr_source_close(source);
    return has_come ? 0 : 3;
}

static void make_read_only(const char *uri, bool is_read_only)
{
    char dir[TESTING_PATH_BYTES];
    const char *path = myr_db_uri_path(uri);
    myr_path_dir(path, dir, sizeof dir);
    EXPECT_INT(chmod(dir, is_read_only ? 0555 : 0755), 0);
    EXPECT_INT(chmod(path, is_read_only ? 0444 : 0644), 0);
}

TEST(a_file_that_may_only_be_read_is_followed)
{
    char uri[TESTING_PATH_BYTES + 16];
    int status = 0;
    make_uri(uri);
    put(uri, "store=9,brand=9", "{\"price\":0.5}", 1);
    make_read_only(uri, true);
    pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) _exit(child_follows(uri));
    myr_clock_sleep_ms(300);
    make_read_only(uri, false);
    put(uri, "store=2,brand=1", "{\"price\":0.5}", 1);
    EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    EXPECT_INT(WEXITSTATUS(status), 0);
}

/* Look on this thread, once the lane has opened what that needs. */
static bool look_now(myr_source *source, const myr_str *keys, size_t count, myr_lookup **out)
{
    for (int i = 0; i < 1000; i++) {
        if (myr_lookup_now(source, keys, count, out)) return true;
        myr_clock_sleep_ms(5);
    }
    return false;
}

TEST(a_few_keys_are_looked_up_where_they_are_asked_for)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    put(uri, "store=2,brand=1", "{\"price\":0.5,\"name\":\"x\"}", 1);
    put(uri, "store=3,brand=1", "nonsense", 1);
    myr_source *source = source_of(uri, 0, 0);
    myr_str keys[17] = {myr_str_of("store=2,brand=1"), myr_str_of("store=9,brand=9")};
    const myr_feature_row *rows = NULL;
    myr_lookup *fetch = NULL;
    myr_err err = {0};
    EXPECT(look_now(source, keys, 2, &fetch));
    EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), OK, &err);
    EXPECT(rows[0].state == MYR_FEATURE_FOUND && rows[0].cells[0].number == 0.5);
    EXPECT_INT(rows[1].state, MYR_FEATURE_MISSING);
    myr_lookup_free(fetch);
    put(uri, "store=2,brand=1", "{\"price\":1.5}", 2); /* the newest, at once */
    EXPECT(look_now(source, keys, 1, &fetch));
    EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), OK, &err);
    EXPECT(rows[0].cells[0].number == 1.5);
    myr_lookup_free(fetch);
    keys[0] = myr_str_of("store=3,brand=1");
    EXPECT(look_now(source, keys, 1, &fetch));
    EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), BAD_FORMAT, &err);
    myr_lookup_free(fetch);
    for (size_t i = 0; i < 17; i++)
        keys[i] = myr_str_of("store=2,brand=1");
    EXPECT(look_now(source, keys, 16, &fetch));
    myr_lookup_free(fetch);
    EXPECT(!myr_lookup_now(source, keys, 17, &fetch)); /* the lane's */
    myr_source_close(source);
}

TEST(who_looks_himself_does_not_wait_for_a_lock)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    put(uri, "store=2,brand=1", "{\"price\":0.5}", 1);
    myr_source *source = source_of(uri, 0, 0);
    myr_str key = myr_str_of("store=2,brand=1");
    myr_lookup *fetch = NULL;
    EXPECT(look_now(source, &key, 1, &fetch));
    myr_lookup_free(fetch);
    myr_source_close(source);
    myr_db *db = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(myr_db_uri_path(uri), false, &db, &err), OK, &err);
    EXPECT_RC(myr_db_exec(db, "PRAGMA locking_mode=EXCLUSIVE", &err), OK, &err);
    EXPECT_RC(myr_db_exec(db, "UPDATE feature_row SET written_ms = 2", &err), OK, &err); /* and keeps the lock */
    source = source_of(uri, 0, 0);
    int64_t start_ns = myr_clock_mono_ns();
    EXPECT(!myr_lookup_now(source, &key, 1, &fetch));
    EXPECT(myr_clock_mono_ns() - start_ns < 1000000000LL);
    myr_db_close(db);
    myr_source_close(source);
}

TEST(questions_are_bounded)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    put(uri, "store=2,brand=1", "{\"price\":0.5}", 1);
    myr_source *source = source_of(uri, 0, 2);
    myr_str key = myr_str_of("store=2,brand=1");
    myr_lookup *a, *b, *c = NULL;
    myr_err err = {0};
    waiter w;
    waiter_init(&w);
    EXPECT_RC(myr_lookup_start(source, &key, 1, in_ms(10000), waiter_done, &w, &a, &err), OK, &err);
    EXPECT_RC(myr_lookup_start(source, &key, 1, in_ms(10000), waiter_done, &w, &b, &err), OK, &err);
    EXPECT_RC(myr_lookup_start(source, &key, 1, in_ms(10000), waiter_done, &w, &c, &err), BUSY, &err);
    EXPECT_HAS(err.message, "prices: 2 requests wait");
    waiter_wait(&w, 2);
    myr_lookup_free(a);
    myr_str *many = myr_calloc(MYR_FEATURE_KEYS_MAX + 1, sizeof *many);
    for (int i = 0; i <= MYR_FEATURE_KEYS_MAX; i++)
        many[i] = key;
    EXPECT_RC(myr_lookup_start(source, many, MYR_FEATURE_KEYS_MAX + 1, FAR_NS, waiter_done, &w, &c, &err), TOO_LARGE,
              &err);
    EXPECT_RC(myr_lookup_start(source, many, MYR_FEATURE_KEYS_MAX, FAR_NS, waiter_done, &w, &c, &err), OK, &err);
    waiter_wait(&w, 3);
    const myr_feature_row *rows;
    EXPECT_RC(myr_lookup_rows(c, &rows, &err), OK, &err);
    EXPECT_INT(rows[MYR_FEATURE_KEYS_MAX - 1].state, MYR_FEATURE_FOUND);
    myr_free(many);
    myr_lookup_free(b);
    myr_lookup_free(c);
    myr_source_close(source);
}

TEST(a_source_says_what_its_table_has)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_err err = {0};
    myr_source *source = source_of(uri, 0, 0);
    EXPECT_RC(myr_source_check(source, FAR_NS, &err), NOT_FOUND, &err);
    put(uri, "store=2,brand=1", "{}", 1);
    EXPECT_RC(myr_source_check(source, FAR_NS, &err), OK, &err);
    myr_source_close(source);
    const char *const swapped[] = {"brand", "store"};
    const char *const wrong[] = {"prise"};
    myr_source_opts opts = {
        .uri = uri, .table = "prices", .keys = swapped, .key_count = 2, .features = wrong, .feature_count = 1};
    EXPECT_RC(myr_source_open(&opts, &source, &err), OK, &err);
    EXPECT_RC(myr_source_check(source, FAR_NS, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "has the keys [store, brand]");
    myr_source_close(source);
    opts.keys = keys_sb;
    EXPECT_RC(myr_source_open(&opts, &source, &err), OK, &err);
    EXPECT_RC(myr_source_check(source, FAR_NS, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "did you mean 'price'?");
    myr_source_close(source);
    opts.table = "nothing";
    EXPECT_RC(myr_source_open(&opts, &source, &err), OK, &err);
    EXPECT_RC(myr_source_check(source, FAR_NS, &err), NOT_FOUND, &err);
    myr_source_close(source);
}

/* A server that takes connections and says nothing: the request is answered in time, the thread is not lost for ever.
 */
TEST(a_mute_database_is_late_not_stuck)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    EXPECT(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 8) == 0);
    EXPECT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    const char *const schemes[] = {"redis://:word@127.0.0.1:%d/0", "postgresql://u:word@127.0.0.1:%d/d"};
    for (int i = 0; i < 2; i++) {
        char uri[128];
        snprintf(uri, sizeof uri, schemes[i], ntohs(address.sin_port));
        myr_source *source = source_of(uri, 0, 0);
        myr_str key = myr_str_of("store=2,brand=1");
        myr_lookup *fetch = NULL;
        const myr_feature_row *rows;
        myr_err err = {0};
        waiter w;
        waiter_init(&w);
        int64_t start_ns = myr_clock_mono_ns();
        EXPECT_RC(myr_lookup_start(source, &key, 1, in_ms(30), waiter_done, &w, &fetch, &err), OK, &err);
        waiter_wait(&w, 1);
        EXPECT(myr_clock_mono_ns() - start_ns < 2000000000); /* 30 ms on a quiet machine */
        EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), TIMEOUT, &err);
        myr_lookup_free(fetch);
        myr_source_close(source); /* waits for the attempt to connect, which has its own end */
    }
    close(fd);
}

/* Refused: the words come at once, and again without an attempt while the pause lasts. */
TEST(a_refused_connection_is_said_at_once)
{
    const char *const uris[] = {"redis://127.0.0.1:1/0", "postgresql://127.0.0.1:1/d"};
    for (int i = 0; i < 2; i++) {
        myr_source *source = source_of(uris[i], 0, 0);
        myr_str key = myr_str_of("store=2,brand=1");
        const myr_feature_row *rows;
        waiter w;
        waiter_init(&w);
        for (int round = 1; round <= 20; round++) {
            myr_lookup *fetch = NULL;
            myr_err err = {0};
            EXPECT_RC(myr_lookup_start(source, &key, 1, in_ms(5000), waiter_done, &w, &fetch, &err), OK, &err);
            waiter_wait(&w, round);
            EXPECT_RC(myr_lookup_rows(fetch, &rows, &err), UNAVAILABLE, &err);
            EXPECT_HAS(err.message, "cannot connect");
            if (round == 20) EXPECT_HAS(err.message, "again in");
            myr_lookup_free(fetch);
        }
        myr_source_close(source);
    }
}

TEST(each_failed_allocation_of_a_source_is_said)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    FAIL_EACH_ALLOC (nth) {
        myr_source *source = NULL;
        myr_err err = {0};
        myr_source_opts opts = {.uri = uri,
                                .table = "prices",
                                .keys = keys_sb,
                                .key_count = 2,
                                .features = features_pn,
                                .feature_count = 2};
        myr_rc rc = myr_source_open(&opts, &source, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && source == NULL));
        if (rc == MYR_OK) {
            myr_source_close(source);
            break;
        }
    }
}

TEST(passwords_are_not_shown)
{
    static const char *const pairs[][2] = {
        {"postgresql://u:pw@h:1/d", "postgresql://u:***@h:1/d"},
        {"postgresql://u:p@w@h/d", "postgresql://u:***@h/d"},
        {"postgresql://u@h/d?password=pw&sslmode=require", "postgresql://u@h/d?password=***&sslmode=require"},
        {"redis://:pw@h/1", "redis://:***@h/1"},
        {"redis://h/1", "redis://h/1"},
        {"redis://:p/w?x#y@h/1", "redis://:***?***"},
        {"postgresql://u:p?w@h/d?password=pw", "postgresql://u:***?***"},
        {"postgresql://db:5432/x?user=a@b&password=pw", "postgresql://db:***?***"},
        {"postgresql://db:5432/x?password=p@w", "postgresql://db:***?***"},
        {"postgresql://db/x?password=p:w@b", "postgresql://db/x?***"},
        {"postgresql://u:pw@db/x?user=a@b&sslpassword=pw", "postgresql://u:***?***"},
        {"sqlite:a:b@c.db", "sqlite:a:b@c.db"},
        {"host=db user=u password=pw", "host***"},
        {"password=pw://x", "password***"},
        {"pw word=x://y", "pw***"},
        {"postgres:u:pw@db", "postgres***"},
        {"postgresql:/u:pw@db/d", "postgresql***"},
        {"u:pw@db", "u***"},
        {"features.db", "features.db"},
        {"", ""},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(pairs); i++) {
        MYR_AUTO(myr_buf) out = {0};
        myr_db_uri_show(pairs[i][0], &out);
        EXPECT_STR(out.data, pairs[i][1]);
    }
}

RUN()
