"""Which client certificates a listener's `clients` covers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.model import Peer
from authz.servers.client_names import client_names, matching_name
from authz.servers.trust import certificate_peer
from tests.servers.tls_support import DAY, Authority, Pair

URI = "spiffe://example.com/ns/edge/sa/gateway"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


NAMES: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], str | None]] = [
    # names of the certificate, its common names, `clients`, the name that matches
    (("gw.example.com",), (), ("gw.example.com",), "gw.example.com"),
    (("GW.Example.com",), (), ("gw.EXAMPLE.com",), "gw.example.com"),
    (("a.example.com", "gw.example.com"), (), ("gw.example.com",), "gw.example.com"),
    (("gw.example.com",), (), ("other", "gw.example.com"), "gw.example.com"),
    (("gw.example.com",), (), (), None),
    (("gw.example.com",), (), ("",), None),
    (("gw.example.com",), (), ("example.com",), None),
    (("gw.example.com",), (), ("gw.example.co",), None),
    (("gw.example.com.evil.org",), (), ("gw.example.com",), None),
    # one more label
    (("gw.example.com",), (), ("*.example.com",), "gw.example.com"),
    (("GW.example.com",), (), ("*.EXAMPLE.com",), "gw.example.com"),
    (("a.gw.example.com",), (), ("*.example.com",), None),
    (("example.com",), (), ("*.example.com",), None),
    ((".example.com",), (), ("*.example.com",), None),
    (("gwexample.com",), (), ("*.example.com",), None),
    (("gw.example.com",), (), ("*",), None),
    (("gw.example.com",), (), ("*.",), None),
    (("gw.example.com",), (), ("g*.example.com",), None),
    # a wildcard in the certificate
    (("*.example.com",), (), ("gw.example.com",), None),
    (("*.example.com",), (), ("*.example.com",), None),
    # URIs
    ((URI,), (), (URI,), URI),
    ((URI,), (), (URI.upper(),), None),
    ((URI + "/x",), (), (URI,), None),
    ((URI,), (), ("spiffe://example.com/*",), None),
    (("spiffe://a.example.com",), (), ("*.example.com",), None),
    # the common name, only without any other
    ((), ("gw.example.com",), ("gw.example.com",), "gw.example.com"),
    ((), ("edge gateway",), ("edge gateway",), "edge gateway"),
    ((), ("edge gateway",), ("Edge Gateway",), None),
    ((), ("gw.example.com",), ("*.example.com",), None),
    ((), (URI,), (URI,), None),
    ((), ("gw.example.com", "other"), ("gw.example.com",), None),
    ((), (), ("", "gw.example.com"), None),
    (("other",), ("gw.example.com",), ("gw.example.com",), None),
    (("10.0.0.1",), ("gw.example.com",), ("gw.example.com",), None),
    (("ops@example.com",), ("gw.example.com",), ("gw.example.com", "ops@example.com"), None),
    # other kinds of names never count
    (("10.0.0.1",), (), ("10.0.0.1",), None),
]  # fmt: skip


@pytest.mark.parametrize(("names", "common", "clients", "expected"), NAMES)
def test_a_name_is_listed_or_not(ca, names, common, clients, expected):
    pair = ca.issue(*names, common_names=common)
    for certificate in (pair.der, pair.pem):
        assert matching_name(certificate, clients) == expected
        for address in ("127.0.0.1", "10.9.8.7", "::1"):
            peer = Peer(address=address, trusted=expected is not None, certificate=expected or "")
            assert certificate_peer(address, certificate, clients) == peer


@pytest.mark.parametrize(("moment", "counts"), [(-2 * DAY, False), (timedelta(0), True), (2 * DAY, False)])
def test_a_certificate_counts_in_its_time_only(ca, moment, counts):
    pair = ca.issue("gw.example.com", ends=DAY)
    now = datetime.now(UTC) + moment
    assert certificate_peer("10.0.0.1", pair.der, ("gw.example.com",), now=now).trusted is counts
    assert certificate_peer("10.0.0.1", pair.der, ("gw.example.com",)).trusted  # asked of the handshake alone


@pytest.mark.parametrize(
    "certificate", [b"", b"\x30\x00", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_cannot_be_read_is_nobody(certificate):
    assert certificate_peer("127.0.0.1", certificate, ("a", "*.b", "")) == Peer(address="127.0.0.1")


@pytest.mark.parametrize(
    ("address", "canonical"), [("::ffff:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("", ""), ("x", "")]
)
def test_the_address_is_told_and_decides_nothing(ca, address, canonical):
    peer = certificate_peer(address, ca.issue("a").der, ("a",))
    assert peer == Peer(address=canonical, trusted=True, certificate="a")


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # odd serial numbers
@given(st.binary(max_size=300), st.integers(0, 10_000))
def test_bytes_of_any_kind_raise_nothing_and_name_nobody_new(noise, place):
    pair = damaged_source()
    data = bytearray(pair.der)
    place %= len(data)
    data[place : place + len(noise)] = noise
    for certificate in (bytes(data), noise):
        assert matching_name(certificate, ("*.example.com",)) in {None, *client_names(certificate).dns}


@cache
def damaged_source() -> Pair:
    return Authority().issue("gw.example.com", URI)


def test_what_is_remembered_is_bounded(ca):
    client_names.cache_clear()
    for number in range(300):
        client_names(b"%d" % number)
    info = client_names.cache_info()
    assert info.maxsize is not None
    assert info.currsize <= info.maxsize < 1000
