/*
 * The face of fleet: a workspace; models brought in; releases built; an opened fleet (pack + scorer) that batch, serve
 * and predict hold.
 *
 * A workspace is a directory: myriad.yaml, registry.db, artifacts/, packs/<fleet>/r<number>.index + .blobs.
 */
#ifndef MYR_FLEET_FLEET_H
#define MYR_FLEET_FLEET_H

#include "base/base.h"
#include "registry/registry.h"
#include "runtime/runtime.h"
#include "score/score.h"
#include "store/store.h"

/* ---- workspace ---- */
typedef struct myr_workspace {
    char root[MYR_PATH_BYTES_MAX];
    myr_registry *registry;
    myr_store *store;
    myr_runtime *runtime; /* of the models that are not ours; opens its library when the first of them is used */
} myr_workspace;

/* Make one: directories, registry, myriad.yaml with every option explained. Complete already: *out_made = false. */
myr_rc myr_workspace_init(const char *dir, const char *config_text, bool *out_made, myr_err *err);
/* The nearest parent of the current directory with myriad.yaml, or `dir` if given. NOT_FOUND says what to type. */
myr_rc myr_workspace_find(const char *dir, char *out_root, size_t out_bytes, myr_err *err);
myr_rc myr_workspace_open(const char *root, myr_workspace **out, myr_err *err);
void myr_workspace_close(myr_workspace *workspace); /* NULL accepted */
typedef myr_workspace *myr_workspace_ptr;
static inline void myr_workspace_ptr_drop(myr_workspace_ptr *workspace)
{
    myr_workspace_close(*workspace);
}

/* ---- bringing models in ---- */
typedef struct myr_fleet_item {
    const char *name; /* for messages: the file, or "trained" */
    const void *data; /* model bytes; NULL: read the file `path` */
    size_t size_bytes;
    const char *path;
    const char *segment;         /* text, any order of parts; "" = global */
    const char *const *features; /* names that replace the file's, or NULL */
    uint32_t feature_count;
    uint32_t first_iteration, iterations; /* boosting rounds to keep; 0 iterations: all from the first on */
    bool best_iteration;                  /* up to XGBoost's best_iteration */
    const char *const *category_features; /* LightGBM: what its lists of categories belong to; see import.h */
    uint32_t category_feature_count;
    const char *algorithm;   /* NULL: from the import */
    const char *metrics;     /* JSON or NULL */
    const char *fingerprint; /* or NULL */
    const char *source;      /* or NULL: path */
    double baseline;         /* NaN if not known */
    const myr_tag *tags;
    uint32_t tag_count;
    int64_t out_version;     /* given back */
    const char *out_segment; /* given back if the definition has an out_arena: the canonical text */
    bool out_reused; /* given back: the newest version of the segment is this very artifact; nothing was added */
} myr_fleet_item;
typedef struct myr_fleet_def {
    const char *name;
    /* NULL: of the existing fleet, or from the items' segments. A fleet with only a global model gets them here. */
    const char *const *partition_columns;
    uint32_t partition_count;
    const char *const *features; /* NULL: of the existing fleet, or the first item's */
    uint32_t feature_count;
    const char *target, *target_transform; /* NULL = "" */
    myr_arena *out_arena;                  /* NULL, or where the items' out_segment goes */
} myr_fleet_def;
/*
 * Import all items or none: each file is read, checked, compiled against the fleet's signature (features matched by
 * name; a feature the signature lacks, or another number of outputs, is BAD_INPUT) and registered. The fleet is made if
 * absent. An item identical to the newest version of its segment (same artifact, tags, algorithm) is reused, not added.
 * progress(ctx, done, total) may be NULL. Errors name item and cause ("models.csv:3: …" is the caller's prefix:
 * *out_item).
 */
typedef void (*myr_progress)(void *ctx, int64_t done, int64_t total);
myr_rc myr_fleet_import(myr_workspace *workspace, const myr_fleet_def *def, myr_fleet_item *items, size_t item_count,
                        myr_progress progress, void *progress_ctx, size_t *out_item, myr_err *err);

/* ---- releases ---- */
typedef struct myr_release_report {
    int64_t number;
    int64_t model_count;
    int64_t new_models; /* bytes written; the others are kept from an earlier pack */
    int64_t pack_bytes;
    bool reused; /* the newest release has exactly these versions: none was made */
    bool promoted;
    bool explain; /* with what leaf numbers and contributions need: the fleet remembers the choice */
} myr_release_report;
#define MYR_RELEASE_WAIT_MS 10000 /* how long one waits for another process that makes a release of the fleet */
/*
 * From the newest version of each segment. The pack is written first, the registry row last. NOT_FOUND: no models;
 * BUSY: another process was still making one after MYR_RELEASE_WAIT_MS.
 */
