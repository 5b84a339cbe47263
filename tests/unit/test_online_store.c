/* Tests of online's prediction store: what is stored and found, idempotency keys, one transaction for many, a lock that
 * is held, bounds. */
#include "online_fixture.h"

#include <arpa/inet.h>
#include <math.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "online/predictions.h"

static myr_predictions *store_open(const char *uri, size_t waiting_max, myr_metrics *metrics)
{
    myr_predictions *store = NULL;
    myr_err err = {0};
    myr_predictions_opts opts = {.uri = uri, .waiting_max = waiting_max, .metrics = metrics};
    EXPECT_RC(myr_predictions_open(&opts, &store, &err), OK, &err);
    return store;
}

static const double two_values[] = {0.25, -1.5};

static myr_prediction row_of(const char *key)
{
    return (myr_prediction){.key = myr_str_of(key),
                            .values = two_values,
                            .value_count = 1,
                            .features = myr_str_of("{\"price\":0.5}"),
                            .model = myr_str_of("oj@store=2,brand=1"),
                            .model_version = 3,
                            .level = "segment"};
}

static myr_store_request request_of(const myr_prediction *rows, size_t count)
{
    return (myr_store_request){.fleet = myr_str_of("oj"),
                               .release = 7,
                               .source = "request",
                               .request_id = myr_str_of("r-1"),
                               .produced_ms = 1000,
                               .rows = rows,
                               .row_count = count};
}

static void store_now(myr_predictions *store, const myr_store_request *request)
{
    waiter w;
    myr_stored *stored = NULL;
    myr_kept_answer kept;
    myr_err err = {0};
    waiter_init(&w);
    EXPECT_RC(myr_stored_start(store, request, in_ms(20000), waiter_done, &w, &stored, &err), OK, &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_stored_result(stored, &kept, &err), OK, &err);
    EXPECT_INT(kept.status, 0);
    myr_stored_free(stored);
}

/* The row lives as long as *out_latest. */
static myr_latest_row latest_of(myr_predictions *store, const char *key, myr_latest **out_latest)
{
    waiter w;
    myr_latest_row row = {0};
    myr_err err = {0};
    waiter_init(&w);
    EXPECT_RC(
        myr_latest_start(store, myr_str_of("oj"), myr_str_of(key), in_ms(20000), waiter_done, &w, out_latest, &err), OK,
        &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_latest_result(*out_latest, &row, &err), OK, &err);
    return row;
}

static myr_claim_id claim_id(const char *token, const char *key, char hash)
{
    myr_claim_id id = {.token = myr_str_of(token), .fleet = myr_str_of("oj"), .key = myr_str_of(key)};
    memset(id.hash, hash, MYR_SHA256_HEX_BYTES - 1);
    return id;
}

static myr_rc claim_ask(myr_predictions *store, const char *token, const char *key, char hash, myr_claim **out,
                        myr_kept_answer *out_kept, myr_err *err)
{
    waiter w;
    myr_claim_id id = claim_id(token, key, hash);
    waiter_init(&w);
    *out = NULL;
    MYR_TRY(myr_claim_start(store, &id, in_ms(20000), waiter_done, &w, out, err));
    waiter_wait(&w, 1);
    return myr_claim_result(*out, out_kept, err);
}

TEST(what_is_stored_is_found_also_by_the_next_process)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    myr_prediction rows[] = {row_of("store=2,brand=1"), row_of("store=3,brand=1")};
    rows[1].value_count = 2;
    rows[1].features = myr_str_make(NULL, 0);
    myr_store_request request = request_of(rows, 2);
    store_now(store, &request);
    request.produced_ms = 900; /* older: not the latest */
    request.release = 6;
    store_now(store, &request);
    for (int round = 0; round < 2; round++) {
        myr_latest *latest = NULL;
        myr_latest_row row = latest_of(store, "store=2,brand=1", &latest);
        EXPECT(row.is_found && row.value_count == 1 && row.values[0] == 0.25);
        EXPECT_INT(row.release, 7);
        EXPECT_INT(row.produced_ms, 1000);
        EXPECT_INT(row.valid_ms, 0);
        EXPECT_INT(row.model_version, 3);
        EXPECT(myr_str_is(row.model, "oj@store=2,brand=1") && myr_str_is(row.level, "segment"));
        EXPECT(myr_str_is(row.source, "request") && myr_str_is(row.request_id, "r-1"));
        myr_latest_free(latest);
        row = latest_of(store, "store=3,brand=1", &latest);
        EXPECT(row.is_found && row.value_count == 2 && row.values[0] == 0.25 && row.values[1] == -1.5);
        myr_latest_free(latest);
        row = latest_of(store, "store=4,brand=1", &latest);
        EXPECT(!row.is_found);
        myr_latest_free(latest);
        myr_predictions_close(store);
        store = round == 0 ? store_open(uri, 0, NULL) : NULL;
    }
}

