/*
 * As much of cmocka as tests/unit/testing.h uses, for builds that cannot link it: other machines' code under emulation.
 * Prints a line per test and how many failed, which is the exit code.
 */
#ifndef MYR_EMULATED_CMOCKA_H
#define MYR_EMULATED_CMOCKA_H

#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

typedef void (*CMUnitTestFunction)(void **state);
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    CMUnitTestFunction test_func;
    CMFixtureFunction setup_func, teardown_func;
    void *initial_state;
};

static jmp_buf emulated_back;
static const char *emulated_filter;

__attribute__((unused)) static void cmocka_set_test_filter(const char *pattern)
{
    emulated_filter = pattern;
}

__attribute__((unused, format(printf, 1, 2))) static void print_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

__attribute__((unused, noreturn)) static void _fail(const char *file, int line)
{
    printf("%s:%d: failed\n", file, line);
    longjmp(emulated_back, 1);
}

#define fail_msg(...)                                                                                                  \
    do {                                                                                                               \
        print_error(__VA_ARGS__);                                                                                      \
        _fail(__FILE__, __LINE__);                                                                                     \
    } while (0)
#define assert_int_equal(a, b)                                                                                         \
    do {                                                                                                               \
        if ((a) != (b)) fail_msg("%s is not %s\n", #a, #b);                                                            \
    } while (0)

__attribute__((unused)) static int _cmocka_run_group_tests(const char *group, const struct CMUnitTest *tests,
                                                           size_t count, CMFixtureFunction setup,
                                                           CMFixtureFunction teardown)
{
    volatile int failed = 0;
    volatile size_t run = 0;
    (void)setup;
    (void)teardown;
    for (volatile size_t k = 0; k < count; k++) {
        void *state = tests[k].initial_state;
        if (emulated_filter != NULL && fnmatch(emulated_filter, tests[k].name, 0) != 0) continue;
        printf("%s: %s\n", group, tests[k].name);
        fflush(stdout);
        run++;
        if (tests[k].setup_func != NULL && tests[k].setup_func(&state) != 0) failed++;
        if (setjmp(emulated_back) == 0) {
            tests[k].test_func(&state);
        } else {
            failed++;
        }
        if (tests[k].teardown_func != NULL && tests[k].teardown_func(&state) != 0) failed++;
    }
    printf("%s: %zu tests, %d failed\n", group, run, failed);
    return run == 0 ? 1 : failed;
}

#endif
