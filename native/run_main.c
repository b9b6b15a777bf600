/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_main.c -- the host process of `hotcalls run`: starts the program, serves it, ends as it did.
 *
 * Host side (H). exec'ed by the Python command, which has checked the program; trusted. Its
 * arguments are those of struct run_options:
 *
 *     hotcalls-run [--mode hot|switch|switch-unpinned] [--policy-fd N] [--log-fd N] [--learn]
 *                  [--trace-fd N] [--trace NAMES] [--stats-fd N]
 *                  [--hook-fd N] [--hook-ms N] -- /PROGRAM ARGV0 ARGUMENTS...
 *
 * The exit status and the signal that ends it are the program's; 125 when it could not be put
 * into an enclave, 126 and 127 as in a shell.
 */
#define _GNU_SOURCE
#include "run.h"
#include "run_ask.h"
#include "run_guard.h"
#include "run_stats.h"
#include "run_total.h"
#include "run_trace.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 250u
#define CELLS HC_CELLS_DEFAULT

pid_t g_run_program;
uint32_t g_run_top;
uint64_t g_run_limit[2];

struct endpoint g_run_endpoint;

void run_fail(int status, const char *format, ...)
{
    va_list arguments;
    (void)fputs("hotcalls run: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(status);
}

static int number_of(const char *text)
{
    char *end;
    long value = text != NULL ? strtol(text, &end, 10) : -1;
    if (value < 0 || *end != '\0' || fcntl((int)value, F_GETFD) < 0)
        run_fail(2, "%s is not an open descriptor", text != NULL ? text : "nothing");
    return (int)value;
}

static void read_options(int argc, char **argv, struct run_options *options)
{
    memset(options, 0, sizeof *options);
    options->mode = HC_MODE_HOT;
    options->pinned = true;
    options->policy_fd = options->log_fd = options->trace_fd = options->stats_fd =
        options->hook_fd = -1;
    int i = 1;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--learn") == 0) {
            options->learn = true;
            continue;
        }
        if (strcmp(argv[i], "--policy-fd") == 0)
            options->policy_fd = number_of(value);
        else if (strcmp(argv[i], "--log-fd") == 0)
            options->log_fd = number_of(value);
        else if (strcmp(argv[i], "--trace-fd") == 0)
            options->trace_fd = number_of(value);
        else if (strcmp(argv[i], "--stats-fd") == 0)
            options->stats_fd = number_of(value);
        else if (strcmp(argv[i], "--hook-fd") == 0)
            options->hook_fd = number_of(value);
        else if (strcmp(argv[i], "--hook-ms") == 0 && value != NULL)
            options->hook_ms = (uint32_t)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--trace") == 0)
            options->trace = value;
        else if (strcmp(argv[i], "--mode") == 0 && value != NULL) {
            options->mode = strcmp(value, "hot") == 0 ? HC_MODE_HOT : HC_MODE_SWITCH;
            options->pinned = strcmp(value, "switch-unpinned") != 0;
            if (options->mode == HC_MODE_SWITCH && options->pinned && strcmp(value, "switch") != 0)
                run_fail(2, "--mode %s: hot, switch or switch-unpinned", value);
        } else
            run_fail(2, "%s: unknown option", argv[i]);
        i++;
    }
    if (argc - i < 3)
        run_fail(2, "-- /PROGRAM ARGV0 is missing; this program is started by `hotcalls run`");
    options->program = argv[i + 1];
    options->argv = &argv[i + 2];
}

/*
 * The program's descriptors end where ours begin. The bound is at most 65,472, as a kernel's table
 * of descriptors is as long as the highest number in it.
 */
static void plan_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        run_fail(125, "RLIMIT_NOFILE: %s", strerror(errno));
    uint64_t most = limit.rlim_max < RUN_DESCRIPTORS_MAX ? limit.rlim_max : RUN_DESCRIPTORS_MAX;
    if (most < 4u * RUN_OWN_DESCRIPTORS)
        run_fail(125, "the limit of descriptors is %llu, %u are needed: raise ulimit -Hn",
                 (unsigned long long)most, 4u * RUN_OWN_DESCRIPTORS);
    g_run_top = (uint32_t)(most - RUN_OWN_DESCRIPTORS);
    g_run_limit[1] = g_run_top;
    g_run_limit[0] = limit.rlim_cur < g_run_top ? limit.rlim_cur : g_run_top;
    limit.rlim_cur = most;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        run_fail(125, "RLIMIT_NOFILE: %s", strerror(errno));
}

