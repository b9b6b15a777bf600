/* SPDX-License-Identifier: Apache-2.0 */
/* opaque.h -- a type that the EDL knows the name of only. */
#ifndef OPAQUE_H
#define OPAQUE_H

typedef struct opaque {
    int x;
} opaque_t;

#endif /* OPAQUE_H */
