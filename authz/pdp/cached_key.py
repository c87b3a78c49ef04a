"""A query's digest: equal for equal questions, whichever objects they are made of, and for no others.

Every part is written with its kind and its length before it, so that no two different queries are one text. What is
shared by many queries (a token's claims, what a source says of entities, a credential) is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Generic, TypeVar
from weakref import ReferenceType, ref

from authz.core.model import Credential, Entity, EntitySlice, EntityUid, Extension, Query, Value

AGES = "ages"
"""A context with this reserved key tells ages: no two questions with it are equal for long."""
DIGEST = 32
"""Bytes. Callers choose much of a query: so many that none can be found twice (BLAKE2b; RFC 7693, section 2.1)."""
SHORT = 96
"""Characters up to which a part is rather written again than remembered."""
TOKENS = 4096
"""Tokens whose claims' digests are remembered."""

T = TypeVar("T")


class Unwritable(Exception):
    """The query has what is no Cedar value, or is nested too deeply. Its decision is not kept."""


class QueryDigests:
    """Digests of queries.

    Args:
        by_credential: the credential is part of the question, for the decision point forwards it.
    """

    def __init__(self, *, by_credential: bool = False) -> None:
        self._by_credential = by_credential
        self._slices = _Weak(_slice_text)
        self._credentials = _Weak(_credential_text, short=0)
        self._tokens: dict[int, tuple[Mapping[str, Value], str]] = {}

    def digest(self, query: Query, version: str) -> bytes:
        """The digest of a query as it is put to one version of a policy set.

        Raises:
            Unwritable: the query has none.
        """
        try:
            return blake2b(self._text(query, version).encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
        except (RecursionError, TypeError, AttributeError):
            raise Unwritable from None

    def _text(self, query: Query, version: str) -> str:
        principal, action, resource, context = query.principal, query.action, query.resource, query.context
        kept = self._slices
        slices = "".join([kept.known(source) or kept.text(source) for source in query.entities])
        head = (
            f"{len(version)}:{version}{len(principal[0])}:{principal[0]}{len(principal[1])}:{principal[1]}"
            f"{len(action[0])}:{action[0]}{len(action[1])}:{action[1]}"
            f"{len(resource[0])}:{resource[0]}{len(resource[1])}:{resource[1]}"
            f"{len(query.entities)}/{slices}{len(context)}/"
        )
        members = []
        for name in sorted(context) if len(context) > 1 else context:
            value = context[name]
            text = self._token_text(value) if name == "token" and isinstance(value, Mapping) else _text(value)
            members.append(f"{len(name)}:{name}{text}")
        if not self._by_credential:
            return head + "".join(members)
        credential, told = query.credential, self._credentials
        forwarded = "-" if credential is None else told.known(credential) or told.text(credential)
        return f"{head}{''.join(members)}{forwarded}"

    def _token_text(self, token: Mapping[str, Value]) -> str:
        """By identity: it is one object for the life of the token. Kept with it, for an id may come again."""
        known = self._tokens.get(id(token))
        if known is not None and known[0] is token:
            return known[1]
        text = _shortened(_text(token))
        while len(self._tokens) >= TOKENS:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[id(token)] = token, text
        return text


class _Weak(Generic[T]):
    """Texts of objects that are compared by identity, remembered for as long as the objects live."""

    def __init__(self, write: Callable[[T], str], *, short: int = SHORT) -> None:
        self._write = write
        self._short = short
        self._kept: dict[int, tuple[ReferenceType[T], str]] = {}

    def known(self, source: T) -> str:
        """The text if it is remembered, else nothing."""
        found = self._kept.get(id(source))
        return found[1] if found is not None and found[0]() is source else ""

    def text(self, source: T) -> str:
        """The text, remembered unless it is short."""
        text = self._write(source)
        if len(text) <= self._short:
            return text
        kept, place = self._kept, id(source)

        def forget(gone: ReferenceType[T]) -> None:
            found = kept.get(place)
            if found is not None and found[0] is gone:  # another object may have the place by now
                del kept[place]

        text = _shortened(text)
        kept[place] = ref(source, forget), text
        return text


def _shortened(text: str) -> str:
    if len(text) <= SHORT:
        return text
    return f"#{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=DIGEST).hexdigest()}"


def _slice_text(source: EntitySlice) -> str:
    # In their order: of two that describe one entity the first wins.
    return f"[{len(source.entities)}/{''.join([_entity_text(entity) for entity in source.entities])}"


def _credential_text(credential: Credential) -> str:
    kind, secret = credential.kind, credential.secret
    digest = blake2b(secret.encode("utf-8", "surrogatepass"), digest_size=DIGEST).hexdigest()
    return f"!{len(kind)}:{kind}{digest}"


def _entity_text(entity: Entity) -> str:
    parents = sorted(entity.parents) if len(entity.parents) > 1 else entity.parents
    above = "".join([_uid_text(parent) for parent in parents])
    attributes, tags = _record_text(entity.attributes), _record_text(entity.tags)
    return f"{_uid_text(entity.uid)}{len(entity.parents)}/{above}{attributes}{tags}"


def _uid_text(uid: EntityUid) -> str:
    kind, id = uid
    return f"{len(kind)}:{kind}{len(id)}:{id}"


def _record_text(record: Mapping[str, Value]) -> str:
    if not record:
        return "0/"
    names = sorted(record) if len(record) > 1 else record
    return f"{len(record)}/{''.join([f'{len(name)}:{name}{_text(record[name])}' for name in names])}"


def _text(value: Value) -> str:
    if type(value) is str:
        return f"s{len(value)}:{value}"
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if isinstance(value, Mapping):
        return f"r{_record_text(value)}"
    raise TypeError("no Cedar value")


def _set_text(members: tuple[Value, ...]) -> str:
    texts = sorted({_text(member) for member in members})
    return f"[{len(texts)}/{''.join(texts)}"


# By exact type: True is 1, and an entity's identifier, an extension value and a set are all tuples.
_WRITERS: Mapping[type, Callable[..., str]] = {
    bool: lambda value: "t" if value else "f",
    int: lambda value: f"i{value:x};",  # of any length: decimal digits are limited to some thousands
    EntityUid: lambda value: f"e{_uid_text(value)}",
    Extension: lambda value: f"x{_uid_text(value)}",
    tuple: _set_text,
    dict: lambda value: f"r{_record_text(value)}",
}
