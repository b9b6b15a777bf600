/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_conditions.h -- calls that are native under conditions on their arguments. Included in
 * the middle of a filter, with OWN_ID defined, by shim_filter.c and run_filter.c; no include guard
 * on purpose.
 *
 * Jumps count instructions. A rule ends by reaching the next one with the number of the call in
 * the accumulator, or with an answer. One instruction a line:
 */
/* clang-format off */

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

/* Advice about its own memory; not that a page of the machine is broken, which root's would be. */
JUMP(BPF_JEQ, SYS_madvise, 0, 5),
LOAD(LOW(2)),
JUMP(BPF_JEQ, MADV_HWPOISON, 2, 0),
JUMP(BPF_JEQ, MADV_SOFT_OFFLINE, 1, 0),
ALLOW,
TRAP,

/* Of another process, an address in its memory. */
JUMP(BPF_JEQ, SYS_get_robust_list, 0, 4),
LOAD(LOW(0)),
JUMP(BPF_JEQ, 0, 0, 1),
ALLOW,
TRAP,

/* Signals to itself. */
JUMP(BPF_JEQ, SYS_tgkill, 3, 0),
JUMP(BPF_JEQ, SYS_rt_tgsigqueueinfo, 2, 0),
JUMP(BPF_JEQ, SYS_rt_sigqueueinfo, 1, 0),
JUMP(BPF_JEQ, SYS_kill, 0, 4),
LOAD(LOW(0)),
JUMP(BPF_JEQ, OWN_ID, 0, 1),
ALLOW,
TRAP,

/* Names, and questions. */
JUMP(BPF_JEQ, SYS_prctl, 0, 10),
LOAD(LOW(0)),
JUMP(BPF_JEQ, PR_SET_NAME, 7, 0),
JUMP(BPF_JEQ, PR_GET_NAME, 6, 0),
JUMP(BPF_JEQ, PR_SET_VMA, 5, 0),
JUMP(BPF_JEQ, PR_GET_NO_NEW_PRIVS, 4, 0),
JUMP(BPF_JEQ, PR_GET_TIMERSLACK, 3, 0),
JUMP(BPF_JEQ, PR_SET_TIMERSLACK, 2, 0),
JUMP(BPF_JEQ, PR_CAPBSET_READ, 1, 0),
JUMP(BPF_JEQ, PR_GET_KEEPCAPS, 0, 1),
ALLOW,
LOAD(FIELD(nr)), /* the rest of prctl is looked at behind the gate */

/* Own limits; those of descriptors and of file sizes are the host's to keep. */
JUMP(BPF_JEQ, SYS_prlimit64, 0, 7),
LOAD(LOW(0)),
JUMP(BPF_JEQ, 0, 0, 4),
LOAD(LOW(1)),
JUMP(BPF_JEQ, RLIMIT_NOFILE, 2, 0),
JUMP(BPF_JEQ, RLIMIT_FSIZE, 1, 0),
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
