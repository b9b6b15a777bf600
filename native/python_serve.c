/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_serve.c -- runs the Python functions of an enclave when they are called.
 *
 * Enclave side, inside the boundary. The interpreter's lock (GIL): a thread of the runtime keeps
 * it after a call while it spins for the next one, and lets go of it before it first yields or
 * sleeps (python_rest), a few microseconds later. A lock that was let go of for less than a
 * microsecond comes back in 0.04 us, one that another thread took meanwhile in 5 ms: so it is let
 * go of late, and never for nothing. Without a GIL the same calls attach and detach the thread.
 */
#define _GNU_SOURCE
#include "python_serve.h"
#include "python_message.h"
#include "python_state.h"

#include <pthread.h>
#include <stdlib.h>

/* A thread's own. `holds` is only looked at inside the runtime, where nobody else changes it. */
struct python_thread {
    PyThreadState *state;
    bool holds;
};
static __thread struct python_thread t_thread;

/* Written once, before any call. */
static const struct python_function *g_functions;
static uint32_t g_count;
static PyObject *g_on_error;

/* ---- the interpreter's lock ------------------------------------------------------------------ */

/* Before a thread sleeps or yields (endpoint_on_rest). */
void python_rest(void)
{
    struct python_thread *self = &t_thread;
    if (self->holds) {
        self->holds = false;
        self->state = PyEval_SaveThread();
    }
}

bool python_ready(void)
{
    struct python_thread *self = &t_thread;
    /* For the life of the thread: extension modules find the state where they look for it. */
    if (self->state == NULL && PyGILState_GetThisThreadState() == NULL)
        self->state = hc_py_state_new();
    return self->state != NULL || PyGILState_GetThisThreadState() != NULL;
}

/* False: no memory for a thread that comes here for the first time. */
static bool python_enter(struct python_thread *self)
{
    if (HC_LIKELY(self->holds))
        return true;
    if (HC_UNLIKELY(self->state == NULL) && !python_ready())
        return false;
    if (HC_LIKELY(self->state != NULL)) {
        PyEval_RestoreThread(self->state);
    } else {
        /* A thread of Python's, which may have the lock at this moment. */
        (void)PyGILState_Ensure();
        self->state = PyThreadState_Get();
    }
    self->holds = true;
    return true;
}

/*
 * A thread of the runtime ends when the client that it served has gone. Explicitly and not in a
 * destructor of thread-specific data: the interpreter keeps its own there, in no order.
 */
static void python_leave(void)
{
    struct python_thread *self = &t_thread;
    if (self->state == NULL)
        return;
    if (!self->holds)
        PyEval_RestoreThread(self->state);
    self->state = NULL;
    self->holds = false;
    PyGILState_Release(PyGILState_UNLOCKED);
}

/* ---- held answers ---------------------------------------------------------------------------- */

/*
 * An answer that is larger than what its requester reserved waits here to be fetched. Whoever
 * never fetches loses the oldest ones: the memory that a host can make us keep is bounded. Each
 * client has a shelf of its own: it can neither fetch nor push out what another one waits for.
 */
#define HELD_MAX 256u
#define HELD_BYTES_MAX ((size_t)256 << 20)

struct held {
    uint64_t token; /* 0: free */
    uint32_t kind;
    PyObject *bytes;
};
struct shelf {
    struct held held[HELD_MAX]; /* of the token t at t % HELD_MAX */
    uint64_t last;
    uint64_t oldest;
    size_t bytes;
};
static pthread_mutex_t g_held_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shelf *g_shelves; /* by python_clients_owner */
static uint32_t g_shelf_count;

/* Takes an answer out; a new reference, or NULL. The lock is held. */
static PyObject *held_take(struct shelf *shelf, uint64_t token, uint32_t *kind)
{
    struct held *held = &shelf->held[token % HELD_MAX];
    if (token == 0 || held->token != token)
        return NULL;
    PyObject *bytes = held->bytes;
    *kind = held->kind;
    shelf->bytes -= (size_t)PyBytes_GET_SIZE(bytes);
    held->token = 0;
    held->bytes = NULL;
    return bytes;
}

