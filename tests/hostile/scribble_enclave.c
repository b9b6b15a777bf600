/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scribble_enclave.c -- an enclave that turned: a thread of it writes over the channel.
 *
 * It has what any code inside has: the address of the region, through its own port.
 */
#include "scribble.h"

#include <hotcalls_enclave.h>

#include <pthread.h>

struct task {
    struct hc_end *end;
    uint64_t over, random, until;
};

static struct task g_task;

static uint64_t next(struct task *task)
{
    task->random ^= task->random >> 12;
    task->random ^= task->random << 25;
    task->random ^= task->random >> 27;
    return task->random * UINT64_C(2685821657736338717);
}

static uint64_t value_near(struct task *task, uint64_t now)
{
    switch (next(task) % 6u) {
    case 0:
        return now + 1u;
    case 1:
        return now ^ (UINT64_C(1) << next(task) % 64u);
    case 2:
        return now + (UINT64_C(1) << HC_WORD_SHIFT);
    case 3:
        return 0;
    case 4:
        return now ^ HC_WORD_DONE;
    default:
        return next(task);
    }
}

static void scribble_once(struct task *task)
{
    struct hc_end *end = task->end;
    const struct hc_geometry *g = &end->geometry;
    uint32_t slot = (uint32_t)(next(task) % g->slot_count);
    uint32_t lane = (uint32_t)(next(task) % HC_LANES);
    struct hc_cell *cell = &hc_u_lane(end->u_base, g, slot, lane)[next(task) % 8u];
    uint64_t over = task->over == OVER_ALL ? next(task) % OVER_ALL : task->over;
    uint64_t *at = &cell->word;
    size_t offset = 0;
    switch (over) {
    case OVER_CELLS:
        at = (uint64_t *)(void *)cell + next(task) % 8u;
        break;
    case OVER_BOARDS:
        offset = offsetof(struct hc_header, board) +
                 next(task) % (HC_SIDES * sizeof(struct hc_side_board) / 8u) * 8u;
        at = (uint64_t *)(void *)(end->u_base + offset);
        break;
    case OVER_CONTROLS:
        at = (uint64_t *)(void *)hc_u_slot(end->u_base, g, slot) +
             next(task) % (sizeof(struct hc_slot_control) / 8u);
        break;
    case OVER_WINDOWS:
        at = (uint64_t *)(void *)hc_u_window(end->u_base, g, slot, lane) + next(task) % 400u;
        break;
    default:
        break;
    }
    __atomic_store_n(at, value_near(task, __atomic_load_n(at, __ATOMIC_RELAXED)), __ATOMIC_RELAXED);
    if (next(task) % 8u == 0)
        end->os.wake(NULL, (uint32_t *)(void *)at, 8);
}

static void *scribble(void *argument)
{
    struct task *task = argument;
    /* A cell that is overwritten ends the channel; time for many calls before that. */
    bool seldom = task->over == OVER_WORDS || task->over == OVER_CELLS || task->over == OVER_ALL;
    while (hc_tsc() < task->until) {
        for (uint64_t i = next(task) % (seldom ? 20000u : 300u); i > 0; i--)
            hc_pause();
        scribble_once(task);
    }
    return NULL;
}

/* a: over what; b: seed; c: for how many milliseconds. */
static enum hc_status s_scribble(struct hc_frame *frame)
{
    struct scribble_ms ms;
    pthread_t thread;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    if (status != HC_OK)
        return status;
    g_task =
        (struct task){hc_enclave_port()->end, ms.a, ms.b * 2u + 1u, hc_tsc() + ms.c * 2600000u};
    if (pthread_create(&thread, NULL, scribble, &g_task) != 0)
        return HC_ERR_OS;
    (void)pthread_detach(thread);
    return hc_frame_close(frame, &ms, sizeof ms);
}

static enum hc_status s_ocall(struct hc_frame *frame)
{
    static __thread uint8_t bytes[COPY_SIZE];
    struct scribble_ms ms;
    enum hc_status status = hc_frame_open(frame, &ms, sizeof ms);
    struct hc_port *port = hc_enclave_port();
    if (status != HC_OK || port == NULL)
        return HC_ERR_CALLEE;
    status = ms.a % 2u == 0 ? scribble_call(port, P_PING, &ms) : scribble_copy(port, P_COPY, bytes);
    return status != HC_OK ? status : hc_frame_close(frame, &ms, sizeof ms);
}

static const struct hc_function g_ecalls[S_COUNT] = {
    [S_PING] = {"ping", scribble_ping_bridge, HC_FN_PUBLIC, NULL},
    [S_COPY] = {"copy", scribble_copy_bridge, HC_FN_PUBLIC, NULL},
    [S_OCALL] = {"ocall", s_ocall, HC_FN_PUBLIC, NULL},
    [S_SCRIBBLE] = {"scribble", s_scribble, HC_FN_PUBLIC, NULL},
};
static const struct hc_function g_ocalls[P_COUNT] = {{"ping", NULL, 0, NULL},
                                                     {"copy", NULL, 0, NULL}};

HC_PUBLIC extern const struct hc_interface hc_enclave_interface;
const struct hc_interface hc_enclave_interface = {.abi = HC_ABI,
                                                  .layout = HC_LAYOUT,
                                                  .ecall_count = S_COUNT,
                                                  .ocall_count = P_COUNT,
                                                  .digest = {11},
                                                  .name = "scribble",
                                                  .ecalls = g_ecalls,
                                                  .ocalls = g_ocalls};
