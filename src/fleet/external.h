/*
 * Models for a runtime: what a fleet keeps of them. Private to fleet.
 *
 * Their artifact is a small JSON text, written here alone, which names the model's files by their SHA-256 (each an
 * artifact of its own), the features and the number of values: all that a release needs, without the runtime.
 */
#ifndef MYR_FLEET_EXTERNAL_H
#define MYR_FLEET_EXTERNAL_H

#include "fleet/internal.h"
#include "runtime/runtime.h"

#define EXTERNAL_FILES_BYTES_MAX (4LL << 30) /* of one model's files together */

typedef struct external_file {
    const char *name; /* as the model names it; the first is the model */
    const char *hex;
    int64_t size_bytes;
    const void *data; /* while it is imported */
} external_file;

/* Strings in an arena. */
typedef struct external_model {
    const char *runtime; /* MYR_RUNTIME_…: static */
    const char *const *features;
    const uint8_t *is_text;
    uint32_t feature_count;
    uint32_t output_count;
    external_file *files;
    uint32_t file_count;
    myr_runtime_wants wants;
} external_model;

/* Do these bytes begin like one of our texts? */
bool myr_fleet_external_is(const void *data, size_t size_bytes);
myr_rc myr_fleet_external_parse(const void *data, size_t size_bytes, myr_arena *arena, external_model *out,
                                myr_err *err);

/*
 * Look at an ONNX model that is not one of ours: read its external data from its own directory, have ONNX Runtime say
 * what it takes and gives. *out_text is the artifact. Files lie in the arena; `data` is borrowed.
 * `columns`: names for a model that takes any number of columns, or NULL.
 */
myr_rc myr_fleet_external_read(myr_workspace *workspace, const myr_fleet_item *item, const void *data,
                               size_t size_bytes, const char *const *columns, uint32_t column_count, myr_arena *arena,
                               external_model *out, myr_buf *out_text, myr_err *err);

/* A directory with score.py instead: all its files, what its worker says of it. */
#define EXTERNAL_SCORE "score.py"
myr_rc myr_fleet_external_read_dir(myr_workspace *workspace, const myr_fleet_item *item, const char *const *columns,
                                   uint32_t column_count, myr_arena *arena, external_model *out, myr_buf *out_text,
                                   myr_err *err);
/* Where the files of such an item lie: beside an ONNX model, or in the directory that it is. */
void myr_fleet_external_dir(const myr_fleet_item *item, char *out, size_t out_bytes);

/* Compile for rows of these columns; sha256 is the text's. */
myr_rc myr_fleet_external_compile(const external_model *model, const char *text, size_t text_bytes,
                                  const char *const *columns, uint32_t column_count, unsigned char **out_bytes,
                                  size_t *out_size, myr_err *err);

/* ---- the runner of an opened fleet ---- */

typedef struct fleet_external fleet_external;
myr_rc myr_fleet_external_open(myr_workspace *workspace, fleet_external **out, myr_err *err);
void myr_fleet_external_close(fleet_external *external); /* NULL accepted */
myr_runner myr_fleet_external_runner(fleet_external *external);
myr_runtime_source myr_fleet_external_source(fleet_external *external);
/* One file of a model; *out is the caller's (myr_free), or NULL: it has none of this name. And what it asks for. */
myr_rc myr_fleet_external_file(fleet_external *external, const char *hex, const char *name, myr_arena *arena,
                               char **out, size_t *out_bytes, myr_runtime_wants *out_wants, myr_err *err);

/*
 * score.yaml of a directory: `environment: {network: true, require_hashes: true}`; without the file nothing is asked
 * for. Errors: BAD_INPUT names file, line, key and the nearest known one; those of myr_path_inside.
 */
#define EXTERNAL_WANTS "score.yaml"
myr_rc myr_fleet_wants_read(const char *dir, myr_runtime_wants *out, myr_err *err);

#endif
