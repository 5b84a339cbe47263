/*
 * A thin layer over cmocka. A file of tests is: #include "testing.h", TEST(name) { … EXPECT(…); … } as often as needed,
 * and RUN() at the end. Tests register themselves, so none can be forgotten. Before and after each test all injected
 * faults, the moved clock and the seeded randomness are taken back.
 *
 *   EXPECT(cond)                      fails the test, naming the condition
 *   EXPECT_STR(text, wanted)          shows both texts
 *   EXPECT_INT(value, wanted)         shows both numbers
 *   EXPECT_RC(call, code, &err)       call gives MYR_<code>; shows the message otherwise. err may be NULL.
 *   EXPECT_HAS(text, part)            part stands in text (for messages)
 *   FAIL_EACH_ALLOC(nth) { … }        runs the body with the 1st, 2nd, … allocation failing, until one run made fewer
 *   FAIL_EACH_IO(nth) { … }           the same with file calls, which fail with EIO
 *   FAIL_EACH_IO_AS(nth, ENOSPC)      … or with another errno
 *   TESTING_NO_FAULTS()               inside such a body: nothing fails from here on (before checks that allocate)
 *   testing_dir(dir)                  fills char dir[TESTING_PATH_BYTES] with a fresh directory, removed after the test
 *
 * EXPECT belongs to the test's own thread only. A failing EXPECT leaves by longjmp: what the test held is leaked then.
 */
#ifndef MYR_TESTING_H
#define MYR_TESTING_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define TESTING_TESTS_MAX  512
#define TESTING_FAULTS_MAX 100000 /* a loop over faults that is not over by then will never be */
#define TESTING_PATH_BYTES 256
#define TESTING_UNUSED     __attribute__((unused))

/* ---- tests register themselves ---- */

static struct CMUnitTest testing_tests[TESTING_TESTS_MAX];
static size_t testing_test_count;
static char testing_dir_path[TESTING_PATH_BYTES]; /* "" = none made */

static int testing_reset(void **state)
{
    (void)state;
    myr_mem_fail_at(0);
    myr_io_set_hook(NULL, NULL);
    myr_clock_release();
    myr_random_seed(0);
    if (testing_dir_path[0] != '\0') MYR_IGNORE(myr_io_remove_tree(testing_dir_path, NULL)); /* best effort */
    testing_dir_path[0] = '\0';
    return 0;
}

static void testing_register(const char *name, CMUnitTestFunction body)
{
    MYR_ASSERT(testing_test_count < TESTING_TESTS_MAX);
    testing_tests[testing_test_count++] = (struct CMUnitTest){
        .name = name, .test_func = body, .setup_func = testing_reset, .teardown_func = testing_reset};
}

#define TEST(test_name)                                                                                                \
    static void test_name(void **state);                                                                               \
    __attribute__((constructor)) static void test_name##_register(void)                                                \
    {                                                                                                                  \
        testing_register(#test_name, test_name);                                                                       \
    }                                                                                                                  \
    static void test_name(void **state TESTING_UNUSED)

/* The program: all tests of this file, or those whose name matches the pattern (with * and ?) of the first argument. */
#ifndef TESTING_MAIN
#define TESTING_MAIN(argc, argv) /* what the program may be besides tests: a statement that returns then */
#endif
#define RUN()                                                                                                          \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        TESTING_MAIN(argc, argv);                                                                                      \
        const char *file = strrchr(__FILE__, '/');                                                                     \
        if (argc > 1) cmocka_set_test_filter(argv[1]);                                                                 \
        return _cmocka_run_group_tests(file != NULL ? file + 1 : __FILE__, testing_tests, testing_test_count, NULL,    \
                                       NULL);                                                                          \
    }

/* ---- expectations ---- */

TESTING_UNUSED static void testing_expect(int holds, const char *cond, const char *file, int line)
{
    if (holds) return;
    print_error("expected: %s\n", cond);
    _fail(file, line);
}

TESTING_UNUSED static void testing_expect_str(const char *text, const char *wanted, const char *file, int line)
{
    if (text != NULL && wanted != NULL && strcmp(text, wanted) == 0) return;
    print_error("expected: \"%s\"\n     got: \"%s\"\n", wanted != NULL ? wanted : "(null)",
                text != NULL ? text : "(null)");
    _fail(file, line);
}

TESTING_UNUSED static void testing_expect_int(long long value, long long wanted, const char *what, const char *file,
                                              int line)
{
    if (value == wanted) return;
    print_error("expected: %s is %lld\n     got: %lld\n", what, wanted, value);
    _fail(file, line);
}

