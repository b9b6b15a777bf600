# SPDX-License-Identifier: Apache-2.0
"""Starting an enclave from Python.

Host side, trusted by the enclave until :func:`launch` has returned.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import stat
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hotcalls import _native, pymodule
from hotcalls.c_enclave import CEnclave
from hotcalls.edl.elf import NotAnEnclaveError, read_interface
from hotcalls.enclave import Enclave
from hotcalls.errors import InterfaceMismatch, LaunchError
from hotcalls.log_reader import Loggers, LogReader

MODES = ("hot", "switch", "edl")
RESTARTS = ("never", "on-failure")

C_WINDOW = 64 * 1024
#: A megabyte of bytes goes through with room to spare.
PYTHON_WINDOW = 4 << 20

_warned_root = threading.Event()


def loader_path() -> Path:
    """Where the program ``hotcalls-enclave`` is: ``$HOTCALLS_LOADER``, or in this package."""
    given = os.environ.get("HOTCALLS_LOADER")
    return Path(given) if given else Path(__file__).parent / "bin" / "hotcalls-enclave"


def launch(
    enclave: str | os.PathLike[str] | ModuleType,
    *,
    ocalls: Mapping[str, Callable[..., Any]] | None = None,
    secrets: Mapping[str, Any] | None = None,
    args: Any = None,
    preload: Sequence[str] = (),
    python: str | os.PathLike[str] | None = None,
    mode: str = "hot",
    restart: str = "never",
    threads: int = 1,
    ocall_threads: int = 1,
    callers: int = 48,
    enclave_callers: int = 16,
    cells: int = 32,
    window: int | None = None,
    shared_size: int = 4 << 20,
    idle: float | None = None,
    spin: float | None = None,
    user: str | int | None = None,
    log: int | logging.Logger | logging.LoggerAdapter[Any] | None = None,
    timeout: float = 30.0,
    debug: bool = False,
    insecure_debug: bool = False,
    insecure_user_namespace: bool = False,
    insecure_inline: bool = False,
) -> Enclave:
    """Start an enclave and return when it is locked down and serves.

    Parameters
    ----------
    enclave : path-like, str or module
        A Python module: the path of its ``.py`` file, its dotted name, or the imported module. Or
        a C enclave: the path of a file that ``hotcalls build`` made.
    ocalls : mapping of str to callable
        What the enclave may call. An ocall without a callable fails inside.
    secrets : mapping of str to int, file or bytes
        Python modules. What ``@hotcalls.startup`` functions may read once, by name. A descriptor
        or file stays yours to close; the enclave gets a duplicate.
    args : object
        Python modules. What ``@hotcalls.startup`` functions are started with: None, bool, int,
        float, str, bytes, lists and dicts.
    preload : sequence of str
        Python modules. What to import before the lock-down besides what the module itself imports:
        later nothing can be.
    python : path-like, optional
        Python modules. The interpreter, if not the one that runs this program.
    mode : {"hot", "switch", "edl"}
        How calls are made that do not say: hot; by switch calls; or as each function's
        ``transition_using_threads`` in the EDL says.
    restart : {"never", "on-failure"}
        What a call does that finds the enclave's process ended: raise :class:`EnclaveLost`, or
        start a fresh one. Secrets are not handed over again.
    threads, ocall_threads : int
        Threads that spin for calls, inside and outside: how many run at the same time.
    callers, enclave_callers : int
        How many threads of this program, and of the enclave, may call at the same time.
    cells : int
        Calls that one thread may have in flight; a power of two from 4 to 64.
    window : int, optional
        Bytes that the arguments of a thread's calls may take; larger ones are refused. 4 MiB for
        Python modules, 64 KiB otherwise. Memory only as far as it is used.
    shared_size : int
        Bytes of memory for ``user_check`` parameters and shared arrays.
    idle, spin : float, optional
        Seconds that a responder spins without work, and a caller for an answer, before it sleeps.
    user : str or int, optional
        Run the enclave as this user. Needs privileges, and is the best isolation there is
        without hardware: no process of this program's user can then touch it.
    log : int or Logger, optional
        Descriptor that the enclave's output goes to, or the logger that gets each line of it as a
        record of level INFO; stderr if not given.
    timeout : float
        Seconds that the launch may take; less than an hour.
    debug : bool
        Python modules. Exceptions come out with their tracebacks, which can hold secrets.
    insecure_debug : bool
        Let debuggers and core dumps at the enclave. Its secrets are then open to this user.
    insecure_user_namespace : bool
        Accept a user namespace that is not the initial one, as in a rootless container. Its
        owner can read the enclave.
    insecure_inline : bool
        Python modules. Run the module in this process: for unit tests of it. There is no enclave
        then, and nothing is protected.

    Raises
    ------
    LockdownError
        This machine does not allow what the lock-down needs.
    InterfaceMismatch
        The file is not an enclave, or one for another version.
    LaunchError
        Anything else that keeps it from starting; of a Python module with its traceback.
    """
    if mode not in MODES:
        raise ValueError(f"mode is one of {', '.join(MODES)}, got {mode!r}")
    if restart not in RESTARTS:
        raise ValueError(f"restart is one of {', '.join(RESTARTS)}, got {restart!r}")
    python_module = pymodule.is_module(enclave)
    served = _mapping("ocalls", ocalls, "a function")
    handed = _mapping("secrets", secrets, "a descriptor, a file or bytes")
    if window is None:
        window = PYTHON_WINDOW if python_module else C_WINDOW
    uid, gid = _identity(user)
    options = {
        "mode": mode,
        "responders": _count("threads", threads),
        "ocall_responders": _count("ocall_threads", ocall_threads, least=0),
        "slots": _count("callers", callers),
        "enclave_slots": _count("enclave_callers", enclave_callers, least=0),
        "cells": _count("cells", cells),
        "window_size": _count("window", window),
        "shared_size": _count("shared_size", shared_size, least=0),
        "idle_us": _microseconds("idle", idle),
        "spin_us": _microseconds("spin", spin),
        "timeout_ms": max(1, (_microseconds("timeout", timeout) or 0) // 1000),
        "user": uid,
        "group": gid,
        "log_fd": None if isinstance(log, Loggers) else _descriptor(log),
        "insecure_debug": _flag("insecure_debug", insecure_debug),
        "insecure_user_namespace": _flag("insecure_user_namespace", insecure_user_namespace),
    }
    if not _flag("insecure_inline", insecure_inline):
        _say_what_root_means(uid)
    again = restart == "on-failure"
    reader: LogReader | None = None
    if isinstance(log, Loggers) and not insecure_inline:
        reader = LogReader(log, _title(enclave))
        options["log_fd"] = reader.descriptor
    started: Enclave
    try:
        if python_module:
            from hotcalls import pylaunch

            module = pymodule.find(enclave)
            how = pymodule.Start(
                preload=_names("preload", preload),
                secrets=handed,
                arguments=args,
                debug=_flag("debug", debug),
                python=python,
            )
            if insecure_inline:
                started = pylaunch.launch_here(module, served, how, threads)
            else:
                started = pylaunch.launch_module(module, served, options, how, restart=again)
        else:
            for name, value in (
                ("secrets", secrets),
                ("args", args),
                ("preload", preload),
                ("insecure_inline", insecure_inline),
            ):
                if value:
                    raise TypeError(f"{name} is for Python modules; a C enclave has no use for it")
            started = _launch_c(Path(enclave), served, options, again)
    except BaseException:
        if reader is not None:
            reader.end()
        raise
    started._log = reader
    return started


def _title(enclave: str | os.PathLike[str] | ModuleType) -> str:
    """What to call an enclave that is not there yet."""
    if isinstance(enclave, ModuleType):
        return enclave.__name__
    return Path(enclave).name.removesuffix(".py").removesuffix(".so").removesuffix(".enclave")


def _launch_c(
    file: Path, ocalls: dict[str, Callable[..., Any]], options: dict[str, Any], again: bool
) -> Enclave:
    """Start what ``hotcalls build`` made."""
    image = read_regular(file)
    try:
        carried = read_interface(file)
    except NotAnEnclaveError as error:
        raise InterfaceMismatch(str(error), status="HC_ERR_INTERFACE") from None
    interface = carried["interface"]
    known = [function["name"] for function in interface["ocalls"]]
    for name, function in ocalls.items():
        if name not in known:
            raise ValueError(
                f"ocalls: enclave {interface['name']!r} makes no ocall {name!r}; "
                f"it makes {', '.join(known) or 'none'}"
            )
        if not callable(function):
            raise TypeError(f"ocalls: {name!r} is not callable, but {type(function).__name__}")
    return CEnclave(
        interface,
        bytes.fromhex(carried["digest"]),
        image,
        str(loader_path()),
        ocalls,
        options,
        restart=again,
    )


def read_regular(file: Path) -> bytes:
    """The bytes of a regular file; anything else could block, or never end."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise LaunchError(
                    f"{file}: not a regular file; name a .py file, the dotted name of a module, or "
                    "an enclave that hotcalls build made",
                    status="HC_ERR_ARGUMENT",
                )
            with open(descriptor, "rb", closefd=False) as opened:
                return opened.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise LaunchError(f"{file}: {error.strerror}", errno=error.errno or 0) from None


