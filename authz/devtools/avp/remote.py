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
        """All items of a list, page by page."""
        token: dict[str, Any] = {}
        while True:
            answer = self.call(operation, maxResults=PAGE, **token, **arguments)
            yield from answer[member]
            if not answer.get("nextToken"):
                return
            token = {"nextToken": answer["nextToken"]}


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
    """The texts of listed policies. One that is not found was deleted since, or is not seen everywhere yet."""
    found: dict[str, Answer] = {}
    wait = remote.first_wait
    for _ in range(TRIES):
        missing = [id for id in ids if id not in found]
        for start in range(0, len(missing), BATCH):
            asked = [{"policyStoreId": store, "policyId": id} for id in missing[start : start + BATCH]]
            for item in remote.call("batch_get_policy", requests=asked)["results"]:
                found[item["policyId"]] = item["definition"]["static"]
        if len(found) == len(ids):
            break
        remote.sleep(wait)
        wait *= 2
    return found


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
