/* Tests of fleet: releases made, kept, reused, promoted; killed, full and damaged; an opened fleet. */
#include "fleet_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void pack_path(const char *fleet, int64_t number, const char *suffix, char out[TESTING_PATH_BYTES + 200])
{
    char root[TESTING_PATH_BYTES];
    fixture_root(root);
    snprintf(out, TESTING_PATH_BYTES + 200, "%s/packs/%s/r%lld%s", root, fleet, (long long)number, suffix);
}

static bool has_pack(const char *fleet, int64_t number, const char *suffix)
{
    char path[TESTING_PATH_BYTES + 200];
    pack_path(fleet, number, suffix, path);
    return myr_io_exists(path);
}

static myr_fleet *open_fleet(myr_workspace *workspace, const char *name, int64_t release)
{
    myr_fleet *fleet = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_fleet_open(workspace, name, release, &fleet, &err), OK, &err);
    return fleet;
}

/* The price-0 prediction of store=2,brand=1 in a release (0 = champion). */
static double answer(myr_workspace *workspace, int64_t release, const char *store, const char *brand)
{
    MYR_AUTO(myr_fleet_ptr) fleet = open_fleet(workspace, "oj", release);
    return fixture_score(fleet, store, brand, 0, NULL);
}

static const char three[] = "store=2,brand=1:5;brand=1:6;:7";

TEST(release_is_made_promoted_and_opened)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", three);
    myr_fleet *fleet = NULL;
    EXPECT_RC(myr_fleet_open(workspace, "oj", 0, &fleet, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "myriad release create oj");
    myr_release_report report = fixture_release(workspace, "oj");
    EXPECT_INT(report.number, 1);
    EXPECT_INT(report.model_count, 3);
    EXPECT_INT(report.new_models, 3);
    EXPECT(report.pack_bytes > 0 && !report.reused && report.promoted);
    EXPECT_RC(myr_fleet_open(workspace, "oj", 2, &fleet, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "release list oj");
    EXPECT_RC(myr_fleet_open(workspace, "jo", 0, &fleet, &err), NOT_FOUND, &err);
    EXPECT(fleet == NULL);

    fleet = open_fleet(workspace, "oj", 0);
    EXPECT_STR(fleet->name, "oj");
    EXPECT_INT(fleet->release, 1);
    EXPECT_INT(fleet->info->model_count, 3);
    EXPECT_STR(fleet->row.features[0], "price");
    EXPECT(fleet->info->keys.columns[0].type == MYR_KEY_INT64);
    uint8_t status = 9;
    EXPECT(fixture_score(fleet, "2", "1", 10, &status) == 15);
    EXPECT(fixture_score(fleet, "3", "1", 10, &status) == 16);
    EXPECT(fixture_score(fleet, NULL, "1", 10, &status) == 16);
    EXPECT(fixture_score(fleet, "2", "9", 10, &status) == 17);
    EXPECT_INT(status, MYR_ROW_OK);
    EXPECT(isnan(fixture_score(fleet, "x", "1", 10, &status)));
    EXPECT_INT(status, MYR_ROW_BAD_KEY);
    myr_fleet_close(fleet);
    myr_fleet_close(NULL);
}

TEST(release_again_reuses_and_keeps)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    myr_release_report report = fixture_release(workspace, "oj");
    EXPECT(report.reused);
    EXPECT_INT(report.number, 1);
    EXPECT_INT(report.new_models, 0);
    EXPECT_INT(report.model_count, 3);
    EXPECT(report.pack_bytes > 0);
    fixture_bring(workspace, "oj", "brand=1:60"); /* one changes */
    report = fixture_release(workspace, "oj");
    EXPECT_INT(report.number, 2);
    EXPECT_INT(report.new_models, 1);
    EXPECT_INT(report.model_count, 3);
    EXPECT(answer(workspace, 0, "2", "1") == 5);
    EXPECT(answer(workspace, 0, "9", "1") == 60);
    EXPECT(answer(workspace, 1, "9", "1") == 6); /* a release never changes */
    EXPECT_RC(myr_release_promote(workspace, "oj", 1, &err), OK, &err);
    EXPECT(answer(workspace, 0, "9", "1") == 6);
    report = fixture_release(workspace, "oj"); /* nothing new, but it becomes champion again */
    EXPECT(report.reused && report.number == 2);
    EXPECT(answer(workspace, 0, "9", "1") == 60);
}

