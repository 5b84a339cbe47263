/*
 * Sinks: where a finished output goes. What workers have written is put together in the sink's stage, sealed, and
 * published at once: before that the place is as it was, after it the output is complete, and says of which run it is
 * (batch_manifest), which is how a second run knows that nothing is to do, and a resumed one what is done already.
 */
#ifndef MYR_BATCH_SINK_H
#define MYR_BATCH_SINK_H

#include "batch/internal.h"

typedef struct batch_sink_kind {
    /* Whether this place (a path, a URI) is one of its. */
    bool (*takes)(const char *place);
    /*
     * Say what the place is called and where its output is staged: sink->name and sink->stage, by myr_batch_stage_at
     * beside it or by myr_batch_sink_stage in the workspace. Nothing is asked over a network. EXISTS: something that is
     * not ours is there.
     */
    myr_rc (*open)(batch_sink *sink, myr_err *err);
    /* Whether the output that is planned fits there; asked before the first row is read. NULL: any does. */
    myr_rc (*check)(batch_sink *sink, const batch_plan *plan, myr_err *err);
    /* Whether a file of the input lies in the place, and would go with what is replaced. NULL: none does. */
    bool (*holds)(const batch_sink *sink, const myr_run_input_row *input);
    /* The whole output of this fingerprint that is there, of this run (0: of any); *out_is_there = false: none is. */
    myr_rc (*find)(batch_sink *sink, int64_t run_id, const char *fingerprint, batch_manifest *out, bool *out_is_there,
                   myr_err *err);
    /*
     * Of the output that is there, bring the files of these mini-batches (names) below `dir`, called as they were when
     * they were staged. NULL: a table, whose rows do not say what they are of.
     */
    myr_rc (*bring)(batch_sink *sink, const myr_map *mini_batches, const char *dir, myr_err *err);
    /*
     * What is in sink->stage.data takes its place, for good; manifest->files and bytes are counted. UNAVAILABLE,
     * TIMEOUT, BUSY: it may do so later, and the run is left to be resumed.
     */
    myr_rc (*publish)(batch_sink *sink, batch_manifest *manifest, myr_err *err);
    /* After somebody died between publishing and saying so: make sure that it lasts. NULL: it does. */
    myr_rc (*settle)(batch_sink *sink, myr_err *err);
    /* After somebody died in publishing: what was there before is there again. NULL: it is. */
    myr_rc (*recover)(batch_sink *sink, myr_err *err);
    void (*close)(batch_sink *sink); /* NULL: there is nothing to close */
} batch_sink_kind;

extern const batch_sink_kind myr_batch_sink_object;
extern const batch_sink_kind myr_batch_sink_pg, myr_batch_sink_sqlite;
extern const batch_sink_kind myr_batch_sink_dir; /* takes all that is left */

struct batch_sink {
    const char *group; /* of the output that it takes; NULL: all that no other takes */
    const batch_sink_kind *kind;
    batch *b;          /* whose output it is */
    const char *place; /* as it is asked for */
    const char *table; /* of a database, or NULL */
    bool append;
    char name[MYR_PATH_BYTES_MAX]; /* what people call it: the canonical path, a URI without its password */
    batch_stage stage;
    char sync_to[MYR_PATH_BYTES_MAX]; /* of a directory: some above it were made now, up to this one */
    void *own;                        /* of its kind */
};

/* Whether any is a table: then the columns of `by` stand in the files too. */
bool myr_batch_has_tables(const myr_batch_opts *opts);
/* The one that files in these directories (`store=2/brand=1`, "" if there are none) belong to. */
batch_sink *myr_batch_sink_of(const batch *b, const char *dirs);

/* Whether a file is of one of these mini-batches: `part-07.0-1.parquet` is of 07.0. */
bool myr_batch_sink_is_of(const myr_map *mini_batches, const char *file);
/* Stage it in the workspace, below runs/, under a name made of its own. */
myr_rc myr_batch_sink_stage(batch_sink *sink, myr_err *err);

/* All of the run, from b->opts. */
myr_rc myr_batch_sinks_open(batch *b, myr_err *err);
/* BAD_INPUT: a file of the input would be replaced, or what is planned does not fit. */
myr_rc myr_batch_sinks_check(batch *b, myr_err *err);
/* Whether each holds this run's output already: the same fingerprint, and where run_id is not 0, the same run. */
myr_rc myr_batch_sinks_hold(batch *b, int64_t run_id, batch_manifest *out, bool *out_is_there, myr_err *err);
/* Remove what runs left behind that were killed, and say in the registry how those runs ended. */
myr_rc myr_batch_sinks_sweep(batch *b, myr_err *err);
/* Stage the run of this number; again: what is staged stays. BUSY: somebody is at work on it. */
myr_rc myr_batch_sinks_stage(batch *b, bool again, myr_err *err);
/* Publish, one after the other; those that have published this run already are left alone. */
myr_rc myr_batch_sinks_publish(batch *b, batch_manifest *manifest, myr_err *err);
myr_rc myr_batch_sinks_settle(batch *b, myr_err *err);
/* What is staged stays for whoever goes on, or goes with the run. */
void myr_batch_sinks_keep(batch *b, bool is_kept);
void myr_batch_sinks_close(batch *b);

#endif
