/* Packs written and read back: what is found, what is refused, what is kept, and that the bytes are always the same. */
#include "pack_fixture.h"

#include "pack/pack_inside.h"

static const char *const segments[] = {
    "",        "brand=a",        "store=1,brand=a", "store=2,brand=a", "store=-9223372036854775808,brand=",
    "store=2", "brand=%2C%25%0A"};
#define SEGMENTS (int)MYR_COUNT_OF(segments)

TEST(finds_what_was_written)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    const myr_pack_info *info = myr_pack_get_info(pack);
    EXPECT_STR(info->fleet, "oj");
    EXPECT_INT(info->release, 7);
    EXPECT_INT(info->model_count, SEGMENTS);
    EXPECT_INT(info->feature_count, FIXTURE_FEATURES);
    EXPECT_STR(info->features[2], "feat");
    EXPECT_INT(info->output_count, FIXTURE_OUTPUTS);
    EXPECT_INT(info->keys.column_count, 2);
    EXPECT_STR(info->keys.columns[1].name, "brand");
    EXPECT_INT(info->keys.columns[0].type, MYR_KEY_INT64);
    EXPECT_INT(info->keys.columns[1].type, MYR_KEY_BYTES);
    for (int i = 0; i < SEGMENTS; i++) {
        myr_err err = {0};
        uint32_t idx = fixture_find(pack, segments[i]);
        EXPECT_INT(idx, i);
        const myr_model *model = NULL;
        EXPECT_RC(myr_pack_model(pack, idx, &model, &err), OK, &err);
        double row[FIXTURE_FEATURES] = {0.25, 0.75, 0};
        double values[FIXTURE_OUTPUTS];
        myr_model_predict(model, row, FIXTURE_FEATURES, 1, values);
        EXPECT(values[0] == (i + 1) + 1 && values[1] == 100.0 * (i + 1) + 2);
        const myr_model *again = NULL;
        EXPECT_RC(myr_pack_model(pack, idx, &again, &err), OK, &err);
        EXPECT(again == model);
    }
    EXPECT_INT(fixture_find(pack, "store=3,brand=a"), MYR_PACK_NONE);
    EXPECT_INT(fixture_find(pack, "store=1"), MYR_PACK_NONE);
}

TEST(entries_tell_key_version_and_size)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    static const uint32_t columns[] = {0, 1, 2, 2, 2, 1, 1};
    for (uint32_t i = 0; i < (uint32_t)SEGMENTS; i++) {
        myr_pack_entry entry;
        myr_err err = {0};
        MYR_AUTO(fixture_model) model = fixture_model_of((int)i + 1);
        MYR_AUTO(myr_buf) text = {0};
        EXPECT_RC(myr_pack_get_entry(pack, i, &entry, &err), OK, &err);
        EXPECT_INT(entry.version, i + 1);
        EXPECT_INT(entry.key_columns, columns[i]);
        EXPECT_INT(entry.model_bytes, model.size);
        EXPECT(entry.model_hash == myr_hash64(model.bytes, model.size, 0));
        EXPECT_RC(myr_key_text(&myr_pack_get_info(pack)->keys, entry.key, entry.key_bytes, &text, &err), OK, &err);
        EXPECT_STR(text.size > 0 ? text.data : "", segments[i]);
    }
    myr_pack_entry entry = {.version = 42};
    const myr_model *model = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_pack_get_entry(pack, (uint32_t)SEGMENTS, &entry, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_pack_get_entry(pack, MYR_PACK_NONE, &entry, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_pack_model(pack, MYR_PACK_NONE, &model, &err), BAD_INPUT, &err);
    EXPECT(entry.version == 42 && model == NULL);
}

TEST(verify_passes_a_good_pack)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    uint32_t broken = 99;
    myr_err err = {0};
    EXPECT_RC(myr_pack_verify(pack, &broken, &err), OK, &err);
    EXPECT_INT(broken, 0);
    EXPECT_RC(myr_pack_verify(pack, NULL, NULL), OK, NULL);
}

