"""Decisions by what a body says, through real proxies: with those that pass bodies on, and with those that do not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest
import pytest_asyncio

from tests.proxies.client import Headers, Reply
from tests.proxies.harness import until
from tests.proxies.payments import Payments, envoy_with, payments, payments_site, traefik_with
from tests.proxies.sites import Site

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

TARGET = "/accounts/a1/payments"
JSON: Headers = (("Content-Type", "application/json"),)
FORM: Headers = (("Content-Type", "application/x-www-form-urlencoded"),)
LIMIT = 150
"""Bytes that the proxies pass on; authz would take 200."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A proxy as it is told to treat bodies."""

    example: str
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    too_long: tuple[int, str] = (400, "bad_body")
    """Status and reason of a body beyond `LIMIT`; the proxy's own has no reason."""
    text: bool = False
    """Envoy passes text, in which a `!` may stand for another byte."""


PASSING = {
    "grpc": Kind(
        example="envoy-grpc-tcp",
        changes=envoy_with(f"{{max_request_bytes: {LIMIT}, pack_as_bytes: true}}"),
        too_long=(413, ""),
    ),
    "grpc-partial": Kind(
        example="envoy-grpc-tcp",
        changes=envoy_with(f"{{max_request_bytes: {LIMIT}, pack_as_bytes: true, allow_partial_message: true}}"),
    ),
    "grpc-text": Kind(
        example="envoy-grpc-unix",
        changes={
            "encode_raw_headers: true": "encode_raw_headers: false",
            **envoy_with(f"{{max_request_bytes: {LIMIT}, allow_partial_message: true}}"),
        },
        text=True,
    ),
    "http": Kind(example="envoy-http-tcp", changes=envoy_with(f"{{max_request_bytes: {LIMIT}}}"), too_long=(413, "")),
    "http-partial": Kind(
        example="envoy-http-unix", changes=envoy_with(f"{{max_request_bytes: {LIMIT}, allow_partial_message: true}}")
    ),
    "traefik": Kind(
        example="traefik", changes=traefik_with(f"forwardBody: true\n        maxBodySize: {LIMIT}"), too_long=(401, "")
    ),
}
WITHHOLDING = {
    "grpc-none": Kind(example="envoy-grpc-tcp"),
    "http-none": Kind(example="envoy-http-tcp"),
    "traefik-none": Kind(example="traefik"),
    "nginx": Kind(example="nginx"),
    "caddy": Kind(example="caddy"),
}


@dataclasses.dataclass(slots=True, kw_only=True)
class Place:
    kind: Kind
    site: Site

    async def pay(
        self, body: bytes | None, headers: Headers = JSON, *, target: str = TARGET, method: str = "POST"
    ) -> Reply:
        return await self.site.send(target, method=method, headers=headers, body=body)

    def refused(self, reply: Reply, status: int, reason: str) -> None:
        assert (reply.status, self.site.service.seen) == (status, [])
        if reason and self.site.family != "nginx":
            assert reply.json()["reason"] == reason

    async def chunked(self, *chunks: bytes) -> int:
        """The status of a payment whose length nobody announces."""

        async def data() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        url = f"http://127.0.0.1:{self.site.proxy.port}{TARGET}"
        async with aiohttp.ClientSession() as session, session.post(url, data=data(), headers=dict(JSON)) as reply:
            await reply.read()
            return reply.status


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authz():
    async with payments() as process:
        yield process


async def _place(kind: Kind, authz: Payments) -> AsyncIterator[Place]:
    async with payments_site(authz, kind.example, kind.changes) as here:
        yield Place(kind=kind, site=here)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PASSING)
async def passing(request, authz: Payments):
    async for place in _place(PASSING[request.param], authz):
        yield place


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WITHHOLDING)
async def withholding(request, authz: Payments):
    async for place in _place(WITHHOLDING[request.param], authz):
        yield place


@pytest.fixture
def here(passing: Place) -> Place:
    passing.site.service.seen.clear()
    return passing


@pytest.fixture
def there(withholding: Place) -> Place:
    withholding.site.service.seen.clear()
    return withholding


# --- where the proxy passes bodies on ----------------------------------------------------------------------

