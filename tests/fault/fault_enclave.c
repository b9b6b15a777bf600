/* SPDX-License-Identifier: Apache-2.0 */
/* fault_enclave.c -- an enclave that ends, hangs or gives up in the ways that it is told to. */
#include "fault.h"

#include <hotcalls_enclave.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void die(uint64_t way)
{
    switch (way) {
    case BY_KILL:
        (void)raise(SIGKILL);
        break;
    case BY_SEGV: {
        volatile int *nowhere = NULL;
        __asm__("" : "+r"(nowhere));
        *nowhere = 1;
        break;
    }
    case BY_EXIT:
        _exit(3);
    case BY_ABORT:
        abort();
    default:
        break;
    }
}

static enum hc_status f_ping(struct hc_frame *frame)
{
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    ms.b = ms.a + 1u;
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

static enum hc_status f_die(struct hc_frame *frame)
{
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    if (ms.b == ALONE || ms.b == BEFORE_OCALL)
        die(ms.a);
    uint32_t id = ms.b == DURING_OCALL ? G_KILL : G_PING;
    struct hc_port *port = hc_enclave_port();
    if (port == NULL)
        return hc_enclave_port_error();
    status = fault_call(port, id, 1, 0, NULL);
    if (ms.b == AFTER_OCALL)
        die(ms.a);
    return status;
}

static enum hc_status f_forever(struct hc_frame *frame)
{
    (void)frame;
    const struct timespec second = {1, 0};
    for (;;)
        (void)nanosleep(&second, NULL);
    return HC_OK;
}

static enum hc_status f_spin_us(struct hc_frame *frame)
{
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    for (uint64_t end = hc_tsc() + ms.a * 2000u; hc_tsc() < end;)
        hc_pause();
    return hc_frame_close(frame, &ms, sizeof ms);
}

/* Makes the ocall that it is told to. */
static enum hc_status f_ocall(struct hc_frame *frame)
{
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    struct hc_port *port = hc_enclave_port();
    if (status != HC_OK || port == NULL)
        return HC_ERR_CALLEE;
    return fault_call(port, (uint32_t)ms.a, 1, 0, NULL);
}

/* Gives an ocall up after 20 ms, and returns while that runs on. */
static enum hc_status f_orphan(struct hc_frame *frame)
{
    (void)frame;
    enum hc_status status = hc_enclave_timeout(20000000);
    struct hc_port *port = hc_enclave_port();
    if (status != HC_OK || port == NULL)
        return HC_ERR_CALLEE;
    status = fault_call(port, G_CALL_IN, 1, 0, NULL);
    port->timeout = 0;
    return status == HC_ERR_TIMEOUT ? HC_OK : HC_ERR_CALLEE;
}

/* Of two ocalls that are not answered it gives up each, after 20 ms; tells how many it has. */
static enum hc_status f_patience(struct hc_frame *frame)
{
    static uint64_t given_up;
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    for (uint64_t i = 0; i < ms.a && status == HC_OK; i++) {
        struct hc_port *port =
            i == 0 && hc_enclave_timeout(20000000) != HC_OK ? NULL : hc_enclave_port();
        if (port == NULL || fault_call(port, G_BLOCK, 1, 0, NULL) != HC_ERR_TIMEOUT)
            return HC_ERR_CALLEE;
        (void)__atomic_add_fetch(&given_up, 1u, __ATOMIC_SEQ_CST);
    }
    ms.b = __atomic_load_n(&given_up, __ATOMIC_SEQ_CST);
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

/* Has it end at its n-th new step from here on; in a loader of step_deaths.c alone. */
extern void step_arm(uint64_t n) __attribute__((weak));

static enum hc_status f_arm(struct hc_frame *frame)
{
    struct fault_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status == HC_OK && step_arm != NULL)
        step_arm(ms.a);
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

static const struct hc_function g_ecalls[F_COUNT] = {
    [F_PING] = {"ping", f_ping, HC_FN_PUBLIC, NULL},
    [F_DIE] = {"die", f_die, HC_FN_PUBLIC, NULL},
    [F_FOREVER] = {"forever", f_forever, HC_FN_PUBLIC, NULL},
    [F_SPIN_US] = {"spin_us", f_spin_us, HC_FN_PUBLIC, NULL},
    [F_OCALL] = {"ocall", f_ocall, HC_FN_PUBLIC, NULL},
    [F_ORPHAN] = {"orphan", f_orphan, HC_FN_PUBLIC, NULL},
    [F_PRIVATE] = {"private", f_ping, 0, NULL},
    [F_ARM] = {"arm", f_arm, HC_FN_PUBLIC, NULL},
    [F_PATIENCE] = {"patience", f_patience, HC_FN_PUBLIC, NULL},
};
static const uint64_t g_allow[] = {UINT64_C(1) << F_PRIVATE};
static const struct hc_function g_ocalls[G_COUNT] = {{"ping", NULL, 0, NULL},
                                                     {"kill", NULL, 0, NULL},
                                                     {"block", NULL, 0, NULL},
                                                     {"call_in", NULL, 0, g_allow}};

HC_PUBLIC extern const struct hc_interface hc_enclave_interface;
const struct hc_interface hc_enclave_interface = {.abi = HC_ABI,
                                                  .layout = HC_LAYOUT,
                                                  .ecall_count = F_COUNT,
                                                  .ocall_count = G_COUNT,
                                                  .digest = {9},
                                                  .name = "fault",
                                                  .ecalls = g_ecalls,
                                                  .ocalls = g_ocalls};
