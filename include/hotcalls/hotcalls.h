/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hotcalls.h -- the freestanding core, whole: include this one.
 *
 * C11 or C++17, with or without a C library, on either side of a boundary. Start reading with
 * channel.h; then lane.h (the transitions), call.h (waiting), marshal.h (arguments).
 */
#ifndef HOTCALLS_HOTCALLS_H
#define HOTCALLS_HOTCALLS_H

#include "arch.h"
#include "call.h"
#include "channel.h"
#include "interface.h"
#include "lane.h"
#include "marshal.h"
#include "port.h"
#include "status.h"
#include "untrusted.h"

#endif /* HOTCALLS_HOTCALLS_H */
