/* SPDX-License-Identifier: Apache-2.0 */
/* What calls do together: handles, locks, credentials, mappings, moving data. argv[1]: a directory. */
#include "say.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

static char g_data[300000];
static volatile int g_signals;

static void count(int number)
{
    (void)number;
    g_signals++;
}

static void handles(void)
{
    struct stat st;
    char text[PATH_MAX], name[64];
    int path = open("f", O_PATH), directory = open(".", O_PATH | O_DIRECTORY);
    SAY(read(path, text, 1));
    SAY(write(path, "x", 1));
    SAY(fchmod(path, 0600));
    SAY(ftruncate(path, 1));
    SAY(fsync(path));
    SAY(fstat(path, &st));
    SAY(st.st_size);
    SAY(fcntl(path, F_GETFL) & O_PATH);
    SAY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, path, 0) == MAP_FAILED ? -1 : 0);
    SAY(openat(path, "x", O_RDONLY));
    SAY(openat(directory, "f", O_RDONLY) >= 0);
    SAY(fchdir(directory));
    SAY(poll(&(struct pollfd){path, POLLIN, 0}, 1, 0));
    SAY(ioctl(path, 0x541B, &st));
    /* Opened anew by the name of the handle. */
    snprintf(name, sizeof name, "/proc/self/fd/%d", path);
    int again = open(name, O_RDWR);
    SAY(again >= 0);
    SAY(pread(again, text, 4, 0));
    ssize_t size = readlink(name, text, sizeof text - 1u);
    SAY(size > 0);
    text[size > 0 ? size : 0] = '\0';
    SAY_TEXT(strrchr(text, '/'));
    SAY(access(name, R_OK));
    SAY(stat(name, &st));
    int link = open("s", O_PATH | O_NOFOLLOW);
    SAY(fstat(link, &st));
    SAY(S_ISLNK(st.st_mode));
    SAY(readlinkat(link, "", text, sizeof text));
    SAY(close(path) + close(directory) + close(again) + close(link));
}

static void *unlock_later(void *argument)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    usleep(20000);
    fcntl(*(int *)argument, F_OFD_SETLK, &lock);
    return NULL;
}

static void locks(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pthread_t thread;
    int a = open("f", O_RDWR), b = open("f", O_RDWR);
    SAY(fcntl(a, F_OFD_SETLK, &lock));
    SAY(fcntl(b, F_OFD_SETLK, &lock));
    pthread_create(&thread, NULL, unlock_later, &a);
    SAY(fcntl(b, F_OFD_SETLKW, &lock));
    pthread_join(thread, NULL);
    SAY(fcntl(b, F_OFD_GETLK, &lock));
    SAY(lock.l_type);
    lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    /* A signal ends the wait for a lock. */
    struct sigaction action = {.sa_handler = count};
    sigaction(SIGALRM, &action, NULL);
    SAY(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 20000}}, NULL));
    SAY(fcntl(a, F_OFD_SETLKW, &lock));
    SAY(g_signals);
    SAY(close(b));
    SAY(fcntl(a, F_OFD_SETLK, &lock));
    SAY(close(a));
}