/* Keys on both sides of what fits an entry: mask, size and bytes of one BYTES column are 3 + n. */
TEST(long_keys_stand_apart_short_ones_in_their_entry)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    char brands[4][64];
    const char *texts[4];
    for (int i = 0; i < 4; i++) {
        snprintf(brands[i], sizeof brands[i], "brand=%.*s", PACK_INLINE_BYTES - 5 + i, "abcdefghijklmnopqrstuvwxyz");
        texts[i] = brands[i];
    }
    EXPECT_INT(fixture_key_of(texts[2]).size, PACK_INLINE_BYTES);
    fixture_write(dir, "oj-1", texts, 4);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    EXPECT_INT(pack->header.keys_bytes, PACK_INLINE_BYTES + 1);
    for (int i = 0; i < 4; i++) {
        pack_row row;
        const unsigned char *key = NULL;
        EXPECT_INT(fixture_find(pack, texts[i]), i);
        EXPECT_RC(myr_pack_row_load(pack, (uint32_t)i, &row, &key, NULL), OK, NULL);
        EXPECT(pack_row_is_inline(pack->header.version, &row) == (i < 3));
    }
    EXPECT_RC(myr_pack_verify(pack, NULL, NULL), OK, NULL);
}

/* A pack that format 1 wrote (three models: lanes, nodes, linear) answers as it did then. */
TEST(reads_the_first_format)
{
    myr_err err = {0};
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    EXPECT_RC(myr_pack_open(MYR_TEST_DATA "/pack-v1/r1.index", &pack, &err), OK, &err);
    const myr_pack_info *info = myr_pack_get_info(pack);
    EXPECT_INT(pack->header.version, 1);
    EXPECT_INT(info->model_count, 3);
    EXPECT(info->text_features == NULL);
    EXPECT_RC(myr_pack_verify(pack, NULL, &err), OK, &err);
    static const double wanted[] = {0.3996207335204151, 0.3660451559198741, 5};
    static const char *const names[] = {"store=1", "store=2", ""};
    const double row[] = {0.5, -1.25, 2};
    for (int i = 0; i < 3; i++) {
        myr_segment segment;
        fixture_key key;
        uint32_t idx = MYR_PACK_NONE;
        const myr_model *model = NULL;
        double value = 0;
        EXPECT_RC(myr_segment_parse(myr_str_of(names[i]), &segment, &err), OK, &err);
        EXPECT_RC(myr_key_from_segment(&info->keys, &segment, key.bytes, &key.size, &err), OK, &err);
        EXPECT_RC(myr_pack_find(pack, key.bytes, key.size, myr_key_hash(key.bytes, key.size), &idx, &err), OK, &err);
        EXPECT_RC(myr_pack_model(pack, idx, &model, &err), OK, &err);
        myr_model_predict(model, row, info->feature_count, 1, &value);
        EXPECT(value == wanted[i]);
    }
}

/* Set a word of the index header, right its checksum, and open. */
static myr_rc open_patched(const char *dir, size_t offset, uint32_t value, myr_pack **out, myr_err *err)
{
    unsigned char *bytes = NULL;
    fixture_path path;
    size_t size = fixture_read(dir, "oj-1.index", &bytes);
    pack_put_u32(bytes + offset, value);
    pack_put_u64(bytes + PACK_HEADER_BYTES - 8, myr_hash64(bytes, PACK_HEADER_BYTES - 8, 0));
    fixture_rewrite(dir, "oj-1.index", bytes, size);
    myr_free(bytes);
    FIXTURE_PATH(path, dir, "oj-1.index");
    return myr_pack_open(path, out, err);
}

