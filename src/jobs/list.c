/* The directory of jobs: its files in order of name, read anew where they changed; and what one says about its times.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/list.h"
#include "jobs/when.h"

#define LIST_CHAIN_MAX 16 /* jobs after one another that are followed */

typedef myr_job_file *list_job;
static void list_job_drop(list_job *job)
{
    myr_job_free(*job);
}

static bool list_is_job(const char *name)
{
    myr_str text = myr_str_of(name);
    return name[0] != '.' && (myr_str_ends_with(text, ".yaml") || myr_str_ends_with(text, ".yml"));
}

static int list_compare(const void *a, const void *b)
{
    const myr_job_file *const *x = a, *const *y = b;
    int order = strcmp((*x)->name, (*y)->name);
    return order != 0 ? order : strcmp((*x)->path, (*y)->path);
}

/* Two files of one name: neither is started, since nobody can tell which is meant. */
static void list_mark_twins(myr_job_list *list)
{
    for (size_t i = 1; i < list->count; i++) {
        myr_job_file *a = list->items[i - 1], *b = list->items[i];
        if (strcmp(a->name, b->name) != 0 || !b->is_usable) continue;
        a->is_usable = b->is_usable = false;
        (void)myr_err_set(&a->trouble, MYR_EXISTS, __FILE__, __LINE__, "%s: %s has the same name, '%s'", a->path,
                          b->path, a->name);
        (void)myr_err_set(&b->trouble, MYR_EXISTS, __FILE__, __LINE__, "%s: %s has the same name, '%s'", b->path,
                          a->path, a->name);
    }
}

static const myr_job_file *list_usable(const myr_job_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i]->is_usable && strcmp(list->items[i]->name, name) == 0) return list->items[i];
    }
    return NULL;
}

/* Does `job` start, over others, after the one named? Walks up; depth bounds what a cycle elsewhere would make endless.
 */
static bool list_follows(const myr_job_list *list, const myr_job_file *job, const char *name, size_t depth)
{
    for (uint32_t i = 0; depth > 0 && i < job->trigger_count; i++) {
        const job_trigger *trigger = &job->triggers[i];
        if (trigger->kind != TRIGGER_AFTER) continue;
        if (strcmp(trigger->job, name) == 0) return true;
        const myr_job_file *upstream = list_usable(list, trigger->job);
        if (upstream != NULL && list_follows(list, upstream, name, depth - 1)) return true;
    }
    return false;
}

/* Jobs that start one another in a circle would never stop. */
static void list_mark_circles(myr_job_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        myr_job_file *job = list->items[i];
        if (!job->is_usable || !list_follows(list, job, job->name, LIST_CHAIN_MAX)) continue;
        job->is_usable = false;
        (void)myr_err_set(&job->trouble, MYR_CONFLICT, __FILE__, __LINE__,
                          "%s: after: '%s' would start itself, over the jobs that it starts", job->path, job->name);
    }
}

/* Is the file as it was when the job of `before` was read? Then the job is taken out of it. */
static myr_job_file *list_take_same(myr_job_list *before, const char *path, const job_stamp *stamp)
{
    for (size_t i = 0; before != NULL && i < before->count; i++) {
        myr_job_file *job = before->items[i];
        if (job == NULL || strcmp(job->path, path) != 0) continue;
        bool is_certain = job->is_read || job->trouble.rc == MYR_BAD_INPUT; /* not a want of memory, say */
        if (!is_certain || memcmp(&job->stamp, stamp, sizeof *stamp) != 0) return NULL;
        if (job->is_read) job->trouble = (myr_err){0}; /* what is wrong with it among others is found out anew */
        job->is_usable = job->is_read;
        before->items[i] = NULL;
        return job;
    }
    return NULL;
}

/* A file that can't be read now is still the job that it was: its name may be what is broken. */
static void list_compare_with(const myr_job_list *before, myr_job_file *job)
{
    for (size_t i = 0; before != NULL && i < before->count; i++) {
        const myr_job_file *earlier = before->items[i];
        if (earlier == NULL || strcmp(earlier->path, job->path) != 0) continue;
        if (!job->is_usable) memcpy(job->name, earlier->name, sizeof job->name);
        job->is_edited = job->is_usable && earlier->is_usable;
    }
}

static myr_rc list_add(myr_job_list *list, const char *dir, const char *name, myr_job_list *before, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    job_stamp stamp;
    MYR_TRY(myr_path_join(path, sizeof path, dir, name, err));
    if (myr_job_stamp(path, &stamp, NULL) != MYR_OK || myr_io_is_dir(path))
        return MYR_OK; /* gone since it was listed */
    if (list->count == MYR_JOBS_MAX) MYR_FAIL(err, TOO_LARGE, "%s: more than %d jobs", dir, MYR_JOBS_MAX);
    myr_job_file *job = list_take_same(before, path, &stamp);
    if (job == NULL) {
        MYR_TRY(myr_job_read(path, &stamp, &job, err));
        list_compare_with(before, job);
    }
    list->items[list->count++] = job;
    return MYR_OK;
}

