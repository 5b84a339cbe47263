/* A plan of the service file, bound to an opened fleet. Not for other directories. */
#ifndef MYR_SERVE_PLAN_H
#define MYR_SERVE_PLAN_H

#include "script/script.h"
#include "serve/service.h"

/* A segment whose keys are served. */
typedef struct serve_group {
    uint32_t mask; /* partition columns that it has */
    const unsigned char *key;
    size_t key_bytes;
    _Atomic int64_t rows; /* of groups that are served: asked for since the fleet was opened; any thread */
} serve_group;

/* A source, whose names are the fleet's columns. */
typedef struct serve_bound_source {
    const serve_source *source;
    uint32_t *keys;     /* per key of its table: the partition column */
    uint32_t *features; /* per feature of it: the feature */
} serve_bound_source;

/* Immutable but for what is counted; freed with its fleet. */
typedef struct serve_bound {
    const serve_plan *plan; /* the service's, which outlives it */
    const myr_fleet *fleet;
    myr_arena *arena;
    uint32_t *check_features;  /* per check of the plan: its feature */
    uint32_t **order_features; /* per order: its features */
    serve_group *groups;
    myr_script *script;                          /* NULL: no rules */
    serve_bound_source *sources;                 /* per source of the plan */
    uint8_t *is_fetched;                         /* per feature: a request may leave it out */
    serve_group *split_groups[SERVE_SPLITS_MAX]; /* per split of the plan */
} serve_bound;

/* BAD_INPUT with the file's line: a name or a segment that the fleet has not, a score script that does not load. */
myr_rc myr_serve_plan_bind(const serve_service *service, const serve_plan *plan, const myr_fleet *fleet,
                           serve_bound **out, myr_err *err);
void myr_serve_plan_unbind(serve_bound *bound); /* NULL accepted */
/* Are the files that were read at binding as they were? */
bool myr_serve_plan_is_current(const serve_bound *bound);

/* The values of canonical key bytes, null where the key has no such column, texts borrowed; gives the columns it has.
 */
uint32_t myr_serve_key_values(const myr_key_schema *schema, const unsigned char *key, myr_key_value *out);
/* The first of the groups that are served in which a key lies; NULL: none. present: columns that are not null. */
serve_group *myr_serve_values_group(const serve_bound *bound, const myr_key_value *values, uint32_t present);
/* Whether it lies in one of these groups. */
bool myr_serve_values_are_in(const serve_bound *bound, const serve_group *groups, uint32_t count,
                             const myr_key_value *values, uint32_t present);
bool myr_serve_key_is_in(const serve_bound *bound, const serve_group *groups, uint32_t count, const unsigned char *key);
/* Whether a model's key, in canonical bytes, lies in one that is served; without groups each does. */
bool myr_serve_key_is_served(const serve_bound *bound, const unsigned char *key);

#endif
