/*
 * Opening a pack: everything whose size does not depend on the number of models is checked here (header, names, page
 * sums, zeros between the parts, both ends of each blob file); pages and models are checked by pack_read.c when they
 * are touched.
 */
#include "pack/pack_inside.h"

/* ---- meta ---- */

/* A cursor over meta. */
typedef struct pack_meta_reader {
    const unsigned char *at;
    size_t left;
    myr_pack *pack;
} pack_meta_reader;

static myr_rc pack_meta_take(pack_meta_reader *reader, size_t size_bytes, const unsigned char **out, myr_err *err)
{
    if (size_bytes > reader->left) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the names end too early", reader->pack->path);
    }
    *out = reader->at;
    reader->at += size_bytes;
    reader->left -= size_bytes;
    return MYR_OK;
}

/* A string, copied to the arena: the mapping has no NUL behind it. */
static myr_rc pack_meta_str(pack_meta_reader *reader, const char **out, myr_err *err)
{
    const unsigned char *bytes = NULL;
    MYR_TRY(pack_meta_take(reader, 2, &bytes, err));
    size_t size = pack_get_u16(bytes);
    MYR_TRY(pack_meta_take(reader, size, &bytes, err));
    if (size > MYR_NAME_BYTES_MAX || (size > 0 && memchr(bytes, '\0', size) != NULL)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: a name of %zu bytes, longer than %d or with a NUL byte", reader->pack->path,
                 size, MYR_NAME_BYTES_MAX);
    }
    char *text = myr_arena_strndup(reader->pack->arena, (const char *)bytes, size);
    if (text == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for a name", reader->pack->path);
    }
    *out = text;
    return MYR_OK;
}

static myr_rc pack_meta_columns(pack_meta_reader *reader, myr_pack_info *info, myr_err *err)
{
    MYR_ASSERT(info->keys.column_count <= MYR_PARTITION_COLUMNS_MAX); /* myr_pack_layout_of */
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        const unsigned char *type = NULL;
        const char *name = NULL;
        MYR_TRY(pack_meta_take(reader, 1, &type, err));
        MYR_TRY(pack_meta_str(reader, &name, err));
        info->keys.columns[i].type = (myr_key_type)*type;
        memcpy(info->keys.columns[i].name, name, strlen(name) + 1);
    }
    return MYR_OK;
}

static myr_rc pack_meta_features(pack_meta_reader *reader, myr_pack_info *info, myr_err *err)
{
    const char **features = myr_arena_calloc(reader->pack->arena, info->feature_count + 1, sizeof *features);
    if (features == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for %u features", reader->pack->path, info->feature_count);
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        MYR_TRY(pack_meta_str(reader, &features[i], err));
    }
    info->features = features;
    return MYR_OK;
}

/* One blob file: a plain name beside the index, of the size and the generation that the index was made for. */
static myr_rc pack_meta_file(pack_meta_reader *reader, pack_file *file, myr_err *err)
{
    const char *path = reader->pack->path;
    const unsigned char *fixed = NULL;
    MYR_TRY(pack_meta_take(reader, PACK_META_FILE_BYTES, &fixed, err));
    MYR_TRY(pack_meta_str(reader, &file->name, err));
    uint64_t file_bytes = pack_get_u64(fixed);
    file->id = pack_get_u64(fixed + 8);
    myr_str name = myr_str_of(file->name);
    if (!myr_name_is_valid(name) || !myr_str_ends_with(name, PACK_BLOBS_SUFFIX)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: '%s' is not the name of a blob file", path, file->name);
    }
    char dir[MYR_PATH_BYTES_MAX];
    char blobs_path[MYR_PATH_BYTES_MAX];
    myr_path_dir(path, dir, sizeof dir);
    MYR_TRY(myr_path_join(blobs_path, sizeof blobs_path, dir, file->name, err));
    MYR_TRY(myr_io_map(blobs_path, &file->mapping, err));
    if (file->mapping.size != file_bytes || file_bytes < PACK_HEAD_BYTES + PACK_TAIL_BYTES) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %zu bytes, %s was made for %llu", blobs_path, file->mapping.size, path,
                 (unsigned long long)file_bytes);
    }
    const unsigned char *data = file->mapping.data;
    pack_tail tail;
    MYR_TRY(myr_pack_ends_get(data, data + file_bytes - PACK_TAIL_BYTES, file_bytes, blobs_path, &tail, err));
    if (tail.id != file->id) {
        MYR_FAIL(err, BAD_FORMAT, "%s: its id is %016llx, %s was made for %016llx: another file of the same name",
                 blobs_path, (unsigned long long)tail.id, path, (unsigned long long)file->id);
    }
    return MYR_OK;
}

static myr_rc pack_meta_files(pack_meta_reader *reader, myr_err *err)
{
    myr_pack *pack = reader->pack;
    MYR_ASSERT(pack->header.file_count <= MYR_PACK_FILES_MAX);
    pack->files = myr_arena_calloc(pack->arena, pack->header.file_count + 1, sizeof *pack->files);
    if (pack->files == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for %u blob files", pack->path, pack->header.file_count);
    }
    for (uint32_t i = 0; i < pack->header.file_count; i++) {
        MYR_TRY(pack_meta_file(reader, &pack->files[i], err));
    }
    return MYR_OK;
}

