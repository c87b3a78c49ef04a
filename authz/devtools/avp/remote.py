"""One policy store, reached call by call: within a budget, again where that can help, each wait told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from authz.aws.budget import Budget
from authz.aws.errors import AvpError, Kind, classified
from authz.core.avp_names import PREFIX
from authz.core.model import EntityUid
from authz.devtools.avp.content import Content, IdentitySource, Link, Statement, Store, cut

if TYPE_CHECKING:
    from types_boto3_verifiedpermissions import VerifiedPermissionsClient

RATE = 5.0
"""Calls in a second unless told otherwise: half of what a store takes (user guide, quotas)."""
TRIES = 6
"""Of one call."""
FIRST_WAIT = 0.25
"""Seconds."""
PAGE = 50
BATCH = 100
"""Policies in one `BatchGetPolicy`."""
MAX_PAGES = 10_000
"""Of one list. What has more is taken for a list without end."""
MAX_EMPTY_PAGES = 100
"""In a row. A short page is legal, also an empty one; an endless row of them is a fault."""
_DELETED = "POLICY_NOT_FOUND"
_NO_STORE = frozenset({"POLICY_STORE_NOT_FOUND", "POLICY_STORE_ALIAS_NOT_FOUND"})
_AGAIN = frozenset({Kind.THROTTLED, Kind.FAULT, Kind.UNREACHABLE})

Say = Callable[[str], None]
Answer = Mapping[str, Any]


@dataclass(kw_only=True)
class Remote:
    """A client, and how it is used. Of one thread."""

    client: VerifiedPermissionsClient
    budget: Budget = field(default_factory=lambda: Budget(RATE))
    say: Say = lambda _: None
    """Told of each wait."""
    sleep: Callable[[float], None] = time.sleep
    first_wait: float = FIRST_WAIT
    """Seconds before a second try; doubled for each more."""
    calls: int = 0
    """Made so far."""

    def call(self, operation: str, again: frozenset[Kind] = frozenset(), /, **arguments: Any) -> Answer:
        """One call, by the name that boto3 gives it.

        Args:
            operation: such as `get_schema`.
            again: kinds of failures, beside those that any call may pass, after which it is tried again.
            arguments: of the call.

        Raises:
            AvpError: it failed, also the last time.
        """
        wait = self.first_wait
        for number in range(1, TRIES + 1):
            self.budget.wait(float("inf"), sleep=self.sleep)
            self.calls += 1
            try:
                return self._answer(operation, arguments)
            except Exception as raised:  # noqa: BLE001 - whatever no call can raise is raised again
                error = classified(raised, self._name(operation))
                if number == TRIES or error.kind not in _AGAIN | again:
                    raise error from None
                if error.kind is Kind.THROTTLED:
                    self.budget.throttled()
                self.say(f"{error}: trying again in {wait:g} s")
            self.sleep(wait)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _name(self, operation: str) -> str:
        return self.client.meta.method_to_api_mapping[operation]

    def _answer(self, operation: str, arguments: Answer) -> Answer:
        answer: Answer = getattr(self.client, operation)(**arguments)
        # Of a body that is no JSON the SDK makes an answer without members, and says nothing.
        shape = self.client.meta.service_model.operation_model(self._name(operation)).output_shape
        if shape is not None and any(name not in answer for name in shape.required_members):
            raise AvpError(Kind.UNREACHABLE, self._name(operation), "the answer cannot be read", code="Garbage")
        return answer

    def pages(self, operation: str, member: str, **arguments: Any) -> Iterator[Answer]:
        """All items of a list, page by page.

        Raises:
            AvpError: a page failed, or the pages have no end: what was given before counts for nothing.
        """
        seen: set[str] = set()
        following: dict[str, Any] = {}
        empty = 0
        for _ in range(MAX_PAGES):
            answer = self.call(operation, maxResults=PAGE, **following, **arguments)
            yield from answer[member]
            token = answer.get("nextToken")
            if not token:
                return
            empty = 0 if answer[member] else empty + 1
            if empty > MAX_EMPTY_PAGES:
                raise self._endless(operation, f"{empty} empty pages in a row")
            if token in seen:
                raise self._endless(operation, "a page's `nextToken` came before")
            seen.add(token)
            following = {"nextToken": token}
        raise self._endless(operation, f"more than {MAX_PAGES} pages")

    def _endless(self, operation: str, text: str) -> AvpError:
        return AvpError(Kind.FAULT, self._name(operation), f"a list without end ({text})", code="Endless")


def read_store(remote: Remote, store: str) -> Store:
    """All of a policy store.

    Args:
        remote: how it is reached.
        store: its id, or `policy-store-alias/NAME`.

    Raises:
        AvpError: it cannot be read.
    """
    found = remote.call("get_policy_store", policyStoreId=store)
    id = found["policyStoreId"]
    statics, links = _policies(remote, id)
    content = Content(
        policies=statics,
        templates=_templates(remote, id),
        links=links,
        schema=_schema(remote, id),
        identity_source=_identity_source(remote, id),
    )
    return Store(id=id, strict=found["validationSettings"]["mode"] == "STRICT", content=content)


def _schema(remote: Remote, store: str) -> str | None:
    try:
        schema: str = remote.call("get_schema", policyStoreId=store)["schema"]
    except AvpError as error:
        if error.kind is Kind.MISSING:
            return None
        raise
    return None if "".join(schema.split()) in {"", "{}"} else schema


def _policies(remote: Remote, store: str) -> tuple[tuple[Statement, ...], tuple[Link, ...]]:
    listed = list(remote.pages("list_policies", "policies", policyStoreId=store))
    texts = _texts(remote, store, [item["policyId"] for item in listed if "static" in item["definition"]])
    statics: list[Statement] = []
    links: list[Link] = []
    for item in listed:
        id, name, definition = item["policyId"], _name(item), item["definition"]
        if "templateLinked" in definition:
            linked = definition["templateLinked"]
            slots = (("?principal", linked.get("principal")), ("?resource", linked.get("resource")))
            values = {slot: EntityUid(uid["entityType"], uid["entityId"]) for slot, uid in slots if uid is not None}
            links.append(Link(id=id, name=name, template=linked["policyTemplateId"], values=values))
        elif id in texts:  # else it was deleted just now
            static = texts[id]
            statics.append(_statement(id, name, static["statement"], static.get("description", "")))
    return tuple(statics), tuple(links)


def _texts(remote: Remote, store: str, ids: Sequence[str]) -> dict[str, Answer]:
    """The texts of listed policies. One that is not found was deleted since, or is not seen everywhere yet.

    Raises:
        AvpError: one is missing for any other reason. A pull would take it for deleted, and remove its file.
    """
    found: dict[str, Answer] = {}
    missing: Sequence[str] = ids
    wait = remote.first_wait
    for number in range(1, TRIES + 1):
        codes: dict[str, str] = {}
        for start in range(0, len(missing), BATCH):
            asked = [{"policyStoreId": store, "policyId": id} for id in missing[start : start + BATCH]]
            answer = remote.call("batch_get_policy", requests=asked)
            found |= {item["policyId"]: item["definition"]["static"] for item in answer["results"]}
            codes |= {error["policyId"]: error["code"] for error in answer["errors"]}
        missing = [id for id in missing if id not in found]
        if not missing:
            break
        if number < TRIES:
            remote.say(f"BatchGetPolicy: {_unread(missing, codes)}: trying again in {wait:g} s")
            remote.sleep(wait)
            wait *= 2
    other = [id for id in missing if codes.get(id) != _DELETED]
    if other:
        kind = Kind.MISSING if {codes.get(id) for id in other} <= _NO_STORE else Kind.FAULT
        raise AvpError(kind, "BatchGetPolicy", f"no text of {_unread(other, codes)}", code=codes.get(other[0], ""))
    return found


def _unread(ids: Sequence[str], codes: Mapping[str, str]) -> str:
    more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    return f"policy `{ids[0]}`{more} ({codes.get(ids[0], 'left out of the answer')})"


def _templates(remote: Remote, store: str) -> tuple[Statement, ...]:
    found: list[Statement] = []
    for item in remote.pages("list_policy_templates", "policyTemplates", policyStoreId=store):
        id = item["policyTemplateId"]
        try:
            whole = remote.call("get_policy_template", policyStoreId=store, policyTemplateId=id)
        except AvpError as error:
            if error.kind is Kind.MISSING:  # deleted just now
                continue
            raise
        found.append(_statement(id, _name(whole), whole["statement"], whole.get("description", ""), template=True))
    return tuple(found)


def _statement(id: str, name: str, raw: str, description: str, *, template: bool = False) -> Statement:
    return Statement(id=id, name=name, text=cut(raw), raw=raw, description=description, template=template)


def _name(item: Answer) -> str:
    name: str = item.get("name") or ""
    return name.removeprefix(PREFIX)


def _identity_source(remote: Remote, store: str) -> IdentitySource | None:
    for item in remote.pages("list_identity_sources", "identitySources", policyStoreId=store):
        configuration = item.get("configuration")
        if configuration:
            type = item.get("principalEntityType", "")
            return IdentitySource(id=item["identitySourceId"], configuration=configuration, principal_type=type)
    return None