TEST(release_without_promotion)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    myr_release_report report = {0};
    fixture_bring(workspace, "oj", three);
    EXPECT_RC(myr_release_create(workspace, "oj", false, &report, &err), OK, &err);
    EXPECT(!report.promoted);
    myr_fleet *fleet = NULL;
    EXPECT_RC(myr_fleet_open(workspace, "oj", 0, &fleet, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_release_promote(workspace, "oj", 2, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_release_promote(workspace, "oj", 0, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_release_promote(workspace, "oj", 1, &err), OK, &err);
    EXPECT(answer(workspace, 0, "2", "1") == 5);
    EXPECT_RC(myr_release_create(workspace, "nothing", true, &report, &err), NOT_FOUND, &err);
}

/* Key types follow the values; percent-encoded ones come through; a column that turns to text makes every key anew. */
TEST(release_key_types)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "oj", "store=2,brand=1:5;brand=-7:6;store=1,brand=a%2Cb%3D%25%2F%40%0A:8");
    fixture_release(workspace, "oj");
    MYR_AUTO(myr_fleet_ptr) fleet = open_fleet(workspace, "oj", 0);
    EXPECT(fleet->info->keys.columns[0].type == MYR_KEY_INT64);
    EXPECT(fleet->info->keys.columns[1].type == MYR_KEY_BYTES);
    EXPECT(fixture_score(fleet, "1", "a,b=%/@\n", 0, NULL) == 8);
    EXPECT(fixture_score(fleet, "2", "1", 0, NULL) == 5);
    EXPECT(isnan(fixture_score(fleet, "2", "01", 0, NULL))); /* text: not the same as 1 */
    uint32_t idx = MYR_PACK_NONE;
    myr_err err = {0};
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("brand=a%2cb%3D%25%2F%40%0a,store=1"), &idx, &err), OK, &err);
    MYR_AUTO(myr_buf) name = {0};
    EXPECT_RC(myr_score_model_name(fleet->scorer, idx, &name, &err), OK, &err);
    EXPECT_STR(name.data, "oj@store=1,brand=a%2Cb%3D%25%2F%40%0A");
    fixture_bring(workspace, "oj", "store=x,brand=1:9");
    myr_release_report report = fixture_release(workspace, "oj");
    EXPECT_INT(report.new_models, 4); /* other keys: nothing can be kept */
    MYR_AUTO(myr_fleet_ptr) second = open_fleet(workspace, "oj", 0);
    EXPECT(second->info->keys.columns[0].type == MYR_KEY_BYTES);
    EXPECT(fixture_score(second, "x", "1", 0, NULL) == 9);
    EXPECT(fixture_score(second, "2", "1", 0, NULL) == 5);
    fixture_bring(workspace, "all", ":1"); /* one model, no keys at all */
    fixture_release(workspace, "all");
    MYR_AUTO(myr_fleet_ptr) all = open_fleet(workspace, "all", 0);
    EXPECT_INT(all->info->keys.column_count, 0);
    EXPECT(fixture_score(all, NULL, NULL, 3, NULL) == 4);
}

TEST(fleet_finds_segments)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", "store=2,brand=1:5;brand=1:6");
    fixture_release(workspace, "oj");
    MYR_AUTO(myr_fleet_ptr) fleet = open_fleet(workspace, "oj", 0);
    uint32_t idx = 55, other = 55;
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("store=2,brand=1"), &idx, &err), OK, &err);
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("brand=1,store=2"), &other, &err), OK, &err);
    EXPECT_INT(idx, other);
    idx = 55;
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("store=3,brand=1"), &idx, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "oj@brand=1 answers");
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("store=3,brand=2"), &idx, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "none above");
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of(""), &idx, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("shop=3"), &idx, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of("store=x,brand=1"), &idx, &err), BAD_INPUT, &err);
    EXPECT_INT(idx, 55);
}

