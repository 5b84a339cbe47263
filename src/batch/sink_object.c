/*
 * An output in an object store. There is no rename there: every run's files have names of their own (part-07-<token>),
 * and the manifest, written last and only over the one that was there before, says which of them are the output. A
 * reader who goes by the manifest sees the old output or the new one. What was replaced is removed after that.
 *
 * In the stage: `upload` has the token of the names, `manifest` is ours, `replaced` the one that it takes the place of.
 * With them whoever goes on, or sweeps up, knows which objects are whose.
 */
#include <stdio.h>
#include <string.h>

#include "batch/sink.h"
#include "object/object.h"

#define OBJECT_TOKEN_BYTES  12
#define OBJECT_GROUP        64 /* files that are sent before we look up */
#define OBJECT_REPLACED_MAX MYR_FILE_BYTES_MAX

typedef struct object_sink {
    myr_object_client *client;              /* NULL: not yet */
    char key[MYR_OBJECT_KEY_BYTES_MAX + 2]; /* what all keys of the output begin with, with its slash */
    char manifest[MYR_OBJECT_KEY_BYTES_MAX + 32];
    char token[OBJECT_TOKEN_BYTES + 1];
} object_sink;

/* What is at the place. Texts live in the run's arena. */
typedef struct object_found {
    bool has_manifest;
    const char *etag; /* of the manifest */
    const char *text;
    size_t text_bytes;
    batch_manifest manifest;
    batch_manifest_file *files;
} object_found;

/* ---- where ---- */

static bool object_takes(const char *place)
{
    return myr_object_is_uri(place);
}

