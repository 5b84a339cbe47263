/*
 * Writing a pack: models go to the blob file as they come, only their rows stay in memory. A call that is refused
 * leaves the writer as it was; a write that failed leaves it failed, since what the file then holds is not known.
 */
#include "pack/pack_inside.h"

#include <fcntl.h>

/* ---- open and close ---- */

/* Counts and names of the caller's info: the same rules as for a file that is read. */
static myr_rc pack_writer_check(const char *name, const myr_pack_info *info, myr_err *err)
{
    if (!myr_name_is_valid(myr_str_of(name)) || strlen(name) > PACK_NAME_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "'%s' is not a name for a pack: letters, digits, '.', '_' and '-', at most %d bytes",
                 name, PACK_NAME_BYTES_MAX);
    }
    if (info->keys.column_count > MYR_PARTITION_COLUMNS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: %u partition columns, at most %d are allowed", name, info->keys.column_count,
                 MYR_PARTITION_COLUMNS_MAX);
    }
    if (info->feature_count > MYR_FEATURES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: %u features, at most %d are allowed", name, info->feature_count,
                 MYR_FEATURES_MAX);
    }
    if (info->output_count < 1 || info->output_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: %u outputs, 1 to %d are allowed", name, info->output_count, MYR_OUTPUTS_MAX);
    }
    return myr_pack_info_check(info, MYR_BAD_INPUT, name, err);
}

/* Packs are never edited: a name is used once. */
static myr_rc pack_writer_check_new(const char *dir, const char *name, myr_err *err)
{
    char file[MYR_NAME_BYTES_MAX + 1];
    char path[MYR_PATH_BYTES_MAX];
    size_t name_bytes = strlen(name);
    MYR_ASSERT(name_bytes <= PACK_NAME_BYTES_MAX);
    memcpy(file, name, name_bytes);
    memcpy(file + name_bytes, PACK_INDEX_SUFFIX, sizeof PACK_INDEX_SUFFIX);
    MYR_TRY(myr_path_join(path, sizeof path, dir, file, err));
    int64_t size = 0;
    myr_rc rc = myr_io_size(path, &size, err);
    if (rc == MYR_OK) {
        MYR_FAIL(err, EXISTS, "%s: a pack of this name is published; packs are never rewritten, choose a new name",
                 path);
    }
    if (rc != MYR_NOT_FOUND) return rc; /* not known: then it is not overwritten either */
    if (!myr_io_is_dir(dir)) {
        MYR_FAIL(err, NOT_FOUND, "%s: no such directory for a pack", dir);
    }
    return MYR_OK;
}

static void pack_writer_fill(myr_pack_writer *writer, const char *dir, const char *name, const myr_pack_info *info)
{
    size_t name_bytes = strlen(name);
    memcpy(writer->dir, dir, strlen(dir) + 1);
    memcpy(writer->name, name, name_bytes + 1);
    memcpy(writer->blobs_name, name, name_bytes);
    memcpy(writer->blobs_name + name_bytes, PACK_BLOBS_SUFFIX, sizeof PACK_BLOBS_SUFFIX);
    memcpy(writer->fleet, info->fleet, strlen(info->fleet) + 1);
    writer->release = info->release;
    writer->keys = info->keys;
    writer->feature_count = info->feature_count;
    writer->output_count = info->output_count;
    writer->model_count_max = MYR_PACK_MODELS_MAX;
    writer->new_ref = UINT32_MAX;
    myr_pack_signature_put(&writer->signature, info);
}

myr_rc myr_pack_writer_open(const char *dir, const char *name, const myr_pack_info *info, myr_pack_writer **out,
                            myr_err *err)
{
    MYR_TRY(pack_writer_check(name, info, err));
    if (strlen(dir) >= MYR_PATH_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: its directory has a path of %zu bytes, allowed are %d", name, strlen(dir),
                 MYR_PATH_BYTES_MAX - 1);
    }
    MYR_TRY(pack_writer_check_new(dir, name, err));
    MYR_AUTO(myr_pack_writer_ptr) writer = myr_calloc(1, sizeof *writer);
    if (writer == NULL || (writer->refs = myr_calloc(MYR_PACK_FILES_MAX, sizeof *writer->refs)) == NULL ||
        (writer->text_features = myr_calloc((size_t)info->feature_count + 1, 1)) == NULL) {
        MYR_FAIL(err, NO_MEMORY, "pack %s: no memory to write it", name);
    }
    pack_writer_fill(writer, dir, name, info);
    MYR_TRY(myr_buf_check(&writer->signature, err));
    *out = writer;
    writer = NULL;
    return MYR_OK;
}

