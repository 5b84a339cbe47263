/* The scheduler on a clock that is moved by hand: each time once, through changes of clocks, jumps and absences; what
 * overlaps, waits, is asked for, follows. Runs are real processes of a stub. */
#include "jobs_fixture.h"

#include "jobs/when.h"

static void hours(place *p, int count)
{
    for (int i = 0; i < count; i++) {
        myr_clock_advance_ms(HOUR_MS);
        place_settle(p);
    }
}

TEST(each_time_runs_once_through_a_change_of_clocks)
{
    place p;
    place_init(&p, at_ms(2026, 3, 27, 12, 0));
    place_write(&p, "jobs/nightly.yaml", "schedule: {cron: '0 2 * * *', timezone: Europe/Berlin}\n");
    place_settle(&p);
    hours(&p, 96);
    EXPECT_STR(place_ran(&p), "nightly schedule 2026-03-28T02:00:00+01:00\n"
                              "nightly schedule 2026-03-29T03:00:00+02:00\n"
                              "nightly schedule 2026-03-30T02:00:00+02:00\n"
                              "nightly schedule 2026-03-31T02:00:00+02:00\n");
    place_forget_ran(&p);
    myr_clock_advance_ms(at_ms(2026, 10, 24, 12, 0) - myr_clock_unix_ms());
    place_settle(&p);
    place_forget_ran(&p);
    hours(&p, 40);
    EXPECT_STR(place_ran(&p), "nightly schedule 2026-10-25T02:00:00+02:00\n"
                              "nightly schedule 2026-10-26T02:00:00+01:00\n");
    place_fini(&p);
}

TEST(what_runs_and_how_it_ends_is_recorded)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 0));
    place_write(&p, "jobs/hourly.yaml", "schedule: '0 * * * *'\n");
    place_settle(&p);
    place_write(&p, "hold", "");
    myr_clock_advance_ms(HOUR_MS);
    place_running(&p, 1);
    myr_firing firing = place_last(&p);
    EXPECT_INT(firing.run_id, 1000 + firing.id);
    EXPECT(firing.pid > 0);
    EXPECT_INT(firing.logical_ms, at_ms(2026, 11, 30, 13, 0));
    place_remove(&p, "hold");
    place_settle(&p);
    firing = place_last(&p);
    EXPECT_INT(firing.state, MYR_FIRING_COMPLETED);
    EXPECT_INT(firing.run_id, 1000 + firing.id);
    place_write(&p, "code", "3");
    hours(&p, 1);
    firing = place_last(&p);
    EXPECT_INT(firing.state, MYR_FIRING_FAILED);
    EXPECT_INT(firing.exit_code, 3);
    EXPECT_STR(firing.reason, "exit code 3: it went wrong");
    place_remove(&p, "code");
    place_remove(&p, "stub");
    hours(&p, 1);
    firing = place_last(&p);
    EXPECT_INT(firing.state, MYR_FIRING_FAILED);
    EXPECT_HAS(firing.reason, "can't be run");
    place_fini(&p);
}

/* ---- what was missed ---- */

/* Nobody is there from 13:00 to 17:30; the job is due each hour. */
static void absence(place *p, const char *schedule)
{
    char text[256];
    place_init(p, at_ms(2026, 11, 30, 12, 30));
    snprintf(text, sizeof text, "schedule: {cron: '0 * * * *', %s}\n", schedule);
    place_write(p, "jobs/hourly.yaml", text);
    place_settle(p);
    myr_clock_advance_ms(30 * MINUTE_MS);
    place_settle(p);
    myr_scheduler_close(p->scheduler);
    place_forget_ran(p);
    myr_clock_advance_ms(4 * HOUR_MS + 30 * MINUTE_MS);
    place_open_scheduler(p);
    for (int i = 0; i < 8; i++)
        place_settle(p);
}

TEST(catch_up_last_runs_the_newest)
{
    place p;
    absence(&p, "catch_up: last");
    EXPECT_STR(place_ran(&p), "hourly catch-up 2026-11-30T17:00:00+00:00\n");
    EXPECT_INT(place_count(&p, MYR_FIRING_MISSED), 1);
    myr_firing *all = NULL;
    size_t count = place_firings(&p, false, &all);
    for (size_t i = 0; i < count; i++) {
        if (all[i].state != MYR_FIRING_MISSED) continue;
        EXPECT_INT(all[i].count, 3);
        EXPECT_HAS(all[i].reason, "due 2026-11-30T14:00:00+00:00 to 2026-11-30T16:00:00+00:00");
        EXPECT_HAS(all[i].reason, "catch_up: last");
    }
    myr_clock_advance_ms(30 * MINUTE_MS);
    place_settle(&p);
    EXPECT_HAS(place_ran(&p), "hourly schedule 2026-11-30T18:00:00+00:00\n");
    place_fini(&p);
}

TEST(catch_up_none_runs_nothing)
{
    place p;
    absence(&p, "catch_up: none");
    EXPECT_STR(place_ran(&p), "");
    myr_firing firing = place_last(&p);
    EXPECT_INT(firing.state, MYR_FIRING_MISSED);
    EXPECT_INT(firing.count, 4);
    EXPECT_HAS(firing.reason, "catch_up: none");
    place_fini(&p);
}

TEST(catch_up_all_runs_each_in_order_up_to_its_bound)
{
    place p;
    absence(&p, "catch_up: all");
    EXPECT_STR(place_ran(&p), "hourly catch-up 2026-11-30T14:00:00+00:00\n"
                              "hourly catch-up 2026-11-30T15:00:00+00:00\n"
                              "hourly catch-up 2026-11-30T16:00:00+00:00\n"
                              "hourly catch-up 2026-11-30T17:00:00+00:00\n");
    EXPECT_INT(place_count(&p, MYR_FIRING_MISSED), 0);
    place_fini(&p);
    testing_reset(NULL);
    absence(&p, "catch_up: all, catch_up_max: 3");
    EXPECT_STR(place_ran(&p), "hourly catch-up 2026-11-30T15:00:00+00:00\n"
                              "hourly catch-up 2026-11-30T16:00:00+00:00\n"
                              "hourly catch-up 2026-11-30T17:00:00+00:00\n");
    EXPECT_INT(place_count(&p, MYR_FIRING_MISSED), 1);
    place_fini(&p);
}

