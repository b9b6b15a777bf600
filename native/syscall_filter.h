/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_filter.h -- how the two filters of `hotcalls run` are written down.
 *
 * Used by shim_filter.c for the filter that holds, and by run_filter.c for the one before it.
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

/* One number, one answer: two instructions. */
#define WHEN(call, answer) JUMP(BPF_JEQ, SYS_##call, 0, 1), answer

/* The x32 calls of the same architecture. */
#define X32_BIT 0x40000000u

#endif /* HOTCALLS_SYSCALL_FILTER_H */
