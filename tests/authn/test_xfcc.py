"""X-Forwarded-Client-Cert: what Envoy writes is read, and nothing that it does not write."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.authn.xfcc import MAX_HEADER, MAX_PAIRS, ForwardedCertificate, NotReadable, parse_xfcc

HASH = "c1f73829a561111baf36d1e73894efab10856af3ad82c6967e3fb171d2827cc5"

# Measured with Envoy 1.40, set_current_client_cert_details: {subject: true, uri: true, dns: true}.
MEASURED = {
    f'By=spiffe://td/envoy;Hash={HASH};Subject="CN=cn";URI=spiffe://td/ns/a;DNS=a.example;DNS=b.example': (
        ForwardedCertificate(hash=HASH, subject="CN=cn", uris=("spiffe://td/ns/a",), dns=("a.example", "b.example"))
    ),
    f'By=spiffe://td/envoy;Hash={HASH};Subject="CN=cn";URI=spiffe://td/one;URI=https://x/two?a=b': (
        ForwardedCertificate(hash=HASH, subject="CN=cn", uris=("spiffe://td/one", "https://x/two?a=b"))
    ),
    rf'By=spiffe://td/envoy;Hash={HASH};Subject="O=\C3\96 \+ \<x\>,CN=a\"b\\c\,d\;e=f";URI=': (
        ForwardedCertificate(hash=HASH, subject=r"O=\C3\96 \+ \<x\>,CN=a\"b\\c\,d\;e=f")
    ),
    f'By=spiffe://td/envoy;Hash={HASH};Subject="";URI=;DNS=dns.example': (
        ForwardedCertificate(hash=HASH, dns=("dns.example",))
    ),
    f'Hash={HASH.upper()};Cert="-----BEGIN%20CERTIFICATE-----%0A";Chain="x%3B";URI=a:b': (
        ForwardedCertificate(hash=HASH, uris=("a:b",))
    ),
}


@pytest.mark.parametrize(("text", "expected"), MEASURED.items())
def test_what_envoy_writes(text, expected):
    assert parse_xfcc(text) == (expected,)


@pytest.mark.parametrize("between", [",", ", ", ",   "])
def test_each_proxy_adds_an_element_behind_the_others(between):
    elements = parse_xfcc(f"Hash=ab;URI=a:1{between}By=a:x;By=a:y;Hash=cd;URI=a:2")
    assert [(element.hash, element.uris) for element in elements] == [("ab", ("a:1",)), ("cd", ("a:2",))]


def test_keys_are_read_in_any_case():
    assert parse_xfcc("bY=a:x;HASH=ab;uri=a:1;Dns=n")[0] == ForwardedCertificate(hash="ab", uris=("a:1",), dns=("n",))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        ";",
        "URI",
        "URI=a:1;",
        "URI=a:1,",
        ",URI=a:1",
        ";URI=a:1",
        "Hash=a;;URI=a:1",
        "Hash=a,,URI=a:1",
        " URI=a:1",
        "Hash=a; URI=a:1",
        "Hash =a",
        "=a",
        "Ünit=a",
        "URI=ä:1",
        "User=a:1",
        "URI=a:1;Role=admin",
        'Subject="CN=a',
        'Subject=CN="a"',
        'Subject="CN=a"b',
        'Subject="CN=a\\"',
        'Subject="CN=a""CN=b"',
        'URI=a:1"',
        "Hash=a;Hash=b",
        "Hash=a;hash=a",
        'Subject="a";Subject="b"',
        'Cert="a";Cert="b"',
        'Chain="a";Chain="b"',
        "URI=a:1;Hash=ab",
        "DNS=a;URI=a:1",
        'URI=a:1;Subject="CN=a"',
        "Hash=ab;By=a:x",
        "URI=" + "a" * MAX_HEADER,
        ",".join(["Hash=a"] * (MAX_PAIRS + 1)),
    ],
)
def test_what_envoy_does_not_write_is_not_read(text):
    with pytest.raises(NotReadable) as caught:
        parse_xfcc(text)
    assert len(str(caught.value)) < 120


@given(text=st.text(st.sampled_from('ByHashSubjectURIDNS=;, "\\:./a0'), max_size=80))
def test_no_text_raises_anything_else(text):
    with suppress(NotReadable):
        assert parse_xfcc(text)


VALUE = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters='",;'), min_size=1)


@given(
    hash=st.text("0123456789abcdef", min_size=1, max_size=64),
    subject=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"])),
    uris=st.lists(VALUE, max_size=3),
    dns=st.lists(VALUE, max_size=3),
)
def test_what_is_written_as_envoy_does_comes_back(hash, subject, uris, dns):
    escaped = subject.replace("\\", "\\\\").replace('"', '\\"')
    pairs = [f"Hash={hash}", f'Subject="{escaped}"', *(f"URI={uri}" for uri in uris), *(f"DNS={name}" for name in dns)]
    expected = ForwardedCertificate(hash=hash, subject=escaped, uris=tuple(uris), dns=tuple(dns))
    assert parse_xfcc(";".join(pairs)) == (expected,)
    assert parse_xfcc("Hash=0;URI=a:other," + ";".join(pairs))[-1] == expected
