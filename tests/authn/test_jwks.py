"""Published keys: rotation, outages, storms, and how long the last good set counts."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web

from authz.authn.fetch import KeySource
from authz.authn.jwks import RemoteKeys
from authz.core.errors import KeysUnavailable, Problem, Reason, Unauthenticated
from tests.authn.issuing import Clock, bearing, issuer, jwk, signed, tokens
from tests.authn.key_server import DISCOVERY, JWKS, KeyServer

DEADLINE = 10.0


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.keys = [jwk("RS256")]
    await server.start()
    yield server
    await server.stop()


class Remote:
    """A key set of the server, with a clock to move."""

    def __init__(self, server: KeyServer, session: ClientSession, **settings: Any) -> None:
        self.clock = Clock(0.0)
        self.told: list[Problem] = []
        self.keys = RemoteKeys(
            session,
            KeySource(issuer=server.issuer),
            cooldown=30.0,
            max_age=3600.0,
            now=self.clock,
            report=self.told.append,
            **settings,
        )

    async def kid(self, kid: str) -> str | None:
        return (await self.keys.key(kid, "RS256")).kid

    async def reason(self, kid: str) -> Reason:
        with pytest.raises((Unauthenticated, KeysUnavailable)) as caught:
            await self.keys.key(kid, "RS256")
        return caught.value.reason


Make = Callable[..., Remote]


@pytest.fixture
async def remote(server: KeyServer) -> AsyncIterator[Make]:
    async with ClientSession() as session:
        made: list[Remote] = []

        def make(**settings: Any) -> Remote:
            made.append(Remote(server, session, **settings))
            return made[-1]

        yield make
        for one in made:
            await one.keys.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0)


def broken(server: KeyServer) -> None:
    server.answer(DISCOVERY, b"out of order", status=503)


def mended(server: KeyServer) -> None:
    server.answers.clear()


class TestFirstLoad:
    async def test_before_it_there_are_no_keys(self, remote):
        one = remote()
        assert one.keys.current() is None
        assert one.keys.age == math.inf
        assert not one.keys.symmetric

    async def test_the_first_token_brings_it(self, server, remote):
        one = remote()
        assert await one.kid("k1") == "k1"
        assert one.keys.age == 0.0
        assert server.asked == {DISCOVERY: 1, JWKS: 1}

    async def test_an_unreachable_issuer_is_a_failure_and_no_denial(self, server, remote):
        broken(server)
        one = remote()
        assert await one.reason("k1") is Reason.KEYS_UNAVAILABLE
        assert one.keys.failures == 1
        mended(server)
        assert await one.reason("k1") is Reason.KEYS_UNAVAILABLE  # cooling down
        one.clock.time = 30.0
        assert await one.kid("k1") == "k1"
        assert one.keys.failures == 0

    async def test_the_log_is_told_why(self, server, remote):
        broken(server)
        with pytest.raises(KeysUnavailable) as caught:
            await remote().keys.key("k1", "RS256")
        assert "503" in caught.value.detail
        assert server.issuer in caught.value.detail


class TestRotation:
    async def test_a_new_key_is_found_once_the_cooldown_is_over(self, server, remote):
        one = remote()
        await one.keys.refresh()
        server.keys = [jwk("RS256"), jwk("RS256", "second", kid="k2")]
        assert await one.reason("k2") is Reason.TOKEN_KEY_UNKNOWN
        one.clock.time = 30.0
        assert await one.kid("k2") == "k2"

    async def test_a_withdrawn_key_is_gone_with_the_next_read(self, server, remote):
        one = remote()
        await one.keys.refresh()
        server.keys = [jwk("RS256", "second", kid="k2")]
        assert await one.kid("k1") == "k1"
        await one.keys.refresh()
        assert await one.reason("k1") is Reason.TOKEN_KEY_UNKNOWN

    async def test_verified_tokens_follow(self, server, remote):
        one = remote()
        authenticator = tokens(issuer(keys=one.keys))
        old, new = signed(), signed(name="second", header={"kid": "k2"})
        first = await authenticator.authenticate(bearing(old))
        server.keys = [jwk("RS256"), jwk("RS256", "second", kid="k2")]
        one.clock.time = 30.0
        assert await authenticator.authenticate(bearing(new)) is not None
        assert await authenticator.authenticate(bearing(old)) is first
        server.keys = [jwk("RS256", "second", kid="k2")]
        await one.keys.refresh()
        with pytest.raises(Unauthenticated) as caught:
            await authenticator.authenticate(bearing(old))
        assert caught.value.reason is Reason.TOKEN_KEY_UNKNOWN

    async def test_one_token_at_once_many_times_is_one_identity(self, server, remote):
        authenticator = tokens(issuer(keys=remote().keys))
        found = await asyncio.gather(*(authenticator.authenticate(bearing(signed())) for _ in range(20)))
        assert all(identity is found[0] for identity in found)
        assert server.asked[JWKS] == 1


class TestStorm:
    async def test_unknown_keys_ask_once_per_cooldown(self, server, remote):
        one = remote()
        await one.keys.refresh()
        for cooldown in range(1, 4):
            one.clock.time = 30.0 * cooldown
            reasons = await asyncio.gather(*(one.reason(f"forged-{n}") for n in range(200)))
            assert set(reasons) == {Reason.TOKEN_KEY_UNKNOWN}
            for n in range(20):
                one.clock.time = 30.0 * cooldown + n
                assert await one.reason(f"forged-{n}") is Reason.TOKEN_KEY_UNKNOWN
            assert server.asked[JWKS] == cooldown + 1

    async def test_known_keys_do_not_wait_for_it(self, server, remote):
        over = asyncio.Event()

        async def slow(_: web.Request) -> web.StreamResponse:
            await over.wait()
            return web.Response(status=503)

        one = remote()
        await one.keys.refresh()
        one.clock.time = 30.0
        server.answers[JWKS] = slow
        asking = asyncio.create_task(one.reason("forged"))
        await until(lambda: server.asked[JWKS] == 2)
        assert await one.kid("k1") == "k1"
        assert not asking.done()
        over.set()
        assert await asking is Reason.TOKEN_KEY_UNKNOWN

    async def test_an_outage_is_not_made_worse(self, server, remote):
        broken(server)
        one = remote()
        reasons = await asyncio.gather(*(one.reason("k1") for _ in range(200)))
        assert set(reasons) == {Reason.KEYS_UNAVAILABLE}
        for _ in range(20):
            await one.reason("k1")
        assert server.asked == {DISCOVERY: 1}


class TestSingleFlight:
    async def test_who_gives_up_does_not_end_it_for_the_others(self, server, remote):
        over = asyncio.Event()

        async def slow(_: web.Request) -> web.StreamResponse:
            await over.wait()
            return web.json_response({"keys": server.keys})

        server.answers[JWKS] = slow
        one = remote()
        waiting = [asyncio.create_task(one.keys.key("k1", "RS256")) for _ in range(3)]
        await until(lambda: server.asked[JWKS] == 1)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        over.set()
        assert [(await task).kid for task in waiting[1:]] == ["k1", "k1"]
        assert server.asked[JWKS] == 1

    async def test_stopping_ends_a_read_under_way(self, server, remote):
        never = asyncio.Event()

        async def slow(_: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response(status=503)

        server.answers[JWKS] = slow
        one = remote()
        asking = asyncio.create_task(one.reason("k1"))
        await until(lambda: server.asked[JWKS] == 1)
        await one.keys.stop()
        assert await asking is Reason.KEYS_UNAVAILABLE
        never.set()


BREAKAGES: dict[str, Callable[[KeyServer], None]] = {
    "status": broken,
    "garbage": lambda server: server.answer(JWKS, b"<html>"),
    "empty set": lambda server: setattr(server, "keys", []),
    "no set": lambda server: server.answer(JWKS, b"{}"),
    "huge": lambda server: server.answer(JWKS, b" " * 1024 * 1024),
    "redirect": lambda server: server.answer(JWKS, b"", status=302, headers={"Location": "/x"}),
    "other issuer": lambda server: server.document.update(issuer="https://evil.example.com"),
    "other host": lambda server: server.document.update(jwks_uri=server.on("localhost")),
}


class TestLastGood:
    @pytest.mark.parametrize("breakage", BREAKAGES)
    async def test_it_counts_until_it_is_too_old(self, server, remote, breakage):
        one = remote()
        assert await one.keys.refresh()
        BREAKAGES[breakage](server)
        for time, failures in ((1800.0, 1), (3600.0, 2)):
            one.clock.time = time
            assert not await one.keys.refresh()
            assert await one.kid("k1") == "k1"
            assert (one.keys.age, one.keys.failures) == (time, failures)
        one.clock.time = 3600.1
        assert one.keys.current() is None
        assert await one.reason("k1") is Reason.KEYS_UNAVAILABLE

    async def test_it_counts_with_nobody_there(self, server, remote):
        one = remote()
        await one.keys.refresh()
        await server.stop()
        assert not await one.keys.refresh()
        assert await one.kid("k1") == "k1"

    async def test_an_unknown_key_stays_the_tokens_fault(self, server, remote):
        """While a set counts it is what tells good keys from forged ones, also in an outage."""
        one = remote()
        await one.keys.refresh()
        broken(server)
        one.clock.time = 30.0
        assert await one.reason("forged") is Reason.TOKEN_KEY_UNKNOWN

    async def test_it_comes_back(self, server, remote):
        one = remote()
        await one.keys.refresh()
        broken(server)
        one.clock.time = 4000.0
        assert await one.reason("k1") is Reason.KEYS_UNAVAILABLE
        mended(server)
        one.clock.time = 4030.0
        assert await one.kid("k1") == "k1"
        assert one.keys.age == 0.0

    async def test_each_problem_is_told_once(self, server, remote):
        one = remote()
        server.keys = [jwk("RS256"), jwk("RS256", "1024", kid="weak")]
        for _ in range(3):
            await one.keys.refresh()
        assert [problem.severity for problem in one.told] == ["warning"]
        broken(server)
        for _ in range(3):
            await one.keys.refresh()
        assert [problem.severity for problem in one.told] == ["warning", "error"]
        assert one.keys.problems == (one.told[-1],)
        mended(server)
        await one.keys.refresh()
        assert [problem.severity for problem in one.told] == ["warning", "error", "warning"]
        server.keys = [jwk("RS256")]
        await one.keys.refresh()
        assert one.keys.problems == ()
        assert len(one.told) == 3


class Pauses:
    """Stands in for sleeping: tells how long, and lets the sleeper go on when told."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.go = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.go.acquire()