MULTIPART = b'--x\r\nContent-Disposition: form-data; name="amount"\r\n\r\n99.5\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"amount": 100}', JSON),
        (b'{"amount": 99.99, "to": ["bob"], "note": "gr\xc3\xbc\xc3\x9fe"}', JSON),
        (b"amount=100.0&to=bob&to=carol", FORM),
        (MULTIPART, (("Content-Type", "multipart/form-data; boundary=x"),)),
    ],
)
async def test_a_payment_that_is_small_enough_reaches_the_service_whole(here: Place, body: bytes, headers: Headers):
    assert (await here.pay(body, headers)).status == 200
    (seen,) = here.site.service.seen
    assert (seen.body, seen.values("x-auth-user")) == (body, ["anonymous"])


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"amount": 100.01}', JSON),
        (b'{"amount": 1, "to": ["bob", "mallory"]}', JSON),
        (b"amount=100.01", FORM),
        (b"amount=1.0&to=bob&to=mallory", FORM),
    ],
)
async def test_any_other_is_denied(here: Place, body: bytes, headers: Headers):
    here.refused(await here.pay(body, headers), 403, "policy_no_permit")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"amount": 1, "amount": 1000}', JSON),
        (b'{"amount": 1, "Amount": 1000}', JSON),
        (b'{"amount": 1', JSON),
        (b'{"amount": 1, "x": "\xff"}', JSON),
        (b'{"amount": 1}', (("Content-Type", "text/plain"),)),
        (b'{"amount": 1}', ()),
        (b'{"amount": 1}', (*JSON, ("Content-Encoding", "gzip"))),
        (b"amount=1;amount=1000", FORM),
        (MULTIPART.replace(b'"amount"', b'"amount"; filename="f"'), (("Content-Type", "multipart/form-data; boundary=x"),)),
    ],
)  # fmt: skip
async def test_a_body_with_two_readings_is_refused(here: Place, body: bytes, headers: Headers):
    here.refused(await here.pay(body, headers), 400, "bad_body")


@pytest.mark.parametrize("body", [b'{"amount": "x"}', b"{}", b'{"amount": null}', b'{"amount": [1]}'])
async def test_a_value_that_does_not_fit_is_refused(here: Place, body: bytes):
    here.refused(await here.pay(body), 400, "bad_parameter")


async def test_a_body_beyond_the_proxys_limit_never_counts(here: Place):
    # Valid, and small, as far as the limit goes; what follows says another thing.
    body = b'{"amount": 1}' + b" " * (LIMIT - 13) + b'{"amount": 1000}'
    for headers in (JSON, (*JSON, ("x-envoy-auth-partial-body", "false"))):
        here.refused(await here.pay(body, headers), *here.kind.too_long)


async def test_a_body_whose_length_nobody_announces_is_read(here: Place):
    assert await here.chunked(b'{"amo', b'unt": 100}') == 200
    assert here.site.service.seen[0].body == b'{"amount": 100}'
    here.site.service.seen.clear()
    assert await here.chunked(b'{"amo', b'unt": 101}') == 403
    assert here.site.service.seen == []


async def test_a_payment_without_a_body_is_refused(here: Place):
    here.refused(await here.pay(None, ()), 400, "bad_body")
    # Only Envoy over gRPC shows authz that the client announced none; then the value is missing.
    reason = "bad_parameter" if here.site.family == "envoy-grpc" else "bad_body"
    here.refused(await here.pay(b"", ()), 400, reason)


async def test_a_clients_word_about_its_body_is_nothing(here: Place):
    marks = (("x-envoy-auth-partial-body", "false"), ("X-Envoy-Auth-Partial-Body", "false"))
    for mark in (marks[:1], marks):
        here.refused(await here.pay(None, mark), 400, "bad_body")


async def test_text_from_envoy_may_have_been_altered(here: Place):
    reply = await here.pay(b'{"amount": 1, "note": "thanks!"}')
    assert reply.status == (400 if here.kind.text else 200)


async def test_other_routes_do_not_look_at_bodies(here: Place):
    reply = await here.pay(b'{"amount": 1, "amount": 2', target="/accounts/a1", method="GET")
    assert reply.status == 200
    assert here.site.service.seen[0].body == b'{"amount": 1, "amount": 2'


# --- where it does not -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        JSON,
        (*JSON, ("x-envoy-auth-partial-body", "false")),
        (*JSON, ("Connection", "content-length")),
        (*JSON, ("Connection", "content-type, x-envoy-auth-partial-body")),
    ],
)
async def test_a_body_that_is_not_passed_on_is_never_taken_for_none(there: Place, headers: Headers):
    status = 403 if there.site.family == "nginx" else 400
    there.refused(await there.pay(b'{"amount": 1}', headers), status, "bad_body")


async def test_nor_is_one_whose_length_nobody_announces(there: Place):
    status = 403 if there.site.family == "nginx" else 400
    assert await there.chunked(b'{"amount": 1}') == status
    assert there.site.service.seen == []


async def test_the_record_says_what_to_set(there: Place, authz: Payments):
    target = f"/accounts/{there.kind.example}/payments"
    await there.pay(b'{"amount": 1}', target=target)

    def records() -> list[dict[str, str]]:
        return [json.loads(line) for line in authz.log.split("\n")[:-1] if target in line]

    async def written() -> bool:
        return bool(records())

    await until(written, "the record is written")
    assert {record["reason"] for record in records()} == {"bad_body"}
    assert all("with_request_body" in record["detail"] for record in records())
