/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_filter.c - turns sandbox_table.h into a seccomp filter on every thread.
 *
 * Who may call it: sandbox_lock(). Which side runs it: the enclave process. What it trusts: the
 * kernel, libseccomp, and the descriptors that the loader names.
 */
#define _GNU_SOURCE
#include "sandbox_filter.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "sandbox_internal.h"

#define ANY {.test = SANDBOX_TEST_NONE}
#define MASKED(arg, bits, result) \
    {.test = SANDBOX_TEST_MASKED, .argument = (arg), .mask = (bits), .value = (result)}
#define EQUALS(arg, result) MASKED(arg, UINT64_MAX, (uint64_t)(result))
#define ONLY_BITS(arg, bits) MASKED(arg, ~(uint64_t)(bits), 0)
#define EQUALS_BUT(arg, result, ignored) MASKED(arg, ~(uint64_t)(ignored), (uint64_t)(result))
#define AT_MOST(arg, limit) \
    {.test = SANDBOX_TEST_AT_MOST, .argument = (arg), .value = (uint64_t)(limit)}
#define OWN_PROCESS(arg) {.test = SANDBOX_TEST_OWN_PROCESS, .argument = (arg)}
#define WRITE_FD(arg) {.test = SANDBOX_TEST_WRITE_FD, .argument = (arg)}
#define READ_FD(arg) {.test = SANDBOX_TEST_READ_FD, .argument = (arg)}
#define RULE(set, call, errno_value, text, ...) \
    {.name = #call,                             \
     .number = SCMP_SYS(call),                  \
     .group = SANDBOX_##set,                    \
     .err = (errno_value),                      \
     .why = (text),                             \
     .conditions = {__VA_ARGS__}},
#define SANDBOX_ALLOW(set, call, text, ...) RULE(set, call, 0, text, __VA_ARGS__)
#define SANDBOX_ABSENT(set, call, text, ...) RULE(set, call, ENOSYS, text, __VA_ARGS__)

const struct sandbox_rule g_sandbox_rules[] = {
#include "sandbox_table.h"
};
const size_t g_sandbox_rule_count = sizeof g_sandbox_rules / sizeof g_sandbox_rules[0];

static const char *const g_advice_seccomp =
    "Use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows seccomp(2)";

/* The errno of a result of libseccomp's, which is EFAULT where it has no memory for a filter. */
static int error_of(int result)
{
    return result == -EFAULT ? ENOMEM : -result;
}

/* Adds one row, with `fd` in place of the descriptor of a *_FD condition. */
static int add_rule(scmp_filter_ctx filter, const struct sandbox_rule *rule, int fd)
{
    struct scmp_arg_cmp compare[SANDBOX_CONDITIONS];
    unsigned count = 0;
    for (size_t i = 0; i < SANDBOX_CONDITIONS; i++) {
        const struct sandbox_condition *condition = &rule->conditions[i];
        struct scmp_arg_cmp *to = &compare[count];
        *to = (struct scmp_arg_cmp){.arg = condition->argument, .op = SCMP_CMP_EQ};
        switch (condition->test) {
        case SANDBOX_TEST_NONE:
            continue;
        case SANDBOX_TEST_MASKED:
            to->op = SCMP_CMP_MASKED_EQ;
            to->datum_a = condition->mask;
            to->datum_b = condition->value & condition->mask;
            break;
        case SANDBOX_TEST_AT_MOST:
            to->op = SCMP_CMP_LE;
            to->datum_a = condition->value;
            break;
        case SANDBOX_TEST_OWN_PROCESS:
            to->datum_a = (uint64_t)getpid();
            break;
        case SANDBOX_TEST_WRITE_FD:
        case SANDBOX_TEST_READ_FD:
            to->datum_a = (uint64_t)fd;
            break;
        }
        count++;
    }
    uint32_t action = rule->err == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO((uint32_t)rule->err);
    return seccomp_rule_add_array(filter, action, rule->number, count, compare);
}

/* Adds one row once per descriptor that it speaks of; none means no rule. */
static int add_row(scmp_filter_ctx filter, const struct sandbox_rule *rule,
                   const struct sandbox_policy *policy, uint32_t *added)
{
    const int nothing[] = {-1};
    const int *fds = nothing;
    size_t count = 1;
    for (size_t i = 0; i < SANDBOX_CONDITIONS; i++) {
        if (rule->conditions[i].test == SANDBOX_TEST_WRITE_FD) {
            fds = policy->write_fds;
            count = policy->write_fd_count;
        } else if (rule->conditions[i].test == SANDBOX_TEST_READ_FD) {
            fds = policy->read_fds;
            count = policy->read_fd_count;
        }
    }
    for (size_t i = 0; i < count; i++) {
        int result = add_rule(filter, rule, fds[i]);
        if (result != 0) {
            return result;
        }
        (*added)++;
    }
    return 0;
}

static int build_filter(scmp_filter_ctx filter, const struct sandbox_policy *policy,
                        uint32_t *added, struct sandbox_error *error)
{
    const struct {
        enum scmp_filter_attr attribute;
        uint32_t value;
    } attributes[] = {
        /* x32, and with another architecture any call: the numbers mean something else there. */
        {SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS},
        {SCMP_FLTATR_CTL_NNP, 1},
        /* Threads that constructors or imports started get the same filter, or nobody does. */
        {SCMP_FLTATR_CTL_TSYNC, 1},
        /* Calls sorted into a binary tree: the last row costs as much as the first. */
        {SCMP_FLTATR_CTL_OPTIMIZE, 2},
        /* The kernel's errno rather than libseccomp's ECANCELED. */
        {SCMP_FLTATR_API_SYSRAWRC, 1},
    };
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        int result = seccomp_attr_set(filter, attributes[i].attribute, attributes[i].value);
        if (result != 0) {
            return sandbox_fail(error, "seccomp", error_of(result), g_advice_seccomp,
                                "attribute %d", (int)attributes[i].attribute);
        }
    }
    for (size_t i = 0; i < g_sandbox_rule_count; i++) {
        const struct sandbox_rule *rule = &g_sandbox_rules[i];
        /* Not on this architecture: aarch64 has ppoll but no poll. */
        if ((rule->group & policy->groups) == 0 || rule->number < 0) {
            continue;
        }
        int result = add_row(filter, rule, policy, added);
        if (result != 0) {
            return sandbox_fail(error, "seccomp", error_of(result), SANDBOX_ADVICE_BUG, "row of %s",
                                rule->name);
        }
    }
    return 0;
}

int sandbox_install_filter(const struct sandbox_policy *policy, struct sandbox_lock_report *report,
                           struct sandbox_error *error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(SANDBOX_DENIED_ERRNO));
    if (filter == NULL) {
        return sandbox_fail(error, "seccomp", ENOMEM, g_advice_seccomp, "seccomp_init");
    }
    int failed = build_filter(filter, policy, &report->rules, error);
    if (failed == 0) {
        int result = seccomp_load(filter);
        if (result > 0) {
            /* With TSYNC the kernel answers with the thread that it could not bring along. */
            failed = sandbox_fail(error, "seccomp", 0,
                                  "Remove what installs a filter in a thread while loading",
                                  "thread %d has a filter of its own", result);
        } else if (result < 0) {
            failed =
                sandbox_fail(error, "seccomp", error_of(result), g_advice_seccomp, "seccomp_load");
        }
    }
    seccomp_release(filter);
    return failed;
}
