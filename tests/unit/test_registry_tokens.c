/* Tokens in the registry: names, hashes, limits, revoking; what is refused. */
#include "registry_fixture.h"

static myr_token_row token_row(const char *name)
{
    myr_token_row row = {.name = name, .scopes = MYR_SCOPE_INFER, .targets = "", .created_ms = 5};
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, name, strlen(name));
    myr_sha256_bytes(&sha, row.hash);
    return row;
}

static size_t token_count(myr_registry *registry, bool live_only)
{
    myr_token_row *rows;
    size_t count = 0;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    EXPECT_RC(myr_registry_tokens(registry, arena, live_only, &rows, &count, &err), OK, &err);
    return count;
}

TEST(a_token_comes_back_as_it_was)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    bool ever = true;
    int64_t id = 0;
    EXPECT_RC(myr_registry_token_ever(registry, &ever, &err), OK, &err);
    EXPECT(!ever);
    myr_token_row row = token_row("shop"), *rows;
    memset(row.hash, 0, 3); /* bytes that end a text */
    row.scopes = MYR_SCOPE_ALL;
    row.targets = "oj\nsales@brand=1";
    row.rate_per_s = 7;
    row.concurrency = 3;
    row.expires_ms = 1234567890123;
    size_t count;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), OK, &err);
    EXPECT_RC(myr_registry_tokens(registry, arena, true, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 1);
    EXPECT(rows[0].id == id && memcmp(rows[0].hash, row.hash, sizeof row.hash) == 0);
    EXPECT_STR(rows[0].name, "shop");
    EXPECT_STR(rows[0].targets, row.targets);
    EXPECT(rows[0].scopes == MYR_SCOPE_ALL && rows[0].rate_per_s == 7 && rows[0].concurrency == 3);
    EXPECT(rows[0].created_ms == 5 && rows[0].expires_ms == 1234567890123 && rows[0].revoked_ms == 0);
}

TEST(revoking_keeps_the_row_and_frees_the_name)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    myr_err err = {0};
    myr_token_row row = token_row("a"), other = token_row("b");
    int64_t id;
    bool ever = false;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), OK, &err);
    other.name = "a";
    EXPECT_RC(myr_registry_token_add(registry, &other, &id, &err), EXISTS, &err);
    EXPECT_HAS(err.message, "token 'a' exists: revoke it first");
    EXPECT_RC(myr_registry_token_revoke(registry, "a", &err), OK, &err);
    EXPECT_RC(myr_registry_token_revoke(registry, "a", &err), NOT_FOUND, &err);
    EXPECT_INT(token_count(registry, true), 0);
    EXPECT_INT(token_count(registry, false), 1);
    EXPECT_RC(myr_registry_token_ever(registry, &ever, &err), OK, &err);
    EXPECT(ever);
    EXPECT_RC(myr_registry_token_add(registry, &other, &id, &err), OK, &err);
    EXPECT_INT(token_count(registry, false), 2);
}

TEST(bad_tokens_are_refused)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    myr_err err = {0};
    int64_t id = 77;
    myr_token_row row = token_row("ok");
    row.name = "no spaces";
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), BAD_INPUT, &err);
    row = token_row("ok");
    row.scopes = 0;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), BAD_INPUT, &err);
    row.scopes = MYR_SCOPE_ALL + 1;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), BAD_INPUT, &err);
    row = token_row("ok");
    row.rate_per_s = -1;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), BAD_INPUT, &err);
    row = token_row("ok");
    row.targets = "a\n\nb";
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), BAD_INPUT, &err);
    MYR_AUTO(myr_buf) targets = {0};
    for (int i = 0; i < MYR_TOKEN_TARGETS_MAX; i++)
        myr_buf_printf(&targets, "%sf%d", i > 0 ? "\n" : "", i);
    row.targets = targets.data;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), OK, &err);
    row = token_row("more");
    myr_buf_puts(&targets, "\nlast");
    row.targets = targets.data;
    id = 77;
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), TOO_LARGE, &err);
    EXPECT_INT(id, 77);
}

TEST(as_many_tokens_as_the_limit_and_one_more)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    myr_err err = {0};
    int64_t id;
    char name[32];
    EXPECT_RC(myr_registry_begin(registry, &err), OK, &err);
    for (int i = 0; i < MYR_TOKENS_MAX; i++) {
        snprintf(name, sizeof name, "t%d", i);
        myr_token_row row = token_row(name);
        if (myr_registry_token_add(registry, &row, &id, &err) != MYR_OK) break;
    }
    EXPECT_RC((myr_rc)err.rc, OK, &err);
    EXPECT_RC(myr_registry_commit(registry, &err), OK, &err);
    myr_token_row row = token_row("more");
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "10000 tokens are not revoked: revoke one first");
    EXPECT_RC(myr_registry_token_revoke(registry, "t0", &err), OK, &err);
    EXPECT_RC(myr_registry_token_add(registry, &row, &id, &err), OK, &err);
    EXPECT_INT(token_count(registry, true), MYR_TOKENS_MAX);
}

TEST(tokens_survive_each_failed_allocation)
{
    char path[TESTING_PATH_BYTES];
    fixture_path(path);
    myr_registry *made = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_registry_open(path, true, &made, &err), OK, &err);
    myr_registry_close(made);
    FAIL_EACH_ALLOC (nth) {
        myr_registry *registry = NULL;
        myr_arena *arena = NULL;
        myr_token_row row = token_row("t"), *rows = NULL;
        row.targets = "oj";
        int64_t id = 0;
        size_t count = 0;
        myr_rc rc = myr_registry_open(path, false, &registry, NULL);
        if (rc == MYR_OK && (arena = myr_arena_new(0)) == NULL) rc = MYR_NO_MEMORY;
        if (rc == MYR_OK) rc = myr_registry_token_add(registry, &row, &id, NULL);
        if (rc == MYR_OK) rc = myr_registry_tokens(registry, arena, true, &rows, &count, NULL);
        if (rc == MYR_OK) rc = myr_registry_token_revoke(registry, "t", NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY || rc == MYR_EXISTS);
        if (rc == MYR_EXISTS || (rc == MYR_NO_MEMORY && id != 0))
            MYR_IGNORE(myr_registry_token_revoke(registry, "t", NULL));
        myr_arena_free(arena);
        myr_registry_close(registry);
    }
}

RUN()
