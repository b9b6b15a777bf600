/* SPDX-License-Identifier: Apache-2.0 */
/* Threads, signals, memory and who we are. */
#include "say.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t g_signals;
static int g_pipe[2];

static void count(int number)
{
    (void)number;
    g_signals++;
}

static void count_and_write(int number)
{
    (void)number;
    g_signals++;
    if (write(g_pipe[1], "s", 1) != 1)
        g_signals += 100;
}

static void *thread_body(void *argument)
{
    char byte;
    long result = read(*(int *)argument, &byte, 1);
    return (void *)(result * 10 + (byte == 'q'));
}

static void *many_calls(void *argument)
{
    long sum = 0;
    for (int i = 0; i < 200; i++)
        sum += write(*(int *)argument, "x", 1);
    return (void *)sum;
}

static void threads(void)
{
    pthread_t all[8];
    int p[2], null = open("/dev/null", O_WRONLY);
    void *result;
    SAY(pipe(p));
    for (int i = 0; i < 8; i++)
        SAY(pthread_create(&all[i], NULL, many_calls, &null));
    for (int i = 0; i < 8; i++) {
        pthread_join(all[i], &result);
        printf("thread %ld\n", (long)result);
    }
    pthread_create(&all[0], NULL, thread_body, &p[0]);
    usleep(20000);
    SAY(write(p[1], "q", 1));
    pthread_join(all[0], &result);
    printf("blocked thread %ld\n", (long)result);
    /* Slots are used again: more threads than there are. */
    long sum = 0;
    for (int i = 0; i < 400; i++) {
        pthread_create(&all[0], NULL, many_calls, &null);
        pthread_join(all[0], &result);
        sum += (long)result;
    }
    printf("%ld\n", sum);
    pthread_create(&all[0], NULL, thread_body, &p[0]);
    usleep(10000);
    SAY(pthread_cancel(all[0]));
    SAY(pthread_join(all[0], &result));
    SAY(result == PTHREAD_CANCELED);
}

static sigjmp_buf g_jump;

static void jump(int number)
{
    siglongjmp(g_jump, number);
}

static void on_info(int number, siginfo_t *info, void *context)
{
    (void)context;
    printf("signal %d code %d value %d\n", number, info->si_code, info->si_value.sival_int);
}

static void *kill_main(void *argument)
{
    usleep(30000);
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    return NULL;
}

