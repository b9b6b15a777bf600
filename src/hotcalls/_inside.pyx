# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, embedsignature=False, freethreading_compatible=True
"""The enclave process's own part of a Python enclave: harden, describe, lock down, serve.

Enclave side, inside the boundary. Loaded by file path, before :mod:`site` and before any code of
the user's; imports nothing. Policy is in :mod:`hotcalls.inside`, the calls are in
``python_serve.c``.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy

cdef extern from "<stdbool.h>" nogil:
    ctypedef int c_bool "bool"

cdef extern from "enclave_start.h" nogil:
    enum: HC_ABI
    enum: HC_LAYOUT
    enum: HC_FN_PUBLIC
    enum: FD_CHANNEL
    enum: FD_IMAGE
    enum: FD_PAPER
    enum: FD_SECRETS
    cdef enum hc_status:
        HC_OK
        HC_ERR_CALLEE
        HC_ERR_MEMORY
        HC_ERR_OS
    cdef enum hc_state:
        HC_STATE_READY
    struct hc_frame:
        pass
    ctypedef hc_status hc_bridge(hc_frame *frame) noexcept nogil
    struct hc_function:
        const char *name
        hc_bridge *bridge
        uint32_t flags
        const uint64_t *allow
    struct hc_interface:
        uint32_t abi
        uint32_t layout
        uint32_t ecall_count
        uint32_t ocall_count
        const char *name
        const hc_function *ecalls
        const hc_function *ocalls
    struct hc_geometry:
        uint64_t total_size
        uint64_t window_size
        uint64_t shared_at
        uint64_t shared_size
    struct wishes:
        uint32_t insecure_debug
    const char *hc_status_text(hc_status status)
    c_bool hc_range_inside(uint64_t offset, uint64_t size, uint64_t limit)
    void hc_speculation_barrier()
    void enclave_read_wishes(int argc, char **argv, wishes *wishes)
    hc_geometry enclave_harden(const wishes *wishes, unsigned fd_count, uint8_t **u_base)
    void enclave_lock(uint32_t groups, c_bool insecure_debug)
    void enclave_outlive_nobody()
    void enclave_fail(hc_status status, int error, const char *format, ...)
    void enclave_state(hc_state state)
    hc_status enclave_runtime_init(uint8_t *u_base, const hc_geometry *geometry,
                                   const hc_interface *interface, const wishes *wishes,
                                   size_t stack_size)
    hc_status enclave_runtime_start()

cdef extern from "sandbox.h" nogil:
    enum: SANDBOX_CORE
    enum: SANDBOX_INTERPRETER
    enum: SANDBOX_DENIED_ERRNO
    cdef enum sandbox_secret_kind:
        SANDBOX_SECRET_MEMFD
    struct sandbox_secret_status_t "sandbox_secret_status":
        sandbox_secret_kind kind
    sandbox_secret_status_t sandbox_secret_status()
    void *sandbox_secret_alloc(size_t size)
    void sandbox_secret_free(void *pointer)

cdef extern from "python_message.h" nogil:
    enum: HC_PY_INLINE
    enum: HC_PY_VALUE
    enum: HC_PY_EXCEPTION
    enum: HC_PY_HELD

cdef extern from "python_serve.h" nogil:
    struct python_function:
        PyObject *call
        c_bool raw
        PyObject *decode
        PyObject *encode
        PyObject *no_argument
        PyObject *none
    hc_status python_serve_these(const python_function *functions, uint32_t count,
                                 PyObject *on_error, uint32_t clients)
    hc_status python_clients_map(int first_fd, uint32_t count)
    void python_clients_serve(const hc_interface *interface)
    hc_bridge python_clients_bridge
    hc_bridge python_bridge
    hc_bridge python_fetch
    hc_status python_ocall(uint32_t id, const void *message, size_t size, size_t reserve,
                           uint32_t *kind, PyObject **answer, uint64_t *token,
                           size_t *answer_size) except *

cdef extern from *:
    """
    #define HC_STATUS_PAIR(name, value, text) {#name, text},
    static const char *const status_table[][2] = {HC_STATUS_TABLE(HC_STATUS_PAIR)};
    #include <signal.h>
    #include <unistd.h>
    static void ignore_signals(void)
    {
        /* Ctrl-C is the host's, a log that nobody reads is no reason to end, and neither ever
         * becomes a KeyboardInterrupt in the middle of a call. */
        static const int numbers[] = {SIGINT, SIGPIPE, SIGXFSZ};
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
            (void)signal(numbers[i], SIG_IGN);
    }
    """
    const char *status_table[1][2]
    void ignore_signals() nogil
    int PySys_AddAuditHook(int (*hook)(const char *, PyObject *, void *) noexcept, void *data) \
        except -1

cdef extern from "Python.h":
    void Py_DECREF(PyObject *)

DENIED_ERRNO = SANDBOX_DENIED_ERRNO
IMAGE_FD = FD_IMAGE
PAPER_FD = FD_PAPER
FIRST_SECRET_FD = FD_SECRETS

# What Python code needs that recurses as deep as sys.getrecursionlimit() lets it. Address space
# until it is used.
cdef size_t STACK_SIZE = 16 << 20

cdef wishes _wishes
cdef uint8_t *_u_base = NULL
cdef hc_geometry _geometry
cdef hc_interface _interface
cdef hc_interface _client_interface
cdef uint32_t _client_count = 0
cdef bint _serving = False
# As large as the answers of each ocall have been.
cdef size_t *_hints = NULL


def harden(list words):
    """The first act: nobody looks in from here on. Ends the process when that fails."""
    global _geometry, _client_count
    cdef list encoded = [word.encode("utf-8", "surrogateescape") for word in words]
    cdef char **argv = <char **>calloc(len(encoded) + 1, sizeof(char *))
    cdef unsigned fds = FD_SECRETS - FD_CHANNEL
    cdef int first_client
    cdef hc_status status
    if argv == NULL:
        raise MemoryError
    for i, word in enumerate(encoded):
        argv[i] = <bytes>word
        if (<bytes>word).startswith(b"secrets="):
            fds += int((<bytes>word)[8:])
        elif (<bytes>word).startswith(b"clients="):
            _client_count = int((<bytes>word)[8:])
    first_client = FD_CHANNEL + <int>fds
    fds += 2 * _client_count
    enclave_read_wishes(<int>len(encoded), argv, &_wishes)
    _geometry = enclave_harden(&_wishes, fds, &_u_base)
    status = python_clients_map(first_client, _client_count)
    if status != HC_OK:
        enclave_fail(status, 0, "the channels of clients: %s", hc_status_text(status))
    ignore_signals()


def debug():
    """Whether the host launched with ``insecure_debug``."""
    return _wishes.insecure_debug != 0


def fail(str text):
    """Tell the host in a sentence why the enclave cannot start, and end the process."""
    cdef bytes encoded = text.encode("ascii", "replace")
    enclave_fail(HC_ERR_CALLEE, 0, "%s", <const char *>encoded)


cdef hc_function *_table(list names, hc_bridge *bridge, hc_bridge *last, uint64_t *allow) except NULL:
    """One entry for each name, and one for fetch. They live as long as the process."""
    # And room for one more.
    cdef hc_function *table = <hc_function *>calloc(len(names) + 2, sizeof(hc_function))
    if table == NULL:
        raise MemoryError
    for i, name in enumerate(names):
        Py_INCREF(name)
        table[i].name = <bytes>name
        table[i].bridge = bridge
        table[i].flags = HC_FN_PUBLIC
        table[i].allow = allow
    table[len(names)].name = b"fetch"
    table[len(names)].bridge = last
    table[len(names)].flags = HC_FN_PUBLIC
    table[len(names)].allow = allow
    return table


cdef PyObject *_keep(object value) noexcept:
    if value is None:
        return NULL
    Py_INCREF(value)
    return <PyObject *>value


def prepare(list ecalls, list ocalls, on_error):
    """Set the runtime up.

    `ecalls` are ``(name, function, raw, decode, encode, no_argument, none)``, `ocalls` names.
    """
    global _hints, _client_interface
    cdef size_t count = len(ecalls)
    cdef python_function *functions = <python_function *>calloc(count + 1, sizeof(python_function))
    # Any ecall may come in while an ocall is out: other threads of the host may call any time
    # too, so a module has to bear that anyway.
    cdef uint64_t *allow = <uint64_t *>calloc((count + 1) // 64 + 1, sizeof(uint64_t))
    _hints = <size_t *>calloc(len(ocalls) + 1, sizeof(size_t))
    if functions == NULL or allow == NULL or _hints == NULL:
        raise MemoryError
    for i in range((count + 1) // 64 + 1):
        allow[i] = ~(<uint64_t>0)
    for i, (name, function, raw, decode, encode, no_argument, none) in enumerate(ecalls):
        functions[i].call = _keep(function)
        functions[i].raw = raw
        functions[i].decode = _keep(decode)
        functions[i].encode = _keep(encode)
        functions[i].no_argument = _keep(no_argument)
        functions[i].none = _keep(none)
    _interface.abi = HC_ABI
    _interface.layout = HC_LAYOUT
    _interface.name = b"python"
    _interface.ecall_count = <uint32_t>count + 1
    _interface.ocall_count = <uint32_t>len(ocalls) + 1
    _interface.ecalls = _table([entry[0] for entry in ecalls], python_bridge, python_fetch, NULL)
    _interface.ocalls = _table(ocalls, NULL, NULL, allow)
    cdef hc_status status = python_serve_these(functions, <uint32_t>count, _keep(on_error),
                                               _client_count)
    if status != HC_OK:
        enclave_fail(status, 0, "setting up: %s", hc_status_text(status))
    _client_interface = _interface
    python_clients_serve(&_client_interface)
    cdef hc_function *table
    if _client_count != 0:
        # Who launched it says which clients there are; see python_clients.h.
        table = _table([entry[0] for entry in ecalls], python_bridge, python_fetch, NULL)
        table[count + 1] = table[count]
        table[count].name = b"clients"
        table[count].bridge = python_clients_bridge
        _interface.ecalls = table
        _interface.ecall_count += 1
    status = enclave_runtime_init(_u_base, &_geometry, &_interface, &_wishes,
                                                 STACK_SIZE)
    if status != HC_OK:
        enclave_fail(status, 0, "setting up: %s", hc_status_text(status))


def lock():
    """Lock the process down, for good. Ends it when that fails."""
    with nogil:
        enclave_lock(SANDBOX_CORE | SANDBOX_INTERPRETER, _wishes.insecure_debug != 0)


def serve():
    """Serve calls; returns never."""
    global _serving
    _serving = True
    cdef hc_status status
    with nogil:
        status = enclave_runtime_start()
        if status != HC_OK:
            enclave_fail(status, 0, "starting threads: %s", hc_status_text(status))
        enclave_state(HC_STATE_READY)
        enclave_outlive_nobody()


class CallFailed(Exception):
    """An ocall did not reach the host, or its answer did not come back."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


