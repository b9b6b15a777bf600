/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotcalls_enclave.h -- what the C code of an enclave may use besides its generated header.
 *
 * For the trusted side; the functions are in the loader, which resolves them when it loads the
 * enclave. By the time an ecall runs the process is locked down (docs/lock-down.md): no files, no
 * sockets, no new programs; memory, threads, time and randomness work.
 */
#ifndef HOTCALLS_ENCLAVE_H
#define HOTCALLS_ENCLAVE_H

#include <hotcalls/hotcalls.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HC_PUBLIC __attribute__((visibility("default")))

/* The port of the calling thread; NULL: hc_enclave_port_error() says why. */
HC_PUBLIC struct hc_port *hc_enclave_port(void);
HC_PUBLIC enum hc_status hc_enclave_port_error(void);

/*
 * Optional: defined by the enclave, run once after it was loaded and before lock-down is
 * complete, so it may still read files and start threads. Not 0: the launch fails with it.
 */
HC_PUBLIC int hc_enclave_start(void);

/*
 * Memory for secrets: not in the kernel's direct map, so not even root's /proc/PID/mem reads it,
 * where the kernel has memfd_secret; locked memory otherwise. Zeroed; 64-byte aligned. NULL when
 * the reservation (64 KiB) is used up. hc_secret_free wipes it.
 */
HC_PUBLIC void *hc_secret_alloc(size_t size);
HC_PUBLIC void hc_secret_free(void *pointer);
/* Is it memfd_secret memory? */
HC_PUBLIC bool hc_secret_is_hidden(void);

/* How this thread's ocalls are made from here on, and what its wait is bounded by (0: nothing). */
HC_PUBLIC enum hc_status hc_enclave_mode(enum hc_mode mode);
HC_PUBLIC enum hc_status hc_enclave_timeout(uint64_t ns);

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_ENCLAVE_H */
