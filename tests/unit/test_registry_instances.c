/* Tests of registry: servers with leases that run out, their documents, tags of a release. */
#include "registry_fixture.h"

#define NOW   1000000LL
#define LEASE 4000LL

static myr_instance_row instance(const char *id, int64_t expires_ms)
{
    return (myr_instance_row){.id = id,
                              .service = "prices",
                              .region = "eu-west",
                              .rest = "http://10.0.0.4:8080",
                              .program = "1",
                              .state = "ready",
                              .load = 0.25,
                              .started_ms = 7,
                              .expires_ms = expires_ms,
                              .revision = 1};
}

static void put(myr_registry *registry, const char *id, int64_t now_ms, const char *const *docs, size_t count)
{
    myr_err err = {0};
    myr_instance_row row = instance(id, now_ms + LEASE);
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, count, now_ms, 0, &err), OK, &err);
}

/* The ids that are live, "a b ". */
static void expect_live(myr_registry *registry, int64_t now_ms, const char *wanted)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) text = {0};
    myr_instance_row *rows = NULL;
    size_t count = 0;
    myr_err err = {0};
    EXPECT_RC(myr_registry_instances(registry, arena, now_ms, &rows, &count, &err), OK, &err);
    myr_buf_puts(&text, "");
    for (size_t i = 0; i < count; i++)
        myr_buf_printf(&text, "%s ", rows[i].id);
    EXPECT_STR(text.size > 0 ? text.data : "", wanted);
}

static size_t doc_count(myr_registry *registry, const char *id, const char **out_first, myr_arena *arena)
{
    const char **docs = NULL;
    size_t count = 0;
    myr_err err = {0};
    EXPECT_RC(myr_registry_instance_docs(registry, arena, id, &docs, &count, &err), OK, &err);
    *out_first = count > 0 ? docs[0] : "";
    return count;
}

TEST(a_lease_runs_out_and_is_renewed)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    static const char *const docs[] = {"{\"name\":\"oj\"}"};
    put(registry, "b", NOW, docs, 1);
    put(registry, "a", NOW + 2000, docs, 1);
    expect_live(registry, NOW + 2000, "a b ");
    expect_live(registry, NOW + LEASE - 1, "a b ");
    expect_live(registry, NOW + LEASE, "a "); /* one past it */
    put(registry, "b", NOW + LEASE, NULL, 0);
    expect_live(registry, NOW + LEASE, "a b ");
    expect_live(registry, NOW + 2 * LEASE - 1, "b ");
    expect_live(registry, NOW + 2 * LEASE, "");
}

TEST(what_a_row_holds_comes_back)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_instance_row row = instance("a", NOW + LEASE), *rows = NULL;
    row.grpc = "grpc://10.0.0.4:8081";
    row.admin = "http://127.0.0.1:9";
    row.auth = "token";
    size_t count = 0;
    myr_err err = {0};
    EXPECT_RC(myr_registry_instance_put(registry, &row, NULL, 0, NOW, 0, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_registry_instance_put(registry, &row, (const char *const[]){"{}"}, 1, NOW, 0, &err), OK, &err);
    EXPECT_RC(myr_registry_instances(registry, arena, NOW, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 1);
    EXPECT_STR(rows->service, "prices");
    EXPECT_STR(rows->region, "eu-west");
    EXPECT_STR(rows->rest, "http://10.0.0.4:8080");
    EXPECT_STR(rows->grpc, "grpc://10.0.0.4:8081");
    EXPECT_STR(rows->admin, "http://127.0.0.1:9");
    EXPECT_STR(rows->auth, "token");
    EXPECT_STR(rows->state, "ready");
    EXPECT(rows->load == 0.25 && rows->started_ms == 7 && rows->expires_ms == NOW + LEASE && rows->revision == 1);
}

TEST(documents_stay_until_they_are_written_again)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    static const char *const two[] = {"{\"name\":\"city\"}", "{\"name\":\"oj\"}"};
    static const char *const one[] = {"{\"name\":\"oj\",\"release\":2}"};
    const char *first = NULL;
    put(registry, "a", NOW, two, 2);
    put(registry, "a", NOW + 1, NULL, 0);
    EXPECT_INT(doc_count(registry, "a", &first, arena), 2);
    EXPECT_STR(first, two[0]);
    put(registry, "a", NOW + 2, one, 1);
    EXPECT_INT(doc_count(registry, "a", &first, arena), 1);
    EXPECT_STR(first, one[0]);
    put(registry, "b", NOW + 2, two, 2);
    myr_err err = {0};
    EXPECT_RC(myr_registry_instance_remove(registry, "a", 0, &err), OK, &err);
    EXPECT_RC(myr_registry_instance_remove(registry, "a", 0, &err), OK, &err); /* again: nothing to do */
    expect_live(registry, NOW + 2, "b ");
    EXPECT_INT(doc_count(registry, "a", &first, arena), 0);
    EXPECT_INT(doc_count(registry, "b", &first, arena), 2);
    /* What ran out long ago goes when somebody else writes, its documents too. */
    put(registry, "c", NOW + 2 + LEASE + MYR_INSTANCE_FORGET_MS, one, 1);
    EXPECT_INT(doc_count(registry, "b", &first, arena), 2);
    put(registry, "c", NOW + 3 + LEASE + MYR_INSTANCE_FORGET_MS, one, 1);
    EXPECT_INT(doc_count(registry, "b", &first, arena), 0);
}

