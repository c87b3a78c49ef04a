"""What a folder wants a policy store to hold, with every problem that can be told without the store."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from authz.core.avp_names import NameFault, key_of, name_of
from authz.core.cedar_schema import CedarSchemaError, load_schema, to_json
from authz.core.cedar_scope import read_scope
from authz.core.errors import Problem
from authz.core.model import EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.core.pieces import no_pause
from authz.devtools.avp.content import Content, Link, Statement
from authz.devtools.avp.identity_file import read_identity_source
from authz.pdp.validation import duplicates
from authz.stores.file import FileStore

NO_ENTITIES = frozenset({"", "[]"})


def read_folder(folder: Path, problems: list[Problem]) -> Content:
    """The folder's content. Problems are appended; with an error among them it is not whole.

    Raises:
        Misconfigured: its files cannot be read as policies at all; with every such problem.
        PoliciesUnavailable: it cannot be read.
    """
    snapshot = FileStore(path=folder).read()
    for group in ((*snapshot.policies, *snapshot.templates), snapshot.links):
        problems.extend(duplicates(group, no_pause))
    problems.extend(_links(snapshot))
    if "".join(snapshot.entities.split()) not in NO_ENTITIES:
        text = "entities are not pushed: a policy store has none, and whoever asks it sends them along"
        problems.append(Problem(message=text, file=snapshot.entities_file, severity="warning"))
    counts = Counter(policy.file for policy in (*snapshot.policies, *snapshot.templates))
    return Content(
        policies=tuple(_statement(policy, folder, counts, template=False) for policy in snapshot.policies),
        templates=tuple(_statement(policy, folder, counts, template=True) for policy in snapshot.templates),
        links=tuple(map(_link, snapshot.links)),
        schema=_schema(snapshot, problems),
        schema_file=snapshot.schema_file,
        identity_source=read_identity_source(folder, problems),
    )


def _named(id: str, *, template: bool) -> tuple[str, str]:
    try:
        return name_of(id, template=template), ""
    except NameFault as fault:
        return "", str(fault)


def _statement(policy: Policy, folder: Path, counts: Counter[str], *, template: bool) -> Statement:
    name, fault = _named(policy.id, template=template)
    path = Path(policy.file).relative_to(folder).as_posix()
    return Statement(
        id=policy.id,
        name=name,
        fault=fault,
        text=policy.text,
        raw=policy.text,
        template=template,
        key=key_of(path, template=template) if counts[policy.file] == 1 else "",
        file=policy.file,
        line=policy.line,
    )


def _link(link: TemplateLink) -> Link:
    name, fault = _named(link.id, template=False)
    values = {slot: EntityUid(*uid) for slot, uid in link.values.items()}
    return Link(
        id=link.id, name=name, fault=fault, template=link.template_id, values=values, file=link.file, line=link.line
    )


def _links(snapshot: PolicySnapshot) -> Iterator[Problem]:
    slots = {template.id: _slots(template) for template in snapshot.templates}
    for link in snapshot.links:
        expected = slots.get(link.template_id)
        if expected is None:
            yield _wrong(link, f"there is no template `{link.template_id}`")
        elif link.values.keys() != expected:
            names = " and ".join(f"`{slot}`" for slot in sorted(expected))
            yield _wrong(link, f"its values must fill exactly the slots of `{link.template_id}`: {names}")


def _slots(template: Policy) -> frozenset[str]:
    scope = read_scope(template.text)
    found = {"?principal": scope.principal.slot, "?resource": scope.resource.slot}
    return frozenset(slot for slot, stands in found.items() if stands)


def _wrong(link: TemplateLink, text: str) -> Problem:
    return Problem(message=f"link `{link.id}`: {text}", file=link.file, line=link.line)


def _schema(snapshot: PolicySnapshot, problems: list[Problem]) -> str | None:
    """The schema as JSON: the service takes no other form. What is JSON already goes as it is."""
    text = snapshot.schema
    if text is None:
        return None
    try:
        schema = load_schema(text)
        if text.lstrip().startswith("{"):
            return text
        return json.dumps(to_json(schema), ensure_ascii=False, separators=(",", ":"))
    except CedarSchemaError as error:
        problems.append(Problem(message=f"schema: {error.message}", file=snapshot.schema_file, line=error.line))
        return None
