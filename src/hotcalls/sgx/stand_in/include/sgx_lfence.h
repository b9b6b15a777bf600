/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the SDK's header of this name. */
#ifndef STAND_IN_SGX_LFENCE_H
#define STAND_IN_SGX_LFENCE_H

#define sgx_lfence __builtin_ia32_lfence

#endif