def _descriptor(log: int | None) -> int | None:
    if log is None:
        return None
    if not isinstance(log, int) or isinstance(log, bool):
        raise TypeError(
            f"log: expected the number of a descriptor or a logger, got {type(log).__name__}"
        )
    try:
        os.fstat(log)
    except (OSError, OverflowError):
        raise ValueError(f"log: {log} is not an open descriptor") from None
    return log


def _mapping(name: str, value: Mapping[str, Any] | None, of: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping of name to {of}, got {type(value).__name__}")
    return dict(value)


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {type(value).__name__}")
    return value


def _names(name: str, value: Sequence[str]) -> list[str]:
    if isinstance(value, str) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{name}: expected a list of str, as [{value!r}]")
    return list(value)


def _count(name: str, value: int, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected int, got {type(value).__name__}")
    if not least <= value < 1 << 31:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value


def _microseconds(name: str, seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name}: expected seconds as a number, got {type(seconds).__name__}")
    if not 0 < seconds < 3600:  # NaN is not either
        raise ValueError(f"{name}: expected seconds, more than 0 and less than 3600, got {seconds}")
    return max(1, round(seconds * 1e6))


def _identity(user: str | int | None) -> tuple[int, int]:
    """The uid and gid to run as; zeros for those of this process."""
    if user is None:
        return 0, 0
    if not isinstance(user, (int, str)) or isinstance(user, bool):
        raise TypeError(f"user: expected a name or a uid, got {type(user).__name__}")
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
        uid, gid = entry.pw_uid, entry.pw_gid
    except (KeyError, OverflowError):
        if not isinstance(user, int) or not 0 < user < (1 << 32) - 1:
            raise LaunchError(
                f"user: there is no user {user!r}", status="HC_ERR_ARGUMENT"
            ) from None
        # A uid without an entry, as containers have; its group is the one of the same number.
        uid = gid = user
    if uid == 0 or gid == 0:
        raise LaunchError("user: root is who can read every enclave", status="HC_ERR_ARGUMENT")
    if os.geteuid() != 0:
        raise LaunchError(
            f"user: only a privileged process can run an enclave as {user!r}",
            status="HC_ERR_OS",
            errno=errno.EPERM,
        )
    return uid, gid


def _say_what_root_means(uid: int) -> None:
    """Warn once: a host that stays privileged can read any enclave, whatever user it has."""
    if os.geteuid() == 0 and not _warned_root.is_set():
        _warned_root.set()
        warnings.warn(
            "this program runs as root, which can read the memory of any process: the enclave "
            "is protected from it only once it has dropped its privileges"
            + ("" if uid else " (and launch(user=…) keeps the user it drops to out as well)"),
            RuntimeWarning,
            stacklevel=3,
        )


#: The version of the channel; enclaves are built for one.
ABI = _native.ABI
