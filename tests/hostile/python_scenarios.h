/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_scenarios.h -- calls of Python functions and out of them, for script.c to disturb.
 *
 * python_serve.c, which is what reads and writes messages inside, and host_python.h, which does it
 * outside, in one thread and one interpreter; the functions are Python's. Loaded into an interpreter
 * as a library, which has the lock and keeps it.
 */
#ifndef HOTCALLS_TESTS_PYTHON_SCENARIOS_H
#define HOTCALLS_TESTS_PYTHON_SCENARIOS_H

#include "python_serve.h"

#include "host_python.h"

#include "scenario.h"

#define SMALL 20u
#define LARGE 600u

enum { PY_ECHO, PY_NOTHING, PY_ASK, PY_BIG, PY_FAIL, PY_FETCH, PY_COUNT };
enum { PY_OCALL, PY_OCALL_FETCH, PY_OCALL_COUNT };

static const char g_module[] = "def nothing(): return None\n"
                               "def through(data): return ask(data)\n"
                               "def big(data): return data * 50\n"
                               "def fail(data): raise ValueError(data)\n"
                               "def decode(data): raise TypeError(data)\n"
                               "def encode(value): return repr(value).encode()\n"
                               "def error(value): return encode(value)[:100]\n";

static uint8_t g_bytes[LARGE];
static struct python_function g_python_functions[PY_FETCH];

/* ---- what python_serve.c is given by the enclave's runtime ------------------------------------- */

struct hc_port *hc_enclave_port(void)
{
    return pair_current(HC_ENCLAVE);
}

enum hc_status hc_enclave_port_error(void)
{
    return HC_ERR_AGAIN;
}

uint32_t python_clients_owner(const struct hc_end *end)
{
    (void)end;
    return 0;
}

void endpoint_on_rest(void (*rest)(void))
{
    (void)rest;
}

void endpoint_on_leave(void (*leave)(void))
{
    (void)leave;
}

/* As _inside.pyx: an answer that did not fit is fetched, and an error is raised. */
static PyObject *ask(PyObject *self, PyObject *data)
{
    uint32_t kind = HC_PY_VALUE;
    uint64_t token = 0;
    size_t size = 0;
    PyObject *answer = NULL;
    (void)self;
    enum hc_status status =
        python_ocall(PY_OCALL, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), 64, &kind,
                     &answer, &token, &size);
    if (status == HC_OK && kind == HC_PY_HELD) {
        status = size > HC_WINDOW_MAX ? HC_ERR_MESSAGE
                                      : python_ocall(PY_OCALL_FETCH, &token, sizeof token, size,
                                                     &kind, &answer, &token, &size);
        if (status == HC_OK && kind == HC_PY_HELD)
            status = HC_ERR_MESSAGE;
    }
    if (status != HC_OK) {
        CHECK_EQ(hc_status_from_peer((uint32_t)status), status);
        if (PyErr_Occurred() == NULL)
            PyErr_SetString(PyExc_RuntimeError, hc_status_text(status));
        return NULL;
    }
    CHECK(answer != NULL && PyBytes_CheckExact(answer));
    return answer;
}

static PyObject *noted(PyObject *self, PyObject *data)
{
    (void)self;
    in_the_middle();
    Py_INCREF(data);
    return data;
}

/* ---- the host's functions ---------------------------------------------------------------------- */

#define TOKEN UINT64_C(0x1234)

/* Sends back what came; what is large, by way of fetch. */
static enum hc_status python_ask(struct hc_frame *frame)
{
    struct hc_py_head head;
    uint8_t data[LARGE];
    const uint64_t token = TOKEN;
    enum hc_status status = hc_py_frame_open(frame, &head);
    if (status != HC_OK)
        return status;
    if (head.size > sizeof data)
        return HC_ERR_TOO_LARGE;
    if (head.size <= HC_PY_INLINE)
        memcpy(data, head.data, head.size);
    else
        hc_copy_in(data, frame->u_message, head.size);
    if (head.size == LARGE)
        return hc_py_frame_close(frame, HC_PY_HELD, &token, head.size + 8u);
    return hc_py_frame_close(frame, HC_PY_VALUE, data, head.size);
}

static enum hc_status python_ask_fetch(struct hc_frame *frame)
{
    struct hc_py_head head;
    enum hc_status status = hc_py_frame_open(frame, &head);
    if (status != HC_OK)
        return status;
    if (head.size != 8 || memcmp(head.data, &(uint64_t){TOKEN}, 8) != 0 ||
        !hc_py_fits(frame, LARGE))
        return HC_ERR_ARGUMENT;
    return hc_py_frame_close(frame, HC_PY_VALUE, g_bytes, LARGE);
}

static const struct hc_function g_python_ecalls[PY_COUNT] = {
    [PY_ECHO] = {"echo", python_bridge, HC_FN_PUBLIC, NULL},
    [PY_NOTHING] = {"nothing", python_bridge, HC_FN_PUBLIC, NULL},
    [PY_ASK] = {"through", python_bridge, HC_FN_PUBLIC, NULL},
    [PY_BIG] = {"big", python_bridge, HC_FN_PUBLIC, NULL},
    [PY_FAIL] = {"fail", python_bridge, HC_FN_PUBLIC, NULL},
    [PY_FETCH] = {"fetch", python_fetch, HC_FN_PUBLIC, NULL},
};
static const struct hc_function g_python_ocalls[PY_OCALL_COUNT] = {
    {"ask", python_ask, 0, NULL}, {"fetch", python_ask_fetch, 0, NULL}};

/* ---- the host's calls -------------------------------------------------------------------------- */

