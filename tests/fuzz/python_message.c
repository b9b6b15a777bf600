/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_message.c -- calls of a Python enclave as C sees them: messages in cells and windows,
 * answers that are held until they are fetched, clients that come and go.
 *
 * Enclave side, against a hostile host (peer.h), with an interpreter of its own (python_stub).
 * Input: what the host posts and rewrites, and what the functions do.
 *
 * Promised: a message is the bytes that the cell or the window held, all of them inside; nothing is
 * answered that no function returned; every object is given back; a client gets its own answers.
 */
#include "peer.h"

#include "python_message.h"

#include "../../native/python_clients.c"

#define FUNCTIONS 4u
#define CLIENTS 2u

/* ---- an interpreter --------------------------------------------------------------------------- */

enum kind { BYTES, BYTES_LIKE, OTHER, CALLABLE };

struct object {
    long references;
    enum kind kind;
    size_t size;
    char *bytes;
};

struct interpreter_state {
    char unused;
};
struct thread_state {
    int nothing;
};

static struct object g_none = {1, OTHER, 0, NULL};
PyObject *Py_None = &g_none;
static long g_alive;       /* objects that are not given back */
static PyObject *g_raised; /* the exception that is set */
static struct thread_state g_state;
static struct interpreter_state g_interpreter;
static bool g_locked;

static PyObject *new_object(enum kind kind, const char *bytes, size_t size)
{
    PyObject *object = malloc(sizeof *object);
    PROMISE(object != NULL);
    *object = (PyObject){1, kind, size, malloc(size)};
    PROMISE(object->bytes != NULL);
    if (bytes != NULL)
        memcpy(object->bytes, bytes, size);
    else
        memset(object->bytes, 0x5a, size);
    g_alive++;
    return object;
}

void Py_INCREF(PyObject *object)
{
    PROMISE(object->references > 0);
    object->references++;
}

void Py_DECREF(PyObject *object)
{
    PROMISE(object->references > 0 && g_locked);
    if (--object->references != 0)
        return;
    PROMISE(object != Py_None);
    free(object->bytes);
    free(object);
    g_alive--;
}

void Py_XDECREF(PyObject *object)
{
    if (object != NULL)
        Py_DECREF(object);
}

static PyObject *raise_error(void)
{
    PROMISE(g_raised == NULL);
    g_raised = new_object(OTHER, NULL, 1);
    return NULL;
}

PyObject *PyBytes_FromStringAndSize(const char *bytes, Py_ssize_t size)
{
    PROMISE(g_locked && size >= 0);
    if (size > (1 << 20))
        return raise_error();
    return new_object(BYTES, bytes, (size_t)size);
}

PyObject *PyBytes_FromObject(PyObject *object)
{
    if (object->kind != BYTES_LIKE)
        return raise_error();
    return new_object(BYTES, object->bytes, object->size);
}

bool PyBytes_CheckExact(const PyObject *object)
{
    return object->kind == BYTES;
}

Py_ssize_t PyBytes_GET_SIZE(const PyObject *bytes)
{
    PROMISE(bytes->kind == BYTES);
    return (Py_ssize_t)bytes->size;
}

char *PyBytes_AS_STRING(PyObject *bytes)
{
    PROMISE(bytes->kind == BYTES);
    return bytes->bytes;
}

/* What a function, a decoder, an encoder or on_error does is the input's choice. */
static PyObject *outcome(PyObject *argument)
{
    PROMISE(g_locked && g_raised == NULL);
    if (argument != NULL && argument->kind == BYTES)
        (void)touch(argument->bytes, argument->size);
    peer_turn();
    uint8_t what = input_u8(&g_input);
    switch (what % 8u) {
    case 0:
        return raise_error();
    case 1:
        Py_INCREF(Py_None);
        return Py_None;
    case 2:
        return new_object(BYTES_LIKE, NULL, input_u8(&g_input));
    case 3:
        return new_object(OTHER, NULL, 1);
    case 4:
        return new_object(BYTES, NULL, input_u16(&g_input) % 4096u);
    default:
        return new_object(BYTES, NULL, what / 4u);
    }
}

PyObject *PyObject_CallNoArgs(PyObject *callable)
{
    PROMISE(callable->kind == CALLABLE);
    return outcome(NULL);
}

PyObject *PyObject_CallOneArg(PyObject *callable, PyObject *argument)
{
    PROMISE(callable->kind == CALLABLE && argument->references > 0);
    return outcome(argument);
}

PyObject *PyObject_Call(PyObject *callable, PyObject *arguments, PyObject *keywords)
{
    PROMISE(keywords == NULL);
    return PyObject_CallOneArg(callable, arguments);
}

PyObject *PyErr_GetRaisedException(void)
{
    PyObject *raised = g_raised;
    g_raised = NULL;
    return raised;
}

void PyErr_Clear(void)
{
    Py_XDECREF(g_raised);
    g_raised = NULL;
}

PyThreadState *PyEval_SaveThread(void)
{
    PROMISE(g_locked);
    g_locked = false;
    return &g_state;
}

void PyEval_RestoreThread(PyThreadState *state)
{
    PROMISE(!g_locked && state == &g_state);
    g_locked = true;
}

PyThreadState *PyThreadState_Get(void)
{
    PROMISE(g_locked);
    return &g_state;
}

PyThreadState *PyGILState_GetThisThreadState(void)
{
    return NULL; /* no thread of Python's comes here */
}

PyGILState_STATE PyGILState_Ensure(void)
{
    PROMISE(false);
    return PyGILState_UNLOCKED;
}

PyInterpreterState *PyInterpreterState_Main(void)
{
    return &g_interpreter;
}