/* Keeps `bytes`, which it refers to from now on; its token. */
static uint64_t held_put(struct shelf *shelf, PyObject *bytes, uint32_t kind)
{
    PyObject *dropped[HELD_MAX];
    size_t count = 0;
    uint32_t ignored;
    Py_INCREF(bytes);
    (void)pthread_mutex_lock(&g_held_lock);
    uint64_t token = ++shelf->last;
    shelf->bytes += (size_t)PyBytes_GET_SIZE(bytes);
    while (shelf->oldest + HELD_MAX <= token ||
           (shelf->oldest < token && shelf->bytes > HELD_BYTES_MAX / g_shelf_count)) {
        PyObject *old = held_take(shelf, shelf->oldest++, &ignored);
        if (old != NULL)
            dropped[count++] = old;
    }
    shelf->held[token % HELD_MAX] = (struct held){token, kind, bytes};
    (void)pthread_mutex_unlock(&g_held_lock);
    while (count != 0)
        Py_DECREF(dropped[--count]);
    return token;
}

static struct shelf *shelf_of(const struct hc_frame *frame)
{
    return &g_shelves[python_clients_owner(frame->port->end)];
}

void python_drop_held(uint32_t owner)
{
    PyObject *dropped[HELD_MAX];
    size_t count = 0;
    uint32_t ignored;
    struct shelf *shelf = &g_shelves[owner];
    if (shelf->bytes == 0 && shelf->last == 0)
        return;
    if (!python_enter(&t_thread))
        return;
    (void)pthread_mutex_lock(&g_held_lock);
    for (uint64_t token = shelf->oldest; token <= shelf->last; token++) {
        PyObject *old = held_take(shelf, token, &ignored);
        if (old != NULL)
            dropped[count++] = old;
    }
    shelf->oldest = shelf->last + 1u;
    (void)pthread_mutex_unlock(&g_held_lock);
    while (count != 0)
        Py_DECREF(dropped[--count]);
}

/* ---- serving --------------------------------------------------------------------------------- */

static enum hc_status write_head(struct hc_frame *frame, const struct hc_py_head *head)
{
    return hc_frame_close(frame, head, sizeof *head);
}

/* Answers with the bytes: in the cell, in the window, or held. */
static enum hc_status reply(struct hc_frame *frame, PyObject *bytes, uint32_t kind)
{
    struct hc_py_head head;
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    /* Zeroed: what is behind a short message goes out as well. */
    memset(&head, 0, sizeof head);
    if (HC_UNLIKELY(size > HC_WINDOW_MAX))
        return HC_ERR_TOO_LARGE;
    head.size = (uint32_t)size;
    head.kind = kind;
    if (size <= HC_PY_INLINE) {
        memcpy(head.data, PyBytes_AS_STRING(bytes), size);
    } else if (size <= frame->size) {
        hc_copy_out(frame->u_message, PyBytes_AS_STRING(bytes), size);
    } else {
        uint64_t token = held_put(shelf_of(frame), bytes, kind);
        head.kind = HC_PY_HELD;
        memcpy(head.data, &token, sizeof token);
    }
    return write_head(frame, &head);
}

/* The message as a new bytes object. *status is set when it is NULL. */
static PyObject *request(const struct hc_frame *frame, const struct hc_py_head *head,
                         enum hc_status *status)
{
    if (HC_LIKELY(head->size <= HC_PY_INLINE)) {
        *status = HC_ERR_MEMORY;
        return PyBytes_FromStringAndSize((const char *)head->data, (Py_ssize_t)head->size);
    }
    *status = HC_ERR_MESSAGE;
    if (head->size > frame->size)
        return NULL;
    hc_speculation_barrier();
    *status = HC_ERR_MEMORY;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)head->size);
    if (bytes != NULL)
        hc_copy_in(PyBytes_AS_STRING(bytes), frame->u_message, head->size);
    return bytes;
}