TESTING_UNUSED static void testing_expect_rc(myr_rc rc, myr_rc wanted, const myr_err *err, const char *what,
                                             const char *file, int line)
{
    if (rc == wanted) return;
    print_error("expected: %s gives %s\n     got: %s %s\n", what, myr_rc_name(wanted), myr_rc_name(rc),
                err != NULL && rc != MYR_OK ? err->message : "");
    _fail(file, line);
}

TESTING_UNUSED static void testing_expect_has(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part) != NULL) return;
    print_error("expected: a text with \"%s\"\n     got: \"%s\"\n", part, text);
    _fail(file, line);
}

#define EXPECT(cond)             testing_expect((cond) ? 1 : 0, #cond, __FILE__, __LINE__)
#define EXPECT_STR(text, wanted) testing_expect_str((text), (wanted), __FILE__, __LINE__)
#define EXPECT_INT(value, wanted)                                                                                      \
    testing_expect_int((long long)(value), (long long)(wanted), #value, __FILE__, __LINE__)
#define EXPECT_RC(call, code, err) testing_expect_rc((call), MYR_##code, (err), #call, __FILE__, __LINE__)
#define EXPECT_HAS(text, part)     testing_expect_has((text), (part), __FILE__, __LINE__)

/* ---- faults ---- */

typedef struct testing_faults {
    int64_t calls;        /* file calls seen in this round */
    int64_t nth;          /* the one that fails; 0 = none */
    int error;            /* errno of file faults */
    int64_t alloc_before; /* allocations before this round */
} testing_faults;
static testing_faults testing_fault;

TESTING_UNUSED static int testing_io_hook(void *ctx, myr_io_op op, const char *path)
{
    testing_faults *fault = ctx;
    (void)op;
    (void)path;
    fault->calls++;
    return fault->calls == fault->nth ? fault->error : 0;
}

/* Allocation round nth: false when the round before made fewer allocations than would have been needed to fail one. */
TESTING_UNUSED static int testing_alloc_round(int64_t nth)
{
    int64_t made = myr_mem_alloc_count() - testing_fault.alloc_before;
    myr_mem_fail_at(0);
    if (nth > 1 && made < nth - 1) return 0;
    if (nth > TESTING_FAULTS_MAX) fail_msg("FAIL_EACH_ALLOC does not end");
    testing_fault.alloc_before = myr_mem_alloc_count();
    myr_mem_fail_at(nth);
    return 1;
}

TESTING_UNUSED static int testing_io_round(int64_t nth, int error)
{
    if (nth > 1 && testing_fault.calls < nth - 1) {
        myr_io_set_hook(NULL, NULL);
        return 0;
    }
    if (nth > TESTING_FAULTS_MAX) fail_msg("FAIL_EACH_IO does not end");
    testing_fault.calls = 0;
    testing_fault.nth = nth;
    testing_fault.error = error;
    myr_io_set_hook(testing_io_hook, &testing_fault);
    return 1;
}

/* Also when the body leaves by break. */
TESTING_UNUSED static void testing_round_drop(int64_t *nth)
{
    (void)nth;
    myr_mem_fail_at(0);
    myr_io_set_hook(NULL, NULL);
}

/* The body may break early (on MYR_OK); without it the loop also notices a failure that was swallowed. */
#define FAIL_EACH_ALLOC(nth)                                                                                           \
    for (int64_t nth __attribute__((cleanup(testing_round_drop))) = 1; testing_alloc_round(nth); nth++)
#define FAIL_EACH_IO_AS(nth, error)                                                                                    \
    for (int64_t nth __attribute__((cleanup(testing_round_drop))) = 1; testing_io_round(nth, (error)); nth++)
#define FAIL_EACH_IO(nth) FAIL_EACH_IO_AS(nth, EIO)

/* Stop failing; the loop still counts. */
#define TESTING_NO_FAULTS()                                                                                            \
    do {                                                                                                               \
        myr_mem_fail_at(0);                                                                                            \
        testing_fault.nth = 0;                                                                                         \
    } while (0)

/* ---- files ---- */

/* One per test: the same one when asked again. */
TESTING_UNUSED static void testing_dir(char dir[TESTING_PATH_BYTES])
{
    if (testing_dir_path[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(testing_dir_path, sizeof testing_dir_path, "%.200s/myriad-test-XXXXXX", base != NULL ? base : "/tmp");
        if (mkdtemp(testing_dir_path) == NULL) fail_msg("cannot make %s", testing_dir_path);
    }
    memcpy(dir, testing_dir_path, TESTING_PATH_BYTES);
}

#endif
