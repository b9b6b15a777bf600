/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_trace.h -- the calls of the program as lines of text, as strace prints them.
 *
 * Host side. Every line is one write, so that those of two threads do not mix:
 *
 *     [SLOT] SECONDS.MICROS NAME(ARGUMENTS) = RESULT [ERRNO-NAME] <SECONDS>
 */
#ifndef HOTCALLS_RUN_TRACE_H
#define HOTCALLS_RUN_TRACE_H

#include "run.h"

/* Lines go to `fd`, -1: nowhere. `names`: those calls alone, parted by commas; NULL: all. */
void run_trace_init(int fd, const char *names, uint64_t cycles_per_us);
/* Is anything traced? Then calls have to be timed. */
bool run_trace_on(void);
void run_trace_call(uint32_t slot, const struct run_call *call, long result, uint64_t started);

#endif /* HOTCALLS_RUN_TRACE_H */
