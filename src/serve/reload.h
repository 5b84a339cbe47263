/*
 * How snapshots are made and freed. Only for opened.c, snapshot.c, reload.c and reloader.c.
 * Owner of everything here: the reloader's thread (main before it starts and after it ended), unless said otherwise.
 */
#ifndef MYR_SERVE_RELOAD_H
#define MYR_SERVE_RELOAD_H

#include "serve/beat.h"
#include "serve/service.h"

#define RELOAD_FAILURES_MAX 1024 /* fleets whose failure is remembered, so that it is logged once */

typedef struct reload_failure {
    char name[MYR_NAME_BYTES_MAX + 1];
    int64_t release;
    uint64_t said; /* hash of the message */
} reload_failure;

typedef struct reload_name {
    char text[MYR_NAME_BYTES_MAX + 1];
} reload_name;

/* What main tells the thread when options were read again. */
#define RELOAD_ORIGINS_BYTES sizeof(((myr_serve_opts *)0)->cors_origins)
typedef struct reload_settings {
    char service[MYR_PATH_BYTES_MAX]; /* "": no file */
    char cors_origins[RELOAD_ORIGINS_BYTES];
} reload_settings;

struct serve_reloader {
    myr_server *server;
    myr_workspace *workspace;
    int64_t change_number;
    _Atomic bool has_failures; /* look again although nothing changed. Written by the reloader */
    serve_snapshot *retired;
    serve_token *idle_tokens; /* of freed snapshots, while their requests run */
    serve_links links;        /* stores of service files that are in use */
    serve_service *service;   /* by which fleets are opened: in force, or being tried. NULL: none */
    bool is_trying;           /* a fleet that it does not fit ends the look */
    char cors_origins[RELOAD_ORIGINS_BYTES];
    serve_beat beat;
    int64_t next_beat_ns;
    char beat_error[MYR_ERR_MESSAGE_BYTES]; /* logged once */
    reload_failure *failures;
    size_t failure_count;
    char last_error[MYR_ERR_MESSAGE_BYTES]; /* of the registry as a whole: logged once */
    char last_tls_error[MYR_ERR_MESSAGE_BYTES];
    myr_mutex lock;
    myr_cond wake;
    bool stop;            /* under lock, as what follows */
    bool is_told;         /* settings were told: the thread is to take them … */
    reload_settings told; /* … these; main's while there is no thread */
    serve_service_state state;
    myr_buf diff;           /* of the service files, when they were taken last */
    bool is_leaving;        /* others are to be told that this server drains … */
    bool has_left;          /* … and were */
    uint64_t asked, looked; /* looks that were asked for; those that are done */
    myr_cond done;          /* looked has risen, or stop */
    reload_name *unloaded;
    size_t unloaded_count;
    bool has_thread;
    myr_thread thread;
};

/* ---- opened.c ---- */
/* *out_plan_is_bad: the service file does not fit the fleet. The fleet is nobody's yet: refs is 0. */
myr_rc myr_serve_fleet_open(serve_reloader *reloader, const char *name, int64_t release, serve_fleet **out,
                            bool *out_plan_is_bad, myr_err *err);
void myr_serve_fleet_free(serve_fleet *served); /* one that no snapshot holds; NULL accepted */
void myr_serve_fleet_release(serve_fleet *served);
/* An opened fleet of this release and of the plan that it is to have, whose files have not changed since; NULL: no. */
bool myr_serve_fleet_is_as(const serve_reloader *reloader, const serve_fleet *served, int64_t release);
/* The same of any release, and whatever its files are now: it can be served when there is nothing better. */
bool myr_serve_fleet_may_go_on(const serve_reloader *reloader, const serve_fleet *served);

/* ---- snapshot.c ---- */
/* Shares the service. NULL: no memory. */
serve_snapshot *myr_serve_snapshot_new(size_t fleets_max, serve_service *service, const char *cors_origins);
void myr_serve_snapshot_free(serve_reloader *reloader, serve_snapshot *snapshot); /* NULL accepted */
void myr_serve_snapshot_add(serve_snapshot *snapshot, serve_fleet *served);       /* shares it */
myr_rc myr_serve_snapshot_add_variant(serve_snapshot *snapshot, serve_fleet *served, const char *alias, myr_err *err);
void myr_serve_snapshot_sort(serve_snapshot *snapshot); /* all are there: from here they are found by name */
/* The same fleets and tokens, for another directory; NULL: no memory. */
serve_snapshot *myr_serve_snapshot_copy(serve_reloader *reloader, const serve_snapshot *old);
bool myr_serve_snapshot_equal(const serve_snapshot *a, const serve_snapshot *b); /* but for the directory */
bool myr_serve_snapshot_is_held(const myr_server *server, const serve_snapshot *snapshot);

/* ---- reload.c ---- */
/*
 * Read the service file and open every fleet by it; if one does not fit, nothing changes. *out_published: it was
 * another, and is in force. out_diff: NULL at the start. Errors: those of the file, or of the first fleet that it does
 * not fit.
 */
myr_rc myr_serve_reload_service(serve_reloader *reloader, const char *path, myr_buf *out_diff, bool *out_published,
                                myr_err *err);
/* Look once; a change makes a new current snapshot. must: look although the registry did not change. */
myr_rc myr_serve_reload_look(serve_reloader *reloader, bool must, bool *out_changed, myr_err *err);
void myr_serve_reload_publish(serve_reloader *reloader, serve_snapshot *next); /* makes it the current one */

/* ---- reloader.c ---- */
/* A look without the thread, which was never started. reads_service: at the service file too. */
void myr_serve_reloader_look_here(myr_server *server, bool reads_service);
bool myr_serve_reloader_is_unloaded(serve_reloader *reloader, const char *name);

#endif
