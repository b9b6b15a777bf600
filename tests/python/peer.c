/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer.c -- an enclave that speaks python_message.h without Python: what the host's half is tested
 * against. It also lies when asked to (LIE), as an enclave does that was taken over.
 */
#include <hotcalls_enclave.h>
#include <python_message.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { O_ASK, O_TELL, O_FETCH, O_COUNT };

#define HELD_MAX 64u
#define BYTES_MAX (UINT32_C(1) << 26)
#define RISE_MS 30000u

struct held {
    uint64_t token;
    uint32_t kind;
    uint32_t size;
    uint8_t *bytes;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct held g_held[HELD_MAX];
static uint64_t g_tokens = 0x1122334455667788u;
static uint64_t g_notes;
static uint32_t g_naps, g_naps_most, g_rises;

/* A call's message in private memory. */
struct message {
    uint32_t size;
    uint8_t *bytes;
};

static enum hc_status open_message(struct hc_frame *frame, struct message *message)
{
    struct hc_py_head head;
    memcpy(&head, frame->payload, sizeof head);
    if (head.kind != HC_PY_VALUE || head.size > BYTES_MAX ||
        (head.size > HC_PY_INLINE && head.size > frame->size))
        return HC_ERR_MESSAGE;
    message->size = head.size;
    message->bytes = malloc(head.size + 1u);
    if (message->bytes == NULL)
        return HC_ERR_MEMORY;
    if (head.size <= HC_PY_INLINE)
        memcpy(message->bytes, head.data, head.size);
    else
        hc_copy_in(message->bytes, frame->u_message, head.size);
    message->bytes[head.size] = 0;
    return HC_OK;
}

static enum hc_status answer(struct hc_frame *frame, uint32_t kind, const void *bytes,
                             uint32_t size)
{
    struct hc_py_head head;
    memset(&head, 0, sizeof head);
    head.kind = kind;
    head.size = size;
    if (size <= HC_PY_INLINE) {
        memcpy(head.data, bytes, size);
    } else if (size <= frame->size) {
        hc_copy_out(frame->u_message, bytes, size);
    } else {
        (void)pthread_mutex_lock(&g_lock);
        uint64_t token = ++g_tokens;
        struct held *held = &g_held[token % HELD_MAX];
        free(held->bytes);
        held->token = token;
        held->kind = kind;
        held->size = size;
        held->bytes = malloc(size);
        if (held->bytes != NULL)
            memcpy(held->bytes, bytes, size);
        (void)pthread_mutex_unlock(&g_lock);
        head.kind = HC_PY_HELD;
        memcpy(head.data, &token, sizeof token);
    }
    return hc_frame_close(frame, &head, sizeof head);
}

static enum hc_status e_echo(struct hc_frame *frame)
{
    struct hc_py_head head;
    memcpy(&head, frame->payload, sizeof head);
    if (HC_LIKELY(head.kind == HC_PY_VALUE && head.size <= HC_PY_INLINE))
        return hc_frame_close(frame, &head, sizeof head);
    struct message message;
    enum hc_status status = open_message(frame, &message);
    if (status == HC_OK) {
        status = answer(frame, HC_PY_VALUE, message.bytes, message.size);
        free(message.bytes);
    }
    return status;
}

static enum hc_status e_note(struct hc_frame *frame)
{
    (void)__atomic_add_fetch(&g_notes, 1u, __ATOMIC_RELAXED);
    return answer(frame, HC_PY_VALUE, "", 0);
}

static enum hc_status e_notes(struct hc_frame *frame)
{
    uint64_t notes = __atomic_load_n(&g_notes, __ATOMIC_RELAXED);
    return answer(frame, HC_PY_VALUE, &notes, sizeof notes);
}

/* The message is an exception's; it is raised. */
static enum hc_status e_fail(struct hc_frame *frame)
{
    struct message message;
    enum hc_status status = open_message(frame, &message);
    if (status == HC_OK) {
        status = answer(frame, HC_PY_EXCEPTION, message.bytes, message.size);
        free(message.bytes);
    }
    return status;
}

/* As many bytes as the message, a uint32_t, says. */
static enum hc_status e_grow(struct hc_frame *frame)
{
    struct message message;
    uint32_t size = 0;
    enum hc_status status = open_message(frame, &message);
    if (status != HC_OK)
        return status;
    memcpy(&size, message.bytes, message.size < sizeof size ? message.size : sizeof size);
    free(message.bytes);
    uint8_t *bytes = size <= BYTES_MAX ? malloc(size + 1u) : NULL;
    if (bytes == NULL)
        return HC_ERR_MEMORY;
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 7u);
    status = answer(frame, HC_PY_VALUE, bytes, size);
    free(bytes);
    return status;
}

