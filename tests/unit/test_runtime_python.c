/* Models that are code, in their pool: many threads, room for one, names that lead elsewhere, a model that asks too
 * much. */
#include <math.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/runtime.h"
#include "testing.h"

#define THREADS 6 /* that end while others ask */
#define ROWS    5

/* Model i adds i to its column. */
typedef struct code {
    myr_runtime *runtime;
    unsigned char *models[3];
    _Atomic int loads;
    const char *file_name; /* of a second file; NULL: none */
    const char *text;      /* of score.py; NULL: as above */
    myr_runtime_wants wants;
    int64_t until_ns;
    size_t late; /* the model that the other thread asks */
} code;

static myr_rc code_load(void *ctx, const char *hex, myr_arena *arena, myr_runtime_bundle *out, myr_err *err)
{
    code *c = ctx;
    (void)err;
    atomic_fetch_add(&c->loads, 1);
    myr_runtime_file *files = myr_arena_calloc(arena, 2, sizeof *files);
    const char *text = myr_arena_printf(arena, "def run(b):\n    return [x + %d for x in b['x']]\n", hex[1] - '0');
    if (c->text != NULL) text = c->text;
    files[0] = (myr_runtime_file){"score.py", text, strlen(text)};
    files[1] = (myr_runtime_file){c->file_name, "x", 1};
    *out = (myr_runtime_bundle){files, c->file_name != NULL ? 2u : 1u, c->wants};
    return MYR_OK;
}

static void code_start(code *c, int64_t workers)
{
    const uint32_t column = 0;
    myr_runtime_opts opts;
    myr_err err;
    size_t size;
    *c = (code){0};
    EXPECT_RC(myr_runtime_defaults(&opts, &err), OK, &err);
    opts.python_workers = workers;
    EXPECT_RC(myr_runtime_new(&opts, &c->runtime, &err), OK, &err);
    for (size_t i = 0; i < MYR_COUNT_OF(c->models); i++) {
        unsigned char sha256[MYR_SHA256_BYTES] = {(unsigned char)i};
        myr_external_desc desc = {
            .runtime = MYR_RUNTIME_PYTHON, .sha256 = sha256, .columns = &column, .feature_count = 1, .output_count = 1};
        EXPECT_RC(myr_model_compile_external(&desc, 1, &c->models[i], &size, &err), OK, &err);
    }
}

static void code_stop(code *c)
{
    myr_runtime_release(c->runtime);
    for (size_t i = 0; i < MYR_COUNT_OF(c->models); i++)
        myr_free(c->models[i]);
}

static myr_rc code_ask(code *c, size_t i, double first, double out[ROWS], myr_err *err)
{
    double cells[ROWS];
    double *values[] = {out};
    uint8_t is_bad[ROWS] = {0};
    const uint32_t order[ROWS] = {0, 1, 2, 3, 4};
    const myr_runtime_source source = {.ctx = c, .load = code_load};
    myr_col col = {.name = "x", .type = MYR_COL_DOUBLE, .data.f64 = cells};
    for (int r = 0; r < ROWS; r++)
        cells[r] = first + r;
    const myr_runner_call call = {.model = (const myr_model *)(const void *)c->models[i],
                                  .features = &col,
                                  .feature_stride = 1,
                                  .order = order,
                                  .row_count = ROWS,
                                  .values = values,
                                  .is_bad = is_bad,
                                  .until_ns = c->until_ns};
    return myr_runtime_run(c->runtime, &source, &call, err);
}

static void code_expect(code *c, size_t i)
{
    double out[ROWS];
    myr_err err;
    EXPECT_RC(code_ask(c, i, 10, out, &err), OK, &err);
    for (int r = 0; r < ROWS; r++)
        EXPECT(out[r] == 10 + r + (double)i);
}

TEST(models_take_turns_where_there_is_room_for_one)
{
    code c;
    code_start(&c, 1);
    code_expect(&c, 1);
    code_expect(&c, 1);
    EXPECT_INT(atomic_load(&c.loads), 1);
    code_expect(&c, 2);
    code_expect(&c, 1);
    EXPECT_INT(atomic_load(&c.loads), 3);
    code_stop(&c);
}

typedef struct asker {
    code *code;
    int id, wrong, busy;
} asker;

static void *asker_body(void *arg)
{
    asker *a = arg;
    for (int i = 0; i < 40; i++) {
        double out[ROWS];
        size_t model = (size_t)(a->id + i) % 2;
        myr_err err = {0};
        myr_rc rc = code_ask(a->code, model, i, out, &err);
        if (rc == MYR_BUSY) {
            a->busy++;
        } else if (rc != MYR_OK || out[4] != i + 4 + (double)model) {
            a->wrong++;
        }
    }
    return NULL;
}

