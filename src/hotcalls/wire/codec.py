# SPDX-License-Identifier: Apache-2.0
"""Values to messages and back: msgspec's msgpack, with what it lacks.

Both sides. Encoding refuses what is not of its annotated type; decoding validates bytes that
anybody may have written, and ends in a value of the annotated type or in :class:`MessageError`.

A message is msgpack. Where an ``int`` in it needs more than 64 bits, it is the byte 0xC1, which
msgpack never uses, and then msgpack in which such an ``int`` is an extension (:data:`BIG_INT`,
two's complement, big-endian). The time of such a message is Python's, not C's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.msgpack import Decoder, Encoder, Ext

from hotcalls.failure import MessageError
from hotcalls.wire import _hot
from hotcalls.wire.kinds import Kind, Mismatch, Plain, compiled, tree
from hotcalls.wire.shared import Access

BIG_INT = 1
#: An int of more bytes is refused: nothing needs it, and what Python does with it takes quadratic
#: time. 8192 bytes are an RSA key of 65536 bits.
BIG_INT_BYTES_MAX = 8192
TEXT_MAX = 400

#: Makes one value for each parameter of positional and keyword arguments.
Bind = Callable[[tuple[Any, ...], Mapping[str, Any]], tuple[Any, ...]]

_WIDE = b"\xc1"
_NATIVE = (bytes, bytearray, memoryview, datetime)


class Codec:
    """Makes the messages of one list of values, or of one value.

    Parameters
    ----------
    kinds
        Of the values.
    labels
        How errors begin for each, e.g. ``sign(digest=…)``.
    name
        How errors begin that are about the message, e.g. ``sign()``.
    whole
        A message is a list of values; else one value.
    access
        The shared memory that a ``SharedArray`` lies in.
    """

    def __init__(
        self,
        kinds: tuple[Kind, ...],
        labels: tuple[str, ...],
        name: str,
        *,
        whole: bool,
        access: Access | None = None,
    ) -> None:
        self._kinds = kinds
        self._labels = labels
        self._name = name
        self._whole = whole
        checks = [compiled(kind) for kind in kinds]
        self._check = _hot.Each(checks) if whole else checks[0]
        nodes = list(tree(*kinds))
        self._by_annotation = {
            node.annotation: node for node in nodes if hasattr(node, "from_wire")
        }
        self._access = access
        hook = self._from_hook if self._by_annotation else None
        self._has_plain = any(isinstance(node, Plain) for node in nodes)
        ext_hook = _no_extension if self._has_plain else None
        self._annotation: Any = (
            tuple.__class_getitem__(tuple(kind.annotation for kind in kinds))
            if whole
            else kinds[0].annotation
        )
        self._dec_hook = hook
        self._enc_hook = self._to_hook if self._by_annotation else None
        decode: Callable[[Any], Any] = Decoder(
            self._annotation, dec_hook=hook, ext_hook=ext_hook
        ).decode
        self._decode = self._plain_decoder(decode) if self._has_plain else decode
        self._encode: Callable[[Any], bytes] = Encoder(enc_hook=self._enc_hook).encode
        self._ordered: Callable[[Any], bytes] = Encoder(
            enc_hook=self._enc_hook, order="deterministic"
        ).encode
        self._constrained = any(node.constrained for node in nodes)

    # ---- encoding ---------------------------------------------------------------------------

    def encoder(self) -> Callable[[Any], bytes]:
        """Return the function that encodes a tuple of values, or the one value.

        It raises TypeError or ValueError when one does not fit; the text begins with its label.
        """
        return _hot.encoder(self._fast_check(), self._encode, self._encode_slow)

    def call_encoder(self, bind: Bind) -> Callable[[tuple[Any, ...], Mapping[str, Any]], bytes]:
        """Return the function that encodes what a function was called with.

        Parameters
        ----------
        bind
            Makes a tuple of all values when they were not given one by one in their order.
        """
        return _hot.call_encoder(self._fast_check(), self._encode, self._encode_slow, bind)

    def _fast_check(self) -> _hot.Check:
        return _hot.Never() if self._constrained else self._check

    def decoder(self) -> Callable[[Any], Any]:
        """Return the function that decodes and validates a private copy of a message.

        It raises :class:`MessageError` for whatever is no message of these kinds, and no other
        exception.
        """
        return _hot.decoder(self._decode, self._decode_slow)

    def _plain_decoder(self, decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        # msgspec makes more of a message than plain data: a date, a tuple as a key.
        def decoded(data: Any) -> Any:
            return self._only_plain(decode(data))

        return decoded

    def _only_plain(self, values: Any) -> Any:
        if not self._check(values):
            self._coerce(values)
        return values

    def coerce_one(self, value: Any) -> Any:
        """Convert the value of the only kind without encoding it; TypeError if it is of another."""
        try:
            return self._coerce(value)
        except Exception as error:
            raise self._refusal(error) from None

    def encode_ordered(self, value: Any) -> bytes:
        """Encode with sets and dicts in an order that does not vary from process to process."""
        data = self._encode_slow(value)
        return data if data[:1] == _WIDE else self._ordered(self._coerce(value))

    def _coerce(self, values: Any) -> Any:
        if not self._whole:
            return self._kinds[0].coerce(values, self._labels[0])
        return tuple(
            kind.coerce(value, label)
            for kind, value, label in zip(self._kinds, values, self._labels, strict=True)
        )

    def _encode_slow(self, values: Any) -> bytes:
        """Encode what has to be converted, is constrained, or cannot be encoded."""
        try:
            if not self._check(values):
                values = self._coerce(values)
            data = self._encode(values)
        except OverflowError:
            data = self._encode_wide(values)
        except Exception as error:
            raise self._refusal(error) from None
        if self._constrained:
            # Limits and constructors have their say before anything is sent.
            try:
                self._decode(data)
            except Exception as error:
                try:
                    self._decode_slow(data, error)
                except MessageError as refused:
                    raise ValueError(str(refused)) from None
        return data

    def _encode_wide(self, values: Any) -> bytes:
        try:
            # An int where float is annotated passes the check; a large one becomes a float here.
            values = self._coerce(values)
            plain = msgspec.to_builtins(values, builtin_types=_NATIVE, enc_hook=self._enc_hook)
            return _WIDE + _encode_big_ints(_with_big_ints(plain))
        except Exception as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> Exception:
        if isinstance(error, MemoryError):
            return error
        if isinstance(error, Mismatch):
            return TypeError(str(error))
        if isinstance(error, RecursionError):
            return ValueError(f"{self._name}: nested too deeply, or within itself")
        if isinstance(error, UnicodeEncodeError):
            return ValueError(
                f"{self._name}: text with a surrogate at {error.start} cannot be encoded"
            )
        kind = TypeError if isinstance(error, TypeError) else ValueError
        return kind(f"{self._name}: {error}")

    # ---- decoding ---------------------------------------------------------------------------

    def _decode_slow(self, data: Any, error: Exception) -> Any:
        """Decode a message that msgspec alone does not, or say what is wrong with it."""
        try:
            if bytes(data[:1]) == _WIDE:
                plain = msgspec.msgpack.decode(data[1:], ext_hook=_big_int)
                values = msgspec.convert(
                    plain, self._annotation, builtin_types=_NATIVE, dec_hook=self._dec_hook
                )
                return self._only_plain(values) if self._has_plain else values
        except Exception as second:
            error = second
        if isinstance(error, MemoryError):
            # Not the message is to blame; msgspec reserves nothing that a message only announces.
            raise error
        raise MessageError(self._explain(error)) from None

    def _explain(self, error: Exception) -> str:
        if isinstance(error, Mismatch):
            return printable(str(error), TEXT_MAX)
        if isinstance(error, RecursionError):
            return f"{self._name}: the message is nested too deeply"
        if isinstance(error, UnicodeDecodeError):
            return f"{self._name}: text in the message is not UTF-8"
        text, _, path = str(error).partition(" - at `")
        where = self._name
        if isinstance(error, msgspec.ValidationError):
            where = self._place(path.rstrip("`"))
        if text.startswith("Expected"):
            text = "e" + text[1:]
        return f"{where}: {printable(text.replace('`', ''), TEXT_MAX)}"

    def _place(self, path: str) -> str:
        """Return msgspec's path, ``$[0][1].x``, as ``sign(digest=…)[1].x``."""
        key = "key of " if path.startswith("key` in `") else ""
        path = path.removeprefix("key` in `").removeprefix("$")
        root = self._name
        if not self._whole:
            root = self._labels[0]
        elif path.startswith("["):
            index, _, rest = path[1:].partition("]")
            if index.isdecimal() and int(index) < len(self._labels):
                root, path = self._labels[int(index)], rest
        return key + root + printable(path, TEXT_MAX)

    # ---- what msgspec does not know ---------------------------------------------------------

    def _to_hook(self, value: Any) -> Any:
        for node in self._by_annotation.values():
            if node.check(value):
                return node.to_wire(value, self._access)  # type: ignore[attr-defined]
        raise TypeError(f"{type(value).__name__} cannot be encoded")

    def _from_hook(self, annotation: Any, wire: Any) -> Any:
        return self._by_annotation[annotation].from_wire(wire, self._access)


