/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_option.c -- which options of sockets the program may read and set.
 *
 * Host side. An option whose value holds an address is one of this process, not of the program
 * that chose it: the kernel would read or write there on the program's word. One that makes a
 * descriptor makes it here, where the program does not own it. So levels are listed that have
 * neither, and of those the options that do are left out. What is left out looks like what an
 * older kernel does not know, which programs fall back from.
 */
#define _GNU_SOURCE
#include "run.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Of linux/socket.h, linux/tcp.h and linux/if_packet.h, by number: headers may be older. */
#define LEVEL_TCP 6
#define LEVEL_UDP 17
#define LEVEL_VSOCK 40
#define LEVEL_ICMPV6 58
#define LEVEL_UDPLITE 136
#define LEVEL_RAW 255
#define LEVEL_PACKET 263
#define LEVEL_NETLINK 270
#define LEVEL_ALG 279
#define LEVEL_TLS 282

#define OPTION_PASS_PIDFD 76
#define OPTION_PEER_PIDFD 77
#define OPTION_TCP_ZEROCOPY_RECEIVE 35
#define OPTION_PACKET_FANOUT_DATA 22

/* iptables, ip6tables, arptables and ebtables, whose tables hold addresses; ORIGINAL_DST does not. */
#define NETFILTER_FIRST 64
#define NETFILTER_TABLES 2
#define NETFILTER_OTHERS 96
#define NETFILTER_ORIGINAL_DST 80

bool run_option_allowed(int level, int name)
{
    switch (level) {
    case SOL_SOCKET:
        /* The first four: a program for the kernel, by address or by descriptor. */
        return name != SO_ATTACH_FILTER && name != SO_ATTACH_BPF &&
               name != SO_ATTACH_REUSEPORT_CBPF && name != SO_ATTACH_REUSEPORT_EBPF &&
               name != OPTION_PASS_PIDFD && name != OPTION_PEER_PIDFD;
    case LEVEL_TCP:
        /* copybuf_address: the kernel writes what was received wherever the program says. */
        return name != OPTION_TCP_ZEROCOPY_RECEIVE;
    case IPPROTO_IP:
        return name < NETFILTER_FIRST || name == NETFILTER_ORIGINAL_DST;
    case IPPROTO_IPV6:
        return name < NETFILTER_OTHERS &&
               (name < NETFILTER_FIRST || name >= NETFILTER_FIRST + NETFILTER_TABLES);
    case LEVEL_PACKET:
        return name != OPTION_PACKET_FANOUT_DATA;
    case LEVEL_UDP:
    case LEVEL_VSOCK:
    case LEVEL_ICMPV6:
    case LEVEL_UDPLITE:
    case LEVEL_RAW:
    case LEVEL_NETLINK:
    case LEVEL_ALG:
    case LEVEL_TLS:
        return true;
    default:
        /* SCTP, RDS, XDP, multipath TCP and others have addresses or descriptors in many places. */
        return false;
    }
}
