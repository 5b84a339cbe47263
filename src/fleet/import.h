/* Bringing models in, in four steps that share one state: plan, check, store, register. Private to fleet. */
#ifndef MYR_FLEET_IMPORT_H
#define MYR_FLEET_IMPORT_H

#include "fleet/external.h"
#include "import/import.h"

#define IMPORT_STORE_THREADS 8 /* they mostly wait for fsync, so more than processors */

/* What is found out about one item. Strings in import_job.arena. */
typedef struct import_item {
    const char *segment; /* canonical */
    uint32_t key_columns;
    const char *features; /* as the registry keeps them */
    const char *options;  /* so, too */
    char hex[MYR_SHA256_HEX_BYTES];
    int64_t artifact_bytes;
    const char *format; /* static */
    const char *algorithm;
    const char *objective;
    const char *external_text; /* for a runtime: its artifact, which names its files; NULL: one of ours */
    int64_t version;
    bool is_reused;
} import_item;

typedef struct import_job {
    myr_workspace *workspace;
    const myr_fleet_def *def;
    const myr_fleet_item *given;
    import_item *items;
    const char **out_segments; /* in the caller's arena; NULL: not asked for */
    size_t item_count;
    myr_arena *arena;    /* guarded by lock while threads run */
    myr_fleet_row fleet; /* existing, or to be made (id 0) */
    bool is_new;
    bool sets_partition; /* an existing fleet that gets its partition columns now */
    myr_progress progress;
    void *progress_ctx;
    myr_mutex lock;     /* guards arena, done, failed_* */
    int64_t done;       /* checked + stored */
    size_t failed_item; /* lowest index that failed; item_count = none */
    myr_rc failed_rc;
    myr_err failed_err;
} import_job;

myr_rc myr_fleet_import_plan(import_job *job, myr_err *err);      /* segments, partition columns, signature */
myr_rc myr_fleet_import_check_all(import_job *job, myr_err *err); /* read, import, compile each; nothing is written */
myr_rc myr_fleet_import_store_all(import_job *job, myr_err *err);
myr_rc myr_fleet_import_register(import_job *job, myr_err *err); /* one transaction */

/* A model file read: one of ours, or one for a runtime. Zero-initialise. */
typedef struct import_model {
    myr_mem owned; /* the file's bytes, if they are not the caller's */
    const void *data;
    size_t size;
    myr_imported *imported; /* NULL: for a runtime, and then: */
    myr_arena *arena;
    external_model external;
    myr_buf text; /* its artifact */
} import_model;
void myr_fleet_import_model_drop(import_model *model);
static inline void import_model_drop(import_model *model)
{
    myr_fleet_import_model_drop(model);
}
/* What an item asks for beyond its file, as the registry's text and back; feature names stand elsewhere. */
myr_rc myr_fleet_options_format(const myr_fleet_item *item, myr_buf *out, myr_err *err);
myr_rc myr_fleet_options_parse(const char *text, myr_arena *arena, myr_import_opts *out, myr_err *err);

/* Read an item. `columns`: the fleet's features so far, or NULL; they name the columns of a model that does not. */
myr_rc myr_fleet_import_read(const import_job *job, const myr_fleet_item *item, const char *const *columns,
                             uint32_t column_count, import_model *out, myr_err *err);

/* The bytes of an item: borrowed, or read into *out_owned. */
myr_rc myr_fleet_import_load(const myr_fleet_item *item, myr_mem *out_owned, const void **out_data, size_t *out_size,
                             myr_err *err);
static inline const char *import_name(const myr_fleet_item *item)
{
    return item->name != NULL ? item->name : item->path != NULL ? item->path : "model";
}

#endif
