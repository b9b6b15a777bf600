/* SPDX-License-Identifier: Apache-2.0 */
/*
 * every.h -- between unmarshal.c, which is the runtime, and every.c, which is one side's own code.
 * -DTRUSTED: the enclave's.
 */
#ifndef HOTCALLS_TESTS_FUZZ_EVERY_H
#define HOTCALLS_TESTS_FUZZ_EVERY_H

#ifdef TRUSTED
#include "every_t.h"
#else
#include "every_u.h"
#endif

#include "peer.h"

extern uint32_t g_calls_out;  /* calls of ours that wait for an answer */
extern uint32_t g_calls_made; /* in this run */

/* Calls the peer, with a function and arguments of the input's choice. */
void call_out(uint32_t which);

#endif /* HOTCALLS_TESTS_FUZZ_EVERY_H */
