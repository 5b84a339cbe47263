/*
 * Damaged packs: cut at every byte, every byte flipped in several ways, and hostile ones whose checksums are right.
 * What must hold: no crash, no hang, no wild read (run with ASan), damage is told, and a damaged model takes no other
 * with it.
 */
#include "pack_fixture.h"

#include <math.h>

#include "pack/pack_inside.h"

static const char *const segments[] = {"", "brand=a", "store=1,brand=a", "store=2,brand=b"};
#define SEGMENTS (int)MYR_COUNT_OF(segments)

/* What a look at a whole pack found. */
typedef struct look {
    bool opened;
    bool verified;
    int found;   /* keys that lead to their model */
    int damaged; /* look-ups or models refused as damaged */
    int right;   /* models whose prediction is the right one */
    uint32_t broken;
} look;

static fixture_key keys[SEGMENTS];

static void look_at_key(const myr_pack *pack, int i, look *out)
{
    uint32_t idx = MYR_PACK_NONE;
    myr_err err = {0};
    const myr_model *model = NULL;
    myr_rc rc = myr_pack_find(pack, keys[i].bytes, keys[i].size, keys[i].hash, &idx, &err);
    if (rc == MYR_OK && idx != MYR_PACK_NONE) {
        out->found++;
        rc = myr_pack_model(pack, idx, &model, &err);
    }
    if (rc != MYR_OK) {
        EXPECT(rc == MYR_BAD_FORMAT || rc == MYR_UNSUPPORTED);
        EXPECT(err.message[0] != '\0' && model == NULL);
        out->damaged++;
    }
    if (model != NULL) {
        double row[FIXTURE_FEATURES] = {0.25, 0.75, NAN};
        double values[FIXTURE_OUTPUTS];
        myr_model_predict(model, row, FIXTURE_FEATURES, 1, values);
        out->right += values[0] == i + 2 && values[1] == 100.0 * (i + 1) + 2;
    }
}

static look look_at(const char *dir, const char *file)
{
    look out = {0};
    fixture_path path;
    myr_err err = {0};
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    FIXTURE_PATH(path, dir, file);
    myr_rc rc = myr_pack_open(path, &pack, &err);
    if (rc != MYR_OK) {
        EXPECT(rc == MYR_BAD_FORMAT || rc == MYR_UNSUPPORTED);
        EXPECT(pack == NULL && err.message[0] != '\0');
        return out;
    }
    out.opened = true;
    for (int i = 0; i < SEGMENTS; i++)
        look_at_key(pack, i, &out);
    rc = myr_pack_verify(pack, &out.broken, &err);
    EXPECT(rc == MYR_OK || err.message[0] != '\0');
    out.verified = rc == MYR_OK;
    return out;
}

static void expect_good(look seen)
{
    EXPECT(seen.opened && seen.verified);
    EXPECT_INT(seen.found, SEGMENTS);
    EXPECT_INT(seen.right, SEGMENTS);
    EXPECT_INT(seen.damaged, 0);
    EXPECT_INT(seen.broken, 0);
}

static void make(char dir[TESTING_PATH_BYTES])
{
    testing_dir(dir);
    for (int i = 0; i < SEGMENTS; i++)
        keys[i] = fixture_key_of(segments[i]);
    fixture_write(dir, "oj-1", segments, SEGMENTS);
    expect_good(look_at(dir, "oj-1.index"));
}

static const char *const files[] = {"oj-1.index", "oj-1.blobs"};

TEST(cut_at_every_byte)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    for (int f = 0; f < 2; f++) {
        unsigned char *bytes = NULL;
        size_t size = fixture_read(dir, files[f], &bytes);
        for (size_t cut = 0; cut < size; cut++) {
            fixture_rewrite(dir, files[f], bytes, cut);
            EXPECT(!look_at(dir, "oj-1.index").opened);
        }
        fixture_rewrite(dir, files[f], bytes, size);
        expect_good(look_at(dir, "oj-1.index"));
        myr_free(bytes);
    }
}

