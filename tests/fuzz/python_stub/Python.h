/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python.h -- as much of the interpreter as native/python_serve.c uses, for python_message.c.
 *
 * Each object is a piece of memory of its own that ends where its bytes do, and is counted: what is
 * not given back, or given back twice, or taken for bytes when it is none, ends the run. In the
 * real interpreter none of that would be noticed.
 */
#ifndef HOTCALLS_TESTS_FUZZ_PYTHON_H
#define HOTCALLS_TESTS_FUZZ_PYTHON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PY_VERSION_HEX 0x030c0000

typedef ptrdiff_t Py_ssize_t;
typedef struct object PyObject;
typedef struct thread_state PyThreadState;
typedef struct interpreter_state PyInterpreterState;
typedef enum { PyGILState_LOCKED, PyGILState_UNLOCKED } PyGILState_STATE;

extern PyObject *Py_None;

void Py_INCREF(PyObject *object);
void Py_DECREF(PyObject *object);
void Py_XDECREF(PyObject *object);

PyObject *PyBytes_FromStringAndSize(const char *bytes, Py_ssize_t size);
PyObject *PyBytes_FromObject(PyObject *object);
bool PyBytes_CheckExact(const PyObject *object);
Py_ssize_t PyBytes_GET_SIZE(const PyObject *bytes);
char *PyBytes_AS_STRING(PyObject *bytes);

PyObject *PyObject_CallNoArgs(PyObject *callable);
PyObject *PyObject_CallOneArg(PyObject *callable, PyObject *argument);
PyObject *PyObject_Call(PyObject *callable, PyObject *arguments, PyObject *keywords);
PyObject *PyErr_GetRaisedException(void);
void PyErr_Clear(void);

PyThreadState *PyEval_SaveThread(void);
void PyEval_RestoreThread(PyThreadState *state);
PyThreadState *PyThreadState_Get(void);
PyThreadState *PyGILState_GetThisThreadState(void);
PyGILState_STATE PyGILState_Ensure(void);
PyInterpreterState *PyInterpreterState_Main(void);
PyThreadState *PyThreadState_New(PyInterpreterState *interpreter);
void PyGILState_Release(PyGILState_STATE state);

#endif /* HOTCALLS_TESTS_FUZZ_PYTHON_H */
