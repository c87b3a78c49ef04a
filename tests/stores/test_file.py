"""A folder as a policy store: ids, lines, links, and a whole reading or none."""

from __future__ import annotations

import json

import pytest

from authz.core.cedar_text import each_statement
from authz.core.errors import Misconfigured, PoliciesUnavailable
from authz.core.model import Effect, EntityUid
from authz.stores import file_content
from authz.stores.file import FileStore

PERMIT = "permit(principal, action, resource);\n"


def store(path):
    return FileStore(path=path, now=lambda: 1.5)


def problems(path):
    with pytest.raises(Misconfigured) as caught:
        store(path).read()
    return [str(problem).replace(str(path), "") for problem in caught.value.problems]


async def test_everything_in_a_folder(tmp_path):
    (tmp_path / "b.cedar").write_text(f'// one\n@id("x")\n{PERMIT}\nforbid(principal, action, resource);')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.cedar").write_text("permit(principal == ?principal, action, resource);")
    (tmp_path / "schema.cedarschema").write_text("entity A;")
    (tmp_path / "entities.json").write_text("[]")
    (tmp_path / "links.json").write_text(json.dumps([{"id": "l", "template": "sub/a.cedar#1", "principal": 'A::"a"'}]))
    (tmp_path / "README.md").write_text("not read")
    snapshot = await store(tmp_path).load()
    assert [(p.id, p.line, p.effect) for p in snapshot.policies] == [
        ("x", 2, Effect.PERMIT),
        ("b.cedar#2", 5, Effect.FORBID),
    ]
    assert [template.id for template in snapshot.templates] == ["sub/a.cedar#1"]
    assert snapshot.links[0].values == {"?principal": EntityUid("A", "a")}
    assert (snapshot.schema, snapshot.entities, snapshot.loaded_at) == ("entity A;", "[]", 1.5)


def test_the_version_follows_the_content_and_nothing_else(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "a.cedar").write_text(PERMIT)
    assert store(one).read().version == store(two).read().version
    (two / "a.cedar").write_text(PERMIT + "\n")
    assert store(one).read().version != store(two).read().version


def test_hidden_names_are_passed_over(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.cedar").write_text("nonsense")
    (tmp_path / ".a.cedar.swp").write_text("nonsense")
    (tmp_path / ".b.cedar").write_text("nonsense")
    assert store(tmp_path).read().policies == ()


def test_a_kubernetes_volume_is_read_once(tmp_path):
    data = tmp_path / "..2026_01"
    data.mkdir()
    (data / "a.cedar").write_text(PERMIT)
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "a.cedar").symlink_to("..data/a.cedar")
    assert [policy.id for policy in store(tmp_path).read().policies] == ["a.cedar#1"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.cedar", b"permit(principal, action, resource)", "/a.cedar:1: "),
        ("a.cedar", b'\n\npermit(principal, "action', "/a.cedar:3: "),
        ("a.cedar", b"permit(\xff);", "/a.cedar: `a.cedar` is not UTF-8 at byte 7"),
        ("links.json", b"[", "/links.json:1: links: not valid JSON"),
        ("links.json", b"{}", "/links.json: links: expected a list"),
        ("links.json", b'[{"id": "x"}]', "/links.json:1: links: link 1: expected `id`, `template`"),
        ("links.json", b'[{"id": "x", "template": "t", "principal": "bob"}]', "is no entity identifier"),
        (
            "links.json",
            b'[{"id": "x", "template": "t", "principal": {"type": "U", "id": "bob"}}]',
            '(each value is text; an entity is `Ns::User::"alice"`, in JSON "Ns::User::\\"alice\\"")',
        ),
        ("links.json", b'[{"id": "x", "template": "t", "extra": "y"}]', "unknown keys"),
        (
            "links.json",
            b'[\n{"id": "x", "template": "t", "principal": "U::\\"\\ud800\\""}]',
            "/links.json:2: links: link 1: expected `id`, `template` and one or both of `principal`, `resource` "
            "(a text holds half of a surrogate pair, which is no character)",
        ),
        ("links.json", b"[" * 100_000, "links: not valid JSON"),
    ],
)
def test_bad_files_are_told_with_their_line(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert any(expected in text for text in problems(tmp_path)), problems(tmp_path)


def test_only_what_changed_is_cut_into_statements_again(tmp_path, monkeypatch):
    cut: list[str] = []

    def spy(text):
        cut.append(text)
        return each_statement(text)

    monkeypatch.setattr(file_content, "each_statement", spy)
    texts = {f"{number}.cedar": f"// {number}\n{PERMIT}" for number in range(5)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    here = store(tmp_path)
    here.read()
    assert cut == list(texts.values())
    cut.clear()
    (tmp_path / "0.cedar").write_text(texts["0.cedar"])  # touched only
    assert here.read().version
    assert cut == []
    (tmp_path / "3.cedar").write_text(f"// other\n{PERMIT}")
    here.read()
    assert cut == [f"// other\n{PERMIT}"]


def test_two_schemas_are_one_too_many(tmp_path):
    (tmp_path / "schema.json").write_text("{}")
    (tmp_path / "schema.cedarschema").write_text("")
    assert "keep one schema file" in problems(tmp_path)[0]


def test_a_missing_folder_says_so(tmp_path):
    assert "is no folder" in problems(tmp_path / "none")[0]


def test_a_folder_that_changes_while_it_is_read_is_read_again_and_in_the_end_refused(tmp_path, monkeypatch):
    (tmp_path / "a.cedar").write_text(PERMIT)
    reading = FileStore._listing
    count = iter(range(100))

    def restless(self):
        return {**reading(self), "a.cedar": (0, 0, next(count))}

    monkeypatch.setattr(FileStore, "_listing", restless)
    with pytest.raises(PoliciesUnavailable):
        store(tmp_path).read()