static uint64_t milliseconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/*
 * Sleeps so many milliseconds, or until rise() is called; answers how many slept at the same time
 * at most.
 */
static enum hc_status e_nap(struct hc_frame *frame)
{
    struct message message;
    uint32_t ms = 0;
    enum hc_status status = open_message(frame, &message);
    if (status != HC_OK)
        return status;
    memcpy(&ms, message.bytes, message.size < sizeof ms ? message.size : sizeof ms);
    free(message.bytes);
    uint32_t rises = __atomic_load_n(&g_rises, __ATOMIC_RELAXED);
    uint32_t now = __atomic_add_fetch(&g_naps, 1u, __ATOMIC_RELEASE); /* SYNC: see e_napping */
    uint32_t most = __atomic_load_n(&g_naps_most, __ATOMIC_RELAXED);
    while (most < now && !__atomic_compare_exchange_n(&g_naps_most, &most, now, false,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    const struct timespec step = {0, 1000000};
    uint64_t end = milliseconds() + ms;
    while (milliseconds() < end && __atomic_load_n(&g_rises, __ATOMIC_RELAXED) == rises)
        (void)nanosleep(&step, NULL);
    (void)__atomic_sub_fetch(&g_naps, 1u, __ATOMIC_RELAXED);
    most = __atomic_load_n(&g_naps_most, __ATOMIC_RELAXED);
    return answer(frame, HC_PY_VALUE, &most, sizeof most);
}

/*
 * Ends the naps, and returns when they are over: how long a call takes is then for the test to say,
 * and not for the clock.
 */
static enum hc_status e_rise(struct hc_frame *frame)
{
    const struct timespec step = {0, 1000000};
    uint64_t end = milliseconds() + RISE_MS;
    (void)__atomic_add_fetch(&g_rises, 1u, __ATOMIC_RELAXED);
    while (milliseconds() < end && __atomic_load_n(&g_naps, __ATOMIC_RELAXED) != 0)
        (void)nanosleep(&step, NULL);
    return answer(frame, HC_PY_VALUE, "", 0);
}

/* Answers how many sleep. */
static enum hc_status e_napping(struct hc_frame *frame)
{
    /* SYNC: pairs with e_nap, g_naps; publishes that g_rises was read: rise() ends those naps. */
    uint32_t naps = __atomic_load_n(&g_naps, __ATOMIC_ACQUIRE);
    return answer(frame, HC_PY_VALUE, &naps, sizeof naps);
}

/* Makes an ocall with the message and hands its answer on, of whatever kind. */
static enum hc_status ocall(struct hc_frame *frame, uint32_t id, const void *bytes, uint32_t size,
                            uint32_t room, bool fetching)
{
    struct hc_port *port = hc_enclave_port();
    struct hc_py_head head;
    struct hc_call call;
    uint8_t *copy = NULL;
    if (port == NULL)
        return hc_enclave_port_error();
    memset(&head, 0, sizeof head);
    head.size = size;
    if (size <= HC_PY_INLINE)
        memcpy(head.data, bytes, size);
    else if (room < size)
        room = size;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof head, room);
    if (status != HC_OK)
        return status;
    if (size > HC_PY_INLINE)
        hc_copy_out(call.u_message, bytes, size);
    status = hc_call_run(&call, &head, sizeof head);
    if (status != HC_OK)
        return status;
    if (head.kind != HC_PY_HELD && head.size > HC_PY_INLINE && head.size <= call.size) {
        copy = malloc(head.size);
        if (copy != NULL)
            hc_copy_in(copy, call.u_message, head.size);
    }
    hc_call_end(&call);
    if (head.kind == HC_PY_HELD)
        return fetching ? HC_ERR_MESSAGE : ocall(frame, O_FETCH, head.data, 8u, head.size, true);
    status = answer(frame, head.kind, copy != NULL ? copy : head.data, head.size);
    free(copy);
    return status;
}

static enum hc_status e_ask(struct hc_frame *frame)
{
    struct message message;
    enum hc_status status = open_message(frame, &message);
    if (status == HC_OK) {
        status = ocall(frame, O_ASK, message.bytes, message.size, 0, false);
        free(message.bytes);
    }
    return status;
}

static enum hc_status e_tell(struct hc_frame *frame)
{
    struct message message;
    enum hc_status status = open_message(frame, &message);
    if (status == HC_OK) {
        status = ocall(frame, O_TELL, message.bytes, message.size, 0, false);
        free(message.bytes);
    }
    return status;
}

static enum hc_status e_leave(struct hc_frame *frame)
{
    (void)frame;
    _exit(7);
}

static enum hc_status e_crash(struct hc_frame *frame)
{
    static int *volatile g_null;
    (void)frame;
    return (enum hc_status) * g_null;
}

/* The first 40 bytes of the message are the head of the answer, whatever they say. */
static enum hc_status e_lie(struct hc_frame *frame)
{
    struct message message;
    struct hc_py_head head;
    memset(&head, 0, sizeof head);
    enum hc_status status = open_message(frame, &message);
    if (status != HC_OK)
        return status;
    memcpy(&head, message.bytes, message.size < sizeof head ? message.size : sizeof head);
    free(message.bytes);
    return hc_frame_close(frame, &head, sizeof head);
}

/* Writes the word of its own call over, and never ends. */
static enum hc_status e_scribble(struct hc_frame *frame)
{
    __atomic_store_n(&frame->u_cell->word, UINT64_C(0x4242424242424242), __ATOMIC_RELEASE);
    while (pause() != 0)
        ;
    return HC_OK;
}

static enum hc_status e_fetch(struct hc_frame *frame)
{
    struct message message;
    uint64_t token = 0;
    struct held held = {0, 0, 0, NULL};
    enum hc_status status = open_message(frame, &message);
    if (status != HC_OK)
        return status;
    memcpy(&token, message.bytes, message.size < sizeof token ? message.size : sizeof token);
    free(message.bytes);
    (void)pthread_mutex_lock(&g_lock);
    struct held *found = &g_held[token % HELD_MAX];
    if (found->token == token && found->bytes != NULL) {
        held = *found;
        found->bytes = NULL;
    }
    (void)pthread_mutex_unlock(&g_lock);
    /* Tokens of lies: an answer that is held again, of another size, or that never was. */
    if (token == 1)
        return answer(frame, HC_PY_VALUE, "short", 5);
    if (token == 2) {
        struct hc_py_head head = {frame->size + 1u, HC_PY_HELD, {2}};
        return hc_frame_close(frame, &head, sizeof head);
    }
    if (held.bytes == NULL)
        return HC_ERR_MESSAGE;
    status = answer(frame, held.kind, held.bytes, held.size);
    free(held.bytes);
    return status;
}

static const uint64_t g_allow_all[4] = {~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0)};