static void expect_levels(const myr_pack *pack)
{
    uint32_t levels[MYR_PARTITION_COLUMNS_MAX + 1];
    myr_err err = {0};
    EXPECT_RC(myr_pack_count_levels(pack, levels, &err), OK, &err);
    EXPECT(levels[0] == 1 && levels[1] == 3 && levels[2] == 3);
    for (int i = 3; i <= MYR_PARTITION_COLUMNS_MAX; i++)
        EXPECT_INT(levels[i], 0);
}

TEST(levels_are_counted_by_the_header_or_by_walking)
{
    enum { VERSION = 8, LEVELS = 88 };
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    expect_levels(pack);
    /* Counts that can't be are refused at open, those that only a walk refutes by verify. */
    MYR_AUTO(myr_pack_ptr) patched = NULL;
    myr_err err = {0};
    EXPECT_RC(open_patched(dir, LEVELS, 5, &patched, &err), BAD_FORMAT, &err);
    EXPECT_RC(open_patched(dir, LEVELS, 2, &patched, &err), BAD_FORMAT, &err);
    EXPECT_RC(open_patched(dir, LEVELS, 3, &patched, &err), OK, &err);
    myr_pack_close(patched);
    patched = NULL;
    EXPECT_RC(open_patched(dir, LEVELS + 8, 1, &patched, &err), BAD_FORMAT, &err); /* of two key columns */
    EXPECT_RC(open_patched(dir, LEVELS + 8, 0, &patched, &err), OK, &err);
    myr_pack_close(patched);
    patched = NULL;
    EXPECT_RC(open_patched(dir, LEVELS + 4, 4, &patched, &err), OK, &err);
    EXPECT_RC(myr_pack_verify(patched, NULL, &err), BAD_FORMAT, &err);
    EXPECT(strstr(err.message, "counts") != NULL);
    myr_pack_close(patched);
    patched = NULL;
    /* Format 2 is the same without the counts. */
    EXPECT_RC(open_patched(dir, VERSION, 2, &patched, &err), BAD_FORMAT, &err);
    EXPECT_RC(open_patched(dir, LEVELS, 0, &patched, &err), BAD_FORMAT, &err);
    EXPECT_RC(open_patched(dir, LEVELS + 4, 0, &patched, &err), OK, &err);
    EXPECT_INT(patched->header.version, 2);
    expect_levels(patched);
    EXPECT_RC(myr_pack_verify(patched, NULL, &err), OK, &err);
}

/* Formats of tomorrow are named, not guessed at: one past what is read, in either file. */
TEST(a_newer_format_is_refused_by_its_number)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    static const char *const files[] = {"oj-1.index", "oj-1.blobs"};
    static const uint32_t newest[] = {PACK_INDEX_VERSION, PACK_BLOBS_VERSION};
    for (int f = 0; f < 2; f++) {
        unsigned char *bytes = NULL;
        fixture_path path;
        myr_err err = {0};
        myr_pack *pack = NULL;
        char wanted[32];
        size_t size = fixture_read(dir, files[f], &bytes);
        pack_put_u32(bytes + 8, newest[f] + 1);
        fixture_rewrite(dir, files[f], bytes, size);
        FIXTURE_PATH(path, dir, "oj-1.index");
        EXPECT_RC(myr_pack_open(path, &pack, &err), UNSUPPORTED, &err);
        snprintf(wanted, sizeof wanted, "pack format %u,", newest[f] + 1);
        EXPECT(strstr(err.message, files[f]) != NULL && strstr(err.message, wanted) != NULL);
        pack_put_u32(bytes + 8, newest[f]);
        fixture_rewrite(dir, files[f], bytes, size);
        myr_free(bytes);
    }
}

TEST(empty_pack_has_no_blob_file)
{
    char dir[TESTING_PATH_BYTES];
    fixture_path path;
    testing_dir(dir);
    fixture_write(dir, "none", NULL, 0);
    FIXTURE_PATH(path, dir, "none.blobs");
    EXPECT(!myr_io_exists(path));
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "none.index");
    EXPECT_INT(fixture_find(pack, ""), MYR_PACK_NONE);
    EXPECT_INT(fixture_find(pack, "store=1"), MYR_PACK_NONE);
    uint32_t broken = 99;
    EXPECT_RC(myr_pack_verify(pack, &broken, NULL), OK, NULL);
    EXPECT_INT(broken, 0);
}

