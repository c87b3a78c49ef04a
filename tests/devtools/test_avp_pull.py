"""`authz avp pull` and `diff` against the emulator: what a folder becomes, and what is never done to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from authz.core.errors import Misconfigured
from authz.core.model import EntityUid
from authz.devtools.avp.content import Content, Link, Statement, Store
from authz.devtools.avp.pull import pull, uid_text
from authz.devtools.avp.remote import Remote
from authz.devtools.avp.write import write
from authz.stores.file import FileStore
from tests.devtools.avp_commands import LINK, READ, SHARE, SOURCE, STOP, WHOLE, WRITE, Tool, emulated, folder_of


@pytest.fixture(scope="module")
def emulator():
    with emulated() as running:
        yield running


@pytest.fixture
def tool(emulator, capsys):
    emulator.switches.clear()
    return Tool(emulator, capsys)


@pytest.fixture
def store(tool, tmp_path):
    """One that was pushed, and to which somebody added on the console."""
    id = tool.store("STRICT")
    assert tool("push", folder_of(tmp_path / "whole", WHOLE), "--store", id, "--yes").code == 0
    return id


def console(tool: Tool, store: str, statement: str, name: str = "") -> str:
    named = {"name": f"name/{name}"} if name else {}
    definition = {"static": {"statement": statement}}
    return tool.client.create_policy(policyStoreId=store, definition=definition, **named)["policyId"]


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_store_becomes_a_folder_that_pushes_nothing(tool, store, tmp_path):
    id = console(tool, store, f"// as the auditors asked\n{WRITE}\n\n")
    console(tool, store, f'@id("other") {READ}', "team/read")
    folder = tmp_path / "pulled"
    said = tool("pull", folder, "--store", store, "--yes")
    assert (said.code, said.out.splitlines()[-1]) == (0, "done: 9 files")
    found = files(folder)
    assert {name: found[name] for name in found if name.endswith(".cedar")} == {
        "docs.cedar": f"{READ}\n",
        "docs/2.cedar": f"{WRITE}\n",
        "stop.cedar": f'@id("stop")\n{STOP}\n',
        "templates/share.cedar": f"{SHARE}\n",
        "team/read.cedar": f'@id("other") {READ}\n',
        f"{id}.cedar": f"// as the auditors asked\n{WRITE}\n\n",
    }
    assert json.loads(found["links.json"]) == [LINK]
    assert json.loads(found["identity_source.json"]) == SOURCE
    assert set(json.loads(found["schema.json"])) == {"App"}
    for command in ("plan", "diff", "pull"):
        again = tool(command, folder, "--store", store)
        assert (again.code, again.err) == (0, ""), command
    assert files(folder) == found


def test_a_folder_that_was_pushed_is_not_touched(tool, store, tmp_path):
    before = files(tmp_path / "whole")
    said = tool("pull", tmp_path / "whole", "--store", store, "--yes", "--force", "--delete")
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing to do")
    assert files(tmp_path / "whole") == before


def test_without_yes_nothing_is_written(tool, store, tmp_path):
    said = tool("pull", tmp_path / "pulled", "--store", store)
    assert said.code == 1
    assert "write   docs.cedar" in said.out
    assert not (tmp_path / "pulled").exists()


def test_what_differs_is_overwritten_by_force_only_in_its_place(tool, store, tmp_path):
    folder = tmp_path / "whole"
    text = f"// first {READ}\n{READ}\n\n// second\n{WRITE.replace('==', '!=')} // it is\n"
    (folder / "docs.cedar").write_text(text)
    before = files(folder)
    said = tool("pull", folder, "--store", store, "--yes")
    assert said.code == 1
    assert "change  docs.cedar  the store has another text" in said.out
    assert "nothing was written: `--force`" in said.err
    assert files(folder) == before
    said = tool("pull", folder, "--store", store, "--yes", "--force")
    assert said.code == 0
    assert (folder / "docs.cedar").read_text() == f"// first {READ}\n{READ}\n\n// second\n{WRITE} // it is\n"
    assert tool("plan", folder, "--store", store).code == 0


def test_what_only_the_folder_has_is_left_unless_asked(tool, store, tmp_path):
    folder = folder_of(
        tmp_path / "whole", {"mine.cedar": f'@id("mine") {READ}', "links.json": [LINK, {**LINK, "id": "mine-too"}]}
    )
    said = tool("pull", folder, "--store", store, "--yes", "--force")
    assert (said.code, said.out.splitlines()[-1]) == (0, "nothing to do")
    assert "left    policy mine" in said.out
    assert "left    link mine-too" in said.out
    said = tool("pull", folder, "--store", store, "--yes", "--force", "--delete")
    assert said.code == 0
    assert "remove  mine.cedar  the store does not have it" in said.out
    assert not (folder / "mine.cedar").exists()
    assert json.loads((folder / "links.json").read_text()) == [LINK]


def test_taking_out_a_policy_that_numbers_others_is_refused(tool, store, tmp_path):
    folder = folder_of(tmp_path / "whole", {"docs.cedar": f"{READ}\n{STOP}\n{WRITE}\n"})
    assert tool("push", folder, "--store", store, "--yes").code == 0
    tool.client.delete_policy(policyStoreId=store, policyId="name/docs/2")
    said = tool("pull", folder, "--store", store, "--yes", "--force", "--delete")
    assert said.code == 2
    assert "would get other ids: give them one" in said.err


def test_a_schema_in_cedar_syntax_gives_way_by_force_only(tool, store, tmp_path):
    folder = tmp_path / "whole"
    (folder / "schema.cedarschema").write_text(
        WHOLE["schema.cedarschema"].replace("level: Long", "level: Long, more?: Long")
    )
    said = tool("pull", folder, "--store", store, "--yes")
    assert said.code == 1
    assert "remove  schema.cedarschema  `schema.json` takes its place" in said.out
    assert tool("pull", folder, "--store", store, "--yes", "--force").code == 0
    assert not (folder / "schema.cedarschema").exists()
    assert tool("plan", folder, "--store", store).code == 0


def test_a_file_in_the_way_is_never_overwritten(tool, store, tmp_path):
    console(tool, store, STOP, "sharing")
    folder = folder_of(tmp_path / "whole", {"sharing.cedar": f'{SHARE}\n@id("b") {READ}\n'})
    before = files(folder)
    said = tool("pull", folder, "--store", store, "--yes", "--force")
    assert said.code == 2
    assert "would be written here, but another policy stands there" in said.err
    assert files(folder) == before


@pytest.mark.parametrize("link", ["docs.cedar", "docs"])
def test_nothing_is_written_through_symbolic_links(tool, store, tmp_path, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "pulled"
    folder.mkdir()
    target = outside / "file" if link.endswith(".cedar") else outside
    if target.suffix == "" and target.name == "file":
        target.write_text("// mine\n")
    (folder / link).symlink_to(target)
    said = tool("pull", folder, "--store", store, "--yes", "--force")
    assert said.code == 2
    assert files(outside) in ({"file": "// mine\n"}, {})


def test_a_disk_that_is_full_leaves_whole_files_and_says_where(tool, store, tmp_path, monkeypatch):
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "stop.cedar" in self.name:
            real(self, data[:3])
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    folder = tmp_path / "pulled"
    said = tool("pull", folder, "--store", store, "--yes")
    monkeypatch.undo()
    assert said.code == 1
    assert "No space left on device" in said.err
    assert "stop.cedar" in said.err
    assert not (folder / "stop.cedar").exists()
    assert not list(folder.rglob(".*"))
    assert FileStore(path=folder).read()
    assert tool("pull", folder, "--store", store, "--yes").code == 0
    assert tool("plan", folder, "--store", store).code == 0


def test_diff_shows_texts_from_the_store_to_the_folder(tool, store, tmp_path):
    id = console(tool, store, READ)
    folder = tmp_path / "whole"
    (folder / "docs.cedar").write_text(f"{READ}\n{WRITE.replace('==', '!=', 1)}\n")
    (folder / "links.json").write_text(json.dumps([{**LINK, "resource": 'App::Doc::"8"'}]))
    said = tool("diff", folder, "--store", store)
    assert said.code == 1
    lines = said.out.splitlines()
    assert f"--- store: policy {id}" in lines
    assert "+++ /dev/null" in lines
    assert f"-{READ}" in lines
    assert f"+++ folder: policy docs/2 ({folder}/docs.cedar:2)" in lines
    assert f"-{WRITE}" in lines
    assert '-  "resource": "App::Doc::\\"7\\""' in lines
    assert '+  "resource": "App::Doc::\\"8\\""' in lines
    assert tool("diff", folder, "--store", store).out == said.out


def test_policies_that_only_case_tells_apart_get_files_of_their_own(tool, tmp_path):
    """Where `Admin.cedar` and `admin.cedar` are one file, one of them would be lost, and the next push delete it."""
    store = tool.store()
    folder = tmp_path / "pulled"
    for name in ("admin", "Admin", "ADMIN", "Team/a", "team/b"):
        console(tool, store, READ.replace("read", f"read-{name}"), name)
        said = tool("pull", folder, "--store", store, "--yes")
        assert said.code == 0, said.err
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert len({path.casefold() for path in found}) == len(found)
    assert tool("plan", folder, "--store", store, "--delete").code == 0
    again = tmp_path / "at once"
    assert tool("pull", again, "--store", store, "--yes").code == 0
    assert len({path.casefold() for path in files(again)}) == len(files(again)) == 5
    assert tool("push", again, "--store", store, "--yes", "--delete").out.endswith("nothing to do; 5 unchanged\n")


def test_a_file_that_goes_is_not_written_under_its_name_in_other_letters(tool, tmp_path):
    store = tool.store()
    console(tool, store, STOP, "Admin")
    folder = folder_of(tmp_path / "pulled", {"admin.cedar": READ})
    assert tool("pull", folder, "--store", store, "--yes", "--force", "--delete").code == 0
    assert files(folder) == {"%41dmin.cedar": f"{STOP}\n"}
    assert tool("plan", folder, "--store", store, "--delete").code == 0


@pytest.mark.parametrize("code", ["POLICY_STORE_NOT_FOUND", "SOMETHING_NEW", ""])
def test_a_policy_that_could_not_be_read_is_not_gone(tool, store, tmp_path, monkeypatch, code):
    folder = tmp_path / "whole"
    before = files(folder)
    answer = Remote._answer

    def partly(self: Remote, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        whole = answer(self, operation, arguments)
        if operation != "batch_get_policy":
            return whole
        *rest, last = whole["results"]
        error = {"code": code, "policyStoreId": store, "policyId": last["policyId"], "message": "no"}
        return {**whole, "results": rest, "errors": [error] if code else []}

    monkeypatch.setattr(Remote, "_answer", partly)
    monkeypatch.setattr("authz.devtools.avp.remote.TRIES", 2)
    said = tool("pull", folder, "--store", store, "--yes", "--force", "--delete")
    assert said.code == 2
    assert "BatchGetPolicy: no text of policy `" in said.err
    assert f"({code or 'left out of the answer'})" in said.err
    assert files(folder) == before


# --- what a store may hold, and no store of the emulator does


def held(name: str, raw: str = READ, id: str = "P1", *, template: bool = False) -> Statement:
    return Statement(id=id, name=name, text=raw, raw=raw, template=template)


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", "a/../../evil", "..", ".hidden/x", "a\nb", "x\\..\\y", "links", "schema"]
)
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    folder = tmp_path / "a" / "folder"
    folder.mkdir(parents=True)
    found = pull(Store(id="s", content=Content(policies=(held(name),))), Content(), folder)
    assert not found.problems
    write(folder, found.edits, lambda _: None)
    written = files(tmp_path)
    assert len(written) == 1
    assert next(iter(written)).startswith("a/folder/")
    assert [policy.text for policy in FileStore(path=folder).read().policies] == [READ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Content(policies=(held("x", READ + READ),)), "not exactly one statement"),
        (Content(policies=(held("x", "permit("),)), "a folder cannot hold it"),
        (Content(policies=(held("x", SHARE),)), "not exactly one statement"),
        (Content(policies=(held("P2"), held("", STOP, "P2"))), "come to one file"),
        (Content(policies=(held("x" * 300),)), "no file can have so long a name"),
        (Content(links=(Link(id="L", template="gone", values={}),)), "its template is not there"),
        (
            Content(
                templates=(held("t", SHARE, "T", template=True),),
                links=(
                    Link(
                        id="L",
                        template="T",
                        values={"?principal": EntityUid("U", "a\x01b"), "?resource": EntityUid("R", "x")},
                    ),
                ),
            ),
            "its principal holds characters that a folder cannot name",
        ),
    ],
)
def test_what_a_folder_cannot_hold_is_refused(tmp_path, content, expected):
    found = pull(Store(id="s", content=content), Content(), tmp_path)
    assert expected in str(Misconfigured(found.problems))


def test_a_templates_folder_in_other_letters_is_refused(tmp_path):
    (tmp_path / "Templates").mkdir()
    content = Content(templates=(held("t", SHARE, "T", template=True),))
    found = pull(Store(id="s", content=content), Content(), tmp_path)
    assert not found.edits
    assert "the folder has a `templates` in other letters" in str(Misconfigured(found.problems))


@pytest.mark.parametrize("id", ["", "a", 'say "hi"', "back\\slash", "new\nline", "tab\t", "größe", "a\0b", "'"])
def test_entities_are_written_so_that_they_are_read_again(id):
    uid = EntityUid("Ns::Type", id)
    assert uid_text(uid) is not None


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "stop.cedar").write_text("before")
    content = Content(policies=(held("stop", STOP),))
    edits = pull(Store(id="s", content=content), Content(), tmp_path / "elsewhere").edits
    monkeypatch.setattr(os, "replace", None)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        write(tmp_path, edits, lambda _: None)
    assert files(tmp_path) == {"stop.cedar": "before"}
