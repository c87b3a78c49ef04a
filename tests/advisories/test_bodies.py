"""Bodies that the service may read in another way, and bodies that cost more than they should."""

from __future__ import annotations

import pytest

from authz.core.body import BodyKind, BodyRules, parse_body
from authz.core.convert import convert
from authz.core.errors import Reason, RequestRefused
from authz.core.lookup import Lookup
from authz.core.mapping import parse_source
from authz.core.model import CanonicalPath, EntityUid, Headers, Identity, Request
from authz.core.strict_json import MAX_NESTING, NotStrictJson, json_object

RULES = BodyRules(kinds=frozenset(BodyKind))
SOMEBODY = Identity(scheme="anonymous", issuer="", subject="", principal=EntityUid("U", "u"))


def request(body, media_type="application/json"):
    headers = Headers([("content-type", media_type)])
    path = CanonicalPath(text="/", segments=("",))
    return Request(id="d", method="POST", scheme="https", host="h", path=path, headers=headers, body=body)


def refusal(body, media_type):
    with pytest.raises(RequestRefused) as caught:
        parse_body(request(body, media_type), RULES)
    return caught.value.reason


@pytest.mark.parametrize("body", [b'{"amount":9999}', b'{"amount":9999,"x":"="}', b' {"amount":1}', b'["amount"]'])
def test_json_that_calls_itself_a_form_is_no_form_without_fields(body):
    """A service that reads JSON whatever the content type says would see an amount where authz saw none."""
    assert refusal(body, "application/x-www-form-urlencoded") is Reason.BAD_BODY


def value(body, kind="string"):
    source = parse_source("body.to", frozenset())
    return convert(kind, source.read(Lookup(request(body), SOMEBODY, {}, RULES)), source)


@pytest.mark.parametrize("kind", ["string", "set"])
def test_a_nul_in_json_cannot_hide_the_end_of_a_value(kind):
    """What is written in C ends a text at a NUL: `victim\\0` is another account to authz, and the same to it."""
    body = b'{"to": ["victim\\u0000"]}' if kind == "set" else b'{"to": "victim\\u0000"}'
    with pytest.raises(RequestRefused) as caught:
        value(body, kind)
    assert caught.value.reason is Reason.BAD_PARAMETER


class Counted(str):
    """A name; the class tells how often one was folded."""

    __slots__ = ()
    folded = 0

    def casefold(self):
        Counted.folded += 1
        return super().casefold()


def test_names_are_compared_once_however_many_values_a_route_reads():
    """A body of 4 MB can have half a million names; ten values of it took 400 ms."""
    lookup = Lookup(request(b"{}"), SOMEBODY, {}, RULES)
    lookup._body = {Counted(f"n{number}"): number for number in range(100)}
    sources = [parse_source(f"body.n{number}", frozenset()) for number in range(20)]
    Counted.folded = 0
    assert [source.read(lookup) for source in sources] == list(range(20))
    assert Counted.folded <= 100


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (b'{"a":' + b"[" * (MAX_NESTING - 1) + b"]" * (MAX_NESTING - 1) + b"}", True),
        (b'{"a":' + b"[" * MAX_NESTING + b"]" * MAX_NESTING + b"}", False),
        (b'{"a":[' + b"[]," * 200 + b"[]]}", True),
        (b'{"a":"' + b'\\"[{' * 200 + b'"}', True),
        (b'{"a":"\\\\' + b'","b":"[' * 1 + b"[" * 200 + b'"}', True),
        (b'{"a":' + b"[" * 200 + b'"' + b"]" * 200, False),
        (b"[" * 100_000, False),
        (b'"' * 100_001 + b"[" * 70, False),
    ],
)
def test_brackets_in_strings_count_for_nothing_and_all_others_do(body, taken):
    if taken:
        assert isinstance(json_object(body), dict)
    else:
        with pytest.raises(NotStrictJson):
            json_object(body)