/* ---- the same models, the same bytes ---- */

static uint64_t file_hash(const char *path)
{
    char *data = NULL;
    size_t size = 0;
    myr_err err = {0};
    EXPECT_RC(myr_file_read(path, 1 << 24, &data, &size, &err), OK, &err);
    uint64_t hash = myr_hash64(data, size, 0);
    myr_free(data);
    return hash;
}

TEST(release_is_deterministic)
{
    uint64_t hashes[2][2];
    for (int round = 0; round < 2; round++) {
        MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
        /* in another order the second time, and in two imports */
        fixture_bring(workspace, "oj",
                      round == 0 ? "store=2,brand=1:5;store=10,brand=1:6;brand=1:7;:8" : "store=10,brand=1:6;:8");
        if (round == 1) fixture_bring(workspace, "oj", "brand=1:7;store=2,brand=1:5");
        fixture_release(workspace, "oj");
        char path[TESTING_PATH_BYTES + 200];
        pack_path("oj", 1, ".index", path);
        hashes[round][0] = file_hash(path);
        pack_path("oj", 1, ".blobs", path);
        hashes[round][1] = file_hash(path);
        myr_err err = {0};
        EXPECT_RC(myr_io_remove_tree(workspace->root, &err), OK, &err);
    }
    EXPECT(hashes[0][0] == hashes[1][0]);
    EXPECT(hashes[0][1] == hashes[1][1]);
}

TEST(release_of_many_models)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    MYR_AUTO(fixture_items) list = {.count = 0};
    static char segments[50][40]; /* more than one window, the last one not full */
    myr_err err = {0};
    for (int i = 0; i < 50; i++) {
        snprintf(segments[i], sizeof segments[i], "store=%d,brand=%d", i, i % 3);
        fixture_add(&list, segments[i], i * 100);
    }
    EXPECT_RC(fixture_import(workspace, "oj", &list, NULL, &err), OK, &err);
    EXPECT_INT(fixture_release(workspace, "oj").new_models, 50);
    MYR_AUTO(myr_fleet_ptr) fleet = open_fleet(workspace, "oj", 0);
    for (int i = 0; i < 50; i++) {
        char store[16], brand[16];
        snprintf(store, sizeof store, "%d", i);
        snprintf(brand, sizeof brand, "%d", i % 3);
        EXPECT(fixture_score(fleet, store, brand, 1, NULL) == i * 100 + 1);
    }
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_model_row *rows = NULL;
    size_t count = 0;
    EXPECT_RC(myr_registry_release_models(workspace->registry, arena, fleet->row.id, 1, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 50);
    for (size_t i = 0; i < count; i++) { /* ordered as they stand in the pack */
        uint32_t idx = 0;
        EXPECT_RC(myr_fleet_find_segment(fleet, myr_str_of(rows[i].segment), &idx, &err), OK, &err);
        EXPECT_INT(idx, i);
    }
}

/* ---- what goes wrong ---- */

TEST(release_full_disk_leaves_the_old_one)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    fixture_bring(workspace, "oj", "store=2,brand=1:50");
    bool seen_full = false;
    double champion = 5;
    double wanted = 50;
    FAIL_EACH_IO_AS(nth, ENOSPC)
    {
        myr_release_report report = {.number = -1};
        myr_rc rc = myr_release_create(workspace, "oj", true, &report, &err);
        TESTING_NO_FAULTS();
        if (rc != MYR_OK) {
            seen_full = seen_full || rc == MYR_NO_SPACE;
            EXPECT_INT(report.number, -1);
            EXPECT(answer(workspace, 0, "2", "1") == champion); /* the old release still serves */
            continue;
        }
        int64_t calls = testing_fault.calls;              /* what the checks below do is not part of the round */
        EXPECT(answer(workspace, 0, "2", "1") == wanted); /* the failed call was one that may fail */
        champion = wanted++;
        char text[64];
        snprintf(text, sizeof text, "store=2,brand=1:%d", (int)wanted);
        fixture_bring(workspace, "oj", text);
        testing_fault.calls = calls;
    }
    EXPECT(seen_full);
}

