/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the SDK's header of this name: how a program loads its enclave. */
#ifndef STAND_IN_SGX_URTS_H
#define STAND_IN_SGX_URTS_H

#include "sgx_edger8r.h"

#define SGX_DEBUG_FLAG 1

#ifdef __cplusplus
extern "C" {
#endif

typedef uint8_t sgx_launch_token_t[1024];
typedef struct sgx_misc_attribute_t sgx_misc_attribute_t;

/* `file` is what sgx_sign wrote. Debug, token and attributes mean nothing here. */
sgx_status_t sgx_create_enclave(const char *file, const int debug, sgx_launch_token_t *token,
                                int *token_updated, sgx_enclave_id_t *eid,
                                sgx_misc_attribute_t *attributes);
sgx_status_t sgx_destroy_enclave(const sgx_enclave_id_t eid);

#ifdef __cplusplus
}
#endif

#endif
