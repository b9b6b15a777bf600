# SPDX-License-Identifier: Apache-2.0
# Calls that belong to the enclave and not to a thread: what futures and event loops stand on.
# Included by _native.pyx. The C below is native/host_async.c.

from cpython.ref cimport Py_DECREF

cdef extern from "host_async.h" nogil:
    struct hc_async:
        pass
    struct hc_async_call:
        hc_call call
        void *cookie
        const void *ms
        const void *buffers
        size_t ms_size
        size_t buffers_size
        size_t reserve
        uint32_t id
        uint32_t state
        uint32_t status
    enum: HC_ASYNC_NEW
    enum: HC_ASYNC_OVER
    hc_async *hc_async_new(hc_enclave *enclave, uint32_t ports, hc_status *status)
    void hc_async_delete(hc_async *ports)
    hc_status hc_async_descriptors(hc_enclave *enclave, int *descriptors)
    void hc_async_wake(hc_enclave *enclave)
    hc_status hc_async_post(hc_async *ports, hc_async_call **calls, size_t count)
    hc_async_call *hc_async_take(hc_async *ports)
    bint hc_async_take_this(hc_async *ports, hc_async_call *call)
    hc_status hc_async_read(const hc_async_call *call, void *ms)
    hc_status hc_async_copy(const hc_async_call *call, void *to, size_t size)
    void hc_async_end(hc_async *ports, hc_async_call *call)
    bint hc_async_spin(hc_async *ports, const hc_async_call *call, uint64_t cycles)
    bint hc_async_withdraw(hc_async *ports, hc_async_call *call)
    void hc_async_look(hc_async *ports)
    bint hc_async_arm(hc_async *ports, uint32_t *left)
    void hc_async_nudge(hc_async *ports)

# A caller that waits looks so long itself before it leaves that to who sleeps: what a sleep and a
# wake-up cost together, and the first microseconds of it with the GIL (host_python.h).
cdef enum:
    HELD_US = 3
    HELP_US = 50

# Memory for a few frames comes back soon or not at all.
cdef enum:
    DELIVERIES = 100
    DELIVERY_US = 1000

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int microseconds)


