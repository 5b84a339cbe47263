/* Two names change places, or nothing happens. */
#include "testing.h"

#include "base/link.h"

TEST(exchange_swaps_directories_and_files)
{
    char dir[TESTING_PATH_BYTES], a[TESTING_PATH_BYTES + 8], b[TESTING_PATH_BYTES + 8], in_a[TESTING_PATH_BYTES + 16];
    myr_err err = {0};
    testing_dir(dir);
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    snprintf(in_a, sizeof in_a, "%s/a/x", dir);
    EXPECT_RC(myr_io_mkdirs(a, &err), OK, &err);
    EXPECT_RC(myr_file_write(in_a, "1", 1, &err), OK, &err);
    EXPECT_RC(myr_io_exchange(a, b, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, b);
    EXPECT_RC(myr_file_write(b, "2", 1, &err), OK, &err);
    EXPECT_RC(myr_io_exchange(a, b, &err), OK, &err);
    EXPECT(myr_io_is_dir(b) && !myr_io_is_dir(a));
    FAIL_EACH_IO_AS(nth, EINVAL)
    {
        myr_rc rc = myr_io_exchange(a, b, &err);
        EXPECT(rc == MYR_OK || rc == MYR_UNSUPPORTED);
        if (nth == 1) EXPECT(rc == MYR_UNSUPPORTED && myr_io_is_dir(b));
    }
}

TEST(a_second_name_is_the_same_file)
{
    char dir[TESTING_PATH_BYTES], a[TESTING_PATH_BYTES + 8], b[TESTING_PATH_BYTES + 8];
    myr_err err = {0};
    int64_t used_ms = 0, bytes = 0;
    testing_dir(dir);
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    EXPECT_RC(myr_io_link(a, b, &err), NOT_FOUND, &err);
    EXPECT_RC(myr_file_write(a, "hello", 5, &err), OK, &err);
    EXPECT_RC(myr_io_link(a, b, &err), OK, &err);
    EXPECT_RC(myr_io_link(a, b, &err), EXISTS, &err);
    EXPECT_RC(myr_io_set_used(a, 1234567890123, &err), OK, &err);
    EXPECT_RC(myr_io_used(b, &used_ms, &bytes, &err), OK, &err);
    EXPECT_INT(used_ms, 1234567890123);
    EXPECT_INT(bytes, 5);
    EXPECT_RC(myr_io_unlink(a, &err), OK, &err);
    EXPECT_RC(myr_io_size(b, &bytes, &err), OK, &err);
}

RUN()
