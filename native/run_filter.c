/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_filter.c -- the filter that the program is exec'ed under, until the shim installs its own.
 *
 * Host side, in the child before exec. It lets through what the dynamic loader and the shim's
 * constructor need: reading files, and whatever the shim's filter allows. So a program into which
 * the shim is not loaded, for whatever reason, can read and compute, and dies of its first system
 * call that would do anything; nothing rests on its having been found out before.
 */
#define _GNU_SOURCE
#include "run.h"
#include "syscall_filter.h"

#include <fcntl.h>
#include <unistd.h>

int run_filter_install(int pipe)
{
    const uint32_t own = (uint32_t)getpid();
    const struct sock_filter program[] = {
        THIS_ARCHITECTURE,
#define SHIM_NATIVE(call, why) WHEN(call, ALLOW),
#define SHIM_GATED(call, why) WHEN(call, ALLOW),
#define SHIM_EMULATED(call, why)
#define SHIM_REFUSED(call, error, why)
#include "syscall_local.h"
        WITHOUT_CLONE3,
        /* The loader. */
        WHEN(read, ALLOW),
        WHEN(pread64, ALLOW),
        WHEN(fstat, ALLOW),
        WHEN(newfstatat, ALLOW),
        WHEN(access, ALLOW),
        WHEN(faccessat, ALLOW),
        WHEN(faccessat2, ALLOW),
        WHEN(readlink, ALLOW),
        WHEN(readlinkat, ALLOW),
        WHEN(getcwd, ALLOW),
        WHEN(close, ALLOW),
        WHEN(close_range, ALLOW),
        WHEN(mmap, ALLOW),
        /* The way here, and the shim's. */
        WHEN(execve, ALLOW),
        WHEN(seccomp, ALLOW),
        WHEN(prctl, ALLOW),
        WHEN(getppid, ALLOW),
        WHEN(openat, ALLOW_WITHOUT(LOW(2), O_ACCMODE | O_CREAT | O_TRUNC, TRAP)),
        /* What the loader has to say when it fails; and the pipe by which exec's failure is told. */
        WHEN_TOO(writev, 1),
        /* clang-format off */
        WHEN(write,
             LOAD(LOW(0)),
             JUMP(BPF_JEQ, STDERR_FILENO, 1, 0),
             JUMP(BPF_JEQ, pipe, 0, 1),
             ALLOW,
             TRAP),
    /* clang-format on */
#define OWN_ID own
#include "syscall_conditions.h"
#undef OWN_ID
        TRAP,
    };
    const struct sock_fprog filter = {
        .len = sizeof program / sizeof program[0],
        .filter = (struct sock_filter *)(uintptr_t)program,
    };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}
