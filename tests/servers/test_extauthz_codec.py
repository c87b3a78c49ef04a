"""Check requests as Envoy sends them, and as nobody should (protocol facts A1, A2, A7, G, K9–K13)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.errors import AuthzError, Reason
from authz.core.model import Peer, Request
from authz.core.request import PathRules
from authz.servers.extauthz_codec import checks as codec
from authz.servers.extauthz_pb2 import CheckRequest
from tests.servers.extauthz_support import check_request, fixture, wire_fields

PROXY = Peer(address="127.0.0.1", trusted=True)
LENIENT = PathRules(empty_segments="merge", dot_segments="resolve", encoded_slash="keep", semicolon="keep")


def decode(data, **options) -> Request:
    return codec.decode(data, **{"id": "d-1", "peer": PROXY, **options})


def refusal(data, **options) -> AuthzError:
    with pytest.raises(AuthzError) as caught:
        decode(data, **options)
    return caught.value


# --- decode: what Envoy sends -----------------------------------------------------------------------------


def test_a_recorded_check_becomes_a_request():
    request = decode(fixture("k9"), rules=LENIENT)
    assert (request.id, request.method, request.scheme, request.host) == ("d-1", "POST", "http", "app.example")
    assert request.path.segments == ("p", "c", "d;x=1")
    assert request.query == "q=a%20b&mode=ok"
    assert request.source_address == "127.0.0.1"
    assert request.peer == PROXY
    assert request.external_id == "b20aa4d6-1e54-45c9-b698-6c45371b71b2"
    assert request.headers.get("authorization") == "Bearer t"
    assert request.headers.get("cookie") == "a=1,b=2"
    assert not [name for name, _ in request.headers.items() if name.startswith(":")]
    assert request.body is None
    assert request.extensions == {
        "envoy.context.policy": "p0",
        "envoy.context.vhost": "v",
        "envoy.altered_headers": "x-b",
    }


def test_a_recorded_check_with_raw_headers_keeps_bytes_and_repetitions():
    request = decode(fixture("k10"), rules=LENIENT)
    assert request.headers.all("x-dup") == ("1", "2")
    assert request.headers.all("cookie") == ("a=1", "b=2")
    assert request.headers.get("x-b") == "café"
    assert request.headers.get("x-envoy-auth-partial-body") == "false"
    assert request.extensions == {
        "envoy.context.policy": "p1",
        "envoy.context.route": "ctx",
        "envoy.context.vhost": "v",
        "envoy.altered_headers": "x-b",
    }


@pytest.mark.parametrize("name", ["k9", "k10"])
def test_the_recorded_path_is_ambiguous_and_refused_unless_a_setting_says_otherwise(name):
    assert refusal(fixture(name)).reason is Reason.BAD_PATH


@pytest.mark.parametrize("data", [b"", CheckRequest().SerializeToString()])
def test_a_check_of_nothing_is_refused(data):
    error = refusal(data)
    assert (error.reason, error.status) == (Reason.BAD_CHECK, 400)
    assert "neither an HTTP request nor a connection" in error.detail


def test_a_recorded_check_of_the_network_filter_is_a_connection():
    request = decode(fixture("k12"))
    assert (request.protocol, request.host, request.path.text) == ("tcp", "127.0.0.1", "/26004")
    assert (request.source_address, request.peer, request.extensions) == ("127.0.0.1", PROXY, {})
    assert decode(fixture("k12"), peer=Peer(address="203.0.113.9")).source_address is None


def test_a_connection_has_its_server_name_and_its_certificates_name():
    def tls(document):
        document["attributes"]["source"]["principal"] = "spiffe://td/ns/cli/sa/client"
        document["attributes"]["tls_session"] = {"sni": "DB.example."}

    request = decode(fixture("k12", tls))
    assert request.host == "db.example"
    assert request.extensions["envoy.source.principal"] == "spiffe://td/ns/cli/sa/client"
    assert request.extensions["envoy.sni"] == "DB.example."


@pytest.mark.parametrize("place", ["a name", "", "fe80::1%eth0", "300.1.1.1"])
def test_a_connection_to_what_is_no_address_is_refused(place):
    def elsewhere(document):
        document["attributes"]["destination"]["address"]["socket_address"]["address"] = place

    assert refusal(fixture("k12", elsewhere)).reason is Reason.BAD_CHECK


def test_principals_and_server_name_of_a_tls_listener_are_vouched_for():
    def tls(document):
        attributes = document["attributes"]
        attributes["source"] |= {"principal": "spiffe://td/ns/cli/sa/client", "service": "claimed-by-a-header"}
        attributes["destination"]["principal"] = "spiffe://td/ns/srv/sa/front"
        attributes["tls_session"] = {"sni": "app.example"}
        attributes["request"]["http"]["scheme"] = "https"
        attributes["request"]["http"]["headers"][":scheme"] = "https"

    request = decode(fixture("k9", tls), rules=LENIENT)
    assert request.scheme == "https"
    assert request.extensions["envoy.source.principal"] == "spiffe://td/ns/cli/sa/client"
    assert request.extensions["envoy.destination.principal"] == "spiffe://td/ns/srv/sa/front"
    assert request.extensions["envoy.sni"] == "app.example"
    # Envoy copies it from x-envoy-downstream-service-cluster, which any client can send.
    assert "claimed-by-a-header" not in request.extensions.values()


def test_the_forwarded_certificate_is_envoys_word_beside_a_client_certificate_of_its_own_connection():
    """Without one Envoy passes a client's own on where it is set to ALWAYS_FORWARD_ONLY (measured)."""
    raw = [("x-forwarded-client-cert", b"URI=a"), ("x-forwarded-client-cert", b"URI=b")]
    for headers, told in (({"headers": {"x-forwarded-client-cert": "URI=a"}}, "URI=a"), ({"raw": raw}, "URI=a,URI=b")):
        message = CheckRequest.FromString(check_request(**headers))
        assert "envoy.forwarded_client_certificate" not in decode(message.SerializeToString()).extensions
        message.attributes.source.principal = "spiffe://td/sa/a"
        request = decode(message.SerializeToString())
        assert request.extensions["envoy.forwarded_client_certificate"] == told