@asynccontextmanager
async def reading(remote: Make, **settings: Any) -> AsyncIterator[tuple[Remote, Pauses]]:
    pauses = Pauses()
    sleep: Callable[[float], Awaitable[None]] = pauses
    one = remote(sleep=sleep, **settings)
    async with one.keys:
        yield one, pauses


class TestBackground:
    async def test_it_reads_at_once_and_then_now_and_then(self, server, remote):
        async with reading(remote, interval=300.0) as (one, pauses):
            for reads in range(1, 6):
                await until(lambda: len(pauses.asked) == reads)  # noqa: B023 - awaited within the turn
                assert server.asked[JWKS] == reads
                pauses.go.release()
        assert all(270.0 <= pause <= 330.0 for pause in pauses.asked)
        assert len(set(pauses.asked)) > 1
        assert one.keys.current() is not None

    async def test_after_a_failure_it_tries_again_sooner(self, server, remote):
        broken(server)
        async with reading(remote, interval=300.0) as (one, pauses):
            await until(lambda: len(pauses.asked) == 1)
            assert 27.0 <= pauses.asked[0] <= 33.0
            assert one.keys.current() is None
            mended(server)
            pauses.go.release()
            await until(lambda: len(pauses.asked) == 2)
            assert pauses.asked[1] >= 270.0
            assert one.keys.current() is not None

    async def test_starting_does_not_wait_for_the_issuer(self, server, remote):
        never = asyncio.Event()

        async def slow(_: web.Request) -> web.StreamResponse:
            await never.wait()
            return web.Response(status=503)

        server.answers[DISCOVERY] = slow
        async with reading(remote) as (one, _):
            assert one.keys.current() is None
        never.set()

    async def test_nothing_ends_it(self, server):
        pauses = Pauses()
        session = ClientSession()
        await session.close()  # aiohttp answers with a RuntimeError
        keys = RemoteKeys(session, KeySource(issuer=server.issuer), sleep=pauses)
        async with keys:
            for reads in range(1, 4):
                await until(lambda: len(pauses.asked) == reads)  # noqa: B023
                assert keys.failures == reads
                pauses.go.release()
        assert "RuntimeError" in str(keys.problems[0])

    async def test_it_can_be_started_and_stopped_twice(self, server, remote):
        async with reading(remote) as (one, pauses):
            await one.keys.start()
            await until(lambda: len(pauses.asked) == 1)
            await one.keys.stop()
            await one.keys.stop()
        assert server.asked[JWKS] == 1
        assert await one.kid("k1") == "k1"
