/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python_state.h -- a Python thread state for a thread that the interpreter did not start.
 *
 * Both sides: ocalls of a Python host, ecalls of a Python enclave, on threads of the runtime.
 * PyGILState_Ensure would do it, but where there is no memory for the state it ends the process,
 * and with it all that the other threads were doing. A call that cannot be served is an error.
 */
#ifndef HOTCALLS_PYTHON_STATE_H
#define HOTCALLS_PYTHON_STATE_H

#include <Python.h>

#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030c0000
/* What PyThreadState_New of CPython 3.11 is made of: it gives the second the NULL of the first. */
#define HC_PY_STATE_IN_TWO_STEPS 1
PyAPI_FUNC(void) _PyThreadState_SetCurrent(PyThreadState *);
#endif

/*
 * The state of this thread, which has none: detached, for PyEval_RestoreThread, and found by
 * PyGILState_Ensure from here on. NULL: no memory. With or without the interpreter's lock.
 */
static inline PyThreadState *hc_py_state_new(void)
{
#ifdef HC_PY_STATE_IN_TWO_STEPS
    PyThreadState *state = _PyThreadState_Prealloc(PyInterpreterState_Main());
    if (state != NULL)
        _PyThreadState_SetCurrent(state);
    return state;
#else
    return PyThreadState_New(PyInterpreterState_Main());
#endif
}

#endif /* HOTCALLS_PYTHON_STATE_H */
