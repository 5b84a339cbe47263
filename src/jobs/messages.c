/*
 * `kafka:`: new messages of a topic become one firing, when the topic has been quiet for a while. What was answered is
 * a place in the topic, kept in the store and moved in the transaction that makes the firing: no message starts two
 * runs, and none is missed while nobody looks. Each trigger has a thread that asks the brokers, so that one that is
 * away keeps nobody else waiting; it decides nothing, and knows no store.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/scheduler.h"
#include "stream/stream.h"

#define MESSAGES_LOOK_MS        2000 /* how long brokers may take to answer; a close waits for that */
#define MESSAGES_STARVE         10   /* times the quiet period: then a topic that never rests is answered too */
#define MESSAGES_STEP_MIN_MS    200  /* between two looks while there are new ones */
#define MESSAGES_NS_PER_MS      1000000LL
#define MESSAGES_PROPERTIES_MAX 64
#define MESSAGES_KEY_PART       90 /* bytes of topic and place that a key shows as they are */
#define MESSAGES_PATTERN_BYTES  (MYR_STREAM_TOPIC_MAX + 8)

/* What a look found. */
typedef struct messages_look {
    myr_buf place;
    int64_t count; /* that came since the place that it was asked from */
    myr_err trouble;
} messages_look;

typedef struct messages_watch {
    struct messages_watch *next;
    myr_scheduler *scheduler; /* to be woken */
    const myr_job_file *job;
    const job_trigger *trigger;
    myr_arena *arena;
    myr_stream_link link;
    myr_thread thread;
    bool is_started;
    /* of the scheduler's thread */
    myr_buf answered;          /* the place up to which all is answered; empty: none yet */
    myr_buf last;              /* the newest place, and since when it is that */
    int64_t last_ns, first_ns; /* monotonic; first_ns: since when there is something new, 0: there is not */
    char last_trouble[sizeof(myr_err)];
    /* between the two */
    myr_mutex mutex; /* guards what follows */
    myr_cond changed;
    bool stop, is_new;
    myr_buf since;
    messages_look look;
} messages_watch;

static void messages_pattern(const messages_watch *watch, char out[MESSAGES_PATTERN_BYTES])
{
    (void)snprintf(out, MESSAGES_PATTERN_BYTES, "kafka:%.*s", MYR_STREAM_TOPIC_MAX, watch->trigger->pattern);
}

static myr_rc messages_copy(myr_buf *to, const myr_buf *from, myr_err *err)
{
    myr_buf_clear(to);
    if (from->size > 0) myr_buf_append(to, from->data, from->size);
    return myr_buf_check(to, err);
}

/* ---- the thread that asks ---- */

static void messages_ask(messages_watch *watch, myr_stream_watch **stream, const char *since, messages_look *out)
{
    if (*stream == NULL &&
        myr_stream_watch_open(&watch->link, watch->trigger->pattern, stream, &out->trouble) != MYR_OK)
        return;
    MYR_IGNORE(myr_stream_watch_look(*stream, since, MESSAGES_LOOK_MS, &out->count, &out->place, &out->trouble));
}

/* Sleeps until the next look. Called and left with the mutex held. */
static void messages_rest(messages_watch *watch)
{
    int64_t wait_ms = watch->trigger->poll_ms;
    if (watch->look.count > 0 && watch->trigger->quiet_ms < wait_ms) wait_ms = watch->trigger->quiet_ms;
    if (wait_ms < MESSAGES_STEP_MIN_MS) wait_ms = MESSAGES_STEP_MIN_MS;
    while (!watch->stop && myr_cond_wait_ms(&watch->changed, &watch->mutex, wait_ms))
        continue; /* waked for another reason: as long again, which does no harm */
}

