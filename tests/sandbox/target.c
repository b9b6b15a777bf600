/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.c - a stand-in for the loader, which the sandbox tests attack from outside.
 *
 * Started by the tests, as an unprivileged user where they run as root. It does what its arguments
 * say, in order, one word each; every word prints one line on descriptor 1, "WORD ok ..." or
 * "WORD failed STEP ERRNO DETAIL". It links native/sandbox_*.c and nothing else.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sandbox.h"

extern char **environ;

/* What the attacks look for; the address is printed. */
static volatile char g_secret[32] = "the secret of the target process";

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
    char line[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > 0) {
        line[length] = '\n';
        (void)!write(1, line, (size_t)length + 1);
    }
}

static void outcome(const char *word, int result, const struct sandbox_error *error)
{
    char text[512];
    if (result == 0) {
        say("%s ok", word);
        return;
    }
    say("%s failed %s %d %s", word, error->step, error->err,
        sandbox_error_format(error, text, sizeof text));
    _exit(3);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- stage 1 ---- */

static void harden(const char *word, struct sandbox_harden_options options)
{
    static const int fds[] = {2, 0, 1};
    static const char *const names[] = {"KEPT"};
    struct sandbox_error error;
    options.keep_fds = fds;
    options.keep_fd_count = 3;
    options.keep_env = names;
    options.keep_env_count = 1;
    outcome(word, sandbox_harden(&options, &error), &error);
}

static void describe(void)
{
    char cwd[256] = "";
    (void)!getcwd(cwd, sizeof cwd);
    mode_t mask = umask(0);
    (void)umask(mask);
    struct rlimit core;
    (void)getrlimit(RLIMIT_CORE, &core);
    struct sigaction action;
    (void)sigaction(SIGUSR1, NULL, &action);
    sigset_t blocked;
    (void)sigprocmask(SIG_SETMASK, NULL, &blocked);
    say("state cwd=%s umask=%03o core=%lu,%lu dumpable=%d nnp=%d sid=%d usr1=%d blocked=%d", cwd,
        (unsigned)mask, (unsigned long)core.rlim_cur, (unsigned long)core.rlim_max,
        prctl(PR_GET_DUMPABLE), prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), getsid(0) == getpid(),
        action.sa_handler == SIG_DFL, sigismember(&blocked, SIGUSR2));
    char text[2048] = "fds";
    size_t used = 3;
    for (int fd = 0; fd < 64; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            used += (size_t)snprintf(text + used, sizeof text - used, " %d", fd);
        }
    }
    say("%s", text);
    used = (size_t)snprintf(text, sizeof text, "env");
    for (char **entry = environ; *entry != NULL; entry++) {
        used += (size_t)snprintf(text + used, sizeof text - used, " %s", *entry);
    }
    say("%s", text);
}

/* Says whether a string of the old environment is still anywhere on the stack's pages. */
static void search_stack(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long start = 0, end = 0;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (strstr(line, "[stack]") != NULL) {
            (void)sscanf(line, "%lx-%lx", &start, &end);
        }
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    /* Every byte less by one, so that the needle itself is nowhere. */
    static const char needle[] = "rdb,qds,hm,dmuhqnmldms";
    bool found = false;
    for (const char *at = (const char *)start; at + sizeof needle <= (const char *)end; at++) {
        size_t same = 0;
        while (same < sizeof needle - 1 && at[same] == needle[same] + 1) {
            same++;
        }
        found = found || same == sizeof needle - 1;
    }
    say("stack %s", found ? "found" : "clean");
}

/* ---- stage 2 ---- */

static struct sandbox_policy policy(void)
{
    struct sandbox_policy policy = {.groups = SANDBOX_CORE};
    policy.write_fds[0] = 1;
    policy.write_fd_count = 1;
    policy.poll_fds[0] = 0;
    policy.poll_fd_count = 1;
    return policy;
}

static void anonymize(const char *word, bool trust)
{
    struct sandbox_error error;
    struct sandbox_mapping_report report = {0};
    struct sandbox_mapping_options options = {.trust_root_files = trust};
    double before = seconds();
    int result = sandbox_anonymize_mappings(&options, &report, &error);
    if (result == 0) {
        say("anonymized replaced=%u trusted=%u bytes=%lu us=%.0f", report.replaced, report.trusted,
            (unsigned long)report.replaced_bytes, (seconds() - before) * 1e6);
    }
    outcome(word, result, &error);
}

