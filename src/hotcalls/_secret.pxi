# SPDX-License-Identifier: Apache-2.0
# SecretBytes, of _inside.pyx and, for what runs outside an enclave, of _native.pyx. Each brings its
# own secret_memory_alloc, secret_memory_free and SECRET_MEMORY_IS_HIDDEN.

cdef class SecretBytes:
    """Bytes that are wiped when they are no longer needed; made by :func:`hotcalls.secret_bytes`.

    A writable buffer: give it, or a ``memoryview`` of it, to ``hmac``, ``hashlib``, ``cryptography``
    or ``readinto``. Inside an enclave it lies in memory that the kernel itself does not map
    (``memfd_secret``), so that not even root's ``/proc/PID/mem`` reads it, where the kernel has
    that; :attr:`hidden` tells. Outside, as in tests of the same code, it is ordinary memory.

    It prints nothing of its content, compares by identity (use :func:`hmac.compare_digest`), and
    can be neither copied nor pickled. `release`, ``with`` and the garbage collector wipe it.

    What Python cannot promise: every ``bytes`` or ``int`` that is made from it, by you or inside
    the library that you give it to, is an ordinary object. It is not wiped when it is freed, and
    the interpreter may have copied it before. Keep the secret here, hand out views, and expect of
    a library no more than it says itself.
    """
    cdef uint8_t *memory
    cdef Py_ssize_t size
    cdef Py_ssize_t stride
    cdef Py_ssize_t views

    def __cinit__(self, Py_ssize_t size):
        if size <= 0:
            raise ValueError(f"secret bytes have a size of at least 1, got {size}")
        self.memory = <uint8_t *>secret_memory_alloc(<size_t>size)
        if self.memory == NULL:
            raise MemoryError(f"{size} bytes of secret memory are not left; release some")
        self.size = size
        self.stride = 1

    def __dealloc__(self):
        secret_memory_free(self.memory, <size_t>self.size)
        self.memory = NULL

    def __len__(self):
        return self.size

    def __repr__(self):
        return f"<SecretBytes, {self.size} bytes{', released' if self.memory == NULL else ''}>"

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.memory == NULL:
            raise ValueError("these secret bytes were released")
        self.views += 1
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

    def __releasebuffer__(self, Py_buffer *buffer):
        self.views -= 1

    @property
    def hidden(self):
        """Whether it lies in memory that not even root's ``/proc/PID/mem`` reads."""
        return bool(SECRET_MEMORY_IS_HIDDEN())

    @property
    def released(self):
        """Whether it was wiped."""
        return self.memory == NULL

    def release(self):
        """Wipe it and give the memory back; twice is once.

        Raises
        ------
        BufferError
            A memoryview of it is still in use.
        """
        if self.views > 0:
            raise BufferError("a memoryview of these secret bytes is still in use")
        secret_memory_free(self.memory, <size_t>self.size)
        self.memory = NULL

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.release()

    def __reduce__(self):
        raise TypeError("secret bytes are not pickled: they stay where they are")

    def __reduce_ex__(self, protocol):
        raise TypeError("secret bytes are not pickled: they stay where they are")

    def __copy__(self):
        raise TypeError("secret bytes are not copied: they stay where they are")

    def __deepcopy__(self, memo):
        raise TypeError("secret bytes are not copied: they stay where they are")