def test_context_extensions_cannot_pose_as_what_envoy_saw():
    request = decode(check_request(extensions={"envoy.source.principal": "x", "source.principal": "y"}))
    assert "envoy.source.principal" not in request.extensions


def test_a_websocket_upgrade_is_a_get_with_its_headers():
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    request = decode(check_request(headers=upgrade))
    assert request.method == "GET"
    assert {name: request.headers.get(name) for name in upgrade} == upgrade


def test_fields_that_we_do_not_know_are_skipped():
    # metadata_context (11), route_metadata_context (13), a future field (200) of AttributeContext; time (1) of Request
    unknown = b"\x5a\x00\x6a\x02\x0a\x00\xc2\x0c\x01x" + b"\x22\x04\x0a\x02\x08\x01"
    data = check_request()
    attributes = wire_fields(data)[0][1] + unknown
    longer = CheckRequest.FromString(data)
    longer.attributes.MergeFromString(attributes)
    assert decode(longer.SerializeToString()).path.text == "/documents/42"


def test_the_body_is_left_alone_where_no_limit_is_given():
    message = CheckRequest.FromString(check_request(method="PUT"))
    message.attributes.request.http.body = b"a\xffb"
    message.attributes.request.http.raw_body = b"\xff" * 1000
    assert decode(message.SerializeToString()).body is None