static void lock(const char *word)
{
    struct sandbox_error error;
    struct sandbox_lock_report report;
    struct sandbox_policy own = policy();
    double before = seconds();
    int result = sandbox_lock(&own, &report, &error);
    double after = seconds();
    if (result == 0) {
        result = sandbox_verify(&own, &error);
        say("locked landlock=%d threads=%u rules=%u mdwe=%d us=%.0f verify_us=%.0f",
            report.landlock_abi, report.threads, report.rules, report.no_exec_gain,
            (after - before) * 1e6, (seconds() - after) * 1e6);
    }
    outcome(word, result, &error);
}

/* ---- a library whose file is attacked ---- */

static int (*g_code)(void);
static const int *g_constant;
static volatile long *g_counters;

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    if (library == NULL) {
        say("load failed dlopen 0 %s", dlerror());
        _exit(3);
    }
    *(void **)&g_code = dlsym(library, "victim_code");
    g_constant = dlsym(library, "victim_constant");
    g_counters = dlsym(library, "victim_counters");
    say("load ok");
}

static void show_maps(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        say("map %s", line);
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    say("maps ok");
}

static atomic_bool g_stop;

static void *count(void *argument)
{
    volatile long *counter = argument;
    long own = 0;
    while (!atomic_load_explicit(&g_stop, memory_order_relaxed)) {
        /* In one instruction: a plain increment, interrupted between its load and its store, would
         * carry the value over to the new page by itself. */
        (void)__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
        own++;
    }
    return (void *)own;
}

static void await_counts(int threads)
{
    for (int i = 0; i < threads; i++) {
        long before = g_counters[i];
        while (g_counters[i] == before) {
            (void)usleep(100);
        }
    }
}

/* Threads write to the library's data while it is replaced; no increment may get lost. */
static void race(void)
{
    /* More than there are processors, so that some run while this thread copies. */
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        g_counters[i] = 0;
        (void)pthread_create(&threads[i], NULL, count, (void *)&g_counters[i]);
    }
    /* Each of them writes before it, and after. */
    await_counts(THREADS);
    anonymize("anonymize-all", false);
    await_counts(THREADS);
    atomic_store(&g_stop, true);
    for (int i = 0; i < THREADS; i++) {
        void *own;
        (void)pthread_join(threads[i], &own);
        say("race thread=%d counted=%ld stored=%ld", i, (long)own, g_counters[i]);
    }
}

/* ---- faults that have nothing to do with it ---- */

static void on_fault(int number)
{
    say("handler %d", number);
    _exit(4);
}

static void *fault(void *argument)
{
    const char *how = argument;
    if (strcmp(how, "raise") == 0) {
        (void)raise(SIGSEGV);
    } else if (strcmp(how, "read-only") == 0) {
        *(volatile int *)(uintptr_t)g_constant = 1;
    } else {
        static volatile int *volatile nowhere;
        *nowhere = 1;
    }
    return NULL;
}

static void fault_in_thread(const char *how)
{
    pthread_t thread;
    (void)pthread_create(&thread, NULL, fault, (void *)(uintptr_t)how);
    (void)pthread_join(thread, NULL);
}

static void *idle(void *argument)
{
    pthread_barrier_wait(argument);
    pthread_barrier_wait(argument);
    long result = syscall(SYS_openat, -1, NULL, 0);
    say("older-thread openat=%d errno=%d", (int)result, errno);
    pthread_barrier_wait(argument);
    return NULL;
}

static void lock_with_thread(void)
{
    static pthread_barrier_t barrier;
    pthread_t thread;
    (void)pthread_barrier_init(&barrier, NULL, 2);
    (void)pthread_create(&thread, NULL, idle, &barrier);
    pthread_barrier_wait(&barrier);
    lock("lock");
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    (void)pthread_join(thread, NULL);
}

