/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to do when every descriptor is in use: argv[1] is a directory of our own. */
#include "say.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define LIMIT 60

static int g_listener, g_pair[2];

static int open_now(void)
{
    int count = 0;
    for (int fd = 0; fd < 2 * LIMIT; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void send_two(int flags)
{
    int sent[2] = {0, 1};
    char control[CMSG_SPACE(sizeof sent)], byte = 'r';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof sent);
    memcpy(CMSG_DATA(head), sent, sizeof sent);
    SAY(sendmsg(g_pair[0], &message, 0));
    memset(control, 0, sizeof control);
    SAY(recvmsg(g_pair[1], &message, flags));
    printf("flags %x control %zu\n", message.msg_flags, message.msg_controllen);
}

static void try_all(void)
{
    int two[2];
    char text[100];
    sigset_t set;
    struct stat st;
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "none"};
    sigemptyset(&set);
    SAY(open("/dev/null", O_RDONLY));
    SAY(openat(AT_FDCWD, "made", O_CREAT | O_RDWR, 0600));
    SAY(open(".", O_PATH));
    SAY(open("/proc/self/maps", O_RDONLY));
    SAY(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
    SAY(socket(AF_UNIX, SOCK_STREAM, 0));
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, two));
    SAY(accept(g_listener, NULL, NULL));
    SAY(pipe(two));
    SAY(dup(0));
    SAY(dup2(0, LIMIT));
    SAY(dup3(0, LIMIT + 5, O_CLOEXEC));
    SAY(fcntl(0, F_DUPFD, 3));
    SAY(epoll_create1(0));
    SAY(eventfd(0, 0));
    SAY(timerfd_create(CLOCK_MONOTONIC, 0));
    SAY(signalfd(-1, &set, 0));
    SAY(inotify_init1(0));
    SAY(memfd_create("m", 0));
    send_two(0);
    SAY(open_now());
    /* What needs no descriptor goes on. */
    SAY(stat(".", &st));
    SAY(readlink("/proc/self/exe", text, sizeof text) > 0);
    SAY(symlink("to", "link"));
    SAY(readlink("link", text, sizeof text));
    SAY(mkdir("d", 0700));
    SAY(chdir("d"));
    SAY(chdir(".."));
    SAY(rename("link", "moved"));
    SAY(unlink("moved"));
    SAY(rmdir("d"));
    SAY(access(".", W_OK));
    SAY(connect(g_pair[0], (struct sockaddr *)&name, sizeof name));
    SAY(setuid(getuid()));
    SAY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, open(".", O_RDONLY), 0) == MAP_FAILED);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "listener"};
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = LIMIT;
    SAY(setrlimit(RLIMIT_NOFILE, &limit));
    g_listener = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(bind(g_listener, (struct sockaddr *)&address, sizeof address));
    SAY(listen(g_listener, 5));
    SAY(socketpair(AF_UNIX, SOCK_STREAM, 0, g_pair));
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(connect(client, (struct sockaddr *)&address, sizeof address));
    int last = -1, before = open_now();
    for (int fd; (fd = dup(0)) >= 0;)
        last = fd;
    SAY(last);
    try_all();
    /* With one free descriptor one of two can be received, and the connection is still there. */
    SAY(close(last));
    send_two(0);
    SAY(open_now());
    SAY(close(last));
    SAY(accept(g_listener, NULL, NULL));
    for (int fd = client + 1; fd < LIMIT; fd++)
        close(fd);
    SAY(open_now() == before);
    send_two(MSG_CMSG_CLOEXEC);
    SAY(open_now() - before);
    return 0;
}
