"""Handles of candidates: kept by what is in them, bounded, made off the loop where they are large."""

from __future__ import annotations

import asyncio
import threading

import cedarpy
import pytest

from authz.core.errors import DecisionUnavailable
from authz.core.model import Effect, EntityUid, Policy, TemplateLink
from authz.pdp import handles as module
from authz.pdp.handles import AT_ONCE, MAX_BYTES, MIN_BYTES, PolicyHandles
from authz.pdp.index import Found, group
from authz.pdp.rows import link_row, static_row

ANN = EntityUid("User", "ann")


def policy(number: int, text: str = "permit(principal, action, resource);") -> Policy:
    return Policy(id=f"p{number}", text=text, effect=Effect.PERMIT)


def found(shared=(), own=()) -> Found:
    return Found(group(shared), group(own), frozenset())


def forbids(handles: PolicyHandles, count: int, first: int = 0):
    """Rows whose forms all differ."""
    texts = [
        f"forbid(principal, action, resource) when {{ context.n == {first + number} }};" for number in range(count)
    ]
    return tuple(static_row(policy(first + number, text), handles.serial()) for number, text in enumerate(texts))


def ask(kind: Found, candidates, n: int) -> list[str]:
    """Ids of the determining policies."""
    request: dict[str, object] = {"context": {"n": n}}
    for name in ("principal", "action", "resource"):
        request[name] = {"type": "T", "id": "i"}
    answer = cedarpy.is_authorized(request, candidates.handle, cedarpy.Entities.from_json_str("[]"))
    return sorted(row.id for name in answer.diagnostics.reasons for row in kind.rows(candidates.forms[name]))


def test_policies_that_differ_in_their_scope_alone_have_one_handle():
    handles = PolicyHandles()
    one, two = (
        static_row(policy(number, f'permit(principal, action, resource == Doc::"{number}");'), handles.serial())
        for number in range(2)
    )
    template = static_row(policy(9, "permit(principal == ?principal, action, resource);"), handles.serial())
    link = link_row(TemplateLink(id="l", template_id="p9", values={"?principal": ANN}), template, handles.serial())
    first = handles.make(found(own=[one]))
    assert handles.kept(found(own=[two])) is first
    assert handles.kept(found(own=[link])) is first
    assert len(handles.make(found([one], [two, link])).handle) == 1
    assert ask(found([one], [two, link]), handles.make(found([one], [two, link])), 1) == ["l", "p0", "p1"]


def test_each_policy_keeps_its_id_however_the_handle_came_about():
    handles = PolicyHandles()
    rows = forbids(handles, 12)
    for cut in range(len(rows) + 1):
        for kind in (found(rows[:cut], rows[cut:]), found(rows[cut:], rows[:cut]), found(rows, rows[:cut])):
            for _ in range(2):  # a second time from what is kept meanwhile
                candidates = handles.make(kind)
                assert len(candidates.handle) == 12
                for number in range(12):
                    assert set(ask(kind, candidates, number)) == {f"p{number}"}
                assert ask(kind, candidates, 99) == []


def test_nothing_is_a_handle_too():
    candidates = PolicyHandles().make(found())
    assert len(candidates.handle) == 0
    assert candidates.names == frozenset()


def test_what_is_kept_is_bounded_and_the_least_used_goes():
    handles = PolicyHandles()
    many = forbids(handles, 4_000)
    first = handles.make(found(own=many[:1]))
    for row in many[1:]:
        handles.make(found(own=[row]))
        assert handles.kept(found(own=many[:1])) is first
    assert handles.kept(found(own=[many[1]])) is None
    assert handles.kept(found(own=[many[-1]])) is not None
    assert handles._weight <= MIN_BYTES
    assert handles._weight == sum(candidates.weight for candidates in handles._kept.values())


def test_a_small_set_is_given_less_memory_than_a_large_one():
    handles = PolicyHandles()
    limits = []
    for policies in (0, 10_000, 10_000_000):
        handles.expect(policies)
        limits.append(handles._limit)
    assert limits[0] == MIN_BYTES < limits[1] < limits[2] == MAX_BYTES


