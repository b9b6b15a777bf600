/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marshal.h -- test double of the runtime: calls whose message is a private buffer.
 *
 * hc_call_run() hands marshalling struct and buffers to the port's callback. Memory that nobody
 * has written is 0xaa, so that a stale byte shows. Both sides in one process, one thread.
 */
#ifndef DOUBLE_MARSHAL_H
#define DOUBLE_MARSHAL_H

#include <stdlib.h>
#include <string.h>

#include "interface.h"

#define HC_NRZ UINT32_C(1)
#define DOUBLE_STALE 0xaa
#define DOUBLE_BUFFERS 80

typedef int double_transport(uint32_t id, void *ms, size_t ms_size, void *area, size_t size);

struct hc_port {
    double_transport *transport;
    uint8_t *shared;
    size_t shared_size;
};

struct hc_call {
    struct hc_port *port;
    uint32_t id;
    uint8_t *area;
    size_t size;
    size_t cursor;
    int status;
    uint8_t ms[512];
};

struct hc_frame {
    struct hc_port *port;
    uint8_t *ms;
    size_t ms_size;
    uint8_t *area;
    size_t size;
    size_t cursor;
    void *memory[DOUBLE_BUFFERS];
    size_t memory_count;
};

static inline bool hc_size_mul(uint64_t count, uint64_t size, size_t *out)
{
    return !__builtin_mul_overflow(count, size, out);
}

static inline size_t hc_message_add(size_t total, size_t buffer_size)
{
    size_t aligned = (buffer_size + 15u) & ~(size_t)15u;
    if (aligned < buffer_size || total + aligned < total)
        return SIZE_MAX;
    return total + aligned;
}

static inline enum hc_status hc_call_begin(struct hc_port *port, struct hc_call *call, uint32_t id,
                                           size_t ms_size, size_t buffers_size)
{
    (void)ms_size;
    if (buffers_size > (1u << 24))
        return HC_ERR_TOO_LARGE;
    memset(call, 0, sizeof(*call));
    call->port = port;
    call->id = id;
    call->size = buffers_size;
    call->area = malloc(buffers_size + 1);
    if (call->area == NULL)
        return HC_ERR_MEMORY;
    memset(call->area, DOUBLE_STALE, buffers_size);
    return HC_OK;
}

static inline size_t hc_call_out(struct hc_call *call, size_t size)
{
    size_t position = call->cursor;
    call->cursor = hc_message_add(position, size);
    if (call->cursor > call->size)
        abort(); /* The generated code counted wrong. */
    return position;
}

static inline size_t hc_call_inout(struct hc_call *call, const void *buffer, size_t size)
{
    size_t position = hc_call_out(call, size);
    if (size != 0)
        memcpy(call->area + position, buffer, size);
    return position;
}

static inline void hc_call_in(struct hc_call *call, const void *buffer, size_t size)
{
    (void)hc_call_inout(call, buffer, size);
}

static inline void hc_call_end(struct hc_call *call)
{
    free(call->area);
    call->area = NULL;
}

static inline void hc_call_cancel(struct hc_call *call)
{
    hc_call_end(call);
}

static inline enum hc_status hc_call_run(struct hc_call *call, void *ms, size_t ms_size)
{
    int status = call->port->transport(call->id, ms, ms_size, call->area, call->size);
    if (status != HC_OK)
        hc_call_end(call);
    return (enum hc_status)status;
}

static inline enum hc_status hc_call_submit(struct hc_call *call, const void *ms, size_t ms_size)
{
    if (ms_size > sizeof(call->ms))
        abort();
    if (ms_size != 0)
        memcpy(call->ms, ms, ms_size);
    call->status = call->port->transport(call->id, call->ms, ms_size, call->area, call->size);
    return HC_OK;
}

static inline enum hc_status hc_call_wait(struct hc_call *call, void *ms, size_t ms_size)
{
    if (ms_size != 0)
        memcpy(ms, call->ms, ms_size);
    if (call->status != HC_OK)
        hc_call_end(call);
    return (enum hc_status)call->status;
}

static inline enum hc_status hc_call_oneway(struct hc_call *call, const void *ms, size_t ms_size)
{
    enum hc_status status = hc_call_submit(call, ms, ms_size);
    hc_call_end(call);
    return status;
}

