"""What is configured of an issuer, and what the policy store's identity source says of it, become one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from authz.config.load import load_config
from authz.core.cedar_schema import load_schema
from authz.core.errors import Misconfigured
from authz.core.identity_source import StoreIdentitySource
from authz.core.model import PolicySnapshot
from authz.pdp.compiled import compile_snapshot
from authz.wiring.issuers import RemotePlan, plan_issuers
from authz.wiring.policy_settings import unfit_settings
from tests.authn.issuing import jwk, static

POOL = "eu-west-1_Abc123"
COGNITO = f"https://cognito-idp.eu-west-1.amazonaws.com/{POOL}"
OIDC = "https://login.example.com"
SCHEMA_TEXT = "namespace A { entity User; action read appliesTo { principal: User, resource: User }; }"
SCHEMA = load_schema(SCHEMA_TEXT)


def cognito(**changes: Any) -> StoreIdentitySource:
    base: dict[str, Any] = {
        "id": "IS1",
        "kind": "cognito",
        "issuer": COGNITO,
        "principal_type": "A::User",
        "user_pool": POOL,
        "clients": ("web", "app"),
        "group_type": "A::Group",
    }
    return StoreIdentitySource(**base | changes)


def oidc(**changes: Any) -> StoreIdentitySource:
    base: dict[str, Any] = {
        "id": "IS1",
        "kind": "oidc",
        "issuer": OIDC,
        "principal_type": "A::User",
        "prefix": "login.example.com",
        "token": "access",
        "id_claim": "uid",
        "audiences": ("api", "batch"),
        "group_type": "A::Group",
        "group_claim": "roles",
    }
    return StoreIdentitySource(**base | changes)


def planned(tmp_path, settings: str = "", store: StoreIdentitySource | None = None, schema: Any = SCHEMA):
    """The plans of `issuers`, as indented YAML, and the problems with them."""
    file = tmp_path / "authz.yaml"
    issuers = f"issuers:\n{settings}" if settings else ""
    file.write_text(f"policies: {{path: policies}}\n{issuers}routes: []\n")
    loaded = load_config(file)
    assert loaded.problems == ()
    problems: list[Any] = []
    plans = plan_issuers(loaded.required(), schema, problems, store)
    return plans, [str(problem).replace(f"{file}:", "") for problem in problems]


def told(tmp_path, settings: str, store: StoreIdentitySource | None = None) -> str:
    """What is wrong, where all is wrong that there is."""
    _, (problem,) = planned(tmp_path, settings, store)
    return problem


def terms(plan: Any) -> dict[str, Any]:
    source = plan.source
    return {
        "type": source.principal_type,
        "prefix": source.prefix,
        "claim": source.id_claim,
        "groups": (source.group_type, source.group_claim),
        "token": source.token,
        "audience": set(plan.shape.audience),
        "pool": plan.settings.user_pool,
        "client": plan.settings.client_as_audience,
    }


class TestStoreAlone:
    """No configured issuer has its `iss`: the store's terms are all there is."""

    @pytest.mark.parametrize(
        ("store", "expected"),
        [
            (cognito(), {}),
            (cognito(group_type=""), {"groups": (None, None)}),
            (cognito(clients=("web",)), {"audience": {"web"}}),
        ],
    )
    def test_a_user_pool(self, tmp_path, store, expected):
        (plan,), problems = planned(tmp_path, store=store)
        assert problems == []
        usual: dict[str, Any] = {
            "type": "A::User",
            "prefix": POOL,
            "claim": "sub",
            "groups": ("A::Group", "cognito:groups"),
        }
        usual |= {"token": "either", "audience": {"web", "app"}, "pool": POOL, "client": False}
        assert terms(plan) == usual | expected
        assert isinstance(plan.keys, RemotePlan)
        assert plan.keys.source.issuer == COGNITO

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, {}),
            ({"prefix": ""}, {"prefix": None}),
            ({"group_type": "", "group_claim": ""}, {"groups": (None, None)}),
            (
                {"token": "id", "audiences": (), "clients": ("web",)},
                {"token": "id", "audience": {"web"}, "client": False},
            ),
            # A user pool, told to the store as any OpenID Connect issuer: then it is one.
            ({"issuer": COGNITO}, {}),
            ({"issuer": COGNITO, "prefix": ""}, {"prefix": None}),
        ],
    )
    def test_an_openid_connect_issuer(self, tmp_path, changes, expected):
        (plan,), problems = planned(tmp_path, store=oidc(**changes))
        assert problems == []
        usual: dict[str, Any] = {
            "type": "A::User",
            "prefix": "login.example.com",
            "claim": "uid",
            "groups": ("A::Group", "roles"),
        }
        usual |= {"token": "access", "audience": {"api", "batch"}, "pool": None, "client": True}
        assert terms(plan) == usual | expected

    @pytest.mark.parametrize("store", [cognito(clients=()), oidc(audiences=()), oidc(token="id", audiences=())])
    def test_tokens_meant_for_anybody_are_not_taken_unasked(self, tmp_path, store):
        _, problems = planned(tmp_path, store=store)
        assert len(problems) == 1
        assert "whoever they are meant for" in problems[0]
        assert "`any_audience: true`" in problems[0]

    def test_another_issuer_beside_it(self, tmp_path):
        other = "  - {issuer: 'https://other.example.com', audience: x, principal: {type: A::User, prefix: o}}\n"
        plans, problems = planned(tmp_path, other, cognito())
        assert problems == []
        assert [plan.shape.issuer for plan in plans] == ["https://other.example.com", COGNITO]

    def test_another_issuer_may_not_name_its_principals(self, tmp_path):
        other = f"  - {{issuer: 'https://other.example.com', audience: x, principal: {{prefix: {POOL}}}}}\n"
        _, problems = planned(tmp_path, other, cognito())
        assert len(problems) == 1
        assert "would name the same principals" in problems[0]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"principal_type": "no type"}, "is no Cedar entity type"),
            ({"group_type": "A::User"}, "is the principals' type"),
            ({"issuer": "http://login.example.com"}, "http"),
        ],
    )
    def test_terms_that_cannot_be_are_told(self, tmp_path, changes, words):
        plans, problems = planned(tmp_path, store=oidc(**changes))
        assert plans == ()
        assert words in problems[0]


