"""Cedar's rules for scopes, one by one, with the section of the Cedar documentation that each comes from.

Each is asked of three: of `index.matches`, which has no engine; of the decision point, which evaluates nothing but what
its index finds; and of Cedar's engine with every policy and every entity, which is the measure. What is drawn at random
stands in `equality/`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import cedarpy
import pytest

from authz.core.cedar_text import scan_statements
from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Effect, Entity, EntitySlice, EntityUid, Policy, PolicySnapshot, Query, TemplateLink, Value
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from authz.pdp.index import Place, matches
from tests.pdp.equality.entities import above, as_json, entity_as_json, uid_as_json
from tests.pdp.full_set import FullSet

EFFECT = "Basic policy construction in Cedar: Effect"
SCOPE = "Basic policy construction in Cedar: Scope"
ANNOTATIONS = "Basic policy construction in Cedar: Annotations"
ALGORITHM = "How Cedar authorization works: Algorithm"
SATISFACTION = "How Cedar authorization works: Policy satisfaction"
EQUALITY = "Operators and functions in Cedar: == (equality)"
MEMBERSHIP = "Operators and functions in Cedar: in (hierarchy membership)"
TYPE_TEST = "Operators and functions in Cedar: is (entity type test)"
TEMPLATES = "Cedar policy templates"
ENTITIES = "Entities in Cedar: Overview of entities"
NAMESPACES = "Entities in Cedar: Namespaces"
GRAMMAR = "Grammar for Cedar syntax"

Triple = tuple[EntityUid, EntityUid, EntityUid]
"""Principal, action, resource."""


def uid(text: str) -> EntityUid:
    """`User::ann` → the entity."""
    kind, _, name = text.rpartition("::")
    return EntityUid(kind, name)


def uids(text: str) -> tuple[EntityUid, ...]:
    return tuple(map(uid, text.split()))


PARENTS = {
    "User::ann": "Group::staff Org::acme",
    "Group::staff": "Group::all",
    "Group::all": "Group::unwritten",  # named here, and given nowhere
    "User::bob": "",
    "N::User::ann": "N::Group::all",
    "Doc::1": "Folder::f",
    "Folder::f": "Folder::top",
    "Action::read": "Action::reading",
    "Action::reading": "Action::anything",
    "Action::anything": "Action::unwritten",
    "Action::write": "Action::anything",
    "N::Action::read": "N::Action::all",
}
TREE = tuple(Entity(uid=uid(name), parents=frozenset(uids(parents))) for name, parents in PARENTS.items())
ANN, BOB, DOC, READ, WRITE = uids("User::ann User::bob Doc::1 Action::read Action::write")
ELSE = uid("Else::x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one constraint takes, and what it does not."""

    section: str
    says: str
    text: str
    """Of a static policy: what stands behind the variable; of a template: with `?` for its slot."""
    value: str = ""
    """What fills the slot."""
    takes: str
    leaves: str

    def __str__(self) -> str:
        return f"{self.says}: {self.text}"


def rule(section: str, says: str, text: str, takes: str, leaves: str, value: str = "") -> Rule:
    return Rule(section=section, says=says, text=text, takes=takes, leaves=leaves, value=value)


