/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nth.c -- runs a command and fails its n-th system call, or kills whoever makes it.
 *
 *     nth FILE NUMBERS -- COMMAND ARGUMENTS...       NUMBERS: 9,257,… or "all"
 *
 * FILE holds a struct nth, which says what is counted; the command may change it while it runs.
 * A seccomp filter asks this process about each of the calls (SECCOMP_RET_USER_NOTIF). Unlike a
 * tracer it is invisible to the command, enclaves refuse to be traced, and it is inherited: it is
 * asked about the calls of all processes that come of the command, whatever they exec or filter.
 *
 * All that is left when the command has ended becomes a child of this process. The last line of
 * the output says what was seen, how the command ended, and which processes outlived it for
 * longer than they may.
 */
#define CHECK_OWN_MAIN
#include "nth.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NUMBERS_MAX 64
/* What outlives the command for longer is left behind. */
#define SETTLE_MS 30000u
#define SETTLE_ENVIRONMENT "HOTCALLS_NTH_SETTLE_MS"
/* Nothing that is run here is quiet for longer: what is, hangs. */
#define HANG_MS 60000u

static struct nth *g_nth;
/* The number of the child's listener + 1; in memory, as it may not use a call that is asked about. */
static uint32_t *g_listener;

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static int install(const char *numbers)
{
    struct sock_filter code[NUMBERS_MAX + 3];
    uint16_t count = 0;
    code[count++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    if (strcmp(numbers, "all") != 0) {
        char *end = NULL;
        uint32_t wanted[NUMBERS_MAX], many = 0;
        for (const char *at = numbers; *at != '\0' && many < NUMBERS_MAX; at = end) {
            wanted[many++] = (uint32_t)strtoul(at, &end, 10);
            end += *end == ',';
        }
        for (uint32_t i = 0; i < many; i++)
            code[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wanted[i],
                                                         (uint8_t)(many - i), 0);
        code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    const struct sock_fprog program = {count, code};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    /* Signals do not interrupt who waits for our answer: the call would be counted twice. */
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                        &program);
}

static _Noreturn void become(const char *numbers, char **command)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int listener = install(numbers);
    CHECK(listener >= 0);
    __atomic_store_n(g_listener, (uint32_t)listener + 1u, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(g_listener, __ATOMIC_SEQ_CST) != 0)
        ;
    (void)close(listener);
    (void)execvp(command[0], command);
    (void)fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* Threads have names of their own: what counts is the process'. */
static uint32_t process_of(uint32_t tid)
{
    char path[64], line[128];
    uint32_t pid = tid;
    (void)snprintf(path, sizeof path, "/proc/%u/status", tid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return tid;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Tgid: %u", &pid) != 1)
        ;
    (void)fclose(file);
    return pid;
}

static bool comm_of(uint32_t pid, char comm[32])
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "re");
    comm[0] = '\0';
    if (file == NULL)
        return false;
    bool read = fgets(comm, 32, file) != NULL;
    (void)fclose(file);
    comm[strcspn(comm, "\n")] = '\0';
    return read;
}

static bool is_wanted(const struct seccomp_notif *request)
{
    char comm[32];
    uint64_t operation = request->data.args[1] & (uint64_t)FUTEX_CMD_MASK;
    /* A wake-up cannot fail, and libc ends who is told that it did. */
    if (request->data.nr == SYS_futex && g_nth->action != NTH_KILL && operation != FUTEX_WAIT &&
        operation != FUTEX_WAIT_BITSET)
        return false;
    if (__atomic_load_n(&g_nth->armed, __ATOMIC_SEQ_CST) == 0 ||
        (g_nth->number != NTH_ANY && g_nth->number != (uint32_t)request->data.nr) ||
        !comm_of(process_of(request->pid), comm))
        return false;
    bool named = strncmp(comm, g_nth->name, strnlen(g_nth->name, sizeof g_nth->name)) == 0;
    return named != (g_nth->others != 0);
}

static void answer_one(int listener)
{
    struct seccomp_notif request;
    struct seccomp_notif_resp answer;
    memset(&request, 0, sizeof request);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0)
        return;
    memset(&answer, 0, sizeof answer);
    answer.id = request.id;
    answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (is_wanted(&request) &&
        (++g_nth->seen == g_nth->n || (g_nth->action == NTH_STARVE && g_nth->seen > g_nth->n))) {
        g_nth->hit = (uint32_t)request.data.nr;
        g_nth->triggered = 1;
        if (g_nth->action == NTH_KILL) {
            (void)kill((pid_t)request.pid, SIGKILL);
            return;
        }
        answer.flags = 0;
        answer.error = -(int)g_nth->error;
    }
    (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

/* Prints who is left, and ends them. */
static uint32_t end_the_rest(void)
{
    char path[64], comm[32];
    uint32_t count = 0;
    int pid;
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    while (fscanf(file, "%d", &pid) == 1) {
        (void)comm_of((uint32_t)pid, comm);
        (void)fprintf(stderr, "left behind: %d %s\n", pid, comm);
        (void)kill(pid, SIGKILL);
        count++;
    }
    (void)fclose(file);
    return count;
}

static int supervise(int listener, pid_t child, uint32_t *left, bool *hung)
{
    sigset_t set;
    int ended = -1, status;
    uint64_t deadline = now_ms() + HANG_MS;
    const char *given = getenv(SETTLE_ENVIRONMENT);
    uint64_t settle_ms = given != NULL ? strtoull(given, NULL, 10) : SETTLE_MS;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    int children = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(children >= 0);
    for (;;) {
        struct signalfd_siginfo info;
        struct pollfd polled[] = {{listener, POLLIN, 0}, {children, POLLIN, 0}};
        (void)poll(polled, 2, 20);
        if ((polled[0].revents & POLLIN) != 0) {
            answer_one(listener);
            deadline = ended < 0 ? now_ms() + HANG_MS : deadline;
        }
        while (read(children, &info, sizeof info) > 0)
            ;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
            if (pid == child) {
                ended = status;
                deadline = now_ms() + settle_ms;
            }
        if (pid < 0 && errno == ECHILD)
            break;
        if (now_ms() > deadline) {
            *hung = ended < 0;
            *left += end_the_rest();
            deadline = now_ms() + SETTLE_MS;
        }
    }
    (void)close(children);
    return ended;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 5 && strcmp(argv[3], "--") == 0);
    int file = open(argv[1], O_RDWR | O_CLOEXEC);
    CHECK(file >= 0);
    g_nth = mmap(NULL, sizeof *g_nth, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    g_listener =
        mmap(NULL, sizeof *g_listener, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_nth != MAP_FAILED && g_listener != MAP_FAILED);
    CHECK_EQ(setenv(NTH_ENVIRONMENT, argv[1], 1), 0);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        become(argv[2], &argv[4]);
    uint32_t number, left = 0;
    while ((number = __atomic_load_n(g_listener, __ATOMIC_SEQ_CST)) == 0)
        CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    int listener = (int)syscall(SYS_pidfd_getfd, pidfd, (int)number - 1, 0);
    CHECK(pidfd >= 0 && listener >= 0);
    (void)close(pidfd);
    __atomic_store_n(g_listener, 0u, __ATOMIC_SEQ_CST);
    bool hung = false;
    int status = supervise(listener, child, &left, &hung);
    (void)printf("nth: seen=%u triggered=%u hit=%u signal=%d exit=%d left=%u hung=%d\n",
                 g_nth->seen, g_nth->triggered, g_nth->hit,
                 WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                 WIFEXITED(status) ? WEXITSTATUS(status) : -1, left, (int)hung);
    return 0;
}
