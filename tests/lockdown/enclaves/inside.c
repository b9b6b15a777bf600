/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside.c -- attempts on the lock-down from inside, by raw system calls where libc would ask
 * first, and a secret that outsiders look for.
 */
#define _GNU_SOURCE
#include "inside_t.h"

#include <hotcalls_enclave.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

extern char **environ;

/* Put together at the start, so that it is in no file. */
static volatile char g_plain[32];
static char *g_hidden;

int hc_enclave_start(void)
{
    static const char half[] = "EXTIRPATE-THE-";
    g_hidden = hc_secret_alloc(32);
    if (g_hidden == NULL)
        return ENOMEM;
    memcpy(g_hidden, half, sizeof half - 1);
    memcpy(g_hidden + sizeof half - 1, "BADGERS", 7);
    memcpy((char *)g_plain, g_hidden, 32);
    return 0;
}

static long try_open(void)
{
    return open("/etc/hostname", O_RDONLY);
}

static long try_openat2(void)
{
    uint64_t how[3] = {0};
    return syscall(SYS_openat2, AT_FDCWD, "/etc/hostname", how, sizeof how);
}

static long try_own_memory(void)
{
    return open("/proc/self/mem", O_RDWR);
}

static long try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
    return connect(2, (struct sockaddr *)&address, sizeof address);
}

static long try_execve(void)
{
    char *argv[] = {"true", NULL};
    return execve("/bin/true", argv, environ);
}

static long try_fork(void)
{
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    return pid;
}

#ifdef SYS_vfork
static long try_vfork(void)
{
    return syscall(SYS_vfork);
}
#endif

