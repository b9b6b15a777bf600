/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_option.c -- options of sockets: which of them a program may ask this process for.
 *
 * Host side. The value of most options is bytes. That of some is an address, or holds one, or a
 * descriptor: the kernel looks it up in whoever calls, which is this process. TCP_ZEROCOPY_RECEIVE,
 * for one, copies what has arrived on the socket to wherever the value says. So options are a list,
 * by level; what is not on it is answered as an option that this kernel does not have.
 */
#define _GNU_SOURCE
#include "run.h"

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* Not in every C library's headers. */
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef SOL_MPTCP
#define SOL_MPTCP 284
#endif
#define LEVEL_NETLINK 270
#define LEVEL_ALG 279
#define LEVEL_PACKET 263

/* Names from 0 to `most` of a level, but for a few. The names are the kernel's, with its numbers. */
struct options {
    int level;
    int most;
    int but[5]; /* 0: no more */
};

static const struct options g_options[] = {
    /* SO_ATTACH_FILTER and SO_ATTACH_REUSEPORT_CBPF hold the address of a program of filters,
     * SO_ATTACH_BPF and SO_ATTACH_REUSEPORT_EBPF a descriptor. Up to SO_RCVMARK (75): the ones
     * behind it make descriptors in this process (SO_PASSPIDFD, SO_PEERPIDFD), or are for devices. */
    {SOL_SOCKET,
     75,
     {SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF}},
    /* From 64 on they are iptables': IPT_SO_SET_REPLACE holds the address of counters. */
    {IPPROTO_IP, 63, {0}},
    {IPPROTO_IPV6, 80, {64, 65}},
    {IPPROTO_TCP, 43, {TCP_ZEROCOPY_RECEIVE}},
    {IPPROTO_UDP, 104, {0}},
    {IPPROTO_UDPLITE, 104, {0}},
    {IPPROTO_ICMPV6, 1, {0}},
    {IPPROTO_RAW, 1, {0}},
    /* SCTP_SOCKOPT_CONNECTX3 holds an address. */
    {IPPROTO_SCTP, 110, {0}},
    {LEVEL_NETLINK, 12, {0}},
    /* PACKET_FANOUT_DATA holds the address of a program of filters, or a descriptor. */
    {LEVEL_PACKET, 24, {PACKET_FANOUT_DATA}},
    {SOL_TLS, 4, {0}},
    /* MPTCP_FULL_INFO holds addresses. */
    {SOL_MPTCP, 3, {0}},
    /* ALG_SET_KEY_BY_KEY_SERIAL is about our keyrings. */
    {LEVEL_ALG, 6, {0}},
};

/* Where a connection that was redirected was meant to go: bytes, among iptables' numbers. */
#define ORIGINAL_DESTINATION 80

static bool is_bytes(int level, int name)
{
    if (level == IPPROTO_IP && name == ORIGINAL_DESTINATION)
        return true;
    for (size_t i = 0; i < sizeof g_options / sizeof g_options[0]; i++) {
        const struct options *options = &g_options[i];
        if (options->level != level || name < 0 || name > options->most)
            continue;
        for (size_t but = 0; but < 5u && options->but[but] != 0; but++)
            if (options->but[but] == name)
                return false;
        return true;
    }
    return false;
}

long run_option(struct run_call *call)
{
    if (!is_bytes((int)call->a[1], (int)call->a[2]))
        return -ENOPROTOOPT;
    if (call->id == ROW_setsockopt)
        return run_raw(call);
    socklen_t size = (socklen_t)call->sizes[3];
    /* The kernel writes at most `size` bytes; where, is checked. */
    long arguments[6] = {(long)call->a[0], (long)(int)call->a[1],  (long)(int)call->a[2],
                         (long)call->a[3], (long)(uintptr_t)&size, 0};
    long result = run_interruptible(SYS_getsockopt, arguments);
    if (result == 0 && call->a[5] != 0)
        hc_copy_out((void *)(uintptr_t)call->a[5], &size, sizeof size);
    return result;
}