def test_the_decision_id_is_ours_and_the_external_id_bounded():
    request = decode(check_request(headers={"x-request-id": "r" * 1000}))
    assert request.id == "d-1"
    assert request.external_id == "r" * codec.MAX_EXTERNAL_ID


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("APP.example.:8080", "app.example"),
        ("app.example", "app.example"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("app.example,b.example", None),  # two Host lines over HTTP/1.1
        ("", None),
    ],
)
def test_the_host_has_one_spelling_or_is_refused(host, canonical):
    if canonical is None:
        assert refusal(check_request(host=host)).reason is Reason.BAD_HOST
    else:
        assert decode(check_request(host=host)).host == canonical


@pytest.mark.parametrize(
    "path",
    [
        "/a/../admin",
        "/a/%2e%2e/admin",
        "/a/..;/admin",
        "//a//b",
        "/a%2f..%2fadmin",
        "/a\\b",
        "/A%41%7e;p=1/x",
        "*",
        "",
        "/a#b",
        "http://other/abs",
        "/a\x00b",
        "/caf\u00e9",
    ],
)
def test_paths_that_two_programs_read_differently_are_refused(path):
    assert refusal(check_request(path=path)).reason is Reason.BAD_PATH


def test_headers_that_claim_another_path_or_method_are_ignored():
    spoofed = {"x-envoy-original-path": "/public", "x-http-method-override": "GET", "x-forwarded-uri": "/public"}
    request = decode(check_request(method="DELETE", headers=spoofed))
    assert (request.method, request.path.text) == ("DELETE", "/documents/42")


def test_aliases_with_an_underscore_are_no_headers():
    request = decode(check_request(headers={"x_user": "root", "x-user": "alice"}))
    assert list(request.headers.items()) == [("x-user", "alice")]


# --- decode: what contradicts itself ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [":method", ":path", ":authority", ":scheme"])
@pytest.mark.parametrize("raw", [False, True])
def test_a_pseudo_header_that_differs_from_its_field_is_refused(name, raw):
    data = check_request(raw=[(name, b"other")]) if raw else check_request(headers={name: "other"})
    assert refusal(data).reason is Reason.BAD_CHECK


def test_a_check_without_pseudo_headers_is_read_by_its_fields():
    assert decode(check_request(pseudo=False, headers={"accept": "*/*"})).path.text == "/documents/42"


def test_an_unknown_pseudo_header_is_dropped():
    request = decode(check_request(headers={":protocol": "websocket"}))
    assert list(request.headers.items()) == []


def test_a_host_header_that_differs_from_the_host_is_refused():
    assert refusal(check_request(headers={"host": "other.example"})).reason is Reason.BAD_CHECK
    assert decode(check_request(headers={"host": "documents.example"})).host == "documents.example"


def _both(http):
    http.headers["x-a"] = "1"
    http.header_map.headers.add(key="x-a", raw_value=b"1")


def _two_values(http):
    http.headers.clear()
    http.header_map.headers.add(key="x-a", value="1", raw_value=b"2")


def _query(http):
    http.query = "page=3"


def _fragment(http):
    http.fragment = "x"


@pytest.mark.parametrize("contradict", [_both, _two_values, _query, _fragment])
def test_data_that_contradicts_itself_is_refused(contradict):
    message = CheckRequest.FromString(check_request())
    contradict(message.attributes.request.http)
    assert refusal(message.SerializeToString()).reason is Reason.BAD_CHECK


def test_a_raw_header_may_also_come_as_text():
    message = CheckRequest.FromString(check_request(raw=[("x-a", b"1")]))
    message.attributes.request.http.header_map.headers.add(key="x-b", value="2")
    message.attributes.request.http.header_map.headers.add(key="x-c", value="3", raw_value=b"3")
    headers = decode(message.SerializeToString()).headers
    assert (headers.get("x-a"), headers.get("x-b"), headers.get("x-c")) == ("1", "2", "3")


