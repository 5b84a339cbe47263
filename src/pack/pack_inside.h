/* An open pack, as the files of this directory see it. */
#ifndef MYR_PACK_INSIDE_H
#define MYR_PACK_INSIDE_H

#include <stdatomic.h>

#include "pack/pack_format.h"

/* One blob file, mapped; both ends and its id were checked at open. */
typedef struct pack_file {
    const char *name;
    myr_mapping mapping;
    uint64_t id;
} pack_file;

/* Immutable after open but for the two arrays of marks, which any thread may set (only ever from unset to set). */
struct myr_pack {
    myr_arena *arena; /* path, names, files */
    const char *path;
    myr_mapping index;
    pack_header header;
    pack_layout layout;
    myr_pack_info info;
    pack_file *files;
    _Atomic uint64_t *page_marks;            /* a bit per page of the index body: its sum was checked */
    _Atomic(const myr_model *) *model_marks; /* the model, once it was checked in full; NULL before */
    uint64_t losses; /* myr_io_map_losses() at open: once it has moved, marks count for nothing any more */
};

/*
 * pack_read.c. The entry of a model with every offset checked against the real files, and its key. BAD_FORMAT: a page
 * is damaged or the entry points outside. `model_idx` must be below the count.
 */
myr_rc myr_pack_row_load(const myr_pack *pack, uint32_t model_idx, pack_row *out_row, const unsigned char **out_key,
                         myr_err *err);
/* BAD_FORMAT when a page of any mapping was lost since `losses_before`: what was read in between may be zeros. */
myr_rc myr_pack_loss_check(const myr_pack *pack, uint64_t losses_before, myr_err *err);
/* Check the pages under `size_bytes` of the body unless marked, then give the bytes. */
myr_rc myr_pack_touch(const myr_pack *pack, uint64_t offset, uint64_t size_bytes, const unsigned char **out,
                      myr_err *err);

/* pack_tell.c. BAD_FORMAT when the header's counts by level are not those of the entries. */
myr_rc myr_pack_check_levels(const myr_pack *pack, myr_err *err);

/* ---- writing ---- */

/* A file under a temporary name, written in order through a buffer. Zero-initialise; myr_pack_out_drop removes an
 * unfinished one. */
#define PACK_OUT_BUFFER_BYTES (256 * 1024)
typedef struct pack_out {
    myr_fd fd;
    bool is_open;
    char path[MYR_PATH_BYTES_MAX]; /* the temporary name; empty once there is nothing to remove */
    unsigned char *buffer;
    size_t used;
    uint64_t file_bytes; /* buffered ones included */
} pack_out;
myr_rc myr_pack_out_open(pack_out *out, const char *dir, const char *name, const char *suffix, myr_err *err);
myr_rc myr_pack_out_put(pack_out *out, const void *data, size_t size_bytes, myr_err *err);
myr_rc myr_pack_out_finish(pack_out *out, myr_err *err); /* flushed, synced, closed; still under its temporary name */
void myr_pack_out_drop(pack_out *out);                   /* closed and removed */

/* A blob file that the new index names. */
typedef struct pack_ref {
    char name[MYR_NAME_BYTES_MAX + 1];
    uint64_t file_bytes;
    uint64_t id;
} pack_ref;

/* The rows of an index to be: encoded entries, the keys behind each other, and a table to find a key twice. */
typedef struct pack_rows {
    unsigned char *entries;
    uint32_t count;
    uint32_t room;
    unsigned char *keys;
    size_t keys_bytes;
    size_t keys_room;
    unsigned char *slots;
    uint64_t slot_count;
    uint32_t level_models[MYR_PARTITION_COLUMNS_MAX + 1]; /* by number of key columns */
} pack_rows;
void myr_pack_rows_fini(pack_rows *rows);
/* Make room for one more entry with this key; after it, myr_pack_rows_add can't fail. */
myr_rc myr_pack_rows_reserve(pack_rows *rows, size_t key_bytes, myr_err *err);
bool myr_pack_rows_has(const pack_rows *rows, const unsigned char *key, size_t key_bytes);
void myr_pack_rows_add(pack_rows *rows, const unsigned char *key, size_t key_bytes, pack_row row);
/* The table as the file has it. TOO_LARGE when keys collide more than PACK_PROBE_MAX times. */
myr_rc myr_pack_rows_finish(pack_rows *rows, uint32_t *out_probe_max, myr_err *err);
/* A page of the body: slots, entries, keys, zeros. */
void myr_pack_rows_page(const pack_rows *rows, const pack_layout *at, uint64_t page_idx,
                        unsigned char out[PACK_PAGE_BYTES]);

/* Owned by one thread. */
struct myr_pack_writer {
    char dir[MYR_PATH_BYTES_MAX];
    char name[MYR_NAME_BYTES_MAX + 1];
    char blobs_name[MYR_NAME_BYTES_MAX + 1];
    char fleet[MYR_NAME_BYTES_MAX + 1];
    int64_t release;
    myr_key_schema keys;
    uint32_t feature_count;
    uint32_t output_count;
    uint32_t model_count_max; /* MYR_PACK_MODELS_MAX; a test makes it smaller */
    myr_buf signature;        /* columns and features, as meta has them */
    pack_rows rows;
    pack_ref *refs; /* MYR_PACK_FILES_MAX; [new_ref] is the file being written, once there is one */
    uint32_t ref_count;
    uint32_t new_ref; /* UINT32_MAX: none yet */
    pack_out blobs;
    uint64_t blob_count;
    uint64_t blob_id;
    unsigned char *aligned; /* a model that came unaligned */
    size_t aligned_room;
    uint8_t *text_features; /* per feature: some model takes text there */
    bool is_failed;         /* a write failed: what the file holds is not known */
    bool is_committed;
};

/* myr_pack_commit.c: write the index and bring both files under their final names. */
myr_rc myr_pack_commit(myr_pack_writer *writer, myr_err *err);

#endif
