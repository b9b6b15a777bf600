/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the SDK's header of this name. */
#ifndef STAND_IN_SGX_TRTS_H
#define STAND_IN_SGX_TRTS_H

#include <stddef.h>

int sgx_is_within_enclave(const void *address, size_t size);
int sgx_is_outside_enclave(const void *address, size_t size);

#endif
