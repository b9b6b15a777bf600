# SPDX-License-Identifier: Apache-2.0
"""The rules for types, attributes and arrays: how one parameter or member may be declared.

Called by :mod:`hotcalls.edl.check` for each declaration.  The rules are those of Intel's compiler;
each has a short name, which the diagnostic shows and a test breaks.
"""

from __future__ import annotations

from collections.abc import Mapping

from hotcalls.edl.diagnostics import Findings, Span
from hotcalls.edl.dialect import Dialect
from hotcalls.edl.model import (
    BUILTIN_TYPES,
    Direction,
    Member,
    NamedType,
    Parameter,
    PointerType,
    ScalarType,
    Type,
    VoidType,
    c_spelling,
)
from hotcalls.edl.names import C_KEYWORDS, EDL_KEYWORDS
from hotcalls.edl.syntax import (
    NUMBER_LIMIT,
    AttributesSyntax,
    AttributeSyntax,
    DeclarationSyntax,
    DimensionSyntax,
    Name,
    Number,
    TypeSyntax,
)

_MAX_STARS = 8
_MAX_DIMENSIONS = 16
_VALUED = ("size", "count")
_POINTER_ATTRIBUTES = (
    "in",
    "out",
    "size",
    "count",
    "string",
    "wstring",
    "isptr",
    "isary",
    "readonly",
    "user_check",
)


