"""Credentials that must not count for more than they are, and header fields that must not cost more than they are."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.authn.fetch import KeySource
from authz.authn.forwarded_certificate import ClientCertificates
from authz.authn.jwks import RemoteKeys
from authz.core import headers as headers_module
from authz.core.errors import KeysUnavailable, Reason, Unauthenticated
from authz.core.headers import Headers
from authz.core.mapping import FORWARDED_CERTIFICATE, SOURCE_PRINCIPAL
from authz.core.model import Decision, Denied, Failed, Peer, Verdict
from authz.core.pipeline import Authorizer, Trail
from authz.core.request import canonical_request
from authz.core.route_compiler import RouteSpec, compile_routes
from tests.authn.issuing import now_or_never, request_with

CORP, PARTNER = "https://corp.example", "https://partner.example"


class Down:
    """The keys of one issuer are not at hand, whatever the token."""

    def __init__(self, issuer):
        self.issuer = issuer

    async def authenticate(self, request):
        raise KeysUnavailable("down", issuer=self.issuer)


class Point:
    async def decide(self, query):
        return Decision(verdict=Verdict.DENY)

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


def outcome(issuer, issuers=(CORP,)):
    spec = RouteSpec(
        name="r", path="/", action='Action::"x"', resource_type="D", resource_id="d", issuers=issuers, fail_open=True
    )
    table, problems = compile_routes((spec,))
    assert problems == ()
    request = canonical_request(
        id="d", method="GET", scheme="https", host="h", target="/", headers=Headers(), peer=Peer(trusted=True)
    )
    authorizer = Authorizer(routes=table, authenticators={"bearer": Down(issuer)}, decision_point=Point())
    return asyncio.run(authorizer.check(request, Trail()))


def test_an_outage_of_an_issuer_that_does_not_count_opens_no_route():
    """A forged token need only name a partner whose keys are away to get past a route that is for others."""
    found = outcome(PARTNER)
    assert isinstance(found, Denied)
    assert found.reason is Reason.TOKEN_ISSUER


@pytest.mark.parametrize(("issuer", "issuers"), [(CORP, (CORP,)), (PARTNER, ()), ("", (CORP,))])
def test_an_outage_of_one_that_counts_is_an_outage(issuer, issuers):
    found = outcome(issuer, issuers)
    assert isinstance(found, Failed)
    assert (found.reason, found.let_through) == (Reason.KEYS_UNAVAILABLE, True)


def test_a_flood_of_names_with_underscores_is_read_in_one_pass(monkeypatch):
    """A message of 4 MB has room for 400,000 of them, and is read before its sender is known to be trusted."""
    unions = 0

    class Set(frozenset):
        def __or__(self, other):
            nonlocal unions
            unions += 1
            return frozenset.__or__(self, other)

    monkeypatch.setattr(headers_module, "frozenset", Set, raising=False)
    fields = Headers([(f"A_{number}", "x") for number in range(500)])
    assert (len(fields), len(fields.aliases), unions) == (0, 500, 0)
    assert "a-499" in fields.aliases


async def test_keys_that_are_not_at_hand_say_whose_they_are():
    source = KeySource(issuer="https://login.invalid", jwks_uri="http://127.0.0.1:1/keys")  # and http is refused
    async with ClientSession() as session:
        with pytest.raises(KeysUnavailable) as caught:
            await RemoteKeys(session, source).key("k1", "RS256")
    assert caught.value.issuer == "https://login.invalid"


# --- X-Forwarded-Client-Cert: Envoy writes a certificate's names down without quotes ----------------------------

HASH = "Hash=" + "b" * 64
ADMIN = "spiffe://td/sa/admin"


def subject(kind, header, principal=None):
    """Who it is; None: refused."""
    told = {FORWARDED_CERTIFICATE: header} | ({SOURCE_PRINCIPAL: principal} if principal is not None else {})
    try:
        found = now_or_never(
            ClientCertificates(name="mesh", principal_type="U", kind=kind).authenticate(request_with(Headers(), told))
        )
    except Unauthenticated as error:
        assert error.reason is Reason.CERTIFICATE_INVALID
        return None
    assert found is not None
    return found.subject


@pytest.mark.parametrize("tail", [";URI=", ";DNS=", ";DNS=x", ";DNS=x;DNS="])
def test_what_follows_a_name_is_part_of_it(tail):
    """A CA that hands out `spiffe://td/sa/` and a free name sees no admin in `spiffe://td/sa/admin;DNS=`."""
    assert subject("uri", f"{HASH};URI={ADMIN}") == ADMIN
    assert subject("uri", f"{HASH};URI={ADMIN}{tail}") is None
    assert subject("uri", f"{HASH};URI={ADMIN}{tail}", ADMIN + tail) is None


def test_what_follows_a_dns_name_is_part_of_it():
    assert subject("dns", f"{HASH};DNS=admin.example") == "admin.example"
    assert subject("dns", f"{HASH};DNS=admin.example;DNS=") is None


def test_a_dns_name_that_reads_like_a_uri_is_none():
    """`source.principal` is one text, whatever it is made of; what Envoy tells beside it says which."""
    assert subject("uri", f"{HASH};URI=;DNS={ADMIN}", ADMIN) is None
    assert subject("uri", f"{HASH};URI=", ADMIN) is None
    assert subject("uri", f"{HASH};DNS={ADMIN}", ADMIN) is None
    assert subject("uri", HASH, ADMIN) == ADMIN  # it tells of no names at all


WORDS = (
    "spiffe://td/x",
    ADMIN,
    ";",
    ",",
    "URI=",
    "DNS=",
    HASH,
    "Subject=",
    '"',
    "\\",
    "admin.example",
    "By=",
    " ",
    "%2C",
    "CN=x",
)
WORD = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map("".join)
SHOWN = st.sets(st.sampled_from(("subject", "uri", "dns")), min_size=1)


@settings(max_examples=500, deadline=None)
@given(
    uris=st.lists(WORD.map("spiffe://td/".__add__), max_size=2),
    dns=st.lists(WORD, max_size=2),
    name=WORD,
    shown=SHOWN,
    grpc=st.booleans(),
)
def test_nobody_gets_a_name_that_his_certificate_does_not_have(uris, dns, name, shown, grpc):
    """Whatever is in it, as Envoy writes it down with `SANITIZE_SET`."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    parts = [HASH]
    if "subject" in shown:
        parts.append(f'Subject="CN={escaped}"')
    if "uri" in shown:
        parts += [f"URI={uri}" for uri in uris] or ["URI="]
    if "dns" in shown:
        parts += [f"DNS={name}" for name in dns]
    principal = next(iter((*uris, *dns, f"CN={escaped}"))) if grpc else None
    own = {"uri": uris, "dns": dns, "subject": [f"CN={escaped}"]}
    for kind in shown:
        assert subject(kind, ";".join(parts), principal) in {None, *own[kind]}
    assert subject("hash", ";".join(parts), principal) in {None, "b" * 64}