ENTITY_RULES = [
    rule(SCOPE, "nothing takes everything", "", "User::ann Group::staff Ghost::x Action::read N::User::ann", ""),
    rule(EQUALITY, "the entity itself", '== User::"ann"', "User::ann", "User::bob User::Ann User:: Group::staff"),
    rule(EQUALITY, "not what is in it", '== Group::"staff"', "Group::staff", "User::ann Group::all"),
    rule(EQUALITY, "one that nobody describes", '== Ghost::"x"', "Ghost::x", "Ghost::y User::x"),
    rule(NAMESPACES, "of one namespace alone", '== N::User::"ann"', "N::User::ann", "User::ann M::User::ann"),
    rule(MEMBERSHIP, "itself", 'in User::"ann"', "User::ann", "User::bob Group::staff Org::acme"),
    rule(MEMBERSHIP, "what has it as parent", 'in Group::"staff"', "User::ann Group::staff", "User::bob Group::all"),
    rule(MEMBERSHIP, "at any distance", 'in Group::"all"', "User::ann Group::staff Group::all", "User::bob Org::acme"),
    rule(
        MEMBERSHIP, "a parent that is only named", 'in Group::"unwritten"',
        "User::ann Group::staff Group::all Group::unwritten", "User::bob N::User::ann",
    ),
    rule(MEMBERSHIP, "itself, described or not", 'in Ghost::"x"', "Ghost::x", "Ghost::y User::ann"),
    rule(ENTITIES, "parents of several types", 'in Org::"acme"', "User::ann Org::acme", "Group::staff User::bob"),
    rule(NAMESPACES, "a group of one namespace alone", 'in N::Group::"all"', "N::User::ann", "User::ann Group::all"),
    rule(TYPE_TEST, "its type", "is User", "User::ann User::bob User::ghost User::", "Group::staff N::User::ann Use::r"),
    rule(TYPE_TEST, "its type with the namespace", "is N::User", "N::User::ann N::User::x", "User::ann N::Group::all"),
    rule(TYPE_TEST, "both", 'is User in Group::"all"', "User::ann", "User::bob Group::staff Group::all N::User::ann"),
    rule(TYPE_TEST, "both of itself", 'is User in User::"ann"', "User::ann", "User::bob Group::staff"),
    rule(TYPE_TEST, "both or nothing", 'is Org in Group::"all"', "", "User::ann Org::acme Group::all"),
    rule(ENTITIES, "an action in that place", '== Action::"read"', "Action::read", "Action::reading User::ann"),
    rule(
        MEMBERSHIP, "an action in that place with its groups", 'in Action::"anything"',
        "Action::read Action::reading Action::write Action::anything", "N::Action::read User::ann",
    ),
    rule(MEMBERSHIP, "a group that is only named", 'in Action::"unwritten"', "Action::read Action::anything", "User::ann"),
    rule(TYPE_TEST, "an action by its type", "is Action", "Action::read Action::x", "N::Action::read User::ann"),
    rule(TYPE_TEST, "an action by both", 'is Action in Action::"reading"', "Action::read", "Action::write User::ann"),
]  # fmt: skip
SLOT_RULES = [
    rule(TEMPLATES, "slot behind ==", "== ?", "User::ann", "User::bob Group::staff", "User::ann"),
    rule(TEMPLATES, "not what is in it", "== ?", "Group::staff", "User::ann", "Group::staff"),
    rule(TEMPLATES, "slot behind in, itself", "in ?", "User::ann", "User::bob Group::staff", "User::ann"),
    rule(TEMPLATES, "slot behind in", "in ?", "User::ann Group::all", "User::bob", "Group::all"),
    rule(
        TEMPLATES, "slot behind in, only named", "in ?", "User::ann Group::unwritten", "User::bob", "Group::unwritten"
    ),
    rule(TEMPLATES, "slot behind is in", "is User in ?", "User::ann", "User::bob Group::staff", "Group::all"),
    rule(TEMPLATES, "slot behind is in, of no such type", "is Org in ?", "", "User::ann Group::all", "Group::all"),
    rule(TEMPLATES, "an action fills it", "in ?", "Action::read Action::reading", "Action::write", "Action::reading"),
]
ACTION_RULES = [
    rule(SCOPE, "nothing takes everything", "", "Action::read Action::x N::Action::read User::ann", ""),
    rule(EQUALITY, "the action itself", '== Action::"read"', "Action::read", "Action::write Action::reading N::Action::read"),
    rule(EQUALITY, "not what is in the group", '== Action::"reading"', "Action::reading", "Action::read"),
    rule(MEMBERSHIP, "itself", 'in Action::"read"', "Action::read", "Action::reading Action::write"),
    rule(MEMBERSHIP, "its group", 'in Action::"reading"', "Action::read Action::reading", "Action::write Action::anything"),
    rule(
        MEMBERSHIP, "a group of its group", 'in Action::"anything"',
        "Action::read Action::reading Action::write Action::anything", "Action::x N::Action::read",
    ),
    rule(MEMBERSHIP, "a group that is only named", 'in Action::"unwritten"', "Action::read Action::unwritten", "Action::x"),
    rule(
        MEMBERSHIP, "any of a list", 'in [Action::"write", Action::"reading"]',
        "Action::write Action::reading Action::read", "Action::anything Action::x",
    ),
    rule(MEMBERSHIP, "a list of one", 'in [Action::"reading"]', "Action::read Action::reading", "Action::write"),
    rule(
        MEMBERSHIP, "a list that takes it twice", 'in [Action::"read", Action::"reading", Action::"read"]',
        "Action::read Action::reading", "Action::write",
    ),
    rule(MEMBERSHIP, "an empty list takes nothing", "in []", "", "Action::read Action:: User::ann"),
    rule(NAMESPACES, "of one namespace alone", 'in [N::Action::"all"]', "N::Action::read N::Action::all", "Action::read"),
]  # fmt: skip