class DeclarationRules:
    """Checks declarations and turns them into model objects.

    Parameters
    ----------
    findings
        Receives what is wrong.
    dialect
        Whose language it is.
    """

    def __init__(self, findings: Findings, dialect: Dialect) -> None:
        self._findings = findings
        self._dialect = dialect
        self._extensions = dialect.extensions
        self._constants: dict[str, int | None] = {}
        self.unknown_dimensions: list[Name] = []
        known: tuple[str, ...] = _POINTER_ATTRIBUTES
        if dialect.extensions:
            known = (*known, "nrz")
        if dialect.oe:
            known = tuple(key for key in known if key != "readonly")
        self._known = known

    def learn(self, constants: Mapping[str, int | None]) -> None:
        """Take note of the constants of an enum, which may be dimensions of arrays."""
        self._constants.update(constants)

    def type(self, syntax: TypeSyntax) -> Type | None:
        """The type that was written, or None after reporting why there is no such type."""
        type_: Type
        words = tuple(word.text for word in syntax.words)
        if syntax.tag == "builtin":
            if self._dialect.oe and words in (("char", "int"), ("unsigned", "char", "int")):
                words = words[:-1]  # Open Enclave's compiler skips the `int`, as behind `short`.
            if words == ("void",):
                type_ = VoidType()
            elif words in BUILTIN_TYPES:
                type_ = BUILTIN_TYPES[words]
            else:
                self._findings.error(
                    syntax.words[0].span,
                    "type",
                    f"`{' '.join(words)}` is not a type",
                    "write `[unsigned] char | short | int | long | long long`, a fixed width such "
                    "as `uint32_t`, `float`, `double` or `long double`",
                )
                return None
        elif syntax.tag == "foreign":
            self.identifier(syntax.words[0], "type", c_words_allowed=("_Bool",))
            type_ = NamedType("foreign", words[0])
        else:
            self.identifier(syntax.words[0], "type")
            type_ = NamedType(syntax.tag, words[0])
        if syntax.stars > _MAX_STARS:
            self._findings.error(
                syntax.span, "type", f"a pointer of more than {_MAX_STARS} levels", "use a struct"
            )
            return None
        for _ in range(syntax.stars):
            type_ = PointerType(type_)
        return type_

    def identifier(self, name: Name, what: str, *, c_words_allowed: tuple[str, ...] = ()) -> bool:
        """Report `name` when it is a word of EDL or C."""
        language = None
        if name.text in EDL_KEYWORDS:
            language = "EDL"
        elif name.text in C_KEYWORDS and name.text not in c_words_allowed:
            language = "C"
        if language is None:
            return True
        self._findings.error(
            name.span,
            "keyword",
            f"`{name.text}` is a keyword of {language} and cannot name a {what}",
            "choose another name",
        )
        return False

    def dimensions(self, syntaxes: tuple[DimensionSyntax, ...]) -> tuple[int, ...]:
        """The dimensions of an array."""
        dims: list[int] = []
        total = 1
        for syntax in syntaxes:
            if syntax.number is None:
                self._findings.error(
                    syntax.span,
                    "flexible-array",
                    "a flexible array has no size that could be copied",
                    "write the number of elements, or use a pointer with `count=`",
                )
                dims.append(1)
                continue
            value: int | None
            if isinstance(syntax.number, Name):
                value = self._constants.get(syntax.number.text)
                if value is None:
                    self._findings.warning(
                        syntax.number.span,
                        "dimension",
                        f"only a header knows what `{syntax.number.text}` is: nothing can be "
                        "generated from this",
                        "write the number, or define it in an enum of the EDL",
                    )
                    self.unknown_dimensions.append(syntax.number)
                    value = 1
            else:
                value = syntax.number.value
            if value <= 0 and not self._dialect.lenient:
                self._findings.error(
                    syntax.span,
                    "zero-length-array",
                    "an array has at least one element",
                    "write the number of elements, or use a pointer with `count=`",
                )
            dims.append(max(1, value))
            total *= dims[-1]
        if total * 16 >= NUMBER_LIMIT or len(dims) > _MAX_DIMENSIONS:
            self._findings.error(
                syntaxes[0].span,
                "array-size",
                "the array is too large for an address space",
                "use a pointer with `count=`",
            )
            return (1,)
        return tuple(dims)

    def returns(self, syntax: TypeSyntax, dimensions: tuple[DimensionSyntax, ...]) -> Type | None:
        """The return type of a function."""
        if dimensions:
            self._findings.error(
                dimensions[0].span,
                "return-array",
                "a function cannot return an array",
                "return it through an `[out]` parameter",
            )
        if syntax.const is not None and not self._dialect.oe:
            self._findings.error(
                syntax.const.span, "const", "`const` does not belong on a return type", "remove it"
            )
        return self.type(syntax)

    def union_member(self, syntax: DeclarationSyntax) -> Member | None:
        """A member of a union: a plain declaration."""
        if syntax.attributes is not None:
            self._findings.error(
                syntax.attributes.span,
                "union-attribute",
                "a member of a union has no attributes",
                "remove them, or use a struct",
            )
        return self._plain_member(syntax, {})

    def struct_member(self, syntax: DeclarationSyntax) -> Member | None:
        """A member of a struct; ``size=`` and ``count=`` make the struct a deep one."""
        attributes = self._attributes(syntax.attributes, self._known)
        sized = any(key in attributes for key in _VALUED)
        for key, attribute in attributes.items():
            if key == "user_check" and sized and self._dialect.name == "intel":
                continue  # Intel's compiler takes it and copies all the same.
            if key not in _VALUED:
                self._findings.error(
                    attribute.key.span,
                    "member-attribute",
                    f"`{key}` is not for members of a struct: they travel as the struct does",
                    "only `size=` and `count=` may stand here",
                )
        if syntax.attributes is not None and not sized:
            self._findings.error(
                syntax.attributes.span,
                "member-attribute",
                "a member with attributes needs `size=` or `count=`",
                "write `[count=n]`, or no attributes at all",
            )
        return self._plain_member(syntax, attributes)

    def _plain_member(
        self, syntax: DeclarationSyntax, attributes: dict[str, AttributeSyntax]
    ) -> Member | None:
        type_ = self.type(syntax.type)
        dims = self.dimensions(syntax.dimensions)
        if syntax.type.const is not None and not self._dialect.oe:
            self._findings.error(
                syntax.type.const.span, "const", "a member cannot be `const` in EDL", "remove it"
            )
        if syntax.name is None:
            self._findings.error(syntax.span, "syntax", "this member has no name")
            return None
        self.identifier(syntax.name, "member")
        if type_ is None:
            return None
        if isinstance(type_, VoidType):
            self._void(syntax)
            return None
        valued = [attributes[key] for key in _VALUED if key in attributes]
        if valued and not isinstance(type_, PointerType):
            self._findings.error(
                valued[0].key.span,
                "value-attribute",
                f"`{valued[0].key.text}` is for pointers, and `{syntax.name.text}` is none",
                "remove the attributes",
            )
        elif valued and dims:
            self._findings.error(
                valued[0].key.span,
                "pointer-array",
                f"`{syntax.name.text}` is an array of pointers, which cannot be copied deep",
                "use a pointer to a struct with pointers",
            )
        return Member(
            syntax.name.text,
            type_,
            dims,
            self._amount(attributes.get("size")),
            self._amount(attributes.get("count")),
            syntax.name.span,
        )

    def parameter(self, syntax: DeclarationSyntax) -> Parameter | None:
        """A parameter of a function."""
        type_ = self.type(syntax.type)
        dims = self.dimensions(syntax.dimensions)
        attributes = self._attributes(syntax.attributes, self._known)
        if syntax.name is None:
            self._findings.error(
                syntax.span,
                "syntax",
                "this parameter has no name",
                "only a single `void` may stand without one",
            )
            return None
        self.identifier(syntax.name, "parameter")
        if type_ is None:
            return None
        if isinstance(type_, VoidType):
            self._void(syntax)
            return None
        direction = self._direction(attributes)
        points = isinstance(type_, PointerType) or bool(dims)
        if self._dialect.oe and points and direction is Direction.VALUE:
            self._findings.warning(
                syntax.name.span,
                "pointer-direction",
                f"the pointer `{syntax.name.text}` has no direction: it crosses unchecked",
                "write `[in]`, `[out]` or `[in, out]` before it",
            )
            direction = Direction.USER_CHECK
        parameter = Parameter(
            syntax.name.text,
            type_,
            dims,
            direction,
            self._amount(attributes.get("size")),
            self._amount(attributes.get("count")),
            next((key for key in ("string", "wstring") if key in attributes), None),
            syntax.type.const is not None or "readonly" in attributes,
            "isptr" in attributes,
            "isary" in attributes,
            "nrz" in attributes,
            syntax.name.span,
        )
        is_pointer = isinstance(type_, PointerType)
        if not is_pointer and not dims and not parameter.isptr and not parameter.isary:
            self._check_value(syntax, parameter, attributes)
        else:
            self._check_pointer(syntax, parameter, attributes)
        if syntax.type.const is not None and not is_pointer and not self._dialect.oe:
            self._findings.error(
                syntax.type.const.span,
                "const",
                "`const` may stand before a pointer only",
                "remove it: a value is a copy anyway",
            )
        return parameter

    def _void(self, syntax: DeclarationSyntax) -> None:
        assert syntax.name is not None
        self._findings.error(
            syntax.type.span,
            "void",
            f"`{syntax.name.text}` has the type `void`",
            "use `void *` with `size=`, or a type",
        )

    def _attributes(
        self, syntax: AttributesSyntax | None, known: tuple[str, ...]
    ) -> dict[str, AttributeSyntax]:
        if syntax is None:
            return {}
        if not syntax.items:
            self._findings.error(
                syntax.span, "empty-attributes", "there is no attribute", "remove the brackets"
            )
        attributes: dict[str, AttributeSyntax] = {}
        for item in syntax.items:
            key = item.key.text
            if key == "sizefunc":
                self._findings.error(
                    item.key.span, "sizefunc", "`sizefunc` is no longer supported", "use `size=`"
                )
            elif key not in known:
                self._findings.error(
                    item.key.span,
                    "unknown-attribute",
                    f"`{key}` is not an attribute",
                    f"the attributes are {', '.join(known)}",
                )
            elif key in attributes:
                self._findings.error(
                    item.key.span,
                    "repeated-attribute",
                    f"`{key}` is given twice",
                    "remove one of them",
                )
            elif (key in _VALUED) != (item.value is not None):
                self._findings.error(
                    item.key.span,
                    "attribute-value",
                    f"`{key}` needs a number or the name of a parameter"
                    if key in _VALUED
                    else f"`{key}` takes no value",
                    f"write `{key}=n`" if key in _VALUED else f"write `{key}`",
                )
            else:
                attributes[key] = item
        return attributes

    def _amount(self, attribute: AttributeSyntax | None) -> int | str | None:
        if attribute is None or attribute.value is None:
            return None
        if isinstance(attribute.value, Number):
            if attribute.value.value >= NUMBER_LIMIT:
                self._findings.error(
                    attribute.value.span,
                    "number",
                    "the number is too large",
                    "the largest is 4611686018427387903",
                )
            return attribute.value.value
        return attribute.value.text

    @staticmethod
    def _direction(attributes: dict[str, AttributeSyntax]) -> Direction:
        if "in" in attributes:
            return Direction.INOUT if "out" in attributes else Direction.IN
        if "out" in attributes:
            return Direction.OUT
        if "user_check" in attributes:
            return Direction.USER_CHECK
        return Direction.VALUE

    def _check_value(
        self,
        syntax: DeclarationSyntax,
        parameter: Parameter,
        attributes: dict[str, AttributeSyntax],
    ) -> None:
        if syntax.attributes is None:
            return
        hint = "remove the attributes, or make it a pointer or an array"
        if isinstance(parameter.type, NamedType) and parameter.type.tag == "foreign":
            hint = "add `isptr` or `isary` when the type is a pointer or an array, else remove them"
        self._findings.error(
            next(iter(attributes.values())).key.span if attributes else syntax.attributes.span,
            "value-attribute",
            f"`{parameter.name}` is passed by value and has attributes of a pointer",
            hint,
        )

    def _check_pointer(
        self,
        syntax: DeclarationSyntax,
        parameter: Parameter,
        attributes: dict[str, AttributeSyntax],
    ) -> None:
        place = syntax.attributes.span if syntax.attributes else syntax.span
        self._check_direction(place, parameter, attributes)
        self._check_foreign(parameter, attributes)
        self._check_strings(parameter, attributes)
        self._check_size(place, parameter, attributes)
        self._check_array(parameter, attributes)
        if parameter.const and parameter.direction.comes_out and not self._dialect.oe:
            self._findings.error(
                place,
                "readonly-out",
                f"`{parameter.name}` is read-only and cannot be `out`",
                "remove `const` or `out`",
            )
        if parameter.nrz and parameter.direction is not Direction.OUT:
            self._findings.error(
                attributes["nrz"].key.span,
                "nrz",
                "`nrz` is for buffers that are only `out`: others are filled by the caller anyway",
                "write `[out, nrz]`",
            )

    def _check_direction(
        self, place: Span, parameter: Parameter, attributes: dict[str, AttributeSyntax]
    ) -> None:
        if "user_check" in attributes and ("in" in attributes or "out" in attributes):
            self._findings.error(
                attributes["user_check"].key.span,
                "direction-user-check",
                f"`{parameter.name}` has a direction and `user_check`",
                "keep the direction to have it copied, or `user_check` to pass the pointer as it "
                "is",
            )
        elif parameter.direction is Direction.VALUE:
            self._findings.error(
                place,
                "pointer-direction",
                f"the pointer `{parameter.name}` has no direction",
                "write `[in]`, `[out]`, `[in, out]` or `[user_check]` before it",
            )

    def _check_foreign(self, parameter: Parameter, attributes: dict[str, AttributeSyntax]) -> None:
        bare = isinstance(parameter.type, NamedType) and parameter.type.tag == "foreign"
        for key in ("isptr", "isary"):
            if key in attributes and not bare:
                self._findings.error(
                    attributes[key].key.span,
                    f"{key}-type",
                    f"`{key}` is for types that a header defines, not for "
                    f"`{c_spelling(parameter.type)}`",
                    f"remove `{key}`",
                )
        if parameter.isary and parameter.isptr:
            self._findings.error(
                attributes["isary"].key.span,
                "isary-isptr",
                "a type is a pointer or an array, not both",
                "remove `isary` or `isptr`",
            )
        if "readonly" in attributes:
            span = attributes["readonly"].key.span
            if not parameter.isptr:
                self._findings.error(
                    span,
                    "readonly",
                    "`readonly` says that a pointer type of a header points to const",
                    "use it with `isptr`, or write `const` before the type",
                )

    def _check_strings(self, parameter: Parameter, attributes: dict[str, AttributeSyntax]) -> None:
        if "string" in attributes and "wstring" in attributes:
            self._findings.error(
                attributes["wstring"].key.span,
                "string-wstring",
                "a string is made of `char` or of `wchar_t`",
                "remove `string` or `wstring`",
            )
        if parameter.string is None:
            return
        span = attributes[parameter.string].key.span
        for key in _VALUED:
            if key in attributes:
                self._findings.error(
                    attributes[key].key.span,
                    "string-size",
                    f"`{key}` cannot stand with `{parameter.string}`: a string ends at its "
                    "terminator",
                    f"remove `{key}` or `{parameter.string}`",
                )
        if parameter.direction is Direction.OUT:
            self._findings.error(
                span,
                "string-out",
                f"`{parameter.string}` needs `in`: the length is taken from what goes in",
                "write `[in, out, string]`, or `[out, size=n]`",
            )
        elif parameter.direction is Direction.USER_CHECK:
            self._findings.error(
                span,
                "string-user-check",
                f"`{parameter.string}` needs a direction",
                "write `[in, string]`",
            )
        order = list(attributes)
        if self._dialect.oe and "in" in order and "out" in order[: order.index("in")]:
            self._findings.error(
                span,
                "string-out",
                f"Open Enclave's compiler wants `in` before `out` with `{parameter.string}`",
                f"write `[in, out, {parameter.string}]`",
            )
        if parameter.isary:
            self._findings.error(
                span, "isary-string", "an array type is not a string", "remove `isary`"
            )
            return
        target = parameter.type.to if isinstance(parameter.type, PointerType) else None
        wanted = "char" if parameter.string == "string" else "wchar_t"
        accepted: tuple[str, ...] = (wanted,)
        if wanted == "char" and not self._dialect.oe:
            accepted = ("char", "unsigned char")
        if not isinstance(target, ScalarType) or target.name not in accepted or parameter.dims:
            self._findings.error(
                span,
                "string-type",
                f"`{parameter.string}` is for `{wanted} *`, and `{parameter.name}` is none",
                f"declare it as `{wanted} *`",
            )

    def _check_size(
        self, place: Span, parameter: Parameter, attributes: dict[str, AttributeSyntax]
    ) -> None:
        has_amount = any(key in attributes for key in _VALUED)
        if has_amount and parameter.direction is Direction.USER_CHECK and not self._extensions:
            key = next(key for key in _VALUED if key in attributes)
            self._findings.error(
                attributes[key].key.span,
                "size-user-check",
                f"`{key}` needs a direction: nothing is copied with `user_check`",
                f"remove `{key}`",
            )
        if self._dialect.oe and "size" in attributes and "count" in attributes:
            self._findings.error(
                attributes["count"].key.span,
                "size-and-count",
                "Open Enclave's compiler takes `size` or `count`, not both",
                "write the product into one of them",
            )
        if has_amount and parameter.isary and not self._dialect.oe:
            self._findings.error(
                place,
                "isary-size",
                "the size of an array type is known: `size` and `count` cannot stand with `isary`",
                "remove them",
            )
        if (
            parameter.type == PointerType(VoidType())
            and parameter.direction is not Direction.USER_CHECK
            and parameter.direction is not Direction.VALUE
            and "size" not in attributes
            and not self._dialect.oe
        ):
            self._findings.error(
                place,
                "void-size",
                f"how much `{parameter.name}` points to is unknown",
                "write `size=`: `void` has no size that `count` could multiply",
            )

    def _check_array(self, parameter: Parameter, attributes: dict[str, AttributeSyntax]) -> None:
        if not parameter.dims and not parameter.isary:
            return
        assert parameter.span is not None
        pointers = isinstance(parameter.type, PointerType) or (parameter.dims and parameter.isptr)
        unchecked = parameter.direction is Direction.USER_CHECK and (
            self._dialect.oe
            or (self._dialect.name == "intel" and parameter.type == PointerType(VoidType()))
        )
        if pointers and not unchecked:
            self._findings.error(
                parameter.span,
                "pointer-array",
                f"`{parameter.name}` is an array of pointers, which cannot be copied",
                "pass one buffer with `size=` or `count=`",
            )
        if not parameter.dims or self._dialect.oe:
            return
        for key in (*_VALUED, "isary"):
            if key in attributes:
                self._findings.error(
                    attributes[key].key.span,
                    "array-attribute",
                    f"`{key}` cannot stand with an array of fixed size",
                    f"remove `{key}`",
                )
