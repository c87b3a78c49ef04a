"""What a pull does to a folder, so that it says what the store says. Nothing is read or written here but the folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from authz.core.avp_names import TEMPLATES, path_of
from authz.core.cedar_text import CedarTextError, scan_statements
from authz.core.errors import Problem
from authz.core.mapping import MappingError, parse_uid
from authz.core.model import EntityUid
from authz.devtools.avp.content import Content, Link, Statement, Store
from authz.devtools.avp.edits import CedarFile, FileEdit, NumbersShift, statement_ids
from authz.devtools.avp.identity_file import IDENTITY_FILE, written
from authz.devtools.avp.places import Places, taken_in
from authz.devtools.avp.units import Action, Kind, Unit, Units, classified
from authz.stores.file import LINKS_FILE, SCHEMA_FILES

_SCHEMA_FILE = "schema.json"
_NEW = "new in the store"
_OTHER = "the store has another text"
_GONE = "the store does not have it"
_PLACE_WORDS = "another policy stands there: move that to another file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """What a pull would do. With problems it does nothing."""

    edits: tuple[FileEdit, ...] = ()
    left: tuple[str, ...] = ()
    """What only the folder has, and nobody asked to delete."""
    problems: tuple[Problem, ...] = ()

    @property
    def overwrites(self) -> tuple[FileEdit, ...]:
        """The edits of files that there are."""
        return tuple(edit for edit in self.edits if edit.existed)


def pull(store: Store, local: Content, folder: Path, *, delete: bool = False) -> Pull:
    """Compares a store with a folder.

    Args:
        store: as it was found.
        local: what the folder has.
        folder: for its files' texts.
        delete: whether what the store does not have is taken out of the folder.

    Raises:
        OSError: a file cannot be read again.
    """
    return _Pull(store.content, local, folder, delete=delete).pull()


class _Pull:
    def __init__(self, held: Content, local: Content, folder: Path, *, delete: bool) -> None:
        self._held = held
        self._local = local
        self._folder = folder
        self._delete = delete
        self._units: Units = classified(local, held, delete=True)
        self._files: dict[str, CedarFile] = {}
        self._new: dict[str, Statement] = {}
        self._free = Places(taken_in(folder))
        self._edits: list[FileEdit] = []
        self._left: list[str] = []
        self._problems: list[Problem] = []
        self._places: dict[str, tuple[str, int]] = {}
        """A template's id in the store → its file, and its number there."""

    def pull(self) -> Pull:
        for unit in (*self._units.templates, *self._units.policies):
            self._statement(unit)
        texts = self._cedar()
        self._links(texts)
        self._schema()
        self._identity_source()
        edits = tuple(sorted(self._edits, key=lambda edit: edit.path))
        return Pull(edits=edits, left=tuple(self._left), problems=tuple(self._problems))

    # --- policies and templates

    def _statement(self, unit: Unit) -> None:
        wanted, held = unit.wanted, unit.held
        mine = wanted if isinstance(wanted, Statement) else None
        theirs = held if isinstance(held, Statement) else None
        if theirs is not None and not self._fits(theirs):
            return
        if mine is not None and theirs is not None and unit.action is not Action.RENAME:
            if unit.action is not Action.UNCHANGED:
                self._edit(mine, theirs.text)
            if mine.template:
                self._places[theirs.id] = self._spot(mine)
            return
        if mine is not None and (theirs is not None or held is not None or self._delete):
            self._edit(mine, "")
        elif mine is not None:
            self._left.append(f"{unit.kind} {mine.id}")
        if theirs is not None:
            self._add(unit, theirs)

    def _fits(self, held: Statement) -> bool:
        """Can a folder have it? Else a problem is told."""
        try:
            statements = scan_statements(held.raw)
            if len(statements) == 1 and statements[0].is_template is held.template:
                return True
            text = "it is not exactly one statement"
        except CedarTextError as error:
            text = error.message
        kind = Kind.TEMPLATE if held.template else Kind.POLICY
        self._problems.append(Problem(message=f"{kind} `{held.shown}` of the store: {text}; a folder cannot hold it"))
        return False

    def _spot(self, mine: Statement) -> tuple[str, int]:
        """Its file below the folder, and its number there, from 0."""
        path = self._path(mine)
        same = [one for one in (*self._local.policies, *self._local.templates) if one.file == mine.file]
        return path, sorted(one.line or 0 for one in same).index(mine.line or 0)

    def _path(self, mine: Statement) -> str:
        return Path(mine.file).relative_to(self._folder).as_posix()

    def _edit(self, mine: Statement, text: str) -> None:
        path = self._path(mine)
        file = self._file(path)
        number = file.numbers.get(mine.id)
        if number is not None:
            file.replaced[number] = text
        else:
            self._problems.append(Problem(message=f"`{path}` changed meanwhile: pull again", file=mine.file))

    def _file(self, path: str) -> CedarFile:
        if path not in self._files:
            text = _read(self._folder / path)
            numbers = {id: number for number, id in enumerate(statement_ids(path, text))}
            self._files[path] = CedarFile(text=text, numbers=numbers)
        return self._files[path]

    def _add(self, unit: Unit, held: Statement) -> None:
        path = self._free.choose(path_of(held.name or held.id, template=held.template))
        if path is None:
            text = (
                f"the folder has a `{TEMPLATES[:-1]}` in other letters, upper or lower, which many file systems take "
                "for the same: rename it"
            )
            self._problems.append(Problem(message=text, file=str(self._folder)))
            return
        if path in self._new:
            text = f"`{held.shown}` and `{self._new[path].shown}` of the store come to one file, `{path}`: rename one"
            self._problems.append(Problem(message=text))
            return
        if any(len(part.encode()) > 255 for part in path.split("/")):
            text = f"{unit.kind} `{held.shown[:60]}…` of the store: no file can have so long a name: rename it"
            self._problems.append(Problem(message=text))
            return
        self._new[path] = held
        self._places[held.id] = (path, 0)

    def _cedar(self) -> dict[str, str]:
        """The texts of all policy files that are touched, as they will be."""
        texts: dict[str, str] = {}
        for path, file in self._files.items():
            try:
                text = file.edited()
            except NumbersShift:
                message = (
                    f"`{path}`: the store does not have some of its policies, and without them others, which have no "
                    "`@id`, would get other ids: give them one, or take these out by hand"
                )
                self._problems.append(Problem(message=message, file=str(self._folder / path)))
                continue
            if text is not None:
                texts[path] = text
            if path not in self._new or text is not None:
                why = _GONE if text is None else _OTHER
                self._edits.append(FileEdit(path=path, text=text, existed=True, why=why))
        for path, held in self._new.items():
            free = path not in texts and (path in self._files or not (self._folder / path).exists())
            if not free:
                message = f"policy `{held.shown}` of the store would be written here, but {_PLACE_WORDS}"
                self._problems.append(Problem(message=message, file=str(self._folder / path)))
                continue
            texts[path] = held.raw if held.raw.endswith("\n") else f"{held.raw}\n"
            self._edits.append(FileEdit(path=path, text=texts[path], existed=path in self._files, why=_NEW))
        return texts

    # --- links

    def _links(self, texts: dict[str, str]) -> None:
        rows: list[dict[str, str]] = []
        before = {link.id: link for link in self._local.links}
        changed = False
        for unit in self._units.policies:
            mine, held = unit.wanted, unit.held
            if isinstance(held, Link):
                link = mine.id if isinstance(mine, Link) else held.shown
                row = self._row(link, held, texts)
                if row is not None:
                    rows.append(row)
                    known = before.get(link)
                    changed = changed or known is None or row != _local_row(known)
            elif isinstance(mine, Link):
                if held is not None or self._delete:
                    changed = True
                else:
                    rows.append(_local_row(mine))
                    self._left.append(f"link {mine.id}")
        if changed:
            # In the folder's order, then what is new by name.
            order = {id: place for place, id in enumerate(before)}
            rows.sort(key=lambda row: (order.get(row["id"], len(order)), row["id"]))
            text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if rows else None
            existed = (self._folder / LINKS_FILE).exists()
            if rows or existed:
                self._edits.append(FileEdit(path=LINKS_FILE, text=text, existed=existed, why="links differ"))

    def _row(self, id: str, held: Link, texts: dict[str, str]) -> dict[str, str] | None:
        spot = self._places.get(held.template)
        fault = "" if spot is not None else "its template is not there"
        row = {"id": id, "template": ""}
        for slot, uid in sorted(held.values.items()):
            text = uid_text(uid)
            if text is None:
                fault = f"its {slot[1:]} holds characters that a folder cannot name"
            else:
                row[slot[1:]] = text
        if fault or spot is None:
            self._problems.append(Problem(message=f"link `{held.shown}` of the store: {fault}"))
            return None
        path, number = spot
        text = texts.get(path)
        ids = statement_ids(path, text if text is not None else _read(self._folder / path))
        row["template"] = ids[number] if number < len(ids) else ""
        return row

    # --- the rest

    def _schema(self) -> None:
        if self._units.schema is Action.UNCHANGED:
            return
        mine, theirs = self._local.schema_file, self._held.schema
        if theirs is None:
            if self._delete:
                self._edits.append(FileEdit(path=Path(mine).name, text=None, existed=True, why=_GONE))
            else:
                self._left.append("schema")
            return
        if mine and Path(mine).name not in {SCHEMA_FILES[1], SCHEMA_FILES[2]}:
            why = f"`{_SCHEMA_FILE}` takes its place: the store has another schema, as JSON"
            self._edits.append(FileEdit(path=Path(mine).name, text=None, existed=True, why=why))
        path = Path(mine).name if mine.endswith(".json") else _SCHEMA_FILE
        text = json.dumps(json.loads(theirs), indent=2, ensure_ascii=False) + "\n"
        existed = mine.endswith(".json")
        self._edits.append(FileEdit(path=path, text=text, existed=existed, why=_OTHER if existed else _NEW))

    def _identity_source(self) -> None:
        action, mine, theirs = self._units.identity_source, self._local.identity_source, self._held.identity_source
        if theirs is not None and action is not Action.UNCHANGED:
            existed = mine is not None
            why = "the store has another" if existed else _NEW
            self._edits.append(FileEdit(path=IDENTITY_FILE, text=written(theirs), existed=existed, why=why))
        elif theirs is None and mine is not None:
            if self._delete:
                self._edits.append(FileEdit(path=IDENTITY_FILE, text=None, existed=True, why=_GONE))
            else:
                self._left.append("identity source")


def uid_text(uid: EntityUid) -> str | None:
    """An entity as `links.json` names it; None: it cannot."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    text = f'{uid.type}::"{"".join(escapes.get(c, c) for c in uid.id)}"'
    try:
        text.encode()
        return text if parse_uid(text) == uid else None
    except (MappingError, UnicodeEncodeError):
        return None


def _local_row(link: Link) -> dict[str, str]:
    values = {slot[1:]: uid_text(uid) or str(uid) for slot, uid in sorted(link.values.items())}
    return {"id": link.id, "template": link.template, **values}


def _read(path: Path) -> str:
    return path.read_bytes().decode()
