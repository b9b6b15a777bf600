/* SPDX-License-Identifier: Apache-2.0 */
/* hotcalls_host.h -- test double of the host's runtime: one port, set by the test. */
#ifndef DOUBLE_HOST_H
#define DOUBLE_HOST_H

#include <hotcalls/interface.h>

typedef struct hc_enclave hc_enclave;
struct hc_port;
struct hc_port *hc_host_port(hc_enclave *enclave);
enum hc_status hc_host_port_error(hc_enclave *enclave);

#endif /* DOUBLE_HOST_H */
