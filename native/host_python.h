/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host_python.h -- a call of a Python enclave, as the host's extension makes it.
 *
 * Untrusted side; private to the extension, not installed. The message is that of python_message.h.
 * Waiting is in two parts, so that the caller decides what to do with the GIL: hc_py_spin looks at
 * nothing but the cell for some microseconds, hc_py_wait is the runtime's ordinary wait.
 */
#ifndef HOTCALLS_HOST_PYTHON_H
#define HOTCALLS_HOST_PYTHON_H

#include "hotcalls_host.h"
#include "python_message.h"

/*
 * So long a caller keeps the GIL. Beside a thread that computes, a GIL released for 1 us came
 * back in 0.04 us and one released for 10 us in 5 ms: another thread had got it meanwhile. So most
 * calls are answered without releasing it at all, and no other thread waits noticeably.
 */
#define HC_PY_SPIN_US 3u

/* A call that is being made. */
struct hc_py_call {
    struct hc_call call;
    struct hc_py_head head; /* of the answer, once there is one: a private copy */
    uint64_t start;         /* of a sampled call; else 0 */
    bool switched;
};

/* Sets `head` up as a request of `size` bytes at `data`; no stale byte of it leaves. */
HC_ALWAYS_INLINE void hc_py_head_set(struct hc_py_head *head, const void *data, size_t size)
{
    head->size = (uint32_t)size;
    head->kind = HC_PY_VALUE;
    __builtin_memset(head->data, 0, sizeof head->data);
    if (size <= HC_PY_INLINE)
        __builtin_memcpy(head->data, data, size);
}

/*
 * Begins and posts a call with room for an answer of `room` bytes. Whatever is not HC_OK was not
 * posted. On HC_OK one of hc_py_spin and hc_py_wait follows.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_py_post(struct hc_port *port,
                                                        struct hc_py_call *made, uint32_t id,
                                                        uint32_t mode, const void *data,
                                                        size_t size, size_t room)
{
    struct hc_call *call = &made->call;
    if (HC_UNLIKELY(size > UINT32_MAX))
        return HC_ERR_TOO_LARGE;
    if (HC_UNLIKELY(size > HC_PY_INLINE && room < size))
        room = size;
    enum hc_status status = hc_call_begin(port, call, id, sizeof made->head, room);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    hc_py_head_set(&made->head, data, size);
    if (size > HC_PY_INLINE)
        hc_copy_out(call->u_message, data, size);
    hc_call_write(call, &made->head, sizeof made->head, 0);
    if (HC_UNLIKELY(port->batch_from != 0)) {
        /* As hc_call_run: behind what the batch holds back, and not part of it. */
        port->out->tail = call->n;
        hc_batch_post(port);
        port->out->tail = call->n + 1u;
        port->batch_from = call->n + 1u;
    }
    port->allow = port->end->outgoing[id].allow;
    bool timed = HC_UNLIKELY(port->calls++ % HC_SAMPLE_EVERY == 0);
    made->start = timed ? hc_tsc() : 0;
    made->switched = hc_transact_post(port, call->n, mode != HC_MODE_DEFAULT ? mode : call->mode);
    return HC_OK;
}

/*
 * Spins until the answer is there (true) or some microseconds have passed. Serves what the other
 * side calls back, whose time does not count.
 */
HC_ALWAYS_INLINE bool hc_py_spin(struct hc_py_call *made)
{
    struct hc_port *port = made->call.port;
    const struct hc_bounds *bounds = &port->end->bounds;
    const struct hc_cell *u_cell = made->call.u_cell;
    const uint64_t done = hc_word(made->call.n, HC_WORD_DONE);
    uint64_t until = 0;
    if (HC_UNLIKELY(made->switched))
        return false;
    for (uint32_t pause = 0; pause < bounds->head_start; pause++)
        hc_pause();
    for (uint32_t looks = 1;; looks++) {
        /* SYNC: acquire pairs with hc_finish, word; publishes status, payload and window. */
        if (__atomic_load_n(&u_cell->word, __ATOMIC_ACQUIRE) == done)
            return true;
        if (HC_UNLIKELY(hc_peek(port->in, true))) {
            (void)hc_serve(port);
            until = 0;
            continue;
        }
        hc_pause();
        if (HC_LIKELY(looks % 8u != 0))
            continue;
        uint64_t now = hc_tsc();
        if (until == 0)
            until = now + HC_PY_SPIN_US * bounds->cycles_per_us;
        else if ((int64_t)(now - until) >= 0)
            return false;
    }
}

