/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside.h - what the parts of the `inside` probe share. Tests only; runs locked down, in a process
 * that the tests start. Output goes to descriptor 1, the only one that its policy lets it write.
 */
#ifndef HOTCALLS_TESTS_INSIDE_H
#define HOTCALLS_TESTS_INSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "sandbox_filter.h"

#define INSIDE_READ_FD 0
#define INSIDE_WRITE_FD 1

__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* Hardens and locks this process with the core groups and `more`; ends it when that fails. */
void enter(uint32_t more);

/* inside_table.c */
void print_rules(void);
bool in_table(long number, uint32_t groups);
/* Tries count random calls of the table's numbers and compares with what the rows say. */
int compare_with_model(uint64_t seed, long count);

/* inside_attempts.c */
int print_attempts(void);
int print_conditions(void);

#endif /* HOTCALLS_TESTS_INSIDE_H */
