"""What every `Authenticator` does, the fake included."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

import pytest

from authz.authn.api_keys import ApiKey, ApiKeys
from authz.authn.carriers import BEARER, Carrier, cookie, header_with_scheme, plain_header
from authz.authn.fetch import KeySource
from authz.authn.forwarded_certificate import ClientCertificates
from authz.authn.jwks import RemoteKeys
from authz.authn.jwt import TokenVerifier
from authz.authn.tokens import TokenAuthenticator
from authz.core.errors import KeysUnavailable, Reason, Unauthenticated
from authz.core.mapping import FORWARDED_CERTIFICATE, SOURCE_PRINCIPAL
from authz.core.model import EntityUid, Headers, Identity, Request
from authz.core.ports import Authenticator
from authz.testing import FakeAuthenticator
from tests.authn.issuing import ISSUER, Clock, asking, claims, issuer, request_with, signed


class NoSession:
    """A session for keys that cannot be fetched."""

    def get(self, *_: object, **__: object) -> object:
        raise OSError("nobody there")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An authenticator, with requests whose credentials it accepts and refuses."""

    authenticator: Authenticator
    good: Request
    also_good: Request
    bad: Request
    ambiguous: tuple[Request, ...] = ()
    """With two credentials of its kind."""
    secrets: tuple[str, ...] = ()
    """What no error may repeat."""
    without_keys: Authenticator | None = None
    """The same where keys must be fetched, and cannot be."""


Place = Callable[[str], tuple[tuple[str, str], ...]]


def headers(*fields: tuple[str, str]) -> Request:
    return request_with(Headers(fields))


def token_case(carrier: Carrier, place: Place, ambiguous: Callable[[str, str], Iterable[Request]]) -> Case:
    session: object = NoSession()
    unreachable = RemoteKeys(session, KeySource(issuer=ISSUER))  # type: ignore[arg-type] # only `get` is asked
    good, also_good, bad = signed(), signed(claims(sub="u-2")), signed(name="second")
    return Case(
        authenticator=TokenAuthenticator(TokenVerifier([issuer()], now=Clock()), carrier),
        good=headers(*place(good)),
        also_good=headers(*place(also_good)),
        bad=headers(*place(bad)),
        ambiguous=tuple(ambiguous(good, bad)),
        secrets=(good, also_good, bad),
        without_keys=TokenAuthenticator(TokenVerifier([issuer(keys=unreachable)], now=Clock()), carrier),
    )


def two_authorizations(good: str, bad: str) -> Iterable[Request]:
    pairs = [(f"Bearer {good}", f"Bearer {good}"), (f"Bearer {good}", f"Bearer {bad}"), ("Basic x", f"Bearer {good}")]
    return [asking(*pair) for pair in [*pairs, (f"Bearer {bad}", "Basic x")]]


def bearer() -> Case:
    return token_case(BEARER, lambda token: (("Authorization", f"Bearer {token}"),), two_authorizations)


def any_case_of_bearer() -> Case:
    return token_case(BEARER, lambda token: (("authorization", f"bEARER   {token} "),), two_authorizations)


def named_header() -> Case:
    return token_case(
        plain_header("x-access-token"),
        lambda token: (("X-Access-Token", token),),
        lambda good, bad: [
            headers(("x-access-token", good), ("x-access-token", good)),
            headers(("x-access-token", f"{good}, {bad}")),
        ],
    )


def named_header_with_scheme() -> Case:
    return token_case(
        header_with_scheme("x-access-token", "Token"),
        lambda token: (("X-Access-Token", f"token {token}"),),
        lambda good, bad: [
            headers(("x-access-token", f"Token {good}"), ("x-access-token", f"Token {good}")),
            headers(("x-access-token", f"Other {bad}, Token {good}")),
        ],
    )


def session_cookie() -> Case:
    return token_case(
        cookie("session"),
        lambda token: (("Cookie", f"theme=dark; session={token}; a=b"),),
        lambda good, bad: [
            headers(("cookie", f"session={good}; session={bad}")),
            headers(("cookie", f"session={good}"), ("cookie", f"session={bad}")),
            headers(("cookie", f"session={good},session={bad}")),
        ],
    )


def api_keys() -> Case:
    def entry(id: str) -> ApiKey:
        digest = sha256((id * 24)[:48].encode()).digest()
        return ApiKey(id=id, digest=digest, principal=EntityUid("App::User", id))

    def ask(id: str, secret: str) -> Request:
        return headers(("X-Api-Key", f"authz_{id}_{secret}"))

    one, two = ("u-1" * 24)[:48], ("u-2" * 24)[:48]
    return Case(
        authenticator=ApiKeys(
            {id: entry(id) for id in ("u-1", "u-2")}, plain_header("x-api-key"), name="keys", now=Clock()
        ),
        good=ask("u-1", one),
        also_good=ask("u-2", two),
        bad=ask("u-1", two),
        ambiguous=(
            headers(("x-api-key", f"authz_u-1_{one}"), ("x-api-key", f"authz_u-1_{one}")),
            headers(("x-api-key", f"authz_u-1_{one},authz_u-2_{two}")),
        ),
        secrets=(one, two),
    )


