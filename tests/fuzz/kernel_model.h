/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_model.h -- between kernel.c and run_arguments.c. */
#ifndef HOTCALLS_TESTS_FUZZ_KERNEL_MODEL_H
#define HOTCALLS_TESTS_FUZZ_KERNEL_MODEL_H

#include "fuzz.h"
#include "kernel.h"
#include "run.h"

/* Descriptors that can be open: 0 to 2 always are, and the program's. */
#define KERNEL_FDS 64
/* What H keeps lies above: /proc, and the socket of the hook. */
#define KERNEL_PROC 100
#define KERNEL_HOOK 101

/* What the policy says: see run_state.c. */
#define RULES_LEARN 1u /* names are judged, and everything is allowed */
#define RULES_TOTAL 2u /* bytes are counted, and there are few left */
#define RULES_ASK 4u   /* the hook is asked of every call */
void run_state_reset(uint32_t rules);
/* Are the totals what they have to be between two calls? */
void run_state_check(void);

extern struct input g_input;
extern bool g_kernel_open[KERNEL_FDS];

/* Unless NULL: called before a system call looks at memory, and when it has answered. */
extern void (*g_kernel_turn)(bool before);
/* Unless NULL: sees each stretch of memory that a system call reads or writes. */
extern void (*g_kernel_looks)(const void *memory, size_t size);

#endif /* HOTCALLS_TESTS_FUZZ_KERNEL_MODEL_H */
