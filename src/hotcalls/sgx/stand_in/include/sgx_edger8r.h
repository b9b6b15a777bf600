/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the SDK's header of this name: what generated code calls on both sides. */
#ifndef STAND_IN_SGX_EDGER8R_H
#define STAND_IN_SGX_EDGER8R_H

#include "sgx_error.h"

#include <stddef.h>
#include <stdint.h>

#define SGX_CDECL
#define SGX_NOCCONV
#define SGX_STDCALL
#define SGX_FASTCALL
#define SGX_DLLIMPORT
#define SGX_UBRIDGE(convention, name, parameters) convention name parameters
#ifdef __cplusplus
#define SGX_EXTERNC extern "C"
extern "C" {
#else
#define SGX_EXTERNC
#endif

typedef uint64_t sgx_enclave_id_t;

/* Untrusted. */
sgx_status_t sgx_ecall(const sgx_enclave_id_t eid, const int index, const void *ocall_table,
                       void *ms);
/* Trusted. */
sgx_status_t sgx_ocall(const unsigned int index, void *ms);
void *sgx_ocalloc(size_t size);
void sgx_ocfree(void);

#ifdef __cplusplus
}
#endif

#endif
