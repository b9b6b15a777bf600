/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside.c - a locked-down process that tries to get out.
 *
 * Started by the tests. Locks itself down as the loader does and then makes system calls, raw and
 * by number where it matters. One line of output per attempt.
 *
 *   rules                 the table as JSON, before any lock
 *   sweep FIRST LAST A    every number without a row, all six arguments A, in one locked process
 *   each A                every number with a row, each in a process of its own
 *   x32 | int80           the other ways into the kernel of x86-64, each in a process of its own
 *   model SEED COUNT      random arguments against what the rows say
 *   attempts              forbidden calls as an attacker would really make them
 *   conditions            calls at both sides of each row's conditions
 *   life                  what ordinary C code does must still work
 *   abort | close         ends by abort(); the interpreter group may close
 *   secrets | secret-misuse   the allocator of secret memory
 *   cost COUNT            nanoseconds per call, before and after
 */
#define _GNU_SOURCE
#include "inside.h"

#include <errno.h>
#include <execinfo.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define X32_BIT 0x40000000L
#define X32_LAST 547L

void say(const char *format, ...)
{
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > 0) {
        line[length] = '\n';
        (void)!write(INSIDE_WRITE_FD, line, (size_t)length + 1);
    }
}

void enter(uint32_t more)
{
    static const int fds[] = {0, 1, 2};
    char text[512];
    struct sandbox_error error;
    struct sandbox_lock_report report;
    struct sandbox_harden_options options = {.keep_fds = fds, .keep_fd_count = 3};
    struct sandbox_policy policy = {.groups = SANDBOX_CORE | more};
    policy.write_fds[policy.write_fd_count++] = INSIDE_WRITE_FD;
    policy.read_fds[policy.read_fd_count++] = INSIDE_READ_FD;
    if (sandbox_harden(&options, &error) != 0 || sandbox_lock(&policy, &report, &error) != 0 ||
        sandbox_verify(&policy, &error) != 0) {
        say("failed %s", sandbox_error_format(&error, text, sizeof text));
        _exit(3);
    }
}

static void attempt(long number, long argument)
{
    errno = 0;
    long result = syscall(number, argument, argument, argument, argument, argument, argument);
    say("%ld result %ld %d", number, result, errno);
}

/*
 * uretprobe and uprobe of x86-64: no filter sees them (Linux 6.14 lets them pass, as probes of
 * root's would otherwise kill filtered programs). Called from anywhere but the kernel's own
 * trampolines they do nothing but fail.
 */
static bool is_exempt(long number)
{
#ifdef __x86_64__
    return number == 335 || number == 336;
#else
    return number < 0;
#endif
}

static void sweep(long first, long last, long argument)
{
    enter(0);
    for (long number = first; number <= last; number++) {
        if (!in_table(number, SANDBOX_CORE) && !is_exempt(number)) {
            attempt(number, argument);
        }
    }
}

/* Waits for a child that tries one thing, and says how it ended if it did not say so itself. */
static void await(pid_t child, long number)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
        say("%ld lost", number);
    } else if (WIFSIGNALED(status)) {
        say("%ld signal %d", number, WTERMSIG(status));
    } else {
        say("%ld exit %d", number, WEXITSTATUS(status));
    }
}

static void each(long argument)
{
    for (long number = 0; number < 512; number++) {
        if (!in_table(number, SANDBOX_CORE) && !is_exempt(number)) {
            continue;
        }
        pid_t child = fork();
        if (child == 0) {
            enter(0);
            attempt(number, argument);
            _exit(0);
        }
        /* Some wait for ever when they are let through, which is an answer as well. */
        siginfo_t info = {0};
        for (int i = 0; i < 50 && info.si_pid == 0; i++) {
            (void)usleep(i < 5 ? 1000 : 10000);
            (void)waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT);
        }
        (void)kill(child, SIGKILL);
        await(child, number);
    }
}

static long call_int80(long number)
{
#ifdef __x86_64__
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
#else
    return number;
#endif
}

static void foreign(bool x32)
{
    static const long legacy[] = {1, 2, 5, 11, 20, 26, 37, 102, 120, 125, 192};
    long count = x32 ? X32_LAST + 1 : (long)(sizeof legacy / sizeof legacy[0]);
    for (long i = 0; i < count; i++) {
        long number = x32 ? i : legacy[i];
        pid_t child = fork();
        if (child == 0) {
            enter(0);
            if (x32) {
                attempt(number | X32_BIT, -1);
            } else {
                say("%ld result %ld", number, call_int80(number));
            }
            _exit(0);
        }
        await(child, number);
    }
}

