/*
 * The face of registry: fleets, models, versions, tags, releases, aliases, runs; rows in a database, never model bytes.
 * Lists are filled into the caller's arena. One handle has one owner thread at a time; several processes may have the
 * database open. Writes between begin and commit are one transaction (a write outside is its own); after a failed write
 * the caller rolls back.
 * Errors: those of db (BUSY, NO_SPACE, IO, BAD_FORMAT, …); BAD_INPUT names the field that is not acceptable.
 */
#ifndef MYR_REGISTRY_REGISTRY_H
#define MYR_REGISTRY_REGISTRY_H

#include "base/base.h"

#define MYR_TAGS_MAX            64 /* tags of a model */
#define MYR_TAG_VALUE_BYTES_MAX 1024
#define MYR_METRICS_BYTES_MAX   (1 << 20) /* the metrics text of a model */

typedef struct myr_registry myr_registry;

myr_rc myr_registry_open(const char *path, bool create, myr_registry **out, myr_err *err);
void myr_registry_close(myr_registry *registry); /* NULL accepted */
typedef myr_registry *myr_registry_ptr;
static inline void myr_registry_ptr_drop(myr_registry_ptr *registry)
{
    myr_registry_close(*registry);
}
myr_rc myr_registry_begin(myr_registry *registry, myr_err *err);
myr_rc myr_registry_commit(myr_registry *registry, myr_err *err);
void myr_registry_rollback(myr_registry *registry);                                    /* fine when nothing is open */
myr_rc myr_registry_change_number(myr_registry *registry, int64_t *out, myr_err *err); /* changes when others commit */

/* ---- fleets: one signature, one list of partition columns ---- */
typedef struct myr_fleet_row {
    int64_t id;
    const char *name;
    const char *const *partition_columns;
    uint32_t partition_count;
    const char *const *features; /* the signature's inputs, all FP64 for now, in order */
    uint32_t feature_count;
    uint32_t output_count;
    const char *target;           /* column that is predicted; "" if not known (imported models) */
    const char *target_transform; /* "log": exp() of the target is in units; "" = none */
    int64_t created_ms;
    bool explain; /* releases are made with explanations; set by myr_registry_fleet_explain */
} myr_fleet_row;
myr_rc myr_registry_fleet_add(myr_registry *registry, const myr_fleet_row *row, int64_t *out_id, myr_err *err);
/*
 * A fleet that has no partition columns yet (only a global model) gets them, once. CONFLICT: it has some; BAD_INPUT as
 * for myr_registry_fleet_add.
 */
myr_rc myr_registry_fleet_partition(myr_registry *registry, int64_t fleet_id, const char *const *columns,
                                    uint32_t column_count, myr_err *err);
/* Remember whether the fleet's releases hold what leaf numbers and contributions need. */
myr_rc myr_registry_fleet_explain(myr_registry *registry, int64_t fleet_id, bool explain, myr_err *err);
/* Whether a fleet may have this partition column: BAD_INPUT for a bad name, and for those a batch writes beside the
 * keys (prediction, prediction_0 …, model, model_version, level, status; case aside, as in SQL). */
myr_rc myr_registry_check_partition(const char *name, myr_err *err);
/* NOT_FOUND names the nearest fleet. */
myr_rc myr_registry_fleet_get(myr_registry *registry, myr_arena *arena, const char *name, myr_fleet_row *out,
                              myr_err *err);
myr_rc myr_registry_fleets(myr_registry *registry, myr_arena *arena, myr_fleet_row **out, size_t *out_count,
                           myr_err *err);

/* ---- models: one version of one segment ---- */
typedef struct myr_tag {
    const char *key, *value;
} myr_tag;
typedef struct myr_model_row {
    int64_t id;
    const char *segment;   /* canonical text; "" = global */
    uint32_t key_columns;  /* how many partition columns it names */
    int64_t version;       /* 1, 2, …; given by add */
    const char *algorithm; /* "mean", "ridge", "xgboost", "lightgbm" */
    const char *format;    /* of the artifact: myr_format_name */
    const char *artifact;  /* SHA-256 of its bytes: its name in the store */
    const char *features;  /* names that replace the file's own, one per line; "" = the file's own */
    const char *options;   /* what the import was asked for beyond the file: fleet's text; NULL or "": nothing */
    int64_t artifact_bytes;
    const char *objective;
    const char *metrics;     /* JSON object: {"rmse":…,"trials":[…]}; "{}" if none */
    const char *fingerprint; /* of the training data; "" if not known */
    const char *source;      /* file it came from, or "train" */
    double baseline;         /* what the `mean` model of this segment predicts; NaN if not known */
    int64_t created_ms;
    const myr_tag *tags;
    uint32_t tag_count;
} myr_model_row;
/* Gives the version (newest + 1). */
myr_rc myr_registry_model_add(myr_registry *registry, int64_t fleet_id, const myr_model_row *row, int64_t *out_version,
                              myr_err *err);