#define MANY_KEYS 50
#define MANY_ROWS 97 /* of a request: the writer notes the keys of some hundred rows at once */

static void expect_latest(myr_predictions *store, int key, int64_t produced_ms, int64_t release)
{
    char text[32];
    myr_latest *latest = NULL;
    snprintf(text, sizeof text, "store=%d", key);
    myr_latest_row row = latest_of(store, text, &latest);
    EXPECT_INT(row.is_found, produced_ms > 0);
    if (row.is_found) {
        EXPECT_INT(row.produced_ms, produced_ms);
        EXPECT_INT(row.release, release);
    }
    myr_latest_free(latest);
}

/* Moments that go back too: the latest of a key is the one produced last, of one moment the one stored last. Two
 * writers of one file, each of which notes what the other has added. */
TEST(the_latest_is_right_whenever_keys_were_noted)
{
    char uri[TESTING_PATH_BYTES + 16], names[MANY_ROWS][32];
    make_uri(uri);
    myr_predictions *stores[] = {store_open(uri, 0, NULL), store_open(uri, 0, NULL)};
    myr_prediction rows[MANY_ROWS];
    int64_t produced[MANY_KEYS] = {0}, releases[MANY_KEYS] = {0};
    uint64_t dice = 7;
    for (int64_t request_idx = 1; request_idx <= 60; request_idx++) {
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        int64_t moment = 1000 + (int64_t)(dice >> 60); /* few: many are equal */
        for (int i = 0; i < MANY_ROWS; i++) {
            int key = (int)(((dice >> 20) + (uint64_t)i * 7) % MANY_KEYS);
            snprintf(names[i], sizeof names[i], "store=%d", key);
            rows[i] = row_of(names[i]);
            if (moment < produced[key]) continue;
            produced[key] = moment;
            releases[key] = request_idx;
        }
        myr_store_request request = request_of(rows, MANY_ROWS);
        request.produced_ms = moment;
        request.release = request_idx;
        store_now(stores[request_idx % 3 == 0], &request);
        int key = (int)((dice >> 33) % MANY_KEYS);
        expect_latest(stores[0], key, produced[key], releases[key]);
    }
    for (int key = 0; key < MANY_KEYS; key++)
        expect_latest(stores[key % 2], key, produced[key], releases[key]);
    expect_latest(stores[0], MANY_KEYS, 0, 0);
    myr_predictions_close(stores[0]);
    myr_predictions_close(stores[1]);
}

