/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_table.h - the statement of what an enclave may do. Everything else is refused with
 * SANDBOX_DENIED_ERRNO; system calls of another architecture (int 0x80, x32) kill the process. No
 * filter sees uretprobe and uprobe (335 and 336 on x86-64): Linux 6.14 lets them pass, and they
 * fail unless they come from the kernel's own trampolines.
 *
 * The filter, the documentation and the tests are made from these rows. Included by sandbox_lock.c
 * and by the tests, with SANDBOX_ALLOW and SANDBOX_ABSENT defined; no include guard on purpose.
 * Which side runs it: the enclave process. What it trusts: nothing; the rows are the trust.
 *
 *   SANDBOX_ALLOW(group, call, why, conditions...)    allowed when all conditions hold
 *   SANDBOX_ABSENT(group, call, why, conditions...)   fails with ENOSYS, so that libc falls back
 *
 * Several rows of one call are alternatives. A condition compares the whole 64-bit register, so an
 * argument with stray upper bits, which the kernel would cut off, is refused: stricter, never
 * laxer. What lies behind a pointer cannot be checked (the caller could change it afterwards), so
 * a call whose danger is behind a pointer has no row.
 *
 *   ANY                       no condition
 *   EQUALS(argument, value)
 *   ONLY_BITS(argument, bits)               no other bit is set
 *   EQUALS_BUT(argument, value, ignored)    equal, not counting the ignored bits
 *   AT_MOST(argument, value)                unsigned
 *   OWN_PROCESS(argument)                   the own process id
 *   WRITE_FD(argument), READ_FD(argument)   one of the policy's descriptors
 */

/* Memory: private, anonymous, never executable. PROT_EXEC has no row, so code can neither be made
 * nor changed into; a descriptor can neither be mapped nor unmapped from under the peer. */
SANDBOX_ALLOW(MEMORY, brk, "heap", ANY)
SANDBOX_ALLOW(MEMORY, mmap, "private anonymous memory; a descriptor is ignored by the kernel",
              ONLY_BITS(2, PROT_READ | PROT_WRITE),
              EQUALS_BUT(3, MAP_PRIVATE | MAP_ANONYMOUS,
                         MAP_NORESERVE | MAP_STACK | MAP_FIXED | MAP_FIXED_NOREPLACE |
                             MAP_POPULATE))
SANDBOX_ALLOW(MEMORY, munmap, "gives memory back", ANY)
SANDBOX_ALLOW(MEMORY, mremap, "moves or grows; the protection stays what it was", ANY)
SANDBOX_ALLOW(MEMORY, mprotect, "guard pages, arenas", ONLY_BITS(2, PROT_READ | PROT_WRITE))
/* Not MADV_REMOVE: it punches holes into the channel under the peer. Not MADV_MERGEABLE: merged
 * pages tell others what they contain, by timing. Not MADV_DODUMP. */
SANDBOX_ALLOW(MEMORY, madvise, "MADV_NORMAL .. MADV_DONTNEED: hints, dropping pages",
              AT_MOST(2, MADV_DONTNEED))
SANDBOX_ALLOW(MEMORY, madvise, "drops pages lazily", EQUALS(2, MADV_FREE))
SANDBOX_ALLOW(MEMORY, madvise, "huge pages", EQUALS(2, MADV_HUGEPAGE))
SANDBOX_ALLOW(MEMORY, madvise, "no huge pages", EQUALS(2, MADV_NOHUGEPAGE))
SANDBOX_ALLOW(MEMORY, madvise, "keeps out of dumps", EQUALS(2, MADV_DONTDUMP))
SANDBOX_ALLOW(MEMORY, madvise, "prefault", EQUALS(2, MADV_POPULATE_READ))
SANDBOX_ALLOW(MEMORY, madvise, "prefault", EQUALS(2, MADV_POPULATE_WRITE))
SANDBOX_ALLOW(MEMORY, madvise, "guard pages of thread stacks in glibc 2.42", EQUALS(2, 102))
SANDBOX_ALLOW(MEMORY, madvise, "removes these guard pages", EQUALS(2, 103))
SANDBOX_ALLOW(MEMORY, mlock, "keeps a secret out of swap; bounded by RLIMIT_MEMLOCK", ANY)
SANDBOX_ALLOW(MEMORY, mlock2, "the same", ANY)
SANDBOX_ALLOW(MEMORY, munlock, "undoes it", ANY)

