"""A store that is read again gives the same objects for what did not change, and the same content as a new one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import Misconfigured
from authz.stores.file import FileStore

PERMIT = "permit(principal, action, resource);\n"
TEMPLATE = "permit(principal == ?principal, action, resource);\n"
LINKS = [{"id": f"l{number}", "template": "t.cedar#1", "principal": f'U::"{number}"'} for number in range(3)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.cedar").write_text(f'@id("x") {PERMIT}\n{PERMIT}')
    (tmp_path / "b.cedar").write_text(f"// b\n{PERMIT}")
    (tmp_path / "t.cedar").write_text(TEMPLATE)
    (tmp_path / "links.json").write_text(json.dumps(LINKS))
    return tmp_path


def store(folder):
    return FileStore(path=folder, now=lambda: 1.5)


def named(snapshot):
    return {item.id: item for item in (*snapshot.policies, *snapshot.templates, *snapshot.links)}


def kept(store, change):
    """Ids of what is the same object after a change."""
    before = named(store.read())
    change()
    return {id for id, item in named(store.read()).items() if before.get(id) is item}


EVERYTHING = {"x", "a.cedar#2", "b.cedar#1", "t.cedar#1", "l0", "l1", "l2"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("README.md", "x", EVERYTHING),
        ("new.cedar", PERMIT, EVERYTHING),
        ("a.cedar", f'@id("x") {PERMIT}\n{PERMIT}', EVERYTHING),
        ("a.cedar", f'@id("x") {PERMIT}\n{PERMIT}{PERMIT}', EVERYTHING),
        ("a.cedar", f'@id("x") {PERMIT}\n{PERMIT.replace("permit", "forbid")}', EVERYTHING - {"a.cedar#2"}),
        ("a.cedar", f'\n@id("x") {PERMIT}\n{PERMIT}', EVERYTHING - {"x", "a.cedar#2"}),  # other lines
        ("b.cedar", PERMIT, EVERYTHING - {"b.cedar#1"}),
        ("t.cedar", f"{TEMPLATE}{PERMIT}", EVERYTHING),
        ("links.json", json.dumps(LINKS, indent=1), EVERYTHING - {"l0", "l1", "l2"}),
        ("schema.cedarschema", "entity U;", EVERYTHING),
    ],
)
def test_what_did_not_change_is_the_same_object(folder, name, text, expected):
    assert kept(store(folder), lambda: (folder / name).write_text(text)) == expected


def test_a_policy_that_moved_keeps_its_text_and_has_its_new_line(folder):
    here = store(folder)
    [before] = [policy for policy in here.read().policies if policy.id == "b.cedar#1"]
    (folder / "b.cedar").write_text(f"// b\n\n{PERMIT}")
    [after] = [policy for policy in here.read().policies if policy.id == "b.cedar#1"]
    assert after == replace(before, line=3)
    assert after.text is before.text


def test_a_file_with_the_content_of_another_has_its_own_ids(folder):
    here = store(folder)
    here.read()
    (folder / "c.cedar").write_text((folder / "b.cedar").read_text())
    assert {policy.id for policy in here.read().policies} == {"x", "a.cedar#2", "b.cedar#1", "c.cedar#1"}


def test_a_fault_is_told_each_time_and_spoils_nothing(folder):
    here = store(folder)
    before = named(here.read())
    for name, text in (("b.cedar", "permit("), ("links.json", "[{}]")):
        good = (folder / name).read_text()
        (folder / name).write_text(text)
        told = [tried(here), tried(here), tried(store(folder))]
        assert told[0] == told[1] == told[2] != ()
        (folder / name).write_text(good)
    after = named(here.read())
    assert after == before
    assert {id for id, item in after.items() if before[id] is item} >= {"x", "a.cedar#2", "t.cedar#1"}


def tried(store):
    with pytest.raises(Misconfigured) as caught:
        store.read()
    return caught.value.problems


def test_it_pauses_for_each_file_and_statement(folder):
    pauses: list[None] = []
    FileStore(path=folder, pause=lambda: pauses.append(None)).read()
    assert len(pauses) >= 3 * 4 + 4 + 3  # each file listed twice and read; statements; links


@pytest.mark.parametrize("number", range(3))
def test_a_link_knows_its_line(folder, number):
    (folder / "links.json").write_text("[\n" + ",\n".join(map(json.dumps, LINKS)) + "\n]")
    assert store(folder).read().links[number].line == number + 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"id": "a", "id": "b", "template": "t", "principal": "U::\\"a\\""}]', 2),
        ('[\n\n{"id": "a", "template": "t", "principal": "U::\\"\\ud800\\""}]', 3),
        ('[{"id": "a", "template": "t"}]', 1),
        ("[1]", 1),
        ("[]\nx", 2),
    ],
)
def test_a_bad_link_is_told_with_its_line(folder, text, line):
    (folder / "links.json").write_text(text)
    [problem] = tried(store(folder))
    assert (problem.file, problem.line) == (str(folder / "links.json"), line)


texts = st.lists(st.sampled_from((PERMIT, TEMPLATE, "\n", '@id("y") ' + PERMIT, "// c\n")), max_size=4).map("".join)


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(
        st.dictionaries(st.sampled_from(("a.cedar", "b.cedar", "c/d.cedar")), texts), min_size=2, max_size=4
    )
)
def test_it_gives_what_a_new_store_would(tmp_path_factory, history):
    folder = tmp_path_factory.mktemp("store")
    (folder / "c").mkdir()
    here = store(folder)
    for files in history:
        for path in folder.rglob("*.cedar"):
            path.unlink()
        for name, text in files.items():
            (folder / name).write_text(text + "// not empty\n")
        assert here.read() == store(folder).read()
