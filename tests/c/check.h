/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h -- tests in C: TEST(name) { … CHECK(…) … }.
 *
 * Included once per program, which then has a main(): it runs the tests named on its command line,
 * or all of them. tests/native.py finds the tests by the word TEST at the start of a line.
 */
#ifndef HOTCALLS_TESTS_CHECK_H
#define HOTCALLS_TESTS_CHECK_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*body)(void);
    struct check_test *next;
};

#ifndef CHECK_OWN_MAIN
static struct check_test *g_check_tests;
#endif

#define TEST(test_name)                                                         \
    static void test_name(void);                                                \
    static struct check_test check_##test_name = {#test_name, test_name, NULL}; \
    __attribute__((constructor)) static void add_##test_name(void)              \
    {                                                                           \
        check_##test_name.next = g_check_tests;                                 \
        g_check_tests = &check_##test_name;                                     \
    }                                                                           \
    static void test_name(void)

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            (void)fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#define CHECK_EQ(got, wanted)                                                                     \
    do {                                                                                          \
        uint64_t check_got = (uint64_t)(got);                                                     \
        uint64_t check_wanted = (uint64_t)(wanted);                                               \
        if (check_got != check_wanted) {                                                          \
            (void)fprintf(stderr,                                                                 \
                          "%s:%d: %s is %" PRIu64 " (0x%" PRIx64 "), not %s = %" PRIu64 "\n",     \
                          __FILE__, __LINE__, #got, check_got, check_got, #wanted, check_wanted); \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* A small generator with a state of its own (xorshift64*): the same numbers everywhere. */
static inline uint64_t check_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* The seed of a run: $HOTCALLS_SEED, or `otherwise`. Printed, so that a failure can be repeated. */
static inline uint64_t check_seed(uint64_t otherwise)
{
    const char *text = getenv("HOTCALLS_SEED");
    uint64_t seed = text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
    (void)printf("HOTCALLS_SEED=%" PRIu64 "\n", seed);
    (void)fflush(stdout);
    return seed != 0 ? seed : 1;
}

#ifndef CHECK_OWN_MAIN
int main(int argc, char **argv)
{
    int ran = 0;
    for (struct check_test *test = g_check_tests; test != NULL; test = test->next) {
        int wanted = argc == 1;
        for (int i = 1; i < argc; i++)
            wanted |= strcmp(argv[i], test->name) == 0;
        if (!wanted)
            continue;
        test->body();
        (void)printf("ok %s\n", test->name);
        ran++;
    }
    return ran == 0 ? 2 : 0;
}
#endif

#endif /* HOTCALLS_TESTS_CHECK_H */