/* Makes a call and fetches what did not fit. The size of the answer, which is in `to`. */
static enum hc_status python_call(uint32_t id, const void *data, size_t size, uint8_t *to,
                                  size_t room, uint32_t *kind, size_t *got)
{
    struct hc_port *port = host_port();
    struct hc_py_call made;
    if (port == NULL)
        return HC_ERR_AGAIN;
    enum hc_status status = hc_py_post(port, &made, id, HC_MODE_DEFAULT, data, size, size);
    if (status == HC_OK && !hc_py_spin(&made))
        status = hc_py_wait(&made, port->timeout);
    if (status == HC_OK)
        status = hc_py_answer(&made);
    if (status != HC_OK)
        return status;
    *kind = made.head.kind;
    *got = made.head.size;
    if (made.head.kind == HC_PY_HELD || made.head.size <= HC_PY_INLINE)
        memcpy(to, made.head.data, HC_PY_INLINE);
    else if (made.head.size <= room)
        CHECK_EQ(hc_call_copy_out(&made.call, 0, to, made.head.size), HC_OK);
    else
        status = HC_ERR_TOO_LARGE;
    hc_call_end(&made.call);
    return status;
}

static void python_plain(uint32_t id, size_t size)
{
    uint8_t answer[2048];
    uint32_t kind = 0;
    size_t got = 0;
    size_t wanted = id == PY_BIG ? size * 50u : size;
    enum hc_status status = python_call(id, g_bytes, size, answer, sizeof answer, &kind, &got);
    if (status == HC_OK && kind == HC_PY_HELD) {
        /* Room for it, as the host reserves it: the request's own size. */
        uint8_t request[2048];
        memset(request, 0, sizeof request);
        memcpy(request, answer, 8);
        struct hc_port *port = host_port();
        struct hc_py_call made;
        status = port == NULL || got > sizeof answer
                     ? HC_ERR_TOO_LARGE
                     : hc_py_post(port, &made, PY_FETCH, HC_MODE_DEFAULT, request, 8, got);
        if (status == HC_OK && (status = hc_py_wait(&made, port->timeout)) == HC_OK &&
            (status = hc_py_answer(&made)) == HC_OK) {
            kind = made.head.kind;
            if (made.head.kind == HC_PY_HELD || made.head.size != got)
                status = HC_ERR_MESSAGE;
            else if (got > HC_PY_INLINE)
                CHECK_EQ(hc_call_copy_out(&made.call, 0, answer, got), HC_OK);
            hc_call_end(&made.call);
        }
    }
    bool right = kind == HC_PY_VALUE && got == wanted && memcmp(answer, g_bytes, size) == 0;
    if (id == PY_FAIL)
        right = kind == HC_PY_EXCEPTION;
    if (id == PY_NOTHING)
        right = got == 4 && memcmp(answer, "None", 4) == 0;
    ended(status, right);
}

static void small(void)
{
    python_plain(PY_ECHO, SMALL);
    python_plain(PY_ECHO, SMALL);
}

static void large(void)
{
    python_plain(PY_ECHO, LARGE);
}

static void none(void)
{
    python_plain(PY_NOTHING, 0);
}

static void out_small(void)
{
    python_plain(PY_ASK, SMALL);
}

static void out_window(void)
{
    python_plain(PY_ASK, 50);
}

static void out_held(void)
{
    python_plain(PY_ASK, LARGE);
}

static void held(void)
{
    python_plain(PY_BIG, SMALL);
}

static void failing(void)
{
    python_plain(PY_FAIL, SMALL);
}

static const struct scenario g_scenarios[] = {
    {"small", small},           {"large", large},       {"none", none}, {"out_small", out_small},
    {"out_window", out_window}, {"out_held", out_held}, {"held", held}, {"failing", failing},
};

/* ---- the interpreter --------------------------------------------------------------------------- */

static void functions_init(void)
{
    static PyMethodDef ask_def = {"ask", ask, METH_O, NULL};
    static PyMethodDef note_def = {"note", noted, METH_O, NULL};
    static const char *names[PY_FETCH] = {"note", "nothing", "through", "big", "fail"};
    PyObject *globals = PyDict_New();
    CHECK(globals != NULL);
    (void)PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins());
    (void)PyDict_SetItemString(globals, "ask", PyCFunction_New(&ask_def, NULL));
    (void)PyDict_SetItemString(globals, "note", PyCFunction_New(&note_def, NULL));
    CHECK(PyRun_String(g_module, Py_file_input, globals, globals) != NULL);
    for (int i = 0; i < PY_FETCH; i++) {
        struct python_function *function = &g_python_functions[i];
        function->call = PyDict_GetItemString(globals, names[i]);
        function->raw = i != PY_NOTHING;
        function->encode = PyDict_GetItemString(globals, "encode");
        function->decode = PyDict_GetItemString(globals, "decode");
        CHECK(function->call != NULL && function->encode != NULL);
    }
    g_python_functions[PY_NOTHING].no_argument = PyBytes_FromString("");
    CHECK_EQ(
        python_serve_these(g_python_functions, PY_FETCH, PyDict_GetItemString(globals, "error"), 0),
        HC_OK);
}

static void scenario_start(void)
{
    if (g_python_functions[0].call == NULL) {
        functions_init();
        for (size_t i = 0; i < sizeof g_bytes; i++)
            g_bytes[i] = (uint8_t)(i * 7u);
    }
    python_drop_held(0);
    pair_start(g_python_ecalls, PY_COUNT, g_python_ocalls, PY_OCALL_COUNT);
    g_pair.other = pair_chain;
}

#endif /* HOTCALLS_TESTS_PYTHON_SCENARIOS_H */
