/* What tests of the scheduler share: a workspace with a stub for `myriad batch run`, and turns on a clock that stands
 * still. MYR_JOBS_STORE names a PostgreSQL to use instead of the workspace's registry. */
#ifndef MYR_TESTS_JOBS_FIXTURE_H
#define MYR_TESTS_JOBS_FIXTURE_H

#include "testing.h"

#include <sys/stat.h>
#include <unistd.h>

#include "db/db.h"
#include "jobs/scheduler.h"
#include "registry/registry.h"

#define DAY_MS    86400000LL
#define HOUR_MS   3600000LL
#define MINUTE_MS 60000LL

/* Writes its firing and logical time, says its run, waits while `hold` is there, ends with what `code` says. */
static const char stub_text[] =
    "#!/bin/sh\n"
    "echo \"$MYRIAD_JOB $MYRIAD_TRIGGER $MYRIAD_LOCAL_TIME\" >>ran.txt\n"
    "echo \"{\\\"run\\\":$((1000 + MYRIAD_FIRING))}\"\n"
    "[ -z \"$MYRIAD_FILES$MYRIAD_MESSAGES\" ] || cat \"$MYRIAD_FILES$MYRIAD_MESSAGES\" >>files.txt\n"
    "while [ -e hold ]; do sleep 0.02; done\n"
    "[ ! -e code ] || { echo 'first line' >&2; echo 'it went wrong' >&2; exit $(cat code); }\n";

typedef struct place {
    char dir[TESTING_PATH_BYTES];
    myr_scheduler_opts opts;
    myr_scheduler *scheduler;
    myr_job_store *store; /* as commands have it */
    myr_arena *arena;
} place;

