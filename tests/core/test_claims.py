"""A verified token's claims → principal, parents, attributes, `context.token`."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.claims import (
    MAX_DEPTH,
    MAX_GROUPS,
    MAX_ID,
    MAX_ITEMS,
    MAX_TEXT,
    IdentitySource,
    identity_from_claims,
    numeric_date,
    value_from_json,
)
from authz.core.errors import Misconfigured, Reason, Unauthenticated
from authz.core.model import Credential, EntityUid, Extension, Identity

ISSUER = "https://login.example.com"


def source(**changes: Any) -> IdentitySource:
    return IdentitySource(**{"principal_type": "App::User"} | changes)


def grouped(**changes: Any) -> IdentitySource:
    return source(**{"group_type": "App::Group", "group_claim": "groups"} | changes)


def identity(claims: Mapping[str, Any], using: IdentitySource | None = None) -> Identity:
    return identity_from_claims(claims, using or source(), issuer=ISSUER, credential=None)


def refused(claims: Mapping[str, Any], using: IdentitySource | None = None) -> str:
    with pytest.raises(Unauthenticated) as caught:
        identity(claims, using)
    assert caught.value.reason is Reason.TOKEN_CLAIMS
    return caught.value.detail


class TestPrincipal:
    @pytest.mark.parametrize(
        ("settings", "claims", "expected"),
        [
            ({}, {"sub": "u-1"}, "u-1"),
            ({"prefix": "us-east-1_Example"}, {"sub": "u-1"}, "us-east-1_Example|u-1"),
            ({"prefix": "login.example.com", "id_claim": "email"}, {"email": "a@b.c"}, "login.example.com|a@b.c"),
        ],
    )
    def test_its_id_is_the_id_claim_with_the_prefix(self, settings, claims, expected):
        assert identity(claims, source(**settings)).principal == EntityUid("App::User", expected)

    @pytest.mark.parametrize(
        "value",
        [None, "", 7, True, ["u-1"], {"a": "b"}, "u\n1", "u\x00", "u\x7f", "\ud800", "x" * (MAX_ID + 1)],
    )
    def test_it_is_refused_without_a_usable_id(self, value):
        detail = refused({"sub": value})
        assert "`sub`" in detail
        assert str(value) not in detail.replace("`sub`", "") or value in (None, "")

    def test_it_is_refused_where_the_claim_is_absent(self):
        assert "`email`" in refused({"sub": "u-1"}, source(id_claim="email"))

    def test_the_prefix_counts_for_the_length(self):
        assert identity({"sub": "x" * MAX_ID}).principal.id == "x" * MAX_ID
        refused({"sub": "x" * MAX_ID}, source(prefix="p"))

    @pytest.mark.parametrize(
        ("claims", "subject"),
        [({"sub": "u-1", "email": "a@b.c"}, "u-1"), ({"email": "a@b.c"}, "a@b.c"), ({"sub": 7, "email": "e"}, "e")],
    )
    def test_the_subject_is_sub_or_else_the_id(self, claims, subject):
        assert identity(claims, source(id_claim="email")).subject == subject

    def test_it_carries_what_was_verified(self):
        credential = Credential(kind="access", secret="s")
        claims = {"sub": "u-1", "exp": 1_800_000_000}
        made = identity_from_claims(claims, source(), issuer=ISSUER, credential=credential)
        assert (made.scheme, made.issuer, made.expires_at) == ("bearer", ISSUER, 1_800_000_000.0)
        assert made.credential is credential
        assert made.claims == claims


class TestGroups:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("admins", {"admins"}),
            ("admins  users", {"admins", "users"}),
            ("", set()),
            (["admins", "night shift"], {"admins", "night shift"}),
            (["a", "a"], {"a"}),
            ([], set()),
            (None, set()),
        ],
    )
    def test_they_are_parents_of_the_principal(self, value, expected):
        made = identity({"sub": "u-1", "groups": value}, grouped(prefix="p"))
        parents = {EntityUid("App::Group", f"p|{name}") for name in expected}
        principal, *groups = made.entities.entities
        assert principal.uid == made.principal
        assert principal.parents == parents
        assert {group.uid for group in groups} == parents
        assert len(groups) == len(parents)
        assert all(not group.parents and not group.attributes for group in groups)

    @pytest.mark.parametrize(
        "value",
        [7, True, {"a": 1}, ["a", None], ["a", 7], ["a", ""], [["a"]], ["a\n"], ["\ud800"], ["x" * (MAX_ID + 1)]],
    )
    def test_none_is_dropped_a_token_with_an_odd_one_is_refused(self, value):
        refused({"sub": "u-1", "groups": value}, grouped())

    def test_their_number_is_bounded(self):
        many = [f"g{n}" for n in range(MAX_GROUPS)]
        assert len(identity({"sub": "u-1", "groups": many}, grouped()).entities.entities) == MAX_GROUPS + 1
        refused({"sub": "u-1", "groups": [*many, "one more"]}, grouped())
        refused({"sub": "u-1", "groups": " ".join([*many, "more"])}, grouped())

    def test_groups_that_are_kept_elsewhere_are_not_no_groups(self):
        elsewhere = {"sub": "u-1", "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}}
        assert "distributed" in refused(elsewhere, grouped())
        identity(elsewhere | {"groups": ["a"]}, grouped())

    def test_without_group_settings_there_are_none(self):
        made = identity({"sub": "u-1", "groups": ["a"]})
        assert [entity.parents for entity in made.entities.entities] == [frozenset()]


class TestAccessToken:
    def test_its_claims_are_the_token_of_the_context_and_no_attributes(self):
        claims = {"sub": "u-1", "client_id": "c", "exp": 5, "cognito:groups": ["a"], "scope": "read  write"}
        made = identity(claims)
        assert made.token == {
            "sub": "u-1",
            "client_id": "c",
            "exp": 5,
            "cognito:groups": ("a",),
            "scope": ("read", "write"),
        }
        assert made.entities.entities[0].attributes == {}

    @pytest.mark.parametrize(
        ("scope", "expected"), [("", ()), ("read", ("read",)), (["a b", "c"], ("a b", "c")), (7, 7)]
    )
    def test_scope_is_a_set(self, scope, expected):
        token = identity({"sub": "u-1", "scope": scope}).token
        assert token is not None
        assert token["scope"] == expected


class TestIdToken:
    def test_its_claims_are_attributes_and_the_context_gets_nothing(self):
        claims = {
            "sub": "u-1",
            "custom:department": "hr",
            "email_verified": True,
            "scope": "a b",
            "address": {"x": 1.5},
        }
        made = identity(claims, source(token="id"))
        assert made.token is None
        assert made.entities.entities[0].attributes == {
            "sub": "u-1",
            "custom:department": "hr",
            "email_verified": True,
            "scope": "a b",
            "address": {},
        }

    def test_cognito_groups_are_never_an_attribute(self):
        claims = {"sub": "u-1", "cognito:groups": ["a"], "groups": ["b"]}
        made = identity(claims, grouped(token="id", group_claim="cognito:groups"))
        assert dict(made.entities.entities[0].attributes) == {"sub": "u-1", "groups": ("b",)}
        assert made.entities.entities[0].parents == {EntityUid("App::Group", "a")}


class TestEitherToken:
    @pytest.mark.parametrize("kind", ["access", "id"])
    def test_it_is_the_kind_that_it_says(self, kind):
        claims = {"sub": "u-1", "token_use": kind, "scope": "a b"}
        either, one = identity(claims, source(token="either")), identity(claims, source(token=kind))
        assert (either.token, either.entities.entities) == (one.token, one.entities.entities)

    @pytest.mark.parametrize("use", [None, "", "refresh", "ACCESS", ["id"], True, {"id": 1}])
    def test_one_that_does_not_say_is_refused(self, use):
        with pytest.raises(Unauthenticated) as caught:
            identity({"sub": "u-1", "token_use": use}, source(token="either"))
        assert caught.value.reason is Reason.TOKEN_TYPE


@pytest.mark.parametrize("kind", ["access", "id"])
class TestBothTokens:
    @pytest.mark.parametrize("name", ["cognito", "custom", "dev"])
    def test_a_claim_beside_its_own_prefix_is_refused(self, kind, name):
        refused({"sub": "u-1", name: "x", f"{name}:tier": "y"}, source(token=kind))
        identity({"sub": "u-1", name: "x"}, source(token=kind))
        identity({"sub": "u-1", f"{name}:tier": "y"}, source(token=kind))

    @pytest.mark.parametrize("key", ["__entity", "__extn", "__expr"])
    def test_no_claim_becomes_an_entity(self, kind, key):
        hostile = {"type": "App::User", "id": "admin"}
        made = identity({"sub": "u-1", key: hostile, "a": {key: hostile}, "b": [{key: hostile}]}, source(token=kind))
        values = made.token if kind == "access" else made.entities.entities[0].attributes
        assert values == {"sub": "u-1", "b": ()}


class TestValueFromJson:
    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ("", ""),
            ("é\x00", "é\x00"),
            (True, True),
            (False, False),
            (0, 0),
            (2**63 - 1, 2**63 - 1),
            (-(2**63), -(2**63)),
            ([], ()),
            ({}, {}),
            (["a", 1, [True]], ("a", 1, (True,))),
            ({"a": {"b": [1]}}, {"a": {"b": (1,)}}),
            ("x" * MAX_TEXT, "x" * MAX_TEXT),
            ([0] * MAX_ITEMS, (0,) * MAX_ITEMS),
            ({str(n): n for n in range(MAX_ITEMS)}, {str(n): n for n in range(MAX_ITEMS)}),
        ],
    )
    def test_what_cedar_can_say(self, data, expected):
        value = value_from_json(data)
        assert value == expected
        assert type(value) is type(expected)

    @pytest.mark.parametrize(
        "data",
        [
            None,
            1.0,
            float("nan"),
            2**63,
            -(2**63) - 1,
            10**400,
            "\ud800",
            "x" * (MAX_TEXT + 1),
            [0] * (MAX_ITEMS + 1),
            {str(n): n for n in range(MAX_ITEMS + 1)},
            {"__entity": {"type": "U", "id": "a"}},
            {"__extn": {"fn": "ip", "arg": "127.0.0.1"}},
            {"__expr": "1"},
            {"__entity": 1, "other": 2},
            EntityUid("U", "a"),
            Extension("ip", "127.0.0.1"),
            ("a", "tuple"),
            b"bytes",
            {1, 2},
        ],
    )
    def test_what_it_cannot_say_is_left_out(self, data):
        assert value_from_json(data) is None
        assert value_from_json(["keep", data]) == ("keep",)
        assert value_from_json({"keep": 1, "drop": data}) == {"keep": 1}

    def test_a_name_that_is_no_text_is_left_out(self):
        assert value_from_json({"\ud800": 1, "a": 2}) == {"a": 2}

    def test_depth_is_bounded(self):
        deep: object = "bottom"
        for _ in range(MAX_DEPTH):
            deep = [deep]
        flat = value_from_json(deep)
        for _ in range(MAX_DEPTH):
            assert isinstance(flat, tuple)
            (flat,) = flat
        assert flat == "bottom"
        assert "bottom" not in repr(value_from_json([deep]))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
            lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("__entity"), inner),
            max_leaves=50,
        )
    )
    def test_any_json_yields_values_cedar_knows_and_nothing_else(self, data):
        def check(value: object) -> None:
            assert not isinstance(value, EntityUid | Extension)
            match value:
                case bool():
                    pass
                case int():
                    assert -(2**63) <= value < 2**63
                case str():
                    value.encode()
                case tuple():
                    for item in value:
                        check(item)
                case dict():
                    assert "__entity" not in value
                    for member in value.values():
                        check(member)
                case _:
                    raise AssertionError(value)

        value = value_from_json(json.loads(json.dumps(data)))
        if value is not None:
            check(value)


class TestNumericDate:
    @pytest.mark.parametrize(("value", "expected"), [(5, 5.0), (5.5, 5.5), (-1, -1.0), (2**53, 2.0**53)])
    def test_it_is_a_number_of_seconds(self, value, expected):
        assert numeric_date({"exp": value}, "exp") == expected

    def test_it_may_be_absent(self):
        assert numeric_date({}, "exp") is None

    @pytest.mark.parametrize(
        "value", [None, True, "5", [5], {}, float("inf"), float("-inf"), float("nan"), 2**53 + 1, -(10**400), 10**400]
    )
    def test_nothing_else_is_one(self, value):
        with pytest.raises(Unauthenticated) as caught:
            numeric_date({"exp": value}, "exp")
        assert caught.value.reason is Reason.TOKEN_CLAIMS


class TestIdentitySource:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"principal_type": "User "}, "`User `"),
            ({"principal_type": ""}, "entity type"),
            ({"principal_type": "A::1"}, "`A::1`"),
            ({"group_type": "App::Group"}, "both"),
            ({"group_claim": "groups"}, "both"),
            ({"group_type": "App::User", "group_claim": "groups"}, "one of their own"),
            ({"group_type": "no type", "group_claim": "groups"}, "`no type`"),
            ({"id_claim": ""}, "identifies"),
            ({"prefix": ""}, "prefix"),
        ],
    )
    def test_settings_that_do_not_go_together_are_refused(self, settings, words):
        with pytest.raises(Misconfigured, match=words):
            source(**settings)