typedef struct myr_model_filter {
    /* NULL, or `brand=1`: models whose segment has this part; `store=2,brand=1`: all of these parts */
    const char *segment_part;
    const char *tag; /* NULL, or `k=v` */
    bool newest_only;
    bool code_only; /* format score.py */
    bool brief;     /* leave `metrics` "": it is most of a row's bytes */
} myr_model_filter;
/* Ordered by key_columns descending, then segment, then version. */
myr_rc myr_registry_models(myr_registry *registry, myr_arena *arena, int64_t fleet_id, const myr_model_filter *filter,
                           myr_model_row **out, size_t *out_count, myr_err *err);
/* version 0 = newest. NOT_FOUND names fleet and segment. */
myr_rc myr_registry_model_get(myr_registry *registry, myr_arena *arena, int64_t fleet_id, const char *segment,
                              int64_t version, myr_model_row *out, myr_err *err);

/* ---- releases and aliases ---- */
typedef struct myr_release_row {
    int64_t number; /* 1, 2, … per fleet; given by add */
    int64_t created_ms;
    int64_t model_count;
    const char *pack;    /* index file, relative to the workspace */
    const char *aliases; /* "champion", "champion,challenger", "" (filled by lists) */
} myr_release_row;
/* Reserve the number first (the pack's name holds it), then add the row with its models when the pack is in place. */
myr_rc myr_registry_release_next(myr_registry *registry, int64_t fleet_id, int64_t *out_number, myr_err *err);
myr_rc myr_registry_release_add(myr_registry *registry, int64_t fleet_id, const myr_release_row *row,
                                const int64_t *model_ids, size_t model_count, myr_err *err);
myr_rc myr_registry_releases(myr_registry *registry, myr_arena *arena, int64_t fleet_id, myr_release_row **out,
                             size_t *out_count, myr_err *err);
myr_rc myr_registry_release_get(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                myr_release_row *out, myr_err *err);
/* Forget a release and its list of models (not the models). CONFLICT: an alias names it. */
myr_rc myr_registry_release_remove(myr_registry *registry, int64_t fleet_id, int64_t number, myr_err *err);
/* The models of a release, ordered as they stand in its pack. */
myr_rc myr_registry_release_models(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                   myr_model_row **out, size_t *out_count, myr_err *err);
/* The same models by id alone: cheap to compare. */
myr_rc myr_registry_release_model_ids(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                      int64_t **out, size_t *out_count, myr_err *err);
/* One row moves; NOT_FOUND names the release that does not exist. */
myr_rc myr_registry_alias_set(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t number,
                              myr_err *err);
myr_rc myr_registry_alias_get(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t *out_number,
                              myr_err *err);

/* Where it pointed before it was moved last. NOT_FOUND: nowhere, or that release was removed. */
myr_rc myr_registry_alias_previous(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t *out_number,
                                   myr_err *err);
/* NOT_FOUND: the fleet has no such alias. */
myr_rc myr_registry_alias_remove(myr_registry *registry, int64_t fleet_id, const char *alias, myr_err *err);

/* ---- instances: servers that say where they answer, each with a lease that runs out ---- */
#define MYR_INSTANCES_MAX           1024  /* live at once; of one registry */
#define MYR_INSTANCE_FLEETS_MAX     10000 /* that one server tells of */
#define MYR_INSTANCE_DOC_BYTES_MAX  (1 << 20)
#define MYR_INSTANCE_TEXT_BYTES_MAX 1024  /* of each text of a row */
#define MYR_INSTANCE_FORGET_MS      60000 /* rows that ran out so long ago are removed */
typedef struct myr_instance_row {
    const char *id;      /* random, new at each start */
    const char *service; /* a name */
    const char *region;  /* "" or a name */
    const char *rest;    /* base URI */
    const char *grpc;    /* base URI, "" if it has none */
    const char *admin;   /* "": not told */
    const char *auth;    /* what a request must bring: "", "token", "mtls", "token,mtls"; never a secret */
    const char *program; /* its version */
    const char *state;   /* "ready", "draining" */
    double load;         /* 0 to 1 */
    int64_t started_ms;
    int64_t expires_ms; /* the lease; by the clock of whoever wrote it */
    int64_t revision;   /* another number: its fleets are others */
} myr_instance_row;
/*
 * Register, or renew: the whole row is written. The documents (JSON, one per fleet) are written if `docs` is not NULL;
 * with NULL they stay. Rows of others that ran out MYR_INSTANCE_FORGET_MS before now_ms are removed. Errors: NOT_FOUND
 * `docs` is NULL and the row is gone: put it whole; BAD_INPUT; TOO_LARGE; BUSY after busy_ms (0: the database's usual
 * time).
 */
