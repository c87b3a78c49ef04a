"""Checks on the wire: a service that answers as told, and what Envoy makes of the replies (facts A1, G2, G18)."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure
from authz.core.errors import Reason
from authz.core.login import Login, verified_return_address
from authz.core.model import Denied, EntityUid, Failed, Identity, Peer
from authz.core.pipeline import Authorizer
from authz.core.request import PathRules
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.servers import grpc_check
from authz.servers.grpc_check import Checks, CheckSettings
from authz.servers.grpc_host import GrpcSettings, read_peer
from authz.servers.trust import TrustedPeers
from authz.service import Limits
from tests.proxies.harness import until
from tests.servers.extauthz_support import (
    ALLOW_WITH_EDITS,
    DENY,
    FAILED,
    LET_THROUGH,
    PERMIT,
    REFUSED,
    UNAUTHENTICATED,
    Records,
    Scripted,
    check_request,
    read_as_envoy,
    scripted_service,
)
from tests.servers.grpc_support import ask, asked, calling, client, finished, reached, serving


@pytest.mark.parametrize(
    ("outcome", "verdict", "status"),
    [
        (ALLOW_WITH_EDITS, "allow", 200),
        (LET_THROUGH, "allow", 200),
        (DENY, "deny", 403),
        (UNAUTHENTICATED, "deny", 401),
        (REFUSED, "deny", 400),
        (FAILED, "deny", 503),
    ],
)
async def test_an_outcome_becomes_a_reply(outcome, verdict, status):
    scripted = Scripted(answer=lambda _: outcome)
    reading = await asked(scripted_service(scripted), check_request())
    assert (reading.verdict, reading.status) == (verdict, status)
    assert scripted.requests[0].path.text == "/documents/42"
    assert scripted.requests[0].peer == Peer(address="127.0.0.1", trusted=True)


async def test_a_failure_is_an_error_by_setting():
    settings = GrpcSettings(checks=CheckSettings(on_failure="error"))
    reading = await asked(scripted_service(Scripted(answer=lambda _: FAILED)), check_request(), settings)
    assert (reading.verdict, reading.status) == ("error", 503)


async def test_the_reply_names_the_decision_id_of_the_record():
    records = Records()
    reading = await asked(scripted_service(Scripted(answer=lambda _: DENY), records), check_request())
    assert [(record.door, record.outcome) for record in records.kept] == [("grpc", DENY)]
    assert f'"decision_id":"{records.kept[0].id}"'.encode() in reading.body


async def test_the_services_own_rules_for_paths_count():
    service = scripted_service(Scripted(), path_rules=PathRules(empty_segments="merge"))
    assert (await asked(service, check_request("/a//b"))).verdict == "allow"
    assert (await asked(scripted_service(Scripted()), check_request("/a//b"))).status == 400


async def test_the_form_of_an_answer_is_the_clients_whatever_was_decided():
    service = scripted_service(Scripted(answer=lambda _: DENY))
    page = await asked(service, check_request(headers={"accept": "text/html"}))
    assert dict(page.headers)["content-type"] == "text/html; charset=utf-8"
    refused = await asked(service, check_request("/a/../b", headers={"accept": "text/html"}))
    assert (refused.status, dict(refused.headers)["content-type"]) == (400, "text/html; charset=utf-8")
    call = await asked(service, check_request("/a/../b", headers={"content-type": "application/grpc"}))
    assert dict(call.headers)["grpc-status"] == "3"


async def test_a_person_is_sent_to_the_login_page():
    login = Login(url="https://login.example/", key=b"k" * 32, hosts=("documents.example",))
    service = scripted_service(Scripted(answer=lambda _: UNAUTHENTICATED), disclosure=Disclosure(login=login))
    reading = await asked(service, check_request(headers={"accept": "text/html"}))
    query = dict(reading.headers)["location"]
    assert (reading.verdict, reading.status) == ("deny", 302)
    address = verified_return_address(query, key=login.key, hosts=login.hosts, now=time.time())
    assert address == "https://documents.example/documents/42?page=2"


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff", check_request("/a/../b"), check_request(host="a,b")])
async def test_what_cannot_be_read_is_refused_by_a_reply_and_recorded(data):
    scripted, records = Scripted(), Records()
    reading = await asked(scripted_service(scripted, records), data)
    assert (reading.verdict, reading.status) == ("deny", 400)
    assert scripted.requests == []
    assert isinstance(records.kept[0].outcome, Denied)
    assert records.kept[0].id


async def test_a_check_that_is_too_large_is_refused_by_a_reply():
    settings = GrpcSettings(checks=CheckSettings(max_message_bytes=10_000))
    reading = await asked(scripted_service(Scripted()), check_request(headers={"x-a": "a" * 30_000}), settings)
    assert (reading.verdict, reading.status) == ("deny", 400)
    assert b"too_large" in reading.body


class Explosion(Exception):
    pass


def explode(*_, **__):
    raise Explosion("Bearer s3cret")


@pytest.mark.parametrize("on_failure", ["deny", "error"])
async def test_no_exception_becomes_an_rpc_error(on_failure, caplog):
    settings = GrpcSettings(checks=CheckSettings(on_failure=on_failure))
    reading = await asked(scripted_service(Scripted(answer=explode)), check_request(), settings)
    assert reading.verdict == {"deny": "deny", "error": "error"}[on_failure]
    assert reading.status == 500
    assert b'"reason":"internal"' in reading.body
    assert "unexpected Explosion" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_sink_that_raises_does_not_open_the_door():
    class Sink:
        write = explode

    assert (await asked(scripted_service(Scripted(), Sink()), check_request())).verdict == "deny"
    assert (await asked(scripted_service(Scripted(), Sink()), b"\xff")).verdict == "deny"


async def test_a_fault_of_the_codec_is_a_recorded_failure(monkeypatch):
    monkeypatch.setattr(grpc_check, "decode", explode)
    records = Records()
    reading = await asked(scripted_service(Scripted(), records), check_request())
    assert (reading.verdict, reading.status) == ("deny", 503)
    assert [(type(record.outcome), record.outcome.reason) for record in records.kept] == [(Failed, Reason.INTERNAL)]


def real_authorizer() -> Authorizer:
    """Allows everything that comes from a trusted proxy."""
    spec = RouteSpec(name="all", path="/{rest...}", action='Action::"do"', resource_type="D", resource_id="x")
    table, problems = compile_routes((spec,))
    assert problems == ()

    class Stages:
        async def authenticate(self, request):
            return Identity(scheme="bearer", issuer="i", subject="s", principal=EntityUid("U", "s"))

        async def decide(self, query):
            return PERMIT

        async def decide_many(self, queries):
            return tuple(PERMIT for _ in queries)

    stages = Stages()
    return Authorizer(routes=table, authenticators={"test": stages}, decision_point=stages)


async def test_who_is_not_a_trusted_proxy_may_not_ask():
    untrusting = GrpcSettings(trusted=TrustedPeers.parse(["10.0.0.0/8"]))
    reading = await asked(scripted_service(real_authorizer()), check_request(), untrusting)
    assert (reading.verdict, reading.status) == ("deny", 403)
    assert b"untrusted_peer" in reading.body
    assert (await asked(scripted_service(real_authorizer()), check_request())).verdict == "allow"


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("ipv4:127.0.0.1:51234", Peer(address="127.0.0.1", trusted=True)),
        ("ipv6:%5B::1%5D:51234", Peer(address="::1", trusted=True)),
        ("ipv6:[::1]:51234", Peer(address="::1", trusted=True)),
        ("ipv6:%5B::ffff:127.0.0.1%5D:1", Peer(address="127.0.0.1", trusted=True)),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", Peer(address="fe80::1")),
        ("ipv4:10.0.0.1:1", Peer(address="10.0.0.1")),
        ("unix:", Peer(trusted=True)),
        ("unix:/run/authz/grpc.sock", Peer(trusted=True)),
        ("unix-abstract:x", Peer()),
        ("ipv4:", Peer()),
        ("ipv4:unix:", Peer()),
        ("unknown", Peer()),
        ("", Peer()),
    ],
)
def test_a_peer_is_trusted_by_its_own_address_or_not_at_all(text, peer):
    assert read_peer(text, TrustedPeers.parse()) == peer


# --- deadlines, limits, cancellation ----------------------------------------------------------------------


PROXY = Peer(address="127.0.0.1", trusted=True)


@pytest.mark.parametrize(
    ("remaining", "margin", "deadline"), [(None, 0.01, None), (0.5, 0.01, 0.49), (0.05, 0.01, 0.045), (0.0, 0.01, 0.0)]
)
async def test_the_callers_deadline_counts_less_a_margin_for_the_reply(remaining, margin, deadline):
    seen = []

    class Deadlines:
        path_rules = PathRules()
        body_limit = None
        respond = scripted_service(Scripted()).respond

        def new_id(self):
            return "d-1"

        async def check(self, request, *, door, deadline):
            seen.append(deadline)
            return DENY

    checks = Checks(Deadlines(), CheckSettings(reply_margin=margin))  # type: ignore[arg-type]
    await checks.check(check_request(), PROXY, remaining)
    assert seen == [pytest.approx(deadline)]


async def test_a_slow_check_is_answered_before_the_caller_gives_up():
    service = scripted_service(Scripted(hold=asyncio.Event().wait), limits=Limits(deadline=60))
    settings = GrpcSettings(checks=CheckSettings(reply_margin=10))
    async with serving(service, settings) as host, client(host) as channel:
        reading = read_as_envoy(await ask(channel, check_request(), timeout=3))
    assert (reading.verdict, reading.status) == ("deny", 503)
    assert b'"reason":"deadline"' in reading.body


async def test_too_many_checks_under_way_are_answered_as_a_failure():
    gate = asyncio.Event()
    scripted = Scripted(hold=gate.wait)
    service = scripted_service(scripted, limits=Limits(deadline=60, in_flight=1))
    async with serving(service) as host, client(host) as channel:
        first = asyncio.create_task(ask(channel, check_request()))
        await until(lambda: reached(scripted, 1), "the first check is under way")
        second = read_as_envoy(await ask(channel, check_request()))
        gate.set()
        assert read_as_envoy(await first).verdict == "allow"
    assert (second.verdict, second.status) == ("deny", 503)
    assert b'"reason":"overloaded"' in second.body


async def test_a_burst_is_answered_by_replies_and_never_by_rpc_errors():
    gate = asyncio.Event()
    scripted = Scripted(hold=gate.wait)
    service = scripted_service(scripted, limits=Limits(deadline=60, in_flight=8))
    async with serving(service) as host, client(host) as channel:
        calls = [asyncio.create_task(ask(channel, check_request())) for _ in range(400)]
        await until(lambda: finished(calls, 392), "all but those under way are answered")
        gate.set()
        statuses = [read_as_envoy(reply).status for reply in await asyncio.gather(*calls)]
    assert (statuses.count(200), statuses.count(503)) == (8, 392)


async def test_a_caller_that_goes_away_cancels_its_check():
    ended = asyncio.Event()

    async def hold():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    scripted, records = Scripted(hold=hold), Records()
    service = scripted_service(scripted, records, limits=Limits(deadline=60))
    async with serving(service) as host, client(host) as channel:
        going = calling(channel, check_request())
        await until(lambda: reached(scripted, 1), "the check is under way")
        going.cancel()
        async with asyncio.timeout(20):
            await ended.wait()
        assert read_as_envoy(await ask(channel, b"")).status == 400
    assert isinstance(records.kept[0].outcome, Failed)


SEED = check_request(headers={"authorization": "Bearer t", "x-b": "caf!"})


@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda at, removed, inserted: SEED[:at] + inserted + SEED[at + removed :],
            st.integers(0, len(SEED)),
            st.integers(0, 3),
            st.binary(max_size=4),
        ),
    )
)
def test_whatever_arrives_is_answered_and_only_what_was_read_and_allowed_goes_on(data):
    scripted = Scripted()
    checks = Checks(scripted_service(scripted), CheckSettings())
    reading = read_as_envoy(asyncio.run(checks.check(data, PROXY)))
    assert reading.verdict == ("allow" if scripted.requests else "deny")
    assert scripted.requests or reading.status == 400
