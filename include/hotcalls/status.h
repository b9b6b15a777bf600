/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h -- what became of a call.
 *
 * Used on both sides of the boundary, in freestanding code. A status says what happened to the
 * *call*; what the called function returned travels separately. A status that arrives from the
 * other side is untrusted and passes hc_status_from_peer() first.
 */
#ifndef HOTCALLS_STATUS_H
#define HOTCALLS_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HC_NODISCARD __attribute__((warn_unused_result))
#else
#define HC_NODISCARD
#endif

/* X-macro: name, value, one sentence. Python's table of statuses is generated from it. */
#define HC_STATUS_TABLE(X)                                                                       \
    X(HC_OK, 0, "the call was made and answered")                                                \
    X(HC_ERR_ARGUMENT, 1, "an argument is not usable: NULL, negative, or outside shared memory") \
    X(HC_ERR_TOO_LARGE, 2, "the arguments do not fit the data window of a slot")                 \
    X(HC_ERR_OVERFLOW, 3, "size times count overflows")                                          \
    X(HC_ERR_UNKNOWN_CALL, 4, "the other side has no function of that id")                       \
    X(HC_ERR_NOT_ALLOWED, 5, "a private ecall, or one that the running ocall does not allow")    \
    X(HC_ERR_MESSAGE, 6, "the message of the other side breaks the interface")                   \
    X(HC_ERR_POISONED, 7, "the other side broke an invariant of the channel")                    \
    X(HC_ERR_PEER_LOST, 8, "the process on the other side has ended")                            \
    X(HC_ERR_TIMEOUT, 9, "the call was not answered within its timeout")                         \
    X(HC_ERR_INTERRUPTED, 10, "the wait was interrupted; the call was given up")                 \
    X(HC_ERR_AGAIN, 11, "the lane or the data window is full: collect outstanding calls first")  \
    X(HC_ERR_NO_SLOT, 12, "every slot is in use: too many threads call at the same time")        \
    X(HC_ERR_DEPTH, 13, "calls are nested too deep")                                             \
    X(HC_ERR_MEMORY, 14, "no private memory is left for the arguments")                          \
    X(HC_ERR_ABI, 15, "the two sides were built against different versions of the channel")      \
    X(HC_ERR_INTERFACE, 16, "the two sides were built from different EDL files")                 \
    X(HC_ERR_FORKED, 17,                                                                         \
      "the process was forked: an enclave belongs to the process that "                          \
      "launched it")                                                                             \
    X(HC_ERR_OS, 18, "the operating system refused something that is needed")                    \
    X(HC_ERR_CALLEE, 19, "the called function raised an exception")                              \
    X(HC_ERR_CLOSED, 20, "the enclave was closed")                                               \
    X(HC_ERR_LOCKDOWN, 21, "the enclave could not be locked down")                               \
    X(HC_ERR_ONEWAY, 22, "an earlier one-way call failed; this call was not made")

enum hc_status {
#define HC_STATUS_ENUM(name, value, text) name = value,
    HC_STATUS_TABLE(HC_STATUS_ENUM)
#undef HC_STATUS_ENUM
};

/* Maps what the other side claims onto the known set; anything else is a broken message. */
HC_NODISCARD static inline enum hc_status hc_status_from_peer(uint32_t untrusted)
{
    switch (untrusted) {
#define HC_STATUS_CASE(name, value, text) \
    case value:                           \
        return name;
        HC_STATUS_TABLE(HC_STATUS_CASE)
#undef HC_STATUS_CASE
    default:
        return HC_ERR_MESSAGE;
    }
}

static inline const char *hc_status_text(enum hc_status status)
{
    switch (status) {
#define HC_STATUS_TEXT(name, value, text) \
    case name:                            \
        return text;
        HC_STATUS_TABLE(HC_STATUS_TEXT)
#undef HC_STATUS_TEXT
    default:
        return "unknown status";
    }
}

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_STATUS_H */
