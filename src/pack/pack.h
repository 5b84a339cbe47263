/*
 * The face of pack: the compiled models of a release. An index file names immutable blob files beside it; all are
 * mapped read-only and shared between processes. A release that changes few models adds one blob file and a new index.
 *
 * Opening checks the header and its checksums (page checksums among them); index pages are checked as they are touched,
 * each model in full on first use, then marked. Rewriting a published file in place is outside the promise.
 */
#ifndef MYR_PACK_PACK_H
#define MYR_PACK_PACK_H

#include "base/base.h"
#include "model/model.h"
#include "pack/key.h"

#define MYR_PACK_NONE       UINT32_MAX
#define MYR_PACK_MODELS_MAX 16777216
#define MYR_PACK_FILES_MAX  1024 /* blob files an index may name */

/* What the pack says about its fleet. Strings live as long as the pack. */
typedef struct myr_pack_info {
    const char *fleet;
    int64_t release;
    myr_key_schema keys;
    const char *const *features; /* columns of a row, in order */
    uint32_t feature_count;
    uint32_t output_count;
    uint32_t model_count;
    /* Per feature: 1 if some model takes its cells as texts (names of categories). NULL: none does. A writer finds out
     * by itself and does not look at it. */
    const uint8_t *text_features;
} myr_pack_info;
static inline bool myr_pack_takes_text(const myr_pack_info *info, uint32_t feature_idx)
{
    return info->text_features != NULL && info->text_features[feature_idx] != 0;
}

typedef struct myr_pack_entry {
    int64_t version;
    uint32_t key_columns; /* how many partition columns its segment has: 0 = global */
    const unsigned char *key;
    size_t key_bytes;
    size_t model_bytes;
    uint64_t model_hash; /* XXH64 of its bytes */
    uint32_t file_idx;   /* blob file that holds it */
} myr_pack_entry;

/* ---- reading ---- */
typedef struct myr_pack myr_pack;

/*
 * Thread: one pack may be read by any number of threads. Errors: NOT_FOUND, BAD_FORMAT (path, what, where), UNSUPPORTED
 * (format version, by name), IO. A pack found damaged is refused whole only if its index is; a damaged model is refused
 * alone.
 */
myr_rc myr_pack_open(const char *index_path, myr_pack **out, myr_err *err);
void myr_pack_close(myr_pack *pack); /* NULL accepted */
typedef myr_pack *myr_pack_ptr;
static inline void myr_pack_ptr_drop(myr_pack_ptr *pack)
{
    myr_pack_close(*pack);
}
const myr_pack_info *myr_pack_get_info(const myr_pack *pack);

/* O(1). *out_idx = MYR_PACK_NONE when the key has no model. BAD_FORMAT when an index page is damaged. */
myr_rc myr_pack_find(const myr_pack *pack, const unsigned char *key, size_t key_bytes, uint64_t key_hash,
                     uint32_t *out_idx, myr_err *err);
myr_rc myr_pack_get_entry(const myr_pack *pack, uint32_t model_idx, myr_pack_entry *out, myr_err *err);
/* How many models have 0 (the global one), 1, 2, … key columns. Reads nothing that grows with the models; an index of
 * an older format is read whole. BAD_FORMAT when a page of one is damaged. */
myr_rc myr_pack_count_levels(const myr_pack *pack, uint32_t out[MYR_PARTITION_COLUMNS_MAX + 1], myr_err *err);
/* The model, checked on first use (column and output counts too). BAD_FORMAT names segment and damage; said each time.
 */
myr_rc myr_pack_model(const myr_pack *pack, uint32_t model_idx, const myr_model **out, myr_err *err);
/* Ask for the bytes of a model that was used before, while another one answers. Does nothing for others. */
void myr_pack_prefetch(const myr_pack *pack, uint32_t model_idx);
/* Check everything now, marked or not. The first damage is the error; *out_broken (may be NULL; set also on failure)
 * counts the models that can't be used. */