static PyObject *take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value != NULL && traceback != NULL)
        (void)PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* The exception that is set becomes the answer. */
static enum hc_status reply_exception(struct hc_frame *frame)
{
    PyObject *error = take_exception();
    PyObject *bytes = error != NULL ? PyObject_CallOneArg(g_on_error, error) : NULL;
    enum hc_status status = HC_ERR_CALLEE;
    if (bytes != NULL && PyBytes_CheckExact(bytes))
        status = reply(frame, bytes, HC_PY_EXCEPTION);
    else
        PyErr_Clear();
    Py_XDECREF(bytes);
    Py_XDECREF(error);
    return status;
}

static bool same_bytes(PyObject *expected, const struct hc_py_head *head)
{
    return expected != NULL && head->size <= HC_PY_INLINE &&
           head->size == (uint32_t)PyBytes_GET_SIZE(expected) &&
           memcmp(head->data, PyBytes_AS_STRING(expected), head->size) == 0;
}

/* The result of the function as bytes; a new reference, or NULL with an exception. */
static PyObject *run(const struct python_function *function, PyObject *message)
{
    PyObject *result;
    if (message == NULL) {
        result = PyObject_CallNoArgs(function->call);
    } else if (function->raw) {
        result = PyObject_CallOneArg(function->call, message);
    } else {
        PyObject *arguments = PyObject_CallOneArg(function->decode, message);
        if (arguments == NULL)
            return NULL;
        result = PyObject_Call(function->call, arguments, NULL);
        Py_DECREF(arguments);
    }
    if (result == NULL || (function->raw && PyBytes_CheckExact(result)))
        return result;
    PyObject *bytes = NULL;
    if (result == Py_None && function->none != NULL) {
        bytes = function->none;
        Py_INCREF(bytes);
    } else {
        bytes = PyObject_CallOneArg(function->encode, result);
        if (bytes != NULL && !PyBytes_CheckExact(bytes)) {
            PyObject *copy = PyBytes_FromObject(bytes);
            Py_DECREF(bytes);
            bytes = copy;
        }
    }
    Py_DECREF(result);
    return bytes;
}

enum hc_status python_bridge(struct hc_frame *frame)
{
    /* hc_dispatch has checked the id, and that a processor does not run ahead with a wrong one. */
    const struct python_function *function = &g_functions[hc_index_nospec(frame->id, g_count)];
    struct hc_py_head head;
    PyObject *message = NULL;
    enum hc_status status;

    memcpy(&head, frame->payload, sizeof head);
    if (HC_UNLIKELY(head.kind != HC_PY_VALUE))
        return HC_ERR_MESSAGE;
    if (HC_UNLIKELY(!python_enter(&t_thread)))
        return HC_ERR_MEMORY;
    if (!same_bytes(function->no_argument, &head)) {
        message = request(frame, &head, &status);
        if (HC_UNLIKELY(message == NULL)) {
            PyErr_Clear();
            return status;
        }
    }
    PyObject *answer = run(function, message);
    Py_XDECREF(message);
    if (HC_LIKELY(answer != NULL)) {
        status = reply(frame, answer, HC_PY_VALUE);
        Py_DECREF(answer);
    } else {
        status = reply_exception(frame);
    }
    return status;
}

