"""The wire between a supervisor and each of its workers: JSON messages over a pair of sockets.

Both ends are ours, on one machine, of one start, so a message that cannot be read is a defect and ends the wire.
An end that is gone, however it ended, is seen by the other at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from array import array
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
"""`type` says what it is."""
MAX_MESSAGE = 256 * 1024 * 1024
"""Bytes. Metrics are the largest: four thousand series are half a megabyte."""
_LENGTH = struct.Struct("!I")


class Gone(Exception):
    """The other end is no more."""


def packed(message: Mapping[str, Any]) -> bytes:
    """A message's bytes: its length, then itself."""
    data = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(data)) + data


def _unpacked(data: bytes) -> Message:
    message = json.loads(data)
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Gone("expected an object with a type")
    return message


def _length(header: bytes) -> int:
    length: int = _LENGTH.unpack(header)[0]
    if length > MAX_MESSAGE:
        raise Gone(f"a message of {length} bytes")
    return length


class Channel:
    """One end, in an event loop. Made by `opened`."""

    def __init__(self, end: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._end = end
        self._reader = reader
        self._writer = writer

    @classmethod
    async def opened(cls, end: socket.socket) -> Channel:
        """Over one of the pair; it is closed with the channel."""
        end.setblocking(False)
        return cls(end, *await asyncio.open_unix_connection(sock=end))

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends soon; to one that is gone, nothing."""
        if not self._writer.is_closing():
            self._writer.write(packed(message))

    def send_with(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """Sends now, and the descriptors with it. Only as the first message, for it overtakes what waits.

        Raises:
            Gone: the other end is no more.
        """
        data = packed(message)
        try:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
            sent = self._end.sendmsg([data[:1]], ancillary)
        except OSError as error:
            raise Gone(error.strerror) from None
        self._writer.write(data[sent:])

    async def messages(self) -> AsyncIterator[Message]:
        """What the other end says, until it is gone."""
        try:
            while True:
                length = _length(await self._reader.readexactly(_LENGTH.size))
                yield _unpacked(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, Gone, ValueError):
            return

    async def aclose(self) -> None:
        """Says what was sent, and no more; listens no more."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class BlockingChannel:
    """One end, before there is a loop."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends whole.

        Raises:
            Gone: the other end is no more.
        """
        try:
            self.end.sendall(packed(message))
        except OSError as error:
            raise Gone(error.strerror) from None

    def receive(self, descriptors: int = 0) -> tuple[Message, list[int]]:
        """Waits for a message, with at most so many descriptors; they are closed in programs started from here.

        Raises:
            Gone: the other end is no more, or said what cannot be read.
        """
        try:
            first, found, _, _ = socket.recv_fds(self.end, 1, descriptors)
            for one in found:  # not by a flag of the call: Python 3.11 ignores it
                os.set_inheritable(one, False)
            length = _length(first + self._exactly(_LENGTH.size - len(first)))
            return _unpacked(self._exactly(length)), found
        except (OSError, ValueError) as error:
            raise Gone(str(error)) from None

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = self.end.recv(count - len(data))
            if not more:
                raise Gone("the end of the stream")
            data += more
        return bytes(data)
