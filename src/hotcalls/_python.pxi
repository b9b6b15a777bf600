# SPDX-License-Identifier: Apache-2.0
# Calls of Python enclaves, in both directions: messages of native/python_message.h. Included by
# _native.pyx. What the bytes mean is decided in Python (hotcalls.wire).

from cpython.object cimport PyObject, PyTypeObject
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.string cimport memcmp

cdef extern from "host_python.h" nogil:
    enum: HC_PY_INLINE
    enum: HC_PY_VALUE
    enum: HC_PY_EXCEPTION
    enum: HC_PY_HELD
    struct hc_py_head:
        uint32_t size
        uint32_t kind
        uint8_t *data
    struct hc_py_call:
        hc_call call
        hc_py_head head
    void hc_py_head_set(hc_py_head *head, const void *data, size_t size)
    hc_status hc_py_post(hc_port *port, hc_py_call *made, uint32_t id, uint32_t mode,
                         const void *data, size_t size, size_t room)
    bint hc_py_spin(hc_py_call *made)
    hc_status hc_py_wait(hc_py_call *made, uint64_t timeout)
    hc_status hc_py_answer(hc_py_call *made)
    hc_status hc_py_still_open(hc_py_call *made)
    bint hc_py_head_valid(const hc_py_head *head, size_t room)
    hc_status hc_py_frame_open(hc_frame *frame, hc_py_head *head)
    bint hc_py_fits(const hc_frame *frame, size_t size)
    hc_status hc_py_frame_close(hc_frame *frame, uint32_t kind, const void *data, size_t size)

cdef extern from *:
    """
    /*
     * Calls without a tuple and a dict (PEP 590). Cython has no syntax for it, and a heap type does
     * not inherit the flag before Python 3.12. Done before the type is used.
     */
    static inline void hc_py_set_vectorcall(PyObject *type, size_t offset)
    {
        PyTypeObject *to = (PyTypeObject *)type;
        to->tp_vectorcall_offset = (Py_ssize_t)offset;
        to->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
        PyType_Modified(to);
    }
    /* Set when an ocall that this thread ran has left something for the call that it waits for. */
    static __thread int hc_py_noted;
    static inline void hc_py_set_noted(int noted)
    {
        hc_py_noted = noted;
    }
    """
    int hc_py_noted
    void hc_py_set_noted(int noted)
    void hc_py_set_vectorcall(PyObject *type, size_t offset)
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject *const *, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t nargsf) nogil
    object PyVectorcall_Call(object callable, object args, object kwargs)

from hotcalls.failure import MessageError as _MessageError

PY_INLINE = HC_PY_INLINE
EXCEPTION = HC_PY_EXCEPTION
VALUE = HC_PY_VALUE
HELD = HC_PY_HELD


def note(bint something):
    """An ocall that this thread ran has left something for the call that it waits for."""
    hc_py_set_noted(something)


cdef class Function:
    """The base of the functions of an enclave; calling one is as direct as it can be.

    A call of one ``bytes``, with :attr:`raw`, and one without arguments, with :attr:`empty`, are
    made here. Any other goes to the method ``_call(args, kwargs)`` of the subclass.
    """
    cdef vectorcallfunc vectorcall
    cdef readonly Enclave native
    cdef readonly uint32_t id
    cdef readonly uint32_t mode
    cdef uint64_t timeout_cycles
    cdef public bint raw
    cdef readonly size_t room  # reserved for the answer: what answers have needed so far
    cdef size_t room_most
    cdef bytes empty
    cdef bytes nothing
    cdef object encode
    cdef object decode

    def __cinit__(self, *args, **kwargs):
        self.vectorcall = <vectorcallfunc><void *>_function_called

    def __call__(self, *args, **kwargs):
        return PyVectorcall_Call(self, args, kwargs)

    def bind(self, Enclave native, uint32_t id, uint32_t mode, double timeout, size_t window):
        """Which enclave and function is called, and how. `timeout` in seconds, negative: none."""
        self.native = native
        self.id = id
        self.mode = mode
        self.timeout_cycles = 0
        if timeout >= 0:
            self.timeout_cycles = <uint64_t>(timeout * 1e6 * <double>hc_cycles_per_us()) + 1
        self.room_most = window

    def bind_codec(self, encode, decode):
        """What makes the message of (args, kwargs), and the result of the answer."""
        self.encode = encode
        self.decode = decode

    def bind_constants(self, bytes empty, bytes nothing):
        """Of a function without parameters: its message, and the answer that means None."""
        self.empty = empty
        self.nothing = nothing

    def expect(self, size_t size):
        """Reserve room for answers of so many bytes from here on; less than needed is fine."""
        cdef size_t room = 64
        if size <= HC_PY_INLINE or size > self.room_most:
            return
        while room < size:
            room *= 2
        room = min(room, self.room_most)
        if room > self.room:
            self.room = room

    def transact(self, data):
        """Send a message and return the bytes of the answer. Everything else is raised."""
        cdef const unsigned char[::1] view
        if type(data) is bytes:
            return _transact(self, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), self.id)
        view = data
        if view.shape[0] == 0:
            return _transact(self, NULL, 0, self.id)
        return _transact(self, <const char *>&view[0], view.shape[0], self.id)


