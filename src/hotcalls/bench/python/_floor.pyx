# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""The floor of ``hotcalls bench --python``, and its clock.

Host side. `Mailbox` is the least that carries bytes from a Python function to another one in
another process: one mailbox in shared memory, both ends spinning without the GIL. Both ends trust
each other. `take` times calls of any Python callable with the processor's time-stamp counter.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject_RichCompareBool, Py_EQ

from hotcalls.bench.errors import BenchError

cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject **PySequence_Fast_ITEMS(object o)
    Py_ssize_t PyTuple_GET_SIZE(object o)

cdef extern from *:
    """
    #define bench_vectorcall(callable, args, nargs) PyObject_Vectorcall(callable, args, nargs, NULL)
    """
    object bench_vectorcall(object callable, PyObject **args, size_t nargs)

cdef extern from "bench_clock.h" nogil:
    struct bench_timer:
        double overhead
        uint32_t step
    bench_timer bench_timer_measure()
    uint64_t bench_spin_loop()
    uint64_t bench_start()
    uint64_t bench_stop()
    uint64_t hc_tsc()

cdef extern from "bench_python.h" nogil:
    uint32_t BENCH_PYTHON_WINDOW
    const char *BENCH_PYTHON_COMPILER
    const char *HC_BENCH_FLAGS
    struct bench_line:
        uint64_t word
    struct bench_bare:
        bench_line line
    struct bench_python_line:
        uint64_t word
        uint32_t size
        uint32_t function
    struct bench_python:
        bench_bare bare
        bench_python_line line
    void bench_python_write(bench_python *m, uint32_t function, const void *data, uint32_t size)
    const unsigned char *bench_python_data(const bench_python *m)
    void bench_python_hand_over(bench_python *m)
    int bench_python_await(const bench_python *m, uint64_t odd)
    void bench_bare_serve(bench_bare *bare, unsigned char *private, uint64_t ways)
    void bench_bare_stop(bench_bare *bare)
    uint64_t bench_bare_trip(bench_bare *bare, unsigned char *private, uint64_t ways,
                             uint64_t token)
    uint32_t bench_saturate(uint64_t cycles)

cdef extern from "<sys/prctl.h>" nogil:
    int prctl(int option, unsigned long argument)
    int PR_SET_PDEATHSIG

#: Bytes that `Mailbox` needs.
SIZE = sizeof(bench_python)
#: The largest message that it carries.
LARGEST = BENCH_PYTHON_WINDOW
#: What this was compiled with.
COMPILER = BENCH_PYTHON_COMPILER.decode("ascii")
FLAGS = HC_BENCH_FLAGS.decode("ascii")

#: Function number that ends `Mailbox.serve`.
cdef uint32_t STOP = 0xffffffff