void myr_pack_writer_close(myr_pack_writer *writer)
{
    if (writer == NULL) return;
    myr_pack_out_drop(&writer->blobs);
    myr_pack_rows_fini(&writer->rows);
    myr_buf_fini(&writer->signature);
    myr_free(writer->refs);
    myr_free(writer->aligned);
    myr_free(writer->text_features);
    myr_free(writer);
}

/* ---- add ---- */

/* What add and keep have in common: may this key come in, and is there room for its row? */
static myr_rc pack_writer_admit(myr_pack_writer *writer, const unsigned char *key, size_t key_bytes, myr_err *err)
{
    MYR_ASSERT(!writer->is_committed);
    if (writer->is_failed) {
        MYR_FAIL(err, IO, "pack %s: an earlier write failed, begin again", writer->name);
    }
    if (writer->rows.count >= writer->model_count_max) {
        MYR_FAIL(err, TOO_LARGE, "pack %s: more than %u models", writer->name, writer->model_count_max);
    }
    myr_rc rc = myr_pack_key_check(&writer->keys, key, key_bytes, err);
    if (rc != MYR_OK) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: model %u has a key that is not canonical for its columns", writer->name,
                 writer->rows.count);
    }
    if (myr_pack_rows_has(&writer->rows, key, key_bytes)) {
        MYR_AUTO(myr_buf) text = {0};
        MYR_TRY(myr_key_text(&writer->keys, key, key_bytes, &text, err));
        MYR_FAIL(err, EXISTS, "pack %s: the segment '%.100s' is in it already", writer->name,
                 text.size > 0 ? text.data : "");
    }
    return myr_pack_rows_reserve(&writer->rows, key_bytes, err);
}

/* Remember which features the model takes as texts. */
static void pack_writer_note_text(myr_pack_writer *writer, const myr_model *model)
{
    if (model != NULL) MYR_IGNORE(myr_model_mark_text(model, writer->text_features)); /* whether any is set shows */
}

/* The model must be one that the reader will accept. Its bytes are copied only if they are not aligned. */
static myr_rc pack_writer_check_model(myr_pack_writer *writer, const unsigned char *bytes, size_t size_bytes,
                                      const myr_model **out, myr_err *err)
{
    if (size_bytes == 0 || size_bytes % MYR_MODEL_ALIGN != 0 || size_bytes > PACK_MODEL_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: model %u has %zu bytes, not a multiple of %d", writer->name,
                 writer->rows.count, size_bytes, MYR_MODEL_ALIGN);
    }
    if ((uintptr_t)bytes % MYR_MODEL_ALIGN != 0) {
        if (size_bytes > writer->aligned_room) {
            unsigned char *aligned = myr_alloc_aligned(MYR_MODEL_ALIGN, size_bytes);
            if (aligned == NULL) {
                MYR_FAIL(err, NO_MEMORY, "pack %s: no memory for a model of %zu bytes", writer->name, size_bytes);
            }
            myr_free(writer->aligned);
            writer->aligned = aligned;
            writer->aligned_room = size_bytes;
        }
        memcpy(writer->aligned, bytes, size_bytes);
        bytes = writer->aligned;
    }
    const myr_model *model = NULL;
    myr_rc rc = myr_model_check(bytes, size_bytes, &model, err);
    if (rc != MYR_OK) {
        return myr_err_prefix(err, rc, "pack %s: model %u: ", writer->name, writer->rows.count);
    }
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count != writer->feature_count || info.output_count != writer->output_count) {
        MYR_FAIL(err, BAD_INPUT, "pack %s: model %u takes %u columns and gives %u values, the fleet has %u and %u",
                 writer->name, writer->rows.count, info.column_count, info.output_count, writer->feature_count,
                 writer->output_count);
    }
    *out = model; /* good until the next call */
    return MYR_OK;
}