@pytest.mark.parametrize(
    ("octets", "text", "altered"),
    [(b"plain", "plain", False), (b"caf\xc3\xa9", "café", False), (b"caf\xe9", "café", True), (b"", "", False)],
)
def test_raw_values_are_utf8_else_latin1_and_then_noted(octets, text, altered):
    request = decode(check_request(raw=[("x-a", octets)]))
    assert request.headers.get("x-a") == text
    assert request.extensions.get(codec.ALTERED_HEADERS) == ("x-a" if altered else None)


def test_without_raw_headers_every_value_with_an_exclamation_mark_is_noted():
    headers = {"x-b": "caf!", "accept": "*/*", "user-agent": "Yahoo!"}
    request = decode(check_request(headers=headers))
    assert request.extensions[codec.ALTERED_HEADERS] == "user-agent,x-b"
    assert codec.ALTERED_HEADERS not in decode(check_request(path="/wow!")).extensions


@pytest.mark.parametrize("octets", [b"a\x00b", b"a\x7f", b"a\r\nx-user: root"])
def test_a_control_character_in_a_header_is_refused(octets):
    assert refusal(check_request(raw=[("x-a", octets)])).reason is Reason.BAD_HEADER


def test_a_repeated_authorization_header_is_refused_when_kept_apart():
    data = check_request(raw=[("authorization", b"Bearer a"), ("authorization", b"Bearer b")])
    assert refusal(data).reason is Reason.BAD_HEADER


@pytest.mark.parametrize(
    ("joined", "refused"),
    [
        ("Bearer a,Bearer b", True),
        ("Basic eHk=,Bearer b", True),
        ("bearer a,b", True),
        ("Digest a=b,Bearer c", True),
        ("a,b", True),
        (",Bearer a", True),
        ("Bearer a", False),
        ('Digest username="x, y", realm="z"', False),
        ("AWS4-HMAC-SHA256 Credential=A/1/b/c,SignedHeaders=host;date,Signature=0f", False),
    ],
)
def test_a_repeated_authorization_header_is_refused_when_joined_with_a_comma(joined, refused):
    as_text = check_request(headers={"authorization": joined})
    for data in (as_text, check_request(raw=[("authorization", joined.encode())])):
        if refused:
            error = refusal(data)
            assert error.reason is Reason.BAD_HEADER
            assert joined not in error.detail
        else:
            assert decode(data).headers.get("authorization") == joined


# --- decode: the client's address -------------------------------------------------------------------------

FORWARDED = "6.6.6.6, 203.0.113.7,10.0.0.1"
APPENDED = FORWARDED + ",10.1.2.3"


@pytest.mark.parametrize(
    ("headers", "options", "address"),
    [
        ({"x-forwarded-for": FORWARDED}, {}, "10.1.2.3"),
        ({"x-forwarded-for": FORWARDED}, {"trusted_hops": 1}, "10.1.2.3"),
        ({"x-forwarded-for": FORWARDED}, {"trusted_hops": 2}, "10.0.0.1"),
        ({"x-forwarded-for": FORWARDED}, {"trusted_hops": 3}, "203.0.113.7"),
        ({"x-forwarded-for": FORWARDED}, {"trusted_hops": 5}, None),
        ({"x-forwarded-for": APPENDED}, {}, "10.1.2.3"),
        ({"x-forwarded-for": APPENDED}, {"trusted_hops": 1}, "10.1.2.3"),
        ({"x-forwarded-for": APPENDED}, {"trusted_hops": 2}, "10.0.0.1"),
        ({"x-forwarded-for": APPENDED}, {"trusted_hops": 5}, None),
        ({"x-forwarded-for": "unknown"}, {"trusted_hops": 2}, None),
        ({"x-forwarded-for": "::ffff:192.0.2.1"}, {"trusted_hops": 2}, "192.0.2.1"),
        ({"x-forwarded-for": "2001:DB8::0:1"}, {"trusted_hops": 2}, "2001:db8::1"),
        ({}, {"trusted_hops": 1}, "10.1.2.3"),
        ({}, {"trusted_hops": 2}, None),
        ({"x-envoy-external-address": "203.0.113.7"}, {}, "10.1.2.3"),
        ({"x-envoy-external-address": "203.0.113.7"}, {"use_external_address": True}, "203.0.113.7"),
        ({"x-envoy-external-address": "203.0.113.7,6.6.6.6"}, {"use_external_address": True}, None),
        ({"x-forwarded-for": FORWARDED}, {"use_external_address": True, "trusted_hops": 1}, None),
    ],
)
def test_the_source_address_is_what_the_setting_says_or_nobody_vouches_for_it(headers, options, address):
    assert decode(check_request(headers=headers), **options).source_address == address


