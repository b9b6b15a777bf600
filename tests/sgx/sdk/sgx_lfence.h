/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the SDK's header of this name. Counts, so that a test sees a missing fence. */
#ifndef STAND_IN_SGX_LFENCE_H
#define STAND_IN_SGX_LFENCE_H

void sgx_lfence(void);

#endif