TEST(release_removes_what_a_killed_one_left)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    fixture_bring(workspace, "oj", "store=2,brand=1:50");
    static const char *const left[] = {".index", ".blobs", ".index.tmp", ".blobs.tmp"};
    char path[TESTING_PATH_BYTES + 200], other[TESTING_PATH_BYTES + 200];
    for (size_t i = 0; i < MYR_COUNT_OF(left); i++) {
        pack_path("oj", i % 2 == 0 ? 2 : 3, left[i], path);
        EXPECT_RC(myr_file_write(path, "half", 4, &err), OK, &err);
    }
    pack_path("oj", 2, "", other); /* somebody's own file */
    EXPECT_RC(myr_file_write(other, "mine", 4, &err), OK, &err);
    EXPECT_INT(fixture_release(workspace, "oj").number, 2);
    EXPECT(answer(workspace, 0, "2", "1") == 50);
    EXPECT(!has_pack("oj", 3, ".blobs") && !has_pack("oj", 3, ".blobs.tmp") && !has_pack("oj", 2, ".index.tmp"));
    EXPECT(myr_io_exists(other));
    EXPECT(has_pack("oj", 1, ".index") && has_pack("oj", 1, ".blobs"));
}

/* Kill the process at its n-th file call, for each n: the workspace opens, the champion serves, the next release works.
 */
static int kill_at(void *ctx, myr_io_op op, const char *path)
{
    (void)op;
    (void)path;
    int64_t *left = ctx;
    if (--*left == 0) kill(getpid(), SIGKILL);
    return 0;
}

static bool create_killed_at(int64_t nth)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        char root[TESTING_PATH_BYTES];
        fixture_root(root);
        myr_workspace *workspace = NULL;
        myr_release_report report;
        if (myr_workspace_open(root, &workspace, NULL) != MYR_OK) _exit(2);
        int64_t left = nth;
        myr_io_set_hook(kill_at, &left);
        _exit(myr_release_create(workspace, "oj", true, &report, NULL) == MYR_OK ? 0 : 3);
    }
    int status = 0;
    EXPECT(waitpid(pid, &status, 0) == pid);
    EXPECT(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
}

TEST(release_survives_kill_at_each_file_call)
{
    myr_workspace *workspace = fixture_workspace();
    myr_err err = {0};
    double champion = 5;
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    bool was_killed = true;
    for (int64_t nth = 1; was_killed; nth++) {
        char text[64];
        EXPECT(nth < 1000);
        snprintf(text, sizeof text, "store=2,brand=1:%lld", (long long)nth * 100);
        fixture_bring(workspace, "oj", text);
        myr_workspace_close(workspace); /* no connection crosses a fork */
        was_killed = create_killed_at(nth);
        workspace = fixture_workspace();
        double now = answer(workspace, 0, "2", "1");
        EXPECT(now == (double)nth * 100 || (was_killed && now == champion)); /* the new one or the old one, whole */
        champion = now;
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        myr_release_row *rows = NULL;
        size_t count = 0;
        EXPECT_RC(myr_registry_releases(workspace->registry, arena, 1, &rows, &count, &err), OK, &err);
        for (size_t i = 0; i < count; i++)
            EXPECT(has_pack("oj", rows[i].number, ".index"));
    }
    fixture_bring(workspace, "oj", "store=2,brand=1:1");
    fixture_release(workspace, "oj");
    EXPECT(answer(workspace, 0, "2", "1") == 1);
    myr_workspace_close(workspace);
}

TEST(release_is_busy_while_another_is_made)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    fixture_bring(workspace, "oj", "brand=1:60");
    char path[TESTING_PATH_BYTES + 200], root[TESTING_PATH_BYTES];
    fixture_root(root);
    snprintf(path, sizeof path, "%s/packs/oj/.lock", root);
    int ready[2], done[2];
    EXPECT(pipe(ready) == 0 && pipe(done) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        myr_fd lock = -1;
        char byte = 0;
        if (myr_io_lock(path, &lock, NULL) != MYR_OK || write(ready[1], "r", 1) != 1) _exit(1);
        _exit(read(done[0], &byte, 1) == 1 ? 0 : 2);
    }
    char byte = 0;
    EXPECT(read(ready[0], &byte, 1) == 1);
    myr_release_report report = {0};
    EXPECT_RC(myr_release_create(workspace, "oj", true, &report, &err), BUSY, &err);
    EXPECT_HAS(err.message, "another process is making a release of 'oj'");
    EXPECT(write(done[1], "d", 1) == 1);
    int status = 0;
    EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(done[i]);
    }
    EXPECT_INT(fixture_release(workspace, "oj").number, 2); /* the lock went with its owner */
}