static myr_rc object_open(batch_sink *sink, myr_err *err)
{
    const char *key = NULL;
    size_t size = strlen(sink->place);
    object_sink *own = myr_arena_calloc(sink->b->arena, 1, sizeof *own);
    if (own == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an output");
    MYR_TRY(myr_object_key(sink->place, &key, err));
    while (size > 0 && sink->place[size - 1] == '/')
        size--;
    if (key >= sink->place + size)
        MYR_FAIL(err, BAD_USAGE, "%.200s: the output cannot be the whole bucket: name a prefix in it", sink->place);
    (void)snprintf(sink->name, sizeof sink->name, "%.*s", (int)size, sink->place);
    (void)snprintf(own->key, sizeof own->key, "%.*s/", (int)(sink->place + size - key), key);
    (void)snprintf(own->manifest, sizeof own->manifest, "%s" BATCH_MANIFEST_NAME, own->key);
    sink->own = own;
    return myr_batch_sink_stage(sink, err);
}

static void object_close(batch_sink *sink)
{
    object_sink *own = sink->own;
    if (own == NULL) return;
    myr_object_close(own->client);
    own->client = NULL;
}

static myr_rc object_client(batch_sink *sink, object_sink **out, myr_err *err)
{
    object_sink *own = sink->own;
    if (own->client == NULL) MYR_TRY(myr_object_open(sink->name, NULL, &own->client, err));
    *out = own;
    return MYR_OK;
}

/* s3://b/scored holds s3://b/scored/x and not s3://b/scored2. */
static bool object_holds(const batch_sink *sink, const myr_run_input_row *input)
{
    size_t size = strlen(sink->name);
    return input->name != NULL && strncmp(input->name, sink->name, size) == 0 && input->name[size] == '/';
}

/* ---- what is there ---- */

/* The manifest that is there, if it is one of ours. */
static myr_rc object_look(batch_sink *sink, object_found *out, myr_err *err)
{
    object_sink *own = NULL;
    myr_object head;
    MYR_AUTO(myr_buf) text = {0};
    *out = (object_found){0};
    MYR_TRY(object_client(sink, &own, err));
    myr_rc rc = myr_object_head(own->client, own->manifest, sink->b->arena, &head, err);
    if (rc == MYR_NOT_FOUND) return MYR_OK;
    MYR_TRY(rc);
    MYR_TRY(myr_object_get(own->client, own->manifest, OBJECT_REPLACED_MAX, &text, err));
    out->text = myr_arena_strndup(sink->b->arena, text.data != NULL ? text.data : "", text.size);
    if (out->text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the manifest of %.120s", sink->name);
    out->text_bytes = text.size;
    out->etag = head.etag;
    out->has_manifest =
        myr_batch_manifest_parse(out->text, out->text_bytes, sink->b->arena, &out->manifest, &out->files);
    if (!out->has_manifest)
        MYR_FAIL(err, EXISTS, "%.200s/" BATCH_MANIFEST_NAME " is no manifest of myriad: choose another output",
                 sink->name);
    return MYR_OK;
}

/* `…/part-07-0123456789ab.parquet`: of a run, of ours if its manifest came. */
static bool object_is_part(const char *key)
{
    const char *slash = strrchr(key, '/'), *name = slash != NULL ? slash + 1 : key, *dot = strchr(name, '.');
    if (dot == NULL || dot - name < OBJECT_TOKEN_BYTES + 2) return false;
    const char *token = dot - OBJECT_TOKEN_BYTES;
    return token[-1] == '-' && strspn(token, "0123456789abcdef") == OBJECT_TOKEN_BYTES;
}

/* Without a manifest of ours nothing else may be there. */
static myr_rc object_check_empty(batch_sink *sink, myr_err *err)
{
    object_sink *own = NULL;
    myr_object *objects = NULL;
    size_t count = 0;
    MYR_TRY(object_client(sink, &own, err));
    MYR_TRY(myr_object_list(own->client, own->key, sink->b->arena, &objects, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (object_is_part(objects[i].key) || strcmp(objects[i].key, own->key) == 0) continue;
        MYR_FAIL(err, EXISTS,
                 "%.120s holds objects that are not an output of myriad (no " BATCH_MANIFEST_NAME
                 "): remove them or choose another output",
                 sink->name);
    }
    return MYR_OK;
}

static myr_rc object_check(batch_sink *sink, const batch_plan *plan, myr_err *err)
{
    object_found found;
    (void)plan;
    MYR_TRY(object_look(sink, &found, err));
    return found.has_manifest ? MYR_OK : object_check_empty(sink, err);
}

/* Keys below the output, with their sizes. */
static myr_rc object_sizes(batch_sink *sink, myr_map *out, myr_err *err)
{
    object_sink *own = NULL;
    myr_object *objects = NULL;
    size_t count = 0;
    MYR_TRY(object_client(sink, &own, err));
    MYR_TRY(myr_object_list(own->client, own->key, sink->b->arena, &objects, &count, err));
    for (size_t i = 0; i < count; i++)
        MYR_TRY(myr_map_put(out, myr_str_of(objects[i].key + strlen(own->key)), (uint64_t)objects[i].bytes, err));
    return MYR_OK;
}

static myr_rc object_find(batch_sink *sink, int64_t run_id, const char *fingerprint, batch_manifest *out,
                          bool *out_is_there, myr_err *err)
{
    object_found found;
    *out_is_there = false;
    MYR_TRY(object_look(sink, &found, err));
    if (!found.has_manifest || strcmp(found.manifest.fingerprint, fingerprint) != 0 ||
        (run_id != 0 && found.manifest.run_id != run_id))
        return MYR_OK;
    MYR_AUTO(myr_map_ptr) sizes = myr_map_new();
    if (sizes == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
    MYR_TRY(object_sizes(sink, sizes, err));
    for (int64_t i = 0; i < found.manifest.files; i++) {
        uint64_t bytes = 0;
        if (!myr_map_find(sizes, myr_str_of(found.files[i].path), &bytes) || (int64_t)bytes != found.files[i].bytes)
            return MYR_OK;
    }
    *out = found.manifest;
    *out_is_there = true;
    return MYR_OK;
}

/* ---- names of a run's own ---- */

static myr_rc object_stage_path(const batch_sink *sink, const char *name, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    return myr_path_join(out, MYR_PATH_BYTES_MAX, sink->stage.staging, name, err);
}

/* The token of the stage; *out empty: it has none. */
static myr_rc object_token_read(const batch_sink *sink, char out[OBJECT_TOKEN_BYTES + 1], myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    char *text = NULL;
    size_t size = 0;
    out[0] = '\0';
    MYR_TRY(object_stage_path(sink, "upload", path, err));
    if (!myr_io_exists(path)) return MYR_OK;
    MYR_TRY(myr_file_read(path, 64, &text, &size, err));
    if (size == OBJECT_TOKEN_BYTES) memcpy(out, text, OBJECT_TOKEN_BYTES + 1);
    myr_free(text);
    return MYR_OK;
}

static myr_rc object_token(batch_sink *sink, myr_err *err)
{
    object_sink *own = sink->own;
    char path[MYR_PATH_BYTES_MAX];
    unsigned char bytes[OBJECT_TOKEN_BYTES / 2];
    MYR_TRY(object_token_read(sink, own->token, err));
    if (own->token[0] != '\0') return MYR_OK;
    MYR_TRY(myr_random(bytes, sizeof bytes, err));
    myr_hex(bytes, sizeof bytes, own->token);
    MYR_TRY(object_stage_path(sink, "upload", path, err));
    return myr_file_write(path, own->token, OBJECT_TOKEN_BYTES, err);
}

static bool object_has_token(const char *key, const char *token)
{
    const char *slash = strrchr(key, '/'), *dot = strchr(slash != NULL ? slash : key, '.');
    return object_is_part(key) && memcmp(dot - OBJECT_TOKEN_BYTES, token, OBJECT_TOKEN_BYTES) == 0;
}

/* part-07.parquet becomes part-07-<token>.parquet, if it is not. Calls itself for directories; depth bounds it. */
static myr_rc object_rename(const char *dir, const char *token, int depth, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, BATCH_DEPTH_MAX);
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char from[MYR_PATH_BYTES_MAX], to[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(from, sizeof from, dir, names.items[i], err));
        if (myr_io_is_dir(from)) {
            MYR_TRY(object_rename(from, token, depth + 1, err));
            continue;
        }
        if (object_has_token(from, token) || strcmp(names.items[i], BATCH_MANIFEST_NAME) == 0) continue;
        size_t stem = strcspn(names.items[i], ".");
        int size =
            snprintf(to, sizeof to, "%s/%.*s-%s%s", dir, (int)stem, names.items[i], token, names.items[i] + stem);
        if (size < 0 || (size_t)size >= sizeof to) MYR_FAIL(err, BAD_INPUT, "%.200s: the path is too long", from);
        MYR_TRY(myr_io_rename(from, to, err));
    }
    return MYR_OK;
}

/* ---- publishing ---- */

/* What our manifest names and is not there yet. */
static myr_rc object_moves(batch_sink *sink, const batch_manifest_file *files, int64_t file_count,
                           myr_object_move **out, size_t *out_count, myr_err *err)
{
    const object_sink *own = sink->own;
    myr_arena *arena = sink->b->arena;
    MYR_AUTO(myr_map_ptr) sizes = myr_map_new();
    myr_object_move *moves = myr_arena_calloc(arena, (size_t)file_count + 1, sizeof *moves);
    if (sizes == NULL || moves == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
    MYR_TRY(object_sizes(sink, sizes, err));
    size_t count = 0;
    for (int64_t i = 0; i < file_count; i++) {
        uint64_t bytes = 0;
        if (myr_map_find(sizes, myr_str_of(files[i].path), &bytes) && (int64_t)bytes == files[i].bytes) continue;
        myr_object_move *move = &moves[count++];
        move->object.key = myr_arena_printf(arena, "%s%s", own->key, files[i].path);
        move->path = myr_arena_printf(arena, "%s/%s", sink->stage.data, files[i].path);
        if (move->object.key == NULL || move->path == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
        if (strlen(move->object.key) > MYR_OBJECT_KEY_BYTES_MAX)
            MYR_FAIL(err, BAD_INPUT, "%.100s/%.60s…: a key has at most %d bytes: choose another --by", sink->name,
                     files[i].path, MYR_OBJECT_KEY_BYTES_MAX);
    }
    *out = moves;
    *out_count = count;
    return MYR_OK;
}

/* To the store or from it, in groups: between them the lease is renewed, and somebody may have asked for an end. */
static myr_rc object_move(batch_sink *sink, const myr_object_move *moves, size_t count, bool is_sent, myr_err *err)
{
    const batch *b = sink->b;
    for (size_t done = 0; done < count; done += OBJECT_GROUP) {
        bool is_cancelled = false;
        size_t group = count - done < OBJECT_GROUP ? count - done : OBJECT_GROUP;
        MYR_TRY(is_sent ? myr_object_put_all(sink->name, moves + done, group, err)
                        : myr_object_get_all(sink->name, NULL, moves + done, group, err));
        MYR_TRY(myr_registry_run_beat(b->workspace->registry, b->run_id, myr_batch_lease_ms(), b->done_rows,
                                      &is_cancelled, err));
        if (is_cancelled) MYR_FAIL(err, CANCELLED, "run %lld was cancelled", (long long)b->run_id);
    }
    return MYR_OK;
}

/* ---- taken over ---- */

/* `brand=1/part-07-0123456789ab.csv` without its token, in the arena; *out_file: of it, the name. */
static const char *object_plain(myr_arena *arena, const char *path, const char **out_file)
{
    const char *slash = strrchr(path, '/'), *dot = strchr(slash != NULL ? slash : path, '.');
    const char *plain = myr_arena_printf(arena, "%.*s%s", (int)(dot - path) - OBJECT_TOKEN_BYTES - 1, path, dot);
    if (plain != NULL) *out_file = slash != NULL ? plain + (slash + 1 - path) : plain;
    return plain;
}

static myr_rc object_bring_moves(batch_sink *sink, const myr_map *mini_batches, const char *dir, myr_object_move **out,
                                 size_t *out_count, myr_err *err)
{
    object_sink *own = NULL;
    object_found found;
    myr_object *objects = NULL;
    size_t object_count = 0, count = 0;
    myr_arena *arena = sink->b->arena;
    MYR_AUTO(myr_map_ptr) places = myr_map_new();
    MYR_TRY(object_look(sink, &found, err));
    MYR_TRY(object_client(sink, &own, err));
    MYR_TRY(myr_object_list(own->client, own->key, arena, &objects, &object_count, err));
    myr_object_move *moves = myr_arena_calloc(arena, (size_t)found.manifest.files + 1, sizeof *moves);
    if (places == NULL || moves == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
    for (size_t i = 0; i < object_count; i++)
        MYR_TRY(myr_map_put(places, myr_str_of(objects[i].key + strlen(own->key)), i, err));
    for (int64_t i = 0; i < found.manifest.files; i++) {
        const char *file = NULL, *plain = NULL;
        uint64_t at = 0;
        if (!object_is_part(found.files[i].path) || !myr_map_find(places, myr_str_of(found.files[i].path), &at))
            MYR_FAIL(err, CONFLICT, "%.200s: %.100s is not there any more", sink->name, found.files[i].path);
        plain = object_plain(arena, found.files[i].path, &file);
        if (plain != NULL && !myr_batch_sink_is_of(mini_batches, file)) continue;
        const char *path = plain != NULL ? myr_arena_printf(arena, "%s/%s", dir, plain) : NULL;
        if (path == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
        moves[count++] = (myr_object_move){.object = objects[at], .path = path};
    }
    *out = moves;
    *out_count = count;
    return MYR_OK;
}

/* They are published under new names: readers of the old manifest find theirs until then. */
static myr_rc object_bring(batch_sink *sink, const myr_map *mini_batches, const char *dir, myr_err *err)
{
    myr_object_move *moves = NULL;
    size_t count = 0;
    MYR_TRY(object_bring_moves(sink, mini_batches, dir, &moves, &count, err));
    return object_move(sink, moves, count, false, err);
}

/* ---- publishing, its end ---- */

static myr_rc object_replace(batch_sink *sink, const object_found *found, const char *text, size_t size, myr_err *err)
{
    object_sink *own = sink->own;
    myr_rc rc = myr_object_put(own->client, own->manifest, text, size,
                               found->has_manifest ? MYR_OBJECT_IF_SAME : MYR_OBJECT_IF_ABSENT, found->etag, err);
    if (rc != MYR_CONFLICT) return rc;
    MYR_FAIL(err, CONFLICT, "%.200s: somebody else has published there since this run began to", sink->name);
}

static myr_rc object_remove(const batch_sink *sink, const batch_manifest_file *files, int64_t count, const char *but,
                            myr_err *err)
{
    const object_sink *own = sink->own;
    myr_object_move *moves = myr_arena_calloc(sink->b->arena, (size_t)count + 1, sizeof *moves);
    size_t gone = 0;
    for (int64_t i = 0; moves != NULL && i < count; i++) {
        if (but[0] != '\0' && object_has_token(files[i].path, but)) continue;
        moves[gone].object.key = myr_arena_printf(sink->b->arena, "%s%s", own->key, files[i].path);
        if (moves[gone++].object.key == NULL) moves = NULL;
    }
    if (moves == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
    return myr_object_delete_all(sink->name, moves, gone, err);
}

static bool object_may_go_on(myr_rc rc)
{
    return rc == MYR_OK || rc == MYR_UNAVAILABLE || rc == MYR_TIMEOUT || rc == MYR_BUSY;
}

/* The files of the manifest that ours has replaced. */
static myr_rc object_settle(batch_sink *sink, myr_err *err)
{
    object_sink *own = NULL;
    char path[MYR_PATH_BYTES_MAX];
    char *text = NULL;
    size_t size = 0;
    batch_manifest manifest;
    batch_manifest_file *files = NULL;
    MYR_TRY(object_client(sink, &own, err));
    MYR_TRY(object_token_read(sink, own->token, err));
    MYR_TRY(object_stage_path(sink, "replaced", path, err));
    if (!myr_io_exists(path)) return MYR_OK;
    MYR_TRY(myr_file_read(path, OBJECT_REPLACED_MAX, &text, &size, err));
    bool is_ours = myr_batch_manifest_parse(text, size, sink->b->arena, &manifest, &files);
    myr_free(text);
    if (is_ours) MYR_TRY(object_remove(sink, files, manifest.files, own->token, err));
    return myr_io_unlink(path, err);
}

/* Ours is there. What cannot be removed, and will not be by trying again, is no reason to call that a failure. */
static myr_rc object_settle_ours(batch_sink *sink, myr_err *err)
{
    myr_err why = {0};
    myr_rc rc = object_settle(sink, &why);
    if (object_may_go_on(rc)) {
        if (err != NULL) *err = why;
        return rc;
    }
    myr_log_err(MYR_LOG_WARN, "batch", "replaced objects stay", &why);
    return MYR_OK;
}

/* The objects of a token, all of them: its manifest never came. */
static myr_rc object_remove_token(batch_sink *sink, const char *token, myr_err *err)
{
    object_sink *own = NULL;
    myr_object *objects = NULL;
    size_t count = 0, gone = 0;
    MYR_TRY(object_client(sink, &own, err));
    MYR_TRY(myr_object_list(own->client, own->key, sink->b->arena, &objects, &count, err));
    myr_object_move *moves = myr_arena_calloc(sink->b->arena, count + 1, sizeof *moves);
    if (moves == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of objects");
    for (size_t i = 0; i < count; i++) {
        if (object_has_token(objects[i].key, token)) moves[gone++].object = objects[i];
    }
    return myr_object_delete_all(sink->name, moves, gone, err);
}

/* Names, manifest, and the note of what it replaces: all of it in the stage, before anything is sent. */
static myr_rc object_prepare(batch_sink *sink, batch_manifest *manifest, const object_found *found, myr_buf *out,
                             myr_err *err)
{
    object_sink *own = sink->own;
    char path[MYR_PATH_BYTES_MAX];
    char *text = NULL;
    size_t size = 0;
    MYR_TRY(object_token(sink, err));
    MYR_TRY(object_rename(sink->stage.data, own->token, 0, err));
    MYR_TRY(myr_batch_manifest_write(sink->stage.data, manifest, err));
    MYR_TRY(object_stage_path(sink, "replaced", path, err));
    if (found->has_manifest) MYR_TRY(myr_file_write(path, found->text, found->text_bytes, err));
    MYR_TRY(myr_path_join(path, sizeof path, sink->stage.data, BATCH_MANIFEST_NAME, err));
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, &text, &size, err));
    myr_buf_append(out, text, size);
    myr_free(text);
    MYR_TRY(myr_buf_check(out, err));
    MYR_TRY(object_stage_path(sink, "manifest", path, err));
    return myr_file_write(path, out->data, out->size, err);
}

static myr_rc object_publish_steps(batch_sink *sink, batch_manifest *manifest, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    object_found found;
    myr_object_move *moves = NULL;
    batch_manifest ours;
    batch_manifest_file *files = NULL;
    size_t count = 0;
    MYR_TRY(object_look(sink, &found, err)); /* again: others may have come meanwhile */
    if (!found.has_manifest) MYR_TRY(object_check_empty(sink, err));
    MYR_TRY(object_prepare(sink, manifest, &found, &text, err));
    if (!myr_batch_manifest_parse(text.data, text.size, sink->b->arena, &ours, &files))
        MYR_FAIL(err, NO_MEMORY, "no memory for the manifest of %.120s", sink->name);
    MYR_TRY(object_moves(sink, files, ours.files, &moves, &count, err));
    MYR_TRY(object_move(sink, moves, count, true, err));
    MYR_TRY(object_replace(sink, &found, text.data, text.size, err));
    return object_settle_ours(sink, err);
}

static myr_rc object_publish(batch_sink *sink, batch_manifest *manifest, myr_err *err)
{
    const object_sink *own = sink->own;
    myr_rc rc = object_publish_steps(sink, manifest, err);
    if (!object_may_go_on(rc) && own->token[0] != '\0')
        MYR_IGNORE(object_remove_token(sink, own->token, NULL)); /* rc is the one to tell */
    return rc;
}

/* Whether the manifest that is there is the one of this stage. */
static myr_rc object_is_published(batch_sink *sink, bool *out, myr_err *err)
{
    object_found found;
    char path[MYR_PATH_BYTES_MAX];
    char *text = NULL;
    size_t size = 0;
    *out = false;
    MYR_TRY(object_look(sink, &found, err));
    MYR_TRY(object_stage_path(sink, "manifest", path, err));
    if (!found.has_manifest || !myr_io_exists(path)) return MYR_OK;
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, &text, &size, err));
    *out = size == found.text_bytes && memcmp(text, found.text, size) == 0;
    myr_free(text);
    return MYR_OK;
}

/* A dead run's stage: what it replaced goes if it got so far, else what it had sent. */
static myr_rc object_recover(batch_sink *sink, myr_err *err)
{
    char token[OBJECT_TOKEN_BYTES + 1];
    bool is_published = false;
    MYR_TRY(object_token_read(sink, token, err));
    if (token[0] == '\0') return MYR_OK;
    MYR_TRY(object_is_published(sink, &is_published, err));
    return is_published ? object_settle(sink, err) : object_remove_token(sink, token, err);
}

const batch_sink_kind myr_batch_sink_object = {.takes = object_takes,
                                               .open = object_open,
                                               .check = object_check,
                                               .holds = object_holds,
                                               .find = object_find,
                                               .bring = object_bring,
                                               .publish = object_publish,
                                               .settle = object_settle,
                                               .recover = object_recover,
                                               .close = object_close};