/* ---- what ordinary code does ---- */

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t g_condition = PTHREAD_COND_INITIALIZER;
static volatile sig_atomic_t g_signals;

static void on_signal(int number)
{
    (void)number;
    g_signals++;
}

static void *work(void *argument)
{
    char *memory = malloc(3000000);
    memset(memory, 1, 3000000);
    free(memory);
    if (argument != NULL) {
        pthread_exit(argument); /* wants libgcc_s */
    }
    return NULL;
}

static void *sleeper(void *argument)
{
    (void)sleep(60);
    return argument;
}

static void check(const char *name, bool good)
{
    say("%s %s", name, good ? "ok" : "bad");
}

static void life_threads(void)
{
    pthread_t threads[16];
    bool good = true;
    for (int i = 0; i < 16; i++) {
        good =
            pthread_create(&threads[i], NULL, work, i % 2 != 0 ? &threads[i] : NULL) == 0 && good;
    }
    for (int i = 0; i < 16; i++) {
        void *result;
        good = pthread_join(threads[i], &result) == 0 && good;
        good = result == (i % 2 != 0 ? &threads[i] : NULL) && good;
    }
    check("threads", good);
    void *result;
    good = pthread_create(&threads[0], NULL, sleeper, NULL) == 0 &&
           pthread_cancel(threads[0]) == 0 && pthread_join(threads[0], &result) == 0;
    check("cancel", good && result == PTHREAD_CANCELED);
    check("name", pthread_setname_np(pthread_self(), "inside") == 0);

    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec = (until.tv_nsec + 10000000) % 1000000000;
    (void)pthread_mutex_lock(&g_mutex);
    check("condition", pthread_cond_timedwait(&g_condition, &g_mutex, &until) == ETIMEDOUT);
    (void)pthread_mutex_unlock(&g_mutex);

    pthread_mutexattr_t attribute;
    pthread_mutex_t inheriting;
    (void)pthread_mutexattr_init(&attribute);
    (void)pthread_mutexattr_setprotocol(&attribute, PTHREAD_PRIO_INHERIT);
    check("priority-mutex", pthread_mutex_init(&inheriting, &attribute) == ENOTSUP);

    cpu_set_t set;
    check("affinity", sched_getaffinity(0, sizeof set, &set) == 0 &&
                          sched_setaffinity(0, sizeof set, &set) == 0);
}

static void life(void)
{
    setenv("TZ", "UTC", 1);
    enter(0);
    life_threads();

    char *memory = malloc(64u << 20);
    memset(memory, 1, 64u << 20);
    char *grown = realloc(memory, 100u << 20);
    check("malloc", grown != NULL && grown[5] == 1);
    free(grown);

    struct timespec now, shortly = {0, 1000000};
    bool good = true;
    for (clockid_t clock = 0; clock <= CLOCK_BOOTTIME; clock++) {
        good = clock_gettime(clock, &now) == 0 && good;
    }
    check("clocks", good && nanosleep(&shortly, NULL) == 0 &&
                        clock_nanosleep(CLOCK_MONOTONIC, 0, &shortly, NULL) == 0);
    struct tm local;
    time_t zero = 0;
    check("localtime", localtime_r(&zero, &local) != NULL && local.tm_year == 70);

    unsigned char random[64] = {0};
    check("getrandom", getrandom(random, sizeof random, 0) == sizeof random);

    struct sigaction action = {.sa_handler = on_signal};
    check("signal",
          sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0 && g_signals == 1);
    void *frames[8];
    check("backtrace", backtrace(frames, 8) > 1);

    (void)printf("printf ok\n");
    check("flush", fflush(stdout) == 0);
    check("fopen", fopen("/etc/passwd", "r") == NULL && errno == SANDBOX_DENIED_ERRNO);
    check("fork", fork() == -1 && errno == SANDBOX_DENIED_ERRNO);
    check("system", system("true") != 0);
    struct addrinfo *found = NULL;
    check("getaddrinfo", getaddrinfo("localhost", "80", NULL, &found) != 0);
    say("life ended");
}