/* Futex: sleeping and waking, in own memory or in the channel. The rest of the interface is
 * refused: the priority-inheritance operations have the history (CVE-2014-3153, CVE-2021-3347) and
 * must seem absent, or glibc aborts instead of reporting ENOTSUP for such a mutex. */
SANDBOX_ALLOW(FUTEX, futex, "sleeps", EQUALS_BUT(1, FUTEX_WAIT, FUTEX_PRIVATE_FLAG))
SANDBOX_ALLOW(FUTEX, futex, "wakes", EQUALS_BUT(1, FUTEX_WAKE, FUTEX_PRIVATE_FLAG))
SANDBOX_ALLOW(FUTEX, futex, "sleeps until an absolute time",
              EQUALS_BUT(1, FUTEX_WAIT_BITSET, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))
SANDBOX_ALLOW(FUTEX, futex, "wakes", EQUALS_BUT(1, FUTEX_WAKE_BITSET, FUTEX_PRIVATE_FLAG))
SANDBOX_ABSENT(FUTEX, futex, "priority inheritance",
               EQUALS_BUT(1, FUTEX_LOCK_PI, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))
SANDBOX_ABSENT(FUTEX, futex, "priority inheritance; glibc probes with this one",
               EQUALS_BUT(1, FUTEX_UNLOCK_PI, FUTEX_PRIVATE_FLAG))
SANDBOX_ABSENT(FUTEX, futex, "priority inheritance",
               EQUALS_BUT(1, FUTEX_TRYLOCK_PI, FUTEX_PRIVATE_FLAG))
SANDBOX_ABSENT(FUTEX, futex, "priority inheritance",
               EQUALS_BUT(1, FUTEX_LOCK_PI2, FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME))

/* Time. Clock ids above CLOCK_TAI name descriptors and the processor time of other processes. */
SANDBOX_ALLOW(TIME, clock_gettime, "when the vDSO cannot answer", AT_MOST(0, CLOCK_TAI))
SANDBOX_ALLOW(TIME, clock_getres, "resolution of a clock", AT_MOST(0, CLOCK_TAI))
SANDBOX_ALLOW(TIME, clock_nanosleep, "sleeps", AT_MOST(0, CLOCK_TAI))
SANDBOX_ALLOW(TIME, nanosleep, "sleeps", ANY)
SANDBOX_ALLOW(TIME, gettimeofday, "when the vDSO cannot answer", ANY)

/* Threads of this process; fork, vfork and every namespace flag are other values of `flags`. */
SANDBOX_ALLOW(THREAD, clone, "pthread_create: exactly its flags", EQUALS(0, SANDBOX_THREAD_FLAGS))
SANDBOX_ABSENT(COMPATIBILITY, clone3, "its flags are behind a pointer; glibc falls back to clone",
               ANY)
SANDBOX_ALLOW(THREAD, set_robust_list, "start of a thread", ANY)
SANDBOX_ALLOW(THREAD, rseq, "start of a thread", ANY)
SANDBOX_ALLOW(THREAD, gettid, "own id", ANY)
SANDBOX_ALLOW(THREAD, sched_yield, "gives the processor away", ANY)
SANDBOX_ALLOW(THREAD, getcpu, "which processor", ANY)
SANDBOX_ALLOW(THREAD, sched_getaffinity, "the calling thread's only", EQUALS(0, 0))
SANDBOX_ALLOW(THREAD, sched_setaffinity, "the calling thread's only", EQUALS(0, 0))
SANDBOX_ALLOW(THREAD, exit, "end of a thread", ANY)
SANDBOX_ALLOW(THREAD, exit_group, "end of the enclave", ANY)