TEST(a_start_in_the_past_is_caught_up_with_by_all)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/daily.yaml", "schedule: {cron: '@daily', start: 2026-11-28, catch_up: all}\n");
    place_write(&p, "jobs/other.yaml", "schedule: {cron: '@daily', start: 2026-11-28, catch_up: last}\n");
    for (int i = 0; i < 6; i++)
        place_settle(&p);
    EXPECT_STR(place_ran(&p), "daily catch-up 2026-11-28T00:00:00+00:00\n"
                              "daily catch-up 2026-11-29T00:00:00+00:00\n"
                              "daily catch-up 2026-11-30T00:00:00+00:00\n");
    place_fini(&p);
}

TEST(a_pause_is_an_absence)
{
    place p;
    myr_err err = {0};
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/hourly.yaml", "schedule: '0 * * * *'\n");
    place_settle(&p);
    EXPECT_RC(myr_job_store_pause(p.store, "hourly", true, &err), OK, &err);
    hours(&p, 3);
    EXPECT_STR(place_ran(&p), "");
    EXPECT_RC(myr_job_store_pause(p.store, "hourly", false, &err), OK, &err);
    place_settle(&p);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "hourly catch-up 2026-11-30T15:00:00+00:00\n");
    EXPECT_RC(myr_job_store_pause(p.store, "hourlee", true, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "did you mean 'hourly'");
    place_fini(&p);
}

TEST(a_clock_that_is_set_runs_nothing_twice)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 0));
    place_write(&p, "jobs/hourly.yaml", "schedule: '0 * * * *'\n");
    place_settle(&p);
    hours(&p, 2); /* 13:00, 14:00 */
    myr_clock_jump_ms(-2 * HOUR_MS);
    place_settle(&p);
    hours(&p, 2); /* the same hours again */
    EXPECT_STR(place_ran(&p), "hourly schedule 2026-11-30T13:00:00+00:00\n"
                              "hourly schedule 2026-11-30T14:00:00+00:00\n");
    hours(&p, 1);
    EXPECT_HAS(place_ran(&p), "hourly schedule 2026-11-30T15:00:00+00:00\n");
    place_forget_ran(&p);
    myr_clock_jump_ms(DAY_MS); /* forward: as if nobody had been there */
    place_settle(&p);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "hourly schedule 2026-12-01T15:00:00+00:00\n");
    EXPECT_INT(place_count(&p, MYR_FIRING_MISSED), 1);
    myr_clock_jump_ms(-DAY_MS);
    place_settle(&p);
    hours(&p, 1); /* the hours that were jumped over were missed: now they come */
    EXPECT_HAS(place_ran(&p), "hourly schedule 2026-11-30T16:00:00+00:00\n");
    place_forget_ran(&p);
    hours(&p, 23);
    EXPECT(strstr(place_ran(&p), "2026-12-01T15:00") == NULL); /* that one ran */
    EXPECT_HAS(place_ran(&p), "hourly schedule 2026-12-01T14:00:00+00:00\n");
    place_fini(&p);
}

TEST(a_file_that_is_edited_says_nothing_of_before)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "schedule: '0 6 * * *'\n");
    place_settle(&p);
    hours(&p, 3);
    place_write(&p, "jobs/a.yaml", "schedule: '15 * * * *'\n");
    myr_scheduler_reload(p.scheduler);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), ""); /* 13:15 to 15:15 were never due */
    place_write(&p, "jobs/a.yaml", "schedule: '15 * * *'\n");
    myr_scheduler_reload(p.scheduler);
    hours(&p, 2);
    EXPECT_STR(place_ran(&p), "");
    myr_job_row row;
    EXPECT_RC(myr_job_store_job(p.store, p.arena, "a", &row, NULL), OK, NULL);
    EXPECT_HAS(row.trouble, "4 fields");
    EXPECT_HAS(row.trouble, "a.yaml:1:11");
    place_write(&p, "jobs/a.yaml", "schedule: '15 * * * *'\n");
    myr_scheduler_reload(p.scheduler);
    place_settle(&p);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "a catch-up 2026-11-30T17:15:00+00:00\n"); /* while it was broken, it was missed */
    place_fini(&p);
}

/* ---- what overlaps ---- */

/* Three hours come while the run of the first goes on. */
static void overlapping(place *p, const char *schedule)
{
    char text[256];
    place_init(p, at_ms(2026, 11, 30, 12, 30));
    snprintf(text, sizeof text, "schedule: {cron: '0 * * * *', %s}\n", schedule);
    place_write(p, "jobs/hourly.yaml", text);
    place_settle(p);
    place_write(p, "hold", "");
    myr_clock_advance_ms(30 * MINUTE_MS);
    place_running(p, 1);
    for (int i = 0; i < 3; i++) {
        myr_clock_advance_ms(HOUR_MS);
        place_turn(p);
    }
}

static void let_go(place *p)
{
    place_remove(p, "hold");
    for (int i = 0; i < 6; i++)
        place_settle(p);
}

TEST(overlap_skip)
{
    place p;
    overlapping(&p, "overlap: skip");
    EXPECT_INT(place_count(&p, MYR_FIRING_SKIPPED), 3);
    EXPECT_HAS(place_last(&p).reason, "overlap: skip: 1 runs were active, max_active_runs is 1");
    let_go(&p);
    EXPECT_STR(place_ran(&p), "hourly schedule 2026-11-30T13:00:00+00:00\n");
    place_fini(&p);
}

