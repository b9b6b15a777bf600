/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_guard.c -- what the host process of `hotcalls run` may still do once it serves.
 *
 * Host side, before its threads start. It makes the program's calls, so its filter can be no
 * narrower than the table of them. But a program that finds a mistake in this process gains by it
 * what the table has and no more: no other program is started from here, no process traced or read,
 * no code made, no namespace entered. What is refused has an errno of its own, as in an enclave.
 */
#define _GNU_SOURCE
#include "run_guard.h"
#include "syscall_filter.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REFUSE RETURN(SECCOMP_RET_ERRNO | ESRMNT)

/* Of the table: answered without the kernel's help, or allowed below under conditions. */
static const int g_not_as_they_come[] = {SYS_signalfd4, SYS_setsid, SYS_setpgid, SYS_prctl,
                                         SYS_prlimit64, SYS_ioctl,  SYS_kill};

/* What this process needs for itself. */
static const int g_own[] = {
    /* threads and their memory; mmap, mprotect and clone have conditions */
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_gettid,
    SYS_getpid,
    SYS_exit,
    SYS_exit_group,
    SYS_sched_yield,
    SYS_getcpu,
    SYS_sched_getaffinity,
    /* time */
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_restart_syscall,
    /* signals, and the end of the program */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_wait4,
    SYS_getrusage,
    /* looking at descriptors; who we are */
    SYS_poll,
    SYS_openat2,
    SYS_readlink,
    SYS_writev,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getrandom,
};

#define PROGRAM_MAX 1024u

struct program {
    struct sock_filter lines[PROGRAM_MAX];
    size_t count;
};

static void add(struct program *program, const struct sock_filter *lines, size_t count)
{
    for (size_t i = 0; i < count && program->count < PROGRAM_MAX; i++)
        program->lines[program->count++] = lines[i];
}

static void allow(struct program *program, int number)
{
    const struct sock_filter lines[] = {JUMP(BPF_JEQ, number, 0, 1), ALLOW};
    add(program, lines, sizeof lines / sizeof lines[0]);
}

static bool comes_as_it_is(int number)
{
    for (size_t i = 0; i < sizeof g_not_as_they_come / sizeof g_not_as_they_come[0]; i++)
        if (g_not_as_they_come[i] == number)
            return false;
    return true;
}

int run_guard_install(const int *table, size_t count, pid_t program)
{
    static struct program g_program;
    const uint32_t own = (uint32_t)getpid();
    const struct sock_filter head[] = {
        THIS_ARCHITECTURE,
        WITHOUT_CLONE3,
    };
    /* clang-format off */
    const struct sock_filter tail[] = {
        /* No memory becomes code. */
        WHEN_TOO(mmap, 1),
        WHEN(mprotect, ALLOW_WITHOUT(LOW(2), PROT_EXEC, REFUSE)),

        WHEN(clone, ALLOW_THREAD(REFUSE)),

        WHEN(tgkill, ALLOW_EQUAL(LOW(0), own, REFUSE)),

        /* Whether a process is there may be asked of any. */
        WHEN(kill,
             LOAD(LOW(1)),
             JUMP(BPF_JEQ, 0, 3, 0),
             LOAD(LOW(0)),
             JUMP(BPF_JEQ, own, 1, 0),
             JUMP(BPF_JEQ, (uint32_t)program, 0, 1),
             ALLOW,
             REFUSE),

        WHEN_TOO(sched_setaffinity, 2),
        WHEN_TOO(sched_setattr, 1),
        WHEN(prlimit64, ALLOW_EQUAL(LOW(0), 0, REFUSE)),

        /* Dumpable never again. */
        WHEN(prctl,
             LOAD(LOW(0)),
             JUMP(BPF_JEQ, PR_SET_NAME, 6, 0),
             JUMP(BPF_JEQ, PR_SET_KEEPCAPS, 5, 0),
             JUMP(BPF_JEQ, PR_CAPBSET_DROP, 4, 0),
             JUMP(BPF_JEQ, PR_SET_VMA, 3, 0),
             JUMP(BPF_JEQ, PR_SET_DUMPABLE, 0, 3),
             LOAD(LOW(1)),
             JUMP(BPF_JEQ, 0, 0, 1),
             ALLOW,
             REFUSE),

        /* Words for the terminal that somebody types at; see run_ioctl.h. */
        WHEN(ioctl, ALLOW_NEITHER(LOW(1), TIOCSTI, TIOCLINUX, REFUSE)),

        REFUSE,
    };
    /* clang-format on */
    add(&g_program, head, sizeof head / sizeof head[0]);
    for (size_t i = 0; i < sizeof g_own / sizeof g_own[0]; i++)
        allow(&g_program, g_own[i]);
    for (size_t i = 0; i < count; i++)
        if (comes_as_it_is(table[i]))
            allow(&g_program, table[i]);
    add(&g_program, tail, sizeof tail / sizeof tail[0]);
    if (g_program.count == PROGRAM_MAX) {
        errno = E2BIG;
        return -1;
    }
    const struct sock_fprog filter = {.len = (unsigned short)g_program.count,
                                      .filter = g_program.lines};
    /* The flag: before Linux 5.16 a filter switches on mitigations that are meant for programs that
     * are not trusted, and cost each system call of this one, which is. */
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
}
