/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim_filter.c -- the boundary: what the kernel lets this process do by itself.
 *
 * Enclave side. A seccomp filter made from syscall_local.h: SHIM_NATIVE rows pass, SHIM_GATED
 * rows pass from the shim's own instruction, a few more under conditions on their arguments.
 * Everything else raises SIGSYS in the thread that tried it (shim_trap.c), so that no system call
 * can be forgotten: what the shim does not know, it refuses.
 *
 * Rows without conditions come first and look at nothing but the number: the kernel then answers
 * them from a bitmap (Linux 5.11), without running the filter.
 */
#include "shim.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
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

long shim_filter_install(uint64_t gate)
{
    const uint32_t own = (uint32_t)SHIM_GATE(SYS_getpid, 0);
    const struct sock_filter program[] = {
        LOAD(FIELD(arch)),
        JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0),
        RETURN(SECCOMP_RET_KILL_PROCESS),
        LOAD(FIELD(nr)),
        JUMP(BPF_JGE, X32_BIT, 0, 1),
        RETURN(SECCOMP_RET_KILL_PROCESS),
#define SHIM_NATIVE(call, why) WHEN(call, ALLOW),
#define SHIM_GATED(call, why)
#define SHIM_EMULATED(call, why)
#define SHIM_REFUSED(call, error, why)
#include "syscall_local.h"
#undef SHIM_NATIVE
#undef SHIM_GATED
        WHEN(clone3, RETURN(SECCOMP_RET_ERRNO | ENOSYS)),

        /* Memory without a descriptor. */
        JUMP(BPF_JEQ, SYS_mmap, 0, 4),
        LOAD(LOW(3)),
        JUMP(BPF_JSET, MAP_ANONYMOUS, 0, 1),
        ALLOW,
        TRAP,

        /* pthread_create, exactly: every other value is a process, or a namespace. */
        JUMP(BPF_JEQ, SYS_clone, 0, 6),
        LOAD(HIGH(0)),
        JUMP(BPF_JEQ, 0, 0, 3),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, SHIM_THREAD_FLAGS, 0, 1),
        ALLOW,
        TRAP,

        /* Signals to itself. */
        JUMP(BPF_JEQ, SYS_tgkill, 2, 0),
        JUMP(BPF_JEQ, SYS_rt_tgsigqueueinfo, 1, 0),
        JUMP(BPF_JEQ, SYS_kill, 0, 4),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, own, 0, 1),
        ALLOW,
        TRAP,

        JUMP(BPF_JEQ, SYS_prctl, 0, 10),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, PR_SET_NAME, 7, 0),
        JUMP(BPF_JEQ, PR_GET_NAME, 6, 0),
        JUMP(BPF_JEQ, PR_SET_VMA, 5, 0),
        JUMP(BPF_JEQ, PR_GET_NO_NEW_PRIVS, 4, 0),
        JUMP(BPF_JEQ, PR_SET_TIMERSLACK, 3, 0),
        JUMP(BPF_JEQ, PR_CAPBSET_READ, 2, 0),
        JUMP(BPF_JEQ, PR_SET_KEEPCAPS, 1, 0),
        JUMP(BPF_JEQ, PR_GET_KEEPCAPS, 0, 1),
        ALLOW,
        LOAD(FIELD(nr)), /* the rest of prctl is asked again at the gate */

        /* Own limits; the one of descriptors is the host's to keep. */
        JUMP(BPF_JEQ, SYS_prlimit64, 0, 6),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, 0, 0, 3),
        LOAD(LOW(1)),
        JUMP(BPF_JEQ, RLIMIT_NOFILE, 1, 0),
        ALLOW,
        TRAP,

        /* Scheduling of the calling thread. */
        JUMP(BPF_JEQ, SYS_sched_setaffinity, 2, 0),
        JUMP(BPF_JEQ, SYS_sched_setscheduler, 1, 0),
        JUMP(BPF_JEQ, SYS_sched_setparam, 0, 4),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, 0, 0, 1),
        ALLOW,
        TRAP,
        JUMP(BPF_JEQ, SYS_setpriority, 0, 6),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, PRIO_PROCESS, 0, 3),
        LOAD(LOW(1)),
        JUMP(BPF_JEQ, 0, 0, 1),
        ALLOW,
        TRAP,

        /* Only the shim's own instruction gets further. */
        LOAD(FIELD(instruction_pointer)),
        JUMP(BPF_JEQ, (uint32_t)gate, 1, 0),
        TRAP,
        LOAD(FIELD(instruction_pointer) + 4u),
        JUMP(BPF_JEQ, (uint32_t)(gate >> 32), 1, 0),
        TRAP,
        LOAD(FIELD(nr)),
#define SHIM_NATIVE(call, why)
#define SHIM_GATED(call, why) WHEN(call, ALLOW),
#include "syscall_local.h"
#undef SHIM_NATIVE
#undef SHIM_GATED
#undef SHIM_EMULATED
#undef SHIM_REFUSED
        /* To be what it has to be again after a change of identity; nothing weaker. */
        JUMP(BPF_JEQ, SYS_prctl, 0, 8),
        LOAD(LOW(0)),
        JUMP(BPF_JEQ, PR_SET_DUMPABLE, 0, 2),
        LOAD(LOW(1)),
        JUMP(BPF_JEQ, 0, 3, 4),
        JUMP(BPF_JEQ, PR_SET_PDEATHSIG, 0, 3),
        LOAD(LOW(1)),
        JUMP(BPF_JEQ, SIGKILL, 0, 1),
        ALLOW,
        TRAP,
    };
    const struct sock_fprog filter = {
        .len = sizeof program / sizeof program[0],
        .filter = (struct sock_filter *)(uintptr_t)program,
    };
    return SHIM_GATE(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
}
