# SPDX-License-Identifier: Apache-2.0
"""A function of the user that is asked about calls: what a policy in TOML cannot say.

Host side. The host process of ``hotcalls run`` sends a question for each call that was named, and
waits for the answer, which a thread of this process gives; native/run_ask.h has the messages. What
the function sees was copied there: the program cannot change it any more. A function that raises,
hangs or is gone has refused.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import inspect
import os
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hotcalls.apps import policy_groups, syscalls
from hotcalls.apps.policy_values import Bad
from hotcalls.failure import HotcallsError

#: native/run_ask.h: struct run_question without its text, struct run_answer.
_QUESTION = struct.Struct("<4I9q24s")
_ANSWER = struct.Struct("<Ii")
_MESSAGE_MAX = _QUESTION.size + 4096
_USES: dict[int, tuple[Literal["call", "read", "write", "connect", "bind", "send"], ...]] = {
    0: ("call",),
    1: ("read", "write"),
    2: ("connect", "bind", "send"),
}
#: So many different failures of a function are told in full.
_TOLD_MAX = 20
TIMEOUT_S = 1.0


class HookError(HotcallsError):
    """A function that cannot be asked; says why."""


@dataclass(frozen=True)
class Answer:
    """What becomes of a call: `ALLOW`, or what `refuse` returns."""

    error: int


#: The call is made.
ALLOW = Answer(0)


def refuse(error: int = errno.EPERM) -> Answer:
    """Return the answer that lets a call fail.

    Parameters
    ----------
    error
        With which errno, 1 to 4095.

    Raises
    ------
    ValueError
        It is no errno.
    """
    if type(error) is not int or not 1 <= error <= 4095:
        raise ValueError(
            f"refuse({error!r}): an errno is a number from 1 to 4095, like errno.EACCES"
        )
    return Answer(error)


@dataclass(frozen=True)
class Call:
    """A call that the program wants to make.

    Parameters
    ----------
    name
        As ``hotcalls syscalls`` has it: ``open`` is asked as ``openat``.
    use
        What is done to `path` (``read``, ``write``) or to the address (``connect``, ``bind``,
        ``send``); ``call`` when the call names neither.
    arguments
        Numbers by name: descriptors, flags, sizes. Of a buffer how many bytes it has.
    path
        The real name of the file, symbolic links followed; of a file to come, where it will be. A
        call with two names is asked about each.
    address, port
        Of IPv4 and IPv6.
    family
        AF_ number of the address.
    """

    name: str
    use: Literal["call", "read", "write", "connect", "bind", "send"]
    arguments: dict[str, int]
    path: str | None = None
    address: str | None = None
    port: int | None = None
    family: int | None = None


Function = Callable[[Call], Answer]


@dataclass(frozen=True)
class Hook:
    """A function, and which calls it is asked about.

    Parameters
    ----------
    function
        Gets a `Call`, returns `ALLOW` or ``refuse(errno)``. It runs in a thread of this process,
        one call at a time, while the program waits.
    calls
        Names of calls and ``@groups``.
    timeout_s
        The program waits this long; then the call is refused.

    Raises
    ------
    HookError
        It cannot be called, or names no call that leaves the enclave.
    """

    function: Function
    calls: Collection[str]
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise HookError(f"the hook is {self.function!r}, which cannot be called")
        if inspect.iscoroutinefunction(self.function):
            raise HookError("the hook is an async function; it is called from a thread: use def")
        if not 0.001 <= self.timeout_s <= 3600:
            raise HookError(f"a time limit of {self.timeout_s} s: it must be from 0.001 to 3600")
        self.names()

    def names(self) -> set[str]:
        """Return the calls by name, groups taken apart."""
        found: set[str] = set()
        for name in self.calls:
            try:
                found |= policy_groups.members(name, denied=True)
            except Bad as bad:
                raise HookError(f"calls of the hook: {bad}") from bad
        if not policy_groups.decided(found):
            raise HookError("the hook is asked about no call; name some that leave the enclave")
        return found


def load(name: str) -> Function:
    """Return the function that ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION`` names.

    Raises
    ------
    HookError
        There is no such module or function, or it fails while it is imported.
    """
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise HookError(f"--policy-hook {name}: write MODULE:FUNCTION or FILE.py:FUNCTION")
    try:
        module = _file(where) if where.endswith(".py") else importlib.import_module(where)
    except FileNotFoundError as error:
        raise HookError(f"--policy-hook {name}: {where}: {error.strerror}") from error
    except ModuleNotFoundError as error:
        hint = f"; write {where}.py:{attribute} for a file in this directory"
        near = hint if error.name == where and Path(f"{where}.py").is_file() else ""
        raise HookError(f"--policy-hook {name}: {error}{near}") from error
    except Exception as error:
        raise HookError(
            f"--policy-hook {name}: {where}: {type(error).__name__}: {error}"
        ) from error
    try:
        function: Function = getattr(module, attribute)
    except AttributeError as error:
        raise HookError(f"--policy-hook {name}: {where} has no {attribute}") from error
    if not callable(function):
        raise HookError(f"--policy-hook {name}: {attribute} is {function!r}; it must be a function")
    return function


def _file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As for an imported module: dataclasses and pickle look for it there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def decode(message: bytes) -> tuple[int, Call]:
    """Return the number of a question, and the call that it is about.

    Raises
    ------
    ValueError
        It is no question of this version.
    """
    if len(message) < _QUESTION.size:
        raise ValueError("a question that is too short")
    number, about, use, count, *rest = _QUESTION.unpack_from(message)
    name = rest[9].rstrip(b"\0").decode("ascii")
    text = os.fsdecode(message[_QUESTION.size :])
    parameters = {call.name: call.parameters for call in syscalls.table()}[name]
    if about not in _USES or use >= len(_USES[about]) or count != len(parameters):
        raise ValueError("a question of another version")
    arguments = {
        parameter.name: value
        for parameter, value in zip(parameters, rest, strict=False)
        if parameter.kind != "string"
    }
    call = Call(name, _USES[about][use], arguments)
    if about == 1:
        return number, Call(name, call.use, arguments, path=text)
    if about == 2:
        kind, *words = text.split(" ")
        if kind == "other":
            return number, Call(name, call.use, arguments, family=int(words[0]))
        family = int(socket.AF_INET if kind == "inet" else socket.AF_INET6)
        return number, Call(
            name, call.use, arguments, address=words[0], port=int(words[1]), family=family
        )
    return number, call


class _Asked:
    """Answers questions with a function."""

    def __init__(self, function: Function, say: Callable[[str], None]) -> None:
        self.function = function
        self.say = say
        self.told: set[tuple[str, str]] = set()

    def answer(self, message: bytes) -> bytes:
        """Return the answer to a question."""
        number, call = decode(message)
        try:
            given: object = self.function(call)
            if isinstance(given, Answer):
                return _ANSWER.pack(number, given.error)
            self._tell(call, f"returned {given!r}", "It must return ALLOW or refuse(errno).\n")
        except Exception as error:
            self._tell(call, f"raised {type(error).__name__}", "".join(traceback.format_exc()))
        except BaseException as error:
            # SystemExit and its like: not ours to end by.
            self._tell(call, f"raised {type(error).__name__}")
        # -1: what the policy refuses with.
        return _ANSWER.pack(number, -1)

    def _tell(self, call: Call, what: str, detail: str = "") -> None:
        if (call.name, what) not in self.told and len(self.told) < _TOLD_MAX:
            self.told.add((call.name, what))
            self.say(f"hotcalls run: the hook {what} for {call.name}, which is refused\n{detail}")

    def serve(self, connection: socket.socket) -> None:
        """Answer until the other end is closed."""
        with contextlib.suppress(OSError):
            while message := connection.recv(_MESSAGE_MAX):
                connection.send(self.answer(message))


@contextlib.contextmanager
def serving(hook: Hook, log_fd: int | None = None) -> Iterator[socket.socket]:
    """Answer questions in a thread; gives the end of a socket that the host process asks at.

    The caller closes that end when the host process has it. On leaving, a function that still runs
    is left behind.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def say(text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(2 if log_fd is None else log_fd, text.encode("utf-8", "backslashreplace"))

    asked = _Asked(hook.function, say)
    with ours, theirs:
        thread = threading.Thread(target=asked.serve, args=(ours,), name="hc-hook", daemon=True)
        thread.start()
        try:
            yield theirs
        finally:
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)
            thread.join(0.1)
