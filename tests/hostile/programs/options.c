/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c -- options of sockets whose values hold addresses, tried by a program in an enclave.
 *
 * The addresses are this process's. To whoever makes the call for it they are addresses of its own:
 * EFAULT, or success, says that the kernel looked there. Prints a line for each: name, then errno.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const char *name_of(int result)
{
    return result == 0 ? "done" : strerrorname_np(errno);
}

static void receive_anywhere(void)
{
    struct {
        uint64_t address;
        uint32_t length, skip, queued;
        int32_t error;
        uint64_t copy_to;
        int32_t copy_size;
        uint32_t flags;
        uint64_t control, control_size;
        uint32_t message_flags, reserved;
    } receive = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    char target[64] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int from = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(from, (struct sockaddr *)&address, size) != 0)
        return;
    int to = accept(listener, NULL, NULL);
    (void)send(from, "overwritten", 12, 0);
    /* There is something to receive. */
    (void)recv(to, target, sizeof target, MSG_PEEK);
    memset(target, 0, sizeof target);
    receive.copy_to = (uintptr_t)target;
    receive.copy_size = sizeof target;
    size = sizeof receive;
    printf("receive to an address: %s\n",
           name_of(getsockopt(to, IPPROTO_TCP, 35, &receive, &size)));
    /* What was sent can still be had. */
    printf("received: %ld\n", (long)recv(to, target, sizeof target, MSG_DONTWAIT));
}

static void set(const char *what, int level, int option)
{
    struct {
        uint16_t count;
        void *filter;
    } program = {1, (void *)(uintptr_t)0x10000};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    printf("%s: %s\n", what, name_of(setsockopt(fd, level, option, &program, sizeof program)));
}

int main(void)
{
    int one = 1;
    socklen_t size = sizeof one;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    receive_anywhere();
    set("filter", SOL_SOCKET, SO_ATTACH_FILTER);
    set("filter of a group", SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF);
    set("tables", IPPROTO_IP, 64);
    set("memory of XDP", 283, 4);
    int pair[2];
    (void)socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    printf("descriptor of a process: %s\n",
           name_of(getsockopt(pair[0], SOL_SOCKET, 77, &one, &size)));
    printf("descriptors of processes: %s\n", name_of(setsockopt(pair[0], SOL_SOCKET, 76, &one, 4)));
    printf("ordinary: %s\n", name_of(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &one, 4)));
    return 0;
}
