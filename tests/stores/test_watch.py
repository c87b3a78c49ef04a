"""A change is noticed, however it is made."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress

import pytest

from authz.stores import watch as watching


@asynccontextmanager
async def watched(files, folders):
    """A queue that gets one item for each burst of changes."""
    told: asyncio.Queue[None] = asyncio.Queue()
    since = await asyncio.to_thread(watching.fingerprint, files, folders)

    async def follow():
        async for _ in watching.watch(files, folders, since=since):
            told.put_nowait(None)

    task = asyncio.create_task(follow())
    try:
        yield told
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def noticed(told):
    async with asyncio.timeout(20):
        await told.get()


def edit(folder):
    (folder / "a.cedar").write_text("changed, and longer")


def replace(folder):
    (folder / "new").write_text("other")
    os.replace(folder / "new", folder / "a.cedar")


def remove(folder):
    (folder / "a.cedar").unlink()


def add(folder):
    (folder / "b.cedar").write_text("x")


def add_below(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "c.cedar").write_text("x")


@pytest.mark.parametrize("change", [edit, replace, remove, add, add_below])
async def test_changes_in_a_folder(tmp_path, change):
    (tmp_path / "a.cedar").write_text("x")
    async with watched([], [tmp_path]) as told:
        change(tmp_path)
        await noticed(told)


async def test_a_swapped_link_beside_a_file_as_kubernetes_does(tmp_path):
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "authz.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "authz.yaml").symlink_to("..data/authz.yaml")
    async with watched([tmp_path / "authz.yaml"], []) as told:
        (tmp_path / "..data_tmp").symlink_to("..2")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
        await noticed(told)


async def test_a_folder_that_is_a_link_to_another_release(tmp_path):
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.cedar").write_text(version)
    (tmp_path / "current").symlink_to("1")
    async with watched([], [tmp_path / "current"]) as told:
        (tmp_path / "next").symlink_to("2")
        os.replace(tmp_path / "next", tmp_path / "current")
        await noticed(told)
        (tmp_path / "2" / "a.cedar").write_text("changed in the new release")
        await noticed(told)


async def test_a_file_that_appears_later(tmp_path):
    async with watched([tmp_path / "deny.yaml"], []) as told:
        (tmp_path / "deny.yaml").write_text("{}")
        await noticed(told)


async def test_without_any_event_the_poll_sees_it(tmp_path, monkeypatch):
    async def deaf(path, wake, *, recursive):
        await asyncio.Event().wait()

    monkeypatch.setattr(watching, "_listen", deaf)
    monkeypatch.setattr(watching, "POLL", 0.02)
    (tmp_path / "a.cedar").write_text("x")
    async with watched([], [tmp_path]) as told:
        edit(tmp_path)
        await noticed(told)


def test_other_files_beside_a_watched_one_do_not_count(tmp_path):
    (tmp_path / "authz.yaml").write_text("x")
    before = watching.fingerprint([tmp_path / "authz.yaml"], [])
    (tmp_path / "record.log").write_text("grows")
    assert watching.fingerprint([tmp_path / "authz.yaml"], []) == before
