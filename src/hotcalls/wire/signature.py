# SPDX-License-Identifier: Apache-2.0
"""A function's parameters and result, and its calls as messages.

Both sides. The side that has the function makes the signature from its annotations and describes
it; the other side makes its own from the description (:mod:`hotcalls.wire.description`).
"""

from __future__ import annotations

import base64
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from hotcalls.failure import MessageError
from hotcalls.wire.annotations import kind_of
from hotcalls.wire.codec import Codec
from hotcalls.wire.kinds import Kind, NoneType, Number, tree
from hotcalls.wire.pack import pack_json_in_order
from hotcalls.wire.shared import Access

PARAMETERS_MAX = 255
DOC_MAX = 8192

KINDS: dict[str, inspect._ParameterKind] = {
    "positional": inspect.Parameter.POSITIONAL_ONLY,
    "any": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "keyword": inspect.Parameter.KEYWORD_ONLY,
}
_KIND_NAMES = {kind: name for name, kind in KINDS.items()}


class _Missing:
    """No default."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


class Parameter:
    """A parameter.

    Attributes
    ----------
    name : str
    how : {"any", "positional", "keyword"}
        How it may be given.
    kind : Kind
        What it may be.
    default : object
        What the caller sends when it is not given, or :data:`MISSING`.
    """

    __slots__ = ("default", "how", "kind", "name")

    def __init__(self, name: str, how: str, kind: Kind, default: Any = MISSING) -> None:
        self.name = name
        self.how = how
        self.kind = kind
        self.default = default

    def __repr__(self) -> str:
        """As it is written."""
        default = "" if self.default is MISSING else f" = {self.default!r}"
        return f"{self.name}: {self.kind.text}{default}"


class Signature:
    """A function as both sides see it.

    Attributes
    ----------
    name : str
    kind : {"ecall", "ocall"}
    parameters : tuple of Parameter
    result : Kind
    doc : str or None
    is_async : bool
        It was declared with ``async def``.
    raw : bool
        It is ``(bytes) -> bytes``: a message is the bytes themselves. Who checks ``type(value) is
        bytes`` may send `value` without encoding it.
    needs_classes : bool
        Encoding takes classes of the user's; without them this describes the function only.
    encode_arguments : callable
        ``(args, kwargs) -> bytes``, on the caller's side: the message of a call. TypeError,
        ValueError when the arguments do not fit; the text names function, parameter and place.
    decode_arguments : callable
        ``(bytes) -> tuple``, on the side of the function: one value for each parameter, in their
        order. :class:`MessageError`, and nothing else, for bytes that are no such message.
    encode_result : callable
        ``(value) -> bytes``, on the side of the function. TypeError, ValueError when it returned
        something else than annotated.
    decode_result : callable
        ``(bytes) -> value``, on the caller's side; or :class:`MessageError`.
    """

    encode_arguments: Callable[[tuple[Any, ...], Mapping[str, Any]], bytes]
    decode_arguments: Callable[[bytes], tuple[Any, ...]]
    encode_result: Callable[[Any], bytes]
    decode_result: Callable[[bytes], Any]

    def __init__(
        self,
        name: str,
        kind: str,
        parameters: tuple[Parameter, ...],
        result: Kind,
        *,
        doc: str | None = None,
        is_async: bool = False,
        access: Access | None = None,
        described: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.parameters = parameters
        self.result = result
        self.doc = doc
        self.is_async = is_async
        self.needs_classes = any(
            node.is_class for node in tree(result, *(each.kind for each in parameters))
        )
        self.raw = (
            len(parameters) == 1
            and parameters[0].default is MISSING
            and _is_bytes(parameters[0].kind)
            and _is_bytes(result)
        )
        self._described = described
        self._by_name = {each.name: each for each in parameters}
        self._positional = [each for each in parameters if each.how != "keyword"]
        self._no_result = result.exact == frozenset([NoneType])
        self._build(access)

    def _build(self, access: Access | None) -> None:
        """Make the four functions that the calls go through, each as short as it can be."""
        name = f"{self.name}()"
        if self.needs_classes and self._described is not None:
            self.encode_arguments = self.decode_arguments = self._without_classes
            self.encode_result = self.decode_result = self._without_classes
            return
        arguments = Codec(
            tuple(each.kind for each in self.parameters),
            tuple(f"{self.name}({each.name}=…)" for each in self.parameters),
            name,
            whole=True,
            access=access,
        )
        label = f"{name}: result"
        result = Codec((self.result,), (label,), label, whole=False, access=access)
        if self.raw:
            self.encode_arguments = self._raw_arguments
            self._coerce_argument = Codec(
                (self.parameters[0].kind,),
                (f"{self.name}({self.parameters[0].name}=…)",),
                name,
                whole=False,
            ).coerce_one
            self.decode_arguments = lambda data: (data,)
            coerce = result.coerce_one
            self.encode_result = lambda value: value if type(value) is bytes else coerce(value)
            self.decode_result = lambda data: data
            return
        if self.parameters:
            encode_all, bind = arguments.encoder(), self._bind
            self.encode_arguments = (
                arguments.call_encoder(bind)
                if len(self._positional) == len(self.parameters)
                else lambda args, kwargs: encode_all(bind(args, kwargs))
            )
            self.decode_arguments = arguments.decoder()
        else:
            self.encode_arguments = self._nothing
            self.decode_arguments = lambda data: _refuse(name, data) if data else ()
        if self._no_result:
            encode = result.encoder()
            self.encode_result = lambda value: b"" if value is None else encode(value)
            self.decode_result = lambda data: _refuse(label, data) if data else None
        else:
            self.encode_result = result.encoder()
            self.decode_result = result.decoder()

    def _raw_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        if kwargs or len(args) != 1 or not self._positional:
            args = self._bind(args, kwargs)
        value = args[0]
        return value if type(value) is bytes else self._coerce_argument(value)

    def _nothing(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        if args or kwargs:
            self._bind(args, kwargs)
        return b""

    def _without_classes(self, *_: Any) -> Any:
        raise TypeError(
            f"{self.name}() takes or returns classes of its module, which has not been imported"
        )

    @classmethod
    def from_function(cls, function: Callable[..., Any], kind: str = "ecall") -> Signature:
        """Make the signature of an annotated function.

        Raises
        ------
        TypeError
            Something is not annotated, or does not travel; names function and parameter.
        NameError
            An annotation names what is not defined, perhaps not yet.
        """
        return _read(cls, function, kind)

    def with_access(self, access: Access) -> Signature:
        """Return the same signature with the shared memory that arrays lie in."""
        return self._changed(access=access)

    def renamed(self, name: str) -> Signature:
        """Return the same signature under another name."""
        return self if name == self.name else self._changed(name=name)

    def _changed(self, name: str | None = None, access: Access | None = None) -> Signature:
        return Signature(
            name or self.name,
            self.kind,
            self.parameters,
            self.result,
            doc=self.doc,
            is_async=self.is_async,
            access=access,
            described=self._described,
        )

    # ---- calls ------------------------------------------------------------------------------

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return one value for each parameter, or raise what Python raises."""
        positional = self._positional
        if len(args) > len(positional):
            raise TypeError(
                f"{self.name}() takes {len(positional)} positional "
                f"argument{'' if len(positional) == 1 else 's'} but {len(args)} "
                f"{'was' if len(args) == 1 else 'were'} given"
            )
        given = {parameter.name: value for parameter, value in zip(positional, args)}  # noqa: B905
        for name, value in kwargs.items():
            parameter = self._by_name.get(name)
            if parameter is None or parameter.how == "positional":
                raise TypeError(
                    f"{self.name}() got an unexpected keyword argument {name!r}"
                    f"{self._options_hint(name)}"
                )
            if name in given:
                raise TypeError(f"{self.name}() got multiple values for argument {name!r}")
            given[name] = value
        values = []
        missing = []
        for parameter in self.parameters:
            value = given.get(parameter.name, parameter.default)
            if value is MISSING:
                missing.append(repr(parameter.name))
            values.append(value)
        if missing:
            raise TypeError(
                f"{self.name}() missing {len(missing)} required "
                f"argument{'' if len(missing) == 1 else 's'}: {', '.join(missing)}"
            )
        return tuple(values)

    def _options_hint(self, name: str) -> str:
        if name in ("timeout", "mode"):
            return f": options of a call are given as {self.name}.options({name}=…)(…)"
        return ""

    # ---- descriptions -----------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what the other side is told: JSON."""
        if self._described is not None:
            return dict(self._described)
        described: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "async": self.is_async,
            "parameters": [self._describe_parameter(each) for each in self.parameters],
            "result": self.result.describe(),
        }
        if self.doc is not None:
            described["doc"] = self.doc
        return described

    def _describe_parameter(self, parameter: Parameter) -> list[Any]:
        default = None
        if parameter.default is not MISSING:
            data = default_codec(self.name, parameter).encode_ordered(parameter.default)
            default = base64.b64encode(data).decode("ascii")
        return [parameter.name, parameter.how, parameter.kind.describe(), default]

    @classmethod
    def from_description(cls, description: object) -> Signature:
        """Make a signature of what the other side says about a function.

        Raises
        ------
        hotcalls.errors.SignatureError
            It is not a description.
        """
        from hotcalls.wire.description import signature_from

        return signature_from(description)

    def digest(self) -> bytes:
        """Return 32 bytes that are equal for functions that are called alike; no doc string."""
        # Here: with it comes OpenSSL, and an enclave has no use for either.
        import hashlib

        described = self.describe()
        described.pop("doc", None)
        return hashlib.sha256(pack_json_in_order(described)).digest()

    # ---- for people and tools ---------------------------------------------------------------

    def inspect(self) -> inspect.Signature:
        """Return what :func:`inspect.signature` says about the function: for ``__signature__``."""
        return inspect.Signature(
            [
                inspect.Parameter(
                    each.name,
                    KINDS[each.how],
                    default=inspect.Parameter.empty if each.default is MISSING else each.default,
                    annotation=each.kind.annotation,
                )
                for each in self.parameters
            ],
            return_annotation=None if self._no_result else self.result.annotation,
        )

    @property
    def annotations(self) -> dict[str, Any]:
        """Of the parameters and the result: for ``__annotations__``."""
        found = {each.name: each.kind.annotation for each in self.parameters}
        found["return"] = None if self._no_result else self.result.annotation
        return found

    def __str__(self) -> str:
        """As the function is written."""
        parts: list[str] = []
        before = ""
        for each in self.parameters:
            if before == "positional" and each.how != "positional":
                parts.append("/")
            if each.how == "keyword" and before != "keyword":
                parts.append("*")
            parts.append(repr(each))
            before = each.how
        if before == "positional":
            parts.append("/")
        return f"{self.name}({', '.join(parts)}) -> {self.result.text}"

    def __repr__(self) -> str:
        """As the function is written."""
        return f"<{self.kind} {self}>"


