/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_program.h -- launching an enclave whose program is not hotcalls-enclave: an interpreter.
 *
 * Untrusted side; for the Python extension. The program has to go through the steps of
 * enclave_start.h by itself. It is started with the words of `argv` and then what the launch
 * options say (`responders=2` and so on), and with these descriptors besides the usual ones:
 *
 *     8   the paper: a file in which it describes itself, or says why it could not start
 *     9…  `fds`
 */
#ifndef HOTCALLS_HOST_PROGRAM_H
#define HOTCALLS_HOST_PROGRAM_H

#include "hotcalls_host.h"

/* At most so much of the paper is read. */
#define HC_PAPER_MAX ((size_t)8 << 20)

struct hc_program {
    char *const *argv; /* begins with the program's name; ends with NULL */
    const int *fds;
    size_t fd_count;
    /* It does not run from a copy without a name: start the file itself. Then there is a gap before
     * sandbox_harden() in which the same user can look in. */
    bool by_path;
    /*
     * Called once, by the launching thread, with a private copy of what the enclave wrote (NULL
     * when it wrote nothing): untrusted bytes. `ready`: it serves, and *interface has to become
     * what both sides call; anything but HC_OK fails the launch. Otherwise it has failed, and
     * they say why; what is returned is not used.
     */
    enum hc_status (*described)(void *context, bool ready, const uint8_t *bytes, size_t size,
                                const struct hc_interface **interface);
    void *context;
};

#endif /* HOTCALLS_HOST_PROGRAM_H */
