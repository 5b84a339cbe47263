/* Processes that outlive their starter: nothing before they are let in, nothing if their starter is gone, told apart
 * from others that have their number. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/compute.h"
#include "testing.h"

typedef struct place {
    char dir[TESTING_PATH_BYTES], output[TESTING_PATH_BYTES + 16], error[TESTING_PATH_BYTES + 16];
} place;

static void place_init(place *p)
{
    testing_dir(p->dir);
    snprintf(p->output, sizeof p->output, "%s/out", p->dir);
    snprintf(p->error, sizeof p->error, "%s/err", p->dir);
}

static myr_detached start(const place *p, const char *script)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const env[] = {"WORD=hello", NULL};
    const myr_detached_opts opts = {
        .argv = argv, .env = env, .dir = p->dir, .output_path = p->output, .error_path = p->error};
    myr_detached process;
    myr_err err = {0};
    EXPECT_RC(myr_detached_start(&opts, &process, &err), OK, &err);
    return process;
}

static int64_t wait_for(const myr_detached *process)
{
    int64_t exit_code = 0;
    for (int i = 0; i < 2000; i++) {
        if (myr_process_ended(process->pid, &exit_code)) return exit_code;
        usleep(5000);
    }
    fail_msg("it does not end");
    return 0;
}

static void expect_file(const char *path, const char *wanted)
{
    char *data = NULL;
    size_t size = 0;
    EXPECT_RC(myr_file_read(path, 4096, &data, &size, NULL), OK, NULL);
    EXPECT_STR(data, wanted);
    myr_free(data);
}

TEST(it_runs_once_it_is_let_in)
{
    place p;
    place_init(&p);
    myr_detached process = start(&p, "echo $WORD; pwd; echo bad >&2; exit 7");
    usleep(50000);
    EXPECT(!myr_io_exists(p.output));
    EXPECT(myr_process_runs(process.pid, process.pid_start));
    EXPECT(!myr_process_runs(process.pid, process.pid_start + 1)); /* another that has the number */
    myr_detached_let_in(&process);
    EXPECT_INT(wait_for(&process), 7);
    EXPECT(!myr_process_runs(process.pid, process.pid_start));
    char wanted[TESTING_PATH_BYTES + 16];
    snprintf(wanted, sizeof wanted, "hello\n%s\n", p.dir);
    expect_file(p.output, wanted);
    expect_file(p.error, "bad\n");
}

TEST(sent_away_it_has_not_run)
{
    place p;
    place_init(&p);
    myr_detached process = start(&p, "echo x");
    myr_detached_send_away(&process);
    EXPECT(!myr_io_exists(p.output));
    EXPECT(!myr_process_runs(process.pid, process.pid_start));
}

TEST(output_that_is_there_is_never_written_over)
{
    place p;
    place_init(&p);
    EXPECT_RC(myr_file_write(p.output, "first", 5, NULL), OK, NULL);
    myr_detached process = start(&p, "echo second");
    myr_detached_let_in(&process);
    EXPECT_INT(wait_for(&process), 125);
    expect_file(p.output, "first");
}

TEST(a_signal_reaches_its_group)
{
    place p;
    place_init(&p);
    myr_detached process = start(&p, "sleep 100 & wait");
    myr_detached_let_in(&process);
    while (!myr_io_exists(p.output))
        usleep(1000);
    myr_process_signal(process.pid, process.pid_start + 1, SIGKILL); /* another's number: nothing */
    EXPECT(myr_process_runs(process.pid, process.pid_start));
    myr_process_signal(process.pid, process.pid_start, SIGKILL);
    EXPECT_INT(wait_for(&process), 128 + SIGKILL);
}

/* The starter is killed before it opens the gate, and after. */
static void starter_dies(bool let_in, bool ran)
{
    place p;
    place_init(&p);
    int told[2];
    EXPECT_INT(pipe(told), 0);
    pid_t starter = fork();
    if (starter == 0) {
        myr_detached process = start(&p, "echo ran");
        if (let_in) myr_detached_let_in(&process);
        MYR_IGNORE(write(told[1], &process, sizeof process) < 0);
        kill(getpid(), SIGKILL);
    }
    myr_detached process;
    EXPECT_INT(read(told[0], &process, sizeof process), sizeof process);
    EXPECT_INT(waitpid(starter, NULL, 0), starter);
    for (int i = 0; i < 1000 && myr_process_runs(process.pid, process.pid_start); i++)
        usleep(5000);
    EXPECT(myr_io_exists(p.output) == ran);
    close(told[0]);
    close(told[1]);
    testing_reset(NULL);
}

TEST(a_starter_that_dies_with_the_gate_shut_has_started_nothing)
{
    starter_dies(false, false);
    starter_dies(true, true);
}

TEST(what_cannot_be_run_is_said)
{
    place p;
    place_init(&p);
    const char *const argv[] = {"/no/such/program", NULL}, *const env[] = {NULL};
    const myr_detached_opts opts = {
        .argv = argv, .env = env, .dir = p.dir, .output_path = p.output, .error_path = p.error};
    myr_detached process;
    myr_err err = {0};
    EXPECT_RC(myr_detached_start(&opts, &process, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "/no/such/program");
    char a[MYR_HOST_BYTES], b[MYR_HOST_BYTES];
    myr_host("/one", a);
    myr_host("/two", b);
    EXPECT(strcmp(a, b) != 0 && strcmp(strchr(a, '/'), strchr(b, '/')) == 0);
}

RUN()
