# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, embedsignature=False, freethreading_compatible=True
"""What each typed call runs around msgspec: checks of types, and which way a value goes.

Both sides. Compiled, because a call of a Python function costs as much as encoding three arguments;
what is decided here is written down in :mod:`hotcalls.wire.kinds` and :mod:`hotcalls.wire.codec`,
and everything that is not decided with a look at types is left to them.

A check says whether a value can be encoded as it is. The value may change before it is encoded, as
other threads run: whoever receives the message validates it.
"""

cimport cython


cdef class Check:
    """Whether a value is of a kind and needs no conversion; callable."""

    cdef bint holds(self, object value) except -1:
        raise NotImplementedError

    def __call__(self, value):
        return self.holds(value)


@cython.final
cdef class Never(Check):
    """Says no to every value: the long way round is taken."""

    cdef bint holds(self, object value) except -1:
        return False


@cython.final
cdef class Other(Check):
    """Leaves it to a function."""
    cdef object function

    def __init__(self, function):
        self.function = function

    cdef bint holds(self, object value) except -1:
        return self.function(value)


@cython.final
cdef class Exact(Check):
    """Of one of some types, and of no subclass."""
    cdef object first
    cdef tuple more

    def __init__(self, types):
        self.first, *more = types
        self.more = tuple(more)

    cdef bint holds(self, object value) except -1:
        cdef object kind = type(value)
        if kind is self.first:
            return True
        for each in self.more:
            if kind is each:
                return True
        return False


@cython.final
cdef class Items(Check):
    """A list, tuple, set or frozenset of items of one kind."""
    cdef object container
    cdef Check item

    def __init__(self, container, Check item):
        self.container = container
        self.item = item

    cdef bint holds(self, object value) except -1:
        cdef object kind = type(value)
        if kind is not self.container:
            return False
        if kind is list:
            for each in <list>value:
                if not self.item.holds(each):
                    return False
        elif kind is tuple:
            for each in <tuple>value:
                if not self.item.holds(each):
                    return False
        else:
            for each in value:
                if not self.item.holds(each):
                    return False
        return True


@cython.final
cdef class Pairs(Check):
    """A dict of keys and values of one kind each."""
    cdef Check key
    cdef Check item

    def __init__(self, Check key, Check item):
        self.key = key
        self.item = item

    cdef bint holds(self, object value) except -1:
        if type(value) is not dict:
            return False
        for key, item in (<dict>value).items():
            if not (self.key.holds(key) and self.item.holds(item)):
                return False
        return True


@cython.final
cdef class Each(Check):
    """A tuple of so many values, each of a kind of its own."""
    cdef list checks

    def __init__(self, checks):
        self.checks = list(checks)

    cdef bint holds(self, object value) except -1:
        cdef Py_ssize_t i
        if type(value) is not tuple or len(<tuple>value) != len(self.checks):
            return False
        for i in range(len(self.checks)):
            if not (<Check>self.checks[i]).holds((<tuple>value)[i]):
                return False
        return True


@cython.final
cdef class Plain(Check):
    """Plain data: scalars, and lists and dicts of plain data, so deep at most."""
    cdef frozenset scalars
    cdef int depth

    def __init__(self, scalars, int depth):
        self.scalars = frozenset(scalars)
        self.depth = depth

    cdef bint holds(self, object value) except -1:
        return self.plain(value, self.depth)

    cdef bint scalar(self, object value) except -1:
        kind = type(value)
        return kind is str or kind is int or kind in self.scalars

    cdef bint plain(self, object value, int depth) except -1:
        if self.scalar(value):
            return True
        if depth == 0:
            return False
        kind = type(value)
        if kind is dict:
            for key, item in (<dict>value).items():
                if not (self.scalar(key) and self.plain(item, depth - 1)):
                    return False
            return True
        if kind is list:
            for item in <list>value:
                if not self.plain(item, depth - 1):
                    return False
            return True
        return False


def encoder(Check check, encode, slow):
    """Return what encodes a value: by `encode` what the check lets through, else by `slow`."""
    def encoded(value):
        try:
            if check.holds(value):
                return encode(value)
        except Exception:
            pass
        return slow(value)
    return encoded


def call_encoder(Check check, encode, slow, bind):
    """Return what encodes the arguments of a call, which `bind` puts in their order if need be."""
    def encoded(args, kwargs):
        if kwargs:
            return slow(bind(args, kwargs))
        try:
            if check.holds(args):
                return encode(args)
        except Exception:
            return slow(args)
        return slow(bind(args, kwargs))
    return encoded


def decoder(decode, slow):
    """Return what decodes a message: by `decode`, and by `slow(data, error)` what that refuses."""
    def decoded(data):
        try:
            return decode(data)
        except Exception as error:
            return slow(data, error)
    return decoded
