/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enclave_start.c -- hardening, locking and ending an enclave, whatever code it runs.
 *
 * Enclave side. The host is trusted until READY is set.
 */
#define _GNU_SOURCE
#include "enclave_start.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_SIZE ((size_t)64 * 1024)

void enclave_read_wishes(int argc, char *const *argv, struct wishes *wishes)
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
    for (int i = 0; i < argc; i++)
        for (size_t k = 0; k < sizeof known / sizeof known[0]; k++)
            if (strncmp(argv[i], known[k].name, strlen(known[k].name)) == 0)
                *known[k].value = (uint32_t)strtoul(argv[i] + strlen(known[k].name), NULL, 10);
}

/* What outlives the lock-down besides the log and the host's descriptors. */
static struct sandbox_range g_channels[1u + ENCLAVE_CLIENTS_MAX];
static int g_notify_fds[1u + ENCLAVE_CLIENTS_MAX];
static uint32_t g_channel_count;

/* Maps a channel and checks its shape against its real size. */
static struct hc_geometry map_channel(int channel, int done, uint8_t **u_base)
{
    struct hc_geometry geometry;
    struct stat status;
    if (fstat(channel, &status) != 0 || status.st_size < (off_t)sizeof(struct hc_header)) {
        static const char text[] = "hotcalls-enclave is started by hotcalls.launch() or "
                                   "hc_launch(), not by hand\n";
        (void)!write(FD_LOG, text, sizeof text - 1u);
        _exit(2);
    }
    size_t size = (size_t)status.st_size;
    void *region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, channel, 0);
    if (region == MAP_FAILED)
        _exit(3);
    *u_base = region;
    hc_copy_in(&geometry, region, sizeof geometry);
    if (g_channel_count == 0)
        enclave_report_to((struct hc_header *)region);
    enum hc_status fits = hc_geometry_check(&geometry, size);
    if (fits != HC_OK)
        enclave_fail(fits, 0, "the channel was made by another version of hotcalls (ABI %u here)",
                     HC_ABI);
    g_channels[g_channel_count] =
        (struct sandbox_range){(uintptr_t)region, (uintptr_t)region + geometry.total_size};
    g_notify_fds[g_channel_count++] = done;
    return geometry;
}

struct hc_geometry enclave_map_client(int channel, int done, uint8_t **u_base)
{
    if (g_channel_count > ENCLAVE_CLIENTS_MAX)
        enclave_fail(HC_ERR_ARGUMENT, 0, "an enclave has at most %u clients", ENCLAVE_CLIENTS_MAX);
    return map_channel(channel, done, u_base);
}

static _Noreturn void fail_lockdown(const struct sandbox_error *error)
{
    char text[480];
    enclave_fail(HC_ERR_LOCKDOWN, error->err, "%s", sandbox_error_format(error, text, sizeof text));
}

/*
 * The kernel ends us when the host no longer holds the pipe: whatever we do, and whatever disturbs
 * the thread that watches the host once we have started. The lock-down has no fcntl that would
 * undo it; a Python enclave may close the pipe, and then has that thread alone.
 */
static void end_with_pipe(void)
{
    struct pollfd life = {FD_LIFE, POLLIN, 0};
    if (fcntl(FD_LIFE, F_SETSIG, SIGKILL) != 0 || fcntl(FD_LIFE, F_SETOWN, getpid()) != 0 ||
        fcntl(FD_LIFE, F_SETFL, O_ASYNC) != 0)
        enclave_fail(HC_ERR_OS, errno, "the pipe to the host: %s", strerror(errno));
    /* It may be too late for a signal. */
    if (poll(&life, 1, 0) != 0)
        _exit(0);
}

struct hc_geometry enclave_harden(const struct wishes *wishes, unsigned fd_count, uint8_t **u_base)
{
    struct sandbox_error error;
    struct sandbox_secret_status secret;
    int keep[ENCLAVE_FDS_MAX];
    size_t count = 0;
    keep[count++] = 1;
    keep[count++] = FD_LOG;
    for (unsigned i = 0; i < fd_count && count < ENCLAVE_FDS_MAX; i++)
        keep[count++] = FD_CHANNEL + (int)i;
    const struct sandbox_harden_options harden = {
        .keep_fds = keep,
        .keep_fd_count = count,
        .insecure_debug = wishes->insecure_debug != 0,
        .insecure_user_namespace = wishes->insecure_user_namespace != 0,
    };
    int hardened = sandbox_harden(&harden, &error);
    /* Run from a memfd, it would be called memfd:hotcalls- by ps. */
    (void)prctl(PR_SET_NAME, "hotcalls-enclave");
    struct hc_geometry geometry = map_channel(FD_CHANNEL, FD_DONE, u_base);
    if (hardened != 0 || sandbox_secret_reserve(SECRET_SIZE, &secret, &error) != 0)
        fail_lockdown(&error);
    end_with_pipe();
    enclave_report_faults();
    return geometry;
}

void enclave_lock(uint32_t groups, bool insecure_debug)
{
    struct sandbox_error error;
    struct sandbox_mapping_report mapped;
    struct sandbox_lock_report locked;
    const struct sandbox_mapping_options mappings = {
        .keep = g_channels, .keep_count = g_channel_count, .trust_root_files = true};
    struct sandbox_policy policy = {
        .groups = groups,
        .write_fds = {1, FD_LOG},
        .write_fd_count = 2,
        .poll_fds = {FD_HOST, FD_LIFE},
        .poll_fd_count = 2,
        .insecure_debug = insecure_debug,
    };
    for (uint32_t i = 0; i < g_channel_count; i++)
        policy.write_fds[policy.write_fd_count++] = g_notify_fds[i];
    if (sandbox_anonymize_mappings(&mappings, &mapped, &error) != 0 ||
        sandbox_lock(&policy, &locked, &error) != 0 || sandbox_verify(&policy, &error) != 0)
        fail_lockdown(&error);
}

void enclave_outlive_nobody(void)
{
    struct pollfd watched[] = {{FD_HOST, POLLIN, 0}, {FD_LIFE, POLLIN, 0}};
    /* Somebody of the same user may take our limit of descriptors down to none (prlimit): then poll
     * fails with EINVAL from there on. Not being able to watch the host is the end, too. */
    while (poll(watched, 2, -1) < 0 && errno == EINTR)
        ;
    _exit(0);
}
