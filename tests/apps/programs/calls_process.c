/* SPDX-License-Identifier: Apache-2.0 */
/* Every system call about memory, time, threads, signals, and who this process is. */
#include "calls.h"

#include <asm/prctl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

static void memory(void)
{
    unsigned char there[4];
    char *page = (char *)FINE(mmap, NULL, 16384, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    FINE(mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0L);
    CALL(mmap, NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
    CALL(mmap, NULL, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0L);
    CALL(mprotect, page, 4096, PROT_READ);
    CALL(mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    CALL(mprotect, page + 1, 4096, PROT_READ);
    CALL(mprotect, 4096, 4096, PROT_READ);
    CALL(madvise, page, 4096, MADV_DONTNEED);
    CALL(madvise, page, 4096, 9999);
    CALL(madvise, page + 1, 4096, MADV_DONTNEED);
    CALL(mincore, page, 4096, there);
    CALL(mincore, page, 4096, BAD);
    CALL(mlock, page, 4096);
    CALL(mlock, 4096, 4096);
    CALL(mlock2, page, 4096, 0);
    CALL(mlock2, page, 4096, 99);
    CALL(munlock, page, 4096);
    CALL(mlockall, 99);
    CALL(munlockall);
    CALL(msync, page, 4096, MS_ASYNC);
    CALL(msync, page, 4096, 99);
    FINE(mremap, page, 16384, 8192, 0);
    CALL(mremap, page + 1, 8192, 4096, 0);
    CALL(munmap, page, 8192);
    CALL(munmap, page + 1, 8192);
    int key = FINE(pkey_alloc, 0, 0) < 0 ? -1 : 0;
    CALL(pkey_alloc, 99, 0);
    FINE(pkey_mprotect, page, 4096, PROT_READ, key);
    CALL(pkey_free, 77);
    FINE(brk, 0);
}

static void time_and_system(void)
{
    struct timespec now, short_time = {0, 1000}, odd = {0, -1};
    struct timeval day;
    struct utsname name;
    struct sysinfo info;
    struct rusage usage;
    struct tms used;
    unsigned processor;
    uint64_t random;
    long old;
    FINE(clock_gettime, CLOCK_MONOTONIC, &now);
    CALL(clock_gettime, 99, &now);
    CALL(clock_gettime, CLOCK_MONOTONIC, BAD);
    CALL(clock_getres, CLOCK_MONOTONIC, &now);
    CALL(clock_getres, 99, &now);
    CALL(gettimeofday, &day, NULL);
    CALL(gettimeofday, BAD, NULL);
    FINE(time, &old);
    CALL(time, BAD);
    CALL(nanosleep, &short_time, NULL);
    CALL(nanosleep, &odd, NULL);
    CALL(nanosleep, BAD, NULL);
    CALL(clock_nanosleep, CLOCK_MONOTONIC, 0, &short_time, NULL);
    CALL(clock_nanosleep, 99, 0, &short_time, NULL);
    CALL(uname, &name);
    CALL(uname, BAD);
    CALL(sysinfo, &info);
    CALL(sysinfo, BAD);
    CALL(getrusage, RUSAGE_SELF, &usage);
    CALL(getrusage, 99, &usage);
    CALL(getrusage, RUSAGE_SELF, BAD);
    FINE(times, &used);
    CALL(times, BAD);
    CALL(getcpu, &processor, NULL, NULL);
    CALL(getcpu, BAD, NULL, NULL);
    CALL(getrandom, &random, sizeof random, 0);
    CALL(getrandom, BAD, 8, 0);
    CALL(getrandom, &random, 8, 99);
}

static void count(int number);
static volatile int g_count;

static void timers(void)
{
    struct itimerval soon = {{0, 0}, {0, 1000}}, none = {{0, 0}, {0, 0}}, old;
    struct itimerspec later = {{0, 0}, {100, 0}}, left;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    int timer = 0;
    signal(SIGALRM, count);
    CALL(alarm, 100);
    CALL(alarm, 0);
    CALL(setitimer, ITIMER_REAL, &soon, NULL);
    CALL(pause);
    SEEN(pause, "handlers that ran", g_count);
    CALL(setitimer, 99, &none, NULL);
    CALL(setitimer, ITIMER_REAL, BAD, NULL);
    CALL(getitimer, ITIMER_REAL, &old);
    CALL(getitimer, ITIMER_REAL, BAD);
    CALL(getitimer, 99, &old);
    CALL(timer_create, CLOCK_MONOTONIC, &event, &timer);
    CALL(timer_create, 99, &event, &timer);
    CALL(timer_create, CLOCK_MONOTONIC, BAD, &timer);
    CALL(timer_settime, timer, 0, &later, NULL);
    CALL(timer_settime, 77, 0, &later, NULL);
    CALL(timer_gettime, timer, &left);
    CALL(timer_gettime, timer, BAD);
    CALL(timer_getoverrun, timer);
    CALL(timer_getoverrun, 77);
    CALL(timer_delete, timer);
    CALL(timer_delete, timer);
}

struct action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static void count(int number)
{
    (void)number;
    g_count++;
}

static void signals(void)
{
    struct action old, wanted;
    uint64_t set = 1ULL << (SIGUSR1 - 1), none = 0, before;
    struct timespec soon = {0, 1000000}, odd = {0, -1};
    siginfo_t info;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536}, small = {.ss_sp = "", .ss_size = 1};
    int own = getpid(), thread = gettid();
    g_count = 0;
    signal(SIGUSR1, count);
    CALL(rt_sigaction, SIGUSR1, NULL, &old, 8);
    SEEN(rt_sigaction, "handler", old.handler == count);
    wanted = old;
    CALL(rt_sigaction, SIGUSR1, &wanted, NULL, 8);
    CALL(rt_sigaction, SIGUSR1, &wanted, NULL, 7);
    CALL(rt_sigaction, SIGKILL, &wanted, NULL, 8);
    CALL(rt_sigaction, 99, &wanted, NULL, 8);
    CALL(rt_sigaction, 0, NULL, NULL, 8);
    CALL(rt_sigaction, SIGUSR1, BAD, NULL, 8);
    CALL(rt_sigaction, SIGUSR1, NULL, BAD, 8);
    CALL(kill, own, SIGUSR1);
    CALL(kill, own, 99);
    CALL(kill, 0x7ffffff0, 0);
    CALL(tkill, thread, SIGUSR1);
    CALL(tkill, 0x7ffffff0, SIGUSR1);
    CALL(tkill, -1, SIGUSR1);
    CALL(tgkill, own, thread, SIGUSR1);
    CALL(tgkill, own, 0x7ffffff0, SIGUSR1);
    CALL(tgkill, own, -1, SIGUSR1);
    SEEN(rt_sigreturn, "handlers that have returned", g_count);
    memset(&info, 0, sizeof info);
    info.si_code = SI_QUEUE;
    CALL(rt_sigqueueinfo, own, SIGUSR1, &info);
    CALL(rt_sigqueueinfo, own, 99, &info);
    CALL(rt_sigqueueinfo, own, SIGUSR1, BAD);
    CALL(rt_tgsigqueueinfo, own, thread, SIGUSR1, &info);
    CALL(rt_tgsigqueueinfo, own, thread, 99, &info);
    SEEN(rt_sigreturn, "handlers that have returned", g_count);
    CALL(rt_sigprocmask, SIG_BLOCK, &set, &before, 8);
    CALL(rt_sigprocmask, SIG_BLOCK, &set, &before, 7);
    CALL(rt_sigprocmask, 99, &set, NULL, 8);
    CALL(rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8);
    CALL(rt_sigprocmask, SIG_BLOCK, NULL, BAD, 8);
    CALL(kill, own, SIGUSR1);
    CALL(rt_sigpending, &before, 8);
    SEEN(rt_sigpending, "blocked", (before & set) != 0);
    CALL(rt_sigpending, BAD, 8);
    CALL(rt_sigpending, &before, 9);
    CALL(rt_sigtimedwait, &set, &info, &soon, 8);
    SEEN(rt_sigtimedwait, "code", info.si_code);
    CALL(rt_sigtimedwait, &set, &info, &soon, 8);
    CALL(rt_sigtimedwait, &set, &info, &odd, 8);
    CALL(rt_sigtimedwait, BAD, &info, &soon, 8);
    CALL(rt_sigtimedwait, &set, &info, &soon, 7);
    CALL(kill, own, SIGUSR1);
    CALL(rt_sigsuspend, &none, 8);
    CALL(rt_sigsuspend, &none, 7);
    CALL(rt_sigsuspend, BAD, 8);
    SEEN(rt_sigreturn, "handlers that have returned", g_count);
    CALL(rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
    CALL(sigaltstack, &stack, NULL);
    CALL(sigaltstack, &small, NULL);
    CALL(sigaltstack, BAD, NULL);
    /* What the kernel goes on with after a stop; there is nothing to go on with. */
    CALL(restart_syscall);
}

static void *ends(void *argument)
{
    (void)argument;
    syscall(SYS_exit, 0);
    return NULL;
}

static void threads(void)
{
    uint32_t word = 1;
    struct timespec soon = {0, 1000000};
    struct sched_param parameter = {0};
    cpu_set_t cpus;
    size_t size;
    void *head;
    pthread_t thread;
    CALL(futex, &word, FUTEX_WAIT, 2, NULL);
    CALL(futex, &word, FUTEX_WAIT, 1, &soon);
    CALL(futex, &word, FUTEX_WAKE, 1);
    CALL(futex, BAD, FUTEX_WAKE, 1);
    CALL(futex, FAR, FUTEX_WAIT, 1, NULL);
    CALL(futex, &word, 99, 1);
    /* pthread_create is clone; that the thread is found to have ended is exit. */
    SEEN(clone, "of a thread", pthread_create(&thread, NULL, ends, NULL));
    SEEN(exit, "of a thread", pthread_join(thread, NULL));
    FINE(gettid);
    CALL(get_robust_list, 0, &head, &size);
    CALL(get_robust_list, 0, BAD, &size);
    CALL(set_robust_list, head, size);
    CALL(set_robust_list, head, 1);
    FINE(set_tid_address, &word);
    CALL(rseq, NULL, 0, 0, 0);
    CALL(membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    CALL(membarrier, 1 << 30, 0, 0);
    CALL(sched_yield);
    CALL(sched_getaffinity, 0, sizeof cpus, &cpus);
    CALL(sched_getaffinity, 0, 1, &cpus);
    CALL(sched_getaffinity, 0, sizeof cpus, BAD);
    CALL(sched_setaffinity, 0, sizeof cpus, &cpus);
    CALL(sched_setaffinity, gettid(), sizeof cpus, &cpus);
    CALL(sched_setaffinity, 0, sizeof cpus, BAD);
    CALL(sched_setaffinity, 0, 0, &cpus);
    CALL(sched_getscheduler, 0);
    CALL(sched_setscheduler, 0, SCHED_OTHER, &parameter);
    CALL(sched_setscheduler, 0, 99, &parameter);
    CALL(sched_setscheduler, 0, SCHED_OTHER, BAD);
    CALL(sched_getparam, 0, &parameter);
    CALL(sched_getparam, 0, BAD);
    CALL(sched_setparam, 0, &parameter);
    CALL(sched_setparam, 0, BAD);
    CALL(sched_get_priority_max, SCHED_FIFO);
    CALL(sched_get_priority_max, 99);
    CALL(sched_get_priority_min, SCHED_FIFO);
    CALL(sched_get_priority_min, 99);
    CALL(sched_rr_get_interval, 0, &soon);
    CALL(sched_rr_get_interval, 0, BAD);
    CALL(getpriority, PRIO_PROCESS, 0);
    CALL(getpriority, 99, 0);
    CALL(setpriority, PRIO_PROCESS, 0, 1);
    CALL(setpriority, PRIO_PROCESS, getpid(), 2);
    CALL(setpriority, 99, 0, 1);
}

static void identity(void)
{
    uint32_t ids[3], user = getuid(), group = getgid();
    struct rlimit limit, wrong = {10, 5};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0}, odd = {1, 0};
    struct __user_cap_data_struct sets[2];
    char name[16] = "";
    unsigned long base;
    gid_t groups[4096];
    siginfo_t info;
    FINE(getpid);
    FINE(getppid);
    CALL(getuid);
    CALL(geteuid);
    CALL(getgid);
    CALL(getegid);
    CALL(getresuid, &ids[0], &ids[1], &ids[2]);
    CALL(getresuid, &ids[0], BAD, &ids[2]);
    CALL(getresgid, &ids[0], &ids[1], &ids[2]);
    CALL(getresgid, BAD, &ids[1], &ids[2]);
    int count = (int)CALL(getgroups, 4096, groups);
    CALL(getgroups, 0, NULL);
    CALL(getgroups, -1, groups);
    CALL(setuid, user);
    CALL(setuid, -1);
    CALL(setgid, group);
    CALL(setgid, -1);
    CALL(setreuid, -1, user);
    CALL(setregid, -1, group);
    CALL(setresuid, -1, user, -1);
    CALL(setresgid, -1, group, -1);
    CALL(setgroups, count, groups);
    CALL(setgroups, 1 << 20, groups);
    CALL(setgroups, 2, BAD);
    CALL(setgroups, -1, groups);
    CALL(capget, &header, sets);
    CALL(capget, BAD, sets);
    CALL(capset, &header, sets);
    CALL(capset, BAD, sets);
    CALL(capset, &header, BAD);
    CALL(capset, &odd, sets);
    CALL(prctl, PR_SET_NAME, "named", 0, 0, 0);
    CALL(prctl, PR_GET_NAME, name, 0, 0, 0);
    TEXT(prctl, name);
    CALL(prctl, PR_SET_NAME, BAD, 0, 0, 0);
    CALL(prctl, 999999, 0, 0, 0, 0);
    CALL(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    CALL(prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
    CALL(prctl, PR_SET_DUMPABLE, 9, 0, 0, 0);
    CALL(prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
    CALL(prctl, PR_SET_KEEPCAPS, 9, 0, 0, 0);
    CALL(prctl, PR_GET_KEEPCAPS, 0, 0, 0, 0);
    CALL(prctl, PR_CAPBSET_READ, 0, 0, 0, 0);
    CALL(prctl, PR_CAPBSET_READ, 99, 0, 0, 0);
    CALL(prctl, PR_CAPBSET_DROP, 99, 0, 0, 0);
    CALL(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    CALL(prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    CALL(prctl, PR_SET_TIMERSLACK, 60000, 0, 0, 0);
    CALL(prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
    CALL(prctl, PR_SET_PDEATHSIG, 99, 0, 0, 0);
    CALL(arch_prctl, ARCH_GET_FS, &base);
    CALL(arch_prctl, ARCH_GET_FS, BAD);
    CALL(arch_prctl, 99, 0);
    CALL(personality, 0xffffffff);
    CALL(getrlimit, RLIMIT_STACK, &limit);
    CALL(getrlimit, 99, &limit);
    CALL(getrlimit, RLIMIT_NOFILE, BAD);
    CALL(getrlimit, RLIMIT_NOFILE, &limit);
    CALL(setrlimit, RLIMIT_NOFILE, &(struct rlimit){128, limit.rlim_max});
    CALL(setrlimit, RLIMIT_NOFILE, &wrong);
    CALL(setrlimit, RLIMIT_NOFILE, BAD);
    CALL(setrlimit, 99, &limit);
    CALL(prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    SEEN(prlimit64, "soft", limit.rlim_cur);
    CALL(prlimit64, getpid(), RLIMIT_FSIZE, NULL, &limit);
    CALL(prlimit64, 0, RLIMIT_FSIZE, BAD, NULL);
    CALL(prlimit64, 0, RLIMIT_CORE, NULL, BAD);
    CALL(dup2, 1, 127);
    CALL(dup2, 1, 128);
    CALL(wait4, -1, NULL, WNOHANG, NULL);
    CALL(wait4, -1, NULL, 0x77777777, NULL);
    CALL(waitid, P_ALL, 0, &info, WEXITED, NULL);
    CALL(waitid, P_ALL, 0, &info, 0, NULL);
    FINE(getpgrp);
    SEEN(getpgid, "of zero", syscall(SYS_getpgid, 0) == syscall(SYS_getpgrp));
    CALL(getpgid, 0x7ffffff0);
    FINE(getsid, 0);
    CALL(getsid, 0x7ffffff0);
    CALL(setpgid, 0, -1);
    CALL(setpgid, 0x7ffffff0, 0);
    CALL(setpgid, 0, 0);
    SEEN(getpgid, "a group of its own", syscall(SYS_getpgid, 0) == getpid());
    SEEN(getpgrp, "a group of its own", syscall(SYS_getpgrp) == getpid());
    CALL(setpgid, 0, getpgid(getppid()));
    FINE(setsid);
    SEEN(getsid, "a session of its own", syscall(SYS_getsid, 0) == getpid());
    SEEN(getpgid, "a group of its own", syscall(SYS_getpgid, getpid()) == getpid());
    CALL(setsid);
    CALL(setpgid, 0, 0);
}

int main(int argc, char **argv)
{
    begin(argc, argv);
    memory();
    time_and_system();
    timers();
    signals();
    threads();
    identity();
    printf("exit_group: with a status of its own\n");
    fflush(stdout);
    syscall(SYS_exit_group, 7);
    return 0;
}
