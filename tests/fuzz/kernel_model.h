/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_model.h -- between kernel.c and run_arguments.c. */
#ifndef HOTCALLS_TESTS_FUZZ_KERNEL_MODEL_H
#define HOTCALLS_TESTS_FUZZ_KERNEL_MODEL_H

#include "fuzz.h"
#include "kernel.h"
#include "run.h"

/* Descriptors that can be open: 0 to 2 always are, and the program's. */
#define KERNEL_FDS 64
/* What H keeps lies above; /proc is one of these. */
#define KERNEL_PROC 100

extern struct input g_input;
extern bool g_kernel_open[KERNEL_FDS];

#endif /* HOTCALLS_TESTS_FUZZ_KERNEL_MODEL_H */
