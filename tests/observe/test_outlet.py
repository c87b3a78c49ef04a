"""A descriptor that takes bytes and never waits."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz.observe.outlet import PIECE, Outlet, _Pieces

PAGE = os.sysconf("SC_PAGE_SIZE")
MUCH = memoryview(b"x" * 1_000_000)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page, read end first."""
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, PAGE)
    try:
        yield reads, writes
    finally:
        os.close(reads)
        os.close(writes)


def test_a_file_is_created_for_its_owner_alone_and_appended_to(tmp_path: Path):
    path = tmp_path / "log"
    for text in (b"one\n", b"two\n"):
        outlet = Outlet(path)
        assert outlet.write(memoryview(text)) == 4
        outlet.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["absent/log", "."])
def test_what_cannot_be_opened_is_told(tmp_path: Path, name: str):
    with pytest.raises(OSError, match="directory"):
        Outlet(tmp_path / name)


def test_a_full_pipe_takes_nothing_and_does_not_wait():
    with pipe() as (reads, writes):
        outlet = Outlet(writes)
        assert outlet.write(MUCH) == PAGE
        assert outlet.write(MUCH) == 0
        os.read(reads, PAGE)
        outlet.wait(10)
        assert outlet.write(MUCH) == PAGE
        outlet.close()


def test_whoever_shares_the_pipe_keeps_a_descriptor_that_waits():
    with pipe() as (_, writes):
        outlet = Outlet(writes)
        assert os.get_blocking(writes)
        outlet.close()
        assert os.get_blocking(writes)


def test_a_pipe_that_cannot_be_opened_anew_is_given_no_more_than_it_takes_whole():
    with pipe() as (reads, writes):
        way = _Pieces(writes)
        for _ in range(PAGE // PIECE):
            assert way.write(MUCH) == PIECE
        assert way.write(MUCH) == 0
        os.read(reads, PAGE)
        assert way.write(MUCH) == PIECE


def test_a_pipe_whose_reader_went_away_is_an_error():
    reads, writes = os.pipe()
    outlet = Outlet(writes)
    os.close(reads)
    outlet.wait(10)
    with pytest.raises(BrokenPipeError):
        outlet.write(MUCH)
    outlet.close()
    os.close(writes)


def test_a_fifo_needs_no_reader_to_open_and_outlives_one(tmp_path: Path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    outlet = Outlet(path)
    assert outlet.write(memoryview(b"early\n")) == 6
    with path.open("rb", buffering=0) as reader:
        assert reader.read(6) == b"early\n"
    assert outlet.write(memoryview(b"late\n")) == 5
    outlet.close()


def test_a_socket_takes_what_it_can_and_no_more():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outlet = Outlet(ours.fileno())
        assert 0 < outlet.write(MUCH) < len(MUCH)
        while outlet.write(MUCH):
            pass
        assert theirs.recv(10) == b"x" * 10
        assert ours.getblocking()
        outlet.close()
        assert ours.fileno() >= 0


def test_a_terminal_that_nobody_reads_does_not_wait():
    master, slave = os.openpty()
    outlet = Outlet(slave)
    while outlet.write(MUCH):
        pass
    assert os.get_blocking(slave)
    outlet.close()
    os.close(slave)
    os.close(master)


def test_a_file_that_is_shared_by_descriptor_is_written_at_the_common_place(tmp_path: Path):
    path = tmp_path / "both"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    outlet = Outlet(fd)
    outlet.write(memoryview(b"record\n"))
    os.write(fd, b"other\n")
    outlet.write(memoryview(b"record\n"))
    outlet.close()
    os.close(fd)
    assert path.read_bytes() == b"record\nother\nrecord\n"


def test_a_path_is_opened_again_after_rotation(tmp_path: Path):
    path = tmp_path / "log"
    outlet = Outlet(path)
    outlet.write(memoryview(b"old\n"))
    path.rename(tmp_path / "log.1")
    outlet.reopen()
    outlet.write(memoryview(b"new\n"))
    outlet.close()
    assert (tmp_path / "log.1").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n"


def test_a_path_that_cannot_be_opened_again_leaves_the_old_file(tmp_path: Path):
    folder = tmp_path / "logs"
    folder.mkdir()
    outlet = Outlet(folder / "log")
    folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        outlet.reopen()
    assert outlet.write(memoryview(b"kept\n")) == 5
    outlet.close()
    assert (tmp_path / "moved" / "log").read_bytes() == b"kept\n"


def test_opening_again_a_descriptor_does_nothing():
    with pipe() as (reads, writes):
        outlet = Outlet(writes)
        outlet.reopen()
        outlet.write(memoryview(b"same\n"))
        assert os.read(reads, 9) == b"same\n"
        outlet.close()
