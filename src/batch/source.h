/*
 * Sources: how an input becomes local files. A file that is here already is read where it stands; what is elsewhere is
 * brought into a directory of the run's (myr_batch_source_dir) before the first row is read, so that a run that goes on
 * sees the same rows. Each file has a name that people know it by, and an identity: equal ones mean equal bytes. Name
 * and identity are part of the run's fingerprint; a local file has neither, there path, size and time are what counts.
 */
#ifndef MYR_BATCH_SOURCE_H
#define MYR_BATCH_SOURCE_H

#include "batch/internal.h"

typedef struct batch_source {
    /* Whether this item of the input (a path, a pattern, a URI) is one of its. */
    bool (*takes)(const char *item);
    /*
     * Give each of the item's files to myr_batch_source_add. Thread: the coordinator's, before the run has a number.
     * Errors name the item: NOT_FOUND nothing is there, UNAVAILABLE.
     */
    myr_rc (*find)(batch *b, const char *item, myr_err *err);
} batch_source;

extern const batch_source myr_batch_source_object;
extern const batch_source myr_batch_source_local; /* takes all that is left */

/*
 * A local file of the input, which must be there. name NULL: its path; identity NULL: its size and time. Texts are
 * copied.
 */
myr_rc myr_batch_source_add(batch *b, const char *path, const char *name, const char *identity, myr_err *err);
/*
 * Where what is brought may lie: runs/input-… in the workspace, made with the first call, removed when the run is over.
 * Borrowed from the run.
 */
myr_rc myr_batch_source_dir(batch *b, const char **out, myr_err *err);

/* ---- one file that stands for all: source_sql.c, source_table.c ---- */
/* Where such a file is made. */
myr_rc myr_batch_source_path(batch *b, const char *file, char out[MYR_PATH_BYTES_MAX], myr_err *err);
/* It is made: it alone is the input now, and its bytes are its identity. */
myr_rc myr_batch_source_take(batch *b, const char *path, const char *name, myr_err *err);
myr_rc myr_batch_source_items(batch *b, myr_err *err); /* a list of the files that were found */
myr_rc myr_batch_source_query(batch *b, myr_err *err);
myr_rc myr_batch_source_filter(batch *b, myr_err *err); /* of the files that were found */
myr_rc myr_batch_source_table(batch *b, myr_err *err);
void myr_batch_table_name(const char *table, myr_buf *out); /* `a.b` as "a"."b", appended */

/* All files of the run's input, each once, into b->inputs; b->input_name is what they are called together. */
myr_rc myr_batch_sources_find(batch *b, myr_err *err);
/* Of a run that goes on: what they were. */
myr_rc myr_batch_sources_again(batch *b, int64_t run_id, myr_err *err);
/* BAD_INPUT: a file is not what it was. */
myr_rc myr_batch_sources_check(const batch *b, myr_err *err);
const char *myr_batch_input_name(const myr_run_input_row *input); /* for people; borrowed */
/* An error about a file that was brought says what people call it. */
void myr_batch_sources_rename(const batch *b, int64_t input, myr_err *err);
void myr_batch_sources_rename_any(const batch *b, myr_err *err); /* whichever it is about */
/* What runs brought that were killed and will not go on. */
myr_rc myr_batch_sources_sweep(const batch *b, myr_err *err);
/* What was brought goes, unless the run is to go on. */
void myr_batch_sources_close(batch *b);

#endif
