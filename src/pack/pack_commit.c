/*
 * Committing a pack: finish the blob file, write the index, then bring both under their final names, blobs first, so
 * that an index never names a file that is not there. Whatever fails on the way, nothing of this pack stays under a
 * final name.
 */
#include "pack/pack_inside.h"

/* The two final paths, and how far the renaming has come. */
typedef struct pack_names {
    char index[MYR_PATH_BYTES_MAX];
    char blobs[MYR_PATH_BYTES_MAX];
    bool has_index;
    bool has_blobs;
} pack_names;

/* The end of the blob file, and its row for the index. */
static myr_rc pack_commit_blobs(myr_pack_writer *writer, myr_err *err)
{
    if (writer->new_ref == UINT32_MAX) return MYR_OK;
    pack_ref *ref = &writer->refs[writer->new_ref];
    pack_tail tail = {writer->blobs.file_bytes + PACK_TAIL_BYTES, writer->blob_count, writer->blob_id};
    unsigned char bytes[PACK_TAIL_BYTES];
    myr_pack_tail_put(bytes, &tail);
    MYR_TRY(myr_pack_out_put(&writer->blobs, bytes, sizeof bytes, err));
    MYR_ASSERT(writer->blobs.file_bytes == tail.file_bytes);
    MYR_TRY(myr_pack_out_finish(&writer->blobs, err));
    ref->file_bytes = tail.file_bytes;
    ref->id = tail.id;
    return MYR_OK;
}

static myr_rc pack_commit_meta(const myr_pack_writer *writer, myr_buf *out, myr_err *err)
{
    myr_pack_meta_str_put(out, writer->fleet);
    if (writer->signature.size > 0) {
        myr_buf_append(out, writer->signature.data, writer->signature.size);
    }
    for (uint32_t i = 0; i < writer->ref_count; i++) {
        unsigned char fixed[PACK_META_FILE_BYTES];
        pack_put_u64(fixed, writer->refs[i].file_bytes);
        pack_put_u64(fixed + 8, writer->refs[i].id);
        myr_buf_append(out, fixed, sizeof fixed);
        myr_pack_meta_str_put(out, writer->refs[i].name);
    }
    for (uint32_t i = 0; i < writer->feature_count; i += 8) {
        unsigned char bits = 0;
        for (uint32_t k = i; k < i + 8 && k < writer->feature_count; k++)
            bits |= (unsigned char)(writer->text_features[k] << (k - i));
        myr_buf_append(out, &bits, 1);
    }
    MYR_TRY(myr_buf_check(out, err));
    MYR_ASSERT(out->size > 0 && out->size <= PACK_META_BYTES_MAX); /* follows from the limits of names and counts */
    return MYR_OK;
}

/* The sum of every page, in file form. */
static myr_rc pack_commit_sums(const myr_pack_writer *writer, const pack_layout *at, myr_mem *out, myr_err *err)
{
    unsigned char *sums = myr_calloc(at->page_count + 1, 8);
    if (sums == NULL) {
        MYR_FAIL(err, NO_MEMORY, "pack %s: no memory for the sums of %llu pages", writer->name,
                 (unsigned long long)at->page_count);
    }
    unsigned char page[PACK_PAGE_BYTES];
    for (uint64_t i = 0; i < at->page_count; i++) {
        myr_pack_rows_page(&writer->rows, at, i, page);
        pack_put_u64(sums + i * 8, myr_pack_page_sum(page, i));
    }
    *out = sums;
    return MYR_OK;
}

static myr_rc pack_commit_zeros(pack_out *out, uint64_t until, myr_err *err)
{
    static const unsigned char zeros[PACK_PAGE_BYTES];
    MYR_ASSERT(until >= out->file_bytes && until - out->file_bytes < sizeof zeros);
    return myr_pack_out_put(out, zeros, until - out->file_bytes, err);
}

