/* SPDX-License-Identifier: Apache-2.0 */
/*
 * double.c -- test double of the runtime: the port of this side, and how calls reach it.
 *
 * Compiled into the shared object of each side, with -DDOUBLE_TRUSTED for the enclave's.
 */
#include <hotcalls/marshal.h>
#include <hotcalls_enclave.h>
#include <hotcalls_host.h>

int double_serve(uint32_t id, void *ms, size_t ms_size, void *area, size_t size);
void double_connect(double_transport *transport, uint8_t *shared, size_t shared_size);

#ifdef DOUBLE_TRUSTED
extern const struct hc_interface hc_enclave_interface;
#define FUNCTIONS hc_enclave_interface.ecalls
#define COUNT hc_enclave_interface.ecall_count
#else
extern const struct hc_interface DOUBLE_INTERFACE;
#define FUNCTIONS DOUBLE_INTERFACE.ocalls
#define COUNT DOUBLE_INTERFACE.ocall_count
#endif

static struct hc_port g_port;

void double_connect(double_transport *transport, uint8_t *shared, size_t shared_size)
{
    g_port.transport = transport;
    g_port.shared = shared;
    g_port.shared_size = shared_size;
}

int double_serve(uint32_t id, void *ms, size_t ms_size, void *area, size_t size)
{
    struct hc_frame frame = {
        .port = &g_port, .ms = ms, .ms_size = ms_size, .area = area, .size = size};
    enum hc_status status;

    if (id >= COUNT)
        return HC_ERR_UNKNOWN_CALL;
    status = FUNCTIONS[id].bridge(&frame);
    for (size_t i = 0; i < frame.memory_count; i++)
        free(frame.memory[i]);
    return status;
}

#ifdef DOUBLE_TRUSTED
struct hc_port *hc_enclave_port(void)
{
    return g_port.transport != NULL ? &g_port : NULL;
}

enum hc_status hc_enclave_port_error(void)
{
    return HC_ERR_ARGUMENT;
}
#else
struct hc_port *hc_host_port(hc_enclave *enclave)
{
    (void)enclave;
    return g_port.transport != NULL ? &g_port : NULL;
}

enum hc_status hc_host_port_error(hc_enclave *enclave)
{
    (void)enclave;
    return HC_ERR_ARGUMENT;
}
#endif