TEST(many_threads_ask)
{
    code c;
    asker askers[THREADS];
    myr_thread threads[THREADS];
    code_start(&c, 2);
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (asker){.code = &c, .id = i};
        EXPECT_RC(myr_thread_start(&threads[i], "asker", asker_body, &askers[i], NULL), OK, NULL);
    }
    for (int i = 0; i < THREADS; i++)
        myr_thread_join(threads[i]);
    for (int i = 0; i < THREADS; i++) {
        EXPECT_INT(askers[i].wrong, 0);
        EXPECT_INT(askers[i].busy, 0);
    }
    code_stop(&c);
}

TEST(files_that_lead_elsewhere_are_refused)
{
    static const char *const names[] = {"../x", "/etc/x", "a/../../x", ".hidden", "a//b", ""};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        code c;
        double out[ROWS];
        myr_err err = {0};
        code_start(&c, 1);
        c.file_name = names[i];
        EXPECT_RC(code_ask(&c, 0, 1, out, &err), BAD_FORMAT, &err);
        EXPECT_HAS(err.message, "a file of the model is named");
        code_stop(&c);
    }
}

static void *late_body(void *arg)
{
    double out[ROWS];
    return (void *)(intptr_t)code_ask(arg, ((const code *)arg)->late, 1, out, NULL);
}

TEST(nobody_waits_for_a_turn_beyond_their_time)
{
    code c;
    double out[ROWS];
    myr_thread thread;
    myr_err err = {0};
    code_start(&c, 1);
    c.text = "import time\n"
             "def run(b):\n"
             "    time.sleep(4)\n"
             "    return b['x']\n";
    EXPECT_RC(myr_thread_start(&thread, "late", late_body, &c, NULL), OK, NULL);
    while (atomic_load(&c.loads) == 0)
        usleep(1000);
    int64_t start_ns = myr_clock_mono_ns();
    code late = c; /* the same runtime and models */
    late.until_ns = start_ns + 300000000;
    EXPECT_RC(code_ask(&late, 0, 1, out, &err), BUSY, &err);
    EXPECT_HAS(err.message, "ask again");
    int64_t waited_ms = (myr_clock_mono_ns() - start_ns) / 1000000;
    EXPECT(waited_ms >= 300 && waited_ms < 3000);
    myr_thread_join(thread);
    code_stop(&c);
}

/* BUSY for want of room is no run: it would seem to take no time, and those who wait for a real one had no hope. */
TEST(a_call_that_did_not_run_tells_no_time)
{
    code c;
    double out[ROWS];
    myr_thread thread;
    myr_err err = {0};
    code_start(&c, 1);
    c.late = 1;
    c.text = "import time\n"
             "def run(b):\n"
             "    time.sleep(2)\n"
             "    return b['x']\n";
    for (int i = 0; i < 2; i++) {
        EXPECT_RC(myr_thread_start(&thread, "late", late_body, &c, NULL), OK, NULL);
        while (atomic_load(&c.loads) <= i)
            usleep(1000);
        if (i == 0) {
            EXPECT_RC(code_ask(&c, 0, 1, out, &err), BUSY, &err);
            EXPECT_HAS(err.message, "runtime.python.workers");
            c.late = 0; /* was read: its worker is being started */
        } else {
            EXPECT_RC(code_ask(&c, 0, 1, out, &err), OK, &err); /* waited 2 s and more */
        }
        myr_thread_join(thread);
    }
    code_stop(&c);
}

/* The process's mask, without changing it. */
static int umask_hook(void *ctx, myr_io_op op, const char *path)
{
    unsigned mask = 0;
    FILE *file = op == MYR_IO_MKDIR ? fopen("/proc/self/status", "re") : NULL;
    char line[256];
    (void)path;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "Umask:", 6) == 0) mask = (unsigned)strtoul(line + 6, NULL, 8);
    }
    if (file != NULL) fclose(file);
    if (mask == 077) *(bool *)ctx = true;
    return 0;
}

TEST(its_directory_is_its_users_alone_whatever_other_threads_make)
{
    code c;
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 64];
    struct stat st;
    bool has_changed = false;
    const char *tmp = getenv("TMPDIR");
    MYR_AUTO(myr_mem) before = tmp != NULL ? myr_strdup(tmp) : NULL;
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/a/b", dir);
    setenv("TMPDIR", path, 1);
    mode_t mask = umask(022);
    code_start(&c, 1);
    myr_io_set_hook(umask_hook, &has_changed);
    code_expect(&c, 1);
    myr_io_set_hook(NULL, NULL);
    snprintf(path, sizeof path, "%s/a/b/myriad-%ld", dir, (long)geteuid());
    EXPECT_INT(stat(path, &st), 0);
    EXPECT_INT(st.st_mode & 07777, 0700);
    EXPECT(!has_changed); /* the mask is the whole process's */
    code_stop(&c);
    umask(mask);
    if (before != NULL) {
        setenv("TMPDIR", before, 1);
    } else {
        unsetenv("TMPDIR");
    }
}

RUN()