class TestBoth:
    """What is left out is the store's; how tokens are verified is the configuration's."""

    def test_how_tokens_are_verified_stays(self, tmp_path):
        settings = f"""  - issuer: {COGNITO}
    jwks_uri: https://keys.example.com/jwks
    algorithms: [RS256, ES256]
    leeway: 5s
    types: [JWT]
    clients: [web]
    refresh: 1m
    max_age: 1h
"""
        (plan,), problems = planned(tmp_path, settings, cognito())
        assert problems == []
        assert terms(plan)["token"] == "either"
        assert terms(plan)["groups"] == ("A::Group", "cognito:groups")
        assert isinstance(plan.keys, RemotePlan)
        assert (plan.keys.source.jwks_uri, plan.keys.interval, plan.keys.max_age) == (
            "https://keys.example.com/jwks",
            60,
            3600,
        )
        issuer = plan.issuer(static(jwk("RS256")))
        assert (issuer.leeway, issuer.algorithms, issuer.types) == (5, {"RS256", "ES256"}, {"jwt"})
        assert (issuer.clients, issuer.audiences, issuer.cognito) == ({"web"}, {"web", "app"}, True)

    @pytest.mark.parametrize(
        ("settings", "store", "expected"),
        [
            (f"{COGNITO}, token: access", cognito(), {"token": "access"}),
            (f"{COGNITO}, token: id", cognito(), {"token": "id"}),
            (f"{COGNITO}, token: either", cognito(), {"token": "either"}),
            (f"{COGNITO}, audience: web", cognito(), {"audience": {"web"}}),
            (f"{COGNITO}, audience: other", cognito(clients=()), {"audience": {"other"}}),
            (f"{COGNITO}, any_audience: true", cognito(clients=()), {"audience": set()}),
            (f"{COGNITO}, groups: {{type: A::Group}}", cognito(), {"groups": ("A::Group", "cognito:groups")}),
            (f"{COGNITO}, principal: {{prefix: {POOL}, claim: sub, type: A::User}}", cognito(), {"prefix": POOL}),
            (f"{OIDC}, audience: [batch]", oidc(), {"audience": {"batch"}, "client": True}),
            (f"{OIDC}, audience: x", oidc(audiences=()), {"audience": {"x"}, "client": False}),
            (f"{OIDC}, groups: {{type: A::Group, claim: roles}}", oidc(), {"groups": ("A::Group", "roles")}),
            (f"{OIDC}, principal: {{claim: uid, prefix: login.example.com}}", oidc(), {"claim": "uid"}),
            (f"{OIDC}, token: access", oidc(), {"token": "access"}),
        ],
    )
    def test_what_does_not_contradict_counts(self, tmp_path, settings, store, expected):
        (plan,), problems = planned(tmp_path, f"  - {{issuer: '{settings.replace(',', chr(39) + ',', 1)}}}\n", store)
        assert problems == []
        assert {name: terms(plan)[name] for name in expected} == expected

    @pytest.mark.parametrize(
        ("setting", "store", "mine", "theirs"),
        [
            ("principal: {type: A::Person}", oidc(), "`principal.type` is `A::Person`", "`A::User`"),
            ("principal: {claim: sub}", oidc(), "`principal.claim` is `sub`", "`uid`"),
            ("principal: {prefix: x}", oidc(), "`principal.prefix` is `x`", "`login.example.com`"),
            ("principal: {prefix: x}", oidc(prefix=""), "`principal.prefix` is `x`", "none"),
            ("groups: {type: A::Team}", oidc(), "`groups.type` is `A::Team`", "`A::Group`"),
            ("groups: {type: A::Group, claim: groups}", oidc(), "`groups.claim` is `groups`", "`roles`"),
            ("groups: {type: A::Group}", oidc(group_type="", group_claim=""), "`groups.type` is `A::Group`", "none"),
            ("token: id", oidc(), "`token` is `id`", "`access`"),
            ("token: access", oidc(token="id", clients=("api",)), "`token` is `access`", "`id`"),
            ("token: either", oidc(), "`token` is `either`", "`access`"),
            ("audience: [api, x]", oidc(), "`audience` has `x`", "`api`, `batch`"),
            ("any_audience: true", oidc(), "`any_audience` is `true`", "`api`, `batch`"),
        ],
    )
    def test_what_contradicts_is_told_with_its_line_and_both_values(self, tmp_path, setting, store, mine, theirs):
        problem = told(tmp_path, f"  - issuer: {OIDC}\n    leeway: 5s\n    {setting}\n", store)
        assert problem.startswith("5: ")
        said, _, rest = problem.partition(", and the policy store's identity source ")
        assert mine in said
        assert theirs in rest
        assert rest.endswith("leave the setting out, or change one of them")

    def test_all_contradictions_are_told(self, tmp_path):
        settings = f"  - issuer: {OIDC}\n    token: id\n    principal: {{type: A::Person, prefix: x}}\n"
        _, problems = planned(tmp_path, settings, oidc())
        assert [problem[:2] for problem in problems] == ["5:", "5:", "4:"]

    @pytest.mark.parametrize("store", [cognito(clients=()), oidc(audiences=())])
    def test_tokens_meant_for_anybody_are_not_taken_unasked(self, tmp_path, store):
        problem = told(tmp_path, f"  - issuer: {store.issuer}\n", store)
        assert problem.startswith("3: ")
        assert "`any_audience: true`" in problem

    def test_an_identity_source_of_another_issuer_changes_nothing(self, tmp_path):
        settings = f"  - {{issuer: '{OIDC}', audience: x, principal: {{type: A::User, prefix: o}}}}\n"
        plans, _ = planned(tmp_path, settings, cognito())
        alone, _ = planned(tmp_path, settings)
        assert plans[0].terms == alone[0].terms