myr_rc myr_release_create(myr_workspace *workspace, const char *fleet, bool promote, myr_release_report *out,
                          myr_err *err);
/* Whether the fleet's releases from now on hold explanations; the next one compiles its models anew for it. */
myr_rc myr_fleet_set_explain(myr_workspace *workspace, const char *fleet, bool explain, myr_err *err);
myr_rc myr_release_promote(myr_workspace *workspace, const char *fleet, int64_t number, myr_err *err);
/* Let an alias (`champion`, `challenger`, …) name a release that can be opened. BAD_INPUT, NOT_FOUND, BAD_FORMAT. */
myr_rc myr_release_set_alias(myr_workspace *workspace, const char *fleet, const char *alias, int64_t number,
                             myr_err *err);
/*
 * Let an alias name the release again that it named before; *out_number. Another one than champion that named none
 * before is removed: *out_number is 0. NOT_FOUND: champion has no release before this one.
 */
myr_rc myr_release_rollback(myr_workspace *workspace, const char *fleet, const char *alias, int64_t *out_number,
                            myr_err *err);

typedef struct myr_compact_report {
    int64_t number; /* of the release that is the champion now */
    int64_t model_count;
    int64_t pack_bytes;
    bool reused; /* the champion's pack was one file already: no release was made */
    int64_t pruned_releases;
    int64_t freed_bytes;
} myr_compact_report;
/*
 * A release of the champion's models, all in one blob file, and the champion from now on. prune: releases without an
 * alias that are not newer than the champion was are removed, and the blob files that no remaining index names; who has
 * one open keeps it. Errors: NOT_FOUND: no champion; BAD_FORMAT: a damaged model, which release_create compiles anew;
 * BUSY as there.
 */
myr_rc myr_release_compact(myr_workspace *workspace, const char *fleet, bool prune, myr_compact_report *out,
                           myr_err *err);

/*
 * A registered model compiled for its fleet's columns, as a release has it. *out_bytes is the caller's (myr_free), *out
 * points into it. Errors: NOT_FOUND or BAD_FORMAT its artifact; those of the import.
 */
myr_rc myr_fleet_model_load(myr_workspace *workspace, const myr_fleet_row *fleet, const myr_model_row *model,
                            unsigned char **out_bytes, const myr_model **out, myr_err *err);

/* ---- an opened fleet ---- */
/* Immutable after open: any thread. */
typedef struct myr_fleet {
    char name[MYR_NAME_BYTES_MAX + 1];
    int64_t release;
    myr_pack *pack;
    myr_scorer *scorer;
    const myr_pack_info *info; /* the pack's */
    myr_arena *arena;
    myr_fleet_row row;               /* the registry's */
    myr_map *fields;                 /* name of a key or feature -> where it goes (fleet's own) */
    struct fleet_external *external; /* runs the models that are not ours (fleet's own) */
} myr_fleet;

/*
 * What models that are code (score.py) need. Thread: one at a time. prepare: the environment of the model with this
 * artifact is found, or made, which takes as long as it takes; *out holds it (NULL: it needs none) until
 * myr_runtime_environment_release. Errors: UNAVAILABLE with pip's words, or once *stop is set; those of the store.
 * keep: the processes of all other models that are code end. requirements: what its environment is made from, the
 * caller's text, NULL: it needs none; and what it asks for.
 */
typedef struct myr_fleet_code myr_fleet_code;
myr_rc myr_fleet_code_open(myr_workspace *workspace, myr_fleet_code **out, myr_err *err);
void myr_fleet_code_close(myr_fleet_code *code); /* NULL accepted */
myr_rc myr_fleet_code_prepare(myr_fleet_code *code, const char *artifact, const _Atomic bool *stop,
                              myr_runtime_environment **out, myr_err *err);
myr_rc myr_fleet_code_requirements(myr_fleet_code *code, const char *artifact, char **out, size_t *out_size,
                                   myr_runtime_wants *out_wants, myr_err *err);
void myr_fleet_code_keep(myr_fleet_code *code, const char *const *artifacts, size_t count);

/* release 0 = the alias `champion`. NOT_FOUND says what to type. */
myr_rc myr_fleet_open(myr_workspace *workspace, const char *name, int64_t release, myr_fleet **out, myr_err *err);
void myr_fleet_close(myr_fleet *fleet); /* NULL accepted */
typedef myr_fleet *myr_fleet_ptr;
static inline void myr_fleet_ptr_drop(myr_fleet_ptr *fleet)
{
    myr_fleet_close(*fleet);
}
/* The model index of a segment text; NOT_FOUND names the nearest use. */
myr_rc myr_fleet_find_segment(const myr_fleet *fleet, myr_str segment, uint32_t *out_model_idx, myr_err *err);

