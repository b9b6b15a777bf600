/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marshal.h -- what generated proxies and bridges are made of.
 *
 * A message is a fixed part `ms` (scalars, sizes, the return value) and then the buffers in the
 * order of the parameters, each starting on 16 bytes:
 *
 *     ms fits in HC_INLINE_SIZE:  ms in the cell, buffers from the start of the chunk
 *     otherwise:                  ms, then the buffers, in the chunk
 *
 * Both sides walk the buffers with a cursor, in the same order, by sizes that each computes from
 * its own validated copy of ms. No position ever travels.
 *
 * Freestanding; used on both sides. A proxy runs begin, in/out/inout, run, copy_out, end; a bridge
 * runs open, in/out/inout, the function, reply, close.
 */
#ifndef HOTCALLS_MARSHAL_H
#define HOTCALLS_MARSHAL_H

#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- proxies -------------------------------------------------------------------------------- */

/* A call being made. Private memory of the caller, usually its stack. */
struct hc_call {
    struct hc_port *port;
    struct hc_cell *u_cell;
    uint8_t *u_message;
    uint64_t n;
    uint32_t id;
    uint32_t mode;
    uint32_t cursor;
    uint32_t size;
};

/* Gives back the cells of one-way calls that are done, and remembers their errors. */
HC_NOINLINE static void hc_oneway_sweep(struct hc_port *port)
{
    struct hc_lane_out *lane = port->out;
    while (lane->oldest != lane->tail) {
        uint64_t n = lane->oldest;
        uint64_t bit = UINT64_C(1) << (n & lane->mask);
        struct hc_cell *u_cell = hc_out_cell(lane, n);
        if ((lane->oneway & bit) == 0)
            break;
        /* SYNC: acquire pairs with hc_finish, word. */
        if (__atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE) != hc_word(n, HC_WORD_DONE))
            break;
        enum hc_status status = hc_status_from_peer(hc_untrusted_u32(&u_cell->status));
        if (status != HC_OK && lane->oneway_errors++ == 0)
            lane->oneway_first_error = status;
        lane->oneway &= ~bit;
        lane->abandoned &= ~bit;
        hc_lane_give_back(lane, n);
    }
}

/* Waits until one-way calls gave back their cells; `all`, or just the oldest. */
HC_NODISCARD HC_NOINLINE static enum hc_status hc_oneway_wait(struct hc_port *port, bool all)
{
    struct hc_lane_out *lane = port->out;
    do {
        hc_oneway_sweep(port);
        uint64_t n = lane->oldest;
        if (n == lane->tail || ((lane->oneway >> (n & lane->mask)) & 1u) == 0)
            return HC_OK;
        enum hc_status status = hc_await_submitted(port, n);
        if (status != HC_OK)
            return status;
        hc_oneway_sweep(port);
    } while (all);
    return HC_OK;
}

/*
 * Waits for the one-way calls of this port. `*errors` is how many failed since this was last
 * asked, `*first` the first status.
 */
HC_NODISCARD static inline enum hc_status hc_flush(struct hc_port *port, uint64_t *errors,
                                                   enum hc_status *first)
{
    bool before = hc_port_enter(port);
    hc_batch_post(port);
    enum hc_status status = hc_oneway_wait(port, true);
    *errors = port->out->oneway_errors;
    *first = port->out->oneway_errors != 0 ? port->out->oneway_first_error : HC_OK;
    port->out->oneway_errors = 0;
    hc_port_leave(port, before);
    return status;
}

/* Takes a cell and room in the window. The slow half: something is outstanding or broken. */
HC_NODISCARD HC_NOINLINE static enum hc_status hc_call_room(struct hc_port *port)
{
    struct hc_lane_out *lane = port->out;
    if (lane->oneway != 0)
        hc_oneway_sweep(port);
    if (lane->oneway_errors != 0)
        return HC_ERR_ONEWAY;
    if (!hc_lane_full(lane))
        return HC_OK;
    hc_batch_post(port);
    enum hc_status status = hc_oneway_wait(port, false);
    if (status != HC_OK)
        return status;
    return hc_lane_full(lane) ? HC_ERR_AGAIN : HC_OK;
}

