/*
 * The schema, one text per version; a text is never edited once it was released, the next change is the next text.
 *
 * A segment row knows its newest version, so that "the newest of each segment" is one look-up per segment; its parts
 * stand in a table of their own, so that `brand=1` is an index range. Wide columns of a model come last: a read without
 * them leaves their overflow pages alone. Releases and models are immutable, and the database says so itself.
 */
#include "registry/internal.h"

static const char registry_version_1[] =
    "CREATE TABLE fleet("
    "  fleet_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, output_count INTEGER NOT NULL, target TEXT NOT NULL,"
    "  target_transform TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT;"
    /* kind: 0 partition column, 1 feature */
    "CREATE TABLE fleet_column("
    "  fleet_id INTEGER NOT NULL REFERENCES fleet, kind INTEGER NOT NULL, position INTEGER NOT NULL, name TEXT NOT "
    "NULL,"
    "  PRIMARY KEY(fleet_id, kind, position)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE segment("
    "  segment_id INTEGER PRIMARY KEY, fleet_id INTEGER NOT NULL REFERENCES fleet, key_columns INTEGER NOT NULL,"
    "  text TEXT NOT NULL, newest_version INTEGER NOT NULL, newest_model_id INTEGER) STRICT;"
    "CREATE UNIQUE INDEX segment_in_order ON segment(fleet_id, key_columns DESC, text);"
    "CREATE TABLE segment_part("
    "  fleet_id INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,"
    "  segment_id INTEGER NOT NULL REFERENCES segment, PRIMARY KEY(fleet_id, name, value, segment_id)) STRICT, WITHOUT "
    "ROWID;"

    "CREATE TABLE model("
    "  model_id INTEGER PRIMARY KEY, segment_id INTEGER NOT NULL REFERENCES segment, version INTEGER NOT NULL,"
    "  algorithm TEXT NOT NULL, format TEXT NOT NULL, artifact TEXT NOT NULL, artifact_bytes INTEGER NOT NULL,"
    "  objective TEXT NOT NULL, fingerprint TEXT NOT NULL, source TEXT NOT NULL, baseline REAL, created_ms INTEGER NOT "
    "NULL,"
    "  features TEXT NOT NULL, metrics TEXT NOT NULL, UNIQUE(segment_id, version)) STRICT;"
    "CREATE TABLE model_tag("
    "  model_id INTEGER NOT NULL REFERENCES model, key TEXT NOT NULL, value TEXT NOT NULL,"
    "  PRIMARY KEY(model_id, key)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX model_tag_by_value ON model_tag(key, value, model_id);"

    "CREATE TABLE release("
    "  release_id INTEGER PRIMARY KEY, fleet_id INTEGER NOT NULL REFERENCES fleet, number INTEGER NOT NULL,"
    "  created_ms INTEGER NOT NULL, model_count INTEGER NOT NULL, pack TEXT NOT NULL, UNIQUE(fleet_id, number)) STRICT;"
    "CREATE TABLE release_model("
    "  release_id INTEGER NOT NULL REFERENCES release, position INTEGER NOT NULL, model_id INTEGER NOT NULL REFERENCES "
    "model,"
    "  PRIMARY KEY(release_id, position)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE alias("
    "  fleet_id INTEGER NOT NULL REFERENCES fleet, name TEXT NOT NULL, release_id INTEGER NOT NULL REFERENCES release,"
    "  moved_ms INTEGER NOT NULL, PRIMARY KEY(fleet_id, name)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE run("
    "  run_id INTEGER PRIMARY KEY AUTOINCREMENT, fleet TEXT NOT NULL, release INTEGER NOT NULL, input TEXT NOT NULL,"
    "  output TEXT NOT NULL, state TEXT NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
    "  row_count INTEGER NOT NULL, ok_count INTEGER NOT NULL, message TEXT NOT NULL) STRICT;"

    "CREATE TRIGGER model_is_immutable BEFORE UPDATE ON model BEGIN SELECT RAISE(ABORT, 'a model version is "
    "immutable'); END;"
    "CREATE TRIGGER release_is_immutable BEFORE UPDATE ON release BEGIN SELECT RAISE(ABORT, 'a release is immutable'); "
    "END;"
    "CREATE TRIGGER release_model_is_immutable BEFORE UPDATE ON release_model"
    "  BEGIN SELECT RAISE(ABORT, 'a release is immutable'); END;";

/* explain: releases hold what leaf numbers and contributions need */
static const char registry_version_2[] = "ALTER TABLE fleet ADD COLUMN explain INTEGER NOT NULL DEFAULT 0;";

/* options: what an import was asked for beyond the file, since releases read the artifact again */
static const char registry_version_3[] = "ALTER TABLE model ADD COLUMN options TEXT NOT NULL DEFAULT '';";

/* Servers with their leases; a row is its server's alone. */
static const char registry_version_4[] =
    "CREATE TABLE instance("
    "  instance_id TEXT NOT NULL PRIMARY KEY, service TEXT NOT NULL, region TEXT NOT NULL, rest TEXT NOT NULL,"
    "  grpc TEXT NOT NULL, admin TEXT NOT NULL, auth TEXT NOT NULL, program TEXT NOT NULL, state TEXT NOT NULL,"
    "  load REAL NOT NULL, started_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, revision INTEGER NOT NULL) STRICT,"
    "  WITHOUT ROWID;"
    "CREATE TABLE instance_fleet("
    "  instance_id TEXT NOT NULL, position INTEGER NOT NULL, document TEXT NOT NULL,"
    "  PRIMARY KEY(instance_id, position)) STRICT;";

