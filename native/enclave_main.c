/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclave_main.c -- the program that a process enclave of C code is.
 *
 * Enclave side. Started by host_spawn.c with an empty environment and these descriptors:
 *
 *     1, 2  the log   3  the channel   4  the enclave's shared object, sealed
 *     5     a pidfd of the host   6  a pipe that the host holds open while it wants us
 *     7     an eventfd that tells the host that calls which nobody spins for are done
 *
 * main() reads top to bottom as the life of an enclave: harden, load, lock down, serve, end with
 * the host. Nothing of the user's runs before sandbox_harden(), and no call is served before
 * sandbox_verify() has seen that the lock-down holds. The host is trusted until READY is set.
 */
#define _GNU_SOURCE
#include "enclave_start.h"
#include "sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

/* Loads the shared object and checks that it is what the host thinks it is. */
static const struct hc_interface *load_enclave(const struct hc_geometry *geometry)
{
    static const uint8_t any[HC_DIGEST_SIZE];
    void *object = dlopen("/proc/self/fd/4", RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        enclave_fail(HC_ERR_OS, 0, "loading the enclave: %s", dlerror());
    const struct hc_interface *interface = dlsym(object, "hc_enclave_interface");
    if (interface == NULL)
        enclave_fail(HC_ERR_INTERFACE, 0,
                     "this file is not an enclave: it does not define hc_enclave_interface; make "
                     "it with `hotcalls build`");
    if (interface->abi != HC_ABI)
        enclave_fail(HC_ERR_ABI, 0,
                     "the enclave was built for ABI %u, this loader has ABI %u: build it again",
                     interface->abi, HC_ABI);
    if (interface->layout != HC_LAYOUT)
        enclave_fail(HC_ERR_ABI, 0,
                     "the enclave was built with the headers of another version of hotcalls: build "
                     "it again");
    if (memcmp(geometry->digest, any, sizeof any) != 0 &&
        memcmp(geometry->digest, interface->digest, sizeof any) != 0)
        enclave_fail(HC_ERR_INTERFACE, 0,
                     "the enclave was built from another EDL file than its host: build both again");
    int (*start)(void) = (int (*)(void))(uintptr_t)dlsym(object, "hc_enclave_start");
    if (start != NULL) {
        int result = start();
        if (result != 0)
            enclave_fail(HC_ERR_CALLEE, 0, "hc_enclave_start() returned %d", result);
    }
    return interface;
}

int main(int argc, char **argv)
{
    struct wishes wishes;
    uint8_t *u_base;

    enclave_read_wishes(argc, argv, &wishes);
    struct hc_geometry geometry = enclave_harden(&wishes, FD_DONE + 1u - FD_CHANNEL, &u_base);

    const struct hc_interface *interface = load_enclave(&geometry);
    enum hc_status status = enclave_runtime_init(u_base, &geometry, interface, &wishes, 0);
    if (status != HC_OK)
        enclave_fail(status, errno, "setting up: %s", hc_status_text(status));

    enclave_lock(SANDBOX_CORE, wishes.insecure_debug != 0);

    status = enclave_runtime_start();
    if (status != HC_OK)
        enclave_fail(status, errno, "starting threads: %s", strerror(errno));
    enclave_state(HC_STATE_READY);
    enclave_outlive_nobody();
}
