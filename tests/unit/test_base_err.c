/* Errors: the facts of rc.def, and messages that are one cut, printable line whatever goes into them. */
#include "testing.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(each_code_has_its_facts)
{
    for (int number = 0; number < MYR_RC_LAST_; number++) {
        myr_rc rc = (myr_rc)number;
        EXPECT(strlen(myr_rc_name(rc)) > 1 && strlen(myr_rc_text(rc)) > 1);
        EXPECT(myr_rc_http(rc) >= 200 && myr_rc_http(rc) < 600);
        EXPECT(myr_rc_grpc(rc) >= 0 && myr_rc_grpc(rc) <= 16);
        EXPECT((myr_rc_exit(rc) == 0) == (rc == MYR_OK));
    }
    EXPECT_STR(myr_rc_name(MYR_NOT_FOUND), "NOT_FOUND");
    EXPECT_INT(myr_rc_http(MYR_TOO_LARGE), 413);
    EXPECT_INT(myr_rc_grpc(MYR_NOT_FOUND), 5);
    EXPECT_INT(myr_rc_exit(MYR_BAD_USAGE), 64);
    EXPECT(myr_rc_retryable(MYR_BUSY) && !myr_rc_retryable(MYR_BAD_INPUT));
}

TEST(an_unknown_code_reads_as_internal)
{
    EXPECT_STR(myr_rc_name(MYR_RC_LAST_), "INTERNAL");
    EXPECT_STR(myr_rc_name((myr_rc)-1), "INTERNAL");
    EXPECT_INT(myr_rc_http((myr_rc)12345), 500);
}

TEST(set_fills_all_fields)
{
    myr_err err;
    memset(&err, 'x', sizeof err);
    EXPECT_RC(myr_err_set(&err, MYR_NOT_FOUND, "pack.c", 12, "%s: no such model, %d known", "oj", 3), NOT_FOUND, NULL);
    EXPECT_STR(err.message, "oj: no such model, 3 known");
    EXPECT_STR(err.file, "pack.c");
    EXPECT_INT(err.line, 12);
    EXPECT_INT(err.rc, MYR_NOT_FOUND);
    EXPECT_INT(err.message[MYR_ERR_MESSAGE_BYTES - 1], 0); /* nothing of the old bytes is left */
    EXPECT_RC(myr_err_set(NULL, MYR_BUSY, "a.c", 1, "x"), BUSY, NULL);
}

static void message_of_length(myr_err *err, int length)
{
    char text[2000];
    memset(text, 'a', sizeof text);
    MYR_IGNORE(MYR_ERROR(err, IO, "%.*s", length, text));
}

TEST(a_message_is_cut_one_byte_past_the_limit)
{
    myr_err err = {0};
    message_of_length(&err, MYR_ERR_MESSAGE_BYTES - 1);
    EXPECT_INT(strlen(err.message), MYR_ERR_MESSAGE_BYTES - 1);
    EXPECT(strstr(err.message, "…") == NULL);
    message_of_length(&err, MYR_ERR_MESSAGE_BYTES);
    EXPECT_INT(strlen(err.message), MYR_ERR_MESSAGE_BYTES - 1);
    EXPECT_STR(err.message + MYR_ERR_MESSAGE_BYTES - 4, "…");
    message_of_length(&err, 1999); /* more than the formatting buffer */
    EXPECT_INT(strlen(err.message), MYR_ERR_MESSAGE_BYTES - 1);
    EXPECT_STR(err.message + MYR_ERR_MESSAGE_BYTES - 4, "…");
}

TEST(a_cut_never_splits_a_character)
{
    for (int lead = 0; lead < 8; lead++) {
        char text[600];
        size_t at = 0;
        for (; at < (size_t)lead; at++)
            text[at] = 'a';
        while (at + 5 < sizeof text)
            at += (size_t)snprintf(text + at, 5, "%s", lead % 2 != 0 ? "€" : "😀");
        myr_err err = {0};
        MYR_IGNORE(MYR_ERROR(&err, IO, "%s", text));
        size_t size = strlen(err.message);
        EXPECT(size < MYR_ERR_MESSAGE_BYTES && size > MYR_ERR_MESSAGE_BYTES - 9);
        EXPECT(myr_utf8_is_valid(myr_str_of(err.message)));
        EXPECT_STR(err.message + size - 3, "…");
    }
}