static myr_rc pack_commit_index_write(const myr_pack_writer *writer, pack_out *out, const pack_header *header,
                                      const pack_layout *at, const myr_buf *meta, const unsigned char *sums,
                                      myr_err *err)
{
    unsigned char bytes[PACK_HEADER_BYTES];
    unsigned char page[PACK_PAGE_BYTES];
    myr_pack_header_put(bytes, header);
    MYR_TRY(myr_pack_out_put(out, bytes, sizeof bytes, err));
    MYR_TRY(myr_pack_out_put(out, meta->data, meta->size, err));
    MYR_TRY(pack_commit_zeros(out, at->sums_offset, err));
    MYR_TRY(myr_pack_out_put(out, sums, at->page_count * 8, err));
    MYR_TRY(pack_commit_zeros(out, at->body_offset, err));
    for (uint64_t i = 0; i < at->page_count; i++) {
        myr_pack_rows_page(&writer->rows, at, i, page);
        MYR_TRY(myr_pack_out_put(out, page, sizeof page, err));
    }
    MYR_ASSERT(out->file_bytes == at->file_bytes);
    return myr_pack_out_finish(out, err);
}

static myr_rc pack_commit_index(myr_pack_writer *writer, pack_out *out, myr_err *err)
{
    MYR_AUTO(myr_buf) meta = {0};
    MYR_TRY(pack_commit_meta(writer, &meta, err));
    pack_header header = {
        .version = PACK_INDEX_VERSION,
        .release = writer->release,
        .model_count = writer->rows.count,
        .feature_count = writer->feature_count,
        .output_count = writer->output_count,
        .column_count = writer->keys.column_count,
        .file_count = writer->ref_count,
        .meta_bytes = meta.size,
        .keys_bytes = writer->rows.keys_bytes,
        .meta_hash = myr_hash64(meta.data, meta.size, 0),
    };
    memcpy(header.level_models, writer->rows.level_models + 1, sizeof header.level_models);
    MYR_TRY(myr_pack_rows_finish(&writer->rows, &header.probe_max, err));
    pack_layout at;
    MYR_TRY(myr_pack_layout_of(&header, writer->name, &at, err));
    header.file_bytes = at.file_bytes;
    MYR_AUTO(myr_mem) sums = NULL;
    MYR_TRY(pack_commit_sums(writer, &at, &sums, err));
    header.sums_hash = myr_hash64(sums, at.page_count * 8, 0);
    MYR_TRY(myr_pack_out_open(out, writer->dir, writer->name, PACK_INDEX_SUFFIX, err));
    return pack_commit_index_write(writer, out, &header, &at, &meta, sums, err);
}

/* The final path is the temporary one without its last suffix. */
static void pack_commit_final(const pack_out *out, char final[MYR_PATH_BYTES_MAX])
{
    size_t size = strlen(out->path);
    MYR_ASSERT(size > strlen(PACK_TMP_SUFFIX));
    memcpy(final, out->path, size);
    final[size - strlen(PACK_TMP_SUFFIX)] = '\0';
}

static myr_rc pack_commit_rename(pack_out *out, const char *final, bool *out_done, const char *dir, myr_err *err)
{
    MYR_TRY(myr_io_rename(out->path, final, err));
    out->path[0] = '\0'; /* nothing to remove under the temporary name any more */
    *out_done = true;
    return myr_io_sync_dir(dir, err);
}

static myr_rc pack_commit_names(myr_pack_writer *writer, pack_out *index, pack_names *names, myr_err *err)
{
    if (writer->new_ref != UINT32_MAX) {
        pack_commit_final(&writer->blobs, names->blobs);
        MYR_TRY(pack_commit_rename(&writer->blobs, names->blobs, &names->has_blobs, writer->dir, err));
    }
    pack_commit_final(index, names->index);
    return pack_commit_rename(index, names->index, &names->has_index, writer->dir, err);
}

/* Index first, and the blobs only if that went well: at no moment does an index name a file that is gone. */
static void pack_commit_undo(const pack_names *names)
{
    if (names->has_index && myr_io_unlink(names->index, NULL) != MYR_OK)
        return; /* the first error is the one to tell */
    if (names->has_blobs) {
        MYR_IGNORE(myr_io_unlink(names->blobs, NULL)); /* as above; the next writer of this name replaces it */
    }
}

myr_rc myr_pack_commit(myr_pack_writer *writer, myr_err *err)
{
    pack_out index = {.fd = -1};
    pack_names names = {.has_index = false};
    myr_rc rc = pack_commit_blobs(writer, err);
    if (rc == MYR_OK) {
        rc = pack_commit_index(writer, &index, err);
    }
    if (rc == MYR_OK) {
        rc = pack_commit_names(writer, &index, &names, err);
    }
    if (rc != MYR_OK) {
        pack_commit_undo(&names);
    }
    myr_pack_out_drop(&index);
    return rc;
}