myr_rc myr_jobs_reload(const char *dir, myr_job_list *before, myr_job_list *out, myr_err *err)
{
    char **names = NULL;
    size_t name_count = 0;
    MYR_AUTO(myr_job_list) list = {0};
    MYR_TRY(myr_io_list(dir, &names, &name_count, err));
    list.items = myr_calloc(name_count + 1, sizeof(myr_job_file *));
    myr_rc rc = list.items != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "%s: no memory for its jobs", dir);
    for (size_t i = 0; rc == MYR_OK && i < name_count; i++) {
        if (list_is_job(names[i])) rc = list_add(&list, dir, names[i], before, err);
    }
    myr_names_free(names, name_count);
    MYR_TRY(rc);
    qsort(list.items, list.count, sizeof(myr_job_file *), list_compare);
    list_mark_twins(&list);
    list_mark_circles(&list);
    *out = list;
    list = (myr_job_list){0};
    return MYR_OK;
}

myr_rc myr_jobs_load(const char *dir, myr_job_list *out, myr_err *err)
{
    return myr_jobs_reload(dir, NULL, out, err);
}

void myr_jobs_free(myr_job_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        myr_job_free(list->items[i]);
    myr_free(list->items);
    *list = (myr_job_list){0};
}

const myr_job_file *myr_jobs_find(const myr_job_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i]->name, name) == 0) return list->items[i];
    }
    return NULL;
}

/* ---- one job ---- */

const char *myr_job_name(const myr_job_file *job)
{
    return job->name;
}

const char *myr_job_path(const myr_job_file *job)
{
    return job->path;
}

const char *myr_job_trouble(const myr_job_file *job)
{
    return job->is_usable ? NULL : job->trouble.message;
}

void myr_job_describe(const myr_job_file *job, myr_buf *out)
{
    const char *comma = "";
    if (job->words[0] != '\0') {
        myr_buf_puts(out, job->words);
        if (job->schedule.cron_count > 0) myr_buf_printf(out, " %s", myr_zone_name(job->schedule.zone));
        comma = ", ";
    }
    for (uint32_t i = 0; i < job->trigger_count; i++) {
        const job_trigger *trigger = &job->triggers[i];
        static const char *const words[] = {
            [TRIGGER_FILES] = "files", [TRIGGER_AFTER] = "after", [TRIGGER_MESSAGES] = "kafka"};
        const char *what = trigger->kind == TRIGGER_AFTER ? trigger->job : trigger->pattern;
        myr_buf_printf(out, "%s%s %s", comma, words[trigger->kind], what);
        comma = ", ";
    }
}

bool myr_job_next(const myr_job_file *job, int64_t after_ms, int64_t *out_ms)
{
    return job->is_usable && myr_schedule_has_times(&job->schedule) &&
           myr_schedule_next(&job->schedule, after_ms, out_ms);
}

const char *myr_job_time(const myr_job_file *job, int64_t unix_ms, char out[MYR_JOB_TIME_BYTES])
{
    if (job->schedule.zone == NULL) return myr_format_time(unix_ms, out);
    return myr_zone_format(job->schedule.zone, unix_ms, out);
}

myr_rc myr_job_parse_time(const myr_job_file *job, const char *text, int64_t *out_ms, myr_err *err)
{
    if (!job->is_usable) MYR_FAIL(err, BAD_INPUT, "%s", job->trouble.message);
    return myr_when_parse(job->schedule.zone, text, out_ms, err);
}

myr_rc myr_job_file_time(const char *path, const char *text, char out[MYR_JOB_TIME_BYTES], myr_err *err)
{
    MYR_AUTO(list_job) job = NULL;
    job_stamp stamp;
    int64_t time_ms = myr_clock_unix_ms();
    MYR_TRY(myr_job_stamp(path, &stamp, err));
    MYR_TRY(myr_job_read(path, &stamp, &job, err));
    if (!job->is_read) return myr_err_set(err, (myr_rc)job->trouble.rc, __FILE__, __LINE__, "%s", job->trouble.message);
    if (text != NULL) MYR_TRY(myr_job_parse_time(job, text, &time_ms, err));
    (void)myr_job_time(job, time_ms, out);
    return MYR_OK;
}

/* ---- a firing ---- */

void myr_job_put_time(myr_buf *out, const char *key, const myr_job_file *job, int64_t unix_ms)
{
    char time[MYR_JOB_TIME_BYTES];
    if (unix_ms == 0) {
        myr_buf_printf(out, ",\"%s\":null", key);
    } else {
        myr_buf_json_field(out, key, job != NULL ? myr_job_time(job, unix_ms, time) : myr_format_time(unix_ms, time));
    }
}

void myr_firing_put_json(const myr_firing *f, const myr_job_file *job, myr_buf *out)
{
    myr_buf_printf(out, "{\"id\":%lld,\"job\":\"%s\"", (long long)f->id, f->job);
    myr_buf_json_field(out, "trigger", f->kind);
    myr_buf_json_field(out, "state", myr_firing_state_name(f->state));
    myr_buf_json_field(out, "key", f->key);
    myr_job_put_time(out, "logical", job, f->logical_ms);
    myr_job_put_time(out, "due", job, f->due_ms);
    myr_job_put_time(out, "started", job, f->started_ms);
    myr_job_put_time(out, "ended", job, f->ended_ms);
    myr_buf_printf(out, ",\"count\":%lld,\"exit_code\":%lld,\"run\":", (long long)f->count, (long long)f->exit_code);
    if (f->run_id != 0) {
        myr_buf_printf(out, "%lld", (long long)f->run_id);
    } else {
        myr_buf_puts(out, "null");
    }
    myr_buf_json_field(out, "host", f->host);
    myr_buf_json_field(out, "reason", f->reason);
    myr_buf_json_field(out, "detail", f->detail);
    myr_buf_putc(out, '}');
}
