/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nomemory.c -- a Python module that fails the n-th allocation of its interpreter.
 *
 *     arm(n)      from here on allocations are counted, in all threads; the n-th has no memory
 *     pause(yes)  while it is so, none are
 *     disarm()    returns how many there were, and whether the n-th came
 *
 * It stands in front of each of the interpreter's allocators. Of the interpreter's own debugging
 * module, which not every build has, it differs in that it says whether anything failed.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

static PyMemAllocatorEx g_original[3];
static uint64_t g_armed, g_paused, g_seen, g_n; /* any thread: atomic */

static bool fails(void)
{
    return __atomic_load_n(&g_armed, __ATOMIC_SEQ_CST) != 0 &&
           __atomic_load_n(&g_paused, __ATOMIC_SEQ_CST) == 0 &&
           __atomic_add_fetch(&g_seen, 1u, __ATOMIC_SEQ_CST) ==
               __atomic_load_n(&g_n, __ATOMIC_SEQ_CST);
}

static void *hook_malloc(void *context, size_t size)
{
    const PyMemAllocatorEx *original = context;
    return fails() ? NULL : original->malloc(original->ctx, size);
}

static void *hook_calloc(void *context, size_t count, size_t size)
{
    const PyMemAllocatorEx *original = context;
    return fails() ? NULL : original->calloc(original->ctx, count, size);
}

static void *hook_realloc(void *context, void *old, size_t size)
{
    const PyMemAllocatorEx *original = context;
    return fails() ? NULL : original->realloc(original->ctx, old, size);
}

static void hook_free(void *context, void *memory)
{
    const PyMemAllocatorEx *original = context;
    original->free(original->ctx, memory);
}

static PyObject *arm(PyObject *self, PyObject *argument)
{
    (void)self;
    unsigned long long n = PyLong_AsUnsignedLongLong(argument);
    if (n == (unsigned long long)-1 && PyErr_Occurred() != NULL)
        return NULL;
    __atomic_store_n(&g_n, n, __ATOMIC_SEQ_CST);
    __atomic_store_n(&g_seen, 0u, __ATOMIC_SEQ_CST);
    __atomic_store_n(&g_armed, 1u, __ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

static PyObject *pause_(PyObject *self, PyObject *yes)
{
    (void)self;
    __atomic_store_n(&g_paused, (uint64_t)(yes == Py_True), __ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

static PyObject *disarm(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    __atomic_store_n(&g_armed, 0u, __ATOMIC_SEQ_CST);
    unsigned long long seen = __atomic_load_n(&g_seen, __ATOMIC_SEQ_CST);
    return Py_BuildValue("KO", seen, seen >= g_n && g_n != 0 ? Py_True : Py_False);
}

static PyMethodDef g_functions[] = {{"arm", arm, METH_O, NULL},
                                    {"pause", pause_, METH_O, NULL},
                                    {"disarm", disarm, METH_NOARGS, NULL},
                                    {NULL, NULL, 0, NULL}};
static struct PyModuleDef g_module = {
    PyModuleDef_HEAD_INIT, "nomemory", NULL, -1, g_functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_nomemory(void);
PyMODINIT_FUNC PyInit_nomemory(void)
{
    static const PyMemAllocatorDomain domains[3] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM,
                                                    PYMEM_DOMAIN_OBJ};
    for (int i = 0; i < 3; i++) {
        PyMemAllocatorEx hook = {&g_original[i], hook_malloc, hook_calloc, hook_realloc, hook_free};
        PyMem_GetAllocator(domains[i], &g_original[i]);
        PyMem_SetAllocator(domains[i], &hook);
    }
    return PyModule_Create(&g_module);
}