/* Which features take text. */
static myr_rc pack_meta_text(pack_meta_reader *reader, myr_pack_info *info, myr_err *err)
{
    const unsigned char *bits = NULL;
    size_t bytes = pack_text_bytes(&reader->pack->header);
    if (bytes == 0) return MYR_OK;
    MYR_TRY(pack_meta_take(reader, bytes, &bits, err));
    uint8_t *text = myr_arena_calloc(reader->pack->arena, (size_t)info->feature_count + 1, 1);
    if (text == NULL)
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for %u features", reader->pack->path, info->feature_count);
    size_t count = 0;
    for (size_t i = 0; i < bytes * 8; i++) {
        bool is_set = (bits[i / 8] >> (i % 8) & 1) != 0;
        if (is_set && i >= info->feature_count) {
            MYR_FAIL(err, BAD_FORMAT, "%s: feature %zu of %u takes text", reader->pack->path, i, info->feature_count);
        }
        if (!is_set) continue;
        text[i] = 1;
        count++;
    }
    if (count > 0) info->text_features = text;
    return MYR_OK;
}

static myr_rc pack_open_meta(myr_pack *pack, myr_err *err)
{
    const pack_header *header = &pack->header;
    pack_meta_reader reader = {pack->index.data + PACK_HEADER_BYTES, header->meta_bytes, pack};
    if (myr_hash64(reader.at, reader.left, 0) != header->meta_hash) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the names are damaged (checksum)", pack->path);
    }
    myr_pack_info *info = &pack->info;
    info->release = header->release;
    info->model_count = header->model_count;
    info->feature_count = header->feature_count;
    info->output_count = header->output_count;
    info->keys.column_count = header->column_count;
    MYR_TRY(pack_meta_str(&reader, &info->fleet, err));
    MYR_TRY(pack_meta_columns(&reader, info, err));
    MYR_TRY(pack_meta_features(&reader, info, err));
    MYR_TRY(myr_pack_info_check(info, MYR_BAD_FORMAT, pack->path, err));
    MYR_TRY(pack_meta_files(&reader, err));
    MYR_TRY(pack_meta_text(&reader, info, err));
    if (reader.left != 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %zu bytes stand after the names", pack->path, reader.left);
    }
    return MYR_OK;
}

/* ---- the index ---- */

/* Sizes, page sums, and zeros wherever nothing else lies. */
static myr_rc pack_open_index(myr_pack *pack, myr_err *err)
{
    const unsigned char *data = pack->index.data;
    MYR_TRY(myr_pack_header_get(data, pack->index.size, pack->path, &pack->header, err));
    MYR_TRY(myr_pack_layout_of(&pack->header, pack->path, &pack->layout, err));
    const pack_layout *at = &pack->layout;
    if (at->file_bytes != pack->header.file_bytes || at->file_bytes != pack->index.size) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %zu bytes, the header says %llu: the file is cut off or has grown", pack->path,
                 pack->index.size, (unsigned long long)at->file_bytes);
    }
    size_t sums_bytes = at->page_count * 8;
    if (myr_hash64(data + at->sums_offset, sums_bytes, 0) != pack->header.sums_hash) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the table of page sums is damaged (checksum)", pack->path);
    }
    size_t meta_end = PACK_HEADER_BYTES + pack->header.meta_bytes;
    size_t sums_end = at->sums_offset + sums_bytes;
    size_t body_end = at->body_offset + at->body_bytes;
    if (!myr_pack_is_zero(data + meta_end, at->sums_offset - meta_end) ||
        !myr_pack_is_zero(data + sums_end, at->body_offset - sums_end) ||
        !myr_pack_is_zero(data + body_end, at->file_bytes - body_end)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: bytes between the parts are not zero: the file is damaged", pack->path);
    }
    return MYR_OK;
}

static myr_rc pack_open_marks(myr_pack *pack, myr_err *err)
{
    /* calloc of a large block is untouched zero pages: it costs nothing until models are used */
    pack->page_marks = myr_calloc(pack->layout.page_count / 64 + 1, sizeof *pack->page_marks);
    pack->model_marks = myr_calloc((size_t)pack->header.model_count + 1, sizeof *pack->model_marks);
    if (pack->page_marks == NULL || pack->model_marks == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for the marks of %u models", pack->path, pack->header.model_count);
    }
    return MYR_OK;
}

myr_rc myr_pack_open(const char *index_path, myr_pack **out, myr_err *err)
{
    MYR_AUTO(myr_pack_ptr) pack = myr_calloc(1, sizeof *pack);
    if (pack == NULL || (pack->arena = myr_arena_new(0)) == NULL ||
        (pack->path = myr_arena_strndup(pack->arena, index_path, strlen(index_path))) == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory to open it", index_path);
    }
    pack->losses = myr_io_map_losses();
    MYR_TRY(myr_io_map(index_path, &pack->index, err));
    MYR_TRY(pack_open_index(pack, err));
    MYR_TRY(pack_open_meta(pack, err));
    MYR_TRY(pack_open_marks(pack, err));
    MYR_TRY(myr_pack_loss_check(pack, pack->losses, err));
    *out = pack;
    pack = NULL;
    return MYR_OK;
}

void myr_pack_close(myr_pack *pack)
{
    if (pack == NULL) return;
    for (uint32_t i = 0; pack->files != NULL && i < pack->header.file_count; i++) {
        myr_io_unmap(&pack->files[i].mapping);
    }
    myr_io_unmap(&pack->index);
    myr_free(pack->page_marks);
    myr_free(pack->model_marks);
    myr_arena_free(pack->arena);
    myr_free(pack);
}

const myr_pack_info *myr_pack_get_info(const myr_pack *pack)
{
    return &pack->info;
}