static void secret(const char *size)
{
    struct sandbox_error error;
    struct sandbox_secret_status status = {0};
    int result = sandbox_secret_reserve((size_t)atol(size), &status, &error);
    say("reserved kind=%d err=%d size=%zu why=%s", (int)status.kind, status.err, status.size,
        status.why);
    outcome("secret", result, &error);
    char *memory = sandbox_secret_alloc(sizeof g_secret);
    memcpy(memory, (const void *)(uintptr_t)g_secret, sizeof g_secret);
    say("secret-address %p", (void *)memory);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char *next = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(word, "harden") == 0) {
            harden(word, (struct sandbox_harden_options){0});
        } else if (strcmp(word, "harden-any-namespace") == 0) {
            harden(word, (struct sandbox_harden_options){.insecure_user_namespace = true});
        } else if (strcmp(word, "harden-debug") == 0) {
            harden(word, (struct sandbox_harden_options){.insecure_debug = true});
        } else if (strcmp(word, "describe") == 0) {
            describe();
        } else if (strcmp(word, "search-stack") == 0) {
            search_stack();
        } else if (strcmp(word, "address") == 0) {
            say("address %p", (void *)(uintptr_t)g_secret);
        } else if (strcmp(word, "secret") == 0) {
            secret(next);
            i++;
        } else if (strcmp(word, "load") == 0) {
            load(next);
            i++;
        } else if (strcmp(word, "anonymize") == 0) {
            anonymize(word, true);
        } else if (strcmp(word, "anonymize-all") == 0) {
            anonymize(word, false);
        } else if (strcmp(word, "race") == 0) {
            race();
        } else if (strcmp(word, "handle") == 0) {
            (void)signal(SIGSEGV, on_fault);
            say("handle ok");
        } else if (strcmp(word, "fault") == 0) {
            (void)fault((void *)(uintptr_t)next);
            i++;
        } else if (strcmp(word, "fault-in-thread") == 0) {
            fault_in_thread(next);
            i++;
        } else if (strcmp(word, "call") == 0) {
            say("call code=%d constant=%d data=%ld", g_code(), *g_constant, g_counters[2048]);
        } else if (strcmp(word, "dirty") == 0) {
            g_counters[2048] = 77;
            say("dirty ok");
        } else if (strcmp(word, "maps") == 0) {
            show_maps();
        } else if (strcmp(word, "map-shared") == 0) {
            int fd = open(next, O_RDWR);
            void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            say("map-shared %s", memory != MAP_FAILED ? "ok" : "failed");
            i++;
        } else if (strcmp(word, "map-writable-code") == 0) {
            void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            say("map-writable-code %s", memory != MAP_FAILED ? "ok" : "failed");
        } else if (strcmp(word, "make-dumpable") == 0) {
            say("make-dumpable %d", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
        } else if (strcmp(word, "thread") == 0) {
            pthread_t thread;
            (void)pthread_create(&thread, NULL, (void *(*)(void *))(void *)pause, NULL);
            say("thread ok");
        } else if (strcmp(word, "child") == 0) {
            pid_t child = fork();
            if (child == 0) {
                (void)pause();
            }
            say("child %d", child > 0 ? (int)child : -1);
        } else if (strcmp(word, "ended-child") == 0) {
            if (fork() == 0) {
                _exit(0);
            }
            (void)usleep(20000);
            say("ended-child ok");
        } else if (strcmp(word, "ring") == 0) {
            /* Polled by the kernel: IORING_SETUP_SQPOLL is 2, third word of io_uring_params. */
            uint32_t parameters[30] = {[2] = 2, [4] = 60000};
            say("ring %d", (int)syscall(SYS_io_uring_setup, 8, parameters));
        } else if (strcmp(word, "lock") == 0) {
            lock(word);
        } else if (strcmp(word, "lock-with-thread") == 0) {
            lock_with_thread();
        } else if (strcmp(word, "wait") == 0) {
            /* Until the test writes a byte (before the lock only) or hangs up. */
            char byte;
            say("waiting");
            if (read(0, &byte, 1) < 0) {
                struct pollfd end = {.fd = 0};
                (void)poll(&end, 1, -1);
            }
        } else if (strcmp(word, "crash") == 0) {
            (void)chdir(next);
            abort();
        } else {
            say("unknown word %s", word);
            return 2;
        }
    }
    return 0;
}
