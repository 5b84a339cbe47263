/*
 * This server's own row in the registry: what it says of itself, and when it says it again. Only for serve.
 * Owner: the reloader (main before it starts and after it ended).
 */
#ifndef MYR_SERVE_BEAT_H
#define MYR_SERVE_BEAT_H

#include "serve/directory.h"
#include "serve/internal.h"

#define BEAT_URI_BYTES 300

typedef struct serve_beat {
    char id[33]; /* "": not started */
    char rest[BEAT_URI_BYTES];
    char grpc[BEAT_URI_BYTES]; /* "": none */
    const char *name, *region; /* the server's, or the snapshot's service file's */
    int64_t started_ms;
    int64_t wall_ns, cpu_ns; /* at the last beat */
    double load;
    bool is_draining;
    int64_t revision;         /* of `fleets`; 0: never made */
    int64_t fleets_number;    /* of the snapshot that they were made from */
    bool has_tags;            /* … with the tags of their models */
    bool is_registered;       /* the registry has this revision */
    directory_fleets *fleets; /* what the documents say */
    myr_arena *docs_arena;
    const char **docs;
    size_t doc_count;
} serve_beat;

/* The server listens already: its address is known. BAD_USAGE: options that no registry takes. */
myr_rc myr_serve_beat_start(myr_server *server, serve_beat *beat, myr_err *err);
void myr_serve_beat_fini(serve_beat *beat);
/* The snapshot is the current one. Measure the load, describe its fleets. Tags take a walk over all models of a new
 * release. */
myr_rc myr_serve_beat_prepare(const myr_server *server, serve_beat *beat, myr_registry *registry,
                              const serve_snapshot *snapshot, bool with_tags, myr_err *err);
/* Say it, for as long as serve.lease; nothing when that is 0. BUSY after a short wait for another writer. */
myr_rc myr_serve_beat_write(const myr_server *server, serve_beat *beat, myr_registry *registry, myr_err *err);
/* The row as it would be said; its texts live as long as beat and server. */
void myr_serve_beat_row(const myr_server *server, const serve_beat *beat, myr_instance_row *out);
/* Not there any more. */
void myr_serve_beat_leave(const myr_server *server, const serve_beat *beat, myr_registry *registry);

#endif
