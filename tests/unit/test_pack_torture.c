/*
 * Packs when something fails: each allocation and each file call in turn, over writing and over reading. What must
 * hold: the right error, nothing leaked (ASan), nothing under a final name unless the commit said OK, and other packs
 * untouched.
 */
#include "pack_fixture.h"

#include "pack/pack_inside.h"

static const char *const segments[] = {"", "store=1,brand=a", "brand=%2C"};
#define SEGMENTS 3

static fixture_key keys[SEGMENTS];
static fixture_model models[SEGMENTS];

static void prepare(char dir[TESTING_PATH_BYTES])
{
    testing_dir(dir);
    static const char *const first[] = {"brand=old"};
    fixture_write(dir, "first", first, 1);
    for (int i = 0; i < SEGMENTS; i++) {
        keys[i] = fixture_key_of(segments[i]);
        models[i] = fixture_model_of(i + 1);
    }
}

static void finish(void)
{
    for (int i = 0; i < SEGMENTS; i++)
        fixture_model_drop(&models[i]);
}

/* Write `name`: the models above and one kept of `earlier`. */
static myr_rc write_pack(const char *dir, const char *name, const myr_pack *earlier, myr_err *err)
{
    myr_pack_info info = fixture_info(2);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    MYR_TRY(myr_pack_writer_open(dir, name, &info, &writer, err));
    for (int i = 0; i < SEGMENTS; i++) {
        MYR_TRY(myr_pack_writer_add(writer, keys[i].bytes, keys[i].size, i, models[i].bytes, models[i].size, err));
    }
    MYR_TRY(myr_pack_writer_keep(writer, earlier, 0, 9, err));
    return myr_pack_writer_commit(writer, err);
}

static myr_rc read_pack(const char *dir, const char *file, myr_err *err)
{
    fixture_path path;
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    FIXTURE_PATH(path, dir, file);
    MYR_TRY(myr_pack_open(path, &pack, err));
    for (int i = 0; i < SEGMENTS; i++) {
        uint32_t idx = 77;
        const myr_model *model = NULL;
        MYR_TRY(myr_pack_find(pack, keys[i].bytes, keys[i].size, keys[i].hash, &idx, err));
        EXPECT_INT(idx, i);
        MYR_TRY(myr_pack_model(pack, idx, &model, err));
        EXPECT(model != NULL);
    }
    return myr_pack_verify(pack, NULL, err);
}

static int count_names(const char *dir, const char *part)
{
    char **names = NULL;
    size_t count = 0;
    int hits = 0;
    EXPECT_RC(myr_io_list(dir, &names, &count, NULL), OK, NULL);
    for (size_t i = 0; i < count; i++)
        hits += strstr(names[i], part) != NULL;
    myr_names_free(names, count);
    return hits;
}

/* After a round of writing `name`: all of it or nothing, and the earlier pack is as it was. */
static void expect_all_or_nothing(const char *dir, const char *name, myr_rc rc, bool temporary_may_stay)
{
    char file[64];
    myr_err err = {0};
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    EXPECT_RC(myr_pack_verify(first, NULL, &err), OK, &err);
    if (rc == MYR_OK) {
        snprintf(file, sizeof file, "%s.index", name);
        EXPECT_RC(read_pack(dir, file, &err), OK, &err);
        EXPECT_INT(count_names(dir, name), 2);
        return;
    }
    int tmp_count = count_names(dir, ".tmp");
    EXPECT_INT(count_names(dir, name), tmp_count); /* nothing under a final name */
    EXPECT(tmp_count == 0 || temporary_may_stay);
}

TEST(writing_survives_each_failed_allocation)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    int failures = 0;
    FAIL_EACH_ALLOC (nth) {
        myr_err err = {0};
        myr_rc rc = write_pack(dir, "next", first, &err);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        expect_all_or_nothing(dir, "next", rc, false);
        if (rc == MYR_OK) break;
        EXPECT_HAS(err.message, "memory");
        failures++;
    }
    EXPECT(failures > 8);
    finish();
}

/* Whatever call fails, with whatever errno: the same guarantees. */
static void writing_survives(int error, myr_rc wanted)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    int failures = 0;
    FAIL_EACH_IO_AS(nth, error)
    {
        myr_err err = {0};
        myr_rc rc = write_pack(dir, "next", first, &err);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == wanted || rc == MYR_NOT_FOUND); /* NOT_FOUND: is_dir can't say why not */
        expect_all_or_nothing(dir, "next", rc, false);
        if (rc == MYR_OK) break;
        EXPECT(err.message[0] != '\0');
        failures++;
    }
    EXPECT(failures > 15); /* opens, writes, syncs, closes, renames, syncs of the directory */
    finish();
}

TEST(writing_survives_each_failed_file_call)
{
    writing_survives(EIO, MYR_IO);
}
TEST(writing_survives_a_full_disk_at_each_call)
{
    writing_survives(ENOSPC, MYR_NO_SPACE);
}

/* From the nth call on nothing works any more, not even cleaning up. */
typedef struct dead_disk {
    int64_t calls;
    int64_t from;
} dead_disk;

static int dead_disk_hook(void *ctx, myr_io_op op, const char *path)
{
    dead_disk *disk = ctx;
    (void)op;
    (void)path;
    return ++disk->calls >= disk->from ? EIO : 0;
}

