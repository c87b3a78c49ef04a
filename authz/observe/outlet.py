"""A descriptor that takes bytes and never waits: standard output, a file, a pipe.

Whoever reads a log may stop reading, and a plain `write` to a full pipe then waits for as long. Setting
O_NONBLOCK on an inherited descriptor is no way out: the flag belongs to the open file, which the shell and
other programs share. So a pipe or a terminal is opened anew, for us alone, with the flag; where that is not
allowed, it is asked first, and given no more at a time than it must take whole.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Protocol

PIECE = 4096
"""Bytes. A pipe that reports room takes this much without waiting (Linux: PIPE_BUF is one page, pipe(7))."""
_FLAGS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_FILE_MODE = 0o600


class _Way(Protocol):
    """One way to write without waiting."""

    fd: int

    def write(self, data: memoryview) -> int:
        """How many bytes were taken; 0: none now. Raises OSError."""

    def close(self) -> None:
        """Gives up what this way opened."""


class Outlet:
    """Takes bytes for a path that is opened here, or for a descriptor that somebody else owns.

    Args:
        target: a path (created with mode 0600, appended to; a FIFO may have no reader yet), or a descriptor.

    Raises:
        OSError: the target cannot be opened for writing.
    """

    def __init__(self, target: int | str | Path) -> None:
        self._target = target
        self._way = _way_to(target)

    def write(self, data: memoryview) -> int:
        """How many bytes were taken; 0: none now.

        Raises:
            OSError: the target takes nothing any more (closed by its reader, disk full).
        """
        with suppress(BlockingIOError):
            return self._way.write(data)
        return 0

    def wait(self, seconds: float) -> None:
        """Until there may be room, or an error to be told by the next write, at most `seconds`."""
        _ready(self._way.fd, seconds)

    def reopen(self) -> bool:
        """Opens the path again, for log rotation. False: there is a descriptor only, which stays as it is.

        Raises:
            OSError: it cannot be opened; the old file stays in use.
        """
        if isinstance(self._target, int):
            return False
        before, self._way = self._way, _way_to(self._target)
        before.close()
        return True

    def close(self) -> None:
        """Closes what was opened here. A descriptor that was handed in stays open."""
        self._way.close()


def cause(error: OSError) -> str:
    """Why it failed, in the system's words, without the file's name."""
    return (error.strerror or type(error).__name__).lower()


def _ready(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(seconds * 1000))


def _way_to(target: int | str | Path) -> _Way:
    if not isinstance(target, int):
        return _Descriptor(_opened(target), ours=True)
    mode = os.fstat(target).st_mode
    if stat.S_ISSOCK(mode):
        return _Socket(target)
    if stat.S_ISFIFO(mode) or os.isatty(target):
        return _own(target) or _Pieces(target)
    # A regular file never makes a writer wait, and opened anew it would have an offset of its own: what
    # shares it (`>log 2>&1`) would write over our lines.
    return _Descriptor(target, ours=False)


def _opened(path: str | Path) -> int:
    try:
        fifo = stat.S_ISFIFO(Path(path).stat().st_mode)
    except FileNotFoundError:
        fifo = False
    if fifo:
        # Also for reading: so that it opens before there is a reader, and outlives one (fifo(7)).
        return os.open(path, os.O_RDWR | _FLAGS)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, _FILE_MODE)


def _own(fd: int) -> _Way | None:
    """The pipe or terminal behind `fd`, opened for us alone; None where the system does not do that."""
    try:
        own = os.open(f"/dev/fd/{fd}", os.O_WRONLY | _FLAGS)
    except OSError:
        return None
    if os.get_blocking(own):  # BSD: another name for `fd`, not another open file
        os.close(own)
        return None
    return _Descriptor(own, ours=True)


class _Descriptor:
    """A descriptor that does not wait of itself."""

    def __init__(self, fd: int, *, ours: bool) -> None:
        self.fd = fd
        self._ours = ours

    def write(self, data: memoryview) -> int:
        return os.write(self.fd, data)

    def close(self) -> None:
        if self._ours:
            os.close(self.fd)


class _Pieces:
    """A shared pipe: asked first, then given what it takes whole."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write(self, data: memoryview) -> int:
        return os.write(self.fd, data[:PIECE]) if _ready(self.fd, 0) else 0

    def close(self) -> None:
        """Nothing was opened."""


class _Socket:
    """A stream socket, as systemd gives for standard output. It can be told for one call not to wait."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=os.dup(fd))
        self.fd = self._socket.fileno()

    def write(self, data: memoryview) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._socket.close()