TEST(what_no_server_may_say)
{
    MYR_AUTO(myr_registry_ptr) registry = fixture_open();
    static char text[MYR_INSTANCE_DOC_BYTES_MAX + 2];
    const char *const docs[] = {text};
    myr_err err = {0};
    struct {
        const char **at;
        const char *value;
    } cases[8];
    myr_instance_row row = instance("a", NOW + LEASE);
    memset(text, 'x', MYR_INSTANCE_TEXT_BYTES_MAX + 1);
    size_t n = 0;
    cases[n].at = &row.service, cases[n++].value = "a/b";
    cases[n].at = &row.service, cases[n++].value = "";
    cases[n].at = &row.region, cases[n++].value = "a b";
    cases[n].at = &row.id, cases[n++].value = "";
    cases[n].at = &row.rest, cases[n++].value = NULL;
    cases[n].at = &row.rest, cases[n++].value = text;
    cases[n].at = &row.grpc, cases[n++].value = "\xff";
    for (size_t i = 0; i < n; i++) {
        row = instance("a", NOW + LEASE);
        *cases[i].at = cases[i].value;
        EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 0, &err), BAD_INPUT, &err);
    }
    row = instance("a", NOW + LEASE);
    row.load = (double)NAN;
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 0, &err), BAD_INPUT, &err);
    row.load = 0;
    text[MYR_INSTANCE_TEXT_BYTES_MAX] = '\0'; /* the limit itself */
    row.rest = text;
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 0, &err), OK, &err);
    row.rest = "http://x";
    memset(text, 'x', MYR_INSTANCE_DOC_BYTES_MAX);
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 0, &err), OK, &err);
    text[MYR_INSTANCE_DOC_BYTES_MAX] = 'x';
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 0, &err), TOO_LARGE, &err);
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, MYR_INSTANCE_FLEETS_MAX + 1, NOW, 0, &err), TOO_LARGE,
              &err);
}

/* Somebody's long transaction makes a renewal late, not the server that renews: it waits as long as it was told. */
TEST(a_renewal_does_not_wait_long_for_a_writer)
{
    char path[TESTING_PATH_BYTES];
    fixture_path(path);
    MYR_AUTO(myr_registry_ptr) registry = NULL;
    MYR_AUTO(myr_registry_ptr) other = NULL;
    myr_err err = {0};
    static const char *const docs[] = {"{}"};
    EXPECT_RC(myr_registry_open(path, true, &registry, &err), OK, &err);
    EXPECT_RC(myr_registry_open(path, false, &other, &err), OK, &err);
    EXPECT_RC(myr_registry_begin(other, &err), OK, &err);
    myr_instance_row row = instance("a", NOW + LEASE);
    int64_t start_ns = myr_clock_mono_ns();
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 50, &err), BUSY, &err);
    EXPECT(myr_clock_mono_ns() - start_ns < 3000000000);
    myr_registry_rollback(other);
    EXPECT_RC(myr_registry_instance_put(registry, &row, docs, 1, NOW, 50, &err), OK, &err);
}

TEST(tags_of_a_release)
{
    int64_t fleet = 0, version = 0;
    MYR_AUTO(myr_registry_ptr) registry = fixture_registry(&fleet);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_err err = {0};
    const myr_tag tags[] = {{"team", "juice"}, {"stage", "new"}};
    static const char *const segments[] = {"brand=1", "brand=2", "brand=3"};
    int64_t ids[3];
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        myr_model_row model = fixture_model(segments[i]);
        model.tags = tags;
        model.tag_count = i < 2 ? 1 : 2;
        EXPECT_RC(myr_registry_model_add(registry, fleet, &model, &version, &err), OK, &err);
        myr_model_row row;
        EXPECT_RC(myr_registry_model_get(registry, arena, fleet, segments[i], 0, &row, &err), OK, &err);
        ids[i] = row.id;
    }
    myr_release_row release = {.number = 1, .created_ms = 1, .pack = "packs/oj/r1.index"};
    EXPECT_RC(myr_registry_release_add(registry, fleet, &release, ids, 2, &err), OK, &err);
    release.number = 2;
    EXPECT_RC(myr_registry_release_add(registry, fleet, &release, ids, 3, &err), OK, &err);
    const char **found = NULL;
    EXPECT_RC(myr_registry_release_tags(registry, arena, fleet, 1, 10, &found, &count, &err), OK, &err);
    EXPECT_INT(count, 1);
    EXPECT_STR(found[0], "team=juice");
    EXPECT_RC(myr_registry_release_tags(registry, arena, fleet, 2, 10, &found, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT_STR(found[0], "stage=new");
    EXPECT_RC(myr_registry_release_tags(registry, arena, fleet, 2, 1, &found, &count, &err), OK, &err);
    EXPECT_INT(count, 1);
}

RUN()
