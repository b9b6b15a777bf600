/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the header of this name in the C library of enclaves: as much as tests need. */
#ifndef STAND_IN_STDLIB_H
#define STAND_IN_STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void free(void *block);
_Noreturn void abort(void);

#endif
