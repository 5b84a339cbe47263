/* Environments: made once, found by many, listed without being in the way, removed when nobody has them. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/compute.h"
#include "testing.h"

static char python[MYR_PATH_BYTES_MAX];

/* ---- a directory with environments that are not made, but look as if they were ---- */

#define NOW_MS 1800000000000 /* of the clock that stands still */

/* Its name: the letter, so often as a hash has. */
static void fake_hash(char letter, char out[MYR_ENVIRONMENT_HASH_CHARS + 1])
{
    memset(out, letter, MYR_ENVIRONMENT_HASH_CHARS);
    out[MYR_ENVIRONMENT_HASH_CHARS] = '\0';
}

static void fake_path(const char *dir, char letter, const char *part, char out[MYR_PATH_BYTES_MAX])
{
    char hash[MYR_ENVIRONMENT_HASH_CHARS + 1];
    fake_hash(letter, hash);
    snprintf(out, MYR_PATH_BYTES_MAX, "%s/%s%s", dir, hash, part);
}

static void lock_as(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    EXPECT(fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0);
}

/* Had age_ms ago. bytes < 0: it is not whole. */
static void fake(const char *dir, char letter, int64_t bytes, int64_t age_ms)
{
    char path[MYR_PATH_BYTES_MAX], text[32];
    int64_t used_ms = NOW_MS - age_ms;
    const struct timespec used = {.tv_sec = used_ms / 1000, .tv_nsec = used_ms % 1000 * 1000000};
    const struct timespec times[] = {used, used};
    myr_err err;
    fake_path(dir, letter, "/lib", path);
    EXPECT_RC(myr_io_mkdirs(path, &err), OK, &err);
    fake_path(dir, letter, "/.complete", path);
    snprintf(text, sizeof text, "%lld\n", (long long)bytes);
    if (bytes >= 0) EXPECT_RC(myr_file_write(path, text, strlen(text), &err), OK, &err);
    fake_path(dir, letter, ".lock", path);
    EXPECT_RC(myr_file_write(path, "", 0, &err), OK, &err);
    EXPECT_INT(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool fake_is_there(const char *dir, char letter)
{
    char path[MYR_PATH_BYTES_MAX];
    fake_path(dir, letter, "", path);
    return myr_io_exists(path);
}

/* Somebody has it, until the descriptor is closed. */
static int fake_hold(const char *dir, char letter, short type)
{
    char path[MYR_PATH_BYTES_MAX];
    fake_path(dir, letter, ".lock", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    lock_as(fd, type);
    return fd;
}

/* Which of a, b, c, … are there: "ac". */
static const char *fakes_left(const char *dir, char out[27])
{
    size_t count = 0;
    for (char letter = 'a'; letter <= 'f'; letter++) {
        if (fake_is_there(dir, letter)) out[count++] = letter;
    }
    out[count] = '\0';
    return out;
}

TEST(a_list_says_what_each_is)
{
    char dir[TESTING_PATH_BYTES], path[MYR_PATH_BYTES_MAX], hash[MYR_ENVIRONMENT_HASH_CHARS + 1];
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_environment_row *rows = NULL;
    size_t count = 77;
    myr_err err;
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/none", dir);
    EXPECT_RC(myr_environment_list(path, arena, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 0);
    fake(dir, 'a', 1000, 5);
    fake(dir, 'b', 2000, 0);
    fake(dir, 'c', -1, 0);
    fake(dir, 'd', -1, 0);
    fake(dir, 'e', 3000, 0);
    fake_path(dir, 'f', "/lib", path);
    EXPECT_RC(myr_io_mkdirs(path, &err), OK, &err); /* without a lock */
    snprintf(path, sizeof path, "%s/not-a-hash", dir);
    EXPECT_RC(myr_io_mkdirs(path, &err), OK, &err);
    snprintf(path, sizeof path, "%s/ABCDEFABCDEFABCDEFABCDEF", dir);
    EXPECT_RC(myr_io_mkdirs(path, &err), OK, &err);
    int used = fake_hold(dir, 'b', F_RDLCK), made = fake_hold(dir, 'c', F_WRLCK), gone = fake_hold(dir, 'e', F_WRLCK);
    EXPECT_RC(myr_environment_list(dir, arena, &rows, &count, &err), OK, &err);
    static const myr_environment_state states[] = {MYR_ENVIRONMENT_IDLE,       MYR_ENVIRONMENT_IN_USE,
                                                   MYR_ENVIRONMENT_BEING_MADE, MYR_ENVIRONMENT_LEFT_OVER,
                                                   MYR_ENVIRONMENT_BEING_MADE, MYR_ENVIRONMENT_LEFT_OVER};
    static const char *const names[] = {"idle", "in use", "being made", "left over", "being made", "left over"};
    EXPECT_INT(count, MYR_COUNT_OF(states));
    for (size_t i = 0; i < count && i < MYR_COUNT_OF(states); i++) {
        fake_hash((char)('a' + (int)i), hash);
        EXPECT_STR(rows[i].hash, hash);
        EXPECT_STR(myr_environment_state_name(rows[i].state), names[i]);
        EXPECT_INT(rows[i].state, states[i]);
        EXPECT((rows[i].made_ms != 0) == (i == 0 || i == 1 || i == 4));
    }
    EXPECT_INT(rows[0].bytes, 1000);
    EXPECT_INT(rows[0].used_ms, NOW_MS - 5);
    EXPECT_INT(rows[1].bytes, 2000);
    EXPECT_INT(rows[2].bytes, 0); /* it changes */
    EXPECT(rows[3].bytes > 0);    /* what is left over has its bytes on the disk */
    EXPECT_INT(rows[5].used_ms, 0);
    close(used);
    close(made);
    close(gone);
}

TEST(a_mark_that_says_nothing_is_measured)
{
    static const char *const texts[] = {"", "x\n", "-5\n", "99999999999999999999999999999999999\n", "1 2\n"};
    char dir[TESTING_PATH_BYTES], path[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_environment_row *rows = NULL;
    size_t count = 0;
    int64_t bytes = 0;
    myr_err err;
    testing_dir(dir);
    fake(dir, 'a', 1, 0);
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        fake_path(dir, 'a', "/.complete", path);
        EXPECT_RC(myr_file_write(path, texts[i], strlen(texts[i]), &err), OK, &err);
        fake_path(dir, 'a', "", path);
        EXPECT_RC(myr_io_measure_tree(path, &bytes, &err), OK, &err);
        EXPECT_RC(myr_environment_list(dir, arena, &rows, &count, &err), OK, &err);
        EXPECT(count == 1 && rows[0].state == MYR_ENVIRONMENT_IDLE && rows[0].bytes == bytes);
    }
}

TEST(a_budget_at_its_limit_and_one_past_it)
{
    char dir[TESTING_PATH_BYTES], left[27];
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_environment_prune room = {.by_size = true, .bytes_max = 600};
    myr_environment_pruned pruned;
    myr_err err;
    testing_dir(dir);
    fake(dir, 'a', 100, 20); /* had before c, and after b */
    fake(dir, 'b', 200, 30);
    fake(dir, 'c', 300, 10);
    EXPECT_RC(myr_environment_remove(dir, &room, arena, &pruned, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "abc");
    EXPECT(pruned.removed_count == 0 && pruned.left_count == 3 && pruned.left_bytes == 600);
    room.bytes_max = 599;
    EXPECT_RC(myr_environment_remove(dir, &room, arena, &pruned, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "ac"); /* the one had least lately, and no more than must be */
    EXPECT(pruned.removed_count == 1 && pruned.removed[0].hash[0] == 'b' && pruned.removed_bytes == 200);
    EXPECT(pruned.left_count == 2 && pruned.left_bytes == 400 && pruned.left_in_use == 0);
    int fd = fake_hold(dir, 'a', F_RDLCK);
    room.bytes_max = 0;
    EXPECT_RC(myr_environment_remove(dir, &room, arena, &pruned, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "a"); /* over its budget, and in use */
    EXPECT(pruned.left_count == 1 && pruned.left_in_use == 1 && pruned.left_bytes == 100);
    close(fd);
    myr_environment_sweep(dir, NOW_MS, 100);
    EXPECT_STR(fakes_left(dir, left), "a");
    myr_environment_sweep(dir, NOW_MS, 0); /* any size */
    EXPECT_STR(fakes_left(dir, left), "a");
    myr_environment_sweep(dir, NOW_MS, 99);
    EXPECT_STR(fakes_left(dir, left), "");
}

TEST(an_age_at_its_limit_and_one_short_of_it)
{
    char dir[TESTING_PATH_BYTES], left[27];
    myr_environment_prune old = {.by_age = true, .keep_ms = 1000};
    static const char kept_hash[] = "cccccccccccccccccccccccc", *const kept[] = {kept_hash, NULL};
    myr_err err;
    testing_dir(dir);
    myr_clock_freeze(NOW_MS);
    fake(dir, 'a', 1, 999);
    fake(dir, 'b', 1, 1000);
    fake(dir, 'c', 1, 5000);
    fake(dir, 'd', -1, 0);    /* left over: nobody can use it, whatever its age */
    fake(dir, 'e', 1, -5000); /* the clock was set back */
    old.kept = kept;
    EXPECT_RC(myr_environment_remove(dir, &old, NULL, NULL, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "ace");
    old.kept = NULL;
    old.keep_ms = 0;
    EXPECT_RC(myr_environment_remove(dir, &old, NULL, NULL, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "");
    snprintf(left, sizeof left, "/no/such/directory");
    EXPECT_RC(myr_environment_remove(left, &old, NULL, NULL, &err), OK, &err);
    myr_clock_release();
}

static int mark_of_b_hook(void *ctx, myr_io_op op, const char *path)
{
    (void)ctx;
    return op == MYR_IO_UNLINK && myr_str_ends_with(myr_str_of(path), "bbbb/.complete") ? EACCES : 0;
}

TEST(what_can_not_be_removed_is_told_and_the_others_go)
{
    char dir[TESTING_PATH_BYTES], left[27];
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    const myr_environment_prune all = {.by_age = true};
    myr_environment_pruned pruned;
    myr_err err;
    testing_dir(dir);
    for (char letter = 'a'; letter <= 'c'; letter++)
        fake(dir, letter, 10, 1);
    myr_io_set_hook(mark_of_b_hook, NULL);
    EXPECT_RC(myr_environment_remove(dir, &all, arena, &pruned, &err), DENIED, &err);
    myr_io_set_hook(NULL, NULL);
    EXPECT_HAS(err.message, "bbbb/.complete");
    EXPECT_STR(fakes_left(dir, left), "b");
    EXPECT(pruned.removed_count == 2 && pruned.removed_bytes == 20 && pruned.left_bytes == 10);
}

/* Has one as soon as its lock was asked about: between the look at it and its removal. */
typedef struct taker {
    const char *dir;
    int fd;
    bool gives_back;
} taker;

static int taker_hook(void *ctx, myr_io_op op, const char *path)
{
    taker *t = ctx;
    if (op != MYR_IO_OPEN || t->fd >= 0 || !myr_str_ends_with(myr_str_of(path), "aaaa/.complete")) return 0;
    t->fd = fake_hold(t->dir, 'a', F_RDLCK);
    EXPECT_INT(futimens(t->fd, NULL), 0);
    if (t->gives_back) lock_as(t->fd, F_UNLCK);
    return 0;
}

TEST(one_that_is_taken_meanwhile_stays)
{
    char dir[TESTING_PATH_BYTES], left[27];
    const myr_environment_prune all = {.by_age = true};
    myr_err err;
    testing_dir(dir);
    for (int gives_back = 0; gives_back < 2; gives_back++) {
        taker t = {.dir = dir, .fd = -1, .gives_back = gives_back != 0};
        fake(dir, 'a', 1, 5);
        myr_io_set_hook(taker_hook, &t);
        EXPECT_RC(myr_environment_remove(dir, &all, NULL, NULL, &err), OK, &err);
        myr_io_set_hook(NULL, NULL);
        EXPECT(t.fd >= 0);
        EXPECT_STR(fakes_left(dir, left), "a");
        close(t.fd);
    }
    EXPECT_RC(myr_environment_remove(dir, &all, NULL, NULL, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "");
}

TEST(who_makes_room_waits_for_another_who_does)
{
    char dir[TESTING_PATH_BYTES], path[MYR_PATH_BYTES_MAX], left[27];
    const myr_environment_prune all = {.by_age = true};
    myr_err err;
    testing_dir(dir);
    fake(dir, 'a', 1, 5);
    snprintf(path, sizeof path, "%s/.prune", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    lock_as(fd, F_WRLCK);
    myr_clock_freeze(NOW_MS); /* its sleep moves it */
    EXPECT_RC(myr_environment_remove(dir, &all, NULL, NULL, &err), BUSY, &err);
    myr_clock_release();
    EXPECT_HAS(err.message, "another process removes environments");
    EXPECT_STR(fakes_left(dir, left), "a");
    close(fd);
    EXPECT_RC(myr_environment_remove(dir, &all, NULL, NULL, &err), OK, &err);
    EXPECT_STR(fakes_left(dir, left), "");
}

TEST(each_failed_allocation_removes_nothing_that_must_stay)
{
    char dir[TESTING_PATH_BYTES], left[27];
    const myr_environment_prune room = {.by_size = true, .bytes_max = 10};
    testing_dir(dir);
    fake(dir, 'a', 10, 1);
    FAIL_EACH_ALLOC (nth) {
        myr_rc rc = myr_environment_remove(dir, &room, NULL, NULL, NULL);
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY);
        EXPECT_STR(fakes_left(dir, left), "a");
    }
}

/* ---- real ones ---- */

typedef struct real_place {
    char list[TESTING_PATH_BYTES + 32], environments[TESTING_PATH_BYTES + 32];
} real_place;

/* What asks for the environment of these requirements; it borrows the place. */
static myr_environment_opts real_opts(real_place *place, const char *requirements)
{
    char dir[TESTING_PATH_BYTES];
    myr_err err;
    testing_dir(dir);
    snprintf(place->list, sizeof place->list, "%s/requirements.txt", dir);
    snprintf(place->environments, sizeof place->environments, "%s/environments", dir);
    EXPECT_RC(myr_file_write(place->list, requirements, strlen(requirements), &err), OK, &err);
    EXPECT_RC(myr_program_find("python3", python, sizeof python, &err), OK, &err);
    return (myr_environment_opts){
        .dir = place->environments, .python = python, .requirements = place->list, .timeout_ms = 100000};
}

/* An empty list of requirements: venv alone, no network. */
TEST(an_environment_is_made_once_and_removed_when_nobody_has_it)
{
    real_place place;
    myr_environment *a = NULL, *b = NULL;
    myr_err err;
    myr_environment_opts opts = real_opts(&place, "\n");
    opts.bytes_max = 1;
    EXPECT_RC(myr_io_mkdirs(place.environments, &err), OK, &err);
    fake(place.environments, 'a', 100, 1);
    EXPECT_RC(myr_environment_acquire(&opts, &a, &err), OK, &err);
    EXPECT(myr_io_exists(myr_environment_python(a)));
    EXPECT(!fake_is_there(place.environments, 'a')); /* it is over its budget alone, but in use: all others went */
    int64_t start_ns = myr_clock_mono_ns();
    EXPECT_RC(myr_environment_acquire(&opts, &b, &err), OK, &err);
    EXPECT((myr_clock_mono_ns() - start_ns) / 1000000 < 1000); /* it was there */
    EXPECT_STR(myr_environment_python(b), myr_environment_python(a));
    char path[MYR_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s", myr_environment_python(a));
    myr_environment_sweep(place.environments, 0, 0);
    EXPECT(myr_io_exists(path)); /* both have it */
    myr_environment_release(a);
    myr_environment_sweep(place.environments, 0, 0);
    EXPECT(myr_io_exists(path));
    myr_environment_release(b);
    myr_environment_sweep(place.environments, 3600000, 0);
    EXPECT(myr_io_exists(path)); /* it was had a moment ago */
    myr_environment_sweep(place.environments, 0, 0);
    EXPECT(!myr_io_exists(path));
    opts.requirements = NULL;
    EXPECT_RC(myr_environment_acquire(&opts, &a, &err), OK, &err);
    EXPECT_STR(myr_environment_python(a), python);
    myr_environment_release(a);
}

/* Fails a removal after its mark (op UNLINK), before what comes after the mark (SYNC), or with the mark itself. */
typedef struct cut {
    myr_io_op op;
    bool is_mark;
} cut;

static int cut_hook(void *ctx, myr_io_op op, const char *path)
{
    const cut *c = ctx;
    return op == c->op && myr_str_ends_with(myr_str_of(path), "/.complete") == c->is_mark ? EIO : 0;
}

TEST(a_removal_that_is_cut_leaves_nothing_that_counts_as_whole)
{
    cut cuts[] = {{MYR_IO_UNLINK, true}, {MYR_IO_SYNC, false}, {MYR_IO_UNLINK, false}};
    real_place place;
    char path[MYR_PATH_BYTES_MAX], config[MYR_PATH_BYTES_MAX + 32], mark[MYR_PATH_BYTES_MAX + 32];
    myr_err err;
    myr_environment_opts opts = real_opts(&place, "\n");
    for (size_t i = 0; i < MYR_COUNT_OF(cuts); i++) {
        myr_environment *a = NULL;
        EXPECT_RC(myr_environment_acquire(&opts, &a, &err), OK, &err);
        snprintf(path, sizeof path, "%s", myr_environment_python(a));
        path[strlen(path) - strlen("/bin/python")] = '\0';
        myr_environment_release(a);
        snprintf(config, sizeof config, "%s/pyvenv.cfg", path);
        snprintf(mark, sizeof mark, "%s/.complete", path);
        EXPECT(myr_io_exists(config) && myr_io_exists(mark));
        myr_io_set_hook(cut_hook, &cuts[i]);
        myr_environment_sweep(place.environments, 0, 0);
        myr_io_set_hook(NULL, NULL);
        EXPECT(myr_io_exists(mark) == cuts[i].is_mark); /* whole as it was, or whole for nobody … */
        EXPECT(myr_io_exists(config));                  /* … and all of it is still there in each case */
        if (!cuts[i].is_mark) EXPECT_INT(unlink(config), 0);
        EXPECT_RC(myr_environment_acquire(&opts, &a, &err), OK, &err);
        EXPECT(myr_io_exists(config)); /* made anew */
        myr_environment_release(a);
    }
}

TEST(who_only_wants_to_find_an_environment_does_not_wait)
{
    real_place place;
    char path[MYR_PATH_BYTES_MAX], lock[MYR_PATH_BYTES_MAX + 8];
    myr_environment *a = NULL;
    myr_err err;
    myr_environment_opts opts = real_opts(&place, "\n");
    myr_environment_opts find = opts;
    find.only_found = true;
    EXPECT_RC(myr_environment_acquire(&find, &a, &err), BUSY, &err); /* nobody has made it */
    EXPECT_HAS(err.message, "is still being made: ask again");
    EXPECT_RC(myr_environment_acquire(&opts, &a, &err), OK, &err);
    snprintf(path, sizeof path, "%s", myr_environment_python(a));
    path[strlen(path) - strlen("/bin/python")] = '\0';
    snprintf(lock, sizeof lock, "%s.lock", path);
    myr_environment_release(a);
    a = NULL;
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    lock_as(fd, F_WRLCK); /* as one that makes it */
    int64_t start_ns = myr_clock_mono_ns();
    EXPECT_RC(myr_environment_acquire(&find, &a, &err), BUSY, &err);
    EXPECT_HAS(err.message, "ask again");
    _Atomic bool stop = true;
    opts.stop = &stop;
    EXPECT_RC(myr_environment_acquire(&opts, &a, &err), BUSY, &err); /* and who waits can be told to end */
    EXPECT(a == NULL && (myr_clock_mono_ns() - start_ns) / 1000000 < 20000);
    close(fd);
    EXPECT_RC(myr_environment_acquire(&find, &a, &err), OK, &err);
    myr_environment_release(a);
}

TEST(an_environment_that_can_not_be_made)
{
    real_place place;
    static const char text[] = "--no-index\nno-such-package-here\n";
    myr_environment *a = NULL;
    myr_err err;
    myr_environment_opts opts = real_opts(&place, text);
    EXPECT_RC(myr_environment_acquire(&opts, &a, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "its environment can't be made (pip): ");
    EXPECT_HAS(err.message, "no-such-package-here");
    EXPECT(a == NULL);
    opts.timeout_ms = 1;
    EXPECT_RC(myr_environment_acquire(&opts, &a, &err), TIMEOUT, &err);
}

RUN()