static long try_ptrace(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long try_ptrace_parent(void)
{
    return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static long try_kill(void)
{
    return kill(1, 0);
}

static long try_tgkill(void)
{
    return syscall(SYS_tgkill, 1, 1, 0);
}

static long try_mmap_exec(void)
{
    void *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : 0;
}

static long try_mmap_channel(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, 3, 0);
    return page == MAP_FAILED ? -1 : 0;
}

static long try_mprotect_exec(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long try_mprotect_code(void)
{
    uintptr_t page = (uintptr_t)try_mprotect_exec & ~(uintptr_t)4095;
    return mprotect((void *)page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long try_pkey_mprotect(void)
{
    return syscall(SYS_pkey_mprotect, g_plain, 4096, PROT_READ | PROT_EXEC, -1);
}

static long try_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long try_ptracer(void)
{
    return prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
}

static long try_memfd(void)
{
    return memfd_create("x", 0);
}

static long try_memfd_secret(void)
{
    return syscall(SYS_memfd_secret, 0);
}

static long try_io_uring(void)
{
    char parameters[120] = {0};
    return syscall(SYS_io_uring_setup, 4, parameters);
}

static long try_unshare(void)
{
    return unshare(CLONE_NEWUSER);
}

static long try_setns(void)
{
    return setns(5, 0);
}

static long try_pidfd_open(void)
{
    return syscall(SYS_pidfd_open, getppid(), 0);
}

static long try_pidfd_getfd(void)
{
    return syscall(SYS_pidfd_getfd, 5, 0, 0);
}

static long try_pidfd_signal(void)
{
    return syscall(SYS_pidfd_send_signal, 5, SIGKILL, NULL, 0);
}

static long try_process_vm(void)
{
    char byte;
    struct iovec here = {&byte, 1};
    return process_vm_readv(getppid(), &here, 1, &here, 1, 0);
}

static long try_read_fd(void)
{
    char byte;
    return read(6, &byte, 1);
}

static long try_write_fd(void)
{
    return write(3, "x", 1);
}

static long try_dup(void)
{
    return dup(2);
}

static long try_pipe(void)
{
    int ends[2];
    return pipe(ends);
}

static long try_ioctl(void)
{
    return syscall(SYS_ioctl, 2, 0x5412, "x"); /* TIOCSTI */
}

static long try_fcntl(void)
{
    return syscall(SYS_fcntl, 2, F_GETFL);
}

static long try_sendmsg(void)
{
    struct msghdr message = {0};
    return sendmsg(2, &message, 0);
}

static long try_bpf(void)
{
    return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_perf(void)
{
    return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long try_userfaultfd(void)
{
    return syscall(SYS_userfaultfd, 0);
}

static long try_setuid(void)
{
    return syscall(SYS_setuid, 0);
}

static long try_seccomp(void)
{
    return syscall(SYS_seccomp, 1, 0, NULL);
}

static long try_prlimit(void)
{
    struct rlimit core = {RLIM_INFINITY, RLIM_INFINITY};
    return setrlimit(RLIMIT_CORE, &core);
}

static long try_chdir(void)
{
    return chdir("/tmp");
}

static long try_unlink(void)
{
    return unlink("/tmp/no-such-file");
}

static long try_mount(void)
{
    return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
}

static long try_shmget(void)
{
    return syscall(SYS_shmget, 0, 4096, 01600);
}

static long try_dlopen(void)
{
    return dlopen("libm.so.6", RTLD_NOW | RTLD_NOLOAD) != NULL ||
                   dlopen("libutil.so.1", RTLD_NOW) != NULL
               ? 0
               : -1;
}

static long try_ftruncate(void)
{
    return ftruncate(3, 0);
}

static long try_madvise_remove(void)
{
    return madvise((void *)((uintptr_t)g_plain & ~(uintptr_t)4095), 4096, MADV_REMOVE);
}

static const struct {
    const char *name;
    long (*run)(void);
} g_attempts[] = {
    {"open", try_open},
    {"openat2", try_openat2},
    {"own memory", try_own_memory},
    {"socket", try_socket},
    {"unix socket", try_unix_socket},
    {"connect", try_connect},
    {"execve", try_execve},
    {"fork", try_fork},
#ifdef SYS_vfork
    {"vfork", try_vfork},
#endif
    {"ptrace", try_ptrace},
    {"ptrace parent", try_ptrace_parent},
    {"kill", try_kill},
    {"tgkill", try_tgkill},
    {"mmap exec", try_mmap_exec},
    {"mmap channel", try_mmap_channel},
    {"mprotect exec", try_mprotect_exec},
    {"mprotect code", try_mprotect_code},
    {"pkey_mprotect", try_pkey_mprotect},
    {"dumpable", try_dumpable},
    {"ptracer", try_ptracer},
    {"memfd", try_memfd},
    {"memfd_secret", try_memfd_secret},
    {"io_uring", try_io_uring},
    {"unshare", try_unshare},
    {"setns", try_setns},
    {"pidfd_open", try_pidfd_open},
    {"pidfd_getfd", try_pidfd_getfd},
    {"pidfd_signal", try_pidfd_signal},
    {"process_vm_readv", try_process_vm},
    {"read life pipe", try_read_fd},
    {"write channel fd", try_write_fd},
    {"dup", try_dup},
    {"pipe", try_pipe},
    {"ioctl", try_ioctl},
    {"fcntl", try_fcntl},
    {"sendmsg", try_sendmsg},
    {"bpf", try_bpf},
    {"perf", try_perf},
    {"userfaultfd", try_userfaultfd},
    {"setuid", try_setuid},
    {"seccomp", try_seccomp},
    {"prlimit", try_prlimit},
    {"chdir", try_chdir},
    {"unlink", try_unlink},
    {"mount", try_mount},
    {"shmget", try_shmget},
    {"dlopen", try_dlopen},
    {"ftruncate", try_ftruncate},
    {"madvise remove", try_madvise_remove},
};

int64_t attempt(const char *name, int32_t *error)
{
    for (size_t i = 0; i < sizeof g_attempts / sizeof g_attempts[0]; i++) {
        if (strcmp(name, g_attempts[i].name) != 0)
            continue;
        errno = 0;
        long result = g_attempts[i].run();
        *error = errno;
        return result;
    }
    *error = 0;
    return -2;
}

static void *worker(void *argument)
{
    uint32_t rounds = *(const uint32_t *)argument;
    uint8_t random[16];
    for (uint32_t i = 0; i < rounds; i++) {
        size_t size = 1000u << (i % 12u);
        char *block = malloc(size);
        if (block == NULL || getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return NULL;
        memset(block, random[0], size);
        struct timespec now, nap = {0, 1000};
        if (clock_gettime(CLOCK_REALTIME, &now) != 0 || nanosleep(&nap, NULL) != 0 ||
            block[size - 1] != (char)random[0])
            return NULL;
        free(block);
    }
    return argument;
}

uint32_t work(uint32_t threads, uint32_t rounds)
{
    pthread_t running[16];
    uint32_t good = 0, started = 0;
    while (started < threads && started < 16 &&
           pthread_create(&running[started], NULL, worker, &rounds) == 0)
        started++;
    for (uint32_t i = 0; i < started; i++) {
        void *result;
        if (pthread_join(running[i], &result) == 0 && result != NULL)
            good++;
    }
    return good;
}

uint64_t secret_address(void)
{
    return (uint64_t)(uintptr_t)g_hidden;
}

uint64_t plain_address(void)
{
    return (uint64_t)(uintptr_t)g_plain;
}

int environment(void)
{
    int count = 0;
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
        count++;
    return count;
}

/* What the code is; it changes when somebody overwrites the file that it came from. */
uint64_t code_sum(void)
{
    uint64_t sum = 0;
    const uint8_t *code = (const uint8_t *)(uintptr_t)try_open;
    for (size_t i = 0; i < 2048; i++)
        sum = sum * 31u + code[i];
    return sum;
}

int64_t raw(int64_t number, const uint64_t *arguments, int32_t *error)
{
    errno = 0;
    long result = syscall((long)number, arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
    *error = errno;
    return result;
}

#ifdef __x86_64__

static sigjmp_buf g_back;
static volatile long g_forged;
static volatile long g_wanted;
static volatile int g_segment;

__attribute__((used)) static void forged_done(long result)
{
    g_forged = result;
    siglongjmp(g_back, 1);
}

/* Where the forged frame leads: a bare system call. */
__asm__(".text\n"
        "forged_entry:\n"
        "    syscall\n"
        "    mov %rax, %rdi\n"
        "    call forged_done\n"
        "    ud2\n");
extern const char forged_entry[];

static void forge(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number;
    (void)info;
    registers[REG_RIP] = (greg_t)(uintptr_t)forged_entry;
    registers[REG_RSP] = (registers[REG_RSP] - 4096) & ~(greg_t)15;
    registers[REG_RAX] = g_wanted;
    registers[REG_RDI] = registers[REG_RSI] = registers[REG_RDX] = -1;
    registers[REG_R10] = registers[REG_R8] = registers[REG_R9] = -1;
    if (g_segment != 0)
        registers[REG_CSGSFS] = (registers[REG_CSGSFS] & ~(greg_t)0xffff) | g_segment;
}

static long by_forged_frame(long number, int segment)
{
    struct sigaction action = {.sa_sigaction = forge, .sa_flags = SA_SIGINFO};
    sigset_t one;
    (void)sigaction(SIGUSR1, &action, NULL);
    (void)sigemptyset(&one);
    (void)sigaddset(&one, SIGUSR1);
    (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    g_forged = 0;
    g_wanted = number;
    g_segment = segment;
    if (sigsetjmp(g_back, 1) == 0)
        (void)raise(SIGUSR1);
    return g_forged;
}

int64_t forged(int64_t number, int32_t *error)
{
    long result = by_forged_frame((long)number, 0);
    *error = result < 0 ? (int32_t)-result : 0;
    return result < 0 ? -1 : result;
}

int64_t enter(int32_t way)
{
    long number = 20; /* getpid of i386 */
    if (way == 0)
        return syscall(0x40000000 | SYS_getpid);
    if (way == 2)
        return by_forged_frame(SYS_getpid, 0x23);
    __asm__ volatile("int $0x80" : "+a"(number) : : "memory");
    return number;
}

#else

int64_t forged(int64_t number, int32_t *error)
{
    *error = 0;
    return number;
}

int64_t enter(int32_t way)
{
    return way;
}

#endif