PyThreadState *PyThreadState_New(PyInterpreterState *interpreter)
{
    PROMISE(interpreter == &g_interpreter);
    return &g_state;
}

void PyGILState_Release(PyGILState_STATE state)
{
    (void)state;
    g_locked = false;
}

/* ---- the rest of the runtime ------------------------------------------------------------------- */

static struct hc_geometry g_client_geometry;

struct hc_port *hc_enclave_port(void)
{
    return peer_port();
}

enum hc_status hc_enclave_port_error(void)
{
    return HC_ERR_ARGUMENT;
}

void endpoint_on_rest(void (*rest)(void))
{
    (void)rest;
}

void endpoint_on_leave(void (*leave)(void))
{
    (void)leave;
}

enum hc_status endpoint_start(struct endpoint *endpoint)
{
    (void)endpoint;
    return input_u8(&g_input) == 1 ? HC_ERR_MEMORY : HC_OK;
}

bool endpoint_try_stop(struct endpoint *endpoint)
{
    PROMISE(hc_broken(&endpoint->end) != HC_OK);
    return input_u8(&g_input) % 2u == 0;
}

void endpoint_free(struct endpoint *endpoint)
{
    PROMISE(endpoint->end.u_base != NULL);
    memset(endpoint, 0, sizeof *endpoint);
}

struct hc_geometry enclave_map_client(int channel, int done, uint8_t **u_base)
{
    (void)channel;
    (void)done;
    *u_base = (uint8_t *)g_end.u_base;
    return g_client_geometry;
}

enum hc_status enclave_endpoint_init(struct endpoint *endpoint, uint8_t *u_base,
                                     const struct hc_geometry *geometry,
                                     const struct hc_interface *interface, int notify_fd)
{
    static struct hc_side_board board;
    (void)geometry;
    (void)interface;
    (void)notify_fd;
    /* Only a place that nobody has is set up. */
    (void)u_base;
    PROMISE(endpoint->end.u_base == NULL);
    endpoint->end.u_base = (uint8_t *)&board;
    endpoint->end.u_board = &board;
    return HC_OK;
}

/* ---- an enclave -------------------------------------------------------------------------------- */

/* One ocall, with a message and room for its answer; perhaps it is asked for once more. */
static enum hc_status call_out(struct hc_frame *frame)
{
    char *message = NULL;
    PyObject *answer = NULL;
    uint64_t token = 0;
    uint32_t kind = 0;
    size_t size = input_u8(&g_input), answer_size = 0;
    (void)frame;
    message = malloc(size);
    PROMISE(message != NULL);
    memset(message, 7, size);
    g_locked = true;
    enum hc_status status = python_ocall(input_u8(&g_input) % 3u, message, size,
                                         input_u16(&g_input), &kind, &answer, &token, &answer_size);
    PROMISE(g_locked);
    if (status == HC_OK && kind != HC_PY_HELD) {
        PROMISE(answer != NULL && PyBytes_GET_SIZE(answer) == (Py_ssize_t)answer_size);
        (void)touch(answer->bytes, answer->size);
    }
    Py_XDECREF(answer);
    PyErr_Clear();
    free(message);
    /* As the module's own threads do it: the lock is the interpreter's business again. */
    return HC_OK;
}

static struct hc_function g_ecalls[FUNCTIONS + 3u];
static const struct hc_function g_ocalls[3];
static const struct hc_interface g_every_ecall = {
    .ecalls = g_ecalls, .ecall_count = FUNCTIONS + 3u, .ocalls = g_ocalls, .ocall_count = 3};

static void set_up(void)
{
    static struct python_function g_functions[FUNCTIONS];
    g_locked = true;
    PyObject *callable = new_object(CALLABLE, NULL, 1);
    for (uint32_t i = 0; i < FUNCTIONS; i++) {
        g_functions[i] = (struct python_function){callable,
                                                  i % 2u == 0,
                                                  callable,
                                                  callable,
                                                  i > 1u ? new_object(BYTES, "\x90", 1) : NULL,
                                                  i > 0u ? new_object(BYTES, "\xc0", 1) : NULL};
        g_ecalls[i] = (struct hc_function){"f", python_bridge, HC_FN_PUBLIC, NULL};
    }
    g_ecalls[FUNCTIONS] = (struct hc_function){"fetch", python_fetch, HC_FN_PUBLIC, NULL};
    g_ecalls[FUNCTIONS + 1u] =
        (struct hc_function){"clients", python_clients_bridge, HC_FN_PUBLIC, NULL};
    g_ecalls[FUNCTIONS + 2u] = (struct hc_function){"out", call_out, HC_FN_PUBLIC, NULL};
    PROMISE(python_serve_these(g_functions, FUNCTIONS, callable, CLIENTS) == HC_OK);
    peer_begin(HC_ENCLAVE, &g_every_ecall, NULL, 0);
    PROMISE(python_clients_map(100, CLIENTS) == HC_OK);
    python_clients_serve(&g_every_ecall);
    g_locked = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static long g_alive_before;
    if (g_alive_before == 0) {
        set_up();
        g_alive_before = g_alive;
    }
    peer_begin(HC_ENCLAVE, &g_every_ecall, data, size);
    for (uint32_t i = 0; i < CLIENTS; i++)
        g_places[i] = (struct place){.notify_fd = -1};
    for (int i = 0; i < 6 && g_input.left != 0; i++) {
        peer_post();
        (void)peer_serve();
        bool held = g_locked;
        g_locked = true;
        PyErr_Clear();
        g_locked = held;
    }
    for (uint32_t owner = 0; owner <= CLIENTS; owner++)
        python_drop_held(owner);
    PROMISE(g_raised == NULL && g_alive == g_alive_before && g_none.references == 1);
    return 0;
}
