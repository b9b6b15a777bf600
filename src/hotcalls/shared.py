# SPDX-License-Identifier: Apache-2.0
"""Memory that the host and an enclave both see.

Host side. What lies in it can be changed by the other side at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotcalls.errors import CallError

if TYPE_CHECKING:
    from hotcalls.enclave import Enclave


class SharedMemory:
    """Memory in the channel, for ``user_check`` parameters: both sides see every write at once.

    Give :attr:`view`, or a slice of it, to a function. What the enclave reads from it may change
    under its hands, so it is for bulk data that the enclave copies or does not have to trust.

    Attributes
    ----------
    view : memoryview
        Of the bytes; writable.
    """

    def __init__(self, owner: Enclave, size: int) -> None:
        if size <= 0:
            raise ValueError(f"shared memory has to have a size, got {size}")
        block = owner._guard(owner._native.shared_alloc, size)
        if block is None:
            raise CallError(
                f"{size} bytes of shared memory are not left; launch with shared_size= larger",
                status="HC_ERR_MEMORY",
            )
        self._block = block
        self.view = memoryview(block)

    def close(self) -> None:
        """Give the memory back now. Slices of the view must not be used any more.

        Without it the memory is given back when nothing refers to it any more.
        """
        self.view.release()
        self._block.free()

    def __enter__(self) -> memoryview:
        """Return :attr:`view`."""
        return self.view

    def __exit__(self, *_: object) -> None:
        """Give the memory back."""
        self.close()


class SharedAccess:
    """What the codecs need of the channel's shared memory."""

    def __init__(self, enclave: Enclave) -> None:
        self._enclave = enclave

    def offset_of(self, view: memoryview) -> int:
        """Return where a view begins."""
        return int(self._enclave._guard(self._enclave._native.shared_offset_of, view))

    def view(self, offset: int, size: int) -> memoryview:
        """Return the bytes at an offset."""
        return self._enclave._native.shared_at(offset, size)