/* The blob file begins with the first new model. */
static myr_rc pack_writer_begin_blobs(myr_pack_writer *writer, myr_err *err)
{
    if (writer->new_ref != UINT32_MAX) return MYR_OK;
    if (writer->ref_count == MYR_PACK_FILES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "pack %s: more than %d blob files: write the kept models anew", writer->name,
                 MYR_PACK_FILES_MAX);
    }
    MYR_TRY(myr_pack_out_open(&writer->blobs, writer->dir, writer->name, PACK_BLOBS_SUFFIX, err));
    unsigned char head[PACK_HEAD_BYTES];
    myr_pack_head_put(head);
    myr_rc rc = myr_pack_out_put(&writer->blobs, head, sizeof head, err);
    MYR_ASSERT(rc == MYR_OK); /* it fits the empty buffer */
    writer->new_ref = writer->ref_count++;
    memcpy(writer->refs[writer->new_ref].name, writer->blobs_name, sizeof writer->blobs_name);
    return MYR_OK;
}

myr_rc myr_pack_writer_add(myr_pack_writer *writer, const unsigned char *key, size_t key_bytes, int64_t version,
                           const unsigned char *model_bytes, size_t model_size, myr_err *err)
{
    MYR_TRY(pack_writer_admit(writer, key, key_bytes, err));
    const myr_model *model = NULL;
    MYR_TRY(pack_writer_check_model(writer, model_bytes, model_size, &model, err));
    MYR_TRY(pack_writer_begin_blobs(writer, err));
    pack_row row = {
        .model_hash = myr_hash64(model_bytes, model_size, 0),
        .version = version,
        .blob_offset = writer->blobs.file_bytes,
        .blob_units = (uint32_t)(model_size / MYR_MODEL_ALIGN),
        .file_idx = (uint16_t)writer->new_ref,
    };
    MYR_ASSERT(row.blob_offset % MYR_MODEL_ALIGN == 0);
    myr_rc rc = myr_pack_out_put(&writer->blobs, model_bytes, model_size, err);
    if (rc != MYR_OK) {
        writer->is_failed = true;
        return rc;
    }
    writer->blob_id = myr_pack_id_fold(writer->blob_id, row.model_hash, model_size);
    writer->blob_count++;
    pack_writer_note_text(writer, model);
    myr_pack_rows_add(&writer->rows, key, key_bytes, row);
    return MYR_OK;
}

/* ---- keep ---- */

/* The models of another pack fit only if columns and features are the same, in the same order. */
static myr_rc pack_writer_check_signature(const myr_pack_writer *writer, const myr_pack *earlier, myr_err *err)
{
    MYR_AUTO(myr_buf) signature = {0};
    myr_pack_signature_put(&signature, &earlier->info);
    MYR_TRY(myr_buf_check(&signature, err));
    bool is_same = earlier->info.keys.column_count == writer->keys.column_count &&
                   earlier->info.feature_count == writer->feature_count &&
                   earlier->info.output_count == writer->output_count && signature.size == writer->signature.size &&
                   (signature.size == 0 || memcmp(signature.data, writer->signature.data, signature.size) == 0);
    if (!is_same) {
        MYR_FAIL(err, BAD_INPUT,
                 "pack %s: models of %s can't be kept, its columns, features or outputs are others: compile anew",
                 writer->name, earlier->path);
    }
    return MYR_OK;
}

