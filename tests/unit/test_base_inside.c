/* A file that another file names: found beside it or below, refused anywhere else. */
#include <sys/stat.h>
#include <unistd.h>

#include "testing.h"

static char inside_root[TESTING_PATH_BYTES];

static void inside_put(const char *name)
{
    char path[MYR_PATH_BYTES_MAX];
    EXPECT_RC(myr_path_join(path, sizeof path, inside_root, name, NULL), OK, NULL);
    EXPECT_RC(myr_file_write(path, "x", 1, NULL), OK, NULL);
}

static void inside_link(const char *target, const char *name)
{
    char path[MYR_PATH_BYTES_MAX];
    EXPECT_RC(myr_path_join(path, sizeof path, inside_root, name, NULL), OK, NULL);
    EXPECT(symlink(target, path) == 0);
}

/* root/secret, root/home/{a.bin, sub/b.bin, links} */
static void inside_home(char dir[MYR_PATH_BYTES_MAX])
{
    char sub[MYR_PATH_BYTES_MAX];
    testing_dir(inside_root);
    EXPECT_RC(myr_path_join(dir, MYR_PATH_BYTES_MAX, inside_root, "home", NULL), OK, NULL);
    EXPECT_RC(myr_path_join(sub, sizeof sub, dir, "sub", NULL), OK, NULL);
    EXPECT_RC(myr_io_mkdirs(sub, NULL), OK, NULL);
    inside_put("secret");
    inside_put("homely");
    inside_put("home/a.bin");
    inside_put("home/sub/b.bin");
}

TEST(files_beside_and_below_are_found)
{
    char dir[MYR_PATH_BYTES_MAX], out[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    inside_home(dir);
    inside_link("sub/b.bin", "home/link.bin");
    EXPECT_RC(myr_path_inside(dir, "a.bin", out, sizeof out, &err), OK, &err);
    EXPECT(myr_str_ends_with(myr_str_of(out), "/home/a.bin"));
    EXPECT_RC(myr_path_inside(dir, "sub/b.bin", out, sizeof out, &err), OK, &err);
    EXPECT_RC(myr_path_inside(dir, "link.bin", out, sizeof out, &err), OK, &err);
    EXPECT(myr_str_ends_with(myr_str_of(out), "/home/sub/b.bin"));
    EXPECT(chdir(dir) == 0);
    EXPECT_RC(myr_path_inside(".", "a.bin", out, sizeof out, &err), OK, &err);
    EXPECT(chdir("/") == 0);
}

TEST(names_that_lead_elsewhere_are_denied)
{
    static const char *const names[] = {"",        "/etc/hostname", "..",         "../secret",  "sub/../../secret",
                                        "./a.bin", "sub/./b",       "sub//b.bin", "sub\\b.bin", "a.bin/",
                                        "...//..", "sub/.."};
    char dir[MYR_PATH_BYTES_MAX], out[MYR_PATH_BYTES_MAX] = "untouched";
    myr_err err = {0};
    inside_home(dir);
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++)
        EXPECT_RC(myr_path_inside(dir, names[i], out, sizeof out, &err), DENIED, &err);
    EXPECT_STR(out, "untouched");
}

TEST(links_that_lead_out_are_denied)
{
    char dir[MYR_PATH_BYTES_MAX], out[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    inside_home(dir);
    inside_link("../secret", "home/out.bin");
    inside_link("..", "home/up");
    inside_link("/etc/hostname", "home/far.bin");
    inside_link("../homely", "home/near.bin"); /* the directory's path is only the beginning of its */
    EXPECT_RC(myr_path_inside(dir, "out.bin", out, sizeof out, &err), DENIED, &err);
    EXPECT_RC(myr_path_inside(dir, "up/secret", out, sizeof out, &err), DENIED, &err);
    EXPECT_RC(myr_path_inside(dir, "far.bin", out, sizeof out, &err), DENIED, &err);
    EXPECT_RC(myr_path_inside(dir, "near.bin", out, sizeof out, &err), DENIED, &err);
    EXPECT_HAS(err.message, "leads out");
}

TEST(what_is_no_file_is_said)
{
    char dir[MYR_PATH_BYTES_MAX], out[MYR_PATH_BYTES_MAX], pipe_path[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    inside_home(dir);
    EXPECT_RC(myr_path_inside(dir, "gone.bin", out, sizeof out, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "gone.bin");
    EXPECT_RC(myr_path_inside(dir, "sub", out, sizeof out, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_path_join(pipe_path, sizeof pipe_path, dir, "pipe", NULL), OK, NULL);
    EXPECT(mkfifo(pipe_path, 0600) == 0);
    EXPECT_RC(myr_path_inside(dir, "pipe", out, sizeof out, &err), BAD_INPUT, &err);
    EXPECT_RC(myr_path_inside(dir, "a.bin", out, 4, &err), BAD_INPUT, &err);
    inside_link("loop", "home/loop");
    EXPECT(myr_path_inside(dir, "loop", out, sizeof out, &err) != MYR_OK);
}

TEST(a_failed_look_is_an_error)
{
    char dir[MYR_PATH_BYTES_MAX], out[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    inside_home(dir);
    FAIL_EACH_IO(nth)
    {
        myr_rc rc = myr_path_inside(dir, "a.bin", out, sizeof out, &err);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_IO);
        if (rc == MYR_OK) break;
    }
}

RUN()
