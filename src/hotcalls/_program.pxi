# SPDX-License-Identifier: Apache-2.0
# Launching an enclave whose program is an interpreter: host_program.h. Included by _native.pyx.

cdef class _Program:
    """A launch of another program than the loader, while it lasts.

    `argv` are the words to start it with, `fds` descriptors for it; `by_path` as in C. `described(ready, data)` is
    called once with what it wrote (bytes, or None): returns ``(ecalls, ocalls, on_ocall)``, two
    lists of ``(name, flags)`` and what serves the ocalls, when it is ready; otherwise it may raise
    a better error.
    """
    cdef hc_program program
    cdef Enclave enclave
    cdef object argv
    cdef object described
    cdef object error
    cdef char **words
    cdef int *numbers

    def __cinit__(self, Enclave enclave, *, list argv, list fds, described,
                  bint by_path=False):
        self.words = <char **>calloc(len(argv) + 1, sizeof(char *))
        self.numbers = <int *>calloc(len(fds) + 1, sizeof(int))
        if self.words == NULL or self.numbers == NULL:
            raise MemoryError
        for i, word in enumerate(argv):
            self.words[i] = <bytes>word
        for i, number in enumerate(fds):
            self.numbers[i] = number
        self.enclave, self.argv, self.described = enclave, argv, described
        self.program.argv = self.words
        self.program.fds = self.numbers
        self.program.fd_count = len(fds)
        self.program.by_path = by_path
        self.program.described = _described
        self.program.context = <void *>self

    def __dealloc__(self):
        free(self.words)
        free(self.numbers)


cdef hc_status _described(void *context, c_bool ready, const uint8_t *data, size_t size,
                          const hc_interface **interface) noexcept nogil:
    with gil:
        program = <_Program>context
        try:
            told = None if data == NULL else PyBytes_FromStringAndSize(<const char *>data, size)
            answer = program.described(bool(ready), told)
            if not ready:
                return HC_OK
            ecalls, ocalls, on_ocall = answer
            program.enclave.on_ocall = on_ocall
            if isinstance(on_ocall, Messages):
                program.enclave.messages = on_ocall
            program.enclave._set_interface(program.enclave.names[0], ecalls, ocalls)
            interface[0] = &program.enclave.interface
            return HC_OK
        except BaseException as error:
            program.error = error
            return HC_ERR_INTERFACE