/* As files were before keys were noted: their rows are found, and new ones beside them. */
TEST(a_file_of_the_first_schema_is_taken_over)
{
    static const char *const first[] = {
        "CREATE TABLE prediction(prediction_id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, key TEXT NOT NULL,"
        " value REAL, outputs TEXT, features TEXT, release INTEGER NOT NULL, model TEXT NOT NULL,"
        " model_version INTEGER NOT NULL, level TEXT NOT NULL, source TEXT NOT NULL, produced_ms INTEGER NOT NULL,"
        " valid_ms INTEGER, request_id TEXT) STRICT;"
        "CREATE INDEX prediction_by_key ON prediction(fleet, key, produced_ms);"
        "CREATE TABLE answer(token TEXT NOT NULL, fleet TEXT NOT NULL, idempotency_key TEXT NOT NULL, hash TEXT NOT "
        "NULL,"
        " expires_ms INTEGER NOT NULL, status INTEGER NOT NULL, content_type TEXT NOT NULL, json_bytes INTEGER NOT "
        "NULL,"
        " body BLOB NOT NULL, PRIMARY KEY(token, fleet, idempotency_key)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX answer_by_end ON answer(expires_ms);"};
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_db *db = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(myr_db_uri_path(uri), true, &db, &err), OK, &err);
    EXPECT_RC(myr_db_migrate(db, first, 1, &err), OK, &err);
    EXPECT_RC(myr_db_exec(db,
                          "INSERT INTO prediction(fleet, key, value, release, model, model_version, level, source,"
                          " produced_ms) VALUES('oj', 'store=1', 0.5, 1, 'm', 1, 'segment', 'request', 1000),"
                          " ('oj', 'store=1', 0.5, 2, 'm', 1, 'segment', 'request', 990),"
                          " ('oj', 'store=2', 0.5, 3, 'm', 1, 'segment', 'request', 990)",
                          &err),
              OK, &err);
    myr_db_close(db);
    myr_predictions *store = store_open(uri, 0, NULL);
    expect_latest(store, 1, 1000, 1);
    expect_latest(store, 2, 990, 3);
    myr_prediction row = row_of("store=2");
    myr_store_request request = request_of(&row, 1);
    store_now(store, &request);
    expect_latest(store, 2, 1000, 7);
    expect_latest(store, 3, 0, 0);
    myr_predictions_close(store);
}

/* SQLite numbers the first row of an empty table 1 again. */
TEST(a_row_with_the_number_of_one_that_is_gone_is_found)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    const prediction_kind *kind = &myr_prediction_sqlite;
    void *self = NULL;
    myr_err err = {0};
    for (int64_t round = 1; round <= 2; round++) {
        myr_predictions *store = store_open(uri, 0, NULL);
        char key[32];
        snprintf(key, sizeof key, "store=%lld", (long long)round);
        myr_prediction row = row_of(key);
        myr_store_request request = request_of(&row, 1);
        store_now(store, &request); /* the first row of a process notes what is there */
        expect_latest(store, 1, round == 1 ? 1000 : 0, 7);
        expect_latest(store, 2, round == 2 ? 1000 : 0, 7);
        myr_predictions_close(store);
        EXPECT_RC(kind->open(uri, true, &self, &err), OK, &err);
        EXPECT_RC(kind->clean(self, 2000, 2000, 100, FAR_NS, &err), OK, &err);
        kind->close(self, true);
    }
}

TEST(an_answer_is_repeated_under_its_key)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    myr_claim *claim, *other;
    myr_kept_answer kept;
    myr_err err = {0};
    EXPECT_RC(claim_ask(store, "alice", "k-1", 'a', &claim, &kept, &err), OK, &err);
    EXPECT_INT(kept.status, 0);
    /* in progress: 409 for the same request, 422 for another; another token is another key */
    EXPECT_RC(claim_ask(store, "alice", "k-1", 'a', &other, &kept, &err), CONFLICT, &err);
    EXPECT_RC(claim_ask(store, "alice", "k-1", 'b', &other, &kept, &err), MISMATCH, &err);
    EXPECT_RC(claim_ask(store, "bob", "k-1", 'b', &other, &kept, &err), OK, &err);
    EXPECT_INT(kept.status, 0);
    myr_claim_free(other);

    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    request.produced_ms = myr_clock_unix_ms();
    request.claim = claim;
    request.answer = (myr_kept_answer){200, myr_str_of("application/json"), myr_str_make("{\"a\0b\"}", 7), 5};
    store_now(store, &request);
    myr_claim_free(claim);

    for (int round = 0; round < 2; round++) { /* also after a restart */
        EXPECT_RC(claim_ask(store, "alice", "k-1", 'a', &claim, &kept, &err), OK, &err);
        EXPECT_INT(kept.status, 200);
        EXPECT_INT(kept.json_bytes, 5);
        EXPECT(myr_str_is(kept.content_type, "application/json"));
        EXPECT(kept.body.size == 7 && memcmp(kept.body.data, "{\"a\0b\"}", 7) == 0);
        myr_claim_free(claim);
        EXPECT_RC(claim_ask(store, "alice", "k-1", 'b', &claim, &kept, &err), MISMATCH, &err);
        myr_claim_free(claim);
        myr_predictions_close(store);
        store = round == 0 ? store_open(uri, 0, NULL) : NULL;
    }
}

