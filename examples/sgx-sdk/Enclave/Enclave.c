/* SPDX-License-Identifier: Apache-2.0 */
/* Enclave.c -- the trusted functions. Nothing here knows which calls are hot. */
#include "Enclave_t.h"

uint64_t ecall_add(uint64_t a, uint64_t b)
{
    return a + b;
}

uint64_t ecall_add_hot(uint64_t a, uint64_t b)
{
    return a + b;
}

uint64_t ecall_make_ocalls(int hot, uint64_t count)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t sum = 0;
        sgx_status_t status = hot ? ocall_add_hot(&sum, i, 7) : ocall_add(&sum, i, 7);
        /* The host may answer anything: here the answer is compared, elsewhere it is not believed. */
        wrong += status != SGX_SUCCESS || sum != i + 7u;
    }
    return wrong;
}
