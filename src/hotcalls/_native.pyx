# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, embedsignature=False, freethreading_compatible=True
"""Moves bytes between Python and the host runtime, and lets go of the GIL meanwhile.

Host side. No policy here: what to marshal, which exception to raise and how to name things is
decided in Python. Messages are laid out by ``hotcalls.edl.marshal``.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from os import strerror as _strerror
from threading import Lock as _new_lock

include "_host.pxi"

cdef extern from *:
    """
    #define HC_STATUS_PAIR(name, value, text) {#name, text},
    static const char *const status_table[][2] = {HC_STATUS_TABLE(HC_STATUS_PAIR)};
    #define STATUS_COUNT (sizeof status_table / sizeof status_table[0])
    """
    const char *status_table[1][2]
    enum: STATUS_COUNT

STATUS_NAMES = tuple(status_table[i][0].decode() for i in range(STATUS_COUNT))
STATUS_TEXTS = {
    status_table[i][0].decode(): status_table[i][1].decode() for i in range(STATUS_COUNT)
}
INLINE_SIZE = HC_INLINE_SIZE
ABI = HC_ABI
BUCKETS = HC_BUCKETS
BUCKET_FIRST_SHIFT = HC_BUCKET_FIRST_SHIFT
SAMPLE_EVERY = HC_SAMPLE_EVERY

MODES = {"default": 0, "hot": 1, "switch": 2, "edl": 3}


class NativeError(Exception):
    """A status of the runtime; ``hotcalls.errors.error_for`` turns it into a public error."""

    def __init__(self, status, text, errno=0, signal=0, exit_status=-1, posted=True):
        super().__init__(text)
        self.status = status
        self.text = text
        self.errno = errno
        self.signal = signal
        self.exit_status = exit_status
        self.posted = posted


cdef object _native_error(hc_enclave *enclave, hc_status status):
    """The exception for a failed call: with how the enclave ended, when it has."""
    cdef hc_error error
    name = STATUS_NAMES[<int>status]
    if name in ("HC_ERR_PEER_LOST", "HC_ERR_POISONED", "HC_ERR_CLOSED"):
        with nogil:
            hc_why(enclave, &error)
        # The first reason counts: a call that was out when the enclave was closed finds its cell
        # wiped.
        if error.status != HC_OK:
            name = STATUS_NAMES[<int>error.status]
        return NativeError(name, (<bytes>error.text).decode("ascii", "replace"), error.error,
                           error.signal, error.exit_status)
    return NativeError(name, STATUS_TEXTS[name])


cdef inline size_t _fixed_size(size_t ms_size) noexcept nogil:
    """Where the buffers of a message start: behind the fixed part, if that is in the window."""
    return 0 if ms_size <= HC_INLINE_SIZE else (ms_size + 15) & ~(<size_t>15)


cdef extern from *:
    """
    #include "python_state.h"
    #include <pthread.h>
    #include <stdbool.h>
    #if PY_VERSION_HEX < 0x030d0000
    #define HC_PY_FINALIZING _Py_IsFinalizing()
    #else
    #define HC_PY_FINALIZING Py_IsFinalizing()
    #endif
    static pthread_key_t hc_py_thread_key;
    static pthread_once_t hc_py_thread_once = PTHREAD_ONCE_INIT;
    static void hc_py_thread_ended(void *state)
    {
        if (!Py_IsInitialized() || HC_PY_FINALIZING)
            return;
        /* Not PyGILState_Release: the key by which that finds the state may be cleared already. */
        PyEval_RestoreThread((PyThreadState *)state);
        PyThreadState_Clear((PyThreadState *)state);
        PyThreadState_DeleteCurrent();
    }
    static void hc_py_make_key(void)
    {
        (void)pthread_key_create(&hc_py_thread_key, hc_py_thread_ended);
    }
    /*
     * A thread of the runtime keeps its Python thread state until it ends: making one for each
     * ocall costs more than the ocall. Threads of Python have one already. False: no memory.
     */
    static bool hc_py_attach(void)
    {
        if (PyGILState_GetThisThreadState() != NULL)
            return true;
        PyThreadState *state = hc_py_state_new();
        if (state == NULL)
            return false;
        (void)pthread_once(&hc_py_thread_once, hc_py_make_key);
        if (pthread_setspecific(hc_py_thread_key, state) == 0)
            return true;
        hc_py_thread_ended(state);
        return false;
    }
    """
    c_bool hc_py_attach() nogil


cdef hc_status _serve(hc_frame *frame) noexcept nogil:
    """Every ocall of a Python host arrives here, in whatever thread waits or responds."""
    if not hc_py_attach():
        return HC_ERR_MEMORY
    with gil:
        return (<Enclave>hc_user_data(frame.port))._serve(frame)


cdef c_bool _interrupted(void *context) noexcept nogil:
    with gil:
        try:
            PyErr_CheckSignals()
            return False
        except BaseException as error:
            _pending_interrupts[PyThread_get_thread_ident()] = error
            return True

cdef extern from *:
    """
    /* How many calls the thread waits for: what an ocall raises belongs to the innermost. */
    static __thread unsigned hc_py_calls;
    static inline void hc_py_wait_begins(void)
    {
        hc_py_calls++;
    }
    static inline void hc_py_wait_ends(void)
    {
        hc_py_calls--;
    }
    """
    unsigned hc_py_calls
    void hc_py_wait_begins() nogil
    void hc_py_wait_ends() nogil


def calls_in_progress():
    """How many calls this thread is waiting for."""
    return hc_py_calls


def report_unraisable(error, where):
    """Give `error` to ``sys.unraisablehook``, which takes nothing that Python code can make."""
    PyErr_SetObject(type(error), error)
    PyErr_WriteUnraisable(where)


# Between the runtime asking whether to give a wait up and the call returning to Python.
_pending_interrupts = {}


cdef int _launch_options(hc_launch_options *launch, dict options) except -1:
    """The defaults, and what is given."""
    hc_launch_defaults(launch)
    launch.mode = <hc_mode><int>MODES[options["mode"]]
    launch.insecure_debug = options["insecure_debug"]
    launch.insecure_user_namespace = options["insecure_user_namespace"]
    for field in ("responders", "ocall_responders", "slots", "enclave_slots", "cells",
                  "window_size", "shared_size", "idle_us", "spin_us", "take_us",
                  "timeout_ms", "user", "group", "log_fd"):
        value = options.get(field)
        if value is None:
            continue
        if field == "responders": launch.responders = value
        elif field == "ocall_responders": launch.ocall_responders = value
        elif field == "slots": launch.slots = value
        elif field == "enclave_slots": launch.enclave_slots = value
        elif field == "cells": launch.cells = value
        elif field == "window_size": launch.window_size = value
        elif field == "shared_size": launch.shared_size = value
        elif field == "idle_us": launch.idle_us = value
        elif field == "spin_us": launch.spin_us = value
        elif field == "take_us": launch.take_us = value
        elif field == "timeout_ms": launch.timeout_ms = value
        elif field == "user": launch.user = value
        elif field == "group": launch.group = value
        else: launch.log_fd = value
    return 0


cdef hc_function *_table(list functions, hc_bridge *bridge) except NULL:
    """A new table; the strings in it are those of the list."""
    cdef hc_function *table = <hc_function *>calloc(len(functions) + 1, sizeof(hc_function))
    if table == NULL:
        raise MemoryError
    try:
        for i, (function, flags) in enumerate(functions):
            table[i].name = <bytes>function
            table[i].flags = flags
            table[i].bridge = bridge
    except BaseException:
        free(table)
        raise
    return table


@cython.no_gc_clear  # threads of the runtime use it until __dealloc__ has stopped them
cdef class Enclave:
    """A launched enclave: the handle, the tables that the runtime points at, and the calls."""
    cdef object __weakref__
    cdef hc_enclave *handle
    cdef hc_interface interface
    cdef hc_function *ecalls
    cdef hc_function *ocalls
    cdef object names      # keeps the C strings of the tables alive
    cdef object on_ocall
    cdef Messages messages
    cdef hc_async *ports  # taken at the first call that belongs to no thread
    cdef object once
    cdef readonly int pid
    cdef readonly bint closed

    def __cinit__(self):
        self.handle = NULL
        self.ports = NULL
        self.once = _new_lock()
        self.ecalls = NULL
        self.ocalls = NULL

    def __init__(self, bytes image, bytes loader, bytes name, list ecalls, list ocalls, on_ocall,
                 dict options):
        """Launch. `ecalls` and `ocalls` are lists of ``(name, flags)``, by id.

        `on_ocall(id, ms_and_payload, window)` serves an ocall and returns
        ``(ms, [(position, bytes), …])``; or it is a :class:`Messages`.
        """
        cdef hc_launch_options launch
        cdef hc_error error
        cdef hc_status status
        cdef hc_attachment attachment
        self.on_ocall = on_ocall
        if isinstance(on_ocall, Messages):
            self.messages = on_ocall
        self._set_interface(name, ecalls, ocalls)
        memcpy(self.interface.digest, <const char *><bytes>options["digest"], 32)

        _launch_options(&launch, options)
        launch.image = <const char *>image
        launch.image_size = len(image)
        launch.loader = loader
        launch.interface = &self.interface
        launch.user_data = <void *>self
        launch.interrupted = _interrupted
        cdef _Program program = None
        if options.get("python") is not None:
            program = _Program(self, **options["python"])
            launch.program = &program.program
        if options.get("attached") is not None:
            attachment.channel, attachment.done, attachment.process, attachment.pid = \
                options["attached"]
            with nogil:
                status = hc_attach(&launch, &attachment, &self.handle, &error)
        else:
            with nogil:
                status = hc_launch(&launch, &self.handle, &error)
        if status != HC_OK:
            self.handle = NULL
            if program is not None and program.error is not None:
                raise program.error
            if status == HC_ERR_INTERRUPTED:
                raise _pending_interrupts.pop(PyThread_get_thread_ident(), KeyboardInterrupt())
            raise NativeError(STATUS_NAMES[<int>status],
                              (<bytes>error.text).decode("utf-8", "replace"), error.error,
                              error.signal, error.exit_status)
        self.pid = hc_pid(self.handle)

    cdef int _set_interface(self, bytes name, list ecalls, list ocalls) except -1:
        """Whole or not at all: what there was before is in use, or still has to be freed."""
        names = [name, ecalls, ocalls]
        cdef hc_function *ours = _table(ecalls, NULL)
        cdef hc_function *theirs
        try:
            theirs = _table(ocalls, _serve)
        except BaseException:
            free(ours)
            raise
        free(self.ecalls)
        free(self.ocalls)
        self.ecalls, self.ocalls, self.names = ours, theirs, names
        self.interface.abi = HC_ABI
        self.interface.ecall_count = len(ecalls)
        self.interface.ocall_count = len(ocalls)
        self.interface.name = name
        self.interface.ecalls = ours
        self.interface.ocalls = theirs
        return 0

    def __dealloc__(self):
        cdef hc_enclave *handle = self.handle
        self.handle = NULL
        if handle != NULL:
            hc_async_delete(self.ports)
            with nogil:
                hc_close(handle)
        free(self.ecalls)
        free(self.ocalls)

    cdef int _check_open(self) except -1:
        if self.handle == NULL or self.closed:
            raise NativeError("HC_ERR_CLOSED", STATUS_TEXTS["HC_ERR_CLOSED"])
        return 0

    cdef int _check_mine(self) except -1:
        """For what touches the region without a port: in a forked child it is not mapped."""
        cdef const uint8_t *u_base
        self._check_open()
        if hc_region(self.handle, &u_base) == NULL:
            raise NativeError("HC_ERR_FORKED", STATUS_TEXTS["HC_ERR_FORKED"])
        return 0

    cdef const hc_geometry *_region(self, const uint8_t **u_base) except NULL:
        self._check_mine()
        return hc_region(self.handle, u_base)

    cdef int _check(self, hc_status status, bint posted=True) except -1:
        if status == HC_OK:
            return 0
        if status == HC_ERR_INTERRUPTED:
            raise _pending_interrupts.pop(PyThread_get_thread_ident(), KeyboardInterrupt())
        error = _native_error(self.handle, status)
        error.posted = posted
        raise error

    cdef hc_status _serve(self, hc_frame *frame) noexcept:
        cdef size_t ms_size, position, size
        try:
            if self.messages is not None:
                return self.messages._serve(frame)
            payload = PyBytes_FromStringAndSize(<const char *>frame.payload, HC_INLINE_SIZE)
            window = PyBytes_FromStringAndSize(NULL, frame.size)
            hc_copy_in(PyBytes_AS_STRING(window), frame.u_message, frame.size)
            answer = self.on_ocall(frame.id, payload, window)
            if type(answer) is int:
                return <hc_status><int>answer
            ms, replies = answer
            for start, data in replies:
                position = start
                size = len(<bytes>data)
                if not hc_range_inside(position, size, frame.size):
                    return HC_ERR_MESSAGE
                hc_copy_out(frame.u_message + position, <const char *><bytes>data, size)
            ms_size = len(<bytes>ms)
            if ms_size > HC_INLINE_SIZE:
                if ms_size > frame.size:
                    return HC_ERR_MESSAGE
                hc_copy_out(frame.u_message, <const char *><bytes>ms, ms_size)
            elif ms_size != 0:
                _write_payload(frame, <const char *><bytes>ms, ms_size)
            return HC_OK
        except BaseException:
            # on_ocall reports what the user's function raises; this is a bug of ours.
            import sys
            sys.excepthook(*sys.exc_info())
            return HC_ERR_CALLEE

    def call(self, uint32_t id, bytes ms, bytes buffers, bint outputs, uint32_t mode,
             double timeout):
        """Make a plain call; return ``(ms, buffers)``. Releases the GIL while it waits.

        `timeout` in seconds, negative: none. `outputs`: are buffers to be copied back?
        """
        cdef hc_status status
        cdef hc_call call
        cdef hc_port *port
        cdef size_t ms_size = len(ms)
        cdef size_t size = len(buffers)
        cdef uint64_t timeout_before
        cdef uint32_t mode_before
        cdef size_t position
        cdef bint posted = False
        self._check_open()
        # Answered in place: fresh objects that nobody else has seen yet.
        answer = PyBytes_FromStringAndSize(<const char *>ms, ms_size)
        results = PyBytes_FromStringAndSize(NULL, size) if outputs else b""
        cdef uint8_t *u_ms = <uint8_t *>PyBytes_AS_STRING(answer)
        cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(results)
        cdef const char *source = buffers
        # A one-byte bytes object is shared by the interpreter; only its own copy may be written.
        cdef uint8_t small[HC_INLINE_SIZE]
        if ms_size <= HC_INLINE_SIZE:
            memcpy(small, <const char *>ms, ms_size)
            u_ms = small
        with nogil:
            port = hc_host_port(self.handle)
            if port == NULL:
                status = hc_host_port_error(self.handle)
            else:
                status = hc_call_begin(port, &call, id, ms_size, size)
            if status == HC_OK:
                posted = True
                position = hc_call_inout(&call, source, size)
                timeout_before = port.timeout
                mode_before = port.mode
                if timeout >= 0:
                    port.timeout = <uint64_t>(timeout * 1e6 * <double>hc_cycles_per_us()) + 1
                if mode != 0:
                    port.mode = mode
                    _set_call_mode(&call, mode)
                hc_py_wait_begins()
                status = hc_call_run(&call, u_ms, ms_size)
                hc_py_wait_ends()
                port.timeout = timeout_before
                port.mode = mode_before
                if status == HC_OK:
                    if outputs:
                        status = hc_call_copy_out(&call, position, out, size)
                    hc_call_end(&call)
        if status != HC_OK:
            self._check(status, posted)
        if ms_size <= HC_INLINE_SIZE:
            answer = PyBytes_FromStringAndSize(<const char *>small, ms_size)
        return answer, results

    def oneway(self, uint32_t id, bytes ms, bytes buffers):
        """Post a call that nobody waits for. Blocks only while the lane is full."""
        cdef hc_status status
        cdef hc_port *port
        cdef hc_call call
        cdef size_t ms_size = len(ms)
        cdef size_t size = len(buffers)
        cdef const char *source = buffers
        cdef const char *fixed = ms
        self._check_open()
        with nogil:
            # A full lane is waited for in hc_call_begin.
            hc_py_wait_begins()
            port = hc_host_port(self.handle)
            if port == NULL:
                status = hc_host_port_error(self.handle)
            else:
                status = hc_call_begin(port, &call, id, ms_size, size)
            if status == HC_OK:
                hc_call_inout(&call, source, size)
                status = hc_call_oneway(&call, fixed, ms_size)
            hc_py_wait_ends()
        self._check(status)

    def batch(self, bint begin):
        """Hold back (True), then post (False), what this thread submits."""
        self._check_open()
        cdef hc_port *port = hc_host_port(self.handle)
        if port == NULL:
            self._check(hc_host_port_error(self.handle))
        if begin:
            hc_batch_begin(port)
        else:
            hc_batch_end(port)

    def flush(self):
        """Wait for this thread's one-way calls; return ``(errors, name of the first status)``."""
        cdef uint64_t errors = 0
        cdef hc_status first = HC_OK
        cdef hc_status status
        self._check_open()
        cdef hc_port *port = hc_host_port(self.handle)
        if port == NULL:
            self._check(hc_host_port_error(self.handle))
        with nogil:
            hc_py_wait_begins()
            status = hc_flush(port, &errors, &first)
            hc_py_wait_ends()
        self._check(status)
        return errors, STATUS_NAMES[<int>first]

    def set_mode(self, uint32_t id, str mode):
        """How all threads call one function from here on."""
        self._check_open()
        self._check(hc_set_mode(self.handle, id, <hc_mode><int>MODES[mode]))

    def wake_responders(self):
        """Wake the responders inside, ahead of a burst."""
        self._check_mine()
        with nogil:
            hc_wake_responders(self.handle)

    def shared_alloc(self, size_t size):
        """Allocate shared memory: a :class:`SharedBlock`, or None when there is not so much."""
        self._check_mine()
        cdef uint8_t *address = <uint8_t *>hc_shared_alloc(self.handle, size)
        return _block(self, address, size, True) if address != NULL else None

    def shared_offset_of(self, view):
        """The offset that crosses the channel for a view into shared memory; else ValueError."""
        cdef const uint8_t *u_base
        cdef const uint8_t[::1] data = view
        cdef const hc_geometry *g = self._region(&u_base)
        if data.shape[0] == 0:
            raise ValueError("an empty view is nowhere")
        cdef uintptr_t start = <uintptr_t>u_base + g.shared_at
        cdef uintptr_t address = <uintptr_t>&data[0]
        if address < start or not hc_range_inside(address - start, data.shape[0], g.shared_size):
            raise ValueError("not memory of Enclave.shared() of this enclave")
        return address - <uintptr_t>u_base

    def shared_at(self, uint64_t offset, uint64_t size):
        """A view of shared memory by its offset; ValueError when it is not all inside."""
        cdef const uint8_t *u_base
        cdef const hc_geometry *g = self._region(&u_base)
        if offset < g.shared_at or not hc_range_inside(offset - g.shared_at, size, g.shared_size):
            raise ValueError("outside the shared memory of this enclave")
        return memoryview(_block(self, <uint8_t *>u_base + offset, size, False))

    def why(self):
        """``(status name, text, signal, exit status)``: why it cannot be called, if so."""
        cdef hc_error error
        if self.handle == NULL:
            return "HC_ERR_CLOSED", STATUS_TEXTS["HC_ERR_CLOSED"], 0, -1
        with nogil:
            hc_why(self.handle, &error)
        return (STATUS_NAMES[<int>error.status], (<bytes>error.text).decode("ascii", "replace"),
                error.signal, error.exit_status)

    def counters(self):
        """The statistics of the channel: read without stopping anything, and untrusted."""
        cdef const uint8_t *u_base
        cdef const hc_geometry *g = self._region(&u_base)
        cdef const hc_header *header = <const hc_header *>u_base
        ecalls = _zero_counters()
        ocalls = _zero_counters()
        cdef uint32_t slot
        cdef const hc_slot_control *control
        for slot in range(g.slot_count):
            control = <const hc_slot_control *>(u_base + g.slots_at + g.slot_stride * slot)
            mine, theirs = (ecalls, ocalls) if slot < g.host_slots else (ocalls, ecalls)
            _add_counters(mine, &control.owner_counters)
            _add_counters(mine, &control.nested_counters)
            _add_counters(theirs, &control.peer_counters)
        boards = [_board(&header.board[side]) for side in range(2)]
        return {"ecalls": ecalls, "ocalls": ocalls, "host": boards[0], "enclave": boards[1]}

    def histogram(self, int side, uint32_t id):
        """``(count, max_cycles, [buckets])`` of the sampled calls of one function."""
        cdef const uint8_t *u_base
        cdef const hc_geometry *g = self._region(&u_base)
        cdef uint32_t row = id if id < HC_HISTOGRAMS else HC_HISTOGRAMS - 1
        cdef const hc_histogram *histogram = <const hc_histogram *>(
            u_base + g.histograms_at + (side * HC_HISTOGRAMS + row) * sizeof(hc_histogram))
        return (hc_untrusted_u64(&histogram.count), hc_untrusted_u64(&histogram.max_cycles),
                [hc_untrusted_u32(&histogram.buckets[i]) for i in range(HC_BUCKETS)])

    @property
    def channel(self):
        """The descriptor of the channel, the enclave's own; -1: it has none."""
        return -1 if self.handle == NULL else hc_channel(self.handle)

    @property
    def window_size(self):
        """Bytes that the arguments of a call may take."""
        cdef const uint8_t *u_base
        return self._region(&u_base).window_size

    def clients(self, uint32_t what, uint32_t place, uint64_t generation):
        """Tell the enclave that a client comes or goes; return the state of its place."""
        cdef hc_clients_message message
        memset(&message, 0, sizeof(message))
        message.what, message.place, message.generation = what, place, generation
        ms = PyBytes_FromStringAndSize(<const char *>&message, sizeof(message))
        answer, _ = self.call(self.interface.ecall_count - 2, ms, b"", False, 0, 10.0)
        memcpy(&message, <const char *><bytes>answer, sizeof(message))
        return message.what

    def close(self):
        """End the enclave. Calls of other threads fail; returns when the process is gone."""
        if self.handle == NULL or self.closed:
            return
        self.closed = True
        with nogil:
            hc_shutdown(self.handle)
        collect(self)