class TestConfiguredAlone:
    @pytest.mark.parametrize("audience", ["", ", any_audience: true"])
    def test_an_audience_is_needed(self, tmp_path, audience):
        problem = told(tmp_path, f"  - {{issuer: '{OIDC}', principal: {{type: A::User}}{audience}}}\n")
        assert problem.startswith("3: ")
        assert "`audience`" in problem

    def test_without_one_it_is_never_a_verifiers_issuer(self, tmp_path):
        (plan,), _ = planned(tmp_path, f"  - {{issuer: '{OIDC}', principal: {{type: A::User}}}}\n")
        with pytest.raises(Misconfigured, match="`audience` is empty"):
            plan.issuer(static(jwk("RS256")))

    def test_either_kind_is_for_user_pools(self, tmp_path):
        problem = told(tmp_path, f"  - issuer: {OIDC}\n    audience: x\n    token: either\n")
        assert problem.startswith("5: `token: either` is for Amazon Cognito")
        (plan,), _ = planned(tmp_path, f"  - {{issuer: '{COGNITO}', audience: x, token: either}}\n")
        assert plan.issuer(static(jwk("RS256"))).source.token == "either"

    def test_two_issuers_must_not_name_the_same_principals(self, tmp_path):
        issuer = "  - {issuer: 'https://%s.example.com', audience: api}\n"
        _, problems = planned(tmp_path, f"{issuer % 'a'}{issuer % 'b'}")
        assert any("would name the same principals" in problem for problem in problems)
        prefixed = (issuer % "b").replace("}", ", principal: {prefix: b}}").replace("}}", "}}")
        _, problems = planned(tmp_path, f"{(issuer % 'a').replace('api}', 'api, principal: {prefix: a}}')}{prefixed}")
        assert problems == []

    @pytest.mark.parametrize(
        ("prefix", "kind", "warned"),
        [
            ("", "A::Group", True),
            ("login.example.com", "A::Group", True),
            ("other", "A::Group", True),  # the groups of the first may be called as they like, `other|…` among them
            ("", "A::Team", False),
        ],
    )
    def test_two_issuers_whose_groups_could_be_the_same_are_told(self, tmp_path, prefix, kind, warned):
        """Their principals are of different types; that of a policy store's identity source is one of the two."""
        mine = "  - {issuer: 'https://a.example.com', audience: api, groups: {type: A::Group}}\n"
        store = oidc(principal_type="A::Partner", prefix=prefix, group_type=kind)
        _, problems = planned(tmp_path, mine, store)
        assert [("a group of one of" in problem, "warning" in problem) for problem in problems] == [
            (True, True)
        ] * warned

    def test_groups_with_prefixes_of_their_own_are_nobody_elses(self, tmp_path):
        mine = (
            "  - {issuer: 'https://a.example.com', audience: api, groups: {type: A::Group}, principal: {prefix: a}}\n"
        )
        _, problems = planned(tmp_path, mine, oidc(principal_type="A::Partner"))
        assert problems == []


