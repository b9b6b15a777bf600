/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the header of this name in the C library of enclaves: as much as tests need. */
#ifndef STAND_IN_STDDEF_H
#define STAND_IN_STDDEF_H

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
#ifndef __cplusplus
typedef __WCHAR_TYPE__ wchar_t;
#endif
#define NULL ((void *)0)
#define offsetof(type, member) __builtin_offsetof(type, member)

#endif
