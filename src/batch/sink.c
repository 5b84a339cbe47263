/* The sinks of a run, each in its turn: opened, staged, published, and what dead runs left in them. */
#include "batch/sink.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "batch/source.h"

static const batch_sink_kind *const sink_kinds[] = {&myr_batch_sink_object, &myr_batch_sink_pg, &myr_batch_sink_sqlite,
                                                    &myr_batch_sink_dir};

#define SINK_SECRETS           "places"
#define SINK_SECRETS_BYTES_MAX (1 << 20)

static myr_rc sink_open(batch *b, const char *place, const char *table, bool append, batch_sink *out, myr_err *err)
{
    size_t k = 0;
    while (!sink_kinds[k]->takes(place))
        k++;
    out->kind = sink_kinds[k];
    if (table != NULL && out->kind != &myr_batch_sink_pg && out->kind != &myr_batch_sink_sqlite)
        MYR_FAIL(err, BAD_USAGE,
                 "output: '%s' is no database, and a table is named: postgresql://HOST/DB or sqlite:PATH", place);
    if (table == NULL && append)
        MYR_FAIL(err, BAD_USAGE, "output: only to a table's rows others can be added; a directory is replaced");
    out->place = place;
    out->table = table;
    out->append = append;
    out->b = b;
    out->stage.lock = -1;
    return out->kind->open(out, err);
}

myr_rc myr_batch_sink_stage(batch_sink *sink, myr_err *err)
{
    char hash[MYR_SHA256_HEX_BYTES], place[MYR_PATH_BYTES_MAX], name[MYR_SHA256_HEX_BYTES + 16];
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, sink->name, strlen(sink->name));
    myr_sha256_hex(&sha, hash);
    (void)snprintf(name, sizeof name, "runs/output-%.16s", hash);
    MYR_TRY(myr_path_join(place, sizeof place, sink->b->workspace->root, name, err));
    return myr_batch_stage_at(&sink->stage, place, err);
}

bool myr_batch_sink_is_of(const myr_map *mini_batches, const char *file)
{
    static const char prefix[] = "part-";
    myr_str rest = myr_str_of(file);
    if (!myr_str_starts_with(rest, prefix)) return false;
    rest = myr_str_make(rest.data + strlen(prefix), rest.size - strlen(prefix));
    const char *dash = memchr(rest.data, '-', rest.size);
    const char *end = dash != NULL ? dash : strrchr(rest.data, '.');
    if (end == NULL) return false;
    return myr_map_find(mini_batches, myr_str_make(rest.data, (size_t)(end - rest.data)), NULL);
}

/* ---- groups ---- */

/* The next `column=value` of a group or of directories, decoded. */
static bool sink_pair(myr_str *rest, char separator, myr_buf *column, myr_buf *value)
{
    myr_str pair;
    while (myr_str_split(rest, separator, &pair)) {
        const char *equals = pair.size > 0 ? memchr(pair.data, '=', pair.size) : NULL;
        if (equals == NULL) continue;
        size_t bytes = (size_t)(equals - pair.data);
        myr_buf_clear(column);
        myr_buf_clear(value);
        return myr_percent_decode(column, myr_str_make(pair.data, bytes)) &&
               myr_percent_decode(value, myr_str_make(equals + 1, pair.size - bytes - 1));
    }
    return false;
}

static bool sink_same(const myr_buf *a, const myr_buf *b)
{
    return myr_str_equal(myr_str_make(a->data, a->size), myr_str_make(b->data, b->size));
}

static bool sink_dirs_have(const char *dirs, const myr_buf *column, const myr_buf *value)
{
    MYR_AUTO(myr_buf) name = {0};
    MYR_AUTO(myr_buf) is = {0};
    myr_str rest = myr_str_of(dirs);
    while (sink_pair(&rest, '/', &name, &is)) {
        if (sink_same(&name, column)) return sink_same(&is, value);
    }
    return false;
}

/* How many columns of the group the directories have; 0: one of them has another value. */
static int sink_match(const char *group, const char *dirs)
{
    MYR_AUTO(myr_buf) column = {0};
    MYR_AUTO(myr_buf) value = {0};
    myr_str rest = myr_str_of(group);
    int count = 0;
    while (sink_pair(&rest, ',', &column, &value)) {
        if (!sink_dirs_have(dirs, &column, &value)) return 0;
        count++;
    }
    return count;
}