/* Signals, to itself only. */
SANDBOX_ALLOW(SIGNAL, rt_sigaction, "own handlers", ANY)
SANDBOX_ALLOW(SIGNAL, rt_sigprocmask, "own mask", ANY)
SANDBOX_ALLOW(SIGNAL, rt_sigreturn, "end of a handler", ANY)
SANDBOX_ALLOW(SIGNAL, sigaltstack, "stack of handlers", ANY)
SANDBOX_ALLOW(SIGNAL, tgkill, "raise, abort, pthread_kill", OWN_PROCESS(0))
SANDBOX_ALLOW(SIGNAL, restart_syscall, "the kernel resumes a sleep after a signal", ANY)

/* The process itself. prctl only where it changes names and reads what sandbox_verify() checks. */
SANDBOX_ALLOW(PROCESS, getpid, "own id", ANY)
SANDBOX_ALLOW(PROCESS, getrandom, "random bytes", ANY)
SANDBOX_ALLOW(PROCESS, prctl, "name of the thread, which everybody can read",
              EQUALS(0, PR_SET_NAME))
SANDBOX_ALLOW(PROCESS, prctl, "name of a mapping", EQUALS(0, PR_SET_VMA),
              EQUALS(1, PR_SET_VMA_ANON_NAME))
SANDBOX_ALLOW(PROCESS, prctl, "verification", EQUALS(0, PR_GET_DUMPABLE))
SANDBOX_ALLOW(PROCESS, prctl, "verification", EQUALS(0, PR_GET_SECCOMP))
SANDBOX_ALLOW(PROCESS, prctl, "verification", EQUALS(0, PR_GET_NO_NEW_PRIVS))

/* Descriptors. Nothing opens, duplicates, passes or receives one; poll only sees own ones. */
SANDBOX_ALLOW(DESCRIPTOR, write, "log, wake-up", WRITE_FD(0))
SANDBOX_ALLOW(DESCRIPTOR, writev, "log", WRITE_FD(0))
SANDBOX_ALLOW(DESCRIPTOR, read, "wake-up", READ_FD(0))
SANDBOX_ALLOW(DESCRIPTOR, poll, "end of the host", ANY)
SANDBOX_ALLOW(DESCRIPTOR, ppoll, "end of the host", ANY)

/* New interfaces that libraries probe for and do without. */
SANDBOX_ABSENT(COMPATIBILITY, futex_waitv, "its flags are behind a pointer", ANY)

/* What a language runtime needs on top; found by running the CPython test programs of tests/inside.
 * The calls that tell an id cannot fail, so libc would hand the errno on as one. */
SANDBOX_ALLOW(INTERPRETER, close, "files that imports left open; no number can be bound again", ANY)
SANDBOX_ALLOW(INTERPRETER, getppid, "cannot fail; the host's id, which /proc shows to everybody",
              ANY)
SANDBOX_ALLOW(INTERPRETER, getuid, "cannot fail; own id", ANY)
SANDBOX_ALLOW(INTERPRETER, geteuid, "cannot fail; own id", ANY)
SANDBOX_ALLOW(INTERPRETER, getgid, "cannot fail; own id", ANY)
SANDBOX_ALLOW(INTERPRETER, getegid, "cannot fail; own id", ANY)
SANDBOX_ALLOW(INTERPRETER, times, "os.times; cannot fail; own processor time", ANY)
SANDBOX_ALLOW(INTERPRETER, select, "time.sleep of Python 3.10: no descriptors", EQUALS(0, 0))
SANDBOX_ALLOW(INTERPRETER, pselect6, "the same by another libc", EQUALS(0, 0))