TEST(overlap_queue_has_a_bound)
{
    place p;
    overlapping(&p, "overlap: queue, queue_max: 2");
    EXPECT_INT(place_count(&p, MYR_FIRING_WAITING), 2);
    EXPECT_INT(place_count(&p, MYR_FIRING_SKIPPED), 1);
    EXPECT_HAS(place_last(&p).reason, "queue_max is 2");
    let_go(&p);
    EXPECT_STR(place_ran(&p), "hourly schedule 2026-11-30T13:00:00+00:00\n"
                              "hourly schedule 2026-11-30T14:00:00+00:00\n"
                              "hourly schedule 2026-11-30T15:00:00+00:00\n");
    place_fini(&p);
}

TEST(overlap_cancel_ends_the_run_for_the_newest_time)
{
    place p;
    overlapping(&p, "overlap: cancel");
    place_remove(&p, "hold");
    for (int i = 0; i < 6; i++)
        place_settle(&p);
    int cancelled = place_count(&p, MYR_FIRING_CANCELLED); /* how fast they end is theirs */
    EXPECT(cancelled >= 1);
    EXPECT_INT(cancelled + place_count(&p, MYR_FIRING_COALESCED) + place_count(&p, MYR_FIRING_COMPLETED), 4);
    EXPECT_HAS(place_ran(&p), "hourly schedule 2026-11-30T16:00:00+00:00\n");
    place_fini(&p);
}

TEST(several_runs_at_once_if_the_job_allows_it)
{
    place p;
    overlapping(&p, "max_active_runs: 3");
    EXPECT_INT(place_active(&p), 3);
    EXPECT_INT(place_count(&p, MYR_FIRING_SKIPPED), 1);
    let_go(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 3);
    place_fini(&p);
}

TEST(all_jobs_together_have_a_bound)
{
    place p;
    myr_err err = {0};
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    p.opts.runs_max = 2;
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "jobs/j%d.yaml", i);
        place_write(&p, name, "schedule: '0 * * * *'\n");
    }
    place_settle(&p);
    place_write(&p, "hold", "");
    myr_clock_advance_ms(30 * MINUTE_MS);
    place_running(&p, 2);
    EXPECT_INT(place_count(&p, MYR_FIRING_WAITING), 2);
    let_go(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 4);
    EXPECT_RC(myr_job_store_cancel(p.store, 1, &err), CONFLICT, &err);
    EXPECT_RC(myr_job_store_cancel(p.store, 99, &err), NOT_FOUND, &err);
    place_fini(&p);
}

TEST(jitter_starts_later_for_the_same_time)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "schedule: {cron: '0 * * * *', jitter: 30m}\n");
    place_settle(&p);
    myr_clock_advance_ms(30 * MINUTE_MS);
    place_settle(&p);
    myr_firing firing = place_last(&p);
    EXPECT_INT(firing.logical_ms, at_ms(2026, 11, 30, 13, 0));
    EXPECT(firing.due_ms > firing.logical_ms && firing.due_ms < firing.logical_ms + 30 * MINUTE_MS);
    EXPECT_INT(firing.state, MYR_FIRING_WAITING);
    myr_clock_advance_ms(firing.due_ms - myr_clock_unix_ms() - 1);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "");
    myr_clock_advance_ms(1);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "a schedule 2026-11-30T13:00:00+00:00\n");
    place_fini(&p);
}

/* ---- asked for ---- */

TEST(a_request_is_made_once_per_key)
{
    place p;
    myr_err err = {0};
    int64_t id = 0, again = 0;
    bool is_new = false;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "fleet: oj\n");
    place_settle(&p);
    myr_firing_request request = {.job = "a", .kind = "manual", .key = "k1", .detail = "", .logical_ms = 0};
    EXPECT_RC(myr_job_store_request(p.store, &request, &id, &is_new, &err), OK, &err);
    EXPECT(is_new);
    EXPECT_RC(myr_job_store_request(p.store, &request, &again, &is_new, &err), OK, &err);
    EXPECT(!is_new);
    EXPECT_INT(again, id);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "a manual 1970-01-01T00:00:00+00:00\n");
    request.job = "b";
    EXPECT_RC(myr_job_store_request(p.store, &request, &id, &is_new, &err), NOT_FOUND, &err);
    char key[MYR_FIRING_KEY_BYTES_MAX + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    request.job = "a";
    request.key = key;
    EXPECT_RC(myr_job_store_request(p.store, &request, &id, &is_new, &err), TOO_LARGE, &err);
    key[MYR_FIRING_KEY_BYTES_MAX] = '\0';
    EXPECT_RC(myr_job_store_request(p.store, &request, &id, &is_new, &err), OK, &err);
    EXPECT_RC(myr_job_store_cancel(p.store, id, &err), OK, &err);
    EXPECT_INT(place_last(&p).state, MYR_FIRING_CANCELLED);
    place_remove(&p, "jobs/a.yaml");
    myr_scheduler_reload(p.scheduler);
    request.key = "k2";
    EXPECT_RC(myr_job_store_request(p.store, &request, &id, &is_new, &err), OK, &err);
    place_settle(&p);
    EXPECT_INT(place_last(&p).state, MYR_FIRING_CANCELLED);
    EXPECT_STR(place_last(&p).reason, "the job's file is gone");
    request.key = "k3";
    EXPECT_RC(myr_job_store_request(p.store, &request, &id, &is_new, &err), NOT_FOUND, &err);
    place_fini(&p);
}

TEST(requests_that_wait_have_a_bound)
{
    place p;
    myr_err err = {0};
    int64_t id = 0;
    bool is_new = false;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "fleet: oj\n");
    place_settle(&p);
    EXPECT_RC(myr_job_store_pause(p.store, "a", true, &err), OK, &err);
    for (int i = 0; i <= MYR_JOB_CALL_MAX; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%d", i);
        const myr_firing_request request = {.job = "a", .kind = "http", .key = key, .detail = ""};
        myr_rc rc = myr_job_store_request(p.store, &request, &id, &is_new, &err);
        EXPECT_INT(rc, i < MYR_JOB_CALL_MAX ? MYR_OK : MYR_BUSY);
    }
    EXPECT_HAS(err.message, "is it paused");
    place_fini(&p);
}