static void *messages_main(void *arg)
{
    messages_watch *watch = arg;
    myr_stream_watch *stream = NULL;
    MYR_AUTO(myr_buf) since = {0};
    myr_mutex_lock(&watch->mutex);
    while (!watch->stop) {
        messages_look look = {0};
        myr_err err = {0};
        bool has_since = messages_copy(&since, &watch->since, &err) == MYR_OK;
        myr_mutex_unlock(&watch->mutex);
        if (has_since) messages_ask(watch, &stream, since.size > 0 ? since.data : "", &look);
        if (!has_since) look.trouble = err;
        myr_mutex_lock(&watch->mutex);
        myr_buf_fini(&watch->look.place);
        watch->look = look;
        watch->is_new = true;
        myr_scheduler_wake(watch->scheduler);
        messages_rest(watch);
    }
    myr_mutex_unlock(&watch->mutex);
    myr_stream_watch_close(stream);
    return NULL;
}

/* ---- life ---- */

static void messages_free(messages_watch *watch)
{
    myr_buf_fini(&watch->answered);
    myr_buf_fini(&watch->last);
    myr_buf_fini(&watch->since);
    myr_buf_fini(&watch->look.place);
    myr_arena_free(watch->arena);
    myr_cond_fini(&watch->changed);
    myr_mutex_fini(&watch->mutex);
    myr_free(watch);
}

void myr_scheduler_messages_close(myr_scheduler *s)
{
    for (messages_watch *watch = s->messages; watch != NULL; watch = watch->next) {
        myr_mutex_lock(&watch->mutex);
        watch->stop = true;
        myr_cond_broadcast(&watch->changed);
        myr_mutex_unlock(&watch->mutex);
    }
    while (s->messages != NULL) {
        messages_watch *watch = s->messages;
        s->messages = watch->next;
        if (watch->is_started) myr_thread_join(watch->thread);
        messages_free(watch);
    }
}

/* What was answered, from the store: a row per partition. */
static myr_rc messages_load(myr_scheduler *s, messages_watch *watch, myr_err *err)
{
    char pattern[MESSAGES_PATTERN_BYTES];
    store_file *rows = NULL;
    size_t count = 0;
    messages_pattern(watch, pattern);
    MYR_TRY(myr_store_files(s->store, s->arena, watch->job->name, pattern, &rows, &count, err));
    for (size_t i = 0; i < count; i++)
        myr_buf_printf(&watch->answered, "%s%s:%lld", i > 0 ? "," : "", rows[i].path, (long long)rows[i].size_bytes);
    MYR_TRY(myr_buf_check(&watch->answered, err));
    return messages_copy(&watch->since, &watch->answered, err);
}