cdef object _not_made(Function self, hc_status status, bint posted, size_t size):
    """Raise the public error of a call that failed; return if it is to be made again."""
    if status == HC_ERR_INTERRUPTED:
        raise _pending_interrupts.pop(PyThread_get_thread_ident(), KeyboardInterrupt())
    self._failed(_native_error(self.native.handle, status), posted, size)


cdef object _transact(Function self, const char *data, size_t size, uint32_t id):
    """A plain call: the bytes of its answer, or None for the answer that means None."""
    cdef hc_py_call made
    cdef hc_status status
    cdef hc_port *port
    cdef Enclave native = self.native
    cdef uint64_t timeout
    cdef size_t length
    cdef uint64_t token
    if native.handle == NULL or native.closed:
        # Closed for good, or in favour of a fresh one.
        self._failed(NativeError("HC_ERR_CLOSED", STATUS_TEXTS["HC_ERR_CLOSED"]), False, size)
        return _transact(self, data, size, id)
    port = hc_host_port(native.handle)
    if port == NULL:
        _not_made(self, hc_host_port_error(native.handle), False, size)
        return _transact(self, data, size, id)
    status = hc_py_post(port, &made, id, self.mode, data, size, self.room)
    if status == HC_ERR_AGAIN or status == HC_ERR_ONEWAY or (
            status == HC_ERR_TOO_LARGE and size <= self.room_most):
        # Something is outstanding: a one-way call that failed, or that takes the room.
        with nogil:
            status = hc_py_post(port, &made, id, self.mode, data, size, 0)
    if status != HC_OK:
        _not_made(self, status, False, size)
        return _transact(self, data, size, id)
    hc_py_wait_begins()
    if not hc_py_spin(&made):
        timeout = self.timeout_cycles if self.timeout_cycles != 0 else port.timeout
        with nogil:
            status = hc_py_wait(&made, timeout)
    if status == HC_OK:
        status = hc_py_answer(&made)
    hc_py_wait_ends()
    if status != HC_OK:
        _not_made(self, status, True, size)
    length = made.head.size
    if made.head.kind == HC_PY_VALUE:
        if length <= HC_PY_INLINE:
            hc_call_end(&made.call)
            if hc_py_noted:
                self._settle()
            return PyBytes_FromStringAndSize(<const char *>made.head.data, length)
        answer = _copy_answer(self, &made, length)
        if hc_py_noted:
            self._settle()
        return answer
    if made.head.kind == HC_PY_EXCEPTION:
        if length <= HC_PY_INLINE:
            hc_call_end(&made.call)
            answer = PyBytes_FromStringAndSize(<const char *>made.head.data, length)
        else:
            answer = _copy_answer(self, &made, length)
        return self._raised(answer)
    hc_call_end(&made.call)
    if id != self.id:
        _not_made(self, HC_ERR_MESSAGE, True, size)
    return _fetch(self, length, made.head.data)


cdef object _copy_answer(Function self, hc_py_call *made, size_t length):
    """The bytes of an answer in the window; ends the call."""
    try:
        answer = PyBytes_FromStringAndSize(NULL, length)
    except BaseException:
        hc_call_end(&made.call)
        raise
    cdef char *to = PyBytes_AS_STRING(answer)
    if length < 1 << 16:
        hc_call_copy_out(&made.call, 0, to, length)
    else:
        with nogil:
            hc_call_copy_out(&made.call, 0, to, length)
    cdef hc_status status = hc_py_still_open(made)
    if status != HC_OK:
        _not_made(self, status, True, length)
    hc_call_end(&made.call)
    return answer


