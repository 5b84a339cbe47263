/* `schedule:` and `triggers:` of a job file. The file's other keys are the batch's, which checks them when it runs. */
#include "jobs/job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "jobs/when.h"
#include "object/object.h"
#include "spec/spec.h"
#include "stream/stream.h"

#define JOB_QUIET_MS      10000
#define JOB_FILES_POLL_MS 10000
#define JOB_LIST_POLL_MS  60000 /* a list of an object store costs something */
#define JOB_TOLERANCE_MS  60000
#define JOB_DAY_MS        86400000LL
#define JOB_TOPIC_CHARS   "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* What one file's reading needs. */
typedef struct job_reader {
    const myr_spec *spec;
    myr_job_file *job;
} job_reader;

static myr_rc job_duration(const job_reader *r, const myr_spec_node *map, const char *key, int64_t min_ms,
                           int64_t max_ms, int64_t *out_ms, myr_err *err)
{
    const char *text = NULL;
    int64_t value = 0;
    MYR_TRY(myr_spec_text(r->spec, map, key, false, &text, err));
    if (text == NULL) return MYR_OK;
    if (!myr_parse_duration_ms(myr_str_of(text), &value) || value < min_ms || value > max_ms) {
        return myr_spec_fail(r->spec, myr_spec_find(map, key), err,
                             "%s '%.60s': a duration from %llds to %llds, such as 90s, 15m, 2h or 1d", key, text,
                             (long long)(min_ms / 1000), (long long)(max_ms / 1000));
    }
    *out_ms = value;
    return MYR_OK;
}

/* One of a NULL-terminated list of words, as its place in it. */
static myr_rc job_word(const job_reader *r, const myr_spec_node *map, const char *key, const char *const *words,
                       const char *list, int *out, myr_err *err)
{
    const char *text = NULL;
    MYR_TRY(myr_spec_text(r->spec, map, key, false, &text, err));
    if (text == NULL) return MYR_OK;
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    return myr_spec_fail(r->spec, myr_spec_find(map, key), err, "%s '%.60s' is not known: %s", key, text, list);
}

static myr_rc job_time(const job_reader *r, const myr_spec_node *map, const char *key, int64_t *out_ms, myr_err *err)
{
    const char *text = NULL;
    myr_err why = {0};
    MYR_TRY(myr_spec_text(r->spec, map, key, false, &text, err));
    if (text == NULL || myr_when_parse(r->job->schedule.zone, text, out_ms, &why) == MYR_OK) return MYR_OK;
    return myr_spec_fail(r->spec, myr_spec_find(map, key), err, "%s: %s", key, why.message);
}

/* ---- schedule ---- */

/* Of `schedule:`, which may be a line of cron or absent. */
static myr_rc job_zone(const job_reader *r, const myr_spec_node *schedule, myr_err *err)
{
    const char *name = "UTC";
    myr_err why = {0};
    bool is_map = schedule != NULL && schedule->kind == MYR_SPEC_MAP;
    if (is_map) MYR_TRY(myr_spec_text(r->spec, schedule, "timezone", false, &name, err));
    myr_rc rc = myr_zone_open(name, &r->job->schedule.zone, &why);
    if (rc == MYR_OK) return MYR_OK;
    if (rc != MYR_BAD_INPUT) { /* not the file's fault */
        *err = why;
        return rc;
    }
    const myr_spec_node *node = is_map ? myr_spec_find(schedule, "timezone") : NULL;
    return myr_spec_fail(r->spec, node != NULL ? node : myr_spec_root(r->spec), err, "%s", why.message);
}

