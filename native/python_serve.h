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
 * gives the bytes that the host gets for one. `clients` channels were mapped. HC_ERR_MEMORY or HC_OK.
 */
HC_NODISCARD enum hc_status python_serve_these(const struct python_function *functions,
                                               uint32_t count, PyObject *on_error,
                                               uint32_t clients);

/*
 * Whether this thread can run Python: false where it never has and there is no memory for what the
 * interpreter keeps of a thread.
 */
HC_NODISCARD bool python_ready(void);
/* Lets go of the interpreter's lock, if this thread kept it. Before waiting for other threads. */
void python_rest(void);
/* Forgets what waits to be fetched by a client that has gone; see python_clients_owner. Where
 * python_ready. */
void python_drop_held(uint32_t owner);

/*
 * python_clients.c. Maps `count` channels for clients, and after them their descriptors that
 * announce answers, as python_clients.h says. Before the lock-down.
 */
HC_NODISCARD enum hc_status python_clients_map(int first_fd, uint32_t count);
/* The interface that clients see. Before any call. */
void python_clients_serve(const struct hc_interface *interface);
/* Whose channel it is: 0 is the launching host's, then the clients by place. */
uint32_t python_clients_owner(const struct hc_end *end);
/* hc_function.bridge of the host's ecall `clients`. */
enum hc_status python_clients_bridge(struct hc_frame *frame);

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
