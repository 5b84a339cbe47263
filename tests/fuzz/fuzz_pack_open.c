/*
 * Pack indexes: the input is an index that lies beside a fixed blob file. It is tried as it is, and again with all its
 * checksums made right, so that the fuzzer gets past them. Whatever it says: refused with a message, or walked to the
 * end.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "pack/pack_inside.h"

#define INPUT_BYTES_MAX (1 << 20)
#define FUZZ_FEATURES   2

static char fuzz_dir[64];
static char fuzz_index[96];
static pack_ref fuzz_blobs; /* name, size and id of the fixed blob file */
static myr_key_schema fuzz_schema;
static const char *const fuzz_segments[] = {"", "b=a", "a=1,b=a", "a=2,b=a", "a=3,b=%2C"};

static void fuzz_expect(bool holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "%s\n", what);
    abort();
}

static void fuzz_clean(void)
{
    MYR_IGNORE(myr_io_remove_tree(fuzz_dir, NULL)); /* best effort */
}

static size_t fuzz_key(const char *text, unsigned char key[MYR_KEY_BYTES_MAX])
{
    myr_segment segment = {0};
    size_t size = 0;
    fuzz_expect(myr_segment_parse(myr_str_of(text), &segment, NULL) == MYR_OK, "segment");
    fuzz_expect(myr_key_from_segment(&fuzz_schema, &segment, key, &size, NULL) == MYR_OK, "key");
    return size;
}

static void fuzz_write_blobs(void)
{
    static const char *const features[FUZZ_FEATURES] = {"x", "y"};
    double leaves[2] = {1, 2};
    myr_split split = {.feature = 1, .left = ~0, .right = ~1, .threshold = 0.5, .missing = MYR_MISSING_NAN};
    myr_tree tree = {.splits = &split, .split_count = 1, .leaves = leaves, .leaf_count = 2};
    myr_model_desc desc = {
        .kind = MYR_MODEL_TREES, .feature_count = FUZZ_FEATURES, .margin_count = 1, .trees = &tree, .tree_count = 1};
    myr_pack_info info = {.fleet = "fuzz",
                          .release = 1,
                          .keys = fuzz_schema,
                          .features = features,
                          .feature_count = FUZZ_FEATURES,
                          .output_count = 1};
    MYR_AUTO(myr_pack_writer_ptr) writer = NULL;
    fuzz_expect(myr_pack_writer_open(fuzz_dir, "fixed", &info, &writer, NULL) == MYR_OK, "writer");
    for (size_t i = 0; i < MYR_COUNT_OF(fuzz_segments); i++) {
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t key_bytes = fuzz_key(fuzz_segments[i], key);
        MYR_AUTO(myr_mem) bytes = NULL;
        size_t size = 0;
        leaves[0] = (double)i;
        fuzz_expect(myr_model_compile(&desc, NULL, FUZZ_FEATURES, NULL, (unsigned char **)&bytes, &size, NULL) ==
                        MYR_OK,
                    "model");
        fuzz_expect(myr_pack_writer_add(writer, key, key_bytes, 1, bytes, size, NULL) == MYR_OK, "add");
    }
    fuzz_expect(myr_pack_writer_commit(writer, NULL) == MYR_OK, "commit");
    fuzz_blobs = writer->refs[0];
}

