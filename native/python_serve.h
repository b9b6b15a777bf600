/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_serve.h -- calls into and out of the Python code of an enclave.
 *
 * Enclave side, for src/hotcalls/_inside.pyx. Message layout: python_message.h.
 */
#ifndef HOTCALLS_PYTHON_SERVE_H
#define HOTCALLS_PYTHON_SERVE_H

#include <Python.h>

#include "enclave_runtime.h"

/* One ecall. The objects live as long as the process. */
struct python_function {
    PyObject *call;
    bool raw;              /* the message is the bytes argument, and bytes are the answer */
    PyObject *decode;      /* message -> tuple of arguments */
    PyObject *encode;      /* result -> bytes */
    PyObject *no_argument; /* bytes: the message of a call without arguments; or NULL */
    PyObject *none;        /* bytes: the answer None, when it may be one; or NULL */
};

/*
 * `functions` serve the ecalls 0 … count - 1; the ecall `count` is fetch. `on_error(exception)`
 * gives the bytes that the host gets for one.
 */
void python_serve_these(const struct python_function *functions, uint32_t count,
                        PyObject *on_error);

/* hc_function.bridge of every ecall but the last, and of the last. */
enum hc_status python_bridge(struct hc_frame *frame);
enum hc_status python_fetch(struct hc_frame *frame);

/*
 * Makes an ocall. Called with the interpreter's lock, which waits longer than some microseconds
 * let go of. HC_OK: *kind is HC_PY_VALUE, HC_PY_EXCEPTION, or HC_PY_HELD with *token and *size,
 * and otherwise *answer a new bytes object. HC_ERR_MEMORY: an exception may be set.
 */
enum hc_status python_ocall(uint32_t id, const void *message, size_t size, size_t reserve,
                            uint32_t *kind, PyObject **answer, uint64_t *token,
                            size_t *answer_size);

#endif /* HOTCALLS_PYTHON_SERVE_H */
