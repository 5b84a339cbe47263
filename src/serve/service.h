/*
 * The service file: what `myriad serve --service FILE.yaml` reads. One plan per fleet says how its requests go through
 * the stages; everything in it is optional. Not for other directories.
 *
 * Immutable once it is read and opened, shared by all threads; names are bound to the columns of a fleet when that is
 * opened. A file that is read again is another service: snapshots and fleets hold theirs until they are freed.
 */
#ifndef MYR_SERVE_SERVICE_H
#define MYR_SERVE_SERVICE_H

#include "fleet/fleet.h"
#include "online/online.h"
#include "spec/spec.h"

#define SERVE_DEADLINE_MS_MAX 3600000
#define SERVE_GROUPS_MAX      1024 /* of one fleet */
#define SERVE_CHECKS_MAX      4096 /* inputs of one fleet */
#define SERVE_SET_MAX         4096 /* values of one set */
#define SERVE_SOURCES_MAX     16   /* of one fleet */
#define SERVE_AGE_MS_MAX      (366LL * 86400 * 1000)
#define SERVE_ORDER_MAX       64 /* columns of one `monotone` list */
#define SERVE_SPLITS_MAX      8  /* aliases that share the requests with champion */

/*
 * A store that a plan names, connected. The next service, whose file names it alike, has the same one: no connection is
 * made anew, and what waits in it is not disturbed. Owner of the counts: the reloader (main before it starts and after
 * it ended).
 */
typedef struct serve_link {
    struct serve_link *next;
    int64_t refs;
    char *name;             /* what makes it the same; not for messages: it has passwords */
    myr_source *source;     /* this, … */
    myr_predictions *store; /* … or this */
} serve_link;
typedef struct serve_links {
    serve_link *first;
} serve_links;

/* What happens to a row that breaks a rule. */
typedef enum serve_violation { SERVE_REJECT, SERVE_CLAMP, SERVE_FALLBACK } serve_violation;

/* Rules for the cells of one feature. */
typedef struct serve_check {
    const char *name;
    const myr_spec_node *node; /* for messages */
    double min, max;           /* -inf, inf: no bound */
    bool is_required;          /* null and NaN are not allowed */
    bool is_finite;            /* inf is not */
    bool is_whole;             /* no fraction */
    const char *const *texts;  /* the set of values that are allowed; of a number: as numbers */
    const double *numbers;     /* NULL where one of the set is no number */
    uint32_t set_count;        /* 0: no set */
    serve_violation then;
} serve_check;

/* Features of a row that may not fall from one to the next. */
typedef struct serve_order {
    const char *const *names;
    const myr_spec_node *node;
    uint32_t count;
} serve_order;

/* Rules for the predictions. */
typedef struct serve_output_check {
    bool is_there;
    double min, max;
    bool is_finite;
    bool is_monotone; /* several outputs: none is below the one before it */
    serve_violation then;
} serve_output_check;

typedef struct serve_validate {
    serve_check *checks;
    uint32_t check_count;
    serve_order *orders;
    uint32_t order_count;
    serve_violation then; /* of the orders, and where a rule does not say */
    serve_output_check output;
} serve_validate;

/* What a stage does when its time is over, or would be. */
typedef enum serve_degrade {
    SERVE_FAIL,     /* 504 */
    SERVE_DEFAULTS, /* fetch: go on with the request's own values and the defaults */
    SERVE_NEXT,     /* infer: only models that are ours; a row of another takes the next level */
    SERVE_STORED,   /* infer: the stored prediction, marked stale */
    SERVE_SKIP      /* rules: go on without; store: after the answer */
} serve_degrade;

/* What becomes of a row whose key a source does not have. */
typedef enum serve_miss { SERVE_MISS_DEFAULT, SERVE_MISS_REJECT, SERVE_MISS_FALLBACK } serve_miss;

/* One table that features are fetched from. */
typedef struct serve_source {
    const myr_spec_node *node;
    const char *uri; /* as written; a relative path of SQLite's is the workspace's */
    const char *table;
    const char *const *keys;
    uint32_t key_count;
    const char *const *features;
    uint32_t feature_count;
    myr_feature_cell *defaults; /* per feature */
    int64_t max_age_ms;         /* 0: no age is too much */
    int64_t within_ms;          /* 0: as long as the request has */
    serve_miss on_miss;
    bool uses_stale;
    myr_source *source; /* once the service is opened; the link's */
    serve_link *link;
} serve_source;

/* Which part of the requests a release has that an alias names. */
typedef struct serve_split {
    const char *alias;
    const myr_spec_node *node; /* for messages */
    uint32_t share;            /* of 10,000 */
    const char *const *groups; /* only requests whose rows all lie in these segments; none: all */
    uint32_t group_count;
} serve_split;