static void interrupted(int flags, const char *what)
{
    struct sigaction action = {.sa_handler = count_and_write};
    pthread_t killer, self = pthread_self();
    char buffer[8];
    action.sa_flags = flags;
    sigaction(SIGUSR1, &action, NULL);
    g_signals = 0;
    printf("%s\n", what);
    pthread_create(&killer, NULL, kill_main, &self);
    /* With SA_RESTART the handler's own byte ends the read. */
    SAY(read(g_pipe[0], buffer, 8));
    pthread_join(killer, NULL);
    SAY(g_signals);
    if ((flags & SA_RESTART) == 0)
        SAY(read(g_pipe[0], buffer, 8));
    pthread_create(&killer, NULL, kill_main, &self);
    SAY(poll(NULL, 0, 2000));
    pthread_join(killer, NULL);
    SAY(read(g_pipe[0], buffer, 8));
    int set = epoll_create1(0);
    struct epoll_event event;
    pthread_create(&killer, NULL, kill_main, &self);
    SAY(epoll_wait(set, &event, 1, 2000));
    pthread_join(killer, NULL);
    SAY(read(g_pipe[0], buffer, 8));
    pthread_create(&killer, NULL, kill_main, &self);
    SAY(usleep(2000000));
    pthread_join(killer, NULL);
    SAY(read(g_pipe[0], buffer, 8));
    close(set);
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = count}, old;
    sigset_t set, before;
    SAY(pipe(g_pipe));
    SAY(sigaction(SIGUSR1, &action, &old));
    SAY(old.sa_handler == SIG_DFL);
    SAY(sigaction(SIGKILL, &action, NULL));
    SAY(sigaction(99, &action, NULL));
    SAY(sigaction(SIGUSR1, NULL, &old));
    SAY(old.sa_handler == count);
    SAY(raise(SIGUSR1));
    SAY(g_signals);
    /* Everything blocked, then calls that have to be trapped. */
    sigfillset(&set);
    SAY(sigprocmask(SIG_SETMASK, &set, &before));
    SAY(syscall(SYS_lseek, g_pipe[0], 0, 0));
    SAY_FINE(syscall(SYS_openat, AT_FDCWD, "/dev/null", 0));
    SAY(raise(SIGUSR1));
    SAY(g_signals);
    sigset_t pending;
    SAY(sigpending(&pending));
    SAY(sigismember(&pending, SIGUSR1));
    sigset_t now;
    SAY(sigprocmask(SIG_SETMASK, &before, &now));
    SAY(sigismember(&now, SIGSYS) && sigismember(&now, SIGUSR2));
    SAY(g_signals);
    interrupted(0, "without SA_RESTART");
    interrupted(SA_RESTART, "with SA_RESTART");
    /* ppoll opens what is blocked for the time of the call only. */
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    action.sa_handler = count;
    SAY(sigaction(SIGUSR1, &action, NULL));
    g_signals = 0;
    SAY(sigprocmask(SIG_BLOCK, &set, NULL));
    SAY(raise(SIGUSR1));
    SAY(g_signals);
    sigset_t none;
    sigemptyset(&none);
    SAY(ppoll(NULL, 0, &(struct timespec){2, 0}, &none));
    SAY(g_signals);
    SAY(raise(SIGUSR1));
    SAY(sigsuspend(&none));
    SAY(g_signals);
    SAY(raise(SIGUSR1));
    SAY(sigtimedwait(&set, NULL, &(struct timespec){1, 0}));
    SAY(sigtimedwait(&set, NULL, &(struct timespec){0, 1000}));
    SAY(sigprocmask(SIG_UNBLOCK, &set, NULL));
    /* What comes with a signal. */
    struct sigaction detailed = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO};
    SAY(sigaction(SIGRTMIN + 1, &detailed, NULL));
    union sigval value = {.sival_int = 42};
    SAY(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, value));
    /* Out of a handler by a jump, also out of one that ended a call. */
    action.sa_handler = jump;
    SAY(sigaction(SIGALRM, &action, NULL));
    char byte;
    int caught = sigsetjmp(g_jump, 1);
    if (caught == 0) {
        SAY(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 50000}}, NULL));
        SAY(read(g_pipe[0], &byte, 1));
    }
    printf("caught %d\n", caught);
    SAY(write(g_pipe[1], "z", 1));
    SAY(read(g_pipe[0], &byte, 1));
    /* A fault of the program is the program's. */
    action.sa_handler = jump;
    SAY(sigaction(SIGSEGV, &action, NULL));
    caught = sigsetjmp(g_jump, 1);
    if (caught == 0)
        *(volatile int *)8 = 1;
    printf("caught %d\n", caught);
    SAY(read(g_pipe[0], (void *)8, 0));
    action.sa_handler = count;
    action.sa_flags = (int)SA_RESETHAND;
    SAY(sigaction(SIGUSR2, &action, NULL));
    g_signals = 0;
    SAY(raise(SIGUSR2));
    SAY(g_signals);
    SAY(sigaction(SIGUSR2, NULL, &old));
    SAY(old.sa_handler == SIG_DFL);
    /* SIGPIPE of a write that has nobody to read it. */
    int p[2];
    action.sa_flags = 0;
    SAY(sigaction(SIGPIPE, &action, NULL));
    SAY(pipe(p));
    SAY(close(p[0]));
    g_signals = 0;
    SAY(write(p[1], "x", 1));
    SAY(g_signals);
    SAY(kill(getpid(), 0));
    SAY(kill(getpid(), SIGPIPE));
    SAY(g_signals);
    stack_t stack = {.ss_size = 65536, .ss_sp = malloc(65536)};
    SAY(sigaltstack(&stack, NULL));
    struct itimerval timer = {{0, 0}, {0, 1000}};
    action.sa_handler = count;
    SAY(sigaction(SIGALRM, &action, NULL));
    g_signals = 0;
    SAY(setitimer(ITIMER_REAL, &timer, NULL));
    SAY(pause());
    SAY(g_signals);
}

static void memory(void)
{
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SAY(page != MAP_FAILED);
    SAY(mprotect(page, 4096, PROT_READ));
    SAY(madvise(page, 4096, MADV_DONTNEED));
    SAY(munmap(page, 8192));
    SAY(mprotect((void *)4096, 4096, PROT_READ));
    void *library = dlopen("libm.so.6", RTLD_NOW);
    SAY(library != NULL);
    double (*root)(double) = (double (*)(double))(uintptr_t)dlsym(library, "sqrt");
    SAY(root(144.0));
    library = dlopen("libnss_files.so.2", RTLD_NOW);
    SAY(dlopen("libdoesnotexist.so", RTLD_NOW) == NULL);
    char random[16];
    SAY(getrandom(random, 16, 0));
}

static void identity(void)
{
    struct rlimit limit;
    SAY(getuid());
    SAY(setuid(getuid()));
    SAY(getppid() > 1);
    SAY(getpgrp() > 1);
    SAY(getsid(0) > 1);
    SAY(getpgid(0) == getpgrp());
    SAY(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 64;
    SAY(setrlimit(RLIMIT_NOFILE, &limit));
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0);
    SAY(errno);
    SAY(fcntl(0, F_DUPFD, 64));
    SAY(dup2(0, 64));
    SAY(close_range(10, 63, 0));
    SAY(prctl(PR_SET_NAME, "renamed"));
    char name[17] = "";
    SAY(prctl(PR_GET_NAME, name));
    SAY_TEXT(name);
    SAY(wait(NULL));
    SAY(waitpid(-1, NULL, WNOHANG));
    SAY(sched_yield());
    cpu_set_t cpus;
    SAY(sched_getaffinity(0, sizeof cpus, &cpus));
    SAY(sched_setaffinity(0, sizeof cpus, &cpus));
    SAY(getpriority(PRIO_PROCESS, 0));
    SAY(nice(1));
    SAY(syscall(1000));
    char text[64] = "";
    int status = open("/proc/self/status", O_RDONLY);
    SAY(read(status, text, 13));
    SAY_TEXT(text);
    SAY(readlink("/proc/self/exe", text, sizeof text) > 0);
    SAY_TEXT(strrchr(text, '/'));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    threads();
    signals();
    memory();
    identity();
    return 0;
}
