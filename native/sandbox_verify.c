/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_verify.c - proof, by attempts, that the lock-down is in force.
 *
 * Who may call it: the loader, right after sandbox_lock(). Which side runs it: the enclave process.
 * What it trusts: that a filter which refuses these calls refuses the rest of the table as well
 * (the tests try every number). It exists for kernels and emulations of kernels that accept
 * seccomp or prctl and do nothing: a promise that is not kept must fail the launch.
 *
 * Each attempt is a call that does nothing when it is let through: bad descriptors, NULL, zero
 * sizes, contradictory flags.
 */
#define _GNU_SOURCE
#include "sandbox_filter.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_internal.h"

#define NOTHING (-1L)

struct attempt {
    const char *name;
    long number;
    long arguments[6];
    int expected;
};

static const struct attempt g_attempts[] = {
    {"openat", SYS_openat, {NOTHING, 0, O_RDONLY}, SANDBOX_DENIED_ERRNO},
    {"socket", SYS_socket, {NOTHING, NOTHING, NOTHING}, SANDBOX_DENIED_ERRNO},
    {"connect", SYS_connect, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"execve", SYS_execve, {0}, SANDBOX_DENIED_ERRNO},
    {"execveat", SYS_execveat, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"ptrace", SYS_ptrace, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"process_vm_readv", SYS_process_vm_readv, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"kill", SYS_kill, {0, NOTHING}, SANDBOX_DENIED_ERRNO},
    {"pidfd_open", SYS_pidfd_open, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"memfd_create", SYS_memfd_create, {0, NOTHING}, SANDBOX_DENIED_ERRNO},
    {"dup", SYS_dup, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"ioctl", SYS_ioctl, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"fcntl", SYS_fcntl, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"sendmsg", SYS_sendmsg, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"io_uring_setup", SYS_io_uring_setup, {0}, SANDBOX_DENIED_ERRNO},
    {"bpf", SYS_bpf, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"perf_event_open", SYS_perf_event_open, {0, 0, 0, NOTHING, NOTHING}, SANDBOX_DENIED_ERRNO},
    {"userfaultfd", SYS_userfaultfd, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"unshare", SYS_unshare, {0}, SANDBOX_DENIED_ERRNO},
    {"setns", SYS_setns, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"setuid", SYS_setuid, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"seccomp", SYS_seccomp, {NOTHING}, SANDBOX_DENIED_ERRNO},
    {"write elsewhere", SYS_write, {NOTHING}, SANDBOX_DENIED_ERRNO},
    /* Length 0 is EINVAL, were it let through. */
    {"mmap executable",
     SYS_mmap,
     {0, 0, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1},
     SANDBOX_DENIED_ERRNO},
    {"mmap of a descriptor", SYS_mmap, {0, 0, PROT_READ, MAP_SHARED, -1}, SANDBOX_DENIED_ERRNO},
    {"mprotect executable", SYS_mprotect, {1, 0, PROT_READ | PROT_EXEC}, SANDBOX_DENIED_ERRNO},
    /* CLONE_THREAD without CLONE_SIGHAND is EINVAL. */
    {"clone as fork", SYS_clone, {CLONE_THREAD}, SANDBOX_DENIED_ERRNO},
    {"clone3", SYS_clone3, {0}, ENOSYS},
    /* No such value of dumpable. */
    {"prctl dumpable", SYS_prctl, {PR_SET_DUMPABLE, 99}, SANDBOX_DENIED_ERRNO},
    {"tgkill of another", SYS_tgkill, {1, 1, 0}, SANDBOX_DENIED_ERRNO},
};

int sandbox_verify(const struct sandbox_policy *policy, struct sandbox_error *error)
{
    for (size_t i = 0; i < sizeof g_attempts / sizeof g_attempts[0]; i++) {
        const struct attempt *attempt = &g_attempts[i];
        const long *a = attempt->arguments;
        errno = 0;
        long result = syscall(attempt->number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (result != -1 || errno != attempt->expected) {
            return sandbox_fail(error, "verify", result == -1 ? errno : 0,
                                "This kernel does not enforce seccomp filters: enclaves cannot run",
                                "%s was not refused by the filter", attempt->name);
        }
    }
    if (!policy->insecure_debug && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return sandbox_fail(error, "verify", 0, SANDBOX_ADVICE_BUG, "the process is dumpable");
    }
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER ||
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
        return sandbox_fail(error, "verify", 0, SANDBOX_ADVICE_BUG,
                            "the kernel reports no filter, or new privileges");
    }
    return 0;
}
