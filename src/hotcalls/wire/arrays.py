# SPDX-License-Identifier: Apache-2.0
"""numpy arrays by copy: ``[dtype, shape, bytes]``, checked before anything is allocated.

Both sides. numpy is imported by nobody but who has an annotation that names it. Only dtypes whose
every bit pattern is a value travel: no objects, no strings, and no ``longdouble``, whose padding
would carry whatever memory held before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args, get_origin

from hotcalls.wire.kinds import Kind, Mismatch, got

if TYPE_CHECKING:
    import numpy as np

DIMENSIONS_MAX = 32
#: As numpy writes them: ``<f8``, ``|b1``, ``<M8[ns]``.
DTYPE = re.compile(
    r"(?:\|(?:b1|[iu]1)|[<>](?:[iu][248]|f[248]|c8|c16|[mM]8(?:\[[0-9]{0,6}[a-zA-Zμ]{1,7}\])?))"
)


def is_array_type(annotation: Any) -> bool:
    """Whether this is ``numpy.ndarray`` or ``numpy.typing.NDArray[…]``; imports nothing."""
    cls = get_origin(annotation) or annotation
    return isinstance(cls, type) and cls.__module__ == "numpy" and cls.__qualname__ == "ndarray"


def dtype_of(annotation: Any) -> str | None:
    """Return the dtype that an array's annotation asks for, as numpy writes it; None for any.

    Raises
    ------
    TypeError
        No array of that dtype can be sent.
    """
    import numpy as np

    arguments = get_args(annotation)
    if len(arguments) < 2:
        return None
    scalar = (get_args(arguments[1]) or (arguments[1],))[0]
    if scalar is Any or scalar is np.generic or scalar is np.dtype:
        return None
    text: str | None = None
    try:
        # numpy warns about abstract types, and makes a float64 of np.floating.
        if isinstance(scalar, type) and np.dtype(scalar).type is scalar:
            text = np.dtype(scalar).str
    except (TypeError, DeprecationWarning):
        pass
    if text is None or not DTYPE.fullmatch(text):
        raise TypeError(
            f"arrays of dtype {getattr(scalar, '__name__', scalar)} cannot be sent; the dtypes are "
            "bool_, int8 to int64, uint8 to uint64, float16 to float64, complex64, complex128, "
            "datetime64 and timedelta64, e.g. numpy.typing.NDArray[numpy.float64]"
        )
    return text


class Array(Kind):
    """``numpy.ndarray``, with any dtype that travels or the one of its annotation.

    Attributes
    ----------
    dtype : str or None
    """

    def __init__(self, dtype: str | None, annotation: Any = None) -> None:
        import numpy as np

        if annotation is None:
            annotation = np.ndarray
            if dtype is not None:
                annotation = np.ndarray[Any, np.dtype[np.dtype(dtype).type]]  # type: ignore[misc]
        super().__init__(annotation, f"ndarray of {np.dtype(dtype).name}" if dtype else "ndarray")
        self.dtype = dtype
        self._np = np
        self._ndarray = np.ndarray

    def allows(self, text: str) -> bool:
        """Whether a dtype is what the annotation asks for."""
        if self.dtype is None or text == self.dtype:
            return DTYPE.fullmatch(text) is not None
        # datetime64 without a unit stands for every unit.
        return (
            self.dtype in ("<M8", "<m8")
            and text[:3] == self.dtype
            and DTYPE.fullmatch(text) is not None
        )

    def _check(self, value: Any) -> bool:
        return (
            type(value) is self._ndarray
            and self.allows(value.dtype.str)
            and value.ndim <= DIMENSIONS_MAX
        )

    def coerce(self, value: Any, path: str) -> Any:
        """Say which dtype it has."""
        if type(value) is self._ndarray:
            if not self._check(value):
                raise Mismatch(path, self.text, f"ndarray of {value.dtype.name}")
            return value
        if isinstance(value, self._ndarray):
            raise Mismatch(path, self.text, f"{got(value)} (numpy.asarray(x) makes an ndarray)")
        raise Mismatch(path, self.text, got(value))

    def describe(self, inside: tuple[Kind, ...] = ()) -> Any:
        """Return ``["ndarray", dtype]``."""
        return ["ndarray", self.dtype]

    def to_wire(
        self, array: np.ndarray[Any, Any], _: object
    ) -> tuple[str, tuple[int, ...], memoryview]:
        """Return what is encoded for an array: its bytes in C order."""
        flat = self._np.ascontiguousarray(array).reshape(-1).view("u1")
        return array.dtype.str, array.shape, flat.data

    def from_wire(self, wire: Any, _: object) -> np.ndarray[Any, Any]:
        """Make an array of what was decoded; ValueError for what is none."""
        if type(wire) is not list or len(wire) != 3:
            raise ValueError("expected ndarray as [dtype, shape, bytes]")
        text, shape, data = wire
        if type(data) is not bytes:
            raise ValueError(f"expected the bytes of an ndarray, got {got(data)}")
        dtype, shape, size = checked_layout(text, shape)
        if not self.allows(text):
            raise ValueError(f"expected {self.text}, got ndarray of {dtype.name}")
        if size != len(data):
            raise ValueError(f"expected {size} bytes of {text} for shape {shape}, got {len(data)}")
        array: np.ndarray[Any, Any] = self._np.frombuffer(data, dtype).reshape(shape).copy()
        if text == "|b1" and array.size and int(array.view("u1").max()) > 1:
            raise ValueError("expected bools in an ndarray, got other bytes")
        return array


def checked_layout(text: Any, shape: Any) -> tuple[Any, tuple[int, ...], int]:
    """Check a dtype and shape that were received; return them and the size in bytes."""
    import numpy as np

    if type(text) is not str or len(text) > 24 or not DTYPE.fullmatch(text):
        raise ValueError("expected a dtype that travels")
    if type(shape) is not list or len(shape) > DIMENSIONS_MAX:
        raise ValueError("expected the shape of an ndarray")
    try:
        dtype = np.dtype(text)
    except TypeError:
        raise ValueError("expected a dtype of numpy") from None
    count = 1
    for length in shape:
        if type(length) is not int or not 0 <= length < 1 << 48:
            raise ValueError("expected the shape of an ndarray")
        # Python's integers do not overflow; numpy multiplies the lengths even if one is 0.
        count *= max(length, 1)
        if count > 1 << 48:
            raise ValueError("expected the shape of an ndarray, got one without bounds")
    return dtype, tuple(shape), dtype.itemsize * (0 if 0 in shape else count)
