/*
 * `files:`: what a glob finds that is new or has changed becomes one firing, when all of it is whole: quiet for a
 * while, or with a marker beside it. The look itself is what counts; inotify only says that it is worth it now, so that
 * a file system that tells nothing is as good, a little later. Files that were answered are in the store, with size and
 * time, and are written in the transaction that makes the firing.
 */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "jobs/scheduler.h"
#include "object/object.h"

#define FILES_FOUND_MAX   100000 /* files of one pattern */
#define FILES_SET_MAX     10000  /* files of one firing; the rest is the next one's */
#define FILES_STARVE      10     /* times the quiet period: then what is whole does not wait for the rest */
#define FILES_NS_PER_MS   1000000LL
#define FILES_LIST_MIN_MS 500 /* from one list of an object store to the next */
#define FILES_EVENTS      (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB | IN_DELETE | IN_ONLYDIR)

/* A file that was not answered yet, as it was last seen. */
typedef struct files_pending {
    char *path;
    int64_t size_bytes, changed_ns;
    int64_t since_ns, first_ns; /* monotonic: as it is since; known since */
    bool is_whole;
} files_pending;

typedef struct files_watch {
    struct files_watch *next;
    const myr_job_file *job;
    const job_trigger *trigger;
    myr_arena *arena; /* of what follows */
    store_file *known;
    size_t known_count;
    myr_map *known_at; /* path -> index */
    files_pending *pending;
    size_t pending_count;
    int64_t look_ns;        /* monotonic: when it looks again */
    job_listing *listing;   /* of an object store: who looks; NULL: we do */
    const job_found *found; /* the newest list */
    size_t found_count;
    bool is_told; /* of inotify: the directory is watched */
    char last_trouble[sizeof(myr_err)];
} files_watch;

/* ---- life ---- */

static void files_free_pending(files_pending *pending, size_t count)
{
    for (size_t i = 0; i < count; i++)
        myr_free(pending[i].path);
    myr_free(pending);
}

static void files_free(files_watch *watch)
{
    files_free_pending(watch->pending, watch->pending_count);
    myr_listing_free(watch->listing);
    myr_map_free(watch->known_at);
    myr_arena_free(watch->arena);
    myr_free(watch);
}

void myr_scheduler_files_close(myr_scheduler *s)
{
    for (files_watch *watch = s->watches; watch != NULL; watch = watch->next) {
        if (watch->listing != NULL) myr_listing_stop(watch->listing); /* all, before the first is waited for */
    }
    while (s->watches != NULL) {
        files_watch *watch = s->watches;
        s->watches = watch->next;
        files_free(watch);
    }
}

