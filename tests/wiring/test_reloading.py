"""A large policy set is loaded beside a loop that goes on answering, and what it replaces is freed behind it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import weakref

import pytest

import authz
from authz.wiring import reloading
from authz.wiring.assembly import assemble
from authz.wiring.pace import Pace
from authz.wiring.runtime import running
from tests.wiring.conftest import POLICIES

MANY = 10_000


def large(count=MANY):
    return POLICIES + "".join(
        f'@id("{number}") permit(principal == A::User::"{number}", action, resource == A::Doc::"{number}");\n'
        for number in range(count)
    )


async def until(holds):
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never held")


async def reason(az, app, **claims):
    request = authz.HttpRequest(method="GET", url="https://h/d/1", headers=app.headers(**claims))
    return (await az.check(request)).reason.value


async def test_the_loop_goes_on_answering_while_many_policies_are_loaded(app):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        app.write("policies/all.cedar", large())
        reload = asyncio.create_task(az.reload())
        answers = 0
        while not reload.done():
            assert await reason(az, app, groups=["staff"]) == "allowed"
            answers += 1
            await asyncio.sleep(0)
        assert await reload
        assert answers > 100
        assert await reason(az, app, sub="1") == "allowed"


async def test_a_reload_says_how_much_of_the_policies_is_new(app, caplog):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        app.write("policies/all.cedar", large(3))
        with caplog.at_level(logging.INFO, logger="authz.reload"):
            assert await az.reload()
        assert ", 3 of 4 policies are new or changed" in caplog.text


async def test_rows_stay_over_reloads_and_after_one_that_was_rejected(app):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        first = az._runtime.assembly.compiled.rows["staff"]
        app.write("policies/more.cedar", "permit(")
        assert not await az.reload()
        app.write("policies/more.cedar", large(2).removeprefix(POLICIES))
        app.edit("routes.yaml", "A::Doc,", "A::Group,")  # what is loaded is not taken, for another reason
        assert not await az.reload()
        assert set(az._runtime.assembly.compiled.rows) == {"staff"}
        app.edit("routes.yaml", "A::Group,", "A::Doc,")
        assert await az.reload()
        compiled = az._runtime.assembly.compiled
        assert set(compiled.rows) == {"staff", "0", "1"}
        assert compiled.rows["staff"] is first
        assert compiled.fresh == 2


async def test_another_folder_is_another_store_and_keeps_what_is_the_same(app):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        before = az._runtime.assembly
        (app.folder / "policies").rename(app.folder / "others")
        app.edit("authz.yaml", "path: policies", "path: others")
        assert await az.reload()
        after = az._runtime.assembly
        assert after.store is not before.store
        assert after.compiled.rows["staff"] is before.compiled.rows["staff"]


class Part:
    """Something that can be seen to go."""


async def test_what_was_replaced_is_freed_in_pieces_when_no_check_can_need_it(monkeypatch):
    parts: list[object] = [Part() for _ in range(10)]
    gone = [weakref.ref(part) for part in parts]
    clearing = asyncio.create_task(reloading._clear(parts, 0.0))
    assert all(ref() is not None for ref in gone)
    await clearing
    assert not parts
    assert all(ref() is None for ref in gone)


async def test_the_old_policies_are_let_go_after_a_swap(app, monkeypatch):
    monkeypatch.setattr(reloading, "MARGIN", -1e9)
    assembly = await asyncio.to_thread(assemble, app.config)
    async with running(assembly.required(), watching=False) as runtime:
        app.write("policies/all.cedar", large(2))
        assert await runtime.reload()
        old = weakref.ref(runtime.assembly.compiled.index)
        app.write("policies/all.cedar", POLICIES)
        assert await runtime.reload()
        await until(lambda: not runtime._files._clearing)
        gc.collect()  # decision points hold their caches in circles
        assert old() is None


@pytest.fixture
def frozen(monkeypatch):
    """How often the collector was told to pass over what is there."""
    calls: list[None] = []
    monkeypatch.setattr(reloading, "freeze", lambda: calls.append(None))
    return calls


@pytest.mark.parametrize(("ours", "count", "expected"), [(True, 1000, 1), (True, 999, 0), (False, 1000, 0)])
async def test_only_a_process_of_ours_is_told_what_stays_and_only_of_much(app, frozen, ours, count, expected):
    thresholds = gc.get_threshold()
    assembly = await asyncio.to_thread(assemble, app.config)
    async with running(assembly.required(), watching=False, ours=ours) as runtime:
        app.write("policies/all.cedar", large(count))
        assert await runtime.reload()
        assert len(frozen) == expected
        assert gc.get_threshold() == thresholds


async def test_a_reload_rests_between_its_steps(app, monkeypatch):
    rests: list[float] = []
    monkeypatch.setattr(
        "authz.wiring.assembly.Pace", lambda: Pace(clock=itertools.count().__next__, sleep=rests.append)
    )
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        app.write("policies/all.cedar", large(50))
        assert await az.reload()
    assert len(rests) > 100  # at each step, for by this clock each takes long
