"""Which peers are trusted, and whose address a header names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.model import Peer
from authz.servers.trust import LOOPBACK, TrustedPeers, canonical_address, client_address, forwarded_address


@pytest.mark.parametrize(
    ("address", "canonical", "trusted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.200.3.4", "127.200.3.4", True),
        ("::1", "::1", True),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("128.0.0.1", "128.0.0.1", False),
        ("10.0.0.1", "10.0.0.1", False),
        ("::2", "::2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", False),
        ("fe80::1%eth0", "fe80::1", False),
        ("", "", False),
        ("localhost", "", False),
        ("127.0.0.1, 10.0.0.1", "", False),
        ("127.1", "", False),
        ("0127.0.0.1", "", False),
    ],
)
def test_by_default_loopback_is_trusted_and_nothing_else(address, canonical, trusted):
    assert TrustedPeers.parse().peer(address) == Peer(address=canonical, trusted=trusted)


def test_a_unix_socket_is_trusted_whatever_networks_are():
    assert TrustedPeers.parse(()).peer(None) == Peer(address="", trusted=True)


def test_no_networks_trust_nobody():
    assert not TrustedPeers.parse(()).peer("127.0.0.1").trusted


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.1.2.3", True), ("10.2.0.0", False), ("fd00::7", True), ("fe80::1%eth1", True), ("127.0.0.1", False)],
)
def test_only_the_listed_networks_are_trusted(address, trusted):
    peers = TrustedPeers.parse(("10.1.0.0/16", "fd00::/8", "fe80::1"))
    assert peers.peer(address).trusted is trusted


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.com", "", "10.0.0.0/33", "10.0.0.0/8 "])
def test_what_is_no_network_is_refused(text):
    with pytest.raises(ValueError):
        TrustedPeers.parse((*LOOPBACK, text))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.256", None),
        ("192.0.2.01", None),
        ("192.0.2", None),
        ("192.0.2.1\n", None),
        (" 192.0.2.1", None),
        ("１92.0.2.1", None),  # a full-width digit
        ("fe80::1%eth0", None),
        ("unknown", None),
        ("@", None),
        ("", None),
    ],
)
def test_an_address_has_one_spelling(text, address):
    assert canonical_address(text) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1:", None),
        ("192.0.2.1:http", None),
        ("192.0.2.999:80", None),
        ("[192.0.2.1]:80", None),
        ("[2001:db8::1", None),
        ("[]:80", None),
        ("_hidden", None),
    ],
)
def test_an_element_may_have_a_port(text, address):
    assert forwarded_address(text) == address


@pytest.mark.parametrize(
    ("value", "hops", "address"),
    [
        ("192.0.2.1", 0, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", 0, "192.0.2.1"),  # the left one is the client's own word
        ("203.0.113.9,192.0.2.1", 1, "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 192.0.2.1", 1, "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9,\t192.0.2.1 ", 2, "198.51.100.1"),
        ("192.0.2.1", 1, None),  # it came round the other proxy
        ("203.0.113.9, unknown", 0, None),
        ("203.0.113.9, ", 0, None),
        ("", 0, None),
        (",", 1, None),
    ],
)
def test_the_client_is_counted_from_the_right(value, hops, address):
    assert client_address(value, hops) == address


@given(forged=st.text(st.characters(exclude_characters=",")), hops=st.integers(0, 3))
def test_what_the_client_writes_left_of_the_proxies_never_counts(forged, hops):
    added = [f"192.0.2.{number}" for number in range(hops + 1)]
    assert client_address(", ".join([forged, *added]), hops) == "192.0.2.0"


@given(st.text())
def test_nothing_raises(text):
    client_address(text)
    TrustedPeers.parse().peer(text)
