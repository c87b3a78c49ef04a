"""The state as decisions see it: what changed since a revision, and a copy that lags behind."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.model import EntityUid
from authz.emulator.clock import Clock
from authz.emulator.records import IdentitySourceRecord, PolicyRecord, SchemaRecord, StoreRecord, TemplateRecord
from authz.emulator.state import State
from authz.emulator.state_view import Selection

AT: dict[str, Any] = {"created": "2026-01-01T00:00:00.000000Z", "updated": "2026-01-01T00:00:00.000000Z"}
STORE = StoreRecord(id="s", mode="OFF", **AT)
USER = EntityUid("U", "a")


def policy(id, **more):
    return PolicyRecord(store_id="s", id=id, type="STATIC", statement=f"// {id}", effect="Permit", **AT, **more)


TEMPLATE = TemplateRecord(store_id="s", id="t", statement="one", slots=("principal",), effect="Permit", **AT)


def link(name):
    return replace(
        policy(name),
        type="TEMPLATE_LINKED",
        template_id="t",
        slots=("principal",),
        principal=USER,
        statement=TEMPLATE.statement,
    )


@pytest.fixture
def state():
    state = State(None, Clock())
    with state.transaction():
        state.put_store(STORE)
    yield state
    state.close()


def write(state, *calls):
    with state.transaction():
        for name, *given in calls:
            getattr(state, name)(*given)


def test_what_is_put_comes_back(state):
    one = policy(
        "p",
        name="name/p",
        principal=USER,
        actions=(EntityUid("Action", "x"),),
        description="d",
        resource=EntityUid("R", '"'),
    )
    template = replace(
        TEMPLATE,
        name="name/t",
        description="d",
        actions=(USER,),
        principal=USER,
        resource=USER,
        slots=("principal", "resource"),
    )
    source = IdentitySourceRecord(store_id="s", id="i", principal_type="U", configuration={"a": {"b": []}}, **AT)
    schema = SchemaRecord(store_id="s", text="{}", namespaces=("a", "b"), **AT)
    store = replace(STORE, description="d", tags={"a": "b"}, encryption={"kmsEncryptionState": {}}, mode="STRICT")
    write(
        state,
        ("put_policy", one, 1),
        ("put_template", template),
        ("put_identity_source", source),
        ("put_schema", schema),
        ("put_store", store),
    )
    view = state.latest
    assert view.policy("s", "p") == view.policy("s", "name/p") == one
    assert view.template("s", "t") == view.template("s", "name/t") == template
    assert state.identity_source("s") == state.identity_source("s", "i") == source
    assert view.schema("s") == schema
    assert state.store("s") == store


def test_each_change_raises_the_revision(state):
    source = IdentitySourceRecord(store_id="s", id="i", principal_type="U", configuration={}, **AT)
    seen = [state.revision("s")]
    for call in [
        ("put_policy", policy("p"), 1),
        ("put_template", TEMPLATE),
        ("put_policy", link("l"), 1),
        ("put_policy", replace(policy("p"), name="name/p"), 1),
        ("delete_policy", "s", "p"),
        ("put_schema", SchemaRecord(store_id="s", text="{}", namespaces=(), **AT)),
        ("delete_schema", "s"),
        ("put_identity_source", source),
        ("delete_identity_source", "s", "i"),
        ("delete_template", "s", "t"),
    ]:
        write(state, call)
        seen.append(state.revision("s"))
    assert seen == sorted(set(seen))
    write(state, ("delete_policy", "s", "nobody"), ("delete_identity_source", "s", "nobody"))
    assert state.revision("s") == seen[-1]
    assert state.revision("nobody") == 0


def test_only_what_changed_is_told(state):
    write(
        state,
        *(("put_policy", policy(name), 1) for name in "abc"),
        ("put_template", TEMPLATE),
        ("put_policy", link("l"), 1),
    )
    first = state.changes("s", 0)
    assert [one.id for one in first.changed] == ["a", "b", "c", "l"]
    assert first.templates == (TEMPLATE,)
    nothing = state.changes("s", first.revision)
    assert (nothing.changed, nothing.deleted, nothing.revision) == ((), (), first.revision)
    write(
        state,
        ("put_policy", policy("d"), 1),
        ("delete_policy", "s", "a"),
        ("put_policy", replace(policy("b"), name="name/b"), 1),
    )
    second = state.changes("s", first.revision)
    assert {one.id for one in second.changed} == {"b", "d"}
    assert second.deleted == ("a",)


def test_a_templates_edit_is_a_change_of_its_links(state):
    write(state, ("put_template", TEMPLATE), ("put_policy", link("l"), 1), ("put_policy", policy("p"), 1))
    since = state.revision("s")
    write(state, ("put_template", replace(TEMPLATE, statement="two")))
    changes = state.changes("s", since)
    assert [(one.id, one.statement) for one in changes.changed] == [("l", "two")]
    write(state, ("delete_template", "s", "t"))
    assert state.changes("s", changes.revision).deleted == ("l",)


def test_the_schema_is_told_as_it_is(state):
    assert state.changes("s", 0).schema is None
    write(state, ("put_schema", SchemaRecord(store_id="s", text='{"a": 1}', namespaces=("a",), **AT)))
    assert state.changes("s", 0).schema == '{"a": 1}'


def interrupted(state, error):
    with state.transaction():
        state.put_policy(policy("a" * 2), 1)
        state.delete_policy("s", "a")
        raise error


def test_an_interrupted_write_leaves_the_old_state(state):
    write(state, ("put_policy", policy("a"), 1))
    before = state.changes("s", 0)
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            interrupted(state, error)
    assert state.changes("s", 0) == before
    write(state, ("put_policy", policy("b"), 1))
    assert [one.id for one in state.changes("s", 0).changed] == ["a", "b"]


def test_writes_belong_into_one_transaction(state):
    with pytest.raises(RuntimeError):
        state.put_policy(policy("a"), 1)
    with state.transaction(), pytest.raises(RuntimeError), state.transaction():
        pass


def test_an_interrupted_write_is_never_seen_by_who_lags(state):
    clock, lag = Clock(), [10.0]
    state = State(None, clock, lambda: lag[0])
    write(state, ("put_store", STORE))
    with pytest.raises(ValueError):
        interrupted(state, ValueError)
    write(state, ("put_policy", policy("b"), 1))
    clock.advance(11)
    assert [one.id for one in state.changes("s", 0).changed] == ["b"]
    state.close()


def model_step(state, wanted, step):
    kind, name = step
    match kind:
        case "put":
            write(state, ("put_policy", policy(name), 1))
            wanted[name] = policy(name)
        case "delete":
            write(state, ("delete_policy", "s", name))
            wanted.pop(name, None)
        case "link":
            if state.latest.template("s", "t") is None:
                write(state, ("put_template", TEMPLATE))
            if wanted.get(name, policy(name)).type == "STATIC":
                write(state, ("delete_policy", "s", name))
            write(state, ("put_policy", link(name), 1))
            wanted[name] = link(name)
        case "edit":
            write(state, ("put_template", replace(TEMPLATE, statement=f"edit {name}")))
        case _:
            write(state, ("delete_template", "s", "t"))
            for other in [one for one, kept in wanted.items() if kept.type != "STATIC"]:
                del wanted[other]


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "link", "edit", "drop"]), st.sampled_from("abcd")), max_size=12
)


@settings(max_examples=60)
@given(st.lists(STEPS, min_size=1, max_size=5), st.booleans())
def test_who_follows_the_changes_has_what_there_is(rounds, lagging):
    clock, lag = Clock(), [0.0]
    state = State(None, clock, lambda: lag[0])
    write(state, ("put_store", STORE))
    if lagging:
        lag[0] = 5.0
    followed: dict[str, PolicyRecord] = {}
    wanted: dict[str, PolicyRecord] = {}
    since = 0
    for steps in rounds:
        for step in steps:
            if step[0] == "put" and wanted.get(step[1], policy("x")).type != "STATIC":
                continue  # the service never makes a link a static policy
            model_step(state, wanted, step)
        clock.advance(6)
        changes = state.changes("s", since)
        for name in changes.deleted:
            followed.pop(name, None)
        followed |= {one.id: one for one in changes.changed}
        since = changes.revision
        assert set(followed) == set(wanted)
        assert followed == {one.id: one for one in state.changes("s", 0).changed}
    state.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_hold_everything_once(state, size):
    write(state, *(("put_policy", policy(f"p{number}"), 1) for number in range(7)))
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        page = state.latest.policies("s", Selection(), after, size)
        assert len(page.items) <= size
        found += [one.id for one in page.items]
        after = page.after
    assert found == [f"p{number}" for number in range(7)]


def test_stamps_are_each_later_than_the_one_before():
    clock = Clock()
    stamps = [clock.stamp() for _ in range(1000)]
    assert stamps == sorted(set(stamps))