cdef extern from *:
    """
    static inline void hc_py_set_call_mode(struct hc_call *call, uint32_t mode)
    {
        call->mode = mode;
    }
    static inline void hc_py_write_payload(struct hc_frame *frame, const void *ms, size_t size)
    {
        hc_copy_out(frame->u_cell->payload, ms, size);
    }
    """
    void hc_py_set_call_mode(hc_call *call, uint32_t mode) nogil
    void hc_py_write_payload(hc_frame *frame, const void *ms, size_t size) nogil


@cython.no_gc_clear  # __dealloc__ needs the enclave
cdef class SharedBlock:
    """A piece of shared memory as a buffer. Views of it keep the mapping, and the piece, alive."""
    cdef Enclave enclave
    cdef uint8_t *address
    cdef Py_ssize_t size
    cdef Py_ssize_t stride
    cdef bint owned

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        buffer.buf = self.address
        buffer.obj = self
        buffer.len = self.size
        buffer.readonly = 0
        buffer.itemsize = 1
        buffer.format = b"B"
        buffer.ndim = 1
        buffer.shape = &self.size
        buffer.strides = &self.stride
        buffer.suboffsets = NULL
        buffer.internal = NULL

    def free(self):
        """Give the memory back; what still looks at it must not be used."""
        cdef const uint8_t *u_base
        if self.owned and not self.enclave.closed:
            if hc_region(self.enclave.handle, &u_base) != NULL:
                hc_shared_free(self.enclave.handle, self.address)
        self.owned = False

    def __dealloc__(self):
        if self.enclave is not None:
            self.free()