/* One line of cron, or a list of them. */
static myr_rc job_crons(const job_reader *r, const myr_spec_node *node, myr_err *err)
{
    myr_schedule *schedule = &r->job->schedule;
    const myr_spec_node *const *items = node->kind == MYR_SPEC_LIST ? node->items : &node;
    uint32_t count = node->kind == MYR_SPEC_LIST ? node->count : 1;
    size_t used = 0;
    if (count == 0 || count > SCHEDULE_CRONS_MAX) {
        return myr_spec_fail(r->spec, node, err, "cron: %u expressions: 1 to %d", count, SCHEDULE_CRONS_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        myr_err why = {0};
        if (items[i]->kind != MYR_SPEC_SCALAR || items[i]->is_null) {
            return myr_spec_fail(r->spec, items[i], err, "cron: an expression of five fields, in quotes");
        }
        if (myr_cron_parse(myr_str_of(items[i]->text), &schedule->crons[i], &why) != MYR_OK)
            return myr_spec_fail(r->spec, items[i], err, "%s", why.message);
        int more =
            snprintf(r->job->words + used, sizeof r->job->words - used, "%s%s", i > 0 ? " | " : "", items[i]->text);
        if (more > 0 && used + (size_t)more < sizeof r->job->words) used += (size_t)more;
    }
    schedule->cron_count = count;
    return MYR_OK;
}

static myr_rc job_times(const job_reader *r, const myr_spec_node *map, myr_err *err)
{
    myr_schedule *schedule = &r->job->schedule;
    const myr_spec_node *cron = myr_spec_find(map, "cron");
    const char *every = NULL;
    MYR_TRY(job_time(r, map, "start", &schedule->start_ms, err));
    MYR_TRY(job_time(r, map, "end", &schedule->end_ms, err));
    if (schedule->end_ms <= schedule->start_ms)
        return myr_spec_fail(r->spec, myr_spec_find(map, "end"), err, "end: it is not after the start");
    if (cron != NULL && myr_spec_find(map, "every") != NULL)
        return myr_spec_fail(r->spec, cron, err, "cron and every: one of the two");
    if (cron != NULL) return job_crons(r, cron, err);
    MYR_TRY(job_duration(r, map, "every", SCHEDULE_EVERY_MIN_MS, SCHEDULE_EVERY_MAX_MS, &schedule->every_ms, err));
    MYR_TRY(myr_spec_text(r->spec, map, "every", false, &every, err));
    if (every == NULL) return MYR_OK;
    schedule->anchor_ms = schedule->start_ms != INT64_MIN ? schedule->start_ms : 0;
    (void)snprintf(r->job->words, sizeof r->job->words, "every %.40s", every);
    return MYR_OK;
}

static myr_rc job_policies(const job_reader *r, const myr_spec_node *map, myr_err *err)
{
    static const char *const catch_ups[] = {"last", "none", "all", NULL};
    static const char *const overlaps[] = {"skip", "queue", "cancel", NULL};
    myr_schedule *schedule = &r->job->schedule;
    int catch_up = CATCH_UP_LAST;
    MYR_TRY(job_word(r, map, "catch_up", catch_ups, "none, last or all", &catch_up, err));
    schedule->catch_up = (catch_up_policy)catch_up;
    int overlap = catch_up == CATCH_UP_ALL ? OVERLAP_QUEUE : OVERLAP_SKIP;
    MYR_TRY(job_word(r, map, "overlap", overlaps, "skip, queue or cancel", &overlap, err));
    schedule->overlap = (overlap_policy)overlap;
    if (catch_up == CATCH_UP_ALL && overlap == OVERLAP_CANCEL) {
        return myr_spec_fail(r->spec, myr_spec_find(map, "overlap"), err,
                             "overlap: cancel would end the runs that catch_up: all starts: queue or skip");
    }
    MYR_TRY(myr_spec_int(r->spec, map, "catch_up_max", false, 1, SCHEDULE_CATCH_UP_MAX, &schedule->catch_up_max, err));
    MYR_TRY(myr_spec_int(r->spec, map, "queue_max", false, 1, SCHEDULE_QUEUE_MAX, &schedule->queue_max, err));
    MYR_TRY(myr_spec_int(r->spec, map, "max_active_runs", false, 1, SCHEDULE_ACTIVE_MAX, &schedule->active_max, err));
    MYR_TRY(job_duration(r, map, "jitter", 0, SCHEDULE_JITTER_MAX_MS, &schedule->jitter_ms, err));
    return job_duration(r, map, "tolerance", 1000, JOB_DAY_MS, &schedule->tolerance_ms, err);
}

static myr_rc job_schedule(const job_reader *r, const myr_spec_node *node, myr_err *err)
{
    static const char *const keys[] = {
        "cron",         "every",   "timezone",  "start",           "end",       "jitter", "catch_up",
        "catch_up_max", "overlap", "queue_max", "max_active_runs", "tolerance", NULL};
    if (node->kind != MYR_SPEC_MAP) return job_crons(r, node, err); /* schedule: "30 2 * * *" */
    MYR_TRY(myr_spec_check_keys(r->spec, node, keys, err));
    MYR_TRY(job_times(r, node, err));
    return job_policies(r, node, err);
}

/* ---- triggers ---- */

static myr_rc job_files(const job_reader *r, const myr_spec_node *map, job_trigger *out, myr_err *err)
{
    static const char *const keys[] = {"files", "quiet", "marker", "poll", NULL};
    const char *pattern = NULL, *marker = "", *key = NULL;
    myr_err why = {0};
    MYR_TRY(myr_spec_check_keys(r->spec, map, keys, err));
    MYR_TRY(myr_spec_text(r->spec, map, "files", true, &pattern, err));
    MYR_TRY(myr_spec_text(r->spec, map, "marker", false, &marker, err));
    if (pattern[0] == '\0' || strlen(pattern) > JOB_PATTERN_BYTES_MAX) {
        return myr_spec_fail(r->spec, myr_spec_find(map, "files"), err, "files: a path or a glob of 1 to %d bytes",
                             JOB_PATTERN_BYTES_MAX);
    }
    if (strstr(pattern, "://") != NULL && myr_object_key(pattern, &key, &why) != MYR_OK)
        return myr_spec_fail(r->spec, myr_spec_find(map, "files"), err, "files: %s", why.message);
    if (strlen(marker) > MYR_NAME_BYTES_MAX || strchr(marker, '/') != NULL) {
        return myr_spec_fail(r->spec, myr_spec_find(map, "marker"), err,
                             "marker '%.60s': the name of a file beside the others, such as _SUCCESS", marker);
    }
    *out = (job_trigger){.kind = TRIGGER_FILES, .quiet_ms = JOB_QUIET_MS, .poll_ms = JOB_FILES_POLL_MS};
    memcpy(out->pattern, pattern, strlen(pattern) + 1);
    memcpy(out->marker, marker, strlen(marker) + 1);
    MYR_TRY(job_duration(r, map, "quiet", 0, JOB_DAY_MS, &out->quiet_ms, err));
    if (myr_object_is_uri(pattern)) out->poll_ms = JOB_LIST_POLL_MS;
    return job_duration(r, map, "poll", 1000, JOB_DAY_MS, &out->poll_ms, err);
}

static myr_rc job_after(const job_reader *r, const myr_spec_node *map, job_trigger *out, myr_err *err)
{
    static const char *const keys[] = {"after", "on", NULL};
    static const char *const ends[] = {"completed", "failed", "ended", NULL};
    const char *upstream = NULL;
    int end = 0;
    MYR_TRY(myr_spec_check_keys(r->spec, map, keys, err));
    MYR_TRY(myr_spec_text(r->spec, map, "after", true, &upstream, err));
    MYR_TRY(job_word(r, map, "on", ends, "completed, failed or ended (either)", &end, err));
    if (!myr_name_is_valid(myr_str_of(upstream)))
        return myr_spec_fail(r->spec, myr_spec_find(map, "after"), err, "after '%.60s': the name of a job", upstream);
    *out = (job_trigger){.kind = TRIGGER_AFTER, .on_completed = end != 1, .on_failed = end != 0};
    memcpy(out->job, upstream, strlen(upstream) + 1);
    return MYR_OK;
}

/* Relative to the job's file. */
static myr_rc job_properties(const job_reader *r, const myr_spec_node *map, job_trigger *out, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    const char *path = NULL;
    MYR_TRY(myr_spec_text(r->spec, map, "properties", false, &path, err));
    if (path == NULL) return MYR_OK;
    bool is_absolute = path[0] == '/';
    myr_path_dir(r->job->path, dir, sizeof dir);
    return myr_path_join(out->properties, sizeof out->properties, is_absolute ? "/" : dir, path + (is_absolute ? 1 : 0),
                         err);
}

static myr_rc job_messages(const job_reader *r, const myr_spec_node *item, job_trigger *out, myr_err *err)
{
    static const char *const outer[] = {"kafka", NULL};
    static const char *const keys[] = {"topic", "brokers", "quiet", "poll", "properties", NULL};
    const myr_spec_node *map = myr_spec_find(item, "kafka");
    const char *topic = NULL, *brokers = "127.0.0.1:9092";
    MYR_TRY(myr_spec_check_keys(r->spec, item, outer, err));
    MYR_TRY(myr_spec_check_keys(r->spec, map, keys, err));
    MYR_TRY(myr_spec_text(r->spec, map, "topic", true, &topic, err));
    MYR_TRY(myr_spec_text(r->spec, map, "brokers", false, &brokers, err));
    if (strlen(topic) > MYR_STREAM_TOPIC_MAX || strspn(topic, JOB_TOPIC_CHARS) != strlen(topic)) {
        return myr_spec_fail(r->spec, myr_spec_find(map, "topic"), err,
                             "topic '%.60s': 1 to %d letters, digits, '.', '_', '-'", topic, MYR_STREAM_TOPIC_MAX);
    }
    if (strlen(brokers) > JOB_PATTERN_BYTES_MAX) {
        return myr_spec_fail(r->spec, myr_spec_find(map, "brokers"), err,
                             "brokers: HOST:PORT, commas between them, at most %d bytes", JOB_PATTERN_BYTES_MAX);
    }
    for (const job_trigger *other = r->job->triggers; other < out; other++) {
        if (other->kind != TRIGGER_MESSAGES || strcmp(other->pattern, topic) != 0) continue;
        return myr_spec_fail(r->spec, myr_spec_find(map, "topic"), err, "topic '%s': another trigger has it", topic);
    }
    *out = (job_trigger){.kind = TRIGGER_MESSAGES, .quiet_ms = JOB_QUIET_MS, .poll_ms = JOB_FILES_POLL_MS};
    memcpy(out->pattern, topic, strlen(topic) + 1);
    memcpy(out->brokers, brokers, strlen(brokers) + 1);
    MYR_TRY(job_duration(r, map, "quiet", 0, JOB_DAY_MS, &out->quiet_ms, err));
    MYR_TRY(job_duration(r, map, "poll", 1000, JOB_DAY_MS, &out->poll_ms, err));
    return job_properties(r, map, out, err);
}

static myr_rc job_triggers(const job_reader *r, const myr_spec_node *node, myr_err *err)
{
    if (node->kind != MYR_SPEC_LIST || node->count == 0 || node->count > JOB_TRIGGERS_MAX) {
        return myr_spec_fail(r->spec, node, err,
                             "triggers: a list of 1 to %d, each with files:, after: or kafka:", JOB_TRIGGERS_MAX);
    }
    r->job->triggers = myr_calloc(node->count, sizeof *r->job->triggers);
    if (r->job->triggers == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for triggers");
    for (uint32_t i = 0; i < node->count; i++) {
        const myr_spec_node *item = node->items[i];
        job_trigger *trigger = &r->job->triggers[i];
        bool is_map = item->kind == MYR_SPEC_MAP;
        if (is_map && myr_spec_find(item, "files") != NULL) {
            MYR_TRY(job_files(r, item, trigger, err));
        } else if (is_map && myr_spec_find(item, "after") != NULL) {
            MYR_TRY(job_after(r, item, trigger, err));
        } else if (is_map && myr_spec_find(item, "kafka") != NULL) {
            MYR_TRY(job_messages(r, item, trigger, err));
        } else {
            return myr_spec_fail(r->spec, item, err,
                                 "a trigger has files: (a path or glob), after: (a job) or kafka: (a topic)");
        }
        r->job->trigger_count = i + 1;
    }
    return MYR_OK;
}

/* ---- the file ---- */

/* Without `name:` it is the file's, without its ending. */
static myr_rc job_name(const job_reader *r, const myr_spec_node *root, myr_err *err)
{
    const char *name = r->job->name;
    MYR_TRY(myr_spec_text(r->spec, root, "name", false, &name, err));
    if (!myr_name_is_valid(myr_str_of(name))) {
        const myr_spec_node *node = myr_spec_find(root, "name");
        return myr_spec_fail(r->spec, node != NULL ? node : root, err,
                             "name '%.100s': 1 to %d letters, digits, '.', '_', '-', the first a letter or digit", name,
                             MYR_NAME_BYTES_MAX);
    }
    memmove(r->job->name, name, strlen(name) + 1); /* it may be the same */
    return MYR_OK;
}

static myr_rc job_fill(myr_job_file *job, myr_err *err)
{
    MYR_AUTO(myr_spec_ptr) spec = NULL;
    MYR_TRY(myr_spec_load(job->path, &spec, err));
    const myr_spec_node *root = myr_spec_root(spec);
    const job_reader reader = {.spec = spec, .job = job};
    if (root->kind != MYR_SPEC_MAP) return myr_spec_fail(spec, root, err, "a job is a map: fleet, input, output, …");
    MYR_TRY(job_name(&reader, root, err));
    const myr_spec_node *schedule = myr_spec_find(root, "schedule"), *triggers = myr_spec_find(root, "triggers");
    MYR_TRY(job_zone(&reader, schedule, err));
    if (schedule != NULL) MYR_TRY(job_schedule(&reader, schedule, err));
    return triggers != NULL ? job_triggers(&reader, triggers, err) : MYR_OK;
}

/* The file's name without its ending, cut to a name's length. */
static void job_stem(const char *path, char out[MYR_NAME_BYTES_MAX + 1])
{
    const char *slash = strrchr(path, '/'), *base = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t size = dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
    if (size > MYR_NAME_BYTES_MAX) size = MYR_NAME_BYTES_MAX;
    memcpy(out, base, size);
    out[size] = '\0';
}

myr_rc myr_job_stamp(const char *path, job_stamp *out, myr_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return myr_err_set(err, myr_rc_from_errno(errno), __FILE__, __LINE__, "%s: %s", path, strerror(errno));
    *out = (job_stamp){.inode = (int64_t)st.st_ino,
                       .size_bytes = st.st_size,
                       .changed_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec};
    return MYR_OK;
}

myr_rc myr_job_read(const char *path, const job_stamp *stamp, myr_job_file **out, myr_err *err)
{
    myr_job_file *job = myr_calloc(1, sizeof *job);
    char *own_path = myr_strdup(path);
    if (job == NULL || own_path == NULL) {
        myr_free(job);
        myr_free(own_path);
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for a job", path);
    }
    job->path = own_path;
    job->stamp = *stamp;
    job->schedule = (myr_schedule){.start_ms = INT64_MIN,
                                   .end_ms = INT64_MAX,
                                   .tolerance_ms = JOB_TOLERANCE_MS,
                                   .catch_up_max = 10,
                                   .queue_max = 10,
                                   .active_max = 1};
    job_stem(path, job->name);
    job->is_read = job->is_usable = job_fill(job, &job->trouble) == MYR_OK;
    *out = job;
    return MYR_OK;
}

void myr_job_free(myr_job_file *job)
{
    if (job == NULL) return;
    myr_schedule_fini(&job->schedule);
    myr_free(job->triggers);
    myr_free(job->path);
    myr_free(job);
}
