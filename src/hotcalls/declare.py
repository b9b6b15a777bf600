# SPDX-License-Identifier: Apache-2.0
"""``@ecall``, ``@ocall`` and ``@startup``: what a Python enclave's module is written with.

Both sides import this. A decorator records the function in its module. What it leaves in the
module's place of the function depends on who runs the module:

- an enclave (:func:`running_inside`): ecalls stay plain functions, ocalls call out;
- any other program: an ecall goes to the running enclave that was launched from the module, and an
  ocall refuses, because it is the host that answers it.

Nothing here starts anything: importing a module that declares an enclave only records.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import types
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeGuard, TypeVar, overload

from hotcalls.errors import NotRunning
from hotcalls.wire.signature import Signature

F = TypeVar("F", bound=Callable[..., Any])

#: Attributes of a running enclave: a function of one of these names could not be called as one.
RESERVED_NAMES = frozenset(
    [
        "batch",
        "check",
        "close",
        "closed",
        "flush",
        "functions",
        "name",
        "pid",
        "shared",
        "stats",
        "wake",
        "window_size",
    ]
)

_KEY = "__hotcalls_declarations__"


class Declaration:
    """One decorated function.

    Attributes
    ----------
    name : str
        By which it is called: the function's own, or the one given to the decorator.
    kind : {"ecall", "ocall"}
    function : callable
        As it was written.
    target : callable
        An ecall as the enclave calls it: positional arguments only, and it returns the result.
    signature : Signature
        Made when it is first asked for: an annotation may name a class further down.
    """

    def __init__(self, name: str, kind: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.kind = kind
        self.function = function
        self._signature: Signature | None = None
        self._call: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        """Kind and name."""
        return f"<{self.kind} {self.name} of {self.function.__module__}>"

    @property
    def signature(self) -> Signature:
        """Of the function; TypeError when an annotation is missing or does not travel."""
        if self._signature is None:
            try:
                signature = Signature.from_function(self.function, self.kind)
            except NameError as error:
                raise TypeError(
                    f"{self.name}(): an annotation names {error.name!r}, which is not defined at "
                    f"the top level of {self.function.__module__}"
                ) from None
            self._signature = signature.renamed(self.name)
        return self._signature

    @functools.cached_property
    def target(self) -> Callable[..., Any]:
        """The function, taking all its arguments by position and never returning a coroutine."""
        function = self.function
        names = [each.name for each in self.signature.parameters if each.how == "keyword"]
        if names:
            plain, count = function, len(self.signature.parameters) - len(names)

            @functools.wraps(plain)
            def function(*args: Any) -> Any:
                return plain(*args[:count], **dict(zip(names, args[count:], strict=True)))

        if not self.signature.is_async:
            return function
        begin = function

        @functools.wraps(begin)
        def finished(*args: Any) -> Any:
            return _run(self.name, begin(*args))

        return finished

    def connect(self, call: Callable[..., Any]) -> None:
        """Set what an ocall does inside: `call` takes the arguments and returns the result."""
        self._call = call

    def call_out(self, *args: Any, **kwargs: Any) -> Any:
        """Make the ocall; what the module has in the place of the function."""
        call = self._call
        if call is None:
            raise NotRunning(
                f"ocall {self.name}() was called before the enclave serves: the host answers no "
                "call while the module is imported, nor in @hotcalls.startup"
            )
        return call(*args, **kwargs)


class Declarations:
    """What a module declares, in the order in which it does.

    Attributes
    ----------
    ecalls, ocalls : dict of str to Declaration
    startups : list of callable
    """

    def __init__(self) -> None:
        self.ecalls: dict[str, Declaration] = {}
        self.ocalls: dict[str, Declaration] = {}
        self.startups: list[Callable[..., Any]] = []

    def add(self, declaration: Declaration) -> None:
        """Record a function; TypeError when its name is taken."""
        name = declaration.name
        for kind, taken in (("ecall", self.ecalls), ("ocall", self.ocalls)):
            if name in taken:
                raise TypeError(f"{name}() is declared twice, as {kind} and as {declaration.kind}")
        (self.ecalls if declaration.kind == "ecall" else self.ocalls)[name] = declaration

    def check(self) -> None:
        """Make every signature; TypeError names the function and parameter that does not travel."""
        for declaration in (*self.ecalls.values(), *self.ocalls.values()):
            _ = declaration.signature


def declarations(module: types.ModuleType) -> Declarations:
    """Return what a module declares, complete and checked.

    Raises
    ------
    TypeError
        It declares nothing, or a signature does not travel.
    """
    found = module.__dict__.get(_KEY)
    if not isinstance(found, Declarations) or not found.ecalls:
        raise TypeError(
            f"{module.__name__} declares no ecall: put @hotcalls.ecall before the functions that "
            "the host may call"
        )
    found.check()
    return found


# ---- the decorators ---------------------------------------------------------------------------


@overload
def ecall(function: F, /) -> F: ...
@overload
def ecall(*, name: str | None = None) -> Callable[[F], F]: ...
def ecall(function: Any = None, /, *, name: str | None = None) -> Any:
    """Declare a function that the host calls; it runs inside the enclave.

    Every parameter and the result are annotated. ``async def`` works: a call runs to its end, in
    an event loop when the module imports asyncio (one without sockets: after lock-down none can
    be opened), else as far as it waits for nothing. Who calls may always wait asynchronously
    (``await enclave.function.aio(…)``).

    Parameters
    ----------
    name : str, optional
        By which the host calls it, if not the function's own.
    """
    return _decorator("ecall", function, name)


@overload
def ocall(function: F, /) -> F: ...
@overload
def ocall(*, name: str | None = None) -> Callable[[F], F]: ...
def ocall(function: Any = None, /, *, name: str | None = None) -> Any:
    """Declare a function of the host that the enclave calls. Its body is never run: write ``...``.

    Parameters
    ----------
    name : str, optional
        By which it is given to ``hotcalls.launch(…, ocalls={name: function})``.
    """
    return _decorator("ocall", function, name)


def startup(function: Any = None, /) -> Any:
    """Declare a function that runs once inside, before the lock-down is complete.

    Only the enclave runs it, never a program that imports the module.
    """
    if function is None:
        return startup
    _check_function("startup", function)
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"@hotcalls.startup: {function.__name__}() is async; write a plain function"
        )
    _declarations_of(function).startups.append(function)
    return function


def _decorator(kind: str, function: Any, name: str | None) -> Any:
    if function is not None:
        return _declare(kind, function, None)
    if name is not None:
        _check_name(kind, name)
    return lambda function: _declare(kind, function, name)


def _declare(kind: str, function: Any, name: str | None) -> Any:
    _check_function(kind, function)
    name = name or function.__name__
    _check_name(kind, name)
    declaration = Declaration(name, kind, function)
    # A name that is not known yet is that of a class further down; declarations() asks again.
    with suppress(NameError):
        declaration._signature = Signature.from_function(function, kind).renamed(name)
    _declarations_of(function).add(declaration)
    if _inside.get():
        return function if kind == "ecall" else _stub(declaration, declaration.call_out)
    return _stub(declaration, functools.partial(_call_from_host, declaration))


def _stub(declaration: Declaration, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands for a function that is on the other side, looking like it."""
    if inspect.iscoroutinefunction(declaration.function):

        @functools.wraps(declaration.function)
        async def stub(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result
    else:

        @functools.wraps(declaration.function)
        def stub(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

    return stub


def _check_function(kind: str, function: Any) -> None:
    where = f"@hotcalls.{kind}"
    if isinstance(function, staticmethod | classmethod | property):
        raise TypeError(f"{where} is for functions of a module, not for methods")
    if isinstance(function, type):
        raise TypeError(
            f"{where} is for functions of a module; {function.__name__} is a class (instances stay "
            "where they were made)"
        )
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{where} is for functions, got {type(function).__name__}")
    if function.__name__ == "<lambda>":
        raise TypeError(f"{where} needs a function with a name and annotations; write def")
    if function.__qualname__ != function.__name__:
        raise TypeError(
            f"{where} is for functions at the top level of a module; {function.__qualname__} is "
            "within a class or another function"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{where}: {function.__name__}() is a generator, which cannot cross to another "
            "process; return a list"
        )


def _check_name(kind: str, name: Any) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f"@hotcalls.{kind}: name={name!r} is not a name of a function")
    if name.startswith("_"):
        raise TypeError(
            f"@hotcalls.{kind}: {name}() begins with an underscore, which says that nobody outside "
            "should call it; rename it or give name="
        )
    if kind == "ecall" and name in RESERVED_NAMES:
        raise TypeError(
            f"@hotcalls.ecall: {name}() would hide what every enclave has as .{name}; rename it or "
            f'give another name: @hotcalls.ecall(name="do_{name}")'
        )


def _declarations_of(function: types.FunctionType) -> Declarations:
    # In the globals, not by the module's name: a script is __main__, and may be loaded twice.
    found = function.__globals__.get(_KEY)
    if not isinstance(found, Declarations):
        found = function.__globals__[_KEY] = Declarations()
    return found


# ---- inside -----------------------------------------------------------------------------------

_inside: ContextVar[bool] = ContextVar("hotcalls_inside", default=False)


@contextmanager
def running_inside() -> Iterator[None]:
    """While a module is executed in this, it is the enclave's: its ecalls are plain functions."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def run_coroutines_with(run: Callable[[str, Coroutine[Any, Any, Any]], Any]) -> None:
    """From here on ``run(name, coroutine)`` gives the results of async ecalls."""
    global _run
    _run = run


def run_to_end(name: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, and return its result.

    Raises
    ------
    RuntimeError
        It waits for something that only an event loop could bring.
    """
    while True:
        try:
            waits_for = coroutine.send(None)
        except StopIteration as end:
            return end.value
        if waits_for is not None:
            coroutine.close()
            raise RuntimeError(
                f"{name}() waits for {type(waits_for).__name__}: import asyncio at the top of the "
                "module for an event loop, or write a plain function"
            )


_run: Callable[[str, Coroutine[Any, Any, Any]], Any] = run_to_end


# ---- in the host ------------------------------------------------------------------------------


class Running(Protocol):
    """An enclave, for the functions of its module."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def call_declared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the ecall `name`; return its result."""

    def await_declared(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call it and return an awaitable."""


_lock = threading.Lock()
_running: dict[str, list[weakref.ref[Any]]] = {}


def bind(module: str, enclave: Running) -> None:
    """From here on the functions of `module` call `enclave`, until it is closed or forgotten.

    Parameters
    ----------
    module
        :func:`module_key` of what the enclave was launched from.
    """
    with _lock:
        # A program may launch from one module as often as it likes.
        alive = [each for each in _running.get(module, []) if _runs(each())]
        _running[module] = [*alive, weakref.ref(enclave)]


def _runs(enclave: Running | None) -> TypeGuard[Running]:
    return enclave is not None and not enclave.closed


def module_key(file: str) -> str:
    """Return by what an enclave and the module that a host imported are matched: the file."""
    return os.path.realpath(file)


def _call_from_host(declaration: Declaration, *args: Any, **kwargs: Any) -> Any:
    name = declaration.name
    module = declaration.function.__module__
    if declaration.kind == "ocall":
        raise NotRunning(
            f"{module}.{name}() is an ocall: the enclave calls it and the host answers it, with "
            f"what launch(…, ocalls={{{name!r}: function}}) was given"
        )
    file = declaration.function.__code__.co_filename
    with _lock:
        known = [each() for each in _running.get(module_key(file), [])]
    alive = [each for each in known if _runs(each)]
    if len(alive) == 1:
        if inspect.iscoroutinefunction(declaration.function):
            return alive[0].await_declared(name, args, kwargs)
        return alive[0].call_declared(name, args, kwargs)
    if alive:
        raise NotRunning(
            f"{module}.{name}() could be any of {len(alive)} enclaves launched from "
            f"{module}; call it as a method of the one that is meant: enclave.{name}(…)"
        )
    if known:
        raise NotRunning(f"{module}.{name}(): the enclave launched from {module} was closed")
    raise NotRunning(
        f"{module}.{name}() runs in an enclave, and none was launched from {module}: "
        f"{_how_to_launch(module, file)}"
    )


def _how_to_launch(module: str, file: str) -> str:
    """What to do about a function of a module for which no enclave runs."""
    if module != "__main__":
        return f"first enclave = hotcalls.launch({module!r})"
    if not os.path.isfile(file):
        return (
            "what was typed into a shell or a notebook cannot run in one; write it to a .py file "
            'and call hotcalls.launch("that file")'
        )
    return f"first enclave = hotcalls.launch({os.path.relpath(file)!r})"