/* What was answered, from the store. */
static myr_rc files_load(myr_scheduler *s, files_watch *watch, myr_err *err)
{
    myr_map_free(watch->known_at);
    watch->known_at = myr_map_new();
    myr_arena_reset(watch->arena);
    watch->known_count = 0;
    if (watch->known_at == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for files");
    MYR_TRY(myr_store_files(s->store, watch->arena, watch->job->name, watch->trigger->pattern, &watch->known,
                            &watch->known_count, err));
    for (size_t i = 0; i < watch->known_count; i++)
        MYR_TRY(myr_map_put(watch->known_at, myr_str_of(watch->known[i].path), i, err));
    return MYR_OK;
}

static myr_rc files_find(myr_scheduler *s, const myr_job_file *job, const job_trigger *trigger, files_watch **out,
                         myr_err *err)
{
    for (files_watch *watch = s->watches; watch != NULL; watch = watch->next) {
        if (watch->trigger != trigger) continue;
        *out = watch;
        return MYR_OK;
    }
    files_watch *watch = myr_calloc(1, sizeof *watch);
    if (watch == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a trigger");
    watch->job = job;
    watch->trigger = trigger;
    watch->look_ns = s->mono_ns;
    watch->arena = myr_arena_new(0);
    myr_rc rc = watch->arena != NULL ? files_load(s, watch, err) : MYR_ERROR(err, NO_MEMORY, "no memory for files");
    if (rc == MYR_OK && myr_object_is_uri(trigger->pattern))
        rc = myr_listing_start(s, trigger->pattern, trigger->poll_ms, &watch->listing, err);
    if (rc != MYR_OK) {
        files_free(watch);
        return rc;
    }
    watch->next = s->watches;
    s->watches = watch;
    *out = watch;
    return MYR_OK;
}

/* ---- looking ---- */

static const files_pending *files_pending_of(const files_watch *watch, const char *path)
{
    size_t low = 0, high = watch->pending_count; /* ordered as glob gives them, by path */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(watch->pending[middle].path, path);
        if (order == 0) return &watch->pending[middle];
        if (order < 0) low = middle + 1;
        if (order > 0) high = middle;
    }
    return NULL;
}

static bool files_is_known(const files_watch *watch, const char *path, const job_stamp *stamp)
{
    uint64_t at = 0;
    if (!myr_map_find(watch->known_at, myr_str_of(path), &at)) return false;
    return watch->known[at].size_bytes == stamp->size_bytes && watch->known[at].changed_ns == stamp->changed_ns;
}

static int files_order(const void *path, const void *found)
{
    return strcmp(path, ((const job_found *)found)->path);
}

static bool files_exists(const files_watch *watch, const char *path)
{
    if (watch->listing == NULL) return myr_io_exists(path);
    return watch->found_count > 0 &&
           bsearch(path, watch->found, watch->found_count, sizeof *watch->found, files_order) != NULL;
}

static bool files_has_marker(const files_watch *watch, const char *path)
{
    char dir[MYR_PATH_BYTES_MAX], marker[MYR_PATH_BYTES_MAX];
    myr_path_dir(path, dir, sizeof dir);
    return myr_path_join(marker, sizeof marker, dir, watch->trigger->marker, NULL) == MYR_OK &&
           files_exists(watch, marker);
}

static bool files_is_marker(const files_watch *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash != NULL ? slash + 1 : path, watch->trigger->marker) == 0;
}

/* One that was found: is it to be answered? *out gets its path then. */
static bool files_take(const myr_scheduler *s, const files_watch *watch, const char *path, job_stamp stamp,
                       files_pending *out)
{
    if (strchr(path, '\n') != NULL || strlen(path) >= MYR_PATH_BYTES_MAX) return false; /* a list has one per line */
    if (files_is_marker(watch, path) || files_is_known(watch, path, &stamp)) return false;
    const files_pending *before = files_pending_of(watch, path);
    *out = (files_pending){.path = myr_strdup(path),
                           .size_bytes = stamp.size_bytes,
                           .changed_ns = stamp.changed_ns,
                           .since_ns = s->mono_ns,
                           .first_ns = before != NULL ? before->first_ns : s->mono_ns};
    bool is_same = before != NULL && before->size_bytes == stamp.size_bytes && before->changed_ns == stamp.changed_ns;
    if (is_same) out->since_ns = before->since_ns;
    out->is_whole = watch->trigger->marker[0] != '\0'
                        ? files_has_marker(watch, path)
                        : s->mono_ns - out->since_ns >= watch->trigger->quiet_ms * FILES_NS_PER_MS;
    return out->path != NULL;
}

static bool files_take_local(const myr_scheduler *s, const files_watch *watch, const char *path, files_pending *out)
{
    job_stamp stamp;
    if (myr_job_stamp(path, &stamp, NULL) != MYR_OK || myr_io_is_dir(path)) return false;
    return files_take(s, watch, path, stamp, out);
}

static void files_set_pending(files_watch *watch, files_pending *pending, size_t count)
{
    files_free_pending(watch->pending, watch->pending_count);
    watch->pending = pending;
    watch->pending_count = count;
}