def snapshot(texts: Mapping[str, str], links: Sequence[TemplateLink] = (), schema: str | None = None) -> PolicySnapshot:
    """Policies and templates by id."""
    static: list[Policy] = []
    templates: list[Policy] = []
    for id, text in texts.items():
        (statement,) = scan_statements(text)
        policy = Policy(id=id, text=statement.text, effect=Effect(statement.effect))
        (templates if statement.is_template else static).append(policy)
    return PolicySnapshot(
        version="1", policies=tuple(static), templates=tuple(templates), links=tuple(links), schema=schema
    )


def head(side: str, constraint: str) -> str:
    """A scope that says something of one variable."""
    parts = [f"{name} {constraint.replace('?', f'?{name}')}" if name == side else name for name in SIDES]
    return f"({', '.join(parts)})"


SIDES = ("principal", "action", "resource")


def request(side: str, name: EntityUid) -> Triple:
    """A request with an entity in one place."""
    places = {"principal": ELSE, "action": READ, "resource": ELSE} | {side: name}
    return places["principal"], places["action"], places["resource"]


def whole(handle: FullSet, asked: Triple, context: Mapping[str, Value] | None = None) -> cedarpy.AuthzResult:
    """What the engine says, which is told everything."""
    question = dict(zip(SIDES, map(uid_as_json, asked), strict=True)) | {"context": json.dumps(as_json(context or {}))}
    return cedarpy.is_authorized(question, handle.handle, list(map(entity_as_json, TREE)))


async def all_say(policies: PolicySnapshot, answers: Mapping[Triple, Iterable[str]]) -> None:
    """Of policies that all permit, just these match: that is what index, decision point and engine say."""
    expected = {asked: tuple(sorted(ids)) for asked, ids in answers.items()}
    known, handle = above({entity.uid: entity for entity in TREE}), FullSet.of(policies)
    compiled = compile_snapshot(policies)
    for asked, ids in expected.items():
        places = [Place(one, known.get(one, frozenset((one,)))) for one in asked]
        assert sorted(id for id, row in compiled.rows.items() if matches(row.scope, *places)) == list(ids), asked
        assert sorted(handle.ids[name] for name in whole(handle, asked).diagnostics.reasons) == list(ids), asked
    told = json.dumps(list(map(entity_as_json, TREE)))
    stored, given = replace(policies, entities=told), (EntitySlice(entities=TREE),)
    for source, slices in ((stored, ()), (policies, given)):
        point = CedarDecisionPoint(compile_snapshot(source))
        queries = [Query(principal=p, action=a, resource=r, context={}, entities=slices) for p, a, r in expected]
        decisions = [await point.decide(query) for query in queries]
        assert [decision.policies for decision in decisions] == list(expected.values())
        assert [decision.verdict.value for decision in decisions] == [
            "allow" if ids else "deny" for ids in expected.values()
        ]
        assert [decision.policies for decision in await point.decide_many(queries)] == list(expected.values())


def by_rule(side: str, rule: Rule) -> dict[Triple, tuple[str, ...]]:
    takes = {request(side, one): ("p",) for one in uids(rule.takes)}
    return {**takes, **{request(side, one): () for one in uids(rule.leaves)}}