def printable(text: str, limit: int, *, keep: str = "") -> str:
    """Return text of the other side that is safe to show: no control characters, bounded."""
    cut = text[:limit]
    cleaned = "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape").decode("ascii")
        for each in cut
    )
    return cleaned + "…" if len(text) > limit else cleaned


def _no_extension(code: int, data: memoryview) -> Any:
    raise ValueError(f"extension {code} where plain data is expected")


def _big_int(code: int, data: memoryview) -> int:
    if code != BIG_INT or not 8 <= len(data) <= BIG_INT_BYTES_MAX:
        raise ValueError("an extension that is no int")
    value = int.from_bytes(data, "big", signed=True)
    if -(2**63) <= value < 2**64:
        raise ValueError("a small int written as a large one")
    return value


class _BigInt:
    """An int that becomes an extension; msgspec's own Ext cannot be a key of a dict."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


_encode_big_ints = Encoder(enc_hook=lambda big: Ext(BIG_INT, big.data)).encode


def _with_big_ints(value: Any) -> Any:
    """Replace every int that msgpack has no room for by an extension."""
    kind = type(value)
    if kind is int:
        if -(2**63) <= value < 2**64:
            return value
        size = value.bit_length() // 8 + 1
        if size > BIG_INT_BYTES_MAX:
            raise ValueError(
                f"an int of {value.bit_length()} bits; at most {BIG_INT_BYTES_MAX * 8} are sent"
            )
        return _BigInt(value.to_bytes(size, "big", signed=True))
    if kind is list or kind is tuple:
        return kind(map(_with_big_ints, value))
    if kind is dict:
        return {_with_big_ints(key): _with_big_ints(item) for key, item in value.items()}
    return value