cdef bytes _finished(hc_status status, PyObject *answer):
    if status != HC_OK:
        raise CallFailed((<bytes>status_table[<int>status][0]).decode(),
                         (<bytes>status_table[<int>status][1]).decode())
    result = <bytes>answer
    Py_DECREF(answer)
    return result


def ocall(uint32_t id, bytes message):
    """Make an ocall; return ``(kind, answer)``, both of them the host's word."""
    cdef uint32_t kind = 0
    cdef uint32_t fetched = 0
    cdef PyObject *answer = NULL
    cdef uint64_t token = 0
    cdef size_t size = 0
    cdef hc_status status
    cdef char asked[8]
    if not _serving:
        raise CallFailed("HC_ERR_AGAIN", "no call can leave before the enclave serves: not at import, and not in "
                         "@hotcalls.startup")
    status = python_ocall(id, PyBytes_AS_STRING(message), <size_t>PyBytes_GET_SIZE(message),
                          _hints[id], &kind, &answer, &token, &size)
    if status == HC_OK and kind == HC_PY_HELD:
        memcpy(asked, &token, 8)
        if size > _geometry.window_size:
            raise CallFailed("HC_ERR_TOO_LARGE",
                             f"the answer has {size} bytes, more than launch(window=…) leaves room "
                             f"for ({_geometry.window_size})")
        status = python_ocall(_interface.ocall_count - 1, asked, 8, size, &fetched,
                              &answer, &token, &size)
        kind = fetched
        if status == HC_OK and fetched == HC_PY_HELD:
            raise CallFailed("HC_ERR_MESSAGE",
                             "the host holds back an answer that it was asked for")
    result = _finished(status, answer)
    # Next time the answer comes at once.
    if HC_PY_INLINE < len(result) and len(result) > _hints[id]:
        size = 64
        while size < <size_t>len(result):
            size *= 2
        _hints[id] = size if size <= _geometry.window_size // 8 else _geometry.window_size // 8
    return kind, result