TEST(longer_by_some_bytes)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    for (int f = 0; f < 2; f++) {
        unsigned char *bytes = NULL;
        size_t size = fixture_read(dir, files[f], &bytes);
        unsigned char *longer = myr_calloc(1, size + PACK_PAGE_BYTES);
        memcpy(longer, bytes, size);
        static const size_t more[] = {1, 8, 64, PACK_PAGE_BYTES};
        for (size_t i = 0; i < MYR_COUNT_OF(more); i++) {
            fixture_rewrite(dir, files[f], longer, size + more[i]);
            EXPECT(!look_at(dir, "oj-1.index").opened);
        }
        fixture_rewrite(dir, files[f], bytes, size);
        myr_free(longer);
        myr_free(bytes);
    }
}

/* Flip each byte of a file in three ways and look. `check` says what must hold for a flip at this offset. */
static void flip_each(const char *dir, const char *file, void (*check)(size_t offset, size_t size, look seen))
{
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, file, &bytes);
    for (size_t i = 0; i < size; i++) {
        for (size_t m = 0; m < MYR_COUNT_OF(masks); m++) {
            unsigned char flipped = bytes[i] ^ masks[m];
            fixture_poke(dir, file, i, &flipped, 1);
            look seen = look_at(dir, "oj-1.index");
            EXPECT(!seen.verified); /* any byte of any file is noticed */
            EXPECT_INT(seen.right + seen.damaged + (seen.opened ? 0 : SEGMENTS), SEGMENTS);
            check(i, size, seen);
        }
        fixture_poke(dir, file, i, &bytes[i], 1);
    }
    expect_good(look_at(dir, "oj-1.index"));
    myr_free(bytes);
}

/* Everything but the body refuses the pack; so small a body is one page, of which every look-up needs a part. */
static void check_index_flip(size_t offset, size_t size, look seen)
{
    (void)offset;
    (void)size;
    EXPECT_INT(seen.right, 0);
    EXPECT(!seen.opened || seen.damaged == SEGMENTS);
}

TEST(every_byte_of_the_index_flipped)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    flip_each(dir, "oj-1.index", check_index_flip);
}

/* The ends refuse the pack, each other byte exactly the one model that it belongs to. */
static void check_blob_flip(size_t offset, size_t size, look seen)
{
    if (offset < PACK_HEAD_BYTES || offset >= size - PACK_TAIL_BYTES) {
        EXPECT(!seen.opened);
        return;
    }
    EXPECT(seen.opened);
    EXPECT_INT(seen.found, SEGMENTS);
    EXPECT_INT(seen.damaged, 1);
    EXPECT_INT(seen.right, SEGMENTS - 1);
    EXPECT_INT(seen.broken, 1);
}

TEST(every_byte_of_the_models_flipped)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    flip_each(dir, "oj-1.blobs", check_blob_flip);
}

/* A page of a larger index: only what lies on it is refused. */
TEST(a_damaged_page_refuses_only_what_lies_on_it)
{
    char dir[TESTING_PATH_BYTES];
    testing_dir(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(1);
    MYR_AUTO(fixture_model) model = fixture_model_of(1);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    const int count = 1000;
    EXPECT_RC(myr_pack_writer_open(dir, "many", &info, &writer, &err), OK, &err);
    for (int i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "store=%d", i);
        fixture_key key = fixture_key_of(text);
        EXPECT_RC(myr_pack_writer_add(writer, key.bytes, key.size, i, model.bytes, model.size, &err), OK, &err);
    }
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "many.index", &bytes);
    size_t page_count = size / PACK_PAGE_BYTES - 1; /* one page holds header, names and sums */
    EXPECT(page_count > 10);
    int refused_pages = 0;
    for (size_t page = 0; page < page_count; page++) {
        unsigned char flipped = bytes[(page + 1) * PACK_PAGE_BYTES + 100] ^ 0x10;
        fixture_poke(dir, "many.index", (page + 1) * PACK_PAGE_BYTES + 100, &flipped, 1);
        MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "many.index");
        int refused = 0;
        for (int i = 0; i < count; i++) {
            char text[32];
            snprintf(text, sizeof text, "store=%d", i);
            fixture_key key = fixture_key_of(text);
            uint32_t idx = MYR_PACK_NONE;
            myr_rc rc = myr_pack_find(pack, key.bytes, key.size, key.hash, &idx, &err);
            EXPECT(rc == MYR_BAD_FORMAT || (rc == MYR_OK && idx == (uint32_t)i));
            refused += rc != MYR_OK;
        }
        EXPECT(refused < count);
        refused_pages += refused > 0;
        uint32_t broken = 0;
        EXPECT_RC(myr_pack_verify(pack, &broken, &err), BAD_FORMAT, &err);
        EXPECT_INT(broken, refused);
        fixture_poke(dir, "many.index", (page + 1) * PACK_PAGE_BYTES + 100, &bytes[(page + 1) * PACK_PAGE_BYTES + 100],
                     1);
    }
    EXPECT_INT(refused_pages, page_count);
    myr_free(bytes);
}

