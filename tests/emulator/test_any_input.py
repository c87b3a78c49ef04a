"""Whatever has the shape of an operation's input is answered, or refused with one of the operation's own errors."""

import asyncio
import gzip
import json
import re
from pathlib import Path

import botocore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.emulator.clock import Clock
from authz.emulator.errors import EmulatorError
from authz.emulator.operations.table import HANDLERS
from authz.emulator.records import IdentitySourceRecord, StoreRecord
from authz.emulator.services import EmulatorSettings, Services
from authz.emulator.shape_tables import MEMBERS, SHAPES, Choice, Flag, Items, Number, Structure, Table, Text
from authz.emulator.shapes import check
from authz.emulator.state import State
from authz.emulator.switches import Switches

MODEL = json.loads(
    gzip.decompress(
        (Path(botocore.__file__).parent / "data/verifiedpermissions/2021-12-01/service-2.json.gz").read_bytes()
    )
)
SCHEMA = '{"N": {"entityTypes": {"U": {}}, "actions": {"a": {"appliesTo": {"principalTypes": ["U"], "resourceTypes": ["U"]}}}}}'
STORE = "policy-store-alias/s"
LIKELY = {
    "PolicyStoreId": [STORE, "s"],
    "AliasName": [STORE, "policy-store-alias/t"],
    "PolicyId": ["name/p", "name/l"],
    "PolicyTemplateId": ["name/t"],
    "Name": ["name/p", "name/q", ""],
    "Statement": [
        "permit(principal, action, resource);",
        'forbid(principal == N::U::"a", action in [N::Action::"a"], resource) when { principal.x > context.y };',
        "permit(principal == ?principal, action, resource);",
        "permit(principal in ?principal, action, resource == ?resource);",
    ],
    "SchemaJson": [SCHEMA, "{}", "[]"],
    "CedarJson": ["{}", "[]", '{"a": {"__entity": {"type": "N::U", "id": "a"}}}', '[{"uid": {"type": "N::U", "id": "a"}, "attrs": {}, "parents": []}]', "{"],
    "EntityType": ["N::U", "U", "N::Action", "if", "a b"],
    "ActionType": ["N::Action", "Action"],
    "PrincipalEntityType": ["N::U", "", "x y"],
    "ResourceArn": ["arn:aws:verifiedpermissions::123456789012:policy-store/s"],
    "UserPoolArn": ["arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_EXAMPLE"],
    "IdentitySourceId": ["i"],
    "Token": ["a.b.c", "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.AAAA"],
}  # fmt: skip
NEVER_RIGHT = {"NextToken"}


def strategy(name, depth=0):
    shape = SHAPES[name]
    match shape:
        case Text():
            return texts(name, shape)
        case Choice():
            return st.sampled_from(shape.words)
        case Number():
            return st.integers(shape.least, shape.most)
        case Flag():
            return st.booleans()
        case Items():
            return st.lists(deeper(shape.of, depth), min_size=shape.least, max_size=max(shape.least, 3))
        case Table():
            return st.dictionaries(strategy(shape.key), deeper(shape.of, depth), max_size=3)
        case Structure():
            known = MEMBERS[shape.members]
            members = {member: deeper(of, depth) for member, of, _ in known if of not in NEVER_RIGHT}
            required = {member: members.pop(member) for member, _, needed in known if needed}
            return st.fixed_dictionaries(required, optional=members)
        case _:
            arms = MEMBERS[shape.members]
            if depth > 8:
                arms = tuple(one for one in arms if isinstance(SHAPES[one[1]], Text | Flag)) or arms
            return st.one_of([st.fixed_dictionaries({member: deeper(of, depth)}) for member, of, _ in arms])


def deeper(name, depth):
    return st.deferred(lambda: strategy(name, depth + 1))


def texts(name, shape):
    if shape.pattern is not None:
        free = st.from_regex(re.compile(shape.pattern, re.ASCII), fullmatch=True)
    else:
        free = st.text(st.characters(codec="utf-8"))
    fitting = free.filter(lambda text: shape.least <= len(text) and (shape.most is None or len(text) <= shape.most))
    if name not in LIKELY:
        return fitting
    likely = st.sampled_from(LIKELY[name])
    # Hardly a text that is drawn freely names a thing that there is.
    return st.integers(0, 9).flatmap(lambda number: fitting if number == 9 else likely)


class World:
    def __init__(self, mode):
        clock = Clock()
        self.services = Services(
            state=State(None, clock), clock=clock, settings=EmulatorSettings(), switches=Switches()
        )
        store, now = "s", clock.stamp()
        with self.services.state.transaction():
            self.services.state.put_store(StoreRecord(id=store, mode="OFF", created=now, updated=now))
        self.call("PutSchema", {"policyStoreId": store, "definition": {"cedarJson": SCHEMA}})
        source = {
            "cognitoUserPoolConfiguration": {
                "userPoolArn": LIKELY["UserPoolArn"][0],
                "clientIds": [],
                "issuer": "https://i",
            }
        }
        with self.services.state.transaction():
            record = IdentitySourceRecord(
                store_id=store, id="i", principal_type="N::U", configuration=source, created=now, updated=now
            )
            self.services.state.put_identity_source(record)
        self.call("CreatePolicyStoreAlias", {"aliasName": STORE, "policyStoreId": store})
        self.call(
            "CreatePolicy",
            {"policyStoreId": store, "name": "name/p", "definition": {"static": {"statement": LIKELY["Statement"][0]}}},
        )
        self.call(
            "CreatePolicyTemplate", {"policyStoreId": store, "name": "name/t", "statement": LIKELY["Statement"][2]}
        )
        linked = {"policyTemplateId": "name/t", "principal": {"entityType": "N::U", "entityId": "a"}}
        self.call("CreatePolicy", {"policyStoreId": store, "name": "name/l", "definition": {"templateLinked": linked}})
        self.call("UpdatePolicyStore", {"policyStoreId": store, "validationSettings": {"mode": mode}})

    def call(self, operation, given):
        async def answer():
            return await HANDLERS[operation](self.services, check(operation, given))

        return asyncio.run(answer())


@pytest.mark.parametrize("operation", HANDLERS)
def test_an_answer_or_an_error_of_the_operation(operation):
    own = {
        MODEL["shapes"][one["shape"]].get("error", {}).get("code", one["shape"])
        for one in MODEL["operations"][operation]["errors"]
    }
    own |= {"ValidationException", "AccessDeniedException", "ThrottlingException"}  # of every operation
    worlds = {mode: World(mode) for mode in ("OFF", "STRICT")}

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(strategy(operation), st.sampled_from(["OFF", "STRICT"]))
    def run(given, mode):
        try:
            answer = worlds[mode].call(operation, given)
        except EmulatorError as error:
            assert error.name in own
            json.dumps(error.body())
        else:
            assert json.loads(json.dumps(answer)) == answer
            output = MODEL["shapes"][MODEL["operations"][operation]["output"]["shape"]]
            assert set(output.get("required", ())) <= answer.keys() <= set(output["members"])

    run()
    for world in worlds.values():
        world.services.state.close()
