"""What may be written of a record."""

import math
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Reason
from authz.core.model import Allowed, CanonicalPath, Decision, Effect, EntityUid, Extension, PolicyError, Record
from authz.core.pipeline import PREFLIGHT
from authz.observe.redact import PrincipalForm, Redaction, Redactor, outcome_word
from authz.observe.values import MAX_ITEMS, MAX_TEXT, MAX_UID, clean, shown
from tests.observe.making import (
    ALICE,
    decision,
    denied,
    failed,
    identity,
    query,
    record,
    refused,
    request,
    stuffed,
)

SECRET = "canary-7f3a"


def written(of: Record, **setting: Any) -> str:
    return msgspec.json.encode(Redactor(Redaction(**setting)).line(of)).decode()


def told(of: Record, **setting: Any) -> dict[str, Any]:
    return msgspec.json.decode(written(of, **setting), type=dict[str, Any])


# --- the default


def test_a_line_of_an_allowed_check():
    assert written(record()) == (
        '{"event":"decision","time":"2026-01-02T03:04:05.678Z","decision_id":"d-1","request_id":"proxy-1",'
        '"door":"envoy_http","method":"GET","host":"docs.example.com","route":"read-document",'
        '"outcome":"allowed","status":200,"reason":"allowed",'
        '"principal":"Documents::User::\\"alice\\"","action":"Documents::Action::\\"ReadDocument\\"",'
        '"resource":"Documents::Document::\\"7\\"","verdict":"allow","policies":["read-own"],'
        '"policy_set":"sha256:0f1e","policy_set_age_seconds":1.25,'
        '"timings_us":{"route":3,"authenticate":12,"map":5,"enrich":1,"decide":40,"enforce":3},"duration_us":71}'
    )


def test_the_authenticator_is_named_and_the_kind_of_an_unusual_credential():
    assert told(record(authenticator="session"))["authenticator"] == "session"
    assert "scheme" not in told(record(authenticator="session"))
    for scheme in ("api_key", "certificate"):
        assert told(record(authenticator="a", identity=replace(identity(), scheme=scheme)))["scheme"] == scheme
    assert not {"authenticator", "scheme"} & told(record(identity=None)).keys()


def test_a_line_of_a_denied_check_says_where_it_ended():
    line = told(denied())
    assert {name: line[name] for name in ("outcome", "status", "stage", "reason", "verdict", "policies")} == {
        "outcome": "denied",
        "status": 403,
        "stage": "enforce",
        "reason": "policy_forbid",
        "verdict": "deny",
        "policies": ["no-drafts"],
    }


def test_a_line_of_a_preflight_says_that_no_policy_was_asked():
    line = told(replace(record(), outcome=Allowed(decision=PREFLIGHT), decision=PREFLIGHT, query=None, identity=None))
    assert (line["outcome"], line["verdict"], line["decision_point"]) == ("allowed", "allow", "preflight")
    assert not line.keys() & {"principal", "action", "resource", "policies", "policy_set"}


def test_a_line_of_a_failed_check_has_no_verdict():
    line = told(failed())
    assert (line["outcome"], line["status"], line["stage"]) == ("failed", 503, "decide")
    assert not line.keys() & {"verdict", "policies", "policy_set", "policy_set_age_seconds"}


def test_a_line_of_a_check_that_was_let_through_says_so():
    line = told(failed(let_through=True))
    assert (line["outcome"], line["status"], line["reason"]) == ("let_through", 200, "policies_unavailable")


def test_a_line_of_a_request_that_could_not_be_read():
    assert told(refused("d-9")) == {
        "event": "decision",
        "time": "2026-01-02T03:04:05.678Z",
        "decision_id": "d-9",
        "door": "nginx",
        "outcome": "denied",
        "status": 400,
        "stage": "route",
        "reason": "bad_path",
    }


def test_the_principal_is_told_although_no_query_was_made():
    assert told(failed(query=None))["principal"] == str(ALICE)


def test_policies_that_could_not_be_evaluated_are_told_by_id_only():
    errors = (PolicyError(policy_id="p-1", effect=Effect.FORBID, message=SECRET),)
    text = written(record(decision=decision(errors=errors)))
    assert '"policy_errors":["p-1"]' in text
    assert SECRET not in text


def test_of_the_policies_that_could_not_be_evaluated_the_forbids_are_told_apart():
    errors = tuple(
        PolicyError(policy_id=id, effect=effect, message="")
        for id, effect in {"p-1": Effect.PERMIT, "p-2": Effect.FORBID}.items()
    )
    line = told(record(decision=decision(errors=errors)))
    assert (line["policy_errors"], line["forbid_errors"]) == (["p-1", "p-2"], ["p-2"])
    assert "forbid_errors" not in told(record(decision=decision(errors=errors[:1])))