TEST(blob_file_of_another_pack_is_refused)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    myr_err err = {0};
    myr_pack_info info = fixture_info(2);
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    EXPECT_RC(myr_pack_writer_open(dir, "oj-2", &info, &writer, &err), OK, &err);
    for (int i = 0; i < SEGMENTS; i++)
        EXPECT_RC(fixture_add(writer, segments[i], i + 20, &err), OK, &err);
    EXPECT_RC(myr_pack_writer_commit(writer, &err), OK, &err);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "oj-2.blobs", &bytes);
    fixture_rewrite(dir, "oj-1.blobs", bytes, size);
    fixture_path path;
    FIXTURE_PATH(path, dir, "oj-1.index");
    myr_pack *pack = NULL;
    EXPECT_RC(myr_pack_open(path, &pack, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "oj-1.blobs: its id");
    FIXTURE_PATH(path, dir, "oj-1.blobs");
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    FIXTURE_PATH(path, dir, "oj-1.index");
    EXPECT_RC(myr_pack_open(path, &pack, &err), NOT_FOUND, &err);
    EXPECT(pack == NULL);
    myr_free(bytes);
}

/* ---- hostile: every checksum is right ---- */

/* Change a copy of the index, make all its sums right again, and look. */
static void reseal(unsigned char *bytes, size_t size)
{
    pack_header header;
    pack_layout at;
    uint64_t meta_bytes = pack_get_u64(bytes + 56);
    unsigned char saved[PACK_HEADER_BYTES];
    memcpy(saved, bytes, sizeof saved);
    pack_put_u64(saved + 120, myr_hash64(saved, 120, 0));
    if (myr_pack_header_get(saved, size, "x", &header, NULL) == MYR_OK &&
        myr_pack_layout_of(&header, "x", &at, NULL) == MYR_OK && at.file_bytes == size) {
        for (uint64_t i = 0; i < at.page_count; i++) {
            pack_put_u64(bytes + at.sums_offset + i * 8,
                         myr_pack_page_sum(bytes + at.body_offset + i * PACK_PAGE_BYTES, i));
        }
        pack_put_u64(bytes + 80, myr_hash64(bytes + at.sums_offset, at.page_count * 8, 0));
        pack_put_u64(bytes + 72, myr_hash64(bytes + PACK_HEADER_BYTES, meta_bytes, 0));
    }
    pack_put_u64(bytes + 120, myr_hash64(bytes, 120, 0));
}

static look look_at_resealed(const char *dir, const unsigned char *bytes, size_t size, size_t offset, const void *data,
                             size_t data_bytes)
{
    unsigned char *copy = myr_alloc(size);
    memcpy(copy, bytes, size);
    memcpy(copy + offset, data, data_bytes);
    reseal(copy, size);
    fixture_rewrite(dir, "oj-1.index", copy, size);
    myr_free(copy);
    return look_at(dir, "oj-1.index");
}

