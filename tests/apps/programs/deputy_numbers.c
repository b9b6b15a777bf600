/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses the number of a descriptor while its host process has something of its own
 * open by that number: what is opened for a call, and not judged yet.
 *
 *   deputy_numbers replace ROUNDS   dup2 over what the host has judged; wants kept/file to write to
 *   deputy_numbers use ROUNDS       reads and copies by a number that it has just closed; wants the
 *                                   host's memory
 */
#include "host.h"
#include "say.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>

static atomic_bool g_stop;
static int g_number; /* the lowest that is free: the next one to be opened, by whomever */
static struct stat g_kept;

static void start(pthread_t *thread, void *(*body)(void *), void *argument)
{
    if (pthread_create(thread, NULL, body, argument) != 0)
        abort();
}

static int is_kept(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && found.st_dev == g_kept.st_dev && found.st_ino == g_kept.st_ino;
}

/* ---- replace ---------------------------------------------------------------------------------- */

static void *replace(void *argument)
{
    int kept = open("kept/file", O_RDONLY);
    (void)argument;
    while (!atomic_load(&g_stop)) {
        for (int next = 0; next < 3; next++)
            if (dup2(kept, kept + 1 + next) >= 0)
                (void)close(kept + 1 + next);
    }
    return NULL;
}

/* How often it was opened. */
static long open_ours(long rounds)
{
    long opened = 0;
    for (long i = 0; i < rounds; i++) {
        int fd = open("ours", O_WRONLY);
        /* Our own dup2 may have come after; what can be written to is looked at where it does not go. */
        int copy = fcntl(fd, F_DUPFD, 100);
        if (copy >= 0 && is_kept(copy) && (fcntl(copy, F_GETFL) & O_ACCMODE) == O_WRONLY)
            puts("kept/file instead of another: reached");
        opened += fd >= 0;
        (void)close(copy);
        (void)close(fd);
    }
    return opened;
}

/* ---- use ------------------------------------------------------------------------------------------ */

static int is_proc(int fd)
{
    struct statfs found;
    return fstatfs(fd, &found) == 0 && found.f_type == PROC_SUPER_MAGIC;
}

static void *open_host(void *argument)
{
    while (!atomic_load(&g_stop)) {
        int fd = open(argument, O_RDONLY);
        if (fd >= 0 && is_proc(fd))
            puts("the host's memory by its name: reached");
        (void)close(fd);
    }
    return NULL;
}

static void *open_and_close(void *argument)
{
    (void)argument;
    while (!atomic_load(&g_stop))
        (void)close(open("/dev/null", O_RDONLY));
    return NULL;
}

static void *copy_and_close(void *argument)
{
    (void)argument;
    while (!atomic_load(&g_stop))
        if (dup2(0, g_number) >= 0)
            (void)close(g_number);
    return NULL;
}

/* As many as can be sent, of which the first is looked at long before it is used. */
static int sent(int pair[2], int fd)
{
    char byte = 0;
    static union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(253 * sizeof(int))];
    } control;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    control.head = (struct cmsghdr){CMSG_LEN(253 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memset(CMSG_DATA(&control.head), 0, 253 * sizeof(int));
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    if (sendmsg(pair[0], &message, 0) != 1)
        return -1;
    message.msg_controllen = CMSG_SPACE(sizeof(int));
    if (recvmsg(pair[1], &message, 0) != 1 || message.msg_controllen < CMSG_LEN(sizeof(int)))
        return -1;
    memcpy(&fd, CMSG_DATA(&control.head), sizeof fd);
    return fd;
}

/* How often something was open by the number, of whatever thread; often enough, however slow they are. */
static long use(long rounds, int pair[2])
{
    long met = 0;
    char byte;
    for (long i = 0; i < rounds || met < rounds / 200; i++) {
        /* Of /dev/null it is 0; of memory, where nothing is, an error. */
        if (pread(g_number, &byte, 1, 0) == -1 && errno == EIO)
            puts("read: reached");
        int copies[] = {fcntl(g_number, F_DUPFD, 100), dup2(g_number, 200), sent(pair, g_number)};
        for (size_t k = 0; k < 3; k++) {
            if (copies[k] >= 0 && is_proc(copies[k]))
                printf("copy %zu: reached\n", k);
            met += copies[k] >= 0;
            (void)close(copies[k]);
        }
    }
    return met;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    int pair[2];
    char path[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || stat("kept/file", &g_kept) != 0)
        return 1;
    g_number = dup(0);
    (void)close(g_number);
    size_t count = 0;
    long tried;
    if (argc > 1 && strcmp(argv[1], "replace") == 0) {
        start(&threads[count++], replace, NULL);
        tried = open_ours(rounds);
    } else {
        snprintf(path, sizeof path, "/proc/%d/mem", host_process());
        start(&threads[count++], open_host, path);
        start(&threads[count++], open_and_close, NULL);
        start(&threads[count++], copy_and_close, NULL);
        tried = use(rounds, pair);
    }
    atomic_store(&g_stop, 1);
    for (size_t i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
    printf("numbers tried: %ld\n", tried);
    return 0;
}
