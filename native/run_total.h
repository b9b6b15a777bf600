/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_total.h -- how many bytes the program may still move: totals of the policy.
 *
 * Host side of `hotcalls run` (H); every thread that serves. Without a total nothing here is ever
 * called: rows that move bytes are marked in the table of rules that each call reads anyway.
 */
#ifndef HOTCALLS_RUN_TOTAL_H
#define HOTCALLS_RUN_TOTAL_H

#include "run.h"

/* So many totals can there be: each is a bit of a word beside the descriptor. */
#define RUN_TOTALS_MAX 30u

enum run_total_kind {
    RUN_TOTAL_IP_IN,    /* from sockets, but for unix ones */
    RUN_TOTAL_IP_OUT,   /* to them */
    RUN_TOTAL_IO_READ,  /* from everything else: files, pipes, terminals, unix sockets */
    RUN_TOTAL_IO_WRITE, /* to it */
    RUN_TOTAL_KINDS,
};

/* ---- reading the policy; see run_policy.h ---- */

extern const char *const g_run_total_words[RUN_TOTAL_KINDS];
/* A new total. False: there are too many. */
bool run_total_begin(enum run_total_kind kind, uint64_t most, int refuse);
/* Makes the last total one of a path, or of addresses. False: it is of another kind. */
bool run_total_only_path(const char *prefix);
bool run_total_only_address(const struct run_address_rule *rule);
/* Counts all there is, to say so at the end. */
void run_total_learn(void);
void run_total_say_used(void);
bool run_total_any(void);
/* Does this row move bytes? */
bool run_total_moves(uint32_t row);

/* ---- while the program runs ---- */

/* Runs a call that moves bytes. */
long run_total_perform(struct run_call *call);
/* Around what makes a number another file, and around connect: see `stable` in run_total.c. */
void run_total_change_begin(int64_t fd);
void run_total_change_end(int64_t fd);
uint32_t run_total_connect_begin(int64_t fd);
void run_total_connect_end(uint32_t place);

#endif /* HOTCALLS_RUN_TOTAL_H */