enum hc_status python_fetch(struct hc_frame *frame)
{
    struct hc_py_head head;
    uint64_t token;
    uint32_t kind = HC_PY_VALUE;
    PyObject *bytes = NULL;
    memcpy(&head, frame->payload, sizeof head);
    if (head.kind != HC_PY_VALUE || head.size != sizeof token)
        return HC_ERR_MESSAGE;
    memcpy(&token, head.data, sizeof token);
    if (HC_UNLIKELY(!python_enter(&t_thread)))
        return HC_ERR_MEMORY;
    struct shelf *shelf = shelf_of(frame);
    (void)pthread_mutex_lock(&g_held_lock);
    const struct held *held = &shelf->held[hc_index_nospec(token % HELD_MAX, HELD_MAX)];
    bool fits =
        held->token == token && token != 0 && (size_t)PyBytes_GET_SIZE(held->bytes) <= frame->size;
    if (fits)
        bytes = held_take(shelf, token, &kind);
    (void)pthread_mutex_unlock(&g_held_lock);
    if (bytes == NULL)
        return HC_ERR_ARGUMENT;
    enum hc_status status = reply(frame, bytes, kind);
    Py_DECREF(bytes);
    return status;
}

enum hc_status python_serve_these(const struct python_function *functions, uint32_t count,
                                  PyObject *on_error, uint32_t clients)
{
    g_shelf_count = clients + 1u;
    g_shelves = calloc(g_shelf_count, sizeof *g_shelves);
    if (g_shelves == NULL)
        return HC_ERR_MEMORY;
    for (uint32_t i = 0; i < g_shelf_count; i++)
        g_shelves[i].oldest = 1;
    g_functions = functions;
    g_count = count;
    g_on_error = on_error;
    endpoint_on_rest(python_rest);
    endpoint_on_leave(python_leave);
    return HC_OK;
}

/* ---- calling out ----------------------------------------------------------------------------- */

/* The answer of the call, copied in once. On HC_OK the call goes on to hc_call_end. */
static enum hc_status read_answer(struct hc_call *call, const struct hc_py_head *head,
                                  PyObject **answer)
{
    if (head->size <= HC_PY_INLINE) {
        *answer = PyBytes_FromStringAndSize((const char *)head->data, (Py_ssize_t)head->size);
        return *answer != NULL ? HC_OK : HC_ERR_MEMORY;
    }
    if (head->size > call->size)
        return HC_ERR_MESSAGE;
    hc_speculation_barrier();
    *answer = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)head->size);
    if (*answer == NULL)
        return HC_ERR_MEMORY;
    return hc_call_copy_out(call, 0, PyBytes_AS_STRING(*answer), head->size);
}

enum hc_status python_ocall(uint32_t id, const void *message, size_t size, size_t reserve,
                            uint32_t *kind, PyObject **answer, uint64_t *token, size_t *answer_size)
{
    struct python_thread *self = &t_thread;
    struct hc_py_head head;
    struct hc_call call;
    size_t room = size > HC_PY_INLINE && size > reserve ? size : reserve;
    struct hc_port *port = hc_enclave_port();
    if (port == NULL)
        return hc_enclave_port_error();
    if (size > HC_WINDOW_MAX || room > HC_WINDOW_MAX)
        return HC_ERR_TOO_LARGE;
    /* A thread of the module's own comes here with its own state. */
    self->state = PyThreadState_Get();
    self->holds = true;
    enum hc_status status = hc_call_begin(port, &call, id, sizeof head, room);
    if (status == HC_OK) {
        memset(&head, 0, sizeof head);
        head.size = (uint32_t)size;
        head.kind = HC_PY_VALUE;
        if (size <= HC_PY_INLINE)
            memcpy(head.data, message, size);
        else
            hc_call_in(&call, message, size);
        status = hc_call_run(&call, &head, sizeof head);
    }
    if (!self->holds) {
        PyEval_RestoreThread(self->state);
        self->holds = true;
    }
    if (status != HC_OK)
        return status;
    *kind = head.kind;
    *answer_size = head.size;
    if (head.kind == HC_PY_HELD)
        memcpy(token, head.data, sizeof *token);
    else if (head.kind == HC_PY_VALUE || head.kind == HC_PY_EXCEPTION)
        status = read_answer(&call, &head, answer);
    else
        status = HC_ERR_MESSAGE;
    hc_call_end(&call);
    return status;
}
