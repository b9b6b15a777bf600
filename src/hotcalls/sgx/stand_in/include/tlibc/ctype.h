/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the header of this name in the C library of enclaves: as much as tests need. */
#ifndef STAND_IN_CTYPE_H
#define STAND_IN_CTYPE_H

int toupper(int c);

#endif