def test_repeated_forwarding_headers_are_one_list_and_a_repeated_external_address_is_none():
    raw = [("x-forwarded-for", b"6.6.6.6"), ("x-forwarded-for", b"203.0.113.7")]
    assert decode(check_request(raw=raw), trusted_hops=2).source_address == "203.0.113.7"
    raw = [("x-envoy-external-address", b"6.6.6.6"), ("x-envoy-external-address", b"203.0.113.7")]
    assert decode(check_request(raw=raw), use_external_address=True).source_address is None


def test_nobody_vouches_for_an_address_on_a_pipe_or_from_an_untrusted_peer():
    message = CheckRequest.FromString(check_request())
    message.attributes.source.ClearField("address")
    assert decode(message.SerializeToString()).source_address is None
    forwarded = CheckRequest.FromString(check_request(headers={"x-forwarded-for": FORWARDED}))
    forwarded.attributes.source.ClearField("address")
    assert decode(forwarded.SerializeToString(), trusted_hops=2).source_address == "10.0.0.1"
    assert decode(check_request(), peer=Peer(address="192.0.2.9")).source_address is None


# --- decode: hostile bytes --------------------------------------------------------------------------------


def survives(data: bytes) -> None:
    """A request or a reason, nothing else; never a value in the reason."""
    refused: AuthzError | None = None
    try:
        request = decode(data)
    except AuthzError as error:
        refused = error
    if refused is None:
        assert request.path.text.startswith("/")
    else:
        assert 400 <= refused.status < 500
        assert "s3cret" not in refused.detail


@given(st.binary(max_size=400))
@example(b"\xff" * 20)
@example(b"\x0a\xff\xff\xff\xff\x7f")
@example(b"\x0a" * 5000)
def test_random_bytes_never_raise_anything_but_a_reason(data):
    survives(data)


SEEDS = (
    check_request(headers={"authorization": "Bearer s3cret", "x-b": "caf!"}, extensions={"policy": "p0"}),
    check_request(raw=[("authorization", b"Bearer s3cret"), ("x-b", b"caf\xe9"), ("cookie", b"s3cret")]),
    fixture("k9"),
    fixture("k10"),
)


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 2), st.binary(max_size=4)), min_size=1, max_size=6),
)
def test_mutated_checks_never_raise_anything_but_a_reason(seed, mutations):
    data = bytearray(seed)
    for position, removed, inserted in mutations:
        start = position % (len(data) + 1)
        data[start : start + removed] = inserted
    survives(bytes(data))


texts = st.text(max_size=20)


@given(method=texts, path=texts, host=texts, scheme=texts, headers=st.dictionaries(texts, texts, max_size=5))
def test_arbitrary_text_in_every_field_never_raises_anything_but_a_reason(method, path, host, scheme, headers):
    survives(check_request(path, method=method, host=host, scheme=scheme, headers=headers, pseudo=False))
    survives(check_request("/a", headers=headers))


def test_a_check_with_a_megabyte_of_headers_is_refused_as_too_large():
    assert refusal(check_request(headers={"x-a": "a" * 1_000_000})).reason is Reason.TOO_LARGE
    assert refusal(check_request(headers={f"x-{i}": "" for i in range(1000)})).reason is Reason.TOO_LARGE