batch_sink *myr_batch_sink_of(const batch *b, const char *dirs)
{
    batch_sink *best = &b->sinks[0];
    int best_count = 0;
    for (size_t i = 1; i < b->sink_count; i++) {
        int count = sink_match(b->sinks[i].group, dirs);
        if (count <= best_count) continue;
        best = &b->sinks[i];
        best_count = count;
    }
    return best;
}

/* Its columns are those of `by`, each with a value. */
static myr_rc sink_check_group(const batch *b, const char *group, myr_err *err)
{
    MYR_AUTO(myr_buf) column = {0};
    MYR_AUTO(myr_buf) value = {0};
    myr_str all = myr_str_of(group), part;
    while (myr_str_split(&all, ',', &part)) {
        bool is_by = false, is_pair = sink_pair(&part, ',', &column, &value);
        for (const char *const *by = b->opts.by; is_pair && by != NULL && *by != NULL; by++)
            is_by = is_by || myr_str_is(myr_str_make(column.data, column.size), *by);
        if (is_by) continue;
        MYR_FAIL(err, BAD_INPUT,
                 "stores: '%.100s' is no group of the output: write column=value with columns of `by`, several with a "
                 "comma between them",
                 group);
    }
    return MYR_OK;
}

/* ---- opened ---- */

/* No two are the same, and no directory lies in another, which would be replaced with it. */
static myr_rc sink_check_apart(const batch *b, size_t idx, myr_err *err)
{
    const batch_sink *sink = &b->sinks[idx];
    for (size_t i = 0; i < idx; i++) {
        const batch_sink *other = &b->sinks[i];
        size_t a = strlen(sink->name), c = strlen(other->name), common = a < c ? a : c;
        if (strcmp(sink->name, other->name) == 0) MYR_FAIL(err, BAD_INPUT, "stores: %s is named twice", sink->name);
        if (sink->table == NULL && other->table == NULL && memcmp(sink->name, other->name, common) == 0 &&
            (a < c ? other->name[a] : sink->name[c]) == '/') {
            MYR_FAIL(err, BAD_INPUT, "stores: of %s and %s one lies in the other, and would be replaced with it",
                     other->name, sink->name);
        }
    }
    return MYR_OK;
}

myr_rc myr_batch_sinks_open(batch *b, myr_err *err)
{
    size_t count = b->opts.store_count;
    if (count > 0 && b->opts.action != MYR_BATCH_PARTS)
        MYR_FAIL(err, BAD_INPUT, "output_action: only `parts` has directories that `stores` can tell apart");
    if (count > MYR_BATCH_STORES_MAX)
        MYR_FAIL(err, TOO_LARGE, "%zu stores, at most %d are possible", count, MYR_BATCH_STORES_MAX);
    b->sinks = myr_calloc(count + 1, sizeof *b->sinks);
    myr_batch_store *stores = myr_arena_calloc(b->arena, count + 1, sizeof *stores);
    if (b->sinks == NULL || stores == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an output");
    b->sinks[0].stage.lock = -1;
    b->sink_count = 1;
    MYR_TRY(sink_open(b, b->opts.output, b->opts.table, b->opts.append, &b->sinks[0], err));
    b->opts.output = b->opts.table == NULL ? b->sinks[0].name : b->sinks[0].place;
    for (size_t i = 0; i < count; i++) {
        batch_sink *sink = &b->sinks[i + 1];
        stores[i] = b->opts.stores[i];
        MYR_TRY(sink_check_group(b, stores[i].group, err));
        sink->group = stores[i].group;
        sink->stage.lock = -1;
        b->sink_count++;
        MYR_TRY(sink_open(b, stores[i].output, stores[i].table, stores[i].append, sink, err));
        MYR_TRY(sink_check_apart(b, i + 1, err));
        stores[i].output = stores[i].table == NULL ? sink->name : sink->place;
    }
    b->opts.stores = stores;
    return MYR_OK;
}

bool myr_batch_has_tables(const myr_batch_opts *opts)
{
    bool has = opts->table != NULL;
    for (size_t i = 0; i < opts->store_count; i++)
        has = has || opts->stores[i].table != NULL;
    return has;
}

myr_rc myr_batch_sinks_check(batch *b, myr_err *err)
{
    for (size_t i = 0; i < b->sink_count; i++) {
        if (b->sinks[i].kind->check != NULL) MYR_TRY(b->sinks[i].kind->check(&b->sinks[i], &b->plan, err));
    }
    for (size_t i = 0; i < b->sink_count * b->input_count; i++) {
        const batch_sink *sink = &b->sinks[i / b->input_count];
        const myr_run_input_row *input = &b->inputs[i % b->input_count];
        if (sink->kind->holds == NULL || !sink->kind->holds(sink, input)) continue;
        MYR_FAIL(err, BAD_INPUT,
                 "the input %s lies in the output %s, which the run would replace: choose another output",
                 myr_batch_input_name(input), sink->name);
    }
    return MYR_OK;
}

/* ---- what is there ---- */

myr_rc myr_batch_sinks_hold(batch *b, int64_t run_id, batch_manifest *out, bool *out_is_there, myr_err *err)
{
    batch_manifest all = {0};
    *out_is_there = false;
    for (size_t i = 0; i < b->sink_count; i++) {
        batch_manifest one;
        bool holds = false;
        MYR_TRY(b->sinks[i].kind->find(&b->sinks[i], run_id, b->fingerprint, &one, &holds, err));
        if (!holds) return MYR_OK;
        int64_t files = all.files + one.files, bytes = all.bytes + one.bytes, rows = all.rows + one.rows;
        all = one;
        all.files = files;
        all.bytes = bytes;
        all.rows = rows;
    }
    *out = all;
    *out_is_there = true;
    return MYR_OK;
}

/* ---- after a death ---- */

typedef struct sink_grave {
    batch *b;
    batch_sink *sink;
} sink_grave;

/* Of a run that is over, as its ledger has them. */
static myr_rc sink_run_rows(const batch *b, int64_t run_id, int64_t *out, myr_err *err)
{
    myr_mini_batch_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_mini_batches(b->workspace->registry, b->arena, run_id, &rows, &count, err));
    *out = 0;
    for (size_t i = 0; i < count; i++)
        *out += strcmp(rows[i].state, "done") == 0 ? rows[i].row_count : 0;
    return MYR_OK;
}