TEST(fleet_without_partition_columns_or_features)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = {.fleet = "one", .output_count = 1};
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "one-1", &info, &writer, &err), OK, &err);
    double base = 5;
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR, .margin_count = 1, .base_margins = &base};
    MYR_AUTO(fixture_model) model = {0};
    if (myr_model_compile(&desc, NULL, 0, NULL, &model.bytes, &model.size, &err) != MYR_OK)
        return; /* then no pack can have it */
    EXPECT_RC(myr_pack_writer_add(writer, (const unsigned char *)"\0", 1, 1, model.bytes, model.size, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "one-1.index");
    EXPECT_RC(myr_pack_verify(pack, NULL, &err), OK, &err);
}

TEST(same_calls_same_bytes)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    char other[TESTING_PATH_BYTES + 8];
    snprintf(other, sizeof other, "%s/other", dir);
    EXPECT_RC(myr_io_mkdirs(other, NULL), OK, NULL);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    fixture_write(other, "oj-1", segments, SEGMENTS);
    static const char *const files[] = {"oj-1.index", "oj-1.blobs"};
    for (int i = 0; i < 2; i++) {
        MYR_AUTO(myr_mem) first = NULL;
        MYR_AUTO(myr_mem) second = NULL;
        size_t size = fixture_read(dir, files[i], (unsigned char **)&first);
        EXPECT_INT(fixture_read(other, files[i], (unsigned char **)&second), size);
        EXPECT(memcmp(first, second, size) == 0);
    }
}

