/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_message.h -- how a call of a Python enclave lies in a cell and its window.
 *
 * Both sides, both directions. The fixed part of a message is always struct hc_py_head and always
 * in the cell; a message of at most HC_PY_INLINE bytes is in it, so that a small call is one cache
 * line. A larger one is at the start of the call's piece of the window. What the bytes mean is
 * Python's business (hotcalls.wire); nothing here looks into them.
 *
 * The requester decides how much of the window a call gets, and so how large an answer may be. An
 * answer that is larger is HELD by the side that made it: the head then carries its size and a
 * token, and the requester asks for it with the last function of the interface (`fetch`, whose
 * argument is the token), reserving enough.
 */
#ifndef HOTCALLS_PYTHON_MESSAGE_H
#define HOTCALLS_PYTHON_MESSAGE_H

#include <hotcalls/channel.h>

#define HC_PY_INLINE 32u

/* struct hc_py_head, kind: what an answer is. A request has HC_PY_VALUE. */
#define HC_PY_VALUE 0u
#define HC_PY_EXCEPTION 1u
#define HC_PY_HELD 2u

struct hc_py_head {
    uint32_t size; /* of the message; of an answer that is HELD, of the whole answer */
    uint32_t kind;
    uint8_t data[HC_PY_INLINE]; /* the message if it fits; of a HELD answer the uint64_t token */
};

HC_STATIC_ASSERT(sizeof(struct hc_py_head) == HC_INLINE_SIZE, "a small call is one cache line");

#endif /* HOTCALLS_PYTHON_MESSAGE_H */