/* The dead run's row still says "running": the manifest at the output's place tells whether it got there. */
static myr_rc sink_settle_row(const batch *b, batch_sink *sink, int64_t run_id, myr_err *err)
{
    myr_registry *registry = b->workspace->registry;
    myr_run_row run;
    batch_manifest manifest;
    bool is_there = false;
    myr_rc rc = myr_registry_run_get(registry, b->arena, run_id, &run, err);
    if (rc == MYR_NOT_FOUND) return MYR_OK; /* of another registry */
    MYR_TRY(rc);
    if (strcmp(run.state, "running") != 0 || strcmp(run.output, sink->name) != 0) return MYR_OK;
    MYR_TRY(sink->kind->find(sink, run_id, run.fingerprint, &manifest, &is_there, err));
    if (!is_there) return myr_registry_run_end(registry, run_id, "failed", 0, 0, "killed before it had published", err);
    int64_t rows = 0;
    MYR_TRY(sink_run_rows(b, run_id, &rows, err));
    return myr_registry_run_end(registry, run_id, "completed", rows, 0, "killed after it had published", err);
}

static myr_rc sink_bury(void *ctx, batch_stage *dead, int64_t run_id, myr_err *err)
{
    const sink_grave *grave = ctx;
    batch_sink *sink = grave->sink;
    batch_stage own = sink->stage;
    sink->stage = *dead;
    myr_rc rc = sink->kind->recover != NULL ? sink->kind->recover(sink, err) : MYR_OK;
    sink->stage = own;
    return rc == MYR_OK ? sink_settle_row(grave->b, sink, run_id, err) : rc;
}

myr_rc myr_batch_sinks_sweep(batch *b, myr_err *err)
{
    for (size_t i = 0; i < b->sink_count; i++) {
        sink_grave grave = {.b = b, .sink = &b->sinks[i]};
        MYR_TRY(myr_batch_stage_bury(&b->sinks[i].stage, sink_bury, &grave, err));
    }
    return MYR_OK;
}

/* ---- each in its turn ---- */

/*
 * Places may have passwords in them, which the ledger does not keep. While the run is not over they lie beside what is
 * staged, for its owner alone.
 */
static myr_rc sink_secrets_write(const batch *b, const char *path, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_fd) fd = -1;
    for (size_t i = 0; i < b->sink_count; i++)
        myr_buf_printf(&text, "%s\n", b->sinks[i].table != NULL ? b->sinks[i].place : "");
    if (b->opts.predictions != NULL) myr_buf_printf(&text, "%s\n", b->opts.predictions);
    MYR_TRY(myr_buf_check(&text, err));
    MYR_TRY(myr_io_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &fd, err));
    MYR_TRY(myr_io_write(fd, path, text.data, text.size, err));
    return myr_io_sync(fd, path, err);
}