TEST(a_key_twice_is_refused_and_the_writer_goes_on)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-1", &info, &writer, &err), OK, &err);
    EXPECT_RC(fixture_add(writer, "store=2,brand=a", 1, &err), OK, &err);
    EXPECT_RC(fixture_add(writer, "brand=a,store=2.0", 2, &err), EXISTS, &err);
    EXPECT_HAS(err.message, "store=2,brand=a");
    EXPECT_RC(fixture_add(writer, "store=3,brand=a", 3, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    EXPECT_INT(fixture_find(pack, "store=3,brand=a"), 1);
    EXPECT_RC(myr_pack_verify(pack, NULL, &err), OK, &err);
}

TEST(add_refuses_bad_keys_and_models)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-1", &info, &writer, &err), OK, &err);
    MYR_AUTO(fixture_model) good = fixture_model_of(1);
    MYR_AUTO(fixture_model) wide = fixture_model_sized(1, FIXTURE_FEATURES + 1, FIXTURE_OUTPUTS);
    MYR_AUTO(fixture_model) single = fixture_model_sized(1, FIXTURE_FEATURES, 1);
    const unsigned char global[] = {0};
    EXPECT_RC(myr_pack_writer_add(writer, (const unsigned char *)"\x04", 1, 1, good.bytes, good.size, &err), BAD_INPUT,
              &err);
    EXPECT_RC(myr_pack_writer_add(writer, global, 0, 1, good.bytes, good.size, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_pack_writer_add(writer, global, 1, 1, good.bytes, 0, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_pack_writer_add(writer, global, 1, 1, good.bytes, good.size - 1, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_pack_writer_add(writer, global, 1, 1, wide.bytes, wide.size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "4 columns");
    EXPECT_RC(myr_pack_writer_add(writer, global, 1, 1, single.bytes, single.size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "1 values");
    good.bytes[0] ^= 1;
    EXPECT(myr_pack_writer_add(writer, global, 1, 1, good.bytes, good.size, &err) != MYR_OK);
    EXPECT_HAS(err.message, "pack oj-1: model 0");
    good.bytes[0] ^= 1;
    MYR_AUTO(myr_mem) loose = myr_alloc(good.size + 1); /* not aligned: copied, accepted */
    memcpy((char *)loose + 1, good.bytes, good.size);
    EXPECT_RC(myr_pack_writer_add(writer, global, 1, 1, (unsigned char *)loose + 1, good.size, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    EXPECT_RC(myr_pack_verify(pack, NULL, &err), OK, &err);
}

TEST(writer_refuses_bad_info)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_writer *writer = NULL;
    myr_pack_info info = fixture_info(1);
    static const char *const names[] = {"", ".", "..", "a/b", "../a", "a b", "-a"};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        EXPECT_RC(myr_pack_writer_open(dir, names[i], &info, &writer, &err), BAD_INPUT, &err);
    }
    char name[PACK_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    name[PACK_NAME_BYTES_MAX + 1] = '\0';
    EXPECT_RC(myr_pack_writer_open(dir, name, &info, &writer, &err), BAD_INPUT, &err);
    name[PACK_NAME_BYTES_MAX] = '\0';
    fixture_write(dir, name, segments, 1); /* at the limit it can be written and, below, read */
    char file[PACK_NAME_BYTES_MAX + 8];
    snprintf(file, sizeof file, "%s.index", name);
    myr_pack_close(fixture_open(dir, file));

    info.fleet = "no/name";
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info = fixture_info(1);
    info.output_count = 0;
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info.output_count = MYR_OUTPUTS_MAX + 1;
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info = fixture_info(1);
    info.feature_count = MYR_FEATURES_MAX + 1;
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info = fixture_info(1);
    info.keys.column_count = MYR_PARTITION_COLUMNS_MAX + 1;
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info = fixture_info(1);
    info.keys.columns[1] = info.keys.columns[0];
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "stands twice");
    info = fixture_info(1);
    info.keys.columns[1].type = (myr_key_type)2;
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info = fixture_info(1);
    info.keys.columns[1].name[0] = '\0';
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    info = fixture_info(1);
    const char *bad_features[3] = {"price", "\xff", "feat"};
    info.features = bad_features;
    EXPECT_RC(myr_pack_writer_open(dir, "x", &info, &writer, &err), BAD_INPUT, &err);
    fixture_path absent;
    FIXTURE_PATH(absent, dir, "absent");
    info = fixture_info(1);
    EXPECT_RC(myr_pack_writer_open(absent, "x", &info, &writer, &err), NOT_FOUND, &err);
    EXPECT(writer == NULL);
}

TEST(limits_of_counts_and_names_can_be_reached)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    char longest[MYR_NAME_BYTES_MAX + 2];
    memset(longest, 'f', sizeof longest);
    longest[MYR_NAME_BYTES_MAX] = '\0';
    MYR_AUTO(myr_mem) features = myr_calloc(MYR_FEATURES_MAX, sizeof(char *));
    for (int i = 0; i < MYR_FEATURES_MAX; i++)
        ((const char **)features)[i] = longest;
    info.features = features;
    info.feature_count = MYR_FEATURES_MAX;
    info.output_count = MYR_OUTPUTS_MAX;
    info.fleet = longest;
    info.keys.column_count = MYR_PARTITION_COLUMNS_MAX;
    for (int i = 0; i < MYR_PARTITION_COLUMNS_MAX; i++) {
        memcpy(info.keys.columns[i].name, longest, sizeof info.keys.columns[i].name);
        info.keys.columns[i].name[0] = (char)('a' + i);
        info.keys.columns[i].type = MYR_KEY_BYTES;
    }
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "wide", &info, &writer, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "wide.index");
    EXPECT_STR(myr_pack_get_info(pack)->features[MYR_FEATURES_MAX - 1], longest);
    EXPECT_STR(myr_pack_get_info(pack)->fleet, longest);
    longest[MYR_NAME_BYTES_MAX] = 'f';
    longest[MYR_NAME_BYTES_MAX + 1] = '\0';
    myr_pack_writer *second = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "wider", &info, &second, &err), BAD_INPUT, &err);
    EXPECT(second == NULL);
}

TEST(a_published_name_is_not_written_again)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) early = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-1", &info, &early, &err), OK, &err);
    fixture_write(dir, "oj-1", segments, 2);
    myr_pack_writer *writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-1", &info, &writer, &err), EXISTS, &err);
    EXPECT(writer == NULL);
    EXPECT_RC(myr_pack_writer_commit(early, &err), EXISTS, &err); /* it was published meanwhile */
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    EXPECT_INT(myr_pack_get_info(pack)->model_count, 2);
}

