/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface.h -- what generated code tells the runtime about an EDL interface.
 *
 * Both sides are generated from the same EDL and carry its digest; they are compared when the
 * enclave is attached. Freestanding.
 */
#ifndef HOTCALLS_INTERFACE_H
#define HOTCALLS_INTERFACE_H

#include "channel.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hc_frame;

/* Unpacks a call, runs the function, packs the answer. Its value becomes the call's status. */
typedef enum hc_status hc_bridge(struct hc_frame *frame);

/* An ecall that the host may make on its own; others only during an ocall that allows them. */
#define HC_FN_PUBLIC UINT32_C(1)
/* transition_using_threads: hot unless the caller says otherwise. */
#define HC_FN_HOT UINT32_C(2)

struct hc_function {
    const char *name;
    hc_bridge *bridge; /* NULL on the side that only calls it */
    uint32_t flags;
    const uint64_t *allow; /* ocalls: bitmap of the ecalls allowed while it runs; NULL: none */
};

struct hc_interface {
    uint32_t abi;    /* HC_ABI */
    uint32_t layout; /* HC_LAYOUT: the private structs that generated code has inlined */
    uint32_t ecall_count;
    uint32_t ocall_count;
    uint8_t digest[HC_DIGEST_SIZE];
    const char *name;
    const struct hc_function *ecalls;
    const struct hc_function *ocalls;
};

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_INTERFACE_H */
