/* SPDX-License-Identifier: Apache-2.0 */
/* Types that only a header knows. */
#ifndef OPAQUE_H
#define OPAQUE_H

#include <stdint.h>

struct thing {
    uint64_t number;
};
typedef const struct thing *handle_t;
typedef uint8_t key_t_[16];

#endif