/* The newest list, as a look. */
static myr_rc files_look_listed(const myr_scheduler *s, files_watch *watch, myr_err *err)
{
    size_t wanted = 0, taken = 0;
    for (size_t i = 0; i < watch->found_count; i++)
        wanted += watch->found[i].is_wanted;
    if (wanted > FILES_FOUND_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%.200s: %zu objects, at most %d are looked at", watch->trigger->pattern, wanted,
                 FILES_FOUND_MAX);
    }
    files_pending *pending = myr_calloc(wanted + 1, sizeof *pending);
    if (pending == NULL) MYR_FAIL(err, NO_MEMORY, "%.200s: no memory", watch->trigger->pattern);
    for (size_t i = 0; i < watch->found_count; i++) {
        const job_found *found = &watch->found[i];
        const job_stamp stamp = {.size_bytes = found->size_bytes, .changed_ns = found->changed_ns};
        taken += found->is_wanted && files_take(s, watch, found->path, stamp, &pending[taken]) ? 1 : 0;
    }
    files_set_pending(watch, pending, taken);
    return MYR_OK;
}

static myr_rc files_look(const myr_scheduler *s, files_watch *watch, myr_err *err)
{
    if (watch->listing != NULL) return files_look_listed(s, watch, err);
    char pattern[MYR_PATH_BYTES_MAX];
    bool is_absolute = watch->trigger->pattern[0] == '/';
    glob_t found = {0};
    MYR_TRY(myr_path_join(pattern, sizeof pattern, is_absolute ? "/" : s->root,
                          is_absolute ? watch->trigger->pattern + 1 : watch->trigger->pattern, err));
    int code = glob(pattern, 0, NULL, &found); /* directories that can't be read hold nothing */
    size_t count = code == 0 ? found.gl_pathc : 0;
    files_pending *pending = myr_calloc(count + 1, sizeof *pending);
    size_t taken = 0;
    myr_rc rc = pending != NULL && code != GLOB_NOSPACE ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "%s: no memory", pattern);
    if (rc == MYR_OK && count > FILES_FOUND_MAX)
        rc = MYR_ERROR(err, TOO_LARGE, "%s: %zu files, at most %d are looked at", pattern, count, FILES_FOUND_MAX);
    for (size_t i = 0; rc == MYR_OK && i < count; i++)
        taken += files_take_local(s, watch, found.gl_pathv[i], &pending[taken]) ? 1 : 0;
    globfree(&found);
    if (rc != MYR_OK) {
        myr_free(pending);
        return rc;
    }
    files_set_pending(watch, pending, taken);
    return MYR_OK;
}

/* Let the system tell about the directory, if it is one without wildcards; it may come later, so this is tried anew. */
static void files_listen(myr_scheduler *s, files_watch *watch)
{
    char path[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX];
    bool is_absolute = watch->trigger->pattern[0] == '/';
    if (s->inotify_fd < 0 || watch->is_told || watch->listing != NULL) return;
    if (myr_path_join(path, sizeof path, is_absolute ? "/" : s->root, watch->trigger->pattern + (is_absolute ? 1 : 0),
                      NULL) != MYR_OK) {
        return;
    }
    myr_path_dir(path, dir, sizeof dir);
    if (strpbrk(dir, "*?[") != NULL) return;
    watch->is_told = inotify_add_watch(s->inotify_fd, dir, FILES_EVENTS) >= 0;
}

/* ---- answering ---- */

/* Which of the pending files are to be answered now: all, once all are whole; after a long time those that are. */
static size_t files_choose(const myr_scheduler *s, const files_watch *watch, size_t *out_chosen)
{
    size_t whole = 0;
    bool is_starving = false;
    int64_t patience_ns = (watch->trigger->quiet_ms + watch->trigger->poll_ms) * FILES_STARVE * FILES_NS_PER_MS;
    for (size_t i = 0; i < watch->pending_count; i++) {
        const files_pending *file = &watch->pending[i];
        is_starving = is_starving || (file->is_whole && s->mono_ns - file->first_ns > patience_ns);
        if (file->is_whole && whole < FILES_SET_MAX) out_chosen[whole++] = i;
    }
    bool is_all = whole == watch->pending_count || whole == FILES_SET_MAX || watch->trigger->marker[0] != '\0';
    return is_all || is_starving ? whole : 0;
}