# ---- the channel's shared memory -----------------------------------------------------------------

cdef class SharedView:
    """A piece of it, as a buffer. It lives as long as the process, and so does the memory."""
    cdef uint8_t *memory
    cdef Py_ssize_t size
    cdef Py_ssize_t stride

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        buffer.buf = self.memory
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


def shared_view(uint64_t offset, uint64_t size):
    """A view of shared memory by its offset; ValueError when it is not all inside."""
    if offset < _geometry.shared_at or not hc_range_inside(offset - _geometry.shared_at, size,
                                                           _geometry.shared_size):
        raise ValueError("outside the shared memory of this enclave")
    hc_speculation_barrier()
    cdef SharedView view = SharedView()
    view.memory = _u_base + offset
    view.size = <Py_ssize_t>size
    view.stride = 1
    return memoryview(view)


def shared_offset_of(view):
    """The offset of a view into shared memory; else ValueError."""
    cdef const uint8_t[::1] data = view
    if data.shape[0] == 0:
        raise ValueError("an empty view is nowhere")
    cdef uint64_t start = <uint64_t><size_t>_u_base + _geometry.shared_at
    cdef uint64_t address = <uint64_t><size_t>&data[0]
    if address < start or not hc_range_inside(address - start, <uint64_t>data.shape[0],
                                              _geometry.shared_size):
        raise ValueError("not memory that the host shares with this enclave")
    return address - <uint64_t><size_t>_u_base


