/* SPDX-License-Identifier: Apache-2.0 */
/*
 * urts.c -- stand-in for the untrusted runtime of the SDK (libsgx_urts): loads the files of
 * enclaves into this process and enters them. See stand_in.h.
 */
#define _GNU_SOURCE
#include "stand_in.h"

#include "sgx_urts.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENCLAVES_MAX 16u

struct enclave {
    sgx_enclave_id_t eid; /* 0: free; under g_mutex */
    void *file;
    int copy; /* a descriptor of what is loaded */
    stand_in_entry *entry;
    unsigned tcs_count;
    uint8_t *areas;
    bool taken[STAND_IN_TCS_MAX]; /* atomic: a thread is inside through it */
};

/* The ecall that this thread is in; of an ocall, the one that made it. */
struct place {
    struct enclave *enclave;
    unsigned tcs;
};

static struct enclave g_enclaves[ENCLAVES_MAX];
static sgx_enclave_id_t g_last;
static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static __thread struct place g_place;

/*
 * A copy of its own, so that the same file can be loaded twice. Its descriptor stays open: the
 * loader takes a file for one that it has when it has the same path.
 */
static sgx_status_t load(struct enclave *enclave, int file)
{
    struct stand_in_signature signature;
    struct stat status;
    char path[64];
    if (fstat(file, &status) != 0 ||
        pread(file, &signature, sizeof signature, status.st_size - (off_t)sizeof signature) !=
            (ssize_t)sizeof signature ||
        memcmp(signature.magic, STAND_IN_MAGIC, sizeof signature.magic) != 0 ||
        signature.tcs_count == 0 || signature.tcs_count > STAND_IN_TCS_MAX)
        return SGX_ERROR_INVALID_ENCLAVE;
    int copy = memfd_create("enclave", MFD_CLOEXEC);
    if (copy < 0)
        return SGX_ERROR_OUT_OF_MEMORY;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
    enclave->copy = copy;
    bool copied = sendfile(copy, file, NULL, (size_t)status.st_size) == status.st_size;
    enclave->file = copied ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (copied && enclave->file == NULL)
        fprintf(stderr, "stand-in for the SGX SDK: %s\n", dlerror());
    if (enclave->file == NULL) {
        (void)close(copy);
        return SGX_ERROR_INVALID_ENCLAVE;
    }
    enclave->entry = (stand_in_entry *)(uintptr_t)dlsym(enclave->file, "enclave_entry");
    enclave->tcs_count = (unsigned)signature.tcs_count;
    enclave->areas = mmap(NULL, STAND_IN_TCS_MAX * STAND_IN_AREA, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(enclave->taken, 0, sizeof enclave->taken);
    return enclave->entry == NULL || enclave->areas == MAP_FAILED ? SGX_ERROR_INVALID_ENCLAVE
                                                                  : SGX_SUCCESS;
}

sgx_status_t sgx_create_enclave(const char *name, const int debug, sgx_launch_token_t *token,
                                int *token_updated, sgx_enclave_id_t *eid,
                                sgx_misc_attribute_t *attributes)
{
    (void)debug;
    (void)token;
    (void)token_updated;
    (void)attributes;
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return SGX_ERROR_ENCLAVE_FILE_ACCESS;
    sgx_status_t status = SGX_ERROR_OUT_OF_MEMORY;
    (void)pthread_mutex_lock(&g_mutex);
    for (unsigned i = 0; i < ENCLAVES_MAX; i++) {
        struct enclave *enclave = &g_enclaves[i];
        if (enclave->eid != 0)
            continue;
        status = load(enclave, file);
        if (status == SGX_SUCCESS) {
            enclave->eid = ++g_last;
            *eid = enclave->eid;
        }
        break;
    }
    (void)pthread_mutex_unlock(&g_mutex);
    (void)close(file);
    return status;
}

static struct enclave *find(sgx_enclave_id_t eid)
{
    for (unsigned i = 0; eid != 0 && i < ENCLAVES_MAX; i++)
        if (__atomic_load_n(&g_enclaves[i].eid, __ATOMIC_RELAXED) == eid)
            return &g_enclaves[i];
    return NULL;
}

sgx_status_t sgx_destroy_enclave(const sgx_enclave_id_t eid)
{
    (void)pthread_mutex_lock(&g_mutex);
    struct enclave *enclave = find(eid);
    if (enclave != NULL) {
        (void)dlclose(enclave->file);
        (void)close(enclave->copy);
        (void)munmap(enclave->areas, STAND_IN_TCS_MAX * STAND_IN_AREA);
        enclave->eid = 0;
    }
    (void)pthread_mutex_unlock(&g_mutex);
    return enclave != NULL ? SGX_SUCCESS : SGX_ERROR_INVALID_ENCLAVE_ID;
}

/* SYNC: acquire pairs with the release in sgx_ecall, taken; publishes the thread context. */
static bool take(struct enclave *enclave, unsigned *tcs)
{
    for (unsigned i = 0; i < enclave->tcs_count; i++) {
        if (!__atomic_test_and_set(&enclave->taken[i], __ATOMIC_ACQUIRE)) {
            *tcs = i;
            return true;
        }
    }
    return false;
}

sgx_status_t sgx_ecall(const sgx_enclave_id_t eid, const int index, const void *ocall_table,
                       void *ms)
{
    struct enclave *enclave = find(eid);
    struct place outer = g_place;
    unsigned tcs = outer.tcs;
    if (enclave == NULL)
        return SGX_ERROR_INVALID_ENCLAVE_ID;
    bool nested = outer.enclave == enclave;
    if (!nested && !take(enclave, &tcs))
        return SGX_ERROR_OUT_OF_TCS;
    struct stand_in_call call = {
        tcs, nested, index, ocall_table, ms, enclave->areas + tcs * STAND_IN_AREA};
    g_place = (struct place){enclave, tcs};
    sgx_status_t status = (sgx_status_t)enclave->entry(&call);
    g_place = outer;
    if (!nested)
        __atomic_clear(&enclave->taken[tcs], __ATOMIC_RELEASE);
    return status;
}