TEST(a_disk_that_dies_leaves_no_half_pack)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    for (int64_t from = 1; from < 200; from++) {
        dead_disk disk = {.from = from};
        char name[16];
        fixture_path path;
        myr_err err = {0};
        snprintf(name, sizeof name, "n%d-", (int)from);
        myr_io_set_hook(dead_disk_hook, &disk);
        myr_rc rc = write_pack(dir, name, first, &err);
        myr_io_set_hook(NULL, NULL);
        if (rc == MYR_OK) {
            EXPECT(from > 15);
            break;
        }
        EXPECT(rc == MYR_IO || rc == MYR_NOT_FOUND);
        EXPECT_RC(myr_pack_verify(first, NULL, &err), OK, &err);
        /* Names that could not be removed stay, but an index under its final name is always a whole pack. */
        snprintf(name, sizeof name, "n%d-.index", (int)from);
        FIXTURE_PATH(path, dir, name);
        if (myr_io_exists(path)) EXPECT_RC(read_pack(dir, name, &err), OK, &err);
    }
    finish();
}

TEST(a_failed_writer_stays_failed)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    myr_pack_info info = fixture_info(2);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_pack_writer_open(dir, "next", &info, &writer, &err), OK, &err);
    myr_rc rc = MYR_OK;
    dead_disk disk = {.from = 1};
    EXPECT_RC(myr_pack_writer_add(writer, keys[0].bytes, keys[0].size, 1, models[0].bytes, models[0].size, &err), OK,
              &err);
    myr_io_set_hook(dead_disk_hook, &disk);
    for (int i = 0; rc == MYR_OK && i < 10000; i++) { /* until the buffer is full and written */
        char text[32];
        snprintf(text, sizeof text, "store=%d", i);
        fixture_key key = fixture_key_of(text);
        rc = myr_pack_writer_add(writer, key.bytes, key.size, 1, models[0].bytes, models[0].size, &err);
    }
    myr_io_set_hook(NULL, NULL);
    EXPECT_RC(rc, IO, &err);
    EXPECT_RC(myr_pack_writer_add(writer, keys[1].bytes, keys[1].size, 1, models[1].bytes, models[1].size, &err), IO,
              &err);
    EXPECT_HAS(err.message, "earlier write failed");
    EXPECT_RC(myr_pack_writer_commit(writer, &err), IO, &err);
    myr_pack_writer_close(writer);
    writer = NULL;
    expect_all_or_nothing(dir, "next", MYR_IO, false);
    finish();
}

TEST(what_an_interrupted_writer_left_is_overwritten)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    static const char left[] = "half of something";
    fixture_rewrite(dir, "next.blobs.tmp", left, sizeof left);
    fixture_rewrite(dir, "next.index.tmp", left, sizeof left);
    fixture_rewrite(dir, "next.blobs", left, sizeof left); /* renamed, then killed before the index was */
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    myr_err err = {0};
    EXPECT_RC(write_pack(dir, "next", first, &err), OK, &err);
    expect_all_or_nothing(dir, "next", MYR_OK, false);
    finish();
}

TEST(a_writer_that_is_closed_early_leaves_nothing)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    myr_pack_info info = fixture_info(2);
    myr_pack_writer *writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "next", &info, &writer, NULL), OK, NULL);
    EXPECT_RC(myr_pack_writer_add(writer, keys[0].bytes, keys[0].size, 1, models[0].bytes, models[0].size, NULL), OK,
              NULL);
    EXPECT_INT(count_names(dir, "next"), 1);
    myr_pack_writer_close(writer);
    EXPECT_INT(count_names(dir, "next"), 0);
    myr_pack_writer_close(NULL);
    finish();
}

TEST(reading_survives_each_failed_allocation)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    EXPECT_RC(write_pack(dir, "next", first, NULL), OK, NULL);
    int failures = 0;
    FAIL_EACH_ALLOC (nth) {
        myr_err err = {0};
        myr_rc rc = read_pack(dir, "next.index", &err);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        if (rc == MYR_OK) break;
        EXPECT_HAS(err.message, "memory");
        failures++;
    }
    EXPECT(failures > 3);
    finish();
}

TEST(reading_survives_each_failed_file_call)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    EXPECT_RC(write_pack(dir, "next", first, NULL), OK, NULL);
    int failures = 0;
    FAIL_EACH_IO(nth)
    {
        myr_err err = {0};
        myr_rc rc = read_pack(dir, "next.index", &err);
        EXPECT(rc == MYR_OK || rc == MYR_IO);
        if (rc == MYR_OK) break;
        EXPECT_HAS(err.message, dir);
        failures++;
    }
    EXPECT(failures >= 9); /* open, stat and map of the index and of two blob files */
    finish();
}

/* A damaged model is told without memory too, only with fewer words. */
TEST(damage_is_told_when_memory_is_short)
{
    char dir[TESTING_PATH_BYTES];
    prepare(dir);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "first.index");
    EXPECT_RC(write_pack(dir, "next", first, NULL), OK, NULL);
    fixture_poke(dir, "next.blobs", PACK_HEAD_BYTES + 70, "\x5a", 1);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "next.index");
    FAIL_EACH_ALLOC (nth) {
        myr_err err = {0};
        const myr_model *model = NULL;
        EXPECT_RC(myr_pack_model(pack, 0, &model, &err), BAD_FORMAT, &err);
        EXPECT_HAS(err.message, "damaged");
        EXPECT(model == NULL);
    }
    EXPECT_RC(myr_pack_model(pack, 0, &(const myr_model *){NULL}, NULL), BAD_FORMAT, NULL);
    finish();
}

RUN()
