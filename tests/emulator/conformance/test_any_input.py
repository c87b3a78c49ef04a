"""Any input that the model can describe, and inputs that are nearly so: each answer is the model's, and none a fault.

Inputs are drawn from botocore's own shapes, with what exists (stores, policies, tokens) mixed in, so that many calls get
past the checks of shapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.conformance.model import operations, service, shape
from tests.emulator.conformance.test_boto3_errors import places
from tests.emulator.conformance.world import POOL_ARN, SCHEMA, World, access, token, world

EXAMPLES = 30
"""For each operation."""
DEEPEST = 5

STATEMENTS = (
    "permit(principal, action, resource);",
    'forbid(principal == App::User::"alice", action in App::Action::"viewer", resource) when { context.token.x == 1 };',
    "permit(principal == ?principal, action, resource in ?resource);",
    'permit(principal in ?principal, action, resource) unless { resource.getTag("a") like "*b" };',
    "permit(principal, action, resource",
    "permit(principal, action, resource); permit(principal, action, resource);",
    "// \x00",
)
CEDAR = (
    "{}",
    "[]",
    '{"a": {"__extn": {"fn": "decimal", "arg": "1.0"}}}',
    '[{"uid": {"type": "App::User", "id": "alice"}, "attrs": {"level": 1}, "parents": [], "tags": {"a": "b"}}]',
    '[{"uid": {"__entity": {"type": "App::User", "id": "alice"}}, "attrs": {}, "parents": []}]',
    '{"a": {"__entity": {"type": "App", "id": 1}}}',
    "[" * 200 + "]" * 200,
)
JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    "",
    " ",
    "\x00",
    "é\n",
    "x" * 1000,
    [],
    [None],
    {},
    {"x": {}},
    {"": ""},
)

# Two tokens for the whole run: their times are of no interest here.
TOKENS = st.sampled_from((token(), access(), token(groups="a b"), "a.b.c", "e30.e30.e30"))


def texts(name: str, at: SimpleNamespace) -> st.SearchStrategy[Any]:
    """Texts of the named shape, many of which mean something."""
    of = shape(name)
    known: dict[str, tuple[str, ...]] = {
        "PolicyStoreId": (at.store, at.protected, "policy-store-alias/at"),
        "PolicyId": (at.policy, at.linked, "name/taken"),
        "PolicyTemplateId": (at.template, "name/taken-template"),
        "IdentitySourceId": (at.source,),
        "Alias": ("policy-store-alias/at", "policy-store-alias/b"),
        "PolicyName": ("name/taken", "name/b", ""),
        "PolicyTemplateName": ("name/taken-template", "name/b", ""),
        "PolicyStatement": STATEMENTS,
        "SchemaJson": (json.dumps(SCHEMA), "{}", '{"A": {"entityTypes": {}, "actions": {}}}', '{"A": 1}'),
        "CedarJson": CEDAR,
        "EntityType": ("App::User", "App::Doc", "App::Action"),
        "EntityId": ("alice", "d1", "read"),
        "ActionType": ("App::Action", "Action"),
        "ActionId": ("read", "write"),
        "PrincipalEntityType": ("App::User", "App::Team"),
        "GroupEntityType": ("App::Team",),
        "UserPoolArn": (POOL_ARN,),
        "Issuer": ("https://login.example.com",),
        "AmazonResourceName": (f"arn:aws:verifiedpermissions::123456789012:policy-store/{at.store}",),
        "ResourceArn": (f"arn:aws:verifiedpermissions::123456789012:policy-store/{at.store}",),
    }
    if name == "Token":
        return TOKENS
    if "enum" in of:
        return st.sampled_from(list(of["enum"]))
    if name in known:
        return st.sampled_from(known[name])
    if of.get("pattern", ".*") != ".*":
        return st.from_regex(of["pattern"], fullmatch=True).map(lambda text: text[: of.get("max")])
    return st.text(min_size=of.get("min", 0), max_size=min(of.get("max", 20), 20))


def values(name: str, at: SimpleNamespace, depth: int = DEEPEST) -> st.SearchStrategy[Any]:
    """Values of the named shape; one in some twenty is junk."""
    made = _made(name, at, depth)
    return st.integers(0, 19).flatmap(lambda die: st.sampled_from(JUNK) if die == 0 else made)


def _made(name: str, at: SimpleNamespace, depth: int) -> st.SearchStrategy[Any]:
    of = shape(name)
    match of["type"]:
        case "structure":
            return _structure(of, at, depth)
        case "list":
            return st.lists(values(of["member"]["shape"], at, depth - 1), min_size=of.get("min", 0), max_size=3)
        case "map":
            keys = st.sampled_from(("a", "level", "token", "__entity", "é"))
            return st.dictionaries(keys, values(of["value"]["shape"], at, depth - 1), max_size=3)
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(1, 50)
        case "long":
            return st.integers(-(2**63), 2**63 - 1)
    return texts(name, at)


def _structure(of: Any, at: SimpleNamespace, depth: int) -> st.SearchStrategy[Any]:
    members = {name: one["shape"] for name, one in of["members"].items()}
    if of.get("union"):
        # Sets and records hold values in turn: at the bottom there are none.
        arms = [name for name in members if depth > 0 or name not in {"set", "record"}]
        return st.sampled_from(arms).flatmap(
            lambda arm: st.fixed_dictionaries({arm: values(members[arm], at, depth - 1)})
        )
    required = {name: values(members[name], at, depth - 1) for name in of.get("required", ())}
    optional = {name: values(one, at, depth - 1) for name, one in members.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="module", params=sorted(operations()))
def case(request: pytest.FixtureRequest, here: World) -> tuple[str, SimpleNamespace]:
    """An operation, and one of everything for it alone, since it may delete it."""
    here.client.delete_policy_store_alias(aliasName="policy-store-alias/at", deletionMode="HardDelete")
    here.emulator.clock.advance(9 * 3600)  # the client tokens of the last are forgotten
    return request.param, places(here)


def test_any_input_has_an_answer_of_the_model_and_is_no_fault(here: World, case: tuple[str, SimpleNamespace]):
    operation, at = case

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @given(sent=_made(service()["operations"][operation]["input"]["shape"], at, DEEPEST))
    def any_input(sent: dict[str, Any]) -> None:
        status, body = here.raw(operation, sent)
        assert status in {200, 400, 402, 404, 406, 409}, body

    any_input()