/*
 * Begins a call of function `id` with a fixed part of `ms_size` bytes and buffers that take
 * `buffers_size` bytes (hc_message_add of each). Does not block, unless one-way calls fill the
 * lane; then it waits for the oldest.
 *
 * HC_ERR_TOO_LARGE: does not fit the window of the lane, whatever is outstanding.
 * HC_ERR_AGAIN: pipelined calls fill lane or window; collect some.
 * HC_ERR_ONEWAY: an earlier one-way call failed (hc_flush tells); this one was not begun.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_call_begin(struct hc_port *port,
                                                           struct hc_call *call, uint32_t id,
                                                           size_t ms_size, size_t buffers_size)
{
    struct hc_lane_out *lane = port->out;
    enum hc_status status = hc_broken(port->end);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    if (HC_UNLIKELY(id >= port->end->outgoing_count))
        return HC_ERR_UNKNOWN_CALL;
    bool before = hc_port_enter(port);
    if (HC_UNLIKELY(lane->oldest != lane->tail || lane->oneway_errors != 0)) {
        status = hc_call_room(port);
        if (status != HC_OK) {
            hc_port_leave(port, before);
            return status;
        }
    }
    size_t size = buffers_size;
    uint32_t cursor = 0;
    if (ms_size > HC_INLINE_SIZE) {
        cursor = (uint32_t)hc_message_add(0, ms_size);
        size = size > SIZE_MAX - cursor ? SIZE_MAX : size + cursor;
    }
    uint32_t offset = 0;
    if (size != 0) {
        status = hc_window_take(&lane->window, size, &offset);
        while (HC_UNLIKELY(status == HC_ERR_AGAIN && lane->oneway != 0)) {
            hc_batch_post(port);
            uint64_t oldest = lane->oldest;
            status = hc_oneway_wait(port, false);
            if (status != HC_OK)
                break;
            status = lane->oldest == oldest ? HC_ERR_AGAIN
                                            : hc_window_take(&lane->window, size, &offset);
            if (lane->oldest == oldest)
                break;
        }
        if (HC_UNLIKELY(status != HC_OK)) {
            hc_port_leave(port, before);
            return status;
        }
    }
    if (HC_LIKELY(lane->oldest == lane->tail))
        lane->origin = lane->tail;
    uint64_t n = lane->tail++;
    lane->offsets[n & lane->mask] = offset;
    lane->sizes[n & lane->mask] = (uint32_t)size;
    lane->behind[n & lane->mask] = 0;
    struct hc_cell *u_cell = hc_out_cell(lane, n);
    if (HC_UNLIKELY(port->batch_from != 0))
        hc_prefetch_write(hc_out_cell(lane, n + HC_PREFETCH_AHEAD));
    call->port = port;
    call->u_cell = u_cell;
    call->u_message = lane->u_window + offset;
    call->n = n;
    call->id = id;
    call->mode = HC_LIKELY(port->mode == HC_MODE_DEFAULT) ? port->end->modes[id] : port->mode;
    call->cursor = cursor;
    call->size = (uint32_t)size;
    hc_untrusted_store_u32(&u_cell->offset, offset);
    hc_untrusted_store_u32(&u_cell->size, (uint32_t)size);
    return HC_OK;
}

/* Reserves the next buffer without writing it; its position is for hc_call_copy_out. */
HC_ALWAYS_INLINE size_t hc_call_out(struct hc_call *call, size_t size)
{
    size_t position = call->cursor;
    call->cursor = (uint32_t)hc_message_add(position, size);
    return position;
}

/* Copies the next buffer into the window. NULL is an empty buffer. */
HC_ALWAYS_INLINE size_t hc_call_inout(struct hc_call *call, const void *buffer, size_t size)
{
    size_t position = hc_call_out(call, size);
    if (size != 0)
        hc_copy_out(call->u_message + position, buffer, size);
    return position;
}

HC_ALWAYS_INLINE void hc_call_in(struct hc_call *call, const void *buffer, size_t size)
{
    (void)hc_call_inout(call, buffer, size);
}

/* Writes the fixed part and the id: all that the responder reads. */
HC_ALWAYS_INLINE void hc_call_write(struct hc_call *call, const void *ms, size_t ms_size,
                                    uint32_t bits)
{
    hc_untrusted_store_u32(&call->u_cell->id, call->id | bits);
    if (ms_size > HC_INLINE_SIZE)
        hc_copy_out(call->u_message, ms, ms_size);
    else if (ms_size != 0)
        hc_copy_out(call->u_cell->payload, ms, ms_size);
    if (call->size != 0) {
        struct hc_port *port = call->port;
        port->counters.bytes_out += call->size;
        hc_untrusted_store_u64(&port->u_counters->bytes_out, port->counters.bytes_out);
    }
}