cdef object _fetch(Function self, size_t length, const uint8_t *token):
    """An answer that did not fit into what was reserved: asked for with enough, by its token."""
    cdef char copy[8]
    memcpy(copy, token, 8)
    if length > self.room_most:
        return self._too_large(length)
    self.expect(length)
    answer = _transact(self, copy, 8, _fetch_id(self.native))
    if type(answer) is bytes and PyBytes_GET_SIZE(answer) != length:
        _not_made(self, HC_ERR_MESSAGE, True, 0)
    return answer


cdef inline uint32_t _fetch_id(Enclave native) noexcept:
    """The last function of the interface."""
    return native.interface.ecall_count - 1


# What a call without keywords is encoded with; nobody writes to it.
cdef dict _NO_KEYWORDS = {}


cdef object _function_called(Function self, PyObject *const *args, size_t nargsf,
                             PyObject *kwnames):
    cdef Py_ssize_t count = PyVectorcall_NARGS(nargsf)
    cdef Py_ssize_t i
    cdef PyObject *first
    cdef bytes data
    if kwnames == NULL:
        if self.raw and count == 1:
            first = args[0]
            if PyBytes_CheckExact(<object>first):
                return _transact(self, PyBytes_AS_STRING(<object>first),
                                 PyBytes_GET_SIZE(<object>first), self.id)
        elif count == 0 and self.empty is not None:
            data = <bytes>_transact(self, PyBytes_AS_STRING(self.empty),
                                    PyBytes_GET_SIZE(self.empty), self.id)
            return None if data == self.nothing else self._decode(None, data)
    positional = PyTuple_New(count)
    for i in range(count):
        value = <object>args[i]
        Py_INCREF(value)
        PyTuple_SET_ITEM(positional, i, value)
    keywords = _NO_KEYWORDS
    if kwnames != NULL:
        keywords = {}
        for i, name in enumerate(<tuple><object>kwnames):
            keywords[name] = <object>args[count + i]
    if self.encode is None:
        return self._call(positional, keywords)
    message = self.encode(positional, keywords)
    if type(message) is not bytes:
        message = bytes(message)
    answer = _transact(self, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), self.id)
    if self.raw:
        return answer
    try:
        return self.decode(answer)
    except _MessageError as error:
        raise self._broken(error) from None


cdef class Messages:
    """Serves the ocalls of a Python enclave.

    ``serve(id, data)`` gets a private copy of the message and returns ``(kind, bytes)``; an answer
    that does not fit into what the enclave reserved is kept until it fetches it.
    """
    cdef object serve
    cdef object hold
    cdef object fetch
    cdef uint32_t fetch_id

    def __init__(self, serve, hold, fetch, uint32_t fetch_id):
        self.serve = serve
        self.hold = hold
        self.fetch = fetch
        self.fetch_id = fetch_id

    cdef hc_status _serve(self, hc_frame *frame) except *:
        cdef hc_py_head head
        cdef hc_status status = hc_py_frame_open(frame, &head)
        cdef uint32_t kind
        cdef uint64_t token
        if status != HC_OK:
            return status
        if head.size <= HC_PY_INLINE:
            data = PyBytes_FromStringAndSize(<const char *>head.data, head.size)
        else:
            data = PyBytes_FromStringAndSize(NULL, head.size)
            hc_copy_in(PyBytes_AS_STRING(data), frame.u_message, head.size)
        if frame.id == self.fetch_id:
            answer = self.fetch(data)
        else:
            answer = self.serve(frame.id, data)
        if type(answer) is int:
            return <hc_status><int>answer
        kind = answer[0]
        message = <bytes>answer[1]
        if hc_py_fits(frame, len(message)):
            return hc_py_frame_close(frame, kind, PyBytes_AS_STRING(message), len(message))
        token = self.hold(kind, message)
        return hc_py_frame_close(frame, HC_PY_HELD, &token, len(message))


def call_directly(kind):
    """Let a subclass of :class:`Function` be called without packing its arguments."""
    cdef Function one = Function.__new__(Function)
    if not issubclass(kind, Function):
        raise TypeError("not a subclass of Function")
    hc_py_set_vectorcall(<PyObject *>kind, <size_t>&one.vectorcall - <size_t><PyObject *>one)
    return kind

call_directly(Function)


cdef extern from *:
    """
    /* Nobody collects it: a one-way call from here on, or the lane would fill up. */
    static inline void hc_py_forget(struct hc_call *call)
    {
        struct hc_lane_out *lane = call->port->out;
        if (hc_broken(call->port->end) == HC_OK)
            lane->oneway |= UINT64_C(1) << (call->n & lane->mask);
    }
    static inline bool hc_py_batching(struct hc_port *port)
    {
        return port->batch_from != 0;
    }
    """
    void hc_py_forget(hc_call *call) nogil
    bint hc_py_batching(hc_port *port) nogil
    hc_status hc_py_submit(hc_port *port, hc_py_call *made, uint32_t id, const void *data,
                           size_t size, size_t room) nogil
    hc_status hc_py_collect(hc_py_call *made) nogil
    bint hc_py_look(hc_py_call *made) nogil