TEST(a_run_is_cancelled_on_request)
{
    place p;
    myr_err err = {0};
    overlapping(&p, "overlap: skip");
    myr_firing *open = NULL;
    EXPECT_INT(place_firings(&p, true, &open), 1);
    EXPECT_RC(myr_job_store_cancel(p.store, open[0].id, &err), OK, &err);
    place_settle(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_CANCELLED), 1);
    place_fini(&p);
}

TEST(a_backfill_runs_what_never_ran)
{
    place p;
    myr_err err = {0};
    MYR_AUTO(myr_job_list) jobs = {0};
    char dir[TESTING_PATH_BYTES + 16];
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/daily.yaml", "schedule: {cron: '0 0 * * *', max_active_runs: 2}\n");
    place_settle(&p);
    hours(&p, 12); /* 1 December */
    snprintf(dir, sizeof dir, "%s/jobs", p.dir);
    EXPECT_RC(myr_jobs_load(dir, &jobs, &err), OK, &err);
    const myr_job_file *job = myr_jobs_find(&jobs, "daily");
    myr_backfill backfill = {.from_ms = at_ms(2026, 11, 28, 0, 0), .until_ms = at_ms(2026, 12, 2, 0, 0), .dry = true};
    EXPECT_RC(myr_job_backfill(p.store, job, &backfill, &err), OK, &err);
    EXPECT_INT(backfill.out_times, 4);
    EXPECT_INT(backfill.out_new, 3);
    backfill.dry = false;
    EXPECT_RC(myr_job_backfill(p.store, job, &backfill, &err), OK, &err);
    EXPECT_INT(backfill.out_new, 3);
    EXPECT_RC(myr_job_backfill(p.store, job, &backfill, &err), OK, &err);
    EXPECT_INT(backfill.out_new, 0);
    place_forget_ran(&p);
    place_settle(&p);
    place_settle(&p);
    EXPECT_HAS(place_ran(&p), "daily backfill 2026-11-28T00:00:00+00:00\n");
    EXPECT_HAS(place_ran(&p), "daily backfill 2026-11-30T00:00:00+00:00\n");
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 4);
    backfill.again = true;
    EXPECT_RC(myr_job_backfill(p.store, job, &backfill, &err), OK, &err);
    EXPECT_INT(backfill.out_new, 4);
    myr_backfill large = {.from_ms = 0, .until_ms = MYR_BACKFILL_MAX * DAY_MS, .dry = true};
    EXPECT_RC(myr_job_backfill(p.store, job, &large, &err), OK, &err);
    EXPECT_INT(large.out_times, MYR_BACKFILL_MAX);
    large.until_ms += 1;
    EXPECT_RC(myr_job_backfill(p.store, job, &large, &err), TOO_LARGE, &err);
    place_fini(&p);
}

/* ---- what follows, and what arrives ---- */

TEST(a_job_runs_after_another)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 0));
    place_write(&p, "jobs/a.yaml", "schedule: '0 * * * *'\n");
    place_write(&p, "jobs/b.yaml", "triggers:\n  - after: a\n");
    place_write(&p, "jobs/c.yaml", "triggers: [{after: a, on: failed}]\n");
    place_write(&p, "jobs/d.yaml", "triggers: [{after: b, on: ended}]\n");
    place_settle(&p);
    hours(&p, 1);
    for (int i = 0; i < 6; i++)
        place_settle(&p);
    EXPECT_STR(place_ran(&p), "a schedule 2026-11-30T13:00:00+00:00\nb after 2026-11-30T13:00:00+00:00\n"
                              "d after 2026-11-30T13:00:00+00:00\n");
    place_forget_ran(&p);
    place_write(&p, "code", "1");
    hours(&p, 1);
    place_settle(&p);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "a schedule 2026-11-30T14:00:00+00:00\nc after 2026-11-30T14:00:00+00:00\n");
    EXPECT_HAS(place_last(&p).detail, "a: firing ");
    place_fini(&p);
}

static void seconds(place *p, int count)
{
    for (int i = 0; i < count; i++) {
        myr_clock_advance_ms(1000);
        place_settle(p);
    }
}

TEST(files_start_one_run_when_they_are_quiet)
{
    place p;
    char wanted[3 * TESTING_PATH_BYTES];
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/f.yaml", "triggers: [{files: in/*.csv, quiet: 5s, poll: 1s}]\n");
    seconds(&p, 2);
    place_write(&p, "in/a.csv", "1");
    seconds(&p, 3);
    place_write(&p, "in/b.csv", "1");
    place_write(&p, "in/other.txt", "1");
    seconds(&p, 3);
    place_write(&p, "in/b.csv", "12"); /* it still grows */
    seconds(&p, 4);
    EXPECT_STR(place_ran(&p), "");
    seconds(&p, 3);
    snprintf(wanted, sizeof wanted, "%s/in/a.csv\n%s/in/b.csv\n", p.dir, p.dir);
    EXPECT_STR(place_read(&p, "files.txt"), wanted);
    myr_scheduler_close(p.scheduler); /* what was answered is remembered */
    place_open_scheduler(&p);
    seconds(&p, 8);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 1);
    place_write(&p, "in/a.csv", "changed");
    place_remove(&p, "files.txt");
    seconds(&p, 8);
    snprintf(wanted, sizeof wanted, "%s/in/a.csv\n", p.dir);
    EXPECT_STR(place_read(&p, "files.txt"), wanted);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 2);
    place_fini(&p);
}

