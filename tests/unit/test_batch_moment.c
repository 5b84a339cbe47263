/* Places in the paths of a job file: what fills them, and what is refused, at the line where it stands. */
#include "batch_fixture.h"

#include "batch/internal.h"

static const myr_batch_moment moment = {.time = "2026-03-29T03:05:09+02:00", .run = "71"};

static void filled(const char *text, const char *wanted)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_err err = {0};
    EXPECT_RC(myr_batch_moment_fill(&moment, text, &out, &err), OK, &err);
    EXPECT_STR(out.data != NULL ? out.data : "", wanted);
}

static void refused(const char *text, const char *part)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_err err = {0};
    EXPECT_RC(myr_batch_moment_fill(&moment, text, &out, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, part);
}

TEST(each_place_is_filled)
{
    filled("", "");
    filled("in/{date}.csv", "in/2026-03-29.csv");
    filled("{year}/{month}/{day}/{hour}{minute}{second}", "2026/03/29/030509");
    filled("out-{time}-{run}", "out-0305-71");
    filled("{date}{date}", "2026-03-292026-03-29");
    filled("{{date}", "{date}");
    filled("a{{{day}}", "a{29}");
    filled("a}b", "a}b");
}

TEST(what_is_not_known_names_the_nearest)
{
    refused("in/{dat}.csv", "unknown place '{dat}': did you mean '{date}'?");
    refused("{Minute}", "did you mean '{minute}'?");
    refused("{brand}", "{date}, {time}");
    refused("{}", "unknown place '{}'");
    refused("{a,b}", "a brace is written {{");
    refused("in/{date", "'{date' has no '}'");
    refused("{xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}", "{xxxxxx");
}

TEST(memory_may_run_out)
{
    FAIL_EACH_ALLOC (nth) {
        MYR_AUTO(myr_buf) out = {0};
        myr_rc rc = myr_batch_moment_fill(&moment, "out/{date}/{run}", &out, NULL);
        TESTING_NO_FAULTS();
        if (rc != MYR_OK) EXPECT_INT(rc, MYR_NO_MEMORY);
        if (rc == MYR_OK) EXPECT_STR(out.data, "out/2026-03-29/71");
    }
}

static myr_rc load(fixture *f, const char *text, myr_batch_job **out)
{
    char path[TESTING_PATH_BYTES + 16];
    fixture_file(f, "job.yaml", text);
    snprintf(path, sizeof path, "%s/job.yaml", f->dir);
    return myr_batch_job_load(path, "/ws", &moment, out, &f->err);
}

TEST(paths_of_a_job_file)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(myr_batch_job_ptr) job = NULL;
    char wanted[TESTING_PATH_BYTES + 64];
    EXPECT_RC(load(&f, "fleet: oj\ninput: in/{date}/*.csv\noutput: {path: 'scored/{year}-{month}'}\n", &job), OK,
              &f.err);
    snprintf(wanted, sizeof wanted, "%s/in/2026-03-29/*.csv", f.dir);
    EXPECT_STR(myr_batch_job_opts(job)->input.items[0], wanted);
    EXPECT_STR(myr_batch_job_opts(job)->output, "/ws/scored/2026-03");
}

TEST(queries_and_conditions_are_filled_too)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    MYR_AUTO(myr_batch_job_ptr) query = NULL;
    MYR_AUTO(myr_batch_job_ptr) filter = NULL;
    EXPECT_RC(load(&f, "input: {sql: \"select {{'a': 1} from t where day = '{date}'\"}\n", &query), OK, &f.err);
    EXPECT_STR(myr_batch_job_opts(query)->input.sql, "select {'a': 1} from t where day = '2026-03-29'");
    EXPECT_RC(load(&f, "input: {files: a.csv, filter: 'year = {year}'}\n", &filter), OK, &f.err);
    EXPECT_STR(myr_batch_job_opts(filter)->input.filter, "year = 2026");
}

TEST(a_place_that_is_not_known_is_named_where_it_stands)
{
    MYR_AUTO(fixture) f = fixture_new(1);
    myr_batch_job *job = NULL;
    EXPECT_RC(load(&f, "fleet: oj\ninput: in/{dte}.csv\n", &job), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "job.yaml:2:8: unknown place '{dte}': did you mean '{date}'?");
    EXPECT_RC(load(&f, "output:\n  path: 'o/{runs}'\n", &job), BAD_INPUT, &f.err);
    EXPECT_HAS(f.err.message, "job.yaml:2:9: unknown place '{runs}': did you mean '{run}'?");
    EXPECT(job == NULL);
}

RUN()