/* Each byte of the index set to several values, with right sums: a liar may be believed, but must do no harm. */
TEST(hostile_bytes_with_right_sums_do_no_harm)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "oj-1.index", &bytes);
    static const unsigned char values[] = {0x00, 0x01, 0x7f, 0xff};
    size_t used = PACK_PAGE_BYTES + 512; /* the body of four models ends before */
    for (size_t i = 0; i < used; i++) {
        for (size_t v = 0; v < MYR_COUNT_OF(values); v++) {
            if (bytes[i] == values[v] || (i > 512 && i < PACK_PAGE_BYTES && v > 0)) continue;
            look seen = look_at_resealed(dir, bytes, size, i, &values[v], 1);
            EXPECT(seen.right <= SEGMENTS);
        }
    }
    myr_free(bytes);
}

static void expect_refused(const char *dir, const unsigned char *bytes, size_t size, size_t offset, uint64_t value,
                           size_t width)
{
    unsigned char data[8];
    pack_put_u64(data, value);
    EXPECT(!look_at_resealed(dir, bytes, size, offset, data, width).opened);
}

TEST(hostile_counts_are_refused)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "oj-1.index", &bytes);
    expect_refused(dir, bytes, size, 12, 256, 4);                 /* header size */
    expect_refused(dir, bytes, size, 16, size + 1, 8);            /* file size */
    expect_refused(dir, bytes, size, 32, MYR_PACK_MODELS_MAX, 4); /* models */
    expect_refused(dir, bytes, size, 32, MYR_PACK_MODELS_MAX + 1, 4);
    expect_refused(dir, bytes, size, 32, UINT32_MAX, 4);
    expect_refused(dir, bytes, size, 36, MYR_FEATURES_MAX + 1, 4); /* features */
    expect_refused(dir, bytes, size, 40, 0, 4);                    /* outputs */
    expect_refused(dir, bytes, size, 40, MYR_OUTPUTS_MAX + 1, 4);
    expect_refused(dir, bytes, size, 44, MYR_PARTITION_COLUMNS_MAX + 1, 4);
    expect_refused(dir, bytes, size, 48, MYR_PACK_FILES_MAX + 1, 4); /* blob files */
    expect_refused(dir, bytes, size, 48, 0, 4);                      /* names are left over */
    expect_refused(dir, bytes, size, 52, PACK_PROBE_MAX + 1, 4);
    expect_refused(dir, bytes, size, 56, UINT64_MAX, 8); /* bytes of names */
    expect_refused(dir, bytes, size, 56, PACK_META_BYTES_MAX + 1, 8);
    expect_refused(dir, bytes, size, 64, UINT64_MAX, 8); /* bytes of keys */
    expect_refused(dir, bytes, size, 88, 3, 4);          /* models of one key column: more than there are */
    expect_refused(dir, bytes, size, 88, 0, 4);          /* two global ones would be left */
    expect_refused(dir, bytes, size, 96, 1, 4);          /* three key columns of two */
    expect_refused(dir, bytes, size, 116, UINT32_MAX, 4);
    expect_refused(dir, bytes, size, size - 1, 1, 1);            /* zeros behind the keys */
    expect_refused(dir, bytes, size, PACK_PAGE_BYTES - 1, 1, 1); /* zeros before the body */
    myr_free(bytes);
}

TEST(hostile_blob_names_are_refused)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "oj-1.index", &bytes);
    unsigned char *name = memmem(bytes, size, "oj-1.blobs", 10);
    EXPECT(name != NULL);
    static const char *const names[] = {"../a.blobs", "/tmp/a.blo",  "a/b.blobs_",  ".j-1.blobs",
                                        "oj-1.index", "oj-1.blob\0", "oj\n1.blobs", "          "};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        look seen = look_at_resealed(dir, bytes, size, (size_t)(name - bytes), names[i], 10);
        EXPECT(!seen.opened);
    }
    myr_free(bytes);
}