cdef SharedBlock _block(Enclave enclave, uint8_t *address, Py_ssize_t size, bint owned):
    cdef SharedBlock block = SharedBlock()
    block.enclave = enclave
    block.address = address
    block.size = size
    block.stride = 1
    block.owned = owned
    return block


cdef inline void _set_call_mode(hc_call *call, uint32_t mode) noexcept nogil:
    hc_py_set_call_mode(call, mode)

cdef inline void _write_payload(hc_frame *frame, const char *ms, size_t size) noexcept nogil:
    hc_py_write_payload(frame, ms, size)


include "_python.pxi"
include "_async.pxi"

_COUNTERS = ("hot", "switched", "fallen_back", "withdrawn", "oneway", "slept", "rang",
             "bytes_out", "bytes_in", "errors")

cdef dict _zero_counters():
    return dict.fromkeys(_COUNTERS, 0)

cdef _add_counters(dict total, const hc_counters *counters):
    total["hot"] += hc_untrusted_u64(&counters.hot)
    total["switched"] += hc_untrusted_u64(&counters.switched)
    total["fallen_back"] += hc_untrusted_u64(&counters.fallen_back)
    total["withdrawn"] += hc_untrusted_u64(&counters.withdrawn)
    total["oneway"] += hc_untrusted_u64(&counters.oneway)
    total["slept"] += hc_untrusted_u64(&counters.slept)
    total["rang"] += hc_untrusted_u64(&counters.rang)
    total["bytes_out"] += hc_untrusted_u64(&counters.bytes_out)
    total["bytes_in"] += hc_untrusted_u64(&counters.bytes_in)
    total["errors"] += hc_untrusted_u64(&counters.errors)


cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    static void *hc_py_secret_alloc(size_t size)
    {
        return calloc(1, size);
    }
    static void hc_py_secret_free(void *memory, size_t size)
    {
        if (memory != NULL)
            explicit_bzero(memory, size);
        free(memory);
    }
    """
    void *secret_memory_alloc "hc_py_secret_alloc"(size_t size)
    void secret_memory_free "hc_py_secret_free"(void *memory, size_t size)

cdef inline bint SECRET_MEMORY_IS_HIDDEN() noexcept:
    return False

include "_secret.pxi"
include "_program.pxi"
include "_channel.pxi"


def cycles_per_us():
    """Cycles of the time-stamp counter in a microsecond."""
    return hc_cycles_per_us()
