/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenario.h -- what the scenarios of script.c share: where a call ends, and what is looked at.
 */
#ifndef HOTCALLS_TESTS_SCENARIO_H
#define HOTCALLS_TESTS_SCENARIO_H

#include "../c/echo.h"

#include "stepper.h"

struct scenario {
    const char *name;
    void (*body)(void);
};

/* The ends are those of pair.h, unless the file of the scenarios has others. */
#ifndef SCENARIO_ENDS
static struct hc_end *scenario_end(int side)
{
    return &g_pair.end[side];
}

/* What a thread of this side that runs calls is in. */
static struct hc_thread *scenario_thread(int side)
{
    return &g_pair.thread[side];
}

static void scenario_stop(void)
{
    pair_stop();
}
#endif

static enum hc_status g_expected; /* what ends calls of this scenario if nobody interferes */
static bool g_hint;               /* nothing but hints is rewritten */
static uint64_t g_last_run[PAIR_SLOTS][HC_LANES];
static uint64_t g_wrong_answers, g_errors;

/* Was the number of the call that this port runs, if any, run before on its lane? */
static void check_number(const struct hc_port *port)
{
    if (port == NULL || port->running.u_cell == NULL)
        return;
    size_t at = (size_t)((uint8_t *)port->running.u_cell - g_pair.u_base);
    uint64_t slot = (at - g_pair.geometry.slots_at) / g_pair.geometry.slot_stride;
    uint64_t lane = (at - g_pair.geometry.slots_at - slot * g_pair.geometry.slot_stride -
                     sizeof(struct hc_slot_control)) /
                    (PAIR_CELLS * sizeof(struct hc_cell));
    CHECK(slot < PAIR_SLOTS && lane < HC_LANES);
    if (port->depth > 1)
        return;
    CHECK(port->running.n > g_last_run[slot][lane]);
    g_last_run[slot][lane] = port->running.n;
}

/* In a bridge, once: the other side may be in one as well, and has been looked at there. */
static void in_the_middle(void)
{
    stepper_point();
    check_number(scenario_thread(g_stepper.acting)->current);
}

/* A call ended: with an answer, which is `right` or not, or with a status that has a name. */
static void ended(enum hc_status status, bool right)
{
    stepper_point();
    CHECK_EQ(hc_status_from_peer((uint32_t)status), status);
    if (status != HC_OK) {
        g_errors++;
        CHECK(!g_hint || status == g_expected);
    } else if (!right) {
        g_wrong_answers++;
        CHECK(!g_hint);
    }
}

static inline struct hc_port *host_port(void)
{
    for (uint32_t i = 0; i < PAIR_HOST_SLOTS; i++) {
        struct hc_port *port = pair_port(HC_HOST, i);
        if (!port->busy && (!port->stuck || hc_port_recover(port)))
            return port;
    }
    return NULL;
}

#endif /* HOTCALLS_TESTS_SCENARIO_H */
