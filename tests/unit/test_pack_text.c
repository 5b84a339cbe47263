/*
 * Which features take text: a pack knows it of all its models together, however they came in, and an index that lies
 * about it is refused. A pack without such features has the bytes that it always had.
 */
#include "pack/pack_inside.h"
#include "pack_fixture.h"

static const char *const colours[] = {"red", "green"};

/* A model of the fixture's signature whose features in `mask` have names. */
static fixture_model named_model(uint32_t mask)
{
    static const uint32_t all = (1u << FIXTURE_FEATURES) - 1;
    double leaves[1] = {1.0};
    myr_tree trees[FIXTURE_OUTPUTS];
    myr_category_names lists[FIXTURE_FEATURES] = {0};
    EXPECT((mask & ~all) == 0);
    for (uint32_t j = 0; j < FIXTURE_FEATURES; j++) {
        if ((mask & (1u << j)) != 0) lists[j] = (myr_category_names){.names = colours, .count = 2};
    }
    for (uint32_t i = 0; i < FIXTURE_OUTPUTS; i++)
        trees[i] = (myr_tree){.leaves = leaves, .leaf_count = 1, .output = i};
    myr_model_desc desc = {.kind = MYR_MODEL_TREES,
                           .feature_count = FIXTURE_FEATURES,
                           .margin_count = FIXTURE_OUTPUTS,
                           .trees = trees,
                           .tree_count = FIXTURE_OUTPUTS,
                           .categories = lists};
    fixture_model model = {0};
    myr_err err = {0};
    EXPECT_RC(myr_model_compile(&desc, NULL, FIXTURE_FEATURES, NULL, &model.bytes, &model.size, &err), OK, &err);
    return model;
}

static void add_named(myr_pack_writer *writer, const char *segment, uint32_t mask)
{
    fixture_key key = fixture_key_of(segment);
    MYR_AUTO(fixture_model) model = named_model(mask);
    myr_err err = {0};
    EXPECT_RC(myr_pack_writer_add(writer, key.bytes, key.size, 1, model.bytes, model.size, &err), OK, &err);
}

/* Two models: the first with names as in `mask`, the second without. */
static void write_named(const char *dir, const char *name, uint32_t mask)
{
    myr_err err = {0};
    myr_pack_info info = fixture_info(7);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, name, &info, &writer, &err), OK, &err);
    add_named(writer, "store=1,brand=a", mask);
    add_named(writer, "store=2,brand=a", 0);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
}

static uint32_t text_mask(const myr_pack *pack)
{
    uint32_t mask = 0;
    const myr_pack_info *info = myr_pack_get_info(pack);
    for (uint32_t j = 0; j < info->feature_count; j++)
        mask |= myr_pack_takes_text(info, j) ? 1u << j : 0;
    return mask;
}

TEST(a_pack_knows_which_features_take_text)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    for (uint32_t mask = 0; mask < 1u << FIXTURE_FEATURES; mask++) {
        char name[16];
        char file[32];
        (void)snprintf(name, sizeof name, "oj-%u", mask);
        (void)snprintf(file, sizeof file, "oj-%u.index", mask);
        write_named(dir, name, mask);
        MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, file);
        EXPECT_INT(text_mask(pack), mask);
        EXPECT((myr_pack_get_info(pack)->text_features == NULL) == (mask == 0));
        EXPECT_RC(myr_pack_verify(pack, NULL, NULL), OK, NULL);
    }
}