TEST(model_limit)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-1", &info, &writer, &err), OK, &err);
    EXPECT_INT(writer->model_count_max, MYR_PACK_MODELS_MAX);
    writer->model_count_max = 2; /* 16 million models are too many for a test */
    EXPECT_RC(fixture_add(writer, "store=1", 1, &err), OK, &err);
    EXPECT_RC(fixture_add(writer, "store=2", 1, &err), OK, &err);
    EXPECT_RC(fixture_add(writer, "store=3", 1, &err), TOO_LARGE, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
}

/* ---- kept models ---- */

TEST(kept_models_are_not_copied)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "oj-1.index");
    myr_pack_info info = fixture_info(2);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-2", &info, &writer, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(writer, first, 1, 21, &err), OK, &err);
    EXPECT_RC(fixture_add(writer, "store=5,brand=new", 50, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(writer, first, 3, 23, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(writer, first, 3, 23, &err), EXISTS, &err);
    EXPECT_RC(fixture_add(writer, segments[3], 50, &err), EXISTS, &err);
    EXPECT_RC(myr_pack_writer_keep(writer, first, (uint32_t)SEGMENTS, 1, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);

    MYR_AUTO(myr_pack_ptr) second = fixture_open(dir, "oj-2.index");
    EXPECT_INT(myr_pack_get_info(second)->model_count, 3);
    EXPECT_RC(myr_pack_verify(second, NULL, &err), OK, &err);
    myr_pack_entry entry;
    EXPECT_RC(myr_pack_get_entry(second, fixture_find(second, segments[3]), &entry, &err), OK, &err);
    EXPECT_INT(entry.version, 23);
    const myr_model *model = NULL;
    EXPECT_RC(myr_pack_model(second, fixture_find(second, segments[3]), &model, &err), OK, &err);
    double row[FIXTURE_FEATURES] = {0};
    double values[FIXTURE_OUTPUTS];
    myr_model_predict(model, row, FIXTURE_FEATURES, 1, values);
    EXPECT(values[0] == 4 + 1);

    /* a third release that only keeps, from both: no blob file of its own */
    info = fixture_info(3);
    MYR_AUTO(myr_pack_writer_ptr) last = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-3", &info, &last, &err), OK, &err);
    for (uint32_t i = 0; i < 3; i++)
        EXPECT_RC(myr_pack_writer_keep(last, second, i, 30, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(last, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) third = fixture_open(dir, "oj-3.index");
    EXPECT_RC(myr_pack_verify(third, NULL, &err), OK, &err);
    EXPECT_INT(third->header.file_count, 2);
    fixture_path path;
    FIXTURE_PATH(path, dir, "oj-3.blobs");
    EXPECT(!myr_io_exists(path));
}

TEST(keep_refuses_another_signature_or_directory)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    char other[TESTING_PATH_BYTES + 8];
    snprintf(other, sizeof other, "%s/other", dir);
    EXPECT_RC(myr_io_mkdirs(other, NULL), OK, NULL);
    myr_err err = {0};
    fixture_write(dir, "oj-1", segments, 2);
    MYR_AUTO(myr_pack_ptr) first = fixture_open(dir, "oj-1.index");
    myr_pack_info info = fixture_info(2);
    MYR_AUTO(myr_pack_writer_ptr) elsewhere = NULL;
    EXPECT_RC(myr_pack_writer_open(other, "oj-2", &info, &elsewhere, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(elsewhere, first, 0, 1, &err), NOT_FOUND, &err);
    MYR_AUTO(myr_pack_writer_ptr) twin = NULL; /* the same name and size, another content */
    EXPECT_RC(myr_pack_writer_open(other, "oj-1", &info, &twin, &err), OK, &err);
    EXPECT_RC(fixture_add(twin, segments[0], 8, &err), OK, &err);
    EXPECT_RC(fixture_add(twin, segments[1], 9, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(twin, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(elsewhere, first, 0, 1, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "id");
    MYR_AUTO(myr_pack_writer_ptr) same_name = NULL;
    fixture_path path;
    FIXTURE_PATH(path, other, "oj-1.index");
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_open(other, "oj-1", &info, &same_name, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(same_name, first, 0, 1, &err), EXISTS, &err);

    const char *const renamed[3] = {"price", "deal", "other"};
    info.features = renamed;
    MYR_AUTO(myr_pack_writer_ptr) features = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-3", &info, &features, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(features, first, 0, 1, &err), BAD_INPUT, &err);
    info = fixture_info(2);
    info.keys.columns[1].type = MYR_KEY_INT64;
    MYR_AUTO(myr_pack_writer_ptr) columns = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-4", &info, &columns, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_keep(columns, first, 0, 1, &err), BAD_INPUT, &err);
}

TEST(blob_file_limit)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_io_set_sync(false); /* thousands of syncs of files that nobody needs tomorrow */
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "all", &info, &writer, &err), OK, &err);
    for (int i = 0; i < MYR_PACK_FILES_MAX + 1; i++) {
        char name[16];
        char index[32];
        char segment[32];
        const char *const one[] = {segment};
        snprintf(name, sizeof name, "p%d", i);
        snprintf(index, sizeof index, "p%d.index", i);
        snprintf(segment, sizeof segment, "store=%d", i);
        fixture_write(dir, name, one, 1);
        MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, index);
        if (i < MYR_PACK_FILES_MAX) {
            EXPECT_RC(myr_pack_writer_keep(writer, pack, 0, 1, &err), OK, &err);
        } else {
            EXPECT_RC(myr_pack_writer_keep(writer, pack, 0, 1, &err), TOO_LARGE, &err);
            EXPECT_HAS(err.message, "1024");
        }
    }
    EXPECT_RC(fixture_add(writer, "store=-1", 1, &err), TOO_LARGE, &err); /* its file would be one more */
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) all = fixture_open(dir, "all.index");
    EXPECT_RC(myr_pack_verify(all, NULL, &err), OK, &err);
    myr_io_set_sync(true);
}

/* ---- many ---- */

TEST(thousands_of_keys_are_found)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(fixture_model) model = fixture_model_of(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "many", &info, &writer, &err), OK, &err);
    const int count = 5000;
    for (int i = 0; i < count; i++) {
        myr_key_value values[2] = {{.i64 = i}, {.text = myr_str_of("b")}};
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t size = myr_key_encode(&info.keys, 3, values, key);
        EXPECT_RC(myr_pack_writer_add(writer, key, size, i, model.bytes, model.size, &err), OK, &err);
    }
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "many.index");
    EXPECT_RC(myr_pack_verify(pack, NULL, &err), OK, &err); /* looks every key up */
    for (int i = count; i < count + 2000; i++) {
        myr_key_value values[2] = {{.i64 = i}, {.text = myr_str_of("b")}};
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t size = myr_key_encode(&info.keys, 3, values, key);
        uint32_t idx = 1;
        EXPECT_RC(myr_pack_find(pack, key, size, myr_key_hash(key, size), &idx, &err), OK, &err);
        EXPECT_INT(idx, MYR_PACK_NONE);
    }
    EXPECT(pack->header.probe_max > 1 && pack->header.probe_max < 200);
}

RUN()