static void fuzz_init(void)
{
    if (fuzz_dir[0] != '\0') return;
    myr_io_set_sync(false);
    snprintf(fuzz_dir, sizeof fuzz_dir, "%s/myriad-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    fuzz_expect(mkdtemp(fuzz_dir) != NULL, "directory");
    atexit(fuzz_clean);
    snprintf(fuzz_index, sizeof fuzz_index, "%s/input.index", fuzz_dir);
    fuzz_schema = (myr_key_schema){.column_count = 2, .columns = {{"a", MYR_KEY_INT64}, {"b", MYR_KEY_BYTES}}};
    fuzz_write_blobs();
}

/* A blob file of this name has the size and id of the fixed one: the seeds outlive a change of the model format. */
static void fuzz_patch_files(unsigned char *bytes, size_t size)
{
    unsigned char *name = memmem(bytes, size, fuzz_blobs.name, strlen(fuzz_blobs.name));
    if (name == NULL || name - bytes < PACK_HEADER_BYTES + PACK_META_FILE_BYTES + 2) return;
    pack_put_u64(name - 2 - PACK_META_FILE_BYTES, fuzz_blobs.file_bytes);
    pack_put_u64(name - 2 - 8, fuzz_blobs.id);
}

/* Make every checksum and the file size right, as far as the header makes sense. */
static void fuzz_reseal(unsigned char *bytes, size_t size)
{
    if (size < PACK_HEADER_BYTES) return;
    pack_header header;
    pack_layout at;
    unsigned char *sealed = bytes + PACK_HEADER_BYTES - 8;
    memcpy(bytes, PACK_INDEX_MAGIC, 8);
    pack_put_u32(bytes + 8, bytes[8] % 2 == 1 ? 1 : PACK_INDEX_VERSION); /* both formats are read */
    pack_put_u64(sealed, myr_hash64(bytes, PACK_HEADER_BYTES - 8, 0));
    if (myr_pack_header_get(bytes, size, "fuzz", &header, NULL) != MYR_OK) return;
    if (myr_pack_layout_of(&header, "fuzz", &at, NULL) != MYR_OK || at.file_bytes != size) return;
    fuzz_patch_files(bytes, size);
    for (uint64_t i = 0; i < at.page_count; i++) {
        uint64_t sum = myr_pack_page_sum(bytes + at.body_offset + i * PACK_PAGE_BYTES, i);
        pack_put_u64(bytes + at.sums_offset + i * 8, sum);
    }
    header.file_bytes = size;
    header.meta_hash = myr_hash64(bytes + PACK_HEADER_BYTES, header.meta_bytes, 0);
    header.sums_hash = myr_hash64(bytes + at.sums_offset, at.page_count * 8, 0);
    myr_pack_header_put(bytes, &header);
}

static void fuzz_use_model(const myr_pack *pack, uint32_t model_idx)
{
    const myr_pack_info *info = myr_pack_get_info(pack);
    const myr_model *model = NULL;
    myr_pack_entry entry;
    myr_err err = {0};
    double row[FUZZ_FEATURES] = {0.25, 0.75};
    double value = 0;
    MYR_IGNORE(myr_pack_get_entry(pack, model_idx, &entry, &err)); /* any answer will do, if it comes */
    if (myr_pack_model(pack, model_idx, &model, &err) != MYR_OK) {
        fuzz_expect(err.message[0] != '\0', "an error without words");
        return;
    }
    fuzz_expect(info->feature_count == FUZZ_FEATURES && info->output_count == 1, "a model that does not fit the fleet");
    myr_model_predict(model, row, FUZZ_FEATURES, 1, &value);
}

static void fuzz_use(const char *path)
{
    MYR_AUTO(myr_pack_ptr) pack = NULL;
    myr_err err = {0};
    if (myr_pack_open(path, &pack, &err) != MYR_OK) {
        fuzz_expect(pack == NULL && err.message[0] != '\0', "an error without words");
        return;
    }
    uint32_t model_count = myr_pack_get_info(pack)->model_count;
    for (size_t i = 0; i < MYR_COUNT_OF(fuzz_segments); i++) {
        unsigned char key[MYR_KEY_BYTES_MAX];
        uint32_t idx = MYR_PACK_NONE;
        size_t key_bytes = fuzz_key(fuzz_segments[i], key);
        if (myr_pack_find(pack, key, key_bytes, myr_key_hash(key, key_bytes), &idx, &err) != MYR_OK) continue;
        fuzz_expect(idx == MYR_PACK_NONE || idx < model_count, "an index outside the pack");
        if (idx != MYR_PACK_NONE) {
            fuzz_use_model(pack, idx);
        }
    }
    for (uint32_t i = 0; i < model_count && i < 64; i++) {
        fuzz_use_model(pack, i);
    }
    uint32_t broken = 0;
    myr_rc rc = myr_pack_verify(pack, &broken, &err);
    fuzz_expect(broken <= model_count && (broken == 0 || rc != MYR_OK), "verify miscounts");
}

static void fuzz_write(const unsigned char *bytes, size_t size)
{
    int fd = open(fuzz_index, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_expect(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, "write");
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_BYTES_MAX) return 0;
    fuzz_init();
    fuzz_write(data, size);
    fuzz_use(fuzz_index);
    unsigned char *copy = myr_alloc(size);
    fuzz_expect(copy != NULL, "memory");
    if (size > 0) {
        memcpy(copy, data, size);
    }
    fuzz_reseal(copy, size);
    fuzz_write(copy, size);
    fuzz_use(fuzz_index);
    myr_free(copy);
    return 0;
}