TESTING_UNUSED static void place_write(const place *p, const char *name, const char *text)
{
    char path[TESTING_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    EXPECT_RC(myr_file_write(path, text, strlen(text), NULL), OK, NULL);
}

TESTING_UNUSED static void place_remove(const place *p, const char *name)
{
    char path[TESTING_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    EXPECT_RC(myr_io_unlink(path, NULL), OK, NULL);
}

TESTING_UNUSED static void place_mkdir(const place *p, const char *name)
{
    char path[TESTING_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    EXPECT_RC(myr_io_mkdirs(path, NULL), OK, NULL);
}

TESTING_UNUSED static void place_open_scheduler(place *p)
{
    myr_err err = {0};
    EXPECT_RC(myr_scheduler_open(p->dir, &p->opts, &p->scheduler, &err), OK, &err);
}

TESTING_UNUSED static void place_init(place *p, int64_t now_ms)
{
    char path[TESTING_PATH_BYTES + 64];
    myr_err err = {0};
    myr_registry *registry = NULL;
    const char *uri = getenv("MYR_JOBS_STORE");
    memset(p, 0, sizeof *p);
    myr_log_set_level(MYR_LOG_OFF);
    testing_dir(p->dir);
    myr_opt_defaults(myr_scheduler_opt_table, &p->opts);
    snprintf(p->opts.program, sizeof p->opts.program, "%s/stub", p->dir);
    place_mkdir(p, "jobs");
    place_mkdir(p, "in");
    place_write(p, "stub", stub_text);
    EXPECT_INT(chmod(p->opts.program, 0755), 0);
    snprintf(path, sizeof path, "%s/registry.db", p->dir);
    EXPECT_RC(myr_registry_open(path, true, &registry, &err), OK, &err);
    myr_registry_close(registry);
    if (uri != NULL) {
        myr_pg *pg = NULL;
        const myr_pg_call drop = {"DROP SCHEMA IF EXISTS myriad CASCADE", NULL, 0};
        snprintf(p->opts.store, sizeof p->opts.store, "%s", uri);
        EXPECT_RC(myr_pg_new(uri, NULL, &pg, &err), OK, &err);
        EXPECT_RC(myr_pg_run(pg, &drop, 1, myr_clock_mono_ns() + 10000000000LL, NULL, &err), OK, &err);
        myr_pg_free(pg);
    }
    myr_clock_freeze(now_ms);
    EXPECT_RC(myr_job_store_open(p->dir, p->opts.store, &p->store, &err), OK, &err);
    p->arena = myr_arena_new(0);
    place_open_scheduler(p);
}

TESTING_UNUSED static void place_fini(place *p)
{
    myr_scheduler_close(p->scheduler);
    myr_job_store_close(p->store);
    myr_arena_free(p->arena);
}

TESTING_UNUSED static void place_turn(place *p)
{
    myr_err err = {0};
    int64_t sleep_ms = 0;
    EXPECT_RC(myr_scheduler_turn(p->scheduler, &sleep_ms, &err), OK, &err);
}

TESTING_UNUSED static size_t place_firings(place *p, bool open_only, myr_firing **out)
{
    const myr_firing_filter filter = {.open_only = open_only};
    size_t count = 0;
    myr_err err = {0};
    EXPECT_RC(myr_job_store_firings(p->store, p->arena, &filter, out, &count, &err), OK, &err);
    return count;
}

/* How many have a process. */
TESTING_UNUSED static size_t place_active(place *p)
{
    myr_firing *open = NULL;
    size_t count = place_firings(p, true, &open), active = 0;
    for (size_t i = 0; i < count; i++)
        active += open[i].state != MYR_FIRING_WAITING ? 1 : 0;
    return active;
}

/* Turns until no process is left; real time passes, the clock stands. */
TESTING_UNUSED static void place_settle(place *p)
{
    for (int i = 0; i < 2000; i++) {
        place_turn(p);
        if (place_active(p) == 0) return;
        usleep(5000);
    }
    fail_msg("a run does not end");
}

/* Turns until each active firing is known by its run. */
TESTING_UNUSED static void place_running(place *p, size_t wanted)
{
    for (int i = 0; i < 2000; i++) {
        myr_firing *open = NULL;
        size_t running = 0;
        place_turn(p);
        size_t count = place_firings(p, true, &open);
        for (size_t k = 0; k < count; k++)
            running += open[k].state == MYR_FIRING_RUNNING ? 1 : 0;
        if (running == wanted) return;
        usleep(5000);
    }
    fail_msg("runs do not start");
}

/* A file of the workspace as a text; "" if it is not there. In the arena. */
TESTING_UNUSED static const char *place_read(place *p, const char *name)
{
    char path[TESTING_PATH_BYTES + 64];
    char *data = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    if (myr_file_read(path, 1 << 20, &data, &size, NULL) != MYR_OK) return "";
    const char *text = myr_arena_strndup(p->arena, data, size);
    myr_free(data);
    return text;
}

TESTING_UNUSED static const char *place_ran(place *p)
{
    return place_read(p, "ran.txt");
}

TESTING_UNUSED static void place_forget_ran(place *p)
{
    if (place_ran(p)[0] != '\0') place_remove(p, "ran.txt");
}

/* The newest firing. */
TESTING_UNUSED static myr_firing place_last(place *p)
{
    myr_firing *all = NULL;
    size_t count = place_firings(p, false, &all);
    EXPECT(count > 0);
    return all[0];
}

/* How many firings are in a state. */
TESTING_UNUSED static int place_count(place *p, myr_firing_state state)
{
    myr_firing *all = NULL;
    size_t count = place_firings(p, false, &all);
    int found = 0;
    for (size_t i = 0; i < count; i++)
        found += all[i].state == state ? 1 : 0;
    return found;
}

/* Unix time of a day. */
TESTING_UNUSED static int64_t at_ms(int year, int month, int day, int hour, int minute)
{
    return ((myr_day_of_civil(year, month, day) * 24 + hour) * 60 + minute) * MINUTE_MS;
}

#endif