/* Moves a descriptor of ours out of the program's range. */
static int move_up(int fd)
{
    if (fd < 0)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, (int)g_run_top);
    if (high < 0)
        run_fail(125, "descriptor %d: %s", fd, strerror(errno));
    (void)close(fd);
    return high;
}

/*
 * The channel is a file to the kernel, and larger than some users may write (ulimit -f). Until it
 * is made the limit is as high as it may be; what it was is returned.
 */
static struct rlimit lift_file_size(void)
{
    struct rlimit limit, lifted;
    (void)signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0)
        run_fail(125, "RLIMIT_FSIZE: %s", strerror(errno));
    lifted = limit;
    lifted.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_FSIZE, &lifted);
    return limit;
}

static uint8_t *make_channel(const struct run_options *options, struct hc_geometry *geometry,
                             int *channel_fd)
{
    static const uint8_t digest[HC_DIGEST_SIZE] = ROW_DIGEST;
    memset(geometry, 0, sizeof *geometry);
    geometry->slot_count = SLOTS;
    geometry->cell_count = CELLS;
    geometry->window_size = RUN_WINDOW;
    geometry->shared_size = sizeof(struct run_shared);
    memcpy(geometry->digest, digest, sizeof digest);
    int fd = memfd_create("hotcalls-run", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || hc_geometry_plan(geometry) != HC_OK)
        run_fail(125, "the channel: %s", strerror(errno));
    if (ftruncate(fd, (off_t)geometry->total_size) != 0 && errno == EFBIG)
        run_fail(125, "the channel is a file of %llu KiB to the kernel: raise ulimit -Hf",
                 (unsigned long long)geometry->total_size / 1024u);
    if (ftruncate(fd, (off_t)geometry->total_size) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        run_fail(125, "the channel: %s", strerror(errno));
    fd = move_up(fd);
    run_path_forbid(fd);
    uint8_t *u_base = mmap(NULL, (size_t)geometry->total_size, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (u_base == MAP_FAILED)
        run_fail(125, "mapping the channel, %llu KiB: %s%s",
                 (unsigned long long)geometry->total_size / 1024u, strerror(errno),
                 errno == ENOMEM ? "; raise ulimit -v" : "");
    /* A child of a hurry to exec must not keep it. */
    (void)madvise(u_base, (size_t)geometry->total_size, MADV_DONTFORK);
    struct run_shared *u_shared = (struct run_shared *)(void *)(u_base + geometry->shared_at);
    u_shared->magic = RUN_MAGIC;
    u_shared->cycles_per_us = endpoint_cycles_per_us();
    u_shared->mode = (uint32_t)options->mode;
    u_shared->processors = endpoint_processors();
    u_shared->limit_soft = (uint32_t)g_run_limit[0];
    u_shared->limit_hard = (uint32_t)g_run_limit[1];
    u_shared->host_pid = getpid();
    u_shared->chatty = 1;
    struct hc_header *u_header = (struct hc_header *)(void *)u_base;
    u_header->geometry = *geometry;
    *channel_fd = fd;
    return u_base;
}

static bool peer_lost(void *context)
{
    (void)context;
    return false;
}

/* Our side of the channel; its threads are our own (run_serve.c), not those of endpoint.c. */
static void start_serving(uint8_t *u_base, const struct hc_geometry *geometry)
{
    static const struct hc_interface interface = {.abi = HC_ABI, .layout = HC_LAYOUT};
    const struct endpoint_options wishes = {
        .side = HC_HOST,
        .interface = &interface,
        .mode = HC_MODE_HOT,
        .peer_lost = peer_lost,
    };
    if (endpoint_init(&g_run_endpoint, u_base, geometry, &wishes) != HC_OK)
        run_fail(125, "no memory for the host process");
    run_serve_init(&g_run_endpoint.end,
                   (struct run_shared *)(void *)(u_base + geometry->shared_at));
}

/* When the program has been started, which this process cannot do again. */
static void guard(void)
{
    int numbers[ROW_COUNT];
    for (uint32_t i = 0; i < ROW_COUNT; i++)
        numbers[i] = run_row(i)->number;
    if (run_guard_install(numbers, ROW_COUNT, g_run_program) != 0)
        run_fail(4, "the filter of the host process: %s; use a kernel with CONFIG_SECCOMP_FILTER",
                 strerror(errno));
}

static void start_threads(enum hc_mode mode)
{
    static pthread_t threads[3];
    int error = endpoint_thread(&g_run_endpoint, &threads[0], run_watcher_main, NULL);
    if (error == 0)
        error = endpoint_thread(&g_run_endpoint, &threads[1], run_steward_main, NULL);
    if (error == 0 && mode == HC_MODE_HOT && g_run_endpoint.end.bounds.spinning)
        error = endpoint_thread(&g_run_endpoint, &threads[2], run_leader_main, NULL);
    if (error != 0)
        run_fail(125, "threads: %s", strerror(error));
}

/* What the terminal or the user sends to us and not to the whole group is meant for the program. */
static const int g_forwarded[] = {SIGHUP,   SIGINT,    SIGQUIT, SIGTERM, SIGUSR1,
                                  SIGUSR2,  SIGALRM,   SIGPROF, SIGPWR,  SIGABRT,
                                  SIGWINCH, SIGVTALRM, SIGURG,  SIGIO,   SIGSTKFLT};

static void block_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGCHLD);
    for (size_t i = 0; i < sizeof g_forwarded / sizeof g_forwarded[0]; i++)
        (void)sigaddset(set, g_forwarded[i]);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        if (number != RUN_INTERRUPT && number != RUN_EVERYWHERE)
            (void)sigaddset(set, number);
    (void)sigprocmask(SIG_BLOCK, set, NULL);
    /* Raised in the program instead, where they belong (shim_io.c). */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
}

