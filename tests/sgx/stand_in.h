/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stand_in.h -- an enclave without the SDK: thread contexts are threads of this process, and
 * enclave memory is what they have on their stacks and what trusted code allocated.
 */
#ifndef STAND_IN_H
#define STAND_IN_H

#include "sgx_edger8r.h"
#include "sgx_trts.h"

#include <stdbool.h>

#define EID 7u

/* Brings up an enclave with so many thread contexts, and takes it down again. */
void stand_in_start(unsigned tcs_count);
void stand_in_stop(void);

/* Memory inside; a block is known to be inside until it is freed. */
void *stand_in_malloc(size_t size);
void stand_in_free(void *block);
/* Blocks inside that were not freed. */
unsigned stand_in_live(void);
/* Makes the next allocation inside fail. */
void stand_in_fail_next(void);

/* Was a pointer found to be outside, and no fence since? Asked by trusted functions. */
bool stand_in_unfenced(void);
/* Bytes that sgx_ocalloc gave out last, and the ocalls that went by sgx_ocall. */
size_t stand_in_ocalloc_size(void);
unsigned stand_in_ocalls(void);
unsigned stand_in_ecalls(void);

/* What the untrusted side does to the marshalling struct of an ocall afterwards; NULL: nothing. */
extern void (*g_stand_in_hostile)(unsigned index, void *ms);

#endif
