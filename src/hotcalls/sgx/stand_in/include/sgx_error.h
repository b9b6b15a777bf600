/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the SDK's header of this name: the statuses that generated code uses. */
#ifndef STAND_IN_SGX_ERROR_H
#define STAND_IN_SGX_ERROR_H

typedef enum _status_t {
    SGX_SUCCESS = 0x0000,
    SGX_ERROR_UNEXPECTED = 0x0001,
    SGX_ERROR_INVALID_PARAMETER = 0x0002,
    SGX_ERROR_OUT_OF_MEMORY = 0x0003,
    SGX_ERROR_ENCLAVE_LOST = 0x0004,
    SGX_ERROR_INVALID_STATE = 0x0005,
    SGX_ERROR_INVALID_FUNCTION = 0x1001,
    SGX_ERROR_OUT_OF_TCS = 0x1003,
    SGX_ERROR_ENCLAVE_CRASHED = 0x1006,
    SGX_ERROR_ECALL_NOT_ALLOWED = 0x1007,
} sgx_status_t;

#endif