/* The features of all models together; of kept ones too, and of none that is left out. */
TEST(kept_models_bring_their_text_features)
{
    char dir[TESTING_PATH_BYTES];
    myr_err err = {0};
    testing_dir(dir);
    write_named(dir, "oj-1", 5);
    MYR_AUTO(myr_pack_ptr) earlier = fixture_open(dir, "oj-1.index");
    for (uint32_t kept = 0; kept < 2; kept++) {
        uint32_t idx = MYR_PACK_NONE;
        fixture_key key = fixture_key_of(kept == 0 ? "store=1,brand=a" : "store=2,brand=a");
        EXPECT_RC(myr_pack_find(earlier, key.bytes, key.size, key.hash, &idx, &err), OK, &err);
        MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
        myr_pack_info info = fixture_info(8);
        const char *name = kept == 0 ? "oj-2" : "oj-3";
        EXPECT_RC(myr_pack_writer_open(dir, name, &info, &writer, &err), OK, &err);
        EXPECT_RC(myr_pack_writer_keep(writer, earlier, idx, 1, &err), OK, &err);
        add_named(writer, "store=9,brand=a", 2);
        EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
        MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, kept == 0 ? "oj-2.index" : "oj-3.index");
        EXPECT_INT(text_mask(pack), kept == 0 ? 7 : 2);
    }
}

/* Whether a kept model takes text can't be told if it is damaged: then it is not kept. */
TEST(a_damaged_model_with_names_is_not_kept)
{
    char dir[TESTING_PATH_BYTES];
    myr_err err = {0};
    testing_dir(dir);
    write_named(dir, "oj-1", 1);
    fixture_path path;
    FIXTURE_PATH(path, dir, "oj-1.blobs");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    EXPECT(fd >= 0 && pwrite(fd, "x", 1, PACK_HEAD_BYTES + 200) == 1 && close(fd) == 0);
    MYR_AUTO(myr_pack_ptr) earlier = fixture_open(dir, "oj-1.index");
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    myr_pack_info info = fixture_info(8);
    EXPECT_RC(myr_pack_writer_open(dir, "oj-2", &info, &writer, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(writer, earlier, 0, 1, &err), BAD_FORMAT, &err);
    EXPECT_RC(myr_pack_writer_keep(writer, earlier, 1, 1, &err), OK, &err);
}

/* ---- lies ---- */

/* Change the index, make the sums of header and meta right again, open it. */
static myr_rc open_resealed(const char *dir, unsigned char *bytes, size_t size, myr_err *err)
{
    fixture_path path;
    myr_pack *pack = NULL;
    uint64_t meta_bytes = pack_get_u64(bytes + 56);
    pack_put_u64(bytes + 72, myr_hash64(bytes + PACK_HEADER_BYTES, meta_bytes, 0));
    pack_put_u64(bytes + 120, myr_hash64(bytes, 120, 0));
    FIXTURE_PATH(path, dir, "oj-1.index");
    EXPECT_RC(myr_io_unlink(path, err), OK, err);
    EXPECT_RC(myr_file_write(path, bytes, size, err), OK, err);
    myr_rc rc = myr_pack_open(path, &pack, err);
    myr_pack_close(pack);
    return rc;
}

TEST(lies_about_text_features_are_refused)
{
    char dir[TESTING_PATH_BYTES];
    char *data = NULL;
    size_t size = 0;
    fixture_path path;
    myr_err err = {0};
    testing_dir(dir);
    write_named(dir, "oj-1", 2);
    FIXTURE_PATH(path, dir, "oj-1.index");
    EXPECT_RC(myr_file_read(path, 1 << 20, &data, &size, &err), OK, &err);
    MYR_AUTO(myr_mem) owned = data;
    unsigned char *bytes = (unsigned char *)data;
    unsigned char *bits = bytes + PACK_HEADER_BYTES + pack_get_u64(bytes + 56) - 1;
    EXPECT_INT(*bits, 2);
    EXPECT_RC(open_resealed(dir, bytes, size, &err), OK, &err);
    *bits = 1 << FIXTURE_FEATURES;
    EXPECT_RC(open_resealed(dir, bytes, size, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "feature 3 of 3 takes text");
    *bits = 2;
    pack_put_u32(bytes + 8, 1); /* format 1 has other parts and no bits */
    EXPECT_RC(open_resealed(dir, bytes, size, &err), BAD_FORMAT, &err);
}

RUN()
