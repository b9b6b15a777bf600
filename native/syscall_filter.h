/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_filter.h -- what the two filters of `hotcalls run` have in common: how they are written
 * down, and the conditions on arguments.
 *
 * Used by shim_filter.c for the filter that holds, and by run_filter.c for the one before it.
 * Jumps count instructions; each rule ends by reaching the next one with the number of the call
 * in the accumulator, or with an answer.
 */
#ifndef HOTCALLS_SYSCALL_FILTER_H
#define HOTCALLS_SYSCALL_FILTER_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define LOAD(offset) {BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)(offset)}
#define JUMP(test, value, yes, no) {BPF_JMP | (test) | BPF_K, (yes), (no), (uint32_t)(value)}
#define RETURN(action) {BPF_RET | BPF_K, 0, 0, (uint32_t)(action)}
#define FIELD(name) offsetof(struct seccomp_data, name)
#define LOW(i) (FIELD(args) + 8u * (i))
#define HIGH(i) (LOW(i) + 4u)

#define ALLOW RETURN(SECCOMP_RET_ALLOW)
#define TRAP RETURN(SECCOMP_RET_TRAP)

#define SHIM_THREAD_FLAGS                                                               \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* One number, one answer: two instructions. */
#define WHEN(call, answer) JUMP(BPF_JEQ, SYS_##call, 0, 1), answer

/* The x32 calls of the same architecture. */
#define X32_BIT 0x40000000u

/* Only the calls of this architecture: neither int 0x80 nor x32. */
#define FILTER_HEAD                                                                              \
    LOAD(FIELD(arch)), JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS), \
        LOAD(FIELD(nr)), JUMP(BPF_JGE, X32_BIT, 0, 1), RETURN(SECCOMP_RET_KILL_PROCESS)

/* `own` is the id of the process. */
#define FILTER_CONDITIONS(own)                                                                                             \
    /* Memory without a descriptor. */                                                                                     \
    JUMP(BPF_JEQ, SYS_mmap, 0, 4), LOAD(LOW(3)), JUMP(BPF_JSET, MAP_ANONYMOUS, 0, 1), ALLOW,                               \
        TRAP, /* pthread_create, exactly: every other value is a process, or a namespace. */                               \
        JUMP(BPF_JEQ, SYS_clone, 0, 6), LOAD(HIGH(0)), JUMP(BPF_JEQ, 0, 0, 3), LOAD(LOW(0)),                               \
        JUMP(BPF_JEQ, SHIM_THREAD_FLAGS, 0, 1), ALLOW, TRAP, /* Signals to itself. */                                      \
        JUMP(BPF_JEQ, SYS_tgkill, 2, 0), JUMP(BPF_JEQ, SYS_rt_tgsigqueueinfo, 1, 0),                                       \
        JUMP(BPF_JEQ, SYS_kill, 0, 4), LOAD(LOW(0)), JUMP(BPF_JEQ, own, 0, 1), ALLOW, TRAP,                                \
        JUMP(BPF_JEQ, SYS_prctl, 0, 10), LOAD(LOW(0)), JUMP(BPF_JEQ, PR_SET_NAME, 7, 0),                                   \
        JUMP(BPF_JEQ, PR_GET_NAME, 6, 0), JUMP(BPF_JEQ, PR_SET_VMA, 5, 0),                                                 \
        JUMP(BPF_JEQ, PR_GET_NO_NEW_PRIVS, 4, 0), JUMP(BPF_JEQ, PR_SET_TIMERSLACK, 3, 0),                                  \
        JUMP(BPF_JEQ, PR_CAPBSET_READ, 2, 0), JUMP(BPF_JEQ, PR_SET_KEEPCAPS, 1, 0),                                        \
        JUMP(BPF_JEQ, PR_GET_KEEPCAPS, 0, 1), ALLOW, LOAD(FIELD(nr)),                                                      \
        /* the rest of prctl is asked again at the gate */ /* Own limits; the one of descriptors is the host's to keep. */ \
        JUMP(BPF_JEQ, SYS_prlimit64, 0, 6), LOAD(LOW(0)), JUMP(BPF_JEQ, 0, 0, 3), LOAD(LOW(1)),                            \
        JUMP(BPF_JEQ, RLIMIT_NOFILE, 1, 0), ALLOW, TRAP, /* Scheduling of the calling thread. */                           \
        JUMP(BPF_JEQ, SYS_sched_setaffinity, 2, 0), JUMP(BPF_JEQ, SYS_sched_setscheduler, 1, 0),                           \
        JUMP(BPF_JEQ, SYS_sched_setparam, 0, 4), LOAD(LOW(0)), JUMP(BPF_JEQ, 0, 0, 1), ALLOW,                              \
        TRAP, JUMP(BPF_JEQ, SYS_setpriority, 0, 6), LOAD(LOW(0)),                                                          \
        JUMP(BPF_JEQ, PRIO_PROCESS, 0, 3), LOAD(LOW(1)), JUMP(BPF_JEQ, 0, 0, 1), ALLOW, TRAP

#endif /* HOTCALLS_SYSCALL_FILTER_H */