/* Two servers on one database: the second to store finds the first one's answer, and stores nothing. */
TEST(two_servers_store_and_answer_once)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *stores[] = {store_open(uri, 0, NULL), store_open(uri, 0, NULL)};
    myr_claim *claims[2];
    myr_kept_answer kept;
    myr_err err = {0};
    for (int i = 0; i < 2; i++)
        EXPECT_RC(claim_ask(stores[i], "", "k", 'a', &claims[i], &kept, &err), OK, &err);
    const char *const bodies[] = {"first", "second"};
    for (int i = 0; i < 2; i++) {
        myr_prediction row = row_of("store=2,brand=1");
        myr_store_request request = request_of(&row, 1);
        waiter w;
        myr_stored *stored;
        waiter_init(&w);
        request.produced_ms = myr_clock_unix_ms() + i;
        request.release = i + 1;
        request.claim = claims[i];
        request.answer = (myr_kept_answer){200, myr_str_of("text/plain"), myr_str_of(bodies[i]), 0};
        EXPECT_RC(myr_stored_start(stores[i], &request, in_ms(20000), waiter_done, &w, &stored, &err), OK, &err);
        waiter_wait(&w, 1);
        EXPECT_RC(myr_stored_result(stored, &kept, &err), OK, &err);
        EXPECT_INT(kept.status, i == 0 ? 0 : 200);
        if (i == 1) EXPECT(myr_str_is(kept.body, "first"));
        myr_stored_free(stored);
        myr_claim_free(claims[i]);
    }
    myr_latest *latest;
    EXPECT_INT(latest_of(stores[1], "store=2,brand=1", &latest).release, 1);
    myr_latest_free(latest);
    for (int i = 0; i < 2; i++)
        myr_predictions_close(stores[i]);
}

TEST(an_expired_answer_is_forgotten)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    for (int i = 0; i < 2; i++) {
        myr_claim *claim;
        myr_kept_answer kept;
        myr_err err = {0};
        EXPECT_RC(claim_ask(store, "", "k", (char)('a' + i), &claim, &kept, &err), OK, &err);
        EXPECT_INT(kept.status, 0);
        myr_prediction row = row_of("store=2,brand=1");
        myr_store_request request = request_of(&row, 1);
        request.produced_ms = myr_clock_unix_ms() - 24LL * 3600 * 1000; /* a day old: its answer ends now */
        request.claim = claim;
        request.answer = (myr_kept_answer){200, myr_str_of("text/plain"), myr_str_of("x"), 0};
        store_now(store, &request);
        myr_claim_free(claim);
    }
    myr_predictions_close(store);
}

TEST(keys_have_limits)
{
    char uri[TESTING_PATH_BYTES + 16], key[MYR_IDEMPOTENCY_KEY_BYTES_MAX + 2];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    myr_claim *claim;
    myr_kept_answer kept;
    myr_err err = {0};
    memset(key, 'k', sizeof key);
    key[MYR_IDEMPOTENCY_KEY_BYTES_MAX + 1] = '\0';
    EXPECT_RC(claim_ask(store, "", key, 'a', &claim, &kept, &err), BAD_INPUT, &err);
    key[MYR_IDEMPOTENCY_KEY_BYTES_MAX] = '\0';
    EXPECT_RC(claim_ask(store, "", key, 'a', &claim, &kept, &err), OK, &err);
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    char *body = myr_calloc(1, MYR_STORED_ANSWER_BYTES_MAX + 1);
    myr_stored *stored = NULL;
    request.produced_ms = myr_clock_unix_ms();
    request.claim = claim;
    request.answer = (myr_kept_answer){200, myr_str_of("text/plain"), {body, MYR_STORED_ANSWER_BYTES_MAX + 1}, 0};
    EXPECT_RC(myr_stored_start(store, &request, FAR_NS, waiter_done, NULL, &stored, &err), TOO_LARGE, &err);
    request.answer.body.size--;
    store_now(store, &request);
    myr_claim_free(claim);
    EXPECT_RC(claim_ask(store, "", "", 'a', &claim, &kept, &err), BAD_INPUT, &err);
    EXPECT_RC(claim_ask(store, "", "a\nb", 'a', &claim, &kept, &err), BAD_INPUT, &err);
    myr_free(body);
    myr_predictions_close(store);
}