/* A file of properties that can't be read is told, and nobody is asked. */
static myr_rc messages_begin(myr_scheduler *s, messages_watch *watch, myr_err *err)
{
    const job_trigger *trigger = watch->trigger;
    myr_stream_property *properties = NULL;
    watch->arena = myr_arena_new(0);
    if (watch->arena != NULL) properties = myr_arena_calloc(watch->arena, MESSAGES_PROPERTIES_MAX, sizeof *properties);
    if (properties == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a trigger");
    watch->link = (myr_stream_link){.brokers = trigger->brokers, .properties = properties};
    MYR_TRY(messages_load(s, watch, err));
    myr_rc rc = MYR_OK;
    if (trigger->properties[0] != '\0') {
        rc = myr_stream_properties_load(trigger->properties, watch->arena, MESSAGES_PROPERTIES_MAX, properties,
                                        &watch->link.property_count, &watch->look.trouble);
    }
    watch->is_new = rc != MYR_OK;
    if (rc != MYR_OK) return MYR_OK;
    MYR_TRY(myr_thread_start(&watch->thread, "messages", messages_main, watch, err));
    watch->is_started = true;
    return MYR_OK;
}

static myr_rc messages_find(myr_scheduler *s, const myr_job_file *job, const job_trigger *trigger, messages_watch **out,
                            myr_err *err)
{
    for (messages_watch *watch = s->messages; watch != NULL; watch = watch->next) {
        if (watch->trigger != trigger) continue;
        *out = watch;
        return MYR_OK;
    }
    messages_watch *watch = myr_calloc(1, sizeof *watch);
    if (watch == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a trigger");
    watch->scheduler = s;
    watch->job = job;
    watch->trigger = trigger;
    myr_mutex_init(&watch->mutex);
    myr_cond_init(&watch->changed);
    myr_rc rc = messages_begin(s, watch, err);
    if (rc != MYR_OK) {
        messages_free(watch);
        return rc;
    }
    watch->next = s->messages;
    s->messages = watch;
    *out = watch;
    return MYR_OK;
}

/* ---- a firing ---- */

/* "0:15,1:20", one after the other; false: no more. */
static bool messages_next(myr_str *rest, int64_t *out_partition, int64_t *out_offset)
{
    myr_str part, number;
    if (rest->size == 0 || !myr_str_split(rest, ',', &part)) return false;
    bool is_right = myr_str_split(&part, ':', &number) && myr_parse_int64(number, out_partition) &&
                    myr_parse_int64(part, out_offset);
    MYR_ASSERT(is_right); /* stream wrote it, or checked it when it counted from there */
    return true;
}

/* Where a partition of a place is; 0: it is not in it, so that all that it has is new. */
static int64_t messages_offset(const myr_buf *place, int64_t wanted)
{
    myr_str rest = myr_str_make(place->data, place->size);
    int64_t partition = 0, offset = 0;
    while (messages_next(&rest, &partition, &offset)) {
        if (partition == wanted) return offset;
    }
    return 0;
}

/* Each partition that has moved: into the store, and as a line "partition first past" of what the run is told. */
static myr_rc messages_move(myr_scheduler *s, messages_watch *watch, bool is_first, myr_buf *detail, myr_err *err)
{
    char pattern[MESSAGES_PATTERN_BYTES], number[24];
    myr_str rest = myr_str_make(watch->last.data, watch->last.size);
    int64_t partition = 0, past = 0;
    messages_pattern(watch, pattern);
    while (messages_next(&rest, &partition, &past)) {
        int64_t first = messages_offset(&watch->answered, partition);
        if (first == past && !is_first) continue;
        if (first > past) first = 0; /* the topic was made anew */
        (void)snprintf(number, sizeof number, "%lld", (long long)partition);
        const store_file row = {.path = number, .size_bytes = past};
        MYR_TRY(myr_store_file_put(s->store, watch->job->name, pattern, &row, err));
        myr_buf_printf(detail, "%lld %lld %lld\n", (long long)partition, (long long)first, (long long)past);
    }
    return myr_buf_check(detail, err);
}

/* Topic and the place that it had reached; a long one by its sum. Again: it was reached before, by a topic of the same
 * name. */
static void messages_key(const myr_scheduler *s, const messages_watch *watch, bool again,
                         char out[MYR_FIRING_KEY_BYTES_MAX])
{
    char hex[MYR_SHA256_HEX_BYTES], after[32] = "";
    myr_sha256 sha;
    const char *topic = watch->trigger->pattern, *place = watch->last.data;
    if (again) (void)snprintf(after, sizeof after, "@%lld", (long long)s->now_ms);
    if (strlen(topic) <= MESSAGES_KEY_PART && watch->last.size <= MESSAGES_KEY_PART) {
        (void)snprintf(out, MYR_FIRING_KEY_BYTES_MAX, "message:%.*s:%.*s%s", MESSAGES_KEY_PART, topic,
                       MESSAGES_KEY_PART, place, after);
        return;
    }
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, topic, strlen(topic) + 1);
    myr_sha256_add(&sha, place, watch->last.size);
    myr_sha256_hex(&sha, hex);
    (void)snprintf(out, MYR_FIRING_KEY_BYTES_MAX, "message:%s%s", hex, after);
}

static myr_rc messages_fire(myr_scheduler *s, messages_watch *watch, bool is_first, myr_err *err)
{
    char key[MYR_FIRING_KEY_BYTES_MAX];
    MYR_AUTO(myr_buf) detail = {0};
    bool is_new = false;
    MYR_TRY(messages_move(s, watch, is_first, &detail, err));
    if (is_first) return MYR_OK;
    for (int i = 0; i < 2 && !is_new; i++) {
        messages_key(s, watch, i > 0, key);
        const myr_firing firing = {.job = watch->job->name,
                                   .key = key,
                                   .kind = "message",
                                   .state = MYR_FIRING_WAITING,
                                   .logical_ms = s->now_ms,
                                   .due_ms = s->now_ms,
                                   .count = 1,
                                   .created_ms = s->now_ms,
                                   .detail = detail.data};
        MYR_TRY(myr_store_fire(s->store, &firing, &is_new, err));
    }
    return MYR_OK;
}

/* In one transaction; then the thread counts from there. */
static myr_rc messages_answer(myr_scheduler *s, messages_watch *watch, bool is_first, myr_err *err)
{
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    MYR_TRY(myr_store_end(s->store, messages_fire(s, watch, is_first, err), err));
    MYR_TRY(messages_copy(&watch->answered, &watch->last, err));
    watch->first_ns = 0;
    myr_mutex_lock(&watch->mutex);
    myr_rc rc = messages_copy(&watch->since, &watch->answered, err);
    watch->look.count = 0;
    myr_mutex_unlock(&watch->mutex);
    return rc;
}

/* ---- a turn ---- */

/* A failure is said once, and again when it is another. */
static void messages_say(messages_watch *watch, const myr_err *why)
{
    if (strcmp(watch->last_trouble, why->message) == 0) return;
    (void)snprintf(watch->last_trouble, sizeof watch->last_trouble, "%s", why->message);
    myr_log_err(MYR_LOG_ERROR, "jobs", "a topic can't be looked at", why);
}

/* Messages that come while a firing of them waits are the next one's. */
static bool messages_is_waiting(const myr_scheduler *s, const messages_watch *watch)
{
    for (size_t i = 0; i < s->open_count; i++) {
        const myr_firing *open = &s->open[i];
        if (open->state == MYR_FIRING_WAITING && strcmp(open->kind, "message") == 0 &&
            strcmp(open->job, watch->job->name) == 0)
            return true;
    }
    return false;
}

/* What the thread has found since the last turn. *out_count < 0: nothing. */
static myr_rc messages_take(const myr_scheduler *s, messages_watch *watch, int64_t *out_count, myr_err *err)
{
    MYR_AUTO(myr_buf) place = {0};
    myr_mutex_lock(&watch->mutex);
    bool is_new = watch->is_new;
    myr_err trouble = watch->look.trouble;
    int64_t count = watch->look.count;
    myr_rc rc = messages_copy(&place, &watch->look.place, err);
    watch->is_new = false;
    myr_mutex_unlock(&watch->mutex);
    *out_count = -1;
    MYR_TRY(rc);
    if (!is_new) return MYR_OK;
    if (trouble.rc != MYR_OK) {
        messages_say(watch, &trouble);
        return MYR_OK;
    }
    watch->last_trouble[0] = '\0';
    bool is_same = place.size == watch->last.size && memcmp(place.data, watch->last.data, place.size) == 0;
    if (!is_same) {
        MYR_TRY(messages_copy(&watch->last, &place, err));
        watch->last_ns = s->mono_ns;
    }
    *out_count = count;
    return MYR_OK;
}

static myr_rc messages_turn(myr_scheduler *s, messages_watch *watch, myr_err *err)
{
    int64_t count = 0, quiet_ns = watch->trigger->quiet_ms * MESSAGES_NS_PER_MS;
    MYR_TRY(messages_take(s, watch, &count, err));
    if (count < 0) return MYR_OK;
    if (watch->answered.size == 0) return messages_answer(s, watch, true, err); /* from here on they count */
    if (count == 0) return MYR_OK;
    if (watch->first_ns == 0) watch->first_ns = s->mono_ns;
    bool is_quiet = s->mono_ns - watch->last_ns >= quiet_ns;
    bool is_starving = s->mono_ns - watch->first_ns >= quiet_ns * MESSAGES_STARVE;
    if ((!is_quiet && !is_starving) || messages_is_waiting(s, watch)) return MYR_OK;
    return messages_answer(s, watch, false, err);
}

myr_rc myr_scheduler_messages(myr_scheduler *s, const myr_job_file *job, myr_err *err)
{
    for (uint32_t i = 0; i < job->trigger_count; i++) {
        messages_watch *watch = NULL;
        if (job->triggers[i].kind != TRIGGER_MESSAGES) continue;
        MYR_TRY(messages_find(s, job, &job->triggers[i], &watch, err));
        MYR_TRY(messages_turn(s, watch, err));
    }
    return MYR_OK;
}
