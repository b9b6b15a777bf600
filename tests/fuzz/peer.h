/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.h -- one honest side of a channel and a hostile peer that does what the input says.
 *
 * The honest side has one slot, of which each lane has a window in memory of its own, and an arena
 * in which arguments are kept apart, so that AddressSanitizer sees every step outside. The peer has
 * its turns where a real one would find the honest side outside of its copies: while a function runs
 * (which calls peer_turn), and while a call waits for its answer.
 */
#ifndef HOTCALLS_TESTS_FUZZ_PEER_H
#define HOTCALLS_TESTS_FUZZ_PEER_H

#include <hotcalls/hotcalls.h>

#include "fuzz.h"

#define PEER_WINDOW 1024u
#define PEER_SHARED 2048u
#define PEER_ARENA 4096u
#define PEER_CELLS 4u

/* What is left for calls to be made of, and for the peer to do. */
extern struct input g_input;
extern struct hc_end g_end;
extern struct hc_slot g_slot;
extern uint8_t *g_u_shared; /* PEER_SHARED bytes of the channel's, for user_check */

/* Everything as it is before the first call; the honest side is `side`. */
void peer_begin(enum hc_side side, const struct hc_interface *interface, const uint8_t *data,
                size_t size);
/* The peer posts one call. */
void peer_post(void);
/* The honest side runs what is posted; how many calls. */
uint64_t peer_serve(void);
/* The peer rewrites what it can reach. */
void peer_turn(void);
/* The port of whoever runs now, as the runtimes of both sides find it; NULL: there is none. */
struct hc_port *peer_port(void);

#endif /* HOTCALLS_TESTS_FUZZ_PEER_H */
