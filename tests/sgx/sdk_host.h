/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sdk_host.h -- stand_in.h for a program of an SDK: the enclave is a file, one for each number of
 * thread contexts, in the folder that SHAPES_ENCLAVES names.
 *
 * Included once, by shapes_test.c behind the generated untrusted side.
 */
#ifndef SDK_HOST_H
#define SDK_HOST_H

#include "sgx_urts.h"

#include <stdio.h>
#include <stdlib.h>

static sgx_enclave_id_t g_eid;
#define EID g_eid

static void stand_in_start(unsigned tcs_count)
{
    sgx_launch_token_t token = {0};
    int updated = 0;
    char path[4096];
    const char *folder = getenv("SHAPES_ENCLAVES");
    (void)snprintf(path, sizeof path, "%s/shapes-%u.signed.so", folder != NULL ? folder : ".",
                   tcs_count);
    sgx_status_t status = sgx_create_enclave(path, SGX_DEBUG_FLAG, &token, &updated, &g_eid, NULL);
    if (status != SGX_SUCCESS) {
        fprintf(stderr, "sgx_create_enclave(%s): status 0x%04x\n", path, (unsigned)status);
        exit(1);
    }
}

static void stand_in_stop(void)
{
    (void)sgx_destroy_enclave(g_eid);
}

/* What is allocated inside is not known: as much as the test holds itself. */
static unsigned g_live_here;
#define stand_in_live() g_live_here

/* Memory inside: always the same. */
static void *stand_in_malloc(size_t size)
{
    uint64_t inside = 0;
    (void)size;
    g_live_here++;
    CHECK_EQ(e_inside(EID, &inside), SGX_SUCCESS);
    return (void *)(uintptr_t)inside;
}

static void stand_in_free(void *block)
{
    (void)block;
    g_live_here--;
}

#endif
