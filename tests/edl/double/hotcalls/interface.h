/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface.h -- test double of the runtime: the tables that generated code fills.
 *
 * With marshal.h beside it, it stands in for the real headers in tests that run generated proxies
 * and bridges without a channel. Same names and rules; the message is handed over by a callback.
 */
#ifndef DOUBLE_INTERFACE_H
#define DOUBLE_INTERFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hc_status {
    HC_OK = 0,
    HC_ERR_ARGUMENT = 1,
    HC_ERR_TOO_LARGE = 2,
    HC_ERR_OVERFLOW = 3,
    HC_ERR_UNKNOWN_CALL = 4,
    HC_ERR_MESSAGE = 6,
    HC_ERR_MEMORY = 14,
};

struct hc_frame;
typedef enum hc_status hc_bridge(struct hc_frame *frame);

#define HC_LAYOUT UINT32_C(0)
#define HC_FN_PUBLIC UINT32_C(1)
#define HC_FN_HOT UINT32_C(2)

struct hc_function {
    const char *name;
    hc_bridge *bridge;
    uint32_t flags;
    const uint64_t *allow;
};

struct hc_interface {
    uint32_t abi;
    uint32_t layout;
    uint32_t ecall_count;
    uint32_t ocall_count;
    uint8_t digest[32];
    const char *name;
    const struct hc_function *ecalls;
    const struct hc_function *ocalls;
};

#endif /* DOUBLE_INTERFACE_H */