cdef enum:
    MANY = 64  # HC_CELLS_MAX: no lane has more


def transact_many(Function self, list messages):
    """Send many messages, a lane full at a time; return a list of what became of each.

    An item is the answer, as :meth:`Function.transact` returns it, or for anything else a tuple
    ``(error, kind, bytes)``.
    """
    cdef hc_py_call made[MANY]
    cdef hc_status status
    cdef Enclave native = self.native
    cdef hc_port *port
    cdef Py_ssize_t count = len(messages)
    cdef Py_ssize_t posted = 0, collected = 0
    cdef bint outer_batch
    cdef uint64_t timeout_before
    cdef uint32_t id = self.id
    cdef bytes data
    native._check_open()
    port = hc_host_port(native.handle)
    if port == NULL:
        native._check(hc_host_port_error(native.handle))
    answers = []
    refused = {}
    outer_batch = hc_py_batching(port)
    if outer_batch:
        hc_batch_end(port)
    timeout_before = port.timeout
    if self.timeout_cycles != 0:
        port.timeout = self.timeout_cycles
    try:
        while collected < count:
            # A call of a group is waited for by its last: with a timeout each is posted alone.
            if self.timeout_cycles == 0:
                hc_batch_begin(port)
            while posted < count and posted - collected < MANY:
                data = <bytes>messages[posted]
                status = hc_py_submit(port, &made[posted % MANY], id, PyBytes_AS_STRING(data),
                                      PyBytes_GET_SIZE(data), self.room)
                if status == HC_ERR_AGAIN and posted != collected:
                    break
                if posted == 0 and status in (HC_ERR_PEER_LOST, HC_ERR_POISONED, HC_ERR_CLOSED):
                    native._check(status, False)
                if status != HC_OK:
                    refused[posted] = status
                posted += 1
            if self.timeout_cycles == 0:
                hc_batch_end(port)
            # Half a lane is collected before more is posted: then both sides have work.
            while collected < posted and (posted == count or posted - collected > 8):
                if refused and collected in refused:
                    error = _native_error(native.handle, refused[collected])
                    error.posted = False
                    answers.append((error, 0, messages[collected]))
                else:
                    answers.append(_one_of_many(self, &made[collected % MANY]))
                collected += 1
    finally:
        port.timeout = timeout_before
        while collected < posted:
            if collected not in refused:
                hc_py_forget(&made[collected % MANY].call)
            collected += 1
        if outer_batch:
            hc_batch_begin(port)
    for i in range(count):
        if type(answers[i]) is tuple and answers[i][1] == HC_PY_HELD:
            answers[i] = _fetch_of_many(self, <tuple>answers[i])
    return answers


cdef object _one_of_many(Function self, hc_py_call *made):
    cdef hc_status status = HC_OK
    cdef size_t length
    hc_py_wait_begins()
    if not hc_py_look(made):
        with nogil:
            status = hc_py_collect(made)
    else:
        status = hc_py_collect(made)
    hc_py_wait_ends()
    if status == HC_ERR_INTERRUPTED:
        raise _pending_interrupts.pop(PyThread_get_thread_ident(), KeyboardInterrupt())
    if status != HC_OK:
        return _native_error(self.native.handle, status), 0, b""
    length = made.head.size
    if made.head.kind == HC_PY_HELD:
        hc_call_end(&made.call)
        return length, HC_PY_HELD, PyBytes_FromStringAndSize(<const char *>made.head.data, 8)
    if length <= HC_PY_INLINE:
        hc_call_end(&made.call)
        data = PyBytes_FromStringAndSize(<const char *>made.head.data, length)
    else:
        data = _copy_answer(self, made, length)
    if made.head.kind == HC_PY_VALUE:
        return data
    return None, made.head.kind, data


cdef object _fetch_of_many(Function self, tuple held):
    cdef bytes token = held[2]
    try:
        return _fetch(self, held[0], <const uint8_t *>PyBytes_AS_STRING(token))
    except Exception as error:
        return error, 0, b""


def all_bytes(list items):
    """Whether every item is exactly a bytes object."""
    for item in items:
        if not PyBytes_CheckExact(item):
            return False
    return True