/* A table whose slots are all taken by other entries, and one whose slots go round: look-ups end. */
TEST(hostile_tables_end_every_walk)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "oj-1.index", &bytes);
    uint64_t slot_count = pack_slot_count(SEGMENTS);
    unsigned char slots[256];
    EXPECT(slot_count * PACK_SLOT_BYTES <= sizeof slots);
    pack_put_u32(bytes + 52, PACK_PROBE_MAX);
    for (int kind = 0; kind < 3; kind++) {
        for (uint64_t i = 0; i < slot_count; i++) {
            pack_put_u32(slots + i * PACK_SLOT_BYTES, kind == 0 ? 0xabcdu : (uint32_t)keys[2].hash);
            pack_put_u32(slots + i * PACK_SLOT_BYTES + 4, kind == 2 ? 77 : 1);
        }
        look seen = look_at_resealed(dir, bytes, size, PACK_PAGE_BYTES, slots, slot_count * PACK_SLOT_BYTES);
        EXPECT(seen.opened && !seen.verified);
        EXPECT_INT(seen.right, 0);
    }
    memset(slots, 0, sizeof slots);
    look seen = look_at_resealed(dir, bytes, size, PACK_PAGE_BYTES, slots, slot_count * PACK_SLOT_BYTES);
    EXPECT(seen.opened && !seen.verified);
    EXPECT_INT(seen.found, 0);
    EXPECT_INT(seen.damaged, 0); /* to a look-up they are just not there; verify says more */
    myr_free(bytes);
}

/* ---- the file changes under the mapping: outside the promise, but it must not be worse than wrong ---- */

TEST(after_a_lost_page_marks_count_for_nothing)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    look before = {0};
    for (int i = 0; i < SEGMENTS; i++)
        look_at_key(pack, i, &before);
    EXPECT_INT(before.right, SEGMENTS);
    unsigned char zeros[512] = {0};
    myr_pack_entry entry;
    EXPECT_RC(myr_pack_get_entry(pack, 0, &entry, NULL), OK, NULL);
    EXPECT(entry.model_bytes <= sizeof zeros);
    fixture_poke(dir, "oj-1.blobs", PACK_HEAD_BYTES, zeros, entry.model_bytes); /* what a lost page would look like */
    myr_io_map_lose();
    look after = {0};
    for (int i = 0; i < SEGMENTS; i++)
        look_at_key(pack, i, &after);
    EXPECT_INT(after.right, SEGMENTS - 1);
    EXPECT_INT(after.damaged, 1);
    unsigned char page[PACK_PAGE_BYTES] = {0};
    fixture_poke(dir, "oj-1.index", PACK_PAGE_BYTES, page, sizeof page);
    look lost = {0};
    for (int i = 0; i < SEGMENTS; i++)
        look_at_key(pack, i, &lost);
    EXPECT_INT(lost.damaged, SEGMENTS);
}

TEST(zeros_under_marked_pages_end_every_walk)
{
    char dir[TESTING_PATH_BYTES];
    make(dir);
    MYR_AUTO(myr_pack_ptr) pack = fixture_open(dir, "oj-1.index");
    look before = {0};
    for (int i = 0; i < SEGMENTS; i++)
        look_at_key(pack, i, &before);
    unsigned char page[PACK_PAGE_BYTES] = {0};
    fixture_poke(dir, "oj-1.index", PACK_PAGE_BYTES, page, sizeof page); /* nobody counted a loss */
    look after = {0};
    for (int i = 0; i < SEGMENTS; i++)
        look_at_key(pack, i, &after);
    EXPECT_INT(after.found, 0);
    unsigned char *bytes = NULL;
    size_t size = fixture_read(dir, "oj-1.blobs", &bytes);
    memset(bytes, 0, size);
    fixture_poke(dir, "oj-1.blobs", 0, bytes, size);
    for (uint32_t i = 0; i < (uint32_t)SEGMENTS; i++) {
        const myr_model *model = NULL;
        double row[FIXTURE_FEATURES] = {0};
        double values[FIXTURE_OUTPUTS] = {0};
        EXPECT_RC(myr_pack_model(pack, i, &model, NULL), OK, NULL); /* marked before */
        myr_model_predict(model, row, FIXTURE_FEATURES, 1, values); /* ends; the values mean nothing */
    }
    uint32_t broken = 0;
    myr_err err = {0};
    EXPECT_RC(myr_pack_verify(pack, &broken, &err), BAD_FORMAT, &err);
    EXPECT_INT(broken, SEGMENTS);
    myr_free(bytes);
}

RUN()