@pytest.mark.parametrize("side", ["principal", "resource"])
@pytest.mark.parametrize("rule", ENTITY_RULES, ids=str)
async def test_what_a_scope_takes_as_principal_and_as_resource(rule, side):
    await all_say(snapshot({"p": f"permit{head(side, rule.text)};"}), by_rule(side, rule))


@pytest.mark.parametrize("side", ["principal", "resource"])
@pytest.mark.parametrize("rule", SLOT_RULES, ids=str)
async def test_what_a_link_takes_as_principal_and_as_resource(rule, side):
    link = TemplateLink(id="p", template_id="t", values={f"?{side}": uid(rule.value)})
    await all_say(snapshot({"t": f"permit{head(side, rule.text)};"}, [link]), by_rule(side, rule))


@pytest.mark.parametrize("rule", ACTION_RULES, ids=str)
async def test_what_a_scope_takes_as_action(rule):
    await all_say(snapshot({"p": f"permit{head('action', rule.text)};"}), by_rule("action", rule))


GROUPS = """entity User, Doc;
action "unwritten", "x";
action "anything" in ["unwritten"] appliesTo {principal: User, resource: Doc};
action "reading" in ["anything"] appliesTo {principal: User, resource: Doc};
action "read" in ["reading"] appliesTo {principal: User, resource: Doc};
action "write" in ["anything"] appliesTo {principal: User, resource: Doc};"""
# Validation refuses policies for actions that the schema does not have, and for none at all.
DECLARED_RULES = [rule for rule in ACTION_RULES if "N::" not in rule.text and rule.text != "in []"]


@pytest.mark.parametrize("rule", DECLARED_RULES, ids=str)
async def test_so_it_does_where_a_schema_tells_the_groups(rule):
    """Cedar schema format: Actions."""
    policies = snapshot({"p": f"permit{head('action', rule.text)};"}, schema=GROUPS)
    point, handle = CedarDecisionPoint(compile_snapshot(policies)), FullSet.of(policies)
    for (_, action, _), ids in by_rule("action", rule).items():
        query = Query(principal=ANN, action=action, resource=DOC, context={}, entities=())
        assert (await point.decide(query)).policies == ids, action
        assert len(whole(handle, (ANN, action, DOC)).diagnostics.reasons) == len(ids), action


ONE = {
    "principal": {"": "ann bob", '== User::"ann"': "ann", 'in Group::"all"': "ann", "is User": "ann bob",
                  'is User in Org::"acme"': "ann"},
    "action": {"": "read write", '== Action::"read"': "read", 'in Action::"reading"': "read",
               'in [Action::"write", Action::"read"]': "read write"},
    "resource": {"": "1 2", '== Doc::"1"': "1", 'in Folder::"top"': "1", "is Doc": "1 2", 'is Doc in Folder::"f"': "1"},
}  # fmt: skip


async def test_all_three_must_match():
    """Policy satisfaction: every kind of constraint with every other, in one policy set."""
    heads = {
        ", ".join(f"{name} {said}" for name, said in zip(SIDES, texts, strict=True)): [
            ONE[name][said].split() for name, said in zip(SIDES, texts, strict=True)
        ]
        for texts in itertools.product(*ONE.values())
    }
    assert len(heads) == 100
    requests = itertools.product(*(found[""].split() for found in ONE.values()))
    answers = {
        (EntityUid("User", request[0]), EntityUid("Action", request[1]), EntityUid("Doc", request[2])): [
            text for text, takes in heads.items() if all(one in some for one, some in zip(request, takes, strict=True))
        ]
        for request in requests
    }
    assert sorted(map(len, answers.values()))[::7] == [8, 100]
    await all_say(snapshot({text: f"permit({text});" for text in heads}), answers)


