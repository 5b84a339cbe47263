/*
 * A request on its way through the stages, as every protocol sees it: decoded into by V2, /score and the others, run
 * here, encoded from. It knows no HTTP. Not for other directories.
 *
 *     myr_serve_work_new(…, &work, err)   what every protocol gives: thread, arena, when it came
 *     myr_serve_target_find(…)            which fleet or model: work->target
 *     decode                              rows, outputs, id: columns in the arena, or borrowed from the request
 *     myr_serve_work_run(work, err)       the stages; wants_compute: ask again where one may block
 *     encode                              from values, model_idxs, levels, statuses, notes
 *
 * Owner: the thread that runs the request. Memory: the request's arena alone, so a warm request takes nothing from the
 * heap; what is here lives as long as the arena.
 */
#ifndef MYR_SERVE_WORK_H
#define MYR_SERVE_WORK_H

#include "serve/plan.h"

#define SERVE_ROWS_MAX   65536 /* of one request */
#define SERVE_LATEST_MAX 256   /* stored predictions that one request reads; rows past them keep their status */

typedef struct serve_thread serve_thread;
typedef struct serve_fleet serve_fleet;

/* What a name of the outside stands for: a fleet, or one model of it. */
typedef struct serve_target {
    serve_fleet *fleet;
    uint32_t model_idx; /* MYR_PACK_NONE: the whole fleet, chosen by key */
    myr_str name;       /* canonical */
    bool is_release;    /* the client named the release: no other answers */
} serve_target;

typedef enum serve_stage {
    SERVE_QUEUE, /* from complete headers to decoding */
    SERVE_DECODE,
    SERVE_FETCH,    /* features by key */
    SERVE_INFER,    /* resolve and predict; again for rows that fall back */
    SERVE_VALIDATE, /* inputs before, predictions after */
    SERVE_RULES,    /* the fleet's score script */
    SERVE_STORE,    /* claims, stored predictions, storing */
    SERVE_ENCODE,
    SERVE_STAGE_COUNT
} serve_stage;
const char *myr_serve_stage_name(serve_stage stage); /* "queue", "decode", … */

/* What validation and rules have found of a row; without any of these it goes its usual way. */
enum {
    SERVE_ROW_OUTSIDE = 1,  /* its key is not in the groups that are served */
    SERVE_ROW_REJECTED = 2, /* a rule refuses it */
    SERVE_ROW_FALLS = 4,    /* the next level is to answer it */
    SERVE_ROW_FAILED = 8,   /* the score script failed on it */
    SERVE_ROW_LAST = 16     /* no level is left: a stored prediction may answer it */
};

/* What a stage says of one row besides its status. */
typedef struct serve_row_note {
    myr_str message; /* why it has no answer, or not the usual one; data NULL: nothing */
    myr_str fields;  /* members to add to its answer, as JSON: "a":1,"b":"x"; data NULL: none */
} serve_row_note;

typedef struct serve_question serve_question; /* fetch.c */
typedef struct serve_latest serve_latest;     /* store.c */

/* How a request sleeps on a loop: see wait.c. */
typedef struct serve_sleep {
    bool (*park)(void *ctx); /* from now on wake is waited for; false: not now. NULL: this protocol can't */
    void (*wake)(void *ctx); /* any thread, once per park: run the work again on its loop */
    void *ctx;
    _Atomic int pending;
} serve_sleep;