/* Another process writes: who waits is late, nothing grows; when it is through, all that waits is one transaction. */
TEST(a_held_lock_and_many_in_one_transaction)
{
    enum { WAITING = 64 };
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_metrics *metrics = myr_metrics_new();
    myr_predictions *store = store_open(uri, WAITING, metrics);
    myr_db *holder = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(myr_db_uri_path(uri), false, &holder, &err), OK, &err);
    EXPECT_RC(myr_db_begin(holder, &err), OK, &err);
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    myr_stored *late = NULL, *stored[WAITING - 1], *more = NULL;
    myr_kept_answer kept;
    waiter w;
    waiter_init(&w);
    EXPECT_RC(myr_stored_start(store, &request, in_ms(50), waiter_done, &w, &late, &err), OK, &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_stored_result(late, &kept, &err), TIMEOUT, &err);
    EXPECT_HAS(err.message, "may be stored all the same");
    for (int i = 0; i < WAITING - 1; i++)
        EXPECT_RC(myr_stored_start(store, &request, in_ms(60000), waiter_done, &w, &stored[i], &err), OK, &err);
    EXPECT_RC(myr_stored_start(store, &request, in_ms(60000), waiter_done, &w, &more, &err), BUSY, &err);
    EXPECT_RC(myr_stored_later(store, &request, &err), BUSY, &err);
    myr_metric *commits = myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_prediction_commits_total", "", NULL);
    myr_db_rollback(holder);
    waiter_wait(&w, WAITING);
    for (int i = 0; i < WAITING - 1; i++) {
        EXPECT_RC(myr_stored_result(stored[i], &kept, &err), OK, &err);
        myr_stored_free(stored[i]);
    }
    myr_stored_free(late);
    myr_metric *done =
        myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_predictions_total", "", "result=\"stored\"");
    EXPECT_INT(myr_metric_value(done), WAITING - 1);
    EXPECT(myr_metric_value(commits) > 0);
    myr_stmt *stmt = NULL;
    bool has_row;
    EXPECT_RC(myr_db_prepare(holder, "SELECT count(*) FROM prediction", &stmt, &err), OK, &err);
    EXPECT_RC(myr_stmt_step(stmt, &has_row, &err), OK, &err);
    EXPECT_INT(myr_stmt_int64(stmt, 0), WAITING - 1); /* the late one was not stored */
    myr_stmt_reset(stmt);
    myr_db_close(holder);
    myr_predictions_close(store);
    myr_metrics_free(metrics);
}

/* Both the one that the thread has and the one that still waits for it: TIMEOUT, and stored when the lock is free. */
TEST(what_is_late_may_be_stored_all_the_same)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_metrics *metrics = myr_metrics_new();
    myr_predictions *store = store_open(uri, 0, metrics);
    myr_db *holder = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_db_open(myr_db_uri_path(uri), false, &holder, &err), OK, &err);
    EXPECT_RC(myr_db_begin(holder, &err), OK, &err);
    const char *const keys[] = {"store=2,brand=1", "store=2,brand=2"};
    myr_stored *stored[2];
    myr_kept_answer kept;
    waiter w;
    waiter_init(&w);
    for (int i = 0; i < 2; i++) {
        myr_prediction row = row_of(keys[i]);
        myr_store_request request = request_of(&row, 1);
        request.stores_late = true;
        EXPECT_RC(myr_stored_start(store, &request, in_ms(50), waiter_done, &w, &stored[i], &err), OK, &err);
        waiter_wait(&w, i + 1);
        EXPECT_RC(myr_stored_result(stored[i], &kept, &err), TIMEOUT, &err);
        myr_stored_free(stored[i]);
    }
    myr_clock_sleep_ms(100);
    myr_db_rollback(holder);
    myr_db_close(holder);
    for (int i = 0; i < 2; i++) {
        bool is_there = false;
        for (int k = 0; k < 500 && !is_there; k++) {
            myr_latest *latest;
            is_there = latest_of(store, keys[i], &latest).is_found;
            myr_latest_free(latest);
            if (!is_there) myr_clock_sleep_ms(10);
        }
        EXPECT(is_there);
    }
    myr_predictions_close(store);
    const char *const labels[] = {"result=\"stored\"", "result=\"late\"", "result=\"failed\"", "result=\"lost\""};
    for (int i = 0; i < 4; i++) {
        myr_metric *count = myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_predictions_total", "", labels[i]);
        EXPECT_INT(myr_metric_value(count), i < 2 ? 2 : 0); /* each once */
    }
    myr_metrics_free(metrics);
}

