"""What a client that opens connections can say of itself must not stand in for what the proxy saw."""

from __future__ import annotations

import pytest

from authz.core.connections import canonical_connection
from authz.core.errors import Reason, RequestRefused
from authz.core.lookup import Lookup
from authz.core.mapping import SNI, parse_source
from authz.core.model import EntityUid, Headers, Identity, Peer
from authz.core.request import canonical_request

SOMEBODY = Identity(scheme="anonymous", issuer="", subject="", principal=EntityUid("U", "u"))


def host(server_name, address="10.0.0.7"):
    return canonical_connection(
        id="d", address=address, port=5432, server_name=server_name, peer=Peer(trusted=True)
    ).host


@pytest.mark.parametrize(
    "name",
    ["10.0.0.5", "10.0.0.5.", "[2001:db8::7]", "10.0.0.5:5432", "db.example:5432", "db.example.:1", "127.1", "5"],
)
def test_a_server_name_cannot_pose_as_the_address_of_another_destination(name):
    """A route with `host: "10.0.0.5"` is for connections that lead there; the server name is the client's word."""
    with pytest.raises(RequestRefused) as caught:
        host(name)
    assert caught.value.reason is Reason.BAD_HOST


def test_names_that_only_look_like_numbers_are_names():
    assert [host(name) for name in ("1.example", "10.0.0.5.example", "a1")] == ["1.example", "10.0.0.5.example", "a1"]
    assert host("") == "10.0.0.7"
    assert host("", "2001:db8::7") == "[2001:db8::7]"


def told(server_name):
    request = canonical_request(
        id="d",
        method="GET",
        scheme="https",
        host="h",
        target="/",
        headers=Headers(),
        peer=Peer(trusted=True),
        extensions={SNI: server_name},
    )
    return parse_source("request.sni", frozenset()).read(Lookup(request, SOMEBODY, {}))


def test_a_server_name_in_another_case_is_no_other_entity():
    """Envoy chooses its filter chain without regard to case, and tells the name as the client wrote it: a forbid on
    `Database::"db.example"` must hold for `DB.Example.` too."""
    assert [told(name) for name in ("db.example", "DB.Example", "db.example.")] == ["db.example"] * 3
    for name in ("10.0.0.5", "db.example:1", "a b", ""):
        with pytest.raises(RequestRefused):
            told(name)