@cython.no_gc_clear  # what the runtime reads of it has to stay until it is over
cdef class Posted:
    """A call that any thread may collect.

    ``done(error, kind, ms, buffers)`` is called by whichever thread collects it: with a
    :class:`NativeError`, or with the answer; of a Python enclave `ms` is the message and `kind`
    what it is. It is called once; if it raises, again, with what it raised.
    """
    cdef hc_async_call made
    cdef readonly Enclave native
    cdef hc_py_head head
    cdef bytes ms
    cdef bytes buffers
    cdef object done
    cdef bint is_message
    cdef size_t expected  # of a HELD answer that is being fetched; else 0

    @staticmethod
    def call(Enclave native, uint32_t id, bytes ms, bytes buffers, done):
        """A call of a C enclave, as :meth:`Enclave.call` takes it."""
        cdef Posted self = Posted.__new__(Posted)
        self.native = native
        self.done = done
        self.ms = ms
        self.buffers = buffers
        self.made.id = id
        self.made.ms = PyBytes_AS_STRING(ms)
        self.made.ms_size = PyBytes_GET_SIZE(ms)
        self.made.buffers = PyBytes_AS_STRING(buffers)
        self.made.buffers_size = self.made.reserve = PyBytes_GET_SIZE(buffers)
        return self

    @staticmethod
    def message(Function function, bytes data, done):
        """A call of a Python enclave."""
        cdef Posted self = Posted.__new__(Posted)
        self.native = function.native
        self.done = done
        self._message(function.id, data, function.room)
        return self

    cdef void _message(self, uint32_t id, bytes data, size_t room):
        cdef size_t size = PyBytes_GET_SIZE(data)
        self.is_message = True
        self.ms = data
        hc_py_head_set(&self.head, PyBytes_AS_STRING(data), size)
        self.made.id = id
        self.made.ms = &self.head
        self.made.ms_size = sizeof(hc_py_head)
        self.made.buffers = PyBytes_AS_STRING(data)
        self.made.buffers_size = size if size > HC_PY_INLINE else 0
        self.made.reserve = max(self.made.buffers_size, room)

    @property
    def over(self):
        """Whether it was collected or withdrawn."""
        return self.made.state == HC_ASYNC_OVER

    cdef _finish(self):
        """Read the answer of a call that was given out, end it, and tell who waits for it."""
        cdef hc_status status
        cdef hc_async *ports = self.native.ports
        error = None
        ms = buffers = b""
        kind = HC_PY_VALUE
        try:
            ms, buffers, kind, status = self._read()
        except BaseException as wrong:
            error = wrong
            status = HC_OK
        hc_async_end(ports, &self.made)
        if error is None and status == HC_OK and kind == HC_PY_HELD:
            error = self._fetch(ms)
            if error is None:
                return
        elif error is None and status != HC_OK:
            error = _native_error(self.native.handle, status)
        done = self.done
        self.done = None
        Py_DECREF(self)  # the reference of _post
        self._deliver(done, error, kind, ms, buffers)

    cdef int _deliver(self, done, error, uint32_t kind, ms, buffers) except -1:
        """Call `done`; what keeps it from taking the answer in is then what the call came to.

        Whoever waits would otherwise do so for ever: `done` can be called until it has succeeded.
        """
        cdef int left = DELIVERIES
        try:
            done(error, kind, ms, buffers)
            return 0
        except BaseException as wrong:
            error = wrong
        while left != 0:
            left -= 1
            try:
                done(error, HC_PY_VALUE, b"", b"")
                break
            except BaseException:
                with nogil:
                    usleep(DELIVERY_US)
        if left == 0 or not isinstance(error, MemoryError):
            report_unraisable(error, done)
        return 0

    cdef tuple _read(self):
        cdef hc_status status
        cdef hc_py_head head
        cdef size_t size
        if not self.is_message:
            ms = bytearray(self.made.ms_size)
            status = hc_async_read(&self.made, <char *>ms)
            if status != HC_OK:
                return b"", b"", HC_PY_VALUE, status
            buffers = PyBytes_FromStringAndSize(NULL, self.made.buffers_size)
            status = hc_async_copy(&self.made, PyBytes_AS_STRING(buffers), self.made.buffers_size)
            return bytes(ms), buffers, HC_PY_VALUE, status
        status = hc_async_read(&self.made, &head)
        if status != HC_OK:
            return b"", b"", HC_PY_VALUE, status
        if not hc_py_head_valid(&head, self.made.reserve) or (
                self.expected != 0 and (head.kind == HC_PY_HELD or head.size != self.expected)):
            return b"", b"", HC_PY_VALUE, HC_ERR_MESSAGE
        size = head.size
        if head.kind == HC_PY_HELD:
            self.expected = size
            return PyBytes_FromStringAndSize(<const char *>head.data, 8), b"", HC_PY_HELD, status
        if size <= HC_PY_INLINE:
            return (PyBytes_FromStringAndSize(<const char *>head.data, size), b"", head.kind,
                    status)
        data = PyBytes_FromStringAndSize(NULL, size)
        status = hc_async_copy(&self.made, PyBytes_AS_STRING(data), size)
        return data, b"", head.kind, status

    cdef object _fetch(self, bytes token):
        """Ask for an answer that did not fit; returns the error when that cannot be."""
        cdef hc_async_call *one = &self.made
        cdef hc_status status
        self._message(_fetch_id(self.native), token, self.expected)
        self.made.state = HC_ASYNC_NEW
        status = hc_async_post(self.native.ports, &one, 1)
        return None if status == HC_OK else _native_error(self.native.handle, status)


