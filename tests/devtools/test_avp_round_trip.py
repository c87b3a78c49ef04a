"""Random folders and random stores: pushed, nothing is left to do; pulled, nothing is left to do; the texts stay."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.aws.budget import Budget
from authz.core.avp_names import name_of
from authz.core.cedar_schema import load_schema
from authz.devtools.avp.apply import Push
from authz.devtools.avp.content import Content, Store
from authz.devtools.avp.folder import read_folder
from authz.devtools.avp.plan import Plan, plan
from authz.devtools.avp.pull import pull
from authz.devtools.avp.remote import Remote, read_store
from authz.devtools.avp.units import Action
from authz.devtools.avp.write import write
from tests.devtools.avp_commands import SCHEMA, emulated, folder_of

EFFECTS = st.sampled_from(("permit", "forbid"))
WHEN = st.sampled_from(
    ("", " when { context.a }", "\n  unless { resource.owner == principal }", ' when { "\\"x;" == "y" }')
)
WORDS = st.text("ab./ #ö-_", min_size=1, max_size=6)
IDS = st.sets(st.sampled_from(("a", "b", "team.read", "team/read", "x y", "größe", "links")), max_size=4)
PATHS = st.sampled_from(("one.cedar", "two.cedar", "a.cedar", "sub/one.cedar", "templates/t.cedar", "a-b.cedar"))


@st.composite
def statements(draw, *, template: bool):
    slots = draw(st.sampled_from(((True, True), (True, False), (False, True)))) if template else (False, False)
    principal = "principal == ?principal" if slots[0] else draw(st.sampled_from(("principal", 'principal == U::"a"')))
    resource = "resource in ?resource" if slots[1] else draw(st.sampled_from(("resource", "resource is R")))
    comment = draw(st.sampled_from(("", "// why\n", "\n\n")))
    return comment, f"{draw(EFFECTS)} ({principal}, action, {resource}){draw(WHEN)};", slots


@st.composite
def folders(draw):
    """Path → text, links among them."""
    files: dict[str, str] = {}
    ids = sorted(draw(IDS))
    names: Counter[str] = Counter()
    made: list[tuple[str, tuple[bool, bool]]] = []
    for path in draw(st.lists(PATHS, unique=True, max_size=4)):
        parts = []
        for number in range(1, draw(st.integers(0, 3)) + 1):
            template = draw(st.booleans()) and draw(st.booleans())
            comment, text, slots = draw(statements(template=template))
            id = ids.pop() if ids and draw(st.booleans()) else ""
            name = name_of(id or f"{path}#{number}", template=template)
            if names[name]:
                break
            names[name] += 1
            if template:
                made.append((id or f"{path}#{number}", slots))
            parts.append(f"{comment}{f'@id({chr(34)}{id}{chr(34)}) ' if id else ''}{text}")
        files[path] = "\n".join(parts) or "// nothing"
    links = []
    for number in range(draw(st.integers(0, 3)) if made else 0):
        template, (principal, resource) = draw(st.sampled_from(made))
        row = {"id": f"link {number}", "template": template}
        row |= {"principal": f'U::"{draw(st.sampled_from(("a", "b c")))}"'} if principal else {}
        row |= {"resource": 'R::"r\\"1"'} if resource else {}
        links.append(row)
    if links:
        files["links.json"] = links  # type: ignore[assignment]
    if draw(st.booleans()):
        files["schema.cedarschema"] = SCHEMA
    return files


@pytest.fixture(scope="module")
def emulator():
    with emulated() as running:
        yield running


@pytest.fixture(scope="module")
def remote(emulator):
    return Remote(client=emulator.client(), budget=Budget(100_000), first_wait=0.01)


@pytest.fixture(scope="module")
def place():
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


def read(folder: Path) -> Content:
    problems: list = []
    content = read_folder(folder, problems)
    assert not problems
    return content


def written(place: Path, name: str, files) -> Content:
    shutil.rmtree(place / name, ignore_errors=True)
    return read(folder_of(place / name, files))


def pushed(remote: Remote, store: str, wanted: Content, *, delete: bool) -> Plan:
    found = plan(wanted, read_store(remote, store), delete=delete)
    assert not [problem for problem in found.problems if problem.severity == "error"]
    result = Push(remote, store).run(found.steps, lambda *_: None)
    assert result.failed is None, result.error
    return found


def pulled(place: Path, name: str, store: Store, local: Content, *, delete: bool = False) -> Content:
    found = pull(store, local, place / name, delete=delete)
    assert not found.problems
    write(place / name, found.edits, lambda _: None)
    (place / name).mkdir(exist_ok=True)
    return read(place / name)


def said(content: Content) -> tuple:
    """What a content means, whatever its ids."""
    texts = {template.id: template.text for template in content.templates}
    return (
        Counter(policy.text for policy in content.policies),
        Counter(texts.values()),
        Counter((texts[link.template], tuple(sorted(link.values.items()))) for link in content.links),
        load_schema(content.schema) if content.schema is not None else None,
    )


SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(first=folders(), second=folders())
def test_a_folder_that_was_pushed_comes_back_from_a_pull(remote, emulator, place, first, second):
    store = emulator.store()
    for files in (first, second, first):
        wanted = written(place, "mine", files)
        pushed(remote, store, wanted, delete=True)
        there = read_store(remote, store)
        assert not plan(wanted, there, delete=True).changes
        assert said(there.content) == said(wanted)
        shutil.rmtree(place / "theirs", ignore_errors=True)
        theirs = pulled(place, "theirs", there, Content())
        assert said(theirs) == said(wanted)
        again = plan(theirs, there, delete=True)
        assert (again.changes, again.problems) == ((), ())


@SLOW
@given(first=folders(), second=folders())
def test_a_folder_is_turned_into_any_store_by_a_pull(remote, emulator, place, first, second):
    store = emulator.store()
    pushed(remote, store, written(place, "one", first), delete=True)
    there = read_store(remote, store)
    local = written(place, "mine", second)
    found = pull(there, local, place / "mine", delete=True)
    if found.problems:
        # What would move other policies' numbers, or stands where another should, is for people.
        assert all(
            "would get other ids" in str(one) or "another policy stands there" in str(one) for one in found.problems
        )
        return
    mine = pulled(place, "mine", there, local, delete=True)
    assert said(mine) == said(there.content)
    again = plan(mine, there, delete=True)
    assert (again.changes, again.problems) == ((), ())
    assert not pull(there, mine, place / "mine", delete=True).edits


NAMES = st.one_of(
    st.just(""), st.text("ab/-_A", min_size=1, max_size=4), st.sampled_from(("templates/a", "a", "a/b", "/", "links"))
)


@SLOW
@given(
    st.lists(st.tuples(NAMES, statements(template=False), st.sampled_from(("", "x", "y", "a"))), max_size=6), st.data()
)
def test_whatever_somebody_made_by_hand_a_pull_leaves_nothing_to_do(remote, emulator, place, rows, data):
    store, client, used, ids = emulator.store(), emulator.client(), set(), set()
    for name, (comment, text, _), id in rows:
        if (name and name in used) or (id and id in ids):
            continue
        used.add(name)
        ids.add(id)
        named = {"name": f"name/{name}"} if name else {}
        statement = f"{comment}{f'@id({chr(34)}{id}{chr(34)}) ' if id else ''}{text}{data.draw(st.sampled_from(('', chr(10), '  // end')))}"
        client.create_policy(policyStoreId=store, definition={"static": {"statement": statement}}, **named)
    there = read_store(remote, store)
    shutil.rmtree(place / "theirs", ignore_errors=True)
    mine = pulled(place, "theirs", there, Content())
    assert said(mine) == said(there.content)
    found = plan(mine, there, delete=True)
    assert (found.changes, found.problems) == ((), ())
    assert {unit.action for unit in found.units} <= {Action.UNCHANGED}