TEST(files_with_a_marker_are_whole_when_it_is_there)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/f.yaml", "triggers: [{files: in/*/*, marker: _SUCCESS, poll: 1s}]\n");
    place_mkdir(&p, "in/d1");
    place_mkdir(&p, "in/d2");
    place_write(&p, "in/d1/part-0", "1");
    place_write(&p, "in/d2/part-0", "1");
    seconds(&p, 20);
    EXPECT_STR(place_ran(&p), "");
    place_write(&p, "in/d1/_SUCCESS", "");
    seconds(&p, 3);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 1);
    EXPECT(strstr(place_read(&p, "files.txt"), "_SUCCESS") == NULL);
    EXPECT(strstr(place_read(&p, "files.txt"), "d2") == NULL);
    place_fini(&p);
}

TEST(files_that_come_during_a_run_are_one_run_more)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/f.yaml", "triggers: [{files: in/*, quiet: 1s, poll: 1s}]\n");
    seconds(&p, 1);
    place_write(&p, "hold", "");
    place_write(&p, "in/a", "1");
    for (int i = 0; i < 3; i++) {
        myr_clock_advance_ms(1000);
        place_turn(&p);
    }
    place_running(&p, 1);
    static const char *const names[] = {"in/b", "in/c"};
    for (int n = 0; n < 2; n++) {
        place_write(&p, names[n], "1");
        for (int i = 0; i < 3; i++) {
            myr_clock_advance_ms(1000);
            place_turn(&p);
        }
    }
    EXPECT_INT(place_count(&p, MYR_FIRING_COALESCED), 1);
    EXPECT_INT(place_count(&p, MYR_FIRING_WAITING), 1);
    place_remove(&p, "files.txt");
    let_go(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 2);
    EXPECT_HAS(place_read(&p, "files.txt"), "/in/b\n");
    EXPECT_HAS(place_read(&p, "files.txt"), "/in/c\n");
    place_fini(&p);
}

TEST(a_trigger_of_a_paused_job_keeps_nobody_awake)
{
    place p;
    myr_err err = {0};
    int64_t sleep_ms = 0;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/f.yaml", "triggers: [{files: in/*, quiet: 1s, poll: 1s}]\n");
    seconds(&p, 2);
    EXPECT_RC(myr_job_store_pause(p.store, "f", true, &err), OK, &err);
    seconds(&p, 3);
    EXPECT_RC(myr_scheduler_turn(p.scheduler, &sleep_ms, &err), OK, &err);
    EXPECT_INT(sleep_ms, p.opts.poll_ms);
    place_fini(&p);
}

TEST(jobs_in_a_circle_are_refused)
{
    place p;
    MYR_AUTO(myr_job_list) jobs = {0};
    char dir[TESTING_PATH_BYTES + 16];
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "triggers: [{after: c}]\n");
    place_write(&p, "jobs/b.yaml", "triggers: [{after: a}]\n");
    place_write(&p, "jobs/c.yaml", "triggers: [{after: b}]\n");
    place_write(&p, "jobs/d.yaml", "triggers: [{after: d}]\n");
    place_write(&p, "jobs/e.yaml", "triggers: [{after: c}]\n");
    snprintf(dir, sizeof dir, "%s/jobs", p.dir);
    EXPECT_RC(myr_jobs_load(dir, &jobs, NULL), OK, NULL);
    EXPECT_HAS(myr_job_trouble(myr_jobs_find(&jobs, "a")), "'a' would start itself");
    EXPECT_HAS(myr_job_trouble(myr_jobs_find(&jobs, "d")), "'d' would start itself");
    EXPECT(myr_job_trouble(myr_jobs_find(&jobs, "b")) == NULL && myr_job_trouble(myr_jobs_find(&jobs, "e")) == NULL);
    place_fini(&p);
}

TEST(two_files_of_one_name_are_none_until_one_is_gone)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "name: x\nschedule: '0 * * * *'\n");
    place_write(&p, "jobs/b.yaml", "name: x\nschedule: '0 * * * *'\n");
    place_settle(&p);
    hours(&p, 1);
    EXPECT_STR(place_ran(&p), "");
    place_remove(&p, "jobs/b.yaml");
    myr_scheduler_reload(p.scheduler);
    place_settle(&p);
    myr_clock_advance_ms(30 * MINUTE_MS);
    place_settle(&p);
    EXPECT_HAS(place_ran(&p), "x schedule 2026-11-30T14:00:00+00:00\n");
    place_fini(&p);
}

/* ---- what a file may say ---- */

static void mistaken(const char *text, const char *part)
{
    place p;
    MYR_AUTO(myr_job_list) jobs = {0};
    char dir[TESTING_PATH_BYTES + 16];
    testing_reset(NULL);
    testing_dir(p.dir);
    place_mkdir(&p, "jobs");
    place_write(&p, "jobs/a.yaml", text);
    snprintf(dir, sizeof dir, "%s/jobs", p.dir);
    EXPECT_RC(myr_jobs_load(dir, &jobs, NULL), OK, NULL);
    EXPECT_INT(jobs.count, 1);
    const char *trouble = myr_job_trouble(jobs.items[0]);
    if (part == NULL) {
        EXPECT_STR(trouble != NULL ? trouble : "none", "none");
    } else {
        EXPECT_HAS(trouble != NULL ? trouble : "", part);
    }
}

TEST(mistakes_name_line_field_value_and_what_is_allowed)
{
    mistaken("schedule:\n  every: 15m\n  cron: '0 * * * *'\n", "a.yaml:3:9: cron and every: one of the two");
    mistaken("schedule: {every: 500ms}\n", "every '500ms': a duration from 1s to 31622400s");
    mistaken("schedule: {every: 367d}\n", "every '367d': a duration");
    mistaken("schedule: {every: soon}\n", "every 'soon': a duration");
    mistaken("schedule: {cron: '@daily', jitter: 25h}\n", "jitter '25h': a duration from 0s to 86400s");
    mistaken("schedule: {cron: '@daily', timezone: Europe/Brelin}\n", "time zone 'Europe/Brelin' is not known");
    mistaken("schedule: {cron: '@daily', catch_up: some}\n", "catch_up 'some' is not known: none, last or all");
    mistaken("schedule: {cron: '@daily', overlap: maybe}\n", "overlap 'maybe' is not known: skip, queue or cancel");
    mistaken("schedule: {cron: '@daily', overlap: cancel, catch_up: all}\n", "queue or skip");
    mistaken("schedule: {cron: '@daily', max_active_runs: 101}\n", "max_active_runs");
    mistaken("schedule: {cron: '@daily', queue_max: 0}\n", "queue_max");
    mistaken("schedule: {cron: '@daily', start: 2026-02-30}\n", "start: '2026-02-30' is no time");
    mistaken("schedule: {cron: '@daily', start: 2026-03-01, end: 2026-03-01}\n", "end: it is not after the start");
    mistaken("schedule: {cron: []}\n", "cron: 0 expressions: 1 to 16");
    mistaken("schedule: {corn: '@daily'}\n", "did you mean 'cron'");
    mistaken("name: -x\n", "a.yaml:1:7: name '-x'");
    mistaken("triggers: []\n", "a list of 1 to 16");
    mistaken("triggers: [{file: x}]\n", "a trigger has files: (a path or glob), after: (a job) or kafka: (a topic)");
    mistaken("triggers: [{files: 'http://b/x*'}]\n", "write s3://BUCKET/KEY or az://CONTAINER/KEY");
    mistaken("triggers: [{files: 's3:///x*'}]\n", "names no bucket");
    mistaken("triggers: [{files: x, marker: a/b}]\n", "marker 'a/b'");
    mistaken("triggers: [{files: x, quit: 1s}]\n", "did you mean 'quiet'");
    mistaken("triggers: [{after: a b}]\n", "after 'a b': the name of a job");
    mistaken("triggers: [{after: b, on: success}]\n", "on 'success' is not known: completed, failed or ended");
    mistaken("- x\n", "a job is a map");
    mistaken("schedule: {cron: '@daily', max_active_runs: 100, queue_max: 1000, catch_up_max: 1000, jitter: 24h}\n",
             NULL);
    mistaken("schedule: {every: 366d}\n", NULL);
    mistaken("fleet: oj\ninput: {anything: [1, 2]}\n", NULL); /* the batch's own */
}

TEST(times_are_read_to_the_digit)
{
    static const struct {
        const char *text;
        int64_t wanted_ms;
    } good[] = {{"2026-11-30", 1795993200000},
                {"2026-11-30T02:30", 1796002200000},
                {"2026-11-30 02:30:15", 1796002215000},
                {"2026-11-30T02:30Z", 1796005800000},
                {"2026-11-30T02:30:00-05:30", 1796025600000},
                {"2026-03-29T02:30", 1774746000000},  /* left out: the instant after the gap */
                {"2026-10-25T02:30", 1792888200000}}; /* twice: the first */
    static const char *const bad[] = {"",
                                      "2026-11-31",
                                      "2026-1-1",
                                      "2026-11-30T2:30",
                                      "2026-11-30T24:00",
                                      "2026-11-30x",
                                      "2026-11-30T02:30+1",
                                      "2026-11-30T02:30ZZ",
                                      "1969-12-31",
                                      "tomorrow"};
    myr_zone *zone = NULL;
    int64_t at = 0;
    myr_err err = {0};
    EXPECT_RC(myr_zone_open("Europe/Berlin", &zone, &err), OK, &err);
    for (size_t i = 0; i < MYR_COUNT_OF(good); i++) {
        EXPECT_RC(myr_when_parse(zone, good[i].text, &at, &err), OK, &err);
        EXPECT_INT(at, good[i].wanted_ms);
    }
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++)
        EXPECT_RC(myr_when_parse(zone, bad[i], &at, &err), BAD_INPUT, &err);
    myr_zone_close(zone);
}

/* ---- memory that is short, and two schedulers, and those that died ---- */

TEST(a_turn_without_memory_is_tried_again)
{
    place p;
    int64_t sleep_ms = 0;
    if (getenv("MYR_JOBS_STORE") != NULL) return; /* many rounds, and the same with either */
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "schedule: '0 * * * *'\ntriggers: [{files: in/*, quiet: 0s}]\n");
    place_write(&p, "in/x", "1");
    FAIL_EACH_ALLOC (nth) {
        myr_scheduler_reload(p.scheduler);
        myr_clock_advance_ms(HOUR_MS);
        myr_rc rc = myr_scheduler_turn(p.scheduler, &sleep_ms, NULL);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
    }
    myr_scheduler_reload(p.scheduler);
    for (int i = 0; i < 5; i++)
        place_settle(&p);
    const char *ran = place_ran(&p);
    for (const char *line = ran; *line != '\0'; line = strchr(line, '\n') + 1) { /* each once */
        char text[128];
        snprintf(text, sizeof text, "%.*s", (int)(strchr(line, '\n') - line), line);
        if (strncmp(text, "a files", 7) != 0) EXPECT(strstr(strchr(line, '\n'), text) == NULL);
    }
    EXPECT(ran[0] != '\0');
    place_fini(&p);
}

