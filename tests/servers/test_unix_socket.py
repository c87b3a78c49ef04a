"""Sockets of listeners: who may reach them, and what stands in their way."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from authz.core.errors import Misconfigured
from authz.servers.unix_socket import grant, make_way, only_mine, remove
from tests.proxies.harness import Folder


@pytest.fixture
def path():
    with Folder() as folder:
        yield folder / "a.sock"


def listen(path, *, backlog: int = 1) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with only_mine():
        listener.bind(str(path))
    listener.listen(backlog)
    return listener


def test_there_is_nothing_to_do_where_there_is_nothing(path):
    make_way(path)
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_removed(path):
    listen(path).close()
    assert path.exists()
    make_way(path)
    assert not path.exists()


def test_a_socket_on_which_somebody_listens_is_left_alone(path):
    with listen(path), pytest.raises(Misconfigured, match="another process listens there"):
        make_way(path)
    assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_what_is_no_socket_is_left_alone(path, kind):
    make = {
        "file": lambda: path.write_text("precious"),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to("/dev/null"),
        "pipe": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(Misconfigured, match="is not a socket"):
        make_way(path)
    assert os.path.lexists(path)


def test_a_path_below_a_file_is_refused(path):
    path.write_text("")
    with pytest.raises(Misconfigured, match="cannot listen on"):
        make_way(path / "b.sock")


def test_a_new_socket_is_its_owners_alone_until_it_is_granted(path):
    before = os.umask(0o022)
    try:
        with listen(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            grant(path, 0o666, None)
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


@pytest.mark.parametrize("group", ["no-such-group", "99999999999999999999", ""])
def test_an_unknown_group_is_refused_and_the_socket_removed(path, group):
    with listen(path), pytest.raises(Misconfigured, match=f"there is no group `{group}`"):
        grant(path, 0o660, group)
    assert not path.exists()


def test_only_the_socket_that_was_made_is_removed(path):
    with listen(path):
        identity = grant(path, 0o660, str(os.getgid()))
        path.rename(path.with_suffix(".old"))
        with listen(path):
            remove(path, identity)
            assert path.exists()
    path.with_suffix(".old").replace(path)
    remove(path, identity)
    assert not path.exists()
    remove(path, identity)
