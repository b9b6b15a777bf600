# SPDX-License-Identifier: Apache-2.0
"""What ``launch(secrets=…)`` handed over, as files that can be read once.

Enclave side, before the lock-down.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

PIECE = 1 << 16


class Secret:
    """A secret that came in by descriptor. Reading it to its end closes it; it is read once."""

    def __init__(self, name: str, descriptor: int) -> None:
        self.name = name
        self._descriptor = descriptor

    def __repr__(self) -> str:
        """Say nothing of what is in it."""
        return f"<secret {self.name!r}{'' if self._descriptor >= 0 else ', read'}>"

    def fileno(self) -> int:
        """Return the descriptor."""
        if self._descriptor < 0:
            raise ValueError(
                f"secret {self.name!r} was read already, or start-up is over: it can be read once"
            )
        return self._descriptor

    @property
    def closed(self) -> bool:
        """Whether it was read or closed."""
        return self._descriptor < 0

    def read(self, size: int = -1) -> bytes:
        """Return the bytes, all of them unless `size` says how many at most."""
        if size >= 0:
            return os.read(self.fileno(), size)
        pieces = []
        while piece := os.read(self.fileno(), PIECE):
            pieces.append(piece)
        self.close()
        return b"".join(pieces)

    def readinto(self, buffer: Buffer) -> int:
        """Read into memory of the caller's, as of ``secret_bytes``, without a copy in between.

        Returns how many bytes there were. Fills the buffer unless the secret is shorter.
        """
        filled = 0
        with memoryview(buffer) as view, view.cast("B") as data:
            while filled < len(data) and (got := os.readv(self.fileno(), [data[filled:]])):
                filled += got
        return filled

    def close(self) -> None:
        """Close it unread."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Secret:  # noqa: PYI034 -- Self came with Python 3.11
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def from_descriptors(names: list[str], descriptors: list[int]) -> Secrets:
    """The secrets that came in; with -1 for each descriptor, those of an enclave before this."""
    again = any(descriptor < 0 for descriptor in descriptors)
    return Secrets(dict(zip(names, map(Secret, names, descriptors), strict=True)), again)


class Secrets(Mapping[str, Secret]):
    """The secrets by name."""

    def __init__(self, secrets: dict[str, Secret], again: bool = False) -> None:
        self._secrets = secrets
        self._again = again

    def __getitem__(self, name: str) -> Secret:
        """Return one; KeyError says which there are."""
        if self._again and name in self._secrets:
            raise KeyError(
                f"secret {name!r} is gone: this enclave was started again after a failure, and "
                "secrets are never handed over twice; launch a new one with them"
            )
        try:
            return self._secrets[name]
        except KeyError:
            listed = ", ".join(map(repr, self._secrets)) or "none"
            raise KeyError(f"launch(secrets=…) gave {listed}, not {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._secrets)

    def __len__(self) -> int:
        """Count them."""
        return len(self._secrets)

    def __repr__(self) -> str:
        """Names only."""
        return f"<secrets {', '.join(self._secrets)}>"

    def close(self) -> None:
        """Close what was not read: start-up is over."""
        for secret in self._secrets.values():
            secret.close()
