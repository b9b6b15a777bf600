/* SPDX-License-Identifier: Apache-2.0 */
/* token_host.h -- the two places where the other side may be: this process, or another. */
#ifndef HOTCALLS_TESTS_TOKEN_HOST_H
#define HOTCALLS_TESTS_TOKEN_HOST_H

#include "token.h"

struct token_options {
    uint32_t responders, ocall_responders;
    uint32_t idle_us, spin_us, take_us;
    uint32_t processors; /* one process only; 0: as many as there are */
    enum hc_mode mode;
    const char *image, *loader; /* processes only */
    const struct hc_interface *interface;
};

/* Defined by token_one_process.c and by token_processes.c. */
void token_start(const struct token_options *options);
struct hc_port *token_port(enum hc_status *status);
void token_stop(void);
const uint8_t *token_region(const struct hc_geometry **geometry);

#endif /* HOTCALLS_TESTS_TOKEN_HOST_H */