TEST(one_leads_and_another_takes_over)
{
    place p;
    int64_t sleep_ms = 0;
    myr_err err = {0};
    myr_scheduler *other = NULL;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "schedule: '* * * * *'\n");
    place_settle(&p);
    EXPECT(myr_scheduler_leads(p.scheduler));
    EXPECT_RC(myr_scheduler_open(p.dir, &p.opts, &other, &err), OK, &err);
    EXPECT_RC(myr_scheduler_turn(other, &sleep_ms, &err), OK, &err);
    EXPECT(!myr_scheduler_leads(other));
    myr_clock_advance_ms(MINUTE_MS); /* the first is stopped for a while: its lease runs out */
    EXPECT_RC(myr_scheduler_turn(other, &sleep_ms, &err), OK, &err);
    EXPECT(myr_scheduler_leads(other));
    place_settle(&p); /* it wakes up, and finds that it does not lead */
    EXPECT(!myr_scheduler_leads(p.scheduler));
    for (int i = 0; i < 200 && place_active(&p) > 0; i++) {
        EXPECT_RC(myr_scheduler_turn(other, &sleep_ms, &err), OK, &err);
        usleep(5000);
    }
    EXPECT_STR(place_ran(&p), "a schedule 2026-11-30T12:31:00+00:00\n");
    myr_scheduler_close(other); /* gives it back */
    place_settle(&p);
    EXPECT(myr_scheduler_leads(p.scheduler));
    myr_clock_jump_ms(-DAY_MS); /* a lease of tomorrow is nobody's */
    EXPECT_RC(myr_scheduler_open(p.dir, &p.opts, &other, &err), OK, &err);
    EXPECT_RC(myr_scheduler_turn(other, &sleep_ms, &err), OK, &err);
    EXPECT(myr_scheduler_leads(other));
    place_turn(&p);
    EXPECT(myr_scheduler_leads(p.scheduler) != myr_scheduler_leads(other) || myr_scheduler_leads(other));
    myr_scheduler_close(other);
    place_fini(&p);
}