TEST(controls_and_broken_bytes_are_escaped)
{
    myr_err err = {0};
    MYR_IGNORE(MYR_ERROR(&err, BAD_INPUT, "a\nb\t\x7f\xff z\xc3\xa4 \xc2\x85 \xed\xa0\x80 \xc3"));
    EXPECT_STR(err.message, "a\\x0ab\\x09\\x7f\\xff zä \\xc2\\x85 \\xed\\xa0\\x80 \\xc3");
    /* an escape at the very end is kept whole or left out */
    for (int length = 225; length < 240; length++) {
        char text[300];
        memset(text, 'a', sizeof text);
        memset(text + length, '\n', 10);
        text[length + 10] = '\0';
        MYR_IGNORE(MYR_ERROR(&err, BAD_INPUT, "%s", text));
        EXPECT(strlen(err.message) < MYR_ERR_MESSAGE_BYTES);
        EXPECT((strlen(err.message) - 3 - (size_t)length) % 4 == 0 || length > 236);
    }
}

TEST(prefix_stands_before_the_message)
{
    myr_err err = {0};
    MYR_IGNORE(MYR_ERROR(&err, BAD_FORMAT, "tree 3: no child"));
    EXPECT_RC(myr_err_prefix(&err, MYR_IO, "%s:%d: ", "models.csv", 3), BAD_FORMAT, NULL);
    EXPECT_STR(err.message, "models.csv:3: tree 3: no child");
    EXPECT_INT(err.rc, MYR_BAD_FORMAT);
    EXPECT_RC(myr_err_prefix(&err, MYR_IO, "%s: ", err.message), BAD_FORMAT, NULL); /* its own text as an argument */
    EXPECT_STR(err.message, "models.csv:3: tree 3: no child: models.csv:3: tree 3: no child");
    EXPECT_RC(myr_err_prefix(NULL, MYR_IO, "x"), IO, NULL);
    myr_err empty = {0};
    EXPECT_RC(myr_err_prefix(&empty, MYR_NO_MEMORY, "loading: "), NO_MEMORY, NULL);
    EXPECT_STR(empty.message, "loading: out of memory");
    char dots[400];
    memset(dots, '.', sizeof dots - 1);
    dots[sizeof dots - 1] = '\0';
    MYR_IGNORE(myr_err_prefix(&err, MYR_IO, "%s%s%s", dots, dots, dots));
    EXPECT_INT(strlen(err.message), MYR_ERR_MESSAGE_BYTES - 1);
}

TEST(errno_maps_to_codes)
{
    EXPECT_INT(myr_rc_from_errno(ENOENT), MYR_NOT_FOUND);
    EXPECT_INT(myr_rc_from_errno(ENOSPC), MYR_NO_SPACE);
    EXPECT_INT(myr_rc_from_errno(EDQUOT), MYR_NO_SPACE);
    EXPECT_INT(myr_rc_from_errno(ENOMEM), MYR_NO_MEMORY);
    EXPECT_INT(myr_rc_from_errno(EACCES), MYR_DENIED);
    EXPECT_INT(myr_rc_from_errno(EEXIST), MYR_EXISTS);
    EXPECT_INT(myr_rc_from_errno(EIO), MYR_IO);
    for (int error = 0; error < 200; error++)
        EXPECT(myr_rc_from_errno(error) != MYR_OK);
}

static myr_rc fails_when(bool wanted, int *steps, myr_err *err)
{
    *steps += 1;
    if (wanted) MYR_FAIL(err, TIMEOUT, "late");
    return MYR_OK;
}

static myr_rc two_steps(bool first, bool second, int *steps, myr_err *err)
{
    MYR_TRY(fails_when(first, steps, err));
    MYR_TRY(fails_when(second, steps, err));
    *steps += 10;
    return MYR_OK;
}

TEST(try_returns_at_the_first_failure)
{
    int steps = 0;
    EXPECT_RC(two_steps(true, false, &steps, NULL), TIMEOUT, NULL);
    EXPECT_INT(steps, 1);
    myr_err err = {0};
    EXPECT_RC(two_steps(false, true, &steps, &err), TIMEOUT, &err);
    EXPECT_INT(steps, 3);
    EXPECT_RC(two_steps(false, false, &steps, &err), OK, &err);
    EXPECT_INT(steps, 15);
}

TEST(a_broken_invariant_ends_the_process)
{
    pid_t child = fork();
    if (child == 0) {
        MYR_IGNORE(freopen("/dev/null", "w", stderr) == NULL); /* a quiet test */
        signal(SIGABRT, SIG_DFL);
        MYR_ASSERT(1 + 1 == 3);
        _exit(0);
    }
    int status = 0;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

RUN()