/*
 * Large messages take longer to copy than a wait spins before it sleeps, and a sleep and a wake-up
 * cost as much again: 1 MiB each way takes the other side 60 us in a near class and a far one
 * twice that. So a call is spun for, besides, as long as copying its bytes may take: 4 bytes each
 * nanosecond. Only while somebody runs it and calls nothing back.
 */
static inline bool hc_py_spin_large(struct hc_py_call *made)
{
    struct hc_port *port = made->call.port;
    const uint64_t done = hc_word(made->call.n, HC_WORD_DONE);
    const uint64_t taken = hc_word(made->call.n, HC_WORD_TAKEN);
    uint64_t until = hc_tsc() + made->call.size / 4u * port->end->bounds.cycles_per_us / 1000u;
    if (made->switched || port->end->bounds.crowded)
        return false;
    while ((int64_t)(hc_tsc() - until) < 0) {
        for (int pause = 0; pause < 8; pause++)
            hc_pause();
        /* SYNC: acquire pairs with hc_finish, word; publishes status, payload and window. */
        uint64_t word = __atomic_load_n(&made->call.u_cell->word, __ATOMIC_ACQUIRE);
        if (word == done)
            return true;
        if (word != taken || hc_peek(port->in, true))
            break;
    }
    return false;
}

/* From here on copying takes a while. */
#define HC_PY_LARGE 65536u

/* Waits until the answer is there. On anything but HC_OK the call was given up and has ended. */
HC_NODISCARD static inline enum hc_status hc_py_wait(struct hc_py_call *made, uint64_t timeout)
{
    struct hc_port *port = made->call.port;
    if (made->call.size >= HC_PY_LARGE && hc_py_spin_large(made))
        return HC_OK;
    enum hc_status status = hc_await(port, made->call.n, made->call.n, timeout, made->switched);
    if (HC_UNLIKELY(status != HC_OK)) {
        port->allow = NULL;
        hc_port_leave(port, false);
    }
    return status;
}

/*
 * Is this head, a private copy, one that an answer may have? `room` is what the request reserved;
 * a HELD answer is the one that does not fit into it, and its token the only bytes that came.
 */
HC_NODISCARD HC_ALWAYS_INLINE bool hc_py_head_valid(const struct hc_py_head *head, size_t room)
{
    if (HC_UNLIKELY(head->kind == HC_PY_HELD))
        return head->size > room && head->size > HC_PY_INLINE;
    return head->kind <= HC_PY_EXCEPTION && (head->size <= HC_PY_INLINE || head->size <= room);
}

/*
 * Of an enclave that was closed meanwhile, what was read may have been the zeros that take the
 * region's place. Asked after the copy, before anybody believes it.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_py_still_open(struct hc_py_call *made)
{
    enum hc_status broken = hc_broken(made->call.port->end);
    if (HC_UNLIKELY(broken == HC_ERR_CLOSED))
        return hc_call_failed(&made->call, broken);
    return HC_OK;
}

/*
 * Reads the answer's head into `made->head`. On HC_OK it is valid and the caller copies what it
 * speaks of and then calls hc_call_end; on anything else the call has ended.
 */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_py_answer(struct hc_py_call *made)
{
    struct hc_port *port = made->call.port;
    port->allow = NULL;
    if (HC_UNLIKELY(made->start != 0))
        hc_sample(port, made->call.id, hc_tsc() - made->start);
    enum hc_status status = hc_call_answer(&made->call, &made->head, sizeof made->head);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    if (HC_UNLIKELY(!hc_py_head_valid(&made->head, made->call.size)))
        return hc_call_failed(&made->call, HC_ERR_MESSAGE);
    return hc_py_still_open(made);
}