static myr_rc sink_secrets_read(batch *b, const char *path, myr_err *err)
{
    char *text = NULL;
    size_t size = 0;
    if (!myr_io_exists(path)) return MYR_OK;
    MYR_TRY(myr_file_read(path, SINK_SECRETS_BYTES_MAX, &text, &size, err));
    myr_str rest = myr_str_make(text, size), line;
    bool ok = true;
    for (size_t i = 0; i <= b->sink_count && myr_str_split(&rest, '\n', &line); i++) {
        if (line.size == 0) continue;
        const char *place = myr_arena_strndup(b->arena, line.data, line.size);
        ok = ok && place != NULL;
        if (i < b->sink_count)
            b->sinks[i].place = place;
        else
            b->opts.predictions = place;
    }
    myr_free(text);
    if (!ok) MYR_FAIL(err, NO_MEMORY, "no memory for a place");
    return MYR_OK;
}

myr_rc myr_batch_sinks_stage(batch *b, bool again, myr_err *err)
{
    char secrets[MYR_PATH_BYTES_MAX];
    bool has_database = b->opts.predictions != NULL;
    for (size_t i = 0; i < b->sink_count; i++) {
        batch_stage *stage = &b->sinks[i].stage;
        MYR_TRY(myr_batch_stage_open(stage, b->run_id, again, err));
        has_database = has_database || b->sinks[i].table != NULL;
        /* the first one's comes first (publish) or last (retry): without it, what others have is no beginning */
        if (!myr_io_exists(b->sinks[0].stage.data)) MYR_TRY(myr_io_remove_tree(stage->data, err));
    }
    if (!has_database) return MYR_OK;
    MYR_TRY(myr_path_join(secrets, sizeof secrets, myr_batch_staging(b), SINK_SECRETS, err));
    return again ? sink_secrets_read(b, secrets, err) : sink_secrets_write(b, secrets, err);
}

/* Of several places each tells its own rows; a table counts those that it takes. */
static myr_rc sink_rows(batch *b, const batch_sink *sink, int64_t *out, myr_err *err)
{
    const char *const *files = NULL;
    size_t count = 0;
    *out = b->done_rows;
    if (b->sink_count == 1 || sink->table != NULL) return MYR_OK;
    myr_rc rc = myr_table_files(b->engine, sink->stage.data, b->arena, &files, &count, err);
    if (rc != MYR_OK && rc != MYR_NOT_FOUND) return rc;
    return myr_table_count_written(b->engine, files, rc == MYR_OK ? count : 0, b->opts.format, out, err);
}

myr_rc myr_batch_sinks_publish(batch *b, batch_manifest *manifest, myr_err *err)
{
    int64_t files = 0, bytes = 0;
    for (size_t n = 1; n <= b->sink_count; n++) {
        size_t i = n % b->sink_count; /* the first one last: while it has not published, somebody may go on */
        batch_manifest there;
        bool is_done = false;
        MYR_TRY(b->sinks[i].kind->find(&b->sinks[i], b->run_id, b->fingerprint, &there, &is_done, err));
        if (is_done && b->sinks[i].kind->settle != NULL) /* whoever published it may have died before that */
            MYR_TRY(b->sinks[i].kind->settle(&b->sinks[i], err));
        if (!is_done) {
            there = *manifest;
            MYR_TRY(sink_rows(b, &b->sinks[i], &there.rows, err));
            MYR_TRY(b->sinks[i].kind->publish(&b->sinks[i], &there, err));
        }
        files += there.files;
        bytes += there.bytes;
    }
    manifest->files = files;
    manifest->bytes = bytes;
    return MYR_OK;
}

myr_rc myr_batch_sinks_settle(batch *b, myr_err *err)
{
    for (size_t i = 0; i < b->sink_count; i++) {
        if (b->sinks[i].kind->settle != NULL) MYR_TRY(b->sinks[i].kind->settle(&b->sinks[i], err));
    }
    return MYR_OK;
}

void myr_batch_sinks_keep(batch *b, bool is_kept)
{
    b->is_kept = is_kept;
    for (size_t i = 0; i < b->sink_count; i++)
        b->sinks[i].stage.is_kept = is_kept;
}

void myr_batch_sinks_close(batch *b)
{
    for (size_t i = 0; i < b->sink_count; i++) {
        myr_batch_stage_close(&b->sinks[i].stage);
        if (b->sinks[i].kind != NULL && b->sinks[i].kind->close != NULL) b->sinks[i].kind->close(&b->sinks[i]);
    }
    myr_free(b->sinks);
    b->sinks = NULL;
    b->sink_count = 0;
}
