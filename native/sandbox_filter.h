/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_filter.h - sandbox_table.h as data, and its way into the kernel.
 *
 * Who may call it: sandbox_lock.c, sandbox_verify.c and the tests (which read the rows).
 * Which side runs it: the enclave process. What it trusts: the rows.
 */
#ifndef HOTCALLS_SANDBOX_FILTER_H
#define HOTCALLS_SANDBOX_FILTER_H

#include <stddef.h>
#include <stdint.h>

#include "sandbox.h"

/* Newer than the headers of Debian 12 (Linux 6.1). */
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif
#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

/* What glibc's pthread_create passes to clone, since 2.34 and long before (with exit signal 0). */
#define SANDBOX_THREAD_FLAGS                                                            \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

enum sandbox_test {
    SANDBOX_TEST_NONE,
    SANDBOX_TEST_MASKED, /* (argument & mask) == value */
    SANDBOX_TEST_AT_MOST,
    SANDBOX_TEST_OWN_PROCESS,
    SANDBOX_TEST_WRITE_FD,
    SANDBOX_TEST_READ_FD
};

struct sandbox_condition {
    enum sandbox_test test;
    uint8_t argument;
    uint64_t mask, value;
};

#define SANDBOX_CONDITIONS 2u

struct sandbox_rule {
    const char *name;
    int number; /* negative: not on this architecture */
    uint32_t group;
    int err; /* 0: allowed, else the errno */
    const char *why;
    struct sandbox_condition conditions[SANDBOX_CONDITIONS];
};

extern const struct sandbox_rule g_sandbox_rules[];
extern const size_t g_sandbox_rule_count;

int sandbox_install_filter(const struct sandbox_policy *policy, struct sandbox_lock_report *report,
                           struct sandbox_error *error);

#endif /* HOTCALLS_SANDBOX_FILTER_H */