/* ---- many calls of one thread ------------------------------------------------------------------ */

/* Posts a call that is collected later by this thread, in order; see hc_call_submit. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_py_submit(struct hc_port *port,
                                                          struct hc_py_call *made, uint32_t id,
                                                          const void *data, size_t size,
                                                          size_t room)
{
    if (HC_UNLIKELY(size > UINT32_MAX))
        return HC_ERR_TOO_LARGE;
    if (size > HC_PY_INLINE && room < size)
        room = size;
    enum hc_status status = hc_call_begin(port, &made->call, id, sizeof made->head, room);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    hc_py_head_set(&made->head, data, size);
    if (size > HC_PY_INLINE)
        hc_copy_out(made->call.u_message, data, size);
    return hc_call_submit(&made->call, &made->head, sizeof made->head);
}

/* Is the answer there, or within some microseconds? */
HC_ALWAYS_INLINE bool hc_py_look(struct hc_py_call *made)
{
    const struct hc_bounds *bounds = &made->call.port->end->bounds;
    const uint64_t done = hc_word(made->call.n, HC_WORD_DONE);
    uint64_t until = 0;
    for (uint32_t looks = 1;; looks++) {
        /* SYNC: acquire pairs with hc_finish, word; publishes status, payload and window. */
        if (__atomic_load_n(&made->call.u_cell->word, __ATOMIC_ACQUIRE) == done)
            return true;
        hc_pause();
        if (looks % 8u != 0)
            continue;
        uint64_t now = hc_tsc();
        if (until == 0)
            until = now + HC_PY_SPIN_US * bounds->cycles_per_us;
        else if ((int64_t)(now - until) >= 0)
            return false;
    }
}

/* Waits for a submitted call; then as hc_py_answer. */
HC_NODISCARD static inline enum hc_status hc_py_collect(struct hc_py_call *made)
{
    enum hc_status status = hc_call_wait(&made->call, &made->head, sizeof made->head);
    if (HC_UNLIKELY(status != HC_OK))
        return status;
    if (HC_UNLIKELY(!hc_py_head_valid(&made->head, made->call.size)))
        return hc_call_failed(&made->call, HC_ERR_MESSAGE);
    return hc_py_still_open(made);
}

/* ---- answering what comes in ------------------------------------------------------------------ */

/* Where the message of a frame is: in the private copy of its head, or in the window. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status hc_py_frame_open(struct hc_frame *frame,
                                                              struct hc_py_head *head)
{
    __builtin_memcpy(head, frame->payload, sizeof *head);
    if (head->kind != HC_PY_VALUE || (head->size > HC_PY_INLINE && head->size > frame->size))
        return HC_ERR_MESSAGE;
    if (head->size > HC_PY_INLINE)
        hc_speculation_barrier();
    return HC_OK;
}

/* Does an answer of this size fit into what the requester reserved? */
HC_ALWAYS_INLINE bool hc_py_fits(const struct hc_frame *frame, size_t size)
{
    return size <= HC_PY_INLINE || size <= frame->size;
}

/* An answer that fits, or of kind HELD, whose `data` is the token and `size` that of the whole. */
HC_NODISCARD HC_ALWAYS_INLINE enum hc_status
hc_py_frame_close(struct hc_frame *frame, uint32_t kind, const void *data, size_t size)
{
    struct hc_py_head head;
    if (kind == HC_PY_HELD) {
        hc_py_head_set(&head, data, sizeof(uint64_t));
        head.size = (uint32_t)size;
    } else {
        hc_py_head_set(&head, data, size);
        if (size > HC_PY_INLINE)
            hc_copy_out(frame->u_message, data, size);
    }
    head.kind = kind;
    return hc_frame_close(frame, &head, sizeof head);
}

#endif /* HOTCALLS_HOST_PYTHON_H */
