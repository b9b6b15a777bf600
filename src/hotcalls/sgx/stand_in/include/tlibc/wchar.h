/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the header of this name in the C library of enclaves: as much as tests need. */
#ifndef STAND_IN_WCHAR_H
#define STAND_IN_WCHAR_H

#include <stddef.h>

size_t wcslen(const wchar_t *text);

#endif
