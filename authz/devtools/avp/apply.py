"""Makes the calls of a plan, one after the other; stops at the first that fails, and says exactly where."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authz.aws.errors import AvpError, Kind
from authz.core.avp_names import PREFIX
from authz.core.model import EntityUid
from authz.devtools.avp.remote import TRIES, Answer, Remote
from authz.devtools.avp.steps import (
    Call,
    CreateLink,
    CreatePolicy,
    Delete,
    DeleteIdentitySource,
    PutIdentitySource,
    PutSchema,
    Ref,
    Step,
    UpdatePolicy,
)

_SETTLING = frozenset({Kind.MISSING, Kind.CONFLICT})
"""What may pass by itself: what was just made is not seen everywhere at once, nor is what was just deleted gone."""
_DOUBTFUL = frozenset({Kind.FAULT, Kind.UNREACHABLE})
"""Nobody knows whether the call was carried out."""
_MISSING = frozenset({Kind.MISSING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How far a push came."""

    applied: tuple[Step, ...]
    failed: Step | None = None
    error: AvpError | None = None
    rest: tuple[Step, ...] = ()
    """Not begun."""

    @property
    def doubtful(self) -> bool:
        """May the step that failed have been carried out?"""
        return self.error is not None and self.error.kind in _DOUBTFUL


class Push:
    """Makes calls on one store. Keeps count, so that also whoever interrupts it can be told.

    Args:
        remote: how it is reached.
        store: its id.
    """

    def __init__(self, remote: Remote, store: str) -> None:
        self._remote = remote
        self._store = store
        self._made: dict[str, str] = {}
        self.applied: list[Step] = []

    def run(self, steps: Sequence[Step], begin: Callable[[int, Step], None]) -> Result:
        """Makes the calls.

        Args:
            steps: in their order.
            begin: told of each before it is made, with its number from 1.
        """
        for number, step in enumerate(steps, 1):
            begin(number, step)
            try:
                self._make(step.call)
            except AvpError as error:
                return Result(applied=tuple(self.applied), failed=step, error=error, rest=tuple(steps[number:]))
            self.applied.append(step)
        return Result(applied=tuple(self.applied))

    def _make(self, call: Call) -> None:
        match call:
            case PutSchema(schema=schema):
                self._call("put_schema", definition={"cedarJson": schema})
            case CreatePolicy():
                self._create(call)
            case CreateLink(name=name, template=template, values=values):
                linked: dict[str, Any] = {"policyTemplateId": self._id(template), **_slots(values)}
                definition = {"definition": {"templateLinked": linked}}
                self._made[name] = self._created("policy", "policyId", name, definition)
            case UpdatePolicy():
                self._update(call)
            case Delete(target=target, template=template):
                self._delete(self._id(target), template=template)
            case PutIdentitySource():
                self._put_identity_source(call)
            case DeleteIdentitySource(id=id):
                self._call("delete_identity_source", identitySourceId=id)

    def _call(self, operation: str, **arguments: Any) -> Answer:
        return self._remote.call(operation, _SETTLING, policyStoreId=self._store, **arguments)

    def _id(self, ref: Ref) -> str:
        return ref.id or self._made[ref.made]

    def _create(self, call: CreatePolicy) -> None:
        described = {"description": call.description} if call.description else {}
        if call.template:
            definition: dict[str, Any] = {"statement": call.text, **described}
            self._made[call.name] = self._created("policy_template", "policyTemplateId", call.name, definition)
        else:
            definition = {"definition": {"static": {"statement": call.text, **described}}}
            self._made[call.name] = self._created("policy", "policyId", call.name, definition)

    def _created(self, kind: str, member: str, name: str, definition: Mapping[str, Any]) -> str:
        """Creates, and gives the id. A name is unique in a store, so nothing is made twice, also not by another run.

        The token is of this call and its repetitions alone. One made of the content would be known for eight hours:
        what was made, deleted and made again within them would be answered as made, and not be there.
        """
        arguments = {**definition, "name": PREFIX + name, "clientToken": str(uuid.uuid4())}
        wait = self._remote.first_wait
        for _ in range(TRIES):
            try:
                answer = self._remote.call(f"create_{kind}", _MISSING, policyStoreId=self._store, **arguments)
            except AvpError as error:
                if error.kind is not Kind.CONFLICT:
                    raise
                conflict = error
            else:
                return str(answer[member])
            # Made by a run that was cut off; or what had this name was deleted, and not everywhere is that known.
            id = self._same(kind, member, name, definition)
            if id:
                return id
            self._remote.say(f"{conflict}: trying again in {wait:g} s")
            self._remote.sleep(wait)
            wait *= 2
        raise conflict

    def _same(self, kind: str, member: str, name: str, definition: Mapping[str, Any]) -> str:
        """The id of what has this name, if it is just what is to be made; else nothing."""
        try:
            found = self._remote.call(f"get_{kind}", policyStoreId=self._store, **{member: PREFIX + name})
        except AvpError as error:
            if error.kind is Kind.MISSING:
                return ""
            raise
        equal = all(found.get(key) == value for key, value in definition.items())
        return str(found[member]) if equal else ""

    def _update(self, call: UpdatePolicy) -> None:
        name = {"name": PREFIX + call.name} if call.name is not None else {}
        described = {"description": call.description} if call.description else {}
        if call.template:
            self._call("update_policy_template", policyTemplateId=call.id, statement=call.text, **described, **name)
        elif call.text:
            definition = {"static": {"statement": call.text, **described}}
            self._call("update_policy", policyId=call.id, definition=definition, **name)
        else:
            self._call("update_policy", policyId=call.id, **name)

    def _delete(self, id: str, *, template: bool) -> None:
        kind, member = ("policy_template", "policyTemplateId") if template else ("policy", "policyId")
        try:
            # Not found is what is wanted here, so it is not waited for.
            self._remote.call(f"delete_{kind}", frozenset({Kind.CONFLICT}), policyStoreId=self._store, **{member: id})
        except AvpError as error:
            if error.kind is not Kind.MISSING:
                raise

    def _put_identity_source(self, call: PutIdentitySource) -> None:
        source = call.source
        typed = {"principalEntityType": source.principal_type} if source.principal_type else {}
        if call.id:
            changed = {"identitySourceId": call.id, "updateConfiguration": dict(source.configuration)}
            self._call("update_identity_source", **changed, **typed)
            return
        arguments = {"configuration": dict(source.configuration), **typed}
        # There is one at most in a store, so none can be made twice.
        self._call("create_identity_source", clientToken=str(uuid.uuid4()), **arguments)


def _slots(values: Mapping[str, EntityUid]) -> dict[str, dict[str, str]]:
    return {slot[1:]: {"entityType": uid.type, "entityId": uid.id} for slot, uid in values.items()}