TEST(stored_later_is_stored_when_the_store_closes)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    myr_claim *claim;
    myr_kept_answer kept;
    myr_err err = {0};
    EXPECT_RC(claim_ask(store, "", "k", 'a', &claim, &kept, &err), OK, &err);
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    request.produced_ms = myr_clock_unix_ms();
    request.claim = claim;
    request.answer = (myr_kept_answer){200, myr_str_of("text/plain"), myr_str_of("x"), 0};
    EXPECT_RC(myr_stored_later(store, &request, &err), OK, &err); /* the claim is the store's now */
    myr_predictions_close(store);
    store = store_open(uri, 0, NULL);
    EXPECT_RC(claim_ask(store, "", "k", 'a', &claim, &kept, &err), OK, &err);
    EXPECT_INT(kept.status, 200);
    myr_claim_free(claim);
    myr_latest *latest;
    EXPECT(latest_of(store, "store=2,brand=1", &latest).is_found);
    myr_latest_free(latest);
    myr_predictions_close(store);
}

TEST(old_predictions_are_removed_little_by_little)
{
    char uri[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = NULL;
    myr_err err = {0};
    myr_predictions_opts opts = {.uri = uri, .keep_ms = 3600 * 1000};
    EXPECT_RC(myr_predictions_open(&opts, &store, &err), OK, &err);
    myr_prediction rows[50];
    for (int i = 0; i < 50; i++)
        rows[i] = row_of("store=2,brand=1");
    myr_store_request request = request_of(rows, 50);
    store_now(store, &request); /* of 1970 */
    myr_prediction row = row_of("store=3,brand=1");
    request = request_of(&row, 1);
    request.produced_ms = myr_clock_unix_ms();
    store_now(store, &request);
    myr_latest *latest;
    bool is_there = true;
    for (int i = 0; i < 100 && is_there; i++) {
        myr_clock_sleep_ms(100);
        store_now(store, &request);
        is_there = latest_of(store, "store=2,brand=1", &latest).is_found;
        myr_latest_free(latest);
    }
    EXPECT(!is_there);
    EXPECT(latest_of(store, "store=3,brand=1", &latest).is_found);
    myr_latest_free(latest);
    myr_predictions_close(store);
}

TEST(places_that_cannot_be_are_said_at_the_start)
{
    myr_predictions *store = NULL;
    myr_err err = {0};
    myr_predictions_opts opts = {.uri = "redis://127.0.0.1/0"};
    EXPECT_RC(myr_predictions_open(&opts, &store, &err), UNSUPPORTED, &err);
    opts.uri = "sqlite:/no/such/directory/p.db";
    EXPECT(myr_predictions_open(&opts, &store, &err) != MYR_OK);
    EXPECT_HAS(err.message, "/no/such/directory/p.db");
    opts.uri = "mysql://h/d";
    EXPECT_RC(myr_predictions_open(&opts, &store, &err), BAD_INPUT, &err);
}

TEST(a_dead_server_is_said_at_once)
{
    myr_predictions *store = store_open("postgresql://u:word@127.0.0.1:1/d", 0, NULL);
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    myr_stored *stored;
    myr_kept_answer kept;
    myr_err err = {0};
    waiter w;
    waiter_init(&w);
    EXPECT_RC(myr_stored_start(store, &request, in_ms(20000), waiter_done, &w, &stored, &err), OK, &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_stored_result(stored, &kept, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "u:***@127.0.0.1:1");
    myr_stored_free(stored);
    EXPECT_RC(myr_stored_later(store, &request, &err), OK, &err);
    myr_predictions_close(store); /* does not wait 30 s for it */
}

/* Hands an answer over to a server that is away, and sees it neither lost nor stored `wait_ms` later. */
static void expect_patience(const char *uri, size_t body_bytes, int64_t wait_ms)
{
    myr_metrics *metrics = myr_metrics_new();
    myr_predictions *store = store_open(uri, 0, metrics);
    myr_metric *lost =
        myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_predictions_total", "", "result=\"lost\"");
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    char *body = myr_calloc(1, body_bytes + 1);
    myr_err err = {0};
    myr_claim *claim = NULL;
    myr_claim_id id = claim_id("", "k", 'a');
    waiter w;
    waiter_init(&w);
    EXPECT_RC(myr_claim_start(store, &id, in_ms(20000), waiter_done, &w, &claim, &err), OK, &err);
    waiter_wait(&w, 1);
    request.produced_ms = myr_clock_unix_ms();
    request.claim = claim;
    request.answer = (myr_kept_answer){200, myr_str_of("text/plain"), {body, body_bytes}, 0};
    EXPECT_RC(myr_stored_later(store, &request, &err), OK, &err);
    myr_clock_sleep_ms(wait_ms);
    EXPECT_INT(myr_metric_value(lost), 0);
    myr_predictions_close(store);
    EXPECT_INT(myr_metric_value(lost), 1); /* stopping: nobody waits 30 s */
    myr_free(body);
    myr_metrics_free(metrics);
}

/* Attempts do not add up to what a job may hold: 128 MiB, of which each made 2 MiB. */
TEST(a_server_that_is_away_is_waited_for_without_growing)
{
    expect_patience("postgresql://u:word@127.0.0.1:1/d", MYR_STORED_ANSWER_BYTES_MAX, 3000);
}

TEST(a_server_that_is_mute_is_waited_for_too)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char uri[128];
    EXPECT(bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 8) == 0);
    EXPECT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    snprintf(uri, sizeof uri, "postgresql://u:word@127.0.0.1:%d/d", ntohs(address.sin_port));
    expect_patience(uri, 10, 4500); /* longer than an attempt to connect */
    close(fd);
}

