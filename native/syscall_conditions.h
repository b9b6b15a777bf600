/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall_conditions.h -- calls that are native under conditions on their arguments. Included in
 * the middle of a filter, with OWN_ID defined, by shim_filter.c and run_filter.c; no include guard
 * on purpose.
 *
 * See syscall_filter.h. In a rule that is written out, one instruction a line:
 */
/* clang-format off */

/* Memory without a descriptor. */
WHEN(mmap,
     LOAD(LOW(3)),
     JUMP(BPF_JSET, MAP_ANONYMOUS, 0, 1),
     ALLOW,
     TRAP),

WHEN(clone, ALLOW_THREAD(TRAP)),

/* Advice about its own memory; not that a page of the machine is broken, which root's would be. */
WHEN(madvise, ALLOW_NEITHER(LOW(2), MADV_HWPOISON, MADV_SOFT_OFFLINE, TRAP)),

/* Of another process, an address in its memory. */
WHEN(get_robust_list, ALLOW_EQUAL(LOW(0), 0, TRAP)),

/* Signals to itself. */
WHEN_TOO(tgkill, 3),
WHEN_TOO(rt_tgsigqueueinfo, 2),
WHEN_TOO(rt_sigqueueinfo, 1),
WHEN(kill, ALLOW_EQUAL(LOW(0), OWN_ID, TRAP)),

/* Names, and questions. The rest of prctl is looked at behind the gate. */
WHEN(prctl,
     LOAD(LOW(0)),
     JUMP(BPF_JEQ, PR_SET_NAME, 7, 0),
     JUMP(BPF_JEQ, PR_GET_NAME, 6, 0),
     JUMP(BPF_JEQ, PR_SET_VMA, 5, 0),
     JUMP(BPF_JEQ, PR_GET_NO_NEW_PRIVS, 4, 0),
     JUMP(BPF_JEQ, PR_GET_TIMERSLACK, 3, 0),
     JUMP(BPF_JEQ, PR_SET_TIMERSLACK, 2, 0),
     JUMP(BPF_JEQ, PR_CAPBSET_READ, 1, 0),
     JUMP(BPF_JEQ, PR_GET_KEEPCAPS, 0, 1),
     ALLOW),
LOAD(FIELD(nr)),

/* Own limits; those of descriptors and of file sizes are the host's to keep. */
WHEN(prlimit64, IF_EQUAL(LOW(0), 0, ALLOW_NEITHER(LOW(1), RLIMIT_NOFILE, RLIMIT_FSIZE, TRAP))),

/* Scheduling of the calling thread. */
WHEN_TOO(sched_setaffinity, 2),
WHEN_TOO(sched_setscheduler, 1),
WHEN(sched_setparam, ALLOW_EQUAL(LOW(0), 0, TRAP)),
WHEN(setpriority, IF_EQUAL(LOW(0), PRIO_PROCESS, ALLOW_EQUAL(LOW(1), 0, TRAP))),