cdef hc_async *_ports(Enclave native) except NULL:
    """The ports of the enclave that belong to no thread, taken at the first call that needs one."""
    cdef hc_status status = HC_OK
    cdef const uint8_t *u_base
    cdef const hc_geometry *g
    cdef uint32_t responders
    if native.ports == NULL:
        with native.once:
            if native.ports == NULL:
                g = native._region(&u_base)
                # Said by the enclave: it can only have more or fewer calls run at a time.
                responders = hc_untrusted_u32(&(<const hc_header *>u_base).board[1].responders)
                native.ports = hc_async_new(native.handle, min(max(responders, 1), 16), &status)
                if native.ports == NULL:
                    raise _native_error(native.handle, status)
    return native.ports


def post(Enclave native, list posted):
    """Post calls, or queue them behind others. Either all or, with an error, none of them."""
    cdef hc_async_call *one
    cdef hc_async_call **many = &one
    cdef hc_async *ports
    cdef size_t count = len(posted)
    cdef hc_status status
    cdef Posted each
    native._check_open()
    ports = _ports(native)
    if count > 1:
        many = <hc_async_call **>calloc(count, sizeof(hc_async_call *))
        if many == NULL:
            raise MemoryError
    try:
        for i in range(count):
            each = <Posted?>posted[i]
            if each.made.state != HC_ASYNC_NEW or each.native is not native:
                raise ValueError("a call is posted once, to its own enclave")
            each.made.cookie = <void *>each
            many[i] = &each.made
        for each in posted:
            Py_INCREF(each)
        status = hc_async_post(ports, many, count)
        if status != HC_OK:
            for each in posted:
                Py_DECREF(each)
            raise _native_error(native.handle, status)
    finally:
        if count > 1:
            free(many)


def collect(Enclave native):
    """Complete every call that is answered; return how many were, and how many are still out.

    Until the next call of this, the descriptor of :func:`descriptors` becomes readable when one
    more is answered.
    """
    cdef hc_async *ports = native.ports
    cdef hc_async_call *call
    cdef uint32_t left = 0
    cdef uint32_t completed = 0
    cdef Posted posted
    if ports == NULL:
        return 0, 0
    while True:
        call = hc_async_take(ports)
        if call != NULL:
            completed += 1
            posted = <Posted>call.cookie
            posted._finish()
        elif hc_async_arm(ports, &left):
            return completed, left


def collect_one(Posted posted, bint patient):
    """Look for one answer for some microseconds, and complete the call; False: not there yet."""
    cdef hc_async *ports = posted.native.ports
    cdef bint there
    if ports == NULL or posted.made.state == HC_ASYNC_NEW:
        return False
    posted.native._check_mine()
    there = hc_async_spin(ports, &posted.made, HELD_US * hc_cycles_per_us())
    if not there and patient:
        with nogil:
            there = hc_async_spin(ports, &posted.made, HELP_US * hc_cycles_per_us())
    if there and hc_async_take_this(ports, &posted.made):
        posted._finish()
    return there


def withdraw(Posted posted):
    """Take a call back that nobody has begun; True: it will never run."""
    if posted.native.ports == NULL or not hc_async_withdraw(posted.native.ports, &posted.made):
        return False
    posted.done = None
    Py_DECREF(posted)
    return True


def look(Enclave native):
    """Find out whether the enclave still lives."""
    if native.ports != NULL:
        hc_async_look(native.ports)


def nudge(Enclave native):
    """Ring for calls that nobody has begun."""
    if native.ports != NULL:
        hc_async_nudge(native.ports)


def descriptors(Enclave native):
    """The descriptor that announces answers, and that of the process: the caller's to close."""
    cdef int found[2]
    native._check_mine()
    cdef hc_status status = hc_async_descriptors(native.handle, found)
    if status == HC_ERR_OS:
        raise NativeError(
            "HC_ERR_OS", f"no descriptors to wait for answers with: {_strerror(errno)}", errno
        )
    native._check(status)
    return found[0], found[1]


def wake_collector(Enclave native):
    """Make the descriptor readable that announces answers."""
    if native.handle != NULL:
        hc_async_wake(native.handle)
