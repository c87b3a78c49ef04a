"""Unix sockets of listeners: made so that only the proxy's group can reach them, taken away when left behind.

Blocking calls on the file system: call them in a thread.
"""

from __future__ import annotations

import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from authz.core.errors import Misconfigured, Problem

_PROBE_SECONDS = 1.0


def make_way(path: Path) -> None:
    """Removes a socket at `path` on which nobody listens any more.

    Raises:
        Misconfigured: there is something else, somebody listens, or it cannot be removed.
    """
    try:
        kind = path.lstat().st_mode
        if not stat.S_ISSOCK(kind):
            raise _cannot_listen(path, "it exists and is not a socket; choose another path, or remove it")
        if _somebody_listens(path):
            raise _cannot_listen(path, "another process listens there")
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_listen(path, error.strerror or type(error).__name__) from error


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except TimeoutError:  # its queue is full: alive
            return True
        return True


@contextmanager
def only_mine() -> Iterator[None]:
    """What is made meanwhile is its owner's alone, so that nobody connects before the permissions are set."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def grant(path: Path, mode: int, group: str | None) -> tuple[int, int]:
    """Sets the group (name or number), then the mode. The file's identity: device and inode.

    Raises:
        Misconfigured: no such group, or not allowed to; then the socket is gone.
    """
    try:
        if group is not None:
            os.chown(path, -1, _group_id(group))
        path.chmod(mode)
        made = path.lstat()
    except (KeyError, OverflowError):
        path.unlink(missing_ok=True)
        raise _cannot_listen(path, f"there is no group `{group}`; expected a group's name or number") from None
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _cannot_listen(path, error.strerror or type(error).__name__) from error
    return made.st_dev, made.st_ino


def _group_id(group: str) -> int:
    return int(group) if group.isascii() and group.isdecimal() else grp.getgrnam(group).gr_gid


def remove(path: Path, identity: tuple[int, int]) -> None:
    """Removes the socket if it is still the one that was made; a successor may have put its own there."""
    with suppress(OSError):
        now = path.lstat()
        if (now.st_dev, now.st_ino) == identity:
            path.unlink()


def _cannot_listen(path: Path, why: str) -> Misconfigured:
    return Misconfigured((Problem(message=f"cannot listen on `unix:{path}`: {why}"),))