/* Over paths, sizes and times: the same files are the same firing. */
static void files_key(const files_watch *watch, const size_t *chosen, size_t count, char out[MYR_FIRING_KEY_BYTES_MAX])
{
    myr_sha256 sha;
    char hex[MYR_SHA256_HEX_BYTES];
    myr_sha256_init(&sha);
    for (size_t i = 0; i < count; i++) {
        const files_pending *file = &watch->pending[chosen[i]];
        const int64_t numbers[] = {file->size_bytes, file->changed_ns};
        myr_sha256_add(&sha, file->path, strlen(file->path) + 1);
        myr_sha256_add(&sha, numbers, sizeof numbers);
    }
    myr_sha256_hex(&sha, hex);
    (void)snprintf(out, MYR_FIRING_KEY_BYTES_MAX, "files:%s", hex);
}

/*
 * A firing of files that still waits takes the new ones with it: it becomes COALESCED, and its files stand first in the
 * new one's list.
 */
static myr_rc files_merge(myr_scheduler *s, const char *job, const char *key, myr_map *seen, myr_buf *list,
                          myr_err *err)
{
    for (size_t i = 0; i < s->open_count; i++) {
        myr_firing before = s->open[i];
        bool done = false, is_one = strcmp(before.kind, "files") == 0 && strcmp(before.job, job) == 0;
        if (!is_one || before.state != MYR_FIRING_WAITING || strcmp(before.key, key) == 0) continue;
        if (strlen(before.detail) > MYR_FIRING_DETAIL_BYTES_MAX / 2) continue; /* large enough as it is */
        before.state = MYR_FIRING_COALESCED;
        before.ended_ms = s->now_ms;
        before.reason = "files came while it waited: they run together";
        MYR_TRY(myr_store_move(s->store, &before, MYR_FIRING_WAITING, &done, err));
        myr_str rest = myr_str_of(done ? before.detail : ""), path;
        while (myr_str_split(&rest, '\n', &path)) {
            if (path.size == 0 || myr_map_find(seen, path, NULL)) continue;
            MYR_TRY(myr_map_put(seen, path, 0, err));
            myr_buf_append(list, path.data, path.size);
            myr_buf_putc(list, '\n');
        }
    }
    return MYR_OK;
}

static myr_rc files_fire(myr_scheduler *s, files_watch *watch, const size_t *chosen, size_t count, myr_err *err)
{
    char key[MYR_FIRING_KEY_BYTES_MAX];
    MYR_AUTO(myr_buf) list = {0};
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    if (seen == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for files");
    files_key(watch, chosen, count, key);
    MYR_TRY(files_merge(s, watch->job->name, key, seen, &list, err));
    for (size_t i = 0; i < count; i++) {
        const files_pending *file = &watch->pending[chosen[i]];
        const store_file row = {.path = file->path, .size_bytes = file->size_bytes, .changed_ns = file->changed_ns};
        MYR_TRY(myr_store_file_put(s->store, watch->job->name, watch->trigger->pattern, &row, err));
        if (!myr_map_find(seen, myr_str_of(file->path), NULL)) myr_buf_printf(&list, "%s\n", file->path);
    }
    MYR_TRY(myr_buf_check(&list, err));
    const myr_firing firing = {.job = watch->job->name,
                               .key = key,
                               .kind = "files",
                               .state = MYR_FIRING_WAITING,
                               .logical_ms = s->now_ms,
                               .due_ms = s->now_ms,
                               .count = 1,
                               .created_ms = s->now_ms,
                               .detail = list.data};
    return myr_store_fire(s->store, &firing, NULL, err);
}

/* Answered files that are gone are forgotten when there are too many: one that comes back unchanged was answered. */
static myr_rc files_forget(myr_scheduler *s, files_watch *watch, myr_err *err)
{
    for (size_t i = 0; watch->known_count > FILES_FOUND_MAX && i < watch->known_count; i++) {
        const char *path = watch->known[i].path;
        if (files_exists(watch, path)) continue;
        MYR_TRY(myr_store_file_drop(s->store, watch->job->name, watch->trigger->pattern, path, err));
    }
    return MYR_OK;
}

/* As many as a firing's list holds. */
static size_t files_cut(const files_watch *watch, const size_t *chosen, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += strlen(watch->pending[chosen[i]].path) + 1;
        if (bytes > MYR_FIRING_DETAIL_BYTES_MAX / 2) return i;
    }
    return count;
}

