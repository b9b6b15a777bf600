/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_lock.c - stage 2 of the lock-down: the enclave reaches nothing.
 *
 * Who may call it: the loader, after loading and before the first call. Which side runs it: the
 * enclave process; threads that constructors or imports started may run. What it trusts: the
 * kernel. It defends the host and the machine from the enclave's code, and the enclave's secrets
 * from leaving by another way than its calls.
 *
 * Seccomp is the boundary. Landlock, the dropped capabilities and PR_SET_MDWE stand behind it for
 * the case that a row of the table turns out to be wrong.
 */
#define _GNU_SOURCE
#include "sandbox_internal.h"

#include <dlfcn.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sandbox_filter.h"

/* ---- Landlock: declared here, since the headers of Debian 12 end at the second version ---- */

struct landlock_rights {
    uint64_t fs;     /* ABI 1 */
    uint64_t net;    /* ABI 4, Linux 6.7 */
    uint64_t scoped; /* ABI 6, Linux 6.12 */
};
_Static_assert(sizeof(struct landlock_rights) == 24, "layout of landlock_ruleset_attr");

#define LANDLOCK_VERSION_FLAG 1u
#define LANDLOCK_NET_ALL 3u               /* bind and connect TCP */
#define LANDLOCK_SCOPE_ABSTRACT_SOCKET 1u /* connect to abstract unix sockets outside */
#define LANDLOCK_SCOPE_SIGNAL_OUTSIDE 2u  /* signal processes outside */

static uint64_t landlock_fs_rights(int abi)
{
    unsigned bits = 13; /* ABI 1: execute .. make_sym */
    if (abi >= 2) {
        bits = 14; /* refer */
    }
    if (abi >= 3) {
        bits = 15; /* truncate */
    }
    if (abi >= 5) {
        bits = 16; /* ioctl on devices */
    }
    return (UINT64_C(1) << bits) - 1;
}

/*
 * A domain that handles every right and grants none. It covers the calling thread and what it
 * starts; threads from before are covered by the filter alone (TSYNC; Landlock's own comes with
 * ABI 8). Then the signal scope is left out: until it was corrected in Linux 6.15, it also kept a
 * thread from signalling the older threads of its own process.
 */
static int enter_landlock(uint32_t threads, struct sandbox_lock_report *report)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
    if (abi < 1) {
        report->landlock_err = abi < 0 ? errno : ENOTSUP;
        return -1;
    }
    struct landlock_rights rights = {.fs = landlock_fs_rights((int)abi)};
    rights.net = abi >= 4 ? LANDLOCK_NET_ALL : 0;
    if (abi >= 6) {
        rights.scoped =
            LANDLOCK_SCOPE_ABSTRACT_SOCKET | (threads == 1 ? LANDLOCK_SCOPE_SIGNAL_OUTSIDE : 0u);
    }
    /* A kernel that knows fewer fields accepts the longer structure, as their bits are zero. */
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, sizeof rights, 0);
    if (ruleset < 0) {
        report->landlock_err = errno;
        return -1;
    }
    int failed = syscall(SYS_landlock_restrict_self, ruleset, 0) != 0;
    report->landlock_err = failed ? errno : 0;
    report->landlock_abi = failed ? 0 : (int)abi;
    (void)close(ruleset);
    return failed ? -1 : 0;
}

/* ---- capabilities ---- */

static int drop_capabilities(struct sandbox_error *error)
{
    /* Only matters when the host is root. Without exec and with no_new_privs the bounding set has
     * no way back in. Capabilities are per thread: older threads keep theirs, behind the filter. */
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    memset(none, 0, sizeof none);
    if (syscall(SYS_capset, &header, none) != 0) {
        return sandbox_fail(error, "capabilities", errno, SANDBOX_ADVICE_BUG, "capset");
    }
    return 0;
}

/* ---- what stage 1 established still holds, now that other people's constructors have run ---- */

static int check_stage_one(const struct sandbox_policy *policy, struct sandbox_lock_report *report,
                           struct sandbox_error *error)
{
    char status[8192];
    if (sandbox_read_proc("/proc/self/status", status, sizeof status) < 0) {
        return sandbox_fail(error, "proc", errno, SANDBOX_ADVICE_PROC, "/proc/self/status");
    }
    long threads = sandbox_status_number(status, "Threads");
    report->threads = threads > 0 ? (uint32_t)threads : 0;
    if (policy->require_single_thread && threads != 1) {
        return sandbox_fail(error, "threads", 0, "Start threads in the first call, not on loading",
                            "%ld threads", threads);
    }
    if (sandbox_check_leftovers(threads, policy->insecure_children, error) != 0) {
        return -1;
    }
    if (policy->insecure_debug) {
        return 0;
    }
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
        return sandbox_fail(error, "no-new-privs", 0, "Call sandbox_harden() first", "not set");
    }
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return sandbox_fail(error, "dumpable", 0,
                            "Remove PR_SET_DUMPABLE from what is loaded: whoever looked in since "
                            "then still can",
                            "the process was made dumpable while loading");
    }
    long tracer = sandbox_status_number(status, "TracerPid");
    if (tracer != 0) {
        return sandbox_fail(error, "tracer", 0, "Remove PTRACE_TRACEME from what is loaded",
                            "process %ld traces this one", tracer);
    }
    return 0;
}

/*
 * glibc loads some things when they are first used, and ends the process when it cannot:
 * pthread_exit(), pthread_cancel() and backtrace() want libgcc_s.so.1 ("must be installed for
 * pthread_exit to work", abort, glibc 2.36). Local time would silently become UTC.
 */
static void load_latecomers(void)
{
    (void)dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    tzset();
}

int sandbox_lock(const struct sandbox_policy *policy, struct sandbox_lock_report *report,
                 struct sandbox_error *error)
{
    struct sandbox_lock_report ignored;
    if (report == NULL) {
        report = &ignored;
    }
    *report = (struct sandbox_lock_report){0};
    if (policy->write_fd_count > SANDBOX_WRITE_FDS || policy->read_fd_count > SANDBOX_POLICY_FDS ||
        policy->poll_fd_count > SANDBOX_POLICY_FDS) {
        return sandbox_fail(error, "policy", EINVAL,
                            "List fewer descriptors: see SANDBOX_POLICY_FDS and SANDBOX_WRITE_FDS",
                            "too many descriptors");
    }
    if (check_stage_one(policy, report, error) != 0) {
        return -1;
    }
    load_latecomers();

    int keep[2 * SANDBOX_POLICY_FDS + SANDBOX_WRITE_FDS];
    size_t count = 0;
    for (size_t i = 0; i < policy->write_fd_count; i++) {
        keep[count++] = policy->write_fds[i];
    }
    for (size_t i = 0; i < policy->read_fd_count; i++) {
        keep[count++] = policy->read_fds[i];
    }
    for (size_t i = 0; i < policy->poll_fd_count; i++) {
        keep[count++] = policy->poll_fds[i];
    }
    if (sandbox_close_other_fds(keep, count, error) != 0) {
        return -1;
    }
    if (enter_landlock(report->threads, report) != 0 && policy->require_landlock) {
        return sandbox_fail(error, "landlock", report->landlock_err,
                            "Boot with lsm=landlock,... or do not require it",
                            "no Landlock domain");
    }
    if (drop_capabilities(error) != 0) {
        return -1;
    }
    /* EINVAL before Linux 6.3. Also says no to what the filter cannot see: a page that is made
     * executable by a side effect, such as READ_IMPLIES_EXEC. */
    report->no_exec_gain = prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) == 0;
    return sandbox_install_filter(policy, report, error);
}
