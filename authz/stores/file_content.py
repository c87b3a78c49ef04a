"""What the files of a store hold: the policies of one file, and the links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from authz.core.cedar_text import CedarTextError, Statement, each_statement
from authz.core.errors import Problem
from authz.core.json_list import Element, JsonListError, NoList, json_list
from authz.core.mapping import MappingError, parse_uid
from authz.core.model import Effect, EntityUid, Policy, TemplateLink
from authz.core.pieces import Pause, take_apart

_SLOTS = {"principal": "?principal", "resource": "?resource"}


class Policies(NamedTuple):
    """The policies of one file, in order."""

    digest: bytes
    """Of the text that they were read from."""
    policies: tuple[Policy, ...]
    templates: tuple[Policy, ...]


class Links(NamedTuple):
    """The links of one file, in order."""

    digest: bytes
    """Of the text that they were read from."""
    links: tuple[TemplateLink, ...]


def read_policies(
    name: str, text: str, digest: bytes, file: str, before: Policies | None, problems: list[Problem], pause: Pause
) -> Policies | None:
    """The policies of one file; None where it has a problem, which is appended.

    Args:
        name: of the file, within the store: the beginning of an id where there is no `@id`.
        text: of the file.
        digest: of the text.
        file: of the file, for problems.
        before: what the file held when it was last read; what is the same is the same object.
        problems: to append to.
        pause: called after each statement.
    """
    known = {policy.id: policy for policy in (*before.policies, *before.templates)} if before is not None else {}
    policies: list[Policy] = []
    templates: list[Policy] = []
    try:
        for number, statement in enumerate(each_statement(text), 1):
            policy = _policy(statement, f"{name}#{number}", file, known)
            (templates if statement.is_template else policies).append(policy)
            pause()
    except CedarTextError as error:
        problems.append(Problem(message=error.message, file=file, line=error.line))
        for parts in (policies, templates):
            take_apart(parts, pause)
        return None
    return Policies(digest, tuple(policies), tuple(templates))


def _policy(statement: Statement, default_id: str, file: str, known: Mapping[str, Policy]) -> Policy:
    id = statement.annotations.get("id") or default_id
    same = known.get(id)
    if same is None or same.text != statement.text:
        return Policy(
            id=id,
            text=statement.text,
            effect=Effect(statement.effect),
            annotations=statement.annotations,
            file=file,
            line=statement.line,
        )
    return same if same.line == statement.line else replace(same, line=statement.line)


def read_links(text: str, digest: bytes, file: str, problems: list[Problem], pause: Pause) -> Links | None:
    """The links of a text; None where there is a problem, which is appended. Arguments as of `read_policies`."""
    found: list[TemplateLink] = []
    wrong: list[Problem] = []
    uids: dict[EntityUid, EntityUid] = {}
    try:
        for number, element in enumerate(json_list(text), 1):
            try:
                found.append(_link(element, file, uids))
            except (MappingError, TypeError, KeyError, ValueError) as error:
                said = f"links: link {number}: expected `id`, `template` and one or both of `principal`, `resource`"
                wrong.append(Problem(message=f"{said} ({error})", file=file, line=element.line))
            pause()
    except NoList:
        wrong.append(Problem(message="links: expected a list", file=file))
    except JsonListError as error:
        wrong.append(Problem(message=f"links: not valid JSON: {error.message}", file=file, line=error.line))
    if wrong:
        problems.extend(wrong)
        return None
    return Links(digest, tuple(found))


def _link(element: Element, file: str, uids: dict[EntityUid, EntityUid]) -> TemplateLink:
    row = element.value
    if not isinstance(row, dict) or not row.keys() <= {"id", "template", "principal", "resource"}:
        raise MappingError("unknown keys")
    texts = {name: row[name] for name in ("id", "template", *_SLOTS) if name in row or name not in _SLOTS}
    if len(texts) < 3 or not all(isinstance(item, str) and item for item in texts.values()):
        said = 'each value is text; an entity is `Ns::User::"alice"`, in JSON "Ns::User::\\"alice\\""'
        raise MappingError(said)
    if any("\ud800" <= character <= "\udfff" for text in texts.values() if not text.isascii() for character in text):
        raise MappingError("a text holds half of a surrogate pair, which is no character")
    values = dict(_values(texts, uids))
    return TemplateLink(id=row["id"], template_id=row["template"], values=values, file=file, line=element.line)


def _values(texts: dict[str, str], uids: dict[EntityUid, EntityUid]) -> Iterator[tuple[str, EntityUid]]:
    """Slot and value. Links often name the same entities: each is kept once."""
    for name, slot in _SLOTS.items():
        if name in texts:
            uid = parse_uid(texts[name])
            yield slot, uids.setdefault(uid, uid)
