/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that hides pointers in the arguments of its system calls, for its host process to
 * follow them in the host's memory. Every line of its output is an attempt and what came of it.
 */
#include "host.h"
#include "say.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Nothing is mapped there, on either side: EFAULT is the answer of who went to look. */
#define NOWHERE UINT64_C(0x10000)

/* struct tcp_zerocopy_receive, as far as it matters; all of it is 64 bytes. */
struct zerocopy {
    uint64_t address;
    uint32_t length;
    uint32_t skip;
    uint32_t waiting;
    int32_t error;
    uint64_t copy_address;
    int32_t copy_size;
    uint32_t flags;
    uint64_t rest[3];
};

static void attempt(const char *what, long result)
{
    printf("%s: %s\n", what, result == -1 ? strerrorname_np(errno) : "reached");
    errno = 0;
}

/* Both ends of a connection of TCP. */
static void connection(int ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    (void)bind(listener, (struct sockaddr *)&address, sizeof address);
    (void)listen(listener, 1);
    (void)getsockname(listener, (struct sockaddr *)&address, &size);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    (void)connect(ends[0], (struct sockaddr *)&address, sizeof address);
    ends[1] = accept(listener, NULL, NULL);
    (void)close(listener);
}

static void receive_elsewhere(const int ends[2], uint64_t where, const char *what)
{
    struct zerocopy wanted = {.copy_address = where, .copy_size = 8};
    socklen_t size = sizeof wanted;
    (void)!write(ends[0], "CAPTURED", 8);
    (void)recv(ends[1], (char[1]){0}, 1, MSG_PEEK);
    attempt(what, getsockopt(ends[1], IPPROTO_TCP, 35 /* TCP_ZEROCOPY_RECEIVE */, &wanted, &size));
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    int ends[2];
    connection(ends);
    receive_elsewhere(ends, NOWHERE, "TCP_ZEROCOPY_RECEIVE");

    struct sock_fprog filter = {1, (struct sock_filter *)NOWHERE};
    static const int attaching[] = {SO_ATTACH_FILTER, 50 /* SO_ATTACH_BPF */,
                                    51 /* SO_ATTACH_REUSEPORT_CBPF */,
                                    52 /* SO_ATTACH_REUSEPORT_EBPF */};
    for (size_t i = 0; i < sizeof attaching / sizeof attaching[0]; i++)
        attempt("attach a filter",
                setsockopt(ends[0], SOL_SOCKET, attaching[i], &filter, sizeof filter));
    char answer[64];
    socklen_t size = sizeof answer;
    attempt("SO_GET_FILTER", getsockopt(ends[0], SOL_SOCKET, SO_GET_FILTER, answer, &size));
    attempt("SO_PEERPIDFD", getsockopt(ends[0], SOL_SOCKET, 77, answer, &size));
    attempt("SO_PASSPIDFD", setsockopt(ends[0], SOL_SOCKET, 76, &(int){1}, sizeof(int)));
    attempt("netfilter table", setsockopt(ends[0], IPPROTO_IP, 64, answer, sizeof answer));
    attempt("unknown level", setsockopt(ends[0], 276 /* SOL_RDS */, 1, answer, sizeof answer));

    struct ifconf interfaces = {.ifc_len = 400, .ifc_buf = (char *)NOWHERE};
    attempt("SIOCGIFCONF", syscall(SYS_ioctl, ends[0], 0x8912, &interfaces));
    struct ifreq request = {.ifr_name = "lo", .ifr_data = (char *)NOWHERE};
    attempt("SIOCETHTOOL", syscall(SYS_ioctl, ends[0], 0x8946, &request));
    attempt("FICLONE", syscall(SYS_ioctl, 1, 0x40049409, 0));
    attempt("FS_IOC_FIEMAP", syscall(SYS_ioctl, 1, 0xC020660B, answer));
    attempt("BTRFS_IOC_SNAP_CREATE", syscall(SYS_ioctl, 1, 0x50009401, answer));
    attempt("FS_IOC_SETFLAGS", syscall(SYS_ioctl, 1, 0x40086602, answer));
    attempt("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412, "x"));
    attempt("TIOCSCTTY", syscall(SYS_ioctl, 0, 0x540E, 1));
    attempt("FIOSETOWN", syscall(SYS_ioctl, ends[0], 0x8901, answer));

    char control[CMSG_SPACE(64)] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_len = CMSG_LEN(64);
    head->cmsg_level = 276; /* SOL_RDS: remote memory access, to addresses in the message */
    head->cmsg_type = 1;
    attempt("control data of RDS", sendmsg(ends[0], &message, 0));

    long host = host_process();
    attempt("F_SETOWN host", syscall(SYS_fcntl, ends[0], 8, host));
    attempt("F_SETOWN group", syscall(SYS_fcntl, ends[0], 8, -host));
    int owner[2] = {1 /* F_OWNER_PID */, (int)host};
    attempt("F_SETOWN_EX host", syscall(SYS_fcntl, ends[0], 15, owner));
    owner[0] = 2; /* F_OWNER_PGRP */
    attempt("F_SETOWN_EX group", syscall(SYS_fcntl, ends[0], 15, owner));
    attempt("F_NOTIFY", syscall(SYS_fcntl, 0, 1026, 1));
    puts("pointers tried");
    return 0;
}
