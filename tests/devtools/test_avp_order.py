"""A push opens nothing at any moment, wherever it stops, and pushing again reaches what was wanted."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.avp_names import NameFault, name_of
from authz.core.model import EntityUid
from authz.devtools.avp.content import Content, Link, Statement
from authz.devtools.avp.plan import plan
from authz.devtools.avp.steps import Phase
from authz.devtools.avp.units import Action
from tests.devtools.avp_model import ANY, RESOURCES, UNLESS, USERS, FakeStore, text_of

EFFECTS = st.sampled_from(("permit", "forbid"))


def statement(id: str, text: str, *, template: bool = False) -> Statement:
    try:
        name, fault = name_of(id, template=template), ""
    except NameFault as error:
        name, fault = "", str(error)
    return Statement(id=id, name=name, fault=fault, text=text, raw=text, template=template, file="f.cedar", line=1)


@st.composite
def statics(draw, id):
    return statement(
        id,
        text_of(
            draw(EFFECTS),
            draw(st.sampled_from((ANY, *USERS))),
            draw(st.sampled_from((ANY, "x"))),
            draw(st.sampled_from((ANY, *RESOURCES))),
            draw(st.sampled_from(UNLESS)),
        ),
    )


@st.composite
def templates(draw, id):
    principal, resource = draw(st.sampled_from((("?", ANY), (ANY, "?"), ("?", "?"))))
    text = text_of(draw(EFFECTS), principal, draw(st.sampled_from((ANY, "x"))), resource, draw(st.sampled_from(UNLESS)))
    return statement(id, text, template=True)


@st.composite
def contents(draw):
    chosen = draw(st.lists(st.sampled_from(("p0", "p1", "p2", "p3")), unique=True))
    made = tuple(draw(templates(id)) for id in draw(st.lists(st.sampled_from(("t0", "t1")), unique=True)))
    linked = draw(st.lists(st.sampled_from(("p3", "l0", "l1", "l2")), unique=True)) if made else []
    links = tuple(draw(link(id, made)) for id in linked if id not in chosen)
    return Content(policies=tuple(draw(statics(id)) for id in chosen), templates=made, links=links)


@st.composite
def tails(draw, old: Statement) -> Statement:
    """Another action or condition: what can be updated in place."""
    head = re.sub(r'action( == Action::"x")?', draw(st.sampled_from(("action", 'action == Action::"x"'))), old.text)
    return replace(old, text=f"{head.partition(' unless ')[0].removesuffix(';')}{draw(st.sampled_from(UNLESS))};")


@st.composite
def pairs(draw):
    """Two contents, the second often an edit of the first."""
    before = draw(contents())
    if draw(st.booleans()):
        return before, draw(contents())
    policies = [draw(st.one_of(st.just(one), tails(one), tails(one))) for one in before.policies]
    made = [draw(st.one_of(st.just(one), tails(one))) for one in before.templates]
    links = [one for one in before.links if draw(st.booleans())]
    return before, Content(policies=tuple(policies), templates=tuple(made), links=tuple(links))


@st.composite
def link(draw, id, made):
    template = draw(st.sampled_from(made))
    values = {
        slot: EntityUid(type, draw(st.sampled_from(ids)))
        for slot, type, ids in (("?principal", "U", USERS), ("?resource", "R", RESOURCES))
        if slot in template.text
    }
    return Link(id=id, name=id, template=template.id, values=values, file="links.json", line=1)


def push(store: FakeStore, wanted: Content, *, delete: bool, stop: int | None = None) -> list[frozenset]:
    """Carries a plan out, up to a step; what was allowed after each."""
    found = plan(wanted, store.store(), delete=delete)
    assert not found.problems
    store.new_push()
    allowed = [store.allowed()]
    for step in found.steps[:stop]:
        store.make(step)
        allowed.append(store.allowed())
    return allowed


@settings(max_examples=300, deadline=None)
@given(both=pairs(), console=st.lists(statics(""), max_size=2), stop=st.integers(0, 12))
def test_nothing_is_allowed_at_any_moment_that_was_not_before_and_will_not_be_after(both, console, stop):
    before, after = both
    store = FakeStore()
    push(store, before, delete=True)
    for policy in console:
        store.add(policy)
    whole = copy.deepcopy(store)
    moments = push(whole, after, delete=True)
    either = moments[0] | moments[-1]
    for moment in moments:
        assert moment <= either
    # Cut off anywhere, and pushed again.
    assert all(moment <= either for moment in push(store, after, delete=True, stop=stop))
    assert all(moment <= either for moment in push(store, after, delete=True))
    assert store.allowed() == moments[-1]
    for one in (store, whole):
        again = plan(after, one.store(), delete=True)
        assert (again.changes, again.steps, again.left, again.problems) == ((), (), (), ())


@settings(max_examples=200, deadline=None)
@given(before=contents(), after=contents())
def test_without_delete_what_only_the_store_has_stays(before, after):
    store = FakeStore()
    push(store, before, delete=True)
    found = plan(after, store.store())
    if found.problems:
        # Only what cannot be done without deleting something.
        assert all("`--delete`" in str(one) or "only the store has" in str(one) for one in found.problems)
        return
    kept = {unit.held.id for unit in found.left if unit.held is not None}
    moments = push(store, after, delete=False)
    assert all(moment <= moments[0] | moments[-1] for moment in moments)
    again = plan(after, store.store())
    assert (again.changes, again.steps) == ((), ())
    assert {unit.held.id for unit in again.left if unit.held is not None} == kept


@given(contents())
def test_a_folder_pushed_into_an_empty_store_makes_forbids_before_permits(wanted):
    found = plan(wanted, FakeStore().store())
    assert {unit.action for unit in found.units} <= {Action.CREATE}
    phases = [step.phase for step in found.steps]
    assert phases == sorted(phases)
    assert set(phases) <= {Phase.TEMPLATES, Phase.FORBID, Phase.PERMIT}
    assert len(found.steps) == len(wanted.policies) + len(wanted.templates) + len(wanted.links)


ALL, NOT_A, NOT_B = (text_of("forbid", ANY, ANY, ANY, unless) for unless in UNLESS)
PERMIT = text_of("permit", ANY, ANY, ANY)


def test_two_forbids_that_change_at_once_leave_no_gap_between_them():
    """`a` is forbidden by the first one now, and by the second one then; in between it is by neither of them alone."""
    store = FakeStore()
    push(store, content(p=PERMIT, one=ALL, two=NOT_A), delete=True)
    after = content(p=PERMIT, one=NOT_A, two=NOT_B)
    steps = plan(after, store.store()).steps
    assert push(store, after, delete=True) == [frozenset()] * 7
    assert [step.about for step in steps] == [
        "create stand-in of policy one",
        "create stand-in of policy two",
        "update policy one",
        "update policy two",
        "delete stand-in of policy one",
        "delete stand-in of policy two",
    ]


def test_one_forbid_that_changes_alone_needs_no_stand_in():
    store = FakeStore()
    push(store, content(p=PERMIT, one=ALL), delete=True)
    assert [step.about for step in plan(content(p=PERMIT, one=NOT_A), store.store()).steps] == ["update policy one"]


def content(**texts: str) -> Content:
    return Content(policies=tuple(statement(id, text) for id, text in texts.items()))


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 5))
def test_names_go_round_in_any_way(places, kept):
    """Renamed in chains and in circles, also where some names are not taken over by anybody."""
    texts = [text_of("permit", ANY, ANY, ANY, f' unless {{ principal == U::"{number}" }}') for number in range(5)]
    store = FakeStore()
    push(store, content(**{f"p{number}": text for number, text in enumerate(texts[:kept])}), delete=True)
    ids = {policy.text: id for id, policy in store.policies.items() if isinstance(policy, Statement)}
    wanted = content(**{f"p{places[number]}": text for number, text in enumerate(texts[:kept])})
    assert {step.phase for step in plan(wanted, store.store()).steps} <= {Phase.RENAME}
    push(store, wanted, delete=True)
    assert {policy.text: id for id, policy in store.policies.items() if isinstance(policy, Statement)} == ids
    assert not plan(wanted, store.store(), delete=True).changes
