/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_shared.h -- what the two sides of `hotcalls run` agree on beside the channel: the shape of a
 * system call as a message, and what the host tells the program's process once, at its start.
 *
 * Both sides: shim_*.c in the enclave process (E), run_*.c in the host process (H). What H writes
 * here before E starts is read once by E and checked there; the interrupt words are written by E
 * for as long as it lives, and hostile to H.
 *
 * A message, as marshal.h lays it out: the fixed part is `present` (bit i: parameter i is not
 * NULL) and the scalars in the order of the parameters; then the buffers. A string is its size
 * with the terminator, as 8 bytes, and its characters. In the answer the first word of the fixed
 * part is the result, -errno when the call failed.
 */
#ifndef HOTCALLS_RUN_SHARED_H
#define HOTCALLS_RUN_SHARED_H

#include <hotcalls/hotcalls.h>

#define ROW_SCALARS_MAX 6u
#define ROW_PARAMETERS_MAX 9u

enum row_kind { ROW_SCALAR, ROW_FD, ROW_DIRFD, ROW_STRING, ROW_IN, ROW_OUT, ROW_INOUT };
enum row_returns { ROW_RETURNS_INT, ROW_RETURNS_FD, ROW_RETURNS_SIZE };

struct row_parameter {
    uint8_t kind;   /* enum row_kind */
    int8_t size_by; /* buffers: the parameter that holds the size; -1: size is fixed */
    bool narrow;    /* scalars: 32 bits */
    bool is_signed; /* scalars */
    uint32_t size;
};

/* One system call that leaves the enclave; made from syscalls.edl. */
struct row {
    const char *name;
    int number;
    uint8_t returns; /* enum row_returns */
    uint8_t parameter_count;
    uint8_t scalar_count;
    struct row_parameter parameters[ROW_PARAMETERS_MAX];
};

/* In `present`: the descriptor is known not to block, so that nobody has to find out. A lie costs
 * the program, whose calls then wait for each other. */
#define RUN_NONBLOCKING (UINT64_C(1) << 32)

#define ROW_STRING_HEADER 8u
/* A path, or the name of an extended attribute, with its terminator. */
#define ROW_STRING_MAX 4096u

/* The window of a slot, and the largest piece that one call carries. */
#define RUN_WINDOW (UINT64_C(512) * 1024u)
#define RUN_PIECE (384u * 1024u)

/* 8 bytes per word: present or result, then scalars. */
struct run_ms {
    uint64_t words[1u + ROW_SCALARS_MAX];
};

HC_ALWAYS_INLINE size_t run_ms_size(uint32_t scalar_count)
{
    return 8u * (1u + (scalar_count != 0 ? scalar_count : 1u));
}

/* Descriptors of the program are below, those of the host process from here on. */
#define RUN_DESCRIPTORS_MAX 65536u
#define RUN_OWN_DESCRIPTORS 64u

#define RUN_MAGIC UINT64_C(0x314e5552534c4348)

/* At geometry.shared_at. */
struct run_shared {
    uint64_t magic;
    uint64_t cycles_per_us;
    uint32_t mode;       /* enum hc_mode */
    uint32_t processors; /* that both sides may use */
    uint32_t limit_soft; /* RLIMIT_NOFILE as the program sees it */
    uint32_t limit_hard;
    int32_t host_pid;
    uint32_t chatty; /* say in one line on the program's standard error what is refused */
    uint8_t beat_apart[128u - 40u];
    /*
     * Written by H's leader whenever it has looked at the lanes: twice the TSC, plus 1 while it runs
     * a call. An old one means that it has lost its core. A hint: E's time is all that a lie costs.
     */
    uint64_t beat;
    uint8_t apart[4096u - 136u];
    /*
     * Rung by E when a signal arrived while a call was out: the call that is to end with EINTR, as
     * its number n in the lane of its slot, cut to 32 bits and never 0 while one is meant.
     */
    uint32_t interrupt_bell; /* futex */
    uint32_t interrupt[HC_SLOTS_MAX];
    uint8_t tail[4096u - 4u - 4u * HC_SLOTS_MAX];
};

_Static_assert(sizeof(struct run_shared) == 8192, "whole pages");

HC_ALWAYS_INLINE uint32_t run_interrupt_of(uint64_t n)
{
    return (uint32_t)n != 0 ? (uint32_t)n : 1u;
}

/*
 * What a call is worth, in microseconds of polling. Made hot it saves some 10 of CPU time, and of
 * latency. So the leader polls while 25 calls come in a millisecond, and sleeps when they have
 * become fewer: 2,000 requests a second make about 6.
 */
#define RUN_CALL_US 40u

/* The variable by which the shim is told the descriptor of the channel. */
#define RUN_ENVIRONMENT "HOTCALLS_SHIM_CHANNEL"

#endif /* HOTCALLS_RUN_SHARED_H */
