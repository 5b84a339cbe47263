/* Tests of registry: releases, aliases, two processes, damaged files, many models. */
#include "registry_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

static void ids_of(myr_registry *registry, int64_t fleet, myr_arena *arena, int64_t **out_ids, size_t *out_count)
{
    myr_err err = {0};
    myr_model_row *rows = NULL;
    EXPECT_RC(myr_registry_models(registry, arena, fleet, &(myr_model_filter){.newest_only = true, .brief = true},
                                  &rows, out_count, &err),
              OK, &err);
    *out_ids = myr_arena_calloc(arena, *out_count + 1, sizeof **out_ids);
    for (size_t i = 0; i < *out_count; i++)
        (*out_ids)[i] = rows[i].id;
}

static myr_rc try_release(myr_registry *registry, int64_t fleet, int64_t number, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    int64_t *ids = NULL;
    size_t count = 0;
    ids_of(registry, fleet, arena, &ids, &count);
    myr_release_row row = {.number = number, .created_ms = 5, .pack = "packs/oj/r.index"};
    return myr_registry_release_add(registry, fleet, &row, ids, count, err);
}

TEST(a_removed_release_is_gone_its_models_are_not)
{
    int64_t fleet = 0, number = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    fixture_add(registry, fleet, "store=2");
    EXPECT_RC(try_release(registry, fleet, 1, &err), OK, &err);
    EXPECT_RC(try_release(registry, fleet, 2, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_set(registry, fleet, "champion", 2, &err), OK, &err);
    EXPECT_RC(myr_registry_release_remove(registry, fleet, 2, &err), CONFLICT, &err);
    EXPECT_HAS(err.message, "release 2 is champion");
    EXPECT_RC(myr_registry_release_remove(registry, fleet, 3, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_registry_release_remove(registry, fleet, 1, &err), OK, &err);
    EXPECT_RC(myr_registry_release_remove(registry, fleet, 1, &err), NOT_FOUND, &err);
    myr_release_row *releases = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_releases(registry, arena, fleet, &releases, &count, &err), OK, &err);
    EXPECT(count == 1 && releases[0].number == 2);
    int64_t *ids = NULL;
    ids_of(registry, fleet, arena, &ids, &count);
    EXPECT_INT(count, 1);
    EXPECT_RC(myr_registry_release_next(registry, fleet, &number, &err), OK, &err);
    EXPECT_INT(number, 3); /* a number is never given twice */
    myr_registry_close(registry);
}

TEST(release_keeps_its_models_and_order)
{
    int64_t fleet = 0, number = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    fixture_add(registry, fleet, "");
    fixture_add(registry, fleet, "store=2,brand=1");
    EXPECT_RC(myr_registry_release_next(registry, fleet, &number, &err), OK, &err);
    EXPECT_INT(number, 1);
    EXPECT_RC(try_release(registry, fleet, number, &err), OK, &err);
    fixture_add(registry, fleet, "store=2,brand=1"); /* a newer version does not touch the release */
    EXPECT_RC(myr_registry_release_next(registry, fleet, &number, &err), OK, &err);
    EXPECT_INT(number, 2);
    EXPECT_RC(try_release(registry, fleet, number, &err), OK, &err);

    myr_model_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_release_models(registry, arena, fleet, 1, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT_STR(rows[0].segment, "store=2,brand=1");
    EXPECT_INT(rows[0].version, 1);
    EXPECT_STR(rows[1].segment, "");
    int64_t *ids = NULL;
    EXPECT_RC(myr_registry_release_model_ids(registry, arena, fleet, 2, &ids, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT(ids[0] != rows[0].id && ids[1] == rows[1].id);
    EXPECT_RC(myr_registry_release_models(registry, arena, fleet, 3, &rows, &count, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "release 3");
    EXPECT_RC(myr_registry_release_model_ids(registry, arena, fleet, 3, &ids, &count, &err), NOT_FOUND, &err);
    myr_release_row *releases = NULL;
    EXPECT_RC(myr_registry_releases(registry, arena, fleet, &releases, &count, &err), OK, &err);
    EXPECT_INT(count, 2);
    EXPECT_INT(releases[1].number, 2);
    EXPECT_INT(releases[1].model_count, 2);
    EXPECT_STR(releases[0].aliases, "");
    myr_registry_close(registry);
}

TEST(release_numbers_are_given_once)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    fixture_add(registry, fleet, "");
    EXPECT_RC(try_release(registry, fleet, 1, &err), OK, &err);
    EXPECT_RC(try_release(registry, fleet, 1, &err), EXISTS, &err);
    EXPECT_HAS(err.message, "release 1 exists");
    EXPECT_RC(try_release(registry, fleet, 0, &err), BAD_INPUT, &err);
    int64_t no_model = 999;
    myr_release_row row = {.number = 2, .pack = "packs/oj/r2.index"};
    EXPECT_RC(myr_registry_release_add(registry, fleet, &row, &no_model, 1, &err), BAD_INPUT, &err);
    static const char *const bad_packs[] = {"", "/etc/passwd", NULL};
    for (size_t i = 0; i < MYR_COUNT_OF(bad_packs); i++) {
        row.pack = bad_packs[i];
        EXPECT_RC(myr_registry_release_add(registry, fleet, &row, NULL, 0, &err), BAD_INPUT, &err);
    }
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_release_row *releases = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_releases(registry, arena, fleet, &releases, &count, &err), OK, &err);
    EXPECT_INT(count, 1); /* the one that failed half-way left nothing */
    myr_registry_close(registry);
}

TEST(release_aliases_move)
{
    int64_t fleet = 0, number = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    fixture_add(registry, fleet, "");
    EXPECT_RC(try_release(registry, fleet, 1, &err), OK, &err);
    EXPECT_RC(try_release(registry, fleet, 2, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_get(registry, fleet, "champion", &number, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_registry_alias_set(registry, fleet, "champion", 1, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_set(registry, fleet, "challenger", 2, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_set(registry, fleet, "champion", 2, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_get(registry, fleet, "champion", &number, &err), OK, &err);
    EXPECT_INT(number, 2);
    EXPECT_RC(myr_registry_alias_set(registry, fleet, "champion", 3, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_registry_alias_set(registry, fleet, "not a name", 1, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_registry_alias_get(registry, fleet, "champion", &number, &err), OK, &err);
    EXPECT_INT(number, 2);
    myr_release_row row = {0};
    EXPECT_RC(myr_registry_release_get(registry, arena, fleet, 2, &row, &err), OK, &err);
    EXPECT_STR(row.aliases, "challenger,champion");
    EXPECT_STR(row.pack, "packs/oj/r.index");
    EXPECT_INT(row.created_ms, 5);
    EXPECT_RC(myr_registry_release_get(registry, arena, fleet, 9, &row, &err), NOT_FOUND, &err);
    myr_registry_close(registry);
}

TEST(registry_transaction_is_all_or_nothing)
{
    int64_t fleet = 0, version = 0, before = 0, after = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_registry *reader = fixture_open();
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_RC(myr_registry_change_number(reader, &before, &err), OK, &err);
    EXPECT_RC(myr_registry_begin(registry, &err), OK, &err);
    EXPECT_INT(fixture_add(registry, fleet, "brand=1"), 1);
    EXPECT_INT(fixture_add(registry, fleet, "brand=1"), 2);
    myr_model_row *rows = NULL;
    size_t count = 9;
    EXPECT_RC(myr_registry_models(reader, arena, fleet, NULL, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 0); /* not seen before the commit */
    myr_registry_rollback(registry);
    myr_registry_rollback(registry); /* fine */
    EXPECT_RC(myr_registry_begin(registry, &err), OK, &err);
    EXPECT_INT(fixture_add(registry, fleet, "brand=1"), 1);
    EXPECT_RC(myr_registry_commit(registry, &err), OK, &err);
    EXPECT_RC(myr_registry_models(reader, arena, fleet, NULL, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 1);
    EXPECT_RC(myr_registry_change_number(reader, &after, &err), OK, &err);
    EXPECT(after != before);
    myr_model_row row = fixture_model("brand=1");
    EXPECT_RC(myr_registry_model_add(reader, fleet, &row, &version, &err), OK,
              &err); /* its read has ended: it may write */
    EXPECT_INT(version, 2);
    myr_registry_close(reader);
    myr_registry_close(registry);
}

#define CHILD_ADDS 60

/* Add versions of one segment, and releases with an alias of this process; every call must go well. */
static int child_writes(const char *alias)
{
    char path[TESTING_PATH_BYTES];
    fixture_path(path);
    myr_registry *registry = NULL;
    if (myr_registry_open(path, false, &registry, NULL) != MYR_OK) return 1;
    for (int i = 0; i < CHILD_ADDS; i++) {
        myr_model_row row = fixture_model("brand=1");
        int64_t version = 0, number = 0;
        if (myr_registry_model_add(registry, 1, &row, &version, NULL) != MYR_OK) return 2;
        if (myr_registry_begin(registry, NULL) != MYR_OK) return 3;
        if (myr_registry_release_next(registry, 1, &number, NULL) != MYR_OK) return 4;
        myr_release_row release = {.number = number, .pack = "p"};
        if (myr_registry_release_add(registry, 1, &release, NULL, 0, NULL) != MYR_OK) return 5;
        if (myr_registry_alias_set(registry, 1, alias, number, NULL) != MYR_OK) return 6;
        if (myr_registry_commit(registry, NULL) != MYR_OK) return 7;
    }
    myr_registry_close(registry);
    return 0;
}

TEST(registry_two_processes_write_at_once)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    EXPECT_INT(fleet, 1);
    myr_registry_close(registry); /* no connection crosses a fork */
    pid_t pids[2];
    static const char *const aliases[] = {"first", "second"};
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        pids[i] = fork();
        if (pids[i] == 0) _exit(child_writes(aliases[i]));
    }
    for (int i = 0; i < 2; i++) {
        int status = 0;
        EXPECT(waitpid(pids[i], &status, 0) == pids[i]);
        EXPECT_INT(WIFEXITED(status) ? WEXITSTATUS(status) : 1000, 0);
    }
    registry = fixture_open();
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_model_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_models(registry, arena, fleet, NULL, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 2 * CHILD_ADDS);
    for (size_t i = 0; i < count; i++)
        EXPECT_INT(rows[i].version, i + 1); /* each number once */
    int64_t first = 0, second = 0;
    EXPECT_RC(myr_registry_alias_get(registry, fleet, "first", &first, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_get(registry, fleet, "second", &second, &err), OK, &err);
    EXPECT(first != second && (first == 2 * CHILD_ADDS || second == 2 * CHILD_ADDS));
    myr_registry_close(registry);
}

TEST(registry_damaged_file_is_bad_format)
{
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    for (int i = 0; i < 50; i++)
        fixture_add(registry, fleet, "brand=1");
    myr_registry_close(registry);
    char path[TESTING_PATH_BYTES];
    fixture_path(path);
    myr_err err = {0};
    char *data = NULL;
    size_t size = 0;
    EXPECT_RC(myr_file_read(path, 1 << 24, &data, &size, &err), OK, &err);
    static const size_t cuts[] = {0, 100, 4096, 40960};
    for (size_t i = 0; i < MYR_COUNT_OF(cuts); i++) {
        EXPECT_RC(myr_file_write(path, data, cuts[i], &err), OK, &err);
        EXPECT_RC(myr_registry_open(path, false, &registry, &err), BAD_FORMAT, &err);
        EXPECT_HAS(err.message, path);
    }
    memset(data, 0x55, 64);
    EXPECT_RC(myr_file_write(path, data, size, &err), OK, &err);
    EXPECT_RC(myr_registry_open(path, false, &registry, &err), BAD_FORMAT, &err);
    myr_free(data);
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    EXPECT_RC(myr_registry_open(path, false, &registry, &err), NOT_FOUND, &err);
}

/* What 100,000 models are for: listing the newest of each, and filters, stay far from touching everything twice. */
TEST(registry_many_models)
{
    enum { STORES = 400, BRANDS = 11 };
    int64_t fleet = 0;
    myr_registry *registry = fixture_registry(&fleet);
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_RC(myr_registry_begin(registry, &err), OK, &err);
    for (int store = 0; store < STORES; store++) {
        for (int brand = 0; brand < BRANDS; brand++) {
            char segment[64];
            snprintf(segment, sizeof segment, "store=%d,brand=%d", store, brand);
            myr_tag tag = {"brand", brand == 3 ? "three" : "other"};
            myr_model_row row = fixture_model(segment);
            row.tags = &tag;
            row.tag_count = 1;
            int64_t version = 0;
            for (int64_t v = 1; v <= 2; v++) {
                EXPECT_RC(myr_registry_model_add(registry, fleet, &row, &version, &err), OK, &err);
                EXPECT_INT(version, v);
            }
        }
    }
    EXPECT_RC(myr_registry_commit(registry, &err), OK, &err);
    struct {
        myr_model_filter filter;
        size_t wanted;
    } cases[] = {
        {{.newest_only = true}, STORES * BRANDS},
        {{0}, 2 * STORES * BRANDS},
        {{.newest_only = true, .segment_part = "store=7"}, BRANDS},
        {{.newest_only = true, .segment_part = "store=7,brand=3"}, 1},
        {{.newest_only = true, .tag = "brand=three"}, STORES},
        {{.newest_only = true, .tag = "brand=three", .segment_part = "store=7"}, 1},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        myr_model_row *rows = NULL;
        size_t count = 0;
        EXPECT_RC(myr_registry_models(registry, arena, fleet, &cases[i].filter, &rows, &count, &err), OK, &err);
        EXPECT_INT(count, cases[i].wanted);
        for (size_t k = 1; k < count; k++) {
            int order = strcmp(rows[k - 1].segment, rows[k].segment);
            EXPECT(order < 0 || (order == 0 && rows[k - 1].version < rows[k].version));
        }
        for (size_t k = 0; k < count; k++)
            EXPECT_INT(rows[k].tag_count, 1);
    }
    myr_registry_close(registry);
}

RUN()