typedef struct serve_work {
    /* of whoever asks */
    struct myr_server *server;
    serve_thread *thread;
    myr_arena *arena;
    const struct serve_principal *who; /* auth.c */
    bool may_block;                    /* on a compute thread */
    int64_t start_ns;                  /* monotonic: when its headers were there … */
    int64_t whole_ns;                  /* … and all of it: its deadline runs from here */
    int64_t limit_ns; /* how long it may take, if the client says so; else 0: see myr_serve_work_limit */

    serve_sleep sleep;

    myr_str alias;  /* of the release that is to answer; data NULL: see split.c */
    myr_str sticky; /* what is always answered by the same release; data NULL: the first row's key */

    /* decoded */
    serve_target target;
    myr_score_rows rows;                  /* at most SERVE_ROWS_MAX; output and no_runner are the stages' */
    myr_output outputs[MYR_OUTPUT_COUNT]; /* what is asked for, each once, in the request's order */
    uint32_t output_count;                /* 0: the value */
    myr_str id;                           /* the client's; data NULL: absent */
    void *form;                           /* the encoder's own */
    bool is_whole;                        /* the protocol has no status per row: one bad row is the request's error */
    bool any_leaves; /* LEAF by key is as wide as the widest model of these rows, NaN behind narrower ones; otherwise
                        UNSUPPORTED, since V2 has one shape */

    /* the stages' */
    bool is_ended;
    uint32_t step;             /* of myr_serve_work_run: which is next */
    serve_question *questions; /* asked for features, per source; NULL: nothing is */
    const serve_bound *bound;  /* what the service file says of the fleet; NULL: nothing */
    int64_t deadline_ns;       /* monotonic; INT64_MAX: none */
    uint8_t *marks;            /* SERVE_ROW_…, row_count; NULL: no row has one */
    bool spares_runner;        /* models that are not ours would be late: not asked */
    bool adds_value;           /* the last output is not asked for: rules look at it */
    bool owns_features;        /* rows.features and their doubles are this work's, to write into */
    myr_err trouble;           /* why the first rows are unavailable or broken_model */
    bool tells_release;        /* others than champion serve: the answer says which one it is of */

    /* store.c's */
    myr_claim_id claim_id; /* token, key and hash are whoever asks'; key data NULL: it has none */
    bool can_replay;       /* the handler looks at myr_serve_work_is_answered before it encodes: keys are claimed */
    bool takes_stored;     /* its models would be late: stored predictions answer, stale */
    bool has_claimed, has_stored, is_stored_later;
    myr_claim *claim;
    myr_kept_answer replay; /* status not 0: this is the answer, nothing is encoded */
    serve_latest *latest;
    size_t latest_count;
    myr_store_request storing;
    myr_stored *stored;
    myr_err claim_err, store_err;

    /* answered: row_count each, NULL without rows */
    bool waits;         /* parked: when it is woken, call run again, with the snapshot that it held */
    bool wants_compute; /* nothing was answered: run again, from decoding on, where may_block is true */
    myr_answers answers[MYR_OUTPUT_COUNT]; /* one per output, their model_idxs, levels, statuses are these: */
    uint32_t *model_idxs;
    uint8_t *levels, *statuses;
    serve_row_note *notes; /* NULL: no row has one */
    const char **words;    /* NULL: none; see myr_answers */

    /* measured */
    int64_t mark_ns; /* when the stage that runs began */
    int64_t stage_ns[SERVE_STAGE_COUNT];
} serve_work;

/* Work for the request that this thread answers, holding a snapshot until it is encoded. It waited from start_ns to
 * began_ns; decoding begins there. NO_MEMORY. */
myr_rc myr_serve_work_new(struct myr_server *server, serve_thread *thread, myr_arena *arena,
                          const struct serve_principal *who, int64_t start_ns, int64_t began_ns, bool may_block,
                          serve_work **out, myr_err *err);
/* The client's own limit, from whole_ns; the smallest counts, more than an hour is an hour. In place of the default. */
void myr_serve_work_limit(serve_work *work, int64_t limit_ns);
/* A stage has ended now. Encoding ends with myr_serve_work_end. */
void myr_serve_work_mark(serve_work *work, serve_stage stage);
/*
 * Run the stages over decoded rows. A row that can't be answered is a status, unless is_whole: then the first such row
 * is the error, which names it. Rows are counted in the metrics. Errors besides: TIMEOUT (the deadline), NO_MEMORY,
 * UNSUPPORTED (an output).
 */
myr_rc myr_serve_work_run(serve_work *work, myr_err *err);
/* The request was encoded, or failed: V2's statistics of its fleet, a histogram per stage; what it held is let go.
 * Once; nothing happens while it waits or wants_compute. */
void myr_serve_work_end(serve_work *work, bool is_ok);
/* Whether there are rows to be encoded: not yet, or no more. */
static inline bool myr_serve_work_is_answered(const serve_work *work)
{
    return !work->wants_compute && !work->waits && work->replay.status == 0;
}
/* store.c. Is there a fleet that would look at an idempotency key, or at V2's id for one? Else a hash of the request is
 * not worth its time. */
bool myr_serve_wants_claim(const serve_work *work, bool has_key);
/*
 * store.c, after encoding, if the fleet stores: start with the answer as it will be sent (in the arena; it is kept
 * under the request's idempotency key), which may leave work->waits; take when that is over. Then work->replay, if its
 * status is not 0, is the answer in place of the encoded one. Errors: those of myr_stored_result; nothing is to be
 * answered but them.
 */
bool myr_serve_work_stores(const serve_work *work);
myr_rc myr_serve_store_start(serve_work *work, const myr_kept_answer *answer, myr_err *err);
myr_rc myr_serve_store_take(serve_work *work, myr_err *err);
/* The client is gone: what it held is let go. Nothing is pending any more. */
void myr_serve_work_drop(serve_work *work);
/* The error that a row's status means where there is no status per row: NOT_FOUND, BAD_INPUT, … with row and key. */
myr_rc myr_serve_work_row_error(const serve_work *work, size_t row_idx, myr_err *err);

