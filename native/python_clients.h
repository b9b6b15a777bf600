/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_clients.h -- several processes that call one Python enclave: `hotcalls serve`.
 *
 * Both sides. A locked-down enclave can neither accept a connection nor map a descriptor. So the
 * host that launches it makes a number of channels beforehand, the *places*; the enclave maps them
 * before it locks itself down and touches none until it is told that a client has it. Telling is
 * the host's ecall `clients`, the last but one of its own channel's interface; on the channels of
 * clients it does not exist, and their `fetch` has its number.
 *
 *      FREE ──attach──▶ SERVING ──detach──▶ ENDING ──(detach, asked again)──▶ FREE
 *
 * ENDING: calls of the client that has gone are still being run. Each place has an endpoint of its
 * own, with its own threads, slots and held answers: a client that writes nonsense into its channel
 * breaks that endpoint and no other.
 *
 * The host wipes a channel before it gives it to another client (hotcalls.serving.places). The
 * enclave does not rely on that: its own state of the place begins anew, and whatever it finds in
 * the channel is as hostile as ever.
 */
#ifndef HOTCALLS_PYTHON_CLIENTS_H
#define HOTCALLS_PYTHON_CLIENTS_H

#include <hotcalls/channel.h>

#define HC_CLIENTS_ATTACH 1u
#define HC_CLIENTS_DETACH 2u

#define HC_PLACE_FREE 0u
#define HC_PLACE_SERVING 1u
#define HC_PLACE_ENDING 2u

/* The message of the ecall `clients`, both ways. */
struct hc_clients_message {
    uint32_t what;       /* in: HC_CLIENTS_*; out: HC_PLACE_* */
    uint32_t place;      /* in */
    uint64_t generation; /* in: attach: larger than any before it; detach: that of the attach */
    uint8_t reserved[HC_INLINE_SIZE - 16u];
};

HC_STATIC_ASSERT(sizeof(struct hc_clients_message) == HC_INLINE_SIZE, "in the cell");

#endif /* HOTCALLS_PYTHON_CLIENTS_H */