static inline enum hc_status hc_call_copy_out(struct hc_call *call, size_t position, void *buffer,
                                              size_t size)
{
    if (size != 0)
        memcpy(buffer, call->area + position, size);
    return HC_OK;
}

static inline enum hc_status hc_call_shared(struct hc_port *port, const void *pointer, size_t size,
                                            uint64_t *offset)
{
    uintptr_t base = (uintptr_t)port->shared;
    uintptr_t address = (uintptr_t)pointer;
    *offset = 0;
    if (pointer == NULL)
        return HC_OK;
    if (address < base || address - base > port->shared_size ||
        size > port->shared_size - (address - base))
        return HC_ERR_ARGUMENT;
    *offset = address - base + 64;
    return HC_OK;
}

static inline enum hc_status hc_frame_open(struct hc_frame *frame, void *ms, size_t ms_size)
{
    if (ms_size != frame->ms_size)
        return HC_ERR_MESSAGE;
    if (ms_size != 0)
        memcpy(ms, frame->ms, ms_size);
    return HC_OK;
}

static inline enum hc_status hc_frame_memory(struct hc_frame *frame, size_t size, void **memory)
{
    if (frame->memory_count == DOUBLE_BUFFERS)
        abort();
    *memory = malloc(size + 1);
    if (*memory == NULL)
        return HC_ERR_MEMORY;
    memset(*memory, DOUBLE_STALE, size);
    frame->memory[frame->memory_count++] = *memory;
    return HC_OK;
}

static inline enum hc_status hc_frame_inout(struct hc_frame *frame, size_t size, void **buffer,
                                            size_t *position)
{
    *position = frame->cursor;
    if (frame->cursor > frame->size || size > frame->size - frame->cursor)
        return HC_ERR_MESSAGE;
    if (hc_frame_memory(frame, size, buffer) != HC_OK)
        return HC_ERR_MEMORY;
    frame->cursor = hc_message_add(frame->cursor, size);
    if (size != 0)
        memcpy(*buffer, frame->area + *position, size);
    return HC_OK;
}

static inline enum hc_status hc_frame_in(struct hc_frame *frame, size_t size, void **buffer)
{
    size_t position;
    return hc_frame_inout(frame, size, buffer, &position);
}

static inline enum hc_status hc_frame_string(struct hc_frame *frame, size_t size, size_t char_size,
                                             void **buffer)
{
    enum hc_status status;
    const uint8_t *bytes;

    if (size < char_size || size % char_size != 0)
        return HC_ERR_MESSAGE;
    status = hc_frame_in(frame, size, buffer);
    if (status != HC_OK)
        return status;
    bytes = *buffer;
    for (size_t i = 0; i < size; i += char_size) {
        bool zero = true;
        for (size_t j = 0; j < char_size; j++)
            zero = zero && bytes[i + j] == 0;
        if (zero)
            return i + char_size == size ? HC_OK : HC_ERR_MESSAGE;
    }
    return HC_ERR_MESSAGE;
}

static inline enum hc_status hc_frame_out(struct hc_frame *frame, size_t size, uint32_t flags,
                                          void **buffer, size_t *position)
{
    enum hc_status status = hc_frame_inout(frame, size, buffer, position);
    if (status == HC_OK)
        memset(*buffer, (flags & HC_NRZ) != 0 ? DOUBLE_STALE : 0, size);
    return status;
}

static inline enum hc_status hc_frame_shared(struct hc_frame *frame, uint64_t offset, size_t size,
                                             void **pointer)
{
    struct hc_port *port = frame->port;
    *pointer = NULL;
    if (offset == 0)
        return HC_OK;
    if (offset < 64 || offset - 64 > port->shared_size || size > port->shared_size - (offset - 64))
        return HC_ERR_MESSAGE;
    *pointer = port->shared + (offset - 64);
    return HC_OK;
}

static inline void hc_frame_reply(struct hc_frame *frame, size_t position, const void *buffer,
                                  size_t size)
{
    if (size != 0)
        memcpy(frame->area + position, buffer, size);
}

static inline enum hc_status hc_frame_close(struct hc_frame *frame, const void *ms, size_t ms_size)
{
    if (ms_size != 0)
        memcpy(frame->ms, ms, ms_size);
    return HC_OK;
}

#endif /* DOUBLE_MARSHAL_H */