static void credentials(void)
{
    int pair[2], on = 1;
    struct ucred peer;
    socklen_t size = sizeof peer;
    char control[200], byte = 'c';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    SAY(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
    SAY(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &size));
    SAY(peer.uid == getuid() && peer.gid == getgid());
    SAY(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
    struct ucred own = {getpid(), getuid(), getgid()}, other = {1, getuid(), getgid()};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_CREDENTIALS;
    head->cmsg_len = CMSG_LEN(sizeof own);
    message.msg_controllen = head->cmsg_len;
    memcpy(CMSG_DATA(head), &own, sizeof own);
    SAY(sendmsg(pair[0], &message, 0));
    message.msg_controllen = sizeof control;
    SAY(recvmsg(pair[1], &message, 0));
    SAY(message.msg_controllen);
    head->cmsg_len = 3;
    message.msg_controllen = 20;
    SAY(sendmsg(pair[0], &message, 0));
    SAY(send(pair[0], "abcdef", 6, MSG_EOR));
    char small[3];
    part.iov_base = small;
    part.iov_len = 3;
    message.msg_control = NULL;
    message.msg_controllen = 0;
    SAY(recvmsg(pair[1], &message, MSG_PEEK | MSG_TRUNC));
    SAY(recvmsg(pair[1], &message, 0));
    SAY((message.msg_flags & MSG_TRUNC) != 0);
    SAY(close(pair[0]) + close(pair[1]));
    (void)other;
}

static void names_of_sockets(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX}, told;
    socklen_t size = sizeof told;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    /* Chosen by the kernel, and in no directory. */
    SAY(bind(listener, (struct sockaddr *)&name, sizeof name.sun_family));
    SAY(getsockname(listener, (struct sockaddr *)&told, &size));
    SAY(size);
    SAY(told.sun_path[0]);
    SAY(listen(listener, 1));
    int client = socket(AF_UNIX, SOCK_STREAM, 0);
    SAY(connect(client, (struct sockaddr *)&told, size));
    int server = accept(listener, NULL, NULL);
    SAY(server >= 0);
    SAY(accept(listener, NULL, NULL));
    int file = open("large", O_RDWR | O_CREAT, 0600);
    SAY(write(file, g_data, sizeof g_data));
    SAY(fcntl(client, F_SETFL, O_NONBLOCK));
    off_t offset = 0;
    long moved = sendfile(client, file, &offset, sizeof g_data);
    SAY(moved > 0 && moved == offset);
    SAY(sendfile(client, file, &offset, sizeof g_data));
    SAY(close(server));
    SAY(recv(client, g_data, 1, 0));
    snprintf(name.sun_path, sizeof name.sun_path, "socket");
    int named = socket(AF_UNIX, SOCK_DGRAM, 0);
    SAY(bind(named, (struct sockaddr *)&name, sizeof name));
    size = sizeof told;
    SAY(getsockname(named, (struct sockaddr *)&told, &size));
    SAY(size);
    SAY_TEXT(told.sun_path);
    SAY(sendto(named, "self", 4, 0, (struct sockaddr *)&name, sizeof name));
    size = sizeof told;
    memset(&told, 0, sizeof told);
    SAY(recvfrom(named, g_data, 10, 0, (struct sockaddr *)&told, &size));
    SAY_TEXT(told.sun_path);
    SAY(unlink("socket"));
    SAY(sendto(named, "self", 4, 0, (struct sockaddr *)&name, sizeof name));
}

static void mappings(void)
{
    int memory = memfd_create("m", MFD_ALLOW_SEALING), file = open("f", O_RDWR);
    SAY(write(memory, "12345678", 8));
    char *seen = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, memory, 0);
    SAY_TEXT(seen);
    SAY(seen[100]);
    SAY(mmap(NULL, 4096, PROT_READ, MAP_SHARED, memory, 4096) != MAP_FAILED);
    char *own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    memcpy(own, "mine", 4);
    char back[5] = "";
    SAY(pread(file, back, 4, 0));
    SAY_TEXT(back);
    SAY(madvise(own, 4096, MADV_WILLNEED));
    SAY(msync(own, 4096, MS_SYNC));
    SAY(mprotect(own, 4096, PROT_READ | PROT_EXEC));
    SAY(munmap(own, 4096) + munmap(seen, 8192));
}

static void watching(void)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET}, got;
    char bytes[4096] __attribute__((aligned(8)));
    int watch = inotify_init1(IN_NONBLOCK), set = epoll_create1(0);
    SAY(inotify_add_watch(watch, ".", IN_CREATE | IN_DELETE | IN_MOVED_TO));
    SAY(epoll_ctl(set, EPOLL_CTL_ADD, watch, &event));
    SAY(epoll_wait(set, &got, 1, 0));
    SAY(close(open("new", O_CREAT | O_WRONLY, 0600)));
    SAY(rename("new", "renamed"));
    SAY(unlink("renamed"));
    SAY(epoll_wait(set, &got, 1, 2000));
    SAY(read(watch, bytes, 5));
    long size = read(watch, bytes, sizeof bytes);
    for (long at = 0; at < size;) {
        struct inotify_event *each = (struct inotify_event *)(void *)(bytes + at);
        printf("event %x %s\n", each->mask, each->len != 0 ? each->name : "");
        at += (long)sizeof *each + each->len;
    }
    SAY(read(watch, bytes, sizeof bytes));
    SAY(fcntl(watch, F_SETFL, 0));
    SAY(fcntl(watch, F_GETFL));
}

int main(int argc, char **argv)
{
    if (argc < 2 || chdir(argv[1]) != 0)
        return 2;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    signal(SIGPIPE, SIG_IGN);
    int file = open("f", O_CREAT | O_RDWR, 0600);
    SAY(write(file, "contents", 8));
    SAY(symlink("f", "s"));
    SAY(close(file));
    handles();
    locks();
    credentials();
    names_of_sockets();
    mappings();
    watching();
    return 0;
}
