/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclave_runtime.h -- what the loader offers to the enclave's code and to its own main().
 *
 * Enclave side. The hc_enclave_* and hc_secret_* functions are declared in hotcalls_enclave.h.
 */
#ifndef HOTCALLS_ENCLAVE_RUNTIME_H
#define HOTCALLS_ENCLAVE_RUNTIME_H

#include "endpoint.h"
#include "hotcalls_enclave.h"

/* Where reports go from here on; until then failures can only be an exit status. */
void enclave_report_to(struct hc_header *u_header);
/* Tells the host why this enclave cannot start, and ends the process. */
_Noreturn void enclave_fail(enum hc_status status, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* From here on a fatal signal leaves a report of the call that it happened in. */
void enclave_report_faults(void);
/* Publishes the state and wakes the host that waits for it. */
void enclave_state(enum hc_state state);

struct wishes;
/* `stack_size` of the threads that run calls; 0: what C code needs. */
HC_NODISCARD enum hc_status enclave_runtime_init(uint8_t *u_base,
                                                 const struct hc_geometry *geometry,
                                                 const struct hc_interface *interface,
                                                 const struct wishes *wishes, size_t stack_size);
HC_NODISCARD enum hc_status enclave_runtime_start(void);
/* After enclave_runtime_init: an endpoint of the same kind on another channel. Starts nothing. */
HC_NODISCARD enum hc_status enclave_endpoint_init(struct endpoint *endpoint, uint8_t *u_base,
                                                  const struct hc_geometry *geometry,
                                                  const struct hc_interface *interface,
                                                  int notify_fd);

#endif /* HOTCALLS_ENCLAVE_RUNTIME_H */