/* The order is that of PEER in conftest.py. */
static const struct hc_function g_ecalls[] = {
    {"echo", e_echo, HC_FN_PUBLIC, NULL},   {"note", e_note, HC_FN_PUBLIC, NULL},
    {"notes", e_notes, HC_FN_PUBLIC, NULL}, {"fail", e_fail, HC_FN_PUBLIC, NULL},
    {"grow", e_grow, HC_FN_PUBLIC, NULL},   {"nap", e_nap, HC_FN_PUBLIC, NULL},
    {"ask", e_ask, HC_FN_PUBLIC, NULL},     {"tell", e_tell, HC_FN_PUBLIC, NULL},
    {"leave", e_leave, HC_FN_PUBLIC, NULL}, {"crash", e_crash, HC_FN_PUBLIC, NULL},
    {"lie", e_lie, HC_FN_PUBLIC, NULL},     {"scribble", e_scribble, HC_FN_PUBLIC, NULL},
    {"typed", e_echo, HC_FN_PUBLIC, NULL},  {"arrays", e_echo, HC_FN_PUBLIC, NULL},
    {"rise", e_rise, HC_FN_PUBLIC, NULL},   {"napping", e_napping, HC_FN_PUBLIC, NULL},
    {"fetch", e_fetch, HC_FN_PUBLIC, NULL},
};

static const struct hc_function g_ocalls[O_COUNT] = {
    {"ask", NULL, 0, g_allow_all},
    {"tell", NULL, 0, g_allow_all},
    {"fetch", NULL, 0, g_allow_all},
};

HC_PUBLIC extern const struct hc_interface hc_enclave_interface;

const struct hc_interface hc_enclave_interface = {
    .abi = HC_ABI,
    .layout = HC_LAYOUT,
    .ecall_count = sizeof g_ecalls / sizeof g_ecalls[0],
    .ocall_count = O_COUNT,
    .name = "peer",
    .ecalls = g_ecalls,
    .ocalls = g_ocalls,
};