# ---- what is refused after the lock-down, in words ----------------------------------------------

cdef object _explain = None
cdef dict _refused = {}

cdef int _on_event(const char *event, PyObject *arguments, void *data) noexcept:
    """Runs at every audited event; most of them are none of ours."""
    if _explain is None or not (event[0] in b"osmp"):
        return 0
    text = _refused.get(<bytes>event)
    if text is None:
        return 0
    refusal = None
    try:
        _explain(text, <object>arguments)
    except BaseException as error:
        refusal = error
    if refusal is None:
        return 0
    PyErr_SetObject(type(refusal), refusal)
    return -1


cdef extern from "Python.h":
    void PyErr_SetObject(object type, object value)


def audit(dict refused, explain):
    """From here on `explain(refused[event], arguments)` is called, to raise, for these events."""
    global _explain, _refused
    _refused = {event.encode(): text for event, text in refused.items()}
    _explain = explain
    PySys_AddAuditHook(_on_event, NULL)


# ---- secrets -------------------------------------------------------------------------------------

cdef inline void *secret_memory_alloc(size_t size) noexcept:
    return sandbox_secret_alloc(size)

cdef inline void secret_memory_free(void *memory, size_t size) noexcept:
    sandbox_secret_free(memory)

cdef inline bint SECRET_MEMORY_IS_HIDDEN() noexcept:
    return sandbox_secret_status().kind == SANDBOX_SECRET_MEMFD

include "_secret.pxi"