/* ---- rows of any form ---- */
#define MYR_JSON_ROWS_MAX 1000000 /* of one call */
struct yyjson_val;
/* What rows were answered, one output's columns; everything is borrowed. */
typedef struct myr_answers {
    myr_output output;
    uint32_t width;
    double *const *values;      /* [width][row_count] */
    const uint32_t *model_idxs; /* the rest is one per row: as in myr_score_out */
    const uint8_t *levels, *statuses;
    const char *const *words; /* in place of a status's name, where not NULL; NULL: none */
} myr_answers;
/*
 * Rows put together cell by cell, in any order, in an arena; what is never put is null. Numbers, booleans (0/1), null,
 * and numeric texts are features; keys by DESIGN.md section 2: a key of the wrong value (2.5 or "x" for an INT64
 * column) is the status of its row, not an error. Texts are borrowed. Warm: no heap. Errors: BAD_INPUT names row and
 * field: a name that the fleet has not (with the nearest it has), unless it is the target or unknown ones are ignored;
 * a value of the wrong type; a field put twice. TOO_LARGE: more than MYR_JSON_ROWS_MAX rows, or the arena's cap;
 * NO_MEMORY.
 */
typedef struct myr_rows_build myr_rows_build;
#define MYR_FIELD_IGNORED UINT64_MAX
myr_rc myr_rows_begin(const myr_fleet *fleet, size_t count, bool ignore_unknown, myr_arena *arena, myr_rows_build **out,
                      myr_err *err);
/* What a name stands for; row_idx is for the message. */
myr_rc myr_rows_field(const myr_rows_build *build, size_t row_idx, myr_str name, uint64_t *out_field, myr_err *err);
myr_rc myr_rows_put(myr_rows_build *build, size_t row_idx, uint64_t field, struct yyjson_val *value, myr_err *err);
/* A cell of a text table: data NULL is null; features also take true, false, True, False. */
myr_rc myr_rows_put_text(myr_rows_build *build, size_t row_idx, uint64_t field, myr_str text, myr_err *err);
myr_rc myr_rows_put_object(myr_rows_build *build, size_t row_idx, struct yyjson_val *object, myr_err *err);
/* What messages call the row from now on: "line", 12. word: static. */
void myr_rows_label(myr_rows_build *build, const char *word, size_t number);
void myr_rows_undo(myr_rows_build *build, size_t row_idx); /* as if nothing had been put there */
void myr_rows_end(const myr_rows_build *build, size_t row_count, myr_score_rows *out); /* the first row_count rows */
/* All of that for an array of `count` JSON objects. */
myr_rc myr_fleet_decode_rows(const myr_fleet *fleet, struct yyjson_val *const *objects, size_t count,
                             bool ignore_unknown, myr_arena *arena, myr_score_rows *out, myr_err *err);
/*
 * The same for CSV (RFC 4180, UTF-8, with or without a byte order mark): a line of names, then rows, at most rows_max.
 * An empty cell is null, "" in quotes an empty text; empty lines don't count. Errors besides name the line.
 */
myr_rc myr_fleet_decode_csv(const myr_fleet *fleet, myr_str text, size_t rows_max, bool ignore_unknown,
                            myr_arena *arena, myr_score_rows *out, myr_err *err);
/*
 * Append the answer of one row as a JSON object:
 * {"prediction":…,"model":…,"model_version":…,"level":…,"status":…}. Several outputs: prediction is an array. With
 * another output than the value the first field is that output's: "margin", "probability", "leaf" or
 * "contribution":{"base":…,"features":{…}} (an array of these for several margins). A row that was not scored, NaN and
 * infinities are null. On failure *out has half of it.
 */
myr_rc myr_fleet_put_answer(const myr_fleet *fleet, const myr_answers *answers, size_t row_idx, myr_arena *arena,
                            myr_buf *out, myr_err *err);
/*
 * Leaves by key: how many columns the widest model of these rows has, for rows->leaf_width; 1 if no row has a model.
 * The rows are scored once for it. Errors: those of myr_score, UNSUPPORTED (a model without leaf numbers).
 */
myr_rc myr_fleet_leaf_width(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_score_rows *rows,
                            myr_arena *arena, uint32_t *out_width, myr_err *err);
/* Score rows into arrays of the arena: leaves by key are as wide as they need. Warm: no heap. Errors: those of
 * myr_score, NO_MEMORY, TOO_LARGE (the arena's cap). */
myr_rc myr_fleet_answer_rows(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_score_rows *rows,
                             myr_arena *arena, myr_answers *out, myr_err *err);
/*
 * Score them into arena arrays and append one JSON object per row (myr_fleet_put_answer), commas between them. Set
 * rows->fixed_model to score all rows with one model. Warm (arena, scratch and *out used before for as much): no
 * heap. On failure *out is as it was.
 */
myr_rc myr_fleet_score_json(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_score_rows *rows,
                            myr_arena *arena, myr_buf *out, myr_err *err);

#endif
