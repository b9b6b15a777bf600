/* SPDX-License-Identifier: Apache-2.0 */
/* hotcalls_enclave.h -- test double of the enclave's runtime: one port, set by the test. */
#ifndef DOUBLE_ENCLAVE_H
#define DOUBLE_ENCLAVE_H

#include <hotcalls/interface.h>

struct hc_port;
struct hc_port *hc_enclave_port(void);
enum hc_status hc_enclave_port_error(void);

#endif /* DOUBLE_ENCLAVE_H */