/* Copies the answer's fixed part in, once. */
HC_ALWAYS_INLINE void hc_call_read(struct hc_call *call, void *ms, size_t ms_size)
{
    if (ms_size > HC_INLINE_SIZE)
        hc_copy_in(ms, call->u_message, ms_size);
    else if (ms_size != 0)
        hc_copy_in(ms, call->u_cell->payload, ms_size);
}

/* Gives back cell and window of a call that was answered. */
HC_ALWAYS_INLINE void hc_call_end(struct hc_call *call)
{
    (void)hc_port_enter(call->port);
    hc_lane_give_back(call->port->out, call->n);
    hc_port_leave(call->port, false);
}

/* Ends a call that was begun and not posted. It has to be the newest. */
HC_ALWAYS_INLINE void hc_call_cancel(struct hc_call *call)
{
    hc_lane_take_back(call->port->out, call->n);
    hc_port_leave(call->port, false);
}

HC_NOINLINE static enum hc_status hc_call_failed(struct hc_call *call, enum hc_status status)
{
    struct hc_port *port = call->port;
    hc_count(&port->counters.errors, &port->u_counters->errors);
    hc_call_end(call);
    return status;
}

/* The status of the answer; on an error the call is ended. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_call_answer(struct hc_call *call, void *ms,
                                                            size_t ms_size)
{
    enum hc_status status = hc_status_from_peer(hc_untrusted_u32(&call->u_cell->status));
    if (HC_UNLIKELY(status != HC_OK))
        return hc_call_failed(call, status);
    hc_call_read(call, ms, ms_size);
    return HC_OK;
}

/*
 * Posts the call and blocks until it is answered, the peer is lost, or the port's timeout is
 * over. Serves calls back meanwhile. On HC_OK `ms` is the answer and the caller goes on to
 * copy_out and end; on anything else the call has been ended.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_call_run(struct hc_call *call, void *ms,
                                                         size_t ms_size)
{
    hc_call_write(call, ms, ms_size, 0);
    if (HC_UNLIKELY(call->port->batch_from != 0)) {
        /* A plain call goes behind what the batch holds back, and is not part of it. */
        call->port->out->tail = call->n;
        hc_batch_post(call->port);
        call->port->out->tail = call->n + 1u;
        call->port->batch_from = call->n + 1u;
    }
    enum hc_status status = hc_transact(call->port, call->n, call->id, call->mode);
    if (HC_UNLIKELY(status != HC_OK)) {
        /* Given up: hc_wait_slow withdrew or quarantined it. */
        hc_port_leave(call->port, false);
        return status;
    }
    return hc_call_answer(call, ms, ms_size);
}

/* Copies a buffer of the answer from the window into the caller's memory, once. */
HC_ALWAYS_INLINE enum hc_status hc_call_copy_out(struct hc_call *call, size_t position,
                                                 void *buffer, size_t size)
{
    struct hc_port *port = call->port;
    if (size == 0)
        return HC_OK;
    hc_copy_in(buffer, call->u_message + position, size);
    port->counters.bytes_in += size;
    hc_untrusted_store_u64(&port->u_counters->bytes_in, port->counters.bytes_in);
    return HC_OK;
}

/*
 * From here to hc_batch_end calls that are submitted are held back and posted a group at a time:
 * one hand-over for many.
 */
HC_ALWAYS_INLINE void hc_batch_begin(struct hc_port *port)
{
    bool before = hc_port_enter(port);
    hc_batch_post(port);
    port->batch_from = port->out->tail;
    hc_port_leave(port, before);
}

static inline void hc_batch_end(struct hc_port *port)
{
    bool before = hc_port_enter(port);
    hc_batch_post(port);
    port->batch_from = 0;
    hc_nudge(port);
    hc_port_leave(port, before);
}

/*
 * Posts the call and returns at once. The answer is fetched by hc_call_poll and hc_call_wait, by
 * the same thread, in any order; nobody has to wait for calls back to be served, but they then
 * need a responder of this side.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_call_submit(struct hc_call *call, const void *ms,
                                                            size_t ms_size)
{
    struct hc_port *port = call->port;
    hc_call_write(call, ms, ms_size, HC_CELL_DETACHED);
    hc_count(&port->counters.hot, &port->u_counters->hot);
    if (port->batch_from == 0) {
        hc_post(call->u_cell, call->n, 0);
        hc_nudge(port);
    } else if (port->out->tail - port->batch_from == HC_GROUP) {
        hc_batch_post(port);
    }
    /* Posted first: a handler that called before that would wait behind a call nobody can run. */
    hc_port_leave(port, false);
    return HC_OK;
}