/* Is the blob file beside the new index the one that the earlier pack has open? */
static myr_rc pack_writer_check_file(const myr_pack_writer *writer, const pack_file *file, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    int64_t size = 0;
    MYR_TRY(myr_path_join(path, sizeof path, writer->dir, file->name, err));
    MYR_TRY(myr_io_size(path, &size, err));
    if ((uint64_t)size != file->mapping.size) {
        MYR_FAIL(err, BAD_INPUT, "%s: %lld bytes, the earlier pack uses one of %zu", path, (long long)size,
                 file->mapping.size);
    }
    unsigned char head[PACK_HEAD_BYTES];
    unsigned char end[PACK_TAIL_BYTES];
    pack_tail tail;
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_RDONLY, 0, &fd, err));
    MYR_TRY(myr_io_pread(fd, path, head, sizeof head, 0, err));
    MYR_TRY(myr_io_pread(fd, path, end, sizeof end, size - PACK_TAIL_BYTES, err));
    MYR_TRY(myr_pack_ends_get(head, end, (uint64_t)size, path, &tail, err));
    if (tail.id != file->id) {
        MYR_FAIL(err, BAD_INPUT, "%s: not the file that the earlier pack uses (its id is another)", path);
    }
    return MYR_OK;
}

/* Which of our blob files it is; a new one is looked at once. The signature is compared then too. */
static myr_rc pack_writer_ref(myr_pack_writer *writer, const myr_pack *earlier, const pack_file *file,
                              uint16_t *out_idx, myr_err *err)
{
    for (uint32_t i = 0; i < writer->ref_count; i++) {
        if (i != writer->new_ref && writer->refs[i].id == file->id &&
            writer->refs[i].file_bytes == file->mapping.size && strcmp(writer->refs[i].name, file->name) == 0) {
            *out_idx = (uint16_t)i;
            return MYR_OK;
        }
    }
    if (strcmp(file->name, writer->blobs_name) == 0) {
        MYR_FAIL(err, EXISTS, "pack %s: its name is that of a blob file with kept models, choose a new name",
                 writer->name);
    }
    if (writer->ref_count == MYR_PACK_FILES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "pack %s: more than %d blob files: write the kept models anew", writer->name,
                 MYR_PACK_FILES_MAX);
    }
    MYR_TRY(pack_writer_check_signature(writer, earlier, err));
    MYR_TRY(pack_writer_check_file(writer, file, err));
    pack_ref *ref = &writer->refs[writer->ref_count];
    memcpy(ref->name, file->name, strlen(file->name) + 1);
    ref->file_bytes = file->mapping.size;
    ref->id = file->id;
    *out_idx = (uint16_t)writer->ref_count++;
    return MYR_OK;
}

myr_rc myr_pack_writer_keep(myr_pack_writer *writer, const myr_pack *earlier, uint32_t model_idx, int64_t version,
                            myr_err *err)
{
    if (model_idx >= earlier->header.model_count) {
        MYR_FAIL(err, BAD_INPUT, "%s: there is no model %u, it has %u", earlier->path, model_idx,
                 earlier->header.model_count);
    }
    pack_row row;
    const unsigned char *key = NULL;
    const myr_model *model = NULL;
    MYR_TRY(myr_pack_row_load(earlier, model_idx, &row, &key, err));
    /* Where no model of the earlier pack takes text this one does not; else it must be looked at. */
    if (earlier->info.text_features != NULL) MYR_TRY(myr_pack_model(earlier, model_idx, &model, err));
    MYR_TRY(pack_writer_admit(writer, key, row.key_bytes, err));
    MYR_TRY(pack_writer_ref(writer, earlier, &earlier->files[row.file_idx], &row.file_idx, err));
    row.version = version;
    pack_writer_note_text(writer, model);
    myr_pack_rows_add(&writer->rows, key, row.key_bytes, row);
    return MYR_OK;
}

myr_rc myr_pack_writer_commit(myr_pack_writer *writer, myr_err *err)
{
    MYR_ASSERT(!writer->is_committed);
    if (writer->is_failed) {
        MYR_FAIL(err, IO, "pack %s: an earlier write failed, begin again", writer->name);
    }
    MYR_TRY(pack_writer_check_new(writer->dir, writer->name, err));
    writer->is_failed = true; /* until it is done: a commit that failed is not tried again */
    MYR_TRY(myr_pack_commit(writer, err));
    writer->is_failed = false;
    writer->is_committed = true;
    return MYR_OK;
}