def default_codec(name: str, parameter: Parameter) -> Codec:
    """Make the codec for a parameter's default."""
    label = f"{name}({parameter.name}=…)"
    return Codec((parameter.kind,), (label,), label, whole=False)


def _refuse(name: str, data: bytes) -> Any:
    raise MessageError(f"{name}: expected no bytes, got {len(data)}")


def _is_bytes(kind: Kind) -> bool:
    return type(kind) is Number and kind.kind is bytes


def _read(cls: type[Signature], function: Callable[..., Any], kind: str) -> Signature:
    name = function.__name__
    try:
        written = inspect.signature(function)
    except ValueError as error:
        raise TypeError(f"{name}(): {error}") from None
    raw = {each.name: each.annotation for each in written.parameters.values()}
    for each in written.parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            stars = "*" if each.kind is each.VAR_POSITIONAL else "**"
            instead = "items: list[int]" if stars == "*" else "options: dict[str, int]"
            raise TypeError(
                f"{name}(): parameter {stars}{each.name} stands for any number of arguments; "
                f"name each, or write one parameter, e.g. {instead}"
            )
        if each.annotation is each.empty:
            raise TypeError(
                f"{name}(): parameter {each.name!r} has no annotation; write its type, "
                f"e.g. {each.name}: bytes"
            )
    if written.return_annotation is inspect.Signature.empty:
        raise TypeError(
            f"{name}(): the result has no annotation; write '-> None', or the type of what it "
            "returns"
        )
    if len(raw) > PARAMETERS_MAX:
        raise TypeError(f"{name}() has more than {PARAMETERS_MAX} parameters")
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (TypeError, SyntaxError, AttributeError) as error:
        raise TypeError(f"{name}(): an annotation is no type: {error}") from None
    parameters = []
    for each in written.parameters.values():
        try:
            allowed = kind_of(hints[each.name])
        except TypeError as error:
            raise TypeError(f"{name}(): parameter {each.name!r}: {error}") from None
        parameter = Parameter(each.name, _KIND_NAMES[each.kind], allowed)
        if each.default is not each.empty:
            _check_default(name, parameter, each.default)
            parameter.default = each.default
        parameters.append(parameter)
    try:
        result = kind_of(hints["return"])
    except TypeError as error:
        raise TypeError(f"{name}(): result: {error}") from None
    doc = inspect.getdoc(function)
    try:
        return cls(
            name,
            kind,
            tuple(parameters),
            result,
            doc=doc[:DOC_MAX] if doc else None,
            is_async=inspect.iscoroutinefunction(function),
        )
    except TypeError as error:
        # What msgspec alone knows about a class.
        raise TypeError(f"{name}(): {error}") from None


def _check_default(name: str, parameter: Parameter, default: Any) -> None:
    try:
        default_codec(name, parameter).encoder()(default)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{error}: this default of parameter {parameter.name!r} cannot be sent"
        ) from None
