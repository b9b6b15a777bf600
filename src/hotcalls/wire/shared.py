# SPDX-License-Identifier: Apache-2.0
"""``SharedArray``: an array in the channel's shared memory, passed by its place.

Both sides. Only offset, dtype and shape travel, and whoever receives them checks that they lie
within the shared memory. **The contents are not checked and not stable**: the other side can
change them at any moment, also between a check and its use. Copy first (:meth:`SharedArray.copy`)
whatever a decision depends on, and never hand the view to a parser or another library that reads a
value twice: it was not written for memory that changes under its hands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from hotcalls.wire.arrays import DTYPE, checked_layout
from hotcalls.wire.kinds import Kind, Mismatch, got

if TYPE_CHECKING:
    import numpy as np


class Access(Protocol):
    """The shared memory of one channel."""

    def offset_of(self, view: memoryview) -> int:
        """Return where a view begins; an exception when it does not lie in the memory."""

    def view(self, offset: int, size: int) -> memoryview:
        """Return a view; an exception when it is out of bounds."""


class SharedArray:
    """An array whose elements both sides see and may change at any time.

    In the host: ``SharedArray(memory.view, "uint8", (480, 640))`` of ``memory =
    enclave.shared(size)``. A function that is annotated with it gets one made for its own side.

    Parameters
    ----------
    view : memoryview
        In the shared memory, at least as large as the array; the array begins where it does.
    dtype : str or numpy.dtype
    shape : int or tuple of int

    Attributes
    ----------
    array : numpy.ndarray
        The elements themselves, not a copy.
    """

    __hotcalls_shared__ = True
    __slots__ = ("_array", "_view")

    def __init__(self, view: memoryview, dtype: Any, shape: int | tuple[int, ...]) -> None:
        import numpy as np

        kind = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        count = 1
        for length in shape:
            if length < 0:
                raise ValueError(f"a length is not negative, got shape {shape}")
            count *= length
        size = count * kind.itemsize
        try:
            flat = memoryview(view).cast("B")
        except TypeError:
            raise TypeError(
                f"SharedArray is made of enclave.shared(size).view, not of {type(view).__name__}"
            ) from None
        if size > flat.nbytes:
            raise ValueError(f"{size} bytes of {kind.name} do not fit into {flat.nbytes}")
        if not DTYPE.fullmatch(kind.str):
            raise TypeError(f"arrays of dtype {kind.name} cannot be shared")
        self._view = flat[:size]
        # numpy takes no empty buffer.
        array = np.frombuffer(self._view, kind) if size else np.empty(0, kind)
        self._array: np.ndarray[Any, Any] = array.reshape(shape)

    @property
    def array(self) -> np.ndarray[Any, Any]:
        """The elements themselves, not a copy."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype

    def copy(self) -> np.ndarray[Any, Any]:
        """Return a private copy, which nobody else changes."""
        private: np.ndarray[Any, Any] = self._array.copy()
        return private

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """Return the elements to numpy, copied only if asked."""
        import numpy as np

        return np.array(self._array, dtype=dtype) if copy else np.asarray(self._array, dtype)

    def __len__(self) -> int:
        """Length of the first dimension."""
        return len(self._array)

    def __getitem__(self, key: Any) -> Any:
        """As of the array."""
        return self._array[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        """As of the array; the other side sees it."""
        self._array[key] = value

    def __repr__(self) -> str:
        """Dtype and shape; the elements may be secret."""
        return f"<SharedArray of {self.dtype.name}, shape {self.shape}>"


class Shared(Kind):
    """The annotation ``SharedArray``."""

    def __init__(self, annotation: Any = SharedArray) -> None:
        # Now: once an enclave is locked down, it cannot be imported any more.
        import numpy  # noqa: F401, ICN001

        super().__init__(annotation, "SharedArray")
        self.exact = frozenset([SharedArray])
        self.check = lambda value: type(value) is SharedArray

    def coerce(self, value: Any, path: str) -> Any:
        """Refuse arrays that are not shared: copying them would surprise."""
        if type(value) is not SharedArray:
            raise Mismatch(path, self.text, got(value))
        return value

    def to_wire(
        self, value: SharedArray, access: Access | None
    ) -> tuple[int, str, tuple[int, ...]]:
        """Return its place."""
        if access is None:
            raise TypeError("a SharedArray can only be given to a running enclave")
        offset = access.offset_of(value._view) if value._view.nbytes else 0
        return offset, value.dtype.str, value.shape

    def from_wire(self, wire: Any, access: Access | None) -> SharedArray:
        """Return the array at a place that was received, all of it within the memory."""
        if access is None:
            raise ValueError("a SharedArray without shared memory")
        if type(wire) is not list or len(wire) != 3 or type(wire[0]) is not int or wire[0] < 0:
            raise ValueError("expected SharedArray as [offset, dtype, shape]")
        dtype, shape, size = checked_layout(wire[1], wire[2])
        view = access.view(wire[0], size) if size else memoryview(b"")
        if view.nbytes != size:
            raise ValueError("expected a SharedArray within the shared memory")
        return SharedArray(view, dtype, shape)
