# SPDX-License-Identifier: Apache-2.0
"""The channels that a server gives to its clients, and when one may be given to the next.

Host side. A locked-down enclave maps nothing, so a channel outlives its client. It is given out
again when three things hold, each of which the server sees for itself:

1. the client has ended, or has closed its connection;
2. the enclave runs none of its calls any more;
3. nobody else has the channel: no descriptor and no mapping of what the client was given is left
   in any process, be it a child of the client's or one that the client passed it on to.

The third is the kernel's word. The client gets an open file of its own on the channel's memory;
a write lease (F_SETLEASE) is granted only while no such file is open anywhere, and a mapping keeps
its file open. Then the memory is thrown away, also pages that somebody has pinned, and the next
client begins with a channel of zeros. A channel that somebody keeps is never given out again.

A place belongs to one user for good, so that nobody can leave anything to the client of another
user, and nobody's clients can take the places of another user.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Sequence
from typing import Any

from hotcalls import _native
from hotcalls.errors import LaunchError, error_for

#: A place whose client has gone is looked at after so many seconds; each time twice as many.
FIRST_LOOK_SECONDS = 0.005
LAST_LOOK_SECONDS = 1.0
#: As many channels as an enclave maps (ENCLAVE_CLIENTS_MAX in enclave_start.h).
PLACES_MAX = 64


class Place:
    """A channel for one client at a time."""

    def __init__(self, index: int, uid: int, options: dict[str, Any]) -> None:
        self.index = index
        self.uid = uid
        #: How many clients have had it.
        self.generation = 0
        try:
            self.channel, self._geometry = _native.new_channel(options)
        except _native.NativeError as error:
            raise error_for(error.status, error.text, errno=error.errno, launching=True) from None
        # A file as clients get it: memfd_create's own is not among those that a lease counts.
        self._counted = self._open()
        self.done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.free = True
        self._inside = False
        self._wait = FIRST_LOOK_SECONDS
        #: When to look at it again, by time.monotonic(); None: not waiting for anything.
        self.look_at: float | None = None

    def _open(self) -> int:
        return os.open(f"/proc/self/fd/{self.channel}", os.O_RDWR | os.O_CLOEXEC)

    def give(self, native: _native.Enclave) -> int:
        """Have the enclave serve it; return the client's file on it, the caller's to close."""
        channel = self._open()
        try:
            native.clients(_native.ATTACH, self.index, self.generation + 1)
        except BaseException:
            os.close(channel)
            raise
        self.generation += 1
        self.free = False
        self._inside = True
        return channel

    def take_back(self) -> None:
        """The client has gone."""
        self._wait = FIRST_LOOK_SECONDS
        self.look_at = time.monotonic()

    def look(self, native: _native.Enclave) -> bool:
        """Try to make it free again; True if it is."""
        if self._inside:
            state = native.clients(_native.DETACH, self.index, self.generation)
            self._inside = state != _native.PLACE_FREE
        if not self._inside and not self._held() and self._wipe():
            self.free = True
            self.look_at = None
            return True
        self._wait = min(2 * self._wait, LAST_LOOK_SECONDS)
        self.look_at = time.monotonic() + self._wait
        return False

    def _held(self) -> bool:
        """Whether anybody besides the enclave and us has it open or mapped."""
        try:
            fcntl.fcntl(self._counted, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            # EAGAIN: somebody has. Anything else: the kernel does not tell, so nobody gets it.
            return True
        fcntl.fcntl(self._counted, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def _wipe(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            os.read(self.done, 8)
        return _native.wipe_channel(self.channel, self._geometry)

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self.channel, self._counted, self.done):
            os.close(descriptor)


class Places:
    """All places of a server: so many for each user."""

    def __init__(self, uids: Sequence[int], each: int, options: dict[str, Any]) -> None:
        self.each = each
        self.all: list[Place] = []
        try:
            for uid in uids:
                for _ in range(each):
                    self.all.append(Place(len(self.all), uid, options))
        except (OSError, LaunchError) as error:
            self.close()
            if error.errno != errno.EMFILE:
                raise
            raise LaunchError(
                f"{len(uids) * each} clients need more descriptors than this process may have: "
                "raise its limit (ulimit -n, LimitNOFILE=), or serve fewer clients",
                errno=errno.EMFILE,
            ) from None

    def can_be_used_again(self) -> bool:
        """Whether this kernel says who has a channel. Asked while nobody has one."""
        return not self.all[0]._held()

    def find(self, uid: int) -> Place | None:
        """Return a free place of this user."""
        for place in self.all:
            if place.free and place.uid == uid:
                return place
        return None

    def descriptors(self) -> list[int]:
        """What the enclave is launched with: the channels, then the eventfds."""
        return [place.channel for place in self.all] + [place.done for place in self.all]

    def close(self) -> None:
        """Close all descriptors."""
        for place in self.all:
            place.close()
