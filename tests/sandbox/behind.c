/* SPDX-License-Identifier: Apache-2.0 */
/*
 * behind.c - what stands behind the filter, tested by leaving the filter out: Landlock, dropped
 * capabilities, PR_SET_MDWE and closed descriptors. Linked with native/sandbox_lock.c but without
 * sandbox_filter.c; its place is taken by the function below.
 *
 * Prints "NAME ERRNO" per attempt; "behind" alone for the controls, before anything is locked.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox_filter.h"

const struct sandbox_rule g_sandbox_rules[] = {{.name = "none"}};
const size_t g_sandbox_rule_count = 0;

int sandbox_install_filter(const struct sandbox_policy *policy, struct sandbox_lock_report *report,
                           struct sandbox_error *error)
{
    (void)policy;
    (void)report;
    (void)error;
    return 0;
}

static void report(const char *name, long result)
{
    char line[128];
    int length = snprintf(line, sizeof line, "%s %d\n", name, result < 0 ? errno : 0);
    (void)!write(1, line, (size_t)length);
}

static void try_all(pid_t outsider)
{
    report("read-file", open("/etc/passwd", O_RDONLY));
    report("read-folder", open("/etc", O_RDONLY | O_DIRECTORY));
    report("write-file", open("/dev/null", O_WRONLY));
    report("make-folder", mkdir("/tmp/hotcalls-behind", 0700));
    (void)rmdir("/tmp/hotcalls-behind");

    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons(1)};
    tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    report("connect-tcp", connect(client, (struct sockaddr *)&tcp, sizeof tcp));
    tcp.sin_port = 0;
    report("bind-tcp", bind(client, (struct sockaddr *)&tcp, sizeof tcp));
    (void)close(client);

    struct sockaddr_un name = {.sun_family = AF_UNIX};
    (void)snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "hotcalls-behind-%d",
                   (int)outsider);
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    report("connect-abstract", connect(local, (struct sockaddr *)&name, sizeof name));
    (void)close(local);

    report("signal", kill(outsider, 0));
    report("signal-self", kill(getpid(), 0));
    report("ptrace", ptrace(PTRACE_SEIZE, outsider, NULL, NULL));

    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    report("mprotect-exec", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    void *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    report("mmap-write-exec", code == MAP_FAILED ? -1 : 0);

    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3];
    memset(held, 0, sizeof held);
    (void)syscall(SYS_capget, &header, held);
    errno = EEXIST;
    report("no-capability", (held[0].effective | held[0].permitted | held[0].inheritable |
                             held[1].effective | held[1].permitted | held[1].inheritable) != 0
                                ? -1
                                : 0);
    errno = EEXIST;
    report("stray-closed", fcntl(9, F_GETFD) >= 0 ? -1 : 0);
}

/*
 * A process outside of the lock, which listens on an abstract socket until its parent has ended,
 * as *leash tells. (Neither kill nor PR_SET_PDEATHSIG would end it: Landlock's scope refuses the
 * signal that a locked process sends by dying, too. Seen on Linux 6.18.)
 */
static pid_t start_outsider(int *leash)
{
    int ready[2], hold[2];
    char byte;
    if (pipe(ready) != 0 || pipe(hold) != 0) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        (void)snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "hotcalls-behind-%d",
                       (int)getpid());
        int listener = socket(AF_UNIX, SOCK_STREAM, 0);
        (void)bind(listener, (struct sockaddr *)&name, sizeof name);
        (void)listen(listener, 5);
        (void)close(hold[1]);
        (void)close(1);
        (void)close(2);
        (void)!write(ready[1], "r", 1);
        (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    (void)!read(ready[0], &byte, 1);
    *leash = hold[1];
    return child;
}

int main(int argc, char **argv)
{
    int leash = -1;
    pid_t outsider = start_outsider(&leash);
    (void)dup2(1, 9);
    if (argc > 1 && strcmp(argv[1], "locked") == 0) {
        const int fds[] = {0, 1, 2, 9, leash};
        struct sandbox_error error;
        struct sandbox_lock_report done;
        struct sandbox_harden_options options = {.keep_fds = fds, .keep_fd_count = 5};
        struct sandbox_policy policy = {.groups = SANDBOX_CORE,
                                        .write_fds = {1},
                                        .write_fd_count = 1,
                                        .poll_fds = {leash},
                                        .poll_fd_count = 1,
                                        .insecure_children = true};
        if (sandbox_harden(&options, &error) != 0 || sandbox_lock(&policy, &done, &error) != 0) {
            char text[512];
            (void)printf("failed %s\n", sandbox_error_format(&error, text, sizeof text));
            return 3;
        }
        char line[64];
        int length = snprintf(line, sizeof line, "landlock %d\nmdwe %d\n", done.landlock_abi,
                              done.no_exec_gain);
        (void)!write(1, line, (size_t)length);
    }
    try_all(outsider);
    return 0;
}