myr_rc myr_registry_instance_put(myr_registry *registry, const myr_instance_row *row, const char *const *docs,
                                 size_t doc_count, int64_t now_ms, int64_t busy_ms, myr_err *err);
myr_rc myr_registry_instance_remove(myr_registry *registry, const char *id, int64_t busy_ms, myr_err *err);
/* Those whose lease has not run out at now_ms, by service, region and id; the first MYR_INSTANCES_MAX. */
myr_rc myr_registry_instances(myr_registry *registry, myr_arena *arena, int64_t now_ms, myr_instance_row **out,
                              size_t *out_count, myr_err *err);
/* Its documents, in the order of their writer. */
myr_rc myr_registry_instance_docs(myr_registry *registry, myr_arena *arena, const char *id, const char ***out,
                                  size_t *out_count, myr_err *err);
/* The artifacts of a release's models that are code (format score.py), each once. At once where there are none. */
myr_rc myr_registry_release_code(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                 const char ***out, size_t *out_count, myr_err *err);
/* Tags (`k=v`) that models of a release have: each once, ordered, the first `max`. */
myr_rc myr_registry_release_tags(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number, size_t max,
                                 const char ***out, size_t *out_count, myr_err *err);

/* ---- runs of batch jobs and their ledger ---- */
typedef struct myr_run_row {
    int64_t id;
    const char *fleet;
    int64_t release;
    const char *input, *output;
    const char *state; /* running, completed, failed, canceled */
    int64_t started_ms, ended_ms;
    int64_t row_count, ok_count;
    const char *message;
    const char *job;         /* its name; "" if it has none */
    const char *fingerprint; /* of settings, inputs and release: equal ones give equal outputs */
    const char *owner;       /* host:pid of whoever works on it */
    int64_t lease_ms;        /* until when it is that one's, by its clock */
    bool cancel;             /* somebody asked for its end */
    const char *settings;    /* JSON; "" in lists */
    const char *plan;        /* JSON: how its inputs are read; "" in lists */
} myr_run_row;
typedef struct myr_run_input_row {
    const char *path; /* a local file */
    int64_t bytes, modified_ns;
    const char *name;     /* what people call it; "" or NULL: its path */
    const char *identity; /* of what was brought from elsewhere; "" or NULL: size and time of the file */
} myr_run_input_row;
typedef struct myr_mini_batch_row {
    int64_t number;           /* 1, 2, … of the run */
    const char *name;         /* of its files: 07, and 07.0 for the first half of it */
    int64_t input;            /* position of its file, from 0 */
    int64_t first, past;      /* rows or bytes of it; past < 0: all */
    int64_t first_line;       /* of a part in bytes */
    int64_t row_count;        /* -1: not known yet */
    const char *state;        /* created, running, done, failed, split */
    int64_t attempts, worker; /* so far; the process that has it, or had it last */
    int64_t started_ms, ended_ms;
    int64_t file_count, byte_count, dead_count; /* when it is done; rows that are dead letters */
    const char *message;                        /* why it failed */
    const char *report;                         /* JSON: what its worker counted */
} myr_mini_batch_row;
typedef struct myr_attempt_row {
    int64_t number, attempt; /* of which mini-batch, which */
    int64_t worker, started_ms, duration_ms, row_count;
    const char *cause; /* "": it was done */
} myr_attempt_row;
/* States: created, running, completed, failed, canceled. */
myr_rc myr_registry_run_start(myr_registry *registry, const myr_run_row *row, int64_t *out_id, myr_err *err);
/* A run that is taken up again: running, with this owner and lease. */
myr_rc myr_registry_run_again(myr_registry *registry, int64_t id, const char *owner, int64_t lease_ms, myr_err *err);
myr_rc myr_registry_run_end(myr_registry *registry, int64_t id, const char *state, int64_t row_count, int64_t ok_count,
                            const char *message, myr_err *err);
