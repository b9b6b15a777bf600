/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-in for the header of this name in the C library of enclaves: as much as tests need. */
#ifndef STAND_IN_STDBOOL_H
#define STAND_IN_STDBOOL_H

#define bool _Bool
#define true 1
#define false 0

#endif