/* work.c, for the stages: "store=2,brand=1" of a row, as it was sent. */
#define SERVE_KEY_TEXT_BYTES 160
void myr_serve_work_key_text(const serve_work *work, size_t row_idx, char out[SERVE_KEY_TEXT_BYTES]);
/* A message for a row, unless it has one. NO_MEMORY. */
myr_rc myr_serve_work_note(serve_work *work, size_t row_idx, myr_err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Mark a row. NO_MEMORY. */
myr_rc myr_serve_work_mark_row(serve_work *work, size_t row_idx, uint8_t mark, myr_err *err);
/* Predict rows as they are: answers, statuses, trouble. */
myr_rc myr_serve_work_infer(serve_work *work, myr_err *err);

/* wait.c. */
bool myr_serve_wait_can(const serve_work *work); /* else it wants_compute */
/* BUSY: too many sleep. After OK: for each thing that is started _more before it and _done after it (from any thread),
 * then _end: all is done, or work->waits. Nothing may fail in between. */
myr_rc myr_serve_wait_begin(serve_work *work, myr_err *err);
void myr_serve_wait_more(serve_work *work);
void myr_serve_wait_done(void *work); /* a myr_online_done */
void myr_serve_wait_end(serve_work *work);

/* fetch.c */
myr_rc myr_serve_fetch_start(serve_work *work, myr_err *err);
myr_rc myr_serve_fetch_take(serve_work *work, myr_err *err);
void myr_serve_fetch_free(serve_work *work);

/* store.c: steps of the work. */
myr_rc myr_serve_claim_start(serve_work *work, myr_err *err);
myr_rc myr_serve_claim_take(serve_work *work, myr_err *err);
myr_rc myr_serve_latest_start(serve_work *work, myr_err *err);
myr_rc myr_serve_latest_take(serve_work *work, myr_err *err);
void myr_serve_store_free(serve_work *work);
/* store.c, for the route of stored predictions: ask for the latest of a key, maybe asleep; take it, in the arena. A
 * store that does not answer is as good as one that has none. work->bound has a store. */
myr_rc myr_serve_stored_start(serve_work *work, myr_str key, int64_t deadline_ns, myr_err *err);
myr_rc myr_serve_stored_take(serve_work *work, myr_latest_row *out, myr_err *err);
/* store.c: the canonical key of a row, in the arena; data NULL: it has none. work->bound is set. */
myr_rc myr_serve_row_key(const serve_work *work, size_t row_idx, myr_str *out, myr_err *err);

/* validate.c: columns of this work's own, to write into. */
myr_rc myr_serve_own_features(serve_work *work, myr_err *err);
/* split.c. Put the release that answers into target: the client's alias, else by the shares of the service file.
 * NOT_FOUND: nobody has the alias, or its release has not the named model. */
myr_rc myr_serve_choose_release(serve_work *work, myr_err *err);
/* validate.c. Mark, clamp or leave each row; only with a plan. */
myr_rc myr_serve_check_groups(serve_work *work, myr_err *err);
myr_rc myr_serve_check_inputs(serve_work *work, myr_err *err);
myr_rc myr_serve_check_outputs(serve_work *work, myr_err *err);
/* fallback.c: rows that fall get the answer of the next level that has one and passes; else they are rejected. */
myr_rc myr_serve_fall_back(serve_work *work, myr_err *err);

/* fallback.c: some rows (their idxs, ascending) as a work of their own, without marks and notes; and row i of it put
 * back in the place of row row_idx: its answer, not its notes. */
myr_rc myr_serve_work_pick(const serve_work *work, const size_t *idxs, size_t count, serve_work *out, myr_err *err);
void myr_serve_work_put(serve_work *work, size_t row_idx, const serve_work *picked, size_t i);
/* rules.c: the fleet's score script over each row that is ok. With a script alone. */
void myr_serve_rules_begin(serve_work *work);
myr_rc myr_serve_apply_rules(serve_work *work, myr_err *err);

/* A fleet of the snapshot that the thread holds, by its name alone; NOT_FOUND in Triton's words. */
myr_rc myr_serve_fleet_find(const serve_thread *thread, myr_str name, serve_fleet **out, myr_err *err);
/* The same by `oj` or `oj@store=2,brand=1`; version NULL or its text. NOT_FOUND in Triton's words, BAD_INPUT. */
myr_rc myr_serve_target_find(serve_thread *thread, myr_arena *arena, myr_str name, const myr_str *version,
                             serve_target *out, myr_err *err);

#endif
