/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_filter.h -- how the three filters of `hotcalls run` are written down.
 *
 * Used by shim_filter.c for the filter that holds, by run_filter.c for the one before it, and by
 * run_guard.c for the host process' own. Both sides; instructions for the kernel and nothing that
 * runs here.
 *
 * A filter is a list of rules behind THIS_ARCHITECTURE. A rule begins and, where it has no answer,
 * ends with the number of the call in the accumulator. What a rule is made of stands behind it as
 * arguments, so that the length of every jump over it is counted by the compiler. A rule that is
 * jumped into the middle of is written out, as the jumps there are not of this kind.
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

/* The C library has no name for it. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

/* The x32 calls of the same architecture. */
#define X32_BIT 0x40000000u

/* First of all: numbers mean something else for int 0x80, and for x32. Whoever uses these ends,
 * since it can only mean to get around what follows. Leaves the number in the accumulator. */
#define THIS_ARCHITECTURE                                                                        \
    LOAD(FIELD(arch)), JUMP(BPF_JEQ, AUDIT_ARCH_X86_64, 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS), \
        LOAD(FIELD(nr)), JUMP(BPF_JGE, X32_BIT, 0, 1), RETURN(SECCOMP_RET_KILL_PROCESS)

#define LENGTH_OF(...) \
    (sizeof((const struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter))

/* A rule: of this call what follows is the answer, or what finds it; all others go past it. */
#define WHEN(call, ...) JUMP(BPF_JEQ, SYS_##call, 0, LENGTH_OF(__VA_ARGS__)), __VA_ARGS__

/* Before a WHEN: its rule is of this call as well. `calls` is how many more it is of, the WHEN's own
 * among them. */
#define WHEN_TOO(call, calls) JUMP(BPF_JEQ, SYS_##call, (calls), 0)

/*
 * The conditions. `half` is LOW(i) or HIGH(i) of an argument. An argument that the kernel takes as
 * 32 bits is its low half; of one that it takes as 64 bits the low half is enough where whatever is
 * allowed has its meaning there, and the kernel refuses the rest: each use has to be one of these,
 * or look at both halves.
 */

/* What follows holds if the half is `value`; if not, its last instruction does, which refuses. */
#define IF_EQUAL(half, value, ...) \
    LOAD(half), JUMP(BPF_JEQ, value, 0, LENGTH_OF(__VA_ARGS__) - 1u), __VA_ARGS__

/* Last comes the refusal: one instruction, but to the preprocessor several words. */
#define ALLOW_EQUAL(half, value, ...) IF_EQUAL(half, value, ALLOW, __VA_ARGS__)
#define ALLOW_NEITHER(half, one, other, ...) \
    LOAD(half), JUMP(BPF_JEQ, one, 2, 0), JUMP(BPF_JEQ, other, 1, 0), ALLOW, __VA_ARGS__
#define ALLOW_WITHOUT(half, bits, ...) LOAD(half), JUMP(BPF_JSET, bits, 1, 0), ALLOW, __VA_ARGS__

/* Of clone: pthread_create, exactly. Every other value, in all 64 bits, is a process, or a
 * namespace. */
#define ALLOW_THREAD(...) IF_EQUAL(HIGH(0), 0, ALLOW_EQUAL(LOW(0), SHIM_THREAD_FLAGS, __VA_ARGS__))

/* Its flags are behind a pointer, where no filter sees them; the C library falls back to clone. */
#define WITHOUT_CLONE3 WHEN(clone3, RETURN(SECCOMP_RET_ERRNO | ENOSYS))

#endif /* HOTCALLS_SYSCALL_FILTER_H */
