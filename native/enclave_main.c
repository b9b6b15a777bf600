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
#include "enclave_runtime.h"
#include "sandbox.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FD_LOG = 2, FD_CHANNEL = 3, FD_IMAGE = 4, FD_HOST = 5, FD_LIFE = 6, FD_DONE = 7 };

/* What the host asked for. Trusted: it is the host at launch. */
struct wishes {
    uint32_t responders, mode, idle_us, spin_us, take_us;
    uint32_t insecure_debug, insecure_user_namespace;
};

static void read_wishes(int argc, char **argv, struct wishes *wishes)
{
    const struct {
        const char *name;
        uint32_t *value;
    } known[] = {
        {"responders=", &wishes->responders},
        {"mode=", &wishes->mode},
        {"idle_us=", &wishes->idle_us},
        {"spin_us=", &wishes->spin_us},
        {"take_us=", &wishes->take_us},
        {"insecure_debug=", &wishes->insecure_debug},
        {"insecure_user_namespace=", &wishes->insecure_user_namespace},
    };
    memset(wishes, 0, sizeof *wishes);
    wishes->responders = 1;
    for (int i = 1; i < argc; i++)
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
            if (strncmp(argv[i], known[k].name, strlen(known[k].name)) == 0)
                *known[k].value = (uint32_t)strtoul(argv[i] + strlen(known[k].name), NULL, 10);
}

/* Maps the channel and checks its shape against its real size. */
static struct hc_geometry map_channel(uint8_t **u_base)
{
    struct hc_geometry geometry;
    struct stat status;
    if (fstat(FD_CHANNEL, &status) != 0 || status.st_size < (off_t)sizeof(struct hc_header)) {
        static const char text[] = "hotcalls-enclave is started by hotcalls.launch() or "
                                   "hc_launch(), not by hand\n";
        (void)!write(FD_LOG, text, sizeof text - 1u);
        _exit(2);
    }
    size_t size = (size_t)status.st_size;
    void *region =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, FD_CHANNEL, 0);
    if (region == MAP_FAILED)
        _exit(3);
    *u_base = region;
    hc_copy_in(&geometry, region, sizeof geometry);
    enclave_report_to((struct hc_header *)region);
    enum hc_status fits = hc_geometry_check(&geometry, size);
    if (fits != HC_OK)
        enclave_fail(fits, 0, "the channel was made by another version of hotcalls (ABI %u here)",
                     HC_ABI);
    return geometry;
}

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

static void fail_lockdown(const struct sandbox_error *error)
{
    char text[480];
    enclave_fail(HC_ERR_LOCKDOWN, error->err, "%s", sandbox_error_format(error, text, sizeof text));
}

static void lock_down(uint8_t *u_base, uint64_t region_size, bool insecure_debug)
{
    struct sandbox_error error;
    struct sandbox_mapping_report mapped;
    struct sandbox_lock_report locked;
    const struct sandbox_range channel = {(uintptr_t)u_base, (uintptr_t)u_base + region_size};
    const struct sandbox_mapping_options mappings = {
        .keep = &channel, .keep_count = 1, .trust_root_files = true};
    const struct sandbox_policy policy = {
        .groups = SANDBOX_CORE,
        .write_fds = {1, FD_LOG, FD_DONE},
        .write_fd_count = 3,
        .poll_fds = {FD_HOST, FD_LIFE},
        .poll_fd_count = 2,
        .insecure_debug = insecure_debug,
    };
    if (sandbox_anonymize_mappings(&mappings, &mapped, &error) != 0 ||
        sandbox_lock(&policy, &locked, &error) != 0 || sandbox_verify(&policy, &error) != 0)
        fail_lockdown(&error);
}

/* Blocks until the host has ended or does not want us any more. */
static void outlive_nobody(void)
{
    struct pollfd watched[] = {{FD_HOST, POLLIN, 0}, {FD_LIFE, POLLIN, 0}};
    while (poll(watched, 2, -1) <= 0)
        ;
    _exit(0);
}

int main(int argc, char **argv)
{
    static const int keep[] = {1, FD_LOG, FD_CHANNEL, FD_IMAGE, FD_HOST, FD_LIFE, FD_DONE};
    struct wishes wishes;
    struct sandbox_error error;
    struct sandbox_secret_status secret;
    uint8_t *u_base;

    read_wishes(argc, argv, &wishes);
    /* Run from a memfd, it would be called memfd:hotcalls- by ps. */
    (void)prctl(PR_SET_NAME, "hotcalls-enclave");
    const struct sandbox_harden_options harden = {
        .keep_fds = keep,
        .keep_fd_count = sizeof keep / sizeof keep[0],
        .insecure_debug = wishes.insecure_debug != 0,
        .insecure_user_namespace = wishes.insecure_user_namespace != 0,
    };
    int hardened = sandbox_harden(&harden, &error);
    struct hc_geometry geometry = map_channel(&u_base);
    if (hardened != 0 || sandbox_secret_reserve(64u * 1024u, &secret, &error) != 0)
        fail_lockdown(&error);
    enclave_report_faults();

    const struct hc_interface *interface = load_enclave(&geometry);
    enum hc_status status = enclave_runtime_init(u_base, &geometry, interface, wishes.responders,
                                                 (enum hc_mode)wishes.mode, wishes.idle_us,
                                                 wishes.spin_us, wishes.take_us, FD_DONE);
    if (status != HC_OK)
        enclave_fail(status, errno, "setting up: %s", hc_status_text(status));

    lock_down(u_base, geometry.total_size, wishes.insecure_debug != 0);

    status = enclave_runtime_start();
    if (status != HC_OK)
        enclave_fail(status, errno, "starting threads: %s", strerror(errno));
    enclave_state(HC_STATE_READY);
    outlive_nobody();
}