@pytest.mark.parametrize("principal", ["==", "in", "is User in"])
@pytest.mark.parametrize("resource", ["==", "in", "is Doc in"])
async def test_a_template_with_both_slots(principal, resource):
    """Cedar policy templates: each link with its own values."""
    text = f"permit(principal {principal} ?principal, action, resource {resource} ?resource);"
    values = {"a": ("User::ann", "Doc::1"), "b": ("User::bob", "Doc::1"), "c": ("Group::all", "Folder::top")}
    links = [
        TemplateLink(id=id, template_id="t", values={"?principal": uid(first), "?resource": uid(second)})
        for id, (first, second) in values.items()
    ]
    groups = ["c"] if "in" in principal and "in" in resource else []
    answers = {
        (ANN, READ, DOC): ["a", *groups],
        (BOB, READ, DOC): ["b"],
        (ANN, READ, uid("Doc::2")): [],
        (uid("User::x"), READ, DOC): [],
    }
    await all_say(snapshot({"t": text}, links), answers)


# --- how a scope is written

SPELLINGS = [
    # section, what, text, principal that matches, one that does not
    (GRAMMAR, "no space", 'permit(principal==User::"ann",action,resource);', "User::ann", "User::bob"),
    (GRAMMAR, "space round ::", 'permit(principal == User :: "ann", action, resource);', "User::ann", "User::bob"),
    (GRAMMAR, "escapes", r'permit(principal == User::"\u{61}\x6en", action, resource);', "User::ann", "User::bob"),
    (
        GRAMMAR, "comments",
        'permit ( // (principal == User::"bob",\n principal // "\n == // ,\n User // ::\n :: // in\n "ann" // )\n'
        ", action // ]\n, resource);",
        "User::ann", "User::bob",
    ),
    (GRAMMAR, "a comment before it", '// permit(principal,\npermit(principal == User::"ann", action, resource);', "User::ann", "User::bob"),
    (GRAMMAR, "a comma at the end", 'permit(principal == User::"ann", action, resource,);', "User::ann", "User::bob"),
    (GRAMMAR, "brackets", 'permit(principal in ((User::"ann")), action in ([]), resource);', "", "User::ann User::bob"),
    (GRAMMAR, "brackets again", 'permit(principal in ((User::"ann")), action in ([Action::"read"]), resource);', "User::ann", "User::bob"),
    (GRAMMAR, "a list over lines", 'permit(principal == User::"ann", action in [\n Action::"read", // and\n Action::"x",\n], resource);', "User::ann", "User::bob"),
    (NAMESPACES, "a long path", "permit(principal is A::B::C, action, resource);", "A::B::C::x", "B::C::x A::B::x A::B::C::D::x"),
    (NAMESPACES, "a long path with spaces", "permit(principal is A :: B // ::X\n ::C, action, resource);", "A::B::C::x", "A::B::x"),
    (NAMESPACES, "words of the syntax as names", 'permit(principal == when::permit::"x", action, resource);', "when::permit::x", "permit::x when::x"),
    (NAMESPACES, "the variable as a type", "permit(principal is principal, action, resource);", "principal::x", "User::ann"),
    (NAMESPACES, "another variable as a type", 'permit(principal in resource::"x", action, resource);', "resource::x", "User::ann"),
    (
        ANNOTATIONS, "an annotation like a head",
        '@permit("permit(principal, action, resource);")\n@forbid @when("{ false }") permit(principal == User::"ann", action, resource);',
        "User::ann", "User::bob",
    ),
    (
        ANNOTATIONS, "an annotation like a comment",
        '@principal("// ") permit(principal == User::"ann", action, resource);', "User::ann", "User::bob",
    ),
    (
        SATISFACTION, "a condition like a head",
        'permit(principal == User::"ann", action, resource) when { "permit(principal, action, resource)" != ");" };',
        "User::ann", "User::bob",
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", SPELLINGS, ids=lambda row: row[1])
async def test_however_a_scope_is_written_it_means_the_same(row):
    section, says, text, takes, leaves = row
    await all_say(snapshot({"p": text}), by_rule("principal", rule(section, says, text, takes, leaves)))


IDS = {
    r"": "",
    r"a, action == Action::\"x\"": 'a, action == Action::"x"',
    r"), action, resource);": "), action, resource);",
    r"\") when { false };": '") when { false };',
    "// ann": "// ann",
    "?principal": "?principal",
    "in": "in",
    "[]": "[]",
    "*": "*",
    r"\\": "\\",
    r"\\\"": '\\"',
    r"\'": "'",
    r"\n\r\t\0\x7f": "\n\r\t\0\x7f",
    "\n": "\n",
    "\x85\u2028\ufeff": "\x85\u2028\ufeff",
    r"\u{1f980}": "🦀",
    "🦀": "🦀",
    "e\u0301": "e\u0301",
}


@pytest.mark.parametrize("operator", ["==", "in", "is User in"])
@pytest.mark.parametrize("written", IDS, ids=ascii)
async def test_an_id_is_what_its_characters_say(written, operator):
    """Grammar for Cedar syntax: STR, Entity. Two ids are one only if each character is."""
    name = EntityUid("User", IDS[written])
    others = {"User": ["ann", "é", f"{name.id} ", name.id or "x"], "Use": [name.id]}
    answers: dict[Triple, list[str]] = {
        request("principal", EntityUid(kind, other)): [] for kind, found in others.items() for other in found
    }
    answers[request("principal", name)] = ["link", "p"]
    texts = {
        "p": f'permit(principal {operator} User::"{written}", action, resource);',
        "t": f"permit(principal {operator} ?principal, action, resource);",
    }
    await all_say(snapshot(texts, [TemplateLink(id="link", template_id="t", values={"?principal": name})]), answers)


# --- what matches is evaluated, and nothing else is

WORDS = {
    "ALL": "(principal, action, resource)",
    "YES": '(principal in Group::"all", action in Action::"anything", resource)',
    "USER": "(principal is User, action, resource)",
    "NO": '(principal == User::"bob", action, resource)',
    "SLOT": "(principal in ?principal, action, resource)",
    "BOTH": "(principal == ?principal, action, resource in ?resource)",
    "ERRS": "when { principal.missing }",
}
"""What stands for what in the policies below, which are asked about `ann`."""


def policy(text: str) -> str:
    return "".join(WORDS.get(word, word) for word in re.split(r"\b", text)) + ";"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What comes of a whole policy set for `ann`."""

    section: str
    says: str
    texts: Mapping[str, str]
    links: Mapping[str, str] | None = None
    """Link → its template; the slot is filled with `ann`."""
    verdict: str
    policies: str = ""
    errors: str = ""
    fails: bool = False
    """With `on_forbid_error: fail` there is no decision."""

    def __str__(self) -> str:
        return self.says


def case(section: str, says: str, answer: str, links: Mapping[str, str] | None = None, **texts: str) -> Case:
    """An answer is `verdict by policies but errors`; `!` where a forbid's error is none."""
    found, _, errors = answer.removesuffix("!").partition(" but ")
    verdict, _, policies = found.partition(" by ")
    return Case(
        section=section,
        says=says,
        texts={id: policy(text) for id, text in texts.items()},
        links=links,
        verdict=verdict,
        policies=policies,
        errors=errors,
        fails=answer.endswith("!"),
    )


CASES = [
    case(ALGORITHM, "no policy denies", "deny"),
    case(ALGORITHM, "no policy that matches denies", "deny", a="permit NO", b="forbid NO"),
    case(ALGORITHM, "a permit allows", "allow by a", a="permit YES", b="permit NO"),
    case(ALGORITHM, "every permit that holds is told", "allow by a c", a="permit YES", b="permit NO", c="permit ALL"),
    case(EFFECT, "a forbid wins", "deny by c", a="permit YES", b="permit ALL", c="forbid YES"),
    case(EFFECT, "a forbid that does not match forbids nothing", "allow by a", a="permit YES", b="forbid NO"),
    case(SATISFACTION, "a condition must hold too", "deny", a="permit YES when { false }", b="permit YES unless { true }"),
    case(SATISFACTION, "all conditions must hold", "allow by b", a="permit YES when { true } when { false }", b="permit YES when { true } unless { false }"),
    case(SATISFACTION, "a condition behind one that is false is not asked", "deny", a="permit YES when { false } ERRS"),
    case(SATISFACTION, "where the scope does not match no condition is asked", "allow by a", a="permit YES", b="forbid NO ERRS", c="permit NO ERRS"),
    case(ALGORITHM, "a permit that errs grants nothing", "deny but a", a="permit YES ERRS"),
    case(ALGORITHM, "a permit that errs takes nothing", "allow by b but a", a="permit YES ERRS", b="permit YES"),
    case(ALGORITHM, "a forbid that errs is skipped", "allow by b but a!", a="forbid YES ERRS", b="permit YES"),
    case(ALGORITHM, "a forbid that errs beside one that holds", "deny by b but a!", a="forbid YES ERRS", b="forbid YES", c="permit YES"),
    case(ALGORITHM, "a policy under two ids is two", "allow by a b", a="permit YES", b="permit YES"),
    case(ALGORITHM, "a forbid under two ids is two", "deny by a b", a="forbid YES", b="forbid YES", c="permit YES"),
    case(ALGORITHM, "one that errs under two ids errs twice", "deny but a b!", a="forbid YES ERRS", b="forbid YES ERRS"),
    case(ALGORITHM, "one condition under two heads", "allow by a c", a="permit YES when { true }", b="permit NO when { true }", c="permit USER when { true }"),
    case(ALGORITHM, "one condition under two effects", "deny by b", a="permit YES when { true }", b="forbid YES when { true }"),
    case(TEMPLATES, "a template without a link decides nothing", "deny", a="permit SLOT", b="forbid BOTH"),
    case(TEMPLATES, "nor does it forbid or err", "allow by b", a="forbid SLOT ERRS", b="permit YES"),
    case(TEMPLATES, "its links do, each by its own id", "allow by l m", {"l": "a", "m": "a"}, a="permit SLOT"),
    case(TEMPLATES, "a link that forbids wins", "deny by l", {"l": "a"}, a="forbid SLOT", b="permit YES"),
    case(TEMPLATES, "a link errs by its own id", "allow by b but l m!", {"l": "a", "m": "a"}, a="forbid SLOT ERRS", b="permit YES"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_what_comes_of_what_matches(case):
    links = [TemplateLink(id=id, template_id=one, values={"?principal": ANN}) for id, one in (case.links or {}).items()]
    policies = snapshot(case.texts, links)
    handle = FullSet.of(policies)
    answer = whole(handle, (ANN, READ, DOC))
    erring = {name for name in handle.ids for text in answer.diagnostics.errors if f"`{name}`" in text}
    assert answer.decision.value.lower() == case.verdict
    assert sorted(handle.ids[name] for name in answer.diagnostics.reasons) == case.policies.split()
    assert sorted(handle.ids[name] for name in erring) == case.errors.split()
    query = Query(principal=ANN, action=READ, resource=DOC, context={}, entities=(EntitySlice(entities=TREE),))
    compiled = compile_snapshot(policies)
    for settings in (CedarSettings(), CedarSettings(on_forbid_error="fail")):
        point = CedarDecisionPoint(compiled, settings)
        if case.fails and settings.on_forbid_error == "fail":
            with pytest.raises(DecisionUnavailable) as caught:
                await point.decide(query)
            assert caught.value.reason is Reason.FORBID_ERROR
            continue
        decision = await point.decide(query)
        assert decision.verdict.value == case.verdict
        assert decision.policies == tuple(case.policies.split())
        assert tuple(error.policy_id for error in decision.errors) == tuple(case.errors.split())


@pytest.mark.parametrize("text", ["permit NO", "forbid NO ERRS", "permit YES"])
@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, (1, 2**63), {"a": 2**63}, EntityUid("no type", "x")], ids=str)
async def test_a_context_that_is_none_is_a_failure_where_no_policy_matches_too(text, value):
    """How Cedar authorization works: Request creation. What is no request is neither allowed nor denied."""
    policies = snapshot({"p": policy(text)})
    assert whole(FullSet.of(policies), (ANN, READ, DOC), {"n": value}).decision is cedarpy.Decision.NoDecision
    point = CedarDecisionPoint(compile_snapshot(policies))
    query = Query(principal=ANN, action=READ, resource=DOC, context={"n": value}, entities=())
    for ask in (point.decide(query), point.decide_many([query, query])):
        with pytest.raises(DecisionUnavailable) as caught:
            await ask
        assert caught.value.by_query
