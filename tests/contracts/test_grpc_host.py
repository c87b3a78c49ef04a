"""What every host of the gRPC door must keep: same bytes in, same answer out; same limits, same drain."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from authz.core.model import Failed, Peer
from authz.servers.grpc_check import Checks, CheckSettings
from authz.service import Limits, Service
from tests.contracts.grpc_hosts import HOSTS, Running, Stage
from tests.servers.extauthz_support import (
    ALLOW_WITH_EDITS,
    CHECK,
    DENY,
    FAILED,
    LET_THROUGH,
    REFUSED,
    UNAUTHENTICATED,
    Records,
    Scripted,
    check_request,
    read_as_envoy,
    scripted_service,
)
from tests.servers.grpc_support import HEALTH, ask, calling, watching
from tests.servers.h2_support import GRPC, framed
from tests.servers.raw_http import until

SERVICE = b"\x0a\x23envoy.service.auth.v3.Authorization"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
PATIENT = Limits(deadline=60)
PROXY = Peer(address="127.0.0.1", trusted=True)


@pytest.fixture(params=HOSTS)
def stage(request) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="authz-") as folder:  # short: a socket's path holds 107 bytes
        yield Stage(kind=HOSTS[request.param], folder=Path(folder))


@pytest.fixture(params=[name for name, kind in HOSTS.items() if kind.frames])
def framing(request) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="authz-") as folder:
        yield Stage(kind=HOSTS[request.param], folder=Path(folder))


def numbered(service: Service) -> Service:
    """With decision ids that are the same in each run."""
    service._prefix, service._numbers = "d", itertools.count()
    return service


# --- the same answers -------------------------------------------------------------------------------------

ASKED = {
    "plain": check_request(),
    "many headers": check_request(headers={f"x-{number}": "v" * number for number in range(60)}),
    "raw headers": check_request(raw=[("x-b", b"caf\xe9"), ("authorization", b"Bearer t")]),
    "of 100 kB": check_request(headers={"x-a": "a" * 100_000}),
    "a path that is refused": check_request("/a/../b"),
    "empty": b"",
    "no message": b"\xff\xff\xff",
}


@pytest.mark.parametrize("outcome", [ALLOW_WITH_EDITS, LET_THROUGH, DENY, UNAUTHENTICATED, REFUSED, FAILED])
@pytest.mark.parametrize("what", ASKED)
def test_the_same_bytes_get_the_same_bytes(stage, outcome, what):
    def service() -> Service:
        return numbered(scripted_service(Scripted(answer=lambda _: outcome)))

    peer = Peer(trusted=True) if stage.kind.unix else PROXY
    expected = asyncio.run(Checks(service(), CheckSettings()).check(ASKED[what], peer))

    async def talk(here: Running):
        async with here.channel() as channel:
            assert await ask(channel, ASKED[what]) == expected

    stage.run(talk, service())


def test_checks_of_one_connection_do_not_mix(stage):
    scripted = Scripted()

    async def hold():
        await asyncio.sleep(0)

    scripted.hold = hold
    service = scripted_service(scripted, limits=PATIENT)

    async def talk(here: Running):
        async with here.channel() as channel:
            calls = [
                ask(channel, check_request(f"/documents/{n}" if n % 2 else f"/documents/{n}/../x")) for n in range(200)
            ]
            readings = [read_as_envoy(reply) for reply in await asyncio.gather(*calls)]
            assert [reading.status for reading in readings] == [400, 200] * 100

    stage.run(talk, service)


@pytest.mark.parametrize("on_failure", ["deny", "error"])
def test_no_exception_becomes_an_rpc_error(stage, on_failure):
    def explode(_):
        raise ValueError("Bearer s3cret")

    async def talk(here: Running):
        async with here.channel() as channel:
            reading = read_as_envoy(await ask(channel, check_request()))
            assert (reading.verdict, reading.status) == (on_failure, 500)
            assert b'"reason":"internal"' in reading.body

    stage.run(talk, scripted_service(Scripted(answer=explode)), checks=CheckSettings(on_failure=on_failure))


def test_who_calls_is_known_by_the_connection(stage):
    scripted = Scripted()

    async def talk(here: Running):
        async with here.channel() as channel:
            assert read_as_envoy(await ask(channel, check_request())).verdict == "allow"

    stage.run(talk, scripted_service(scripted), trusted=("10.0.0.0/8",))
    peer = Peer(trusted=True) if stage.kind.unix else Peer(address="127.0.0.1")
    assert scripted.requests[0].peer == peer


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10_001, 30_000])
def test_a_check_that_is_too_large_is_refused_by_a_reply(stage, size):
    async def talk(here: Running):
        async with here.channel() as channel:
            reading = read_as_envoy(await ask(channel, check_request(headers={"x-a": "a" * size})))
            assert (reading.verdict, reading.status) == ("deny", 400)
            assert b"too_large" in reading.body
            assert read_as_envoy(await ask(channel, check_request())).verdict == "allow"

    stage.run(talk, scripted_service(Scripted()), checks=CheckSettings(max_message_bytes=10_000))


def test_a_check_up_to_the_limit_is_read(stage):
    data = check_request(extensions={"policy": "a" * 3_000_000})

    async def talk(here: Running):
        async with here.channel() as channel:
            assert read_as_envoy(await ask(channel, data)).verdict == "allow"

    stage.run(talk, scripted_service(Scripted()), checks=CheckSettings(max_message_bytes=len(data)))


def test_a_slow_check_is_answered_before_the_caller_gives_up(stage):
    service = scripted_service(Scripted(hold=lambda: asyncio.Event().wait()), limits=PATIENT)

    async def talk(here: Running):
        async with here.channel() as channel:
            reading = read_as_envoy(await ask(channel, check_request(), timeout=3))
            assert (reading.verdict, reading.status) == ("deny", 503)
            assert b'"reason":"deadline"' in reading.body

    stage.run(talk, service, checks=CheckSettings(reply_margin=10))


def test_a_burst_is_answered_by_replies_and_never_by_rpc_errors(stage):
    async def talk(here: Running):
        gate = asyncio.Event()
        scripted.hold = gate.wait
        async with here.channel() as channel:
            calls = [asyncio.create_task(ask(channel, check_request())) for _ in range(400)]
            await until(lambda: sum(call.done() for call in calls) >= 392, "all but those under way are answered")
            gate.set()
            statuses = [read_as_envoy(reply).status for reply in await asyncio.gather(*calls)]
            assert (statuses.count(200), statuses.count(503)) == (8, 392)

    scripted = Scripted()
    stage.run(talk, scripted_service(scripted, limits=Limits(deadline=60, in_flight=8)))


def test_a_caller_that_goes_away_cancels_its_check(stage):
    records, ended, gate = Records(), [], []

    async def hold():
        gate.append(asyncio.Event())
        try:
            await gate[0].wait()
        finally:
            ended.append(True)

    async def talk(here: Running):
        async with here.channel() as channel:
            going = calling(channel, check_request())
            await until(lambda: bool(scripted.requests), "the check is under way")
            going.cancel()
            if not here.kind.notices:
                gate[0].set()
            await until(lambda: bool(ended), "it has ended")
            assert read_as_envoy(await ask(channel, b"")).status == 400
        assert isinstance(records.kept[0].outcome, Failed) == here.kind.notices

    scripted = Scripted(hold=hold)
    stage.run(talk, scripted_service(scripted, records, limits=PATIENT))


# --- what is no check -------------------------------------------------------------------------------------

UNFRAMED = {
    "nothing": b"",
    "a part of a prefix": b"\x00\x00",
    "a cut message": framed(check_request())[:-1],
    "a cut message, hardly": b"\x00\x00\x00\x00\x05abcd",
    "a length that never comes": b"\x00\xff\xff\xff\xff" + check_request(),
    "two messages": framed(check_request()) * 2,
    "a byte more": framed(check_request()) + b"\x00",
    "an unknown flag": framed(check_request(), flag=7),
    "a compressed message": framed(check_request(), flag=1),
    "no frame at all": check_request(),
}


@pytest.mark.parametrize("what", UNFRAMED)
def test_what_is_not_one_message_is_never_an_allow(framing, what):
    scripted, records = Scripted(), Records()

    async def talk(here: Running):
        async with here.client() as client:
            answer = await client.answer(client.call(CHECK, UNFRAMED[what]))
            if what == "a compressed message":
                assert (answer.data, answer.grpc_status) == (b"", 12)
            else:
                assert answer.grpc_status == 0
                reading = read_as_envoy(answer.message)
                assert (reading.verdict, reading.status) == ("deny", 400)
                assert b'"reason":"bad_check"' in reading.body
                assert len(records.kept) == 1
        async with here.channel() as channel:
            assert read_as_envoy(await ask(channel, b"")).status == 400
        assert scripted.requests == []

    framing.run(talk, scripted_service(scripted, records))


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (HEALTH + "List", grpc.StatusCode.UNIMPLEMENTED),
        ("/envoy.service.auth.v3.Authorization/Other", grpc.StatusCode.UNIMPLEMENTED),
        ("/envoy.service.auth.v3.Authorization/Check/", grpc.StatusCode.UNIMPLEMENTED),
        ("/envoy.service.auth.v3.Authorization/%43heck", grpc.StatusCode.UNIMPLEMENTED),
        ("/envoy.service.auth.v2.Authorization/Check", grpc.StatusCode.UNIMPLEMENTED),
        ("/", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_what_nobody_serves_is_told(stage, method, code):
    async def talk(here: Running):
        async with here.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(channel, b"", method)
            assert caught.value.code() is code

    stage.run(talk, scripted_service(Scripted()))


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ([(b"content-type", b"application/json"), (b"te", b"trailers")], b"POST"),
        ([(b"content-type", b"application/grpc-web"), (b"te", b"trailers")], b"POST"),
        ([(b"te", b"trailers")], b"POST"),
        (GRPC, b"GET"),
        (GRPC, b"PUT"),
    ],
)
def test_what_is_no_grpc_call_is_never_an_allow(framing, fields, method):
    scripted = Scripted()

    async def talk(here: Running):
        async with here.client() as client:
            stream = client.ask(CHECK.encode(), *fields, method=method, body=framed(check_request()))
            answer = await client.answer(stream)
            assert answer.status in {405, 415}
            assert (answer.data, answer.grpc_status) == (b"", None)
            assert scripted.requests == []

    framing.run(talk, scripted_service(scripted))


def test_a_call_that_takes_no_trailers_is_told_so(framing):
    async def talk(here: Running):
        async with here.client() as client:
            fields = (b"content-type", b"application/grpc")
            answer = await client.answer(client.call(CHECK, framed(check_request()), fields))
            assert (answer.data, answer.grpc_status) == (b"", 13)

    framing.run(talk, scripted_service(Scripted()))


# --- health -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"", b"\x0a\x00", SERVICE])
def test_health_is_told_for_the_server_and_the_service(stage, name):
    async def talk(here: Running):
        async with here.channel() as channel:
            for serving, told in ((True, SERVING), (False, NOT_SERVING), (True, SERVING)):
                here.host.set_serving(serving=serving)
                assert await ask(channel, name, HEALTH + "Check") == told

    stage.run(talk, scripted_service(Scripted()))


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"\x0a\x05other", grpc.StatusCode.NOT_FOUND), (b"\xff", grpc.StatusCode.INVALID_ARGUMENT)],
)
def test_health_of_what_is_unknown_is_an_rpc_error(stage, data, code):
    async def talk(here: Running):
        async with here.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(channel, data, HEALTH + "Check")
            assert caught.value.code() is code
            assert caught.value.details()

    stage.run(talk, scripted_service(Scripted()))


def test_watchers_hear_every_change_and_the_end(stage):
    async def talk(here: Running):
        async with here.channel() as channel, asyncio.timeout(30):
            known = watching(channel, SERVICE)
            unknown = watching(channel, b"\x0a\x05other")
            broken = watching(channel, b"\xff")
            assert await known.read() == SERVING
            assert await unknown.read() == SERVICE_UNKNOWN
            assert await broken.code() is grpc.StatusCode.INVALID_ARGUMENT
            here.host.set_serving(serving=False)
            assert await known.read() == NOT_SERVING
            here.host.set_serving(serving=True)
            assert await known.read() == SERVING
            last = asyncio.create_task(known.read())
            # An open watch must not make a stop wait for the whole of its grace.
            await here.host.stop(600)
            assert await last == NOT_SERVING
            assert await known.read() is grpc.aio.EOF
            assert await unknown.read() is grpc.aio.EOF
            assert await known.code() is grpc.StatusCode.OK

    stage.run(talk, scripted_service(Scripted()))


def test_a_watcher_that_leaves_is_forgotten(stage):
    async def talk(here: Running):
        async with here.channel() as channel:
            watch = watching(channel, b"")
            assert await watch.read() == SERVING
            watch.cancel()
        await until(lambda: not any("_tell" in repr(task) for task in asyncio.all_tasks()), "left")

    stage.run(talk, scripted_service(Scripted()))


# --- the end ----------------------------------------------------------------------------------------------


def test_a_drain_finishes_what_is_under_way(stage):
    async def talk(here: Running):
        gate = asyncio.Event()
        scripted.hold = gate.wait
        async with here.channel() as channel, asyncio.timeout(30):
            watch = watching(channel, b"")
            assert await watch.read() == SERVING
            checking = asyncio.create_task(ask(channel, check_request()))
            await until(lambda: bool(scripted.requests), "the check is under way")
            stopping = asyncio.create_task(here.host.stop(60))
            assert await watch.read() == NOT_SERVING
            assert not stopping.done()
            gate.set()
            assert read_as_envoy(await checking).verdict == "allow"
            await stopping
        with pytest.raises(OSError):
            async with here.client():
                pass

    scripted = Scripted()
    stage.run(talk, scripted_service(scripted, limits=PATIENT))


def test_what_outlasts_the_drain_is_no_allow(stage):
    async def talk(here: Running):
        async with here.channel() as channel, asyncio.timeout(30):
            checking = asyncio.create_task(ask(channel, check_request()))
            await until(lambda: bool(scripted.requests), "the check is under way")
            await here.host.stop(0.1)
            if here.kind.last_word:
                reading = read_as_envoy(await checking)
                assert (reading.verdict, reading.status) == ("deny", 500)
            else:
                with pytest.raises(grpc.aio.AioRpcError):
                    await checking
        assert isinstance(records.kept[0].outcome, Failed)

    scripted, records = Scripted(hold=lambda: asyncio.Event().wait()), Records()
    stage.run(talk, scripted_service(scripted, records, limits=PATIENT))