/* A damaged pack: opening says so; the next release is made anew from the artifacts. */
TEST(release_heals_a_damaged_pack)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    char path[TESTING_PATH_BYTES + 200];
    char *data = NULL;
    size_t size = 0;
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    pack_path("oj", 1, ".blobs", path);
    EXPECT_RC(myr_file_read(path, 1 << 20, &data, &size, &err), OK, &err);
    data[100] = (char)~data[100]; /* in a model */
    EXPECT_RC(myr_file_write(path, data, size, &err), OK, &err);
    myr_free(data);
    myr_release_report report = fixture_release(workspace, "oj");
    EXPECT_INT(report.number, 2);
    EXPECT(!report.reused && report.new_models >= 1 && report.new_models < 3); /* the sound ones are kept */
    EXPECT(answer(workspace, 0, "2", "1") == 5 && answer(workspace, 0, "3", "1") == 6 &&
           answer(workspace, 0, "3", "3") == 7);
    pack_path("oj", 2, ".index", path);
    EXPECT_RC(myr_file_write(path, "garbage", 7, &err), OK, &err);
    myr_fleet *fleet = NULL;
    EXPECT_RC(myr_fleet_open(workspace, "oj", 0, &fleet, &err), BAD_FORMAT, &err);
    EXPECT_RC(myr_release_promote(workspace, "oj", 2, &err), BAD_FORMAT, &err);
    EXPECT_INT(fixture_release(workspace, "oj").number, 3);
    EXPECT(answer(workspace, 0, "2", "1") == 5);
}

TEST(fleet_refuses_the_pack_of_another)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    myr_err err = {0};
    char from[TESTING_PATH_BYTES + 200], to[TESTING_PATH_BYTES + 200];
    fixture_bring(workspace, "oj", three);
    fixture_bring(workspace, "jo", three);
    fixture_release(workspace, "oj");
    fixture_release(workspace, "jo");
    static const char *const suffixes[] = {".index", ".blobs"};
    for (int i = 0; i < 2; i++) {
        pack_path("jo", 1, suffixes[i], from);
        pack_path("oj", 1, suffixes[i], to);
        EXPECT_RC(myr_io_rename(from, to, &err), OK, &err);
    }
    myr_fleet *fleet = NULL;
    EXPECT_RC(myr_fleet_open(workspace, "oj", 0, &fleet, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "fleet 'jo'");
    EXPECT_RC(myr_fleet_open(workspace, "jo", 0, &fleet, &err), NOT_FOUND, &err);
    EXPECT(fleet == NULL);
}

TEST(release_survives_each_failed_allocation)
{
    MYR_AUTO(myr_workspace_ptr) workspace = fixture_workspace();
    fixture_bring(workspace, "oj", three);
    fixture_release(workspace, "oj");
    fixture_bring(workspace, "oj", "brand=1:60");
    FAIL_EACH_ALLOC (nth) {
        myr_release_report report = {.number = -1};
        myr_fleet *fleet = NULL;
        myr_rc rc = myr_release_create(workspace, "oj", true, &report, NULL);
        myr_rc opened = rc == MYR_OK ? myr_fleet_open(workspace, "oj", 0, &fleet, NULL) : rc;
        TESTING_NO_FAULTS();
        EXPECT(opened == MYR_OK || opened == MYR_NO_MEMORY);
        EXPECT((rc == MYR_OK) == (report.number > 0));
        EXPECT((opened == MYR_OK) == (fleet != NULL));
        myr_fleet_close(fleet);
    }
    EXPECT(answer(workspace, 0, "9", "1") == 60);
}

RUN()