def told(**extensions: str) -> Request:
    names = {"principal": SOURCE_PRINCIPAL, "header": FORWARDED_CERTIFICATE}
    return request_with(Headers(), {names[key]: value for key, value in extensions.items()})


def certificate_by_grpc() -> Case:
    return Case(
        authenticator=ClientCertificates(name="mesh", principal_type="App::User", kind="dns", allowed=["u-*"]),
        good=told(principal="u-1"),
        also_good=told(principal="u-2"),
        bad=told(principal="other"),
        secrets=("other",),
    )


def certificate_by_header() -> Case:
    return Case(
        authenticator=ClientCertificates(name="mesh", principal_type="App::User", kind="dns", allowed=["u-*"]),
        good=told(header=f"Hash={'0' * 64};DNS=u-1"),
        also_good=told(header=f"Hash={'1' * 64};DNS=u-2"),
        bad=told(header=f"Hash={'1' * 64};DNS=u-1;DNS=u-2"),
        secrets=("u-1",),
    )


def fake() -> Case:
    people = {
        name: Identity(scheme="bearer", issuer="fake", subject=name, principal=EntityUid("App::User", name))
        for name in ("u-1", "u-2")
    }
    return Case(
        authenticator=FakeAuthenticator(people),
        good=asking("Bearer u-1"),
        also_good=asking("Bearer u-2"),
        bad=asking("Bearer nobody"),
        ambiguous=tuple(two_authorizations("u-1", "nobody")),
        secrets=("nobody",),
        without_keys=FakeAuthenticator(people, failure=KeysUnavailable("as the test wants it")),
    )


CASES: dict[str, Callable[[], Case]] = {
    made.__name__: made
    for made in (
        bearer,
        any_case_of_bearer,
        named_header,
        named_header_with_scheme,
        session_cookie,
        api_keys,
        certificate_by_grpc,
        certificate_by_header,
        fake,
    )
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.mark.parametrize("values", [(), ("",), ("Basic dXNlcjpwYXNz",), ("Negotiate x",)])
async def test_without_a_credential_of_its_kind_it_has_no_answer(case, values):
    assert await case.authenticator.authenticate(asking(*values)) is None


@pytest.mark.parametrize("name", ["x-access-token", "x-api-key", "cookie", "authorization"])
async def test_an_empty_header_is_no_credential(case, name):
    assert await case.authenticator.authenticate(headers((name, ""))) is None


async def test_a_good_credential_is_an_identity(case):
    identity = await case.authenticator.authenticate(case.good)
    assert isinstance(identity, Identity)
    assert identity.scheme in {"bearer", "api_key", "certificate"}
    assert identity.issuer
    assert (identity.subject, identity.principal) == ("u-1", EntityUid("App::User", "u-1"))


async def test_one_credential_is_one_object_for_its_lifetime(case):
    identity = await case.authenticator.authenticate(case.good)
    other = await case.authenticator.authenticate(case.also_good)
    assert other.subject == "u-2"
    assert await case.authenticator.authenticate(case.good) is identity
    assert (await case.authenticator.authenticate(case.good)).entities is identity.entities


async def test_a_bad_credential_is_unauthenticated_each_time(case):
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await case.authenticator.authenticate(case.bad)
        assert caught.value.status == 401
        assert caught.value.reason not in {Reason.NO_CREDENTIALS, Reason.ALLOWED}


async def test_two_credentials_are_ambiguous(case):
    for request in case.ambiguous:
        with pytest.raises(Unauthenticated) as caught:
            await case.authenticator.authenticate(request)
        assert caught.value.reason is Reason.CREDENTIALS_AMBIGUOUS


async def test_no_error_repeats_a_credential(case):
    for request in (case.bad, *case.ambiguous):
        with pytest.raises(Unauthenticated) as caught:
            await case.authenticator.authenticate(request)
        text = f"{caught.value} {caught.value.detail} {caught.value!r}"
        assert all(secret not in text for secret in case.secrets)


@pytest.mark.parametrize("made", [bearer, named_header, session_cookie, fake], ids=lambda made: made.__name__)
async def test_what_cannot_be_checked_now_is_a_failure_and_no_denial(made):
    case = made()
    with pytest.raises(KeysUnavailable) as caught:
        await case.without_keys.authenticate(case.good)
    assert (caught.value.status, caught.value.reason) == (503, Reason.KEYS_UNAVAILABLE)
    assert await case.without_keys.authenticate(asking()) is None


async def test_callers_at_the_same_time_do_not_mix(case):
    async def subject(request: Request) -> str:
        try:
            identity = await case.authenticator.authenticate(request)
        except Unauthenticated:
            return "refused"
        return identity.subject if identity else "none"

    requests = [case.good, case.also_good, case.bad, asking()] * 10
    assert await asyncio.gather(*map(subject, requests)) == ["u-1", "u-2", "refused", "none"] * 10


async def test_the_request_is_left_as_it_is(case):
    before = (list(case.good.headers.items()), dict(case.good.extensions))
    await case.authenticator.authenticate(case.good)
    assert (list(case.good.headers.items()), dict(case.good.extensions)) == before