/* A lease that was lost, in the middle of a turn, for whoever still believes in it. */
TEST(a_lost_lease_writes_nothing)
{
    place p;
    myr_err err = {0};
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    store_lease first = {.owner = "one", .host = "h"}, second = {.owner = "two", .host = "h"};
    EXPECT_RC(myr_store_lead(p.store, &first, 1000, 500, &err), OK, &err);
    EXPECT(first.epoch != 0);
    EXPECT_RC(myr_store_lead(p.store, &second, 1400, 500, &err), OK, &err);
    EXPECT_INT(second.epoch, 0);
    EXPECT_RC(myr_store_lead(p.store, &second, 1500, 500, &err), OK, &err);
    EXPECT(second.epoch > first.epoch);
    EXPECT_RC(myr_store_begin(p.store, &first, &err), CONFLICT, &err);
    EXPECT_RC(myr_store_begin(p.store, &second, &err), OK, &err);
    EXPECT_RC(myr_store_end(p.store, MYR_OK, &err), OK, &err);
    EXPECT_RC(myr_store_yield(p.store, &first, &err), CONFLICT, &err);
    EXPECT_RC(myr_store_yield(p.store, &second, &err), OK, &err);
    EXPECT_RC(myr_store_lead(p.store, &first, 1501, 500, &err), OK, &err);
    EXPECT(first.epoch > second.epoch);
    place_fini(&p);
}

/* As a scheduler leaves it that died: a firing with a process that is gone. */
static myr_firing orphan(place *p, const char *output, int64_t pid)
{
    char name[64];
    bool done = false;
    myr_err err = {0};
    place_init(p, at_ms(2026, 11, 30, 12, 30));
    place_write(p, "jobs/a.yaml", "fleet: oj\n");
    place_settle(p);
    const myr_firing_request request = {.job = "a", .kind = "manual", .key = "k", .detail = "", .logical_ms = 0};
    int64_t id = 0;
    EXPECT_RC(myr_job_store_request(p->store, &request, &id, &done, &err), OK, &err);
    myr_firing firing = place_last(p);
    firing.state = MYR_FIRING_STARTING;
    firing.host = p->scheduler->host;
    firing.pid = pid;
    firing.pid_start = 1;
    firing.started_ms = firing.seen_ms = myr_clock_unix_ms();
    EXPECT_RC(myr_store_begin(p->store, NULL, &err), OK, &err);
    EXPECT_RC(myr_store_end(p->store, myr_store_move(p->store, &firing, MYR_FIRING_WAITING, &done, &err), &err), OK,
              &err);
    EXPECT(done);
    place_mkdir(p, "scheduler/a");
    snprintf(name, sizeof name, "scheduler/a/%lld.json", (long long)id);
    if (output != NULL) place_write(p, name, output);
    return firing;
}

TEST(a_claim_that_was_never_let_in_waits_again)
{
    place p;
    orphan(&p, NULL, 1); /* process 1 was not started at tick 1 */
    place_settle(&p);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "a manual 1970-01-01T00:00:00+00:00\n");
    EXPECT_INT(place_last(&p).state, MYR_FIRING_COMPLETED);
    place_fini(&p);
}

TEST(a_process_that_may_have_run_is_not_started_again)
{
    place p;
    orphan(&p, "", 1);
    place_settle(&p);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "");
    EXPECT_INT(place_last(&p).state, MYR_FIRING_FAILED);
    EXPECT_HAS(place_last(&p).reason, "it is not started again");
    place_fini(&p);
}

static int64_t registry_run(const place *p, const char *state)
{
    char path[TESTING_PATH_BYTES + 16];
    myr_registry *registry = NULL;
    int64_t id = 0;
    snprintf(path, sizeof path, "%s/registry.db", p->dir);
    EXPECT_RC(myr_registry_open(path, true, &registry, NULL), OK, NULL);
    const myr_run_row row = {.fleet = "oj", .release = 1, .input = "i", .output = "o"};
    EXPECT_RC(myr_registry_run_start(registry, &row, &id, NULL), OK, NULL);
    if (strcmp(state, "running") != 0)
        EXPECT_RC(myr_registry_run_end(registry, id, state, 1, 1, "why it failed", NULL), OK, NULL);
    myr_registry_close(registry);
    return id;
}

static void expect_orphan(const char *run_state, myr_firing_state state, const char *reason)
{
    place p;
    orphan(&p, "{\"run\":1}\nmore\n", 1);
    EXPECT_INT(registry_run(&p, run_state), 1);
    place_settle(&p);
    myr_firing firing = place_last(&p);
    EXPECT_INT(firing.state, state);
    EXPECT_INT(firing.run_id, 1);
    EXPECT_HAS(firing.reason, reason);
    EXPECT_STR(place_ran(&p), "");
    place_fini(&p);
    testing_reset(NULL);
}