/* The reader found that the file can't be synced: the very next request is told, and the log is left alone at the end.
 */
TEST(a_store_that_is_given_up_acknowledges_nothing)
{
    char uri[TESTING_PATH_BYTES + 16], log[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    store_now(store, &request);
    atomic_store(&store->is_broken, true);
    myr_stored *stored;
    myr_kept_answer kept;
    myr_err err = {0};
    waiter w;
    waiter_init(&w);
    EXPECT_RC(myr_stored_start(store, &request, in_ms(20000), waiter_done, &w, &stored, &err), OK, &err);
    waiter_wait(&w, 1);
    EXPECT_RC(myr_stored_result(stored, &kept, &err), IO, &err);
    EXPECT_HAS(err.message, "until the server is started anew");
    myr_stored_free(stored);
    myr_predictions_close(store);
    struct stat info;
    snprintf(log, sizeof log, "%s-wal", myr_db_uri_path(uri));
    EXPECT(stat(log, &info) == 0 && info.st_size > 0);
}

/* Nobody came between: closed at once, the log is left alone all the same. */
TEST(a_store_that_is_given_up_is_closed_as_it_is)
{
    char uri[TESTING_PATH_BYTES + 16], log[TESTING_PATH_BYTES + 16];
    make_uri(uri);
    myr_predictions *store = store_open(uri, 0, NULL);
    myr_prediction row = row_of("store=2,brand=1");
    myr_store_request request = request_of(&row, 1);
    store_now(store, &request);
    myr_clock_sleep_ms(100); /* the writer is through */
    atomic_store(&store->is_broken, true);
    myr_predictions_close(store);
    struct stat info;
    snprintf(log, sizeof log, "%s-wal", myr_db_uri_path(uri));
    EXPECT(stat(log, &info) == 0 && info.st_size > 0);
}

RUN()
