# SPDX-License-Identifier: Apache-2.0
"""The enclave of a server: a Python module with channels for its clients.

Host side, trusted by the enclave until the launch has returned.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any

from hotcalls import _native, pylaunch
from hotcalls.errors import error_for
from hotcalls.ocalls import OcallServer
from hotcalls.pymodule import Module, Start
from hotcalls.serving.places import Places
from hotcalls.wire import Signature

#: Of the server's own channel: it makes no calls but those that say who comes and goes.
_OWN_CHANNEL = {"slots": 4, "window_size": 1 << 20, "shared_size": 0, "ocall_responders": 1}


class Served:
    """An enclave that was launched to be served.

    Attributes
    ----------
    name
        Of the module.
    native
        The process, with the ecall `clients`.
    process
        A pidfd of it.
    description
        A sealed memfd: what the enclave says that its functions are. Clients check it.
    threads
        That run each client's calls.
    """

    def __init__(
        self, module: Module, options: dict[str, Any], start: Start, places: Places
    ) -> None:
        self.name = module.name
        self.threads: int = options["responders"]
        heard = _Conversation(module, {}, start.debug)
        self.native = pylaunch._start(
            module,
            heard,
            {**options, **_OWN_CHANNEL},
            start,
            words=[b"clients=%d" % len(places.all)],
            descriptors=places.descriptors(),
        )
        try:
            done, self.process = _native.descriptors(self.native)
        except _native.NativeError as error:
            self.native.close()
            raise error_for(error.status, error.text, errno=error.errno, launching=True) from None
        os.close(done)
        self.description = _sealed("hotcalls-description", heard.described)
        self.ecalls, self.ocalls = heard.ecalls, heard.ocalls

    def close(self) -> None:
        """End the enclave."""
        self.native.close()
        os.close(self.process)
        os.close(self.description)


class _Conversation(pylaunch._Conversation):
    """What the enclave says about itself: for clients to check, and to name its functions."""

    described = b""

    def hear(self, ready: bool, data: bytes | None) -> Any:
        """Take in the paper; put `clients` among the ecalls."""
        heard = super().hear(ready, data)
        if heard is None:
            return None
        self.described = pylaunch._read_paper(data or b"").described or b""
        ecalls, ocalls, _ = heard
        refused = {each.name: _nobody(each.name) for each in self.ocalls}
        server = OcallServer(self.ocalls, refused, debug=self._debug)
        messages = _native.Messages(server.serve, server.hold, server.fetch, len(self.ocalls))
        # Before `fetch`, which is the last: python_clients.h.
        return [*ecalls[:-1], (b"clients", ecalls[-1][1]), ecalls[-1]], ocalls, messages

    def _classes(
        self, ecalls: list[Signature], ocalls: list[Signature]
    ) -> tuple[list[Signature], list[Signature]]:
        """Leave them: a server makes no calls, so it need not import the module."""
        return ecalls, ocalls


def _nobody(name: str) -> Callable[..., Any]:
    """What serves an ocall that comes from no client's call."""

    def refuse(*_: Any) -> Any:
        raise NotImplementedError(
            f"{name}() was called by a thread of the module's own: in an enclave of `hotcalls "
            "serve` an ocall goes to the client whose call it is part of, and this is part of none"
        )

    return refuse


def _sealed(name: str, data: bytes) -> int:
    """A memfd of these bytes that nobody can change."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
