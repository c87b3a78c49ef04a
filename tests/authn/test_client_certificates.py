"""The client certificate that Envoy tells of, as an identity."""

import pytest

from authz.authn.forwarded_certificate import ClientCertificates
from authz.authn.revocation import DenyList
from authz.core.claims import MAX_ID
from authz.core.errors import Reason, Unauthenticated
from authz.core.mapping import FORWARDED_CERTIFICATE, SOURCE_PRINCIPAL
from authz.core.model import Entity, EntityUid, Headers
from tests.authn.issuing import now_or_never, request_with

HASH = "ab" * 32
WORKLOAD = "spiffe://example.org/ns/shop/sa/orders"


def identity(kind="uri", *, grpc=None, header=None, **settings):
    extensions = {SOURCE_PRINCIPAL: grpc, FORWARDED_CERTIFICATE: header}
    given = {key: value for key, value in extensions.items() if value is not None}
    authenticator = ClientCertificates(name="mesh", principal_type="Shop::Service", kind=kind, **settings)
    return now_or_never(authenticator.authenticate(request_with(Headers(), given)))


def refusal(kind="uri", **given):
    with pytest.raises(Unauthenticated) as caught:
        identity(kind, **given)
    assert (caught.value.status, caught.value.reason) == (401, Reason.CERTIFICATE_INVALID)
    assert "spiffe" not in caught.value.detail
    return caught.value.detail


def test_the_identity():
    found = identity(grpc=WORKLOAD)
    uid = EntityUid("Shop::Service", WORKLOAD)
    assert (found.scheme, found.issuer, found.subject, found.principal) == ("certificate", "mesh", WORKLOAD, uid)
    assert found.entities.entities == (Entity(uid=uid),)
    assert (dict(found.claims), found.token, found.expires_at) == ({}, None, None)


def test_without_a_certificate_it_is_not_asked():
    assert identity() is None


SUBJECT = r"O=Example\, Inc.,CN=orders"
FULL = f'By=spiffe://example.org/envoy;Hash={HASH};Subject="{SUBJECT}"'


@pytest.mark.parametrize(
    ("kind", "grpc", "header", "name"),
    [
        ("uri", WORKLOAD, None, WORKLOAD),
        ("uri", None, f"{FULL};URI={WORKLOAD}", WORKLOAD),
        ("uri", WORKLOAD, f"{FULL};URI={WORKLOAD};DNS=orders.example", WORKLOAD),
        ("uri", WORKLOAD, FULL, WORKLOAD),  # Envoy was not told to put the URI down
        ("dns", "orders.example", None, "orders.example"),
        ("dns", None, f"{FULL};URI=;DNS=orders.example", "orders.example"),
        ("dns", WORKLOAD, f"{FULL};URI={WORKLOAD};DNS=orders.example", "orders.example"),
        ("subject", SUBJECT, None, SUBJECT),
        ("subject", None, f"{FULL};URI={WORKLOAD}", SUBJECT),
        ("subject", WORKLOAD, f"{FULL};URI={WORKLOAD}", SUBJECT),
        ("subject", SUBJECT, f"{FULL};URI=", SUBJECT),
        ("hash", None, f"{FULL};URI={WORKLOAD}", HASH),
        ("hash", WORKLOAD, f"Hash={HASH.upper()}", HASH),
    ],
)
def test_what_names_the_principal(kind, grpc, header, name):
    found = identity(kind, grpc=grpc, header=header)
    assert (found.subject, found.principal.id) == (name, name)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("uri", {"grpc": "orders.example"}),
        ("uri", {"grpc": SUBJECT}),
        ("uri", {"header": FULL}),
        ("dns", {"grpc": WORKLOAD}),
        ("subject", {"grpc": WORKLOAD}),
        ("subject", {"grpc": "https://x.example/?CN=orders"}),
        ("hash", {"grpc": WORKLOAD}),
        ("hash", {"header": "Hash=abc"}),
        ("hash", {"header": "Hash=" + "g" * 64}),
        ("uri", {"header": "not a header"}),
        ("uri", {"header": ""}),
        ("uri", {"header": "URI=no-scheme"}),
        ("uri", {"grpc": f"{WORKLOAD} x"}),
        ("uri", {"grpc": "spiffe://x/" + "a" * MAX_ID}),
        ("dns", {"header": "DNS=a b"}),
    ],
)
def test_one_without_such_a_name_is_refused(kind, given):
    refusal(kind, **given)


class TestSeveralNames:
    def test_two_uris_are_no_identity(self):
        """SPIFFE X.509-SVID, 2: exactly one URI."""
        assert "more than one" in refusal(header=f"{FULL};URI={WORKLOAD};URI=spiffe://example.org/other")

    def test_two_dns_names_are_no_identity_even_if_one_is_allowed(self):
        refusal("dns", header=f"{FULL};DNS=orders.example;DNS=other.example", allowed=["orders.example"])


class TestBothPlaces:
    @pytest.mark.parametrize(
        ("grpc", "header"),
        [
            (WORKLOAD, f"{FULL};URI=spiffe://example.org/other"),
            ("orders.example", f"{FULL};URI={WORKLOAD};DNS=orders.example"),  # a URI goes before a DNS name
            ("CN=other", f"{FULL};URI="),
            (SUBJECT, f"{FULL};DNS=orders.example"),
            ("a;URI=spiffe://x", f"{FULL};URI={WORKLOAD}"),
        ],
    )
    def test_they_must_agree(self, grpc, header):
        for kind in ("uri", "dns", "subject", "hash"):
            refusal(kind, grpc=grpc, header=header)

    def test_the_last_of_several_elements_counts_where_grpc_confirms_it(self):
        forged = "Hash=00;URI=spiffe://example.org/admin"
        assert identity(grpc=WORKLOAD, header=f"{forged},{FULL};URI={WORKLOAD}").subject == WORKLOAD
        refusal(grpc=WORKLOAD, header=f"{FULL};URI={WORKLOAD},{forged}")
        refusal(grpc=WORKLOAD, header=f"{forged},{FULL}")

    def test_several_elements_that_nothing_confirms_are_refused(self):
        assert "SANITIZE_SET" in refusal(header=f"Hash=00;URI=spiffe://example.org/a,{FULL};URI={WORKLOAD}")


class TestAllowed:
    @pytest.mark.parametrize("pattern", [WORKLOAD, "spiffe://example.org/*", "spiffe://example.org/ns/shop/*", "*"])
    def test_who_is_listed_passes(self, pattern):
        assert identity(grpc=WORKLOAD, allowed=["spiffe://example.com/*", pattern]) is not None

    @pytest.mark.parametrize(
        "pattern", ["spiffe://example.org", "spiffe://example.org/ns/shop/sa/order", "spiffe://example.org.evil/*"]
    )
    def test_who_is_not_listed_is_refused(self, pattern):
        refusal(grpc=WORKLOAD, allowed=[pattern])

    def test_a_name_is_compared_character_for_character(self):
        refusal(grpc=WORKLOAD.upper(), allowed=[WORKLOAD])


@pytest.mark.parametrize("text", [f'subjects: ["{WORKLOAD}"]', f'issuers: {{mesh: {{subjects: ["{WORKLOAD}"]}}}}'])
def test_the_deny_list_names_certificates(text):
    refusal(grpc=WORKLOAD, deny_list=DenyList.parse(text))
    assert identity(grpc=f"{WORKLOAD}2", deny_list=DenyList.parse(text)) is not None
