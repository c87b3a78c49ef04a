"""What becomes of each thing, table by table: pairs, names, problems, words for people."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from authz.core.avp_names import STAND_IN
from authz.core.model import EntityUid
from authz.devtools.avp.content import Content, IdentitySource, Link, Statement, Store, cut, same_schema
from authz.devtools.avp.plan import Plan, plan
from authz.devtools.avp.report import plan_text, safe

PERMIT = "permit(principal, action, resource);"
OTHER = "permit(principal, action, resource) when { context.a };"
FORBID = "forbid(principal, action, resource);"
TEMPLATE = "permit(principal == ?principal, action, resource);"


def mine(id: str, text: str = PERMIT, key: str = "", *, template: bool = False) -> Statement:
    return Statement(id=id, name=id, text=text, raw=text, key=key, file=f"{id}.cedar", line=1, template=template)


def theirs(id: str, name: str = "", text: str = PERMIT, *, template: bool = False) -> Statement:
    return Statement(id=id, name=name, text=text, raw=text, template=template)


def link(id: str, template: str, user: str, name: str = "", *, file: str = "") -> Link:
    values = {"?principal": EntityUid("U", user)}
    return Link(
        id=id, name=name or (id if file else ""), template=template, values=values, file=file, line=1 if file else None
    )


def planned(wanted: Content, held: Content, *, delete: bool = False) -> Plan:
    return plan(wanted, Store(id="S", content=held), delete=delete)


def actions(found: Plan) -> list[tuple[str, str, str | None]]:
    """Action, name to be, id in the store."""
    return sorted(
        (unit.action.value, unit.name, unit.held.id if unit.held is not None else None) for unit in found.units
    )


POLICIES: dict[str, tuple[list[Statement], list[Statement], list[Any]]] = {
    "new": ([mine("a")], [], [("create", "a", None)]),
    "there": ([mine("a")], [theirs("P", "a")], [("unchanged", "a", "P")]),
    "another condition": ([mine("a")], [theirs("P", "a", OTHER)], [("update", "a", "P")]),
    "another effect": ([mine("a")], [theirs("P", "a", FORBID)], [("replace", "a", "P")]),
    "of the store only": ([], [theirs("P", "a")], [("left", "a", "P")]),
    "the same text without a name": ([mine("a")], [theirs("P")], [("rename", "a", "P")]),
    "in the file kept for its id": ([mine("a", key="P")], [theirs("P")], [("unchanged", "", "P")]),
    "in the file kept for its name": ([mine("a", key="b")], [theirs("P", "b")], [("unchanged", "b", "P")]),
    "changed in the file kept for its id": ([mine("a", key="P")], [theirs("P", "", OTHER)], [("update", "", "P")]),
    "made again, it gets a name": ([mine("a", key="P")], [theirs("P", "", FORBID)], [("replace", "a", "P")]),
    "the name before the file": (
        [mine("a", key="b")],
        [theirs("P", "a"), theirs("Q", "b")],
        [("left", "b", "Q"), ("unchanged", "a", "P")],
    ),
    "a new statement before the others": (
        [mine("d", FORBID), mine("d/2", PERMIT), mine("d/3", OTHER)],
        [theirs("P", "d"), theirs("Q", "d/2", OTHER)],
        [("create", "d", None), ("rename", "d/2", "P"), ("rename", "d/3", "Q")],
    ),
    "two that change places": (
        [mine("a", PERMIT), mine("b", OTHER)],
        [theirs("P", "b"), theirs("Q", "a", OTHER)],
        [("rename", "a", "P"), ("rename", "b", "Q")],
    ),
    "no renaming to a name that stays taken": (
        [mine("b")],
        [theirs("P", "a"), theirs("Q", "b", OTHER)],
        [("left", "a", "P"), ("update", "b", "Q")],
    ),
    "twins": (
        [mine("a"), mine("b")],
        [theirs("P", "a"), theirs("Q", "b")],
        [("unchanged", "a", "P"), ("unchanged", "b", "Q")],
    ),
    "what a push left over": ([mine("a")], [theirs("P", "a"), theirs("Q", f"{STAND_IN}1", FORBID)], [("delete", f"{STAND_IN}1", "Q"), ("unchanged", "a", "P")]),
}  # fmt: skip


@pytest.mark.parametrize("case", POLICIES)
def test_policies(case):
    wanted, held, expected = POLICIES[case]
    found = planned(Content(policies=tuple(wanted)), Content(policies=tuple(held)))
    assert actions(found) == expected
    assert found.problems == ()
    # Templates are paired by the same rules.
    templates = [replace(one, template=True) for one in wanted]
    others = [replace(one, template=True) for one in held]
    assert actions(planned(Content(templates=tuple(templates)), Content(templates=tuple(others)))) == expected


T_MINE, T_THEIRS = mine("t", TEMPLATE, template=True), theirs("T", "t", TEMPLATE, template=True)
LINKS: dict[str, tuple[list[Link], list[Link], list[Any]]] = {
    "new": ([link("l", "t", "a", file="f")], [], [("create", "l", None)]),
    "there": ([link("l", "t", "a", file="f")], [link("L", "T", "a", "l")], [("unchanged", "l", "L")]),
    "there, called by its id": ([link("L", "t", "a", file="f")], [link("L", "T", "a")], [("unchanged", "", "L")]),
    "there without a name": ([link("l", "t", "a", file="f")], [link("L", "T", "a")], [("unchanged", "", "L")]),
    "another entity": ([link("l", "t", "b", file="f")], [link("L", "T", "a", "l")], [("replace", "l", "L")]),
    "another entity, called by its id": (
        [link("L", "t", "b", file="f")],
        [link("L", "T", "a")],
        [("replace", "L", "L")],
    ),
    "of the store only": ([], [link("L", "T", "a", "l")], [("left", "l", "L")]),
    "the same under a name that another is to have": (
        [link("k", "t", "a", file="f"), link("l", "t", "b", file="f")],
        [link("L", "T", "a", "l")],
        [("create", "k", None), ("replace", "l", "L")],
    ),
}


@pytest.mark.parametrize("case", LINKS)
def test_links(case):
    wanted, held, expected = LINKS[case]
    found = planned(
        Content(templates=(T_MINE,), links=tuple(wanted)), Content(templates=(T_THEIRS,), links=tuple(held))
    )
    assert sorted(actions(found)) == sorted([*expected, ("unchanged", "t", "T")])
    assert found.problems == ()


def test_a_link_that_becomes_a_policy_of_its_name_is_replaced():
    found = planned(Content(policies=(mine("l"),)), Content(templates=(T_THEIRS,), links=(link("L", "T", "a", "l"),)))
    assert ("replace", "l", "L") in actions(found)
    assert [step.about for step in found.steps] == ["delete link l, to make it again", "create policy l"]


def test_a_template_that_takes_links_with_it_needs_to_be_told():
    wanted = Content(templates=(mine("t", TEMPLATE.replace("permit", "forbid"), template=True),))
    held = Content(templates=(T_THEIRS,), links=(link("L", "T", "a", "l"),))
    found = planned(wanted, held)
    assert not found.usable
    assert found.steps == ()
    assert "with it would go the link `l`" in str(found.problems[0])
    assert planned(wanted, held, delete=True).usable


def test_links_of_a_template_that_is_made_again_are_made_again_after_it():
    wanted = Content(
        templates=(mine("t", TEMPLATE.replace("permit", "forbid"), template=True),),
        links=(link("l", "t", "a", file="f"),),
    )
    held = Content(templates=(T_THEIRS,), links=(link("L", "T", "a", "l"),))
    assert [step.about for step in planned(wanted, held).steps] == [
        "delete template t and its links, to make it again",
        "create template t",
        "create link l",
    ]


def test_a_forbidding_template_that_changes_is_guarded_with_all_its_links():
    text = TEMPLATE.replace("permit", "forbid")
    wanted = Content(
        templates=(mine("t", text.replace(";", " when { context.a };"), template=True),),
        links=(link("l", "t", "a", file="f"), link("k", "t", "b", file="f")),
    )
    held = Content(
        templates=(theirs("T", "t", text, template=True),), links=(link("L", "T", "a", "l"), link("M", "T", "c", "m"))
    )
    found = planned(wanted, held)
    assert [unit.action.value for unit in found.left] == ["left"]
    assert [step.about for step in found.steps] == [
        "create stand-in of template t",
        "create stand-in of link l",
        "create stand-in of link k",
        "create stand-in of link m",
        "update template t",
        "create link k",
        "delete stand-in of template t",
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        (None, "{}", False),
        ('{"A": {"entityTypes": {}, "actions": {}}}', '{"A":{"actions":{},"entityTypes":{}}}', True),
        ('{"A": {"entityTypes": {"U": {}}, "actions": {}}}', '{"A":{"actions":{},"entityTypes":{}}}', False),
        ('{"A": {"entityTypes": {"U": {"annotations": {"doc": "x"}}}, "actions": {}}}', '{"A": {"entityTypes": {"U": {}}, "actions": {}}}', True),
        ("not json", "not json either", False),
    ],
)  # fmt: skip
def test_schemas_are_compared_by_what_they_mean(one, other, same):
    assert same_schema(one, other) is same


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (PERMIT, PERMIT),
        (f"// why\n\n{PERMIT}\n", PERMIT),
        (f"{PERMIT} // end", PERMIT),
        (f"{PERMIT}{FORBID}", f"{PERMIT}{FORBID}"),
        (" permit( ", "permit("),
    ],
)
def test_a_statement_is_cut_out_of_what_the_store_has(raw, text):
    assert cut(raw) == text


POOL = "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_abcdefghi"


def cognito(**more) -> IdentitySource:
    type = more.pop("type", "App::User")
    return IdentitySource(
        configuration={"cognitoUserPoolConfiguration": {"userPoolArn": POOL, **more}}, principal_type=type
    )


def oidc(**tokens) -> IdentitySource:
    configuration = {"issuer": "https://login.example.com", "tokenSelection": {"accessTokenOnly": tokens}}
    return IdentitySource(configuration={"openIdConnectConfiguration": configuration}, principal_type="App::User")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            cognito(),
            cognito(clientIds=[], issuer="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_abcdefghi"),
            True,
        ),
        (cognito(clientIds=["a", "b"]), cognito(clientIds=["b", "a"]), True),
        (cognito(clientIds=["a"]), cognito(clientIds=["b"]), False),
        (cognito(type=""), cognito(type="AWS::Cognito"), True),
        (cognito(), cognito(groupConfiguration={"groupEntityType": "App::Group"}), False),
        (oidc(), oidc(principalIdClaim="sub", audiences=[]), True),
        (oidc(), oidc(principalIdClaim="email"), False),
        (oidc(), cognito(), False),
    ],
)
def test_identity_sources_are_compared_by_what_they_mean(one, other, same):
    found = planned(Content(identity_source=one), Content(identity_source=other))
    assert (not found.changes) is same
    assert len(found.steps) == (0 if same else 1)


def test_a_schema_goes_first_and_leaves_last():
    schema = json.dumps({"App": {"entityTypes": {}, "actions": {}}})
    first = planned(Content(schema=schema, policies=(mine("a"),)), Content())
    assert [step.about for step in first.steps] == ["create schema", "create policy a"]
    last = planned(Content(), Content(schema=schema, policies=(theirs("P", "a"),)), delete=True)
    assert [step.about for step in last.steps] == ["delete policy a", "delete schema"]


def test_names_of_a_store_cannot_write_to_the_terminal():
    found = planned(Content(), Content(policies=(theirs("P", "evil\x1b[2J\nname\u202e"),)))
    text = plan_text(found, Store(id="S"), "folder", 5)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "evil\\x1b[2J\\nname\\u202e" in text
    assert safe("größe") == "größe"