static myr_rc files_answer(myr_scheduler *s, files_watch *watch, myr_err *err)
{
    size_t *chosen = myr_arena_calloc(s->arena, FILES_SET_MAX, sizeof *chosen);
    if (chosen == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for files");
    size_t count = files_cut(watch, chosen, files_choose(s, watch, chosen));
    if (count == 0) return MYR_OK;
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    myr_rc rc = files_fire(s, watch, chosen, count, err);
    if (rc == MYR_OK) rc = files_forget(s, watch, err);
    MYR_TRY(myr_store_end(s->store, rc, err));
    return files_load(s, watch, err);
}

/* The next look: soon while files are not whole yet. */
static void files_plan_look(const myr_scheduler *s, files_watch *watch)
{
    int64_t wait_ms = watch->trigger->poll_ms;
    bool has_quiet = watch->pending_count > 0 && watch->trigger->marker[0] == '\0';
    if (has_quiet && watch->trigger->quiet_ms < wait_ms) wait_ms = watch->trigger->quiet_ms;
    watch->look_ns = s->mono_ns + wait_ms * FILES_NS_PER_MS;
    if (watch->listing != NULL)
        myr_listing_pace(watch->listing, wait_ms > FILES_LIST_MIN_MS ? wait_ms : FILES_LIST_MIN_MS);
}

/* Whether it is worth a look: a list came, something was told, or it is time. */
static bool files_is_time(const myr_scheduler *s, files_watch *watch, myr_err *trouble)
{
    if (watch->listing != NULL) return myr_listing_take(watch->listing, &watch->found, &watch->found_count, trouble);
    return s->files_happened || s->mono_ns >= watch->look_ns;
}

/* A failure is said once, and again when it is another. */
static void files_say(files_watch *watch, const myr_err *why)
{
    if (strcmp(watch->last_trouble, why->message) == 0) return;
    (void)snprintf(watch->last_trouble, sizeof watch->last_trouble, "%s", why->message);
    myr_log_err(MYR_LOG_ERROR, "jobs", "files can't be looked at", why);
}

static myr_rc files_turn(myr_scheduler *s, files_watch *watch, myr_err *err)
{
    myr_err why = {0};
    if (!files_is_time(s, watch, &why)) return MYR_OK;
    files_listen(s, watch);
    files_plan_look(s, watch); /* whatever comes: a look that fails is not repeated at once */
    if (why.rc != MYR_OK || files_look(s, watch, &why) != MYR_OK) {
        files_say(watch, &why);
        return MYR_OK; /* one pattern's trouble is not the other jobs' */
    }
    watch->last_trouble[0] = '\0';
    if (watch->pending_count > 0) MYR_TRY(files_answer(s, watch, err));
    files_plan_look(s, watch);
    return MYR_OK;
}

myr_rc myr_scheduler_files(myr_scheduler *s, const myr_job_file *job, myr_err *err)
{
    for (uint32_t i = 0; i < job->trigger_count; i++) {
        files_watch *watch = NULL;
        if (job->triggers[i].kind != TRIGGER_FILES) continue;
        MYR_TRY(files_find(s, job, &job->triggers[i], &watch, err));
        MYR_TRY(files_turn(s, watch, err));
    }
    return MYR_OK;
}

int64_t myr_scheduler_files_next(const myr_scheduler *s)
{
    int64_t next_ns = INT64_MAX;
    for (const files_watch *watch = s->watches; watch != NULL; watch = watch->next) {
        bool is_paused = watch->look_ns <= s->mono_ns; /* else this turn has looked */
        if (watch->listing == NULL && !is_paused && watch->look_ns < next_ns) next_ns = watch->look_ns;
    }
    return next_ns;
}