myr_rc myr_pack_verify(const myr_pack *pack, uint32_t *out_broken, myr_err *err);

/* ---- telling about a pack ---- */

/* A blob file, and what of it the index uses. */
typedef struct myr_pack_blobs {
    const char *name; /* lives as long as the pack */
    uint64_t file_bytes;
    uint64_t used_bytes; /* of models that the index names */
    uint32_t used_models;
} myr_pack_blobs;
typedef struct myr_pack_contents {
    uint32_t format; /* of the index */
    uint64_t index_bytes;
    uint32_t file_count;
    myr_pack_blobs *files; /* in the arena */
} myr_pack_contents;
/* Which files make the pack, and how much of each is in use. Reads every entry, no model. Errors: as get_entry. */
myr_rc myr_pack_list_files(const myr_pack *pack, myr_arena *arena, myr_pack_contents *out, myr_err *err);

/* The name of a blob file that the index names, beside it; NULL past the last. Lives as long as the pack. */
const char *myr_pack_file_name(const myr_pack *pack, uint32_t file_idx);

typedef enum myr_pack_change {
    MYR_PACK_SAME,    /* the same bytes under the same key, whatever their version's number */
    MYR_PACK_CHANGED, /* other bytes */
    MYR_PACK_ADDED,   /* `before` is NULL */
    MYR_PACK_REMOVED  /* `after` is NULL */
} myr_pack_change;
typedef myr_rc (*myr_pack_change_fn)(void *ctx, myr_pack_change change, const myr_pack_entry *before,
                                     const myr_pack_entry *after, myr_err *err);
/*
 * Tell each key of two packs once: those of `after` in its order, then the removed ones in theirs. By hashes: reads no
 * model. Errors: BAD_INPUT other partition columns; BAD_FORMAT; whatever `each` answers ends it.
 */
myr_rc myr_pack_diff(const myr_pack *before, const myr_pack *after, myr_pack_change_fn each, void *ctx, myr_err *err);

/* ---- writing ---- */
typedef struct myr_pack_writer myr_pack_writer;

/*
 * Write <dir>/<name>.index and, if there are new models, <dir>/<name>.blobs. Bounded memory: model bytes go straight to
 * the file. Nothing is visible under its final name before commit; commit syncs files and directory, and leaves nothing
 * when it fails. The bytes depend only on the calls and their order. Thread: one; one writer per name at a time.
 * Errors: EXISTS a pack of this name is published (packs are never rewritten), NOT_FOUND no such directory, BAD_INPUT.
 */
myr_rc myr_pack_writer_open(const char *dir, const char *name, const myr_pack_info *info, myr_pack_writer **out,
                            myr_err *err);
myr_rc myr_pack_writer_add(myr_pack_writer *writer, const unsigned char *key, size_t key_bytes, int64_t version,
                           const unsigned char *model_bytes, size_t model_size,
                           myr_err *err); /* EXISTS: the key twice */
/*
 * Take a model over from an earlier pack in the same directory without copying its bytes (or checking them, unless
 * some model there takes text: then this one is looked at, and BAD_FORMAT says that it is damaged).
 * BAD_INPUT: other columns, features or outputs, or another directory. EXISTS: the key twice. TOO_LARGE:
 * MYR_PACK_FILES_MAX.
 */
myr_rc myr_pack_writer_keep(myr_pack_writer *writer, const myr_pack *earlier, uint32_t model_idx, int64_t version,
                            myr_err *err);
myr_rc myr_pack_writer_commit(myr_pack_writer *writer, myr_err *err); /* at most once */
void myr_pack_writer_close(myr_pack_writer *writer); /* removes what was not committed; NULL accepted */
typedef myr_pack_writer *myr_pack_writer_ptr;
static inline void myr_pack_writer_ptr_drop(myr_pack_writer_ptr *writer)
{
    myr_pack_writer_close(*writer);
}

#endif
