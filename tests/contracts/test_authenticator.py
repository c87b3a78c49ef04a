"""What every `Authenticator` does, the fake included."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from authz.authn.fetch import KeySource
from authz.authn.jwks import RemoteKeys
from authz.authn.jwt import BearerTokens
from authz.core.errors import KeysUnavailable, Reason, Unauthenticated
from authz.core.model import EntityUid, Identity, Request
from authz.core.ports import Authenticator
from authz.testing import FakeAuthenticator
from tests.authn.issuing import ISSUER, Clock, asking, claims, issuer, signed


class NoSession:
    """A session for keys that cannot be fetched."""

    def get(self, *_: object, **__: object) -> object:
        raise OSError("nobody there")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An authenticator, with credentials it accepts and refuses."""

    authenticator: Authenticator
    good: str
    also_good: str
    bad: str
    without_keys: Authenticator


def bearer_tokens() -> Case:
    session: object = NoSession()
    unreachable = RemoteKeys(session, KeySource(issuer=ISSUER))  # type: ignore[arg-type] # only `get` is asked
    return Case(
        authenticator=BearerTokens([issuer()], now=Clock()),
        good=f"Bearer {signed()}",
        also_good=f"Bearer {signed(claims(sub='u-2'))}",
        bad=f"Bearer {signed(name='second')}",
        without_keys=BearerTokens([issuer(keys=unreachable)], now=Clock()),
    )


def fake() -> Case:
    people = {
        name: Identity(scheme="bearer", issuer="fake", subject=name, principal=EntityUid("App::User", name))
        for name in ("u-1", "u-2")
    }
    return Case(
        authenticator=FakeAuthenticator(people),
        good="Bearer u-1",
        also_good="Bearer u-2",
        bad="Bearer nobody",
        without_keys=FakeAuthenticator(people, failure=KeysUnavailable("as the test wants it")),
    )


CASES: dict[str, Callable[[], Case]] = {"BearerTokens": bearer_tokens, "FakeAuthenticator": fake}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.mark.parametrize("values", [(), ("",), ("Basic dXNlcjpwYXNz",), ("Negotiate x",)])
async def test_without_a_credential_of_its_kind_it_has_no_answer(case, values):
    assert await case.authenticator.authenticate(asking(*values)) is None


async def test_a_good_credential_is_an_identity(case):
    identity = await case.authenticator.authenticate(asking(case.good))
    assert isinstance(identity, Identity)
    assert identity.scheme
    assert identity.issuer
    assert (identity.subject, identity.principal) == ("u-1", EntityUid("App::User", "u-1"))


async def test_the_scheme_is_read_in_any_case(case):
    for scheme in ("bearer", "BEARER"):
        identity = await case.authenticator.authenticate(asking(case.good.replace("Bearer", scheme)))
        assert identity is await case.authenticator.authenticate(asking(case.good))


async def test_one_credential_is_one_object_for_its_lifetime(case):
    identity = await case.authenticator.authenticate(asking(case.good))
    other = await case.authenticator.authenticate(asking(case.also_good))
    assert other.subject == "u-2"
    assert await case.authenticator.authenticate(asking(case.good)) is identity
    assert (await case.authenticator.authenticate(asking(case.good))).entities is identity.entities


async def test_a_bad_credential_is_unauthenticated_each_time(case):
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await case.authenticator.authenticate(asking(case.bad))
        assert caught.value.status == 401
        assert caught.value.reason not in {Reason.NO_CREDENTIALS, Reason.ALLOWED}


async def test_two_credentials_are_ambiguous(case):
    for values in [(case.good, case.good), (case.good, case.bad), ("Basic x", case.good), (case.bad, "Basic x")]:
        with pytest.raises(Unauthenticated) as caught:
            await case.authenticator.authenticate(asking(*values))
        assert caught.value.reason is Reason.CREDENTIALS_AMBIGUOUS


async def test_no_error_repeats_a_credential(case):
    for values in [(case.bad,), (case.good, case.bad)]:
        with pytest.raises(Unauthenticated) as caught:
            await case.authenticator.authenticate(asking(*values))
        told = f"{caught.value} {caught.value.detail} {caught.value!r}"
        assert all(value.partition(" ")[2] not in told for value in values)


async def test_what_cannot_be_checked_now_is_a_failure_and_no_denial(case):
    with pytest.raises(KeysUnavailable) as caught:
        await case.without_keys.authenticate(asking(case.good))
    assert (caught.value.status, caught.value.reason) == (503, Reason.KEYS_UNAVAILABLE)
    assert await case.without_keys.authenticate(asking()) is None


async def test_callers_at_the_same_time_do_not_mix(case):
    async def subject(request: Request) -> str:
        try:
            identity = await case.authenticator.authenticate(request)
        except Unauthenticated:
            return "refused"
        return identity.subject if identity else "none"

    requests = [asking(case.good), asking(case.also_good), asking(case.bad), asking()] * 10
    assert await asyncio.gather(*map(subject, requests)) == ["u-1", "u-2", "refused", "none"] * 10


async def test_the_request_is_left_as_it_is(case):
    request = asking(case.good)
    before = list(request.headers.items())
    await case.authenticator.authenticate(request)
    assert list(request.headers.items()) == before