def test_what_the_policies_were_not_told_is_named_where_the_decision_says_it_and_only_there():
    assert not {"left_out", "left_out_omitted"} & told(record()).keys()
    said = replace(decision(), left_out=("Documents::User.iat", "context.token.jti"))
    line = told(record(decision=said))
    assert line["left_out"] == ["Documents::User.iat", "context.token.jti"]
    assert line == {**told(record()), "left_out": line["left_out"]}


deep = st.recursive(
    st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(SECRET) | st.text(max_size=3), inner),
    max_leaves=8,
)


@given(deep)
def test_nothing_secret_is_written_by_default(depth: object):
    for each in stuffed(SECRET, depth):
        assert SECRET not in written(each)


@given(deep, st.sampled_from(["hashed", "hidden"]))
def test_one_named_field_shows_no_other(depth: object, form: str):
    for each in stuffed(SECRET, depth):
        text = written(
            each,
            show=frozenset({"claims.amr", "context.mfa"}),
            principal=PrincipalForm(form),
            principal_key=b"k" * 32,
        )
        assert SECRET not in text


# --- more, by setting


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("path", "path", "/documents/7"),
        ("source_address", "source_address", "203.0.113.9"),
        ("detail", "detail", "a forbid matched"),
        ("context.ip", "context", {"ip": "ip(203.0.113.9)"}),
        ("claims.email", "claims", {"email": "alice@example.com"}),
        ("claims.amr", "claims", {"amr": ["mfa"]}),
    ],
)
def test_a_named_field_is_shown_and_adds_nothing_else(name: str, field: str, value: object):
    plain, more = told(denied()), told(denied(), show=frozenset({name}))
    assert more == {**plain, field: value}


def test_a_claim_whose_name_has_dots_can_be_named():
    who = identity(claims={"https://example.com/role": "editor"})
    line = told(record(identity=who), show=frozenset({"claims.https://example.com/role"}))
    assert line["claims"] == {"https://example.com/role": "editor"}


@pytest.mark.parametrize("name", ["path", "source_address", "context.ip", "claims.email", "context.absent"])
def test_a_named_field_that_is_not_there_is_left_out(name: str):
    assert told(refused(), show=frozenset({name})) == told(refused())


@pytest.mark.parametrize(
    "name", ["query", "headers", "claims", "context", "claims.", "context.", "body", "PATH", "", "entities.x"]
)
def test_other_fields_cannot_be_shown(name: str):
    with pytest.raises(ValueError, match="unknown field"):
        Redaction(show=frozenset({name}))


def test_the_token_cannot_be_shown_as_a_whole():
    with pytest.raises(ValueError, match=r"name claims instead, as `claims\.<name>`"):
        Redaction(show=frozenset({"context.token"}))


def test_a_hashed_principal_can_be_joined_but_not_read():
    setting = {"principal": PrincipalForm.HASHED, "principal_key": b"k" * 16}
    first, second = told(record(), **setting)["principal"], told(denied(), **setting)["principal"]
    other_person = told(record(query=query(principal=EntityUid("Documents::User", "bob"))), **setting)["principal"]
    other_key = told(record(), principal=PrincipalForm.HASHED, principal_key=b"j" * 16)["principal"]
    assert first == second
    assert len({first, other_person, other_key}) == 3
    assert first.startswith("Documents::User#")
    assert "alice" not in written(record(), **setting)


@pytest.mark.parametrize("key", [b"", b"k" * 15, b"k" * 65])
def test_a_hash_needs_a_key_of_the_right_size(key: bytes):
    with pytest.raises(ValueError, match="a key of 16 to 64 bytes"):
        Redaction(principal=PrincipalForm.HASHED, principal_key=key)


def test_a_hidden_principal_is_left_out():
    line = told(record(), principal=PrincipalForm.HIDDEN)
    assert "principal" not in line
    assert line["resource"] == 'Documents::Document::"7"'


@pytest.mark.parametrize(("form", "shows"), [("hashed", "Documents::User#"), ("hidden", ""), ("shown", str(ALICE))])
def test_a_principal_that_is_what_is_asked_for_is_told_as_the_principal(form: str, shows: str):
    line = told(record(query=query(resource=ALICE)), principal=PrincipalForm(form), principal_key=b"k" * 16)
    assert line.get("resource", "").startswith(shows)
    assert line.get("resource") == line.get("principal")
    assert ("alice" in str(line)) == (form == "shown")


def test_a_key_is_in_no_repr():
    assert SECRET not in repr(Redaction(principal=PrincipalForm.HASHED, principal_key=SECRET.encode() * 2))


# --- bounds and safety

hostile = st.text(st.characters() | st.sampled_from('\n\r\x00\x1b\x85\x9b\u2028\u202e\ud800\udfff"\\'), max_size=600)


