"""Values of a body on their way into a query: found under one name, of the type that JSON says, or refused."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.body import BodyKind, BodyRules, parse_body
from authz.core.errors import Reason, RequestRefused
from authz.core.lookup import Lookup
from authz.core.mapping import MappingError, parse_source, parse_template
from authz.core.model import Decision, Denied, EntityUid, Extension, Identity, Verdict
from authz.core.pipeline import Authorizer, Trail
from authz.core.route_compiler import AttributeSpec, RouteSpec, compile_routes
from tests.core.body_support import ALL, FORM, JSON, MULTIPART, request_with

IDENTITY = Identity(scheme="anonymous", issuer="", subject="a", principal=EntityUid("User", "a"))
NONE: frozenset[str] = frozenset()
RULES = BodyRules(kinds=frozenset({BodyKind.JSON, BodyKind.FORM}))


def spec(**changes):
    parts = {
        "name": "r",
        "path": "/a",
        "action": 'Action::"x"',
        "resource_type": "D",
        "resource_id": "d",
        "anonymous": 'User::"a"',
        "body": RULES,
        "context": {"amount": AttributeSpec(type="long", source="body.amount")},
    }
    return RouteSpec(**{**parts, **changes})


def lookup(body, content_type=JSON):
    data = json.dumps(body).encode() if content_type == JSON else body
    return Lookup(request_with(data, content_type), IDENTITY, {}, ALL)


def mapped(kind, body, content_type=JSON, source="body.x"):
    """The attribute that a route makes of a body; the reason where it is refused."""
    attribute = AttributeSpec(type=kind, source=source, entity_type="T" if kind == "entity" else None)
    table, problems = compile_routes((spec(context={"x": attribute}),))
    assert problems == ()
    try:
        return table.routes[0].query(lookup(body, content_type)).context.get("x")
    except RequestRefused as error:
        return error.reason


# --- where it is found ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "body", "value"),
    [
        ("body.a", {"a": 1}, 1),
        ("body.a", {"b": 1}, None),
        ("body.a", {"a": None}, None),
        ("body.a.b", {"a": {"b": 1}}, 1),
        ("body.a.b", {"a": {"c": 1}}, None),
        ("body.a.b", {"a": 1}, None),
        ("body.a.b", {"a": [{"b": 1}]}, None),
        ("body.a.b", {"a": None}, None),
        ("body.a.b", {"a.b": 1}, None),
        ("body.a.b", {"a.b": 1, "a": {"b": 2}}, 2),
        ("body.a", {"a": [1, 2]}, [1, 2]),
        ("body.ä", {"ä": 1}, 1),
    ],
)
def test_a_member_of_json_is_found_by_its_names(source, body, value):
    assert parse_source(source, NONE).read(lookup(body)) == value


@pytest.mark.parametrize(
    ("source", "body", "value"),
    [
        ("body.a", b"a=1&a=2", ("1", "2")),
        ("body.a.b", b"a.b=1", ("1",)),
        ("body.a.b", b"a=1", None),
        ("body.a[b]", b"a%5Bb%5D=1", ("1",)),
        ("body.a", b"a[]=1", None),
    ],
)
def test_a_field_of_a_form_is_found_by_its_name_as_it_stands(source, body, value):
    assert parse_source(source, NONE).read(lookup(body, FORM)) == value


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("body.amount", {"Amount": 1}),
        ("body.amount", {"amount": 1, "Amount": 2}),
        ("body.amount", {"AMOUNT": None}),
        ("body.order.amount", {"order": {"amount": 1}, "Order": {"amount": 2}}),
        ("body.order.amount", {"order": {"Amount": 1}}),
        ("body.order.amount", {"order": {"amount": 1, "amoUnt": 1}}),
        ("body.sum", {"\u017fum": 1}),
        ("body.sum", {"sum": 1, "\u017fum": 1}),
    ],
)
def test_another_name_that_differs_in_case_only_is_refused(source, body):
    # To Go's encoding/json, and to ASP.NET, these are one name, and the last value counts.
    with pytest.raises(RequestRefused) as caught:
        parse_source(source, NONE).read(lookup(body))
    assert caught.value.reason is Reason.BAD_BODY


def test_names_that_nothing_reads_may_differ_in_case():
    assert parse_source("body.a", NONE).read(lookup({"a": 1, "b": 2, "B": 3})) == 1


@pytest.mark.parametrize("source", ["body.", "body", "body..a", "body.a.", "body.a..b"])
def test_bad_names_are_refused_at_load(source):
    with pytest.raises(MappingError):
        parse_source(source, NONE)


def test_a_form_in_parts_is_read_like_any_form():
    body = b'--x\r\nContent-Disposition: form-data; name="x"\r\n\r\n7\r\n--x--\r\n'
    rules = BodyRules(kinds=frozenset({BodyKind.MULTIPART}))
    table, problems = compile_routes(
        (spec(body=rules, context={"x": AttributeSpec(type="long", source="body.x", required=True)}),)
    )
    assert problems == ()
    made = Lookup(request_with(body, MULTIPART), IDENTITY, {}, rules)
    assert table.routes[0].query(made).context == {"x": 7}


# --- of which type ----------------------------------------------------------------------------------------

BAD = Reason.BAD_PARAMETER


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("long", 5, 5), ("long", "5", BAD), ("long", 5.0, BAD), ("long", True, BAD), ("long", [5], BAD),
        ("long", 2**63 - 1, 2**63 - 1), ("long", 2**63, BAD), ("long", {}, BAD), ("long", None, None),
        ("bool", True, True), ("bool", "true", BAD), ("bool", "false", BAD), ("bool", 0, BAD),
        ("string", "a", "a"), ("string", 5, "5"), ("string", 5.5, BAD), ("string", True, BAD), ("string", ["a"], BAD),
        ("string", "", BAD), ("string", {"a": 1}, BAD),
        ("set", ["a", "b", "a"], ("a", "b")), ("set", [], ()), ("set", "a", BAD), ("set", [["a"]], BAD),
        ("set", ["a", None], BAD), ("set", {"a": 1}, BAD), ("set", [1.5], BAD),
        ("decimal", "1.5", Extension("decimal", "1.5")), ("decimal", 5, Extension("decimal", "5.0")),
        ("decimal", True, BAD), ("decimal", [1.5], BAD), ("decimal", 0.1, Extension("decimal", "0.1")),
        ("ip", "192.0.2.1", Extension("ip", "192.0.2.1")), ("ip", ["192.0.2.1"], BAD), ("ip", 1, BAD),
        ("datetime", "2026-01-31", Extension("datetime", "2026-01-31")), ("datetime", True, BAD),
        ("entity", "e", EntityUid("T", "e")), ("entity", ["e"], BAD), ("entity", {"__entity": {"type": "A"}}, BAD),
    ],
)  # fmt: skip
def test_a_value_of_json_counts_as_the_type_it_has(kind, value, expected):
    assert mapped(kind, {"x": value}) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("12.34", "12.34"), ("12.3400", "12.3400"), ("1e2", "100.0"), ("1.5e1", "15.0"), ("-0.0", "-0.0"), ("7", "7.0"),
        ("922337203685477.5807", "922337203685477.5807"), ("922337203685477.5808", None), ("0.00001", None),
        ("1.00000", None), ("1e300", None), ("1e-300", None), ("1e999999999", None), ("0e999999999", None),
        ("1E-999999999", None), ("9" * 400, None), ("0." + "1" * 3000, None),
    ],
)  # fmt: skip
def test_a_number_of_json_is_an_exact_decimal_or_none(number, expected):
    data = b'{"x": ' + number.encode() + b"}"
    table, _ = compile_routes((spec(context={"x": AttributeSpec(type="decimal", source="body.x")}),))
    made = Lookup(request_with(data, JSON), IDENTITY, {}, RULES)
    if expected is None:
        with pytest.raises(RequestRefused):
            table.routes[0].query(made)
    else:
        assert table.routes[0].query(made).context == {"x": Extension("decimal", expected)}


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("long", b"x=5", 5), ("long", b"x=5&x=6", BAD), ("bool", b"x=true", True), ("string", b"x=a", "a"),
        ("string", b"x=", BAD), ("set", b"x=a&x=b", ("a", "b")), ("set", b"x=a", ("a",)),
        ("decimal", b"x=1.5", Extension("decimal", "1.5")), ("decimal", b"x=1", BAD),
    ],
)  # fmt: skip
def test_a_value_of_a_form_is_text(kind, body, expected):
    assert mapped(kind, body, FORM) == expected


def test_templates_read_bodies():
    template = parse_template("{body.owner.name}/{body.id}", NONE)
    assert template.render(lookup({"owner": {"name": "n"}, "id": 7})) == "n/7"
    assert template.render(lookup({"id": 7})) is None
    values: tuple[object, ...] = (["n"], 1.5, True, {})
    for value in values:
        with pytest.raises(RequestRefused):
            template.render(lookup({"owner": {"name": value}, "id": 7}))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["string", "long", "bool", "set", "ip", "datetime", "decimal", "entity"])


@given(value=JSONS, kind=KINDS, source=st.sampled_from(["body.x", "body.x.y"]))
def test_whatever_is_sent_is_a_value_of_the_kind_or_refused(value, kind, source):
    expected = {"string": str, "long": int, "bool": bool, "set": tuple, "entity": EntityUid}.get(kind, Extension)
    try:
        got = mapped(kind, {"x": value}, source=source)
    except UnicodeEncodeError:
        return
    assert got is None or isinstance(got, Reason | expected)


# --- when it is read --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"body": None}, "reads no bodies"),
        ({"context": {}}, "nothing reads a `body.NAME`"),
        ({"context": {}, "body": None, "resource_id": "{body.id}"}, "`body.id` is read"),
        ({"context": {}, "body": None, "headers": {"x-a": "{body.id}"}}, "`body.id` is read"),
        ({"context": {}, "body": None, "resource_parents": (("P", "{body.id}"),)}, "`body.id` is read"),
        ({"context": {}, "body": None, "information": {"p": {"k": "{body.id}"}}}, "`body.id` is read"),
    ],
)
def test_a_body_and_what_reads_it_belong_together(changes, text):
    table, problems = compile_routes((spec(**changes),))
    assert [text in problem.message for problem in problems] == [True]
    assert table.routes == ()


def test_a_bad_source_is_not_also_told_as_a_useless_body():
    _, problems = compile_routes((spec(context={"a": AttributeSpec(source="body..x")}),))
    assert len(problems) == 1


class Point:
    async def decide(self, query):
        return Decision(verdict=Verdict.ALLOW)

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


def checked(request, *specs, anonymous=True):
    table, problems = compile_routes(specs)
    assert problems == ()
    known = {EntityUid("User", "a"): IDENTITY} if anonymous else {}
    authorizer = Authorizer(routes=table, authenticators={}, decision_point=Point(), anonymous=known)
    return asyncio.run(authorizer.check(request, Trail()))


@pytest.fixture
def parsed(monkeypatch):
    """Bodies that were parsed."""
    seen = []

    def noted(request, rules):
        seen.append(request)
        return parse_body(request, rules)

    monkeypatch.setattr("authz.core.lookup.parse_body", noted)
    return seen


def test_a_body_is_parsed_once_where_a_mapping_reads_it(parsed):
    context = {name: AttributeSpec(type="long", source=f"body.{name}") for name in ("amount", "tip")}
    outcome = checked(request_with(b'{"amount": 1, "tip": 2}', JSON), spec(context=context))
    assert (outcome.reason, len(parsed)) == (Reason.ALLOWED, 1)


def test_no_body_is_parsed_where_none_reads_it_or_what_comes_before_refuses(parsed):
    request = request_with(b"\xff not json", JSON)
    plain = spec(body=None, context={})
    credentials = spec(anonymous=None)
    elsewhere = spec(path="/b")
    untrusted = replace(request, peer=replace(request.peer, trusted=False))
    reasons = [
        checked(request, plain).reason,
        checked(request, credentials).reason,
        checked(request, elsewhere).reason,
        checked(untrusted, spec()).reason,
    ]
    expected = [Reason.ALLOWED, Reason.NO_CREDENTIALS, Reason.NO_ROUTE, Reason.UNTRUSTED_PEER]
    assert (reasons, parsed) == (expected, [])


def test_a_bad_body_is_denied_at_the_map_stage_also_where_the_route_fails_open():
    outcome = checked(request_with(b"{", JSON), spec(fail_open=True))
    assert isinstance(outcome, Denied)
    assert (outcome.reason, outcome.stage.value, outcome.status) == (Reason.BAD_BODY, "map", 400)


def test_a_required_value_that_is_absent_refuses_the_request():
    required = spec(context={"amount": AttributeSpec(type="long", source="body.amount", required=True)})
    for body in (b"{}", b'{"amount": null}', b""):
        assert checked(request_with(body, JSON), required).reason is Reason.BAD_PARAMETER
        assert checked(request_with(body, JSON), spec()).reason is Reason.ALLOWED
