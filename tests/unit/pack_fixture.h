/* Small packs for the tests of pack and score: a fleet `oj` with the columns store (integer) and brand (text). */
#ifndef MYR_TESTS_PACK_FIXTURE_H
#define MYR_TESTS_PACK_FIXTURE_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/model.h"
#include "pack/pack.h"
#include "testing.h"

#define FIXTURE_FEATURES 3
#define FIXTURE_OUTPUTS  2

static const char *const fixture_features[FIXTURE_FEATURES] = {"price", "deal", "feat"};

TESTING_UNUSED static myr_pack_info fixture_info(int64_t release)
{
    myr_pack_info info = {.fleet = "oj",
                          .release = release,
                          .features = fixture_features,
                          .feature_count = FIXTURE_FEATURES,
                          .output_count = FIXTURE_OUTPUTS};
    info.keys.column_count = 2;
    snprintf(info.keys.columns[0].name, sizeof info.keys.columns[0].name, "store");
    info.keys.columns[0].type = MYR_KEY_INT64;
    snprintf(info.keys.columns[1].name, sizeof info.keys.columns[1].name, "brand");
    info.keys.columns[1].type = MYR_KEY_BYTES;
    return info;
}

typedef struct fixture_key {
    unsigned char bytes[MYR_KEY_BYTES_MAX];
    size_t size;
    uint64_t hash;
} fixture_key;

static inline fixture_key fixture_key_of(const char *text)
{
    myr_pack_info info = fixture_info(1);
    myr_segment segment = {0};
    myr_err err = {0};
    fixture_key key = {.size = 0};
    EXPECT_RC(myr_segment_parse(myr_str_of(text), &segment, &err), OK, &err);
    EXPECT_RC(myr_key_from_segment(&info.keys, &segment, key.bytes, &key.size, &err), OK, &err);
    key.hash = myr_key_hash(key.bytes, key.size);
    return key;
}

typedef struct fixture_model {
    unsigned char *bytes;
    size_t size;
} fixture_model;
static inline void fixture_model_drop(fixture_model *model)
{
    myr_free(model->bytes);
}

/* Two outputs: `seed` plus 1 and 2 on either side of price 0.5; and 100 x seed plus the like, by deal. */
static inline fixture_model fixture_model_sized(int seed, uint32_t columns, uint32_t outputs)
{
    double leaves[4][2];
    myr_split splits[4];
    myr_tree trees[4];
    MYR_ASSERT(outputs <= 4);
    for (uint32_t i = 0; i < outputs; i++) {
        leaves[i][0] = (i == 0 ? 1 : 100) * seed + 1;
        leaves[i][1] = (i == 0 ? 1 : 100) * seed + 2;
        splits[i] =
            (myr_split){.feature = i % columns, .left = ~0, .right = ~1, .threshold = 0.5, .missing = MYR_MISSING_NAN};
        trees[i] =
            (myr_tree){.splits = &splits[i], .split_count = 1, .leaves = leaves[i], .leaf_count = 2, .output = i};
    }
    myr_model_desc desc = {.kind = MYR_MODEL_TREES,
                           .feature_count = columns,
                           .margin_count = outputs,
                           .trees = trees,
                           .tree_count = outputs};
    fixture_model model = {0};
    myr_err err = {0};
    EXPECT_RC(myr_model_compile(&desc, NULL, columns, NULL, &model.bytes, &model.size, &err), OK, &err);
    return model;
}
static inline fixture_model fixture_model_of(int seed)
{
    return fixture_model_sized(seed, FIXTURE_FEATURES, FIXTURE_OUTPUTS);
}

/* Add a model; the answer says what add said. */
TESTING_UNUSED static myr_rc fixture_add(myr_pack_writer *writer, const char *segment, int seed, myr_err *err)
{
    fixture_key key = fixture_key_of(segment);
    MYR_AUTO(fixture_model) model = fixture_model_of(seed);
    return myr_pack_writer_add(writer, key.bytes, key.size, seed, model.bytes, model.size, err);
}

/* A pack of these segments, model i with seed i + 1 and version i + 1. */
TESTING_UNUSED static void fixture_write(const char *dir, const char *name, const char *const *segments, int count)
{
    myr_err err = {0};
    myr_pack_info info = fixture_info(7);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, name, &info, &writer, &err), OK, &err);
    for (int i = 0; i < count; i++)
        EXPECT_RC(fixture_add(writer, segments[i], i + 1, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
}

typedef char fixture_path[TESTING_PATH_BYTES + 200];
#define FIXTURE_PATH(out, dir, file) snprintf(out, sizeof out, "%s/%s", dir, file)

TESTING_UNUSED static myr_pack *fixture_open(const char *dir, const char *file)
{
    fixture_path path;
    myr_err err = {0};
    myr_pack *pack = NULL;
    FIXTURE_PATH(path, dir, file);
    EXPECT_RC(myr_pack_open(path, &pack, &err), OK, &err);
    return pack;
}

TESTING_UNUSED static uint32_t fixture_find(const myr_pack *pack, const char *segment)
{
    fixture_key key = fixture_key_of(segment);
    uint32_t idx = 12345;
    myr_err err = {0};
    EXPECT_RC(myr_pack_find(pack, key.bytes, key.size, key.hash, &idx, &err), OK, &err);
    return idx;
}

/* The bytes of a file; the file changed at one place without touching the rest (it may be mapped). */
TESTING_UNUSED static size_t fixture_read(const char *dir, const char *file, unsigned char **out)
{
    fixture_path path;
    myr_err err = {0};
    char *data = NULL;
    size_t size = 0;
    FIXTURE_PATH(path, dir, file);
    EXPECT_RC(myr_file_read(path, MYR_FILE_BYTES_MAX, &data, &size, &err), OK, &err);
    *out = (unsigned char *)data;
    return size;
}

TESTING_UNUSED static void fixture_poke(const char *dir, const char *file, size_t offset, const void *data, size_t size)
{
    fixture_path path;
    FIXTURE_PATH(path, dir, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    EXPECT(fd >= 0);
    EXPECT(pwrite(fd, data, size, (off_t)offset) == (ssize_t)size);
    close(fd);
}

/* As a new file: a mapping of the old one stays as it was. */
TESTING_UNUSED static void fixture_rewrite(const char *dir, const char *file, const void *data, size_t size)
{
    fixture_path path;
    FIXTURE_PATH(path, dir, file);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    EXPECT(fd >= 0);
    EXPECT(write(fd, data, size) == (ssize_t)size);
    close(fd);
}

#endif
