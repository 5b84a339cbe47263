/*
 * Which servers answer what, as the registry and this server say: immutable once made, shared by snapshots. Only for
 * serve.
 *
 * Owner: made and freed by the reloader (main before it starts and after it ended); any thread reads it through the
 * snapshot that it holds.
 */
#ifndef MYR_SERVE_DIRECTORY_H
#define MYR_SERVE_DIRECTORY_H

#include "base/base.h"
#include "pack/pack.h"
#include "registry/registry.h"

/* A fleet that one server serves; texts lie in its arena. Lists end with NULL. */
typedef struct directory_fleet {
    const char *name;
    const char *doc; /* JSON, as its server wrote it */
    int64_t release;
    int64_t model_count;
    const char **groups; /* NULL: all */
    const char **columns;
    const char **tags;
    const char **features;
} directory_fleet;

/* The fleets of one server; another revision is another one of these. */
typedef struct directory_fleets {
    int64_t refs;
    int64_t revision;
    myr_arena *arena;
    size_t count;
    directory_fleet *items; /* ordered by name */
} directory_fleets;

typedef struct directory_server {
    myr_instance_row row; /* texts in the directory's arena */
    directory_fleets *fleets;
} directory_server;

typedef struct serve_directory {
    int64_t refs;
    myr_arena *arena;
    size_t count;
    directory_server *servers; /* ordered by service, region, id */
} serve_directory;

/*
 * Read what the registry knows now, with `self` (NULL: there is none; its fleets get a reference) in place of its own
 * row there. Fleets of servers whose revision is that of `before` (NULL: none) are shared with it.
 * A document that is not as ours are is left out, and logged.
 */
myr_rc myr_serve_directory_read(myr_registry *registry, const serve_directory *before, const myr_instance_row *self,
                                directory_fleets *self_fleets, serve_directory **out, myr_err *err);
/* Documents to fleets. The caller has one reference. */
myr_rc myr_serve_directory_fleets(const char *const *docs, size_t count, int64_t revision, directory_fleets **out,
                                  myr_err *err);
void myr_serve_directory_fleets_release(directory_fleets *fleets); /* NULL accepted */
void myr_serve_directory_release(serve_directory *directory);      /* NULL accepted */
/* Whether both would be told alike. */
bool myr_serve_directory_equal(const serve_directory *a, const serve_directory *b);

/* ---- asking (discover.c) ---- */

struct serve_principal;
/* What somebody looks for; data NULL: anything. */
typedef struct directory_query {
    const struct serve_principal *who; /* fleets that they may not see are not there */
    myr_str service, fleet, group, tag, region, feature;
    myr_str after; /* services behind this name */
    int64_t limit;
} directory_query;
/* {"services":[…],"next":…}. BAD_INPUT: a group that is no segment text. */
myr_rc myr_serve_directory_put(const serve_directory *directory, const directory_query *query, int64_t now_ms,
                               myr_arena *arena, myr_buf *out, size_t *out_count, myr_err *err);

#endif