def die_with_parent(parent):
    """Have the kernel end this process when its parent's main thread ends.

    Raises
    ------
    SystemExit
        When `parent`, a process id, is the parent no more.
    """
    import os

    prctl(PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:
        raise SystemExit(1)


def timer():
    """Return what an empty pair of time stamps takes, and the step of the counter, in cycles."""
    measured = bench_timer_measure()
    return measured.overhead, measured.step


def spin_loop():
    """Return how many cycles a fixed amount of work took."""
    cdef uint64_t cycles
    with nogil:
        cycles = bench_spin_loop()
    return cycles


def stamp():
    """Return the time-stamp counter."""
    return hc_tsc()


def take(call, list arguments, list answers, uint32_t[::1] samples, Py_ssize_t count,
         Py_ssize_t first=0):
    """Time `count` calls and check every answer.

    Parameters
    ----------
    call
        What is called.
    arguments, answers
        Tuples of positional arguments, taken in turns, and what each must return.
    samples
        Gets the cycles of each call.
    count
        How many calls.
    first
        Where in `arguments` to begin, so that calls one at a time take turns too.

    Returns
    -------
    int
        How many answers were wrong.
    """
    cdef Py_ssize_t i, turn, kinds = len(arguments)
    cdef uint64_t begin, end
    cdef int64_t wrong = 0
    cdef tuple given
    if count > samples.shape[0]:
        raise ValueError(f"{count} samples do not fit into {samples.shape[0]}")
    for i in range(count):
        turn = (first + i) % kinds
        given = <tuple>arguments[turn]
        begin = bench_start()
        answer = bench_vectorcall(call, PySequence_Fast_ITEMS(given),
                                  <size_t>PyTuple_GET_SIZE(given))
        end = bench_stop()
        samples[i] = bench_saturate(end - begin)
        wrong += not PyObject_RichCompareBool(answer, answers[turn], Py_EQ)
    return wrong


cdef class Mailbox:
    """One mailbox, in `memory` that two processes map. One caller, one server, no checks."""

    cdef bench_python *mailbox
    cdef unsigned char[::1] memory

    def __cinit__(self, memory):
        self.memory = memory
        if self.memory.shape[0] < <Py_ssize_t>sizeof(bench_python):
            raise ValueError(f"the mailbox takes {SIZE} bytes, not {self.memory.shape[0]}")
        self.mailbox = <bench_python *>&self.memory[0]

    def call(self, uint32_t function, bytes data):
        """Have the server call its function `function` with `data`; return the bytes it gives."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef int failed
        if size > <Py_ssize_t>BENCH_PYTHON_WINDOW:
            raise ValueError(f"the mailbox carries {LARGEST} bytes, not {size}")
        bench_python_write(self.mailbox, function, PyBytes_AS_STRING(data), <uint32_t>size)
        with nogil:
            bench_python_hand_over(self.mailbox)
            failed = bench_python_await(self.mailbox, 0)
        if failed:
            raise BenchError("the other end of the bare mailbox does not answer")
        answer = PyBytes_FromStringAndSize(<const char *>bench_python_data(self.mailbox),
                                           self.mailbox.line.size)
        if self.mailbox.line.function != 0:
            raise BenchError(f"the other end of the bare mailbox: {answer.decode()}")
        return answer

    def run(self, uint32_t function):
        """Have the server call its function `function`, which gives nothing."""
        self.call(function, b"")

    def serve(self, tuple functions):
        """Call `functions` for the other end until it calls `stop`; None is empty bytes."""
        cdef uint32_t function, failed
        cdef int gone
        while True:
            with nogil:
                gone = bench_python_await(self.mailbox, 1)
            if gone:
                raise BenchError("nobody calls over the bare mailbox")
            function = self.mailbox.line.function
            if function == STOP:
                bench_python_write(self.mailbox, 0, b"", 0)
                bench_python_hand_over(self.mailbox)
                return
            data = PyBytes_FromStringAndSize(<const char *>bench_python_data(self.mailbox),
                                             self.mailbox.line.size)
            failed = 0
            try:
                answer = functions[function](data)
                if answer is None:
                    answer = b""
                if not isinstance(answer, bytes):
                    raise TypeError(f"a function gave {type(answer).__name__}, not bytes")
            except Exception as error:
                answer = repr(error).encode()
                failed = 1
            if PyBytes_GET_SIZE(answer) > <Py_ssize_t>BENCH_PYTHON_WINDOW:
                answer, failed = b"the answer is too large", 1
            bench_python_write(self.mailbox, failed, PyBytes_AS_STRING(answer),
                               <uint32_t>PyBytes_GET_SIZE(answer))
            bench_python_hand_over(self.mailbox)

    def stop(self):
        """End `serve` of the other end."""
        self.call(STOP, b"")

    def probe_serve(self):
        """Answer `probe` of the other end until it calls `probe_stop`."""
        with nogil:
            bench_bare_serve(&self.mailbox.bare, NULL, 0)

    def probe(self, uint32_t[::1] samples):
        """Time as many round trips of the bare mailbox as there are samples; return how many
        answers were wrong."""
        cdef Py_ssize_t i
        cdef uint64_t begin, end, token = hc_tsc()
        cdef int64_t wrong = 0
        with nogil:
            for i in range(samples.shape[0]):
                token += 1
                begin = bench_start()
                wrong += bench_bare_trip(&self.mailbox.bare, NULL, 0, token) != token + 1
                end = bench_stop()
                samples[i] = bench_saturate(end - begin)
        return wrong

    def probe_begin(self):
        """Make the probe's mailbox empty; before the other end is told to serve it."""
        self.mailbox.bare.line.word = 0

    def probe_stop(self):
        """End `probe_serve` of the other end."""
        bench_bare_stop(&self.mailbox.bare)