/* Ends as the program has ended. */
static _Noreturn void end_as(int status)
{
    const uint32_t *u_state = &g_run_endpoint.end.u_peer_board->state;
    /* SYNC: acquire pairs with shim_start, state. */
    if (__atomic_load_n(u_state, __ATOMIC_ACQUIRE) == HC_STATE_STARTING &&
        !(WIFEXITED(status) && WEXITSTATUS(status) == 127))
        run_fail(125, "the program ended before it was in its enclave: the dynamic loader could "
                      "not load it, or not the shim");
    run_stats_end();
    run_total_say_used();
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        sigset_t set;
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        (void)signal(number, SIG_DFL);
        (void)sigemptyset(&set);
        (void)sigaddset(&set, number);
        (void)kill(getpid(), number);
        (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
        _exit(128 + number);
    }
    _exit(WEXITSTATUS(status));
}

static _Noreturn void outlive(const sigset_t *set)
{
    for (;;) {
        siginfo_t info;
        int status;
        int number = sigwaitinfo(set, &info);
        if (number == SIGCHLD) {
            if (waitpid(g_run_program, &status, WNOHANG) == g_run_program)
                end_as(status);
        } else if (number > 0 && info.si_code <= 0) {
            (void)kill(g_run_program, number);
        }
    }
}

int main(int argc, char **argv)
{
    struct run_options options;
    struct hc_geometry geometry;
    sigset_t set;
    char error[256];
    int channel_fd;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    read_options(argc, argv, &options);
    if (options.policy_fd >= 0) {
        int status = run_policy_read(options.policy_fd, error, sizeof error);
        if (status != 0)
            run_fail(status, "%s", error);
        (void)close(options.policy_fd);
    }
    plan_descriptors();
    options.log_fd = move_up(options.log_fd);
    options.trace_fd = move_up(options.trace_fd);
    options.stats_fd = move_up(options.stats_fd);
    options.hook_fd = move_up(options.hook_fd);
    run_policy_log_to(options.log_fd, options.learn);
    run_policy_ready();
    run_ask_init(options.hook_fd, options.hook_ms);
    run_path_forbid_own(options.log_fd);
    run_path_init(options.program);
    const struct rlimit file_size = lift_file_size();
    run_stats_init(options.stats_fd, &options, endpoint_cycles_per_us());
    run_trace_init(options.trace_fd, options.trace, endpoint_cycles_per_us());
    uint8_t *u_base = make_channel(&options, &geometry, &channel_fd);
    (void)setrlimit(RLIMIT_FSIZE, &file_size);
    start_serving(u_base, &geometry);
    g_run_pinned = options.pinned;
    run_fd_init();
    block_signals(&set);

    g_run_program = run_spawn(&options, channel_fd);
    if (g_run_program < 0)
        run_fail(errno == ENOENT ? 127 : 126, "%s: %s", options.program, strerror(errno));
    run_stats_started();
    (void)close(channel_fd);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = g_run_limit[0];
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    /* Ours alone; the hard limit too, as the same user may raise the soft one from outside. */
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    guard();
    start_threads(options.mode);
    outlive(&set);
}