/*
 * Tokens by the hash of their text. A revoked one keeps its row: that there ever was a token is what makes a server ask
 * for one, so revoking the last must not open the door. targets: one per line, `oj` or `oj@brand=1`; "": everything.
 */
static const char registry_version_5[] =
    "CREATE TABLE token("
    "  token_id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE, scopes INTEGER NOT "
    "NULL,"
    "  targets TEXT NOT NULL, rate_per_s INTEGER NOT NULL, concurrency INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL, revoked_ms INTEGER NOT NULL) STRICT;"
    "CREATE UNIQUE INDEX token_by_name ON token(name) WHERE revoked_ms = 0;";

/* Where an alias pointed before, so that one step goes back. */
static const char registry_version_6[] = "ALTER TABLE alias ADD COLUMN previous_id INTEGER;";

/*
 * What the scheduler keeps: jobs' tables (src/jobs), here because this file has one owner. The same tables stand in
 * PostgreSQL where schedulers of several machines share them (jobs/store.c). A firing is one time or event that starts
 * a job, or why it did not; its key is what makes it the only one.
 */
static const char registry_version_7[] =
    "CREATE TABLE scheduled_job("
    "  name TEXT NOT NULL PRIMARY KEY, path TEXT NOT NULL, trouble TEXT NOT NULL, is_active INTEGER NOT NULL,"
    "  is_paused INTEGER NOT NULL, created_ms INTEGER NOT NULL, cursor_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE firing("
    "  firing_id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL,"
    "  state TEXT NOT NULL, is_open INTEGER NOT NULL, logical_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL,"
    "  count INTEGER NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
    "  seen_ms INTEGER NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, pid_start INTEGER NOT NULL,"
    "  run_id INTEGER NOT NULL, exit_code INTEGER NOT NULL, wish TEXT NOT NULL, reason TEXT NOT NULL,"
    "  detail TEXT NOT NULL, UNIQUE(job, key)) STRICT;"
    "CREATE INDEX firing_open ON firing(job) WHERE is_open = 1;"
    "CREATE INDEX firing_by_end ON firing(job, ended_ms);"
    "CREATE TABLE firing_file("
    "  job TEXT NOT NULL, pattern TEXT NOT NULL, path TEXT NOT NULL, size_bytes INTEGER NOT NULL, changed_ns INTEGER "
    "NOT "
    "NULL,"
    "  PRIMARY KEY(job, pattern, path)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE scheduler("
    "  role TEXT NOT NULL PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,"
    "  epoch INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/* Which models are code: a server asks of each release that it opens, and nearly always there are none. */
static const char registry_version_8[] = "CREATE INDEX model_is_code ON model(model_id) WHERE format = 'score.py';";

/*
 * The ledger of batch runs. A run knows its settings and its plan, so that it can be taken up again by another process;
 * a mini-batch is a part of one of its inputs. Whoever works on a run renews its lease.
 */
static const char registry_version_9[] =
    "ALTER TABLE run ADD COLUMN job TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE run ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE run ADD COLUMN owner TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE run ADD COLUMN lease_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE run ADD COLUMN cancel INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE run ADD COLUMN settings TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE run ADD COLUMN plan TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE run_input("
    "  run_id INTEGER NOT NULL REFERENCES run, position INTEGER NOT NULL, path TEXT NOT NULL, bytes INTEGER NOT NULL,"
    "  modified_ns INTEGER NOT NULL, PRIMARY KEY(run_id, position)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE mini_batch("
    "  run_id INTEGER NOT NULL REFERENCES run, number INTEGER NOT NULL, name TEXT NOT NULL, input INTEGER NOT NULL,"
    "  first INTEGER NOT NULL, past INTEGER NOT NULL, first_line INTEGER NOT NULL, row_count INTEGER NOT NULL,"
    "  state TEXT NOT NULL, attempts INTEGER NOT NULL, worker INTEGER NOT NULL, started_ms INTEGER NOT NULL,"
    "  ended_ms INTEGER NOT NULL, file_count INTEGER NOT NULL, byte_count INTEGER NOT NULL, dead_count INTEGER NOT "
    "NULL,"
    "  message TEXT NOT NULL, report TEXT NOT NULL, PRIMARY KEY(run_id, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE attempt("
    "  run_id INTEGER NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL, worker INTEGER NOT NULL,"
    "  started_ms INTEGER NOT NULL, duration_ms INTEGER NOT NULL, row_count INTEGER NOT NULL, cause TEXT NOT NULL,"
    "  PRIMARY KEY(run_id, number, attempt)) STRICT, WITHOUT ROWID;";

/* An input may come from elsewhere: then it has a name of its own, and says itself what tells it from another. */
static const char registry_version_10[] = "ALTER TABLE run_input ADD COLUMN name TEXT NOT NULL DEFAULT '';"
                                          "ALTER TABLE run_input ADD COLUMN identity TEXT NOT NULL DEFAULT '';";

/* Which run is unfinished, or was the last to complete, is asked by state: there may be any number of others. */
static const char registry_version_11[] = "CREATE INDEX run_by_state ON run(state);";

const char *const myr_registry_migrations[] = {registry_version_1,  registry_version_2, registry_version_3,
                                               registry_version_4,  registry_version_5, registry_version_6,
                                               registry_version_7,  registry_version_8, registry_version_9,
                                               registry_version_10, registry_version_11};
const int myr_registry_migration_count = MYR_COUNT_OF(myr_registry_migrations);
