/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_state.c -- the rules under which H runs a call, as the input of run_arguments.c chooses them,
 * and how the next run begins without what this one counted.
 */
#include "kernel_model.h"

#include "run_ask.h"

#include "../../native/run_policy.c"
#include "../../native/run_total.c"

/* A total of each kind, from where some calls are whole, some are cut, and the next is refused. */
#define LEFT 200u

void run_state_reset(uint32_t rules)
{
    run_ask_init(KERNEL_HOOK, 0);
    g_learn = (rules & RULES_LEARN) != 0;
    g_asks = (rules & RULES_ASK) != 0;
    g_count = 0;
    g_raced = false;
    memset(g_totals, 0, sizeof g_totals);
    memset(g_of_kind, 0, sizeof g_of_kind);
    memset(g_changes, 0, KERNEL_FDS * sizeof *g_changes);
    memset(g_classes, 0, KERNEL_FDS * sizeof *g_classes);
    for (int kind = 0; kind < RUN_TOTAL_KINDS && (rules & RULES_TOTAL) != 0; kind++)
        PROMISE(run_total_begin((enum run_total_kind)kind, LEFT, EDQUOT));
    for (uint32_t row = 0; row < ROW_COUNT; row++) {
        g_calls[row] = (rules & RULES_ASK) != 0 ? RUN_RULE_ASK : 0u;
        if ((rules & RULES_TOTAL) != 0 && run_total_moves(row))
            g_calls[row] |= RUN_RULE_TOTAL;
    }
}

void run_state_check(void)
{
    for (uint32_t i = 0; i < g_count; i++) {
        /* Nothing is taken for calls that are over, and never more than there was. */
        PROMISE(g_totals[i].taken == g_totals[i].counted);
        PROMISE(g_totals[i].counted <= g_totals[i].most);
    }
}