/* Posts a call that nobody waits for. Its error, if any, is reported by hc_flush. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_call_oneway(struct hc_call *call, const void *ms,
                                                            size_t ms_size)
{
    struct hc_port *port = call->port;
    port->out->oneway |= UINT64_C(1) << (call->n & port->out->mask);
    hc_count(&port->counters.oneway, &port->u_counters->oneway);
    return hc_call_submit(call, ms, ms_size);
}

/* Looks whether the peer lives costs a system call: one poll in so many makes it. */
#define HC_POLLS_PER_LOOK 256u

/*
 * Would hc_call_wait return at once? Either the answer is there or the channel is broken. Serves
 * calls back. SYNC: acquire pairs with hc_finish, word.
 */
HC_ALWAYS_INLINE bool hc_call_poll(const struct hc_call *call)
{
    struct hc_port *port = call->port;
    if (HC_UNLIKELY(hc_peek(port->in, true))) {
        bool before = hc_port_enter(port);
        (void)hc_serve(port);
        hc_port_leave(port, before);
    }
    if (__atomic_load_n(&call->u_cell->word, __ATOMIC_ACQUIRE) == hc_word(call->n, HC_WORD_DONE))
        return true;
    if (HC_UNLIKELY(++port->polls % HC_POLLS_PER_LOOK == 0) &&
        port->end->os.peer_lost(port->end->os.context))
        hc_break(port->end, HC_ERR_PEER_LOST, "the process on the other side has ended");
    return hc_broken(port->end) != HC_OK;
}

/* Blocks until a submitted call is answered; then as hc_call_run. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_call_wait(struct hc_call *call, void *ms,
                                                          size_t ms_size)
{
    struct hc_port *port = call->port;
    if (HC_UNLIKELY(port->batch_from != 0))
        hc_batch_end(port);
    (void)hc_port_enter(port);
    enum hc_status status = hc_await_submitted(port, call->n);
    /* The answers behind this one are on their way already when they are read in order. */
    __builtin_prefetch(hc_out_cell(port->out, call->n + HC_PREFETCH_AHEAD));
    if (HC_UNLIKELY(status != HC_OK)) {
        hc_port_leave(port, false);
        return status;
    }
    status = hc_call_answer(call, ms, ms_size);
    hc_port_leave(port, false);
    return status;
}

/*
 * user_check: a pointer into the channel's shared memory becomes an offset. NULL is offset 0.
 */
HC_NODISCARD static inline enum hc_status hc_call_shared(struct hc_port *port, const void *pointer,
                                                         size_t size, uint64_t *offset)
{
    const struct hc_geometry *g = &port->end->geometry;
    *offset = 0;
    if (pointer == NULL)
        return HC_OK;
    uintptr_t base = (uintptr_t)port->end->u_base;
    uintptr_t address = (uintptr_t)pointer;
    if (address < base + g->shared_at ||
        !hc_range_inside(address - base - g->shared_at, size, g->shared_size))
        return HC_ERR_ARGUMENT;
    *offset = address - base;
    return HC_OK;
}

/* ---- bridges -------------------------------------------------------------------------------- */

/* An [out] buffer that the function is certain to overwrite: not zeroed first. */
#define HC_NRZ UINT32_C(1)

/* Copies the fixed part in, once. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_frame_open(struct hc_frame *frame, void *ms,
                                                           size_t ms_size)
{
    if (ms_size > HC_INLINE_SIZE) {
        if (HC_UNLIKELY(frame->size < ms_size))
            return HC_ERR_MESSAGE;
        hc_copy_in(ms, frame->u_message, ms_size);
        frame->cursor = (uint32_t)hc_message_add(0, ms_size);
    } else if (ms_size != 0) {
        __builtin_memcpy(ms, frame->payload, ms_size);
    }
    return HC_OK;
}

/* Steps over the next buffer of the message; its position is good for `size` bytes. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_frame_next(struct hc_frame *frame, size_t size,
                                                           size_t *position)
{
    *position = frame->cursor;
    if (HC_UNLIKELY(!hc_range_inside(frame->cursor, size, frame->size)))
        return HC_ERR_MESSAGE;
    hc_speculation_barrier();
    frame->cursor = (uint32_t)hc_message_add(frame->cursor, size);
    return HC_OK;
}

/*
 * A build for fuzzing keeps the arguments of a call apart and tells its sanitizer what lies between
 * them; otherwise one that is overrun is the next one changed, and nobody notices.
 */
#ifndef HC_ARENA_APART
#define HC_ARENA_APART 0u
#define HC_ARENA_HANDED(memory, size, end) ((void)0)
#endif