/* ---- secret memory, from inside ---- */

/* Random sizes in and out; each block is filled with its own byte and checked. */
static void secrets(void)
{
    enum { BLOCKS = 40, ROUNDS = 20000 };
    unsigned char *blocks[BLOCKS] = {NULL};
    size_t sizes[BLOCKS] = {0};
    uint32_t random = 12345;
    bool good = sandbox_secret_reserve(16384, NULL, NULL) == 0;
    size_t failures = 0;
    enter(0);
    for (int i = 0; i < ROUNDS && good; i++) {
        random = random * 1664525u + 1013904223u;
        size_t at = (random >> 16) % BLOCKS;
        if (blocks[at] != NULL) {
            for (size_t k = 0; k < sizes[at]; k++) {
                good = blocks[at][k] == (unsigned char)(at + 1) && good;
            }
            sandbox_secret_free(blocks[at]);
            blocks[at] = NULL;
            continue;
        }
        sizes[at] = (random >> 8) % 1500;
        blocks[at] = sandbox_secret_alloc(sizes[at]);
        failures += blocks[at] == NULL;
        for (size_t k = 0; blocks[at] != NULL && k < sizes[at]; k++) {
            good = blocks[at][k] == 0 && good; /* wiped */
        }
        if (blocks[at] != NULL) {
            good = (uintptr_t)blocks[at] % 64 == 0 && good;
            memset(blocks[at], (int)(at + 1), sizes[at]);
        }
    }
    for (int i = 0; i < BLOCKS; i++) {
        sandbox_secret_free(blocks[i]);
    }
    /* Full at times, and empty again at the end: nothing got lost. */
    good = good && failures > 0 && sandbox_secret_alloc(16384) != NULL &&
           sandbox_secret_alloc(1) == NULL && sandbox_secret_alloc(SIZE_MAX) == NULL;
    check("secrets", good);
}

static double nanoseconds(long number, long a, long b, long count)
{
    static int word;
    struct timespec before, after;
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    for (long i = 0; i < count; i++) {
        (void)syscall(number, number == SYS_futex ? (long)&word : a, b, 1L, 0L, 0L, 0L);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    return ((double)(after.tv_sec - before.tv_sec) * 1e9 +
            (double)(after.tv_nsec - before.tv_nsec)) /
           (double)count;
}

static void cost(long count)
{
    double futex = nanoseconds(SYS_futex, 0, 1, count), pid = nanoseconds(SYS_getpid, 0, 0, count);
    enter(0);
    say("futex-wake ns %.0f locked %.0f", futex, nanoseconds(SYS_futex, 0, 1, count));
    say("getpid ns %.0f locked %.0f", pid, nanoseconds(SYS_getpid, 0, 0, count));
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "rules") == 0) {
        print_rules();
    } else if (strcmp(word, "sweep") == 0 && argc == 5) {
        sweep(atol(argv[2]), atol(argv[3]), atol(argv[4]));
    } else if (strcmp(word, "each") == 0 && argc == 3) {
        each(atol(argv[2]));
    } else if (strcmp(word, "x32") == 0 || strcmp(word, "int80") == 0) {
        foreign(word[0] == 'x');
    } else if (strcmp(word, "model") == 0 && argc == 4) {
        return compare_with_model(strtoull(argv[2], NULL, 10), atol(argv[3]));
    } else if (strcmp(word, "attempts") == 0) {
        return print_attempts();
    } else if (strcmp(word, "conditions") == 0) {
        return print_conditions();
    } else if (strcmp(word, "life") == 0) {
        life();
    } else if (strcmp(word, "abort") == 0) {
        enter(0);
        abort();
    } else if (strcmp(word, "close") == 0) {
        enter(SANDBOX_INTERPRETER);
        say("close %d", close(0));
    } else if (strcmp(word, "secrets") == 0) {
        secrets();
    } else if (strcmp(word, "secret-misuse") == 0) {
        (void)sandbox_secret_reserve(4096, NULL, NULL);
        sandbox_secret_free((char *)sandbox_secret_alloc(200) + 64);
    } else if (strcmp(word, "cost") == 0 && argc == 3) {
        cost(atol(argv[2]));
    } else {
        say("usage: see the head of inside.c");
        return 2;
    }
    return 0;
}