@pytest.mark.parametrize(
    ("policies", "settings", "store", "warned"),
    [
        ("", f"  - {{issuer: '{OIDC}', audience: x, token: id}}\n", None, True),
        ("", f"  - {{issuer: '{COGNITO}', audience: x, token: either}}\n", None, True),
        ("", f"  - {{issuer: '{OIDC}', audience: x}}\n", None, False),
        ("", "", cognito(), True),
        (", identity_source: ignore", "", cognito(), False),
        ("", "", oidc(), False),
    ],
)
def test_id_tokens_and_entities_that_are_checked_are_warned_of(tmp_path, policies, settings, store, warned):
    file = tmp_path / "authz.yaml"
    issuers = f"issuers:\n{settings}" if settings else ""
    file.write_text(f"policies: {{path: p, validate_entities: true{policies}}}\n{issuers}routes: []\n")
    snapshot = PolicySnapshot(version="1", policies=(), schema=SCHEMA_TEXT, identity_source=store)
    told = [str(found) for found in unfit_settings(load_config(file).required(), compile_snapshot(snapshot))]
    assert any("with ID tokens" in text for text in told) == warned


class TestTerms:
    """A reload keeps the verifier, with all that it remembers, where nothing about issuers changed."""

    SETTINGS = f"  - issuer: {OIDC}\n"

    def test_an_equal_identity_source_is_no_change(self, tmp_path):
        (one,), _ = planned(tmp_path, self.SETTINGS, oidc())
        (other,), _ = planned(tmp_path, self.SETTINGS, replace(oidc(), id="IS2"))
        assert one.terms == other.terms

    def test_what_was_left_out_and_what_the_store_says_are_the_same_terms(self, tmp_path):
        (one,), _ = planned(tmp_path, "", oidc())
        (other,), _ = planned(tmp_path, self.SETTINGS, oidc())
        assert one.terms == other.terms

    @pytest.mark.parametrize(
        "changes",
        [
            {"principal_type": "A::Person"},
            {"prefix": "x"},
            {"id_claim": "sub"},
            {"audiences": ("api",)},
            {"group_type": ""},
            {"group_claim": "groups"},
            {"token": "id", "clients": ("api", "batch")},
        ],
    )
    def test_another_one_is_another_verifier(self, tmp_path, changes):
        (one,), _ = planned(tmp_path, self.SETTINGS, oidc())
        (other,), problems = planned(tmp_path, self.SETTINGS, oidc(**changes))
        assert problems == []
        assert one.terms != other.terms