/* Renew its lease; *out_cancel: somebody asks for its end. */
myr_rc myr_registry_run_beat(myr_registry *registry, int64_t id, int64_t lease_ms, int64_t row_count, bool *out_cancel,
                             myr_err *err);
/* Ask for its end. CONFLICT: it is over. */
myr_rc myr_registry_run_cancel(myr_registry *registry, int64_t id, myr_err *err);
/* The newest of this state that another process could take up (it has settings); *out_id = 0: there is none. */
myr_rc myr_registry_run_newest(myr_registry *registry, const char *state, int64_t *out_id, myr_err *err);
/* So many at most (0: all), newest first. */
myr_rc myr_registry_runs(myr_registry *registry, myr_arena *arena, int64_t max, myr_run_row **out, size_t *out_count,
                         myr_err *err);
myr_rc myr_registry_run_get(myr_registry *registry, myr_arena *arena, int64_t id, myr_run_row *out, myr_err *err);
myr_rc myr_registry_run_inputs_add(myr_registry *registry, int64_t id, const myr_run_input_row *rows, size_t count,
                                   myr_err *err);
myr_rc myr_registry_run_inputs(myr_registry *registry, myr_arena *arena, int64_t id, myr_run_input_row **out,
                               size_t *out_count, myr_err *err);
/* Whether a run that is not over reads files below this directory. */
myr_rc myr_registry_run_input_is_used(myr_registry *registry, const char *dir, bool *out, myr_err *err);
/* Add a mini-batch, or put the row of one that is there. */
myr_rc myr_registry_mini_batch_put(myr_registry *registry, int64_t run_id, const myr_mini_batch_row *row, myr_err *err);
myr_rc myr_registry_mini_batches(myr_registry *registry, myr_arena *arena, int64_t run_id, myr_mini_batch_row **out,
                                 size_t *out_count, myr_err *err); /* by number */
myr_rc myr_registry_attempt_add(myr_registry *registry, int64_t run_id, const myr_attempt_row *row, myr_err *err);
myr_rc myr_registry_attempts(myr_registry *registry, myr_arena *arena, int64_t run_id, myr_attempt_row **out,
                             size_t *out_count, myr_err *err); /* by mini-batch */

/* ---- tokens: who may ask a server what ---- */
#define MYR_TOKENS_MAX             10000 /* not revoked; as many revoked ones are remembered */
#define MYR_TOKEN_TARGETS_MAX      64
#define MYR_TOKEN_TARGET_BYTES_MAX (MYR_NAME_BYTES_MAX + 1 + MYR_KEY_TEXT_BYTES_MAX)
#define MYR_TOKEN_BYTES            32 /* of SHA-256 */
enum { MYR_SCOPE_INFER = 1, MYR_SCOPE_READ = 2, MYR_SCOPE_ADMIN = 4, MYR_SCOPE_RUN = 8, MYR_SCOPE_ALL = 15 };

typedef struct myr_token_row {
    int64_t id;                          /* given by add */
    const char *name;                    /* of those that are not revoked, the only one */
    unsigned char hash[MYR_TOKEN_BYTES]; /* SHA-256 of the text that its owner holds; the text is nowhere */
    unsigned scopes;                     /* MYR_SCOPE_* */
    const char *targets;                 /* `oj` or `oj@brand=1`, one per line; "": everything */
    int64_t rate_per_s, concurrency;     /* most requests per second, and at once; 0 = as the server says */
    int64_t created_ms, expires_ms;      /* 0 = never */
    int64_t revoked_ms;                  /* 0 = not */
} myr_token_row;
/* The targets, to be split at '\n': none of none. */
static inline myr_str myr_token_targets(const myr_token_row *row)
{
    return row->targets[0] != '\0' ? myr_str_of(row->targets) : myr_str_make(NULL, 0);
}
/* EXISTS: a token of that name is not revoked. TOO_LARGE: MYR_TOKENS_MAX are not. */
myr_rc myr_registry_token_add(myr_registry *registry, const myr_token_row *row, int64_t *out_id, myr_err *err);
/* Ordered by id. live_only: those that are not revoked (they may have expired). */
myr_rc myr_registry_tokens(myr_registry *registry, myr_arena *arena, bool live_only, myr_token_row **out,
                           size_t *out_count, myr_err *err);
/* NOT_FOUND: none of that name that is not revoked already. */
myr_rc myr_registry_token_revoke(myr_registry *registry, const char *name, myr_err *err);
/* Whether there ever was one, revoked or not. */
myr_rc myr_registry_token_ever(myr_registry *registry, bool *out, myr_err *err);

#endif