@given(hostile)
def test_whatever_stands_in_a_record_becomes_one_line_of_bounded_length(text: str):
    asked = request(
        method=text, host=text, external_id=text, path=CanonicalPath(text=text, segments=()), source_address=text
    )
    said = Decision(verdict=decision().verdict, policies=(text,), version=text)
    each = record(
        text,
        request=asked,
        route=text,
        query=query(principal=EntityUid(text, text), resource=EntityUid("T", text), context={"k": text}),
        identity=identity(claims={"c": text}),
        decision=said,
    )
    line = written(each, show=frozenset({"path", "source_address", "context.k", "claims.c"}))
    # A reader that splits at anything that Unicode calls a line still sees one.
    assert len(line.splitlines()) == 1
    assert not set(line) & set("\x00\x1b\x85\x9b\u2028\u2029\u202e")
    assert len(line) < 12 * (10 * MAX_TEXT + 3 * MAX_UID + 1024)
    assert msgspec.json.decode(line).get("method", "") == clean(text)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("plain", 5, "plain"),
        ("longer", 5, "long…"),
        ("ünï", 5, "ünï"),
        ("a\ud800b", 5, "a\ufffdb"),
        ("é\x1b[2J", 9, "é\ufffd[2J"),
        ("a\u2028b\u202ec", 9, "a\ufffdb\ufffdc"),
        ("", 5, ""),
    ],
)
def test_clean_bounds_and_replaces(text: str, limit: int, expected: str):
    assert clean(text, limit) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("x" * 300, "x" * 255 + "…"),
        (None, None),
        (True, True),
        (-(2**63), -(2**63)),
        (2**63, "<too large>"),
        pytest.param(10**5000, "<too large>", id="more digits than Python prints"),
        (1.5, 1.5),
        (ALICE, 'Documents::User::"alice"'),
        (Extension("decimal", "1.5"), "decimal(1.5)"),
        ((1, "a"), [1, "a"]),
        (frozenset({1}), [1]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        ({1: 2}, {"<int>": 2}),
        ([[[["x"]]]], [[["<too deep>"]]]),
        (list(range(99)), list(range(MAX_ITEMS))),
        ({str(n): n for n in range(99)}, {str(n): n for n in range(MAX_ITEMS)}),
        (b"bytes", "<bytes>"),
        (object(), "<object>"),
    ],
)
def test_a_shown_value_is_bounded_json(value: object, expected: object):
    assert shown(value) == expected


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile | st.binary(max_size=4),
    lambda inner: st.lists(inner) | st.dictionaries(hostile, inner),
    max_leaves=20,
)


@given(json_like)
def test_every_claim_can_be_encoded(value: object):
    msgspec.json.encode(shown(value))


def test_lists_of_policies_are_bounded_and_say_so():
    ids = tuple(f"p-{n}" for n in range(MAX_ITEMS + 5))
    errors = tuple(PolicyError(policy_id=id, effect=Effect.PERMIT, message="") for id in ids)
    line = told(record(decision=decision(policies=ids, errors=errors)))
    assert (len(line["policies"]), line["policies_omitted"]) == (MAX_ITEMS, 5)
    assert (len(line["policy_errors"]), line["policy_errors_omitted"]) == (MAX_ITEMS, 5)
    forbids = tuple(replace(error, effect=Effect.FORBID) for error in errors)
    line = told(record(decision=replace(decision(errors=forbids), left_out=(*ids, "n" * 300))))
    assert (len(line["forbid_errors"]), line["forbid_errors_omitted"]) == (MAX_ITEMS, 5)
    assert (len(line["left_out"]), line["left_out_omitted"]) == (MAX_ITEMS, 6)


@given(st.lists(hostile, max_size=3))
def test_a_name_that_was_left_out_is_made_safe_like_any_other(names: list[str]):
    line = written(record(decision=replace(decision(), left_out=tuple(names))))
    assert len(line.splitlines()) == 1
    assert not set(line) & set("\x00\x1b\x85\x9b\u2028\u2029\u202e")
    assert len(line) < 12 * (10 * MAX_TEXT + 1024)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.9994, "1970-01-01T00:00:01.999Z"),
        (1.9996, "1970-01-01T00:00:02.000Z"),
        (951782400.001, "2000-02-29T00:00:00.001Z"),
        (1767323045.678, "2026-01-02T03:04:05.678Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(seconds: float, text: str):
    assert Redactor(Redaction()).timestamp(seconds) == text


@pytest.mark.parametrize("seconds", [math.nan, math.inf, 1e300])
def test_what_is_no_time_is_refused(seconds: float):
    with pytest.raises((ValueError, OverflowError)):
        Redactor(Redaction()).line(record(time=seconds))


def test_every_outcome_has_its_word():
    assert [outcome_word(each.outcome) for each in (record(), denied(), failed(), failed(let_through=True))] == [
        "allowed",
        "denied",
        "failed",
        "let_through",
    ]


def test_every_reason_is_written_as_its_code():
    for reason in Reason:
        assert told(refused(reason=reason))["reason"] == reason.value