/* Private, 16-aligned memory until the call returns. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_frame_memory(struct hc_frame *frame, size_t size,
                                                             void **memory)
{
    struct hc_arena *arena = &frame->port->arena;
    size_t end = hc_message_add(hc_message_add(arena->used, size), HC_ARENA_APART);
    if (HC_UNLIKELY(end > arena->size))
        return HC_ERR_MEMORY;
    *memory = arena->base + arena->used;
    HC_ARENA_HANDED(*memory, size, arena->base + end);
    arena->used = end;
    return HC_OK;
}

HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_frame_inout(struct hc_frame *frame, size_t size,
                                                            void **buffer, size_t *position)
{
    enum hc_status status = hc_frame_next(frame, size, position);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    status = hc_frame_memory(frame, size, buffer);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    if (size != 0)
        hc_copy_in(*buffer, frame->u_message + *position, size);
    return HC_OK;
}

HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_frame_in(struct hc_frame *frame, size_t size,
                                                         void **buffer)
{
    size_t position;
    return hc_frame_inout(frame, size, buffer, &position);
}

/*
 * A string of `size` bytes with its terminator, in characters of `char_size`: the private copy
 * must end with its first zero.
 */
HC_NODISCARD static inline enum hc_status hc_frame_string(struct hc_frame *frame, size_t size,
                                                          size_t char_size, void **buffer)
{
    if (size < char_size || size % char_size != 0)
        return HC_ERR_MESSAGE;
    enum hc_status status = hc_frame_in(frame, size, buffer);
    if (status != HC_OK)
        return status;
    const uint8_t *bytes = (const uint8_t *)*buffer;
    for (size_t at = 0; at < size; at += char_size) {
        uint8_t any = 0;
        for (size_t i = 0; i < char_size; i++)
            any |= bytes[at + i];
        if (any == 0)
            return at + char_size == size ? HC_OK : HC_ERR_MESSAGE;
    }
    return HC_ERR_MESSAGE;
}

HC_NODISCARD HC_ALWAYS_INLINE enum hc_status
hc_frame_out(struct hc_frame *frame, size_t size, uint32_t flags, void **buffer, size_t *position)
{
    enum hc_status status = hc_frame_next(frame, size, position);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    status = hc_frame_memory(frame, size, buffer);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    if ((flags & HC_NRZ) == 0 && size != 0)
        __builtin_memset(*buffer, 0, size);
    return HC_OK;
}

/* user_check: an offset into the channel's shared memory becomes a pointer. 0 is NULL. */
HC_NODISCARD static inline enum hc_status hc_frame_shared(struct hc_frame *frame, uint64_t offset,
                                                          size_t size, void **pointer)
{
    const struct hc_geometry *g = &frame->port->end->geometry;
    *pointer = NULL;
    if (offset == 0)
        return HC_OK;
    if (offset < g->shared_at || !hc_range_inside(offset - g->shared_at, size, g->shared_size))
        return HC_ERR_MESSAGE;
    hc_speculation_barrier();
    *pointer = frame->port->end->u_base + offset;
    return HC_OK;
}

/* Copies an out buffer back to its place in the window. */
HC_ALWAYS_INLINE void hc_frame_reply(struct hc_frame *frame, size_t position, const void *buffer,
                                     size_t size)
{
    if (size != 0)
        hc_copy_out(frame->u_message + position, buffer, size);
}

/* Writes the fixed part of the answer. What it returns is the status of the call. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_frame_close(struct hc_frame *frame, const void *ms,
                                                            size_t ms_size)
{
    if (ms_size > HC_INLINE_SIZE)
        hc_copy_out(frame->u_message, ms, ms_size);
    else if (ms_size != 0)
        hc_copy_out(frame->u_cell->payload, ms, ms_size);
    return HC_OK;
}

/* ---- the layout that generated code has inlined ----------------------------------------------- */

/*
 * An enclave's shared object works on the loader's private structs through inlined code, so both
 * must have been compiled against the same ones. Compared when it is loaded.
 */
#define HC_LAYOUT                                                                                 \
    ((uint32_t)(sizeof(struct hc_port) * 31u + sizeof(struct hc_end) * 37u +                      \
                sizeof(struct hc_slot) * 41u + sizeof(struct hc_frame) * 43u +                    \
                sizeof(struct hc_call) * 47u + sizeof(struct hc_bounds) * 53u +                   \
                offsetof(struct hc_port, running) * 59u + offsetof(struct hc_port, arena) * 61u + \
                offsetof(struct hc_end, bounds) * 67u))

#ifdef __cplusplus
}
#endif

#endif /* HOTCALLS_MARSHAL_H */