async def test_many_policies_are_parsed_once_and_in_a_thread(monkeypatch):
    threads = []
    built = module._parsed

    def seen(*arguments):
        threads.append(threading.current_thread())
        return built(*arguments)

    monkeypatch.setattr(module, "_parsed", seen)
    handles = PolicyHandles()
    many = forbids(handles, AT_ONCE + 1)
    first, second = await asyncio.gather(handles.made(found(many)), handles.made(found(many)))
    assert first is second
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    few = forbids(handles, AT_ONCE, 1_000)
    await handles.made(found(few))
    assert threads[1] is threading.main_thread()
    # What is shared is at hand, so only what is its own must be parsed.
    assert len((await handles.made(found(many, few[:1]))).forms) == AT_ONCE + 2
    assert len(threads) == 2
    await handles.made(found(few, many))
    assert threads[2] is not threading.main_thread()


async def test_one_who_gives_up_waiting_does_not_end_it_for_the_others(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    built = module._parsed

    def slow(*arguments):
        begun.set()
        go_on.wait(10)
        return built(*arguments)

    monkeypatch.setattr(module, "_parsed", slow)
    handles = PolicyHandles()
    many = found(forbids(handles, AT_ONCE + 1))
    first, second = asyncio.ensure_future(handles.made(many)), asyncio.ensure_future(handles.made(many))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    go_on.set()
    assert len((await second).forms) == AT_ONCE + 1
    with pytest.raises(asyncio.CancelledError):
        await first
    assert handles._making == {}


async def test_what_is_large_is_never_parsed_on_the_loop(monkeypatch):
    threads: list[tuple[int, bool]] = []
    parsed = module._parsed

    def seen(key):
        threads.append((len({*key[0], *key[1]}), threading.current_thread() is threading.main_thread()))
        return parsed(key)

    monkeypatch.setattr(module, "_parsed", seen)
    handles = PolicyHandles()
    many, few = forbids(handles, 3 * AT_ONCE), forbids(handles, 2 * AT_ONCE, 1_000)
    for count in (0, 1, 3, 4, AT_ONCE, 2 * AT_ONCE):
        for kind in (found(many, few[:count]), found(few[:count], many), found((), few[:count])):
            assert len((await handles.made(kind)).forms) == len(kind)
    # Also where the first policy is written twice, or nothing is kept.
    twice = static_row(policy(5_000, many[0].text.replace("principal, action", "principal,  action")), handles.serial())
    spaced = static_row(policy(5_001, many[0].text.replace("when {", "when  {")), handles.serial())
    assert ask(found(many, [twice, spaced]), await handles.made(found(many, [twice, spaced])), 0) == [
        "p0",
        "p5000",
        "p5001",
    ]
    handles._limit = 0
    await handles.made(found(many, few[:2]))
    assert all(at_loop is (size <= AT_ONCE) for size, at_loop in threads)


async def test_a_handle_in_the_making_of_another_loop_is_not_waited_for():
    handles = PolicyHandles()
    many = found(forbids(handles, AT_ONCE + 1))
    loop = asyncio.new_event_loop()
    handles._making[many.shared.key, ()] = loop.create_future()
    loop.close()
    assert len((await asyncio.wait_for(handles.made(many), 10)).forms) == AT_ONCE + 1


@pytest.mark.parametrize("count", [1, AT_ONCE + 1])
async def test_what_the_engine_refuses_is_a_failure_and_is_tried_anew(count):
    handles = PolicyHandles()
    broken = static_row(policy(0, "permit(principal, action, resource) when { nonsense };"), handles.serial())
    for kind in (found([*forbids(handles, count), broken]), found(forbids(handles, count), [broken])):
        for _ in range(2):
            with pytest.raises(DecisionUnavailable, match="refuses policies"):
                await handles.made(kind)
    assert handles._making == {}


async def test_text_that_holds_more_policies_than_one_is_a_failure():
    handles = PolicyHandles()
    text = "permit(principal, action, resource); permit(principal, action, resource);"
    with pytest.raises(DecisionUnavailable, match="other policies"):
        await handles.made(found([static_row(policy(0, text), handles.serial())]))
