/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotcalls_host.h -- launching process enclaves from a C program.
 *
 * For the untrusted side. Link with libhotcalls_host.a and -pthread. Generated proxies (vault_u.h)
 * stand on hc_host_port(); everything else a program needs is here.
 *
 * A process enclave is not SGX: the kernel and root are trusted, and so is this process until
 * hc_launch() has returned. What takes this process over later cannot reach into the enclave.
 */
#ifndef HOTCALLS_HOST_H
#define HOTCALLS_HOST_H

#include <hotcalls/hotcalls.h>

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hc_enclave hc_enclave;

/* What went wrong, for people. Private memory; the text is cleaned of control characters. */
struct hc_error {
    enum hc_status status;
    int error;       /* errno, or 0 */
    int signal;      /* the signal that ended the enclave, or 0 */
    int exit_status; /* of an enclave that exited, or -1 */
    char text[512];
};

struct hc_program;

struct hc_launch_options {
    /* The enclave: a file made by `hotcalls build`, or its bytes. */
    const char *path;
    const void *image;
    size_t image_size;
    /* The hotcalls-enclave program; NULL: $HOTCALLS_LOADER, or the place it was installed in. */
    const char *loader;
    /* The generated NAME_interface: the bridges of the ocalls, and the digest to insist on. */
    const struct hc_interface *interface;
    bool any_interface;  /* do not compare digests: the interface was read from the image itself */
    void *user_data;     /* hc_user_data() of a frame's port gives it back to bridges */
    enum hc_mode mode;   /* HC_MODE_DEFAULT is hot */
    uint32_t responders; /* inside, for ecalls; default 1 */
    uint32_t ocall_responders; /* outside, for ocalls that no thread waits for; default 1 */
    uint32_t slots;            /* for threads of this process; default 48 */
    uint32_t enclave_slots;    /* for threads that the enclave starts; default 16 */
    uint32_t cells;            /* calls in flight per thread; a power of two; default 32 */
    uint64_t window_size;      /* bytes per thread and direction; default 64 KiB */
    uint64_t shared_size;      /* bytes for hc_shared_alloc; default 4 MiB, untouched until used */
    uint32_t idle_us;          /* a responder without work spins this long; default 200 */
    uint32_t spin_us;          /* a caller spins this long for an answer; default 50 */
    uint32_t take_us;          /* a hot call that nobody takes is withdrawn after; default 10 */
    uint32_t timeout_ms;       /* for the launch itself; default 10000 */
    /* Privileged hosts: run it as this user and group (0: as this process). */
    uid_t user;
    gid_t group;
    int log_fd;          /* what the enclave may write to (its stdout and stderr); -1: stderr */
    bool insecure_debug; /* let debuggers and core dumps at it */
    /* Accept a user namespace of somebody else's (rootless containers): its owner can read it. */
    bool insecure_user_namespace;
    /* Asked after each interrupted or timed-out sleep of a wait; true gives the call up. */
    bool (*interrupted)(void *context);
    /* Of the Python extension: `loader` is another program. NULL otherwise. */
    const struct hc_program *program;
};

/* Fills in the defaults. Always call it first: fields may be added. */
void hc_launch_defaults(struct hc_launch_options *options);

/*
 * Starts an enclave and returns when it is locked down and serves. Blocks for some 10 ms. May be
 * called by any thread; the enclave lives until hc_close() or the end of this process, whichever
 * thread launched it. On failure *error says why and nothing is left behind.
 */
HC_NODISCARD enum hc_status hc_launch(const struct hc_launch_options *options, hc_enclave **enclave,
                                      struct hc_error *error);

/*
 * Ends the enclave and returns when its process is gone; secrets inside go with it. Calls in
 * progress in other threads return HC_ERR_CLOSED; a thread that runs an ocall is waited for. The
 * pointer stays valid, for hc_why() and calls that fail, until hc_close(). Not from inside an
 * ocall of this enclave. Of two threads that call it the second returns at once.
 */
void hc_shutdown(hc_enclave *enclave);
/* hc_shutdown(), then frees. No thread may use the pointer any more. */
void hc_close(hc_enclave *enclave);

/*
 * The port through which the calling thread calls; NULL when there is none, and then
 * hc_host_port_error() says why (HC_ERR_FORKED in a child of the process that launched it).
 */
struct hc_port *hc_host_port(hc_enclave *enclave);
enum hc_status hc_host_port_error(hc_enclave *enclave);

/* How calls are made: of one function, by all threads; of all functions, by this thread. */
HC_NODISCARD enum hc_status hc_set_mode(hc_enclave *enclave, uint32_t id, enum hc_mode mode);
HC_NODISCARD enum hc_status hc_thread_mode(hc_enclave *enclave, enum hc_mode mode);
/* Calls of this thread fail with HC_ERR_TIMEOUT after so long; 0: never. */
HC_NODISCARD enum hc_status hc_thread_timeout(hc_enclave *enclave, uint64_t ns);

/*
 * Memory in the channel, 64-byte aligned, for user_check parameters: both sides see every write
 * at once, so what the enclave reads from it may change under its hands. NULL: none is left.
 */
void *hc_shared_alloc(hc_enclave *enclave, size_t size);
void hc_shared_free(hc_enclave *enclave, void *pointer);

/* The enclave's process id. */
pid_t hc_pid(const hc_enclave *enclave);
/* Wakes every responder inside, ahead of a burst. Costs what waking cores costs. */
void hc_wake_responders(hc_enclave *enclave);
/* Why the enclave cannot be called any more, or HC_OK. */
enum hc_status hc_why(hc_enclave *enclave, struct hc_error *error);
/* The launch's user_data, for bridges. */
void *hc_user_data(const struct hc_port *port);
/*
 * The mapped region, for reading statistics (channel.h). Everything in it is untrusted. NULL in a
 * forked child, where it is not mapped.
 */
const struct hc_geometry *hc_region(const hc_enclave *enclave, const uint8_t **u_base);
uint64_t hc_cycles_per_us(void);

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_HOST_H */
