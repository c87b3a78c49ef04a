"""The return address: only what authz signed leads back, only to a listed host, and only in time."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import authz
from authz.core.errors import Reason, RequestRefused
from authz.core.login import MAX_ADDRESS, REASONS, Login, covered, signing_key, verified_return_address
from authz.core.model import Headers, Peer, Request
from authz.core.request import PathRules, canonical_request

KEY = "k" * 32
HOSTS = ("shop.example.com", "*.shop.example.com")
LOGIN = Login(url="https://login.example.com/start", key=KEY.encode(), hosts=HOSTS)
NOW = 1_800_000_000.0
LENIENT = PathRules(
    empty_segments="merge", dot_segments="resolve", encoded_slash="keep", semicolon="keep", double_encoding="keep"
)


def request(target="/cart", host="shop.example.com", method="GET", rules=LENIENT, **fields: str) -> Request:
    headers = {"accept": "text/html,*/*;q=0.8"} | {name.replace("_", "-"): value for name, value in fields.items()}
    return canonical_request(
        id="d",
        method=method,
        scheme="http",
        host=host,
        target=target,
        headers=Headers(headers.items()),
        peer=Peer(trusted=True),
        rules=rules,
    )


def location(asked: Request, login: Login = LOGIN, reason: Reason = Reason.NO_CREDENTIALS) -> str | None:
    return login.location(asked, reason, NOW)


def verified(query: str | None, **changes: Any) -> str | None:
    assert query is not None
    given: dict[str, Any] = {"key": KEY, "hosts": HOSTS, "now": NOW, **changes}
    return verified_return_address(query, **given)


def signed(address: str, login: Login = LOGIN) -> str:
    return login.signed(address, NOW)


# --- there -------------------------------------------------------------------------------------------------


def test_the_login_page_gets_the_address_its_end_and_the_signature():
    found = location(request("/cart?item=1&note=a%20b"))
    assert found is not None
    assert found.startswith("https://login.example.com/start?return=https://shop.example.com/cart%3Fitem%3D1%26note%3D")
    assert list(dict(parse_qsl(urlsplit(found).query))) == ["return", "return_expires", "return_signature"]
    assert verified(found) == "https://shop.example.com/cart?item=1&note=a%20b"


def test_a_query_of_the_login_page_is_kept():
    login = Login(url="https://login.example.com/?client=shop", key=KEY.encode(), hosts=HOSTS, parameter="back")
    found = location(request(), login)
    assert found is not None
    assert found.startswith("https://login.example.com/?client=shop&back=https://")
    assert verified(found, parameter="back") == "https://shop.example.com/cart"
    assert verified(found) is None


def test_the_address_is_https_whatever_the_inner_leg_speaks():
    assert request().scheme == "http"
    assert verified(location(request())) == "https://shop.example.com/cart"


@pytest.mark.parametrize("host", ["SHOP.example.com.", "shop.example.com:8443", "eu.shop.example.com"])
def test_the_host_is_canonical(host):
    address = verified(location(request(host=host)))
    assert address == f"https://{host.lower().partition(':')[0].rstrip('.')}/cart"


@pytest.mark.parametrize(
    "host",
    ["example.com", "evil.example", "shop.example.com.evil.example", "notshop.example.com", "login.example.com"],
)
def test_nobody_is_sent_to_come_back_to_another_host(host):
    assert location(request(host=host)) is None


@pytest.mark.parametrize("reason", sorted(Reason))
def test_only_what_a_login_mends_is_sent_there(reason):
    assert (location(request(), reason=reason) is not None) is (reason in REASONS)
    assert {Reason.NO_CREDENTIALS, Reason.TOKEN_EXPIRED} == REASONS


@pytest.mark.parametrize(
    "fields",
    [{"method": "POST"}, {"accept": "*/*"}, {"x_requested_with": "x"}, {"upgrade": "websocket"}],
)
def test_only_who_would_see_a_page_is_sent_there(fields):
    assert location(request(**fields)) is None


@pytest.mark.parametrize(
    ("url", "target", "sent"),
    [
        ("https://shop.example.com/login", "/login", False),
        ("https://shop.example.com/login", "/login?return=x", False),
        ("https://shop.example.com/login", "/a/../login", False),
        ("https://shop.example.com/login", "/%6Cogin", False),
        ("https://shop.example.com/login", "/login/callback", False),
        ("https://shop.example.com/login/", "/login/", False),
        ("https://shop.example.com/login?client=a", "/login", False),
        ("https://Shop.example.com:443/login", "/login", False),
        ("https://shop.example.com", "/anything", False),
        ("https://shop.example.com/login", "/loginx", True),
        ("https://shop.example.com/login", "/", True),
        ("https://other.example.com/cart", "/cart", True),
    ],
)
def test_the_login_page_is_not_sent_to_itself(url, target, sent):
    login = Login(url=url, key=KEY.encode(), hosts=("*.example.com",))
    assert (location(request(target), login) is not None) is sent


@pytest.mark.parametrize("target", ["/" + "a" * 4000, "/a?" + "%20" * 1000, "/a?" + "&" * 700])
def test_an_address_that_is_too_long_is_the_start_of_its_host(target):
    found = location(request(target))
    assert found is not None
    assert verified(found) == "https://shop.example.com/"


@given(st.integers(0, 3000), st.sampled_from("a%&=?~"))
def test_the_header_stays_small(length, filler):
    found = location(request("/?" + (filler if filler != "%" else "%25") * (length // 3)))
    assert found is not None
    assert len(found) < MAX_ADDRESS + 200
    assert found.isascii()
    assert found.isprintable()


# --- and back ----------------------------------------------------------------------------------------------


@given(
    st.lists(st.text("aZ0-._~!$'()*+,:@%", min_size=1, max_size=8), max_size=4),
    st.text("aZ09-._~!$&'()*+,;=:@/?%", max_size=40),
)
def test_what_was_asked_for_is_what_is_returned_to(segments, query):
    target = "/" + "/".join(segments).replace("%", "%25") + (f"?{query}" if query else "")
    try:
        asked = request(target)
    except RequestRefused:
        return  # a segment of dots
    address = verified(location(asked))
    expected = f"https://shop.example.com{asked.path.text}" + (f"?{asked.query}" if asked.query else "")
    assert address == expected


@pytest.mark.parametrize("form", ["{}", "?{}", "/start?{}", "https://login.example.com/start?{}", "a=b&{}&c=d"])
def test_the_query_may_come_alone_or_in_an_address(form):
    assert verified(form.format(signed("https://shop.example.com/a"))) == "https://shop.example.com/a"


def test_it_ends():
    query = signed("https://shop.example.com/a")
    assert verified(query, now=NOW + 599) is not None
    assert verified(query, now=NOW + 600) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("return", "https://evil.example/"),
        ("return", "https://shop.example.com/b"),
        ("return", ""),
        ("return", "https://shop.example.com/a\0"),
        ("return", "\ud800"),
        ("return_expires", "1800000601"),
        ("return_expires", "01800000600"),
        ("return_expires", " 1800000600"),
        ("return_expires", "1800000600.0"),
        ("return_expires", "١٨٠٠٠٠٠٦٠٠"),
        ("return_expires", "9" * 5000),
        ("return_expires", ""),
        ("return_signature", ""),
        ("return_signature", "A" * 43),
        ("return_signature", "é" * 43),
    ],
)
def test_whatever_is_changed_leads_nowhere(name, value):
    given = dict(parse_qsl(signed("https://shop.example.com/a")))
    assert verified(urlencode(given)) == "https://shop.example.com/a"
    assert verified(urlencode(given | {name: value}, errors="surrogatepass")) is None
    assert verified(urlencode({key: text for key, text in given.items() if key != name})) is None
    assert verified(urlencode([*given.items(), (name, given[name])])) is None


@given(st.text(max_size=200))
def test_no_text_is_an_address_or_an_error(text):
    assert verified(text) is None
    assert verified(f"return={quote(text, errors='replace')}&return_expires=1800000600&return_signature=A") is None


def test_a_query_without_end_is_not_read():
    assert verified(signed("https://shop.example.com/a") + "&x=" + "a" * 20_000) is None


def test_another_key_is_another_signature():
    assert verified(signed("https://shop.example.com/a"), key="l" * 32) is None


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "http://shop.example.com/",
        "//shop.example.com/",
        "/cart",
        "https:/shop.example.com",
        "https://shop.example.com@evil.example/",
        "https://evil.example\\.shop.example.com/",
        "https://evil.example#.shop.example.com/",
        "https://evil.example?.shop.example.com/",
        "https:// shop.example.com/",
        "https://shop.example.com/a\r\nx: y",
        "javascript:alert(1)//.shop.example.com",
    ],
)
def test_even_what_is_signed_leads_to_listed_hosts_only(address):
    assert verified(signed(address)) is None


def test_a_host_that_was_taken_off_the_list_is_not_returned_to():
    query = signed("https://shop.example.com/a")
    assert verified(query, hosts=["other.example.com"]) is None
    assert verified(query, hosts=["*"]) is None


def test_a_signature_for_another_purpose_is_none_for_this():
    import hmac
    from base64 import urlsafe_b64encode

    for message in (b"1800000600\0https://shop.example.com/a", b"https://shop.example.com/a"):
        forged = urlsafe_b64encode(hmac.digest(KEY.encode(), message, "sha256")).rstrip(b"=").decode()
        given = {"return": "https://shop.example.com/a", "return_expires": "1800000600", "return_signature": forged}
        assert verified(urlencode(given)) is None


def test_the_line_end_of_a_key_file_is_not_part_of_the_key():
    assert verified(signed("https://shop.example.com/a"), key=KEY.encode() + b"\r\n") is not None
    assert signing_key("a\n") == b"a"


@pytest.mark.parametrize(("key", "hosts"), [("k" * 31, HOSTS), (b"", HOSTS), (KEY, ()), (KEY, "shop.example.com")])
def test_a_call_that_would_verify_nothing_is_an_error(key, hosts):
    with pytest.raises(ValueError, match="must"):
        verified_return_address("", key=key, hosts=hosts, now=NOW)


def test_it_is_public():
    assert authz.verified_return_address is verified_return_address
    assert KEY not in repr(LOGIN)


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        ("shop.example.com", True),
        ("eu.shop.example.com", True),
        ("a.b.shop.example.com", True),
        ("xshop.example.com", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_what_a_list_of_hosts_covers(host, is_covered):
    assert covered(host, HOSTS) is is_covered
    assert not covered(host, ["*"])