/* Where predictions are stored. */
typedef struct serve_store {
    const myr_spec_node *node;
    const char *uri;
    bool after_answer;
    bool keeps_features;
    bool id_is_key;                        /* V2's id is an idempotency key */
    int64_t keep_ms, valid_ms, answers_ms; /* 0: for ever; for ever; a day */
    int64_t max_age_ms;                    /* of one that is given instead of scoring; 0: any */
    myr_predictions *store; /* once the service is opened; the link's, one for all fleets that name the same place */
    serve_link *link;
} serve_store;

/* What the file says of one fleet. */
typedef struct serve_plan {
    const char *fleet;
    const myr_spec_node *node;
    const char *const *groups; /* segments in text */
    const myr_spec_node *groups_node;
    uint32_t group_count;
    int64_t deadline_ms; /* 0: the server's */
    uint32_t levels;     /* bits 1 << myr_level that may answer; 0 = all */
    bool from_stored;    /* … and after them a stored prediction */
    serve_source *sources;
    uint32_t source_count;
    serve_degrade late_fetch, late_infer, late_rules, late_store;
    serve_store *store; /* NULL: nothing is stored */
    serve_validate validate;
    const char *rules; /* path of a score script; NULL: none */
    const myr_spec_node *rules_node;
    serve_split splits[SERVE_SPLITS_MAX]; /* the rest is champion's */
    uint32_t split_count;
} serve_plan;

typedef struct serve_service {
    myr_spec *spec;
    char name[MYR_NAME_BYTES_MAX + 1];
    const char *region;        /* NULL: not said */
    const char *default_fleet; /* NULL: none */
    bool server_timing;        /* on every answer */
    bool has_fleets;           /* only those of plans are served; else every fleet with a champion */
    serve_plan *plans;
    uint32_t plan_count;
    myr_arena *arena;
    int64_t uses;       /* reloader only: snapshots that serve by it, and the reloader itself; made with one */
    int64_t fleets;     /* reloader only: opened by it, though they may be served by the next one too */
    serve_links *links; /* those of the server; NULL: not opened */
} serve_service;

/* Errors: those of spec, with file, line and column. */
myr_rc myr_service_load(const char *path, serve_service **out, myr_err *err);
myr_rc myr_service_parse(const char *name, const char *text, size_t size_bytes, serve_service **out, myr_err *err);
/* Serve by it. The last release lets go of its stores, and frees it once no fleet is opened by it. NULL accepted. */
serve_service *myr_service_share(serve_service *service);
void myr_service_release(serve_service *service);
/* Open a fleet by it: plan and stores stay as long as the fleet, whoever else uses the service. plan: NULL, or its own.
 */
void myr_service_hold(serve_service *service, const serve_plan *plan);
void myr_service_drop(serve_service *service, const serve_plan *plan);
/* NULL: the file says nothing of it. */
const serve_plan *myr_service_plan(const serve_service *service, const char *fleet);
bool myr_service_plan_equal(const serve_plan *a, const serve_plan *b); /* ask the same of a fleet; NULL: nothing */
/* Files that say the same, at the same place. NULL: no file. */
bool myr_service_equal(const serve_service *a, const serve_service *b);

/* service_validate.c: the map `validate`. */
myr_rc myr_service_validate(const serve_service *service, const myr_spec_node *map, serve_validate *out, myr_err *err);
/* service_fetch.c: the list `fetch`. */
myr_rc myr_service_fetch(const serve_service *service, const myr_spec_node *node, serve_plan *plan, myr_err *err);
/* service_store.c: the map `store`. */
myr_rc myr_service_store(const serve_service *service, const myr_spec_node *map, serve_plan *plan, myr_err *err);
/*
 * service_open.c: connect what the plans name and `links` does not have yet; `links` outlives the service. The paths of
 * SQLite are the workspace's. Errors: those of online, with the file's line; a store that is not reached now is only
 * logged. What was connected until then goes with the service.
 */
myr_rc myr_service_open(serve_service *service, const char *workspace_root, myr_metrics *metrics, serve_links *links,
                        myr_err *err);
void myr_service_unlink(serve_links *links, serve_link *link); /* let go of it; the last one closes. NULL accepted */
/* service_open.c: a URI with the path made whole. */
myr_rc myr_service_uri(const serve_service *service, const char *uri, const char *workspace_root, const char **out,
                       myr_err *err);
/* service.c: a time as in 20ms; *out_ms as it was when the key is absent. */
myr_rc myr_service_duration(const serve_service *service, const myr_spec_node *map, const char *key, int64_t max_ms,
                            int64_t *out_ms, myr_err *err);
/* service_diff.c: a line for each difference, `fleets.oj.deadline: 50ms -> 20ms`, without passwords; at most 100, and
 * how many more there are. NULL: no file. */
void myr_service_diff(const serve_service *before, const serve_service *after, myr_buf *out);
/* split.c: the map `split`. */
myr_rc myr_service_split(const serve_service *service, const myr_spec_node *map, serve_plan *plan, myr_err *err);
/* service.c: one word of several, by its place in `words`; *out as it was when the key is absent. */
myr_rc myr_service_word(const serve_service *service, const myr_spec_node *map, const char *key,
                        const char *const *words, uint32_t *out, myr_err *err);

#endif
