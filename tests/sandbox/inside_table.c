/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside_table.c - the rows of sandbox_table.h as the tests see them: printed, and evaluated by
 * code of its own, against which the filter in the kernel is compared.
 */
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const g_tests[] = {
    [SANDBOX_TEST_NONE] = "any",          [SANDBOX_TEST_MASKED] = "masked",
    [SANDBOX_TEST_AT_MOST] = "at-most",   [SANDBOX_TEST_OWN_PROCESS] = "own-process",
    [SANDBOX_TEST_WRITE_FD] = "write-fd", [SANDBOX_TEST_READ_FD] = "read-fd",
};

void print_rules(void)
{
    for (size_t i = 0; i < g_sandbox_rule_count; i++) {
        const struct sandbox_rule *rule = &g_sandbox_rules[i];
        char text[512];
        int used = 0;
        for (size_t k = 0; k < SANDBOX_CONDITIONS; k++) {
            const struct sandbox_condition *condition = &rule->conditions[k];
            if (condition->test != SANDBOX_TEST_NONE) {
                used += snprintf(text + used, sizeof text - (size_t)used,
                                 "%s{\"test\": \"%s\", \"argument\": %u, \"mask\": %llu, "
                                 "\"value\": %llu}",
                                 used > 0 ? ", " : "", g_tests[condition->test],
                                 condition->argument, (unsigned long long)condition->mask,
                                 (unsigned long long)condition->value);
            }
        }
        say("{\"call\": \"%s\", \"number\": %d, \"group\": %u, \"errno\": %d, \"why\": \"%s\", "
            "\"conditions\": [%.*s]}",
            rule->name, rule->number, rule->group, rule->err, rule->why, used, text);
    }
}

bool in_table(long number, uint32_t groups)
{
    for (size_t i = 0; i < g_sandbox_rule_count; i++) {
        if (g_sandbox_rules[i].number == number && (g_sandbox_rules[i].group & groups) != 0) {
            return true;
        }
    }
    return false;
}

static bool holds(const struct sandbox_condition *condition, const uint64_t *arguments)
{
    uint64_t value = arguments[condition->argument];
    switch (condition->test) {
    case SANDBOX_TEST_NONE:
        return true;
    case SANDBOX_TEST_MASKED:
        return (value & condition->mask) == (condition->value & condition->mask);
    case SANDBOX_TEST_AT_MOST:
        return value <= condition->value;
    case SANDBOX_TEST_OWN_PROCESS:
        return value == (uint64_t)getpid();
    case SANDBOX_TEST_WRITE_FD:
        return value == INSIDE_WRITE_FD;
    case SANDBOX_TEST_READ_FD:
        return value == INSIDE_READ_FD;
    }
    return false;
}

/* What the rows say about a call: 0 allowed, else the errno. */
static int predict(int number, const uint64_t *arguments)
{
    int answer = SANDBOX_DENIED_ERRNO;
    for (size_t i = 0; i < g_sandbox_rule_count; i++) {
        const struct sandbox_rule *rule = &g_sandbox_rules[i];
        if (rule->number != number || (rule->group & SANDBOX_CORE) == 0) {
            continue;
        }
        bool all = true;
        for (size_t k = 0; k < SANDBOX_CONDITIONS; k++) {
            all = all && holds(&rule->conditions[k], arguments);
        }
        if (all) {
            answer = rule->err;
        }
    }
    return answer;
}

static uint64_t g_state;

static uint64_t next_random(void)
{
    g_state ^= g_state << 13;
    g_state ^= g_state >> 7;
    g_state ^= g_state << 17;
    return g_state;
}

/* A value near the border of some condition, or anything. */
static uint64_t choose(const struct sandbox_condition *condition)
{
    static const uint64_t usual[] = {0, 1, 2, 3, 4, 7, 8, 22, 34, 50, 128, 256, 1u << 20};
    uint64_t random = next_random();
    uint64_t value = condition->value;
    if (condition->test == SANDBOX_TEST_OWN_PROCESS) {
        value = (uint64_t)getpid();
    } else if (condition->test == SANDBOX_TEST_WRITE_FD) {
        value = INSIDE_WRITE_FD;
    }
    switch (random % 8) {
    case 0:
        return usual[(random >> 8) % (sizeof usual / sizeof usual[0])];
    case 1:
        return random >> (random >> 58);
    case 2: /* what the kernel would cut to the right value */
        return value | ((random | 1) << 32);
    case 3:
        return value + 1;
    case 4:
        return value ^ (UINT64_C(1) << ((random >> 8) % 64));
    case 5: /* bits that the row ignores */
        return value | (random & ~condition->mask);
    case 6:
        return (uint64_t)-1 - (random >> 8) % 4;
    default:
        return value;
    }
}

int compare_with_model(uint64_t seed, long count)
{
    g_state = seed | 1;
    enter(0);
    long tried = 0, denied = 0, absent = 0, allowed = 0, wrong = 0;
    while (tried < count) {
        const struct sandbox_rule *rule = &g_sandbox_rules[next_random() % g_sandbox_rule_count];
        if (rule->number < 0 || (rule->group & SANDBOX_CORE) == 0 ||
            rule->conditions[0].test == SANDBOX_TEST_NONE) {
            continue;
        }
        /* Harmless when it is let through: an odd address, no length, no buffer. */
        uint64_t a[6] = {1, 0, 0, 0, 0, 0};
        for (size_t k = 0; k < SANDBOX_CONDITIONS; k++) {
            if (rule->conditions[k].test != SANDBOX_TEST_NONE) {
                a[rule->conditions[k].argument] = choose(&rule->conditions[k]);
            }
        }
        int expected = predict(rule->number, a);
        if (expected == 0 && rule->number == SYS_clone) {
            continue; /* the new thread would run on this stack */
        }
        tried++;
        errno = 0;
        long result = syscall(rule->number, a[0], a[1], a[2], a[3], a[4], a[5]);
        int got = result == -1 ? errno : 0;
        bool good = expected == 0 ? got != SANDBOX_DENIED_ERRNO : got == expected;
        denied += expected == SANDBOX_DENIED_ERRNO;
        absent += expected == ENOSYS;
        allowed += expected == 0;
        if (!good) {
            wrong++;
            say("wrong %s(%#llx, %#llx, %#llx, %#llx) expected %d got %d", rule->name,
                (unsigned long long)a[0], (unsigned long long)a[1], (unsigned long long)a[2],
                (unsigned long long)a[3], expected, got);
        }
    }
    say("model tried=%ld denied=%ld absent=%ld allowed=%ld wrong=%ld", tried, denied, absent,
        allowed, wrong);
    return wrong != 0;
}
