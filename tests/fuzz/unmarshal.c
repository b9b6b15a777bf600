/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unmarshal.c -- the generated code of one side, and the headers below it, against a hostile peer.
 *
 * -DTRUSTED: the enclave takes requests of the host and answers of its ocalls apart; without it the
 * host does the same. Input: what the peer posts or what is called, then what the peer rewrites.
 *
 * Promised: memory is touched within windows, arguments and the shared region only; a private ecall
 * comes in only while an ocall allows it; what is not written by an answer is not changed by it.
 */
#include "every.h"

#ifdef TRUSTED
extern const struct hc_interface hc_enclave_interface;

struct hc_port *hc_enclave_port(void)
{
    return peer_port();
}

enum hc_status hc_enclave_port_error(void)
{
    return HC_ERR_ARGUMENT;
}
#else
struct hc_port *hc_host_port(hc_enclave *enclave)
{
    (void)enclave;
    return peer_port();
}

enum hc_status hc_host_port_error(hc_enclave *enclave)
{
    (void)enclave;
    return HC_ERR_ARGUMENT;
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
#ifdef TRUSTED
    peer_begin(HC_ENCLAVE, &hc_enclave_interface, data, size);
#else
    peer_begin(HC_HOST, &every_interface, data, size);
#endif
    g_calls_out = g_calls_made = 0;
    uint8_t how = input_u8(&g_input);
    if ((how & 1u) != 0) {
        call_out(how >> 1);
    } else {
        peer_post();
        (void)peer_serve();
    }
    PROMISE(g_calls_out == 0);
    return 0;
}
