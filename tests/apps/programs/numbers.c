/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program whose threads use, replace and close the same numbers of descriptors, as those of a
 * server do that opens its logs again.
 *
 *   numbers replace ROUNDS   uses a number that another thread replaces by dup2 all the while; it is
 *                            never closed, so no use of it fails
 *   numbers lock             does to a file, on which it has a record lock, what must leave the lock
 *   numbers send             closes a number by which a message is waiting to be sent
 */
#include "say.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>

static atomic_bool g_stop;

static void start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    if (pthread_create(thread, NULL, body, argument) != 0)
        abort();
}

/* ---- replace ---------------------------------------------------------------------------------- */

static int g_number;
static atomic_long g_replaced;

static void *replace(void *argument)
{
    const int *files = argument;
    while (!atomic_load(&g_stop))
        for (int i = 0; i < 2; i++)
            if (dup2(files[i], g_number) == g_number)
                (void)atomic_fetch_add(&g_replaced, 1);
    return NULL;
}

static void used(const char *how, long result)
{
    if (result < 0)
        printf("%s: %s\n", how, strerror(errno));
}

static void use_what_is_replaced(long rounds)
{
    pthread_t thread;
    int files[2] = {open("one", O_RDWR | O_CREAT, 0600), open("two", O_RDWR | O_CREAT, 0600)};
    int other = dup(files[0]);
    g_number = dup(files[1]);
    start(&thread, replace, files);
    long i = 0;
    for (; i < rounds || atomic_load(&g_replaced) < rounds; i++) {
        struct stat status;
        used("pwrite", pwrite(g_number, "x", 1, 0));
        used("fstat", fstat(g_number, &status));
        used("futimens", futimens(g_number, NULL));
        used("dup2 from it", dup2(g_number, other));
        int copy = dup(g_number);
        used("dup", copy);
        used("write to the copy", pwrite(copy, "x", 1, 0));
        used("close of the copy", close(copy));
    }
    atomic_store(&g_stop, 1);
    (void)pthread_join(thread, NULL);
    printf("rounds: %ld\n", i);
}

/* ---- one descriptor with one byte ------------------------------------------------------------- */

static _Thread_local union {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
} g_control;

static struct msghdr message_of(struct iovec *data)
{
    return (struct msghdr){.msg_iov = data,
                           .msg_iovlen = 1,
                           .msg_control = &g_control,
                           .msg_controllen = sizeof g_control};
}

static long send_one(int to, int fd)
{
    struct iovec data = {"x", 1};
    struct msghdr message = message_of(&data);
    g_control.head = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&g_control.head), &fd, sizeof fd);
    return sendmsg(to, &message, 0);
}

/* Reads until a descriptor comes; -1: until nothing does. */
static int receive_one(int from)
{
    char buffer[4096];
    int fd = -1;
    for (;;) {
        struct iovec data = {buffer, sizeof buffer};
        struct msghdr message = message_of(&data);
        if (recvmsg(from, &message, 0) <= 0)
            return -1;
        if (message.msg_controllen >= CMSG_LEN(sizeof fd)) {
            memcpy(&fd, CMSG_DATA(&g_control.head), sizeof fd);
            return fd;
        }
    }
}

/* ---- lock ------------------------------------------------------------------------------------- */

static void locked(int fd, const char *after)
{
    char line[256];
    struct stat status;
    char inode[32];
    int locks = 0;
    FILE *list = fopen("/proc/locks", "r");
    if (list == NULL || fstat(fd, &status) != 0)
        abort();
    (void)snprintf(inode, sizeof inode, ":%lu ", (unsigned long)status.st_ino);
    while (fgets(line, sizeof line, list) != NULL)
        locks += strstr(line, "POSIX") != NULL && strstr(line, inode) != NULL;
    (void)fclose(list);
    printf("%s: %s\n", after, locks == 1 ? "locked" : "free");
}

static void keep_a_lock(void)
{
    int pair[2];
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open("locked", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || fcntl(fd, F_SETLK, &all) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        abort();
    locked(fd, "F_SETLK");
    used("futimens", futimens(fd, NULL));
    locked(fd, "futimens");
    used("fchmod", fchmod(fd, 0640));
    locked(fd, "fchmod");
    used("linkat", linkat(fd, "", AT_FDCWD, "linked", AT_EMPTY_PATH));
    locked(fd, "linkat");
    used("dup2", dup2(pair[0], 50));
    used("dup2", dup2(fd, 51));
    locked(fd, "dup2");
    used("send", send_one(pair[0], fd));
    locked(fd, "sendmsg");
    used("close", close(51));
    locked(fd, "close of another number");
}

/* ---- send ------------------------------------------------------------------------------------- */

static int g_pair[2];

static void *send_and_end(void *argument)
{
    long result = send_one(g_pair[0], *(int *)argument);
    (void)shutdown(g_pair[0], SHUT_WR);
    return (void *)result;
}

/* False: the thread was slow, and the number was closed before it was sent. */
static int close_while_it_is_sent(useconds_t pause)
{
    pthread_t thread;
    static char much[1 << 16];
    struct stat sent;
    struct stat received;
    void *result;
    int fd = open("sent", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || fstat(fd, &sent) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, g_pair) != 0)
        abort();
    while (send(g_pair[0], much, sizeof much, MSG_DONTWAIT) > 0)
        ;
    start(&thread, send_and_end, &fd);
    (void)usleep(pause);
    used("close", close(fd));
    used("close again", close(fd));
    used("use of what is closed", fcntl(fd, F_GETFD));
    int got = receive_one(g_pair[1]);
    (void)pthread_join(thread, &result);
    int next = dup(g_pair[0]);
    printf("the number is %s\n", next == fd || got == fd ? "free" : "in use");
    if (got >= 0)
        printf("received: %s\n", fstat(got, &received) == 0 && received.st_ino == sent.st_ino
                                     ? "the file"
                                     : "another");
    (void)close(next);
    (void)close(got);
    (void)close(g_pair[0]);
    (void)close(g_pair[1]);
    return (long)result == 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "replace") == 0)
        use_what_is_replaced(atol(argv[2]));
    else if (argc == 2 && strcmp(argv[1], "lock") == 0)
        keep_a_lock();
    else if (argc == 2 && strcmp(argv[1], "send") == 0)
        for (useconds_t pause = 1000; !close_while_it_is_sent(pause) && pause < 3000000; pause *= 2)
            puts("not sent yet");
    else
        return 2;
    return 0;
}
