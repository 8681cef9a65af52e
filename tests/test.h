/* A small TAP harness: each test program lists its cases in main() with RUN and ends with DONE. Assertions stay on in every build. */
#ifndef MEDLEY_TEST_H
#define MEDLEY_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_n, test_bad, test_case_bad;
static const char *test_skip;

#define EXPECT(cond, ...)                                                                                           \
    do {                                                                                                            \
        if (!(cond)) {                                                                                              \
            test_case_bad++;                                                                                        \
            printf("# %s:%d: expected %s: ", __FILE__, __LINE__, #cond);                                            \
            printf(__VA_ARGS__);                                                                                    \
            printf("\n");                                                                                           \
        }                                                                                                           \
    } while (0)
#define EXPECT_OK(call)                                                                                             \
    do { status st_ = (call); EXPECT(st_ == OK, "status %d: %s", st_, status_message()); } while (0)
#define EXPECT_STATUS(call, code)                                                                                   \
    do { status st_ = (call); EXPECT(st_ == (code), "got %d (%s), wanted %d", st_, status_message(), (code)); } while (0)
#define EXPECT_NEAR(got, want, tol)                                                                                 \
    do { double g_ = (got), w_ = (want); EXPECT(fabs(g_ - w_) <= (tol), "got %.9g, wanted %.9g +- %.3g", g_, w_, (double)(tol)); } while (0)
#define SKIP(reason) do { test_skip = (reason); return; } while (0)
#define RUN(fn)                                                                                                     \
    do {                                                                                                            \
        test_case_bad = 0; test_skip = NULL; fn(); test_n++;                                                        \
        if (test_case_bad) test_bad++;                                                                              \
        printf("%s %d - %s%s%s\n", test_case_bad ? "not ok" : "ok", test_n, #fn, test_skip ? " # SKIP " : "", test_skip ? test_skip : ""); \
        fflush(stdout);                                                                                             \
    } while (0)
#define DONE() do { printf("1..%d\n", test_n); return test_bad ? 1 : 0; } while (0)

#endif