TEST(the_registry_says_how_the_run_of_a_dead_scheduler_ended)
{
    expect_orphan("completed", MYR_FIRING_COMPLETED, "");
    expect_orphan("failed", MYR_FIRING_FAILED, "why it failed");
    expect_orphan("running", MYR_FIRING_FAILED, "myriad batch resume 1");
}

TEST(an_old_run_is_found_behind_more_than_a_list_gives)
{
    place p;
    char path[TESTING_PATH_BYTES + 16];
    MYR_AUTO(myr_registry_ptr) registry = NULL;
    orphan(&p, "{\"run\":1}\n", 1);
    EXPECT_INT(registry_run(&p, "completed"), 1);
    snprintf(path, sizeof path, "%s/registry.db", p.dir);
    EXPECT_RC(myr_registry_open(path, false, &registry, NULL), OK, NULL);
    EXPECT_RC(myr_registry_begin(registry, NULL), OK, NULL);
    for (int i = 0; i < 1001; i++) {
        const myr_run_row row = {.fleet = "oj", .release = 1, .input = "i", .output = "o"};
        int64_t id = 0;
        EXPECT_RC(myr_registry_run_start(registry, &row, &id, NULL), OK, NULL);
    }
    EXPECT_RC(myr_registry_commit(registry, NULL), OK, NULL);
    place_settle(&p);
    EXPECT_INT(place_last(&p).state, MYR_FIRING_COMPLETED);
    place_fini(&p);
}

TEST(a_job_file_says_by_which_clock_it_is_filled)
{
    place p;
    char path[TESTING_PATH_BYTES + 16], time[MYR_JOB_TIME_BYTES];
    myr_err err = {0};
    place_init(&p, at_ms(2026, 7, 1, 22, 30));
    snprintf(path, sizeof path, "%s/jobs/a.yaml", p.dir);
    place_write(&p, "jobs/a.yaml", "schedule: {cron: '30 2 * * *', timezone: Europe/Berlin}\n");
    EXPECT_RC(myr_job_file_time(path, NULL, time, &err), OK, &err);
    EXPECT_STR(time, "2026-07-02T00:30:00+02:00");
    EXPECT_RC(myr_job_file_time(path, "2026-03-29", time, &err), OK, &err);
    EXPECT_STR(time, "2026-03-29T00:00:00+01:00");
    EXPECT_RC(myr_job_file_time(path, "2026-03-29T01:00:00Z", time, &err), OK, &err);
    EXPECT_STR(time, "2026-03-29T03:00:00+02:00");
    EXPECT_RC(myr_job_file_time(path, "yesterday", time, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "'yesterday' is no time");
    place_write(&p, "jobs/a.yaml", "fleet: oj\nschedule: '61 * * * *'\n");
    EXPECT_RC(myr_job_file_time(path, NULL, time, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "a.yaml:2:");
    place_remove(&p, "jobs/a.yaml");
    EXPECT_RC(myr_job_file_time(path, NULL, time, &err), NOT_FOUND, &err);
    place_write(&p, "jobs/a.yaml", "fleet: oj\n");
    EXPECT_RC(myr_job_file_time(path, NULL, time, &err), OK, &err);
    EXPECT_STR(time, "2026-07-01T22:30:00+00:00");
    place_fini(&p);
}

TEST(a_run_goes_on_without_its_scheduler_and_is_found)
{
    place p;
    overlapping(&p, "overlap: skip");
    myr_scheduler_close(p.scheduler);
    place_open_scheduler(&p);
    place_turn(&p);
    EXPECT_INT(place_active(&p), 1);
    let_go(&p); /* it was no child of the new one in the eyes of its list, but of this process */
    EXPECT_INT(place_active(&p), 0);
    EXPECT_STR(place_ran(&p), "hourly schedule 2026-11-30T13:00:00+00:00\n");
    place_fini(&p);
}

TEST(a_machine_that_is_gone_is_given_up)
{
    place p;
    bool done = false;
    myr_err err = {0};
    myr_firing firing = orphan(&p, NULL, 1);
    firing.host = "elsewhere/12345678";
    EXPECT_RC(myr_store_begin(p.store, NULL, &err), OK, &err);
    EXPECT_RC(myr_store_end(p.store, myr_store_move(p.store, &firing, MYR_FIRING_STARTING, &done, &err), &err), OK,
              &err);
    myr_clock_advance_ms(100000);
    place_turn(&p);
    EXPECT_INT(place_last(&p).state, MYR_FIRING_STARTING);
    myr_clock_advance_ms(30000);
    place_turn(&p);
    EXPECT_INT(place_last(&p).state, MYR_FIRING_FAILED);
    EXPECT_HAS(place_last(&p).reason, "elsewhere");
    EXPECT_STR(place_ran(&p), "");
    place_fini(&p);
}

TEST(history_is_forgotten_in_time)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    place_write(&p, "jobs/a.yaml", "schedule: '0 0 * * *'\n");
    place_settle(&p);
    hours(&p, 12);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 1);
    place_write(&p, "jobs/a.yaml", "fleet: oj\n");
    myr_clock_advance_ms(89 * DAY_MS);
    myr_scheduler_reload(p.scheduler);
    place_settle(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 1);
    myr_clock_advance_ms(2 * DAY_MS);
    place_settle(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 0);
    place_fini(&p);
}

TEST(metrics_are_written_into_a_file)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 30));
    snprintf(p.opts.metrics, sizeof p.opts.metrics, "%s/m.prom", p.dir);
    place_write(&p, "jobs/a.yaml", "schedule: '0 * * * *'\n");
    place_settle(&p);
    hours(&p, 1);
    myr_clock_advance_ms(20000);
    place_turn(&p);
    const char *text = place_read(&p, "m.prom");
    EXPECT_HAS(text, "myriad_scheduler_leads 1\n");
    EXPECT_HAS(text, "myriad_job_firings{job=\"a\",state=\"completed\"} 1\n");
    EXPECT_HAS(text, "myriad_job_next_timestamp_seconds{job=\"a\"} 1796047200\n");
    place_fini(&p);
}

RUN()
